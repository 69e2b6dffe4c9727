/* gate.h - what every door shares: takes a request to the partition that serves it, and brings the answer back once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    one gate per shard. It gives each write an op id, finds the partition and its leader (here, on another shard,
 *             on another node), sends it there, follows leaders as they change, and retries by op id until the deadline, so
 *             that a write is applied once. It never reports "failed" for what may have happened.
 * Outcomes:   ST_OK: result is the op's (which may be an error result). ST_UNAVAILABLE, ST_OVERLOADED, ST_TIMEOUT with
 *             executed == false: not executed. ST_OUTCOME_UNKNOWN: it may have been.
 * Ownership:  the request is the caller's until gate_submit, the gate's until done has run.
 * Threading:  the gate's shard. done never runs inside gate_submit.
 * Bounds:     requests under way per gate (limits.requests_max): ST_OVERLOADED at once beyond, through done. */
#ifndef CAIRN_SESSION_GATE_H
#define CAIRN_SESSION_GATE_H

#include "base/bytes.h"
#include "base/hlc.h"
#include "base/list.h"
#include "base/status.h"
#include "env/env.h"

struct gate;

enum request_kind {
    REQUEST_WRITE, /* op, logged and applied */
    REQUEST_READ,  /* op with OP_READ, linearizable */
    REQUEST_WAIT,  /* answers how many replicas besides the leader hold all that this partition has logged so far, once
                      that is >= wait_count, or at the deadline (result: an integer; never an error for too few) */
};

struct request {
    /* set by the caller */
    uint8_t kind;
    uint32_t table;
    uint16_t slot; /* which partition */
    uint16_t opcode;
    uint8_t op_flags;    /* OP_READ, OP_EVALUATE; the gate adds OP_HAS_ID */
    struct buf body;     /* owned by the request; the caller deinits it after done. A large one is empty then */
    uint64_t timeout_ns; /* 0: the gate's default */
    unsigned wait_count;
    void (*done)(struct request *r);

    /* set by the gate, before done */
    enum status status;
    struct bytes result; /* encoded (model/result.h); borrowed during done */
    struct error err;

    /* the gate's own */
    struct link link;
    uint64_t sequence, deadline_ns;
    uint32_t attempts;
    bool sent_maybe_executed;
    void *owner;
    void *impl[4];
};

void gate_submit(struct gate *g, struct request *r);

/* Serves a read at once if this shard leads the partition, its lease holds and the rows are in memory: appends the result to
 * out and returns true. Else false: submit it. */
bool gate_read_now(struct gate *g, const struct request *r, struct buf *out);

/* The map, for CLUSTER commands, redirects, and requests to all partitions. Borrowed until the loop's next turn. */
struct gate_node {
    uint64_t node_id;
    char host[256];
    uint16_t port;
    bool up, self;
};
struct gate_partition {
    uint64_t partition_id;
    uint32_t table, slot_lo, slot_hi;
    uint64_t epoch;
    uint64_t leader_node; /* 0: unknown */
    uint8_t replica_count;
    uint64_t replica_nodes[16];
};
struct gate_map {
    const struct gate_node *nodes;
    size_t node_count;
    const struct gate_partition *partitions; /* of the asked table, by slot_lo */
    size_t partition_count;
    uint64_t epoch, self_node;
};
void gate_map(struct gate *g, uint32_t table, struct gate_map *out);
/* The partition of a slot, NULL while the map is not there yet. */
const struct gate_partition *gate_partition_of(struct gate *g, uint32_t table, uint16_t slot);
bool gate_leads(struct gate *g, uint32_t table, uint16_t slot); /* does this node lead it now? */

struct env_loop *gate_loop(struct gate *g);

/* What a door reports of the node: appended as lines "name:value\r\n" under "# Section" heads; section "" means all. */
void gate_info(struct gate *g, const char *section, struct buf *out);
/* Settings that exist, for CONFIG GET/SET. false: unknown name. */
bool gate_config_get(struct gate *g, size_t at, const char **out_name, char *out_value, size_t value_max);
enum status gate_config_set(struct gate *g, const char *name, const char *value, struct error *err);

/* ---- for the node, which makes gates ---- */

struct catalog;
struct replica;
struct mesh;
struct mesh_frame;

struct gate_options {
    struct env_loop *loop;
    struct mesh *mesh;
    uint16_t shard;
    size_t requests_max;
    uint64_t timeout_ns; /* of a request that names none */
    uint64_t attempt_ns; /* without an answer: ask again (by the same op id), perhaps elsewhere */
    /* The replica of the partition if its store runs on this shard; else NULL. */
    struct replica *(*local)(void *ctx, uint64_t partition_id);
    void (*info)(void *ctx, const char *section, struct buf *out);
    bool (*config_get)(void *ctx, size_t at, const char **out_name, char *out_value, size_t value_max);
    enum status (*config_set)(void *ctx, const char *name, const char *value, struct error *err);
    void *ctx;
};

struct gate *gate_new(const struct gate_options *options);
/* Answers the requests under way (writes that may have been executed: ST_OUTCOME_UNKNOWN) and refuses new ones. Free it in a
 * later turn of the loop. NULL is fine for both. */
void gate_stop(struct gate *g);
void gate_free(struct gate *g);
void gate_set_self(struct gate *g, uint64_t node_id);
/* Of requests that name none; those under way keep theirs. */
void gate_set_timeout(struct gate *g, uint64_t timeout_ns);
/* A newer catalog; takes a reference. */
void gate_set_catalog(struct gate *g, struct catalog *c);
/* News of who leads in a term (leader_store 0: nobody that is known), from a replica of this node (own) or from meta.
 * News of an older term are ignored, and those of meta where a replica of this node knows as much: so they may be repeated,
 * and come in any order. Requests that were sent elsewhere are sent again at once. */
void gate_leader(struct gate *g, uint64_t partition_id, uint64_t leader_store, uint64_t term, bool own);
void gate_deliver(struct gate *g, const struct mesh_frame *f); /* MESH_REPLY */

struct gate_stats {
    uint64_t under_way, reads_here, reads, writes, forwarded, retries, unknown, unavailable, overloaded;
};
void gate_stats(const struct gate *g, struct gate_stats *out);

#endif
