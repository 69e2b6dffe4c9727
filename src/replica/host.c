/* host.c - a store at work: opening it, the turn, the log's news, and its replicas.
 * SPDX-License-Identifier: Apache-2.0 */
#include "replica/host.h"

#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "replica/host_internal.h"
#include "table/place.h"

#define QUIET_NS              (200 * NS_PER_MS) /* between ticks of a store where nothing happens */
#define ASKED_LATELY_NS       (200 * NS_PER_MS)
#define SLOW_DISK_NS_PER_BYTE 100 /* 10 MB/s: what a disk that does not stall may take longer for a large batch */

void host_limits_default(struct host_limits *l)
{
    *l = (struct host_limits){
        .raft = {.append_bytes_max = 256 << 10,
                 .inflight_bytes_max = 4 << 20,
                 .inflight_count_max = 256,
                 .uncommitted_bytes_max = 64 << 20,
                 .tail_bytes_max = 4 << 20,
                 .reads_max = 65536,
                 .election_ns = 300 * NS_PER_MS,
                 .resend_ns = 250 * NS_PER_MS,
                 .transfer_ns = 500 * NS_PER_MS},
        .log = {.segment_bytes = 32 << 20,
                .first_segment_bytes = 1 << 20,
                .bytes_max = 256 << 20,
                .batch_bytes_max = 8 << 20,
                .reserve_bytes = 64 << 20},
        .rows_bytes_max = 224 << 20,
        .rows_dirty_bytes_max = 112 << 20,
        .write_rows = 512,
        .write_bytes = 512 << 10,
        .engine_cache_bytes = 32 << 20,
        .engine_write_buffer_bytes = 32 << 20,
        .batch_bytes_max = 256 << 10,
        .batch_ops_max = 512,
        .pending_bytes_max = 640u << 20, /* one value of the largest size has to fit */
        .apply_bytes_per_turn = 4 << 20,
        .put_bytes_per_turn = 1 << 20,
        .apply_fetches_max = 4,
        .snapshot_chunk_bytes = 256 << 10,
        .snapshot_window = 4,
        .snapshots_max = 8,
        .flush_bytes = 48 << 20,
        .flush_ns = 60 * NS_PER_S,
        .keep_entries_bytes = 64 << 20,
        .lease_ns = 600 * NS_PER_MS,
        .drift_ns = 20 * NS_PER_MS,
        .beat_ns = 100 * NS_PER_MS,
        .hlc_ahead_ms = 1000,
        .stall_ns = 2 * NS_PER_S,
        .sweep_ns = NS_PER_S,
        .scrub_ns = 600 * NS_PER_S,
        .window_sessions_max = WINDOW_SESSIONS_MAX,
        .wake_per_tick = 64,
    };
}

uint64_t host_now(struct host *h) { return env_now_ns(h->env); }
bool host_failed(const struct host *h) { return h->failed; }
const struct liveness *host_liveness(const struct host *h) { return &h->liveness; }
struct replica *host_replica(const struct host *h, uint64_t partition_id)
{
    return map_get(&h->replicas, partition_id);
}

bool host_each_replica(const struct host *h, size_t *at, struct replica **out)
{
    uint64_t id;
    void *value;
    if (!map_each(&h->replicas, at, &id, &value)) return false;
    *out = value;
    return true;
}

void host_wake(struct replica *r)
{
    struct host *h = r->host;
    if (h->closing || r->dropped) return;
    if (!link_linked(&r->busy)) list_push_back(&h->busy, &r->busy);
    env_defer(h->loop, &h->turn);
    h->woken = true;
    if (!h->quiet) return;
    h->quiet = false;
    env_timer_start(&h->tick, h->tick_ns);
}

void host_share(struct replica *r, bool here)
{
    struct replica_share *was = &r->share, now = {0};
    struct host_stats *t = &r->host->stats;
    if (here) {
        now.damaged = r->damage_text[0] != 0;
        now.leaders = replica_leads(r);
        if (now.leaders != 0 && r->table != TABLE_CATALOG) {
            now.keys = (uint64_t)r->counters.keys;
            now.expires = (uint64_t)r->counters.expires;
        }
    }
    t->leaders += now.leaders - was->leaders;
    t->keys += now.keys - was->keys;
    t->expires += now.expires - was->expires;
    t->damaged += now.damaged - was->damaged;
    *was = now;
}

