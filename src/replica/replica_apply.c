/* replica_apply.c - applies committed entries in order: runs their ops on a stage, then puts all their rows at once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An entry whose rows are not in memory waits until they are fetched; the other replicas go on. What can't be applied (an
 * unknown version, a damaged row) stops the replica, never the op. */
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "model/kv_build.h"
#include "model/result.h"
#include "replica/disk_view.h"
#include "replica/host_internal.h"
#include "table/place.h"

/* What an entry has done so far, so that it can be undone. Running it touches nothing else of the replica but its outcome
 * windows, so that a worker can do it. */
struct applying {
    struct replica *r;
    struct stage *stage;
    struct buf *results;
    struct op_counters counters; /* as they will be */
    struct op *ops;              /* those already run: ids to undo or settle */
    size_t ran;
    uint32_t *ends; /* of each result in results */
    uint64_t duplicates, forgotten;
    hlc_t last_ts;
};

static void undo(struct applying *a)
{
    for (size_t i = 0; i < a->ran; i++)
        if (a->ops[i].flags & OP_HAS_ID) windows_undo(&a->r->windows, a->ops[i].session, a->ops[i].sequence);
    stage_clear(a->stage);
}

static void applying_deinit(struct applying *a)
{
    mem_free(a->ops);
    mem_free(a->ends);
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
        windows_settle(&r->windows, a->ops[i].session, a->ops[i].resolved, e->ts);
    }
    windows_evict(&r->windows, forgot_session, r);
}

/* Runs one op, or finds its outcome in the window. On ST_OK exactly one result has been appended. */
static enum status run_op(struct applying *a, struct op *op, hlc_t ts)
{
    struct replica *r = a->r;
    struct buf *results = a->results;
    struct bytes known;
    size_t at = results->n;
    if ((op->flags & OP_HAS_ID) && !MUTATION("window_ignored")) {
        switch (windows_find(&r->windows, op->session, op->sequence, op->since, &known)) {
        case WINDOW_NEW: break;
        case WINDOW_KNOWN:
            buf_put_bytes(results, known);
            a->duplicates++;
            op->flags &= (uint8_t)~OP_HAS_ID; /* nothing to undo or settle */
            return ST_OK;
        case WINDOW_TOO_OLD:
            result_error(results, "UNKNOWN the outcome of this write is not kept any more: its id is too old");
            op->flags &= (uint8_t)~OP_HAS_ID;
            return ST_OK;
        case WINDOW_FORGOTTEN:
            result_forgotten(results, r->windows.forgotten);
            a->forgotten++;
            op->flags &= (uint8_t)~OP_HAS_ID;
            return ST_OK;
        }
    }
    struct op_view view;
    stage_view(a->stage, true, &view);
    view.table = r->table;
    view.slot_lo = r->slot_lo;
    view.slot_hi = r->slot_hi;
    view.ts = ts;
    view.counters = &a->counters;
    view.keep_history = a->counters.retention_ms != 0;
    enum status st = op_run(op, &view, results);
    if (st == ST_STALE) {
        /* A key of another partition: the gate's map was old. Every replica sees the same. */
        results->n = at;
        result_error(results, "UNAVAILABLE not executed: the key belongs to another partition");
        st = ST_OK;
    }
    if (st != ST_OK) {
        results->n = at;
        return st;
    }
    /* 'V' (conflict) changed nothing and is evaluated again under the same id: not an outcome. */
    if (op->flags & OP_HAS_ID) {
        if (results->p[at] == 'V' || MUTATION("window_ignored")) op->flags &= (uint8_t)~OP_HAS_ID;
        else windows_add(&r->windows, op->session, op->sequence, bytes_of(results->p + at, results->n - at));
    }
    return ST_OK;
}

