/* map.h - a hash table from 64-bit numbers to pointers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    small lookup tables by id. Open addressing with linear probing and backward-shift deletion, grown at 70 %.
 * Ownership:  the map owns its slots, not what the pointers point at.
 * Threading:  one owner.
 * Iteration order depends on ids and insertions only, never on addresses, so it is the same in every run. */
#ifndef CAIRN_BASE_MAP_H
#define CAIRN_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t key;
    void *value; /* NULL: the slot is free */
};

struct map {
    struct map_slot *slots;
    size_t cap; /* 0 or a power of two */
    size_t count;
};

void map_deinit(struct map *m);
void *map_get(const struct map *m, uint64_t key);        /* NULL if absent */
void *map_set(struct map *m, uint64_t key, void *value); /* value is not NULL; returns the one replaced, or NULL */
void *map_remove(struct map *m, uint64_t key);           /* returns what was there, or NULL */
/* for (size_t i = 0; map_each(&m, &i, &key, &value);) … ; the map must not change meanwhile. */
bool map_each(const struct map *m, size_t *at, uint64_t *out_key, void **out_value);

#endif
