/* past.c - does the past stay as it was? Reads as of a time, asked again later and elsewhere, must answer the same.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Now and then a partition's leader is asked for something as of a time between its watermark and its last entry. What it
 * answers is a fact. The same is asked again later, of whoever leads the partition then: it answers the same, or that the time
 * is below the watermark now; never that there is no history. Facts last over crashes, elections and snapshots. */
#include <stdio.h>

#include "base/mem.h"
#include "model/kv_build.h"
#include "model/result.h"
#include "replica/host_internal.h"
#include "sim/cluster_internal.h"
#include "sim/heap.h"
#include "table/place.h"

#define FACTS_MAX 64
#define ASKS_MAX  8
#define EVERY_NS  (40 * NS_PER_MS)

struct fact {
    uint64_t partition_id;
    hlc_t ts;
    struct buf op, answer; /* op empty: free */
};

struct ask {
    struct replica_request request;
    struct past *past;
    struct sim_server *server;
    struct host *host;
    struct buf op;
    uint64_t partition_id, at_ns;
    size_t fact; /* FACTS_MAX: a new one */
    bool busy;
};

struct past {
    struct sim_cluster *cluster;
    struct fact facts[FACTS_MAX];
    struct ask asks[ASKS_MAX];
    char key[32]; /* one that was seen */
};

static void forget(struct fact *f)
{
    buf_deinit(&f->op);
    buf_deinit(&f->answer);
    *f = (struct fact){0};
}

static void learn(struct past *p, struct ask *a, struct bytes result)
{
    struct reader in = reader_of(result);
    struct result list, key;
    struct fact *f = &p->facts[rng_below(world_rng(p->cluster->world), FACTS_MAX)];
    forget(f);
    f->partition_id = a->partition_id;
    f->ts = a->request.read_ts;
    buf_put_bytes(&f->op, buf_view(&a->op));
    buf_put_bytes(&f->answer, result);
    if (result_next(&in, &list) && list.tag == 'a' && list.count != 0 && result_next(&in, &key) &&
        key.bytes.n < sizeof p->key)
        snprintf(p->key, sizeof p->key, "%.*s", (int)key.bytes.n, (const char *)key.bytes.p);
}

static void answered(struct replica_request *q, enum status st, bool maybe_executed, struct bytes result)
{
    struct ask *a = CONTAINER_OF(q, struct ask, request);
    struct past *p = a->past;
    struct sim_cluster *c = p->cluster;
    struct heap *was = heap_enter(NULL);
    (void)maybe_executed;
    struct fact *f = a->fact < FACTS_MAX ? &p->facts[a->fact] : NULL;
    bool same_fact = f != NULL && f->op.n != 0 && f->ts == q->read_ts && f->partition_id == a->partition_id;
    if (st == ST_OK && f == NULL) {
        c->counters.past_facts++;
        learn(p, a, result);
    } else if (st == ST_OK && same_fact) {
        c->counters.past_confirmed++;
        if (!bytes_equal(result, buf_view(&f->answer)) && c->finding[0] == 0)
            snprintf(c->finding, sizeof c->finding,
                     "%s: partition %llu answers as of %llu something else than before: the past changed",
                     a->server->host, (unsigned long long)a->partition_id, (unsigned long long)q->read_ts);
    } else if (st == ST_STALE && same_fact) {
        c->counters.past_over++;
        forget(f);
    } else if ((st == ST_UNSUPPORTED || st == ST_NOT_READY || st == ST_CORRUPT) && same_fact && c->finding[0] == 0) {
        snprintf(c->finding, sizeof c->finding, "%s: partition %llu knew its past, and answers %s now", a->server->host,
                 (unsigned long long)a->partition_id, status_name(st));
    }
    a->busy = false;
    heap_enter(was);
}

/* On the loop of the store: the replica may be gone by now. */
static void submit(void *ctx)
{
    struct ask *a = ctx;
    struct replica *r = NULL;
    struct node *n = a->server->node;
    for (uint16_t i = 0; n != NULL && i < n->shard_count; i++)
        for (size_t k = 0; k < n->shards[i].host_count; k++)
            if (n->shards[i].hosts[k] == a->host) r = host_replica(a->host, a->partition_id);
    if (r == NULL || replica_submit(r, &a->request) != ST_OK) a->busy = false;
}

