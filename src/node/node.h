/* node.h - one node of a cluster: its shards, and all that runs on them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    puts the parts together. node_start opens the data directory, listens, and either founds a cluster, joins one,
 *             or comes back into the one it belongs to; node_stop hands leaderships over and closes everything.
 * Files:      identity.c who this node is (on disk); shard.c what runs on one shard; join.c founding and joining; node.c
 *             start, stop and news between shards; node_info.c INFO and CONFIG; node_http.c status, metrics, admin.
 * Threading:  node_start is called before the loops run, node_stop from any loop's thread; callbacks run on shard 0.
 * Errors:     what is wrong with directory, address or arguments comes from node_start; what fails later through `failed`. */
#ifndef CAIRN_NODE_NODE_H
#define CAIRN_NODE_NODE_H

#include "env/env.h"
#include "mesh/mesh.h"
#include "replica/host.h"

struct node;

struct node_options {
    const char *dir;
    const char *listen;    /* "host:port"; port 0: any free one */
    const char *advertise; /* the address told to others; NULL: listen, with the port taken */
    const char *join;      /* of any member, or NULL */
    uint16_t stores;       /* when the directory is new; later what is there counts */
    uint32_t partitions;   /* of the default table, when founding */
    uint8_t replicas;      /* wanted copies of the default table's partitions, when founding */
    uint64_t retention_ns; /* how long the default table keeps what is superseded, when founding; 0: not */
    bool redirects;        /* MOVED on all Redis connections */
    size_t clients_max;    /* of the whole node */
    size_t value_bytes_max;
    uint64_t request_timeout_ns;
    uint64_t accept_loss; /* host_options.accept_loss */
    uint8_t log_level;    /* enum diag_level; told to the process's sink only when it is changed while running */
    struct host_limits limits;
    /* All partitions of the default table have a leader and this node can serve. Once. May be NULL. */
    void (*ready)(void *ctx);
    /* The node can't go on: the process should end with this text. */
    void (*failed)(void *ctx, enum status st, const char *text);
    /* Disturbs single frames of the mesh (mesh_options.fate). NULL, but in the simulator. */
    enum mesh_fate (*frame_fate)(void *ctx, const struct mesh_frame *f, uint64_t *out_delay_ns);
    raft_trace_fn raft_trace; /* what the rafts do (raft_options.trace). NULL, but in the simulator */
    void *raft_trace_ctx;
    void (*stopped)(void *ctx); /* node_stop is done: the loops may be stopped */
    void *ctx;
};
void node_options_default(struct node_options *o);

enum status node_start(struct env *env, struct env_loop *const *loops, uint16_t loop_count,
                       const struct node_options *options, struct node **out, struct error *err);
/* Starts an orderly stop; `stopped` runs on shard 0 when it is done. */
void node_stop(struct node *n);
/* After `stopped`, with no loop running: frees the rest. */
void node_free(struct node *n);

uint16_t node_port(const struct node *n);
uint64_t node_id(const struct node *n); /* 0: not joined yet */

#endif
