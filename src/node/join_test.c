/* join_test.c - a request to join: what is read is what was sent, and one of another format is refused with a text that says so.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "node/node_internal.h"

struct read {
    uint8_t uuid[16];
    char address[20];
    uint16_t stores;
    struct lineage lineage;
    struct error err;
};

static enum status decode(struct bytes body, struct read *out)
{
    *out = (struct read){0};
    return join_decode(body, out->uuid, out->address, sizeof out->address, &out->stores, &out->lineage, &out->err);
}

static void encode(struct buf *out, uint8_t format, const char *address)
{
    struct lineage lineage = {0};
    lineage_grow(&lineage, 77);
    buf_clear(out);
    buf_put_u8(out, format);
    buf_put(out, "0123456789abcdef", 16);
    buf_put_u16(out, 3);
    buf_put_lp(out, bytes_str(address));
    lineage_put(&lineage, out);
}

static void test_round_trip(void **state)
{
    struct buf b = {0};
    struct read r;
    encode(&b, 1, "10.0.0.1:7000");
    assert_int_equal(decode(buf_view(&b), &r), ST_OK);
    assert_memory_equal(r.uuid, "0123456789abcdef", 16);
    assert_string_equal(r.address, "10.0.0.1:7000");
    assert_int_equal(r.stores, 3);
    assert_int_equal(lineage_now(&r.lineage).id, 77);
    for (size_t n = 0; n < b.n; n++) assert_int_equal(decode(bytes_of(b.p, n), &r), ST_VERSION);
    encode(&b, 1, "an-address-of-20-by:1");
    assert_int_equal(decode(buf_view(&b), &r), ST_VERSION);
    encode(&b, 1, "");
    assert_int_equal(decode(buf_view(&b), &r), ST_VERSION);
    buf_deinit(&b);
}

static void test_other_formats_are_named(void **state)
{
    struct buf b = {0};
    struct read r;
    for (unsigned format = 0; format < 256; format++) {
        char text[120];
        if (format == 1) continue;
        encode(&b, (uint8_t)format, "10.0.0.1:7000");
        snprintf(text, sizeof text,
                 "its request to join has format %u, and this node reads format 1: use the same cairn for both",
                 format);
        assert_int_equal(decode(buf_view(&b), &r), ST_VERSION);
        assert_string_equal(r.err.text, text);
    }
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_other_formats_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
