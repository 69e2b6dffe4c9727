/* raft_append.c - the leader's log goes to the others; what a quorum has is committed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Per peer (etcd's progress):
 *   PROBE --(an append matched)--> REPLICATE --(one was refused, or nothing came back in time)--> PROBE
 *   PROBE or REPLICATE --(what it needs is compacted)--> SNAPSHOT --(installed or given up)--> PROBE
 * Messages are made when the driver takes them (raft_ready), so all that was proposed in one turn goes in one append.
 *
 * An answer's index is up to where the follower's log is known to match this term's leader's, not only what the one
 * append brought; so after a loss an empty probe finds out how far the follower is, and nothing is sent twice. */
#include "consensus/raft_internal.h"

/* ---- budgets: appends under way ---- */

void raft_inflight_clear(struct raft_peer *p)
{
    p->inflight_head = p->inflight_count = 0;
    p->inflight_bytes = 0;
}

static void inflight_push(struct raft_peer *p, uint64_t last, uint64_t bytes)
{
    if (p->inflight_count == p->inflight_cap) {
        uint32_t cap = p->inflight_cap != 0 ? p->inflight_cap * 2 : 4;
        struct inflight *ring = mem_alloc(cap * sizeof *ring);
        for (uint32_t i = 0; i < p->inflight_count; i++)
            ring[i] = p->inflights[(p->inflight_head + i) & (p->inflight_cap - 1)];
        mem_free(p->inflights);
        p->inflights = ring;
        p->inflight_cap = cap;
        p->inflight_head = 0;
    }
    p->inflights[(p->inflight_head + p->inflight_count++) & (p->inflight_cap - 1)] = (struct inflight){last, bytes};
    p->inflight_bytes += bytes;
}

static void inflight_acked(struct raft_peer *p, uint64_t match)
{
    while (p->inflight_count > 0 && p->inflights[p->inflight_head].last <= match) {
        p->inflight_bytes -= p->inflights[p->inflight_head].bytes;
        p->inflight_head = (p->inflight_head + 1) & (p->inflight_cap - 1);
        p->inflight_count--;
    }
}

/* ---- timers ---- */

/* Its store is silent: nothing that we send would arrive or be answered. The driver was told that its support ended, so
 * it will be told when it begins again: raft_support_changed goes on. */
bool raft_peer_unreachable(const struct raft *r, const struct raft_peer *p)
{
    const struct liveness_peer *l = liveness_peer(r->liveness, p->store);
    if (l == NULL || l->groups == 0) return false;
    uint64_t heard_ns = MAX(MAX(l->last_heard_ns, p->last_active_ns), r->liveness->options.start_ns);
    return r->now_ns >= heard_ns + r->limits.election_ns && l->told_epoch == 0;
}

static bool fortified(const struct raft *r, const struct raft_peer *p)
{
    return p->epoch != 0 && liveness_until(r->liveness, p->store, p->epoch) > r->now_ns;
}

/* Nothing more to say: it has the log, knows the commit index, and (a voter) has promised under its store's epoch. */
bool raft_peer_settled(const struct raft *r, const struct raft_peer *p)
{
    bool voter = (p->roles & (RAFT_VOTER | RAFT_VOTER_OUT)) != 0;
    return p->state == PEER_REPLICATE && p->match == r->log.last_index && p->known_commit >= r->commit && !p->suspect &&
           !p->busy && (!voter || fortified(r, p)) && (!voter || r->read_count == 0 || p->read_seq >= r->read_seq);
}

/* Large entries take their time: a probe would overtake them, and its answer have them sent once more. 10 MB/s. */
static uint64_t on_the_way_ns(uint64_t bytes) { return (bytes >> 20) * 100 * NS_PER_MS; }

void raft_peer_arm(struct raft *r, struct raft_peer *p)
{
    p->timer_ns = raft_peer_settled(r, p) ? NEVER : r->now_ns + p->backoff_ns + on_the_way_ns(p->inflight_bytes);
}

/* ---- the leader sends ---- */

static bool confirmable(const struct raft *r, const struct raft_peer *p)
{
    if (!p->suspect) return false;
    if (r->unanimous && p->voted_boot != 0 && p->voted_boot == p->suspect_boot) return true;
    return r->commit >= r->own_first && r->commit >= p->confirm_index;
}

