/* replica_lead.c - the leader's side: gathers writes into entries, answers them, serves reads and waits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "model/history_view.h"
#include "model/result.h"
#include "replica/disk_view.h"
#include "replica/host_internal.h"

#define EVALUATE_TRIES_MAX 64
#define READ_FETCHES       4 /* of single rows for one read; then a worker reads all that it needs */

static void finish(struct replica_request *q, enum status st, bool maybe, struct bytes result)
{
    struct buf evaluated = q->evaluated;
    q->evaluated = (struct buf){0};
    q->done(q, st, maybe, result);
    buf_deinit(&evaluated);
}

/* ---- taking requests ---- */

enum status replica_submit(struct replica *r, struct replica_request *q)
{
    struct host *h = r->host;
    if (h->failed || r->stopped || r->dropped || h->closing) return ST_STOPPED;
    r->asked_ns = host_now(h);
    if (!replica_leads(r)) return ST_NOT_LEADER;
    struct raft_view view;
    raft_view(r->raft, &view);
    if (view.transferring) return ST_NOT_LEADER;
    q->replica = r;
    q->tries = 0;
    q->index = 0;
    q->evaluated = (struct buf){0};
    switch (q->kind) {
    case REPLICA_WRITE:
        if (r->pending_bytes + q->op.n > h->limits.pending_bytes_max || log_full(h->log)) return ST_OVERLOADED;
        r->pending_bytes += q->op.n;
        list_push_back(&r->pending, &q->link);
        break;
    case REPLICA_READ:
        if (r->reads_by_id.count + r->reads_out >= h->limits.raft.reads_max) return ST_OVERLOADED;
        q->index = r->read_id_next++;
        map_set(&r->reads_by_id, q->index, q);
        list_push_back(&r->reads, &q->link);
        if (raft_read(r->raft, host_now(h), q->index) != ST_OK) {
            map_remove(&r->reads_by_id, q->index);
            link_remove(&q->link);
            return ST_NOT_LEADER;
        }
        q->tries = 0;
        break;
    case REPLICA_WAIT:
        q->index = view.last_index;
        q->deadline_ns = host_now(h) + q->wait_ms * NS_PER_MS;
        list_push_back(&r->waits, &q->link);
        break;
    default: return ST_INVALID;
    }
    host_wake(r);
    return ST_OK;
}

/* ---- writes ---- */

/* A view of the applied rows for a read or an evaluation. */
static void applied_view(struct replica *r, hlc_t ts, struct op_counters *counters, struct op_view *out)
{
    stage_view(&r->host->stage, false, out);
    *counters = r->counters;
    out->table = r->table;
    out->slot_lo = r->slot_lo;
    out->slot_hi = r->slot_hi;
    out->ts = ts;
    out->counters = counters;
}

static bool in_flight(const struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    return r->batch_count != 0 || view.last_index > r->applied;
}

/* Has this leader applied an entry of its own term, and with it all that former leaders answered? Before that, the lease
 * says only that nobody else answers now. */
static bool caught_up(const struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    return r->applied_term == view.term || MUTATION("lease_read_before_own_term");
}

/* The timestamp at which applied rows may be read now. Later entries are stamped above it. */
static hlc_t read_timestamp(struct replica *r)
{
    struct host *h = r->host;
    hlc_t floor = MAX(r->applied_ts, r->read_ts); /* what is in flight was stamped above both */
    if (in_flight(r)) return floor;
    hlc_t now = MAX(hlc_from_ms(env_wall_ms(h->env)), h->clock.last);
    hlc_t limit = raft_hlc_limit(r->raft, host_now(h));
    r->read_ts = MAX(MIN(now, limit), floor);
    hlc_see(&h->clock, r->read_ts);
    return r->read_ts;
}

/* May the rows be read as of ts? If so, what is stamped from now on is above it. */
static enum status allow_read_at(struct replica *r, hlc_t ts)
{
    if (r->counters.retention_ms == 0) return ST_UNSUPPORTED;
    if (ts < r->counters.watermark) return ST_STALE;
    return ts <= read_timestamp(r) ? ST_OK : ST_NOT_READY;
}

