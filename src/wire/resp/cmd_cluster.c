/* cmd_cluster.c - CLUSTER: the partition map in Redis Cluster's words.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A node is a "master" of the slots that it leads now, and a "replica" of those of whose partitions it has a copy. Node
 * ids are Cairn's, as 40 hexadecimal digits. */
#include <stdio.h>

#include "base/mem.h"
#include "model/kv_build.h"
#include "model/result.h"
#include "table/place.h"
#include "wire/resp/cmd_door.h"
#include "wire/resp/resp_job.h"

#define NODE_ID_DIGITS 40

static void map_of(const struct resp_conn *c, struct gate_map *out)
{
    gate_map(c->door->gate, c->door->config.table, out);
}

static const struct gate_node *node_of(const struct gate_map *m, uint64_t id)
{
    for (size_t i = 0; i < m->node_count; i++)
        if (m->nodes[i].node_id == id) return &m->nodes[i];
    return NULL;
}

static void put_node_id(struct buf *out, uint64_t id)
{
    char text[NODE_ID_DIGITS + 1];
    snprintf(text, sizeof text, "%040llx", (unsigned long long)id);
    resp_put_bulk_str(out, text);
}

static bool parse_node_id(struct bytes text, uint64_t *out)
{
    uint64_t v = 0;
    if (text.n != NODE_ID_DIGITS) return false;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t ch = text.p[i];
        int digit = ch >= '0' && ch <= '9'                     ? ch - '0'
                    : (ch | 0x20) >= 'a' && (ch | 0x20) <= 'f' ? (ch | 0x20) - 'a' + 10
                                                               : -1;
        if (digit < 0 || v >> 60 != 0) return false;
        v = v << 4 | (uint64_t)digit;
    }
    *out = v;
    return true;
}

/* The end of a run of partitions that have the same leader and replicas and lie side by side: one range for clients. */
static size_t run_end(const struct gate_map *m, size_t i)
{
    const struct gate_partition *a = &m->partitions[i];
    for (i++; i < m->partition_count; i++) {
        const struct gate_partition *b = &m->partitions[i];
        if (b->slot_lo != m->partitions[i - 1].slot_hi || b->leader_node != a->leader_node ||
            b->replica_count != a->replica_count ||
            memcmp(a->replica_nodes, b->replica_nodes, a->replica_count * sizeof a->replica_nodes[0]) != 0)
            break;
    }
    return i;
}

static bool served(const struct gate_map *m, const struct gate_partition *p)
{
    return p->leader_node != 0 && node_of(m, p->leader_node) != NULL;
}

static void put_slots_node(struct buf *out, int proto, const struct gate_node *n)
{
    resp_put_array(out, 4);
    resp_put_bulk_str(out, n->host);
    resp_put_int(out, n->port);
    put_node_id(out, n->node_id);
    resp_put_map(out, proto, 0);
}

void cmd_cluster_slots(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct gate_map m;
    struct buf ranges = {0};
    size_t count = 0;
    map_of(c, &m);
    for (size_t i = 0, end; i < m.partition_count; i = end) {
        const struct gate_partition *p = &m.partitions[i];
        end = run_end(&m, i);
        if (!served(&m, p)) continue; /* as Redis leaves out slots without a master */
        size_t nodes = 1;
        for (size_t k = 0; k < p->replica_count; k++)
            nodes += p->replica_nodes[k] != p->leader_node && node_of(&m, p->replica_nodes[k]) != NULL;
        resp_put_array(&ranges, 2 + nodes);
        resp_put_int(&ranges, p->slot_lo);
        resp_put_int(&ranges, (int64_t)m.partitions[end - 1].slot_hi - 1);
        put_slots_node(&ranges, c->proto, node_of(&m, p->leader_node));
        for (size_t k = 0; k < p->replica_count; k++) {
            const struct gate_node *n = node_of(&m, p->replica_nodes[k]);
            if (n != NULL && n->node_id != p->leader_node) put_slots_node(&ranges, c->proto, n);
        }
        count++;
    }
    struct buf *out = resp_conn_out(c);
    resp_put_array(out, count);
    buf_put_bytes(out, buf_view(&ranges));
    buf_deinit(&ranges);
}

static void put_shard_node(struct buf *out, int proto, const struct gate_node *n, bool leader)
{
    resp_put_map(out, proto, 7);
    resp_put_bulk_str(out, "id");
    put_node_id(out, n->node_id);
    resp_put_bulk_str(out, "port");
    resp_put_int(out, n->port);
    resp_put_bulk_str(out, "ip");
    resp_put_bulk_str(out, n->host);
    resp_put_bulk_str(out, "endpoint");
    resp_put_bulk_str(out, n->host);
    resp_put_bulk_str(out, "role");
    resp_put_bulk_str(out, leader ? "master" : "replica");
    resp_put_bulk_str(out, "replication-offset");
    resp_put_int(out, 0);
    resp_put_bulk_str(out, "health");
    resp_put_bulk_str(out, n->up ? "online" : "fail");
}