static void send_append(struct raft *r, struct raft_peer *p, struct entry *const *entries, uint32_t count,
                        uint64_t bytes)
{
    struct outbox *b = &r->boxes[r->box];
    struct raft_message m = raft_message_to(r, RAFT_APPEND, p->id, p->store);
    m.index = p->next - 1;
    m.log_term = raft_log_term(&r->log, m.index);
    m.commit = r->commit;
    m.entry_count = count;
    if (confirmable(r, p)) {
        m.flags |= RAFT_FLAG_CONFIRM;
        m.read_seq = p->suspect_boot;
        m.hint = p->confirm_index;
        p->confirmed = true;
    }
    while (b->entry_count + count > b->entry_cap) {
        b->entry_cap = b->entry_cap != 0 ? b->entry_cap * 2 : 16;
        b->entries = mem_realloc(b->entries, b->entry_cap * sizeof *b->entries);
    }
    for (uint32_t i = 0; i < count; i++) b->entries[b->entry_count++] = entry_ref(entries[i]);
    raft_send_before(r, &m);
    uint64_t last = m.index + count;
    p->sent_commit = MAX(p->sent_commit, MIN(r->commit, last));
    p->notice_ns = NEVER;
    if (p->state == PEER_PROBE) {
        p->probe_sent = true;
        raft_peer_arm(r, p);
        if (p->timer_ns != NEVER) p->timer_ns += on_the_way_ns(bytes);
    } else if (count != 0) {
        inflight_push(p, last, bytes);
        p->next = last + 1;
        if (p->timer_ns == NEVER || on_the_way_ns(bytes) != 0) raft_peer_arm(r, p);
    }
}

static void fetch(struct raft *r, struct raft_peer *p, uint8_t kind)
{
    struct outbox *b = &r->boxes[r->box];
    p->fetching = true;
    for (uint32_t i = 0; i < b->fetch_count; i++)
        if (b->fetches[i].to == p->id) {
            b->fetches[i--] = b->fetches[--b->fetch_count];
        }
    ASSERT(b->fetch_count < RAFT_MEMBERS_MAX);
    b->fetches[b->fetch_count++] = (struct raft_fetch){
        .kind = kind, .to = p->id, .index = p->next, .bytes_max = r->limits.append_bytes_max};
}

void raft_snapshot_want(struct raft *r, struct raft_peer *p)
{
    p->state = PEER_SNAPSHOT;
    p->snapshot_index = 0;
    raft_inflight_clear(p);
    raft_peer_arm(r, p);
    fetch(r, p, RAFT_FETCH_SNAPSHOT);
    p->fetching = false;
}

/* Sends one append from p->next; with entries, or empty. False: nothing was sent (they must be fetched, or a snapshot
 * is needed). */
static bool send_next(struct raft *r, struct raft_peer *p, bool empty)
{
    struct entry *entries[256]; /* more go in the next append */
    uint32_t count = 0;
    uint64_t bytes = 0;
    if (p->next <= r->log.base_index || (p->next - 1 != 0 && raft_log_term(&r->log, p->next - 1) == 0)) {
        raft_snapshot_want(r, p);
        return false;
    }
    if (!empty && p->next < r->log.tail_first && p->next <= r->log.last_index) {
        fetch(r, p, RAFT_FETCH_ENTRIES);
        return false;
    }
    for (uint64_t i = p->next; !empty && i <= r->log.last_index && count < ARRAY_COUNT(entries); i++) {
        struct entry *e = raft_log_peek(&r->log, i);
        uint64_t n = entry_bytes(e);
        if (count > 0 && bytes + n > r->limits.append_bytes_max) break;
        entries[count++] = e;
        bytes += n;
    }
    send_append(r, p, entries, count, bytes);
    return true;
}

/* An empty append at what is known to match (or at the next guess), to hear how far the peer is. */
void raft_append_probe(struct raft *r, struct raft_peer *p)
{
    ASSERT(p->state != PEER_SNAPSHOT);
    if (p->state == PEER_REPLICATE && p->match + 1 != p->next) {
        p->state = PEER_PROBE;
        p->next = p->match + 1;
        raft_inflight_clear(p);
    }
    send_next(r, p, true);
}

