/* raft_trace.c - writes what the rafts of one partition do as JSON lines, in the form that etcd's TLA+ specification of raft reads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The trace begins with the group at rest: all that is in the logs by then counts as one entry of term 1, and terms and
 * indexes are counted on from there. `commit` is what the specification knows, which may be more than a replica knows just
 * after its restart (Cairn does not persist it) and never less. */
#include "sim/raft_trace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "replica/host_internal.h"
#include "sim/cluster_internal.h"
#include "sim/heap.h"

enum { NODES_MAX = RAFT_MEMBERS_MAX, SENT_MAX = 1 << 16 };

struct state {
    uint64_t term, vote, commit, log;
    const char *role;
};

/* What the specification sees of a message. */
struct spoken {
    const char *type;
    uint64_t term, from, to, entries, log_term, index, commit;
    bool reject;
};

/* A message under way, with what it looked like to Cairn. */
struct sent {
    struct raft_message as;
    struct spoken spoken;
};

struct traced {
    uint64_t id;
    uint64_t commit; /* as the specification has it */
    struct state durable;
    uint64_t match[NODES_MAX];     /* of a leader: what its own messages have told it so far */
    uint64_t self_sent, self_term; /* it told itself of its log up to here */
    uint64_t self_vote;            /* the term of the vote for itself that it has yet to receive; 0: none */
    bool changed;                  /* since the last Ready */
    /* the message that is being looked at */
    bool receiving, told, known;
    struct state before;
    struct spoken message;
    bool log_ok;
    uint64_t events; /* lines of this node so far */
    uint64_t events_before;
    struct raft_message reply; /* .type 0: none */
};

struct sim_raft_trace {
    FILE *out;
    uint64_t partition, lines;
    bool on;
    char ended[160];
    uint64_t term0, index0;
    struct traced nodes[NODES_MAX];
    unsigned count;
    struct sent *sent; /* the oldest is dropped when it is full */
    size_t sent_count;
};

struct sim_raft_trace *sim_raft_trace_new(const char *path, uint64_t partition_id)
{
    FILE *f = fopen(path, "w");
    if (f == NULL) return NULL;
    struct sim_raft_trace *t = mem_zalloc(sizeof *t);
    t->out = f;
    t->partition = partition_id;
    t->sent = mem_zalloc(SENT_MAX * sizeof *t->sent);
    return t;
}

void sim_raft_trace_free(struct sim_raft_trace *t)
{
    if (t == NULL) return;
    fclose(t->out);
    mem_free(t->sent);
    mem_free(t);
}

uint64_t sim_raft_trace_lines(const struct sim_raft_trace *t) { return t->lines; }
const char *sim_raft_trace_ended(const struct sim_raft_trace *t) { return t->ended[0] != 0 ? t->ended : NULL; }

static void stop(struct sim_raft_trace *t, const struct traced *n, const char *why)
{
    if (!t->on) return;
    t->on = false;
    snprintf(t->ended, sizeof t->ended, "replica %" PRIu64 ": %s", n->id, why);
}

static uint64_t term_of(const struct sim_raft_trace *t, uint64_t term)
{
    return term <= t->term0 ? 1 : term - t->term0 + 1;
}
static uint64_t index_of(const struct sim_raft_trace *t, uint64_t index)
{
    return index == 0 ? 0 : index <= t->index0 ? 1 : index - t->index0 + 1;
}

static struct traced *node(struct sim_raft_trace *t, uint64_t id)
{
    for (unsigned i = 0; i < t->count; i++)
        if (t->nodes[i].id == id) return &t->nodes[i];
    return NULL;
}

static struct state state_of(const struct sim_raft_trace *t, const struct traced *n, const struct raft *r)
{
    static const char *const roles[] = {"StateFollower", "StateFollower", "StateCandidate", "StateLeader"};
    struct raft_view v;
    raft_view(r, &v);
    return (struct state){term_of(t, v.term), v.vote, n->commit, index_of(t, v.last_index), roles[v.role]};
}

