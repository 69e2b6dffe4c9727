/* http_test.c - requests however they are cut, answers in order, every error with its status, every bound held.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/fake_env.h"
#include "wire/http/http.h"
#include "wire/http/http_text.h"

enum { BODY_MAX = 100000, CONNECTIONS_MAX = 10 };
#define IDLE_NS (10 * NS_PER_S)
#define DATE    "Date: Thu, 01 Jan 1970 00:16:40 GMT\r\n" /* the fake clock */

struct bench {
    struct fake_env *f;
    struct env_loop *loop;
    struct env_listener *listener;
    struct http_door *door;
    struct http_exchange *held[100];
    size_t held_count, left;
    bool hold, fields;
    size_t answer_bytes; /* of "/big" */
    struct buf seen;     /* what the handler was given */
};

static void answer(struct http_exchange *x, int status, const char *text)
{
    http_answer(x, status, "text/plain", bytes_str(text));
}

static void see_field(struct bench *b, const char *name, const struct http_field *f)
{
    if (b->fields) buf_printf(&b->seen, "%s %u '%.*s'\n", name, f->count, (int)f->value.n, (const char *)f->value.p);
}

static void handle(void *ctx, struct http_exchange *x, const struct http_request *r)
{
    struct bench *b = ctx;
    buf_printf(&b->seen, "%s %.*s?%.*s[%.*s]\n", r->method, (int)r->path.n, (const char *)r->path.p, (int)r->query.n,
               r->query.n > 0 ? (const char *)r->query.p : "", (int)MIN(r->body.n, 100u),
               r->body.n > 0 ? (const char *)r->body.p : "");
    see_field(b, "host", &r->host);
    see_field(b, "origin", &r->origin);
    see_field(b, "type", &r->content_type);
    see_field(b, "site", &r->fetch_site);
    if (b->hold) {
        b->held[b->held_count++] = x;
    } else if (bytes_equal(r->path, BYTES_LIT("/big"))) {
        void *p = mem_zalloc(b->answer_bytes);
        http_answer(x, 200, "application/octet-stream", bytes_of(p, b->answer_bytes));
        mem_free(p);
    } else if (bytes_equal(r->path, BYTES_LIT("/only-get"))) {
        http_header(x, "Allow", "GET, HEAD");
        http_header(x, "X-Bad", "a\r\nX-Injected: 1");
        answer(x, 405, "no\n");
    } else if (bytes_equal(r->path, BYTES_LIT("/none"))) {
        answer(x, 204, "not sent");
    } else {
        char text[64];
        snprintf(text, sizeof text, "%.*s\n", (int)MIN(r->path.n, 60u), (const char *)r->path.p);
        answer(x, 200, text);
    }
}

static void left(void *ctx) { ((struct bench *)ctx)->left++; }

static void on_accept(void *ctx, struct env_stream *s)
{
    http_door_accept(((struct bench *)ctx)->door, s, (struct bytes){0});
}

static struct bench *bench_new(void)
{
    struct bench *b = mem_zalloc(sizeof *b);
    b->f = fake_env_new();
    b->loop = fake_loop_new(b->f);
    struct http_door_options o = {.loop = b->loop,
                                  .body_max = BODY_MAX,
                                  .connections_max = CONNECTIONS_MAX,
                                  .idle_ns = IDLE_NS,
                                  .handle = handle,
                                  .left = left,
                                  .ctx = b};
    b->door = http_door_new(&o);
    env_listen(b->loop, "h:80", on_accept, b, &b->listener, NULL);
    return b;
}

static void bench_free(struct bench *b)
{
    http_door_free(b->door);
    fake_env_free(b->f);
    buf_deinit(&b->seen);
    mem_free(b);
}

static struct http_door_stats stats(const struct bench *b)
{
    struct http_door_stats s;
    http_door_stats(b->door, &s);
    return s;
}

static const char *text_of(struct buf *b)
{
    buf_put_u8(b, 0);
    b->n--;
    return (const char *)b->p;
}

static void open_with(struct bench *b, struct fake_client *c, struct bytes text)
{
    fake_client_connect(c, b->loop, "h:80");
    env_stream_write(c->s, text);
    fake_run(b->f);
}

/* ---- what goes right ---- */

