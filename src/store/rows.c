/* rows.c - the bounded table of a store's newest rows, in front of the engine.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The table is a linear hash table (Litwin, 1980): a row more than buckets splits one bucket, so growing never stops
 * the loop. Rows are in one of three lists: cold and clean (in the order of CLOCK, the next to look at first) or dirty. A
 * row that is being fetched is in the table, and in no list: whoever changes it meanwhile cuts it off from its fetch.
 *
 * Where memory is short, cold rows are cut to their front one after the other; then the hand of CLOCK goes round the clean
 * ones: a row not referenced since it passed is cut, and one that was cut before is evicted.
 *
 * Range deletions not yet flushed are a list. Putting one drops the rows of its range from the table, dirty ones, too;
 * so every dirty row in a range came after it, and a batch is: the ranges, then the dirty rows. */
#include "store/rows.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/mutation.h"

enum {
    FETCH_THREADS = 8,
    SEGMENT = 1024,   /* buckets */
    EVICT_STEPS = 64, /* second chances given before one is refused */
    RANGE_COST = 64,  /* counted for a range deletion beside its keys */
    SHRINK_FACTOR = 4,
    SHRINK_BYTES = 1024,
};

enum row_kind {
    ROW_VALUE,
    ROW_ABSENT,
    ROW_FAILED,  /* the fetch failed with row.status */
    ROW_UNKNOWN, /* being fetched */
};

struct row {
    struct link link; /* in cold, clean or dirty */
    struct row *next; /* in the bucket */
    struct fetch *fetch;
    uint8_t *value; /* in bytes, after the key, or outside */
    uint32_t hash;
    uint32_t key_n, value_n;
    uint32_t value_cap, inside_cap;
    uint8_t kind, status;
    bool dirty : 1, referenced : 1;
    bool cut : 1;  /* the value is the front of a longer one */
    bool cold : 1; /* cut before others */
    uint8_t bytes[];
};

struct waiter {
    struct link link;
    void (*done)(void *ctx);
    void *ctx;
};

struct fetch {
    struct env_job job;
    struct rows *r;
    struct row *row; /* NULL: overtaken by a newer state of the row */
    struct buf key, value;
    enum status status;
    struct list waiters;
};

struct range_fetch {
    struct env_job job;
    struct rows *r;
    struct buf lo, hi;
    uint64_t bytes_max;
    enum status status;
    void (*done)(void *ctx);
    void *ctx;
};

struct range {
    struct buf lo, hi;
};

struct rows {
    struct env_loop *loop;
    struct engine *e;
    struct env_worker *worker;
    uint64_t seed;
    uint64_t bytes_max, dirty_bytes_max;

    struct row ***segments;
    size_t segments_n, segments_cap;
    size_t buckets; /* low_buckets … 2 * low_buckets - 1 */
    size_t low_buckets;

    struct list cold, clean, dirty;
    struct range *ranges; /* deletions to be flushed */
    size_t ranges_n, ranges_cap;
    struct engine_batch *batch;
    bool refused; /* the engine said ST_BUSY last time */
    void (*before_flush)(void *ctx);
    void *before_flush_ctx;

    /* The dirty rows for scans: sorted up to index_sorted, then in the order in which they came. */
    struct row **index;
    size_t index_n, index_cap, index_sorted;
    bool index_stale; /* to be made anew */

    unsigned fetches, waiters; /* under way */
    struct list ready;         /* waiters whose row is here */
    struct env_task ready_task;
    bool ready_queued, closed;
    struct range failed_range; /* of the last fetch that failed … */
    enum status failed_status; /* … and how; ST_OK: none */
    struct rows_stats stats;
};

/* ---- the table ---- */

static struct bytes key_of(const struct row *w) { return bytes_of(w->bytes, w->key_n); }
static struct bytes value_of(const struct row *w) { return bytes_of(w->value, w->value_n); }
static bool is_outside(const struct row *w) { return w->value != w->bytes + w->key_n; }

static uint64_t cost(const struct row *w)
{
    return sizeof *w + sizeof(void *) + w->key_n + w->inside_cap + (is_outside(w) ? w->value_cap : 0);
}

