/* real_internal.h - what the files of the real environment share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * real.c         the process: clocks, randomness, threads, the ops table
 * real_loop.c    a loop's turn: posted and deferred tasks, sleeping and waking, signals
 * real_timer.c   timers: a heap and one timerfd
 * real_address.c "host:port" to socket addresses
 * real_listen.c  listeners
 * real_stream.c  streams
 * real_file.c    files and directories
 * real_worker.c  worker threads
 * real_diag.c    the sink that prints events to stderr
 * real_process.c what the process uses of the machine */
#ifndef CAIRN_ENV_REAL_INTERNAL_H
#define CAIRN_ENV_REAL_INTERNAL_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <uv.h>

#include "env/env.h"
#include "env/real.h"

enum {
    REAL_READ_BUFFER = 64 * 1024,  /* one per loop; a data event is at most this long */
    REAL_BACKLOG = 1024,           /* connections that the kernel holds for a listener */
    REAL_ACCEPTS_PER_TURN = 64,    /* of one listener, so that a flood of connections does not starve the others */
    REAL_TASK_ROUNDS = 4,          /* of tasks that queue tasks, before the loop looks at its sockets again */
    REAL_ADDRESSES_MAX = 8,        /* of one name, tried in order */
    REAL_PORTS_MAX = 64,           /* different ports that one process listens on */
    REAL_KEEP_BUFFER = 16 * 1024,  /* a stream's empty output buffer above this is given back */
    REAL_LISTEN_PAUSE_MS = 100,    /* a listener rests this long when the machine has no descriptors or memory */
    REAL_KEEPALIVE_S = 60,         /* an idle connection is probed after this */
    REAL_WORKER_THREADS_MAX = 256, /* of one worker */
};

struct real_port {
    uint16_t port;
    unsigned listeners;
};

struct real_env {
    struct env base;
    pthread_mutex_t ports_mutex;
    struct real_port ports[REAL_PORTS_MAX]; /* under ports_mutex; listeners = 0: free */
};

struct timer_entry {
    uint64_t due_ns;
    uint64_t seq; /* equal due times fire in the order in which they were started */
    struct env_timer *timer;
};

struct real_timers {
    struct timer_entry *heap; /* the earliest first; timer->impl[0] is the place in it */
    size_t n;
    size_t cap;
    uint64_t seq;
    uint64_t fire_ns;  /* the time up to which the last pass fired */
    uint64_t armed_ns; /* when the timerfd will fire; 0: it is not armed */
    bool expired;      /* the timerfd is readable */
    int fd;
    uv_poll_t poll;
};

struct real_loop {
    struct env_loop base;
    uv_loop_t uv;
    uv_prepare_t prepare; /* ends the turn: right before the loop waits */
    uv_idle_t idle;       /* active: the loop must not block */
    uv_async_t wake;
    uv_signal_t signals[2];
    bool idle_on;
    bool signals_on;
    void (*on_signal)(void *ctx, int sig);
    void *on_signal_ctx;
    struct real_timers timers;
    struct list deferred;
    struct list posted;           /* by this loop's thread, and taken from the inbox */
    _Atomic(struct link *) inbox; /* posted by others: a stack, the newest first, chained by `next` */
    atomic_bool asleep;           /* it is or will be blocked, and nobody has undertaken to wake it */
    atomic_bool stop;
    atomic_bool runs; /* some thread is in env_real_loop_run */
    struct list streams;
    struct list listeners;
    int reserve_fd; /* given up for a moment to turn away a connection when there are no descriptors */
    uint8_t *read_buffer;
};

struct real_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

static inline struct real_env *real_env_of(struct env *env) { return (struct real_env *)env; }
static inline struct real_loop *real_loop_of(struct env_loop *loop) { return (struct real_loop *)loop; }

/* Called first in everything that libuv calls: until the turn ends, posting needs no wake-up. */
static inline void real_loop_awake(struct real_loop *l)
{
    atomic_store_explicit(&l->asleep, false, memory_order_relaxed);
}

