/* rows_test.c - the table of newest rows: against a naive model, and its races one by one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "env/real.h"
#include "store/engine_internal.h"
#include "store/rows.h"
#include "store/test_env.h"

/* ---- an engine whose memory the test controls ---- */

static const struct engine_ops *inner; /* the twin's */
static struct engine_ops wrapped;
static bool all_cold;           /* reads from memory are refused */
static bool all_busy;           /* writes are refused */
static enum status disk_status; /* what reads from disk fail with */
static unsigned memory_gets;

static enum status wrapped_get(struct engine *e, struct bytes key, enum engine_read mode, struct engine_value *out,
                               struct error *err)
{
    memory_gets += mode == ENGINE_MEMORY;
    if (mode == ENGINE_MEMORY && all_cold) return ST_NOT_READY;
    if (mode == ENGINE_DISK && disk_status != ST_OK) return disk_status;
    return inner->get(e, key, mode, out, err);
}

static enum status wrapped_write(struct engine *e, struct engine_batch *b, struct error *err)
{
    return all_busy ? ST_BUSY : inner->write(e, b, err);
}

static enum status wrapped_iter_status(const struct engine_iter *it, struct error *err)
{
    return disk_status != ST_OK ? disk_status : inner->iter_status(it, err);
}

struct fixture {
    struct test_env *t;
    struct engine *e;
    struct rows *r;
    uint64_t seed;
};

static void open_rows(struct fixture *f, uint64_t bytes_max, uint64_t dirty_bytes_max)
{
    struct engine_options o = {.cache_bytes = 1 << 20, .write_buffer_bytes = 1 << 20, .seed = f->seed};
    assert_int_equal(engine_open(&f->t->env, "/data/engine", &o, &f->e, NULL), ST_OK);
    inner = f->e->ops;
    wrapped = *inner;
    wrapped.get = wrapped_get;
    wrapped.write = wrapped_write;
    wrapped.iter_status = wrapped_iter_status;
    f->e->ops = &wrapped;
    f->r = rows_new(&f->t->loop, f->e, bytes_max, dirty_bytes_max);
}

static void close_rows(struct fixture *f)
{
    rows_free(f->r);
    test_run_all(f->t);
    engine_close(f->e);
}

static int set_up(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    all_cold = all_busy = false;
    disk_status = ST_OK;
    memory_gets = 0;
    f->t = test_env_new(11);
    open_rows(f, 1 << 20, 1 << 18);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close_rows(f);
    test_env_free(f->t);
    mem_free(f);
    return 0;
}

static void reopen(struct fixture *f, uint64_t seed, uint64_t bytes_max, uint64_t dirty_bytes_max)
{
    close_rows(f);
    f->seed = seed;
    open_rows(f, bytes_max, dirty_bytes_max);
}

static struct bytes s(const char *text) { return bytes_str(text); }
static void put(struct fixture *f, const char *key, const char *value) { rows_put(f->r, s(key), s(value)); }
static void flush(struct fixture *f) { assert_int_equal(rows_flush(f->r, NULL), ST_OK); }

static void assert_row(struct fixture *f, const char *key, const char *expected)
{
    struct bytes v;
    enum status st = rows_get(f->r, s(key), &v);
    assert_string_equal(status_name(st), status_name(expected != NULL ? ST_OK : ST_NOT_FOUND));
    if (expected != NULL) assert_true(bytes_equal(v, s(expected)));
}

static struct rows_stats stats(struct fixture *f)
{
    struct rows_stats st;
    rows_stats(f->r, &st);
    return st;
}

static void count_done(void *ctx) { (*(unsigned *)ctx)++; }

static void fetch(struct fixture *f, const char *key, unsigned *done)
{
    assert_int_equal(rows_fetch(f->r, s(key), count_done, done), ST_OK);
}

/* ---- rows ---- */

