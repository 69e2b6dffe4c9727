/* shard.c - what runs on one shard: mesh, gate, doors, stores; and what its replicas have to tell the rest of the node.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "node/node_internal.h"
#include "table/place.h"

#define TICK_NS    (50 * NS_PER_MS)
#define QUIET_NS   (200 * NS_PER_MS) /* between ticks while there is nothing to do */
#define REPEAT_MAX 1024u             /* leaders said again a second */
#define STEER_MAX  64u               /* leaders looked at in a tick although nothing is known of them */

struct replica *shard_replica(struct shard *s, uint64_t partition_id)
{
    for (size_t i = 0; i < s->host_count; i++) {
        struct replica *r = s->hosts[i] != NULL ? host_replica(s->hosts[i], partition_id) : NULL;
        if (r != NULL) return r;
    }
    return NULL;
}

/* ---- frames ---- */

static void deliver(void *ctx, const struct mesh_frame *f)
{
    struct shard *s = ctx;
    if (f->kind == MESH_JOIN) {
        node_on_join(s, f);
    } else if (f->kind == MESH_WHO) {
        if (s->index == 0 && f->conn != NULL) node_on_who(s, f);
    } else if (f->endpoint == MESH_NODE) {
        if (s->node->control != NULL && s->index == 0) control_deliver(s->node->control, f);
    } else if (f->endpoint >= MESH_SHARD) {
        if (f->kind == MESH_REPLY) gate_deliver(s->gate, f);
    } else {
        size_t at = f->endpoint / s->node->shard_count;
        if (f->endpoint % s->node->shard_count == s->index && at < s->host_count && s->hosts[at] != NULL)
            host_deliver(s->hosts[at], f);
    }
}

static enum mesh_fate frame_fate(void *ctx, const struct mesh_frame *f, uint64_t *out_delay_ns)
{
    const struct node_options *o = &((struct shard *)ctx)->node->options;
    return o->frame_fate(o->ctx, f, out_delay_ns);
}

/* ---- connections ---- */

/* The port is closed before the last connections end. */
static void left(struct shard *s, enum port_class c)
{
    if (s->port != NULL) port_left(s->port, c);
}

static void on_resp(void *ctx, struct env_stream *stream, struct bytes first)
{
    struct shard *s = ctx;
    if (resp_conn_new(s->resp, stream, first) == NULL) left(s, PORT_RESP);
}

static void on_http(void *ctx, struct env_stream *stream, struct bytes first)
{
    http_door_accept(((struct shard *)ctx)->http, stream, first);
}

static void on_mesh(void *ctx, struct env_stream *stream, struct bytes first)
{
    struct shard *s = ctx;
    mesh_accept(s->mesh, stream, first);
}

/* A round of the Redis doors: from shard to shard, so that one thread has it at a time; then back to who asked. */
struct round_trip {
    struct resp_round *round;
    uint16_t asker;
};

static void round_back(struct shard *s, void *arg)
{
    struct round_trip *t = arg;
    t->round->done(t->round);
    mem_free(t);
    node_leave(s->node);
}

static void round_here(struct shard *s, void *arg)
{
    struct round_trip *t = arg;
    if (s->resp != NULL) t->round->visit(t->round, s->resp);
    if (s->index + 1 < s->node->shard_count) node_on_shard(s->node, s->index + 1, round_here, t);
    else node_on_shard(s->node, t->asker, round_back, t);
}

static void go_round(void *ctx, struct resp_round *round)
{
    struct shard *s = ctx;
    struct round_trip t = {round, s->index};
    if (!node_enter(s->node)) { /* it is stopping: this door's connections alone */
        round->visit(round, s->resp);
        round->done(round);
        return;
    }
    node_on_shard(s->node, 0, round_here, mem_copy(&t, sizeof t));
}

static void resp_left(void *ctx) { left(ctx, PORT_RESP); }
static void http_left(void *ctx) { left(ctx, PORT_HTTP); }
static void mesh_left(void *ctx) { left(ctx, PORT_MESH); }

static void mesh_fenced(void *ctx, const char *text)
{
    struct shard *s = ctx;
    node_fence(s->node, text);
}

/* The catalog, or whoever else, knows of a start of this node that the directory here does not come from. */
static void node_fenced(struct node *n, struct incarnation known)
{
    char why[400];
    lineage_why(&n->identity.lineage, known, why, sizeof why);
    node_fence(n, why);
}