static void test_one_request(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    open_with(b, &c, BYTES_LIT("GET /a%20b?x=1&y HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_string_equal(text_of(&b->seen), "GET /a b?x=1&y[]\n");
    assert_string_equal(text_of(&c.got), "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/plain\r\nContent-Length: 5\r\n"
                                         "Connection: keep-alive\r\n\r\n/a b\n");
    assert_false(c.ended);
    fake_client_free(&c);
    bench_free(b);
}

/* The headers that handlers need: of this request alone, without blanks, once or marked. */
static void test_fields(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    struct buf text = {0};
    b->fields = true;
    buf_printf(&text, "POST /a HTTP/1.1\r\nHost: h:80  \r\nORIGIN:  http://x \r\nContent-Type: text/plain;\tx\r\n"
                      "Sec-Fetch-Site: none\r\nX-Origin: no\r\n\r\n"
                      "GET /b HTTP/1.1\r\nHost: i\r\nOrigin: a\r\nOrigin: b\r\n\r\n"
                      "GET /c HTTP/1.1\r\nHost: ");
    for (int i = 0; i < HTTP_FIELD_MAX; i++) buf_put_u8(&text, 'h');
    buf_printf(&text, "\r\nOrigin: ");
    for (int i = 0; i <= HTTP_FIELD_MAX; i++) buf_put_u8(&text, 'o');
    buf_printf(&text, "\r\n\r\n");
    open_with(b, &c, buf_view(&text));
    const char *seen = text_of(&b->seen);
    assert_non_null(
        strstr(seen, "POST /a?[]\nhost 1 'h:80'\norigin 1 'http://x'\ntype 1 'text/plain;\tx'\nsite 1 'none'\n"));
    assert_non_null(strstr(seen, "GET /b?[]\nhost 1 'i'\norigin 2 'a'\ntype 0 ''\nsite 0 ''\n"));
    assert_non_null(strstr(seen, "hhh'\norigin 2 ''\ntype 0 ''\n"));
    buf_deinit(&text);
    fake_client_free(&c);
    bench_free(b);
}

static const struct {
    struct bytes text;
    const char *seen;
    size_t answers;
    bool ends;
} good[] = {
    {BYTES_LIT(
         "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nHEAD /3 HTTP/1.1\r\nHost: h\r\n\r\n"),
     "GET /1?[]\nGET /2?[]\nHEAD /3?[]\n", 3, false},
    {BYTES_LIT("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /q HTTP/1.1\r\nHost: h\r\n\r\n"),
     "POST /p?[hello]\nGET /q?[]\n", 2, false},
    {BYTES_LIT(
         "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n0a;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\nHost: y\r\n\r\nGET /q HTTP/1.1\r\nHost: h\r\n\r\n"),
     "PUT /c?[abc0123456789]\nGET /q?[]\n", 2, false},
    {BYTES_LIT("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), "GET /x?[]\n", 1, true},
    {BYTES_LIT("GET /x HTTP/1.0\r\n\r\n"), "GET /x?[]\n", 1, true},
    {BYTES_LIT("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /y HTTP/1.0\r\n\r\n"), "GET /x?[]\nGET /y?[]\n", 2,
     true},
    {BYTES_LIT("\r\n\r\nDELETE /d HTTP/1.1\r\nHost:\r\n\r\n"), "DELETE /d?[]\n", 1, false},
    {BYTES_LIT("GET http://h:80/abs?q HTTP/1.1\r\nHost: h\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
     "GET /abs?q[]\nOPTIONS *?[]\n", 2, false},
    {BYTES_LIT("GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
               "AA\r\n\r\n"
               "GET /not-read HTTP/1.1\r\nHost: h\r\n\r\n"),
     "GET /up?[]\n", 1, true},
};

static size_t count_of(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, word)) != NULL; p++) n++;
    return n;
}

static void test_cut_at_each_byte(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        struct buf whole = {0};
        for (size_t cut = 0; cut < good[i].text.n; cut++) { /* two reads, cut there; 0: one read */
            struct bench *b = bench_new();
            struct fake_client c;
            open_with(b, &c, bytes_of(good[i].text.p, cut));
            if (c.s != NULL) env_stream_write(c.s, bytes_of(good[i].text.p + cut, good[i].text.n - cut));
            fake_run(b->f);
            assert_string_equal(text_of(&b->seen), good[i].seen);
            assert_int_equal(count_of(text_of(&c.got), "HTTP/1.1 200 OK\r\n"), good[i].answers);
            assert_int_equal(c.ended, good[i].ends);
            if (cut == 0) buf_put_bytes(&whole, buf_view(&c.got));
            assert_true(bytes_equal(buf_view(&whole), buf_view(&c.got)));
            fake_client_free(&c);
            bench_free(b);
        }
        for (size_t read = 1; read < 4; read++) { /* and in reads of a few bytes */
            struct bench *b = bench_new();
            struct fake_client c;
            b->f->read_bytes = read;
            open_with(b, &c, good[i].text);
            assert_string_equal(text_of(&b->seen), good[i].seen);
            assert_true(bytes_equal(buf_view(&whole), buf_view(&c.got)));
            fake_client_free(&c);
            bench_free(b);
        }
        buf_deinit(&whole);
    }
}

static void test_answers_without_body(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    open_with(b, &c, BYTES_LIT("HEAD /abc HTTP/1.1\r\nHost: h\r\n\r\nGET /none HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_string_equal(text_of(&c.got), "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/plain\r\nContent-Length: 5\r\n"
                                         "Connection: keep-alive\r\n\r\n"
                                         "HTTP/1.1 204 No Content\r\n" DATE "Connection: keep-alive\r\n\r\n");
    fake_client_free(&c);
    bench_free(b);
}

static void test_headers_of_the_handler(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    open_with(b, &c, BYTES_LIT("POST /only-get HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"));
    assert_non_null(strstr(text_of(&c.got), "HTTP/1.1 405 Method Not Allowed\r\n"));
    assert_non_null(strstr(text_of(&c.got), "\r\nAllow: GET, HEAD\r\n"));
    assert_null(strstr(text_of(&c.got), "Injected"));
    fake_client_free(&c);
    bench_free(b);
}

static void test_answers_come_in_order_and_one_at_a_time(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    b->hold = true;
    open_with(
        b, &c,
        BYTES_LIT(
            "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n"));
    for (size_t i = 0; i < 3; i++) {
        char text[8];
        assert_int_equal(b->held_count, i + 1);
        fake_advance(b->f, 100 * IDLE_NS); /* a handler may take its time */
        assert_false(c.ended);
        snprintf(text, sizeof text, "a%zu\n", i);
        answer(b->held[i], 200, text);
        fake_run(b->f);
        assert_non_null(strstr(text_of(&c.got), text));
    }
    assert_int_equal(stats(b).requests, 3);
    fake_client_free(&c);
    bench_free(b);
}

static void test_ten_thousand_pipelined(void **state)
{
    enum { COUNT = 10000 };
    struct bench *b = bench_new();
    struct fake_client c;
    struct buf text = {0};
    for (int i = 0; i < COUNT; i++) buf_printf(&text, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i);
    open_with(b, &c, buf_view(&text));
    assert_int_equal(count_of(text_of(&c.got), "HTTP/1.1 200 OK\r\n"), COUNT);
    assert_int_equal(stats(b).requests, COUNT);
    buf_deinit(&text);
    fake_client_free(&c);
    bench_free(b);
}

static void test_the_client_leaves_first(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    b->hold = true;
    open_with(b, &c, BYTES_LIT("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"));
    fake_reset(c.s);
    fake_run(b->f);
    assert_int_equal(b->left, 1);
    answer(b->held[0], 200, "to nobody");
    /* Only half: what was asked for is still answered, and no more. */
    fake_client_free(&c);
    open_with(b, &c, BYTES_LIT("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct fake_stream *far = ((struct fake_stream *)c.s)->other;
    far->ended = true;
    fake_run(b->f);
    assert_int_equal(b->left, 1);
    answer(b->held[1], 200, "to somebody");
    fake_run(b->f);
    assert_non_null(strstr(text_of(&c.got), "to somebody"));
    assert_true(c.ended);
    assert_int_equal(b->left, 2);
    fake_client_free(&c);
    bench_free(b);
}

static void test_the_door_goes_before_the_answer(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    b->hold = true;
    open_with(b, &c, BYTES_LIT("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"));
    http_door_free(b->door);
    b->door = NULL;
    assert_int_equal(b->left, 1);
    answer(b->held[0], 200, "too late");
    fake_client_free(&c);
    bench_free(b);
}

static void test_expect_continue(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    open_with(b, &c, BYTES_LIT("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n"));
    assert_string_equal(text_of(&c.got), "HTTP/1.1 100 Continue\r\n\r\n");
    env_stream_write(c.s, BYTES_LIT("hello"));
    fake_run(b->f);
    assert_string_equal(text_of(&b->seen), "POST /p?[hello]\n");
    fake_client_free(&c);
    bench_free(b);
}

/* ---- what goes wrong ---- */

static void test_errors(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *says;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400, "one Host header"},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "one Host header"},
        {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""},
        {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad %-escape"},
        {"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad %-escape"},
        {"GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad %-escape"},
        {"GET / HTTP/1.1\r\nHost a\r\n\r\n", 400, "can't be understood"},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "can't be understood"},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "can't be understood"},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400, "can't be understood"},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "can't be understood"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
         "can't be understood"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "can't be understood"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400,
         "can't be understood"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 501, "can't be understood"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", 413, "larger"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n", 413, "larger"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nabc", 408, "in time"},
        {"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n", 417, "expectation"},
        {"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 501, "can't be understood"},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501, "CONNECT"},
        {"GET / HTTP/1.7\r\nHost: a\r\n\r\n", 505, ""},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, ""},
        {"GET /part HTTP/1.1\r\nHo", 408, "in time"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bench *b = bench_new();
        struct fake_client c;
        char expect[40];
        open_with(b, &c, bytes_str(rows[i].text));
        fake_advance(b->f, IDLE_NS + 3 * NS_PER_S);
        snprintf(expect, sizeof expect, "HTTP/1.1 %d %s\r\n", rows[i].status, http_reason(rows[i].status));
        if (strncmp(text_of(&c.got), expect, strlen(expect)) != 0) fail_msg("row %zu: %s", i, text_of(&c.got));
        if (strstr(text_of(&c.got), rows[i].says) == NULL) fail_msg("row %zu: %s", i, text_of(&c.got));
        assert_non_null(strstr(text_of(&c.got), "Connection: close\r\n"));
        assert_int_equal(b->seen.n, 0);
        assert_true(c.ended);
        assert_int_equal(stats(b).errors, 1);
        assert_int_equal(b->left, 1);
        fake_client_free(&c);
        bench_free(b);
    }
}

