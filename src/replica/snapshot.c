/* snapshot.c - brings a replica that is too far behind for the log up to the leader's state, in chunks on the bulk lane.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Sender:   flushes the table of rows, takes an engine snapshot (so rows and applied row are of one moment), reads chunk after
 *           chunk on a worker, with at most `snapshot_window` of them not acknowledged.
 * Receiver: adds the rows to an ingest file on a worker; with the last chunk the file replaces the partition's rows, applied
 *           row and windows at once, durably; only then does the log restart after the snapshot's index. A crash between the
 *           two leaves an applied row ahead of the log, which opening repairs (host.c).
 * Loss:     a chunk or an ack that is lost with a connection is found by a probe, which is a chunk without rows, sent after a
 *           second of silence. It comes after all chunks that are on their way, so what is missing then is lost.
 * Chunk:    partition u64 | from u64 | to u64 (replica ids) | snapshot id u64 | sequence u32 | flags u8 | in the first:
 *           header | rows: lp key, lp value, …
 * Header:   index u64 | term u64 | ts u64 | keys u64 | expires u64 | garbage u64 | last delete u64 | forgotten u64 |
 *           [retention u64, watermark u64: with flag 4] | lp config | varint sessions |
 *           (session u64, lp window row) by rising session
 * Ack:      partition u64 | from u64 | to u64 | snapshot id u64 | sequence u32 | status u8 */
#include <stdlib.h>

#include "base/diag.h"
#include "base/mem.h"
#include "replica/host_internal.h"
#include "table/place.h"

#define CHUNK_FIRST   1
#define CHUNK_LAST    2
#define CHUNK_HISTORY 4 /* with FIRST: the partition has, or had, history */
#define CHUNK_PROBE   8 /* no rows; the sequence is that of the chunk to come */
#define CHUNK_FLAGS   15

enum ack_status { ACK_OK, ACK_FAILED, ACK_INSTALLED };

#define PROBE_NS NS_PER_S
#define IDLE_NS  (10 * NS_PER_S)

/* ---- sending ---- */

struct snapshot_send {
    struct env_job job;
    struct replica *replica;
    size_t slot; /* in replica.sends */
    uint64_t to, id;
    store_addr_t to_store;
    struct engine_snapshot *snapshot;
    uint64_t index, term;
    struct buf header, position, lo, hi, chunk;
    bool history;
    uint32_t sequence, acked; /* chunks sent, acknowledged */
    bool job_running, read_all, unsent, failed;
    uint64_t active_ns, probed_ns;
};

static void send_free(struct snapshot_send *s)
{
    struct replica *r = s->replica;
    r->sends[s->slot] = NULL;
    r->retain_index = UINT64_MAX;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (r->sends[i] != NULL) r->retain_index = MIN(r->retain_index, r->sends[i]->index);
    engine_snapshot_release(r->host->engine, s->snapshot);
    r->host->snapshots--;
    buf_deinit(&s->header);
    buf_deinit(&s->position);
    buf_deinit(&s->lo);
    buf_deinit(&s->hi);
    buf_deinit(&s->chunk);
    mem_free(s);
}

static void send_end(struct snapshot_send *s, bool installed)
{
    struct replica *r = s->replica;
    if (s->job_running) {
        s->failed = true; /* its job's done frees it */
        return;
    }
    if (!r->dropped) {
        raft_snapshot_ended(r->raft, host_now(r->host), s->to, installed);
        host_wake(r);
    }
    diag(DIAG_INFO, "snapshot.sent partition=%llu to=%llu index=%llu chunks=%u installed=%d",
         (unsigned long long)r->partition_id, (unsigned long long)s->to, (unsigned long long)s->index, s->sequence,
         installed);
    if (installed) r->host->stats.snapshots_sent++;
    send_free(s);
}

static void chunk_head(struct buf *b, uint64_t partition, uint64_t from, uint64_t to, uint64_t id, uint32_t sequence)
{
    buf_put_u64(b, partition);
    buf_put_u64(b, from);
    buf_put_u64(b, to);
    buf_put_u64(b, id);
    buf_put_u32(b, sequence);
}

