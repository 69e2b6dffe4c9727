/* log.c - the one log of a store: what is appended becomes batches, batches become durable.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A batch: open (gathers records) -> queued (closed, its place and size fixed) -> flying (at the writer) -> durable.
 * One flies at a time, so each batch's header can say that all before it is durable. See README.md for the invariants.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "store/log_internal.h"

static const uint32_t level_bytes[LOG_SUMMARY_LEVELS] = {LOG_SECTOR, LOG_PAGE, 8 * LOG_PAGE};

static uint32_t summary_room(uint32_t header_bytes) { return (header_bytes - LOG_BATCH_FIXED) / LOG_SUMMARY; }

/* ---- replicas ---- */

struct replica *log_find(const struct log *l, uint64_t replica_id)
{
    return replica_id != 0 ? map_get(&l->replicas, replica_id) : l->unknown;
}

struct replica *log_replica_new(struct log *l, uint64_t replica_id)
{
    struct replica *r = mem_zalloc(sizeof *r);
    r->view.replica_id = replica_id;
    if (replica_id != 0) map_set(&l->replicas, replica_id, r);
    else l->unknown = r;
    return r;
}

static void replica_free(struct log *l, struct replica *r)
{
    if (link_linked(&r->by_state)) link_remove(&r->by_state);
    if (link_linked(&r->unwritten)) link_remove(&r->unwritten);
    log_index_deinit(r);
    mem_free(r);
}

static struct replica *touch(struct log *l, uint64_t replica_id)
{
    ASSERT(replica_id != 0 && !l->closed);
    struct replica *r = log_find(l, replica_id);
    if (r != NULL) return r;
    r = log_replica_new(l, replica_id);
    log_put_state(l, r, false);
    return r;
}

const struct log_replica *log_replica(const struct log *l, uint64_t replica_id)
{
    struct replica *r = log_find(l, replica_id);
    return r != NULL ? &r->view : NULL;
}

bool log_each_replica(const struct log *l, size_t *at, const struct log_replica **out)
{
    uint64_t id;
    void *r;
    if (!map_each(&l->replicas, at, &id, &r)) return false;
    *out = &((struct replica *)r)->view;
    return true;
}

/* ---- gathering ---- */

static struct log_batch *batch_take(struct log *l)
{
    struct link *k = list_pop_front(&l->pool_batches);
    struct log_batch *b = k != NULL ? CONTAINER_OF(k, struct log_batch, link) : mem_zalloc(sizeof *b);
    struct buf buf = b->buf;
    if (k != NULL) l->pool_count--;
    buf_clear(&buf);
    *b = (struct log_batch){.log = l, .buf = buf, .id = ++l->batch_ids};
    return b;
}

static void batch_free(struct log_batch *b)
{
    if (b == NULL) return;
    buf_deinit(&b->buf);
    mem_free(b);
}

static void batch_give(struct log *l, struct log_batch *b)
{
    if (l->pool_count >= LOG_POOL_MAX || b->buf.cap > LOG_BUFFER_KEEP) {
        batch_free(b);
        return;
    }
    list_push_back(&l->pool_batches, &b->link);
    l->pool_count++;
}

static void batch_place(struct log *l, struct log_batch *b, uint32_t header_bytes)
{
    b->header = (struct log_batch_header){
        .nonce = l->nonce, .position = log_pos(l->gather_number, l->gather_offset), .header_bytes = header_bytes};
    b->summary_max = summary_room(header_bytes);
    b->seed = log_seed(l->store_id, l->gather_number);
    b->record_seed = log_record_seed(b->seed, l->nonce);
    memset(buf_extend(&b->buf, header_bytes), 0, header_bytes);
}

static void roll(struct log *l)
{
    struct log_segment *s = l->next;
    l->next = NULL;
    if (s == NULL) s = log_segment_new(l->gather_number + 1, NULL, l->limits.segment_bytes);
    ASSERT(s->number == l->gather_number + 1);
    log_segment_push(l, s);
    l->gather_number = s->number;
    l->gather_offset = LOG_PAGE;
    log_files_work(l);
}

