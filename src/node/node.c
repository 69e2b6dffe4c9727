/* node.c - starting and stopping a node, and how its shards reach one another.
 * SPDX-License-Identifier: Apache-2.0 */
#include "node/node.h"

#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "node/checkpoint.h"
#include "node/node_internal.h"
#include "table/place.h"

void node_options_default(struct node_options *o)
{
    *o = (struct node_options){.dir = "cairn-data",
                               .listen = "127.0.0.1:7000",
                               .stores = 1,
                               .partitions = 16,
                               .replicas = 3,
                               .clients_max = 10000,
                               .value_bytes_max = 16 << 20,
                               .request_timeout_ns = 5 * NS_PER_S,
                               .log_level = DIAG_INFO};
    host_limits_default(&o->limits);
}

/* ---- between shards ---- */

struct errand {
    struct env_task task;
    struct shard *shard;
    void (*fn)(struct shard *s, void *arg);
    void *arg;
};

static void run_errand(struct env_task *task)
{
    struct errand *e = CONTAINER_OF(task, struct errand, task);
    e->fn(e->shard, e->arg);
    mem_free(e);
}

void node_on_shard(struct node *n, uint16_t shard, void (*fn)(struct shard *s, void *arg), void *arg)
{
    struct errand *e = mem_zalloc(sizeof *e);
    *e = (struct errand){.task.run = run_errand, .shard = &n->shards[shard], .fn = fn, .arg = arg};
    env_post(n->shards[shard].loop, &e->task);
}

static void tell_failed(struct shard *s, void *arg)
{
    struct error *err = arg;
    s->node->options.failed(s->node->options.ctx, err->status, err->text);
    mem_free(err);
}

void node_fail(struct node *n, enum status st, const char *text)
{
    struct error err = {0};
    error_set(&err, st, "%s", text);
    node_on_shard(n, 0, tell_failed, mem_copy(&err, sizeof err));
}

static void fence_here(struct shard *s, void *arg)
{
    struct node *n = s->node;
    struct error *err = arg, failed = {0};
    if (n->identity.fenced[0] == 0) {
        snprintf(n->identity.fenced, sizeof n->identity.fenced, "%.*s", (int)sizeof n->identity.fenced - 1, err->text);
        if (identity_save(n->env, n->dir, &n->identity, &failed) != ST_OK)
            diag(DIAG_WARN, "node.fence_not_saved dir=\"%s\" why=\"%s\"", n->dir, failed.text);
    }
    tell_failed(s, arg);
}

void node_fence(struct node *n, const char *text)
{
    struct error err = {0};
    error_set(&err, ST_DENIED, "%s", text);
    node_on_shard(n, 0, fence_here, mem_copy(&err, sizeof err));
}

/* ---- control's callbacks: shard 0 ---- */

static struct replica *meta_replica(void *ctx)
{
    return shard_replica(&((struct node *)ctx)->shards[0], PARTITION_META);
}

static void publish(void *ctx, struct catalog *c)
{
    struct node *n = ctx;
    for (uint16_t i = 0; i < n->shard_count; i++) node_on_shard(n, i, shard_set_catalog, catalog_ref(c));
}

static void saved(void *ctx, struct catalog *c)
{
    struct node *n = ctx;
    for (uint16_t i = 0; i < n->shard_count; i++) node_on_shard(n, i, shard_catalog_saved, catalog_ref(c));
}

struct leader_news {
    uint64_t partition_id, term;
    store_addr_t leader;
};

static void hear_leader(struct shard *s, void *arg)
{
    struct leader_news *news = arg;
    gate_leader(s->gate, news->partition_id, news->leader, news->term, false);
    mem_free(news);
}

static void leader_heard(void *ctx, uint64_t partition_id, store_addr_t leader, uint64_t term)
{
    struct node *n = ctx;
    struct leader_news news = {partition_id, term, leader};
    for (uint16_t i = 0; i < n->shard_count; i++) node_on_shard(n, i, hear_leader, mem_copy(&news, sizeof news));
}

static void proposal_done(struct request *r)
{
    buf_deinit(&r->body);
    mem_free(r);
}

static void propose(void *ctx, uint16_t opcode, struct bytes body)
{
    struct node *n = ctx;
    struct request *r = mem_zalloc(sizeof *r);
    *r = (struct request){
        .kind = REQUEST_WRITE, .table = TABLE_CATALOG, .opcode = opcode, .timeout_ns = NS_PER_S, .done = proposal_done};
    buf_put_bytes(&r->body, body);
    gate_submit(n->shards[0].gate, r);
}

