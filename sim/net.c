/* net.c - the simulated network: TCP as its users see it, over links that lose, delay and are cut.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A connection has two sides. What a side sends flies as segments in order of arrival to the other side, which keeps
 * them until its owner reads. The window bounds what was sent and not yet read; beyond it a stream queues.
 *
 *   side:  NEW --connect, accept--> OPEN --owner closes--> CLOSED --FIN arrived, or given up--> GONE
 *          NEW, OPEN --reset, given up, power loss--> GONE
 *
 * Data for a CLOSED or GONE side is answered by a reset, if that machine is up. A connection is freed when both sides
 * are over and nothing flies. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sim/world_internal.h"

#define SEGMENT_BYTES_MAX ((size_t)64 * 1024)
#define READ_BYTES_MAX    ((size_t)64 * 1024)
#define READS_PER_TURN    8
#define LOOPBACK_NS       (15 * NS_PER_US)

struct net_link {
    bool cut;
    uint64_t cut_at;
    uint64_t extra_ns, extra_jitter_ns;
};

struct net_port {
    struct list listeners; /* struct sim_listener.port_link */
    unsigned count;
};

struct sim_listener {
    struct env_listener base; /* first */
    struct process *process;
    struct link link;      /* process.listeners */
    struct link port_link; /* net_port.listeners */
    uint16_t port;
    bool loopback; /* only for the machine itself */
    env_accept_fn accept;
    void *ctx;
};

enum segment_kind { SEGMENT_DATA, SEGMENT_ACCEPT /* the end of the handshake */, SEGMENT_FIN };

struct segment {
    struct segment *next;
    uint64_t arrive_ns; /* UINT64_MAX: held back */
    enum segment_kind kind;
    uint32_t n;
    uint32_t read; /* bytes that the owner has taken */
    uint8_t data[];
};

struct segments {
    struct segment *first, *last;
};

enum side_state { SIDE_NEW, SIDE_OPEN, SIDE_CLOSED, SIDE_GONE };

struct side {
    struct conn *conn;
    struct sim_node *node;
    struct net_link *out;      /* the link to the other side; NULL within a machine */
    struct link link;          /* node.sides */
    struct sim_stream *stream; /* NULL unless OPEN */
    enum side_state state;
    uint16_t port;
    /* what this side sent */
    struct segments flying;
    uint64_t last_arrive_ns;
    size_t unread;    /* bytes sent that the other side's owner has not taken, or whose acknowledgement is held */
    size_t acks_held; /* part of unread: taken, but the link back is cut */
    bool held;        /* the first flying segment, and so all, can't get through */
    bool unacked;     /* something arrived whose acknowledgement could not come back */
    struct event arrive;
    struct event give_up;
    /* what comes to this side */
    struct segments arrived;
    size_t arrived_bytes;
    bool fin; /* the other side has no more to say */
    struct event reset;
};

enum handshake { HS_TRY, HS_SYN, HS_SYN_ACK, HS_REFUSED, HS_UNKNOWN_HOST, HS_DONE };

struct conn {
    struct side side[2]; /* 0 connected, 1 accepted */
    uint64_t id;
    size_t window;
    enum handshake handshake;
    struct event ev;
    unsigned tries;
    uint64_t deadline_ns;
};

struct sim_stream {
    struct env_stream base; /* first */
    struct process *process;
    struct side *side;
    const struct env_stream_events *events;
    void *ctx;
    void (*connected)(struct env_stream *, void *, enum status);
    struct sim_listener *listener; /* whose accept still has to run */
    struct link link;              /* process.streams */
    struct link ready;             /* sim_loop.streams */
    struct segments queue;         /* not yet taken by the kernel */
    size_t queued;
    bool connecting, connect_told, paused, want_drained, drained, broken, write_failed, finished, in_turn, dead;
    enum status broken_status; /* of the connection, or of connecting */
    const char *broken_text;
    char peer[80];
};

static struct side *peer_of(struct side *s) { return &s->conn->side[s == &s->conn->side[0] ? 1 : 0]; }
static struct sim_stream *stream_of(const struct env_stream *s) { return (struct sim_stream *)s; }
static bool cut(const struct side *s) { return s->out != NULL && s->out->cut; }

void net_init(struct world *w)
{
    w->net = (struct sim_net_options){
        .latency_ns = 50 * NS_PER_US,
        .jitter_ns = 100 * NS_PER_US,
        .spike_one_in = 500,
        .loss_one_in = 0,
        .retransmit_ns = 200 * NS_PER_MS,
        .reset_one_in = 0,
        .split_one_in = 8,
        .bytes_per_s = 1250000000, /* 10 Gbit/s */
        .window_bytes_min = 64 * 1024,
        .window_bytes_max = 1024 * 1024,
        .connect_timeout_ns = 20 * NS_PER_S,
        .give_up_ns_min = 15 * NS_PER_S,
        .give_up_ns_max = 60 * NS_PER_S,
    };
}

struct sim_net_options *net_options(struct world *w) { return &w->net; }

/* ---- segments ---- */

