/* histogram.c - counts of times.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/histogram.h"

#include "base/status.h"

#define CELLS_EACH (1u << HISTOGRAM_BITS)

/* Values below 64 have a cell each; above, the power of two and the next 6 bits choose. */
static unsigned cell_of(uint64_t v)
{
    if (v < CELLS_EACH) return (unsigned)v;
    unsigned power = 63u - (unsigned)__builtin_clzll(v), shift = power - HISTOGRAM_BITS;
    return ((shift + 1) << HISTOGRAM_BITS) + (unsigned)((v >> shift) & (CELLS_EACH - 1));
}

/* The largest value of a cell. */
static uint64_t top_of(unsigned cell)
{
    if (cell < CELLS_EACH) return cell;
    unsigned shift = (cell >> HISTOGRAM_BITS) - 1;
    return ((uint64_t)(CELLS_EACH + (cell & (CELLS_EACH - 1))) << shift) + (1ull << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    unsigned cell = cell_of(MIN(value, HISTOGRAM_MAX_NS));
    ASSERT(cell < HISTOGRAM_CELLS);
    h->cells[cell]++;
    h->count++;
    h->sum += value;
    h->max = MAX(h->max, value);
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_CELLS; i++) to->cells[i] += from->cells[i];
    to->count += from->count;
    to->sum += from->sum;
    to->max = MAX(to->max, from->max);
}

uint64_t histogram_percentile(const struct histogram *h, double share)
{
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)h->count);
    if ((double)wanted < share * (double)h->count) wanted++; /* rounded up */
    if (wanted == 0) wanted = 1;
    if (h->count == 0) return 0;
    for (unsigned i = 0; i < HISTOGRAM_CELLS; i++) {
        seen += h->cells[i];
        if (seen >= wanted) return MIN(top_of(i), h->max);
    }
    return h->max;
}
