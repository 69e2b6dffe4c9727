/* engine_test.c - what both engines promise, once for each.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "env/real.h"
#include "store/engine.h"
#include "store/test_env.h"

struct fixture {
    bool twin;
    uint64_t seed, write_buffer_bytes;
    struct test_env *test_env; /* the twin's */
    struct env *env;
    char dir[64], engine_dir[80];
    struct engine *e;
};

static void open_engine(struct fixture *f)
{
    struct engine_options o = {.cache_bytes = 8 << 20, .write_buffer_bytes = f->write_buffer_bytes, .seed = f->seed};
    struct error err = {0};
    if (engine_open(f->env, f->engine_dir, &o, &f->e, &err) != ST_OK) fail_msg("%s", err.text);
}

static void close_engine(struct fixture *f)
{
    engine_close(f->e);
    f->e = NULL;
}

static void reopen(struct fixture *f)
{
    close_engine(f);
    open_engine(f);
}

static int set_up(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->twin = *state != NULL;
    f->write_buffer_bytes = 1 << 20;
    if (f->twin) {
        f->test_env = test_env_new(7);
        f->env = &f->test_env->env;
        strcpy(f->dir, "/data");
    } else {
        f->env = env_real_new();
        strcpy(f->dir, "/tmp/engine_test_XXXXXX");
        assert_non_null(mkdtemp(f->dir));
    }
    snprintf(f->engine_dir, sizeof f->engine_dir, "%s/engine", f->dir);
    open_engine(f);
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }

static int tear_down(void **state)
{
    struct fixture *f = *state;
    engine_close(f->e);
    if (f->twin) {
        test_env_free(f->test_env);
    } else {
        env_real_free(f->env);
        nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    mem_free(f);
    return 0;
}

/* ---- helpers ---- */

static struct bytes s(const char *text) { return bytes_str(text); }

/* "key=value" puts, "-key" deletes, "-lo..hi" deletes a range; words apart by blanks. */
static void fill(struct engine_batch *b, const char *script)
{
    char *copy = mem_strdup(script);
    char *save;
    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(w, '='), *dots = strstr(w, "..");
        if (eq != NULL) {
            engine_batch_put(b, bytes_of(w, (size_t)(eq - w)), s(eq + 1));
        } else if (dots != NULL) {
            engine_batch_delete_range(b, bytes_of(w + 1, (size_t)(dots - w - 1)), s(dots + 2));
        } else {
            engine_batch_delete(b, s(w + 1));
        }
    }
    mem_free(copy);
}

static void put(struct fixture *f, const char *script)
{
    struct engine_batch *b = engine_batch_new();
    struct error err = {0};
    fill(b, script);
    if (engine_write(f->e, b, &err) != ST_OK) fail_msg("%s", err.text);
    engine_batch_free(b);
}

static void flush(struct fixture *f) { assert_int_equal(engine_flush(f->e, NULL), ST_OK); }

static void assert_got(enum status st, struct engine_value *v, const char *expected)
{
    if (expected == NULL) {
        assert_int_equal(st, ST_NOT_FOUND);
        return;
    }
    assert_int_equal(st, ST_OK);
    assert_int_equal(v->bytes.n, strlen(expected));
    assert_memory_equal(v->bytes.p, expected, v->bytes.n);
    engine_value_release(v);
    assert_null(v->impl);
}

static void assert_row(struct fixture *f, const char *key, const char *expected)
{
    struct engine_value v = {0};
    assert_got(engine_get(f->e, s(key), ENGINE_DISK, &v, NULL), &v, expected);
}

static void assert_durable(struct fixture *f, const char *key, const char *expected)
{
    struct engine_value v = {0};
    assert_got(engine_get_durable(f->e, s(key), &v, NULL), &v, expected);
}

