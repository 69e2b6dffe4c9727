/* fake_env.h - an env for unit tests: one thread, virtual time, byte pipes in memory. Only *_test.c and *_fuzz.c
 * include it. SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    lets a test decide what the simulator draws from its seed: how many bytes a read returns, when a peer
 * stops reading, when a connection breaks or goes silent, and what time it is. No files, no workers. Time:       stands
 * still but for fake_advance, which fires timers in order. fake_run lets everything happen that can happen now. Reads:
 * a data event has at most read_bytes bytes, in memory of its exact size, so that the address sanitizer sees every read
 * beyond. */
#ifndef CAIRN_ENV_FAKE_ENV_H
#define CAIRN_ENV_FAKE_ENV_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "env/env.h"

#define FAKE __attribute__((unused)) static

struct fake_env {
    struct env base;
    uint64_t now_ns;
    struct rng rng;
    struct list loops, streams, dead, listeners, timers;
    uint64_t seq;
    size_t read_bytes;   /* of a data event at most */
    size_t window_bytes; /* what the "kernel" holds of one direction of a connection */
    uint16_t next_port;
    const char *silent; /* connections to this address are neither accepted nor refused */
    uint64_t writes;    /* calls of env_stream_write */
    uint64_t connects;  /* calls of env_connect */
};

struct fake_loop {
    struct env_loop base;
    struct link link;
    struct list posted, deferred;
};

struct fake_stream {
    struct env_stream base;
    struct fake_env *f;
    struct link link;
    struct fake_stream *other; /* NULL: it is gone */
    struct buf in;             /* has arrived, not yet read */
    struct buf out;            /* written, the kernel has no room for it */
    const struct env_stream_events *events;
    void *ctx;
    void (*connected)(struct env_stream *, void *, enum status); /* until it has run */
    struct fake_listener *accepting;                             /* until it has been accepted */
    enum status connect_status;
    bool connect_silent;
    bool paused;
    bool stalled; /* by the test: the owner does not get to read */
    bool cut;     /* by the test: what is written vanishes, nothing comes */
    size_t vanished;
    bool had_to_queue;
    bool ended; /* the other side has closed */
    bool reset;
    bool reported; /* `closed` or a failed `connected` */
    bool dead;
    char peer[32];
};

struct fake_listener {
    struct env_listener base;
    struct link link;
    char address[64];
    uint16_t port;
    env_accept_fn accept;
    void *ctx;
    uint64_t accepted;
};

FAKE struct fake_env *fake_of(struct env_loop *l) { return (struct fake_env *)l->env; }
FAKE uint64_t fake_now(struct env *e) { return ((struct fake_env *)e)->now_ns; }
FAKE uint64_t fake_wall(struct env *e) { return ((struct fake_env *)e)->now_ns / NS_PER_MS; }
FAKE void fake_random(struct env *e, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++) ((uint8_t *)out)[i] = (uint8_t)rng_next(&((struct fake_env *)e)->rng);
}

FAKE void fake_queue(struct list *l, struct env_task *t)
{
    if (t->queued) return;
    t->queued = true;
    list_push_back(l, &t->link);
}
FAKE void fake_defer(struct env_loop *l, struct env_task *t) { fake_queue(&((struct fake_loop *)l)->deferred, t); }
FAKE void fake_post(struct env_loop *l, struct env_task *t) { fake_queue(&((struct fake_loop *)l)->posted, t); }

FAKE void fake_timer_stop(struct env_timer *t)
{
    if (t->due_ns == 0) return;
    t->due_ns = 0;
    link_remove(&t->link);
}
FAKE void fake_timer_start(struct env_timer *t, uint64_t delay_ns)
{
    struct fake_env *f = fake_of(t->loop);
    fake_timer_stop(t);
    t->due_ns = f->now_ns + delay_ns;
    struct link *at = f->timers.head.prev; /* behind all that are due before it or with it */
    while (at != &f->timers.head && CONTAINER_OF(at, struct env_timer, link)->due_ns > t->due_ns) at = at->prev;
    link_insert_after(at, &t->link);
}

