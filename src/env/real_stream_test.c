/* real_stream_test.c - the real environment's streams and listeners.
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "env/real_test_util.h"

enum { READ_BUFFER = 64 * 1024 }; /* as real_internal.h says */

/* Names for these tests, in place of the C library's: "two.test" has two addresses, of which only the second is ever
 * listened on. libuv calls this on its own threads. */
static const char *const names[][3] = {{"localhost", "127.0.0.1"}, {"two.test", "127.0.0.2", "127.0.0.1"}};

static struct addrinfo *address_entry(const char *number, const char *port)
{
    struct addrinfo *e = mem_zalloc(sizeof *e);
    struct sockaddr_in6 *a = mem_zalloc(sizeof *a); /* the larger of the two */
    struct sockaddr_in *b = (struct sockaddr_in *)a;
    e->ai_addr = (struct sockaddr *)a;
    if (inet_pton(AF_INET6, number, &a->sin6_addr) == 1) {
        a->sin6_family = AF_INET6;
        a->sin6_port = htons((uint16_t)atoi(port));
        e->ai_addrlen = sizeof *a;
    } else {
        b->sin_family = AF_INET;
        b->sin_port = htons((uint16_t)atoi(port));
        ASSERT(inet_pton(AF_INET, number, &b->sin_addr) == 1);
        e->ai_addrlen = sizeof *b;
    }
    e->ai_family = e->ai_addr->sa_family;
    return e;
}

static atomic_uint lookups_done;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    struct in6_addr number;
    if (inet_pton(AF_INET, node, &number) == 1 || inet_pton(AF_INET6, node, &number) == 1) {
        *out = address_entry(node, service);
        return 0;
    }
    if ((hints->ai_flags & AI_NUMERICHOST) != 0) return EAI_NONAME;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(names[i][0], node) != 0) continue;
        struct addrinfo **end = out;
        for (size_t j = 1; j < ARRAY_COUNT(names[i]) && names[i][j] != NULL; j++) {
            *end = address_entry(names[i][j], service);
            end = &(*end)->ai_next;
        }
        atomic_fetch_add(&lookups_done, 1);
        return 0;
    }
    atomic_fetch_add(&lookups_done, 1);
    return EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *e)
{
    while (e != NULL) {
        struct addrinfo *next = e->ai_next;
        mem_free(e->ai_addr);
        mem_free(e);
        e = next;
    }
}

/* A blocking client of the system's own, for what env can't do. */
static int raw_connect(const char *address)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* ---- streams ---- */

static uint8_t pattern(size_t i) { return (uint8_t)(i * 31 + i / 251); }

struct echo {
    struct world w;
    struct env_stream *server;
    struct env_stream *client;
    size_t total;
    size_t back; /* bytes that came back, all checked */
    size_t events;
    size_t server_pauses;
    unsigned client_drained;
    unsigned closed;
};

static void echo_server_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct echo *e = ctx;
    env_stream_write(s, data);
    if (env_stream_queued(s) > 256 * 1024) {
        env_stream_pause(s);
        e->server_pauses++;
    }
}

static void echo_server_drained(struct env_stream *s, void *ctx)
{
    assert_int_equal(env_stream_queued(s), 0);
    env_stream_resume(s);
}

static void echo_server_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct echo *e = ctx;
    assert_int_equal(st, ST_OK);
    e->closed++;
    env_stream_close(s);
    env_real_loop_stop(e->w.loop);
}

static void echo_accept(void *ctx, struct env_stream *s)
{
    static const struct env_stream_events events = {echo_server_data, echo_server_drained, echo_server_closed};
    struct echo *e = ctx;
    e->server = s;
    env_stream_set_events(s, &events, e);
}

static void echo_client_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct echo *e = ctx;
    assert_true(data.n > 0 && data.n <= READ_BUFFER);
    for (size_t i = 0; i < data.n; i++)
        if (data.p[i] != pattern(e->back + i)) fail_msg("byte %zu differs", e->back + i);
    e->back += data.n;
    e->events++;
    if (e->back == e->total) env_stream_close(s);
}

static void echo_client_drained(struct env_stream *s, void *ctx)
{
    struct echo *e = ctx;
    assert_int_equal(env_stream_queued(s), 0);
    e->client_drained++;
}

static void echo_connected(struct env_stream *s, void *ctx, enum status st) { assert_int_equal(st, ST_OK); }

