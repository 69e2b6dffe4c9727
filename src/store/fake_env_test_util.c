/* fake_env_test_util.c - a small environment for tests of the log.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/fake_env_test_util.h"

#include <stdio.h>

#include "base/mem.h"

enum { SECTOR = 512 };

struct inode {
    unsigned refs;      /* names (current and durable), open files, changes of names */
    uint8_t *now, *old; /* as a process sees it; as it would be after a power loss: both have cap bytes */
    uint8_t *dirty;     /* per sector */
    uint64_t size, old_size, cap;
    uint64_t bad; /* sector that can't be read, plus one; 0: none */
};

struct name {
    char *path;
    struct inode *inode;
};

struct names {
    struct name *v;
    size_t n, cap;
};

struct change {      /* of names */
    char *from, *to; /* from NULL: create; to NULL: unlink */
    struct inode *inode;
};

struct fake_disk {
    struct names now, durable;
    struct change *changes;
    size_t change_count, change_cap;
};

struct file {
    struct env_file base;
    struct inode *inode;
    char *path;
};

struct worker {
    struct env_worker base;
    struct link link;
    struct list jobs;
};

struct fake {
    struct env env;
    struct env_loop loop;
    struct fake_disk *disk;
    struct rng rng;
    uint64_t now_ns;
    struct list posted, deferred, timers, workers;
    uint64_t ops, off_at;
    bool off;
    struct {
        uint64_t skip, count;
        enum status st;
    } fail[FAKE_OP_COUNT];
    uint64_t free_bytes;
    unsigned files_open;
};

/* ---- inodes and names ---- */

static void inode_unref(struct inode *i)
{
    ASSERT(i->refs > 0);
    if (--i->refs != 0) return;
    mem_free(i->now);
    mem_free(i->old);
    mem_free(i->dirty);
    mem_free(i);
}

static void inode_grow(struct inode *i, uint64_t size)
{
    if (size <= i->cap) return;
    uint64_t cap = MAX(size, i->cap * 2);
    cap = (cap + SECTOR - 1) / SECTOR * SECTOR;
    i->now = mem_realloc(i->now, cap);
    i->old = mem_realloc(i->old, cap);
    i->dirty = mem_realloc(i->dirty, cap / SECTOR);
    memset(i->now + i->cap, 0, cap - i->cap);
    memset(i->old + i->cap, 0, cap - i->cap);
    memset(i->dirty + i->cap / SECTOR, 0, (cap - i->cap) / SECTOR);
    i->cap = cap;
}

static struct name *name_find(const struct names *s, const char *path)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i].path, path) == 0) return &s->v[i];
    return NULL;
}

static void name_remove(struct names *s, const char *path)
{
    struct name *n = name_find(s, path);
    if (n == NULL) return;
    mem_free(n->path);
    inode_unref(n->inode);
    *n = s->v[--s->n];
}

static void name_put(struct names *s, const char *path, struct inode *inode)
{
    inode->refs++;
    name_remove(s, path);
    if (s->n == s->cap) {
        s->cap = s->cap != 0 ? s->cap * 2 : 8;
        s->v = mem_realloc(s->v, s->cap * sizeof *s->v);
    }
    s->v[s->n++] = (struct name){mem_strdup(path), inode};
}

static void names_clear(struct names *s)
{
    while (s->n > 0) name_remove(s, s->v[0].path);
    mem_free(s->v);
    *s = (struct names){0};
}

static void change_apply(struct names *s, const struct change *c)
{
    if (c->from != NULL) name_remove(s, c->from);
    if (c->to != NULL) name_put(s, c->to, c->inode);
}

static void change_put(struct fake_disk *d, const char *from, const char *to, struct inode *inode)
{
    if (d->change_count == d->change_cap) {
        d->change_cap = d->change_cap != 0 ? d->change_cap * 2 : 8;
        d->changes = mem_realloc(d->changes, d->change_cap * sizeof *d->changes);
    }
    inode->refs++;
    struct change c = {from != NULL ? mem_strdup(from) : NULL, to != NULL ? mem_strdup(to) : NULL, inode};
    d->changes[d->change_count++] = c;
    change_apply(&d->now, &c);
}

static void changes_clear(struct fake_disk *d)
{
    for (size_t i = 0; i < d->change_count; i++) {
        mem_free(d->changes[i].from);
        mem_free(d->changes[i].to);
        inode_unref(d->changes[i].inode);
    }
    d->change_count = 0;
}

/* ---- the disk ---- */

