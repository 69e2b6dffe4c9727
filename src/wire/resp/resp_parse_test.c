/* resp_parse_test.c - requests and protocol errors as Redis 7.0 sees them, in one piece and cut at every byte.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "wire/resp/resp_parse.h"

static const struct resp_limits limits = {.args_max = RESP_ARGS_MAX, .bulk_max = 1 << 20, .command_max = 2 << 20};

/* What came out, as text: arguments in <>, a command per line, then the error or what is missing. */
static void show(struct resp_parser *p, enum resp_parsed r, struct buf *out)
{
    if (r == RESP_BROKEN) buf_printf(out, "%s", p->error);
    if (r != RESP_COMMAND) return;
    for (size_t i = 0; i < p->argc; i++) {
        buf_put_u8(out, '<');
        buf_put_bytes(out, p->argv[i]);
        buf_put_u8(out, '>');
    }
    buf_put_u8(out, '\n');
}

/* Feeds `in` cut at `cut`, in a buffer that moves at each piece. */
static void parse_cut(struct bytes in, size_t cut, struct buf *out)
{
    struct resp_parser p;
    resp_parser_init(&p, &limits);
    size_t from = 0, to = cut;
    enum resp_parsed r;
    for (;;) {
        uint8_t *copy = mem_copy(in.p + from, to - from);
        do {
            size_t used;
            r = resp_parse(&p, bytes_of(copy, to - from), &used);
            from += used;
            show(&p, r, out);
            if (r == RESP_COMMAND) {
                mem_free(copy);
                copy = mem_copy(in.p + from, to - from);
            }
        } while (r == RESP_COMMAND);
        mem_free(copy);
        if (r == RESP_BROKEN || to == in.n) break;
        to = in.n;
    }
    resp_parser_deinit(&p);
}

static void test_table(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"*1\r\n$4\r\nPING\r\n", "<PING>\n"},
        {"*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1\r\n$4\r\nping\r\n", "<GET><>\n<ping>\n"},
        {"*2\r\n$3\r\nGET\r\n$12\r\nhello\r\nworld\r\n", "<GET><hello\r\nworld>\n"},
        {"*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$1\r\nx\r\n", "<SET><0123456789><x>\n"},
        {"*0\r\n*-1\r\n*-7\r\n\r\n\n*1\r\n$4\r\nPING\r\n", "<PING>\n"},
        {"PING\r\n", "<PING>\n"},
        {"  set  a\tb \r\nget a\n", "<set><a><b>\n<get><a>\n"},
        {"set a \"x y\\x41\\n\\\"\\q\" 'it\\'s \\n'\r\n", "<set><a><x yA\n\"q><it's \\n>\n"},
        {"echo a\"b c\"\r\n", "<echo><ab c>\n"},
        {"echo \"\" ''\r\n", "<echo><><>\n"},
        {"ping \"abc\r\nping\r\n", "Protocol error: unbalanced quotes in request"},
        {"ping 'a'b\r\n", "Protocol error: unbalanced quotes in request"},
        {"ping \"a\"b\r\n", "Protocol error: unbalanced quotes in request"},
        {"ping 'abc\\'\r\n", "Protocol error: unbalanced quotes in request"},
        {"*x\r\n", "Protocol error: invalid multibulk length"},
        {"*\r\n", "Protocol error: invalid multibulk length"},
        {"*01\r\n$4\r\nPING\r\n", "Protocol error: invalid multibulk length"},
        {"*+1\r\n$4\r\nPING\r\n", "Protocol error: invalid multibulk length"},
        {"*1048577\r\n", "Protocol error: invalid multibulk length"},
        {"*99999999999999999999\r\n", "Protocol error: invalid multibulk length"},
        {"*1\r\n+4\r\n", "Protocol error: expected '$', got '+'"},
        {"*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'"},
        {"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"},
        {"*1\r\n$04\r\nPING\r\n", "Protocol error: invalid bulk length"},
        {"*1\r\n$4x\r\nPING\r\n", "Protocol error: invalid bulk length"},
        {"*1\r\n$1048577\r\n", "Protocol error: invalid bulk length"},
        {"*1\r\n$999999999999\r\n", "Protocol error: invalid bulk length"},
        {"*1\r\n$4\r\nPI", ""},
        {"*2\r\n$4\r\nPING\r\n", ""},
        {"PING", ""},
        {"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPIN", "<PING>\n"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bytes in = bytes_str(rows[i].in);
        for (size_t cut = 0; cut <= in.n; cut++) {
            struct buf out = {0};
            parse_cut(in, cut, &out);
            buf_put_u8(&out, 0);
            assert_string_equal((char *)out.p, rows[i].out);
            buf_deinit(&out);
        }
    }
}

