/* kv.c - the key-value model: its table of ops, and what an op reads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/kv.h"

#include "base/mem.h"
#include "model/history_view.h"
#include "model/kv_internal.h"

/* Where a body names its keys. */
enum kv_keys {
    KEYS_NONE,
    KEYS_BODY,  /* the body is the key */
    KEYS_FIRST, /* lp */
    KEYS_TWO,   /* lp, lp */
    KEYS_LIST,  /* varint count, lp … */
    KEYS_PAIRS, /* varint count, lp key, lp value, … */
    KEYS_MULTI,
    KEYS_EFFECT,
};

struct kv_row_op {
    enum status (*run)(struct kv_run *run); /* NULL: evaluated by the leader, never applied */
    bool read;                              /* runs on views that take no writes */
    uint8_t keys;                           /* enum kv_keys */
};

#define AT(opcode) [(opcode)-OPCODE_KV]
static const struct kv_row_op ops[KV_OPCODE_END - OPCODE_KV] = {
    AT(KV_GET) = {kv_op_get, true, KEYS_BODY},
    AT(KV_SET) = {kv_op_set, false, KEYS_FIRST},
    AT(KV_GETDEL) = {kv_op_getdel, false, KEYS_BODY},
    AT(KV_GETEX) = {kv_op_getex, false, KEYS_FIRST},
    AT(KV_APPEND) = {kv_op_append, false, KEYS_FIRST},
    AT(KV_STRLEN) = {kv_op_strlen, true, KEYS_BODY},
    AT(KV_SETRANGE) = {kv_op_setrange, false, KEYS_FIRST},
    AT(KV_GETRANGE) = {kv_op_getrange, true, KEYS_FIRST},
    AT(KV_INCR) = {kv_op_incr, false, KEYS_FIRST},
    AT(KV_INCR_FLOAT) = {NULL, false, KEYS_FIRST},
    AT(KV_MGET) = {kv_op_mget, true, KEYS_LIST},
    AT(KV_MSET) = {kv_op_mset, false, KEYS_PAIRS},
    AT(KV_MSETNX) = {kv_op_mset, false, KEYS_PAIRS},
    AT(KV_LCS) = {kv_op_lcs, true, KEYS_TWO},
    AT(KV_GETBIT) = {kv_op_getbit, true, KEYS_FIRST},
    AT(KV_SETBIT) = {kv_op_setbit, false, KEYS_FIRST},
    AT(KV_BITCOUNT) = {kv_op_bitcount, true, KEYS_FIRST},
    AT(KV_BITPOS) = {kv_op_bitpos, true, KEYS_FIRST},
    AT(KV_BITOP) = {kv_op_bitop, false, KEYS_LIST},
    AT(KV_BITFIELD) = {kv_op_bitfield, false, KEYS_FIRST},
    AT(KV_BITFIELD_RO) = {kv_op_bitfield, true, KEYS_FIRST},
    AT(KV_DEL) = {kv_op_del, false, KEYS_LIST},
    AT(KV_EXISTS) = {kv_op_exists, true, KEYS_LIST},
    AT(KV_TYPE) = {kv_op_type, true, KEYS_BODY},
    AT(KV_TTL) = {kv_op_ttl, true, KEYS_FIRST},
    AT(KV_EXPIRE) = {kv_op_expire, false, KEYS_FIRST},
    AT(KV_PERSIST) = {kv_op_persist, false, KEYS_BODY},
    AT(KV_RENAME) = {kv_op_rename, false, KEYS_TWO},
    AT(KV_RENAMENX) = {kv_op_rename, false, KEYS_TWO},
    AT(KV_COPY) = {kv_op_copy, false, KEYS_TWO},
    AT(KV_OBJECT) = {kv_op_object, true, KEYS_FIRST},
    AT(KV_SORT) = {kv_op_sort, true, KEYS_BODY},
    AT(KV_SORT_STORE) = {kv_op_sort, false, KEYS_TWO},
    AT(KV_VERSION) = {kv_op_version, true, KEYS_BODY},
    AT(KV_HSET) = {kv_op_hset, false, KEYS_FIRST},
    AT(KV_HMSET) = {kv_op_hset, false, KEYS_FIRST},
    AT(KV_HSETNX) = {kv_op_hset, false, KEYS_FIRST},
    AT(KV_HGET) = {kv_op_hget, true, KEYS_FIRST},
    AT(KV_HMGET) = {kv_op_hmget, true, KEYS_FIRST},
    AT(KV_HDEL) = {kv_op_hdel, false, KEYS_FIRST},
    AT(KV_HLEN) = {kv_op_hlen, true, KEYS_BODY},
    AT(KV_HEXISTS) = {kv_op_hget, true, KEYS_FIRST},
    AT(KV_HSTRLEN) = {kv_op_hget, true, KEYS_FIRST},
    AT(KV_HGETALL) = {kv_op_hgetall, true, KEYS_FIRST},
    AT(KV_HINCR) = {kv_op_hincr, false, KEYS_FIRST},
    AT(KV_HINCR_FLOAT) = {NULL, false, KEYS_FIRST},
    AT(KV_HRANDFIELD) = {kv_op_hrandfield, true, KEYS_FIRST},
    AT(KV_HSCAN) = {kv_op_hscan, true, KEYS_FIRST},
    AT(KV_SCAN) = {kv_op_scan, true, KEYS_NONE},
    AT(KV_KEYS) = {kv_op_keys, true, KEYS_NONE},
    AT(KV_DBSIZE) = {kv_op_dbsize, true, KEYS_NONE},
    AT(KV_RANDOMKEY) = {kv_op_randomkey, true, KEYS_NONE},
    AT(KV_FLUSH) = {kv_op_flush, false, KEYS_NONE},
    AT(KV_MULTI) = {kv_op_multi, false, KEYS_MULTI},
    AT(KV_EFFECT) = {kv_op_effect, false, KEYS_EFFECT},
    AT(KV_CLEAN) = {kv_op_clean, false, KEYS_NONE},
    AT(KV_EXPIRE_SWEEP) = {kv_op_expire_sweep, false, KEYS_NONE},
    AT(KV_GARBAGE_FIND) = {kv_op_garbage_find, true, KEYS_NONE},
    AT(KV_EXPIRED_FIND) = {kv_op_expired_find, true, KEYS_NONE},
    AT(KV_RETENTION) = {kv_op_retention, false, KEYS_NONE},
    AT(KV_HISTORY_FIND) = {kv_op_history_find, true, KEYS_NONE},
    AT(KV_HISTORY_DROP) = {kv_op_history_drop, false, KEYS_NONE},
};

