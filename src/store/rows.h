/* rows.h - the bounded table of a store's newest rows, in front of the engine.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    serves reads and apply from memory; writes go into it and reach the engine in one batch a turn (rows_flush).
 *             It remembers absent rows too, so that a new key costs no engine read.
 * Bound:      limits on bytes; clean rows are evicted by CLOCK, dirty ones stay until flushed. rows_full says that apply
 *             has to pause because the engine refuses writes.
 * Order:      a batch holds whole entries only: the caller puts all rows of an entry, applied row included, in one turn.
 * Threading:  the store's shard. */
#ifndef CAIRN_STORE_ROWS_H
#define CAIRN_STORE_ROWS_H

#include "store/engine.h"

struct rows;

struct rows *rows_new(struct env_loop *loop, struct engine *e, uint64_t bytes_max, uint64_t dirty_bytes_max);
void rows_free(struct rows *r);

/* before_flush runs before each engine batch is made (also the one that rows_scan makes), so that the owner can put the
 * rows that have to be in the same batch as what it wrote: the applied row. It may call rows_put and rows_delete only. */
void rows_set_before_flush(struct rows *r, void (*before_flush)(void *ctx), void *ctx);

/* ST_OK (borrowed until the next call on r), ST_NOT_FOUND, ST_NOT_READY (then prefetch). */
enum status rows_get(struct rows *r, struct bytes key, struct bytes *out);
void rows_put(struct rows *r, struct bytes key, struct bytes value);
void rows_delete(struct rows *r, struct bytes key);
void rows_delete_range(struct rows *r, struct bytes lo, struct bytes hi); /* also forgets rows held in memory */

/* Fetches the row on a worker into the table; done runs on the loop, always later. At the bound on fetches under way:
 * ST_OVERLOADED at once. */
enum status rows_fetch(struct rows *r, struct bytes key, void (*done)(void *ctx), void *ctx);
/* Reads the rows of [lo, hi) on a worker so that the engine has their blocks in memory; at most bytes_max of them. */
enum status rows_fetch_range(struct rows *r, struct bytes lo, struct bytes hi, uint64_t bytes_max, void (*done)(void *ctx),
                             void *ctx);

/* Scans [lo, hi) (dirty rows included), calls each(ctx, key, value) until it returns false. ST_NOT_READY when blocks are
 * not in memory: some calls may have been made. `reverse` goes from hi down. */
enum status rows_scan(struct rows *r, struct bytes lo, struct bytes hi, bool reverse,
                      bool (*each)(void *ctx, struct bytes key, struct bytes value), void *ctx);

/* Writes the dirty rows to the engine. ST_BUSY: refused, they stay dirty; call again later. */
enum status rows_flush(struct rows *r, struct error *err);
bool rows_dirty(const struct rows *r);
bool rows_full(const struct rows *r);
/* Forgets clean rows of [lo, hi) after the engine was changed below (ingest, drop). No dirty ones may be there. */
void rows_forget(struct rows *r, struct bytes lo, struct bytes hi);

struct rows_stats {
    uint64_t bytes, dirty_bytes, count, hits, misses, fetches, evictions;
};
void rows_stats(const struct rows *r, struct rows_stats *out);

#endif
