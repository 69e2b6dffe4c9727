/* disturb.c - draws faults from the seed and does them to the cluster.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/mem.h"
#include "replica/host_internal.h"
#include "sim/cluster_internal.h"

static struct rng *rng_of(struct sim_cluster *c) { return world_rng(c->world); }

/* A node drawn among those that run; NULL: none. */
static struct sim_server *draw(struct sim_cluster *c)
{
    unsigned i = (unsigned)rng_below(rng_of(c), c->count);
    for (unsigned k = 0; k < c->count; k++, i = (i + 1) % c->count)
        if (!c->servers[i].gone && world_running(c->servers[i].machine)) return &c->servers[i];
    return NULL;
}

/* How long a fault lasts: mostly short, sometimes long. */
static uint64_t duration(struct sim_cluster *c)
{
    return rng_chance(rng_of(c), 5) ? rng_between(rng_of(c), 2 * NS_PER_S, 10 * NS_PER_S)
                                    : rng_between(rng_of(c), 20 * NS_PER_MS, 2 * NS_PER_S);
}

static void after(struct sim_cluster *c, uint64_t delay, void (*fn)(void *ctx), void *ctx)
{
    world_at(c->world, world_now_ns(c->world) + delay, fn, ctx);
}

/* ---- network ---- */

struct link_fault {
    struct sim_cluster *cluster;
    struct sim_node *from, *to;
    bool slow;
};

static void end_link_fault(void *ctx)
{
    struct link_fault *f = ctx;
    if (f->slow) net_slow(f->from, f->to, 0, 0);
    else net_heal(f->from, f->to);
    mem_free(f);
}

static void link_fault(struct sim_cluster *c, struct sim_node *from, struct sim_node *to, bool slow, uint64_t lasts)
{
    if (from == to) return; /* one that is gone, and its successor on the same machine */
    struct link_fault *f = mem_zalloc(sizeof *f);
    *f = (struct link_fault){c, from, to, slow};
    if (slow) net_slow(from, to, rng_between(rng_of(c), NS_PER_MS, 200 * NS_PER_MS), 20 * NS_PER_MS);
    else net_cut(from, to);
    after(c, lasts, end_link_fault, f);
}

static void cut_pair(struct sim_cluster *c, struct sim_server *a, struct sim_server *b, uint64_t lasts)
{
    link_fault(c, a->machine, b->machine, false, lasts);
    link_fault(c, b->machine, a->machine, false, lasts);
}

static struct sim_server *other(struct sim_cluster *c, struct sim_server *a)
{
    struct sim_server *b = draw(c);
    if (b == a) b = &c->servers[(a->index + 1) % c->count];
    return b == NULL || b == a || b->gone ? NULL : b;
}

static void cut_bridge(struct sim_cluster *c, struct sim_server *bridge)
{
    uint64_t lasts = duration(c);
    for (unsigned i = 0; i < c->count; i++)
        for (unsigned k = i + 1; k < c->count; k++) {
            struct sim_server *a = &c->servers[i], *b = &c->servers[k];
            if (a == bridge || b == bridge || (i + k) % 2 == 0) continue;
            cut_pair(c, a, b, lasts);
        }
}

static void isolate(struct sim_cluster *c, struct sim_server *s)
{
    uint64_t lasts = duration(c);
    for (unsigned i = 0; i < c->count; i++)
        if (&c->servers[i] != s) cut_pair(c, s, &c->servers[i], lasts);
}

/* ---- single frames ---- */

void sim_draw_frame_faults(struct sim_cluster *c)
{
    rng_init(&c->frame_rng, rng_next(rng_of(c)));
    for (unsigned i = 0; i < ARRAY_COUNT(c->frame_one_in); i++) {
        uint64_t one_in = rng_between(rng_of(c), 50, 2000);
        bool drawn = rng_chance(rng_of(c), 3);
        if (drawn && c->options.faults >> (FAULT_FRAME_DROP + i) & 1) c->frame_one_in[i] = one_in;
    }
}