static void test_echo_of_10_mb(void **state)
{
    static const struct env_stream_events events = {echo_client_data, echo_client_drained, ignore_closed};
    struct echo e = {.w = world_new(), .total = 10 << 20};
    char address[32];
    listen_any(e.w.loop, echo_accept, &e, address);
    e.client = env_connect(e.w.loop, address, &events, &e, echo_connected);
    uint8_t *data = mem_alloc(e.total);
    for (size_t i = 0; i < e.total; i++) data[i] = pattern(i);
    env_stream_write(e.client, bytes_of(data, e.total / 2)); /* before it is connected: queued, and drained later */
    env_stream_write(e.client, bytes_of(data + e.total / 2, e.total - e.total / 2));
    mem_free(data);
    assert_int_equal(env_stream_queued(e.client), e.total);
    env_real_loop_run(e.w.loop);
    assert_int_equal(e.back, e.total);
    assert_true(e.events >= e.total / READ_BUFFER);
    assert_int_equal(e.client_drained, 1);
    assert_int_equal(e.closed, 1);
    world_free(&e.w);
}

/* A stream that is paused gets nothing, while another one on the same loop plays ping-pong; the writer sees what is
 * queued; after resuming all arrives. */
struct paused {
    struct world w;
    unsigned accepted;
    struct env_stream *held;
    struct env_stream *writer;
    struct env_stream *pinger;
    size_t sent;
    size_t got;
    unsigned pings;
    unsigned drained;
    bool resumed;
};

static void held_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct paused *p = ctx;
    assert_true(p->resumed);
    p->got += data.n;
    if (p->got == p->sent) env_real_loop_stop(p->w.loop);
}

static void pong_data(struct env_stream *s, void *ctx, struct bytes data) { env_stream_write(s, data); }

static void paused_accept(void *ctx, struct env_stream *s)
{
    static const struct env_stream_events held_events = {held_data, NULL, ignore_closed};
    static const struct env_stream_events pong_events = {pong_data, NULL, ignore_closed};
    struct paused *p = ctx;
    if (p->accepted++ == 0) {
        p->held = s;
        env_stream_set_events(s, &held_events, p);
        env_stream_pause(s);
    } else {
        env_stream_set_events(s, &pong_events, p);
    }
}

static void ping_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct paused *p = ctx;
    if (++p->pings < 200) {
        env_stream_write(s, data);
        return;
    }
    assert_int_equal(p->got, 0);
    assert_true(env_stream_queued(p->writer) > 0);
    assert_true(env_stream_queued(p->writer) < p->sent); /* the kernel took its part */
    assert_int_equal(p->drained, 0);
    p->resumed = true;
    env_stream_resume(p->held);
}

static void ping_connected(struct env_stream *s, void *ctx, enum status st)
{
    assert_int_equal(st, ST_OK);
    env_stream_write(s, BYTES_LIT("ping"));
}

static void writer_drained(struct env_stream *s, void *ctx) { ((struct paused *)ctx)->drained++; }

static void writer_connected(struct env_stream *s, void *ctx, enum status st)
{
    static const struct env_stream_events ping_events = {ping_data, NULL, ignore_closed};
    struct paused *p = ctx;
    assert_int_equal(st, ST_OK);
    p->sent = 32 << 20; /* more than the kernel buffers */
    uint8_t *data = mem_zalloc(p->sent);
    env_stream_write(s, bytes_of(data, p->sent / 2));
    env_stream_write(s, bytes_of(data, p->sent / 2));
    mem_free(data);
    p->pinger = env_connect(p->w.loop, env_stream_peer(s), &ping_events, p, ping_connected);
}

static void test_pause_and_resume(void **state)
{
    static const struct env_stream_events writer_events = {ignore_data, writer_drained, ignore_closed};
    struct paused p = {.w = world_new()};
    char address[32];
    listen_any(p.w.loop, paused_accept, &p, address);
    p.writer = env_connect(p.w.loop, address, &writer_events, &p, writer_connected);
    env_real_loop_run(p.w.loop);
    assert_int_equal(p.got, p.sent);
    assert_int_equal(p.drained, 1);
    assert_int_equal(p.pings, 200);
    world_free(&p.w); /* closes the four streams and the listener */
}

struct outcome {
    struct env_loop *loop;
    unsigned calls;
    enum status st;
};

static void outcome_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct outcome *o = ctx;
    o->calls++;
    o->st = st;
    env_stream_close(s);
    env_real_loop_stop(o->loop);
}

