/* disk.c - the simulated disk of a machine: what a process calls.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Operations spend their time first and take effect at its end, so one that a crash came before has not happened. (What
 * is not durable by itself, a write say, may take effect some microseconds early: nobody can tell.) */
#include "sim/disk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sim/inode.h"

/* ---- time and faults ---- */

static uint64_t slowed(struct disk *d, uint64_t ns, bool device)
{
    const struct world *w = disk_world(d);
    ns *= d->options.slow_factor;
    if (device && d->stalled_until > w->at) ns += d->stalled_until - w->at;
    return ns;
}

static void spend(struct disk *d, uint64_t ns, bool device) { world_spend(disk_world(d), slowed(d, ns, device)); }

static void spend_name(struct disk *d) { spend(d, rng_between(&disk_world(d)->rng_disk, 2000, 30000), false); }

/* Between min and max; each doubling is as likely as the next. */
static void spend_sync(struct disk *d)
{
    struct rng *r = &disk_world(d)->rng_disk;
    uint64_t low = d->options.sync_ns_min, high = d->options.sync_ns_max, span = low;
    while (span * 2 <= high && rng_below(r, 3) != 0) span *= 2;
    world_block(disk_world(d), slowed(d, rng_between(r, span, MIN(span * 2, high)), true));
}

static bool fails(struct disk *d, enum sim_disk_op op, uint64_t one_in)
{
    if (d->fail[op].skip > 0) {
        d->fail[op].skip--;
    } else if (d->fail[op].count > 0) {
        d->fail[op].count--;
        return true;
    }
    return rng_chance(&disk_world(d)->rng_disk, one_in);
}

/* ---- paths ---- */

/* The directory that holds the last name of a path, and that name; the root has none. */
static enum status path_find(struct disk *d, const char *path, struct inode **out_dir, char name[NAME_MAX_ + 1],
                             struct error *err)
{
    struct inode *dir = d->root;
    name[0] = '\0';
    for (const char *p = path;;) {
        while (*p == '/') p++;
        size_t n = strcspn(p, "/");
        if (n == 0) break;
        if (n == 1 && p[0] == '.') {
            p += n;
            continue;
        }
        if (n > NAME_MAX_ || (n == 2 && p[0] == '.' && p[1] == '.'))
            return error_set(err, ST_INVALID, "path '%s': not supported", path);
        if (name[0] != '\0') {
            dir = entry_now(dir, name);
            if (dir == NULL) return error_set(err, ST_NOT_FOUND, "'%s': no such directory", path);
            if (!dir->dir) return error_set(err, ST_IO, "'%s': not a directory", path);
        }
        memcpy(name, p, n);
        name[n] = '\0';
        p += n;
    }
    *out_dir = dir;
    return ST_OK;
}

enum status disk_path_lookup(struct disk *d, const char *path, struct inode **out, struct error *err)
{
    char name[NAME_MAX_ + 1];
    struct inode *dir;
    enum status st = path_find(d, path, &dir, name, err);
    if (st != ST_OK) return st;
    *out = name[0] != '\0' ? entry_now(dir, name) : dir;
    return *out != NULL ? ST_OK : error_set(err, ST_NOT_FOUND, "'%s': no such file or directory", path);
}

/* ---- files ---- */

static struct sim_file *file_of(struct env_file *f) { return (struct sim_file *)f; }

static struct sim_file *file_new(struct env *env, const char *path, struct inode *i, enum env_open_mode mode)
{
    struct process *p = process_of(env);
    size_t n = strlen(path) + 1;
    struct sim_file *f = disk_alloc(p->node->disk, sizeof *f + n);
    f->base.env = env;
    f->process = p;
    f->mode = mode;
    inode_set_ref(&f->inode, i);
    memcpy(f->path, path, n);
    list_push_back(&p->files, &f->link);
    return f;
}

enum status sim_file_open(struct env *env, const char *path, enum env_open_mode mode, struct env_file **out,
                          struct error *err)
{
    struct disk *d = disk_of(env);
    char name[NAME_MAX_ + 1];
    struct inode *dir, *i;
    spend_name(d);
    enum status st = path_find(d, path, &dir, name, err);
    if (st != ST_OK) return st;
    i = name[0] != '\0' ? entry_now(dir, name) : dir;
    if (i != NULL && i->dir) return error_set(err, ST_IO, "open '%s': is a directory", path);
    if (mode == ENV_CREATE) {
        if (i != NULL) return error_set(err, ST_EXISTS, "create '%s': file exists", path);
        i = inode_new(d, false);
        name_op_new(d, NULL, NULL, dir, name, i);
        entry_set_now(dir, name, i);
    }
    if (i == NULL) return error_set(err, ST_NOT_FOUND, "open '%s': no such file", path);
    *out = &file_new(env, path, i, mode)->base;
    return ST_OK;
}

