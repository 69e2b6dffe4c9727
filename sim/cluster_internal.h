/* cluster_internal.h - what cluster.c and disturb.c share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_SIM_CLUSTER_INTERNAL_H
#define CAIRN_SIM_CLUSTER_INTERNAL_H

#include "node/node.h"
#include "node/node_internal.h"
#include "sim/cluster.h"
#include "sim/disk.h"
#include "sim/moves.h"
#include "sim/net.h"
#include "sim/raft_watch.h"
#include "wire/http/http.h"

enum sim_removal { REMOVAL_NONE, REMOVAL_WANTED, REMOVAL_DONE };

struct sim_server {
    struct sim_cluster *cluster;
    unsigned index;
    struct sim_node *machine;
    struct node *node; /* NULL: not running */
    uint64_t node_id;  /* 0: it has not joined yet */
    char host[16], address[32], join[32];
    bool ready, stopped, restart_planned;
    uint64_t started_ns;
    bool member;            /* was ready once: others can join through it */
    bool gone;              /* for good */
    bool lost;              /* … with its disk; perhaps a successor has its machine now */
    bool revived, in_place; /* in_place: on the machine of one that is gone */
    enum sim_removal removal;
    unsigned storage_faults; /* calls that fail */
    bool damaged;            /* sectors that rot */
    bool fetch_catalog;      /* its copy of the catalog is damaged: at the next start it is taken away */
    uint64_t disk_capacity;
};

/* Who asks for removals; one at a time. */
struct sim_admin {
    struct sim_node *machine;
    struct env_loop *loop;
    struct env_timer timer;
    struct sim_server *target; /* NULL: none under way */
    char address[64];          /* whom to ask; empty: anybody */
    unsigned follows;
    bool asking;
};

struct sim_cluster {
    struct world *world;
    struct sim_cluster_options options;
    struct node_options base;
    struct sim_server servers[SIM_NODES_MAX];
    char addresses[SIM_NODES_MAX][32];
    unsigned count, address_count; /* addresses: of those that are not gone */
    unsigned corruptible;          /* the one node whose storage may be damaged */
    bool mending;                  /* a node was lost, and not all copies are there again */
    struct sim_admin admin;
    struct sim_moves *moves;
    struct raft_watch *watch;
    uint64_t held_node; /* of this node's appends those with entries of its own term are lost; 0: none */
    bool disturbing, planned;
    struct rng frame_rng;
    uint64_t frame_one_in[3]; /* FAULT_FRAME_DROP …: of all frames, while faults happen; 0: none */
    uint64_t frame_burst_one_in[3], frame_burst_until_ns[3];
    char finding[400];
    bool said;
    uint64_t copies_compared;
    struct sim_cluster_counters counters;
    struct past *past; /* NULL: no history is kept */
};

enum mesh_fate sim_frame_fate(void *server, const struct mesh_frame *f, uint64_t *out_delay_ns);
void sim_draw_frame_faults(struct sim_cluster *c);
void server_start(struct sim_server *s);
void server_crash(struct sim_server *s, enum sim_crash kind);
void server_restart_later(struct sim_server *s, uint64_t delay_ns);
/* machine NULL: a new one. */
struct sim_server *cluster_add(struct sim_cluster *c, struct sim_node *machine);
unsigned cluster_members(const struct sim_cluster *c); /* servers that are not gone or about to be */
/* It is gone for good and its disk with it: has it removed, and another one joins. */
void server_lose(struct sim_server *s);
void cluster_mend(struct sim_cluster *c); /* no more damage until all copies are there */
void server_gone(struct sim_server *s);
/* Are all partitions' members as wanted? caught_up: and have they all that is committed? */
bool cluster_whole(struct sim_cluster *c, bool caught_up, char *why, size_t why_size);
/* Is every node but this one running and ready, and none of its replicas a suspect? */
bool cluster_sound(struct sim_cluster *c, const struct sim_server *but);
void admin_start(struct sim_cluster *c);
void admin_remove(struct sim_server *s);
/* past.c */
void past_start(struct sim_cluster *c);
void past_free(struct sim_cluster *c);

#endif