/* Opens a batch with room for at least `need` bytes of records. A segment ends when the next record does not fit and
 * the next segment is ready; until it is, the file grows, up to twice its size: slower, but nothing waits. */
static struct log_batch *batch_open(struct log *l, uint32_t need)
{
    ASSERT(l->open == NULL);
    uint32_t header_bytes = level_bytes[l->summary_level];
    if (l->booting)
        header_bytes = (uint32_t)log_round(LOG_BATCH_FIXED + (uint64_t)l->boot_replicas * LOG_SUMMARY, LOG_SECTOR);
    uint64_t total = log_round((uint64_t)header_bytes + need, LOG_PAGE);
    struct log_segment *s = log_segment_last(l);
    uint64_t room = s->bytes > l->gather_offset ? s->bytes - l->gather_offset : 0;
    if (total > room && l->gather_offset > LOG_PAGE && !l->booting) {
        uint64_t grown = 2 * l->limits.segment_bytes;
        room = grown > l->gather_offset ? grown - l->gather_offset : 0;
        if (l->next != NULL || total > room) {
            roll(l);
            room = log_segment_last(l)->bytes - LOG_PAGE;
        }
    }
    struct log_batch *b = batch_take(l);
    batch_place(l, b, header_bytes);
    room = MAX(room, total); /* a record larger than a segment makes its segment larger */
    b->limit = (uint32_t)MIN(room, header_bytes + l->limits.batch_bytes_max);
    if (l->booting) b->limit = LOG_BATCH_BYTES_MAX;
    l->open = b;
    return b;
}

static void batch_close(struct log *l)
{
    struct log_batch *b = l->open;
    struct log_batch_header *h = &b->header;
    ASSERT(b != NULL && h->position == log_pos(l->gather_number, l->gather_offset));
    l->open = NULL;
    l->needed = false;
    h->payload_bytes = (uint32_t)(b->buf.n - h->header_bytes);
    h->bytes = (uint32_t)log_round(b->buf.n, LOG_PAGE);
    size_t pad = h->bytes - b->buf.n;
    memset(buf_extend(&b->buf, pad), 0, pad);
    h->synced = l->last_end;
    h->first_segment = l->first_needed;
    h->boot = l->boot;
    h->bound = l->bound;
    b->end = h->position + h->bytes;
    if (b->copied < h->payload_bytes) l->progress += h->bytes - b->copied;
    l->gather_offset += h->bytes;
    l->last_end = b->end;
    l->marked = false;
    struct log_segment *s = log_segment_last(l);
    if (s->bytes < l->gather_offset) s->bytes = l->gather_offset;
    if (l->summary_level > 0 && h->summary_count <= summary_room(level_bytes[l->summary_level - 1]) / 2)
        l->summary_level--;
    list_push_back(&l->queue, &b->link);
}

static void ask_start(struct log *l)
{
    if (l->start_pending || l->flying != NULL || l->booting) return;
    l->start_pending = true;
    env_defer(l->loop, &l->start);
}

static void summary_add(struct log_batch *b, struct replica *r, uint64_t first, uint64_t last)
{
    struct log_summary s = {.replica_id = r->view.replica_id, .first = first, .last = last};
    if (r->batch != b->id) {
        r->batch = b->id;
        r->slot = b->header.summary_count++;
    } else {
        struct log_summary old;
        log_summary_get(b->buf.p, r->slot, &old);
        if (first == LOG_SUMMARY_COPIES || first == 0) s.first = old.first;
        else if (old.first != LOG_SUMMARY_COPIES && old.first != 0) s.first = MIN(old.first, first);
        if (first == 0 && old.first == LOG_SUMMARY_COPIES) s.first = 0;
    }
    log_summary_put(b->buf.p, r->slot, &s);
}

