/* raft_cluster.h - a cluster of rafts in one process, with a network, disks and clocks in the hands of a test.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   drives rafts as a replica would, but lets a test (a script, or a random run) decide what is delivered,
 * synced, lost and when; and watches every promise of the protocol with an oracle that sees all nodes at once. Checked:
 * one leader per term; equal (index, term) means equal entries; what is committed never changes and every later leader
 * has it; at most one node holds a lease at any true moment, and it knows all that was acknowledged; a read answers at
 * or above what was acknowledged when it came; nobody stamps at or below a time read at before. Errors:    the first
 * breach is kept in cluster.failure; the test looks at it. Nothing is asserted here. Threading: none. Only tests link
 * it. */
#ifndef CAIRN_CONSENSUS_RAFT_CLUSTER_H
#define CAIRN_CONSENSUS_RAFT_CLUSTER_H

#include "base/hash.h"
#include "consensus/raft.h"

#define CLUSTER_NODES_MAX 7
#define CLUSTER_LOG_MAX   8192 /* entries that one run may commit */

struct cluster_options {
    unsigned nodes;  /* replicas 1 … nodes, each on a store of its own */
    unsigned voters; /* replicas 1 … voters vote at first; the others are outside until a change */
    uint64_t seed;
    struct raft_limits limits;
    uint64_t lease_ns, drift_ns, interval_ns;
    unsigned urgent_one_in; /* of the followers that lose their leader's store, so many campaign at once; 0: none */
    bool disk_at_once;      /* what is written is durable at once */
    bool keep_log;          /* print what happens into cluster.text */
};

enum cluster_message_kind { CLUSTER_RAFT, CLUSTER_BEAT, CLUSTER_STATE };

struct cluster_message {
    uint64_t serial;
    uint64_t due_ns; /* true time; set by the test */
    unsigned from, to;
    uint8_t kind, type; /* type: of a raft message */
    struct buf bytes;
};

/* One write handed to a disk. */
struct cluster_write {
    uint64_t persist_from;
    struct entry **entries;
    uint32_t entry_count;
    bool vote_changed, clears_suspect, overtaken;
    uint64_t term, vote;
    uint64_t reset_index, reset_term; /* a snapshot; 0: none */
    hlc_t bound;                      /* 0: unchanged */
    struct raft_message *after;
    uint32_t after_count;
};

/* What applying gives; a snapshot of it goes to those who need one. */
struct cluster_machine {
    uint64_t applied, applied_term, hash;
    struct raft_config config;
    hlc_t last_ts;
};

struct cluster_disk {
    uint64_t term, vote, base_index, base_term, boot_count;
    struct entry **entries; /* base_index + 1 … */
    uint64_t count, cap;
    hlc_t bound;
    bool suspect, damaged;
    struct cluster_machine machine; /* as last flushed */
};

struct cluster_node {
    uint64_t id;
    bool up;
    uint64_t paused_until_ns; /* true time */
    uint64_t clock_offset_ns;
    int64_t clock_ppk; /* how much faster (in thousandths) its clock runs */
    struct raft *raft;
    struct liveness liveness;
    struct cluster_disk disk;
    struct cluster_machine machine;
    struct cluster_write *writes;
    uint32_t write_count, write_cap;
    uint64_t sync_due_ns;
    struct hlc hlc;
    bool snapshot_pending[CLUSTER_NODES_MAX + 1];
    uint64_t snapshot_end_ns[CLUSTER_NODES_MAX + 1]; /* true time; 0: none */
    bool snapshot_arrived[CLUSTER_NODES_MAX + 1];
    /* as last printed */
    enum raft_role told_role;
    uint64_t told_term, told_leader, told_commit, told_election;
    bool told_suspect;
};

struct cluster_read {
    unsigned node;
    uint64_t id, index_least;
    bool done;
};

struct cluster {
    struct cluster_options options;
    struct rng rng;
    uint64_t now_ns;                                  /* true time */
    struct cluster_node nodes[CLUSTER_NODES_MAX + 1]; /* by replica id; 0 is unused */
    struct cluster_message *net;
    uint32_t net_count, net_cap;
    uint64_t serial;
    bool cut[CLUSTER_NODES_MAX + 1][CLUSTER_NODES_MAX + 1]; /* from, to */
    bool cut_raft_only;                                     /* heartbeats of the stores pass through cuts */
    uint64_t raft_sent;                                     /* raft messages so far */
    /* the oracle */
    struct map leaders; /* term → node id + 1, as a pointer */
    struct map made;    /* hash of (index, term) → hash of the entry */
    uint64_t committed_term[CLUSTER_LOG_MAX], committed_hash[CLUSTER_LOG_MAX];
    uint64_t committed_in[CLUSTER_LOG_MAX]; /* the term of the first node that knew */
    uint64_t committed;                     /* the highest index that any node knew committed */
    uint64_t acked;                         /* … that a client was told of */
    hlc_t served;                           /* the highest time that a lease read was served at */
    uint64_t served_in;                     /* … by the leader of this term */
    struct cluster_read reads[64];
    uint32_t read_count;
    uint64_t read_id, reads_done, proposals_done, elections;
    char failure[300];
    struct buf text;
};

void cluster_init(struct cluster *c, const struct cluster_options *options);
void cluster_deinit(struct cluster *c);
uint64_t cluster_local_ns(const struct cluster *c, unsigned node); /* its own clock */

void cluster_start(struct cluster *c, unsigned node); /* from what its disk holds */
/* Loses all that is in memory; of the writes not yet durable the first `kept` survive. */
void cluster_crash(struct cluster *c, unsigned node, uint32_t kept);
/* The log loses its last `entries` (never below its base), and with lose_vote the vote; to be used on a crashed node.
 */
void cluster_damage(struct cluster *c, unsigned node, uint64_t entries, bool lose_vote, bool damaged);

/* Takes the raft's outputs and acts on them; called by all others here. */
void cluster_pump(struct cluster *c, unsigned node);
void cluster_sync(struct cluster *c, unsigned node, uint32_t count); /* the first `count` writes become durable */
void cluster_flush(struct cluster *c, unsigned node);                /* the machine as it is now survives a crash */
void cluster_compact(struct cluster *c, unsigned node, uint64_t index);
void cluster_deliver(struct cluster *c, uint32_t at); /* net[at] arrives (or not, if cut, or nobody is up) */
void cluster_lose(struct cluster *c, uint32_t at);
void cluster_repeat(struct cluster *c, uint32_t at); /* it will arrive twice */
/* Timers and heartbeats of a node that are due. */
void cluster_run_timers(struct cluster *c, unsigned node);
void cluster_beat(struct cluster *c, unsigned node); /* heartbeats due; expiry; changes */

enum status cluster_propose(struct cluster *c, unsigned node, struct bytes data);
enum status cluster_read(struct cluster *c, unsigned node);
unsigned cluster_leader(const struct cluster *c);                /* the up leader of the highest term; 0: none */
void cluster_check(struct cluster *c);                           /* what must hold at this very moment */
void cluster_describe(const struct cluster *c, struct buf *out); /* a line per node */
void cluster_fail(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- raft_script.c and raft_random.c: used by the tests and by the test of the tests ---- */

/* Runs a script file. True: it printed what it expects (or was rewritten); else the difference is in out_diff. */
bool raft_script_run(const char *path, struct buf *out_diff);
bool liveness_script_run(const char *path, struct buf *out_diff);

/* One random run. NULL: nothing was broken; else what (valid until the next run). */
const char *raft_random_run(uint64_t seed);

#endif
