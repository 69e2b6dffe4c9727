/* engine_rocks.c - the engine on RocksDB; the only file that sees it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is relied upon, beside RocksDB's documentation (version 7.8):
 *  - One column family and no write-ahead log: a batch goes into one memtable as a whole, memtables reach the disk in
 * the order in which they were filled, so a crash leaves the state between two batches.
 *  - no_slowdown: a write that would have to wait fails with Incomplete and has done nothing.
 *  - read_tier: 1 reads memtables and block cache only, and fails with Incomplete rather than do I/O; 2 leaves
 * memtables out when there were writes without log, so it sees what is in files, that is, what is durable.
 *    Reading from memory alone has two bugs there, and what is done about them:
 *    A get whose file is not open returns OK and an empty value (facebook/rocksdb #12443). So all files are always open
 *    (max_open_files -1), each once it is there; files are large, to be few.
 *    An iterator that meets a block which is not in memory remembers Incomplete, but forgets it when it then skips rows
 *    under a range tombstone by seeking (MergingIterator::SeekForPrevImpl, SeekImpl), and leaves out rows. So each step
 *    counts the look-ups in the block cache that found nothing: the iterator is not ready once there was one.
 *  - In an ingested file a range tombstone and the rows have the same sequence number, and a tombstone hides only lower
 *    ones (db/range_del_aggregator.h), so the rows of the file stay.
 *  - rocksdb_delete_file_in_range drops files up to and including its end key: see below_key. */
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "store/engine_internal.h"
#include "store/engine_rocks_extra.h"

#define INGEST_PREFIX "ingest-"

enum {
    READ_TIER_MEMORY = 1,
    READ_TIER_PERSISTED = 2,
    LOG_LEVEL_WARN = 2,
    BACKGROUND_JOBS_MAX = 2, /* one flush, one compaction */
    L0_FILES_COMPACT = 12,   /* runs of rows that a read may have to look into … */
    L0_FILES_SLOWDOWN = 24,  /* … before writes are refused at times … */
    L0_FILES_STOP = 36,      /* … and always */
    FILE_BYTES = 64 << 20,
    SYNC_BYTES = 512 << 10,
    BLOCK_BYTES = 4096,
    BATCH_KEEP_BYTES = 4 << 20, /* the write batch's buffer is given back above this */
};

struct rocks {
    struct engine base;
    char *dir;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *read_memory, *read_disk, *read_durable;
    rocksdb_flushoptions_t *flush;
    rocksdb_writebatch_t *batch; /* the one writer's, reused */
    /* Held by an ingest while RocksDB keeps writers waiting; a write that finds it taken is refused instead. */
    pthread_mutex_t gate;
    atomic_uint_fast64_t ingests, flushes;
};

struct rocks_iter {
    struct engine_iter base;
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *read; /* points at lo and hi */
    struct buf bounds;           /* lo, then hi */
    bool memory;                 /* ENGINE_MEMORY … */
    bool cold;                   /* … which was not enough to make it … */
    bool not_ready;              /* … or for its last move */
};

struct rocks_ingest {
    struct engine_ingest base;
    struct rocks *e;
    rocksdb_envoptions_t *env_options;
    rocksdb_sstfilewriter_t *writer;
    char *path;
};

/* ---- errors ---- */

