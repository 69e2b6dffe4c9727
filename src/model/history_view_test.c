/* history_view_test.c - what is read as of a time is what was there at that time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Random ops on few keys; after each one the rows are copied whole. A read as of a time, at or above the watermark, has to
 * answer what the same read answers on the copy of that time. Meanwhile history and garbage are removed as a leader would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "model/history_view.h"
#include "model/kv_test_util.h"
#include "store/history.h"

#define MOMENTS_MAX 220
#define KEYS        8
#define FIELDS      6

struct moment {
    hlc_t ts;
    struct memory_view rows;
};

struct past {
    struct kv_bench b;
    struct rng rng;
    struct moment *moments[MOMENTS_MAX]; /* the oldest first */
    size_t count;
    uint64_t reads, below_now;
    struct buf expected, got;
};

static void keep_moment(struct past *p, hlc_t ts)
{
    struct moment *m = mem_zalloc(sizeof *m);
    m->ts = ts;
    memory_view_init(&m->rows, 1, 0, SLOTS);
    for (const struct row_node *n = row_tree_first(&p->b.m.rows); n != NULL; n = row_tree_next(n))
        row_tree_put(&m->rows.rows, n->key, n->value);
    m->rows.counters = p->b.m.counters;
    if (p->count == MOMENTS_MAX) {
        memory_view_deinit(&p->moments[0]->rows);
        mem_free(p->moments[0]);
        memmove(p->moments, p->moments + 1, --p->count * sizeof p->moments[0]);
    }
    p->moments[p->count++] = m;
}

/* The keys share a slot or not; all are in the partition. */
static struct bytes some_key(struct past *p, char out[16])
{
    uint64_t i = rng_below(&p->rng, KEYS);
    return bytes_of(out, (size_t)snprintf(out, 16, i < 5 ? "{t}%d" : "k%d", (int)i));
}

static struct bytes tag_key(struct past *p, char out[16])
{
    return bytes_of(out, (size_t)snprintf(out, 16, "{t}%d", (int)rng_below(&p->rng, 5)));
}

static struct bytes some_field(struct past *p, char out[16])
{
    return bytes_of(out, (size_t)snprintf(out, 16, "f%d", (int)rng_below(&p->rng, FIELDS)));
}

static void run(struct past *p, uint16_t opcode)
{
    hlc_t ts = p->b.ts;
    bench_run(&p->b, opcode, 0);
    assert_int_equal(p->b.status, ST_OK);
    keep_moment(p, ts);
    if (rng_chance(&p->rng, 3)) p->b.ts += hlc_from_ms(rng_below(&p->rng, 40));
}

static void put_value(struct past *p, size_t n)
{
    memset(buf_extend(&p->b.body, n), 'a' + (int)rng_below(&p->rng, 26), n);
}