/* "k=v k=v …" of [lo, hi); the caller frees it. */
static char *rows_of(struct fixture *f, const struct engine_snapshot *snap, const char *lo, const char *hi,
                     bool reverse)
{
    struct buf b = {0};
    struct engine_iter *it = engine_iter_new(f->e, snap, s(lo), s(hi), ENGINE_DISK);
    assert_false(engine_iter_valid(it));
    for (reverse ? engine_iter_last(it) : engine_iter_first(it); engine_iter_valid(it);
         reverse ? engine_iter_prev(it) : engine_iter_next(it)) {
        if (b.n != 0) buf_put_u8(&b, ' ');
        buf_put_bytes(&b, engine_iter_key(it));
        buf_put_u8(&b, '=');
        buf_put_bytes(&b, engine_iter_value(it));
    }
    assert_int_equal(engine_iter_status(it, NULL), ST_OK);
    engine_iter_free(it);
    buf_put_u8(&b, 0);
    return (char *)b.p;
}

static void assert_rows(struct fixture *f, const struct engine_snapshot *snap, const char *lo, const char *hi,
                        bool reverse, const char *expected)
{
    char *got = rows_of(f, snap, lo, hi, reverse);
    assert_string_equal(got, expected);
    mem_free(got);
}

static void assert_all(struct fixture *f, const char *expected) { assert_rows(f, NULL, "", "", false, expected); }

/* ---- rows ---- */

static void puts_and_deletes_are_seen(void **state)
{
    struct fixture *f = *state;
    assert_row(f, "a", NULL);
    put(f, "a=1 b=2 c=");
    assert_row(f, "a", "1");
    assert_row(f, "c", "");
    put(f, "a=3 -b");
    assert_row(f, "a", "3");
    assert_row(f, "b", NULL);
    flush(f);
    assert_row(f, "a", "3");
    assert_row(f, "b", NULL);
    assert_row(f, "c", "");
}

static void keys_and_values_are_any_bytes(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"\0", "\0\0", "\0a", "\xff", "\xff\xff", "\xff\0"};
    static const size_t lengths[] = {1, 2, 2, 1, 2, 2};
    struct engine_batch *b = engine_batch_new();
    uint8_t *big = mem_alloc(300000);
    memset(big, 0x5a, 300000);
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
        engine_batch_put(b, bytes_of(keys[i], lengths[i]), bytes_of(&i, sizeof i));
    engine_batch_put(b, s("big"), bytes_of(big, 300000));
    assert_int_equal(engine_batch_count(b), ARRAY_COUNT(keys) + 1);
    assert_int_equal(engine_write(f->e, b, NULL), ST_OK);
    engine_batch_clear(b);
    assert_int_equal(engine_batch_count(b), 0);
    assert_int_equal(engine_write(f->e, b, NULL), ST_OK); /* nothing is fine */
    engine_batch_free(b);
    flush(f);
    reopen(f);
    struct engine_value v = {0};
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        assert_int_equal(engine_get(f->e, bytes_of(keys[i], lengths[i]), ENGINE_DISK, &v, NULL), ST_OK);
        assert_int_equal(v.bytes.n, sizeof i);
        assert_memory_equal(v.bytes.p, &i, sizeof i);
        engine_value_release(&v);
    }
    assert_int_equal(engine_get(f->e, s("big"), ENGINE_DISK, &v, NULL), ST_OK);
    assert_int_equal(v.bytes.n, 300000);
    assert_memory_equal(v.bytes.p, big, v.bytes.n);
    engine_value_release(&v);
    mem_free(big);
}

static void a_batch_is_done_in_order(void **state)
{
    struct fixture *f = *state;
    put(f, "b0=x b1=x c=x");
    put(f, "b2=y -b0..c b1=z b1=w a=1 -a a=2 d=1 -d");
    assert_all(f, "a=2 b1=w c=x");
    put(f, "-z..a -c..c"); /* empty ranges */
    assert_all(f, "a=2 b1=w c=x");
}

static void iterators_go_both_ways_in_bounds(void **state)
{
    struct fixture *f = *state;
    for (int pass = 0; pass < 2; pass++) {
        put(f, "a=1 b=2 bb=3 c=4 d=5 e=6 -bb");
        assert_rows(f, NULL, "", "", false, "a=1 b=2 c=4 d=5 e=6");
        assert_rows(f, NULL, "", "", true, "e=6 d=5 c=4 b=2 a=1");
        assert_rows(f, NULL, "b", "d", false, "b=2 c=4");
        assert_rows(f, NULL, "b", "d", true, "c=4 b=2");
        assert_rows(f, NULL, "aa", "bb", true, "b=2");
        assert_rows(f, NULL, "x", "", false, "");
        assert_rows(f, NULL, "", "a", true, "");
        flush(f); /* and then the same from files */
    }
}