static struct row **bucket(const struct rows *r, uint32_t hash)
{
    size_t i = hash & (2 * r->low_buckets - 1);
    if (i >= r->buckets) i = hash & (r->low_buckets - 1);
    return &r->segments[i / SEGMENT][i % SEGMENT];
}

static void add_segment(struct rows *r)
{
    if (r->segments_n == r->segments_cap) {
        r->segments_cap = r->segments_cap != 0 ? r->segments_cap * 2 : 16;
        r->segments = mem_realloc(r->segments, r->segments_cap * sizeof *r->segments);
    }
    r->segments[r->segments_n++] = mem_zalloc(SEGMENT * sizeof(struct row *));
}

static void split_bucket(struct rows *r)
{
    size_t from = r->buckets - r->low_buckets, to = r->buckets;
    if (to / SEGMENT == r->segments_n) add_segment(r);
    struct row **low = &r->segments[from / SEGMENT][from % SEGMENT];
    struct row **high = &r->segments[to / SEGMENT][to % SEGMENT];
    while (*low != NULL) {
        struct row *w = *low;
        if ((w->hash & (2 * r->low_buckets - 1)) == to) {
            *low = w->next;
            w->next = *high;
            *high = w;
        } else {
            low = &w->next;
        }
    }
    if (++r->buckets == 2 * r->low_buckets) r->low_buckets *= 2;
}

static uint32_t hash_of(const struct rows *r, struct bytes key) { return (uint32_t)hash64(key, r->seed); }

static struct row *find(const struct rows *r, struct bytes key, uint32_t hash)
{
    struct row *w = *bucket(r, hash);
    while (w != NULL && !(w->hash == hash && bytes_equal(key_of(w), key))) w = w->next;
    return w;
}

static void overtake(struct row *w)
{
    if (w->fetch == NULL) return;
    w->fetch->row = NULL;
    w->fetch = NULL;
}

/* Takes the row at *at out of the table and frees it. */
static void drop(struct rows *r, struct row **at)
{
    struct row *w = *at;
    *at = w->next;
    overtake(w);
    r->stats.bytes -= cost(w);
    r->stats.count--;
    if (w->dirty) {
        r->stats.dirty_bytes -= cost(w);
        r->stats.dirty--;
        r->index_stale = true;
    }
    if (link_linked(&w->link)) link_remove(&w->link);
    if (is_outside(w)) mem_free(w->value);
    mem_free(w);
}

static void evict_one(struct rows *r, struct row *w)
{
    struct row **at = bucket(r, w->hash);
    while (*at != w) at = &(*at)->next;
    drop(r, at);
    r->stats.evictions++;
}

/* Leaves the front of a clean row's value, in a smaller piece of memory. */
static void cut_one(struct rows *r, struct row *w)
{
    struct row **at = bucket(r, w->hash);
    while (*at != w) at = &(*at)->next;
    ASSERT(!w->dirty && w->fetch == NULL && w->value_n > ROWS_WHOLE_BYTES);
    struct row *n = mem_alloc(sizeof *n + w->key_n + ROWS_FRONT_BYTES);
    *n = (struct row){.next = w->next,
                      .hash = w->hash,
                      .key_n = w->key_n,
                      .value_n = ROWS_FRONT_BYTES,
                      .value_cap = ROWS_FRONT_BYTES,
                      .inside_cap = ROWS_FRONT_BYTES,
                      .kind = ROW_VALUE,
                      .cut = true};
    memcpy(n->bytes, w->bytes, w->key_n);
    n->value = n->bytes + n->key_n;
    memcpy(n->value, w->value, ROWS_FRONT_BYTES);
    link_remove(&w->link);
    list_push_back(&r->clean, &n->link);
    *at = n;
    r->stats.bytes -= cost(w);
    r->stats.bytes += cost(n);
    r->stats.cuts++;
    if (is_outside(w)) mem_free(w->value);
    mem_free(w);
}

/* Makes room for `more` bytes, if clean rows can give it. Bounded: what is left to do is done by the next calls, as
 * each frees at least as much as it brings in or looks at EVICT_STEPS rows. */
