/* host_internal.h - what the files of replica/ share: the structs behind host.h and replica.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_REPLICA_HOST_INTERNAL_H
#define CAIRN_REPLICA_HOST_INTERNAL_H

#define HOST_BUFFER_KEEP (1u << 20) /* bytes of a buffer that is used again; larger ones, of large values, go back */

#include "base/map.h"
#include "replica/host.h"
#include "replica/stage.h"
#include "replica/window.h"

/* A message, or the news that entries are durable, waiting for the log to reach `position`. */
struct after {
    struct link link;
    uint64_t position;
    struct replica *replica;                  /* NULL: it was dropped meanwhile */
    uint64_t persisted_index, persisted_term; /* 0: a message */
    uint64_t node;
    uint16_t endpoint;
    struct buf frame;
};

/* The requests of one proposed entry, in the order of its ops. */
struct flight {
    struct link link;
    uint64_t index, term;
    struct replica_request **requests; /* an element is NULL once answered */
    size_t count;
};

struct snapshot_send;
struct snapshot_receive;

/* What a replica says of its rows as of an entry. */
struct scrub_report {
    uint64_t replica_id, index, hash, rows;
};

struct replica_share {
    uint64_t leaders, keys, expires, damaged;
};

/* A binary heap by due_ns, then partition id. */
struct due_heap {
    struct replica **at;
    size_t n, cap;
};

struct replica {
    struct host *host;
    uint64_t partition_id, replica_id;
    uint32_t table, slot_lo, slot_hi;
    struct raft *raft;
    struct link busy; /* in host.busy: has something to do at the end of this turn */
    uint64_t due_ns;  /* when a tick has to look at it again; UINT64_MAX: never (host_due.c) */
    size_t due_at;    /* its place in host.due */

    /* state machine */
    uint64_t applied, applied_term;
    hlc_t applied_ts, last_ts;
    hlc_t read_ts;   /* the highest timestamp at which reads were served */
    bool installing; /* a snapshot is being put in place of the state: nothing is applied */
    struct op_counters counters;
    struct windows windows;
    struct raft_config applied_config; /* as of applied */
    bool applied_dirty;                /* the applied row has to be put before the next engine batch */
    struct map windows_dirty;          /* sessions whose row has to be put */
    bool fetching;                     /* apply waits for a row, or an entry is run by a worker */
    bool running_off;                  /* … the latter: outcome windows are the worker's; or `slow` is under way */
    struct slow_run *slow;             /* a large entry whose rows are being written, some a turn */
    uint32_t fetch_tries;
    struct list prefetches; /* of entries appended and not applied (prefetch.c) */
    bool stopped;
    char stopped_text[256];
    bool
        fenced; /* stopped because its rows are wrong; its log is not: it votes and acknowledges, and asks for other rows */
    uint32_t rebuilds; /* asked for since it was fenced */
    uint64_t rebuild_at_ns, rebuild_ask_ns;
    uint64_t pass_at_ns; /* when it may next pass over entries */
    struct {
        uint64_t replica_id, until_ns;
    } unfit[RAFT_MEMBERS_MAX]; /* leader: who told that it is fenced, and so can't lead */
    char damage_text[256];     /* what was found wrong with its log when it was opened; "": nothing */
    uint64_t durable_applied;  /* as of the last flush */

    /* apply reads entries that raft no longer has in memory */
    struct log_read read;
    bool reading;
    struct entry **read_entries;
    size_t read_count, read_at;