static void write_something(struct past *p)
{
    char k[16], k2[16], f[16], f2[16];
    struct buf *body = &p->b.body;
    struct bytes pairs[4];
    switch (rng_below(&p->rng, 15)) {
    case 0: {
        struct kv_when when = {rng_chance(&p->rng, 3) ? KV_WHEN_RELATIVE : KV_WHEN_NONE,
                               1 + (int64_t)rng_below(&p->rng, 200)};
        kv_build_set(body, some_key(p, k), 0, when, bytes_str("value"));
        put_value(p, rng_below(&p->rng, 10));
        run(p, KV_SET);
        break;
    }
    case 1: /* becomes long */
        buf_put_lp(body, some_key(p, k));
        buf_put_u64(body, rng_below(&p->rng, 3 * KV_PIECE));
        put_value(p, 1 + rng_below(&p->rng, 100));
        run(p, KV_SETRANGE);
        break;
    case 2:
        buf_put_lp(body, some_key(p, k));
        put_value(p, rng_chance(&p->rng, 4) ? KV_INLINE_MAX : 20);
        run(p, KV_APPEND);
        break;
    case 3: {
        struct bytes key = some_key(p, k);
        kv_build_keys(body, &key, 1);
        run(p, KV_DEL);
        break;
    }
    case 4:
    case 5:
    case 6:
        pairs[0] = some_field(p, f);
        pairs[1] = bytes_str(rng_chance(&p->rng, 2) ? "one" : "two");
        pairs[2] = some_field(p, f2);
        pairs[3] = bytes_str("three");
        kv_build_hset(body, some_key(p, k), pairs, 1 + rng_below(&p->rng, 2));
        run(p, KV_HSET);
        break;
    case 7:
    case 8:
        buf_put_lp(body, some_key(p, k));
        buf_put_varint(body, 2);
        buf_put_lp(body, some_field(p, f));
        buf_put_lp(body, some_field(p, f2));
        run(p, KV_HDEL);
        break;
    case 9:
        kv_build_two(body, tag_key(p, k), tag_key(p, k2));
        run(p, KV_RENAME);
        break;
    case 10:
        buf_put_lp(body, tag_key(p, k));
        buf_put_lp(body, tag_key(p, k2));
        buf_put_u8(body, 1);
        run(p, KV_COPY);
        break;
    case 11:
        buf_put_lp(body, some_key(p, k));
        buf_put_u8(body, 0);
        buf_put_u8(body, KV_WHEN_RELATIVE);
        buf_put_u64(body, 1 + rng_below(&p->rng, 300));
        run(p, KV_EXPIRE);
        break;
    case 12:
        kv_build_key(body, some_key(p, k));
        run(p, KV_PERSIST);
        break;
    case 13: { /* two changes of one field, and of one key, at one time */
        struct buf ops = {0}, one = {0};
        struct bytes key = tag_key(p, k);
        pairs[0] = some_field(p, f);
        pairs[1] = bytes_str("first");
        kv_build_hset(&one, key, pairs, 1);
        kv_build_multi_op(&ops, KV_HSET, 0, buf_view(&one));
        buf_clear(&one);
        pairs[1] = bytes_str("second");
        kv_build_hset(&one, key, pairs, 1);
        kv_build_multi_op(&ops, KV_HSET, 0, buf_view(&one));
        buf_clear(&one);
        struct bytes other = tag_key(p, k2);
        kv_build_keys(&one, &other, 1);
        kv_build_multi_op(&ops, KV_DEL, 0, buf_view(&one));
        kv_build_multi(body, NULL, 0, 3);
        buf_put_bytes(body, buf_view(&ops));
        run(p, KV_MULTI);
        buf_deinit(&ops);
        buf_deinit(&one);
        break;
    }
    default:
        if (!rng_chance(&p->rng, 10)) break;
        buf_put_u64(body, 0);
        buf_put_u32(body, 3);
        run(p, KV_FLUSH);
    }
}

/* The leader's housekeeping, a part of it each time. */
static void keep_house(struct past *p, bool all)
{
    struct buf *body = &p->b.body;
    struct result r, slot, incarnation;
    uint16_t slots[1] = {key_slot(BYTES_LIT("{t}"))};
    if (all || rng_chance(&p->rng, 4)) {
        kv_build_expire_sweep(body, slots, 1, 3);
        run(p, KV_EXPIRE_SWEEP);
    }
    if (all || rng_chance(&p->rng, 4)) {
        kv_build_find(body, 0, 4);
        bench_run(&p->b, KV_GARBAGE_FIND, OP_READ);
        struct buf found = {0};
        buf_put_bytes(&found, buf_view(&p->b.result));
        struct reader in = reader_of(buf_view(&found));
        assert_true(result_next(&in, &r) && result_next(&in, &r) && result_next(&in, &r));
        for (uint64_t i = 0; i + 1 < r.count; i += 2) {
            assert_true(result_next(&in, &slot) && result_next(&in, &incarnation));
            kv_build_clean(body, (uint16_t)slot.number, (uint64_t)incarnation.number, 2);
            run(p, KV_CLEAN);
        }
        buf_deinit(&found);
    }
    if (all || rng_chance(&p->rng, 4)) {
        kv_build_history_find(body, BYTES_LIT(""), all ? 100000 : 200, 50);
        bench_run(&p->b, KV_HISTORY_FIND, OP_READ);
        struct bytes rows[50];
        struct buf found = {0};
        buf_put_bytes(&found, buf_view(&p->b.result));
        struct reader in = reader_of(buf_view(&found));
        assert_true(result_next(&in, &r) && result_next(&in, &r) && result_next(&in, &r) && result_next(&in, &r));
        uint64_t n = r.count;
        for (uint64_t i = 0; i < n; i++) {
            assert_true(result_next(&in, &r) && r.tag == 'b');
            rows[i] = r.bytes;
        }
        kv_build_keys(body, rows, n);
        char text[24];
        snprintf(text, sizeof text, "%d", (int)n);
        hlc_t ts = p->b.ts;
        assert_string_equal(bench_run(&p->b, KV_HISTORY_DROP, 0), text);
        keep_moment(p, ts);
        buf_deinit(&found);
    }
}

