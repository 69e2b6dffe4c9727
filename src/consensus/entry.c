/* entry.c - one entry of a replicated log, in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "consensus/entry.h"

#include "base/mem.h"
#include "base/status.h"

struct entry *entry_new2(uint8_t kind, uint64_t index, uint64_t term, hlc_t ts, struct bytes head, struct bytes data)
{
    size_t n = head.n + data.n;
    ASSERT(n <= UINT32_MAX);
    struct entry *e = mem_alloc(sizeof *e + n);
    *e = (struct entry){.refs = 1, .size = (uint32_t)n, .index = index, .term = term, .ts = ts, .kind = kind};
    uint8_t *at = (uint8_t *)(e + 1);
    if (head.n != 0) memcpy(at, head.p, head.n);
    if (data.n != 0) memcpy(at + head.n, data.p, data.n);
    e->data = at;
    return e;
}

struct entry *entry_new_taking(uint8_t kind, uint64_t index, uint64_t term, hlc_t ts, struct bytes data,
                               struct buf *whole)
{
    ASSERT(data.n <= UINT32_MAX && data.p >= whole->p && data.p + data.n <= whole->p + whole->n);
    struct entry *e = mem_alloc(sizeof *e);
    *e = (struct entry){.refs = 1, .size = (uint32_t)data.n, .index = index, .term = term, .ts = ts, .kind = kind};
    e->data = data.p;
    e->taken = *whole;
    *whole = (struct buf){0};
    return e;
}

struct entry *entry_new(uint8_t kind, uint64_t index, uint64_t term, hlc_t ts, struct bytes data)
{
    return entry_new2(kind, index, term, ts, (struct bytes){0}, data);
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
    if (--e->refs != 0) return;
    buf_deinit(&e->taken);
    mem_free(e);
}