static void flush_notice(struct raft *r, struct raft_peer *p)
{
    if (p->state != PEER_REPLICATE || p->sent_commit >= MIN(r->commit, p->match)) return;
    if (p->notice_ns == NEVER) p->notice_ns = r->now_ns + r->limits.notice_ns;
    if (r->now_ns >= p->notice_ns) raft_beat_send(r, p);
}

static void flush_peer(struct raft *r, struct raft_peer *p)
{
    if (p->state == PEER_SNAPSHOT || p->fetching) return;
    if (p->state == PEER_PROBE && !p->probe_sent) send_next(r, p, p->busy);
    while (p->state == PEER_REPLICATE && !p->busy && !p->fetching && p->next <= r->log.last_index &&
           p->inflight_count < r->limits.inflight_count_max && p->inflight_bytes < r->limits.inflight_bytes_max)
        if (!send_next(r, p, false)) break;
    if (p->state == PEER_REPLICATE && p->suspect && !p->confirmed && p->match == r->log.last_index && confirmable(r, p))
        send_next(r, p, true);
    flush_notice(r, p);
}

/* An entry that commits without the suspects shows that the votes they may have lost elected nobody (README). */
static void append_confirmation(struct raft *r)
{
    bool wanted = false;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct raft_peer *p = &r->peers[i];
        wanted |= p->suspect && p->confirm_index > r->log.last_index && !confirmable(r, p);
    }
    r->confirm_wanted = false;
    if (wanted && r->transfer_to == 0)
        raft_leader_append(r, ENTRY_NOOP, r->log.last_ts, (struct bytes){0}, (struct bytes){0});
}

void raft_append_flush(struct raft *r)
{
    /* A sole voter leads before its vote is durable; nobody may hear of the term before it is. */
    if (r->role != RAFT_LEADER || !r->term_durable) return;
    if (r->confirm_wanted && r->commit >= r->own_first) append_confirmation(r);
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].id != r->id) flush_peer(r, &r->peers[i]);
}

static void timer_fired(struct raft *r, struct raft_peer *p)
{
    if (raft_peer_settled(r, p) || raft_peer_unreachable(r, p)) {
        p->timer_ns = NEVER;
        return;
    }
    p->backoff_ns = MIN(p->backoff_ns * 2, MAX(r->limits.election_ns, r->limits.resend_ns));
    p->confirmed = false;
    p->timer_ns = r->now_ns + p->backoff_ns;
    if (p->state != PEER_SNAPSHOT && !p->fetching) raft_append_probe(r, p);
    if (p->state == PEER_SNAPSHOT || r->read_count > 0) raft_beat_send(r, p);
}

void raft_append_tick(struct raft *r)
{
    for (uint32_t i = 0; i < r->peer_count && r->term_durable; i++) {
        struct raft_peer *p = &r->peers[i];
        if (p->id != r->id && r->now_ns >= p->timer_ns) timer_fired(r, p);
    }
}

void raft_fetched(struct raft *r, uint64_t now_ns, uint64_t to, struct entry *const *entries, size_t count)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    struct raft_peer *p = raft_peer_find(r, to);
    if (r->role != RAFT_LEADER || p == NULL || !p->fetching) return;
    p->fetching = false;
    if (p->state == PEER_SNAPSHOT) return;
    if (count == 0) {
        raft_snapshot_want(r, p);
        return;
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) { /* read for an older leadership, or the peer is elsewhere by now: ask again */
        if (entries[i]->index != p->next + i || raft_log_term(&r->log, p->next + i) != entries[i]->term) return;
        bytes += entry_bytes(entries[i]);
    }
    if (raft_log_term(&r->log, p->next - 1) == 0 && p->next != 1) return;
    if (p->state == PEER_REPLICATE || !p->probe_sent) send_append(r, p, entries, (uint32_t)count, bytes);
    raft_check(r);
}

/* ---- the leader hears ---- */

/* It came back with a log that may have lost something: what it acknowledged before may be gone. */
static void mark_suspect(struct raft *r, struct raft_peer *p, uint64_t boot)
{
    if (!p->suspect || p->suspect_boot != boot) {
        p->confirmed = false;
        p->suspect_boot = boot;
        p->confirm_index = r->log.last_index + 1;
        p->match = p->known_commit = p->sent_commit = 0;
        p->epoch = p->read_seq = 0;
        if (p->state == PEER_REPLICATE) {
            p->state = PEER_PROBE;
            p->probe_sent = false;
            p->next = r->log.last_index + 1;
            raft_inflight_clear(p);
        }
        r->confirm_wanted = true;
    }
    p->suspect = true;
}