FAKE enum status fake_listen(struct env_loop *loop, const char *address, env_accept_fn accept, void *ctx,
                             struct env_listener **out, struct error *err)
{
    struct fake_env *f = fake_of(loop);
    struct fake_listener *l = mem_zalloc(sizeof *l);
    const char *colon = strrchr(address, ':');
    l->base.loop = loop;
    l->port = (uint16_t)atoi(colon + 1);
    if (l->port == 0) l->port = ++f->next_port;
    snprintf(l->address, sizeof l->address, "%.*s:%u", (int)(colon - address), address, l->port);
    l->accept = accept;
    l->ctx = ctx;
    list_push_back(&f->listeners, &l->link);
    *out = &l->base;
    return ST_OK;
}
FAKE uint16_t fake_listener_port(struct env_listener *l) { return ((struct fake_listener *)l)->port; }
FAKE void fake_listener_close(struct env_listener *l)
{
    struct fake_env *f = fake_of(l->loop);
    for (struct link *k = list_first(&f->streams); k != NULL; k = list_next(&f->streams, k)) {
        struct fake_stream *s = CONTAINER_OF(k, struct fake_stream, link);
        if ((struct env_listener *)s->accepting != l) continue;
        s->accepting = NULL; /* it stays in the backlog for ever: nobody reads it */
    }
    link_remove(&((struct fake_listener *)l)->link);
    mem_free(l);
}

FAKE struct fake_stream *fake_stream_new(struct env_loop *loop)
{
    struct fake_stream *s = mem_zalloc(sizeof *s);
    s->base.loop = loop;
    s->f = fake_of(loop);
    list_push_back(&s->f->streams, &s->link);
    return s;
}

/* A connected pair, without a listener: one end for the code under test, one for the test. */
FAKE void fake_pair(struct env_loop *loop, struct env_stream **out_a, struct env_stream **out_b)
{
    struct fake_stream *a = fake_stream_new(loop), *b = fake_stream_new(loop);
    a->other = b;
    b->other = a;
    snprintf(a->peer, sizeof a->peer, "127.0.0.1:%u", 40000 + (unsigned)++a->f->seq % 20000);
    snprintf(b->peer, sizeof b->peer, "127.0.0.1:1");
    *out_a = &a->base;
    *out_b = &b->base;
}

/* Of the listeners that share the address, the one that has accepted least. */
FAKE struct fake_listener *fake_listener_at(struct fake_env *f, const char *address)
{
    struct fake_listener *best = NULL;
    for (struct link *k = list_first(&f->listeners); k != NULL; k = list_next(&f->listeners, k)) {
        struct fake_listener *l = CONTAINER_OF(k, struct fake_listener, link);
        if (strcmp(l->address, address) == 0 && (best == NULL || l->accepted < best->accepted)) best = l;
    }
    return best;
}

FAKE struct env_stream *fake_connect(struct env_loop *loop, const char *address, const struct env_stream_events *events,
                                     void *ctx, void (*connected)(struct env_stream *, void *, enum status))
{
    struct fake_stream *s = fake_stream_new(loop);
    struct fake_env *f = s->f;
    struct fake_listener *l = fake_listener_at(f, address);
    f->connects++;
    s->events = events;
    s->ctx = ctx;
    s->connected = connected;
    snprintf(s->peer, sizeof s->peer, "%.31s", address);
    s->connect_silent = f->silent != NULL && strcmp(f->silent, address) == 0;
    s->connect_status = l != NULL ? ST_OK : ST_IO;
    if (l == NULL || s->connect_silent) return &s->base;
    struct fake_stream *o = fake_stream_new(l->base.loop);
    o->other = s;
    s->other = o;
    snprintf(o->peer, sizeof o->peer, "127.0.0.1:%u", 40000 + (unsigned)++f->seq % 20000);
    l->accepted++;
    o->accepting = l;
    return &s->base;
}

FAKE void fake_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx)
{
    ((struct fake_stream *)s)->events = events;
    ((struct fake_stream *)s)->ctx = ctx;
}

/* Moves what fits from `out` to the other side. */
FAKE bool fake_push(struct fake_stream *s)
{
    size_t n;
    if (s->connected != NULL || s->out.n == 0) return false;
    if (s->cut) {
        n = MIN(s->out.n, s->f->window_bytes - s->vanished);
        s->vanished += n;
    } else if (s->other == NULL) {
        n = s->out.n;
    } else {
        n = MIN(s->out.n, s->f->window_bytes - MIN(s->f->window_bytes, s->other->in.n));
        buf_put(&s->other->in, s->out.p, n);
    }
    buf_consume(&s->out, n);
    return n > 0;
}
FAKE void fake_write(struct env_stream *stream, struct bytes data)
{
    struct fake_stream *s = (struct fake_stream *)stream;
    ASSERT(!s->dead);
    s->f->writes++;
    buf_put_bytes(&s->out, data);
    fake_push(s);
    if (s->out.n > 0) s->had_to_queue = true;
}
FAKE size_t fake_queued(const struct env_stream *s) { return ((const struct fake_stream *)s)->out.n; }
FAKE void fake_pause(struct env_stream *s) { ((struct fake_stream *)s)->paused = true; }
FAKE void fake_resume(struct env_stream *s) { ((struct fake_stream *)s)->paused = false; }
FAKE const char *fake_peer(const struct env_stream *s) { return ((const struct fake_stream *)s)->peer; }
FAKE void fake_close(struct env_stream *stream)
{
    struct fake_stream *s = (struct fake_stream *)stream;
    ASSERT(!s->dead);
    fake_push(s);
    if (s->other != NULL) {
        s->other->other = NULL;
        if (!s->cut) s->other->ended = true;
        if (s->out.n > 0) s->other->reset = true;
    }
    s->dead = true;
    link_remove(&s->link);
    list_push_back(&s->f->dead, &s->link);
}

