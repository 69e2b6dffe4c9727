/* real_stream.c - streams: TCP connections on libuv.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   env_connect --> CONNECTING --ok--> OPEN --error--> FAILED
 *                       |               ^                |
 *                       +--error--------|--> FAILED      |
 *   accept -----------------------------+                v
 *   any state --env_stream_close--> CLOSING --(libuv let go)--> freed
 *
 * An orderly end of the other side's data leaves the stream OPEN: it may only have shut down its sending half, and
 * what is written before env_stream_close is still sent.
 *
 * Output: `inflight` is with libuv, `pending` waits for it. Only one uv_write is under way, so small writes to a slow
 * peer are joined. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "env/real_internal.h"

enum stream_state { STREAM_CONNECTING, STREAM_OPEN, STREAM_FAILED, STREAM_CLOSING };

/* What is needed until the connection stands. A name lookup that can't be cancelled outlives the stream (stream: NULL).
 */
struct stream_connect {
    struct real_stream *stream;
    uv_connect_t request;
    uv_getaddrinfo_t lookup;
    bool looking_up;
    unsigned n;
    unsigned next;
    struct real_address addresses[REAL_ADDRESSES_MAX];
};

struct real_stream {
    struct env_stream base;
    struct link link; /* in loop.streams */
    enum stream_state state;
    bool paused;
    bool finished; /* `closed` or a failed `connected` was reported: no event any more */
    bool writing;  /* inflight is with libuv */
    const struct env_stream_events *events;
    void *ctx;
    void (*connected)(struct env_stream *, void *, enum status);
    struct stream_connect *connect; /* NULL once connected */
    uv_tcp_t tcp;
    uv_write_t write_request;
    struct buf inflight;
    struct buf pending;
    struct env_task report; /* tells of an error that came up within a call of the owner */
    int report_error;       /* libuv's (negative) */
    char peer[64];          /* empty: not yet written out */
    struct real_address peer_address;
};

static struct real_stream *stream_of(const struct env_stream *s) { return (struct real_stream *)s; }
static struct real_loop *loop_of(const struct real_stream *r) { return real_loop_of(r->base.loop); }

static void buf_release(struct buf *b)
{
    if (b->cap > REAL_KEEP_BUFFER) buf_deinit(b);
    buf_clear(b);
}

static enum status status_of_uv(int rc)
{
    if (rc == UV_EOF) return ST_OK;
    if (rc <= UV_EAI_ADDRFAMILY && rc >= UV_EAI_SOCKTYPE) return ST_UNAVAILABLE; /* the name was not found */
    return real_status_of(-rc);
}

/* The last event of a stream. */
static void stream_finish(struct real_stream *r, int rc)
{
    ASSERT(r->state != STREAM_CLOSING);
    if (r->finished) return;
    r->finished = true;
    real_undefer(&r->report);
    uv_read_stop((uv_stream_t *)&r->tcp);
    enum status st = status_of_uv(rc);
    bool connecting = r->state == STREAM_CONNECTING;
    if (connecting || st != ST_OK) {
        r->state = STREAM_FAILED;
        buf_deinit(&r->pending);
    }
    if (connecting) {
        r->connected(&r->base, r->ctx, st != ST_OK ? st : ST_CLOSED);
        return;
    }
    char text[128] = "closed by the other side";
    if (st != ST_OK) uv_strerror_r(rc, text, sizeof text);
    r->events->closed(&r->base, r->ctx, st, text);
}

static void stream_report(struct env_task *task)
{
    struct real_stream *r = CONTAINER_OF(task, struct real_stream, report);
    stream_finish(r, r->report_error);
}

/* As stream_finish, but not before the owner's call has returned. */
static void stream_finish_later(struct real_stream *r, int rc)
{
    if (r->finished || r->report.queued) return;
    r->report_error = rc;
    real_defer(r->base.loop, &r->report);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct real_stream *r = handle->data;
    *out = uv_buf_init((char *)loop_of(r)->read_buffer, REAL_READ_BUFFER);
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *b)
{
    struct real_stream *r = handle->data;
    real_loop_awake(loop_of(r));
    if (n > 0) r->events->data(&r->base, r->ctx, bytes_of(b->base, (size_t)n));
    else if (n < 0) stream_finish(r, (int)n);
}

static void stream_read(struct real_stream *r)
{
    if (r->state != STREAM_OPEN || r->paused || r->finished) return;
    ASSERT(r->events != NULL && r->events->data != NULL && r->events->closed != NULL);
    int rc = uv_read_start((uv_stream_t *)&r->tcp, on_alloc, on_read);
    if (rc != 0 && rc != UV_EALREADY) stream_finish_later(r, rc);
}

void real_stream_pause(struct env_stream *s)
{
    struct real_stream *r = stream_of(s);
    r->paused = true;
    uv_read_stop((uv_stream_t *)&r->tcp);
}

void real_stream_resume(struct env_stream *s)
{
    struct real_stream *r = stream_of(s);
    r->paused = false;
    stream_read(r);
}