/* ---- what replicas tell ---- */

/* Who leads a partition, and with which members if it is a replica of this node: goes to the gates and to control. */
struct led_news {
    uint64_t partition_id, term;
    store_addr_t leader;
    bool led;
    struct raft_config config; /* if led */
};

static void hear_led(struct shard *s, void *arg)
{
    struct led_news *news = arg;
    gate_leader(s->gate, news->partition_id, news->leader, news->term, true);
    if (s->index == 0 && s->node->control != NULL)
        control_led(s->node->control, news->partition_id, news->led, news->term, news->leader, &news->config);
    mem_free(news);
}

static void tell_led(struct shard *s, struct replica *r, const struct replica_info *info)
{
    struct node *n = s->node;
    struct led_news news = {.partition_id = info->partition_id,
                            .term = info->raft.term,
                            .leader = replica_leader_store(r),
                            .led = info->raft.role == RAFT_LEADER};
    /* A change of members counts once it is committed and applied. */
    if (news.led && info->raft.config_committed) news.config = *info->raft.config;
    else news.led = false;
    for (uint16_t i = 0; i < n->shard_count; i++)
        if (i == s->index) hear_led(s, mem_copy(&news, sizeof news));
        else node_on_shard(n, i, hear_led, mem_copy(&news, sizeof news));
}

/* Its leader, if it is here, is looked at with the next tick, which is soon. */
static void steer_soon(struct shard *s, uint64_t partition_id)
{
    map_set(&s->steer, partition_id, s);
    if (!s->quiet) return;
    s->quiet = false;
    env_timer_start(&s->tick, TICK_NS);
}

static void on_replica_changed(void *ctx, struct replica *r)
{
    struct shard *s = ctx;
    struct node *n = s->node;
    struct replica_info info;
    replica_info(r, &info);
    tell_led(s, r, &info);
    if (info.partition_id == PARTITION_META && n->control != NULL) control_meta_changed(n->control);
    steer_soon(s, info.partition_id);
}

/* Says again who leads, some replicas at a time: what a gate has been made to believe otherwise meanwhile, or a control that
 * began later, does not stay so. A replica that does not know, or has stopped, has nothing to say. */
static void repeat_leaders(struct shard *s)
{
    size_t at = 0, told = 0;
    for (size_t k = 0; k < s->host_count; k++) {
        struct replica *r;
        for (size_t i = 0; host_each_replica(s->hosts[k], &i, &r); at++) {
            struct replica_info info;
            if (at < s->leaders_at) continue;
            if (told++ == REPEAT_MAX) {
                s->leaders_at = at;
                return;
            }
            replica_info(r, &info);
            if (!info.stopped && replica_leader_store(r) != 0) tell_led(s, r, &info);
        }
    }
    s->leaders_at = 0;
}

static void on_host_failed(void *ctx, enum status st, const char *text)
{
    struct shard *s = ctx;
    node_fail(s->node, st, text);
}

/* ---- stores ---- */

static enum status open_store(struct shard *s, uint16_t store, struct host **out, struct error *err)
{
    struct node *n = s->node;
    char dir[512];
    snprintf(dir, sizeof dir, "%s/store-%u", n->dir, store);
    struct host_options options = {.loop = s->loop,
                                   .mesh = s->mesh,
                                   .dir = dir,
                                   .node_id = n->identity.node_id,
                                   .store = store,
                                   .limits = &n->options.limits,
                                   .accept_loss = n->options.accept_loss,
                                   .changed = on_replica_changed,
                                   .failed = on_host_failed,
                                   .ctx = s,
                                   .raft_trace = n->options.raft_trace,
                                   .raft_trace_ctx = n->options.raft_trace_ctx};
    memcpy(options.store_id, n->identity.store_ids[store], 16);
    enum status st = env_dir_create(n->env, dir, err);
    if (st == ST_OK) st = env_dir_sync(n->env, n->dir, err);
    if (st == ST_OK) st = host_open(&options, out, err);
    return st;
}

