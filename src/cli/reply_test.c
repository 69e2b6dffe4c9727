/* reply_test.c - replies as clients read them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "cli/reply.h"

static void test_scan_and_print(void **state)
{
    static const struct {
        const char *reply;
        enum reply_state state;
        const char *printed;
    } cases[] = {
        {"+OK\r\n", REPLY_WHOLE, "OK\n"},
        {"-ERR no\r\n", REPLY_WHOLE, "(error) ERR no\n"},
        {":-5\r\n", REPLY_WHOLE, "(integer) -5\n"},
        {"$3\r\na\"b\r\n", REPLY_WHOLE, "\"a\\\"b\"\n"},
        {"$2\r\n\r\n\r\n", REPLY_WHOLE, "\"\\r\\n\"\n"},
        {"$-1\r\n", REPLY_WHOLE, "(nil)\n"},
        {"_\r\n", REPLY_WHOLE, "(nil)\n"},
        {"*-1\r\n", REPLY_WHOLE, "(nil)\n"},
        {"*0\r\n", REPLY_WHOLE, "(empty)\n"},
        {"*2\r\n:1\r\n*2\r\n+a\r\n+b\r\n", REPLY_WHOLE, "1) (integer) 1\n2) 1) a\n   2) b\n"},
        {"%1\r\n+k\r\n:1\r\n", REPLY_WHOLE, "1) k\n2) (integer) 1\n"},
        {"#t\r\n", REPLY_WHOLE, "(true)\n"},
        {",1.5\r\n", REPLY_WHOLE, "(double) 1.5\n"},
        {"=6\r\ntxt:hi\r\n", REPLY_WHOLE, "hi\n"},
        {"", REPLY_PARTIAL, NULL},
        {"$", REPLY_PARTIAL, NULL},
        {"$3\r\nab", REPLY_PARTIAL, NULL},
        {"$3\r\nabc\r", REPLY_PARTIAL, NULL},
        {"*2\r\n:1\r\n", REPLY_PARTIAL, NULL},
        {"HTTP/1.1 200 OK\r\n", REPLY_BROKEN, NULL},
        {"+a\n", REPLY_BROKEN, NULL},
        {"$3\r\nabcde", REPLY_BROKEN, NULL},
        {"$-2\r\n", REPLY_BROKEN, NULL},
        {"$x\r\n", REPLY_BROKEN, NULL},
        {"*99999999999\r\n", REPLY_BROKEN, NULL},
        {"$9223372036854775807\r\n", REPLY_BROKEN, NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t size = 0;
        struct buf text = {0};
        struct bytes in = bytes_str(cases[i].reply);
        assert_int_equal(reply_scan(in, &size), cases[i].state);
        if (cases[i].state == REPLY_WHOLE) {
            assert_int_equal(size, in.n);
            reply_print(in, &text);
            buf_put_u8(&text, 0);
            assert_string_equal((char *)text.p, cases[i].printed);
        }
        buf_deinit(&text);
    }
}

/* A thousand arrays within each other are read, and shown as far as a screen makes sense. */
static void test_depth(void **state)
{
    struct buf in = {0}, text = {0};
    size_t size;
    for (int i = 0; i < 1000; i++) buf_printf(&in, "*1\r\n");
    buf_printf(&in, ":1\r\n");
    assert_int_equal(reply_scan(buf_view(&in), &size), REPLY_WHOLE);
    assert_int_equal(size, in.n);
    reply_print(buf_view(&in), &text);
    assert_true(text.n < 1000);
    buf_deinit(&in);
    buf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scan_and_print), cmocka_unit_test(test_depth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