/* Turns an OP_EVALUATE op into a write set. True: q is done with, or has to wait; false: go on with q->evaluated. */
static bool evaluate(struct replica *r, struct replica_request *q, const struct op *op, bool *out_wait)
{
    struct host *h = r->host;
    struct op_view view;
    struct op_counters counters;
    struct buf result = {0};
    *out_wait = false;
    buf_clear(&q->evaluated);
    applied_view(r, r->applied_ts, &counters, &view);
    enum status st = op_evaluate(op, &view, &q->evaluated, &result);
    stage_clear(&h->stage);
    if (st == ST_NOT_READY) {
        host_fetch(r, buf_view(&h->stage.missing), buf_view(&h->stage.missing_hi));
        *out_wait = true;
    } else if (st != ST_OK) {
        r->pending_bytes -= q->op.n;
        finish(q, ST_IO, false, (struct bytes){0});
    } else if (q->evaluated.n == 0) {
        /* It changes nothing; but what it read must be the last word: only true under the lease, with nothing before it. */
        if (host_now(h) < raft_lease_until(r->raft) && caught_up(r) && !in_flight(r)) {
            r->pending_bytes -= q->op.n;
            finish(q, ST_OK, false, buf_view(&result));
        } else {
            *out_wait = true;
        }
    }
    buf_deinit(&result);
    return st != ST_OK || q->evaluated.n == 0;
}

static void hold_back(struct replica *r, bool held)
{
    if (link_linked(&r->held) == held) return;
    if (held) list_push_back(&r->host->held, &r->held);
    else link_remove(&r->held);
}

static void clear_batch(struct replica *r)
{
    buf_clear_keep(&r->batch, HOST_BUFFER_KEEP);
    r->batch_large = (struct bytes){0};
    r->batch_count = 0;
    r->batch_timestamps = 0;
}

static bool propose_batch(struct replica *r)
{
    struct host *h = r->host;
    struct buf head = {0};
    struct bytes data = r->batch_large.n != 0 ? r->batch_large : buf_view(&r->batch);
    uint64_t index, term;
    uint64_t now = host_now(h);
    hlc_t limit = raft_hlc_limit(r->raft, now);
    hlc_t wall = hlc_from_ms(env_wall_ms(h->env));
    hlc_see(&h->clock, raft_hlc_floor(r->raft)); /* a configuration's entry may have raised it */
    hlc_t first = MAX(MAX(wall, h->clock.last + 1), r->last_ts + 1);
    if (first + r->batch_timestamps > limit) {
        /* A wall clock that runs ahead gives way to the limit; a limit that is behind what was used holds writes back. */
        first = MAX(h->clock.last + 1, r->last_ts + 1);
        hold_back(r, first + r->batch_timestamps > limit);
        if (link_linked(&r->held)) return false;
    }
    buf_put_varint(&head, r->batch_count);
    if (r->batch_large.n != 0) buf_put_varint(&head, r->batch_large.n);
    enum status st = raft_propose2(r->raft, now, ENTRY_OPS, first, buf_view(&head), data, &index, &term);
    buf_deinit(&head);
    hold_back(r, st != ST_OK);
    if (st != ST_OK) return false;
    hlc_see(&h->clock, first + r->batch_timestamps - 1);
    struct flight *f = mem_zalloc(sizeof *f);
    f->index = index;
    f->term = term;
    f->count = r->batch_count;
    f->requests = mem_copy(r->batch_requests, r->batch_count * sizeof *f->requests);
    list_push_back(&r->flights, &f->link);
    h->stats.proposals += r->batch_count;
    clear_batch(r);
    return true;
}

static void add_to_batch(struct replica *r, struct replica_request *q, struct bytes encoded, const struct op *op)
{
    if (r->batch_count == r->batch_cap) {
        r->batch_cap = r->batch_cap != 0 ? r->batch_cap * 2 : 64;
        r->batch_requests = mem_realloc(r->batch_requests, r->batch_cap * sizeof *r->batch_requests);
    }
    r->batch_requests[r->batch_count++] = q;
    r->batch_timestamps += op_timestamps(op);
    if (encoded.n > r->host->limits.batch_bytes_max) r->batch_large = encoded; /* alone: see replica_close_batch */
    else buf_put_lp(&r->batch, encoded);
}