static void rows_are_kept_and_reach_the_engine(void **state)
{
    struct fixture *f = *state;
    assert_row(f, "a", NULL);
    put(f, "a", "1");
    put(f, "b", "");
    rows_delete(f->r, s("c"));
    assert_row(f, "a", "1");
    assert_row(f, "b", "");
    assert_row(f, "c", NULL);
    assert_true(rows_dirty(f->r));
    struct engine_value v = {0};
    assert_int_equal(engine_get(f->e, s("a"), ENGINE_DISK, &v, NULL), ST_NOT_FOUND);
    flush(f);
    assert_false(rows_dirty(f->r));
    assert_int_equal(stats(f).dirty_bytes, 0);
    assert_int_equal(engine_get(f->e, s("a"), ENGINE_DISK, &v, NULL), ST_OK);
    engine_value_release(&v);
    put(f, "a", "2");
    rows_delete(f->r, s("b"));
    put(f, "c", "3");
    flush(f);
    flush(f);                        /* nothing to do */
    rows_forget(f->r, s(""), s("")); /* now from the engine */
    assert_int_equal(stats(f).count, 0);
    assert_row(f, "a", "2");
    assert_row(f, "b", NULL);
    assert_row(f, "c", "3");
}

static void absent_rows_are_remembered(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++) assert_row(f, "nobody", NULL);
    assert_int_equal(memory_gets, 1);
    put(f, "new", "1"); /* without a look at the engine */
    assert_int_equal(memory_gets, 1);
    rows_delete(f->r, s("new"));
    flush(f);
    assert_row(f, "new", NULL);
    assert_int_equal(memory_gets, 1);
}

static void values_grow_and_shrink_in_place(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {3, 0, 100, 5000, 5001, 10, 70000, 2, 2, 9000, 1};
    uint8_t *value = mem_alloc(70000);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct bytes v;
        memset(value, (int)i + 1, sizes[i]);
        rows_put(f->r, s("k"), bytes_of(value, sizes[i]));
        assert_int_equal(rows_get(f->r, s("k"), &v), ST_OK);
        assert_true(bytes_equal(v, bytes_of(value, sizes[i])));
        assert_true(stats(f).bytes <= 12 * sizes[i] + 2000);
        assert_int_equal(stats(f).bytes, stats(f).dirty_bytes);
        if (i % 3 == 0) {
            flush(f);
            put(f, "k", "");
        }
    }
    mem_free(value);
}

static void many_rows_are_found(void **state)
{
    struct fixture *f = *state;
    reopen(f, 0, 64 << 20, 64 << 20);
    enum { N = 20000 };
    uint8_t key[8];
    struct bytes v;
    for (uint64_t i = 0; i < N; i++) {
        put_be64(key, i);
        rows_put(f->r, bytes_of(key, 8), bytes_of(key, 8));
    }
    assert_int_equal(stats(f).count, N);
    for (uint64_t i = 0; i < 2 * N; i++) {
        put_be64(key, i);
        enum status st = rows_get(f->r, bytes_of(key, 8), &v);
        assert_int_equal(st, i < N ? ST_OK : ST_NOT_FOUND);
        if (i < N) assert_memory_equal(v.p, key, 8);
    }
}

/* ---- bounds ---- */

static void clean_rows_are_evicted_and_hot_ones_stay(void **state)
{
    struct fixture *f = *state;
    enum { MAX = 100000 };
    reopen(f, 0, MAX, MAX);
    uint8_t key[8], value[100] = {0};
    struct bytes v;
    put(f, "hot", "1");
    flush(f);
    uint64_t misses = stats(f).misses;
    for (uint64_t i = 0; i < 5000; i++) {
        put_be64(key, i);
        rows_put(f->r, bytes_of(key, 8), bytes_of(value, sizeof value));
        if (i % 20 != 0) continue;
        flush(f);
        assert_true(stats(f).bytes <= MAX + 20 * 300);
        assert_row(f, "hot", "1");
    }
    assert_int_equal(stats(f).misses, misses); /* it never had to come from the engine */
    assert_true(stats(f).evictions > 4000);
    flush(f);
    assert_true(stats(f).bytes <= MAX);
    for (uint64_t i = 0; i < 5000; i++) { /* reading is bounded, too */
        put_be64(key, i);
        assert_int_equal(rows_get(f->r, bytes_of(key, 8), &v), ST_OK);
        assert_true(stats(f).bytes <= MAX + 300);
    }
}