void host_applied(struct replica *r)
{
    if (!link_linked(&r->applied_link)) list_push_back(&r->host->applied, &r->applied_link);
}

static void fetched(void *ctx)
{
    struct replica *r = ctx;
    r->jobs--;
    host_wake(r);
}

bool host_fetch(struct replica *r, struct bytes lo, struct bytes hi)
{
    struct host *h = r->host;
    enum status st = hi.n == 0 ? rows_fetch(h->rows, lo, fetched, r)
                               : rows_fetch_range(h->rows, lo, hi, h->limits.rows_bytes_max / 2, fetched, r);
    if (st != ST_OK) return false;
    r->jobs++;
    h->stats.reads_fetched++;
    return true;
}

void host_fail(struct host *h, enum status st, const char *text)
{
    if (h->failed) return;
    h->failed = true;
    snprintf(h->failed_text, sizeof h->failed_text, "%s: %s", status_name(st), text);
    diag(DIAG_ERROR, "store.failed node=%llu store=%u why=\"%s\"", (unsigned long long)h->options.node_id,
         h->options.store, h->failed_text);
    liveness_disk_stalled(&h->liveness, true);
    host_step_down_all(h, "the store failed");
    h->options.failed(h->options.ctx, st, text);
}

/* ---- what waits for the log ---- */

#define LARGE_FRAME (64u << 10)

static void release_entry(void *entry) { entry_unref(entry); }

static void send_frame(struct host *h, uint64_t node, uint16_t endpoint, struct bytes frame)
{
    /* Appends with much in them go by the bulk lane, so that they delay no vote or heartbeat. */
    enum mesh_lane lane = frame.n > LARGE_FRAME ? MESH_BULK : MESH_URGENT;
    mesh_send(h->mesh, node, endpoint, lane, MESH_RAFT, frame);
}

void host_send_raft(struct host *h, struct replica *r, const struct raft_message *m, bool after_sync)
{
    struct buf *b = &h->message;
    uint64_t node = store_addr_node(m->to_store);
    uint16_t endpoint = store_addr_store(m->to_store);
    buf_clear_keep(b, HOST_BUFFER_KEEP);
    buf_put_u64(b, r->partition_id);
    if (!after_sync && m->entry_count != 0 && m->entries[m->entry_count - 1]->size > LARGE_FRAME) {
        struct entry *e = raft_message_encode_head(m, b); /* it goes from where it lies */
        mesh_send_ref(h->mesh, node, endpoint, MESH_BULK, MESH_RAFT, buf_view(b), entry_data(e), release_entry,
                      entry_ref(e));
        return;
    }
    raft_message_encode(m, b);
    if (!after_sync || log_synced(h->log) >= log_position(h->log)) {
        send_frame(h, node, endpoint, buf_view(b));
        return;
    }
    struct after *a = mem_zalloc(sizeof *a);
    *a = (struct after){.position = log_position(h->log), .replica = r, .node = node, .endpoint = endpoint};
    buf_put_bytes(&a->frame, buf_view(b));
    list_push_back(&h->after, &a->link);
}

static void after_free(struct after *a)
{
    buf_deinit(&a->frame);
    mem_free(a);
}

static void wake_held(struct host *h)
{
    for (struct link *k = list_first(&h->held); k != NULL; k = list_next(&h->held, k))
        host_wake(CONTAINER_OF(k, struct replica, held));
}

static void on_synced(void *ctx, uint64_t position)
{
    struct host *h = ctx;
    for (struct link *k; (k = list_first(&h->after)) != NULL;) {
        struct after *a = CONTAINER_OF(k, struct after, link);
        if (a->position > position) break;
        link_remove(k);
        if (a->replica != NULL && a->persisted_index != 0) {
            raft_persisted(a->replica->raft, host_now(h), a->persisted_index, a->persisted_term);
            host_wake(a->replica);
        } else if (a->replica != NULL) {
            send_frame(h, a->node, a->endpoint, buf_view(&a->frame));
        }
        after_free(a);
    }
    if (h->bound_wanted != 0 && position >= h->bound_position) {
        liveness_bound_durable(&h->liveness, h->bound_wanted);
        h->bound_wanted = 0;
        wake_held(h);
    }
}

static void on_log_failed(void *ctx, enum status st, const char *text) { host_fail(ctx, st, text); }

