/* engine_random_test.c - RocksDB, its twin and a naive model do the same random things; then they crash.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A script of operations follows from its seed alone. Side by side, each operation is done on all three and the answers
 * are compared. For crashes, RocksDB runs in a child process (this program again, by exec, as a process that has opened
 * RocksDB must not fork) which kills itself with SIGKILL after some operation; the twin's disk loses its power. What
 * the next opening finds must be the whole state after some batch: one that is not before the last flush that was done.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "env/real.h"
#include "store/engine.h"
#include "store/test_env.h"

enum {
    KEYS = 200,
    BATCH_OPS_MAX = 12,
    SNAPSHOTS = 3,
    FILLER = 700, /* bytes of every value, so that memtables of 64 KiB fill up */
    WRITE_BUFFER = 64 << 10,
};

/* A value's first bytes are the number of the write; 0: absent. The key of row i is "kNNN"; row KEYS is the applied
 * row, which every batch writes. */
struct model {
    uint64_t rows[KEYS + 1];
};

static struct bytes key_of(unsigned i, char out[8])
{
    snprintf(out, 8, "k%03u", i % 1000);
    return bytes_str(out);
}

static struct bytes value_of(uint64_t n, uint8_t out[FILLER])
{
    memset(out, (int)(n % 251), FILLER);
    put_u64(out, n);
    return bytes_of(out, 8 + n % (FILLER - 8));
}

/* ---- the script ---- */

enum step_kind { STEP_BATCH, STEP_FLUSH, STEP_DROP, STEP_INGEST, STEP_READ, STEP_SNAPSHOT, STEP_CHECKSUM };
struct step {
    enum step_kind kind;
    uint64_t number; /* of the batch, flush … counted over all steps that change something */
    struct {
        enum { PUT, DELETE, DELETE_RANGE } kind;
        unsigned lo, hi;
    } ops[BATCH_OPS_MAX];
    unsigned ops_n, lo, hi; /* [lo, hi) of drops, ingests and scans */
    bool reverse;
};

static void next_step(struct rng *r, uint64_t *number, struct step *s)
{
    static const enum step_kind kinds[] = {STEP_BATCH, STEP_BATCH, STEP_BATCH,    STEP_BATCH,   STEP_BATCH,
                                           STEP_READ,  STEP_READ,  STEP_SNAPSHOT, STEP_CHECKSUM};
    s->kind = kinds[rng_below(r, ARRAY_COUNT(kinds))];
    if (rng_chance(r, 60)) s->kind = (enum step_kind)rng_between(r, STEP_FLUSH, STEP_INGEST);
    s->number = ++*number;
    s->lo = (unsigned)rng_below(r, KEYS);
    s->hi = (unsigned)rng_between(r, s->lo, MIN(s->lo + 30, KEYS));
    s->reverse = rng_chance(r, 2);
    s->ops_n = (unsigned)rng_between(r, 1, BATCH_OPS_MAX);
    for (unsigned i = 0; i < s->ops_n; i++) {
        s->ops[i].kind = rng_chance(r, 15) ? DELETE_RANGE : rng_chance(r, 4) ? DELETE : PUT;
        s->ops[i].lo = (unsigned)rng_below(r, KEYS);
        s->ops[i].hi = (unsigned)rng_between(r, s->ops[i].lo, MIN(s->ops[i].lo + 9, KEYS));
    }
}

static void model_step(struct model *m, const struct step *s)
{
    switch (s->kind) {
    case STEP_BATCH:
        for (unsigned i = 0; i < s->ops_n; i++) {
            unsigned lo = s->ops[i].lo, hi = s->ops[i].kind == DELETE_RANGE ? s->ops[i].hi : lo + 1;
            for (unsigned k = lo; k < hi; k++) m->rows[k] = s->ops[i].kind == PUT ? s->number : 0;
        }
        m->rows[KEYS] = s->number;
        break;
    case STEP_DROP: memset(m->rows + s->lo, 0, (s->hi - s->lo) * sizeof m->rows[0]); break;
    case STEP_INGEST: /* every other row of the range, and the applied row */
        for (unsigned k = s->lo; k < s->hi; k++) m->rows[k] = k % 2 == 0 ? s->number : 0;
        m->rows[KEYS] = s->number;
        break;
    default: break;
    }
}

/* ---- doing a step on an engine ---- */

static void check(enum status st, const struct error *err)
{
    if (st == ST_OK) return;
    fprintf(stderr, "%s: %s\n", status_name(st), err->text);
    abort();
}