static bool starts(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

/* Takes RocksDB's text (NULL: none) and makes it a status. `incomplete` is what "would have to wait" means here. */
static enum status take_error(char *text, enum status incomplete, const char *doing, struct error *err)
{
    if (text == NULL) return ST_OK;
    enum status st = ST_IO;
    if (starts(text, "Result incomplete")) st = incomplete;
    else if (starts(text, "Corruption")) st = ST_CORRUPT;
    else if (starts(text, "Invalid argument")) st = ST_INVALID;
    else if (strstr(text, "No space left") != NULL) st = ST_DISK_FULL;
    if (st == ST_NOT_READY || st == ST_BUSY) error_set(err, st, "%s", doing);
    else error_set(err, st, "%s: %s", doing, text);
    rocksdb_free(text);
    return st;
}

/* ---- opening ---- */

static rocksdb_block_based_table_options_t *table_options(const struct engine_options *o)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_lru_cache_options_t *lru = rocksdb_lru_cache_options_create();
    rocksdb_lru_cache_options_set_capacity(lru, o->cache_bytes);
    /* Few shards: a shard's capacity is a share of the whole, and small ones would evict unevenly. A strict limit would
     * make reads fail when it is reached; this one is passed only by blocks in use. */
    rocksdb_lru_cache_options_set_num_shard_bits(lru, 2);
    rocksdb_cache_t *cache = rocksdb_cache_create_lru_opts(lru);
    rocksdb_block_based_options_set_block_cache(t, cache);
    rocksdb_cache_destroy(cache); /* the table options hold it */
    rocksdb_lru_cache_options_destroy(lru);

    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_block_size(t, BLOCK_BYTES);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_whole_key_filtering(t, 1);
    /* Indexes and filters live in the cache, so that memory is bounded; in partitions, so that only those in use do. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_index_type(t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(t, 1);
    rocksdb_block_based_options_set_metadata_block_size(t, BLOCK_BYTES);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_block_based_options_set_data_block_index_type(
        t, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    return t;
}

static enum status make_options(const struct engine_options *o, rocksdb_options_t **out, struct error *err)
{
    rocksdb_options_t *p = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(p, 1);
    rocksdb_options_set_paranoid_checks(p, 1);
    rocksdb_options_set_max_open_files(p, -1); /* all: see above */
    rocksdb_options_set_max_background_jobs(p, BACKGROUND_JOBS_MAX);
    rocksdb_options_set_allow_concurrent_memtable_write(p, 0);
    rocksdb_options_set_enable_write_thread_adaptive_yield(p, 0);
    rocksdb_options_set_write_buffer_size(p, o->write_buffer_bytes);
    rocksdb_options_set_max_write_buffer_number(p, 3);
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(p, 0.02);
    rocksdb_options_set_level0_file_num_compaction_trigger(p, L0_FILES_COMPACT);
    rocksdb_options_set_level0_slowdown_writes_trigger(p, L0_FILES_SLOWDOWN);
    rocksdb_options_set_level0_stop_writes_trigger(p, L0_FILES_STOP);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(p, 1);
    rocksdb_options_set_target_file_size_base(p, FILE_BYTES);
    rocksdb_options_set_max_bytes_for_level_base(p, MAX(o->write_buffer_bytes * 8, (uint64_t)FILE_BYTES));
    rocksdb_options_set_compression(p, rocksdb_lz4_compression);
    rocksdb_options_compaction_readahead_size(p, 1 << 20);
    /* The disk's queue holds at most so much of a flush and of a compaction: what they write goes to the disk as it comes,
     * and the log's syncs, which wait behind it, wait for this and not for a whole file. */
    rocksdb_options_set_bytes_per_sync(p, SYNC_BYTES);
    rocksdb_options_set_max_manifest_file_size(p, 16 << 20);
    rocksdb_options_set_info_log_level(p, LOG_LEVEL_WARN);
    rocksdb_options_set_max_log_file_size(p, 1 << 20);
    rocksdb_options_set_keep_log_file_num(p, 2);
    rocksdb_options_set_stats_dump_period_sec(p, 0);
    rocksdb_options_set_stats_persist_period_sec(p, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(p, 1);
    rocksdb_block_based_table_options_t *t = table_options(o);
    rocksdb_options_set_block_based_table_factory(p, t);
    rocksdb_block_based_options_destroy(t);

    char *text = NULL; /* what the C interface has no function for */
    rocksdb_options_t *full = rocksdb_options_create();
    rocksdb_get_options_from_string(
        p, "avoid_flush_during_shutdown=true;memtable_whole_key_filtering=true;strict_bytes_per_sync=true", full,
        &text);
    rocksdb_options_destroy(p);
    if (text != NULL) {
        rocksdb_options_destroy(full);
        return take_error(text, ST_IO, "engine options", err);
    }
    *out = full;
    return ST_OK;
}

struct stale {
    struct env *env;
    const char *dir;
};

static void remove_stale(void *ctx, const char *name)
{
    struct stale *s = ctx;
    char path[4096];
    if (!starts(name, INGEST_PREFIX)) return;
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    struct error err = {0};
    if (env_unlink(s->env, path, &err) != ST_OK)
        diag(DIAG_WARN, "engine.stale_file path=%s error=\"%s\"", path, err.text);
}

static void rocks_close(struct engine *base)
{
    struct rocks *e = (struct rocks *)base;
    if (e->db != NULL) rocksdb_close(e->db);
    if (e->batch != NULL) rocksdb_writebatch_destroy(e->batch);
    if (e->flush != NULL) rocksdb_flushoptions_destroy(e->flush);
    if (e->read_durable != NULL) rocksdb_readoptions_destroy(e->read_durable);
    if (e->read_disk != NULL) rocksdb_readoptions_destroy(e->read_disk);
    if (e->read_memory != NULL) rocksdb_readoptions_destroy(e->read_memory);
    if (e->write != NULL) rocksdb_writeoptions_destroy(e->write);
    if (e->options != NULL) rocksdb_options_destroy(e->options);
    pthread_mutex_destroy(&e->gate);
    mem_free(e->dir);
    mem_free(e);
}

/* ---- reading ---- */

static enum status get(struct rocks *e, rocksdb_readoptions_t *read, struct bytes key, struct engine_value *out,
                       struct error *err)
{
    char *text = NULL;
    rocksdb_pinnableslice_t *v = rocksdb_get_pinned(e->db, read, (const char *)key.p, key.n, &text);
    if (text != NULL) return take_error(text, ST_NOT_READY, "engine read", err);
    if (v == NULL) return ST_NOT_FOUND;
    size_t n;
    const char *p = rocksdb_pinnableslice_value(v, &n);
    *out = (struct engine_value){bytes_of(p, n), &e->base, v};
    return ST_OK;
}

static enum status rocks_get(struct engine *base, struct bytes key, enum engine_read mode, struct engine_value *out,
                             struct error *err)
{
    struct rocks *e = (struct rocks *)base;
    return get(e, mode == ENGINE_MEMORY ? e->read_memory : e->read_disk, key, out, err);
}

static enum status rocks_get_durable(struct engine *base, struct bytes key, struct engine_value *out, struct error *err)
{
    struct rocks *e = (struct rocks *)base;
    return get(e, e->read_durable, key, out, err);
}

static void rocks_value_release(struct engine_value *v) { rocksdb_pinnableslice_destroy(v->impl); }

/* Around each move: a look-up that finds nothing makes the iterator not ready, until it is positioned anew. */
static uint64_t move_begin(struct engine_iter *base)
{
    struct rocks_iter *it = (struct rocks_iter *)base;
    it->not_ready = false;
    if (!it->memory) return 0;
    rocks_count_misses(true);
    return rocks_misses();
}

static void move_end(struct engine_iter *base, uint64_t misses)
{
    struct rocks_iter *it = (struct rocks_iter *)base;
    if (!it->memory) return;
    it->not_ready = it->cold || rocks_misses() != misses;
    rocks_count_misses(false);
}

static struct engine_iter *rocks_iter_new(struct engine *base, const struct engine_snapshot *s, struct bytes lo,
                                          struct bytes hi, enum engine_read mode)
{
    struct rocks *e = (struct rocks *)base;
    struct rocks_iter *it = mem_zalloc(sizeof *it);
    it->base.ops = base->ops;
    it->read = rocksdb_readoptions_create();
    buf_reserve(&it->bounds, lo.n + hi.n + 1);
    buf_put_bytes(&it->bounds, lo);
    buf_put_bytes(&it->bounds, hi);
    const char *p = (const char *)it->bounds.p;
    if (lo.n != 0) rocksdb_readoptions_set_iterate_lower_bound(it->read, p, lo.n);
    if (hi.n != 0) rocksdb_readoptions_set_iterate_upper_bound(it->read, p + lo.n, hi.n);
    it->memory = mode == ENGINE_MEMORY;
    if (it->memory) rocksdb_readoptions_set_read_tier(it->read, READ_TIER_MEMORY);
    if (s != NULL) {
        rocksdb_readoptions_set_snapshot(it->read, (const rocksdb_snapshot_t *)s);
        if (mode == ENGINE_DISK) rocksdb_readoptions_set_fill_cache(it->read, 0);
    }
    uint64_t misses = move_begin(&it->base);
    it->it = rocksdb_create_iterator(e->db, it->read);
    move_end(&it->base, misses);
    it->cold = it->not_ready;
    return &it->base;
}

static rocksdb_iterator_t *inner(const struct engine_iter *it) { return ((const struct rocks_iter *)it)->it; }

static void rocks_iter_first(struct engine_iter *it)
{
    uint64_t misses = move_begin(it);
    rocksdb_iter_seek_to_first(inner(it));
    move_end(it, misses);
}

static void rocks_iter_last(struct engine_iter *it)
{
    uint64_t misses = move_begin(it);
    rocksdb_iter_seek_to_last(inner(it));
    move_end(it, misses);
}

static void rocks_iter_seek(struct engine_iter *it, struct bytes key)
{
    uint64_t misses = move_begin(it);
    rocksdb_iter_seek(inner(it), (const char *)key.p, key.n);
    move_end(it, misses);
}

static void rocks_iter_seek_prev(struct engine_iter *it, struct bytes key)
{
    uint64_t misses = move_begin(it);
    rocksdb_iter_seek_for_prev(inner(it), (const char *)key.p, key.n);
    move_end(it, misses);
}

static void rocks_iter_next(struct engine_iter *it)
{
    uint64_t misses = move_begin(it);
    rocksdb_iter_next(inner(it));
    move_end(it, misses);
}

static void rocks_iter_prev(struct engine_iter *it)
{
    uint64_t misses = move_begin(it);
    rocksdb_iter_prev(inner(it));
    move_end(it, misses);
}

static bool rocks_iter_valid(const struct engine_iter *it)
{
    return !((const struct rocks_iter *)it)->not_ready && rocksdb_iter_valid(inner(it));
}

static enum status rocks_iter_status(const struct engine_iter *it, struct error *err)
{
    char *text = NULL;
    if (((const struct rocks_iter *)it)->not_ready) return error_set(err, ST_NOT_READY, "engine scan");
    rocksdb_iter_get_error(inner(it), &text);
    return take_error(text, ST_NOT_READY, "engine scan", err);
}

static struct bytes rocks_iter_key(const struct engine_iter *it)
{
    size_t n;
    const char *p = rocksdb_iter_key(inner(it), &n);
    return bytes_of(p, n);
}

static struct bytes rocks_iter_value(const struct engine_iter *it)
{
    size_t n;
    const char *p = rocksdb_iter_value(inner(it), &n);
    return bytes_of(p, n);
}

static void rocks_iter_free(struct engine_iter *base)
{
    struct rocks_iter *it = (struct rocks_iter *)base;
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->read);
    buf_deinit(&it->bounds);
    mem_free(it);
}

