/* kv_test.c - what key-value ops do to rows: heads, elements, garbage, expiry, history, scans, background work.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What commands answer is tested in wire/resp (data_command_test, redis_compare_test). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/mutation.h"
#include "model/kv_internal.h"
#include "model/kv_test_util.h"
#include "store/history.h"

static void check(struct kv_bench *b)
{
    struct error err = {0};
    uint64_t one_in = b->m.not_ready_one_in;
    b->m.not_ready_one_in = 0;
    b->m.base.ts = b->ts;
    if (kv_check(&b->m.base, &err) != ST_OK) fail_msg("%s", err.text);
    b->m.not_ready_one_in = one_in;
}

static const char *clean(struct kv_bench *b, uint16_t slot, uint64_t incarnation, uint32_t rows_max)
{
    kv_build_clean(&b->body, slot, incarnation, rows_max);
    return bench_run(b, KV_CLEAN, 0);
}

/* The first garbage row. */
static uint64_t garbage_of(const struct kv_bench *b, uint16_t *out_slot)
{
    struct row_parts p;
    for (const struct row_node *r = row_tree_first(&b->m.rows); r != NULL; r = row_tree_next(r)) {
        if (!row_parse(r->key, &p) || p.space != SPACE_GARBAGE) continue;
        *out_slot = p.slot;
        return p.incarnation;
    }
    return 0;
}

static void test_inline_set_is_one_row(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    assert_string_equal(bench_set(&b, "k", "v"), "OK");
    assert_int_equal(b.m.rows.count, 1);
    assert_string_equal(bench_set(&b, "k", "w"), "OK");
    assert_int_equal(b.m.rows.count, 1);
    uint64_t gets = b.m.gets, scans = b.m.scans;
    assert_string_equal(bench_get(&b, "k"), "\"w\"");
    assert_int_equal(b.m.gets, gets + 1); /* a GET is one look */
    assert_int_equal(b.m.scans, scans);
    check(&b);
    assert_string_equal(bench_del(&b, "k"), "1");
    assert_int_equal(b.m.rows.count, 0);
    check(&b);
    bench_deinit(&b);
}

static void test_deleting_a_collection_touches_only_its_head(void **state)
{
    struct kv_bench b;
    uint16_t slot;
    char field[16];
    bench_init(&b, 0, SLOTS);
    for (int i = 0; i < 10; i++) {
        snprintf(field, sizeof field, "f%d", i);
        assert_string_equal(bench_hset(&b, "h", field, "v"), "1");
    }
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), 10);
    assert_string_equal(bench_set(&b, "h", "now a string"), "OK");
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), 10);
    assert_int_equal(bench_rows(&b, SPACE_GARBAGE), 1);
    assert_int_equal(b.m.counters.garbage, 1);
    check(&b);
    /* Cleaning takes a bounded number of rows, and the garbage row last. */
    uint64_t incarnation = garbage_of(&b, &slot);
    assert_string_equal(clean(&b, slot, incarnation, 4), "1");
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), 6);
    check(&b);
    assert_string_equal(clean(&b, slot, incarnation, 6), "0");
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), 0);
    assert_int_equal(b.m.counters.garbage, 0);
    assert_string_equal(clean(&b, slot, incarnation, 4), "0"); /* proposed twice */
    assert_int_equal(b.m.rows.count, 1);
    check(&b);
    bench_deinit(&b);
}

static void test_clean_refuses_what_lives(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    bench_hset(&b, "h", "f", "v");
    struct row_parts p;
    const struct row_node *element = row_tree_next(row_tree_first(&b.m.rows));
    assert_true(row_parse(element->key, &p) && p.space == SPACE_ELEMENT);
    assert_string_equal(clean(&b, p.slot, p.incarnation, 100), "0");
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), 1);
    check(&b);
    bench_deinit(&b);
}

static void test_long_strings_cost_what_they_touch(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    bench_set_long(&b, "k", 1000000);
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), 16);
    check(&b);
    uint64_t gets = b.m.gets, scans = b.m.scans;
    kv_build_key_rest(&b.body, BYTES_LIT("k"), BYTES_LIT("tail"));
    assert_string_equal(bench_run(&b, KV_APPEND, 0), "1000004");
    assert_int_equal(b.m.gets, gets + 2); /* the head, the last piece */
    gets = b.m.gets;
    kv_build_setbit(&b.body, BYTES_LIT("k"), 8 * 500000, 1);
    assert_string_equal(bench_run(&b, KV_SETBIT, 0), "0");
    assert_int_equal(b.m.gets, gets + 3); /* the head, and one piece: to read it and to change it */
    assert_int_equal(b.m.scans, scans);
    check(&b);
    /* Far out: one piece, whatever lies between. */
    kv_build_setbit(&b.body, BYTES_LIT("far"), 4294967295, 1);
    assert_string_equal(bench_run(&b, KV_SETBIT, 0), "0");
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), 17);
    check(&b);
    bench_deinit(&b);
}

