/* cmd_hash.c - the hash commands: their rows, and how their arguments become ops.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp/command_build.h"

#define FIELD_BUILD(name, op)                           \
    BUILD(name)                                         \
    {                                                   \
        kv_build_key_rest(out->body, argv[1], argv[2]); \
        return command_is(out, op, OP_READ);            \
    }

FIELD_BUILD(build_hget, KV_HGET)
FIELD_BUILD(build_hexists, KV_HEXISTS)
FIELD_BUILD(build_hstrlen, KV_HSTRLEN)

BUILD(build_hset)
{
    if (argc % 2 != 0) return command_fail_arity(out, "hset");
    kv_build_hset(out->body, argv[1], argv + 2, argc / 2 - 1);
    return command_is(out, KV_HSET, 0);
}

BUILD(build_hmset)
{
    if (argc % 2 != 0) return command_fail_arity(out, "hmset");
    kv_build_hset(out->body, argv[1], argv + 2, argc / 2 - 1);
    return command_is(out, KV_HMSET, 0);
}

BUILD(build_hsetnx)
{
    kv_build_hset(out->body, argv[1], argv + 2, 1);
    return command_is(out, KV_HSETNX, 0);
}

BUILD(build_hmget)
{
    kv_build_fields(out->body, argv[1], argv + 2, argc - 2);
    return command_is(out, KV_HMGET, OP_READ);
}

BUILD(build_hdel)
{
    kv_build_fields(out->body, argv[1], argv + 2, argc - 2);
    return command_is(out, KV_HDEL, 0);
}

BUILD(build_hlen)
{
    kv_build_key(out->body, argv[1]);
    return command_is(out, KV_HLEN, OP_READ);
}

static enum status build_all(const struct bytes *argv, struct command_op *out, uint8_t parts)
{
    kv_build_key_u8(out->body, argv[1], parts);
    return command_is(out, KV_HGETALL, OP_READ);
}

BUILD(build_hgetall) { return build_all(argv, out, KV_HASH_FIELDS | KV_HASH_VALUES); }
BUILD(build_hkeys) { return build_all(argv, out, KV_HASH_FIELDS); }
BUILD(build_hvals) { return build_all(argv, out, KV_HASH_VALUES); }

BUILD(build_hincrby)
{
    int64_t delta;
    if (command_i64(out, argv[3], &delta) != ST_OK) return ST_INVALID;
    kv_build_hincr(out->body, argv[1], argv[2], delta);
    return command_is(out, KV_HINCR, 0);
}

BUILD(build_hincrbyfloat)
{
    bool infinite;
    if (!command_float_valid(argv[3], &infinite)) return command_fail(out, ERROR_FLOAT);
    if (infinite) return command_fail(out, "ERR value is NaN or Infinity");
    kv_build_hincr_float(out->body, argv[1], argv[2], argv[3]);
    return command_is(out, KV_HINCR_FLOAT, OP_EVALUATE);
}

BUILD(build_hrandfield)
{
    int64_t count = 0;
    uint8_t flags = 0;
    if (argc >= 3) {
        if (command_i64(out, argv[2], &count) != ST_OK) return ST_INVALID;
        if (count == INT64_MIN)
            return command_fail(out, "ERR value is out of range, value must between -9223372036854775807 and "
                                     "9223372036854775807");
        if (argc > 4 || (argc == 4 && !command_word(argv[3], "withvalues"))) return command_fail(out, ERROR_SYNTAX);
        flags = argc == 4 ? KV_RAND_COUNT | KV_RAND_VALUES : KV_RAND_COUNT;
        if (count < -(int64_t)KV_RAND_REPEAT_MAX || (argc == 4 && count > INT64_MAX / 2))
            return command_fail(out, "ERR value is out of range");
    }
    kv_build_hrandfield(out->body, argv[1], out->random, flags, count);
    return command_is(out, KV_HRANDFIELD, OP_READ);
}

BUILD(build_hscan)
{
    uint64_t cursor, count;
    struct bytes pattern;
    if (command_cursor(out, argv[2], &cursor) != ST_OK) return ST_INVALID;
    if (command_scan_options(argv, argc, 3, out, &pattern, &count, NULL) != ST_OK) return ST_INVALID;
    kv_build_hscan(out->body, argv[1], cursor, count, pattern);
    return command_is(out, KV_HSCAN, OP_READ);
}

#define READ  COMMAND_READONLY
#define WRITE COMMAND_WRITE
#define FAST  COMMAND_FAST

const struct command commands_hash[] = {
    {"hdel", -3, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_hdel},
    {"hexists", 3, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_hexists},
    {"hget", 3, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_hget},
    {"hgetall", 2, SCOPE_SLOT, MERGE_NONE, READ, 1, 1, 1, build_hgetall},
    {"hincrby", 4, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_hincrby},
    {"hincrbyfloat", 4, SCOPE_SLOT, MERGE_NONE, WRITE | FAST | COMMAND_EVALUATE, 1, 1, 1, build_hincrbyfloat},
    {"hkeys", 2, SCOPE_SLOT, MERGE_NONE, READ, 1, 1, 1, build_hkeys},
    {"hlen", 2, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_hlen},
    {"hmget", -3, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_hmget},
    {"hmset", -4, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_hmset},
    {"hrandfield", -2, SCOPE_SLOT, MERGE_NONE, READ | COMMAND_RANDOM, 1, 1, 1, build_hrandfield},
    {"hscan", -3, SCOPE_SLOT, MERGE_NONE, READ, 1, 1, 1, build_hscan},
    {"hset", -4, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_hset},
    {"hsetnx", 4, SCOPE_SLOT, MERGE_NONE, WRITE | FAST, 1, 1, 1, build_hsetnx},
    {"hstrlen", 3, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_hstrlen},
    {"hvals", 2, SCOPE_SLOT, MERGE_NONE, READ, 1, 1, 1, build_hvals},
    {.name = NULL},
};
