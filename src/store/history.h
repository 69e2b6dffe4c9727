/* history.h - rows that keep the older versions of rows, and what of them is visible.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    DESIGN.md, "Versions": the newest version of a row is the row itself. When it is changed, and the table keeps
 *             history, what it was becomes a history row, under the time of the change. A read at an earlier time finds the
 *             first change after it: there is what the row was; no such change: the row as it is. These are helpers alone:
 *             who writes, reads and deletes such rows is the model (model/history_view.h).
 * Threading:  pure.
 *
 * A data row's key, and the history row's of a version that was superseded at `superseded`. The spaces are the caller's
 * (table/place.h), and different ones:
 *   offset  size  data row           history row
 *        0     4  table, big-endian  the same
 *        4     2  slot, big-endian   the same
 *        6     1  data space         history space
 *        7     …  the rest           the same
 *      end     8  –                  superseded, big-endian: the oldest change first
 * The history row's value is a byte, 1 if there was a row, 0 if there was none, and the row's value. So that a history row
 * may go is told by its key alone: once `superseded` is at or below the watermark.
 *
 * The rest of a key has no end mark: among the versions of a row may lie those of longer keys that begin with it. A reader
 * that seeks checks each row with history_is_of. */
#ifndef CAIRN_STORE_HISTORY_H
#define CAIRN_STORE_HISTORY_H

#include "base/bytes.h"
#include "base/hlc.h"

#define HISTORY_SPACE_AT 6
#define HISTORY_KEY_MIN  7 /* of a data row */

/* Both append to out. data_key is a data row's. */
void history_key(struct buf *out, struct bytes data_key, uint8_t history_space, hlc_t superseded);
void history_value(struct buf *out, bool present, struct bytes old_value);

/* Is it the key of a history row of this data key? */
bool history_is_of(struct bytes key, uint8_t history_space, struct bytes data_key);
/* False: it is no history row's key (value). out_data_key is appended to. */
bool history_key_decode(struct bytes key, uint8_t history_space, uint8_t data_space, struct buf *out_data_key,
                        hlc_t *out_superseded);
bool history_value_decode(struct bytes value, bool *out_present, struct bytes *out_old_value);

/* A read at or above the watermark may still need a version that was superseded after it. */
static inline bool history_should_keep(hlc_t watermark, hlc_t superseded) { return superseded > watermark; }

/* For engine_checksum (ctx is a struct history_skip): leaves out history rows that may go. A key of these spaces that can't be
 * decoded is not left out. */
struct history_skip {
    hlc_t watermark;
    uint8_t spaces[2];
};
bool history_skip(void *ctx, struct bytes key, struct bytes value);

#endif