static enum status connect_outcome(struct env_loop *loop, const char *address)
{
    struct outcome o = {.loop = loop};
    struct env_stream *s = env_connect(loop, address, &ignore_events, &o, outcome_connected);
    env_stream_write(s, BYTES_LIT("queued, then dropped"));
    assert_int_equal(o.calls, 0); /* never before env_connect has returned */
    env_real_loop_run(loop);
    assert_int_equal(o.calls, 1);
    return o.st;
}

static void test_connect_outcomes(void **state)
{
    struct world w = world_new();
    char address[32], name[32], two[32];
    struct env_listener *l = listen_any(w.loop, set_ignore, NULL, address);
    snprintf(name, sizeof name, "localhost:%u", env_listener_port(l));
    snprintf(two, sizeof two, "two.test:%u", env_listener_port(l));
    assert_int_equal(connect_outcome(w.loop, address), ST_OK);
    assert_int_equal(connect_outcome(w.loop, name), ST_OK);
    assert_int_equal(connect_outcome(w.loop, two), ST_OK); /* by its second address */
    env_listener_close(l);
    assert_int_equal(connect_outcome(w.loop, address), ST_UNAVAILABLE); /* refused */
    assert_int_equal(connect_outcome(w.loop, two), ST_UNAVAILABLE);     /* by both */
    assert_int_equal(connect_outcome(w.loop, "missing.test:1"), ST_UNAVAILABLE);
    static const char *const wrong[] = {"", "127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "[::1:80"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) assert_int_equal(connect_outcome(w.loop, wrong[i]), ST_INVALID);
    world_free(&w);
}

/* A connect is abandoned after 0, 1, 2 … rounds of tasks, counted from its start or from when its name was found: while
 * the name is looked up, between two addresses, after the failure. In the end one of each is left to the loop. */
struct abandoned {
    struct env_task task;
    struct env_loop *loop;
    struct env_stream *s;
    unsigned lookups; /* that must be done before rounds count */
    unsigned rounds;
};

static void count_down(struct env_task *task)
{
    struct abandoned *a = CONTAINER_OF(task, struct abandoned, task);
    if (atomic_load(&lookups_done) < a->lookups || a->rounds-- > 0) {
        env_defer(a->loop, task);
        return;
    }
    env_stream_close(a->s);
    env_real_loop_stop(a->loop);
}

static void test_connect_abandoned(void **state)
{
    static const struct {
        const char *format;
        unsigned lookups;
    } table[] = {
        {"127.0.0.1:%u", 0}, {"two.test:%u", 0}, {"two.test:%u", 1}, {"missing.test:%u", 1}, {"wrong", 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        struct world w = world_new();
        char address[32];
        struct env_listener *l = listen_any(w.loop, set_ignore, NULL, address);
        unsigned port = env_listener_port(l);
        env_listener_close(l);
        snprintf(address, sizeof address, table[i].format, port);
        for (unsigned rounds = 0; rounds < 400; rounds++) {
            struct abandoned a = {.task.run = count_down, .loop = w.loop, .rounds = rounds};
            a.lookups = atomic_load(&lookups_done) + table[i].lookups;
            a.s = env_connect(w.loop, address, &ignore_events, NULL, ignore_connected);
            env_defer(w.loop, &a.task);
            env_real_loop_run(w.loop);
        }
        env_connect(w.loop, address, &ignore_events, NULL, ignore_connected);
        world_free(&w);
    }
}

/* The same from within the turn in which an address has not answered and the next is not tried yet. A chain of other
 * connections, one a turn, each begun after the abandoned one and so told of after it, closes it at its 1st, 2nd … link
 * after the name was found. */
struct between {
    struct env_loop *loop;
    struct env_stream *s;
    const char *address; /* for the chain */
    unsigned lookups;
    unsigned links;
};

static void between_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct between *b = ctx;
    assert_int_equal(st, ST_OK);
    env_stream_close(s);
    if (atomic_load(&lookups_done) < b->lookups || b->links-- > 0) {
        env_connect(b->loop, b->address, &ignore_events, b, between_connected);
        return;
    }
    env_stream_close(b->s);
    env_real_loop_stop(b->loop);
}

static void close_at_once(void *ctx, struct env_stream *s) { env_stream_close(s); }

static void test_connect_abandoned_between_addresses(void **state)
{
    struct world w = world_new();
    char address[32], name[32];
    struct env_listener *l = listen_any(w.loop, close_at_once, NULL, address);
    snprintf(name, sizeof name, "two.test:%u", env_listener_port(l));
    env_listener_close(l);
    listen_any(w.loop, close_at_once, NULL, address);
    for (unsigned i = 0; i < 60; i++) {
        struct between b = {.loop = w.loop, .address = address, .links = i % 10};
        b.lookups = atomic_load(&lookups_done) + 1;
        b.s = env_connect(w.loop, name, &ignore_events, NULL, ignore_connected);
        env_connect(w.loop, address, &ignore_events, &b, between_connected);
        env_real_loop_run(w.loop);
    }
    world_free(&w);
}

static void test_listen_errors(void **state)
{
    struct world w = world_new(), other = world_new();
    char address[32];
    struct env_listener *l = listen_any(w.loop, set_ignore, NULL, address), *m = NULL;
    struct error err = {0};
    /* Another process (here: another env) must not take a share of a port in use, which SO_REUSEPORT would allow. */
    assert_int_equal(env_listen(other.loop, address, set_ignore, NULL, &m, &err), ST_BUSY);
    assert_non_null(strstr(err.text, address));
    assert_int_equal(env_listen(w.loop, "nonsense", set_ignore, NULL, &m, &err), ST_INVALID);
    assert_int_equal(env_listen(w.loop, "192.0.2.1:0", set_ignore, NULL, &m, &err), ST_UNAVAILABLE);
    assert_non_null(strstr(err.text, "192.0.2.1:0"));
    assert_null(m);
    env_listener_close(l);
    assert_int_equal(env_listen(other.loop, address, set_ignore, NULL, &m, &err), ST_OK);
    env_listener_close(NULL);
    world_free(&w);
    world_free(&other);
}

/* Each place where a stream's owner may close it. */
enum place { IN_ACCEPT, IN_CONNECTED, IN_DATA, IN_DATA_AFTER_WRITE, IN_DRAINED, IN_CLOSED, PLACES };

struct closing {
    struct world w;
    enum place place;
    bool server_done;
    bool client_done;
    size_t got;
    unsigned after; /* events after close */
};

enum { LAST_WORDS = 50000 };

static void closing_end(struct closing *c)
{
    if (c->server_done && c->client_done) env_real_loop_stop(c->w.loop);
}

static void server_close(struct closing *c, struct env_stream *s)
{
    if (c->server_done) c->after++;
    c->server_done = true;
    env_stream_close(s);
    closing_end(c);
}

static void client_close(struct closing *c, struct env_stream *s)
{
    if (c->client_done) c->after++;
    c->client_done = true;
    env_stream_close(s);
    closing_end(c);
}

static void closing_server_data(struct env_stream *s, void *ctx, struct bytes data)
{
    static uint8_t words[LAST_WORDS];
    struct closing *c = ctx;
    if (c->place == IN_DATA_AFTER_WRITE) env_stream_write(s, bytes_of(words, sizeof words));
    if (c->place == IN_DATA || c->place == IN_DATA_AFTER_WRITE) server_close(c, s);
}

static void closing_server_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    server_close(ctx, s);
}

static void closing_accept(void *ctx, struct env_stream *s)
{
    static const struct env_stream_events events = {closing_server_data, NULL, closing_server_closed};
    struct closing *c = ctx;
    if (c->place == IN_ACCEPT) server_close(c, s);
    else env_stream_set_events(s, &events, c);
}

static void closing_client_data(struct env_stream *s, void *ctx, struct bytes data)
{
    ((struct closing *)ctx)->got += data.n;
}

static void closing_client_drained(struct env_stream *s, void *ctx)
{
    struct closing *c = ctx;
    if (c->place == IN_DRAINED) client_close(c, s);
}

static void closing_client_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    client_close(ctx, s);
}

