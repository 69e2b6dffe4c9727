/* badinput.c - sends a real node what nobody should send, and looks at what comes back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * faults_badinput HOST:PORT: prints a line for each thing that was not answered as it should
 * be; ends with 0 if there is none. After each the node must still answer PING on a connection that was open before. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/status.h"
#include "mesh/mesh_frame.h"

#define ANSWER_MAX  65536
#define PATIENCE_MS 15000 /* a node closes what does not say what it is after 5 s; the machine may be slow */
#define CROWD       3000

static struct sockaddr_in node;
static unsigned checked, bad;

static int dial(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof *to) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Sends what the node takes, for it may close before it has all; reads until it closes, or until `until` is there. */
static size_t talk(int fd, struct bytes what, const char *until, char *answer, bool *closed)
{
    size_t sent = 0, n = 0;
    *closed = false;
    answer[0] = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (sent < what.n ? POLLOUT : 0))};
        if (poll(&p, 1, PATIENCE_MS) <= 0) return n;
        if (p.revents & POLLOUT) {
            ssize_t w = send(fd, what.p + sent, what.n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (w > 0) sent += (size_t)w;
            else if (errno != EAGAIN) sent = what.n;
        }
        if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t r = recv(fd, answer + n, ANSWER_MAX - 1 - n, 0);
            if (r <= 0) {
                *closed = true;
                return n;
            }
            n += (size_t)r;
            answer[n] = 0;
            if ((until != NULL && memmem(answer, n, until, strlen(until)) != NULL) || n == ANSWER_MAX - 1) return n;
        }
    }
}

static void complain(const char *name, const char *why, const char *answer)
{
    printf("%s: %s; it said: '%.200s'\n", name, why, answer);
    bad++;
}

static bool pings(int fd)
{
    static char answer[ANSWER_MAX];
    bool closed;
    talk(fd, bytes_of("PING\r\n", 6), "+PONG", answer, &closed);
    return strstr(answer, "+PONG") != NULL;
}

/* ---- clients' protocols ---- */

struct row {
    const char *name;
    const char *send; /* may hold no NUL */
    size_t pad;       /* so many 'x' follow */
    const char *expect;
    bool closes;
};

static const struct row rows[] = {
    {"a RESP array that is too long", "*1048577\r\n", 0, "-ERR Protocol error: invalid multibulk length", true},
    {"a RESP array of negative length", "*-2147483648\r\n*1\r\n$4\r\nPING\r\n", 0, "+PONG", false},
    {"a RESP array of no number", "*x\r\n", 0, "-ERR Protocol error: invalid multibulk length", true},
    {"a bulk string that is too long", "*2\r\n$3\r\nGET\r\n$536870913\r\n", 0,
     "-ERR Protocol error: invalid bulk length", true},
    {"a bulk string of negative length", "*1\r\n$-1\r\n", 0, "-ERR Protocol error: invalid bulk length", true},
    {"no bulk string where one must be", "*1\r\n+PING\r\n", 0, "-ERR Protocol error: expected '$'", true},
    {"unbalanced quotes", "set k \"v\r\n", 0, "-ERR Protocol error: unbalanced quotes in request", true},
    {"a command without end", "*1\r\n$4\r\nPING\r\nset k ", 200000, "-ERR Protocol error: too big inline request",
     true},
    {"a first line without end", "", 9000, "", true},
    {"HTTP of another version is a Redis command", "GET /health HTTP/3.7\r\n", 0, "-ERR wrong number of arguments",
     false},
    {"HTTP with a bad header", "GET /health HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", 0, "HTTP/1.1 400", true},
    {"HTTP with headers without end", "GET /health HTTP/1.1\r\nHost: a\r\nX: ", 200000, "HTTP/1.1 431", true},
    {"HTTP with two lengths",
     "POST /api/settings HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 0, "HTTP/1.1 400",
     true},
    {"HTTP with a body that is too large",
     "POST /api/settings HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 0, "HTTP/1.1 413", true},
    {"HTTP of an unknown page", "GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 0, "HTTP/1.1 404",
     true},
    {"HTTP of a wrong method", "DELETE /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 0, "HTTP/1.1 405",
     true},
    {"TLS", "\x16\x03\x01\x02", 300, "", true},
    {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, "", true},
    {"HTTP from a page of another site",
     "POST /api/settings?name=value-max&value=1KiB HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n"
     "Connection: close\r\n\r\n",
     0, "HTTP/1.1 403", true},
    {"half a first line", "GET /health HT", 0, "", true},
    {"nothing at all", "", 0, "", true},
};

static void check_rows(int open)
{
    static char answer[ANSWER_MAX];
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct row *r = &rows[i];
        struct buf out = {0};
        bool closed;
        buf_put(&out, r->send, strlen(r->send));
        if (r->pad > 0) memset(buf_extend(&out, r->pad), 'x', r->pad);
        int fd = dial(&node);
        checked++;
        if (fd < 0) {
            complain(r->name, "can't connect", "");
        } else {
            talk(fd, buf_view(&out), r->closes ? NULL : r->expect, answer, &closed);
            if (strstr(answer, r->expect) == NULL) complain(r->name, "another answer was expected", answer);
            else if (r->closes && !closed) complain(r->name, "the connection is still open", answer);
            close(fd);
        }
        if (!pings(open)) complain(r->name, "another client's connection does not work after it", "");
        buf_deinit(&out);
    }
}

