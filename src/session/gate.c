/* gate.c - takes requests to the replicas that serve them, and brings each answer back once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each (gate, partition) pair is a session of its own with its own sequences, so that a slow partition does not hold back
 * what others may forget, and windows never have to be told apart when partitions are merged. */
#include "session/gate.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "mesh/mesh.h"
#include "model/catalog.h"
#include "model/op.h"
#include "replica/host.h"

#define TICK_NS          (10 * NS_PER_MS)
#define BACKOFF_MIN      (2 * NS_PER_MS)
#define BACKOFF_MAX      (100 * NS_PER_MS)
#define BULK_BYTES       (64u << 10) /* larger requests take the bulk lane */
#define SLOW_NS_PER_BYTE 100         /* 10 MB/s: what a large request may take longer on each of its ways */

enum flight_state {
    FLIGHT_NEW,
    FLIGHT_HERE, /* with a replica of this shard */
    FLIGHT_SENT, /* over the mesh */
    FLIGHT_WAIT, /* to be sent again at retry_ns */
};

/* What a gate knows of a partition. Who leads is known from news and from answers; that a request was not answered says
 * nothing about it, so then the leader is only doubted: others are asked, and the map goes on naming it. */
struct place {
    uint64_t partition_id;
    uint64_t session, next_sequence;
    hlc_t since;         /* what the partition has said that it has forgotten up to (op.since) */
    struct list writes;  /* flights with an id, by rising sequence */
    store_addr_t leader; /* 0: unknown */
    uint64_t term;       /* of the newest news; 0: none */
    bool own;            /* that news was of a replica on this node */
    bool doubted;        /* the leader did not answer: requests go to the members in turn */
    unsigned rotate;     /* which member to ask when nobody knows */
};

/* A request under way. */
struct flight {
    struct replica_request here;
    struct request *request;
    struct gate *gate;
    struct place *place;
    struct link all;   /* gate.all, by deadline nearly */
    struct link order; /* place.writes */
    struct link queue; /* gate.sent or gate.waiting */
    uint64_t id;
    enum flight_state state;
    store_addr_t target;
    uint64_t sent_ns, retry_ns, backoff_ns;
    unsigned sends; /* attempts whose end has not been heard of */
    bool unknown;   /* an attempt may have been executed */
    bool abandoned; /* `here` is with a replica, but the request was answered */
    struct buf op;
};

struct gate {
    struct gate_options options;
    struct env *env;
    uint64_t node_id;
    struct catalog *catalog;
    struct map places;                     /* partition id → struct place */
    struct map flights;                    /* id → struct flight */
    struct list all, sent, waiting, early; /* early: the catalog has no partition for them yet (by queue) */
    struct env_task answer;                /* answers what could be answered at once */
    struct list answered;                  /* flights, by queue */
    struct env_timer tick;                 /* runs while there are requests */
    bool stopped;
    uint64_t id_next, life;
    struct map attempts; /* target << 1 | bulk → how many were sent there by that lane */
    struct rng rng;
    struct flight *pool;
    size_t pool_count;
    struct gate_stats stats;
    /* the map as doors see it */
    bool map_stale;
    uint32_t map_table;
    struct gate_node *map_nodes;
    struct gate_partition *map_partitions;
    size_t map_node_count, map_partition_count;
};

struct env_loop *gate_loop(struct gate *g) { return g->options.loop; }

/* ---- flights ---- */

static struct flight *flight_new(struct gate *g)
{
    struct flight *f = g->pool;
    struct buf op = {0};
    if (f != NULL) {
        g->pool = *(struct flight **)f;
        memcpy(&op, (char *)f + offsetof(struct flight, op), sizeof op);
        g->pool_count--;
    } else {
        f = mem_alloc(sizeof *f);
    }
    *f = (struct flight){.gate = g, .id = g->id_next++, .backoff_ns = BACKOFF_MIN};
    f->op = op;
    buf_clear(&f->op);
    return f;
}

static void flight_free(struct flight *f)
{
    struct gate *g = f->gate;
    if (g->pool_count >= 1024 || f->op.cap > 4096) {
        buf_deinit(&f->op);
        mem_free(f);
        return;
    }
    *(struct flight **)f = g->pool;
    g->pool = f;
    g->pool_count++;
}

static void unqueue(struct flight *f)
{
    if (link_linked(&f->queue)) link_remove(&f->queue);
}

