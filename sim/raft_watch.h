/* raft_watch.h - is what the rafts of a run commit ever taken back?
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:  watches every replica of every group at each step, by the raft's own tracer, for two properties of the Raft paper
 *           (figure 3): state machine safety (no two replicas commit different entries at one index) and leader completeness
 *           (who is elected has all that was committed in earlier terms). So a wrong commit is found when it happens, not only
 *           when a client happens to see it.
 * Method:   the term of an entry stands for the entry. Equal terms at one index mean equal logs up to there (log matching), so
 *           the newest index is enough.
 * Memory:   the harness's: 8 bytes an entry. */
#ifndef CAIRN_SIM_RAFT_WATCH_H
#define CAIRN_SIM_RAFT_WATCH_H

#include "consensus/raft.h"

struct raft_watch;
struct raft_watch *raft_watch_new(void);
/* A raft_trace_fn, but for ctx: the watch. Returns what was found wrong, the first time; else NULL. */
const char *raft_watch_event(struct raft_watch *w, const struct raft *r, enum raft_trace_kind kind);
uint64_t raft_watch_commits(const struct raft_watch *w); /* entries that were seen to commit */

#endif