void fake_disk_free(struct fake_disk *d)
{
    if (d == NULL) return;
    changes_clear(d);
    mem_free(d->changes);
    names_clear(&d->now);
    names_clear(&d->durable);
    mem_free(d);
}

struct copied {
    const struct inode *from;
    struct inode *to;
};

static struct inode *inode_copy(struct copied *done, size_t *n, const struct inode *i)
{
    for (size_t k = 0; k < *n; k++)
        if (done[k].from == i) return done[k].to;
    struct inode *c = mem_alloc(sizeof *c);
    *c = *i;
    c->refs = 0;
    if (i->cap != 0) {
        c->now = mem_copy(i->now, i->cap);
        c->old = mem_copy(i->old, i->cap);
        c->dirty = mem_copy(i->dirty, i->cap / SECTOR);
    }
    done[(*n)++] = (struct copied){i, c};
    return c;
}

struct fake_disk *fake_disk_clone(const struct fake_disk *d)
{
    struct fake_disk *c = mem_zalloc(sizeof *c);
    struct copied *done = mem_alloc((d->now.n + d->durable.n + d->change_count + 1) * sizeof *done);
    size_t n = 0;
    for (size_t i = 0; i < d->change_count; i++) {
        const struct change *x = &d->changes[i];
        change_put(c, x->from, x->to, inode_copy(done, &n, x->inode));
    }
    names_clear(&c->now);
    for (size_t i = 0; i < d->now.n; i++) name_put(&c->now, d->now.v[i].path, inode_copy(done, &n, d->now.v[i].inode));
    for (size_t i = 0; i < d->durable.n; i++)
        name_put(&c->durable, d->durable.v[i].path, inode_copy(done, &n, d->durable.v[i].inode));
    mem_free(done);
    return c;
}

static void inode_crash(struct inode *i, const char *path, bool (*keep)(void *, const char *, uint64_t), void *ctx)
{
    uint64_t size = i->old_size;
    for (uint64_t s = 0; s < i->cap / SECTOR; s++) {
        if (!i->dirty[s]) continue;
        if (keep != NULL && keep(ctx, path, s)) {
            memcpy(i->old + s * SECTOR, i->now + s * SECTOR, SECTOR);
            if ((s + 1) * SECTOR > size) size = MIN((s + 1) * SECTOR, i->size);
        }
        i->dirty[s] = 0;
    }
    if (i->cap != 0) memcpy(i->now, i->old, i->cap);
    i->size = i->old_size = size;
}

void fake_disk_crash(struct fake_disk *d, bool (*keep)(void *, const char *, uint64_t), void *ctx, uint64_t names_kept)
{
    for (size_t i = 0; i < d->now.n; i++) inode_crash(d->now.v[i].inode, d->now.v[i].path, keep, ctx);
    for (size_t i = 0; i < d->durable.n; i++) inode_crash(d->durable.v[i].inode, d->durable.v[i].path, keep, ctx);
    for (size_t i = 0; i < d->change_count && i < names_kept; i++) change_apply(&d->durable, &d->changes[i]);
    changes_clear(d);
    names_clear(&d->now);
    for (size_t i = 0; i < d->durable.n; i++) name_put(&d->now, d->durable.v[i].path, d->durable.v[i].inode);
}

uint64_t fake_disk_names_in_doubt(const struct fake_disk *d) { return d->change_count; }

void fake_disk_in_doubt(const struct fake_disk *d, void (*each)(void *, const char *, uint64_t), void *ctx)
{
    for (size_t i = 0; i < d->now.n; i++)
        for (uint64_t s = 0; s < d->now.v[i].inode->cap / SECTOR; s++)
            if (d->now.v[i].inode->dirty[s]) each(ctx, d->now.v[i].path, s);
}

uint8_t *fake_disk_bytes(struct fake_disk *d, const char *path, uint64_t *out_size)
{
    struct name *n = name_find(&d->now, path);
    if (n == NULL) return NULL;
    *out_size = n->inode->size;
    return n->inode->now;
}

void fake_disk_remove(struct fake_disk *d, const char *path)
{
    name_remove(&d->now, path);
    name_remove(&d->durable, path);
}

bool fake_disk_each(const struct fake_disk *d, size_t *at, const char **out_path)
{
    if (*at >= d->now.n) return false;
    *out_path = d->now.v[(*at)++].path;
    return true;
}

void fake_disk_unreadable(struct fake_disk *d, const char *path, uint64_t sector)
{
    struct name *n = name_find(&d->now, path);
    ASSERT(n != NULL);
    n->inode->bad = sector + 1;
}

/* ---- operations on files ---- */

