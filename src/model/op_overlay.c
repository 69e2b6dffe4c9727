/* op_overlay.c - the writes of one op, over the rows of a view that it does not change.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/op_overlay.h"

#include "model/row_merge.h"
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

static enum status op_overlay_scan(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                   bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct op_overlay *o = ctx;
    struct row_merge m = {.base = o->base, .over = &o->writes};
    if (o->writes.count == 0) return o->base->scan(o->base->ctx, lo, hi, reverse, each, each_ctx);
    return row_merge_scan(&m, lo, hi, reverse, each, each_ctx, NULL);
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