static void segments_push(struct segments *q, struct segment *s)
{
    s->next = NULL;
    if (q->last != NULL) q->last->next = s;
    else q->first = s;
    q->last = s;
}

static struct segment *segments_pop(struct segments *q)
{
    struct segment *s = q->first;
    q->first = s->next;
    if (q->first == NULL) q->last = NULL;
    return s;
}

static void segments_clear(struct segments *q)
{
    while (q->first != NULL) mem_free(segments_pop(q));
}

static struct segment *segment_new(struct world *w, enum segment_kind kind, const void *p, size_t n)
{
    struct segment *s = heap_alloc(&w->heap, sizeof *s + n);
    s->next = NULL;
    s->arrive_ns = UINT64_MAX;
    s->kind = kind;
    s->n = (uint32_t)n;
    s->read = 0;
    if (n != 0) memcpy(s->data, p, n);
    return s;
}

/* ---- links ---- */

static struct net_link *link_get(struct sim_node *from, struct sim_node *to)
{
    struct world *w = from->world;
    ASSERT(from != to);
    uint64_t key = (uint64_t)from->id << 32 | to->id;
    struct net_link *l = map_get(&w->links, key);
    if (l != NULL) return l;
    struct heap *old = heap_enter(&w->heap);
    l = mem_zalloc(sizeof *l);
    map_set(&w->links, key, l);
    heap_enter(old);
    return l;
}

/* How long one segment takes over the way from s to its peer. */
static uint64_t way_ns(struct world *w, const struct side *s)
{
    const struct sim_net_options *o = &w->net;
    if (s->out == NULL) return LOOPBACK_NS + rng_below(&w->rng_net, LOOPBACK_NS);
    uint64_t jitter = o->jitter_ns + s->out->extra_jitter_ns;
    uint64_t ns = o->latency_ns + s->out->extra_ns + rng_below(&w->rng_net, jitter + 1);
    if (rng_chance(&w->rng_net, o->spike_one_in)) ns += rng_below(&w->rng_net, 50 * jitter + 1);
    return ns;
}

/* ---- sides ---- */

static void on_arrive(struct world *w, struct event *ev);
static void on_give_up(struct world *w, struct event *ev);
static void on_reset(struct world *w, struct event *ev);
static void on_handshake(struct world *w, struct event *ev);

static void side_init(struct conn *c, struct side *s, struct sim_node *node, struct sim_node *other)
{
    s->conn = c;
    s->node = node;
    s->out = node != other ? link_get(node, other) : NULL;
    s->state = SIDE_NEW;
    event_init(&s->arrive, EV_SEGMENT, other->id, s, on_arrive);
    event_init(&s->give_up, EV_GIVE_UP, node->id, s, on_give_up);
    event_init(&s->reset, EV_RESET, node->id, s, on_reset);
    list_push_back(&node->sides, &s->link);
}

static void conn_free_if_over(struct conn *c)
{
    if (c->handshake != HS_DONE) return;
    for (int i = 0; i < 2; i++) {
        struct side *s = &c->side[i];
        if (s->state == SIDE_OPEN || s->state == SIDE_CLOSED || s->stream != NULL) return;
        if (s->flying.first != NULL || event_queued(&s->reset)) return;
    }
    for (int i = 0; i < 2; i++) {
        struct side *s = &c->side[i];
        struct world *w = s->node->world;
        ASSERT(!event_queued(&s->arrive));
        queue_remove(&w->queue, &s->give_up);
        segments_clear(&s->arrived);
        link_remove(&s->link);
    }
    mem_free(c);
}

static void stream_ready(struct sim_stream *s)
{
    if (s->finished || s->dead) return;
    struct sim_loop *l = loop_of(s->base.loop);
    if (!link_linked(&s->ready)) list_push_back(&l->streams, &s->ready);
    loop_ready(l);
}

/* The stream has no connection any more; it tells its owner so when it has told all that arrived. */
static void stream_break(struct sim_stream *s, enum status st, const char *text)
{
    if (s->broken) return;
    s->broken = true;
    s->broken_status = st;
    s->broken_text = text;
    s->write_failed = s->queued != 0;
    segments_clear(&s->queue);
    s->queued = 0;
    s->drained = s->want_drained = false;
    stream_ready(s);
}

/* Nothing more is heard from this side, and it hears nothing: what it still has flying is up to the caller. */
static void side_gone(struct side *s, enum status st, const char *text)
{
    struct world *w = s->node->world;
    if (s->state == SIDE_GONE) return;
    s->state = SIDE_GONE;
    queue_remove(&w->queue, &s->give_up);
    queue_remove(&w->queue, &s->reset);
    if (s->stream != NULL) {
        struct sim_stream *stream = s->stream;
        if (stream->listener == NULL) {
            stream_break(stream, st, text);
        } else { /* never told of: the kernel drops it */
            if (link_linked(&stream->ready)) link_remove(&stream->ready);
            link_remove(&stream->link);
            mem_free(stream);
            s->stream = NULL;
        }
    }
}

static void flying_drop(struct side *s)
{
    queue_remove(&s->node->world->queue, &s->arrive);
    segments_clear(&s->flying);
    s->held = false;
}

