/* rebuild.c - a replica whose rows are wrong gets others from its leader.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Found by a scrub, or by a row that can't be read. The replica is fenced: it serves and applies nothing, can't lead, and has
 * a row that says so (SYSTEM_FENCE), so that a restart forgets nothing. Its log and its votes are whole, so it goes on
 * voting and acknowledging. It asks the leader for a snapshot at or above what it had applied; that one replaces all rows at
 * once, and it goes on applying its own log from there. The row goes after the rows were replaced: a crash in between
 * rebuilds once more. It asks again each time after twice as long, at last every two minutes.
 *
 * Meanwhile its log grows with what the others write. While the store's log is small all of it is kept, and applied to the
 * new rows. Then the replica passes over what is committed: its applied index moves on although nothing is applied, for its
 * rows are to be replaced whole anyway, and the log before it can go. It asks for rows at or above that index from then on.
 * Committed entries that were applied elsewhere are what is passed over, so nothing is lost by it. */
#include <stdarg.h>
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "replica/host_internal.h"
#include "table/place.h"

#define REBUILDS_MAX   8
#define REBUILD_MIN_NS (2 * NS_PER_S)
#define REBUILD_MAX_NS (120 * NS_PER_S)
#define FENCED_NOTE_NS (30 * NS_PER_S)
#define PASS_NS        (10 * NS_PER_S)
#define UNFIT_NS       (300 * NS_PER_S) /* longer than between two words of a fenced replica */

enum { WANTS_ROWS = 2, FENCED = 3 };

static void fence_key(const struct replica *r, struct buf *key)
{
    row_system(key, r->partition_id, SYSTEM_FENCE, BYTES_LIT(""));
}

void replica_fence(struct replica *r, const char *fmt, ...)
{
    struct buf key = {0};
    char text[200];
    va_list args;
    if (r->stopped || r->installing) return; /* installing: all rows are being replaced anyway */
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    replica_stop(r, "%s", text);
    fence_key(r, &key);
    rows_put(r->host->rows, buf_view(&key), bytes_str(text));
    buf_deinit(&key);
    host_applied(r);
    host_flush_soon(r->host); /* a restart must not forget it */
    raft_set_unfit(r->raft, true);
    r->fenced = true;
    r->rebuilds = 0;
    r->rebuild_at_ns = 0;
}

void rebuild_load(struct replica *r, struct bytes text)
{
    snprintf(r->stopped_text, sizeof r->stopped_text, "%.*s", (int)MIN(text.n, 200), (const char *)text.p);
    r->stopped = r->fenced = true;
}

/* Is anybody there to be asked for rows? */
static bool rebuild_waits(const struct replica *r)
{
    struct raft_view view;
    if (!r->fenced || r->receive != NULL) return false;
    raft_view(r->raft, &view);
    return view.leader != 0 && view.leader != r->replica_id;
}

uint64_t rebuild_due(const struct replica *r)
{
    return rebuild_waits(r) ? MIN(r->rebuild_at_ns, r->pass_at_ns) : UINT64_MAX;
}

/* Not while rows are on their way: they would be older than what was passed over. A configuration has to be the last one
 * committed, so that the applied row can name it. */
static bool pass_over(struct replica *r, uint64_t now)
{
    struct raft_view view;
    if (now < r->pass_at_ns) return false;
    r->pass_at_ns = now + PASS_NS;
    if (r->jobs != 0 || r->installing || !host_log_pressed(r->host)) return false;
    raft_view(r->raft, &view);
    uint64_t term = raft_term_at(r->raft, view.commit);
    if (view.commit <= r->applied || term == 0 || !view.config_committed) return false;
    diag(DIAG_WARN, "replica.passed_over partition=%llu replica=%llu from=%llu to=%llu",
         (unsigned long long)r->partition_id, (unsigned long long)r->replica_id, (unsigned long long)r->applied + 1,
         (unsigned long long)view.commit);
    r->host->stats.passed_over += view.commit - r->applied;
    r->applied = view.commit;
    r->applied_term = term;
    r->applied_ts = r->last_ts = MAX(r->applied_ts, raft_hlc_floor(r->raft));
    r->applied_config = *view.config;
    r->applied_dirty = true;
    host_applied(r);
    prefetch_applied(r);
    raft_applied(r->raft, r->applied);
    return true;
}

void rebuild_tick(struct replica *r, uint64_t now)
{
    struct raft_view view;
    if (!rebuild_waits(r)) return;
    bool passed = pass_over(r, now);
    if (now < r->rebuild_at_ns && !passed) return;
    raft_view(r->raft, &view);
    bool wants = r->rebuilds < REBUILDS_MAX || passed || now >= r->rebuild_ask_ns; /* seldom, but without end */
    r->rebuild_at_ns = now + (r->rebuilds < REBUILDS_MAX ? MIN(REBUILD_MIN_NS << r->rebuilds, REBUILD_MAX_NS)
                                                         : FENCED_NOTE_NS);
    if (wants) {
        r->rebuilds++;
        r->rebuild_ask_ns = now + REBUILD_MAX_NS;
        diag(DIAG_WARN, "replica.rebuild partition=%llu replica=%llu attempt=%u", (unsigned long long)r->partition_id,
             (unsigned long long)r->replica_id, r->rebuilds);
    }
    scrub_send(r->host, view.leader_store, r, view.leader, &(struct scrub_report){.index = r->applied},
               wants ? WANTS_ROWS : FENCED);
}

void rebuild_asked(struct replica *r, uint64_t by, uint64_t applied, bool wants)
{
    struct raft_view view;
    size_t at = 0;
    raft_view(r->raft, &view);
    if (view.role != RAFT_LEADER || raft_config_find(view.config, by) == NULL) return;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        if (r->unfit[i].replica_id == by) {
            at = i;
            break;
        }
        if (r->unfit[i].until_ns < r->unfit[at].until_ns) at = i;
    }
    r->unfit[at].replica_id = by;
    r->unfit[at].until_ns = host_now(r->host) + UNFIT_NS;
    if (wants && r->applied >= applied && r->applied_term != 0) snapshot_start(r, by);
}

bool rebuild_unfit(const struct replica *r, uint64_t replica_id, uint64_t now)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (r->unfit[i].replica_id == replica_id && now < r->unfit[i].until_ns) return true;
    return false;
}

void rebuild_done(struct replica *r)
{
    struct buf key = {0};
    if (!r->fenced) return;
    fence_key(r, &key);
    rows_delete(r->host->rows, buf_view(&key));
    buf_deinit(&key);
    r->stopped = r->fenced = false;
    raft_set_unfit(r->raft, false);
    r->host->stats.rebuilt++;
    diag(DIAG_INFO, "replica.rebuilt partition=%llu replica=%llu index=%llu attempts=%u",
         (unsigned long long)r->partition_id, (unsigned long long)r->replica_id, (unsigned long long)r->applied,
         r->rebuilds);
    r->rebuilds = 0;
}
