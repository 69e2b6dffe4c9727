/* disk_test.c - what a crash leaves of files and names, and what faults do.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sim/disk.h"
#include "sim/world.h"

#define SEEDS 1000

/* One machine whose process the test plays itself. */
struct rig {
    struct world *w;
    struct sim_node *n;
    struct env *env;
};

static void rig_start(struct rig *r)
{
    r->env = world_start(r->n, 1, NULL, NULL);
    world_run(r->w, NS_PER_MS);
    world_enter(r->n);
}

static struct rig rig_new(uint64_t seed)
{
    struct rig r = {.w = world_new(seed)};
    r.n = world_node_new(r.w, "n1");
    rig_start(&r);
    return r;
}

static void rig_crash(struct rig *r, enum sim_crash kind)
{
    world_leave(r->w);
    world_crash(r->n, kind);
    rig_start(r);
}

static void rig_free(struct rig *r)
{
    world_leave(r->w);
    world_free(r->w);
}

static void ok(enum status st) { assert_int_equal(st, ST_OK); }

static struct env_file *file_make(struct rig *r, const char *path)
{
    struct env_file *f;
    ok(env_file_open(r->env, path, ENV_CREATE, &f, NULL));
    return f;
}

/* A file whose name and content are durable. */
static void file_durable(struct rig *r, const char *dir, const char *path, const void *p, size_t n)
{
    struct env_file *f = file_make(r, path);
    if (n != 0) ok(env_file_write(f, 0, p, n, NULL));
    ok(env_file_sync(f, NULL));
    ok(env_dir_sync(r->env, dir, NULL));
    env_file_close(f);
}

static uint64_t file_size(struct rig *r, const char *path)
{
    struct env_file *f;
    uint64_t size;
    ok(env_file_open(r->env, path, ENV_READ, &f, NULL));
    ok(env_file_size(f, &size, NULL));
    env_file_close(f);
    return size;
}

static void file_read(struct rig *r, const char *path, uint64_t offset, void *out, size_t n)
{
    struct env_file *f;
    ok(env_file_open(r->env, path, ENV_READ, &f, NULL));
    ok(env_file_read(f, offset, out, n, NULL));
    env_file_close(f);
}

static bool all_are(const uint8_t *p, size_t n, uint8_t v)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != v) return false;
    return true;
}

static void reads_what_was_written(void **state)
{
    struct rig r = rig_new(1);
    struct rng rng;
    rng_init(&rng, 7);
    enum { SIZE = 40000 };
    static uint8_t model[SIZE], got[SIZE], data[SIZE];
    memset(model, 0, sizeof model);
    uint64_t size = 0;
    struct env_file *f = file_make(&r, "/f");
    for (int i = 0; i < 3000; i++) {
        uint64_t at = rng_below(&rng, SIZE - 1), n = rng_between(&rng, 1, MIN(SIZE - at, 9000));
        switch (rng_below(&rng, 6)) {
        case 0: ok(env_file_sync(f, NULL)); break;
        case 1:
            ok(env_file_truncate(f, at, NULL));
            if (at < size) memset(model + at, 0, size - at);
            size = at;
            break;
        case 2:
            ok(env_file_zero_fill(f, at, NULL));
            size = MAX(size, at);
            break;
        default:
            for (uint64_t k = 0; k < n; k++) data[k] = (uint8_t)rng_next(&rng);
            ok(env_file_write(f, at, data, n, NULL));
            memcpy(model + at, data, n);
            size = MAX(size, at + n);
        }
        uint64_t now;
        ok(env_file_size(f, &now, NULL));
        assert_int_equal(now, size);
        ok(env_file_read(f, 0, got, size, NULL));
        assert_memory_equal(got, model, size);
        assert_int_equal(env_file_read(f, size, got, 1, NULL), ST_CORRUPT);
    }
    env_file_close(f);
    rig_free(&r);
}