static const struct kv_row_op *op_row(uint16_t opcode)
{
    return opcode > OPCODE_KV && opcode < KV_OPCODE_END ? &ops[opcode - OPCODE_KV] : NULL;
}

void kv_run_init(struct kv_run *run, const struct op *op, struct op_view *view, uint64_t *ordinal, struct buf *out)
{
    run->view = view;
    run->op = op;
    run->body = reader_of(op->body);
    run->out = out;
    run->now_ms = hlc_ms(view->ts);
    run->ordinal = ordinal;
    run->writing = view->put != NULL;
    run->nested = false;
    run->temps = NULL;
    run->row = (struct buf){0};
}

void kv_run_deinit(struct kv_run *run)
{
    struct kv_temp *next;
    for (struct kv_temp *t = run->temps; t != NULL; t = next) {
        next = t->next;
        buf_deinit(&t->buf);
        mem_free(t);
    }
    run->temps = NULL;
    buf_deinit(&run->row);
}

struct buf *kv_temp(struct kv_run *run)
{
    struct kv_temp *t = mem_zalloc(sizeof *t);
    t->next = run->temps;
    run->temps = t;
    return &t->buf;
}

uint64_t kv_incarnation(struct kv_run *run)
{
    ASSERT(run->writing);
    return run->view->ts + (*run->ordinal)++;
}

enum status kv_malformed(struct kv_run *run) { return kv_error(run, "ERR malformed operation"); }

enum status kv_wrong_type(struct kv_run *run)
{
    return kv_error(run, "WRONGTYPE Operation against a key holding the wrong kind of value");
}

enum status kv_error(struct kv_run *run, const char *text)
{
    result_error(run->out, "%s", text);
    return ST_OK;
}