static void frame_burst(struct sim_cluster *c, unsigned i)
{
    c->frame_burst_one_in[i] = rng_between(rng_of(c), 2, 20);
    c->frame_burst_until_ns[i] = world_now_ns(c->world) + duration(c);
}

static const struct raft *raft_on(const struct sim_server *s, uint64_t partition_id)
{
    for (uint16_t i = 0; s->node != NULL && i < s->node->shard_count; i++)
        for (size_t k = 0; k < s->node->shards[i].host_count; k++) {
            struct host *h = s->node->shards[i].hosts[k];
            struct replica *r = h != NULL ? host_replica(h, partition_id) : NULL;
            if (r != NULL) return r->raft;
        }
    return NULL;
}

/* Would this frame add an entry of its sender's own term to the log? (One that comes too early does not: it is refused, and the
 * sender learns how far the log goes.) */
static bool brings_own_term(const struct sim_server *to, const struct mesh_frame *f)
{
    struct entry *entries[256];
    struct raft_message m;
    struct error err;
    if (f->kind != MESH_RAFT || f->body.n < 8) return false;
    const struct raft *r = raft_on(to, get_u64(f->body.p));
    struct bytes body = bytes_of(f->body.p + 8, f->body.n - 8);
    if (r == NULL || raft_message_decode(body, &m, entries, ARRAY_COUNT(entries), &err) != ST_OK) return false;
    struct raft_view v;
    raft_view(r, &v);
    bool brings = false;
    for (uint32_t i = 0; i < m.entry_count; i++) {
        brings = brings || (entries[i]->term == m.term && m.index <= v.last_index);
        entry_unref(entries[i]);
    }
    return brings;
}

enum mesh_fate sim_frame_fate(void *server, const struct mesh_frame *f, uint64_t *out_delay_ns)
{
    static const enum mesh_fate fates[] = {MESH_DROP, MESH_REPEAT, MESH_DELAY};
    struct sim_cluster *c = ((struct sim_server *)server)->cluster;
    if (!c->disturbing) return MESH_PASS;
    if (c->held_node != 0 && f->from_node == c->held_node && brings_own_term(server, f)) {
        c->counters.faults[FAULT_FRAME_DROP]++;
        return MESH_DROP;
    }
    for (unsigned i = 0; i < ARRAY_COUNT(fates); i++) {
        bool burst = world_now_ns(c->world) < c->frame_burst_until_ns[i];
        if (fates[i] == MESH_REPEAT && c->options.repeats) c->frame_one_in[i] = 2;
        if (!rng_chance(&c->frame_rng, burst ? c->frame_burst_one_in[i] : c->frame_one_in[i])) continue;
        /* Mostly past a few others; now and then long after all that it belonged to. */
        bool late = rng_chance(&c->frame_rng, c->options.repeats && f->kind == MESH_REQUEST ? 2 : 20);
        *out_delay_ns = late ? rng_between(&c->frame_rng, NS_PER_S / 2, 5 * NS_PER_S)
                             : rng_between(&c->frame_rng, 0, 50 * NS_PER_MS);
        c->counters.faults[FAULT_FRAME_DROP + i]++;
        return fates[i];
    }
    return MESH_PASS;
}

/* ---- disks ---- */

static void end_disk_fault(void *ctx)
{
    struct sim_server *s = ctx;
    struct sim_disk_options *d = sim_disk_options(s->machine);
    d->slow_factor = 1;
    if (s->disk_capacity != 0) d->capacity_bytes = s->disk_capacity;
}

static void fill_disk(struct sim_cluster *c, struct sim_server *s)
{
    struct sim_disk_options *d = sim_disk_options(s->machine);
    if (s->disk_capacity == 0) s->disk_capacity = d->capacity_bytes;
    d->capacity_bytes = sim_disk_used(s->machine) + rng_below(rng_of(c), 256 << 10);
    s->storage_faults++;
    after(c, duration(c), end_disk_fault, s);
}

