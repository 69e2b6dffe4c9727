/* control.c - a node's part in running the cluster.
 * SPDX-License-Identifier: Apache-2.0
 *
 * MESH_REPORT:  node u64 | catalog epoch u64 | varint count | (partition u64, term u64, leader store u64, lp config) …
 * MESH_CATALOG: lp delta (empty: nothing newer) | varint count | (partition u64, term u64, leader store u64) … */
#include "cluster/control.h"

#include <stdio.h>

#include "base/diag.h"
#include "base/hash.h"
#include "base/mem.h"

#define PLAN_STEPS_MAX 8
#define RELOAD_EVERY   25          /* looks at meta's rows although nothing was applied, in ticks */
#define COPY_MAGIC     0x4e524943u /* "CIRN" */
#define COPY_FORMAT    1

struct peer {
    uint64_t heard_ns;
};

struct control {
    struct control_options options;
    struct env *env;
    struct catalog *catalog;
    struct map led;     /* partitions led by this node → struct plan_report */
    struct map reports; /* meta's leader: all partitions */
    struct map peers;   /* meta's leader: node → struct peer */
    uint64_t led_term;  /* of meta, 0: does not lead here */
    uint64_t led_since_ns;
    uint64_t loaded_applied; /* what meta's replica here had applied when its rows were read last */
    unsigned unloaded;       /* looks since then */
    struct env_timer tick;
    struct env_task reload;
    struct env_worker *worker;
    bool saving, save_again, stopped;
    uint64_t saved_epoch;
    struct buf message;
};

/* ---- the copy on disk: magic u32 | format u32 | crc32c u32 of the rest | delta from 0 ---- */

enum status control_save(struct env *env, const char *dir, const struct catalog *c, struct error *err)
{
    char path[600], tmp[620];
    struct buf b = {0};
    struct env_file *f = NULL;
    snprintf(path, sizeof path, "%s/catalog", dir);
    snprintf(tmp, sizeof tmp, "%s/catalog.new", dir);
    buf_put_u32(&b, COPY_MAGIC);
    buf_put_u32(&b, COPY_FORMAT);
    buf_put_u32(&b, 0);
    catalog_encode(c, 0, &b);
    put_u32(b.p + 8, crc32c(0, b.p + 12, b.n - 12));
    enum status st = env_exists(env, tmp) ? env_unlink(env, tmp, err) : ST_OK;
    if (st == ST_OK) st = env_file_open(env, tmp, ENV_CREATE, &f, err);
    if (st == ST_OK) st = env_file_write(f, 0, b.p, b.n, err);
    if (st == ST_OK) st = env_file_sync(f, err);
    env_file_close(f);
    if (st == ST_OK) st = env_rename(env, tmp, path, err);
    if (st == ST_OK) st = env_dir_sync(env, dir, err);
    buf_deinit(&b);
    return st;
}

enum status control_load(struct env *env, const char *dir, struct catalog **out, struct error *err)
{
    char path[600];
    struct env_file *f = NULL;
    struct buf b = {0};
    uint64_t size = 0;
    snprintf(path, sizeof path, "%s/catalog", dir);
    if (!env_exists(env, path)) return ST_NOT_FOUND;
    enum status st = env_file_open(env, path, ENV_READ, &f, err);
    if (st == ST_OK) st = env_file_size(f, &size, err);
    if (st == ST_OK && (size < 12 || size > 64 << 20))
        st = error_set(err, ST_CORRUPT, "'%s' has %llu bytes, which no catalog has", path, (unsigned long long)size);
    if (st == ST_OK) st = env_file_read(f, 0, buf_extend(&b, size), size, err);
    env_file_close(f);
    if (st == ST_OK && get_u32(b.p) == COPY_MAGIC && get_u32(b.p + 4) != COPY_FORMAT)
        st = error_set(err, ST_VERSION, "'%s' has format %u; this build reads format %u: use the newer cairn", path,
                       get_u32(b.p + 4), COPY_FORMAT);
    if (st == ST_OK && (get_u32(b.p) != COPY_MAGIC || get_u32(b.p + 8) != crc32c(0, b.p + 12, b.n - 12)))
        st = error_set(err, ST_CORRUPT,
                       "'%s' is damaged: its checksum does not match. Stop, move the file away and start "
                       "again with --join to fetch the catalog from another node",
                       path);
    struct catalog *c = NULL;
    if (st == ST_OK) {
        c = catalog_new();
        st = catalog_merge(c, bytes_of(b.p + 12, b.n - 12));
        if (st != ST_OK) error_set(err, st, "'%s' can't be read (%s)", path, status_name(st));
    }
    buf_deinit(&b);
    if (st == ST_OK) *out = c;
    else catalog_unref(c);
    return st;
}