static void synced_data_survives_power_loss(void **state)
{
    uint64_t in_doubt = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig r = rig_new(seed);
        uint8_t a[3000], b[3000], got[3000];
        memset(a, 0x11, sizeof a);
        memset(b, 0x22, sizeof b);
        struct env_file *f = file_make(&r, "/log");
        ok(env_dir_sync(r.env, "/", NULL));
        ok(env_file_write(f, 0, a, sizeof a, NULL));
        ok(env_file_sync(f, NULL));
        /* The tail of the last synced sector is written again, unsynced: the synced bytes of it must stay. */
        ok(env_file_write(f, sizeof a, b, sizeof b, NULL));
        in_doubt += sim_disk_in_doubt(r.n);
        rig_crash(&r, SIM_POWER_LOSS);
        assert_true(file_size(&r, "/log") >= sizeof a);
        file_read(&r, "/log", 0, got, sizeof got);
        assert_memory_equal(got, a, sizeof a);
        rig_free(&r);
    }
    assert_true(in_doubt > 0);
}

static void unsynced_data_is_lost_or_kept(void **state)
{
    unsigned all_new = 0, all_old = 0, mixed = 0, torn = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig r = rig_new(seed);
        uint8_t old[8192], new[8192], got[8192];
        memset(old, 0x11, sizeof old);
        memset(new, 0x22, sizeof new);
        file_durable(&r, "/", "/f", old, sizeof old);
        struct env_file *f;
        ok(env_file_open(r.env, "/f", ENV_WRITE, &f, NULL));
        ok(env_file_write(f, 0, new, sizeof new, NULL));
        rig_crash(&r, SIM_POWER_LOSS);
        assert_int_equal(file_size(&r, "/f"), sizeof old);
        file_read(&r, "/f", 0, got, sizeof got);
        unsigned sectors_new = 0, sectors_old = 0, sectors_other = 0;
        for (size_t at = 0; at < sizeof got; at += SIM_SECTOR) {
            if (all_are(got + at, SIM_SECTOR, 0x22)) sectors_new++;
            else if (all_are(got + at, SIM_SECTOR, 0x11)) sectors_old++;
            else sectors_other++;
        }
        all_new += sectors_new == 16;
        all_old += sectors_old == 16;
        mixed += sectors_new != 0 && sectors_old != 0;
        torn += sectors_other != 0;
        const struct sim_counters *c = world_counters(r.w);
        assert_int_equal(sectors_other, c->sectors_torn + c->sectors_garbage);
        assert_int_equal(c->sectors_kept + c->sectors_lost + c->sectors_torn + c->sectors_garbage, 16);
        rig_free(&r);
    }
    assert_true(all_new > 50 && all_old > 50 && mixed > 50 && torn > 50);
}

static void killed_process_loses_nothing(void **state)
{
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct rig r = rig_new(seed);
        uint8_t new[8192], got[8192];
        memset(new, 0x22, sizeof new);
        struct env_file *f = file_make(&r, "/f");
        ok(env_file_write(f, 0, new, sizeof new, NULL));
        rig_crash(&r, SIM_KILL);
        file_read(&r, "/f", 0, got, sizeof got);
        assert_memory_equal(got, new, sizeof got);
        rig_free(&r);
    }
}

static void unsynced_growth_keeps_a_size_between(void **state)
{
    unsigned none = 0, all = 0, between = 0, hole = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig r = rig_new(seed);
        uint8_t data[20000], got[20000];
        memset(data, 0x33, sizeof data);
        file_durable(&r, "/", "/f", NULL, 0);
        struct env_file *f;
        ok(env_file_open(r.env, "/f", ENV_WRITE, &f, NULL));
        ok(env_file_write(f, 0, data, sizeof data, NULL));
        rig_crash(&r, SIM_POWER_LOSS);
        uint64_t size = file_size(&r, "/f");
        none += size == 0;
        all += size == sizeof data;
        between += size != 0 && size != sizeof data;
        file_read(&r, "/f", 0, got, size);
        hole += size > 512 && all_are(got, 512, 0);
        rig_free(&r);
    }
    assert_true(none > 50 && all > 50 && between > 50 && hole > 50);
}