/* Runs an entry's ops; what they did is in `a`, to be committed or undone. */
static enum status run_ops(struct applying *a, const struct entry *e)
{
    struct reader in = reader_of(entry_data(e));
    uint64_t count = reader_varint(&in);
    if (in.failed || count == 0 || count > reader_left(&in)) return ST_CORRUPT;
    a->counters = a->r->counters;
    a->ops = mem_alloc(count * sizeof *a->ops);
    a->ends = mem_alloc(count * sizeof *a->ends);
    hlc_t ts = e->ts;
    buf_clear_keep(a->results, HOST_BUFFER_KEEP);
    for (uint64_t i = 0; i < count; i++) {
        struct bytes encoded = reader_lp(&in);
        if (in.failed || !op_decode(encoded, &a->ops[i])) return ST_CORRUPT;
        enum status st = run_op(a, &a->ops[i], ts);
        if (st != ST_OK) return st;
        ts += op_timestamps(&a->ops[i]);
        a->ends[i] = (uint32_t)a->results->n;
        a->ran++;
    }
    a->last_ts = ts - 1;
    return reader_done(&in) ? ST_OK : ST_CORRUPT;
}

static void commit_ops(struct applying *a, const struct entry *e)
{
    struct replica *r = a->r;
    a->stage->cold = !replica_leads(r);
    stage_commit(a->stage);
    r->counters = a->counters;
    settle(a, e);
    r->last_ts = MAX(r->last_ts, a->last_ts);
    r->host->stats.ops_applied += a->ran;
    r->host->stats.duplicates_answered += a->duplicates;
    r->host->stats.forgotten_refused += a->forgotten;
    replica_answer_entry(r, e, a->results, a->ends, a->ran);
}

static enum status apply_ops(struct replica *r, const struct entry *e)
{
    struct applying a = {.r = r, .stage = &r->host->stage, .results = &r->host->results};
    a.stage->stable = entry_data(e);
    enum status st = run_ops(&a, e);
    if (st == ST_OK) commit_ops(&a, e);
    else undo(&a);
    applying_deinit(&a);
    return st;
}

static void fetched(void *ctx)
{
    struct replica *r = ctx;
    r->jobs--;
    r->fetching = false;
    if (!r->dropped) host_wake(r);
}

/* Brings what the entry misses into memory: at first all that it names once more, as rows may have been evicted since. */
static void fetch_missing(struct replica *r, const struct entry *e)
{
    struct host *h = r->host;
    struct bytes lo = buf_view(&h->stage.missing), hi = buf_view(&h->stage.missing_hi);
    enum status st = hi.n == 0 ? rows_fetch(h->rows, lo, fetched, r)
                               : rows_fetch_range(h->rows, lo, hi, h->limits.rows_bytes_max / 2, fetched, r);
    if (st != ST_OK) return; /* the host's tick wakes whoever has entries to apply */
    r->fetching = true;
    r->jobs++;
    h->stats.apply_fetches++;
    if (r->fetch_tries++ == 0) prefetch_again(r, e);
}

/* ---- an entry run by a worker ---- */

struct off_run {
    struct env_job job;
    struct applying a;
    struct entry *e;
    struct disk_view disk;
    struct stage stage;
    struct buf results;
    enum status status;
};

static bool applied_entry(struct replica *r, const struct entry *e, enum status st);

static void off_run(struct env_job *job)
{
    struct off_run *o = CONTAINER_OF(job, struct off_run, job);
    o->status = run_ops(&o->a, o->e);
}

static void off_done(struct env_job *job)
{
    struct off_run *o = CONTAINER_OF(job, struct off_run, job);
    struct replica *r = o->a.r;
    struct host *h = r->host;
    r->jobs--;
    r->fetching = r->running_off = false;
    bool wanted = !r->dropped && !r->stopped && !h->closing;
    if (o->status != ST_OK || !wanted) undo(&o->a);
    else commit_ops(&o->a, o->e);
    if (wanted && applied_entry(r, o->e, o->status) && r->partition_id == 1) h->options.changed(h->options.ctx, r);
    if (!r->dropped) host_wake(r);
    applying_deinit(&o->a);
    stage_deinit(&o->stage);
    disk_view_deinit(&o->disk);
    buf_deinit(&o->results);
    entry_unref(o->e);
    mem_free(o);
}

