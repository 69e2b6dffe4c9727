/* cmd_string.c - the string commands: their rows, and how their arguments become ops.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp/command_build.h"

static const struct kv_when no_expiry = {.mode = KV_WHEN_NONE};

BUILD(build_get)
{
    kv_build_key(out->body, argv[1]);
    return command_is(out, KV_GET, OP_READ);
}

BUILD(build_getdel)
{
    kv_build_key(out->body, argv[1]);
    return command_is(out, KV_GETDEL, 0);
}

BUILD(build_strlen)
{
    kv_build_key(out->body, argv[1]);
    return command_is(out, KV_STRLEN, OP_READ);
}

/* The options that SET and GETEX share; each may be said again, but at most one of its kind. */
struct options {
    struct kv_when when;
    bool time_given;
    struct bytes time;
    int64_t unit_ms;
    uint8_t flags;
};

/* EX, PX, EXAT, PXAT with their number. */
static bool take_time(const struct bytes *argv, size_t argc, size_t *i, struct options *o)
{
    static const struct {
        const char *word;
        uint8_t mode;
        int64_t unit_ms;
    } words[] = {{"ex", KV_WHEN_RELATIVE, 1000},
                 {"px", KV_WHEN_RELATIVE, 1},
                 {"exat", KV_WHEN_ABSOLUTE, 1000},
                 {"pxat", KV_WHEN_ABSOLUTE, 1}};
    for (size_t w = 0; w < ARRAY_COUNT(words); w++) {
        if (!command_word(argv[*i], words[w].word) || *i + 1 == argc) continue;
        bool same = o->when.mode == words[w].mode && o->unit_ms == words[w].unit_ms;
        if (o->when.mode != KV_WHEN_NONE && !same) return false;
        o->when.mode = words[w].mode;
        o->unit_ms = words[w].unit_ms;
        o->time_given = true;
        o->time = argv[++*i];
        return true;
    }
    return false;
}

static bool take_mode(uint8_t mode, struct options *o)
{
    if (o->when.mode != KV_WHEN_NONE && o->when.mode != mode) return false;
    o->when.mode = mode;
    return true;
}

static bool take_set_option(const struct bytes *argv, size_t argc, size_t *i, struct options *o)
{
    if (command_word(argv[*i], "nx")) {
        o->flags |= KV_SET_NX;
        return !(o->flags & KV_SET_XX);
    }
    if (command_word(argv[*i], "xx")) {
        o->flags |= KV_SET_XX;
        return !(o->flags & KV_SET_NX);
    }
    if (command_word(argv[*i], "get")) {
        o->flags |= KV_SET_GET;
        return true;
    }
    if (command_word(argv[*i], "keepttl")) return take_mode(KV_WHEN_KEEP, o);
    return take_time(argv, argc, i, o);
}

BUILD(build_set)
{
    struct options o = {.unit_ms = 1};
    for (size_t i = 3; i < argc; i++)
        if (!take_set_option(argv, argc, &i, &o)) return command_fail(out, ERROR_SYNTAX);
    if (o.time_given && command_expiry(out, o.time, o.when.mode, o.unit_ms, "set", &o.when) != ST_OK) return ST_INVALID;
    kv_build_set(out->body, argv[1], o.flags, o.when, argv[2]);
    return command_is(out, KV_SET, 0);
}

BUILD(build_getex)
{
    struct options o = {.unit_ms = 1};
    for (size_t i = 2; i < argc; i++) {
        bool ok = command_word(argv[i], "persist") ? take_mode(KV_WHEN_PERSIST, &o) : take_time(argv, argc, &i, &o);
        if (!ok) return command_fail(out, ERROR_SYNTAX);
    }
    if (o.time_given && command_expiry(out, o.time, o.when.mode, o.unit_ms, "getex", &o.when) != ST_OK)
        return ST_INVALID;
    if (o.when.mode == KV_WHEN_NONE) return build_get(argv, argc, out);
    kv_build_getex(out->body, argv[1], o.when);
    return command_is(out, KV_GETEX, 0);
}

BUILD(build_setnx)
{
    kv_build_set(out->body, argv[1], KV_SET_NX | KV_SET_INT, no_expiry, argv[2]);
    return command_is(out, KV_SET, 0);
}

BUILD(build_getset)
{
    kv_build_set(out->body, argv[1], KV_SET_GET, no_expiry, argv[2]);
    return command_is(out, KV_SET, 0);
}

static enum status build_set_for(const struct bytes *argv, struct command_op *out, int64_t unit_ms, const char *name)
{
    struct kv_when when;
    if (command_expiry(out, argv[2], KV_WHEN_RELATIVE, unit_ms, name, &when) != ST_OK) return ST_INVALID;
    kv_build_set(out->body, argv[1], 0, when, argv[3]);
    return command_is(out, KV_SET, 0);
}

BUILD(build_setex) { return build_set_for(argv, out, 1000, "setex"); }
BUILD(build_psetex) { return build_set_for(argv, out, 1, "psetex"); }

BUILD(build_append)
{
    kv_build_key_rest(out->body, argv[1], argv[2]);
    return command_is(out, KV_APPEND, 0);
}

BUILD(build_setrange)
{
    int64_t offset;
    if (command_i64(out, argv[2], &offset) != ST_OK) return ST_INVALID;
    if (offset < 0) return command_fail(out, "ERR offset is out of range");
    kv_build_setrange(out->body, argv[1], (uint64_t)offset, argv[3]);
    return command_is(out, KV_SETRANGE, 0);
}