static void seeks_find_the_nearest_row_in_bounds(void **state)
{
    struct fixture *f = *state;
    put(f, "b=1 d=2 f=3 h=4");
    static const struct {
        const char *key, *next, *prev;
    } cases[] = {
        {"a", "d", NULL}, {"c", "d", NULL}, {"d", "d", "d"},  {"e", "f", "d"}, {"f", "f", "f"},
        {"g", NULL, "f"}, {"h", NULL, "f"}, {"z", NULL, "f"}, {"", "d", NULL},
    };
    struct engine_iter *it = engine_iter_new(f->e, NULL, s("c"), s("h"), ENGINE_DISK);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        for (int down = 0; down < 2; down++) {
            const char *expected = down ? cases[i].prev : cases[i].next;
            if (down) engine_iter_seek_prev(it, s(cases[i].key));
            else engine_iter_seek(it, s(cases[i].key));
            assert_int_equal(engine_iter_valid(it), expected != NULL);
            if (expected != NULL) assert_true(bytes_equal(engine_iter_key(it), s(expected)));
        }
    }
    engine_iter_seek(it, s("d")); /* turning round */
    engine_iter_next(it);
    engine_iter_prev(it);
    assert_true(bytes_equal(engine_iter_key(it), s("d")));
    engine_iter_prev(it);
    assert_false(engine_iter_valid(it));
    engine_iter_free(it);
}

static void iterators_and_snapshots_do_not_see_later_writes(void **state)
{
    struct fixture *f = *state;
    put(f, "a=1 b=1 c=1");
    struct engine_snapshot *one = engine_snapshot_take(f->e);
    struct engine_iter *it = engine_iter_new(f->e, NULL, s(""), s(""), ENGINE_DISK);
    engine_iter_first(it);
    put(f, "a=2 -b aa=2 d=2");
    struct engine_snapshot *two = engine_snapshot_take(f->e);
    put(f, "-a..z e=3");
    flush(f);
    assert_rows(f, one, "", "", false, "a=1 b=1 c=1");
    assert_rows(f, two, "", "", true, "d=2 c=1 aa=2 a=2");
    assert_all(f, "e=3");
    static const char *const keys[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++, engine_iter_next(it)) {
        assert_true(engine_iter_valid(it));
        assert_true(bytes_equal(engine_iter_key(it), s(keys[i])));
        assert_true(bytes_equal(engine_iter_value(it), s("1")));
    }
    assert_false(engine_iter_valid(it));
    engine_iter_free(it);
    engine_snapshot_release(f->e, one);
    assert_rows(f, two, "", "", false, "a=2 aa=2 c=1 d=2");
    engine_snapshot_release(f->e, two);
    assert_all(f, "e=3");
}

/* ---- durability ---- */

static void durable_reads_see_the_last_flush(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(engine_unflushed_bytes(f->e), 0);
    put(f, "a=1 b=1 c=1");
    assert_true(engine_unflushed_bytes(f->e) > 0);
    assert_durable(f, "a", NULL);
    flush(f);
    assert_int_equal(engine_unflushed_bytes(f->e), 0);
    put(f, "a=2 -b -c..d");
    put(f, "a=3");
    assert_durable(f, "a", "1");
    assert_durable(f, "b", "1");
    assert_durable(f, "c", "1");
    flush(f);
    assert_durable(f, "a", "3");
    assert_durable(f, "b", NULL);
    assert_durable(f, "c", NULL);
    flush(f); /* nothing to do */
}

static void closing_does_not_flush(void **state)
{
    struct fixture *f = *state;
    put(f, "a=1 b=1");
    flush(f);
    put(f, "a=2 c=1 -b");
    reopen(f);
    assert_all(f, "a=1 b=1");
    put(f, "a=3");
    flush(f);
    reopen(f);
    assert_all(f, "a=3 b=1");
}

