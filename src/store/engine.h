/* engine.h - ordered rows on disk, behind one header: RocksDB (engine_rocks.c), or the simulator's twin
 * (engine_twin.c). SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    keeps the applied state of a store's replicas. It has no log of its own: after a crash it is as of its
 * last flush, all rows of one moment together, and the store's log replays the rest. Which one:  env->simulated picks
 * the twin. Both pass engine_test.c. Blocking:   ENGINE_MEMORY reads answer ST_NOT_READY instead of reading the disk,
 * so a loop may call them. ENGINE_DISK reads and all of "whole-range work" block: workers only. engine_write never
 * stalls: ST_BUSY instead. Threading:  every function may be called from any thread, but one writer at a time (the
 * store's shard). The twin is simulated, where there is one thread. Errors:     ST_CORRUPT, ST_IO and ST_DISK_FULL
 * carry the engine's text. After one of them from a write the store must stop. */
#ifndef CAIRN_STORE_ENGINE_H
#define CAIRN_STORE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "env/env.h"

struct engine;
struct engine_batch;
struct engine_iter;
struct engine_snapshot;

struct engine_options {
    uint64_t cache_bytes;        /* block cache; indexes and filters are charged to it */
    uint64_t write_buffer_bytes; /* one memtable; at most three hold rows */
    uint64_t seed;               /* the twin's troubles: refusals, flushes, cold rows; 0: none of them */
};

enum status engine_open(struct env *env, const char *dir, const struct engine_options *options, struct engine **out,
                        struct error *err);
void engine_close(struct engine *e); /* does not flush on purpose; NULL is fine */

enum engine_read { ENGINE_MEMORY, ENGINE_DISK };

/* A value that the engine lends; release it soon, and before the engine is closed. */
struct engine_value {
    struct bytes bytes;
    struct engine *owner; /* internal, as impl */
    void *impl;
};
enum status engine_get(struct engine *e, struct bytes key, enum engine_read mode, struct engine_value *out,
                       struct error *err); /* ST_OK, ST_NOT_FOUND, ST_NOT_READY, ST_CORRUPT, ST_IO */
void engine_value_release(struct engine_value *v);

/* Rows of [lo, hi), in order or reversed, as of the snapshot (NULL: now). An empty hi means to the end. Not positioned
 * when new. Blocks read with ENGINE_DISK stay in the cache, but not those read through a snapshot: that is bulk work.
 */
struct engine_iter *engine_iter_new(struct engine *e, const struct engine_snapshot *s, struct bytes lo, struct bytes hi,
                                    enum engine_read mode);
void engine_iter_first(struct engine_iter *it);
void engine_iter_last(struct engine_iter *it);
void engine_iter_seek(struct engine_iter *it, struct bytes key);      /* first row at or after */
void engine_iter_seek_prev(struct engine_iter *it, struct bytes key); /* last row at or before */
void engine_iter_next(struct engine_iter *it);
void engine_iter_prev(struct engine_iter *it);
bool engine_iter_valid(const struct engine_iter *it);
enum status engine_iter_status(const struct engine_iter *it, struct error *err); /* ST_NOT_READY, ST_CORRUPT, … */
struct bytes engine_iter_key(const struct engine_iter *it);                      /* until the next move */
struct bytes engine_iter_value(const struct engine_iter *it);                    /* until the next move */
void engine_iter_free(struct engine_iter *it);

struct engine_snapshot *engine_snapshot_take(struct engine *e);
void engine_snapshot_release(struct engine *e, struct engine_snapshot *s);

struct engine_batch *engine_batch_new(void);
void engine_batch_free(struct engine_batch *b);
void engine_batch_clear(struct engine_batch *b);
void engine_batch_put(struct engine_batch *b, struct bytes key, struct bytes value);
void engine_batch_delete(struct engine_batch *b, struct bytes key);
void engine_batch_delete_range(struct engine_batch *b, struct bytes lo, struct bytes hi); /* [lo, hi) */
size_t engine_batch_count(const struct engine_batch *b);
/* All of it or nothing. ST_BUSY: it would have to wait for compaction; nothing was written; try again later. */
enum status engine_write(struct engine *e, struct engine_batch *b, struct error *err);

/* The row as of the last flush, that is, what a crash now would leave. Reads the disk. */
enum status engine_get_durable(struct engine *e, struct bytes key, struct engine_value *out, struct error *err);
uint64_t engine_unflushed_bytes(const struct engine *e); /* memory that a flush would free; 0: nothing to flush */

/* ---- whole-range work: on workers ---- */
enum status engine_flush(struct engine *e, struct error *err); /* all that was written before is durable on return */
/* Drops whole files inside [lo, hi), then one range tombstone, then flushes. Until it has returned ST_OK any of the
 * rows may be gone or be back, also for snapshots, and after a crash: nobody may read the range any more; it is to be
 * repeated. */
enum status engine_drop_range(struct engine *e, struct bytes lo, struct bytes hi, struct error *err);
enum status engine_checkpoint(struct engine *e, const char *dir, struct error *err); /* dir must not exist */
/* A hash over the rows of [lo, hi) as of the snapshot, and their count; `skip` (may be NULL) leaves rows out, e.g.
 * history_skip. The same rows give the same hash in every engine. */
enum status engine_checksum(struct engine *e, const struct engine_snapshot *s, struct bytes lo, struct bytes hi,
                            bool (*skip)(void *ctx, struct bytes key, struct bytes value), void *ctx,
                            uint64_t *out_hash, uint64_t *out_rows, struct error *err);

/* Installing a snapshot: rows come in rising key order into a file beside the engine, which one call then takes in,
 * with a range tombstone below it, all or nothing and durable. */
struct engine_ingest;
enum status engine_ingest_new(struct engine *e, struct engine_ingest **out, struct error *err);
enum status engine_ingest_add(struct engine_ingest *g, struct bytes key, struct bytes value, struct error *err);
/* Replaces all rows of [lo, hi) by those added (which may also lie outside of it: the applied row). Frees g, also on
 * error, and then nothing is changed. Flushes first; engine_write is refused (ST_BUSY) while the file is taken in. */
enum status engine_ingest_finish(struct engine_ingest *g, struct bytes lo, struct bytes hi, struct error *err);
void engine_ingest_abort(struct engine_ingest *g); /* removes the file; frees g; NULL is fine */

struct engine_stats {
    uint64_t memory_bytes, disk_bytes, rows_estimate, compactions_running;
    uint64_t flushes; /* asked for by a caller; the engine also flushes by itself, uncounted */
    bool write_stopped;
};
void engine_stats(struct engine *e, struct engine_stats *out);

#endif
