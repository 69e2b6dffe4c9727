/* test_env.h - an environment for the tests of the engine and the rows, in which the test decides when things happen.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One loop, whose turns and workers' jobs the test runs one by one; a disk in memory that forgets at a power cut what
 * was not synced, and whose power can go at the n-th operation. Included by tests only. */
#ifndef CAIRN_STORE_TEST_ENV_H
#define CAIRN_STORE_TEST_ENV_H

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "env/env.h"

#define TEST_FILES_MAX 64

/* A file has a name now, and one that survives a power cut; "" is none. The same for what it holds. */
struct test_inode {
    char now[128], stable[128];
    struct buf data, synced;
    bool used;
};

struct test_env {
    struct env env;
    struct env_loop loop;
    struct rng rng;
    struct list deferred, posted, jobs;
    struct test_inode inodes[TEST_FILES_MAX];
    uint64_t ops_left; /* disk operations until the power goes */
    uint64_t ops;      /* done */
};

struct test_file {
    struct env_file file;
    struct test_inode *inode;
};

static inline struct test_env *test_env_of(struct env *env) { return (struct test_env *)env; }
static inline struct test_env *test_env_of_file(struct env_file *f) { return (struct test_env *)f->env; }

static enum status test_op(struct test_env *t, struct error *err)
{
    if (t->ops_left == 0) return error_set(err, ST_IO, "the power is gone");
    t->ops_left--;
    t->ops++;
    return ST_OK;
}

static struct test_inode *test_find(struct test_env *t, const char *path)
{
    for (size_t i = 0; i < TEST_FILES_MAX; i++)
        if (t->inodes[i].used && strcmp(t->inodes[i].now, path) == 0) return &t->inodes[i];
    return NULL;
}

static enum status test_file_open(struct env *env, const char *path, enum env_open_mode mode, struct env_file **out,
                                  struct error *err)
{
    struct test_env *t = test_env_of(env);
    enum status st = test_op(t, err);
    struct test_inode *i = test_find(t, path);
    if (st != ST_OK) return st;
    if (mode == ENV_CREATE && i != NULL) return error_set(err, ST_EXISTS, "'%s' exists", path);
    if (mode != ENV_CREATE && i == NULL) return error_set(err, ST_NOT_FOUND, "no '%s'", path);
    for (size_t k = 0; i == NULL; k++) {
        ASSERT(k < TEST_FILES_MAX && strlen(path) < sizeof i->now);
        if (t->inodes[k].used) continue;
        i = &t->inodes[k];
        i->used = true;
        buf_clear(&i->data);
        buf_clear(&i->synced);
        i->stable[0] = 0;
        strcpy(i->now, path);
    }
    struct test_file *f = mem_zalloc(sizeof *f);
    f->file.env = env;
    f->inode = i;
    *out = &f->file;
    return ST_OK;
}

static void test_file_close(struct env_file *f) { mem_free(f); }

static enum status test_file_read(struct env_file *f, uint64_t offset, void *out, size_t n, struct error *err)
{
    struct test_inode *i = ((struct test_file *)f)->inode;
    if (offset + n > i->data.n) return error_set(err, ST_CORRUPT, "short read");
    if (n != 0) memcpy(out, i->data.p + offset, n);
    return ST_OK;
}

static enum status test_file_write(struct env_file *f, uint64_t offset, const void *p, size_t n, struct error *err)
{
    struct test_env *t = test_env_of_file(f);
    struct test_inode *i = ((struct test_file *)f)->inode;
    enum status st = test_op(t, err);
    if (st != ST_OK) n = n != 0 ? rng_below(&t->rng, n) : 0; /* some of it may get there */
    while (i->data.n < offset + n) buf_put_u8(&i->data, 0);
    if (n != 0) memcpy(i->data.p + offset, p, n);
    return st;
}

