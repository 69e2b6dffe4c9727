/* bytes.h - views of bytes, growing buffers, and how numbers lie in them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   struct bytes is a borrowed view; struct buf owns what it holds; struct reader takes fields off a view and
 *            remembers that it ran short, so that a decoder checks once at its end.
 * Errors:    reading past the end sets reader.failed and returns zeros; it never reads outside the view.
 * Numbers are little-endian in frames and records, big-endian (put_be*) in keys, so that keys sort. */
#ifndef CAIRN_BASE_BYTES_H
#define CAIRN_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *p;
    size_t n;
};

#define BYTES_LIT(s) ((struct bytes){(const uint8_t *)(s), sizeof(s) - 1})

static inline struct bytes bytes_of(const void *p, size_t n) { return (struct bytes){(const uint8_t *)p, n}; }
static inline struct bytes bytes_str(const char *s) { return bytes_of(s, strlen(s)); }
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
int bytes_compare(struct bytes a, struct bytes b); /* as memcmp, shorter first */
bool bytes_equal_nocase(struct bytes a, const char *lower);

/* Decimal text of a signed 64-bit number, exactly as Redis accepts it: no blanks, no plus, no leading zeros. */
bool bytes_to_i64(struct bytes b, int64_t *out);
bool bytes_to_u64(struct bytes b, uint64_t *out);
/* Writes decimal text, returns its length; out holds at least 21 bytes. */
size_t i64_to_text(int64_t v, char *out);
size_t u64_to_text(uint64_t v, char *out);

/* A growing buffer. Zero-initialised is empty. The bytes move when it grows. */
struct buf {
    uint8_t *p;
    size_t n;
    size_t cap;
};

void buf_deinit(struct buf *b);
void buf_reserve(struct buf *b, size_t more); /* room for `more` bytes beyond n */
uint8_t *buf_extend(struct buf *b, size_t n); /* grows n by `n` uninitialised bytes and returns where they start */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_put_bytes(struct buf *b, struct bytes s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t n); /* drops n bytes at the front; moves the rest */
static inline void buf_clear(struct buf *b) { b->n = 0; }
/* The same; and what is larger than `keep` goes back. */
static inline void buf_clear_keep(struct buf *b, size_t keep)
{
    b->n = 0;
    if (b->cap > keep) buf_deinit(b);
}
static inline struct bytes buf_view(const struct buf *b) { return (struct bytes){b->p, b->n}; }

void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v); /* little-endian */
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_varint(struct buf *b, uint64_t v); /* LEB128, at most 10 bytes */
void buf_put_lp(struct buf *b, struct bytes s); /* varint length, then the bytes */
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);
void buf_put_be48(struct buf *b, uint64_t v);
void buf_put_be64(struct buf *b, uint64_t v);

static inline void put_u16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void put_u32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void put_u64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }
static inline uint16_t get_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void put_be16(uint8_t *p, uint16_t v) { put_u16(p, __builtin_bswap16(v)); }
static inline void put_be32(uint8_t *p, uint32_t v) { put_u32(p, __builtin_bswap32(v)); }
static inline void put_be64(uint8_t *p, uint64_t v) { put_u64(p, __builtin_bswap64(v)); }
static inline uint16_t get_be16(const uint8_t *p) { return __builtin_bswap16(get_u16(p)); }
static inline uint32_t get_be32(const uint8_t *p) { return __builtin_bswap32(get_u32(p)); }
static inline uint64_t get_be64(const uint8_t *p) { return __builtin_bswap64(get_u64(p)); }
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the encoders assume a little-endian machine");

/* Takes fields off a view, in order. */
struct reader {
    const uint8_t *p;
    const uint8_t *end;
    bool failed;
};

static inline struct reader reader_of(struct bytes b)
{
    return (struct reader){b.p, b.n != 0 ? b.p + b.n : b.p, false};
}
static inline size_t reader_left(const struct reader *r) { return r->failed ? 0 : (size_t)(r->end - r->p); }
/* True if nothing ran short and nothing is left. */
static inline bool reader_done(const struct reader *r) { return !r->failed && r->p == r->end; }
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
uint64_t reader_varint(struct reader *r);              /* a non-minimal or overlong varint fails */
struct bytes reader_bytes(struct reader *r, size_t n); /* borrowed */
struct bytes reader_lp(struct reader *r);              /* borrowed; the length is checked against what is left */
uint16_t reader_be16(struct reader *r);
uint32_t reader_be32(struct reader *r);
uint64_t reader_be48(struct reader *r);
uint64_t reader_be64(struct reader *r);

#endif
