/* kv_bit.c - strings as bits: GETBIT, SETBIT, BITCOUNT, BITPOS, BITOP, BITFIELD.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Bit 0 is the highest bit of byte 0, as in Redis. */
#include "model/kv_internal.h"

#define TOO_LONG "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

/* One byte of the string; 0 beyond its end. */
static enum status byte_at(struct kv_run *run, const struct kv_key *k, uint64_t at, uint8_t *out)
{
    *out = 0;
    if (at >= kv_length(k)) return ST_OK;
    struct buf *b = kv_temp(run);
    enum status st = kv_read(run, k, at, 1, b);
    if (st == ST_OK) *out = b->p[0];
    return st;
}

enum status kv_op_getbit(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint64_t offset = reader_u64(&run->body);
    if (!reader_done(&run->body)) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    uint8_t byte;
    st = byte_at(run, &k, offset / 8, &byte);
    if (st != ST_OK) return st;
    return kv_int(run, byte >> (7 - offset % 8) & 1);
}

enum status kv_op_setbit(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint64_t offset = reader_u64(&run->body);
    uint8_t bit = reader_u8(&run->body);
    if (!reader_done(&run->body) || bit > 1 || offset / 8 >= KV_STRING_MAX) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    struct kv_edit e;
    uint8_t byte;
    unsigned shift = 7 - offset % 8;
    kv_edit_open(&e, run, &k, offset / 8 + 1);
    st = kv_edit_read(&e, offset / 8, &byte, 1);
    if (st != ST_OK) return st;
    int64_t old = byte >> shift & 1;
    byte = (uint8_t)((byte & ~(1u << shift)) | (unsigned)bit << shift);
    st = kv_edit_write(&e, offset / 8, bytes_of(&byte, 1));
    if (st != ST_OK) return st;
    kv_edit_close(&e);
    return kv_int(run, old);
}

/* A range of bits, [from, to) with to == from when empty. */
struct bit_range {
    uint64_t from, to;
};

/* Redis's indexes: negative ones count from the end, all are cut to the string; of bytes or of bits, both ends included. */
static struct bit_range range_of(uint64_t length, uint8_t flags, int64_t start, int64_t end)
{
    int64_t total = (int64_t)(flags & KV_BIT_UNIT ? length * 8 : length);
    if (!(flags & KV_BIT_START)) start = 0;
    if (!(flags & KV_BIT_END)) end = total - 1;
    if (start < 0) start = MAX(start + total, 0);
    if (end < 0) end = MAX(end + total, 0);
    if (end >= total) end = total - 1;
    if (start > end) return (struct bit_range){0, 0};
    uint64_t unit = flags & KV_BIT_UNIT ? 1 : 8;
    return (struct bit_range){(uint64_t)start * unit, ((uint64_t)end + 1) * unit};
}

struct bit_walk {
    uint64_t at; /* the bit with which the next part begins */
    struct bit_range range;
    uint64_t count; /* BITCOUNT */
    uint8_t bit;    /* BITPOS: what is looked for */
    int64_t found;  /* -1: nothing yet */
};

static uint64_t popcount_bytes(const uint8_t *p, uint64_t n)
{
    uint64_t count = 0;
    for (; n >= 8; p += 8, n -= 8) count += (uint64_t)__builtin_popcountll(get_u64(p));
    for (; n > 0; p++, n--) count += (uint64_t)__builtin_popcount(*p);
    return count;
}

/* The bits of the byte that begins with bit `at` that lie in the range. */
static uint8_t mask_of(const struct bit_range *r, uint64_t at)
{
    unsigned mask = 0xff;
    if (r->from > at) mask &= 0xffu >> MIN(r->from - at, 8);
    if (r->to < at + 8) mask &= r->to > at ? 0xffu << (8 - (r->to - at)) : 0;
    return (uint8_t)mask;
}

static bool count_part(void *ctx, const uint8_t *p, uint64_t n)
{
    struct bit_walk *w = ctx;
    if (p != NULL) {
        w->count += popcount_bytes(p, n);
        /* The first and the last byte of the range may lie in it only partly. */
        uint8_t first = mask_of(&w->range, w->at), last = mask_of(&w->range, w->at + 8 * (n - 1));
        w->count -= (uint64_t)__builtin_popcount(p[0] & (uint8_t)~first);
        if (n > 1) w->count -= (uint64_t)__builtin_popcount(p[n - 1] & (uint8_t)~last);
    }
    w->at += 8 * n;
    return true;
}

