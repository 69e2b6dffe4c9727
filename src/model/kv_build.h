/* kv_build.h - the key-value model's opcodes, the bodies of its ops, and the functions that write bodies.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   what doors use to say what they mean. Opcodes and bodies are permanent: they are in logs.
 * Bodies:    lp is a varint length and the bytes; list is a varint count and so many lp; `…` reaches to the body's end.
 *            when: mode u8 (enum kv_when_mode), and i64 milliseconds if the mode is relative or absolute.
 *
 *   op              body                                        result
 *   GET             key…                                        bulk, nil
 *   SET             key lp, flags u8, when, value…              ok; KV_SET_NX or KV_SET_XX not met: nil; KV_SET_GET: the old
 *                                                               bulk or nil; KV_SET_INT: 1 or 0
 *   GETDEL          key…                                        bulk, nil
 *   GETEX           key lp, when                                bulk, nil
 *   APPEND          key lp, value…                              length
 *   STRLEN          key…                                        length
 *   SETRANGE        key lp, offset u64, value…                  length
 *   GETRANGE        key lp, start i64, end i64                  bulk
 *   INCR            key lp, delta i64                           number
 *   INCR_FLOAT      key lp, increment…   (OP_EVALUATE)          bulk
 *   MGET            list of keys                                array of bulk, nil
 *   MSET            varint pairs, pairs × (key lp, value lp)    ok
 *   MSETNX          as MSET                                     1, or 0 if any key exists
 *   LCS             key lp, key lp, flags u8, min_length u64    bulk; length; map
 *   GETBIT          key lp, offset u64                          0, 1
 *   SETBIT          key lp, offset u64, bit u8                  the old bit
 *   BITCOUNT        key lp, flags u8, start i64, end i64        number
 *   BITPOS          key lp, flags u8, bit u8, start i64, end i64  number
 *   BITOP           list (destination, sources), op u8          length
 *   BITFIELD        key lp, varint count, count × (op u8, signed u8, bits u8, overflow u8, offset u64, value i64)
 *                                                               array of numbers, nil where an overflow failed
 *   BITFIELD_RO     as BITFIELD, with gets only
 *   DEL, EXISTS     list of keys                                number
 *   TYPE            key…                                        simple
 *   TTL             key lp, mode u8 (enum kv_ttl_mode)          number
 *   EXPIRE          key lp, flags u8, when                      1, 0
 *   PERSIST         key…                                        1, 0
 *   RENAME          from lp, to lp                              ok, error
 *   RENAMENX        from lp, to lp                              1, 0, error
 *   COPY            from lp, to lp, replace u8                  1, 0
 *   OBJECT          key lp, question u8 (enum kv_object)        bulk, number, nil, error
 *   SORT            key…                                        empty array, error: there are no lists and sets
 *   SORT_STORE      key lp, destination lp                      0, error
 *   VERSION         key…                                        what MULTI's watches compare (also of an absent key)
 *   HSET            key lp, varint pairs, pairs × (field lp, value lp)   number of new fields
 *   HMSET           as HSET                                     ok
 *   HSETNX          as HSET, one pair                           1, 0
 *   HGET            key lp, field…                              bulk, nil
 *   HMGET           key lp, list of fields                      array of bulk, nil
 *   HDEL            key lp, list of fields                      number
 *   HLEN            key…                                        number
 *   HEXISTS         key lp, field…                              1, 0
 *   HSTRLEN         key lp, field…                              length
 *   HGETALL         key lp, parts u8 (KV_HASH_FIELDS | KV_HASH_VALUES)   map or array
 *   HINCR           key lp, field lp, delta i64                 number
 *   HINCR_FLOAT     key lp, field lp, increment…  (OP_EVALUATE) bulk
 *   HRANDFIELD      key lp, random u64, flags u8, count i64     bulk, nil, array, pairs
 *   HSCAN           key lp, cursor u64, count u64, pattern…     array: bulk cursor, array of fields and values
 *   SCAN            cursor u64, count u64, type u8, pattern…    array: bulk cursor, array of keys
 *   KEYS            pattern…                                    array of the partition's keys
 *   DBSIZE          (empty)                                     number of the partition's keys
 *   RANDOMKEY       random u64                                  bulk, nil
 *   FLUSH           cursor u64, rows_max u32                    the next cursor, -1 at the partition's end
 *   MULTI           varint watches, watches × (key lp, version u64), varint count, count × lp op   (OP_EVALUATE if any is)
 *                                                               array of results; nil array if a version differs
 *   EFFECT          result lp, varint count, count × lp op      that result (made by evaluation only)
 *   CLEAN           slot u16, incarnation u64, rows_max u32     1: more is left, 0: done, 2: not yet, the watermark is below its end
 *   EXPIRE_SWEEP    varint count, count × slot u16, keys_max u32   array: keys deleted, 1 if more is left
 *   GARBAGE_FIND    slot u16, found_max u32                     array: next slot or -1, array of slot, incarnation, …
 *   EXPIRED_FIND    slot u16, found_max u32                     array: next slot or -1, array of slots with expired keys
 *   RETENTION       retention_ms u64, watermark u64             the watermark: it rises to the one given, but not above the op's
 *                                                               time; to the op's time when history begins or ends
 *   HISTORY_FIND    from lp (row key or empty), examine_max u32, found_max u32
 *                                                               array: bulk where to go on (empty: from the beginning), number of
 *                                                               history rows seen, array of keys of those that may go
 *   HISTORY_DROP    list of keys of history rows                number of those at or below the watermark: they are deleted
 *
 * Cursors:   SCAN's is slot << 48 | hash48 of the next key: 62 bits, 0 to begin and at the end. The partition that holds the
 *            slot serves it, and at its end answers with the first slot of the next one.
 * Threading: pure. */
