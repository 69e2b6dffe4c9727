/* profile.h - named kinds of runs, each of which makes certain bugs likely to show.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   an ordinary run draws faults and operations evenly, so a bug that needs one fault right after another shows once in
 *            thousands of seeds. A profile sets the clients, the limits and the faults for one kind of trouble, and adds moves
 *            (moves.h): sequences of faults that aim at a leader or at what a node has just reported. A move does nothing that
 *            faults drawn by chance could not do as well.
 * Use:       `--profile NAME`; without it, some runs draw one from their seed. */
#ifndef CAIRN_SIM_PROFILE_H
#define CAIRN_SIM_PROFILE_H

#include "sim/client.h"
#include "sim/cluster.h"

enum sim_profile {
    PROFILE_NONE,
    PROFILE_LEASES,    /* leaders cut off while their leases run, with fast readers on each node */
    PROFILE_RESTARTS,  /* a leader cut off while all others restart within its lease */
    PROFILE_PAUSES,    /* leaders stand still for longer than their leases */
    PROFILE_CLOCKS,    /* a leader's clock runs ahead, and leadership changes; keys that expire */
    PROFILE_EXPIRY,    /* right clocks, keys that expire and are read long after */
    PROFILE_ELECTIONS, /* voters lose power as they vote */
    PROFILE_REPEATS,   /* five voters cut in two while messages come twice */
    PROFILE_CHURN,     /* each leader is cut off soon after its election, and the one before comes back */
    PROFILE_TRANSFERS, /* leaders do not hear of what became of their transfer */
    PROFILE_MEMBERS,   /* members change while the cluster is cut in two */
    PROFILE_DAMAGE,    /* the end of a log rots while the only other copy is out of reach */
    PROFILE_POWER,     /* everything loses power, again and again */
    PROFILE_CACHES,    /* next to nothing is kept in memory, and disks are slow */
    PROFILE_HASHES,    /* hashes that are deleted and made again */
    PROFILE_WATCHES,   /* keys that come and go while they are watched */
    PROFILE_COPIES,    /* every other message comes twice, requests long after their first copy */
    PROFILE_FIGURE8,   /* leaders cut off after partial replication, again and again: figure 8 of the Raft paper */
    PROFILE_COUNT
};
const char *sim_profile_name(enum sim_profile p);
/* False: there is none of that name. */
bool sim_profile_find(const char *name, enum sim_profile *out);
/* What the seed draws for a run that was not given one: none, half of the time. */
enum sim_profile sim_profile_of_seed(uint64_t seed);

/* Changes what the run has drawn. */
void sim_profile_apply(enum sim_profile p, struct world *w, struct sim_cluster_options *c,
                       struct sim_clients_options *k);
/* After the limits were shrunk. */
struct host_limits;
void sim_profile_limits(enum sim_profile p, struct rng *rng, struct host_limits *l);

#endif
