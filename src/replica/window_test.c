/* window_test.c - outcomes are kept, forgotten within bounds, and what may have been forgotten is never taken for new.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "replica/window.h"

static void apply(struct windows *w, uint64_t session, uint64_t sequence, hlc_t ts)
{
    windows_add(w, session, sequence, BYTES_LIT("o"));
    windows_settle(w, session, 0, ts);
    windows_evict(w, NULL, NULL);
}

static void test_known_and_resolved(void **state)
{
    struct windows w;
    struct bytes result;
    windows_init(&w, 4);
    assert_int_equal(windows_find(&w, 7, 1, 0, &result), WINDOW_NEW);
    apply(&w, 7, 1, 10);
    apply(&w, 7, 2, 11);
    assert_int_equal(windows_find(&w, 7, 2, 0, &result), WINDOW_KNOWN);
    assert_true(bytes_equal(result, BYTES_LIT("o")));
    windows_settle(&w, 7, 2, 12);
    assert_int_equal(windows_find(&w, 7, 1, 0, &result), WINDOW_TOO_OLD);
    assert_int_equal(windows_find(&w, 7, 2, 0, &result), WINDOW_KNOWN);
    assert_int_equal(windows_find(&w, 7, 3, 0, &result), WINDOW_NEW);
    windows_deinit(&w);
}

static void test_forgotten_sessions(void **state)
{
    struct windows w;
    struct bytes result;
    windows_init(&w, 3);
    for (uint64_t s = 1; s <= 3; s++) apply(&w, s, 1, 100 + s);
    assert_int_equal(w.forgotten, 0);
    assert_int_equal(windows_find(&w, 9, 1, 0, &result), WINDOW_NEW); /* nothing was forgotten: it can only be new */
    apply(&w, 4, 1, 104);                                             /* 1 goes, used last at 101 */
    assert_int_equal(w.forgotten, 101);
    assert_int_equal(w.sessions.count, 3);
    static const struct {
        uint64_t session, sequence;
        hlc_t since;
        enum window_answer want;
    } cases[] = {
        {1, 1, 0, WINDOW_FORGOTTEN},   /* the retry of what was applied at 101 */
        {1, 1, 100, WINDOW_FORGOTTEN}, /* made at 100 or later: may have been applied at 101 */
        {1, 2, 101, WINDOW_NEW},       /* made by a gate that had been told of 101: applied, if ever, after it */
        {9, 1, 0, WINDOW_FORGOTTEN},   /* a new gate; it can't be told from a forgotten one, and asks again */
        {9, 1, 101, WINDOW_NEW},       {2, 1, 0, WINDOW_KNOWN},
        {2, 2, 0, WINDOW_NEW}, /* its session is there: all of it is known */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(windows_find(&w, cases[i].session, cases[i].sequence, cases[i].since, &result), cases[i].want);
    apply(&w, 2, 2, 105); /* used again: 3 is the oldest now */
    apply(&w, 5, 1, 106);
    assert_int_equal(w.forgotten, 103);
    assert_int_equal(windows_find(&w, 3, 1, 101, &result), WINDOW_FORGOTTEN);
    assert_int_equal(windows_find(&w, 2, 1, 0, &result), WINDOW_KNOWN);
    windows_deinit(&w);
}

/* A session that was forgotten is used again: a retry from its former life is not new because the session is known again.
 * Found by the simulator (seed 54): such a retry was applied twice. */
static void test_session_comes_back(void **state)
{
    struct windows w, copy;
    struct bytes result;
    struct buf row = {0};
    windows_init(&w, 2);
    apply(&w, 1, 1, 101);
    apply(&w, 2, 1, 102);
    apply(&w, 3, 1, 103); /* 1 goes */
    apply(&w, 1, 2, 104); /* and comes back, 2 goes */
    assert_int_equal(windows_find(&w, 1, 1, 0, &result), WINDOW_FORGOTTEN);
    assert_int_equal(windows_find(&w, 1, 2, 0, &result), WINDOW_KNOWN);
    assert_int_equal(windows_find(&w, 1, 3, 101, &result), WINDOW_NEW);
    windows_encode(&w, 1, &row);
    windows_init(&copy, 2);
    assert_true(windows_load(&copy, 1, buf_view(&row)));
    assert_int_equal(windows_find(&copy, 1, 1, 0, &result), WINDOW_FORGOTTEN);
    assert_int_equal(windows_find(&copy, 1, 3, 101, &result), WINDOW_NEW);
    buf_deinit(&row);
    windows_deinit(&copy);
    windows_deinit(&w);
}

/* One entry with the first ops of two sessions, where one has room: the session used longest ago goes, not one of them. */
static void test_sessions_of_one_entry(void **state)
{
    struct windows w;
    struct bytes result;
    windows_init(&w, 2);
    apply(&w, 1, 1, 100);
    windows_add(&w, 2, 1, BYTES_LIT("o"));
    windows_add(&w, 3, 1, BYTES_LIT("o"));
    windows_settle(&w, 2, 0, 101);
    windows_settle(&w, 3, 0, 101);
    windows_evict(&w, NULL, NULL);
    assert_int_equal(w.forgotten, 100);
    assert_int_equal(windows_find(&w, 1, 1, 0, &result), WINDOW_FORGOTTEN);
    assert_int_equal(windows_find(&w, 2, 1, 0, &result), WINDOW_KNOWN);
    assert_int_equal(windows_find(&w, 3, 1, 0, &result), WINDOW_KNOWN);
    windows_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_and_resolved), cmocka_unit_test(test_forgotten_sessions),
        cmocka_unit_test(test_session_comes_back), cmocka_unit_test(test_sessions_of_one_entry)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