static void unsynced_truncate_is_kept_or_lost_whole(void **state)
{
    unsigned kept = 0, lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig r = rig_new(seed);
        uint8_t data[10000], got[10000];
        memset(data, 0x44, sizeof data);
        file_durable(&r, "/", "/f", data, sizeof data);
        struct env_file *f;
        ok(env_file_open(r.env, "/f", ENV_WRITE, &f, NULL));
        ok(env_file_truncate(f, 1000, NULL));
        rig_crash(&r, SIM_POWER_LOSS);
        uint64_t size = file_size(&r, "/f");
        assert_true(size == 1000 || size == sizeof data);
        file_read(&r, "/f", 0, got, size);
        assert_memory_equal(got, data, size);
        kept += size == 1000;
        lost += size != 1000;
        rig_free(&r);
    }
    assert_true(kept > 100 && lost > 100);
}

static void synced_truncate_and_zero_fill_last(void **state)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rig r = rig_new(seed);
        uint8_t data[10000], got[20000];
        memset(data, 0x44, sizeof data);
        struct env_file *f = file_make(&r, "/f");
        ok(env_dir_sync(r.env, "/", NULL));
        ok(env_file_write(f, 0, data, sizeof data, NULL));
        ok(env_file_sync(f, NULL));
        ok(env_file_truncate(f, 1000, NULL));
        ok(env_file_zero_fill(f, sizeof got, NULL));
        ok(env_file_sync(f, NULL));
        rig_crash(&r, SIM_POWER_LOSS);
        assert_int_equal(file_size(&r, "/f"), sizeof got);
        file_read(&r, "/f", 0, got, sizeof got);
        assert_true(all_are(got, 1000, 0x44) && all_are(got + 1000, sizeof got - 1000, 0));
        rig_free(&r);
    }
}

/* ---- names ---- */

static void unsynced_names_can_vanish(void **state)
{
    unsigned created = 0, renamed = 0, both = 0, neither = 0, unlinked = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig r = rig_new(seed);
        ok(env_dir_create(r.env, "/d", NULL));
        file_durable(&r, "/d", "/d/old", "x", 1);
        file_durable(&r, "/d", "/d/gone", "x", 1);
        struct env_file *f = file_make(&r, "/d/new");
        ok(env_file_sync(f, NULL)); /* its data, not its name */
        env_file_close(f);
        ok(env_rename(r.env, "/d/old", "/d/renamed", NULL));
        ok(env_unlink(r.env, "/d/gone", NULL));
        rig_crash(&r, SIM_POWER_LOSS);
        created += env_exists(r.env, "/d/new");
        bool old = env_exists(r.env, "/d/old"), new = env_exists(r.env, "/d/renamed");
        assert_true(old != new); /* a rename is whole */
        renamed += new;
        unlinked += !env_exists(r.env, "/d/gone");
        both += new &&env_exists(r.env, "/d/new");
        neither += old && !env_exists(r.env, "/d/new");
        rig_free(&r);
    }
    assert_in_range(created, 300, 700);
    assert_in_range(renamed, 300, 700);
    assert_in_range(unlinked, 300, 700);
    assert_true(both > 100 && neither > 100);
}

static void synced_names_survive(void **state)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig r = rig_new(seed);
        ok(env_dir_create(r.env, "/a/b/c", NULL));
        file_durable(&r, "/a/b/c", "/a/b/c/old", "x", 1);
        file_durable(&r, "/a/b/c", "/a/b/c/gone", "x", 1);
        ok(env_rename(r.env, "/a/b/c/old", "/a/b/c/new", NULL));
        ok(env_unlink(r.env, "/a/b/c/gone", NULL));
        ok(env_dir_sync(r.env, "/a/b/c", NULL));
        rig_crash(&r, SIM_POWER_LOSS);
        assert_true(env_exists(r.env, "/a/b/c/new"));
        assert_false(env_exists(r.env, "/a/b/c/old"));
        assert_false(env_exists(r.env, "/a/b/c/gone"));
        rig_free(&r);
    }
}

