/* cluster.c - a simulated cluster: starting and restarting nodes, and comparing their replicas.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/cluster.h"

#include <inttypes.h>
#include <stdarg.h>

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
        "kill",         "power-loss",  "power-loss-all", "cut",           "cut-one-way",  "cut-bridge",
        "isolate",      "reset",       "slow-link",      "pause",         "stall-loop",   "clock-jump",
        "clock-drift",  "disk-stall",  "disk-slow",      "disk-full",     "sync-error",   "write-error",
        "corruption",   "stop",        "add-node",       "remove-node",   "replace-node", "frame-drop",
        "frame-repeat", "frame-delay", "corrupt-file",   "corrupt-engine"};
    return (unsigned)f < FAULT_COUNT ? names[f] : "?";
}

/* ---- one node ---- */

static void on_ready(void *ctx)
{
    struct sim_server *s = ctx;
    s->ready = s->member = true;
    s->node_id = node_id(s->node);
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
            t->prefetches += x.prefetches;
            t->apply_fetches += x.apply_fetches;
            t->applied_off += x.applied_off;
            if (x.scrub_mismatches != 0 && s->cluster->finding[0] == 0)
                snprintf(s->cluster->finding, sizeof s->cluster->finding, "scrub found that a replica on %s differs",
                         s->host);
        }
    }
}

void server_crash(struct sim_server *s, enum sim_crash kind)
{
    if (s->lost || !world_running(s->machine)) return;
    keep_counters(s);
    s->node = NULL;
    s->ready = false;
    world_crash(s->machine, kind);
}

static void crash_now(void *ctx) { server_crash(ctx, SIM_KILL); }
static void lose_now(void *ctx) { server_lose(ctx); }

static void on_failed(void *ctx, enum status st, const char *text)
{
    struct sim_server *s = ctx;
    struct sim_cluster *c = s->cluster;
    c->counters.node_failures++;
    diag(DIAG_WARN, "sim.node_failed node=%s status=%s why=\"%s\"", s->host, status_name(st), text);
    bool storage = st == ST_IO || st == ST_DISK_FULL;
    bool removed = st == ST_DENIED && s->removal != REMOVAL_NONE;
    if (st == ST_VERSION && s->damaged) st = ST_CORRUPT; /* the number of the format rotted */
    bool expected = (storage && s->storage_faults != 0) || (st == ST_CORRUPT && s->damaged) || removed ||
                    (st == ST_EXISTS && s->in_place) || /* its predecessor has to be removed first */
                    st == ST_UNAVAILABLE;
    if (!expected && c->finding[0] == 0)
        snprintf(c->finding, sizeof c->finding, "node %s ended: %s: %s", s->host, status_name(st), text);
    /* A real process ends by itself. The operator does what the text says: a damaged catalog is fetched from another node, a
     * node with other damage is replaced. */
    s->fetch_catalog = st == ST_CORRUPT && strstr(text, "/catalog'") != NULL && c->options.nodes > 1;
    c->said = c->said || st == ST_CORRUPT;
    bool lost = st == ST_CORRUPT && expected && !s->fetch_catalog && !c->options.beyond_budget;
    world_at(c->world, world_now_ns(c->world), lost ? lose_now : crash_now, s);
    if (removed || (st == ST_CORRUPT && c->options.beyond_budget && !s->fetch_catalog)) server_gone(s);
    server_restart_later(s, NS_PER_S + rng_below(world_rng(c->world), 2 * NS_PER_S));
}

static void on_stopped(void *ctx)
{
    struct sim_server *s = ctx;
    s->stopped = true;
}

/* Every step of every raft. Damage to a quorum of copies may lose what was committed. */
static void on_raft(void *ctx, const struct raft *r, enum raft_trace_kind kind, const struct raft_message *m)
{
    struct sim_cluster *c = ctx;
    const char *found = c->options.beyond_budget ? NULL : raft_watch_event(c->watch, r, kind);
    if (found != NULL && c->finding[0] == 0) snprintf(c->finding, sizeof c->finding, "%s", found);
    if (c->options.trace != NULL) sim_raft_trace_event(c->options.trace, r, kind, m);
}

