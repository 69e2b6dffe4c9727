/* catalog_op.c - the ops of the catalog: how the meta group changes it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "model/catalog_internal.h"
#include "model/result.h"
#include "table/place.h"

/* ---- bodies ---- */

void catalog_op_init(struct buf *out, const uint8_t cluster_id[16], const uint8_t uuid[16], const char *address,
                     uint16_t stores, const struct lineage *lineage, uint32_t partitions, uint8_t replicas,
                     uint64_t retention_ms)
{
    buf_put(out, cluster_id, 16);
    buf_put(out, uuid, 16);
    buf_put_lp(out, bytes_str(address));
    buf_put_u16(out, stores);
    lineage_put(lineage, out);
    buf_put_u32(out, partitions);
    buf_put_u8(out, replicas);
    if (retention_ms != 0) buf_put_u64(out, retention_ms);
}

void catalog_op_join(struct buf *out, const uint8_t uuid[16], const char *address, uint16_t stores,
                     const struct lineage *lineage)
{
    buf_put(out, uuid, 16);
    buf_put_lp(out, bytes_str(address));
    buf_put_u16(out, stores);
    lineage_put(lineage, out);
}

void catalog_op_node_state(struct buf *out, uint64_t node_id, uint8_t state)
{
    buf_put_u64(out, node_id);
    buf_put_u8(out, state);
}

void catalog_op_partition(struct buf *out, uint64_t expected_epoch, const struct catalog_partition *p)
{
    buf_put_u64(out, expected_epoch);
    catalog_put_partition(p, out);
}

void catalog_op_setting(struct buf *out, const char *name, const char *value)
{
    struct catalog_setting s = {0};
    ASSERT(strlen(name) < sizeof s.name && strlen(value) < sizeof s.value);
    memcpy(s.name, name, strlen(name));
    memcpy(s.value, value, strlen(value));
    catalog_put_setting(&s, out);
}

void catalog_op_retention(struct buf *out, uint32_t table, uint64_t retention_ms)
{
    buf_put_u32(out, table);
    buf_put_u64(out, retention_ms);
}

/* ---- applying ---- */

struct change {
    struct op_view *view;
    struct catalog head;
    struct buf key, id, value;
    struct buf *out;
};

static bool read_text(struct reader *r, char *out, size_t max)
{
    struct bytes b = reader_lp(r);
    if (r->failed || b.n == 0 || b.n >= max || memchr(b.p, 0, b.n) != NULL) return false;
    memcpy(out, b.p, b.n);
    out[b.n] = 0;
    return true;
}

static void row_of_id(struct change *c, enum catalog_kind kind, uint64_t id)
{
    buf_clear(&c->id);
    buf_clear(&c->key);
    buf_put_be64(&c->id, id);
    catalog_row(&c->key, kind, buf_view(&c->id));
}

static void put_row(struct change *c) { c->view->put(c->view->ctx, buf_view(&c->key), buf_view(&c->value)); }

static void write_head(struct change *c)
{
    row_of_id(c, CATALOG_KIND_HEAD, 0);
    buf_clear(&c->value);
    catalog_put_head(&c->head, &c->value);
    put_row(c);
}

static void write_node(struct change *c, const struct catalog_node *n)
{
    row_of_id(c, CATALOG_KIND_NODE, n->id);
    buf_clear(&c->value);
    catalog_put_node(n, &c->value);
    put_row(c);
}

static void write_retention(struct change *c, const struct catalog_table *t)
{
    row_of_id(c, CATALOG_KIND_RETENTION, t->id);
    buf_clear(&c->value);
    catalog_put_retention(t, &c->value);
    put_row(c);
}

static void write_partition(struct change *c, const struct catalog_partition *p)
{
    row_of_id(c, CATALOG_KIND_PARTITION, p->id);
    buf_clear(&c->value);
    catalog_put_partition(p, &c->value);
    put_row(c);
}

/* ST_NOT_FOUND leaves the head empty: before CATALOG_INIT. */
static enum status read_head(struct change *c)
{
    struct bytes value;
    row_of_id(c, CATALOG_KIND_HEAD, 0);
    enum status st = c->view->get(c->view->ctx, buf_view(&c->key), &value);
    if (st != ST_OK) return st;
    struct reader r = reader_of(value);
    return catalog_get_head(&r, &c->head) ? ST_OK : ST_CORRUPT;
}

