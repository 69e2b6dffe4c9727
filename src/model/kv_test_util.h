/* kv_test_util.h - ops of the key-value model on rows in memory, for tests of the model itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_MODEL_KV_TEST_UTIL_H
#define CAIRN_MODEL_KV_TEST_UTIL_H

#include <string.h>

#include "model/kv_build.h"
#include "model/kv_check.h"
#include "model/memory_view.h"
#include "model/result_text_test_util.h"
#include "table/place.h"

struct kv_bench {
    struct memory_view m;
    hlc_t ts; /* of the next op */
    struct buf body, result, text;
    enum status status;
};

static inline void bench_init(struct kv_bench *b, uint32_t slot_lo, uint32_t slot_hi)
{
    memset(b, 0, sizeof *b);
    memory_view_init(&b->m, 1, slot_lo, slot_hi);
    b->ts = hlc_from_ms(1000000);
}

static inline void bench_deinit(struct kv_bench *b)
{
    memory_view_deinit(&b->m);
    buf_deinit(&b->body);
    buf_deinit(&b->result);
    buf_deinit(&b->text);
}

/* Runs b->body as an op and returns its result as text, "status NAME" if it did not end ST_OK. */
static inline const char *bench_run(struct kv_bench *b, uint16_t opcode, uint8_t flags)
{
    struct op op = {.semantics = OP_SEMANTICS, .opcode = opcode, .flags = flags, .body = buf_view(&b->body)};
    buf_clear(&b->result);
    buf_clear(&b->text);
    b->status = memory_view_run(&b->m, &op, b->ts, &b->result);
    if (!(flags & OP_READ)) b->ts += op_timestamps(&op);
    struct reader r = reader_of(buf_view(&b->result));
    if (b->status != ST_OK) buf_printf(&b->text, "status %s", status_name(b->status));
    else if (!result_text(&b->text, &r) || !reader_done(&r)) buf_printf(&b->text, "malformed");
    buf_put_u8(&b->text, 0);
    buf_clear(&b->body);
    return (const char *)b->text.p;
}

static inline void bench_to_ms(struct kv_bench *b, uint64_t ms) { b->ts = hlc_from_ms(ms); }

static inline const char *bench_key_op(struct kv_bench *b, uint16_t opcode, uint8_t flags, const char *key)
{
    kv_build_key(&b->body, bytes_str(key));
    return bench_run(b, opcode, flags);
}

static inline const char *bench_get(struct kv_bench *b, const char *key)
{
    return bench_key_op(b, KV_GET, OP_READ, key);
}

static inline const char *bench_set_bytes(struct kv_bench *b, const char *key, struct bytes value, struct kv_when when)
{
    kv_build_set(&b->body, bytes_str(key), 0, when, value);
    return bench_run(b, KV_SET, 0);
}

static inline const char *bench_set(struct kv_bench *b, const char *key, const char *value)
{
    return bench_set_bytes(b, key, bytes_str(value), (struct kv_when){0});
}

static inline const char *bench_set_until(struct kv_bench *b, const char *key, const char *value, int64_t ms)
{
    return bench_set_bytes(b, key, bytes_str(value), (struct kv_when){KV_WHEN_ABSOLUTE, ms});
}

static inline const char *bench_set_long(struct kv_bench *b, const char *key, size_t n)
{
    struct buf value = {0};
    memset(buf_extend(&value, n), 'x', n);
    const char *text = bench_set_bytes(b, key, buf_view(&value), (struct kv_when){0});
    buf_deinit(&value);
    return text;
}

static inline const char *bench_hset(struct kv_bench *b, const char *key, const char *field, const char *value)
{
    struct bytes pair[2] = {bytes_str(field), bytes_str(value)};
    kv_build_hset(&b->body, bytes_str(key), pair, 1);
    return bench_run(b, KV_HSET, 0);
}

static inline const char *bench_del(struct kv_bench *b, const char *key)
{
    struct bytes k = bytes_str(key);
    kv_build_keys(&b->body, &k, 1);
    return bench_run(b, KV_DEL, 0);
}

static inline size_t bench_rows(const struct kv_bench *b, enum space space)
{
    size_t n = 0;
    struct row_parts p;
    for (const struct row_node *r = row_tree_first(&b->m.rows); r != NULL; r = row_tree_next(r))
        n += row_parse(r->key, &p) && p.space == space;
    return n;
}

#endif
