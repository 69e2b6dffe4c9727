/* json_test.c - JSON is well formed whatever goes in.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/json.h"
#include "base/status.h"

static void test_nesting_and_numbers(void **state)
{
    struct buf out = {0};
    struct json j = {&out, false};
    json_begin_object(&j, NULL);
    json_put_u64(&j, "a", UINT64_MAX);
    json_put_i64(&j, "b", INT64_MIN);
    json_begin_array(&j, "c");
    json_begin_object(&j, NULL);
    json_end_object(&j);
    json_put_null(&j, NULL);
    json_put_bool(&j, NULL, true);
    json_begin_array(&j, NULL);
    json_end_array(&j);
    json_end_array(&j);
    json_put_milli(&j, "d", -1234);
    json_put_milli(&j, "e", 5);
    json_put_text(&j, "f", NULL);
    json_end_object(&j);
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.p, "{\"a\":18446744073709551615,\"b\":-9223372036854775808,\"c\":[{},null,true,[]],"
                                       "\"d\":-1.234,\"e\":0.005,\"f\":null}");
    buf_deinit(&out);
}

static void test_strings(void **state)
{
    static const struct {
        struct bytes in;
        const char *out;
    } cases[] = {
        {{NULL, 0}, "\"\""},
        {BYTES_LIT("a\"b\\c"), "\"a\\\"b\\\\c\""},
        {BYTES_LIT("\n\0\x1f"), "\"\\u000a\\u0000\\u001f\""},
        {BYTES_LIT("\xc3\xa9\xf0\x9f\x98\x80"), "\"\xc3\xa9\xf0\x9f\x98\x80\""},
        {BYTES_LIT("\xff\xc3"), "\"\\ufffd\\ufffd\""},
        {BYTES_LIT("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\""}, /* a surrogate */
        {BYTES_LIT("\xc0\xaf"), "\"\\ufffd\\ufffd\""},            /* overlong */
        {BYTES_LIT("\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf out = {0};
        struct json j = {&out, false};
        json_put_bytes(&j, NULL, cases[i].in);
        buf_put_u8(&out, 0);
        assert_string_equal((char *)out.p, cases[i].out);
        buf_deinit(&out);
    }
}

/* Every string of three bytes, and its neighbours, is read back by another reader. */
static void test_all_short_strings_parse(void **state)
{
    for (uint32_t v = 0; v < 1u << 24; v += 97) {
        uint8_t text[3] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16)};
        struct buf out = {0};
        struct json j = {&out, false};
        json_begin_array(&j, NULL);
        json_put_bytes(&j, NULL, bytes_of(text, 3));
        json_end_array(&j);
        json_t *read = json_loadb((const char *)out.p, out.n, JSON_ALLOW_NUL, NULL);
        assert_non_null(read);
        json_decref(read);
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nesting_and_numbers), cmocka_unit_test(test_strings),
                                       cmocka_unit_test(test_all_short_strings_parse)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