static struct engine_snapshot *rocks_snapshot_take(struct engine *base)
{
    return (struct engine_snapshot *)rocksdb_create_snapshot(((struct rocks *)base)->db);
}

static void rocks_snapshot_release(struct engine *base, struct engine_snapshot *s)
{
    rocksdb_release_snapshot(((struct rocks *)base)->db, (const rocksdb_snapshot_t *)s);
}

/* ---- writing ---- */

static void fill_batch(rocksdb_writebatch_t *w, const struct engine_batch *b)
{
    struct reader r = reader_of(buf_view(&b->ops));
    struct engine_op op;
    while (engine_op_next(&r, &op)) {
        const char *a = (const char *)op.a.p, *z = (const char *)op.b.p;
        switch (op.kind) {
        case ENGINE_OP_PUT: rocksdb_writebatch_put(w, a, op.a.n, z, op.b.n); break;
        case ENGINE_OP_DELETE: rocksdb_writebatch_delete(w, a, op.a.n); break;
        case ENGINE_OP_DELETE_RANGE: rocksdb_writebatch_delete_range(w, a, op.a.n, z, op.b.n); break;
        }
    }
    ASSERT(!r.failed);
}

static enum status rocks_write(struct engine *base, struct engine_batch *b, struct error *err)
{
    struct rocks *e = (struct rocks *)base;
    if (pthread_mutex_trylock(&e->gate) != 0) return error_set(err, ST_BUSY, "the engine takes in a snapshot");
    char *text = NULL;
    fill_batch(e->batch, b);
    rocksdb_write(e->db, e->write, e->batch, &text);
    pthread_mutex_unlock(&e->gate);
    if (b->ops.n > BATCH_KEEP_BYTES) {
        rocksdb_writebatch_destroy(e->batch);
        e->batch = rocksdb_writebatch_create();
    } else {
        rocksdb_writebatch_clear(e->batch);
    }
    return take_error(text, ST_BUSY, "engine write", err);
}