#ifndef CAIRN_MODEL_KV_BUILD_H
#define CAIRN_MODEL_KV_BUILD_H

#include "model/kv.h"

enum kv_opcode {
    KV_GET = OPCODE_KV + 1,
    KV_SET = OPCODE_KV + 2,
    KV_GETDEL = OPCODE_KV + 3,
    KV_GETEX = OPCODE_KV + 4,
    KV_APPEND = OPCODE_KV + 5,
    KV_STRLEN = OPCODE_KV + 6,
    KV_SETRANGE = OPCODE_KV + 7,
    KV_GETRANGE = OPCODE_KV + 8,
    KV_INCR = OPCODE_KV + 9,
    KV_INCR_FLOAT = OPCODE_KV + 10,
    KV_MGET = OPCODE_KV + 11,
    KV_MSET = OPCODE_KV + 12,
    KV_MSETNX = OPCODE_KV + 13,
    KV_LCS = OPCODE_KV + 14,
    KV_GETBIT = OPCODE_KV + 15,
    KV_SETBIT = OPCODE_KV + 16,
    KV_BITCOUNT = OPCODE_KV + 17,
    KV_BITPOS = OPCODE_KV + 18,
    KV_BITOP = OPCODE_KV + 19,
    KV_BITFIELD = OPCODE_KV + 20,
    KV_BITFIELD_RO = OPCODE_KV + 21,
    KV_DEL = OPCODE_KV + 22,
    KV_EXISTS = OPCODE_KV + 23,
    KV_TYPE = OPCODE_KV + 24,
    KV_TTL = OPCODE_KV + 25,
    KV_EXPIRE = OPCODE_KV + 26,
    KV_PERSIST = OPCODE_KV + 27,
    KV_RENAME = OPCODE_KV + 28,
    KV_RENAMENX = OPCODE_KV + 29,
    KV_COPY = OPCODE_KV + 30,
    KV_OBJECT = OPCODE_KV + 31,
    KV_SORT = OPCODE_KV + 32,
    KV_SORT_STORE = OPCODE_KV + 33,
    KV_VERSION = OPCODE_KV + 34,
    KV_HSET = OPCODE_KV + 35,
    KV_HMSET = OPCODE_KV + 36,
    KV_HSETNX = OPCODE_KV + 37,
    KV_HGET = OPCODE_KV + 38,
    KV_HMGET = OPCODE_KV + 39,
    KV_HDEL = OPCODE_KV + 40,
    KV_HLEN = OPCODE_KV + 41,
    KV_HEXISTS = OPCODE_KV + 42,
    KV_HSTRLEN = OPCODE_KV + 43,
    KV_HGETALL = OPCODE_KV + 44,
    KV_HINCR = OPCODE_KV + 45,
    KV_HINCR_FLOAT = OPCODE_KV + 46,
    KV_HRANDFIELD = OPCODE_KV + 47,
    KV_HSCAN = OPCODE_KV + 48,
    KV_SCAN = OPCODE_KV + 49,
    KV_KEYS = OPCODE_KV + 50,
    KV_DBSIZE = OPCODE_KV + 51,
    KV_RANDOMKEY = OPCODE_KV + 52,
    KV_FLUSH = OPCODE_KV + 53,
    KV_MULTI = OPCODE_KV + 54,
    KV_EFFECT = OPCODE_KV + 55,
    KV_CLEAN = OPCODE_KV + 56,
    KV_EXPIRE_SWEEP = OPCODE_KV + 57,
    KV_GARBAGE_FIND = OPCODE_KV + 58,
    KV_EXPIRED_FIND = OPCODE_KV + 59,
    KV_RETENTION = OPCODE_KV + 60,
    KV_HISTORY_FIND = OPCODE_KV + 61,
    KV_HISTORY_DROP = OPCODE_KV + 62,
    KV_OPCODE_END,
};

