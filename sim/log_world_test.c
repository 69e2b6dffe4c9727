/* log_world_test.c - the log in the simulated world: processes are killed and machines lose power at any moment.
 * SPDX-License-Identifier: Apache-2.0
 *
 * store/log_crash_test.c chooses what a crash takes; here the disk draws it, with torn and garbage sectors, and crashes
 * come at any virtual time: while workers are in the middle of an operation, while the log is opened, twice in a row.
 */
#include "store/log_test_util.h"

#include "sim/disk.h"
#include "sim/world.h"

struct run {
    struct rig g;
    struct rng rng;
    bool opened;
    enum status status;
    struct error err;
    bool power_lost;    /* since the last opening that succeeded */
    bool base_durable;  /* steps[0] is what that one found */
    unsigned suspected; /* then */
};

static void start(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct run *r = ctx;
    r->g.loop = loops[0];
    r->status = rig_try_open(&r->g, &r->err);
    r->opened = true;
}

/* The directory is there, durably, before the log is. */
static void make_dir(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct run *r = ctx;
    r->status = env_dir_create(env, DIR_NAME, &r->err);
    r->opened = true;
}

/* After an opening: the log is in a state that it had, and at least at what it reported as durable. */
static void check(struct run *r, uint64_t durable)
{
    static const struct model empty;
    struct rig *g = &r->g;
    size_t lo = 0, n = g->step_count;
    bool found = false;
    while (lo < n && g->steps[lo].position <= durable) lo++;
    if (r->base_durable) lo = MAX(lo, (size_t)1);
    for (;; n--) {
        const struct model *m = n > 0 ? &g->steps[n - 1].after : &empty;
        if (log_matches(g, m)) {
            found = true;
            break;
        }
        if (n == lo) break;
    }
    if (!found) {
        show_log(g);
    }
    assert_true(found);
    assert_int_equal(damaged(g), 0);
    if (!r->power_lost) assert_int_equal(suspects(g) & ~r->suspected, 0);
    r->suspected = suspects(g);
    struct model m = n > 0 ? g->steps[n - 1].after : empty;
    for (uint64_t id = 1; id <= REPLICAS; id++) { /* compaction is lazy: go on from what the log says */
        const struct log_replica *v = log_replica(g->log, id);
        m.r[id].exists = v != NULL;
        if (v == NULL) continue;
        m.r[id].base = v->base_index;
        m.r[id].base_term = v->base_term;
    }
    m.bound = log_bound(g->log);
    g->model = m;
    g->step_count = 0;
    r->base_durable = true;
    rig_step(g, 0);
    g->steps[0].position = 0; /* durable: the opening synced it */
}

static void act(void *ctx)
{
    struct run *r = ctx;
    if (r->g.log == NULL || r->g.failures != 0) return;
    for (uint64_t i = rng_below(&r->rng, 4); i > 0; i--) rig_random(&r->g, &r->rng);
    if (rng_chance(&r->rng, 5))
        for (uint64_t id = 0; id <= REPLICAS; id++) log_clear_suspect(r->g.log, id);
}

static void one_seed(uint64_t seed)
{
    struct run r = {.g = {.limits = small_limits(), .dir = DIR_NAME, .single = true}};
    r.g.limits.segment_bytes = 64 << 10;
    r.g.limits.bytes_max = 256 << 10;
    rng_init(&r.rng, seed * 77);
    struct world *w = world_new(seed);
    struct sim_node *n = world_node_new(w, "n1");
    struct sim_disk_options *disk = sim_disk_options(n);
    disk->torn_one_in = 10;
    disk->garbage_one_in = seed % 3 == 0 ? 10 : 0;
    uint64_t durable = 0;
    world_start(n, 1, make_dir, &r);
    world_run_while_not(w, &r.opened, NS_PER_S);
    assert_int_equal(r.status, ST_OK);
    world_stop(n);
    for (int boot = 0; boot < 12; boot++) {
        r.opened = false;
        r.g.log = NULL;
        world_start(n, 1, start, &r);
        if (rng_chance(&r.rng, 4)) { /* crashes while it opens */
            world_run(w, rng_below(&r.rng, 3 * NS_PER_MS));
            if (!r.opened) {
                r.power_lost = rng_chance(&r.rng, 2) || r.power_lost;
                world_crash(n, r.power_lost ? SIM_POWER_LOSS : SIM_KILL);
                r.g.log = NULL;
                continue;
            }
        }
        world_run_while_not(w, &r.opened, NS_PER_S * 100);
        assert_true(r.opened);
        if (r.status != ST_OK) fail_msg("seed %lu: %s", seed, r.err.text);
        world_enter(n);
        check(&r, durable);
        world_leave(w);
        for (uint64_t i = rng_between(&r.rng, 5, 120); i > 0; i--) {
            world_call(world_loop(n, 0), act, &r);
            world_run(w, rng_below(&r.rng, 3) == 0 ? rng_below(&r.rng, 40 * NS_PER_MS) : rng_below(&r.rng, NS_PER_MS));
        }
        assert_int_equal(r.g.failures, 0);
        durable = r.g.synced;
        r.power_lost = rng_chance(&r.rng, 2);
        world_crash(n, r.power_lost ? SIM_POWER_LOSS : SIM_KILL);
    }
    world_free(w);
    free(r.g.steps);
}

static void test_crashes(void **state)
{
    for (uint64_t seed = 1; seed <= 150; seed++) one_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crashes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
