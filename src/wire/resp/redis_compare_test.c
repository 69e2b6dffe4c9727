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
#include <stdlib.h>
#include <time.h>

#include "model/kv_check.h"
#include "wire/resp/data_random_test_util.h"
#include "wire/resp/data_script_test_util.h"
#include "wire/resp/redis_server_test_util.h"
#include "wire/resp/resp_reply.h"

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

/* ---- what the scripts cover ---- */

enum { COVERED_SUCCESS = 1, COVERED_WRONG_TYPE = 2, COVERED_BAD_ARGUMENT = 4 };
static uint8_t covered[1024]; /* by the number of the command */

static size_t number_of(const struct command *wanted)
{
    const struct command *c;
    for (size_t at = 0; command_each(&at, &c);)
        if (c == wanted) return at - 1;
    fail_msg("no such command");
    return 0;
}

static void cover(const struct data_line *l, struct bytes theirs)
{
    const struct command *c = data_find(l->argv, l->argc);
    if (c == NULL || c->build == NULL) return;
    uint8_t *seen = &covered[number_of(c)];
    const char wrong_type[] = "-WRONGTYPE", arity[] = "-ERR wrong number";
    if (theirs.p[0] != '-') *seen |= COVERED_SUCCESS;
    else if (theirs.n > strlen(wrong_type) && memcmp(theirs.p, wrong_type, strlen(wrong_type)) == 0)
        *seen |= COVERED_WRONG_TYPE;
    else if (theirs.n < strlen(arity) || memcmp(theirs.p, arity, strlen(arity)) != 0) *seen |= COVERED_BAD_ARGUMENT;
}

static bool any_of(const char *name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(*names, name) == 0) return true;
    return false;
}

/* Each data command was compared in a success; with a key of the wrong type, if it cares for types; and with a bad argument, if
 * any of its arguments can be bad. Wrong numbers of arguments: redis_door_compare_test. */
static void test_scripts_cover_all(void **state)
{
    static const char *const every_type[] = {"copy",
                                             "del",
                                             "exists",
                                             "expire",
                                             "expireat",
                                             "expiretime",
                                             "object|encoding",
                                             "object|freq",
                                             "object|idletime",
                                             "object|refcount",
                                             "persist",
                                             "pexpire",
                                             "pexpireat",
                                             "pexpiretime",
                                             "pttl",
                                             "rename",
                                             "renamenx",
                                             "touch",
                                             "ttl",
                                             "type",
                                             "unlink",
                                             "set",
                                             "setex",
                                             "psetex",
                                             "setnx",
                                             "mset",
                                             "msetnx",
                                             "mget",
                                             "lcs" /* it has an error of its own for that */,
                                             NULL};
    static const char *const no_options[] = {"del",
                                             "exists",
                                             "touch",
                                             "unlink",
                                             "get",
                                             "getdel",
                                             "getset",
                                             "strlen",
                                             "append",
                                             "setnx",
                                             "mget",
                                             "mset",
                                             "msetnx",
                                             "persist",
                                             "ttl",
                                             "pttl",
                                             "expiretime",
                                             "pexpiretime",
                                             "type",
                                             "object|encoding",
                                             "object|freq",
                                             "object|refcount",
                                             "object|idletime",
                                             "hdel",
                                             "hexists",
                                             "hget",
                                             "hgetall",
                                             "hkeys",
                                             "hlen",
                                             "hmget",
                                             "hmset",
                                             "hset",
                                             "hsetnx",
                                             "hstrlen",
                                             "hvals",
                                             "keys",
                                             "dbsize",
                                             "randomkey",
                                             NULL};
    static const char *const elsewhere[] = {"flushall",  "flushdb", "dbsize", "keys",
                                            "randomkey", "scan",    NULL}; /* as above */
    const struct command *c;
    size_t missing = 0;
    if (redis.fd < 0) skip();
    for (size_t at = 0; command_each(&at, &c);) {
        if (c->build == NULL || any_of(c->name, elsewhere)) continue;
        uint8_t wanted = COVERED_SUCCESS;
        if (!any_of(c->name, every_type)) wanted |= COVERED_WRONG_TYPE;
        if (!any_of(c->name, no_options)) wanted |= COVERED_BAD_ARGUMENT;
        if ((covered[at - 1] & wanted) == wanted) continue;
        printf("not compared: %s%s%s%s\n", c->name, wanted & ~covered[at - 1] & COVERED_SUCCESS ? " success" : "",
               wanted & ~covered[at - 1] & COVERED_WRONG_TYPE ? " wrong-type" : "",
               wanted & ~covered[at - 1] & COVERED_BAD_ARGUMENT ? " bad-argument" : "");
        missing++;
    }
    assert_int_equal(missing, 0);
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
            cover(l, buf_view(&t->theirs));
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
                                       cmocka_unit_test(test_scripts_cover_all), cmocka_unit_test(test_resp2),
                                       cmocka_unit_test(test_resp3)};
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