static void node_main(void *ctx, struct env *env, struct env_loop **loops, unsigned loop_count)
{
    struct sim_server *s = ctx;
    struct error err = {0};
    struct node_options o = s->cluster->base;
    if (s->fetch_catalog && env_exists(env, "/data/catalog") && env_unlink(env, "/data/catalog", &err) == ST_OK)
        s->cluster->counters.catalogs_fetched++;
    s->fetch_catalog = false;
    o.dir = "/data";
    o.listen = s->address;
    o.join = s->join[0] != 0 ? s->join : NULL;
    o.ready = on_ready;
    o.failed = on_failed;
    o.stopped = on_stopped;
    o.frame_fate = sim_frame_fate;
    o.raft_trace = on_raft;
    o.raft_trace_ctx = s->cluster;
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
    if (s->index != 0 ||
        s->fetch_catalog) { /* through any that has joined itself; the founder while the cluster begins */
        unsigned first = (unsigned)rng_below(world_rng(c->world), c->count), i = 0;
        for (unsigned k = 0; k < c->count; k++) {
            const struct sim_server *o = &c->servers[(first + k) % c->count];
            if (o == s || o->gone || !o->member || o->removal != REMOVAL_NONE) continue;
            i = o->index;
            break;
        }
        snprintf(s->join, sizeof s->join, "%s", c->servers[i].address);
    }
    c->counters.starts++;
    s->started_ns = world_now_ns(c->world);
    world_start(s->machine, c->options.shards, node_main, s);
}

unsigned cluster_members(const struct sim_cluster *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->count; i++) n += !c->servers[i].gone && c->servers[i].removal == REMOVAL_NONE;
    return n;
}

static void list_addresses(struct sim_cluster *c)
{
    unsigned left = 0;
    for (unsigned i = 0; i < c->count; i++) left += !c->servers[i].gone;
    if (left == 0) return; /* clients go on asking where somebody was */
    c->address_count = 0;
    for (unsigned i = 0; i < c->count; i++)
        if (!c->servers[i].gone)
            memcpy(c->addresses[c->address_count++], c->servers[i].address, sizeof c->addresses[0]);
}

void server_gone(struct sim_server *s)
{
    struct sim_cluster *c = s->cluster;
    s->gone = true;
    list_addresses(c);
    /* Who wanted to join through it has to be given another address. */
    for (unsigned i = 0; i < c->count; i++) {
        struct sim_server *o = &c->servers[i];
        if (o->gone || o->node_id != 0 || strcmp(o->join, s->address) != 0) continue;
        world_at(c->world, world_now_ns(c->world), crash_now, o);
        server_restart_later(o, 100 * NS_PER_MS);
    }
}

void server_lose(struct sim_server *s)
{
    struct sim_cluster *c = s->cluster;
    bool in_place = rng_chance(world_rng(c->world), 2);
    if (s->gone || c->count >= SIM_NODES_MAX) return;
    server_crash(s, SIM_POWER_LOSS);
    s->lost = true;
    server_gone(s);
    cluster_mend(c);
    if (in_place) sim_disk_replace(s->machine);
    diag(DIAG_INFO, "sim.lost node=%s in_place=%d", s->host, in_place);
    if (s->removal == REMOVAL_NONE && s->node_id != 0) admin_remove(s);
    cluster_add(c, in_place ? s->machine : NULL);
}

