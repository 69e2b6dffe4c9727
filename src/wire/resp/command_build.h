/* command_build.h - what the data commands' builders share: parsing of arguments, and Redis's error texts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A builder returns ST_OK, or what command_fail returned. Threading: pure. */
#ifndef CAIRN_WIRE_RESP_COMMAND_BUILD_H
#define CAIRN_WIRE_RESP_COMMAND_BUILD_H

#include "model/kv_build.h"
#include "wire/resp/command.h"

#define BUILD(name)      static enum status name(const struct bytes *argv, size_t argc, struct command_op *out)

#define ERROR_SYNTAX     "ERR syntax error"
#define ERROR_INTEGER    "ERR value is not an integer or out of range"
#define ERROR_FLOAT      "ERR value is not a valid float"
#define ERROR_BIT_OFFSET "ERR bit offset is not an integer or out of range"
#define ERROR_CROSS_SLOT "CROSSSLOT Keys in request don't hash to the same slot"

/* Writes the error and returns ST_INVALID. */
enum status command_fail(struct command_op *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum status command_fail_arity(struct command_op *out, const char *name);

/* Sets opcode and flags, and returns ST_OK: the last line of a builder. */
static inline enum status command_is(struct command_op *out, uint16_t opcode, uint8_t flags)
{
    out->opcode = opcode;
    out->flags = flags;
    return ST_OK;
}

/* A 64-bit number, as Redis's getLongLongFromObjectOrReply. */
enum status command_i64(struct command_op *out, struct bytes arg, int64_t *value);
static inline bool command_word(struct bytes arg, const char *lower) { return bytes_equal_nocase(arg, lower); }

/* Is it a number for INCRBYFLOAT? */
bool command_float_valid(struct bytes arg, bool *out_infinite);

/* The time of SET, SETEX, GETEX, …: above 0, in range. `unit_ms`: 1 or 1000. */
enum status command_expiry(struct command_op *out, struct bytes arg, uint8_t mode, int64_t unit_ms, const char *name,
                           struct kv_when *when);
/* The latest relative time that can be added to any timestamp. */
#define RELATIVE_MS_MAX (INT64_MAX - ((int64_t)1 << 46))

/* [MATCH pattern] [COUNT count] [TYPE type] from argv[at] on. type NULL: the option is not allowed. */
enum status command_scan_options(const struct bytes *argv, size_t argc, size_t at, struct command_op *out,
                                 struct bytes *pattern, uint64_t *count, uint8_t *type);
enum status command_cursor(struct command_op *out, struct bytes arg, uint64_t *cursor);

#endif
