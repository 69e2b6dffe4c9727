/* raft_check.c - the invariants of README.md that one replica can see by itself.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Costs O(members): it runs at the end of every step, in every build. The numbers are the README's. */
#include "consensus/raft_internal.h"

static void check_log(const struct raft *r)
{
    const struct raft_log *l = &r->log;
    ASSERT(l->base_index <= r->commit && r->commit <= l->last_index); /* 1 */
    ASSERT(r->persisted <= l->last_index && r->persist_next <= l->last_index + 1);
    ASSERT(r->persisted < r->persist_next);   /* 2: only what was handed out can be durable */
    ASSERT(raft_log_last_term(l) <= r->term); /* 3 */
    ASSERT((l->run_count == 0) == (l->last_index == l->base_index));
    if (l->run_count > 0) {
        ASSERT(l->runs[0].first == l->base_index + 1 && l->runs[l->run_count - 1].first <= l->last_index);
        ASSERT(l->runs[0].term >= l->base_term);
    }
    ASSERT(l->tail_first > l->base_index && l->tail_first <= l->last_index + 1);
    ASSERT(l->tail_first <= r->persisted + 1); /* what the disk does not have is in memory */
    ASSERT((l->tail_first == l->last_index + 1) == (l->tail_bytes == 0));
    if (l->tail_bytes != 0) {
        ASSERT(raft_log_peek(l, l->tail_first)->index == l->tail_first);
        ASSERT(raft_log_peek(l, l->last_index)->index == l->last_index);
    }
}

static void check_config(const struct raft *r)
{
    ASSERT(r->config_count > 0);
    for (uint32_t i = 1; i < r->config_count; i++) {
        ASSERT(r->configs[i].index > r->configs[i - 1].index);
        ASSERT(r->configs[i].index > r->commit); /* 4: the last committed one, and those after it */
    }
    const struct raft_config_at *c = &r->configs[r->config_count - 1];
    ASSERT(r->config_count == 1 || c->index <= r->log.last_index);
    ASSERT(c->config.count == r->peer_count);
    for (uint32_t i = 0; i < r->peer_count; i++) {
        ASSERT(r->peers[i].id == c->config.members[i].replica_id);
        ASSERT(r->peers[i].roles == c->config.members[i].roles);
    }
}

static void check_peer(const struct raft *r, const struct raft_peer *p)
{
    ASSERT(p->match < p->next && p->match <= r->log.last_index); /* 7 */
    ASSERT(p->next <= r->log.last_index + 1 || p->state != PEER_REPLICATE);
    ASSERT(p->inflight_count <= r->limits.inflight_count_max);
    ASSERT((p->inflight_count == 0) == (p->inflight_bytes == 0));
    ASSERT(p->inflight_count == 0 || p->state == PEER_REPLICATE);
    ASSERT(p->read_seq <= r->read_seq);
}

static void check_role(const struct raft *r)
{
    ASSERT(r->role == RAFT_FOLLOWER || raft_vote_able(r) || r->role == RAFT_LEADER);
    switch (r->role) {
    case RAFT_LEADER:
        ASSERT(r->leader == r->id && r->vote == r->id); /* 5 */
        ASSERT(r->own_first > 0 && r->own_first <= r->log.last_index);
        ASSERT(raft_log_last_term(&r->log) == r->term);
        ASSERT(r->commit < r->own_first || !r->suspect);
        ASSERT(r->read_count <= r->limits.reads_max && r->read_done_seq <= r->read_seq);
        for (uint32_t i = 0; i < r->peer_count; i++)
            if (r->peers[i].id != r->id) check_peer(r, &r->peers[i]);
        break;
    case RAFT_CANDIDATE: ASSERT(r->vote == r->id); /* fall through */
    case RAFT_PRE_CANDIDATE:
        ASSERT(r->leader == 0);
        ASSERT(!(r->damaged && raft_sole_voter(r))); /* 9 */
        break;
    case RAFT_FOLLOWER: ASSERT(r->leader != r->id); break;
    }
    if (r->role != RAFT_LEADER) ASSERT(r->read_count == 0 && r->transfer_to == 0);
    ASSERT(r->promise.leader == 0 || r->promise.term <= r->term); /* 6 */
    ASSERT(r->verified <= r->log.last_index);
}

void raft_check(const struct raft *r)
{
    check_log(r);
    check_config(r);
    check_role(r);
    /* 8: a lease only with an own entry committed, and never during or after a transfer */
    if (raft_lease_until(r) != 0) {
        ASSERT(r->role == RAFT_LEADER && r->commit >= r->own_first);
        ASSERT((r->transfer_to == 0 && !r->lease_void) || MUTATION("lease_kept_in_transfer"));
    }
}
