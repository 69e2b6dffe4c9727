/* replay_test.c - numbers that come once, twice, late and too late.
 * SPDX-License-Identifier: Apache-2.0 */
#include "replica/replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_table(void **state)
{
    enum { W = REPLAY_WINDOW };
    static const struct {
        uint64_t life, number;
        bool first;
    } steps[] = {
        {1, 0, false}, /* no number */
        {1, 5, true},      {1, 5, false},        {1, 3, true},           {1, 3, false}, {1, 4, true},
        {1, 6, true},      {1, 4, false},        {1, W + 4, true},       {1, 4, false}, /* too old */
        {1, 5, false},                                              /* still in the window, and seen */
        {1, 7, true},      {1, 7, false},        {1, 10 * W, true}, /* all that was seen is out */
        {1, 9 * W, false}, {1, 9 * W + 1, true}, {1, 9 * W + 1, false},  {2, 1, true}, /* another life */
        {2, 1, false},     {2, 2, true},         {1, 10 * W + 1, false},               /* of the life before: late */
        {2, 2, false},
    };
    struct replay r = {0};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        assert_int_equal(replay_first(&r, steps[i].life, steps[i].number), steps[i].first);
}

/* Against a set of all numbers seen. */
static void test_random(void **state)
{
    enum { N = 3 * REPLAY_WINDOW };
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct replay r = {0};
        static bool seen[N + 1];
        uint64_t highest = 0, x = seed * 0x9e3779b97f4a7c15u;
        memset(seen, 0, sizeof seen);
        for (unsigned i = 0; i < 20000; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            uint64_t near = highest + 1 + x % 64, far = highest > 100 ? highest - x % 100 : 1;
            uint64_t number = x >> 32 & 1 ? near : far;
            if (number > N) break;
            bool old = highest >= REPLAY_WINDOW && number <= highest - REPLAY_WINDOW;
            assert_int_equal(replay_first(&r, 7, number), !seen[number] && !old);
            seen[number] = true;
            if (number > highest) highest = number;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
