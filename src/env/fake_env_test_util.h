/* fake_env_test_util.h - an env whose turns, clock and streams a test moves by hand.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   for tests of doors: fake_turn runs what was deferred; fake_receive gives a stream bytes; what was written
 * to it is in stream->sent, of which the "kernel" takes `room` bytes until the test makes more. No files, no workers.
 * Include it in one file of a test program. */
#ifndef CAIRN_ENV_FAKE_ENV_TEST_UTIL_H
#define CAIRN_ENV_FAKE_ENV_TEST_UTIL_H

#include "base/hash.h"
#include "base/mem.h"
#include "env/env.h"

struct fake_env {
    struct env env;
    struct env_loop loop;
    struct list deferred;
    uint64_t now_ns, wall_ms;
    struct rng rng;
    size_t streams; /* open */
};

struct fake_stream {
    struct env_stream stream;
    struct fake_env *fake;
    const struct env_stream_events *events;
    void *ctx;
    struct buf sent;   /* what the other side got */
    struct buf queued; /* what the kernel did not take */
    struct buf inbox;  /* what came while paused */
    size_t room;       /* what it will take */
    bool paused, closed, ended;
    unsigned writes;
};

static struct fake_env *fake_of(struct env *e) { return CONTAINER_OF(e, struct fake_env, env); }
static struct fake_stream *stream_fake(const struct env_stream *s)
{
    return CONTAINER_OF((struct env_stream *)(uintptr_t)s, struct fake_stream, stream);
}
static uint64_t fake_now_ns(struct env *e) { return fake_of(e)->now_ns; }
static uint64_t fake_wall_ms(struct env *e) { return fake_of(e)->wall_ms; }
static void fake_random(struct env *e, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++) ((uint8_t *)out)[i] = (uint8_t)rng_next(&fake_of(e)->rng);
}
static void fake_defer(struct env_loop *l, struct env_task *t)
{
    if (t->queued) return;
    t->queued = true;
    list_push_back(&fake_of(l->env)->deferred, &t->link);
}
static void fake_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx)
{
    stream_fake(s)->events = events;
    stream_fake(s)->ctx = ctx;
}
static void fake_move(struct fake_stream *f, struct bytes data, struct buf *rest)
{
    size_t n = MIN(data.n, f->room);
    buf_put(&f->sent, data.p, n);
    f->room -= n;
    buf_put(rest, data.p + n, data.n - n);
}
static void fake_write(struct env_stream *s, struct bytes data)
{
    struct fake_stream *f = stream_fake(s);
    ASSERT(!f->closed);
    f->writes++;
    if (f->queued.n != 0) buf_put_bytes(&f->queued, data);
    else fake_move(f, data, &f->queued);
}
static size_t fake_queued(const struct env_stream *s) { return stream_fake(s)->queued.n; }
static void fake_pause(struct env_stream *s) { stream_fake(s)->paused = true; }
static void fake_resume(struct env_stream *s) { stream_fake(s)->paused = false; }
static const char *fake_peer(const struct env_stream *s) { return "127.0.0.1:43210"; }
static void fake_close(struct env_stream *s)
{
    ASSERT(!stream_fake(s)->closed);
    stream_fake(s)->closed = true;
    stream_fake(s)->fake->streams--;
}

static const struct env_ops fake_ops = {
    .now_ns = fake_now_ns,
    .wall_ms = fake_wall_ms,
    .random = fake_random,
    .defer = fake_defer,
    .stream_set_events = fake_set_events,
    .stream_write = fake_write,
    .stream_queued = fake_queued,
    .stream_pause = fake_pause,
    .stream_resume = fake_resume,
    .stream_peer = fake_peer,
    .stream_close = fake_close,
};

static inline void fake_env_init(struct fake_env *f)
{
    *f = (struct fake_env){.env = {.ops = &fake_ops}, .now_ns = NS_PER_S, .wall_ms = 1700000000123};
    f->loop.env = &f->env;
    list_init(&f->deferred);
    rng_init(&f->rng, 1);
}

/* Runs what was deferred before the call. */
static inline void fake_turn(struct fake_env *f)
{
    struct list now;
    list_init(&now);
    for (struct link *k; (k = list_pop_front(&f->deferred)) != NULL;) list_push_back(&now, k);
    for (struct link *k; (k = list_pop_front(&now)) != NULL;) {
        struct env_task *t = CONTAINER_OF(k, struct env_task, link);
        t->queued = false;
        t->run(t);
    }
}

/* Turns until nothing is deferred any more. */
static inline void fake_settle(struct fake_env *f)
{
    for (unsigned i = 0; !list_empty(&f->deferred); i++) {
        ASSERT(i < 100000);
        fake_turn(f);
    }
}

static inline struct fake_stream *fake_stream_new(struct fake_env *f)
{
    struct fake_stream *s = mem_zalloc(sizeof *s);
    s->stream.loop = &f->loop;
    s->fake = f;
    s->room = SIZE_MAX;
    f->streams++;
    return s;
}

static inline void fake_stream_free(struct fake_stream *s)
{
    ASSERT(s->closed);
    buf_deinit(&s->sent);
    buf_deinit(&s->queued);
    buf_deinit(&s->inbox);
    mem_free(s);
}

/* Bytes arrive, in reads of at most 64 KiB; what is not read because of a pause stays. */
static inline void fake_receive(struct fake_stream *s, struct bytes data)
{
    buf_put_bytes(&s->inbox, data);
    size_t at = 0;
    while (at < s->inbox.n && !s->paused && !s->closed && !s->ended) {
        size_t n = MIN(s->inbox.n - at, 65536);
        uint8_t *copy = mem_copy(s->inbox.p + at, n); /* so that a view kept too long is found */
        s->events->data(&s->stream, s->ctx, bytes_of(copy, n));
        mem_free(copy);
        at += n;
    }
    buf_consume(&s->inbox, at);
}

/* The other side reads `n` bytes more. */
static inline void fake_drain(struct fake_stream *s, size_t n)
{
    struct buf rest = {0};
    s->room = n;
    if (s->queued.n == 0) return;
    fake_move(s, buf_view(&s->queued), &rest);
    buf_deinit(&s->queued);
    s->queued = rest;
    if (rest.n == 0 && !s->closed && s->events->drained != NULL) s->events->drained(&s->stream, s->ctx);
}

/* The other side is gone, or has said that it sends no more (ST_OK). */
static inline void fake_end(struct fake_stream *s, enum status st)
{
    if (s->closed) return;
    s->ended = true;
    s->events->closed(&s->stream, s->ctx, st, st == ST_OK ? "" : "connection reset");
}

#endif