/* ---- clients that are slow, or stop in the middle ---- */

#define BIG_BYTES (1u << 20)

static bool closes_within(int fd, int patience_ms)
{
    static char answer[ANSWER_MAX];
    for (size_t n = 0; n < 1u << 30;) { /* what had been sent already is read away */
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, patience_ms) <= 0) return false;
        ssize_t r = recv(fd, answer, sizeof answer, 0);
        if (r <= 0) return true;
        n += (size_t)r;
    }
    return false;
}

/* Half a command may stay for as long as it likes, and be ended. */
static void check_half_a_command(int open)
{
    static char answer[ANSWER_MAX];
    bool closed;
    int fd = dial(&node);
    checked++;
    send(fd, "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$10\r\n01234", 36, MSG_NOSIGNAL);
    sleep(6); /* longer than a connection may take to say what it is */
    if (!pings(open)) complain("half a command", "another client's connection does not work", "");
    talk(fd, bytes_of("56789\r\n", 7), "+OK", answer, &closed);
    if (strstr(answer, "+OK") == NULL) complain("half a command", "its other half is not taken", answer);
    close(fd);
}

static bool store_big(void)
{
    static char answer[ANSWER_MAX];
    struct buf b = {0};
    bool closed;
    int fd = dial(&node);
    buf_printf(&b, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%u\r\n", BIG_BYTES);
    memset(buf_extend(&b, BIG_BYTES), 'x', BIG_BYTES);
    buf_printf(&b, "\r\n");
    talk(fd, buf_view(&b), "+OK", answer, &closed);
    buf_deinit(&b);
    close(fd);
    return strstr(answer, "+OK") != NULL;
}

/* Asks for 200 MiB and reads none of it for a while: the node waits with the rest, and loses nothing. */
static void check_slow_reader(int open)
{
    enum { ASKED = 200, REPLY = BIG_BYTES + 12 };
    static char answer[ANSWER_MAX];
    struct buf b = {0};
    int fd = dial(&node);
    size_t n = 0;
    checked++;
    for (int i = 0; i < ASKED; i++) buf_printf(&b, "GET big\r\n");
    send(fd, b.p, b.n, MSG_NOSIGNAL);
    sleep(1);
    if (!pings(open)) complain("a slow reader", "another client's connection does not work", "");
    while (n < (size_t)ASKED * REPLY) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t r = poll(&p, 1, PATIENCE_MS) > 0 ? recv(fd, answer, sizeof answer, 0) : -1;
        if (r <= 0) break;
        n += (size_t)r;
    }
    if (n != (size_t)ASKED * REPLY) complain("a slow reader", "it did not get all that it asked for", "");
    buf_deinit(&b);
    close(fd);
}

/* One reply of 100 MiB, which is more than may wait for a client that does not read. */
static void check_reply_beyond_the_limit(int open)
{
    struct buf b = {0};
    int fd = dial(&node);
    checked++;
    buf_printf(&b, "MGET");
    for (int i = 0; i < 100; i++) buf_printf(&b, " big");
    buf_printf(&b, "\r\n");
    send(fd, b.p, b.n, MSG_NOSIGNAL);
    struct pollfd end = {.fd = fd, .events = POLLRDHUP};
    poll(&end, 1, 20000); /* it reads nothing meanwhile: else it might be fast enough */
    if (!closes_within(fd, 60000)) complain("a reply beyond the limit", "the connection is still open", "");
    if (!pings(open)) complain("a reply beyond the limit", "another client's connection does not work after it", "");
    buf_deinit(&b);
    close(fd);
}

/* ---- peers ---- */

