/* quiet_test.c - what quiet replicas cost: ticks look at none of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replica/host_internal.h"
#include "sim/cluster_internal.h"
#include "table/place.h"

enum { MANY = 20000, FIRST_ID = 1000000 };

static struct host *host_of(struct sim_cluster *c, unsigned node) { return c->servers[node].node->shards[0].hosts[0]; }

static uint64_t visits(struct sim_cluster *c)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < c->count; i++) {
        struct host_stats x;
        host_stats(host_of(c, i), &x);
        n += x.visits;
    }
    return n;
}

static uint64_t leaders(struct sim_cluster *c)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < c->count; i++) {
        struct host_stats x;
        host_stats(host_of(c, i), &x);
        n += x.leaders;
    }
    return n;
}

static struct sim_cluster *quiet_cluster(struct world *w, unsigned nodes, unsigned partitions)
{
    struct sim_cluster_options options = {.nodes = nodes, .shards = 1, .partitions = partitions};
    struct sim_cluster *c = sim_cluster_new(w, &options);
    c->base.limits.scrub_ns = 0; /* each is a look, on purpose */
    world_run(w, 40 * NS_PER_S);
    assert_true(sim_cluster_ready(c));
    assert_true(sim_cluster_agrees(c, stdout));
    return c;
}

static void open_many(void *ctx)
{
    struct host *h = ctx;
    for (uint64_t i = 0; i < MANY; i++) {
        struct raft_config first = {.count = 1, .members = {{FIRST_ID + i, h->self, RAFT_VOTER}}};
        struct replica_spec spec = {.partition_id = FIRST_ID + i,
                                    .replica_id = FIRST_ID + i,
                                    .table = TABLE_DEFAULT,
                                    .slot_hi = 1,
                                    .first_config = &first};
        struct replica *r;
        struct error err = {0};
        assert_int_equal(host_open_replica(h, &spec, &r, &err), ST_OK);
    }
}

/* Alone: each leads. */
static void test_many_of_one_store(void **state)
{
    struct world *w = world_new(1);
    struct sim_cluster *c = quiet_cluster(w, 1, 4);
    world_call(world_loop(c->servers[0].machine, 0), open_many, host_of(c, 0));
    world_run(w, 150 * NS_PER_S); /* elected, first entry applied, flushed, its log given up */
    assert_int_equal(leaders(c), MANY + 5);
    uint64_t before = visits(c);
    world_run(w, 60 * NS_PER_S);
    assert_int_equal(visits(c) - before, 0);
    world_free(w);
}

/* Leases between stores keep leaders and followers, and no tick looks at either. */
static void test_followers_too(void **state)
{
    struct world *w = world_new(2);
    struct sim_cluster *c = quiet_cluster(w, 3, 100);
    assert_int_equal(leaders(c), 101);
    world_run(w, 150 * NS_PER_S);
    uint64_t before = visits(c);
    world_run(w, 60 * NS_PER_S);
    assert_int_equal(visits(c) - before, 0);
    assert_int_equal(leaders(c), 101);
    world_free(w);
}

/* A store is lost: its followers elect others, without anything else happening to wake them. */
static void test_a_store_is_lost(void **state)
{
    struct world *w = world_new(3);
    struct sim_cluster *c = quiet_cluster(w, 3, 100);
    world_run(w, 100 * NS_PER_S);
    server_crash(&c->servers[2], SIM_POWER_LOSS);
    world_run(w, 10 * NS_PER_S);
    uint64_t led = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct host_stats x;
        host_stats(host_of(c, i), &x);
        led += x.leaders;
    }
    assert_int_equal(led, 101);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many_of_one_store), cmocka_unit_test(test_followers_too),
                                       cmocka_unit_test(test_a_store_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
