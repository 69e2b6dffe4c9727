/* heap.h - memory that belongs to somebody: each simulated process, the world itself, the harness.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    takes over mem_*, so that every block allocated while a process's code runs is linked into that process's
 *             heap. A crash frees the whole heap at once; a clean stop finds what was leaked.
 * Ownership:  the caller owns struct heap; a block belongs to the heap that was current when it was allocated and stays
 *             there when it is resized. free really frees, so the address sanitizer sees use after free.
 * Threading:  one thread.
 * Errors:     code of one process that frees or resizes a block of another process fails an assertion. */
#ifndef CAIRN_SIM_HEAP_H
#define CAIRN_SIM_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"

struct heap {
    struct list blocks;
    size_t block_count;
    size_t bytes;
    bool process; /* a simulated process's; others may be freed from anywhere */
};

/* Takes over mem_*. From then on a block that was allocated before must not be freed. Called by world_new. */
void heap_install(void);

void heap_init(struct heap *h, bool process);
/* Frees all blocks of the heap and returns how many there were. */
size_t heap_clear(struct heap *h);

/* Makes h current (NULL: the harness's) and returns the one that was. */
struct heap *heap_enter(struct heap *h);
struct heap *heap_current(void);

/* A block of h, whatever is current; given back with mem_free. */
void *heap_alloc(struct heap *h, size_t size);
void *heap_zalloc(struct heap *h, size_t size);
char *heap_strdup(struct heap *h, const char *s);

#endif
