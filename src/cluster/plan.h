/* plan.h - decides where replicas should be: which change of the catalog comes next.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    pure. From the catalog, from who is alive, and from what the partitions' leaders report, to at most a few changes,
 *             each guarded by the epoch it was made on. Called again and again, it brings the cluster to: every partition with
 *             as many replicas as its table wants (or as there are nodes), none on removed nodes, leaders spread evenly; meta
 *             with 1, 3 or 5 voters. A partition gets its next change only when its last one is done.
 * Threading:  pure. */
#ifndef CAIRN_CLUSTER_PLAN_H
#define CAIRN_CLUSTER_PLAN_H

#include "base/map.h"
#include "model/catalog.h"

/* What a partition's leader last said. */
struct plan_report {
    uint64_t partition_id, term;
    store_addr_t leader;
    struct raft_config config; /* in force there, committed */
    uint64_t heard_ns;
};

struct plan_input {
    const struct catalog *catalog;
    const struct map *reports; /* partition id → struct plan_report */
    bool (*alive)(void *ctx, uint64_t node_id);
    void *ctx;
};

/* A partition as it should be next; its epoch is the one expected. New replicas have id 0. */
size_t plan_next(const struct plan_input *in, struct catalog_partition *out, size_t max);

/* How many replicas the partition should have, given the nodes there are. */
unsigned plan_replicas(const struct catalog *c, const struct catalog_partition *p);
/* May this node be removed? ST_DENIED with the reason: it holds the only copy of something, or a majority would be lost. */
enum status plan_may_remove(const struct plan_input *in, uint64_t node_id, struct error *err);

#endif