enum kv_type { KV_NONE = 0, KV_STRING = 1, KV_LONG = 2, KV_HASH = 3 };

enum kv_when_mode {
    KV_WHEN_NONE = 0,     /* SET: no expiry; GETEX: as it is */
    KV_WHEN_RELATIVE = 1, /* after the op's timestamp */
    KV_WHEN_ABSOLUTE = 2, /* since 1970 */
    KV_WHEN_KEEP = 3,     /* SET: as it was */
    KV_WHEN_PERSIST = 4,  /* GETEX: none from now on */
};
struct kv_when {
    uint8_t mode;
    int64_t ms;
};

enum kv_set_flags { KV_SET_NX = 1, KV_SET_XX = 2, KV_SET_GET = 4, KV_SET_INT = 8 };
enum kv_expire_flags { KV_EXPIRE_NX = 1, KV_EXPIRE_XX = 2, KV_EXPIRE_GT = 4, KV_EXPIRE_LT = 8 };
enum kv_ttl_mode { KV_TTL_S = 0, KV_TTL_MS = 1, KV_TTL_AT_S = 2, KV_TTL_AT_MS = 3 };
enum kv_object { KV_OBJECT_ENCODING = 0, KV_OBJECT_REFCOUNT = 1, KV_OBJECT_IDLETIME = 2, KV_OBJECT_FREQ = 3 };
enum kv_lcs_flags { KV_LCS_LEN = 1, KV_LCS_IDX = 2, KV_LCS_WITH_LENGTHS = 4 };
enum kv_bit_flags { KV_BIT_START = 1, KV_BIT_END = 2, KV_BIT_UNIT = 4 /* indexes are of bits, not bytes */ };
enum kv_bitop { KV_BITOP_AND = 0, KV_BITOP_OR = 1, KV_BITOP_XOR = 2, KV_BITOP_NOT = 3 };
enum kv_field_op { KV_FIELD_GET = 0, KV_FIELD_SET = 1, KV_FIELD_INCR = 2 };
enum kv_overflow { KV_OVERFLOW_WRAP = 0, KV_OVERFLOW_SAT = 1, KV_OVERFLOW_FAIL = 2 };
enum kv_hash_parts { KV_HASH_FIELDS = 1, KV_HASH_VALUES = 2 };
enum kv_rand_flags { KV_RAND_COUNT = 1, KV_RAND_VALUES = 2 };

/* Memory that one LCS may take for its table; above, it answers Redis's error. */
#define KV_LCS_BYTES_MAX   (64ull << 20)
/* HRANDFIELD with a negative count may repeat fields: at most so many are answered. */
#define KV_RAND_REPEAT_MAX (1 << 20)
/* Sub-ops of a MULTI. */
#define KV_MULTI_OPS_MAX   65536u

struct kv_field {
    uint8_t op, is_signed, bits, overflow;
    uint64_t offset;
    int64_t value;
};

