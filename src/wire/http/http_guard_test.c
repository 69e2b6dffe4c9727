/* http_guard_test.c - which requests may change something.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/http/http_guard.h"

static bool known(void *ctx, struct bytes host) { return bytes_equal_nocase(host, "db1.example"); }

static struct http_field field(const char *text)
{
    return text != NULL ? (struct http_field){bytes_str(text), 1} : (struct http_field){0};
}

static void test_guard(void **state)
{
    static const struct {
        const char *host, *origin, *site, *type;
        enum status status;
        const char *says;
    } rows[] = {
        /* no browser: any name will do */
        {"127.0.0.1:7000", NULL, NULL, NULL, ST_OK, ""},
        {"any.name:7000", NULL, NULL, NULL, ST_OK, ""},
        {NULL, NULL, NULL, NULL, ST_OK, ""},
        {"any.name:7000", NULL, NULL, "application/json", ST_OK, ""},
        {"any.name:7000", NULL, NULL, "Application/JSON; charset=utf-8", ST_OK, ""},
        /* what a form sends */
        {"127.0.0.1:7000", NULL, NULL, "application/x-www-form-urlencoded", ST_INVALID, "application/json"},
        {"127.0.0.1:7000", NULL, NULL, "multipart/form-data; boundary=x", ST_INVALID, "application/json"},
        {"127.0.0.1:7000", NULL, NULL, "text/plain", ST_INVALID, "application/json"},
        {"127.0.0.1:7000", NULL, NULL, "text/plain; application/json", ST_INVALID, "application/json"},
        {"127.0.0.1:7000", NULL, NULL, "", ST_INVALID, "application/json"},
        /* a page of the node itself */
        {"127.0.0.1:7000", "http://127.0.0.1:7000", "same-origin", NULL, ST_OK, ""},
        {"[::1]:7000", "http://[::1]:7000", NULL, NULL, ST_OK, ""},
        {"localhost:7000", "http://localhost:7000", NULL, "application/json", ST_OK, ""},
        {"DB1.example:7000", "https://db1.EXAMPLE:7000", NULL, NULL, ST_OK, ""},
        {"127.0.0.1:7000", NULL, "none", NULL, ST_OK, ""},
        /* of another site */
        {"127.0.0.1:7000", "http://evil.example", NULL, NULL, ST_DENIED, "Origin: http://evil.example"},
        {"127.0.0.1:7000", "http://127.0.0.1:7001", NULL, NULL, ST_DENIED, "another site"},
        {"127.0.0.1:7000", "http://127.0.0.1", NULL, NULL, ST_DENIED, "another site"},
        {"127.0.0.1:7000", "http://127.0.0.1:7000.evil.example", NULL, NULL, ST_DENIED, "another site"},
        {"127.0.0.1:7000", "null", NULL, NULL, ST_DENIED, "Origin: null"},
        {"127.0.0.1:7000", "", NULL, NULL, ST_DENIED, "another site"},
        {"127.0.0.1:7000", NULL, "cross-site", NULL, ST_DENIED, "Sec-Fetch-Site: cross-site"},
        {"127.0.0.1:7000", NULL, "same-site", NULL, ST_DENIED, "Sec-Fetch-Site: same-site"},
        {NULL, "http://127.0.0.1:7000", NULL, NULL, ST_DENIED, "which host"},
        /* a name that was made to resolve to the node */
        {"evil.example:7000", "http://evil.example:7000", "same-origin", NULL, ST_DENIED,
         "no name that this cluster knows"},
        {"evil.example:7000", NULL, "same-origin", NULL, ST_DENIED, "no name"},
        {"localhost.evil.example", "http://localhost.evil.example", NULL, NULL, ST_DENIED, "no name"},
        {"1.2.3.evil", "http://1.2.3.evil", NULL, NULL, ST_DENIED, "no name"},
        {"1.2.3.4.5", "http://1.2.3.4.5", NULL, NULL, ST_DENIED, "no name"},
        {"1.2.3.", "http://1.2.3.", NULL, NULL, ST_DENIED, "no name"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct http_request r = {.method = "POST",
                                 .host = field(rows[i].host),
                                 .origin = field(rows[i].origin),
                                 .content_type = field(rows[i].type),
                                 .fetch_site = field(rows[i].site)};
        struct error err = {0};
        enum status st = http_guard(&r, known, NULL, &err);
        if (st != rows[i].status || strstr(err.text, rows[i].says) == NULL)
            fail_msg("row %zu: %s: %s", i, status_name(st), err.text);
    }
}

static void test_twice(void **state)
{
    struct error err = {0};
    struct http_request r = {.host = field("127.0.0.1:1"), .origin = {BYTES_LIT("http://127.0.0.1:1"), 2}};
    assert_int_equal(http_guard(&r, known, NULL, &err), ST_DENIED);
    r = (struct http_request){.host = field("127.0.0.1:1"), .content_type = {BYTES_LIT("application/json"), 2}};
    assert_int_equal(http_guard(&r, known, NULL, &err), ST_INVALID);
    r = (struct http_request){.host = field("127.0.0.1:1"), .fetch_site = {BYTES_LIT("none"), 2}};
    assert_int_equal(http_guard(&r, known, NULL, &err), ST_DENIED);
}

static void test_host_name(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {{"a:1", "a"},          {"a", "a"},       {"", ""},     {":1", ""},
                {"[::1]:7000", "::1"}, {"[::1]", "::1"}, {"[::1", ""}, {"1.2.3.4:5", "1.2.3.4"}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bytes b = http_host_name(bytes_str(rows[i].in));
        assert_true(bytes_equal(b, bytes_str(rows[i].out)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_guard), cmocka_unit_test(test_twice),
                                       cmocka_unit_test(test_host_name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
