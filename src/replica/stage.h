/* stage.h - the rows that one entry writes, before they are put into the table of newest rows all together.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    gives ops a view (model/op.h) in which later ops of the entry see what earlier ones wrote, and from which all
 *             can be dropped when a row turns out not to be in memory. Also serves reads, with nothing to write.
 * Missing:    after ST_NOT_READY, `missing` names the row, or `missing_hi` too: the range, that has to be fetched.
 * Threading:  the store's shard; a stage whose base is no table of rows may be used elsewhere until it is committed. */
#ifndef CAIRN_REPLICA_STAGE_H
#define CAIRN_REPLICA_STAGE_H

#include "model/op.h"
#include "store/rows.h"

struct stage_row {
    uint32_t key_at, key_size, value_at, value_size; /* in text */
    const uint8_t *outside;                          /* not NULL: the value lies here, in `stable` */
    bool deleted;
    bool early; /* it is in the engine already */
};

struct stage {
    struct rows *rows;
    struct buf text;
    struct bytes stable;    /* what stays where it is until the stage is cleared: large values of it are not copied */
    struct stage_row *list; /* in order of first writing */
    size_t count, cap;
    uint32_t *index; /* open addressing over list, +1; 0 is free */
    size_t index_cap;
    struct buf missing, missing_hi;
    bool cold; /* the copy serves no reads: what is written makes room for others first */
    /* What lies below; the table of rows, unless it is set to something else. */
    enum status (*base_get)(void *ctx, struct bytes row, struct bytes *out);
    enum status (*base_get_front)(void *ctx, struct bytes row, struct bytes *out);
    enum status (*base_scan)(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                             bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx);
    void *base_ctx;
};

void stage_init(struct stage *o, struct rows *rows);
void stage_deinit(struct stage *o);
void stage_clear(struct stage *o);
/* Fills in ctx and the functions; `writable` gives put and del. The caller sets table, slots, ts, counters. */
void stage_view(struct stage *o, bool writable, struct op_view *out);
/* Writes some of the rows that are element rows of incarnations from `fresh` on to the engine, past the table of rows: about
 * bytes_max of them, from *at on, which moves on. ST_BUSY: the engine refuses, again later. */
enum status stage_put_early(struct stage *o, uint64_t fresh, size_t bytes_max, size_t *at, struct error *err);
/* Puts everything else into the rows and clears. */
void stage_commit(struct stage *o);

#endif
