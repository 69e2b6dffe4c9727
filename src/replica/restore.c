/* restore.c - makes a store's engine, copied out of a checkpoint, the engine of a new cluster's only node.
 * SPDX-License-Identifier: Apache-2.0 */
#include "replica/restore.h"

#include "base/mem.h"
#include "model/kv_check.h"
#include "replica/disk_view.h"
#include "replica/host_internal.h"
#include "table/place.h"

static void put_row(void *ctx, struct bytes row, struct bytes value) { engine_batch_put(ctx, row, value); }

static enum status old_state(struct engine *e, const struct restore_partition *p, struct replica *out,
                             struct error *err)
{
    struct buf key = {0};
    struct engine_value value;
    *out = (struct replica){.partition_id = p->partition_id, .replica_id = p->old_replica_id};
    row_system(&key, p->partition_id, SYSTEM_APPLIED, BYTES_LIT(""));
    enum status st = engine_get(e, buf_view(&key), ENGINE_DISK, &value, err);
    buf_deinit(&key);
    if (st == ST_NOT_FOUND)
        return error_set(err, ST_NOT_FOUND, "partition %llu has no copy in this checkpoint",
                         (unsigned long long)p->partition_id);
    if (st != ST_OK) return st;
    bool good = replica_load_applied(out, value.bytes);
    engine_value_release(&value);
    return good ? ST_OK
                : error_set(err, ST_CORRUPT, "partition %llu: its applied row can't be read, or is another replica's",
                            (unsigned long long)p->partition_id);
}

/* The new replica's applied row; into the batch. */
static void put_state(struct engine_batch *b, const struct restore_partition *p, struct replica *r)
{
    struct buf key = {0}, row = {0};
    r->replica_id = p->new_replica_id;
    r->applied = r->applied_term = 1;
    r->applied_config = (struct raft_config){
        .epoch = 1, .count = 1, .members = {{p->new_replica_id, p->store, RAFT_VOTER}}};
    row_system(&key, p->partition_id, SYSTEM_APPLIED, BYTES_LIT(""));
    replica_encode_applied(r, &row);
    engine_batch_put(b, buf_view(&key), buf_view(&row));
    buf_deinit(&key);
    buf_deinit(&row);
}

/* Rows between two partitions, or before and behind them all, belong to nobody. parts are sorted by table and slot. */
static void drop_others(struct engine_batch *b, const struct restore_partition *parts, size_t count)
{
    struct buf from = {0}, lo = {0}, hi = {0};
    buf_put_u8(&from, 0);
    for (size_t i = 0; i < count; i++) {
        buf_clear(&lo);
        buf_clear(&hi);
        row_range(&lo, &hi, parts[i].table, parts[i].slot_lo, parts[i].slot_hi);
        if (bytes_compare(buf_view(&from), buf_view(&lo)) < 0)
            engine_batch_delete_range(b, buf_view(&from), buf_view(&lo));
        if (parts[i].rows != NULL) engine_batch_delete_range(b, buf_view(&lo), buf_view(&hi));
        buf_clear(&from);
        buf_put_bytes(&from, buf_view(&hi));
    }
    buf_clear(&hi);
    buf_put_be32(&hi, UINT32_MAX); /* the system table, too */
    engine_batch_delete_range(b, buf_view(&from), buf_view(&hi));
    buf_deinit(&from);
    buf_deinit(&lo);
    buf_deinit(&hi);
}

static enum status check(struct engine *e, struct restore_partition *p, struct replica *r, struct error *err)
{
    struct buf lo = {0}, hi = {0};
    uint64_t hash;
    struct disk_view disk = {.engine = e};
    struct op_view view = {.ctx = &disk,
                           .table = p->table,
                           .slot_lo = p->slot_lo,
                           .slot_hi = p->slot_hi,
                           .ts = r->applied_ts,
                           .counters = &r->counters,
                           .get = disk_view_get,
                           .scan = disk_view_scan};
    row_range(&lo, &hi, p->table, p->slot_lo, p->slot_hi);
    enum status st = engine_checksum(e, NULL, buf_view(&lo), buf_view(&hi), NULL, NULL, &hash, &p->out_rows, err);
    if (st == ST_OK && p->table != TABLE_CATALOG) st = kv_check(&view, err);
    if (st != ST_OK) error_prefix(err, st, "partition %llu: ", (unsigned long long)p->partition_id);
    p->out_keys = (uint64_t)r->counters.keys;
    disk_view_deinit(&disk);
    buf_deinit(&lo);
    buf_deinit(&hi);
    return st;
}

enum status restore_engine(struct env *env, const char *engine_dir, struct restore_partition *parts, size_t count,
                           struct error *err)
{
    struct host_limits limits;
    struct engine *e = NULL;
    struct engine_batch *b = engine_batch_new();
    struct replica *states = mem_zalloc((count + 1) * sizeof *states);
    host_limits_default(&limits);
    struct engine_options options = {.cache_bytes = limits.engine_cache_bytes,
                                     .write_buffer_bytes = limits.engine_write_buffer_bytes};
    enum status st = engine_open(env, engine_dir, &options, &e, err);
    for (size_t i = 0; i < count && st == ST_OK; i++) st = old_state(e, &parts[i], &states[i], err);
    if (st == ST_OK) {
        drop_others(b, parts, count);
        for (size_t i = 0; i < count; i++) {
            put_state(b, &parts[i], &states[i]);
            if (parts[i].rows != NULL) parts[i].rows(parts[i].ctx, put_row, b);
        }
        st = engine_write(e, b, err);
    }
    for (size_t i = 0; i < count && st == ST_OK; i++) st = check(e, &parts[i], &states[i], err);
    if (st == ST_OK) st = engine_flush(e, err);
    engine_batch_free(b);
    engine_close(e);
    mem_free(states);
    return st;
}