/* Writers of bodies; they append to body. */
void kv_build_key(struct buf *body, struct bytes key);                         /* the ops with body `key…` */
void kv_build_key_rest(struct buf *body, struct bytes key, struct bytes rest); /* APPEND, HGET, INCR_FLOAT, … */
void kv_build_keys(struct buf *body, const struct bytes *keys, size_t n);      /* the ops with a list of keys */
void kv_build_two(struct buf *body, struct bytes a, struct bytes b);           /* RENAME, RENAMENX, SORT_STORE */
void kv_build_key_u8(struct buf *body, struct bytes key, uint8_t v);           /* TTL, OBJECT, HGETALL */
void kv_build_key_i64(struct buf *body, struct bytes key, int64_t v);          /* INCR, GETBIT */
void kv_build_when(struct buf *body, struct kv_when when);
void kv_build_set(struct buf *body, struct bytes key, uint8_t flags, struct kv_when when, struct bytes value);
void kv_build_getex(struct buf *body, struct bytes key, struct kv_when when);
void kv_build_setrange(struct buf *body, struct bytes key, uint64_t offset, struct bytes value);
void kv_build_range(struct buf *body, struct bytes key, int64_t start, int64_t end);
void kv_build_pairs(struct buf *body, const struct bytes *pairs, size_t n); /* MSET: n pairs, so 2 n views */
void kv_build_lcs(struct buf *body, struct bytes a, struct bytes b, uint8_t flags, uint64_t min_length);
void kv_build_setbit(struct buf *body, struct bytes key, uint64_t offset, uint8_t bit);
void kv_build_bitcount(struct buf *body, struct bytes key, uint8_t flags, int64_t start, int64_t end);
void kv_build_bitpos(struct buf *body, struct bytes key, uint8_t flags, uint8_t bit, int64_t start, int64_t end);
void kv_build_bitop(struct buf *body, uint8_t op, const struct bytes *keys, size_t n); /* the destination first */
void kv_build_bitfield(struct buf *body, struct bytes key, const struct kv_field *fields, size_t n);
void kv_build_expire(struct buf *body, struct bytes key, uint8_t flags, struct kv_when when);
void kv_build_copy(struct buf *body, struct bytes from, struct bytes to, bool replace);
void kv_build_hset(struct buf *body, struct bytes key, const struct bytes *pairs, size_t n);
void kv_build_fields(struct buf *body, struct bytes key, const struct bytes *fields, size_t n); /* HMGET, HDEL */
void kv_build_hincr(struct buf *body, struct bytes key, struct bytes field, int64_t delta);
void kv_build_hincr_float(struct buf *body, struct bytes key, struct bytes field, struct bytes increment);
void kv_build_hrandfield(struct buf *body, struct bytes key, uint64_t random, uint8_t flags, int64_t count);
void kv_build_hscan(struct buf *body, struct bytes key, uint64_t cursor, uint64_t count, struct bytes pattern);
void kv_build_scan(struct buf *body, uint64_t cursor, uint64_t count, uint8_t type, struct bytes pattern);
void kv_build_flush(struct buf *body, uint64_t cursor, uint32_t rows_max);
void kv_build_clean(struct buf *body, uint16_t slot, uint64_t incarnation, uint32_t rows_max);
void kv_build_expire_sweep(struct buf *body, const uint16_t *slots, size_t n, uint32_t keys_max);
void kv_build_find(struct buf *body, uint16_t slot, uint32_t found_max); /* GARBAGE_FIND, EXPIRED_FIND */
void kv_build_retention(struct buf *body, uint64_t retention_ms, hlc_t watermark);
void kv_build_history_find(struct buf *body, struct bytes from, uint32_t examine_max, uint32_t found_max);

/* MULTI: watches first, then ops; both counts are given before. */
struct kv_watch {
    struct bytes key;
    uint64_t version;
};
void kv_build_multi(struct buf *body, const struct kv_watch *watches, size_t watch_count, size_t op_count);
/* flags: OP_READ and OP_EVALUATE as the sub-op's builder said; an op with any OP_EVALUATE makes MULTI one. */
void kv_build_multi_op(struct buf *body, uint16_t opcode, uint8_t flags, struct bytes op_body);

#endif