static void closing_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct closing *c = ctx;
    assert_int_equal(st, ST_OK);
    if (c->place == IN_CONNECTED || c->place == IN_CLOSED) client_close(c, s); /* and the server sees the end */
}

static void test_close_inside_callbacks(void **state)
{
    static const struct env_stream_events events = {closing_client_data, closing_client_drained, closing_client_closed};
    for (int place = 0; place < PLACES; place++) {
        struct closing c = {.w = world_new(), .place = (enum place)place};
        char address[32];
        listen_any(c.w.loop, closing_accept, &c, address);
        struct env_stream *s = env_connect(c.w.loop, address, &events, &c, closing_connected);
        env_stream_write(s, BYTES_LIT("hello"));
        env_real_loop_run(c.w.loop);
        assert_true(c.server_done && c.client_done);
        assert_int_equal(c.after, 0);
        assert_int_equal(c.got, c.place == IN_DATA_AFTER_WRITE ? LAST_WORDS : 0);
        world_free(&c.w);
    }
}

/* Written before the connection stands, in `connected`, and after: in that order. */
struct spelling {
    struct env_loop *loop;
    char got[16];
    size_t n;
};

static void spelling_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct spelling *p = ctx;
    ASSERT(p->n + data.n < sizeof p->got);
    memcpy(p->got + p->n, data.p, data.n);
    p->n += data.n;
    if (p->n == 6) env_real_loop_stop(p->loop);
}