struct cost {
    uint64_t gets, scans, puts, dels, put_bytes;
};

static struct cost cost_now(const struct kv_bench *b)
{
    return (struct cost){b->m.gets, b->m.scans, b->m.puts, b->m.dels, b->m.put_bytes};
}

static struct cost cost_since(const struct kv_bench *b, struct cost a)
{
    return (struct cost){b->m.gets - a.gets, b->m.scans - a.scans, b->m.puts - a.puts, b->m.dels - a.dels,
                         b->m.put_bytes - a.put_bytes};
}

/* Appends, writes into, and sets a bit of a string of so many bytes, and deletes it; what each cost is put into `out`. */
static void cost_of_string(size_t bytes, struct cost out[4])
{
    struct kv_bench b;
    char text[32];
    bench_init(&b, 0, SLOTS);
    bench_set_long(&b, "k", bytes);
    struct cost before = cost_now(&b);
    kv_build_key_rest(&b.body, BYTES_LIT("k"), BYTES_LIT("tail"));
    snprintf(text, sizeof text, "%zu", bytes + 4);
    assert_string_equal(bench_run(&b, KV_APPEND, 0), text);
    out[0] = cost_since(&b, before);
    before = cost_now(&b);
    kv_build_setrange(&b.body, BYTES_LIT("k"), bytes / 2 - 50,
                      BYTES_LIT("in the middle, over the edge of two pieces, if there is one there"));
    assert_string_equal(bench_run(&b, KV_SETRANGE, 0), text);
    out[1] = cost_since(&b, before);
    before = cost_now(&b);
    kv_build_setbit(&b.body, BYTES_LIT("k"), 8 * (bytes / 4) + 3, 1);
    bench_run(&b, KV_SETBIT, 0);
    out[2] = cost_since(&b, before);
    before = cost_now(&b);
    assert_string_equal(bench_del(&b, "k"), "1");
    out[3] = cost_since(&b, before);
    bench_deinit(&b);
}

/* The same operations cost the same on 1 MiB and on 64 MiB: by rows read and written, and bytes written. */
static void test_costs_do_not_grow_with_a_string(void **state)
{
    static const struct cost most[] = {
        {3, 0, 2, 0, 70000}, {5, 0, 3, 0, 140000}, {4, 0, 2, 0, 70000}, {2, 0, 1, 1, 100}};
    struct cost small[4], large[4];
    cost_of_string(1 << 20, small);
    cost_of_string(64 << 20, large);
    for (size_t i = 0; i < ARRAY_COUNT(most); i++) {
        if (small[i].gets != large[i].gets || small[i].scans != large[i].scans || small[i].puts != large[i].puts ||
            small[i].dels != large[i].dels || large[i].put_bytes > small[i].put_bytes + 16)
            fail_msg("operation %zu: %u gets, %u puts, %u bytes on 1 MiB, %u, %u, %u on 64 MiB", i,
                     (unsigned)small[i].gets, (unsigned)small[i].puts, (unsigned)small[i].put_bytes,
                     (unsigned)large[i].gets, (unsigned)large[i].puts, (unsigned)large[i].put_bytes);
        if (large[i].gets > most[i].gets || large[i].scans > most[i].scans || large[i].puts > most[i].puts ||
            large[i].dels > most[i].dels || large[i].put_bytes > most[i].put_bytes)
            fail_msg("operation %zu: %u gets, %u scans, %u puts, %u dels, %u bytes", i, (unsigned)large[i].gets,
                     (unsigned)large[i].scans, (unsigned)large[i].puts, (unsigned)large[i].dels,
                     (unsigned)large[i].put_bytes);
    }
}

