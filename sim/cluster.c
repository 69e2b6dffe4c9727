/* cluster.c - a simulated cluster: starting and restarting nodes, and comparing their replicas.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/cluster.h"

#include <inttypes.h>

#include "base/diag.h"
#include "base/mem.h"
#include "sim/cluster_internal.h"
#include "sim/heap.h"
#include "sim/profile.h"
#include "sim/raft_trace.h"
#include "table/place.h"

const char *sim_fault_name(enum sim_fault f)
{
    static const char *const names[FAULT_COUNT] = {
        "kill",       "power-loss",  "power-loss-all", "cut",        "cut-one-way", "cut-bridge", "isolate",    "reset",
        "slow-link",  "pause",       "stall-loop",     "clock-jump", "clock-drift", "disk-stall", "disk-slow",  "disk-full",
        "sync-error", "write-error", "corruption",     "stop",       "add-node",
        "frame-drop", "frame-repeat", "frame-delay"};
    return (unsigned)f < FAULT_COUNT ? names[f] : "?";
}

/* ---- one node ---- */

static void on_ready(void *ctx)
{
    struct sim_server *s = ctx;
    s->ready = true;
}

static void later_restart(void *ctx)
{
    struct sim_server *s = ctx;
    s->restart_planned = false;
    if (!world_running(s->machine) && !s->gone) server_start(s);
}

void server_restart_later(struct sim_server *s, uint64_t delay_ns)
{
    if (s->restart_planned || s->gone) return;
    s->restart_planned = true;
    world_at(s->cluster->world, world_now_ns(s->cluster->world) + delay_ns, later_restart, s);
}

/* Statistics of a process that is about to end. */
static void keep_counters(struct sim_server *s)
{
    struct sim_cluster_counters *t = &s->cluster->counters;
    if (s->node == NULL || !world_running(s->machine)) return;
    for (uint16_t i = 0; i < s->node->shard_count; i++) {
        struct shard *shard = &s->node->shards[i];
        for (size_t k = 0; k < shard->host_count; k++) {
            struct host_stats x;
            if (shard->hosts[k] == NULL) continue;
            host_stats(shard->hosts[k], &x);
            t->elections += x.elections;
            t->snapshots_sent += x.snapshots_sent;
            t->snapshots_installed += x.snapshots_installed;
            t->duplicates += x.duplicates_answered;
            t->conflicts += x.conflicts;
            t->reads_lease += x.reads_lease;
            t->reads_index += x.reads_index;
            t->damaged += x.log.records_damaged;
            t->torn += x.log.batches_torn;
            t->scrubs += x.scrubs;
            if (x.scrub_mismatches != 0 && s->cluster->finding[0] == 0)
                snprintf(s->cluster->finding, sizeof s->cluster->finding, "scrub found that a replica on %s differs", s->host);
        }
    }
}

void server_crash(struct sim_server *s, enum sim_crash kind)
{
    if (!world_running(s->machine)) return;
    keep_counters(s);
    s->node = NULL;
    s->ready = false;
    world_crash(s->machine, kind);
}

static void crash_now(void *ctx) { server_crash(ctx, SIM_KILL); }

static void on_failed(void *ctx, enum status st, const char *text)
{
    struct sim_server *s = ctx;
    struct sim_cluster *c = s->cluster;
    c->counters.node_failures++;
    diag(DIAG_WARN, "sim.node_failed node=%s status=%s why=\"%s\"", s->host, status_name(st), text);
    bool storage = st == ST_IO || st == ST_DISK_FULL || st == ST_CORRUPT;
    bool expected = (storage && s->storage_faults != 0) || (st == ST_DENIED && s->gone) || st == ST_UNAVAILABLE;
    if (!expected && c->finding[0] == 0)
        snprintf(c->finding, sizeof c->finding, "node %s ended: %s: %s", s->host, status_name(st), text);
    /* A real process ends by itself; one with a damaged directory that can't be opened is replaced by hand. */
    if (st == ST_CORRUPT) s->gone = true;
    world_at(c->world, world_now_ns(c->world), crash_now, s);
    server_restart_later(s, NS_PER_S + rng_below(world_rng(c->world), 2 * NS_PER_S));
}