/* ---- the turn ---- */

static void before_flush(void *ctx)
{
    struct host *h = ctx;
    if (MUTATION("applied_row_late")) return;
    for (struct link *k; (k = list_pop_front(&h->applied)) != NULL;)
        replica_put_applied(CONTAINER_OF(k, struct replica, applied_link));
}

static void flush_rows(struct host *h)
{
    struct error err = {0};
    if (!rows_dirty(h->rows) && list_empty(&h->applied)) return;
    enum status st = rows_flush(h->rows, &err);
    h->engine_busy = st == ST_BUSY;
    if (st == ST_BUSY) h->stats.engine_busy++;
    else if (st != ST_OK) host_fail(h, st, err.text);
}

static void on_turn(struct env_task *task)
{
    struct host *h = CONTAINER_OF(task, struct host, turn);
    if (h->closing) return;
    /* Those that wake again meanwhile have their turn in the next run of this task. */
    struct list now;
    list_init(&now);
    for (struct link *k; (k = list_pop_front(&h->busy)) != NULL;) list_push_back(&now, k);
    for (struct link *k; (k = list_pop_front(&now)) != NULL;) replica_turn(CONTAINER_OF(k, struct replica, busy));
    struct rows_stats rows;
    rows_stats(h->rows, &rows);
    if (rows.dirty >= h->limits.write_rows || rows.dirty_bytes >= h->limits.write_bytes) flush_rows(h);
}

/* ---- the clock's limit ---- */

#define LIMIT_ROOM_MS 20 /* 5 million timestamps */

/* Makes a bound durable before a limit below it is used here or acknowledged to a peer; one at a time. */
static void want_bound(struct host *h, hlc_t bound)
{
    if (bound == 0 || h->bound_wanted != 0) return; /* whoever wants it asks again */
    h->bound_wanted = bound;
    log_set_bound(h->log, bound);
    h->bound_position = log_position(h->log);
}

/* A clock that has run ahead of the wall's stands nearly still until that has caught up, so it needs but little room. More
 * would add up: a new leader's clock begins above the limit of the one before, and so each election would push it further
 * ahead, and all that expires with it would live longer. (Found by `cairn sim --profile expiry --seed 4`.) */
static void raise_limit(struct host *h)
{
    hlc_t wall = hlc_from_ms(env_wall_ms(h->env));
    hlc_t limit = MAX(wall + hlc_from_ms(h->limits.hlc_ahead_ms), h->clock.last + hlc_from_ms(LIMIT_ROOM_MS));
    want_bound(h, liveness_want_limit(&h->liveness, limit));
}

/* ---- leases from store to store ---- */

static void send_beat(struct host *h, const struct liveness_beat *b)
{
    buf_clear_keep(&h->message, HOST_BUFFER_KEEP);
    liveness_encode(b, &h->message);
    mesh_send(h->mesh, store_addr_node(b->to), store_addr_store(b->to), MESH_URGENT, MESH_BEAT, buf_view(&h->message));
}

static void on_lapsed(void *ctx, store_addr_t store)
{
    struct host *h = ctx;
    struct replica *r;
    diag(DIAG_WARN, "store.lost node=%llu store=%u lost=%llu/%u", (unsigned long long)h->options.node_id,
         h->options.store, (unsigned long long)store_addr_node(store), store_addr_store(store));
    /* Those with requests waiting first and at once; the others a few at each tick. */
    for (size_t i = 0; host_each_replica(h, &i, &r);) {
        if (replica_leader_store(r) != store) continue;
        bool asked = r->asked_ns != 0 && r->asked_ns + ASKED_LATELY_NS > host_now(h);
        bool urgent = h->replicas.count <= h->limits.wake_per_tick || asked;
        if (urgent) {
            raft_support_lost(r->raft, host_now(h), store, true);
            host_wake(r);
        } else if (!link_linked(&r->lost)) {
            r->lost_store = store;
            list_push_back(&h->lost, &r->lost);
        }
    }
}

static void wake_lost(struct host *h)
{
    for (uint32_t n = 0; n < h->limits.wake_per_tick; n++) {
        struct link *k = list_pop_front(&h->lost);
        if (k == NULL) return;
        struct replica *r = CONTAINER_OF(k, struct replica, lost);
        raft_support_lost(r->raft, host_now(h), r->lost_store, false);
        host_wake(r);
    }
}

