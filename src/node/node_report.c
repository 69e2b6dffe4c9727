/* node_report.c - gathers what the shards say of themselves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "node/node_report.h"

#include <stdio.h>

#include "base/mem.h"
#include "table/place.h"

struct gathering {
    struct node_report report;
    struct shard *asker;
    void (*done)(void *ctx, struct shard *s, const struct node_report *r);
    void *ctx;
    unsigned missing;
};

/* What one shard was asked; it goes there and comes back. */
struct part {
    struct gathering *gathering;
    uint16_t from;
    bool all;
    struct node_report report; /* shard 0's members only */
    struct report_shard shard;
};

/* ---- on the shard asked ---- */

static void add_followers(struct report_replica *out, struct replica *r, const struct replica_info *info, uint64_t now)
{
    const struct raft_config *c = info->raft.config;
    for (size_t i = 0; c != NULL && i < c->count; i++) {
        struct raft_progress progress;
        if (c->members[i].replica_id == info->replica_id) continue;
        struct report_follower *f = &out->followers[out->follower_count++];
        *f = (struct report_follower){
            .replica_id = c->members[i].replica_id, .store = c->members[i].store, .roles = c->members[i].roles};
        if (info->raft.role != RAFT_LEADER || !replica_peer_progress(r, f->replica_id, &progress)) continue;
        f->known = true;
        f->match = progress.match;
        f->snapshotting = progress.snapshotting;
        f->paused = progress.paused;
        f->active_ns = progress.last_active_ns != 0 && progress.last_active_ns < now ? now - progress.last_active_ns
                                                                                     : 0;
    }
}

static void add_replica(struct report_shard *out, struct replica *r, uint16_t store, uint64_t now)
{
    struct replica_info info;
    if (out->replica_count == REPORT_REPLICAS_MAX) {
        out->replicas_omitted++;
        return;
    }
    replica_info(r, &info);
    struct report_replica *p = &out->replicas[out->replica_count++];
    *p = (struct report_replica){.partition_id = info.partition_id,
                                 .replica_id = info.replica_id,
                                 .table = info.table,
                                 .slot_lo = info.slot_lo,
                                 .slot_hi = info.slot_hi,
                                 .store = store,
                                 .role = info.raft.role,
                                 .term = info.raft.term,
                                 .commit = info.raft.commit,
                                 .applied = info.raft.applied,
                                 .last_index = info.raft.last_index,
                                 .first_index = info.raft.first_index,
                                 .leader_node = store_addr_node(replica_leader_store(r)),
                                 .counters = info.counters,
                                 .lease_left_ns = info.leases_until_ns > now ? info.leases_until_ns - now : 0,
                                 .suspect = info.raft.suspect,
                                 .stopped = info.stopped};
    if (info.stopped && info.stopped_text != NULL)
        snprintf(p->stopped_text, sizeof p->stopped_text, "%s", info.stopped_text);
    p->rebuilds = info.rebuilds;
    p->lost = info.lost;
    if (info.lost_text != NULL) snprintf(p->lost_text, sizeof p->lost_text, "%s", info.lost_text);
    add_followers(p, r, &info, now);
}

static void fill_stores(struct shard *s, struct report_shard *out)
{
    uint64_t now = env_now_ns(s->node->env);
    size_t total = 0, at;
    struct replica *r;
    for (size_t k = 0; k < s->host_count; k++)
        for (at = 0; s->hosts[k] != NULL && host_each_replica(s->hosts[k], &at, &r);) total++;
    out->replicas = mem_zalloc((MIN(total, REPORT_REPLICAS_MAX) + 1) * sizeof *out->replicas);
    out->stores = mem_zalloc((s->host_count + 1) * sizeof *out->stores);
    for (size_t k = 0; k < s->host_count; k++) {
        if (s->hosts[k] == NULL) continue;
        uint16_t store = (uint16_t)(s->index + k * s->node->shard_count);
        struct report_store *p = &out->stores[out->store_count++];
        p->store = store;
        p->failed = host_failed(s->hosts[k]);
        host_stats(s->hosts[k], &p->stats);
        for (at = 0; host_each_replica(s->hosts[k], &at, &r);) add_replica(out, r, store, now);
    }
}

static void fill_peers(struct shard *s, struct report_shard *out)
{
    struct mesh_peer_stats peer;
    size_t count = 0;
    for (size_t at = 0; mesh_each_peer(s->mesh, &at, &peer);) count++;
    out->peers = mem_zalloc((count + 1) * sizeof *out->peers);
    for (size_t at = 0; out->peer_count < count && mesh_each_peer(s->mesh, &at, &peer);)
        out->peers[out->peer_count++] = peer;
}

