/* raft_internal.h - the state of one group's raft, shared by the raft_*.c files.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reading order: raft.c (new, step, tick, ready), raft_vote.c, raft_append.c, raft_beat.c, then the rest.
 * Names:         a function of another file is raft_FILE_verb; one that handles a message is on_MESSAGE. */
#ifndef CAIRN_CONSENSUS_RAFT_INTERNAL_H
#define CAIRN_CONSENSUS_RAFT_INTERNAL_H

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "consensus/raft.h"

#define NEVER UINT64_MAX

/* ---- raft_log.c: which term each index has, and the newest entries ---- */

/* Entries from `first` on, up to the next run's first, have this term. */
struct raft_run {
    uint64_t first, term;
};

struct raft_log {
    uint64_t base_index, base_term; /* the entry before the first one kept */
    uint64_t last_index;            /* base_index when empty */
    hlc_t last_ts;
    struct raft_run *runs; /* by rising first and term; the last one is where nearly all lookups end */
    uint32_t run_count, run_cap;
    struct entry **ring; /* slot index & (ring_cap - 1), for tail_first … last_index */
    uint32_t ring_cap;   /* 0 or a power of two */
    uint64_t tail_first; /* last_index + 1 when no entry is in memory */
    uint64_t tail_bytes;
};

void raft_log_deinit(struct raft_log *l);
void raft_log_append(struct raft_log *l, struct entry *e); /* takes a reference of its own */
void raft_log_truncate(struct raft_log *l, uint64_t from); /* drops entries from `from` on */
void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term, hlc_t last_ts);
void raft_log_compact(struct raft_log *l, uint64_t index);
/* Oldest first, never above up_to. The oldest that is not applied stays while those behind it have room. */
void raft_log_evict(struct raft_log *l, uint64_t bytes_max, uint64_t up_to, uint64_t applied);
struct entry *raft_log_peek(const struct raft_log *l, uint64_t index);
uint64_t raft_log_term(const struct raft_log *l, uint64_t index); /* 0: unknown */
uint64_t raft_log_last_term(const struct raft_log *l);
/* The largest index at or below `index` whose term is at most `term`, down to base_index. */
uint64_t raft_log_find_term(const struct raft_log *l, uint64_t index, uint64_t term);
uint64_t entry_bytes(const struct entry *e); /* what it counts as in all byte budgets */

/* ---- members ---- */

enum peer_state {
    PEER_PROBE,     /* where its log matches is unknown: one append at a time */
    PEER_REPLICATE, /* appends are sent ahead of their answers */
    PEER_SNAPSHOT,  /* it needs a snapshot: no appends until it is installed or given up */
};

enum peer_vote { VOTE_NONE, VOTE_GRANTED, VOTE_REFUSED };

struct inflight {
    uint64_t last; /* index of the append's last entry */
    uint64_t bytes;
};

struct raft_peer {
    uint64_t id;
    store_addr_t store;
    uint8_t roles;
    /* replication: of a leader */
    enum peer_state state;
    bool probe_sent; /* PROBE: an append is out; wait for its answer or the timer */
    bool busy;       /* it refuses entries for now */
    bool fetching;   /* the driver reads old entries for it */
    uint64_t match, next;
    uint64_t snapshot_index; /* SNAPSHOT: being streamed; 0: asked for, not begun */
    uint64_t sent_commit, known_commit;
    uint64_t notice_ns; /* when to tell it of the commit; NEVER: nothing to tell */
    struct inflight *inflights;
    uint32_t inflight_head, inflight_count, inflight_cap; /* a ring; cap is a power of two */
    uint64_t inflight_bytes;
    uint64_t timer_ns;   /* send again at; NEVER: nothing is awaited */
    uint64_t backoff_ns; /* between timers, doubled while nothing comes back */
    uint64_t last_active_ns;
    /* leases and reads */
    uint64_t epoch;    /* it promised under this one, in our term; 0: not */
    uint64_t read_seq; /* the newest read round that it answered */
    /* suspects (README) */
    bool suspect;          /* its answers say so: it counts for nothing */
    bool confirmed;        /* told so: its next answer should be clean */
    uint64_t suspect_boot; /* its boot count when it said so */
    uint64_t voted_boot; /* … when it answered our request for a vote in this term; 0: it did not, or was no suspect */
    uint64_t
        confirm_index; /* above all that it can have acknowledged before; committed without it, an entry from here on
                             * shows that its lost votes did no harm */
    /* elections */
    enum peer_vote vote;
    uint8_t vote_flags; /* SUSPECT, DAMAGED */
};

