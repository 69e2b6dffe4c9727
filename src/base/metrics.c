/* metrics.c - counters, gauges and histograms, printed as Prometheus text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <inttypes.h>

#include "base/status.h"

uint64_t hist_bucket_end(size_t index)
{
    ASSERT(index < HIST_BUCKETS);
    unsigned octave = HIST_LOW_BITS + (unsigned)(index >> HIST_SUB_BITS);
    uint64_t sub = index & ((1u << HIST_SUB_BITS) - 1);
    return (1ull << octave) + ((sub + 1) << (octave - HIST_SUB_BITS));
}

void hist_merge(struct hist *into, const struct hist *from)
{
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    into->max_ns = MAX(into->max_ns, from->max_ns);
    for (size_t i = 0; i < HIST_BUCKETS; i++) into->buckets[i] += from->buckets[i];
}

uint64_t hist_quantile(const struct hist *h, double q)
{
    ASSERT(q >= 0 && q <= 1);
    uint64_t want = (uint64_t)(q * (double)h->count), seen = 0;
    if (h->count == 0) return 0;
    if ((double)want < q * (double)h->count || want == 0) want++; /* rounded up; at least one value */
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= want) return i == HIST_BUCKETS - 1 ? h->max_ns : MIN(hist_bucket_end(i), h->max_ns);
    }
    return h->max_ns;
}

void metrics_add(const struct metric *table, size_t n, void *into, const void *from)
{
    for (size_t i = 0; i < n; i++) {
        char *to = (char *)into + table[i].offset;
        const char *value = (const char *)from + table[i].offset;
        if (table[i].type == METRIC_HIST)
            hist_merge((struct hist *)(void *)to, (const struct hist *)(const void *)value);
        else *(uint64_t *)(void *)to += *(const uint64_t *)(const void *)value;
    }
}

void metrics_print(const struct metric *table, size_t n, const void *from, struct bytes labels, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        const void *value = (const char *)from + table[i].offset;
        metrics_head(out, table[i].name, table[i].type, table[i].help);
        if (table[i].type == METRIC_HIST) metrics_hist(out, table[i].name, labels, value);
        else metrics_value(out, table[i].name, labels, *(const uint64_t *)value);
    }
}

void metrics_label(struct buf *labels, const char *key, struct bytes value)
{
    buf_printf(labels, "%s%s=\"", labels->n > 0 ? "," : "", key);
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];
        if (c == '\n') buf_put(labels, "\\n", 2);
        else if (c == '\\' || c == '"') buf_printf(labels, "\\%c", c);
        else if (c < ' ' || c > '~') buf_put_u8(labels, '?'); /* the format wants UTF-8 */
        else buf_put_u8(labels, c);
    }
    buf_put_u8(labels, '"');
}

void metrics_head(struct buf *out, const char *name, enum metric_type type, const char *help)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HIST] = "histogram"};
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, types[type]);
}

static void put_name(struct buf *out, const char *name, const char *suffix, struct bytes labels)
{
    buf_printf(out, "%s%s", name, suffix);
    if (labels.n > 0) buf_printf(out, "{%.*s}", (int)labels.n, (const char *)labels.p);
}

void metrics_value(struct buf *out, const char *name, struct bytes labels, uint64_t value)
{
    put_name(out, name, "", labels);
    buf_printf(out, " %" PRIu64 "\n", value);
}

/* Exactly, not through a double. */
static void put_seconds(struct buf *out, uint64_t ns)
{
    uint64_t second = NS_PER_S;
    buf_printf(out, "%" PRIu64 ".%09" PRIu64, ns / second, ns % second);
}

void metrics_seconds(struct buf *out, const char *name, struct bytes labels, uint64_t ns)
{
    put_name(out, name, "", labels);
    buf_put_u8(out, ' ');
    put_seconds(out, ns);
    buf_put_u8(out, '\n');
}

void metrics_hist(struct buf *out, const char *name, struct bytes labels, const struct hist *h)
{
    uint64_t below = 0;
    for (unsigned octave = 0; octave < HIST_HIGH_BITS - HIST_LOW_BITS; octave++) {
        for (size_t i = 0; i < 1u << HIST_SUB_BITS; i++) below += h->buckets[(octave << HIST_SUB_BITS) + i];
        bool last = octave == HIST_HIGH_BITS - HIST_LOW_BITS - 1; /* holds what is above it too: only +Inf is true */
        buf_printf(out, "%s_bucket{%.*s%sle=\"", name, (int)labels.n, labels.n > 0 ? (const char *)labels.p : "",
                   labels.n > 0 ? "," : "");
        if (last) buf_printf(out, "+Inf");
        else put_seconds(out, 2ull << (HIST_LOW_BITS + octave));
        buf_printf(out, "\"} %" PRIu64 "\n", below);
    }
    ASSERT(below == h->count);
    put_name(out, name, "_sum", labels);
    buf_put_u8(out, ' ');
    put_seconds(out, h->sum_ns);
    buf_put_u8(out, '\n');
    put_name(out, name, "_count", labels);
    buf_printf(out, " %" PRIu64 "\n", h->count);
}
