/* world_internal.h - what the parts of the simulated environment share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * world.c has time, machines and processes; loop.c loops, timers and workers; net.c streams; disk.c files; env_sim.c
 * the table of functions that env.h calls.
 *
 * Two times: world.now is the time of the event that runs. world.at is the time where the code that runs has got to: it
 * starts at now and grows with the CPU that callbacks cost, and all effects of that code are stamped with it. */
#ifndef CAIRN_SIM_WORLD_INTERNAL_H
#define CAIRN_SIM_WORLD_INTERNAL_H

#include "base/map.h"
#include "sim/disk.h"
#include "sim/fiber.h"
#include "sim/heap.h"
#include "sim/net.h"
#include "sim/queue.h"
#include "sim/world.h"

struct sim_loop;
struct process;
struct disk;

enum event_kind {
    EV_CALL = 1,
    EV_WAKE,
    EV_TIMER,
    EV_FIBER,
    EV_SEGMENT,
    EV_RESET,
    EV_GIVE_UP,
    EV_HANDSHAKE,
    EV_DATA,
    EV_WRITE,
    EV_DIAG
};

/* Whose code runs. All NULL: the driver's. */
struct context {
    struct process *process;
    struct sim_loop *loop;     /* NULL: not on a loop's thread */
    struct sim_thread *thread; /* NULL: not on a fiber */
    struct heap *heap;         /* to go back to */
};

struct world {
    uint64_t seed;
    uint64_t now;
    uint64_t at;
    uint64_t trace;
    struct queue queue;
    struct heap heap; /* the simulator's own memory */
    struct context context;
    unsigned depth;         /* of code of nodes on the stack */
    bool stepping;          /* in world_step */
    struct sim_loop *ready; /* turns when the event that runs is through */
    struct list events_free;
    size_t slab_pages;
    void *pages_free; /* disk.c's: the first bytes of each point to the next */
    struct rng rng_cpu, rng_net, rng_disk, rng_clock, rng_driver;
    struct sim_cpu_options cpu;
    struct sim_net_options net;
    struct sim_counters counters;
    struct sim_node **nodes; /* nodes[id - 1] */
    unsigned node_count;
    struct map links; /* from id << 32 | to id -> struct net_link */
    uint64_t conn_count;
    struct process *entered; /* by world_enter */
    struct context left;
    FILE *log;
    void (*on_diag)(void *ctx, unsigned node, const char *line);
    void *on_diag_ctx;
};

struct sim_node {
    struct world *world;
    unsigned id;
    char *host;
    bool up;                 /* has power */
    struct process *process; /* NULL: none */
    uint64_t paused_until;
    /* clocks: mono(t) = mono0 + (t - t0) * rate / 2^32 */
    uint64_t clock_t0, clock_mono0, clock_rate;
    int64_t wall_offset_ns; /* wall - mono */
    uint64_t incarnations;
    struct disk *disk;
    /* network */
    struct map ports;     /* port -> struct net_port */
    struct list sides;    /* ends of connections, struct side.link */
    uint64_t nic_free_at; /* when what was sent has left the network card */
    uint16_t next_port;
};

/* One incarnation of a node's program. */
struct process {
    struct env env; /* first */
    struct sim_node *node;
    uint64_t incarnation;
    struct heap heap;
    struct rng rng;
    struct sim_loop **loops;
    unsigned loop_count;
    bool turning;     /* start has returned: the loops turn */
    unsigned running; /* frames of its code on the stack */
    bool doomed;      /* world_crash was called from its own code */
    enum sim_crash doom;
    struct list streams, listeners, files, workers, threads;
    sim_start_fn start;
    void *start_ctx;
};

struct inbox_item {
    uint64_t due_ns;
    struct env_task *task;
};

struct sim_loop {
    struct env_loop base; /* first */
    struct process *process;
    uint64_t mono_seen; /* the highest monotonic time that its code was told */
    struct event wake;
    uint64_t busy_until;
    bool turning;
    struct list armed;        /* timers: struct event.link, queued */
    struct list due;          /* timers whose event has run */
    struct list streams;      /* with something to tell: struct sim_stream.ready */
    struct list deferred;     /* struct env_task.link */
    struct inbox_item *inbox; /* a ring */
    uint32_t inbox_first, inbox_count, inbox_cap;
    uint64_t inbox_last_ns;
};

/* A thread that blocks: of a worker, or a process's main thread. */
struct sim_thread {
    struct fiber *fiber;
    struct process *process;
    struct event resume;
    struct link link;          /* process.threads */
    struct sim_worker *worker; /* NULL: the main thread */
};

struct sim_worker {
    struct env_worker base; /* first */
    struct process *process;
    struct link link; /* process.workers */
    unsigned threads_max, threads;
    bool ending;
    struct list queue; /* struct env_job.link */
};

/* ---- world.c ---- */

static inline struct process *process_of(struct env *env) { return (struct process *)env; }
static inline struct sim_loop *loop_of(struct env_loop *loop) { return (struct sim_loop *)loop; }

void event_init(struct event *ev, enum event_kind kind, unsigned node, void *ptr,
                void (*run)(struct world *, struct event *));