/* Ends the request. A flight whose replica_request is still with a replica stays until that comes back. */
static void finish(struct flight *f, enum status st, struct bytes result, const char *why)
{
    struct gate *g = f->gate;
    struct request *r = f->request;
    unqueue(f);
    link_remove(&f->all);
    if (link_linked(&f->order)) link_remove(&f->order);
    map_remove(&g->flights, f->id);
    g->stats.under_way--;
    r->status = st;
    r->result = result;
    if (st != ST_OK) error_set(&r->err, st, "%s", why);
    if (st == ST_OUTCOME_UNKNOWN) g->stats.unknown++;
    if (st == ST_UNAVAILABLE) g->stats.unavailable++;
    if (st == ST_OVERLOADED) g->stats.overloaded++;
    f->request = NULL;
    bool with_replica = f->state == FLIGHT_HERE;
    f->abandoned = with_replica;
    r->done(r);
    if (!with_replica) flight_free(f);
}

static void give_up(struct flight *f, const char *why)
{
    bool write = f->request->kind == REQUEST_WRITE;
    bool maybe = write && (f->unknown || f->state == FLIGHT_SENT || f->state == FLIGHT_HERE);
    finish(f, maybe ? ST_OUTCOME_UNKNOWN : ST_UNAVAILABLE, (struct bytes){0}, why);
}

static void retry_later(struct flight *f, uint64_t now)
{
    struct gate *g = f->gate;
    unqueue(f);
    f->state = FLIGHT_WAIT;
    f->retry_ns = now + f->backoff_ns / 2 + rng_below(&g->rng, f->backoff_ns);
    f->backoff_ns = MIN(f->backoff_ns * 2, BACKOFF_MAX);
    list_push_back(&g->waiting, &f->queue);
    g->stats.retries++;
}

/* ---- where to ---- */

static struct place *place_of(struct gate *g, uint64_t partition_id)
{
    struct place *p = map_get(&g->places, partition_id);
    if (p != NULL) return p;
    p = mem_zalloc(sizeof *p);
    p->partition_id = partition_id;
    p->session = env_random_u64(g->env);
    p->next_sequence = 1;
    list_init(&p->writes);
    map_set(&g->places, partition_id, p);
    return p;
}

static void learn_leader(struct gate *g, struct place *p, store_addr_t leader)
{
    p->doubted = false;
    if (p->leader == leader) return;
    p->leader = leader;
    g->map_stale = true;
}

/* Who to ask: the leader as last heard; else the members in turn. 0: none. */
static store_addr_t choose(struct gate *g, struct place *p)
{
    struct replica *here = p->leader == 0 ? g->options.local(g->options.ctx, p->partition_id) : NULL;
    if (here != NULL) learn_leader(g, p, replica_leader_store(here));
    if (p->leader != 0 && !p->doubted) return p->leader;
    const struct catalog_partition *c = catalog_partition(g->catalog, p->partition_id);
    if (c == NULL || c->count == 0) return 0;
    return c->replicas[p->rotate++ % c->count].store;
}

static void dispatch(struct flight *f);
static void encode_op(struct flight *f);

/* The partition does not know this gate's session (any more), and has forgotten some. If this was the only attempt it was not
 * executed, for it was refused; so it is sent as an op made after that. If there were others, one of them may have been. */
static void on_forgotten(struct flight *f, struct bytes result)
{
    struct place *p = f->place;
    p->since = MAX(p->since, get_u64(result.p + 1));
    if (f->unknown || f->sends != 1) {
        finish(f, ST_OUTCOME_UNKNOWN, (struct bytes){0}, "its outcome is not kept any more: its id is too old");
        return;
    }
    f->sends = 0;
    unqueue(f);
    f->state = FLIGHT_NEW;
    encode_op(f);
    dispatch(f);
}

