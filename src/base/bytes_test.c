/* bytes_test.c - how buffers grow, and what they keep.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"

/* Small ones double; of large ones at most an eighth is unused; the bytes stay. */
static void test_growth(void **state)
{
    struct buf b = {0};
    size_t moves = 0, cap = 0;
    for (size_t i = 0; i < 20u << 20; i++) {
        buf_put_u8(&b, (uint8_t)(i * 7));
        if (b.cap == cap) continue;
        cap = b.cap;
        moves++;
        assert_true(b.n <= 1u << 20 ? b.cap <= 2 * b.n + 64 : b.cap <= b.n + b.n / 8);
    }
    assert_true(moves < 60); /* so that growing costs a constant per byte */
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] != (uint8_t)(i * 7)) fail_msg("byte %zu", i);
    buf_deinit(&b);
    buf_reserve(&b, 300u << 20); /* not touched: costs no memory */
    assert_true(b.cap <= (300u << 20) / 8 * 9);
    buf_deinit(&b);
}

static void test_clear_keep(void **state)
{
    struct buf b = {0};
    buf_extend(&b, 100);
    buf_clear_keep(&b, 4096);
    assert_int_equal(b.n, 0);
    assert_non_null(b.p);
    buf_extend(&b, 5000);
    buf_clear_keep(&b, 4096);
    assert_int_equal(b.n, 0);
    assert_null(b.p);
    assert_int_equal(b.cap, 0);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_growth), cmocka_unit_test(test_clear_keep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