struct event *event_take(struct world *w);
void event_give(struct world *w, struct event *ev);
/* Never before now. */
void world_schedule(struct world *w, struct event *ev, uint64_t at_ns);
void world_mix(struct world *w, enum event_kind kind, unsigned node, uint64_t value); /* into the trace */

/* Code of a process runs from here … */
struct context context_enter(struct process *p, struct sim_loop *loop, struct sim_thread *thread);
/* … to here. A crash that was asked for meanwhile happens now: the process may be gone then. */
void context_leave(struct process *p, struct context old);

uint64_t node_mono(const struct sim_node *n, uint64_t at);
uint64_t node_mono_when(const struct sim_node *n, uint64_t mono); /* the first time at which the clock shows mono */
uint64_t node_wall_ns(const struct sim_node *n, uint64_t at);

/* True if the code that runs may use what the loop owns. */
bool loop_is_ours(const struct sim_loop *l);

/* ---- loop.c ---- */

struct sim_loop *loop_new(struct process *p);
void loop_deinit(struct sim_loop *l); /* the process ends; returns its timers' events */
/* Something became ready on the loop: runs a turn, now or as soon as it can. */
void loop_ready(struct sim_loop *l);
void loop_turn_if_able(struct sim_loop *l);
void loop_post(struct sim_loop *l, struct env_task *task); /* from any code */
void loop_start(struct sim_loop *l);                       /* process.turning was set */
void loop_charge(struct world *w);                         /* one callback's cost */

struct sim_thread *thread_new(struct process *p, void (*main)(void *), void *arg, uint64_t at_ns);
void thread_free(struct sim_thread *t); /* never goes on */
/* The code that runs takes ns: a fiber gives the CPU away until then, a loop is late, the driver pays nothing. */
void world_block(struct world *w, uint64_t ns);
/* The same, but a fiber may run ahead of the queue for a few microseconds, which saves an event. */
void world_spend(struct world *w, uint64_t ns);

void sim_defer(struct env_loop *loop, struct env_task *task);
void sim_post(struct env_loop *loop, struct env_task *task);
void sim_timer_start(struct env_timer *t, uint64_t delay_ns);
void sim_timer_stop(struct env_timer *t);
struct env_worker *sim_worker_new(struct env *env, const char *name, unsigned threads);
void sim_worker_submit(struct env_worker *w, struct env_loop *loop, struct env_job *job);
void sim_worker_free(struct env_worker *w);

/* ---- net.c ---- */

struct sim_stream;
void net_init(struct world *w);
void net_process_end(struct process *p, bool power_loss); /* its sockets */
void net_power_loss(struct sim_node *n);                  /* what its kernel knew of connections is gone */
void net_node_boot(struct sim_node *n);
void net_stream_turn(struct world *w, struct link *ready); /* tells the owner what is ready; the link was removed */

enum status sim_listen(struct env_loop *loop, const char *address, env_accept_fn accept, void *ctx,
                       struct env_listener **out, struct error *err);
uint16_t sim_listener_port(struct env_listener *l);
void sim_listener_close(struct env_listener *l);
struct env_stream *sim_connect(struct env_loop *loop, const char *address, const struct env_stream_events *events,
                               void *ctx, void (*connected)(struct env_stream *, void *, enum status));
void sim_stream_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx);
void sim_stream_write(struct env_stream *s, struct bytes data);
size_t sim_stream_queued(const struct env_stream *s);
void sim_stream_pause(struct env_stream *s);
void sim_stream_resume(struct env_stream *s);
const char *sim_stream_peer(const struct env_stream *s);
void sim_stream_close(struct env_stream *s);

/* ---- disk.c ---- */

struct disk *disk_new(struct sim_node *n);
void disk_process_end(struct process *p); /* its open files and locks */
void disk_power_loss(struct disk *d);

enum status sim_file_open(struct env *, const char *, enum env_open_mode, struct env_file **, struct error *);
void sim_file_close(struct env_file *);
enum status sim_file_read(struct env_file *, uint64_t, void *, size_t, struct error *);
enum status sim_file_write(struct env_file *, uint64_t, const void *, size_t, struct error *);
enum status sim_file_sync(struct env_file *, struct error *);
enum status sim_file_size(struct env_file *, uint64_t *, struct error *);
enum status sim_file_truncate(struct env_file *, uint64_t, struct error *);
enum status sim_file_zero_fill(struct env_file *, uint64_t, struct error *);
enum status sim_dir_create(struct env *, const char *, struct error *);
enum status sim_dir_remove(struct env *, const char *, struct error *);
enum status sim_dir_sync(struct env *, const char *, struct error *);
enum status sim_dir_list(struct env *, const char *, void (*)(void *, const char *), void *, struct error *);
enum status sim_rename(struct env *, const char *, const char *, struct error *);
enum status sim_unlink(struct env *, const char *, struct error *);
bool sim_exists(struct env *, const char *);
enum status sim_dir_lock(struct env *, const char *, struct env_file **, struct error *);
enum status sim_disk_free(struct env *, const char *, uint64_t *, struct error *);

extern const struct env_ops sim_env_ops;

#endif
