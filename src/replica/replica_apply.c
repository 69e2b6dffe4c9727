/* replica_apply.c - applies committed entries in order: runs their ops on a stage, then puts all their rows at once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An entry whose rows are not in memory waits until they are fetched; the other replicas go on. What can't be applied (an
 * unknown version, a damaged row) stops the replica, never the op. */
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "model/result.h"
#include "replica/host_internal.h"
#include "table/place.h"

#define SCAN_TRIES 3 /* fetches of a range before it is read from the disk in place */

/* What an entry has done so far, so that it can be undone. */
struct applying {
    struct replica *r;
    struct op_counters counters_before;
    struct op *ops; /* of those already run: ids to undo or settle */
    size_t ran;
    uint32_t *ends; /* of each result in host.results */
};

static void undo(struct applying *a)
{
    struct replica *r = a->r;
    for (size_t i = 0; i < a->ran; i++)
        if (a->ops[i].flags & OP_HAS_ID) windows_undo(&r->windows, a->ops[i].session, a->ops[i].sequence);
    r->counters = a->counters_before;
    stage_clear(&r->host->stage);
}

static void forgot_session(void *ctx, uint64_t session)
{
    struct replica *r = ctx;
    struct buf key = {0}, id = {0};
    buf_put_be64(&id, session);
    row_system(&key, r->partition_id, SYSTEM_WINDOW, buf_view(&id));
    rows_delete(r->host->rows, buf_view(&key));
    map_remove(&r->windows_dirty, session);
    buf_deinit(&key);
    buf_deinit(&id);
}

static void settle(struct applying *a, const struct entry *e)
{
    struct replica *r = a->r;
    for (size_t i = 0; i < a->ran; i++) {
        if (!(a->ops[i].flags & OP_HAS_ID)) continue;
        map_set(&r->windows_dirty, a->ops[i].session, r);
        windows_settle(&r->windows, a->ops[i].session, a->ops[i].resolved, e->ts, forgot_session, r);
    }
}

/* Runs one op, or finds its outcome in the window. On ST_OK exactly one result has been appended. */
static enum status run_op(struct applying *a, struct op *op, hlc_t ts)
{
    struct replica *r = a->r;
    struct host *h = r->host;
    struct bytes known;
    size_t at = h->results.n;
    if ((op->flags & OP_HAS_ID) && !MUTATION("window_ignored")) {
        switch (windows_find(&r->windows, op->session, op->sequence, &known)) {
        case WINDOW_NEW: break;
        case WINDOW_KNOWN:
            buf_put_bytes(&h->results, known);
            h->stats.duplicates_answered++;
            op->flags &= (uint8_t)~OP_HAS_ID; /* nothing to undo or settle */
            return ST_OK;
        case WINDOW_TOO_OLD:
            result_error(&h->results, "UNKNOWN the outcome of this write is not kept any more: its id is too old");
            op->flags &= (uint8_t)~OP_HAS_ID;
            return ST_OK;
        }
    }
    struct op_view view;
    stage_view(&h->stage, true, &view);
    view.table = r->table;
    view.slot_lo = r->slot_lo;
    view.slot_hi = r->slot_hi;
    view.ts = ts;
    view.counters = &r->counters;
    enum status st = op_run(op, &view, &h->results);
    if (st == ST_STALE) {
        /* A key of another partition: the gate's map was old. Every replica sees the same. */
        h->results.n = at;
        result_error(&h->results, "UNAVAILABLE not executed: the key belongs to another partition");
        st = ST_OK;
    }
    if (st != ST_OK) {
        h->results.n = at;
        return st;
    }
    /* 'V' (conflict) changed nothing and is evaluated again under the same id: not an outcome. */
    if (op->flags & OP_HAS_ID) {
        if (h->results.p[at] == 'V' || MUTATION("window_ignored")) op->flags &= (uint8_t)~OP_HAS_ID;
        else windows_add(&r->windows, op->session, op->sequence, bytes_of(h->results.p + at, h->results.n - at));
    }
    return ST_OK;
}

static enum status apply_ops(struct replica *r, const struct entry *e)
{
    struct host *h = r->host;
    struct reader in = reader_of(entry_data(e));
    uint64_t count = reader_varint(&in);
    if (in.failed || count == 0 || count > reader_left(&in)) return ST_CORRUPT;
    struct applying a = {.r = r,
                         .counters_before = r->counters,
                         .ops = mem_alloc(count * sizeof *a.ops),
                         .ends = mem_alloc(count * sizeof *a.ends)};
    hlc_t ts = e->ts;
    enum status st = ST_OK;
    buf_clear_keep(&h->results, HOST_BUFFER_KEEP);
    for (uint64_t i = 0; i < count && st == ST_OK; i++) {
        struct bytes encoded = reader_lp(&in);
        if (in.failed || !op_decode(encoded, &a.ops[i])) {
            st = ST_CORRUPT;
            break;
        }
        st = run_op(&a, &a.ops[i], ts);
        if (st != ST_OK) break;
        ts += op_timestamps(&a.ops[i]);
        a.ends[i] = (uint32_t)h->results.n;
        a.ran++;
    }
    if (st == ST_OK && !reader_done(&in)) st = ST_CORRUPT;
    if (st == ST_OK) {
        h->stage.cold = !replica_leads(r);
        stage_commit(&h->stage);
        settle(&a, e);
        r->last_ts = MAX(r->last_ts, ts - 1);
        h->stats.ops_applied += count;
        replica_answer_entry(r, e, &h->results, a.ends, count);
    } else {
        undo(&a);
    }
    mem_free(a.ops);
    mem_free(a.ends);
    return st;
}

