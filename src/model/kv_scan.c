/* kv_scan.c - going through a partition's keys: SCAN, KEYS, DBSIZE, RANDOMKEY, FLUSH.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Heads lie in the order (slot, hash48, key), each slot's heads before its other rows. A pass over them therefore runs
 * from slot to slot, and begins anew behind a slot's other rows. */
#include "model/kv_internal.h"

#define POSITION_OF(slot, hash48) ((uint64_t)(slot) << 48 | (hash48))
#define HASH48_MAX                ((1ull << 48) - 1)
#define KEY_PREFIX                13 /* table, slot, space, hash48 */

/* A pass over heads from a position. */
struct heads {
    struct kv_run *run;
    uint64_t position; /* where to go on */
    uint64_t jumps;    /* slots whose other rows were jumped over */
    bool end;          /* the partition's end was reached */
    bool stopped;      /* each wanted no more */
    bool corrupt;
    bool jump;
    /* Returns false to stop before this head: the pass can go on at its position. */
    bool (*each)(void *ctx, uint64_t position, struct bytes key, const struct kv_head *h);
    void *ctx;
};

static bool heads_row(void *ctx, struct bytes row, struct bytes value)
{
    struct heads *s = ctx;
    struct row_parts p;
    struct kv_head h;
    if (!row_parse(row, &p)) {
        s->corrupt = true;
        return false;
    }
    if (p.space != SPACE_HEAD) {
        s->position = POSITION_OF(p.slot + 1u, 0);
        s->jump = true;
        return false;
    }
    s->position = POSITION_OF(p.slot, p.hash48);
    if (!kv_head_decode(value, &h)) {
        s->corrupt = true;
        return false;
    }
    if (!s->each(s->ctx, s->position, p.rest, &h)) {
        s->stopped = true;
        return false;
    }
    return true;
}

/* Runs until each stops it, the partition ends, or jumps_max slots' other rows were jumped over. */
static enum status heads_walk(struct heads *s, uint64_t jumps_max)
{
    struct op_view *v = s->run->view;
    struct buf *lo = kv_temp(s->run), *hi = kv_temp(s->run), *unused = kv_temp(s->run);
    row_range(unused, hi, v->table, v->slot_lo, v->slot_hi);
    for (;;) {
        uint64_t slot = s->position >> 48;
        if (slot >= v->slot_hi) {
            s->end = true;
            return ST_OK;
        }
        buf_clear(lo);
        row_head_at(lo, v->table, (uint16_t)slot, s->position & HASH48_MAX, BYTES_LIT(""));
        s->jump = false;
        enum status st = v->scan(v->ctx, buf_view(lo), buf_view(hi), false, heads_row, s);
        if (st != ST_OK) return st;
        if (s->corrupt) return ST_CORRUPT;
        if (s->stopped) return ST_OK;
        if (!s->jump) {
            s->end = true;
            return ST_OK;
        }
        if (++s->jumps >= jumps_max) return ST_OK;
    }
}

struct scan {
    struct kv_run *run;
    struct buf *keys;
    struct bytes pattern;
    uint8_t type;
    uint64_t found, seen, count_max, last;
};

static bool type_matches(uint8_t wanted, uint8_t type)
{
    return wanted == KV_NONE || wanted == type || (wanted == KV_STRING && type == KV_LONG);
}

/* Keys of one (slot, hash48) stay together: the cursor can't tell them apart. */
static bool scan_each(void *ctx, uint64_t position, struct bytes key, const struct kv_head *h)
{
    struct scan *s = ctx;
    if (s->seen >= s->count_max && position != s->last) return false;
    s->seen++;
    s->last = position;
    if (kv_head_expired(h, s->run->now_ms) || !type_matches(s->type, h->type)) return true;
    if (!kv_glob(s->pattern, key)) return true;
    result_bulk(s->keys, key);
    s->found++;
    return true;
}

static enum status start(struct kv_run *run, uint64_t cursor, uint64_t *out_position)
{
    if (cursor == 0) {
        *out_position = POSITION_OF(run->view->slot_lo, 0);
        return ST_OK;
    }
    uint64_t slot = cursor >> 48;
    if (slot < run->view->slot_lo || slot >= run->view->slot_hi) return ST_STALE;
    *out_position = cursor;
    return ST_OK;
}

#define JUMPS_MIN 128