static void spelling_accept(void *ctx, struct env_stream *s)
{
    static const struct env_stream_events events = {spelling_data, NULL, ignore_closed};
    env_stream_set_events(s, &events, ctx);
}

static void spelling_connected(struct env_stream *s, void *ctx, enum status st)
{
    env_stream_write(s, BYTES_LIT("cd"));
    assert_int_equal(env_stream_queued(s), 4);
}

static void spelling_drained(struct env_stream *s, void *ctx) { env_stream_write(s, BYTES_LIT("ef")); }

static void test_writes_around_connecting_keep_their_order(void **state)
{
    static const struct env_stream_events events = {ignore_data, spelling_drained, ignore_closed};
    struct world w = world_new();
    struct spelling p = {.loop = w.loop};
    char address[32];
    listen_any(w.loop, spelling_accept, &p, address);
    env_stream_write(env_connect(w.loop, address, &events, NULL, spelling_connected), BYTES_LIT("ab"));
    env_real_loop_run(w.loop);
    assert_string_equal(p.got, "abcdef");
    world_free(&w);
}

/* Closing sends what the kernel takes by then: all that is queued, since the other side has read meanwhile. */
enum { CHUNK = 32 * 1024, TAIL = 100 };

struct flushing {
    struct world w;
    int fd;
    size_t written;
    size_t got;
};

static void flushing_read(struct flushing *f, int flags)
{
    static uint8_t part[1 << 16];
    for (ssize_t n; (n = recv(f->fd, part, sizeof part, flags)) > 0;) {
        for (ssize_t i = 0; i < n; i++)
            if (part[i] != pattern(f->got + (size_t)i)) fail_msg("byte %zu differs", f->got + (size_t)i);
        f->got += (size_t)n;
    }
}

static void flushing_write(struct flushing *f, struct env_stream *s, size_t n)
{
    static uint8_t part[CHUNK];
    for (size_t i = 0; i < n; i++) part[i] = pattern(f->written + i);
    env_stream_write(s, bytes_of(part, n));
    f->written += n;
}

static void flushing_accept(void *ctx, struct env_stream *s)
{
    struct flushing *f = ctx;
    env_stream_set_events(s, &ignore_events, f);
    while (env_stream_queued(s) == 0) flushing_write(f, s, CHUNK);
    flushing_write(f, s, TAIL);
    assert_true(env_stream_queued(s) > TAIL && env_stream_queued(s) <= CHUNK + TAIL);
    flushing_read(f, MSG_DONTWAIT);
    assert_true(f->got < f->written);
    env_stream_close(s);
    env_real_loop_stop(f->w.loop);
}

static void test_close_sends_what_is_queued(void **state)
{
    struct flushing f = {.w = world_new()};
    char address[32];
    listen_any(f.w.loop, flushing_accept, &f, address);
    f.fd = raw_connect(address);
    env_real_loop_run(f.w.loop);
    world_free(&f.w);
    flushing_read(&f, 0);
    assert_int_equal(f.got, f.written);
    close(f.fd);
}

/* The listener is closed by its first connection; two more are waiting. */
struct one_only {
    struct env_listener *l;
    struct env_loop *loop;
    unsigned accepted;
};

static void one_only_accept(void *ctx, struct env_stream *s)
{
    struct one_only *o = ctx;
    o->accepted++;
    env_stream_close(s);
    env_listener_close(o->l);
    env_real_loop_stop(o->loop);
}

static void test_listener_closed_inside_accept(void **state)
{
    struct world w = world_new();
    struct one_only o = {.loop = w.loop};
    char address[32];
    int fds[3];
    o.l = listen_any(w.loop, one_only_accept, &o, address);
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++) fds[i] = raw_connect(address);
    env_real_loop_run(w.loop);
    assert_int_equal(o.accepted, 1);
    world_free(&w);
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++) close(fds[i]);
}

