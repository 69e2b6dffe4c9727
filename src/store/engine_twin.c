/* engine_twin.c - the engine in memory, for the simulator: as RocksDB, but quick, and the same in every run.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rows have versions with the number of the batch that wrote them, as many as open snapshots, iterators and the last
 * flush can see. What was written since the last flush is also kept as a list of operations; a flush appends that to
 * the file, and so a crash goes back to a flush, between two batches. Its troubles, drawn from options.seed: it refuses
 * writes for a while, flushes by itself, writes its file anew, answers that rows are not in memory, and its file drops
 * take some of the rows only, at once and for every reader.
 *
 * There is one thread, but a simulated worker gives way to others within each file operation. So whoever uses the file
 * holds `file_used`, and whatever is done with the rows is done between two file operations. Calls from the loop write
 * no file: a flush that is to begin there freezes what there is to flush, and the next call from a worker writes it. */
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "store/engine_internal.h"
#include "store/ordered.h"
#include "store/twin_file.h"

enum {
    COLD_SLOTS = 4096,    /* keys share these by hash, as rows share a block */
    COLD_ONE_IN = 8,      /* slots that an epoch begins cold … */
    EPOCH_ONE_IN = 500,   /* … and writes that begin one */
    BUSY_ONE_IN = 150,    /* writes that begin to be refused … */
    BUSY_WRITES_MAX = 20, /* … as are some after them */
    FREEZE_ONE_IN = 100,  /* writes */
    THAW_ONE_IN = 3,      /* calls of workers that find something frozen */
    REWRITE_ONE_IN = 40,  /* flushes */
    BUFFERS_MAX = 3,
    TAKE_TRIES_MAX = 1000,
    REWRITE_BYTES = 64 << 10,
    DELTA_KEEP_BYTES = 1 << 20,
};

struct version {
    struct version *older;
    uint64_t seq; /* of the batch that wrote it */
    uint32_t n;
    bool deleted;
    uint8_t value[];
};

struct engine_snapshot {
    struct link link;
    uint64_t seq;
};

struct twin {
    struct engine base;
    struct ordered rows; /* value: the newest struct version */
    struct list snapshots;
    uint64_t seq, flushed_seq;
    struct buf delta;      /* operations not yet flushed, after … */
    struct buf frozen;     /* … those up to frozen_seq, whose flush is due … */
    uint64_t frozen_seq;   /* … (UINT64_MAX: none) … */
    uint64_t flushing_seq; /* … and those up to here, being written (UINT64_MAX: none) */
    struct twin_file file;
    char *dir;
    bool file_used;
    bool gate; /* an ingest: no writes */
    uint64_t write_buffer_bytes, flushes;
    struct error broken; /* the disk failed: no write any more */
    bool troubled;
    struct rng rng;
    uint64_t seed;
    unsigned busy_left;
    uint32_t epoch, warm[COLD_SLOTS]; /* the epoch in which a slot was last read from disk */
};

struct twin_iter {
    struct engine_iter base;
    struct twin *t;
    struct engine_snapshot snapshot; /* keeps the versions that it sees */
    enum engine_read mode;
    enum status status;
    bool valid;
    struct ordered_place place;
    uint64_t changes; /* of rows when place was found */
    struct buf lo, hi, key, value;
};

struct twin_ingest {
    struct engine_ingest base;
    struct twin *t;
    struct buf ops, last;
};

/* ---- versions ---- */

static bool seen(const struct twin *t, uint64_t from, uint64_t below)
{
    const uint64_t flushes[] = {t->flushed_seq, t->frozen_seq, t->flushing_seq};
    for (size_t i = 0; i < ARRAY_COUNT(flushes); i++)
        if (flushes[i] >= from && flushes[i] < below) return true;
    for (const struct link *k = list_first(&t->snapshots); k != NULL; k = list_next(&t->snapshots, k)) {
        uint64_t seq = CONTAINER_OF(k, const struct engine_snapshot, link)->seq;
        if (seq >= from && seq < below) return true;
    }
    return false;
}

