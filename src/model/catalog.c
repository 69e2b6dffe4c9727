/* catalog.c - the catalog's copy in memory, and the encoding of its objects.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/catalog.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/catalog_internal.h"
#include "table/place.h"

struct catalog *catalog_new(void)
{
    struct catalog *c = mem_zalloc(sizeof *c);
    c->refs = 1;
    c->next_node = c->next_replica = c->next_partition = 1;
    return c;
}

struct catalog *catalog_ref(struct catalog *c)
{
    __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void catalog_unref(struct catalog *c)
{
    if (c == NULL || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    mem_free(c->nodes);
    mem_free(c->tables);
    mem_free(c->partitions);
    mem_free(c->settings);
    mem_free(c);
}

/* Other shards may be counting references of c meanwhile: all but the count is copied. */
struct catalog *catalog_copy(const struct catalog *c)
{
    enum { SKIP = offsetof(struct catalog, cluster_id) };
    struct catalog *n = mem_alloc(sizeof *n);
    memcpy((uint8_t *)n + SKIP, (const uint8_t *)c + SKIP, sizeof *n - SKIP);
    n->refs = 1;
    n->nodes = mem_copy(c->nodes, c->node_count * sizeof *c->nodes);
    n->tables = mem_copy(c->tables, c->table_count * sizeof *c->tables);
    n->partitions = mem_copy(c->partitions, c->partition_count * sizeof *c->partitions);
    n->settings = mem_copy(c->settings, c->setting_count * sizeof *c->settings);
    return n;
}

const struct catalog_node *catalog_node(const struct catalog *c, uint64_t id)
{
    for (size_t i = 0; i < c->node_count; i++)
        if (c->nodes[i].id == id) return &c->nodes[i];
    return NULL;
}

const struct catalog_partition *catalog_partition(const struct catalog *c, uint64_t id)
{
    /* They are in the order of table and slot, in which a table's partitions got their ids, too, when it was made. */
    size_t lo = 0, hi = c->partition_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (c->partitions[mid].id < id) lo = mid + 1;
        else hi = mid;
    }
    if (lo < c->partition_count && c->partitions[lo].id == id) return &c->partitions[lo];
    for (size_t i = 0; i < c->partition_count; i++)
        if (c->partitions[i].id == id) return &c->partitions[i];
    return NULL;
}

const struct catalog_partition *catalog_partition_of(const struct catalog *c, uint32_t table, uint16_t slot)
{
    size_t lo = 0, hi = c->partition_count;
    while (lo < hi) { /* the first partition that ends after the slot */
        size_t mid = lo + (hi - lo) / 2;
        const struct catalog_partition *p = &c->partitions[mid];
        if (p->table < table || (p->table == table && p->slot_hi <= slot)) lo = mid + 1;
        else hi = mid;
    }
    if (lo == c->partition_count || c->partitions[lo].table != table || c->partitions[lo].slot_lo > slot) return NULL;
    return &c->partitions[lo];
}

const struct catalog_table *catalog_table(const struct catalog *c, uint32_t id)
{
    for (size_t i = 0; i < c->table_count; i++)
        if (c->tables[i].id == id) return &c->tables[i];
    return NULL;
}

void catalog_wanted(const struct catalog_partition *p, struct raft_config *out)
{
    *out = (struct raft_config){.epoch = p->epoch, .count = p->count};
    for (size_t i = 0; i < p->count; i++)
        out->members[i] = (struct raft_member){p->replicas[i].replica_id, p->replicas[i].store, p->replicas[i].roles};
}

bool catalog_first_config(const struct catalog_partition *p, uint64_t replica_id, struct raft_config *out)
{
    bool found = false;
    *out = (struct raft_config){.epoch = 1};
    for (size_t i = 0; i < p->count; i++) {
        if (!p->replicas[i].initial) continue;
        out->members[out->count++] = (struct raft_member){p->replicas[i].replica_id, p->replicas[i].store, RAFT_VOTER};
        found = found || p->replicas[i].replica_id == replica_id;
    }
    return found;
}

/* ---- encoding ---- */

static void put_text(struct buf *out, const char *s) { buf_put_lp(out, bytes_str(s)); }

static bool get_text(struct reader *r, char *out, size_t max)
{
    struct bytes b = reader_lp(r);
    if (r->failed || b.n >= max || memchr(b.p, 0, b.n) != NULL) return false;
    if (b.n != 0) memcpy(out, b.p, b.n);
    out[b.n] = 0;
    return true;
}

void catalog_put_head(const struct catalog *c, struct buf *out)
{
    buf_put(out, c->cluster_id, 16);
    buf_put_u64(out, c->epoch);
    buf_put_u64(out, c->next_node);
    buf_put_u64(out, c->next_replica);
    buf_put_u64(out, c->next_partition);
}

