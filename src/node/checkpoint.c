/* checkpoint.c - makes checkpoints of a running node.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Shard 0 → a worker makes the directory NAME.new → every store's rows go to its engine, and its worker makes the engine's
 * checkpoint → a worker writes catalog and CHECKPOINT, syncs, renames NAME.new to NAME, syncs. What has no CHECKPOINT, or
 * ends in .new, is none. */
#include "node/checkpoint.h"

#include <stdio.h>

#include "base/diag.h"
#include "base/hash.h"
#include "base/mem.h"
#include "node/node_internal.h"

#define MAGIC  0x54504b43u /* "CKPT" */
#define FORMAT 1

enum status checkpoint_info_save(struct env *env, const char *dir, const struct checkpoint_info *info,
                                 struct error *err)
{
    char path[700];
    struct buf b = {0};
    struct env_file *f = NULL;
    snprintf(path, sizeof path, "%s/CHECKPOINT", dir);
    buf_put_u32(&b, MAGIC);
    buf_put_u32(&b, FORMAT);
    buf_put_u32(&b, 0);
    buf_put(&b, info->cluster_id, 16);
    buf_put_u64(&b, info->node_id);
    buf_put_u64(&b, info->made_ms);
    buf_put_u16(&b, info->stores);
    put_u32(b.p + 8, crc32c(0, b.p + 12, b.n - 12));
    enum status st = env_file_open(env, path, ENV_CREATE, &f, err);
    if (st == ST_OK) st = env_file_write(f, 0, b.p, b.n, err);
    if (st == ST_OK) st = env_file_sync(f, err);
    env_file_close(f);
    if (st == ST_OK) st = env_dir_sync(env, dir, err);
    buf_deinit(&b);
    return st;
}

enum status checkpoint_info_load(struct env *env, const char *dir, struct checkpoint_info *out, struct error *err)
{
    char path[700];
    struct buf b = {0};
    struct env_file *f = NULL;
    uint64_t size = 0;
    snprintf(path, sizeof path, "%s/CHECKPOINT", dir);
    if (!env_exists(env, path))
        return error_set(err, ST_NOT_FOUND, "'%s' is no checkpoint: it has no file CHECKPOINT", dir);
    enum status st = env_file_open(env, path, ENV_READ, &f, err);
    if (st == ST_OK) st = env_file_size(f, &size, err);
    if (st == ST_OK && (size < 12 || size > 4096))
        st = error_set(err, ST_CORRUPT, "'%s' is damaged: its length is wrong", path);
    if (st == ST_OK) st = env_file_read(f, 0, buf_extend(&b, size), size, err);
    env_file_close(f);
    struct reader r = reader_of(buf_view(&b));
    uint32_t magic = reader_u32(&r), format = reader_u32(&r), crc = reader_u32(&r);
    if (st == ST_OK && magic != MAGIC) st = error_set(err, ST_CORRUPT, "'%s' is of no checkpoint", path);
    if (st == ST_OK && format != FORMAT)
        st = error_set(err, ST_VERSION, "'%s' has format %u; this build reads format %u: use the newer cairn", path,
                       format, FORMAT);
    if (st == ST_OK && crc != crc32c(0, r.p, reader_left(&r)))
        st = error_set(err, ST_CORRUPT, "'%s' is damaged: its checksum does not match", path);
    if (st == ST_OK) {
        struct bytes id = reader_bytes(&r, 16);
        if (id.n == 16) memcpy(out->cluster_id, id.p, 16);
        out->node_id = reader_u64(&r);
        out->made_ms = reader_u64(&r);
        out->stores = reader_u16(&r);
        if (!reader_done(&r) || out->stores == 0)
            st = error_set(err, ST_CORRUPT, "'%s' is damaged: its length is wrong", path);
    }
    buf_deinit(&b);
    return st;
}

static void found(void *ctx, const char *name)
{
    struct checkpoint_list *l = ctx;
    size_t n = strlen(name);
    if (n > 4 && strcmp(name + n - 4, ".new") == 0) l->half++;
    else if (l->count < CHECKPOINTS_MAX && n < CHECKPOINT_NAME_MAX) memcpy(l->names[l->count++], name, n + 1);
}

enum status checkpoint_find(struct env *env, const char *node_dir, struct checkpoint_list *out, struct error *err)
{
    char path[600];
    *out = (struct checkpoint_list){0};
    snprintf(path, sizeof path, "%s/checkpoints", node_dir);
    return env_exists(env, path) ? env_dir_list(env, path, found, out, err) : ST_OK;
}

