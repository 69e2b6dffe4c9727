/* liveness.h - leases from store to store: one heartbeat per pair of stores stands for all groups between them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    store A asks store B for support; B promises to support A until a moment of B's own clock. A group whose
 *             leader is on A and whose follower on B has fortified that leadership (raft.h) counts B's support as its
 *             lease. So heartbeats do not grow with the number of groups, and a quiet group costs nothing. (CockroachDB's
 *             store liveness and leader leases; Gray and Cheriton, "Leases", 1989, for the rule of time.)
 * The rule:   B supports until (its clock at receipt) + lease_ns. A counts on it only until (its clock when it SENT that
 *             heartbeat) + lease_ns - drift_ns. Receipt is after sending, so A's view always ends first as long as the
 *             two monotonic clocks drift apart by less than drift_ns in lease_ns.
 * Epochs:     each time B's support of A lapses, B moves to a new epoch for A; what was promised under the old one is
 *             void. Epochs are above all that B used before a restart (high bits: B's count of starts, kept on disk).
 * HLC limit:  a heartbeat carries the highest timestamp that A may use; B acknowledges it once a bound at or above it is
 *             on B's disk. raft sends the bound with votes.
 * Threading:  pure: no clock, no I/O; one owner (the store). Time comes in with each call.
 * Settings:   lease_ns is the same on all stores of a cluster, for ever: silence after a restart lasts as long as support did.
 * Invariants: 1. support given to a store never ends earlier than was promised to it (to that boot of it: a store that comes
 *             back with a higher boot count has forgotten what it held). 2. an epoch is never reused. 3. a store asks for no
 *             support while its disk is stalled. 4. the acknowledged limit never falls, and is never above the durable bound. */
#ifndef CAIRN_CONSENSUS_LIVENESS_H
#define CAIRN_CONSENSUS_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hlc.h"
#include "base/list.h"
#include "base/map.h"

/* The address of a store in the cluster: node id in the high 48 bits, the store's number on it in the low 16. */
typedef uint64_t store_addr_t;
static inline store_addr_t store_addr(uint64_t node_id, uint16_t store) { return node_id << 16 | store; }
static inline uint64_t store_addr_node(store_addr_t a) { return a >> 16; }
static inline uint16_t store_addr_store(store_addr_t a) { return (uint16_t)a; }

/* A durable bound is asked for this far ahead of the limit, so that the disk is asked about twice a second, not per limit. */
#define LIVENESS_BOUND_AHEAD_MS 500

struct liveness_options {
    store_addr_t self;
    uint64_t boot_count;  /* how often this store was opened, counted on disk; below 2^32 */
    uint64_t start_ns;    /* monotonic time when it opened */
    uint64_t lease_ns;    /* how long support lasts */
    uint64_t drift_ns;    /* taken off the holder's side */
    uint64_t interval_ns; /* between heartbeats */
};

/* The two messages. Encoded by liveness_encode / liveness_decode into a mesh frame's body. */
struct liveness_beat {
    bool reply;
    store_addr_t from, to;
    uint64_t sent_ns;    /* the asker's monotonic clock; echoed unchanged in the reply */
    uint64_t asker_boot; /* the asker's boot count: support for an older one is not support for this one */
    uint64_t epoch;      /* reply: the epoch of the support given; 0: none given */
    hlc_t limit;         /* request: the limit asked for; reply: the limit acknowledged */
    bool asks;           /* request: false says "I am here, but my disk is stalled: give me no support" */
};

struct liveness_peer {
    store_addr_t addr;
    /* support that this peer gives to us */
    uint64_t from_epoch;    /* 0: none */
    uint64_t from_until_ns; /* our clock */
    hlc_t from_limit;       /* acknowledged by it */
    /* support that we give to it */
    uint64_t for_epoch;    /* current epoch; promises under another are void */
    uint64_t for_until_ns; /* our clock; 0: not supporting now */
    uint64_t for_boot;     /* the boot of it that we support */
    uint64_t
        for_sent_ns; /* its clock: when it sent the latest heartbeat seen; older ones are duplicates or overtaken */
    hlc_t for_limit; /* the highest limit it told us */
    uint64_t last_heard_ns;
    uint64_t rtt_ns; /* of the last echo */
    uint64_t next_beat_ns;
    unsigned groups;     /* how many local groups have a member there; 0: no heartbeats */
    bool lapse_untold;   /* our support lapsed in liveness_step; liveness_expire will tell */
    uint64_t told_epoch; /* the support that liveness_changes last told of; 0: none */
};