void replica_close_batch(struct replica *r)
{
    struct host *h = r->host;
    if (r->batch_count != 0 && !propose_batch(r)) return; /* held back in an earlier turn, and still */
    if (list_empty(&r->pending) || !replica_leads(r)) return;
    struct list waiting;
    list_init(&waiting);
    for (struct link *k; (k = list_pop_front(&r->pending)) != NULL;) {
        struct replica_request *q = CONTAINER_OF(k, struct replica_request, link);
        struct op op;
        struct bytes encoded = q->op;
        if (!op_decode(encoded, &op)) {
            r->pending_bytes -= q->op.n;
            finish(q, ST_INVALID, false, (struct bytes){0});
            continue;
        }
        if (op.flags & OP_EVALUATE) {
            bool wait;
            if (evaluate(r, q, &op, &wait)) {
                if (wait) list_push_back(&waiting, &q->link);
                continue;
            }
            encoded = buf_view(&q->evaluated);
            bool ok = op_decode(encoded, &op);
            ASSERT(ok);
        }
        if (encoded.n > h->limits.batch_bytes_max && r->batch_count != 0 && !propose_batch(r)) {
            list_push_front(&r->pending, &q->link);
            break;
        }
        add_to_batch(r, q, encoded, &op);
        if (r->batch_large.n == 0 && r->batch.n < h->limits.batch_bytes_max && r->batch_count < h->limits.batch_ops_max)
            continue;
        if (!propose_batch(r)) break;
    }
    if (r->batch_count != 0) propose_batch(r);
    /* Those that wait for a row keep their place before what comes later. */
    for (struct link *k; (k = list_last(&waiting)) != NULL;) {
        link_remove(k);
        list_push_front(&r->pending, k);
    }
}

static struct flight *flight_of(struct replica *r, const struct entry *e)
{
    for (struct link *k; (k = list_first(&r->flights)) != NULL;) {
        struct flight *f = CONTAINER_OF(k, struct flight, link);
        if (f->index > e->index) return NULL;
        if (f->index == e->index && f->term == e->term) return f;
        ASSERT(f->index <= e->index);
        return NULL;
    }
    return NULL;
}

void replica_answer_entry(struct replica *r, const struct entry *e, const struct buf *results, const uint32_t *ends,
                          size_t n)
{
    struct flight *f = flight_of(r, e);
    if (f == NULL) return;
    ASSERT(f->count == n);
    link_remove(&f->link);
    uint32_t start = 0;
    for (size_t i = 0; i < n; start = ends[i++]) {
        struct replica_request *q = f->requests[i];
        if (results->p[start] == 'V' && ++q->tries < EVALUATE_TRIES_MAX) {
            r->host->stats.conflicts++;
            list_push_back(&r->pending, &q->link); /* the rows it was computed from have changed: once more */
            host_wake(r);
            continue;
        }
        r->pending_bytes -= q->op.n;
        if (results->p[start] == 'V') finish(q, ST_OVERLOADED, false, (struct bytes){0});
        else finish(q, ST_OK, false, bytes_of(results->p + start, ends[i] - start));
    }
    mem_free(f->requests);
    mem_free(f);
}

void replica_lost_leadership(struct replica *r)
{
    struct link *k;
    while ((k = list_pop_front(&r->flights)) != NULL) {
        struct flight *f = CONTAINER_OF(k, struct flight, link);
        for (size_t i = 0; i < f->count; i++) {
            r->pending_bytes -= f->requests[i]->op.n;
            finish(f->requests[i], ST_NOT_LEADER, true, (struct bytes){0});
        }
        mem_free(f->requests);
        mem_free(f);
    }
    for (size_t i = 0; i < r->batch_count; i++) {
        r->pending_bytes -= r->batch_requests[i]->op.n;
        finish(r->batch_requests[i], ST_NOT_LEADER, false, (struct bytes){0});
    }
    clear_batch(r);
    hold_back(r, false);
    while ((k = list_pop_front(&r->pending)) != NULL) {
        struct replica_request *q = CONTAINER_OF(k, struct replica_request, link);
        r->pending_bytes -= q->op.n;
        /* It was in an entry before if it was evaluated more than once, but such entries changed nothing. */
        finish(q, ST_NOT_LEADER, false, (struct bytes){0});
    }
    while ((k = list_pop_front(&r->reads)) != NULL) {
        struct replica_request *q = CONTAINER_OF(k, struct replica_request, link);
        map_remove(&r->reads_by_id, q->index);
        finish(q, ST_NOT_LEADER, false, (struct bytes){0});
    }
    while ((k = list_pop_front(&r->waits)) != NULL)
        finish(CONTAINER_OF(k, struct replica_request, link), ST_NOT_LEADER, false, (struct bytes){0});
    snapshot_abort_all(r);
}

/* ---- reads ---- */

bool replica_read_now(struct replica *r, const struct op *op, struct buf *out)
{
    struct host *h = r->host;
    uint64_t now = MUTATION("lease_by_old_clock") ? h->ticked_ns : host_now(h);
    if (h->failed || r->stopped || raft_lease_until(r->raft) <= now || !caught_up(r)) return false;
    struct op_view view;
    struct op_counters counters;
    size_t at = out->n;
    applied_view(r, read_timestamp(r), &counters, &view);
    enum status st = op_run(op, &view, out);
    /* The lease must still hold once the answer is made: a pause in between may have ended it. */
    if (st == ST_OK && (raft_lease_until(r->raft) > host_now(h) || MUTATION("lease_by_old_clock"))) {
        h->stats.reads_lease++;
        return true;
    }
    out->n = at;
    return false;
}

