/* replica.h - one copy of a partition: orders, applies and serves through raft.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    the leader's copy takes requests: writes are gathered into one entry a turn, replicated, applied, answered with
 *             what apply computed; reads are answered from applied rows under the lease, or after a read-index round.
 * Outcomes:   a refusal by the return value of replica_submit, or done with maybe_executed == false, means not executed. After
 *             a lost leadership maybe_executed is true: the gate asks again by op id.
 * Reads:      linearizable: the lease is checked with a clock read afresh, after the rows were found; the timestamp is now if
 *             nothing is in flight, else that of the last applied entry (DESIGN.md, Time).
 * Threading:  the store's shard. */
#ifndef CAIRN_REPLICA_REPLICA_H
#define CAIRN_REPLICA_REPLICA_H

#include "base/bytes.h"
#include "base/list.h"
#include "base/status.h"
#include "consensus/raft.h"
#include "model/op.h"

struct host;
struct replica;

enum replica_request_kind { REPLICA_WRITE = 1, REPLICA_READ, REPLICA_WAIT };
/* A read as of a time (read_ts): the partition's table keeps history. done's status: ST_STALE: read_ts is below the watermark,
 * so not all that was there then is kept; ST_UNSUPPORTED: the partition keeps none; ST_NOT_READY: read_ts is not over yet. */

struct replica_request {
    uint8_t kind;
    struct bytes op;   /* encoded; the submitter keeps it until done */
    struct buf *whole; /* not NULL: op lies in it, and a write may take it (*whole is empty then) */
    uint32_t wait_count, wait_ms;
    hlc_t read_ts; /* of a REPLICA_READ; 0: now */
    /* result is borrowed for the call. Runs once, never inside replica_submit. */
    void (*done)(struct replica_request *q, enum status st, bool maybe_executed, struct bytes result);

    /* the replica's */
    struct link link;
    struct replica *replica;
    uint64_t index, deadline_ns;
    uint32_t tries;
    struct buf evaluated; /* the write set that an OP_EVALUATE became */
};

/* ST_OK: accepted. ST_NOT_LEADER, ST_OVERLOADED, ST_STOPPED, ST_STALE (not this partition's key): refused, not executed. */
enum status replica_submit(struct replica *r, struct replica_request *q);
/* A read served at once under the lease from memory: appends the result to out, true. Else false: submit it. */
bool replica_read_now(struct replica *r, const struct op *op, struct buf *out);

/* How long what is superseded shall be kept, as the catalog says; the leader sees to it through the log. */
void replica_want_retention(struct replica *r, uint64_t retention_ms);

/* Steps toward the members that the catalog wants (roles RAFT_VOTER, RAFT_LEARNER, or 0: to be removed), if this is the
 * leader; call whenever either changes, and from time to time. `preferred`: who should lead, 0: no matter. True: the members
 * are not those yet, ask again soon. */
bool replica_reconcile(struct replica *r, const struct raft_config *wanted, uint64_t preferred);

struct replica_info {
    uint64_t partition_id, replica_id;
    uint32_t table, slot_lo, slot_hi;
    struct raft_view raft;
    struct op_counters counters;
    uint64_t leases_until_ns;
    bool stopped; /* does not apply any more: the text says why */
    const char *stopped_text;
    uint32_t rebuilds; /* how often it has asked for other rows since it was fenced */
    bool lost; /* its log is damaged, nobody leads, and by its configuration there is no other copy to repair it */
    const char *lost_text; /* if it is damaged and nobody leads: what is gone, and what to do; else NULL */
};
void replica_info(const struct replica *r, struct replica_info *out);
uint64_t replica_partition(const struct replica *r);
bool replica_leads(const struct replica *r);                /* leader now (says nothing of the lease) */
store_addr_t replica_leader_store(const struct replica *r); /* 0: unknown */
bool replica_peer_progress(const struct replica *r, uint64_t replica_id, struct raft_progress *out);
/* Scans applied rows (the catalog's reader). As op_view.scan. ST_NOT_READY: they are being fetched; ask again later. */
enum status replica_scan(struct replica *r, struct bytes lo, struct bytes hi,
                         bool (*each)(void *ctx, struct bytes row, struct bytes value), void *ctx);

#endif
