/* history.h - rows that keep the older versions of keys, and what of them is visible.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    DESIGN.md, "Versions": the newest version of a key is its data row; when it is superseded, and the table
 *             keeps history, the old value becomes a history row. These are helpers alone: who writes and deletes such
 *             rows is an op in the log.
 * Threading:  pure.
 *
 * A data row's key, and the history row's of a version of it that was written at `written`. The spaces are the caller's
 * (table/place.h), and two different ones:
 *   offset  size  data row           history row
 *        0     4  table, big-endian  the same
 *        4     2  slot, big-endian   the same
 *        6     1  data space         history space
 *        7     …  the rest           the same
 *      end     8  –                  ~written, big-endian: the newest version first
 * The history row's value is 8 bytes, the timestamp at which the version was superseded (little-endian), and the value.
 *
 * The rest of a key has no end mark: among the versions of a key may lie rows of longer keys that begin with it (in
 * hash tables only if their 48-bit hashes are equal, too). A reader that seeks checks each row with history_is_of. */
#ifndef CAIRN_STORE_HISTORY_H
#define CAIRN_STORE_HISTORY_H

#include "base/bytes.h"
#include "base/hlc.h"

#define HISTORY_SPACE_AT 6
#define HISTORY_KEY_MIN  7 /* of a data row */

/* Both append to out. data_key is a data row's. */
void history_key(struct buf *out, struct bytes data_key, uint8_t history_space, hlc_t written);
void history_value(struct buf *out, hlc_t superseded, struct bytes old_value);

/* Is it the key of a history row of this data key? */
bool history_is_of(struct bytes key, uint8_t history_space, struct bytes data_key);
/* False: it is no history row's key (value). out_data_key is appended to. */
bool history_key_decode(struct bytes key, uint8_t history_space, uint8_t data_space, struct buf *out_data_key,
                        hlc_t *out_written);
bool history_value_decode(struct bytes value, hlc_t *out_superseded, struct bytes *out_old_value);

/* A read at or above the watermark may still need a version that was superseded after it. */
static inline bool history_should_keep(hlc_t watermark, hlc_t superseded)
{
    return superseded > watermark;
}

/* For engine_checksum (ctx is a struct history_view): leaves out history rows that may go, so that replicas which
 * deleted them already and those which did not have the same sum. A history row that can't be decoded is not left out.
 */
struct history_view {
    hlc_t watermark;
    uint8_t history_space;
};
bool history_skip(void *ctx, struct bytes key, struct bytes value);

#endif
