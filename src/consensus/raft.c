/* raft.c - one group's raft: its life, its inputs and its outputs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "consensus/raft_internal.h"

#include <inttypes.h>

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {"follower", "pre-candidate", "candidate", "leader"};
    ASSERT((unsigned)role < ARRAY_COUNT(names));
    return names[role];
}

void raft_event(const struct raft *r, const char *what)
{
    diag(DIAG_INFO,
         "raft.role partition=%" PRIu64 " replica=%" PRIu64 " term=%" PRIu64 " role=%s leader=%" PRIu64 " why=%s",
         r->group_id, r->id, r->term, raft_role_name(r->role), r->leader, what);
}

uint64_t raft_random_below(struct raft *r, uint64_t n) { return n != 0 ? rng_below(&r->rng, n) : 0; }

struct raft_peer *raft_peer_find(struct raft *r, uint64_t id)
{
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].id == id) return &r->peers[i];
    return NULL;
}

/* The quorum-th largest value of one voter set; NEVER for an empty set, which has no say. */
static uint64_t quorum_of_set(const struct raft *r, uint8_t role,
                              uint64_t (*value)(const struct raft *r, const struct raft_peer *p))
{
    uint64_t sorted[RAFT_MEMBERS_MAX];
    unsigned n = 0;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        if (!(r->peers[i].roles & role)) continue;
        uint64_t v = value(r, &r->peers[i]);
        unsigned at = n++;
        for (; at > 0 && sorted[at - 1] < v; at--) sorted[at] = sorted[at - 1];
        sorted[at] = v;
    }
    return n != 0 ? sorted[raft_quorum_of(n) - 1] : NEVER;
}

uint64_t raft_quorum(const struct raft *r, uint64_t (*value)(const struct raft *r, const struct raft_peer *p))
{
    uint64_t in = quorum_of_set(r, RAFT_VOTER, value);
    uint64_t out = quorum_of_set(r, RAFT_VOTER_OUT, value);
    return MIN(in, out);
}

/* ---- outputs ---- */

struct raft_message raft_message_to(const struct raft *r, uint8_t type, uint64_t to, store_addr_t to_store)
{
    bool leads = type == RAFT_APPEND || type == RAFT_BEAT || type == RAFT_SNAPSHOT;
    return (struct raft_message){.type = type,
                                 .from = r->id,
                                 .to = to,
                                 .from_store = r->store,
                                 .to_store = to_store,
                                 .term = r->term,
                                 .epoch = leads ? r->liveness->options.boot_count : 0};
}

static void put_message(struct raft_message **array, uint32_t *count, uint32_t *cap, const struct raft_message *m)
{
    if (*count == *cap) {
        *cap = *cap != 0 ? *cap * 2 : 4;
        *array = mem_realloc(*array, *cap * sizeof **array);
    }
    (*array)[(*count)++] = *m;
}

void raft_send_before(struct raft *r, const struct raft_message *m)
{
    struct outbox *b = &r->boxes[r->box];
    put_message(&b->before, &b->before_count, &b->before_cap, m);
    raft_trace(r, RAFT_TRACE_SEND, m);
}

void raft_send_after(struct raft *r, const struct raft_message *m)
{
    ASSERT(m->entry_count == 0);
    struct outbox *b = &r->boxes[r->box];
    put_message(&b->after, &b->after_count, &b->after_cap, m);
    raft_trace(r, RAFT_TRACE_SEND, m);
}

static void outbox_clear(struct outbox *b)
{
    for (uint32_t i = 0; i < b->entry_count; i++) entry_unref(b->entries[i]);
    b->before_count = b->after_count = b->entry_count = b->fetch_count = b->read_count = 0;
}

static void outbox_deinit(struct outbox *b)
{
    outbox_clear(b);
    mem_free(b->before);
    mem_free(b->after);
    mem_free(b->entries);
    mem_free(b->reads);
}

/* While gathering, a message's entries are an offset into b->entries, which may move; here they become pointers. */
static void outbox_point(struct outbox *b)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < b->before_count; i++) {
        b->before[i].entries = b->before[i].entry_count != 0 ? b->entries + at : NULL;
        at += b->before[i].entry_count;
    }
    ASSERT(at == b->entry_count);
}

