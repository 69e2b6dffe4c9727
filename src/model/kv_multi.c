/* kv_multi.c - several ops as one: MULTI with its watches, EFFECT, and their evaluation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mutation.h"
#include "model/kv_internal.h"

/* A sub-op is a plain op of this model: no MULTI within, no id, nothing to be evaluated. */
static bool take_sub_op(struct reader *r, bool may_be_effect, struct op *out)
{
    struct bytes encoded = reader_lp(r);
    return !r->failed && op_decode(encoded, out) && (out->flags & OP_HAS_ID) == 0 && out->opcode != KV_MULTI &&
           (may_be_effect || out->opcode != KV_EFFECT);
}

/* Passes over the watches. `*out_met` is false if one has changed. */
static enum status take_watches(struct kv_run *run, bool *out_met, bool *out_malformed)
{
    *out_met = true;
    uint64_t count = reader_varint(&run->body);
    for (uint64_t i = 0; i < count && !run->body.failed; i++) {
        struct kv_key k;
        struct bytes key = reader_lp(&run->body);
        uint64_t version = reader_u64(&run->body);
        if (run->body.failed) break;
        enum status st = kv_open_front(run, &k, key);
        if (st != ST_OK) return st;
        if (kv_watch_version(&k) != version && !MUTATION("watch_ignored")) *out_met = false;
    }
    *out_malformed = run->body.failed;
    return ST_OK;
}

/* Checks the sub-ops' encodings, so that nothing is half done. */
static bool sub_ops_well_formed(struct reader r, uint64_t count, bool may_be_effect)
{
    struct op sub;
    if (count > KV_MULTI_OPS_MAX) return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!take_sub_op(&r, may_be_effect, &sub) || (sub.flags & OP_EVALUATE)) return false;
        if (sub.semantics > OP_SEMANTICS) return true; /* running it says ST_VERSION */
    }
    return reader_done(&r);
}

enum status kv_op_multi(struct kv_run *run)
{
    bool met, malformed;
    if (run->nested) return kv_malformed(run);
    enum status st = take_watches(run, &met, &malformed);
    if (st != ST_OK) return st;
    uint64_t count = reader_varint(&run->body);
    if (malformed || !sub_ops_well_formed(run->body, count, true)) return kv_malformed(run);
    if (!met) {
        result_nil_array(run->out);
        return ST_OK;
    }
    result_array(run->out, count);
    for (uint64_t i = 0; i < count; i++) {
        struct op sub;
        bool ok = take_sub_op(&run->body, true, &sub);
        ASSERT(ok);
        if (sub.semantics > OP_SEMANTICS) return ST_VERSION;
        st = kv_run_nested(run, &sub, run->out);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

enum status kv_op_effect(struct kv_run *run)
{
    struct bytes result = reader_lp(&run->body);
    uint64_t count = reader_varint(&run->body);
    /* The sub-ops must not be effects in turn: that bounds the depth. */
    if (run->body.failed || !result_check(result) || !sub_ops_well_formed(run->body, count, false))
        return kv_malformed(run);
    for (uint64_t i = 0; i < count; i++) {
        struct op sub;
        struct buf *ignored = kv_temp(run);
        bool ok = take_sub_op(&run->body, false, &sub);
        ASSERT(ok);
        if (sub.semantics > OP_SEMANTICS) return ST_VERSION;
        enum status st = kv_run_nested(run, &sub, ignored);
        if (st != ST_OK) return st;
    }
    buf_put_bytes(run->out, result);
    return ST_OK;
}

/* A sub-op that is to be evaluated: appends the op that takes its place in the MULTI. */
static enum status evaluate_sub_op(struct kv_run *run, const struct op *sub, struct buf *out)
{
    struct kv_run one;
    struct buf *result = kv_temp(run);
    kv_run_init(&one, sub, run->view, run->ordinal, result);
    one.nested = true;
    enum status st = kv_evaluate_one(&one, out, result);
    kv_run_deinit(&one);
    if (st != ST_OK || out->n != 0) return st;
    /* An error, most likely: it is the effect. */
    struct buf *effect = kv_temp(run);
    buf_put_lp(effect, buf_view(result));
    buf_put_varint(effect, 0);
    op_encode(&(struct op){.semantics = OP_SEMANTICS, .opcode = KV_EFFECT, .body = buf_view(effect)}, out);
    return ST_OK;
}

/* Runs the MULTI on the leader's overlay, and writes it again with the evaluated ops in the place of what they came from.
 * The overlay remembers every head that any of them read: unchanged heads make the same results. */
static enum status evaluate_multi(struct kv_run *run, struct buf *out_op, struct buf *out_result)
{
    bool met, malformed;
    struct bytes before = bytes_of(run->body.p, reader_left(&run->body));
    enum status st = take_watches(run, &met, &malformed);
    if (st != ST_OK) return st;
    struct bytes watches = bytes_of(before.p, before.n - reader_left(&run->body));
    uint64_t count = reader_varint(&run->body);
    if (malformed || count > KV_MULTI_OPS_MAX) count = UINT64_MAX;
    if (!met && count != UINT64_MAX) {
        result_nil_array(out_result);
        return ST_OK;
    }
    struct buf *body = kv_temp(run), *encoded = kv_temp(run), *ignored = kv_temp(run);
    buf_put_bytes(body, watches);
    buf_put_varint(body, count);
    for (uint64_t i = 0; i < count; i++) {
        struct op sub;
        if (!take_sub_op(&run->body, true, &sub)) {
            result_error(out_result, "ERR malformed operation");
            return ST_OK;
        }
        if (sub.semantics > OP_SEMANTICS) return ST_VERSION;
        buf_clear(encoded);
        buf_clear(ignored);
        if (sub.flags & OP_EVALUATE) {
            st = evaluate_sub_op(run, &sub, encoded);
            if (st != ST_OK) return st;
            bool ok = op_decode(buf_view(encoded), &sub);
            ASSERT(ok);
        } else {
            op_encode(&sub, encoded);
        }
        buf_put_lp(body, buf_view(encoded));
        st = kv_run_nested(run, &sub, ignored);
        if (st != ST_OK) return st;
    }
    op_encode(&(struct op){.semantics = OP_SEMANTICS, .opcode = KV_MULTI, .body = buf_view(body)}, out_op);
    return ST_OK;
}

enum status kv_evaluate(const struct op *op, struct op_view *view, struct buf *out_op, struct buf *out_result)
{
    uint64_t ordinal = 0;
    struct kv_run run;
    kv_run_init(&run, op, view, &ordinal, out_result);
    enum status st = op->opcode == KV_MULTI ? evaluate_multi(&run, out_op, out_result)
                                            : kv_evaluate_one(&run, out_op, out_result);
    kv_run_deinit(&run);
    if (st != ST_OK) buf_clear(out_op);
    return st;
}
