/* raft_transfer.c - leadership is handed over, or given up.
 * SPDX-License-Identifier: Apache-2.0
 *
 * TIMEOUT_NOW tells the target to campaign with voters that then ignore their promises to us. So the lease is off from
 * the moment a transfer begins, and, once TIMEOUT_NOW was sent, for the rest of our term: should the transfer fail, the
 * target (or the message) may be slow and not dead. A leader without a lease is of little use, so it then asks to be
 * elected anew: the next term has a lease of its own, and the late TIMEOUT_NOW is void in it. */
#include "consensus/raft_internal.h"

static void send_timeout_now(struct raft *r, struct raft_peer *p)
{
    struct raft_message m = raft_message_to(r, RAFT_TIMEOUT_NOW, p->id, p->store);
    r->lease_void = true;
    r->transfer_resend_ns = r->now_ns + r->limits.resend_ns;
    raft_send_before(r, &m);
}

void raft_transfer_check(struct raft *r)
{
    if (r->transfer_to == 0 || r->transfer_resend_ns != NEVER) return; /* none, or TIMEOUT_NOW was sent */
    struct raft_peer *p = raft_peer_find(r, r->transfer_to);
    if (p == NULL || p->suspect || p->match != r->log.last_index) return;
    send_timeout_now(r, p);
}

static void begin(struct raft *r, uint64_t to)
{
    r->transfer_to = to;
    r->transfer_deadline_ns = r->now_ns + r->limits.transfer_ns;
    r->transfer_resend_ns = NEVER;
    raft_event(r, "transfer_begun");
    raft_transfer_check(r);
}

enum status raft_transfer(struct raft *r, uint64_t now_ns, uint64_t to, struct error *err)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (r->role != RAFT_LEADER) return error_set(err, ST_NOT_LEADER, "not the leader");
    if (r->transfer_to != 0) return error_set(err, ST_BUSY, "a transfer is under way");
    const struct raft_peer *p = raft_peer_find(r, to);
    if (p == NULL || to == r->id || !(p->roles & RAFT_VOTER))
        return error_set(err, ST_INVALID, "the target of a transfer must be another voter");
    begin(r, to);
    raft_check(r);
    return ST_OK;
}

/* Our own configuration change has removed us. */
void raft_transfer_away(struct raft *r)
{
    const struct raft_peer *best = NULL;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct raft_peer *p = &r->peers[i];
        if (p->id == r->id || !(p->roles & RAFT_VOTER) || p->suspect) continue;
        if (best == NULL || p->match > best->match) best = p;
    }
    if (best == NULL) raft_step_down(r, r->now_ns, "removed");
    else begin(r, best->id);
}

void raft_transfer_tick(struct raft *r)
{
    if (r->transfer_to == 0) return;
    if (r->now_ns >= r->transfer_deadline_ns) {
        r->transfer_to = 0;
        raft_event(r, "transfer_failed");
        if (!raft_is_voter(r)) {
            raft_step_down(r, r->now_ns, "removed");
        } else if (r->lease_void) {
            raft_step_down(r, r->now_ns, "for_a_new_lease");
            if (raft_vote_able(r) && !raft_vote_silent(r)) raft_vote_campaign(r, false, false);
        }
    } else if (r->now_ns >= r->transfer_resend_ns) {
        struct raft_peer *p = raft_peer_find(r, r->transfer_to);
        if (p != NULL) send_timeout_now(r, p);
        else r->transfer_resend_ns = NEVER;
    }
}

void raft_transfer_on_timeout_now(struct raft *r, const struct raft_message *m)
{
    if (r->role == RAFT_LEADER || m->term != r->term || m->from != r->leader) return;
    if (!raft_vote_able(r) || raft_vote_silent(r) || r->suspect) return;
    if (r->promise.leader == m->from) r->promise = (struct raft_promise){0};
    raft_vote_campaign(r, false, true);
}

/* ---- giving up ---- */

void raft_step_down(struct raft *r, uint64_t now_ns, const char *reason)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (r->role != RAFT_LEADER) return;
    raft_event(r, reason);
    raft_become_follower(r, r->term, 0, 0);
    raft_check(r);
}

static void send_release(struct raft *r)
{
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct raft_peer *p = &r->peers[i];
        if (p->id == r->id) continue;
        struct raft_message m = raft_message_to(r, RAFT_RELEASE, p->id, p->store);
        m.term = r->release_term;
        raft_send_before(r, &m);
    }
    r->release_ns = r->now_ns + r->limits.election_ns;
}

/* Sent again until a leader of a later term shows itself: a follower that missed it would wait for us as long as our
 * store lives. */
void raft_release_begin(struct raft *r)
{
    r->release_term = r->term;
    send_release(r);
}

void raft_release_tick(struct raft *r)
{
    if (r->release_term == 0) r->release_ns = NEVER;
    else if (r->now_ns >= r->release_ns) send_release(r);
}

void raft_release_stranger(struct raft *r, const struct raft_message *m)
{
    struct raft_message release;
    if (r->role == RAFT_LEADER && r->term == m->term) return;
    if (raft_release_removed(m, &release)) raft_send_before(r, &release);
}

bool raft_release_removed(const struct raft_message *m, struct raft_message *out)
{
    bool reply = m->type == RAFT_APPEND_REPLY || m->type == RAFT_BEAT_REPLY || m->type == RAFT_SNAPSHOT_REPLY;
    if (!reply || m->epoch == 0) return false;
    *out = (struct raft_message){.type = RAFT_RELEASE,
                                 .from = m->to,
                                 .to = m->from,
                                 .from_store = m->to_store,
                                 .to_store = m->from_store,
                                 .term = m->term};
    return true;
}

void raft_release_on(struct raft *r, const struct raft_message *m)
{
    if (r->promise.leader == m->from && r->promise.term <= m->term) r->promise = (struct raft_promise){0};
    if (r->role != RAFT_FOLLOWER || r->leader != m->from || r->term != m->term) return;
    r->leader = 0;
    r->leader_store = 0;
    r->leader_heard_ns = 0;
    raft_vote_timer(r, 0, r->limits.election_ns); /* it leaves at once, so no need to wait for long */
}