static void rows_are_cut_before_they_go_cold_ones_first(void **state)
{
    struct fixture *f = *state;
    enum { ROWS = 200, MAX = ROWS * 450 };
    reopen(f, 0, MAX, MAX);
    uint8_t key[8], value[256];
    struct bytes v;
    unsigned done = 0;
    for (uint64_t i = 0; i < 2 * ROWS; i++) { /* twice what there is room for; half of them cold */
        put_be64(key, i);
        memset(value, (int)i, sizeof value);
        if (i % 2 != 0) rows_put_cold(f->r, bytes_of(key, 8), bytes_of(value, sizeof value));
        else rows_put(f->r, bytes_of(key, 8), bytes_of(value, sizeof value));
        flush(f);
        assert_true(stats(f).bytes <= MAX + 450);
    }
    assert_true(stats(f).cuts > 0);
    assert_int_equal(stats(f).evictions, 0);
    all_cold = true; /* the engine has nothing in memory: what is found is the table's */
    unsigned whole[2] = {0};
    for (uint64_t i = 0; i < 2 * ROWS; i++) {
        put_be64(key, i);
        assert_int_equal(rows_get_front(f->r, bytes_of(key, 8), &v), ST_OK);
        assert_true(v.n == sizeof value || v.n == ROWS_FRONT_BYTES);
        for (size_t k = 0; k < v.n; k++) assert_int_equal(v.p[k], (uint8_t)i);
        whole[i % 2] += v.n == sizeof value;
    }
    assert_true(whole[0] > 9 * ROWS / 10 && whole[1] < ROWS / 2);
    put_be64(key, 1);
    assert_int_equal(rows_get(f->r, bytes_of(key, 8), &v), ST_NOT_READY); /* the rest of it has to be fetched */
    assert_int_equal(rows_fetch(f->r, bytes_of(key, 8), count_done, &done), ST_OK);
    test_run_all(f->t);
    assert_int_equal(done, 1);
    assert_int_equal(rows_get(f->r, bytes_of(key, 8), &v), ST_OK);
    assert_int_equal(v.n, sizeof value);
    all_cold = false;
}

static void dirty_rows_stay_while_the_engine_refuses(void **state)
{
    struct fixture *f = *state;
    enum { MAX = 20000 };
    reopen(f, 0, MAX, MAX);
    all_busy = true;
    uint8_t key[8], value[100] = {0};
    uint64_t n = 0;
    struct bytes v;
    while (!rows_full(f->r)) {
        put_be64(key, n++);
        rows_put(f->r, bytes_of(key, 8), bytes_of(value, sizeof value));
        if (n % 7 == 0) assert_int_equal(rows_flush(f->r, NULL), ST_BUSY);
        assert_true(n < 1000);
    }
    for (uint64_t i = 0; i < 300; i++) { /* what is read meanwhile comes and goes */
        put_be64(key, 5000 + i);
        assert_int_equal(rows_get(f->r, bytes_of(key, 8), &v), ST_NOT_FOUND);
    }
    assert_int_equal(rows_flush(f->r, NULL), ST_BUSY);
    assert_true(rows_full(f->r));
    for (uint64_t i = 0; i < n; i++) {
        put_be64(key, i);
        assert_int_equal(rows_get(f->r, bytes_of(key, 8), &v), ST_OK);
    }
    all_busy = false;
    flush(f);
    assert_false(rows_full(f->r));
    assert_true(stats(f).bytes <= MAX);
    rows_forget(f->r, s(""), s(""));
    for (uint64_t i = 0; i < n; i++) {
        put_be64(key, i);
        assert_int_equal(rows_get(f->r, bytes_of(key, 8), &v), ST_OK);
    }
}

/* ---- fetching ---- */

static void a_fetch_brings_the_row_for_all_who_asked(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    flush(f);
    rows_forget(f->r, s(""), s(""));
    all_cold = true;
    struct bytes v;
    unsigned done = 0;
    assert_int_equal(rows_get(f->r, s("a"), &v), ST_NOT_READY);
    fetch(f, "a", &done);
    fetch(f, "a", &done);
    assert_int_equal(rows_get(f->r, s("a"), &v), ST_NOT_READY);
    fetch(f, "b", &done);
    test_turn(f->t);
    assert_int_equal(done, 0);
    assert_true(test_run_job(f->t));
    assert_true(test_run_job(f->t));
    assert_false(test_run_job(f->t)); /* the two for "a" shared one */
    fetch(f, "a", &done);             /* after the read, before its done */
    assert_int_equal(done, 0);
    test_turn(f->t);
    assert_int_equal(done, 4);
    assert_row(f, "a", "1");
    assert_row(f, "b", NULL);
    assert_int_equal(stats(f).fetches, 2);

    fetch(f, "a", &done); /* it is there: done still comes later */
    assert_int_equal(done, 4);
    test_turn(f->t);
    assert_int_equal(done, 5);
    assert_int_equal(stats(f).fetches, 2);
}