static void start_give_up(struct side *s)
{
    struct world *w = s->node->world;
    if (s->state == SIDE_GONE || event_queued(&s->give_up)) return;
    world_schedule(w, &s->give_up, w->at + rng_between(&w->rng_net, w->net.give_up_ns_min, w->net.give_up_ns_max));
}

static void on_give_up(struct world *w, struct event *ev)
{
    struct side *s = ev->ptr;
    w->counters.give_ups++;
    flying_drop(s);
    side_gone(s, ST_TIMEOUT, "connection timed out");
    conn_free_if_over(s->conn);
}

/* A reset is on its way to s, sent by its peer's machine. Lost if the link is cut: then s does not learn of it. */
static void send_reset(struct side *s)
{
    struct world *w = s->node->world;
    if (s->state == SIDE_GONE || event_queued(&s->reset)) return;
    if (cut(peer_of(s))) return;
    world_schedule(w, &s->reset, w->at + way_ns(w, peer_of(s)));
}

static void on_reset(struct world *w, struct event *ev)
{
    struct side *s = ev->ptr;
    struct side *peer = peer_of(s);
    w->counters.resets++;
    if (peer->state == SIDE_GONE) flying_drop(peer); /* what comes after a reset is not heard */
    flying_drop(s);
    if (rng_next(&w->rng_net) & 1) { /* some kernels let the owner read what had arrived, some don't */
        segments_clear(&s->arrived);
        s->arrived_bytes = 0;
        s->fin = false;
    }
    side_gone(s, ST_CLOSED, "connection reset by peer");
    conn_free_if_over(s->conn);
}

/* ---- sending ---- */

static void fly(struct world *w, struct side *s, struct segment *g)
{
    const struct sim_net_options *o = &w->net;
    uint64_t at = w->at;
    w->counters.segments++;
    w->counters.bytes_sent += g->n;
    if (s->out != NULL && o->bytes_per_s != 0) {
        s->node->nic_free_at = MAX(at, s->node->nic_free_at) + g->n * NS_PER_S / o->bytes_per_s;
        at = s->node->nic_free_at;
    }
    segments_push(&s->flying, g);
    if (s->held || cut(s)) {
        w->counters.segments_held++;
        s->held = true;
        start_give_up(s);
        return;
    }
    at += way_ns(w, s);
    uint64_t again = o->retransmit_ns;
    for (; s->out != NULL && rng_chance(&w->rng_net, o->loss_one_in) && again < 64 * o->retransmit_ns; again *= 2) {
        w->counters.segments_lost++;
        /* Often later segments make the other side ask for it soon; else a timer does. */
        at += rng_next(&w->rng_net) & 1 ? 3 * o->latency_ns : again + rng_below(&w->rng_net, again / 4 + 1);
    }
    g->arrive_ns = s->last_arrive_ns = MAX(at, s->last_arrive_ns);
    if (s->flying.first == g) world_schedule(w, &s->arrive, g->arrive_ns);
    if (s->out != NULL && g->kind == SEGMENT_DATA && rng_chance(&w->rng_net, o->reset_one_in)) {
        /* A firewall forgot the connection, say: both sides are told, before or after this arrives. */
        send_reset(s);
        send_reset(peer_of(s));
    }
}

/* Takes what the window allows; returns how much. */
static size_t kernel_take(struct world *w, struct side *s, const uint8_t *p, size_t n)
{
    size_t room = s->conn->window - MIN(s->conn->window, s->unread);
    size_t taken = MIN(n, room);
    for (size_t at = 0; at < taken;) {
        size_t part = MIN(taken - at, SEGMENT_BYTES_MAX);
        if (part > 1 && rng_chance(&w->rng_net, w->net.split_one_in)) part = rng_between(&w->rng_net, 1, part - 1);
        s->unread += part;
        fly(w, s, segment_new(w, SEGMENT_DATA, p + at, part));
        at += part;
    }
    return taken;
}

/* The window may have opened: what was queued goes on. */
static void stream_push(struct world *w, struct sim_stream *s)
{
    if (s->broken || s->connecting || s->queue.first == NULL) return;
    while (s->queue.first != NULL) {
        struct segment *g = s->queue.first;
        size_t taken = kernel_take(w, s->side, g->data + g->read, g->n - g->read);
        g->read += (uint32_t)taken;
        s->queued -= taken;
        if (g->read < g->n) return;
        mem_free(segments_pop(&s->queue));
    }
    if (s->want_drained) {
        s->want_drained = false;
        s->drained = true;
        stream_ready(s);
    }
}

/* The owner of `to` took n bytes: the sender hears of it, if it can. */
static void acknowledge(struct world *w, struct side *to, size_t n)
{
    struct side *from = peer_of(to);
    if (cut(to)) {
        from->acks_held += n;
        return;
    }
    from->unread -= n;
    if (from->stream != NULL) stream_push(w, from->stream);
}

/* ---- arriving ---- */

static void on_accepted(struct world *w, struct side *s);