bool catalog_get_head(struct reader *r, struct catalog *c)
{
    struct bytes id = reader_bytes(r, 16);
    if (id.n == 16) memcpy(c->cluster_id, id.p, 16);
    c->epoch = reader_u64(r);
    c->next_node = reader_u64(r);
    c->next_replica = reader_u64(r);
    c->next_partition = reader_u64(r);
    return !r->failed;
}

void catalog_put_node(const struct catalog_node *n, struct buf *out)
{
    buf_put_u64(out, n->id);
    buf_put_u64(out, n->epoch);
    buf_put_u8(out, n->state);
    buf_put_u16(out, n->stores);
    buf_put_u64(out, n->incarnation.boot);
    buf_put_u64(out, n->incarnation.id);
    buf_put(out, n->uuid, 16);
    put_text(out, n->address);
}

bool catalog_get_node(struct reader *r, struct catalog_node *n)
{
    *n = (struct catalog_node){
        .id = reader_u64(r), .epoch = reader_u64(r), .state = reader_u8(r), .stores = reader_u16(r)};
    n->incarnation.boot = reader_u64(r);
    n->incarnation.id = reader_u64(r);
    struct bytes uuid = reader_bytes(r, 16);
    if (uuid.n == 16) memcpy(n->uuid, uuid.p, 16);
    return get_text(r, n->address, sizeof n->address) && !r->failed && n->id != 0 && n->id < UINT64_C(1) << 48 &&
           n->stores > 0 && n->stores <= CATALOG_STORES_MAX;
}

void catalog_put_table(const struct catalog_table *t, struct buf *out)
{
    buf_put_u64(out, t->epoch);
    buf_put_u32(out, t->id);
    buf_put_u8(out, t->replicas);
    put_text(out, t->name);
}

bool catalog_get_table(struct reader *r, struct catalog_table *t)
{
    *t = (struct catalog_table){.epoch = reader_u64(r), .id = reader_u32(r), .replicas = reader_u8(r)};
    return get_text(r, t->name, sizeof t->name) && !r->failed && t->replicas > 0 && t->replicas <= RAFT_MEMBERS_MAX;
}

void catalog_put_retention(const struct catalog_table *t, struct buf *out)
{
    buf_put_u64(out, t->retention_epoch);
    buf_put_u32(out, t->id);
    buf_put_u64(out, t->retention_ms);
}

bool catalog_get_retention(struct reader *r, struct catalog_table *t)
{
    *t = (struct catalog_table){0};
    t->retention_epoch = reader_u64(r);
    t->id = reader_u32(r);
    t->retention_ms = reader_u64(r);
    return !r->failed && t->retention_epoch != 0 && t->retention_ms <= CATALOG_RETENTION_MAX_MS;
}

void catalog_put_partition(const struct catalog_partition *p, struct buf *out)
{
    buf_put_u64(out, p->id);
    buf_put_u64(out, p->epoch);
    buf_put_u32(out, p->table);
    buf_put_u32(out, p->slot_lo);
    buf_put_u32(out, p->slot_hi);
    buf_put_u64(out, p->preferred);
    buf_put_u8(out, p->count);
    for (size_t i = 0; i < p->count; i++) {
        buf_put_u64(out, p->replicas[i].replica_id);
        buf_put_u64(out, p->replicas[i].store);
        buf_put_u8(out, p->replicas[i].roles);
        buf_put_u8(out, p->replicas[i].initial);
    }
}

bool catalog_get_partition(struct reader *r, struct catalog_partition *p)
{
    *p = (struct catalog_partition){.id = reader_u64(r),
                                    .epoch = reader_u64(r),
                                    .table = reader_u32(r),
                                    .slot_lo = reader_u32(r),
                                    .slot_hi = reader_u32(r),
                                    .preferred = reader_u64(r),
                                    .count = reader_u8(r)};
    if (r->failed || p->count > RAFT_MEMBERS_MAX || p->slot_lo >= p->slot_hi || p->slot_hi > SLOTS || p->id == 0)
        return false;
    for (size_t i = 0; i < p->count; i++) {
        struct catalog_replica *m = &p->replicas[i];
        *m = (struct catalog_replica){reader_u64(r), reader_u64(r), reader_u8(r), reader_u8(r) != 0};
        if (m->roles != 0 && m->roles != RAFT_VOTER && m->roles != RAFT_LEARNER) return false;
        if (i > 0 && m->replica_id != 0 && m->replica_id <= p->replicas[i - 1].replica_id) return false;
    }
    return !r->failed;
}

void catalog_put_setting(const struct catalog_setting *s, struct buf *out)
{
    buf_put_u64(out, s->epoch);
    put_text(out, s->name);
    put_text(out, s->value);
}

