/* mesh_peer.c - outgoing connections: queues, reconnecting, pings.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "mesh/mesh_internal.h"

static void link_connect(struct mesh_link *l);

static const char *lane_name(const struct mesh_link *l) { return l->lane == MESH_URGENT ? "urgent" : "bulk"; }

static uint64_t now_ns(const struct mesh_link *l) { return env_now_ns(env_loop_env(l->peer->mesh->o.loop)); }

/* ---- the queue ---- */

size_t mesh_link_queued(const struct mesh_link *l)
{
    return l->out_bytes + (l->stream != NULL ? env_stream_queued(l->stream) : 0);
}

/* A part is done with, sent or not. */
static void part_drop(struct mesh_link *l, struct mesh_part *part)
{
    link_remove(&part->link);
    mesh_body_release(&part->body);
    buf_clear_keep(&part->own, MESH_KEEP_BYTES);
    if (l->spare != NULL) {
        buf_deinit(&part->own);
        mem_free(part);
        return;
    }
    l->spare = part;
}

static void out_clear(struct mesh_link *l)
{
    for (struct link *k; (k = list_first(&l->out)) != NULL;) part_drop(l, CONTAINER_OF(k, struct mesh_part, link));
    l->out_bytes = 0;
    l->out_frames = 0;
}

static void link_mark(struct mesh_link *l)
{
    struct mesh *m = l->peer->mesh;
    if (link_linked(&l->dirty)) return;
    list_push_back(&m->dirty[l->lane], &l->dirty);
    mesh_flush_later(m);
}

/* The part that the next frame goes to: the last one, unless that ends with a body or is long enough. */
static struct mesh_part *out_part(struct mesh_link *l, size_t frame_bytes)
{
    struct link *k = list_last(&l->out);
    struct mesh_part *last = k != NULL ? CONTAINER_OF(k, struct mesh_part, link) : NULL;
    if (last != NULL && last->body.bytes.n == 0 && last->own.n + frame_bytes <= MESH_SLICE_BYTES) return last;
    struct buf own = {0};
    struct mesh_part *part = l->spare;
    l->spare = NULL;
    if (part != NULL) own = part->own;
    else part = mem_alloc(sizeof *part);
    *part = (struct mesh_part){.own = own};
    list_push_back(&l->out, &part->link);
    return part;
}

static void out_put(struct mesh_link *l, uint16_t endpoint, uint8_t kind, struct bytes head, struct mesh_body *body)
{
    size_t n = MESH_HEADER_BYTES + head.n + body->bytes.n;
    struct mesh_part *part = out_part(l, n);
    if (body->release != NULL && body->bytes.n != 0) {
        mesh_frame_put_head(&part->own, kind, endpoint, head, body->bytes);
        part->body = *body;
        body->release = NULL;
    } else {
        mesh_frame_put(&part->own, kind, endpoint, head, body->bytes, true);
    }
    part->frames++;
    l->out_frames++;
    l->out_bytes += n;
    if (l->state == LINK_READY) link_mark(l);
}

enum status mesh_link_send(struct mesh_link *l, uint16_t endpoint, uint8_t kind, struct bytes head,
                           struct mesh_body *body)
{
    size_t max = l->peer->mesh->o.queue_bytes_max[l->lane];
    size_t queued = mesh_link_queued(l);
    if (l->state != LINK_READY) max = MIN(max, (size_t)MESH_WAIT_BYTES);
    if (queued > 0 && queued + MESH_HEADER_BYTES + head.n + body->bytes.n > max) {
        l->peer->dropped_frames++;
        return ST_OVERLOADED;
    }
    out_put(l, endpoint, kind, head, body);
    if (l->state == LINK_IDLE) link_connect(l);
    return ST_OK;
}

