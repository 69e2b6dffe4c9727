/* resp_reply_test.c - results and replies in RESP2 and RESP3.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/result.h"
#include "wire/resp/resp_reply.h"

#define EXECUTED                                                                                                      \
    "-EXECUTED the command was executed, once, but what it answered was not kept for a retry: read the key to learn " \
    "it\r\n"

/* Every kind of result, as an encoding and in both protocols. */
static void test_results(void **state)
{
    static const struct {
        const char *in;
        size_t n;
        const char *resp2, *resp3;
    } rows[] = {
#define ROW(in, resp2, resp3) {in, sizeof(in) - 1, resp2, resp3}
        ROW("n", "$-1\r\n", "_\r\n"),
        ROW("N", "*-1\r\n", "_\r\n"),
        ROW("o", "+OK\r\n", "+OK\r\n"),
        ROW("T", ":1\r\n", "#t\r\n"),
        ROW("F", ":0\r\n", "#f\r\n"),
        ROW("i\x00", ":0\r\n", ":0\r\n"),
        ROW("i\x01", ":-1\r\n", ":-1\r\n"),
        ROW("i\x54", ":42\r\n", ":42\r\n"),
        ROW("i\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
        ROW("d\x04"
            "3.25",
            "$4\r\n3.25\r\n", ",3.25\r\n"),
        ROW("b\x00", "$0\r\n\r\n", "$0\r\n\r\n"),
        ROW("b\x05h\r\n\x01z", "$5\r\nh\r\n\x01z\r\n", "$5\r\nh\r\n\x01z\r\n"),
        ROW("s\x04none", "+none\r\n", "+none\r\n"),
        ROW("e\x0a"
            "ERR a\r\nb c",
            "-ERR a  b c\r\n", "-ERR a  b c\r\n"),
        ROW("a\x00", "*0\r\n", "*0\r\n"),
        ROW("a\x03i\x02nb\x01x", "*3\r\n:1\r\n$-1\r\n$1\r\nx\r\n", "*3\r\n:1\r\n_\r\n$1\r\nx\r\n"),
        ROW("a\x02"
            "a\x01oa\x00",
            "*2\r\n*1\r\n+OK\r\n*0\r\n", "*2\r\n*1\r\n+OK\r\n*0\r\n"),
        ROW("m\x01"
            "b\x01kb\x01v",
            "*2\r\n$1\r\nk\r\n$1\r\nv\r\n", "%1\r\n$1\r\nk\r\n$1\r\nv\r\n"),
        ROW("t\x01i\x02", "*1\r\n:1\r\n", "~1\r\n:1\r\n"),
        ROW("p\x02"
            "b\x01ki\x02"
            "b\x01li\x04",
            "*4\r\n$1\r\nk\r\n:1\r\n$1\r\nl\r\n:2\r\n", "*2\r\n*2\r\n$1\r\nk\r\n:1\r\n*2\r\n$1\r\nl\r\n:2\r\n"),
        ROW("X\x07\0\0\0\0\0\0\0", "-UNAVAILABLE not executed: blocked by transaction 7\r\n",
            "-UNAVAILABLE not executed: blocked by transaction 7\r\n"),
        ROW("V", "-UNAVAILABLE not executed: the keys changed while it was evaluated\r\n",
            "-UNAVAILABLE not executed: the keys changed while it was evaluated\r\n"),
        ROW("Z", EXECUTED, EXECUTED),
        /* Malformed: an error, never half a reply. */
        ROW("", "-ERR internal error: malformed result\r\n", "-ERR internal error: malformed result\r\n"),
        ROW("oo", "-ERR internal error: malformed result\r\n", "-ERR internal error: malformed result\r\n"),
        ROW("b\x05hi", "-ERR internal error: malformed result\r\n", "-ERR internal error: malformed result\r\n"),
        ROW("a\x02o", "-ERR internal error: malformed result\r\n", "-ERR internal error: malformed result\r\n"),
        ROW("a\xff\xff\xff\xff\x0fo", "-ERR internal error: malformed result\r\n",
            "-ERR internal error: malformed result\r\n"),
        ROW("m\x01o", "-ERR internal error: malformed result\r\n", "-ERR internal error: malformed result\r\n"),
        ROW("?", "-ERR internal error: malformed result\r\n", "-ERR internal error: malformed result\r\n"),
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        for (int proto = 2; proto <= 3; proto++) {
            const char *expected = proto == 2 ? rows[i].resp2 : rows[i].resp3;
            struct buf out = {0};
            buf_put_bytes(&out, BYTES_LIT("before"));
            resp_put_result(&out, proto, bytes_of(rows[i].in, rows[i].n));
            assert_int_equal(out.n, 6 + strlen(expected));
            assert_memory_equal(out.p, "before", 6);
            assert_memory_equal(out.p + 6, expected, out.n - 6);
            buf_deinit(&out);
        }
    }
}

/* Nesting beyond what results may have is refused, not followed. */
static void test_depth(void **state)
{
    struct buf in = {0}, out = {0};
    for (int i = 0; i < 100; i++) result_array(&in, 1);
    result_ok(&in);
    resp_put_result(&out, 2, buf_view(&in));
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.p, "-ERR internal error: malformed result\r\n");
    buf_deinit(&in);
    buf_deinit(&out);
}