/* What happens to the row between the read of the engine and the fetch's end, and what must be there then. */
enum meanwhile { PUT, PUT_AND_FLUSH, PUT_AND_EVICT, DELETE, DELETE_RANGE, DELETE_RANGE_AND_FLUSH, FORGET };
static const struct {
    enum meanwhile what;
    const char *expected;
} overtakings[] = {
    {PUT, "new"},         {PUT_AND_FLUSH, "new"},         {PUT_AND_EVICT, "new"}, {DELETE, NULL},
    {DELETE_RANGE, NULL}, {DELETE_RANGE_AND_FLUSH, NULL}, {FORGET, "from below"},
};

static void do_meanwhile(struct fixture *f, enum meanwhile what)
{
    struct engine_batch *b;
    uint8_t key[8], value[100] = {0};
    switch (what) {
    case PUT: put(f, "k", "new"); break;
    case PUT_AND_FLUSH:
        put(f, "k", "new");
        flush(f);
        break;
    case PUT_AND_EVICT:
        put(f, "k", "new");
        flush(f);
        for (uint64_t i = 0; i < 2000; i++) { /* fills the table twice */
            put_be64(key, i);
            rows_put(f->r, bytes_of(key, 8), bytes_of(value, sizeof value));
            if (i % 10 == 9) flush(f);
        }
        break;
    case DELETE: rows_delete(f->r, s("k")); break;
    case DELETE_RANGE: rows_delete_range(f->r, s("a"), s("z")); break;
    case DELETE_RANGE_AND_FLUSH:
        rows_delete_range(f->r, s("a"), s("z"));
        flush(f);
        break;
    case FORGET: /* the engine changed below, as an ingest does */
        b = engine_batch_new();
        engine_batch_put(b, s("k"), s("from below"));
        assert_int_equal(engine_write(f->e, b, NULL), ST_OK);
        engine_batch_free(b);
        rows_forget(f->r, s("a"), s("z"));
        break;
    }
}

/* False: the row is not what was written last. */
static bool fetches_never_overwrite(struct fixture *f)
{
    bool right = true;
    for (size_t i = 0; i < ARRAY_COUNT(overtakings); i++) {
        for (int read_first = 0; read_first < 2; read_first++) {
            reopen(f, 0, 100000, 100000);
            all_cold = false;
            put(f, "k", "old");
            flush(f);
            rows_forget(f->r, s(""), s(""));
            unsigned done = 0;
            fetch(f, "k", &done);
            if (read_first) assert_true(test_run_job(f->t));
            do_meanwhile(f, overtakings[i].what);
            test_run_all(f->t);
            assert_int_equal(done, 1);
            struct bytes v = {0};
            enum status st = rows_get(f->r, s("k"), &v);
            const char *expected = overtakings[i].expected;
            right = right && (expected == NULL ? st == ST_NOT_FOUND : st == ST_OK && bytes_equal(v, s(expected)));
        }
    }
    return right;
}

static void a_fetched_row_never_overwrites_a_newer_state(void **state)
{
    struct fixture *f = *state;
    assert_true(fetches_never_overwrite(f));
#ifdef CAIRN_MUTATIONS
    mutation_set("fetch_overwrites_newer");
    assert_false(fetches_never_overwrite(f));
    mutation_set(NULL);
#endif
}

static void fetches_are_bounded(void **state)
{
    struct fixture *f = *state;
    unsigned done = 0;
    char key[16];
    for (unsigned i = 0; i < ROWS_FETCHES_MAX; i++) {
        snprintf(key, sizeof key, "k%u", i);
        fetch(f, key, &done);
    }
    assert_int_equal(rows_fetch(f->r, s("one more"), count_done, &done), ST_OVERLOADED);
    assert_int_equal(rows_fetch_range(f->r, s("a"), s("b"), 100, count_done, &done), ST_OVERLOADED);
    fetch(f, "k1", &done); /* joins one */
    test_run_all(f->t);
    assert_int_equal(done, ROWS_FETCHES_MAX + 1);
    fetch(f, "one more", &done);
    for (unsigned i = 1; i < ROWS_WAITERS_MAX; i++) fetch(f, "one more", &done);
    assert_int_equal(rows_fetch(f->r, s("one more"), count_done, &done), ST_OVERLOADED);
    test_run_all(f->t);
    assert_int_equal(done, ROWS_FETCHES_MAX + 1 + ROWS_WAITERS_MAX);
}