static void memory_reads_never_go_to_the_disk(void **state)
{
    struct fixture *f = *state;
    struct engine_value v = {0};
    if (f->twin) f->seed = 3;
    reopen(f);
    unsigned not_ready = 0;
    struct engine_batch *b = engine_batch_new();
    for (unsigned i = 0; i < 100; i++) {
        uint8_t key[4];
        put_be32(key, i);
        engine_batch_put(b, bytes_of(key, 4), bytes_of(key, 4));
    }
    while (engine_write(f->e, b, NULL) == ST_BUSY) {
    }
    engine_batch_free(b);
    flush(f);
    reopen(f);
    for (unsigned i = 0; i < 100; i++) {
        uint8_t key[4];
        put_be32(key, i);
        enum status st = engine_get(f->e, bytes_of(key, 4), ENGINE_MEMORY, &v, NULL);
        not_ready += st == ST_NOT_READY;
        if (st == ST_OK) engine_value_release(&v);
        assert_int_equal(engine_get(f->e, bytes_of(key, 4), ENGINE_DISK, &v, NULL), ST_OK);
        engine_value_release(&v);
        assert_int_equal(engine_get(f->e, bytes_of(key, 4), ENGINE_MEMORY, &v, NULL), ST_OK);
        assert_memory_equal(v.bytes.p, key, 4);
        engine_value_release(&v);
    }
    assert_true(not_ready > 0);

    reopen(f); /* the same with iterators */
    struct engine_iter *it = engine_iter_new(f->e, NULL, s(""), s(""), ENGINE_MEMORY);
    engine_iter_first(it);
    while (engine_iter_valid(it)) engine_iter_next(it);
    assert_int_equal(engine_iter_status(it, NULL), ST_NOT_READY);
    engine_iter_free(it);
    mem_free(rows_of(f, NULL, "", "", false));
    it = engine_iter_new(f->e, NULL, s(""), s(""), ENGINE_MEMORY);
    unsigned rows = 0;
    for (engine_iter_first(it); engine_iter_valid(it); engine_iter_next(it)) rows++;
    assert_int_equal(engine_iter_status(it, NULL), ST_OK);
    assert_int_equal(rows, 100);
    engine_iter_free(it);
}

/* Small buffers and quick writes, so that the engine has to refuse (RocksDB) or draws it (the twin). */
static void refused_batches_change_nothing(void **state)
{
    struct fixture *f = *state;
    f->write_buffer_bytes = 64 << 10;
    f->seed = f->twin ? 5 : 0;
    reopen(f);
    enum { BATCHES = 2000 };
    bool *accepted = mem_zalloc(BATCHES);
    struct engine_batch *b = engine_batch_new();
    uint8_t value[500] = {0};
    unsigned refused = 0;
    for (unsigned i = 0; i < BATCHES; i++) {
        uint8_t key[4];
        put_be32(key, i);
        engine_batch_clear(b);
        engine_batch_put(b, bytes_of(key, 4), bytes_of(value, sizeof value));
        put_be32(key, BATCHES + i);
        engine_batch_put(b, bytes_of(key, 4), bytes_of(value, sizeof value));
        enum status st = engine_write(f->e, b, NULL);
        accepted[i] = st == ST_OK;
        refused += st == ST_BUSY;
        assert_true(st == ST_OK || st == ST_BUSY);
    }
    engine_batch_free(b);
    if (f->twin) assert_true(refused > 0);
    flush(f);
    reopen(f);
    for (unsigned i = 0; i < 2 * BATCHES; i++) {
        uint8_t key[4];
        put_be32(key, i);
        struct engine_value v = {0};
        enum status st = engine_get(f->e, bytes_of(key, 4), ENGINE_DISK, &v, NULL);
        assert_int_equal(st, accepted[i % BATCHES] ? ST_OK : ST_NOT_FOUND);
        engine_value_release(&v);
    }
    mem_free(accepted);
}

/* ---- whole-range work ---- */

static void ingest(struct fixture *f, const char *rows, const char *lo, const char *hi, enum status expected)
{
    struct engine_ingest *g;
    struct error err = {0};
    assert_int_equal(engine_ingest_new(f->e, &g, &err), ST_OK);
    char *copy = mem_strdup(rows);
    char *save;
    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(w, '=');
        assert_int_equal(engine_ingest_add(g, bytes_of(w, (size_t)(eq - w)), s(eq + 1), &err), ST_OK);
    }
    mem_free(copy);
    enum status st = engine_ingest_finish(g, s(lo), s(hi), &err);
    if (st != expected) fail_msg("%s: %s", status_name(st), err.text);
}