static void make_room(struct rows *r, uint64_t more)
{
    unsigned chances = EVICT_STEPS, steps = EVICT_STEPS;
    while (r->stats.bytes + more > r->bytes_max && steps > 0) {
        struct link *k = list_first(&r->cold);
        if (k == NULL) k = list_first(&r->clean);
        if (k == NULL) return; /* all is dirty: rows_full holds apply back */
        struct row *w = CONTAINER_OF(k, struct row, link);
        if (w->referenced && chances > 0) {
            chances--;
            w->referenced = w->cold = false;
            link_remove(k);
            list_push_back(&r->clean, k);
            continue;
        }
        steps--;
        if (w->kind == ROW_VALUE && !w->cut && w->value_n > ROWS_WHOLE_BYTES) cut_one(r, w);
        else evict_one(r, w);
    }
}

/* A row of unknown state, in no list. */
static struct row *insert(struct rows *r, struct bytes key, uint32_t hash, size_t value_n)
{
    ASSERT(key.n <= UINT32_MAX && value_n <= UINT32_MAX);
    uint32_t room = (uint32_t)(value_n + 7) & ~7u;
    make_room(r, sizeof(struct row) + sizeof(void *) + key.n + room);
    struct row *w = mem_alloc(sizeof *w + key.n + room);
    *w = (struct row){
        .hash = hash, .key_n = (uint32_t)key.n, .value_cap = room, .inside_cap = room, .kind = ROW_UNKNOWN};
    memcpy(w->bytes, key.p, key.n);
    w->value = w->bytes + key.n;
    struct row **head = bucket(r, hash);
    w->next = *head;
    *head = w;
    r->stats.bytes += cost(w);
    r->stats.count++;
    if (r->stats.count > r->buckets) split_bucket(r);
    return w;
}

/* Gives a row its state. The row never moves. */
static void set(struct rows *r, struct row *w, enum row_kind kind, struct bytes value)
{
    uint64_t before = cost(w);
    bool too_wide = is_outside(w) && w->value_cap > SHRINK_FACTOR * value.n + SHRINK_BYTES;
    if (value.n > w->value_cap || too_wide) {
        if (is_outside(w)) mem_free(w->value);
        w->value = w->bytes + w->key_n;
        w->value_cap = w->inside_cap;
        if (value.n > w->value_cap) {
            w->value_cap = (uint32_t)(value.n + value.n / 8);
            w->value = mem_alloc(w->value_cap);
        }
    }
    if (value.n != 0) memcpy(w->value, value.p, value.n);
    w->value_n = (uint32_t)value.n;
    w->kind = (uint8_t)kind;
    w->cut = false;
    r->stats.bytes += cost(w) - before;
    if (w->dirty) r->stats.dirty_bytes += cost(w) - before;
}

static void index_add(struct rows *r, struct row *w)
{
    if (r->index_stale) return;
    if (r->index_n == r->index_cap) {
        r->index_cap = r->index_cap != 0 ? r->index_cap * 2 : 256;
        r->index = mem_realloc(r->index, r->index_cap * sizeof *r->index);
    }
    r->index[r->index_n++] = w;
}

static void write_row(struct rows *r, struct bytes key, enum row_kind kind, struct bytes value, bool cold)
{
    uint32_t hash = hash_of(r, key);
    struct row *w = find(r, key, hash);
    if (w == NULL)
        w = insert(r, key, hash, value.n); /* not referenced: a row written once goes before those used again */
    else w->referenced = !cold;
    overtake(w);
    set(r, w, kind, value);
    w->cold = cold;
    if (w->dirty) return;
    if (link_linked(&w->link)) link_remove(&w->link);
    list_push_back(&r->dirty, &w->link);
    w->dirty = true;
    r->stats.dirty++;
    r->stats.dirty_bytes += cost(w);
    index_add(r, w);
}

static struct row *clean_row(struct rows *r, struct bytes key, uint32_t hash, enum row_kind kind, struct bytes value)
{
    struct row *w = insert(r, key, hash, value.n);
    set(r, w, kind, value);
    list_push_back(&r->clean, &w->link);
    return w;
}

/* ---- reading and writing ---- */

