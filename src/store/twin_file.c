/* twin_file.c - what the engine's twin has on disk: an image and what was flushed since, in one file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/twin_file.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"

#define MAGIC  0x314e5754u /* "TWN1" */
#define HEADER 32
#define PREFIX "twin-"

static char *path_of(const char *dir, uint64_t number)
{
    struct buf b = {0};
    buf_printf(&b, "%s/" PREFIX "%016" PRIx64, dir, number);
    buf_put_u8(&b, 0);
    return (char *)b.p;
}

static enum status append(struct env_file *file, uint64_t number, uint64_t offset, struct bytes ops, struct error *err)
{
    struct buf b = {0};
    uint8_t *h = buf_extend(&b, HEADER);
    put_u32(h, MAGIC);
    put_u64(h + 8, number);
    put_u64(h + 16, offset);
    put_u64(h + 24, ops.n);
    put_u32(h + 4, crc32c(crc32c(0, h + 8, HEADER - 8), ops.p, ops.n));
    buf_put_bytes(&b, ops);
    enum status st = env_file_write(file, offset, b.p, b.n, err);
    if (st == ST_OK) st = env_file_sync(file, err);
    buf_deinit(&b);
    return st;
}

/* The operations of the record at `at`; false: there is no good one. */
static bool record_at(struct bytes all, uint64_t number, uint64_t at, struct bytes *out)
{
    if (at > all.n || all.n - at < HEADER) return false;
    const uint8_t *h = all.p + at;
    if (get_u32(h) != MAGIC || get_u64(h + 8) != number || get_u64(h + 16) != at) return false;
    uint64_t n = get_u64(h + 24);
    if (n > all.n - at - HEADER) return false;
    if (get_u32(h + 4) != crc32c(crc32c(0, h + 8, HEADER - 8), h + HEADER, n)) return false;
    *out = bytes_of(h + HEADER, n);
    return true;
}

/* Creates twin-`number` with an image; its name is durable, too. */
static enum status create(struct twin_file *f, uint64_t number, struct bytes ops, struct error *err)
{
    char *path = path_of(f->dir, number);
    struct env_file *file = NULL;
    enum status st = env_file_open(f->env, path, ENV_CREATE, &file, err);
    if (st == ST_OK) st = append(file, number, 0, ops, err);
    if (st == ST_OK) st = env_dir_sync(f->env, f->dir, err);
    mem_free(path);
    if (st != ST_OK) {
        env_file_close(file);
        return st;
    }
    env_file_close(f->file);
    f->file = file;
    f->number = number;
    f->bytes = f->image_bytes = HEADER + ops.n;
    return ST_OK;
}

struct found {
    uint64_t numbers[16]; /* there are at most two, and a few that a crash brought back */
    size_t n;
    bool too_many;
};

static void find(void *ctx, const char *name)
{
    struct found *f = ctx;
    uint64_t number;
    /* NOLINTNEXTLINE(cert-err34-c): 16 digits fit */
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || sscanf(name + strlen(PREFIX), "%16" SCNx64, &number) != 1) return;
    if (f->n == ARRAY_COUNT(f->numbers)) {
        f->too_many = true;
        return;
    }
    size_t at = f->n++;
    for (; at > 0 && f->numbers[at - 1] < number; at--) f->numbers[at] = f->numbers[at - 1]; /* newest first */
    f->numbers[at] = number;
}

