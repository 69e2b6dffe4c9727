/* raft_beat.c - leases and read-index rounds: how a leader knows that it still leads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "consensus/raft_internal.h"

/* ---- leases ---- */

static uint64_t support_of(const struct raft *r, const struct raft_peer *p)
{
    if (p->id == r->id) return NEVER;
    return p->suspect ? 0 : liveness_until(r->liveness, p->store, p->epoch);
}

uint64_t raft_lease_until(const struct raft *r)
{
    if (r->role != RAFT_LEADER || r->commit < r->own_first) return 0;
    if (!MUTATION("lease_kept_in_transfer") && (r->transfer_to != 0 || r->lease_void)) return 0;
    const struct raft_config_at *c = &r->configs[r->config_count - 1];
    if (c->index <= r->commit && !raft_is_voter(r)) return 0; /* removed: its followers are free (promise_outlived) */
    return raft_quorum(r, support_of);
}

bool raft_lease_holds(const struct raft *r) { return raft_lease_until(r) > r->now_ns; }

/* Never above what our own store wants: peers may still acknowledge what it wanted before a restart, with a clock that was set
 * back since, and a joint configuration is stamped above what we want, to be above all that we used (docs/decisions/0012). */
hlc_t raft_hlc_limit(const struct raft *r, uint64_t now_ns)
{
    uint64_t limits[RAFT_MEMBERS_MAX];
    if (raft_lease_until(r) <= now_ns) return 0;
    hlc_t least = UINT64_MAX;
    for (unsigned role = RAFT_VOTER; role <= RAFT_VOTER_OUT; role <<= 1) {
        unsigned n = 0;
        for (uint32_t i = 0; i < r->peer_count; i++) {
            const struct raft_peer *p = &r->peers[i];
            if (!(p->roles & role)) continue;
            /* one that no longer supports us may have voted already, with a lower bound than it acknowledged since */
            hlc_t v = support_of(r, p) > now_ns || MUTATION("limit_of_the_unsupporting")
                          ? liveness_limit(r->liveness, p->store)
                          : 0;
            unsigned at = n++;
            for (; at > 0 && limits[at - 1] < v; at--) limits[at] = limits[at - 1];
            limits[at] = v;
        }
        if (n != 0) least = MIN(least, limits[raft_quorum_of(n) - 1]);
    }
    return MUTATION("limit_of_former_boot") ? least : MIN(least, r->liveness->limit_wanted);
}

hlc_t raft_hlc_floor(const struct raft *r) { return MAX(r->floor, r->log.last_ts); }

/* When a member was last known to follow us: now, while its promise holds. */
static uint64_t activity_of(const struct raft *r, const struct raft_peer *p)
{
    uint64_t until = support_of(r, p);
    return until > r->now_ns ? NEVER : MAX(until, p->last_active_ns);
}

uint64_t raft_activity_quorum(const struct raft *r) { return raft_quorum(r, activity_of); }

/* ---- rounds ---- */

void raft_beat_send(struct raft *r, struct raft_peer *p)
{
    struct raft_message m = raft_message_to(r, RAFT_BEAT, p->id, p->store);
    m.commit = MIN(r->commit, p->match);
    m.read_seq = r->read_seq;
    p->sent_commit = MAX(p->sent_commit, m.commit);
    p->notice_ns = NEVER;
    if (p->timer_ns == NEVER) p->timer_ns = r->now_ns + p->backoff_ns;
    raft_send_before(r, &m);
}

static void read_answer(struct raft *r, uint64_t id, uint64_t index, enum status st)
{
    struct outbox *b = &r->boxes[r->box];
    if (b->read_count == b->read_cap) {
        b->read_cap = b->read_cap != 0 ? b->read_cap * 2 : 4;
        b->reads = mem_realloc(b->reads, b->read_cap * sizeof *b->reads);
    }
    b->reads[b->read_count++] = (struct raft_read){.id = id, .index = index, .status = st};
}

static struct pending_read *read_at(const struct raft *r, uint32_t i)
{
    return &r->reads[(r->read_head + i) % r->limits.reads_max];
}

static void read_pop(struct raft *r, enum status st)
{
    struct pending_read *q = read_at(r, 0);
    read_answer(r, q->id, q->index, st);
    r->read_head = (r->read_head + 1) % r->limits.reads_max;
    r->read_count--;
}