static void on_outcome(struct flight *f, enum status st, bool maybe, store_addr_t leader, struct bytes result)
{
    struct gate *g = f->gate;
    struct place *p = f->place;
    uint64_t now = env_now_ns(g->env);
    if (st == ST_OK) {
        if (f->target != 0) learn_leader(g, p, f->target);
        if (result.n == 9 && result.p[0] == 'W' && f->request->kind == REQUEST_WRITE) on_forgotten(f, result);
        else finish(f, ST_OK, result, NULL);
        return;
    }
    if (!maybe && f->sends > 0) f->sends--; /* that one was not executed, nor will be */
    f->unknown = f->unknown || (maybe && f->request->kind == REQUEST_WRITE);
    if (st == ST_OVERLOADED && !f->unknown) {
        finish(f, ST_OVERLOADED, (struct bytes){0}, "the partition's queue is full: try again later");
        return;
    }
    if (st == ST_UNAVAILABLE && result.n != 0 && !f->unknown) { /* the only copy is lost; the replica says how */
        char why[300];
        snprintf(why, sizeof why, "%.*s", (int)MIN(result.n, sizeof why - 1), (const char *)result.p);
        finish(f, ST_UNAVAILABLE, (struct bytes){0}, why);
        return;
    }
    if (st == ST_INVALID) {
        finish(f, ST_INVALID, (struct bytes){0}, "the op is malformed");
        return;
    }
    if (st == ST_UNAVAILABLE && !f->unknown) { /* nobody else can have it, and it won't come back by waiting */
        char why[256];
        snprintf(why, sizeof why, "%.*s", (int)MIN(result.n, sizeof why - 1),
                 result.n != 0 ? (const char *)result.p : "");
        finish(f, ST_UNAVAILABLE, (struct bytes){0}, why);
        return;
    }
    if (st == ST_NOT_LEADER && leader != 0 && leader != f->target) {
        learn_leader(g, p, leader);
        if (f->request->attempts < 8) {
            unqueue(f);
            dispatch(f);
            return;
        }
    } else if (st == ST_NOT_LEADER && p->leader == f->target) {
        /* This answer may be older than the news that it leads; of a replica on this node there will be news if it does not. */
        if (p->own) p->doubted = true;
        else learn_leader(g, p, 0);
    }
    retry_later(f, now);
}

static void here_done(struct replica_request *q, enum status st, bool maybe, struct bytes result)
{
    struct flight *f = CONTAINER_OF(q, struct flight, here);
    if (f->abandoned) {
        flight_free(f);
        return;
    }
    f->state = FLIGHT_NEW;
    on_outcome(f, st, maybe, q->replica != NULL ? replica_leader_store(q->replica) : 0, result);
}

static enum replica_request_kind kind_of(const struct request *r)
{
    return r->kind == REQUEST_WRITE ? REPLICA_WRITE : r->kind == REQUEST_READ ? REPLICA_READ : REPLICA_WAIT;
}

static uint32_t wait_ms(const struct request *r, uint64_t now)
{
    /* The leader answers a little before the gate gives up. */
    uint64_t left = r->deadline_ns > now ? (r->deadline_ns - now) / NS_PER_MS : 0;
    return (uint32_t)MIN(left > 20 ? left - 10 : left / 2, UINT32_MAX);
}

static bool try_here(struct flight *f, struct replica *replica, uint64_t now)
{
    struct request *r = f->request;
    f->here = (struct replica_request){.kind = (uint8_t)kind_of(r),
                                       .op = buf_view(&f->op),
                                       .wait_count = r->wait_count,
                                       .wait_ms = wait_ms(r, now),
                                       .done = here_done};
    enum status st = replica_submit(replica, &f->here);
    if (st == ST_OK) {
        f->state = FLIGHT_HERE;
        f->sends++;
        return true;
    }
    f->sends++; /* until the next line tells of its end */
    struct replica_info info;
    replica_info(replica, &info);
    if (info.lost) on_outcome(f, ST_UNAVAILABLE, false, 0, bytes_str(info.lost_text));
    else on_outcome(f, st, false, replica_leader_store(replica), (struct bytes){0});
    return true;
}

static uint64_t next_attempt(struct gate *g, store_addr_t to, bool bulk)
{
    uint64_t *n = map_get(&g->attempts, to << 1 | bulk);
    if (n == NULL) map_set(&g->attempts, to << 1 | bulk, n = mem_zalloc(sizeof *n));
    return ++*n;
}

