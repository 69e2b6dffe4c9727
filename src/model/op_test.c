/* op_test.c - ops come back as they were encoded; write sets apply only to what they were computed from.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/kv_test_util.h"

static void test_encoding(void **state)
{
    static const struct op ops[] = {
        {.semantics = 1, .opcode = KV_GET, .flags = OP_READ, .body = {(const uint8_t *)"key", 3}},
        {.semantics = 1, .opcode = KV_SET, .flags = OP_HAS_ID, .session = 5, .sequence = 6, .resolved = 7},
        {.semantics = 200,
         .opcode = 0xffff,
         .flags = OP_HAS_ID | OP_EVALUATE,
         .session = UINT64_MAX,
         .body = {(const uint8_t *)"", 0}},
        {.semantics = 1,
         .opcode = OPCODE_KV + 1,
         .flags = OP_HAS_ID | OP_SINCE,
         .session = 7,
         .since = UINT64_MAX - 1,
         .body = {(const uint8_t *)"x", 1}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(ops); i++) {
        struct buf b = {0};
        struct op out;
        op_encode(&ops[i], &b);
        assert_true(op_decode(buf_view(&b), &out));
        assert_int_equal(out.semantics, ops[i].semantics);
        assert_int_equal(out.opcode, ops[i].opcode);
        assert_int_equal(out.flags, ops[i].flags);
        assert_true(out.session == ops[i].session && out.sequence == ops[i].sequence &&
                    out.resolved == ops[i].resolved);
        assert_true(bytes_equal(out.body, ops[i].body));
        assert_true(out.since == ops[i].since);
        size_t header = (ops[i].flags & OP_HAS_ID ? 28 : 4) + (ops[i].flags & OP_SINCE ? 8 : 0);
        for (size_t n = 0; n < header; n++) assert_false(op_decode(bytes_of(b.p, n), &out));
        buf_deinit(&b);
    }
    struct op out;
    assert_false(op_decode(BYTES_LIT("\x00\x01\x01\x00"), &out));                 /* semantics 0 */
    assert_false(op_decode(BYTES_LIT("\x01\x01\x01\x10"), &out));                 /* an unknown flag */
    assert_false(op_decode(BYTES_LIT("\x01\x01\x01\x08\0\0\0\0\0\0\0\0"), &out)); /* since, but no id */
    assert_false(op_decode(BYTES_LIT("\x01\x01\x01\x06"), &out));                 /* a read can't be evaluated */
}

static void test_unknown_ops_stop(void **state)
{
    struct kv_bench b;
    bench_init(&b, 0, SLOTS);
    assert_string_equal(bench_run(&b, KV_OPCODE_END, 0), "status version");
    assert_string_equal(bench_run(&b, OPCODE_KV, 0), "status version");
    assert_string_equal(bench_run(&b, 0x7f01, 0), "status version");
    struct op future = {.semantics = OP_SEMANTICS + 1, .opcode = KV_GET, .flags = OP_READ, .body = BYTES_LIT("k")};
    assert_int_equal(memory_view_run(&b.m, &future, b.ts, &b.result), ST_VERSION);
    bench_deinit(&b);
}

static void test_keys_of_other_partitions(void **state)
{
    struct kv_bench b;
    bench_init(&b, 12182, 12183); /* foo's slot alone */
    assert_string_equal(bench_set(&b, "foo", "1"), "OK");
    assert_string_equal(bench_set(&b, "bar", "1"), "status stale");
    assert_string_equal(bench_get(&b, "bar"), "status stale");
    /* The first key is here, the second is not: nothing is written. */
    struct bytes pairs[4] = {BYTES_LIT("foo"), BYTES_LIT("2"), BYTES_LIT("bar"), BYTES_LIT("2")};
    struct op op = {.semantics = OP_SEMANTICS, .opcode = KV_MSET};
    struct op_overlay o;
    kv_build_pairs(&b.body, pairs, 2);
    op.body = buf_view(&b.body);
    b.m.base.ts = b.ts;
    op_overlay_init(&o, &b.m.base);
    assert_int_equal(op_run(&op, &o.view, &b.result), ST_STALE);
    assert_int_equal(o.writes.count, 0);
    op_overlay_deinit(&o);
    buf_clear(&b.body);
    struct bytes keys[2] = {BYTES_LIT("foo"), BYTES_LIT("bar")};
    kv_build_keys(&b.body, keys, 2);
    assert_string_equal(bench_run(&b, KV_DEL, 0), "status stale");
    assert_string_equal(bench_get(&b, "foo"), "\"1\"");
    bench_deinit(&b);
}

