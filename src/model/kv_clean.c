/* kv_clean.c - background work, proposed by the leader: elements of dead incarnations, expired keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mutation.h"
#include "model/kv_internal.h"
#include "store/history.h"

static bool slot_here(const struct kv_run *run, uint64_t slot)
{
    return slot >= run->view->slot_lo && slot < run->view->slot_hi;
}

/* Collects the keys of rows, up to a number. */
struct collect {
    struct buf *rows; /* lp */
    uint64_t count, count_max;
    bool more;
};

static bool collect_each(void *ctx, struct bytes row, struct bytes value)
{
    struct collect *c = ctx;
    if (c->count == c->count_max) {
        c->more = true;
        return false;
    }
    buf_put_lp(c->rows, row);
    c->count++;
    return true;
}

/* A dead incarnation's elements are needed by reads at times before its end. */
static bool may_clean(const struct op_view *v, struct bytes garbage)
{
    return garbage.n != 8 || get_u64(garbage.p) <= v->counters->watermark;
}

enum status kv_op_clean(struct kv_run *run)
{
    struct op_view *v = run->view;
    uint16_t slot = reader_u16(&run->body);
    uint64_t incarnation = reader_u64(&run->body);
    struct collect c = {.rows = kv_temp(run), .count_max = reader_u32(&run->body)};
    if (!reader_done(&run->body) || c.count_max == 0) return kv_malformed(run);
    if (!slot_here(run, slot)) return ST_STALE;
    struct buf *garbage = kv_temp(run);
    struct bytes value;
    row_garbage(garbage, v->table, slot, incarnation);
    enum status st = v->get(v->ctx, buf_view(garbage), &value);
    if (st == ST_NOT_FOUND) return kv_int(run, 0); /* cleaned already: proposed twice */
    if (st != ST_OK) return st;
    if (!may_clean(v, value)) return kv_int(run, 2);
    struct bytes lo, hi;
    kv_element_range(run, slot, incarnation, &lo, &hi);
    if (MUTATION("clean_wrong_incarnation")) memset((uint8_t *)hi.p + 7, 0xff, 8); /* and all later ones */
    st = v->scan(v->ctx, lo, hi, false, collect_each, &c);
    if (st != ST_OK) return st;
    struct reader r = reader_of(buf_view(c.rows));
    while (reader_left(&r) != 0) v->del(v->ctx, reader_lp(&r));
    if (!c.more) {
        v->del(v->ctx, buf_view(garbage));
        v->counters->garbage--;
    }
    return kv_int(run, c.more);
}

/* [lo, hi) of a slot's expiry rows at or before now. */
static void expired_range(struct kv_run *run, uint16_t slot, struct buf *lo, struct buf *hi)
{
    buf_clear(lo);
    buf_clear(hi);
    row_prefix(lo, run->view->table, slot, SPACE_EXPIRY);
    row_prefix(hi, run->view->table, slot, SPACE_EXPIRY);
    buf_put_be64(hi, run->now_ms + 1);
}

enum status kv_op_expire_sweep(struct kv_run *run)
{
    struct op_view *v = run->view;
    uint64_t slots = reader_varint(&run->body);
    if (run->body.failed || slots > SLOTS || reader_left(&run->body) != slots * 2 + 4) return kv_malformed(run);
    struct reader list = run->body;
    reader_bytes(&run->body, slots * 2);
    struct collect c = {.rows = kv_temp(run), .count_max = reader_u32(&run->body)};
    struct buf *lo = kv_temp(run), *hi = kv_temp(run);
    for (uint64_t i = 0; i < slots && !c.more; i++) {
        uint16_t slot = reader_u16(&list);
        if (!slot_here(run, slot)) return ST_STALE;
        expired_range(run, slot, lo, hi);
        enum status st = v->scan(v->ctx, buf_view(lo), buf_view(hi), false, collect_each, &c);
        if (st != ST_OK) return st;
    }
    int64_t deleted = 0;
    struct reader r = reader_of(buf_view(c.rows));
    while (reader_left(&r) != 0) {
        struct row_parts p;
        struct bytes row = reader_lp(&r);
        if (!row_parse(row, &p)) return ST_CORRUPT;
        struct kv_key k;
        enum status st = kv_open(run, &k, p.rest); /* deletes it, and this row */
        if (st != ST_OK) return st;
        if (k.head.type != KV_NONE) return ST_CORRUPT; /* every expiry row has its head */
        deleted++;
    }
    result_array(run->out, 2);
    result_int(run->out, deleted);
    return kv_int(run, c.more);
}

