/* raft_vote.c - elections: who may campaign, who may be voted for, and when one has won.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   follower --(timer, nothing binds)--> pre-candidate --(quorum would vote)--> candidate --(quorum voted)--> leader
 *       ^------------- a leader, a higher term, or a lost (pre-)vote ---------------'                          |
 *       `------------------------------------- a higher term, no quorum, step down ----------------------------'
 *
 * A candidate's requests wait for the disk like votes do: its own vote is one, and its log as told must survive it. */
#include "consensus/raft_internal.h"

#define SYNCS_PER_ELECTION 4 /* the candidate's, the voters', and the first entry's, with some room */
/* Turns of replicas that lost their leader at the same time. Where syncs are slow a turn may end before the vote of the one
 * before is on its disk: that one's term is higher already, so it loses nothing to who asks for pre-votes then. */
#define TURNS_PER_ELECTION 8

uint64_t raft_election_timeout(const struct raft *r)
{
    return MAX(r->limits.election_ns, SYNCS_PER_ELECTION * r->liveness->sync_ns);
}

void raft_vote_timer(struct raft *r, uint64_t least_ns, uint64_t random_ns)
{
    r->election_ns = r->now_ns + least_ns + raft_random_below(r, random_ns);
}

/* A leader's followers lose it at the same moment. If they campaigned then, each would vote for itself, and a second round
 * would cost an election timeout: so they take turns, one vote's time apart, and whose turn is first differs by group, so
 * that the leaders of a dead store end up on all others. */
uint64_t raft_vote_turn_ns(const struct raft *r, store_addr_t lost)
{
    uint32_t voters = 0, own = 0;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct raft_peer *p = &r->peers[i];
        if (p->store == lost || !(p->roles & (RAFT_VOTER | RAFT_VOTER_OUT))) continue;
        if (p->id == r->id) own = voters;
        voters++;
    }
    uint64_t first = voters != 0 ? r->group_id % voters : 0;
    uint64_t turn = voters != 0 ? (own + voters - first) % voters : 0;
    return turn * raft_election_timeout(r) / TURNS_PER_ELECTION;
}

/* After a restart the promises made before bind still, but are forgotten. None can bind the only voter of a committed
 * configuration. If that is not known to be committed, a leader of the one before may count on us. */
bool raft_vote_silent(const struct raft *r)
{
    bool alone = raft_sole_voter(r) && r->config_count == 1 && r->configs[0].index <= r->commit;
    return r->now_ns < liveness_silent_until(r->liveness) && !alone;
}

/* A replica that the last configuration removes is needed as a candidate until that configuration is committed: it may
 * be the only one with the entry (dissertation, 4.2.2). It asks the voters of its last configuration like everyone. */
bool raft_vote_able(const struct raft *r)
{
    bool voter = false;
    for (uint32_t i = 0; i < r->config_count; i++) {
        const struct raft_member *m = raft_config_find(&r->configs[i].config, r->id);
        voter |= m != NULL && (m->roles & (RAFT_VOTER | RAFT_VOTER_OUT)) != 0;
    }
    return voter && !r->unfit && !(r->damaged && raft_sole_voter(r));
}

/* The promise is void if our log has an entry of a later term: its leader was elected, so the one of the promise had no
 * lease any more. And it is void once the leader committed an entry of its own while a committed configuration gives it
 * no vote: then it gave up its lease before it told anyone of that commit, and never gets it back (it refuses changes).
 * Otherwise nobody could follow a leader that was removed. */
static bool promise_outlived(const struct raft *r)
{
    if (raft_log_last_term(&r->log) > r->promise.term) return true;
    if (raft_log_term(&r->log, r->commit) != r->promise.term) return false;
    const struct raft_config_at *c = &r->configs[0]; /* the last committed */
    const struct raft_member *m = raft_config_find(&c->config, r->promise.leader);
    return m == NULL || !(m->roles & (RAFT_VOTER | RAFT_VOTER_OUT));
}

bool raft_vote_bound(const struct raft *r, uint64_t candidate)
{
    const struct raft_promise *p = &r->promise;
    return p->leader != 0 && p->leader != candidate && liveness_supports(r->liveness, p->store, p->epoch, r->now_ns) &&
           !promise_outlived(r);
}

static uint8_t suspect_flags(const struct raft *r)
{
    if (!r->suspect || MUTATION("suspect_votes_freely")) return 0;
    return RAFT_FLAG_SUSPECT | (r->damaged ? RAFT_FLAG_DAMAGED : 0);
}

/* ---- the candidate ---- */

enum outcome { UNDECIDED, WON, LOST };

/* One voter set: a quorum of clean votes, or all votes with fewer than a quorum of them from damaged logs. An entry
 * that was acknowledged is on a quorum: then one undamaged log of it has voted, and the candidate's is as long (README,
 * suspects). */