/* Gives the stream a slice of the first part; returns its bytes. */
static size_t write_slice(struct mesh_link *l)
{
    struct mesh_peer *p = l->peer;
    struct mesh_part *part = CONTAINER_OF(list_first(&l->out), struct mesh_part, link);
    struct bytes body = part->body.bytes, from;
    if (part->sent < part->own.n) from = bytes_of(part->own.p + part->sent, part->own.n - part->sent);
    else from = bytes_of(body.p + (part->sent - part->own.n), body.n - (part->sent - part->own.n));
    from.n = MIN(from.n, (size_t)MESH_SLICE_BYTES);
    env_stream_write(l->stream, from);
    part->sent += from.n;
    l->out_bytes -= from.n;
    p->sent_bytes += from.n;
    if (part->sent == part->own.n + body.n) {
        p->sent_frames += part->frames;
        l->out_frames -= part->frames;
        part_drop(l, part);
    }
    return from.n;
}

/* Gives the stream what it takes. What it could not send at once it has copied, so it gets no more until it has
 * drained: the rest waits here, in one place. */
void mesh_link_write(struct mesh_link *l)
{
    size_t written = 0;
    if (l->state != LINK_READY) return;
    while (l->out_bytes > 0 && env_stream_queued(l->stream) == 0) {
        if (l->lane == MESH_BULK && written >= MESH_BULK_TURN_BYTES) {
            link_mark(l);
            break;
        }
        written += write_slice(l);
    }
    ASSERT(l->out_bytes != 0 || l->out_frames == 0);
}

/* ---- ends of a connection ---- */

static void link_close(struct mesh_link *l, enum link_state next)
{
    env_timer_stop(&l->timer);
    if (l->stream != NULL) env_stream_close(l->stream);
    l->stream = NULL;
    if (link_linked(&l->dirty)) link_remove(&l->dirty);
    mesh_cutter_deinit(&l->in);
    l->in = (struct mesh_cutter){.body_max = MESH_GREETING_BODY_MAX};
    l->peer->dropped_frames += l->out_frames;
    out_clear(l);
    l->state = next;
}

/* Every end that was not asked for. The queue is dropped; the next attempt comes after a while. */
static void link_fail(struct mesh_link *l, bool mismatch, const char *why)
{
    struct mesh *m = l->peer->mesh;
    bool was_ready = l->state == LINK_READY;
    ASSERT(l->state == LINK_CONNECTING || l->state == LINK_GREETING || was_ready);
    if (mismatch || was_ready || l->failures == 0) /* not for each further attempt */
        diag(mismatch ? DIAG_ERROR : DIAG_WARN,
             "mesh.%s node=%" PRIu64 " shard=%u peer=%" PRIu64 " lane=%s address=%s why=\"%s\"",
             mismatch    ? "refused"
             : was_ready ? "disconnected"
                         : "unreachable",
             m->o.node_id, m->o.shard, l->peer->node_id, lane_name(l), l->peer->address, why);
    link_close(l, LINK_WAITING);
    l->failures = was_ready ? 1 : l->failures + 1;
    l->backoff_ns = l->failures == 1 ? MESH_BACKOFF_MIN_NS : MIN(2 * l->backoff_ns, MESH_BACKOFF_MAX_NS);
    uint64_t wait = mismatch ? MESH_MISMATCH_WAIT_NS : l->backoff_ns;
    uint64_t jitter = env_random_u64(env_loop_env(m->o.loop)) % (wait / 2);
    env_timer_start(&l->timer, wait / 2 + jitter);
}

/* ---- what comes back ---- */

static void link_ready(struct mesh_link *l)
{
    struct mesh *m = l->peer->mesh;
    if (l->failures > 0) {
        l->peer->reconnects++;
        diag(DIAG_INFO, "mesh.connected node=%" PRIu64 " shard=%u peer=%" PRIu64 " lane=%s address=%s attempts=%u",
             m->o.node_id, m->o.shard, l->peer->node_id, lane_name(l), l->peer->address, l->failures);
    }
    l->state = LINK_READY;
    l->failures = 0;
    l->ready_ns = l->tick_ns = l->alive_ns = now_ns(l);
    l->pings_out = 0;
    l->tick_queued = 0;
    env_timer_start(&l->timer, m->o.ping_ns);
    if (l->out_bytes > 0) link_mark(l);
}