static const struct moment *moment_at(const struct past *p, hlc_t ts)
{
    size_t i = p->count;
    while (i > 0 && p->moments[i - 1]->ts > ts) i--;
    return i > 0 ? p->moments[i - 1] : NULL;
}

static void read_at(struct past *p, hlc_t ts, uint16_t opcode)
{
    const struct moment *m = moment_at(p, ts);
    struct op op = {.semantics = OP_SEMANTICS, .opcode = opcode, .flags = OP_READ, .body = buf_view(&p->b.body)};
    struct op_view live = p->b.m.base, then = m->rows.base;
    struct history_reader reader;
    live.put = NULL;
    live.del = NULL;
    then.put = NULL;
    then.del = NULL;
    then.ts = ts;
    then.counters = (struct op_counters *)&m->rows.counters;
    buf_clear(&p->expected);
    buf_clear(&p->got);
    assert_int_equal(op_run(&op, &then, &p->expected), ST_OK);
    history_reader_init(&reader, &live, ts, p->b.ts);
    enum status st;
    p->b.m.not_ready_run = 0;
    reader.rows_max = 2 + rng_below(&p->rng, 4);
    while ((st = op_run(&op, &reader.view, &p->got)) == ST_NOT_READY) continue;
    history_reader_deinit(&reader);
    assert_int_equal(st, ST_OK);
    if (!bytes_equal(buf_view(&p->expected), buf_view(&p->got))) {
        print_message("opcode %x at %llu, of %llu\n", opcode, (unsigned long long)ts, (unsigned long long)m->ts);
        fail();
    }
    p->reads++;
    p->below_now += m != p->moments[p->count - 1];
    buf_clear(&p->b.body);
}

static void read_something(struct past *p, hlc_t ts)
{
    char k[16], f[16];
    struct buf *body = &p->b.body;
    static const uint16_t by_key[] = {KV_GET, KV_STRLEN, KV_TYPE, KV_HLEN};
    uint64_t what = rng_below(&p->rng, 13);
    if (what < ARRAY_COUNT(by_key)) {
        kv_build_key(body, some_key(p, k));
        read_at(p, ts, by_key[what]);
        return;
    }
    switch (what) {
    case 4:
    case 5:
        buf_put_lp(body, some_key(p, k));
        buf_put_u8(body, KV_HASH_FIELDS | KV_HASH_VALUES);
        read_at(p, ts, KV_HGETALL);
        break;
    case 6:
        buf_put_lp(body, some_key(p, k));
        buf_put_bytes(body, some_field(p, f));
        read_at(p, ts, KV_HGET);
        break;
    case 7:
        buf_put_lp(body, some_key(p, k));
        buf_put_u64(body, 0);
        buf_put_u64(body, 2);
        buf_put_bytes(body, bytes_str("*"));
        read_at(p, ts, KV_HSCAN);
        break;
    case 8:
        buf_put_lp(body, some_key(p, k));
        buf_put_u64(body, rng_below(&p->rng, 2 * KV_PIECE));
        buf_put_u64(body, rng_below(&p->rng, 3 * KV_PIECE));
        read_at(p, ts, KV_GETRANGE);
        break;
    case 9:
        buf_put_lp(body, some_key(p, k));
        buf_put_u8(body, KV_TTL_MS);
        read_at(p, ts, KV_TTL);
        break;
    case 10:
        kv_build_key(body, bytes_str("*"));
        read_at(p, ts, KV_KEYS);
        break;
    case 11:
        buf_put_u64(body, 0);
        buf_put_u64(body, 1000);
        buf_put_u8(body, KV_NONE);
        buf_put_bytes(body, bytes_str("*"));
        read_at(p, ts, KV_SCAN);
        break;
    default: read_at(p, ts, KV_DBSIZE); break;
    }
}