enum status kv_op_scan(struct kv_run *run)
{
    uint64_t cursor = reader_u64(&run->body), count = reader_u64(&run->body);
    uint8_t type = reader_u8(&run->body);
    if (run->body.failed) return kv_malformed(run);
    struct scan s = {.run = run, .keys = kv_temp(run), .type = type, .count_max = MAX(count, 1)};
    s.pattern = reader_bytes(&run->body, reader_left(&run->body));
    struct heads walk = {.run = run, .each = scan_each, .ctx = &s};
    /* A cursor beyond the last slot, which SCAN never gave, is at the end. */
    enum status st = cursor >> 48 < SLOTS ? start(run, cursor, &walk.position) : ST_OK;
    if (st != ST_OK) return st;
    if (cursor >> 48 < SLOTS) {
        st = heads_walk(&walk, MAX(s.count_max, JUMPS_MIN));
        if (st != ST_OK) return st;
    } else {
        walk.end = true;
    }
    uint64_t next = walk.position;
    if (walk.end) next = cursor >> 48 < SLOTS && run->view->slot_hi < SLOTS ? POSITION_OF(run->view->slot_hi, 0) : 0;
    char text[24];
    result_array(run->out, 2);
    result_bulk(run->out, bytes_of(text, u64_to_text(next, text)));
    result_array(run->out, s.found);
    buf_put_bytes(run->out, buf_view(s.keys));
    return ST_OK;
}

enum status kv_op_keys(struct kv_run *run)
{
    struct scan s = {.run = run, .keys = kv_temp(run), .pattern = run->op->body, .count_max = UINT64_MAX};
    struct heads walk = {.run = run, .each = scan_each, .ctx = &s, .position = POSITION_OF(run->view->slot_lo, 0)};
    enum status st = heads_walk(&walk, UINT64_MAX);
    if (st != ST_OK) return st;
    result_array(run->out, s.found);
    buf_put_bytes(run->out, buf_view(s.keys));
    return ST_OK;
}

static bool count_each(void *ctx, uint64_t position, struct bytes key, const struct kv_head *h)
{
    (void)position;
    (void)key;
    (void)h;
    ++*(int64_t *)ctx;
    return true;
}

enum status kv_op_dbsize(struct kv_run *run)
{
    if (!run->view->as_of) return kv_int(run, run->view->counters->keys);
    int64_t keys = 0; /* the counter is of now */
    struct heads walk = {.run = run, .each = count_each, .ctx = &keys, .position = POSITION_OF(run->view->slot_lo, 0)};
    enum status st = heads_walk(&walk, UINT64_MAX);
    return st == ST_OK ? kv_int(run, keys) : st;
}

struct pick {
    struct kv_run *run;
    struct buf *key;
    bool found;
};

static bool pick_each(void *ctx, uint64_t position, struct bytes key, const struct kv_head *h)
{
    struct pick *p = ctx;
    if (kv_head_expired(h, p->run->now_ms)) return true;
    buf_clear(p->key);
    buf_put_bytes(p->key, key);
    p->found = true;
    return false;
}

/* The first key at or behind a random place; around the end if there is none. */
enum status kv_op_randomkey(struct kv_run *run)
{
    uint64_t random = reader_u64(&run->body);
    if (!reader_done(&run->body)) return kv_malformed(run);
    uint32_t lo = run->view->slot_lo, slots = run->view->slot_hi - lo;
    struct pick pick = {.run = run, .key = kv_temp(run)};
    uint64_t places[2] = {POSITION_OF(lo + (random >> 48) % MAX(slots, 1), random & HASH48_MAX), POSITION_OF(lo, 0)};
    for (int i = 0; i < 2 && !pick.found; i++) {
        struct heads walk = {.run = run, .each = pick_each, .ctx = &pick, .position = places[i]};
        enum status st = heads_walk(&walk, UINT64_MAX);
        if (st != ST_OK) return st;
    }
    if (pick.found) result_bulk(run->out, buf_view(pick.key));
    else result_nil(run->out);
    return ST_OK;
}

struct flush {
    struct buf *keys; /* lp */
    uint64_t count, count_max;
};

static bool flush_each(void *ctx, uint64_t position, struct bytes key, const struct kv_head *h)
{
    struct flush *f = ctx;
    if (f->count == f->count_max) return false;
    buf_put_lp(f->keys, key);
    f->count++;
    return true;
}

/* Deletes heads from the cursor on; elements become garbage. One pass over the partition takes several such ops: a key
 * made behind the cursor meanwhile stays. */
enum status kv_op_flush(struct kv_run *run)
{
    uint64_t cursor = reader_u64(&run->body);
    struct flush f = {.keys = kv_temp(run), .count_max = reader_u32(&run->body)};
    struct heads walk = {.run = run, .each = flush_each, .ctx = &f};
    if (!reader_done(&run->body) || f.count_max == 0) return kv_malformed(run);
    enum status st = start(run, cursor, &walk.position);
    if (st != ST_OK) return st;
    st = heads_walk(&walk, MAX(f.count_max, JUMPS_MIN));
    if (st != ST_OK) return st;
    struct reader r = reader_of(buf_view(f.keys));
    while (reader_left(&r) != 0) {
        struct kv_key k;
        st = kv_open_front(run, &k, reader_lp(&r));
        if (st != ST_OK) return st;
        kv_delete(run, &k);
    }
    return kv_int(run, walk.end ? -1 : (int64_t)walk.position);
}
