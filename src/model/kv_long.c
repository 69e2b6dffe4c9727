/* kv_long.c - strings: inline in their head, or as pieces; whole, and in parts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Piece i of a long string is the element row (incarnation, i BE u32) with bytes i·KV_PIECE …, up to KV_PIECE of them. A
 * missing piece, or the missing end of one, is zeros up to the length in the head: SETBIT far out costs one piece. */
#include "model/kv_internal.h"

#define PIECE_PREFIX 15 /* table, slot, space, incarnation */

static void piece_row(struct kv_run *run, const struct kv_key *k, uint64_t incarnation, uint64_t piece)
{
    uint8_t rest[4];
    put_be32(rest, (uint32_t)piece);
    buf_clear(&run->row);
    row_element(&run->row, run->view->table, k->slot, incarnation, bytes_of(rest, 4));
}

void kv_put_piece(struct kv_run *run, const struct kv_key *k, uint64_t incarnation, uint64_t piece, struct bytes data)
{
    ASSERT(data.n <= KV_PIECE);
    piece_row(run, k, incarnation, piece);
    run->view->put(run->view->ctx, buf_view(&run->row), data);
}

struct parts {
    uint64_t at, end; /* what is still to be passed on */
    bool (*each)(void *ctx, const uint8_t *p, uint64_t n);
    void *ctx;
    bool stopped, corrupt;
};

static bool parts_zeros(struct parts *s, uint64_t until)
{
    if (until > s->at && !s->each(s->ctx, NULL, until - s->at)) {
        s->stopped = true;
        return false;
    }
    s->at = MAX(s->at, until);
    return true;
}

static bool parts_row(void *ctx, struct bytes row, struct bytes value)
{
    struct parts *s = ctx;
    if (row.n != PIECE_PREFIX + 4 || value.n > KV_PIECE) {
        s->corrupt = true;
        return false;
    }
    uint64_t start = (uint64_t)get_be32(row.p + PIECE_PREFIX) * KV_PIECE;
    uint64_t from = MAX(start, s->at), to = MIN(start + value.n, s->end);
    if (from >= to) return true;
    if (!parts_zeros(s, from)) return false;
    if (!s->each(s->ctx, value.p + (from - start), to - from)) {
        s->stopped = true;
        return false;
    }
    s->at = to;
    return true;
}

enum status kv_each_part(struct kv_run *run, const struct kv_key *k, uint64_t offset, uint64_t n,
                         bool (*each)(void *ctx, const uint8_t *p, uint64_t n), void *ctx)
{
    if (n == 0) return ST_OK;
    ASSERT(offset + n <= kv_length(k));
    if (k->head.type == KV_STRING) {
        each(ctx, k->head.text.p + offset, n);
        return ST_OK;
    }
    struct parts s = {.at = offset, .end = offset + n, .each = each, .ctx = ctx};
    struct buf *lo = kv_temp(run);
    piece_row(run, k, k->head.incarnation, offset / KV_PIECE);
    buf_put_bytes(lo, buf_view(&run->row));
    piece_row(run, k, k->head.incarnation, (offset + n - 1) / KV_PIECE);
    buf_put_u8(&run->row, 0); /* just above the last */
    struct op_view *v = run->view;
    enum status st = v->scan(v->ctx, buf_view(lo), buf_view(&run->row), false, parts_row, &s);
    if (st != ST_OK) return st;
    if (s.corrupt) return ST_CORRUPT;
    if (!s.stopped) parts_zeros(&s, s.end);
    return ST_OK;
}

static bool append_part(void *ctx, const uint8_t *p, uint64_t n)
{
    struct buf *dst = ctx;
    uint8_t *at = buf_extend(dst, n);
    if (p != NULL) memcpy(at, p, n);
    else memset(at, 0, n);
    return true;
}

enum status kv_read(struct kv_run *run, const struct kv_key *k, uint64_t offset, uint64_t n, struct buf *dst)
{
    buf_reserve(dst, n);
    size_t before = dst->n;
    enum status st = kv_each_part(run, k, offset, n, append_part, dst);
    ASSERT(st != ST_OK || dst->n == before + n);
    return st;
}

enum status kv_result_range(struct kv_run *run, const struct kv_key *k, uint64_t offset, uint64_t n)
{
    result_bulk_head(run->out, n);
    return kv_read(run, k, offset, n, run->out);
}

void kv_set_string(struct kv_run *run, struct kv_key *k, struct bytes value, const uint64_t *expiry_ms)
{
    ASSERT(value.n <= KV_STRING_MAX);
    struct kv_head h = {.type = KV_STRING, .text = value};
    if (expiry_ms != NULL) {
        h.has_expiry = true;
        h.expiry_ms = *expiry_ms;
    }
    if (value.n > KV_INLINE_MAX) {
        h.type = KV_LONG;
        h.text = (struct bytes){0};
        h.incarnation = kv_incarnation(run);
        h.count = value.n;
        for (uint64_t at = 0; at < value.n; at += KV_PIECE) {
            kv_put_piece(run, k, h.incarnation, at / KV_PIECE, bytes_of(value.p + at, MIN(KV_PIECE, value.n - at)));
        }
    }
    kv_store(run, k, &h);
}