/* The connection breaks; both sides are told. */
FAKE void fake_reset(struct env_stream *stream)
{
    struct fake_stream *s = (struct fake_stream *)stream;
    s->reset = s->ended = true;
    if (s->other != NULL) s->other->reset = s->other->ended = true;
}
/* The connection goes silent in both directions; nobody is told. */
FAKE void fake_cut(struct env_stream *stream)
{
    struct fake_stream *s = (struct fake_stream *)stream;
    s->cut = true;
    if (s->other != NULL) s->other->cut = true;
}

FAKE const struct env_ops fake_ops = {
    .now_ns = fake_now,
    .wall_ms = fake_wall,
    .random = fake_random,
    .defer = fake_defer,
    .post = fake_post,
    .timer_start = fake_timer_start,
    .timer_stop = fake_timer_stop,
    .listen = fake_listen,
    .listener_port = fake_listener_port,
    .listener_close = fake_listener_close,
    .connect = fake_connect,
    .stream_set_events = fake_set_events,
    .stream_write = fake_write,
    .stream_queued = fake_queued,
    .stream_pause = fake_pause,
    .stream_resume = fake_resume,
    .stream_peer = fake_peer,
    .stream_close = fake_close,
};

FAKE struct fake_env *fake_env_new(void)
{
    struct fake_env *f = mem_zalloc(sizeof *f);
    f->base.ops = &fake_ops;
    f->base.simulated = true;
    f->now_ns = 1000 * NS_PER_S;
    f->read_bytes = 64 * 1024;
    f->window_bytes = 1 << 20;
    f->next_port = 7000;
    rng_init(&f->rng, 1);
    list_init(&f->loops);
    list_init(&f->streams);
    list_init(&f->dead);
    list_init(&f->listeners);
    list_init(&f->timers);
    return f;
}
FAKE struct env_loop *fake_loop_new(struct fake_env *f)
{
    struct fake_loop *l = mem_zalloc(sizeof *l);
    l->base.env = &f->base;
    list_init(&l->posted);
    list_init(&l->deferred);
    list_push_back(&f->loops, &l->link);
    return &l->base;
}
FAKE void fake_bury(struct fake_env *f)
{
    for (struct link *k; (k = list_pop_front(&f->dead)) != NULL;) {
        struct fake_stream *s = CONTAINER_OF(k, struct fake_stream, link);
        buf_deinit(&s->in);
        buf_deinit(&s->out);
        mem_free(s);
    }
}
FAKE void fake_env_free(struct fake_env *f)
{
    for (struct link *k; (k = list_first(&f->streams)) != NULL;)
        fake_close(&CONTAINER_OF(k, struct fake_stream, link)->base);
    fake_bury(f);
    for (struct link *k; (k = list_first(&f->listeners)) != NULL;)
        fake_listener_close(&CONTAINER_OF(k, struct fake_listener, link)->base);
    for (struct link *k; (k = list_pop_front(&f->loops)) != NULL;) mem_free(CONTAINER_OF(k, struct fake_loop, link));
    mem_free(f);
}

/* One step of a stream; returns whether something happened. */
FAKE bool fake_step(struct fake_stream *s)
{
    bool moved = false;
    if (s->accepting != NULL) {
        struct fake_listener *l = s->accepting;
        s->accepting = NULL;
        l->accept(l->ctx, &s->base);
        return true;
    }
    if (s->connected != NULL) {
        void (*connected)(struct env_stream *, void *, enum status) = s->connected;
        if (s->connect_silent) return false;
        s->connected = NULL;
        s->reported = s->connect_status != ST_OK;
        connected(&s->base, s->ctx, s->connect_status);
        return true;
    }
    if (s->events == NULL) return false;
    if (s->reported) return fake_push(s); /* it may still send, but hears nothing any more */
    if (s->reset) {
        s->reported = true;
        s->events->closed(&s->base, s->ctx, ST_CLOSED, "connection reset by peer");
        return true;
    }
    moved = fake_push(s);
    if (s->out.n == 0 && s->had_to_queue) {
        s->had_to_queue = false;
        if (s->events->drained != NULL) s->events->drained(&s->base, s->ctx);
        moved = true;
    }
    if (s->dead || s->paused || s->stalled || s->cut) return moved;
    if (s->in.n > 0) {
        size_t n = MIN(s->in.n, s->f->read_bytes);
        uint8_t *p = mem_copy(s->in.p, n);
        buf_consume(&s->in, n);
        s->events->data(&s->base, s->ctx, bytes_of(p, n));
        mem_free(p);
        return true;
    }
    if (!s->ended) return moved;
    s->reported = true;
    s->events->closed(&s->base, s->ctx, ST_OK, "closed by the other side");
    return true;
}