/* Frees what nobody can see of the row; the row, too, if that is all of it (true). */
static bool prune(struct twin *t, struct ordered_row *row)
{
    struct version *newest = row->value;
    uint64_t below = newest != NULL ? newest->seq : 0;
    for (struct version **at = newest != NULL ? &newest->older : NULL; at != NULL && *at != NULL;) {
        struct version *v = *at;
        uint64_t from = v->seq;
        if (seen(t, from, below)) {
            at = &v->older;
        } else {
            *at = v->older;
            mem_free(v);
        }
        below = from;
    }
    if (newest != NULL && !(newest->deleted && newest->older == NULL)) return false;
    mem_free(newest);
    ordered_remove(&t->rows, ordered_key(row));
    return true;
}

static void set(struct twin *t, struct ordered_row *row, struct bytes value, bool deleted)
{
    struct version *v = mem_alloc(sizeof *v + value.n), *old = row->value;
    if (old != NULL && old->seq == t->seq) { /* twice in one batch */
        v->older = old->older;
        mem_free(old);
    } else {
        v->older = old;
    }
    v->seq = t->seq;
    v->n = (uint32_t)value.n;
    v->deleted = deleted;
    if (value.n != 0) memcpy(v->value, value.p, value.n);
    row->value = v;
    prune(t, row);
}

static const struct version *visible(const struct ordered_row *row, uint64_t seq)
{
    const struct version *v = row->value;
    while (v != NULL && v->seq > seq) v = v->older;
    return v != NULL && !v->deleted ? v : NULL;
}

/* Calls fn for each row of [lo, hi); it may free the row. */
static void each_row(struct twin *t, struct bytes lo, struct bytes hi,
                     void (*fn)(struct twin *t, struct ordered_row *row))
{
    struct ordered_place place = ordered_seek(&t->rows, lo);
    struct buf key = {0};
    for (struct ordered_row *row; (row = ordered_at(&t->rows, place)) != NULL;) {
        if (hi.n != 0 && bytes_compare(ordered_key(row), hi) >= 0) break;
        uint64_t changes = t->rows.changes;
        buf_clear(&key);
        buf_put_bytes(&key, ordered_key(row));
        fn(t, row);
        if (t->rows.changes == changes) ordered_next(&t->rows, &place);
        else place = ordered_seek(&t->rows, buf_view(&key)); /* the row is gone */
    }
    buf_deinit(&key);
}

static void set_deleted(struct twin *t, struct ordered_row *row) { set(t, row, (struct bytes){0}, true); }
static void prune_row(struct twin *t, struct ordered_row *row) { prune(t, row); }

/* Does the operations as batch t->seq. False: these are none. */
static bool apply(struct twin *t, struct bytes ops)
{
    struct reader r = reader_of(ops);
    struct engine_op op;
    while (engine_op_next(&r, &op)) {
        struct ordered_row *row;
        switch (op.kind) {
        case ENGINE_OP_PUT: set(t, ordered_insert(&t->rows, op.a), op.b, false); break;
        case ENGINE_OP_DELETE:
            if ((row = ordered_find(&t->rows, op.a)) != NULL) set_deleted(t, row);
            break;
        case ENGINE_OP_DELETE_RANGE: each_row(t, op.a, op.b, set_deleted); break;
        }
    }
    return !r.failed;
}

/* ---- troubles ---- */

static bool cold(const struct twin *t, struct bytes key)
{
    if (!t->troubled) return false;
    uint64_t slot = hash64(key, t->seed) % COLD_SLOTS;
    return t->warm[slot] != t->epoch && hash_u64(t->seed ^ (slot << 32 | t->epoch)) % COLD_ONE_IN == 0;
}

static void warm_up(struct twin *t, struct bytes key)
{
    if (t->troubled) t->warm[hash64(key, t->seed) % COLD_SLOTS] = t->epoch;
}

static bool refuses(struct twin *t)
{
    if (!t->troubled) return false;
    if (t->busy_left == 0 && rng_chance(&t->rng, BUSY_ONE_IN))
        t->busy_left = (unsigned)rng_between(&t->rng, 1, BUSY_WRITES_MAX);
    if (t->busy_left == 0) return false;
    t->busy_left--;
    return true;
}

/* ---- flushing ---- */

static void image(struct twin *t, struct buf *out)
{
    struct ordered_place p = {0};
    for (struct ordered_row *row; (row = ordered_at(&t->rows, p)) != NULL; ordered_next(&t->rows, &p)) {
        const struct version *v = visible(row, t->flushed_seq);
        if (v != NULL) engine_op_encode(out, ENGINE_OP_PUT, ordered_key(row), bytes_of(v->value, v->n));
    }
}