static enum status walk_range(struct kv_run *run, const struct kv_key *k, struct bit_walk *w,
                              bool (*each)(void *ctx, const uint8_t *p, uint64_t n))
{
    if (w->range.from == w->range.to) return ST_OK;
    uint64_t first = w->range.from / 8, last = (w->range.to - 1) / 8;
    w->at = first * 8;
    return kv_each_part(run, k, first, last - first + 1, each, w);
}

enum status kv_op_bitcount(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint8_t flags = reader_u8(&run->body);
    int64_t start = (int64_t)reader_u64(&run->body), end = (int64_t)reader_u64(&run->body);
    if (!reader_done(&run->body)) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    if (flags & KV_BIT_START && start < 0 && end < 0 && start > end) return kv_int(run, 0);
    struct bit_walk w = {.range = range_of(kv_length(&k), flags, start, end)};
    st = walk_range(run, &k, &w, count_part);
    if (st != ST_OK) return st;
    return kv_int(run, (int64_t)w.count);
}

static bool find_part(void *ctx, const uint8_t *p, uint64_t n)
{
    struct bit_walk *w = ctx;
    uint8_t skip = w->bit ? 0 : 0xff; /* a byte without the bit looked for */
    for (uint64_t i = 0; i < n; i++) {
        uint8_t byte = p != NULL ? p[i] : 0;
        if (byte == skip) continue;
        unsigned hits = (w->bit ? byte : (uint8_t)~byte) & mask_of(&w->range, w->at + 8 * i);
        if (hits == 0) continue;
        w->found = (int64_t)(w->at + 8 * i) + __builtin_clz(hits) - 24;
        return false;
    }
    w->at += 8 * n;
    return true;
}

enum status kv_op_bitpos(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint8_t flags = reader_u8(&run->body), bit = reader_u8(&run->body);
    int64_t start = (int64_t)reader_u64(&run->body), end = (int64_t)reader_u64(&run->body);
    if (!reader_done(&run->body) || bit > 1) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    if (k.head.type == KV_NONE) return kv_int(run, bit ? -1 : 0);
    struct bit_walk w = {.range = range_of(kv_length(&k), flags, start, end), .bit = bit, .found = -1};
    bool empty = w.range.from == w.range.to;
    st = walk_range(run, &k, &w, find_part);
    if (st != ST_OK) return st;
    /* Without an explicit end the string counts as followed by zeros. */
    if (w.found < 0 && bit == 0 && !empty && !(flags & KV_BIT_END)) w.found = (int64_t)w.range.to;
    return kv_int(run, w.found);
}

/* BITOP goes through its sources in parts of a piece, so that it holds one piece of each at a time. */
struct bitop {
    struct kv_key *keys; /* the sources */
    struct buf *chunk;   /* of one source */
    struct buf *result;  /* of all */
    size_t count;
    uint8_t op;
};

static void combine(uint8_t op, uint8_t *dst, const uint8_t *src, uint64_t n, uint64_t have)
{
    for (uint64_t i = 0; i < n; i++) {
        uint8_t b = i < have ? src[i] : 0;
        switch (op) {
        case KV_BITOP_AND: dst[i] &= b; break;
        case KV_BITOP_OR: dst[i] |= b; break;
        default: dst[i] ^= b; break;
        }
    }
}

/* Bytes [at, at + n) of the result. A source that is shorter counts as filled up with zeros. */
static enum status bitop_chunk(struct kv_run *run, struct bitop *b, uint64_t at, uint64_t n)
{
    for (size_t i = 0; i < b->count; i++) {
        uint64_t length = kv_length(&b->keys[i]);
        uint64_t have = length > at ? MIN(n, length - at) : 0;
        struct buf *dst = i == 0 ? b->result : b->chunk;
        buf_clear(dst);
        enum status st = kv_read(run, &b->keys[i], at, have, dst);
        if (st != ST_OK) return st;
        if (i == 0) memset(buf_extend(dst, n - have), 0, n - have);
        else combine(b->op, b->result->p, dst->p, n, have);
    }
    if (b->op == KV_BITOP_NOT) {
        for (uint64_t i = 0; i < n; i++) b->result->p[i] = (uint8_t)~b->result->p[i];
    }
    return ST_OK;
}

