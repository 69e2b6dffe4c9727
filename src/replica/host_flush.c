/* host_flush.c - flushes the engine in the background, and gives up what the log then no longer needs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/mem.h"
#include "replica/host_internal.h"
#include "table/place.h"

struct flush_job {
    struct env_job job;
    struct host *host;
    enum status status;
    struct error err;
};

static void flush_run(struct env_job *job)
{
    struct flush_job *f = CONTAINER_OF(job, struct flush_job, job);
    f->status = engine_flush(f->host->engine, &f->err);
}

/* The log may lose what the engine has on disk and no live follower needs from it. */
static void compact(struct host *h, struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    uint64_t through = MIN(r->durable_applied, r->applied);
    if (r->retain_index < through) through = r->retain_index;
    struct log_stats log;
    log_stats(h->log, &log);
    /* Not the size of its files, which stays near the bound however little of them is needed: followers would get
     * snapshots for ever, each too late for what was given up meanwhile. */
    if (view.role == RAFT_LEADER && log.needed_bytes < MIN(h->limits.keep_entries_bytes, h->limits.log.bytes_max / 4))
        for (size_t i = 0; i < view.config->count; i++) {
            struct raft_progress p;
            if (raft_peer_progress(r->raft, view.config->members[i].replica_id, &p) && p.match > 0 && !p.snapshotting)
                through = MIN(through, p.match);
        }
    if (through < view.first_index) return;
    log_compact(h->log, r->replica_id, through);
    raft_compacted(r->raft, through);
}

static void read_durable(struct host *h, struct replica *r)
{
    struct buf key = {0};
    struct engine_value value;
    struct error err = {0};
    row_system(&key, r->partition_id, SYSTEM_APPLIED, BYTES_LIT(""));
    if (engine_get_durable(h->engine, buf_view(&key), &value, &err) == ST_OK) {
        struct replica as_of = {.replica_id = r->replica_id};
        if (replica_load_applied(&as_of, value.bytes)) r->durable_applied = MAX(r->durable_applied, as_of.applied);
        engine_value_release(&value);
    }
    buf_deinit(&key);
}

static void flush_done(struct env_job *job)
{
    struct flush_job *f = CONTAINER_OF(job, struct flush_job, job);
    struct host *h = f->host;
    struct replica *r;
    h->flushing = false;
    if (h->closing) {
        mem_free(f);
        return;
    }
    h->flushed_ns = host_now(h);
    if (f->status != ST_OK && f->status != ST_STOPPED) host_fail(h, f->status, f->err.text);
    for (size_t i = 0; f->status == ST_OK && host_each_replica(h, &i, &r);) {
        read_durable(h, r);
        compact(h, r);
    }
    mem_free(f);
}

static void start_flush(struct host *h)
{
    if (h->flushing || h->failed) return;
    struct flush_job *f = mem_zalloc(sizeof *f);
    f->host = h;
    f->job = (struct env_job){.run = flush_run, .done = flush_done};
    f->status = ST_STOPPED;
    h->flushing = true;
    env_worker_submit(h->worker, h->loop, &f->job);
}

void host_flush_if_due(struct host *h, uint64_t now)
{
    uint64_t bytes = engine_unflushed_bytes(h->engine);
    struct log_stats log;
    log_stats(h->log, &log);
    if (bytes >= h->limits.flush_bytes || (bytes > 0 && now > h->flushed_ns + h->limits.flush_ns) ||
        (log.bytes > h->limits.log.bytes_max / 2 && now > h->flushed_ns + NS_PER_S))
        start_flush(h);
}
