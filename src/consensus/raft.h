/* raft.h - the Raft protocol of one group, as a pure step function.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    decides; the replica (replica/) does. Inputs: messages, ticks, proposals, completions. Outputs: what to
 *             persist, send, apply and answer, taken with raft_ready. No clock, no I/O.
 * Source:     Ongaro's dissertation (2014): 3 (Raft), 3.10 transfer, 4.3 joint consensus, 6.4 reads, 9.6 pre-vote; the
 *             CTRL paper (FAST '18) for suspect logs; liveness.h for leases.
 * Leases:     a follower's answer to the leader FORTIFIES the leader's term: it carries the epoch under which the
 *             follower's store supports the leader's store. While that support lasts, the follower neither campaigns nor
 *             grants a (pre-)vote to another. The leader's lease lasts as long as a quorum's support does. Groups send
 *             no periodic heartbeats of their own: a quiet group is silent.
 * Ownership:  the caller owns struct raft; entries are counted references. Outputs in raft_ready point into the raft
 *             and are valid until the next raft_ready (other calls in between do not move them).
 * Threading:  one owner. now_ns comes in with each call and never falls.
 * Errors:     proposals answer ST_NOT_LEADER, ST_OVERLOADED (uncommitted bytes at the bound), ST_BUSY (transfer or
 *             config change under way). Malformed messages are the decoder's business; here they are ignored if stale.
 * Invariants: numbered in README.md; raft_check tests them and is called at the end of every step. */
#ifndef CAIRN_CONSENSUS_RAFT_H
#define CAIRN_CONSENSUS_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/hlc.h"
#include "base/status.h"
#include "consensus/entry.h"
#include "consensus/liveness.h"

#define RAFT_MEMBERS_MAX 16

enum {                     /* raft_member.roles: bits */
       RAFT_VOTER = 1,     /* in the (incoming) voter set */
       RAFT_VOTER_OUT = 2, /* in the outgoing voter set of a joint configuration */
       RAFT_LEARNER = 4,   /* receives entries, counts for nothing */
};

struct raft_member {
    uint64_t replica_id;
    store_addr_t store;
    uint8_t roles;
};

/* Joint while any member has RAFT_VOTER_OUT: then decisions need a majority of both sets. */
struct raft_config {
    uint64_t epoch; /* of the catalog's plan that asked for it; for reports, not for safety */
    uint8_t count;
    struct raft_member members[RAFT_MEMBERS_MAX]; /* by rising replica_id */
};

bool raft_config_joint(const struct raft_config *c);
const struct raft_member *raft_config_find(const struct raft_config *c, uint64_t replica_id);
enum status raft_config_check(const struct raft_config *c, struct error *err); /* sorted, at least one voter, … */
void raft_config_encode(const struct raft_config *c, struct buf *out);
bool raft_config_decode(struct bytes in, struct raft_config *out);

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
const char *raft_role_name(enum raft_role role);

enum raft_message_type {
    RAFT_PRE_VOTE = 1,
    RAFT_PRE_VOTE_REPLY,
    RAFT_VOTE,
    RAFT_VOTE_REPLY,
    RAFT_APPEND, /* entries, or none: a probe */
    RAFT_APPEND_REPLY,
    RAFT_BEAT, /* read index rounds, waking, fortifying; carries commit and read_seq */
    RAFT_BEAT_REPLY,
    RAFT_SNAPSHOT,       /* offers: "I will stream you the state at (index, term)"; the driver moves the chunks */
    RAFT_SNAPSHOT_REPLY, /* installed, or failed */
    RAFT_TIMEOUT_NOW,    /* leadership transfer: the sender has given up its lease for this term */
    RAFT_RELEASE,        /* the leader steps down: its followers' promises for this term are void */
};

/* A BEAT or append is answered; the other requests may be. A RELEASE and a TIMEOUT_NOW carry the term that ends.
 * One message. entries are references the message borrows (when sent: from the raft; when received: from the driver). */
