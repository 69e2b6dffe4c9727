/* queue.h - what will happen, ordered by virtual time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    a heap of events keyed by (time, sequence); events of the same time run in the order they were pushed.
 * Ownership:  the caller owns the events: embedded in what they are about, or from the world's pool.
 * Cost:       push, move, remove and pop are O(log n); the keys lie in the heap itself (4-ary), not behind pointers. */
#ifndef CAIRN_SIM_QUEUE_H
#define CAIRN_SIM_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "sim/heap.h"

struct world;

#define EVENT_IDLE UINT32_MAX

struct event {
    void (*run)(struct world *w, struct event *ev);
    void *ptr; /* what it is about */
    uint64_t arg;
    uint64_t time_ns; /* of the last push */
    struct link link; /* for its owner */
    uint32_t place;   /* in the heap; EVENT_IDLE: not queued */
    uint16_t kind;    /* for the trace */
    uint16_t node;    /* for the trace */
};

struct queue_entry {
    uint64_t time_ns;
    uint64_t seq;
    struct event *ev;
};

struct queue {
    struct heap *heap; /* where the array lives */
    struct queue_entry *entries;
    uint32_t count;
    uint32_t cap;
    uint64_t seq;
};

void queue_init(struct queue *q, struct heap *heap);
static inline bool event_queued(const struct event *ev) { return ev->place != EVENT_IDLE; }
/* An event that is queued is moved: it gets a new sequence. */
void queue_push(struct queue *q, struct event *ev, uint64_t time_ns);
void queue_remove(struct queue *q, struct event *ev); /* may be idle */
struct event *queue_pop(struct queue *q);             /* NULL if empty */
static inline uint64_t queue_next_ns(const struct queue *q)
{
    return q->count != 0 ? q->entries[0].time_ns : UINT64_MAX;
}

#endif