struct liveness {
    struct liveness_options options;
    struct map peers; /* store_addr → struct liveness_peer */
    uint64_t epoch_next;
    hlc_t limit_wanted;  /* ours, told to peers with the next heartbeat */
    hlc_t bound_durable; /* on our disk: at or above every limit that we acknowledged or use ourselves */
    hlc_t
        acknowledged; /* the highest limit that we acknowledged since we opened; before: the bound that was on disk then */
    bool disk_stalled;
    uint64_t sync_ns; /* how long the log's syncs took lately, at worst: elections allow for it */
};

void liveness_init(struct liveness *l, const struct liveness_options *options, hlc_t bound_durable);
void liveness_deinit(struct liveness *l);

/* A local group has (or no longer has) a member on that store. Creates the peer on first use. */
void liveness_ref(struct liveness *l, store_addr_t peer);
void liveness_unref(struct liveness *l, store_addr_t peer);
const struct liveness_peer *liveness_peer(const struct liveness *l, store_addr_t peer); /* NULL: unknown */

/* Heartbeats due at now_ns, at most max; returns how many. Call at least each interval_ns. */
size_t liveness_due(struct liveness *l, uint64_t now_ns, struct liveness_beat *out, size_t max);

/* When the next beat is due, or support runs out, in either direction; UINT64_MAX: never. */
uint64_t liveness_next_ns(const struct liveness *l, uint64_t now_ns);

/* A beat or a reply arrived. Returns true and fills *out_reply if a reply has to be sent. *out_bound_wanted is set when a
 * larger durable bound is needed before the limit can be acknowledged: write it, then call liveness_bound_durable. */
bool liveness_step(struct liveness *l, uint64_t now_ns, const struct liveness_beat *in, struct liveness_beat *out_reply,
                   hlc_t *out_bound_wanted);
void liveness_bound_durable(struct liveness *l, hlc_t bound);
/* The limit that this store wants to use from now on; never falls. Told to peers with the next heartbeats. Returns the bound
 * that must be made durable here for it (0: it is already): a store counts its own limit only up to its durable bound. */
hlc_t liveness_want_limit(struct liveness *l, hlc_t limit);
void liveness_disk_stalled(struct liveness *l, bool stalled);
/* How long the latest sync of the log took. The longest counts, and is forgotten slowly: an election whose votes can't be
 * durable before the next candidate's timer fires only makes terms climb. Call at each tick. */
void liveness_sync_took(struct liveness *l, uint64_t ns);

/* Lapses the support that has run out: calls lapsed(ctx, peer) for each store that we stopped supporting since the last
 * call, also if it is supported again under a new epoch. The driver calls raft_support_lost for the groups led from there. */
void liveness_expire(struct liveness *l, uint64_t now_ns, void (*lapsed)(void *ctx, store_addr_t peer), void *ctx);

/* The other direction: calls changed(ctx, peer) for each store whose support of US began, ended or changed its epoch since the
 * last call. The driver calls raft_support_changed for the groups that we lead and that have a member there. Call both after
 * each batch of beats and at least each interval_ns: quiet leaders have no timer of their own. */
void liveness_changes(struct liveness *l, uint64_t now_ns, void (*changed)(void *ctx, store_addr_t peer), void *ctx);

/* Does our support for that store, under that epoch, still hold? While true, promises made under it bind. */
bool liveness_supports(const struct liveness *l, store_addr_t peer, uint64_t epoch, uint64_t now_ns);
/* The epoch under which we support that store now; 0: we do not. */
uint64_t liveness_epoch_for(const struct liveness *l, store_addr_t peer, uint64_t now_ns);
/* Until when (our clock) does that store support us under that epoch? 0: not. For ourselves: UINT64_MAX. */
uint64_t liveness_until(const struct liveness *l, store_addr_t peer, uint64_t epoch);
/* The limit that this store has acknowledged; for ourselves the durable bound. */
hlc_t liveness_limit(const struct liveness *l, store_addr_t peer);
/* At or above every limit that this store has acknowledged or used, before its restarts too: what its votes carry. Not the
 * durable bound, which is rounded up: a leader starts above it, so each election would push the clock further ahead. */
hlc_t liveness_vote_bound(const struct liveness *l);
/* A store that has just restarted has forgotten its promises: until this moment it may neither vote nor campaign. At once
 * for a store opened for the first time. */
uint64_t liveness_silent_until(const struct liveness *l);

void liveness_encode(const struct liveness_beat *b, struct buf *out);
bool liveness_decode(struct bytes in, struct liveness_beat *out); /* false: malformed */

#endif
