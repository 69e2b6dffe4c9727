/* cmd_bit.c - the bitmap commands: their rows, and how their arguments become ops.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "wire/resp/command_build.h"

#define FIELDS_MAX 4096u /* operations of one BITFIELD */

static bool bit_offset(struct bytes arg, uint64_t *out)
{
    int64_t v;
    if (!bytes_to_i64(arg, &v) || v < 0 || (uint64_t)v >= KV_STRING_MAX * 8) return false;
    *out = (uint64_t)v;
    return true;
}

BUILD(build_getbit)
{
    uint64_t offset;
    if (!bit_offset(argv[2], &offset)) return command_fail(out, ERROR_BIT_OFFSET);
    kv_build_key_i64(out->body, argv[1], (int64_t)offset);
    return command_is(out, KV_GETBIT, OP_READ);
}

BUILD(build_setbit)
{
    uint64_t offset;
    int64_t bit;
    if (!bit_offset(argv[2], &offset)) return command_fail(out, ERROR_BIT_OFFSET);
    if (!bytes_to_i64(argv[3], &bit) || bit < 0 || bit > 1)
        return command_fail(out, "ERR bit is not an integer or out of range");
    kv_build_setbit(out->body, argv[1], offset, (uint8_t)bit);
    return command_is(out, KV_SETBIT, 0);
}

static bool take_unit(struct bytes arg, uint8_t *flags)
{
    if (command_word(arg, "bit")) *flags |= KV_BIT_UNIT;
    return (*flags & KV_BIT_UNIT) || command_word(arg, "byte");
}

BUILD(build_bitcount)
{
    uint8_t flags = 0;
    int64_t start = 0, end = 0;
    if (argc == 3 || argc > 5) return command_fail(out, ERROR_SYNTAX);
    if (argc > 3) {
        if (command_i64(out, argv[2], &start) != ST_OK || command_i64(out, argv[3], &end) != ST_OK) return ST_INVALID;
        flags = KV_BIT_START | KV_BIT_END;
    }
    if (argc == 5 && !take_unit(argv[4], &flags)) return command_fail(out, ERROR_SYNTAX);
    kv_build_bitcount(out->body, argv[1], flags, start, end);
    return command_is(out, KV_BITCOUNT, OP_READ);
}

BUILD(build_bitpos)
{
    uint8_t flags = 0;
    int64_t bit, start = 0, end = 0;
    if (command_i64(out, argv[2], &bit) != ST_OK) return ST_INVALID;
    if (bit != 0 && bit != 1) return command_fail(out, "ERR The bit argument must be 1 or 0.");
    if (argc > 6) return command_fail(out, ERROR_SYNTAX);
    if (argc > 3) {
        if (command_i64(out, argv[3], &start) != ST_OK) return ST_INVALID;
        flags |= KV_BIT_START;
    }
    if (argc == 6 && !take_unit(argv[5], &flags)) return command_fail(out, ERROR_SYNTAX);
    if (argc > 4) {
        if (command_i64(out, argv[4], &end) != ST_OK) return ST_INVALID;
        flags |= KV_BIT_END;
    }
    kv_build_bitpos(out->body, argv[1], flags, (uint8_t)bit, start, end);
    return command_is(out, KV_BITPOS, OP_READ);
}

BUILD(build_bitop)
{
    static const char *const names[] = {"and", "or", "xor", "not"};
    for (size_t op = 0; op < ARRAY_COUNT(names); op++) {
        if (!command_word(argv[1], names[op])) continue;
        if (op == KV_BITOP_NOT && argc != 4)
            return command_fail(out, "ERR BITOP NOT must be called with a single source key.");
        kv_build_bitop(out->body, (uint8_t)op, argv + 2, argc - 2);
        return command_is(out, KV_BITOP, 0);
    }
    return command_fail(out, ERROR_SYNTAX);
}

static bool field_type(struct bytes arg, struct kv_field *f)
{
    int64_t bits;
    if (arg.n < 2 || (arg.p[0] != 'i' && arg.p[0] != 'u')) return false;
    f->is_signed = arg.p[0] == 'i';
    if (!bytes_to_i64(bytes_of(arg.p + 1, arg.n - 1), &bits)) return false;
    f->bits = (uint8_t)bits;
    return bits >= 1 && bits <= 63 + f->is_signed;
}

