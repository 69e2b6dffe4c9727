/* replica.c - one copy of a partition: opening it, its applied row, and what it does in a turn.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The applied row (docs/formats.md, "Applied rows") is in the same engine batch as the effects of the entries it counts. */
#include <stdarg.h>
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "replica/host_internal.h"
#include "table/place.h"

#define APPLIED_FORMAT         1
#define APPLIED_FORMAT_HISTORY 2 /* with retention and watermark: only once the partition has had history */

void replica_encode_applied(const struct replica *r, struct buf *out)
{
    bool history = r->counters.retention_ms != 0 || r->counters.watermark != 0;
    buf_put_u8(out, history ? APPLIED_FORMAT_HISTORY : APPLIED_FORMAT);
    buf_put_u64(out, r->replica_id);
    buf_put_u64(out, r->applied);
    buf_put_u64(out, r->applied_term);
    buf_put_u64(out, r->applied_ts);
    buf_put_u64(out, (uint64_t)r->counters.keys);
    buf_put_u64(out, (uint64_t)r->counters.expires);
    buf_put_u64(out, (uint64_t)r->counters.garbage);
    buf_put_u64(out, r->counters.last_delete);
    buf_put_u64(out, r->windows.forgotten);
    buf_put_u64(out, r->windows.generation);
    if (history) {
        buf_put_u64(out, r->counters.retention_ms);
        buf_put_u64(out, r->counters.watermark);
    }
    /* A new member that is fed from the log's beginning has none until it applies its first one. */
    buf_put_u8(out, r->applied_config.count != 0);
    if (r->applied_config.count != 0) raft_config_encode(&r->applied_config, out);
}

bool replica_load_applied(struct replica *r, struct bytes row)
{
    struct reader in = reader_of(row);
    uint8_t format = reader_u8(&in);
    if ((format != APPLIED_FORMAT && format != APPLIED_FORMAT_HISTORY) || reader_u64(&in) != r->replica_id)
        return false;
    r->applied = reader_u64(&in);
    r->applied_term = reader_u64(&in);
    r->applied_ts = reader_u64(&in);
    r->counters.keys = (int64_t)reader_u64(&in);
    r->counters.expires = (int64_t)reader_u64(&in);
    r->counters.garbage = (int64_t)reader_u64(&in);
    r->counters.last_delete = reader_u64(&in);
    r->windows.forgotten = reader_u64(&in);
    r->windows.generation = reader_u64(&in);
    r->counters.retention_ms = format == APPLIED_FORMAT_HISTORY ? reader_u64(&in) : 0;
    r->counters.watermark = format == APPLIED_FORMAT_HISTORY ? reader_u64(&in) : 0;
    r->last_ts = r->applied_ts;
    bool has_config = reader_u8(&in) != 0;
    if (in.failed || !has_config) return reader_done(&in);
    return raft_config_decode(reader_bytes(&in, reader_left(&in)), &r->applied_config);
}

static void put_window(struct replica *r, uint64_t session)
{
    struct buf key = {0}, id = {0}, value = {0};
    buf_put_be64(&id, session);
    row_system(&key, r->partition_id, SYSTEM_WINDOW, buf_view(&id));
    buf_put_u64(&value, r->windows.generation);
    windows_encode(&r->windows, session, &value);
    rows_put(r->host->rows, buf_view(&key), buf_view(&value));
    buf_deinit(&key);
    buf_deinit(&id);
    buf_deinit(&value);
}

void replica_put_applied(struct replica *r)
{
    if (!r->applied_dirty) return;
    r->applied_dirty = false;
    struct buf key = {0}, value = {0};
    row_system(&key, r->partition_id, SYSTEM_APPLIED, BYTES_LIT(""));
    replica_encode_applied(r, &value);
    rows_put(r->host->rows, buf_view(&key), buf_view(&value));
    buf_deinit(&key);
    buf_deinit(&value);
    uint64_t session;
    void *unused;
    for (size_t i = 0; map_each(&r->windows_dirty, &i, &session, &unused);)
        if (map_get(&r->windows.sessions, session) != NULL) put_window(r, session);
    map_deinit(&r->windows_dirty);
}

void replica_stop(struct replica *r, const char *fmt, ...)
{
    if (r->stopped) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->stopped_text, sizeof r->stopped_text, fmt, args);
    va_end(args);
    r->stopped = true;
    diag(DIAG_ERROR, "replica.stopped partition=%llu replica=%llu why=\"%s\"", (unsigned long long)r->partition_id,
         (unsigned long long)r->replica_id, r->stopped_text);
    raft_step_down(r->raft, host_now(r->host), "the replica stopped");
    host_wake(r);
}