static enum status read_node(struct change *c, uint64_t id, struct catalog_node *out)
{
    struct bytes value;
    row_of_id(c, CATALOG_KIND_NODE, id);
    enum status st = c->view->get(c->view->ctx, buf_view(&c->key), &value);
    if (st != ST_OK) return st;
    struct reader r = reader_of(value);
    return catalog_get_node(&r, out) ? ST_OK : ST_CORRUPT;
}

/* Is a copy of some partition on the node still, if only to be removed? */
static enum status holds_copies(struct change *c, uint64_t node_id, bool *out)
{
    *out = false;
    for (uint64_t id = 1; id < c->head.next_partition; id++) {
        struct catalog_partition p;
        struct bytes value;
        row_of_id(c, CATALOG_KIND_PARTITION, id);
        enum status st = c->view->get(c->view->ctx, buf_view(&c->key), &value);
        if (st == ST_NOT_FOUND) continue;
        if (st != ST_OK) return st;
        struct reader r = reader_of(value);
        if (!catalog_get_partition(&r, &p)) return ST_CORRUPT;
        for (size_t i = 0; i < p.count; i++) *out = *out || store_addr_node(p.replicas[i].store) == node_id;
    }
    return ST_OK;
}

static enum status malformed(struct change *c)
{
    result_error(c->out, "ERR malformed catalog op");
    return ST_OK;
}

static enum status run_init(struct change *c, struct reader *r)
{
    struct catalog_node node = {.id = 1, .epoch = 1, .state = NODE_UP};
    if (c->head.epoch != 0) {
        result_error(c->out, "EXISTS the catalog is there already");
        return ST_OK;
    }
    struct bytes cluster = reader_bytes(r, 16), uuid = reader_bytes(r, 16);
    bool text = read_text(r, node.address, sizeof node.address);
    struct lineage lineage;
    node.stores = reader_u16(r);
    bool lineage_read = lineage_get(r, &lineage);
    uint32_t partitions = reader_u32(r);
    uint8_t replicas = reader_u8(r);
    uint64_t retention_ms = reader_left(r) != 0 ? reader_u64(r) : 0;
    if (!text || !lineage_read || !reader_done(r) || retention_ms > CATALOG_RETENTION_MAX_MS || node.stores == 0 ||
        node.stores > CATALOG_STORES_MAX || partitions == 0 || partitions > SLOTS || replicas == 0 ||
        replicas > RAFT_MEMBERS_MAX)
        return malformed(c);
    node.incarnation = lineage_now(&lineage);
    memcpy(node.uuid, uuid.p, 16);
    memcpy(c->head.cluster_id, cluster.p, 16);
    c->head.epoch = 1;
    c->head.next_node = 2;
    write_node(c, &node);
    struct catalog_table table = {.epoch = 1, .id = TABLE_DEFAULT, .replicas = replicas, .name = "default"};
    row_of_id(c, CATALOG_KIND_TABLE, table.id);
    buf_clear(&c->value);
    catalog_put_table(&table, &c->value);
    put_row(c);
    table.retention_ms = retention_ms;
    table.retention_epoch = 1;
    if (retention_ms != 0) write_retention(c, &table);
    for (uint32_t i = 0; i <= partitions; i++) { /* 0 is the meta partition, the others divide the slots evenly */
        struct catalog_partition p = {.id = PARTITION_META + i, .epoch = 1, .count = 1};
        p.table = i == 0 ? TABLE_CATALOG : TABLE_DEFAULT;
        p.slot_lo = i == 0 ? 0 : (uint32_t)((uint64_t)(i - 1) * SLOTS / partitions);
        p.slot_hi = i == 0 ? SLOTS : (uint32_t)((uint64_t)i * SLOTS / partitions);
        p.replicas[0] = (struct catalog_replica){.replica_id = 1 + i,
                                                 .store = store_addr(1, (uint16_t)(i % node.stores)),
                                                 .roles = RAFT_VOTER,
                                                 .initial = true};
        write_partition(c, &p);
    }
    c->head.next_partition = c->head.next_replica = 2 + partitions;
    write_head(c);
    result_int(c->out, 1);
    return ST_OK;
}

