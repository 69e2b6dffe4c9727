/* data_random_test_util.h - random data commands over few keys, made to meet the edges.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_WIRE_RESP_DATA_RANDOM_TEST_UTIL_H
#define CAIRN_WIRE_RESP_DATA_RANDOM_TEST_UTIL_H

#include <stdio.h>

#include "wire/resp/data_test_util.h"

/* How a reply may be compared with another implementation's. */
enum data_compare {
    COMPARE_EXACT,
    COMPARE_ELEMENTS, /* an array in any order */
    COMPARE_PAIRS,    /* an array or map of pairs in any order */
    COMPARE_TIME,     /* a number that depends on the clock a little */
    COMPARE_SHAPE,    /* random: only the number of elements */
};

struct data_command {
    struct buf text;
    size_t starts[DATA_ARGS_MAX + 1];
    struct bytes argv[DATA_ARGS_MAX];
    size_t argc;
    enum data_compare compare;
    bool corrupted; /* an argument was replaced: errors may be found in another order */
    bool multi_ok;
};

static inline void word(struct data_command *c, struct bytes s)
{
    ASSERT(c->argc < DATA_ARGS_MAX);
    c->starts[c->argc++] = c->text.n;
    buf_put_bytes(&c->text, s);
}

static inline void words(struct data_command *c, const char *s)
{
    while (*s != 0) {
        size_t n = strcspn(s, " ");
        if (n != 0) word(c, bytes_of(s, n));
        s += n + (s[n] == ' ');
    }
}

static inline void word_i64(struct data_command *c, int64_t v)
{
    char text[24];
    word(c, bytes_of(text, i64_to_text(v, text)));
}

static inline void word_key(struct data_command *c, struct rng *r)
{
    static const char *const keys[] = {"{t}a", "{t}b", "{t}c", "{t}d", "{t}e", "{t}f", "{t}g", "{t}h"};
    word(c, bytes_str(keys[rng_below(r, ARRAY_COUNT(keys))]));
}

static inline void word_field(struct data_command *c, struct rng *r)
{
    char text[16];
    snprintf(text, sizeof text, "f%u", (unsigned)rng_below(r, 12));
    word(c, bytes_str(text));
}

static inline void word_bytes(struct data_command *c, struct rng *r, size_t n, bool bits)
{
    struct buf b = {0};
    uint8_t *p = buf_extend(&b, n + 1);
    for (size_t i = 0; i < n; i++) p[i] = bits ? (uint8_t)rng_next(r) : (uint8_t)('a' + rng_below(r, 4));
    word(c, bytes_of(p, n));
    buf_deinit(&b);
}

static inline int64_t some_i64(struct rng *r)
{
    static const int64_t edges[] = {0,          1,     -1, 100, INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MIN + 1,
                                    4294967296, -32768};
    return rng_chance(r, 4) ? edges[rng_below(r, ARRAY_COUNT(edges))] : (int64_t)rng_below(r, 2000) - 1000;
}

static inline void word_float(struct data_command *c, struct rng *r)
{
    static const char *const some[] = {"1.5",   "-0.1",  "3.0e3", "1e20",      "-5",   "0.30000000000000004",
                                       "1e-10", "10.25", "-1e17", "0.0000001", "5e-5", "+2",
                                       "007.5", "0x10",  "1e400", "inf",       "-0"};
    word(c, bytes_str(some[rng_below(r, ARRAY_COUNT(some))]));
}

static inline void word_value(struct data_command *c, struct rng *r)
{
    switch (rng_below(r, 10)) {
    case 0:
    case 1: word_i64(c, some_i64(r)); break;
    case 2: word_float(c, r); break;
    case 3: word_bytes(c, r, rng_below(r, 30), true); break;
    case 4: word_bytes(c, r, 65530 + rng_below(r, 12), true); break;
    case 5: word_bytes(c, r, 60000 + rng_below(r, 90000), true); break;
    default: word_bytes(c, r, rng_below(r, 12), false); break;
    }
}