static bool rot(struct sim_server *s, const char *part)
{
    char path[256];
    uint64_t offset;
    if (!sim_disk_corrupt_one(s->machine, part, path, sizeof path, &offset)) return false;
    s->damaged = true;
    diag(DIAG_INFO, "sim.corrupted node=%s path=%s offset=%llu", s->host, path, (unsigned long long)offset);
    return true;
}

static bool corrupt(struct sim_cluster *c, const char *part, bool read_at_start_only)
{
    struct sim_server *s = &c->servers[c->corruptible];
    if (s->gone) return false;
    /* It may cost the node: as for one that is lost, the others have to be sound until all is well again. */
    if (read_at_start_only && (c->mending || !cluster_whole(c, false, NULL, 0) || !cluster_sound(c, s))) return false;
    if (!rot(s, part)) return false;
    if (read_at_start_only) cluster_mend(c);
    /* Damage is found when it is read: let that be soon. */
    if (read_at_start_only || rng_chance(rng_of(c), 2)) {
        server_crash(s, SIM_KILL);
        server_restart_later(s, duration(c));
    }
    return true;
}

/* ---- processes and membership ---- */

static void orderly_stop(void *ctx)
{
    struct sim_server *s = ctx;
    node_stop(s->node);
}

static void end_stop(void *ctx)
{
    struct sim_server *s = ctx;
    /* Whether it has finished or not: a process that is told to stop and killed soon after. */
    server_crash(s, SIM_KILL);
    server_restart_later(s, NS_PER_MS);
}

static bool stop(struct sim_cluster *c, struct sim_server *s)
{
    if (s->node == NULL || !s->ready) return false;
    s->ready = false;
    world_call(world_loop(s->machine, 0), orderly_stop, s);
    after(c, rng_between(rng_of(c), 10 * NS_PER_MS, NS_PER_S), end_stop, s);
    return true;
}

static bool add_node(struct sim_cluster *c)
{
    if (c->count >= SIM_NODES_MAX - 2 || cluster_members(c) >= c->options.nodes + 2) return false;
    cluster_add(c, NULL);
    return true;
}

/* Three stay, so that damage on one of them stays within the budget; where there is none, two or even one may stay, and the
 * cluster has to refuse what would lose the only copy. */
static bool remove_node(struct sim_cluster *c, struct sim_server *s)
{
    bool damage = c->options.faults >> FAULT_CORRUPTION & 1;
    if (s->node_id == 0 || s->removal != REMOVAL_NONE || cluster_members(c) <= (damage ? 3u : 1u)) return false;
    admin_remove(s);
    return true;
}

static void look_if_mended(void *ctx)
{
    struct sim_cluster *c = ctx;
    bool joined = true; /* with two nodes meta has one copy only */
    for (unsigned i = 0; i < c->count; i++) joined = joined && (c->servers[i].gone || c->servers[i].member);
    if (!joined || !cluster_whole(c, false, NULL, 0) || !cluster_sound(c, NULL)) {
        after(c, 200 * NS_PER_MS, look_if_mended, c);
        return;
    }
    c->mending = false;
    struct sim_server *s = draw(c);
    if (s != NULL) c->corruptible = s->index;
    diag(DIAG_INFO, "sim.mended");
}

void cluster_mend(struct sim_cluster *c)
{
    if (!c->mending) after(c, 200 * NS_PER_MS, look_if_mended, c);
    c->mending = true;
}

/* The one node that may have damage, and only while all the others are sound and every partition has its copies. */
static bool replace_node(struct sim_cluster *c)
{
    struct sim_server *s = &c->servers[c->corruptible];
    if (c->mending || s->gone || s->node_id == 0 || s->removal != REMOVAL_NONE || cluster_members(c) < 3) return false;
    if (c->count >= SIM_NODES_MAX - 1 || !cluster_whole(c, false, NULL, 0) || !cluster_sound(c, s)) return false;
    server_lose(s);
    return true;
}