/* What the entry reads does not stay in memory until all of it is there, or can't be told beforehand: a worker runs it on the
 * engine, which has all that was applied. Nothing else changes the partition's rows meanwhile. */
static void run_off(struct replica *r, const struct entry *e)
{
    struct host *h = r->host;
    struct error err = {0};
    if (rows_flush(h->rows, &err) != ST_OK) return; /* the engine is busy: again at the next tick */
    struct off_run *o = mem_zalloc(sizeof *o);
    o->job = (struct env_job){.run = off_run, .done = off_done};
    o->e = entry_ref((struct entry *)e);
    o->disk.engine = h->engine;
    stage_init(&o->stage, h->rows);
    o->stage.base_get = o->stage.base_get_front = disk_view_get;
    o->stage.base_scan = disk_view_scan;
    o->stage.base_ctx = &o->disk;
    o->stage.stable = entry_data(e);
    o->a = (struct applying){.r = r, .stage = &o->stage, .results = &o->results};
    o->status = ST_STOPPED;
    r->fetching = r->running_off = true;
    r->jobs++;
    h->stats.applied_off++;
    env_worker_submit(h->worker, h->loop, &o->job);
}

/* ---- a large value, put some at a time ----
 *
 * A new long string is pieces under an incarnation that nobody knows before its head row is there. So the pieces may go to the
 * engine before the rest of the entry, a bounded number a turn; with the last of them goes the rest, as always. If the process
 * ends in between, the entry is applied again and writes the same pieces; a single op that makes a string has read none of
 * them. Nobody may look at the partition's rows as a whole meanwhile: that is what running_off and host.checkpoints are for. */

struct slow_run {
    struct applying a;
    struct stage stage;
    struct buf results;
    struct entry *e;
    size_t at; /* rows of the stage seen to */
};

static bool is_slow(const struct replica *r, const struct entry *e)
{
    struct reader in = reader_of(entry_data(e));
    struct op op;
    if (e->size <= r->host->limits.put_bytes_per_turn || r->counters.retention_ms != 0) return false;
    if (reader_varint(&in) != 1 || !op_decode(reader_lp(&in), &op) || in.failed) return false;
    return op.opcode == KV_SET || op.opcode == KV_APPEND || op.opcode == KV_SETRANGE;
}

static void slow_free(struct slow_run *s)
{
    applying_deinit(&s->a);
    stage_deinit(&s->stage);
    buf_deinit(&s->results);
    entry_unref(s->e);
    mem_free(s);
}

static void slow_end(struct replica *r)
{
    r->slow = NULL;
    r->fetching = r->running_off = false;
    r->jobs--;
    r->host->slow_runs--;
}

void replica_slow_abandon(struct replica *r)
{
    struct slow_run *s = r->slow;
    if (s == NULL) return;
    slow_end(r);
    undo(&s->a);
    slow_free(s);
}

/* ST_BUSY: it is under way, or has to wait. */
static enum status slow_begin(struct replica *r, const struct entry *e)
{
    struct host *h = r->host;
    struct error err = {0};
    /* What is written from now on holds nothing of this entry but its pieces: the outcome windows, for one, already do. */
    if (h->checkpoints != 0 || rows_flush(h->rows, &err) != ST_OK) return ST_BUSY;
    struct slow_run *s = mem_zalloc(sizeof *s);
    s->e = entry_ref((struct entry *)e);
    stage_init(&s->stage, h->rows);
    s->stage.stable = entry_data(e);
    s->a = (struct applying){.r = r, .stage = &s->stage, .results = &s->results};
    enum status st = run_ops(&s->a, e);
    if (st != ST_OK) {
        buf_clear(&h->stage.missing);
        buf_clear(&h->stage.missing_hi);
        buf_put_bytes(&h->stage.missing, buf_view(&s->stage.missing));
        buf_put_bytes(&h->stage.missing_hi, buf_view(&s->stage.missing_hi));
        undo(&s->a);
        slow_free(s);
        return st;
    }
    r->slow = s;
    r->fetching = r->running_off = true;
    r->jobs++;
    h->slow_runs++;
    h->stats.applied_slowly++;
    host_wake(r);
    return ST_BUSY;
}

