/* engine.c - chooses the engine, and what both do in the same way: batches, checksums.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/engine.h"

#include "base/hash.h"
#include "base/mem.h"
#include "store/engine_internal.h"

enum status engine_open(struct env *env, const char *dir, const struct engine_options *options, struct engine **out,
                        struct error *err)
{
    ASSERT(options->cache_bytes > 0 && options->write_buffer_bytes > 0);
    enum status st = env_dir_create(env, dir, err);
    if (st != ST_OK) return st;
    char *parent = mem_strdup(dir);
    char *slash = strrchr(parent, '/');
    if (slash != NULL && slash != parent) { /* "x" and "/x": the working directory and the root are there to stay */
        *slash = 0;
        st = env_dir_sync(env, parent, err);
    }
    mem_free(parent);
    if (st != ST_OK) return st;
    return env->simulated ? twin_open(env, dir, options, out, err) : rocks_open(env, dir, options, out, err);
}

void engine_close(struct engine *e)
{
    if (e != NULL) e->ops->close(e);
}

enum status engine_get(struct engine *e, struct bytes key, enum engine_read mode, struct engine_value *out,
                       struct error *err)
{
    return e->ops->get(e, key, mode, out, err);
}

enum status engine_get_durable(struct engine *e, struct bytes key, struct engine_value *out, struct error *err)
{
    return e->ops->get_durable(e, key, out, err);
}

void engine_value_release(struct engine_value *v)
{
    if (v->owner != NULL) v->owner->ops->value_release(v);
    *v = (struct engine_value){0};
}

struct engine_iter *engine_iter_new(struct engine *e, const struct engine_snapshot *s, struct bytes lo, struct bytes hi,
                                    enum engine_read mode)
{
    return e->ops->iter_new(e, s, lo, hi, mode);
}

void engine_iter_first(struct engine_iter *it) { it->ops->iter_first(it); }
void engine_iter_last(struct engine_iter *it) { it->ops->iter_last(it); }
void engine_iter_seek(struct engine_iter *it, struct bytes key) { it->ops->iter_seek(it, key); }
void engine_iter_seek_prev(struct engine_iter *it, struct bytes key) { it->ops->iter_seek_prev(it, key); }
bool engine_iter_valid(const struct engine_iter *it) { return it->ops->iter_valid(it); }

void engine_iter_next(struct engine_iter *it)
{
    ASSERT(engine_iter_valid(it));
    it->ops->iter_next(it);
}

void engine_iter_prev(struct engine_iter *it)
{
    ASSERT(engine_iter_valid(it));
    it->ops->iter_prev(it);
}

enum status engine_iter_status(const struct engine_iter *it, struct error *err)
{
    return it->ops->iter_status(it, err);
}

struct bytes engine_iter_key(const struct engine_iter *it) { return it->ops->iter_key(it); }
struct bytes engine_iter_value(const struct engine_iter *it) { return it->ops->iter_value(it); }

void engine_iter_free(struct engine_iter *it)
{
    if (it != NULL) it->ops->iter_free(it);
}

struct engine_snapshot *engine_snapshot_take(struct engine *e) { return e->ops->snapshot_take(e); }

void engine_snapshot_release(struct engine *e, struct engine_snapshot *s)
{
    if (s != NULL) e->ops->snapshot_release(e, s);
}

/* ---- batches ---- */

void engine_op_encode(struct buf *out, enum engine_op_kind kind, struct bytes a, struct bytes b)
{
    ASSERT(a.n <= UINT32_MAX && b.n <= UINT32_MAX);
    uint8_t *p = buf_extend(out, 9 + a.n + b.n);
    p[0] = (uint8_t)kind;
    put_u32(p + 1, (uint32_t)a.n);
    put_u32(p + 5, (uint32_t)b.n);
    if (a.n != 0) memcpy(p + 9, a.p, a.n);
    if (b.n != 0) memcpy(p + 9 + a.n, b.p, b.n);
}

bool engine_op_next(struct reader *r, struct engine_op *out)
{
    if (reader_left(r) == 0) return false;
    uint8_t kind = reader_u8(r);
    uint32_t a = reader_u32(r), b = reader_u32(r);
    if (kind < ENGINE_OP_PUT || kind > ENGINE_OP_DELETE_RANGE) r->failed = true;
    out->kind = (enum engine_op_kind)kind;
    out->a = reader_bytes(r, a);
    out->b = reader_bytes(r, b);
    return !r->failed;
}