/* Worker: the next rows into the chunk. */
static void send_run(struct env_job *job)
{
    struct snapshot_send *s = CONTAINER_OF(job, struct snapshot_send, job);
    struct host *h = s->replica->host;
    struct error err = {0};
    size_t flags_at;
    buf_clear(&s->chunk);
    chunk_head(&s->chunk, s->replica->partition_id, s->replica->replica_id, s->to, s->id, s->sequence);
    flags_at = s->chunk.n;
    buf_put_u8(&s->chunk, s->sequence != 0 ? 0 : s->history ? CHUNK_FIRST | CHUNK_HISTORY : CHUNK_FIRST);
    if (s->sequence == 0) buf_put_bytes(&s->chunk, buf_view(&s->header));
    struct engine_iter *it = engine_iter_new(h->engine, s->snapshot, buf_view(&s->lo), buf_view(&s->hi), ENGINE_DISK);
    if (s->position.n == 0) engine_iter_first(it);
    else engine_iter_seek(it, buf_view(&s->position));
    while (engine_iter_valid(it) && s->chunk.n < h->limits.snapshot_chunk_bytes) {
        buf_put_lp(&s->chunk, engine_iter_key(it));
        buf_put_lp(&s->chunk, engine_iter_value(it));
        engine_iter_next(it);
    }
    if (engine_iter_valid(it)) {
        buf_clear(&s->position);
        buf_put_bytes(&s->position, engine_iter_key(it));
    } else if (engine_iter_status(it, &err) == ST_OK) {
        s->read_all = true;
        s->chunk.p[flags_at] |= CHUNK_LAST;
    } else {
        s->failed = true;
    }
    engine_iter_free(it);
}

static void send_next(struct snapshot_send *s);

static void send_chunk(struct snapshot_send *s)
{
    struct host *h = s->replica->host;
    s->unsent = mesh_send(h->mesh, store_addr_node(s->to_store), store_addr_store(s->to_store), MESH_BULK,
                          MESH_SNAPSHOT_CHUNK, buf_view(&s->chunk)) == ST_OVERLOADED;
    if (s->unsent) return; /* snapshot_tick tries again */
    s->sequence++;
    s->active_ns = host_now(h);
    send_next(s);
}

static void send_probe(struct snapshot_send *s)
{
    struct host *h = s->replica->host;
    struct buf *b = &h->message;
    buf_clear(b);
    chunk_head(b, s->replica->partition_id, s->replica->replica_id, s->to, s->id, s->sequence);
    buf_put_u8(b, CHUNK_PROBE);
    mesh_send(h->mesh, store_addr_node(s->to_store), store_addr_store(s->to_store), MESH_BULK, MESH_SNAPSHOT_CHUNK,
              buf_view(b));
    s->probed_ns = host_now(h);
}

static void send_done(struct env_job *job)
{
    struct snapshot_send *s = CONTAINER_OF(job, struct snapshot_send, job);
    s->job_running = false;
    s->replica->jobs--;
    if (s->failed || s->replica->dropped || s->replica->host->closing) send_end(s, false);
    else send_chunk(s);
}

static void send_next(struct snapshot_send *s)
{
    struct host *h = s->replica->host;
    if (s->job_running || s->read_all || s->unsent || s->sequence - s->acked >= h->limits.snapshot_window) return;
    s->job = (struct env_job){.run = send_run, .done = send_done};
    s->job_running = true;
    s->replica->jobs++;
    env_worker_submit(h->worker, h->loop, &s->job);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool has_history(const struct replica *r) { return r->counters.retention_ms != 0 || r->counters.watermark != 0; }

static void put_header(struct replica *r, struct buf *out)
{
    struct buf config = {0}, window = {0};
    buf_put_u64(out, r->applied);
    buf_put_u64(out, r->applied_term);
    buf_put_u64(out, r->applied_ts);
    buf_put_u64(out, (uint64_t)r->counters.keys);
    buf_put_u64(out, (uint64_t)r->counters.expires);
    buf_put_u64(out, (uint64_t)r->counters.garbage);
    buf_put_u64(out, r->counters.last_delete);
    buf_put_u64(out, r->windows.forgotten);
    if (has_history(r)) {
        buf_put_u64(out, r->counters.retention_ms);
        buf_put_u64(out, r->counters.watermark);
    }
    raft_config_encode(&r->applied_config, &config);
    buf_put_lp(out, buf_view(&config));
    size_t n = 0;
    uint64_t *sessions = mem_alloc((r->windows.sessions.count + 1) * sizeof *sessions);
    for (size_t i = 0; windows_each(&r->windows, &i, &sessions[n]);) n++;
    qsort(sessions, n, sizeof *sessions, compare_u64);
    buf_put_varint(out, n);
    for (size_t i = 0; i < n; i++) {
        buf_clear(&window);
        windows_encode(&r->windows, sessions[i], &window);
        buf_put_u64(out, sessions[i]);
        buf_put_lp(out, buf_view(&window));
    }
    mem_free(sessions);
    buf_deinit(&config);
    buf_deinit(&window);
}

void snapshot_start(struct replica *r, uint64_t to)
{
    struct host *h = r->host;
    struct error err = {0};
    struct raft_view view;
    size_t slot = RAFT_MEMBERS_MAX;
    raft_view(r->raft, &view);
    const struct raft_member *m = raft_config_find(view.config, to);
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        if (r->sends[i] == NULL) slot = i;
        else if (r->sends[i]->to == to) return;
    }
    if (m == NULL || slot == RAFT_MEMBERS_MAX || r->stopped || r->running_off || r->applied_config.count == 0 ||
        h->snapshots >= h->limits.snapshots_max || rows_flush(h->rows, &err) != ST_OK) {
        raft_snapshot_ended(r->raft, host_now(h), to, false); /* it asks again after a while */
        return;
    }
    struct snapshot_send *s = mem_zalloc(sizeof *s);
    *s = (struct snapshot_send){.replica = r,
                                .slot = slot,
                                .to = to,
                                .to_store = m->store,
                                .id = env_random_u64(h->env),
                                .snapshot = engine_snapshot_take(h->engine),
                                .index = r->applied,
                                .term = r->applied_term,
                                .history = has_history(r),
                                .active_ns = host_now(h)};
    row_range(&s->lo, &s->hi, r->table, r->slot_lo, r->slot_hi);
    put_header(r, &s->header);
    r->sends[slot] = s;
    r->retain_index = MIN(r->retain_index, s->index);
    h->snapshots++;
    raft_snapshot_begun(r->raft, to, s->index, s->term);
    send_next(s);
}