struct raft_message {
    uint8_t type;
    uint8_t flags;     /* RAFT_FLAG_* */
    uint64_t from, to; /* replica ids */
    store_addr_t from_store, to_store;
    uint64_t term;
    uint64_t
        index; /* append: index before the entries; (pre-)vote: last index; append or beat reply: up to where the log
                         * is known to match the leader's, or, rejected, the index asked about; snapshot and its reply: its index */
    uint64_t log_term;  /* term of `index` */
    uint64_t commit;    /* leader: its own; replies: the follower's, so that the leader knows who knows */
    uint64_t hint;      /* append reply, rejected: where to try next; with CONFIRM: how far its log must reach */
    uint64_t hint_term; /* append reply, rejected: the term there (so the leader skips a whole term at a time) */
    uint64_t
        read_seq; /* beat: the read round; echoed. Replies with FLAG_SUSPECT that are no beat's: the store's boot count */
    uint64_t
        epoch; /* replies of followers: fortifying epoch of its store for the leader's; 0: none. Leader's append, beat,
                         * snapshot: its store's boot count: from an older boot than support is given to, they are void */
    hlc_t bound; /* vote reply: at or above every HLC limit that the voter acknowledged (liveness_vote_bound) */
    uint32_t entry_count;
    struct entry *const *entries;
};
enum {
    RAFT_FLAG_REJECT = 1,   /* a reply that says no */
    RAFT_FLAG_TRANSFER = 2, /* vote: the old leader agreed: promises to it do not bind */
    RAFT_FLAG_SUSPECT = 4,  /* vote reply: my log may have lost entries; counts only if every voter grants */
    RAFT_FLAG_BUSY = 8,     /* append reply: not now (bytes not applied are at the bound) */
    RAFT_FLAG_DAMAGED = 16, /* with SUSPECT: by damage, not by a torn last batch */
    RAFT_FLAG_CONFIRM =
        32, /* append: a suspect whose log reaches `hint`, in boot read_seq, may trust log and votes again */
    RAFT_FLAGS = 63,
};

void raft_message_encode(const struct raft_message *m, struct buf *out);
/* All but the data of the last entry, which is the end of the message; returns that entry (NULL: there is none). */
struct entry *raft_message_encode_head(const struct raft_message *m, struct buf *out);
/* Decodes into m; entries are new references stored in out_entries (at most max of them), owned by the caller. */
enum status raft_message_decode(struct bytes in, struct raft_message *m, struct entry **out_entries, size_t max,
                                struct error *err);

/* The same of a message that lies in `whole`: a last entry of at least RAFT_TAKE_BYTES takes it instead of a copy. */
enum status raft_message_decode_taking(struct bytes in, struct buf *whole, struct raft_message *m,
                                       struct entry **out_entries, size_t max, struct error *err);
enum { RAFT_TAKE_BYTES = 64 * 1024 };

struct raft_limits {
    uint32_t append_bytes_max;   /* of entries in one append message */
    uint32_t inflight_bytes_max; /* sent to one peer and not acknowledged */
    uint32_t inflight_count_max;
    uint32_t uncommitted_bytes_max; /* proposals at the leader beyond: ST_OVERLOADED */
    uint32_t tail_bytes_max;        /* entries kept in memory; older ones come from the log through `fetch` */
    uint32_t reads_max;             /* waiting read-index rounds' reads */
    uint64_t election_ns; /* a follower without leader support waits this (more while its log syncs slowly), plus up
                                     * to as much by chance */
    uint64_t resend_ns;   /* an unanswered append or probe is sent again */
    uint64_t transfer_ns; /* a transfer not done by then is given up (the leader resumes) */
    uint64_t notice_ns;   /* a commit that no append carries is told to followers after this; 0: at once */
};