static struct cost cost_of_deleting_a_hash(int fields)
{
    struct kv_bench b;
    char field[16];
    bench_init(&b, 0, SLOTS);
    for (int i = 0; i < fields; i++) {
        snprintf(field, sizeof field, "f%d", i);
        bench_hset(&b, "h", field, "v");
    }
    struct cost before = cost_now(&b);
    assert_string_equal(bench_del(&b, "h"), "1");
    struct cost cost = cost_since(&b, before);
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), fields); /* cleaned later, some at a time */
    bench_deinit(&b);
    return cost;
}

static void test_deleting_a_hash_costs_the_same_whatever_its_size(void **state)
{
    struct cost small = cost_of_deleting_a_hash(3), large = cost_of_deleting_a_hash(20000);
    assert_memory_equal(&small, &large, sizeof small);
    assert_true(large.gets <= 2 && large.scans == 0 && large.puts <= 1 && large.dels <= 1);
}

static void test_expiry_by_log_time(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    bench_set_until(&b, "k", "v", 2000000);
    assert_int_equal(bench_rows(&b, SPACE_EXPIRY), 1);
    bench_to_ms(&b, 1999999);
    assert_string_equal(bench_get(&b, "k"), "\"v\"");
    bench_to_ms(&b, 2000000);
    assert_string_equal(bench_get(&b, "k"), "nil"); /* a read does not delete */
    assert_int_equal(b.m.rows.count, 2);
    assert_string_equal(bench_key_op(&b, KV_DBSIZE, OP_READ, ""), "1");
    /* The first write that meets it does. */
    kv_build_key_i64(&b.body, BYTES_LIT("k"), 1);
    assert_string_equal(bench_run(&b, KV_INCR, 0), "1");
    assert_int_equal(b.m.rows.count, 1);
    assert_int_equal(b.m.counters.expires, 0);
    check(&b);
    bench_set_until(&b, "k", "v", 2000000); /* in the past: it is gone at once */
    assert_int_equal(b.m.rows.count, 0);
    check(&b);
    bench_deinit(&b);
}

static void test_changing_an_expiry_moves_its_row(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    bench_set_until(&b, "k", "v", 2000000);
    kv_build_expire(&b.body, BYTES_LIT("k"), 0, (struct kv_when){KV_WHEN_RELATIVE, 5000});
    assert_string_equal(bench_run(&b, KV_EXPIRE, 0), "1");
    assert_int_equal(bench_rows(&b, SPACE_EXPIRY), 1);
    kv_build_key_u8(&b.body, BYTES_LIT("k"), KV_TTL_AT_MS);
    assert_string_equal(bench_run(&b, KV_TTL, OP_READ), "1005000");
    check(&b);
    kv_build_two(&b.body, BYTES_LIT("{k}"), BYTES_LIT("k")); /* RENAME of an absent key */
    assert_string_equal(bench_run(&b, KV_RENAME, 0), "-ERR no such key");
    kv_build_two(&b.body, BYTES_LIT("k"), BYTES_LIT("{k}"));
    assert_string_equal(bench_run(&b, KV_RENAME, 0), "OK");
    assert_int_equal(bench_rows(&b, SPACE_EXPIRY), 1);
    check(&b);
    assert_string_equal(bench_key_op(&b, KV_PERSIST, 0, "{k}"), "1");
    assert_int_equal(bench_rows(&b, SPACE_EXPIRY), 0);
    check(&b);
    bench_deinit(&b);
}

static void test_sweep(void **state)
{
    struct kv_bench b;
    char key[16];
    uint16_t slots[3] = {key_slot(BYTES_LIT("{a}")), key_slot(BYTES_LIT("{b}")), key_slot(BYTES_LIT("{c}"))};
    bench_init(&b, 0, SLOTS);
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "{%c}%d", 'a' + i % 3, i);
        bench_set_until(&b, key, "v", 2000000 + i);
    }
    bench_hset(&b, "{a}h", "f", "v");
    kv_build_expire(&b.body, BYTES_LIT("{a}h"), 0, (struct kv_when){KV_WHEN_ABSOLUTE, 2000001});
    bench_run(&b, KV_EXPIRE, 0);
    bench_to_ms(&b, 2000014); /* 0 … 14 of them, and the hash */
    kv_build_find(&b.body, 0, 100);
    assert_string_equal(bench_run(&b, KV_EXPIRED_FIND, OP_READ), "[-1 [3300 7365 15495]]");
    kv_build_find(&b.body, 0, 1);
    assert_string_equal(bench_run(&b, KV_EXPIRED_FIND, OP_READ), "[3301 [3300]]");
    kv_build_find(&b.body, 3301, 1);
    assert_string_equal(bench_run(&b, KV_EXPIRED_FIND, OP_READ), "[7366 [7365]]");
    kv_build_find(&b.body, 15496, 5);
    assert_string_equal(bench_run(&b, KV_EXPIRED_FIND, OP_READ), "[-1 []]");
    kv_build_expire_sweep(&b.body, slots, 3, 7);
    assert_string_equal(bench_run(&b, KV_EXPIRE_SWEEP, 0), "[7 1]");
    check(&b);
    kv_build_expire_sweep(&b.body, slots, 3, 100);
    assert_string_equal(bench_run(&b, KV_EXPIRE_SWEEP, 0), "[9 0]");
    assert_int_equal(b.m.counters.keys, 15);
    assert_int_equal(b.m.counters.garbage, 1);
    check(&b);
    kv_build_find(&b.body, 0, 100);
    assert_string_equal(bench_run(&b, KV_EXPIRED_FIND, OP_READ), "[-1 []]");
    bench_deinit(&b);
}

