/* entry.c - one entry of a replicated log, in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "consensus/entry.h"

#include "base/mem.h"
#include "base/status.h"

struct entry *entry_new(uint8_t kind, uint64_t index, uint64_t term, hlc_t ts, struct bytes data)
{
    ASSERT(data.n <= UINT32_MAX);
    struct entry *e = mem_alloc(sizeof *e + data.n);
    *e = (struct entry){.refs = 1, .size = (uint32_t)data.n, .index = index, .term = term, .ts = ts, .kind = kind};
    if (data.n != 0) memcpy(e->data, data.p, data.n);
    return e;
}

struct entry *entry_ref(struct entry *e)
{
    ASSERT(e->refs > 0);
    e->refs++;
    return e;
}

void entry_unref(struct entry *e)
{
    if (e == NULL) return;
    ASSERT(e->refs > 0);
    if (--e->refs == 0) mem_free(e);
}