uint64_t log_put(struct log *l, struct replica *r, const struct log_record *rec, uint64_t first, uint64_t last)
{
    size_t size = log_record_size(rec->data.n);
    ASSERT(rec->data.n <= LOG_RECORD_BYTES_MAX);
    if (l->failed) return log_pos(log_segment_last(l)->number, UINT32_MAX); /* in memory only; never durable */
    struct log_batch *b = l->open;
    if (b != NULL && b->header.records > 0 && b->buf.n + size > b->limit) {
        batch_close(l);
        b = NULL;
    } else if (b != NULL && r != NULL && r->batch != b->id && b->header.summary_count == b->summary_max) {
        batch_close(l);
        if (l->summary_level + 1 < LOG_SUMMARY_LEVELS) l->summary_level++;
        b = NULL;
    }
    if (b == NULL) b = batch_open(l, (uint32_t)size);
    uint64_t pos = b->header.position + b->buf.n;
    log_record_put(buf_extend(&b->buf, size), rec);
    b->header.records++;
    if (rec->flags & LOG_RECORD_COPY) b->copied += size;
    if (r != NULL) summary_add(b, r, first, last);
    l->ticked = true;
    if (l->tick.due_ns == 0 && !l->booting) env_timer_start(&l->tick, LOG_TICK_NS);
    ask_start(l);
    return pos;
}

void log_put_state(struct log *l, struct replica *r, bool copy)
{
    const struct log_replica *v = &r->view;
    struct log_state s = {v->term,       v->vote,      v->base_index, v->base_term,
                          v->last_index, v->last_term, v->suspect,    v->damaged};
    uint8_t data[LOG_STATE];
    log_state_put(data, &s);
    struct log_record rec = {.type = LOG_REPLICA,
                             .flags = copy ? LOG_RECORD_COPY : 0,
                             .replica_id = v->replica_id,
                             .data = bytes_of(data, sizeof data)};
    uint64_t pos = log_put(l, r, &rec, copy ? LOG_SUMMARY_COPIES : 0, v->last_index);
    r->state_segment = log_pos_segment(pos);
    if (link_linked(&r->by_state)) link_remove(&r->by_state);
    list_push_back(&l->by_state, &r->by_state);
    if (link_linked(&r->unwritten)) link_remove(&r->unwritten);
}

void log_put_compact(struct log *l, struct replica *r)
{
    if (link_linked(&r->unwritten)) link_remove(&r->unwritten);
    struct log_record rec = {.type = LOG_COMPACT,
                             .flags = LOG_RECORD_COPY,
                             .replica_id = r->view.replica_id,
                             .index = r->view.base_index,
                             .term = r->view.base_term};
    log_put(l, r, &rec, LOG_SUMMARY_COPIES, r->view.last_index);
}

static const uint8_t *in_batch(const struct log_batch *b, uint64_t pos)
{
    if (b == NULL || pos < b->header.position || pos >= b->header.position + b->buf.n) return NULL;
    return b->buf.p + (pos - b->header.position);
}

const uint8_t *log_unwritten(const struct log *l, uint64_t pos)
{
    const uint8_t *p = in_batch(l->open, pos);
    if (p == NULL) p = in_batch(l->flying, pos);
    for (const struct link *k = list_first(&l->queue); p == NULL && k != NULL; k = list_next(&l->queue, k))
        p = in_batch(CONTAINER_OF(k, const struct log_batch, link), pos);
    return p;
}

void log_batch_needed(struct log *l)
{
    l->needed = true;
    if (l->open == NULL && !l->failed) batch_open(l, 0);
    ask_start(l);
}

/* ---- what the replicas ask for ---- */