static uint64_t property(const struct rocks *e, const char *name)
{
    uint64_t v = 0;
    rocksdb_property_int(e->db, name, &v);
    return v;
}

static uint64_t rocks_unflushed_bytes(const struct engine *base)
{
    const struct rocks *e = (const struct rocks *)base;
    if (property(e, "rocksdb.num-entries-active-mem-table") == 0 && property(e, "rocksdb.num-immutable-mem-table") == 0)
        return 0; /* an empty memtable has some bytes, too */
    return property(e, "rocksdb.cur-size-all-mem-tables");
}

static enum status rocks_flush(struct engine *base, struct error *err)
{
    struct rocks *e = (struct rocks *)base;
    char *text = NULL;
    rocksdb_flush(e->db, e->flush, &text);
    atomic_fetch_add(&e->flushes, 1);
    return take_error(text, ST_IO, "engine flush", err);
}

/* ---- whole-range work ---- */

/* Makes of `key` the end of a closed interval: at or above all rows below key but a few, and below key itself.
 * rocksdb_delete_file_in_range includes its end, and key is the first row of the neighbour. */
static void below_key(struct bytes key, struct buf *out)
{
    static const uint8_t high[16] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    buf_put(out, key.p, key.n);
    if (out->p[out->n - 1] == 0) {
        out->n--; /* exactly the key before */
    } else {
        out->p[out->n - 1]--;
        buf_put(out, high, sizeof high);
    }
}

