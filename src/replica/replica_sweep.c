/* replica_sweep.c - the leader's housekeeping: finds expired keys, elements of dead collections and history that is over, and
 * proposes their removal.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reads look at applied rows without changing them; what they find becomes ordinary ops, applied by every replica alike, each
 * bounded. One round of each kind is under way at a time; a counter of zero costs nothing. */
#include "base/mem.h"
#include "model/kv_build.h"
#include "model/result.h"
#include "replica/host_internal.h"
#include "table/place.h"

#define FOUND_MAX   64   /* slots or incarnations of one look */
#define ROWS_MAX    256  /* rows or keys that one op removes */
#define EXAMINE_MAX 4096 /* history rows that one look goes through */

struct sweep {
    struct replica_request request;
    struct replica *replica;
    struct buf op;
};

static void proposed(struct replica_request *q, enum status st, bool maybe, struct bytes result)
{
    struct sweep *s = CONTAINER_OF(q, struct sweep, request);
    (void)st;
    (void)maybe;
    (void)result;
    s->replica->sweeps--;
    buf_deinit(&s->op);
    mem_free(s);
}

static void propose(struct replica *r, uint16_t opcode, struct bytes body)
{
    struct sweep *s = mem_zalloc(sizeof *s);
    struct op op = {.semantics = OP_SEMANTICS, .opcode = opcode, .body = body};
    op_encode(&op, &s->op);
    s->replica = r;
    s->request = (struct replica_request){.kind = REPLICA_WRITE, .op = buf_view(&s->op), .done = proposed};
    if (replica_submit(r, &s->request) == ST_OK) {
        r->sweeps++;
        return;
    }
    buf_deinit(&s->op);
    mem_free(s);
}

/* Asks for work from a slot on. The reader is left at the list's length; false: nothing can be said now. */
static bool look(struct replica *r, uint16_t opcode, uint16_t *slot, struct buf *result, struct reader *out,
                 uint64_t *out_count)
{
    struct buf body = {0};
    struct op op = {.semantics = OP_SEMANTICS, .opcode = opcode, .flags = OP_READ};
    if (*slot < r->slot_lo || *slot >= r->slot_hi) *slot = (uint16_t)r->slot_lo;
    kv_build_find(&body, *slot, FOUND_MAX);
    op.body = buf_view(&body);
    buf_clear(&r->host->stage.missing);
    bool ok = replica_read_now(r, &op, result);
    if (!ok && r->host->stage.missing.n != 0)
        host_fetch(r, buf_view(&r->host->stage.missing), buf_view(&r->host->stage.missing_hi)); /* next time */
    buf_deinit(&body);
    struct result pair, next, list;
    *out = reader_of(buf_view(result));
    if (!ok || !result_next(out, &pair) || pair.tag != 'a' || !result_next(out, &next) || !result_next(out, &list))
        return false;
    if (next.tag != 'i' || list.tag != 'a') return false;
    *slot = next.number < 0 ? (uint16_t)r->slot_lo : (uint16_t)next.number;
    *out_count = list.count;
    return true;
}

static void sweep_garbage(struct replica *r)
{
    struct buf result = {0}, body = {0};
    struct reader in;
    uint64_t count = 0;
    if (look(r, KV_GARBAGE_FIND, &r->garbage_slot, &result, &in, &count)) {
        for (uint64_t i = 0; i + 1 < count; i += 2) {
            struct result slot, incarnation;
            if (!result_next(&in, &slot) || !result_next(&in, &incarnation)) break;
            buf_clear(&body);
            kv_build_clean(&body, (uint16_t)slot.number, (uint64_t)incarnation.number, ROWS_MAX);
            propose(r, KV_CLEAN, buf_view(&body));
        }
    }
    buf_deinit(&result);
    buf_deinit(&body);
}

static void sweep_expired(struct replica *r)
{
    struct buf result = {0}, body = {0};
    struct reader in;
    uint16_t slots[FOUND_MAX];
    uint64_t count = 0;
    size_t n = 0;
    if (look(r, KV_EXPIRED_FIND, &r->expired_slot, &result, &in, &count)) {
        for (uint64_t i = 0; i < count && n < FOUND_MAX; i++) {
            struct result slot;
            if (!result_next(&in, &slot)) break;
            slots[n++] = (uint16_t)slot.number;
        }
        if (n > 0) {
            kv_build_expire_sweep(&body, slots, n, ROWS_MAX);
            propose(r, KV_EXPIRE_SWEEP, buf_view(&body));
        }
    }
    buf_deinit(&result);
    buf_deinit(&body);
}

