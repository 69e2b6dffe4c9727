/* node_info.c - INFO and CONFIG, as Redis clients know them, of the whole node.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each shard has its own copy of the settings that may change at run time. A change is checked where it arrives, taken
 * over there at once, and sent through shard 0, which gives all shards the same order of changes. */
#include <stdio.h>
#include <stdlib.h>

#include "base/diag.h"
#include "base/mem.h"
#include "node/node_internal.h"
#include "node/settings.h"

#define REDIS_VERSION "7.0.15" /* whose behaviour the Redis door has */

/* ---- INFO ---- */

#define SUM(s, field) sum_of((s), offsetof(struct shard_stats, field))

static uint64_t sum_of(const struct shard *s, size_t offset)
{
    uint64_t total = 0, v;
    for (uint16_t i = 0; i < s->node->shard_count; i++) {
        memcpy(&v, (const char *)&s->stats[i] + offset, sizeof v);
        total += v;
    }
    return total;
}

static void line(struct buf *out, const char *name, uint64_t v)
{
    buf_printf(out, "%s:%llu\r\n", name, (unsigned long long)v);
}

static void info_server(struct shard *s, struct buf *out)
{
    const struct node *n = s->node;
    struct env_process_stats p;
    char run_id[33];
    uint64_t up = (env_now_ns(n->env) - n->started_ns) / NS_PER_S;
    env_process_stats(n->env, &p);
    for (int i = 0; i < 16; i++) snprintf(run_id + 2 * i, 3, "%02x", n->identity.uuid[i]);
    buf_printf(out, "redis_version:%s\r\nredis_mode:%s\r\ncairn_version:%s\r\narch_bits:64\r\nnode_uuid:%s\r\n",
               REDIS_VERSION, s->options.redirects ? "cluster" : "standalone", CAIRN_VERSION, run_id);
    line(out, "process_id", p.pid);
    line(out, "tcp_port", n->port);
    line(out, "uptime_in_seconds", up);
    line(out, "uptime_in_days", up / 86400);
    line(out, "shards", n->shard_count);
    line(out, "stores", n->identity.stores);
}

static void info_clients(struct shard *s, struct buf *out)
{
    line(out, "connected_clients", SUM(s, clients));
    line(out, "maxclients", s->options.clients_max);
    line(out, "blocked_clients", 0);
}

static void info_memory(struct shard *s, struct buf *out)
{
    struct env_process_stats p;
    env_process_stats(s->node->env, &p);
    line(out, "used_memory", p.resident_bytes);
    line(out, "used_memory_rss", p.resident_bytes);
    line(out, "used_memory_peak", p.resident_peak_bytes);
    line(out, "total_system_memory", p.machine_bytes);
    line(out, "rows_memory", SUM(s, hosts.rows.bytes));
    line(out, "engine_memory", SUM(s, hosts.engine.memory_bytes));
    line(out, "maxmemory", 0);
    buf_printf(out, "maxmemory_policy:noeviction\r\n");
}

static void info_persistence(struct shard *s, struct buf *out)
{
    line(out, "loading", 0);
    line(out, "aof_enabled", 1); /* every write is logged and synced before its reply */
    line(out, "log_bytes", SUM(s, hosts.log.bytes));
    line(out, "log_segments", SUM(s, hosts.log.segments));
    line(out, "log_batches", SUM(s, hosts.log.batches));
    line(out, "log_synced_bytes", SUM(s, hosts.log.synced_bytes));
    line(out, "log_sync_usec", SUM(s, hosts.log.sync_ns_total) / NS_PER_US);
    line(out, "engine_disk_bytes", SUM(s, hosts.engine.disk_bytes));
    line(out, "engine_flushes", SUM(s, hosts.engine.flushes));
}

static void info_stats(struct shard *s, struct buf *out)
{
    line(out, "total_connections_received", SUM(s, resp.connections));
    line(out, "rejected_connections", SUM(s, resp.rejected));
    line(out, "total_commands_processed", SUM(s, resp.commands));
    line(out, "total_error_replies", SUM(s, resp.errors));
    line(out, "total_net_input_bytes", SUM(s, resp.bytes_in));
    line(out, "total_net_output_bytes", SUM(s, resp.bytes_out));
    line(out, "client_output_buffer_limit_disconnections", SUM(s, resp.slow_closed));
    line(out, "requests_under_way", SUM(s, gate.under_way));
    line(out, "total_reads", SUM(s, gate.reads) + SUM(s, gate.reads_here));
    line(out, "total_writes", SUM(s, gate.writes));
    line(out, "requests_forwarded", SUM(s, gate.forwarded));
    line(out, "request_retries", SUM(s, gate.retries));
    line(out, "requests_unavailable", SUM(s, gate.unavailable));
    line(out, "requests_overloaded", SUM(s, gate.overloaded));
    line(out, "requests_outcome_unknown", SUM(s, gate.unknown));
    line(out, "rows_hits", SUM(s, hosts.rows.hits));
    line(out, "rows_misses", SUM(s, hosts.rows.misses));
}