static void test_garbage_find(void **state)
{
    struct kv_bench b;
    char key[16];
    bench_init(&b, 0, SLOTS);
    for (int i = 0; i < 5; i++) {
        snprintf(key, sizeof key, "{%c}h", 'a' + i % 2);
        bench_hset(&b, key, "f", "v");
        bench_set_until(&b, "{a}s", "v", 9000000 + i);
        bench_del(&b, key);
    }
    size_t found = 0, rounds = 0;
    int64_t slot = 0;
    while (slot >= 0 && rounds++ < 20) {
        struct result head, next, list, v;
        kv_build_find(&b.body, (uint16_t)slot, 2);
        bench_run(&b, KV_GARBAGE_FIND, OP_READ);
        struct buf answer = {0};
        buf_put_bytes(&answer, buf_view(&b.result));
        struct reader r = reader_of(buf_view(&answer));
        assert_true(result_next(&r, &head) && result_next(&r, &next) && result_next(&r, &list));
        for (uint64_t i = 0; i < list.count / 2; i++) {
            struct result incarnation;
            assert_true(result_next(&r, &v) && result_next(&r, &incarnation));
            assert_string_equal(clean(&b, (uint16_t)v.number, (uint64_t)incarnation.number, 10), "0");
            found++;
        }
        slot = next.number;
        buf_deinit(&answer);
    }
    assert_int_equal(found, 5);
    assert_int_equal(b.m.counters.garbage, 0);
    check(&b);
    bench_deinit(&b);
}

/* Every key that is there all the time is seen by a pass of SCAN, whatever else comes and goes; its cursor walks over the
 * partitions. */
static void scan_pass(uint32_t parts, uint64_t count, struct rng *rng)
{
    struct kv_bench b;
    char key[24];
    bool seen[300] = {0};
    bench_init(&b, 0, SLOTS);
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "stay%d", i);
        if (i % 3) bench_set(&b, key, "v");
        else bench_hset(&b, key, "f", "v");
    }
    uint64_t cursor = 0, rounds = 0;
    do {
        uint32_t part = (uint32_t)(cursor >> 48) / (SLOTS / parts);
        b.m.base.slot_lo = part * (SLOTS / parts);
        b.m.base.slot_hi = b.m.base.slot_lo + SLOTS / parts;
        kv_build_scan(&b.body, cursor, count, KV_NONE, BYTES_LIT("*"));
        bench_run(&b, KV_SCAN, OP_READ);
        struct reader r = reader_of(buf_view(&b.result));
        struct result head, next, list, v;
        assert_true(result_next(&r, &head) && result_next(&r, &next) && result_next(&r, &list));
        for (uint64_t i = 0; i < list.count; i++) {
            int number;
            assert_true(result_next(&r, &v) && v.tag == 'b');
            snprintf(key, sizeof key, "%.*s", (int)v.bytes.n, (const char *)v.bytes.p);
            if (sscanf(key, "stay%d", &number) == 1) seen[number] = true;
        }
        assert_true(bytes_to_u64(next.bytes, &cursor));
        assert_true(cursor < 1ull << 62);
        b.m.base.slot_lo = 0;
        b.m.base.slot_hi = SLOTS;
        snprintf(key, sizeof key, "go%d", (int)rng_below(rng, 50));
        if (rng_chance(rng, 2)) bench_set(&b, key, "v");
        else bench_del(&b, key);
        rounds++;
        assert_true(rounds < 10000);
    } while (cursor != 0);
    for (int i = 0; i < 300; i++) assert_true(seen[i]);
    check(&b);
    bench_deinit(&b);
}

