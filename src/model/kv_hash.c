/* kv_hash.c - hashes: a head with the number of fields, and an element row per field.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Element row: incarnation | hash48 of the field | field; its value is the field's. HSCAN goes by hash48. */
#include "base/hash.h"
#include "base/mem.h"
#include "model/kv_internal.h"

#define FIELD_TOO_LONG "ERR a field is longer than 65535 bytes"
#define ELEMENT_PREFIX 21 /* table, slot, space, incarnation, hash48 */
/* Up to so many fields a hash is answered by HSCAN in one go, as Redis does with its small encoding. */
#define SMALL_FIELDS   128
#define SMALL_VALUE    64
/* Up to so many fields of a new hash are compared among each other, which saves a look at absent rows. */
#define NEW_FIELDS_MAX 32

static void element_row(struct kv_run *run, const struct kv_key *k, uint64_t incarnation, struct bytes field)
{
    buf_clear(&run->row);
    row_prefix(&run->row, run->view->table, k->slot, SPACE_ELEMENT);
    buf_put_be64(&run->row, incarnation);
    buf_put_be48(&run->row, key_hash48(field));
    buf_put_bytes(&run->row, field);
}

enum status kv_element_get(struct kv_run *run, const struct kv_key *k, struct bytes field, struct bytes *out)
{
    element_row(run, k, k->head.incarnation, field);
    return run->view->get(run->view->ctx, buf_view(&run->row), out);
}

static void element_put(struct kv_run *run, const struct kv_key *k, const struct kv_head *h, struct bytes field,
                        struct bytes value)
{
    element_row(run, k, h->incarnation, field);
    run->view->put(run->view->ctx, buf_view(&run->row), value);
}

/* The head to go on with: the key's own, or that of a new hash. */
static struct kv_head hash_head(struct kv_run *run, const struct kv_key *k)
{
    if (k->head.type == KV_HASH) return k->head;
    return (struct kv_head){.type = KV_HASH, .incarnation = kv_incarnation(run)};
}

static bool pair_repeated(struct reader pairs, uint64_t before, struct bytes field)
{
    for (uint64_t i = 0; i < before; i++) {
        struct bytes other = reader_lp(&pairs);
        reader_lp(&pairs);
        if (bytes_equal(other, field)) return true;
    }
    return false;
}

/* HSET, HMSET, HSETNX. */
enum status kv_op_hset(struct kv_run *run)
{
    uint16_t opcode = run->op->opcode;
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint64_t count = reader_varint(&run->body);
    struct reader check = run->body, pairs = run->body;
    bool fits = true;
    for (uint64_t i = 0; i < MIN(count, reader_left(&run->body)); i++) {
        fits = reader_lp(&check).n <= KV_KEY_MAX && fits;
        reader_lp(&check);
    }
    if (count == 0 || count > reader_left(&run->body) || !reader_done(&check) || (opcode == KV_HSETNX && count != 1))
        return kv_malformed(run);
    if (!fits) return kv_error(run, FIELD_TOO_LONG);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (kv_is_string(&k)) return kv_wrong_type(run);
    bool is_new = k.head.type == KV_NONE;
    struct kv_head h = hash_head(run, &k);
    int64_t added = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct bytes field = reader_lp(&run->body), value = reader_lp(&run->body), old;
        bool exists;
        if (is_new && count <= NEW_FIELDS_MAX) {
            exists = pair_repeated(pairs, i, field);
        } else {
            element_row(run, &k, h.incarnation, field);
            st = run->view->get(run->view->ctx, buf_view(&run->row), &old);
            if (st != ST_OK && st != ST_NOT_FOUND) return st;
            exists = st == ST_OK;
        }
        if (exists && opcode == KV_HSETNX) return kv_int(run, 0);
        element_put(run, &k, &h, field, value);
        added += !exists;
    }
    h.count += (uint64_t)added;
    kv_store(run, &k, &h);
    if (opcode != KV_HMSET) return kv_int(run, added);
    result_ok(run->out);
    return ST_OK;
}

/* HGET, HEXISTS, HSTRLEN. */
enum status kv_op_hget(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body), value;
    if (run->body.failed) return kv_malformed(run);
    struct bytes field = reader_bytes(&run->body, reader_left(&run->body));
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (kv_is_string(&k)) return kv_wrong_type(run);
    st = k.head.type == KV_HASH ? kv_element_get(run, &k, field, &value) : ST_NOT_FOUND;
    if (st != ST_OK && st != ST_NOT_FOUND) return st;
    bool found = st == ST_OK;
    switch (run->op->opcode) {
    case KV_HEXISTS: return kv_int(run, found);
    case KV_HSTRLEN: return kv_int(run, found ? (int64_t)value.n : 0);
    default:
        if (found) result_bulk(run->out, value);
        else result_nil(run->out);
        return ST_OK;
    }
}