void snapshot_on_ack(struct host *h, const struct mesh_frame *f)
{
    struct reader in = reader_of(f->body);
    uint64_t partition = reader_u64(&in), from = reader_u64(&in), to = reader_u64(&in), id = reader_u64(&in);
    uint32_t sequence = reader_u32(&in);
    uint8_t status = reader_u8(&in);
    struct replica *r = host_replica(h, partition);
    if (!reader_done(&in) || r == NULL || r->replica_id != to) return;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        struct snapshot_send *s = r->sends[i];
        if (s == NULL || s->id != id || s->to != from || s->failed) continue;
        s->active_ns = host_now(h);
        if (status == ACK_FAILED) send_end(s, false);
        else if (status == ACK_INSTALLED) send_end(s, true);
        else if (sequence + 1 > s->acked && sequence < s->sequence) {
            s->acked = sequence + 1;
            send_next(s);
        }
        return;
    }
}

/* ---- receiving ---- */

struct chunk {
    struct link link;
    uint32_t sequence;
    uint8_t flags;
    struct buf rows;
};

struct snapshot_receive {
    struct env_job job;
    struct replica *replica;
    uint64_t from, id;
    store_addr_t from_store;
    struct engine_ingest *ingest;
    struct list chunks; /* waiting for the worker */
    struct chunk *current;
    uint32_t next;  /* sequence expected */
    uint32_t taken; /* chunks added to the ingest file */
    bool job_running, failed, finishing;
    uint64_t active_ns;
    struct error err;
    /* the header */
    uint64_t index, term;
    hlc_t ts;
    struct op_counters counters;
    struct raft_config config;
    struct windows windows;
    struct buf applied_key, applied_row, lo, hi;
};

static void ack_to(struct replica *r, store_addr_t store, uint64_t to, uint64_t id, uint32_t sequence,
                   enum ack_status status)
{
    struct host *h = r->host;
    struct buf *b = &h->message;
    buf_clear(b);
    chunk_head(b, r->partition_id, r->replica_id, to, id, sequence);
    buf_put_u8(b, (uint8_t)status);
    mesh_send(h->mesh, store_addr_node(store), store_addr_store(store), MESH_URGENT, MESH_SNAPSHOT_ACK, buf_view(b));
}

static void ack(struct snapshot_receive *s, uint32_t sequence, enum ack_status status)
{
    ack_to(s->replica, s->from_store, s->from, s->id, sequence, status);
}

static void receive_free(struct snapshot_receive *s)
{
    engine_ingest_abort(s->ingest);
    for (struct link *k; (k = list_pop_front(&s->chunks)) != NULL;) {
        struct chunk *c = CONTAINER_OF(k, struct chunk, link);
        buf_deinit(&c->rows);
        mem_free(c);
    }
    windows_deinit(&s->windows);
    buf_deinit(&s->applied_key);
    buf_deinit(&s->applied_row);
    buf_deinit(&s->lo);
    buf_deinit(&s->hi);
    s->replica->installing = false;
    s->replica->receive = NULL;
    s->replica->host->snapshots--;
    mem_free(s);
}

