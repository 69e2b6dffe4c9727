/* history_view.c - a partition's rows with their past: written down as they change, and read as of a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/history_view.h"

#include "base/mutation.h"
#include "model/kv_internal.h"
#include "model/row_merge.h"
#include "store/history.h"
#include "table/place.h"

#define SPACE_OF(row)   ((row).p[HISTORY_SPACE_AT])
#define INCARNATION_AT  (HISTORY_SPACE_AT + 1)

/* What a scan of the past has in memory at a time. It begins small: most scans want little. */
#define WINDOW_ROWS_MIN 16u
#define WINDOW_ROWS_MAX 512u
#define WINDOW_BYTES    (1u << 20)

/* The space of the history of a row; 0: it has none. */
static uint8_t history_space(struct bytes row)
{
    if (row.n < HISTORY_KEY_MIN) return 0;
    return SPACE_OF(row) == SPACE_HEAD ? SPACE_HISTORY : SPACE_OF(row) == SPACE_ELEMENT ? SPACE_ELEMENT_HISTORY : 0;
}

/* ---- writing ---- */

static void record(struct history_writer *w, struct bytes row)
{
    uint8_t space = history_space(row);
    if (space == 0 || w->status != ST_OK || MUTATION("history_not_written")) return;
    bool head = space == SPACE_HISTORY;
    if (!head && get_be64(row.p + INCARNATION_AT) >= w->base->ts) return; /* made by this op */
    if (row_tree_find(&w->seen, row) != NULL) return;
    row_tree_put(&w->seen, row, BYTES_LIT(""));
    struct bytes old;
    enum status st = w->base->get(w->base->ctx, row, &old);
    if (st != ST_OK && st != ST_NOT_FOUND) {
        w->status = st;
        return;
    }
    /* A new head tells by its version that there was none before. */
    if (st == ST_NOT_FOUND && head) return;
    buf_clear(&w->key);
    buf_clear(&w->value);
    history_key(&w->key, row, space, w->base->ts);
    history_value(&w->value, st == ST_OK, old);
    w->base->put(w->base->ctx, buf_view(&w->key), buf_view(&w->value));
}

static enum status writer_get(void *ctx, struct bytes row, struct bytes *out)
{
    struct history_writer *w = ctx;
    return w->base->get(w->base->ctx, row, out);
}

static enum status writer_get_front(void *ctx, struct bytes row, struct bytes *out)
{
    struct history_writer *w = ctx;
    return w->base->get_front(w->base->ctx, row, out);
}

static enum status writer_scan(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                               bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct history_writer *w = ctx;
    return w->base->scan(w->base->ctx, lo, hi, reverse, each, each_ctx);
}

static void writer_put(void *ctx, struct bytes row, struct bytes value)
{
    struct history_writer *w = ctx;
    if (history_space(row) != 0) { /* the value may be lent by the view, which is about to be asked */
        buf_clear(&w->old);
        buf_put_bytes(&w->old, value);
        value = buf_view(&w->old);
        record(w, row);
    }
    w->base->put(w->base->ctx, row, value);
}

static void writer_del(void *ctx, struct bytes row)
{
    struct history_writer *w = ctx;
    record(w, row);
    w->base->del(w->base->ctx, row);
}

void history_writer_init(struct history_writer *w, struct op_view *base)
{
    ASSERT(base->put != NULL && base->del != NULL);
    *w = (struct history_writer){.view = *base, .base = base};
    w->view.ctx = w;
    w->view.get = writer_get;
    w->view.get_front = writer_get_front;
    w->view.scan = writer_scan;
    w->view.put = writer_put;
    w->view.del = writer_del;
}

void history_writer_deinit(struct history_writer *w)
{
    row_tree_deinit(&w->seen);
    buf_deinit(&w->key);
    buf_deinit(&w->old);
    buf_deinit(&w->value);
}

/* ---- reading ---- */