static void test_scan_sees_what_stays(void **state)
{
    struct rng rng;
    rng_init(&rng, 7);
    scan_pass(1, 10, &rng);
    scan_pass(4, 1, &rng);
    scan_pass(16, 50, &rng);
}

static void test_scan_keeps_equal_hashes_together(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    /* No keys of one hash are at hand, so their heads are put by hand: SCAN looks at rows only. */
    for (int i = 0; i < 5; i++) {
        struct buf row = {0}, value = {0};
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        row_head_at(&row, 1, 77, 1234, bytes_str(key));
        buf_put_u8(&value, KV_STRING);
        buf_put_u8(&value, 0);
        buf_put_u64(&value, 1);
        row_tree_put(&b.m.rows, buf_view(&row), buf_view(&value));
        buf_deinit(&row);
        buf_deinit(&value);
    }
    kv_build_scan(&b.body, 0, 2, KV_NONE, BYTES_LIT("*"));
    assert_string_equal(bench_run(&b, KV_SCAN, OP_READ), "[\"0\" [\"k0\" \"k1\" \"k2\" \"k3\" \"k4\"]]");
    bench_deinit(&b);
}

static void test_hscan_sees_all(void **state)
{
    struct kv_bench b;
    char field[16];
    bool seen[500] = {0};
    bench_init(&b, 0, SLOTS);
    for (int i = 0; i < 500; i++) {
        snprintf(field, sizeof field, "%d", i);
        bench_hset(&b, "h", field, "v");
    }
    uint64_t cursor = 0, rounds = 0;
    do {
        kv_build_hscan(&b.body, BYTES_LIT("h"), cursor, 7, BYTES_LIT("*"));
        bench_run(&b, KV_HSCAN, OP_READ);
        struct reader r = reader_of(buf_view(&b.result));
        struct result head, next, list, v, value;
        assert_true(result_next(&r, &head) && result_next(&r, &next) && result_next(&r, &list));
        assert_true(list.count <= 14);
        for (uint64_t i = 0; i < list.count / 2; i++) {
            uint64_t number;
            assert_true(result_next(&r, &v) && result_next(&r, &value));
            assert_true(bytes_to_u64(v.bytes, &number) && number < 500);
            assert_false(seen[number]); /* nothing changes: each once */
            seen[number] = true;
        }
        assert_true(bytes_to_u64(next.bytes, &cursor));
        rounds++;
    } while (cursor != 0);
    assert_int_equal(rounds, 72);
    for (int i = 0; i < 500; i++) assert_true(seen[i]);
    bench_deinit(&b);
}

static void test_flush_in_parts(void **state)
{
    struct kv_bench b;
    char key[16];
    bench_init(&b, 0, SLOTS);
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "k%d", i);
        if (i % 2) bench_set_until(&b, key, "v", 9000000);
        else bench_hset(&b, key, "f", "v");
    }
    int64_t cursor = 0;
    int rounds = 0;
    while (cursor >= 0) {
        kv_build_flush(&b.body, (uint64_t)cursor, 8);
        assert_int_equal(sscanf(bench_run(&b, KV_FLUSH, 0), "%ld", &cursor), 1);
        check(&b);
        rounds++;
    }
    assert_int_equal(rounds, 7);
    assert_int_equal(b.m.counters.keys, 0);
    assert_int_equal(bench_rows(&b, SPACE_HEAD), 0);
    assert_int_equal(bench_rows(&b, SPACE_EXPIRY), 0);
    assert_int_equal(bench_rows(&b, SPACE_GARBAGE), 25); /* cleaned in the background */
    bench_deinit(&b);
}

static void test_incarnations_differ_within_an_op(void **state)
{
    struct kv_bench b;
    struct buf ops = {0}, one = {0};
    bench_init(&b, 0, SLOTS);
    struct bytes pair[2] = {BYTES_LIT("f"), BYTES_LIT("v")};
    static const char *const keys[] = {"{t}a", "{t}b", "{t}c"};
    for (size_t i = 0; i < 3; i++) {
        kv_build_hset(&one, bytes_str(keys[i]), pair, 1);
        kv_build_multi_op(&ops, KV_HSET, 0, buf_view(&one));
        buf_clear(&one);
    }
    kv_build_multi(&b.body, NULL, 0, 3);
    buf_put_bytes(&b.body, buf_view(&ops));
    assert_string_equal(bench_run(&b, KV_MULTI, 0), "[1 1 1]");
    check(&b); /* two owners of an incarnation would be found */
    bench_hset(&b, "{t}d", "f", "v");
    check(&b);
    buf_deinit(&ops);
    buf_deinit(&one);
    bench_deinit(&b);
}