void sim_file_free(struct sim_file *f)
{
    if (f->lock_dir != NULL) {
        f->lock_dir->locked_by = NULL;
        inode_set_ref(&f->lock_dir, NULL);
    }
    link_remove(&f->link);
    inode_set_ref(&f->inode, NULL);
    mem_free(f);
}

void sim_file_close(struct env_file *f) { sim_file_free(file_of(f)); }

enum status sim_file_read(struct env_file *file, uint64_t offset, void *out, size_t n, struct error *err)
{
    struct sim_file *f = file_of(file);
    struct inode *i = f->inode;
    struct disk *d = i->disk;
    struct world *w = disk_world(d);
    w->counters.reads++;
    bool cold = rng_chance(&w->rng_disk, 8);
    spend(d, 1000 + n / 4 + (cold ? rng_between(&w->rng_disk, 30000, 200000) : 0), cold);
    if (fails(d, SIM_DISK_READ, d->options.read_error_one_in)) {
        w->counters.read_errors++;
        return error_set(err, ST_IO, "read '%s': input/output error", f->path);
    }
    if (n != 0 && (offset > i->size || n > i->size - offset))
        return error_set(err, ST_CORRUPT, "read '%s': short read: %zu bytes at offset %" PRIu64 " of %" PRIu64, f->path,
                         n, offset, i->size);
    for (size_t at = 0; at < n;) {
        size_t in = (offset + at) % PAGE_BYTES, part = MIN(n - at, PAGE_BYTES - in);
        const struct page *p = &i->pages[(offset + at) / PAGE_BYTES];
        if (p->data != NULL) memcpy((uint8_t *)out + at, p->data + in, part);
        else memset((uint8_t *)out + at, 0, part);
        at += part;
    }
    return ST_OK;
}

static enum status for_reading_only(const struct sim_file *f, const char *what, struct error *err)
{
    return error_set(err, ST_IO, "%s '%s': open for reading only", what, f->path);
}

enum status sim_file_write(struct env_file *file, uint64_t offset, const void *p, size_t n, struct error *err)
{
    struct sim_file *f = file_of(file);
    struct inode *i = f->inode;
    struct disk *d = i->disk;
    struct world *w = disk_world(d);
    if (f->mode == ENV_READ) return for_reading_only(f, "write", err);
    w->counters.writes++;
    spend(d, rng_between(&w->rng_disk, 1000, 5000) + n / 4, true);
    enum status st = inode_room_check(i, offset + n, f->path, err);
    if (st == ST_OK && fails(d, SIM_DISK_WRITE, d->options.write_error_one_in)) {
        w->counters.write_errors++;
        st = error_set(err, ST_IO, "write '%s': input/output error", f->path);
    }
    if (st == ST_IO) n = rng_below(&w->rng_disk, n + 1); /* some of it may have been written */
    if (st == ST_DISK_FULL) {
        uint64_t free_bytes = i->page_count * (uint64_t)PAGE_BYTES;
        if (d->used_pages * PAGE_BYTES < d->options.capacity_bytes)
            free_bytes += d->options.capacity_bytes / PAGE_BYTES * PAGE_BYTES - d->used_pages * PAGE_BYTES;
        n = offset < free_bytes ? (size_t)MIN(n, free_bytes - offset) : 0;
    }
    if (n == 0) return st;
    inode_extend(i, offset + n);
    pages_write(i, offset, p, n);
    world_mix(w, EV_WRITE, d->node->id, hash64(bytes_of(p, n), offset));
    w->counters.bytes_written += n;
    return st;
}

enum status sim_file_sync(struct env_file *file, struct error *err)
{
    struct sim_file *f = file_of(file);
    struct inode *i = f->inode;
    struct disk *d = i->disk;
    struct world *w = disk_world(d);
    w->counters.syncs++;
    uint64_t epoch = i->epoch++, size = i->size;
    spend_sync(d);
    if (fails(d, SIM_DISK_SYNC, d->options.sync_error_one_in)) {
        w->counters.sync_errors++;
        inode_sync_failed(i, epoch);
        return error_set(err, ST_IO, "fdatasync '%s': input/output error", f->path);
    }
    inode_synced(i, epoch, size);
    return ST_OK;
}