static bool crash(struct sim_cluster *c, struct sim_server *s, enum sim_crash kind)
{
    server_crash(s, kind);
    server_restart_later(s, duration(c));
    return true;
}

static bool power_all(struct sim_cluster *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (!c->servers[i].gone) crash(c, &c->servers[i], SIM_POWER_LOSS);
    return true;
}

static bool act(struct sim_cluster *c, enum sim_fault f)
{
    struct sim_server *s = draw(c), *b;
    struct rng *rng = rng_of(c);
    bool tears = f == FAULT_POWER || f == FAULT_POWER_ALL || f == FAULT_SYNC_ERROR || f == FAULT_WRITE_ERROR ||
                 f == FAULT_CORRUPTION || f == FAULT_CORRUPT_FILE || f == FAULT_CORRUPT_ENGINE;
    if (tears && c->mending) return false;
    if (f == FAULT_REPLACE_NODE) return replace_node(c);
    if (f == FAULT_POWER_ALL) return power_all(c);
    if (f == FAULT_CORRUPTION) return corrupt(c, "/log/", false);
    if (f == FAULT_CORRUPT_FILE) return corrupt(c, rng_chance(rng, 2) ? "/identity" : "/catalog", true);
    if (f == FAULT_CORRUPT_ENGINE) return corrupt(c, "/engine/", true);
    if (f == FAULT_ADD_NODE) return add_node(c);
    if (s == NULL) return false;
    if (f == FAULT_REMOVE_NODE) return remove_node(c, s);
    switch (f) {
    case FAULT_KILL: return crash(c, s, SIM_KILL);
    case FAULT_POWER: return crash(c, s, SIM_POWER_LOSS);
    case FAULT_CUT_BOTH:
        if ((b = other(c, s)) == NULL) return false;
        cut_pair(c, s, b, duration(c));
        return true;
    case FAULT_CUT_ONE_WAY:
        if ((b = other(c, s)) == NULL) return false;
        link_fault(c, s->machine, b->machine, false, duration(c));
        return true;
    case FAULT_CUT_BRIDGE: cut_bridge(c, s); return c->count > 2;
    case FAULT_ISOLATE: isolate(c, s); return c->count > 1;
    case FAULT_RESET: return net_reset(s->machine, NULL) > 0;
    case FAULT_SLOW_LINK:
        if ((b = other(c, s)) == NULL) return false;
        link_fault(c, s->machine, b->machine, true, duration(c));
        return true;
    case FAULT_PAUSE: world_pause(s->machine, duration(c)); return true;
    case FAULT_STALL_LOOP: world_stall(world_loop(s->machine, 0), duration(c) / 4); return true;
    case FAULT_CLOCK_JUMP: world_clock_jump(s->machine, (int64_t)rng_between(rng, 0, 20000) - 10000); return true;
    case FAULT_CLOCK_DRIFT: world_clock_drift(s->machine, (int64_t)rng_between(rng, 0, 20000) - 10000); return true;
    case FAULT_DISK_STALL: sim_disk_stall(s->machine, duration(c)); return true;
    case FAULT_DISK_SLOW:
        sim_disk_options(s->machine)->slow_factor = rng_between(rng, 2, 50);
        after(c, duration(c), end_disk_fault, s);
        return true;
    case FAULT_DISK_FULL: fill_disk(c, s); return true;
    case FAULT_SYNC_ERROR:
        s->storage_faults++;
        sim_disk_fail(s->machine, SIM_DISK_SYNC, rng_below(rng, 4), 1);
        return true;
    case FAULT_WRITE_ERROR:
        s->storage_faults++;
        sim_disk_fail(s->machine, SIM_DISK_WRITE, rng_below(rng, 4), 1);
        return true;
    case FAULT_STOP: return stop(c, s);
    case FAULT_FRAME_DROP:
    case FAULT_FRAME_REPEAT:
    case FAULT_FRAME_DELAY: frame_burst(c, f - FAULT_FRAME_DROP); return true;
    default: return false;
    }
}