struct save_job {
    struct env_job job;
    struct control *control;
    struct catalog *catalog;
    enum status status;
    struct error err;
};

static void save(struct control *c);

static void save_run(struct env_job *job)
{
    struct save_job *s = CONTAINER_OF(job, struct save_job, job);
    s->status = control_save(s->control->env, s->control->options.dir, s->catalog, &s->err);
}

static void save_done(struct env_job *job)
{
    struct save_job *s = CONTAINER_OF(job, struct save_job, job);
    struct control *c = s->control;
    if (s->status != ST_OK && s->status != ST_STOPPED)
        diag(DIAG_WARN, "catalog.save_failed epoch=%llu why=\"%s\"", (unsigned long long)s->catalog->epoch,
             s->err.text);
    if (s->status == ST_OK) {
        c->saved_epoch = s->catalog->epoch;
        c->options.saved(c->options.ctx, s->catalog);
    }
    catalog_unref(s->catalog);
    mem_free(s);
    c->saving = false;
    if (c->save_again) save(c);
}

static void save(struct control *c)
{
    if (c->saving) {
        c->save_again = true;
        return;
    }
    c->saving = true;
    c->save_again = false;
    struct save_job *s = mem_zalloc(sizeof *s);
    s->control = c;
    s->catalog = catalog_ref(c->catalog);
    s->status = ST_STOPPED;
    s->job = (struct env_job){.run = save_run, .done = save_done};
    env_worker_submit(c->worker, c->options.loop, &s->job);
}

static void adopt(struct control *c, struct catalog *newer)
{
    catalog_unref(c->catalog);
    c->catalog = newer;
    save(c);
    c->options.publish(c->options.ctx, newer);
}

/* ---- the meta replica here ---- */

struct loading {
    struct catalog *catalog;
    enum status status;
};

static bool load_row(void *ctx, struct bytes row, struct bytes value)
{
    struct loading *l = ctx;
    l->status = catalog_load_row(l->catalog, row, value);
    return l->status == ST_OK;
}

static void on_reload(struct env_task *task)
{
    struct control *c = CONTAINER_OF(task, struct control, reload);
    if (c->stopped) return;
    struct replica *meta = c->options.meta(c->options.ctx);
    if (meta == NULL) return;
    struct replica_info info;
    replica_info(meta, &info);
    uint64_t led = info.raft.role == RAFT_LEADER ? info.raft.term : 0;
    if (led != 0 && led != c->led_term) c->led_since_ns = env_now_ns(c->env);
    c->led_term = led;
    if (info.raft.applied == c->loaded_applied && ++c->unloaded < RELOAD_EVERY) return;
    struct loading l = {.catalog = catalog_new(), .status = ST_OK};
    struct buf lo = {0}, hi = {0};
    catalog_range(&lo, &hi);
    enum status st = replica_scan(meta, buf_view(&lo), buf_view(&hi), load_row, &l);
    if (st == ST_OK) st = l.status;
    buf_deinit(&lo);
    buf_deinit(&hi);
    c->unloaded = 0;
    c->loaded_applied = st == ST_OK ? info.raft.applied : 0;
    if (st == ST_OK && l.catalog->epoch > c->catalog->epoch) {
        adopt(c, l.catalog);
        return;
    }
    if (st != ST_OK && st != ST_NOT_READY) diag(DIAG_ERROR, "catalog.rows_unreadable status=%s", status_name(st));
    catalog_unref(l.catalog);
}

void control_meta_changed(struct control *c)
{
    if (!c->stopped) env_defer(c->options.loop, &c->reload);
}

bool control_leads(const struct control *c) { return c->led_term != 0; }

/* ---- reports ---- */

static struct plan_report *set_report(struct map *m, uint64_t partition_id)
{
    struct plan_report *r = map_get(m, partition_id);
    if (r == NULL) {
        r = mem_zalloc(sizeof *r);
        r->partition_id = partition_id;
        map_set(m, partition_id, r);
    }
    return r;
}

void control_led(struct control *c, uint64_t partition_id, bool led, uint64_t term, store_addr_t leader,
                 const struct raft_config *config)
{
    if (!led) {
        mem_free(map_remove(&c->led, partition_id));
        return;
    }
    struct plan_report *r = set_report(&c->led, partition_id);
    r->term = term;
    r->leader = leader;
    r->config = *config;
}

