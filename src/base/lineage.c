/* lineage.c - the starts of one data directory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/lineage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

struct incarnation lineage_now(const struct lineage *l)
{
    if (l->count == 0) return (struct incarnation){0};
    return (struct incarnation){l->first + l->count - 1, l->ids[l->count - 1]};
}

static void forget(struct lineage *l, uint32_t n)
{
    ASSERT(n <= l->count);
    memmove(l->ids, l->ids + n, (l->count - n) * sizeof l->ids[0]);
    l->count -= n;
    l->first += n;
}

void lineage_grow(struct lineage *l, uint64_t id)
{
    if (l->count == 0) l->first = 1;
    if (l->count == LINEAGE_MAX) {
        if (l->anchor.boot == 0) l->anchor = (struct incarnation){l->first, l->ids[0]};
        forget(l, 1);
    }
    l->ids[l->count++] = id;
}

void lineage_trim(struct lineage *l, struct incarnation known)
{
    if (known.boot < l->first || known.boot >= l->first + l->count) return;
    if (l->ids[known.boot - l->first] != known.id) return;
    forget(l, (uint32_t)(known.boot - l->first));
    l->anchor = (struct incarnation){0};
}

enum lineage_verdict lineage_compare(const struct lineage *l, struct incarnation known)
{
    struct incarnation now = lineage_now(l);
    if (known.boot > now.boot) return LINEAGE_OLDER;
    uint64_t confirmed = l->anchor.boot != 0 ? l->anchor.boot : l->first;
    if (known.boot == 0 || known.boot < confirmed) return LINEAGE_NEWER; /* who knows only one before that is behind */
    if (known.boot < l->first)
        return known.boot == l->anchor.boot && known.id == l->anchor.id ? LINEAGE_NEWER : LINEAGE_FORKED;
    if (l->ids[known.boot - l->first] != known.id) return LINEAGE_FORKED;
    return known.boot == now.boot ? LINEAGE_SAME : LINEAGE_NEWER;
}

void lineage_why(const struct lineage *l, struct incarnation known, char *out, size_t max)
{
    snprintf(
        out, max,
        "its data directory is a copy, or an older state of it put back: it is at start %" PRIu64
        ", and %s start %" PRIu64
        " is known. It has forgotten what the node promised since, and must not run. If the original is lost, remove the "
        "node and join a new, empty one",
        lineage_now(l).boot, lineage_compare(l, known) == LINEAGE_OLDER ? "a later" : "another", known.boot);
}

void lineage_put(const struct lineage *l, struct buf *out)
{
    buf_put_u64(out, l->anchor.boot);
    buf_put_u64(out, l->anchor.id);
    buf_put_u64(out, l->first);
    buf_put_u8(out, (uint8_t)l->count);
    for (uint32_t i = 0; i < l->count; i++) buf_put_u64(out, l->ids[i]);
}

bool lineage_get(struct reader *r, struct lineage *out)
{
    *out = (struct lineage){0};
    out->anchor.boot = reader_u64(r);
    out->anchor.id = reader_u64(r);
    out->first = reader_u64(r);
    out->count = reader_u8(r);
    if (r->failed || (out->anchor.boot != 0 && out->anchor.boot >= out->first) || out->count > LINEAGE_MAX ||
        (out->count != 0 && out->first == 0) || out->first > UINT64_MAX - LINEAGE_MAX)
        return false;
    for (uint32_t i = 0; i < out->count; i++) out->ids[i] = reader_u64(r);
    return !r->failed;
}
