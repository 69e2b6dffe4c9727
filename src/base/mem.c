/* mem.c - the one door to the heap.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

static const struct mem_hooks plain = {malloc, realloc, free};
static const struct mem_hooks *hooks = &plain;

void mem_hooks_set(const struct mem_hooks *h) { hooks = h != NULL ? h : &plain; }

void *mem_alloc(size_t size)
{
    void *p = hooks->alloc(size != 0 ? size : 1);
    ASSERT(p != NULL);
    return p;
}

void *mem_zalloc(size_t size)
{
    void *p = mem_alloc(size);
    memset(p, 0, size);
    return p;
}

void *mem_realloc(void *p, size_t size)
{
    void *q = hooks->realloc(p, size != 0 ? size : 1);
    ASSERT(q != NULL);
    return q;
}

void *mem_copy(const void *p, size_t size)
{
    void *q = mem_alloc(size);
    if (size != 0) memcpy(q, p, size);
    return q;
}

char *mem_strdup(const char *s) { return mem_copy(s, strlen(s) + 1); }

void mem_free(void *p)
{
    if (p != NULL) hooks->free(p);
}