void raft_ready(struct raft *r, struct raft_ready *out)
{
    ASSERT(r->started);
    raft_append_flush(r);
    raft_beat_flush(r);
    struct outbox *b = &r->boxes[r->box];
    outbox_point(b);
    *out = (struct raft_ready){.vote_changed = r->vote_changed,
                               .persist_from = r->persist_next,
                               .persist_to = r->log.last_index,
                               .suspect_cleared = r->suspect_cleared,
                               .before = b->before,
                               .before_count = b->before_count,
                               .after = b->after,
                               .after_count = b->after_count,
                               .fetches = b->fetches,
                               .fetch_count = b->fetch_count,
                               .reads = b->reads,
                               .read_count = b->read_count,
                               .commit = MIN(r->commit, r->persisted),
                               .role_changed = r->role != r->told_role || r->term != r->told_term ||
                                               r->leader != r->told_leader};
    r->persist_next = r->log.last_index + 1;
    r->vote_changed = r->suspect_cleared = false;
    r->told_role = r->role;
    r->told_term = r->term;
    r->told_leader = r->leader;
    r->box ^= 1;
    outbox_clear(&r->boxes[r->box]);
    raft_check(r);
    raft_trace(r, RAFT_TRACE_READY, NULL);
}

/* ---- life ---- */

struct raft *raft_new(const struct raft_options *options, const struct raft_state *state, uint64_t now_ns)
{
    ASSERT(options->replica_id != 0);
    ASSERT(state->applied <= state->commit);
    struct raft *r = mem_zalloc(sizeof *r);
    r->group_id = options->group_id;
    r->id = options->replica_id;
    r->store = options->store;
    r->limits = *options->limits;
    r->liveness = options->liveness;
    r->trace = options->trace;
    r->trace_ctx = options->trace_ctx;
    rng_init(&r->rng, options->seed);
    r->now_ns = now_ns;
    r->term = r->told_term = state->term;
    r->vote = state->vote;
    r->term_durable = true;
    r->commit = state->commit;
    r->applied = state->applied;
    r->suspect = state->suspect || state->damaged;
    r->damaged = state->damaged;
    r->release_ns = NEVER;
    raft_log_reset(&r->log, state->base_index, state->base_term, state->last_ts);
    raft_config_push(r, 0, 0, &state->config);
    return r;
}

void raft_free(struct raft *r)
{
    if (r == NULL) return;
    for (uint32_t i = 0; i < r->peer_count; i++) mem_free(r->peers[i].inflights);
    outbox_deinit(&r->boxes[0]);
    outbox_deinit(&r->boxes[1]);
    raft_log_deinit(&r->log);
    mem_free(r->configs);
    mem_free(r->reads);
    mem_free(r);
}

void raft_load(struct raft *r, struct entry *e)
{
    ASSERT(!r->started);
    raft_log_append(&r->log, e);
    raft_log_evict(&r->log, r->limits.tail_bytes_max, e->index, UINT64_MAX);
    if (e->kind == ENTRY_CONF) {
        struct raft_config c;
        ASSERT(raft_config_decode(entry_data(e), &c)); /* the log's checksum held, and we wrote it */
        if (e->index > r->applied) raft_config_push(r, e->index, e->term, &c);
        else r->configs[0] = (struct raft_config_at){e->index, e->term, r->configs[0].config};
    }
}

void raft_start(struct raft *r, uint64_t now_ns)
{
    ASSERT(!r->started && now_ns >= r->now_ns);
    r->started = true;
    r->now_ns = now_ns;
    if (r->commit > r->log.last_index) {
        ASSERT(r->suspect); /* only damage takes committed entries out of a log */
        r->commit = r->log.last_index;
    }
    r->commit = MAX(r->commit, r->log.base_index);
    r->persisted = r->log.last_index;
    r->persist_next = r->log.last_index + 1;
    if (raft_log_last_term(&r->log) >
        r->term) { /* a vote record was lost with the damage, or a snapshot came before it */
        ASSERT(r->suspect || r->log.last_index == r->log.base_index);
        r->term = r->told_term = raft_log_last_term(&r->log);
        r->vote = 0;
        r->vote_changed = true;
    }
    if (raft_sole_voter(r)) r->election_ns = now_ns;
    else raft_vote_timer(r, raft_election_timeout(r), raft_election_timeout(r));
    raft_check(r);
    raft_trace(r, RAFT_TRACE_START, NULL);
}

/* ---- roles ---- */

void raft_set_term(struct raft *r, uint64_t term)
{
    ASSERT(term > r->term);
    r->term = term;
    r->vote = 0;
    r->vote_changed = true;
    r->term_durable = false;
    r->verified = 0;
    r->leader = 0;
    r->leader_store = 0;
    r->leader_heard_ns = 0;
}