/* ---- removing half ones ---- */

struct names {
    struct buf text; /* each with its 0 */
};

static void add_name(void *ctx, const char *name) { buf_put(&((struct names *)ctx)->text, name, strlen(name) + 1); }

/* A half checkpoint: files, and the engines' directories of files. */
static enum status remove_tree(struct env *env, const char *dir, unsigned depth, struct error *err)
{
    struct names names = {0};
    enum status st = env_dir_list(env, dir, add_name, &names, err);
    for (size_t at = 0; st == ST_OK && at < names.text.n; at += strlen((char *)names.text.p + at) + 1) {
        char path[800];
        struct error ignored = {0};
        snprintf(path, sizeof path, "%s/%s", dir, (char *)names.text.p + at);
        if (env_unlink(env, path, &ignored) == ST_OK) continue;
        st = depth == 0 ? error_set(err, ST_IO, "%s", ignored.text) : remove_tree(env, path, depth - 1, err);
    }
    buf_deinit(&names.text);
    return st == ST_OK ? env_dir_remove(env, dir, err) : st;
}

enum status checkpoint_clean(struct env *env, const char *node_dir, struct error *err)
{
    char parent[500];
    struct names names = {0};
    snprintf(parent, sizeof parent, "%s/checkpoints", node_dir);
    enum status st = env_exists(env, parent) ? env_dir_list(env, parent, add_name, &names, err) : ST_OK;
    for (size_t at = 0; st == ST_OK && at < names.text.n; at += strlen((char *)names.text.p + at) + 1) {
        const char *name = (char *)names.text.p + at;
        char path[800];
        size_t n = strlen(name);
        if (n <= 4 || strcmp(name + n - 4, ".new") != 0) continue;
        snprintf(path, sizeof path, "%s/%s", parent, name);
        st = remove_tree(env, path, 2, err);
        if (st == ST_OK) diag(DIAG_INFO, "checkpoint.half_removed dir=\"%s\"", path);
    }
    buf_deinit(&names.text);
    return st;
}

/* ---- making one ---- */

struct making {
    struct env_job job;
    struct node *node;
    struct env_worker *worker; /* its own: freed when all is done */
    struct catalog *catalog;
    struct checkpoint_info info;
    char parent[500], name[CHECKPOINT_NAME_MAX], half[600], whole[600];
    unsigned left; /* stores */
    bool ending;
    enum status status;
    struct error err;
    void (*done)(void *ctx, enum status st, const char *dir, const char *text);
    void *ctx;
};

/* One store's part. */
struct making_store {
    struct env_job job;
    struct making *making;
    struct shard *shard;
    char dir[640];
    enum status status;
    struct error err;
};

static void finish(struct shard *s, void *arg)
{
    struct making *m = arg;
    (void)s;
    m->node->checkpointing = false;
    if (m->status == ST_OK) diag(DIAG_INFO, "checkpoint.made dir=\"%s\" stores=%u", m->whole, m->info.stores);
    else diag(DIAG_WARN, "checkpoint.failed dir=\"%s\" why=\"%s\"", m->half, m->err.text);
    m->done(m->ctx, m->status, m->whole, m->err.text);
    env_worker_free(m->worker);
    catalog_unref(m->catalog);
    mem_free(m);
}

static void run_begin(struct env_job *job)
{
    struct making *m = CONTAINER_OF(job, struct making, job);
    struct env *env = m->node->env;
    struct checkpoint_list list;
    m->status = checkpoint_find(env, m->node->dir, &list, &m->err);
    if (m->status == ST_OK && list.count + list.half >= CHECKPOINTS_MAX)
        m->status = error_set(&m->err, ST_OVERLOADED,
                              "there are %zu checkpoints in '%s', which is the most: remove some first",
                              list.count + list.half, m->parent);
    if (m->status == ST_OK) m->status = env_dir_create(env, m->half, &m->err);
    if (m->status == ST_OK) m->status = env_dir_sync(env, m->parent, &m->err);
    if (m->status == ST_OK) m->status = env_dir_sync(env, m->node->dir, &m->err);
}

static void run_end(struct env_job *job)
{
    struct making *m = CONTAINER_OF(job, struct making, job);
    struct env *env = m->node->env;
    m->status = control_save(env, m->half, m->catalog, &m->err);
    if (m->status == ST_OK) m->status = checkpoint_info_save(env, m->half, &m->info, &m->err);
    if (m->status == ST_OK) m->status = env_rename(env, m->half, m->whole, &m->err);
    if (m->status == ST_OK) m->status = env_dir_sync(env, m->parent, &m->err);
}