static enum status disk_failed(struct twin *t, enum status st, struct error *err)
{
    if (t->broken.status == ST_OK) {
        if (err != NULL) t->broken = *err;
        t->broken.status = st;
    }
    return st;
}

static enum status check_broken(const struct twin *t, struct error *err)
{
    if (t->broken.status == ST_OK) return ST_OK;
    return error_set(err, t->broken.status, "the disk failed before: %s", t->broken.text);
}

static enum status append(struct twin *t, struct bytes ops, struct error *err)
{
    struct error own = {0};
    enum status st = twin_file_append(&t->file, ops, &own);
    if (st == ST_OK && (t->file.bytes > 2 * t->file.image_bytes + REWRITE_BYTES ||
                        (t->troubled && rng_chance(&t->rng, REWRITE_ONE_IN)))) {
        /* The image is of the flush before; what was just appended comes after it again. */
        struct buf b = {0};
        image(t, &b);
        buf_put_bytes(&b, ops);
        st = twin_file_rewrite(&t->file, buf_view(&b), &own);
        buf_deinit(&b);
    }
    if (st == ST_OK) return ST_OK;
    if (err != NULL) *err = own;
    return disk_failed(t, st, &own);
}

/* Workers: waits until nobody else uses the file. A sync of the directory is a way to let time pass. ST_BUSY: it does
 * not pass for the others, as the caller is the loop. */
static enum status take_file(struct twin *t, struct error *err)
{
    for (unsigned i = 0; t->file_used; i++) {
        if (i == TAKE_TRIES_MAX) return error_set(err, ST_BUSY, "the twin's file is in use");
        (void)env_dir_sync(t->base.env, t->dir, NULL);
    }
    t->file_used = true;
    return ST_OK;
}

static void give_file(struct twin *t) { t->file_used = false; }

static void freeze(struct twin *t)
{
    if (t->delta.n == 0) return;
    buf_put_bytes(&t->frozen, buf_view(&t->delta));
    t->frozen_seq = t->seq;
    buf_clear(&t->delta);
    if (t->delta.cap > DELTA_KEEP_BYTES) buf_deinit(&t->delta);
}

/* Frees what only the flush before these operations could see. */
static void prune_all(struct twin *t, struct bytes ops)
{
    struct reader r = reader_of(ops);
    struct engine_op op;
    while (engine_op_next(&r, &op)) {
        struct ordered_row *row;
        if (op.kind == ENGINE_OP_DELETE_RANGE) each_row(t, op.a, op.b, prune_row);
        else if ((row = ordered_find(&t->rows, op.a)) != NULL) prune(t, row);
    }
}

/* Makes what is frozen durable. With the file taken. */
static enum status flush_frozen(struct twin *t, struct error *err)
{
    enum status st = check_broken(t, err);
    if (st != ST_OK || t->frozen.n == 0) return st;
    struct buf ops = t->frozen;
    t->flushing_seq = t->frozen_seq;
    t->frozen = (struct buf){0};
    t->frozen_seq = UINT64_MAX;
    st = append(t, buf_view(&ops), err);
    if (st == ST_OK) {
        t->flushed_seq = t->flushing_seq;
        t->flushing_seq = UINT64_MAX;
        t->epoch++;
        prune_all(t, buf_view(&ops));
    }
    buf_deinit(&ops);
    return st;
}

static enum status flush_all(struct twin *t, struct error *err)
{
    freeze(t);
    return flush_frozen(t, err);
}

static enum status twin_flush(struct engine *base, struct error *err)
{
    struct twin *t = (struct twin *)base;
    t->flushes++;
    enum status st = take_file(t, err);
    if (st != ST_OK) return st;
    st = flush_all(t, err);
    give_file(t);
    return st;
}

static void nothing(void *ctx, const char *name) {}

/* A worker came by: the engine's own thread may do something, and reading takes time (listing a directory does, too).
 */
static void on_worker(struct twin *t)
{
    if (!t->troubled) return;
    if (t->frozen.n != 0 && !t->file_used && rng_chance(&t->rng, THAW_ONE_IN)) {
        t->file_used = true;
        flush_frozen(t, NULL);
        give_file(t);
    } else {
        (void)env_dir_list(t->base.env, t->dir, nothing, NULL, NULL);
    }
}

