/* http_client.c - one HTTP/1.1 request and its whole answer, for the command line.
 * SPDX-License-Identifier: Apache-2.0 */
#include <llhttp.h>
#include <stdio.h>

#include "base/mem.h"
#include "wire/http/http.h"

enum { ANSWER_HEAD_MAX = 16 * 1024 };

struct http_caller {
    struct env_stream *stream; /* NULL: not even tried */
    struct env_timer timer;
    llhttp_t parser;
    struct buf request;
    struct buf body;
    size_t answer_max, head_bytes;
    bool head_request, head_done, complete;
    int status;
    const char *stopped; /* why a callback stopped the parser */
    const char *why_not; /* for one that fails before it began */
    void (*done)(void *ctx, int status, struct bytes body, const char *why_not);
    void *ctx;
};

static void end(struct http_caller *c, const char *why_not)
{
    env_timer_stop(&c->timer);
    if (c->stream != NULL) env_stream_close(c->stream);
    c->done(c->ctx, why_not == NULL ? c->status : 0, why_not == NULL ? buf_view(&c->body) : (struct bytes){0}, why_not);
    buf_deinit(&c->request);
    buf_deinit(&c->body);
    mem_free(c);
}

static struct http_caller *caller_of(llhttp_t *p) { return CONTAINER_OF(p, struct http_caller, parser); }

static int on_headers_complete(llhttp_t *p)
{
    struct http_caller *c = caller_of(p);
    c->head_done = true;
    if (p->status_code == 101) {
        c->stopped = "the answer changes the protocol";
        return -1;
    }
    if ((p->flags & F_CONTENT_LENGTH) && p->content_length > c->answer_max && !c->head_request) {
        c->stopped = "the answer is larger than is allowed here";
        return -1;
    }
    return c->head_request ? 1 : 0; /* 1: no body comes */
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct http_caller *c = caller_of(p);
    if (n > c->answer_max - c->body.n) {
        c->stopped = "the answer is larger than is allowed here";
        return -1;
    }
    buf_put(&c->body, at, n);
    return 0;
}

static int on_message_complete(llhttp_t *p)
{
    struct http_caller *c = caller_of(p);
    if (p->status_code < 200) { /* 100 Continue and its like: the answer is still to come */
        c->head_done = false;
        return 0;
    }
    c->complete = true;
    c->status = p->status_code;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct http_caller *c = ctx;
    while (data.n > 0) {
        size_t n = c->head_done ? data.n : MIN(data.n, (size_t)ANSWER_HEAD_MAX - c->head_bytes);
        if (n == 0) {
            end(c, "the answer's headers are longer than 16384 bytes");
            return;
        }
        if (!c->head_done) c->head_bytes += n;
        llhttp_errno_t e = llhttp_execute(&c->parser, (const char *)data.p, n);
        if (c->complete) {
            end(c, NULL);
            return;
        }
        if (e != HPE_OK) {
            const char *reason = llhttp_get_error_reason(&c->parser);
            end(c, c->stopped != NULL ? c->stopped : reason != NULL ? reason : llhttp_errno_name(e));
            return;
        }
        data = bytes_of(data.p + n, data.n - n);
    }
}

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct http_caller *c = ctx;
    if (st == ST_OK) llhttp_finish(&c->parser); /* a body without a length ends here */
    if (c->complete) end(c, NULL);
    else end(c, st == ST_OK ? "closed before the whole answer came" : text);
}

static const struct env_stream_events client_events = {.data = on_data, .closed = on_closed};

static void on_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct http_caller *c = ctx;
    if (st != ST_OK) {
        end(c, st == ST_UNAVAILABLE ? "nothing listens there, or there is no such name" : "can't connect");
        return;
    }
    env_stream_write(s, buf_view(&c->request));
    buf_deinit(&c->request);
}

static void on_timer(struct env_timer *timer)
{
    struct http_caller *c = CONTAINER_OF(timer, struct http_caller, timer);
    end(c, c->why_not != NULL ? c->why_not : "no answer in time");
}

/* A word of a request line: no blanks, nothing that ends the line. */
static bool is_word(const char *s)
{
    if (*s == 0) return false;
    for (; *s != 0; s++)
        if ((uint8_t)*s <= ' ' || *s == 127) return false;
    return true;
}

void http_call(struct env_loop *loop, const char *address, const char *method, const char *path, struct bytes body,
               size_t answer_max, uint64_t timeout_ns,
               void (*done)(void *ctx, int status, struct bytes body, const char *why_not), void *ctx)
{
    struct http_caller *c = mem_zalloc(sizeof *c);
    c->answer_max = answer_max;
    c->done = done;
    c->ctx = ctx;
    c->head_request = strcmp(method, "HEAD") == 0;
    env_timer_init(loop, &c->timer, on_timer);
    if (!is_word(method) || !is_word(path) || path[0] != '/' || !is_word(address)) {
        c->why_not = "the method, path or address is no word of HTTP";
        env_timer_start(&c->timer, 0); /* done never runs within this call */
        return;
    }
    llhttp_init(&c->parser, HTTP_RESPONSE, &settings);
    buf_printf(&c->request, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, path, address);
    if (body.n > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0)
        buf_printf(&c->request, "Content-Length: %zu\r\n", body.n);
    buf_put(&c->request, "\r\n", 2);
    buf_put_bytes(&c->request, body);
    c->stream = env_connect(loop, address, &client_events, c, on_connected);
    env_timer_start(&c->timer, timeout_ns);
}