static void on_stopped(void *ctx)
{
    struct sim_server *s = ctx;
    s->stopped = true;
}

static void node_main(void *ctx, struct env *env, struct env_loop **loops, unsigned loop_count)
{
    struct sim_server *s = ctx;
    struct error err = {0};
    struct node_options o = s->cluster->base;
    o.dir = "/data";
    o.listen = s->address;
    o.join = s->join[0] != 0 ? s->join : NULL;
    o.ready = on_ready;
    o.failed = on_failed;
    o.stopped = on_stopped;
    o.frame_fate = sim_frame_fate;
    if (s->cluster->options.trace != NULL) {
        o.raft_trace = sim_raft_trace_event;
        o.raft_trace_ctx = s->cluster->options.trace;
    }
    o.ctx = s;
    o.stores = s->cluster->options.shards;
    enum status st = node_start(env, loops, (uint16_t)loop_count, &o, &s->node, &err);
    if (st != ST_OK) {
        s->node = NULL;
        on_failed(s, st, err.text);
    }
}

void server_start(struct sim_server *s)
{
    struct sim_cluster *c = s->cluster;
    ASSERT(!world_running(s->machine));
    s->node = NULL;
    s->ready = s->stopped = false;
    s->join[0] = 0;
    if (s->index != 0) { /* any of the first that is not gone: those added later may not have joined themselves */
        unsigned first = MIN(c->count, c->options.nodes);
        unsigned i = (unsigned)rng_below(world_rng(c->world), first);
        for (unsigned k = 0; k < first && (c->servers[i].gone || i == s->index); k++) i = (i + 1) % first;
        snprintf(s->join, sizeof s->join, "%s", c->servers[i].address);
    }
    c->counters.starts++;
    world_start(s->machine, c->options.shards, node_main, s);
}

struct sim_server *cluster_add(struct sim_cluster *c)
{
    ASSERT(c->count < SIM_NODES_MAX);
    struct heap *was = heap_enter(NULL);
    struct sim_server *s = &c->servers[c->count];
    *s = (struct sim_server){.cluster = c, .index = c->count};
    snprintf(s->host, sizeof s->host, "n%u", c->count + 1);
    snprintf(s->address, sizeof s->address, "n%u:7000", c->count + 1);
    memcpy(c->addresses[c->count], s->address, sizeof c->addresses[0]);
    s->machine = world_node_new(c->world, s->host);
    c->count++;
    heap_enter(was);
    server_start(s);
    return s;
}

/* ---- limits ---- */

static void shrink_limits(struct sim_cluster *c)
{
    struct rng *rng = world_rng(c->world);
    struct host_limits *l = &c->base.limits;
    l->log.first_segment_bytes = 64 << 10;
    l->log.segment_bytes = 256 << 10;
    l->log.bytes_max = 2 << 20;
    l->log.reserve_bytes = 1 << 20;
    l->rows_bytes_max = 1 << 20;
    l->rows_dirty_bytes_max = 256 << 10;
    l->engine_cache_bytes = 1 << 20;
    l->engine_write_buffer_bytes = 1 << 20;
    l->flush_bytes = 256 << 10;
    l->flush_ns = 2 * NS_PER_S + rng_below(rng, 8 * NS_PER_S);
    l->keep_entries_bytes = rng_chance(rng, 2) ? 0 : 256 << 10;
    l->snapshot_chunk_bytes = 512 + (uint32_t)rng_below(rng, 8192);
    l->raft.tail_bytes_max = 4096 + (uint32_t)rng_below(rng, 65536);
    l->raft.append_bytes_max = 512 + (uint32_t)rng_below(rng, 16384);
    l->raft.inflight_bytes_max = 4 * l->raft.append_bytes_max;
    l->batch_ops_max = 1 + (uint32_t)rng_below(rng, 64);
    l->apply_bytes_per_turn = 256 + (uint32_t)rng_below(rng, 65536);
    l->scrub_ns = NS_PER_S + rng_below(rng, 8 * NS_PER_S);
    l->sweep_ns = 200 * NS_PER_MS + rng_below(rng, NS_PER_S);
}