static void test_writers(void **state)
{
    struct buf out = {0};
    resp_put_verbatim(&out, 2, BYTES_LIT("a\nb"));
    resp_put_verbatim(&out, 3, BYTES_LIT("a\nb"));
    resp_put_map(&out, 2, 3);
    resp_put_map(&out, 3, 3);
    resp_put_set(&out, 2, 3);
    resp_put_set(&out, 3, 12);
    resp_put_int(&out, INT64_MIN);
    resp_put_error(&out, BYTES_LIT("ERR x\r\n\r\n"));
    resp_put_errorf(&out, "ERR '%s'", "a\nb");
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.p,
                        "$3\r\na\nb\r\n=7\r\ntxt:a\nb\r\n*6\r\n%3\r\n*3\r\n~12\r\n:-9223372036854775808\r\n-ERR x\r\n"
                        "-ERR 'a b'\r\n");
    buf_deinit(&out);
}

/* Which of the three outcomes a status is, for reads and writes. */
static void test_status(void **state)
{
    static const struct {
        enum status st;
        const char *write, *read;
    } rows[] = {
        {ST_UNAVAILABLE, "-UNAVAILABLE not executed: t\r\n", "-UNAVAILABLE not executed: t\r\n"},
        {ST_NOT_LEADER, "-UNAVAILABLE not executed: t\r\n", "-UNAVAILABLE not executed: t\r\n"},
        {ST_STOPPED, "-UNAVAILABLE not executed: t\r\n", "-UNAVAILABLE not executed: t\r\n"},
        {ST_OVERLOADED, "-OVERLOADED not executed: t\r\n", "-OVERLOADED not executed: t\r\n"},
        {ST_BUSY, "-OVERLOADED not executed: t\r\n", "-OVERLOADED not executed: t\r\n"},
        {ST_TIMEOUT, "-TIMEOUT not executed: t\r\n", "-TIMEOUT not executed: t\r\n"},
        {ST_INVALID, "-ERR not executed: t\r\n", "-ERR not executed: t\r\n"},
        {ST_TOO_LARGE, "-ERR not executed: t\r\n", "-ERR not executed: t\r\n"},
        {ST_OUTCOME_UNKNOWN, "-UNKNOWN the outcome of this write is unknown: t\r\n",
         "-UNAVAILABLE not executed: t\r\n"},
        {ST_IO, "-UNKNOWN the outcome of this write is unknown: io: t\r\n", "-ERR io: t\r\n"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct buf out = {0};
        resp_put_status(&out, true, rows[i].st, "t");
        buf_put_u8(&out, 0);
        assert_string_equal((char *)out.p, rows[i].write);
        buf_clear(&out);
        resp_put_status(&out, false, rows[i].st, "t");
        buf_put_u8(&out, 0);
        assert_string_equal((char *)out.p, rows[i].read);
        buf_deinit(&out);
    }
    for (enum status st = ST_OK + 1; st < ST_COUNT;
         st++) { /* no write's failure is called "not executed" without reason */
        struct buf out = {0};
        resp_put_status(&out, true, st, "");
        buf_put_u8(&out, 0);
        assert_true(strstr((char *)out.p, "not executed") != NULL || strncmp((char *)out.p, "-UNKNOWN ", 9) == 0);
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_writers),
        cmocka_unit_test(test_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