static bool in_range(struct bytes key, struct bytes lo, struct bytes hi)
{
    return bytes_compare(key, lo) >= 0 && (hi.n == 0 || bytes_compare(key, hi) < 0);
}

/* The last deletion to be flushed that holds the key, or NULL. */
static const struct range *deleted(const struct rows *r, struct bytes key)
{
    for (size_t i = r->ranges_n; i > 0; i--) {
        const struct range *g = &r->ranges[i - 1];
        if (in_range(key, buf_view(&g->lo), buf_view(&g->hi))) return g;
    }
    return NULL;
}

static enum status get(struct rows *r, struct bytes key, bool whole, struct bytes *out)
{
    uint32_t hash = hash_of(r, key);
    struct row *w = find(r, key, hash);
    if (w != NULL && !(w->cut && whole)) {
        if (w->kind == ROW_UNKNOWN) return ST_NOT_READY;
        r->stats.hits++;
        w->referenced = true;
        if (w->kind == ROW_VALUE) *out = value_of(w);
        return w->kind == ROW_VALUE ? ST_OK : w->kind == ROW_ABSENT ? ST_NOT_FOUND : (enum status)w->status;
    }
    r->stats.misses++;
    if (deleted(r, key) != NULL) return ST_NOT_FOUND;
    struct engine_value v = {0};
    enum status st = engine_get(r->e, key, ENGINE_MEMORY, &v, NULL);
    if (st == ST_NOT_FOUND) {
        if (w == NULL) clean_row(r, key, hash, ROW_ABSENT, (struct bytes){0});
        else set(r, w, ROW_ABSENT, (struct bytes){0});
    } else if (st == ST_OK) {
        if (w == NULL) {
            w = clean_row(r, key, hash, ROW_VALUE, v.bytes);
        } else { /* it was cut */
            set(r, w, ROW_VALUE, v.bytes);
            w->referenced = true;
        }
        engine_value_release(&v);
        *out = value_of(w);
    }
    return st;
}

enum status rows_get(struct rows *r, struct bytes key, struct bytes *out) { return get(r, key, true, out); }

enum status rows_get_front(struct rows *r, struct bytes key, struct bytes *out) { return get(r, key, false, out); }

void rows_put(struct rows *r, struct bytes key, struct bytes value) { write_row(r, key, ROW_VALUE, value, false); }
void rows_put_cold(struct rows *r, struct bytes key, struct bytes value) { write_row(r, key, ROW_VALUE, value, true); }
void rows_delete(struct rows *r, struct bytes key) { write_row(r, key, ROW_ABSENT, (struct bytes){0}, false); }

void rows_through_begin(struct rows *r) { engine_batch_clear(r->batch); }

void rows_through_put(struct rows *r, struct bytes key, struct bytes value)
{
    struct row *w = find(r, key, hash_of(r, key));
    if (w != NULL) {
        struct row **at = bucket(r, w->hash);
        while (*at != w) at = &(*at)->next;
        ASSERT(!w->dirty);
        drop(r, at);
    }
    engine_batch_put(r->batch, key, value);
}

enum status rows_through_end(struct rows *r, struct error *err)
{
    enum status st = engine_batch_count(r->batch) != 0 ? engine_write(r->e, r->batch, err) : ST_OK;
    engine_batch_clear(r->batch);
    return st;
}

static void drop_range(struct rows *r, struct bytes lo, struct bytes hi, bool dirty_too)
{
    for (size_t i = 0; i < r->buckets; i++) {
        for (struct row **at = &r->segments[i / SEGMENT][i % SEGMENT]; *at != NULL;) {
            if (!in_range(key_of(*at), lo, hi)) {
                at = &(*at)->next;
                continue;
            }
            ASSERT(dirty_too || !(*at)->dirty);
            drop(r, at);
        }
    }
}

