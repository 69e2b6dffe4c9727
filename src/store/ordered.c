/* ordered.c - an ordered set of byte strings in memory, each with a pointer; for the engine's twin.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/ordered.h"

#include "base/mem.h"
#include "base/status.h"

/* The first eight bytes of the key as a number: where two differ they order the keys, where not the keys are compared.
 */
struct slot {
    uint64_t prefix;
    struct ordered_row *row;
};
struct ordered_block {
    unsigned count;
    struct slot slots[ORDERED_BLOCK];
};
struct ordered_top {
    struct ordered_block *block; /* never empty */
};

static uint64_t prefix_of(struct bytes key)
{
    uint8_t b[8] = {0};
    if (key.n >= 8) return get_be64(key.p);
    if (key.n != 0) memcpy(b, key.p, key.n);
    return get_be64(b);
}

static bool slot_below(const struct slot *s, uint64_t prefix, struct bytes key)
{
    if (s->prefix != prefix) return s->prefix < prefix;
    return bytes_compare(ordered_key(s->row), key) < 0;
}

struct ordered_place ordered_seek(const struct ordered *o, struct bytes key)
{
    uint64_t prefix = prefix_of(key);
    size_t lo = 0, hi = o->blocks; /* the first block whose last row is not below key */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct ordered_block *b = o->top[mid].block;
        if (slot_below(&b->slots[b->count - 1], prefix, key)) lo = mid + 1;
        else hi = mid;
    }
    if (lo == o->blocks) return (struct ordered_place){lo, 0};
    const struct ordered_block *b = o->top[lo].block;
    unsigned l = 0, h = b->count - 1; /* the last one is known not to be below */
    while (l < h) {
        unsigned mid = (l + h) / 2;
        if (slot_below(&b->slots[mid], prefix, key)) l = mid + 1;
        else h = mid;
    }
    return (struct ordered_place){lo, l};
}

struct ordered_row *ordered_at(const struct ordered *o, struct ordered_place p)
{
    return p.block < o->blocks ? o->top[p.block].block->slots[p.at].row : NULL;
}

void ordered_next(const struct ordered *o, struct ordered_place *p)
{
    if (++p->at < o->top[p->block].block->count) return;
    p->block++;
    p->at = 0;
}

bool ordered_prev(const struct ordered *o, struct ordered_place *p)
{
    if (p->at > 0) {
        p->at--;
        return true;
    }
    if (p->block == 0) return false;
    p->block--;
    p->at = o->top[p->block].block->count - 1;
    return true;
}

struct ordered_row *ordered_find(const struct ordered *o, struct bytes key)
{
    struct ordered_row *r = ordered_at(o, ordered_seek(o, key));
    return r != NULL && bytes_equal(ordered_key(r), key) ? r : NULL;
}

static void insert_block(struct ordered *o, size_t at, struct ordered_block *b)
{
    if (o->blocks == o->blocks_cap) {
        o->blocks_cap = o->blocks_cap != 0 ? o->blocks_cap * 2 : 16;
        o->top = mem_realloc(o->top, o->blocks_cap * sizeof *o->top);
    }
    memmove(o->top + at + 1, o->top + at, (o->blocks - at) * sizeof *o->top);
    o->top[at].block = b;
    o->blocks++;
}

/* Halves the block; when rows come in rising order the new one starts empty instead, so that blocks fill up. */
static void split(struct ordered *o, struct ordered_place *p)
{
    struct ordered_block *b = o->top[p->block].block, *high = mem_alloc(sizeof *high);
    bool rising = p->block == o->blocks - 1 && p->at == b->count;
    unsigned keep = rising ? b->count : b->count / 2;
    high->count = b->count - keep;
    memcpy(high->slots, b->slots + keep, high->count * sizeof high->slots[0]);
    b->count = keep;
    insert_block(o, p->block + 1, high);
    if (p->at > keep || rising) *p = (struct ordered_place){p->block + 1, p->at - keep};
}

struct ordered_row *ordered_insert(struct ordered *o, struct bytes key)
{
    struct ordered_place p = ordered_seek(o, key);
    struct ordered_row *r = ordered_at(o, p);
    if (r != NULL && bytes_equal(ordered_key(r), key)) return r;
    r = mem_alloc(sizeof *r + key.n);
    r->value = NULL;
    r->n = (uint32_t)key.n;
    memcpy(r->key, key.p, key.n);
    if (o->blocks == 0) {
        struct ordered_block *b = mem_alloc(sizeof *b);
        b->count = 0;
        insert_block(o, 0, b);
    } else if (p.block == o->blocks) { /* above all: at the end of the last block */
        p.block--;
        p.at = o->top[p.block].block->count;
    }
    if (o->top[p.block].block->count == ORDERED_BLOCK) split(o, &p);
    struct ordered_block *b = o->top[p.block].block;
    memmove(b->slots + p.at + 1, b->slots + p.at, (b->count - p.at) * sizeof b->slots[0]);
    b->slots[p.at] = (struct slot){prefix_of(key), r};
    b->count++;
    o->rows++;
    o->changes++;
    return r;
}

void ordered_remove(struct ordered *o, struct bytes key)
{
    struct ordered_place p = ordered_seek(o, key);
    struct ordered_row *r = ordered_at(o, p);
    ASSERT(r != NULL && bytes_equal(ordered_key(r), key));
    struct ordered_block *b = o->top[p.block].block;
    memmove(b->slots + p.at, b->slots + p.at + 1, (b->count - p.at - 1) * sizeof b->slots[0]);
    b->count--;
    size_t gone = p.block; /* a block to take out: this one when empty, or the next when it fits in here */
    if (b->count != 0) {
        gone++;
        if (gone == o->blocks || b->count + o->top[gone].block->count > ORDERED_BLOCK / 2) goto done;
        struct ordered_block *next = o->top[gone].block;
        memcpy(b->slots + b->count, next->slots, next->count * sizeof b->slots[0]);
        b->count += next->count;
    }
    mem_free(o->top[gone].block);
    memmove(o->top + gone, o->top + gone + 1, (o->blocks - gone - 1) * sizeof *o->top);
    o->blocks--;
done:
    o->rows--;
    o->changes++;
    mem_free(r);
}

void ordered_deinit(struct ordered *o)
{
    for (size_t i = 0; i < o->blocks; i++) {
        struct ordered_block *b = o->top[i].block;
        for (unsigned j = 0; j < b->count; j++) mem_free(b->slots[j].row);
        mem_free(b);
    }
    mem_free(o->top);
    *o = (struct ordered){0};
}