static enum status rocks_drop_range(struct engine *base, struct bytes lo, struct bytes hi, struct error *err)
{
    struct rocks *e = (struct rocks *)base;
    char *text = NULL;
    struct buf end = {0};
    below_key(hi, &end);
    if (bytes_compare(lo, buf_view(&end)) <= 0)
        rocksdb_delete_file_in_range(e->db, (const char *)lo.p, lo.n, (const char *)end.p, end.n, &text);
    buf_deinit(&end);
    if (text != NULL) return take_error(text, ST_IO, "dropping files", err);

    /* From a worker, beside the shard's writes: RocksDB queues writers, and this one may wait. */
    rocksdb_writeoptions_t *write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(write, 1);
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rocksdb_writebatch_delete_range(batch, (const char *)lo.p, lo.n, (const char *)hi.p, hi.n);
    rocksdb_write(e->db, write, batch, &text);
    rocksdb_writebatch_destroy(batch);
    rocksdb_writeoptions_destroy(write);
    if (text != NULL) return take_error(text, ST_IO, "dropping a range", err);
    return rocks_flush(base, err);
}

static enum status rocks_checkpoint(struct engine *base, const char *dir, struct error *err)
{
    struct rocks *e = (struct rocks *)base;
    char *text = NULL;
    rocksdb_checkpoint_t *c = rocksdb_checkpoint_object_create(e->db, &text);
    if (text != NULL) return take_error(text, ST_IO, "checkpoint", err);
    rocksdb_checkpoint_create(c, dir, 0, &text); /* 0: flushes always, as there is no log to copy */
    rocksdb_checkpoint_object_destroy(c);
    return take_error(text, ST_IO, "checkpoint", err);
}

