/* log.h - the one log of a store: entries, votes and marks of all its replicas, durable in order.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    everything appended during a turn of the loop becomes one batch: one write and one fdatasync on the log's
 *             worker, while the next batch gathers. log_synced says how far it is durable.
 * Format:     docs/log-format.md. Segment files `NNNNNNNNNNNNNNNN.seg` in the directory given.
 * Damage:     a batch's header names the last position known synced before it; unreadable bytes up to there are damage,
 *             beyond it a torn batch. Damage is never cut away silently: the replicas whose records may be gone come
 * back as `suspect` (and `damaged`), with their entries up to the first one missing (CTRL, FAST '18). Replicas of which
 * nothing is left can't be named: then log_replica(l, 0) is not NULL, and whoever knows of a replica that the log does
 * not know (the engine has it, say) must take it for suspect, and then clear 0. Space:      when the segments exceed
 * limits.bytes_max the oldest is reclaimed: votes, marks and the entries still needed from it are appended again at the
 * head. limits.reserve_bytes are kept for that when the disk is full. Errors:     a failed write or sync is final:
 * on_failed runs once, at the end of the turn, nothing is reported synced any more, and log_position is beyond every
 * position that ever will be. A write that finds no space has not failed: it is tried again (log_full). Threading:  the
 * store's shard. Workers touch only the batch they were given. */
#ifndef CAIRN_STORE_LOG_H
#define CAIRN_STORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hlc.h"
#include "base/status.h"
#include "consensus/entry.h"
#include "env/env.h"

struct log;

struct log_limits {
    uint64_t segment_bytes;       /* of all but the first */
    uint64_t first_segment_bytes; /* small: a node starts fast */
    uint64_t bytes_max;           /* of all segments: reclaim beyond. At least 4 segments */
    uint64_t batch_bytes_max;     /* one write */
    uint64_t reserve_bytes;       /* free disk below which log_full is true */
};

struct log_events {
    /* All that was appended up to `position` is durable. */
    void (*synced)(void *ctx, uint64_t position);
    /* The disk failed; text says how. The store must stop. */
    void (*failed)(void *ctx, enum status st, const char *text);
};

/* What the log holds of one replica. */
struct log_replica {
    uint64_t replica_id;
    uint64_t term, vote;
    uint64_t base_index, base_term; /* the entry before the first one kept */
    uint64_t last_index, last_term; /* base_* when empty */
    bool suspect;                   /* found at opening: records may be missing (torn last batch, or damage) */
    bool damaged;                   /* … and it is damage before the last synced position */
    uint64_t claimed_index;         /* … how far the log itself says that the entries reached (0: it does not say) */
};

/* Opens or creates the log in dir (which exists), recovers it, and takes up appending. store_id is checked against the
 * segments: ST_DENIED for a foreign one, ST_VERSION for a future format. Blocking; for start-up. */
enum status log_open(struct env_loop *loop, const char *dir, const uint8_t store_id[16],
                     const struct log_limits *limits, const struct log_events *events, void *ctx, struct log **out,
                     struct error *err);
/* Stops the workers (waits for a batch under way), closes files. What was not synced may be lost. Reads that wait end
 * with ST_STOPPED, those at a worker when the loop turns next; so does the memory. May be called from an event. NULL is
 * fine. */
void log_close(struct log *l);

/* NULL: nothing known. Valid until the replica is dropped (replica 0: cleared). */
const struct log_replica *log_replica(const struct log *l, uint64_t replica_id);
bool log_each_replica(const struct log *l, size_t *at, const struct log_replica **out); /* like map_each; without 0 */

/* Appends consecutive entries; the first may replace a suffix. They are copied. A replica that the log does not know
 * begins at index 1, or with log_reset. */
void log_append(struct log *l, uint64_t replica_id, struct entry *const *entries, size_t count);
void log_set_vote(struct log *l, uint64_t replica_id, uint64_t term, uint64_t vote);
/* A snapshot was installed: the replica's entries are void; its log goes on after (index, term). */
void log_reset(struct log *l, uint64_t replica_id, uint64_t index, uint64_t term);
/* Entries up to index are applied and flushed in the engine and needed by nobody. Cheap; written lazily. */
void log_compact(struct log *l, uint64_t replica_id, uint64_t index);
void log_clear_suspect(struct log *l, uint64_t replica_id);
/* The replica is known elsewhere, and not here although records of unknown replicas are gone: it is suspect from now on. */
void log_mark_suspect(struct log *l, uint64_t replica_id, bool damaged);
/* Where the first damage lies that was found at opening, for people ("segment 3, offset 8192: …"); "" for none. */
const char *log_damage(const struct log *l);
void log_drop(struct log *l, uint64_t replica_id); /* the replica is gone; forgets all of it, for ever */
/* The HLC bound of the store (liveness.h), and how often it was opened (log_open counts and writes it). */
void log_set_bound(struct log *l, hlc_t bound);
hlc_t log_bound(const struct log *l);
uint64_t log_boot_count(const struct log *l);

/* The position after all that was appended so far; events.synced passes it. Batches start by themselves at the end of
 * the turn (env_defer). */
uint64_t log_position(const struct log *l);
uint64_t log_synced(const struct log *l);
/* When the batch under way was handed to the disk (0: none): a stall detector compares it with now. */
uint64_t log_sync_started_ns(const struct log *l);
bool log_full(const struct log *l); /* the disk's free space is below the reserve, or a write said so */

/* Reads entries lo … hi-1 (fewer if bytes_max is reached, at least one; none if lo is not kept any more) on a worker.
 * The request is the caller's and must live until done has run; entries are references that pass to the caller. */
struct log_read {
    uint64_t replica_id, lo, hi;
    uint32_t bytes_max;
    void (*done)(struct log_read *r);
    enum status status; /* ST_OK, ST_NOT_FOUND (compacted), ST_CORRUPT, ST_IO */
    struct entry **entries;
    size_t count;
    void *impl;
};
void log_read(struct log *l, struct log_read *q);
void log_read_release(struct log_read *q); /* unrefs the entries that were not taken (set those to NULL) */
/* The same at once, blocking, for start-up replay; sees what is not durable yet, too. */
enum status log_read_now(struct log *l, struct log_read *q, struct error *err);

struct log_stats {
    uint64_t segments, bytes, batches, synced_bytes, sync_ns_last, sync_ns_total, rewritten_bytes;
    uint64_t records_damaged, batches_torn;
    uint64_t needed_bytes; /* of records of entries that are not compacted */
    bool overfull;         /* they alone come near bytes_max: reclaiming can't help, a snapshot or a flush can */
};
void log_stats(const struct log *l, struct log_stats *out);

#endif