/* ---- lines ---- */

static void write_line(struct sim_raft_trace *t, struct traced *n, const char *name, const struct state *s,
                       const struct spoken *m)
{
    /* Tools sort the lines by their time: here it counts them. */
    fprintf(t->out,
            "{\"level\":\"debug\",\"ts\":1%09" PRIu64 ".%06" PRIu64
            ",\"caller\":\"sim/raft_trace.c\",\"msg\":\"trace\",\"tag\":\"trace\",",
            t->lines / 1000000, t->lines % 1000000);
    fprintf(t->out,
            "\"event\":{\"name\":\"%s\",\"nid\":\"%" PRIu64 "\",\"state\":{\"term\":%" PRIu64 ",\"vote\":\"%" PRIu64
            "\",\"commit\":%" PRIu64 "},\"role\":\"%s\",\"log\":%" PRIu64 ",\"conf\":[[",
            name, n->id, s->term, s->vote, s->commit, s->role, s->log);
    for (unsigned i = 0; i < t->count; i++) fprintf(t->out, "%s\"%" PRIu64 "\"", i != 0 ? "," : "", t->nodes[i].id);
    fprintf(t->out, "],[]]");
    if (m != NULL)
        fprintf(t->out,
                ",\"msg\":{\"type\":\"%s\",\"term\":%" PRIu64 ",\"from\":\"%" PRIu64 "\",\"to\":\"%" PRIu64
                "\",\"entries\":%" PRIu64 ",\"logTerm\":%" PRIu64 ",\"index\":%" PRIu64 ",\"commit\":%" PRIu64
                ",\"vote\":\"0\",\"reject\":%s,\"rejectHint\":0}",
                m->type, m->term, m->from, m->to, m->entries, m->log_term, m->index, m->commit,
                m->reject ? "true" : "false");
    fprintf(t->out, "}}\n");
    t->lines++;
    n->events++;
    n->changed = true;
}

static const char *receive_name(const struct spoken *m)
{
    if (strcmp(m->type, "MsgVote") == 0) return "ReceiveRequestVoteRequest";
    if (strcmp(m->type, "MsgVoteResp") == 0) return "ReceiveRequestVoteResponse";
    return strcmp(m->type, "MsgApp") == 0 ? "ReceiveAppendEntriesRequest" : "ReceiveAppendEntriesResponse";
}

static void hear_match(struct sim_raft_trace *t, struct traced *n, uint64_t term, const struct spoken *m)
{
    if (strcmp(m->type, "MsgAppResp") != 0 || m->reject || m->term != term) return;
    struct traced *from = node(t, m->from);
    uint64_t *match = &n->match[from - t->nodes];
    *match = MAX(*match, m->index);
}

/* Events of one node come after the message that they follow from. */
static void tell_received(struct sim_raft_trace *t, struct traced *n)
{
    if (!n->receiving || n->told || !n->known) return;
    n->told = true;
    write_line(t, n, receive_name(&n->message), &n->before, &n->message);
    hear_match(t, n, n->before.term, &n->message);
}

static void event(struct sim_raft_trace *t, struct traced *n, const struct raft *r, const char *name,
                  const struct spoken *m)
{
    tell_received(t, n);
    struct state s = state_of(t, n, r);
    write_line(t, n, name, &s, m);
}

/* ---- messages under way ---- */

static void remember(struct sim_raft_trace *t, const struct raft_message *as, const struct spoken *spoken)
{
    if (t->sent_count == SENT_MAX) {
        memmove(t->sent, t->sent + SENT_MAX / 2, SENT_MAX / 2 * sizeof *t->sent);
        t->sent_count = SENT_MAX / 2;
    }
    t->sent[t->sent_count++] = (struct sent){*as, *spoken};
}