static void on_pong(struct mesh_link *l, struct bytes body)
{
    struct mesh_peer *p = l->peer;
    struct reader r = reader_of(body);
    uint64_t sent = reader_u64(&r), now = now_ns(l);
    if (!reader_done(&r) || l->pings_out == 0 || sent < l->ready_ns || sent > now) return; /* not an answer to ours */
    uint64_t rtt = MAX(now - sent, 1);
    p->pongs++;
    l->pings_out--;
    l->alive_ns = now;
    if (l->lane == MESH_URGENT) p->rtt_ns = p->rtt_ns == 0 ? rtt : p->rtt_ns - p->rtt_ns / 8 + rtt / 8; /* RFC 6298 */
}

/* Returns false if the connection is gone. */
static bool on_frame(void *ctx, struct mesh_frame *f)
{
    struct mesh_link *l = ctx;
    struct mesh *m = l->peer->mesh;
    struct error err = {0};
    if (f->kind == MESH_REFUSE) {
        enum mesh_refusal why = MESH_REFUSED_FAULT;
        char text[700];
        if (mesh_refuse_decode(f->body, &why, text, sizeof text) != ST_OK)
            link_fail(l, false, "a refusal that makes no sense");
        else link_fail(l, why != MESH_REFUSED_FAULT, text);
        if (why == MESH_REFUSED_FENCED && m->o.fenced != NULL) m->o.fenced(m->o.ctx, text);
        return false;
    }
    if (l->state == LINK_GREETING && f->kind == MESH_HELLO) {
        struct mesh_hello mine, theirs;
        mesh_hello_of(l->peer->mesh, (uint8_t)l->lane, l->peer->node_id, &mine);
        enum status st = mesh_hello_decode(f->body, &theirs, &err);
        if (st == ST_OK) st = mesh_hello_check(&mine, &theirs, l->peer->address, &err);
        if (st != ST_OK) {
            link_fail(l, st != ST_CORRUPT, err.text);
            return false;
        }
        char why[700];
        if (!mesh_admit(m, l->peer->node_id, &theirs.lineage, l->peer->address, why, sizeof why)) {
            link_fail(l, true, why);
            return false;
        }
        link_ready(l);
    } else if (l->state == LINK_READY && f->kind == MESH_PONG) {
        on_pong(l, f->body);
    } else {
        snprintf(err.text, sizeof err.text, "it sent a frame of kind %u", f->kind);
        link_fail(l, false, err.text);
        return false;
    }
    return true;
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct mesh_link *l = ctx;
    struct error err = {0};
    enum status st = mesh_cutter_feed(&l->in, data, on_frame, l, &err);
    if (st != ST_OK && st != ST_CLOSED) {
        l->peer->mesh->stats.corrupt++;
        link_fail(l, false, err.text);
    }
}

static void on_drained(struct env_stream *s, void *ctx) { mesh_link_write(ctx); }

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    link_fail(ctx, false, text);
}

static const struct env_stream_events link_events = {.data = on_data, .drained = on_drained, .closed = on_closed};

static void on_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct mesh_link *l = ctx;
    ASSERT(l->state == LINK_CONNECTING);
    if (st != ST_OK) {
        link_fail(l, false, status_name(st));
        return;
    }
    struct mesh_hello hello;
    struct buf b = {0};
    mesh_hello_of(l->peer->mesh, (uint8_t)l->lane, l->peer->node_id, &hello);
    buf_put(&b, MESH_MAGIC, MESH_MAGIC_BYTES);
    mesh_hello_put(&b, &hello);
    env_stream_write(s, buf_view(&b));
    buf_deinit(&b);
    l->state = LINK_GREETING;
    env_timer_start(&l->timer, MESH_CONNECT_NS);
}

static void link_connect(struct mesh_link *l)
{
    ASSERT(l->stream == NULL);
    l->state = LINK_CONNECTING;
    l->stream = env_connect(l->peer->mesh->o.loop, l->peer->address, &link_events, l, on_connected);
    env_timer_start(&l->timer, MESH_CONNECT_NS);
}