FAKE bool fake_tasks(struct list *tasks)
{
    struct list batch;
    list_init(&batch);
    for (struct link *k; (k = list_pop_front(tasks)) != NULL;) list_push_back(&batch, k);
    bool any = !list_empty(&batch);
    for (struct link *k; (k = list_pop_front(&batch)) != NULL;) {
        struct env_task *t = CONTAINER_OF(k, struct env_task, link);
        t->queued = false;
        t->run(t);
    }
    return any;
}

/* One turn of all loops. */
FAKE bool fake_turn(struct fake_env *f)
{
    bool moved = false;
    size_t n = 0, cap = 0;
    struct fake_stream **all;
    for (struct link *k = list_first(&f->streams); k != NULL; k = list_next(&f->streams, k)) cap++;
    all = mem_alloc((cap + 1) * sizeof *all);
    for (struct link *k = list_first(&f->streams); k != NULL; k = list_next(&f->streams, k))
        all[n++] = CONTAINER_OF(k, struct fake_stream, link);
    for (size_t i = 0; i < n; i++)
        if (!all[i]->dead && fake_step(all[i])) moved = true;
    mem_free(all);
    for (struct link *k = list_first(&f->timers); k != NULL; k = list_first(&f->timers)) {
        struct env_timer *t = CONTAINER_OF(k, struct env_timer, link);
        if (t->due_ns > f->now_ns) break;
        fake_timer_stop(t);
        t->fire(t);
        moved = true;
    }
    for (struct link *k = list_first(&f->loops); k != NULL; k = list_next(&f->loops, k)) {
        struct fake_loop *l = CONTAINER_OF(k, struct fake_loop, link);
        if (fake_tasks(&l->posted)) moved = true;
        if (fake_tasks(&l->deferred)) moved = true;
    }
    fake_bury(f);
    return moved;
}
FAKE void fake_run(struct fake_env *f)
{
    for (size_t turns = 0; fake_turn(f); turns++) ASSERT(turns < 10 * 1000 * 1000);
}
FAKE void fake_advance(struct fake_env *f, uint64_t ns)
{
    uint64_t until = f->now_ns + ns;
    fake_run(f);
    for (struct link *k;
         (k = list_first(&f->timers)) != NULL && CONTAINER_OF(k, struct env_timer, link)->due_ns <= until;) {
        f->now_ns = MAX(f->now_ns, CONTAINER_OF(k, struct env_timer, link)->due_ns);
        fake_run(f);
    }
    f->now_ns = until;
    fake_run(f);
}

/* ---- a client of the test: keeps what it is sent ---- */

struct fake_client {
    struct env_stream *s; /* NULL once it has been told of the end and has closed */
    struct buf got;
    bool connected, ended;
    enum status status;
};
FAKE void fake_client_data(struct env_stream *s, void *ctx, struct bytes data)
{
    buf_put_bytes(&((struct fake_client *)ctx)->got, data);
}
FAKE void fake_client_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct fake_client *c = ctx;
    c->ended = true;
    c->status = st;
    env_stream_close(s);
    c->s = NULL;
}
FAKE const struct env_stream_events fake_client_events = {.data = fake_client_data, .closed = fake_client_closed};
FAKE void fake_client_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct fake_client *c = ctx;
    c->connected = st == ST_OK;
    if (st != ST_OK) fake_client_closed(s, ctx, st, "");
}
FAKE void fake_client_connect(struct fake_client *c, struct env_loop *loop, const char *address)
{
    *c = (struct fake_client){0};
    c->s = env_connect(loop, address, &fake_client_events, c, fake_client_connected);
}
FAKE void fake_client_free(struct fake_client *c)
{
    if (c->s != NULL) env_stream_close(c->s);
    buf_deinit(&c->got);
    *c = (struct fake_client){0};
}

#endif