/* The inline value moves into the first piece. */
static void edit_to_pieces(struct kv_edit *e)
{
    struct kv_run *run = e->run;
    e->head.type = KV_LONG;
    e->head.incarnation = kv_incarnation(run);
    e->head.count = e->whole->n;
    e->fresh = true;
    if (e->whole->n != 0) kv_put_piece(run, e->k, e->head.incarnation, 0, buf_view(e->whole));
    e->fresh_end = 1;
    e->whole = NULL;
}

void kv_edit_open(struct kv_edit *e, struct kv_run *run, struct kv_key *k, uint64_t length)
{
    ASSERT(run->writing && length <= KV_STRING_MAX);
    ASSERT(k->head.type == KV_NONE || kv_is_string(k));
    *e = (struct kv_edit){.run = run, .k = k, .head = k->head};
    if (k->head.type != KV_LONG) {
        e->head.type = KV_STRING;
        e->whole = kv_temp(run);
        buf_reserve(e->whole, MIN(MAX(length, k->head.text.n), KV_INLINE_MAX));
        buf_put_bytes(e->whole, k->head.text); /* nothing for an absent key */
        e->head.text = (struct bytes){0};
        if (length > KV_INLINE_MAX) edit_to_pieces(e);
        else if (length > e->whole->n) append_part(e->whole, NULL, length - e->whole->n);
    }
    if (e->whole == NULL) e->head.count = MAX(e->head.count, length);
}

enum status kv_edit_read(struct kv_edit *e, uint64_t offset, uint8_t *dst, size_t n)
{
    memset(dst, 0, n);
    if (e->whole != NULL) {
        if (offset < e->whole->n) memcpy(dst, e->whole->p + offset, MIN(n, e->whole->n - offset));
        return ST_OK;
    }
    struct op_view *v = e->run->view;
    for (uint64_t at = offset; at < offset + n;) {
        uint64_t piece = at / KV_PIECE, in = at % KV_PIECE, part = MIN(KV_PIECE - in, offset + n - at);
        struct bytes value = {0};
        if (!e->fresh || piece < e->fresh_end) {
            piece_row(e->run, e->k, e->head.incarnation, piece);
            enum status st = v->get(v->ctx, buf_view(&e->run->row), &value);
            if (st == ST_NOT_FOUND) value = (struct bytes){0};
            if (st != ST_OK && st != ST_NOT_FOUND) return st;
        }
        if (in < value.n) memcpy(dst + (at - offset), value.p + in, MIN(part, value.n - in));
        at += part;
    }
    return ST_OK;
}

static enum status edit_piece(struct kv_edit *e, uint64_t piece, uint64_t in, struct bytes data, struct buf *scratch)
{
    struct op_view *v = e->run->view;
    struct bytes value = {0};
    piece_row(e->run, e->k, e->head.incarnation, piece);
    bool whole = in == 0 && data.n == KV_PIECE;
    if (!whole && (!e->fresh || piece < e->fresh_end)) {
        enum status st = v->get(v->ctx, buf_view(&e->run->row), &value);
        if (st == ST_NOT_FOUND) value = (struct bytes){0};
        if (st != ST_OK && st != ST_NOT_FOUND) return st;
        if (value.n > KV_PIECE) return ST_CORRUPT;
    }
    if (!whole) {
        buf_clear(scratch);
        buf_put_bytes(scratch, value);
        if (scratch->n < in + data.n) append_part(scratch, NULL, in + data.n - scratch->n);
        memcpy(scratch->p + in, data.p, data.n);
        data = buf_view(scratch);
    }
    v->put(v->ctx, buf_view(&e->run->row), data);
    if (e->fresh) e->fresh_end = MAX(e->fresh_end, piece + 1);
    return ST_OK;
}

enum status kv_edit_write(struct kv_edit *e, uint64_t offset, struct bytes data)
{
    if (data.n == 0) return ST_OK;
    if (e->whole != NULL) {
        ASSERT(offset + data.n <= e->whole->n);
        memcpy(e->whole->p + offset, data.p, data.n);
        return ST_OK;
    }
    ASSERT(offset + data.n <= e->head.count);
    struct buf *scratch = kv_temp(e->run);
    for (size_t done = 0; done < data.n;) {
        uint64_t in = (offset + done) % KV_PIECE;
        size_t part = MIN(KV_PIECE - in, data.n - done);
        enum status st = edit_piece(e, (offset + done) / KV_PIECE, in, bytes_of(data.p + done, part), scratch);
        if (st != ST_OK) return st;
        done += part;
    }
    return ST_OK;
}

void kv_edit_close(struct kv_edit *e)
{
    if (e->whole != NULL) e->head.text = buf_view(e->whole);
    kv_store(e->run, e->k, &e->head);
}
