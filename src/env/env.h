/* env.h - the only door to the outside world: clocks, randomness, timers, byte streams, files, worker threads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    one interface with two implementations: real (real.c: libuv, POSIX) and simulated (sim/: virtual time, one
 *             seed). Everything above env runs unchanged on both.
 * Objects:    struct env        one per process (per simulated node): clocks, randomness, files.
 *             struct env_loop   one per shard: timers, tasks, streams. All callbacks of a loop run on its one thread.
 *             struct env_worker a thread (or several) that runs jobs which may block; results come back on the loop.
 * Threading:  files, clocks, env_random and env_post may be used from any thread of the process; the rest only on the
 *             loop that owns the object.
 * Callbacks:  never run before the call that asked for them has returned. A closed stream, stopped timer or closed
 *             listener calls nothing any more.
 * The functions are thin: each calls through the ops table that the implementation filled in. */
#ifndef CAIRN_ENV_ENV_H
#define CAIRN_ENV_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/status.h"

struct env;
struct env_loop;
struct env_stream;
struct env_listener;
struct env_file;
struct env_worker;

/* ---- clocks and randomness ---- */

/* Nanoseconds of a clock that never goes back and counts suspension (CLOCK_BOOTTIME); read afresh at each call. */
uint64_t env_now_ns(struct env *env);
/* Milliseconds since 1970 by the wall clock, which may jump. For people and for the HLC only. */
uint64_t env_wall_ms(struct env *env);
void env_random(struct env *env, void *out, size_t n);
uint64_t env_random_u64(struct env *env);

/* What the process uses of the machine, as the kernel counts it. All zeros where there is no real process. */
struct env_process_stats {
    uint64_t pid, resident_bytes, resident_peak_bytes, machine_bytes, cpu_user_ns, cpu_system_ns, files_max;
};
void env_process_stats(struct env *env, struct env_process_stats *out);

/* ---- loops: tasks and timers ---- */

/* Runs later on the loop. Embed it; it is in at most one queue at a time. */
struct env_task {
    struct link link;
    void (*run)(struct env_task *task);
    bool queued; /* internal */
};

struct env *env_loop_env(struct env_loop *loop);

/* Runs the task at the end of the current turn: after everything that was ready when the turn began has been handled,
 * before the loop waits. A task deferred twice runs once. This is where batches are closed and output is flushed. */
void env_defer(struct env_loop *loop, struct env_task *task);

/* Runs the task on `loop` soon; the one call that may come from another thread. Tasks of one sender keep their order.
 * The caller must not touch the task until it has run. */
void env_post(struct env_loop *loop, struct env_task *task);

struct env_timer {
    struct env_loop *loop;
    void (*fire)(struct env_timer *timer);
    uint64_t due_ns; /* 0: not running */
    void *impl[4];   /* for the implementation */
    struct link link;
};

void env_timer_init(struct env_loop *loop, struct env_timer *timer, void (*fire)(struct env_timer *timer));
/* One shot after delay_ns; starting a running timer moves it. Fires never early. */
void env_timer_start(struct env_timer *timer, uint64_t delay_ns);
void env_timer_stop(struct env_timer *timer); /* may be stopped already */

/* ---- byte streams ---- */

/* What a stream tells its owner. Both run on the stream's loop. */
struct env_stream_events {
    /* Some bytes arrived; they are borrowed for the call. */
    void (*data)(struct env_stream *s, void *ctx, struct bytes data);
    /* All that was queued has been handed to the kernel, after env_stream_write had to queue. May be NULL. */
    void (*drained)(struct env_stream *s, void *ctx);
    /* The other side is gone, or the connection failed (text says why; ST_OK: an orderly end). Nothing comes after.
     * The owner still has to call env_stream_close. */
    void (*closed)(struct env_stream *s, void *ctx, enum status st, const char *text);
};

/* A new connection. The owner must set its events before returning, or close it. */
typedef void (*env_accept_fn)(void *ctx, struct env_stream *s);