/* q->tries counts rounds of fetching; q->deadline_ns holds the index that must be applied first (0: not confirmed yet). */
void replica_serve_reads(struct replica *r, const struct raft_read *reads, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct replica_request *q = map_get(&r->reads_by_id, reads[i].id);
        if (q == NULL) continue;
        if (reads[i].status != ST_OK) {
            map_remove(&r->reads_by_id, q->index);
            link_remove(&q->link);
            finish(q, ST_NOT_LEADER, false, (struct bytes){0});
            continue;
        }
        q->deadline_ns = reads[i].index + 1;
    }
}

/* A read of the rows as they are, or as they were. */
static enum status run_read(const struct op *op, struct op_view *view, hlc_t read_ts, hlc_t newest, struct buf *result)
{
    if (read_ts == 0) return op_run(op, view, result);
    struct history_reader then;
    history_reader_init(&then, view, read_ts, newest);
    enum status st = op_run(op, &then.view, result);
    history_reader_deinit(&then);
    return st;
}

struct disk_read {
    struct env_job job;
    struct replica *replica;
    struct replica_request *request;
    struct disk_view disk;
    struct op_view view;
    struct op_counters counters;
    hlc_t read_ts; /* 0: now */
    hlc_t newest;  /* of what is applied */
    enum status status;
    struct buf op_copy, result;
};

static void disk_read_run(struct env_job *job)
{
    struct disk_read *d = CONTAINER_OF(job, struct disk_read, job);
    struct op op;
    bool ok = op_decode(buf_view(&d->op_copy), &op);
    ASSERT(ok);
    d->status = run_read(&op, &d->view, d->read_ts, d->newest, &d->result);
}

static void disk_read_done(struct env_job *job)
{
    struct disk_read *d = CONTAINER_OF(job, struct disk_read, job);
    struct replica *r = d->replica;
    r->jobs--;
    r->reads_out--;
    engine_snapshot_release(r->host->engine, d->disk.snapshot);
    if (r->stopped && d->status == ST_OK) d->status = ST_STOPPED; /* its rows may be wrong */
    if (d->status == ST_CORRUPT && !r->dropped && !r->host->closing)
        replica_fence(r, "a row that was read can't be: %s", d->disk.err.text);
    if (d->request != NULL) {
        /* The snapshot was taken after the read was confirmed, so it may be answered whatever happened since. */
        if (d->status == ST_OK) finish(d->request, ST_OK, false, buf_view(&d->result));
        else finish(d->request, d->status, false, (struct bytes){0});
    }
    buf_deinit(&d->op_copy);
    buf_deinit(&d->result);
    disk_view_deinit(&d->disk);
    mem_free(d);
}

/* The read needs more than is in memory: runs it on a worker, on a snapshot of the engine. */
static bool read_from_disk(struct replica *r, struct replica_request *q, hlc_t ts)
{
    struct host *h = r->host;
    struct error err = {0};
    if (rows_flush(h->rows, &err) != ST_OK) return false;
    struct disk_read *d = mem_zalloc(sizeof *d);
    d->replica = r;
    d->request = q;
    d->disk = (struct disk_view){.engine = h->engine, .snapshot = engine_snapshot_take(h->engine)};
    d->counters = r->counters;
    d->read_ts = q->read_ts;
    d->newest = r->last_ts;
    d->status = ST_STOPPED; /* unless it runs */
    d->view = (struct op_view){.ctx = &d->disk,
                               .table = r->table,
                               .slot_lo = r->slot_lo,
                               .slot_hi = r->slot_hi,
                               .ts = ts,
                               .counters = &d->counters,
                               .get = disk_view_get,
                               .get_front = disk_view_get,
                               .scan = disk_view_scan};
    buf_put_bytes(&d->op_copy, q->op);
    d->job = (struct env_job){.run = disk_read_run, .done = disk_read_done};
    r->jobs++;
    r->reads_out++;
    h->stats.reads_fetched++;
    env_worker_submit(h->worker, h->loop, &d->job);
    return true;
}

/* A read that waits for a row to be fetched. It has been confirmed, so rows applied later may answer it, too. */
struct row_read {
    struct replica *replica;
    struct replica_request *request;
    hlc_t ts;
    unsigned fetches;
};

static bool serve_read(struct replica *r, struct replica_request *q, hlc_t ts, unsigned fetches);

