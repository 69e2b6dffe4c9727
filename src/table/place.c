/* place.c - where a key lies: its slot, and the rows it has in the engine.
 * SPDX-License-Identifier: Apache-2.0 */
#include "table/place.h"

#include "base/hash.h"

uint16_t key_slot(struct bytes key)
{
    const uint8_t *open = key.n != 0 ? memchr(key.p, '{', key.n) : NULL;
    if (open != NULL) {
        const uint8_t *tag = open + 1;
        const uint8_t *close = memchr(tag, '}', key.n - (size_t)(tag - key.p));
        if (close != NULL && close != tag) key = bytes_of(tag, (size_t)(close - tag));
    }
    return crc16(key) & (SLOTS - 1);
}

uint64_t key_hash48(struct bytes key) { return hash64(key, 0) >> 16; }

void row_prefix(struct buf *out, uint32_t table, uint16_t slot, enum space space)
{
    buf_put_be32(out, table);
    buf_put_be16(out, slot);
    buf_put_u8(out, (uint8_t)space);
}

void row_head_at(struct buf *out, uint32_t table, uint16_t slot, uint64_t hash48, struct bytes key)
{
    row_prefix(out, table, slot, SPACE_HEAD);
    buf_put_be48(out, hash48);
    buf_put_bytes(out, key);
}

void row_head(struct buf *out, uint32_t table, struct bytes key)
{
    row_head_at(out, table, key_slot(key), key_hash48(key), key);
}

void row_element(struct buf *out, uint32_t table, uint16_t slot, uint64_t incarnation, struct bytes rest)
{
    row_prefix(out, table, slot, SPACE_ELEMENT);
    buf_put_be64(out, incarnation);
    buf_put_bytes(out, rest);
}

void row_garbage(struct buf *out, uint32_t table, uint16_t slot, uint64_t incarnation)
{
    row_prefix(out, table, slot, SPACE_GARBAGE);
    buf_put_be64(out, incarnation);
}

void row_expiry(struct buf *out, uint32_t table, uint16_t slot, uint64_t expiry_ms, uint64_t hash48, struct bytes key)
{
    row_prefix(out, table, slot, SPACE_EXPIRY);
    buf_put_be64(out, expiry_ms);
    buf_put_be48(out, hash48);
    buf_put_bytes(out, key);
}

void row_range(struct buf *out_lo, struct buf *out_hi, uint32_t table, uint32_t slot_lo, uint32_t slot_hi)
{
    buf_put_be32(out_lo, table);
    buf_put_be16(out_lo, (uint16_t)slot_lo);
    /* A slot beyond the last sorts after all rows of the table: slots are below 2^14. */
    buf_put_be32(out_hi, table);
    buf_put_be16(out_hi, (uint16_t)slot_hi);
}

void row_system(struct buf *out, uint64_t partition_id, enum system_kind kind, struct bytes rest)
{
    buf_put_be32(out, TABLE_SYSTEM);
    buf_put_be64(out, partition_id);
    buf_put_u8(out, (uint8_t)kind);
    buf_put_bytes(out, rest);
}

bool row_parse(struct bytes row_key, struct row_parts *out)
{
    struct reader r = reader_of(row_key);
    struct row_parts p = {.table = reader_be32(&r), .slot = reader_be16(&r), .space = reader_u8(&r)};
    switch (p.space) {
    case SPACE_HEAD:
    case SPACE_HISTORY: p.hash48 = reader_be48(&r); break;
    case SPACE_ELEMENT:
    case SPACE_ELEMENT_HISTORY:
    case SPACE_GARBAGE: p.incarnation = reader_be64(&r); break;
    case SPACE_EXPIRY:
        p.expiry_ms = reader_be64(&r);
        p.hash48 = reader_be48(&r);
        break;
    default: return false;
    }
    p.rest = reader_bytes(&r, reader_left(&r));
    if (r.failed || p.table >= TABLE_SYSTEM || p.slot >= SLOTS) return false;
    *out = p;
    return true;
}