/* What a raw client does, and what the server's owner is told. */
struct server {
    struct world w;
    struct env_stream *s;
    size_t got;
    unsigned closed;
    enum status st;
    bool answer; /* after the end */
};

static void server_data(struct env_stream *s, void *ctx, struct bytes data) { ((struct server *)ctx)->got += data.n; }

static void server_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct server *v = ctx;
    v->closed++;
    v->st = st;
    assert_true(strlen(text) > 0);
    if (v->answer) env_stream_write(s, BYTES_LIT("PONG"));
    env_real_loop_stop(v->w.loop);
}

static void server_accept(void *ctx, struct env_stream *s)
{
    static const struct env_stream_events events = {server_data, NULL, server_closed};
    struct server *v = ctx;
    v->s = s;
    env_stream_set_events(s, &events, v);
}

/* The other side has sent all it will, and still reads: what is written after the end is sent. */
static void test_half_closed_peer_gets_its_answer(void **state)
{
    struct server v = {.w = world_new(), .answer = true};
    char address[32], text[8] = "";
    listen_any(v.w.loop, server_accept, &v, address);
    int fd = raw_connect(address);
    assert_int_equal(send(fd, "PING", 4, 0), 4);
    shutdown(fd, SHUT_WR);
    env_real_loop_run(v.w.loop);
    assert_int_equal(v.got, 4);
    assert_int_equal(v.st, ST_OK);
    assert_memory_equal(env_stream_peer(v.s), "127.0.0.1:", 10);
    env_stream_close(v.s);
    assert_int_equal(recv(fd, text, sizeof text, MSG_WAITALL), 4);
    assert_memory_equal(text, "PONG", 4);
    close(fd);
    assert_int_equal(v.closed, 1);
    world_free(&v.w);
}

static void test_reset_by_peer(void **state)
{
    struct server v = {.w = world_new()};
    char address[32];
    listen_any(v.w.loop, server_accept, &v, address);
    int fd = raw_connect(address);
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    env_real_loop_run(v.w.loop);
    assert_int_equal(v.closed, 1);
    assert_int_equal(v.st, ST_CLOSED);
    env_stream_write(v.s, BYTES_LIT("for nobody"));
    assert_int_equal(env_stream_queued(v.s), 0);
    env_stream_close(v.s);
    world_free(&v.w);
}

/* Nothing is read, so only the write can find out; its error comes as an event, not within the call. */
static void reset_while_paused(void *ctx, struct env_stream *s)
{
    struct server *v = ctx;
    server_accept(ctx, s);
    env_stream_pause(s);
    env_stream_write(s, BYTES_LIT("for nobody"));
    assert_int_equal(v->closed, 0);
}

static void test_failed_write_is_reported_later(void **state)
{
    struct server v = {.w = world_new()};
    char address[32];
    listen_any(v.w.loop, reset_while_paused, &v, address);
    int fd = raw_connect(address);
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    env_real_loop_run(v.w.loop);
    assert_int_equal(v.closed, 1);
    assert_int_equal(v.st, ST_CLOSED);
    world_free(&v.w);
}

/* Closed between the failure and its event: the event does not come. */
static void reset_then_close(void *ctx, struct env_stream *s)
{
    struct server *v = ctx;
    reset_while_paused(ctx, s);
    env_stream_close(s);
    env_real_loop_stop(v->w.loop);
}

static void test_close_before_failure_is_reported(void **state)
{
    struct server v = {.w = world_new()};
    char address[32];
    listen_any(v.w.loop, reset_then_close, &v, address);
    int fd = raw_connect(address);
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    env_real_loop_run(v.w.loop);
    assert_int_equal(v.closed, 0);
    world_free(&v.w);
}

/* Data that arrived and was not read would turn the close into a reset. */
static void close_unread(void *ctx, struct env_stream *s)
{
    struct server *v = ctx;
    env_stream_set_events(s, &ignore_events, v);
    env_stream_write(s, BYTES_LIT("bye"));
    env_stream_close(s);
    env_real_loop_stop(v->w.loop);
}