/* Calls each with an op's sub-ops (MULTI, EFFECT); stops at what is malformed. */
static void each_sub_op(const struct op *op, void (*each)(void *ctx, const struct op *sub), void *ctx)
{
    struct reader r = reader_of(op->body);
    if (op->opcode == KV_EFFECT) {
        reader_lp(&r);
    } else {
        uint64_t watches = reader_varint(&r);
        for (uint64_t i = 0; i < watches && !r.failed; i++) {
            reader_lp(&r);
            reader_u64(&r);
        }
    }
    uint64_t count = reader_varint(&r);
    for (uint64_t i = 0; i < count && !r.failed; i++) {
        struct op sub;
        struct bytes encoded = reader_lp(&r);
        if (!r.failed && op_decode(encoded, &sub)) each(ctx, &sub);
    }
}

struct sum_ctx {
    uint64_t sum;
    bool inner; /* an effect within a MULTI */
};

static uint64_t timestamps(const struct op *op, unsigned depth);

static void sum_each(void *ctx, const struct op *sub)
{
    struct sum_ctx *c = ctx;
    c->sum += timestamps(sub, c->inner ? 2 : 1);
}

/* How many incarnations an op can make, at least 1. A body of n bytes names at most n keys. */
static uint64_t timestamps(const struct op *op, unsigned depth)
{
    switch (op->opcode) {
    case KV_MSET:
    case KV_MSETNX: {
        struct reader r = reader_of(op->body);
        uint64_t pairs = reader_varint(&r);
        return pairs <= reader_left(&r) && pairs != 0 ? pairs : 1;
    }
    case KV_MULTI:
    case KV_EFFECT: {
        if (depth == 2 || (depth == 1 && op->opcode == KV_MULTI)) return 1;
        struct sum_ctx c = {.inner = depth == 1};
        each_sub_op(op, sum_each, &c);
        return MAX(c.sum, 1);
    }
    default: return 1;
    }
}

static uint64_t kv_timestamps(const struct op *op) { return timestamps(op, 0); }

/* A pass over the keys that an op names. */
struct keys_ctx {
    bool (*each)(void *ctx, struct bytes key); /* false: stop */
    void *ctx;
    unsigned depth;
    bool stopped;
};

static void keys_one(struct keys_ctx *c, const struct reader *r, struct bytes key)
{
    if (!r->failed && !c->stopped && !c->each(c->ctx, key)) c->stopped = true;
}

static void keys_of(void *ctx, const struct op *op)
{
    struct keys_ctx *c = ctx;
    const struct kv_row_op *row = op_row(op->opcode);
    struct reader r = reader_of(op->body);
    if (row == NULL || c->stopped) return;
    switch (row->keys) {
    case KEYS_BODY: keys_one(c, &r, op->body); break;
    case KEYS_TWO: keys_one(c, &r, reader_lp(&r)); /* fall through */
    case KEYS_FIRST: keys_one(c, &r, reader_lp(&r)); break;
    case KEYS_LIST:
    case KEYS_PAIRS: {
        uint64_t count = reader_varint(&r);
        for (uint64_t i = 0; i < count && !r.failed && !c->stopped; i++) {
            keys_one(c, &r, reader_lp(&r));
            if (row->keys == KEYS_PAIRS) reader_lp(&r);
        }
        break;
    }
    case KEYS_MULTI: {
        uint64_t watches = reader_varint(&r);
        for (uint64_t i = 0; i < watches && !r.failed && !c->stopped; i++) {
            keys_one(c, &r, reader_lp(&r));
            reader_u64(&r);
        }
    } /* fall through */
    case KEYS_EFFECT:
        if (c->depth == 2) break;
        c->depth++;
        each_sub_op(op, keys_of, c);
        c->depth--;
        break;
    default: break;
    }
}

static bool key_fits(void *ctx, struct bytes key) { return key.n <= KV_KEY_MAX; }

/* Runs the op of `run`. */
static enum status dispatch(struct kv_run *run)
{
    const struct kv_row_op *row = op_row(run->op->opcode);
    if (row == NULL) return ST_VERSION;
    if (row->run == NULL || (!row->read && !run->writing)) return kv_malformed(run);
    if (!row->read && row->keys < KEYS_MULTI) {
        struct keys_ctx keys = {.each = key_fits};
        keys_of(&keys, run->op);
        if (keys.stopped) return kv_error(run, "ERR a key is longer than 65535 bytes");
    }
    return row->run(run);
}

