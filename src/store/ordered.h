/* ordered.h - an ordered set of byte strings in memory, each with a pointer; for the engine's twin.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    a sorted array cut into blocks of at most ORDERED_BLOCK rows, under one sorted array of blocks: two
 * binary searches a look-up, with the first eight bytes of the keys beside the pointers, and cheap steps. Ownership:
 * the set owns its rows; what `value` points at is the caller's. Threading:  one owner. */
#ifndef CAIRN_STORE_ORDERED_H
#define CAIRN_STORE_ORDERED_H

#include "base/bytes.h"

#define ORDERED_BLOCK 64

struct ordered_row {
    void *value;
    uint32_t n;
    uint8_t key[];
};

struct ordered_block;
struct ordered {
    struct ordered_top *top;
    size_t blocks, blocks_cap;
    size_t rows;
    uint64_t changes; /* rises whenever places become invalid */
};

/* Where a row is; valid until `changes` rises. block == ordered.blocks: the end. */
struct ordered_place {
    size_t block;
    unsigned at;
};

static inline struct bytes ordered_key(const struct ordered_row *r) { return bytes_of(r->key, r->n); }

void ordered_deinit(struct ordered *o);                                      /* values must have been freed */
struct ordered_row *ordered_find(const struct ordered *o, struct bytes key); /* NULL: absent */
struct ordered_row *ordered_insert(struct ordered *o, struct bytes key); /* the one there, or a new one, value NULL */
void ordered_remove(struct ordered *o, struct bytes key);                /* must be there; frees the row */

struct ordered_place ordered_seek(const struct ordered *o, struct bytes key);    /* the first row at or after */
struct ordered_row *ordered_at(const struct ordered *o, struct ordered_place p); /* NULL at the end */
void ordered_next(const struct ordered *o, struct ordered_place *p);
bool ordered_prev(const struct ordered *o, struct ordered_place *p); /* false: it was the first row */

#endif
