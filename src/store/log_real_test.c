/* log_real_test.c - the log on the real environment: its threads, and a real file system.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/log_test_util.h"

#include <dirent.h>
#include <unistd.h>

#include "env/real.h"

struct run {
    struct rig g; /* first: it is the events' ctx */
    struct rng rng;
    struct env_task task;
    int left;
    bool close;
    struct log_read read;
    bool reading;
    uint64_t reads;
};

static void read_done(struct log_read *q)
{
    struct run *r = CONTAINER_OF(q, struct run, read);
    r->reading = false;
    if (q->status == ST_OK) {
        for (size_t i = 0; i < q->count; i++) assert_int_equal(q->entries[i]->index, q->lo + i);
        r->reads += q->count;
    } else {
        assert_true(q->status == ST_NOT_FOUND || q->status == ST_STOPPED);
    }
    log_read_release(q);
}

static void act(struct env_task *task)
{
    struct run *r = CONTAINER_OF(task, struct run, task);
    struct rig *g = &r->g;
    assert_int_equal(g->failures, 0);
    if (r->reading && r->left % 8 == 0) { /* so that many are read, however slow the disk is */
        env_post(g->loop, &r->task);
        return;
    }
    if (r->left-- > 0) {
        for (uint64_t i = rng_below(&r->rng, 6); i > 0; i--) rig_random(g, &r->rng);
        uint64_t id = rng_between(&r->rng, 1, REPLICAS);
        const struct log_replica *v = log_replica(g->log, id);
        if (!r->reading && v != NULL && v->last_index > v->base_index) {
            r->read = (struct log_read){.replica_id = id,
                                        .lo = v->base_index + 1,
                                        .hi = v->last_index + 1,
                                        .bytes_max = 32 << 10,
                                        .done = read_done};
            r->reading = true;
            log_read(g->log, &r->read);
        }
        env_post(g->loop, &r->task);
        return;
    }
    if (log_synced(g->log) < log_position(g->log) || r->reading) {
        env_post(g->loop, &r->task);
        return;
    }
    assert_log_is_model(g);
    log_close(g->log);
    g->log = NULL;
    env_real_loop_stop(g->loop);
}

static void remove_dir(const char *path)
{
    DIR *d = opendir(path);
    char file[512];
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.') unlink(file);
    }
    if (d != NULL) closedir(d);
    rmdir(path);
}

static void test_real(void **state)
{
    char dir[] = "/tmp/cairn-log-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct run r = {.g = {.limits = small_limits(), .dir = dir}, .task = {.run = act}};
    r.g.limits.segment_bytes = 64 << 10;
    r.g.limits.bytes_max = 256 << 10;
    rng_init(&r.rng, 5);
    for (int round = 0; round < 4; round++) {
        struct env *env = env_real_new();
        r.g.loop = env_real_loop_new(env);
        rig_open(&r.g);
        assert_int_equal(log_boot_count(r.g.log), round + 1);
        assert_int_equal(suspects(&r.g), 0);
        assert_log_is_model(&r.g);
        r.left = 400;
        env_post(r.g.loop, &r.task);
        env_real_loop_run(r.g.loop);
        env_real_loop_free(r.g.loop);
        env_real_free(env);
    }
    assert_true(r.reads > 100);
    free(r.g.steps);
    remove_dir(dir);
}

/* Opening an empty log is quick: nothing large is filled while the node waits. No time is measured here, but what was
 * made: one small file. */
static void test_open_is_small(void **state)
{
    char dir[] = "/tmp/cairn-log-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct env *env = env_real_new();
    struct rig g = {.limits = {.segment_bytes = 64 << 20,
                               .first_segment_bytes = 1 << 20,
                               .bytes_max = 1 << 30,
                               .batch_bytes_max = 4 << 20},
                    .dir = dir,
                    .loop = env_real_loop_new(env)};
    rig_open(&g);
    struct log_stats stats;
    log_stats(g.log, &stats);
    assert_int_equal(stats.segments, 1);
    assert_int_equal(stats.bytes, 1 << 20);
    log_close(g.log);
    env_real_loop_free(g.loop);
    env_real_free(env);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_real), cmocka_unit_test(test_open_is_small)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
