/* result_test.c - results come back as they were put; bytes that are none are refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/result_text_test_util.h"

static void put_all(struct buf *out)
{
    result_array(out, 14);
    result_nil(out);
    result_nil_array(out);
    result_ok(out);
    result_bool(out, true);
    result_bool(out, false);
    result_int(out, INT64_MIN);
    result_int(out, INT64_MAX);
    result_double(out, BYTES_LIT("1.5"));
    result_bulk(out, BYTES_LIT("a\"\r\n"));
    result_simple(out, BYTES_LIT("s"));
    result_error(out, "ERR %d", 7);
    result_map(out, 1);
    result_int(out, 1);
    result_int(out, 2);
    result_pairs(out, 1);
    result_bulk_head(out, 2);
    buf_put(out, "xy", 2);
    result_int(out, -2);
    result_set(out, 2);
    result_blocked(out, 9);
    result_conflict(out);
}

static void test_round_trip(void **state)
{
    struct buf out = {0}, text = {0};
    put_all(&out);
    assert_true(result_check(buf_view(&out)));
    struct reader r = reader_of(buf_view(&out));
    assert_true(result_text(&text, &r));
    assert_true(reader_done(&r));
    buf_put_u8(&text, 0);
    assert_string_equal((char *)text.p, "[nil nil-array OK true false -9223372036854775808 9223372036854775807 ~1.5 "
                                        "\"a\\x22\\x0d\\x0a\" +s -ERR 7 {1: 2} <\"xy\": -2> (blocked 9 conflict)]");
    buf_deinit(&out);
    buf_deinit(&text);
}

static void test_every_cut_is_refused(void **state)
{
    struct buf out = {0};
    put_all(&out);
    for (size_t n = 0; n < out.n; n++) {
        uint8_t *copy = out.n != 0 ? test_malloc(n + 1) : NULL; /* exact size: reading past it is caught */
        memcpy(copy, out.p, n);
        assert_false(result_check(bytes_of(copy, n)));
        test_free(copy);
    }
    buf_put_u8(&out, 'n'); /* something is left over */
    assert_false(result_check(buf_view(&out)));
    buf_deinit(&out);
}

static void test_depth_and_counts_are_bounded(void **state)
{
    struct buf out = {0};
    for (int i = 0; i < RESULT_DEPTH_MAX; i++) result_array(&out, 1);
    result_nil(&out);
    assert_true(result_check(buf_view(&out)));
    buf_clear(&out);
    for (int i = 0; i <= RESULT_DEPTH_MAX; i++) result_array(&out, 1);
    result_nil(&out);
    assert_false(result_check(buf_view(&out)));
    buf_clear(&out);
    result_map(&out, UINT64_MAX / 2 + 1); /* twice that is 0 */
    assert_false(result_check(buf_view(&out)));
    assert_false(result_check(BYTES_LIT("q")));
    buf_deinit(&out);
}

static void test_long_errors_are_cut(void **state)
{
    struct buf out = {0};
    struct result v;
    result_error(&out, "ERR %0700d", 1);
    struct reader r = reader_of(buf_view(&out));
    assert_true(result_next(&r, &v));
    assert_int_equal(v.tag, 'e');
    assert_int_equal(v.bytes.n, 511);
    assert_true(reader_done(&r));
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_cut_is_refused),
        cmocka_unit_test(test_depth_and_counts_are_bounded),
        cmocka_unit_test(test_long_errors_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