static void test_history(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    bench_set(&b, "k", "zero");
    hlc_t begun = b.ts;
    kv_build_retention(&b.body, 1000, 0);
    bench_run(&b, KV_RETENTION, 0);
    assert_true(b.m.counters.retention_ms == 1000 && b.m.counters.watermark == begun);
    hlc_t first = b.ts;
    bench_set(&b, "k", "one");
    hlc_t second = b.ts;
    bench_del(&b, "k");
    assert_int_equal(bench_rows(&b, SPACE_HISTORY), 2);
    /* Oldest first; each under the time at which it was superseded. */
    struct row_parts p;
    const struct row_node *r = row_tree_first(&b.m.rows);
    const char *values[] = {"zero", "one"};
    hlc_t ended[] = {first, second};
    for (int i = 0; i < 2; i++, r = row_tree_next(r)) {
        struct kv_head h;
        struct bytes old;
        bool present;
        assert_true(row_parse(r->key, &p) && p.space == SPACE_HISTORY);
        assert_true(get_be64(p.rest.p + p.rest.n - 8) == ended[i]);
        assert_true(history_value_decode(r->value, &present, &old) && present);
        assert_true(kv_head_decode(old, &h));
        assert_true(bytes_equal(h.text, bytes_str(values[i])));
    }
    assert_null(r);
    /* The watermark, not who proposes it, says what may go; and it is not raised above the op's own time. */
    struct bytes rows[2] = {row_tree_first(&b.m.rows)->key, row_tree_next(row_tree_first(&b.m.rows))->key};
    kv_build_keys(&b.body, rows, 2);
    assert_string_equal(bench_run(&b, KV_HISTORY_DROP, 0), "0");
    kv_build_retention(&b.body, 1000, first);
    bench_run(&b, KV_RETENTION, 0);
    kv_build_history_find(&b.body, BYTES_LIT(""), 100, 100);
    bench_run(&b, KV_HISTORY_FIND, OP_READ);
    kv_build_keys(&b.body, rows, 2);
    assert_string_equal(bench_run(&b, KV_HISTORY_DROP, 0), "1");
    assert_int_equal(bench_rows(&b, SPACE_HISTORY), 1);
    hlc_t now = b.ts;
    kv_build_retention(&b.body, 1000, UINT64_MAX);
    bench_run(&b, KV_RETENTION, 0);
    assert_true(b.m.counters.watermark == now);
    hlc_t end = b.ts;
    kv_build_retention(&b.body, 0, 0);
    bench_run(&b, KV_RETENTION, 0);
    assert_true(b.m.counters.watermark == end && b.m.counters.retention_ms == 0);
    bench_deinit(&b);
}

static void test_elements_that_the_past_needs_are_not_cleaned(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    kv_build_retention(&b.body, 1000, 0);
    bench_run(&b, KV_RETENTION, 0);
    hlc_t made = b.ts;
    bench_hset(&b, "h", "f", "v");
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT_HISTORY), 0); /* of a new incarnation nothing was there before */
    bench_hset(&b, "h", "f", "w");
    bench_hset(&b, "h", "g", "w");
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT_HISTORY), 2); /* what f was; that g was not */
    hlc_t died = b.ts;
    bench_del(&b, "h");
    kv_build_find(&b.body, 0, 10);
    assert_string_equal(bench_run(&b, KV_GARBAGE_FIND, OP_READ), "[-1 []]");
    kv_build_clean(&b.body, key_slot(BYTES_LIT("h")), made, 10);
    assert_string_equal(bench_run(&b, KV_CLEAN, 0), "2");
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), 2);
    kv_build_retention(&b.body, 1000, died);
    bench_run(&b, KV_RETENTION, 0);
    kv_build_clean(&b.body, key_slot(BYTES_LIT("h")), made, 10);
    assert_string_equal(bench_run(&b, KV_CLEAN, 0), "0");
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT), 0);
    assert_int_equal(bench_rows(&b, SPACE_ELEMENT_HISTORY), 2); /* cleaning leaves none behind, nor does it take it */
    bench_deinit(&b);
}

