/* raft_snapshot.c - a peer that needs what the log no longer has gets the state instead.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The raft decides that one is needed (RAFT_FETCH_SNAPSHOT) and what follows; the driver moves the chunks. While a
 * snapshot is on its way the peer gets beats, so that its promise stays fresh, but no appends. */
#include "consensus/raft_internal.h"

void raft_snapshot_begun(struct raft *r, uint64_t to, uint64_t index, uint64_t term)
{
    ASSERT(r->started);
    struct raft_peer *p = raft_peer_find(r, to);
    if (r->role != RAFT_LEADER || p == NULL || p->state != PEER_SNAPSHOT) return;
    p->snapshot_index = index;
    struct raft_message m = raft_message_to(r, RAFT_SNAPSHOT, p->id, p->store);
    m.index = index;
    m.log_term = term;
    m.commit = r->commit;
    raft_send_before(r, &m);
}

static void resume(struct raft *r, struct raft_peer *p, bool at_once)
{
    p->state = PEER_PROBE;
    p->snapshot_index = 0;
    p->next = MAX(p->match + 1, MIN(p->next, r->log.last_index + 1));
    p->probe_sent = !at_once; /* else the timer probes, and finds that a snapshot is needed again */
    p->timer_ns = r->now_ns + p->backoff_ns;
}

void raft_snapshot_ended(struct raft *r, uint64_t now_ns, uint64_t to, bool installed)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    struct raft_peer *p = raft_peer_find(r, to);
    if (r->role != RAFT_LEADER || p == NULL || p->state != PEER_SNAPSHOT) return;
    if (installed && p->snapshot_index >= p->next) p->next = p->snapshot_index + 1;
    resume(r, p, installed);
    raft_check(r);
}

bool raft_snapshot_wanted(const struct raft *r, uint64_t index, uint64_t term)
{
    bool has = index <= r->log.last_index && raft_log_term(&r->log, index) == term;
    return r->role == RAFT_FOLLOWER && index > r->commit && !has;
}

/* Follower: the driver sees the offer too, and prepares for the chunks unless it already has that much. */
void raft_snapshot_on_offer(struct raft *r, const struct raft_message *m)
{
    if (!raft_heard_leader(r, m)) return;
    if (raft_snapshot_wanted(r, m->index, m->log_term)) return; /* answered by raft_restored */
    struct raft_message reply = raft_message_to(r, RAFT_SNAPSHOT_REPLY, m->from, m->from_store);
    raft_commit_to(r, m->index); /* we have that entry: a snapshot holds only what is committed */
    r->verified = MAX(r->verified, r->commit);
    reply.index = r->commit;
    reply.commit = r->commit;
    if (r->suspect) {
        reply.flags = RAFT_FLAG_SUSPECT | (r->damaged ? RAFT_FLAG_DAMAGED : 0);
        reply.read_seq = r->liveness->options.boot_count;
    } else {
        reply.epoch = raft_promise_make(r);
    }
    raft_send_after(r, &reply);
}

void raft_snapshot_on_reply(struct raft *r, const struct raft_message *m)
{
    struct raft_peer *p = raft_peer_find(r, m->from);
    if (r->role != RAFT_LEADER || p == NULL) return;
    raft_append_heard(r, p, m);
    if (!(m->flags & RAFT_FLAG_REJECT)) raft_append_advance(r, p, m->index);
    if (p->state == PEER_SNAPSHOT && m->index >= p->snapshot_index) resume(r, p, !(m->flags & RAFT_FLAG_REJECT));
    raft_commit_advance(r);
    raft_transfer_check(r);
}
