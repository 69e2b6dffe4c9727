/* host_replica.c - opening the replicas of a store from log and engine, and dropping them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "replica/host_internal.h"
#include "table/place.h"

static enum status load_windows(struct host *h, struct replica *r, struct error *err)
{
    struct buf lo = {0}, hi = {0};
    row_system(&lo, r->partition_id, SYSTEM_WINDOW, BYTES_LIT(""));
    row_system(&hi, r->partition_id, SYSTEM_WINDOW + 1, BYTES_LIT(""));
    struct engine_iter *it = engine_iter_new(h->engine, NULL, buf_view(&lo), buf_view(&hi), ENGINE_DISK);
    enum status st = ST_OK;
    for (engine_iter_first(it); st == ST_OK && engine_iter_valid(it); engine_iter_next(it)) {
        struct bytes key = engine_iter_key(it), row = engine_iter_value(it);
        if (row.n >= 8 && get_u64(row.p) != r->windows.generation && !MUTATION("old_windows_come_back")) {
            /* Deleted after the ingest of a snapshot that had it no more; a crash came before the engine had flushed that. */
            rows_delete(h->rows, key);
            continue;
        }
        if (key.n != lo.n + 8 || row.n < 8 ||
            !windows_load(&r->windows, get_be64(key.p + lo.n), bytes_of(row.p + 8, row.n - 8)))
            st = error_set(err, ST_CORRUPT, "partition %llu: an outcome window can't be read",
                           (unsigned long long)r->partition_id);
    }
    if (st == ST_OK) st = engine_iter_status(it, err);
    engine_iter_free(it);
    buf_deinit(&lo);
    buf_deinit(&hi);
    return st;
}

/* All rows of the partition, then the replica's own, so that the applied row goes last. Blocking. */
static enum status drop_rows(struct host *h, struct replica *r, struct error *err)
{
    struct buf lo = {0}, hi = {0};
    row_range(&lo, &hi, r->table, r->slot_lo, r->slot_hi);
    enum status st = engine_drop_range(h->engine, buf_view(&lo), buf_view(&hi), err);
    buf_clear(&lo);
    buf_clear(&hi);
    row_system(&lo, r->partition_id, 0, BYTES_LIT(""));
    row_system(&hi, r->partition_id, 0xff, BYTES_LIT(""));
    if (st == ST_OK) st = engine_drop_range(h->engine, buf_view(&lo), buf_view(&hi), err);
    buf_deinit(&lo);
    buf_deinit(&hi);
    return st;
}

static enum status load_state(struct host *h, struct replica *r, struct error *err)
{
    struct buf key = {0};
    struct engine_value value;
    row_system(&key, r->partition_id, SYSTEM_APPLIED, BYTES_LIT(""));
    enum status st = engine_get(h->engine, buf_view(&key), ENGINE_DISK, &value, err);
    buf_deinit(&key);
    if (st == ST_NOT_FOUND) return ST_OK;
    if (st != ST_OK) return st;
    bool ours = value.bytes.n > 9 && get_u64(value.bytes.p + 1) == r->replica_id;
    bool good = !ours || replica_load_applied(r, value.bytes);
    engine_value_release(&value);
    if (!good)
        return error_set(err, ST_CORRUPT, "partition %llu: the applied row can't be read",
                         (unsigned long long)r->partition_id);
    /* Rows of an older replica of the partition, whose drop a crash cut short: this one must not inherit them. */
    if (!ours) return drop_rows(h, r, err);
    st = load_windows(h, r, err);
    if (st != ST_OK) return st;
    r->durable_applied = r->applied;
    row_system(&key, r->partition_id, SYSTEM_FENCE, BYTES_LIT(""));
    st = engine_get(h->engine, buf_view(&key), ENGINE_DISK, &value, err);
    buf_deinit(&key);
    if (st == ST_NOT_FOUND) return ST_OK;
    if (st != ST_OK) return st;
    rebuild_load(r, value.bytes);
    engine_value_release(&value);
    return ST_OK;
}

