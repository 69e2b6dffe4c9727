/* redis_door_compare_test.c - whole connections answer as a real Redis 7 does: the commands of the door, data commands on their
 * way through it, and wrong numbers of arguments of all.
 * SPDX-License-Identifier: Apache-2.0
 *
 * testdata/redis_compare has a command a line; cluster.txt is for a server in cluster mode. Before a command may stand
 *     ~    compare the shape only: types and lengths of arrays and maps, not texts and numbers; of errors, the code
 *     %    the elements are in no order; as pairs where the reply is one of pairs
 *     !    differs, as docs/redis-compatibility.md says (the test fails if it does not)
 *     @N   connection N of two (default 1)
 * The test starts its own redis-server; without one installed it is skipped. */
#include "env/fake_env_test_util.h"
#include "session/fake_gate_test_util.h"
#include "wire/resp/data_script_test_util.h"
#include "wire/resp/redis_server_test_util.h"
#include "wire/resp/resp_conn.h"
#include "wire/resp/resp_internal.h"

enum { CLIENTS = 2 };

struct bed {
    struct fake_env env;
    struct gate gate;
    struct resp_door *door;
    struct fake_stream *clients[CLIENTS];
    int fds[CLIENTS];
    struct buf theirs, ours;
};

static uint64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void bed_init(struct bed *b, bool cluster)
{
    struct resp_door_config config;
    *b = (struct bed){.fds = {redis.fd, redis.other}};
    fake_env_init(&b->env);
    fake_gate_init(&b->gate, &b->env.loop, 1);
    resp_door_config_init(&config);
    config.gate = &b->gate;
    config.redirects = cluster;
    b->gate.one_replica = true;
    strcpy(config.laddr, "127.0.0.1:7001");
    b->door = resp_door_new(&config);
    for (size_t i = 0; i < CLIENTS; i++) {
        b->clients[i] = fake_stream_new(&b->env);
        resp_conn_new(b->door, &b->clients[i]->stream, bytes_of(NULL, 0));
    }
}

static void bed_deinit(struct bed *b)
{
    resp_door_close_all(b->door);
    fake_gate_answer_all(&b->gate);
    fake_settle(&b->env);
    resp_door_free(b->door);
    for (size_t i = 0; i < CLIENTS; i++) fake_stream_free(b->clients[i]);
    fake_gate_deinit(&b->gate);
    buf_deinit(&b->theirs);
    buf_deinit(&b->ours);
}

/* Both answer. */
static void ask_both(struct bed *b, size_t client, const struct bytes *argv, size_t argc)
{
    struct buf command = {0};
    struct fake_stream *s = b->clients[client];
    resp_put_array(&command, argc);
    for (size_t i = 0; i < argc; i++) resp_put_bulk(&command, argv[i]);
    uint64_t now = wall_ms();
    b->env.wall_ms = now;
    b->gate.ts = MAX(b->gate.ts, hlc_from_ms(now));
    fake_receive(s, buf_view(&command));
    for (unsigned i = 0; i < 100 && (b->gate.waiting_count != 0 || !list_empty(&b->env.deferred)); i++) {
        fake_gate_answer_all(&b->gate);
        fake_settle(&b->env);
    }
    buf_deinit(&command);
    buf_clear(&b->ours);
    buf_put_bytes(&b->ours, buf_view(&s->sent));
    buf_clear(&s->sent);
    send_command(b->fds[client], argv, argc);
    read_reply(b->fds[client], &b->theirs);
    if (reply_length(buf_view(&b->ours)) != b->ours.n)
        fail_msg("not one reply: %.*s", (int)b->ours.n, (char *)b->ours.p);
}

/* ---- comparing ---- */

/* One reply without its texts and numbers: of a bulk string its type, of an error its code; arrays and maps as they are. */
static size_t put_shape(struct bytes b, struct buf *out)
{
    size_t whole = reply_length(b), line = (size_t)((const uint8_t *)memchr(b.p, '\n', b.n) - b.p) + 1;
    int64_t count;
    buf_put_u8(out, b.p[0]);
    if (b.p[0] == '-') {
        for (size_t i = 1; i < line - 2 && b.p[i] != ' '; i++) buf_put_u8(out, b.p[i]);
    } else if (strchr("*%~", b.p[0]) != NULL) {
        assert_true(bytes_to_i64(bytes_of(b.p + 1, line - 3), &count));
        buf_printf(out, "%lld(", (long long)count);
        if (b.p[0] == '%') count *= 2;
        for (int64_t i = 0; i < count; i++) line += put_shape(bytes_of(b.p + line, b.n - line), out);
        buf_put_u8(out, ')');
    } else if (b.p[0] == '$' && b.p[1] == '-') {
        buf_put_u8(out, '-');
    }
    return whole;
}

