/* op_overlay.c - the writes of one op, over the rows of a view that it does not change.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/op_overlay.h"

#include "table/place.h"

static bool is_head(struct bytes row) { return row.n > 6 && row.p[6] == SPACE_HEAD; /* table u32, slot u16, space */ }

static enum status get(struct op_overlay *o, struct bytes row, struct bytes *out,
                       enum status (*base_get)(void *ctx, struct bytes row, struct bytes *out))
{
    const struct row_node *n = row_tree_find(&o->writes, row);
    if (n != NULL) {
        if (n->deleted) return ST_NOT_FOUND;
        *out = n->value;
        return ST_OK;
    }
    enum status st = base_get(o->base->ctx, row, out);
    if (o->version != NULL && (st == ST_OK || st == ST_NOT_FOUND) && is_head(row)) {
        struct row_node *seen = row_tree_find(&o->reads, row);
        if (seen == NULL) {
            seen = row_tree_put(&o->reads, row, BYTES_LIT(""));
            seen->number = st == ST_OK ? o->version(*out, o->view.ts) : 0;
        }
    }
    return st;
}

static enum status op_overlay_get(void *ctx, struct bytes row, struct bytes *out)
{
    struct op_overlay *o = ctx;
    return get(o, row, out, o->base->get);
}

static enum status op_overlay_get_front(void *ctx, struct bytes row, struct bytes *out)
{
    struct op_overlay *o = ctx;
    return get(o, row, out, o->base->get_front);
}

/* A scan of both: the base's rows with the writes put in between. */
struct merge {
    const struct row_tree *writes;
    const struct row_node *next; /* the first write not yet passed, in the scan's order */
    struct bytes lo, hi;
    bool reverse, stopped;
    bool (*each)(void *ctx, struct bytes row, struct bytes value);
    void *ctx;
};

static void merge_advance(struct merge *m)
{
    m->next = m->reverse ? row_tree_below(m->writes, m->next->key) : row_tree_next(m->next);
    if (m->next == NULL) return;
    if (m->reverse ? bytes_compare(m->next->key, m->lo) < 0 : bytes_compare(m->next->key, m->hi) >= 0) m->next = NULL;
}

/* Passes on the writes that come before `row`; a write of `row` itself replaces it (true). */
static bool merge_until(struct merge *m, const struct bytes *row)
{
    while (m->next != NULL) {
        int c = row != NULL ? bytes_compare(m->next->key, *row) : -1;
        if (row != NULL && m->reverse) c = -c;
        if (c > 0) return false;
        const struct row_node *n = m->next;
        merge_advance(m);
        if (!n->deleted && !m->each(m->ctx, n->key, n->value)) {
            m->stopped = true;
            return false;
        }
        if (c == 0) return true;
    }
    return false;
}

static bool merge_base_row(void *ctx, struct bytes row, struct bytes value)
{
    struct merge *m = ctx;
    bool replaced = merge_until(m, &row);
    if (m->stopped) return false;
    if (!replaced && !m->each(m->ctx, row, value)) m->stopped = true;
    return !m->stopped;
}

static enum status op_overlay_scan(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                   bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct op_overlay *o = ctx;
    if (bytes_compare(lo, hi) >= 0) return ST_OK;
    struct merge m = {.writes = &o->writes, .lo = lo, .hi = hi, .reverse = reverse, .each = each, .ctx = each_ctx};
    m.next = reverse ? row_tree_below(&o->writes, hi) : row_tree_from(&o->writes, lo);
    if (m.next != NULL && (reverse ? bytes_compare(m.next->key, lo) < 0 : bytes_compare(m.next->key, hi) >= 0))
        m.next = NULL;
    if (m.next == NULL) return o->base->scan(o->base->ctx, lo, hi, reverse, each, each_ctx);
    enum status st = o->base->scan(o->base->ctx, lo, hi, reverse, merge_base_row, &m);
    if (st == ST_OK && !m.stopped) merge_until(&m, NULL);
    return st;
}

static void op_overlay_put(void *ctx, struct bytes row, struct bytes value)
{
    struct op_overlay *o = ctx;
    row_tree_put(&o->writes, row, value)->deleted = false;
}

static void op_overlay_del(void *ctx, struct bytes row)
{
    struct op_overlay *o = ctx;
    row_tree_put(&o->writes, row, BYTES_LIT(""))->deleted = true;
}

void op_overlay_init(struct op_overlay *o, struct op_view *base)
{
    *o = (struct op_overlay){.base = base, .view = *base};
    o->view.ctx = o;
    o->view.get = op_overlay_get;
    o->view.get_front = op_overlay_get_front;
    o->view.scan = op_overlay_scan;
    o->view.put = op_overlay_put;
    o->view.del = op_overlay_del;
    o->view.counters = &o->counters;
    if (base->counters != NULL) o->counters = *base->counters;
}

void op_overlay_deinit(struct op_overlay *o)
{
    row_tree_deinit(&o->writes);
    row_tree_deinit(&o->reads);
}

void op_overlay_drop(struct op_overlay *o)
{
    row_tree_deinit(&o->writes);
    row_tree_deinit(&o->reads);
    o->counters = o->base->counters != NULL ? *o->base->counters : (struct op_counters){0};
}

void op_overlay_commit(struct op_overlay *o)
{
    struct op_view *base = o->base;
    for (const struct row_node *n = row_tree_first(&o->writes); n != NULL; n = row_tree_next(n)) {
        if (n->deleted) base->del(base->ctx, n->key);
        else base->put(base->ctx, n->key, n->value);
    }
    if (base->counters != NULL) *base->counters = o->counters;
    op_overlay_drop(o);
}