void log_append(struct log *l, uint64_t replica_id, struct entry *const *entries, size_t count)
{
    struct replica *r = touch(l, replica_id);
    if (count == 0) return;
    ASSERT(entries[0]->index > r->view.base_index && entries[0]->index <= r->view.last_index + 1);
    log_index_cut(l, r, entries[0]->index);
    for (size_t i = 0; i < count; i++) {
        const struct entry *e = entries[i];
        ASSERT(e->index == r->view.last_index + 1 && e->term >= r->view.last_term);
        struct log_record rec = {.type = LOG_ENTRY,
                                 .kind = e->kind,
                                 .replica_id = replica_id,
                                 .index = e->index,
                                 .term = e->term,
                                 .ts = e->ts,
                                 .prev_term = r->view.last_term,
                                 .data = entry_data(e)};
        uint64_t pos = log_put(l, r, &rec, e->index, e->index);
        log_index_add(l, r, e->index, e->term, pos, (uint32_t)log_record_size(e->size));
        if (e->term > r->view.term) { /* as a reader would conclude */
            r->view.term = e->term;
            r->view.vote = 0;
        }
    }
}

void log_set_vote(struct log *l, uint64_t replica_id, uint64_t term, uint64_t vote)
{
    struct replica *r = touch(l, replica_id);
    ASSERT(term >= r->view.term);
    r->view.term = term;
    r->view.vote = vote;
    struct log_record rec = {.type = LOG_VOTE, .replica_id = replica_id, .index = vote, .term = term};
    log_put(l, r, &rec, 0, r->view.last_index);
}

void log_reset(struct log *l, uint64_t replica_id, uint64_t index, uint64_t term)
{
    struct replica *r = touch(l, replica_id);
    log_index_reset(l, r, index, term);
    if (term > r->view.term) {
        r->view.term = term;
        r->view.vote = 0;
    }
    if (link_linked(&r->unwritten)) link_remove(&r->unwritten);
    struct log_record rec = {.type = LOG_RESET, .replica_id = replica_id, .index = index, .term = term};
    log_put(l, r, &rec, 0, index);
}

void log_compact(struct log *l, uint64_t replica_id, uint64_t index)
{
    struct replica *r = log_find(l, replica_id);
    if (r == NULL || index <= r->view.base_index) return;
    log_index_advance(l, r, MIN(index, r->view.last_index));
    if (!link_linked(&r->unwritten)) list_push_back(&l->unwritten, &r->unwritten);
}

void log_clear_suspect(struct log *l, uint64_t replica_id)
{
    struct replica *r = log_find(l, replica_id);
    if (r == NULL || !r->view.suspect) return;
    r->view.suspect = r->view.damaged = false;
    struct log_record rec = {.type = LOG_TRUSTED, .replica_id = replica_id};
    log_put(l, r, &rec, 0, r->view.last_index);
    if (replica_id != 0) return;
    l->unknown = NULL; /* nothing of it is worth keeping */
    replica_free(l, r);
}

void log_mark_suspect(struct log *l, uint64_t replica_id, bool damaged)
{
    struct replica *r = touch(l, replica_id);
    if (r->view.suspect && (r->view.damaged || !damaged)) return;
    r->view.suspect = true;
    r->view.damaged = r->view.damaged || damaged;
    log_put_state(l, r, false);
}

const char *log_damage(const struct log *l) { return l->damage; }

void log_drop(struct log *l, uint64_t replica_id)
{
    struct replica *r = log_find(l, replica_id);
    if (replica_id == 0 || r == NULL) return;
    struct log_record rec = {.type = LOG_DROP, .replica_id = replica_id};
    log_put(l, r, &rec, 0, 0);
    log_index_reset(l, r, 0, 0);
    map_remove(&l->replicas, replica_id);
    replica_free(l, r);
}

void log_set_bound(struct log *l, hlc_t bound)
{
    ASSERT(bound >= l->bound && !l->closed);
    l->bound = bound;
    struct log_record rec = {.type = LOG_BOUND, .ts = bound};
    log_put(l, NULL, &rec, 0, 0);
}