static bool has_member_on(const struct replica *r, store_addr_t store)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    for (size_t i = 0; i < view.config->count; i++)
        if (view.config->members[i].store == store) return true;
    return false;
}

/* A store's support of ours began, ended or changed: our leaders there ask to be fortified again. */
static void on_support_changed(void *ctx, store_addr_t store)
{
    struct host *h = ctx;
    struct replica *r;
    for (size_t i = 0; host_each_replica(h, &i, &r);) {
        if (!replica_leads(r) || !has_member_on(r, store)) continue;
        raft_support_changed(r->raft, host_now(h), store);
        host_wake(r);
    }
}

static void check_support(struct host *h, uint64_t now)
{
    liveness_expire(&h->liveness, now, on_lapsed, h);
    liveness_changes(&h->liveness, now, on_support_changed, h);
}

static void on_beat(struct host *h, const struct mesh_frame *f)
{
    struct liveness_beat in, reply;
    hlc_t bound = 0;
    uint64_t now = host_now(h);
    if (!liveness_decode(f->body, &in) || store_addr_node(in.from) != f->from_node || in.to != h->self) return;
    if (liveness_peer(&h->liveness, in.from) == NULL) {
        /* A leader there waits for this store's support before it sends anything, so it is given also when no replica
         * here knows of that store yet. */
        liveness_ref(&h->liveness, in.from);
        liveness_unref(&h->liveness, in.from);
    }
    if (liveness_step(&h->liveness, now, &in, &reply, &bound)) send_beat(h, &reply);
    want_bound(h, bound);
    check_support(h, now);
    wake_held(h);
}

/* ---- time ---- */

static void look_for_stall(struct host *h, uint64_t now)
{
    uint64_t started = log_sync_started_ns(h->log);
    uint64_t allowed = h->limits.stall_ns + log_sync_bytes(h->log) * SLOW_DISK_NS_PER_BYTE;
    bool stalled = started != 0 && now > started + allowed;
    if (stalled == h->liveness.disk_stalled || h->failed) return;
    liveness_disk_stalled(&h->liveness, stalled);
    if (stalled) {
        h->stats.stalls++;
        diag(DIAG_WARN, "store.stalled node=%llu store=%u ms=%llu", (unsigned long long)h->options.node_id,
             h->options.store, (unsigned long long)((now - started) / NS_PER_MS));
        host_step_down_all(h, "the disk stalls");
    } else {
        diag(DIAG_INFO, "store.unstalled node=%llu store=%u", (unsigned long long)h->options.node_id, h->options.store);
    }
}

static void tick_replica(struct host *h, struct replica *r, uint64_t now)
{
    if (raft_deadline(r->raft) <= now) {
        raft_tick(r->raft, host_now(h));
        host_wake(r);
    }
    struct raft_view view;
    raft_view(r->raft, &view);
    if (replica_waits(r)) host_wake(r);
    snapshot_tick(r, now);
    rebuild_tick(r, now);
    if (view.role == RAFT_LEADER && h->limits.sweep_ns != 0 && now >= r->sweep_ns) replica_sweep(r, now);
    if (view.role == RAFT_LEADER) scrub_tick(r, now);
    h->stats.visits++;
    due_update(r, now);
}

static void on_tick(struct env_timer *timer)
{
    struct host *h = CONTAINER_OF(timer, struct host, tick);
    uint64_t now = host_now(h);
    h->ticked_ns = now;
    struct liveness_beat beats[32];
    raise_limit(h);
    look_for_stall(h, now);
    for (size_t n; (n = liveness_due(&h->liveness, now, beats, ARRAY_COUNT(beats))) > 0;) {
        for (size_t i = 0; i < n; i++) send_beat(h, &beats[i]);
        if (n < ARRAY_COUNT(beats)) break;
    }
    struct log_stats log;
    log_stats(h->log, &log);
    uint64_t started = log_sync_started_ns(h->log);
    liveness_sync_took(&h->liveness, MAX(log.sync_ns_last, started != 0 && started < now ? now - started : 0));
    check_support(h, now);
    wake_lost(h);
    host_reap_dropped(h);
    flush_rows(h);
    now = host_now(h); /* the rafts may have seen a later time than the one above */
    for (struct replica *r; (r = due_first(h)) != NULL && r->due_ns <= now;) tick_replica(h, r, now);
    uint64_t next = MIN(liveness_next_ns(&h->liveness, now), due_first(h) != NULL ? due_first(h)->due_ns : UINT64_MAX);
    prefetch_pump(h);
    host_flush_if_due(h, now);
    /* Nothing happened and nothing is due: so the next tick is when something is, or after QUIET_NS. */
    h->quiet = !h->woken && h->snapshots == 0 && !h->engine_busy && list_empty(&h->dropped) && list_empty(&h->lost) &&
               log_sync_started_ns(h->log) == 0;
    h->woken = false;
    uint64_t wait = h->quiet ? MIN(MAX(next, now + NS_PER_MS) - now, QUIET_NS) : h->tick_ns;
    env_timer_start(&h->tick, wait);
}