static bool each_counts(void *ctx, struct bytes key, struct bytes value)
{
    (*(unsigned *)ctx)++;
    return true;
}

static void what_a_fetch_meets_is_returned(void **state)
{
    struct fixture *f = *state;
    unsigned done = 0, rows = 0;
    struct bytes v;
    put(f, "a", "1");
    put(f, "b", "1");
    flush(f);
    rows_forget(f->r, s(""), s(""));
    all_cold = true;
    disk_status = ST_CORRUPT;
    fetch(f, "a", &done);
    assert_int_equal(rows_fetch_range(f->r, s("a"), s("c"), 100, count_done, &done), ST_OK);
    test_run_all(f->t);
    assert_int_equal(done, 2);
    disk_status = ST_OK;
    assert_int_equal(rows_get(f->r, s("a"), &v), ST_CORRUPT);
    assert_int_equal(rows_scan(f->r, s("c"), s("d"), false, each_counts, &rows), ST_OK); /* another one */
    assert_int_equal(rows_scan(f->r, s("b"), s("d"), false, each_counts, &rows), ST_CORRUPT);
    assert_int_equal(rows_scan(f->r, s("b"), s("d"), false, each_counts, &rows), ST_OK); /* told once */
    put(f, "a", "2");                                                                    /* a new state is good */
    assert_row(f, "a", "2");
}

static void closing_calls_nobody(void **state)
{
    struct fixture *f = *state;
    unsigned done = 0;
    put(f, "here", "1");
    fetch(f, "a", &done);
    fetch(f, "b", &done);
    fetch(f, "here", &done);
    assert_int_equal(rows_fetch_range(f->r, s("a"), s("c"), 100, count_done, &done), ST_OK);
    test_run_job(f->t);
    rows_free(f->r);
    test_run_all(f->t);
    assert_int_equal(done, 0);
    f->r = rows_new(&f->t->loop, f->e, 1000, 1000);
    rows_free(NULL);
}

struct closer {
    struct fixture *f;
    unsigned done;
};

static void close_in_done(void *ctx)
{
    struct closer *c = ctx;
    c->done++;
    rows_free(c->f->r);
    c->f->r = rows_new(&c->f->t->loop, c->f->e, 1000, 1000);
}

static void a_done_may_close_the_table(void **state)
{
    struct fixture *f = *state;
    struct closer c = {.f = f};
    unsigned done = 0;
    assert_int_equal(rows_fetch(f->r, s("a"), close_in_done, &c), ST_OK);
    fetch(f, "a", &done);
    test_run_all(f->t);
    put(f, "a", "1");
    assert_int_equal(rows_fetch(f->r, s("a"), close_in_done, &c), ST_OK); /* the same for a row that is there */
    fetch(f, "a", &done);
    test_run_all(f->t);
    assert_int_equal(c.done, 2);
    assert_int_equal(done, 0);
}

/* ---- scans ---- */

static bool each_writes(void *ctx, struct bytes key, struct bytes value)
{
    struct buf *b = ctx;
    if (b->n != 0) buf_put_u8(b, ' ');
    buf_put_bytes(b, key);
    buf_put_u8(b, '=');
    buf_put_bytes(b, value);
    return !bytes_equal(value, s("stop"));
}

static void assert_scan(struct fixture *f, const char *lo, const char *hi, bool reverse, const char *expected)
{
    struct buf b = {0};
    assert_int_equal(rows_scan(f->r, s(lo), s(hi), reverse, each_writes, &b), ST_OK);
    buf_put_u8(&b, 0);
    assert_string_equal((char *)b.p, expected);
    buf_deinit(&b);
}