enum status sim_file_size(struct env_file *file, uint64_t *out, struct error *err)
{
    *out = file_of(file)->inode->size;
    return ST_OK;
}

enum status sim_file_truncate(struct env_file *file, uint64_t size, struct error *err)
{
    struct sim_file *f = file_of(file);
    if (f->mode == ENV_READ) return for_reading_only(f, "truncate", err);
    spend_name(f->inode->disk);
    enum status st = inode_room_check(f->inode, size, f->path, err);
    if (st == ST_OK) inode_truncate(f->inode, size);
    return st;
}

enum status sim_file_zero_fill(struct env_file *file, uint64_t size, struct error *err)
{
    struct sim_file *f = file_of(file);
    struct inode *i = f->inode;
    if (size <= i->size) return ST_OK;
    if (f->mode == ENV_READ) return for_reading_only(f, "zero-fill", err);
    spend(i->disk, 5000 + (size - i->size) / 2, true);
    enum status st = inode_room_check(i, size, f->path, err);
    if (st != ST_OK || size <= i->size) return st;
    uint64_t from = i->size;
    inode_extend(i, size);
    pages_write(i, from, NULL, size - from);
    return ST_OK;
}

/* ---- directories ---- */

enum status sim_dir_create(struct env *env, const char *path, struct error *err)
{
    struct disk *d = disk_of(env);
    char name[NAME_MAX_ + 1];
    size_t n = strlen(path);
    char *part = heap_strdup(&disk_world(d)->heap, path);
    enum status st = ST_OK;
    for (size_t end = 1; st == ST_OK && end <= n; end++) {
        if (path[end] != '/' && path[end] != '\0') continue;
        struct inode *dir = NULL;
        part[end] = '\0';
        spend_name(d);
        st = path_find(d, part, &dir, name, err);
        part[end] = path[end];
        if (st != ST_OK || name[0] == '\0') continue;
        struct inode *i = entry_now(dir, name);
        if (i != NULL) {
            if (!i->dir) st = error_set(err, ST_IO, "create directory '%s': not a directory", path);
            continue;
        }
        i = inode_new(d, true);
        name_op_new(d, NULL, NULL, dir, name, i);
        entry_set_now(dir, name, i);
        uint64_t seq = d->op_seq;
        inode_ref(dir);
        spend_sync(d);
        dir_commit(dir, seq);
        inode_unref(dir);
    }
    mem_free(part);
    return st;
}

enum status sim_dir_sync(struct env *env, const char *path, struct error *err)
{
    struct disk *d = disk_of(env);
    struct world *w = disk_world(d);
    struct inode *dir;
    enum status st = disk_path_lookup(d, path, &dir, err);
    if (st != ST_OK) return st;
    if (!dir->dir) return error_set(err, ST_IO, "fsync '%s': not a directory", path);
    w->counters.dir_syncs++;
    uint64_t seq = d->op_seq;
    inode_ref(dir);
    spend_sync(d);
    if (fails(d, SIM_DISK_SYNC, d->options.sync_error_one_in)) {
        w->counters.sync_errors++;
        st = error_set(err, ST_IO, "fsync directory '%s': input/output error", path);
    } else {
        dir_commit(dir, seq);
    }
    inode_unref(dir);
    return st;
}

enum status sim_dir_list(struct env *env, const char *path, void (*each)(void *ctx, const char *name), void *ctx,
                         struct error *err)
{
    struct disk *d = disk_of(env);
    struct world *w = disk_world(d);
    struct inode *dir;
    spend_name(d);
    enum status st = disk_path_lookup(d, path, &dir, err);
    if (st != ST_OK) return st;
    if (!dir->dir) return error_set(err, ST_IO, "open directory '%s': not a directory", path);
    size_t n = 0;
    char **names = disk_alloc(d, (dir->entry_count + 1) * sizeof *names);
    for (size_t k = 0; k < dir->entry_count; k++)
        if (dir->entries[k].now != NULL) names[n++] = heap_strdup(&w->heap, dir->entries[k].name);
    for (size_t k = n; k > 1; k--) { /* in no promised order */
        size_t other = rng_below(&w->rng_disk, k);
        char *name = names[other];
        names[other] = names[k - 1];
        names[k - 1] = name;
    }
    for (size_t k = 0; k < n; k++) {
        each(ctx, names[k]);
        mem_free(names[k]);
    }
    mem_free(names);
    return ST_OK;
}

static bool dir_is_empty(const struct inode *dir)
{
    for (size_t k = 0; k < dir->entry_count; k++)
        if (dir->entries[k].now != NULL) return false;
    return true;
}