/* Places in strings: small, and around the borders of pieces. */
static inline int64_t some_place(struct rng *r)
{
    switch (rng_below(r, 5)) {
    case 0: return 65536 - 4 + (int64_t)rng_below(r, 8);
    case 1: return 131072 - 4 + (int64_t)rng_below(r, 8);
    case 2: return (int64_t)rng_below(r, 200000);
    default: return (int64_t)rng_below(r, 20);
    }
}

static inline int64_t some_index(struct rng *r)
{
    int64_t v = some_place(r);
    return rng_chance(r, 3) ? -v : v;
}

/* Absolute times that no relative one comes near; or long ago. */
static inline void word_absolute(struct data_command *c, struct rng *r, int64_t unit_ms)
{
    static const int64_t times[] = {4000000000000, 4000000001000, 4100000000000, 1000, 5000, 4200000000000};
    word_i64(c, times[rng_below(r, ARRAY_COUNT(times))] / unit_ms);
}

static inline int64_t some_relative(struct rng *r) { return 100000 * (1 + (int64_t)rng_below(r, 50)); }

static inline void random_set(struct data_command *c, struct rng *r)
{
    words(c, "SET");
    word_key(c, r);
    word_value(c, r);
    if (rng_chance(r, 4)) words(c, rng_chance(r, 2) ? "NX" : "xx");
    if (rng_chance(r, 4)) words(c, "GET");
    if (!rng_chance(r, 3)) return;
    switch (rng_below(r, 5)) {
    case 0: words(c, "KEEPTTL"); break;
    case 1: words(c, "EX"), word_i64(c, some_relative(r)); break;
    case 2: words(c, "PX"), word_i64(c, some_relative(r) * 1000); break;
    case 3: words(c, "EXAT"), word_absolute(c, r, 1000); break;
    default: words(c, "PXAT"), word_absolute(c, r, 1); break;
    }
}

static inline void random_string(struct data_command *c, struct rng *r)
{
    switch (rng_below(r, 24)) {
    case 0: words(c, "APPEND"), word_key(c, r), word_value(c, r); break;
    case 1: words(c, rng_chance(r, 2) ? "INCR" : "DECR"), word_key(c, r); break;
    case 2: words(c, rng_chance(r, 2) ? "INCRBY" : "DECRBY"), word_key(c, r), word_i64(c, some_i64(r)); break;
    case 3:
    case 4: words(c, "INCRBYFLOAT"), word_key(c, r), word_float(c, r); break;
    case 5: words(c, "GETDEL"), word_key(c, r); break;
    case 6:
        words(c, "GETEX"), word_key(c, r);
        switch (rng_below(r, 4)) {
        case 0: words(c, "PERSIST"); break;
        case 1: words(c, "EX"), word_i64(c, some_relative(r)); break;
        case 2: words(c, "PXAT"), word_absolute(c, r, 1); break;
        default: break;
        }
        break;
    case 7:
        words(c, rng_chance(r, 5) ? "SUBSTR" : "GETRANGE"), word_key(c, r), word_i64(c, some_index(r)),
            word_i64(c, some_index(r));
        break;
    case 8: words(c, "SETRANGE"), word_key(c, r), word_i64(c, some_place(r)), word_value(c, r); break;
    case 9: words(c, "STRLEN"), word_key(c, r); break;
    case 10: words(c, "GETSET"), word_key(c, r), word_value(c, r); break;
    case 11: words(c, "SETNX"), word_key(c, r), word_value(c, r); break;
    case 12: words(c, "SETEX"), word_key(c, r), word_i64(c, some_relative(r)), word_value(c, r); break;
    case 13: words(c, "PSETEX"), word_key(c, r), word_i64(c, some_relative(r)), word_value(c, r); break;
    case 14:
        words(c, "MGET");
        for (uint64_t n = 1 + rng_below(r, 4); n > 0; n--) word_key(c, r);
        break;
    case 15:
        words(c, rng_chance(r, 2) ? "MSET" : "MSETNX");
        for (uint64_t n = 1 + rng_below(r, 3); n > 0; n--) word_key(c, r), word_value(c, r);
        break;
    case 16:
    case 17: words(c, "GET"), word_key(c, r); break;
    case 18: words(c, "SET"), word_key(c, r), word_bytes(c, r, rng_below(r, 25), false); break;
    case 19: words(c, "SET"), word_key(c, r), word_i64(c, some_i64(r)); break;
    case 20: words(c, "SET"), word_key(c, r), word_float(c, r); break;
    case 21:
        words(c, "LCS"), word_key(c, r), word_key(c, r);
        if (rng_chance(r, 3)) words(c, "LEN");
        else if (rng_chance(r, 2)) words(c, "IDX");
        if (rng_chance(r, 3)) words(c, "WITHMATCHLEN");
        if (rng_chance(r, 3)) words(c, "MINMATCHLEN"), word_i64(c, (int64_t)rng_below(r, 4));
        break;
    default: random_set(c, r); break;
    }
}

