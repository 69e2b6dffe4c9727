/* host_flush.c - flushes the engine in the background, and gives up what the log then no longer needs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "replica/host_internal.h"
#include "table/place.h"

struct durable {
    uint64_t partition_id, replica_id;
    uint64_t applied; /* as the engine has it on disk; 0: unknown */
};

struct flush_job {
    struct env_job job;
    struct host *host;
    struct durable *replicas; /* those that were here when it began */
    size_t count;
    enum status status;
    struct error err;
};

/* What a crash now would leave of the replica's applied row. It is read back, not remembered: the log is cut by it. */
static uint64_t read_durable(struct engine *e, const struct durable *d)
{
    struct buf key = {0};
    struct engine_value value;
    struct error err = {0};
    struct replica as_of = {.replica_id = d->replica_id};
    row_system(&key, d->partition_id, SYSTEM_APPLIED, BYTES_LIT(""));
    if (engine_get_durable(e, buf_view(&key), &value, &err) == ST_OK) {
        if (!replica_load_applied(&as_of, value.bytes)) as_of.applied = 0;
        engine_value_release(&value);
    }
    buf_deinit(&key);
    return as_of.applied;
}

static void flush_run(struct env_job *job)
{
    struct flush_job *f = CONTAINER_OF(job, struct flush_job, job);
    f->status = engine_flush(f->host->engine, &f->err);
    for (size_t i = 0; f->status == ST_OK && i < f->count; i++)
        f->replicas[i].applied = read_durable(f->host->engine, &f->replicas[i]);
}

/* Not by the size of its files, which stays near the bound however little of them is needed: followers would get snapshots for
 * ever, each too late for what was given up meanwhile. */
bool host_log_pressed(const struct host *h)
{
    struct log_stats log;
    log_stats(h->log, &log);
    return log.needed_bytes >= MIN(h->limits.keep_entries_bytes, h->limits.log.bytes_max / 4);
}

/* The log may lose what the engine has on disk and no live follower needs from it. */
static void compact(struct host *h, struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    uint64_t through = MIN(r->durable_applied, r->applied);
    if (r->retain_index < through) through = r->retain_index;
    if (view.role == RAFT_LEADER && !host_log_pressed(h))
        for (size_t i = 0; i < view.config->count; i++) {
            struct raft_progress p;
            if (raft_peer_progress(r->raft, view.config->members[i].replica_id, &p) && p.match > 0 && !p.snapshotting)
                through = MIN(through, p.match);
        }
    if (through < view.first_index) return;
    log_compact(h->log, r->replica_id, through);
    raft_compacted(r->raft, through);
}

static void flush_free(struct flush_job *f)
{
    mem_free(f->replicas);
    mem_free(f);
}

static void flush_done(struct env_job *job)
{
    struct flush_job *f = CONTAINER_OF(job, struct flush_job, job);
    struct host *h = f->host;
    h->flushing = false;
    if (h->closing) {
        flush_free(f);
        return;
    }
    h->flushed_ns = host_now(h);
    if (f->status != ST_OK && f->status != ST_STOPPED) host_fail(h, f->status, f->err.text);
    for (size_t i = 0; f->status == ST_OK && i < f->count; i++) {
        struct replica *r = host_replica(h, f->replicas[i].partition_id);
        if (r == NULL || r->replica_id != f->replicas[i].replica_id) continue;
        r->durable_applied = MAX(r->durable_applied, f->replicas[i].applied);
        compact(h, r);
    }
    flush_free(f);
}

/* Can a flush make any of its log superfluous? A quiet replica's is already. */
static bool has_news(const struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    return r->durable_applied < r->applied || view.first_index <= r->applied;
}

static void start_flush(struct host *h)
{
    if (h->flushing || h->failed) return;
    struct flush_job *f = mem_zalloc(sizeof *f);
    struct replica *r;
    f->host = h;
    f->replicas = mem_alloc((h->replicas.count + 1) * sizeof *f->replicas);
    for (size_t i = 0; host_each_replica(h, &i, &r);)
        if (has_news(r)) f->replicas[f->count++] = (struct durable){r->partition_id, r->replica_id, 0};
    f->job = (struct env_job){.run = flush_run, .done = flush_done};
    f->status = ST_STOPPED;
    h->flushing = true;
    h->flush_wanted = false;
    env_worker_submit(h->worker, h->loop, &f->job);
}

void host_flush_soon(struct host *h)
{
    h->flush_wanted = true; /* with the next tick, which hands the rows to the engine first */
}

void host_flush_if_due(struct host *h, uint64_t now)
{
    uint64_t bytes = engine_unflushed_bytes(h->engine);
    struct log_stats log;
    log_stats(h->log, &log);
    if (h->flush_wanted || bytes >= h->limits.flush_bytes || (bytes > 0 && now > h->flushed_ns + h->limits.flush_ns) ||
        (log.bytes > h->limits.log.bytes_max / 2 && now > h->flushed_ns + NS_PER_S))
        start_flush(h);
}

/* ---- checkpoints ---- */

struct checkpoint_job {
    struct env_job job;
    struct host *host;
    char dir[700];
    enum status status;
    struct error err;
    void (*done)(void *ctx, enum status st, const struct error *err);
    void *ctx;
};

static void checkpoint_run(struct env_job *job)
{
    struct checkpoint_job *c = CONTAINER_OF(job, struct checkpoint_job, job);
    c->status = engine_checkpoint(c->host->engine, c->dir, &c->err);
}

static void checkpoint_done(struct env_job *job)
{
    struct checkpoint_job *c = CONTAINER_OF(job, struct checkpoint_job, job);
    c->host->checkpoints--;
    if (c->status == ST_STOPPED) error_set(&c->err, ST_STOPPED, "the store is being closed");
    c->done(c->ctx, c->status, &c->err);
    mem_free(c);
}

void host_checkpoint(struct host *h, const char *dir, void (*done)(void *ctx, enum status st, const struct error *err),
                     void *ctx)
{
    struct error err = {0};
    enum status st = h->failed || h->closing ? error_set(&err, ST_STOPPED, "store %u has stopped", h->options.store)
                                             : ST_OK;
    if (st == ST_OK) st = h->slow_runs != 0 ? ST_BUSY : rows_flush(h->rows, &err);
    if (st == ST_BUSY)
        error_set(&err, ST_BUSY, "the engine of store %u is too busy just now: try again", h->options.store);
    if (st != ST_OK) {
        done(ctx, st, &err);
        return;
    }
    struct checkpoint_job *c = mem_zalloc(sizeof *c);
    *c = (struct checkpoint_job){.host = h, .status = ST_STOPPED, .done = done, .ctx = ctx};
    snprintf(c->dir, sizeof c->dir, "%s", dir);
    h->checkpoints++;
    c->job = (struct env_job){.run = checkpoint_run, .done = checkpoint_done};
    env_worker_submit(h->worker, h->loop, &c->job);
}