/* The first time, the identity has to say that the stores were opened before anything is promised in their name. */
static void hear_opened(struct shard *s, void *unused)
{
    (void)unused;
    struct node *n = s->node;
    struct error err = {0};
    if (++n->opened != n->shard_count || n->stopping) return;
    if (!n->identity.opened) {
        n->identity.opened = true;
        enum status st = identity_save(n->env, n->dir, &n->identity, &err);
        if (st != ST_OK) {
            node_fail(n, st, err.text);
            return;
        }
    }
    for (uint16_t i = 0; i < n->shard_count; i++) node_on_shard(n, i, shard_go, NULL);
    node_founded(n);
}

static void reconcile_replicas(struct shard *s);

void shard_open_stores(struct shard *s, void *unused)
{
    (void)unused;
    struct node *n = s->node;
    struct error err = {0};
    mesh_set_self(s->mesh, n->identity.node_id, n->identity.cluster_id);
    gate_set_self(s->gate, n->identity.node_id);
    size_t count = (n->identity.stores + n->shard_count - 1u - s->index) / n->shard_count;
    s->hosts = mem_zalloc((count + 1) * sizeof *s->hosts);
    for (; s->host_count < count; s->host_count++) {
        uint16_t store = (uint16_t)(s->index + s->host_count * n->shard_count);
        if (open_store(s, store, &s->hosts[s->host_count], &err) != ST_OK) {
            node_fail(n, err.status, err.text);
            return;
        }
    }
    node_on_shard(n, 0, hear_opened, NULL);
}

void shard_go(struct shard *s, void *unused)
{
    (void)unused;
    if (s->node->stopping) return;
    s->opened = true;
    reconcile_replicas(s);
}

/* ---- the catalog ---- */

static struct host *host_of(struct shard *s, store_addr_t store)
{
    struct node *n = s->node;
    uint16_t number = store_addr_store(store);
    if (store_addr_node(store) != n->identity.node_id || number % n->shard_count != s->index) return NULL;
    size_t at = number / n->shard_count;
    return at < s->host_count ? s->hosts[at] : NULL;
}

/* Is this replica, by the catalog, one of this shard's? */
static bool known_replica(void *ctx, uint64_t replica_id)
{
    const struct catalog *c = ctx;
    for (size_t i = 0; i < c->partition_count; i++)
        for (size_t k = 0; k < c->partitions[i].count; k++)
            if (c->partitions[i].replicas[k].replica_id == replica_id) return true;
    return false;
}

/* The partition's replica on this host by the catalog; NULL: none. */
static const struct catalog_replica *wanted_replica(struct shard *s, const struct catalog_partition *p, struct host *h)
{
    for (size_t k = 0; k < p->count; k++)
        if (host_of(s, p->replicas[k].store) == h) return &p->replicas[k];
    return NULL;
}

/* False: not yet. */
static bool open_wanted(struct shard *s, struct host *h, const struct catalog_partition *p,
                        const struct catalog_replica *m)
{
    struct replica *r = host_replica(h, p->id);
    struct raft_config first;
    struct error err = {0};
    struct replica_spec spec = {.partition_id = p->id,
                                .replica_id = m->replica_id,
                                .table = p->table,
                                .slot_lo = p->slot_lo,
                                .slot_hi = p->slot_hi};
    struct replica_info info;
    if (r != NULL) {
        replica_info(r, &info);
        if (info.replica_id == m->replica_id) return true;
        host_drop_replica(h, p->id); /* an older replica of the partition: it has to go first */
        return false;
    }
    if (catalog_first_config(p, m->replica_id, &first)) spec.first_config = &first;
    enum status st = host_open_replica(h, &spec, &r, &err);
    if (st != ST_OK && st != ST_BUSY) node_fail(s->node, st, err.text);
    return st != ST_BUSY; /* busy: its predecessor is still being dropped */
}

static void reconcile_replicas(struct shard *s)
{
    struct catalog *c = MUTATION("replicas_by_unsaved_catalog") ? s->catalog : s->saved;
    if (c == NULL || c->epoch == 0 || !s->opened) return;
    s->reconciled = true;
    for (size_t i = 0; i < c->partition_count; i++) {
        for (size_t k = 0; k < s->host_count; k++) {
            const struct catalog_replica *m = wanted_replica(s, &c->partitions[i], s->hosts[k]);
            if (m != NULL) s->reconciled &= open_wanted(s, s->hosts[k], &c->partitions[i], m);
            else host_drop_replica(s->hosts[k], c->partitions[i].id);
        }
    }
    for (size_t k = 0; !s->strangers_dropped && k < s->host_count; k++)
        host_drop_strangers(s->hosts[k], known_replica, c);
    s->strangers_dropped = true;
}