static bool same(const struct raft_message *a, const struct raft_message *b)
{
    return a->type == b->type && a->flags == b->flags && a->from == b->from && a->to == b->to && a->term == b->term &&
           a->index == b->index && a->log_term == b->log_term && a->commit == b->commit && a->hint == b->hint &&
           a->read_seq == b->read_seq && a->epoch == b->epoch && a->entry_count == b->entry_count;
}

/* Takes the oldest message that looked like this. */
static bool recall(struct sim_raft_trace *t, const struct raft_message *as, struct spoken *out)
{
    for (size_t i = 0; i < t->sent_count; i++) {
        if (!same(&t->sent[i].as, as)) continue;
        *out = t->sent[i].spoken;
        memmove(t->sent + i, t->sent + i + 1, (--t->sent_count - i) * sizeof *t->sent);
        return true;
    }
    return false;
}

static void on_send(struct sim_raft_trace *t, struct traced *n, const struct raft *r, const struct raft_message *m)
{
    struct spoken s = {.term = term_of(t, m->term), .from = m->from, .to = m->to};
    struct raft_progress p;
    switch (m->type) {
    case RAFT_VOTE:
        s.type = "MsgVote";
        s.index = index_of(t, m->index);
        s.log_term = term_of(t, m->log_term);
        event(t, n, r, "SendRequestVoteRequest", &s);
        break;
    case RAFT_APPEND:
    case RAFT_BEAT: /* it says no more than an append without entries at what is known to match */
        s.type = "MsgApp";
        s.index = m->index;
        if (m->type == RAFT_BEAT) s.index = raft_peer_progress(r, m->to, &p) ? p.match : 0;
        if (m->entry_count != 0 && s.index < t->index0) return stop(t, n, "an entry from before the trace is sent");
        s.log_term = s.index == 0 ? 0 : term_of(t, s.index <= t->index0 ? 1 : raft_term_at(r, s.index));
        s.index = index_of(t, s.index);
        s.entries = m->entry_count;
        s.commit = MIN(n->commit, s.index + s.entries);
        event(t, n, r, "SendAppendEntriesRequest", &s);
        break;
    case RAFT_VOTE_REPLY:
    case RAFT_APPEND_REPLY:
    case RAFT_BEAT_REPLY: /* what it says follows from the request; out of turn it is no message of the specification's */
        if (n->receiving && n->known && m->to == n->message.from) n->reply = *m;
        return;
    case RAFT_SNAPSHOT: return stop(t, n, "a snapshot is offered");
    default: return;
    }
    if (t->on) remember(t, m, &s);
}

static void on_receive(struct sim_raft_trace *t, struct traced *n, const struct raft *r, const struct raft_message *m)
{
    struct raft_view v;
    raft_view(r, &v);
    n->receiving = true;
    n->told = false;
    n->reply.type = 0;
    n->before = state_of(t, n, r);
    n->events_before = n->events;
    n->known = recall(t, m, &n->message);
    /* Of the replica's own log as it is now. */
    uint64_t at = m->type == RAFT_BEAT && n->known ? n->message.index + t->index0 - 1 : m->index;
    n->log_ok = n->known && (n->message.index <= 1 ||
                             (at <= v.last_index && term_of(t, raft_term_at(r, at)) == n->message.log_term));
}

/* ---- what the specification makes of a message ---- */

static void reply(struct sim_raft_trace *t, struct traced *n, const char *type, uint64_t index, bool reject)
{
    if (n->reply.type == 0) return;
    struct spoken s = {.type = type,
                       .term = term_of(t, n->reply.term),
                       .from = n->id,
                       .to = n->reply.to,
                       .index = index,
                       .reject = reject};
    remember(t, &n->reply, &s);
}

static bool unchanged(const struct state *a, const struct state *b)
{
    return a->term == b->term && a->vote == b->vote && a->log == b->log && a->role == b->role;
}