static void dispatch(struct flight *f)
{
    struct gate *g = f->gate;
    struct request *r = f->request;
    uint64_t now = env_now_ns(g->env);
    r->attempts++;
    f->target = choose(g, f->place);
    if (f->target == 0) {
        retry_later(f, now);
        return;
    }
    struct replica *replica = NULL;
    if (store_addr_node(f->target) == g->node_id) replica = g->options.local(g->options.ctx, f->place->partition_id);
    if (replica != NULL && try_here(f, replica, now)) return;
    struct buf head = {0};
    bool bulk = f->op.n > BULK_BYTES;
    struct request_head q = {.request_id = f->id,
                             .life = g->life,
                             .attempt = next_attempt(g, f->target, bulk),
                             .bulk = bulk,
                             .partition_id = f->place->partition_id,
                             .kind = (uint8_t)kind_of(r),
                             .wait_count = r->wait_count,
                             .wait_ms = wait_ms(r, now)};
    request_encode(&q, &head);
    enum status st = mesh_send2(g->options.mesh, store_addr_node(f->target), store_addr_store(f->target),
                                bulk ? MESH_BULK : MESH_URGENT, MESH_REQUEST, buf_view(&head), buf_view(&f->op));
    buf_deinit(&head);
    if (st != ST_OK) {
        if (st == ST_TOO_LARGE && !f->unknown) {
            finish(f, ST_TOO_LARGE, (struct bytes){0}, "the command is larger than what one node sends to another");
            return;
        }
        if (f->place->leader == f->target && st != ST_OVERLOADED) f->place->doubted = true;
        retry_later(f, now);
        return;
    }
    g->stats.forwarded++;
    f->sends++;
    f->state = FLIGHT_SENT;
    f->sent_ns = now;
    list_push_back(&g->sent, &f->queue);
}

/* ---- taking requests ---- */

static void encode_op(struct flight *f)
{
    struct request *r = f->request;
    struct place *p = f->place;
    struct op op = {.semantics = OP_SEMANTICS, .opcode = r->opcode, .flags = r->op_flags, .body = buf_view(&r->body)};
    if (r->kind == REQUEST_WAIT) return;
    if (r->kind == REQUEST_WRITE) {
        op.flags |= OP_HAS_ID | (p->since != 0 ? OP_SINCE : 0);
        op.since = p->since;
        op.session = p->session;
        if (!link_linked(&f->order)) { /* else it has its number, and is sent as a new op all the same */
            r->sequence = p->next_sequence++;
            list_push_back(&p->writes, &f->order);
        }
        op.sequence = r->sequence;
        op.resolved = CONTAINER_OF(list_first(&p->writes), struct flight, order)->request->sequence;
    }
    buf_clear(&f->op);
    op_encode(&op, &f->op);
}

static bool find_place(struct flight *f)
{
    struct gate *g = f->gate;
    struct request *r = f->request;
    if (g->catalog == NULL) return false;
    const struct catalog_partition *p = catalog_partition_of(g->catalog, r->table, r->slot);
    if (p == NULL) return false;
    f->place = place_of(g, p->id);
    encode_op(f);
    return true;
}

static void on_answer(struct env_task *task)
{
    struct gate *g = CONTAINER_OF(task, struct gate, answer);
    for (struct link *k; (k = list_pop_front(&g->answered)) != NULL;) {
        struct flight *f = CONTAINER_OF(k, struct flight, queue);
        if (g->stopped) give_up(f, "the node is stopping");
        else if (f->place == NULL || g->stats.under_way > g->options.requests_max)
            finish(f, ST_OVERLOADED, (struct bytes){0},
                   "too many requests are under way on this node: try again later");
        else dispatch(f);
    }
}

