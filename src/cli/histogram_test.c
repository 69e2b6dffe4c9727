/* histogram_test.c - percentiles against sorted values.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "cli/histogram.h"

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t rng = 88172645463325252u;
static uint64_t next(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static void test_percentiles_are_within_their_bound(void **state)
{
    enum { N = 20000 };
    static uint64_t values[N];
    static const double shares[] = {0.0, 0.001, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0};
    for (unsigned power = 1; power <= 41; power += 4) {
        struct histogram *h = mem_zalloc(sizeof *h);
        for (size_t i = 0; i < N; i++) histogram_add(h, values[i] = next() >> (64 - power));
        qsort(values, N, sizeof values[0], by_value);
        assert_int_equal(h->count, N);
        assert_int_equal(h->max, values[N - 1]);
        for (size_t i = 0; i < ARRAY_COUNT(shares); i++) {
            size_t rank = (size_t)(shares[i] * N);
            if ((double)rank < shares[i] * N) rank++;
            uint64_t truth = values[rank == 0 ? 0 : rank - 1], told = histogram_percentile(h, shares[i]);
            assert_true(told >= truth);
            assert_true(told - truth <= truth / 64);
        }
        mem_free(h);
    }
}

static void test_edges(void **state)
{
    struct histogram *h = mem_zalloc(sizeof *h), *g = mem_zalloc(sizeof *g);
    assert_int_equal(histogram_percentile(h, 0.5), 0);
    histogram_add(h, 0);
    assert_int_equal(histogram_percentile(h, 1.0), 0);
    histogram_add(g, UINT64_MAX / 2); /* beyond the range: the largest is kept as it is */
    assert_int_equal(histogram_percentile(g, 1.0), HISTOGRAM_MAX_NS);
    assert_int_equal(g->max, UINT64_MAX / 2);
    histogram_merge(h, g);
    assert_int_equal(h->count, 2);
    assert_int_equal(histogram_percentile(h, 0.5), 0);
    assert_int_equal(histogram_percentile(h, 0.51), HISTOGRAM_MAX_NS);
    mem_free(h);
    mem_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_percentiles_are_within_their_bound),
                                       cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
