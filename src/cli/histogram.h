/* histogram.h - counts of times, kept to within 1.6 % over the whole range, in fixed memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   64 cells for each power of two (the scheme of HdrHistogram): percentiles without keeping values.
 * Threading: one owner; add histograms of threads up when they have ended.
 * Values above HISTOGRAM_MAX_NS count as that. */
#ifndef CAIRN_CLI_HISTOGRAM_H
#define CAIRN_CLI_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS   6 /* 64 cells for each power of two */
#define HISTOGRAM_POWERS 42
#define HISTOGRAM_CELLS  ((HISTOGRAM_POWERS - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS)
#define HISTOGRAM_MAX_NS ((1ull << HISTOGRAM_POWERS) - 1) /* 73 minutes */

struct histogram {
    uint64_t count, sum, max; /* max: the largest value itself */
    uint64_t cells[HISTOGRAM_CELLS];
};

void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *to, const struct histogram *from);
/* The smallest value that at least this share of all values is not above: 0.99 for p99. At most 1.6 % above the true
 * one. */
uint64_t histogram_percentile(const struct histogram *h, double share);

#endif
