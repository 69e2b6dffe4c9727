/* node_status.c - /status.json: the node and the cluster as this node sees it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/json.h"
#include "node/node_pages.h"
#include "table/place.h"

static const char *roles_text(uint8_t roles)
{
    if (roles == (RAFT_VOTER | RAFT_VOTER_OUT) || roles == RAFT_VOTER) return "voter";
    if (roles & RAFT_VOTER_OUT) return "leaving voter";
    return roles & RAFT_LEARNER ? "learner" : "to be removed";
}

static void put_hex(struct json *j, const char *key, const uint8_t id[16])
{
    char text[33];
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", id[i]);
    json_put_text(j, key, text);
}

static const struct report_led *led_of(const struct node_report *r, uint64_t partition_id)
{
    for (size_t i = 0; i < r->led_count; i++)
        if (r->led[i].partition_id == partition_id) return &r->led[i];
    return NULL;
}

static const struct report_replica *leading_here(const struct node_report *r, uint64_t partition_id)
{
    for (uint16_t i = 0; i < r->shard_count; i++)
        for (size_t k = 0; k < r->shards[i].replica_count; k++)
            if (r->shards[i].replicas[k].partition_id == partition_id && r->shards[i].replicas[k].role == RAFT_LEADER)
                return &r->shards[i].replicas[k];
    return NULL;
}

static uint64_t leader_of(struct shard *s, const struct node_report *r, const struct catalog_partition *p)
{
    struct gate_map map;
    const struct report_led *led = led_of(r, p->id);
    if (leading_here(r, p->id) != NULL) return s->node->identity.node_id;
    gate_map(s->gate, p->table, &map);
    for (size_t i = 0; i < map.partition_count; i++)
        if (map.partitions[i].partition_id == p->id && map.partitions[i].leader_node != 0)
            return map.partitions[i].leader_node;
    return led != NULL ? led->leader_node : 0;
}

/* How many copies vote, by who knows best: its leader here, what its leader told meta, the catalog. */
static unsigned voters_of(const struct node_report *r, const struct catalog_partition *p)
{
    const struct report_replica *here = leading_here(r, p->id);
    const struct report_led *led = led_of(r, p->id);
    unsigned n = 0;
    if (here != NULL) {
        for (size_t i = 0; i < here->follower_count; i++) n += (here->followers[i].roles & RAFT_VOTER) != 0;
        return n + 1;
    }
    if (led != NULL) return led->voters;
    for (size_t i = 0; i < p->count; i++) n += p->replicas[i].roles == RAFT_VOTER;
    return n;
}

static void put_health(struct json *j, struct shard *s, const struct node_report *r)
{
    size_t leaderless = 0, under = 0, stopped = 0;
    const struct catalog *c = s->catalog;
    for (size_t i = 0; c != NULL && i < c->partition_count; i++) {
        leaderless += leader_of(s, r, &c->partitions[i]) == 0;
        under += voters_of(r, &c->partitions[i]) < plan_replicas(c, &c->partitions[i]);
    }
    for (uint16_t i = 0; i < r->shard_count; i++)
        for (size_t k = 0; k < r->shards[i].replica_count; k++) stopped += r->shards[i].replicas[k].stopped;
    json_begin_object(j, "health");
    json_put_bool(j, "ready", r->unhealthy[0] == 0);
    json_put_text(j, "reason", r->unhealthy);
    json_put_u64(j, "leaderless", leaderless);
    json_put_u64(j, "under_replicated", under);
    json_put_u64(j, "replicas_stopped", stopped);
    json_end_object(j);
}

static void put_nodes(struct json *j, struct shard *s, const struct node_report *r)
{
    const struct catalog *c = s->catalog;
    json_begin_array(j, "nodes");
    for (size_t i = 0; c != NULL && i < c->node_count; i++) {
        const struct catalog_node *n = &c->nodes[i];
        bool self = n->id == s->node->identity.node_id, heard = false;
        json_begin_object(j, NULL);
        json_put_u64(j, "id", n->id);
        json_put_text(j, "address", n->address);
        json_put_text(j, "state", n->state == NODE_UP ? "up" : "removed");
        json_put_u64(j, "stores", n->stores);
        json_put_bool(j, "self", self);
        for (size_t k = 0; k < r->heard_count && !self; k++) {
            if (r->heard[k].node_id != n->id) continue;
            json_put_u64(j, "heard_ms", r->heard[k].ago_ns / NS_PER_MS);
            heard = true;
        }
        if (!heard) json_put_null(j, "heard_ms"); /* only meta's leader listens */
        json_end_object(j);
    }
    json_end_array(j);
}