bool catalog_get_setting(struct reader *r, struct catalog_setting *s)
{
    *s = (struct catalog_setting){.epoch = reader_u64(r)};
    return get_text(r, s->name, sizeof s->name) && get_text(r, s->value, sizeof s->value) && s->name[0] != 0;
}

/* ---- putting objects in place ---- */

/* Makes room at `at` in an array of `count` elements and returns the place. */
static void *insert_at(void **array, size_t *count, size_t size, size_t at)
{
    *array = mem_realloc(*array, (*count + 1) * size);
    char *p = (char *)*array + at * size;
    memmove(p + size, p, (*count - at) * size);
    (*count)++;
    return p;
}

void catalog_set_node(struct catalog *c, const struct catalog_node *n)
{
    size_t i = 0;
    while (i < c->node_count && c->nodes[i].id < n->id) i++;
    if (i == c->node_count || c->nodes[i].id != n->id)
        insert_at((void **)&c->nodes, &c->node_count, sizeof *c->nodes, i);
    c->nodes[i] = *n;
}

void catalog_set_table(struct catalog *c, const struct catalog_table *t)
{
    size_t i = 0;
    while (i < c->table_count && c->tables[i].id < t->id) i++;
    if (i == c->table_count || c->tables[i].id != t->id)
        memset(insert_at((void **)&c->tables, &c->table_count, sizeof *c->tables, i), 0, sizeof *c->tables);
    struct catalog_table old = c->tables[i];
    c->tables[i] = *t;
    c->tables[i].retention_ms = old.retention_ms;
    c->tables[i].retention_epoch = old.retention_epoch;
}

bool catalog_set_retention(struct catalog *c, const struct catalog_table *t)
{
    for (size_t i = 0; i < c->table_count; i++) {
        if (c->tables[i].id != t->id) continue;
        c->tables[i].retention_ms = t->retention_ms;
        c->tables[i].retention_epoch = t->retention_epoch;
        return true;
    }
    return false;
}

void catalog_set_partition(struct catalog *c, const struct catalog_partition *p)
{
    size_t i = 0;
    for (; i < c->partition_count; i++) {
        const struct catalog_partition *q = &c->partitions[i];
        if (q->table > p->table || (q->table == p->table && q->slot_lo >= p->slot_lo)) break;
    }
    if (i == c->partition_count || c->partitions[i].id != p->id)
        insert_at((void **)&c->partitions, &c->partition_count, sizeof *c->partitions, i);
    c->partitions[i] = *p;
}

void catalog_set_setting(struct catalog *c, const struct catalog_setting *s)
{
    size_t i = 0;
    while (i < c->setting_count && strcmp(c->settings[i].name, s->name) < 0) i++;
    if (i == c->setting_count || strcmp(c->settings[i].name, s->name) != 0)
        insert_at((void **)&c->settings, &c->setting_count, sizeof *c->settings, i);
    c->settings[i] = *s;
}

/* ---- copies ---- */

#define DELTA_FORMAT 1

void catalog_encode(const struct catalog *c, uint64_t since, struct buf *out)
{
    buf_put_u8(out, DELTA_FORMAT);
    buf_put_u64(out, since);
    catalog_put_head(c, out);
    for (size_t i = 0; i < c->node_count; i++)
        if (c->nodes[i].epoch > since) {
            buf_put_u8(out, CATALOG_KIND_NODE);
            catalog_put_node(&c->nodes[i], out);
        }
    for (size_t i = 0; i < c->table_count; i++)
        if (c->tables[i].epoch > since) {
            buf_put_u8(out, CATALOG_KIND_TABLE);
            catalog_put_table(&c->tables[i], out);
        }
    for (size_t i = 0; i < c->table_count; i++) /* behind all tables, so that each is there when its retention comes */
        if (c->tables[i].retention_epoch > since) {
            buf_put_u8(out, CATALOG_KIND_RETENTION);
            catalog_put_retention(&c->tables[i], out);
        }
    for (size_t i = 0; i < c->partition_count; i++)
        if (c->partitions[i].epoch > since) {
            buf_put_u8(out, CATALOG_KIND_PARTITION);
            catalog_put_partition(&c->partitions[i], out);
        }
    for (size_t i = 0; i < c->setting_count; i++)
        if (c->settings[i].epoch > since) {
            buf_put_u8(out, CATALOG_KIND_SETTING);
            catalog_put_setting(&c->settings[i], out);
        }
}