static inline void word_type(struct data_command *c, struct rng *r)
{
    char text[16];
    bool sign = rng_chance(r, 2);
    uint64_t bits = rng_chance(r, 2) ? 1 + rng_below(r, 16) : 1 + rng_below(r, 63 + sign);
    snprintf(text, sizeof text, "%c%u", sign ? 'i' : 'u', (unsigned)bits);
    word(c, bytes_str(text));
}

static inline void word_bit_offset(struct data_command *c, struct rng *r)
{
    char text[24];
    if (rng_chance(r, 4)) snprintf(text, sizeof text, "#%u", (unsigned)rng_below(r, 20));
    else snprintf(text, sizeof text, "%lld", (long long)some_place(r) * 8 + (long long)rng_below(r, 8));
    word(c, bytes_str(text));
}

static inline void random_bit(struct data_command *c, struct rng *r)
{
    static const char *const overflows[] = {"WRAP", "SAT", "FAIL"};
    static const char *const bitops[] = {"AND", "OR", "XOR", "NOT"};
    switch (rng_below(r, 8)) {
    case 0: words(c, "GETBIT"), word_key(c, r), word_i64(c, some_place(r) * 8 + (int64_t)rng_below(r, 8)); break;
    case 1:
        words(c, "SETBIT"), word_key(c, r), word_i64(c, some_place(r) * 8 + (int64_t)rng_below(r, 8));
        word_i64(c, (int64_t)rng_below(r, 2));
        break;
    case 2:
        words(c, "BITCOUNT"), word_key(c, r);
        if (rng_chance(r, 2)) {
            word_i64(c, some_index(r)), word_i64(c, some_index(r));
            if (rng_chance(r, 2)) words(c, rng_chance(r, 2) ? "BIT" : "BYTE");
        }
        break;
    case 3:
        words(c, "BITPOS"), word_key(c, r), word_i64(c, (int64_t)rng_below(r, 2));
        if (rng_chance(r, 2)) {
            word_i64(c, some_index(r));
            if (rng_chance(r, 2)) word_i64(c, some_index(r));
            if (c->argc == 5 && rng_chance(r, 2)) words(c, rng_chance(r, 2) ? "BIT" : "BYTE");
        }
        break;
    case 4: {
        uint64_t op = rng_below(r, 4);
        words(c, "BITOP"), words(c, bitops[op]), word_key(c, r);
        for (uint64_t n = op == 3 ? 1 : 1 + rng_below(r, 3); n > 0; n--) word_key(c, r);
        break;
    }
    default: {
        bool ro = rng_chance(r, 4);
        words(c, ro ? "BITFIELD_RO" : "BITFIELD"), word_key(c, r);
        for (uint64_t n = rng_below(r, 4); n > 0; n--) {
            if (!ro && rng_chance(r, 3)) words(c, "OVERFLOW"), words(c, overflows[rng_below(r, 3)]);
            uint64_t op = ro ? 0 : rng_below(r, 3);
            words(c, op == 0 ? "GET" : op == 1 ? "SET" : "INCRBY");
            word_type(c, r), word_bit_offset(c, r);
            /* A SET of a number below about -2^63 saturates to the maximum in Redis (its check overflows); here, as one
             * would expect, to the minimum. */
            int64_t v = some_i64(r);
            if (op != 0) word_i64(c, op == 1 && v < -(1LL << 62) ? -(1LL << 40) : v);
        }
        break;
    }
    }
}