struct engine_batch *engine_batch_new(void) { return mem_zalloc(sizeof(struct engine_batch)); }

void engine_batch_free(struct engine_batch *b)
{
    if (b == NULL) return;
    buf_deinit(&b->ops);
    mem_free(b);
}

void engine_batch_clear(struct engine_batch *b)
{
    buf_clear(&b->ops);
    b->count = 0;
}

void engine_batch_put(struct engine_batch *b, struct bytes key, struct bytes value)
{
    ASSERT(key.n > 0);
    engine_op_encode(&b->ops, ENGINE_OP_PUT, key, value);
    b->count++;
}

void engine_batch_delete(struct engine_batch *b, struct bytes key)
{
    ASSERT(key.n > 0);
    engine_op_encode(&b->ops, ENGINE_OP_DELETE, key, (struct bytes){0});
    b->count++;
}

void engine_batch_delete_range(struct engine_batch *b, struct bytes lo, struct bytes hi)
{
    if (bytes_compare(lo, hi) >= 0) return; /* empty */
    engine_op_encode(&b->ops, ENGINE_OP_DELETE_RANGE, lo, hi);
    b->count++;
}

size_t engine_batch_count(const struct engine_batch *b) { return b->count; }

enum status engine_write(struct engine *e, struct engine_batch *b, struct error *err)
{
    return e->ops->write(e, b, err);
}

uint64_t engine_unflushed_bytes(const struct engine *e) { return e->ops->unflushed_bytes(e); }

/* ---- whole-range work ---- */

enum status engine_flush(struct engine *e, struct error *err) { return e->ops->flush(e, err); }

enum status engine_drop_range(struct engine *e, struct bytes lo, struct bytes hi, struct error *err)
{
    if (bytes_compare(lo, hi) >= 0) return engine_flush(e, err);
    return e->ops->drop_range(e, lo, hi, err);
}

enum status engine_checkpoint(struct engine *e, const char *dir, struct error *err)
{
    if (env_exists(e->env, dir)) return error_set(err, ST_EXISTS, "checkpoint directory '%s' exists", dir);
    return e->ops->checkpoint(e, dir, err);
}

enum status engine_checksum(struct engine *e, const struct engine_snapshot *s, struct bytes lo, struct bytes hi,
                            bool (*skip)(void *ctx, struct bytes key, struct bytes value), void *ctx,
                            uint64_t *out_hash, uint64_t *out_rows, struct error *err)
{
    struct engine_snapshot *own = s == NULL ? engine_snapshot_take(e) : NULL;
    struct engine_iter *it = engine_iter_new(e, own != NULL ? own : s, lo, hi, ENGINE_DISK);
    uint64_t hash = 0, rows = 0;
    for (engine_iter_first(it); engine_iter_valid(it); engine_iter_next(it)) {
        struct bytes key = engine_iter_key(it), value = engine_iter_value(it);
        if (skip != NULL && skip(ctx, key, value)) continue;
        hash = hash64(value, hash64(key, hash) + key.n);
        rows++;
    }
    enum status st = engine_iter_status(it, err);
    engine_iter_free(it);
    engine_snapshot_release(e, own);
    if (st != ST_OK) return st;
    *out_hash = hash;
    *out_rows = rows;
    return ST_OK;
}

enum status engine_ingest_new(struct engine *e, struct engine_ingest **out, struct error *err)
{
    return e->ops->ingest_new(e, out, err);
}

enum status engine_ingest_add(struct engine_ingest *g, struct bytes key, struct bytes value, struct error *err)
{
    ASSERT(key.n > 0);
    return g->ops->ingest_add(g, key, value, err);
}

enum status engine_ingest_finish(struct engine_ingest *g, struct bytes lo, struct bytes hi, struct error *err)
{
    return g->ops->ingest_finish(g, lo, hi, err);
}

void engine_ingest_abort(struct engine_ingest *g)
{
    if (g != NULL) g->ops->ingest_abort(g);
}

void engine_stats(struct engine *e, struct engine_stats *out)
{
    *out = (struct engine_stats){0};
    e->ops->stats(e, out);
}