/* True if the segment was taken off the wire. */
static bool arrive(struct world *w, struct side *from, struct segment *g)
{
    struct side *to = peer_of(from);
    if (!to->node->up) { /* no answer: it is sent again and again */
        g->arrive_ns = UINT64_MAX;
        if (!from->held) w->counters.half_open++;
        from->held = true;
        start_give_up(from);
        return false;
    }
    segments_pop(&from->flying);
    if (g->kind == SEGMENT_ACCEPT && to->state == SIDE_NEW) on_accepted(w, to);
    if (cut(to) && g->kind == SEGMENT_DATA) {
        from->unacked = true;
        start_give_up(from);
    }
    if (g->kind == SEGMENT_FIN) {
        from->state = SIDE_GONE;
        queue_remove(&w->queue, &from->give_up);
        to->fin = true;
    } else if (to->state != SIDE_OPEN) {
        if (g->kind == SEGMENT_DATA) {
            to->state = SIDE_GONE;
            if (rng_next(&w->rng_net) & 1) flying_drop(to); /* its last words may be lost with the reset */
            send_reset(from);
        }
    }
    if (to->state == SIDE_OPEN && g->kind == SEGMENT_DATA) {
        segments_push(&to->arrived, g);
        to->arrived_bytes += g->n;
    } else {
        mem_free(g);
    }
    if (to->stream != NULL) stream_ready(to->stream);
    return true;
}

static void on_arrive(struct world *w, struct event *ev)
{
    struct side *s = ev->ptr;
    while (s->flying.first != NULL && s->flying.first->arrive_ns <= w->now)
        if (!arrive(w, s, s->flying.first)) break;
    if (s->flying.first != NULL && !s->held) world_schedule(w, &s->arrive, s->flying.first->arrive_ns);
    conn_free_if_over(s->conn);
}

/* What was held back gets through, as soon as it is sent again. */
static void release(struct world *w, struct side *s, uint64_t backoff_ns)
{
    if (!s->held) return;
    s->held = false;
    uint64_t at = MAX(w->at + rng_below(&w->rng_net, backoff_ns + 1), s->last_arrive_ns);
    for (struct segment *g = s->flying.first; g != NULL; g = g->next) {
        at += way_ns(w, s);
        g->arrive_ns = s->last_arrive_ns = at;
    }
    if (s->flying.first != NULL) world_schedule(w, &s->arrive, s->flying.first->arrive_ns);
}

static void stop_give_up_if_well(struct world *w, struct side *s)
{
    if (!s->held && !s->unacked) queue_remove(&w->queue, &s->give_up);
}

/* ---- streams ---- */

static struct sim_stream *stream_new(struct sim_loop *l, struct side *side)
{
    struct world *w = l->process->node->world;
    struct sim_stream *s = heap_zalloc(&w->heap, sizeof *s);
    s->base.loop = &l->base;
    s->process = l->process;
    s->side = side;
    list_push_back(&l->process->streams, &s->link);
    side->stream = s;
    side->state = SIDE_OPEN;
    return s;
}

static void stream_free(struct sim_stream *s)
{
    segments_clear(&s->queue);
    mem_free(s);
}

void sim_stream_set_events(struct env_stream *stream, const struct env_stream_events *events, void *ctx)
{
    struct sim_stream *s = stream_of(stream);
    s->events = events;
    s->ctx = ctx;
}

static struct world *stream_world(const struct sim_stream *s)
{
    ASSERT(!s->dead && loop_is_ours(loop_of(s->base.loop)));
    return s->process->node->world;
}

void sim_stream_write(struct env_stream *stream, struct bytes data)
{
    struct sim_stream *s = stream_of(stream);
    struct world *w = stream_world(s);
    if (data.n == 0) return;
    if (s->broken) { /* told of even while paused */
        s->write_failed = true;
        stream_ready(s);
        return;
    }
    if (!s->connecting && s->queue.first == NULL) {
        size_t taken = kernel_take(w, s->side, data.p, data.n);
        data = bytes_of(data.p + taken, data.n - taken);
    }
    while (data.n != 0) {
        size_t part = MIN(data.n, SEGMENT_BYTES_MAX);
        segments_push(&s->queue, segment_new(w, SEGMENT_DATA, data.p, part));
        s->queued += part;
        s->want_drained = true;
        data = bytes_of(data.p + part, data.n - part);
    }
}

size_t sim_stream_queued(const struct env_stream *stream) { return stream_of(stream)->queued; }

void sim_stream_pause(struct env_stream *stream)
{
    struct sim_stream *s = stream_of(stream);
    stream_world(s);
    s->paused = true;
}

void sim_stream_resume(struct env_stream *stream)
{
    struct sim_stream *s = stream_of(stream);
    stream_world(s);
    s->paused = false;
    stream_ready(s);
}

const char *sim_stream_peer(const struct env_stream *stream) { return stream_of(stream)->peer; }