/* A head that is there now, or was in a history row, may have been made after the time asked for. */
static bool was_there(hlc_t ts, struct bytes row, struct bytes value)
{
    struct kv_head h;
    return SPACE_OF(row) != SPACE_HEAD || !kv_head_decode(value, &h) ||
           h.version <= ts; /* a bad one: the op shall see it */
}

/* The first change after the time, of one row. */
struct change {
    struct bytes row;
    uint8_t space;
    struct buf *value;
    bool found, present, corrupt;
};

static bool change_each(void *ctx, struct bytes row, struct bytes value)
{
    struct change *c = ctx;
    struct bytes old;
    if (!history_is_of(row, c->space, c->row)) return true; /* of a longer key */
    c->found = true;
    c->corrupt = !history_value_decode(value, &c->present, &old);
    buf_clear(c->value);
    if (!c->corrupt) buf_put_bytes(c->value, old);
    return false;
}

static enum status first_change(struct history_reader *h, struct change *c)
{
    buf_clear(&h->lo);
    buf_clear(&h->hi);
    history_key(&h->lo, c->row, c->space, h->ts + 1);
    history_key(&h->hi, c->row, c->space, UINT64_MAX);
    enum status st = h->base->scan(h->base->ctx, buf_view(&h->lo), buf_view(&h->hi), false, change_each, c);
    return st == ST_OK && c->corrupt ? ST_CORRUPT : st;
}

static enum status reader_get(void *ctx, struct bytes row, struct bytes *out)
{
    struct history_reader *h = ctx;
    struct change c = {.row = row, .space = history_space(row), .value = &h->value};
    if (c.space == 0) return ST_NOT_FOUND;
    enum status st = first_change(h, &c);
    if (st != ST_OK) return st;
    if (c.found) {
        *out = buf_view(&h->value);
        return c.present && was_there(h->ts, row, *out) ? ST_OK : ST_NOT_FOUND;
    }
    st = h->base->get(h->base->ctx, row, out);
    return st == ST_OK && !was_there(h->ts, row, *out) ? ST_NOT_FOUND : st;
}

/* Where a scan of the past stands: what changed in a part of one space of a slot, data row → what it was (deleted: nothing).
 * The part is as large as fits WINDOW_ROWS and WINDOW_BYTES, and so is memory, however long the history is. */
struct gather {
    struct row_tree was;
    size_t rows_max, bytes;
    hlc_t ts;
    uint8_t data_space, space;
    struct bytes lo, hi; /* of data rows */
    struct buf key, beyond;
    bool full, corrupt;
};

static void gather_keep(struct gather *g, struct bytes key, bool present, struct bytes old)
{
    struct row_node *n = row_tree_put(&g->was, key, old);
    n->deleted = !present || !was_there(g->ts, key, old);
    g->bytes += key.n + old.n;
    g->full = g->was.count >= 2 && (g->was.count >= g->rows_max || g->bytes >= WINDOW_BYTES);
}

/* A row's changes come in the order of their times, so the first one after the time asked for counts. */
static bool gather_each(void *ctx, struct bytes row, struct bytes value)
{
    struct gather *g = ctx;
    hlc_t superseded;
    struct bytes old;
    bool present;
    buf_clear(&g->key);
    if (!history_key_decode(row, g->space, g->data_space, &g->key, &superseded) ||
        !history_value_decode(value, &present, &old)) {
        g->corrupt = true;
        return false;
    }
    struct bytes key = buf_view(&g->key);
    if (bytes_compare(key, g->hi) >= 0) {
        buf_put_bytes(&g->beyond, key);
        return false;
    }
    if (superseded > g->ts && bytes_compare(key, g->lo) >= 0 && row_tree_find(&g->was, key) == NULL)
        gather_keep(g, key, present, old);
    return !g->full;
}

/* Makes a prefix into the first key above all that begin with it. */
static void end_of_prefix(struct buf *b)
{
    while (b->n > 0 && ++b->p[b->n - 1] == 0) b->n--;
}