struct raft_config_at {
    uint64_t index, term; /* of its entry; 0, 0: it came with the state or a snapshot */
    struct raft_config config;
};

/* While the store of this leader is supported under this epoch, we are bound (README, invariant 6). */
struct raft_promise {
    uint64_t leader; /* 0: none */
    store_addr_t store;
    uint64_t term, epoch;
};

struct pending_read {
    uint64_t id, index;
    uint64_t seq; /* the round it waits for; 0: none yet */
};

/* What one raft_ready hands out. Two of them take turns, so that what was handed out stays put while new is gathered.
 */
struct outbox {
    struct raft_message *before, *after;
    uint32_t before_count, before_cap, after_count, after_cap;
    struct entry **entries; /* references held for the messages in `before` */
    uint32_t entry_count, entry_cap;
    struct raft_fetch fetches[RAFT_MEMBERS_MAX];
    uint32_t fetch_count;
    struct raft_read *reads;
    uint32_t read_count, read_cap;
};

struct raft {
    uint64_t group_id, id;
    store_addr_t store;
    struct raft_limits limits;
    const struct liveness *liveness;
    struct rng rng;
    uint64_t now_ns;
    bool started;
    raft_trace_fn trace;
    void *trace_ctx;

    uint64_t term, vote;
    bool term_durable; /* an answer that shows the term may go before the disk is done */
    enum raft_role role;
    uint64_t leader; /* 0: unknown */
    store_addr_t leader_store;
    uint64_t leader_heard_ns; /* 0: not since it was lost */
    uint64_t leader_boot;     /* the boot count of its store, by its last message */
    struct raft_promise promise;
    uint64_t election_ns; /* when to campaign, if nothing binds us */

    struct raft_log log;
    uint64_t commit, applied, persisted;
    uint64_t persist_next; /* the first index not yet handed to the driver */
    uint64_t verified;     /* follower: up to here the log is known to match this term's leader's */
    bool suspect, damaged, busy;

    struct raft_config_at *configs; /* by rising index: the last one committed, then those after it */
    uint32_t config_count, config_cap;
    struct raft_peer peers[RAFT_MEMBERS_MAX]; /* the members of the last config, ourselves too, by rising id */
    uint32_t peer_count;

    /* leader */
    uint64_t own_first; /* our first entry of this term; commits what came before */
    uint64_t uncommitted_bytes;
    hlc_t floor;          /* the bounds of the votes that elected us */
    bool vote_transfer;   /* candidate: the old leader agreed */
    bool unanimous;       /* elected by all voters, suspects too */
    bool confirm_wanted;  /* a suspect waits for an entry to commit without it */
    uint64_t transfer_to; /* 0: none under way */
    uint64_t transfer_deadline_ns, transfer_resend_ns;
    bool lease_void;            /* TIMEOUT_NOW was sent in this term */
    struct pending_read *reads; /* a ring of limits.reads_max, made by the first read that waits */
    uint32_t read_head, read_count;
    uint64_t read_seq;      /* the newest round sent */
    uint64_t read_done_seq; /* the newest round that a quorum answered */
    /* former leader: its followers may still be bound by promises that are void */
    uint64_t release_term; /* 0: none */
    uint64_t release_ns;

    struct outbox boxes[2];
    uint32_t box; /* the one being filled */
    bool vote_changed, suspect_cleared;
    bool unfit; /* can't lead: raft_set_unfit */
    enum raft_role told_role;
    uint64_t told_term, told_leader;
};

/* ---- raft.c ---- */
void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader, store_addr_t leader_store);
void raft_set_term(struct raft *r, uint64_t term);
/* A message to a peer, with the fields that all have filled in. */
struct raft_message raft_message_to(const struct raft *r, uint8_t type, uint64_t to, store_addr_t to_store);
void raft_send_before(struct raft *r, const struct raft_message *m);
void raft_send_after(struct raft *r, const struct raft_message *m);
struct raft_peer *raft_peer_find(struct raft *r, uint64_t id);
uint64_t raft_random_below(struct raft *r, uint64_t n);
/* The largest value that a quorum of each voter set reaches; value() of the members that count for nothing is 0. */
uint64_t raft_quorum(const struct raft *r, uint64_t (*value)(const struct raft *r, const struct raft_peer *p));
void raft_event(const struct raft *r, const char *what);
static inline void raft_trace(const struct raft *r, enum raft_trace_kind kind, const struct raft_message *m)
{
    if (r->trace != NULL) r->trace(r->trace_ctx, r, kind, m);
}