hlc_t log_bound(const struct log *l) { return l->bound; }
uint64_t log_boot_count(const struct log *l) { return l->boot; }
uint64_t log_synced(const struct log *l) { return l->synced; }
uint64_t log_sync_started_ns(const struct log *l) { return l->sync_started_ns; }
uint64_t log_sync_bytes(const struct log *l) { return l->flying != NULL ? l->flying->header.bytes : 0; }
bool log_full(const struct log *l) { return l->full_write || l->full_prepare || l->full_space; }

uint64_t log_position(const struct log *l)
{
    if (l->failed) return UINT64_MAX; /* nothing will be durable any more: nobody may think that it is */
    return l->open != NULL && l->open->header.records > 0 ? l->open->header.position + l->open->buf.n : l->last_end;
}

void log_stats(const struct log *l, struct log_stats *out)
{
    *out = l->stats;
    out->segments = 0;
    for (size_t i = 0; i < l->segment_count; i++) out->segments += l->segments[i] != NULL;
    out->bytes = log_total_bytes(l);
}

/* ---- writing ---- */

void log_batch_write(struct log_batch *b)
{
    struct log_batch_header *h = &b->header;
    h->payload_crc = log_payload_seal(b->buf.p + h->header_bytes, h->payload_bytes, b->record_seed);
    log_batch_header_encode(h, b->seed, b->buf.p);
    b->status = env_file_write(b->segment->file, log_pos_offset(h->position), b->buf.p, h->bytes, &b->err);
    b->written = b->status == ST_OK;
}

static void batch_run(struct env_job *job)
{
    struct log_batch *b = CONTAINER_OF(job, struct log_batch, job);
    struct env *env = b->segment->file->env;
    uint64_t begun = env_now_ns(env);
    log_batch_write(b);
    if (b->written && !b->mark && !MUTATION("reply_before_fsync")) b->status = env_file_sync(b->segment->file, &b->err);
    b->sync_ns = env_now_ns(env) - begun;
}

static void batch_durable(struct log *l, struct log_batch *b)
{
    l->full_write = false;
    l->synced = b->end;
    l->stats.batches++;
    l->stats.synced_bytes += b->header.bytes;
    l->stats.sync_ns_last = b->sync_ns;
    l->stats.sync_ns_total += b->sync_ns;
}

static void batch_done(struct env_job *job)
{
    struct log_batch *b = CONTAINER_OF(job, struct log_batch, job);
    struct log *l = b->log;
    l->jobs--;
    l->flying = NULL;
    l->sync_started_ns = 0;
    if (l->closed) {
        batch_free(b);
        log_maybe_free(l);
        return;
    }
    struct log_segment *s = b->segment;
    if (l->failed) {
        batch_give(l, b);
        log_segment_unref(l, s);
        return;
    }
    if (b->status == ST_DISK_FULL && !b->written) { /* nothing is lost: the place is still free, and is tried again */
        if (!log_full(l)) diag(DIAG_WARN, "log.full dir=%s full=1 reason=\"%s\"", l->dir, b->err.text);
        l->full_write = true;
        if (b->mark) batch_give(l, b);
        else list_push_front(&l->queue, &b->link);
        log_segment_unref(l, s);
        return;
    }
    if (b->status != ST_OK) {
        log_fail(l, b->status, b->err.text);
        batch_give(l, b);
        return;
    }
    bool mark = b->mark;
    if (!mark) batch_durable(l, b);
    else l->marked = true;
    batch_give(l, b);
    log_segment_unref(l, s);
    log_kick(l); /* closed batches go at once; what is open still gathers until the end of the turn */
    if (mark) return;
    l->jobs++; /* the event may close the log */
    l->events.synced(l->ctx, l->synced);
    l->jobs--;
    if (l->closed) {
        log_maybe_free(l);
        return;
    }
    log_reads_wake(l);
    log_reclaim_step(l);
}

static void batch_fly(struct log *l, struct log_batch *b, struct log_segment *s)
{
    b->segment = s;
    s->refs++;
    l->flying = b;
    l->sync_started_ns = env_now_ns(l->env);
    l->jobs++;
    b->job.run = batch_run;
    b->job.done = batch_done;
    env_worker_submit(l->writer, l->loop, &b->job);
}