/* The usual replacement of a file: at every moment one of the two contents is there, never none. */
static void replacing_by_rename_is_atomic(void **state)
{
    unsigned old = 0, new = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig r = rig_new(seed);
        file_durable(&r, "/", "/f", "old", 3);
        struct env_file *f = file_make(&r, "/f.tmp");
        ok(env_file_write(f, 0, "new", 3, NULL));
        ok(env_file_sync(f, NULL));
        env_file_close(f);
        ok(env_rename(r.env, "/f.tmp", "/f", NULL));
        rig_crash(&r, SIM_POWER_LOSS);
        char got[3];
        file_read(&r, "/f", 0, got, 3);
        if (memcmp(got, "old", 3) == 0) old++;
        else if (memcmp(got, "new", 3) == 0) new ++;
        else fail();
        rig_free(&r);
    }
    assert_true(old > 100 && new > 100);
}

/* A name that was given away and made again, and a rename between directories of which only one is synced. */
static void syncing_one_directory_keeps_the_order(void **state)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rig r = rig_new(seed);
        char got;
        ok(env_dir_create(r.env, "/a", NULL));
        ok(env_dir_create(r.env, "/b", NULL));
        file_durable(&r, "/a", "/a/x", "1", 1);
        struct env_file *f = file_make(&r, "/b/x"); /* unsynced, then replaced */
        env_file_close(f);
        ok(env_rename(r.env, "/a/x", "/b/x", NULL));
        f = file_make(&r, "/a/x");
        ok(env_file_write(f, 0, "2", 1, NULL));
        ok(env_file_sync(f, NULL));
        env_file_close(f);
        ok(env_dir_sync(r.env, seed % 2 != 0 ? "/a" : "/b", NULL));
        rig_crash(&r, SIM_POWER_LOSS);
        file_read(&r, "/b/x", 0, &got, 1);
        assert_int_equal(got, '1');
        if (seed % 2 != 0) {
            file_read(&r, "/a/x", 0, &got, 1);
            assert_int_equal(got, '2');
        }
        rig_free(&r);
    }
}

static void count_name(void *ctx, const char *name) { ++*(unsigned *)ctx; }

static void names_and_modes(void **state)
{
    struct rig r = rig_new(3);
    struct env_file *f, *g;
    struct error err = {0};
    assert_int_equal(env_file_open(r.env, "/f", ENV_READ, &f, &err), ST_NOT_FOUND);
    assert_int_equal(env_file_open(r.env, "/no/f", ENV_CREATE, &f, &err), ST_NOT_FOUND);
    f = file_make(&r, "/f");
    assert_int_equal(env_file_open(r.env, "/f", ENV_CREATE, &g, &err), ST_EXISTS);
    assert_int_equal(env_file_open(r.env, "/", ENV_READ, &g, &err), ST_IO);
    ok(env_file_write(f, 0, "abc", 3, NULL));
    ok(env_unlink(r.env, "/f", NULL));
    assert_false(env_exists(r.env, "/f"));
    char got[3];
    ok(env_file_read(f, 0, got, 3, NULL)); /* open files live on */
    env_file_close(f);
    ok(env_dir_sync(r.env, "/", NULL)); /* until then a crash may bring it back */
    assert_int_equal(sim_disk_used(r.n), 0);
    ok(env_dir_create(r.env, "/d", NULL));
    ok(env_dir_create(r.env, "/d", NULL));
    assert_int_equal(env_unlink(r.env, "/d", &err), ST_IO);
    assert_int_equal(env_rename(r.env, "/nothing", "/d/x", &err), ST_NOT_FOUND);
    for (int i = 0; i < 100; i++) {
        char path[32];
        snprintf(path, sizeof path, "/d/%d", i);
        env_file_close(file_make(&r, path));
    }
    unsigned n = 0;
    ok(env_dir_list(r.env, "/d", count_name, &n, NULL));
    assert_int_equal(n, 100);
    ok(env_rename(r.env, "/d", "/e", NULL));
    assert_true(env_exists(r.env, "/e/42"));
    assert_int_equal(env_dir_list(r.env, "/d", count_name, &n, &err), ST_NOT_FOUND);
    rig_free(&r);
}