static struct fake *fake_of(struct env *env) { return (struct fake *)env; }

static enum status failing(struct fake *f, enum fake_op op, struct error *err)
{
    if (f->fail[op].count == 0) return ST_OK;
    if (f->fail[op].skip > 0) {
        f->fail[op].skip--;
        return ST_OK;
    }
    f->fail[op].count--;
    return error_set(err, f->fail[op].st, "planned failure of operation %d", (int)op);
}

/* Counts an operation that changes the disk. */
static enum status changing(struct fake *f, enum fake_op op, struct error *err)
{
    if (f->off || f->ops >= f->off_at) {
        f->off = true;
        return error_set(err, ST_IO, "the power is off");
    }
    f->ops++;
    return op < FAKE_OP_COUNT ? failing(f, op, err) : ST_OK;
}

static enum status f_open(struct env *env, const char *path, enum env_open_mode mode, struct env_file **out,
                          struct error *err)
{
    struct fake *f = fake_of(env);
    struct name *n = name_find(&f->disk->now, path);
    if (mode == ENV_CREATE) {
        if (n != NULL) return error_set(err, ST_EXISTS, "create '%s'", path);
        enum status st = changing(f, FAKE_CREATE, err);
        if (st != ST_OK) return st;
        change_put(f->disk, NULL, path, mem_zalloc(sizeof(struct inode)));
        n = name_find(&f->disk->now, path);
    }
    if (n == NULL) return error_set(err, ST_NOT_FOUND, "open '%s'", path);
    struct file *file = mem_zalloc(sizeof *file);
    file->base.env = env;
    file->inode = n->inode;
    file->inode->refs++;
    file->path = mem_strdup(path);
    f->files_open++;
    *out = &file->base;
    return ST_OK;
}

static void f_close(struct env_file *base)
{
    struct file *file = (struct file *)base;
    fake_of(base->env)->files_open--;
    inode_unref(file->inode);
    mem_free(file->path);
    mem_free(file);
}

static enum status f_read(struct env_file *base, uint64_t offset, void *out, size_t n, struct error *err)
{
    struct inode *i = ((struct file *)base)->inode;
    enum status st = failing(fake_of(base->env), FAKE_READ, err);
    if (st != ST_OK) return st;
    if (offset + n > i->size) return error_set(err, ST_CORRUPT, "short read");
    if (i->bad != 0 && offset < i->bad * SECTOR && offset + n > (i->bad - 1) * SECTOR)
        return error_set(err, ST_IO, "sector %llu can't be read", (unsigned long long)i->bad - 1);
    if (n != 0) memcpy(out, i->now + offset, n);
    return ST_OK;
}

static void inode_write(struct inode *i, uint64_t offset, const void *p, size_t n)
{
    if (n == 0) return;
    inode_grow(i, offset + n);
    if (p != NULL) memcpy(i->now + offset, p, n);
    else memset(i->now + offset, 0, n);
    for (uint64_t s = offset / SECTOR; s * SECTOR < offset + n; s++) i->dirty[s] = 1;
    if (offset + n > i->size) i->size = offset + n;
}

static enum status f_write(struct env_file *base, uint64_t offset, const void *p, size_t n, struct error *err)
{
    enum status st = changing(fake_of(base->env), FAKE_WRITE, err);
    if (st == ST_OK) inode_write(((struct file *)base)->inode, offset, p, n);
    return st;
}

static void inode_sync(struct inode *i)
{
    for (uint64_t s = 0; s < i->cap / SECTOR; s++) {
        if (i->dirty[s]) memcpy(i->old + s * SECTOR, i->now + s * SECTOR, SECTOR);
        i->dirty[s] = 0;
    }
    i->old_size = i->size;
}

void fake_writeback(struct fake *f)
{
    for (size_t i = 0; !f->off && i < f->disk->now.n; i++) inode_sync(f->disk->now.v[i].inode);
}

static enum status f_sync(struct env_file *base, struct error *err)
{
    enum status st = changing(fake_of(base->env), FAKE_SYNC, err);
    if (st == ST_OK) inode_sync(((struct file *)base)->inode);
    return st;
}

static enum status f_size(struct env_file *base, uint64_t *out, struct error *err)
{
    *out = ((struct file *)base)->inode->size;
    return ST_OK;
}

static enum status f_zero_fill(struct env_file *base, uint64_t size, struct error *err)
{
    struct inode *i = ((struct file *)base)->inode;
    enum status st = changing(fake_of(base->env), FAKE_FILL, err);
    if (st == ST_OK && size > i->size) inode_write(i, i->size, NULL, (size_t)(size - i->size));
    return st;
}

