/* queue.c - what will happen, ordered by virtual time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/queue.h"

#include <string.h>

#include "base/mem.h"

#define WAYS 4

void queue_init(struct queue *q, struct heap *heap) { *q = (struct queue){.heap = heap}; }

static bool before(const struct queue_entry *a, const struct queue_entry *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->seq < b->seq;
}

static void place(struct queue *q, uint32_t i, struct queue_entry e)
{
    q->entries[i] = e;
    e.ev->place = i;
}

static void sift_up(struct queue *q, uint32_t i, struct queue_entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / WAYS;
        if (!before(&e, &q->entries[parent])) break;
        place(q, i, q->entries[parent]);
        i = parent;
    }
    place(q, i, e);
}

static void sift_down(struct queue *q, uint32_t i, struct queue_entry e)
{
    for (;;) {
        uint32_t first = i * WAYS + 1;
        if (first >= q->count) break;
        uint32_t end = MIN(first + WAYS, q->count);
        uint32_t least = first;
        for (uint32_t k = first + 1; k < end; k++)
            if (before(&q->entries[k], &q->entries[least])) least = k;
        if (!before(&q->entries[least], &e)) break;
        place(q, i, q->entries[least]);
        i = least;
    }
    place(q, i, e);
}

static void settle(struct queue *q, uint32_t i, struct queue_entry e)
{
    if (i > 0 && before(&e, &q->entries[(i - 1) / WAYS])) sift_up(q, i, e);
    else sift_down(q, i, e);
}

void queue_push(struct queue *q, struct event *ev, uint64_t time_ns)
{
    struct queue_entry e = {time_ns, q->seq++, ev};
    ev->time_ns = time_ns;
    if (event_queued(ev)) {
        settle(q, ev->place, e);
        return;
    }
    if (q->count == q->cap) {
        uint32_t cap = q->cap != 0 ? q->cap * 2 : 256;
        struct queue_entry *entries = heap_alloc(q->heap, cap * sizeof *entries);
        if (q->count != 0) memcpy(entries, q->entries, q->count * sizeof *entries);
        mem_free(q->entries);
        q->entries = entries;
        q->cap = cap;
    }
    sift_up(q, q->count++, e);
}

void queue_remove(struct queue *q, struct event *ev)
{
    if (!event_queued(ev)) return;
    uint32_t i = ev->place;
    ASSERT(i < q->count && q->entries[i].ev == ev);
    ev->place = EVENT_IDLE;
    struct queue_entry last = q->entries[--q->count];
    if (last.ev != ev) settle(q, i, last);
}

struct event *queue_pop(struct queue *q)
{
    if (q->count == 0) return NULL;
    struct event *ev = q->entries[0].ev;
    queue_remove(q, ev);
    return ev;
}