static void count_leaderless(struct shard *s, char *out, size_t max)
{
    struct gate_map map;
    size_t without = 0;
    gate_map(s->gate, TABLE_DEFAULT, &map);
    for (size_t i = 0; i < map.partition_count; i++) without += map.partitions[i].leader_node == 0;
    if (map.partition_count == 0) snprintf(out, max, "the catalog is not here yet");
    else if (without != 0)
        snprintf(out, max, "%zu of %zu partitions have no known leader: is a majority of their nodes up?", without,
                 map.partition_count);
}

static void fill_health(struct shard *s, char *out, size_t max)
{
    struct node *n = s->node;
    if (n->stopping || s->gate == NULL) snprintf(out, max, "the node is stopping");
    else if (n->control == NULL)
        snprintf(out, max, "the node has not joined its cluster yet (it asks %.200s)", n->join);
    else if (n->opened != n->shard_count) snprintf(out, max, "the node is opening its stores");
    else count_leaderless(s, out, max);
    for (uint16_t i = 0; s->stats != NULL && i < n->shard_count && n->control != NULL && !n->stopping; i++)
        if (s->stats[i].lost != 0) snprintf(out, max, "%s", s->stats[i].lost_text);
    if (out[0] == 0 && !n->ready_told) snprintf(out, max, "the node leads partitions but waits for its leases");
}

static void fill_meta(struct shard *s, struct node_report *out)
{
    struct control *c = s->node->control;
    const struct plan_report *led;
    if (c == NULL) return;
    const struct catalog *catalog = control_catalog(c);
    out->meta_leads = control_leads(c);
    out->heard = mem_zalloc((catalog->node_count + 1) * sizeof *out->heard);
    uint64_t now = env_now_ns(s->node->env);
    for (size_t i = 0; i < catalog->node_count; i++) {
        uint64_t heard = control_heard_ns(c, catalog->nodes[i].id);
        if (heard == 0 || heard > now) continue;
        out->heard[out->heard_count++] = (struct report_heard){catalog->nodes[i].id, now - heard};
    }
    out->led = mem_zalloc((catalog->partition_count + 1) * sizeof *out->led);
    for (size_t at = 0; out->led_count < catalog->partition_count && control_each_report(c, &at, &led);) {
        struct report_led *p = &out->led[out->led_count++];
        *p = (struct report_led){
            .partition_id = led->partition_id, .term = led->term, .leader_node = store_addr_node(led->leader)};
        for (size_t i = 0; i < led->config.count; i++) p->voters += (led->config.members[i].roles & RAFT_VOTER) != 0;
    }
}

/* ---- back on the shard that asked ---- */

static void free_gathering(struct gathering *g)
{
    for (uint16_t i = 0; i < g->report.shard_count; i++) {
        mem_free(g->report.shards[i].replicas);
        mem_free(g->report.shards[i].stores);
        mem_free(g->report.shards[i].peers);
    }
    mem_free(g->report.shards);
    mem_free(g->report.heard);
    mem_free(g->report.led);
    mem_free(g);
}

static void hear_part(struct shard *s, void *arg)
{
    struct part *p = arg;
    struct gathering *g = p->gathering;
    if (p->from == 0) {
        struct report_shard *shards = g->report.shards;
        uint16_t count = g->report.shard_count;
        g->report = p->report;
        g->report.shards = shards;
        g->report.shard_count = count;
    }
    if (p->all) g->report.shards[p->from] = p->shard;
    mem_free(p);
    if (--g->missing != 0) return;
    g->done(g->ctx, s, &g->report);
    free_gathering(g);
}

static void fill_part(struct shard *s, void *arg)
{
    struct part *p = arg;
    if (s->index == 0) {
        fill_health(s, p->report.unhealthy, sizeof p->report.unhealthy);
        fill_meta(s, &p->report);
    }
    if (p->all) {
        fill_stores(s, &p->shard);
        fill_peers(s, &p->shard);
    }
    node_on_shard(s->node, p->gathering->asker->index, hear_part, p);
}

void node_report(struct shard *s, enum report_scope scope,
                 void (*done)(void *ctx, struct shard *s, const struct node_report *r), void *ctx)
{
    struct gathering *g = mem_zalloc(sizeof *g);
    uint16_t count = scope == REPORT_ALL ? s->node->shard_count : 1;
    *g = (struct gathering){.asker = s, .done = done, .ctx = ctx, .missing = count};
    if (scope == REPORT_ALL) {
        g->report.shards = mem_zalloc(count * sizeof *g->report.shards);
        g->report.shard_count = count;
    }
    for (uint16_t i = 0; i < count; i++) {
        struct part *p = mem_zalloc(sizeof *p);
        *p = (struct part){.gathering = g, .from = i, .all = scope == REPORT_ALL};
        node_on_shard(s->node, i, fill_part, p);
    }
}