/* address is "host:port"; IPv4, IPv6 in brackets, or a name. Port 0 takes a free one (see env_listener_port).
 * Listeners of several loops of one process may share an address (SO_REUSEPORT): connections spread over them. */
enum status env_listen(struct env_loop *loop, const char *address, env_accept_fn accept, void *ctx,
                       struct env_listener **out, struct error *err);
uint16_t env_listener_port(struct env_listener *l);
void env_listener_close(struct env_listener *l);

/* Starts to connect; `connected` runs once, with ST_OK and then data may flow, or with the failure (then close it).
 * Writes before that are queued. */
struct env_stream *env_connect(struct env_loop *loop, const char *address, const struct env_stream_events *events,
                               void *ctx, void (*connected)(struct env_stream *s, void *ctx, enum status st));

void env_stream_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx);
/* Hands over what the kernel takes now; the rest is copied and sent when it drains. The caller bounds what is queued by
 * looking at env_stream_queued and by not reading from a peer that does not drain. */
void env_stream_write(struct env_stream *s, struct bytes data);
size_t env_stream_queued(const struct env_stream *s); /* bytes not yet taken by the kernel */
void env_stream_pause(struct env_stream *s);          /* no data events until resumed */
void env_stream_resume(struct env_stream *s);
const char *env_stream_peer(const struct env_stream *s); /* "127.0.0.1:43210", valid while the stream is open */
/* Sends what is queued where it can be sent at once, then closes; frees the stream. No event comes after this call. */
void env_stream_close(struct env_stream *s);

/* ---- files: blocking calls, for workers and for start-up ---- */

enum env_open_mode {
    ENV_READ,   /* must exist */
    ENV_WRITE,  /* read and write; must exist */
    ENV_CREATE, /* read and write; must not exist */
};

enum status env_file_open(struct env *env, const char *path, enum env_open_mode mode, struct env_file **out,
                          struct error *err);
void env_file_close(struct env_file *f); /* NULL is fine */
/* All-or-error. Reading past the end is ST_CORRUPT ("short read"). */
enum status env_file_read(struct env_file *f, uint64_t offset, void *out, size_t n, struct error *err);
enum status env_file_write(struct env_file *f, uint64_t offset, const void *p, size_t n, struct error *err);
enum status env_file_sync(struct env_file *f, struct error *err); /* fdatasync: data, and the size where it changed */
enum status env_file_size(struct env_file *f, uint64_t *out, struct error *err);
enum status env_file_truncate(struct env_file *f, uint64_t size, struct error *err);
/* Reserves space and writes zeros up to size, so that later writes change no metadata. Does not sync. */
enum status env_file_zero_fill(struct env_file *f, uint64_t size, struct error *err);

enum status env_dir_create(struct env *env, const char *path, struct error *err); /* ST_OK if it exists; parents too */
enum status env_dir_sync(struct env *env, const char *path, struct error *err);   /* makes names in it durable */
/* Calls each(ctx, name) for the entries of a directory, in no promised order, without "." and "..". */
enum status env_dir_list(struct env *env, const char *path, void (*each)(void *ctx, const char *name), void *ctx,
                         struct error *err);
enum status env_rename(struct env *env, const char *from, const char *to, struct error *err);
enum status env_unlink(struct env *env, const char *path, struct error *err);
enum status env_dir_remove(struct env *env, const char *path, struct error *err); /* an empty one */
bool env_exists(struct env *env, const char *path);
/* Holds an exclusive lock on a file in the directory until the process ends or unlocks. ST_BUSY names the holder. */
enum status env_dir_lock(struct env *env, const char *path, struct env_file **out, struct error *err);
enum status env_disk_free(struct env *env, const char *path, uint64_t *out_bytes, struct error *err);

/* ---- workers ---- */