/* A walk over one space of each slot: `found_max` slots or rows, or SEEKS_MAX looks, then it says where to go on. */
#define SEEKS_MAX 256

struct first {
    struct row_parts parts;
    const struct op_view *view;
    bool found, corrupt, cleanable;
};

static bool first_each(void *ctx, struct bytes row, struct bytes value)
{
    struct first *f = ctx;
    f->found = true;
    f->corrupt = !row_parse(row, &f->parts);
    f->cleanable = may_clean(f->view, value);
    return false;
}

/* The first row at or behind `lo` in the partition. */
static enum status first_from(struct kv_run *run, const struct buf *lo, const struct buf *end, struct first *out)
{
    *out = (struct first){.view = run->view};
    enum status st = run->view->scan(run->view->ctx, buf_view(lo), buf_view(end), false, first_each, out);
    return st == ST_OK && out->corrupt ? ST_CORRUPT : st;
}

/* GARBAGE_FIND, EXPIRED_FIND. */
static enum status find(struct kv_run *run, uint8_t space)
{
    struct op_view *v = run->view;
    uint16_t slot = reader_u16(&run->body);
    uint32_t found_max = reader_u32(&run->body);
    if (!reader_done(&run->body)) return kv_malformed(run);
    if (!slot_here(run, slot)) return ST_STALE;
    struct buf *lo = kv_temp(run), *end = kv_temp(run), *found = kv_temp(run);
    row_range(lo, end, v->table, slot, v->slot_hi);
    uint64_t count = 0, per = space == SPACE_GARBAGE ? 2 : 1;
    int64_t next = slot;
    buf_clear(lo);
    row_prefix(lo, v->table, slot, space);
    for (int seeks = 0; seeks < SEEKS_MAX && count < (uint64_t)found_max * per; seeks++) {
        struct first f;
        enum status st = first_from(run, lo, end, &f);
        if (st != ST_OK) return st;
        if (!f.found) {
            next = -1;
            break;
        }
        bool hit = f.parts.space == space && (space == SPACE_GARBAGE || f.parts.expiry_ms <= run->now_ms);
        buf_clear(lo);
        next = f.parts.slot;
        if (hit && (space != SPACE_GARBAGE || f.cleanable)) {
            result_int(found, f.parts.slot);
            if (space == SPACE_GARBAGE) result_int(found, (int64_t)f.parts.incarnation);
            count += per;
        }
        if (hit && space == SPACE_GARBAGE) {
            row_garbage(lo, v->table, f.parts.slot, f.parts.incarnation);
            buf_put_u8(lo, 0); /* just above it */
        } else if (hit || f.parts.space >= space) {
            next = f.parts.slot + 1;
            if (next >= v->slot_hi) {
                next = -1;
                break;
            }
            row_prefix(lo, v->table, (uint16_t)next, space);
        } else {
            row_prefix(lo, v->table, f.parts.slot, space);
        }
    }
    result_array(run->out, 2);
    result_int(run->out, next);
    result_array(run->out, count);
    buf_put_bytes(run->out, buf_view(found));
    return ST_OK;
}

enum status kv_op_garbage_find(struct kv_run *run) { return find(run, SPACE_GARBAGE); }
enum status kv_op_expired_find(struct kv_run *run) { return find(run, SPACE_EXPIRY); }

/* ---- history ---- */

enum status kv_op_retention(struct kv_run *run)
{
    struct op_counters *c = run->view->counters;
    uint64_t retention_ms = reader_u64(&run->body);
    hlc_t watermark = reader_u64(&run->body), now = run->view->ts;
    if (!reader_done(&run->body)) return kv_malformed(run);
    if ((retention_ms == 0) != (c->retention_ms == 0))
        watermark = now; /* before that, or from then on, nothing is kept */
    else if (retention_ms == 0) watermark = 0;
    c->retention_ms = retention_ms;
    c->watermark = MAX(c->watermark, MIN(watermark, now));
    return kv_int(run, (int64_t)c->watermark);
}