static void receive_abort(struct snapshot_receive *s, const char *why)
{
    if (s->job_running) {
        s->failed = true;
        return;
    }
    diag(DIAG_WARN, "snapshot.aborted partition=%llu from=%llu why=\"%s\"",
         (unsigned long long)s->replica->partition_id, (unsigned long long)s->from, why);
    ack(s, s->next, ACK_FAILED);
    receive_free(s);
}

static bool read_header(struct snapshot_receive *s, struct reader *in, bool history)
{
    struct bytes config;
    s->index = reader_u64(in);
    s->term = reader_u64(in);
    s->ts = reader_u64(in);
    s->counters.keys = (int64_t)reader_u64(in);
    s->counters.expires = (int64_t)reader_u64(in);
    s->counters.garbage = (int64_t)reader_u64(in);
    s->counters.last_delete = reader_u64(in);
    s->windows.forgotten = reader_u64(in);
    if (history) {
        s->counters.retention_ms = reader_u64(in);
        s->counters.watermark = reader_u64(in);
    }
    config = reader_lp(in);
    uint64_t sessions = reader_varint(in);
    if (in->failed || !raft_config_decode(config, &s->config) || sessions > WINDOW_SESSIONS_MAX) return false;
    for (uint64_t i = 0; i < sessions; i++) {
        uint64_t session = reader_u64(in);
        struct bytes row = reader_lp(in);
        if (in->failed || map_get(&s->windows.sessions, session) != NULL || !windows_load(&s->windows, session, row))
            return false;
    }
    return true;
}

static enum status add_windows(struct snapshot_receive *s)
{
    struct buf key = {0}, id = {0}, row = {0};
    enum status st = ST_OK;
    size_t n = 0;
    uint64_t *sessions = mem_alloc((s->windows.sessions.count + 1) * sizeof *sessions);
    for (size_t i = 0; windows_each(&s->windows, &i, &sessions[n]);) n++;
    qsort(sessions, n, sizeof *sessions, compare_u64);
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        buf_clear(&key);
        buf_clear(&id);
        buf_clear(&row);
        buf_put_be64(&id, sessions[i]);
        row_system(&key, s->replica->partition_id, SYSTEM_WINDOW, buf_view(&id));
        buf_put_u64(&row, s->index);
        windows_encode(&s->windows, sessions[i], &row);
        st = engine_ingest_add(s->ingest, buf_view(&key), buf_view(&row), &s->err);
    }
    mem_free(sessions);
    buf_deinit(&key);
    buf_deinit(&id);
    buf_deinit(&row);
    return st;
}

/* Worker: the chunk's rows into the file; with the last, the file into the engine. */
static void receive_run(struct env_job *job)
{
    struct snapshot_receive *s = CONTAINER_OF(job, struct snapshot_receive, job);
    struct engine *engine = s->replica->host->engine;
    enum status st = ST_OK;
    if (s->ingest == NULL) st = engine_ingest_new(engine, &s->ingest, &s->err);
    struct reader in = reader_of(buf_view(&s->current->rows));
    while (st == ST_OK && reader_left(&in) > 0) {
        struct bytes key = reader_lp(&in), value = reader_lp(&in);
        if (in.failed || bytes_compare(key, buf_view(&s->lo)) < 0 || bytes_compare(key, buf_view(&s->hi)) >= 0)
            st = error_set(&s->err, ST_CORRUPT, "a snapshot chunk holds a row outside of its partition");
        else st = engine_ingest_add(s->ingest, key, value, &s->err);
    }
    if (st == ST_OK && (s->current->flags & CHUNK_LAST)) {
        st = engine_ingest_add(s->ingest, buf_view(&s->applied_key), buf_view(&s->applied_row), &s->err);
        if (st == ST_OK) st = add_windows(s);
        if (st == ST_OK) {
            struct engine_ingest *g = s->ingest;
            s->ingest = NULL;
            st = engine_ingest_finish(g, buf_view(&s->lo), buf_view(&s->hi), &s->err);
        }
    }
    if (st != ST_OK) s->failed = true;
}