static void a_directory_has_one_holder(void **state)
{
    struct rig r = rig_new(4);
    struct env_file *lock, *other;
    struct error err = {0};
    ok(env_dir_create(r.env, "/data", NULL));
    ok(env_dir_lock(r.env, "/data", &lock, NULL));
    assert_int_equal(env_dir_lock(r.env, "/data", &other, &err), ST_BUSY);
    env_file_close(lock);
    ok(env_dir_lock(r.env, "/data", &lock, NULL));
    rig_crash(&r, SIM_KILL); /* the process's end releases it */
    ok(env_dir_lock(r.env, "/data", &lock, NULL));
    rig_crash(&r, SIM_POWER_LOSS);
    ok(env_dir_lock(r.env, "/data", &lock, NULL));
    env_file_close(lock);
    rig_free(&r);
}

/* ---- faults ---- */

static void failed_sync_drops_what_it_should_have_kept(void **state)
{
    unsigned visible = 0, evicted = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rig r = rig_new(seed);
        uint8_t old[4096], new[4096], got[4096];
        memset(old, 0x11, sizeof old);
        memset(new, 0x22, sizeof new);
        file_durable(&r, "/", "/f", old, sizeof old);
        struct env_file *f;
        struct error err = {0};
        ok(env_file_open(r.env, "/f", ENV_WRITE, &f, NULL));
        ok(env_file_write(f, 0, new, sizeof new, NULL));
        sim_disk_fail(r.n, SIM_DISK_SYNC, 0, 1);
        assert_int_equal(env_file_sync(f, &err), ST_IO);
        ok(env_file_sync(f, NULL)); /* a second sync says yes, and means nothing */
        file_read(&r, "/f", 0, got, sizeof got);
        visible += all_are(got, sizeof got, 0x22);
        evicted += all_are(got, sizeof got, 0x11);
        /* One sector is written once more: that one is durable. */
        ok(env_file_write(f, 512, new, 512, NULL));
        ok(env_file_sync(f, NULL));
        rig_crash(&r, SIM_POWER_LOSS);
        file_read(&r, "/f", 0, got, sizeof got);
        assert_true(all_are(got, 512, 0x11) && all_are(got + 512, 512, 0x22) && all_are(got + 1024, 3072, 0x11));
        rig_free(&r);
    }
    assert_int_equal(visible + evicted, 300);
    assert_true(visible > 50 && evicted > 50);
}

static void failing_reads_and_writes(void **state)
{
    struct rig r = rig_new(5);
    struct env_file *f = file_make(&r, "/f");
    uint8_t data[10000] = {0};
    struct error err = {0};
    sim_disk_fail(r.n, SIM_DISK_WRITE, 1, 2);
    ok(env_file_write(f, 0, data, sizeof data, NULL));
    assert_int_equal(env_file_write(f, 0, data, sizeof data, &err), ST_IO);
    assert_int_equal(env_file_write(f, 0, data, sizeof data, &err), ST_IO);
    ok(env_file_write(f, 0, data, sizeof data, NULL));
    sim_disk_fail(r.n, SIM_DISK_READ, 0, 1);
    assert_int_equal(env_file_read(f, 0, data, sizeof data, &err), ST_IO);
    ok(env_file_read(f, 0, data, sizeof data, NULL));
    sim_disk_options(r.n)->read_error_one_in = 2;
    unsigned failed = 0;
    for (int i = 0; i < 1000; i++) failed += env_file_read(f, 0, data, 1, &err) == ST_IO;
    assert_in_range(failed, 400, 600);
    assert_int_equal(world_counters(r.w)->read_errors, failed + 1);
    assert_int_equal(world_counters(r.w)->write_errors, 2);
    env_file_close(f);
    rig_free(&r);
}