/* What a tracer is told, for tests (docs/raft-trace.md). It may look at the raft and change nothing. */
enum raft_trace_kind {
    RAFT_TRACE_START,     /* raft_start is done */
    RAFT_TRACE_RECEIVE,   /* a message will be looked at */
    RAFT_TRACE_RECEIVED,  /* … was */
    RAFT_TRACE_CANDIDATE, /* it campaigns in a new term */
    RAFT_TRACE_LEADER,    /* it was elected; its log is as it was before */
    RAFT_TRACE_FOLLOWER,  /* it leads or campaigns no more, or the term is new */
    RAFT_TRACE_APPEND,    /* as the leader it appended one entry, its last */
    RAFT_TRACE_COMMIT,    /* the commit index rose */
    RAFT_TRACE_SEND,      /* a message was put among the outputs; its entries are counted, not given */
    RAFT_TRACE_READY,     /* outputs were taken */
    RAFT_TRACE_PERSISTED, /* more of the log is durable */
    RAFT_TRACE_RESTORED,  /* a snapshot took the log's place */
};

struct raft;
/* m: of SEND, RECEIVE, RECEIVED; else NULL. */
typedef void (*raft_trace_fn)(void *ctx, const struct raft *r, enum raft_trace_kind kind, const struct raft_message *m);
struct raft_trace_id {
    uint64_t group_id, replica_id;
};
void raft_trace_id(const struct raft *r, struct raft_trace_id *out);

struct raft_options {
    uint64_t group_id;
    uint64_t replica_id;
    store_addr_t store;
    const struct raft_limits *limits;
    const struct liveness *liveness; /* read only: support given and received by this store */
    uint64_t seed;                   /* for election timeouts */
    raft_trace_fn trace;             /* NULL, but in tests */
    void *trace_ctx;
};

/* What the disk held when the replica was opened.
 *
 * A new group: several first members have to begin with the same state, as if restored from a snapshot (term = base_term =
 * 1, base_index = commit = applied = 1 and the first config); a first member that is alone may begin with zeros and that
 * config. A replica that joins later begins with zeros and no config: its leader gives it one, by the log from entry 1 or by a
 * snapshot (docs/decisions/0006). */
struct raft_state {
    uint64_t term, vote;
    uint64_t base_index, base_term; /* the entry before the first one in the log (0, 0: none) */
    uint64_t commit;                /* at least the applied index; above the log's end only if suspect */
    uint64_t applied;
    struct raft_config config; /* as of `applied`; entries after it may change it (given by raft_load) */
    bool suspect;              /* the log may have lost acknowledged entries or votes */
    bool damaged;              /* … by damage, not by a torn last batch (raft README, unanimous elections) */
    hlc_t last_ts;
};

enum raft_fetch_kind { RAFT_FETCH_ENTRIES, RAFT_FETCH_SNAPSHOT };
struct raft_fetch {
    uint8_t kind;
    uint64_t to;    /* the peer's replica id */
    uint64_t index; /* first entry wanted */
    uint32_t bytes_max;
};

struct raft_read {
    uint64_t id;        /* the caller's */
    uint64_t index;     /* answer once applied has reached it */
    enum status status; /* ST_OK, or ST_NOT_LEADER: leadership was lost */
};

/* What the driver must do, in this order: persist (append entries, then vote), send `before` at once, send `after` only when
 * all that was persisted up to now is durable, apply up to commit, answer reads. The entries to persist are in memory
 * (raft_entry_peek) until raft_persisted; entries to apply may have to be read from the log (peek gives NULL). */
struct raft_ready {
    bool vote_changed;     /* term or vote: persist raft->term, raft->vote */
    uint64_t persist_from; /* entries persist_from … persist_to to append (to < from: none); they replace any */
    uint64_t persist_to;   /* … suffix at or above persist_from */
    bool suspect_cleared;  /* persist that the log is whole again */
    const struct raft_message *before; /* may go before the disk has them: the leader's appends and beats, pre-votes */
    size_t before_count;
    const struct raft_message
        *after; /* only when durable: votes, requests for them, acknowledgements; they have no entries */
    size_t after_count;
    const struct raft_fetch *fetches;
    size_t fetch_count;
    const struct raft_read *reads;
    size_t read_count;
    uint64_t commit; /* apply up to here: committed, and durable here, so that the engine never runs ahead of the log */
    bool role_changed; /* role, term or leader differ from the last ready */
};

