/* real_file.c - files and directories by POSIX. Every call may block: for workers and for start-up.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "env/real_internal.h"

struct real_file {
    struct env_file base;
    int fd;
    char path[]; /* for the texts of errors */
};

static struct real_file *file_of(struct env_file *f) { return (struct real_file *)f; }

static enum status fail(struct error *err, int errnum, const char *call, const char *path)
{
    char space[128];
    enum status st = ST_IO;
    if (errnum == ENOSPC || errnum == EDQUOT) st = ST_DISK_FULL;
    if (errnum == ENOENT) st = ST_NOT_FOUND;
    if (errnum == EEXIST) st = ST_EXISTS;
    return error_set(err, st, "%s '%s': %s", call, path, strerror_r(errnum, space, sizeof space));
}

static int open_retry(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC, 0644);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static struct env_file *file_new(struct env *env, int fd, const char *path)
{
    size_t n = strlen(path) + 1;
    struct real_file *r = mem_alloc(sizeof *r + n);
    r->base.env = env;
    r->fd = fd;
    memcpy(r->path, path, n);
    return &r->base;
}

enum status real_file_open(struct env *env, const char *path, enum env_open_mode mode, struct env_file **out,
                           struct error *err)
{
    static const int flags[] = {[ENV_READ] = O_RDONLY, [ENV_WRITE] = O_RDWR, [ENV_CREATE] = O_RDWR | O_CREAT | O_EXCL};
    ASSERT((unsigned)mode < ARRAY_COUNT(flags));
    int fd = open_retry(path, flags[mode]);
    if (fd < 0) return fail(err, errno, mode == ENV_CREATE ? "create" : "open", path);
    *out = file_new(env, fd, path);
    return ST_OK;
}

void real_file_close(struct env_file *f)
{
    close(file_of(f)->fd); /* what matters was synced before */
    mem_free(f);
}

enum status real_file_read(struct env_file *f, uint64_t offset, void *out, size_t n, struct error *err)
{
    struct real_file *r = file_of(f);
    for (size_t at = 0; at < n;) {
        ssize_t got = pread(r->fd, (uint8_t *)out + at, n - at, (off_t)(offset + at));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail(err, errno, "read", r->path);
        if (got == 0)
            return error_set(err, ST_CORRUPT, "read '%s': short read: %zu of %zu bytes at offset %" PRIu64, r->path, at,
                             n, offset);
        at += (size_t)got;
    }
    return ST_OK;
}

enum status real_file_write(struct env_file *f, uint64_t offset, const void *p, size_t n, struct error *err)
{
    struct real_file *r = file_of(f);
    for (size_t at = 0; at < n;) {
        ssize_t put = pwrite(r->fd, (const uint8_t *)p + at, n - at, (off_t)(offset + at));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail(err, errno, "write", r->path);
        ASSERT(put > 0);
        at += (size_t)put;
    }
    return ST_OK;
}

/* Never tried again after an error: the kernel may have dropped the pages that it could not write. */
enum status real_file_sync(struct env_file *f, struct error *err)
{
    struct real_file *r = file_of(f);
    return fdatasync(r->fd) == 0 ? ST_OK : fail(err, errno, "fdatasync", r->path);
}

enum status real_file_size(struct env_file *f, uint64_t *out, struct error *err)
{
    struct real_file *r = file_of(f);
    struct stat s;
    if (fstat(r->fd, &s) != 0) return fail(err, errno, "stat", r->path);
    *out = (uint64_t)s.st_size;
    return ST_OK;
}