static void an_ingest_replaces_a_range_and_is_durable(void **state)
{
    struct fixture *f = *state;
    put(f, "a=1 b=1 c=1 m1=old m2=old m3=old n=1 o=1");
    flush(f);
    put(f, "m4=old n=2");
    struct engine_snapshot *before = engine_snapshot_take(f->e);
    ingest(f, "applied=7 m2=new m5=new", "m", "n", ST_OK);
    assert_all(f, "a=1 applied=7 b=1 c=1 m2=new m5=new n=2 o=1");
    assert_rows(f, before, "", "", false, "a=1 b=1 c=1 m1=old m2=old m3=old m4=old n=2 o=1");
    engine_snapshot_release(f->e, before);
    assert_durable(f, "applied", "7");
    assert_durable(f, "m5", "new");
    assert_durable(f, "m1", NULL);
    put(f, "m2=newer -m5");
    assert_rows(f, NULL, "m", "n", false, "m2=newer");
    reopen(f); /* without a flush: only what came after is lost */
    assert_all(f, "a=1 applied=7 b=1 c=1 m2=new m5=new n=2 o=1");
    ingest(f, "", "m", "n", ST_OK); /* only deletes */
    assert_all(f, "a=1 applied=7 b=1 c=1 n=2 o=1");
    ingest(f, "a=2", "", "", ST_OK); /* only puts */
    assert_row(f, "a", "2");
    reopen(f);
    assert_all(f, "a=2 applied=7 b=1 c=1 n=2 o=1");
}

static void an_ingest_given_up_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct engine_ingest *g;
    put(f, "a=1");
    assert_int_equal(engine_ingest_new(f->e, &g, NULL), ST_OK);
    assert_int_equal(engine_ingest_add(g, s("b"), s("1"), NULL), ST_OK);
    assert_int_equal(engine_ingest_add(g, s("b"), s("2"), NULL), ST_INVALID);
    assert_int_equal(engine_ingest_add(g, s("a"), s("2"), NULL), ST_INVALID);
    engine_ingest_abort(g);
    engine_ingest_abort(NULL);
    assert_all(f, "a=1");
    if (f->twin) return;
    char path[160]; /* one that a crash left is removed, and nothing else of ours stays */
    snprintf(path, sizeof path, "%s/ingest-9.sst", f->engine_dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("half a file", file);
    fclose(file);
    reopen(f);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof path, "%s/ingest-0.sst", f->engine_dir);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_dropped_range_is_gone_and_its_neighbours_are_not(void **state)
{
    struct fixture *f = *state;
    /* In RocksDB this file goes to the lowest level, and holds exactly [m, n]: its last row is not in the range. */
    ingest(f, "m=1 m1=1 m2=1 n=1", "", "", ST_OK);
    put(f, "l=1 m3=1 n1=1");
    flush(f);
    put(f, "m4=1 l2=1");
    assert_int_equal(engine_drop_range(f->e, s("m"), s("n"), NULL), ST_OK);
    assert_all(f, "l=1 l2=1 n=1 n1=1");
    reopen(f); /* drop_range flushes */
    assert_all(f, "l=1 l2=1 n=1 n1=1");

    ingest(f, "q=1 q1=1 q2=1", "", "", ST_OK);
    assert_int_equal(engine_drop_range(f->e, s("q"), s("r"), NULL), ST_OK); /* the whole file */
    assert_int_equal(engine_drop_range(f->e, s("r"), s("r"), NULL), ST_OK); /* nothing */
    assert_all(f, "l=1 l2=1 n=1 n1=1");
    put(f, "q1=2");
    flush(f);
    reopen(f);
    assert_all(f, "l=1 l2=1 n=1 n1=1 q1=2");

    struct engine_batch *b = engine_batch_new(); /* an end whose last byte is 0 */
    engine_batch_put(b, s("t"), s("1"));
    engine_batch_put(b, bytes_of("t\0", 2), s("2"));
    assert_int_equal(engine_write(f->e, b, NULL), ST_OK);
    engine_batch_free(b);
    assert_int_equal(engine_drop_range(f->e, s("t"), bytes_of("t\0", 2), NULL), ST_OK);
    assert_row(f, "t", NULL);
    struct engine_value v = {0};
    assert_got(engine_get(f->e, bytes_of("t\0", 2), ENGINE_DISK, &v, NULL), &v, "2");
}

