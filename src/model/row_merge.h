/* row_merge.h - a scan of two ordered sources: rows of a view, and rows of a tree that take the place of theirs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   what overlays and reads of the past have in common. A node of the tree replaces the view's row of the same key, or
 *            stands between its rows; one that is `deleted` hides the row.
 * Threading: one owner. */
#ifndef CAIRN_MODEL_ROW_MERGE_H
#define CAIRN_MODEL_ROW_MERGE_H

#include "model/op.h"
#include "model/row_tree.h"

struct row_merge {
    struct op_view *base;
    const struct row_tree *over;
    /* Of the base's rows that the tree does not replace: is this one shown? NULL: all are. */
    bool (*shown)(void *shown_ctx, struct bytes row, struct bytes value);
    void *shown_ctx;
};

/* As op_view.scan. *out_stopped: each wanted no more; may be NULL. The tree must not change meanwhile. */
enum status row_merge_scan(const struct row_merge *m, struct bytes lo, struct bytes hi, bool reverse,
                           bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx,
                           bool *out_stopped);

#endif