static inline void random_key(struct data_command *c, struct rng *r)
{
    static const char *const flags[] = {"NX", "XX", "GT", "LT"};
    switch (rng_below(r, 20)) {
    case 0:
        words(c, "COPY"), word_key(c, r), word_key(c, r);
        if (rng_chance(r, 2)) words(c, "REPLACE");
        break;
    case 1:
        words(c, rng_chance(r, 2) ? "DEL" : "UNLINK");
        for (uint64_t n = 1 + rng_below(r, 2); n > 0; n--) word_key(c, r);
        break;
    case 2:
        words(c, rng_chance(r, 2) ? "EXISTS" : "TOUCH");
        for (uint64_t n = 1 + rng_below(r, 3); n > 0; n--) word_key(c, r);
        break;
    case 3:
        words(c, rng_chance(r, 2) ? "EXPIRE" : "PEXPIRE"), word_key(c, r);
        word_i64(c, rng_chance(r, 6) ? -(int64_t)rng_below(r, 5) : some_relative(r) * 10);
        if (rng_chance(r, 3)) words(c, flags[rng_below(r, 2)]);
        break;
    case 4:
    case 5:
        words(c, "PEXPIREAT"), word_key(c, r), word_absolute(c, r, 1);
        if (rng_chance(r, 2)) words(c, flags[rng_below(r, 4)]);
        if (rng_chance(r, 6)) words(c, flags[rng_below(r, 4)]);
        break;
    case 6:
        words(c, "EXPIREAT"), word_key(c, r), word_absolute(c, r, 1000);
        if (rng_chance(r, 2)) words(c, flags[rng_below(r, 4)]);
        break;
    case 7:
        words(c, rng_chance(r, 2) ? "EXPIRETIME" : "PEXPIRETIME"), word_key(c, r);
        c->compare = COMPARE_TIME;
        break;
    case 8: words(c, rng_chance(r, 2) ? "TTL" : "PTTL"), word_key(c, r), c->compare = COMPARE_TIME; break;
    case 9: words(c, "PERSIST"), word_key(c, r); break;
    case 10: words(c, "RENAME"), word_key(c, r), word_key(c, r); break;
    case 11: words(c, "RENAMENX"), word_key(c, r), word_key(c, r); break;
    case 12: words(c, "TYPE"), word_key(c, r); break;
    case 13: words(c, "KEYS"), words(c, rng_chance(r, 2) ? "*" : "{t}[a-d]"), c->compare = COMPARE_ELEMENTS; break;
    case 14: words(c, rng_chance(r, 2) ? "SORT" : "SORT_RO"), word_key(c, r); break;
    case 15: words(c, "SORT"), word_key(c, r), words(c, "ALPHA DESC LIMIT 0 5 STORE"), word_key(c, r); break;
    case 16: words(c, "RANDOMKEY"), c->compare = COMPARE_SHAPE; break;
    case 17:
        if (rng_chance(r, 30)) words(c, rng_chance(r, 2) ? "FLUSHDB" : "FLUSHALL ASYNC");
        else words(c, "DEL"), word_key(c, r);
        break;
    default: words(c, "EXISTS"), word_key(c, r); break;
    }
}