static enum status test_file_sync(struct env_file *f, struct error *err)
{
    struct test_inode *i = ((struct test_file *)f)->inode;
    enum status st = test_op(test_env_of_file(f), err);
    if (st != ST_OK) return st;
    buf_clear(&i->synced);
    buf_put_bytes(&i->synced, buf_view(&i->data));
    return ST_OK;
}

static enum status test_file_size(struct env_file *f, uint64_t *out, struct error *err)
{
    *out = ((struct test_file *)f)->inode->data.n;
    return ST_OK;
}

static enum status test_file_truncate(struct env_file *f, uint64_t size, struct error *err)
{
    struct test_inode *i = ((struct test_file *)f)->inode;
    enum status st = test_op(test_env_of_file(f), err);
    if (st != ST_OK) return st;
    while (i->data.n < size) buf_put_u8(&i->data, 0);
    i->data.n = size;
    return ST_OK;
}

static enum status test_dir_create(struct env *env, const char *path, struct error *err) { return ST_OK; }

static bool test_in_dir(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && path[n] == '/';
}

static enum status test_dir_sync(struct env *env, const char *path, struct error *err)
{
    struct test_env *t = test_env_of(env);
    enum status st = test_op(t, err);
    for (size_t k = 0; st == ST_OK && k < TEST_FILES_MAX; k++) {
        struct test_inode *i = &t->inodes[k];
        if (i->used && (test_in_dir(i->now, path) || test_in_dir(i->stable, path)))
            memcpy(i->stable, i->now, sizeof i->now);
    }
    return st;
}

static enum status test_dir_list(struct env *env, const char *path, void (*each)(void *ctx, const char *name),
                                 void *ctx, struct error *err)
{
    struct test_env *t = test_env_of(env);
    for (size_t k = 0; k < TEST_FILES_MAX; k++)
        if (t->inodes[k].used && test_in_dir(t->inodes[k].now, path)) each(ctx, t->inodes[k].now + strlen(path) + 1);
    return ST_OK;
}

static enum status test_unlink(struct env *env, const char *path, struct error *err)
{
    struct test_inode *i = test_find(test_env_of(env), path);
    enum status st = test_op(test_env_of(env), err);
    if (st != ST_OK) return st;
    if (i == NULL) return error_set(err, ST_NOT_FOUND, "no '%s'", path);
    i->now[0] = 0;
    return ST_OK;
}

static bool test_exists(struct env *env, const char *path)
{
    struct test_env *t = test_env_of(env);
    for (size_t k = 0; k < TEST_FILES_MAX; k++)
        if (t->inodes[k].used && test_in_dir(t->inodes[k].now, path)) return true;
    return test_find(t, path) != NULL;
}

static void test_random(struct env *env, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++) ((uint8_t *)out)[i] = (uint8_t)rng_next(&test_env_of(env)->rng);
}

static void test_defer(struct env_loop *loop, struct env_task *task)
{
    if (!link_linked(&task->link)) list_push_back(&test_env_of(loop->env)->deferred, &task->link);
}

static void test_post(struct env_loop *loop, struct env_task *task)
{
    list_push_back(&test_env_of(loop->env)->posted, &task->link);
}

static struct env_worker *test_worker_new(struct env *env, const char *name, unsigned threads)
{
    struct env_worker *w = mem_zalloc(sizeof *w);
    w->env = env;
    return w;
}

static void test_job_back(struct env_task *task)
{
    struct env_job *job = CONTAINER_OF(task, struct env_job, task);
    job->done(job);
}

static void test_worker_submit(struct env_worker *w, struct env_loop *loop, struct env_job *job)
{
    job->loop = loop;
    job->task = (struct env_task){.run = test_job_back};
    list_push_back(&test_env_of(w->env)->jobs, &job->link);
}

static void test_worker_free(struct env_worker *w)
{
    struct test_env *t = test_env_of(w->env);
    for (struct link *k; (k = list_pop_front(&t->jobs)) != NULL;)
        test_post(&t->loop, &CONTAINER_OF(k, struct env_job, link)->task);
    mem_free(w);
}