static void on_vote(struct sim_raft_trace *t, struct traced *n, const struct raft *r, const struct state *now,
                    uint64_t last_term)
{
    const struct spoken *m = &n->message;
    uint64_t term = MAX(n->before.term, m->term), vote = m->term > n->before.term ? 0 : n->before.vote;
    bool ok = m->log_term > last_term || (m->log_term == last_term && m->index >= n->before.log);
    bool grant = m->term == term && ok && (vote == 0 || vote == m->from);
    if (now->term == term && now->vote == (grant ? m->from : vote)) {
        tell_received(t, n);
        reply(t, n, "MsgVoteResp", 0, !grant);
    } else if (!unchanged(now, &n->before)) {
        stop(t, n, "a vote was withheld, but the term was taken"); /* else it is as if the request had been lost */
    }
    (void)r;
}

static void on_append(struct sim_raft_trace *t, struct traced *n, const struct raft *r, const struct state *now)
{
    const struct spoken *m = &n->message;
    struct raft_view v;
    raft_view(r, &v);
    uint64_t end = m->index + m->entries;
    bool heard = m->term >= n->before.term, accepted = heard && n->log_ok;
    bool refused = (n->reply.flags & RAFT_FLAG_REJECT) != 0;
    if (n->reply.type == 0 || (accepted && refused)) { /* void, or not now: as if it had been lost */
        if (!unchanged(now, &n->before)) stop(t, n, "an append was refused, but the term was taken");
        return;
    }
    if (!accepted && !refused) return stop(t, n, "an append below the commit index was accepted");
    tell_received(t, n);
    if (!accepted) return reply(t, n, "MsgAppResp", 0, true);
    bool done = m->index + 1 <= n->commit;
    if (done && now->log != n->before.log) return stop(t, n, "an append from below the commit index brought entries");
    reply(t, n, "MsgAppResp", done ? n->commit : end, false);
    if (!done) n->commit = MAX(n->commit, MIN(m->commit, end));
    if (index_of(t, v.commit) > n->commit) stop(t, n, "it knows of a commit that the message does not tell of");
}

static void on_received(struct sim_raft_trace *t, struct traced *n, const struct raft *r, const struct raft_message *m)
{
    struct state now = state_of(t, n, r);
    if (!n->known) {
        if (n->events == n->events_before &&
            (now.term != n->before.term || now.log != n->before.log || now.vote != n->before.vote))
            stop(t, n,
                 m->type == RAFT_PRE_VOTE_REPLY ? "a later term was heard in a refused pre-vote"
                                                : "it was changed by a message of another kind");
    } else if (m->type == RAFT_VOTE) {
        on_vote(t, n, r, &now, n->before.log <= 1 ? 1 : term_of(t, raft_term_at(r, n->before.log + t->index0 - 1)));
    } else if (m->type == RAFT_APPEND || m->type == RAFT_BEAT) {
        on_append(t, n, r, &now);
    } else {
        tell_received(t, n);
    }
    n->receiving = n->known = false;
}

/* ---- the others ---- */

static void tell_self_vote(struct sim_raft_trace *t, struct traced *n, const struct raft *r)
{
    struct state s = state_of(t, n, r);
    struct spoken m = {.type = "MsgVoteResp", .term = s.term, .from = n->id, .to = n->id};
    if (n->self_vote == s.term && strcmp(s.role, "StateCandidate") == 0)
        event(t, n, r, "ReceiveRequestVoteResponse", &m);
    n->self_vote = 0;
}

static void on_ready(struct sim_raft_trace *t, struct traced *n, const struct raft *r)
{
    if (!n->changed) return;
    event(t, n, r, "Ready", NULL);
    n->durable = state_of(t, n, r);
    n->changed = false;
    if (n->self_vote != 0) tell_self_vote(t, n, r);
}

