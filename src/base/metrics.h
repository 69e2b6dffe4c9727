/* metrics.h - counters, gauges and histograms, printed as Prometheus text.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    a shard counts in plain memory of its own: a struct whose fields are uint64_t (counters, gauges) and
 * struct hist. A table of struct metric names the fields; with it, copies of several shards' structs are added up and
 * printed. Nothing is registered, shared or locked. Histogram:  durations, 64 linear buckets in each power of two (as
 * in HdrHistogram) from 2^10 ns to 2^37 ns, so about 1 us to 137 s, each at most 1/64 wide of its value: two
 * significant digits. What is outside goes into the first or last bucket; sum and maximum stay exact. Printed are only
 * the powers of two, which are exact. Format:     Prometheus text exposition format, version 0.0.4; durations in
 * seconds. Ownership:  the structs are the caller's, need no deinit and hold no pointers: a copy is a snapshot.
 * Threading:  one owner. */
#ifndef CAIRN_BASE_METRICS_H
#define CAIRN_BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    HIST_SUB_BITS = 6, /* 64 buckets in a power of two */
    HIST_LOW_BITS = 10,
    HIST_HIGH_BITS = 37,
    HIST_BUCKETS = (HIST_HIGH_BITS - HIST_LOW_BITS) << HIST_SUB_BITS,
};

struct hist { /* about 14 KB */
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t buckets[HIST_BUCKETS];
};

static inline size_t hist_index(uint64_t ns)
{
    if (ns < 1ull << HIST_LOW_BITS) return 0;
    unsigned top = 63u - (unsigned)__builtin_clzll(ns); /* ns is in [2^top, 2^(top+1)) */
    if (top >= HIST_HIGH_BITS) return HIST_BUCKETS - 1;
    return ((size_t)(top - HIST_LOW_BITS) << HIST_SUB_BITS) +
           (size_t)((ns >> (top - HIST_SUB_BITS)) & ((1u << HIST_SUB_BITS) - 1));
}
static inline void hist_add(struct hist *h, uint64_t ns)
{
    h->count++;
    h->sum_ns += ns;
    if (ns > h->max_ns) h->max_ns = ns;
    h->buckets[hist_index(ns)]++;
}
uint64_t hist_bucket_end(size_t index); /* the first value above the bucket, ns */
void hist_merge(struct hist *into, const struct hist *from);
/* The value that a share q (0 … 1) of all values does not exceed, rounded up to its bucket's end; 0 if there are none.
 */
uint64_t hist_quantile(const struct hist *h, double q);

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HIST };

struct metric {
    const char *name; /* "cairn_mesh_sent_bytes_total" */
    const char *help;
    enum metric_type type;
    size_t offset; /* of the uint64_t or struct hist in the struct */
};

/* Adds the fields of one struct to those of another: counters and gauges by sum, histograms by merging. */
void metrics_add(const struct metric *table, size_t n, void *into, const void *from);
/* HELP, TYPE and value of each field. labels: "" or what metrics_label made. */
void metrics_print(const struct metric *table, size_t n, const void *from, struct bytes labels, struct buf *out);

/* The parts, for figures that have a row per label: one head, then a line for each. */
void metrics_label(struct buf *labels, const char *key, struct bytes value); /* appends key="value", escaped */
void metrics_head(struct buf *out, const char *name, enum metric_type type, const char *help);
void metrics_value(struct buf *out, const char *name, struct bytes labels, uint64_t value);
void metrics_seconds(struct buf *out, const char *name, struct bytes labels, uint64_t ns);
void metrics_hist(struct buf *out, const char *name, struct bytes labels, const struct hist *h);

#endif