void log_kick(struct log *l)
{
    if (l->flying != NULL || l->failed || l->closed) return;
    if (l->full_write && !l->retry_write) return;
    struct link *k = list_first(&l->queue);
    if (k != NULL) {
        struct log_batch *b = CONTAINER_OF(k, struct log_batch, link);
        struct log_segment *s = log_segment_at(l, log_pos_segment(b->header.position));
        if (s->file == NULL) { /* log_files_work is at it */
            log_files_work(l);
            return;
        }
        link_remove(k);
        l->retry_write = false;
        batch_fly(l, b, s);
        log_files_work(l);
    } else if (l->open != NULL) {
        ask_start(l);
    } else if (!l->marked && l->idle.due_ns == 0) {
        env_timer_start(&l->idle, LOG_MARK_AFTER_NS);
    }
}

static void on_start(struct env_task *task)
{
    struct log *l = CONTAINER_OF(task, struct log, start);
    l->start_pending = false;
    if (l->closed) {
        log_maybe_free(l);
        return;
    }
    if (l->failed || l->flying != NULL) return;
    if (list_empty(&l->queue) && l->open != NULL && (l->open->header.records > 0 || l->needed)) batch_close(l);
    log_kick(l);
}

/* The log is idle: a header without records tells a later reader that the last batch was synced. It need not be synced
 * itself, and the next batch takes its place. */
static struct log_batch *mark_new(struct log *l)
{
    if (l->failed) return NULL;
    struct log_segment *s = log_segment_last(l);
    bool idle = l->flying == NULL && l->open == NULL && list_empty(&l->queue) && l->synced == l->last_end;
    if (!idle || l->marked || s->file == NULL || l->full_write) return NULL;
    if (l->gather_offset + LOG_PAGE > s->bytes) return NULL;
    struct log_batch *b = batch_take(l);
    batch_place(l, b, LOG_SECTOR);
    memset(buf_extend(&b->buf, LOG_PAGE - LOG_SECTOR), 0, LOG_PAGE - LOG_SECTOR);
    struct log_batch_header *h = &b->header;
    h->bytes = LOG_PAGE;
    h->synced = l->last_end;
    h->first_segment = l->first_needed;
    h->boot = l->boot;
    h->bound = l->bound;
    h->flags = LOG_BATCH_MARK;
    b->mark = true;
    b->segment = s;
    return b;
}

static void on_idle(struct env_timer *t)
{
    struct log *l = CONTAINER_OF(t, struct log, idle);
    struct log_batch *b = mark_new(l);
    if (b != NULL) batch_fly(l, b, b->segment);
}

static void on_tick(struct env_timer *t)
{
    struct log *l = CONTAINER_OF(t, struct log, tick);
    if (l->failed) return;
    l->retry_write = l->full_write;
    l->retry_prepare = l->full_prepare;
    l->look_at_space = true;
    log_files_work(l);
    log_kick(l);
    if (l->ticked || log_full(l)) env_timer_start(t, LOG_TICK_NS);
    l->ticked = false;
}

void log_fail(struct log *l, enum status st, const char *text)
{
    if (l->failed) return;
    l->failed = true;
    diag(DIAG_ERROR, "log.failed dir=%s status=%s text=\"%s\"", l->dir, status_name(st), text);
    env_timer_stop(&l->idle);
    env_timer_stop(&l->tick);
    if (l->open != NULL) batch_give(l, l->open);
    l->open = NULL;
    for (struct link *k; (k = list_pop_front(&l->queue)) != NULL;)
        batch_give(l, CONTAINER_OF(k, struct log_batch, link));
    error_set(&l->failure, st, "%s", text);
    l->fail_pending = true;
    env_defer(l->loop, &l->fail); /* the event may close the log, under which we still are */
}