/* Gives the raft what the log has after the applied index, in pieces. */
static enum status load_entries(struct host *h, struct replica *r, uint64_t from, uint64_t to, struct error *err)
{
    while (from <= to) {
        struct log_read read = {.replica_id = r->replica_id, .lo = from, .hi = to + 1, .bytes_max = 4 << 20};
        enum status st = log_read_now(h->log, &read, err);
        if (st == ST_OK && read.count == 0)
            st = error_set(err, ST_CORRUPT, "the log has no entry %llu", (unsigned long long)from);
        if (st != ST_OK) return st;
        for (size_t i = 0; i < read.count; i++) {
            hlc_see(&h->clock, read.entries[i]->ts);
            raft_load(r->raft, read.entries[i]);
        }
        from += read.count;
        log_read_release(&read);
    }
    return ST_OK;
}

/* What is gone, for people. The file's part of it is unknown if an earlier start found it and the file has left the log. */
static void describe_damage(struct host *h, struct replica *r, const struct log_replica *on_disk)
{
    const char *where = log_damage(h->log);
    char gone[96] = "all that it held is gone";
    if (on_disk != NULL && on_disk->claimed_index > on_disk->last_index)
        snprintf(gone, sizeof gone, "entries %llu to %llu are gone", (unsigned long long)on_disk->last_index + 1,
                 (unsigned long long)on_disk->claimed_index);
    else if (on_disk != NULL)
        snprintf(gone, sizeof gone, "entries after %llu may be gone", (unsigned long long)on_disk->last_index);
    snprintf(r->damage_text, sizeof r->damage_text, "the log of store %u is damaged (%.100s): %s", h->options.store,
             where[0] != 0 ? where : "found at an earlier start", gone);
}

/* The operator has said that what is gone is gone: the log counts as it is. */
static void accept_loss(struct host *h, struct replica *r, struct raft_state *state)
{
    diag(DIAG_WARN, "replica.loss_accepted partition=%llu replica=%llu why=\"%s\"", (unsigned long long)r->partition_id,
         (unsigned long long)r->replica_id, r->damage_text);
    log_clear_suspect(h->log, r->replica_id);
    state->suspect = state->damaged = false;
    r->damage_text[0] = 0;
}

static enum status open_raft(struct host *h, struct replica *r, const struct replica_spec *spec, struct error *err)
{
    const struct log_replica *on_disk = log_replica(h->log, r->replica_id);
    const struct log_replica *unknown = log_replica(h->log, 0);
    struct raft_state state = {
        .applied = r->applied, .commit = r->applied, .config = r->applied_config, .last_ts = r->applied_ts};
    if (r->applied == 0 && r->applied_config.count == 0 && spec->first_config != NULL)
        r->applied_config = state.config = *spec->first_config;
    if (on_disk == NULL && unknown != NULL) {
        /* Records are gone and nothing says whose: this replica may have had some. As new it could vote a second time, and
         * a partition's first replica would take itself for the only voter of an empty group. */
        state.suspect = true;
        state.damaged = unknown->damaged;
        log_mark_suspect(h->log, r->replica_id, unknown->damaged);
    }
    if (on_disk != NULL) {
        state.term = on_disk->term;
        state.vote = on_disk->vote;
        state.base_index = on_disk->base_index;
        state.base_term = on_disk->base_term;
        state.suspect = on_disk->suspect;
        state.damaged = on_disk->damaged;
    }
    uint64_t last = on_disk != NULL ? on_disk->last_index : 0;
    if (r->applied < state.base_index && !state.damaged)
        return error_set(err, ST_CORRUPT, "partition %llu: the engine is at entry %llu, but the log begins after %llu",
                         (unsigned long long)r->partition_id, (unsigned long long)r->applied,
                         (unsigned long long)state.base_index);
    if (r->applied > last || r->applied < state.base_index) {
        /* A snapshot was installed, and the log's mark of it was lost; or damage took the first entries that the engine needs:
         * the log starts anew, and stays suspect, until a leader has refilled it. */
        log_reset(h->log, r->replica_id, r->applied, r->applied_term);
        state.base_index = last = r->applied;
        state.base_term = r->applied_term;
        if (on_disk == NULL) state.term = r->applied_term; /* restored from a checkpoint */
    }
    if (state.damaged) describe_damage(h, r, on_disk);
    if (state.damaged && (h->options.accept_loss == r->partition_id || h->options.accept_loss == ACCEPT_LOSS_ALL))
        accept_loss(h, r, &state);
    struct raft_options options = {.group_id = r->partition_id,
                                   .replica_id = r->replica_id,
                                   .store = h->self,
                                   .limits = &h->limits.raft,
                                   .liveness = &h->liveness,
                                   .seed = env_random_u64(h->env),
                                   .trace = h->options.raft_trace,
                                   .trace_ctx = h->options.raft_trace_ctx};
    r->raft = raft_new(&options, &state, host_now(h));
    if (r->fenced) raft_set_unfit(r->raft, true);
    enum status st = load_entries(h, r, state.base_index + 1, last, err);
    if (st == ST_OK) raft_start(r->raft, host_now(h));
    return st;
}

