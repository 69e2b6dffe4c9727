/* status.c - names and texts of errors; the failing assertion.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void (*assert_hook)(const char *file, int line, const char *condition);

const char *status_name(enum status st)
{
    static const char *const names[ST_COUNT] = {
        "ok",        "not_found", "not_ready",  "invalid", "unsupported", "exists",      "corrupt",         "io",
        "disk_full", "no_memory", "overloaded", "busy",    "not_leader",  "unavailable", "outcome_unknown", "stale",
        "timeout",   "closed",    "too_large",  "version", "denied",      "stopped",
    };
    return (unsigned)st < ST_COUNT ? names[st] : "?";
}

enum status(error_set)(struct error *err, enum status st, const char *fmt, ...)
{
    if (err == NULL) return st;
    va_list args;
    va_start(args, fmt);
    err->status = st;
    vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    return st;
}

enum status error_prefix(struct error *err, enum status st_fallback, const char *fmt, ...)
{
    if (err == NULL) return st_fallback;
    char old[sizeof err->text];
    va_list args;
    memcpy(old, err->text, sizeof old);
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text) snprintf(err->text + n, sizeof err->text - (size_t)n, "%s", old);
    return err->status != ST_OK ? err->status : st_fallback;
}

_Noreturn void assert_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
    if (assert_hook != NULL) assert_hook(file, line, condition);
    fflush(NULL);
    abort();
}