void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader, store_addr_t leader_store)
{
    ASSERT(term >= r->term);
    bool led = r->role == RAFT_LEADER;
    if (led) {
        ASSERT(term > r->term || leader == 0); /* two leaders of one term: election safety is broken */
        raft_release_begin(r);                 /* with the old term */
        raft_reads_fail(r);
        r->transfer_to = 0;
        for (uint32_t i = 0; i < r->peer_count; i++) {
            raft_inflight_clear(&r->peers[i]);
            r->peers[i].timer_ns = r->peers[i].notice_ns = NEVER;
            r->peers[i].fetching = false;
        }
    }
    if (term > r->term) raft_set_term(r, term);
    r->role = RAFT_FOLLOWER;
    r->leader = leader;
    r->leader_store = leader_store;
    if (leader != 0) r->release_term = 0; /* the others hear of it too */
    raft_vote_timer(r, raft_election_timeout(r), raft_election_timeout(r));
    raft_event(r, led ? "stepped_down" : leader != 0 ? "leader_found" : "higher_term");
    raft_trace(r, RAFT_TRACE_FOLLOWER, NULL);
}

/* ---- inputs ---- */

static void refuse_old_leader(struct raft *r, const struct raft_message *m)
{
    struct raft_message reply = raft_message_to(r, RAFT_APPEND_REPLY, m->from, m->from_store);
    reply.flags = RAFT_FLAG_REJECT;
    reply.index = m->index;
    raft_send_after(r, &reply);
}

/* What a message of another term does before it is looked at; false: that was all. */
static bool step_term(struct raft *r, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_PRE_VOTE:
    case RAFT_VOTE: return true; /* raft_vote.c decides whether the term counts */
    case RAFT_APPEND:
    case RAFT_BEAT:
    case RAFT_SNAPSHOT:
        if (m->term < r->term) refuse_old_leader(r, m);
        return m->term >= r->term;
    case RAFT_PRE_VOTE_REPLY:
        if (!(m->flags & RAFT_FLAG_REJECT)) return m->term == r->term + 1; /* the term that we asked about */
        break;
    case RAFT_TIMEOUT_NOW: return m->term == r->term;
    case RAFT_APPEND_REPLY:
    case RAFT_BEAT_REPLY:
    case RAFT_SNAPSHOT_REPLY: raft_release_stranger(r, m); break;
    default: break;
    }
    if (m->term > r->term) raft_become_follower(r, m->term, 0, 0);
    return m->term == r->term;
}

void raft_step(struct raft *r, uint64_t now_ns, const struct raft_message *m)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (m->to != r->id || m->from == r->id || m->from == 0) return;
    raft_trace(r, RAFT_TRACE_RECEIVE, m);
    if (m->type == RAFT_RELEASE) {
        raft_release_on(r, m);
    } else if (step_term(r, m)) {
        switch (m->type) {
        case RAFT_PRE_VOTE:
        case RAFT_VOTE: raft_vote_on_request(r, m); break;
        case RAFT_PRE_VOTE_REPLY:
        case RAFT_VOTE_REPLY: raft_vote_on_reply(r, m); break;
        case RAFT_APPEND: raft_append_on_request(r, m); break;
        case RAFT_APPEND_REPLY: raft_append_on_reply(r, m); break;
        case RAFT_BEAT: raft_beat_on_request(r, m); break;
        case RAFT_BEAT_REPLY: raft_beat_on_reply(r, m); break;
        case RAFT_SNAPSHOT: raft_snapshot_on_offer(r, m); break;
        case RAFT_SNAPSHOT_REPLY: raft_snapshot_on_reply(r, m); break;
        case RAFT_TIMEOUT_NOW: raft_transfer_on_timeout_now(r, m); break;
        default: break; /* from a newer version: not for us */
        }
    }
    raft_trace(r, RAFT_TRACE_RECEIVED, m);
    raft_check(r);
}

void raft_tick(struct raft *r, uint64_t now_ns)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (r->role == RAFT_LEADER) {
        uint64_t active = raft_activity_quorum(r);
        if (active != NEVER && now_ns >= active + raft_election_timeout(r)) raft_step_down(r, now_ns, "no_quorum");
    }
    if (r->role == RAFT_LEADER) raft_transfer_tick(r);
    if (r->role == RAFT_LEADER) raft_append_tick(r);
    if (r->role != RAFT_LEADER) raft_vote_tick(r);
    raft_release_tick(r);
    raft_check(r);
}

