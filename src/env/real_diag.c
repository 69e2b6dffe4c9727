/* real_diag.c - prints events to stderr, one line and one write each.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "env/real_internal.h"

static void print(void *ctx, enum diag_level level, const char *line)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char out[1200], when[32];
    struct timespec t;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    const char *name = (unsigned)level < ARRAY_COUNT(names) ? names[level] : "?";
    int n = snprintf(out, sizeof out - 1, "%s.%03ldZ %-5s %s", when, t.tv_nsec / 1000000, name, line);
    size_t size = n < 0 ? 0 : MIN((size_t)n, sizeof out - 2);
    out[size++] = '\n';
    int errnum = errno; /* an event must not disturb who reports it */
    ssize_t rc = write(STDERR_FILENO, out, size);
    (void)rc; /* there is nobody to tell */
    errno = errnum;
}

void env_real_diag_stderr(enum diag_level lowest) { diag_set_sink(print, NULL, lowest); }