enum status real_file_truncate(struct env_file *f, uint64_t size, struct error *err)
{
    struct real_file *r = file_of(f);
    int rc;
    do {
        rc = ftruncate(r->fd, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? ST_OK : fail(err, errno, "truncate", r->path);
}

/* Space is reserved without moving the file's end, so that a lack of it shows at once; then the zeros are written,
 * since a reserved but never written block costs a change of metadata with its first write. The end moves with the
 * zeros: a fill that was cut off can be called again. */
enum status real_file_zero_fill(struct env_file *f, uint64_t size, struct error *err)
{
    static uint8_t zeros[1 << 20] __attribute__((aligned(4096))); /* never written to */
    struct real_file *r = file_of(f);
    uint64_t at;
    enum status st = real_file_size(f, &at, err);
    if (st != ST_OK || at >= size) return st;
    int rc;
    do {
        rc = fallocate(r->fd, FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)(size - at));
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno != EOPNOTSUPP && errno != ENOSYS) return fail(err, errno, "fallocate", r->path);
    while (st == ST_OK && at < size) {
        size_t n = (size_t)MIN(size - at, sizeof zeros - at % 4096); /* blocks of the file stay whole */
        st = real_file_write(f, at, zeros, n, err);
        at += n;
    }
    return st;
}

enum status real_dir_sync(struct env *env, const char *path, struct error *err)
{
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return fail(err, errno, "open directory", path);
    int rc = fsync(fd), errnum = errno;
    close(fd);
    return rc == 0 ? ST_OK : fail(err, errnum, "fsync directory", path);
}

/* Makes one directory, and its name in the parent durable: the caller can't know which parents are new. */
static enum status dir_create_one(struct env *env, char *path, struct error *err)
{
    struct stat s;
    if (mkdir(path, 0755) != 0) {
        int errnum = errno;
        if (errnum == EEXIST && stat(path, &s) == 0)
            return S_ISDIR(s.st_mode) ? ST_OK : fail(err, ENOTDIR, "create directory", path);
        return fail(err, errnum, "create directory", path);
    }
    char *slash = strrchr(path, '/');
    if (slash == NULL) return real_dir_sync(env, ".", err);
    if (slash == path) return real_dir_sync(env, "/", err);
    *slash = '\0';
    enum status st = real_dir_sync(env, path, err);
    *slash = '/';
    return st;
}

enum status real_dir_create(struct env *env, const char *path, struct error *err)
{
    char *copy = mem_strdup(path);
    enum status st = ST_OK;
    size_t n = strlen(copy);
    while (n > 1 && copy[n - 1] == '/') copy[--n] = '\0';
    for (char *p = copy + 1; st == ST_OK && n > 0 && (p = strchr(p, '/')) != NULL; p++) {
        if (p[-1] == '/') continue;
        *p = '\0';
        struct stat s;
        if (stat(copy, &s) != 0) st = dir_create_one(env, copy, err);
        *p = '/';
    }
    if (st == ST_OK) st = dir_create_one(env, copy, err);
    mem_free(copy);
    return st;
}

enum status real_dir_list(struct env *env, const char *path, void (*each)(void *ctx, const char *name), void *ctx,
                          struct error *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL) return fail(err, errno, "open directory", path);
    enum status st = ST_OK;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (e == NULL) {
            if (errno != 0) st = fail(err, errno, "read directory", path);
            break;
        }
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) each(ctx, e->d_name);
    }
    closedir(dir);
    return st;
}

enum status real_rename(struct env *env, const char *from, const char *to, struct error *err)
{
    if (rename(from, to) == 0) return ST_OK;
    int errnum = errno;
    enum status st = fail(err, errnum, "rename", from);
    if (err != NULL) {
        size_t n = strlen(err->text);
        snprintf(err->text + n, sizeof err->text - n, " (to '%s')", to);
    }
    return st;
}

enum status real_dir_remove(struct env *env, const char *path, struct error *err)
{
    return rmdir(path) == 0 ? ST_OK : fail(err, errno, "rmdir", path);
}

enum status real_unlink(struct env *env, const char *path, struct error *err)
{
    return unlink(path) == 0 ? ST_OK : fail(err, errno, "unlink", path);
}

bool real_exists(struct env *env, const char *path)
{
    struct stat s;
    return stat(path, &s) == 0;
}

static enum status lock_busy(int fd, const char *dir, const char *path, struct error *err)
{
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    uint64_t pid = 0;
    if (n > 0 && text[n - 1] == '\n') n--;
    if (n <= 0 || !bytes_to_u64(bytes_of(text, (size_t)n), &pid))
        return error_set(err, ST_BUSY,
                         "directory '%s' is in use by another process (it holds '%s'): stop that process, or use "
                         "another directory",
                         dir, path);
    return error_set(err, ST_BUSY,
                     "directory '%s' is in use by process %" PRIu64 " (it holds '%s'): stop that process, or use "
                     "another directory",
                     dir, pid, path);
}

/* The lock is the kernel's and goes with the process; the file stays, and only says who. */
enum status real_dir_lock(struct env *env, const char *dir, struct env_file **out, struct error *err)
{
    char path[PATH_MAX], text[24];
    int n = snprintf(path, sizeof path, "%s/LOCK", dir);
    if (n < 0 || (size_t)n >= sizeof path) return fail(err, ENAMETOOLONG, "lock", dir);
    int fd = open_retry(path, O_RDWR | O_CREAT);
    if (fd < 0) return fail(err, errno, "open", path);
    int rc;
    do {
        rc = flock(fd, LOCK_EX | LOCK_NB);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        enum status st = errno == EWOULDBLOCK ? lock_busy(fd, dir, path, err) : fail(err, errno, "flock", path);
        close(fd);
        return st;
    }
    struct env_file *f = file_new(env, fd, path);
    n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    enum status st = real_file_truncate(f, 0, err);
    if (st == ST_OK) st = real_file_write(f, 0, text, (size_t)n, err);
    if (st == ST_OK) *out = f;
    else real_file_close(f);
    return st;
}

enum status real_disk_free(struct env *env, const char *path, uint64_t *out_bytes, struct error *err)
{
    struct statvfs s;
    if (statvfs(path, &s) != 0) return fail(err, errno, "statvfs", path);
    *out_bytes = (uint64_t)s.f_bavail * s.f_frsize;
    return ST_OK;
}
