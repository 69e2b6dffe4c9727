/* real_listen.c - listeners: sockets that the loops of one process, and of no other, share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The sockets are made here because libuv 1.44 can't set SO_REUSEPORT, and connections are taken here because its own
 * answer to a lack of descriptors can spin. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/mem.h"
#include "env/real_internal.h"

struct real_listener {
    struct env_listener base;
    struct link link; /* in loop.listeners */
    uv_poll_t poll;
    int fd;
    uint16_t port;
    bool closing;
    env_accept_fn accept;
    void *ctx;
    struct env_timer rest; /* runs while it does not accept for lack of descriptors or memory */
    uint64_t refused;      /* since the last warning */
    uint64_t warned_ns;    /* when that was; 0: never */
};

static struct real_loop *loop_of(struct real_listener *r) { return real_loop_of(r->base.loop); }

static struct real_port *port_find(struct real_env *e, uint16_t port)
{
    for (unsigned i = 0; i < REAL_PORTS_MAX; i++)
        if (e->ports[i].listeners > 0 && e->ports[i].port == port) return &e->ports[i];
    return NULL;
}

static struct real_port *port_add(struct real_env *e, uint16_t port)
{
    struct real_port *p = port_find(e, port);
    for (unsigned i = 0; p == NULL && i < REAL_PORTS_MAX; i++)
        if (e->ports[i].listeners == 0) p = &e->ports[i];
    if (p != NULL) {
        p->port = port;
        p->listeners++;
    }
    return p;
}

static void port_remove(struct real_env *e, uint16_t port)
{
    pthread_mutex_lock(&e->ports_mutex);
    struct real_port *p = port_find(e, port);
    ASSERT(p != NULL);
    p->listeners--;
    pthread_mutex_unlock(&e->ports_mutex);
}

/* Accepted sockets inherit these on Linux. */
static void socket_options(int fd)
{
    int on = 1, idle = REAL_KEEPALIVE_S, interval = REAL_KEEPALIVE_S / 4, probes = 4;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static enum status socket_fail(int fd, const char *call, const char *address, struct error *err)
{
    int errnum = errno;
    char text[128];
    if (fd >= 0) close(fd);
    uv_strerror_r(uv_translate_sys_error(errnum), text, sizeof text);
    return error_set(err, real_status_of(errnum), "listen on '%s': %s: %s", address, call, text);
}

/* A bound socket that listens if `live`, else only tries whether it could. */
static enum status socket_make(const struct real_address *a, const char *address, bool shared, bool live, int *out,
                               struct error *err)
{
    int on = 1;
    int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return socket_fail(fd, "socket", address, err);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0))
        return socket_fail(fd, "setsockopt", address, err);
    if (bind(fd, &a->any, real_address_size(a)) != 0) return socket_fail(fd, "bind", address, err);
    if (live) {
        socket_options(fd);
        if (listen(fd, REAL_BACKLOG) != 0) return socket_fail(fd, "listen", address, err);
    }
    *out = fd;
    return ST_OK;
}

/* SO_REUSEPORT would let another process of the same user take a share of our connections without a word: a node
 * started twice. So the first of this process on a port must be able to have it alone. */
static enum status listener_socket(struct real_env *e, const struct real_address *a, const char *address, int *out,
                                   uint16_t *out_port, struct error *err)
{
    uint16_t port = ntohs(a->any.sa_family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port);
    int fd = -1;
    enum status st = ST_OK;
    pthread_mutex_lock(&e->ports_mutex);
    if (port != 0 && port_find(e, port) == NULL) {
        st = socket_make(a, address, false, false, &fd, err);
        if (st == ST_OK) close(fd);
    }
    if (st == ST_OK) st = socket_make(a, address, true, true, &fd, err);
    if (st != ST_OK) goto done;
    struct real_address bound = {0};
    socklen_t size = sizeof bound;
    if (getsockname(fd, &bound.any, &size) != 0) {
        st = socket_fail(fd, "getsockname", address, err);
        goto done;
    }
    port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    if (port_add(e, port) == NULL) {
        close(fd);
        st = error_set(err, ST_OVERLOADED, "listen on '%s': more than %d ports", address, REAL_PORTS_MAX);
        goto done;
    }
    *out = fd;
    *out_port = port;
done:
    pthread_mutex_unlock(&e->ports_mutex);
    return st;
}

