/* memory_view.c - a partition's rows in memory, as ops see them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/memory_view.h"

#include "base/mem.h"

#define NOT_READY_RUN_MAX 20 /* then the run is let through */

static bool not_ready(struct memory_view *m)
{
    if (m->not_ready_one_in == 0 || m->not_ready_run >= NOT_READY_RUN_MAX) return false;
    if (!rng_chance(&m->rng, m->not_ready_one_in)) return false;
    m->not_ready_run++;
    m->not_ready_count++;
    return true;
}

static void take_back(struct memory_view *m)
{
    mem_free(m->lent);
    m->lent = NULL;
}

static enum status memory_get(void *ctx, struct bytes row, struct bytes *out)
{
    struct memory_view *m = ctx;
    take_back(m);
    m->gets++;
    if (not_ready(m)) return ST_NOT_READY;
    const struct row_node *n = row_tree_find(&m->rows, row);
    if (n == NULL) return ST_NOT_FOUND;
    m->lent = mem_copy(n->value.p, n->value.n);
    *out = bytes_of(m->lent, n->value.n);
    return ST_OK;
}

static enum status memory_get_front(void *ctx, struct bytes row, struct bytes *out)
{
    enum status st = memory_get(ctx, row, out);
    if (st == ST_OK && out->n > OP_WHOLE_BYTES) out->n = OP_FRONT_BYTES;
    return st;
}

static enum status memory_scan(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                               bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct memory_view *m = ctx;
    take_back(m);
    m->scans++;
    bool fail = not_ready(m); /* after one row, if there is one: the caller must undo what it did */
    const struct row_node *n = reverse ? row_tree_below(&m->rows, hi) : row_tree_from(&m->rows, lo);
    while (n != NULL && bytes_compare(n->key, lo) >= 0 && bytes_compare(n->key, hi) < 0) {
        if (!each(each_ctx, n->key, n->value)) break;
        if (fail) return ST_NOT_READY;
        n = reverse ? row_tree_below(&m->rows, n->key) : row_tree_next(n);
    }
    return fail ? ST_NOT_READY : ST_OK;
}

static void memory_put(void *ctx, struct bytes row, struct bytes value)
{
    struct memory_view *m = ctx;
    m->puts++;
    m->put_bytes += value.n;
    row_tree_put(&m->rows, row, value);
}

static void memory_del(void *ctx, struct bytes row)
{
    struct memory_view *m = ctx;
    m->dels++;
    row_tree_remove(&m->rows, row);
}

void memory_view_init(struct memory_view *m, uint32_t table, uint32_t slot_lo, uint32_t slot_hi)
{
    *m = (struct memory_view){.base = {.table = table,
                                       .slot_lo = slot_lo,
                                       .slot_hi = slot_hi,
                                       .get = memory_get,
                                       .get_front = memory_get_front,
                                       .scan = memory_scan,
                                       .put = memory_put,
                                       .del = memory_del}};
    m->base.ctx = m;
    m->base.counters = &m->counters;
}

void memory_view_deinit(struct memory_view *m)
{
    take_back(m);
    row_tree_deinit(&m->rows);
}

void memory_view_inject(struct memory_view *m, uint64_t one_in, uint64_t seed)
{
    m->not_ready_one_in = one_in;
    rng_init(&m->rng, seed);
}

static enum status run_read(struct memory_view *m, const struct op *op, struct buf *out)
{
    struct op_view view = m->base;
    view.put = NULL;
    view.del = NULL;
    enum status st;
    size_t before = out->n;
    while ((st = op_run(op, &view, out)) == ST_NOT_READY) ASSERT(out->n == before);
    return st;
}

static enum status run_write(struct memory_view *m, const struct op *op, struct buf *out)
{
    op_overlay_init(&m->overlay, &m->base);
    enum status st;
    size_t before = out->n;
    while ((st = op_run(op, &m->overlay.view, out)) == ST_NOT_READY) {
        ASSERT(out->n == before);
        op_overlay_drop(&m->overlay);
    }
    if (st == ST_OK) op_overlay_commit(&m->overlay);
    op_overlay_deinit(&m->overlay);
    return st;
}

enum status memory_view_run(struct memory_view *m, const struct op *op, hlc_t ts, struct buf *out)
{
    m->base.ts = ts;
    m->base.keep_history = m->counters.retention_ms != 0;
    m->not_ready_run = 0;
    if (op->flags & OP_READ) return run_read(m, op, out);
    if (!(op->flags & OP_EVALUATE)) return run_write(m, op, out);

    struct buf encoded = {0};
    enum status st;
    while ((st = op_evaluate(op, &m->base, &encoded, out)) == ST_NOT_READY) ASSERT(encoded.n == 0);
    if (st == ST_OK && encoded.n != 0) {
        struct op write_set;
        ASSERT(op_decode(buf_view(&encoded), &write_set));
        st = run_write(m, &write_set, out);
    }
    buf_deinit(&encoded);
    return st;
}

uint64_t memory_view_hash(const struct memory_view *m)
{
    uint64_t h = hash64(bytes_of(&m->counters, sizeof m->counters), 0);
    for (const struct row_node *n = row_tree_first(&m->rows); n != NULL; n = row_tree_next(n))
        h = hash64(n->value, hash64(n->key, h));
    return h;
}