static enum status f_dir_sync(struct env *env, const char *path, struct error *err)
{
    struct fake_disk *d = fake_of(env)->disk;
    enum status st = changing(fake_of(env), FAKE_DIR_SYNC, err);
    if (st != ST_OK) return st;
    for (size_t i = 0; i < d->change_count; i++) change_apply(&d->durable, &d->changes[i]);
    changes_clear(d);
    return ST_OK;
}

static enum status f_dir_list(struct env *env, const char *path, void (*each)(void *, const char *), void *ctx,
                              struct error *err)
{
    struct fake_disk *d = fake_of(env)->disk;
    size_t n = strlen(path);
    for (size_t i = 0; i < d->now.n; i++)
        if (strncmp(d->now.v[i].path, path, n) == 0 && d->now.v[i].path[n] == '/') each(ctx, d->now.v[i].path + n + 1);
    return ST_OK;
}

static enum status f_rename(struct env *env, const char *from, const char *to, struct error *err)
{
    struct fake_disk *d = fake_of(env)->disk;
    enum status st = changing(fake_of(env), FAKE_OP_COUNT, err);
    if (st != ST_OK) return st;
    struct name *n = name_find(&d->now, from);
    if (n == NULL) return error_set(err, ST_NOT_FOUND, "rename '%s'", from);
    change_put(d, from, to, n->inode);
    return ST_OK;
}

static enum status f_unlink(struct env *env, const char *path, struct error *err)
{
    struct fake_disk *d = fake_of(env)->disk;
    enum status st = changing(fake_of(env), FAKE_OP_COUNT, err);
    if (st != ST_OK) return st;
    struct name *n = name_find(&d->now, path);
    if (n == NULL) return error_set(err, ST_NOT_FOUND, "unlink '%s'", path);
    change_put(d, path, NULL, n->inode);
    return ST_OK;
}

static bool f_exists(struct env *env, const char *path) { return name_find(&fake_of(env)->disk->now, path) != NULL; }

static enum status f_disk_free(struct env *env, const char *path, uint64_t *out, struct error *err)
{
    *out = fake_of(env)->free_bytes;
    return ST_OK;
}

/* ---- tasks, timers, workers ---- */

static uint64_t f_now(struct env *env) { return fake_of(env)->now_ns; }

static uint64_t f_wall(struct env *env) { return 1700000000000u + fake_of(env)->now_ns / NS_PER_MS; }

static void f_random(struct env *env, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++) ((uint8_t *)out)[i] = (uint8_t)rng_next(&fake_of(env)->rng);
}

static void queue_task(struct list *l, struct env_task *t)
{
    if (t->queued) return;
    t->queued = true;
    list_push_back(l, &t->link);
}

static void f_defer(struct env_loop *loop, struct env_task *t) { queue_task(&fake_of(loop->env)->deferred, t); }

static void f_post(struct env_loop *loop, struct env_task *t)
{
    ASSERT(!t->queued);
    queue_task(&fake_of(loop->env)->posted, t);
}

static void f_timer_start(struct env_timer *t, uint64_t delay_ns)
{
    struct fake *f = fake_of(t->loop->env);
    if (t->due_ns != 0) link_remove(&t->link);
    t->due_ns = f->now_ns + delay_ns + 1;
    list_push_back(&f->timers, &t->link);
}

static void f_timer_stop(struct env_timer *t)
{
    link_remove(&t->link);
    t->due_ns = 0;
}

static struct env_worker *f_worker_new(struct env *env, const char *name, unsigned threads)
{
    struct worker *w = mem_zalloc(sizeof *w);
    w->base.env = env;
    list_init(&w->jobs);
    list_push_back(&fake_of(env)->workers, &w->link);
    return &w->base;
}

static void f_submit(struct env_worker *base, struct env_loop *loop, struct env_job *j)
{
    j->loop = loop;
    list_push_back(&((struct worker *)base)->jobs, &j->link);
}

static void job_back(struct env_task *t)
{
    struct env_job *j = CONTAINER_OF(t, struct env_job, task);
    j->done(j);
}

static void job_post(struct fake *f, struct env_job *j)
{
    j->task = (struct env_task){.run = job_back};
    queue_task(&f->posted, &j->task);
}

static void f_worker_free(struct env_worker *base)
{
    struct worker *w = (struct worker *)base;
    struct fake *f = fake_of(base->env);
    for (struct link *k; (k = list_pop_front(&w->jobs)) != NULL;) job_post(f, CONTAINER_OF(k, struct env_job, link));
    link_remove(&w->link);
    mem_free(w);
}