static void test_close_with_unread_data_is_orderly(void **state)
{
    struct server v = {.w = world_new()};
    char address[32], text[8];
    listen_any(v.w.loop, close_unread, &v, address);
    int fd = raw_connect(address);
    assert_int_equal(send(fd, "unread", 6, 0), 6);
    env_real_loop_run(v.w.loop);
    world_free(&v.w);
    assert_int_equal(recv(fd, text, sizeof text, MSG_WAITALL), 3);
    assert_int_equal(recv(fd, text, sizeof text, 0), 0); /* and not ECONNRESET */
    close(fd);
}

static void test_ipv6(void **state)
{
    struct world w = world_new();
    struct env_listener *l = NULL;
    struct error err = {0};
    struct server v = {.w = w};
    char address[32];
    if (env_listen(w.loop, "[::1]:0", server_accept, &v, &l, &err) != ST_OK) {
        world_free(&w);
        skip(); /* a machine without IPv6 */
    }
    snprintf(address, sizeof address, "[::1]:%u", env_listener_port(l));
    struct closing c = {.w = w, .place = IN_CONNECTED}; /* the client closes, the server is told */
    env_connect(w.loop, address, &ignore_events, &c, closing_connected);
    env_real_loop_run(w.loop);
    assert_int_equal(v.closed, 1);
    assert_int_equal(v.st, ST_OK);
    assert_memory_equal(env_stream_peer(v.s), "[::1]:", 6);
    world_free(&w);
}

/* Every TCP socket of the process, listening, accepted or connected. */
static void options_connected(struct env_stream *s, void *ctx, enum status st)
{
    unsigned sockets = 0;
    for (int fd = 0; fd < 1024; fd++) {
        int domain = 0, nodelay = 0, keepalive = 0;
        socklen_t n = sizeof(int);
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) != 0 || domain != AF_INET) continue;
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &n), 0);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &n), 0);
        assert_int_equal(nodelay, 1);
        assert_int_equal(keepalive, 1);
        sockets++;
    }
    *(unsigned *)ctx = sockets;
}

static struct env_loop *stop_on_accept;
static void accept_and_stop(void *ctx, struct env_stream *s)
{
    env_stream_set_events(s, &ignore_events, NULL);
    env_real_loop_stop(stop_on_accept);
}

static void test_socket_options(void **state)
{
    struct world w = world_new();
    char address[32];
    unsigned sockets = 0;
    stop_on_accept = w.loop;
    listen_any(w.loop, accept_and_stop, NULL, address);
    struct env_stream *s = env_connect(w.loop, address, &ignore_events, NULL, ignore_connected);
    env_real_loop_run(w.loop);
    options_connected(s, &sockets, ST_OK);
    assert_int_equal(sockets, 3);
    world_free(&w);
}

/* Two loops on two threads listen at one address: each gets some of the connections. */
enum { SHARERS = 2, CONNECTIONS = 64 };

struct sharer {
    struct env_loop *loop;
    struct env_thread *thread;
    unsigned accepted; /* of its thread */
};

static void sharer_data(struct env_stream *s, void *ctx, struct bytes data) { env_stream_write(s, data); }
static void sharer_closed(struct env_stream *s, void *ctx, enum status st, const char *text) { env_stream_close(s); }

static void sharer_accept(void *ctx, struct env_stream *s)
{
    static const struct env_stream_events events = {sharer_data, NULL, sharer_closed};
    ((struct sharer *)ctx)->accepted++;
    env_stream_set_events(s, &events, ctx);
}

struct sharing_client {
    struct env_loop *loop;
    unsigned answered;
};

static void sharing_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct sharing_client *c = ctx;
    env_stream_close(s);
    if (++c->answered == CONNECTIONS) env_real_loop_stop(c->loop);
}

static void sharing_connected(struct env_stream *s, void *ctx, enum status st)
{
    assert_int_equal(st, ST_OK);
    env_stream_write(s, BYTES_LIT("hello"));
}