/* ST_NOT_FOUND: its image is not whole. */
static enum status load_file(struct twin_file *f, uint64_t number, bool (*load)(void *ctx, struct bytes ops), void *ctx,
                             struct error *err)
{
    char *path = path_of(f->dir, number);
    uint64_t size = 0;
    struct buf all = {0};
    struct bytes ops;
    enum status st = env_file_open(f->env, path, ENV_WRITE, &f->file, err);
    if (st == ST_OK) st = env_file_size(f->file, &size, err);
    if (st == ST_OK && size != 0) st = env_file_read(f->file, 0, buf_extend(&all, size), size, err);
    if (st != ST_OK) goto done;
    f->number = number;
    f->bytes = f->image_bytes = 0;
    uint64_t last = 0;
    while (record_at(buf_view(&all), number, f->bytes, &ops)) {
        last = f->bytes;
        if (!load(ctx, ops)) {
            st = error_set(err, ST_CORRUPT, "'%s': a record at %" PRIu64 " holds no operations", path, f->bytes);
            goto done;
        }
        f->bytes += HEADER + ops.n;
        if (f->image_bytes == 0) f->image_bytes = f->bytes;
    }
    for (uint64_t at = f->bytes + 1; at < size; at++) {
        if (!record_at(buf_view(&all), number, at, &ops)) continue;
        st = error_set(err, ST_CORRUPT, "'%s': damaged at %" PRIu64, path, f->bytes);
        goto done;
    }
    if (f->bytes == 0) st = ST_NOT_FOUND;
    if (st == ST_OK && f->bytes != size) st = env_file_truncate(f->file, f->bytes, err);
    /* A process that was killed may have left the last record, and the file's name, in the kernel's memory only; and after a
     * sync that failed another one makes nothing durable (decision 9): so it is written again. */
    if (st == ST_OK) st = env_file_write(f->file, last, all.p + last, f->bytes - last, err);
    if (st == ST_OK) st = env_file_sync(f->file, err);
    if (st == ST_OK) st = env_dir_sync(f->env, f->dir, err);
done:
    if (st != ST_OK) {
        env_file_close(f->file);
        f->file = NULL;
    }
    buf_deinit(&all);
    mem_free(path);
    return st;
}

static enum status remove_file(struct twin_file *f, uint64_t number, struct error *err)
{
    char *path = path_of(f->dir, number);
    enum status st = env_unlink(f->env, path, err);
    mem_free(path);
    return st;
}

enum status twin_file_open(struct env *env, const char *dir, bool (*load)(void *ctx, struct bytes ops), void *ctx,
                           struct twin_file *out, struct error *err)
{
    struct twin_file f = {.env = env, .dir = mem_strdup(dir)};
    struct found found = {0};
    enum status st = env_dir_list(env, dir, find, &found, err);
    if (st == ST_OK && found.too_many) st = error_set(err, ST_CORRUPT, "too many files in '%s'", dir);
    for (size_t i = 0; st == ST_OK && i < found.n; i++) {
        if (f.file == NULL) {
            st = load_file(&f, found.numbers[i], load, ctx, err);
            /* An image that a crash cut is never the only one, but for the very first. */
            if (st == ST_NOT_FOUND && (i + 1 < found.n || found.numbers[i] == 1)) st = ST_OK;
            else if (st == ST_NOT_FOUND) st = error_set(err, ST_CORRUPT, "no image in '%s'", dir);
            else continue;
        }
        if (st == ST_OK) st = remove_file(&f, found.numbers[i], err);
    }
    if (st == ST_OK && f.file == NULL) st = create(&f, 1, (struct bytes){0}, err);
    if (st != ST_OK) {
        twin_file_close(&f);
        return st;
    }
    *out = f;
    return ST_OK;
}

void twin_file_close(struct twin_file *f)
{
    env_file_close(f->file);
    mem_free(f->dir);
    *f = (struct twin_file){0};
}

enum status twin_file_append(struct twin_file *f, struct bytes ops, struct error *err)
{
    enum status st = append(f->file, f->number, f->bytes, ops, err);
    if (st == ST_OK) f->bytes += HEADER + ops.n;
    return st;
}

enum status twin_file_rewrite(struct twin_file *f, struct bytes ops, struct error *err)
{
    uint64_t old = f->number;
    enum status st = create(f, old + 1, ops, err);
    if (st != ST_OK) return st;
    return remove_file(f, old, err);
}

enum status twin_file_export(struct env *env, const char *dir, struct bytes ops, struct error *err)
{
    struct twin_file f = {.env = env, .dir = mem_strdup(dir)};
    enum status st = env_dir_create(env, dir, err);
    if (st == ST_OK) st = create(&f, 1, ops, err);
    twin_file_close(&f);
    return st;
}
