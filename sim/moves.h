/* moves.h - sequences of faults that aim at a leader, or at what a node has just reported.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_SIM_MOVES_H
#define CAIRN_SIM_MOVES_H

#include "sim/cluster.h"

/* Bits of sim_cluster_options.moves. */
enum {
    MOVE_SLOW_REPLIES = 1,    /* answers to a leader take long, then it is cut off */
    MOVE_RESTART_OTHERS = 2,  /* a leader is cut off, and the others are killed and come back at once */
    MOVE_PAUSE_LEADER = 4,    /* a leader stands still for longer than its lease */
    MOVE_CLOCK_AHEAD = 8,     /* a leader that one other does not hear jumps ahead, and is cut off */
    MOVE_LOSE_VOTES = 16,     /* voters lose power as they vote; others then ask them again */
    MOVE_CUT_IN_TWO = 32,     /* a minority with the leader, or without it */
    MOVE_CHURN = 64,          /* the newly elected is cut off, the one before comes back */
    MOVE_CUT_TRANSFERS = 128, /* who hands over leadership hears no more */
    MOVE_CUT_CHANGES = 256,   /* who changes members is cut off with one other */
    MOVE_DAMAGE_END = 512,    /* the end of a log rots, and the other nodes that have it are gone */
    MOVE_POWER = 1024,        /* killed, back, and all without power */
    MOVE_FIGURE8 = 2048,      /* the run of figure 8 of the Raft paper */
};

struct sim_moves;
/* Watches what nodes report, from now on: also whether a group had two leaders in one term. */
struct sim_moves *sim_moves_new(struct sim_cluster *c);
void sim_moves_begin(struct sim_moves *m); /* when the cluster is disturbed */
void sim_moves_end(struct sim_moves *m);

#endif