/* Does the catalog still name a copy on this node, if only to be removed? */
static bool holds_copies(const struct catalog *c, uint64_t node_id)
{
    for (size_t i = 0; i < c->partition_count; i++)
        for (size_t k = 0; k < c->partitions[i].count; k++)
            if (store_addr_node(c->partitions[i].replicas[k].store) == node_id) return true;
    return false;
}

/* The partitions that a newer catalog wants otherwise: their leaders here have to be told soon. */
static void mark_changed(struct shard *s, const struct catalog *old, const struct catalog *c)
{
    uint64_t since = old != NULL ? old->epoch : 0;
    for (size_t i = 0; i < c->partition_count; i++)
        if (c->partitions[i].epoch > since) steer_soon(s, c->partitions[i].id);
}

void shard_set_catalog(struct shard *s, void *arg)
{
    struct catalog *c = arg;
    mark_changed(s, s->catalog, c);
    catalog_unref(s->catalog);
    s->catalog = c;
    /* Removed ones too: they have to be told. */
    for (size_t i = 0; i < c->node_count; i++)
        if (c->nodes[i].id != s->node->identity.node_id) {
            mesh_set_peer(s->mesh, c->nodes[i].id, c->nodes[i].address);
            mesh_set_incarnation(s->mesh, c->nodes[i].id, c->nodes[i].incarnation);
        }
    gate_set_catalog(s->gate, c);
    if (MUTATION("replicas_by_unsaved_catalog")) reconcile_replicas(s);
    const struct catalog_node *self = catalog_node(c, s->node->identity.node_id);
    if (s->index == 0 && self != NULL && lineage_fenced(lineage_compare(&s->node->identity.lineage, self->incarnation)))
        node_fenced(s->node, self->incarnation);
    /* Until its groups have left it behind its copies count: entries may be on it and on one more only. */
    if (s->index == 0 && self != NULL && self->state == NODE_REMOVED && !holds_copies(c, self->id))
        node_fail(s->node, ST_DENIED,
                  "this node was removed from the cluster: to use the machine again, start it with an empty "
                  "data directory");
}

void shard_catalog_saved(struct shard *s, void *arg)
{
    struct catalog *c = arg;
    catalog_unref(s->saved);
    s->saved = c;
    s->strangers_dropped = false;
    reconcile_replicas(s);
}

/* ---- time ---- */

/* True: there is more to do, so ask again soon. */
static bool steer(struct shard *s, struct replica *r)
{
    struct raft_config wanted;
    if (r == NULL || !replica_leads(r)) return false;
    const struct catalog_partition *p = catalog_partition(s->catalog, replica_partition(r));
    if (p == NULL) return false;
    const struct catalog_table *t = catalog_table(s->catalog, p->table);
    if (t != NULL) replica_want_retention(r, t->retention_ms);
    catalog_wanted(p, &wanted);
    return replica_reconcile(r, &wanted, p->preferred);
}

/* Those of which something is new or under way, and some of all the others, in turn: a leader that should lead no more, say,
 * waits for a follower of which nothing is heard here. */
static void steer_leaders(struct shard *s)
{
    size_t n = 0, at = 0, looked = 0;
    uint64_t id;
    void *value;
    uint64_t *ids = mem_alloc((s->steer.count + 1) * sizeof *ids);
    for (size_t i = 0; map_each(&s->steer, &i, &id, &value);) ids[n++] = id;
    for (size_t i = 0; i < n; i++)
        if (!steer(s, shard_replica(s, ids[i]))) map_remove(&s->steer, ids[i]);
    mem_free(ids);
    for (size_t k = 0; k < s->host_count; k++) {
        struct replica *r;
        for (size_t i = 0; host_each_replica(s->hosts[k], &i, &r); at++) {
            if (at < s->steered_at) continue;
            if (looked++ == STEER_MAX) {
                s->steered_at = at;
                return;
            }
            steer(s, r);
        }
    }
    s->steered_at = 0;
}