static enum status bitop_store(struct kv_run *run, struct bitop *b, struct bytes to_key, uint64_t length)
{
    struct kv_key to;
    enum status st = kv_open(run, &to, to_key);
    if (st != ST_OK) return st;
    if (length == 0) {
        kv_delete(run, &to);
    } else if (length <= KV_INLINE_MAX) {
        st = bitop_chunk(run, b, 0, length);
        if (st != ST_OK) return st;
        kv_set_string(run, &to, buf_view(b->result), NULL);
    } else {
        /* The pieces get a new incarnation, so the destination may be a source; its head is replaced at the end. */
        struct kv_head h = {.type = KV_LONG, .incarnation = kv_incarnation(run), .count = length};
        for (uint64_t at = 0; at < length; at += KV_PIECE) {
            st = bitop_chunk(run, b, at, MIN(KV_PIECE, length - at));
            if (st != ST_OK) return st;
            kv_put_piece(run, &to, h.incarnation, at / KV_PIECE, buf_view(b->result));
        }
        kv_store(run, &to, &h);
    }
    return kv_int(run, (int64_t)length);
}

enum status kv_op_bitop(struct kv_run *run)
{
    uint64_t count = reader_varint(&run->body);
    struct reader check = run->body;
    for (uint64_t i = 0; i < MIN(count, reader_left(&run->body)); i++) reader_lp(&check);
    uint8_t op = reader_u8(&check);
    if (count < 2 || count > reader_left(&run->body) || !reader_done(&check) || op > KV_BITOP_NOT ||
        (op == KV_BITOP_NOT && count != 2))
        return kv_malformed(run);
    struct bytes to_key = reader_lp(&run->body);
    struct bitop b = {.count = count - 1, .op = op, .chunk = kv_temp(run), .result = kv_temp(run)};
    /* The array is not moved while keys are open: a key points into itself. */
    b.keys = (struct kv_key *)(void *)buf_extend(kv_temp(run), b.count * sizeof *b.keys);
    uint64_t length = 0;
    for (size_t i = 0; i < b.count; i++) {
        struct kv_key *k = &b.keys[i];
        enum status st = kv_open(run, k, reader_lp(&run->body));
        if (st != ST_OK) return st;
        if (k->head.type == KV_HASH) return kv_wrong_type(run);
        if (k->head.type == KV_STRING) { /* the view's bytes go at its next call */
            struct buf *text = kv_temp(run);
            buf_put_bytes(text, k->head.text);
            k->head.text = buf_view(text);
        }
        length = MAX(length, kv_length(k));
    }
    return bitop_store(run, &b, to_key, length);
}

/* BITFIELD: numbers of 1 to 64 bits at any bit. */
static uint64_t field_get(const uint8_t *p, unsigned shift, unsigned bits)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bits; i++) v = v << 1 | (uint64_t)(p[(shift + i) / 8] >> (7 - (shift + i) % 8) & 1);
    return v;
}

static void field_set(uint8_t *p, unsigned shift, unsigned bits, uint64_t v)
{
    for (unsigned i = 0; i < bits; i++) {
        unsigned at = shift + i, bit = 7 - at % 8;
        unsigned one = (unsigned)(v >> (bits - 1 - i) & 1);
        p[at / 8] = (uint8_t)((p[at / 8] & ~(1u << bit)) | one << bit);
    }
}

static int64_t sign_extend(uint64_t v, unsigned bits)
{
    unsigned unused = 64 - bits;
    return (int64_t)(v << unused) >> unused;
}

/* value + delta in a field, by its overflow rule; false: it fails. For SET delta is 0. */
static bool field_add(const struct kv_field *f, int64_t value, int64_t delta, int64_t *out)
{
    if (f->is_signed) {
        int64_t max = (int64_t)((1ull << (f->bits - 1)) - 1), min = -max - 1, sum;
        bool wrapped = __builtin_add_overflow(value, delta, &sum);
        bool above = wrapped ? delta > 0 : sum > max, below = wrapped ? delta < 0 : sum < min;
        if (above || below) {
            if (f->overflow == KV_OVERFLOW_FAIL) return false;
            sum = f->overflow == KV_OVERFLOW_SAT ? (above ? max : min) : sign_extend((uint64_t)sum, f->bits);
        }
        *out = sum;
        return true;
    }
    /* Unsigned fields have at most 63 bits. A SET of a negative number counts as one far above the maximum. */
    uint64_t max = UINT64_MAX >> (64 - f->bits), v = (uint64_t)value, sum = v + (uint64_t)delta;
    bool above = v > max || (delta > 0 && (uint64_t)delta > max - v);
    bool below = !above && delta < 0 && (uint64_t)0 - (uint64_t)delta > v;
    if (above || below) {
        if (f->overflow == KV_OVERFLOW_FAIL) return false;
        sum = f->overflow == KV_OVERFLOW_SAT ? (above ? max : 0) : sum & max;
    }
    *out = (int64_t)sum;
    return true;
}