void node_make_control(struct node *n, struct catalog *first)
{
    struct control_options options = {.loop = n->shards[0].loop,
                                      .mesh = n->shards[0].mesh,
                                      .dir = n->dir,
                                      .node_id = n->identity.node_id,
                                      .report_ns = 200 * NS_PER_MS,
                                      .silent_ns = 2 * NS_PER_S,
                                      .meta = meta_replica,
                                      .publish = publish,
                                      .saved = saved,
                                      .leader = leader_heard,
                                      .propose = propose,
                                      .ctx = n};
    n->control = control_new(&options, first);
    if (first->epoch == 0) return;
    publish(n, first);
    saved(n, first);
}

/* ---- ready ---- */

/* Can this shard serve? It has the catalog; it knows who leads the partitions that have a replica on this node; and those
 * that it leads itself have their lease. */
static bool shard_is_ready(struct shard *s)
{
    struct gate_map map;
    uint64_t now = env_now_ns(s->node->env);
    gate_map(s->gate, TABLE_DEFAULT, &map);
    for (size_t i = 0; i < map.partition_count; i++) {
        const struct gate_partition *p = &map.partitions[i];
        struct replica *r = shard_replica(s, p->partition_id);
        struct replica_info info;
        bool here = r != NULL;
        for (size_t k = 0; k < p->replica_count; k++) here = here || p->replica_nodes[k] == map.self_node;
        if (here && p->leader_node == 0) return false;
        if (r == NULL) continue;
        replica_info(r, &info);
        if (info.raft.role == RAFT_LEADER && info.leases_until_ns <= now) return false;
    }
    return map.partition_count != 0;
}

static void hear_ready(struct shard *s, void *unused)
{
    struct node *n = s->node;
    n->shards_ready++;
    n->shards_asked--;
}

static void hear_not_ready(struct shard *s, void *unused) { s->node->shards_asked--; }

static void ask_ready(struct shard *s, void *unused)
{
    node_on_shard(s->node, 0, shard_is_ready(s) ? hear_ready : hear_not_ready, NULL);
}

/* Asks all shards, again and again, until all of them have said yes at once. */
static void on_ready_timer(struct env_timer *timer)
{
    struct node *n = CONTAINER_OF(timer, struct node, ready_timer);
    if (n->shards_ready != n->shard_count) {
        if (n->shards_asked == 0 && n->control != NULL && n->opened == n->shard_count) {
            n->shards_ready = 0;
            n->shards_asked = n->shard_count;
            for (uint16_t i = 0; i < n->shard_count; i++) node_on_shard(n, i, ask_ready, NULL);
        }
        env_timer_start(&n->ready_timer, 2 * NS_PER_MS);
        return;
    }
    n->ready_told = true;
    diag(DIAG_INFO, "node.ready node=%llu port=%u ms=%llu", (unsigned long long)n->identity.node_id, n->port,
         (unsigned long long)((env_now_ns(n->env) - n->started_ns) / NS_PER_MS));
    if (n->options.ready != NULL) n->options.ready(n->options.ctx);
}

/* ---- starting ---- */

static enum status open_directory(struct node *n, struct error *err)
{
    enum status st = env_dir_create(n->env, n->dir, err);
    if (st == ST_OK) st = env_dir_lock(n->env, n->dir, &n->lock, err);
    struct error half = {0};
    if (st == ST_OK && checkpoint_clean(n->env, n->dir, &half) != ST_OK)
        diag(DIAG_WARN, "checkpoint.half_left dir=\"%s\" why=\"%s\"", n->dir, half.text);
    if (st == ST_OK) st = identity_open(n->env, n->dir, n->options.stores, &n->identity, err);
    return st;
}

static void set_advertise(struct node *n)
{
    const char *given = n->options.advertise != NULL ? n->options.advertise : n->listen;
    const char *colon = strrchr(given, ':');
    if (n->options.advertise == NULL && colon != NULL)
        snprintf(n->advertise, sizeof n->advertise, "%.*s:%u", (int)(colon - given), given, n->port);
    else snprintf(n->advertise, sizeof n->advertise, "%s", given);
}

