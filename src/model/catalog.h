/* catalog.h - the catalog: nodes, tables, partitions, settings; as a model (ops of partition 1) and as a copy in memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    the meta group orders changes to it; every node keeps a copy and routes by it. Each object remembers the epoch
 *             (a counter of catalog changes) at which it last changed, so a copy is brought up to date by what is newer.
 * Rows:       table 0, slot 0, SPACE_HEAD: kind as the 48-bit hash, then the object's id (u64 BE; for settings the name).
 * Ops:        bodies in docs/formats.md, "Catalog ops". Results: an integer (an id or the new epoch) or an error.
 * Ownership:  struct catalog is immutable once published; it is shared between shards by counted references.
 * Threading:  building: one thread; reading: any; the count is atomic. */
#ifndef CAIRN_MODEL_CATALOG_H
#define CAIRN_MODEL_CATALOG_H

#include "base/bytes.h"
#include "base/lineage.h"
#include "consensus/raft.h"
#include "model/op.h"

#define PARTITION_META           1u
#define CATALOG_NODES_MAX        1024u
#define CATALOG_NAME_MAX         255u
#define CATALOG_STORES_MAX       256u
#define CATALOG_RETENTION_MAX_MS (400ull * 24 * 3600 * 1000)

enum catalog_opcode {
    CATALOG_INIT = OPCODE_CATALOG + 1,
    CATALOG_JOIN,
    CATALOG_NODE_STATE,
    CATALOG_PARTITION,
    CATALOG_SETTING,
    CATALOG_READ, /* the epoch; OP_READ */
    CATALOG_RETENTION,
};

enum node_state { NODE_UP = 1, NODE_REMOVED = 2 };

struct catalog_node {
    uint64_t id, epoch;
    uint8_t state;
    uint16_t stores;
    struct incarnation incarnation; /* its latest start that was told to the catalog */
    uint8_t uuid[16];
    char address[CATALOG_NAME_MAX + 1];
};
struct catalog_table {
    uint64_t epoch;
    uint32_t id;
    uint8_t replicas; /* wanted copies of each partition */
    char name[CATALOG_NAME_MAX + 1];
    /* An object of its own, so that the one above stays as it is: how long what is superseded is kept. */
    uint64_t retention_ms;    /* 0: it is not */
    uint64_t retention_epoch; /* 0: never set */
};
struct catalog_replica {
    uint64_t replica_id;
    store_addr_t store;
    uint8_t roles; /* RAFT_VOTER, RAFT_LEARNER; 0: to be removed */
    bool initial;  /* one of the partition's first members */
};
struct catalog_partition {
    uint64_t id, epoch;
    uint32_t table, slot_lo, slot_hi;
    uint64_t preferred; /* replica that should lead; 0: no matter */
    uint8_t count;
    struct catalog_replica replicas[RAFT_MEMBERS_MAX];
};
struct catalog_setting {
    uint64_t epoch;
    char name[64];
    char value[CATALOG_NAME_MAX + 1];
};

struct catalog {
    uint32_t refs; /* atomic */
    uint8_t cluster_id[16];
    uint64_t epoch; /* 0: empty */
    uint64_t next_node, next_replica, next_partition;
    struct catalog_node *nodes; /* by id */
    size_t node_count;
    struct catalog_table *tables;
    size_t table_count;
    struct catalog_partition *partitions; /* by table, then slot_lo */
    size_t partition_count;
    struct catalog_setting *settings;
    size_t setting_count;
};

struct catalog *catalog_new(void);
struct catalog *catalog_ref(struct catalog *c);
void catalog_unref(struct catalog *c);
struct catalog *catalog_copy(const struct catalog *c);

const struct catalog_node *catalog_node(const struct catalog *c, uint64_t id);
const struct catalog_partition *catalog_partition(const struct catalog *c, uint64_t id);
const struct catalog_partition *catalog_partition_of(const struct catalog *c, uint32_t table, uint16_t slot);
const struct catalog_table *catalog_table(const struct catalog *c, uint32_t id);
/* The members wanted of a partition, as a raft_config (roles 0 for those to be removed). */
void catalog_wanted(const struct catalog_partition *p, struct raft_config *out);
/* Its first configuration, if this replica is one of the first members; false if not. */
bool catalog_first_config(const struct catalog_partition *p, uint64_t replica_id, struct raft_config *out);

/* What changed after `since` (0: everything), for a copy elsewhere or a file. */
void catalog_encode(const struct catalog *c, uint64_t since, struct buf *out);
/* Brings c up to date. ST_STALE: the delta starts after what c has; ST_CORRUPT. */
enum status catalog_merge(struct catalog *c, struct bytes delta);
/* One row of the model into c (for reading the applied rows). */
enum status catalog_load_row(struct catalog *c, struct bytes row_key, struct bytes value);
/* All rows of a catalog, in no order: what catalog_load_row reads. Borrowed for the call. */
void catalog_rows(const struct catalog *c, void (*each)(void *ctx, struct bytes row, struct bytes value), void *ctx);
/* The range of the catalog's rows. */
void catalog_range(struct buf *lo, struct buf *hi);

/* Bodies of ops. */
void catalog_op_init(struct buf *out, const uint8_t cluster_id[16], const uint8_t uuid[16], const char *address,
                     uint16_t stores, const struct lineage *lineage, uint32_t partitions, uint8_t replicas,
                     uint64_t retention_ms);
void catalog_op_join(struct buf *out, const uint8_t uuid[16], const char *address, uint16_t stores,
                     const struct lineage *lineage);
void catalog_op_node_state(struct buf *out, uint64_t node_id, uint8_t state);
/* The partition as it should be; expected_epoch guards against plans made on an older catalog. Replicas with id 0 are new. */
void catalog_op_partition(struct buf *out, uint64_t expected_epoch, const struct catalog_partition *p);
void catalog_op_setting(struct buf *out, const char *name, const char *value);
void catalog_op_retention(struct buf *out, uint32_t table, uint64_t retention_ms);

#endif