/* One shard per run of slots. */
void cmd_cluster_shards(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct gate_map m;
    struct buf shards = {0};
    size_t count = 0;
    map_of(c, &m);
    for (size_t i = 0, end; i < m.partition_count; i = end) {
        const struct gate_partition *p = &m.partitions[i];
        end = run_end(&m, i);
        size_t nodes = 0;
        for (size_t k = 0; k < p->replica_count; k++) nodes += node_of(&m, p->replica_nodes[k]) != NULL;
        resp_put_map(&shards, c->proto, 2);
        resp_put_bulk_str(&shards, "slots");
        resp_put_array(&shards, 2);
        resp_put_int(&shards, p->slot_lo);
        resp_put_int(&shards, (int64_t)m.partitions[end - 1].slot_hi - 1);
        resp_put_bulk_str(&shards, "nodes");
        resp_put_array(&shards, nodes);
        for (size_t k = 0; k < p->replica_count; k++) {
            const struct gate_node *n = node_of(&m, p->replica_nodes[k]);
            if (n != NULL) put_shard_node(&shards, c->proto, n, n->node_id == p->leader_node);
        }
        count++;
    }
    struct buf *out = resp_conn_out(c);
    resp_put_array(out, count);
    buf_put_bytes(out, buf_view(&shards));
    buf_deinit(&shards);
}

/* The line of CLUSTER NODES; `master`: shown as a replica of that node. */
static void put_node_line(struct buf *out, const struct gate_map *m, const struct gate_node *n, uint64_t master)
{
    buf_printf(out, "%040llx %s:%u@%u %s%s%s ", (unsigned long long)n->node_id, n->host, n->port, n->port,
               n->self ? "myself," : "", master != 0 ? "slave" : "master", n->up ? "" : ",fail");
    if (master != 0) buf_printf(out, "%040llx ", (unsigned long long)master);
    else buf_put_bytes(out, BYTES_LIT("- "));
    buf_printf(out, "0 0 %llu %s", (unsigned long long)m->epoch, n->up ? "connected" : "disconnected");
    if (master != 0) return;
    for (size_t i = 0; i < m->partition_count;) {
        uint32_t lo = m->partitions[i].slot_lo, hi = lo;
        for (; i < m->partition_count && m->partitions[i].leader_node == n->node_id &&
               (hi == lo || m->partitions[i].slot_lo == hi);
             i++)
            hi = m->partitions[i].slot_hi;
        if (hi == lo) i++;
        else if (hi == lo + 1) buf_printf(out, " %u", lo);
        else buf_printf(out, " %u-%u", lo, hi - 1);
    }
}

void cmd_cluster_nodes(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct gate_map m;
    struct buf text = {0};
    map_of(c, &m);
    for (size_t i = 0; i < m.node_count; i++) {
        put_node_line(&text, &m, &m.nodes[i], 0);
        buf_put_u8(&text, '\n');
    }
    resp_put_verbatim(resp_conn_out(c), c->proto, buf_view(&text));
    buf_deinit(&text);
}

void cmd_cluster_replicas(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct gate_map m;
    struct buf lines = {0};
    struct buf *out = resp_conn_out(c);
    uint64_t id;
    size_t count = 0;
    map_of(c, &m);
    if (!parse_node_id(argv[2], &id) || node_of(&m, id) == NULL) {
        resp_put_errorf(out, "ERR Unknown node %.*s", (int)MIN(argv[2].n, 128), (const char *)argv[2].p);
        return;
    }
    for (size_t i = 0; i < m.node_count; i++) {
        const struct gate_node *n = &m.nodes[i];
        bool follows = false;
        for (size_t k = 0; k < m.partition_count && n->node_id != id && !follows; k++)
            for (size_t r = 0; r < m.partitions[k].replica_count && m.partitions[k].leader_node == id; r++)
                follows = follows || m.partitions[k].replica_nodes[r] == n->node_id;
        if (!follows) continue;
        struct buf line = {0};
        put_node_line(&line, &m, n, id);
        resp_put_bulk(&lines, buf_view(&line));
        buf_deinit(&line);
        count++;
    }
    resp_put_array(out, count);
    buf_put_bytes(out, buf_view(&lines));
    buf_deinit(&lines);
}

