/* real_file_test.c - the real environment's files and directories.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "env/real_test_util.h"

/* ---- files ---- */

static char scratch[64];

static int make_scratch(void **state)
{
    snprintf(scratch, sizeof scratch, "/tmp/cairn_real_test_XXXXXX");
    return mkdtemp(scratch) != NULL ? 0 : -1;
}

static void remove_entry(void *ctx, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    if (unlink(path) != 0) rmdir(path);
}

static int remove_scratch(void **state)
{
    struct env *env = env_real_new();
    env_dir_list(env, scratch, remove_entry, env, NULL);
    env_real_free(env);
    return rmdir(scratch);
}

static const char *in_scratch(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

static void test_file_read_write(void **state)
{
    struct env *env = env_real_new();
    struct env_file *f = NULL;
    struct error err = {0};
    const char *path = in_scratch("a");
    char text[16] = "";
    uint64_t size = 1;
    assert_false(env_exists(env, path));
    assert_int_equal(env_file_open(env, path, ENV_READ, &f, &err), ST_NOT_FOUND);
    assert_string_equal(err.text + strlen("open '"), strstr(err.text, path)); /* "open '<path>': …" */
    assert_int_equal(env_file_open(env, path, ENV_WRITE, &f, &err), ST_NOT_FOUND);
    assert_int_equal(env_file_open(env, path, ENV_CREATE, &f, &err), ST_OK);
    assert_true(env_exists(env, path));
    assert_int_equal(env_file_size(f, &size, &err), ST_OK);
    assert_int_equal(size, 0);
    assert_int_equal(env_file_write(f, 5, "world", 5, &err), ST_OK);
    assert_int_equal(env_file_write(f, 0, "hello", 5, &err), ST_OK);
    assert_int_equal(env_file_sync(f, &err), ST_OK);
    assert_int_equal(env_dir_sync(env, scratch, &err), ST_OK);
    assert_int_equal(env_file_size(f, &size, &err), ST_OK);
    assert_int_equal(size, 10);
    assert_int_equal(env_file_read(f, 2, text, 6, &err), ST_OK);
    assert_string_equal(text, "llowor");
    assert_int_equal(env_file_read(f, 5, text, 6, &err), ST_CORRUPT);
    assert_non_null(strstr(err.text, "short read"));
    assert_non_null(strstr(err.text, path));
    assert_int_equal(env_file_read(f, 100, text, 1, &err), ST_CORRUPT);
    assert_int_equal(env_file_read(f, 100, text, 0, &err), ST_OK);
    assert_int_equal(env_file_truncate(f, 4, &err), ST_OK);
    assert_int_equal(env_file_size(f, &size, &err), ST_OK);
    assert_int_equal(size, 4);
    env_file_close(f);
    assert_int_equal(env_file_open(env, path, ENV_CREATE, &f, &err), ST_EXISTS);
    assert_int_equal(env_file_open(env, path, ENV_READ, &f, &err), ST_OK);
    assert_int_equal(env_file_write(f, 0, "x", 1, &err), ST_IO); /* not for writing */
    env_file_close(f);
    env_file_close(NULL);

    const char *moved = in_scratch("b");
    assert_int_equal(env_rename(env, path, moved, &err), ST_OK);
    assert_false(env_exists(env, path));
    assert_int_equal(env_rename(env, path, moved, &err), ST_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, moved));
    assert_int_equal(env_unlink(env, moved, &err), ST_OK);
    assert_int_equal(env_unlink(env, moved, &err), ST_NOT_FOUND);
    uint64_t space = 0;
    assert_int_equal(env_disk_free(env, scratch, &space, &err), ST_OK);
    assert_true(space > 0);
    env_real_free(env);
}

static void test_file_zero_fill(void **state)
{
    struct env *env = env_real_new();
    struct env_file *f = NULL;
    struct error err = {0};
    const char *path = in_scratch("zeros");
    enum { SIZE = 3 * 1024 * 1024 + 17 };
    uint8_t *all = mem_alloc(SIZE);
    uint64_t size = 0;
    assert_int_equal(env_file_open(env, path, ENV_CREATE, &f, &err), ST_OK);
    assert_int_equal(env_file_write(f, 0, "data", 4, &err), ST_OK);
    assert_int_equal(env_file_zero_fill(f, SIZE, &err), ST_OK);
    assert_int_equal(env_file_zero_fill(f, 10, &err), ST_OK); /* it is that long already */
    assert_int_equal(env_file_size(f, &size, &err), ST_OK);
    assert_int_equal(size, SIZE);
    assert_int_equal(env_file_read(f, 0, all, SIZE, &err), ST_OK);
    assert_memory_equal(all, "data", 4);
    for (size_t i = 4; i < SIZE; i++)
        if (all[i] != 0) fail_msg("byte %zu is not zero", i);
    env_file_close(f);
    mem_free(all);
    assert_int_equal(env_unlink(env, path, &err), ST_OK);
    env_real_free(env);
}