static void test_two_loops_share_an_address(void **state)
{
    static const struct env_stream_events events = {sharing_data, NULL, ignore_closed};
    struct world w = world_new();
    struct sharer sharers[SHARERS] = {{0}};
    struct sharing_client client = {.loop = w.loop};
    char address[32] = "127.0.0.1:0";
    for (unsigned i = 0; i < SHARERS; i++) {
        struct env_listener *l = NULL;
        struct error err = {0};
        sharers[i].loop = env_real_loop_new(w.env);
        assert_int_equal(env_listen(sharers[i].loop, address, sharer_accept, &sharers[i], &l, &err), ST_OK);
        snprintf(address, sizeof address, "127.0.0.1:%u", env_listener_port(l));
    }
    for (unsigned i = 0; i < SHARERS; i++)
        sharers[i].thread = env_real_thread_new("sharer", loop_main, sharers[i].loop);
    for (unsigned i = 0; i < CONNECTIONS; i++) env_connect(w.loop, address, &events, &client, sharing_connected);
    env_real_loop_run(w.loop);
    unsigned accepted = 0;
    for (unsigned i = 0; i < SHARERS; i++) {
        env_real_loop_stop(sharers[i].loop);
        env_real_thread_join(sharers[i].thread);
        assert_true(sharers[i].accepted > 0); /* all at one of two: 1 in 2^63 */
        accepted += sharers[i].accepted;
        env_real_loop_free(sharers[i].loop);
    }
    assert_int_equal(accepted, CONNECTIONS);
    assert_int_equal(client.answered, CONNECTIONS);
    world_free(&w);
}

/* ---- no descriptors left ---- */

enum { CROWD = 20 };

struct crowd {
    struct world w;
    struct env_timer timer;
    int fds[CROWD];
    unsigned accepted;
    unsigned turned_away;
    unsigned warnings;
};

static void count_warning(void *ctx, enum diag_level level, const char *line)
{
    struct crowd *c = ctx;
    assert_int_equal(level, DIAG_WARN);
    assert_non_null(strstr(line, "env.accept_refused port="));
    c->warnings++;
}

static void crowd_accept(void *ctx, struct env_stream *s)
{
    struct crowd *c = ctx;
    c->accepted++;
    env_stream_set_events(s, &ignore_events, c);
}

static void crowd_look(struct env_timer *timer)
{
    struct crowd *c = CONTAINER_OF(timer, struct crowd, timer);
    char byte;
    for (unsigned i = 0; i < CROWD; i++) {
        if (c->fds[i] < 0) continue;
        ssize_t n = recv(c->fds[i], &byte, 1, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) continue;
        close(c->fds[i]);
        c->fds[i] = -1;
        c->turned_away++;
    }
    if (c->accepted + c->turned_away == CROWD) env_real_loop_stop(c->w.loop);
    else env_timer_start(timer, NS_PER_MS);
}

static void test_no_descriptors_left(void **state)
{
    struct crowd c = {.w = world_new()};
    struct rlimit before, low;
    char address[32];
    listen_any(c.w.loop, crowd_accept, &c, address);
    diag_set_sink(count_warning, &c, DIAG_WARN);
    for (unsigned i = 0; i < CROWD; i++) c.fds[i] = raw_connect(address);
    int next = dup(c.fds[0]);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)next; /* one above the last in use */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    env_timer_init(c.w.loop, &c.timer, crowd_look);
    env_timer_start(&c.timer, NS_PER_MS);
    env_real_loop_run(c.w.loop);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(c.turned_away, CROWD);
    assert_int_equal(c.accepted, 0);
    assert_int_equal(c.warnings, 1); /* rate limited */
    diag_set_sink(NULL, NULL, DIAG_INFO);

    int fd = raw_connect(address); /* and it goes on once there are some again */
    c.turned_away = CROWD - 1;
    env_timer_start(&c.timer, 0);
    env_real_loop_run(c.w.loop);
    assert_int_equal(c.accepted, 1);
    close(fd);
    world_free(&c.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_of_10_mb),
        cmocka_unit_test(test_pause_and_resume),
        cmocka_unit_test(test_connect_outcomes),
        cmocka_unit_test(test_connect_abandoned),
        cmocka_unit_test(test_connect_abandoned_between_addresses),
        cmocka_unit_test(test_listen_errors),
        cmocka_unit_test(test_close_inside_callbacks),
        cmocka_unit_test(test_writes_around_connecting_keep_their_order),
        cmocka_unit_test(test_close_sends_what_is_queued),
        cmocka_unit_test(test_listener_closed_inside_accept),
        cmocka_unit_test(test_half_closed_peer_gets_its_answer),
        cmocka_unit_test(test_reset_by_peer),
        cmocka_unit_test(test_failed_write_is_reported_later),
        cmocka_unit_test(test_close_before_failure_is_reported),
        cmocka_unit_test(test_close_with_unread_data_is_orderly),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_socket_options),
        cmocka_unit_test(test_two_loops_share_an_address),
        cmocka_unit_test(test_no_descriptors_left),
    };
    return cmocka_run_group_tests_name("real_stream", tests, NULL, NULL);
}
