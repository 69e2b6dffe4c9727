/* node_metrics.c - /metrics, in the text format of Prometheus (exposition format 0.0.4).
 * SPDX-License-Identifier: Apache-2.0
 *
 * Names: cairn_<what>_<unit>, counters end in _total. What is of a partition has the label partition, of a store store,
 * of a connection to another node peer. Sums over shards are as last told, at most a second old. */
#include <stdio.h>

#include "node/node_pages.h"

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put(struct buf *out, const char *name, const char *labels, uint64_t v)
{
    buf_printf(out, "%s%s %llu\n", name, labels, (unsigned long long)v);
}

static void put_seconds(struct buf *out, const char *name, const char *labels, uint64_t ns)
{
    buf_printf(out, "%s%s %llu.%06llu\n", name, labels, (unsigned long long)(ns / NS_PER_S),
               (unsigned long long)(ns % NS_PER_S / NS_PER_US));
}

/* ---- of the node: added up over its shards ---- */

enum kind { COUNTER, GAUGE };
struct sum {
    const char *name;
    uint8_t kind;
    size_t offset; /* of a uint64_t in struct shard_stats */
    const char *help;
};
#define AT(field) offsetof(struct shard_stats, field)

static const struct sum sums[] = {
    {"cairn_clients", GAUGE, AT(clients), "Redis connections open now"},
    {"cairn_client_connections_total", COUNTER, AT(resp.connections), "Redis connections accepted"},
    {"cairn_client_rejected_total", COUNTER, AT(resp.rejected), "Redis connections refused: clients-max was reached"},
    {"cairn_client_slow_closed_total", COUNTER, AT(resp.slow_closed),
     "connections closed because they did not read their replies"},
    {"cairn_commands_total", COUNTER, AT(resp.commands), "Redis commands"},
    {"cairn_command_errors_total", COUNTER, AT(resp.errors), "error replies to Redis commands"},
    {"cairn_client_received_bytes_total", COUNTER, AT(resp.bytes_in), "bytes from Redis clients"},
    {"cairn_client_sent_bytes_total", COUNTER, AT(resp.bytes_out), "bytes to Redis clients"},
    {"cairn_port_unidentified", GAUGE, AT(port.unidentified), "connections whose protocol is not known yet"},
    {"cairn_port_identify_timeouts_total", COUNTER, AT(port.identify_timeouts),
     "connections that sent nothing in time"},
    {"cairn_requests_under_way", GAUGE, AT(gate.under_way), "requests not yet answered"},
    {"cairn_reads_total", COUNTER, AT(gate.reads), "reads that went through a replica's queue"},
    {"cairn_reads_here_total", COUNTER, AT(gate.reads_here), "reads served at once by the shard that got them"},
    {"cairn_writes_total", COUNTER, AT(gate.writes), "writes"},
    {"cairn_requests_forwarded_total", COUNTER, AT(gate.forwarded), "requests sent to another shard or node"},
    {"cairn_request_retries_total", COUNTER, AT(gate.retries), "attempts beyond the first"},
    {"cairn_request_unavailable_total", COUNTER, AT(gate.unavailable),
     "requests refused: no leader or no quorum in time"},
    {"cairn_request_overloaded_total", COUNTER, AT(gate.overloaded), "requests refused: a queue was full"},
    {"cairn_request_unknown_total", COUNTER, AT(gate.unknown), "writes whose outcome could not be told"},
    {"cairn_keys", GAUGE, AT(keys), "keys of the partitions led here"},
    {"cairn_keys_expiring", GAUGE, AT(expires), "of these, keys with an expiry"},
    {"cairn_replicas", GAUGE, AT(hosts.replicas), "copies of partitions on this node"},
    {"cairn_leaders", GAUGE, AT(hosts.leaders), "of these, leaders"},
    {"cairn_proposals_total", COUNTER, AT(hosts.proposals), "entries proposed"},
    {"cairn_ops_applied_total", COUNTER, AT(hosts.ops_applied), "ops applied"},
    {"cairn_reads_lease_total", COUNTER, AT(hosts.reads_lease), "reads served under the leader's lease"},
    {"cairn_reads_index_total", COUNTER, AT(hosts.reads_index), "reads that asked a majority first"},
    {"cairn_reads_fetched_total", COUNTER, AT(hosts.reads_fetched), "reads that waited for the disk"},
    {"cairn_elections_total", COUNTER, AT(hosts.elections), "elections begun here"},
    {"cairn_snapshots_sent_total", COUNTER, AT(hosts.snapshots_sent), "snapshots sent"},
    {"cairn_snapshots_installed_total", COUNTER, AT(hosts.snapshots_installed), "snapshots installed"},
    {"cairn_duplicates_answered_total", COUNTER, AT(hosts.duplicates_answered),
     "retried writes answered from the outcome window"},
    {"cairn_conflicts_total", COUNTER, AT(hosts.conflicts), "write sets evaluated again"},
    {"cairn_scrubs_total", COUNTER, AT(hosts.scrubs), "comparisons of replicas"},
    {"cairn_passed_over_total", COUNTER, AT(hosts.passed_over),
     "entries that fenced replicas gave up, to have them with new rows"},
    {"cairn_scrub_mismatches_total", COUNTER, AT(hosts.scrub_mismatches), "replicas that differed: look at once"},
    {"cairn_engine_busy_total", COUNTER, AT(hosts.engine_busy), "writes that the engine put off"},
    {"cairn_prefetches_total", COUNTER, AT(hosts.prefetches), "rows read from disk for entries not yet applied"},
    {"cairn_prefetches_skipped_total", COUNTER, AT(hosts.prefetches_skipped),
     "entries not prefetched because too much was under way"},
    {"cairn_apply_waits_total", COUNTER, AT(hosts.apply_waits), "turns in which apply waited for what is prefetched"},
    {"cairn_apply_fetches_total", COUNTER, AT(hosts.apply_fetches), "rows that apply itself had to read from disk"},
    {"cairn_applied_slowly_total", COUNTER, AT(hosts.applied_slowly),
     "entries with a large value, written some a turn"},
    {"cairn_applied_off_total", COUNTER, AT(hosts.applied_off), "entries run by a worker, on the disk"},
    {"cairn_disk_stalls_total", COUNTER, AT(hosts.stalls), "disk stalls that cost leadership"},
};

