/* disk_view.h - rows read from the engine, wherever they are: for workers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   the two read functions of a view (model/op.h) for what is too much, or too rare, to be brought into memory first:
 *            reads on a snapshot, and entries whose rows do not stay in memory until all of them are there.
 * Threading: one user; get and scan block, so never on a loop. Only what was flushed from the table of rows is seen.
 * Errors:    the status of the engine; err has its text. */
#ifndef CAIRN_REPLICA_DISK_VIEW_H
#define CAIRN_REPLICA_DISK_VIEW_H

#include "store/engine.h"

struct disk_view {
    struct engine *engine;
    struct engine_snapshot *snapshot; /* NULL: as it is now */
    struct buf kept;                  /* the value lent, until the next get */
    struct error err;
};

void disk_view_deinit(struct disk_view *d); /* the snapshot stays its owner's */
enum status disk_view_get(void *disk_view, struct bytes row, struct bytes *out);
enum status disk_view_scan(void *disk_view, struct bytes lo, struct bytes hi, bool reverse,
                           bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx);

#endif