static void a_full_disk_says_so(void **state)
{
    struct rig r = rig_new(6);
    struct env_file *f = file_make(&r, "/f");
    static uint8_t data[200000];
    struct error err = {0};
    uint64_t free_bytes, size;
    sim_disk_options(r.n)->capacity_bytes = 50 * 4096;
    ok(env_file_write(f, 0, data, 40 * 4096, NULL));
    ok(env_disk_free(r.env, "/", &free_bytes, NULL));
    assert_int_equal(free_bytes, 10 * 4096);
    assert_int_equal(env_file_write(f, 40 * 4096, data, sizeof data, &err), ST_DISK_FULL);
    ok(env_file_size(f, &size, NULL));
    assert_int_equal(size, 50 * 4096); /* what fits was written, as write(2) does */
    assert_int_equal(env_file_zero_fill(f, 60 * 4096, &err), ST_DISK_FULL);
    ok(env_file_write(f, 0, data, 4096, NULL)); /* in place */
    ok(env_file_truncate(f, 0, NULL));
    ok(env_file_sync(f, NULL));
    ok(env_file_write(f, 0, data, sizeof data, NULL));
    env_file_close(f);
    assert_int_equal(world_counters(r.w)->disk_fulls, 2);
    rig_free(&r);
}

static void stored_sectors_rot(void **state)
{
    struct rig r = rig_new(7);
    static uint8_t data[50 * SIM_SECTOR], got[sizeof data];
    char path[64];
    uint64_t offset;
    struct error err = {0};
    ok(env_dir_create(r.env, "/logs", NULL));
    assert_false(sim_disk_corrupt_one(r.n, NULL, path, sizeof path, &offset));
    file_durable(&r, "/logs", "/logs/1", data, sizeof data);
    file_durable(&r, "/", "/other", data, sizeof data);
    for (int i = 0; i < 20; i++) {
        assert_true(sim_disk_corrupt_one(r.n, "/logs", path, sizeof path, &offset));
        assert_string_equal(path, "/logs/1");
        file_read(&r, path, 0, got, sizeof got);
        assert_false(all_are(got + offset, SIM_SECTOR, 0));
        memset(got + offset, 0, SIM_SECTOR);
        assert_true(all_are(got, sizeof got, 0));
        struct env_file *f;
        ok(env_file_open(r.env, path, ENV_WRITE, &f, NULL));
        ok(env_file_write(f, 0, data, sizeof data, NULL));
        ok(env_file_sync(f, NULL));
        env_file_close(f);
    }
    ok(sim_disk_corrupt(r.n, "/other", 700, NULL));
    file_read(&r, "/other", 0, got, sizeof got);
    assert_false(all_are(got + 512, 512, 0));
    assert_int_equal(sim_disk_corrupt(r.n, "/other", sizeof data, &err), ST_INVALID);
    assert_int_equal(sim_disk_corrupt(r.n, "/none", 0, &err), ST_NOT_FOUND);
    rig_free(&r);
}

/* ---- time: jobs on workers ---- */

/* Writes and syncs one 4 KiB record after the other; says in the test's memory what it has synced. */
struct appender {
    struct env_job job;
    struct env *env;
    unsigned records;
    unsigned *synced;
    uint64_t *done_at;
    struct world *w;
};