static bool tasks_of(struct list *l)
{
    bool any = false;
    struct list batch;
    list_init(&batch);
    for (struct link *k; (k = list_pop_front(l)) != NULL;) list_push_back(&batch, k);
    for (struct link *k; (k = list_pop_front(&batch)) != NULL; any = true) {
        struct env_task *t = CONTAINER_OF(k, struct env_task, link);
        t->queued = false;
        t->run(t);
    }
    return any;
}

void fake_tasks(struct fake *f)
{
    bool more = true;
    while (more) {
        more = tasks_of(&f->posted);
        more = tasks_of(&f->deferred) || more;
    }
}

bool fake_job(struct fake *f)
{
    for (struct link *k = list_first(&f->workers); k != NULL; k = list_next(&f->workers, k)) {
        struct worker *w = CONTAINER_OF(k, struct worker, link);
        struct link *j = list_pop_front(&w->jobs);
        if (j == NULL) continue;
        struct env_job *job = CONTAINER_OF(j, struct env_job, link);
        job->run(job);
        f->now_ns += 1000;
        job_post(f, job);
        return true;
    }
    return false;
}

void fake_run(struct fake *f)
{
    do {
        fake_tasks(f);
    } while (fake_job(f));
}

void fake_advance(struct fake *f, uint64_t ns)
{
    uint64_t end = f->now_ns + ns;
    for (;;) {
        fake_run(f);
        struct env_timer *first = NULL;
        for (struct link *k = list_first(&f->timers); k != NULL; k = list_next(&f->timers, k)) {
            struct env_timer *t = CONTAINER_OF(k, struct env_timer, link);
            if (t->due_ns <= end && (first == NULL || t->due_ns < first->due_ns)) first = t;
        }
        if (first == NULL) break;
        f->now_ns = MAX(f->now_ns, first->due_ns);
        link_remove(&first->link);
        first->due_ns = 0;
        first->fire(first);
    }
    f->now_ns = MAX(f->now_ns, end);
}

static const struct env_ops ops = {
    .now_ns = f_now,
    .wall_ms = f_wall,
    .random = f_random,
    .defer = f_defer,
    .post = f_post,
    .timer_start = f_timer_start,
    .timer_stop = f_timer_stop,
    .file_open = f_open,
    .file_close = f_close,
    .file_read = f_read,
    .file_write = f_write,
    .file_sync = f_sync,
    .file_size = f_size,
    .file_zero_fill = f_zero_fill,
    .dir_sync = f_dir_sync,
    .dir_list = f_dir_list,
    .rename = f_rename,
    .unlink = f_unlink,
    .exists = f_exists,
    .disk_free = f_disk_free,
    .worker_new = f_worker_new,
    .worker_submit = f_submit,
    .worker_free = f_worker_free,
};

struct fake *fake_new(struct fake_disk *disk, uint64_t seed)
{
    struct fake *f = mem_zalloc(sizeof *f);
    f->env.ops = &ops;
    f->env.simulated = true;
    f->loop.env = &f->env;
    f->disk = disk != NULL ? disk : mem_zalloc(sizeof *f->disk);
    rng_init(&f->rng, seed);
    f->now_ns = NS_PER_S;
    f->off_at = UINT64_MAX;
    f->free_bytes = 1ull << 40;
    list_init(&f->posted);
    list_init(&f->deferred);
    list_init(&f->timers);
    list_init(&f->workers);
    return f;
}

void fake_free(struct fake *f)
{
    if (f == NULL) return;
    ASSERT(f->files_open == 0 && list_empty(&f->workers) && list_empty(&f->timers));
    ASSERT(list_empty(&f->posted) && list_empty(&f->deferred));
    fake_disk_free(f->disk);
    mem_free(f);
}

struct env_loop *fake_loop(struct fake *f) { return &f->loop; }
uint64_t fake_ops(const struct fake *f) { return f->ops; }
void fake_power_off_at(struct fake *f, uint64_t n) { f->off_at = n; }
void fake_set_free(struct fake *f, uint64_t bytes) { f->free_bytes = bytes; }
struct fake_disk *fake_disk(struct fake *f) { return f->disk; }

void fake_fail(struct fake *f, enum fake_op op, uint64_t skip, uint64_t count, enum status st)
{
    f->fail[op].skip = skip;
    f->fail[op].count = count;
    f->fail[op].st = st;
}

struct fake_disk *fake_take_disk(struct fake *f)
{
    struct fake_disk *d = f->disk;
    f->disk = NULL;
    return d;
}