/* ---- time ---- */

/* A half-open connection takes bytes until its buffers are full and answers nothing. On the bulk lane a pong waits
 * behind the data, so there a queue that shrinks is a sign of life too. */
static void link_tick(struct mesh_link *l)
{
    struct mesh *m = l->peer->mesh;
    uint64_t now = now_ns(l), max = MESH_PINGS_LOST_MAX * m->o.ping_ns;
    size_t queued = env_stream_queued(l->stream);
    if (now - l->tick_ns > 2 * m->o.ping_ns) l->alive_ns = now; /* this loop stood still: answers may lie unread */
    if (l->lane == MESH_BULK && l->tick_queued > 0 && queued != l->tick_queued) l->alive_ns = now;
    l->tick_ns = now;
    l->tick_queued = queued;
    if (l->pings_out > 0 && now - MAX(l->ping_ns, l->alive_ns) >= max) {
        char why[96];
        uint64_t silent_ms = (now - MAX(l->ping_ns, l->alive_ns)) / NS_PER_MS;
        snprintf(why, sizeof why, "no answer to a ping for %" PRIu64 " ms", silent_ms);
        link_fail(l, false, why);
        return;
    }
    if (l->pings_out == 0 || l->out_bytes == 0) { /* else one waits here already, or will be late anyway */
        uint8_t body[8];
        put_u64(body, now);
        struct mesh_body none = {0};
        out_put(l, MESH_NODE, MESH_PING, bytes_of(body, sizeof body), &none);
        l->peer->pings++;
        if (l->pings_out++ == 0) l->ping_ns = now;
    }
    env_timer_start(&l->timer, m->o.ping_ns);
}

static void on_timer(struct env_timer *timer)
{
    struct mesh_link *l = CONTAINER_OF(timer, struct mesh_link, timer);
    switch (l->state) {
    case LINK_IDLE: break;
    case LINK_CONNECTING: link_fail(l, false, "no connection in time"); break;
    case LINK_GREETING: link_fail(l, false, "no hello in time"); break;
    case LINK_READY: link_tick(l); break;
    case LINK_WAITING: /* the urgent lane is kept up: its round-trip times say who is there */
        if (l->lane == MESH_URGENT || l->out_bytes > 0) link_connect(l);
        else l->state = LINK_IDLE;
        break;
    }
}

/* ---- peers ---- */

struct mesh_peer *mesh_peer_new(struct mesh *m, uint64_t node_id, const char *address)
{
    struct mesh_peer *p = mem_zalloc(sizeof *p);
    p->mesh = m;
    p->node_id = node_id;
    snprintf(p->address, sizeof p->address, "%s", address);
    for (enum mesh_lane lane = 0; lane < MESH_LANES; lane++) {
        struct mesh_link *l = &p->links[lane];
        l->peer = p;
        l->lane = lane;
        l->in.body_max = MESH_GREETING_BODY_MAX;
        list_init(&l->out);
        env_timer_init(m->o.loop, &l->timer, on_timer);
    }
    return p;
}

void mesh_peer_reset(struct mesh_peer *p, const char *why)
{
    for (enum mesh_lane lane = 0; lane < MESH_LANES; lane++) {
        struct mesh_link *l = &p->links[lane];
        if (l->state == LINK_READY)
            diag(DIAG_INFO,
                 "mesh.disconnected node=%" PRIu64 " shard=%u peer=%" PRIu64 " lane=%s address=%s why=\"%s\"",
                 p->mesh->o.node_id, p->mesh->o.shard, p->node_id, lane_name(l), p->address, why);
        link_close(l, LINK_IDLE);
        l->failures = 0;
    }
}

void mesh_peer_free(struct mesh_peer *p)
{
    for (enum mesh_lane lane = 0; lane < MESH_LANES; lane++) {
        link_close(&p->links[lane], LINK_IDLE);
        struct mesh_part *spare = p->links[lane].spare;
        if (spare != NULL) buf_deinit(&spare->own);
        mem_free(spare);
    }
    mem_free(p);
}