    /* leader */
    struct buf batch; /* ops of the entry being gathered, each with its length */
    struct replica_request **batch_requests;
    struct bytes batch_large; /* not empty: the batch's only op, where its request has it, instead of in `batch` */
    size_t batch_count, batch_cap;
    uint64_t batch_timestamps;
    struct link held;    /* in host.held: a batch waits for a higher limit of the clock, or for room in the raft */
    struct list pending; /* requests waiting to enter a batch (after an overloaded or limit-bound turn) */
    uint64_t pending_bytes;
    struct list flights;
    struct list reads; /* waiting for raft_read, a fetch, or applied to catch up; by id */
    struct map reads_by_id;
    uint32_t reads_out; /* confirmed, and waiting for rows from the disk */
    uint64_t read_id_next;
    struct list waits;
    bool reading_index;
    uint64_t led_term; /* the term whose floor the clock was raised for */
    uint64_t change_retry_ns, transfer_retry_ns;
    uint64_t sweep_ns, scrub_at_ns;
    uint64_t scrub_index; /* of the scrub whose reports are gathered; 0: none */
    struct scrub_report scrub[RAFT_MEMBERS_MAX];
    size_t scrub_count;
    unsigned sweeps;                     /* proposals of the sweep under way */
    uint16_t garbage_slot, expired_slot; /* where it goes on */
    uint64_t wanted_retention_ms;        /* as the catalog says */
    bool retention_known;                /* … if it has been heard */
    struct buf history_at;               /* where the look for history rows goes on; empty: from the beginning */
    uint64_t history_seen;               /* in this round */
    uint64_t history_round_applied,
        history_none_applied; /* applied at this round's beginning; of a round that saw none */

    struct snapshot_send *sends[RAFT_MEMBERS_MAX];
    struct snapshot_receive *receive;
    uint64_t retain_index; /* entries above are kept for a snapshot under way; UINT64_MAX: none */
    unsigned jobs;         /* under way with a pointer to this replica: free only at 0 */
    bool dropped;

    struct link lost; /* in host.lost */
    store_addr_t lost_store;
    struct link applied_link;   /* in host.applied: its applied row has to be put before the next engine batch */
    uint64_t asked_ns;          /* when the last request came */
    struct replica_share share; /* its part of the host's totals */
    struct raft_config watched; /* the members whose stores are in liveness because of this replica */
    uint64_t watched_index;
};

struct host {
    struct host_options options;
    struct host_limits limits;
    struct env *env;
    struct env_loop *loop;
    struct mesh *mesh;
    store_addr_t self;
    struct log *log;
    struct engine *engine;
    struct rows *rows;
    struct env_worker *worker; /* flushes, drops, snapshots, checksums */
    struct liveness liveness;
    struct hlc clock;
    struct map replicas; /* partition id → struct replica */
    struct list busy;
    struct list after;
    struct env_task turn;
    struct env_timer tick;
    uint64_t tick_ns, ticked_ns; /* its usual distance; when it last fired */
    bool woken, quiet;           /* a replica was woken since the last tick; the next tick is far */
    struct list held;            /* replicas whose batch is held back */
    struct due_heap due;         /* replicas that a tick has to look at, the next first */
    hlc_t bound_wanted;          /* being made durable; 0: none */
    uint64_t bound_position;
    struct list applied; /* replicas whose applied row is to be put */
    struct map replays;  /* gate and lane: (node << 16 | shard) << 1 | bulk → struct replay of its requests */
    struct map dropping; /* partition id → its former replica, until its rows are gone */
    struct list dropped; /* waiting for their jobs to end (through replica.busy) */
    struct list lost;    /* replicas to wake, paced: of stores no longer supported */
    bool failed;
    char failed_text[300];
    bool closing;
    bool flushing, flush_wanted;
    unsigned slow_runs, checkpoints; /* under way; one excludes the other */
    uint64_t flushed_ns;
    uint64_t stalled_since_ns;
    bool engine_busy;
    unsigned snapshots; /* sending or receiving */
    /* prefetch.c */
    struct list prefetch_queue, prefetch_reads;
    unsigned prefetching, plans;
    uint64_t planned_bytes, prefetched_bytes;
    struct stage stage;
    struct buf scratch, results, message;
    struct host_stats stats; /* its leaders, keys, expires and damaged are kept up to date by host_share */
};

uint64_t host_now(struct host *h);
/* The replica has something to do: it is seen to at the end of this turn. */
void host_wake(struct replica *r);
void host_applied(struct replica *r);          /* its applied row has to be in the next engine batch */
void host_watch_config(struct replica *r);     /* the members may have changed: watch their stores */
void host_share(struct replica *r, bool here); /* counts it among the host's totals as it is now, or no more */

