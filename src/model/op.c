/* op.c - ops: their encoding, their models, and write sets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A write set (OPCODE_WRITE_SET) is what the leader logs for an OP_EVALUATE op. Its body:
 *
 *   checks varint | checks × (head row lp, version u64)     what the evaluation read; 0: absent or expired
 *   op (to the end, encoded)                                a plain op with the evaluated effects and result
 *
 * Apply compares the versions; if all are unchanged it runs the op, else the result is 'V' and nothing is written. It holds
 * an op and not rows, so that versions, incarnations, expiry, garbage, counters and history are made in one place only, at
 * the entry's own time. Elements are not checked: they change only together with their head. */
#include "model/op.h"

#include "model/op_overlay.h"
#include "model/result.h"
#include "table/place.h"

static const struct op_model *model_of(uint16_t opcode)
{
    switch (opcode & 0xff00) {
    case OPCODE_KV: return &kv_model;
    case OPCODE_CATALOG: return &catalog_model;
    default: return NULL;
    }
}

bool op_decode(struct bytes in, struct op *out)
{
    struct reader r = reader_of(in);
    struct op op = {.semantics = reader_u8(&r)};
    op.opcode = reader_u16(&r);
    op.flags = reader_u8(&r);
    if (op.flags & OP_HAS_ID) {
        op.session = reader_u64(&r);
        op.sequence = reader_u64(&r);
        op.resolved = reader_u64(&r);
    }
    if (op.flags & OP_SINCE) op.since = reader_u64(&r);
    op.body = reader_bytes(&r, reader_left(&r));
    if (r.failed || op.semantics == 0 || (op.flags & ~(OP_HAS_ID | OP_READ | OP_EVALUATE | OP_SINCE)) != 0)
        return false;
    if ((op.flags & OP_SINCE) && !(op.flags & OP_HAS_ID)) return false;
    if ((op.flags & OP_READ) && (op.flags & OP_EVALUATE)) return false;
    *out = op;
    return true;
}

static void put_header(const struct op *op, struct buf *out)
{
    buf_put_u8(out, op->semantics);
    buf_put_u16(out, op->opcode);
    buf_put_u8(out, op->flags);
    if (op->flags & OP_HAS_ID) {
        buf_put_u64(out, op->session);
        buf_put_u64(out, op->sequence);
        buf_put_u64(out, op->resolved);
    }
    if (op->flags & OP_SINCE) buf_put_u64(out, op->since);
}

void op_encode(const struct op *op, struct buf *out)
{
    ASSERT(op->semantics != 0);
    put_header(op, out);
    buf_put_bytes(out, op->body);
}

/* The checks of a write set are passed over; what is left is the op within. It may not be a write set itself. */
static bool write_set_decode(const struct op *op, struct reader *out_checks, uint64_t *out_count, struct op *out_inner)
{
    struct reader r = reader_of(op->body);
    uint64_t count = reader_varint(&r);
    if (count > reader_left(&r)) return false;
    *out_checks = r;
    *out_count = count;
    for (uint64_t i = 0; i < count; i++) {
        reader_lp(&r);
        reader_u64(&r);
    }
    struct bytes rest = reader_bytes(&r, reader_left(&r));
    return !r.failed && op_decode(rest, out_inner) && out_inner->opcode != OPCODE_WRITE_SET &&
           (out_inner->flags & (OP_READ | OP_EVALUATE)) == 0;
}

static bool row_in_partition(struct bytes row, const struct op_view *view)
{
    struct row_parts p;
    return row_parse(row, &p) && p.space == SPACE_HEAD && p.table == view->table && p.slot >= view->slot_lo &&
           p.slot < view->slot_hi;
}