/* ---- the cluster ---- */

struct sim_cluster *sim_cluster_new(struct world *w, const struct sim_cluster_options *options)
{
    struct sim_cluster *c = mem_zalloc(sizeof *c);
    c->world = w;
    c->options = *options;
    node_options_default(&c->base);
    c->base.partitions = options->partitions;
    if (options->small_limits) shrink_limits(c);
    sim_profile_limits((enum sim_profile)options->profile, world_rng(w), &c->base.limits);
    if (options->trace != NULL) { /* no entry goes, so that nobody needs a snapshot */
        struct host_limits *l = &c->base.limits;
        l->flush_ns = 3600 * NS_PER_S;
        l->flush_bytes = l->log.bytes_max = l->log.reserve_bytes = 64 << 20;
    }
    sim_draw_frame_faults(c);
    for (unsigned i = 0; i < options->nodes; i++) cluster_add(c);
    c->corruptible = (unsigned)rng_below(world_rng(w), options->nodes);
    c->moves = sim_moves_new(c);
    return c;
}

void sim_cluster_free(struct sim_cluster *c) { mem_free(c); }

const char (*sim_cluster_addresses(struct sim_cluster *c))[32] { return (const char (*)[32])c->addresses; }
const unsigned *sim_cluster_address_count(struct sim_cluster *c) { return &c->count; }
const char *sim_cluster_finding(const struct sim_cluster *c) { return c->finding[0] != 0 ? c->finding : NULL; }

bool sim_cluster_ready(const struct sim_cluster *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (!c->servers[i].gone && !c->servers[i].ready) return false;
    return true;
}

void sim_cluster_counters(struct sim_cluster *c, struct sim_cluster_counters *out)
{
    struct sim_cluster_counters kept = c->counters;
    for (unsigned i = 0; i < c->count; i++) keep_counters(&c->servers[i]);
    *out = c->counters;
    c->counters = kept;
}

/* ---- agreement ---- */

struct copy {
    uint64_t partition_id, applied, hash, rows;
    const char *host;
};

static size_t read_copies(struct sim_server *s, struct copy *out, size_t max)
{
    size_t n = 0;
    if (s->node == NULL || !world_running(s->machine)) return 0;
    world_enter(s->machine);
    for (uint16_t i = 0; i < s->node->shard_count; i++) {
        struct shard *shard = &s->node->shards[i];
        struct replica *r;
        for (size_t k = 0; k < shard->host_count; k++) {
            struct host *h = shard->hosts[k];
            if (h == NULL || host_failed(h)) continue;
            for (size_t at = 0; n < max && host_each_replica(h, &at, &r);) {
                struct error err = {0};
                struct copy *c = &out[n];
                if (host_checksum(r, &c->applied, &c->hash, &c->rows, &err) != ST_OK) continue;
                c->partition_id = replica_partition(r);
                c->host = s->host;
                n++;
            }
        }
    }
    world_leave(s->cluster->world);
    return n;
}

bool sim_cluster_agrees(struct sim_cluster *c, FILE *out)
{
    enum { MAX = SIM_NODES_MAX * 128 };
    struct copy *copies = mem_alloc(MAX * sizeof *copies);
    size_t n = 0;
    bool ok = true;
    for (unsigned i = 0; i < c->count; i++) n += read_copies(&c->servers[i], copies + n, MAX - n);
    for (size_t i = 0; i < n && ok; i++)
        for (size_t k = i + 1; k < n && ok; k++) {
            const struct copy *a = &copies[i], *b = &copies[k];
            if (a->partition_id != b->partition_id || a->applied != b->applied) continue;
            ok = a->hash == b->hash && a->rows == b->rows;
            if (!ok)
                fprintf(out, "replicas differ: partition %" PRIu64 " at entry %" PRIu64 ": %s has %" PRIu64 " rows, hash %016" PRIx64
                        "; %s has %" PRIu64 " rows, hash %016" PRIx64 "\n",
                        a->partition_id, a->applied, a->host, a->rows, a->hash, b->host, b->rows, b->hash);
        }
    c->copies_compared += n;
    mem_free(copies);
    return ok;
}