static void append_run(struct env_job *j)
{
    struct appender *a = CONTAINER_OF(j, struct appender, job);
    struct env_file *f;
    uint8_t record[4096];
    ok(env_file_open(a->env, "/log", ENV_CREATE, &f, NULL));
    ok(env_dir_sync(a->env, "/", NULL));
    for (unsigned i = 0; i < a->records; i++) {
        memset(record, (int)i + 1, sizeof record);
        ok(env_file_write(f, (uint64_t)i * sizeof record, record, sizeof record, NULL));
        ok(env_file_sync(f, NULL));
        *a->synced = i + 1;
    }
    env_file_close(f);
}

static void append_done(struct env_job *j)
{
    struct appender *a = CONTAINER_OF(j, struct appender, job);
    *a->done_at = world_now_ns(a->w);
    mem_free(a);
}

struct append_ctx {
    struct world *w;
    unsigned synced;
    uint64_t done_at;
};

static void append_start(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct append_ctx *c = ctx;
    struct appender *a = mem_zalloc(sizeof *a);
    *a = (struct appender){.job = {.run = append_run, .done = append_done},
                           .env = env,
                           .records = 20,
                           .synced = &c->synced,
                           .done_at = &c->done_at,
                           .w = c->w};
    struct env_worker *worker = env_worker_new(env, "log", 1);
    env_worker_submit(worker, loops[0], &a->job);
}

/* Whenever the power fails: every record whose sync had returned is there, and at most the one after it in addition. */
static void a_crash_cuts_a_job_at_its_moment(void **state)
{
    unsigned cut_short = 0, extra = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct world *w = world_new(seed);
        struct sim_node *n = world_node_new(w, "n1");
        struct append_ctx c = {.w = w};
        world_start(n, 1, append_start, &c);
        world_run(w, rng_below(world_rng(w), 40 * NS_PER_MS));
        world_crash(n, SIM_POWER_LOSS);
        unsigned synced = c.synced;
        cut_short += synced < 20;
        world_run(w, NS_PER_S);
        assert_int_equal(c.synced, synced); /* nothing goes on */
        struct rig r = {.w = w, .n = n};
        rig_start(&r);
        if (!env_exists(r.env, "/log")) {
            assert_int_equal(synced, 0);
        } else {
            uint64_t size = file_size(&r, "/log");
            assert_in_range(size, synced * 4096, (synced + 1) * 4096);
            for (unsigned i = 0; i < synced; i++) {
                uint8_t got[4096];
                file_read(&r, "/log", i * 4096, got, sizeof got);
                assert_true(all_are(got, sizeof got, (uint8_t)(i + 1)));
            }
            extra += size > synced * 4096;
        }
        rig_free(&r);
    }
    assert_true(cut_short > 300 && extra > 100);
}

static uint64_t append_duration(uint64_t seed, uint64_t slow, uint64_t stall_ns)
{
    struct world *w = world_new(seed);
    struct sim_node *n = world_node_new(w, "n1");
    struct append_ctx c = {.w = w};
    sim_disk_options(n)->slow_factor = slow;
    world_start(n, 1, append_start, &c);
    world_run(w, NS_PER_MS / 2);
    if (stall_ns != 0) sim_disk_stall(n, stall_ns);
    world_run(w, 60 * NS_PER_S);
    assert_int_equal(c.synced, 20);
    world_free(w);
    return c.done_at;
}

static void jobs_take_time(void **state)
{
    uint64_t normal = append_duration(1, 1, 0);
    assert_in_range(normal, NS_PER_MS, 200 * NS_PER_MS);
    assert_true(append_duration(1, 10, 0) > 5 * normal);
    uint64_t stalled = append_duration(1, 1, 5 * NS_PER_S);
    assert_in_range(stalled, 5 * NS_PER_S, 5 * NS_PER_S + 200 * NS_PER_MS);
}

/* Two threads of one worker on one file: what was written before a sync began is durable when it returns, although
 * the other thread writes the same sectors meanwhile. */