static void evaluate(struct kv_bench *b, uint16_t opcode, struct buf *out_op)
{
    struct op op = {.semantics = OP_SEMANTICS,
                    .opcode = opcode,
                    .flags = OP_EVALUATE | OP_HAS_ID,
                    .session = 3,
                    .sequence = 4,
                    .resolved = 2,
                    .body = buf_view(&b->body)};
    b->m.base.ts = b->ts;
    buf_clear(out_op);
    buf_clear(&b->result);
    uint64_t before = memory_view_hash(&b->m);
    assert_int_equal(op_evaluate(&op, &b->m.base, out_op, &b->result), ST_OK);
    assert_true(memory_view_hash(&b->m) == before); /* the applied state is not touched */
    buf_clear(&b->body);
}

static const char *apply(struct kv_bench *b, const struct buf *encoded)
{
    struct op op;
    assert_true(op_decode(buf_view(encoded), &op));
    assert_int_equal(op.opcode, OPCODE_WRITE_SET);
    assert_int_equal(op.flags, OP_HAS_ID);
    assert_true(op.session == 3 && op.sequence == 4 && op.resolved == 2);
    buf_put_bytes(&b->body, op.body);
    return bench_run(b, OPCODE_WRITE_SET, 0);
}

static void incr_float(struct kv_bench *b, const char *key, const char *by)
{
    kv_build_key_rest(&b->body, bytes_str(key), bytes_str(by));
}

static void test_write_set_applies_if_unchanged(void **state)
{
    struct kv_bench b;
    struct buf op = {0};
    bench_init(&b, 0, SLOTS);
    bench_set_until(&b, "k", "1.5", 9000000);
    incr_float(&b, "k", "0.25");
    evaluate(&b, KV_INCR_FLOAT, &op);
    bench_set(&b, "other", "x");
    assert_string_equal(apply(&b, &op), "\"1.75\"");
    assert_string_equal(bench_get(&b, "k"), "\"1.75\"");
    /* Twice: its version is another now. */
    assert_string_equal(apply(&b, &op), "conflict");
    assert_string_equal(bench_get(&b, "k"), "\"1.75\"");
    /* The expiry stayed. */
    kv_build_key_u8(&b.body, BYTES_LIT("k"), KV_TTL_AT_MS);
    assert_string_equal(bench_run(&b, KV_TTL, OP_READ), "9000000");
    buf_deinit(&op);
    bench_deinit(&b);
}

static void test_write_set_conflicts(void **state)
{
    struct kv_bench b;
    struct buf op = {0};
    bench_init(&b, 0, SLOTS);
    bench_set(&b, "k", "1");
    incr_float(&b, "k", "1");
    evaluate(&b, KV_INCR_FLOAT, &op);
    bench_set(&b, "k", "1"); /* the same value, but another version */
    assert_string_equal(apply(&b, &op), "conflict");
    incr_float(&b, "new", "1");
    evaluate(&b, KV_INCR_FLOAT, &op);
    bench_set(&b, "new", "5"); /* was absent */
    assert_string_equal(apply(&b, &op), "conflict");
    assert_string_equal(bench_get(&b, "new"), "\"5\"");
    /* It expired between evaluation and apply. */
    bench_set_until(&b, "e", "1", 2000000);
    incr_float(&b, "e", "1");
    evaluate(&b, KV_INCR_FLOAT, &op);
    bench_to_ms(&b, 2000000);
    assert_string_equal(apply(&b, &op), "conflict");
    /* And one that had expired at evaluation still has at apply. */
    incr_float(&b, "e", "1");
    evaluate(&b, KV_INCR_FLOAT, &op);
    assert_string_equal(apply(&b, &op), "\"1\"");
    buf_deinit(&op);
    bench_deinit(&b);
}

static void test_evaluation_without_effect(void **state)
{
    struct kv_bench b;
    struct buf op = {0};
    bench_init(&b, 0, SLOTS);
    bench_set(&b, "k", "abc");
    incr_float(&b, "k", "1");
    evaluate(&b, KV_INCR_FLOAT, &op);
    assert_int_equal(op.n, 0);
    buf_put_u8(&b.result, 0);
    assert_string_equal((char *)b.result.p + 2, "ERR value is not a valid float");
    buf_deinit(&op);
    bench_deinit(&b);
}

static void multi_op(struct buf *ops, uint16_t opcode, uint8_t flags, struct buf *body)
{
    kv_build_multi_op(ops, opcode, flags, buf_view(body));
    buf_clear(body);
}

