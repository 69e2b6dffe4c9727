/* raft_mutation_test.c - plants each known bug and shows that the random runs or a script catch it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Needs a build with CAIRN_MUTATIONS; in any other it reports itself skipped. Each bug runs in a child process, since
 * an assertion may be what catches it. */
#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mutation.h"
#include "consensus/testing/raft_cluster.h"

#ifdef CAIRN_MUTATIONS
static const bool planted = true;
#else
static const bool planted = false;
#endif

enum { SEEDS = 150 };
enum caught { NOT_CAUGHT, BY_RANDOM_RUN, BY_SCRIPT };

static bool scripts_pass(const char *dir, bool (*run)(const char *path, struct buf *out_diff))
{
    bool ok = true;
    struct buf diff = {0};
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[600];
        size_t n = strlen(e->d_name);
        if (n < 5 || strcmp(e->d_name + n - 4, ".txt") != 0) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        ok &= run(path, &diff);
    }
    closedir(d);
    buf_deinit(&diff);
    return ok;
}

static _Noreturn void child(const char *mutation)
{
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(NOT_CAUGHT);
    unsetenv("SCRIPT_REWRITE");
    mutation_set(mutation);
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        if (raft_random_run(seed) != NULL) _exit(BY_RANDOM_RUN);
    if (!scripts_pass("testdata/raft", raft_script_run) || !scripts_pass("testdata/liveness", liveness_script_run))
        _exit(BY_SCRIPT);
    _exit(NOT_CAUGHT);
}

static enum caught try_mutation(const char *mutation)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child(mutation);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) return BY_RANDOM_RUN; /* an assertion of the raft's own, or the oracle's */
    return (enum caught)WEXITSTATUS(status);
}

static void test_mutations(void **state)
{
    static const char *const names[] = {
        "vote_counted_twice",         "lease_from_reply_time",  "vote_not_persisted_first",
        "commit_old_term_by_count",   "config_before_own_term", "no_silence_after_restart",
        "lease_kept_in_transfer",     "suspect_votes_freely",   "append_ack_before_sync",
        "limit_not_in_votes",         "stale_read_index",       "limit_forgotten_at_restart",
        "limit_acked_before_durable", "own_limit_not_in_votes", "limit_of_former_boot",
    };
    static const char *const by[] = {"NOT CAUGHT", "random run", "script"};
    unsigned missed = 0;
    if (!planted) skip();
    assert_int_equal(try_mutation(NULL), NOT_CAUGHT);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        enum caught c = try_mutation(names[i]);
        print_message("%-26s %s\n", names[i], by[c]);
        if (c == NOT_CAUGHT) missed++;
    }
    assert_int_equal(missed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