static void test_counters_are_as_before_when_nothing_was_decided(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    memory_view_inject(&b.m, 2, 5);
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i % 20);
        if (i % 3 == 0) bench_hset(&b, key, "f", "v");
        else if (i % 3 == 1) bench_del(&b, key);
        else bench_set_long(&b, key, 70000);
    }
    assert_true(b.m.not_ready_count > 100);
    check(&b);
    bench_deinit(&b);
}

static void test_glob(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"", "", true},
        {"*", "", true},
        {"", "a", false},
        {"a*c", "abbc", true},
        {"a*c", "abcd", false},
        {"*a*a*", "aa", true},
        {"*a*a*", "a", false},
        {"?", "", false},
        {"[abc]", "b", true},
        {"[^abc]", "b", false},
        {"[a-c]", "b", true},
        {"[c-a]", "b", true},
        {"[a-", "a", true},
        {"[a-", "-", true},
        {"[", "[", false},
        {"[]", "]", false},
        {"[^]", "x", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\", "\\", true},
        {"[\\]]", "]", true},
        {"a[", "a", false},
        {"**", "x", true},
        {"[a-]z", "az", false},
        {"*[0-9]x", "a1b2x", true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (kv_glob(bytes_str(rows[i].pattern), bytes_str(rows[i].text)) != rows[i].match)
            fail_msg("%s on %s", rows[i].pattern, rows[i].text);
    /* What takes an exponential matcher forever. */
    struct buf pattern = {0}, text = {0};
    for (int i = 0; i < 50; i++) buf_put(&pattern, "a*", 2);
    buf_put_u8(&pattern, 'b');
    memset(buf_extend(&text, 10000), 'a', 10000);
    assert_false(kv_glob(buf_view(&pattern), buf_view(&text)));
    buf_deinit(&pattern);
    buf_deinit(&text);
}

static void test_limits(void **state)
{
    struct kv_bench b;
    struct buf key = {0};
    bench_init(&b, 0, SLOTS);
    memset(buf_extend(&key, KV_KEY_MAX + 1), 'k', KV_KEY_MAX + 1);
    kv_build_set(&b.body, buf_view(&key), 0, (struct kv_when){0}, BYTES_LIT("v"));
    assert_string_equal(bench_run(&b, KV_SET, 0), "-ERR a key is longer than 65535 bytes");
    struct bytes pair[2] = {buf_view(&key), BYTES_LIT("v")};
    kv_build_hset(&b.body, BYTES_LIT("h"), pair, 1);
    assert_string_equal(bench_run(&b, KV_HSET, 0), "-ERR a field is longer than 65535 bytes");
    key.n--;
    kv_build_set(&b.body, buf_view(&key), 0, (struct kv_when){0}, BYTES_LIT("v"));
    assert_string_equal(bench_run(&b, KV_SET, 0), "OK");
    kv_build_key(&b.body, buf_view(&key));
    assert_string_equal(bench_run(&b, KV_GET, OP_READ), "\"v\"");
    kv_build_key_rest(&b.body, BYTES_LIT("far"), BYTES_LIT("xy"));
    bench_run(&b, KV_APPEND, 0);
    kv_build_setrange(&b.body, BYTES_LIT("far"), KV_STRING_MAX - 2, BYTES_LIT("xy"));
    assert_string_equal(bench_run(&b, KV_SETRANGE, 0), "536870912");
    kv_build_key_rest(&b.body, BYTES_LIT("far"), BYTES_LIT("z"));
    assert_string_equal(bench_run(&b, KV_APPEND, 0), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    check(&b);
    buf_deinit(&key);
    bench_deinit(&b);
}

static void test_randomkey_and_hrandfield_reach_all(void **state)
{
    struct kv_bench b;
    struct rng rng;
    char key[16];
    bool keys[8] = {0}, fields[8] = {0};
    rng_init(&rng, 3);
    bench_init(&b, 0, SLOTS);
    for (int i = 0; i < 8; i++) {
        snprintf(key, sizeof key, "%d", i);
        bench_hset(&b, key, "f", "v");
        bench_hset(&b, "0", key, "v");
    }
    for (int i = 0; i < 2000; i++) {
        int n;
        buf_put_u64(&b.body, rng_next(&rng));
        assert_int_equal(sscanf(bench_run(&b, KV_RANDOMKEY, OP_READ), "\"%d\"", &n), 1);
        keys[n] = true;
        kv_build_hrandfield(&b.body, BYTES_LIT("0"), rng_next(&rng), 0, 0);
        if (sscanf(bench_run(&b, KV_HRANDFIELD, OP_READ), "\"%d\"", &n) == 1) fields[n] = true;
    }
    for (int i = 0; i < 8; i++) assert_true(keys[i] && fields[i]);
    /* With a count, each set once. */
    for (int count = 1; count <= 9; count++) {
        kv_build_hrandfield(&b.body, BYTES_LIT("0"), rng_next(&rng), KV_RAND_COUNT, count);
        bench_run(&b, KV_HRANDFIELD, OP_READ);
        struct reader r = reader_of(buf_view(&b.result));
        struct result list, v[9];
        assert_true(result_next(&r, &list) && list.count == (uint64_t)count);
        for (int i = 0; i < count; i++) {
            assert_true(result_next(&r, &v[i]));
            for (int k = 0; k < i; k++) assert_false(bytes_equal(v[i].bytes, v[k].bytes));
        }
    }
    bench_deinit(&b);
}

/* ---- scenarios that a planted bug must break ---- */

static bool watch_holds(void)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    bench_set(&b, "k", "1");
    struct kv_watch watch = {BYTES_LIT("k"), b.ts - 1};
    kv_build_multi(&b.body, &watch, 1, 0);
    bool ok = strcmp(bench_run(&b, KV_MULTI, 0), "[]") == 0;
    bench_set(&b, "k", "2");
    kv_build_multi(&b.body, &watch, 1, 0);
    ok = strcmp(bench_run(&b, KV_MULTI, 0), "nil-array") == 0 && ok;
    watch = (struct kv_watch){BYTES_LIT("absent"), 0};
    kv_build_multi(&b.body, &watch, 1, 0);
    ok = strcmp(bench_run(&b, KV_MULTI, 0), "[]") == 0 && ok;
    bench_deinit(&b);
    return ok;
}

static bool expiry_holds(void)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    bench_set_until(&b, "k", "v", 2000000);
    bench_to_ms(&b, 2000001);
    bool ok = strcmp(bench_get(&b, "k"), "nil") == 0;
    bench_deinit(&b);
    return ok;
}

