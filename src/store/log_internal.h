/* log_internal.h - what the files of the log share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threading: all on the store's shard, but for the run functions of jobs: they touch their own struct and the file of a
 *            segment that they hold a count on. */
#ifndef CAIRN_STORE_LOG_INTERNAL_H
#define CAIRN_STORE_LOG_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "store/log.h"
#include "store/log_format.h"

#define LOG_PATH_MAX 1024

enum {
    LOG_SCAN_BYTES = 1 << 20,       /* read at once when looking for a valid header */
    LOG_TAIL_BYTES_MIN = 4 << 20,   /* zeros looked at behind the end, at least */
    LOG_FILL_BYTES = 4 << 20,       /* zero-filled between two syncs */
    LOG_FIRST_FILL_BYTES = 1 << 20, /* of the first segment, while log_open waits */
    LOG_POOL_MAX = 3,               /* batches kept for reuse */
    LOG_BUFFER_KEEP = 8 << 20,      /* a kept batch's buffer is at most this */
    LOG_STATES_PER_STEP = 512,      /* replica records rewritten in one step of reclaiming */
    LOG_RECLAIM_BYTES = 1 << 20,    /* read from the oldest segment in one step */
    LOG_READ_GAP = 64 << 10,        /* entries no further apart are read together */
    LOG_READ_RUN = 1 << 20,
    LOG_SUMMARY_LEVELS = 3,
    LOG_DIAG_REPLICAS = 32, /* suspects named one by one */
};
#define LOG_MARK_AFTER_NS (20 * NS_PER_MS) /* idle this long: the mark is written */
#define LOG_TICK_NS       NS_PER_S         /* free space is looked at, what failed for lack of it is tried again */

struct log_segment {
    uint64_t number;
    struct env_file *file; /* NULL: it is being made, batches for it wait */
    uint64_t bytes;        /* the file's length */
    uint64_t live_bytes;   /* records of entries that are still needed */
    uint64_t stuck_live;   /* live_bytes when an entry in it could not be read for rewriting; 0: none */
    unsigned refs;         /* batches, reads and reclaiming under way */
    struct link link;      /* in log.leaving, once it is not part of the log any more */
};

struct log_run {
    uint64_t index, term; /* entries from index on have term */
};

struct replica {
    struct log_replica view;
    /* entry base_index + 1 + i is the record of size[start + i] bytes at position pos[start + i] */
    uint64_t *pos;
    uint32_t *size;
    size_t start, count, cap;
    struct log_run *runs;
    size_t run_count, run_cap;
    uint64_t state_segment; /* its latest LOG_REPLICA record is there; all other marks of it are later */
    struct link by_state;   /* log.by_state, by rising state_segment */
    struct link unwritten;  /* log.unwritten: base_index moved and no record says so yet */
    uint64_t batch;         /* id of the last batch that has a record of it, and its place in that summary */
    uint32_t slot;
};

struct log_batch {
    struct env_job job;
    struct log *log;
    struct link link;
    struct buf buf; /* header, payload, padding */
    struct log_batch_header header;
    uint64_t id;
    uint64_t end;         /* position after it */
    uint32_t limit;       /* of buf.n while it gathers */
    uint32_t summary_max; /* replicas that its header has room for */
    uint32_t record_seed, seed;
    struct log_segment *segment;
    uint64_t copied; /* bytes of copies in it */
    bool mark;
    enum status status;
    bool written; /* the write succeeded, so a failure was the sync's */
    struct error err;
    uint64_t sync_ns;
};

/* Making the next segment, removing old ones, looking at free space: one job at a time on log.files. */
struct log_file_job {
    struct env_job job;
    struct log *log;
    enum { LOG_FILE_PREPARE, LOG_FILE_REMOVE, LOG_FILE_SPACE } what;
    uint64_t number, bytes;
    uint64_t nonce;
    struct log_segment
        *recycled;         /* LOG_FILE_PREPARE: its file (in `file`) becomes the new one; LOG_FILE_REMOVE: goes */
    struct env_file *file; /* LOG_FILE_PREPARE: of the recycled one, then the result */
    uint64_t free_bytes;
    enum status status;
    struct error err;
    bool running;
};

