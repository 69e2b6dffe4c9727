/* twin_file.h - what the engine's twin has on disk: an image and what was flushed since, in one file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    twin-N holds records of operations (engine_internal.h), each appended and synced by one flush; the first
 * one is an image. When it has grown, an image goes into twin-(N+1) and twin-N is removed. Recovery:   the newest file
 * whose image is whole counts. A bad record at the end is a flush that a crash cut, and is dropped; one with a good
 * record after it is damage: ST_CORRUPT. Errors:     after a failed append or rewrite the file must not be used any
 * more, but for closing.
 *
 * A record, little-endian:
 *   offset  size  meaning
 *        0     4  magic
 *        4     4  CRC32C of all that follows
 *        8     8  number of the file
 *       16     8  offset of the record in the file
 *       24     8  length of the operations
 *       32     …  the operations */
#ifndef CAIRN_STORE_TWIN_FILE_H
#define CAIRN_STORE_TWIN_FILE_H

#include "env/env.h"

struct twin_file {
    struct env *env;
    char *dir;
    struct env_file *file;
    uint64_t number;
    uint64_t bytes;       /* good ones */
    uint64_t image_bytes; /* of the first record */
};

/* Opens or creates; calls load(ctx, operations) for each record, in order. */
enum status twin_file_open(struct env *env, const char *dir, bool (*load)(void *ctx, struct bytes ops), void *ctx,
                           struct twin_file *out, struct error *err);
void twin_file_close(struct twin_file *f);
enum status twin_file_append(struct twin_file *f, struct bytes ops, struct error *err);  /* durable on return */
enum status twin_file_rewrite(struct twin_file *f, struct bytes ops, struct error *err); /* ops are the new image */
/* Writes an image into a new directory. */
enum status twin_file_export(struct env *env, const char *dir, struct bytes ops, struct error *err);

#endif