static void put_sums(struct shard *s, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(sums); i++) {
        uint64_t total = 0, v;
        for (uint16_t k = 0; k < s->node->shard_count; k++) {
            memcpy(&v, (const char *)&s->stats[k] + sums[i].offset, sizeof v);
            total += v;
        }
        head(out, sums[i].name, sums[i].kind == COUNTER ? "counter" : "gauge", sums[i].help);
        put(out, sums[i].name, "", total);
    }
}

static void put_process(struct shard *s, const struct node_report *r, struct buf *out)
{
    struct env_process_stats p;
    env_process_stats(s->node->env, &p);
    head(out, "cairn_info", "gauge", "always 1; the labels say what runs");
    buf_printf(out, "cairn_info{version=\"%s\",node=\"%llu\",shards=\"%u\"} 1\n", CAIRN_VERSION,
               (unsigned long long)s->node->identity.node_id, s->node->shard_count);
    head(out, "cairn_healthy", "gauge", "1 if the node serves, else 0 (see /health)");
    put(out, "cairn_healthy", "", r->unhealthy[0] == 0);
    head(out, "cairn_meta_leader", "gauge", "1 if this node leads the meta group");
    put(out, "cairn_meta_leader", "", r->meta_leads);
    head(out, "cairn_uptime_seconds", "gauge", "since the node was started");
    put_seconds(out, "cairn_uptime_seconds", "", env_now_ns(s->node->env) - s->node->started_ns);
    head(out, "cairn_catalog_epoch", "gauge", "of this node's copy of the catalog");
    put(out, "cairn_catalog_epoch", "", s->catalog != NULL ? s->catalog->epoch : 0);
    head(out, "process_resident_memory_bytes", "gauge", "resident memory");
    put(out, "process_resident_memory_bytes", "", p.resident_bytes);
    head(out, "process_cpu_seconds_total", "counter", "user and system time");
    put_seconds(out, "process_cpu_seconds_total", "", p.cpu_user_ns + p.cpu_system_ns);
    head(out, "process_max_fds", "gauge", "file descriptors allowed");
    put(out, "process_max_fds", "", p.files_max);
}