enum status kv_op_hmget(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint64_t count = reader_varint(&run->body);
    if (count > reader_left(&run->body)) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (kv_is_string(&k)) return kv_wrong_type(run);
    size_t before = run->out->n;
    result_array(run->out, count);
    for (uint64_t i = 0; i < count; i++) {
        struct bytes field = reader_lp(&run->body), value;
        st = k.head.type == KV_HASH ? kv_element_get(run, &k, field, &value) : ST_NOT_FOUND;
        if (st == ST_OK) result_bulk(run->out, value);
        else if (st == ST_NOT_FOUND) result_nil(run->out);
        else return st;
    }
    if (!reader_done(&run->body)) {
        run->out->n = before;
        return kv_malformed(run);
    }
    return ST_OK;
}

enum status kv_op_hdel(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint64_t count = reader_varint(&run->body);
    struct reader check = run->body;
    for (uint64_t i = 0; i < MIN(count, reader_left(&run->body)); i++) reader_lp(&check);
    if (count > reader_left(&run->body) || !reader_done(&check)) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (kv_is_string(&k)) return kv_wrong_type(run);
    struct kv_head h = k.head;
    int64_t deleted = 0;
    for (uint64_t i = 0; i < count && h.type == KV_HASH && h.count != 0; i++) {
        struct bytes value;
        st = kv_element_get(run, &k, reader_lp(&run->body), &value);
        if (st == ST_NOT_FOUND) continue;
        if (st != ST_OK) return st;
        run->view->del(run->view->ctx, buf_view(&run->row));
        h.count--;
        deleted++;
    }
    if (deleted != 0 && h.count == 0) {
        kv_unlink(run, &k); /* no element is left, so there is no garbage */
    } else if (deleted != 0) {
        kv_store(run, &k, &h);
    }
    return kv_int(run, deleted);
}

enum status kv_op_hlen(struct kv_run *run)
{
    struct kv_key k;
    enum status st = kv_open(run, &k, run->op->body);
    if (st != ST_OK) return st;
    if (kv_is_string(&k)) return kv_wrong_type(run);
    return kv_int(run, k.head.type == KV_HASH ? (int64_t)k.head.count : 0);
}

/* A pass over a hash's elements. */
struct walk {
    struct buf *out;
    uint8_t parts;
    uint64_t count;
    bool corrupt;
};

static void put_parts(struct buf *out, uint8_t parts, struct bytes field, struct bytes value)
{
    if (parts & KV_HASH_FIELDS) result_bulk(out, field);
    if (parts & KV_HASH_VALUES) result_bulk(out, value);
}

static bool row_field(struct bytes row, struct bytes *out)
{
    if (row.n < ELEMENT_PREFIX) return false;
    *out = bytes_of(row.p + ELEMENT_PREFIX, row.n - ELEMENT_PREFIX);
    return true;
}

static bool walk_row(void *ctx, struct bytes row, struct bytes value)
{
    struct walk *w = ctx;
    struct bytes field;
    if (!row_field(row, &field)) {
        w->corrupt = true;
        return false;
    }
    put_parts(w->out, w->parts, field, value);
    w->count++;
    return true;
}

static enum status scan_elements(struct kv_run *run, const struct kv_key *k,
                                 bool (*each)(void *ctx, struct bytes row, struct bytes value), void *ctx)
{
    struct bytes lo, hi;
    kv_element_range(run, k->slot, k->head.incarnation, &lo, &hi);
    return run->view->scan(run->view->ctx, lo, hi, false, each, ctx);
}

/* All elements, as the array or map that `parts` asks for. */
static enum status answer_all(struct kv_run *run, const struct kv_key *k, uint8_t parts, bool pairs)
{
    bool both = parts == (KV_HASH_FIELDS | KV_HASH_VALUES);
    uint64_t count = k->head.type == KV_HASH ? k->head.count : 0;
    if (!both) result_array(run->out, count);
    else if (pairs) result_pairs(run->out, count);
    else result_map(run->out, count);
    if (count == 0) return ST_OK;
    struct walk w = {.out = run->out, .parts = parts};
    enum status st = scan_elements(run, k, walk_row, &w);
    if (st == ST_OK && (w.corrupt || w.count != count)) st = ST_CORRUPT;
    return st;
}

enum status kv_op_hgetall(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint8_t parts = reader_u8(&run->body);
    if (!reader_done(&run->body) || parts < 1 || parts > 3) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (kv_is_string(&k)) return kv_wrong_type(run);
    return answer_all(run, &k, parts, false);
}