/* ---- writing ---- */

static void stream_send(struct real_stream *r);

static void on_written(uv_write_t *request, int rc)
{
    struct real_stream *r = CONTAINER_OF(request, struct real_stream, write_request);
    real_loop_awake(loop_of(r));
    r->writing = false;
    buf_release(&r->inflight);
    if (r->state == STREAM_CLOSING || r->state == STREAM_FAILED) return;
    if (rc != 0) {
        r->state = STREAM_FAILED;
        buf_deinit(&r->pending);
        stream_finish(r, rc);
    } else if (r->pending.n > 0) {
        stream_send(r);
    } else if (!r->finished && r->events->drained != NULL) {
        r->events->drained(&r->base, r->ctx);
    }
}

/* Hands `pending` to libuv. */
static void stream_send(struct real_stream *r)
{
    ASSERT(!r->writing && r->pending.n > 0 && r->inflight.n == 0);
    struct buf empty = r->inflight;
    r->inflight = r->pending;
    r->pending = empty;
    ASSERT(r->inflight.n <= UINT32_MAX); /* what owners queue is bounded far below */
    uv_buf_t b = uv_buf_init((char *)r->inflight.p, (unsigned)r->inflight.n);
    int rc = uv_write(&r->write_request, (uv_stream_t *)&r->tcp, &b, 1, on_written);
    r->writing = rc == 0;
    if (rc != 0) {
        r->state = STREAM_FAILED;
        buf_deinit(&r->inflight);
        stream_finish_later(r, rc);
    }
}

void real_stream_write(struct env_stream *s, struct bytes data)
{
    struct real_stream *r = stream_of(s);
    ASSERT(r->state != STREAM_CLOSING);
    if (r->state == STREAM_FAILED) return;
    if (r->state == STREAM_OPEN && !r->writing && r->pending.n == 0) {
        uv_buf_t b = uv_buf_init((char *)data.p, (unsigned)MIN(data.n, INT32_MAX));
        int rc = uv_try_write((uv_stream_t *)&r->tcp, &b, 1);
        if (rc < 0 && rc != UV_EAGAIN) {
            r->state = STREAM_FAILED;
            stream_finish_later(r, rc);
            return;
        }
        size_t taken = rc > 0 ? (size_t)rc : 0;
        if (taken == data.n) return;
        data = bytes_of(data.p + taken, data.n - taken);
        buf_put_bytes(&r->pending, data);
        stream_send(r);
        return;
    }
    buf_put_bytes(&r->pending, data);
}

size_t real_stream_queued(const struct env_stream *s)
{
    struct real_stream *r = stream_of(s);
    if (r->state == STREAM_FAILED) return 0;
    return r->pending.n + (r->writing ? uv_stream_get_write_queue_size((const uv_stream_t *)&r->tcp) : 0);
}

/* ---- opening ---- */

static struct real_stream *stream_new(struct real_loop *l)
{
    struct real_stream *r = mem_zalloc(sizeof *r);
    r->base.loop = &l->base;
    r->report.run = stream_report;
    uv_tcp_init(&l->uv, &r->tcp); /* makes no socket yet */
    r->tcp.data = r;
    list_push_back(&l->streams, &r->link);
    return r;
}

void real_stream_accepted(struct real_loop *l, int fd, const struct real_address *peer, env_accept_fn accept, void *ctx)
{
    struct real_stream *r = stream_new(l);
    r->state = STREAM_OPEN;
    r->peer_address = *peer;
    if (uv_tcp_open(&r->tcp, fd) != 0) {
        close(fd);
        real_stream_close(&r->base);
        return;
    }
    accept(ctx, &r->base);
    stream_read(r); /* unless it was closed */
}

static void connect_next(struct real_stream *r);
static void on_closed(uv_handle_t *handle);

/* The socket for an address that did not answer is closed: the next one gets its own. */
static void on_retry(uv_handle_t *handle)
{
    struct real_stream *r = handle->data;
    real_loop_awake(loop_of(r));
    if (r->state == STREAM_CLOSING) {
        on_closed(handle);
        return;
    }
    uv_tcp_init(&loop_of(r)->uv, &r->tcp);
    r->tcp.data = r;
    connect_next(r);
}

static void connect_failed(struct real_stream *r, int rc)
{
    struct stream_connect *c = r->connect;
    if (c->next < c->n) uv_close((uv_handle_t *)&r->tcp, on_retry);
    else stream_finish_later(r, rc);
}

static void on_connect(uv_connect_t *request, int rc)
{
    struct stream_connect *c = CONTAINER_OF(request, struct stream_connect, request);
    struct real_stream *r = c->stream;
    real_loop_awake(loop_of(r));
    if (r->state == STREAM_CLOSING) return;
    if (rc != 0) {
        connect_failed(r, rc);
        return;
    }
    r->state = STREAM_OPEN;
    r->peer_address = c->addresses[c->next - 1];
    r->peer[0] = '\0';
    r->connect = NULL;
    mem_free(c);
    r->connected(&r->base, r->ctx, ST_OK);
    if (r->state != STREAM_OPEN) return;
    stream_read(r);
    if (r->pending.n > 0 && !r->writing) stream_send(r);
}