static void encode_report(struct control *c, struct buf *out)
{
    struct buf config = {0};
    uint64_t id;
    void *value;
    buf_put_u64(out, c->options.node_id);
    buf_put_u64(out, c->catalog->epoch);
    buf_put_varint(out, c->led.count);
    for (size_t i = 0; map_each(&c->led, &i, &id, &value);) {
        const struct plan_report *r = value;
        buf_put_u64(out, id);
        buf_put_u64(out, r->term);
        buf_put_u64(out, r->leader);
        buf_clear(&config);
        raft_config_encode(&r->config, &config);
        buf_put_lp(out, buf_view(&config));
    }
    buf_deinit(&config);
}

static void encode_answer(struct control *c, uint64_t since, struct buf *out)
{
    struct buf delta = {0};
    uint64_t id;
    void *value;
    if (since < c->catalog->epoch) catalog_encode(c->catalog, since, &delta);
    buf_put_lp(out, buf_view(&delta));
    buf_put_varint(out, c->reports.count);
    for (size_t i = 0; map_each(&c->reports, &i, &id, &value);) {
        const struct plan_report *report = value;
        buf_put_u64(out, id);
        buf_put_u64(out, report->term);
        buf_put_u64(out, report->leader);
    }
    buf_deinit(&delta);
}

static void hear(struct control *c, uint64_t node_id)
{
    struct peer *p = map_get(&c->peers, node_id);
    if (p == NULL) {
        p = mem_zalloc(sizeof *p);
        map_set(&c->peers, node_id, p);
    }
    p->heard_ns = env_now_ns(c->env);
}

static void answer_report(struct control *c, uint64_t node, uint64_t since)
{
    buf_clear(&c->message);
    encode_answer(c, since, &c->message);
    mesh_send(c->options.mesh, node, MESH_NODE, MESH_URGENT, MESH_CATALOG, buf_view(&c->message));
}

static void on_report(struct control *c, const struct mesh_frame *f)
{
    struct reader r = reader_of(f->body);
    uint64_t node = reader_u64(&r), epoch = reader_u64(&r), count = reader_varint(&r);
    if (r.failed || node != f->from_node) return;
    if (c->led_term == 0) {
        /* Whose catalog is old may not know where meta leads now: it gets what is newer from any of us. */
        if (epoch < c->catalog->epoch) answer_report(c, node, epoch);
        return;
    }
    const struct catalog_node *known = catalog_node(c->catalog, node);
    if (known == NULL || known->state != NODE_UP) {
        /* It has to learn that it was removed. */
        epoch = MIN(epoch, c->catalog->epoch);
    } else {
        hear(c, node);
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t id = reader_u64(&r), term = reader_u64(&r);
        store_addr_t leader = reader_u64(&r);
        struct raft_config config;
        if (!raft_config_decode(reader_lp(&r), &config) || r.failed) return;
        if (catalog_partition(c->catalog, id) == NULL) continue;
        struct plan_report *report = set_report(&c->reports, id);
        if (term < report->term) continue;
        *report = (struct plan_report){id, term, leader, config, env_now_ns(c->env)};
    }
    answer_report(c, node, epoch);
}