static uint64_t leader_deadline(const struct raft *r)
{
    uint64_t active = raft_activity_quorum(r);
    uint64_t d = active != NEVER ? active + raft_election_timeout(r) : NEVER;
    if (r->transfer_to != 0) d = MIN(d, MIN(r->transfer_deadline_ns, r->transfer_resend_ns));
    for (uint32_t i = 0; i < r->peer_count; i++) {
        if (r->peers[i].id == r->id) continue;
        d = MIN(d, MIN(r->peers[i].timer_ns, r->peers[i].notice_ns));
    }
    return d;
}

uint64_t raft_deadline(const struct raft *r)
{
    uint64_t d = NEVER;
    if (r->role == RAFT_LEADER) d = leader_deadline(r);
    else if (raft_vote_able(r) && !(r->leader != 0 && r->promise.term == r->term && raft_vote_bound(r, r->id)))
        d = raft_vote_silent(r) ? MAX(r->election_ns, liveness_silent_until(r->liveness)) : r->election_ns;
    return MIN(d, r->release_ns);
}

void raft_support_lost(struct raft *r, uint64_t now_ns, store_addr_t store, bool urgent)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (r->role != RAFT_FOLLOWER || (r->leader != 0 && r->leader_store != store)) return;
    if (r->promise.leader != 0 && r->promise.store == store && raft_vote_bound(r, r->id))
        return; /* it is back already */
    r->leader_heard_ns = 0;
    r->election_ns = now_ns + (urgent ? raft_vote_turn_ns(r, store) : raft_random_below(r, raft_election_timeout(r)));
    raft_check(r);
}

void raft_support_changed(struct raft *r, uint64_t now_ns, store_addr_t store)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (r->role != RAFT_LEADER || !r->term_durable) return;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        struct raft_peer *p = &r->peers[i];
        if (p->store != store || p->id == r->id || raft_peer_settled(r, p)) continue;
        p->backoff_ns = r->limits.resend_ns;
        if (p->state == PEER_PROBE) raft_append_probe(r, p);
        else raft_beat_send(r, p);
    }
    raft_check(r);
}

void raft_persisted(struct raft *r, uint64_t now_ns, uint64_t index, uint64_t term)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (index > r->log.last_index || raft_log_term(&r->log, index) != term) return; /* replaced meanwhile */
    if (index > r->persisted) r->persisted = index;
    raft_trace(r, RAFT_TRACE_PERSISTED, NULL);
    if (term == r->term) r->term_durable = true;
    if (r->role == RAFT_LEADER) {
        raft_commit_advance(r);
        raft_transfer_check(r);
    }
    raft_log_evict(&r->log, r->limits.tail_bytes_max,
                   r->role == RAFT_LEADER ? MIN(r->persisted, r->commit) : r->persisted, r->applied);
    raft_check(r);
}

void raft_applied(struct raft *r, uint64_t index)
{
    if (index <= r->applied) return;
    ASSERT(index <= r->commit);
    r->applied = index;
    raft_log_evict(&r->log, r->limits.tail_bytes_max, MIN(r->persisted, index), index);
}

void raft_compacted(struct raft *r, uint64_t index)
{
    ASSERT(index <= r->applied);
    raft_log_compact(&r->log, MIN(index, MIN(r->persisted, r->commit)));
    raft_check(r);
}

void raft_restored(struct raft *r, uint64_t now_ns, uint64_t index, uint64_t term, const struct raft_config *config,
                   hlc_t last_ts)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    ASSERT(raft_config_check(config, NULL) == ST_OK);
    r->now_ns = now_ns;
    if (index <= r->log.last_index && raft_log_term(&r->log, index) == term) {
        /* While the driver installed it, the log came to have the snapshot's last entry: it goes on from there. */
        raft_commit_to(r, MAX(r->commit, index));
        r->applied = MAX(r->applied, index);
        raft_check(r);
        return;
    }
    ASSERT(index >=
           r->commit); /* what is committed here is in the snapshot's past, and the log does not have its end */
    if (r->role != RAFT_FOLLOWER) raft_become_follower(r, MAX(term, r->term), 0, 0);
    if (term > r->term) raft_become_follower(r, term, 0, 0); /* the stream overtook the leader's offer */
    raft_log_reset(&r->log, index, term, last_ts);
    r->commit = r->applied = r->persisted = index;
    r->persist_next = index + 1;
    r->config_count = 0;
    raft_config_push(r, index, term, config);
    r->verified = r->leader != 0 ? index : 0; /* committed, so every later leader has it */
    raft_trace(r, RAFT_TRACE_RESTORED, NULL);
    if (r->leader != 0) {
        struct raft_message m = raft_message_to(r, RAFT_SNAPSHOT_REPLY, r->leader, r->leader_store);
        m.index = index;
        m.commit = r->commit;
        if (r->suspect) m.flags |= RAFT_FLAG_SUSPECT, m.read_seq = r->liveness->options.boot_count;
        else m.epoch = raft_promise_make(r);
        raft_send_after(r, &m);
    }
    raft_check(r);
}