static void on_appended(struct sim_raft_trace *t, struct traced *n, const struct raft *r)
{
    struct raft_view v;
    raft_view(r, &v);
    const struct entry *e = raft_entry_peek(r, v.last_index);
    if (e->kind == ENTRY_CONF) return stop(t, n, "members change");
    tell_received(t, n);
    struct state s = state_of(t, n, r);
    s.log--;
    write_line(t, n, "Replicate", &s, NULL);
    s.log++;
    struct spoken m = {.type = "MsgAppResp", .term = s.term, .from = n->id, .to = n->id, .index = s.log};
    write_line(t, n, "SendAppendEntriesResponse", &s, &m);
    n->self_sent = s.log;
    n->self_term = s.term;
}

static void on_persisted(struct sim_raft_trace *t, struct traced *n, const struct raft *r)
{
    struct raft_view v;
    struct raft_progress p;
    raft_view(r, &v);
    if (v.role != RAFT_LEADER || n->self_term != term_of(t, v.term) || !raft_peer_progress(r, n->id, &p)) return;
    struct spoken m = {
        .type = "MsgAppResp", .term = n->self_term, .from = n->id, .to = n->id, .index = index_of(t, p.match)};
    if (m.index > n->self_sent || m.index <= n->match[n - t->nodes]) return;
    event(t, n, r, "ReceiveAppendEntriesResponse", &m);
    hear_match(t, n, n->self_term, &m);
}

static void on_commit(struct sim_raft_trace *t, struct traced *n, const struct raft *r)
{
    struct raft_view v;
    raft_view(r, &v);
    uint64_t commit = index_of(t, v.commit);
    if (v.role != RAFT_LEADER || commit <= n->commit) return;
    tell_received(t, n);
    unsigned have = 0;
    for (unsigned i = 0; i < t->count; i++) have += n->match[i] >= commit;
    if (have < t->count / 2 + 1) return stop(t, n, "it knows more of the others' logs than the messages tell");
    n->commit = commit;
    event(t, n, r, "Commit", NULL);
}

static void on_start(struct sim_raft_trace *t, struct traced *n, const struct raft *r)
{
    struct raft_view v;
    raft_view(r, &v);
    n->receiving = n->known = n->changed = false;
    n->self_vote = n->self_term = 0;
    n->commit = n->durable.commit;
    struct state s = state_of(t, n, r);
    if (v.suspect) return stop(t, n, "it came back with a log that it can't trust");
    if (s.term != n->durable.term || s.vote != n->durable.vote || s.log != n->durable.log)
        return stop(t, n, "it was ended while its disk was behind what it had said");
    memset(n->match, 0, sizeof n->match);
    event(t, n, r, "InitState", NULL);
}

static void on_follower(struct sim_raft_trace *t, struct traced *n, const struct raft *r)
{
    struct state s = state_of(t, n, r);
    const char *was = n->receiving ? n->before.role : n->durable.role;
    if (n->receiving && n->known && n->message.term > n->before.term) return; /* follows from the message */
    if (s.term != n->durable.term && !n->receiving) return;
    if (n->receiving && n->known && strcmp(n->message.type, "MsgApp") == 0) return;
    if (strcmp(was, "StateFollower") != 0 && strcmp(s.role, "StateFollower") == 0 &&
        s.term == (n->receiving ? n->before.term : s.term))
        event(t, n, r, "BecomeFollower", NULL);
    if (!n->receiving) n->durable.role = s.role;
}

static void on_candidate(struct sim_raft_trace *t, struct traced *n, const struct raft *r)
{
    event(t, n, r, "BecomeCandidate", NULL);
    struct state s = state_of(t, n, r);
    struct spoken m = {.type = "MsgVoteResp", .term = s.term, .from = n->id, .to = n->id};
    event(t, n, r, "SendRequestVoteResponse", &m);
    n->self_vote = s.term;
}

