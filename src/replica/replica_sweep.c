/* replica_sweep.c - the leader's housekeeping: finds expired keys and elements of dead collections, and proposes their removal.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reads look at applied rows without changing them; what they find becomes ordinary ops, applied by every replica alike, each
 * bounded. One round of each kind is under way at a time; a counter of zero costs nothing. */
#include "base/mem.h"
#include "model/kv_build.h"
#include "model/result.h"
#include "replica/host_internal.h"
#include "table/place.h"

#define FOUND_MAX 64  /* slots or incarnations of one look */
#define ROWS_MAX  256 /* rows or keys that one op removes */

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
static bool look(struct replica *r, uint16_t opcode, uint16_t *slot, struct buf *result, struct reader *out, uint64_t *out_count)
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
    if (!ok || !result_next(out, &pair) || pair.tag != 'a' || !result_next(out, &next) || !result_next(out, &list)) return false;
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

void replica_sweep(struct replica *r, uint64_t now)
{
    r->sweep_ns = now + r->host->limits.sweep_ns;
    if (r->sweeps != 0 || r->table == TABLE_CATALOG || r->stopped) return;
    if (r->counters.garbage > 0) sweep_garbage(r);
    if (r->counters.expires > 0) sweep_expired(r);
    /* While there is much to do, go on soon. */
    if (r->sweeps != 0) r->sweep_ns = now + r->host->limits.sweep_ns / 20;
}