/* real.c */
uint64_t real_now_ns(struct env *env);
enum status real_status_of(int errnum); /* of the network */

/* real_loop.c */
void real_defer(struct env_loop *loop, struct env_task *task);
void real_post(struct env_loop *loop, struct env_task *task);
void real_undefer(struct env_task *task); /* takes it back if it is deferred */

/* real_timer.c */
void real_timers_init(struct real_loop *l);
void real_timers_fire(struct real_loop *l);
void real_timers_arm(struct real_loop *l);
void real_timers_close(struct real_loop *l);  /* closes the handle; the loop has to turn before */
void real_timers_deinit(struct real_loop *l); /* this frees the rest */
void real_timer_start(struct env_timer *timer, uint64_t delay_ns);
void real_timer_stop(struct env_timer *timer);

/* real_address.c */
enum status real_address_split(const char *address, char host[256], char port[8], struct error *err);
/* Numbers only: returns false if host is a name. */
bool real_address_numeric(const char *host, const char *port, struct real_address *out);
/* Copies what getaddrinfo found; returns how many. */
unsigned real_address_list(const struct addrinfo *found, struct real_address out[REAL_ADDRESSES_MAX]);
socklen_t real_address_size(const struct real_address *a);
void real_address_text(const struct real_address *a, char *out, size_t n); /* "1.2.3.4:5" or "[::1]:5" */

/* real_listen.c */
enum status real_listen(struct env_loop *loop, const char *address, env_accept_fn accept, void *ctx,
                        struct env_listener **out, struct error *err);
uint16_t real_listener_port(struct env_listener *l);
void real_listener_close(struct env_listener *l);
void real_listeners_close(struct real_loop *l);

/* real_stream.c */
struct env_stream *real_connect(struct env_loop *loop, const char *address, const struct env_stream_events *events,
                                void *ctx, void (*connected)(struct env_stream *, void *, enum status));
/* Makes a stream of an accepted socket (which it owns now, also on failure: NULL) and gives it to `accept`. */
void real_stream_accepted(struct real_loop *l, int fd, const struct real_address *peer, env_accept_fn accept,
                          void *ctx);
void real_stream_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx);
void real_stream_write(struct env_stream *s, struct bytes data);
size_t real_stream_queued(const struct env_stream *s);
void real_stream_pause(struct env_stream *s);
void real_stream_resume(struct env_stream *s);
const char *real_stream_peer(const struct env_stream *s);
void real_stream_close(struct env_stream *s);
void real_streams_close(struct real_loop *l);

/* real_file.c */
enum status real_file_open(struct env *, const char *, enum env_open_mode, struct env_file **, struct error *);
void real_file_close(struct env_file *);
enum status real_file_read(struct env_file *, uint64_t, void *, size_t, struct error *);
enum status real_file_write(struct env_file *, uint64_t, const void *, size_t, struct error *);
enum status real_file_sync(struct env_file *, struct error *);
enum status real_file_size(struct env_file *, uint64_t *, struct error *);
enum status real_file_truncate(struct env_file *, uint64_t, struct error *);
enum status real_file_zero_fill(struct env_file *, uint64_t, struct error *);
enum status real_dir_create(struct env *, const char *, struct error *);
enum status real_dir_remove(struct env *, const char *, struct error *);
enum status real_dir_sync(struct env *, const char *, struct error *);
enum status real_dir_list(struct env *, const char *, void (*)(void *, const char *), void *, struct error *);
enum status real_rename(struct env *, const char *, const char *, struct error *);
enum status real_unlink(struct env *, const char *, struct error *);
bool real_exists(struct env *, const char *);
enum status real_dir_lock(struct env *, const char *, struct env_file **, struct error *);
enum status real_disk_free(struct env *, const char *, uint64_t *, struct error *);

/* real_worker.c */
struct env_worker *real_worker_new(struct env *env, const char *name, unsigned threads);
void real_worker_submit(struct env_worker *w, struct env_loop *loop, struct env_job *job);
void real_worker_free(struct env_worker *w);
void real_process_stats(struct env *env, struct env_process_stats *out);

#endif