/* What every answer of a peer in our term brings. */
void raft_append_heard(struct raft *r, struct raft_peer *p, const struct raft_message *m)
{
    p->last_active_ns = r->now_ns;
    p->backoff_ns = r->limits.resend_ns;
    if (m->flags & RAFT_FLAG_SUSPECT) {
        mark_suspect(r, p, m->type == RAFT_BEAT_REPLY ? m->hint : m->read_seq);
    } else if (m->type != RAFT_VOTE_REPLY) {
        p->suspect = false;
        if (m->epoch > p->epoch) p->epoch = m->epoch;
        if (m->type == RAFT_BEAT_REPLY && m->read_seq > p->read_seq && m->read_seq <= r->read_seq)
            p->read_seq = m->read_seq;
    }
    if (m->commit > p->known_commit) p->known_commit = m->commit;
}

void raft_append_advance(struct raft *r, struct raft_peer *p, uint64_t match)
{
    if (match > r->log.last_index) return; /* no log of this term is longer than ours */
    if (match > p->match) {
        p->match = match;
        raft_peer_arm(r, p);
    }
    if (p->next <= p->match) p->next = p->match + 1;
    inflight_acked(p, p->match);
}

static void on_refused(struct raft *r, struct raft_peer *p, const struct raft_message *m)
{
    bool current = p->state == PEER_PROBE ? m->index == p->next - 1 : m->index > p->match;
    if (p->state == PEER_SNAPSHOT || !current) return; /* an answer to an append before the one under way */
    uint64_t next = raft_log_find_term(&r->log, MIN(m->hint, m->index), m->hint_term) + 1;
    if (next > m->index && m->index > 0) next = m->index;
    p->state = PEER_PROBE;
    p->probe_sent = false;
    /* a hint below what we keep: find_term stopped at our base, which it may not have */
    if (m->hint < r->log.base_index) next = MIN(next, m->hint + 1);
    p->next = MAX(next, p->match + 1);
    raft_inflight_clear(p);
}

void raft_append_on_reply(struct raft *r, const struct raft_message *m)
{
    struct raft_peer *p = raft_peer_find(r, m->from);
    if (r->role != RAFT_LEADER || p == NULL) return;
    raft_append_heard(r, p, m);
    bool rejected = (m->flags & RAFT_FLAG_REJECT) != 0;
    p->busy = (m->flags & RAFT_FLAG_BUSY) != 0;
    if (p->busy) {
        raft_append_advance(r, p, rejected ? m->hint : m->index);
        if (p->state == PEER_REPLICATE) { /* wait; the timer asks again */
            p->state = PEER_PROBE;
            p->next = p->match + 1;
            raft_inflight_clear(p);
        }
        p->probe_sent = true;
        raft_peer_arm(r, p);
    } else if (rejected) {
        on_refused(r, p, m);
    } else {
        raft_append_advance(r, p, m->index);
        bool matches = p->state == PEER_PROBE && m->index <= r->log.last_index;
        bool installed = p->state == PEER_SNAPSHOT && p->match >= r->log.base_index && p->match >= p->snapshot_index;
        if (matches || installed) {
            p->state = PEER_REPLICATE;
            p->next = p->match + 1;
        }
    }
    raft_commit_advance(r); /* may change members, and who leads */
    raft_transfer_check(r);
    p = raft_peer_find(r, m->from);
    if (p != NULL && r->role == RAFT_LEADER && (p->timer_ns == NEVER || raft_peer_settled(r, p))) raft_peer_arm(r, p);
}

/* ---- commit ---- */

static uint64_t match_of(const struct raft *r, const struct raft_peer *p)
{
    if (p->id == r->id) return r->persisted; /* our own disk counts when it is done, like any other */
    return p->suspect ? 0 : p->match;
}

void raft_commit_advance(struct raft *r)
{
    ASSERT(r->role == RAFT_LEADER);
    uint64_t index = raft_quorum(r, match_of);
    if (index == NEVER || index <= r->commit) return;
    /* Only entries of the own term commit by counting; earlier ones commit with them (Raft paper, 5.4.2, figure 8). */
    if (index < r->own_first && !MUTATION("commit_old_term_by_count")) return;
    raft_commit_to(r, index);
}

