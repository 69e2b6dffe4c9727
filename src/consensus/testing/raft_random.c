/* raft_random.c - one random run of a cluster: faults, then healing, with the oracle watching.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The seed decides everything: size, limits, clocks, which kinds of faults, and each event. Time goes in steps of one
 * millisecond. Faults stay within what the protocol promises to survive: clocks drift less than drift_ns in a lease,
 * and at most one replica at a time has a damaged log. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "consensus/testing/raft_cluster.h"

enum { FAULTS_MS = 2500, HEAL_MS = 2500, QUIET_MS = 1200 };

struct plan {
    bool crashes, pauses, cuts, changes, transfers, damage, compacts, slow_disks, busy;
    unsigned loss; /* one in, 0: none */
    unsigned delay_max_ms;
    bool uneven;                         /* some links are slow, others fast */
    unsigned crash_one_in, start_one_in; /* milliseconds */
};

static uint64_t ms(uint64_t n) { return n * NS_PER_MS; }

static void setup(struct cluster *c, uint64_t seed, struct plan *p)
{
    struct rng r;
    rng_init(&r, seed * 2 + 1);
    struct cluster_options o = {.seed = seed, .lease_ns = ms(100), .drift_ns = ms(15), .interval_ns = ms(25)};
    o.nodes = (unsigned)rng_between(&r, 3, 5);
    *p = (struct plan){.crashes = !rng_chance(&r, 4),
                       .pauses = rng_chance(&r, 2),
                       .cuts = !rng_chance(&r, 3),
                       .changes = rng_chance(&r, 2),
                       .transfers = rng_chance(&r, 2),
                       .compacts = rng_chance(&r, 2),
                       .slow_disks = rng_chance(&r, 3),
                       .busy = rng_chance(&r, 4),
                       .loss = rng_chance(&r, 2) ? (unsigned)rng_between(&r, 5, 50) : 0,
                       .delay_max_ms = (unsigned)rng_between(&r, 1, rng_chance(&r, 3) ? 40 : 8),
                       .uneven = rng_chance(&r, 3),
                       .crash_one_in = rng_chance(&r, 2) ? 120 : 600,
                       .start_one_in = rng_chance(&r, 2) ? 5 : 80};
    p->damage = !p->changes && p->crashes && rng_chance(&r, 2);
    o.urgent_one_in = 3;
    o.voters = p->changes ? (unsigned)rng_between(&r, 1, o.nodes) : o.nodes;
    o.limits = (struct raft_limits){.append_bytes_max = 512,
                                    .inflight_bytes_max = 2048,
                                    .inflight_count_max = 4,
                                    .uncommitted_bytes_max = 4096,
                                    .tail_bytes_max = (uint32_t)rng_between(&r, 500, 4000),
                                    .reads_max = 8,
                                    .election_ns = ms(100),
                                    .resend_ns = ms(30),
                                    .transfer_ns = ms(150),
                                    .notice_ns = rng_chance(&r, 2) ? 0 : ms(3)};
    o.keep_log = getenv("CAIRN_RAFT_TRACE") != NULL;
    cluster_init(c, &o);
    for (unsigned i = 1; i <= o.nodes; i++) {
        c->nodes[i].clock_offset_ns = rng_below(&r, ms(100000));
        c->nodes[i].clock_ppk = (int64_t)rng_between(&r, 0, 100) - 50;
        cluster_start(c, i);
    }
}

static uint64_t delay_ms(struct cluster *c, const struct plan *p, const struct cluster_message *m, bool faults)
{
    uint64_t most = p->delay_max_ms;
    if (faults && p->uneven) most = hash_u64(c->options.seed ^ (m->from << 8 | m->to)) % 2 ? 60 : 2;
    return rng_between(&c->rng, 1, most);
}

static void network(struct cluster *c, const struct plan *p, bool faults)
{
    for (uint32_t i = 0; i < c->net_count; i++) {
        if (c->net[i].due_ns != 0) continue;
        c->net[i].due_ns = c->now_ns + ms(delay_ms(c, p, &c->net[i], faults));
        if (!faults || p->loss == 0) continue;
        if (rng_chance(&c->rng, p->loss)) cluster_lose(c, i--);
        else if (rng_chance(&c->rng, p->loss)) {
            cluster_repeat(c, i);
            c->net[c->net_count - 1].due_ns = c->now_ns +
                                              ms(rng_between(&c->rng, 1, rng_chance(&c->rng, 2) ? 10 : 300));
        }
    }
    for (uint32_t i = 0; i < c->net_count;) {
        const struct cluster_message *m = &c->net[i];
        if (m->due_ns != 0 && m->due_ns <= c->now_ns && c->now_ns >= c->nodes[m->to].paused_until_ns)
            cluster_deliver(c, i);
        else i++;
    }
}