struct log_reclaim {
    enum { LOG_RECLAIM_IDLE, LOG_RECLAIM_STATES, LOG_RECLAIM_ENTRIES, LOG_RECLAIM_LAST } phase;
    struct log_segment *victim;
    uint64_t offset;   /* next batch of the victim to look at */
    uint64_t wait_for; /* position that must be durable before the next step */
    struct env_job job;
    struct log *log;
    bool reading;
    struct buf batches; /* read by the job, one behind the other; empty: there are no more */
};

struct log {
    struct env *env;
    struct env_loop *loop;
    char *dir;
    uint8_t store_id[16];
    struct log_limits limits;
    struct log_events events;
    void *ctx;
    uint64_t nonce, boot;
    hlc_t bound;

    struct map replicas;
    struct replica
        *unknown; /* replica 0: those that the log does not know, when records of such may be gone; else NULL */
    struct list by_state, unwritten;

    struct log_segment **segments; /* numbers first_number … first_number + segment_count - 1; NULL: missing */
    uint64_t first_number;
    size_t segment_count, segment_cap;
    struct log_segment *next; /* prepared, not in use */
    struct log_segment *pool; /* left the log; waits to be recycled */
    struct list leaving;      /* left the log; wait for reads, then for removal */
    uint64_t first_needed;    /* for batch headers: the log's oldest segment */

    struct log_batch *open;   /* gathers records; NULL: none */
    struct list queue;        /* closed, wait for the worker */
    struct log_batch *flying; /* at the worker */
    struct list pool_batches;
    unsigned pool_count;
    uint64_t batch_ids;
    unsigned summary_level;
    uint64_t gather_number, gather_offset; /* where the next batch begins */
    uint64_t last_end;                     /* end of the last batch that was closed */
    uint64_t synced;
    uint64_t sync_started_ns;
    bool marked; /* a mark stands at gather_offset, or there is no room or need for one */

    struct env_worker *writer, *files, *readers;
    struct env_task start; /* deferred: begins the batch at the end of the turn */
    struct env_timer idle, tick;
    unsigned jobs;        /* at workers */
    struct env_task fail; /* deferred: tells of the failure */
    struct error failure;
    bool start_pending, fail_pending, closed, failed;
    bool full_write, full_prepare, full_space;      /* a write, the making of a segment, the reserve said so */
    bool retry_write, retry_prepare, look_at_space; /* the tick asks for it */
    bool ticked;                                    /* something was appended since the last tick */
    bool needed;                                    /* a batch must be written, if with no records */
    bool booting;                                   /* log_open: the batch may be of any size */
    uint32_t boot_replicas;                         /* … and has this many in its summary */
    struct log_file_job file_job;
    struct log_reclaim reclaim;
    uint64_t progress;                  /* bytes written but for copies, and bytes that became garbage */
    uint64_t round_end, round_progress; /* reclaiming goes round up to this segment; progress when it began to */
    struct list reads;                  /* wait until what they want is durable */
    struct log_stats stats;
    char damage[200]; /* the first that was found at opening */
};

/* log.c */
struct replica *log_find(const struct log *l, uint64_t replica_id);
struct replica *log_replica_new(struct log *l, uint64_t replica_id); /* no record is written */
/* Appends one record; returns its position. For the summary: first is an entry's index, 0, or LOG_SUMMARY_COPIES; last
 * the replica's last index then. r may be NULL: a record of the store. */
uint64_t log_put(struct log *l, struct replica *r, const struct log_record *rec, uint64_t first, uint64_t last);
void log_put_state(struct log *l, struct replica *r, bool copy);
void log_put_compact(struct log *l, struct replica *r);
const uint8_t *log_unwritten(const struct log *l, uint64_t pos); /* a record that is not durable yet; NULL: none */
void log_batch_needed(struct log *l); /* makes sure that a batch will be written, if with no records */
void log_kick(struct log *l);         /* the queue may go on */
void log_fail(struct log *l, enum status st, const char *text);
void log_maybe_free(struct log *l);
/* Seals and writes a batch; no sync. Runs on a worker, or in log_open. */
void log_batch_write(struct log_batch *b);

