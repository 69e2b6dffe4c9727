/* kv_key.c - what holds for keys of every type: DEL, EXPIRE, RENAME, COPY, TYPE and their kin.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/kv_internal.h"

#define CROSS_SLOT "CROSSSLOT Keys in request don't hash to the same slot"

/* DEL, EXISTS: both look at keys one by one. */
static enum status each_key(struct kv_run *run, bool del)
{
    uint64_t count = reader_varint(&run->body);
    struct reader check = run->body;
    for (uint64_t i = 0; i < MIN(count, reader_left(&run->body)); i++) reader_lp(&check);
    if (count > reader_left(&run->body) || !reader_done(&check)) return kv_malformed(run);
    int64_t found = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct kv_key k;
        enum status st = kv_open_front(run, &k, reader_lp(&run->body));
        if (st != ST_OK) return st;
        found += k.head.type != KV_NONE;
        if (del) kv_delete(run, &k);
    }
    return kv_int(run, found);
}

enum status kv_op_del(struct kv_run *run) { return each_key(run, true); }
enum status kv_op_exists(struct kv_run *run) { return each_key(run, false); }

enum status kv_op_type(struct kv_run *run)
{
    struct kv_key k;
    enum status st = kv_open_front(run, &k, run->op->body);
    if (st != ST_OK) return st;
    result_simple(run->out, bytes_str(k.head.type == KV_NONE ? "none" : k.head.type == KV_HASH ? "hash" : "string"));
    return ST_OK;
}

enum status kv_op_version(struct kv_run *run)
{
    struct kv_key k;
    enum status st = kv_open_front(run, &k, run->op->body);
    if (st != ST_OK) return st;
    return kv_int(run, (int64_t)kv_watch_version(&k));
}

enum status kv_op_ttl(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint8_t mode = reader_u8(&run->body);
    if (!reader_done(&run->body) || mode > KV_TTL_AT_MS) return kv_malformed(run);
    enum status st = kv_open_front(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_NONE) return kv_int(run, -2);
    if (!k.head.has_expiry) return kv_int(run, -1);
    bool at = mode == KV_TTL_AT_S || mode == KV_TTL_AT_MS;
    uint64_t ms = at ? k.head.expiry_ms : k.head.expiry_ms - MIN(run->now_ms, k.head.expiry_ms);
    bool seconds = mode == KV_TTL_S || mode == KV_TTL_AT_S;
    return kv_int(run, (int64_t)(seconds ? (ms + 500) / 1000 : ms));
}

/* Stores the key's head again with another expiry. */
static void set_expiry(struct kv_run *run, struct kv_key *k, bool has_expiry, uint64_t expiry_ms)
{
    struct kv_head h = k->head;
    h.has_expiry = has_expiry;
    h.expiry_ms = has_expiry ? expiry_ms : 0;
    kv_store(run, k, &h);
}

enum status kv_op_expire(struct kv_run *run)
{
    struct kv_key k;
    struct kv_when when;
    struct bytes key = reader_lp(&run->body);
    uint8_t flags = reader_u8(&run->body);
    if (!kv_take_when(run, &when) || !reader_done(&run->body)) return kv_malformed(run);
    if (when.mode != KV_WHEN_RELATIVE && when.mode != KV_WHEN_ABSOLUTE) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_NONE) return kv_int(run, 0);
    uint64_t at = 0;
    bool future = kv_when_ms(run, when, &at); /* a time that has passed counts as 0: below any expiry */
    /* No expiry counts as one infinitely late. */
    if (flags & KV_EXPIRE_NX && k.head.has_expiry) return kv_int(run, 0);
    if (flags & KV_EXPIRE_XX && !k.head.has_expiry) return kv_int(run, 0);
    if (flags & KV_EXPIRE_GT && (!k.head.has_expiry || at <= k.head.expiry_ms)) return kv_int(run, 0);
    if (flags & KV_EXPIRE_LT && k.head.has_expiry && at >= k.head.expiry_ms) return kv_int(run, 0);
    if (future) set_expiry(run, &k, true, at);
    else kv_delete(run, &k);
    return kv_int(run, 1);
}

enum status kv_op_persist(struct kv_run *run)
{
    struct kv_key k;
    enum status st = kv_open(run, &k, run->op->body);
    if (st != ST_OK) return st;
    if (k.head.type == KV_NONE || !k.head.has_expiry) return kv_int(run, 0);
    set_expiry(run, &k, false, 0);
    return kv_int(run, 1);
}

/* The source's value stays valid while the destination is opened. */
static enum status open_two(struct kv_run *run, struct kv_key *from, struct kv_key *to, struct bytes from_key,
                            struct bytes to_key)
{
    enum status st = kv_open(run, from, from_key);
    if (st != ST_OK) return st;
    if (from->head.type == KV_STRING) {
        struct buf *text = kv_temp(run);
        buf_put_bytes(text, from->head.text);
        from->head.text = buf_view(text);
    }
    return kv_open(run, to, to_key);
}