/* ---- history ---- */

/* The watermark rises in steps, so that an idle partition does not write an entry a second. */
static uint64_t step_ms(uint64_t retention_ms) { return MAX(1000, retention_ms / 16); }

static bool raise_watermark(struct replica *r)
{
    const struct op_counters *c = &r->counters;
    struct buf body = {0};
    uint64_t now_ms = env_wall_ms(r->host->env);
    uint64_t target_ms = now_ms > c->retention_ms ? now_ms - c->retention_ms : 0;
    bool changed = r->retention_known && r->wanted_retention_ms != c->retention_ms;
    bool due = c->retention_ms != 0 && hlc_from_ms(target_ms) >= c->watermark + hlc_from_ms(step_ms(c->retention_ms));
    if (changed || due) {
        kv_build_retention(&body, changed ? r->wanted_retention_ms : c->retention_ms, due ? hlc_from_ms(target_ms) : 0);
        propose(r, KV_RETENTION, buf_view(&body));
    }
    buf_deinit(&body);
    return changed || due;
}

/* Goes round through the partition's history rows, some at a time; proposes the removal of those that may go. */
static void sweep_history(struct replica *r)
{
    struct buf result = {0}, body = {0}, keys = {0};
    struct op op = {.semantics = OP_SEMANTICS, .opcode = KV_HISTORY_FIND, .flags = OP_READ};
    struct result list, next, seen, row;
    if (r->history_at.n == 0) {
        r->history_seen = 0;
        r->history_round_applied = r->applied;
    }
    kv_build_history_find(&body, buf_view(&r->history_at), EXAMINE_MAX, ROWS_MAX);
    op.body = buf_view(&body);
    buf_clear(&r->host->stage.missing);
    bool ok = replica_read_now(r, &op, &result);
    if (!ok && r->host->stage.missing.n != 0)
        host_fetch(r, buf_view(&r->host->stage.missing), buf_view(&r->host->stage.missing_hi)); /* next time */
    struct reader in = reader_of(buf_view(&result));
    if (ok && result_next(&in, &list) && list.tag == 'a' && list.count == 3 && result_next(&in, &next) &&
        next.tag == 'b' && result_next(&in, &seen) && seen.tag == 'i' && result_next(&in, &list) && list.tag == 'a') {
        buf_clear(&r->history_at);
        buf_put_bytes(&r->history_at, next.bytes);
        r->history_seen += (uint64_t)seen.number;
        buf_put_varint(&keys, list.count);
        for (uint64_t i = 0; i < list.count && result_next(&in, &row) && row.tag == 'b'; i++)
            buf_put_lp(&keys, row.bytes);
        if (list.count != 0) propose(r, KV_HISTORY_DROP, buf_view(&keys));
        if (r->history_at.n == 0 && r->history_seen == 0) r->history_none_applied = r->history_round_applied;
    }
    buf_deinit(&result);
    buf_deinit(&body);
    buf_deinit(&keys);
}

static bool has_history(const struct replica *r)
{
    const struct op_counters *c = &r->counters;
    bool changed = r->retention_known && r->wanted_retention_ms != c->retention_ms;
    if (!changed && c->retention_ms == 0 && c->watermark == 0) return false; /* never had any */
    return changed || r->history_none_applied != r->applied; /* else nothing is left, and nothing came since */
}

bool replica_sweeps(const struct replica *r)
{
    return r->table != TABLE_CATALOG && !r->stopped &&
           (r->counters.garbage > 0 || r->counters.expires > 0 || has_history(r));
}

void replica_sweep(struct replica *r, uint64_t now)
{
    r->sweep_ns = now + r->host->limits.sweep_ns;
    if (r->sweeps != 0 || r->table == TABLE_CATALOG || r->stopped) return;
    if (r->counters.garbage > 0) sweep_garbage(r);
    if (r->counters.expires > 0) sweep_expired(r);
    if (has_history(r) && !raise_watermark(r)) sweep_history(r);
    /* While there is much to do, go on soon. */
    if (r->sweeps != 0) r->sweep_ns = now + r->host->limits.sweep_ns / 20;
}