struct sim_server *cluster_add(struct sim_cluster *c, struct sim_node *machine)
{
    ASSERT(c->count < SIM_NODES_MAX);
    struct heap *was = heap_enter(NULL);
    struct sim_server *s = &c->servers[c->count];
    *s = (struct sim_server){.cluster = c, .index = c->count};
    if (machine != NULL) snprintf(s->host, sizeof s->host, "%s", sim_node_host(machine));
    else snprintf(s->host, sizeof s->host, "n%u", c->count + 1);
    s->machine = machine != NULL ? machine : world_node_new(c->world, s->host);
    snprintf(s->address, sizeof s->address, "%s:7000", sim_node_host(s->machine));
    s->in_place = machine != NULL;
    c->count++;
    list_addresses(c);
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
    l->write_rows = rng_chance(rng, 2) ? 1 : 1 + (uint32_t)rng_below(rng, 200);
    l->write_bytes = 1 + (uint32_t)rng_below(rng, 64 << 10);
    l->engine_cache_bytes = 1 << 20;
    l->engine_write_buffer_bytes = 1 << 20;
    l->flush_bytes = 256 << 10;
    l->flush_ns = 2 * NS_PER_S + rng_below(rng, 8 * NS_PER_S);
    l->apply_fetches_max = (uint32_t)rng_below(rng, 4);
    l->keep_entries_bytes = rng_chance(rng, 2) ? 0 : 256 << 10;
    l->snapshot_chunk_bytes = 512 + (uint32_t)rng_below(rng, 8192);
    l->raft.tail_bytes_max = 4096 + (uint32_t)rng_below(rng, 65536);
    l->raft.append_bytes_max = 512 + (uint32_t)rng_below(rng, 16384);
    l->raft.inflight_bytes_max = 4 * l->raft.append_bytes_max;
    if (rng_chance(rng, 2)) l->window_sessions_max = 2 + (uint32_t)rng_below(rng, 8);
    l->batch_ops_max = 1 + (uint32_t)rng_below(rng, 64);
    l->apply_bytes_per_turn = 256 + (uint32_t)rng_below(rng, 65536);
    l->put_bytes_per_turn = 4096 + (uint32_t)rng_below(rng, 65536);
    l->batch_bytes_max = 4096 + (uint32_t)rng_below(rng, 262144);
    l->scrub_ns = NS_PER_S + rng_below(rng, 8 * NS_PER_S);
    l->sweep_ns = 200 * NS_PER_MS + rng_below(rng, NS_PER_S);
}

/* ---- the cluster ---- */

struct sim_cluster *sim_cluster_new(struct world *w, const struct sim_cluster_options *options)
{
    struct sim_cluster *c = mem_zalloc(sizeof *c);
    c->world = w;
    c->options = *options;
    c->watch = raft_watch_new();
    node_options_default(&c->base);
    c->base.partitions = options->partitions;
    if (options->small_limits) shrink_limits(c);
    if (options->small_limits && rng_chance(world_rng(w), 2))
        c->base.retention_ns = (1 + rng_below(world_rng(w), 10)) * NS_PER_S;
    sim_profile_limits((enum sim_profile)options->profile, world_rng(w), &c->base.limits);
    if (options->profile == PROFILE_COPIES)
        c->base.request_timeout_ns = 300 * NS_PER_MS; /* the gate gives up before late copies come */
    if (options->trace != NULL) {                     /* no entry goes, so that nobody needs a snapshot */
        struct host_limits *l = &c->base.limits;
        l->flush_ns = 3600 * NS_PER_S;
        l->flush_bytes = l->log.bytes_max = l->log.reserve_bytes = 64 << 20;
    }
    sim_draw_frame_faults(c);
    for (unsigned i = 0; i < options->nodes; i++) cluster_add(c, NULL);
    admin_start(c);
    c->corruptible = (unsigned)rng_below(world_rng(w), options->nodes);
    if (c->base.retention_ns != 0) past_start(c);
    c->moves = sim_moves_new(c);
    return c;
}

void sim_cluster_free(struct sim_cluster *c)
{
    past_free(c);
    mem_free(c);
}

const char (*sim_cluster_addresses(struct sim_cluster *c))[32] { return (const char(*)[32])c->addresses; }
const unsigned *sim_cluster_address_count(struct sim_cluster *c) { return &c->address_count; }
const char *sim_cluster_finding(const struct sim_cluster *c) { return c->finding[0] != 0 ? c->finding : NULL; }

bool sim_cluster_ready(const struct sim_cluster *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (!c->servers[i].gone && c->servers[i].removal == REMOVAL_NONE && !c->servers[i].ready) return false;
    return true;
}

unsigned sim_cluster_revive_removed(struct sim_cluster *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->count; i++) {
        struct sim_server *s = &c->servers[i];
        if (!s->gone || s->lost || s->removal != REMOVAL_DONE || world_running(s->machine)) continue;
        s->revived = true;
        server_start(s);
        n++;
    }
    c->counters.revived += n;
    return n;
}

bool sim_cluster_removed_ended(struct sim_cluster *c)
{
    bool ok = true;
    for (unsigned i = 0; i < c->count; i++) {
        const struct sim_server *s = &c->servers[i];
        if (!s->revived || !world_running(s->machine)) continue;
        if (c->finding[0] == 0)
            snprintf(c->finding, sizeof c->finding, "%s, which was removed, was started again and did not end",
                     s->host);
        ok = false;
    }
    return ok;
}