struct overlap {
    struct env_job job;
    struct env_file *file;
    unsigned *durable; /* the newest value known to be synced */
    bool syncs;
};

static void overlap_run(struct env_job *j)
{
    struct overlap *o = CONTAINER_OF(j, struct overlap, job);
    for (unsigned i = 1; i <= 60; i++) {
        uint8_t sector[700];
        if (o->syncs) {
            uint8_t v;
            ok(env_file_read(o->file, 100, &v, 1, NULL));
            ok(env_file_sync(o->file, NULL));
            *o->durable = MAX(*o->durable, v);
        } else {
            memset(sector, (int)i, sizeof sector);
            ok(env_file_write(o->file, 100, sector, sizeof sector, NULL));
            ok(env_file_sync(o->file, NULL));
            *o->durable = MAX(*o->durable, i);
        }
    }
}

static void overlap_done(struct env_job *j) { mem_free(CONTAINER_OF(j, struct overlap, job)); }

static void overlap_start(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct env_worker *worker = env_worker_new(env, "two", 2);
    struct env_file *f;
    uint8_t zeros[800] = {0};
    ok(env_file_open(env, "/f", ENV_CREATE, &f, NULL));
    ok(env_file_write(f, 0, zeros, sizeof zeros, NULL));
    ok(env_file_sync(f, NULL));
    ok(env_dir_sync(env, "/", NULL));
    for (int i = 0; i < 2; i++) {
        struct overlap *o = mem_zalloc(sizeof *o);
        *o = (struct overlap){
            .job = {.run = overlap_run, .done = overlap_done}, .file = f, .durable = ctx, .syncs = i == 1};
        env_worker_submit(worker, loops[0], &o->job);
    }
}

static void overlapping_syncs_keep_their_promise(void **state)
{
    unsigned later = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct world *w = world_new(seed);
        struct sim_node *n = world_node_new(w, "n1");
        unsigned durable = 0;
        sim_disk_options(n)->torn_one_in = sim_disk_options(n)->garbage_one_in = 0;
        world_start(n, 1, overlap_start, &durable);
        world_run(w, rng_below(world_rng(w), 60 * NS_PER_MS));
        world_crash(n, SIM_POWER_LOSS);
        struct rig r = {.w = w, .n = n};
        rig_start(&r);
        if (durable > 0) {
            uint8_t got[700];
            file_read(&r, "/f", 100, got, sizeof got);
            for (size_t k = 0; k < sizeof got; k++) assert_true(got[k] >= durable && got[k] <= durable + 1);
            later += got[0] > durable;
        }
        rig_free(&r);
    }
    assert_true(later > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(synced_data_survives_power_loss),
        cmocka_unit_test(unsynced_data_is_lost_or_kept),
        cmocka_unit_test(killed_process_loses_nothing),
        cmocka_unit_test(unsynced_growth_keeps_a_size_between),
        cmocka_unit_test(unsynced_truncate_is_kept_or_lost_whole),
        cmocka_unit_test(synced_truncate_and_zero_fill_last),
        cmocka_unit_test(unsynced_names_can_vanish),
        cmocka_unit_test(synced_names_survive),
        cmocka_unit_test(replacing_by_rename_is_atomic),
        cmocka_unit_test(syncing_one_directory_keeps_the_order),
        cmocka_unit_test(names_and_modes),
        cmocka_unit_test(a_directory_has_one_holder),
        cmocka_unit_test(failed_sync_drops_what_it_should_have_kept),
        cmocka_unit_test(failing_reads_and_writes),
        cmocka_unit_test(a_full_disk_says_so),
        cmocka_unit_test(stored_sectors_rot),
        cmocka_unit_test(a_crash_cuts_a_job_at_its_moment),
        cmocka_unit_test(jobs_take_time),
        cmocka_unit_test(overlapping_syncs_keep_their_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