enum status kv_op_hincr(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body), field = reader_lp(&run->body);
    int64_t delta = (int64_t)reader_u64(&run->body), value = 0;
    if (!reader_done(&run->body)) return kv_malformed(run);
    if (field.n > KV_KEY_MAX) return kv_error(run, FIELD_TOO_LONG);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (kv_is_string(&k)) return kv_wrong_type(run);
    bool exists = false;
    if (k.head.type == KV_HASH) {
        struct bytes old;
        st = kv_element_get(run, &k, field, &old);
        if (st != ST_OK && st != ST_NOT_FOUND) return st;
        exists = st == ST_OK;
        if (exists && !bytes_to_i64(old, &value)) return kv_error(run, "ERR hash value is not an integer");
    }
    if (__builtin_add_overflow(value, delta, &value)) return kv_error(run, "ERR increment or decrement would overflow");
    char text[24];
    size_t n = i64_to_text(value, text);
    struct kv_head h = hash_head(run, &k);
    element_put(run, &k, &h, field, bytes_of(text, n));
    h.count += !exists;
    kv_store(run, &k, &h);
    return kv_int(run, value);
}

/* HRANDFIELD: one field at a random place among the hashes, for hashes too large to number their fields. */
struct first_row {
    struct buf *field, *value;
    bool found;
};

static bool first_each(void *ctx, struct bytes row, struct bytes value)
{
    struct first_row *f = ctx;
    struct bytes field;
    if (!row_field(row, &field)) return false;
    buf_clear(f->field);
    buf_clear(f->value);
    buf_put_bytes(f->field, field);
    buf_put_bytes(f->value, value);
    f->found = true;
    return false;
}

static enum status random_element(struct kv_run *run, const struct kv_key *k, struct rng *rng, struct first_row *f)
{
    struct bytes lo, hi;
    kv_element_range(run, k->slot, k->head.incarnation, &lo, &hi);
    struct buf *at = kv_temp(run);
    buf_put_bytes(at, lo);
    buf_put_be48(at, rng_next(rng) >> 16);
    f->found = false;
    struct op_view *v = run->view;
    enum status st = v->scan(v->ctx, buf_view(at), hi, false, first_each, f);
    if (st == ST_OK && !f->found) st = v->scan(v->ctx, lo, hi, false, first_each, f); /* around the end */
    if (st == ST_OK && !f->found) st = ST_CORRUPT;                                    /* a hash without elements */
    return st;
}

/* Chooses fields by number in one pass: `left` of the `remaining` ones still to come, each set equally likely (Knuth,
 * algorithm S). */
struct sample {
    struct buf *out;
    uint8_t parts;
    uint64_t left, remaining;
    struct rng *rng;
    bool corrupt;
};

static bool sample_row(void *ctx, struct bytes row, struct bytes value)
{
    struct sample *s = ctx;
    struct bytes field;
    if (s->remaining == 0 || !row_field(row, &field)) {
        s->corrupt = true;
        return false;
    }
    if (rng_below(s->rng, s->remaining) < s->left) {
        put_parts(s->out, s->parts, field, value);
        s->left--;
    }
    s->remaining--;
    return s->left != 0;
}

#define NUMBERED_FIELDS_MAX 65536u /* up to so many fields a random one is chosen by its number: exactly even */

static enum status answer_repeated(struct kv_run *run, const struct kv_key *k, struct rng *rng, uint64_t n,
                                   uint8_t parts)
{
    if (k->head.count > NUMBERED_FIELDS_MAX) {
        struct first_row f = {.field = kv_temp(run), .value = kv_temp(run)};
        for (uint64_t i = 0; i < n; i++) {
            enum status st = random_element(run, k, rng, &f);
            if (st != ST_OK) return st;
            put_parts(run->out, parts, buf_view(f.field), buf_view(f.value));
        }
        return ST_OK;
    }
    struct buf *all = kv_temp(run), *starts = kv_temp(run);
    struct walk w = {.out = all, .parts = parts};
    enum status st = scan_elements(run, k, walk_row, &w);
    if (st == ST_OK && (w.corrupt || w.count != k->head.count)) st = ST_CORRUPT;
    if (st != ST_OK) return st;
    struct reader r = reader_of(buf_view(all));
    struct result part;
    for (uint64_t i = 0; i < w.count; i++) {
        buf_put_u64(starts, (uint64_t)(r.p - all->p));
        result_next(&r, &part);
        if (parts & KV_HASH_VALUES) result_next(&r, &part);
    }
    buf_put_u64(starts, all->n);
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *at = starts->p + 8 * rng_below(rng, w.count);
        buf_put(run->out, all->p + get_u64(at), get_u64(at + 8) - get_u64(at));
    }
    return ST_OK;
}

