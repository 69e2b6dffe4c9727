/* port_test.c - each protocol is known by its first bytes however they are cut; pools, limits and time-outs hold.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/diag.h"
#include "env/fake_env.h"
#include "mesh/mesh_frame.h"
#include "wire/port.h"
#include "wire/port_detect.h"

/* ---- telling protocols apart ---- */

static const struct {
    struct bytes first;
    enum port_verdict verdict;
    size_t after; /* bytes after which it is known */
} rows[] = {
    {BYTES_LIT("*1\r\n$4\r\nPING\r\n"), DETECT_RESP, 1},
    {BYTES_LIT("PING\r\n"), DETECT_RESP, 6},
    {BYTES_LIT("PING\n"), DETECT_RESP, 5},
    {BYTES_LIT("\r\n"), DETECT_RESP, 2},
    {BYTES_LIT("\n"), DETECT_RESP, 1},
    {BYTES_LIT("SET a \" HTTP/1.1\"\r\n"), DETECT_RESP, 19},
    {BYTES_LIT("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), DETECT_HTTP, 16},
    {BYTES_LIT("GET / HTTP/1.0\n\n"), DETECT_HTTP, 15},
    {BYTES_LIT("get x HTTP/1.9\r\n"), DETECT_HTTP, 16},
    {BYTES_LIT("GET / HTTP/1.x\r\n"), DETECT_RESP, 16},
    {BYTES_LIT("GET / HTTP/2.0\r\n"), DETECT_RESP, 16},
    {BYTES_LIT(" HTTP/1.1\r\n"), DETECT_HTTP, 11},
    {BYTES_LIT("HTTP/1.1\r\n"), DETECT_RESP, 10},
    {BYTES_LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), DETECT_HTTP2, 4},
    {BYTES_LIT("PRICE\r\n"), DETECT_RESP, 7},
    {BYTES_LIT("PRI\r\n"), DETECT_RESP, 5},
    {BYTES_LIT("PUT /a HTTP/1.1\r\n"), DETECT_HTTP, 17},
    {BYTES_LIT("\x16\x03\x01\x02\x00\x01"), DETECT_TLS, 2},
    {BYTES_LIT("\x16\x04\n"), DETECT_RESP, 3},
    {BYTES_LIT("\0\0\0\x08\x04\xd2\x16\x2f"), DETECT_POSTGRES, 8},
    {BYTES_LIT("\0\0\0\x08\x04\xd2\x16\x30"), DETECT_POSTGRES, 8},
    {BYTES_LIT("\0\0\0\x25\0\3\0\0user"), DETECT_POSTGRES, 8},
    {BYTES_LIT("\0\0\0\x08\x04\xd2\x16\x31\n"), DETECT_RESP, 9},
    {BYTES_LIT("\0a\n"), DETECT_RESP, 3},
    {BYTES_LIT("CAIRNMSH"), DETECT_MESH, 8},
    {BYTES_LIT("CAIRNMSH and a hello"), DETECT_MESH, 8},
    {BYTES_LIT("CAIRNMSX\n"), DETECT_RESP, 9},
    {BYTES_LIT("CAI\n"), DETECT_RESP, 4},
};

static void test_each_protocol_at_each_byte(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        for (size_t n = 0; n <= rows[i].first.n; n++) {
            void *copy = mem_copy(rows[i].first.p, n); /* of its exact size */
            enum port_verdict v = port_detect(bytes_of(copy, n));
            mem_free(copy);
            if (v != (n < rows[i].after ? DETECT_MORE : rows[i].verdict))
                fail_msg("row %zu after %zu bytes: %d", i, n, v);
        }
    }
}

static void test_long_lines(void **state)
{
    static const struct {
        const char *begin;
        size_t newline_at; /* 0: none */
        enum port_verdict verdict;
    } lines[] = {
        {"GET /", PORT_LINE_MAX - 1, DETECT_RESP},
        {"GET /", PORT_LINE_MAX, DETECT_LONG_HTTP},
        {"GET /", 0, DETECT_LONG_HTTP},
        {"OPTIONS *", 0, DETECT_LONG_HTTP},
        {"SET x", 0, DETECT_LONG},
        {"aaaaaaaaaaa", 0, DETECT_LONG},
    };
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        uint8_t b[PORT_LINE_MAX + 10];
        memset(b, 'x', sizeof b);
        memcpy(b, lines[i].begin, strlen(lines[i].begin));
        if (lines[i].newline_at > 0) b[lines[i].newline_at] = '\n';
        assert_int_equal(port_detect(bytes_of(b, PORT_LINE_MAX - 1)), DETECT_MORE);
        assert_int_equal(port_detect(bytes_of(b, PORT_LINE_MAX)), lines[i].verdict);
        assert_int_equal(port_detect(bytes_of(b, sizeof b)), lines[i].verdict);
    }
}

