/* redis_server_test_util.h - a redis-server of a test's own, on a private socket; its replies are read byte for byte.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Without one installed redis.fd stays -1. Include it in one file of a test program. */
#ifndef CAIRN_WIRE_RESP_REDIS_SERVER_TEST_UTIL_H
#define CAIRN_WIRE_RESP_REDIS_SERVER_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wire/resp/resp_reply.h"

static struct {
    pid_t pid;
    char dir[64], path[96];
    int fd, other; /* two connections */
} redis = {.pid = -1, .fd = -1, .other = -1};

static inline int redis_connect(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strncpy(a.sun_path, redis.path, sizeof a.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    close(fd);
    return -1;
}

/* cluster: in cluster mode, on a port of its own too. */
static inline bool redis_start(bool cluster)
{
    strcpy(redis.dir, "/tmp/cairn-compare-XXXXXX");
    if (mkdtemp(redis.dir) == NULL) return false;
    snprintf(redis.path, sizeof redis.path, "%s/s", redis.dir);
    redis.pid = fork();
    if (redis.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        char bus[16];
        snprintf(bus, sizeof bus, "%d", 20000 + getpid() % 20000);
        if (cluster)
            execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", redis.path, "--save", "",
                   "--appendonly", "no", "--dir", redis.dir, "--bind", "127.0.0.1", "--cluster-enabled", "yes",
                   "--cluster-port", bus, (char *)NULL);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", redis.path, "--save", "", "--appendonly",
               "no", "--dir", redis.dir, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1000; i++) {
        int status;
        if (waitpid(redis.pid, &status, WNOHANG) == redis.pid) {
            redis.pid = -1;
            return false;
        }
        redis.fd = redis_connect();
        if (redis.fd >= 0) {
            redis.other = redis_connect();
            return redis.other >= 0;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return false;
}

static inline void redis_stop(void)
{
    char path[128];
    if (redis.fd >= 0) close(redis.fd);
    if (redis.other >= 0) close(redis.other);
    if (redis.pid > 0) {
        kill(redis.pid, SIGKILL);
        waitpid(redis.pid, NULL, 0);
    }
    unlink(redis.path);
    snprintf(path, sizeof path, "%s/nodes.conf", redis.dir);
    unlink(path);
    rmdir(redis.dir);
    redis.pid = redis.fd = redis.other = -1;
}

static inline int group_teardown(void **state)
{
    redis_stop();
    return 0;
}

static inline int group_setup(void **state)
{
    if (!redis_start(false)) printf("redis-server does not start here: the comparison is skipped\n");
    return 0;
}

/* ---- the wire ---- */

static inline void send_command(int fd, const struct bytes *argv, size_t argc)
{
    struct buf out = {0};
    resp_put_array(&out, argc);
    for (size_t i = 0; i < argc; i++) resp_put_bulk(&out, argv[i]);
    for (size_t at = 0; at < out.n;) {
        ssize_t n = write(fd, out.p + at, out.n - at);
        if (n <= 0) fail_msg("redis-server is gone: %s", strerror(errno));
        at += (size_t)n;
    }
    buf_deinit(&out);
}

/* The length of the reply at the front; 0: incomplete. */
static inline size_t reply_length(struct bytes b)
{
    const uint8_t *end = b.n != 0 ? memchr(b.p, '\n', b.n) : NULL;
    if (end == NULL) return 0;
    size_t line = (size_t)(end - b.p) + 1;
    int64_t count = 0;
    if (strchr("$=*%~", b.p[0]) != NULL) assert_true(bytes_to_i64(bytes_of(b.p + 1, line - 3), &count));
    if (b.p[0] == '$' || b.p[0] == '=') {
        if (count < 0) return line;
        return line + (size_t)count + 2 <= b.n ? line + (size_t)count + 2 : 0;
    }
    if (b.p[0] == '%') count *= 2;
    for (int64_t i = 0; strchr("*%~", b.p[0]) != NULL && i < count; i++) {
        size_t n = reply_length(bytes_of(b.p + line, b.n - line));
        if (n == 0) return 0;
        line += n;
    }
    return line;
}

static inline void read_reply(int fd, struct buf *out)
{
    buf_clear(out);
    size_t want = 0;
    while (want == 0 || out->n < want) {
        buf_reserve(out, 65536);
        ssize_t n = read(fd, out->p + out->n, 65536);
        if (n <= 0) fail_msg("redis-server is gone: %s", strerror(errno));
        out->n += (size_t)n;
        want = reply_length(buf_view(out));
    }
    assert_int_equal(out->n, want);
}

static inline void ask(int fd, const struct bytes *argv, size_t argc, struct buf *out)
{
    send_command(fd, argv, argc);
    read_reply(fd, out);
}

#endif
