/* metrics_test.c - buckets against a dumb second way; the printed text line by line.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/status.h"

static void test_buckets_are_in_order_and_narrow(void **state)
{
    uint64_t begin = 1ull << HIST_LOW_BITS;
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        uint64_t end = hist_bucket_end(i);
        assert_int_equal(hist_index(begin), i);
        assert_int_equal(hist_index(end - 1), i);
        assert_true((end - begin) * 64 <= begin);
        begin = end;
    }
    assert_true(begin == 1ull << HIST_HIGH_BITS);
    assert_int_equal(hist_index(0), 0);
    assert_int_equal(hist_index(1023), 0);
    assert_int_equal(hist_index(begin), HIST_BUCKETS - 1);
    assert_int_equal(hist_index(UINT64_MAX), HIST_BUCKETS - 1);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_quantiles_against_sorting(void **state)
{
    enum { COUNT = 20000 };
    static const double qs[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
    struct hist *h = mem_zalloc(sizeof *h);
    uint64_t *values = mem_alloc(COUNT * sizeof *values);
    struct rng rng;
    rng_init(&rng, 7);
    assert_int_equal(hist_quantile(h, 0.5), 0);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = rng_between(&rng, 1024, 1ull << rng_between(&rng, 11, 36));
        hist_add(h, values[i]);
    }
    qsort(values, COUNT, sizeof *values, compare);
    for (size_t i = 0; i < ARRAY_COUNT(qs); i++) {
        size_t rank = (size_t)(qs[i] * COUNT);
        uint64_t exact = values[rank == 0 ? 0 : rank - 1], got = hist_quantile(h, qs[i]);
        assert_true(got >= exact && got <= exact + exact / 64 + 1);
    }
    assert_true(hist_quantile(h, 1) == values[COUNT - 1]);
    mem_free(values);
    mem_free(h);
}

static void test_outside_the_range(void **state)
{
    struct hist *h = mem_zalloc(sizeof *h);
    hist_add(h, 5);
    assert_int_equal(hist_quantile(h, 1), 5);
    hist_add(h, 1000 * NS_PER_S);
    assert_true(hist_quantile(h, 1) == 1000 * NS_PER_S);
    assert_true(h->sum_ns == 1000 * NS_PER_S + 5);
    mem_free(h);
}

struct figures {
    uint64_t requests;
    uint64_t open;
    struct hist took;
};
static const struct metric table[] = {
    {"requests_total", "Requests.", METRIC_COUNTER, offsetof(struct figures, requests)},
    {"open", "Open now.", METRIC_GAUGE, offsetof(struct figures, open)},
    {"took_seconds", "How long they took.", METRIC_HIST, offsetof(struct figures, took)},
};

static void test_shards_add_up_and_print(void **state)
{
    struct figures *all = mem_zalloc(sizeof *all), *one = mem_zalloc(sizeof *one);
    struct buf out = {0}, labels = {0};
    for (uint64_t shard = 1; shard <= 3; shard++) {
        one->requests = 10 * shard;
        one->open = shard;
        hist_add(&one->took, 3000 * shard); /* 3000; 3000, 6000; 3000, 6000, 9000 ns */
        metrics_add(table, ARRAY_COUNT(table), all, one);
    }
    metrics_label(&labels, "node", BYTES_LIT("a\"b\\c\nd\x01"));
    metrics_label(&labels, "x", BYTES_LIT("y"));
    metrics_print(table, ARRAY_COUNT(table), all, buf_view(&labels), &out);
    buf_put_u8(&out, 0);
    const char *text = (const char *)out.p;
    static const char *const lines[] = {
        "# HELP requests_total Requests.\n# TYPE requests_total counter\n",
        "requests_total{node=\"a\\\"b\\\\c\\nd?\",x=\"y\"} 60\n",
        "# TYPE open gauge\nopen{node=\"a\\\"b\\\\c\\nd?\",x=\"y\"} 6\n",
        "# TYPE took_seconds histogram\ntook_seconds_bucket{node=\"a\\\"b\\\\c\\nd?\",x=\"y\",le=\"0.000002048\"} 0\n",
        "le=\"0.000004096\"} 3\n",
        "le=\"0.000008192\"} 5\n",
        "le=\"0.000016384\"} 6\n",
        "le=\"68.719476736\"} 6\n",
        "le=\"+Inf\"} 6\n",
        "took_seconds_sum{node=\"a\\\"b\\\\c\\nd?\",x=\"y\"} 0.000030000\n",
        "took_seconds_count{node=\"a\\\"b\\\\c\\nd?\",x=\"y\"} 6\n",
    };
    const char *at = text;
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        at = strstr(at, lines[i]);
        if (at == NULL) fail_msg("missing, or out of order: %s in\n%s", lines[i], text);
    }
    buf_clear(&out);
    metrics_seconds(&out, "age_seconds", (struct bytes){0}, 1500 * NS_PER_MS);
    assert_true(bytes_equal(buf_view(&out), BYTES_LIT("age_seconds 1.500000000\n")));
    buf_deinit(&out);
    buf_deinit(&labels);
    mem_free(all);
    mem_free(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_are_in_order_and_narrow),
        cmocka_unit_test(test_quantiles_against_sorting),
        cmocka_unit_test(test_outside_the_range),
        cmocka_unit_test(test_shards_add_up_and_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
