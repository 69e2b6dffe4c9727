/* scrub.c - compares the rows of a partition's replicas at the same entry, and fences one that differs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The leader proposes an ENTRY_SCRUB now and then. Where it is applied, each replica takes a snapshot of its rows and hashes
 * them on a worker, without the history rows that nobody can see any more; followers send theirs to whoever led that term.
 * The leader waits for all members it knows of, or a while, and compares: those that differ from a majority are told so.
 * They are fenced, and rebuilt (rebuild.c).
 * MESH_SCRUB: partition u64 | from u64 | to u64 (replica ids) | index u64 | hash u64 | rows u64 | verdict u8 (0 a report, 1 it
 *             differs, 2 the sender is fenced at index and wants a snapshot, 3 it is fenced and wants none) */
#include "base/diag.h"
#include "base/mem.h"
#include "replica/host_internal.h"
#include "store/history.h"
#include "table/place.h"

struct scrub_job {
    struct env_job job;
    struct replica *replica;
    struct engine_snapshot *snapshot;
    struct buf lo, hi;
    struct history_skip skip;
    uint64_t index, hash, rows;
    uint64_t leader; /* replica id; 0: unknown */
    store_addr_t leader_store;
    enum status status;
    struct error err;
};

enum { REPORT, DIFFERS, WANTS_ROWS, FENCED };

void scrub_send(struct host *h, store_addr_t to_store, struct replica *r, uint64_t to, const struct scrub_report *p,
                uint8_t verdict)
{
    struct buf *b = &h->message;
    buf_clear(b);
    buf_put_u64(b, r->partition_id);
    buf_put_u64(b, r->replica_id);
    buf_put_u64(b, to);
    buf_put_u64(b, p->index);
    buf_put_u64(b, p->hash);
    buf_put_u64(b, p->rows);
    buf_put_u8(b, verdict);
    mesh_send(h->mesh, store_addr_node(to_store), store_addr_store(to_store), MESH_URGENT, MESH_SCRUB, buf_view(b));
}

static void stop_differing(struct replica *r)
{
    r->host->stats.scrub_mismatches++;
    replica_fence(r, "scrub: its rows differ from those of the other replicas");
}

/* How many reports, the leader's own included, say the same as this one? */
static unsigned same_as(const struct replica *r, const struct scrub_report *p)
{
    unsigned n = 0;
    for (size_t i = 0; i < r->scrub_count; i++) n += r->scrub[i].hash == p->hash && r->scrub[i].rows == p->rows;
    return n;
}

static void judge(struct replica *r)
{
    struct raft_view view;
    bool own = false;
    raft_view(r->raft, &view);
    for (size_t i = 0; i < r->scrub_count; i++) {
        const struct scrub_report *p = &r->scrub[i];
        if (2 * same_as(r, p) > r->scrub_count) continue; /* with the majority */
        bool outvoted = false; /* by most of all members: what only some of them say fences nobody */
        for (size_t k = 0; k < r->scrub_count; k++) outvoted |= 2 * same_as(r, &r->scrub[k]) > view.config->count;
        diag(DIAG_ERROR, "scrub.mismatch partition=%llu replica=%llu index=%llu rows=%llu hash=%016llx reports=%zu",
             (unsigned long long)r->partition_id, (unsigned long long)p->replica_id, (unsigned long long)p->index,
             (unsigned long long)p->rows, (unsigned long long)p->hash, r->scrub_count);
        const struct raft_member *m = raft_config_find(view.config, p->replica_id);
        if (!outvoted) continue;
        if (p->replica_id == r->replica_id) own = true;
        else if (m != NULL) scrub_send(r->host, m->store, r, p->replica_id, p, DIFFERS);
    }
    r->host->stats.scrubs++;
    r->scrub_count = 0;
    r->scrub_index = 0;
    if (own) stop_differing(r);
}

/* Where no rows are those of most members (two of two that differ, say) it is reported, and left to people. */
static void add_report(struct replica *r, const struct scrub_report *p)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    if (view.role != RAFT_LEADER || p->index != r->scrub_index || r->scrub_count == RAFT_MEMBERS_MAX) return;
    for (size_t i = 0; i < r->scrub_count; i++)
        if (r->scrub[i].replica_id == p->replica_id) return;
    r->scrub[r->scrub_count++] = *p;
    if (r->scrub_count == view.config->count) judge(r);
}