enum status kv_run_nested(struct kv_run *outer, const struct op *op, struct buf *out)
{
    struct kv_run run;
    kv_run_init(&run, op, outer->view, outer->ordinal, out);
    run.nested = true;
    size_t before = out->n;
    enum status st = dispatch(&run);
    kv_run_deinit(&run);
    if (st != ST_OK) out->n = before;
    return st;
}

/* ---- what an op will read ---- */

struct reads_ctx {
    struct op_view *view;
    struct buf row, end;
    bool more; /* rows hang on the heads named */
    unsigned depth;
    op_reads_each each;
    void *ctx;
};

static bool reads_head(void *ctx, struct bytes key)
{
    struct reads_ctx *c = ctx;
    if (!key_fits(NULL, key)) return true;
    buf_clear(&c->row);
    row_head(&c->row, c->view->table, key);
    c->each(c->ctx, buf_view(&c->row), (struct bytes){0}, c->more);
    return true;
}

/* Of a key that is a hash or a long string, and in memory. */
static bool reads_incarnation(struct reads_ctx *c, struct bytes key, uint8_t type, struct kv_head *out)
{
    struct bytes value;
    if (!key_fits(NULL, key)) return false;
    buf_clear(&c->row);
    row_head(&c->row, c->view->table, key);
    return c->view->get(c->view->ctx, buf_view(&c->row), &value) == ST_OK && kv_head_decode(value, out) &&
           out->type == type;
}

static void reads_element(struct reads_ctx *c, uint16_t slot, uint64_t incarnation)
{
    buf_clear(&c->row);
    row_prefix(&c->row, c->view->table, slot, SPACE_ELEMENT);
    buf_put_be64(&c->row, incarnation);
}

static void reads_fields(struct reads_ctx *c, const struct op *op)
{
    struct kv_head h;
    struct reader r = reader_of(op->body);
    struct bytes key = reader_lp(&r);
    if (r.failed || !reads_incarnation(c, key, KV_HASH, &h)) return;
    uint16_t slot = key_slot(key);
    uint64_t count = op->opcode == KV_HINCR ? 1 : reader_varint(&r);
    for (uint64_t i = 0; i < count; i++) {
        struct bytes field = reader_lp(&r);
        if (r.failed || !key_fits(NULL, field)) return;
        reads_element(c, slot, h.incarnation);
        buf_put_be48(&c->row, key_hash48(field));
        buf_put_bytes(&c->row, field);
        c->each(c->ctx, buf_view(&c->row), (struct bytes){0}, false);
        if (op->opcode != KV_HINCR && op->opcode != KV_HDEL) reader_lp(&r);
    }
}

/* The first and the last of the pieces that a change touches: those between them are overwritten whole. */
static void reads_pieces(struct reads_ctx *c, const struct op *op)
{
    struct kv_head h;
    struct reader r = reader_of(op->body);
    struct bytes key = reader_lp(&r);
    if (r.failed || !reads_incarnation(c, key, KV_LONG, &h)) return;
    uint64_t offset = op->opcode == KV_APPEND ? h.count : reader_u64(&r);
    uint64_t n = op->opcode == KV_SETBIT ? 1 : reader_left(&r);
    if (op->opcode == KV_SETBIT) offset /= 8;
    if (r.failed || n == 0 || offset > KV_STRING_MAX) return;
    uint64_t pieces[2] = {offset / KV_PIECE, (offset + n - 1) / KV_PIECE};
    for (int i = 0; i < 2; i++) {
        if (i == 1 && pieces[1] == pieces[0]) break;
        reads_element(c, key_slot(key), h.incarnation);
        buf_put_be32(&c->row, (uint32_t)pieces[i]);
        c->each(c->ctx, buf_view(&c->row), (struct bytes){0}, false);
    }
}