void raft_commit_to(struct raft *r, uint64_t index)
{
    ASSERT(index <= r->log.last_index);
    if (index <= r->commit) return;
    if (r->role == RAFT_LEADER) {
        for (uint64_t i = MAX(r->commit + 1, r->own_first); i <= index; i++) {
            struct entry *e = raft_log_peek(&r->log, i);
            ASSERT(e != NULL && r->uncommitted_bytes >= entry_bytes(e)); /* a leader keeps what is not committed */
            r->uncommitted_bytes -= entry_bytes(e);
        }
    }
    r->commit = index;
    raft_config_prune(r);
    raft_trace(r, RAFT_TRACE_COMMIT, NULL);
    if (r->role != RAFT_LEADER) return;
    if (r->suspect && index >= r->own_first) raft_suspect_clear(r);
    raft_log_evict(&r->log, r->limits.tail_bytes_max, MIN(r->persisted, r->commit), r->applied);
    raft_change_committed(r);
}

/* ---- becoming leader, and its own entries ---- */

void raft_become_leader(struct raft *r)
{
    ASSERT(r->role == RAFT_CANDIDATE && r->vote == r->id);
    r->role = RAFT_LEADER;
    r->leader = r->id;
    r->leader_store = r->store;
    r->term_durable = !raft_sole_voter(r); /* votes of others came after the disk had our own (see raft_vote.c) */
    r->own_first = r->log.last_index + 1;
    r->uncommitted_bytes = 0;
    r->lease_void = r->confirm_wanted = false;
    r->transfer_to = 0;
    r->release_term = 0;
    r->release_ns = NEVER;
    r->read_seq = r->read_done_seq = 0;
    r->floor = MAX(r->floor, liveness_vote_bound(r->liveness));
    for (uint32_t i = 0; i < r->peer_count; i++) {
        struct raft_peer *p = &r->peers[i];
        p->state = PEER_PROBE;
        p->probe_sent = p->busy = p->fetching = p->confirmed = false;
        p->match = p->sent_commit = p->known_commit = p->snapshot_index = 0;
        p->next = r->log.last_index + 1;
        p->epoch = p->read_seq = 0;
        p->suspect = (p->vote_flags & RAFT_FLAG_SUSPECT) != 0 && p->id != r->id;
        p->suspect_boot = p->voted_boot;
        p->confirm_index = r->own_first; /* it answered in this term, before there was any entry of it */
        p->timer_ns = p->notice_ns = NEVER;
        p->backoff_ns = r->limits.resend_ns;
        p->last_active_ns = r->now_ns;
        raft_inflight_clear(p);
    }
    raft_event(r, r->unanimous ? "elected_by_all" : "elected");
    raft_trace(r, RAFT_TRACE_LEADER, NULL);
    raft_leader_append(r, ENTRY_NOOP, r->log.last_ts, (struct bytes){0}, (struct bytes){0});
}

struct entry *raft_leader_append(struct raft *r, uint8_t kind, hlc_t ts, struct bytes head, struct bytes data)
{
    ASSERT(r->role == RAFT_LEADER);
    struct entry *e = entry_new2(kind, r->log.last_index + 1, r->term, ts, head, data);
    raft_log_append(&r->log, e);
    r->uncommitted_bytes += entry_bytes(e);
    entry_unref(e); /* the log has it */
    raft_trace(r, RAFT_TRACE_APPEND, NULL);
    return e;
}

/* ---- the follower ---- */

/* Sent by a leader before its store restarted: it leads no more, and a promise to it would bind us to nobody. */
static bool from_the_dead(const struct raft *r, const struct raft_message *m)
{
    const struct liveness_peer *p = liveness_peer(r->liveness, m->from_store);
    return p != NULL && m->epoch < p->for_boot;
}

bool raft_heard_leader(struct raft *r, const struct raft_message *m)
{
    ASSERT(m->term >= r->term);
    if (from_the_dead(r, m)) return false;
    if (m->term > r->term || r->role != RAFT_FOLLOWER || r->leader != m->from)
        raft_become_follower(r, m->term, m->from, m->from_store);
    r->leader_heard_ns = r->now_ns;
    r->leader_boot = m->epoch;
    raft_vote_timer(r, r->limits.election_ns, r->limits.election_ns);
    return true;
}