static void scans_merge_what_is_dirty(void **state)
{
    struct fixture *f = *state;
    for (const char *k = "abcdefgh"; *k != 0; k++) rows_put(f->r, bytes_of(k, 1), s("1"));
    flush(f);
    put(f, "bb", "2");
    put(f, "c", "2");
    rows_delete(f->r, s("d"));
    rows_delete_range(f->r, s("f"), s("h"));
    put(f, "ff", "2");
    rows_delete(f->r, s("x"));
    put(f, "y", "2");
    for (int pass = 0; pass < 2; pass++) {
        assert_scan(f, "", "", false, "a=1 b=1 bb=2 c=2 e=1 ff=2 h=1 y=2");
        assert_scan(f, "", "", true, "y=2 h=1 ff=2 e=1 c=2 bb=2 b=1 a=1");
        assert_scan(f, "b", "f", false, "b=1 bb=2 c=2 e=1");
        assert_scan(f, "b", "ff", true, "e=1 c=2 bb=2 b=1");
        assert_scan(f, "f", "h", false, "ff=2");
        assert_scan(f, "fg", "h", true, "");
        assert_scan(f, "z", "a", true, "");
        assert_true(pass == 1 || rows_dirty(f->r)); /* a scan does not flush */
        flush(f);
    }
    put(f, "c", "stop");
    assert_scan(f, "", "", false, "a=1 b=1 bb=2 c=stop");
    assert_scan(f, "", "", true, "y=2 h=1 ff=2 e=1 c=stop");
    flush(f);
    assert_scan(f, "", "", false, "a=1 b=1 bb=2 c=stop");
}

static void a_range_deletion_keeps_its_place(void **state)
{
    struct fixture *f = *state;
    put(f, "b", "engine");
    put(f, "c", "engine");
    flush(f);
    put(f, "a", "before");
    put(f, "b", "before");
    rows_delete_range(f->r, s("a"), s("d"));
    put(f, "b", "after");
    put(f, "b1", "between");
    rows_delete_range(f->r, s("b1"), s("b2"));
    rows_delete_range(f->r, s("x"), s("b")); /* nothing */
    for (int pass = 0; pass < 3; pass++) {
        assert_row(f, "a", NULL);
        assert_row(f, "b", "after");
        assert_row(f, "b1", NULL);
        assert_row(f, "c", NULL);
        assert_scan(f, "", "", false, "b=after");
        if (pass == 0) flush(f);
        if (pass == 1) rows_forget(f->r, s(""), s(""));
    }
    assert_int_equal(stats(f).dirty_bytes, 0);
}

/* ---- random operations against a sorted array ---- */

enum { KEYS = 60 };
struct model {
    char value[KEYS][128]; /* "" is absent; keys are "00" … "59" */
};

static void key_of(unsigned i, char key[12]) { snprintf(key, 12, "%02u", i); }

struct expected {
    const struct model *m;
    unsigned at, end;
    bool reverse;
};

static bool each_is_expected(void *ctx, struct bytes key, struct bytes value)
{
    struct expected *x = ctx;
    while (x->at != x->end && x->m->value[x->reverse ? x->at - 1 : x->at][0] == 0) x->at += x->reverse ? -1u : 1u;
    assert_true(x->at != x->end);
    unsigned i = x->reverse ? --x->at : x->at++;
    char k[12];
    key_of(i, k);
    assert_true(bytes_equal(key, s(k)));
    assert_true(bytes_equal(value, s(x->m->value[i])));
    return true;
}

static void check_scan(struct fixture *f, const struct model *m, struct rng *rng)
{
    unsigned a = (unsigned)rng_below(rng, KEYS + 1), b = (unsigned)rng_below(rng, KEYS + 1), done = 0;
    char lo[12], hi[12];
    key_of(MIN(a, b), lo);
    key_of(MAX(a, b), hi);
    bool reverse = rng_chance(rng, 2);
    for (;;) {
        struct expected x = {m, reverse ? MAX(a, b) : MIN(a, b), reverse ? MIN(a, b) : MAX(a, b), reverse};
        enum status st = rows_scan(f->r, s(lo), s(hi), reverse, each_is_expected, &x);
        if (st == ST_OK) {
            while (x.at != x.end) assert_true(m->value[reverse ? --x.at : x.at++][0] == 0);
            return;
        }
        assert_int_equal(st, ST_NOT_READY);
        assert_int_equal(rows_fetch_range(f->r, s(lo), s(hi), 1 << 20, count_done, &done), ST_OK);
        test_run_all(f->t);
    }
}

