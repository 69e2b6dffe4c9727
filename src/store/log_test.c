/* log_test.c - the log as its users see it: append, read, cut, compact, reopen, bounds, failures.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/log_test_util.h"

static void test_open_empty(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    assert_int_equal(log_boot_count(g.log), 1);
    assert_int_equal(log_position(g.log), log_synced(g.log));
    assert_null(log_replica(g.log, 1));
    assert_null(log_replica(g.log, 0));
    for (uint64_t boot = 2; boot < 5; boot++) {
        rig_reopen(&g);
        assert_int_equal(log_boot_count(g.log), boot);
        assert_int_equal(suspects(&g), 0);
    }
    rig_deinit(&g);
}

static void test_append_reopen(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    rig_vote(&g, 1, 3, 2);
    rig_append(&g, 1, 1, 10, 3, 100);
    rig_append(&g, 2, 1, 1, 1, 0);
    rig_bound(&g, 77);
    assert_true(log_position(g.log) > log_synced(g.log));
    assert_int_equal(g.synced_events, 0);
    fake_run(g.fake);
    assert_int_equal(g.synced_events, 1); /* one turn, one batch */
    assert_true(g.synced >= log_position(g.log));
    assert_log_is_model(&g);
    rig_reopen(&g);
    assert_log_is_model(&g);
    assert_int_equal(suspects(&g), 0);
    assert_int_equal(log_bound(g.log), 77);
    rig_append(&g, 1, 11, 5, 4, 50);
    fake_run(g.fake);
    rig_reopen(&g);
    assert_log_is_model(&g);
    rig_deinit(&g);
}

static void test_replace_suffix(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    rig_append(&g, 1, 1, 10, 1, 100);
    fake_run(g.fake);
    rig_append(&g, 1, 6, 2, 2, 100);
    fake_run(g.fake);
    assert_log_is_model(&g);
    rig_append(&g, 1, 1, 1, 5, 100); /* all of it */
    rig_append(&g, 1, 2, 3, 6, 100); /* and again in the same batch */
    rig_append(&g, 1, 3, 1, 7, 100);
    fake_run(g.fake);
    assert_log_is_model(&g);
    rig_reopen(&g);
    assert_log_is_model(&g);
    assert_int_equal(suspects(&g), 0);
    rig_deinit(&g);
}

static void test_reset_compact_drop(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    for (uint64_t id = 1; id <= 4; id++) rig_append(&g, id, 1, 20, id, 60);
    rig_reset(&g, 2, 100, 9);
    rig_append(&g, 2, 101, 3, 9, 60);
    rig_compact(&g, 3, 12);
    rig_drop(&g, 4);
    fake_run(g.fake);
    const struct log_replica *v = log_replica(g.log, 3);
    assert_int_equal(v->base_index, 12);
    assert_int_equal(v->base_term, 3);
    rig_reopen(&g);
    assert_log_is_model(&g);
    v = log_replica(g.log, 2);
    assert_int_equal(v->base_index, 100);
    assert_int_equal(v->base_term, 9);
    assert_int_equal(v->term, 9);
    assert_null(log_replica(g.log, 4));
    rig_compact(&g, 2, 1000); /* no further than the log goes */
    assert_int_equal(log_replica(g.log, 2)->base_index, 103);
    rig_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_empty),
        cmocka_unit_test(test_append_reopen),
        cmocka_unit_test(test_replace_suffix),
        cmocka_unit_test(test_reset_compact_drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
