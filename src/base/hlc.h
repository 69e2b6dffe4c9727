/* hlc.h - hybrid logical clock timestamps.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: 64-bit timestamps that order versions across nodes and stay near wall time: the upper 46 bits are
 *          milliseconds since 1970 (good until the year 4199), the lower 18 a counter (Kulkarni et al., "Logical Physical
 *          Clocks", 2014). A batch of n ops takes n consecutive timestamps, so every op of a partition has its own. */
#ifndef CAIRN_BASE_HLC_H
#define CAIRN_BASE_HLC_H

#include <stdint.h>

#define HLC_LOGICAL_BITS 18

typedef uint64_t hlc_t; /* the one typedef of a scalar: mixing it up with nanoseconds must show */

static inline hlc_t hlc_from_ms(uint64_t ms) { return ms << HLC_LOGICAL_BITS; }
static inline uint64_t hlc_ms(hlc_t t) { return t >> HLC_LOGICAL_BITS; }

struct hlc {
    hlc_t last; /* the highest timestamp given or seen */
};

/* The next timestamp: above all given and seen before, and not below wall_ms. Takes `count` of them, returns the first. */
static inline hlc_t hlc_take(struct hlc *c, uint64_t wall_ms, uint64_t count)
{
    hlc_t now = hlc_from_ms(wall_ms);
    hlc_t first = now > c->last ? now : c->last + 1;
    c->last = first + count - 1;
    return first;
}

/* Remembers a timestamp seen from elsewhere. */
static inline void hlc_see(struct hlc *c, hlc_t t)
{
    if (t > c->last) c->last = t;
}

#endif