static void watch_members(struct host *h, struct replica *r, bool watch)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    if (watch) {
        for (size_t i = 0; i < view.config->count; i++)
            if (view.config->members[i].store != h->self) liveness_ref(&h->liveness, view.config->members[i].store);
        r->watched = *view.config;
    } else {
        for (size_t i = 0; i < r->watched.count; i++)
            if (r->watched.members[i].store != h->self) liveness_unref(&h->liveness, r->watched.members[i].store);
        r->watched.count = 0;
    }
}

void host_watch_config(struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    if (r->watched_index == view.config_index && r->watched.count == view.config->count) return;
    struct raft_config old = r->watched;
    r->watched_index = view.config_index;
    watch_members(r->host, r, true);
    for (size_t i = 0; i < old.count; i++)
        if (old.members[i].store != r->host->self) liveness_unref(&r->host->liveness, old.members[i].store);
}

enum status host_open_replica(struct host *h, const struct replica_spec *spec, struct replica **out, struct error *err)
{
    struct replica *r = map_get(&h->replicas, spec->partition_id);
    if (r != NULL && r->replica_id == spec->replica_id) {
        *out = r;
        return ST_OK;
    }
    if (r != NULL)
        return error_set(err, ST_EXISTS, "partition %llu has replica %llu here", (unsigned long long)spec->partition_id,
                         (unsigned long long)r->replica_id);
    if (map_get(&h->dropping, spec->partition_id) != NULL)
        return error_set(err, ST_BUSY, "the rows of an earlier replica of partition %llu are still being dropped",
                         (unsigned long long)spec->partition_id);
    r = replica_new(h, spec);
    enum status st = load_state(h, r, err);
    if (st == ST_OK) st = open_raft(h, r, spec, err);
    if (st != ST_OK) {
        replica_free(r);
        return st;
    }
    hlc_see(&h->clock, r->applied_ts);
    map_set(&h->replicas, spec->partition_id, r);
    host_share(r, true);
    watch_members(h, r, true);
    if (r->applied == 0 && r->applied_config.count != 0) {
        r->applied_dirty = true; /* the first configuration is found again after a restart */
        host_applied(r);
    }
    host_wake(r);
    *out = r;
    return ST_OK;
}

struct drop_job {
    struct env_job job;
    struct host *host;
    struct replica *replica;
    enum status status;
    struct error err;
};

static void drop_run(struct env_job *job)
{
    struct drop_job *d = CONTAINER_OF(job, struct drop_job, job);
    d->status = drop_rows(d->host, d->replica, &d->err);
}

static void drop_done(struct env_job *job)
{
    struct drop_job *d = CONTAINER_OF(job, struct drop_job, job);
    struct replica *r = d->replica;
    if (d->status != ST_OK) host_fail(d->host, d->status, d->err.text);
    diag(DIAG_INFO, "replica.dropped partition=%llu replica=%llu", (unsigned long long)r->partition_id,
         (unsigned long long)r->replica_id);
    map_remove(&d->host->dropping, r->partition_id);
    replica_free(r);
    mem_free(d);
}