static void on_fail(struct env_task *task)
{
    struct log *l = CONTAINER_OF(task, struct log, fail);
    l->fail_pending = false;
    if (l->closed) {
        log_maybe_free(l);
        return;
    }
    l->jobs++;
    log_reads_stop(l, ST_IO);
    if (!l->closed) l->events.failed(l->ctx, l->failure.status, l->failure.text);
    l->jobs--;
    log_maybe_free(l);
}

/* ---- opening and closing ---- */

static struct log *log_new(struct env_loop *loop, const char *dir, const uint8_t store_id[16],
                           const struct log_limits *limits, const struct log_events *events, void *ctx)
{
    struct log *l = mem_zalloc(sizeof *l);
    l->loop = loop;
    l->env = env_loop_env(loop);
    l->dir = mem_strdup(dir);
    memcpy(l->store_id, store_id, 16);
    l->limits = *limits;
    l->limits.segment_bytes = MIN(MAX(log_round(limits->segment_bytes, LOG_PAGE), 16 * LOG_PAGE), 1u << 30);
    l->limits.first_segment_bytes = MAX(log_round(limits->first_segment_bytes, LOG_PAGE), 4 * LOG_PAGE);
    l->limits.batch_bytes_max = MIN(limits->batch_bytes_max, l->limits.segment_bytes / 2);
    l->events = *events;
    l->ctx = ctx;
    list_init(&l->by_state);
    list_init(&l->unwritten);
    list_init(&l->leaving);
    list_init(&l->queue);
    list_init(&l->pool_batches);
    list_init(&l->reads);
    l->start.run = on_start;
    l->fail.run = on_fail;
    l->reclaim.log = l;
    env_timer_init(loop, &l->idle, on_idle);
    env_timer_init(loop, &l->tick, on_tick);
    return l;
}

/* Where the log goes on: behind what was found if the end is clean and has room; else in a segment of its own, so that
 * nothing that may be evidence is written over. */
static enum status take_place(struct log *l, const struct log_recovered *rec, struct error *err)
{
    uint64_t need = LOG_PAGE +
                    log_round((uint64_t)rec->changed * (LOG_SUMMARY + log_record_size(LOG_STATE)), LOG_PAGE) +
                    2 * LOG_PAGE;
    struct log_segment *s = rec->last_used != 0 ? log_segment_at(l, rec->last_used) : NULL;
    l->last_end = rec->end;
    if (s != NULL && rec->clean && log_pos_offset(rec->end) + need <= s->bytes &&
        log_pos_segment(rec->end) == s->number) {
        l->gather_number = s->number;
        l->gather_offset = log_pos_offset(rec->end);
        return env_file_sync(s->file, err);
    }
    enum status st = s != NULL ? env_file_sync(s->file, err) : ST_OK; /* what a killed process wrote and did not sync */
    if (st != ST_OK) return st;
    struct log_segment *fresh = l->next;
    l->next = NULL;
    if (fresh == NULL) {
        uint64_t bytes = MIN(l->limits.first_segment_bytes, (uint64_t)LOG_FIRST_FILL_BYTES);
        st = log_segment_create(l, rec->last_used + 1, MAX(bytes, LOG_PAGE + need), &fresh, err);
        if (st != ST_OK) return st;
    }
    log_segment_push(l, fresh);
    l->gather_number = fresh->number;
    l->gather_offset = LOG_PAGE;
    if (l->last_end == 0) l->last_end = log_pos(fresh->number, LOG_PAGE);
    return ST_OK;
}

/* The first batch of this opening: counts it, and writes down what was found wrong. */
static enum status write_boot(struct log *l, uint32_t changed, struct error *err)
{
    uint64_t id;
    void *value;
    l->booting = true;
    l->boot_replicas = changed;
    batch_open(l, 0);
    for (size_t i = 0; map_each(&l->replicas, &i, &id, &value);) {
        struct replica *r = value;
        if (r->state_segment == 0 || r->view.suspect) log_put_state(l, r, false);
    }
    if (l->unknown != NULL) log_put_state(l, l->unknown, false);
    struct log_batch *b = l->open;
    batch_close(l);
    link_remove(&b->link);
    b->segment = log_segment_last(l);
    log_batch_write(b);
    enum status st = b->status;
    if (st == ST_OK) st = env_file_sync(b->segment->file, err);
    else error_set(err, st, "%s", b->err.text);
    if (st == ST_OK) batch_durable(l, b);
    batch_give(l, b);
    l->booting = false;
    return st;
}