static void add_host_stats(struct shard_stats *t, struct host *h)
{
    struct host_stats x;
    host_stats(h, &x);
    uint64_t *sum = (uint64_t *)(void *)&t->hosts.replicas;
    const uint64_t *add = (const uint64_t *)(const void *)&x.replicas;
    _Static_assert(offsetof(struct host_stats, applied_off) + 8 == sizeof(struct host_stats),
                   "counters are last and all u64");
    for (size_t i = 0; i < (sizeof x - offsetof(struct host_stats, replicas)) / 8; i++) sum[i] += add[i];
    t->hosts.log.bytes += x.log.bytes;
    t->hosts.log.segments += x.log.segments;
    t->hosts.log.batches += x.log.batches;
    t->hosts.log.synced_bytes += x.log.synced_bytes;
    t->hosts.log.sync_ns_total += x.log.sync_ns_total;
    t->hosts.log.records_damaged += x.log.records_damaged;
    t->hosts.log.batches_torn += x.log.batches_torn;
    t->hosts.engine.memory_bytes += x.engine.memory_bytes;
    t->hosts.engine.disk_bytes += x.engine.disk_bytes;
    t->hosts.engine.flushes += x.engine.flushes;
    t->hosts.rows.bytes += x.rows.bytes;
    t->hosts.rows.hits += x.rows.hits;
    t->hosts.rows.misses += x.rows.misses;
}

struct stats_news {
    uint16_t from;
    struct shard_stats stats;
};

/* The first copy here that can't serve because its log is damaged, for /health. */
static void add_lost(struct shard_stats *t, const struct replica_info *info)
{
    if (info->lost_text == NULL || t->lost++ != 0) return;
    snprintf(t->lost_text, sizeof t->lost_text, "partition %llu: %s; %s", (unsigned long long)info->partition_id,
             info->lost_text,
             info->lost ? "there is no other copy. Put the file back as it was, or accept the loss (--accept-loss)"
                        : "it waits for the other copies");
}

static void hear_stats(struct shard *s, void *arg)
{
    struct stats_news *news = arg;
    s->stats[news->from] = news->stats;
    mem_free(news);
}

static void tell_stats(struct shard *s)
{
    struct stats_news news = {.from = s->index};
    gate_stats(s->gate, &news.stats.gate);
    resp_door_stats(s->resp, &news.stats.resp);
    port_stats(s->port, &news.stats.port);
    news.stats.clients = resp_door_clients(s->resp);
    for (size_t k = 0; k < s->host_count; k++) add_host_stats(&news.stats, s->hosts[k]);
    for (size_t k = 0; news.stats.hosts.damaged != 0 && k < s->host_count; k++) {
        struct replica *r;
        for (size_t i = 0; host_each_replica(s->hosts[k], &i, &r);) {
            struct replica_info info;
            replica_info(r, &info);
            add_lost(&news.stats, &info);
        }
    }
    news.stats.keys = news.stats.hosts.keys;
    news.stats.expires = news.stats.hosts.expires;
    for (uint16_t i = 0; i < s->node->shard_count; i++)
        if (i == s->index) hear_stats(s, mem_copy(&news, sizeof news));
        else node_on_shard(s->node, i, hear_stats, mem_copy(&news, sizeof news));
}

static void on_tick(struct env_timer *timer)
{
    struct shard *s = CONTAINER_OF(timer, struct shard, tick);
    uint64_t now = env_now_ns(s->node->env);
    if (s->opened && s->catalog != NULL && !s->node->stopping) {
        if (!s->reconciled) reconcile_replicas(s);
        steer_leaders(s);
    }
    if (now >= s->stats_ns) {
        s->stats_ns = now + NS_PER_S;
        tell_stats(s);
        if (s->opened && !s->node->stopping) repeat_leaders(s);
    }
    s->quiet = s->reconciled && s->steer.count == 0 && s->steered_at == 0;
    env_timer_start(&s->tick, s->quiet ? QUIET_NS : TICK_NS);
}

/* ---- making and ending ---- */

static void info_of(void *ctx, const char *section, struct buf *out) { node_info(ctx, section, out); }
static bool config_get_of(void *ctx, size_t at, const char **name, char *value, size_t max)
{
    return node_config_get(ctx, at, name, value, max);
}
static enum status config_set_of(void *ctx, const char *name, const char *value, struct error *err)
{
    return node_config_set(ctx, name, value, err);
}
static struct replica *local_of(void *ctx, uint64_t partition_id) { return shard_replica(ctx, partition_id); }