static void read_fetched(void *ctx)
{
    struct row_read w = *(struct row_read *)ctx;
    struct replica *r = w.replica;
    mem_free(ctx);
    r->jobs--;
    r->reads_out--;
    if (!list_empty(&r->reads)) host_wake(r);
    if (r->dropped || r->stopped || r->installing) {
        finish(w.request, ST_NOT_LEADER, false, (struct bytes){0});
    } else if (!serve_read(r, w.request, MAX(w.ts, r->applied_ts), w.fetches)) {
        if (!replica_leads(r)) {
            finish(w.request, ST_NOT_LEADER, false, (struct bytes){0});
        } else { /* the engine refuses: with the others, later */
            list_push_back(&r->reads, &w.request->link);
            map_set(&r->reads_by_id, w.request->index, w.request);
            host_wake(r);
        }
    }
}

/* A row that is missing is fetched into memory; what needs more is read on a worker from a snapshot of the engine. */
static bool fetch_for_read(struct replica *r, struct replica_request *q, hlc_t ts, unsigned fetches)
{
    struct host *h = r->host;
    if (h->stage.missing_hi.n != 0 || fetches == READ_FETCHES) return read_from_disk(r, q, ts);
    struct row_read *w = mem_alloc(sizeof *w);
    *w = (struct row_read){r, q, ts, fetches + 1};
    if (rows_fetch(h->rows, buf_view(&h->stage.missing), read_fetched, w) != ST_OK) {
        mem_free(w);
        return false; /* too many are under way: it waits */
    }
    r->jobs++;
    r->reads_out++;
    h->stats.reads_fetched++;
    return true;
}

/* Answers the read, or has it under way. False: it can't be served now. */
static bool serve_read(struct replica *r, struct replica_request *q, hlc_t ts, unsigned fetches)
{
    struct op op;
    struct op_view view;
    struct op_counters counters;
    struct buf result = {0};
    bool done = true;
    enum status st = op_decode(q->op, &op) && (op.flags & OP_READ) ? ST_OK : ST_INVALID;
    if (st == ST_OK && q->read_ts != 0) st = allow_read_at(r, q->read_ts);
    if (q->read_ts != 0) ts = q->read_ts;
    if (st == ST_NOT_READY) {
        done = false; /* it is of a time still to come */
    } else if (st == ST_OK) {
        applied_view(r, ts, &counters, &view);
        st = run_read(&op, &view, q->read_ts, r->last_ts, &result);
        if (st == ST_NOT_READY) done = fetch_for_read(r, q, ts, fetches);
    }
    if (st != ST_NOT_READY) {
        r->host->stats.reads_index++;
        finish(q, st, false, buf_view(&result));
    }
    buf_deinit(&result);
    return done;
}

void replica_run_reads(struct replica *r)
{
    struct link *next;
    if (r->stopped) return;
    for (struct link *k = list_first(&r->reads); k != NULL; k = next) {
        struct replica_request *q = CONTAINER_OF(k, struct replica_request, link);
        next = list_next(&r->reads, k);
        if (q->deadline_ns == 0 || r->applied < q->deadline_ns - 1) continue;
        link_remove(&q->link);
        map_remove(&r->reads_by_id, q->index);
        if (serve_read(r, q, q->read_ts != 0 ? q->read_ts : read_timestamp(r), 0)) continue;
        list_push_front(&r->reads, &q->link); /* it waits, behind this loop's back */
        map_set(&r->reads_by_id, q->index, q);
    }
}

/* ---- waits ---- */

static unsigned holders(const struct replica *r, const struct raft_view *view, uint64_t index)
{
    unsigned n = 0;
    for (size_t i = 0; i < view->config->count; i++) {
        struct raft_progress p;
        uint64_t id = view->config->members[i].replica_id;
        if (id != r->replica_id && raft_peer_progress(r->raft, id, &p) && p.match >= index) n++;
    }
    return n;
}

void replica_run_waits(struct replica *r)
{
    if (list_empty(&r->waits)) return;
    struct raft_view view;
    struct link *next;
    uint64_t now = host_now(r->host);
    raft_view(r->raft, &view);
    for (struct link *k = list_first(&r->waits); k != NULL; k = next) {
        struct replica_request *q = CONTAINER_OF(k, struct replica_request, link);
        next = list_next(&r->waits, k);
        unsigned n = holders(r, &view, q->index);
        if (n < q->wait_count && now < q->deadline_ns) continue;
        struct buf result = {0};
        link_remove(&q->link);
        result_int(&result, n);
        finish(q, ST_OK, false, buf_view(&result));
        buf_deinit(&result);
    }
}