struct replica *replica_new(struct host *h, const struct replica_spec *spec)
{
    struct replica *r = mem_zalloc(sizeof *r);
    *r = (struct replica){.host = h,
                          .partition_id = spec->partition_id,
                          .replica_id = spec->replica_id,
                          .table = spec->table,
                          .slot_lo = spec->slot_lo,
                          .slot_hi = spec->slot_hi,
                          .due_ns = UINT64_MAX,
                          .retain_index = UINT64_MAX,
                          .read_id_next = 1};
    windows_init(&r->windows, h->limits.window_sessions_max);
    list_init(&r->pending);
    list_init(&r->flights);
    list_init(&r->reads);
    list_init(&r->waits);
    list_init(&r->prefetches);
    return r;
}

void replica_free(struct replica *r)
{
    replica_slow_abandon(r);
    prefetch_forget_all(r);
    raft_free(r->raft);
    windows_deinit(&r->windows);
    map_deinit(&r->windows_dirty);
    map_deinit(&r->reads_by_id);
    buf_deinit(&r->batch);
    buf_deinit(&r->history_at);
    mem_free(r->batch_requests);
    for (size_t i = r->read_at; i < r->read_count; i++) entry_unref(r->read_entries[i]);
    mem_free(r->read_entries);
    for (struct link *k; (k = list_pop_front(&r->flights)) != NULL;) {
        struct flight *f = CONTAINER_OF(k, struct flight, link);
        mem_free(f->requests);
        mem_free(f);
    }
    mem_free(r);
}

/* ---- entries for slow peers, from the log ---- */

struct peer_fetch {
    struct log_read read;
    struct replica *replica;
    uint64_t to;
};

static void peer_fetch_done(struct log_read *read)
{
    struct peer_fetch *f = CONTAINER_OF(read, struct peer_fetch, read);
    struct replica *r = f->replica;
    r->jobs--;
    if (!r->dropped) {
        if (read->status == ST_OK || read->status == ST_NOT_FOUND)
            raft_fetched(r->raft, host_now(r->host), f->to, read->entries, read->status == ST_OK ? read->count : 0);
        else host_fail(r->host, read->status, "reading the log for a follower failed");
        host_wake(r);
    }
    log_read_release(read);
    mem_free(f);
}

static void fetch_entries(struct replica *r, const struct raft_fetch *wanted)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    struct peer_fetch *f = mem_zalloc(sizeof *f);
    *f = (struct peer_fetch){.replica = r, .to = wanted->to};
    f->read = (struct log_read){.replica_id = r->replica_id,
                                .lo = wanted->index,
                                .hi = view.last_index + 1,
                                .bytes_max = wanted->bytes_max,
                                .done = peer_fetch_done};
    r->jobs++;
    log_read(r->host->log, &f->read);
}

/* ---- a turn ---- */

static void persist(struct replica *r, const struct raft_ready *ready)
{
    struct host *h = r->host;
    if (ready->persist_from <= ready->persist_to) {
        for (uint64_t i = ready->persist_from; i <= ready->persist_to; i++) {
            struct entry *e = raft_entry_peek(r->raft, i);
            ASSERT(e != NULL);
            hlc_see(&h->clock, e->ts);
            log_append(h->log, r->replica_id, &e, 1);
        }
        struct after *a = mem_zalloc(sizeof *a);
        a->replica = r;
        a->position = log_position(h->log);
        a->persisted_index = ready->persist_to;
        a->persisted_term = raft_term_at(r->raft, ready->persist_to);
        list_push_back(&h->after, &a->link);
    }
    if (ready->vote_changed) {
        struct raft_view view;
        raft_view(r->raft, &view);
        log_set_vote(h->log, r->replica_id, view.term, view.vote);
    }
    if (ready->suspect_cleared) log_clear_suspect(h->log, r->replica_id);
}

static void role_changed(struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    if (view.role == RAFT_LEADER) {
        if (r->led_term != view.term) {
            if (r->led_term != 0) replica_lost_leadership(r); /* lost and won again between two turns */
            r->led_term = view.term;
            r->host->stats.elections++;
            /* Above all that a former leader may have stamped or served. */
            r->read_ts = MAX(r->read_ts, raft_hlc_floor(r->raft));
            hlc_see(&r->host->clock, r->read_ts);
        }
    } else {
        r->led_term = 0;
        replica_lost_leadership(r);
    }
    r->host->options.changed(r->host->options.ctx, r);
}