void cmd_cluster_info(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct gate_map m;
    struct buf text = {0};
    uint32_t assigned = 0, ok = 0;
    size_t leaders = 0;
    map_of(c, &m);
    for (size_t i = 0; i < m.partition_count; i++) {
        uint32_t width = m.partitions[i].slot_hi - m.partitions[i].slot_lo;
        assigned += width;
        if (served(&m, &m.partitions[i])) ok += width;
    }
    for (size_t i = 0; i < m.node_count; i++) {
        bool leads = false;
        for (size_t k = 0; k < m.partition_count; k++)
            leads = leads || m.partitions[k].leader_node == m.nodes[i].node_id;
        leaders += leads;
    }
    buf_printf(&text,
               "cluster_state:%s\r\ncluster_slots_assigned:%u\r\ncluster_slots_ok:%u\r\ncluster_slots_pfail:0\r\n"
               "cluster_slots_fail:%u\r\ncluster_known_nodes:%zu\r\ncluster_size:%zu\r\ncluster_current_epoch:%llu\r\n"
               "cluster_my_epoch:%llu\r\n",
               ok == SLOTS ? "ok" : "fail", assigned, ok, assigned - ok, m.node_count, leaders,
               (unsigned long long)m.epoch, (unsigned long long)m.epoch);
    resp_put_verbatim(resp_conn_out(c), c->proto, buf_view(&text));
    buf_deinit(&text);
}

void cmd_cluster_keyslot(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_int(resp_conn_out(c), key_slot(argv[2]));
}

void cmd_cluster_myid(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct gate_map m;
    map_of(c, &m);
    put_node_id(resp_conn_out(c), m.self_node);
}

void cmd_cluster_links(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_errorf(resp_conn_out(c), "ERR CLUSTER LINKS is not supported: nodes have no cluster bus");
}

/* ---- COUNTKEYSINSLOT, GETKEYSINSLOT: a scan from the slot's beginning until a key of another slot ---- */

#define SLOT_SCAN_COUNT 512u

struct slot_keys {
    struct resp_job job;
    uint16_t slot;
    bool names; /* GETKEYSINSLOT */
    uint64_t want, found, cursor;
    bool done;
    struct buf keys; /* RESP */
};

static bool slot_keys_part(struct resp_job *j, struct request *r)
{
    struct slot_keys *s = (struct slot_keys *)j;
    if (s->done) return false;
    r->kind = REQUEST_READ;
    r->slot = s->slot;
    r->opcode = KV_SCAN;
    r->op_flags = OP_READ;
    kv_build_scan(&r->body, s->cursor, SLOT_SCAN_COUNT, KV_NONE, BYTES_LIT("*"));
    return true;
}

static void slot_keys_result(struct resp_job *j, size_t number, struct bytes encoded)
{
    struct slot_keys *s = (struct slot_keys *)j;
    struct result head, cursor, keys, key;
    struct reader r = reader_of(encoded);
    uint64_t next;
    if (!result_next(&r, &head) || !result_next(&r, &cursor) || cursor.tag != 'b' ||
        !bytes_to_u64(cursor.bytes, &next) || !result_next(&r, &keys) || keys.tag != 'a') {
        buf_printf(&j->error, "ERR internal error: unexpected result");
        j->stop = true;
        return;
    }
    for (uint64_t i = 0; i < keys.count && s->found < s->want && result_next(&r, &key); i++) {
        if (key.tag != 'b' || key_slot(key.bytes) != s->slot) continue;
        s->found++;
        if (s->names) resp_put_bulk(&s->keys, key.bytes);
    }
    s->cursor = next;
    s->done = next == 0 || next >> 48 != s->slot || s->found >= s->want || s->keys.n > j->door->config.keys_reply_max;
}

static void slot_keys_reply(struct resp_job *j, struct buf *out, int proto)
{
    struct slot_keys *s = (struct slot_keys *)j;
    if (!s->names) {
        resp_put_int(out, (int64_t)s->found);
        return;
    }
    resp_put_array(out, s->found);
    buf_put_bytes(out, buf_view(&s->keys));
}

static void slot_keys_free(struct resp_job *j)
{
    buf_deinit(&((struct slot_keys *)j)->keys);
    mem_free(j);
}

void cmd_cluster_keys(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    int64_t slot, want = INT64_MAX;
    if (!bytes_to_i64(argv[2], &slot) || (argc == 4 && !bytes_to_i64(argv[3], &want))) {
        resp_put_errorf(resp_conn_out(c), "ERR value is not an integer or out of range");
        return;
    }
    if (slot < 0 || slot >= SLOTS || want < 0) {
        resp_put_errorf(resp_conn_out(c), argc == 4 ? "ERR Invalid slot or number of keys" : "ERR Invalid slot");
        return;
    }
    struct resp_cmd *cmd = resp_conn_barrier(c, c->last_command, false);
    if (cmd == NULL) return;
    struct slot_keys *s = mem_zalloc(sizeof *s);
    s->slot = (uint16_t)slot;
    s->names = argc == 4;
    s->want = (uint64_t)want;
    s->cursor = (uint64_t)slot << 48;
    s->done = want == 0;
    s->job.part = slot_keys_part;
    s->job.result = slot_keys_result;
    s->job.reply = slot_keys_reply;
    s->job.free = slot_keys_free;
    resp_job_start(&s->job, cmd, 1);
}
