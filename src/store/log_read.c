/* log_read.c - entries read back, on a worker or at once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A read notes where its entries lie and holds a count on their segments, so that nothing that happens to the log
 * meanwhile (a cut, reclaiming) takes the bytes away. One that wants what is not durable yet waits for that. */
#include <inttypes.h>

#include "base/diag.h"
#include "base/mem.h"
#include "store/log_internal.h"

struct item {
    struct log_segment *segment;
    const uint8_t *memory; /* not NULL: it is not written yet, and is taken from its batch */
    uint64_t offset, term;
    uint32_t size;
};

struct read {
    struct env_job job;
    struct link link; /* in log.reads: waits */
    struct log *log;
    struct log_read *request;
    uint64_t wait_for;
    uint64_t nonce;
    uint8_t store_id[16];
    bool ran;
    enum status status;
    struct error err;
    struct entry **entries;
    size_t count; /* of items; of entries when it went well */
    struct item items[];
};

static struct read *read_new(struct log *l, struct log_read *q)
{
    struct replica *r = log_find(l, q->replica_id);
    size_t n = 0;
    uint64_t bytes = 0, first = 0;
    if (r != NULL && q->lo > r->view.base_index && q->lo <= r->view.last_index) {
        uint64_t hi = MIN(q->hi, r->view.last_index + 1);
        first = r->start + (q->lo - r->view.base_index - 1);
        for (; q->lo + n < hi; n++) {
            bytes += r->size[first + n] - LOG_RECORD;
            if (n > 0 && bytes > q->bytes_max) break;
        }
    }
    struct read *rd = mem_alloc(sizeof *rd + n * sizeof rd->items[0]);
    *rd = (struct read){.log = l, .request = q, .nonce = l->nonce, .count = n};
    memcpy(rd->store_id, l->store_id, 16);
    rd->status = n != 0 ? ST_OK : ST_NOT_FOUND;
    for (size_t i = 0; i < n; i++) {
        uint64_t pos = r->pos[first + i];
        struct item *it = &rd->items[i];
        it->memory = NULL;
        it->segment = log_segment_at(l, log_pos_segment(pos));
        it->offset = log_pos_offset(pos);
        it->size = r->size[first + i];
        it->term = log_term_at(r, q->lo + i);
        it->segment->refs++;
        rd->wait_for = MAX(rd->wait_for, pos + it->size);
    }
    q->entries = NULL;
    q->count = 0;
    q->impl = rd;
    return rd;
}

static enum status decode_one(struct read *rd, size_t at, const uint8_t *p)
{
    const struct item *it = &rd->items[at];
    struct log_record r;
    uint32_t seed = log_record_seed(log_seed(rd->store_id, it->segment->number), rd->nonce);
    uint64_t index = rd->request->lo + at;
    if (log_record_decode(p, it->size, seed, &r) != LOG_VALID || r.type != LOG_ENTRY || r.index != index ||
        r.term != it->term || r.replica_id != rd->request->replica_id)
        return error_set(&rd->err, ST_CORRUPT,
                         "entry %" PRIu64 " of replica %" PRIu64 " in segment %" PRIu64 " at %" PRIu64, index,
                         rd->request->replica_id, it->segment->number, it->offset);
    rd->entries[at] = entry_new(r.kind, r.index, r.term, r.ts, r.data);
    return ST_OK;
}

static struct entry *from_memory(const uint8_t *p)
{
    struct log_record r;
    log_record_peek(p, &r);
    return entry_new(r.kind, r.index, r.term, r.ts, r.data);
}

static void read_run(struct env_job *job)
{
    struct read *rd = CONTAINER_OF(job, struct read, job);
    struct buf run = {0};
    rd->ran = true;
    rd->entries = mem_zalloc(rd->count * sizeof(struct entry *));
    for (size_t i = 0; i < rd->count && rd->status == ST_OK;) {
        const struct item *first = &rd->items[i];
        if (first->memory != NULL) {
            rd->entries[i++] = from_memory(first->memory);
            continue;
        }
        size_t n = 1;
        uint64_t end = first->offset + first->size;
        for (; i + n < rd->count; n++) { /* what lies near is read together */
            const struct item *it = &rd->items[i + n];
            if (it->memory != NULL || it->segment != first->segment || it->offset < end ||
                it->offset - end > LOG_READ_GAP)
                break;
            if (it->offset + it->size - first->offset > LOG_READ_RUN) break;
            end = it->offset + it->size;
        }
        buf_clear(&run);
        uint8_t *p = buf_extend(&run, (size_t)(end - first->offset));
        rd->status = env_file_read(first->segment->file, first->offset, p, run.n, &rd->err);
        if (rd->status != ST_OK && n > 1) { /* what lies between may be bad and concern others */
            n = 1;
            rd->status = env_file_read(first->segment->file, first->offset, p, first->size, &rd->err);
        }
        for (size_t k = 0; k < n && rd->status == ST_OK; k++)
            rd->status = decode_one(rd, i + k, p + (rd->items[i + k].offset - first->offset));
        i += n;
    }
    buf_deinit(&run);
}