static void run_seed(uint64_t seed)
{
    struct past *p = mem_zalloc(sizeof *p);
    struct error err = {0};
    bench_init(&p->b, 0, SLOTS);
    rng_init(&p->rng, seed);
    if (seed % 2 == 0) memory_view_inject(&p->b.m, 20, seed);
    for (int i = 0; i < 20; i++) write_something(p); /* before history begins */
    kv_build_retention(&p->b.body, 1000, 0);
    run(p, KV_RETENTION);
    for (int i = 0; i < 600; i++) {
        write_something(p);
        keep_house(p, false);
        if (rng_chance(&p->rng, 20)) {
            hlc_t back = hlc_from_ms(rng_below(&p->rng, 500));
            kv_build_retention(&p->b.body, 1000, p->b.ts - MIN(back, p->b.ts));
            run(p, KV_RETENTION);
        }
        for (int j = 0; j < 4; j++) {
            hlc_t lo = MAX(p->b.m.counters.watermark, p->moments[0]->ts);
            if (p->b.ts <= lo) continue;
            read_something(p, rng_chance(&p->rng, 8) ? lo : lo + rng_below(&p->rng, p->b.ts - lo));
        }
    }
    assert_true(p->reads > 1500 && p->below_now > 700);
    /* It ends: nothing of it is left once the leader has cleaned up. */
    p->b.ts += hlc_from_ms(1);
    kv_build_retention(&p->b.body, 0, 0);
    run(p, KV_RETENTION);
    for (int i = 0; i < 2000 && (bench_rows(&p->b, SPACE_HISTORY) + bench_rows(&p->b, SPACE_ELEMENT_HISTORY) != 0 ||
                                 p->b.m.counters.garbage != 0);
         i++)
        keep_house(p, true);
    assert_int_equal(bench_rows(&p->b, SPACE_HISTORY), 0);
    assert_int_equal(bench_rows(&p->b, SPACE_ELEMENT_HISTORY), 0);
    assert_true(p->b.m.counters.garbage == 0);
    memory_view_inject(&p->b.m, 0, 0);
    p->b.m.base.ts = p->b.ts;
    if (kv_check(&p->b.m.base, &err) != ST_OK) fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
    for (size_t i = 0; i < p->count; i++) {
        memory_view_deinit(&p->moments[i]->rows);
        mem_free(p->moments[i]);
    }
    buf_deinit(&p->expected);
    buf_deinit(&p->got);
    bench_deinit(&p->b);
    mem_free(p);
}

static void reads_of_the_past_answer_what_was_there(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) run_seed(seed);
}

struct seen {
    struct row_tree rows;
    struct buf last;
    size_t count;
};

static bool seen_each(void *ctx, struct bytes row, struct bytes value)
{
    struct seen *s = ctx;
    assert_true(s->last.n == 0 || bytes_compare(buf_view(&s->last), row) < 0);
    assert_true(bytes_equal(value, BYTES_LIT("then")));
    assert_non_null(row_tree_find(&s->rows, row));
    buf_clear(&s->last);
    buf_put_bytes(&s->last, row);
    s->count++;
    return true;
}