static enum status run_join(struct change *c, struct reader *r)
{
    struct catalog_node node = {.state = NODE_UP};
    struct bytes uuid = reader_bytes(r, 16);
    bool text = read_text(r, node.address, sizeof node.address);
    struct lineage lineage;
    node.stores = reader_u16(r);
    if (!text || !lineage_get(r, &lineage) || !reader_done(r) || node.stores == 0 || node.stores > CATALOG_STORES_MAX)
        return malformed(c);
    memcpy(node.uuid, uuid.p, 16);
    node.incarnation = lineage_now(&lineage);
    for (uint64_t id = 1; id < c->head.next_node; id++) { /* nodes are few, joins rare */
        struct catalog_node old;
        enum status st = read_node(c, id, &old);
        if (st == ST_NOT_FOUND) continue;
        if (st != ST_OK) return st;
        if (memcmp(old.uuid, node.uuid, 16) != 0) {
            if (old.state == NODE_UP && strcmp(old.address, node.address) == 0) {
                result_error(c->out,
                             "EXISTS node %llu has the address %s already: if it is lost for good, remove it first "
                             "(cairn node remove %llu)",
                             (unsigned long long)id, node.address, (unsigned long long)id);
                return ST_OK;
            }
            continue;
        }
        bool needed = false; /* a removed node is, until its groups have left it behind */
        if (old.state == NODE_REMOVED && (st = holds_copies(c, id, &needed)) != ST_OK) return st;
        if (old.state == NODE_REMOVED && !needed) {
            result_error(c->out,
                         "DENIED node %llu was removed from this cluster: start it with an empty data directory",
                         (unsigned long long)id);
            return ST_OK;
        }
        enum lineage_verdict v = lineage_compare(&lineage, old.incarnation);
        if (lineage_fenced(v)) {
            char why[500];
            lineage_why(&lineage, old.incarnation, why, sizeof why);
            result_error(c->out, "DENIED node %llu is fenced off: %s", (unsigned long long)id, why);
            return ST_OK;
        }
        if (v != LINEAGE_SAME || strcmp(old.address, node.address) != 0) {
            old.incarnation = node.incarnation;
            memcpy(old.address, node.address, sizeof old.address);
            old.epoch = ++c->head.epoch;
            write_node(c, &old);
            write_head(c);
        }
        result_int(c->out, (int64_t)id);
        return ST_OK;
    }
    if (c->head.next_node > CATALOG_NODES_MAX) {
        result_error(c->out, "ERR this cluster has had %u nodes, which is the most it can", CATALOG_NODES_MAX);
        return ST_OK;
    }
    node.id = c->head.next_node++;
    node.epoch = ++c->head.epoch;
    write_node(c, &node);
    write_head(c);
    result_int(c->out, (int64_t)node.id);
    return ST_OK;
}

static enum status run_node_state(struct change *c, struct reader *r)
{
    uint64_t id = reader_u64(r);
    uint8_t state = reader_u8(r);
    struct catalog_node node;
    if (!reader_done(r) || (state != NODE_UP && state != NODE_REMOVED)) return malformed(c);
    enum status st = read_node(c, id, &node);
    if (st == ST_NOT_FOUND) {
        result_error(c->out, "NOTFOUND there is no node %llu", (unsigned long long)id);
        return ST_OK;
    }
    if (st != ST_OK) return st;
    if (node.state == NODE_REMOVED && state == NODE_UP) {
        result_error(c->out, "DENIED node %llu was removed: that is for ever", (unsigned long long)id);
        return ST_OK;
    }
    node.state = state;
    node.epoch = ++c->head.epoch;
    write_node(c, &node);
    write_head(c);
    result_int(c->out, (int64_t)c->head.epoch);
    return ST_OK;
}