static bool take_field(struct reader *r, struct kv_field *out)
{
    out->op = reader_u8(r);
    out->is_signed = reader_u8(r);
    out->bits = reader_u8(r);
    out->overflow = reader_u8(r);
    out->offset = reader_u64(r);
    out->value = (int64_t)reader_u64(r);
    return !r->failed && out->op <= KV_FIELD_INCR && out->is_signed <= 1 && out->bits >= 1 &&
           out->bits <= 63 + out->is_signed && out->overflow <= KV_OVERFLOW_FAIL && out->offset < KV_STRING_MAX * 8 &&
           (out->op == KV_FIELD_GET || out->offset + out->bits <= KV_STRING_MAX * 8);
}

/* Nine bytes hold any field. */
struct field_bytes {
    uint8_t p[9];
    size_t n;
};

static enum status field_read(struct kv_run *run, const struct kv_key *k, struct kv_edit *e, const struct kv_field *f,
                              struct field_bytes *out)
{
    uint64_t first = f->offset / 8;
    memset(out->p, 0, sizeof out->p);
    out->n = (f->offset % 8 + f->bits + 7) / 8;
    if (e != NULL) return kv_edit_read(e, first, out->p, out->n);
    uint64_t length = kv_length(k), n = length > first ? MIN(out->n, length - first) : 0;
    struct buf *b = kv_temp(run);
    enum status st = kv_read(run, k, first, n, b);
    if (st == ST_OK && n != 0) memcpy(out->p, b->p, n);
    return st;
}

static enum status field_run(struct kv_run *run, const struct kv_key *k, struct kv_edit *e, const struct kv_field *f)
{
    struct field_bytes fb;
    enum status st = field_read(run, k, e, f, &fb);
    if (st != ST_OK) return st;
    unsigned shift = (unsigned)(f->offset % 8);
    uint64_t raw = field_get(fb.p, shift, f->bits);
    int64_t old = f->is_signed ? sign_extend(raw, f->bits) : (int64_t)raw, value;
    if (f->op == KV_FIELD_GET) return kv_int(run, old);
    bool set = f->op == KV_FIELD_SET;
    if (!field_add(f, set ? f->value : old, set ? 0 : f->value, &value)) {
        result_nil(run->out);
        return ST_OK;
    }
    field_set(fb.p, shift, f->bits, (uint64_t)value);
    result_int(run->out, set ? old : value);
    return kv_edit_write(e, f->offset / 8, bytes_of(fb.p, fb.n));
}

/* BITFIELD, BITFIELD_RO. The string grows to hold every field that is written, whatever comes of it, as in Redis. */
enum status kv_op_bitfield(struct kv_run *run)
{
    struct kv_key k;
    struct kv_field f;
    bool write = false;
    uint64_t length = 0;
    struct bytes key = reader_lp(&run->body);
    uint64_t count = reader_varint(&run->body);
    struct reader check = run->body;
    for (uint64_t i = 0; i < MIN(count, reader_left(&run->body)); i++) {
        if (!take_field(&check, &f)) return kv_malformed(run);
        if (f.op == KV_FIELD_GET) continue;
        write = true;
        length = MAX(length, (f.offset + f.bits + 7) / 8);
    }
    if (count > reader_left(&run->body) || !reader_done(&check)) return kv_malformed(run);
    if (write && run->op->opcode == KV_BITFIELD_RO) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    struct kv_edit e;
    if (write) {
        kv_edit_open(&e, run, &k, length);
    } else if (k.head.type == KV_STRING) {
        struct buf *text = kv_temp(run); /* several reads of it follow */
        buf_put_bytes(text, k.head.text);
        k.head.text = buf_view(text);
    }
    result_array(run->out, count);
    for (uint64_t i = 0; i < count; i++) {
        bool ok = take_field(&run->body, &f);
        ASSERT(ok);
        st = field_run(run, &k, write ? &e : NULL, &f);
        if (st != ST_OK) return st;
    }
    if (write) kv_edit_close(&e);
    return ST_OK;
}
