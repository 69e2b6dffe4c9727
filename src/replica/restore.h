/* restore.h - makes a store's engine, copied out of a checkpoint, the engine of a new cluster's only node.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    what belonged to the old cluster goes: applied rows, outcome windows, the catalog, rows of partitions that are not
 *             wanted from this store. Each partition that is gets the applied row of a new replica: index 1 of term 1, with the
 *             old one's time, counters, retention and watermark, and a configuration of itself alone.
 * Checks:     every row is read, and with it the checksums of its files; the rows of each key-value partition have to fit together
 *             (kv_check). ST_CORRUPT says what does not.
 * Threading:  blocking; nobody else has the engine. */
#ifndef CAIRN_REPLICA_RESTORE_H
#define CAIRN_REPLICA_RESTORE_H

#include "consensus/raft.h"
#include "env/env.h"

struct restore_partition {
    uint64_t partition_id, old_replica_id, new_replica_id;
    uint32_t table, slot_lo, slot_hi;
    store_addr_t store; /* the new replica's */
    /* A partition whose rows are replaced (the catalog's): gives them, in rising or any order; NULL: the rows stay. */
    void (*rows)(void *ctx, void (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx);
    void *ctx;
    uint64_t out_rows, out_keys;
};
enum status restore_engine(struct env *env, const char *engine_dir, struct restore_partition *parts, size_t count,
                           struct error *err);

#endif