static void connect_next(struct real_stream *r)
{
    struct stream_connect *c = r->connect;
    ASSERT(c->next < c->n);
    const struct real_address *a = &c->addresses[c->next++];
    uv_tcp_nodelay(&r->tcp, 1);
    uv_tcp_keepalive(&r->tcp, 1, REAL_KEEPALIVE_S);
    int rc = uv_tcp_connect(&c->request, &r->tcp, &a->any, on_connect);
    if (rc != 0) connect_failed(r, rc);
}

static void on_lookup(uv_getaddrinfo_t *lookup, int rc, struct addrinfo *found)
{
    struct stream_connect *c = CONTAINER_OF(lookup, struct stream_connect, lookup);
    struct real_stream *r = c->stream;
    c->looking_up = false;
    if (rc == 0) c->n = real_address_list(found, c->addresses);
    uv_freeaddrinfo(found);
    if (r == NULL) {
        mem_free(c);
        return;
    }
    real_loop_awake(loop_of(r));
    if (c->n > 0) connect_next(r);
    else stream_finish_later(r, rc != 0 ? rc : UV_EAI_NODATA);
}

struct env_stream *real_connect(struct env_loop *loop, const char *address, const struct env_stream_events *events,
                                void *ctx, void (*connected)(struct env_stream *, void *, enum status))
{
    struct real_loop *l = real_loop_of(loop);
    struct real_stream *r = stream_new(l);
    r->state = STREAM_CONNECTING;
    r->events = events;
    r->ctx = ctx;
    r->connected = connected;
    snprintf(r->peer, sizeof r->peer, "%s", address);
    struct stream_connect *c = r->connect = mem_zalloc(sizeof *c);
    c->stream = r;
    char host[256], port[8];
    if (real_address_split(address, host, port, NULL) != ST_OK) {
        stream_finish_later(r, UV_EINVAL);
    } else if (real_address_numeric(host, port, &c->addresses[0])) {
        c->n = 1;
        connect_next(r);
    } else {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
        int rc = uv_getaddrinfo(&l->uv, &c->lookup, on_lookup, host, port, &hints);
        c->looking_up = rc == 0;
        if (rc != 0) stream_finish_later(r, rc);
    }
    return &r->base;
}

void real_stream_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx)
{
    struct real_stream *r = stream_of(s);
    r->events = events;
    r->ctx = ctx;
}

const char *real_stream_peer(const struct env_stream *s)
{
    struct real_stream *r = stream_of(s);
    if (r->peer[0] == '\0') real_address_text(&r->peer_address, r->peer, sizeof r->peer);
    return r->peer;
}

/* ---- closing ---- */

static void on_closed(uv_handle_t *handle)
{
    struct real_stream *r = handle->data;
    ASSERT(r->state == STREAM_CLOSING && !r->writing);
    link_remove(&r->link);
    mem_free(r->connect);
    buf_deinit(&r->inflight);
    buf_deinit(&r->pending);
    mem_free(r);
}

/* Gives the kernel what it takes of the queue, and throws away what has arrived: closing with unread data would make
 * the kernel reset the connection, and the other side could lose our last words. */
static void stream_flush(struct real_stream *r)
{
    uv_os_fd_t fd;
    if (r->state != STREAM_OPEN || uv_fileno((const uv_handle_t *)&r->tcp, &fd) != 0) return;
    size_t left = r->writing ? uv_stream_get_write_queue_size((const uv_stream_t *)&r->tcp) : 0;
    struct bytes parts[2] = {bytes_of(r->inflight.p + (r->inflight.n - left), left), buf_view(&r->pending)};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        if (parts[i].n == 0) continue;
        ssize_t n = send(fd, parts[i].p, parts[i].n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 || (size_t)n < parts[i].n) break;
    }
    recv(fd, NULL, 16 << 20, MSG_DONTWAIT | MSG_TRUNC);
}

void real_stream_close(struct env_stream *s)
{
    struct real_stream *r = stream_of(s);
    ASSERT(r->state != STREAM_CLOSING);
    stream_flush(r);
    r->state = STREAM_CLOSING;
    real_undefer(&r->report);
    if (r->connect != NULL && r->connect->looking_up) { /* it is freed when the lookup comes back */
        r->connect->stream = NULL;
        uv_cancel((uv_req_t *)&r->connect->lookup);
        r->connect = NULL;
    }
    if (!uv_is_closing((uv_handle_t *)&r->tcp)) uv_close((uv_handle_t *)&r->tcp, on_closed); /* else on_retry sees it */
}

void real_streams_close(struct real_loop *l)
{
    for (struct link *k = list_first(&l->streams); k != NULL; k = list_next(&l->streams, k)) {
        struct real_stream *r = CONTAINER_OF(k, struct real_stream, link);
        if (r->state != STREAM_CLOSING) real_stream_close(&r->base);
    }
}