enum status sim_rename(struct env *env, const char *from, const char *to, struct error *err)
{
    struct disk *d = disk_of(env);
    char from_name[NAME_MAX_ + 1], to_name[NAME_MAX_ + 1];
    struct inode *from_dir, *to_dir;
    spend_name(d);
    enum status st = path_find(d, from, &from_dir, from_name, err);
    if (st == ST_OK) st = path_find(d, to, &to_dir, to_name, err);
    if (st != ST_OK) return st;
    struct inode *i = from_name[0] != '\0' ? entry_now(from_dir, from_name) : NULL;
    if (i == NULL) return error_set(err, ST_NOT_FOUND, "rename '%s': no such file (to '%s')", from, to);
    struct inode *replaced = entry_now(to_dir, to_name);
    if (replaced == i) return ST_OK;
    if (to_name[0] == '\0' || (replaced != NULL && (replaced->dir != i->dir || !dir_is_empty(replaced))))
        return error_set(err, ST_EXISTS, "rename '%s': '%s' is in the way", from, to);
    name_op_new(d, from_dir, from_name, to_dir, to_name, i);
    inode_ref(i);
    entry_set_now(from_dir, from_name, NULL);
    entry_set_now(to_dir, to_name, i);
    inode_unref(i);
    return ST_OK;
}

enum status sim_unlink(struct env *env, const char *path, struct error *err)
{
    struct disk *d = disk_of(env);
    char name[NAME_MAX_ + 1];
    struct inode *dir;
    spend_name(d);
    enum status st = path_find(d, path, &dir, name, err);
    if (st != ST_OK) return st;
    struct inode *i = name[0] != '\0' ? entry_now(dir, name) : NULL;
    if (i == NULL) return error_set(err, ST_NOT_FOUND, "unlink '%s': no such file", path);
    if (i->dir) return error_set(err, ST_IO, "unlink '%s': is a directory", path);
    name_op_new(d, dir, name, NULL, NULL, i);
    entry_set_now(dir, name, NULL);
    return ST_OK;
}

enum status sim_dir_remove(struct env *env, const char *path, struct error *err)
{
    struct disk *d = disk_of(env);
    char name[NAME_MAX_ + 1];
    struct inode *dir;
    spend_name(d);
    enum status st = path_find(d, path, &dir, name, err);
    if (st != ST_OK) return st;
    struct inode *i = name[0] != '\0' ? entry_now(dir, name) : NULL;
    if (i == NULL) return error_set(err, ST_NOT_FOUND, "rmdir '%s': no such directory", path);
    if (!i->dir || !dir_is_empty(i)) return error_set(err, ST_IO, "rmdir '%s': not an empty directory", path);
    name_op_new(d, dir, name, NULL, NULL, i);
    entry_set_now(dir, name, NULL);
    return ST_OK;
}

bool sim_exists(struct env *env, const char *path)
{
    struct inode *i;
    return disk_path_lookup(disk_of(env), path, &i, NULL) == ST_OK;
}

enum status sim_dir_lock(struct env *env, const char *path, struct env_file **out, struct error *err)
{
    struct disk *d = disk_of(env);
    struct inode *dir;
    spend_name(d);
    enum status st = disk_path_lookup(d, path, &dir, err);
    if (st != ST_OK) return st;
    if (!dir->dir) return error_set(err, ST_IO, "lock '%s': not a directory", path);
    if (dir->locked_by != NULL)
        return error_set(err, ST_BUSY, "directory '%s' is in use by process %" PRIu64, path,
                         dir->locked_by->incarnation);
    struct inode *i = entry_now(dir, "LOCK");
    if (i == NULL) {
        i = inode_new(d, false);
        name_op_new(d, NULL, NULL, dir, "LOCK", i);
        entry_set_now(dir, "LOCK", i);
    }
    struct sim_file *f = file_new(env, path, i, ENV_WRITE);
    inode_set_ref(&f->lock_dir, dir);
    dir->locked_by = f->process;
    *out = &f->base;
    return ST_OK;
}

enum status sim_disk_free(struct env *env, const char *path, uint64_t *out, struct error *err)
{
    struct disk *d = disk_of(env);
    struct inode *i;
    enum status st = disk_path_lookup(d, path, &i, err);
    if (st != ST_OK) return st;
    uint64_t used = d->used_pages * PAGE_BYTES;
    *out = d->options.capacity_bytes > used ? d->options.capacity_bytes - used : 0;
    return ST_OK;
}
