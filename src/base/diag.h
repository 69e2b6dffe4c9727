/* diag.h - named events for people and machines, given to a sink.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    "raft.role node=1 term=3 role=leader": one name, then key=value pairs. The process's sink prints them with
 *             a time; the simulator hashes them. Only rare events: never one per request.
 * Threading:  any thread; the sink must allow that. The sink is set once at start; without one nothing is printed. */
#ifndef CAIRN_BASE_DIAG_H
#define CAIRN_BASE_DIAG_H

#include <stdbool.h>

enum diag_level { DIAG_DEBUG, DIAG_INFO, DIAG_WARN, DIAG_ERROR };

typedef void (*diag_sink)(void *ctx, enum diag_level level, const char *line);

void diag_set_sink(diag_sink sink, void *ctx, enum diag_level lowest);
void diag_set_lowest(enum diag_level lowest); /* any time, any thread */
bool diag_enabled(enum diag_level level);
void diag(enum diag_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
