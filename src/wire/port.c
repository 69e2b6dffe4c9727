/* port.c - the one port: accepts, tells by the first bytes what a connection speaks, hands it to its door.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/port.h"

#include <inttypes.h>

#include "base/diag.h"
#include "base/list.h"
#include "base/mem.h"
#include "mesh/mesh_frame.h"
#include "wire/port_detect.h"

/* A connection that has not said yet what it speaks. */
struct unidentified {
    struct port *port;
    struct link link; /* in port.waiting, the oldest first */
    struct env_stream *stream;
    struct buf first; /* empty as long as one read was enough */
    uint64_t until_ns;
};

struct port {
    struct port_options o;
    struct env_listener *listener;
    struct list waiting;
    struct env_timer timer; /* for the oldest; all wait equally long */
    struct port_stats stats;
    uint64_t said_ns; /* when a foreign protocol was last written to the log */
    uint64_t unsaid;  /* since then */
};

static uint64_t now_ns(const struct port *p) { return env_now_ns(env_loop_env(p->o.loop)); }

static void timer_set(struct port *p)
{
    struct link *k = list_first(&p->waiting);
    if (k == NULL) {
        env_timer_stop(&p->timer);
        return;
    }
    uint64_t now = now_ns(p), until = CONTAINER_OF(k, struct unidentified, link)->until_ns;
    env_timer_start(&p->timer, until > now ? until - now : 0);
}

/* Takes the stream out; it is the caller's now. */
static struct env_stream *unidentified_end(struct unidentified *u)
{
    struct port *p = u->port;
    struct env_stream *s = u->stream;
    bool oldest = list_first(&p->waiting) == &u->link;
    link_remove(&u->link);
    p->stats.unidentified--;
    if (oldest) timer_set(p);
    buf_deinit(&u->first);
    mem_free(u);
    return s;
}

/* Foreign protocols are worth a line, but not one each. */
static void say(struct port *p, struct env_stream *s, const char *what)
{
    uint64_t now = now_ns(p);
    if (p->said_ns != 0 && now - p->said_ns < NS_PER_S) {
        p->unsaid++;
        return;
    }
    diag(DIAG_WARN, "port.refused address=%s why=\"%s\" more_like_it=%" PRIu64, env_stream_peer(s), what, p->unsaid);
    p->said_ns = now;
    p->unsaid = 0;
}

static void refuse(struct env_stream *s, struct bytes answer)
{
    if (answer.n > 0) env_stream_write(s, answer);
    env_stream_close(s);
}

#define HTTP_REFUSAL(status, text) \
    BYTES_LIT("HTTP/1.1 " status "\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" text "\n")

static void refuse_full(struct env_stream *s, enum port_class class)
{
    struct buf b = {0};
    switch (class) {
    case PORT_RESP: refuse(s, BYTES_LIT("-ERR max number of clients reached\r\n")); break;
    case PORT_HTTP: refuse(s, HTTP_REFUSAL("503 Service Unavailable", "max number of HTTP connections reached")); break;
    case PORT_MESH:
        mesh_refuse_put(&b, MESH_REFUSED_FAULT, "max number of peer connections reached");
        refuse(s, buf_view(&b));
        break;
    case PORT_CLASSES: ASSERT(false);
    }
    buf_deinit(&b);
}

static void hand_over(struct port *p, struct env_stream *s, struct bytes first, enum port_class class)
{
    void (*const doors[PORT_CLASSES])(void *, struct env_stream *, struct bytes) = {p->o.resp, p->o.http, p->o.mesh};
    const size_t max[PORT_CLASSES] = {p->o.clients_max, p->o.http_max, p->o.peers_max};
    if (p->stats.open[class] >= max[class]) {
        p->stats.refused[class]++;
        refuse_full(s, class);
        return;
    }
    p->stats.open[class]++;
    doors[class](p->o.ctx, s, first);
}

