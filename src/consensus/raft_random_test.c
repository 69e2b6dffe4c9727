/* raft_random_test.c - random runs of a cluster; CAIRN_RAFT_SEEDS=n runs more, CAIRN_RAFT_SEED=s only that one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "consensus/testing/raft_cluster.h"

static uint64_t the_seed;

static void on_assert(const char *file, int line, const char *condition)
{
    fprintf(stderr, "seed %" PRIu64 ": %s:%d: %s\n", the_seed, file, line, condition);
}

static uint64_t from_environment(const char *name, uint64_t def)
{
    const char *v = getenv(name);
    uint64_t n = def;
    if (v != NULL) assert_true(bytes_to_u64(bytes_str(v), &n));
    return n;
}

static void test_random(void **state)
{
    uint64_t one = from_environment("CAIRN_RAFT_SEED", 0);
    uint64_t first = one != 0 ? one : from_environment("CAIRN_RAFT_FIRST", 1);
    uint64_t last = one != 0 ? one : first + from_environment("CAIRN_RAFT_SEEDS", 150) - 1;
    unsigned failed = 0;
    assert_hook = on_assert;
    for (the_seed = first; the_seed <= last; the_seed++) {
        const char *failure = raft_random_run(the_seed);
        if (failure == NULL) continue;
        fprintf(stderr, "%s\n", failure);
        failed++;
    }
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
