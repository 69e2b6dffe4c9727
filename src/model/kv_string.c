/* kv_string.c - strings as text and numbers: GET, SET, INCR, APPEND, MGET, MSET and their kin.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/kv_internal.h"

#define TOO_LONG "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

static struct bytes rest_of(struct kv_run *run) { return reader_bytes(&run->body, reader_left(&run->body)); }

/* The value as a bulk, or nil. The key is a string or absent. */
static enum status answer_value(struct kv_run *run, const struct kv_key *k)
{
    if (k->head.type == KV_STRING) result_bulk(run->out, k->head.text);
    else if (k->head.type == KV_LONG) return kv_result_range(run, k, 0, k->head.count);
    else result_nil(run->out);
    return ST_OK;
}

enum status kv_op_get(struct kv_run *run)
{
    struct kv_key k;
    enum status st = kv_open(run, &k, run->op->body);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    return answer_value(run, &k);
}

enum status kv_op_set(struct kv_run *run)
{
    struct kv_key k;
    struct kv_when when;
    struct bytes key = reader_lp(&run->body);
    uint8_t flags = reader_u8(&run->body);
    if (!kv_take_when(run, &when)) return kv_malformed(run);
    struct bytes value = rest_of(run);
    if (value.n > KV_STRING_MAX) return kv_error(run, TOO_LONG);
    enum status st = flags & KV_SET_GET ? kv_open(run, &k, key) : kv_open_front(run, &k, key);
    if (st != ST_OK) return st;
    bool found = k.head.type != KV_NONE;
    if (flags & KV_SET_GET) {
        if (k.head.type == KV_HASH) return kv_wrong_type(run);
        st = answer_value(run, &k);
        if (st != ST_OK) return st;
    }
    if ((flags & KV_SET_NX && found) || (flags & KV_SET_XX && !found)) {
        if (flags & KV_SET_GET) return ST_OK;
        if (flags & KV_SET_INT) return kv_int(run, 0);
        result_nil(run->out);
        return ST_OK;
    }
    uint64_t expiry_ms = k.head.expiry_ms;
    bool expires = when.mode == KV_WHEN_KEEP && k.head.has_expiry;
    bool gone = false;
    if (when.mode == KV_WHEN_RELATIVE || when.mode == KV_WHEN_ABSOLUTE) {
        expires = kv_when_ms(run, when, &expiry_ms);
        gone = !expires; /* it expires at once */
    }
    if (gone) kv_delete(run, &k);
    else kv_set_string(run, &k, value, expires ? &expiry_ms : NULL);
    if (flags & KV_SET_GET) return ST_OK;
    if (flags & KV_SET_INT) return kv_int(run, 1);
    result_ok(run->out);
    return ST_OK;
}

enum status kv_op_getdel(struct kv_run *run)
{
    enum status st;
    struct kv_key k;
    st = kv_open(run, &k, run->op->body);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    st = answer_value(run, &k);
    if (st == ST_OK) kv_delete(run, &k);
    return st;
}

enum status kv_op_getex(struct kv_run *run)
{
    struct kv_key k;
    struct kv_when when;
    struct bytes key = reader_lp(&run->body);
    if (!kv_take_when(run, &when) || !reader_done(&run->body)) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    st = answer_value(run, &k);
    if (st != ST_OK || k.head.type == KV_NONE) return st;
    struct kv_head h = k.head;
    if (h.type == KV_LONG) h.text = (struct bytes){0};
    if (when.mode == KV_WHEN_PERSIST) {
        if (!h.has_expiry) return ST_OK;
        h.has_expiry = false;
    } else if (when.mode == KV_WHEN_RELATIVE || when.mode == KV_WHEN_ABSOLUTE) {
        if (!kv_when_ms(run, when, &h.expiry_ms)) {
            kv_delete(run, &k);
            return ST_OK;
        }
        h.has_expiry = true;
    } else {
        return ST_OK;
    }
    kv_store(run, &k, &h);
    return ST_OK;
}