static enum outcome outcome_of_set(const struct raft *r, uint8_t role, bool *unanimous)
{
    unsigned voters = 0, clean = 0, granted = 0, refused = 0, damaged = 0;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct raft_peer *p = &r->peers[i];
        if (!(p->roles & role)) continue;
        voters++;
        if (p->vote == VOTE_REFUSED) refused++;
        if (p->vote != VOTE_GRANTED) continue;
        granted++;
        if (!(p->vote_flags & RAFT_FLAG_SUSPECT)) clean++;
        if (p->vote_flags & RAFT_FLAG_DAMAGED) damaged++;
    }
    if (voters == 0 || clean >= raft_quorum_of(voters)) return WON;
    if (granted == voters && damaged < raft_quorum_of(voters)) {
        *unanimous = true;
        return WON;
    }
    return refused > voters - raft_quorum_of(voters) ? LOST : UNDECIDED;
}

static enum outcome outcome(const struct raft *r, bool *unanimous)
{
    bool by_all = false;
    enum outcome in = outcome_of_set(r, RAFT_VOTER, &by_all);
    enum outcome out = outcome_of_set(r, RAFT_VOTER_OUT, &by_all);
    /* "all" means all of both sets: a set won by clean votes alone vouches for itself, but not for the other's suspects
     */
    for (uint32_t i = 0; by_all && i < r->peer_count; i++)
        if ((r->peers[i].roles & (RAFT_VOTER | RAFT_VOTER_OUT)) && r->peers[i].vote != VOTE_GRANTED) return UNDECIDED;
    *unanimous = by_all;
    if (in == LOST || out == LOST) return LOST;
    return in == WON && out == WON ? WON : UNDECIDED;
}

static void decide(struct raft *r)
{
    bool unanimous = false;
    switch (outcome(r, &unanimous)) {
    case UNDECIDED: break;
    case LOST: /* the timer goes on: the next attempt comes when it would have come anyway */
        r->role = RAFT_FOLLOWER;
        raft_event(r, "vote_lost");
        raft_trace(r, RAFT_TRACE_FOLLOWER, NULL);
        break;
    case WON:
        if (r->role == RAFT_PRE_CANDIDATE) {
            raft_vote_campaign(r, false, false);
        } else {
            r->unanimous = unanimous;
            raft_become_leader(r);
        }
        break;
    }
}

static void ask(struct raft *r, const struct raft_peer *p)
{
    bool pre = r->role == RAFT_PRE_CANDIDATE;
    struct raft_message m = raft_message_to(r, pre ? RAFT_PRE_VOTE : RAFT_VOTE, p->id, p->store);
    m.term = pre ? r->term + 1 : r->term;
    m.index = r->log.last_index;
    m.log_term = raft_log_last_term(&r->log);
    if (r->vote_transfer && !pre) m.flags |= RAFT_FLAG_TRANSFER;
    if (pre) raft_send_before(r, &m);
    else raft_send_after(r, &m);
}

void raft_vote_campaign(struct raft *r, bool pre, bool transfer)
{
    ASSERT(r->role != RAFT_LEADER && raft_vote_able(r));
    if (pre) {
        r->leader = 0;
        r->leader_store = 0;
    } else {
        raft_set_term(r, r->term + 1);
        r->vote = r->id;
    }
    r->role = pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE;
    r->vote_transfer = transfer;
    r->floor = liveness_vote_bound(r->liveness);
    raft_vote_timer(r, raft_election_timeout(r), raft_election_timeout(r));
    raft_event(r, transfer ? "transfer" : "campaign");
    raft_trace(r, pre ? RAFT_TRACE_FOLLOWER : RAFT_TRACE_CANDIDATE, NULL);
    for (uint32_t i = 0; i < r->peer_count; i++) {
        struct raft_peer *p = &r->peers[i];
        p->vote = p->id == r->id ? VOTE_GRANTED : VOTE_NONE;
        p->vote_flags = p->id == r->id ? suspect_flags(r) : 0;
        p->suspect = false;
        p->voted_boot = 0;
        if (p->id != r->id && (p->roles & (RAFT_VOTER | RAFT_VOTER_OUT))) ask(r, p);
    }
    if (raft_sole_voter(r)) decide(r);
}

/* A follower whose promise is to a leader of an older term than its own can't follow that leader, nor anyone else: it
 * tells the leader, which then steps down and is elected anew. */
static void tell_promised_leader(struct raft *r)
{
    struct raft_message m = raft_message_to(r, RAFT_APPEND_REPLY, r->promise.leader, r->promise.store);
    m.flags = RAFT_FLAG_REJECT;
    m.epoch = r->promise.epoch;
    raft_send_after(r, &m);
}

void raft_vote_tick(struct raft *r)
{
    if (r->now_ns < r->election_ns || !raft_vote_able(r) || raft_vote_silent(r)) return;
    if (raft_vote_bound(r, r->id)) {
        if (r->promise.term < r->term) tell_promised_leader(r);
        raft_vote_timer(r, raft_election_timeout(r), raft_election_timeout(r));
        return;
    }
    raft_vote_campaign(r, !raft_sole_voter(r), false);
}