static bool is_history(uint8_t space) { return space == SPACE_HISTORY || space == SPACE_ELEMENT_HISTORY; }

static bool may_go(const struct op_view *v, const struct row_parts *p)
{
    return is_history(p->space) && p->rest.n >= 8 &&
           (!history_should_keep(v->counters->watermark, get_be64(p->rest.p + p->rest.n - 8)) ||
            MUTATION("watermark_ignored"));
}

struct history_pass {
    struct kv_run *run;
    struct buf *found, *next;
    uint64_t count, seen, seen_max, count_max;
    bool jump, full, corrupt;
};

#define FOUND_BYTES_MAX (64u << 10)

static bool history_each(void *ctx, struct bytes row, struct bytes value)
{
    struct history_pass *h = ctx;
    struct row_parts p;
    (void)value;
    if (!row_parse(row, &p)) {
        h->corrupt = true;
        return false;
    }
    buf_clear(h->next);
    if (!is_history(p.space)) { /* on to where the slot's next history would be */
        row_prefix(h->next, p.table, p.slot, p.space < SPACE_HISTORY ? SPACE_HISTORY : SPACE_ELEMENT_HISTORY);
        h->jump = true;
        return false;
    }
    buf_put_bytes(h->next, row);
    if (h->seen == h->seen_max || h->count == h->count_max || h->found->n > FOUND_BYTES_MAX) {
        h->full = true;
        return false;
    }
    h->seen++;
    if (may_go(h->run->view, &p)) {
        result_bulk(h->found, row);
        h->count++;
    }
    return true;
}

enum status kv_op_history_find(struct kv_run *run)
{
    struct op_view *v = run->view;
    struct bytes from = reader_lp(&run->body);
    struct history_pass h = {.run = run, .found = kv_temp(run), .next = kv_temp(run)};
    h.seen_max = reader_u32(&run->body);
    h.count_max = reader_u32(&run->body);
    if (!reader_done(&run->body)) return kv_malformed(run);
    struct buf *lo = kv_temp(run), *hi = kv_temp(run), *at = kv_temp(run);
    row_range(lo, hi, v->table, v->slot_lo, v->slot_hi);
    bool ended = false;
    if (from.n != 0 && (bytes_compare(from, buf_view(lo)) < 0 || bytes_compare(from, buf_view(hi)) >= 0))
        return ST_STALE;
    buf_put_bytes(at, from.n != 0 ? from : buf_view(lo));
    for (int seeks = 0; seeks < SEEKS_MAX && !h.full && !ended; seeks++) {
        h.jump = false;
        enum status st = v->scan(v->ctx, buf_view(at), buf_view(hi), false, history_each, &h);
        if (st != ST_OK) return st;
        if (h.corrupt) return ST_CORRUPT;
        ended = !h.jump && !h.full;
        buf_clear(at);
        buf_put_bytes(at, buf_view(h.next));
    }
    result_array(run->out, 3);
    result_bulk(run->out, ended ? BYTES_LIT("") : buf_view(at));
    result_int(run->out, (int64_t)h.seen);
    result_array(run->out, h.count);
    buf_put_bytes(run->out, buf_view(h.found));
    return ST_OK;
}

enum status kv_op_history_drop(struct kv_run *run)
{
    struct op_view *v = run->view;
    uint64_t count = reader_varint(&run->body);
    struct reader check = run->body;
    struct row_parts p;
    for (uint64_t i = 0; i < count && !check.failed; i++) {
        struct bytes row = reader_lp(&check);
        if (check.failed || !row_parse(row, &p) || !is_history(p.space) || p.table != v->table)
            return kv_malformed(run);
        if (!slot_here(run, p.slot)) return ST_STALE;
    }
    if (!reader_done(&check)) return kv_malformed(run);
    int64_t dropped = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct bytes row = reader_lp(&run->body);
        if (!row_parse(row, &p) || !may_go(v, &p)) continue; /* the watermark says who may go, not the proposer */
        v->del(v->ctx, row);
        dropped++;
    }
    return kv_int(run, dropped);
}