static void put_partitions(struct json *j, struct shard *s, const struct node_report *r)
{
    const struct catalog *c = s->catalog;
    json_begin_array(j, "partitions");
    for (size_t i = 0; c != NULL && i < c->partition_count; i++) {
        const struct catalog_partition *p = &c->partitions[i];
        json_begin_object(j, NULL);
        json_put_u64(j, "id", p->id);
        json_put_u64(j, "table", p->table);
        json_put_u64(j, "slot_first", p->slot_lo);
        json_put_u64(j, "slot_last", p->slot_hi - 1);
        json_put_u64(j, "epoch", p->epoch);
        json_put_u64(j, "leader_node", leader_of(s, r, p));
        json_put_u64(j, "voters", voters_of(r, p));
        json_put_u64(j, "voters_wanted", plan_replicas(c, p));
        json_begin_array(j, "replicas");
        for (size_t k = 0; k < p->count; k++) {
            json_begin_object(j, NULL);
            json_put_u64(j, "replica", p->replicas[k].replica_id);
            json_put_u64(j, "node", store_addr_node(p->replicas[k].store));
            json_put_u64(j, "store", store_addr_store(p->replicas[k].store));
            json_put_text(j, "role", roles_text(p->replicas[k].roles));
            json_put_bool(j, "preferred", p->replicas[k].replica_id == p->preferred);
            json_end_object(j);
        }
        json_end_array(j);
        json_end_object(j);
    }
    json_end_array(j);
}

static void put_tables(struct json *j, const struct catalog *c)
{
    json_begin_array(j, "tables");
    for (size_t i = 0; c != NULL && i < c->table_count; i++) {
        json_begin_object(j, NULL);
        json_put_u64(j, "id", c->tables[i].id);
        json_put_text(j, "name", c->tables[i].name);
        json_put_u64(j, "replicas", c->tables[i].replicas);
        json_put_u64(j, "retention_ms", c->tables[i].retention_ms);
        json_end_object(j);
    }
    json_end_array(j);
}

static void put_followers(struct json *j, const struct report_replica *p)
{
    json_begin_array(j, "followers");
    for (size_t i = 0; i < p->follower_count; i++) {
        const struct report_follower *f = &p->followers[i];
        json_begin_object(j, NULL);
        json_put_u64(j, "replica", f->replica_id);
        json_put_u64(j, "node", store_addr_node(f->store));
        json_put_u64(j, "store", store_addr_store(f->store));
        json_put_text(j, "role", roles_text(f->roles));
        if (f->known) {
            json_put_u64(j, "match", f->match);
            json_put_u64(j, "lag", p->last_index > f->match ? p->last_index - f->match : 0);
            json_put_u64(j, "active_ms", f->active_ns / NS_PER_MS);
            json_put_bool(j, "snapshotting", f->snapshotting);
            json_put_bool(j, "paused", f->paused);
        }
        json_end_object(j);
    }
    json_end_array(j);
}

static void put_replicas(struct json *j, const struct node_report *r)
{
    size_t omitted = 0;
    json_begin_array(j, "replicas");
    for (uint16_t i = 0; i < r->shard_count; i++) {
        omitted += r->shards[i].replicas_omitted;
        for (size_t k = 0; k < r->shards[i].replica_count; k++) {
            const struct report_replica *p = &r->shards[i].replicas[k];
            json_begin_object(j, NULL);
            json_put_u64(j, "partition", p->partition_id);
            json_put_u64(j, "replica", p->replica_id);
            json_put_u64(j, "table", p->table);
            json_put_u64(j, "store", p->store);
            json_put_text(j, "role", raft_role_name(p->role));
            json_put_u64(j, "leader_node", p->leader_node);
            json_put_u64(j, "term", p->term);
            json_put_u64(j, "first_index", p->first_index);
            json_put_u64(j, "last_index", p->last_index);
            json_put_u64(j, "commit", p->commit);
            json_put_u64(j, "applied", p->applied);
            json_put_i64(j, "keys", p->counters.keys);
            json_put_i64(j, "expires", p->counters.expires);
            json_put_i64(j, "garbage", p->counters.garbage);
            json_put_u64(j, "retention_ms", p->counters.retention_ms);
            json_put_u64(j, "watermark_ms", hlc_ms(p->counters.watermark));
            json_put_u64(j, "lease_left_ms", p->lease_left_ns / NS_PER_MS);
            json_put_bool(j, "suspect", p->suspect);
            json_put_text(j, "stopped", p->stopped ? p->stopped_text : NULL);
            json_put_u64(j, "rebuilds", p->rebuilds);
            json_put_text(j, "damaged", p->lost_text[0] != 0 ? p->lost_text : NULL);
            json_put_bool(j, "only_copy_damaged", p->lost);
            put_followers(j, p);
            json_end_object(j);
        }
    }
    json_end_array(j);
    json_put_u64(j, "replicas_omitted", omitted);
}