void raft_vote_on_reply(struct raft *r, const struct raft_message *m)
{
    struct raft_peer *p = raft_peer_find(r, m->from);
    enum raft_role asked = m->type == RAFT_PRE_VOTE_REPLY ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE;
    if (p == NULL || r->role != asked || !(p->roles & (RAFT_VOTER | RAFT_VOTER_OUT))) return;
    if (MUTATION("vote_counted_twice") && p->vote == VOTE_GRANTED)
        for (uint32_t i = 0; i < r->peer_count; i++)
            if (r->peers[i].vote == VOTE_NONE) {
                r->peers[i].vote = VOTE_GRANTED;
                decide(r);
                return;
            }
    if (p->vote != VOTE_NONE) return;
    p->vote = m->flags & RAFT_FLAG_REJECT ? VOTE_REFUSED : VOTE_GRANTED;
    p->vote_flags = m->flags & (RAFT_FLAG_SUSPECT | RAFT_FLAG_DAMAGED);
    if (p->vote == VOTE_GRANTED && m->bound > r->floor) r->floor = m->bound;
    if (m->flags & RAFT_FLAG_SUSPECT) p->voted_boot = m->read_seq;
    decide(r);
}

/* ---- the voter ---- */

static bool up_to_date(const struct raft *r, const struct raft_message *m)
{
    uint64_t term = raft_log_last_term(&r->log);
    return m->log_term > term || (m->log_term == term && m->index >= r->log.last_index);
}

/* Is there a leader that we should not help to depose? */
static bool protects_leader(const struct raft *r, const struct raft_message *m)
{
    if (m->flags & RAFT_FLAG_TRANSFER) return false; /* it agreed */
    /* an entry of a later term than the promise's: as in promise_outlived */
    if (m->log_term <= r->promise.term && raft_vote_bound(r, m->from)) return true;
    if (r->role == RAFT_LEADER) {
        uint64_t active = raft_activity_quorum(r);
        return active == NEVER || r->now_ns < active + raft_election_timeout(r);
    }
    return r->leader != 0 && r->leader != m->from && r->leader_heard_ns != 0 &&
           r->now_ns < r->leader_heard_ns + raft_election_timeout(r);
}

static void answer(struct raft *r, const struct raft_message *m, bool grant)
{
    bool pre = m->type == RAFT_PRE_VOTE;
    struct raft_message reply = raft_message_to(r, pre ? RAFT_PRE_VOTE_REPLY : RAFT_VOTE_REPLY, m->from, m->from_store);
    reply.term = pre && grant ? m->term : r->term;
    reply.flags = (uint8_t)((grant ? 0 : RAFT_FLAG_REJECT) | suspect_flags(r));
    if (reply.flags & RAFT_FLAG_SUSPECT) reply.read_seq = r->liveness->options.boot_count;
    reply.bound = MUTATION("limit_not_in_votes") ? 0 : liveness_vote_bound(r->liveness);
    if (pre || MUTATION("vote_not_persisted_first")) raft_send_before(r, &reply);
    else raft_send_after(r, &reply);
}

/* Somebody found no leader, and we refuse because of a promise. Should the one promised to not lead any more (its
 * RELEASE was lost), it hears of our promise now and releases us (raft_release_stranger). */
static void remind_promised_leader(struct raft *r)
{
    if (!raft_vote_bound(r, r->id) || r->promise.term != r->term) return;
    struct raft_message m = raft_message_to(r, RAFT_BEAT_REPLY, r->promise.leader, r->promise.store);
    m.index = r->verified;
    m.commit = r->commit;
    m.epoch = r->promise.epoch;
    raft_send_after(r, &m);
}

/* Whoever is asked answers, whatever its own configuration says of it: the candidate's may be newer, and the candidate
 * counts only the voters of its own. So learners are never asked, and a learner just promoted is no obstacle. */
void raft_vote_on_request(struct raft *r, const struct raft_message *m)
{
    bool pre = m->type == RAFT_PRE_VOTE;
    bool shielded = raft_vote_silent(r) || protects_leader(r, m);
    if (pre) {
        if (shielded && r->promise.leader != m->from) remind_promised_leader(r);
        answer(r, m, m->term > r->term && !shielded && up_to_date(r, m));
        return;
    }
    if (m->term > r->term) {
        if (shielded) return; /* not even its term: that would depose the leader */
        raft_become_follower(r, m->term, 0, 0);
    }
    bool free = r->vote == 0 ? r->leader == 0 : r->vote == m->from;
    bool grant = m->term == r->term && free && !shielded && up_to_date(r, m);
    if (grant) {
        ASSERT(r->role != RAFT_LEADER);
        if (r->vote == 0) {
            r->vote = m->from;
            r->vote_changed = true;
        }
        raft_vote_timer(r, raft_election_timeout(r), raft_election_timeout(r));
    }
    answer(r, m, grant);
}