static void info_replication(struct shard *s, struct buf *out)
{
    buf_printf(out, "role:master\r\n"); /* every node takes writes */
    line(out, "connected_slaves", 0);
    line(out, "replicas", SUM(s, hosts.replicas));
    line(out, "replicas_leading", SUM(s, hosts.leaders));
    line(out, "elections", SUM(s, hosts.elections));
    line(out, "snapshots_sent", SUM(s, hosts.snapshots_sent));
    line(out, "snapshots_installed", SUM(s, hosts.snapshots_installed));
    line(out, "scrub_mismatches", SUM(s, hosts.scrub_mismatches));
}

static void info_cpu(struct shard *s, struct buf *out)
{
    struct env_process_stats p;
    env_process_stats(s->node->env, &p);
    buf_printf(
        out, "used_cpu_sys:%llu.%06llu\r\nused_cpu_user:%llu.%06llu\r\n",
        (unsigned long long)(p.cpu_system_ns / NS_PER_S), (unsigned long long)(p.cpu_system_ns % NS_PER_S / NS_PER_US),
        (unsigned long long)(p.cpu_user_ns / NS_PER_S), (unsigned long long)(p.cpu_user_ns % NS_PER_S / NS_PER_US));
}

static void info_cluster(struct shard *s, struct buf *out)
{
    size_t up = 0;
    for (size_t i = 0; s->catalog != NULL && i < s->catalog->node_count; i++)
        up += s->catalog->nodes[i].state == NODE_UP;
    line(out, "cluster_enabled", s->options.redirects);
    line(out, "node_id", s->node->identity.node_id);
    line(out, "nodes", up);
    line(out, "catalog_epoch", s->catalog != NULL ? s->catalog->epoch : 0);
}

static void info_keyspace(struct shard *s, struct buf *out)
{
    uint64_t keys = SUM(s, keys);
    if (keys == 0) return; /* as Redis: an empty database is not listed */
    buf_printf(out, "db0:keys=%llu,expires=%llu,avg_ttl=0\r\n", (unsigned long long)keys,
               (unsigned long long)SUM(s, expires));
}

static const struct {
    const char *name, *head;
    void (*put)(struct shard *s, struct buf *out);
} sections[] = {
    {"server", "Server", info_server},
    {"clients", "Clients", info_clients},
    {"memory", "Memory", info_memory},
    {"persistence", "Persistence", info_persistence},
    {"stats", "Stats", info_stats},
    {"replication", "Replication", info_replication},
    {"cpu", "CPU", info_cpu},
    {"cluster", "Cluster", info_cluster},
    {"keyspace", "Keyspace", info_keyspace},
};

void node_info(struct shard *s, const char *section, struct buf *out)
{
    bool first = true;
    for (size_t i = 0; i < ARRAY_COUNT(sections); i++) {
        if (section[0] != 0 && strcmp(section, sections[i].name) != 0) continue;
        buf_printf(out, "%s# %s\r\n", first ? "" : "\r\n", sections[i].head);
        sections[i].put(s, out);
        first = false;
    }
}

/* ---- CONFIG GET ---- */

static void listen_part(const struct node *n, bool port, char *out, size_t max)
{
    const char *colon = strrchr(n->listen, ':');
    if (port) snprintf(out, max, "%u", n->port);
    else snprintf(out, max, "%.*s", (int)(colon != NULL ? colon - n->listen : 0), n->listen);
}

/* What is a fact of the node, not a number of its options. */
static bool fact_at(struct shard *s, size_t at, const char **out_name, char *out, size_t max)
{
    static const char *const names[] = {"dir", "port", "bind", "data", "listen", "advertise", "join", "shards"};
    const struct node *n = s->node;
    if (at >= ARRAY_COUNT(names)) return false;
    *out_name = names[at];
    switch (at) {
    case 0:
    case 3: snprintf(out, max, "%s", n->dir); break;
    case 1: listen_part(n, true, out, max); break;
    case 2: listen_part(n, false, out, max); break;
    case 4: snprintf(out, max, "%s", n->listen); break;
    case 5: snprintf(out, max, "%s", n->advertise); break;
    case 6: snprintf(out, max, "%s", n->join); break;
    default: snprintf(out, max, "%u", n->shard_count); break;
    }
    return true;
}

