/* redis_compare_test.c - random data commands give the replies that a real Redis 7 gives, byte for byte.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The test starts its own redis-server on a private socket and ends it. Without one installed it is skipped. What is not
 * compared byte for byte: the order of hash fields and keys, answers that are random, times (within 5 s), and which of
 * two errors is told when a broken argument makes two possible.
 * REDIS_COMPARE_COUNT and REDIS_COMPARE_SEED in the environment change the number of commands and the seed. */
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

#include "model/kv_check.h"
#include "wire/resp/data_random_test_util.h"
#include "wire/resp/data_script_test_util.h"
#include "wire/resp/resp_reply.h"

static struct {
    pid_t pid;
    char dir[64], path[96];
    int fd, other; /* two connections */
} redis = {.pid = -1, .fd = -1, .other = -1};

static int redis_connect(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strncpy(a.sun_path, redis.path, sizeof a.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    close(fd);
    return -1;
}

static bool redis_start(void)
{
    strcpy(redis.dir, "/tmp/cairn-compare-XXXXXX");
    if (mkdtemp(redis.dir) == NULL) return false;
    snprintf(redis.path, sizeof redis.path, "%s/s", redis.dir);
    redis.pid = fork();
    if (redis.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
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

static int group_teardown(void **state)
{
    if (redis.pid > 0) {
        kill(redis.pid, SIGKILL);
        waitpid(redis.pid, NULL, 0);
    }
    unlink(redis.path);
    rmdir(redis.dir);
    return 0;
}

static int group_setup(void **state)
{
    if (!redis_start()) printf("redis-server does not start here: the comparison is skipped\n");
    return 0;
}

/* ---- the wire ---- */

static void send_command(int fd, const struct bytes *argv, size_t argc)
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
static size_t reply_length(struct bytes b)
{
    const uint8_t *end = b.n != 0 ? memchr(b.p, '\n', b.n) : NULL;
    if (end == NULL) return 0;
    size_t line = (size_t)(end - b.p) + 1;
    int64_t count = 0;
    if (strchr("$*%~", b.p[0]) != NULL) assert_true(bytes_to_i64(bytes_of(b.p + 1, line - 3), &count));
    if (b.p[0] == '$') {
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

static void read_reply(int fd, struct buf *out)
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

static void ask(int fd, const struct bytes *argv, size_t argc, struct buf *out)
{
    send_command(fd, argv, argc);
    read_reply(fd, out);
}

static void ask_line(int fd, const char *line, struct buf *out)
{
    struct buf text = {0};
    struct bytes argv[DATA_ARGS_MAX];
    size_t argc = data_split(line, &text, argv);
    ask(fd, argv, argc, out);
    buf_deinit(&text);
}

/* ---- comparing ---- */

static int compare_bytes(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* Takes an array's (or map's) elements, `per` at a time, sorted; the head line stays in front. */
static void sort_reply(struct buf *b, size_t per)
{
    static struct bytes parts[65536];
    size_t n = 0, at = 0, line = 0;
    if (b->n == 0 || strchr("*%~", b->p[0]) == NULL) return;
    for (at = line = (size_t)((uint8_t *)memchr(b->p, '\n', b->n) - b->p) + 1; at < b->n;) {
        size_t length = 0;
        for (size_t i = 0; i < per; i++) length += reply_length(bytes_of(b->p + at + length, b->n - at - length));
        parts[n++] = bytes_of(b->p + at, length);
        at += length;
    }
    qsort(parts, n, sizeof *parts, compare_bytes);
    struct buf sorted = {0};
    buf_put(&sorted, b->p, line);
    for (size_t i = 0; i < n; i++) buf_put_bytes(&sorted, parts[i]);
    buf_deinit(b);
    *b = sorted;
}

/* HSCAN's reply: what is sorted is the inner array. */
static void sort_scan(struct buf *b)
{
    if (b->n == 0 || b->p[0] != '*') return;
    size_t line = (size_t)((uint8_t *)memchr(b->p, '\n', b->n) - b->p) + 1;
    size_t cursor = reply_length(bytes_of(b->p + line, b->n - line));
    struct buf inner = {0};
    buf_put(&inner, b->p + line + cursor, b->n - line - cursor);
    sort_reply(&inner, 2);
    b->n = line + cursor;
    buf_put_bytes(b, buf_view(&inner));
    buf_deinit(&inner);
}

static bool same(const struct data_command *c, struct buf *theirs, struct buf *ours)
{
    int64_t a, b;
    if (c->corrupted && theirs->p[0] == '-') return ours->p[0] == '-';
    /* Some commands of Redis do not look at their options if the key is absent; ours always do. */
    if (c->corrupted && ours->p[0] == '-')
        return data_find(c->argv, c->argc)->flags & COMMAND_READONLY || (theirs->n <= 5 && theirs->p[0] != '+');
    switch (c->compare) {
    case COMPARE_TIME:
        if (theirs->p[0] != ':' || ours->p[0] != ':') break;
        bytes_to_i64(bytes_of(theirs->p + 1, theirs->n - 3), &a);
        bytes_to_i64(bytes_of(ours->p + 1, ours->n - 3), &b);
        return a < 0 || b < 0 ? a == b : llabs(a - b) <= 5000;
    case COMPARE_SHAPE:
        if (strchr("*$", theirs->p[0]) == NULL) break;
        if (theirs->p[0] != ours->p[0]) return false;
        if (theirs->p[0] == '$') return (theirs->p[1] == '-') == (ours->p[1] == '-');
        return memcmp(theirs->p, ours->p, (size_t)((uint8_t *)memchr(theirs->p, '\n', theirs->n) - theirs->p)) == 0;
    case COMPARE_ELEMENTS:
        sort_reply(theirs, 1);
        sort_reply(ours, 1);
        break;
    case COMPARE_PAIRS:
        if (bytes_equal_nocase(c->argv[0], "hscan")) {
            sort_scan(theirs);
            sort_scan(ours);
        } else {
            sort_reply(theirs, 2);
            sort_reply(ours, 2);
        }
        break;
    default: break;
    }
    return bytes_equal(buf_view(theirs), buf_view(ours));
}

static void print_bytes(const char *what, struct bytes b)
{
    printf("  %s (%zu bytes): ", what, b.n);
    for (size_t i = 0; i < MIN(b.n, 300); i++) {
        if (b.p[i] >= ' ' && b.p[i] < 127) putchar(b.p[i]);
        else printf("\\x%02x", b.p[i]);
    }
    printf("\n");
}

static void print_command(const struct data_command *c)
{
    printf("  command:");
    for (size_t i = 0; i < c->argc; i++) {
        if (c->argv[i].n > 60) printf(" (%zu bytes)", c->argv[i].n);
        else print_bytes("", c->argv[i]);
    }
    printf("\n");
}

/* ---- the comparison ---- */

struct compare {
    struct data data;
    struct rng rng;
    int proto;
    struct data_command command;
    struct buf theirs, ours, result;
    struct buf watches; /* lp key, u64 version */
    size_t watch_count;
};

static uint64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int64_t length_of(struct compare *t, struct bytes key)
{
    struct buf result = {0};
    struct result v;
    data_op(&t->data, KV_STRLEN, OP_READ, key, &result);
    struct reader r = reader_of(buf_view(&result));
    result_next(&r, &v);
    buf_deinit(&result);
    return v.tag == 'i' ? v.number : 0;
}

static void next_command(struct compare *t)
{
    do data_random(&t->command, &t->rng);
    while (t->command.argc >= 3 && bytes_equal_nocase(t->command.argv[0], "lcs") && /* the tables' limits differ */
           (length_of(t, t->command.argv[1]) > 1000 || length_of(t, t->command.argv[2]) > 1000));
}

static void print_difference(struct compare *t)
{
    size_t at = 0;
    while (at < MIN(t->theirs.n, t->ours.n) && t->theirs.p[at] == t->ours.p[at]) at++;
    printf("  they differ at byte %zu\n", at);
    size_t from = at > 40 ? at - 20 : 0;
    print_bytes("redis", bytes_of(t->theirs.p + from, MIN(t->theirs.n - from, 200)));
    print_bytes("cairn", bytes_of(t->ours.p + from, MIN(t->ours.n - from, 200)));
}

static void run_one(struct compare *t, uint64_t number)
{
    next_command(t);
    const struct data_command *c = &t->command;
    t->data.now_ms = wall_ms();
    ask(redis.fd, c->argv, c->argc, &t->theirs);
    buf_clear(&t->result);
    buf_clear(&t->ours);
    data_run(&t->data, c->argv, c->argc, &t->result);
    resp_put_result(&t->ours, t->proto, buf_view(&t->result));
    if (!same(c, &t->theirs, &t->ours)) {
        print_command(c);
        print_difference(t);
        fail_msg("command %llu differs", (unsigned long long)number);
    }
    if (c->argc < 2) return;
    /* What the key is now. */
    struct bytes get[2] = {BYTES_LIT("GET"), c->argv[c->argc > 3 && bytes_equal_nocase(c->argv[0], "bitop") ? 2 : 1]};
    ask(redis.fd, get, 2, &t->theirs);
    buf_clear(&t->result);
    buf_clear(&t->ours);
    data_run(&t->data, get, 2, &t->result);
    resp_put_result(&t->ours, t->proto, buf_view(&t->result));
    if (bytes_equal(buf_view(&t->theirs), buf_view(&t->ours))) return;
    print_command(c);
    print_difference(t);
    fail_msg("after command %llu the key differs", (unsigned long long)number);
}

/* MULTI … EXEC on both, perhaps with watches, perhaps with a write by another connection in between. */
static void run_multi(struct compare *t, uint64_t number)
{
    struct kv_watch watch[2];
    struct buf keys = {0}, body = {0}, ops = {0};
    size_t watches = rng_below(&t->rng, 3), count = rng_below(&t->rng, 5);
    uint8_t flags = 0;
    for (size_t i = 0; i < watches; i++) {
        static const char *const names[] = {"{t}a", "{t}b", "{t}c", "{t}d"};
        struct bytes argv[2] = {BYTES_LIT("WATCH"), bytes_str(names[rng_below(&t->rng, 4)])};
        ask(redis.fd, argv, 2, &t->theirs);
        buf_clear(&t->result);
        t->data.now_ms = wall_ms();
        data_op(&t->data, KV_VERSION, OP_READ, argv[1], &t->result);
        struct reader r = reader_of(buf_view(&t->result));
        struct result v;
        assert_true(result_next(&r, &v) && v.tag == 'i');
        watch[i] = (struct kv_watch){argv[1], (uint64_t)v.number};
    }
    if (watches != 0 && rng_chance(&t->rng, 2)) {
        struct bytes incr[3] = {BYTES_LIT("INCR"), BYTES_LIT("{t}a")};
        ask(redis.other, incr, 2, &t->theirs);
        buf_clear(&t->result);
        data_run(&t->data, incr, 2, &t->result);
    }
    ask_line(redis.fd, "MULTI", &t->theirs);
    size_t queued = 0;
    bool evaluate = false;
    for (size_t i = 0; i < count; i++) {
        do next_command(t);
        while (!t->command.multi_ok);
        struct buf op_body = {0};
        struct command_op op = {.body = &op_body};
        buf_clear(&t->result);
        if (data_build(&t->data, t->command.argv, t->command.argc, &op, &t->result)) {
            ask(redis.fd, t->command.argv, t->command.argc, &t->theirs);
            assert_true(bytes_equal(buf_view(&t->theirs), BYTES_LIT("+QUEUED\r\n")));
            kv_build_multi_op(&ops, op.opcode, op.flags, buf_view(&op_body));
            evaluate |= op.flags & OP_EVALUATE;
            queued++;
        }
        buf_deinit(&op_body);
    }
    kv_build_multi(&body, watch, watches, queued);
    buf_put_bytes(&body, buf_view(&ops));
    if (evaluate) flags = OP_EVALUATE;
    t->data.now_ms = wall_ms();
    ask_line(redis.fd, "EXEC", &t->theirs);
    buf_clear(&t->result);
    buf_clear(&t->ours);
    assert_int_equal(data_op(&t->data, KV_MULTI, flags, buf_view(&body), &t->result), ST_OK);
    resp_put_result(&t->ours, t->proto, buf_view(&t->result));
    if (!bytes_equal(buf_view(&t->theirs), buf_view(&t->ours))) {
        print_bytes("redis", buf_view(&t->theirs));
        print_bytes("cairn", buf_view(&t->ours));
        fail_msg("transaction %llu differs", (unsigned long long)number);
    }
    buf_deinit(&keys);
    buf_deinit(&body);
    buf_deinit(&ops);
}

/* What the leader does in the background: must never change a reply. */
static void housekeeping(struct compare *t)
{
    struct buf body = {0};
    buf_clear(&t->result);
    kv_build_find(&body, 0, 100);
    data_op(&t->data, KV_GARBAGE_FIND, OP_READ, buf_view(&body), &t->result);
    struct buf found = {0};
    buf_put_bytes(&found, buf_view(&t->result));
    struct reader r = reader_of(buf_view(&found));
    struct result head, next, list, slot, incarnation;
    assert_true(result_next(&r, &head) && result_next(&r, &next) && result_next(&r, &list) && list.tag == 'a');
    for (uint64_t i = 0; i < list.count / 2; i++) {
        assert_true(result_next(&r, &slot) && result_next(&r, &incarnation));
        buf_clear(&body);
        kv_build_clean(&body, (uint16_t)slot.number, (uint64_t)incarnation.number, 3);
        buf_clear(&t->result);
        data_op(&t->data, KV_CLEAN, 0, buf_view(&body), &t->result);
    }
    buf_deinit(&found);
    buf_deinit(&body);
    struct error err = {0};
    t->data.view.base.ts = t->data.clock.last;
    memory_view_inject(&t->data.view, 0, 0);
    if (kv_check(&t->data.view.base, &err) != ST_OK) fail_msg("%s", err.text);
    memory_view_inject(&t->data.view, 50, rng_next(&t->rng));
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s != NULL ? strtoull(s, NULL, 10) : otherwise;
}

static void compare_run(int proto, uint64_t seed, uint64_t count)
{
    struct compare *t = mem_zalloc(sizeof *t);
    data_init(&t->data, wall_ms());
    memory_view_inject(&t->data.view, 50, seed);
    rng_init(&t->rng, seed);
    t->proto = proto;
    ask_line(redis.fd, proto == 3 ? "HELLO 3" : "HELLO 2", &t->theirs);
    ask_line(redis.fd, "FLUSHALL", &t->theirs);
    for (uint64_t i = 0; i < count; i++) {
        if (rng_chance(&t->rng, 40)) run_multi(t, i);
        else run_one(t, i);
        if (i % 200 == 199) housekeeping(t);
    }
    printf("RESP%d: %llu commands, seed %llu: the same\n", proto, (unsigned long long)count, (unsigned long long)seed);
    data_deinit(&t->data);
    buf_deinit(&t->command.text);
    buf_deinit(&t->theirs);
    buf_deinit(&t->ours);
    buf_deinit(&t->result);
    mem_free(t);
}

/* Every line of the scripts gets the same answer from Redis, but for those marked as different. */
static void compare_scripts(int proto)
{
    static const char *const names[] = {"strings", "bits", "keys", "hashes"};
    struct compare *t = mem_zalloc(sizeof *t);
    size_t differ = 0;
    data_init(&t->data, wall_ms());
    ask_line(redis.fd, proto == 3 ? "HELLO 3" : "HELLO 2", &t->theirs);
    for (size_t f = 0; f < ARRAY_COUNT(names); f++) {
        struct data_script s;
        data_script_load(&s, names[f]);
        for (size_t i = 0; i < s.count; i++) {
            const struct data_line *l = &s.lines[i];
            if (l->argc == 0) continue;
            t->data.now_ms = wall_ms();
            buf_clear(&t->result);
            buf_clear(&t->ours);
            data_run(&t->data, l->argv, l->argc, &t->result);
            resp_put_result(&t->ours, proto, buf_view(&t->result));
            if (l->differs && data_find(l->argv, l->argc)->flags & COMMAND_WRITE) continue; /* states would part */
            ask(redis.fd, l->argv, l->argc, &t->theirs);
            struct data_command c = {.compare = COMPARE_EXACT};
            c.argv[0] = l->argv[0];
            if (bytes_equal_nocase(l->argv[0], "hgetall")) c.compare = COMPARE_PAIRS;
            if (bytes_equal_nocase(l->argv[0], "keys")) c.compare = COMPARE_ELEMENTS;
            if (same(&c, &t->theirs, &t->ours) != l->differs) continue;
            printf("%s line %zu: %s%s\n", names[f], i + 1, l->source, l->differs ? " is the same" : "");
            print_bytes("redis", buf_view(&t->theirs));
            print_bytes("cairn", buf_view(&t->ours));
            differ++;
        }
        data_script_free(&s);
    }
    data_deinit(&t->data);
    buf_deinit(&t->theirs);
    buf_deinit(&t->ours);
    buf_deinit(&t->result);
    mem_free(t);
    assert_int_equal(differ, 0);
}

static void test_scripts_resp2(void **state)
{
    if (redis.fd < 0) skip();
    compare_scripts(2);
}

static void test_scripts_resp3(void **state)
{
    if (redis.fd < 0) skip();
    compare_scripts(3);
}

static void test_resp2(void **state)
{
    if (redis.fd < 0) skip();
    compare_run(2, setting("REDIS_COMPARE_SEED", 1), setting("REDIS_COMPARE_COUNT", 5000));
}

static void test_resp3(void **state)
{
    if (redis.fd < 0) skip();
    compare_run(3, setting("REDIS_COMPARE_SEED", 2), setting("REDIS_COMPARE_COUNT", 5000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scripts_resp2), cmocka_unit_test(test_scripts_resp3),
                                       cmocka_unit_test(test_resp2), cmocka_unit_test(test_resp3)};
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
