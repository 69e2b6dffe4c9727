/* log_reclaim.c - keeps the log within its bound: what is needed of the oldest segment is written again at the head.
 * SPDX-License-Identifier: Apache-2.0
 *
 * IDLE -> STATES: replica records, so that no mark in the oldest segment is needed.
 *      -> ENTRIES: one batch of it after the other is read; entries that the index still points at are copied.
 *      -> LAST: compactions not written yet, and a batch that says that the log begins with the next segment is made
 * durable; then the segment leaves. Every step waits until what the one before it wrote is durable, so reclaiming never
 * crowds out what is appended. */
#include <inttypes.h>

#include "base/diag.h"
#include "base/mem.h"
#include "store/log_internal.h"

static void overfull(struct log *l, bool is)
{
    if (l->stats.overfull == is) return;
    l->stats.overfull = is;
    diag(is ? DIAG_WARN : DIAG_INFO, "log.overfull dir=%s is=%d needed=%" PRIu64 " bytes=%" PRIu64 " max=%" PRIu64,
         l->dir, is, l->stats.needed_bytes, log_total_bytes(l), l->limits.bytes_max);
}

/* Going round must end: what is copied will come to the front again. So a segment that is mostly garbage is always
 * taken, another one only if, since the last time round, a quarter of the log was newly written or became garbage. A
 * segment full of needed entries does not hold up the garbage behind it. */
static bool worth_it(struct log *l)
{
    const struct log_segment *s = l->segments[0];
    uint64_t total = log_total_bytes(l);
    overfull(l, l->stats.needed_bytes >= l->limits.bytes_max / 4 * 3);
    if (total <= l->limits.bytes_max || l->segment_count < 2 || s == NULL) return false;
    if (s->stuck_live != 0 && s->live_bytes >= s->stuck_live) return false;
    if (s->live_bytes <= s->bytes / 4 || s->number < l->round_end) return true;
    if (l->progress - l->round_progress < total / 4) return false;
    l->round_end = l->gather_number;
    l->round_progress = l->progress;
    return true;
}

/* Reads whole batches, many at once: so copies are packed, however small the batches were. */
static void read_run(struct env_job *job)
{
    struct log_reclaim *rc = CONTAINER_OF(job, struct log_reclaim, job);
    struct log *l = rc->log; /* store_id and nonce never change */
    struct log_batch_header h;
    struct log_scan sc;
    log_scan_init(&sc, l->store_id, rc->victim, l->nonce);
    buf_clear(&rc->batches);
    while (rc->batches.n < LOG_RECLAIM_BYTES && log_scan_next(&sc, &rc->offset, &h) != NULL) {
        if (h.bytes <= sc.bytes - rc->offset) buf_put(&rc->batches, log_scan_get(&sc, rc->offset, h.bytes), h.bytes);
        rc->offset += h.bytes;
    }
    log_scan_deinit(&sc);
}

static void copy_entry(struct log *l, const struct log_record *rec, uint64_t pos)
{
    struct replica *r = rec->type == LOG_ENTRY ? log_find(l, rec->replica_id) : NULL;
    if (r == NULL || rec->index <= r->view.base_index || rec->index > r->view.last_index) return;
    if (r->pos[r->start + (rec->index - r->view.base_index - 1)] != pos) return;
    struct log_record copy = *rec;
    copy.flags |= LOG_RECORD_COPY;
    log_index_move(l, r, rec->index, log_put(l, r, &copy, LOG_SUMMARY_COPIES, r->view.last_index));
    l->stats.rewritten_bytes += log_record_size(rec->data.n);
}

static void copy_batches(struct log *l, struct log_reclaim *rc)
{
    uint32_t seed = log_record_seed(log_seed(l->store_id, rc->victim->number), l->nonce);
    struct log_batch_header h;
    struct log_record r;
    for (size_t start = 0; start < rc->batches.n; start += h.bytes) {
        const uint8_t *batch = rc->batches.p + start;
        if (!log_batch_header_peek(batch, &h)) return; /* it was checked on the worker */
        for (uint32_t at = h.header_bytes, end = at + h.payload_bytes; at < end;) {
            enum log_check check = log_record_decode(batch + at, end - at, seed, &r);
            if (check == LOG_VALID) copy_entry(l, &r, h.position + at);
            at += check == LOG_BAD_HEADER ? 8 : (uint32_t)log_record_size(r.data.n);
        }
    }
}