static enum status twin_write(struct engine *base, struct engine_batch *b, struct error *err)
{
    struct twin *t = (struct twin *)base;
    enum status st = check_broken(t, err);
    if (st != ST_OK) return st;
    bool full = t->frozen.n + t->delta.n > BUFFERS_MAX * t->write_buffer_bytes;
    if (t->gate || refuses(t) || (full && t->file_used)) return error_set(err, ST_BUSY, "engine write");
    if (full) { /* nobody flushes: this once, the loop waits */
        st = flush_all(t, err);
        if (st != ST_OK) return st;
    }
    if (t->delta.n > t->write_buffer_bytes || (t->troubled && rng_chance(&t->rng, FREEZE_ONE_IN))) freeze(t);
    if (t->troubled && rng_chance(&t->rng, EPOCH_ONE_IN)) t->epoch++;
    t->seq++;
    bool whole = apply(t, buf_view(&b->ops));
    ASSERT(whole);
    buf_put_bytes(&t->delta, buf_view(&b->ops));
    return ST_OK;
}

static uint64_t twin_unflushed_bytes(const struct engine *base)
{
    const struct twin *t = (const struct twin *)base;
    return t->delta.n + t->frozen.n + (t->flushing_seq != UINT64_MAX);
}

/* ---- reading ---- */

static void lend(struct twin *t, const struct version *v, struct engine_value *out)
{
    void *copy = mem_copy(v->value, v->n);
    *out = (struct engine_value){bytes_of(copy, v->n), &t->base, copy};
}

static void twin_value_release(struct engine_value *v) { mem_free(v->impl); }

static enum status get(struct twin *t, struct bytes key, uint64_t seq, struct engine_value *out)
{
    const struct ordered_row *row = ordered_find(&t->rows, key);
    const struct version *v = row != NULL ? visible(row, seq) : NULL;
    if (v == NULL) return ST_NOT_FOUND;
    lend(t, v, out);
    return ST_OK;
}

static enum status twin_get(struct engine *base, struct bytes key, enum engine_read mode, struct engine_value *out,
                            struct error *err)
{
    struct twin *t = (struct twin *)base;
    if (mode == ENGINE_MEMORY)
        return cold(t, key) ? error_set(err, ST_NOT_READY, "engine read") : get(t, key, UINT64_MAX, out);
    enum status st = get(t, key, UINT64_MAX, out); /* before time passes: what it returns may be old by then */
    on_worker(t);
    warm_up(t, key);
    return st;
}

static enum status twin_get_durable(struct engine *base, struct bytes key, struct engine_value *out, struct error *err)
{
    struct twin *t = (struct twin *)base;
    return get(t, key, t->flushed_seq, out);
}

static struct engine_iter *twin_iter_new(struct engine *base, const struct engine_snapshot *s, struct bytes lo,
                                         struct bytes hi, enum engine_read mode)
{
    struct twin_iter *it = mem_zalloc(sizeof *it);
    if (mode == ENGINE_DISK) on_worker((struct twin *)base);
    it->base.ops = base->ops;
    it->t = (struct twin *)base;
    it->snapshot.seq = s != NULL ? s->seq : it->t->seq;
    list_push_back(&it->t->snapshots, &it->snapshot.link);
    it->mode = mode;
    buf_put_bytes(&it->lo, lo);
    buf_put_bytes(&it->hi, hi);
    return &it->base;
}

/* Takes the row at it->place if it is in bounds and memory. False: it is not there for this iterator, look on. */
static bool take(struct twin_iter *it, const struct ordered_row *row)
{
    const struct version *v = visible(row, it->snapshot.seq);
    if (v == NULL) return false;
    struct bytes key = ordered_key(row);
    it->changes = it->t->rows.changes;
    if (it->mode == ENGINE_DISK) {
        warm_up(it->t, key);
    } else if (cold(it->t, key)) {
        it->status = ST_NOT_READY;
        return true;
    }
    it->valid = true;
    buf_clear(&it->key);
    buf_put_bytes(&it->key, key);
    buf_clear(&it->value);
    buf_put(&it->value, v->value, v->n);
    return true;
}

