/* checkpoint_test.c - what is left of a checkpoint that was not finished is removed, and nothing else.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "env/real_test_util.h"
#include "node/checkpoint.h"

static void put(struct env *env, const char *dir, const char *name)
{
    char path[300];
    struct env_file *f = NULL;
    struct error err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(env_dir_create(env, dir, &err), ST_OK);
    assert_int_equal(env_file_open(env, path, ENV_CREATE, &f, &err), ST_OK);
    env_file_close(f);
}

static void test_half_ones_are_removed(void **state)
{
    struct env *env = env_real_new();
    char dir[64] = "/tmp/cairn_checkpoint_test_XXXXXX", path[200];
    struct checkpoint_list list;
    struct error err = {0};
    assert_non_null(mkdtemp(dir));
    assert_int_equal(checkpoint_clean(env, dir, &err), ST_OK); /* there are none at all */
    snprintf(path, sizeof path, "%s/checkpoints/1.new/engine-0", dir);
    put(env, path, "000001.sst");
    put(env, path, "MANIFEST");
    snprintf(path, sizeof path, "%s/checkpoints/1.new", dir);
    put(env, path, "catalog");
    snprintf(path, sizeof path, "%s/checkpoints/2", dir);
    put(env, path, "CHECKPOINT");
    assert_int_equal(checkpoint_find(env, dir, &list, &err), ST_OK);
    assert_int_equal(list.half, 1);
    assert_int_equal(checkpoint_clean(env, dir, &err), ST_OK);
    assert_int_equal(checkpoint_find(env, dir, &list, &err), ST_OK);
    assert_int_equal(list.half, 0);
    assert_int_equal(list.count, 1);
    snprintf(path, sizeof path, "%s/checkpoints/2/CHECKPOINT", dir);
    assert_int_equal(env_unlink(env, path, &err), ST_OK);
    snprintf(path, sizeof path, "%s/checkpoints/2", dir);
    assert_int_equal(env_dir_remove(env, path, &err), ST_OK);
    snprintf(path, sizeof path, "%s/checkpoints", dir);
    assert_int_equal(env_dir_remove(env, path, &err), ST_OK);
    assert_int_equal(env_dir_remove(env, dir, &err), ST_OK);
    env_real_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_half_ones_are_removed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
