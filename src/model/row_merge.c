/* row_merge.c - a scan of two ordered sources: rows of a view, and rows of a tree that take the place of theirs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/row_merge.h"

struct pass {
    const struct row_merge *merge;
    const struct row_node *next; /* the first of the tree not yet passed, in the scan's order */
    struct bytes lo, hi;
    bool reverse, stopped;
    bool (*each)(void *ctx, struct bytes row, struct bytes value);
    void *ctx;
};

static void set_next(struct pass *p, const struct row_node *n)
{
    bool beyond = n != NULL && (p->reverse ? bytes_compare(n->key, p->lo) < 0 : bytes_compare(n->key, p->hi) >= 0);
    p->next = beyond ? NULL : n;
}

static void pass_next(struct pass *p)
{
    const struct row_node *n = p->next;
    set_next(p, p->reverse ? row_tree_below(p->merge->over, n->key) : row_tree_next(n));
    if (!n->deleted && !p->each(p->ctx, n->key, n->value)) p->stopped = true;
}

static bool base_row(void *ctx, struct bytes row, struct bytes value)
{
    struct pass *p = ctx;
    const struct row_merge *m = p->merge;
    while (p->next != NULL && !p->stopped) {
        int c = bytes_compare(p->next->key, row);
        if (p->reverse) c = -c;
        if (c > 0) break;
        pass_next(p);
        if (c == 0) return !p->stopped; /* the tree's takes its place */
    }
    if (p->stopped) return false;
    bool shown = m->shown == NULL || m->shown(m->shown_ctx, row, value);
    if (shown && !p->each(p->ctx, row, value)) p->stopped = true;
    return !p->stopped;
}

enum status row_merge_scan(const struct row_merge *m, struct bytes lo, struct bytes hi, bool reverse,
                           bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx,
                           bool *out_stopped)
{
    struct pass p = {.merge = m, .lo = lo, .hi = hi, .reverse = reverse, .each = each, .ctx = each_ctx};
    enum status st = ST_OK;
    if (bytes_compare(lo, hi) < 0) {
        set_next(&p, reverse ? row_tree_below(m->over, hi) : row_tree_from(m->over, lo));
        st = m->base->scan(m->base->ctx, lo, hi, reverse, base_row, &p);
        while (st == ST_OK && !p.stopped && p.next != NULL) pass_next(&p);
    }
    if (out_stopped != NULL) *out_stopped = p.stopped;
    return st;
}