static void on_catalog(struct control *c, const struct mesh_frame *f)
{
    struct reader r = reader_of(f->body);
    struct bytes delta = reader_lp(&r);
    uint64_t count = reader_varint(&r);
    if (r.failed) return;
    if (delta.n != 0) {
        struct catalog *newer = catalog_copy(c->catalog);
        enum status st = catalog_merge(newer, delta);
        if (st == ST_OK && newer->epoch > c->catalog->epoch) {
            adopt(c, newer);
        } else {
            catalog_unref(newer);
            if (st != ST_OK)
                diag(DIAG_WARN, "catalog.bad_delta from=%llu status=%s", (unsigned long long)f->from_node,
                     status_name(st));
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t id = reader_u64(&r), term = reader_u64(&r);
        store_addr_t leader = reader_u64(&r);
        if (r.failed) return;
        if (leader != 0) c->options.leader(c->options.ctx, id, leader, term);
    }
}

void control_deliver(struct control *c, const struct mesh_frame *f)
{
    if (c->stopped) return;
    if (f->kind == MESH_REPORT) on_report(c, f);
    else if (f->kind == MESH_CATALOG) on_catalog(c, f);
}

/* ---- plans ---- */

static bool alive(void *ctx, uint64_t node_id)
{
    struct control *c = ctx;
    const struct peer *p = map_get(&c->peers, node_id);
    if (node_id == c->options.node_id) return true;
    return p != NULL && env_now_ns(c->env) - p->heard_ns < c->options.silent_ns;
}

static void make_plans(struct control *c)
{
    struct catalog_partition steps[PLAN_STEPS_MAX];
    struct plan_input in = {.catalog = c->catalog, .reports = &c->reports, .alive = alive, .ctx = c};
    size_t n = plan_next(&in, steps, ARRAY_COUNT(steps));
    for (size_t i = 0; i < n; i++) {
        buf_clear(&c->message);
        catalog_op_partition(&c->message, steps[i].epoch, &steps[i]);
        c->options.propose(c->options.ctx, CATALOG_PARTITION, buf_view(&c->message));
    }
}

static void send_reports(struct control *c)
{
    const struct catalog_partition *meta = catalog_partition(c->catalog, PARTITION_META);
    buf_clear(&c->message);
    encode_report(c, &c->message);
    for (size_t i = 0; meta != NULL && i < meta->count; i++)
        mesh_send(c->options.mesh, store_addr_node(meta->replicas[i].store), MESH_NODE, MESH_URGENT, MESH_REPORT,
                  buf_view(&c->message));
}

static void on_tick(struct env_timer *timer)
{
    struct control *c = CONTAINER_OF(timer, struct control, tick);
    uint64_t now = env_now_ns(c->env);
    control_meta_changed(c);
    send_reports(c);
    if (c->saved_epoch < c->catalog->epoch && !c->saving) save(c); /* it failed the last time */
    /* A new leader first listens: what it has not heard of yet is not dead. */
    if (c->led_term != 0 && now - c->led_since_ns > 2 * c->options.report_ns) make_plans(c);
    env_timer_start(&c->tick, c->options.report_ns);
}

enum status control_may_remove(struct control *c, uint64_t node_id, struct error *err)
{
    struct plan_input in = {.catalog = c->catalog, .reports = &c->reports, .alive = alive, .ctx = c};
    /* A partition without a leader may need every one of its voters: if all have logs in doubt, say. */
    uint64_t now = env_now_ns(c->env);
    for (size_t i = 0; i < c->catalog->partition_count; i++) {
        const struct catalog_partition *q = &c->catalog->partitions[i];
        const struct plan_report *r = map_get(&c->reports, q->id);
        bool holds = false;
        for (size_t k = 0; k < q->count; k++) holds = holds || store_addr_node(q->replicas[k].store) == node_id;
        if (holds && (r == NULL || now - r->heard_ns > c->options.silent_ns))
            return error_set(
                err, ST_DENIED,
                "partition %llu has no leader now, and may need node %llu to have one: ask again when it has",
                (unsigned long long)q->id, (unsigned long long)node_id);
    }
    return plan_may_remove(&in, node_id, err);
}

uint64_t control_heard_ns(const struct control *c, uint64_t node_id)
{
    const struct peer *p = map_get(&c->peers, node_id);
    return p != NULL && c->led_term != 0 ? p->heard_ns : 0;
}

bool control_each_report(const struct control *c, size_t *at, const struct plan_report **out)
{
    uint64_t id;
    void *value;
    if (!map_each(&c->reports, at, &id, &value)) return false;
    *out = value;
    return true;
}

struct catalog *control_catalog(struct control *c) { return c->catalog; }

/* ---- making and ending ---- */

struct control *control_new(const struct control_options *options, struct catalog *first)
{
    struct control *c = mem_zalloc(sizeof *c);
    c->options = *options;
    c->env = env_loop_env(options->loop);
    c->catalog = catalog_ref(first);
    c->saved_epoch = first->epoch;
    c->reload.run = on_reload;
    c->worker = env_worker_new(c->env, "catalog", 1);
    env_timer_init(options->loop, &c->tick, on_tick);
    env_timer_start(&c->tick, options->report_ns / 4);
    return c;
}

static void free_values(struct map *m)
{
    uint64_t id;
    void *value;
    for (size_t i = 0; map_each(m, &i, &id, &value);) mem_free(value);
    map_deinit(m);
}

void control_stop(struct control *c)
{
    if (c == NULL || c->stopped) return;
    c->stopped = true;
    c->save_again = false;
    env_timer_stop(&c->tick);
    env_worker_free(c->worker);
    c->worker = NULL;
}

void control_free(struct control *c)
{
    if (c == NULL) return;
    control_stop(c);
    catalog_unref(c->catalog);
    free_values(&c->led);
    free_values(&c->reports);
    free_values(&c->peers);
    buf_deinit(&c->message);
    mem_free(c);
}
