/* env.c - the functions of env.h: each calls through the ops table of the implementation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "env/env.h"

#include <string.h>

uint64_t env_now_ns(struct env *env) { return env->ops->now_ns(env); }
uint64_t env_wall_ms(struct env *env) { return env->ops->wall_ms(env); }
void env_random(struct env *env, void *out, size_t n) { env->ops->random(env, out, n); }

uint64_t env_random_u64(struct env *env)
{
    uint64_t v;
    env->ops->random(env, &v, sizeof v);
    return v;
}

void env_process_stats(struct env *env, struct env_process_stats *out)
{
    *out = (struct env_process_stats){0};
    if (env->ops->process_stats != NULL) env->ops->process_stats(env, out);
}

struct env *env_loop_env(struct env_loop *loop) { return loop->env; }

void env_defer(struct env_loop *loop, struct env_task *task)
{
    ASSERT(task->run != NULL);
    loop->env->ops->defer(loop, task);
}

void env_post(struct env_loop *loop, struct env_task *task)
{
    ASSERT(task->run != NULL);
    loop->env->ops->post(loop, task);
}

void env_timer_init(struct env_loop *loop, struct env_timer *timer, void (*fire)(struct env_timer *timer))
{
    ASSERT(loop != NULL && fire != NULL);
    *timer = (struct env_timer){.loop = loop, .fire = fire};
}

void env_timer_start(struct env_timer *timer, uint64_t delay_ns)
{
    ASSERT(timer->loop != NULL); /* env_timer_init came first */
    timer->loop->env->ops->timer_start(timer, delay_ns);
}

void env_timer_stop(struct env_timer *timer)
{
    if (timer->due_ns != 0) timer->loop->env->ops->timer_stop(timer);
    ASSERT(timer->due_ns == 0);
}

enum status env_listen(struct env_loop *loop, const char *address, env_accept_fn accept, void *ctx,
                       struct env_listener **out, struct error *err)
{
    ASSERT(accept != NULL);
    return loop->env->ops->listen(loop, address, accept, ctx, out, err);
}

uint16_t env_listener_port(struct env_listener *l) { return l->loop->env->ops->listener_port(l); }

void env_listener_close(struct env_listener *l)
{
    if (l != NULL) l->loop->env->ops->listener_close(l);
}

struct env_stream *env_connect(struct env_loop *loop, const char *address, const struct env_stream_events *events,
                               void *ctx, void (*connected)(struct env_stream *s, void *ctx, enum status st))
{
    ASSERT(connected != NULL);
    return loop->env->ops->connect(loop, address, events, ctx, connected);
}

void env_stream_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx)
{
    ASSERT(events != NULL);
    s->loop->env->ops->stream_set_events(s, events, ctx);
}

void env_stream_write(struct env_stream *s, struct bytes data)
{
    if (data.n != 0) s->loop->env->ops->stream_write(s, data);
}

size_t env_stream_queued(const struct env_stream *s) { return s->loop->env->ops->stream_queued(s); }
void env_stream_pause(struct env_stream *s) { s->loop->env->ops->stream_pause(s); }
void env_stream_resume(struct env_stream *s) { s->loop->env->ops->stream_resume(s); }
const char *env_stream_peer(const struct env_stream *s) { return s->loop->env->ops->stream_peer(s); }

void env_stream_close(struct env_stream *s)
{
    if (s != NULL) s->loop->env->ops->stream_close(s);
}

enum status env_file_open(struct env *env, const char *path, enum env_open_mode mode, struct env_file **out,
                          struct error *err)
{
    return env->ops->file_open(env, path, mode, out, err);
}

void env_file_close(struct env_file *f)
{
    if (f != NULL) f->env->ops->file_close(f);
}

enum status env_file_read(struct env_file *f, uint64_t offset, void *out, size_t n, struct error *err)
{
    return f->env->ops->file_read(f, offset, out, n, err);
}

enum status env_file_write(struct env_file *f, uint64_t offset, const void *p, size_t n, struct error *err)
{
    return f->env->ops->file_write(f, offset, p, n, err);
}

enum status env_file_sync(struct env_file *f, struct error *err) { return f->env->ops->file_sync(f, err); }

enum status env_file_size(struct env_file *f, uint64_t *out, struct error *err)
{
    return f->env->ops->file_size(f, out, err);
}

enum status env_file_truncate(struct env_file *f, uint64_t size, struct error *err)
{
    return f->env->ops->file_truncate(f, size, err);
}

enum status env_file_zero_fill(struct env_file *f, uint64_t size, struct error *err)
{
    return f->env->ops->file_zero_fill(f, size, err);
}

enum status env_dir_create(struct env *env, const char *path, struct error *err)
{
    return env->ops->dir_create(env, path, err);
}

enum status env_dir_remove(struct env *env, const char *path, struct error *err)
{
    return env->ops->dir_remove(env, path, err);
}

enum status env_dir_sync(struct env *env, const char *path, struct error *err)
{
    return env->ops->dir_sync(env, path, err);
}

enum status env_dir_list(struct env *env, const char *path, void (*each)(void *ctx, const char *name), void *ctx,
                         struct error *err)
{
    return env->ops->dir_list(env, path, each, ctx, err);
}

enum status env_rename(struct env *env, const char *from, const char *to, struct error *err)
{
    return env->ops->rename(env, from, to, err);
}

enum status env_unlink(struct env *env, const char *path, struct error *err)
{
    return env->ops->unlink(env, path, err);
}

bool env_exists(struct env *env, const char *path) { return env->ops->exists(env, path); }

enum status env_dir_lock(struct env *env, const char *path, struct env_file **out, struct error *err)
{
    return env->ops->dir_lock(env, path, out, err);
}

enum status env_disk_free(struct env *env, const char *path, uint64_t *out_bytes, struct error *err)
{
    return env->ops->disk_free(env, path, out_bytes, err);
}

struct env_worker *env_worker_new(struct env *env, const char *name, unsigned threads)
{
    ASSERT(threads > 0);
    return env->ops->worker_new(env, name, threads);
}

void env_worker_submit(struct env_worker *w, struct env_loop *loop, struct env_job *job)
{
    ASSERT(job->run != NULL && job->done != NULL);
    w->env->ops->worker_submit(w, loop, job);
}

void env_worker_free(struct env_worker *w)
{
    if (w != NULL) w->env->ops->worker_free(w);
}