/* Rows that begin others, all of them gone by now: the changes of the short ones lie among or behind those of the long ones.
 * (Only keys of one hash can be such.) Windows of every size show each once, in order. */
static void rows_that_begin_others_are_not_passed_over(void **state)
{
    static const char tails[][10] = {"", "\0", "\0\1", "\0\2", "\0\3\6", "\0\7", "\1", "\1\0\0\0\0\0\0\0", "a", "\xff"};
    static const size_t sizes[ARRAY_COUNT(tails)] = {0, 1, 2, 2, 3, 2, 1, 8, 1, 1};
    const hlc_t then = hlc_from_ms(1000000);
    struct kv_bench b;
    (void)state;
    for (int late = 0; late < 2; late++) { /* … at times that look like what comes behind, or above all of it */
        struct seen seen = {0};
        struct buf lo = {0}, hi = {0}, row = {0}, key = {0}, value = {0}, rest = {0};
        bench_init(&b, 0, SLOTS);
        history_value(&value, true, BYTES_LIT("then"));
        hlc_t ts = late ? 0xfe00000000000000 : then;
        for (size_t i = 0; i < 3 * ARRAY_COUNT(tails); i++) {
            buf_clear(&rest);
            buf_clear(&row);
            buf_put_u8(&rest, (uint8_t)('f' + i / ARRAY_COUNT(tails)));
            buf_put(&rest, tails[i % ARRAY_COUNT(tails)], sizes[i % ARRAY_COUNT(tails)]);
            row_element(&row, 1, 7, 5, buf_view(&rest));
            row_tree_put(&seen.rows, buf_view(&row), BYTES_LIT(""));
            for (int change = 0; change < 2; change++) {
                buf_clear(&key);
                history_key(&key, buf_view(&row), SPACE_ELEMENT_HISTORY, ++ts);
                row_tree_put(&b.m.rows, buf_view(&key), change == 0 ? buf_view(&value) : BYTES_LIT("\0"));
            }
        }
        row_element(&lo, 1, 7, 5, BYTES_LIT(""));
        row_element(&hi, 1, 7, 6, BYTES_LIT(""));
        for (size_t rows_max = 2; rows_max < 40; rows_max++) {
            struct op_view live = b.m.base;
            struct history_reader reader;
            live.put = NULL;
            live.del = NULL;
            buf_clear(&seen.last);
            seen.count = 0;
            history_reader_init(&reader, &live, then, ts);
            reader.rows_max = rows_max;
            assert_int_equal(reader.view.scan(reader.view.ctx, buf_view(&lo), buf_view(&hi), false, seen_each, &seen),
                             ST_OK);
            history_reader_deinit(&reader);
            assert_int_equal(seen.count, 3 * ARRAY_COUNT(tails));
        }
        row_tree_deinit(&seen.rows);
        buf_deinit(&seen.last);
        buf_deinit(&lo);
        buf_deinit(&hi);
        buf_deinit(&row);
        buf_deinit(&key);
        buf_deinit(&value);
        buf_deinit(&rest);
        bench_deinit(&b);
    }
}

/* A view that counts the rows that scans pass. */
struct counted {
    struct op_view view;
    struct op_view *base;
    uint64_t rows;
    bool (*each)(void *ctx, struct bytes row, struct bytes value);
    void *each_ctx;
};

static bool counted_each(void *ctx, struct bytes row, struct bytes value)
{
    struct counted *c = ctx;
    c->rows++;
    return c->each(c->each_ctx, row, value);
}

static enum status counted_scan(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct counted *c = ctx;
    c->each = each;
    c->each_ctx = each_ctx;
    return c->base->scan(c->base->ctx, lo, hi, reverse, counted_each, c);
}

static enum status counted_get(void *ctx, struct bytes row, struct bytes *out)
{
    struct counted *c = ctx;
    return c->base->get(c->base->ctx, row, out);
}