uint64_t raft_promise_make(struct raft *r)
{
    ASSERT(r->role == RAFT_FOLLOWER && r->leader != 0 && !r->suspect);
    const struct liveness_peer *p = liveness_peer(r->liveness, r->leader_store);
    uint64_t epoch = liveness_epoch_for(r->liveness, r->leader_store, r->now_ns);
    if (p != NULL && p->for_boot != r->leader_boot) return 0; /* support was given to an older boot of it */
    if (epoch != 0)
        r->promise = (struct raft_promise){
            .leader = r->leader, .store = r->leader_store, .term = r->term, .epoch = epoch};
    return epoch;
}

/* The log is known to hold all that was ever committed. The vote of this term may have been lost: it is taken as the
 * leader's, so that it can't be given away again. */
void raft_suspect_clear(struct raft *r)
{
    r->suspect = r->damaged = false;
    r->suspect_cleared = true;
    if (r->vote != 0) return;
    r->vote = r->leader;
    r->vote_changed = true;
}

static void take_entries(struct raft *r, const struct raft_message *m)
{
    for (uint32_t i = 0; i < m->entry_count; i++) {
        struct entry *e = m->entries[i];
        if (e->index <= r->commit) continue; /* the same, by leader completeness */
        if (e->index <= r->log.last_index) {
            if (raft_log_term(&r->log, e->index) == e->term) continue;
            ASSERT(e->index > r->commit);
            raft_log_truncate(&r->log, e->index);
            raft_config_truncate(r, e->index);
            r->persisted = MIN(r->persisted, e->index - 1);
            r->persist_next = MIN(r->persist_next, e->index);
        }
        raft_log_append(&r->log, e);
        if (e->kind == ENTRY_CONF) {
            struct raft_config c;
            bool ok = raft_config_decode(entry_data(e), &c); /* checked by raft_message_decode */
            ASSERT(ok);
            raft_config_push(r, e->index, e->term, &c);
        }
    }
    raft_log_evict(&r->log, r->limits.tail_bytes_max, r->persisted, r->applied);
}

static void answer(struct raft *r, const struct raft_message *m, struct raft_message *reply)
{
    reply->commit = r->commit;
    if (r->suspect) {
        reply->flags |= RAFT_FLAG_SUSPECT | (r->damaged ? RAFT_FLAG_DAMAGED : 0);
        reply->read_seq = r->liveness->options.boot_count;
    } else {
        reply->epoch = raft_promise_make(r);
    }
    if (MUTATION("append_ack_before_sync")) raft_send_before(r, reply);
    else raft_send_after(r, reply);
}

void raft_append_on_request(struct raft *r, const struct raft_message *m)
{
    if (!raft_heard_leader(r, m)) return;
    struct raft_message reply = raft_message_to(r, RAFT_APPEND_REPLY, m->from, m->from_store);
    bool below = m->index < r->commit; /* committed entries match any leader's */
    if (!below && (m->index > r->log.last_index || raft_log_term(&r->log, m->index) != m->log_term)) {
        reply.flags = RAFT_FLAG_REJECT;
        reply.index = m->index;
        reply.hint = MAX(raft_log_find_term(&r->log, m->index, m->log_term), r->commit);
        reply.hint_term = raft_log_term(&r->log, reply.hint);
    } else if (r->busy && m->entry_count > 0) {
        r->verified = MAX(r->verified, MAX(m->index, r->commit));
        reply.flags = RAFT_FLAG_REJECT | RAFT_FLAG_BUSY;
        reply.index = m->index;
        reply.hint = r->verified;
        raft_commit_to(r, MIN(MAX(m->commit, r->commit), r->verified));
    } else {
        take_entries(r, m);
        uint64_t end = m->index + m->entry_count;
        r->verified = MAX(r->verified, MAX(end, r->commit));
        ASSERT(r->verified <= r->log.last_index);
        raft_commit_to(r, MIN(MAX(m->commit, r->commit), r->verified));
        /* README, suspects: our lost votes do no harm, and the log has all that we may have acknowledged and lost */
        if (r->suspect && (m->flags & RAFT_FLAG_CONFIRM) && m->read_seq == r->liveness->options.boot_count &&
            r->verified >= m->hint)
            raft_suspect_clear(r);
        reply.index = r->verified;
        if (r->busy) reply.flags = RAFT_FLAG_BUSY;
    }
    answer(r, m, &reply);
}