/* ---- the port ---- */

struct bench {
    struct fake_env *f;
    struct env_loop *loop;
    struct port *port;
    struct env_stream *taken[PORT_CLASSES][64];
    size_t taken_count[PORT_CLASSES];
    struct buf first[PORT_CLASSES];
    struct buf log;
};

static void door_closed(struct env_stream *s, void *ctx, enum status st, const char *text) {}
static void door_data(struct env_stream *s, void *ctx, struct bytes data) { buf_put_bytes(ctx, data); }
static const struct env_stream_events door_events = {.data = door_data, .closed = door_closed};

static void take(struct bench *b, enum port_class class, struct env_stream *s, struct bytes first)
{
    buf_put_bytes(&b->first[class], first);
    b->taken[class][b->taken_count[class]++] = s;
    env_stream_set_events(s, &door_events, &b->first[class]);
}
static void take_resp(void *ctx, struct env_stream *s, struct bytes first) { take(ctx, PORT_RESP, s, first); }
static void take_http(void *ctx, struct env_stream *s, struct bytes first) { take(ctx, PORT_HTTP, s, first); }
static void take_mesh(void *ctx, struct env_stream *s, struct bytes first) { take(ctx, PORT_MESH, s, first); }

static void log_line(void *ctx, enum diag_level level, const char *line) { buf_printf(ctx, "%s\n", line); }

static struct bench *bench_new(void)
{
    struct bench *b = mem_zalloc(sizeof *b);
    b->f = fake_env_new();
    b->loop = fake_loop_new(b->f);
    struct port_options o = {.loop = b->loop,
                             .address = "p:1",
                             .unidentified_max = 8,
                             .clients_max = 3,
                             .http_max = 2,
                             .peers_max = 2,
                             .identify_ns = 5 * NS_PER_S,
                             .resp = take_resp,
                             .http = take_http,
                             .mesh = take_mesh,
                             .ctx = b};
    assert_int_equal(port_open(&o, &b->port, NULL), ST_OK);
    assert_int_equal(port_number(b->port), 1);
    diag_set_sink(log_line, &b->log, DIAG_INFO);
    return b;
}

static void bench_free(struct bench *b)
{
    if (b->port != NULL) {
        struct port *p = b->port;
        for (enum port_class c = 0; c < PORT_CLASSES; c++)
            for (size_t i = 0; i < b->taken_count[c]; i++) port_left(p, c);
        port_close(p);
    }
    for (enum port_class c = 0; c < PORT_CLASSES; c++) buf_deinit(&b->first[c]);
    fake_env_free(b->f);
    diag_set_sink(NULL, NULL, DIAG_INFO);
    buf_deinit(&b->log);
    mem_free(b);
}

static struct port_stats stats(const struct bench *b)
{
    struct port_stats s;
    port_stats(b->port, &s);
    return s;
}