void host_step_down_all(struct host *h, const char *reason)
{
    struct replica *r;
    for (size_t i = 0; host_each_replica(h, &i, &r);) {
        if (!replica_leads(r)) continue;
        raft_step_down(r->raft, host_now(h), reason);
        host_wake(r);
    }
}

/* ---- opening and closing ---- */

static enum status open_parts(struct host *h, struct error *err)
{
    char log_dir[512], engine_dir[512];
    static const struct log_events events = {on_synced, on_log_failed};
    snprintf(log_dir, sizeof log_dir, "%s/log", h->options.dir);
    snprintf(engine_dir, sizeof engine_dir, "%s/engine", h->options.dir);
    enum status st = env_dir_create(h->env, log_dir, err);
    if (st == ST_OK) st = env_dir_create(h->env, engine_dir, err);
    if (st == ST_OK) st = env_dir_sync(h->env, h->options.dir, err);
    if (st == ST_OK) st = log_open(h->loop, log_dir, h->options.store_id, &h->limits.log, &events, h, &h->log, err);
    struct engine_options options = {.cache_bytes = h->limits.engine_cache_bytes,
                                     .write_buffer_bytes = h->limits.engine_write_buffer_bytes,
                                     .seed = env_random_u64(h->env)};
    if (st == ST_OK) st = engine_open(h->env, engine_dir, &options, &h->engine, err);
    return st;
}

enum status host_open(const struct host_options *options, struct host **out, struct error *err)
{
    struct host *h = mem_zalloc(sizeof *h);
    h->options = *options;
    h->limits = *options->limits;
    h->loop = options->loop;
    h->env = env_loop_env(options->loop);
    h->mesh = options->mesh;
    h->self = store_addr(options->node_id, options->store);
    list_init(&h->busy);
    list_init(&h->after);
    list_init(&h->lost);
    list_init(&h->held);
    list_init(&h->dropped);
    list_init(&h->applied);
    list_init(&h->prefetch_queue);
    list_init(&h->prefetch_reads);
    h->turn.run = on_turn;
    enum status st = open_parts(h, err);
    if (st != ST_OK) {
        engine_close(h->engine);
        log_close(h->log);
        mem_free(h);
        return st;
    }
    h->rows = rows_new(h->loop, h->engine, h->limits.rows_bytes_max, h->limits.rows_dirty_bytes_max);
    rows_set_before_flush(h->rows, before_flush, h);
    h->worker = env_worker_new(h->env, "store", 1);
    struct liveness_options live = {.self = h->self,
                                    .boot_count = log_boot_count(h->log),
                                    .start_ns = host_now(h),
                                    .lease_ns = h->limits.lease_ns,
                                    .drift_ns = h->limits.drift_ns,
                                    .interval_ns = h->limits.beat_ns};
    liveness_init(&h->liveness, &live, log_bound(h->log));
    stage_init(&h->stage, h->rows);
    h->flushed_ns = host_now(h);
    h->tick_ns = MIN(h->limits.beat_ns / 4, 20 * NS_PER_MS);
    env_timer_init(h->loop, &h->tick, on_tick);
    raise_limit(h);
    env_timer_start(&h->tick, 1);
    *out = h;
    return ST_OK;
}

void host_stop(struct host *h)
{
    if (h == NULL || h->closing) return;
    struct replica *r;
    struct error err = {0};
    env_timer_stop(&h->tick);
    for (size_t i = 0; host_each_replica(h, &i, &r);) replica_lost_leadership(r);
    h->closing = true;
    env_worker_free(h->worker);
    h->worker = NULL;
    if (!h->failed && rows_flush(h->rows, &err) == ST_OK) engine_flush(h->engine, &err);
    log_close(h->log);
    rows_free(h->rows);
    h->log = NULL;
    h->rows = NULL;
}