static void check_get(struct fixture *f, const struct model *m, unsigned i, bool front, unsigned *done)
{
    char key[12];
    struct bytes v;
    key_of(i, key);
    enum status st = front ? rows_get_front(f->r, s(key), &v) : rows_get(f->r, s(key), &v);
    if (st == ST_NOT_READY) {
        fetch(f, key, done); /* its job runs some time later */
        return;
    }
    assert_int_equal(st, m->value[i][0] != 0 ? ST_OK : ST_NOT_FOUND);
    if (st != ST_OK) return;
    struct bytes want = s(m->value[i]);
    if (front && want.n > ROWS_WHOLE_BYTES && v.n == ROWS_FRONT_BYTES) want.n = ROWS_FRONT_BYTES;
    assert_true(bytes_equal(v, want));
}

static void random_operations_agree_with_a_model(void **state)
{
    struct fixture *f = *state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct rng rng;
        struct model m = {0};
        unsigned done = 0;
        close_rows(f);
        test_env_free(f->t);
        rng_init(&rng, seed);
        f->t = test_env_new(seed);
        f->seed = seed;
        open_rows(f, 5000, 2500); /* room for some thirty rows */
        uint64_t cuts = 0;
        for (unsigned n = 0; n < 3000; n++) {
            unsigned i = (unsigned)rng_below(&rng, KEYS), j = (unsigned)rng_between(&rng, i, MIN(i + 9, KEYS - 1));
            char key[12], hi[12];
            key_of(i, key);
            key_of(j, hi);
            switch (rng_below(&rng, 12)) {
            case 0:
            case 1:
            case 2:
                snprintf(m.value[i], sizeof m.value[i], "%0*u", rng_chance(&rng, 2) ? 120 : 1, n);
                if (rng_chance(&rng, 2)) rows_put_cold(f->r, s(key), s(m.value[i]));
                else put(f, key, m.value[i]);
                break;
            case 3:
                m.value[i][0] = 0;
                rows_delete(f->r, s(key));
                break;
            case 4:
                if (!rng_chance(&rng, 5)) break;
                for (unsigned k = i; k < j; k++) m.value[k][0] = 0;
                rows_delete_range(f->r, s(key), s(hi));
                break;
            case 5:
            case 6: {
                enum status st = rows_flush(f->r, NULL);
                assert_true(st == ST_OK || st == ST_BUSY);
                break;
            }
            case 7: check_scan(f, &m, &rng); break;
            case 8:
                if (rng_chance(&rng, 2)) test_run_job(f->t);
                else test_turn(f->t);
                break;
            case 9:
                if (rng_chance(&rng, 20)) assert_int_equal(engine_flush(f->e, NULL), ST_OK);
                break;
            default: check_get(f, &m, i, rng_chance(&rng, 3), &done);
            }
        }
        test_run_all(f->t);
        cuts += stats(f).cuts;
        assert_true(cuts > 0);
        assert_int_equal(stats(f).fetches > 0, done > 0);
    }
}

/* ---- data and applied index are one ---- */

/* Entries that write a row and the applied index, with crashes. False: one was found without the other. */
static bool crashes_keep_entries_whole(struct fixture *f)
{
    bool whole = true;
    for (uint64_t round = 0; round < 200; round++) {
        uint64_t data = 0, applied = 0;
        struct bytes v;
        struct engine_value ev = {0};
        for (uint64_t i = 1; i <= 1 + round; i++) {
            rows_put(f->r, s("data"), bytes_of(&i, sizeof i));
            rows_put(f->r,
                     s("\xff"
                       "applied"),
                     bytes_of(&i, sizeof i));
            while (rows_flush(f->r, NULL) == ST_BUSY) {
            }
            if (i % 5 == 0 && rows_get(f->r, s("other"), &v) == ST_NOT_READY) /* a worker comes by */
                engine_get(f->e, s("other"), ENGINE_DISK, &ev, NULL);
        }
        for (int i = 0; i < 3; i++) engine_get(f->e, s("other"), ENGINE_DISK, &ev, NULL);
        rows_free(f->r);
        test_run_all(f->t);
        engine_close(f->e);
        test_power_cut(f->t);
        f->seed++;
        open_rows(f, 1 << 20, 1 << 18);
        if (engine_get(f->e, s("data"), ENGINE_DISK, &ev, NULL) == ST_OK) data = get_u64(ev.bytes.p);
        engine_value_release(&ev);
        if (engine_get(f->e,
                       s("\xff"
                         "applied"),
                       ENGINE_DISK, &ev, NULL) == ST_OK)
            applied = get_u64(ev.bytes.p);
        engine_value_release(&ev);
        whole = whole && data == applied;
    }
    return whole;
}