/* History rows lie in the order of data rows, but for this: the time stands behind the key, so the changes of a row may lie
 * above those of a longer key that begins with it. Gathering ended at changes of `last`: what begins it is looked up. */
static enum status gather_prefixes(struct history_reader *h, struct gather *g, struct bytes last, struct bytes end)
{
    struct buf value = {0};
    enum status st = ST_OK;
    for (size_t n = HISTORY_KEY_MIN; n < last.n && st == ST_OK; n++) {
        struct bytes key = bytes_of(last.p, n);
        uint8_t rest[8] = {0};
        memcpy(rest, last.p + n, MIN(last.n - n, sizeof rest));
        if (get_be64(rest) > h->newest) continue; /* its changes lie below */
        if (bytes_compare(key, g->lo) < 0 || bytes_compare(key, end) >= 0 || row_tree_find(&g->was, key) != NULL)
            continue;
        struct change c = {.row = key, .space = g->space, .value = &value};
        st = first_change(h, &c);
        if (st == ST_OK && c.found) gather_keep(g, key, c.present, buf_view(&value));
    }
    buf_deinit(&value);
    return st;
}

static bool shown(void *ctx, struct bytes row, struct bytes value)
{
    const struct history_reader *h = ctx;
    return was_there(h->ts, row, value);
}

/* As much of [lo, hi) as fits a window; out_next: where the next one begins, empty after the last. */
static enum status scan_window(struct history_reader *h, struct gather *g, struct bytes to, struct buf *out_next,
                               bool *out_stopped, bool (*each)(void *each_ctx, struct bytes row, struct bytes value),
                               void *each_ctx)
{
    struct buf from = {0};
    struct bytes end = g->hi;
    buf_put_bytes(&from, g->lo);
    from.p[HISTORY_SPACE_AT] = g->space;
    enum status st = h->base->scan(h->base->ctx, buf_view(&from), to, false, gather_each, g);
    if (st == ST_OK && g->corrupt) st = ST_CORRUPT;
    if (st == ST_OK && g->full) {
        const struct row_node *last = row_tree_below(&g->was, g->hi);
        buf_put_bytes(out_next, last->key); /* above lo, for there are two at least */
        end = buf_view(out_next);
        st = gather_prefixes(h, g, end, end);
    } else if (st == ST_OK && g->beyond.n != 0) {
        st = gather_prefixes(h, g, buf_view(&g->beyond), end);
    }
    struct row_merge m = {.base = h->base, .over = &g->was, .shown = shown, .shown_ctx = h};
    if (st == ST_OK) st = row_merge_scan(&m, g->lo, end, false, each, each_ctx, out_stopped);
    buf_deinit(&from);
    return st;
}

/* [lo, hi) lies within one space of a slot; of elements, within an incarnation. */
static enum status scan_part(struct history_reader *h, struct bytes lo, struct bytes hi, bool *out_stopped,
                             bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct buf at = {0}, next = {0}, to = {0};
    uint8_t space = history_space(lo);
    size_t rows = MIN(WINDOW_ROWS_MIN, h->rows_max);
    enum status st = ST_OK;
    /* The history of a row below hi may lie above it: to the end of the slot's heads, or of the incarnation. */
    buf_put_bytes(&to, lo);
    to.n = space == SPACE_HISTORY ? HISTORY_KEY_MIN : INCARNATION_AT + 8;
    to.p[HISTORY_SPACE_AT] = space;
    end_of_prefix(&to);
    buf_put_bytes(&at, lo);
    *out_stopped = false;
    while (st == ST_OK && !*out_stopped && at.n != 0) {
        struct gather g = {
            .ts = h->ts, .rows_max = rows, .data_space = SPACE_OF(lo), .space = space, .lo = buf_view(&at), .hi = hi};
        buf_clear(&next);
        st = scan_window(h, &g, buf_view(&to), &next, out_stopped, each, each_ctx);
        h->kept_max = MAX(h->kept_max, g.was.count);
        row_tree_deinit(&g.was);
        buf_deinit(&g.key);
        buf_deinit(&g.beyond);
        buf_clear(&at);
        buf_put_bytes(&at, buf_view(&next));
        rows = MIN(2 * rows, h->rows_max);
    }
    buf_deinit(&at);
    buf_deinit(&next);
    buf_deinit(&to);
    return st;
}