static void run(struct env_job *job)
{
    struct scrub_job *s = CONTAINER_OF(job, struct scrub_job, job);
    s->status = engine_checksum(s->replica->host->engine, s->snapshot, buf_view(&s->lo), buf_view(&s->hi), history_skip,
                                &s->skip, &s->hash, &s->rows, &s->err);
}

static void done(struct env_job *job)
{
    struct scrub_job *s = CONTAINER_OF(job, struct scrub_job, job);
    struct replica *r = s->replica;
    struct host *h = r->host;
    r->jobs--;
    engine_snapshot_release(h->engine, s->snapshot);
    struct scrub_report p = {r->replica_id, s->index, s->hash, s->rows};
    if (h->closing || r->dropped || r->stopped) {
        /* nobody asks any more */
    } else if (s->status == ST_CORRUPT || s->status == ST_IO) {
        replica_fence(r, "scrub: %s", s->err.text);
    } else if (s->status == ST_OK && s->leader == r->replica_id) {
        add_report(r, &p);
    } else if (s->status == ST_OK && s->leader != 0) {
        scrub_send(h, s->leader_store, r, s->leader, &p, REPORT);
    }
    buf_deinit(&s->lo);
    buf_deinit(&s->hi);
    mem_free(s);
}

bool scrub_apply(struct replica *r, const struct entry *e)
{
    struct host *h = r->host;
    struct error err = {0};
    struct raft_view view;
    if (rows_flush(h->rows, &err) != ST_OK) return false; /* the engine is busy: the entry is applied later */
    raft_view(r->raft, &view);
    struct scrub_job *s = mem_zalloc(sizeof *s);
    *s = (struct scrub_job){.replica = r,
                            .snapshot = engine_snapshot_take(h->engine),
                            .skip = {r->counters.watermark, {SPACE_HISTORY, SPACE_ELEMENT_HISTORY}},
                            .index = e->index,
                            .leader = e->term == view.term ? view.leader : 0,
                            .leader_store = view.leader_store};
    row_range(&s->lo, &s->hi, r->table, r->slot_lo, r->slot_hi);
    s->job = (struct env_job){.run = run, .done = done};
    s->status = ST_STOPPED;
    if (s->leader == r->replica_id) {
        r->scrub_index = e->index;
        r->scrub_count = 0;
    }
    r->jobs++;
    env_worker_submit(h->worker, h->loop, &s->job);
    return true;
}

void scrub_on_frame(struct host *h, const struct mesh_frame *f)
{
    struct reader in = reader_of(f->body);
    uint64_t partition = reader_u64(&in);
    struct scrub_report p = {.replica_id = reader_u64(&in)};
    uint64_t to = reader_u64(&in);
    p.index = reader_u64(&in);
    p.hash = reader_u64(&in);
    p.rows = reader_u64(&in);
    uint8_t verdict = reader_u8(&in);
    struct replica *r = host_replica(h, partition);
    if (!reader_done(&in) || r == NULL || r->replica_id != to || r->stopped) return;
    if (verdict == REPORT) {
        add_report(r, &p);
    } else if (verdict == WANTS_ROWS || verdict == FENCED) {
        rebuild_asked(r, p.replica_id, p.index, verdict == WANTS_ROWS);
    } else if (verdict == DIFFERS) {
        struct raft_view view;
        raft_view(r->raft, &view);
        if (view.leader == p.replica_id) stop_differing(r); /* only the leader of now may say so */
    }
}

void scrub_tick(struct replica *r, uint64_t now)
{
    struct host *h = r->host;
    uint64_t index, term;
    if (h->limits.scrub_ns == 0 || r->stopped) return;
    if (r->scrub_at_ns == 0) r->scrub_at_ns = now + env_random_u64(h->env) % h->limits.scrub_ns; /* not all at once */
    if (now < r->scrub_at_ns) return;
    /* Who has not answered by the next time is left out. */
    if (r->scrub_index != 0 && r->scrub_count > 1) judge(r);
    r->scrub_index = 0;
    r->scrub_at_ns = now + h->limits.scrub_ns;
    hlc_see(&h->clock, raft_hlc_floor(r->raft)); /* a configuration's entry may have raised it */
    hlc_t ts = MAX(h->clock.last, r->last_ts) + 1;
    if (ts > raft_hlc_limit(r->raft, now)) return;
    if (raft_propose(r->raft, now, ENTRY_SCRUB, ts, (struct bytes){0}, &index, &term) != ST_OK) return;
    hlc_see(&h->clock, ts);
    host_wake(r);
}