static void ingest_free(struct rocks_ingest *g)
{
    rocksdb_sstfilewriter_destroy(g->writer);
    rocksdb_envoptions_destroy(g->env_options);
    if (env_exists(g->e->base.env, g->path)) {
        struct error err = {0};
        if (env_unlink(g->e->base.env, g->path, &err) != ST_OK)
            diag(DIAG_WARN, "engine.stale_file path=%s error=\"%s\"", g->path, err.text);
    }
    mem_free(g->path);
    mem_free(g);
}

static void rocks_ingest_abort(struct engine_ingest *g) { ingest_free((struct rocks_ingest *)g); }

static enum status rocks_ingest_new(struct engine *base, struct engine_ingest **out, struct error *err)
{
    struct rocks *e = (struct rocks *)base;
    struct rocks_ingest *g = mem_zalloc(sizeof *g);
    struct buf path = {0};
    buf_printf(&path, "%s/" INGEST_PREFIX "%llu.sst", e->dir, (unsigned long long)atomic_fetch_add(&e->ingests, 1));
    buf_put_u8(&path, 0);
    g->base.ops = base->ops;
    g->e = e;
    g->path = (char *)path.p;
    g->env_options = rocksdb_envoptions_create();
    g->writer = rocksdb_sstfilewriter_create(g->env_options, e->options);
    char *text = NULL;
    rocksdb_sstfilewriter_open(g->writer, g->path, &text);
    if (text != NULL) {
        ingest_free(g);
        return take_error(text, ST_IO, "snapshot file", err);
    }
    *out = &g->base;
    return ST_OK;
}

static enum status rocks_ingest_add(struct engine_ingest *base, struct bytes key, struct bytes value, struct error *err)
{
    struct rocks_ingest *g = (struct rocks_ingest *)base;
    char *text = NULL;
    rocksdb_sstfilewriter_put(g->writer, (const char *)key.p, key.n, (const char *)value.p, value.n, &text);
    return take_error(text, ST_IO, "snapshot file", err);
}

static enum status take_in(struct rocks_ingest *g, struct error *err)
{
    struct rocks *e = g->e;
    char *text = NULL;
    /* What is in memory and overlaps would be flushed by the ingest while writers wait: do most of that before. */
    enum status st = rocks_flush(&e->base, err);
    if (st != ST_OK) return st;
    rocksdb_ingestexternalfileoptions_t *o = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(o, 1);
    rocksdb_ingestexternalfileoptions_set_allow_global_seqno(o, 1);
    rocksdb_ingestexternalfileoptions_set_snapshot_consistency(o, 1);
    const char *files[] = {g->path};
    pthread_mutex_lock(&e->gate);
    rocksdb_ingest_external_file(e->db, files, 1, o, &text);
    pthread_mutex_unlock(&e->gate);
    rocksdb_ingestexternalfileoptions_destroy(o);
    return take_error(text, ST_IO, "taking in a snapshot", err);
}

