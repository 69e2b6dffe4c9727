/* real.h - env on a real machine: libuv loops, POSIX files, threads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threading: env_real_loop_run is called on the thread that is to own the loop; env_real_loop_stop from any thread. */
#ifndef CAIRN_ENV_REAL_H
#define CAIRN_ENV_REAL_H

#include "env/env.h"

struct env *env_real_new(void);
void env_real_free(struct env *env);

struct env_loop *env_real_loop_new(struct env *env);
void env_real_loop_run(struct env_loop *loop);  /* until stopped */
void env_real_loop_stop(struct env_loop *loop); /* any thread */
void env_real_loop_free(struct env_loop *loop); /* after run has returned; closes what is still open on it */

/* A thread that runs fn(arg); joined with env_real_thread_join. */
struct env_thread;
struct env_thread *env_real_thread_new(const char *name, void (*fn)(void *arg), void *arg);
void env_real_thread_join(struct env_thread *t);

/* Calls fn(ctx, signal) on the loop when the process gets SIGINT or SIGTERM. SIGPIPE is ignored. */
void env_real_on_signal(struct env_loop *loop, void (*fn)(void *ctx, int sig), void *ctx);

#endif