void gate_submit(struct gate *g, struct request *r)
{
    uint64_t now = env_now_ns(g->env);
    struct flight *f = flight_new(g);
    r->attempts = 0;
    r->deadline_ns = now + (r->timeout_ns != 0 ? r->timeout_ns : g->options.timeout_ns) +
                     2 * r->body.n * SLOW_NS_PER_BYTE;
    f->request = r;
    list_push_back(&g->all, &f->all);
    if (g->tick.due_ns == 0) env_timer_start(&g->tick, TICK_NS);
    map_set(&g->flights, f->id, f);
    g->stats.under_way++;
    if (r->kind == REQUEST_WRITE) g->stats.writes++;
    else g->stats.reads++;
    if (g->stopped || g->stats.under_way > g->options.requests_max) {
        list_push_back(&g->answered, &f->queue);
        env_defer(g->options.loop, &g->answer);
        return;
    }
    if (!find_place(f)) {
        f->state = FLIGHT_WAIT;
        list_push_back(&g->early, &f->queue);
        return;
    }
    /* What refuses at once would answer inside this call: such flights are dispatched from a task. */
    struct replica *replica = f->place->leader != 0 && store_addr_node(f->place->leader) != g->node_id
                                  ? NULL
                                  : g->options.local(g->options.ctx, f->place->partition_id);
    if (replica == NULL || replica_leads(replica)) {
        if (replica != NULL) {
            f->target = replica_leader_store(replica);
            f->here = (struct replica_request){.kind = (uint8_t)kind_of(r),
                                               .op = buf_view(&f->op),
                                               .wait_count = r->wait_count,
                                               .wait_ms = wait_ms(r, now),
                                               .done = here_done};
            r->attempts = 1;
            if (replica_submit(replica, &f->here) == ST_OK) {
                f->state = FLIGHT_HERE;
                f->sends++;
                return;
            }
        } else if (f->place->leader != 0 && !f->place->doubted && f->op.n <= BULK_BYTES) {
            dispatch(f); /* over the mesh, in one frame: that ends no request */
            return;
        }
    }
    list_push_back(&g->answered, &f->queue);
    env_defer(g->options.loop, &g->answer);
}

bool gate_read_now(struct gate *g, const struct request *r, struct buf *out)
{
    if (g->catalog == NULL || g->stopped) return false;
    const struct catalog_partition *p = catalog_partition_of(g->catalog, r->table, r->slot);
    if (p == NULL) return false;
    struct replica *replica = g->options.local(g->options.ctx, p->id);
    if (replica == NULL) return false;
    struct op op = {.semantics = OP_SEMANTICS, .opcode = r->opcode, .flags = r->op_flags, .body = buf_view(&r->body)};
    if (!replica_read_now(replica, &op, out)) return false;
    g->stats.reads_here++;
    return true;
}

void gate_deliver(struct gate *g, const struct mesh_frame *frame)
{
    struct reply_head p;
    if (!reply_decode(frame->body, &p)) return;
    struct flight *f = map_get(&g->flights, p.request_id);
    /* An answer to an attempt given up on is as good as one to the last: the op id is the same. */
    if (f == NULL || f->place == NULL || f->place->partition_id != p.partition_id || f->state == FLIGHT_HERE) return;
    if (f->state == FLIGHT_WAIT && p.status != ST_OK) return;
    if (store_addr_node(f->target) != frame->from_node) {
        if (f->state == FLIGHT_SENT && p.status != ST_OK) return;
        f->target = 0; /* who answered is not who was asked last: it says nothing about that one */
    }
    on_outcome(f, (enum status)p.status, p.maybe_executed, p.leader, p.result);
}

/* ---- news and time ---- */

void gate_leader(struct gate *g, uint64_t partition_id, uint64_t leader_store, uint64_t term, bool own)
{
    struct place *p = place_of(g, partition_id);
    if (term < p->term || (term == p->term && p->own && !own)) return;
    bool same_term = p->term == term;
    p->term = term;
    p->own = own;
    if (p->leader == leader_store && same_term) return; /* it was said before: a doubt stays until somebody answers */
    learn_leader(g, p, leader_store);
    if (leader_store == 0) return;
    struct link *next;
    struct list again;
    list_init(&again);
    for (struct link *k = list_first(&g->sent); k != NULL; k = next) {
        struct flight *f = CONTAINER_OF(k, struct flight, queue);
        next = list_next(&g->sent, k);
        if (f->place != p || f->target == leader_store) continue;
        f->unknown = f->unknown || f->request->kind == REQUEST_WRITE;
        link_remove(k);
        list_push_back(&again, k);
    }
    for (struct link *k = list_first(&g->waiting); k != NULL; k = next) {
        struct flight *f = CONTAINER_OF(k, struct flight, queue);
        next = list_next(&g->waiting, k);
        if (f->place != p) continue;
        link_remove(k);
        list_push_back(&again, k);
    }
    for (struct link *k; (k = list_pop_front(&again)) != NULL;) {
        CONTAINER_OF(k, struct flight, queue)->state = FLIGHT_NEW;
        list_push_back(&g->answered, k);
    }
    env_defer(g->options.loop, &g->answer);
}