/* The engine has the new state: forget the old one everywhere else. */
static void installed(struct snapshot_receive *s)
{
    struct replica *r = s->replica;
    struct host *h = r->host;
    struct buf lo = {0}, hi = {0}, key = {0}, id = {0};
    uint64_t session;
    rows_forget(h->rows, buf_view(&s->lo), buf_view(&s->hi));
    row_system(&lo, r->partition_id, 0, BYTES_LIT(""));
    row_system(&hi, r->partition_id, 0xff, BYTES_LIT(""));
    rows_forget(h->rows, buf_view(&lo), buf_view(&hi));
    for (size_t i = 0; windows_each(&r->windows, &i, &session);) {
        if (map_get(&s->windows.sessions, session) != NULL) continue;
        buf_clear(&key);
        buf_clear(&id);
        buf_put_be64(&id, session);
        row_system(&key, r->partition_id, SYSTEM_WINDOW, buf_view(&id));
        rows_delete(h->rows, buf_view(&key));
    }
    windows_deinit(&r->windows);
    r->windows = s->windows;
    r->windows.generation = s->index;
    windows_init(&s->windows, h->limits.window_sessions_max);
    map_deinit(&r->windows_dirty);
    r->applied_dirty = false;
    r->applied = s->index;
    r->applied_term = s->term;
    r->applied_ts = r->last_ts = s->ts;
    r->counters = s->counters;
    r->applied_config = s->config;
    r->durable_applied = s->index;
    prefetch_applied(r);
    hlc_see(&h->clock, s->ts);
    for (; r->read_at < r->read_count; r->read_at++) entry_unref(r->read_entries[r->read_at]);
    /* Unless the log came to have the snapshot's last entry meanwhile, it starts anew after it. */
    if (raft_term_at(r->raft, s->index) != s->term) log_reset(h->log, r->replica_id, s->index, s->term);
    raft_restored(r->raft, host_now(h), s->index, s->term, &s->config, s->ts);
    rebuild_done(r);
    h->stats.snapshots_installed++;
    buf_deinit(&lo);
    buf_deinit(&hi);
    buf_deinit(&key);
    buf_deinit(&id);
}

/* A fenced replica takes any state at or after its own that its log goes on from. */
static bool wanted(const struct snapshot_receive *s)
{
    const struct replica *r = s->replica;
    if (raft_snapshot_wanted(r->raft, s->index, s->term)) return true;
    return r->fenced && s->index >= r->applied && raft_term_at(r->raft, s->index) == s->term;
}

static void receive_next(struct snapshot_receive *s);

static void receive_done(struct env_job *job)
{
    struct snapshot_receive *s = CONTAINER_OF(job, struct snapshot_receive, job);
    struct replica *r = s->replica;
    struct chunk *c = s->current;
    s->job_running = false;
    s->current = NULL;
    r->jobs--;
    uint32_t sequence = c->sequence;
    bool last = (c->flags & CHUNK_LAST) != 0;
    buf_deinit(&c->rows);
    mem_free(c);
    if (s->failed || r->dropped || r->host->closing) {
        receive_abort(s, s->err.text[0] != 0 ? s->err.text : "given up");
        return;
    }
    if (!last) {
        s->taken++;
        ack(s, sequence, ACK_OK);
        receive_next(s);
        return;
    }
    installed(s);
    diag(DIAG_INFO, "snapshot.installed partition=%llu index=%llu chunks=%u", (unsigned long long)r->partition_id,
         (unsigned long long)s->index, s->next);
    ack(s, sequence, ACK_INSTALLED);
    receive_free(s);
    host_wake(r);
}

static void receive_next(struct snapshot_receive *s)
{
    struct replica *r = s->replica;
    struct host *h = r->host;
    if (s->job_running || list_empty(&s->chunks)) return;
    struct chunk *c = CONTAINER_OF(list_first(&s->chunks), struct chunk, link);
    if (c->flags & CHUNK_LAST) {
        /* No dirty row of the old state may reach the engine after the new one. */
        struct error err = {0};
        if (!wanted(s)) {
            ack(s, c->sequence, ACK_INSTALLED);
            receive_free(s);
            return;
        }
        r->installing = true;
        if (r->fetching || r->reading || rows_flush(h->rows, &err) != ST_OK) return; /* snapshot_tick tries again */
    }
    link_remove(&c->link);
    s->current = c;
    s->job = (struct env_job){.run = receive_run, .done = receive_done};
    s->job_running = true;
    r->jobs++;
    env_worker_submit(h->worker, h->loop, &s->job);
}