static const struct env_ops test_ops = {
    .random = test_random,
    .defer = test_defer,
    .post = test_post,
    .file_open = test_file_open,
    .file_close = test_file_close,
    .file_read = test_file_read,
    .file_write = test_file_write,
    .file_sync = test_file_sync,
    .file_size = test_file_size,
    .file_truncate = test_file_truncate,
    .dir_create = test_dir_create,
    .dir_sync = test_dir_sync,
    .dir_list = test_dir_list,
    .unlink = test_unlink,
    .exists = test_exists,
    .worker_new = test_worker_new,
    .worker_submit = test_worker_submit,
    .worker_free = test_worker_free,
};

static inline struct test_env *test_env_new(uint64_t seed)
{
    struct test_env *t = mem_zalloc(sizeof *t);
    t->env = (struct env){&test_ops, true};
    t->loop.env = &t->env;
    t->ops_left = UINT64_MAX;
    rng_init(&t->rng, seed);
    list_init(&t->deferred);
    list_init(&t->posted);
    list_init(&t->jobs);
    return t;
}

static inline void test_env_free(struct test_env *t)
{
    for (size_t k = 0; k < TEST_FILES_MAX; k++) {
        buf_deinit(&t->inodes[k].data);
        buf_deinit(&t->inodes[k].synced);
    }
    mem_free(t);
}

/* What was not synced is kept, lost, or cut short; names not synced are as before or as now. The power is back. */
static inline void test_power_cut(struct test_env *t)
{
    for (size_t k = 0; k < TEST_FILES_MAX; k++) {
        struct test_inode *i = &t->inodes[k];
        if (!i->used) continue;
        if (rng_chance(&t->rng, 2)) memcpy(i->now, i->stable, sizeof i->now);
        memcpy(i->stable, i->now, sizeof i->now);
        size_t keep = i->data.n > i->synced.n ? i->synced.n + rng_below(&t->rng, i->data.n - i->synced.n + 1)
                                              : i->data.n;
        switch (rng_below(&t->rng, 3)) {
        case 0: /* lost */
            buf_clear(&i->data);
            buf_put_bytes(&i->data, buf_view(&i->synced));
            break;
        case 1: /* cut */
            i->data.n = keep;
            if (keep > i->synced.n && rng_chance(&t->rng, 2)) i->data.p[keep - 1] ^= 0x55;
            break;
        default: break;
        }
        buf_clear(&i->synced);
        buf_put_bytes(&i->synced, buf_view(&i->data));
        if (i->now[0] == 0) i->used = false;
    }
    t->ops_left = UINT64_MAX;
}

/* Runs the oldest job of a worker; its done runs in the next turn. False: there is none. */
static inline bool test_run_job(struct test_env *t)
{
    struct link *k = list_pop_front(&t->jobs);
    if (k == NULL) return false;
    struct env_job *job = CONTAINER_OF(k, struct env_job, link);
    job->run(job);
    test_post(&t->loop, &job->task);
    return true;
}

/* One turn of the loop: what was posted, then what was deferred. */
static inline void test_turn(struct test_env *t)
{
    struct list *both[] = {&t->posted, &t->deferred};
    for (size_t i = 0; i < 2; i++) {
        struct list now;
        list_init(&now);
        for (struct link *k; (k = list_pop_front(both[i])) != NULL;) list_push_back(&now, k);
        for (struct link *k; (k = list_pop_front(&now)) != NULL;) {
            struct env_task *task = CONTAINER_OF(k, struct env_task, link);
            task->run(task);
        }
    }
}

static inline void test_run_all(struct test_env *t)
{
    do test_turn(t);
    while (test_run_job(t) || !list_empty(&t->posted) || !list_empty(&t->deferred));
}

#endif