static enum status write_set_run(const struct op *op, struct op_view *view, struct buf *out)
{
    struct reader checks;
    uint64_t count;
    struct op inner;
    if (view->put == NULL || !write_set_decode(op, &checks, &count, &inner)) {
        result_error(out, "ERR malformed write set");
        return ST_OK;
    }
    if (inner.semantics > OP_SEMANTICS) return ST_VERSION;
    const struct op_model *model = model_of(inner.opcode);
    if (model == NULL || model->version == NULL) return ST_VERSION;
    for (uint64_t i = 0; i < count; i++) {
        struct bytes row = reader_lp(&checks), value;
        uint64_t expected = reader_u64(&checks);
        if (!row_in_partition(row, view)) return ST_STALE;
        enum status st = view->get_front(view->ctx, row, &value);
        if (st != ST_OK && st != ST_NOT_FOUND) return st;
        uint64_t found = st == ST_OK ? model->version(value, view->ts) : 0;
        if (found != expected) {
            result_conflict(out);
            return ST_OK;
        }
    }
    return model->run(&inner, view, out);
}

enum status op_run(const struct op *op, struct op_view *view, struct buf *out)
{
    ASSERT(view->get != NULL && view->scan != NULL && view->counters != NULL);
    ASSERT((view->put == NULL) == (view->del == NULL));
    if (op->semantics == 0 || op->semantics > OP_SEMANTICS) return ST_VERSION;
    size_t before = out->n;
    struct op_counters counters = *view->counters;
    enum status st;
    if (op->opcode == OPCODE_WRITE_SET) {
        st = write_set_run(op, view, out);
    } else {
        const struct op_model *model = model_of(op->opcode);
        st = model != NULL ? model->run(op, view, out) : ST_VERSION;
    }
    if (st == ST_OK) {
        ASSERT(out->n > before);
        return ST_OK;
    }
    out->n = before;
    *view->counters = counters;
    return st;
}

uint64_t op_timestamps(const struct op *op)
{
    struct op inner;
    if (op->opcode == OPCODE_WRITE_SET) {
        struct reader checks;
        uint64_t count;
        if (!write_set_decode(op, &checks, &count, &inner)) return 1;
        op = &inner;
    }
    const struct op_model *model = model_of(op->opcode);
    return model != NULL && model->timestamps != NULL ? model->timestamps(op) : 1;
}

enum status op_evaluate(const struct op *op, struct op_view *view, struct buf *out_op, struct buf *out_result)
{
    ASSERT(op->flags & OP_EVALUATE);
    if (op->semantics == 0 || op->semantics > OP_SEMANTICS) return ST_VERSION;
    const struct op_model *model = model_of(op->opcode);
    if (model == NULL || model->evaluate == NULL) return ST_VERSION;
    struct op_overlay overlay;
    op_overlay_init(&overlay, view);
    overlay.version = model->version;
    struct buf inner = {0};
    size_t before = out_result->n;
    enum status st = model->evaluate(op, &overlay.view, &inner, out_result);
    if (st != ST_OK) {
        out_result->n = before;
    } else if (inner.n == 0) {
        ASSERT(out_result->n > before);
    } else {
        ASSERT(out_result->n == before);
        struct op head = *op;
        head.opcode = OPCODE_WRITE_SET;
        head.flags = op->flags & (OP_HAS_ID | OP_SINCE);
        put_header(&head, out_op);
        buf_put_varint(out_op, overlay.reads.count);
        for (const struct row_node *n = row_tree_first(&overlay.reads); n != NULL; n = row_tree_next(n)) {
            buf_put_lp(out_op, n->key);
            buf_put_u64(out_op, n->number);
        }
        buf_put_bytes(out_op, buf_view(&inner));
    }
    buf_deinit(&inner);
    op_overlay_deinit(&overlay);
    return st;
}

void op_reads(const struct op *op, struct op_view *view, op_reads_each each, void *ctx)
{
    struct op inner;
    if (op->opcode == OPCODE_WRITE_SET) {
        struct reader checks;
        uint64_t count;
        if (!write_set_decode(op, &checks, &count, &inner)) return;
        for (uint64_t i = 0; i < count; i++) {
            struct row_parts p;
            struct bytes row = reader_lp(&checks);
            reader_u64(&checks);
            if (row_parse(row, &p) && p.space == SPACE_HEAD && p.table == view->table)
                each(ctx, row, (struct bytes){0}, true);
        }
        op = &inner;
    }
    const struct op_model *model = model_of(op->opcode);
    if (model != NULL && model->reads != NULL) model->reads(op, view, each, ctx);
}
