/* place_test.c - slots as Redis Cluster computes them; rows sort and parse.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/status.h"
#include "table/place.h"

static void test_slots(void **state)
{
    /* From the Redis Cluster specification, and from CLUSTER KEYSLOT of Redis 7. */
    static const struct {
        const char *key;
        uint16_t slot;
    } rows[] = {
        {"123456789", 12739},
        {"foo", 12182},
        {"bar", 5061},
        {"", 0},
        {"{user1000}.following", 3443},
        {"{user1000}.followers", 3443},
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"foo{bar}{zap}", 5061},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) assert_int_equal(key_slot(bytes_str(rows[i].key)), rows[i].slot);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
}

static void test_rows_parse(void **state)
{
    struct buf b = {0};
    struct row_parts p;
    row_head(&b, 7, BYTES_LIT("foo"));
    assert_true(row_parse(buf_view(&b), &p));
    assert_int_equal(p.table, 7);
    assert_int_equal(p.slot, 12182);
    assert_int_equal(p.space, SPACE_HEAD);
    assert_true(p.hash48 == key_hash48(BYTES_LIT("foo")));
    assert_true(bytes_equal(p.rest, BYTES_LIT("foo")));
    for (size_t n = 0; n < 13; n++) assert_false(row_parse(bytes_of(b.p, n), &p));
    buf_clear(&b);
    row_expiry(&b, 7, 3, 99, 5, BYTES_LIT("k"));
    assert_true(row_parse(buf_view(&b), &p));
    assert_int_equal(p.expiry_ms, 99);
    assert_int_equal(p.hash48, 5);
    buf_clear(&b);
    row_system(&b, 1, SYSTEM_APPLIED, BYTES_LIT(""));
    assert_false(row_parse(buf_view(&b), &p));
    buf_deinit(&b);
}

static void test_range_holds_its_slots(void **state)
{
    struct buf lo = {0}, hi = {0}, row = {0};
    row_range(&lo, &hi, 1, 100, 200);
    for (unsigned slot = 0; slot < SLOTS; slot += 50) {
        buf_clear(&row);
        row_garbage(&row, 1, (uint16_t)slot, UINT64_MAX);
        bool inside = bytes_compare(buf_view(&row), buf_view(&lo)) >= 0 &&
                      bytes_compare(buf_view(&row), buf_view(&hi)) < 0;
        assert_int_equal(inside, slot >= 100 && slot < 200);
    }
    buf_clear(&lo);
    buf_clear(&hi);
    row_range(&lo, &hi, 1, 0, SLOTS);
    buf_clear(&row);
    row_garbage(&row, 1, SLOTS - 1, UINT64_MAX);
    assert_true(bytes_compare(buf_view(&row), buf_view(&hi)) < 0);
    buf_deinit(&lo);
    buf_deinit(&hi);
    buf_deinit(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_rows_parse),
        cmocka_unit_test(test_range_holds_its_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
