/* heap.c - memory that belongs to somebody: each simulated process, the world itself, the harness.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/heap.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Before every block. 32 bytes, so that what follows is aligned as malloc aligns. */
struct block {
    struct link link;
    struct heap *heap;
    size_t size;
};
_Static_assert(sizeof(struct block) % _Alignof(max_align_t) == 0, "the block after it must stay aligned");

/* What is uninitialised has the same content in every run. Beyond this many bytes it is not worth the time. */
#define FILL_BYTES_MAX 512

static struct heap harness = {.blocks = {{&harness.blocks.head, &harness.blocks.head}}};
static struct heap *current = &harness;

static void *block_link(struct heap *h, struct block *b, size_t size)
{
    b->link = (struct link){0};
    b->heap = h;
    b->size = size;
    list_push_back(&h->blocks, &b->link);
    h->block_count++;
    h->bytes += size;
    return b + 1;
}

static void block_unlink(struct block *b)
{
    struct heap *h = b->heap;
    ASSERT(h == current || !h->process || !current->process); /* a process touches its own memory only */
    link_remove(&b->link);
    h->block_count--;
    h->bytes -= b->size;
}

void *heap_alloc(struct heap *h, size_t size)
{
    struct block *b = malloc(sizeof *b + size);
    ASSERT(b != NULL);
    memset(b + 1, 0xa5, MIN(size, FILL_BYTES_MAX));
    return block_link(h, b, size);
}

void *heap_zalloc(struct heap *h, size_t size)
{
    struct block *b = calloc(1, sizeof *b + size);
    ASSERT(b != NULL);
    return block_link(h, b, size);
}

char *heap_strdup(struct heap *h, const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(heap_alloc(h, n), s, n);
}

static void *hook_alloc(size_t size) { return heap_alloc(current, size); }

static void *hook_realloc(void *p, size_t size)
{
    if (p == NULL) return heap_alloc(current, size);
    struct block *b = (struct block *)p - 1;
    struct heap *h = b->heap;
    size_t old = b->size;
    block_unlink(b);
    b = realloc(b, sizeof *b + size);
    ASSERT(b != NULL);
    if (size > old) memset((uint8_t *)(b + 1) + old, 0xa5, MIN(size - old, FILL_BYTES_MAX));
    return block_link(h, b, size);
}

static void hook_free(void *p)
{
    struct block *b = (struct block *)p - 1;
    block_unlink(b);
    free(b);
}

void heap_install(void)
{
    static const struct mem_hooks hooks = {hook_alloc, hook_realloc, hook_free};
    mem_hooks_set(&hooks);
}

void heap_init(struct heap *h, bool process)
{
    *h = (struct heap){.process = process};
    list_init(&h->blocks);
}

size_t heap_clear(struct heap *h)
{
    size_t n = h->block_count;
    for (struct link *k = list_pop_front(&h->blocks); k != NULL; k = list_pop_front(&h->blocks))
        free(CONTAINER_OF(k, struct block, link));
    h->block_count = 0;
    h->bytes = 0;
    return n;
}

struct heap *heap_enter(struct heap *h)
{
    struct heap *old = current;
    current = h != NULL ? h : &harness;
    return old;
}

struct heap *heap_current(void) { return current; }
