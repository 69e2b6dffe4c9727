/* mem.h - the one door to the heap.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    allocation that can't fail (out of memory ends the process: apply may not fail for a local reason), and
 *             that the simulator can take over, so that crashing a simulated node frees all that it held at once.
 * Threading:  any thread. mem_hooks_set is called once, before the first allocation.
 * Every bound on memory is the caller's: by the time mem_alloc is called, the size has been checked. */
#ifndef CAIRN_BASE_MEM_H
#define CAIRN_BASE_MEM_H

#include <stddef.h>

struct mem_hooks {
    void *(*alloc)(size_t size);
    void *(*realloc)(void *p, size_t size);
    void (*free)(void *p);
};

/* NULL restores malloc. */
void mem_hooks_set(const struct mem_hooks *hooks);

void *mem_alloc(size_t size);               /* uninitialised; never NULL */
void *mem_zalloc(size_t size);              /* zeroed; never NULL */
void *mem_realloc(void *p, size_t size);    /* p may be NULL; never NULL */
void *mem_copy(const void *p, size_t size); /* a copy the caller owns */
char *mem_strdup(const char *s);
void mem_free(void *p); /* p may be NULL */

#endif
