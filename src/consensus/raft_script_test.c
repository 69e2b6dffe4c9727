/* raft_script_test.c - runs the scripts of testdata/raft and testdata/liveness.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "consensus/testing/raft_cluster.h"

static void run_all(const char *dir, bool (*run)(const char *path, struct buf *out_diff))
{
    struct dirent **names;
    struct buf diff = {0};
    int n = scandir(dir, &names, NULL, alphasort);
    unsigned ran = 0, failed = 0;
    for (int i = 0; i < n; i++) {
        char path[600];
        size_t len = strlen(names[i]->d_name);
        if (len > 4 && strcmp(names[i]->d_name + len - 4, ".txt") == 0) {
            snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
            ran++;
            if (!run(path, &diff)) failed++;
        }
        free(names[i]);
    }
    if (n > 0) free(names);
    if (diff.n > 0) fprintf(stderr, "%.*s", (int)diff.n, (const char *)diff.p);
    buf_deinit(&diff);
    assert_int_not_equal(ran, 0);
    assert_int_equal(failed, 0);
}

static void test_raft(void **state) { run_all("testdata/raft", raft_script_run); }
static void test_liveness(void **state) { run_all("testdata/liveness", liveness_script_run); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_raft), cmocka_unit_test(test_liveness)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