static enum status rocks_ingest_finish(struct engine_ingest *base, struct bytes lo, struct bytes hi, struct error *err)
{
    struct rocks_ingest *g = (struct rocks_ingest *)base;
    char *text = NULL;
    bool empty_range = bytes_compare(lo, hi) >= 0;
    if (!empty_range)
        rocksdb_sstfilewriter_delete_range(g->writer, (const char *)lo.p, lo.n, (const char *)hi.p, hi.n, &text);
    enum status st = take_error(text, ST_IO, "snapshot file", err);
    if (st == ST_OK) {
        text = NULL;
        rocksdb_sstfilewriter_finish(g->writer, &text); /* syncs it */
        st = take_error(text, ST_IO, "snapshot file", err);
    }
    if (st == ST_OK) st = take_in(g, err);
    ingest_free(g);
    return st;
}

static void rocks_stats(struct engine *base, struct engine_stats *out)
{
    struct rocks *e = (struct rocks *)base;
    out->memory_bytes = property(e, "rocksdb.block-cache-usage") + property(e, "rocksdb.size-all-mem-tables") +
                        property(e, "rocksdb.estimate-table-readers-mem");
    out->disk_bytes = property(e, "rocksdb.total-sst-files-size");
    out->rows_estimate = property(e, "rocksdb.estimate-num-keys");
    out->compactions_running = property(e, "rocksdb.num-running-compactions");
    out->flushes = atomic_load(&e->flushes);
    out->write_stopped = property(e, "rocksdb.is-write-stopped") != 0 ||
                         property(e, "rocksdb.actual-delayed-write-rate") != 0;
}

static const struct engine_ops rocks_ops = {
    .close = rocks_close,
    .get = rocks_get,
    .get_durable = rocks_get_durable,
    .value_release = rocks_value_release,
    .iter_new = rocks_iter_new,
    .iter_first = rocks_iter_first,
    .iter_last = rocks_iter_last,
    .iter_seek = rocks_iter_seek,
    .iter_seek_prev = rocks_iter_seek_prev,
    .iter_next = rocks_iter_next,
    .iter_prev = rocks_iter_prev,
    .iter_valid = rocks_iter_valid,
    .iter_status = rocks_iter_status,
    .iter_key = rocks_iter_key,
    .iter_value = rocks_iter_value,
    .iter_free = rocks_iter_free,
    .snapshot_take = rocks_snapshot_take,
    .snapshot_release = rocks_snapshot_release,
    .write = rocks_write,
    .unflushed_bytes = rocks_unflushed_bytes,
    .flush = rocks_flush,
    .drop_range = rocks_drop_range,
    .checkpoint = rocks_checkpoint,
    .ingest_new = rocks_ingest_new,
    .ingest_add = rocks_ingest_add,
    .ingest_finish = rocks_ingest_finish,
    .ingest_abort = rocks_ingest_abort,
    .stats = rocks_stats,
};

static rocksdb_readoptions_t *read_options(int tier)
{
    rocksdb_readoptions_t *r = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(r, tier);
    return r;
}

enum status rocks_open(struct env *env, const char *dir, const struct engine_options *options, struct engine **out,
                       struct error *err)
{
    struct stale stale = {env, dir};
    enum status st = env_dir_list(env, dir, remove_stale, &stale, err);
    if (st != ST_OK) return st;
    struct rocks *e = mem_zalloc(sizeof *e);
    e->base = (struct engine){&rocks_ops, env};
    e->dir = mem_strdup(dir);
    pthread_mutex_init(&e->gate, NULL);
    e->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(e->write, 1);
    rocksdb_writeoptions_set_no_slowdown(e->write, 1);
    e->read_memory = read_options(READ_TIER_MEMORY);
    e->read_disk = rocksdb_readoptions_create();
    e->read_durable = read_options(READ_TIER_PERSISTED);
    e->flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(e->flush, 1);
    e->batch = rocksdb_writebatch_create();
    st = make_options(options, &e->options, err);
    if (st == ST_OK) {
        char *text = NULL;
        e->db = rocksdb_open(e->options, dir, &text);
        st = take_error(text, ST_IO, "opening the engine", err);
    }
    if (st != ST_OK) {
        rocks_close(&e->base);
        return st;
    }
    *out = &e->base;
    return ST_OK;
}