static void reads_garbage(struct reads_ctx *c, const struct op *op)
{
    struct reader r = reader_of(op->body);
    uint16_t slot = reader_u16(&r);
    uint64_t incarnation = reader_u64(&r);
    if (r.failed || slot >= SLOTS || incarnation == UINT64_MAX) return; /* the op will be refused */
    buf_clear(&c->row);
    row_garbage(&c->row, c->view->table, slot, incarnation);
    c->each(c->ctx, buf_view(&c->row), (struct bytes){0}, false);
    reads_element(c, slot, incarnation);
    buf_clear(&c->end);
    row_prefix(&c->end, c->view->table, slot, SPACE_ELEMENT);
    buf_put_be64(&c->end, incarnation + 1);
    c->each(c->ctx, buf_view(&c->row), buf_view(&c->end), false);
}

/* What hangs on heads, and what background work goes through. */
static void reads_elements(void *ctx, const struct op *op)
{
    struct reads_ctx *c = ctx;
    switch (op->opcode) {
    case KV_HSET:
    case KV_HMSET:
    case KV_HSETNX:
    case KV_HDEL:
    case KV_HINCR: reads_fields(c, op); break;
    case KV_APPEND:
    case KV_SETRANGE:
    case KV_SETBIT: reads_pieces(c, op); break;
    case KV_CLEAN: reads_garbage(c, op); break;
    case KV_MULTI:
    case KV_EFFECT:
        if (c->depth == 2) break;
        c->depth++;
        each_sub_op(op, reads_elements, c);
        c->depth--;
        break;
    default: break;
    }
}

static bool has_element_reads(uint16_t opcode)
{
    switch (opcode) {
    case KV_HSET:
    case KV_HMSET:
    case KV_HSETNX:
    case KV_HDEL:
    case KV_HINCR:
    case KV_APPEND:
    case KV_SETRANGE:
    case KV_SETBIT:
    case KV_MULTI:
    case KV_EFFECT: return true;
    default: return false;
    }
}

static void kv_reads(const struct op *op, struct op_view *view, op_reads_each each, void *ctx)
{
    struct reads_ctx c = {.view = view, .more = has_element_reads(op->opcode), .each = each, .ctx = ctx};
    struct keys_ctx keys = {.each = reads_head, .ctx = &c};
    keys_of(&keys, op);
    reads_elements(&c, op);
    buf_deinit(&c.row);
    buf_deinit(&c.end);
}

static bool key_here(void *ctx, struct bytes key)
{
    const struct op_view *view = ctx;
    uint16_t slot = key_slot(key);
    return slot >= view->slot_lo && slot < view->slot_hi;
}

/* What it removes is not visible any more, at any time that may be asked for. */
static bool is_cleaning(uint16_t opcode)
{
    return opcode == KV_CLEAN || opcode == KV_HISTORY_DROP || opcode == KV_RETENTION;
}

static enum status run_on(const struct op *op, struct op_view *view, struct buf *out)
{
    uint64_t ordinal = 0;
    struct kv_run run;
    kv_run_init(&run, op, view, &ordinal, out);
    enum status st = dispatch(&run);
    kv_run_deinit(&run);
    ASSERT(st != ST_OK || ordinal <= op_timestamps(op));
    return st;
}

static enum status kv_model_run(const struct op *op, struct op_view *view, struct buf *out)
{
    const struct kv_row_op *row = op_row(op->opcode);
    if (row == NULL) return ST_VERSION;
    /* With several keys: all are in the partition, or nothing is begun. (A handler checks its first key itself.) */
    if (row->keys > KEYS_FIRST) {
        struct keys_ctx keys = {.each = key_here, .ctx = view};
        keys_of(&keys, op);
        if (keys.stopped) return ST_STALE;
    }
    if (!view->keep_history || view->put == NULL || is_cleaning(op->opcode)) return run_on(op, view, out);
    struct history_writer writer;
    history_writer_init(&writer, view);
    enum status st = run_on(op, &writer.view, out);
    if (writer.status != ST_OK) st = writer.status; /* what it changed was not in memory: not decided */
    history_writer_deinit(&writer);
    return st;
}

const struct op_model kv_model = {
    .name = "kv",
    .run = kv_model_run,
    .reads = kv_reads,
    .timestamps = kv_timestamps,
    .evaluate = kv_evaluate,
    .version = kv_head_version,
};