void sim_cluster_counters(struct sim_cluster *c, struct sim_cluster_counters *out)
{
    struct sim_cluster_counters kept = c->counters;
    for (unsigned i = 0; i < c->count; i++) keep_counters(&c->servers[i]);
    *out = c->counters;
    c->counters = kept;
}

/* ---- are all copies there? ---- */

static bool missing(char *why, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool missing(char *why, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (size != 0) vsnprintf(why, size, fmt, args);
    va_end(args);
    return false;
}

/* The newest catalog that a running node has; NULL: none. */
static const struct catalog *newest_catalog(struct sim_cluster *c)
{
    const struct catalog *best = NULL;
    for (unsigned i = 0; i < c->count; i++) {
        struct sim_server *s = &c->servers[i];
        if (s->lost || s->node == NULL || !world_running(s->machine) || s->node->shards == NULL) continue;
        const struct catalog *x = s->node->shards[0].catalog;
        if (x != NULL && (best == NULL || x->epoch > best->epoch)) best = x;
    }
    return best;
}

/* The replica with this id, open on a running node; NULL: none. */
static struct replica *open_replica(struct sim_cluster *c, uint64_t partition_id, uint64_t replica_id)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct sim_server *s = &c->servers[i];
        if (s->lost || s->node == NULL || !world_running(s->machine)) continue;
        for (uint16_t k = 0; k < s->node->shard_count; k++) {
            struct replica *r = shard_replica(&s->node->shards[k], partition_id);
            struct replica_info info;
            if (r == NULL) continue;
            replica_info(r, &info);
            if (info.replica_id == replica_id) return r;
        }
    }
    return NULL;
}

static bool partition_whole(struct sim_cluster *c, const struct catalog *catalog, const struct catalog_partition *p,
                            bool caught_up, char *why, size_t size)
{
    struct replica *leader = NULL;
    struct replica_info info, led = {0};
    unsigned wanted = plan_replicas(catalog, p);
    if (p->count != wanted)
        return missing(why, size, "partition %" PRIu64 " has %u members in the catalog, not %u", p->id, p->count,
                       wanted);
    for (unsigned i = 0; i < p->count; i++) {
        const struct catalog_node *n = catalog_node(catalog, store_addr_node(p->replicas[i].store));
        struct replica *r = open_replica(c, p->id, p->replicas[i].replica_id);
        if (n == NULL || n->state != NODE_UP || p->replicas[i].roles != RAFT_VOTER)
            return missing(why, size, "partition %" PRIu64 ": member %" PRIu64 " is on its way out", p->id,
                           p->replicas[i].replica_id);
        if (r == NULL && !caught_up) continue; /* down for a while */
        if (r == NULL)
            return missing(why, size, "partition %" PRIu64 ": copy %" PRIu64 " is not there", p->id,
                           p->replicas[i].replica_id);
        replica_info(r, &info);
        if (info.raft.role == RAFT_LEADER && info.raft.term > led.raft.term) led = info, leader = r;
    }
    if (leader == NULL) return missing(why, size, "partition %" PRIu64 " has no leader", p->id);
    if (!led.raft.config_committed || raft_config_joint(led.raft.config) || led.raft.config->count != p->count)
        return missing(why, size, "partition %" PRIu64 ": its members are changing", p->id);
    for (unsigned i = 0; i < p->count; i++) {
        const struct raft_member *m = raft_config_find(led.raft.config, p->replicas[i].replica_id);
        struct raft_progress progress;
        if (m == NULL || m->roles != RAFT_VOTER)
            return missing(why, size, "partition %" PRIu64 ": %" PRIu64 " is no voter", p->id,
                           p->replicas[i].replica_id);
        if (!caught_up || p->replicas[i].replica_id == led.replica_id) continue;
        if (!replica_peer_progress(leader, p->replicas[i].replica_id, &progress) || progress.match < led.raft.commit)
            return missing(why, size, "partition %" PRIu64 ": copy %" PRIu64 " has not caught up", p->id,
                           p->replicas[i].replica_id);
    }
    return true;
}