/* Gives the result to the request. The read is gone then. */
static void read_end(struct read *rd, bool log_lives)
{
    struct log_read *q = rd->request;
    for (size_t i = 0; log_lives && i < rd->count; i++) log_segment_unref(rd->log, rd->items[i].segment);
    q->status = rd->status;
    q->impl = NULL;
    if (rd->status == ST_OK) {
        q->entries = rd->entries;
        q->count = rd->count;
    } else {
        for (size_t i = 0; rd->entries != NULL && i < rd->count; i++) entry_unref(rd->entries[i]);
        mem_free(rd->entries);
        if (rd->status == ST_CORRUPT || rd->status == ST_IO) diag(DIAG_ERROR, "log.read error=\"%s\"", rd->err.text);
    }
    mem_free(rd);
}

static void read_done(struct env_job *job)
{
    struct read *rd = CONTAINER_OF(job, struct read, job);
    struct log *l = rd->log;
    struct log_read *q = rd->request;
    if (!rd->ran && rd->status == ST_OK) rd->status = ST_STOPPED;
    read_end(rd, !l->closed);
    l->jobs--;
    bool closed = l->closed;
    if (closed) log_maybe_free(l);
    q->done(q);
}

static void read_answer(struct env_job *job) { CONTAINER_OF(job, struct read, job)->ran = true; }

static void read_submit(struct log *l, struct read *rd)
{
    rd->job.run = rd->status == ST_OK ? read_run : read_answer;
    rd->job.done = read_done;
    l->jobs++;
    env_worker_submit(l->readers, l->loop, &rd->job);
}

void log_read(struct log *l, struct log_read *q)
{
    ASSERT(q->done != NULL && !l->closed);
    struct read *rd = read_new(l, q);
    if (l->failed && rd->wait_for > l->synced) {
        rd->status = ST_IO;
        error_set(&rd->err, ST_IO, "the log has failed");
    }
    if (rd->status == ST_OK && rd->wait_for > l->synced) list_push_back(&l->reads, &rd->link);
    else read_submit(l, rd);
}

enum status log_read_now(struct log *l, struct log_read *q, struct error *err)
{
    struct read *rd = read_new(l, q);
    if (rd->status == ST_NOT_FOUND) error_set(&rd->err, ST_NOT_FOUND, "entry %" PRIu64 " is not in the log", q->lo);
    for (size_t i = 0; rd->status == ST_OK && rd->wait_for > l->synced && i < rd->count; i++) {
        struct item *it = &rd->items[i];
        uint64_t pos = log_pos(it->segment->number, it->offset);
        if (pos + it->size <= l->synced) continue;
        it->memory = log_unwritten(l, pos);
        if (it->memory == NULL) rd->status = error_set(&rd->err, ST_IO, "the log has failed");
    }
    if (rd->status == ST_OK) read_run(&rd->job);
    enum status st = rd->status;
    if (st != ST_OK) error_set(err, st, "%s", rd->err.text);
    read_end(rd, true);
    return st;
}

void log_read_release(struct log_read *q)
{
    for (size_t i = 0; i < q->count; i++) entry_unref(q->entries[i]);
    mem_free(q->entries);
    q->entries = NULL;
    q->count = 0;
}

void log_reads_wake(struct log *l)
{
    for (struct link *k = list_first(&l->reads), *next; k != NULL; k = next) {
        struct read *rd = CONTAINER_OF(k, struct read, link);
        next = list_next(&l->reads, k);
        if (rd->wait_for > l->synced) continue;
        link_remove(k);
        read_submit(l, rd);
    }
}

void log_reads_stop(struct log *l, enum status st)
{
    struct list waiting;
    list_init(&waiting);
    for (struct link *k; (k = list_pop_front(&l->reads)) != NULL;) list_push_back(&waiting, k);
    for (struct link *k; (k = list_pop_front(&waiting)) != NULL;) {
        struct read *rd = CONTAINER_OF(k, struct read, link);
        struct log_read *q = rd->request;
        rd->status = error_set(&rd->err, st, "the log %s", st == ST_STOPPED ? "was closed" : "has failed");
        read_end(rd, true);
        q->done(q);
    }
}