static void retry_early(struct gate *g)
{
    struct list now;
    list_init(&now);
    for (struct link *k; (k = list_pop_front(&g->early)) != NULL;) list_push_back(&now, k);
    for (struct link *k; (k = list_pop_front(&now)) != NULL;) {
        struct flight *f = CONTAINER_OF(k, struct flight, queue);
        f->state = FLIGHT_NEW;
        if (find_place(f)) dispatch(f);
        else {
            f->state = FLIGHT_WAIT;
            list_push_back(&g->early, &f->queue);
        }
    }
}

static void on_tick(struct env_timer *timer)
{
    struct gate *g = CONTAINER_OF(timer, struct gate, tick);
    uint64_t now = env_now_ns(g->env);
    struct link *next;
    for (struct link *k = list_first(&g->all); k != NULL; k = next) {
        struct flight *f = CONTAINER_OF(k, struct flight, all);
        next = list_next(&g->all, k);
        /* Nearly all have the same timeout, so the list is nearly in the order of deadlines; WAIT may name its own. */
        if (f->request->deadline_ns > now && f->request->timeout_ns == 0) break;
        if (f->request->deadline_ns > now) continue;
        give_up(f, f->place == NULL        ? "this node does not know the partitions yet"
                   : f->place->leader == 0 ? "the partition has no leader that this node can reach"
                                           : "the partition's leader did not answer in time");
    }
    for (struct link *k = list_first(&g->sent); k != NULL; k = next) {
        struct flight *f = CONTAINER_OF(k, struct flight, queue);
        next = list_next(&g->sent, k);
        if (f->sent_ns + g->options.attempt_ns > now) break; /* sent in order */
        /* A large one takes its time on the way and on the disks: a second copy of it would only make it later. */
        if (f->sent_ns + g->options.attempt_ns + f->op.n * SLOW_NS_PER_BYTE > now) continue;
        f->unknown = f->unknown || f->request->kind == REQUEST_WRITE;
        if (f->place->leader == f->target) f->place->doubted = true;
        retry_later(f, now);
    }
    struct list due;
    list_init(&due);
    for (struct link *k = list_first(&g->waiting); k != NULL; k = next) {
        struct flight *f = CONTAINER_OF(k, struct flight, queue);
        next = list_next(&g->waiting, k);
        if (f->retry_ns > now) continue;
        link_remove(k);
        list_push_back(&due, k);
    }
    for (struct link *k; (k = list_pop_front(&due)) != NULL;) dispatch(CONTAINER_OF(k, struct flight, queue));
    if (!list_empty(&g->all)) env_timer_start(&g->tick, TICK_NS);
}

void gate_set_self(struct gate *g, uint64_t node_id) { g->node_id = node_id; }

static bool has_replica_here(const struct gate *g, const struct catalog_partition *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (store_addr_node(p->replicas[i].store) == g->node_id) return true;
    return false;
}

void gate_set_catalog(struct gate *g, struct catalog *c)
{
    catalog_unref(g->catalog);
    g->catalog = catalog_ref(c);
    g->map_stale = true;
    for (size_t i = 0; i < c->partition_count; i++) {
        struct place *p = map_get(&g->places, c->partitions[i].id);
        if (p != NULL && p->own && !has_replica_here(g, &c->partitions[i]))
            p->own = false; /* no more news of its own */
    }
    retry_early(g);
}

/* ---- the map as doors see it ---- */

static void split_address(const char *address, struct gate_node *out)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon != NULL ? (size_t)(colon - address) : strlen(address);
    if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    }
    n = MIN(n, sizeof out->host - 1);
    memcpy(out->host, address, n);
    out->host[n] = 0;
    out->port = colon != NULL ? (uint16_t)atoi(colon + 1) : 0;
}

static void build_map(struct gate *g, uint32_t table)
{
    const struct catalog *c = g->catalog;
    g->map_nodes = mem_realloc(g->map_nodes, c->node_count * sizeof *g->map_nodes);
    g->map_partitions = mem_realloc(g->map_partitions, c->partition_count * sizeof *g->map_partitions);
    g->map_node_count = g->map_partition_count = 0;
    for (size_t i = 0; i < c->node_count; i++) {
        if (c->nodes[i].state != NODE_UP) continue;
        struct gate_node *n = &g->map_nodes[g->map_node_count++];
        *n = (struct gate_node){.node_id = c->nodes[i].id, .up = true, .self = c->nodes[i].id == g->node_id};
        split_address(c->nodes[i].address, n);
    }
    for (size_t i = 0; i < c->partition_count; i++) {
        const struct catalog_partition *p = &c->partitions[i];
        if (p->table != table) continue;
        struct place *place = place_of(g, p->id);
        struct gate_partition *m = &g->map_partitions[g->map_partition_count++];
        *m = (struct gate_partition){.partition_id = p->id,
                                     .table = p->table,
                                     .slot_lo = p->slot_lo,
                                     .slot_hi = p->slot_hi,
                                     .epoch = p->epoch,
                                     .leader_node = store_addr_node(place->leader)};
        for (size_t k = 0; k < p->count; k++)
            if (p->replicas[k].roles & RAFT_VOTER)
                m->replica_nodes[m->replica_count++] = store_addr_node(p->replicas[k].store);
    }
    g->map_table = table;
    g->map_stale = false;
}