static void on_leader(struct sim_raft_trace *t, struct traced *n, const struct raft *r)
{
    struct state s = state_of(t, n, r);
    event(t, n, r, "BecomeLeader", NULL);
    memset(n->match, 0, sizeof n->match);
    n->match[n - t->nodes] = s.log;
}

void sim_raft_trace_event(void *trace, const struct raft *r, enum raft_trace_kind kind, const struct raft_message *m)
{
    struct sim_raft_trace *t = trace;
    struct raft_trace_id id;
    raft_trace_id(r, &id);
    if (!t->on || id.group_id != t->partition) return;
    struct traced *n = node(t, id.replica_id);
    if (n == NULL) return;
    switch (kind) {
    case RAFT_TRACE_START: on_start(t, n, r); break;
    case RAFT_TRACE_RECEIVE: on_receive(t, n, r, m); break;
    case RAFT_TRACE_RECEIVED: on_received(t, n, r, m); break;
    case RAFT_TRACE_CANDIDATE: on_candidate(t, n, r); break;
    case RAFT_TRACE_LEADER: on_leader(t, n, r); break;
    case RAFT_TRACE_FOLLOWER: on_follower(t, n, r); break;
    case RAFT_TRACE_APPEND: on_appended(t, n, r); break;
    case RAFT_TRACE_COMMIT: on_commit(t, n, r); break;
    case RAFT_TRACE_SEND: on_send(t, n, r, m); break;
    case RAFT_TRACE_READY: on_ready(t, n, r); break;
    case RAFT_TRACE_PERSISTED: on_persisted(t, n, r); break;
    case RAFT_TRACE_RESTORED: stop(t, n, "a snapshot was installed"); break;
    }
}

/* ---- the beginning ---- */

static const struct raft *raft_on(struct sim_raft_trace *t, struct sim_server *s)
{
    if (s->node == NULL || !world_running(s->machine)) return NULL;
    for (uint16_t i = 0; i < s->node->shard_count; i++)
        for (size_t k = 0; k < s->node->shards[i].host_count; k++) {
            struct replica *r = s->node->shards[i].hosts[k] != NULL
                                    ? host_replica(s->node->shards[i].hosts[k], t->partition)
                                    : NULL;
            if (r != NULL) return r->raft;
        }
    return NULL;
}

bool sim_raft_trace_begin(struct sim_raft_trace *t, struct sim_cluster *c, unsigned voters)
{
    const struct raft *rafts[SIM_NODES_MAX];
    struct raft_view first = {0}, v;
    unsigned n = 0, leaders = 0;
    for (unsigned i = 0; i < c->count; i++)
        if ((rafts[n] = raft_on(t, &c->servers[i])) != NULL) n++;
    if (n != voters || n > NODES_MAX) return false;
    for (unsigned i = 0; i < n; i++) {
        raft_view(rafts[i], &v);
        if (i == 0) first = v;
        leaders += v.role == RAFT_LEADER;
        bool alike = v.term == first.term && v.last_index == first.last_index && v.commit == first.last_index &&
                     v.config->count == voters;
        if (!alike || v.suspect || !v.config_committed || v.transferring || raft_config_joint(v.config)) return false;
        for (unsigned k = 0; k < voters; k++)
            if (v.config->members[k].roles != RAFT_VOTER) return false;
    }
    if (leaders != 1) return false;
    t->term0 = first.term;
    t->index0 = first.last_index;
    t->count = n;
    for (unsigned i = 0; i < n; i++) {
        struct raft_trace_id id;
        raft_trace_id(rafts[i], &id);
        t->nodes[i] = (struct traced){.id = id.replica_id, .commit = 1};
    }
    t->on = true;
    for (unsigned i = 0; i < n; i++) {
        event(t, &t->nodes[i], rafts[i], "InitState", NULL);
        t->nodes[i].durable = state_of(t, &t->nodes[i], rafts[i]);
        t->nodes[i].changed = false;
    }
    return true;
}