/* A bit, or "#n": the n-th field of this type. */
static bool field_offset(struct bytes arg, struct kv_field *f)
{
    int64_t v;
    bool numbered = arg.n != 0 && arg.p[0] == '#';
    if (numbered) arg = bytes_of(arg.p + 1, arg.n - 1);
    if (!bytes_to_i64(arg, &v) || v < 0) return false;
    if (numbered && v > (int64_t)(KV_STRING_MAX * 8)) return false;
    f->offset = (uint64_t)v * (numbered ? f->bits : 1);
    return f->offset < KV_STRING_MAX * 8 && (f->op == KV_FIELD_GET || f->offset + f->bits <= KV_STRING_MAX * 8);
}

static enum status take_fields(const struct bytes *argv, size_t argc, struct command_op *out, struct kv_field *fields,
                               size_t *out_count, bool *out_write)
{
    uint8_t overflow = KV_OVERFLOW_WRAP;
    size_t n = 0;
    for (size_t i = 2; i < argc;) {
        struct kv_field f = {.overflow = overflow};
        size_t left = argc - i - 1;
        if (command_word(argv[i], "overflow") && left >= 1) {
            static const char *const names[] = {"wrap", "sat", "fail"};
            for (overflow = 0; overflow < 3 && !command_word(argv[i + 1], names[overflow]);) overflow++;
            if (overflow == 3) return command_fail(out, "ERR Invalid OVERFLOW type specified");
            i += 2;
            continue;
        }
        if (command_word(argv[i], "get") && left >= 2) {
            f.op = KV_FIELD_GET;
        } else if (command_word(argv[i], "set") && left >= 3) {
            f.op = KV_FIELD_SET;
        } else if (command_word(argv[i], "incrby") && left >= 3) {
            f.op = KV_FIELD_INCR;
        } else {
            return command_fail(out, ERROR_SYNTAX);
        }
        if (!field_type(argv[i + 1], &f))
            return command_fail(out, "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not "
                                     "supported but i64 is.");
        if (!field_offset(argv[i + 2], &f)) return command_fail(out, ERROR_BIT_OFFSET);
        if (f.op != KV_FIELD_GET) {
            *out_write = true;
            if (command_i64(out, argv[i + 3], &f.value) != ST_OK) return ST_INVALID;
        }
        if (n == FIELDS_MAX) return command_fail(out, "ERR not executed: more than %u operations", FIELDS_MAX);
        fields[n++] = f;
        i += f.op == KV_FIELD_GET ? 3 : 4;
    }
    *out_count = n;
    return ST_OK;
}

static enum status build_fields(const struct bytes *argv, size_t argc, struct command_op *out, bool read_only)
{
    size_t n = 0;
    bool write = false;
    struct kv_field *fields = mem_alloc(MIN(argc, FIELDS_MAX) * sizeof *fields);
    enum status st = take_fields(argv, argc, out, fields, &n, &write);
    if (st == ST_OK && write && read_only) st = command_fail(out, "ERR BITFIELD_RO only supports the GET subcommand");
    if (st == ST_OK) {
        kv_build_bitfield(out->body, argv[1], fields, n);
        command_is(out, write ? KV_BITFIELD : KV_BITFIELD_RO, write ? 0 : OP_READ);
    }
    mem_free(fields);
    return st;
}

BUILD(build_bitfield) { return build_fields(argv, argc, out, false); }
BUILD(build_bitfield_ro) { return build_fields(argv, argc, out, true); }

#define READ  COMMAND_READONLY
#define WRITE COMMAND_WRITE
#define FAST  COMMAND_FAST

const struct command commands_bit[] = {
    {"bitcount", -2, SCOPE_SLOT, MERGE_NONE, READ, 1, 1, 1, build_bitcount},
    {"bitfield", -2, SCOPE_SLOT, MERGE_NONE, WRITE, 1, 1, 1, build_bitfield},
    {"bitfield_ro", -2, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_bitfield_ro},
    {"bitop", -4, SCOPE_SLOT, MERGE_NONE, WRITE, 2, -1, 1, build_bitop},
    {"bitpos", -3, SCOPE_SLOT, MERGE_NONE, READ, 1, 1, 1, build_bitpos},
    {"getbit", 3, SCOPE_SLOT, MERGE_NONE, READ | FAST, 1, 1, 1, build_getbit},
    {"setbit", 4, SCOPE_SLOT, MERGE_NONE, WRITE, 1, 1, 1, build_setbit},
    {.name = NULL},
};
