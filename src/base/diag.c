/* diag.c - named events for people and machines, given to a sink.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"

#include <stdarg.h>
#include <stdio.h>

static diag_sink the_sink;
static void *the_ctx;
static enum diag_level the_lowest = DIAG_INFO;

void diag_set_sink(diag_sink sink, void *ctx, enum diag_level lowest)
{
    the_sink = sink;
    the_ctx = ctx;
    the_lowest = lowest;
}

bool diag_enabled(enum diag_level level) { return the_sink != NULL && level >= the_lowest; }

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