static void free_replica_now(struct replica *r)
{
    if (link_linked(&r->busy)) link_remove(&r->busy);
    snapshot_free_all(r);
    replica_free(r);
}

void host_free(struct host *h)
{
    if (h == NULL) return;
    struct replica *r;
    for (size_t i = 0; host_each_replica(h, &i, &r);) free_replica_now(r);
    for (struct link *k; (k = list_first(&h->dropped)) != NULL;)
        free_replica_now(CONTAINER_OF(k, struct replica, busy));
    for (struct link *k; (k = list_pop_front(&h->after)) != NULL;) after_free(CONTAINER_OF(k, struct after, link));
    prefetch_free_reads(h);
    engine_close(h->engine); /* not before: what jobs held of it came back with their last news */
    due_deinit(h);
    map_deinit(&h->replicas);
    uint64_t gate;
    void *replay;
    for (size_t i = 0; map_each(&h->replays, &i, &gate, &replay);) mem_free(replay);
    map_deinit(&h->replays);
    map_deinit(&h->dropping);
    liveness_deinit(&h->liveness);
    stage_deinit(&h->stage);
    buf_deinit(&h->scratch);
    buf_deinit(&h->results);
    buf_deinit(&h->message);
    mem_free(h);
}

/* ---- messages ---- */

/* A follower still promises itself to a replica that is not here (any more): it can't be leading in that term, now or later,
 * so the promise is given back at once instead of lasting as long as this store lives. */
static void release_removed(struct host *h, uint64_t partition_id, const struct raft_message *m)
{
    struct raft_message release;
    if (!raft_release_removed(m, &release)) return;
    buf_clear_keep(&h->message, HOST_BUFFER_KEEP);
    buf_put_u64(&h->message, partition_id);
    raft_message_encode(&release, &h->message);
    send_frame(h, store_addr_node(release.to_store), store_addr_store(release.to_store), buf_view(&h->message));
    h->stats.releases++;
}

static void on_raft(struct host *h, const struct mesh_frame *f)
{
    struct raft_message m;
    struct error err = {0};
    struct entry *entries[1024];
    if (f->body.n < 8) return;
    uint64_t partition_id = get_u64(f->body.p);
    struct replica *r = host_replica(h, partition_id);
    if (h->failed || (r != NULL && r->stopped && !r->fenced)) return;
    if (raft_message_decode_taking(bytes_of(f->body.p + 8, f->body.n - 8), f->whole, &m, entries, ARRAY_COUNT(entries),
                                   &err) != ST_OK) {
        diag(DIAG_WARN, "raft.bad_message from=%llu why=\"%s\"", (unsigned long long)f->from_node, err.text);
        return;
    }
    /* What was meant for another replica of the partition (an earlier one here) is not for this one. */
    if (m.to_store != h->self || store_addr_node(m.from_store) != f->from_node) {
        /* misdirected */
    } else if (r != NULL && m.to == r->replica_id) {
        raft_step(r->raft, host_now(h), &m);
        host_wake(r);
    } else {
        release_removed(h, partition_id, &m);
    }
    for (uint32_t i = 0; i < m.entry_count; i++) entry_unref(entries[i]);
}

void host_deliver(struct host *h, const struct mesh_frame *f)
{
    if (h->closing) return;
    switch (f->kind) {
    case MESH_BEAT: on_beat(h, f); break;
    case MESH_RAFT: on_raft(h, f); break;
    case MESH_SNAPSHOT_CHUNK: snapshot_on_chunk(h, f); break;
    case MESH_SNAPSHOT_ACK: snapshot_on_ack(h, f); break;
    case MESH_SCRUB: scrub_on_frame(h, f); break;
    case MESH_REQUEST: request_on_frame(h, f); break;
    default: break;
    }
}

void host_stats(struct host *h, struct host_stats *out)
{
    *out = h->stats;
    if (h->closing) return;
    out->replicas = h->replicas.count;
    log_stats(h->log, &out->log);
    engine_stats(h->engine, &out->engine);
    rows_stats(h->rows, &out->rows);
}
