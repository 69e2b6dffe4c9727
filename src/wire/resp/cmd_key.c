/* cmd_key.c - the commands on keys of every type, and on all keys: their rows, and how their arguments become ops.
 * SPDX-License-Identifier: Apache-2.0 */
#include "table/place.h"
#include "wire/resp/command_build.h"

#define KEY_BUILD(name, op, op_flags)         \
    BUILD(name)                               \
    {                                         \
        kv_build_key(out->body, argv[1]);     \
        return command_is(out, op, op_flags); \
    }

KEY_BUILD(build_type, KV_TYPE, OP_READ)
KEY_BUILD(build_persist, KV_PERSIST, 0)
KEY_BUILD(build_keys, KV_KEYS, OP_READ)

BUILD(build_del)
{
    kv_build_keys(out->body, argv + 1, argc - 1);
    return command_is(out, KV_DEL, 0);
}

BUILD(build_exists)
{
    kv_build_keys(out->body, argv + 1, argc - 1);
    return command_is(out, KV_EXISTS, OP_READ);
}

static enum status build_ttl_as(const struct bytes *argv, struct command_op *out, uint8_t mode)
{
    kv_build_key_u8(out->body, argv[1], mode);
    return command_is(out, KV_TTL, OP_READ);
}

BUILD(build_ttl) { return build_ttl_as(argv, out, KV_TTL_S); }
BUILD(build_pttl) { return build_ttl_as(argv, out, KV_TTL_MS); }
BUILD(build_expiretime) { return build_ttl_as(argv, out, KV_TTL_AT_S); }
BUILD(build_pexpiretime) { return build_ttl_as(argv, out, KV_TTL_AT_MS); }

static enum status expire_flags(const struct bytes *argv, size_t argc, struct command_op *out, uint8_t *flags)
{
    static const char *const names[] = {"nx", "xx", "gt", "lt"};
    for (size_t i = 3; i < argc; i++) {
        size_t f = 0;
        while (f < ARRAY_COUNT(names) && !command_word(argv[i], names[f])) f++;
        if (f == ARRAY_COUNT(names))
            return command_fail(out, "ERR Unsupported option %.*s", (int)MIN(argv[i].n, 128), (const char *)argv[i].p);
        *flags |= (uint8_t)(1u << f);
    }
    bool nx = *flags & KV_EXPIRE_NX, xx = *flags & KV_EXPIRE_XX, gt = *flags & KV_EXPIRE_GT, lt = *flags & KV_EXPIRE_LT;
    if (nx && (xx || gt || lt))
        return command_fail(out, "ERR NX and XX, GT or LT options at the same time are not compatible");
    if (gt && lt) return command_fail(out, "ERR GT and LT options at the same time are not compatible");
    return ST_OK;
}

/* Times may be negative or long ago: the key goes at once. */
static enum status build_expire_as(const struct bytes *argv, size_t argc, struct command_op *out, uint8_t mode,
                                   int64_t unit_ms, const char *name)
{
    uint8_t flags = 0;
    int64_t v;
    if (expire_flags(argv, argc, out, &flags) != ST_OK || command_i64(out, argv[2], &v) != ST_OK) return ST_INVALID;
    bool bad = v > INT64_MAX / unit_ms || v < INT64_MIN / unit_ms;
    if (!bad && mode == KV_WHEN_RELATIVE && v * unit_ms > RELATIVE_MS_MAX) bad = true;
    if (bad) return command_fail(out, "ERR invalid expire time in '%s' command", name);
    kv_build_expire(out->body, argv[1], flags, (struct kv_when){mode, v * unit_ms});
    return command_is(out, KV_EXPIRE, 0);
}

BUILD(build_expire) { return build_expire_as(argv, argc, out, KV_WHEN_RELATIVE, 1000, "expire"); }
BUILD(build_pexpire) { return build_expire_as(argv, argc, out, KV_WHEN_RELATIVE, 1, "pexpire"); }
BUILD(build_expireat) { return build_expire_as(argv, argc, out, KV_WHEN_ABSOLUTE, 1000, "expireat"); }
BUILD(build_pexpireat) { return build_expire_as(argv, argc, out, KV_WHEN_ABSOLUTE, 1, "pexpireat"); }