void rows_delete_range(struct rows *r, struct bytes lo, struct bytes hi)
{
    if (bytes_compare(lo, hi) >= 0) return;
    drop_range(r, lo, hi, true);
    if (r->ranges_n == r->ranges_cap) {
        r->ranges_cap = r->ranges_cap != 0 ? r->ranges_cap * 2 : 8;
        r->ranges = mem_realloc(r->ranges, r->ranges_cap * sizeof *r->ranges);
    }
    struct range *g = &r->ranges[r->ranges_n++];
    *g = (struct range){0};
    buf_put_bytes(&g->lo, lo);
    buf_put_bytes(&g->hi, hi);
    r->stats.dirty_bytes += RANGE_COST + lo.n + hi.n;
}

void rows_forget(struct rows *r, struct bytes lo, struct bytes hi) { drop_range(r, lo, hi, false); }

/* ---- flushing ---- */

static void drop_ranges(struct rows *r)
{
    for (size_t i = 0; i < r->ranges_n; i++) {
        struct range *g = &r->ranges[i];
        r->stats.dirty_bytes -= RANGE_COST + g->lo.n + g->hi.n;
        buf_deinit(&g->lo);
        buf_deinit(&g->hi);
    }
    r->ranges_n = 0;
}

static void batch_row(struct rows *r, const struct row *w)
{
    if (w->kind == ROW_VALUE) engine_batch_put(r->batch, key_of(w), value_of(w));
    else engine_batch_delete(r->batch, key_of(w));
}

void rows_set_before_flush(struct rows *r, void (*before_flush)(void *ctx), void *ctx)
{
    r->before_flush = before_flush;
    r->before_flush_ctx = ctx;
}

enum status rows_flush(struct rows *r, struct error *err)
{
    enum status st;
    engine_batch_clear(r->batch);
    if (r->refused) { /* asking with nothing in the hands costs less than gathering it for nothing */
        st = engine_write(r->e, r->batch, err);
        if (st != ST_OK) return st;
    }
    if (r->before_flush != NULL) r->before_flush(r->before_flush_ctx);
    if (!rows_dirty(r)) return ST_OK;
    for (size_t i = 0; i < r->ranges_n; i++)
        engine_batch_delete_range(r->batch, buf_view(&r->ranges[i].lo), buf_view(&r->ranges[i].hi));
    if (MUTATION("applied_apart_from_data")) { /* the rows of tables before the others, which say how far they go */
        for (struct link *k = list_first(&r->dirty); k != NULL; k = list_next(&r->dirty, k))
            if (key_of(CONTAINER_OF(k, struct row, link)).p[0] != 0xff) batch_row(r, CONTAINER_OF(k, struct row, link));
        st = engine_write(r->e, r->batch, err);
        if (st != ST_OK) return st;
        engine_batch_clear(r->batch);
    }
    for (struct link *k = list_first(&r->dirty); k != NULL; k = list_next(&r->dirty, k))
        batch_row(r, CONTAINER_OF(k, struct row, link));
    st = engine_write(r->e, r->batch, err);
    r->refused = st == ST_BUSY;
    if (st != ST_OK) return st;

    for (struct link *k; (k = list_pop_front(&r->dirty)) != NULL;) {
        struct row *w = CONTAINER_OF(k, struct row, link);
        w->dirty = false;
        r->stats.dirty_bytes -= cost(w);
        list_push_back(w->cold ? &r->cold : &r->clean, k);
    }
    drop_ranges(r);
    r->stats.dirty = 0;
    r->index_n = r->index_sorted = 0;
    r->index_stale = false;
    ASSERT(r->stats.dirty_bytes == 0);
    make_room(r, 0);
    return ST_OK;
}

bool rows_dirty(const struct rows *r) { return r->stats.dirty != 0 || r->ranges_n != 0; }
bool rows_full(const struct rows *r) { return r->stats.dirty_bytes > r->dirty_bytes_max; }

/* ---- scanning ---- */

static int by_key(const void *a, const void *b)
{
    return bytes_compare(key_of(*(struct row *const *)a), key_of(*(struct row *const *)b));
}