static void entries_are_whole_after_a_crash(void **state)
{
    struct fixture *f = *state;
    reopen(f, 1, 1 << 20, 1 << 18);
    assert_true(crashes_keep_entries_whole(f));
#ifdef CAIRN_MUTATIONS
    mutation_set("applied_apart_from_data");
    assert_false(crashes_keep_entries_whole(f));
    mutation_set(NULL);
#endif
}

/* ---- real threads ---- */

struct run {
    struct env *env;
    struct env_loop *loop;
    struct rows *r;
    struct env_task task;
    struct rng rng;
    uint64_t newest[200]; /* by key; 0: absent */
    unsigned rounds, waiting, fetched;
};

static void real_done(void *ctx)
{
    struct run *run = ctx;
    run->waiting--;
    run->fetched++;
}

static void real_round(struct env_task *task)
{
    struct run *run = CONTAINER_OF(task, struct run, task);
    for (unsigned n = 0; n < 20; n++) {
        uint8_t key[4];
        struct bytes v;
        uint32_t i = (uint32_t)rng_below(&run->rng, 200);
        put_be32(key, i);
        if (rng_chance(&run->rng, 3)) {
            run->newest[i] = rng_next(&run->rng);
            rows_put(run->r, bytes_of(key, 4), bytes_of(&run->newest[i], 8));
            continue;
        }
        enum status st = rows_get(run->r, bytes_of(key, 4), &v);
        if (st == ST_NOT_READY) {
            if (rows_fetch(run->r, bytes_of(key, 4), real_done, run) == ST_OK) run->waiting++;
        } else {
            assert_int_equal(st, run->newest[i] != 0 ? ST_OK : ST_NOT_FOUND);
            if (st == ST_OK) assert_memory_equal(v.p, &run->newest[i], 8);
        }
    }
    enum status st = rows_flush(run->r, NULL);
    assert_true(st == ST_OK || st == ST_BUSY);
    if (run->rounds > 0) run->rounds--;
    if (run->rounds == 0 && run->waiting == 0) env_real_loop_stop(run->loop);
    else env_post(run->loop, &run->task);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }

static void fetches_race_with_writes_on_real_threads(void **state)
{
    char dir[64] = "/tmp/rows_test_XXXXXX", path[80];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/engine", dir);
    struct engine_options o = {.cache_bytes = 1 << 20, .write_buffer_bytes = 1 << 20};
    struct engine *e;
    struct run *run = mem_zalloc(sizeof *run);
    run->env = env_real_new();
    run->loop = env_real_loop_new(run->env);
    run->task.run = real_round;
    rng_init(&run->rng, 1);
    for (int pass = 0; pass < 3; pass++) { /* each begins with nothing of the engine in memory */
        assert_int_equal(engine_open(run->env, path, &o, &e, NULL), ST_OK);
        run->r = rows_new(run->loop, e, 10000, 10000);
        run->rounds = 300;
        env_post(run->loop, &run->task);
        env_real_loop_run(run->loop);
        while (rows_flush(run->r, NULL) == ST_BUSY) {
        }
        rows_free(run->r);
        assert_int_equal(engine_flush(e, NULL), ST_OK);
        engine_close(e);
    }
    assert_true(run->fetched > 0);
    env_real_loop_free(run->loop);
    env_real_free(run->env);
    mem_free(run);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_are_kept_and_reach_the_engine),
        TEST(absent_rows_are_remembered),
        TEST(values_grow_and_shrink_in_place),
        TEST(many_rows_are_found),
        TEST(clean_rows_are_evicted_and_hot_ones_stay),
        TEST(rows_are_cut_before_they_go_cold_ones_first),
        TEST(dirty_rows_stay_while_the_engine_refuses),
        TEST(a_fetch_brings_the_row_for_all_who_asked),
        TEST(a_fetched_row_never_overwrites_a_newer_state),
        TEST(fetches_are_bounded),
        TEST(what_a_fetch_meets_is_returned),
        TEST(closing_calls_nobody),
        TEST(a_done_may_close_the_table),
        TEST(scans_merge_what_is_dirty),
        TEST(a_range_deletion_keeps_its_place),
        TEST(random_operations_agree_with_a_model),
        TEST(entries_are_whole_after_a_crash),
        cmocka_unit_test(fetches_race_with_writes_on_real_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
