/* lineage_test.c - who continues whom.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/lineage.h"

static struct lineage of(unsigned starts, uint64_t salt)
{
    struct lineage l = {0};
    for (unsigned i = 1; i <= starts; i++) lineage_grow(&l, salt * 1000 + i);
    return l;
}

static void test_compare(void **state)
{
    static const struct {
        unsigned starts;
        struct incarnation known;
        enum lineage_verdict want;
    } cases[] = {
        {1, {0, 0}, LINEAGE_NEWER},                                    /* nothing is known */
        {1, {1, 7001}, LINEAGE_SAME},   {3, {1, 7001}, LINEAGE_NEWER}, /* two starts that nobody heard of */
        {3, {2, 7002}, LINEAGE_NEWER},  {3, {3, 7003}, LINEAGE_SAME},
        {3, {3, 8003}, LINEAGE_FORKED}, /* another directory had its third start */
        {3, {2, 8002}, LINEAGE_FORKED}, /* … its second, before this one's third */
        {3, {4, 7004}, LINEAGE_OLDER},  /* a backup */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lineage l = of(cases[i].starts, 7);
        enum lineage_verdict got = lineage_compare(&l, cases[i].known);
        assert_int_equal(got, cases[i].want);
        assert_int_equal(lineage_fenced(got), got == LINEAGE_OLDER || got == LINEAGE_FORKED);
    }
}

/* However often a directory is started that nobody confirms, it does not become newer than what others know of a copy, and is
 * not mistaken for one by who knows the last of its own that was confirmed. */
static void test_bounded(void **state)
{
    static const struct {
        struct incarnation known;
        enum lineage_verdict want;
    } cases[] = {
        {{0, 0}, LINEAGE_NEWER},      {{8, 7008}, LINEAGE_NEWER}, /* before the last confirmed */
        {{9, 7009}, LINEAGE_NEWER},                               /* that one */
        {{9, 1}, LINEAGE_FORKED},     {{10, 1}, LINEAGE_FORKED},  /* in the gap: a copy's, for all that can be told */
        {{10, 7010}, LINEAGE_FORKED}, {{108, 7108}, LINEAGE_NEWER}, {{108, 1}, LINEAGE_FORKED},
        {{109, 7109}, LINEAGE_SAME},  {{110, 1}, LINEAGE_OLDER},
    };
    struct lineage l = of(12, 7), copy;
    struct buf b = {0};
    lineage_trim(&l, (struct incarnation){9, 7009});
    for (unsigned i = 13; i <= 109; i++) lineage_grow(&l, 7000 + i);
    assert_int_equal(l.count, LINEAGE_MAX);
    lineage_put(&l, &b);
    struct reader r = reader_of(buf_view(&b));
    assert_true(lineage_get(&r, &copy) && reader_done(&r));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(lineage_compare(&l, cases[i].known), cases[i].want);
        assert_int_equal(lineage_compare(&copy, cases[i].known), cases[i].want);
    }
    lineage_trim(&l, (struct incarnation){100, 7100}); /* confirmed: the gap is of no interest any more */
    assert_int_equal(lineage_compare(&l, (struct incarnation){10, 1}), LINEAGE_NEWER);
    assert_int_equal(lineage_compare(&l, (struct incarnation){100, 1}), LINEAGE_FORKED);
    buf_deinit(&b);
}

static void test_trim(void **state)
{
    struct lineage l = of(10, 7);
    lineage_trim(&l, (struct incarnation){6, 1}); /* not of this one: nothing is forgotten */
    assert_int_equal(l.count, 10);
    lineage_trim(&l, (struct incarnation){6, 7006});
    assert_int_equal(l.first, 6);
    assert_int_equal(l.count, 5);
    assert_int_equal(lineage_compare(&l, (struct incarnation){6, 7006}), LINEAGE_NEWER);
    lineage_trim(&l, (struct incarnation){3, 7003});
    lineage_trim(&l, (struct incarnation){0, 0});
    lineage_trim(&l, (struct incarnation){99, 7099});
    assert_int_equal(l.count, 5);
    assert_int_equal(lineage_now(&l).id, 7010);
}

static void test_encoding(void **state)
{
    struct buf b = {0};
    struct lineage l = of(4, 7), out;
    lineage_put(&l, &b);
    assert_int_equal(b.n, 16 + 8 + 1 + 4 * 8);
    struct reader r = reader_of(buf_view(&b));
    assert_true(lineage_get(&r, &out) && reader_done(&r));
    assert_int_equal(lineage_compare(&out, lineage_now(&l)), LINEAGE_SAME);
    for (size_t n = 0; n < b.n; n++) {
        r = reader_of(bytes_of(b.p, n));
        assert_false(lineage_get(&r, &out));
    }
    b.p[24] = LINEAGE_MAX + 1;
    r = reader_of(buf_view(&b));
    assert_false(lineage_get(&r, &out));
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_compare), cmocka_unit_test(test_bounded),
                                       cmocka_unit_test(test_trim), cmocka_unit_test(test_encoding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
