/* prefetch.c - brings the rows that an entry's ops will read into memory, from when the entry is appended.
 * SPDX-License-Identifier: Apache-2.0
 *
 * While the log writes and syncs an entry and the followers answer, workers read what it needs, so that the disk is not
 * between commit and apply. Entries are looked at in the order in which they came, all replicas of the store in one queue:
 * first what the ops name (op_reads), then, if heads had to be read, what hangs on those. An entry's plan is complete when
 * nothing that it asked for is under way; the replica waits with applying the entry until then, the others go on.
 *
 * It is only about time. A row read here is the newest one, as of no entry, and rows.c sees to it that no read replaces what
 * was written meanwhile; so an entry that is cut from the log later, or a row that changes, does no harm. What was not named,
 * or was evicted again, apply fetches itself (replica_apply.c).
 *
 * Bounds: PREFETCH_READS_MAX reads under way of a store; PLANS_MAX plans and PLANNED_BYTES_MAX bytes of entries held for
 * them; rows fetched for entries that are not applied yet take up to a quarter of the rows' memory. What is beyond is not
 * prefetched, but for the next entry to be applied. */
#include "base/mem.h"
#include "replica/host_internal.h"

#define PREFETCH_READS_MAX 48 /* of ROWS_FETCHES_MAX: some are left for reads, and for apply */
#define PLANS_MAX          1024
#define PLANNED_BYTES_MAX  (16u << 20)
#define RANGE_BYTES        (256u << 10)
#define ROW_COST           128 /* of a row in memory, beside its bytes */

struct prefetch {
    struct link link;  /* in host.prefetch_queue: not all of it has been asked for */
    struct link mine;  /* in replica.prefetches, by rising index */
    struct replica *r; /* NULL: not wanted any more; freed when the last read is back */
    struct entry *e;   /* NULL when complete */
    uint64_t index, term;
    uint64_t bytes; /* of rows fetched for it */
    struct reader ops;
    uint64_t ops_left;
    struct buf wanted; /* lp lo, lp hi, more u8: named by ops, and not in memory */
    size_t wanted_at;
    unsigned under_way;
    bool heads_read; /* rows hang on some of the heads read: look at all ops once more */
    bool second;     /* that was done */
    bool again;      /* made because apply missed something: whatever it takes */
};

/* One read under way. */
struct prefetch_read {
    struct link link; /* in host.prefetch_reads */
    struct prefetch *plan;
    struct host *host;
    bool more;
    struct buf key; /* empty: a range */
};

static bool complete(const struct prefetch *p) { return p->e == NULL; }

static void begin(struct prefetch *p)
{
    p->ops = reader_of(entry_data(p->e));
    p->ops_left = reader_varint(&p->ops);
}

/* Nothing more is asked for. */
static void finish(struct host *h, struct prefetch *p)
{
    h->planned_bytes -= p->e->size;
    entry_unref(p->e);
    p->e = NULL;
    buf_deinit(&p->wanted);
    if (link_linked(&p->link)) link_remove(&p->link);
    if (p->r->applied + 1 == p->index) host_wake(p->r);
}

static void forget(struct host *h, struct prefetch *p)
{
    if (!complete(p)) finish(h, p);
    h->prefetched_bytes -= p->bytes;
    p->bytes = 0;
    h->plans--;
    link_remove(&p->mine);
    p->r = NULL;
    if (p->under_way == 0) mem_free(p);
}

/* ---- asking ---- */

static enum status view_get(void *ctx, struct bytes row, struct bytes *out)
{
    struct host *h = ctx;
    return rows_get_front(h->rows, row, out); /* a head is all in its front; what else apply needs it fetches itself */
}