static int compare_bytes(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static void sort_elements(struct buf *b, size_t per)
{
    static struct bytes parts[4096];
    size_t n = 0, line;
    if (strchr("*%~", b->p[0]) == NULL) return;
    line = (size_t)((uint8_t *)memchr(b->p, '\n', b->n) - b->p) + 1;
    for (size_t at = line; at < b->n;) {
        size_t length = 0;
        for (size_t i = 0; i < per; i++) length += reply_length(bytes_of(b->p + at + length, b->n - at - length));
        assert_true(n < ARRAY_COUNT(parts));
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

static bool same(struct bed *b, bool shape, bool sorted)
{
    if (shape) {
        struct buf x = {0}, y = {0};
        put_shape(buf_view(&b->theirs), &x);
        put_shape(buf_view(&b->ours), &y);
        bool equal = bytes_equal(buf_view(&x), buf_view(&y));
        buf_deinit(&x);
        buf_deinit(&y);
        return equal;
    }
    if (sorted) {
        sort_elements(&b->theirs, b->theirs.p[0] == '%' ? 2 : 1);
        sort_elements(&b->ours, b->ours.p[0] == '%' ? 2 : 1);
    }
    return bytes_equal(buf_view(&b->theirs), buf_view(&b->ours));
}

static void print_bytes(const char *what, struct bytes b)
{
    printf("  %s (%zu bytes): ", what, b.n);
    for (size_t i = 0; i < MIN(b.n, 400); i++) {
        if (b.p[i] >= ' ' && b.p[i] < 127) putchar(b.p[i]);
        else printf("\\x%02x", b.p[i]);
    }
    printf("\n");
}

/* ---- coverage: each command of the door in a success and, where there are arguments, an error ---- */

enum { SUCCESS = 1, FAILURE = 2 };
static uint8_t covered[1024];

static void cover(const struct bytes *argv, size_t argc, struct bytes reply)
{
    struct buf ignored = {0};
    const struct command *command = resp_command_lookup(argv, argc, &ignored), *c;
    buf_deinit(&ignored);
    for (size_t at = 0; command != NULL && command_each(&at, &c);)
        if (c == command) covered[at - 1] |= reply.p[0] == '-' ? FAILURE : SUCCESS;
}

static void test_commands_cover_the_door(void **state)
{
    if (redis.fd < 0) skip();
    static const char *const none[] = {
        "quit",           "client",          "config",      "cluster",   "object", /* it closes; containers */
        "client|setinfo", "client|no-touch", "client|capa", "config|set"};         /* later; no such settings */
    size_t missing = 0;
    const struct command *c;
    for (size_t at = 0; command_each(&at, &c);) {
        bool exempt = c->scope != SCOPE_DOOR;
        for (size_t i = 0; i < ARRAY_COUNT(none); i++) exempt = exempt || strcmp(c->name, none[i]) == 0;
        static const char *const always_refused[] = {
            "client|pause",   "client|caching", "client|unblock",
            "config|rewrite", "cluster|links",  "cluster|replicas" /* of a node that is not there */};
        bool refused = false;
        for (size_t i = 0; i < ARRAY_COUNT(always_refused); i++)
            refused = refused || strcmp(c->name, always_refused[i]) == 0;
        bool no_arguments = c->arity == 1 || (c->arity == 2 && strchr(c->name, '|') != NULL);
        uint8_t wanted = refused ? FAILURE : no_arguments ? SUCCESS : SUCCESS | FAILURE;
        static const char *const never_refused[] = {"echo",         "ping",         "watch", "command",
                                                    "command|info", "command|docs", "info",  "cluster|keyslot",
                                                    "config|get"};
        bool cannot_fail = false;
        for (size_t i = 0; i < ARRAY_COUNT(never_refused); i++)
            cannot_fail = cannot_fail || strcmp(c->name, never_refused[i]) == 0;
        if (cannot_fail) wanted = SUCCESS;
        if (exempt || (covered[at - 1] & wanted) == wanted) continue;
        printf("not compared: %s%s%s\n", c->name, wanted & ~covered[at - 1] & SUCCESS ? " success" : "",
               wanted & ~covered[at - 1] & FAILURE ? " failure" : "");
        missing++;
    }
    assert_int_equal(missing, 0);
}

/* ---- the script ---- */

static void run_script(struct bed *b, const char *name, size_t *differ)
{
    char path[128], line[4096];
    snprintf(path, sizeof path, "testdata/redis_compare/%s.txt", name);
    FILE *f = fopen(path, "r");
    if (f == NULL) fail_msg("no script '%s'", path);
    for (size_t number = 1; fgets(line, sizeof line, f) != NULL; number++) {
        const char *p = line;
        bool shape = false, sorted = false, differs = false;
        size_t client = 0;
        line[strcspn(line, "\n")] = 0;
        for (; *p == '~' || *p == '%' || *p == '!' || *p == '@' || *p == ' '; p++) {
            shape = shape || *p == '~';
            sorted = sorted || *p == '%';
            differs = differs || *p == '!';
            if (*p == '@') client = (size_t)(*++p - '1');
        }
        if (*p == 0 || *p == '#') continue;
        assert_true(client < CLIENTS);
        struct buf words = {0};
        struct bytes argv[DATA_ARGS_MAX];
        size_t argc = data_split(p, &words, argv);
        ask_both(b, client, argv, argc);
        cover(argv, argc, buf_view(&b->ours));
        if (same(b, shape, sorted) == differs) {
            printf("line %zu: %s%s\n", number, line, differs ? " is the same" : "");
            print_bytes("redis", buf_view(&b->theirs));
            print_bytes("cairn", buf_view(&b->ours));
            ++*differ;
        }
        buf_deinit(&words);
    }
    fclose(f);
}

static void compare_script(const char *name, const char *hello)
{
    struct bed b;
    size_t differ = 0;
    if (redis.fd < 0) skip();
    bed_init(&b, strcmp(name, "cluster") == 0);
    struct bytes flush[] = {BYTES_LIT("FLUSHALL")};
    for (size_t i = 0; i < CLIENTS; i++) {
        struct bytes argv[] = {BYTES_LIT("HELLO"), bytes_str(hello)};
        ask_both(&b, i, argv, 2);
    }
    ask_both(&b, 0, flush, 1);
    run_script(&b, name, &differ);
    bed_deinit(&b);
    assert_int_equal(differ, 0);
}

static void test_script_resp2(void **state) { compare_script("commands", "2"); }
static void test_script_resp3(void **state) { compare_script("commands", "3"); }

/* Against a server in cluster mode that has all slots. */
static int cluster_setup(void **state)
{
    struct buf reply = {0};
    struct bytes add[] = {BYTES_LIT("CLUSTER"), BYTES_LIT("ADDSLOTSRANGE"), BYTES_LIT("0"), BYTES_LIT("16383")};
    struct bytes set[] = {BYTES_LIT("SET"), BYTES_LIT("a"), BYTES_LIT("1")};
    if (redis.fd < 0) return 0;
    redis_stop();
    if (!redis_start(true)) return -1;
    ask(redis.fd, add, 4, &reply);
    for (int i = 0; i < 1000; i++) { /* until it says that the cluster is whole */
        ask(redis.fd, set, 3, &reply);
        if (reply.p[0] == '+') break;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    buf_deinit(&reply);
    return 0;
}

static void test_cluster_resp2(void **state) { compare_script("cluster", "2"); }
static void test_cluster_resp3(void **state) { compare_script("cluster", "3"); }

/* ---- wrong numbers of arguments, of every command ---- */

/* Redis 7.0 does not know these. */
static bool later_than_redis(const char *name)
{
    static const char *const names[] = {"client|setinfo", "client|no-touch", "client|capa"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

static size_t compare_count(struct bed *b, const struct command *c, size_t argc)
{
    struct bytes argv[16];
    size_t words = 1, n = strcspn(c->name, "|");
    argv[0] = bytes_of(c->name, n);
    if (c->name[n] == '|') argv[words++] = bytes_str(c->name + n + 1);
    if (argc < words || argc > ARRAY_COUNT(argv)) return 0;
    for (size_t i = words; i < argc; i++) argv[i] = BYTES_LIT("1");
    ask_both(b, 0, argv, argc);
    if (bytes_equal(buf_view(&b->theirs), buf_view(&b->ours))) return 0;
    printf("%s with %zu words\n", c->name, argc);
    print_bytes("redis", buf_view(&b->theirs));
    print_bytes("cairn", buf_view(&b->ours));
    return 1;
}

static void test_wrong_numbers_of_arguments(void **state)
{
    struct bed b;
    const struct command *c;
    size_t differ = 0;
    if (redis.fd < 0) skip();
    bed_init(&b, false);
    struct bytes hello[] = {BYTES_LIT("HELLO"), BYTES_LIT("2")};
    ask_both(&b, 0, hello, 2);
    for (size_t at = 0; command_each(&at, &c);) {
        if (later_than_redis(c->name)) continue;
        size_t least = (size_t)(c->arity < 0 ? -c->arity : c->arity);
        if (least > 1) differ += compare_count(&b, c, least - 1);
        if (c->arity > 0) differ += compare_count(&b, c, least + 1);
        if (c->arity > 0) differ += compare_count(&b, c, least + 2);
    }
    bed_deinit(&b);
    assert_int_equal(differ, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_script_resp2),
                                       cmocka_unit_test(test_script_resp3),
                                       cmocka_unit_test(test_wrong_numbers_of_arguments),
                                       cmocka_unit_test_setup(test_cluster_resp2, cluster_setup),
                                       cmocka_unit_test(test_cluster_resp3),
                                       cmocka_unit_test(test_commands_cover_the_door)};
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