/* The kernel closes the socket of a side whose owner is gone. */
static void kernel_close(struct world *w, struct side *s, bool reset)
{
    struct conn *c = s->conn;
    s->stream = NULL;
    segments_clear(&s->arrived);
    s->arrived_bytes = 0;
    if (c->handshake != HS_DONE) { /* nobody was told of it yet */
        queue_remove(&w->queue, &c->ev);
        c->handshake = HS_DONE;
        s->state = SIDE_GONE;
    } else if (s->state == SIDE_OPEN && reset) {
        flying_drop(s);
        side_gone(s, ST_OK, "");
        send_reset(peer_of(s));
    } else if (s->state == SIDE_OPEN) {
        s->state = SIDE_CLOSED;
        fly(w, s, segment_new(w, SEGMENT_FIN, NULL, 0));
    }
    conn_free_if_over(c);
}

void sim_stream_close(struct env_stream *stream)
{
    struct sim_stream *s = stream_of(stream);
    struct world *w = stream_world(s);
    /* Bytes that come in while the socket is being closed make the kernel answer with a reset. */
    bool reset = s->side->arrived_bytes != 0 && rng_chance(&w->rng_net, 4);
    if (link_linked(&s->ready)) link_remove(&s->ready);
    link_remove(&s->link);
    kernel_close(w, s->side, reset);
    s->side = NULL;
    s->dead = true;
    if (!s->in_turn) stream_free(s);
}

/* One read: a view of the first segment, or a block of its own size, so that reading beyond it is noticed. */
static void stream_read(struct world *w, struct sim_stream *s)
{
    struct side *side = s->side;
    struct segment *g = side->arrived.first;
    size_t n = MIN(side->arrived_bytes, READ_BYTES_MAX);
    if (n > 1 && rng_chance(&w->rng_net, w->net.split_one_in)) n = rng_between(&w->rng_net, 1, n - 1);
    side->arrived_bytes -= n;
    uint8_t *block = NULL;
    struct segment *whole = NULL;
    struct bytes data;
    if (g->n - g->read == n) {
        whole = segments_pop(&side->arrived);
        data = bytes_of(whole->data + whole->read, n);
    } else {
        block = heap_alloc(&w->heap, n);
        for (size_t at = 0; at < n;) {
            g = side->arrived.first;
            size_t part = MIN(n - at, g->n - g->read);
            memcpy(block + at, g->data + g->read, part);
            g->read += (uint32_t)part;
            at += part;
            if (g->read == g->n) mem_free(segments_pop(&side->arrived));
        }
        data = bytes_of(block, n);
    }
    world_mix(w, EV_DATA, s->process->node->id, hash64(data, side->conn->id));
    w->counters.bytes_delivered += n;
    acknowledge(w, side, n);
    loop_charge(w);
    s->events->data(&s->base, s->ctx, data);
    mem_free(block);
    mem_free(whole);
}

/* Its owner must not be called any more. */
static bool stream_over(const struct sim_stream *s) { return s->dead || s->finished || s->process->doomed; }

static void stream_tell(struct world *w, struct sim_stream *s)
{
    if (s->listener != NULL) {
        struct sim_listener *l = s->listener;
        s->listener = NULL;
        loop_charge(w);
        l->accept(l->ctx, &s->base);
        ASSERT(s->dead || s->events != NULL);
    }
    if (!stream_over(s) && s->connected != NULL && !s->connect_told && (s->broken || !s->connecting)) {
        s->connect_told = true;
        bool failed = s->connecting;
        s->finished = failed;
        loop_charge(w);
        s->connected(&s->base, s->ctx, failed ? s->broken_status : ST_OK);
    }
    if (!stream_over(s) && s->drained) {
        s->drained = false;
        if (s->events->drained != NULL && s->queued == 0) { /* else more was queued meanwhile: it will be told */
            loop_charge(w);
            s->events->drained(&s->base, s->ctx);
        }
    }
    for (int i = 0; i < READS_PER_TURN; i++) {
        if (stream_over(s) || s->paused || s->connecting || s->side->arrived_bytes == 0) break;
        stream_read(w, s);
    }
    if (stream_over(s) || s->connecting) return;
    bool fails = s->broken && s->write_failed;
    if (s->paused && !fails) return; /* who does not read does not see the end */
    if (s->side->arrived_bytes != 0 && !s->paused) {
        stream_ready(s);
    } else if (s->broken || s->side->fin) {
        bool orderly = s->side->fin && s->side->arrived_bytes == 0;
        s->finished = true;
        loop_charge(w);
        if (orderly) s->events->closed(&s->base, s->ctx, ST_OK, "closed by the other side");
        else s->events->closed(&s->base, s->ctx, s->broken_status, s->broken_text);
    }
}

void net_stream_turn(struct world *w, struct link *ready)
{
    struct sim_stream *s = CONTAINER_OF(ready, struct sim_stream, ready);
    s->in_turn = true;
    stream_tell(w, s);
    s->in_turn = false;
    if (s->dead) stream_free(s);
}

/* ---- listening ---- */