enum status raft_read(struct raft *r, uint64_t now_ns, uint64_t id)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (r->role != RAFT_LEADER) return ST_NOT_LEADER;
    if (raft_lease_holds(r) || MUTATION("stale_read_index")) {
        read_answer(r, id, r->commit, ST_OK);
        return ST_OK;
    }
    if (r->read_count == r->limits.reads_max) return ST_OVERLOADED;
    if (r->reads == NULL) r->reads = mem_alloc(r->limits.reads_max * sizeof *r->reads);
    *read_at(r, r->read_count++) = (struct pending_read){.id = id, .index = r->commit, .seq = 0};
    return ST_OK;
}

void raft_reads_fail(struct raft *r)
{
    while (r->read_count > 0) read_pop(r, ST_NOT_LEADER);
}

static uint64_t read_seq_of(const struct raft *r, const struct raft_peer *p)
{
    if (p->id == r->id) return NEVER;
    return p->suspect ? 0 : p->read_seq;
}

void raft_reads_check(struct raft *r)
{
    if (r->read_count == 0 || r->read_done_seq == r->read_seq) return;
    uint64_t seq = raft_quorum(r, read_seq_of);
    r->read_done_seq = MAX(r->read_done_seq, MIN(seq, r->read_seq));
    while (r->read_count > 0 && read_at(r, 0)->seq != 0 && read_at(r, 0)->seq <= r->read_done_seq) read_pop(r, ST_OK);
}

/* All reads that came since the last round share the next; one round is under way at a time. Before an entry of the own
 * term has committed the leader may not know the newest commit, so reads wait for that (dissertation, 6.4). */
void raft_beat_flush(struct raft *r)
{
    if (r->role != RAFT_LEADER || !r->term_durable || r->read_count == 0 || r->commit < r->own_first) return;
    if (r->read_done_seq != r->read_seq || read_at(r, r->read_count - 1)->seq != 0) return;
    r->read_seq++;
    for (uint32_t i = r->read_count; i > 0 && read_at(r, i - 1)->seq == 0; i--) {
        struct pending_read *q = read_at(r, i - 1);
        q->seq = r->read_seq;
        q->index = MAX(q->index, r->commit);
    }
    for (uint32_t i = 0; i < r->peer_count; i++) {
        struct raft_peer *p = &r->peers[i];
        if (p->id != r->id && (p->roles & (RAFT_VOTER | RAFT_VOTER_OUT))) raft_beat_send(r, p);
    }
    raft_reads_check(r);
}

void raft_beat_on_request(struct raft *r, const struct raft_message *m)
{
    if (!raft_heard_leader(r, m)) return;
    raft_commit_to(r, MAX(r->commit, MIN(m->commit, r->verified)));
    struct raft_message reply = raft_message_to(r, RAFT_BEAT_REPLY, m->from, m->from_store);
    reply.index = r->verified;
    reply.commit = r->commit;
    reply.read_seq = m->read_seq;
    if (r->suspect) {
        reply.flags = RAFT_FLAG_SUSPECT | (r->damaged ? RAFT_FLAG_DAMAGED : 0);
        reply.hint = r->liveness->options.boot_count;
    } else {
        reply.epoch = raft_promise_make(r);
    }
    /* It says "I am in this term": true after a crash only if the term is on disk. */
    if (r->term_durable) raft_send_before(r, &reply);
    else raft_send_after(r, &reply);
}

void raft_beat_on_reply(struct raft *r, const struct raft_message *m)
{
    struct raft_peer *p = raft_peer_find(r, m->from);
    if (r->role != RAFT_LEADER || p == NULL) return;
    raft_append_heard(r, p, m);
    /* It has forgotten how far its log is ours, and the commit with it: it was started anew. A quiet group would never
     * tell it. (An old answer that was overtaken looks the same, and costs one append.) */
    if (p->state == PEER_REPLICATE && m->index < p->match && m->commit < p->known_commit) p->known_commit = m->commit;
    raft_reads_check(r);
    if (p->timer_ns == NEVER || raft_peer_settled(r, p)) raft_peer_arm(r, p);
}
