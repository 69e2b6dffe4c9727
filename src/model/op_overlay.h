/* op_overlay.h - the writes of one op, over the rows of a view that it does not change.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   lets an op read its own writes, and be dropped whole: op_evaluate runs on one, and so may any caller of op_run.
 *            It can also remember which head rows were read from below, for the checks of a write set.
 * Ownership: the base view is borrowed for the overlay's life.
 * Threading: one owner. */
#ifndef CAIRN_MODEL_OP_OVERLAY_H
#define CAIRN_MODEL_OP_OVERLAY_H

#include "model/op.h"
#include "model/row_tree.h"

struct op_overlay {
    struct op_view view; /* give this one to op_run */
    struct op_view *base;
    struct op_counters counters;                           /* a copy of the base's */
    struct row_tree writes;                                /* `deleted` where a row was deleted */
    struct row_tree reads;                                 /* head rows read from below: number is the version found */
    uint64_t (*version)(struct bytes row_value, hlc_t ts); /* set: record the heads read */
};

/* Copies the base's table, slots, ts and counters. */
void op_overlay_init(struct op_overlay *o, struct op_view *base);
void op_overlay_deinit(struct op_overlay *o);
/* Writes what was collected to the base (which must have put and del), counters too, and forgets it. */
void op_overlay_commit(struct op_overlay *o);
void op_overlay_drop(struct op_overlay *o); /* forgets what was collected; counters are the base's again */

#endif