/* Splits "host:port"; the host is without brackets. */
static enum status address_split(const char *address, char host[256], uint16_t *port, struct error *err)
{
    const char *colon = strrchr(address, ':');
    uint64_t number = 0;
    if (colon == NULL || colon == address || !bytes_to_u64(bytes_str(colon + 1), &number) || number > UINT16_MAX)
        return error_set(err, ST_INVALID, "address '%s': expected host:port", address);
    size_t n = (size_t)(colon - address);
    if (address[0] == '[' && n > 2 && address[n - 1] == ']') {
        address++;
        n -= 2;
    }
    if (n > 255) return error_set(err, ST_TOO_LARGE, "address '%s': the host is longer than 255 bytes", address);
    memcpy(host, address, n);
    host[n] = '\0';
    *port = (uint16_t)number;
    return ST_OK;
}

static bool host_is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

static bool host_is_any(const char *host) { return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0; }

static struct net_port *port_get(struct sim_node *n, uint16_t port) { return map_get(&n->ports, port); }

static uint16_t port_free(struct sim_node *n)
{
    do {
        n->next_port = n->next_port < 60999 ? n->next_port + 1 : 32768;
    } while (port_get(n, n->next_port) != NULL);
    return n->next_port;
}

enum status sim_listen(struct env_loop *loop, const char *address, env_accept_fn accept, void *ctx,
                       struct env_listener **out, struct error *err)
{
    struct sim_loop *l = loop_of(loop);
    struct process *p = l->process;
    struct sim_node *n = p->node;
    struct world *w = n->world;
    char host[256];
    uint16_t port;
    ASSERT(loop_is_ours(l));
    enum status st = address_split(address, host, &port, err);
    if (st != ST_OK) return st;
    if (!host_is_any(host) && !host_is_loopback(host) && strcmp(host, n->host) != 0)
        return error_set(err, ST_UNAVAILABLE, "listen on '%s': not an address of this machine", address);
    if (port == 0) port = port_free(n);
    struct heap *old = heap_enter(&w->heap);
    struct net_port *np = port_get(n, port);
    if (np == NULL) {
        np = mem_zalloc(sizeof *np);
        list_init(&np->listeners);
        map_set(&n->ports, port, np);
    }
    struct sim_listener *r = mem_zalloc(sizeof *r);
    heap_enter(old);
    r->base.loop = loop;
    r->process = p;
    r->port = port;
    r->loopback = host_is_loopback(host);
    r->accept = accept;
    r->ctx = ctx;
    list_push_back(&p->listeners, &r->link);
    list_push_back(&np->listeners, &r->port_link);
    np->count++;
    *out = &r->base;
    return ST_OK;
}

uint16_t sim_listener_port(struct env_listener *l) { return ((struct sim_listener *)l)->port; }

void sim_listener_close(struct env_listener *listener)
{
    struct sim_listener *r = (struct sim_listener *)listener;
    struct sim_node *n = r->process->node;
    struct world *w = n->world;
    ASSERT(loop_is_ours(loop_of(listener->loop)));
    struct list *streams = &r->process->streams;
    for (struct link *k = list_first(streams), *next; k != NULL; k = next) {
        struct sim_stream *s = CONTAINER_OF(k, struct sim_stream, link);
        next = list_next(streams, k);
        if (s->listener != r) continue;
        struct side *side = s->side;
        if (link_linked(&s->ready)) link_remove(&s->ready);
        link_remove(&s->link);
        stream_free(s);
        kernel_close(w, side, true);
    }
    struct net_port *np = port_get(n, r->port);
    link_remove(&r->link);
    link_remove(&r->port_link);
    if (--np->count == 0) {
        map_remove(&n->ports, r->port);
        mem_free(np);
    }
    mem_free(r);
}

static struct sim_listener *listener_pick(struct world *w, struct sim_node *n, uint16_t port, bool local)
{
    struct net_port *np = port_get(n, port);
    if (np == NULL) return NULL;
    uint64_t skip = rng_below(&w->rng_net, np->count);
    struct sim_listener *found = NULL;
    for (struct link *k = list_first(&np->listeners); k != NULL; k = list_next(&np->listeners, k)) {
        struct sim_listener *r = CONTAINER_OF(k, struct sim_listener, port_link);
        if (r->loopback && !local) continue;
        found = r;
        if (skip-- == 0) break;
    }
    return found;
}

/* ---- connecting ---- */

static void on_accepted(struct world *w, struct side *s)
{
    struct side *peer = peer_of(s);
    struct sim_listener *r = listener_pick(w, s->node, s->port, s->out == NULL);
    if (r == NULL) {
        s->state = SIDE_GONE;
        flying_drop(peer);
        send_reset(peer);
        return;
    }
    struct sim_stream *stream = stream_new(loop_of(r->base.loop), s);
    stream->listener = r;
    snprintf(stream->peer, sizeof stream->peer, "%s:%u", peer->node->host, peer->port);
}

static void connect_fail(struct conn *c, enum status st, const char *text)
{
    struct side *s = &c->side[0];
    c->handshake = HS_DONE;
    side_gone(s, st, text);
    conn_free_if_over(c);
}

/* Again after 1 s, 2 s, 4 s …, as kernels do. */
static void handshake_retry(struct world *w, struct conn *c)
{
    uint64_t at = w->at + (NS_PER_S << MIN(c->tries, 6u)) + rng_below(&w->rng_net, 10 * NS_PER_MS);
    c->tries++;
    c->handshake = HS_TRY;
    world_schedule(w, &c->ev, MIN(at, c->deadline_ns));
}