void shard_open_doors(struct shard *s)
{
    struct node *n = s->node;
    struct resp_door_config resp;
    resp_door_config_init(&resp);
    resp.gate = s->gate;
    resp.table = TABLE_DEFAULT;
    resp.clients_max = n->options.clients_max / n->shard_count + 1;
    resp.redirects = n->options.redirects;
    resp.port = n->port;
    snprintf(resp.laddr, sizeof resp.laddr, "%.60s", n->advertise);
    resp.client_id_first = s->index + 1u;
    resp.client_id_step = n->shard_count;
    resp.left = resp_left;
    resp.go_round = go_round;
    resp.ctx = s;
    resp_door_config_value_max(&resp, n->options.value_bytes_max);
    s->resp = resp_door_new(&resp);
    struct http_door_options http = {.loop = s->loop,
                                     .body_max = 1 << 20,
                                     .connections_max = 256,
                                     .idle_ns = 60 * NS_PER_S,
                                     .handle = node_http,
                                     .left = http_left,
                                     .ctx = s};
    s->http = http_door_new(&http);
}

enum status shard_init(struct shard *s, struct node *n, uint16_t index, struct env_loop *loop, struct error *err)
{
    *s = (struct shard){.node = n, .index = index, .loop = loop, .options = n->options};
    s->stats = mem_zalloc(n->shard_count * sizeof *s->stats);
    struct mesh_options mesh = {.loop = loop,
                                .shard = index,
                                .shard_count = n->shard_count,
                                .semantics_oldest = 1,
                                .semantics_newest = OP_SEMANTICS,
                                .queue_bytes_max = {64 << 20, 64 << 20},
                                .frame_bytes_max = n->options.limits.pending_bytes_max +
                                                   (16u << 20), /* any entry fits */
                                .peers_max = CATALOG_NODES_MAX,
                                .ping_ns = NS_PER_S,
                                .deliver = deliver,
                                .fate = n->options.frame_fate != NULL ? frame_fate : NULL,
                                .left = mesh_left,
                                .fenced = mesh_fenced,
                                .ctx = s};
    s->mesh = mesh_new(&mesh);
    struct gate_options gate = {.loop = loop,
                                .mesh = s->mesh,
                                .shard = index,
                                .requests_max = 262144,
                                .timeout_ns = n->options.request_timeout_ns,
                                .attempt_ns = NS_PER_S,
                                .local = local_of,
                                .info = info_of,
                                .config_get = config_get_of,
                                .config_set = config_set_of,
                                .ctx = s};
    s->gate = gate_new(&gate);
    char address[320];
    /* Shard 0 may have taken a free port: the others share it. */
    snprintf(address, sizeof address, "%s", n->listen);
    if (n->port != 0) {
        char *colon = strrchr(address, ':');
        if (colon != NULL) snprintf(colon, sizeof address - (size_t)(colon - address), ":%u", n->port);
    }
    struct port_options port = {.loop = loop,
                                .address = address,
                                .unidentified_max = 1024,
                                .clients_max = n->options.clients_max / n->shard_count + 1,
                                .http_max = 256,
                                .peers_max = CATALOG_NODES_MAX * MESH_LANES * 4,
                                .identify_ns = 5 * NS_PER_S,
                                .resp = on_resp,
                                .http = on_http,
                                .mesh = on_mesh,
                                .ctx = s};
    enum status st = port_open(&port, &s->port, err);
    if (st != ST_OK) return st;
    if (n->port == 0) n->port = port_number(s->port);
    env_timer_init(loop, &s->tick, on_tick);
    env_timer_start(&s->tick, TICK_NS);
    return ST_OK;
}

void shard_close(struct shard *s)
{
    env_timer_stop(&s->tick);
    port_close(s->port);
    s->port = NULL;
    if (s->resp != NULL) resp_door_close_all(s->resp);
    s->opened = false; /* a catalog that is still on its way here opens no replicas */
    for (size_t i = 0; i < s->host_count; i++) host_stop(s->hosts[i]);
    gate_stop(s->gate);
}

void shard_free(struct shard *s)
{
    if (s->resp != NULL) resp_door_free(s->resp);
    http_door_free(s->http);
    gate_free(s->gate);
    for (size_t i = 0; i < s->host_count; i++) host_free(s->hosts[i]);
    mesh_free(s->mesh);
    catalog_unref(s->catalog);
    catalog_unref(s->saved);
    map_deinit(&s->steer);
    mem_free(s->hosts);
    mem_free(s->stats);
}
