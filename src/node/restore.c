/* restore.c - the data directory of a new cluster of one node, made of a checkpoint.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The identity is written last: until then the directory is no node's. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/control.h"
#include "node/checkpoint.h"
#include "node/identity.h"
#include "replica/restore.h"
#include "table/place.h"

#define COPY_BYTES (1u << 20)
#define FILES_MAX  65536u

struct restoring {
    struct env *env;
    const char *from, *to;
    struct checkpoint_info info;
    struct catalog *old, *new;
    struct identity identity;
    struct restore_partition *parts; /* of all stores, in the catalog's order */
    struct error *err;
};

/* ---- files ---- */

static enum status copy_file(struct env *env, const char *from, const char *to, struct error *err)
{
    struct env_file *in = NULL, *out = NULL;
    uint64_t size = 0;
    uint8_t *part = mem_alloc(COPY_BYTES);
    enum status st = env_file_open(env, from, ENV_READ, &in, err);
    if (st == ST_OK) st = env_file_size(in, &size, err);
    if (st == ST_OK) st = env_file_open(env, to, ENV_CREATE, &out, err);
    for (uint64_t at = 0; at < size && st == ST_OK; at += COPY_BYTES) {
        size_t n = (size_t)MIN(COPY_BYTES, size - at);
        st = env_file_read(in, at, part, n, err);
        if (st == ST_OK) st = env_file_write(out, at, part, n, err);
    }
    if (st == ST_OK) st = env_file_sync(out, err);
    env_file_close(in);
    env_file_close(out);
    mem_free(part);
    return st;
}

static void on_name(void *ctx, const char *name) { buf_put_lp(ctx, bytes_str(name)); }

static enum status copy_engine(struct restoring *r, uint16_t store)
{
    char from[700], to[700], a[1000], b[1000];
    struct buf names = {0};
    snprintf(from, sizeof from, "%s/engine-%u", r->from, store);
    snprintf(to, sizeof to, "%s/store-%u/engine", r->to, store);
    enum status st = env_dir_create(r->env, to, r->err);
    if (st == ST_OK) st = env_dir_list(r->env, from, on_name, &names, r->err);
    struct reader in = reader_of(buf_view(&names));
    while (reader_left(&in) != 0 && st == ST_OK) {
        struct bytes name = reader_lp(&in);
        snprintf(a, sizeof a, "%s/%.*s", from, (int)name.n, (const char *)name.p);
        snprintf(b, sizeof b, "%s/%.*s", to, (int)name.n, (const char *)name.p);
        st = copy_file(r->env, a, b, r->err);
    }
    if (st == ST_OK) st = env_dir_sync(r->env, to, r->err);
    snprintf(to, sizeof to, "%s/store-%u", r->to, store);
    if (st == ST_OK) st = env_dir_sync(r->env, to, r->err);
    buf_deinit(&names);
    return st;
}

/* ---- the catalog ---- */

static void make_identity(struct restoring *r)
{
    r->identity = (struct identity){.node_id = 1, .founder = true, .stores = r->info.stores};
    env_random(r->env, r->identity.uuid, 16);
    env_random(r->env, r->identity.cluster_id, 16);
    for (uint16_t i = 0; i < r->info.stores; i++) env_random(r->env, r->identity.store_ids[i], 16);
}

