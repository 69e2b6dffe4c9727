/* command_build.c - what the data commands' builders share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp/command_build.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum status command_fail(struct command_op *out, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ASSERT(n >= 0);
    buf_put(out->error, text, MIN((size_t)n, sizeof text - 1));
    return ST_INVALID;
}

enum status command_fail_arity(struct command_op *out, const char *name)
{
    return command_fail(out, "ERR wrong number of arguments for '%s' command", name);
}

enum status command_i64(struct command_op *out, struct bytes arg, int64_t *value)
{
    return bytes_to_i64(arg, value) ? ST_OK : command_fail(out, ERROR_INTEGER);
}

bool command_float_valid(struct bytes arg, bool *out_infinite)
{
    char copy[5120];
    if (arg.n == 0 || arg.n >= sizeof copy || isspace(arg.p[0])) return false;
    memcpy(copy, arg.p, arg.n);
    copy[arg.n] = 0;
    char *end;
    errno = 0;
    long double v = strtold(copy, &end);
    *out_infinite = isinf(v) != 0;
    return (size_t)(end - copy) == arg.n && !isnan(v) && !(errno == ERANGE && (isinf(v) || fpclassify(v) == FP_ZERO));
}

enum status command_expiry(struct command_op *out, struct bytes arg, uint8_t mode, int64_t unit_ms, const char *name,
                           struct kv_when *when)
{
    int64_t v;
    if (command_i64(out, arg, &v) != ST_OK) return ST_INVALID;
    bool bad = v <= 0 || v > INT64_MAX / unit_ms;
    if (!bad && mode == KV_WHEN_RELATIVE && v * unit_ms > RELATIVE_MS_MAX) bad = true;
    if (bad) return command_fail(out, "ERR invalid expire time in '%s' command", name);
    *when = (struct kv_when){mode, v * unit_ms};
    return ST_OK;
}

enum status command_scan_options(const struct bytes *argv, size_t argc, size_t at, struct command_op *out,
                                 struct bytes *pattern, uint64_t *count, uint8_t *type)
{
    *pattern = BYTES_LIT("*");
    *count = 10;
    for (size_t i = at; i < argc; i += 2) {
        if (i + 1 == argc) return command_fail(out, ERROR_SYNTAX);
        struct bytes value = argv[i + 1];
        if (command_word(argv[i], "count")) {
            int64_t n;
            if (command_i64(out, value, &n) != ST_OK) return ST_INVALID;
            if (n < 1) return command_fail(out, ERROR_SYNTAX);
            *count = (uint64_t)n;
        } else if (command_word(argv[i], "match")) {
            *pattern = value;
        } else if (type != NULL && command_word(argv[i], "type")) {
            *type = command_word(value, "string") ? KV_STRING : command_word(value, "hash") ? KV_HASH : UINT8_MAX;
        } else {
            return command_fail(out, ERROR_SYNTAX);
        }
    }
    return ST_OK;
}

enum status command_cursor(struct command_op *out, struct bytes arg, uint64_t *cursor)
{
    while (arg.n > 1 && arg.p[0] == '0') arg = bytes_of(arg.p + 1, arg.n - 1);
    return bytes_to_u64(arg, cursor) ? ST_OK : command_fail(out, "ERR invalid cursor");
}
