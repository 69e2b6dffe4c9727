/* identity.h - who a node is: a small file in its data directory, written at each start, and when it joins.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Format:  magic u32 | format u32 | crc32c u32 of the rest | uuid 16 | cluster id 16 | node id u64 | founder u8 | opened u8 |
 *          stores u16 | store id 16, for each store | lineage (base/lineage.h) [| lp why it is fenced off, if it is]
 * Errors:  ST_VERSION for a newer format, ST_CORRUPT, ST_IO; texts name the file and what to do. */
#ifndef CAIRN_NODE_IDENTITY_H
#define CAIRN_NODE_IDENTITY_H

#include "base/lineage.h"
#include "env/env.h"

#define IDENTITY_STORES_MAX 256

struct identity {
    uint8_t uuid[16];
    uint8_t cluster_id[16];
    uint64_t node_id;       /* 0: not joined yet */
    bool founder;           /* it made the cluster: partition 1's first replica is here */
    bool opened;            /* all stores were opened once: from then on they hold promises, and none may be missing */
    struct lineage lineage; /* the present start is its last, once it is there */
    char fenced[360]; /* not empty: the cluster goes on from another directory, this one must never run again: why */
    uint16_t stores;
    uint8_t store_ids[IDENTITY_STORES_MAX][16];
};

/* Reads it, or makes a new one with `stores` stores if there is none, durably. Refuses one that is fenced off (ST_DENIED), and
 * one of which a part of a store that was opened once is missing (ST_CORRUPT). Blocking. */
enum status identity_open(struct env *env, const char *dir, uint16_t stores, struct identity *out, struct error *err);
/* Durable when it returns. A start is added to the lineage (lineage_grow) in memory, and saved before anyone is told of it who may
 * remember it, but not before it is let in: so refused starts leave no trace. */
enum status identity_save(struct env *env, const char *dir, const struct identity *id, struct error *err);

#endif
