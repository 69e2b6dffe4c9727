/* cluster.h - a simulated cluster of Cairn nodes, and what disturbs it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   starts real nodes (node/node.h) on simulated machines, restarts those that end, draws faults from the seed, and
 *            looks into the nodes to compare replicas.
 * Budget:    storage is damaged on one node at a time only (a minority of every entry's copies), and on another one only once
 *            the first is replaced and all partitions have all their copies; power losses, kills, pauses, cuts, stalls and
 *            failing syncs hit any number of nodes at once. While a node is lost for good, no other one loses what it has not
 *            synced: whether a torn end is a loss can't be told then (decision 6).
 * Ownership: the cluster's memory is the harness's; nodes live in their processes. */
#ifndef CAIRN_SIM_CLUSTER_H
#define CAIRN_SIM_CLUSTER_H

#include <stdio.h>

#include "sim/world.h"

#define SIM_NODES_MAX 24 /* over a run, those that are gone included */

enum sim_fault {
    FAULT_KILL,
    FAULT_POWER,
    FAULT_POWER_ALL,
    FAULT_CUT_BOTH,
    FAULT_CUT_ONE_WAY,
    FAULT_CUT_BRIDGE, /* two halves that both reach one node */
    FAULT_ISOLATE,
    FAULT_RESET,
    FAULT_SLOW_LINK,
    FAULT_PAUSE,
    FAULT_STALL_LOOP,
    FAULT_CLOCK_JUMP,
    FAULT_CLOCK_DRIFT,
    FAULT_DISK_STALL,
    FAULT_DISK_SLOW,
    FAULT_DISK_FULL,
    FAULT_SYNC_ERROR,
    FAULT_WRITE_ERROR,
    FAULT_CORRUPTION, /* a sector of the log rots */
    FAULT_STOP,       /* orderly */
    FAULT_ADD_NODE,
    FAULT_REMOVE_NODE,  /* asked over HTTP, while it runs */
    FAULT_REPLACE_NODE, /* the disk is gone for good: the node is removed, another joins with an empty disk */
    /* Single messages between nodes; counted by message. Some of a run's whole time, more of them for a while. */
    FAULT_FRAME_DROP,
    FAULT_FRAME_REPEAT,
    FAULT_FRAME_DELAY,    /* and so others go past it */
    FAULT_CORRUPT_FILE,   /* a sector of the identity or of the kept catalog rots */
    FAULT_CORRUPT_ENGINE, /* … of the engine's files */
    FAULT_COUNT
};
const char *sim_fault_name(enum sim_fault f);

struct sim_cluster_options {
    unsigned nodes;  /* at first; 1 … 9 */
    unsigned shards; /* of each */
    unsigned partitions;
    uint64_t fault_every_ns;      /* on average; 0: none */
    uint32_t faults;              /* bits: which kinds may happen */
    bool small_limits;            /* limits shrunk at random */
    bool beyond_budget;           /* damage will hit a quorum, or the only copy: who stops for it is not replaced */
    unsigned profile;             /* enum sim_profile: sets limits */
    unsigned moves;               /* MOVE_* */
    struct sim_raft_trace *trace; /* NULL: none */
    bool repeats;                 /* every other frame between nodes comes twice */
};

struct sim_cluster;
struct sim_cluster *sim_cluster_new(struct world *w, const struct sim_cluster_options *options);
void sim_cluster_free(struct sim_cluster *c);
/* Where clients connect; grows when nodes are added. */
const char (*sim_cluster_addresses(struct sim_cluster *c))[32];
const unsigned *sim_cluster_address_count(struct sim_cluster *c);
bool sim_cluster_ready(const struct sim_cluster *c); /* every node was ready once since its last start */
void sim_cluster_disturb(struct sim_cluster *c, bool on);
/* Damages logs or engines of a quorum of the nodes, or of all, and restarts them: beyond the fault budget. */
void sim_cluster_beyond_budget(struct sim_cluster *c);
/* Does somebody say why it does not serve: a node that ended, a copy that is suspect, damaged or stopped? */
bool sim_cluster_said(struct sim_cluster *c);
void sim_cluster_count_beyond(struct sim_cluster *c, bool served);
/* No more faults; heals, unpauses, restarts everything that can be. */
void sim_cluster_heal(struct sim_cluster *c);
/* Have all partitions the members that the catalog wants, as many as there should be, all caught up; are all removed nodes
 * gone, and no copies left over? False: why says what is missing. */
bool sim_cluster_whole(struct sim_cluster *c, char *why, size_t why_size);
/* Starts those that were removed once more, on the disk they left with: they have to find out and end. Returns how many. */
unsigned sim_cluster_revive_removed(struct sim_cluster *c);
bool sim_cluster_removed_ended(struct sim_cluster *c); /* … and have they? False: it is a finding */
/* Do all replicas of each partition that have applied the same index have the same rows? False: prints which differ. */
bool sim_cluster_agrees(struct sim_cluster *c, FILE *out);
/* A node said it can't go on for a reason that the faults do not explain; NULL: none. */
const char *sim_cluster_finding(const struct sim_cluster *c);

struct sim_cluster_counters {
    uint64_t faults[FAULT_COUNT], starts, node_failures, elections, snapshots_sent, snapshots_installed, duplicates,
        conflicts, reads_lease, reads_index, damaged, torn, scrubs, removals, removals_refused, revived,
        catalogs_fetched, beyond_damage, beyond_served, beyond_stopped, prefetches, apply_fetches, applied_off,
        past_facts, past_confirmed, past_over, elections_checked;
};
/* Adds up what the nodes that run count themselves, and what ended ones had counted. */
void sim_cluster_counters(struct sim_cluster *c, struct sim_cluster_counters *out);

#endif
