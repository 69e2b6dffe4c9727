/* http_conn.c - the HTTP/1.1 door: connections, requests, answers.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   READING --request is whole--> HANDLING --http_answer--> READING      keep-alive
 *      |                             |
 *      +--- error, answered by ------+--- http_answer --> CLOSING --drained--> closed
 *      |    the door                                         ^
 *      +-----------> DRAINING (reads what still comes, so ---+-- told the answer, the client is let go)
 *                    that the answer is not lost to a reset)
 *
 * llhttp is fed the bytes where they lie; it pauses at the end of a message. What came behind it waits in `in`, and the
 * stream is paused, until the answer has been given: so a connection holds at most one read and one request. */
#include <inttypes.h>
#include <llhttp.h>
#include <stdio.h>

#include "base/list.h"
#include "base/mem.h"
#include "wire/http/http.h"
#include "wire/http/http_text.h"

enum {
    HEAD_MAX = 16 * 1024,      /* request line and headers */
    TARGET_MAX = 8 * 1024,     /* request target */
    NAME_MAX_OF_INTEREST = 20, /* longer header names are none of ours */
    OUT_MAX = 1024 * 1024,     /* queued output above which no further request is read */
    BODY_STEP = 64 * 1024,     /* so much more of a body renews the time to send it */
    READ_STEP = 4 * 1024,      /* a client that does not read that much of its answer in idle_ns is let go */
    KEEP_BUFFER = 64 * 1024,
    DRAIN_BYTES = 1024 * 1024, /* read and thrown away after an error */
};
#define DRAIN_NS  (2 * NS_PER_S)
#define LINGER_NS (50 * NS_PER_MS) /* between looks at the output of a client that has shut down its half */

/* Headers that are kept for the handler. */
enum kept { FIELD_HOST, FIELD_ORIGIN, FIELD_CONTENT_TYPE, FIELD_FETCH_SITE, FIELD_COUNT };
static const char *const kept_names[FIELD_COUNT] = {"host", "origin", "content-type", "sec-fetch-site"};
struct kept_field {
    struct buf value;
    unsigned count;
};

enum conn_state { READING, HANDLING, DRAINING, CLOSING };

struct http_conn {
    struct http_door *door;
    struct link link;
    struct env_stream *stream;
    struct env_timer timer;
    enum conn_state state;
    bool paused;
    bool pumping;  /* in pump: what answers does not pump again */
    bool eof;      /* the client has sent all that it will: no event comes any more */
    bool begun;    /* a byte of the request has come */
    struct buf in; /* behind the request that is being handled */
    uint64_t quiet_since_ns;
    size_t queued_seen;
    size_t drained;
    /* the request */
    llhttp_t parser;
    size_t head_bytes;
    bool head_done, keep_alive, complete, sent_continue;
    struct buf target, path, body;
    size_t body_step;
    char name[NAME_MAX_OF_INTEREST + 1], value[HTTP_FIELD_MAX];
    size_t name_n, value_n; /* as they came; what does not fit is not kept */
    struct kept_field fields[FIELD_COUNT];
    bool expects_continue;
    int error_status; /* set by a callback that stops the parser */
    char error_text[400];
    struct http_exchange *exchange; /* HANDLING */
};

struct http_exchange {
    struct http_conn *conn; /* NULL: the client is gone */
    bool head;              /* the method was HEAD */
    struct buf headers;
};

struct http_door {
    struct http_door_options o;
    struct list conns;
    struct http_door_stats stats;
};

static uint64_t now_ns(const struct http_conn *c) { return env_now_ns(env_loop_env(c->door->o.loop)); }

/* ---- ends ---- */

static void conn_end(struct http_conn *c)
{
    struct http_door *d = c->door;
    ASSERT(!c->pumping);
    env_timer_stop(&c->timer);
    env_stream_close(c->stream);
    if (c->exchange != NULL) c->exchange->conn = NULL;
    link_remove(&c->link);
    buf_deinit(&c->in);
    buf_deinit(&c->target);
    buf_deinit(&c->path);
    buf_deinit(&c->body);
    for (size_t i = 0; i < FIELD_COUNT; i++) buf_deinit(&c->fields[i].value);
    mem_free(c);
    d->stats.connections--;
    if (d->o.left != NULL) d->o.left(d->o.ctx);
}