static void write_batch(struct engine *e, const struct step *s)
{
    struct engine_batch *b = engine_batch_new();
    uint8_t value[FILLER];
    char lo[8], hi[8];
    struct error err = {0};
    for (unsigned i = 0; i < s->ops_n; i++) {
        struct bytes k = key_of(s->ops[i].lo, lo);
        switch (s->ops[i].kind) {
        case PUT: engine_batch_put(b, k, value_of(s->number, value)); break;
        case DELETE: engine_batch_delete(b, k); break;
        case DELETE_RANGE: engine_batch_delete_range(b, k, key_of(s->ops[i].hi, hi)); break;
        }
    }
    engine_batch_put(b, key_of(KEYS, lo), value_of(s->number, value));
    enum status st;
    while ((st = engine_write(e, b, &err)) == ST_BUSY) sched_yield();
    check(st, &err);
    engine_batch_free(b);
}

static void ingest(struct engine *e, const struct step *s)
{
    struct engine_ingest *g;
    struct error err = {0};
    uint8_t value[FILLER];
    char lo[8], hi[8];
    check(engine_ingest_new(e, &g, &err), &err);
    for (unsigned k = s->lo + s->lo % 2; k < s->hi; k += 2)
        check(engine_ingest_add(g, key_of(k, lo), value_of(s->number, value), &err), &err);
    check(engine_ingest_add(g, key_of(KEYS, lo), value_of(s->number, value), &err), &err);
    check(engine_ingest_finish(g, key_of(s->lo, lo), key_of(s->hi, hi), &err), &err);
}

static void change(struct engine *e, const struct step *s)
{
    char lo[8], hi[8];
    struct error err = {0};
    switch (s->kind) {
    case STEP_BATCH: write_batch(e, s); break;
    case STEP_FLUSH: check(engine_flush(e, &err), &err); break;
    case STEP_DROP: check(engine_drop_range(e, key_of(s->lo, lo), key_of(s->hi, hi), &err), &err); break;
    case STEP_INGEST: ingest(e, s); break;
    default: break;
    }
}

/* ---- comparing ---- */

static void assert_value(struct bytes got, uint64_t number)
{
    uint8_t value[FILLER];
    if (!bytes_equal(got, value_of(number, value)))
        fail_msg("found %lu, expected %lu", got.n >= 8 ? (unsigned long)get_u64(got.p) : 0, (unsigned long)number);
}

static void assert_row(struct engine *e, const struct model *m, unsigned i, enum engine_read mode)
{
    struct engine_value v = {0};
    struct error err = {0};
    char key[8];
    enum status st = engine_get(e, key_of(i, key), mode, &v, &err);
    if (st == ST_NOT_READY && mode == ENGINE_MEMORY) return;
    assert_int_equal(st, m->rows[i] != 0 ? ST_OK : ST_NOT_FOUND);
    if (st == ST_OK) assert_value(v.bytes, m->rows[i]);
    engine_value_release(&v);
}

/* Rows [lo, hi) by an iterator; in memory it may give up, but what it shows before is right. */
static void assert_scan(struct engine *e, const struct engine_snapshot *snap, const struct model *m, unsigned lo,
                        unsigned hi, bool reverse, enum engine_read mode)
{
    char a[8], b[8], key[8];
    struct engine_iter *it = engine_iter_new(e, snap, key_of(lo, a), key_of(hi, b), mode);
    if (reverse) engine_iter_last(it);
    else engine_iter_first(it);
    for (unsigned n = lo; n < hi; n++) {
        unsigned i = reverse ? hi - 1 - (n - lo) : n;
        if (m->rows[i] == 0) continue;
        if (!engine_iter_valid(it)) {
            assert_int_equal(engine_iter_status(it, NULL), ST_NOT_READY);
            assert_int_equal(mode, ENGINE_MEMORY);
            break;
        }
        assert_true(bytes_equal(engine_iter_key(it), key_of(i, key)));
        assert_value(engine_iter_value(it), m->rows[i]);
        if (reverse) engine_iter_prev(it);
        else engine_iter_next(it);
    }
    if (mode == ENGINE_DISK) {
        assert_false(engine_iter_valid(it));
        assert_int_equal(engine_iter_status(it, NULL), ST_OK);
    }
    engine_iter_free(it);
}

struct side {
    struct engine *e;
    struct engine_snapshot *snapshots[SNAPSHOTS];
};