static struct snapshot_receive *receive_new(struct replica *r, uint64_t from, store_addr_t from_store, uint64_t id)
{
    struct snapshot_receive *s = mem_zalloc(sizeof *s);
    *s = (struct snapshot_receive){.replica = r, .from = from, .from_store = from_store, .id = id};
    list_init(&s->chunks);
    windows_init(&s->windows, r->host->limits.window_sessions_max);
    row_range(&s->lo, &s->hi, r->table, r->slot_lo, r->slot_hi);
    row_system(&s->applied_key, r->partition_id, SYSTEM_APPLIED, BYTES_LIT(""));
    r->receive = s;
    r->host->snapshots++;
    return s;
}

/* The applied row as this replica will have it. */
static void encode_new_applied(struct snapshot_receive *s)
{
    struct replica as_of = {.replica_id = s->replica->replica_id,
                            .applied = s->index,
                            .applied_term = s->term,
                            .applied_ts = s->ts,
                            .counters = s->counters,
                            .windows = {.forgotten = s->windows.forgotten, .generation = s->index},
                            .applied_config = s->config};
    replica_encode_applied(&as_of, &s->applied_row);
}

void snapshot_on_chunk(struct host *h, const struct mesh_frame *f)
{
    struct reader in = reader_of(f->body);
    uint64_t partition = reader_u64(&in), from = reader_u64(&in), to = reader_u64(&in), id = reader_u64(&in);
    uint32_t sequence = reader_u32(&in);
    uint8_t flags = reader_u8(&in);
    struct replica *r = host_replica(h, partition);
    if (in.failed || (flags & ~CHUNK_FLAGS) != 0 || r == NULL || r->replica_id != to || (r->stopped && !r->fenced))
        return;
    struct snapshot_receive *s = r->receive;
    if (flags & CHUNK_FIRST) {
        store_addr_t from_store = replica_leader_store(r);
        if (s != NULL && s->id != id) receive_abort(s, "another one began");
        if (r->receive != NULL || from_store == 0 || store_addr_node(from_store) != f->from_node) return;
        s = receive_new(r, from, from_store, id);
        if (!read_header(s, &in, (flags & CHUNK_HISTORY) != 0)) {
            receive_abort(s, "its header can't be read");
            return;
        }
        encode_new_applied(s);
        if ((s->index <= r->applied && !r->fenced) || !wanted(s)) { /* it has come here another way */
            ack(s, sequence, ACK_INSTALLED);
            receive_free(s);
            return;
        }
    }
    bool known = s != NULL && s->id == id && s->from == from;
    if (!known && (flags & CHUNK_PROBE)) {
        store_addr_t from_store = replica_leader_store(r);
        if (store_addr_node(from_store) == f->from_node) ack_to(r, from_store, from, id, sequence, ACK_FAILED);
    }
    if (!known || s->failed) return;
    s->active_ns = host_now(h);
    if (sequence > s->next) {
        receive_abort(s, "a chunk was lost");
        return;
    }
    if (flags & CHUNK_PROBE) ack(s, s->taken - 1, ACK_OK); /* with none taken it says only that this end is alive */
    if (sequence != s->next || (flags & CHUNK_PROBE)) return;
    struct chunk *c = mem_zalloc(sizeof *c);
    c->sequence = sequence;
    c->flags = flags;
    buf_put_bytes(&c->rows, reader_bytes(&in, reader_left(&in)));
    list_push_back(&s->chunks, &c->link);
    s->next++;
    receive_next(s);
    host_wake(r); /* what it waits for now decides when a tick looks at it */
}

/* ---- time ---- */

void snapshot_tick(struct replica *r, uint64_t now)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        struct snapshot_send *s = r->sends[i];
        if (s == NULL || s->job_running) continue;
        if (s->unsent) send_chunk(s);
        if (now > s->active_ns + IDLE_NS) send_end(s, false);
        else if (!s->unsent && now > MAX(s->active_ns, s->probed_ns) + PROBE_NS) send_probe(s);
    }
    if (r->receive == NULL) return;
    if (now > r->receive->active_ns + IDLE_NS) receive_abort(r->receive, "the sender fell silent");
    else receive_next(r->receive);
}

void snapshot_abort_all(struct replica *r)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (r->sends[i] != NULL) send_end(r->sends[i], false);
    if (r->dropped && r->receive != NULL) receive_abort(r->receive, "the replica is dropped");
}

void snapshot_free_all(struct replica *r)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (r->sends[i] != NULL) send_free(r->sends[i]);
    if (r->receive != NULL) receive_free(r->receive);
}
