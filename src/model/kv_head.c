/* kv_head.c - head rows: what a key is, when it expires, and what is left of it when it goes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Head row value:
 *   type u8 | flags u8 (1: has expiry) | version u64 | [expiry_ms u64] |
 *     string: the bytes to the end; long string: incarnation u64, length u64; hash: incarnation u64, fields u64
 * Garbage row value: nothing, or (when history is kept) died u64: the timestamp of the op that made it garbage.
 * Expiry rows have no value. */
#include "base/mutation.h"
#include "model/kv_internal.h"

#define HEAD_HAS_EXPIRY 1
#define HEAD_FIXED_MAX  34 /* all but a string's bytes */
#define HEAD_STRING_MAX 18 /* of these, before a string's bytes */
_Static_assert(HEAD_STRING_MAX <= OP_FRONT_BYTES && HEAD_FIXED_MAX <= OP_WHOLE_BYTES, "kv_open_front needs them");

bool kv_head_decode(struct bytes value, struct kv_head *out)
{
    struct reader r = reader_of(value);
    struct kv_head h = {.type = reader_u8(&r)};
    uint8_t flags = reader_u8(&r);
    h.version = reader_u64(&r);
    h.has_expiry = flags & HEAD_HAS_EXPIRY;
    if (h.has_expiry) h.expiry_ms = reader_u64(&r);
    switch (h.type) {
    case KV_STRING: h.text = reader_bytes(&r, reader_left(&r)); break;
    case KV_LONG:
    case KV_HASH:
        h.incarnation = reader_u64(&r);
        h.count = reader_u64(&r);
        break;
    default: return false;
    }
    if (!reader_done(&r) || (flags & ~HEAD_HAS_EXPIRY) != 0) return false;
    *out = h;
    return true;
}

static void head_encode(const struct kv_head *h, struct buf *out)
{
    buf_put_u8(out, h->type);
    buf_put_u8(out, h->has_expiry ? HEAD_HAS_EXPIRY : 0);
    buf_put_u64(out, h->version);
    if (h->has_expiry) buf_put_u64(out, h->expiry_ms);
    if (h->type == KV_STRING) {
        buf_put_bytes(out, h->text);
    } else {
        buf_put_u64(out, h->incarnation);
        buf_put_u64(out, h->count);
    }
}

bool kv_head_expired(const struct kv_head *h, uint64_t now_ms) { return h->has_expiry && h->expiry_ms <= now_ms; }

uint64_t kv_head_version(struct bytes value, hlc_t ts)
{
    struct kv_head h;
    return kv_head_decode(value, &h) && !kv_head_expired(&h, hlc_ms(ts)) ? h.version : 0;
}

bool kv_place(struct kv_run *run, struct kv_key *k, struct bytes key)
{
    k->key = key;
    k->slot = key_slot(key);
    if (k->slot < run->view->slot_lo || k->slot >= run->view->slot_hi) return false;
    k->hash48 = key_hash48(key);
    k->head = k->stored = (struct kv_head){0};
    k->expired_version = 0;
    k->last_delete = run->view->counters->last_delete;
    size_t n = 13 + key.n;
    uint8_t *p = n <= sizeof k->fixed ? k->fixed : buf_extend(kv_temp(run), n);
    k->row = bytes_of(p, n);
    put_be32(p, run->view->table);
    put_be16(p + 4, k->slot);
    p[6] = SPACE_HEAD;
    put_be16(p + 7, (uint16_t)(k->hash48 >> 32));
    put_be32(p + 9, (uint32_t)k->hash48);
    if (key.n != 0) memcpy(p + 13, key.p, key.n);
    return true;
}

static enum status open_head(struct kv_run *run, struct kv_key *k, struct bytes key, bool whole)
{
    if (!kv_place(run, k, key)) return ST_STALE;
    struct bytes value;
    enum status st = whole ? run->view->get(run->view->ctx, k->row, &value)
                           : run->view->get_front(run->view->ctx, k->row, &value);
    if (st == ST_NOT_FOUND) return ST_OK;
    if (st != ST_OK) return st;
    if (!kv_head_decode(value, &k->head)) return ST_CORRUPT;
    if (!whole) k->head.text = (struct bytes){0};
    k->stored = k->head;
    k->stored.text = (struct bytes){0};
    if (kv_head_expired(&k->head, run->now_ms)) {
        if (MUTATION("expired_key_served") && !run->writing) return ST_OK;
        k->expired_version = k->head.version;
        if (run->writing) kv_delete(run, k);
        else k->head = (struct kv_head){0};
    }
    return ST_OK;
}

enum status kv_open(struct kv_run *run, struct kv_key *k, struct bytes key) { return open_head(run, k, key, true); }

enum status kv_open_front(struct kv_run *run, struct kv_key *k, struct bytes key)
{
    return open_head(run, k, key, false);
}

uint64_t kv_watch_version(const struct kv_key *k)
{
    if (k->head.type != KV_NONE) return k->head.version;
    if (MUTATION("absent_has_no_version")) return 0;
    return 0 - (k->expired_version != 0 ? k->expired_version : k->last_delete);
}