struct peer_row {
    const char *name, *expect;
    struct mesh_hello hello;
    bool no_hello, break_crc, huge;
};

static void check_peers(int open)
{
    static char answer[ANSWER_MAX];
    static const struct mesh_hello good = {.format = MESH_FORMAT,
                                           .lane = 0,
                                           .from_node = 2,
                                           .shard_count = 1,
                                           .semantics_oldest = 1,
                                           .semantics_newest = 1};
    struct peer_row peers[] = {
        {"a peer of a newer protocol", "99", good},
        {"a peer of another cluster", "cluster", good},
        {"a peer whose operations are too new", "semantics", good},
        {"a peer whose hello is damaged", "", good, .break_crc = true},
        {"a peer whose frame is larger than any", "", good, .huge = true},
        {"a peer that says something else first", "", good, .no_hello = true},
    };
    peers[0].hello.format = 99;
    memset(peers[1].hello.cluster_id, 0xab, 16);
    peers[2].hello.semantics_oldest = 900;
    peers[2].hello.semantics_newest = 999;
    for (size_t i = 0; i < ARRAY_COUNT(peers); i++) {
        struct peer_row *p = &peers[i];
        struct buf out = {0};
        bool closed;
        buf_put(&out, MESH_MAGIC, MESH_MAGIC_BYTES);
        if (p->no_hello) {
            mesh_frame_put(&out, MESH_BEAT, 0, bytes_of("12345678", 8), (struct bytes){0}, true);
        } else {
            mesh_hello_put(&out, &p->hello);
            if (p->break_crc) out.p[out.n - 1] ^= 1;
            if (p->huge) memcpy(out.p + MESH_MAGIC_BYTES, "\xff\xff\xff\x7f", 4);
        }
        int fd = dial(&node);
        checked++;
        if (fd < 0) {
            complain(p->name, "can't connect", "");
        } else {
            size_t n = talk(fd, buf_view(&out), NULL, answer, &closed);
            if (!closed) complain(p->name, "the connection is still open", "");
            else if (p->expect[0] != 0 && memmem(answer, n, p->expect, strlen(p->expect)) == NULL)
                complain(p->name, "the refusal does not say why", n > 13 ? answer + 13 : "");
            close(fd);
        }
        if (!pings(open)) complain(p->name, "another client's connection does not work after it", "");
        buf_deinit(&out);
    }
}

/* ---- a crowd ---- */

/* More connections than --clients-max, all silent: those beyond are refused or closed in time, and the node serves on.
 */
static void check_crowd(int open)
{
    static int crowd[CROWD];
    unsigned connected = 0;
    struct rlimit limit = {CROWD + 100, CROWD + 100};
    setrlimit(RLIMIT_NOFILE, &limit);
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = dial(&node);
        connected += crowd[i] >= 0;
        if (crowd[i] >= 0) send(crowd[i], "PING\r\n", 6, MSG_NOSIGNAL);
        if (i % 500 == 499 && !pings(open)) complain("a crowd", "a client that was there before is not served", "");
    }
    checked++;
    for (unsigned i = 0; i < CROWD; i++)
        if (crowd[i] >= 0) close(crowd[i]);
    if (connected < CROWD / 2) complain("a crowd", "most could not even connect", "");
    for (unsigned tries = 0; tries < 100; tries++) { /* the node needs a moment to see that they are gone */
        int fd = dial(&node);
        bool ok = fd >= 0 && pings(fd);
        if (fd >= 0) close(fd);
        if (ok) return;
        usleep(100000);
    }
    complain("a crowd", "new clients are not served after it has gone", "");
}

static bool parse(const char *text, struct sockaddr_in *out)
{
    char host[64];
    unsigned port;
    if (sscanf(text, "%63[0-9.]:%u", host, &port) != 2) return false;
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

int main(int argc, char **argv)
{
    if (argc != 2 || !parse(argv[1], &node)) {
        fprintf(stderr, "faults_badinput: usage: HOST:PORT\n");
        return 2;
    }
    int open = dial(&node);
    if (open < 0 || !pings(open)) {
        printf("no node answers at %s\n", argv[1]);
        return 1;
    }
    check_rows(open);
    check_half_a_command(open);
    if (!store_big()) complain("a value of 1 MiB", "it can't be stored", "");
    check_slow_reader(open);
    check_reply_beyond_the_limit(open);
    check_peers(open);
    check_crowd(open);
    printf("bad input: %u kinds, %u not answered as they should be\n", checked, bad);
    close(open);
    return bad != 0;
}