static void go_up(struct twin_iter *it)
{
    it->valid = false;
    it->status = ST_OK;
    for (const struct ordered_row *row; (row = ordered_at(&it->t->rows, it->place)) != NULL;) {
        if (it->hi.n != 0 && bytes_compare(ordered_key(row), buf_view(&it->hi)) >= 0) return;
        if (take(it, row)) return;
        ordered_next(&it->t->rows, &it->place);
    }
}

/* Looks at the rows before it->place. */
static void go_down(struct twin_iter *it)
{
    it->valid = false;
    it->status = ST_OK;
    while (ordered_prev(&it->t->rows, &it->place)) {
        const struct ordered_row *row = ordered_at(&it->t->rows, it->place);
        if (bytes_compare(ordered_key(row), buf_view(&it->lo)) < 0) return;
        if (take(it, row)) return;
    }
}

static void twin_iter_seek(struct engine_iter *base, struct bytes key)
{
    struct twin_iter *it = (struct twin_iter *)base;
    if (bytes_compare(key, buf_view(&it->lo)) < 0) key = buf_view(&it->lo);
    it->place = ordered_seek(&it->t->rows, key);
    go_up(it);
}

static void twin_iter_seek_prev(struct engine_iter *base, struct bytes key)
{
    struct twin_iter *it = (struct twin_iter *)base;
    bool beyond = it->hi.n != 0 && bytes_compare(key, buf_view(&it->hi)) >= 0;
    it->place = ordered_seek(&it->t->rows, beyond ? buf_view(&it->hi) : key);
    const struct ordered_row *row = ordered_at(&it->t->rows, it->place);
    if (!beyond && row != NULL && bytes_equal(ordered_key(row), key)) ordered_next(&it->t->rows, &it->place);
    go_down(it);
}

static void twin_iter_first(struct engine_iter *base)
{
    twin_iter_seek(base, buf_view(&((struct twin_iter *)base)->lo));
}

static void twin_iter_last(struct engine_iter *base)
{
    struct twin_iter *it = (struct twin_iter *)base;
    it->place = it->hi.n != 0 ? ordered_seek(&it->t->rows, buf_view(&it->hi))
                              : (struct ordered_place){it->t->rows.blocks, 0};
    go_down(it);
}

/* Finds the place of the row stood on, or of the next one should it be gone. True: it is the row itself. */
static bool find_again(struct twin_iter *it)
{
    if (it->changes == it->t->rows.changes) return true;
    it->place = ordered_seek(&it->t->rows, buf_view(&it->key));
    const struct ordered_row *row = ordered_at(&it->t->rows, it->place);
    return row != NULL && bytes_equal(ordered_key(row), buf_view(&it->key));
}

static void twin_iter_next(struct engine_iter *base)
{
    struct twin_iter *it = (struct twin_iter *)base;
    if (find_again(it)) ordered_next(&it->t->rows, &it->place);
    go_up(it);
}

static void twin_iter_prev(struct engine_iter *base)
{
    struct twin_iter *it = (struct twin_iter *)base;
    find_again(it);
    go_down(it);
}

static bool twin_iter_valid(const struct engine_iter *it) { return ((const struct twin_iter *)it)->valid; }

static enum status twin_iter_status(const struct engine_iter *base, struct error *err)
{
    const struct twin_iter *it = (const struct twin_iter *)base;
    return it->status == ST_OK ? ST_OK : error_set(err, it->status, "engine scan");
}

static struct bytes twin_iter_key(const struct engine_iter *it)
{
    return buf_view(&((const struct twin_iter *)it)->key);
}

static struct bytes twin_iter_value(const struct engine_iter *it)
{
    return buf_view(&((const struct twin_iter *)it)->value);
}

static void twin_iter_free(struct engine_iter *base)
{
    struct twin_iter *it = (struct twin_iter *)base;
    link_remove(&it->snapshot.link);
    buf_deinit(&it->lo);
    buf_deinit(&it->hi);
    buf_deinit(&it->key);
    buf_deinit(&it->value);
    mem_free(it);
}

static struct engine_snapshot *twin_snapshot_take(struct engine *base)
{
    struct twin *t = (struct twin *)base;
    struct engine_snapshot *s = mem_zalloc(sizeof *s);
    s->seq = t->seq;
    list_push_back(&t->snapshots, &s->link);
    return s;
}

