/* checkpoint.h - a node's stores as they are at one moment each, in a directory of their own; and a new cluster made of one.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    DIR/checkpoints/NAME holds, for each store, the engine's files (hard links where the file system can), a copy of
 *             the catalog, and the file CHECKPOINT. A partition's rows in it are as of one applied index: with all writes that
 *             were answered by this node's leaders before it was asked for. Partitions are as of different moments, a few
 *             milliseconds apart. No log is in it, and no identity: it can't be started, only restored from.
 * Restoring:  makes the data directory of a new cluster of one node: new cluster id, new node uuid, new replica ids. The old
 *             cluster and its nodes mean nothing to it, nor it to them. Every row is read, and its files' checksums with it;
 *             every partition's rows are checked to fit together.
 * Format:     CHECKPOINT: magic u32 | format u32 | crc32c u32 of the rest | cluster id 16 | node id u64 | made u64 (ms since 1970) |
 *             stores u16
 * Threading:  checkpoint_begin on shard 0; the others block and are for workers and commands.
 * Bound:      CHECKPOINTS_MAX of them are kept; beyond that one has to be removed by hand first. */
#ifndef CAIRN_NODE_CHECKPOINT_H
#define CAIRN_NODE_CHECKPOINT_H

#include "env/env.h"

#define CHECKPOINTS_MAX     16
#define CHECKPOINT_NAME_MAX 48

struct node;

struct checkpoint_info {
    uint8_t cluster_id[16];
    uint64_t node_id, made_ms;
    uint16_t stores;
};
enum status checkpoint_info_save(struct env *env, const char *dir, const struct checkpoint_info *info,
                                 struct error *err);
enum status checkpoint_info_load(struct env *env, const char *dir, struct checkpoint_info *out, struct error *err);

struct checkpoint_list {
    char names[CHECKPOINTS_MAX][CHECKPOINT_NAME_MAX]; /* whole ones, in no order */
    size_t count, half;                               /* half: begun and not finished */
};
/* Removes what was begun and not finished. Blocking; while no checkpoint is being made. */
enum status checkpoint_clean(struct env *env, const char *node_dir, struct error *err);
enum status checkpoint_find(struct env *env, const char *node_dir, struct checkpoint_list *out, struct error *err);

/* Makes one; done runs once, on shard 0. dir is borrowed for the call. ST_BUSY: one is being made, or an engine refuses just
 * now. ST_OVERLOADED: there are CHECKPOINTS_MAX. */
void checkpoint_begin(struct node *n, void (*done)(void *ctx, enum status st, const char *dir, const char *text),
                      void *ctx);

struct restore_report {
    uint64_t partitions, rows, keys;
};
/* `to` must not hold a node's data. Blocking. ST_NOT_FOUND: a partition has no copy in the checkpoint. */
enum status checkpoint_restore(struct env *env, const char *from, const char *to, struct restore_report *out,
                               struct error *err);

#endif