/* The old one with this node alone, and one copy of everything where it lies already. */
static enum status make_catalog(struct restoring *r)
{
    struct catalog *c = r->new = catalog_copy(r->old);
    uint64_t epoch = ++c->epoch;
    memcpy(c->cluster_id, r->identity.cluster_id, 16);
    c->nodes = mem_realloc(c->nodes, sizeof *c->nodes);
    c->node_count = 1;
    c->next_node = 2;
    c->nodes[0] = (struct catalog_node){
        .id = 1, .epoch = epoch, .state = NODE_UP, .stores = r->info.stores, .address = "restored:0"};
    memcpy(c->nodes[0].uuid, r->identity.uuid, 16);
    for (size_t i = 0; i < c->table_count; i++) {
        c->tables[i].epoch = epoch;
        if (c->tables[i].retention_epoch != 0) c->tables[i].retention_epoch = epoch;
    }
    for (size_t i = 0; i < c->setting_count; i++) c->settings[i].epoch = epoch;
    r->parts = mem_zalloc((c->partition_count + 1) * sizeof *r->parts);
    for (size_t i = 0; i < c->partition_count; i++) {
        struct catalog_partition *p = &c->partitions[i];
        const struct catalog_replica *here = NULL;
        for (size_t k = 0; k < p->count; k++)
            if (store_addr_node(p->replicas[k].store) == r->info.node_id) here = &p->replicas[k];
        if (here == NULL)
            return error_set(
                r->err, ST_NOT_FOUND,
                "node %llu had no copy of partition %llu when the checkpoint was made: restore from another node's",
                (unsigned long long)r->info.node_id, (unsigned long long)p->id);
        uint16_t store = store_addr_store(here->store);
        if (store >= r->info.stores || (p->id == PARTITION_META && store != 0))
            return error_set(r->err, ST_CORRUPT, "partition %llu is on store %u", (unsigned long long)p->id, store);
        r->parts[i] = (struct restore_partition){.partition_id = p->id,
                                                 .old_replica_id = here->replica_id,
                                                 .new_replica_id = c->next_replica++,
                                                 .table = p->table,
                                                 .slot_lo = p->slot_lo,
                                                 .slot_hi = p->slot_hi,
                                                 .store = store_addr(1, store)};
        p->epoch = epoch;
        p->preferred = 0;
        p->count = 1;
        p->replicas[0] = (struct catalog_replica){r->parts[i].new_replica_id, r->parts[i].store, RAFT_VOTER, true};
    }
    return ST_OK;
}

static void give_catalog(void *ctx, void (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    catalog_rows(ctx, each, each_ctx);
}

/* ---- all of it ---- */

static enum status restore_store(struct restoring *r, uint16_t store, struct restore_report *out)
{
    char dir[700];
    size_t n = 0, count = r->new->partition_count;
    struct restore_partition *mine = mem_zalloc((count + 1) * sizeof *mine);
    for (size_t i = 0; i < count; i++) { /* by table and slot, as the catalog has them */
        if (store_addr_store(r->parts[i].store) != store) continue;
        mine[n] = r->parts[i];
        if (mine[n].table == TABLE_CATALOG) {
            mine[n].rows = give_catalog;
            mine[n].ctx = r->new;
        }
        n++;
    }
    enum status st = copy_engine(r, store);
    snprintf(dir, sizeof dir, "%s/store-%u/engine", r->to, store);
    if (st == ST_OK) st = restore_engine(r->env, dir, mine, n, r->err);
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        out->partitions++;
        out->rows += mine[i].out_rows;
        out->keys += mine[i].table == TABLE_CATALOG ? 0 : mine[i].out_keys;
    }
    mem_free(mine);
    return st;
}

static enum status check_empty(struct env *env, const char *dir, struct error *err)
{
    struct buf names = {0};
    enum status st = env_exists(env, dir) ? env_dir_list(env, dir, on_name, &names, err) : ST_OK;
    if (st == ST_OK && names.n != 0)
        st = error_set(err, ST_EXISTS, "'%s' is not empty: give a new directory to restore into", dir);
    buf_deinit(&names);
    return st;
}

enum status checkpoint_restore(struct env *env, const char *from, const char *to, struct restore_report *out,
                               struct error *err)
{
    struct restoring r = {.env = env, .from = from, .to = to, .err = err};
    *out = (struct restore_report){0};
    enum status st = checkpoint_info_load(env, from, &r.info, err);
    if (st == ST_OK) st = control_load(env, from, &r.old, err);
    if (st == ST_NOT_FOUND && r.old == NULL && err->status == ST_OK) error_set(err, st, "'%s' has no catalog", from);
    if (st == ST_OK) st = check_empty(env, to, err);
    if (st == ST_OK) st = env_dir_create(env, to, err);
    if (st == ST_OK) make_identity(&r);
    if (st == ST_OK) st = make_catalog(&r);
    for (uint16_t i = 0; st == ST_OK && i < r.info.stores; i++) st = restore_store(&r, i, out);
    if (st == ST_OK) st = control_save(env, to, r.new, err);
    if (st == ST_OK) st = env_dir_sync(env, to, err);
    if (st == ST_OK) st = identity_save(env, to, &r.identity, err);
    catalog_unref(r.old);
    catalog_unref(r.new);
    mem_free(r.parts);
    return st;
}