static void slow_step(struct replica *r)
{
    struct host *h = r->host;
    struct slow_run *s = r->slow;
    struct error err = {0};
    if (r->dropped || r->stopped || h->failed) {
        replica_slow_abandon(r);
        return;
    }
    if (h->checkpoints != 0) return; /* the tick wakes */
    enum status st = stage_put_early(&s->stage, s->e->ts, h->limits.put_bytes_per_turn, &s->at, &err);
    if (st == ST_BUSY) return;
    if (st != ST_OK) {
        host_fail(h, st, err.text);
        return;
    }
    host_wake(r);
    if (s->at < s->stage.count) return;
    slow_end(r);
    commit_ops(&s->a, s->e);
    applied_entry(r, s->e, ST_OK);
    slow_free(s);
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

/* The entry was run, with this outcome. True: it is applied. */
static bool applied_entry(struct replica *r, const struct entry *e, enum status st)
{
    ASSERT(e->index == r->applied + 1);
    if (st == ST_VERSION)
        replica_stop(r, "entry %llu has ops of a version this build does not know: upgrade this node",
                     (unsigned long long)e->index);
    else if (st == ST_CORRUPT)
        replica_fence(r, "entry %llu can't be read, or met a row that can't", (unsigned long long)e->index);
    else if (st != ST_OK) host_fail(r->host, st, "reading rows failed");
    if (st != ST_OK || r->stopped) return false;
    r->applied = e->index;
    r->applied_term = e->term;
    r->applied_ts = MAX(r->applied_ts, MAX(e->ts, r->last_ts));
    r->last_ts = r->applied_ts;
    r->applied_dirty = true;
    host_applied(r);
    r->fetch_tries = 0;
    prefetch_applied(r);
    hlc_see(&r->host->clock, r->applied_ts);
    raft_applied(r->raft, r->applied);
    return true;
}

static bool apply_entry(struct replica *r, const struct entry *e)
{
    enum status st = ST_OK;
    switch (e->kind) {
    case ENTRY_NOOP: break;
    case ENTRY_CONF: apply_config(r, e); break;
    case ENTRY_OPS: st = is_slow(r, e) ? slow_begin(r, e) : apply_ops(r, e); break;
    case ENTRY_SCRUB:
        if (!scrub_apply(r, e)) return false;
        break;
    default: st = ST_VERSION; break;
    }
    if (st == ST_BUSY) return false;
    if (st == ST_NOT_READY) {
        if (r->fetch_tries < r->host->limits.apply_fetches_max) fetch_missing(r, e);
        else run_off(r, e);
        return false;
    }
    return applied_entry(r, e, st);
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
    if (r->slow != NULL) slow_step(r);
    raft_view(r->raft, &view);
    while (!r->installing && !r->stopped && !h->failed && !r->fetching && r->applied < view.commit) {
        if (rows_full(h->rows) || bytes >= h->limits.apply_bytes_per_turn) {
            /* The engine refuses writes, or the turn is long enough: go on in the next one. */
            if (!rows_full(h->rows)) host_wake(r);
            return;
        }
        const struct entry *e = next_entry(r, view.commit);
        if (e == NULL || !prefetch_ready(r, e)) return;
        bytes += e->size + 64;
        if (!apply_entry(r, e)) return;
        if (r->partition_id == 1) h->options.changed(h->options.ctx, r);
    }
}