BUILD(build_rename)
{
    kv_build_two(out->body, argv[1], argv[2]);
    return command_is(out, KV_RENAME, 0);
}

BUILD(build_renamenx)
{
    kv_build_two(out->body, argv[1], argv[2]);
    return command_is(out, KV_RENAMENX, 0);
}

BUILD(build_copy)
{
    bool replace = false;
    for (size_t i = 3; i < argc; i++) {
        if (command_word(argv[i], "replace")) {
            replace = true;
        } else if (command_word(argv[i], "db") && i + 1 < argc) {
            int64_t db;
            if (command_i64(out, argv[++i], &db) != ST_OK) return ST_INVALID;
            if (db < INT32_MIN || db > INT32_MAX) return command_fail(out, ERROR_INTEGER);
            if (db < 0 || db > 15) return command_fail(out, "ERR DB index is out of range");
            if (db != 0) return command_fail(out, "ERR Copying to another database is not allowed in cluster mode");
        } else {
            return command_fail(out, ERROR_SYNTAX);
        }
    }
    if (bytes_equal(argv[1], argv[2])) return command_fail(out, "ERR source and destination objects are the same");
    kv_build_copy(out->body, argv[1], argv[2], replace);
    return command_is(out, KV_COPY, 0);
}

static enum status build_object_as(const struct bytes *argv, struct command_op *out, uint8_t question)
{
    kv_build_key_u8(out->body, argv[2], question);
    return command_is(out, KV_OBJECT, OP_READ);
}

BUILD(build_object_encoding) { return build_object_as(argv, out, KV_OBJECT_ENCODING); }
BUILD(build_object_refcount) { return build_object_as(argv, out, KV_OBJECT_REFCOUNT); }
BUILD(build_object_idletime) { return build_object_as(argv, out, KV_OBJECT_IDLETIME); }
BUILD(build_object_freq) { return build_object_as(argv, out, KV_OBJECT_FREQ); }

static enum status build_sort_as(const struct bytes *argv, size_t argc, struct command_op *out, bool read_only)
{
    struct bytes to = {0};
    bool store = false;
    for (size_t i = 2; i < argc; i++) {
        size_t left = argc - i - 1;
        int64_t v;
        if (command_word(argv[i], "asc") || command_word(argv[i], "desc") || command_word(argv[i], "alpha")) continue;
        if (command_word(argv[i], "limit") && left >= 2) {
            if (command_i64(out, argv[i + 1], &v) != ST_OK || command_i64(out, argv[i + 2], &v) != ST_OK)
                return ST_INVALID;
            i += 2;
        } else if (!read_only && command_word(argv[i], "store") && left >= 1) {
            to = argv[++i];
            store = true;
        } else if (command_word(argv[i], "by") && left >= 1) {
            struct bytes pattern = argv[++i];
            if (pattern.n != 0 && memchr(pattern.p, '*', pattern.n) != NULL)
                return command_fail(out, "ERR BY option of SORT denied in Cluster mode.");
        } else if (command_word(argv[i], "get") && left >= 1) {
            return command_fail(out, "ERR GET option of SORT denied in Cluster mode.");
        } else {
            return command_fail(out, ERROR_SYNTAX);
        }
    }
    if (!store) {
        kv_build_key(out->body, argv[1]);
        return command_is(out, KV_SORT, OP_READ);
    }
    if (key_slot(argv[1]) != key_slot(to)) return command_fail(out, ERROR_CROSS_SLOT);
    kv_build_two(out->body, argv[1], to);
    return command_is(out, KV_SORT_STORE, 0);
}

BUILD(build_sort) { return build_sort_as(argv, argc, out, false); }
BUILD(build_sort_ro) { return build_sort_as(argv, argc, out, true); }

