/* history_view.h - a partition's rows with their past: written down as they change, and read as of a time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   two wrappers of an op's view (op.h), so that ops know nothing of history.
 *            history_writer: before an op changes a head or an element, what it was becomes a history row (store/history.h).
 *            Elements of incarnations that this same op made are left out: at no earlier time did a head lead to them.
 *            history_reader: shows heads and elements as they were at a time. The op's own time is that one too, so that
 *            expiry is decided by it. It shows no other rows.
 * Needs:     element rows of dead incarnations stay until the watermark has passed their end (kv_clean.c).
 * Errors:    a row that is to be changed may not be in memory, which a put can't say: `status` of the writer tells, and then
 *            the op has to end with it.
 * Threading: one owner. The base view is borrowed. */
#ifndef CAIRN_MODEL_HISTORY_VIEW_H
#define CAIRN_MODEL_HISTORY_VIEW_H

#include "model/op.h"
#include "model/row_tree.h"

struct history_writer {
    struct op_view view; /* give this one to the op */
    struct op_view *base;
    struct row_tree seen; /* rows that this op changed already */
    struct buf key, old, value;
    enum status status; /* ST_OK, or why a row that was changed could not be read */
};
void history_writer_init(struct history_writer *w, struct op_view *base); /* base takes writes */
void history_writer_deinit(struct history_writer *w);

struct history_reader {
    struct op_view view; /* give this one to the op; read only */
    struct op_view *base;
    hlc_t ts, newest;
    size_t rows_max; /* of history that a scan has in memory at a time, and few more; at least 2. Tests make it small */
    size_t kept_max; /* how many it had at most */
    struct buf lo, hi, value;
};
/* ts is at or above the partition's watermark, and all entries at or below it are applied. newest: no op that the rows show
 * was later. Scans go forward only. Their memory has a bound whatever the history's length; they pass all of the history of
 * the slot's keys, or the collection's elements, that they go over. */
void history_reader_init(struct history_reader *h, struct op_view *base, hlc_t ts, hlc_t newest);
void history_reader_deinit(struct history_reader *h);

#endif
