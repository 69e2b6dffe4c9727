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

struct sim_server {
    struct sim_cluster *cluster;
    unsigned index;
    struct sim_node *machine;
    struct node *node; /* NULL: not running */
    char host[16], address[32], join[32];
    bool ready, stopped, restart_planned;
    bool gone; /* for good */
    unsigned storage_faults;
    uint64_t disk_capacity;
};

struct sim_cluster {
    struct world *world;
    struct sim_cluster_options options;
    struct node_options base;
    struct sim_server servers[SIM_NODES_MAX];
    char addresses[SIM_NODES_MAX][32];
    unsigned count;
    struct sim_moves *moves;
    unsigned corruptible; /* the one node whose storage may be damaged */
    bool disturbing, planned;
    struct rng frame_rng;
    uint64_t frame_one_in[3]; /* FAULT_FRAME_DROP …: of all frames, while faults happen; 0: none */
    uint64_t frame_burst_one_in[3], frame_burst_until_ns[3];
    char finding[400];
    uint64_t copies_compared;
    struct sim_cluster_counters counters;
};

enum mesh_fate sim_frame_fate(void *server, const struct mesh_frame *f, uint64_t *out_delay_ns);
void sim_draw_frame_faults(struct sim_cluster *c);
void server_start(struct sim_server *s);
void server_crash(struct sim_server *s, enum sim_crash kind);
void server_restart_later(struct sim_server *s, uint64_t delay_ns);
struct sim_server *cluster_add(struct sim_cluster *c);

#endif