/* A half one would pin the engines' files for nothing. */
static void run_remove(struct env_job *job)
{
    struct making *m = CONTAINER_OF(job, struct making, job);
    struct error err = {0};
    if (checkpoint_clean(m->node->env, m->node->dir, &err) != ST_OK)
        diag(DIAG_WARN, "checkpoint.half_left dir=\"%s\" why=\"%s\"", m->half, err.text);
}

static void end_done(struct env_job *job)
{
    struct making *m = CONTAINER_OF(job, struct making, job);
    node_on_shard(m->node, 0, finish, m); /* not from within the worker that is to be freed */
}

static void remove_half(struct making *m)
{
    m->job = (struct env_job){.run = run_remove, .done = end_done};
    env_worker_submit(m->worker, m->node->shards[0].loop, &m->job);
}

static void run_ended(struct env_job *job)
{
    struct making *m = CONTAINER_OF(job, struct making, job);
    if (m->status != ST_OK) remove_half(m);
    else end_done(job);
}

/* Shard 0: a store is done. */
static void hear_store(struct shard *s, void *arg)
{
    struct making_store *p = arg;
    struct making *m = p->making;
    (void)s;
    if (p->status != ST_OK && m->status == ST_OK) {
        m->status = p->status;
        m->err = p->err;
    }
    mem_free(p);
    if (--m->left != 0) return;
    if (m->status != ST_OK) {
        remove_half(m);
        return;
    }
    m->job = (struct env_job){.run = run_end, .done = run_ended};
    env_worker_submit(m->worker, m->node->shards[0].loop, &m->job);
}

static void store_done(void *ctx, enum status st, const struct error *err)
{
    struct making_store *p = ctx;
    p->status = st;
    p->err = *err;
    node_on_shard(p->making->node, 0, hear_store, p);
}

static void make_stores(struct shard *s, void *arg)
{
    struct making *m = arg;
    struct error stopped = {0};
    error_set(&stopped, ST_STOPPED, "the node is stopping");
    for (uint16_t store = s->index; store < m->info.stores; store = (uint16_t)(store + s->node->shard_count)) {
        struct making_store *p = mem_zalloc(sizeof *p);
        p->making = m;
        p->shard = s;
        snprintf(p->dir, sizeof p->dir, "%s/engine-%u", m->half, store);
        size_t at = store / s->node->shard_count;
        if (at >= s->host_count || s->hosts[at] == NULL) store_done(p, ST_STOPPED, &stopped);
        else host_checkpoint(s->hosts[at], p->dir, store_done, p);
    }
}

static void begin_done(struct env_job *job)
{
    struct making *m = CONTAINER_OF(job, struct making, job);
    if (m->status != ST_OK) {
        remove_half(m);
        return;
    }
    m->left = m->info.stores;
    for (uint16_t i = 0; i < m->node->shard_count; i++) node_on_shard(m->node, i, make_stores, m);
}

void checkpoint_begin(struct node *n, void (*done)(void *ctx, enum status st, const char *dir, const char *text),
                      void *ctx)
{
    if (n->checkpointing || n->control == NULL || n->opened != n->shard_count || n->stopping) {
        done(ctx, ST_BUSY, "", n->checkpointing ? "one is being made already" : "the node is not ready");
        return;
    }
    struct making *m = mem_zalloc(sizeof *m);
    n->checkpointing = true;
    m->node = n;
    m->done = done;
    m->ctx = ctx;
    m->catalog = catalog_ref(control_catalog(n->control));
    m->info = (struct checkpoint_info){
        .node_id = n->identity.node_id, .made_ms = env_wall_ms(n->env), .stores = n->identity.stores};
    memcpy(m->info.cluster_id, n->identity.cluster_id, 16);
    snprintf(m->name, sizeof m->name, "%llu", (unsigned long long)m->info.made_ms);
    snprintf(m->parent, sizeof m->parent, "%s/checkpoints", n->dir);
    snprintf(m->half, sizeof m->half, "%s/%s.new", m->parent, m->name);
    snprintf(m->whole, sizeof m->whole, "%s/%s", m->parent, m->name);
    m->worker = env_worker_new(n->env, "checkpoint", 1);
    m->job = (struct env_job){.run = run_begin, .done = begin_done};
    env_worker_submit(m->worker, n->shards[0].loop, &m->job);
}
