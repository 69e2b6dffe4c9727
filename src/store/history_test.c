/* history_test.c - keys and values of history rows, and which of them are visible.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "store/history.h"

enum { DATA = 1, HISTORY = 3, OTHER = 6 };

static struct bytes data_key(const char *rest, uint8_t out[32])
{
    put_be32(out, 7);
    put_be16(out + 4, 513);
    out[6] = DATA;
    struct bytes r = bytes_str(rest);
    memcpy(out + 7, r.p, r.n);
    return bytes_of(out, 7 + r.n);
}

static void keys_have_their_place(void **state)
{
    static const uint8_t expected[] = {0, 0, 0, 7, 2, 1, HISTORY, 'a', 'b', 0, 0, 0, 0, 0, 0, 1, 2};
    uint8_t k[32];
    struct buf b = {0}, back = {0};
    hlc_t superseded;
    history_key(&b, data_key("ab", k), HISTORY, 0x102);
    assert_int_equal(b.n, sizeof expected);
    assert_memory_equal(b.p, expected, sizeof expected);
    assert_true(history_key_decode(buf_view(&b), HISTORY, DATA, &back, &superseded));
    assert_true(bytes_equal(buf_view(&back), data_key("ab", k)));
    assert_int_equal(superseded, 0x102);
    assert_false(history_key_decode(data_key("a long enough key", k), HISTORY, DATA, &back, &superseded));
    assert_false(history_key_decode(bytes_of(expected, 14), HISTORY, DATA, &back, &superseded));
    buf_deinit(&b);
    buf_deinit(&back);
}

static void older_changes_come_first_and_belong_to_their_key(void **state)
{
    uint8_t k[32];
    struct buf old = {0}, new = {0}, longer = {0};
    history_key(&old, data_key("a", k), HISTORY, 10);
    history_key(&new, data_key("a", k), HISTORY, 300);
    history_key(&longer, data_key("ab", k), HISTORY, 300);
    assert_true(bytes_compare(buf_view(&old), buf_view(&new)) < 0);
    assert_true(history_is_of(buf_view(&old), HISTORY, data_key("a", k)));
    assert_true(history_is_of(buf_view(&new), HISTORY, data_key("a", k)));
    assert_false(history_is_of(buf_view(&longer), HISTORY, data_key("a", k)));
    assert_false(history_is_of(buf_view(&new), HISTORY, data_key("b", k)));
    assert_false(history_is_of(data_key("a12345678", k), HISTORY, data_key("a", k)));
    buf_deinit(&old);
    buf_deinit(&new);
    buf_deinit(&longer);
}

static void values_say_whether_there_was_a_row(void **state)
{
    struct buf b = {0};
    struct bytes old;
    bool present;
    history_value(&b, true, bytes_str("was"));
    assert_true(history_value_decode(buf_view(&b), &present, &old));
    assert_true(present && bytes_equal(old, bytes_str("was")));
    buf_clear(&b);
    history_value(&b, false, bytes_str("was"));
    assert_true(history_value_decode(buf_view(&b), &present, &old));
    assert_true(!present && old.n == 0);
    assert_false(history_value_decode(bytes_str(""), &present, &old));
    assert_false(history_value_decode(BYTES_LIT("\2x"), &present, &old));
    assert_false(history_value_decode(BYTES_LIT("\0x"), &present, &old));
    buf_deinit(&b);
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
        struct history_skip skip = {cases[i].watermark, {HISTORY, OTHER}};
        assert_int_equal(history_should_keep(skip.watermark, cases[i].superseded), cases[i].keep);
        for (int space = 0; space < 2; space++) {
            struct buf key = {0};
            history_key(&key, data_key("k", k), skip.spaces[space], cases[i].superseded);
            assert_int_equal(history_skip(&skip, buf_view(&key), bytes_str("")), !cases[i].keep);
            buf_deinit(&key);
        }
        assert_false(history_skip(&skip, data_key("k", k), bytes_str("value"))); /* a data row is visible */
        assert_false(history_skip(&skip, BYTES_LIT("\0\0\0\7\2\1\3short"), bytes_str("")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_their_place),
        cmocka_unit_test(older_changes_come_first_and_belong_to_their_key),
        cmocka_unit_test(values_say_whether_there_was_a_row),
        cmocka_unit_test(rows_superseded_after_the_watermark_are_visible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