static struct replica *some_leader(struct sim_server *s, struct rng *rng)
{
    struct replica *r, *found = NULL;
    unsigned n = 0;
    for (uint16_t i = 0; i < s->node->shard_count; i++)
        for (size_t k = 0; k < s->node->shards[i].host_count; k++) {
            struct host *h = s->node->shards[i].hosts[k];
            if (h == NULL || host_failed(h)) continue;
            for (size_t at = 0; host_each_replica(h, &at, &r);)
                if (r->table == TABLE_DEFAULT && replica_leads(r) && r->counters.retention_ms != 0 &&
                    rng_below(rng, ++n) == 0)
                    found = r;
        }
    return found;
}

/* Either a fact of the partition once more, or something new. */
static bool choose(struct past *p, struct ask *a, struct replica *r, struct rng *rng)
{
    size_t from = rng_below(rng, FACTS_MAX);
    a->fact = FACTS_MAX;
    buf_clear(&a->op);
    for (size_t i = 0; i < FACTS_MAX && rng_chance(rng, 2); i++) {
        struct fact *f = &p->facts[(from + i) % FACTS_MAX];
        if (f->op.n == 0 || f->partition_id != r->partition_id) continue;
        a->fact = (from + i) % FACTS_MAX;
        a->request.read_ts = f->ts;
        buf_put_bytes(&a->op, buf_view(&f->op));
        return true;
    }
    if (r->applied_ts <= r->counters.watermark) return false;
    a->request.read_ts = r->counters.watermark + rng_below(rng, r->applied_ts - r->counters.watermark + 1);
    struct op op = {.semantics = OP_SEMANTICS, .opcode = KV_KEYS, .flags = OP_READ, .body = BYTES_LIT("*")};
    if (p->key[0] != 0 && key_slot(bytes_str(p->key)) >= r->slot_lo && key_slot(bytes_str(p->key)) < r->slot_hi &&
        rng_chance(rng, 2)) {
        op.opcode = KV_GET;
        op.body = bytes_str(p->key);
    }
    op_encode(&op, &a->op);
    return true;
}

static struct ask *free_ask(struct past *p)
{
    uint64_t now = world_now_ns(p->cluster->world);
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &p->asks[i];
        /* Asked of a process that has ended since: nobody answers any more. */
        if (a->busy && a->server->started_ns > a->at_ns) a->busy = false;
        if (!a->busy) {
            a->at_ns = now;
            return a;
        }
    }
    return NULL;
}

static void tick(void *ctx)
{
    struct past *p = ctx;
    struct sim_cluster *c = p->cluster;
    struct rng *rng = world_rng(c->world);
    struct heap *was = heap_enter(NULL);
    struct sim_server *s = &c->servers[rng_below(rng, c->count)];
    struct ask *a = s->node != NULL && world_running(s->machine) && !s->stopped ? free_ask(p) : NULL;
    struct replica *r = a != NULL ? some_leader(s, rng) : NULL;
    if (r != NULL && choose(p, a, r, rng)) {
        a->request = (struct replica_request){
            .kind = REPLICA_READ, .read_ts = a->request.read_ts, .op = buf_view(&a->op), .done = answered};
        a->past = p;
        a->server = s;
        a->host = r->host;
        a->partition_id = r->partition_id;
        a->busy = true;
        world_call(r->host->loop, submit, a);
    }
    world_at(c->world, world_now_ns(c->world) + EVERY_NS, tick, p);
    heap_enter(was);
}

void past_start(struct sim_cluster *c)
{
    struct past *p = mem_zalloc(sizeof *p);
    p->cluster = c;
    c->past = p;
    world_at(c->world, world_now_ns(c->world) + EVERY_NS, tick, p);
}

void past_free(struct sim_cluster *c)
{
    struct past *p = c->past;
    if (p == NULL) return;
    for (size_t i = 0; i < FACTS_MAX; i++) forget(&p->facts[i]);
    for (size_t i = 0; i < ASKS_MAX; i++) buf_deinit(&p->asks[i].op);
    mem_free(p);
}