struct raft; /* see raft_internal.h; made by raft_new so that its size may change */

struct raft *raft_new(const struct raft_options *options, const struct raft_state *state, uint64_t now_ns);
void raft_free(struct raft *r);
/* Feeds entries found in the log at start, in order, from base_index+1 on. Takes references as it needs. */
void raft_load(struct raft *r, struct entry *e);
/* After the last raft_load. A group whose only voter is this replica may elect itself at the next tick. */
void raft_start(struct raft *r, uint64_t now_ns);

void raft_step(struct raft *r, uint64_t now_ns, const struct raft_message *m);
/* Call when raft_deadline has passed. */
void raft_tick(struct raft *r, uint64_t now_ns);
/* When raft_tick is next needed (UINT64_MAX: the group is quiet; liveness or a message will wake it). May change with each
 * call of the others, and with raft_ready. */
uint64_t raft_deadline(const struct raft *r);
/* Our store stopped supporting that store, or it came back: a follower of a leader there must reconsider. `urgent`: requests
 * are waiting, so campaign without the random wait, each voter in its turn. */
void raft_support_lost(struct raft *r, uint64_t now_ns, store_addr_t store, bool urgent);
/* The other store's support of ours began, ended or changed its epoch (liveness_changes): a leader asks for fortification
 * again, or starts the clock of check-quorum. */
void raft_support_changed(struct raft *r, uint64_t now_ns, store_addr_t store);

/* Leader only. Appends one entry (not ENTRY_CONF); gives its index and term. ts must be above raft_hlc_floor (look each time:
 * entries of raft's own may raise it) and above the whole of the entry before: raft sees only the first timestamp of an
 * entry. A NOOP repeats the last timestamp; a joint configuration is stamped with the highest limit that may have been read
 * at, because the new voters have not acknowledged it. */
enum status raft_propose(struct raft *r, uint64_t now_ns, uint8_t kind, hlc_t ts, struct bytes data,
                         uint64_t *out_index, uint64_t *out_term);
/* The same with the data in two parts, to save a copy. */
enum status raft_propose2(struct raft *r, uint64_t now_ns, uint8_t kind, hlc_t ts, struct bytes head, struct bytes data,
                          uint64_t *out_index, uint64_t *out_term);
/* Leader only. `id` comes back in ready.reads: at once with the lease, else after a read-index round. */
enum status raft_read(struct raft *r, uint64_t now_ns, uint64_t id);
/* Leader only: until when may it serve reads without asking (its clock); 0: no lease. Cheap: call it for each read. The
 * lease is void before an entry of its own term is committed, and while a transfer is under way. */
uint64_t raft_lease_until(const struct raft *r);
/* The highest timestamp that a quorum acknowledged whose promises hold at now_ns: close nothing and serve no read at a chosen
 * timestamp above it. A store that acknowledged but no longer supports us does not count: its vote may have gone to another
 * with a lower bound already (README, "limits"). 0: no lease. A read at the timestamp of the last applied entry needs no
 * limit, and neither does the stamp of a proposal: a new leader has every entry that committed. Our own store counts with
 * what liveness_want_limit asked for, as far as it is durable. */
hlc_t raft_hlc_limit(const struct raft *r, uint64_t now_ns);
/* A leader stamps and serves above this: the bounds of the votes that elected it, its own, and its log's last timestamp (the
 * first one of the last entry: the driver adds that entry's count). */
hlc_t raft_hlc_floor(const struct raft *r);

/* Entries up to (index, term) are durable, with all that was handed out before them. Reported in the order handed out; when
 * a ready replaces entries (persist_from at or below one not yet reported), the replaced ones are not reported any more. */