static void decide(struct port *p, struct env_stream *s, struct bytes first, enum port_verdict verdict)
{
    /* SETTINGS, then GOAWAY with HTTP_1_1_REQUIRED (RFC 9113, 6.5 and 6.8). */
    static const uint8_t http2[] = {0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13};
    static const uint8_t tls[] = {0x15, 3, 1, 0, 2, 2, 40}; /* alert: fatal, handshake_failure (RFC 8446, 6) */
    switch (verdict) {
    case DETECT_RESP: hand_over(p, s, first, PORT_RESP); break;
    case DETECT_HTTP: hand_over(p, s, first, PORT_HTTP); break;
    case DETECT_MESH: hand_over(p, s, first, PORT_MESH); break;
    case DETECT_HTTP2:
        say(p, s, "HTTP/2 is not offered");
        refuse(s, bytes_of(http2, sizeof http2));
        break;
    case DETECT_TLS:
        say(p, s, "TLS is not offered");
        refuse(s, bytes_of(tls, sizeof tls));
        break;
    case DETECT_POSTGRES:
        say(p, s, "the PostgreSQL protocol is not offered");
        refuse(s, first.p[4] == 4 ? BYTES_LIT("N") : BYTES_LIT("")); /* no encryption */
        break;
    case DETECT_LONG_HTTP:
        refuse(s, HTTP_REFUSAL("414 URI Too Long", "the request line is longer than 8192 bytes"));
        break;
    case DETECT_LONG: refuse(s, BYTES_LIT("-ERR Protocol error: too big inline request\r\n")); break;
    case DETECT_MORE: ASSERT(false);
    }
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct unidentified *u = ctx;
    struct port *p = u->port;
    struct bytes first = data;
    if (u->first.n > 0) {
        buf_put_bytes(&u->first, data); /* at most a line and one read */
        first = buf_view(&u->first);
    }
    enum port_verdict verdict = port_detect(first);
    if (verdict == DETECT_MORE) {
        if (u->first.n == 0) buf_put_bytes(&u->first, data);
        return;
    }
    struct buf kept = u->first; /* first may lie in it */
    u->first = (struct buf){0};
    unidentified_end(u);
    decide(p, s, first, verdict);
    buf_deinit(&kept);
}

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    env_stream_close(unidentified_end(ctx));
}

static void on_timer(struct env_timer *timer)
{
    struct port *p = CONTAINER_OF(timer, struct port, timer);
    uint64_t now = now_ns(p);
    for (struct link *k; (k = list_first(&p->waiting)) != NULL;) {
        struct unidentified *u = CONTAINER_OF(k, struct unidentified, link);
        if (u->until_ns > now) break;
        p->stats.identify_timeouts++;
        env_stream_close(unidentified_end(u));
    }
    timer_set(p);
}

static void on_accept(void *ctx, struct env_stream *s)
{
    static const struct env_stream_events events = {.data = on_data, .closed = on_closed};
    struct port *p = ctx;
    if (p->stats.unidentified >= p->o.unidentified_max) {
        struct link *oldest = list_first(&p->waiting);
        p->stats.refused_unidentified++;
        env_stream_close(unidentified_end(CONTAINER_OF(oldest, struct unidentified, link)));
    }
    struct unidentified *u = mem_zalloc(sizeof *u);
    u->port = p;
    u->stream = s;
    u->until_ns = now_ns(p) + p->o.identify_ns;
    list_push_back(&p->waiting, &u->link);
    if (p->stats.unidentified++ == 0) timer_set(p);
    env_stream_set_events(s, &events, u);
}

enum status port_open(const struct port_options *options, struct port **out, struct error *err)
{
    ASSERT(options->resp != NULL && options->http != NULL && options->mesh != NULL && options->unidentified_max > 0);
    struct port *p = mem_zalloc(sizeof *p);
    p->o = *options;
    list_init(&p->waiting);
    env_timer_init(p->o.loop, &p->timer, on_timer);
    enum status st = env_listen(p->o.loop, p->o.address, on_accept, p, &p->listener, err);
    if (st != ST_OK) {
        mem_free(p);
        return st;
    }
    p->o.address = NULL; /* the caller's */
    *out = p;
    return ST_OK;
}

uint16_t port_number(const struct port *p) { return env_listener_port(p->listener); }

void port_left(struct port *p, enum port_class c)
{
    if (p == NULL) return;
    ASSERT(c < PORT_CLASSES && p->stats.open[c] > 0);
    p->stats.open[c]--;
}

void port_set_clients_max(struct port *p, size_t clients_max) { p->o.clients_max = clients_max; }

void port_close(struct port *p)
{
    if (p == NULL) return;
    for (struct link *k; (k = list_first(&p->waiting)) != NULL;)
        env_stream_close(unidentified_end(CONTAINER_OF(k, struct unidentified, link)));
    env_timer_stop(&p->timer);
    env_listener_close(p->listener);
    mem_free(p);
}

void port_stats(const struct port *p, struct port_stats *out) { *out = p->stats; }