enum status node_start(struct env *env, struct env_loop *const *loops, uint16_t loop_count,
                       const struct node_options *options, struct node **out, struct error *err)
{
    struct node *n = mem_zalloc(sizeof *n);
    n->env = env;
    n->options = *options;
    n->started_ns = env_now_ns(env);
    snprintf(n->dir, sizeof n->dir, "%s", options->dir);
    snprintf(n->listen, sizeof n->listen, "%s", options->listen);
    if (options->join != NULL) snprintf(n->join, sizeof n->join, "%s", options->join);
    n->shards = mem_zalloc(loop_count * sizeof *n->shards);
    n->shard_count = loop_count;
    enum status st = open_directory(n, err);
    struct mesh **all = mem_zalloc(loop_count * sizeof *all);
    uint16_t made = 0;
    for (; made < loop_count && st == ST_OK; made++) {
        st = shard_init(&n->shards[made], n, made, loops[made], err);
        all[made] = n->shards[made].mesh;
    }
    if (st == ST_OK) {
        set_advertise(n);
        for (uint16_t i = 0; i < loop_count; i++) {
            mesh_link_local(n->shards[i].mesh, all);
            shard_open_doors(&n->shards[i]);
        }
        env_timer_init(loops[0], &n->ready_timer, on_ready_timer);
        env_timer_start(&n->ready_timer, NS_PER_MS);
        node_found_or_join(n);
        *out = n;
    } else {
        n->shard_count = made;
        for (uint16_t i = 0; i < made; i++) shard_close(&n->shards[i]);
        node_free(n);
    }
    mem_free(all);
    return st;
}

uint16_t node_port(const struct node *n) { return n->port; }
uint64_t node_id(const struct node *n) { return n->identity.node_id; }

/* ---- stopping ---- */

static void tell_stopped(struct node *n)
{
    if (n->closed == n->shard_count && n->under_way == 0 && n->options.stopped != NULL)
        n->options.stopped(n->options.ctx);
}

static void hear_left(struct shard *s, void *unused)
{
    (void)unused;
    s->node->under_way--;
    tell_stopped(s->node);
}

/* Who counts up before its shard is closed is counted when shard 0 hears of that; after it, `stopping` is seen. */
bool node_enter(struct node *n)
{
    if (n->stopping) return false;
    n->under_way++;
    return true;
}

void node_leave(struct node *n) { node_on_shard(n, 0, hear_left, NULL); }

static void hear_closed(struct shard *s, void *unused)
{
    (void)unused;
    s->node->closed++;
    tell_stopped(s->node);
}

static void close_shard(struct shard *s, void *unused)
{
    (void)unused;
    if (s->index == 0) {
        control_stop(s->node->control);
        env_timer_stop(&s->node->ready_timer);
        node_stop_joining(s->node);
    }
    shard_close(s);
    node_on_shard(s->node, 0, hear_closed, NULL);
}

static void on_handed_over(struct env_timer *timer)
{
    struct node *n = CONTAINER_OF(timer, struct node, stop_timer);
    for (uint16_t i = 0; i < n->shard_count; i++) node_on_shard(n, i, close_shard, NULL);
}

static void hand_over(struct shard *s, void *unused)
{
    (void)unused;
    if (s->resp != NULL) resp_door_stop(s->resp);
    for (size_t i = 0; i < s->host_count; i++)
        if (s->hosts[i] != NULL) host_step_down_all(s->hosts[i], "the node stops");
}

static void begin_stop(struct shard *s, void *unused)
{
    (void)unused;
    struct node *n = s->node;
    if (n->stopping) return;
    n->stopping = true;
    diag(DIAG_INFO, "node.stopping node=%llu", (unsigned long long)n->identity.node_id);
    for (uint16_t i = 0; i < n->shard_count; i++) node_on_shard(n, i, hand_over, NULL);
    /* Long enough for the news to leave and for replies under way; successors elect themselves meanwhile. */
    env_timer_init(n->shards[0].loop, &n->stop_timer, on_handed_over);
    env_timer_start(&n->stop_timer, 50 * NS_PER_MS);
}

void node_stop(struct node *n) { node_on_shard(n, 0, begin_stop, NULL); }

void node_free(struct node *n)
{
    if (n == NULL) return;
    control_free(n->control);
    catalog_unref(n->ask_catalog);
    for (uint16_t i = 0; i < n->shard_count; i++) shard_free(&n->shards[i]);
    env_file_close(n->lock);
    mem_free(n->shards);
    mem_free(n);
}