static bool get_object(struct catalog *c, struct reader *r, uint8_t kind)
{
    struct catalog_node node;
    struct catalog_table table;
    struct catalog_partition partition;
    struct catalog_setting setting;
    switch (kind) {
    case CATALOG_KIND_NODE:
        if (!catalog_get_node(r, &node) || c->node_count >= CATALOG_NODES_MAX) return false;
        catalog_set_node(c, &node);
        return true;
    case CATALOG_KIND_TABLE:
        if (!catalog_get_table(r, &table)) return false;
        catalog_set_table(c, &table);
        return true;
    case CATALOG_KIND_RETENTION: return catalog_get_retention(r, &table) && catalog_set_retention(c, &table);
    case CATALOG_KIND_PARTITION:
        if (!catalog_get_partition(r, &partition)) return false;
        catalog_set_partition(c, &partition);
        return true;
    case CATALOG_KIND_SETTING:
        if (!catalog_get_setting(r, &setting)) return false;
        catalog_set_setting(c, &setting);
        return true;
    default: return false;
    }
}

enum status catalog_merge(struct catalog *c, struct bytes delta)
{
    struct reader r = reader_of(delta);
    uint8_t format = reader_u8(&r);
    uint64_t since = reader_u64(&r);
    if (r.failed) return ST_CORRUPT;
    if (format != DELTA_FORMAT) return ST_VERSION;
    if (since > c->epoch) return ST_STALE;
    struct catalog head = {0};
    if (!catalog_get_head(&r, &head)) return ST_CORRUPT;
    if (head.epoch <= c->epoch) return ST_OK;
    while (reader_left(&r) > 0)
        if (!get_object(c, &r, reader_u8(&r))) return ST_CORRUPT;
    if (!reader_done(&r)) return ST_CORRUPT;
    memcpy(c->cluster_id, head.cluster_id, 16);
    c->epoch = head.epoch;
    c->next_node = head.next_node;
    c->next_replica = head.next_replica;
    c->next_partition = head.next_partition;
    return ST_OK;
}

/* ---- rows ---- */

void catalog_row(struct buf *out, enum catalog_kind kind, struct bytes id)
{
    row_head_at(out, TABLE_CATALOG, 0, kind, id);
}

struct rows_out {
    struct buf key, value;
    void (*each)(void *ctx, struct bytes row, struct bytes value);
    void *ctx;
};

static struct buf *rows_next(struct rows_out *o, enum catalog_kind kind, struct bytes id)
{
    buf_clear(&o->key);
    buf_clear(&o->value);
    catalog_row(&o->key, kind, id);
    return &o->value;
}

static struct buf *rows_next_number(struct rows_out *o, enum catalog_kind kind, uint64_t id)
{
    uint8_t be[8];
    for (int i = 0; i < 8; i++) be[i] = (uint8_t)(id >> (56 - 8 * i));
    return rows_next(o, kind, bytes_of(be, 8));
}

static void rows_give(struct rows_out *o) { o->each(o->ctx, buf_view(&o->key), buf_view(&o->value)); }

void catalog_rows(const struct catalog *c, void (*each)(void *ctx, struct bytes row, struct bytes value), void *ctx)
{
    struct rows_out o = {.each = each, .ctx = ctx};
    catalog_put_head(c, rows_next_number(&o, CATALOG_KIND_HEAD, 0));
    rows_give(&o);
    for (size_t i = 0; i < c->node_count; i++) {
        catalog_put_node(&c->nodes[i], rows_next_number(&o, CATALOG_KIND_NODE, c->nodes[i].id));
        rows_give(&o);
    }
    for (size_t i = 0; i < c->table_count; i++) {
        catalog_put_table(&c->tables[i], rows_next_number(&o, CATALOG_KIND_TABLE, c->tables[i].id));
        rows_give(&o);
        if (c->tables[i].retention_epoch == 0) continue;
        catalog_put_retention(&c->tables[i], rows_next_number(&o, CATALOG_KIND_RETENTION, c->tables[i].id));
        rows_give(&o);
    }
    for (size_t i = 0; i < c->partition_count; i++) {
        catalog_put_partition(&c->partitions[i], rows_next_number(&o, CATALOG_KIND_PARTITION, c->partitions[i].id));
        rows_give(&o);
    }
    for (size_t i = 0; i < c->setting_count; i++) {
        catalog_put_setting(&c->settings[i], rows_next(&o, CATALOG_KIND_SETTING, bytes_str(c->settings[i].name)));
        rows_give(&o);
    }
    buf_deinit(&o.key);
    buf_deinit(&o.value);
}

void catalog_range(struct buf *lo, struct buf *hi) { row_range(lo, hi, TABLE_CATALOG, 0, SLOTS); }

enum status catalog_load_row(struct catalog *c, struct bytes row_key, struct bytes value)
{
    struct row_parts p;
    struct reader r = reader_of(value);
    if (!row_parse(row_key, &p) || p.table != TABLE_CATALOG || p.space != SPACE_HEAD) return ST_CORRUPT;
    if (p.hash48 == CATALOG_KIND_HEAD) return catalog_get_head(&r, c) && reader_done(&r) ? ST_OK : ST_CORRUPT;
    return get_object(c, &r, (uint8_t)p.hash48) && reader_done(&r) ? ST_OK : ST_CORRUPT;
}
