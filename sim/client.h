/* client.h - simulated clients: speak RESP over simulated streams to any node, and write down what they were told.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   each client is a process on a machine of its own: one operation at a time on objects shared by all clients,
 *            with think time, a timeout, and a new connection (to a node drawn anew) whenever one breaks.
 * Outcomes:  -UNAVAILABLE and -OVERLOADED say "not executed"; -UNKNOWN, a timeout and a broken connection leave a write open.
 *            Any other error is a finding: it is printed and fails the run.
 * Ownership: the caller owns the struct, zeroed; its memory is the harness's. */
#ifndef CAIRN_SIM_CLIENT_H
#define CAIRN_SIM_CLIENT_H

#include "sim/history.h"
#include "sim/world.h"

struct sim_clients;

struct sim_clients_options {
    unsigned count;
    const char (*addresses)[32]; /* of the nodes; may grow */
    const unsigned *address_count;
    uint64_t think_ns; /* on average, between operations of one client */
    uint64_t timeout_ns;
    unsigned objects;                /* in use at a time */
    unsigned ops_per_object;         /* then a new set of objects */
    uint8_t weights[SIM_OP_COUNT];   /* of the operations; all 0: the usual ones */
    uint64_t ttl_ms_min, ttl_ms_max; /* of SIM_WRITE_TTL; 0: 200 … 1223 */
    uint64_t watch_ns_max;           /* CAS: up to so long between what was seen and EXEC */
    unsigned rest_one_in;            /* thinks that last up to rest_ns_max; 0: none */
    uint64_t rest_ns_max;
    bool at_home;     /* each client keeps to a node of its own, mostly */
    unsigned readers; /* the first so many clients only read */
};

struct sim_clients *sim_clients_new(struct world *w, const struct sim_clients_options *options, struct history *h);
/* From now on: no new operations but one last read of each object that was ever used; done when all have succeeded. */
void sim_clients_finish(struct sim_clients *all);
bool sim_clients_finished(const struct sim_clients *all);
/* An answer that no Redis command should get: its text; NULL: none so far. */
const char *sim_clients_finding(const struct sim_clients *all);

struct sim_client_counters {
    uint64_t ok, failed, unknown, aborted, connections, by_op[SIM_OP_COUNT];
};
const struct sim_client_counters *sim_clients_counters(const struct sim_clients *all);

#endif
