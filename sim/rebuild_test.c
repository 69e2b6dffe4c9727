/* rebuild_test.c - rows of one replica go wrong behind its back: a scrub finds it, it is fenced, and gets its rows anew.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replica/host_internal.h"
#include "sim/client.h"
#include "sim/cluster_internal.h"
#include "table/place.h"

struct rig {
    struct world *w;
    struct sim_cluster *c;
    struct sim_clients *clients;
    struct history history;
};

static void rig_init(struct rig *g, uint64_t seed)
{
    *g = (struct rig){.w = world_new(seed)};
    struct sim_cluster_options options = {.nodes = 3, .shards = 1, .partitions = 2, .small_limits = true};
    g->c = sim_cluster_new(g->w, &options);
    struct sim_clients_options clients = {.count = 3,
                                          .addresses = sim_cluster_addresses(g->c),
                                          .address_count = sim_cluster_address_count(g->c),
                                          .think_ns = 30 * NS_PER_MS,
                                          .timeout_ns = 8 * NS_PER_S,
                                          .objects = 6,
                                          .ops_per_object = 60};
    g->clients = sim_clients_new(g->w, &clients, &g->history);
    world_run(g->w, 6 * NS_PER_S);
    assert_true(sim_cluster_ready(g->c));
}

static void rig_deinit(struct rig *g)
{
    history_deinit(&g->history);
    world_free(g->w);
}

static struct host *host_of(struct rig *g, unsigned node) { return g->c->servers[node].node->shards[0].hosts[0]; }

/* A replica of the default table on some node that leads it, or that does not. */
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

struct damage {
    struct replica *replica;
};

/* A row appears that no entry wrote. */
static void damage(void *ctx)
{
    struct damage *d = ctx;
    struct buf key = {0};
    row_head_at(&key, d->replica->table, (uint16_t)d->replica->slot_lo, 1, BYTES_LIT("nobody wrote this"));
    rows_put(d->replica->host->rows, buf_view(&key), BYTES_LIT("\1\0\1\0\0\0\0\0\0\0wrong"));
    buf_deinit(&key);
    host_wake(d->replica);
}

/* … and it has been found and fenced. */
static void damage_fence(void *ctx)
{
    struct damage *d = ctx;
    damage(ctx);
    replica_fence(d->replica, "the test says so");
}

/* … and all that is on disk. */
static void damage_fence_flush(void *ctx)
{
    struct damage *d = ctx;
    struct host *h = d->replica->host;
    damage_fence(ctx);
    assert_int_equal(rows_flush(h->rows, NULL), ST_OK);
    assert_int_equal(engine_flush(h->engine, NULL), ST_OK);
}

static bool stats_of(struct rig *g, unsigned node, struct host_stats *out)
{
    struct sim_server *s = &g->c->servers[node];
    if (!world_running(s->machine) || s->node == NULL || s->node->shards[0].host_count == 0) return false;
    host_stats(host_of(g, node), out);
    return true;
}

static void rebuilt(struct rig *g, bool leader, bool restart)
{
    unsigned node = 0;
    struct damage d = {find(g, leader, &node)};
    struct sim_server *s = &g->c->servers[node];
    struct host_stats x = {0};
    uint64_t partition = d.replica->partition_id;
    world_call(world_loop(s->machine, 0), restart ? damage_fence_flush : damage, &d);
    if (restart) {
        world_run(g->w, 300 * NS_PER_US);
        server_crash(s, SIM_POWER_LOSS);
        server_restart_later(s, NS_PER_S);
    }
    uint64_t until = world_now_ns(g->w) + 90 * NS_PER_S;
    while (world_now_ns(g->w) < until && !(stats_of(g, node, &x) && x.rebuilt != 0)) world_run(g->w, 5 * NS_PER_MS);
    assert_int_equal(x.rebuilt, 1);
    assert_int_equal(x.scrub_mismatches, restart ? 0 : 1);
    world_run(g->w, 12 * NS_PER_S); /* scrubs after it find nothing */
    assert_true(stats_of(g, node, &x));
    assert_int_equal(x.scrub_mismatches, restart ? 0 : 1);
    sim_clients_finish(g->clients);
    until = world_now_ns(g->w) + 30 * NS_PER_S;
    while (!sim_clients_finished(g->clients) && world_now_ns(g->w) < until) world_run(g->w, 50 * NS_PER_MS);
    assert_true(sim_clients_finished(g->clients));
    world_run(g->w, 2 * NS_PER_S);
    assert_true(sim_cluster_agrees(g->c, stdout));
    assert_null(sim_clients_finding(g->clients));
    struct history_sum sum = {0};
    assert_true(history_check(&g->history, &sum, stdout));
    struct replica_info info;
    replica_info(host_replica(host_of(g, node), partition), &info);
    assert_false(info.stopped);
    assert_int_equal(info.rebuilds, 0);
}

