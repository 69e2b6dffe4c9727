/* memory_view.h - a partition's rows in memory, as ops see them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   stands in for a replica wherever only the model matters: tests, fuzzers, fakes of other modules, the bulk
 *            comparison with Redis. It keeps the view's contract to the letter: what get returns is freed at the next call,
 *            writes of a run that does not end ST_OK are dropped, and it can answer ST_NOT_READY at chosen moments.
 * Ownership: the caller's struct; not to be moved after init (views point into it).
 * Threading: one owner. */
#ifndef CAIRN_MODEL_MEMORY_VIEW_H
#define CAIRN_MODEL_MEMORY_VIEW_H

#include "base/hash.h"
#include "model/op.h"
#include "model/op_overlay.h"
#include "model/row_tree.h"

struct memory_view {
    struct op_view base; /* the committed rows; puts to it are immediate */
    struct row_tree rows;
    struct op_counters counters;
    struct op_overlay overlay;
    uint8_t *lent; /* what the last get returned */
    struct rng rng;
    uint64_t not_ready_one_in; /* 0: never */
    unsigned not_ready_run;    /* answers given in this run: bounded, so that a run ends */
    uint64_t not_ready_count, gets, scans, puts, dels, put_bytes; /* puts and dels: of rows, once a run is kept */
};

void memory_view_init(struct memory_view *m, uint32_t table, uint32_t slot_lo, uint32_t slot_hi);
void memory_view_deinit(struct memory_view *m);
/* From now on one read in `one_in` (0: none) answers ST_NOT_READY, chosen by the seed. */
void memory_view_inject(struct memory_view *m, uint64_t one_in, uint64_t seed);

/* Runs an op at ts as a replica would: again after ST_NOT_READY; OP_EVALUATE ops are evaluated, then their write set is
 * run; writes are kept only on ST_OK. Appends the result. */
enum status memory_view_run(struct memory_view *m, const struct op *op, hlc_t ts, struct buf *out);
/* A hash of all rows and the counters, for comparing replicas. */
uint64_t memory_view_hash(const struct memory_view *m);

#endif
