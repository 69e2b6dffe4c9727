/* mesh_call.c - calls: one frame there, one answer back, for a node that is not a member yet.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "mesh/mesh_internal.h"

struct mesh_call {
    struct mesh *mesh;
    struct link link;          /* in mesh.calls */
    struct env_stream *stream; /* NULL: not even tried */
    struct env_timer timer;
    struct mesh_cutter in;
    struct buf request; /* magic, hello, frame */
    bool greeted;
    struct mesh_hello hello; /* theirs */
    char address[MESH_ADDRESS_MAX];
    void (*done)(void *ctx, const struct mesh_frame *answer, const char *why_not);
    void *ctx;
};

/* The one end of every call. */
static void call_end(struct mesh_call *c, const struct mesh_frame *answer, const char *why_not)
{
    env_timer_stop(&c->timer);
    if (c->stream != NULL) env_stream_close(c->stream);
    link_remove(&c->link);
    c->mesh->calls_count--;
    c->done(c->ctx, answer, why_not);
    mesh_cutter_deinit(&c->in); /* the answer may lie in it */
    buf_deinit(&c->request);
    mem_free(c);
}

void mesh_calls_free(struct mesh *m)
{
    for (struct link *k; (k = list_first(&m->calls)) != NULL;)
        call_end(CONTAINER_OF(k, struct mesh_call, link), NULL, "this node is stopping");
}

/* Returns false: the call has ended. */
static bool call_fail(struct mesh_call *c, const char *what)
{
    char why[600];
    snprintf(why, sizeof why, "%s: %s", c->address, what);
    call_end(c, NULL, why);
    return false;
}

static bool on_frame(void *ctx, struct mesh_frame *f)
{
    struct mesh_call *c = ctx;
    struct error err = {0};
    if (f->kind == MESH_REFUSE) {
        enum mesh_refusal why;
        char text[400];
        if (mesh_refuse_decode(f->body, &why, text, sizeof text) != ST_OK)
            return call_fail(c, "a refusal that makes no sense");
        return call_fail(c, text);
    }
    if (!c->greeted) {
        struct mesh_hello mine;
        if (f->kind != MESH_HELLO) return call_fail(c, "it did not greet");
        mesh_hello_of(c->mesh, MESH_LANE_CALL, 0, &mine);
        enum status st = mesh_hello_decode(f->body, &c->hello, &err);
        if (st == ST_OK) st = mesh_hello_check(&mine, &c->hello, c->address, &err);
        if (st != ST_OK) return call_fail(c, err.text);
        c->greeted = true;
        c->in.body_max = c->mesh->o.frame_bytes_max;
        return true;
    }
    if (f->kind <= MESH_PONG || f->kind >= MESH_KIND_COUNT) return call_fail(c, "an answer of an unknown kind");
    f->from_node = c->hello.from_node;
    f->from_shard = c->hello.shard;
    call_end(c, f, NULL);
    return false;
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct mesh_call *c = ctx;
    struct error err = {0};
    enum status st = mesh_cutter_feed(&c->in, data, on_frame, c, &err);
    if (st != ST_OK && st != ST_CLOSED) call_fail(c, err.text);
}

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text) { call_fail(ctx, text); }

static const struct env_stream_events call_events = {.data = on_data, .closed = on_closed};

static void on_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct mesh_call *c = ctx;
    if (st != ST_OK) call_fail(c, "can't connect");
    else env_stream_write(s, buf_view(&c->request));
}

static void on_timer(struct env_timer *timer)
{
    struct mesh_call *c = CONTAINER_OF(timer, struct mesh_call, timer);
    call_fail(c, c->stream != NULL ? "no answer in time" : "too many calls are under way");
}

void mesh_call(struct mesh *m, const char *address, enum mesh_kind kind, struct bytes body, uint64_t timeout_ns,
               void (*done)(void *ctx, const struct mesh_frame *answer, const char *why_not), void *ctx)
{
    ASSERT(kind > MESH_PONG && kind < MESH_KIND_COUNT && body.n <= m->o.frame_bytes_max && done != NULL);
    struct mesh_call *c = mem_zalloc(sizeof *c);
    c->mesh = m;
    c->done = done;
    c->ctx = ctx;
    c->in.body_max = MESH_GREETING_BODY_MAX;
    snprintf(c->address, sizeof c->address, "%s", address);
    list_push_back(&m->calls, &c->link);
    m->calls_count++;
    env_timer_init(m->o.loop, &c->timer, on_timer);
    if (m->calls_count > MESH_CALLS_MAX) { /* done may not run before this has returned */
        env_timer_start(&c->timer, 0);
        return;
    }
    struct mesh_hello hello;
    mesh_hello_of(m, MESH_LANE_CALL, 0, &hello);
    buf_put(&c->request, MESH_MAGIC, MESH_MAGIC_BYTES);
    mesh_hello_put(&c->request, &hello);
    mesh_frame_put(&c->request, (uint8_t)kind, MESH_NODE, (struct bytes){0}, body, true);
    c->stream = env_connect(m->o.loop, address, &call_events, c, on_connected);
    env_timer_start(&c->timer, timeout_ns);
}
