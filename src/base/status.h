/* status.h - how a function says what went wrong.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   one enum for everything that disk, network, clients, clocks or load can cause, and a fixed-size text that
 *            explains it. A programmer's mistake is an ASSERT instead.
 * Threading: values only; any thread. */
#ifndef CAIRN_BASE_STATUS_H
#define CAIRN_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum status {
    ST_OK = 0,
    ST_NOT_FOUND,       /* the thing asked for does not exist */
    ST_NOT_READY,       /* the data is not in memory: fetch it and ask again */
    ST_INVALID,         /* the caller's input is wrong; the text says what */
    ST_UNSUPPORTED,     /* understood, but not offered here; the text names it */
    ST_EXISTS,          /* already there */
    ST_CORRUPT,         /* bytes from disk or network fail their check */
    ST_IO,              /* the operating system refused; the text has its word */
    ST_DISK_FULL,       /* no space left */
    ST_NO_MEMORY,       /* a memory bound was reached */
    ST_OVERLOADED,      /* a queue is full: nothing was done, try later */
    ST_BUSY,            /* refused now instead of stalling; try again soon */
    ST_NOT_LEADER,      /* this replica does not order writes now */
    ST_UNAVAILABLE,     /* not executed: no quorum, no leader, or no route in time */
    ST_OUTCOME_UNKNOWN, /* may or may not have been executed */
    ST_STALE,           /* from an older term, epoch or version */
    ST_TIMEOUT,         /* the deadline passed */
    ST_CLOSED,          /* the connection, or the thing, is closed */
    ST_TOO_LARGE,       /* above a limit; the text names the limit */
    ST_VERSION,         /* a format or semantics version this build does not know */
    ST_DENIED,          /* not allowed */
    ST_STOPPED,         /* shutting down */
    ST_COUNT
};

/* Holds a status and its text; never allocates. Zero-initialised means no error. */
struct error {
    enum status status;
    char text[400];
};

/* The stable lower-case name of a status, e.g. "not_leader". */
const char *status_name(enum status st);

/* Writes the text (cut to fit) and returns st, so that `return error_set(err, …)` reads well. err may be NULL. */
enum status error_set(struct error *err, enum status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__ /* which does not see into other files, and would take any status for possible */
#define error_set(err, st, ...) ((void)(error_set)(err, st, __VA_ARGS__), (st))
#endif

/* Puts a text before the one already there. Returns the status kept. err may be NULL, then st_fallback is returned. */
enum status error_prefix(struct error *err, enum status st_fallback, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Fails the process with file, line and the condition. On in every build: state that must never be is not run on. */
#define ASSERT(cond) ((cond) ? (void)0 : assert_fail(__FILE__, __LINE__, #cond))
_Noreturn void assert_fail(const char *file, int line, const char *condition);

/* Called before abort, e.g. by the simulator to print the seed. May be NULL. Set once at start. */
extern void (*assert_hook)(const char *file, int line, const char *condition);

#define ARRAY_COUNT(a)               (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, field) ((type *)(void *)((char *)(p)-offsetof(type, field)))
#ifndef MIN /* <sys/param.h> has the same two */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

#endif