void sim_cluster_beyond_budget(struct sim_cluster *c)
{
    unsigned n = MAX(cluster_members(c), 1u), hit = MIN(n, n / 2 + 1 + (unsigned)rng_below(rng_of(c), n)),
             at = (unsigned)rng_below(rng_of(c), n);
    bool engines = rng_chance(rng_of(c), 4);
    for (unsigned i = 0, k = at; i < c->count && hit > 0; i++, k = (k + 1) % c->count) {
        struct sim_server *s = &c->servers[k];
        unsigned sectors = 1 + (unsigned)rng_below(rng_of(c), rng_chance(rng_of(c), 2) ? 6 : 60);
        if (s->gone || s->removal != REMOVAL_NONE) continue;
        server_crash(s, rng_chance(rng_of(c), 2) ? SIM_KILL : SIM_POWER_LOSS);
        for (unsigned j = 0; j < sectors; j++) c->counters.beyond_damage += rot(s, engines ? "/engine/" : "/log/");
        server_restart_later(s, duration(c));
        hit--;
    }
}

static void next_fault(void *ctx)
{
    struct sim_cluster *c = ctx;
    c->planned = false;
    if (!c->disturbing) return;
    /* Rare ones once in a while only: they say much, but they also end what else would be seen. */
    static const uint8_t weights[FAULT_COUNT] = {8, 8, 2, 6, 6, 3, 4, 6, 3, 5, 3, 4, 2, 3,
                                                 3, 1, 2, 2, 3, 3, 2, 3, 2, 2, 2, 2, 2, 2};
    uint32_t sum = 0;
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        if (c->options.faults >> i & 1) sum += weights[i];
    if (sum != 0) {
        uint32_t at = (uint32_t)rng_below(rng_of(c), sum);
        unsigned f = 0;
        for (;; f++) {
            if (!(c->options.faults >> f & 1)) continue;
            if (at < weights[f]) break;
            at -= weights[f];
        }
        if (act(c, (enum sim_fault)f)) {
            c->counters.faults[f] += f < FAULT_FRAME_DROP || f > FAULT_FRAME_DELAY; /* frames are counted one by one */
            diag(DIAG_INFO, "sim.fault kind=%s", sim_fault_name((enum sim_fault)f));
        }
    }
    c->planned = true;
    after(c, rng_between(rng_of(c), c->options.fault_every_ns / 4, c->options.fault_every_ns * 7 / 4), next_fault, c);
}

void sim_cluster_disturb(struct sim_cluster *c, bool on)
{
    c->disturbing = on;
    if (on) sim_moves_begin(c->moves);
    else sim_moves_end(c->moves);
    if (on && !c->planned && c->options.fault_every_ns != 0) {
        c->planned = true;
        after(c, c->options.fault_every_ns, next_fault, c);
    }
}

void sim_cluster_heal(struct sim_cluster *c)
{
    c->disturbing = false;
    sim_moves_end(c->moves);
    net_heal_all(c->world);
    for (unsigned i = 0; i < c->count; i++)
        for (unsigned k = 0; k < c->count; k++)
            if (c->servers[i].machine != c->servers[k].machine)
                net_slow(c->servers[i].machine, c->servers[k].machine, 0, 0);
    for (unsigned i = 0; i < c->count; i++) {
        struct sim_server *s = &c->servers[i];
        sim_disk_fail(s->machine, SIM_DISK_SYNC, 0, 0);
        sim_disk_fail(s->machine, SIM_DISK_WRITE, 0, 0);
        end_disk_fault(s);
        world_clock_drift(s->machine, 0);
        if (!s->gone && !world_running(s->machine)) server_restart_later(s, NS_PER_MS);
    }
}
