/* kv_internal.h - what the files of the key-value model share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An op's handler takes its fields off run->body, opens the keys it names, and appends exactly one result to run->out. It
 * returns ST_OK, or the view's status, at which everything it did is dropped by the caller. Temporary memory comes from
 * kv_temp and goes when the op ends, so that a handler can leave anywhere. */
#ifndef CAIRN_MODEL_KV_INTERNAL_H
#define CAIRN_MODEL_KV_INTERNAL_H

#include "model/kv_build.h"
#include "model/result.h"
#include "table/place.h"

struct kv_temp {
    struct kv_temp *next;
    struct buf buf;
};

/* One op being run. */
struct kv_run {
    struct op_view *view;
    const struct op *op;
    struct reader body;
    struct buf *out;
    uint64_t now_ms;
    uint64_t *ordinal; /* incarnations made so far by the whole entry's op; shared by the sub-ops of a MULTI */
    bool writing;      /* the view takes writes */
    bool nested;       /* a sub-op */
    struct kv_temp *temps;
    struct buf row; /* for element rows */
};

struct buf *kv_temp(struct kv_run *run); /* an empty buffer, freed with the run */
uint64_t kv_incarnation(struct kv_run *run);
/* Runs an op inside another one: the same view, timestamp and incarnations, its result appended to out. */
enum status kv_run_nested(struct kv_run *outer, const struct op *op, struct buf *out);

/* Head rows: see kv.h for their format. */
struct kv_head {
    uint8_t type; /* enum kv_type; KV_NONE: absent */
    bool has_expiry;
    uint64_t version;
    uint64_t expiry_ms;   /* if has_expiry */
    uint64_t incarnation; /* KV_LONG, KV_HASH */
    uint64_t count;       /* KV_LONG: length in bytes; KV_HASH: fields */
    struct bytes text;    /* KV_STRING: the value */
};
bool kv_head_decode(struct bytes value, struct kv_head *out);
bool kv_head_expired(const struct kv_head *h, uint64_t now_ms);
uint64_t kv_head_version(struct bytes value, hlc_t ts); /* op_model.version */

/* A key that an op works on. Not to be moved: row points into it. */
struct kv_key {
    struct bytes key;
    uint64_t hash48;
    uint16_t slot;
    struct bytes row; /* its head row */
    struct kv_head
        head; /* what the key is now. head.text is borrowed from the view: valid until the view's next call */
    struct kv_head stored;    /* what its row says; only `text` is not kept */
    uint64_t expired_version; /* of the head that was there, but expired; 0: none */
    uint64_t last_delete;     /* the partition's, before this op */
    uint8_t fixed[144];
};

/* Reads the key's head. An expired key is absent; if the view takes writes it is deleted here. ST_STALE if it is not in the
 * partition. */
enum status kv_open(struct kv_run *run, struct kv_key *k, struct bytes key);
/* As kv_open, for ops that do not look at a string's bytes: head.text is empty, so nothing that needs it or the length
 * (kv_store of the same head, kv_length) may follow. */
enum status kv_open_front(struct kv_run *run, struct kv_key *k, struct bytes key);
/* What WATCH remembers and EXEC compares. Of an absent key it is the (negated) version of its expired head, or time of the last
 * removal in the partition: a key that came and went in between does not look untouched. It may differ though nothing happened
 * to the key: a transaction is then aborted for nothing, which clients are ready for. */
uint64_t kv_watch_version(const struct kv_key *k);
/* As kv_open, without reading: for keys of rows already seen. */
bool kv_place(struct kv_run *run, struct kv_key *k, struct bytes key);
/* Makes `h` the key's head, with this op's version: its row, its expiry row, the counters, and garbage if the incarnation
 * changes. h->text may be borrowed from the view. */
void kv_store(struct kv_run *run, struct kv_key *k, const struct kv_head *h);
void kv_delete(struct kv_run *run, struct kv_key *k); /* nothing if it is absent */
/* Takes the head away without garbage: its elements get another head (RENAME). */
void kv_unlink(struct kv_run *run, struct kv_key *k);
static inline bool kv_is_string(const struct kv_key *k) { return k->head.type == KV_STRING || k->head.type == KV_LONG; }

/* [lo, hi) of all element rows of an incarnation; lo and hi are temporary buffers. */
void kv_element_range(struct kv_run *run, uint16_t slot, uint64_t incarnation, struct bytes *out_lo,
                      struct bytes *out_hi);

/* Strings (kv_long.c). */
static inline uint64_t kv_length(const struct kv_key *k)
{
    return k->head.type == KV_LONG ? k->head.count : k->head.type == KV_STRING ? k->head.text.n : 0;
}
/* Appends bytes [offset, offset + n), which lie within the string; absent pieces are zeros. For an inline string head.text
 * must still be valid. */
enum status kv_read(struct kv_run *run, const struct kv_key *k, uint64_t offset, uint64_t n, struct buf *dst);
enum status kv_result_range(struct kv_run *run, const struct kv_key *k, uint64_t offset, uint64_t n);
/* Calls each for the bytes [offset, offset + n) in order, in parts; parts that no piece covers come as p == NULL: zeros. */
enum status kv_each_part(struct kv_run *run, const struct kv_key *k, uint64_t offset, uint64_t n,
                         bool (*each)(void *ctx, const uint8_t *p, uint64_t n), void *ctx);
/* Sets the whole value. expiry as given in h_expiry (NULL: none). */
void kv_set_string(struct kv_run *run, struct kv_key *k, struct bytes value, const uint64_t *expiry_ms);

/* Writes a whole piece of a long string that k will become. */
void kv_put_piece(struct kv_run *run, const struct kv_key *k, uint64_t incarnation, uint64_t piece, struct bytes data);