static void put_store(struct json *j, uint16_t shard, const struct report_store *p)
{
    const struct host_stats *x = &p->stats;
    json_begin_object(j, NULL);
    json_put_u64(j, "store", p->store);
    json_put_u64(j, "shard", shard);
    json_put_bool(j, "failed", p->failed);
    json_put_u64(j, "replicas", x->replicas);
    json_put_u64(j, "leaders", x->leaders);
    json_put_u64(j, "ops_applied", x->ops_applied);
    json_put_u64(j, "elections", x->elections);
    json_put_u64(j, "scrub_mismatches", x->scrub_mismatches);
    json_put_u64(j, "stalls", x->stalls);
    json_begin_object(j, "log");
    json_put_u64(j, "bytes", x->log.bytes);
    json_put_u64(j, "segments", x->log.segments);
    json_put_u64(j, "batches", x->log.batches);
    json_put_u64(j, "synced_bytes", x->log.synced_bytes);
    json_put_u64(j, "sync_last_us", x->log.sync_ns_last / NS_PER_US);
    json_put_u64(j, "records_damaged", x->log.records_damaged);
    json_put_u64(j, "batches_torn", x->log.batches_torn);
    json_end_object(j);
    json_begin_object(j, "engine");
    json_put_u64(j, "memory_bytes", x->engine.memory_bytes);
    json_put_u64(j, "disk_bytes", x->engine.disk_bytes);
    json_put_u64(j, "rows_estimate", x->engine.rows_estimate);
    json_put_u64(j, "compactions_running", x->engine.compactions_running);
    json_put_bool(j, "write_stopped", x->engine.write_stopped);
    json_end_object(j);
    json_begin_object(j, "rows");
    json_put_u64(j, "bytes", x->rows.bytes);
    json_put_u64(j, "dirty_bytes", x->rows.dirty_bytes);
    json_put_u64(j, "count", x->rows.count);
    json_put_u64(j, "hits", x->rows.hits);
    json_put_u64(j, "misses", x->rows.misses);
    json_end_object(j);
    json_end_object(j);
}

static void put_peers(struct json *j, const struct node_report *r)
{
    json_begin_array(j, "peers");
    for (uint16_t i = 0; i < r->shard_count; i++) {
        for (size_t k = 0; k < r->shards[i].peer_count; k++) {
            const struct mesh_peer_stats *p = &r->shards[i].peers[k];
            json_begin_object(j, NULL);
            json_put_u64(j, "shard", i);
            json_put_u64(j, "node", p->node_id);
            json_put_bool(j, "connected", p->connected[MESH_URGENT]);
            json_put_u64(j, "rtt_us", p->rtt_ns / NS_PER_US);
            json_put_u64(j, "pings", p->pings);
            json_put_u64(j, "pongs", p->pongs);
            json_put_u64(j, "queued_bytes", p->queued[MESH_URGENT] + p->queued[MESH_BULK]);
            json_put_u64(j, "sent_bytes", p->sent_bytes);
            json_put_u64(j, "received_bytes", p->received_bytes);
            json_put_u64(j, "dropped_frames", p->dropped_frames);
            json_put_u64(j, "reconnects", p->reconnects);
            json_end_object(j);
        }
    }
    json_end_array(j);
}

static void put_shards(struct json *j, struct shard *s)
{
    json_begin_array(j, "shards");
    for (uint16_t i = 0; i < s->node->shard_count; i++) {
        const struct shard_stats *x = &s->stats[i];
        json_begin_object(j, NULL);
        json_put_u64(j, "shard", i);
        json_put_u64(j, "clients", x->clients);
        json_put_u64(j, "commands", x->resp.commands);
        json_put_u64(j, "keys_led", x->keys);
        json_put_u64(j, "requests_under_way", x->gate.under_way);
        json_put_u64(j, "reads", x->gate.reads);
        json_put_u64(j, "writes", x->gate.writes);
        json_put_u64(j, "forwarded", x->gate.forwarded);
        json_put_u64(j, "retries", x->gate.retries);
        json_put_u64(j, "unavailable", x->gate.unavailable);
        json_put_u64(j, "overloaded", x->gate.overloaded);
        json_put_u64(j, "outcome_unknown", x->gate.unknown);
        json_end_object(j);
    }
    json_end_array(j);
}

void page_status(struct shard *s, const struct node_report *r, struct buf *out)
{
    struct node *n = s->node;
    struct json j = {out, false};
    struct env_process_stats process;
    env_process_stats(n->env, &process);
    json_begin_object(&j, NULL);
    json_put_text(&j, "version", CAIRN_VERSION);
    json_put_u64(&j, "node", n->identity.node_id);
    json_put_text(&j, "address", n->advertise);
    put_hex(&j, "cluster", n->identity.cluster_id);
    json_put_u64(&j, "uptime_ms", (env_now_ns(n->env) - n->started_ns) / NS_PER_MS);
    json_put_u64(&j, "process", process.pid);
    json_put_u64(&j, "memory_bytes", process.resident_bytes);
    json_put_u64(&j, "catalog_epoch", s->catalog != NULL ? s->catalog->epoch : 0);
    json_put_bool(&j, "meta_leads", r->meta_leads);
    put_health(&j, s, r);
    put_nodes(&j, s, r);
    put_tables(&j, s->catalog);
    put_partitions(&j, s, r);
    put_replicas(&j, r);
    json_begin_array(&j, "stores");
    for (uint16_t i = 0; i < r->shard_count; i++)
        for (size_t k = 0; k < r->shards[i].store_count; k++) put_store(&j, i, &r->shards[i].stores[k]);
    json_end_array(&j);
    put_peers(&j, r);
    put_shards(&j, s);
    json_end_object(&j);
    buf_put_u8(out, '\n');
}
