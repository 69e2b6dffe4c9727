/* mem.c - the one door to the heap.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/status.h"

/* ---- large blocks, on huge pages ----
 *
 * A block of megabytes that is used once (a large value on its way) costs more in page faults than in copying: 24 us for 4 KiB
 * on a virtual machine with shadowed page tables, where the copy of a whole megabyte takes 80. Huge pages are asked for where
 * the kernel leaves that to the program ("madvise"); small blocks stay as they are, as theirs would be half empty. */
#define HUGE_PAGE   ((size_t)2 << 20)
#define LARGE_BLOCK (2 * HUGE_PAGE) /* so at most a third of a block is unused */

static void *large_alloc(size_t size)
{
    void *p;
    size = (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    if (posix_memalign(&p, HUGE_PAGE, size) != 0) return NULL;
    madvise(p, size, MADV_HUGEPAGE); /* a hint: no error matters */
    return p;
}

static void *plain_alloc(size_t size) { return size >= LARGE_BLOCK ? large_alloc(size) : malloc(size); }

static void *plain_realloc(void *p, size_t size)
{
    if (size < LARGE_BLOCK) return realloc(p, size);
    size_t old = malloc_usable_size(p);
    if (old >= size && old / 2 <= size) return p;
    void *q = large_alloc(size);
    if (q == NULL || p == NULL) return q;
    memcpy(q, p, old < size ? old : size);
    free(p);
    return q;
}

static const struct mem_hooks plain = {plain_alloc, plain_realloc, free};
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