static void want(void *ctx, struct bytes lo, struct bytes hi, bool more)
{
    struct prefetch *p = ctx;
    struct bytes value;
    /* Mostly an op needs to know what is there, not all of it; where apply missed something after all, it needs more. */
    struct rows *rows = p->r->host->rows;
    if (hi.n == 0 && (p->again ? rows_get(rows, lo, &value) : rows_get_front(rows, lo, &value)) != ST_NOT_READY) return;
    buf_put_lp(&p->wanted, lo);
    buf_put_lp(&p->wanted, hi);
    buf_put_u8(&p->wanted, more);
}

static void read_back(void *ctx)
{
    struct prefetch_read *d = ctx;
    struct host *h = d->host;
    struct prefetch *p = d->plan;
    struct bytes value;
    p->under_way--;
    h->prefetching--;
    link_remove(&d->link);
    if (p->r == NULL) {
        if (p->under_way == 0) mem_free(p);
    } else {
        uint64_t cost = RANGE_BYTES;
        if (d->key.n != 0) {
            value.n = 0;
            if (rows_get(h->rows, buf_view(&d->key), &value) != ST_OK) value.n = 0;
            cost = d->key.n + value.n + ROW_COST;
        }
        p->bytes += cost;
        h->prefetched_bytes += cost;
        p->heads_read |= d->more;
        if (p->under_way == 0 && !link_linked(&p->link)) list_push_front(&h->prefetch_queue, &p->link); /* what next? */
    }
    buf_deinit(&d->key);
    mem_free(d);
    prefetch_pump(h);
}

/* False: too many are under way. */
static bool ask(struct host *h, struct prefetch *p)
{
    if (h->prefetching >= PREFETCH_READS_MAX) return false;
    struct reader in = reader_of(bytes_of(p->wanted.p + p->wanted_at, p->wanted.n - p->wanted_at));
    struct bytes lo = reader_lp(&in), hi = reader_lp(&in);
    bool more = reader_u8(&in) != 0;
    ASSERT(!in.failed);
    struct prefetch_read *d = mem_zalloc(sizeof *d);
    *d = (struct prefetch_read){.plan = p, .host = h, .more = more};
    if (hi.n == 0) buf_put_bytes(&d->key, lo);
    enum status st = hi.n == 0 ? rows_fetch(h->rows, lo, read_back, d)
                               : rows_fetch_range(h->rows, lo, hi, RANGE_BYTES, read_back, d);
    if (st != ST_OK) {
        buf_deinit(&d->key);
        mem_free(d);
        return false;
    }
    list_push_back(&h->prefetch_reads, &d->link);
    p->under_way++;
    h->prefetching++;
    h->stats.prefetches++;
    p->wanted_at = p->wanted.n - reader_left(&in);
    if (reader_left(&in) == 0) {
        buf_clear(&p->wanted);
        p->wanted_at = 0;
    }
    return true;
}

/* Asks for what the entry's ops name. False: it has to go on later. */
static bool advance(struct host *h, struct prefetch *p)
{
    struct replica *r = p->r;
    struct op_view view = {.ctx = h, .table = r->table, .slot_lo = r->slot_lo, .slot_hi = r->slot_hi, .get = view_get};
    for (;;) {
        while (p->wanted.n != 0)
            if (!ask(h, p)) return false;
        if (p->ops_left == 0 || p->ops.failed) return true;
        struct op op;
        struct bytes encoded = reader_lp(&p->ops);
        p->ops_left--;
        if (!p->ops.failed && op_decode(encoded, &op)) op_reads(&op, &view, want, p);
    }
}

static bool too_much(const struct host *h, const struct prefetch *p)
{
    return h->prefetched_bytes > h->limits.rows_bytes_max / 4 && !p->again && p->index != p->r->applied + 1;
}

/* Takes a plan as far as it goes now. False: there is no room for more reads. */
static bool step(struct host *h, struct prefetch *p)
{
    for (;;) {
        bool skip = too_much(h, p);
        if (skip) {
            h->stats.prefetches_skipped++;
            buf_clear(&p->wanted);
            p->wanted_at = 0;
            p->ops_left = 0;
            p->second = true;
        } else if (!advance(h, p)) {
            return false;
        }
        if (link_linked(&p->link)) link_remove(&p->link);
        if (p->under_way != 0) return true; /* the last one that comes back goes on from here */
        if (p->second || !p->heads_read) break;
        p->second = true;
        begin(p);
    }
    finish(h, p);
    return true;
}

