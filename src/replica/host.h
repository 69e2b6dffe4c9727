/* host.h - a store at work: its log, engine and leases, and the replicas that share them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    opens a store, finds its replicas, moves messages between them and the mesh, and does, once a turn, what
 *             their rafts ask for, so that all replicas of a store share one log batch, one engine batch and few frames.
 * Order:      in a turn: proposals are closed, entries and votes go to the log, requests and appends leave at once;
 *             committed entries are applied and answered. The rows of whole entries reach the engine in one batch, once they
 *             are many, or with the tick: until the engine flushes, only the log makes them durable anyway. What must
 *             be durable first (votes, acknowledgements) leaves when the log says so.
 * Threading:  the store's shard; blocking work runs on the host's workers.
 * Errors:     a failed log, or an engine that can't write or read, stops the host (host_failed): its leaders step down,
 *             requests are refused, the text says why. It does not come back without a restart. */
#ifndef CAIRN_REPLICA_HOST_H
#define CAIRN_REPLICA_HOST_H

#include "base/status.h"
#include "consensus/raft.h"
#include "env/env.h"
#include "mesh/mesh.h"
#include "replica/replica.h"
#include "store/engine.h"
#include "store/log.h"
#include "store/rows.h"

struct host;

/* Working values; defaults in host_limits_default. The simulator shrinks them. */
struct host_limits {
    struct raft_limits raft;
    struct log_limits log;
    uint64_t rows_bytes_max, rows_dirty_bytes_max;
    uint32_t write_rows;  /* dirty rows: they are written to the engine; else with the tick. Few large batches: what */
    uint32_t write_bytes; /* is written often (applied rows, windows, hot keys) goes once a batch. Bounds its time. */
    uint64_t engine_cache_bytes, engine_write_buffer_bytes;
    uint32_t batch_bytes_max; /* ops of one entry */
    uint32_t batch_ops_max;
    uint32_t pending_bytes_max; /* proposals waiting at a replica: ST_OVERLOADED beyond */
    uint32_t apply_bytes_per_turn;
    uint32_t put_bytes_per_turn; /* of the value of a larger entry */
    uint32_t apply_fetches_max;  /* rounds of fetching what an entry misses; then a worker runs it on the disk */
    uint32_t snapshot_chunk_bytes, snapshot_window, snapshots_max;
    uint64_t flush_bytes;        /* unflushed rows: start a flush */
    uint64_t flush_ns;           /* … or after this long */
    uint64_t keep_entries_bytes; /* of log kept for slow followers beyond what is flushed */
    uint64_t lease_ns, drift_ns, beat_ns;
    uint64_t hlc_ahead_ms;        /* how far the limit is asked ahead of now */
    uint64_t stall_ns;            /* a sync that takes longer: give up leadership */
    uint64_t sweep_ns;            /* between looks for expired keys and garbage; 0: never */
    uint64_t scrub_ns;            /* between scrubs of a partition; 0: never */
    uint32_t window_sessions_max; /* WINDOW_SESSIONS_MAX: part of the replicated state, smaller only in the simulator */
    uint32_t wake_per_tick;       /* groups woken at a time when a store is lost */
};
void host_limits_default(struct host_limits *l);

#define ACCEPT_LOSS_ALL UINT64_MAX

struct host_options {
    struct env_loop *loop;
    struct mesh *mesh;
    const char *dir; /* of this store; exists */
    uint8_t store_id[16];
    uint64_t node_id;
    uint16_t store;
    const struct host_limits *limits;
    uint64_t accept_loss; /* the partition whose damaged log is to be taken as it is; 0: none; ACCEPT_LOSS_ALL: any */
    /* A replica changed its role, leader or configuration, or (partition 1) applied something. */
    void (*changed)(void *ctx, struct replica *r);
    void (*failed)(void *ctx, enum status st, const char *text);
    void *ctx;
    raft_trace_fn raft_trace; /* raft_options.trace of each replica; NULL, but in tests */
    void *raft_trace_ctx;
};

/* Blocking; for start-up. Replicas found on disk are not opened until host_open_replica names them. */
enum status host_open(const struct host_options *options, struct host **out, struct error *err);
/* Answers what is under way (outcome unknown), flushes, closes log and engine. Blocking. The host still has to be freed, in a
 * later turn of the loop: tasks of this one may point at it. NULL is fine for both. */