/* Reads b->body as of ts; the result is in b->result. */
static void read_long(struct kv_bench *b, hlc_t ts, uint16_t opcode, uint64_t rows_max)
{
    struct op op = {.semantics = OP_SEMANTICS, .opcode = opcode, .flags = OP_READ, .body = buf_view(&b->body)};
    struct counted c = {.view = b->m.base, .base = &b->m.base};
    struct history_reader reader;
    c.view.ctx = &c;
    c.view.get = c.view.get_front = counted_get;
    c.view.scan = counted_scan;
    c.view.put = NULL;
    c.view.del = NULL;
    buf_clear(&b->result);
    history_reader_init(&reader, &c.view, ts, b->ts);
    assert_int_equal(op_run(&op, &reader.view, &b->result), ST_OK);
    assert_in_range(reader.kept_max, 2, reader.rows_max + 16);
    assert_in_range(c.rows, 1, rows_max);
    history_reader_deinit(&reader);
    buf_clear(&b->body);
}

static int64_t count_of(struct kv_bench *b)
{
    struct reader in = reader_of(buf_view(&b->result));
    struct result r;
    assert_true(result_next(&in, &r));
    return r.tag == 'i' ? r.number : (int64_t)r.count;
}

/* Long histories: a collection of which every field was changed again and again, and keys that came and went. What a scan has
 * in memory does not grow with them, and it goes over them once. */
static void a_long_history_is_read_in_windows(void **state)
{
    enum { MANY = 6000, ROUNDS = 5, DAYS = 4000 };
    struct kv_bench b;
    char name[32];
    (void)state;
    bench_init(&b, 0, SLOTS);
    kv_build_retention(&b.body, 1000000, 0);
    bench_run(&b, KV_RETENTION, 0);
    hlc_t half = 0, before = b.ts;
    b.ts += hlc_from_ms(1);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MANY; i++) {
            snprintf(name, sizeof name, "f%d", i);
            bench_hset(&b, "h", name, round == ROUNDS / 2 ? "half" : "other");
        }
        if (round == ROUNDS / 2) half = b.ts - 1;
    }
    struct bytes h = BYTES_LIT("h");
    kv_build_keys(&b.body, &h, 1);
    bench_run(&b, KV_DEL, 0);
    buf_put_lp(&b.body, h);
    buf_put_u8(&b.body, KV_HASH_VALUES);
    read_long(&b, half, KV_HGETALL, 2 * ROUNDS * MANY);
    assert_int_equal(count_of(&b), MANY);
    struct reader in = reader_of(buf_view(&b.result));
    struct result r;
    assert_true(result_next(&in, &r));
    for (int i = 0; i < MANY; i++)
        assert_true(result_next(&in, &r) && r.tag == 'b' && bytes_equal(r.bytes, BYTES_LIT("half")));

    uint64_t heads = bench_rows(&b, SPACE_HISTORY);
    for (int i = 0; i < DAYS; i++) {
        snprintf(name, sizeof name, "{t}day%d", i);
        bench_set(&b, name, "yes");
        if (i == DAYS / 2) half = b.ts - 1;
        bench_del(&b, name);
        bench_set(&b, "{t}always", "one");
    }
    heads = bench_rows(&b, SPACE_HISTORY) - heads;
    assert_true(heads >= 2 * DAYS - 1);
    kv_build_key(&b.body, bytes_str("*"));
    read_long(&b, half, KV_KEYS, 2 * heads + MANY * ROUNDS);
    assert_int_equal(count_of(&b), 2);
    kv_build_key(&b.body, bytes_str("*"));
    read_long(&b, before, KV_KEYS, 2 * heads + MANY * ROUNDS);
    assert_int_equal(count_of(&b), 0);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_of_the_past_answer_what_was_there),
                                       cmocka_unit_test(rows_that_begin_others_are_not_passed_over),
                                       cmocka_unit_test(a_long_history_is_read_in_windows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