static void test_disk_full(void **state)
{
    struct env *env = env_real_new();
    struct env_file *f = NULL;
    struct error err = {0};
    assert_int_equal(env_file_open(env, "/dev/full", ENV_WRITE, &f, &err), ST_OK);
    assert_int_equal(env_file_write(f, 0, "x", 1, &err), ST_DISK_FULL);
    assert_string_equal(err.text, "write '/dev/full': No space left on device");
    env_file_close(f);
    env_real_free(env);
}

struct names {
    unsigned n;
    bool seen[3];
};

static void names_each(void *ctx, const char *name)
{
    static const char *const expected[] = {"x", "y", "sub"};
    struct names *names = ctx;
    names->n++;
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++)
        if (strcmp(name, expected[i]) == 0) names->seen[i] = true;
}

static void test_directories(void **state)
{
    struct env *env = env_real_new();
    struct env_file *f = NULL;
    struct error err = {0};
    struct names names = {0};
    const char *dir = in_scratch("d");
    char sub[600], x[600], y[600];
    snprintf(sub, sizeof sub, "%s//sub/", dir);
    snprintf(x, sizeof x, "%s/x", dir);
    snprintf(y, sizeof y, "%s/y", dir);
    assert_int_equal(env_dir_sync(env, dir, &err), ST_NOT_FOUND);
    assert_int_equal(env_dir_list(env, dir, names_each, &names, &err), ST_NOT_FOUND);
    assert_int_equal(env_dir_create(env, sub, &err), ST_OK); /* with its parent */
    assert_int_equal(env_dir_create(env, sub, &err), ST_OK); /* it exists */
    assert_int_equal(env_dir_create(env, "", &err), ST_NOT_FOUND);
    assert_int_equal(env_file_open(env, x, ENV_CREATE, &f, &err), ST_OK);
    env_file_close(f);
    assert_int_equal(env_file_open(env, y, ENV_CREATE, &f, &err), ST_OK);
    env_file_close(f);
    assert_int_equal(env_dir_sync(env, dir, &err), ST_OK);
    assert_int_equal(env_dir_create(env, x, &err), ST_IO); /* a file has the name */
    assert_non_null(strstr(err.text, x));
    assert_int_equal(env_dir_list(env, dir, names_each, &names, &err), ST_OK);
    assert_int_equal(names.n, 3);
    assert_true(names.seen[0] && names.seen[1] && names.seen[2]);
    assert_int_equal(env_unlink(env, x, &err), ST_OK);
    assert_int_equal(env_unlink(env, y, &err), ST_OK);
    rmdir(sub);
    rmdir(dir);
    env_real_free(env);
}

static void test_dir_lock(void **state)
{
    struct env *env = env_real_new(), *other = env_real_new();
    struct env_file *lock = NULL, *second = NULL;
    struct error err = {0};
    char pid[64];
    snprintf(pid, sizeof pid, "in use by process %ld ", (long)getpid());
    assert_int_equal(env_dir_lock(env, scratch, &lock, &err), ST_OK);
    assert_int_equal(env_dir_lock(other, scratch, &second, &err), ST_BUSY);
    assert_null(second);
    assert_non_null(strstr(err.text, pid));
    assert_non_null(strstr(err.text, scratch));
    assert_non_null(strstr(err.text, "stop that process"));
    env_file_close(lock);

    int fd = open(in_scratch("LOCK"), O_RDWR | O_CLOEXEC); /* as another process would hold it */
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(env_dir_lock(other, scratch, &second, &err), ST_BUSY);
    assert_non_null(strstr(err.text, "in use by another process"));
    assert_int_equal(pwrite(fd, "4242\n", 5, 0), 5);
    assert_int_equal(env_dir_lock(other, scratch, &second, &err), ST_BUSY);
    assert_non_null(strstr(err.text, "in use by process 4242 "));
    close(fd);
    assert_int_equal(env_dir_lock(other, scratch, &second, &err), ST_OK);
    env_file_close(second);
    assert_int_equal(env_dir_lock(env, in_scratch("missing"), &lock, &err), ST_NOT_FOUND);
    env_real_free(env);
    env_real_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_read_write), cmocka_unit_test(test_file_zero_fill), cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_directories),     cmocka_unit_test(test_dir_lock),
    };
    return cmocka_run_group_tests_name("real_file", tests, make_scratch, remove_scratch);
}