void raft_set_busy(struct raft *r, uint64_t now_ns, bool busy)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (r->busy == busy) return;
    r->busy = busy;
    if (busy || r->role != RAFT_FOLLOWER || r->leader == 0 || r->verified == 0 || r->suspect) return;
    struct raft_message m = raft_message_to(r, RAFT_APPEND_REPLY, r->leader, r->leader_store);
    m.index = r->verified;
    m.commit = r->commit;
    m.epoch = raft_promise_make(r);
    raft_send_after(r, &m);
}

void raft_set_unfit(struct raft *r, bool unfit)
{
    ASSERT(r->role != RAFT_LEADER || !unfit);
    r->unfit = unfit;
    if (unfit && r->role != RAFT_FOLLOWER) raft_become_follower(r, r->term, 0, 0);
}

enum status raft_propose(struct raft *r, uint64_t now_ns, uint8_t kind, hlc_t ts, struct bytes data,
                         uint64_t *out_index, uint64_t *out_term)
{
    return raft_propose2(r, now_ns, kind, ts, (struct bytes){0}, data, out_index, out_term);
}

enum status raft_propose2(struct raft *r, uint64_t now_ns, uint8_t kind, hlc_t ts, struct bytes head, struct bytes data,
                          uint64_t *out_index, uint64_t *out_term)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    ASSERT(kind == ENTRY_OPS || kind == ENTRY_NOOP || kind == ENTRY_SCRUB);
    r->now_ns = now_ns;
    if (r->role != RAFT_LEADER) return ST_NOT_LEADER;
    if (r->transfer_to != 0) return ST_BUSY;
    if (r->uncommitted_bytes != 0 && r->uncommitted_bytes + head.n + data.n > r->limits.uncommitted_bytes_max)
        return ST_OVERLOADED;
    ASSERT(ts > r->log.last_ts);
    struct entry *e = raft_leader_append(r, kind, ts, head, data);
    *out_index = e->index;
    *out_term = e->term;
    raft_check(r);
    return ST_OK;
}

/* ---- looking ---- */

void raft_trace_id(const struct raft *r, struct raft_trace_id *out)
{
    *out = (struct raft_trace_id){r->group_id, r->id};
}

void raft_view(const struct raft *r, struct raft_view *out)
{
    const struct raft_config_at *c = &r->configs[r->config_count - 1];
    *out = (struct raft_view){.role = r->role,
                              .term = r->term,
                              .vote = r->vote,
                              .leader = r->leader,
                              .leader_store = r->leader_store,
                              .commit = r->commit,
                              .applied = r->applied,
                              .last_index = r->log.last_index,
                              .first_index = r->log.base_index + 1,
                              .suspect = r->suspect,
                              .damaged = r->damaged,
                              .transferring = r->transfer_to != 0,
                              .busy = r->busy,
                              .can_vote = raft_is_voter(r),
                              .config = &c->config,
                              .config_index = c->index,
                              .config_committed = c->index <= r->commit};
}

struct entry *raft_entry_peek(const struct raft *r, uint64_t index) { return raft_log_peek(&r->log, index); }

uint64_t raft_term_at(const struct raft *r, uint64_t index) { return raft_log_term(&r->log, index); }

bool raft_peer_progress(const struct raft *r, uint64_t replica_id, struct raft_progress *out)
{
    for (uint32_t i = 0; i < r->peer_count && r->role == RAFT_LEADER; i++) {
        const struct raft_peer *p = &r->peers[i];
        if (p->id != replica_id) continue;
        *out = (struct raft_progress){.match = p->id == r->id ? r->persisted : p->match,
                                      .next = p->next,
                                      .snapshotting = p->state == PEER_SNAPSHOT,
                                      .paused = p->busy || p->fetching || (p->state == PEER_PROBE && p->probe_sent),
                                      .inflight_bytes = p->inflight_bytes,
                                      .last_active_ns = p->last_active_ns};
        return true;
    }
    return false;
}