static void test_a_follower(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct rig g;
        rig_init(&g, seed);
        rebuilt(&g, false, false);
        rig_deinit(&g);
    }
}

static void test_the_leader(void **state)
{
    for (uint64_t seed = 11; seed <= 18; seed++) {
        struct rig g;
        rig_init(&g, seed);
        rebuilt(&g, true, false);
        rig_deinit(&g);
    }
}

/* The fence outlives a loss of power. */
static void test_power_lost_meanwhile(void **state)
{
    for (uint64_t seed = 21; seed <= 28; seed++) {
        struct rig g;
        rig_init(&g, seed);
        rebuilt(&g, false, true);
        rig_deinit(&g);
    }
}

/* No rows come for a long while, and the others write on: its log is bounded all the same, over a restart too. */
static void test_its_log_is_bounded(void **state)
{
    for (uint64_t seed = 31; seed <= 33; seed++) {
        struct rig g;
        unsigned node = 0;
        rig_init(&g, seed);
        struct damage d = {find(&g, false, &node)};
        struct sim_server *s = &g.c->servers[node];
        uint64_t partition = d.replica->partition_id, fenced_at = d.replica->applied;
        uint32_t allowed[3];
        for (unsigned i = 0; i < 3; i++) {
            struct host_limits *l = &host_of(&g, i)->limits;
            allowed[i] = l->snapshots_max;
            l->snapshots_max = 0;
            l->keep_entries_bytes = 4096;
        }
        world_call(world_loop(s->machine, 0), damage_fence, &d);
        struct replica_info info;
        struct host_stats x = {0};
        for (int i = 0; i < 60; i++) {
            world_run(g.w, NS_PER_S);
            if (i == 40) {
                server_crash(s, SIM_POWER_LOSS);
                server_restart_later(s, NS_PER_S);
                world_run(g.w, 3 * NS_PER_S);
                assert_true(stats_of(&g, node, &x));
                host_of(&g, node)->limits.keep_entries_bytes = 4096;
            }
        }
        struct replica *r = host_replica(host_of(&g, node), partition);
        assert_non_null(r);
        assert_true(r->fenced);
        replica_info(r, &info);
        assert_true(stats_of(&g, node, &x));
        print_message("seed %llu: fenced at %llu, log %llu to %llu, needed %llu\n", (unsigned long long)seed,
                      (unsigned long long)fenced_at, (unsigned long long)info.raft.first_index,
                      (unsigned long long)info.raft.last_index, (unsigned long long)x.log.needed_bytes);
        assert_true(info.raft.last_index > fenced_at + 20); /* the others wrote on, and it acknowledged */
        assert_true(info.raft.first_index > fenced_at);     /* what came after the fence went, too */
        for (unsigned i = 0; i < 3; i++) host_of(&g, i)->limits.snapshots_max = allowed[i];
        uint64_t until = world_now_ns(g.w) + 200 * NS_PER_S;
        while (world_now_ns(g.w) < until && !(stats_of(&g, node, &x) && x.rebuilt != 0)) world_run(g.w, 50 * NS_PER_MS);
        assert_int_equal(x.rebuilt, 1);
        sim_clients_finish(g.clients);
        until = world_now_ns(g.w) + 30 * NS_PER_S;
        while (!sim_clients_finished(g.clients) && world_now_ns(g.w) < until) world_run(g.w, 50 * NS_PER_MS);
        world_run(g.w, 2 * NS_PER_S);
        assert_true(sim_cluster_agrees(g.c, stdout));
        assert_null(sim_clients_finding(g.clients));
        struct history_sum sum = {0};
        assert_true(history_check(&g.history, &sum, stdout));
        assert_int_equal(sum.given_up, 0);
        rig_deinit(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_its_log_is_bounded), cmocka_unit_test(test_a_follower),
                                       cmocka_unit_test(test_the_leader), cmocka_unit_test(test_power_lost_meanwhile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