void prefetch_pump(struct host *h)
{
    if (h->closing) return;
    for (struct link *k; (k = list_first(&h->prefetch_queue)) != NULL;)
        if (!step(h, CONTAINER_OF(k, struct prefetch, link))) return;
}

/* ---- what replicas say ---- */

static struct prefetch *first_plan(const struct replica *r)
{
    struct link *k = list_first(&r->prefetches);
    return k != NULL ? CONTAINER_OF(k, struct prefetch, mine) : NULL;
}

static struct prefetch *plan_new(struct replica *r, struct entry *e, bool again)
{
    struct host *h = r->host;
    struct prefetch *p = mem_zalloc(sizeof *p);
    *p = (struct prefetch){.r = r, .e = entry_ref(e), .index = e->index, .term = e->term, .again = again};
    begin(p);
    h->plans++;
    h->planned_bytes += e->size;
    if (again) list_push_front(&r->prefetches, &p->mine); /* the next to be applied */
    else list_push_back(&r->prefetches, &p->mine);
    return p;
}

void prefetch_entry(struct replica *r, struct entry *e)
{
    struct host *h = r->host;
    /* What the entry replaces. */
    for (struct link *k; (k = list_last(&r->prefetches)) != NULL;) {
        struct prefetch *p = CONTAINER_OF(k, struct prefetch, mine);
        if (p->index < e->index) break;
        forget(h, p);
    }
    if (e->kind != ENTRY_OPS || r->stopped || h->failed || h->closing) return;
    if (h->plans >= PLANS_MAX || h->planned_bytes > PLANNED_BYTES_MAX) {
        h->stats.prefetches_skipped++;
        return;
    }
    struct prefetch *p = plan_new(r, e, false);
    if (!list_empty(&h->prefetch_queue) || !step(h, p)) list_push_back(&h->prefetch_queue, &p->link);
    if (complete(p) && p->bytes == 0) forget(h, p); /* all was in memory, as it mostly is */
}

bool prefetch_ready(struct replica *r, const struct entry *e)
{
    struct prefetch *p = first_plan(r);
    while (p != NULL && (p->index < e->index || (p->index == e->index && p->term != e->term))) {
        forget(r->host, p);
        p = first_plan(r);
    }
    if (p == NULL || p->index != e->index || complete(p)) return true;
    r->host->stats.apply_waits++;
    return false;
}

void prefetch_again(struct replica *r, const struct entry *e)
{
    struct host *h = r->host;
    struct prefetch *p = first_plan(r);
    if (p != NULL && p->index <= e->index) forget(h, p);
    struct entry *copy = entry_new(e->kind, e->index, e->term, e->ts, entry_data(e));
    p = plan_new(r, copy, true);
    entry_unref(copy);
    if (!step(h, p)) list_push_front(&h->prefetch_queue, &p->link);
}

void prefetch_applied(struct replica *r)
{
    for (struct prefetch *p; (p = first_plan(r)) != NULL && p->index <= r->applied;) forget(r->host, p);
}

void prefetch_forget_all(struct replica *r)
{
    for (struct prefetch *p; (p = first_plan(r)) != NULL;) forget(r->host, p);
}

void prefetch_free_reads(struct host *h)
{
    for (struct link *k; (k = list_pop_front(&h->prefetch_reads)) != NULL;) {
        struct prefetch_read *d = CONTAINER_OF(k, struct prefetch_read, link);
        if (--d->plan->under_way == 0 && d->plan->r == NULL) mem_free(d->plan);
        buf_deinit(&d->key);
        mem_free(d);
    }
}