static bool take_ready(struct replica *r)
{
    struct raft_ready ready;
    struct host *h = r->host;
    raft_ready(r->raft, &ready);
    if (ready.role_changed) role_changed(r);
    persist(r, &ready);
    for (size_t i = 0; i < ready.before_count; i++) host_send_raft(h, r, &ready.before[i], false);
    for (uint64_t i = ready.persist_from; i <= ready.persist_to; i++) prefetch_entry(r, raft_entry_peek(r->raft, i));
    for (size_t i = 0; i < ready.after_count; i++)
        host_send_raft(h, r, &ready.after[i], !MUTATION("reply_before_fsync"));
    for (size_t i = 0; i < ready.fetch_count; i++) {
        if (ready.fetches[i].kind == RAFT_FETCH_ENTRIES) fetch_entries(r, &ready.fetches[i]);
        else snapshot_start(r, ready.fetches[i].to);
    }
    replica_serve_reads(r, ready.reads, ready.read_count);
    return ready.role_changed || ready.persist_from <= ready.persist_to || ready.vote_changed ||
           ready.before_count != 0 || ready.after_count != 0 || ready.fetch_count != 0 || ready.read_count != 0;
}

void replica_turn(struct replica *r)
{
    /* A leader stamps nothing before the news that it leads has raised the clock above its predecessors'. */
    take_ready(r);
    replica_close_batch(r);
    /* What is taken may cause more at once (a sole voter commits by itself), but not without end. */
    for (int i = 0; i < 4 && take_ready(r); i++) continue;
    replica_apply(r);
    replica_run_reads(r);
    replica_run_waits(r);
    host_watch_config(r);
    host_share(r, true);
    due_update(r, host_now(r->host));
}

/* ---- what others ask ---- */

uint64_t replica_partition(const struct replica *r) { return r->partition_id; }

bool replica_leads(const struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    return view.role == RAFT_LEADER;
}

store_addr_t replica_leader_store(const struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    return view.leader != 0 ? view.leader_store : 0;
}

bool replica_peer_progress(const struct replica *r, uint64_t replica_id, struct raft_progress *out)
{
    return raft_peer_progress(r->raft, replica_id, out);
}

void replica_info(const struct replica *r, struct replica_info *out)
{
    *out = (struct replica_info){.partition_id = r->partition_id,
                                 .replica_id = r->replica_id,
                                 .table = r->table,
                                 .slot_lo = r->slot_lo,
                                 .slot_hi = r->slot_hi,
                                 .counters = r->counters,
                                 .stopped = r->stopped,
                                 .stopped_text = r->stopped_text,
                                 .rebuilds = r->rebuilds};
    raft_view(r->raft, &out->raft);
    out->raft.applied = r->applied;
    if (out->raft.role == RAFT_LEADER) out->leases_until_ns = raft_lease_until(r->raft);
    if (!out->raft.damaged || out->raft.leader != 0 || r->damage_text[0] == 0) return;
    out->lost_text = r->damage_text;
    out->lost = true;
    for (size_t i = 0; i < out->raft.config->count; i++)
        if (out->raft.config->members[i].replica_id != r->replica_id &&
            (out->raft.config->members[i].roles & (RAFT_VOTER | RAFT_VOTER_OUT)))
            out->lost = false;
}

enum status replica_scan(struct replica *r, struct bytes lo, struct bytes hi,
                         bool (*each)(void *ctx, struct bytes row, struct bytes value), void *ctx)
{
    enum status st = rows_scan(r->host->rows, lo, hi, false, each, ctx);
    if (st == ST_NOT_READY) host_fetch(r, lo, hi);
    return st;
}

void replica_want_retention(struct replica *r, uint64_t retention_ms)
{
    if (r->retention_known && r->wanted_retention_ms == retention_ms) return;
    r->wanted_retention_ms = retention_ms;
    r->retention_known = true;
    host_wake(r);
}

/* ---- membership ---- */

static bool config_has_role(const struct raft_config *c, uint64_t replica_id, uint8_t role)
{
    const struct raft_member *m = raft_config_find(c, replica_id);
    return m != NULL && (m->roles & role) != 0;
}

/* Is the peer's log close enough to ours that making it a voter does not cost availability? */
static bool caught_up(const struct replica *r, uint64_t replica_id, uint64_t last_index)
{
    struct raft_progress p;
    if (replica_id == r->replica_id) return true;
    return raft_peer_progress(r->raft, replica_id, &p) && !p.snapshotting && p.match + 1000 >= last_index &&
           p.match > 0;
}