static void twin_snapshot_release(struct engine *base, struct engine_snapshot *s)
{
    link_remove(&s->link);
    mem_free(s);
    /* A snapshot is rare and long: what it alone could see may be in every row. */
    each_row((struct twin *)base, (struct bytes){0}, (struct bytes){0}, prune_row);
}

/* ---- whole-range work ---- */

/* Takes what is on disk of some rows away, as if it were the files' turn; rows in memory stay. */
static enum status drop_files(struct twin *t, struct bytes lo, struct bytes hi, struct error *err)
{
    struct buf ops = {0};
    struct ordered_place p = ordered_seek(&t->rows, lo);
    for (struct ordered_row *row; (row = ordered_at(&t->rows, p)) != NULL; ordered_next(&t->rows, &p)) {
        if (bytes_compare(ordered_key(row), hi) >= 0) break;
        if (visible(row, t->flushed_seq) != NULL && rng_chance(&t->rng, 2))
            engine_op_encode(&ops, ENGINE_OP_DELETE, ordered_key(row), (struct bytes){0});
    }
    enum status st = ops.n != 0 ? append(t, buf_view(&ops), err) : ST_OK;
    struct reader r = reader_of(buf_view(&ops));
    struct engine_op op;
    while (st == ST_OK && engine_op_next(&r, &op)) {
        struct ordered_row *row = ordered_find(&t->rows, op.a); /* others may have written meanwhile */
        if (row == NULL) continue;
        struct version *newest = row->value, **at = &newest;
        while (*at != NULL && (*at)->seq > t->flushed_seq) at = &(*at)->older;
        for (struct version *v; (v = *at) != NULL;) {
            *at = v->older;
            mem_free(v);
        }
        row->value = newest;
        prune(t, row);
    }
    buf_deinit(&ops);
    return st;
}

static enum status twin_drop_range(struct engine *base, struct bytes lo, struct bytes hi, struct error *err)
{
    struct twin *t = (struct twin *)base;
    enum status st = take_file(t, err);
    if (st != ST_OK) return st;
    st = check_broken(t, err);
    if (st == ST_OK) st = drop_files(t, lo, hi, err);
    if (st == ST_OK) {
        t->seq++;
        each_row(t, lo, hi, set_deleted);
        engine_op_encode(&t->delta, ENGINE_OP_DELETE_RANGE, lo, hi);
        st = flush_all(t, err);
    }
    give_file(t);
    return st;
}

static enum status twin_checkpoint(struct engine *base, const char *dir, struct error *err)
{
    struct twin *t = (struct twin *)base;
    struct buf b = {0};
    enum status st = twin_flush(base, err);
    if (st == ST_OK) {
        image(t, &b);
        st = twin_file_export(t->base.env, dir, buf_view(&b), err);
    }
    buf_deinit(&b);
    return st;
}

static void twin_ingest_abort(struct engine_ingest *base)
{
    struct twin_ingest *g = (struct twin_ingest *)base;
    buf_deinit(&g->ops);
    buf_deinit(&g->last);
    mem_free(g);
}

static enum status twin_ingest_new(struct engine *base, struct engine_ingest **out, struct error *err)
{
    struct twin_ingest *g = mem_zalloc(sizeof *g);
    g->base.ops = base->ops;
    g->t = (struct twin *)base;
    *out = &g->base;
    return ST_OK;
}

static enum status twin_ingest_add(struct engine_ingest *base, struct bytes key, struct bytes value, struct error *err)
{
    struct twin_ingest *g = (struct twin_ingest *)base;
    if (bytes_compare(buf_view(&g->last), key) >= 0)
        return error_set(err, ST_INVALID, "snapshot file: keys must come in rising order");
    buf_clear(&g->last);
    buf_put_bytes(&g->last, key);
    engine_op_encode(&g->ops, ENGINE_OP_PUT, key, value);
    return ST_OK;
}

