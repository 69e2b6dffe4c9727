/* history_test.c - keys and values of history rows, and which of them are visible.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "store/history.h"

enum { DATA = 1, HISTORY = 3 };

static struct bytes data_key(const char *rest, uint8_t out[32])
{
    put_be32(out, 7);
    put_be16(out + 4, 513);
    out[6] = DATA;
    memcpy(out + 7, rest, strlen(rest));
    return bytes_of(out, 7 + strlen(rest));
}

static void keys_have_their_place(void **state)
{
    static const uint8_t expected[] = {0,    0,    0,    7,    2,    1,    HISTORY, 'a', 'b',
                                       0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,    0xfd};
    uint8_t k[32];
    struct buf b = {0}, back = {0};
    hlc_t written;
    history_key(&b, data_key("ab", k), HISTORY, 0x102);
    assert_int_equal(b.n, sizeof expected);
    assert_memory_equal(b.p, expected, sizeof expected);
    assert_true(history_key_decode(buf_view(&b), HISTORY, DATA, &back, &written));
    assert_true(bytes_equal(buf_view(&back), data_key("ab", k)));
    assert_int_equal(written, 0x102);
    assert_false(history_key_decode(data_key("a long enough key", k), HISTORY, DATA, &back, &written));
    assert_false(history_key_decode(bytes_of(expected, 14), HISTORY, DATA, &back, &written));
    buf_deinit(&b);
    buf_deinit(&back);
}

static void newer_versions_come_first_and_belong_to_their_key(void **state)
{
    uint8_t k[32];
    struct buf old = {0}, new = {0}, longer = {0};
    history_key(&old, data_key("a", k), HISTORY, 10);
    history_key(&new, data_key("a", k), HISTORY, 300);
    history_key(&longer, data_key("ab", k), HISTORY, 300);
    assert_true(bytes_compare(buf_view(&new), buf_view(&old)) < 0);
    assert_true(history_is_of(buf_view(&old), HISTORY, data_key("a", k)));
    assert_true(history_is_of(buf_view(&new), HISTORY, data_key("a", k)));
    assert_false(history_is_of(buf_view(&longer), HISTORY, data_key("a", k)));
    assert_false(history_is_of(buf_view(&new), HISTORY, data_key("b", k)));
    assert_false(history_is_of(data_key("a12345678", k), HISTORY, data_key("a", k)));
    buf_deinit(&old);
    buf_deinit(&new);
    buf_deinit(&longer);
}

static void rows_superseded_after_the_watermark_are_visible(void **state)
{
    static const struct {
        hlc_t watermark, superseded;
        bool keep;
    } cases[] = {{0, 0, false}, {0, 1, true}, {5, 4, false},
                 {5, 5, false}, {5, 6, true}, {UINT64_MAX, UINT64_MAX, false}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint8_t k[32];
        struct buf key = {0}, value = {0};
        struct history_view view = {cases[i].watermark, HISTORY};
        hlc_t superseded;
        struct bytes old;
        history_key(&key, data_key("k", k), HISTORY, 1);
        history_value(&value, cases[i].superseded, bytes_str("old"));
        assert_int_equal(history_should_keep(view.watermark, cases[i].superseded), cases[i].keep);
        assert_int_equal(history_skip(&view, buf_view(&key), buf_view(&value)), !cases[i].keep);
        assert_false(history_skip(&view, data_key("k", k), buf_view(&value))); /* a data row is visible */
        assert_false(history_skip(&view, buf_view(&key), bytes_str("short")));
        assert_true(history_value_decode(buf_view(&value), &superseded, &old));
        assert_int_equal(superseded, cases[i].superseded);
        assert_true(bytes_equal(old, bytes_str("old")));
        buf_deinit(&key);
        buf_deinit(&value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_their_place),
        cmocka_unit_test(newer_versions_come_first_and_belong_to_their_key),
        cmocka_unit_test(rows_superseded_after_the_watermark_are_visible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