static bool has_elements(const struct kv_head *h) { return h->type == KV_LONG || h->type == KV_HASH; }

/* Another head, or none, takes the place of the stored one: what hung on it is put right. */
static void supersede(struct kv_run *run, struct kv_key *k, const struct kv_head *next, bool keep_elements)
{
    struct op_view *v = run->view;
    const struct kv_head *old = &k->stored;
    bool was = old->type != KV_NONE, is = next->type != KV_NONE;
    v->counters->keys += is - was;
    if (was && !is) v->counters->last_delete = v->ts;
    v->counters->expires += next->has_expiry - old->has_expiry;

    bool same_expiry = old->has_expiry && next->has_expiry && old->expiry_ms == next->expiry_ms;
    if (old->has_expiry && !same_expiry) {
        buf_clear(&run->row);
        row_expiry(&run->row, v->table, k->slot, old->expiry_ms, k->hash48, k->key);
        v->del(v->ctx, buf_view(&run->row));
    }
    if (next->has_expiry && !same_expiry) {
        buf_clear(&run->row);
        row_expiry(&run->row, v->table, k->slot, next->expiry_ms, k->hash48, k->key);
        v->put(v->ctx, buf_view(&run->row), BYTES_LIT(""));
    }
    bool lost = has_elements(old) && !(has_elements(next) && next->incarnation == old->incarnation);
    if (lost && !keep_elements) {
        buf_clear(&run->row);
        row_garbage(&run->row, v->table, k->slot, old->incarnation);
        uint8_t died[8];
        put_u64(died, v->ts); /* reads at earlier times still need the elements */
        v->put(v->ctx, buf_view(&run->row), bytes_of(died, v->keep_history ? sizeof died : 0));
        v->counters->garbage++;
    }
}

void kv_store(struct kv_run *run, struct kv_key *k, const struct kv_head *h)
{
    ASSERT(run->writing && h->type != KV_NONE);
    ASSERT(h->type != KV_STRING || h->text.n <= KV_INLINE_MAX);
    struct kv_head next = *h;
    next.version = run->view->ts;
    /* Encoded before anything else is written: text may be the view's. */
    uint8_t fixed[512];
    struct buf value = {.p = fixed, .cap = sizeof fixed};
    bool small = next.text.n + HEAD_FIXED_MAX <= sizeof fixed;
    struct buf *encoded = small ? &value : kv_temp(run);
    if (!small) buf_reserve(encoded, next.text.n + HEAD_FIXED_MAX);
    head_encode(&next, encoded);
    supersede(run, k, &next, false);
    run->view->put(run->view->ctx, k->row, buf_view(encoded));
    next.text = (struct bytes){0};
    k->head = k->stored = next;
}

static void drop(struct kv_run *run, struct kv_key *k, bool keep_elements)
{
    ASSERT(run->writing);
    if (k->stored.type != KV_NONE) {
        supersede(run, k, &(struct kv_head){0}, keep_elements);
        run->view->del(run->view->ctx, k->row);
    }
    k->head = k->stored = (struct kv_head){0};
}

void kv_delete(struct kv_run *run, struct kv_key *k) { drop(run, k, false); }

void kv_unlink(struct kv_run *run, struct kv_key *k) { drop(run, k, true); }

void kv_element_range(struct kv_run *run, uint16_t slot, uint64_t incarnation, struct bytes *out_lo,
                      struct bytes *out_hi)
{
    struct buf *lo = kv_temp(run), *hi = kv_temp(run);
    row_prefix(lo, run->view->table, slot, SPACE_ELEMENT);
    buf_put_be64(lo, incarnation);
    row_prefix(hi, run->view->table, slot, SPACE_ELEMENT);
    if (incarnation != UINT64_MAX) buf_put_be64(hi, incarnation + 1);
    else hi->p[hi->n - 1]++; /* the next space */
    *out_lo = buf_view(lo);
    *out_hi = buf_view(hi);
}

bool kv_take_when(struct kv_run *run, struct kv_when *out)
{
    struct kv_when w = {.mode = reader_u8(&run->body)};
    if (w.mode == KV_WHEN_RELATIVE || w.mode == KV_WHEN_ABSOLUTE) w.ms = (int64_t)reader_u64(&run->body);
    *out = w;
    return !run->body.failed && w.mode <= KV_WHEN_PERSIST;
}

bool kv_when_ms(const struct kv_run *run, struct kv_when when, uint64_t *out_ms)
{
    ASSERT(when.mode == KV_WHEN_RELATIVE || when.mode == KV_WHEN_ABSOLUTE);
    int64_t now = (int64_t)run->now_ms; /* 46 bits */
    int64_t at = when.ms;
    if (when.mode == KV_WHEN_RELATIVE && __builtin_add_overflow(now, when.ms, &at)) at = INT64_MAX;
    if (at <= now) return false;
    *out_ms = (uint64_t)at;
    return true;
}