static void format_redis(const struct setting *row, uint64_t value, char *out, size_t max)
{
    static const char *const levels[] = {"debug", "notice", "warning", "warning"}; /* Redis has these */
    if (row->type == SETTING_LEVEL) snprintf(out, max, "%s", levels[MIN(value, 3u)]);
    else if (row->type == SETTING_FLAG) snprintf(out, max, "%s", value != 0 ? "yes" : "no");
    else snprintf(out, max, "%llu", (unsigned long long)value);
}

bool node_config_get(struct shard *s, size_t at, const char **out_name, char *out_value, size_t value_max)
{
    const struct setting *row;
    for (size_t i = 0; setting_each(&i, &row);) {
        if (!setting_of_node(row)) continue;
        uint64_t value = setting_number(row, &s->options);
        if (at-- == 0) {
            *out_name = row->name;
            setting_format(row, value, out_value, value_max);
            return true;
        }
        if (row->redis == NULL) continue;
        if (at-- == 0) {
            *out_name = row->redis;
            format_redis(row, value, out_value, value_max);
            return true;
        }
    }
    return fact_at(s, at, out_name, out_value, value_max);
}

/* ---- CONFIG SET ---- */

struct change {
    const struct setting *row;
    uint64_t value;
};

static void take_over(struct shard *s, const struct change *c)
{
    setting_store(c->row, &s->options, c->value);
    size_t share = s->options.clients_max / s->node->shard_count + 1;
    if (s->resp != NULL) resp_door_configure(s->resp, share, s->options.value_bytes_max, s->options.redirects);
    if (s->port != NULL) port_set_clients_max(s->port, share);
    if (s->gate != NULL) gate_set_timeout(s->gate, s->options.request_timeout_ns);
    if (s->index == 0) diag_set_lowest(s->options.log_level);
}

static void hear_change(struct shard *s, void *arg)
{
    take_over(s, arg);
    mem_free(arg);
}

static void spread_change(struct shard *s, void *arg)
{
    struct change *c = arg;
    char value[64];
    setting_format(c->row, c->value, value, sizeof value);
    diag(DIAG_INFO, "node.setting name=%s value=%s", c->row->name, value);
    for (uint16_t i = 0; i < s->node->shard_count; i++) node_on_shard(s->node, i, hear_change, mem_copy(c, sizeof *c));
    mem_free(c);
}

static enum status parse_change(const struct setting *row, const char *name, const char *text, uint64_t *out,
                                struct error *err)
{
    bool redis = row->redis != NULL && strcmp(row->redis, name) == 0;
    if (redis && row->type == SETTING_LEVEL) {
        if (strcmp(text, "verbose") == 0) text = "debug";
        if (strcmp(text, "notice") == 0) text = "info";
        if (strcmp(text, "warning") == 0) text = "warn";
    }
    return redis ? setting_parse_redis(row, text, out, err) : setting_parse(row, text, out, err);
}

enum status node_config_set(struct shard *s, const char *name, const char *value, struct error *err)
{
    const struct setting *row = setting_find(name);
    struct change c = {.row = row};
    if (row == NULL || !setting_of_node(row)) {
        const char *fact;
        char text[512];
        for (size_t i = 0; fact_at(s, i, &fact, text, sizeof text); i++)
            if (strcmp(fact, name) == 0)
                return error_set(err, ST_DENIED,
                                 "%s can't be changed while the node runs: set it when you start the node", name);
        return error_set(err, ST_NOT_FOUND,
                         "there is no setting '%.60s': GET /api/settings, or CONFIG GET *, lists them", name);
    }
    if (!row->runtime)
        return error_set(err, ST_DENIED, "%s can't be changed while the node runs: start it with --%s", row->name,
                         row->name);
    enum status st = parse_change(row, name, value, &c.value, err);
    if (st != ST_OK) return error_prefix(err, st, "%s: ", name);
    take_over(s, &c);
    node_on_shard(s->node, 0, spread_change, mem_copy(&c, sizeof c));
    return ST_OK;
}
