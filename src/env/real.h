/* real.h - env on a real machine: libuv loops, POSIX files, threads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threading: env_real_loop_run is called on the thread that is to own the loop; env_real_loop_stop from any thread.
 *            Before run and after it has returned, whoever set the loop up owns it. */
#ifndef CAIRN_ENV_REAL_H
#define CAIRN_ENV_REAL_H

#include "base/diag.h"
#include "env/env.h"

struct env *env_real_new(void);
void env_real_free(struct env *env);

struct env_loop *env_real_loop_new(struct env *env);
void env_real_loop_run(struct env_loop *loop); /* until stopped; may be called again */
/* Any thread. Tasks that it posted before still run. A loop that does not run yet will stop after its first turn. */
void env_real_loop_stop(struct env_loop *loop);
/* After run has returned, and when no thread posts to it any more: closes what is still open on it. Tasks still queued
 * are dropped; stop and run once more to have them run. NULL is fine. */
void env_real_loop_free(struct env_loop *loop);

/* A thread that runs fn(arg); joined with env_real_thread_join. */
struct env_thread;
struct env_thread *env_real_thread_new(const char *name, void (*fn)(void *arg), void *arg);
void env_real_thread_join(struct env_thread *t);

/* Calls fn(ctx, signal) on the loop when the process gets SIGINT or SIGTERM. SIGPIPE is ignored from env_real_new on.
 */
void env_real_on_signal(struct env_loop *loop, void (*fn)(void *ctx, int sig), void *ctx);

/* Prints events (base/diag.h) from `lowest` up to stderr: "2031-01-31T23:59:59.123Z warn  <event>". Once, at start. */
void env_real_diag_stderr(enum diag_level lowest);

#endif