static void handshake_next(struct world *w, struct conn *c, enum handshake next, struct side *from)
{
    if (cut(from) || (from->out != NULL && rng_chance(&w->rng_net, w->net.loss_one_in))) {
        handshake_retry(w, c);
        return;
    }
    c->handshake = next;
    world_schedule(w, &c->ev, w->at + way_ns(w, from));
}

static void on_handshake(struct world *w, struct event *ev)
{
    struct conn *c = ev->ptr;
    struct side *client = &c->side[0], *server = &c->side[1];
    switch (c->handshake) {
    case HS_TRY:
        if (w->now >= c->deadline_ns) {
            w->counters.connects_timed_out++;
            connect_fail(c, ST_TIMEOUT, "connect timed out");
        } else {
            handshake_next(w, c, HS_SYN, client);
        }
        break;
    case HS_SYN:
        if (!server->node->up) handshake_retry(w, c);
        else if (listener_pick(w, server->node, server->port, server->out == NULL) != NULL)
            handshake_next(w, c, HS_SYN_ACK, server);
        else handshake_next(w, c, HS_REFUSED, server);
        break;
    case HS_SYN_ACK:
        c->handshake = HS_DONE;
        client->stream->connecting = false;
        fly(w, client, segment_new(w, SEGMENT_ACCEPT, NULL, 0));
        stream_push(w, client->stream);
        stream_ready(client->stream);
        break;
    case HS_REFUSED:
        w->counters.connects_refused++;
        connect_fail(c, ST_UNAVAILABLE, "connection refused");
        break;
    case HS_UNKNOWN_HOST: connect_fail(c, ST_UNAVAILABLE, "unknown host"); break;
    case HS_DONE: ASSERT(false);
    }
}

static struct sim_node *node_by_host(struct sim_node *from, const char *host)
{
    struct world *w = from->world;
    if (host_is_loopback(host) || host_is_any(host)) return from;
    for (unsigned i = 0; i < w->node_count; i++)
        if (strcmp(w->nodes[i]->host, host) == 0) return w->nodes[i];
    return NULL;
}

struct env_stream *sim_connect(struct env_loop *loop, const char *address, const struct env_stream_events *events,
                               void *ctx, void (*connected)(struct env_stream *, void *, enum status))
{
    struct sim_loop *l = loop_of(loop);
    struct sim_node *n = l->process->node;
    struct world *w = n->world;
    char host[256];
    uint16_t port = 0;
    ASSERT(loop_is_ours(l) && connected != NULL);
    enum status st = address_split(address, host, &port, NULL);
    struct sim_node *to = st == ST_OK ? node_by_host(n, host) : NULL;
    struct conn *c = heap_zalloc(&w->heap, sizeof *c);
    w->counters.connects++;
    c->id = ++w->conn_count;
    c->window = rng_between(&w->rng_net, w->net.window_bytes_min, w->net.window_bytes_max);
    c->deadline_ns = w->at + w->net.connect_timeout_ns;
    c->handshake = to != NULL ? HS_TRY : HS_UNKNOWN_HOST;
    event_init(&c->ev, EV_HANDSHAKE, n->id, c, on_handshake);
    side_init(c, &c->side[0], n, to != NULL ? to : n);
    side_init(c, &c->side[1], to != NULL ? to : n, n);
    c->side[0].port = port_free(n);
    c->side[1].port = port;
    struct sim_stream *s = stream_new(l, &c->side[0]);
    s->events = events;
    s->ctx = ctx;
    s->connected = connected;
    s->connecting = true;
    snprintf(s->peer, sizeof s->peer, "%s", address);
    world_schedule(w, &c->ev, w->at);
    return &s->base;
}

/* ---- processes and machines end and begin ---- */

void net_process_end(struct process *p, bool power_loss)
{
    struct sim_node *n = p->node;
    struct world *w = n->world;
    for (struct link *k; (k = list_pop_front(&p->streams)) != NULL;) {
        struct sim_stream *s = CONTAINER_OF(k, struct sim_stream, link);
        struct side *side = s->side;
        if (link_linked(&s->ready)) link_remove(&s->ready);
        stream_free(s);
        side->stream = NULL;
        if (!power_loss) kernel_close(w, side, side->arrived_bytes != 0 || (rng_next(&w->rng_net) & 1));
    }
    for (struct link *k; (k = list_first(&p->listeners)) != NULL;) {
        struct sim_listener *r = CONTAINER_OF(k, struct sim_listener, link);
        struct net_port *np = port_get(n, r->port);
        link_remove(&r->link);
        link_remove(&r->port_link);
        if (--np->count == 0) {
            map_remove(&n->ports, r->port);
            mem_free(np);
        }
        mem_free(r);
    }
}