static void test_an_error_follows_good_answers(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    open_with(b, &c, BYTES_LIT("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_string_equal(text_of(&b->seen), "GET /1?[]\n");
    assert_int_equal(count_of(text_of(&c.got), "HTTP/1.1 "), 2);
    assert_non_null(strstr(text_of(&c.got), "HTTP/1.1 501 "));
    fake_client_free(&c);
    bench_free(b);
}

static void test_bounds_of_the_head(void **state)
{
    static const struct {
        const char *head, *filler;
        size_t repeat;
        int status;
    } rows[] = {
        {"GET /", "a", 8190, 200},
        {"GET /", "a", 8192, 414},
        {"GET /", "a", 100000, 414},
        {"GET / HTTP/1.1\r\nHost: h\r\n", "X: 1234567890\r\n", 1000, 200},
        {"GET / HTTP/1.1\r\nHost: h\r\n", "X: 1234567890\r\n", 1200, 431},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: ", "v", 20000, 431},
        {"GET / HTTP/1.1\r\nHost: h\r\n", "N", 20000, 431},
        {"GET / HTTP/1.1\r\nHost: h\r\nX:", " ", 20000, 431},
        {"", "\r\n", 10000, 431},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        for (size_t read = 777; read <= 65536; read += 64759) {
            struct bench *b = bench_new();
            struct fake_client c;
            struct buf text = {0};
            b->f->read_bytes = read;
            buf_printf(&text, "%s", rows[i].head);
            for (size_t n = 0; n < rows[i].repeat; n++) buf_printf(&text, "%s", rows[i].filler);
            if (i < 3) buf_printf(&text, " HTTP/1.1\r\nHost: h\r\n");
            buf_printf(&text, "\r\n");
            open_with(b, &c, buf_view(&text));
            assert_int_equal(atoi(text_of(&c.got) + 9), rows[i].status);
            buf_deinit(&text);
            fake_client_free(&c);
            bench_free(b);
        }
    }
}

static void test_bounds_of_the_body(void **state)
{
    for (int chunked = 0; chunked < 2; chunked++) {
        for (size_t over = 0; over < 2; over++) {
            struct bench *b = bench_new();
            struct fake_client c;
            struct buf text = {0};
            if (chunked) {
                buf_printf(&text, "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
                for (size_t i = 0; i < BODY_MAX / 10; i++) buf_printf(&text, "a\r\n0123456789\r\n");
                buf_printf(&text, "%s0\r\n\r\n", over ? "1\r\nx\r\n" : "");
            } else {
                buf_printf(&text, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", BODY_MAX + over);
                memset(buf_extend(&text, BODY_MAX + over), 'x', BODY_MAX + over);
            }
            open_with(b, &c, buf_view(&text));
            assert_int_equal(atoi(text_of(&c.got) + 9), over ? 413 : 200);
            buf_deinit(&text);
            fake_client_free(&c);
            bench_free(b);
        }
    }
}

static void test_slow_ones_are_let_go(void **state)
{
    struct bench *b = bench_new();
    struct fake_client idle, loris, body;
    open_with(b, &idle, BYTES_LIT(""));
    open_with(b, &loris, BYTES_LIT("GET / HTTP/1.1\r\n"));
    open_with(b, &body, BYTES_LIT("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\n"));
    for (int i = 0; i < 99; i++) { /* a byte now and then buys no time */
        fake_advance(b->f, IDLE_NS / 100);
        env_stream_write(loris.s, BYTES_LIT("a"));
        env_stream_write(body.s, BYTES_LIT("a"));
    }
    fake_run(b->f);
    assert_false(idle.ended || loris.ended || body.ended);
    fake_advance(b->f, IDLE_NS / 100);
    assert_true(idle.ended);
    assert_int_equal(idle.got.n, 0);
    fake_advance(b->f, 3 * NS_PER_S); /* these are told */
    assert_true(loris.ended && body.ended);
    assert_non_null(strstr(text_of(&loris.got), "HTTP/1.1 408 "));
    assert_non_null(strstr(text_of(&body.got), "HTTP/1.1 408 "));
    assert_int_equal(stats(b).timeouts, 3);
    assert_int_equal(stats(b).connections, 0);
    fake_client_free(&idle);
    fake_client_free(&loris);
    fake_client_free(&body);
    bench_free(b);
}

static void test_a_large_body_may_take_its_time(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    uint8_t x[5000] = {0};
    open_with(b, &c, BYTES_LIT("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"));
    for (int i = 0; i < 20; i++) { /* 64 KiB more within each idle_ns */
        fake_advance(b->f, IDLE_NS / 15);
        env_stream_write(c.s, bytes_of(x, sizeof x));
    }
    fake_run(b->f);
    assert_int_equal(stats(b).requests, 1);
    assert_false(c.ended);
    fake_client_free(&c);
    bench_free(b);
}

static void test_slow_readers(void **state)
{
    struct bench *b = bench_new();
    struct fake_client never, slow;
    struct buf text = {0};
    b->f->window_bytes = 10000;
    b->answer_bytes = 500000;
    for (int i = 0; i < 100; i++) buf_printf(&text, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
    open_with(b, &never, (struct bytes){0});
    ((struct fake_stream *)never.s)->stalled = true;
    env_stream_write(never.s, buf_view(&text));
    fake_run(b->f);
    struct fake_stream *far = ((struct fake_stream *)never.s)->other;
    assert_true(stats(b).requests <= 3); /* no further answers are made for one that does not read */
    assert_true(env_stream_queued(&far->base) < 2 * 1000 * 1000);
    fake_advance(b->f, 2 * IDLE_NS);
    assert_int_equal(b->left, 1);
    /* One that does read, slowly, gets everything. */
    buf_clear(&text);
    for (int i = 0; i < 5; i++) buf_printf(&text, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
    open_with(b, &slow, (struct bytes){0});
    ((struct fake_stream *)slow.s)->stalled = true;
    env_stream_write(slow.s, buf_view(&text));
    for (int i = 0; i < 2000 && slow.got.n <= 5 * b->answer_bytes; i++) {
        fake_advance(b->f, IDLE_NS / 2);
        ((struct fake_stream *)slow.s)->stalled = false;
        fake_turn(b->f);
        ((struct fake_stream *)slow.s)->stalled = true;
    }
    assert_true(slow.got.n > 5 * b->answer_bytes);
    assert_int_equal(b->left, 1);
    buf_deinit(&text);
    fake_client_free(&never);
    fake_client_free(&slow);
    bench_free(b);
}

static void test_a_large_last_answer_comes_whole(void **state)
{
    for (int half = 0; half < 2; half++) { /* also if the client has shut down its half */
        struct bench *b = bench_new();
        struct fake_client c;
        b->f->window_bytes = 10000;
        b->answer_bytes = 3000000;
        b->hold = half == 1;
        open_with(b, &c, BYTES_LIT("GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
        if (half == 1) {
            void *p = mem_zalloc(b->answer_bytes);
            ((struct fake_stream *)c.s)->other->ended = true;
            fake_run(b->f);
            http_answer(b->held[0], 200, "x/y", bytes_of(p, b->answer_bytes));
            mem_free(p);
            fake_advance(b->f, IDLE_NS);
        }
        assert_true(c.ended && c.status == ST_OK);
        assert_true(c.got.n > b->answer_bytes);
        fake_client_free(&c);
        bench_free(b);
    }
}

static void test_connections_beyond_the_limit(void **state)
{
    enum { COUNT = 3000 };
    struct bench *b = bench_new();
    struct fake_client *c = mem_zalloc(COUNT * sizeof *c);
    size_t open = 0;
    for (size_t i = 0; i < COUNT; i++) fake_client_connect(&c[i], b->loop, "h:80");
    fake_run(b->f);
    for (size_t i = 0; i < COUNT; i++) {
        open += !c[i].ended;
        if (c[i].ended) assert_non_null(strstr(text_of(&c[i].got), "HTTP/1.1 503 Service Unavailable\r\n"));
    }
    assert_int_equal(open, CONNECTIONS_MAX);
    assert_int_equal(stats(b).refused, COUNT - CONNECTIONS_MAX);
    for (size_t i = 0; i < COUNT; i++) fake_client_free(&c[i]);
    fake_run(b->f);
    assert_int_equal(b->left, COUNT);
    mem_free(c);
    bench_free(b);
}

static void test_who_goes_on_sending_after_an_error(void **state)
{
    struct bench *b = bench_new();
    struct fake_client c;
    uint8_t x[60000] = {0};
    open_with(b, &c, BYTES_LIT("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n"));
    assert_non_null(strstr(text_of(&c.got), "HTTP/1.1 413 "));
    assert_false(c.ended); /* it may still be sending: the answer must not be lost to a reset */
    for (int i = 0; i < 30 && !c.ended; i++) {
        env_stream_write(c.s, bytes_of(x, sizeof x));
        fake_run(b->f);
    }
    assert_true(c.ended);
    fake_client_free(&c);
    bench_free(b);
}

/* ---- text ---- */

static void test_targets(void **state)
{
    static const struct {
        const char *target, *path, *query; /* path NULL: refused */
    } rows[] = {
        {"/", "/", ""},
        {"/a/b", "/a/b", ""},
        {"/a?b=c", "/a", "b=c"},
        {"/a?", "/a", ""},
        {"/a?b?c", "/a", "b?c"},
        {"/%41%2f+", "/A/+", ""},
        {"/%3f?x", "/?", "x"},
        {"*", "*", ""},
        {"http://host:8/p?q", "/p", "q"},
        {"HTTPS://host", "/", ""},
        {"http://host?q", "/", "q"},
        {"", NULL, NULL},
        {"a", NULL, NULL},
        {"?a", NULL, NULL},
        {"/a b", NULL, NULL},
        {"/a#b", NULL, NULL},
        {"/%", NULL, NULL},
        {"/%4", NULL, NULL},
        {"/%4g", NULL, NULL},
        {"/%00", NULL, NULL},
        {"/\x01", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct buf path = {0};
        struct bytes query;
        struct error err = {0};
        enum status st = http_target(bytes_str(rows[i].target), &path, &query, &err);
        assert_int_equal(st, rows[i].path != NULL ? ST_OK : ST_INVALID);
        if (rows[i].path != NULL) {
            assert_true(bytes_equal(buf_view(&path), bytes_str(rows[i].path)));
            assert_true(bytes_equal(query, bytes_str(rows[i].query)));
        } else {
            assert_true(err.text[0] != 0);
        }
        buf_deinit(&path);
    }
}

static void test_queries(void **state)
{
    static const struct {
        const char *query, *name, *value; /* value NULL: not found */
    } rows[] = {
        {"a=1&b=2", "b", "2"},
        {"a=1&b=2", "c", NULL},
        {"a", "a", ""},
        {"a=", "a", ""},
        {"", "a", NULL},
        {"&&a=1", "a", "1"},
        {"x+y=%41+b", "x y", "A b"},
        {"a=%zz", "a", NULL},
        {"aa=1&a=2", "a", "2"},
        {"a=1234567", "a", "1234567"},
        {"a=12345678", "a", NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char out[8];
        bool found = http_query(bytes_str(rows[i].query), rows[i].name, out, sizeof out);
        assert_int_equal(found, rows[i].value != NULL);
        if (found) assert_string_equal(out, rows[i].value);
    }
}

static void test_dates(void **state)
{
    char out[32];
    http_date(784111777000u, out);
    assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
    http_date(UINT64_MAX, out);
    assert_string_equal(out, "Thu, 01 Jan 1970 00:00:00 GMT");
}

/* ---- the client ---- */

struct call {
    int done, status;
    struct buf body, why;
};

static void call_done(void *ctx, int status, struct bytes body, const char *why_not)
{
    struct call *c = ctx;
    c->done++;
    c->status = status;
    buf_put_bytes(&c->body, body);
    if (why_not != NULL) buf_printf(&c->why, "%s", why_not);
}

static void call_deinit(struct call *c)
{
    buf_deinit(&c->body);
    buf_deinit(&c->why);
    *c = (struct call){0};
}

static void test_client_and_door(void **state)
{
    struct bench *b = bench_new();
    struct call c = {0};
    http_call(b->loop, "h:80", "POST", "/p?x=1", BYTES_LIT("hello"), 1000, NS_PER_S, call_done, &c);
    assert_int_equal(c.done, 0);
    fake_run(b->f);
    assert_string_equal(text_of(&b->seen), "POST /p?x=1[hello]\n");
    assert_int_equal(c.done, 1);
    assert_int_equal(c.status, 200);
    assert_string_equal(text_of(&c.body), "/p\n");
    call_deinit(&c);
    http_call(b->loop, "h:80", "HEAD", "/p", (struct bytes){0}, 1000, NS_PER_S, call_done, &c);
    fake_run(b->f);
    assert_int_equal(c.status, 200);
    assert_int_equal(c.body.n, 0);
    call_deinit(&c);
    http_call(b->loop, "h:80", "DELETE", "/only-get", (struct bytes){0}, 1000, NS_PER_S, call_done, &c);
    fake_run(b->f);
    assert_int_equal(c.status, 405);
    call_deinit(&c);
    bench_free(b);
}

struct raw_server {
    struct bytes answer;
    struct env_stream *s;
};
static void raw_data(struct env_stream *s, void *ctx, struct bytes data) {}
static void raw_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct raw_server *r = ctx;
    env_stream_close(s);
    r->s = NULL;
}
static void raw_accept(void *ctx, struct env_stream *s)
{
    static const struct env_stream_events events = {.data = raw_data, .closed = raw_closed};
    struct raw_server *r = ctx;
    r->s = s;
    env_stream_set_events(s, &events, r);
    env_stream_write(s, r->answer);
}

static void test_client_against_all_kinds_of_servers(void **state)
{
    static const struct {
        struct bytes answer;
        bool closes;
        int status;
        const char *body, *why;
    } rows[] = {
        {BYTES_LIT("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), false, 200, "abc", ""},
        {BYTES_LIT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), false, 200,
         "abc", ""},
        {BYTES_LIT("HTTP/1.1 200 OK\r\n\r\nabc"), true, 200, "abc", ""},
        {BYTES_LIT("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), false, 404, "",
         ""},
        {BYTES_LIT("HTTP/1.1 204 No Content\r\n\r\n"), false, 204, "", ""},
        {BYTES_LIT("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), true, 0, "",
         "closed before the whole answer came"},
        {BYTES_LIT("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), false, 0, "", "no answer in time"},
        {BYTES_LIT("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n"), false, 0, "",
         "the answer is larger than is allowed here"},
        {BYTES_LIT("HTTP/1.1 200 OK\r\n\r\n12345678901"), false, 0, "", "the answer is larger than is allowed here"},
        {BYTES_LIT("HTTP/1.1 101 Switching Protocols\r\n\r\n"), false, 0, "", "the answer changes the protocol"},
        {BYTES_LIT("-ERR max number of clients reached\r\n"), false, 0, "", NULL},
        {BYTES_LIT(""), true, 0, "", "closed before the whole answer came"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        for (size_t read = 1; read <= 65536; read *= 256) {
            struct bench *b = bench_new();
            struct raw_server r = {.answer = rows[i].answer};
            struct env_listener *l;
            struct call c = {0};
            b->f->read_bytes = read;
            env_listen(b->loop, "raw:80", raw_accept, &r, &l, NULL);
            http_call(b->loop, "raw:80", "GET", "/", (struct bytes){0}, 10, NS_PER_S, call_done, &c);
            fake_run(b->f);
            if (rows[i].closes) env_stream_close(r.s);
            fake_advance(b->f, 2 * NS_PER_S);
            assert_int_equal(c.done, 1);
            assert_int_equal(c.status, rows[i].status);
            assert_string_equal(text_of(&c.body), rows[i].body);
            if (rows[i].why != NULL) assert_string_equal(text_of(&c.why), rows[i].why);
            else assert_true(c.why.n > 0);
            call_deinit(&c);
            bench_free(b);
        }
    }
}

static void test_client_refuses(void **state)
{
    struct bench *b = bench_new();
    struct call c = {0};
    static const char *const rows[][3] = {{"h:80", "GET", "/a b"},
                                          {"h:80", "GET", "/\r\nX: 1"},
                                          {"h:80", "G T", "/"},
                                          {"h:80", "GET", "a"},
                                          {"h\n:80", "GET", "/"}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        http_call(b->loop, rows[i][0], rows[i][1], rows[i][2], (struct bytes){0}, 10, NS_PER_S, call_done, &c);
        assert_int_equal(c.done, 0);
        fake_run(b->f);
        assert_int_equal(c.done, 1);
        assert_int_equal(b->f->connects, 0);
        call_deinit(&c);
    }
    http_call(b->loop, "nowhere:80", "GET", "/", (struct bytes){0}, 10, NS_PER_S, call_done, &c);
    fake_run(b->f);
    assert_string_equal(text_of(&c.why), "can't connect");
    call_deinit(&c);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_request),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_cut_at_each_byte),
        cmocka_unit_test(test_answers_without_body),
        cmocka_unit_test(test_headers_of_the_handler),
        cmocka_unit_test(test_answers_come_in_order_and_one_at_a_time),
        cmocka_unit_test(test_ten_thousand_pipelined),
        cmocka_unit_test(test_the_client_leaves_first),
        cmocka_unit_test(test_the_door_goes_before_the_answer),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_an_error_follows_good_answers),
        cmocka_unit_test(test_bounds_of_the_head),
        cmocka_unit_test(test_bounds_of_the_body),
        cmocka_unit_test(test_slow_ones_are_let_go),
        cmocka_unit_test(test_a_large_body_may_take_its_time),
        cmocka_unit_test(test_slow_readers),
        cmocka_unit_test(test_a_large_last_answer_comes_whole),
        cmocka_unit_test(test_connections_beyond_the_limit),
        cmocka_unit_test(test_who_goes_on_sending_after_an_error),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_client_and_door),
        cmocka_unit_test(test_client_against_all_kinds_of_servers),
        cmocka_unit_test(test_client_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