static void fetched(void *ctx)
{
    struct replica *r = ctx;
    r->jobs--;
    r->fetching = false;
    if (!r->dropped) host_wake(r);
}

/* Brings what the entry misses into memory. False: too many fetches are under way; try again next turn. */
static void fetch_missing(struct replica *r)
{
    struct host *h = r->host;
    struct bytes lo = buf_view(&h->stage.missing), hi = buf_view(&h->stage.missing_hi);
    enum status st = hi.n == 0 ? rows_fetch(h->rows, lo, fetched, r)
                               : rows_fetch_range(h->rows, lo, hi, h->limits.rows_bytes_max / 2, fetched, r);
    if (st != ST_OK) return; /* the host's tick wakes whoever has entries to apply */
    r->fetching = true;
    r->fetch_tries++;
    r->jobs++;
    h->stats.reads_fetched++;
}

static void apply_config(struct replica *r, const struct entry *e)
{
    struct raft_config config;
    if (!raft_config_decode(entry_data(e), &config)) {
        replica_stop(r, "entry %llu holds a configuration that can't be read", (unsigned long long)e->index);
        return;
    }
    r->applied_config = config;
    r->host->options.changed(r->host->options.ctx, r);
}

static bool apply_entry(struct replica *r, const struct entry *e)
{
    enum status st = ST_OK;
    ASSERT(e->index == r->applied + 1);
    switch (e->kind) {
    case ENTRY_NOOP: break;
    case ENTRY_CONF: apply_config(r, e); break;
    case ENTRY_OPS: st = apply_ops(r, e); break;
    case ENTRY_SCRUB:
        if (!scrub_apply(r, e)) return false;
        break;
    default: st = ST_VERSION; break;
    }
    if (st == ST_NOT_READY) {
        fetch_missing(r);
        return false;
    }
    if (st == ST_VERSION)
        replica_stop(r, "entry %llu has ops of a version this build does not know: upgrade this node",
                     (unsigned long long)e->index);
    else if (st == ST_CORRUPT)
        replica_stop(r, "entry %llu can't be read, or met a row that can't", (unsigned long long)e->index);
    else if (st != ST_OK)
        host_fail(r->host, st, "reading rows failed");
    if (st != ST_OK || r->stopped) return false;
    r->applied = e->index;
    r->applied_term = e->term;
    r->applied_ts = MAX(r->applied_ts, MAX(e->ts, r->last_ts));
    r->last_ts = r->applied_ts;
    r->applied_dirty = true;
    host_applied(r);
    r->fetch_tries = 0;
    hlc_see(&r->host->clock, r->applied_ts);
    raft_applied(r->raft, r->applied);
    return true;
}

static void read_done(struct log_read *read)
{
    struct replica *r = CONTAINER_OF(read, struct replica, read);
    r->jobs--;
    r->reading = false;
    if (r->dropped) {
        log_read_release(read);
        return;
    }
    if (read->status != ST_OK || read->count == 0) {
        log_read_release(read);
        replica_stop(r, "entry %llu can't be read from the log (%s)", (unsigned long long)read->lo,
                     status_name(read->status));
        return;
    }
    r->read_entries = mem_copy(read->entries, read->count * sizeof *read->entries);
    r->read_count = read->count;
    r->read_at = 0;
    memset(read->entries, 0, read->count * sizeof *read->entries);
    log_read_release(read);
    host_wake(r);
}

/* The next entry to apply, borrowed; NULL: it is being read from the log. */
static const struct entry *next_entry(struct replica *r, uint64_t commit)
{
    uint64_t index = r->applied + 1;
    while (r->read_at < r->read_count && r->read_entries[r->read_at]->index < index)
        entry_unref(r->read_entries[r->read_at++]);
    if (r->read_at < r->read_count && r->read_entries[r->read_at]->index == index) return r->read_entries[r->read_at];
    const struct entry *e = raft_entry_peek(r->raft, index);
    if (e != NULL || r->reading) return e;
    for (; r->read_at < r->read_count; r->read_at++) entry_unref(r->read_entries[r->read_at]);
    mem_free(r->read_entries);
    r->read_entries = NULL;
    r->read_count = r->read_at = 0;
    r->read = (struct log_read){
        .replica_id = r->replica_id, .lo = index, .hi = commit + 1, .bytes_max = 1 << 20, .done = read_done};
    r->reading = true;
    r->jobs++;
    log_read(r->host->log, &r->read);
    return NULL;
}

void replica_apply(struct replica *r)
{
    struct host *h = r->host;
    struct raft_view view;
    uint64_t bytes = 0;
    raft_view(r->raft, &view);
    while (!r->installing && !r->stopped && !h->failed && !r->fetching && r->applied < view.commit) {
        if (rows_full(h->rows) || bytes >= h->limits.apply_bytes_per_turn) {
            /* The engine refuses writes, or the turn is long enough: go on in the next one. */
            if (!rows_full(h->rows)) host_wake(r);
            return;
        }
        const struct entry *e = next_entry(r, view.commit);
        if (e == NULL) return;
        h->stage.scan_from_disk = r->fetch_tries >= SCAN_TRIES;
        bytes += e->size + 64;
        if (!apply_entry(r, e)) return;
        if (r->partition_id == 1) h->options.changed(h->options.ctx, r);
    }
}
