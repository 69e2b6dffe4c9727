/* world.h - a whole cluster in one thread: machines, processes, virtual time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    the simulated implementation of env/env.h. A world is a queue of events in virtual time; nothing else
 *             moves the time, nothing is random but for the seed. The same seed gives the same run, byte for byte,
 *             which world_trace proves: a hash over all events, delivered and written bytes, and diag lines.
 * Objects:    struct world      one run.
 *             struct sim_node   a machine: clock, disk, network address. Lives as long as the world.
 *             process           one incarnation of a node's program on a machine: struct env, loops, heap, sockets,
 *                               open files. From world_start until world_crash or world_stop.
 * Calling:    a driver calls these between runs, from world_at callbacks, or from code that runs on another node.
 *             world_crash of a node from its own code takes effect when that callback or file operation returns.
 * Memory:     world_new takes over mem_* (sim/heap.h): what was allocated before the first world must not be freed.
 * Checking:   times recorded with world_now_ns are real time; the order in which callbacks of different nodes are run
 *             within some microseconds is not.
 * Threading:  one thread; one world runs at a time. */
#ifndef CAIRN_SIM_WORLD_H
#define CAIRN_SIM_WORLD_H

#include <stdio.h>

#include "base/hash.h"
#include "env/env.h"

struct world;
struct sim_node;

/* What a callback costs, and how threads are disturbed. */
struct sim_cpu_options {
    uint64_t callback_ns_min;
    uint64_t callback_ns_max;
    uint64_t hiccup_one_in; /* callbacks; 0: never. The loop's thread is taken away before the callback */
    uint64_t hiccup_ns_max;
    uint64_t timer_late_ns_max;
    uint64_t post_ns_max; /* from env_post until the other loop sees the task */
};

/* What really happened in this world so far. */
struct sim_counters {
    uint64_t events, turns, callbacks, timers, tasks, jobs;
    uint64_t processes_started, processes_stopped, kills, power_losses, pauses, hiccups, clock_jumps;
    /* network */
    uint64_t connects, connects_refused, connects_timed_out, segments, bytes_sent, bytes_delivered, segments_lost,
        segments_held, resets, half_open, give_ups, cuts, heals;
    /* disk */
    uint64_t reads, writes, syncs, dir_syncs, bytes_written, sectors_kept, sectors_lost, sectors_torn, sectors_garbage,
        names_kept, names_lost, sizes_lost, read_errors, write_errors, sync_errors, disk_fulls, disk_stalls,
        sectors_corrupted;
};

struct world *world_new(uint64_t seed);
/* Ends everything at once, without running any more of the nodes' code. */
void world_free(struct world *w);

uint64_t world_seed(const struct world *w);
/* Nanoseconds since the world began; within a callback, the time at which that callback runs. */
uint64_t world_now_ns(const struct world *w);
uint64_t world_trace(const struct world *w);
struct rng *world_rng(struct world *w);                     /* for the driver's own decisions */
struct sim_cpu_options *world_cpu_options(struct world *w); /* may be changed at any time */
const struct sim_counters *world_counters(const struct world *w);
void world_counters_print(const struct world *w, FILE *out); /* those that are not 0, one a line */
/* diag lines go to out with time and node; NULL (the default): only to the trace. */
void world_set_log(struct world *w, FILE *out);
/* Calls fn for each diag line of a node (id), within that node's code: fn may look, draw and plan (world_at), no more. */
void world_on_diag(struct world *w, void (*fn)(void *ctx, unsigned node, const char *line), void *ctx);

/* Each runs events in order and returns how many. Time ends at exactly until_ns where it is given. */
uint64_t world_run_until(struct world *w, uint64_t until_ns);
uint64_t world_run(struct world *w, uint64_t for_ns);
bool world_step(struct world *w); /* one event; false if there is none */
/* Runs until *done or until for_ns have passed; returns *done. */
bool world_run_while_not(struct world *w, const bool *done, uint64_t for_ns);
/* Calls fn at a time: how faults and clients' schedules are planned. A time that has passed means now. */
void world_at(struct world *w, uint64_t at_ns, void (*fn)(void *ctx), void *ctx);

/* ---- machines ---- */

/* host is the name that addresses use, e.g. "n1" or "10.0.0.1". The machine is up, with an empty disk and no process.
 */
struct sim_node *world_node_new(struct world *w, const char *host);
const char *sim_node_host(const struct sim_node *n);
unsigned sim_node_id(const struct sim_node *n); /* 1, 2, … */
struct world *sim_node_world(const struct sim_node *n);
unsigned world_node_count(const struct world *w);
struct sim_node *world_node(struct world *w, unsigned id);

/* How fast the node's clocks run: -10000 … 10000 parts per million from now on. */
void world_clock_drift(struct sim_node *n, int64_t ppm);
/* Moves the wall clock; the monotonic one never jumps. */
void world_clock_jump(struct sim_node *n, int64_t delta_ms);

/* ---- processes ---- */

/* A program's main: runs on the process's main thread, where file operations take (virtual) time. The loops begin to
 * turn when it has returned; until then it may use them as their owner. */
typedef void (*sim_start_fn)(void *ctx, struct env *env, struct env_loop **loops, unsigned loop_count);

/* Starts a process on a machine that has none (and boots the machine after a power loss). start, which may be NULL,
 * runs as an event. The env is valid until the process ends. */
struct env *world_start(struct sim_node *n, unsigned loop_count, sim_start_fn start, void *ctx);
bool world_running(const struct sim_node *n);
struct env *world_env(struct sim_node *n);                   /* NULL: no process */
struct env_loop *world_loop(struct sim_node *n, unsigned i); /* NULL: none such */
unsigned world_loop_count(const struct sim_node *n);
struct env_loop *world_loop_new(struct sim_node *n); /* one more */

enum sim_crash {
    SIM_KILL,       /* kill -9: the page cache survives; the kernel ends the connections with FIN or RST */
    SIM_POWER_LOSS, /* unsynced state is lost as the seed draws; the peers are told nothing */
};

/* Frees all memory of the process at once; none of its code runs any more. */
void world_crash(struct sim_node *n, enum sim_crash kind);

/* What a process that ended in an orderly way left behind: all zero if it cleaned up. */
struct sim_leaks {
    size_t blocks, bytes, streams, listeners, files, workers, timers;
};
bool sim_leaks_any(const struct sim_leaks *l);
/* The process ends in an orderly way; the driver has made its code close everything before. */
struct sim_leaks world_stop(struct sim_node *n);

/* SIGSTOP now, SIGCONT after for_ns: time passes, the kernel goes on, the process's threads don't. */
void world_pause(struct sim_node *n, uint64_t for_ns);
/* One loop's thread gets no CPU for a while. */
void world_stall(struct env_loop *loop, uint64_t for_ns);

/* Runs fn(ctx) on the loop as a task. Lost if the process ends first. */
void world_call(struct env_loop *loop, void (*fn)(void *ctx), void *ctx);
/* For a driver that calls a node's functions itself, between runs: what is allocated belongs to the node's process.
 * File operations take no time then. Not nested. */
void world_enter(struct sim_node *n);
void world_leave(struct world *w);

#endif