/* ---- of stores, replicas, peers ---- */

struct store_value {
    const char *name;
    uint8_t kind;
    size_t offset; /* of a uint64_t in struct host_stats */
    const char *help;
};
#define IN(field) offsetof(struct host_stats, field)

static const struct store_value store_values[] = {
    {"cairn_log_bytes", GAUGE, IN(log.bytes), "size of the log"},
    {"cairn_log_segments", GAUGE, IN(log.segments), "files of the log"},
    {"cairn_log_batches_total", COUNTER, IN(log.batches), "batches written and synced"},
    {"cairn_log_synced_bytes_total", COUNTER, IN(log.synced_bytes), "bytes made durable"},
    {"cairn_log_records_damaged_total", COUNTER, IN(log.records_damaged), "records found damaged at start"},
    {"cairn_log_batches_torn_total", COUNTER, IN(log.batches_torn), "torn last batches found at start"},
    {"cairn_engine_memory_bytes", GAUGE, IN(engine.memory_bytes), "memory of the engine"},
    {"cairn_engine_disk_bytes", GAUGE, IN(engine.disk_bytes), "files of the engine"},
    {"cairn_engine_flushes_total", COUNTER, IN(engine.flushes), "flushes that Cairn asked for"},
    {"cairn_engine_compactions_running", GAUGE, IN(engine.compactions_running), "compactions running"},
    {"cairn_rows_bytes", GAUGE, IN(rows.bytes), "rows kept in memory"},
    {"cairn_rows_dirty_bytes", GAUGE, IN(rows.dirty_bytes), "of these, not yet written to the engine"},
    {"cairn_rows_hits_total", COUNTER, IN(rows.hits), "rows found in memory"},
    {"cairn_rows_misses_total", COUNTER, IN(rows.misses), "rows not found in memory"},
};

static void put_stores(const struct node_report *r, struct buf *out)
{
    for (size_t v = 0; v <= ARRAY_COUNT(store_values); v++) {
        bool sync = v == ARRAY_COUNT(store_values);
        const char *name = sync ? "cairn_log_sync_seconds_total" : store_values[v].name;
        if (sync) head(out, name, "counter", "time spent in syncs of the log");
        else head(out, name, store_values[v].kind == COUNTER ? "counter" : "gauge", store_values[v].help);
        for (uint16_t i = 0; i < r->shard_count; i++) {
            for (size_t k = 0; k < r->shards[i].store_count; k++) {
                const struct report_store *p = &r->shards[i].stores[k];
                char labels[48];
                uint64_t number;
                snprintf(labels, sizeof labels, "{store=\"%u\"}", p->store);
                if (sync) {
                    put_seconds(out, name, labels, p->stats.log.sync_ns_total);
                    continue;
                }
                memcpy(&number, (const char *)&p->stats + store_values[v].offset, sizeof number);
                put(out, name, labels, number);
            }
        }
    }
}

static uint64_t replica_keys(const struct report_replica *p)
{
    return p->counters.keys > 0 ? (uint64_t)p->counters.keys : 0;
}
static uint64_t replica_leads_here(const struct report_replica *p) { return p->role == RAFT_LEADER; }
static uint64_t replica_term(const struct report_replica *p) { return p->term; }
static uint64_t replica_commit(const struct report_replica *p) { return p->commit; }
static uint64_t replica_applied(const struct report_replica *p) { return p->applied; }
static uint64_t replica_stopped(const struct report_replica *p) { return p->stopped; }
static uint64_t replica_lag(const struct report_replica *p)
{
    uint64_t lag = 0;
    for (size_t i = 0; i < p->follower_count; i++)
        if (p->followers[i].known && p->last_index > p->followers[i].match)
            lag = MAX(lag, p->last_index - p->followers[i].match);
    return lag;
}