static void disks(struct cluster *c, const struct plan *p, bool faults)
{
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        struct cluster_node *n = &c->nodes[i];
        if (!n->up || n->write_count == 0 || c->now_ns < n->sync_due_ns || c->now_ns < n->paused_until_ns) continue;
        cluster_sync(c, i, faults ? (uint32_t)rng_between(&c->rng, 1, n->write_count) : n->write_count);
        bool slow = faults && p->slow_disks && rng_chance(&c->rng, 20);
        n->sync_due_ns = c->now_ns + ms(slow ? rng_between(&c->rng, 20, 200) : rng_below(&c->rng, 6));
    }
}

static void clients(struct cluster *c)
{
    unsigned node = (unsigned)rng_between(&c->rng, 1, c->options.nodes);
    struct cluster_node *n = &c->nodes[node];
    uint8_t data[120];
    if (!n->up || c->now_ns < n->paused_until_ns) return;
    if (c->committed + 200 < CLUSTER_LOG_MAX) {
        for (uint64_t k = rng_below(&c->rng, 3); k > 0; k--) {
            size_t size = rng_between(&c->rng, 1, sizeof data);
            for (size_t i = 0; i < size; i++) data[i] = (uint8_t)rng_next(&c->rng);
            cluster_propose(c, node, bytes_of(data, size));
        }
    }
    if (rng_chance(&c->rng, 2)) cluster_read(c, node);
}

static bool any_suspect(const struct cluster *c)
{
    for (unsigned i = 1; i <= c->options.nodes; i++)
        if (c->nodes[i].disk.suspect) return true;
    return false;
}

static void crash(struct cluster *c, const struct plan *p, unsigned node)
{
    struct cluster_node *n = &c->nodes[node];
    uint32_t writes = n->write_count, kept = (uint32_t)rng_below(&c->rng, writes + 1);
    cluster_crash(c, node, kept);
    if (!p->damage || any_suspect(c)) return;
    if (rng_chance(&c->rng, 2)) cluster_damage(c, node, rng_below(&c->rng, 20), rng_chance(&c->rng, 2), true);
    else if (kept < writes) cluster_damage(c, node, 0, false, false); /* torn: what is lost was never acknowledged */
}

static void change(struct cluster *c, unsigned node)
{
    struct raft_config target = {.epoch = 1};
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        uint8_t role = rng_chance(&c->rng, 4) ? RAFT_LEARNER : RAFT_VOTER;
        if (rng_chance(&c->rng, 3)) continue;
        target.members[target.count++] = (struct raft_member){i, store_addr(i, 1), role};
    }
    raft_change(c->nodes[node].raft, cluster_local_ns(c, node), &target, NULL);
    cluster_pump(c, node);
}

static void faults_of_node(struct cluster *c, const struct plan *p, unsigned i)
{
    struct cluster_node *n = &c->nodes[i];
    if (!n->up) {
        if (rng_chance(&c->rng, p->start_one_in)) cluster_start(c, i);
        return;
    }
    if (c->now_ns < n->paused_until_ns) return;
    if (p->crashes && rng_chance(&c->rng, p->crash_one_in)) {
        crash(c, p, i);
        return;
    }
    if (p->pauses && rng_chance(&c->rng, 400)) n->paused_until_ns = c->now_ns + ms(rng_between(&c->rng, 20, 250));
    if (rng_chance(&c->rng, 20)) cluster_flush(c, i);
    if (p->compacts && rng_chance(&c->rng, 100)) {
        uint64_t keep = rng_below(&c->rng, 20);
        if (n->machine.applied > keep) cluster_compact(c, i, n->machine.applied - keep);
    }
    if (p->changes && rng_chance(&c->rng, 100)) change(c, i);
    if (p->transfers && rng_chance(&c->rng, 100)) {
        raft_transfer(n->raft, cluster_local_ns(c, i), rng_between(&c->rng, 1, c->options.nodes), NULL);
        cluster_pump(c, i);
    }
    if (p->busy && rng_chance(&c->rng, 100)) {
        raft_set_busy(n->raft, cluster_local_ns(c, i), rng_chance(&c->rng, 2));
        cluster_pump(c, i);
    }
    if (rng_chance(&c->rng, 2000)) {
        raft_step_down(n->raft, cluster_local_ns(c, i), "asked");
        cluster_pump(c, i);
    }
}