/* Ends it as soon as the client has what was written. */
static void conn_finish(struct http_conn *c)
{
    if (c->state == READING || c->state == HANDLING) c->state = CLOSING;
    if (c->state == CLOSING && env_stream_queued(c->stream) == 0) {
        conn_end(c);
        return;
    }
    c->quiet_since_ns = now_ns(c);
    c->queued_seen = env_stream_queued(c->stream);
    uint64_t wait = MIN(c->state == DRAINING ? DRAIN_NS : c->door->o.idle_ns, c->door->o.idle_ns);
    env_timer_start(&c->timer, c->eof ? LINGER_NS : wait);
}

static void release(struct buf *b)
{
    if (b->cap > KEEP_BUFFER) buf_deinit(b);
    buf_clear(b);
}

/* ---- answers ---- */

static void write_answer(struct http_conn *c, int status, const char *type, struct bytes headers, struct bytes body,
                         bool head_only, bool keep_alive)
{
    struct buf b = {0};
    char date[32];
    bool bodyless = status == 204 || status == 304;
    http_date(env_wall_ms(env_loop_env(c->door->o.loop)), date);
    buf_reserve(&b, 256 + headers.n + body.n);
    buf_printf(&b, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, http_reason(status), date);
    if (!bodyless) buf_printf(&b, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, body.n);
    buf_put_bytes(&b, headers);
    buf_printf(&b, "Connection: %s\r\n\r\n", keep_alive ? "keep-alive" : "close");
    if (!bodyless && !head_only) buf_put_bytes(&b, body);
    env_stream_write(c->stream, buf_view(&b));
    buf_deinit(&b);
}

/* The door's own answer to what it can't hand on. Nothing of the connection is understood any more. */
static void answer_error(struct http_conn *c, int status, const char *text)
{
    char body[512];
    int n = snprintf(body, sizeof body, "%s\n", text);
    ASSERT(n > 0 && (size_t)n < sizeof body);
    c->door->stats.errors++;
    write_answer(c, status, "text/plain; charset=utf-8", (struct bytes){0}, bytes_of(body, (size_t)n), false, false);
    c->state = DRAINING;
    buf_deinit(&c->in);
}

/* ---- the parser's callbacks ---- */

static struct http_conn *conn_of(llhttp_t *p) { return CONTAINER_OF(p, struct http_conn, parser); }

static int stop(struct http_conn *c, int status, const char *text)
{
    c->error_status = status;
    snprintf(c->error_text, sizeof c->error_text, "%s", text);
    return -1; /* all kinds of callbacks take it for an error */
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    struct http_conn *c = conn_of(p);
    if (c->target.n + n > TARGET_MAX) return stop(c, 414, "the request target is longer than 8192 bytes");
    buf_put(&c->target, at, n);
    return 0;
}

static int on_header_field(llhttp_t *p, const char *at, size_t n)
{
    struct http_conn *c = conn_of(p);
    for (size_t i = 0; i < n && c->name_n <= NAME_MAX_OF_INTEREST; i++, c->name_n++)
        if (c->name_n < NAME_MAX_OF_INTEREST)
            c->name[c->name_n] = (char)(at[i] >= 'A' && at[i] <= 'Z' ? at[i] + 32 : at[i]);
    return 0;
}

static int on_header_value(llhttp_t *p, const char *at, size_t n)
{
    struct http_conn *c = conn_of(p);
    if (c->value_n < sizeof c->value) memcpy(c->value + c->value_n, at, MIN(n, sizeof c->value - c->value_n));
    c->value_n += n;
    return 0;
}

static void keep_field(struct http_conn *c, struct bytes value, bool whole)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        struct kept_field *f = &c->fields[i];
        if (strcmp(c->name, kept_names[i]) != 0) continue;
        if (whole && f->count == 0) buf_put_bytes(&f->value, value);
        f->count += whole ? 1 : 2;
    }
}