/* RENAME, RENAMENX: the elements hang on the incarnation, so only heads move. */
enum status kv_op_rename(struct kv_run *run)
{
    struct kv_key from, to;
    struct bytes from_key = reader_lp(&run->body), to_key = reader_lp(&run->body);
    bool nx = run->op->opcode == KV_RENAMENX;
    if (!reader_done(&run->body)) return kv_malformed(run);
    if (key_slot(from_key) != key_slot(to_key)) return kv_error(run, CROSS_SLOT);
    enum status st = open_two(run, &from, &to, from_key, to_key);
    if (st != ST_OK) return st;
    if (from.head.type == KV_NONE) return kv_error(run, "ERR no such key");
    bool same = bytes_equal(from_key, to_key);
    if (nx && (same || to.head.type != KV_NONE)) return kv_int(run, 0);
    if (!same) {
        struct kv_head h = from.head;
        kv_unlink(run, &from);
        kv_store(run, &to, &h);
    }
    if (nx) return kv_int(run, 1);
    result_ok(run->out);
    return ST_OK;
}

/* COPY's elements go over in parts, because a scan's callback may not write. */
struct copy_part {
    struct buf *rows; /* lp rest, lp value … */
    size_t bytes_max;
    bool more;
};

#define COPY_PART_BYTES (1u << 20)
#define INCARNATION_END 15 /* table, slot, space, incarnation */

static bool copy_each(void *ctx, struct bytes row, struct bytes value)
{
    struct copy_part *c = ctx;
    if (c->rows->n > c->bytes_max) {
        c->more = true;
        return false;
    }
    buf_put_lp(c->rows, bytes_of(row.p + INCARNATION_END, row.n - INCARNATION_END));
    buf_put_lp(c->rows, value);
    return true;
}

static enum status copy_elements(struct kv_run *run, uint16_t slot, uint64_t from, uint64_t to)
{
    struct op_view *v = run->view;
    struct bytes lo, hi;
    kv_element_range(run, slot, from, &lo, &hi);
    struct copy_part part = {.rows = kv_temp(run), .bytes_max = COPY_PART_BYTES};
    struct buf *at = kv_temp(run);
    buf_put_bytes(at, lo);
    do {
        buf_clear(part.rows);
        part.more = false;
        enum status st = v->scan(v->ctx, buf_view(at), hi, false, copy_each, &part);
        if (st != ST_OK) return st;
        struct reader r = reader_of(buf_view(part.rows));
        while (reader_left(&r) != 0) {
            struct bytes rest = reader_lp(&r), value = reader_lp(&r);
            buf_clear(&run->row);
            row_element(&run->row, v->table, slot, to, rest);
            v->put(v->ctx, buf_view(&run->row), value);
            buf_clear(at);
            row_element(at, v->table, slot, from, rest);
        }
        buf_put_u8(at, 0); /* just above the last one copied */
    } while (part.more);
    return ST_OK;
}

enum status kv_op_copy(struct kv_run *run)
{
    struct kv_key from, to;
    struct bytes from_key = reader_lp(&run->body), to_key = reader_lp(&run->body);
    bool replace = reader_u8(&run->body) != 0;
    if (!reader_done(&run->body)) return kv_malformed(run);
    if (key_slot(from_key) != key_slot(to_key)) return kv_error(run, CROSS_SLOT);
    if (bytes_equal(from_key, to_key)) return kv_error(run, "ERR source and destination objects are the same");
    enum status st = open_two(run, &from, &to, from_key, to_key);
    if (st != ST_OK) return st;
    if (from.head.type == KV_NONE || (to.head.type != KV_NONE && !replace)) return kv_int(run, 0);
    struct kv_head h = from.head;
    if (h.type != KV_STRING) {
        h.incarnation = kv_incarnation(run);
        st = copy_elements(run, from.slot, from.head.incarnation, h.incarnation);
        if (st != ST_OK) return st;
    }
    kv_store(run, &to, &h);
    return kv_int(run, 1);
}

enum status kv_op_object(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint8_t question = reader_u8(&run->body);
    if (!reader_done(&run->body) || question > KV_OBJECT_FREQ) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_NONE) {
        result_nil(run->out);
        return ST_OK;
    }
    const char *encoding;
    int64_t number;
    switch (question) {
    case KV_OBJECT_REFCOUNT: return kv_int(run, 1);
    case KV_OBJECT_IDLETIME: return kv_error(run, "ERR idle time is not tracked");
    case KV_OBJECT_FREQ:
        return kv_error(run, "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
                             "that when switching between policies at runtime LRU and LFU data will take some time to "
                             "adjust.");
    default: break;
    }
    if (k.head.type == KV_HASH) {
        st = kv_hash_encoding(run, &k, &encoding);
        if (st != ST_OK) return st;
    } else if (k.head.type == KV_STRING && bytes_to_i64(k.head.text, &number)) {
        encoding = "int";
    } else {
        encoding = kv_length(&k) <= 44 ? "embstr" : "raw";
    }
    result_bulk(run->out, bytes_str(encoding));
    return ST_OK;
}

/* SORT, SORT_STORE: of an absent key the answer is empty; lists, sets and sorted sets do not exist here. */
enum status kv_op_sort(struct kv_run *run)
{
    bool store = run->op->opcode == KV_SORT_STORE;
    struct bytes key = store ? reader_lp(&run->body) : run->op->body, to = {0};
    if (store) {
        to = reader_lp(&run->body);
        if (!reader_done(&run->body)) return kv_malformed(run);
    }
    struct kv_key k;
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type != KV_NONE) return kv_wrong_type(run);
    if (!store) {
        result_array(run->out, 0);
        return ST_OK;
    }
    st = kv_open(run, &k, to);
    if (st != ST_OK) return st;
    kv_delete(run, &k);
    return kv_int(run, 0);
}
