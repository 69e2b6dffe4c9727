/* node_report.h - what a node says of itself: gathered from its shards by message, for status and metrics.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    node_report visits the shards, each writes its own part, and done gets them all, on the shard that asked.
 * Ownership:  the report is freed after done.
 * Threading:  call from a shard's thread; no shard sees another's part before it is finished.
 * Bounds:     REPORT_REPLICAS_MAX replicas of a shard, the others are counted. */
#ifndef CAIRN_NODE_NODE_REPORT_H
#define CAIRN_NODE_NODE_REPORT_H

#include "node/node_internal.h"

#define REPORT_REPLICAS_MAX 4096

struct report_follower {
    uint64_t replica_id;
    store_addr_t store;
    uint8_t roles;
    bool known, snapshotting, paused; /* known: this replica leads and follows its progress */
    uint64_t match, active_ns;        /* active_ns: since it was last heard */
};

struct report_replica {
    uint64_t partition_id, replica_id;
    uint32_t table, slot_lo, slot_hi;
    uint16_t store;
    enum raft_role role;
    uint64_t term, commit, applied, last_index, first_index, leader_node;
    struct op_counters counters;
    uint64_t lease_left_ns;
    bool suspect, stopped;
    char stopped_text[160];
    uint32_t rebuilds;
    bool lost;              /* damaged, and the only copy */
    char lost_text[256];    /* damaged, and nobody leads: what is gone; else "" */
    uint8_t follower_count; /* the other members */
    struct report_follower followers[RAFT_MEMBERS_MAX];
};

struct report_store {
    uint16_t store;
    bool failed;
    struct host_stats stats;
};

/* What meta's leader, if it is here, has heard. */
struct report_heard {
    uint64_t node_id, ago_ns;
};
struct report_led {
    uint64_t partition_id, term, leader_node;
    uint8_t voters;
};

struct report_shard {
    struct report_replica *replicas;
    size_t replica_count, replicas_omitted;
    struct report_store *stores;
    size_t store_count;
    struct mesh_peer_stats *peers;
    size_t peer_count;
};

struct node_report {
    /* shard 0's: */
    char unhealthy[500]; /* "": the node serves; else why it does not */
    bool meta_leads;
    struct report_heard *heard;
    size_t heard_count;
    struct report_led *led;
    size_t led_count;
    /* REPORT_ALL only */
    struct report_shard *shards;
    uint16_t shard_count;
};

enum report_scope { REPORT_HEALTH, REPORT_ALL };

/* done runs on s, once, never within the call; the doors of s may be closed by then. */
void node_report(struct shard *s, enum report_scope scope,
                 void (*done)(void *ctx, struct shard *s, const struct node_report *r), void *ctx);

#endif