/* Sorts what came since the last time, and merges it from the back. */
static void index_sort(struct rows *r)
{
    if (r->index_stale) {
        r->index_stale = false;
        r->index_n = r->index_sorted = 0;
        for (struct link *k = list_first(&r->dirty); k != NULL; k = list_next(&r->dirty, k))
            index_add(r, CONTAINER_OF(k, struct row, link));
    }
    size_t old = r->index_sorted, fresh = r->index_n - old;
    if (fresh == 0) return;
    qsort(r->index + old, fresh, sizeof *r->index, by_key);
    if (old != 0) {
        struct row **tail = mem_copy(r->index + old, fresh * sizeof *tail);
        for (size_t at = r->index_n; fresh > 0;) {
            bool take_old = old > 0 && by_key(&r->index[old - 1], &tail[fresh - 1]) > 0;
            r->index[--at] = take_old ? r->index[--old] : tail[--fresh];
        }
        mem_free(tail);
    }
    r->index_sorted = r->index_n;
}

/* How many dirty rows are below the key. */
static size_t index_below(const struct rows *r, struct bytes key)
{
    size_t lo = 0, hi = r->index_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (bytes_compare(key_of(r->index[mid]), key) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* Moves off rows that a deletion still to be flushed covers. */
static void skip_deleted(const struct rows *r, struct engine_iter *it, bool reverse)
{
    const struct range *g;
    while (r->ranges_n != 0 && engine_iter_valid(it) && (g = deleted(r, engine_iter_key(it))) != NULL) {
        if (!reverse) {
            engine_iter_seek(it, buf_view(&g->hi));
        } else {
            engine_iter_seek_prev(it, buf_view(&g->lo));
            if (engine_iter_valid(it) && bytes_equal(engine_iter_key(it), buf_view(&g->lo))) engine_iter_prev(it);
        }
    }
}

static void step(const struct rows *r, struct engine_iter *it, bool reverse)
{
    if (reverse) engine_iter_prev(it);
    else engine_iter_next(it);
    skip_deleted(r, it, reverse);
}

/* Two ordered streams, the engine's rows and the dirty ones [at, at + left); of equal keys the dirty row counts. */
static enum status merge(struct rows *r, struct engine_iter *it, size_t at, size_t left, bool reverse,
                         bool (*each)(void *ctx, struct bytes key, struct bytes value), void *ctx)
{
    for (;;) {
        bool have = engine_iter_valid(it);
        if (!have) {
            enum status st = engine_iter_status(it, NULL);
            if (st != ST_OK) return st;
            if (left == 0) return ST_OK;
        }
        struct row *w = left != 0 ? r->index[reverse ? at + left - 1 : at] : NULL;
        int c = w == NULL ? 1 : !have ? -1 : bytes_compare(key_of(w), engine_iter_key(it));
        if (w != NULL && have && reverse) c = -c;
        if (c > 0) {
            if (!each(ctx, engine_iter_key(it), engine_iter_value(it))) return ST_OK;
        } else {
            left--;
            if (!reverse) at++;
            if (w->kind == ROW_VALUE && !each(ctx, key_of(w), value_of(w))) return ST_OK;
        }
        if (c >= 0) step(r, it, reverse);
    }
}

enum status rows_scan(struct rows *r, struct bytes lo, struct bytes hi, bool reverse,
                      bool (*each)(void *ctx, struct bytes key, struct bytes value), void *ctx)
{
    if (hi.n != 0 && bytes_compare(lo, hi) >= 0) return ST_OK;
    if (r->failed_status != ST_OK && (hi.n == 0 || bytes_compare(buf_view(&r->failed_range.lo), hi) < 0) &&
        (r->failed_range.hi.n == 0 || bytes_compare(lo, buf_view(&r->failed_range.hi)) < 0)) {
        enum status st = r->failed_status;
        r->failed_status = ST_OK;
        return st;
    }
    size_t at = 0, end = 0;
    if (r->stats.dirty != 0) {
        index_sort(r);
        at = index_below(r, lo);
        end = hi.n != 0 ? index_below(r, hi) : r->index_n;
    }
    struct engine_iter *it = engine_iter_new(r->e, NULL, lo, hi, ENGINE_MEMORY);
    if (reverse) engine_iter_last(it);
    else engine_iter_first(it);
    skip_deleted(r, it, reverse);
    enum status st = merge(r, it, at, end - at, reverse, each, ctx);
    engine_iter_free(it);
    return st;
}

/* ---- fetching ---- */

static void free_rows_at_last(struct rows *r)
{
    if (r->closed && r->fetches == 0 && !r->ready_queued) mem_free(r);
}

static void run_waiters(struct rows *r, struct list *waiters)
{
    for (struct link *k; (k = list_pop_front(waiters)) != NULL;) {
        struct waiter *w = CONTAINER_OF(k, struct waiter, link);
        r->waiters--;
        if (!r->closed) w->done(w->ctx); /* this may close r, but not free it: its fetch or task is counted */
        mem_free(w);
    }
}

static void on_ready(struct env_task *task)
{
    struct rows *r = CONTAINER_OF(task, struct rows, ready_task);
    struct list now; /* those that come meanwhile wait for the next turn */
    list_init(&now);
    for (struct link *k; (k = list_pop_front(&r->ready)) != NULL;) list_push_back(&now, k);
    r->ready_queued = false;
    r->fetches++; /* keeps r */
    run_waiters(r, &now);
    r->fetches--;
    free_rows_at_last(r);
}

static void add_waiter(struct rows *r, struct list *to, void (*done)(void *ctx), void *ctx)
{
    struct waiter *w = mem_zalloc(sizeof *w);
    w->done = done;
    w->ctx = ctx;
    r->waiters++;
    list_push_back(to, &w->link);
}

static void fetch_run(struct env_job *job)
{
    struct fetch *f = CONTAINER_OF(job, struct fetch, job);
    struct engine_value v = {0};
    f->status = engine_get(f->r->e, buf_view(&f->key), ENGINE_DISK, &v, NULL);
    if (f->status != ST_OK) return;
    buf_put_bytes(&f->value, v.bytes);
    engine_value_release(&v);
}

static void install(struct rows *r, struct fetch *f)
{
    struct row *w = f->row;
    if (w == NULL && MUTATION("fetch_overwrites_newer")) w = find(r, buf_view(&f->key), hash_of(r, buf_view(&f->key)));
    if (w == NULL) return;
    bool listed = link_linked(&w->link);
    overtake(w);
    if (f->status == ST_OK) {
        set(r, w, ROW_VALUE, buf_view(&f->value));
    } else {
        set(r, w, f->status == ST_NOT_FOUND ? ROW_ABSENT : ROW_FAILED, (struct bytes){0});
        w->status = (uint8_t)f->status;
    }
    w->referenced = true;
    if (!listed) list_push_back(&r->clean, &w->link);
}

static void fetch_done(struct env_job *job)
{
    struct fetch *f = CONTAINER_OF(job, struct fetch, job);
    struct rows *r = f->r;
    if (!r->closed) install(r, f);
    run_waiters(r, &f->waiters); /* before anything may evict the row */
    if (!r->closed) make_room(r, 0);
    r->fetches--;
    buf_deinit(&f->key);
    buf_deinit(&f->value);
    mem_free(f);
    free_rows_at_last(r);
}

enum status rows_fetch(struct rows *r, struct bytes key, void (*done)(void *ctx), void *ctx)
{
    if (r->waiters == ROWS_WAITERS_MAX) return ST_OVERLOADED;
    uint32_t hash = hash_of(r, key);
    struct row *w = find(r, key, hash);
    if (w != NULL && w->kind == ROW_UNKNOWN) {
        add_waiter(r, &w->fetch->waiters, done, ctx);
        return ST_OK;
    }
    if ((w != NULL && !w->cut) || deleted(r, key) != NULL) {
        add_waiter(r, &r->ready, done, ctx);
        if (!r->ready_queued) env_defer(r->loop, &r->ready_task);
        r->ready_queued = true;
        return ST_OK;
    }
    if (r->fetches >= ROWS_FETCHES_MAX) return ST_OVERLOADED;
    r->fetches++;
    r->stats.fetches++;
    struct fetch *f = mem_zalloc(sizeof *f);
    f->job.run = fetch_run;
    f->job.done = fetch_done;
    f->r = r;
    buf_put_bytes(&f->key, key);
    list_init(&f->waiters);
    add_waiter(r, &f->waiters, done, ctx);
    if (w == NULL) {
        w = insert(r, key, hash, 0);
    } else { /* what was cut */
        set(r, w, ROW_UNKNOWN, (struct bytes){0});
        link_remove(&w->link);
    }
    f->row = w;
    w->fetch = f;
    env_worker_submit(r->worker, r->loop, &f->job);
    return ST_OK;
}

static void range_run(struct env_job *job)
{
    struct range_fetch *f = CONTAINER_OF(job, struct range_fetch, job);
    struct engine_iter *it = engine_iter_new(f->r->e, NULL, buf_view(&f->lo), buf_view(&f->hi), ENGINE_DISK);
    uint64_t bytes = 0;
    for (engine_iter_first(it); engine_iter_valid(it) && bytes <= f->bytes_max; engine_iter_next(it))
        bytes += engine_iter_key(it).n + engine_iter_value(it).n;
    f->status = engine_iter_status(it, NULL);
    engine_iter_free(it);
}

static void range_done(struct env_job *job)
{
    struct range_fetch *f = CONTAINER_OF(job, struct range_fetch, job);
    struct rows *r = f->r;
    if (f->status != ST_OK && !r->closed) {
        struct range old = r->failed_range;
        r->failed_range = (struct range){f->lo, f->hi};
        r->failed_status = f->status;
        f->lo = old.lo;
        f->hi = old.hi;
    }
    r->waiters--;
    if (!r->closed) f->done(f->ctx);
    r->fetches--;
    buf_deinit(&f->lo);
    buf_deinit(&f->hi);
    mem_free(f);
    free_rows_at_last(r);
}

enum status rows_fetch_range(struct rows *r, struct bytes lo, struct bytes hi, uint64_t bytes_max,
                             void (*done)(void *ctx), void *ctx)
{
    if (r->fetches >= ROWS_FETCHES_MAX || r->waiters == ROWS_WAITERS_MAX) return ST_OVERLOADED;
    r->fetches++;
    r->waiters++;
    r->stats.fetches++;
    struct range_fetch *f = mem_zalloc(sizeof *f);
    f->job.run = range_run;
    f->job.done = range_done;
    f->r = r;
    buf_put_bytes(&f->lo, lo);
    buf_put_bytes(&f->hi, hi);
    f->bytes_max = bytes_max;
    f->done = done;
    f->ctx = ctx;
    env_worker_submit(r->worker, r->loop, &f->job);
    return ST_OK;
}

/* ---- life ---- */

struct rows *rows_new(struct env_loop *loop, struct engine *e, uint64_t bytes_max, uint64_t dirty_bytes_max)
{
    ASSERT(bytes_max > 0 && dirty_bytes_max > 0);
    struct rows *r = mem_zalloc(sizeof *r);
    r->loop = loop;
    r->e = e;
    r->worker = env_worker_new(env_loop_env(loop), "rows", FETCH_THREADS);
    r->seed = env_random_u64(env_loop_env(loop));
    r->bytes_max = bytes_max;
    r->dirty_bytes_max = dirty_bytes_max;
    add_segment(r);
    r->buckets = r->low_buckets = SEGMENT;
    list_init(&r->cold);
    list_init(&r->clean);
    list_init(&r->dirty);
    list_init(&r->ready);
    r->ready_task.run = on_ready;
    r->batch = engine_batch_new();
    return r;
}

void rows_free(struct rows *r)
{
    if (r == NULL) return;
    ASSERT(!r->closed);
    r->closed = true;
    env_worker_free(r->worker); /* no read of the engine is under way after this */
    for (size_t i = 0; i < r->buckets; i++)
        for (struct row **at = &r->segments[i / SEGMENT][i % SEGMENT]; *at != NULL;) drop(r, at);
    for (size_t i = 0; i < r->segments_n; i++) mem_free(r->segments[i]);
    mem_free(r->segments);
    drop_ranges(r);
    mem_free(r->ranges);
    buf_deinit(&r->failed_range.lo);
    buf_deinit(&r->failed_range.hi);
    mem_free(r->index);
    engine_batch_free(r->batch);
    run_waiters(r, &r->ready); /* closed: frees them only */
    free_rows_at_last(r);
}

void rows_stats(const struct rows *r, struct rows_stats *out) { *out = r->stats; }