static void test_every_byte_apart(void **state)
{
    struct bytes in = BYTES_LIT("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nping 'x y'\r\n*0\r\n*1\r\n$1\r\nq\r\n");
    struct resp_parser p;
    struct buf have = {0}, out = {0};
    resp_parser_init(&p, &limits);
    for (size_t i = 0; i < in.n; i++) {
        buf_put_u8(&have, in.p[i]);
        for (;;) {
            size_t used;
            enum resp_parsed r = resp_parse(&p, buf_view(&have), &used);
            show(&p, r, &out);
            buf_consume(&have, used);
            if (r == RESP_MORE) break;
            assert_int_equal(r, RESP_COMMAND);
        }
    }
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.p, "<GET><key>\n<ping><x y>\n<q>\n");
    assert_int_equal(have.n, 0);
    buf_deinit(&have);
    buf_deinit(&out);
    resp_parser_deinit(&p);
}

/* A line that never ends is refused once it is longer than Redis allows. */
static void test_endless_lines(void **state)
{
    static const struct {
        const char *head;
        char fill;
        const char *error;
    } rows[] = {
        {"*", '1', "Protocol error: too big mbulk count string"},
        {"*1\r\n$", '1', "Protocol error: too big bulk count string"},
        {"", 'a', "Protocol error: too big inline request"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct resp_parser p;
        struct buf in = {0};
        size_t used;
        enum resp_parsed r = RESP_MORE;
        resp_parser_init(&p, &limits);
        buf_put_bytes(&in, bytes_str(rows[i].head));
        while (r == RESP_MORE && in.n < 2 * RESP_INLINE_MAX) {
            memset(buf_extend(&in, 1000), rows[i].fill, 1000);
            r = resp_parse(&p, buf_view(&in), &used);
        }
        assert_int_equal(r, RESP_BROKEN);
        assert_string_equal(p.error, rows[i].error);
        assert_true(in.n > RESP_INLINE_MAX && in.n < RESP_INLINE_MAX + 2000);
        buf_deinit(&in);
        resp_parser_deinit(&p);
    }
}

static void test_bounds(void **state)
{
    struct resp_parser p;
    struct resp_limits small = {.args_max = 3, .bulk_max = 10, .command_max = 40};
    size_t used;
    resp_parser_init(&p, &small);
    assert_int_equal(resp_parse(&p, BYTES_LIT("*4\r\n"), &used), RESP_BROKEN);
    resp_parser_deinit(&p);
    resp_parser_init(&p, &small);
    assert_int_equal(resp_parse(&p, BYTES_LIT("*1\r\n$10\r\n0123456789\r\n"), &used), RESP_COMMAND);
    assert_int_equal(used, 21);
    assert_int_equal(resp_parse(&p, BYTES_LIT("*1\r\n$11\r\n"), &used), RESP_BROKEN);
    resp_parser_deinit(&p);
    resp_parser_init(&p, &small);
    assert_int_equal(resp_parse(&p, BYTES_LIT("*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$9\r\n"), &used),
                     RESP_BROKEN);
    assert_string_equal(p.error, "Protocol error: command larger than 40 bytes");
    resp_parser_deinit(&p);
}

/* An unfinished argument says how much is missing, so that its buffer is sized once. */
static void test_needs(void **state)
{
    struct resp_parser p;
    size_t used;
    struct bytes in = BYTES_LIT("*2\r\n$3\r\nSET\r\n$1000\r\nabc");
    resp_parser_init(&p, &limits);
    assert_int_equal(resp_parse(&p, in, &used), RESP_MORE);
    assert_int_equal(resp_parse_needs(&p, in.n), 999);
    assert_int_equal(used, 0);
    resp_parser_deinit(&p);
}

/* The same bytes may be parsed again, after other bytes have been put behind them. */
static void test_parse_again(void **state)
{
    struct resp_parser p;
    size_t used;
    resp_parser_init(&p, &limits);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(resp_parse(&p, BYTES_LIT("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n"), &used), RESP_COMMAND);
        assert_int_equal(p.argc, 2);
        assert_int_equal(used, 20);
    }
    resp_parser_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_every_byte_apart),
        cmocka_unit_test(test_endless_lines), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_needs),         cmocka_unit_test(test_parse_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
