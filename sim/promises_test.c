/* promises_test.c - what a replica must not do, shown on a cluster at rest: follow a plan of the past, take up outcomes that a
 * snapshot replaced. In a build with planted bugs also that each test would notice.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mutation.h"
#include "replica/host_internal.h"
#include "sim/client.h"
#include "sim/cluster_internal.h"
#include "table/place.h"

struct rig {
    struct world *w;
    struct sim_cluster *c;
    struct history history;
};

static void rig_init(struct rig *g, uint64_t seed)
{
    *g = (struct rig){.w = world_new(seed)};
    struct sim_cluster_options options = {.nodes = 3, .shards = 1, .partitions = 1};
    g->c = sim_cluster_new(g->w, &options);
    struct sim_clients_options clients = {.count = 3,
                                          .addresses = sim_cluster_addresses(g->c),
                                          .address_count = sim_cluster_address_count(g->c),
                                          .think_ns = 30 * NS_PER_MS,
                                          .timeout_ns = 8 * NS_PER_S,
                                          .objects = 6,
                                          .ops_per_object = 60};
    sim_clients_new(g->w, &clients, &g->history);
    world_run(g->w, 6 * NS_PER_S);
    assert_true(sim_cluster_ready(g->c));
}

static void rig_deinit(struct rig *g)
{
    history_deinit(&g->history);
    world_free(g->w);
}

static struct host *host_of(struct rig *g, unsigned node) { return g->c->servers[node].node->shards[0].hosts[0]; }

static struct replica *find(struct rig *g, bool leads, unsigned *out_node)
{
    for (unsigned i = 0; i < g->c->count; i++) {
        struct replica *r;
        for (size_t at = 0; host_each_replica(host_of(g, i), &at, &r);) {
            if (r->table != TABLE_DEFAULT || replica_leads(r) != leads || r->applied < 20) continue;
            *out_node = i;
            return r;
        }
    }
    fail_msg("no such replica");
    return NULL;
}

/* ---- plans ---- */

struct plan {
    struct replica *replica;
    struct raft_config wanted;
};

static void reconcile(void *ctx)
{
    struct plan *p = ctx;
    replica_reconcile(p->replica, &p->wanted, 0);
}

/* Hands the leader a plan without one of its voters; the epoch is the group's own and `by`. Does it follow? */
static bool follows(uint64_t seed, int by)
{
    struct rig g;
    unsigned node = 0;
    rig_init(&g, seed);
    struct plan p = {.replica = find(&g, true, &node)};
    struct raft_view v;
    raft_view(p.replica->raft, &v);
    assert_int_equal(v.config->count, 3);
    assert_true(v.config->epoch > 0);
    uint64_t epoch = v.config->epoch;
    p.wanted = (struct raft_config){.epoch = epoch + (uint64_t)by, .count = 3};
    for (unsigned i = 0; i < 3; i++) {
        p.wanted.members[i] = v.config->members[i];
        if (v.config->members[i].replica_id != p.replica->replica_id) p.wanted.members[i].roles = 0;
    }
    for (unsigned i = 0, kept = 0; i < 3 && kept == 0; i++) {
        if (p.wanted.members[i].roles != 0) continue;
        p.wanted.members[i].roles = RAFT_VOTER;
        kept = 1;
    }
    world_call(world_loop(g.c->servers[node].machine, 0), reconcile, &p);
    world_run(g.w, 20 * NS_PER_MS);
    raft_view(p.replica->raft, &v);
    bool followed = v.config->epoch != epoch;
    if (followed) assert_int_equal(v.config->epoch, epoch + (uint64_t)by);
    rig_deinit(&g);
    return followed;
}

static void test_plans_go_forward(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        assert_false(follows(seed, -1));
        assert_true(follows(seed, 1)); /* so it is the epoch that it goes by */
#ifdef CAIRN_MUTATIONS
        mutation_set("stale_plan_followed");
        assert_true(follows(seed, -1));
        mutation_set(NULL);
#endif
    }
}

/* ---- windows ---- */

#define STRANGER UINT64_C(0x7777777777)

/* A row of outcomes from before the last snapshot, on disk. */
static void leave_old_window(void *ctx)
{
    struct replica *r = ctx;
    struct buf key = {0}, id = {0}, value = {0};
    uint64_t session;
    size_t at = 0;
    assert_true(windows_each(&r->windows, &at, &session));
    buf_put_be64(&id, STRANGER);
    row_system(&key, r->partition_id, SYSTEM_WINDOW, buf_view(&id));
    buf_put_u64(&value, r->windows.generation + 1);
    windows_encode(&r->windows, session, &value);
    rows_put(r->host->rows, buf_view(&key), buf_view(&value));
    assert_int_equal(rows_flush(r->host->rows, NULL), ST_OK);
    assert_int_equal(engine_flush(r->host->engine, NULL), ST_OK);
    buf_deinit(&key);
    buf_deinit(&id);
    buf_deinit(&value);
}

static bool comes_back(uint64_t seed)
{
    struct rig g;
    unsigned node = 0;
    rig_init(&g, seed);
    struct replica *r = find(&g, false, &node);
    uint64_t partition = r->partition_id;
    struct sim_server *s = &g.c->servers[node];
    world_call(world_loop(s->machine, 0), leave_old_window, r);
    world_run(g.w, 50 * NS_PER_MS);
    server_crash(s, SIM_KILL);
    server_restart_later(s, 100 * NS_PER_MS);
    world_run(g.w, 200 * NS_PER_MS);
    for (unsigned i = 0; i < 400 && !sim_cluster_ready(g.c); i++) world_run(g.w, 50 * NS_PER_MS);
    r = host_replica(host_of(&g, node), partition);
    assert_non_null(r);
    assert_true(r->windows.sessions.count != 0);
    bool is_there = map_get(&r->windows.sessions, STRANGER) != NULL;
    rig_deinit(&g);
    return is_there;
}

static void test_old_windows_stay_away(void **state)
{
    for (uint64_t seed = 11; seed <= 13; seed++) {
        assert_false(comes_back(seed));
#ifdef CAIRN_MUTATIONS
        mutation_set("old_windows_come_back");
        assert_true(comes_back(seed));
        mutation_set(NULL);
#endif
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans_go_forward),
                                       cmocka_unit_test(test_old_windows_stay_away)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