static void test_hands_over_with_every_byte(void **state)
{
    static const struct {
        struct bytes text;
        enum port_class class;
    } table[] = {
        {BYTES_LIT("*1\r\n$4\r\nPING\r\n"), PORT_RESP},
        {BYTES_LIT("PING\r\nPING\r\n"), PORT_RESP},
        {BYTES_LIT("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), PORT_HTTP},
        {BYTES_LIT("CAIRNMSHrest of it"), PORT_MESH},
    };
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        for (size_t cut = 0; cut <= table[i].text.n; cut++) { /* two writes, cut there */
            struct bench *b = bench_new();
            struct fake_client c;
            fake_client_connect(&c, b->loop, "p:1");
            fake_run(b->f);
            assert_int_equal(stats(b).unidentified, 1);
            env_stream_write(c.s, bytes_of(table[i].text.p, cut));
            fake_run(b->f);
            env_stream_write(c.s, bytes_of(table[i].text.p + cut, table[i].text.n - cut));
            fake_run(b->f);
            assert_int_equal(b->taken_count[table[i].class], 1);
            assert_true(bytes_equal(buf_view(&b->first[table[i].class]), table[i].text));
            assert_int_equal(stats(b).open[table[i].class], 1);
            assert_int_equal(stats(b).unidentified, 0);
            fake_advance(b->f, 100 * NS_PER_S); /* the port has let go of it */
            assert_false(c.ended);
            fake_client_free(&c);
            bench_free(b);
        }
    }
}

static void test_answers_to_the_uninvited(void **state)
{
    static const struct {
        struct bytes text, answer;
        const char *log;
    } table[] = {
        {BYTES_LIT("\x16\x03\x01\x02\x00\x01"), BYTES_LIT("\x15\3\1\0\2\2\x28"), "TLS is not offered"},
        {BYTES_LIT("\0\0\0\x08\x04\xd2\x16\x2f"), BYTES_LIT("N"), "PostgreSQL protocol is not offered"},
        {BYTES_LIT("\0\0\0\x25\0\3\0\0user"), BYTES_LIT(""), "PostgreSQL protocol is not offered"},
        {BYTES_LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
         BYTES_LIT("\0\0\0\4\0\0\0\0\0\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\r"), "HTTP/2 is not offered"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        struct bench *b = bench_new();
        struct fake_client c;
        fake_client_connect(&c, b->loop, "p:1");
        env_stream_write(c.s, table[i].text);
        fake_run(b->f);
        assert_true(c.ended);
        assert_true(bytes_equal(buf_view(&c.got), table[i].answer));
        buf_put_u8(&b->log, 0);
        assert_non_null(strstr((char *)b->log.p, table[i].log));
        fake_client_free(&c);
        bench_free(b);
    }
}

static void test_too_long_a_first_line(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c[2];
    uint8_t x[PORT_LINE_MAX];
    memset(x, 'x', sizeof x);
    for (int i = 0; i < 2; i++) {
        fake_client_connect(&c[i], b->loop, "p:1");
        env_stream_write(c[i].s, i == 0 ? BYTES_LIT("GET /") : BYTES_LIT("SET "));
        env_stream_write(c[i].s, bytes_of(x, sizeof x));
    }
    fake_run(b->f);
    assert_true(c[0].ended && c[1].ended);
    buf_put_u8(&c[0].got, 0);
    assert_ptr_equal(strstr((char *)c[0].got.p, "HTTP/1.1 414 "), c[0].got.p);
    assert_true(bytes_equal(buf_view(&c[1].got), BYTES_LIT("-ERR Protocol error: too big inline request\r\n")));
    for (int i = 0; i < 2; i++) fake_client_free(&c[i]);
    bench_free(b);
}

static void test_limits_of_each_class(void **state)
{
    static const struct {
        struct bytes text, refusal;
        size_t max;
    } table[PORT_CLASSES] = {
        [PORT_RESP] = {BYTES_LIT("*1\r\n"), BYTES_LIT("-ERR max number of clients reached\r\n"), 3},
        [PORT_HTTP] = {BYTES_LIT("GET / HTTP/1.1\r\n"), BYTES_LIT("HTTP/1.1 503 Service Unavailable\r\n"), 2},
        [PORT_MESH] = {BYTES_LIT(MESH_MAGIC), BYTES_LIT(""), 2},
    };
    struct bench *b = bench_new();
    struct fake_client c[PORT_CLASSES][6];
    for (enum port_class k = 0; k < PORT_CLASSES; k++) { /* clients at their limit take nothing from the others */
        for (size_t i = 0; i < 6; i++) {
            fake_client_connect(&c[k][i], b->loop, "p:1");
            env_stream_write(c[k][i].s, table[k].text);
            fake_run(b->f);
            assert_int_equal(c[k][i].ended, i >= table[k].max);
            if (i < table[k].max) continue;
            assert_true(c[k][i].got.n >= table[k].refusal.n);
            assert_true(bytes_equal(bytes_of(c[k][i].got.p, table[k].refusal.n), table[k].refusal));
        }
        assert_int_equal(stats(b).open[k], table[k].max);
        assert_int_equal(stats(b).refused[k], 6 - table[k].max);
    }
    struct mesh_frame f; /* peers are told in frames */
    assert_int_equal(mesh_frame_decode(buf_view(&c[PORT_MESH][5].got), true, &f, NULL), ST_OK);
    assert_int_equal(f.kind, MESH_REFUSE);
    /* One leaves, one may come. */
    env_stream_close(b->taken[PORT_RESP][--b->taken_count[PORT_RESP]]);
    port_left(b->port, PORT_RESP);
    fake_client_free(&c[PORT_RESP][5]);
    fake_client_connect(&c[PORT_RESP][5], b->loop, "p:1");
    env_stream_write(c[PORT_RESP][5].s, table[PORT_RESP].text);
    fake_run(b->f);
    assert_false(c[PORT_RESP][5].ended);
    for (enum port_class k = 0; k < PORT_CLASSES; k++)
        for (size_t i = 0; i < 6; i++) fake_client_free(&c[k][i]);
    bench_free(b);
}

static void test_silence_times_out(void **state)
{
    struct bench *b = bench_new();
    struct fake_client silent, slow, late;
    fake_client_connect(&silent, b->loop, "p:1");
    fake_client_connect(&slow, b->loop, "p:1");
    for (int i = 0; i < 49; i++) { /* a byte now and then buys no time */
        fake_advance(b->f, NS_PER_S / 10);
        env_stream_write(slow.s, BYTES_LIT("x"));
    }
    fake_client_connect(&late, b->loop, "p:1");
    fake_run(b->f);
    assert_false(silent.ended || slow.ended);
    fake_advance(b->f, NS_PER_S / 10);
    assert_true(silent.ended && slow.ended && !late.ended);
    assert_int_equal(stats(b).identify_timeouts, 2);
    fake_advance(b->f, 5 * NS_PER_S);
    assert_true(late.ended);
    assert_int_equal(stats(b).unidentified, 0);
    fake_client_free(&silent);
    fake_client_free(&slow);
    fake_client_free(&late);
    bench_free(b);
}

static void test_thousands_of_silent_connections(void **state)
{
    enum { COUNT = 5000 };
    struct bench *b = bench_new();
    struct fake_client *c = mem_zalloc(COUNT * sizeof *c), honest;
    size_t open = 0;
    for (size_t i = 0; i < COUNT; i++) fake_client_connect(&c[i], b->loop, "p:1");
    fake_run(b->f);
    for (size_t i = 0; i < COUNT; i++) open += !c[i].ended;
    assert_int_equal(open, 8);
    assert_int_equal(stats(b).unidentified, 8);
    assert_int_equal(stats(b).refused_unidentified, COUNT - 8);
    fake_client_connect(&honest, b->loop, "p:1"); /* is served although the pool is full */
    env_stream_write(honest.s, BYTES_LIT("PING\r\n"));
    fake_run(b->f);
    assert_int_equal(b->taken_count[PORT_RESP], 1);
    assert_false(honest.ended);
    for (size_t i = 0; i < COUNT; i++) fake_client_free(&c[i]);
    fake_client_free(&honest);
    fake_run(b->f);
    assert_int_equal(stats(b).unidentified, 0);
    mem_free(c);
    bench_free(b);
}

static void test_the_log_is_not_flooded(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    size_t lines = 0;
    for (int i = 0; i < 1000; i++) {
        fake_client_connect(&c, b->loop, "p:1");
        env_stream_write(c.s, BYTES_LIT("\x16\x03"));
        fake_run(b->f);
        fake_client_free(&c);
    }
    fake_advance(b->f, 2 * NS_PER_S);
    fake_client_connect(&c, b->loop, "p:1");
    env_stream_write(c.s, BYTES_LIT("\x16\x03"));
    fake_run(b->f);
    fake_client_free(&c);
    for (size_t i = 0; i < b->log.n; i++) lines += b->log.p[i] == '\n';
    assert_int_equal(lines, 2);
    buf_put_u8(&b->log, 0);
    assert_non_null(strstr((char *)b->log.p, "more_like_it=999"));
    bench_free(b);
}

static void test_close_keeps_what_was_handed_over(void **state)
{
    struct bench *b = bench_new();
    struct fake_client taken, waiting, after;
    fake_client_connect(&taken, b->loop, "p:1");
    env_stream_write(taken.s, BYTES_LIT("*"));
    fake_client_connect(&waiting, b->loop, "p:1");
    fake_run(b->f);
    port_close(b->port);
    b->port = NULL;
    fake_client_connect(&after, b->loop, "p:1");
    fake_run(b->f);
    assert_true(waiting.ended && after.ended && !taken.ended);
    env_stream_close(b->taken[PORT_RESP][0]);
    port_left(b->port, PORT_RESP); /* nobody counts any more */
    fake_run(b->f);
    assert_true(taken.ended);
    fake_client_free(&taken);
    fake_client_free(&waiting);
    fake_client_free(&after);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_protocol_at_each_byte), cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_hands_over_with_every_byte), cmocka_unit_test(test_answers_to_the_uninvited),
        cmocka_unit_test(test_too_long_a_first_line),      cmocka_unit_test(test_limits_of_each_class),
        cmocka_unit_test(test_silence_times_out),          cmocka_unit_test(test_thousands_of_silent_connections),
        cmocka_unit_test(test_the_log_is_not_flooded),     cmocka_unit_test(test_close_keeps_what_was_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