/* No node has a copy that the catalog does not name. */
static bool no_strangers(struct sim_cluster *c, const struct catalog *catalog, char *why, size_t size)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct sim_server *s = &c->servers[i];
        if (s->lost || s->node == NULL || !world_running(s->machine)) continue;
        for (uint16_t k = 0; k < s->node->shard_count; k++)
            for (size_t h = 0; h < s->node->shards[k].host_count; h++) {
                struct replica *r;
                for (size_t at = 0;
                     s->node->shards[k].hosts[h] != NULL && host_each_replica(s->node->shards[k].hosts[h], &at, &r);) {
                    struct replica_info info;
                    bool known = false;
                    replica_info(r, &info);
                    const struct catalog_partition *p = catalog_partition(catalog, info.partition_id);
                    for (unsigned m = 0; p != NULL && m < p->count; m++)
                        known = known || p->replicas[m].replica_id == info.replica_id;
                    if (!known)
                        return missing(why, size, "%s still has copy %" PRIu64 " of partition %" PRIu64, s->host,
                                       info.replica_id, info.partition_id);
                }
            }
    }
    return true;
}

bool cluster_whole(struct sim_cluster *c, bool caught_up, char *why, size_t why_size)
{
    const struct catalog *catalog = newest_catalog(c);
    if (catalog == NULL || catalog->epoch == 0) return missing(why, why_size, "no node has the catalog");
    for (unsigned i = 0; i < c->count; i++) {
        const struct sim_server *s = &c->servers[i];
        if (s->removal == REMOVAL_WANTED) return missing(why, why_size, "the removal of %s is not done", s->host);
        if (s->removal == REMOVAL_DONE && !s->gone)
            return missing(why, why_size, "%s, which was removed, has not ended", s->host);
    }
    for (size_t i = 0; i < catalog->partition_count; i++)
        if (!partition_whole(c, catalog, &catalog->partitions[i], caught_up, why, why_size)) return false;
    return !caught_up || no_strangers(c, catalog, why, why_size);
}

bool cluster_sound(struct sim_cluster *c, const struct sim_server *but)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct sim_server *s = &c->servers[i];
        if (s->gone || s == but) continue;
        if (!s->ready || s->node == NULL || !world_running(s->machine)) return false;
        for (uint16_t k = 0; k < s->node->shard_count; k++)
            for (size_t h = 0; h < s->node->shards[k].host_count; h++) {
                struct replica *r;
                struct replica_info info;
                if (s->node->shards[k].hosts[h] == NULL || host_failed(s->node->shards[k].hosts[h])) return false;
                for (size_t at = 0; host_each_replica(s->node->shards[k].hosts[h], &at, &r);) {
                    replica_info(r, &info);
                    if (info.raft.suspect || info.raft.damaged) return false;
                }
            }
    }
    return true;
}

bool sim_cluster_whole(struct sim_cluster *c, char *why, size_t why_size)
{
    return cluster_whole(c, true, why, why_size);
}

void sim_cluster_count_beyond(struct sim_cluster *c, bool served)
{
    c->counters.beyond_served += served;
    c->counters.beyond_stopped += !served;
}

bool sim_cluster_said(struct sim_cluster *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct sim_server *s = &c->servers[i];
        if (s->gone || s->node == NULL || !world_running(s->machine)) continue;
        for (uint16_t k = 0; k < s->node->shard_count; k++)
            for (size_t h = 0; h < s->node->shards[k].host_count; h++) {
                struct replica *r;
                struct replica_info info;
                for (size_t at = 0;
                     s->node->shards[k].hosts[h] != NULL && host_each_replica(s->node->shards[k].hosts[h], &at, &r);) {
                    replica_info(r, &info);
                    if (info.raft.suspect || info.raft.damaged || info.stopped) return true;
                }
            }
    }
    return c->said;
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
                fprintf(out,
                        "replicas differ: partition %" PRIu64 " at entry %" PRIu64 ": %s has %" PRIu64
                        " rows, hash %016" PRIx64 "; %s has %" PRIu64 " rows, hash %016" PRIx64 "\n",
                        a->partition_id, a->applied, a->host, a->rows, a->hash, b->host, b->rows, b->hash);
        }
    c->copies_compared += n;
    mem_free(copies);
    return ok;
}
