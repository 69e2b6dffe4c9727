/* deb822_test.c - records of "Name: value" lines.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/deb822.h"

static struct deb822_record record;

/* All records as "name=value|…;", in one text. */
static void show(const char *in, struct buf *out)
{
    struct bytes rest = bytes_str(in);
    struct error err = {0};
    size_t taken;
    enum status st;
    while ((st = deb822_next(rest, true, &record, &taken, &err)) == ST_OK && record.count != 0) {
        for (size_t i = 0; i < record.count; i++)
            buf_printf(out, "%.*s=%.*s|", (int)record.fields[i].name.n, (const char *)record.fields[i].name.p,
                       (int)record.fields[i].value.n,
                       record.fields[i].value.n != 0 ? (const char *)record.fields[i].value.p : "");
        buf_printf(out, ";");
        rest = bytes_of(rest.p + taken, rest.n - taken);
    }
    if (st != ST_OK) buf_printf(out, "%s", err.text);
    buf_put_u8(out, 0);
}

static void test_records(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"\n\n# only a comment\n", ""},
        {"A: 1", "A=1|;"},
        {"A: 1\nB:2 \n", "A=1|B=2|;"},
        {"\n\nA: 1\n\n\nA: 2\n", "A=1|;A=2|;"},
        {"A: 1\n two\n\tthree\nB: x\n", "A=1\n two\n\tthree|B=x|;"},
        {"A:\n one\n", "A=one|;"},
        {"A:\n\nB: 1\n", "A=|;B=1|;"},
        {"A: 1\n# comment\n more\n", "A=1\n# comment\n more|;"}, /* rare, and harmless */
        {"A: 1\r\nB: 2\r\n\r\nC: 3\r\n", "A=1|B=2|;C=3|;"},
        {"A: b: c\n", "A=b: c|;"},
        {" no field\n", "line 1 goes on with a field, but there is none before it"},
        {"A: 1\nbroken\n", "line 2 has no field name before a ':': 'broken'"},
        {": 1\n", "line 1 has no field name before a ':': ': 1'"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf out = {0};
        show(cases[i].in, &out);
        assert_string_equal((char *)out.p, cases[i].out);
        buf_deinit(&out);
    }
}

/* A record is only taken when its end is there. */
static void test_pieces(void **state)
{
    const char *in = "Package: a\nX: 1\n 2\n\nPackage: b\n";
    struct error err = {0};
    size_t taken = 0;
    for (size_t n = 0; n < strlen("Package: a\nX: 1\n 2\n\n"); n++)
        assert_int_equal(deb822_next(bytes_of(in, n), false, &record, &taken, &err), ST_NOT_READY);
    assert_int_equal(deb822_next(bytes_str(in), false, &record, &taken, &err), ST_OK);
    assert_int_equal(taken, strlen("Package: a\nX: 1\n 2\n\n"));
    assert_true(bytes_equal(deb822_field(&record, "package"), BYTES_LIT("a")));
    assert_true(bytes_equal(deb822_field(&record, "x"), BYTES_LIT("1\n 2")));
    assert_int_equal(deb822_field(&record, "none").n, 0);
}

static void test_bounds(void **state)
{
    struct buf in = {0};
    struct error err = {0};
    size_t taken;
    for (int i = 0; i < DEB822_FIELDS_MAX; i++) buf_printf(&in, "F%d: x\n", i);
    assert_int_equal(deb822_next(buf_view(&in), true, &record, &taken, &err), ST_OK);
    buf_printf(&in, "More: x\n");
    assert_int_equal(deb822_next(buf_view(&in), true, &record, &taken, &err), ST_TOO_LARGE);
    buf_clear(&in);
    while (in.n <= DEB822_RECORD_MAX) buf_printf(&in, "F: 0123456789012345678901234567890123456789\n x\n");
    assert_int_equal(deb822_next(bytes_of(in.p, DEB822_RECORD_MAX + 1), false, &record, &taken, &err), ST_TOO_LARGE);
    buf_deinit(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_records), cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
