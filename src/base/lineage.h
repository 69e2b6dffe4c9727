/* lineage.h - the starts of one data directory, so that a copy of it, or an older state put back, is found out.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    each start of a node has a number (its boot) and a random id; together they are its incarnation. A directory
 *             remembers its latest incarnations in a row: its lineage. Whoever knows one incarnation of a node can tell from
 *             a lineage whether it continues that one, is older (a backup was put back), or forked off (a copy was started).
 *             Starts are forgotten only before one that the cluster has confirmed, or in a gap after it: what is known to
 *             others of that gap can't be told from a copy's start, and counts as one.
 * Format:     anchor boot u64, id u64 (0: none) | first u64 | count u8 | count × id u64: the boots first, first + 1, …, the last
 *             is the present one.
 * Threading:  values only. */
#ifndef CAIRN_BASE_LINEAGE_H
#define CAIRN_BASE_LINEAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define LINEAGE_MAX 32 /* latest starts */

struct incarnation {
    uint64_t boot; /* 0: unknown */
    uint64_t id;
};

struct lineage {
    struct incarnation
        anchor; /* the last one known to be confirmed, if starts between it and the first were forgotten */
    uint64_t first;
    uint32_t count; /* 0: none */
    uint64_t ids[LINEAGE_MAX];
};

struct incarnation lineage_now(const struct lineage *l); /* boot 0 if it is empty */
/* One more start. */
void lineage_grow(struct lineage *l, uint64_t id);
/* Forgets what is before an incarnation that is in it and that the catalog has confirmed. */
void lineage_trim(struct lineage *l, struct incarnation known);

enum lineage_verdict {
    LINEAGE_SAME,   /* its present incarnation is the one known */
    LINEAGE_NEWER,  /* it continues the one known, or nothing speaks against that */
    LINEAGE_OLDER,  /* a later start is known */
    LINEAGE_FORKED, /* another start with that number is known */
};
enum lineage_verdict lineage_compare(const struct lineage *l, struct incarnation known);
static inline bool lineage_fenced(enum lineage_verdict v) { return v == LINEAGE_OLDER || v == LINEAGE_FORKED; }
/* For people: why this lineage is fenced off by what is known. */
void lineage_why(const struct lineage *l, struct incarnation known, char *out, size_t max);

void lineage_put(const struct lineage *l, struct buf *out);
bool lineage_get(struct reader *r, struct lineage *out); /* false: malformed */

#endif
