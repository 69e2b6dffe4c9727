/* result.c - what an op answers, independent of any door.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/result.h"

#include <stdarg.h>
#include <stdio.h>

void result_nil(struct buf *out) { buf_put_u8(out, 'n'); }
void result_nil_array(struct buf *out) { buf_put_u8(out, 'N'); }
void result_ok(struct buf *out) { buf_put_u8(out, 'o'); }
void result_bool(struct buf *out, bool v) { buf_put_u8(out, v ? 'T' : 'F'); }
void result_conflict(struct buf *out) { buf_put_u8(out, 'V'); }
void result_too_large(struct buf *out) { buf_put_u8(out, 'Z'); }

void result_forgotten(struct buf *out, uint64_t up_to)
{
    buf_put_u8(out, 'W');
    buf_put_u64(out, up_to);
}

void result_int(struct buf *out, int64_t v)
{
    buf_put_u8(out, 'i');
    buf_put_varint(out, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

static void put_text(struct buf *out, uint8_t tag, struct bytes s)
{
    buf_put_u8(out, tag);
    buf_put_lp(out, s);
}

void result_double(struct buf *out, struct bytes text) { put_text(out, 'd', text); }
void result_bulk(struct buf *out, struct bytes s) { put_text(out, 'b', s); }

void result_bulk_head(struct buf *out, uint64_t n)
{
    buf_put_u8(out, 'b');
    buf_put_varint(out, n);
}

void result_simple(struct buf *out, struct bytes s) { put_text(out, 's', s); }

void result_error(struct buf *out, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ASSERT(n >= 0);
    put_text(out, 'e', bytes_of(text, MIN((size_t)n, sizeof text - 1)));
}

static void put_count(struct buf *out, uint8_t tag, uint64_t count)
{
    buf_put_u8(out, tag);
    buf_put_varint(out, count);
}

void result_array(struct buf *out, uint64_t count) { put_count(out, 'a', count); }
void result_map(struct buf *out, uint64_t pairs) { put_count(out, 'm', pairs); }
void result_pairs(struct buf *out, uint64_t pairs) { put_count(out, 'p', pairs); }
void result_set(struct buf *out, uint64_t count) { put_count(out, 't', count); }

void result_blocked(struct buf *out, uint64_t txn)
{
    buf_put_u8(out, 'X');
    buf_put_u64(out, txn);
}

bool result_next(struct reader *r, struct result *out)
{
    struct result v = {.tag = reader_u8(r)};
    if (r->failed) return false;
    switch (v.tag) {
    case 'n':
    case 'N':
    case 'o':
    case 'T':
    case 'F':
    case 'V':
    case 'Z': break;
    case 'i': {
        uint64_t z = reader_varint(r);
        v.number = (int64_t)(z >> 1) ^ -(int64_t)(z & 1);
        break;
    }
    case 'b':
    case 's':
    case 'e':
    case 'd': v.bytes = reader_lp(r); break;
    case 'a':
    case 't':
        v.count = reader_varint(r);
        if (v.count > reader_left(r)) r->failed = true; /* an element is a byte at least */
        break;
    case 'm':
    case 'p':
        v.count = reader_varint(r);
        if (v.count > reader_left(r) / 2) r->failed = true;
        break;
    case 'X':
    case 'W': v.count = reader_u64(r); break;
    default: r->failed = true;
    }
    if (r->failed) return false;
    *out = v;
    return true;
}

bool result_check(struct bytes encoded)
{
    struct reader r = reader_of(encoded);
    uint64_t left[RESULT_DEPTH_MAX + 1] = {1}; /* results still to come at each depth */
    size_t depth = 0;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0) return reader_done(&r);
            depth--;
        }
        left[depth]--;
        struct result v;
        if (!result_next(&r, &v)) return false;
        uint64_t inner = v.tag == 'a' || v.tag == 't' ? v.count : v.tag == 'm' || v.tag == 'p' ? v.count * 2 : 0;
        if (inner == 0) continue;
        if (depth == RESULT_DEPTH_MAX) return false;
        left[++depth] = inner;
    }
}
