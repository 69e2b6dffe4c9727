/* row_tree.c - an ordered set of rows in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/row_tree.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"

/* Fills path[level] with the link that leads to the first node at or above key. */
static struct row_node *seek(const struct row_tree *t, struct bytes key, struct row_node ***path,
                             struct row_node **out_before)
{
    struct row_node *const *links = t->first;
    struct row_node *before = NULL;
    for (int level = ROW_TREE_LEVELS - 1; level >= 0; level--) {
        while (links[level] != NULL && bytes_compare(links[level]->key, key) < 0) {
            before = links[level];
            links = before->next;
        }
        if (path != NULL) path[level] = (struct row_node **)&links[level];
    }
    if (out_before != NULL) *out_before = before;
    return links[0];
}

static void node_free(struct row_node *n)
{
    mem_free((void *)n->value.p);
    mem_free(n);
}

void row_tree_deinit(struct row_tree *t)
{
    struct row_node *next;
    for (struct row_node *n = t->first[0]; n != NULL; n = next) {
        next = n->next[0];
        node_free(n);
    }
    *t = (struct row_tree){0};
}

struct row_node *row_tree_from(const struct row_tree *t, struct bytes key) { return seek(t, key, NULL, NULL); }

struct row_node *row_tree_find(const struct row_tree *t, struct bytes key)
{
    struct row_node *n = seek(t, key, NULL, NULL);
    return n != NULL && bytes_equal(n->key, key) ? n : NULL;
}

struct row_node *row_tree_below(const struct row_tree *t, struct bytes key)
{
    struct row_node *before;
    seek(t, key, NULL, &before);
    return before;
}

struct row_node *row_tree_put(struct row_tree *t, struct bytes key, struct bytes value)
{
    struct row_node **path[ROW_TREE_LEVELS];
    struct row_node *n = seek(t, key, path, NULL);
    void *copy = mem_copy(value.p, value.n);
    if (n != NULL && bytes_equal(n->key, key)) {
        mem_free((void *)n->value.p);
        n->value = bytes_of(copy, value.n);
        return n;
    }
    uint64_t h = hash64(key, 0x726f7774726565u) | 1ull << (2 * (ROW_TREE_LEVELS - 1));
    unsigned levels = 1 + (unsigned)__builtin_ctzll(h) / 2; /* a quarter of the nodes of each level in the next */
    ASSERT(levels <= ROW_TREE_LEVELS);
    n = mem_zalloc(sizeof *n + levels * sizeof n->next[0] + key.n);
    n->levels = (uint8_t)levels;
    uint8_t *at = (uint8_t *)&n->next[levels];
    if (key.n != 0) memcpy(at, key.p, key.n);
    n->key = bytes_of(at, key.n);
    n->value = bytes_of(copy, value.n);
    for (unsigned level = 0; level < levels; level++) {
        n->next[level] = *path[level];
        *path[level] = n;
    }
    t->count++;
    return n;
}

bool row_tree_remove(struct row_tree *t, struct bytes key)
{
    struct row_node **path[ROW_TREE_LEVELS];
    struct row_node *n = seek(t, key, path, NULL);
    if (n == NULL || !bytes_equal(n->key, key)) return false;
    for (unsigned level = 0; level < n->levels; level++) {
        ASSERT(*path[level] == n);
        *path[level] = n->next[level];
    }
    node_free(n);
    t->count--;
    return true;
}