static enum status twin_ingest_finish(struct engine_ingest *base, struct bytes lo, struct bytes hi, struct error *err)
{
    struct twin_ingest *g = (struct twin_ingest *)base;
    struct twin *t = g->t;
    struct buf ops = {0};
    enum status st = take_file(t, err);
    if (st != ST_OK) goto out;
    st = flush_all(t, err);
    t->gate = true;
    if (st == ST_OK) st = flush_all(t, err); /* what came during the first */
    if (st != ST_OK) goto done;
    if (bytes_compare(lo, hi) < 0) engine_op_encode(&ops, ENGINE_OP_DELETE_RANGE, lo, hi);
    buf_put_bytes(&ops, buf_view(&g->ops));
    if (ops.n == 0) goto done;
    st = append(t, buf_view(&ops), err);
    if (st != ST_OK) goto done;
    t->seq++;
    t->flushed_seq = t->seq;
    apply(t, buf_view(&ops));
done:
    t->gate = false;
    give_file(t);
out:
    buf_deinit(&ops);
    twin_ingest_abort(base);
    return st;
}

static void twin_stats(struct engine *base, struct engine_stats *out)
{
    const struct twin *t = (const struct twin *)base;
    out->memory_bytes = t->delta.cap + t->frozen.cap;
    out->disk_bytes = t->file.bytes;
    out->rows_estimate = t->rows.rows;
    out->flushes = t->flushes;
    out->write_stopped = t->busy_left != 0;
}

/* ---- opening ---- */

static void twin_close(struct engine *base)
{
    struct twin *t = (struct twin *)base;
    ASSERT(list_empty(&t->snapshots));
    struct ordered_place p = {0};
    for (struct ordered_row *row; (row = ordered_at(&t->rows, p)) != NULL; ordered_next(&t->rows, &p)) {
        for (struct version *v = row->value, *older; v != NULL; v = older) {
            older = v->older;
            mem_free(v);
        }
    }
    ordered_deinit(&t->rows);
    buf_deinit(&t->delta);
    buf_deinit(&t->frozen);
    twin_file_close(&t->file);
    mem_free(t->dir);
    mem_free(t);
}

static const struct engine_ops twin_ops = {
    .close = twin_close,
    .get = twin_get,
    .get_durable = twin_get_durable,
    .value_release = twin_value_release,
    .iter_new = twin_iter_new,
    .iter_first = twin_iter_first,
    .iter_last = twin_iter_last,
    .iter_seek = twin_iter_seek,
    .iter_seek_prev = twin_iter_seek_prev,
    .iter_next = twin_iter_next,
    .iter_prev = twin_iter_prev,
    .iter_valid = twin_iter_valid,
    .iter_status = twin_iter_status,
    .iter_key = twin_iter_key,
    .iter_value = twin_iter_value,
    .iter_free = twin_iter_free,
    .snapshot_take = twin_snapshot_take,
    .snapshot_release = twin_snapshot_release,
    .write = twin_write,
    .unflushed_bytes = twin_unflushed_bytes,
    .flush = twin_flush,
    .drop_range = twin_drop_range,
    .checkpoint = twin_checkpoint,
    .ingest_new = twin_ingest_new,
    .ingest_add = twin_ingest_add,
    .ingest_finish = twin_ingest_finish,
    .ingest_abort = twin_ingest_abort,
    .stats = twin_stats,
};

static bool load(void *ctx, struct bytes ops)
{
    struct twin *t = ctx;
    t->flushed_seq = ++t->seq; /* older versions are of no use */
    return apply(t, ops);
}

enum status twin_open(struct env *env, const char *dir, const struct engine_options *options, struct engine **out,
                      struct error *err)
{
    struct twin *t = mem_zalloc(sizeof *t);
    t->base = (struct engine){&twin_ops, env};
    list_init(&t->snapshots);
    t->write_buffer_bytes = options->write_buffer_bytes;
    t->seed = options->seed;
    t->troubled = options->seed != 0;
    rng_init(&t->rng, options->seed);
    t->epoch = 1;
    t->dir = mem_strdup(dir);
    t->frozen_seq = t->flushing_seq = UINT64_MAX;
    enum status st = twin_file_open(env, dir, load, t, &t->file, err);
    if (st == ST_OK && t->file.bytes > t->file.image_bytes) {
        /* What was read may be in the page cache only (a failed sync leaves clean pages): it is not built upon. */
        struct buf b = {0};
        image(t, &b);
        st = twin_file_rewrite(&t->file, buf_view(&b), err);
        buf_deinit(&b);
    }
    if (st != ST_OK) {
        twin_close(&t->base);
        return st;
    }
    *out = &t->base;
    return ST_OK;
}