static void cuts(struct cluster *c)
{
    unsigned nodes = c->options.nodes;
    if (rng_chance(&c->rng, 300)) {
        switch (rng_below(&c->rng, 3)) {
        case 0: /* one link, one way */
            c->cut[rng_between(&c->rng, 1, nodes)][rng_between(&c->rng, 1, nodes)] = true;
            break;
        case 1: { /* one node alone */
            unsigned alone = (unsigned)rng_between(&c->rng, 1, nodes);
            for (unsigned i = 1; i <= nodes; i++) c->cut[alone][i] = c->cut[i][alone] = true;
            break;
        }
        default: /* any set of one-way links */
            for (unsigned i = 1; i <= nodes; i++)
                for (unsigned j = 1; j <= nodes; j++) c->cut[i][j] = rng_chance(&c->rng, 3);
        }
    }
    if (rng_chance(&c->rng, 250)) memset(c->cut, 0, sizeof c->cut);
}

static void step(struct cluster *c, const struct plan *p, bool faults, bool load)
{
    c->now_ns += ms(1);
    if (faults && p->cuts) cuts(c);
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        if (faults) faults_of_node(c, p, i);
        if (!c->nodes[i].up || c->now_ns < c->nodes[i].paused_until_ns) continue;
        if (c->now_ns / NS_PER_MS % 5 == i % 5) cluster_beat(c, i);
        cluster_run_timers(c, i);
    }
    network(c, p, faults);
    disks(c, p, faults);
    if (load) clients(c);
    cluster_check(c);
    if (c->text.n > 0) {
        fprintf(stderr, "-- %" PRIu64 " ms\n%.*s", (uint64_t)(c->now_ns / NS_PER_MS), (int)c->text.n,
                (const char *)c->text.p);
        buf_clear(&c->text);
    }
}

static bool agreed(const struct cluster *c)
{
    unsigned leader = cluster_leader(c);
    struct raft_view v, other;
    if (leader == 0) return false;
    raft_view(c->nodes[leader].raft, &v);
    for (unsigned i = 0; i < v.config->count; i++) {
        const struct cluster_node *n = &c->nodes[v.config->members[i].replica_id];
        raft_view(n->raft, &other);
        if (other.commit != v.last_index || n->machine.applied != v.last_index || other.suspect) return false;
        if (n->machine.hash != c->nodes[leader].machine.hash) return false;
    }
    return raft_lease_until(c->nodes[leader].raft) > cluster_local_ns(c, leader);
}

static void heal(struct cluster *c, struct plan *p)
{
    memset(c->cut, 0, sizeof c->cut);
    p->delay_max_ms = MIN(p->delay_max_ms, 8);
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        c->nodes[i].paused_until_ns = 0;
        if (!c->nodes[i].up) cluster_start(c, i);
        raft_set_busy(c->nodes[i].raft, cluster_local_ns(c, i), false);
        cluster_pump(c, i);
    }
    uint64_t proposals = c->proposals_done, acked = c->acked, reads = c->reads_done;
    for (unsigned t = 0; t < HEAL_MS && c->failure[0] == 0; t++) step(c, p, false, true);
    if (c->proposals_done == proposals || c->acked == acked) cluster_fail(c, "liveness: nothing commits after healing");
    if (c->reads_done == reads) cluster_fail(c, "liveness: no read is answered after healing");
    for (unsigned t = 0; t < QUIET_MS && c->failure[0] == 0; t++) step(c, p, false, false);
    if (!agreed(c)) cluster_fail(c, "liveness: the members do not agree after healing");
    uint64_t sent = c->raft_sent;
    for (unsigned t = 0; t < 400 && c->failure[0] == 0; t++) step(c, p, false, false);
    if (c->raft_sent != sent && !p->changes)
        cluster_fail(c, "quiet: %" PRIu64 " messages in a quiet group", c->raft_sent - sent);
}

const char *raft_random_run(uint64_t seed)
{
    static char failure[400];
    struct cluster *c = mem_alloc(sizeof *c);
    struct plan p;
    setup(c, seed, &p);
    for (unsigned t = 0; t < FAULTS_MS && c->failure[0] == 0; t++) step(c, &p, true, true);
    if (c->failure[0] == 0) heal(c, &p);
    failure[0] = 0;
    if (c->failure[0] != 0)
        snprintf(failure, sizeof failure, "seed %" PRIu64 " at %" PRIu64 " ms: %s", seed,
                 (uint64_t)(c->now_ns / NS_PER_MS), c->failure);
    if (c->failure[0] != 0 && getenv("CAIRN_RAFT_SEED") != NULL) {
        struct buf b = {0};
        cluster_describe(c, &b);
        fprintf(stderr, "crashes=%d pauses=%d cuts=%d changes=%d transfers=%d damage=%d compacts=%d busy=%d\n%.*s",
                p.crashes, p.pauses, p.cuts, p.changes, p.transfers, p.damage, p.compacts, p.busy, (int)b.n,
                (const char *)b.p);
        buf_deinit(&b);
    }
    cluster_deinit(c);
    mem_free(c);
    return failure[0] != 0 ? failure : NULL;
}
