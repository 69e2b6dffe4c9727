/* kv_build.c - writers of the key-value ops' bodies.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/kv_build.h"

static void put_i64(struct buf *body, int64_t v) { buf_put_u64(body, (uint64_t)v); }

static void put_list(struct buf *body, const struct bytes *items, size_t n)
{
    buf_put_varint(body, n);
    for (size_t i = 0; i < n; i++) buf_put_lp(body, items[i]);
}

void kv_build_key(struct buf *body, struct bytes key) { buf_put_bytes(body, key); }

void kv_build_key_rest(struct buf *body, struct bytes key, struct bytes rest)
{
    buf_put_lp(body, key);
    buf_put_bytes(body, rest);
}

void kv_build_keys(struct buf *body, const struct bytes *keys, size_t n) { put_list(body, keys, n); }

void kv_build_two(struct buf *body, struct bytes a, struct bytes b)
{
    buf_put_lp(body, a);
    buf_put_lp(body, b);
}

void kv_build_key_u8(struct buf *body, struct bytes key, uint8_t v)
{
    buf_put_lp(body, key);
    buf_put_u8(body, v);
}

void kv_build_key_i64(struct buf *body, struct bytes key, int64_t v)
{
    buf_put_lp(body, key);
    put_i64(body, v);
}

void kv_build_when(struct buf *body, struct kv_when when)
{
    buf_put_u8(body, when.mode);
    if (when.mode == KV_WHEN_RELATIVE || when.mode == KV_WHEN_ABSOLUTE) put_i64(body, when.ms);
}

void kv_build_set(struct buf *body, struct bytes key, uint8_t flags, struct kv_when when, struct bytes value)
{
    buf_reserve(body, key.n + value.n + 20);
    buf_put_lp(body, key);
    buf_put_u8(body, flags);
    kv_build_when(body, when);
    buf_put_bytes(body, value);
}

void kv_build_getex(struct buf *body, struct bytes key, struct kv_when when)
{
    buf_put_lp(body, key);
    kv_build_when(body, when);
}

void kv_build_setrange(struct buf *body, struct bytes key, uint64_t offset, struct bytes value)
{
    buf_put_lp(body, key);
    buf_put_u64(body, offset);
    buf_put_bytes(body, value);
}

void kv_build_range(struct buf *body, struct bytes key, int64_t start, int64_t end)
{
    buf_put_lp(body, key);
    put_i64(body, start);
    put_i64(body, end);
}

void kv_build_pairs(struct buf *body, const struct bytes *pairs, size_t n)
{
    buf_put_varint(body, n);
    for (size_t i = 0; i < 2 * n; i++) buf_put_lp(body, pairs[i]);
}

void kv_build_lcs(struct buf *body, struct bytes a, struct bytes b, uint8_t flags, uint64_t min_length)
{
    kv_build_two(body, a, b);
    buf_put_u8(body, flags);
    buf_put_u64(body, min_length);
}

void kv_build_setbit(struct buf *body, struct bytes key, uint64_t offset, uint8_t bit)
{
    buf_put_lp(body, key);
    buf_put_u64(body, offset);
    buf_put_u8(body, bit);
}

void kv_build_bitcount(struct buf *body, struct bytes key, uint8_t flags, int64_t start, int64_t end)
{
    kv_build_key_u8(body, key, flags);
    put_i64(body, start);
    put_i64(body, end);
}

void kv_build_bitpos(struct buf *body, struct bytes key, uint8_t flags, uint8_t bit, int64_t start, int64_t end)
{
    kv_build_key_u8(body, key, flags);
    buf_put_u8(body, bit);
    put_i64(body, start);
    put_i64(body, end);
}

void kv_build_bitop(struct buf *body, uint8_t op, const struct bytes *keys, size_t n)
{
    put_list(body, keys, n);
    buf_put_u8(body, op);
}

void kv_build_bitfield(struct buf *body, struct bytes key, const struct kv_field *fields, size_t n)
{
    buf_put_lp(body, key);
    buf_put_varint(body, n);
    for (size_t i = 0; i < n; i++) {
        buf_put_u8(body, fields[i].op);
        buf_put_u8(body, fields[i].is_signed);
        buf_put_u8(body, fields[i].bits);
        buf_put_u8(body, fields[i].overflow);
        buf_put_u64(body, fields[i].offset);
        put_i64(body, fields[i].value);
    }
}

void kv_build_expire(struct buf *body, struct bytes key, uint8_t flags, struct kv_when when)
{
    kv_build_key_u8(body, key, flags);
    kv_build_when(body, when);
}

void kv_build_copy(struct buf *body, struct bytes from, struct bytes to, bool replace)
{
    kv_build_two(body, from, to);
    buf_put_u8(body, replace);
}

void kv_build_hset(struct buf *body, struct bytes key, const struct bytes *pairs, size_t n)
{
    buf_put_lp(body, key);
    kv_build_pairs(body, pairs, n);
}

void kv_build_fields(struct buf *body, struct bytes key, const struct bytes *fields, size_t n)
{
    buf_put_lp(body, key);
    put_list(body, fields, n);
}

void kv_build_hincr(struct buf *body, struct bytes key, struct bytes field, int64_t delta)
{
    kv_build_two(body, key, field);
    put_i64(body, delta);
}

void kv_build_hincr_float(struct buf *body, struct bytes key, struct bytes field, struct bytes increment)
{
    kv_build_two(body, key, field);
    buf_put_bytes(body, increment);
}

void kv_build_hrandfield(struct buf *body, struct bytes key, uint64_t random, uint8_t flags, int64_t count)
{
    buf_put_lp(body, key);
    buf_put_u64(body, random);
    buf_put_u8(body, flags);
    put_i64(body, count);
}

void kv_build_hscan(struct buf *body, struct bytes key, uint64_t cursor, uint64_t count, struct bytes pattern)
{
    buf_put_lp(body, key);
    buf_put_u64(body, cursor);
    buf_put_u64(body, count);
    buf_put_bytes(body, pattern);
}

void kv_build_scan(struct buf *body, uint64_t cursor, uint64_t count, uint8_t type, struct bytes pattern)
{
    buf_put_u64(body, cursor);
    buf_put_u64(body, count);
    buf_put_u8(body, type);
    buf_put_bytes(body, pattern);
}

void kv_build_flush(struct buf *body, uint64_t cursor, uint32_t rows_max)
{
    buf_put_u64(body, cursor);
    buf_put_u32(body, rows_max);
}

void kv_build_clean(struct buf *body, uint16_t slot, uint64_t incarnation, uint32_t rows_max)
{
    buf_put_u16(body, slot);
    buf_put_u64(body, incarnation);
    buf_put_u32(body, rows_max);
}

void kv_build_expire_sweep(struct buf *body, const uint16_t *slots, size_t n, uint32_t keys_max)
{
    buf_put_varint(body, n);
    for (size_t i = 0; i < n; i++) buf_put_u16(body, slots[i]);
    buf_put_u32(body, keys_max);
}

void kv_build_find(struct buf *body, uint16_t slot, uint32_t found_max)
{
    buf_put_u16(body, slot);
    buf_put_u32(body, found_max);
}

void kv_build_retention(struct buf *body, uint64_t retention_ms, hlc_t watermark)
{
    buf_put_u64(body, retention_ms);
    buf_put_u64(body, watermark);
}

void kv_build_history_find(struct buf *body, struct bytes from, uint32_t examine_max, uint32_t found_max)
{
    buf_put_lp(body, from);
    buf_put_u32(body, examine_max);
    buf_put_u32(body, found_max);
}

void kv_build_multi(struct buf *body, const struct kv_watch *watches, size_t watch_count, size_t op_count)
{
    buf_put_varint(body, watch_count);
    for (size_t i = 0; i < watch_count; i++) {
        buf_put_lp(body, watches[i].key);
        buf_put_u64(body, watches[i].version);
    }
    buf_put_varint(body, op_count);
}

void kv_build_multi_op(struct buf *body, uint16_t opcode, uint8_t flags, struct bytes op_body)
{
    struct buf op = {0};
    op_encode(&(struct op){.semantics = OP_SEMANTICS, .opcode = opcode, .flags = flags, .body = op_body}, &op);
    buf_put_lp(body, buf_view(&op));
    buf_deinit(&op);
}
