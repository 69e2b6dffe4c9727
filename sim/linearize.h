/* linearize.h - is there an order of an object's operations that explains every reply?
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   the search of Wing and Gong (1993) with Lowe's memo of visited states (2017), and five rules that keep unknown
 *            outcomes from multiplying it. Each leaves out only what can't be needed; linearize.c says why.
 * Threading: pure; its memory is the caller's heap. */
#ifndef CAIRN_SIM_LINEARIZE_H
#define CAIRN_SIM_LINEARIZE_H

#include "sim/history.h"

#define LINEARIZE_STEPS_MAX 10000000 /* of one object: a second or two. Histories that are right take thousands */

struct linearize_result {
    bool ok;      /* there is an order; also if gave_up */
    bool gave_up; /* neither an order was found in steps_max, nor that there is none */
    uint64_t steps;
};

/* ops: of one object, sorted by invocation, without those that failed and without reads that were not answered. */
void linearize(const struct sim_record *const *ops, size_t count, uint64_t steps_max, struct linearize_result *out);

#endif