/* Start-up only: looking up a name blocks. Of several addresses the first IPv4 one is taken. */
static enum status listener_address(const char *address, struct real_address *out, struct error *err)
{
    char host[256], port[8];
    enum status st = real_address_split(address, host, port, err);
    if (st != ST_OK || real_address_numeric(host, port, out)) return st;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) return error_set(err, ST_NOT_FOUND, "listen on '%s': %s", address, gai_strerror(rc));
    struct real_address all[REAL_ADDRESSES_MAX];
    unsigned n = real_address_list(found, all), i = 0;
    freeaddrinfo(found);
    if (n == 0) return error_set(err, ST_NOT_FOUND, "listen on '%s': the name has no IP address", address);
    while (i < n && all[i].any.sa_family != AF_INET) i++;
    *out = all[i < n ? i : 0];
    return ST_OK;
}

static void listener_warn(struct real_listener *r, const char *reason)
{
    uint64_t now = real_now_ns(r->base.loop->env);
    if (r->warned_ns != 0 && now - r->warned_ns < NS_PER_S) return;
    diag(DIAG_WARN, "env.accept_refused port=%u connections=%llu reason=\"%s\"", r->port,
         (unsigned long long)r->refused, reason);
    r->warned_ns = now;
    r->refused = 0;
}

static void on_acceptable(uv_poll_t *handle, int status, int events);

static void listener_rest_over(struct env_timer *timer)
{
    struct real_listener *r = CONTAINER_OF(timer, struct real_listener, rest);
    int rc = uv_poll_start(&r->poll, UV_READABLE, on_acceptable);
    ASSERT(rc == 0);
}

static void listener_rest(struct real_listener *r)
{
    uv_poll_stop(&r->poll);
    env_timer_start(&r->rest, REAL_LISTEN_PAUSE_MS * NS_PER_MS);
}

/* Without descriptors the waiting connection would stay ready for ever: the reserve lets us take and close it. Returns
 * false if not even that works. */
static bool listener_turn_away(struct real_listener *r)
{
    struct real_loop *l = loop_of(r);
    if (l->reserve_fd >= 0) {
        close(l->reserve_fd);
        int fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            r->refused++;
        }
    }
    l->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* another thread may have been quicker */
    return l->reserve_fd >= 0;
}

static void on_acceptable(uv_poll_t *handle, int status, int events)
{
    struct real_listener *r = handle->data;
    real_loop_awake(loop_of(r));
    for (unsigned i = 0; i < REAL_ACCEPTS_PER_TURN && !r->closing; i++) {
        struct real_address peer;
        socklen_t size = sizeof peer;
        int fd = accept4(r->fd, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            real_stream_accepted(loop_of(r), fd, &peer, r->accept, r->ctx);
            continue;
        }
        int errnum = errno;
        if (errnum == EAGAIN) return;
        if (errnum == EMFILE || errnum == ENFILE) {
            bool kept = listener_turn_away(r);
            listener_warn(r, "no file descriptors left");
            if (kept) continue;
        } else if (errnum != ENOBUFS && errnum != ENOMEM) {
            continue; /* an error of that connection, see accept(2); this one is gone */
        } else {
            listener_warn(r, "no memory for sockets");
        }
        listener_rest(r);
        return;
    }
}

enum status real_listen(struct env_loop *loop, const char *address, env_accept_fn accept, void *ctx,
                        struct env_listener **out, struct error *err)
{
    struct real_loop *l = real_loop_of(loop);
    struct real_address a;
    int fd = -1;
    uint16_t port = 0;
    enum status st = listener_address(address, &a, err);
    if (st == ST_OK) st = listener_socket(real_env_of(loop->env), &a, address, &fd, &port, err);
    if (st != ST_OK) return st;
    struct real_listener *r = mem_zalloc(sizeof *r);
    r->base.loop = loop;
    r->fd = fd;
    r->port = port;
    r->accept = accept;
    r->ctx = ctx;
    env_timer_init(loop, &r->rest, listener_rest_over);
    int rc = uv_poll_init(&l->uv, &r->poll, fd);
    ASSERT(rc == 0);
    r->poll.data = r;
    rc = uv_poll_start(&r->poll, UV_READABLE, on_acceptable);
    ASSERT(rc == 0);
    list_push_back(&l->listeners, &r->link);
    *out = &r->base;
    return ST_OK;
}

uint16_t real_listener_port(struct env_listener *l) { return ((struct real_listener *)l)->port; }

static void on_listener_closed(uv_handle_t *handle) { mem_free(handle->data); }

void real_listener_close(struct env_listener *l)
{
    struct real_listener *r = (struct real_listener *)l;
    ASSERT(!r->closing);
    r->closing = true;
    env_timer_stop(&r->rest);
    link_remove(&r->link);
    uv_close((uv_handle_t *)&r->poll, on_listener_closed);
    close(r->fd);
    port_remove(real_env_of(l->loop->env), r->port);
}

void real_listeners_close(struct real_loop *l)
{
    for (struct link *k; (k = list_first(&l->listeners)) != NULL;)
        real_listener_close(&CONTAINER_OF(k, struct real_listener, link)->base);
}