static bool clean_holds(void)
{
    struct kv_bench b;
    uint16_t slot = 0;
    bench_init(&b, 0, SLOTS);
    bench_hset(&b, "{t}dead", "f", "v");
    bench_del(&b, "{t}dead");
    bench_hset(&b, "{t}live", "f", "v");
    uint64_t incarnation = garbage_of(&b, &slot);
    clean(&b, slot, incarnation, 100);
    b.m.base.ts = b.ts;
    bool ok = kv_check(&b.m.base, NULL) == ST_OK;
    bench_deinit(&b);
    return ok;
}

static void test_scenarios(void **state)
{
    static const struct {
        const char *mutation;
        bool (*holds)(void);
    } rows[] = {
        {"watch_ignored", watch_holds},
        {"expired_key_served", expiry_holds},
        {"clean_wrong_incarnation", clean_holds},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_true(rows[i].holds());
#ifdef CAIRN_MUTATIONS
        mutation_set(rows[i].mutation);
        if (rows[i].holds()) fail_msg("the planted bug %s is not found", rows[i].mutation);
        mutation_set(NULL);
#endif
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inline_set_is_one_row),
        cmocka_unit_test(test_deleting_a_collection_touches_only_its_head),
        cmocka_unit_test(test_clean_refuses_what_lives),
        cmocka_unit_test(test_long_strings_cost_what_they_touch),
        cmocka_unit_test(test_costs_do_not_grow_with_a_string),
        cmocka_unit_test(test_deleting_a_hash_costs_the_same_whatever_its_size),
        cmocka_unit_test(test_expiry_by_log_time),
        cmocka_unit_test(test_changing_an_expiry_moves_its_row),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_garbage_find),
        cmocka_unit_test(test_scan_sees_what_stays),
        cmocka_unit_test(test_scan_keeps_equal_hashes_together),
        cmocka_unit_test(test_hscan_sees_all),
        cmocka_unit_test(test_flush_in_parts),
        cmocka_unit_test(test_incarnations_differ_within_an_op),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_elements_that_the_past_needs_are_not_cleaned),
        cmocka_unit_test(test_counters_are_as_before_when_nothing_was_decided),
        cmocka_unit_test(test_glob),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_randomkey_and_hrandfield_reach_all),
        cmocka_unit_test(test_scenarios),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