void gate_map(struct gate *g, uint32_t table, struct gate_map *out)
{
    *out = (struct gate_map){.self_node = g->node_id};
    if (g->catalog == NULL) return;
    if (g->map_stale || g->map_table != table) build_map(g, table);
    out->nodes = g->map_nodes;
    out->node_count = g->map_node_count;
    out->partitions = g->map_partitions;
    out->partition_count = g->map_partition_count;
    out->epoch = g->catalog->epoch;
}

const struct gate_partition *gate_partition_of(struct gate *g, uint32_t table, uint16_t slot)
{
    struct gate_map map;
    gate_map(g, table, &map);
    size_t lo = 0, hi = map.partition_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (map.partitions[mid].slot_hi <= slot) lo = mid + 1;
        else hi = mid;
    }
    return lo < map.partition_count && map.partitions[lo].slot_lo <= slot ? &map.partitions[lo] : NULL;
}

bool gate_leads(struct gate *g, uint32_t table, uint16_t slot)
{
    const struct gate_partition *p = gate_partition_of(g, table, slot);
    return p != NULL && p->leader_node == g->node_id;
}

void gate_info(struct gate *g, const char *section, struct buf *out) { g->options.info(g->options.ctx, section, out); }

bool gate_config_get(struct gate *g, size_t at, const char **out_name, char *out_value, size_t value_max)
{
    return g->options.config_get(g->options.ctx, at, out_name, out_value, value_max);
}

enum status gate_config_set(struct gate *g, const char *name, const char *value, struct error *err)
{
    return g->options.config_set(g->options.ctx, name, value, err);
}

void gate_set_timeout(struct gate *g, uint64_t timeout_ns) { g->options.timeout_ns = timeout_ns; }

void gate_stats(const struct gate *g, struct gate_stats *out) { *out = g->stats; }

/* ---- making and ending ---- */

struct gate *gate_new(const struct gate_options *options)
{
    struct gate *g = mem_zalloc(sizeof *g);
    g->options = *options;
    g->env = env_loop_env(options->loop);
    g->map_stale = true;
    g->life = env_random_u64(g->env) | 1;
    g->id_next = env_random_u64(g->env); /* a late answer to a former life must find nothing */
    list_init(&g->all);
    list_init(&g->sent);
    list_init(&g->waiting);
    list_init(&g->early);
    list_init(&g->answered);
    g->answer.run = on_answer;
    rng_init(&g->rng, env_random_u64(g->env));
    env_timer_init(options->loop, &g->tick, on_tick);
    return g;
}

void gate_stop(struct gate *g)
{
    if (g == NULL || g->stopped) return;
    g->stopped = true;
    env_timer_stop(&g->tick);
    for (struct link *k; (k = list_first(&g->all)) != NULL;)
        give_up(CONTAINER_OF(k, struct flight, all), "the node is stopping");
}

void gate_free(struct gate *g)
{
    if (g == NULL) return;
    gate_stop(g);
    for (struct flight *f; (f = g->pool) != NULL;) {
        g->pool = *(struct flight **)f;
        buf_deinit(&f->op);
        mem_free(f);
    }
    uint64_t id;
    void *p;
    for (size_t i = 0; map_each(&g->places, &i, &id, &p);) mem_free(p);
    map_deinit(&g->places);
    for (size_t i = 0; map_each(&g->attempts, &i, &id, &p);) mem_free(p);
    map_deinit(&g->attempts);
    map_deinit(&g->flights);
    catalog_unref(g->catalog);
    mem_free(g->map_nodes);
    mem_free(g->map_partitions);
    mem_free(g);
}