void host_stop(struct host *h);
void host_free(struct host *h);
/* Gives up all leaderships (orderly stop: successors are told). */
void host_step_down_all(struct host *h, const char *reason);

/* Opens a replica that exists on disk, or makes an empty one. first_config is given for the first replica of a new partition
 * only: it is that partition's first configuration. Blocking reads; at start or when the catalog says so. ST_BUSY: an earlier
 * replica of the partition is still being dropped here. */
struct replica_spec {
    uint64_t partition_id, replica_id;
    uint32_t table, slot_lo, slot_hi;
    const struct raft_config *first_config;
};
enum status host_open_replica(struct host *h, const struct replica_spec *spec, struct replica **out, struct error *err);
/* The replica is no longer a member: forgets its log, drops its rows in the background. */
void host_drop_replica(struct host *h, uint64_t partition_id);
struct replica *host_replica(const struct host *h, uint64_t partition_id); /* NULL: none here */
bool host_each_replica(const struct host *h, size_t *at, struct replica **out);
/* How many replicas the log knows of; is this one among them? */
size_t host_log_replicas(const struct host *h, uint64_t replica_id, bool *out_known);
/* Does the log know replicas that are not open? Drops them: call once the catalog is known to be current. */
void host_drop_strangers(struct host *h, bool (*known)(void *ctx, uint64_t replica_id), void *ctx);

/* MESH_BEAT, MESH_RAFT, MESH_SNAPSHOT_*, MESH_SCRUB, MESH_REQUEST with this store as endpoint. */
void host_deliver(struct host *h, const struct mesh_frame *f);

/* What the gate writes into a MESH_REQUEST and finds in a MESH_REPLY. */
struct request_head {
    uint64_t request_id; /* the gate's; echoed */
    uint64_t life,
        attempt; /* of the gate, and the how manieth of its attempts there, by that lane: a copy counts once (replay.h) */
    bool bulk;
    uint64_t partition_id;
    uint8_t kind; /* enum replica_request_kind */
    uint32_t wait_count, wait_ms;
    struct bytes op; /* borrowed */
};
struct reply_head {
    uint64_t request_id;
    uint64_t partition_id;
    uint8_t status; /* enum status */
    bool maybe_executed;
    store_addr_t leader; /* a hint; 0: unknown */
    struct bytes result; /* borrowed */
};
void request_encode(const struct request_head *q, struct buf *out);
bool request_decode(struct bytes in, struct request_head *out);
void reply_encode(const struct reply_head *p, struct buf *out);
bool reply_decode(struct bytes in, struct reply_head *out);

/* The rows of a replica as applied so far: index, hash and count. Blocking; for checks. */
enum status host_checksum(struct replica *r, uint64_t *out_applied, uint64_t *out_hash, uint64_t *out_rows,
                          struct error *err);

/* Makes a copy of the engine as it is now, all that was applied included, in a directory that must not exist. done runs once, on
 * the loop, perhaps within the call. ST_BUSY: the engine refuses writes just now. */
void host_checkpoint(struct host *h, const char *dir, void (*done)(void *ctx, enum status st, const struct error *err),
                     void *ctx);

bool host_failed(const struct host *h);
const struct liveness *host_liveness(const struct host *h);

struct host_stats {
    struct log_stats log;
    struct engine_stats engine;
    struct rows_stats rows;
    uint64_t replicas, leaders;
    uint64_t keys, expires; /* of the partitions of data that are led here */
    uint64_t damaged;       /* replicas whose log was found damaged, and that have no leader */
    uint64_t visits;        /* replicas that ticks looked at */
    uint64_t proposals, ops_applied, reads_lease, reads_index, reads_fetched, elections, snapshots_sent,
        snapshots_installed, duplicates_answered, forgotten_refused, conflicts, scrubs, scrub_mismatches, rebuilt,
        passed_over, engine_busy, releases, stalls, prefetches, prefetches_skipped, apply_waits, apply_fetches,
        applied_slowly, applied_off;
};
void host_stats(struct host *h, struct host_stats *out);

#endif
