/* bytes.c - views of bytes, growing buffers, and how numbers lie in them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/status.h"

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = MIN(a.n, b.n);
    int c = n != 0 ? memcmp(a.p, b.p, n) : 0;
    if (c != 0) return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

bool bytes_equal_nocase(struct bytes a, const char *lower)
{
    for (size_t i = 0; i < a.n; i++) {
        uint8_t c = a.p[i];
        if (c >= 'A' && c <= 'Z') c = (uint8_t)(c + 32);
        if (lower[i] == 0 || c != (uint8_t)lower[i]) return false;
    }
    return lower[a.n] == 0;
}

bool bytes_to_u64(struct bytes b, uint64_t *out)
{
    if (b.n == 0 || b.n > 20) return false;
    if (b.p[0] == '0' && b.n > 1) return false;
    uint64_t v = 0;
    for (size_t i = 0; i < b.n; i++) {
        uint8_t d = (uint8_t)(b.p[i] - '0');
        if (d > 9) return false;
        if (v > UINT64_MAX / 10 || (v == UINT64_MAX / 10 && d > UINT64_MAX % 10)) return false;
        v = v * 10 + d;
    }
    *out = v;
    return true;
}

bool bytes_to_i64(struct bytes b, int64_t *out)
{
    bool negative = b.n > 0 && b.p[0] == '-';
    uint64_t v;
    if (negative) b = bytes_of(b.p + 1, b.n - 1);
    if (!bytes_to_u64(b, &v)) return false;
    if (negative) {
        if (v == 0 || v > (uint64_t)INT64_MAX + 1) return false;
        *out = (int64_t)(0 - v);
    } else {
        if (v > INT64_MAX) return false;
        *out = (int64_t)v;
    }
    return true;
}

size_t u64_to_text(uint64_t v, char *out)
{
    char tmp[20];
    size_t n = 0;
    do {
        tmp[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    for (size_t i = 0; i < n; i++) out[i] = tmp[n - 1 - i];
    return n;
}

size_t i64_to_text(int64_t v, char *out)
{
    if (v >= 0) return u64_to_text((uint64_t)v, out);
    out[0] = '-';
    return 1 + u64_to_text(0 - (uint64_t)v, out + 1);
}

void buf_deinit(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){0};
}

#define LARGE_BYTES (1u << 20)

void buf_reserve(struct buf *b, size_t more)
{
    if (b->cap - b->n >= more) return;
    size_t cap = b->cap != 0 ? b->cap : 64, need = b->n + more;
    while (cap - b->n < more) cap *= 2;
    if (need > LARGE_BYTES) cap = MIN(cap, need + need / 8); /* of large ones little is left unused */
    b->p = mem_realloc(b->p, cap);
    b->cap = cap;
}

uint8_t *buf_extend(struct buf *b, size_t n)
{
    buf_reserve(b, n != 0 ? n : b->p == NULL); /* so that what it returns is never NULL */
    uint8_t *p = b->p + b->n;
    b->n += n;
    return p;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n != 0) memcpy(buf_extend(b, n), p, n);
}

void buf_put_bytes(struct buf *b, struct bytes s) { buf_put(b, s.p, s.n); }

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ASSERT(n >= 0);
    buf_reserve(b, (size_t)n + 1);
    va_start(args, fmt);
    vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, args);
    va_end(args);
    b->n += (size_t)n;
}

void buf_consume(struct buf *b, size_t n)
{
    ASSERT(n <= b->n);
    if (n == 0) return;
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}

void buf_put_u8(struct buf *b, uint8_t v) { *buf_extend(b, 1) = v; }
void buf_put_u16(struct buf *b, uint16_t v) { put_u16(buf_extend(b, 2), v); }
void buf_put_u32(struct buf *b, uint32_t v) { put_u32(buf_extend(b, 4), v); }
void buf_put_u64(struct buf *b, uint64_t v) { put_u64(buf_extend(b, 8), v); }
void buf_put_be16(struct buf *b, uint16_t v) { put_be16(buf_extend(b, 2), v); }
void buf_put_be32(struct buf *b, uint32_t v) { put_be32(buf_extend(b, 4), v); }
void buf_put_be64(struct buf *b, uint64_t v) { put_be64(buf_extend(b, 8), v); }

void buf_put_be48(struct buf *b, uint64_t v)
{
    uint8_t *p = buf_extend(b, 6);
    put_be16(p, (uint16_t)(v >> 32));
    put_be32(p + 2, (uint32_t)v);
}

void buf_put_varint(struct buf *b, uint64_t v)
{
    buf_reserve(b, 10);
    while (v >= 0x80) {
        b->p[b->n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    b->p[b->n++] = (uint8_t)v;
}

void buf_put_lp(struct buf *b, struct bytes s)
{
    buf_put_varint(b, s.n);
    buf_put(b, s.p, s.n);
}

struct bytes reader_bytes(struct reader *r, size_t n)
{
    if (r->failed || (size_t)(r->end - r->p) < n) {
        r->failed = true;
        return (struct bytes){NULL, 0};
    }
    struct bytes b = {r->p, n};
    if (n != 0) r->p += n;
    return b;
}

uint8_t reader_u8(struct reader *r)
{
    struct bytes b = reader_bytes(r, 1);
    return b.n != 0 ? b.p[0] : 0;
}

uint16_t reader_u16(struct reader *r)
{
    struct bytes b = reader_bytes(r, 2);
    return b.n != 0 ? get_u16(b.p) : 0;
}

uint32_t reader_u32(struct reader *r)
{
    struct bytes b = reader_bytes(r, 4);
    return b.n != 0 ? get_u32(b.p) : 0;
}

uint64_t reader_u64(struct reader *r)
{
    struct bytes b = reader_bytes(r, 8);
    return b.n != 0 ? get_u64(b.p) : 0;
}

uint16_t reader_be16(struct reader *r) { return __builtin_bswap16(reader_u16(r)); }
uint32_t reader_be32(struct reader *r) { return __builtin_bswap32(reader_u32(r)); }
uint64_t reader_be64(struct reader *r) { return __builtin_bswap64(reader_u64(r)); }

uint64_t reader_be48(struct reader *r)
{
    uint64_t high = reader_be16(r);
    return high << 32 | reader_be32(r);
}

uint64_t reader_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = reader_u8(r);
        if (r->failed) return 0;
        if ((shift == 63 && byte > 1) || (byte == 0 && shift > 0)) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return v;
    }
    r->failed = true;
    return 0;
}

struct bytes reader_lp(struct reader *r)
{
    uint64_t n = reader_varint(r);
    if (n > reader_left(r)) r->failed = true;
    return reader_bytes(r, r->failed ? 0 : (size_t)n);
}
