/* map.c - a hash table from 64-bit numbers to pointers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"

void map_deinit(struct map *m)
{
    mem_free(m->slots);
    *m = (struct map){0};
}

static size_t place(const struct map *m, uint64_t key)
{
    size_t i = hash_u64(key) & (m->cap - 1);
    while (m->slots[i].value != NULL && m->slots[i].key != key) i = (i + 1) & (m->cap - 1);
    return i;
}

static void grow(struct map *m)
{
    struct map old = *m;
    m->cap = old.cap != 0 ? old.cap * 2 : 8;
    m->slots = mem_zalloc(m->cap * sizeof *m->slots);
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].value != NULL) m->slots[place(m, old.slots[i].key)] = old.slots[i];
    mem_free(old.slots);
}

void *map_get(const struct map *m, uint64_t key) { return m->cap != 0 ? m->slots[place(m, key)].value : NULL; }

void *map_set(struct map *m, uint64_t key, void *value)
{
    ASSERT(value != NULL);
    if ((m->count + 1) * 10 > m->cap * 7) grow(m);
    struct map_slot *s = &m->slots[place(m, key)];
    void *old = s->value;
    if (old == NULL) m->count++;
    *s = (struct map_slot){key, value};
    return old;
}

void *map_remove(struct map *m, uint64_t key)
{
    if (m->cap == 0) return NULL;
    size_t i = place(m, key);
    void *old = m->slots[i].value;
    if (old == NULL) return NULL;
    m->count--;
    for (size_t j = (i + 1) & (m->cap - 1); m->slots[j].value != NULL; j = (j + 1) & (m->cap - 1)) {
        size_t home = hash_u64(m->slots[j].key) & (m->cap - 1);
        if (((j - home) & (m->cap - 1)) < ((j - i) & (m->cap - 1))) continue;
        m->slots[i] = m->slots[j];
        i = j;
    }
    m->slots[i].value = NULL;
    return old;
}

bool map_each(const struct map *m, size_t *at, uint64_t *out_key, void **out_value)
{
    for (; *at < m->cap; (*at)++) {
        if (m->slots[*at].value == NULL) continue;
        *out_key = m->slots[*at].key;
        *out_value = m->slots[*at].value;
        (*at)++;
        return true;
    }
    return false;
}