enum status kv_op_append(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    if (run->body.failed) return kv_malformed(run);
    struct bytes value = rest_of(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    uint64_t old = kv_length(&k);
    if (old + value.n > KV_STRING_MAX) return kv_error(run, TOO_LONG);
    struct kv_edit e;
    kv_edit_open(&e, run, &k, old + value.n);
    st = kv_edit_write(&e, old, value);
    if (st != ST_OK) return st;
    kv_edit_close(&e);
    return kv_int(run, (int64_t)(old + value.n));
}

enum status kv_op_strlen(struct kv_run *run)
{
    struct kv_key k;
    enum status st = kv_open(run, &k, run->op->body);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    return kv_int(run, (int64_t)kv_length(&k));
}

enum status kv_op_setrange(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint64_t offset = reader_u64(&run->body);
    if (run->body.failed) return kv_malformed(run);
    struct bytes value = rest_of(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    if (value.n == 0) return kv_int(run, (int64_t)kv_length(&k));
    if (offset > KV_STRING_MAX || offset + value.n > KV_STRING_MAX) return kv_error(run, TOO_LONG);
    struct kv_edit e;
    kv_edit_open(&e, run, &k, offset + value.n);
    st = kv_edit_write(&e, offset, value);
    if (st != ST_OK) return st;
    kv_edit_close(&e);
    return kv_int(run, (int64_t)MAX(kv_length(&k), e.whole != NULL ? e.whole->n : 0));
}

enum status kv_op_getrange(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    int64_t start = (int64_t)reader_u64(&run->body);
    int64_t end = (int64_t)reader_u64(&run->body);
    if (!reader_done(&run->body)) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    int64_t length = (int64_t)kv_length(&k);
    bool empty = length == 0 || (start < 0 && end < 0 && start > end);
    if (start < 0) start = MAX(start + length, 0);
    if (end < 0) end = MAX(end + length, 0);
    if (end >= length) end = length - 1;
    if (empty || start > end) {
        result_bulk(run->out, BYTES_LIT(""));
        return ST_OK;
    }
    return kv_result_range(run, &k, (uint64_t)start, (uint64_t)(end - start + 1));
}

enum status kv_op_incr(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    int64_t delta = (int64_t)reader_u64(&run->body), value = 0;
    if (!reader_done(&run->body)) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (k.head.type == KV_HASH) return kv_wrong_type(run);
    if (k.head.type == KV_LONG || (k.head.type == KV_STRING && !bytes_to_i64(k.head.text, &value)))
        return kv_error(run, "ERR value is not an integer or out of range");
    if (__builtin_add_overflow(value, delta, &value)) return kv_error(run, "ERR increment or decrement would overflow");
    char text[24];
    size_t n = i64_to_text(value, text);
    kv_set_string(run, &k, bytes_of(text, n), k.head.has_expiry ? &k.head.expiry_ms : NULL);
    return kv_int(run, value);
}

enum status kv_op_mget(struct kv_run *run)
{
    uint64_t count = reader_varint(&run->body);
    if (count > reader_left(&run->body)) return kv_malformed(run);
    size_t before = run->out->n;
    result_array(run->out, count);
    for (uint64_t i = 0; i < count; i++) {
        struct kv_key k;
        struct bytes key = reader_lp(&run->body);
        if (run->body.failed) break;
        enum status st = kv_open(run, &k, key);
        if (st != ST_OK) return st;
        if (k.head.type == KV_HASH) result_nil(run->out);
        else st = answer_value(run, &k);
        if (st != ST_OK) return st;
    }
    if (!reader_done(&run->body)) {
        run->out->n = before;
        return kv_malformed(run);
    }
    return ST_OK;
}

/* MSET, MSETNX. Everything is checked before anything is written. */
enum status kv_op_mset(struct kv_run *run)
{
    uint64_t count = reader_varint(&run->body);
    if (count > reader_left(&run->body)) return kv_malformed(run);
    struct reader check = run->body;
    bool nx = run->op->opcode == KV_MSETNX, exists = false;
    struct kv_key k;
    for (uint64_t i = 0; i < count; i++) {
        struct bytes key = reader_lp(&check), value = reader_lp(&check);
        if (check.failed) return kv_malformed(run);
        if (value.n > KV_STRING_MAX) return kv_error(run, TOO_LONG);
        if (!nx || exists) continue;
        enum status st = kv_open_front(run, &k, key);
        if (st != ST_OK) return st;
        exists = k.head.type != KV_NONE;
    }
    if (!reader_done(&check)) return kv_malformed(run);
    if (exists) return kv_int(run, 0);
    for (uint64_t i = 0; i < count; i++) {
        struct bytes key = reader_lp(&run->body), value = reader_lp(&run->body);
        enum status st = kv_open_front(run, &k, key);
        if (st != ST_OK) return st;
        kv_set_string(run, &k, value, NULL);
    }
    if (nx) return kv_int(run, 1);
    result_ok(run->out);
    return ST_OK;
}
