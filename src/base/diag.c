/* diag.c - named events for people and machines, given to a sink.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static diag_sink the_sink;
static void *the_ctx;
static _Atomic int the_lowest = DIAG_INFO;

void diag_set_sink(diag_sink sink, void *ctx, enum diag_level lowest)
{
    the_sink = sink;
    the_ctx = ctx;
    diag_set_lowest(lowest);
}

void diag_set_lowest(enum diag_level lowest) { atomic_store_explicit(&the_lowest, (int)lowest, memory_order_relaxed); }

bool diag_enabled(enum diag_level level)
{
    return the_sink != NULL && (int)level >= atomic_load_explicit(&the_lowest, memory_order_relaxed);
}

void diag(enum diag_level level, const char *fmt, ...)
{
    char line[1024];
    if (!diag_enabled(level)) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    the_sink(the_ctx, level, line);
}