static void a_checkpoint_is_a_whole_engine(void **state)
{
    struct fixture *f = *state;
    put(f, "a=1 b=1");
    flush(f);
    put(f, "b=2 c=2");
    char copy[100];
    snprintf(copy, sizeof copy, "%s/copy", f->dir);
    assert_int_equal(engine_checkpoint(f->e, copy, NULL), ST_OK);
    assert_int_equal(engine_checkpoint(f->e, copy, NULL), ST_EXISTS);
    put(f, "a=3");
    close_engine(f);
    strcpy(f->engine_dir, copy);
    open_engine(f);
    assert_all(f, "a=1 b=2 c=2");
}

static bool skip_key(void *ctx, struct bytes key, struct bytes value) { return bytes_equal(key, s(ctx)); }

static void checksums_depend_on_rows_alone(void **state)
{
    struct fixture *f = *state;
    uint64_t h[5], rows[5];
    put(f, "a=1 b=22 c=3");
    struct engine_snapshot *snap = engine_snapshot_take(f->e);
    assert_int_equal(engine_checksum(f->e, NULL, s(""), s(""), NULL, NULL, &h[0], &rows[0], NULL), ST_OK);
    assert_int_equal(rows[0], 3);
    assert_int_equal(h[0], 0x1475cfe961019e76u); /* one number for both engines */
    put(f, "-a b2=2");
    flush(f);
    assert_int_equal(engine_checksum(f->e, snap, s(""), s(""), NULL, NULL, &h[1], &rows[1], NULL), ST_OK);
    assert_true(h[1] == h[0]);
    assert_int_equal(engine_checksum(f->e, NULL, s(""), s(""), NULL, NULL, &h[2], &rows[2], NULL), ST_OK);
    assert_true(h[2] != h[0]);
    put(f, "-b2 a=1 x=9");
    assert_int_equal(engine_checksum(f->e, NULL, s(""), s(""), skip_key, (void *)"x", &h[3], &rows[3], NULL), ST_OK);
    assert_true(h[3] == h[0]);
    assert_int_equal(rows[3], 3);
    assert_int_equal(engine_checksum(f->e, NULL, s("a"), s("d"), NULL, NULL, &h[4], &rows[4], NULL), ST_OK);
    assert_true(h[4] == h[0]);
    engine_snapshot_release(f->e, snap);
}

static void stats_say_something(void **state)
{
    struct fixture *f = *state;
    struct engine_stats st;
    put(f, "a=1 b=22 c=3");
    flush(f);
    engine_stats(f->e, &st);
    assert_true(st.disk_bytes > 0);
    assert_true(st.rows_estimate > 0);
    assert_int_equal(st.flushes, 1);
    assert_false(st.write_stopped);
}

/* ---- damage ---- */

static void a_damaged_file_is_found(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct engine *e = NULL;
    struct engine_options o = {.cache_bytes = 1 << 20, .write_buffer_bytes = 1 << 20};
    put(f, "a=1 b=1");
    flush(f);
    put(f, "a=2");
    flush(f);
    close_engine(f);
    if (f->twin) {
        struct test_inode *i = test_find(f->test_env, "/data/engine/twin-0000000000000001");
        size_t last = i->data.n - 1;
        i->data.p[last] ^= 1; /* of the last record: a torn flush */
        assert_int_equal(engine_open(f->env, f->engine_dir, &o, &f->e, &err), ST_OK);
        assert_row(f, "a", "1");
        put(f, "a=3");
        flush(f);
        close_engine(f);
        i = test_find(f->test_env, "/data/engine/twin-0000000000000002"); /* opening an old file begins a new one */
        i->data.p[40] ^= 1;                                               /* of the image, before a good record */
        assert_int_equal(engine_open(f->env, f->engine_dir, &o, &e, &err), ST_CORRUPT);
        return;
    }
    struct buf cmd = {0}; /* in the first block of every file */
    buf_printf(&cmd, "for f in %s/*.sst; do printf XXXX | dd of=$f bs=1 seek=8 conv=notrunc status=none; done",
               f->engine_dir);
    buf_put_u8(&cmd, 0);
    assert_int_equal(system((char *)cmd.p), 0);
    buf_deinit(&cmd);
    assert_int_equal(engine_open(f->env, f->engine_dir, &o, &f->e, &err), ST_OK);
    struct engine_value v = {0};
    assert_int_equal(engine_get(f->e, s("a"), ENGINE_DISK, &v, &err), ST_CORRUPT);
    assert_non_null(strstr(err.text, "Corruption"));
    struct engine_iter *it = engine_iter_new(f->e, NULL, s(""), s(""), ENGINE_DISK);
    engine_iter_first(it);
    assert_false(engine_iter_valid(it));
    assert_int_equal(engine_iter_status(it, NULL), ST_CORRUPT);
    engine_iter_free(it);
}