/* The next configuration on the way to `wanted`: first new members as learners, then, once these have caught up, the wanted
 * voters. Returns false if there is nothing to do now. */
static bool next_config(const struct replica *r, const struct raft_view *view, const struct raft_config *wanted,
                        struct raft_config *out)
{
    const struct raft_config *now = view->config;
    *out = *now;
    out->epoch = wanted->epoch;
    bool add = false;
    for (size_t i = 0; i < wanted->count; i++) {
        const struct raft_member *w = &wanted->members[i];
        if (w->roles == 0 || raft_config_find(now, w->replica_id) != NULL || out->count == RAFT_MEMBERS_MAX) continue;
        size_t at = out->count++;
        for (; at > 0 && out->members[at - 1].replica_id > w->replica_id; at--) out->members[at] = out->members[at - 1];
        out->members[at] = (struct raft_member){w->replica_id, w->store, RAFT_LEARNER};
        add = true;
    }
    if (add) return true;
    bool same = true;
    out->count = 0;
    for (size_t i = 0; i < wanted->count; i++) {
        const struct raft_member *w = &wanted->members[i];
        if (w->roles == 0) {
            same = same && raft_config_find(now, w->replica_id) == NULL;
            continue;
        }
        if ((w->roles & RAFT_VOTER) && !config_has_role(now, w->replica_id, RAFT_VOTER)) {
            if (!caught_up(r, w->replica_id, view->last_index)) return false;
            same = false;
        }
        if ((w->roles & RAFT_LEARNER) && !config_has_role(now, w->replica_id, RAFT_LEARNER)) same = false;
        out->members[out->count++] = *w;
    }
    for (size_t i = 0; i < now->count; i++) same = same && raft_config_find(wanted, now->members[i].replica_id) != NULL;
    return !same && out->count > 0;
}

static bool as_wanted(const struct raft_config *now, const struct raft_config *wanted)
{
    uint32_t members = 0;
    for (size_t i = 0; i < wanted->count; i++) {
        const struct raft_member *w = &wanted->members[i];
        if (w->roles == 0) continue;
        members++;
        if (!config_has_role(now, w->replica_id, w->roles)) return false;
    }
    return now->count == members;
}

bool replica_reconcile(struct replica *r, const struct raft_config *wanted, uint64_t preferred)
{
    struct raft_view view;
    struct error err = {0};
    uint64_t now = host_now(r->host);
    raft_view(r->raft, &view);
    /* A plan older than the one that the group follows already is not followed: this node's catalog is behind. */
    if (wanted->epoch < view.config->epoch && !MUTATION("stale_plan_followed")) return false;
    bool settled = view.config_committed && !raft_config_joint(view.config);
    if (view.role != RAFT_LEADER) return false;
    if (view.transferring || (!settled && !MUTATION("config_before_own_term"))) return true;
    struct raft_config next;
    if (now >= r->change_retry_ns && next_config(r, &view, wanted, &next)) {
        uint64_t epoch = view.config->epoch;
        r->change_retry_ns = now + 200 * NS_PER_MS;
        if (raft_change(r->raft, now, &next, &err) == ST_OK) {
            diag(DIAG_INFO, "raft.change partition=%llu epoch=%llu was=%llu members=%u",
                 (unsigned long long)r->partition_id, (unsigned long long)next.epoch, (unsigned long long)epoch,
                 next.count);
            host_wake(r);
        }
        return true;
    }
    if (preferred != 0 && preferred != r->replica_id && now >= r->transfer_retry_ns &&
        config_has_role(view.config, preferred, RAFT_VOTER) && !rebuild_unfit(r, preferred, now)) {
        const struct raft_member *m = raft_config_find(view.config, preferred);
        const struct liveness_peer *peer = liveness_peer(&r->host->liveness, m->store);
        struct raft_progress p;
        /* Only to one that is there and has everything: a transfer costs a moment without a leader. */
        if (peer == NULL || peer->from_until_ns <= now || !raft_peer_progress(r->raft, preferred, &p) ||
            p.match < view.commit)
            return !as_wanted(view.config, wanted);
        r->transfer_retry_ns = now + 3 * NS_PER_S;
        if (raft_transfer(r->raft, now, preferred, &err) == ST_OK) host_wake(r);
    }
    return !as_wanted(view.config, wanted);
}
