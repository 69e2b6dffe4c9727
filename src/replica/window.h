/* window.h - outcomes of recent ops, so that a retried op is applied once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    a partition keeps, per session, the results of ops whose answer the gateway has not confirmed yet. A retry
 *             finds its result here instead of being applied again. Replicated state: every replica computes the same
 *             windows from the log; they are rows (SYSTEM_WINDOW) in the same batch as the effects, and part of snapshots.
 * Bounds:     WINDOW_OUTCOMES_MAX outcomes a session, WINDOW_SESSIONS_MAX sessions a partition (the one used longest ago by
 *             log time goes first), WINDOW_RESULT_MAX bytes a result (longer: "executed, reply not kept").
 * Forgetting: `forgotten` is the highest log time at which a session was used that is not kept any more. An op of a session
 *             that is not known can have been applied before only at or below it. So an op made after its gate was told of that
 *             time or a later one (op.since) is new; any other is refused, and its gate told (docs/decisions/0005). A session
 *             that was forgotten may come back: what it did before is as unknown as ever, so its new window keeps the time.
 * Invariants: 1. a sequence below `resolved`, or of a forgotten session, is never answered "not executed".
 *             2. the content depends on applied ops alone.
 * Threading:  the store's shard. */
#ifndef CAIRN_REPLICA_WINDOW_H
#define CAIRN_REPLICA_WINDOW_H

#include "base/bytes.h"
#include "base/hlc.h"
#include "base/map.h"

#define WINDOW_OUTCOMES_MAX 4096
#define WINDOW_SESSIONS_MAX 1024
#define WINDOW_RESULT_MAX   256

struct windows {
    struct map sessions; /* session → struct window */
    uint32_t sessions_max;
    hlc_t forgotten; /* 0: nothing was */
    uint64_t
        generation; /* the index of the snapshot that they came with; rows of another one are left over from before it */
};

enum window_answer {
    WINDOW_NEW,
    WINDOW_KNOWN,
    WINDOW_TOO_OLD,
    WINDOW_FORGOTTEN, /* of a session that is not known, and may have been before */
};

/* sessions_max is the same on all replicas for ever: WINDOW_SESSIONS_MAX, but in tests. */
void windows_init(struct windows *w, uint32_t sessions_max);
void windows_deinit(struct windows *w);

/* Was this op applied before? WINDOW_KNOWN: *out is its result, borrowed until the next change. */
enum window_answer windows_find(const struct windows *w, uint64_t session, uint64_t sequence, hlc_t since,
                                struct bytes *out);
/* Remembers an outcome. Until windows_settle it can be undone. */
void windows_add(struct windows *w, uint64_t session, uint64_t sequence, struct bytes result);
void windows_undo(struct windows *w, uint64_t session, uint64_t sequence);
/* The entry is applied: forgets what `resolved` says, and outcomes beyond the bound. */
void windows_settle(struct windows *w, uint64_t session, uint64_t resolved, hlc_t ts);
/* Once all sessions of the entry are settled, so that none of them goes before one that was used longer ago: forgets those
 * beyond the bound. forgot (may be NULL) is told of each, so that its row is deleted. */
void windows_evict(struct windows *w, void (*forgot)(void *ctx, uint64_t session), void *ctx);

/* A session's row, but for the generation before it. */
void windows_encode(const struct windows *w, uint64_t session, struct buf *out);
bool windows_load(struct windows *w, uint64_t session, struct bytes row); /* false: malformed */
/* for (size_t i = 0; windows_each(w, &i, &session);) */
bool windows_each(const struct windows *w, size_t *at, uint64_t *out_session);

#endif