static void test_multi_is_evaluated_whole(void **state)
{
    struct kv_bench b;
    struct buf op = {0}, ops = {0}, one = {0};
    bench_init(&b, 0, SLOTS);
    bench_set(&b, "{t}a", "1");
    /* COPY a b; INCRBYFLOAT b 0.5; INCRBYFLOAT b x; INCR a: b's value hangs on a's. */
    kv_build_copy(&one, BYTES_LIT("{t}a"), BYTES_LIT("{t}b"), true);
    multi_op(&ops, KV_COPY, 0, &one);
    kv_build_key_rest(&one, BYTES_LIT("{t}b"), BYTES_LIT("0.5"));
    multi_op(&ops, KV_INCR_FLOAT, OP_EVALUATE, &one);
    kv_build_key_rest(&one, BYTES_LIT("{t}b"), BYTES_LIT("x"));
    multi_op(&ops, KV_INCR_FLOAT, OP_EVALUATE, &one);
    kv_build_key_i64(&one, BYTES_LIT("{t}a"), 1);
    multi_op(&ops, KV_INCR, 0, &one);
    kv_build_multi(&b.body, NULL, 0, 4);
    buf_put_bytes(&b.body, buf_view(&ops));
    struct buf body = {0};
    buf_put_bytes(&body, buf_view(&b.body));
    evaluate(&b, KV_MULTI, &op);
    bench_set(&b, "{t}a", "2"); /* read by the evaluation, written since */
    assert_string_equal(apply(&b, &op), "conflict");
    assert_string_equal(bench_get(&b, "{t}b"), "nil");
    buf_put_bytes(&b.body, buf_view(&body));
    evaluate(&b, KV_MULTI, &op);
    assert_string_equal(apply(&b, &op), "[1 \"2.5\" -ERR value is not a valid float 3]");
    assert_string_equal(bench_get(&b, "{t}b"), "\"2.5\"");
    buf_deinit(&op);
    buf_deinit(&ops);
    buf_deinit(&one);
    buf_deinit(&body);
    bench_deinit(&b);
}

static void test_timestamps(void **state)
{
    struct buf body = {0}, ops = {0}, one = {0};
    struct bytes pairs[6] = {0};
    kv_build_pairs(&body, pairs, 3);
    struct op mset = {.semantics = 1, .opcode = KV_MSET, .body = buf_view(&body)};
    assert_int_equal(op_timestamps(&mset), 3);
    assert_int_equal(op_timestamps(&(struct op){.opcode = KV_SET}), 1);
    assert_int_equal(op_timestamps(&(struct op){.opcode = KV_MSET, .body = BYTES_LIT("\xff\xff\xff\xff\x0f")}), 1);
    kv_build_multi_op(&ops, KV_MSET, 0, buf_view(&body));
    kv_build_multi_op(&ops, KV_GET, OP_READ, BYTES_LIT("k"));
    kv_build_multi(&one, NULL, 0, 2);
    buf_put_bytes(&one, buf_view(&ops));
    struct op multi = {.semantics = 1, .opcode = KV_MULTI, .body = buf_view(&one)};
    assert_int_equal(op_timestamps(&multi), 4);
    struct buf set = {0};
    buf_put_varint(&set, 0);
    op_encode(&multi, &set);
    assert_int_equal(op_timestamps(&(struct op){.opcode = OPCODE_WRITE_SET, .body = buf_view(&set)}), 4);
    buf_deinit(&body);
    buf_deinit(&ops);
    buf_deinit(&one);
    buf_deinit(&set);
}

struct seen {
    struct buf rows;
    size_t count;
};

/* Heads by their keys, fields in brackets, pieces by their number, ranges as a star. */
static void see(void *ctx, struct bytes row, struct bytes hi, bool more)
{
    struct seen *s = ctx;
    struct row_parts p;
    assert_true(row_parse(row, &p));
    assert_int_equal(p.table, 9);
    s->count++;
    if (hi.n != 0) {
        buf_put_u8(&s->rows, '*');
    } else if (p.space == SPACE_HEAD) {
        buf_put_bytes(&s->rows, p.rest);
    } else if (p.space == SPACE_ELEMENT && p.rest.n == 4) {
        buf_printf(&s->rows, "%u", get_be32(p.rest.p));
    } else if (p.space == SPACE_ELEMENT) {
        buf_printf(&s->rows, "[%.*s]", (int)p.rest.n - 6, (const char *)p.rest.p + 6);
    } else {
        assert_int_equal(p.space, SPACE_GARBAGE);
        buf_put_u8(&s->rows, 'g');
    }
    assert_true(!more || p.space == SPACE_HEAD);
}

static void assert_seen(struct seen *s, const char *expected)
{
    buf_put_u8(&s->rows, 0);
    assert_string_equal((char *)s->rows.p, expected);
    buf_clear(&s->rows);
}

