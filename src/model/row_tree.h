/* row_tree.h - an ordered set of rows in memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   what an overlay collects, and what the in-memory view of tests and tools stands on. A skip list whose levels
 *            come from a hash of the key, so that the same rows make the same list.
 * Ownership: the tree copies keys and values and owns the copies.
 * Threading: one owner. */
#ifndef CAIRN_MODEL_ROW_TREE_H
#define CAIRN_MODEL_ROW_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define ROW_TREE_LEVELS 16

struct row_node {
    struct bytes key;   /* owned; never changes */
    struct bytes value; /* owned */
    uint64_t number;    /* the user's */
    bool deleted;       /* the user's: a row known to be absent */
    uint8_t levels;
    struct row_node *next[]; /* `levels` of them */
};

struct row_tree {
    struct row_node *first[ROW_TREE_LEVELS];
    size_t count;
};

void row_tree_deinit(struct row_tree *t);                                    /* also empties it for further use */
struct row_node *row_tree_find(const struct row_tree *t, struct bytes key);  /* NULL: not there */
struct row_node *row_tree_from(const struct row_tree *t, struct bytes key);  /* the first at or above key; NULL: none */
struct row_node *row_tree_below(const struct row_tree *t, struct bytes key); /* the last below key; NULL: none */
static inline struct row_node *row_tree_first(const struct row_tree *t) { return t->first[0]; }
static inline struct row_node *row_tree_next(const struct row_node *n) { return n->next[0]; }
/* Adds the row or replaces its value; value is copied. */
struct row_node *row_tree_put(struct row_tree *t, struct bytes key, struct bytes value);
bool row_tree_remove(struct row_tree *t, struct bytes key); /* false: was not there */

#endif