static enum status run_partition(struct change *c, struct reader *r)
{
    uint64_t expected = reader_u64(r);
    struct catalog_partition p, old;
    struct bytes value;
    if (!catalog_get_partition(r, &p) || !reader_done(r)) return malformed(c);
    row_of_id(c, CATALOG_KIND_PARTITION, p.id);
    enum status st = c->view->get(c->view->ctx, buf_view(&c->key), &value);
    if (st == ST_NOT_FOUND) return malformed(c);
    if (st != ST_OK) return st;
    struct reader in = reader_of(value);
    if (!catalog_get_partition(&in, &old)) return ST_CORRUPT;
    if (old.epoch != expected) {
        result_error(c->out, "STALE partition %llu is at epoch %llu, the plan was made at %llu",
                     (unsigned long long)p.id, (unsigned long long)old.epoch, (unsigned long long)expected);
        return ST_OK;
    }
    if (p.table != old.table || p.slot_lo != old.slot_lo || p.slot_hi != old.slot_hi) return malformed(c);
    /* Ids are given here, in order, and never again: new replicas stand at the end. */
    for (size_t i = 0; i < p.count; i++) {
        if (p.replicas[i].replica_id == 0) p.replicas[i].replica_id = c->head.next_replica++;
        else if (p.replicas[i].replica_id >= c->head.next_replica) return malformed(c);
    }
    p.epoch = ++c->head.epoch;
    write_partition(c, &p);
    write_head(c);
    result_int(c->out, (int64_t)c->head.epoch);
    return ST_OK;
}

static enum status run_setting(struct change *c, struct reader *r)
{
    struct catalog_setting s;
    if (!catalog_get_setting(r, &s) || !reader_done(r)) return malformed(c);
    s.epoch = ++c->head.epoch;
    buf_clear(&c->key);
    buf_clear(&c->value);
    catalog_row(&c->key, CATALOG_KIND_SETTING, bytes_str(s.name));
    catalog_put_setting(&s, &c->value);
    put_row(c);
    write_head(c);
    result_int(c->out, (int64_t)c->head.epoch);
    return ST_OK;
}

static enum status run_retention(struct change *c, struct reader *r)
{
    struct catalog_table table = {.id = reader_u32(r)};
    table.retention_ms = reader_u64(r);
    struct bytes unused;
    if (!reader_done(r) || table.retention_ms > CATALOG_RETENTION_MAX_MS) return malformed(c);
    row_of_id(c, CATALOG_KIND_TABLE, table.id);
    enum status st = c->view->get(c->view->ctx, buf_view(&c->key), &unused);
    if (st == ST_NOT_FOUND) {
        result_error(c->out, "NOTFOUND there is no table %u", table.id);
        return ST_OK;
    }
    if (st != ST_OK) return st;
    table.retention_epoch = ++c->head.epoch;
    write_retention(c, &table);
    write_head(c);
    result_int(c->out, (int64_t)c->head.epoch);
    return ST_OK;
}

static enum status run(const struct op *op, struct op_view *view, struct buf *out)
{
    struct change c = {.view = view, .out = out};
    struct reader r = reader_of(op->body);
    enum status st = read_head(&c);
    if (st == ST_NOT_FOUND) st = ST_OK;
    if (st == ST_OK && op->opcode != CATALOG_INIT && op->opcode != CATALOG_READ && c.head.epoch == 0) {
        result_error(out, "UNAVAILABLE not executed: the cluster is not initialised yet");
    } else if (st == ST_OK) {
        switch (op->opcode) {
        case CATALOG_INIT: st = run_init(&c, &r); break;
        case CATALOG_JOIN: st = run_join(&c, &r); break;
        case CATALOG_NODE_STATE: st = run_node_state(&c, &r); break;
        case CATALOG_PARTITION: st = run_partition(&c, &r); break;
        case CATALOG_SETTING: st = run_setting(&c, &r); break;
        case CATALOG_RETENTION: st = run_retention(&c, &r); break;
        case CATALOG_READ: result_int(out, (int64_t)c.head.epoch); break;
        default: st = ST_VERSION; break;
        }
    }
    buf_deinit(&c.key);
    buf_deinit(&c.id);
    buf_deinit(&c.value);
    return st;
}

const struct op_model catalog_model = {.name = "catalog", .run = run};