/* log_index.c */
uint64_t log_term_at(const struct replica *r, uint64_t index); /* base_index … last_index */
void log_index_add(struct log *l, struct replica *r, uint64_t index, uint64_t term, uint64_t pos, uint32_t size);
void log_index_move(struct log *l, struct replica *r, uint64_t index, uint64_t pos);
void log_index_cut(struct log *l, struct replica *r, uint64_t from);     /* drops entries from … last */
void log_index_advance(struct log *l, struct replica *r, uint64_t base); /* drops entries … base */
void log_index_reset(struct log *l, struct replica *r, uint64_t index, uint64_t term);
void log_index_deinit(struct replica *r);

/* log_segment.c */
struct log_segment *log_segment_at(const struct log *l, uint64_t number); /* NULL: none such */
struct log_segment *log_segment_last(const struct log *l);
void log_segment_path(const char *dir, uint64_t number, bool temporary, char out[LOG_PATH_MAX]);
bool log_segment_name(const char *name, uint64_t *out_number);
struct log_segment *log_segment_new(uint64_t number, struct env_file *file, uint64_t bytes);
void log_segment_free(struct log_segment *s); /* closes the file; NULL is fine */
void log_segment_push(struct log *l, struct log_segment *s);
void log_segment_unref(struct log *l, struct log_segment *s);
/* Creates a segment now, with zeros up to bytes, durable. */
enum status log_segment_create(struct log *l, uint64_t number, uint64_t bytes, struct log_segment **out,
                               struct error *err);
void log_segment_retire_first(struct log *l); /* the oldest leaves the log */
void log_files_work(struct log *l);           /* starts what has to be done with files, if anything */
uint64_t log_total_bytes(const struct log *l);
void log_space_check(struct log *l, uint64_t free_bytes);

/* log_scan.c: reads a segment through a window. */
struct log_scan {
    struct env_file *file;
    uint64_t bytes, number, nonce;
    uint32_t seed;
    struct buf window;
    uint64_t at;         /* offset of the window */
    uint64_t unreadable; /* pages that the disk refused: they read as 0xee */
};
void log_scan_init(struct log_scan *sc, const uint8_t store_id[16], const struct log_segment *s, uint64_t nonce);
void log_scan_deinit(struct log_scan *sc);
/* Bytes offset … offset + n, or NULL beyond the end of the file; valid until the next call. */
const uint8_t *log_scan_get(struct log_scan *sc, uint64_t offset, uint64_t n);
/* The valid batch header at offset (header_bytes of it), or NULL. */
const uint8_t *log_scan_header(struct log_scan *sc, uint64_t offset, struct log_batch_header *out);
/* The first one at or behind *offset. */
const uint8_t *log_scan_next(struct log_scan *sc, uint64_t *offset, struct log_batch_header *out);
/* How many of the pages in offset … offset + n have a byte that is not zero. */
uint64_t log_scan_used(struct log_scan *sc, uint64_t offset, uint64_t n);

/* log_recover.c: fills in replicas, segments, where to go on (gather_*, last_end) and what is wrong. */
struct log_recovered {
    bool clean;         /* the end is known and nothing lies behind it: the log may go on in the same segment */
    uint32_t changed;   /* replicas for which log_open must write a record */
    uint64_t end;       /* position where the log ends */
    uint64_t last_used; /* the last segment that has anything in it; 0: none */
};
enum status log_recover(struct log *l, struct log_recovered *out, struct error *err);

/* log_reclaim.c */
void log_reclaim_step(struct log *l);

/* log_read.c */
void log_reads_wake(struct log *l);                 /* synced moved */
void log_reads_stop(struct log *l, enum status st); /* closing or failed: answers those that wait */

#endif