static void read_done(struct env_job *job)
{
    struct log_reclaim *rc = CONTAINER_OF(job, struct log_reclaim, job);
    struct log *l = rc->log;
    l->jobs--;
    rc->reading = false;
    if (l->closed) {
        log_maybe_free(l);
        return;
    }
    if (l->failed) return;
    if (rc->batches.n != 0) {
        copy_batches(l, rc);
        rc->wait_for = log_position(l);
    } else { /* the end, and still something is needed: it can't be read, so its segment has to stay */
        struct log_segment *s = rc->victim;
        s->stuck_live = s->live_bytes;
        l->stats.records_damaged++;
        diag(DIAG_ERROR,
             "log.damage dir=%s segment=%" PRIu64 " bytes=%" PRIu64 " reason=\"needed entries can't be read\"", l->dir,
             s->number, s->live_bytes);
        rc->phase = LOG_RECLAIM_IDLE;
        log_segment_unref(l, s);
    }
    log_reclaim_step(l);
}

static void step_states(struct log *l, struct log_reclaim *rc)
{
    unsigned n = 0;
    struct link *k;
    for (; n < LOG_STATES_PER_STEP && (k = list_first(&l->by_state)) != NULL; n++) {
        struct replica *r = CONTAINER_OF(k, struct replica, by_state);
        if (r->state_segment > rc->victim->number) break;
        log_put_state(l, r, true);
        l->stats.rewritten_bytes += log_record_size(LOG_STATE);
    }
    if (n < LOG_STATES_PER_STEP) rc->phase = LOG_RECLAIM_ENTRIES;
    else rc->wait_for = log_position(l);
}

static void step_entries(struct log *l, struct log_reclaim *rc)
{
    if (rc->victim->live_bytes == 0) {
        struct link *k;
        for (unsigned n = 0; (k = list_first(&l->unwritten)) != NULL; n++) { /* why entries in it are not needed */
            if (n == LOG_STATES_PER_STEP) {
                rc->wait_for = log_position(l);
                return;
            }
            log_put_compact(l, CONTAINER_OF(k, struct replica, unwritten));
        }
        rc->phase = LOG_RECLAIM_LAST;
        l->first_needed = rc->victim->number + 1;
        while (log_segment_at(l, l->first_needed) == NULL) l->first_needed++; /* missing ones */
        log_batch_needed(l);
        rc->wait_for = l->open->header.position + l->open->buf.n;
        return;
    }
    rc->reading = true;
    rc->job.run = read_run;
    rc->job.done = read_done;
    l->jobs++;
    env_worker_submit(l->readers, l->loop, &rc->job);
}

void log_reclaim_step(struct log *l)
{
    struct log_reclaim *rc = &l->reclaim;
    while (!l->closed && !l->failed && !rc->reading && !l->booting) {
        if (rc->phase == LOG_RECLAIM_IDLE) {
            if (!worth_it(l)) return;
            struct log_segment *s = l->segments[0];
            if (log_pos(s->number + 1, 0) > l->synced) return; /* not all of it is durable */
            *rc = (struct log_reclaim){
                .phase = LOG_RECLAIM_STATES, .victim = s, .offset = LOG_PAGE, .log = l, .batches = rc->batches};
            s->refs++;
            continue;
        }
        if (rc->wait_for > l->synced) return;
        if (rc->phase == LOG_RECLAIM_STATES) {
            step_states(l, rc);
        } else if (rc->phase == LOG_RECLAIM_ENTRIES) {
            step_entries(l, rc);
        } else {
            rc->phase = LOG_RECLAIM_IDLE;
            struct log_segment *s = rc->victim;
            log_segment_retire_first(l);
            log_segment_unref(l, s);
        }
    }
}