BUILD(build_getrange)
{
    int64_t start, end;
    if (command_i64(out, argv[2], &start) != ST_OK || command_i64(out, argv[3], &end) != ST_OK) return ST_INVALID;
    kv_build_range(out->body, argv[1], start, end);
    return command_is(out, KV_GETRANGE, OP_READ);
}

static enum status build_incr_of(struct bytes key, int64_t delta, struct command_op *out)
{
    kv_build_key_i64(out->body, key, delta);
    return command_is(out, KV_INCR, 0);
}

BUILD(build_incr) { return build_incr_of(argv[1], 1, out); }
BUILD(build_decr) { return build_incr_of(argv[1], -1, out); }

BUILD(build_incrby)
{
    int64_t delta;
    if (command_i64(out, argv[2], &delta) != ST_OK) return ST_INVALID;
    return build_incr_of(argv[1], delta, out);
}

BUILD(build_decrby)
{
    int64_t delta;
    if (command_i64(out, argv[2], &delta) != ST_OK) return ST_INVALID;
    if (delta == INT64_MIN) return command_fail(out, "ERR decrement would overflow");
    return build_incr_of(argv[1], -delta, out);
}

BUILD(build_incrbyfloat)
{
    bool infinite;
    if (!command_float_valid(argv[2], &infinite)) return command_fail(out, ERROR_FLOAT);
    kv_build_key_rest(out->body, argv[1], argv[2]);
    return command_is(out, KV_INCR_FLOAT, OP_EVALUATE);
}

BUILD(build_mget)
{
    kv_build_keys(out->body, argv + 1, argc - 1);
    return command_is(out, KV_MGET, OP_READ);
}

static enum status build_pairs(const struct bytes *argv, size_t argc, struct command_op *out, uint16_t opcode,
                               const char *name)
{
    if (argc % 2 == 0) return command_fail_arity(out, name);
    kv_build_pairs(out->body, argv + 1, argc / 2);
    return command_is(out, opcode, 0);
}

BUILD(build_mset) { return build_pairs(argv, argc, out, KV_MSET, "mset"); }
BUILD(build_msetnx) { return build_pairs(argv, argc, out, KV_MSETNX, "msetnx"); }

BUILD(build_lcs)
{
    uint8_t flags = 0;
    int64_t min_length = 0;
    for (size_t i = 3; i < argc; i++) {
        if (command_word(argv[i], "idx")) {
            flags |= KV_LCS_IDX;
        } else if (command_word(argv[i], "len")) {
            flags |= KV_LCS_LEN;
        } else if (command_word(argv[i], "withmatchlen")) {
            flags |= KV_LCS_WITH_LENGTHS;
        } else if (command_word(argv[i], "minmatchlen") && i + 1 < argc) {
            if (command_i64(out, argv[++i], &min_length) != ST_OK) return ST_INVALID;
        } else {
            return command_fail(out, ERROR_SYNTAX);
        }
    }
    if ((flags & KV_LCS_IDX) && (flags & KV_LCS_LEN))
        return command_fail(out, "ERR If you want both the length and indexes, please just use IDX.");
    kv_build_lcs(out->body, argv[1], argv[2], flags, (uint64_t)MAX(min_length, 0));
    return command_is(out, KV_LCS, OP_READ);
}

#define READ  COMMAND_READONLY
#define WRITE COMMAND_WRITE
#define FAST  COMMAND_FAST

const struct command commands_string[] = {
    {"append", 3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_append},
    {"decr", 2, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_decr},
    {"decrby", 3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_decrby},
    {"get", 2, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_get},
    {"getdel", 2, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_getdel},
    {"getex", -2, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_getex},
    {"getrange", 4, SCOPE_SLOT, MERGE_NONE, READ, 1, 1, 1, build_getrange},
    {"getset", 3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_getset},
    {"incr", 2, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_incr},
    {"incrby", 3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_incrby},
    {"incrbyfloat", 3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST | COMMAND_EVALUATE, 1, 1, 1, build_incrbyfloat},
    {"lcs", -3, SCOPE_SLOT, MERGE_NONE, READ, 1, 2, 1, build_lcs},
    {"mget", -2, SCOPE_FANOUT, MERGE_BY_KEY, READ | FAST, 1, -1, 1, build_mget},
    {"mset", -3, SCOPE_FANOUT, MERGE_OK, WRITE, 1, -1, 2, build_mset},
    {"msetnx", -3, SCOPE_SLOT, MERGE_NONE, WRITE, 1, -1, 2, build_msetnx},
    {"psetex", 4, SCOPE_SLOT, MERGE_NONE, WRITE, 1, 1, 1, build_psetex},
    {"set", -3, SCOPE_SLOT, MERGE_NONE, WRITE, 1, 1, 1, build_set},
    {"setex", 4, SCOPE_SLOT, MERGE_NONE, WRITE, 1, 1, 1, build_setex},
    {"setnx", 3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_setnx},
    {"setrange", 4, SCOPE_SLOT, MERGE_NONE, WRITE, 1, 1, 1, build_setrange},
    {"strlen", 2, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_strlen},
    {"substr", 4, SCOPE_SLOT, MERGE_NONE, READ, 1, 1, 1, build_getrange},
    {.name = NULL},
};