enum status kv_op_hrandfield(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint64_t random = reader_u64(&run->body);
    uint8_t flags = reader_u8(&run->body);
    int64_t count = (int64_t)reader_u64(&run->body);
    if (!reader_done(&run->body) || flags > 3 || count == INT64_MIN) return kv_malformed(run);
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (kv_is_string(&k)) return kv_wrong_type(run);
    struct rng rng;
    rng_init(&rng, random);
    uint8_t parts = flags & KV_RAND_VALUES ? KV_HASH_FIELDS | KV_HASH_VALUES : KV_HASH_FIELDS;
    if (!(flags & KV_RAND_COUNT)) {
        if (k.head.type == KV_HASH) return answer_repeated(run, &k, &rng, 1, KV_HASH_FIELDS);
        result_nil(run->out);
        return ST_OK;
    }
    if (k.head.type == KV_NONE || count == 0) {
        result_array(run->out, 0);
        return ST_OK;
    }
    if (count < -(int64_t)KV_RAND_REPEAT_MAX) return kv_error(run, "ERR value is out of range");
    uint64_t n = count < 0 ? (uint64_t)-count : (uint64_t)count;
    bool pairs = flags & KV_RAND_VALUES;
    if (count > 0 && n >= k.head.count) return answer_all(run, &k, parts, true);
    if (pairs) result_pairs(run->out, n);
    else result_array(run->out, n);
    if (count < 0) return answer_repeated(run, &k, &rng, n, parts);
    struct sample s = {.out = run->out, .parts = parts, .left = n, .remaining = k.head.count, .rng = &rng};
    st = scan_elements(run, &k, sample_row, &s);
    if (st == ST_OK && (s.corrupt || s.left != 0)) st = ST_CORRUPT;
    return st;
}

struct hscan {
    struct buf *out;
    struct bytes pattern;
    uint64_t seen, count_max, answered;
    uint64_t last, next; /* hash48 of the last field seen; of the first not answered */
    bool all, more, corrupt;
};

static bool hscan_row(void *ctx, struct bytes row, struct bytes value)
{
    struct hscan *s = ctx;
    struct bytes field;
    if (!row_field(row, &field)) {
        s->corrupt = true;
        return false;
    }
    struct reader r = reader_of(bytes_of(row.p + ELEMENT_PREFIX - 6, 6));
    uint64_t hash48 = reader_be48(&r);
    if (!s->all && s->seen >= s->count_max && hash48 != s->last) { /* fields of one hash48 stay together */
        s->more = true;
        s->next = hash48;
        return false;
    }
    s->seen++;
    s->last = hash48;
    if (kv_glob(s->pattern, field)) {
        put_parts(s->out, KV_HASH_FIELDS | KV_HASH_VALUES, field, value);
        s->answered++;
    }
    return true;
}

enum status kv_op_hscan(struct kv_run *run)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    uint64_t cursor = reader_u64(&run->body), count = reader_u64(&run->body);
    if (run->body.failed) return kv_malformed(run);
    struct bytes pattern = reader_bytes(&run->body, reader_left(&run->body));
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    if (kv_is_string(&k)) return kv_wrong_type(run);
    struct hscan s = {.out = kv_temp(run), .pattern = pattern, .count_max = MAX(count, 1)};
    if (k.head.type == KV_HASH && cursor >> 48 == 0) {
        s.all = cursor == 0 && k.head.count <= SMALL_FIELDS;
        struct bytes lo, hi;
        kv_element_range(run, k.slot, k.head.incarnation, &lo, &hi);
        struct buf *at = kv_temp(run);
        buf_put_bytes(at, lo);
        buf_put_be48(at, cursor);
        st = run->view->scan(run->view->ctx, buf_view(at), hi, false, hscan_row, &s);
        if (st == ST_OK && s.corrupt) st = ST_CORRUPT;
        if (st != ST_OK) return st;
    }
    char text[24];
    result_array(run->out, 2);
    result_bulk(run->out, bytes_of(text, u64_to_text(s.more ? s.next : 0, text)));
    result_array(run->out, 2 * s.answered);
    buf_put_bytes(run->out, buf_view(s.out));
    return ST_OK;
}

struct small_check {
    bool large;
};

static bool small_each(void *ctx, struct bytes row, struct bytes value)
{
    struct small_check *c = ctx;
    c->large = value.n > SMALL_VALUE || row.n > ELEMENT_PREFIX + SMALL_VALUE;
    return !c->large;
}

/* OBJECT ENCODING of a hash: what Redis would call one of this size. */
enum status kv_hash_encoding(struct kv_run *run, const struct kv_key *k, const char **out)
{
    struct small_check c = {.large = k->head.count > SMALL_FIELDS};
    enum status st = c.large ? ST_OK : scan_elements(run, k, small_each, &c);
    *out = c.large ? "hashtable" : "listpack";
    return st;
}
