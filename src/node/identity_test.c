/* identity_test.c - a start counts once it is let in; a fence stays.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "env/real_test_util.h"
#include "node/identity.h"

static char dir[64], file[80];

static int setup(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/cairn_identity_test_XXXXXX");
    if (mkdtemp(dir) == NULL) return -1;
    snprintf(file, sizeof file, "%s/identity", dir);
    *state = env_real_new();
    return 0;
}

static int teardown(void **state)
{
    env_real_free(*state);
    unlink(file);
    return rmdir(dir);
}

static void test_refused_starts_do_not_count(void **state)
{
    struct env *env = *state;
    struct identity id;
    struct error err = {0};
    assert_int_equal(identity_open(env, dir, 2, &id, &err), ST_OK);
    assert_int_equal(id.lineage.count, 0);
    for (unsigned i = 0; i < 2; i++) { /* two that are let in */
        assert_int_equal(identity_open(env, dir, 2, &id, &err), ST_OK);
        lineage_grow(&id.lineage, env_random_u64(env));
        assert_int_equal(identity_save(env, dir, &id, &err), ST_OK);
    }
    struct incarnation known = {5, 5};
    for (unsigned i = 0; i < 3 * LINEAGE_MAX; i++) { /* a loop of refused ones */
        assert_int_equal(identity_open(env, dir, 2, &id, &err), ST_OK);
        lineage_grow(&id.lineage, env_random_u64(env));
        assert_int_equal(lineage_now(&id.lineage).boot, 3);
        assert_int_equal(lineage_compare(&id.lineage, known), LINEAGE_OLDER);
    }
}

static void test_a_fence_stays(void **state)
{
    struct env *env = *state;
    struct identity id;
    struct error err = {0};
    assert_int_equal(identity_open(env, dir, 1, &id, &err), ST_OK);
    snprintf(id.fenced, sizeof id.fenced, "its data directory is a copy");
    assert_int_equal(identity_save(env, dir, &id, &err), ST_OK);
    for (unsigned i = 0; i < 3; i++) {
        err = (struct error){0};
        assert_int_equal(identity_open(env, dir, 1, &id, &err), ST_DENIED);
        assert_string_equal(err.text, "its data directory is a copy (found at an earlier start)");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_refused_starts_do_not_count), TEST(test_a_fence_stays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