static void test_reads_names_the_heads(void **state)
{
    struct memory_view m;
    struct buf body = {0}, ops = {0};
    struct seen s = {0};
    struct kv_watch watch = {BYTES_LIT("w"), 1};
    struct bytes keys[2] = {BYTES_LIT("a"), BYTES_LIT("b")};
    memory_view_init(&m, 9, 0, SLOTS);
    kv_build_keys(&body, keys, 2);
    kv_build_multi_op(&ops, KV_DEL, 0, buf_view(&body));
    buf_clear(&body);
    kv_build_two(&body, BYTES_LIT("c"), BYTES_LIT("d"));
    kv_build_multi_op(&ops, KV_RENAME, 0, buf_view(&body));
    kv_build_multi_op(&ops, KV_GET, OP_READ, BYTES_LIT("e"));
    buf_clear(&body);
    kv_build_multi(&body, &watch, 1, 3);
    buf_put_bytes(&body, buf_view(&ops));
    op_reads(&(struct op){.semantics = 1, .opcode = KV_MULTI, .body = buf_view(&body)}, &m.base, see, &s);
    assert_seen(&s, "wabcde");
    buf_deinit(&body);
    buf_deinit(&ops);
    buf_deinit(&s.rows);
    memory_view_deinit(&m);
}

static void run_at(struct memory_view *m, uint16_t opcode, struct bytes body, hlc_t ts)
{
    struct buf out = {0};
    struct op op = {.semantics = OP_SEMANTICS, .opcode = opcode, .body = body};
    assert_int_equal(memory_view_run(m, &op, ts, &out), ST_OK);
    buf_deinit(&out);
}

static void test_reads_names_what_hangs_on_heads_in_memory(void **state)
{
    struct memory_view m;
    struct seen s = {0};
    struct buf body = {0}, set = {0};
    memory_view_init(&m, 9, 0, SLOTS);
    struct bytes pairs[4] = {BYTES_LIT("f"), BYTES_LIT("1"), BYTES_LIT("g"), BYTES_LIT("2")};
    kv_build_hset(&body, BYTES_LIT("h"), pairs, 2);
    struct op hset = {.semantics = OP_SEMANTICS, .opcode = KV_HSET, .body = buf_view(&body)};
    op_reads(&hset, &m.base, see, &s);
    assert_seen(&s, "h"); /* the head is not there (yet): nothing else can be said */
    run_at(&m, KV_HSET, buf_view(&body), 100);
    op_reads(&hset, &m.base, see, &s);
    assert_seen(&s, "h[f][g]");
    op_encode(&hset, &set);
    struct buf checked = {0};
    buf_put_varint(&checked, 0);
    buf_put_bytes(&checked, buf_view(&set));
    op_reads(&(struct op){.semantics = 1, .opcode = OPCODE_WRITE_SET, .body = buf_view(&checked)}, &m.base, see, &s);
    assert_seen(&s, "h[f][g]");

    buf_clear(&body);
    buf_put_lp(&body, BYTES_LIT("s"));
    buf_put_u64(&body, 3 * KV_PIECE);
    buf_put_u8(&body, 'x');
    run_at(&m, KV_SETRANGE, buf_view(&body), 200);
    op_reads(&(struct op){.semantics = 1, .opcode = KV_SETRANGE, .body = buf_view(&body)}, &m.base, see, &s);
    assert_seen(&s, "s3");
    buf_clear(&body);
    buf_put_lp(&body, BYTES_LIT("s"));
    buf_put_u8(&body, 'y');
    op_reads(&(struct op){.semantics = 1, .opcode = KV_APPEND, .body = buf_view(&body)}, &m.base, see, &s);
    assert_seen(&s, "s3");

    buf_clear(&body);
    kv_build_clean(&body, key_slot(BYTES_LIT("h")), 100, 10);
    op_reads(&(struct op){.semantics = 1, .opcode = KV_CLEAN, .body = buf_view(&body)}, &m.base, see, &s);
    assert_seen(&s, "g*");
    buf_deinit(&body);
    buf_deinit(&set);
    buf_deinit(&checked);
    buf_deinit(&s.rows);
    memory_view_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encoding),
        cmocka_unit_test(test_unknown_ops_stop),
        cmocka_unit_test(test_keys_of_other_partitions),
        cmocka_unit_test(test_write_set_applies_if_unchanged),
        cmocka_unit_test(test_write_set_conflicts),
        cmocka_unit_test(test_evaluation_without_effect),
        cmocka_unit_test(test_multi_is_evaluated_whole),
        cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_reads_names_the_heads),
        cmocka_unit_test(test_reads_names_what_hangs_on_heads_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