static const struct {
    const char *name, *help;
    uint64_t (*value)(const struct report_replica *p);
} replica_values[] = {
    {"cairn_partition_leader", "1 if the copy here leads", replica_leads_here},
    {"cairn_partition_term", "term of the copy here", replica_term},
    {"cairn_partition_commit_index", "committed entries", replica_commit},
    {"cairn_partition_applied_index", "applied entries", replica_applied},
    {"cairn_partition_keys", "keys in the copy here", replica_keys},
    {"cairn_partition_follower_lag_entries",
     "entries that the slowest follower lacks (0 where the copy here does not lead)", replica_lag},
    {"cairn_partition_stopped", "1 if the copy here does not apply any more: look at once", replica_stopped},
};

static void put_replicas(const struct node_report *r, struct buf *out)
{
    for (size_t v = 0; v < ARRAY_COUNT(replica_values); v++) {
        head(out, replica_values[v].name, "gauge", replica_values[v].help);
        for (uint16_t i = 0; i < r->shard_count; i++) {
            for (size_t k = 0; k < r->shards[i].replica_count; k++) {
                const struct report_replica *p = &r->shards[i].replicas[k];
                char labels[64];
                snprintf(labels, sizeof labels, "{partition=\"%llu\",table=\"%u\"}",
                         (unsigned long long)p->partition_id, p->table);
                put(out, replica_values[v].name, labels, replica_values[v].value(p));
            }
        }
    }
}

struct peer_value {
    const char *name;
    uint8_t kind;
    size_t offset; /* of a uint64_t in struct mesh_peer_stats */
    const char *help;
};
#define OF(field) offsetof(struct mesh_peer_stats, field)

static const struct peer_value peer_values[] = {
    {"cairn_peer_pings_total", COUNTER, OF(pings), "pings sent"},
    {"cairn_peer_pongs_total", COUNTER, OF(pongs), "pings answered"},
    {"cairn_peer_sent_frames_total", COUNTER, OF(sent_frames), "frames sent"},
    {"cairn_peer_sent_bytes_total", COUNTER, OF(sent_bytes), "bytes sent"},
    {"cairn_peer_dropped_frames_total", COUNTER, OF(dropped_frames),
     "frames dropped: the queue was full or the connection broke"},
    {"cairn_peer_received_frames_total", COUNTER, OF(received_frames), "frames received"},
    {"cairn_peer_received_bytes_total", COUNTER, OF(received_bytes), "bytes received"},
    {"cairn_peer_reconnects_total", COUNTER, OF(reconnects), "connections made anew"},
    {"cairn_peer_queued_bytes", GAUGE, OF(queued), "bytes waiting to be sent, both lanes"},
};

static void put_peers(const struct node_report *r, struct buf *out)
{
    for (size_t v = 0; v <= ARRAY_COUNT(peer_values); v++) {
        bool rtt = v == ARRAY_COUNT(peer_values);
        const char *name = rtt ? "cairn_peer_rtt_seconds" : peer_values[v].name;
        if (rtt) head(out, name, "gauge", "round-trip time, smoothed; 0: not known yet");
        else head(out, name, peer_values[v].kind == COUNTER ? "counter" : "gauge", peer_values[v].help);
        for (uint16_t i = 0; i < r->shard_count; i++) {
            for (size_t k = 0; k < r->shards[i].peer_count; k++) {
                const struct mesh_peer_stats *p = &r->shards[i].peers[k];
                char labels[64];
                uint64_t number;
                snprintf(labels, sizeof labels, "{peer=\"%llu\",shard=\"%u\"}", (unsigned long long)p->node_id, i);
                if (rtt) {
                    put_seconds(out, name, labels, p->rtt_ns);
                    continue;
                }
                memcpy(&number, (const char *)p + peer_values[v].offset, sizeof number);
                if (peer_values[v].offset == OF(queued)) number = p->queued[MESH_URGENT] + p->queued[MESH_BULK];
                put(out, name, labels, number);
            }
        }
    }
}

void page_metrics(struct shard *s, const struct node_report *r, struct buf *out)
{
    put_process(s, r, out);
    put_sums(s, out);
    put_stores(r, out);
    put_replicas(r, out);
    put_peers(r, out);
}