static inline void random_hash(struct data_command *c, struct rng *r)
{
    switch (rng_below(r, 20)) {
    case 0:
    case 1:
    case 2:
        words(c, rng_chance(r, 3) ? "HMSET" : "HSET"), word_key(c, r);
        for (uint64_t n = 1 + rng_below(r, 4); n > 0; n--) word_field(c, r), word_value(c, r);
        break;
    case 3: words(c, "HSETNX"), word_key(c, r), word_field(c, r), word_value(c, r); break;
    case 4:
    case 5: words(c, "HGET"), word_key(c, r), word_field(c, r); break;
    case 6:
        words(c, "HMGET"), word_key(c, r);
        for (uint64_t n = 1 + rng_below(r, 4); n > 0; n--) word_field(c, r);
        break;
    case 7:
    case 8:
        words(c, "HDEL"), word_key(c, r);
        for (uint64_t n = 1 + rng_below(r, 5); n > 0; n--) word_field(c, r);
        break;
    case 9: words(c, "HLEN"), word_key(c, r); break;
    case 10: words(c, "HEXISTS"), word_key(c, r), word_field(c, r); break;
    case 11: words(c, "HSTRLEN"), word_key(c, r), word_field(c, r); break;
    case 12: words(c, "HGETALL"), word_key(c, r), c->compare = COMPARE_PAIRS; break;
    case 13: words(c, rng_chance(r, 2) ? "HKEYS" : "HVALS"), word_key(c, r), c->compare = COMPARE_ELEMENTS; break;
    case 14: words(c, "HINCRBY"), word_key(c, r), word_field(c, r), word_i64(c, some_i64(r)); break;
    case 15: words(c, "HINCRBYFLOAT"), word_key(c, r), word_field(c, r), word_float(c, r); break;
    case 16: words(c, "HSET"), word_key(c, r), word_field(c, r), word_float(c, r); break;
    case 17: words(c, "HSET"), word_key(c, r), word_field(c, r), word_i64(c, some_i64(r)); break;
    case 18:
        words(c, "HRANDFIELD"), word_key(c, r), c->compare = COMPARE_SHAPE;
        if (rng_chance(r, 2)) {
            word_i64(c, (int64_t)rng_below(r, 30) - 15);
            if (rng_chance(r, 2)) words(c, "WITHVALUES");
        }
        break;
    default:
        words(c, "HSCAN"), word_key(c, r), words(c, "0");
        if (rng_chance(r, 2)) words(c, "MATCH f1*");
        if (rng_chance(r, 2)) words(c, "COUNT 100");
        c->compare = COMPARE_PAIRS;
        break;
    }
}

/* Makes the next command. */
static inline void data_random(struct data_command *c, struct rng *r)
{
    buf_clear(&c->text);
    c->argc = 0;
    c->compare = COMPARE_EXACT;
    c->corrupted = false;
    switch (rng_below(r, 8)) {
    case 0:
    case 1:
    case 2: random_string(c, r); break;
    case 3: random_bit(c, r); break;
    case 4:
    case 5: random_key(c, r); break;
    default: random_hash(c, r); break;
    }
    c->starts[c->argc] = c->text.n;
    for (size_t i = 0; i < c->argc; i++)
        c->argv[i] = bytes_of(c->text.p + c->starts[i], c->starts[i + 1] - c->starts[i]);
    const struct command *row = data_find(c->argv, c->argc);
    if (c->argc > 2 && rng_chance(r, 25) && row->key_last == 1) { /* a broken key would be in another slot */
        static const char *const junk[] = {"x", "", "-1", "99999999999999999999", "1.5.5", "syntax"};
        c->argv[2 + rng_below(r, c->argc - 2)] = bytes_str(junk[rng_below(r, ARRAY_COUNT(junk))]);
        c->corrupted = true;
    }
    if (c->argc > 1 && rng_chance(r, 60)) c->argc--, c->corrupted = true;
    c->multi_ok = row != NULL && row->scope != SCOPE_ALL && c->compare == COMPARE_EXACT && !c->corrupted;
}

#endif