struct first {
    uint16_t slot;
    bool found;
};

static bool first_each(void *ctx, struct bytes row, struct bytes value)
{
    struct first *f = ctx;
    (void)value;
    f->found = row.n >= HISTORY_KEY_MIN;
    if (f->found) f->slot = get_be16(row.p + 4);
    return false;
}

/* From a head on over slots: heads alone, slot by slot (kv_scan.c). */
static enum status scan_heads(struct history_reader *h, struct bytes lo, struct bytes hi,
                              bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct buf from = {0}, to = {0}, seek = {0};
    uint32_t table = get_be32(lo.p);
    bool stopped = false;
    enum status st = ST_OK;
    buf_put_bytes(&from, lo);
    while (st == ST_OK && !stopped) {
        /* The next slot that has any rows: its heads, or what is left of them. */
        struct first f = {0};
        buf_clear(&seek);
        buf_put(&seek, from.p, 6);
        st = h->base->scan(h->base->ctx, buf_view(&seek), hi, false, first_each, &f);
        if (st != ST_OK || !f.found) break;
        if (f.slot != get_be16(from.p + 4)) {
            buf_clear(&from);
            row_prefix(&from, table, f.slot, SPACE_HEAD);
        }
        buf_clear(&to);
        row_prefix(&to, table, f.slot, SPACE_HEAD + 1);
        st = scan_part(h, buf_view(&from), buf_view(&to), &stopped, each, each_ctx);
        buf_clear(&from);
        row_prefix(&from, table, (uint16_t)(f.slot + 1), SPACE_HEAD);
        if (bytes_compare(buf_view(&from), hi) >= 0) break;
    }
    buf_deinit(&from);
    buf_deinit(&to);
    buf_deinit(&seek);
    return st;
}

static enum status reader_scan(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                               bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct history_reader *h = ctx;
    bool stopped;
    if (bytes_compare(lo, hi) >= 0) return ST_OK;
    if (history_space(lo) == 0 || hi.n < 6) return ST_UNSUPPORTED;
    /* Within a slot's space, or up to where its next space begins? */
    bool one = memcmp(lo.p, hi.p, 6) == 0 && hi.n >= HISTORY_KEY_MIN &&
               (SPACE_OF(hi) == SPACE_OF(lo) || (SPACE_OF(hi) == SPACE_OF(lo) + 1 && hi.n == HISTORY_KEY_MIN));
    if (reverse || (!one && SPACE_OF(lo) != SPACE_HEAD)) return ST_UNSUPPORTED;
    if (one) return scan_part(h, lo, hi, &stopped, each, each_ctx);
    return scan_heads(h, lo, hi, each, each_ctx);
}

void history_reader_init(struct history_reader *h, struct op_view *base, hlc_t ts, hlc_t newest)
{
    *h = (struct history_reader){.view = *base, .base = base, .ts = ts, .newest = newest, .rows_max = WINDOW_ROWS_MAX};
    h->view.ctx = h;
    h->view.ts = ts;
    h->view.as_of = true;
    h->view.get = reader_get;
    h->view.get_front = reader_get;
    h->view.scan = reader_scan;
    h->view.put = NULL;
    h->view.del = NULL;
}

void history_reader_deinit(struct history_reader *h)
{
    buf_deinit(&h->lo);
    buf_deinit(&h->hi);
    buf_deinit(&h->value);
}
