/* rows.h - the bounded table of a store's newest rows, in front of the engine.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    serves reads and apply from memory; writes go into it and reach the engine in batches
 * (rows_flush). It remembers absent rows too, so that a new key costs no engine read. Bound:      limits on bytes;
 * clean rows are cut to their front, then evicted, by CLOCK, those put as cold first; dirty ones stay until flushed.
 * rows_full says that apply has to pause because the engine refuses writes. Order:      a batch holds whole entries only: the caller puts all rows of an entry, applied
 * row included, between two calls of rows_flush. Nothing else writes to the engine: rows_scan merges what is dirty, and
 * never flushes, as it may be called in the middle of an entry. Cost:       a get or put is a look-up in a hash table
 * that grows by one bucket at a time and evicts a bounded number of rows at a time, so none is long. rows_delete_range
 * and rows_forget look at every row: they are rare. Errors:     what a fetch meets (ST_CORRUPT, ST_IO) is what the next
 * rows_get of the key, or rows_scan of the range, returns. Threading:  the store's shard. */
#ifndef CAIRN_STORE_ROWS_H
#define CAIRN_STORE_ROWS_H

#include "store/engine.h"

struct rows;

/* Bounds on what is under way; beyond them ST_OVERLOADED. */
#define ROWS_FETCHES_MAX 256  /* keys and ranges being read by workers */
#define ROWS_WAITERS_MAX 8192 /* calls of rows_fetch whose done has not run */
/* What stays of a value that was cut to save memory; one of ROWS_WHOLE_BYTES or less is never cut. */
#define ROWS_FRONT_BYTES 24
#define ROWS_WHOLE_BYTES 64

/* Starts two worker threads for fetches. The engine must stay open until rows_free has returned. */
struct rows *rows_new(struct env_loop *loop, struct engine *e, uint64_t bytes_max, uint64_t dirty_bytes_max);
/* What is dirty is forgotten. Waits for reads under way; no done runs any more. Some memory goes when the loop has run
 * once more. NULL is fine. */
void rows_free(struct rows *r);

/* before_flush runs before each engine batch is made, so that the owner can put the rows that have to be in the same
 * batch as what it wrote: the applied row. It may call rows_put and rows_delete only. */
void rows_set_before_flush(struct rows *r, void (*before_flush)(void *ctx), void *ctx);

/* ST_OK (borrowed until the next call on r), ST_NOT_FOUND, ST_NOT_READY (then fetch), ST_CORRUPT, ST_IO. */
enum status rows_get(struct rows *r, struct bytes key, struct bytes *out);
/* As rows_get, but a value of more than ROWS_WHOLE_BYTES may be cut to its first ROWS_FRONT_BYTES. Where memory is short, a row is cut before it is
 * evicted: a write that needs to know only what is there costs no engine read then. */
enum status rows_get_front(struct rows *r, struct bytes key, struct bytes *out);
void rows_put(struct rows *r, struct bytes key, struct bytes value);
/* As rows_put, for a row that is not expected to be read soon (a follower's): it is among the first to be cut. */
void rows_put_cold(struct rows *r, struct bytes key, struct bytes value);
void rows_delete(struct rows *r, struct bytes key);
/* [lo, hi), in order with the puts and deletes around it; also forgets rows held in memory. */
void rows_delete_range(struct rows *r, struct bytes lo, struct bytes hi);

/* Writes rows to the engine at once, past the table: large ones that nobody sees before a row that is put later names them,
 * and which are written again if that did not become durable. No other call on r between begin and end. A row of the key
 * that is in the table may not be dirty, and leaves it. ST_BUSY: refused, nothing was written. */
void rows_through_begin(struct rows *r);
void rows_through_put(struct rows *r, struct bytes key, struct bytes value);
enum status rows_through_end(struct rows *r, struct error *err);

/* Fetches the row on a worker into the table; done runs on the loop, always later, once. Fetches of one key share a
 * read. A row that was put, deleted or forgotten meanwhile stays so. ST_OK, or ST_OVERLOADED at once (done does not
 * run). */
enum status rows_fetch(struct rows *r, struct bytes key, void (*done)(void *ctx), void *ctx);
/* Reads the rows of [lo, hi) on a worker so that the engine has their blocks in memory; at most bytes_max of them. */
enum status rows_fetch_range(struct rows *r, struct bytes lo, struct bytes hi, uint64_t bytes_max,
                             void (*done)(void *ctx), void *ctx);

/* Scans [lo, hi) (dirty rows included; an empty hi: to the end), calls each(ctx, key, value) until it returns false;
 * each must not call r. ST_NOT_READY when blocks are not in memory: some calls may have been made. `reverse` goes from
 * hi down. */
enum status rows_scan(struct rows *r, struct bytes lo, struct bytes hi, bool reverse,
                      bool (*each)(void *ctx, struct bytes key, struct bytes value), void *ctx);

/* Writes the dirty rows to the engine. ST_BUSY: refused, they stay dirty; call again later. */
enum status rows_flush(struct rows *r, struct error *err);
bool rows_dirty(const struct rows *r);
bool rows_full(const struct rows *r);
/* Forgets clean rows of [lo, hi) after the engine was changed below (ingest, drop). No dirty ones may be there. */
void rows_forget(struct rows *r, struct bytes lo, struct bytes hi);

struct rows_stats {
    uint64_t bytes, dirty_bytes, count, dirty; /* bytes with all overhead; count with absent rows; dirty: of these */
    uint64_t hits, misses, fetches, cuts, evictions;
};
void rows_stats(const struct rows *r, struct rows_stats *out);

#endif
