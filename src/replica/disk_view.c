/* disk_view.c - rows read from the engine, wherever they are: for workers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "replica/disk_view.h"

void disk_view_deinit(struct disk_view *d) { buf_deinit(&d->kept); }

enum status disk_view_get(void *disk_view, struct bytes row, struct bytes *out)
{
    struct disk_view *d = disk_view;
    struct buf hi = {0};
    /* A get as of the snapshot: an iterator over the one key. */
    buf_put_bytes(&hi, row);
    buf_put_u8(&hi, 0);
    struct engine_iter *it = engine_iter_new(d->engine, d->snapshot, row, buf_view(&hi), ENGINE_DISK);
    engine_iter_first(it);
    enum status st = engine_iter_status(it, &d->err);
    if (st == ST_OK && engine_iter_valid(it)) {
        buf_clear(&d->kept);
        buf_put_bytes(&d->kept, engine_iter_value(it));
        *out = buf_view(&d->kept);
    } else if (st == ST_OK) {
        st = ST_NOT_FOUND;
    }
    engine_iter_free(it);
    buf_deinit(&hi);
    return st;
}

enum status disk_view_scan(void *disk_view, struct bytes lo, struct bytes hi, bool reverse,
                           bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct disk_view *d = disk_view;
    struct engine_iter *it = engine_iter_new(d->engine, d->snapshot, lo, hi, ENGINE_DISK);
    if (reverse) engine_iter_last(it);
    else engine_iter_first(it);
    while (engine_iter_valid(it) && each(each_ctx, engine_iter_key(it), engine_iter_value(it))) {
        if (reverse) engine_iter_prev(it);
        else engine_iter_next(it);
    }
    enum status st = engine_iter_status(it, &d->err);
    engine_iter_free(it);
    return st;
}