static uint64_t checksum(struct engine *e, const struct step *s)
{
    uint64_t hash, rows;
    char lo[8], hi[8];
    assert_int_equal(engine_checksum(e, NULL, key_of(s->lo, lo), key_of(s->hi, hi), NULL, NULL, &hash, &rows, NULL),
                     ST_OK);
    return hash;
}

/* Takes, looks at, or lets go a snapshot; all sides and the models of theirs alike. */
static void snapshot_step(struct side *sides, size_t n, struct model *models, const struct model *now,
                          const struct step *s)
{
    unsigned slot = s->lo % SNAPSHOTS;
    for (size_t i = 0; i < n; i++) {
        struct side *side = &sides[i];
        if (side->snapshots[slot] == NULL) {
            side->snapshots[slot] = engine_snapshot_take(side->e);
        } else {
            assert_scan(side->e, side->snapshots[slot], &models[slot], 0, KEYS + 1, s->reverse, ENGINE_DISK);
            engine_snapshot_release(side->e, side->snapshots[slot]);
            side->snapshots[slot] = NULL;
        }
    }
    models[slot] = *now;
}

static void let_snapshots_go(struct side *sides, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (unsigned k = 0; k < SNAPSHOTS; k++) {
            engine_snapshot_release(sides[i].e, sides[i].snapshots[k]);
            sides[i].snapshots[k] = NULL;
        }
    }
}

static struct engine *open_engine(struct env *env, const char *dir, uint64_t seed)
{
    struct engine_options o = {.cache_bytes = 1 << 20, .write_buffer_bytes = WRITE_BUFFER, .seed = seed};
    struct engine *e = NULL;
    struct error err = {0};
    check(engine_open(env, dir, &o, &e, &err), &err);
    return e;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }
static void remove_dir(const char *dir) { nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static void three_agree(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        char dir[64] = "/tmp/engine_random_XXXXXX", engine_dir[80];
        assert_non_null(mkdtemp(dir));
        snprintf(engine_dir, sizeof engine_dir, "%s/engine", dir);
        struct env *real = env_real_new();
        struct test_env *test = test_env_new(seed);
        struct side sides[2] = {{.e = open_engine(real, engine_dir, 0)}, {.e = open_engine(&test->env, "/d/e", seed)}};
        struct model m = {0}, seen[SNAPSHOTS];
        struct rng r;
        uint64_t number = 0;
        rng_init(&r, seed);
        for (unsigned n = 0; n < 1000; n++) {
            struct step s;
            next_step(&r, &number, &s);
            if (s.kind == STEP_DROP) let_snapshots_go(sides, 2); /* drops are felt by snapshots, differently */
            for (int i = 0; i < 2; i++) change(sides[i].e, &s);
            model_step(&m, &s);
            if (s.kind == STEP_READ) {
                enum engine_read mode = rng_chance(&r, 2) ? ENGINE_MEMORY : ENGINE_DISK;
                for (int i = 0; i < 2; i++) {
                    assert_row(sides[i].e, &m, s.lo, mode);
                    assert_scan(sides[i].e, NULL, &m, s.lo, s.hi, s.reverse, mode);
                }
            } else if (s.kind == STEP_SNAPSHOT) {
                snapshot_step(sides, 2, seen, &m, &s);
            } else if (s.kind == STEP_CHECKSUM) {
                assert_true(checksum(sides[0].e, &s) == checksum(sides[1].e, &s));
            }
        }
        let_snapshots_go(sides, 2);
        for (int i = 0; i < 2; i++) {
            assert_scan(sides[i].e, NULL, &m, 0, KEYS + 1, false, ENGINE_DISK);
            engine_close(sides[i].e);
        }
        env_real_free(real);
        test_env_free(test);
        remove_dir(dir);
    }
}

/* ---- crashes ---- */

/* Runs the script's steps [from, to); *out_flushed is the number of the last change known to be durable. */
static void run_script(struct engine *e, struct rng *r, uint64_t *number, uint64_t steps, uint64_t *out_flushed)
{
    for (uint64_t n = 0; n < steps; n++) {
        struct step s;
        next_step(r, number, &s);
        change(e, &s);
        if (s.kind == STEP_FLUSH || s.kind == STEP_DROP || s.kind == STEP_INGEST) *out_flushed = s.number;
    }
}

/* The state that the engine must have: after the batch that its applied row names, which is not before `flushed`. Drops
 * and flushes write no applied row, but they are durable. */