/* A string being changed in place: only the pieces touched are read and written. */
struct kv_edit {
    struct kv_run *run;
    struct kv_key *k;
    struct kv_head head; /* as it will be stored */
    struct buf *whole;   /* the value, while it is inline */
    bool fresh;          /* the incarnation is new: pieces not written here are absent */
    uint64_t fresh_end;  /* with fresh: pieces from this number on have never been written */
};
/* Opens k (a string, or absent) for change and makes it at least `length` bytes long, filled with zeros. */
void kv_edit_open(struct kv_edit *e, struct kv_run *run, struct kv_key *k, uint64_t length);
enum status kv_edit_read(struct kv_edit *e, uint64_t offset, uint8_t *dst, size_t n); /* zeros beyond the end */
enum status kv_edit_write(struct kv_edit *e, uint64_t offset, struct bytes data);     /* within the length */
void kv_edit_close(struct kv_edit *e); /* stores the head; the expiry stays */

/* Answers, as ST_OK. */
enum status kv_malformed(struct kv_run *run);
enum status kv_wrong_type(struct kv_run *run);
enum status kv_error(struct kv_run *run, const char *text);
static inline enum status kv_int(struct kv_run *run, int64_t v)
{
    result_int(run->out, v);
    return ST_OK;
}
bool kv_take_when(struct kv_run *run, struct kv_when *out);
/* The expiry as milliseconds since 1970; false: it is not after now. */
bool kv_when_ms(const struct kv_run *run, struct kv_when when, uint64_t *out_ms);

/* Redis's glob: * ? [a-z] [^a] and \ (util.c's stringmatch of Redis 7 decides the odd cases). */
bool kv_glob(struct bytes pattern, struct bytes text);

/* Float arithmetic as Redis prints it (kv_float.c); run by the leader only. */
bool kv_float_parse(struct bytes text, long double *out);
size_t kv_float_text(long double v, char *out, size_t max); /* at most KV_FLOAT_TEXT_MAX */
#define KV_FLOAT_TEXT_MAX 5120
enum status kv_evaluate(const struct op *op, struct op_view *view, struct buf *out_op, struct buf *out_result);
/* One evaluation: appends an encoded plain op to out_op, or a result to out_result. */
enum status kv_evaluate_one(struct kv_run *run, struct buf *out_op, struct buf *out_result);
void kv_run_init(struct kv_run *run, const struct op *op, struct op_view *view, uint64_t *ordinal, struct buf *out);
void kv_run_deinit(struct kv_run *run);
enum status kv_element_get(struct kv_run *run, const struct kv_key *k, struct bytes field, struct bytes *out);

enum status kv_hash_encoding(struct kv_run *run, const struct kv_key *k, const char **out); /* as Redis names it */

enum status kv_op_get(struct kv_run *run);
enum status kv_op_set(struct kv_run *run);
enum status kv_op_getdel(struct kv_run *run);
enum status kv_op_getex(struct kv_run *run);
enum status kv_op_append(struct kv_run *run);
enum status kv_op_strlen(struct kv_run *run);
enum status kv_op_setrange(struct kv_run *run);
enum status kv_op_getrange(struct kv_run *run);
enum status kv_op_incr(struct kv_run *run);
enum status kv_op_mget(struct kv_run *run);
enum status kv_op_mset(struct kv_run *run);
enum status kv_op_lcs(struct kv_run *run);
enum status kv_op_getbit(struct kv_run *run);
enum status kv_op_setbit(struct kv_run *run);
enum status kv_op_bitcount(struct kv_run *run);
enum status kv_op_bitpos(struct kv_run *run);
enum status kv_op_bitop(struct kv_run *run);
enum status kv_op_bitfield(struct kv_run *run);
enum status kv_op_del(struct kv_run *run);
enum status kv_op_exists(struct kv_run *run);
enum status kv_op_type(struct kv_run *run);
enum status kv_op_ttl(struct kv_run *run);
enum status kv_op_expire(struct kv_run *run);
enum status kv_op_persist(struct kv_run *run);
enum status kv_op_rename(struct kv_run *run);
enum status kv_op_copy(struct kv_run *run);
enum status kv_op_object(struct kv_run *run);
enum status kv_op_sort(struct kv_run *run);
enum status kv_op_version(struct kv_run *run);
enum status kv_op_hset(struct kv_run *run);
enum status kv_op_hget(struct kv_run *run);
enum status kv_op_hmget(struct kv_run *run);
enum status kv_op_hdel(struct kv_run *run);
enum status kv_op_hlen(struct kv_run *run);
enum status kv_op_hgetall(struct kv_run *run);
enum status kv_op_hincr(struct kv_run *run);
enum status kv_op_hrandfield(struct kv_run *run);
enum status kv_op_hscan(struct kv_run *run);
enum status kv_op_scan(struct kv_run *run);
enum status kv_op_keys(struct kv_run *run);
enum status kv_op_dbsize(struct kv_run *run);
enum status kv_op_randomkey(struct kv_run *run);
enum status kv_op_flush(struct kv_run *run);
enum status kv_op_multi(struct kv_run *run);
enum status kv_op_effect(struct kv_run *run);
enum status kv_op_clean(struct kv_run *run);
enum status kv_op_expire_sweep(struct kv_run *run);
enum status kv_op_garbage_find(struct kv_run *run);
enum status kv_op_expired_find(struct kv_run *run);
enum status kv_op_retention(struct kv_run *run);
enum status kv_op_history_find(struct kv_run *run);
enum status kv_op_history_drop(struct kv_run *run);

#endif