void raft_persisted(struct raft *r, uint64_t now_ns, uint64_t index, uint64_t term);
void raft_applied(struct raft *r, uint64_t index);
/* The answer to a fetch of entries: sends them. count 0: they are gone, a snapshot is needed. */
void raft_fetched(struct raft *r, uint64_t now_ns, uint64_t to, struct entry *const *entries, size_t count);
/* The driver has begun to stream (index, term) to the peer, or the stream ended. While one is active no appends go there. */
void raft_snapshot_begun(struct raft *r, uint64_t to, uint64_t index, uint64_t term);
void raft_snapshot_ended(struct raft *r, uint64_t now_ns, uint64_t to, bool installed);
/* Follower: may the driver install a snapshot of (index, term)? No if it would not bring anything, or would take away: a log
 * that has this entry may have acknowledged what comes after it. Ask again right before installing; then, and only then: */
bool raft_snapshot_wanted(const struct raft *r, uint64_t index, uint64_t term);
/* The driver installed it: the log restarts after (index, term), config as of it; unless it has that very entry by now, then it
 * goes on from there. */
void raft_restored(struct raft *r, uint64_t now_ns, uint64_t index, uint64_t term, const struct raft_config *config,
                   hlc_t last_ts);
/* Entries up to index (at most the applied one) are no longer needed in the log (term runs before it are dropped). */
void raft_compacted(struct raft *r, uint64_t index);
/* Follower: what is not applied yet is at its bound: refuse entries with FLAG_BUSY until told otherwise. The leader pauses,
 * and goes on when it hears of the end (or finds out by a probe). */
void raft_set_busy(struct raft *r, uint64_t now_ns, bool busy);
/* The replica can't apply (its rows are being replaced): it votes and acknowledges as before, for its log is whole, but it
 * neither campaigns nor takes over leadership. Not while it leads: step down first. */
void raft_set_unfit(struct raft *r, bool unfit);

/* Leader only: proposes a new member set (VOTER and LEARNER roles only; the raft goes through the joint configuration by
 * itself and leaves it once committed). ST_BUSY: a change is under way, or no own-term entry is committed yet. */
enum status raft_change(struct raft *r, uint64_t now_ns, const struct raft_config *target, struct error *err);
/* Leader only: hands leadership to a voter once it has the whole log. Proposals are refused (ST_BUSY) and the lease is off
 * meanwhile. If it fails after TIMEOUT_NOW was sent, the leader's lease stays off for the rest of its term, since the target may
 * yet campaign with voters that were told not to honour their promises: it steps down and asks to be elected anew at once. */
enum status raft_transfer(struct raft *r, uint64_t now_ns, uint64_t to, struct error *err);
/* Gives up leadership now (disk stall, shutdown): sends RELEASE, becomes follower, does not campaign for election_ns. */
void raft_step_down(struct raft *r, uint64_t now_ns, const char *reason);

/* For a store that no longer has the replica that a message is for: if the message promises to follow it, fills in the
 * RELEASE to send back, so that the sender looks for another leader; else false. */
bool raft_release_removed(const struct raft_message *m, struct raft_message *out);

void raft_ready(struct raft *r, struct raft_ready *out); /* takes the pending outputs */

/* What others may look at. */
struct raft_view {
    enum raft_role role;
    uint64_t term, vote, leader; /* leader: replica id, 0 unknown */
    store_addr_t leader_store;
    uint64_t commit, applied, last_index, first_index;
    bool suspect, damaged; /* damaged and the only voter: it will never lead; only a restore from elsewhere helps */
    bool transferring, busy;
    bool can_vote;                    /* a voter by its own configuration */
    const struct raft_config *config; /* the one in force: the last in the log */
    uint64_t config_index;            /* of its entry */
    bool config_committed;
};
void raft_view(const struct raft *r, struct raft_view *out);
struct entry *raft_entry_peek(const struct raft *r, uint64_t index); /* NULL: not in memory; borrowed */
uint64_t raft_term_at(const struct raft *r, uint64_t index);         /* 0: unknown (compacted, or beyond the end) */
/* Leader: how far a peer is. */
struct raft_progress {
    uint64_t match, next;
    bool snapshotting, paused;
    uint64_t inflight_bytes;
    uint64_t last_active_ns;
};
bool raft_peer_progress(const struct raft *r, uint64_t replica_id, struct raft_progress *out);
void raft_check(const struct raft *r); /* ASSERTs every invariant */

#endif
