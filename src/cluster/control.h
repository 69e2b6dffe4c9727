/* control.h - a node's part in running the cluster: its copy of the catalog, its reports, and, where meta leads, the plans.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    every node tells the nodes of the meta group, a few times a second, which catalog it has and which partitions it
 *             leads. Meta's leader answers with what is newer, remembers who is alive, and proposes the next changes
 *             (plan.h). The copy is kept in a file, so that a node finds its replicas and its peers after a restart.
 *             Replicas are made and dropped by a catalog that is in the file, and by no other: after a crash the node must
 *             neither forget one that has voted, nor know one whose votes it has thrown away.
 * Threading:  shard 0 (the meta partition's replicas are on store 0 of their nodes). Catalogs are published as counted,
 *             immutable snapshots.
 * Errors:     a copy that can't be written is reported and tried again; a damaged one is an error at start. */
#ifndef CAIRN_CLUSTER_CONTROL_H
#define CAIRN_CLUSTER_CONTROL_H

#include "cluster/plan.h"
#include "env/env.h"
#include "mesh/mesh.h"
#include "replica/host.h"

struct control;

/* What this node's shards know of the partitions they lead: kept up to date with control_led. */
struct control_options {
    struct env_loop *loop;
    struct mesh *mesh;
    const char *dir; /* of the node; the copy is dir/catalog */
    uint64_t node_id;
    uint64_t report_ns;                 /* between reports */
    uint64_t silent_ns;                 /* a node that has not reported for this long is not alive */
    struct replica *(*meta)(void *ctx); /* partition 1's replica, NULL if it is not here */
    /* A newer catalog is here; take a reference to keep it. */
    void (*publish)(void *ctx, struct catalog *c);
    /* This one is in the copy on disk; likewise. Not each that was published: one of them, and all that came before. */
    void (*saved)(void *ctx, struct catalog *c);
    /* Who leads a partition in a term, as meta has heard; said again with every answer of meta. */
    void (*leader)(void *ctx, uint64_t partition_id, store_addr_t leader, uint64_t term);
    /* Proposes a catalog op; body is borrowed. The outcome comes through the catalog. */
    void (*propose)(void *ctx, uint16_t opcode, struct bytes body);
    void *ctx;
};

/* first is published and saved already, if it is of epoch 1 or later. */
struct control *control_new(const struct control_options *options, struct catalog *first);
/* On its loop: from here on it does nothing. NULL is fine, and so is a second time. */
void control_stop(struct control *c);
/* With its loop no longer running: what it had queued there has run, or never will. NULL is fine. */
void control_free(struct control *c);
/* Reads the copy. ST_NOT_FOUND: none. Blocking. */
enum status control_load(struct env *env, const char *dir, struct catalog **out, struct error *err);
/* Writes it: a new file, synced, renamed into place, directory synced. Blocking. */
enum status control_save(struct env *env, const char *dir, const struct catalog *c, struct error *err);

struct catalog *control_catalog(struct control *c); /* borrowed */
/* Partition 1 changed its role or applied something. */
void control_meta_changed(struct control *c);
/* A partition led by this node (or no longer: led == false); from any shard by way of shard 0. */
void control_led(struct control *c, uint64_t partition_id, bool led, uint64_t term, store_addr_t leader,
                 const struct raft_config *config);
void control_deliver(struct control *c, const struct mesh_frame *f); /* MESH_REPORT, MESH_CATALOG */

bool control_leads(const struct control *c); /* does meta lead here? */
/* Leader only: may this node be removed? */
enum status control_may_remove(struct control *c, uint64_t node_id, struct error *err);
/* When the node was last heard of, by meta's leader here; 0: never, or this is not the leader. */
uint64_t control_heard_ns(const struct control *c, uint64_t node_id);
bool control_each_report(const struct control *c, size_t *at, const struct plan_report **out);

#endif
