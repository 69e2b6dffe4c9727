/* list.h - an intrusive doubly linked list.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Ownership: the list owns nothing; an element embeds a struct link and is in at most one list per link.
 * A link that is in no list is zero. */
#ifndef CAIRN_BASE_LIST_H
#define CAIRN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct link {
    struct link *prev;
    struct link *next;
};

struct list {
    struct link head; /* head.next is the first; points to itself when empty */
};

static inline void list_init(struct list *l) { l->head.prev = l->head.next = &l->head; }
static inline bool list_empty(const struct list *l) { return l->head.next == &l->head; }
static inline bool link_linked(const struct link *k) { return k->next != NULL; }
static inline struct link *list_first(const struct list *l) { return list_empty(l) ? NULL : l->head.next; }
static inline struct link *list_last(const struct list *l) { return list_empty(l) ? NULL : l->head.prev; }
static inline struct link *list_next(const struct list *l, const struct link *k)
{
    return k->next == &l->head ? NULL : k->next;
}

static inline void link_insert_after(struct link *at, struct link *k)
{
    ASSERT(at != NULL && !link_linked(k));
    k->prev = at;
    k->next = at->next;
    at->next->prev = k;
    at->next = k;
}

static inline void list_push_back(struct list *l, struct link *k) { link_insert_after(l->head.prev, k); }
static inline void list_push_front(struct list *l, struct link *k) { link_insert_after(&l->head, k); }

static inline void link_remove(struct link *k)
{
    ASSERT(link_linked(k));
    k->prev->next = k->next;
    k->next->prev = k->prev;
    k->prev = k->next = NULL;
}

static inline struct link *list_pop_front(struct list *l)
{
    struct link *k = list_first(l);
    if (k == NULL) return NULL;
    ASSERT(k->prev == &l->head && k->next != NULL);
    l->head.next = k->next;
    k->next->prev = &l->head;
    k->prev = k->next = NULL;
    return k;
}

#endif