enum status log_open(struct env_loop *loop, const char *dir, const uint8_t store_id[16],
                     const struct log_limits *limits, const struct log_events *events, void *ctx, struct log **out,
                     struct error *err)
{
    ASSERT(events->synced != NULL && events->failed != NULL);
    struct log *l = log_new(loop, dir, store_id, limits, events, ctx);
    struct log_recovered rec = {0};
    uint64_t free_bytes;
    enum status st = log_recover(l, &rec, err);
    if (st == ST_OK) st = take_place(l, &rec, err);
    if (st == ST_OK) {
        l->first_needed = l->first_number;
        st = write_boot(l, rec.changed, err);
    }
    if (st != ST_OK) {
        l->failed = true;
        log_close(l);
        return error_prefix(err, st, "log '%s': ", dir);
    }
    l->writer = env_worker_new(l->env, "log", 1);
    l->files = env_worker_new(l->env, "log-files", 1);
    l->readers = env_worker_new(l->env, "log-read", 2);
    if (env_disk_free(l->env, dir, &free_bytes, NULL) == ST_OK) log_space_check(l, free_bytes);
    log_kick(l);
    log_files_work(l);
    diag(DIAG_INFO, "log.open dir=%s boot=%" PRIu64 " segments=%zu replicas=%zu changed=%" PRIu32 " end=%" PRIx64, dir,
         l->boot, l->segment_count, l->replicas.count, rec.changed, rec.end);
    *out = l;
    return ST_OK;
}

static void free_files(struct log *l)
{
    for (size_t i = 0; i < l->segment_count; i++) log_segment_free(l->segments[i]);
    for (struct link *k; (k = list_pop_front(&l->leaving)) != NULL;)
        log_segment_free(CONTAINER_OF(k, struct log_segment, link));
    log_segment_free(l->next);
    log_segment_free(l->pool);
    log_segment_free(l->file_job.recycled);
    env_file_close(l->file_job.file);
    l->file_job.recycled = l->next = l->pool = NULL;
    l->file_job.file = NULL;
    mem_free(l->segments);
    l->segments = NULL;
    l->segment_count = 0;
}

void log_maybe_free(struct log *l)
{
    if (!l->closed || l->jobs != 0 || l->start_pending || l->fail_pending) return;
    buf_deinit(&l->reclaim.batches);
    mem_free(l->dir);
    mem_free(l);
}

void log_close(struct log *l)
{
    if (l == NULL) return;
    ASSERT(!l->closed);
    env_timer_stop(&l->idle);
    env_timer_stop(&l->tick);
    struct log_batch *mark = mark_new(l);
    l->closed = true;
    env_worker_free(l->writer);
    env_worker_free(l->files);
    env_worker_free(l->readers);
    if (mark != NULL) {
        log_batch_write(mark); /* if it fails, the next opening knows less */
        batch_free(mark);
    }
    log_reads_stop(l, ST_STOPPED);
    uint64_t id;
    void *r;
    for (size_t i = 0; map_each(&l->replicas, &i, &id, &r);) replica_free(l, r);
    map_deinit(&l->replicas);
    if (l->unknown != NULL) replica_free(l, l->unknown);
    batch_free(l->open);
    for (struct link *k; (k = list_pop_front(&l->queue)) != NULL;) batch_free(CONTAINER_OF(k, struct log_batch, link));
    for (struct link *k; (k = list_pop_front(&l->pool_batches)) != NULL;)
        batch_free(CONTAINER_OF(k, struct log_batch, link));
    free_files(l);
    log_maybe_free(l);
}