/* host_due.c */
void due_set(struct replica *r, uint64_t due_ns); /* UINT64_MAX: a tick need not look at it */
struct replica *due_first(const struct host *h);  /* NULL: none */
void due_update(struct replica *r, uint64_t now); /* from what it is waiting for now */
void due_deinit(struct host *h);
bool replica_waits(const struct replica *r); /* for what a later turn may bring, without being woken */
/* Brings a row, or the rows of [lo, hi) if hi is not empty, into memory; then the replica has a turn. False: not now. */
bool host_fetch(struct replica *r, struct bytes lo, struct bytes hi);
void host_fail(struct host *h, enum status st, const char *text);
void host_send_raft(struct host *h, struct replica *r, const struct raft_message *m, bool after_sync);

void host_reap_dropped(struct host *h);               /* frees what was dropped once no job points at it any more */
void host_flush_soon(struct host *h);                 /* what was put into the rows has to be durable soon */
void host_flush_if_due(struct host *h, uint64_t now); /* host_flush.c */
bool host_log_pressed(
    const struct host *h); /* so much of the log is needed that nobody's convenience keeps more of it */

/* replica.c */
struct replica *replica_new(struct host *h, const struct replica_spec *spec);
void replica_free(struct replica *r);
void replica_turn(struct replica *r);        /* all that its raft and its queues ask for */
void replica_put_applied(struct replica *r); /* before an engine batch */
bool replica_load_applied(struct replica *r, struct bytes row);
void replica_encode_applied(const struct replica *r, struct buf *out);
void replica_stop(struct replica *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* replica_apply.c */
void replica_apply(struct replica *r);
void replica_slow_abandon(struct replica *r); /* it is being dropped or freed */
/* prefetch.c */
void prefetch_entry(struct replica *r, struct entry *e); /* it is appended, in place of any at its index or above */
bool prefetch_ready(struct replica *r, const struct entry *e); /* false: wait; the replica is woken */
void prefetch_again(struct replica *r, const struct entry *e); /* the next to be applied, which missed something */
void prefetch_applied(struct replica *r);
void prefetch_forget_all(struct replica *r);
void prefetch_pump(struct host *h);       /* now and then */
void prefetch_free_reads(struct host *h); /* when the rows are closed and no replica is left */
/* replica_lead.c */
void replica_close_batch(struct replica *r);
void replica_answer_entry(struct replica *r, const struct entry *e, const struct buf *results, const uint32_t *ends,
                          size_t n);
void replica_lost_leadership(struct replica *r);
void replica_serve_reads(struct replica *r, const struct raft_read *reads, size_t count);
void replica_run_reads(struct replica *r);
void replica_run_waits(struct replica *r);
void replica_sweep(struct replica *r, uint64_t now);
bool replica_sweeps(const struct replica *r); /* is there anything to sweep? */
/* rebuild.c */
void replica_fence(struct replica *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rebuild_load(struct replica *r, struct bytes text); /* at opening: it was fenced */
void rebuild_tick(struct replica *r, uint64_t now);
uint64_t rebuild_due(const struct replica *r); /* when rebuild_tick has something to do */
void rebuild_asked(struct replica *r, uint64_t by, uint64_t applied, bool wants); /* leader */
bool rebuild_unfit(const struct replica *r, uint64_t replica_id, uint64_t now);   /* leader */
void rebuild_done(struct replica *r);                                             /* a snapshot has replaced the rows */
/* scrub.c */
void scrub_send(struct host *h, store_addr_t to_store, struct replica *r, uint64_t to, const struct scrub_report *p,
                uint8_t verdict);
bool scrub_apply(struct replica *r, const struct entry *e); /* false: not now, the entry stays to be applied */
void scrub_on_frame(struct host *h, const struct mesh_frame *f);
void scrub_tick(struct replica *r, uint64_t now);
/* request.c */
void request_on_frame(struct host *h, const struct mesh_frame *f);
/* snapshot.c */
void snapshot_start(struct replica *r, uint64_t to);
void snapshot_on_chunk(struct host *h, const struct mesh_frame *f);
void snapshot_on_ack(struct host *h, const struct mesh_frame *f);
void snapshot_tick(struct replica *r, uint64_t now);
void snapshot_abort_all(struct replica *r);
void snapshot_free_all(struct replica *r); /* at the end, when the engine is closed */

#endif