static int on_header_value_complete(llhttp_t *p)
{
    struct http_conn *c = conn_of(p);
    c->name[MIN(c->name_n, (size_t)NAME_MAX_OF_INTEREST)] = 0;
    struct bytes value = bytes_of(c->value, MIN(c->value_n, sizeof c->value));
    bool fits = c->name_n <= NAME_MAX_OF_INTEREST, whole = c->value_n <= sizeof c->value;
    c->name_n = c->value_n = 0;
    if (!fits || c->head_done) return 0; /* not of a trailer */
    while (value.n > 0 && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t')) value.n--;
    keep_field(c, value, whole);
    if (strcmp(c->name, "expect") == 0) {
        if (!bytes_equal_nocase(value, "100-continue")) return stop(c, 417, "an expectation other than 100-continue");
        c->expects_continue = true;
    }
    return 0;
}

static int on_headers_complete(llhttp_t *p)
{
    struct http_conn *c = conn_of(p);
    struct error err = {0};
    struct bytes query;
    c->head_done = true;
    if (p->http_major != 1) return stop(c, 505, "only HTTP/1.0 and HTTP/1.1 are offered");
    if (p->method == HTTP_CONNECT) return stop(c, 501, "CONNECT is not offered");
    if (c->fields[FIELD_HOST].count == 0 && p->http_minor > 0) return stop(c, 400, "a request needs one Host header");
    if (c->fields[FIELD_HOST].count > 1) return stop(c, 400, "a request needs one Host header");
    if (http_target(buf_view(&c->target), &c->path, &query, &err) != ST_OK) return stop(c, 400, err.text);
    if ((p->flags & F_CONTENT_LENGTH) && p->content_length > c->door->o.body_max)
        return stop(c, 413, "the body is larger than is allowed here");
    bool body = (p->flags & F_CHUNKED) || ((p->flags & F_CONTENT_LENGTH) && p->content_length > 0);
    if (c->expects_continue && body && p->http_minor > 0) {
        env_stream_write(c->stream, BYTES_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
        c->sent_continue = true;
    }
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct http_conn *c = conn_of(p);
    if (n > c->door->o.body_max - c->body.n) return stop(c, 413, "the body is larger than is allowed here");
    buf_put(&c->body, at, n);
    if (c->body.n - c->body_step >= BODY_STEP) { /* slow, but it comes */
        c->body_step = c->body.n;
        env_timer_start(&c->timer, c->door->o.idle_ns);
    }
    return 0;
}

static int on_message_complete(llhttp_t *p)
{
    struct http_conn *c = conn_of(p);
    c->complete = true;
    c->keep_alive = llhttp_should_keep_alive(p) &&
                    !p->upgrade; /* an upgrade is not taken up; nor is what may follow it */
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void next_request(struct http_conn *c)
{
    c->state = READING;
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->begun = c->head_done = c->complete = c->expects_continue = c->sent_continue = false;
    c->head_bytes = c->body_step = c->name_n = c->value_n = 0;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        buf_clear(&c->fields[i].value);
        c->fields[i].count = 0;
    }
    c->error_status = 0;
    buf_clear(&c->target);
    buf_clear(&c->path);
    release(&c->body);
    c->quiet_since_ns = now_ns(c);
    c->queued_seen = env_stream_queued(c->stream);
    env_timer_start(&c->timer, c->door->o.idle_ns);
}

/* ---- reading ---- */

static void parse_failed(struct http_conn *c, llhttp_errno_t e)
{
    char text[200];
    int status = 400;
    if (c->error_status != 0) {
        answer_error(c, c->error_status, c->error_text);
        return;
    }
    if (e == HPE_INVALID_METHOD) status = 501;
    if (e == HPE_INVALID_TRANSFER_ENCODING) status = 501;
    if (e == HPE_INVALID_VERSION) status = 505;
    const char *reason = llhttp_get_error_reason(&c->parser);
    snprintf(text, sizeof text, "the request can't be understood: %s", reason != NULL ? reason : llhttp_errno_name(e));
    answer_error(c, status, text);
}

static struct http_field field_of(const struct http_conn *c, enum kept i)
{
    return (struct http_field){buf_view(&c->fields[i].value), c->fields[i].count};
}

static void handle(struct http_conn *c)
{
    struct http_exchange *x = mem_zalloc(sizeof *x);
    struct error err = {0};
    struct http_request r = {.method = llhttp_method_name(c->parser.method), .body = buf_view(&c->body)};
    buf_clear(&c->path);
    enum status st = http_target(buf_view(&c->target), &c->path, &r.query, &err);
    ASSERT(st == ST_OK); /* on_headers_complete looked at it */
    r.path = buf_view(&c->path);
    r.host = field_of(c, FIELD_HOST);
    r.origin = field_of(c, FIELD_ORIGIN);
    r.content_type = field_of(c, FIELD_CONTENT_TYPE);
    r.fetch_site = field_of(c, FIELD_FETCH_SITE);
    x->conn = c;
    x->head = c->parser.method == HTTP_HEAD;
    c->exchange = x;
    c->state = HANDLING;
    env_timer_stop(&c->timer); /* the time is the handler's now */
    c->door->stats.requests++;
    c->door->o.handle(c->door->o.ctx, x, &r);
}

/* Parses up to the end of a request, of the data, or of patience. Returns what is left. */
static struct bytes parse(struct http_conn *c, struct bytes data)
{
    size_t n = c->head_done ? data.n : MIN(data.n, (size_t)HEAD_MAX - c->head_bytes);
    if (n == 0) { /* blanks count too, which no callback sees */
        answer_error(c, 431, "request line and headers are longer than 16384 bytes");
        return data;
    }
    const char *p = (const char *)data.p;
    bool in_head = !c->head_done;
    c->begun = true;
    llhttp_errno_t e = llhttp_execute(&c->parser, p, n);
    if (e == HPE_PAUSED || e == HPE_PAUSED_UPGRADE) {
        size_t used = (size_t)(llhttp_get_error_pos(&c->parser) - p);
        ASSERT(c->complete && used <= n);
        handle(c);
        return bytes_of(data.p + used, data.n - used);
    }
    if (e != HPE_OK) {
        parse_failed(c, e);
        return data;
    }
    if (in_head) c->head_bytes += n;
    return bytes_of(data.p + n, data.n - n);
}

/* Goes on as far as it can. data may lie in c->in. The connection may be gone afterwards. */
static void pump(struct http_conn *c, struct bytes data)
{
    ASSERT(!c->pumping);
    c->pumping = true;
    while (data.n > 0 && c->state == READING && env_stream_queued(c->stream) <= OUT_MAX) data = parse(c, data);
    c->pumping = false;
    if (c->state == DRAINING || c->state == CLOSING || (c->state == READING && c->eof && data.n == 0)) {
        if (c->paused) env_stream_resume(c->stream);
        c->paused = false;
        conn_finish(c);
        return;
    }
    if (c->in.n > 0) {
        buf_consume(&c->in, c->in.n - data.n);
        if (c->in.n == 0) release(&c->in);
    } else {
        buf_put_bytes(&c->in, data);
    }
    bool pause = c->state == HANDLING || c->in.n > 0;
    if (c->eof && c->state == READING) env_timer_start(&c->timer, LINGER_NS); /* no event will say that there is room */
    if (pause != c->paused && !c->eof) {
        c->paused = pause;
        if (pause) env_stream_pause(c->stream);
        else env_stream_resume(c->stream);
    }
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct http_conn *c = ctx;
    if (c->state == DRAINING || c->state == CLOSING) {
        c->drained += data.n;
        if (c->drained > DRAIN_BYTES) conn_end(c);
        return;
    }
    if (c->state == HANDLING || c->in.n > 0) {
        buf_put_bytes(&c->in, data);
        if (c->state == READING) pump(c, buf_view(&c->in));
        return;
    }
    pump(c, data);
}

static void on_drained(struct env_stream *s, void *ctx)
{
    struct http_conn *c = ctx;
    if (c->state == CLOSING) conn_end(c);
    else if (c->state == READING && c->in.n > 0) pump(c, buf_view(&c->in)); /* it waited for room */
}

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct http_conn *c = ctx;
    if (st != ST_OK) {
        conn_end(c);
        return;
    }
    c->eof = true; /* only its half is shut: what it asked for is still answered */
    if (c->state == HANDLING) return;
    if (c->state == READING && c->in.n > 0) {
        pump(c, buf_view(&c->in));
        return;
    }
    if (c->state == DRAINING) c->state = CLOSING;
    conn_finish(c);
}

static const struct env_stream_events conn_events = {.data = on_data, .drained = on_drained, .closed = on_closed};

static void on_timer(struct env_timer *timer)
{
    struct http_conn *c = CONTAINER_OF(timer, struct http_conn, timer);
    size_t queued = env_stream_queued(c->stream);
    uint64_t now = now_ns(c);
    ASSERT(c->state != HANDLING);
    if (c->state == CLOSING && queued == 0) {
        conn_end(c);
        return;
    }
    if (queued == 0 || queued + READ_STEP <= c->queued_seen) { /* it reads */
        if (queued > 0) c->quiet_since_ns = now;
        c->queued_seen = queued;
    }
    if (c->state == READING && c->in.n > 0 && queued <= OUT_MAX) {
        pump(c, buf_view(&c->in));
        return;
    }
    if (queued > 0 && now - c->quiet_since_ns < c->door->o.idle_ns) {
        env_timer_start(&c->timer, c->eof ? LINGER_NS : c->door->o.idle_ns);
        return;
    }
    if (c->state != DRAINING) c->door->stats.timeouts++;
    if (c->state == READING && c->begun && queued == 0) {
        answer_error(c, 408, "the request did not come in time");
        conn_finish(c);
    } else {
        conn_end(c);
    }
}

/* ---- the interface ---- */

struct http_door *http_door_new(const struct http_door_options *options)
{
    ASSERT(options->handle != NULL && options->idle_ns > 0);
    struct http_door *d = mem_zalloc(sizeof *d);
    d->o = *options;
    list_init(&d->conns);
    return d;
}

void http_door_free(struct http_door *d)
{
    if (d == NULL) return;
    for (struct link *k; (k = list_first(&d->conns)) != NULL;) conn_end(CONTAINER_OF(k, struct http_conn, link));
    mem_free(d);
}

void http_door_accept(struct http_door *d, struct env_stream *s, struct bytes first)
{
    struct http_conn *c = mem_zalloc(sizeof *c);
    c->door = d;
    c->stream = s;
    env_timer_init(d->o.loop, &c->timer, on_timer);
    env_stream_set_events(s, &conn_events, c);
    list_push_back(&d->conns, &c->link);
    if (d->stats.connections++ >= d->o.connections_max) {
        d->stats.refused++;
        answer_error(c, 503, "too many connections");
        c->state = CLOSING;
        conn_finish(c);
        return;
    }
    d->stats.accepted++;
    next_request(c);
    if (first.n > 0) pump(c, first);
}

void http_header(struct http_exchange *x, const char *name, const char *value)
{
    for (const char *v = value; *v != 0; v++)
        if ((uint8_t)*v < ' ' || *v == 127) return;
    buf_printf(&x->headers, "%s: %s\r\n", name, value);
}

void http_answer(struct http_exchange *x, int status, const char *type, struct bytes body)
{
    struct http_conn *c = x->conn;
    if (c != NULL) {
        ASSERT(c->state == HANDLING && c->exchange == x);
        write_answer(c, status, type, buf_view(&x->headers), body, x->head, c->keep_alive);
        c->exchange = NULL;
        if (c->keep_alive) next_request(c);
        else c->state = CLOSING;
    }
    buf_deinit(&x->headers);
    mem_free(x);
    if (c != NULL && !c->pumping) pump(c, buf_view(&c->in));
}

void http_door_stats(const struct http_door *d, struct http_door_stats *out) { *out = d->stats; }