static void start_drop(struct host *h, struct replica *r)
{
    struct buf lo = {0}, hi = {0};
    row_range(&lo, &hi, r->table, r->slot_lo, r->slot_hi);
    rows_delete_range(h->rows, buf_view(&lo), buf_view(&hi));
    buf_clear(&lo);
    buf_clear(&hi);
    row_system(&lo, r->partition_id, 0, BYTES_LIT(""));
    row_system(&hi, r->partition_id, 0xff, BYTES_LIT(""));
    rows_delete_range(h->rows, buf_view(&lo), buf_view(&hi));
    struct drop_job *d = mem_zalloc(sizeof *d);
    *d = (struct drop_job){.host = h, .replica = r};
    d->job = (struct env_job){.run = drop_run, .done = drop_done};
    env_worker_submit(h->worker, h->loop, &d->job);
    buf_deinit(&lo);
    buf_deinit(&hi);
}

void host_drop_replica(struct host *h, uint64_t partition_id)
{
    struct replica *r = map_remove(&h->replicas, partition_id);
    if (r == NULL) return;
    replica_lost_leadership(r);
    replica_slow_abandon(r);
    r->dropped = true;
    host_share(r, false);
    due_set(r, UINT64_MAX);
    snapshot_abort_all(r);
    prefetch_forget_all(r);
    watch_members(h, r, false);
    if (link_linked(&r->busy)) link_remove(&r->busy);
    if (link_linked(&r->lost)) link_remove(&r->lost);
    if (link_linked(&r->applied_link)) link_remove(&r->applied_link);
    for (struct link *k = list_first(&h->after); k != NULL; k = list_next(&h->after, k)) {
        struct after *a = CONTAINER_OF(k, struct after, link);
        if (a->replica == r) a->replica = NULL;
    }
    log_drop(h->log, r->replica_id);
    map_set(&h->dropping, partition_id, r);
    list_push_back(&h->dropped, &r->busy);
}

/* Frees what was dropped once no job points at it any more. */
void host_reap_dropped(struct host *h)
{
    struct link *next;
    for (struct link *k = list_first(&h->dropped); k != NULL; k = next) {
        struct replica *r = CONTAINER_OF(k, struct replica, busy);
        next = list_next(&h->dropped, k);
        if (r->jobs != 0 || r->receive != NULL) continue;
        link_remove(k);
        start_drop(h, r);
    }
}

size_t host_log_replicas(const struct host *h, uint64_t replica_id, bool *out_known)
{
    const struct log_replica *on_disk;
    size_t n = 0;
    *out_known = false;
    for (size_t i = 0; log_each_replica(h->log, &i, &on_disk); n++)
        *out_known = *out_known || on_disk->replica_id == replica_id;
    return n;
}

void host_drop_strangers(struct host *h, bool (*known)(void *ctx, uint64_t replica_id), void *ctx)
{
    const struct log_replica *on_disk;
    uint64_t strangers[64];
    size_t n = 0;
    for (size_t i = 0; n < ARRAY_COUNT(strangers) && log_each_replica(h->log, &i, &on_disk);)
        if (!known(ctx, on_disk->replica_id)) strangers[n++] = on_disk->replica_id;
    for (size_t i = 0; i < n; i++) log_drop(h->log, strangers[i]);
}

enum status host_checksum(struct replica *r, uint64_t *out_applied, uint64_t *out_hash, uint64_t *out_rows,
                          struct error *err)
{
    struct host *h = r->host;
    struct buf lo = {0}, hi = {0};
    row_range(&lo, &hi, r->table, r->slot_lo, r->slot_hi);
    enum status st = rows_flush(h->rows, err);
    if (st == ST_OK) {
        struct engine_snapshot *s = engine_snapshot_take(h->engine);
        st = engine_checksum(h->engine, s, buf_view(&lo), buf_view(&hi), NULL, 0, out_hash, out_rows, err);
        engine_snapshot_release(h->engine, s);
        *out_applied = r->applied;
    }
    buf_deinit(&lo);
    buf_deinit(&hi);
    return st;
}