BUILD(build_scan)
{
    uint64_t cursor, count;
    struct bytes pattern;
    uint8_t type = KV_NONE;
    if (command_cursor(out, argv[1], &cursor) != ST_OK) return ST_INVALID;
    if (command_scan_options(argv, argc, 2, out, &pattern, &count, &type) != ST_OK) return ST_INVALID;
    kv_build_scan(out->body, cursor, count, type, pattern);
    return command_is(out, KV_SCAN, OP_READ);
}

BUILD(build_dbsize) { return command_is(out, KV_DBSIZE, OP_READ); }

BUILD(build_randomkey)
{
    buf_put_u64(out->body, out->random);
    return command_is(out, KV_RANDOMKEY, OP_READ);
}

/* The door repeats the op, with the cursor that it answers. */
BUILD(build_flush)
{
    if (argc > 2 || (argc == 2 && !command_word(argv[1], "sync") && !command_word(argv[1], "async")))
        return command_fail(out, ERROR_SYNTAX);
    kv_build_flush(out->body, 0, 1000);
    return command_is(out, KV_FLUSH, 0);
}

#define READ  COMMAND_READONLY
#define WRITE COMMAND_WRITE
#define FAST  COMMAND_FAST
#define ALONE COMMAND_NO_MULTI

const struct command commands_key[] = {
    {"copy", -3, SCOPE_SLOT, MERGE_NONE, WRITE, 1, 2, 1, build_copy},
    {"dbsize", 1, SCOPE_ALL, MERGE_SUM, READ | FAST | ALONE, 0, 0, 0, build_dbsize},
    {"del", -2, SCOPE_FANOUT, MERGE_SUM, WRITE, 1, -1, 1, build_del},
    {"exists", -2, SCOPE_FANOUT, MERGE_SUM, READ | FAST, 1, -1, 1, build_exists},
    {"expire", -3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_expire},
    {"expireat", -3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_expireat},
    {"expiretime", 2, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_expiretime},
    {"flushall", -1, SCOPE_ALL, MERGE_OK, WRITE | ALONE, 0, 0, 0, build_flush},
    {"flushdb", -1, SCOPE_ALL, MERGE_OK, WRITE | ALONE, 0, 0, 0, build_flush},
    {"keys", 2, SCOPE_ALL, MERGE_NONE, READ | ALONE, 0, 0, 0, build_keys},
    {"object|encoding", 3, SCOPE_SLOT, MERGE_NONE, READ, 2, 2, 1, build_object_encoding},
    {"object|freq", 3, SCOPE_SLOT, MERGE_NONE, READ, 2, 2, 1, build_object_freq},
    {"object|idletime", 3, SCOPE_SLOT, MERGE_NONE, READ, 2, 2, 1, build_object_idletime},
    {"object|refcount", 3, SCOPE_SLOT, MERGE_NONE, READ, 2, 2, 1, build_object_refcount},
    {"persist", 2, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_persist},
    {"pexpire", -3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_pexpire},
    {"pexpireat", -3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_pexpireat},
    {"pexpiretime", 2, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_pexpiretime},
    {"pttl", 2, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_pttl},
    {"randomkey", 1, SCOPE_ALL, MERGE_NONE, READ | ALONE, 0, 0, 0, build_randomkey},
    {"rename", 3, SCOPE_SLOT, MERGE_NONE, WRITE, 1, 2, 1, build_rename},
    {"renamenx", 3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 2, 1, build_renamenx},
    {"scan", -2, SCOPE_ALL, MERGE_NONE, READ | ALONE, 0, 0, 0, build_scan},
    {"sort", -2, SCOPE_SLOT, MERGE_NONE, WRITE, 1, 1, 1, build_sort},
    {"sort_ro", -2, SCOPE_SLOT, MERGE_NONE, READ, 1, 1, 1, build_sort_ro},
    {"touch", -2, SCOPE_FANOUT, MERGE_SUM, READ | FAST, 1, -1, 1, build_exists},
    {"ttl", 2, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_ttl},
    {"type", 2, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_type},
    {"unlink", -2, SCOPE_FANOUT, MERGE_SUM, WRITE | FAST, 1, -1, 1, build_del},
    {.name = NULL},
};
