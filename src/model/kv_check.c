/* kv_check.c - do a partition's rows fit together?
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/kv_check.h"

#include "base/map.h"
#include "base/mem.h"
#include "model/kv_internal.h"

/* What is known of an incarnation. */
struct owner {
    uint16_t slot;
    uint8_t type; /* of the head; KV_NONE: garbage */
    uint64_t count;
    uint64_t elements; /* seen */
};

struct check {
    struct op_view *view;
    struct map owners; /* by incarnation */
    struct op_counters counted;
    uint64_t expiry_rows;
    struct buf heads; /* lp: the expiry rows that must be there */
    struct error *err;
    enum status status;
};

static bool bad(struct check *c, const char *what, struct bytes row)
{
    char hex[2 * 64 + 1];
    size_t n = MIN(row.n, 64);
    for (size_t i = 0; i < n; i++) {
        hex[2 * i] = "0123456789abcdef"[row.p[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[row.p[i] & 15];
    }
    hex[2 * n] = 0;
    if (c->status == ST_OK) c->status = error_set(c->err, ST_CORRUPT, "%s: row %s", what, hex);
    return false;
}

static bool own(struct check *c, uint64_t incarnation, uint16_t slot, uint8_t type, uint64_t count, struct bytes row)
{
    if (map_get(&c->owners, incarnation) != NULL) return bad(c, "kv invariant 2: an incarnation with two owners", row);
    struct owner *o = mem_zalloc(sizeof *o);
    *o = (struct owner){.slot = slot, .type = type, .count = count};
    map_set(&c->owners, incarnation, o);
    return true;
}

static bool check_head(struct check *c, const struct row_parts *p, struct bytes row, struct bytes value)
{
    struct kv_head h;
    if (!kv_head_decode(value, &h)) return bad(c, "kv invariant 1: a head that can't be read", row);
    if (key_slot(p->rest) != p->slot || key_hash48(p->rest) != p->hash48)
        return bad(c, "kv invariant 1: a head in the wrong place", row);
    if (h.version > c->view->ts) return bad(c, "kv invariant 1: a version of the future", row);
    c->counted.keys++;
    if (h.has_expiry) {
        c->counted.expires++;
        struct buf expiry = {0};
        row_expiry(&expiry, p->table, p->slot, h.expiry_ms, p->hash48, p->rest);
        buf_put_lp(&c->heads, buf_view(&expiry));
        buf_deinit(&expiry);
    }
    if (h.type == KV_HASH && h.count == 0) return bad(c, "kv invariant 3: an empty hash", row);
    if (h.type == KV_LONG && (h.count <= KV_INLINE_MAX || h.count > KV_STRING_MAX))
        return bad(c, "kv invariant 4: a long string of that length", row);
    if (h.type == KV_STRING) return h.text.n <= KV_INLINE_MAX || bad(c, "kv invariant 4: too long to be inline", row);
    return own(c, h.incarnation, p->slot, h.type, h.count, row);
}

/* First pass: heads, garbage, and the number of expiry rows. */
static bool pass_owners(void *ctx, struct bytes row, struct bytes value)
{
    struct check *c = ctx;
    struct row_parts p;
    if (!row_parse(row, &p)) return bad(c, "a row that is none of ours", row);
    switch (p.space) {
    case SPACE_HEAD: return check_head(c, &p, row, value);
    case SPACE_GARBAGE: c->counted.garbage++; return own(c, p.incarnation, p.slot, KV_NONE, 0, row);
    case SPACE_EXPIRY: c->expiry_rows++; return true;
    default: return true;
    }
}

/* Second pass: every element has its owner. */
static bool pass_elements(void *ctx, struct bytes row, struct bytes value)
{
    struct check *c = ctx;
    struct row_parts p;
    if (!row_parse(row, &p) || p.space != SPACE_ELEMENT) return true;
    struct owner *o = map_get(&c->owners, p.incarnation);
    if (o == NULL || o->slot != p.slot) return bad(c, "kv invariant 2: an element without owner", row);
    o->elements++;
    struct reader r = reader_of(p.rest);
    if (o->type == KV_LONG) {
        uint64_t start = (uint64_t)reader_be32(&r) * KV_PIECE;
        if (!reader_done(&r) || value.n > KV_PIECE || start + value.n > o->count)
            return bad(c, "kv invariant 4: a piece beyond its string", row);
    } else if (o->type == KV_HASH) {
        uint64_t hash48 = reader_be48(&r);
        struct bytes field = reader_bytes(&r, reader_left(&r));
        if (r.failed || key_hash48(field) != hash48) return bad(c, "kv invariant 3: a field in the wrong place", row);
    }
    return true;
}

static void check_counts(struct check *c)
{
    uint64_t incarnation;
    void *value;
    for (size_t i = 0; map_each(&c->owners, &i, &incarnation, &value);) {
        const struct owner *o = value;
        if (c->status == ST_OK && o->type == KV_HASH && o->elements != o->count)
            c->status = error_set(c->err, ST_CORRUPT, "kv invariant 3: a hash of %llu fields has %llu",
                                  (unsigned long long)o->count, (unsigned long long)o->elements);
    }
    struct reader r = reader_of(buf_view(&c->heads));
    while (c->status == ST_OK && reader_left(&r) != 0) {
        struct bytes row = reader_lp(&r), unused;
        enum status st = c->view->get(c->view->ctx, row, &unused);
        if (st == ST_NOT_FOUND) bad(c, "kv invariant 5: an expiry without its row", row);
        else if (st != ST_OK) c->status = st;
    }
    const struct op_counters *is = c->view->counters, *seen = &c->counted;
    if (c->status == ST_OK && c->expiry_rows != (uint64_t)seen->expires)
        c->status = error_set(c->err, ST_CORRUPT, "kv invariant 5: %llu expiry rows for %lld heads that expire",
                              (unsigned long long)c->expiry_rows, (long long)seen->expires);
    if (c->status == ST_OK && (is->keys != seen->keys || is->expires != seen->expires || is->garbage != seen->garbage))
        c->status = error_set(c->err, ST_CORRUPT,
                              "kv invariant 6: counters keys %lld expires %lld garbage %lld, rows %lld %lld %lld",
                              (long long)is->keys, (long long)is->expires, (long long)is->garbage,
                              (long long)seen->keys, (long long)seen->expires, (long long)seen->garbage);
}

enum status kv_check(struct op_view *view, struct error *err)
{
    struct check c = {.view = view, .err = err};
    struct buf lo = {0}, hi = {0};
    row_range(&lo, &hi, view->table, view->slot_lo, view->slot_hi);
    enum status st = view->scan(view->ctx, buf_view(&lo), buf_view(&hi), false, pass_owners, &c);
    if (st == ST_OK && c.status == ST_OK)
        st = view->scan(view->ctx, buf_view(&lo), buf_view(&hi), false, pass_elements, &c);
    if (st == ST_OK && c.status == ST_OK) check_counts(&c);
    uint64_t incarnation;
    void *value;
    for (size_t i = 0; map_each(&c.owners, &i, &incarnation, &value);) mem_free(value);
    map_deinit(&c.owners);
    buf_deinit(&c.heads);
    buf_deinit(&lo);
    buf_deinit(&hi);
    return st != ST_OK ? st : c.status;
}