void net_power_loss(struct sim_node *n)
{
    struct world *w = n->world;
    for (struct link *k = list_first(&n->sides), *next; k != NULL; k = next) {
        struct side *s = CONTAINER_OF(k, struct side, link);
        struct conn *c = s->conn;
        next = list_next(&n->sides, k);
        while (next != NULL && CONTAINER_OF(next, struct side, link)->conn == c) next = list_next(&n->sides, next);
        if (c->side[0].node == n) { /* else the one who connects tries on */
            queue_remove(&w->queue, &c->ev);
            c->handshake = HS_DONE;
        }
        for (int i = 0; i < 2; i++) {
            struct side *x = &c->side[i];
            if (x->node != n) continue;
            /* What left the machine still arrives; how much that is, the seed says. */
            if (x->held || (rng_next(&w->rng_net) & 1)) flying_drop(x);
            segments_clear(&x->arrived);
            x->arrived_bytes = 0;
            /* It has not answered yet: after a boot it may. */
            if (x->state == SIDE_NEW && c->handshake != HS_DONE && c->handshake != HS_SYN_ACK) continue;
            side_gone(x, ST_OK, "");
        }
        conn_free_if_over(c);
    }
}

void net_node_boot(struct sim_node *n)
{
    struct world *w = n->world;
    for (struct link *k = list_first(&n->sides); k != NULL; k = list_next(&n->sides, k)) {
        struct side *peer = peer_of(CONTAINER_OF(k, struct side, link));
        if (!cut(peer)) release(w, peer, 2 * NS_PER_S);
    }
}

/* ---- faults ---- */

bool net_is_cut(const struct sim_node *from, const struct sim_node *to)
{
    struct net_link *l = map_get(&from->world->links, (uint64_t)from->id << 32 | to->id);
    return l != NULL && l->cut;
}

void net_cut(struct sim_node *from, struct sim_node *to)
{
    struct world *w = from->world;
    struct net_link *l = link_get(from, to);
    if (l->cut) return;
    l->cut = true;
    l->cut_at = w->at;
    w->counters.cuts++;
}

void net_heal(struct sim_node *from, struct sim_node *to)
{
    struct world *w = from->world;
    struct net_link *l = link_get(from, to);
    if (!l->cut) return;
    l->cut = false;
    w->counters.heals++;
    uint64_t backoff = MIN(w->at - l->cut_at, 2 * NS_PER_S);
    for (struct link *k = list_first(&from->sides); k != NULL; k = list_next(&from->sides, k)) {
        struct side *s = CONTAINER_OF(k, struct side, link);
        struct side *peer = peer_of(s);
        if (s->out != l) continue;
        if (to->up) {
            release(w, s, backoff);
            stop_give_up_if_well(w, s);
        }
        peer->unacked = false;
        stop_give_up_if_well(w, peer);
        peer->unread -= peer->acks_held;
        peer->acks_held = 0;
        if (peer->stream != NULL) stream_push(w, peer->stream);
    }
}

void net_cut_both(struct sim_node *a, struct sim_node *b)
{
    net_cut(a, b);
    net_cut(b, a);
}

void net_heal_both(struct sim_node *a, struct sim_node *b)
{
    net_heal(a, b);
    net_heal(b, a);
}

void net_heal_all(struct world *w)
{
    for (unsigned i = 0; i < w->node_count; i++)
        for (unsigned j = 0; j < w->node_count; j++)
            if (i != j && net_is_cut(w->nodes[i], w->nodes[j])) net_heal(w->nodes[i], w->nodes[j]);
}

void net_slow(struct sim_node *from, struct sim_node *to, uint64_t extra_ns, uint64_t extra_jitter_ns)
{
    struct net_link *l = link_get(from, to);
    l->extra_ns = extra_ns;
    l->extra_jitter_ns = extra_jitter_ns;
}

static bool side_can_reset(const struct side *s, const struct sim_node *other)
{
    const struct conn *c = s->conn;
    const struct side *peer = s == &c->side[0] ? &c->side[1] : &c->side[0];
    return c->handshake == HS_DONE && s->state == SIDE_OPEN && peer->state == SIDE_OPEN &&
           (other == NULL || peer->node == other);
}

/* Both sides hear of it, each when its own way brings it there. */
static void conn_reset(struct conn *c)
{
    send_reset(&c->side[0]);
    send_reset(&c->side[1]);
}

unsigned net_reset(struct sim_node *a, struct sim_node *b)
{
    unsigned n = 0;
    for (struct link *k = list_first(&a->sides); k != NULL; k = list_next(&a->sides, k)) {
        struct side *s = CONTAINER_OF(k, struct side, link);
        if (!side_can_reset(s, b)) continue;
        conn_reset(s->conn);
        n++;
    }
    return n;
}

bool net_reset_one(struct sim_node *a)
{
    unsigned n = 0;
    for (struct link *k = list_first(&a->sides); k != NULL; k = list_next(&a->sides, k))
        n += side_can_reset(CONTAINER_OF(k, struct side, link), NULL);
    if (n == 0) return false;
    uint64_t pick = rng_below(&a->world->rng_driver, n);
    for (struct link *k = list_first(&a->sides); k != NULL; k = list_next(&a->sides, k)) {
        struct side *s = CONTAINER_OF(k, struct side, link);
        if (side_can_reset(s, NULL) && pick-- == 0) {
            conn_reset(s->conn);
            break;
        }
    }
    return true;
}