struct env_job {
    struct env_task task;            /* internal: brings the job back to the loop */
    struct env_loop *loop;           /* where done runs */
    void (*run)(struct env_job *j);  /* on the worker; may block; touches only the job's own data and files */
    void (*done)(struct env_job *j); /* on the loop, once */
    struct link link;                /* internal */
};

/* threads > 1: jobs may run at the same time and finish in any order; with 1 they run in order. */
struct env_worker *env_worker_new(struct env *env, const char *name, unsigned threads);
void env_worker_submit(struct env_worker *w, struct env_loop *loop, struct env_job *job);
/* Waits for jobs that run, gives the queued ones back undone (their done runs), ends the threads. NULL is fine. */
void env_worker_free(struct env_worker *w);

/* ---- what an implementation provides ---- */

struct env_ops {
    uint64_t (*now_ns)(struct env *);
    uint64_t (*wall_ms)(struct env *);
    void (*random)(struct env *, void *, size_t);
    void (*defer)(struct env_loop *, struct env_task *);
    void (*post)(struct env_loop *, struct env_task *);
    void (*timer_start)(struct env_timer *, uint64_t delay_ns);
    void (*timer_stop)(struct env_timer *);
    enum status (*listen)(struct env_loop *, const char *, env_accept_fn, void *, struct env_listener **,
                          struct error *);
    uint16_t (*listener_port)(struct env_listener *);
    void (*listener_close)(struct env_listener *);
    struct env_stream *(*connect)(struct env_loop *, const char *, const struct env_stream_events *, void *,
                                  void (*)(struct env_stream *, void *, enum status));
    void (*stream_set_events)(struct env_stream *, const struct env_stream_events *, void *);
    void (*stream_write)(struct env_stream *, struct bytes);
    size_t (*stream_queued)(const struct env_stream *);
    void (*stream_pause)(struct env_stream *);
    void (*stream_resume)(struct env_stream *);
    const char *(*stream_peer)(const struct env_stream *);
    void (*stream_close)(struct env_stream *);
    enum status (*file_open)(struct env *, const char *, enum env_open_mode, struct env_file **, struct error *);
    void (*file_close)(struct env_file *);
    enum status (*file_read)(struct env_file *, uint64_t, void *, size_t, struct error *);
    enum status (*file_write)(struct env_file *, uint64_t, const void *, size_t, struct error *);
    enum status (*file_sync)(struct env_file *, struct error *);
    enum status (*file_size)(struct env_file *, uint64_t *, struct error *);
    enum status (*file_truncate)(struct env_file *, uint64_t, struct error *);
    enum status (*file_zero_fill)(struct env_file *, uint64_t, struct error *);
    enum status (*dir_create)(struct env *, const char *, struct error *);
    enum status (*dir_sync)(struct env *, const char *, struct error *);
    enum status (*dir_list)(struct env *, const char *, void (*)(void *, const char *), void *, struct error *);
    enum status (*rename)(struct env *, const char *, const char *, struct error *);
    enum status (*unlink)(struct env *, const char *, struct error *);
    enum status (*dir_remove)(struct env *, const char *, struct error *);
    bool (*exists)(struct env *, const char *);
    enum status (*dir_lock)(struct env *, const char *, struct env_file **, struct error *);
    enum status (*disk_free)(struct env *, const char *, uint64_t *, struct error *);
    struct env_worker *(*worker_new)(struct env *, const char *, unsigned);
    void (*worker_submit)(struct env_worker *, struct env_loop *, struct env_job *);
    void (*worker_free)(struct env_worker *);
    void (*process_stats)(struct env *, struct env_process_stats *); /* NULL: none */
};

/* Every implementation's object begins with its header; env.c finds the ops table there. */
struct env {
    const struct env_ops *ops;
    bool simulated; /* only the engine may ask: it uses its in-memory twin then */
};
struct env_loop {
    struct env *env;
};
struct env_stream {
    struct env_loop *loop;
};
struct env_listener {
    struct env_loop *loop;
};
struct env_file {
    struct env *env;
};
struct env_worker {
    struct env *env;
};

#endif