static void assert_state_after_crash(struct engine *e, struct model *m, uint64_t base, uint64_t seed, uint64_t steps,
                                     uint64_t flushed)
{
    struct engine_value v = {0};
    char key[8];
    uint64_t applied = 0, number = base;
    if (engine_get(e, key_of(KEYS, key), ENGINE_DISK, &v, NULL) == ST_OK) applied = get_u64(v.bytes.p);
    engine_value_release(&v);
    struct rng r;
    rng_init(&r, seed);
    for (uint64_t n = 0; n < steps; n++) {
        struct step s;
        next_step(&r, &number, &s);
        if (s.number > flushed && s.number > applied) break;
        model_step(m, &s);
    }
    assert_int_equal(m->rows[KEYS], applied); /* no half batch, nothing lost that was flushed */
    assert_scan(e, NULL, m, 0, KEYS + 1, false, ENGINE_DISK);
}

/* The child: opens, runs the script of the seed for so many steps, and is gone. */
static int child_main(char **argv)
{
    struct rng r;
    uint64_t number = strtoull(argv[4], NULL, 10), flushed;
    rng_init(&r, strtoull(argv[3], NULL, 10));
    struct engine *e = open_engine(env_real_new(), argv[2], 0);
    run_script(e, &r, &number, strtoull(argv[5], NULL, 10), &flushed);
    kill(getpid(), SIGKILL);
    return 1;
}

static void run_and_kill(const char *dir, uint64_t seed, uint64_t number, uint64_t steps)
{
    char texts[3][24];
    snprintf(texts[0], sizeof texts[0], "%lu", (unsigned long)seed);
    snprintf(texts[1], sizeof texts[1], "%lu", (unsigned long)number);
    snprintf(texts[2], sizeof texts[2], "%lu", (unsigned long)steps);
    char *argv[] = {"engine_random_test", "child", (char *)dir, texts[0], texts[1], texts[2], NULL};
    pid_t pid;
    int status;
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void flushed_by(uint64_t seed, uint64_t number, uint64_t steps, uint64_t *out_number, uint64_t *out_flushed)
{
    struct rng r;
    rng_init(&r, seed);
    for (uint64_t n = 0; n < steps; n++) {
        struct step s;
        next_step(&r, &number, &s);
        if (s.kind == STEP_FLUSH || s.kind == STEP_DROP || s.kind == STEP_INGEST) *out_flushed = s.number;
    }
    *out_number = number;
}

static void rocksdb_killed_is_as_of_a_batch(void **state)
{
    char dir[64] = "/tmp/engine_random_XXXXXX", engine_dir[80];
    assert_non_null(mkdtemp(dir));
    snprintf(engine_dir, sizeof engine_dir, "%s/engine", dir);
    struct env *real = env_real_new();
    struct model m = {0};
    struct rng r;
    uint64_t number = 0, flushed = 0, lost = 0;
    rng_init(&r, 99);
    for (uint64_t round = 1; round <= 12; round++) { /* each goes on with what the one before left */
        uint64_t steps = rng_between(&r, 1, 400), base = number;
        run_and_kill(engine_dir, round, base, steps);
        flushed_by(round, base, steps, &number, &flushed);
        struct engine *e = open_engine(real, engine_dir, 0);
        assert_state_after_crash(e, &m, base, round, steps, flushed);
        lost += number - m.rows[KEYS];
        engine_close(e);
    }
    assert_true(lost > 0); /* the test would see it if crashes took nothing */
    env_real_free(real);
    remove_dir(dir);
}

static void the_twin_without_power_is_as_of_a_batch(void **state)
{
    uint64_t lost = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct test_env *test = test_env_new(seed);
        struct model m = {0};
        struct rng r;
        uint64_t number = 0, flushed = 0;
        rng_init(&r, seed);
        for (uint64_t round = 1; round <= 25; round++) {
            uint64_t steps = rng_between(&r, 1, 400), base = number;
            struct rng script;
            struct engine *e = open_engine(&test->env, "/d/e", seed * 1000 + round);
            rng_init(&script, round);
            run_script(e, &script, &number, steps, &flushed);
            engine_close(e);
            test_power_cut(test);
            e = open_engine(&test->env, "/d/e", seed);
            assert_state_after_crash(e, &m, base, round, steps, flushed);
            lost += number - m.rows[KEYS];
            engine_close(e);
        }
        test_env_free(test);
    }
    assert_true(lost > 0);
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "child") == 0) return child_main(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_agree),
        cmocka_unit_test(rocksdb_killed_is_as_of_a_batch),
        cmocka_unit_test(the_twin_without_power_is_as_of_a_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