/* ---- raft_config.c ---- */
const struct raft_config *raft_config_now(const struct raft *r); /* the last in the log */
bool raft_is_voter(const struct raft *r);                        /* this replica, by the last config */
bool raft_sole_voter(const struct raft *r);
void raft_config_push(struct raft *r, uint64_t index, uint64_t term, const struct raft_config *c);
void raft_config_truncate(struct raft *r, uint64_t from); /* configs of entries from `from` on are undone */
void raft_config_prune(struct raft *r);                   /* those before the last committed are forgotten */
void raft_peers_sync(struct raft *r);
static inline unsigned raft_quorum_of(unsigned voters) { return voters / 2 + 1; }

/* ---- raft_vote.c ---- */
uint64_t raft_vote_turn_ns(const struct raft *r,
                           store_addr_t lost);        /* how long to wait before campaigning in its place */
uint64_t raft_election_timeout(const struct raft *r); /* at least limits.election_ns; more while syncs are slow */
void raft_vote_timer(struct raft *r, uint64_t least_ns, uint64_t random_ns);
bool raft_vote_bound(const struct raft *r, uint64_t candidate); /* a promise forbids to help this candidate */
bool raft_vote_silent(const struct raft *r);
bool raft_vote_able(const struct raft *r); /* could campaign, if nothing bound it */
void raft_vote_tick(struct raft *r);
void raft_vote_campaign(struct raft *r, bool pre, bool transfer);
void raft_vote_on_request(struct raft *r, const struct raft_message *m);
void raft_vote_on_reply(struct raft *r, const struct raft_message *m);

/* ---- raft_append.c: the leader's log to the others ---- */
void raft_become_leader(struct raft *r);
struct entry *raft_leader_append(struct raft *r, uint8_t kind, hlc_t ts, struct bytes head, struct bytes data);
void raft_append_flush(struct raft *r); /* sends what the budgets allow; by raft_ready */
void raft_append_probe(struct raft *r, struct raft_peer *p);
void raft_append_heard(struct raft *r, struct raft_peer *p, const struct raft_message *m);
void raft_append_advance(struct raft *r, struct raft_peer *p, uint64_t match);
void raft_append_tick(struct raft *r);
void raft_append_on_request(struct raft *r, const struct raft_message *m);
void raft_append_on_reply(struct raft *r, const struct raft_message *m);
void raft_commit_advance(struct raft *r);
void raft_commit_to(struct raft *r, uint64_t index);
bool raft_peer_settled(const struct raft *r, const struct raft_peer *p);
bool raft_peer_unreachable(const struct raft *r, const struct raft_peer *p);
void raft_peer_arm(struct raft *r, struct raft_peer *p);
void raft_inflight_clear(struct raft_peer *p);
/* Follower: a message of a leader of this term or a later one arrived. False: it is void. */
bool raft_heard_leader(struct raft *r, const struct raft_message *m);
/* Promises to the leader, if our store supports its store; returns the epoch for the answer. */
uint64_t raft_promise_make(struct raft *r);
void raft_suspect_clear(struct raft *r);

/* ---- raft_beat.c ---- */
void raft_beat_send(struct raft *r, struct raft_peer *p);
void raft_beat_flush(struct raft *r); /* starts a read round if reads wait */
void raft_beat_on_request(struct raft *r, const struct raft_message *m);
void raft_beat_on_reply(struct raft *r, const struct raft_message *m);
void raft_reads_fail(struct raft *r);
void raft_reads_check(struct raft *r);
bool raft_lease_holds(const struct raft *r);
uint64_t raft_activity_quorum(const struct raft *r); /* NEVER: a quorum supports us now */

/* ---- raft_snapshot.c ---- */
void raft_snapshot_want(struct raft *r, struct raft_peer *p);
void raft_snapshot_on_offer(struct raft *r, const struct raft_message *m);
void raft_snapshot_on_reply(struct raft *r, const struct raft_message *m);

/* ---- raft_transfer.c ---- */
void raft_transfer_tick(struct raft *r);
void raft_transfer_check(struct raft *r); /* sends TIMEOUT_NOW once the target has everything */
void raft_transfer_away(struct raft *r);  /* the leader is no member any more: to the best voter, or down */
void raft_transfer_on_timeout_now(struct raft *r, const struct raft_message *m);
void raft_release_begin(struct raft *r); /* tells all that promises made to us in this term are void */
void raft_release_tick(struct raft *r);
/* A peer's answer promises to follow us in a term that we do not lead (any more): release it. */
void raft_release_stranger(struct raft *r, const struct raft_message *m);
void raft_release_on(struct raft *r, const struct raft_message *m);

/* ---- raft_change.c ---- */
void raft_change_committed(struct raft *r); /* leader: the commit index rose */

#endif
