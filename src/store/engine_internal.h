/* engine_internal.h - what the two engines have in common: the table of functions, and how a batch lies in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_STORE_ENGINE_INTERNAL_H
#define CAIRN_STORE_ENGINE_INTERNAL_H

#include "store/engine.h"

struct engine_ops {
    void (*close)(struct engine *);
    enum status (*get)(struct engine *, struct bytes, enum engine_read, struct engine_value *, struct error *);
    enum status (*get_durable)(struct engine *, struct bytes, struct engine_value *, struct error *);
    void (*value_release)(struct engine_value *);
    struct engine_iter *(*iter_new)(struct engine *, const struct engine_snapshot *, struct bytes, struct bytes,
                                    enum engine_read);
    void (*iter_first)(struct engine_iter *);
    void (*iter_last)(struct engine_iter *);
    void (*iter_seek)(struct engine_iter *, struct bytes);
    void (*iter_seek_prev)(struct engine_iter *, struct bytes);
    void (*iter_next)(struct engine_iter *);
    void (*iter_prev)(struct engine_iter *);
    bool (*iter_valid)(const struct engine_iter *);
    enum status (*iter_status)(const struct engine_iter *, struct error *);
    struct bytes (*iter_key)(const struct engine_iter *);
    struct bytes (*iter_value)(const struct engine_iter *);
    void (*iter_free)(struct engine_iter *);
    struct engine_snapshot *(*snapshot_take)(struct engine *);
    void (*snapshot_release)(struct engine *, struct engine_snapshot *);
    enum status (*write)(struct engine *, struct engine_batch *, struct error *);
    uint64_t (*unflushed_bytes)(const struct engine *);
    enum status (*flush)(struct engine *, struct error *);
    enum status (*drop_range)(struct engine *, struct bytes, struct bytes, struct error *);
    enum status (*checkpoint)(struct engine *, const char *, struct error *);
    enum status (*ingest_new)(struct engine *, struct engine_ingest **, struct error *);
    enum status (*ingest_add)(struct engine_ingest *, struct bytes, struct bytes, struct error *);
    enum status (*ingest_finish)(struct engine_ingest *, struct bytes, struct bytes, struct error *);
    void (*ingest_abort)(struct engine_ingest *);
    void (*stats)(struct engine *, struct engine_stats *);
};

/* Every implementation's object begins with its header. */
struct engine {
    const struct engine_ops *ops;
    struct env *env;
};
struct engine_iter {
    const struct engine_ops *ops;
};
struct engine_ingest {
    const struct engine_ops *ops;
};

/* A batch is its operations in order:
 *   offset  size  meaning
 *        0     1  enum engine_op_kind
 *        1     4  length of a
 *        5     4  length of b
 *        9     …  a: the key, or the low end of a range; b: the value, nothing, or the high end */
enum engine_op_kind { ENGINE_OP_PUT = 1, ENGINE_OP_DELETE = 2, ENGINE_OP_DELETE_RANGE = 3 };

struct engine_batch {
    struct buf ops;
    size_t count;
};

struct engine_op {
    enum engine_op_kind kind;
    struct bytes a, b;
};

void engine_op_encode(struct buf *out, enum engine_op_kind kind, struct bytes a, struct bytes b);
/* False at the end, or (r->failed) when the bytes are not operations. */
bool engine_op_next(struct reader *r, struct engine_op *out);

/* dir exists and its name is durable. */
enum status rocks_open(struct env *env, const char *dir, const struct engine_options *options, struct engine **out,
                       struct error *err);
enum status twin_open(struct env *env, const char *dir, const struct engine_options *options, struct engine **out,
                      struct error *err);

#endif