/* The twin's disk fails at every operation in turn; what the next opening finds is the state after some batch that is
 * not before the last flush known to be done. */
static void the_twin_survives_a_power_cut_at_every_operation(void **state)
{
    struct fixture *f = *state;
    if (!f->twin) return;
    close_engine(f);
    for (uint64_t cut = 0;; cut++) {
        struct test_env *t = test_env_new(cut);
        struct engine_options o = {.cache_bytes = 1 << 20, .write_buffer_bytes = 1 << 20, .seed = cut % 2};
        struct engine *e = NULL;
        struct engine_batch *b = engine_batch_new();
        uint64_t written = 0, flushed = 0;
        t->ops_left = cut;
        if (engine_open(&t->env, "/d/e", &o, &e, NULL) == ST_OK) {
            for (uint64_t i = 1; i <= 100; i++) {
                engine_batch_clear(b);
                engine_batch_put(b, s("applied"), bytes_of(&i, sizeof i));
                uint8_t big[3000] = {0}; /* so that it is written anew at times */
                engine_batch_put(b, s("big"), bytes_of(big, sizeof big));
                if (engine_write(e, b, NULL) != ST_OK) continue;
                written = i;
                if (i % 3 == 0 && engine_flush(e, NULL) == ST_OK) flushed = i;
            }
        }
        bool done = t->ops_left != 0;
        engine_batch_free(b);
        engine_close(e);
        test_power_cut(t);
        struct error err = {0};
        if (engine_open(&t->env, "/d/e", &o, &e, &err) != ST_OK) fail_msg("cut %u: %s", (unsigned)cut, err.text);
        struct engine_value v = {0};
        uint64_t found = 0;
        if (engine_get(e, s("applied"), ENGINE_DISK, &v, NULL) == ST_OK) found = get_u64(v.bytes.p);
        engine_value_release(&v);
        if (found < flushed || found > written)
            fail_msg("cut %u: found %u of %u to %u", (unsigned)cut, (unsigned)found, (unsigned)flushed,
                     (unsigned)written);
        engine_close(e);
        test_env_free(t);
        if (done) break;
        assert_true(cut < 1000);
    }
}

#define BOTH(test) \
    {"rocks: " #test, test, set_up, tear_down, NULL}, { "twin: " #test, test, set_up, tear_down, (void *)"twin" }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(puts_and_deletes_are_seen),
        BOTH(keys_and_values_are_any_bytes),
        BOTH(a_batch_is_done_in_order),
        BOTH(iterators_go_both_ways_in_bounds),
        BOTH(seeks_find_the_nearest_row_in_bounds),
        BOTH(iterators_and_snapshots_do_not_see_later_writes),
        BOTH(durable_reads_see_the_last_flush),
        BOTH(closing_does_not_flush),
        BOTH(memory_reads_never_go_to_the_disk),
        BOTH(refused_batches_change_nothing),
        BOTH(an_ingest_replaces_a_range_and_is_durable),
        BOTH(an_ingest_given_up_changes_nothing),
        BOTH(a_dropped_range_is_gone_and_its_neighbours_are_not),
        BOTH(a_checkpoint_is_a_whole_engine),
        BOTH(checksums_depend_on_rows_alone),
        BOTH(stats_say_something),
        BOTH(a_damaged_file_is_found),
        {"twin: the_twin_survives_a_power_cut_at_every_operation", the_twin_survives_a_power_cut_at_every_operation,
         set_up, tear_down, (void *)"twin"},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
