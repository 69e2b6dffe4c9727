/* identity.c - who a node is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "node/identity.h"

#include <stdio.h>

#include "base/hash.h"

#define MAGIC  0x44495243u /* "CRID" */
#define FORMAT 1

enum status identity_save(struct env *env, const char *dir, const struct identity *id, struct error *err)
{
    char path[600], tmp[620];
    struct buf b = {0};
    struct env_file *f = NULL;
    snprintf(path, sizeof path, "%s/identity", dir);
    snprintf(tmp, sizeof tmp, "%s/identity.new", dir);
    buf_put_u32(&b, MAGIC);
    buf_put_u32(&b, FORMAT);
    buf_put_u32(&b, 0);
    buf_put(&b, id->uuid, 16);
    buf_put(&b, id->cluster_id, 16);
    buf_put_u64(&b, id->node_id);
    buf_put_u8(&b, id->founder);
    buf_put_u8(&b, id->opened);
    buf_put_u16(&b, id->stores);
    for (uint16_t i = 0; i < id->stores; i++) buf_put(&b, id->store_ids[i], 16);
    lineage_put(&id->lineage, &b);
    if (id->fenced[0] != 0) buf_put_lp(&b, bytes_str(id->fenced));
    put_u32(b.p + 8, crc32c(0, b.p + 12, b.n - 12));
    enum status st = env_exists(env, tmp) ? env_unlink(env, tmp, err) : ST_OK;
    if (st == ST_OK) st = env_file_open(env, tmp, ENV_CREATE, &f, err);
    if (st == ST_OK) st = env_file_write(f, 0, b.p, b.n, err);
    if (st == ST_OK) st = env_file_sync(f, err);
    env_file_close(f);
    if (st == ST_OK) st = env_rename(env, tmp, path, err);
    if (st == ST_OK) st = env_dir_sync(env, dir, err);
    buf_deinit(&b);
    return st;
}

static enum status read_identity(struct bytes file, const char *path, struct identity *out, struct error *err)
{
    struct reader r = reader_of(file);
    uint32_t magic = reader_u32(&r), format = reader_u32(&r), crc = reader_u32(&r);
    if (r.failed || magic != MAGIC) return error_set(err, ST_CORRUPT, "'%s' is not a Cairn identity file", path);
    if (format != FORMAT)
        return error_set(err, ST_VERSION, "'%s' has format %u; this build reads format %u: use the newer cairn", path,
                         format, FORMAT);
    if (crc != crc32c(0, r.p, reader_left(&r)))
        return error_set(err, ST_CORRUPT,
                         "'%s' is damaged: its checksum does not match. If other nodes have the data, remove this "
                         "node from the cluster and start it with an empty directory",
                         path);
    struct bytes uuid = reader_bytes(&r, 16), cluster = reader_bytes(&r, 16);
    if (r.failed) return error_set(err, ST_CORRUPT, "'%s' is cut short", path);
    memcpy(out->uuid, uuid.p, 16);
    memcpy(out->cluster_id, cluster.p, 16);
    out->node_id = reader_u64(&r);
    out->founder = reader_u8(&r) != 0;
    out->opened = reader_u8(&r) != 0;
    out->stores = reader_u16(&r);
    if (r.failed || out->stores == 0 || out->stores > IDENTITY_STORES_MAX)
        return error_set(err, ST_CORRUPT, "'%s' names %u stores", path, out->stores);
    for (uint16_t i = 0; i < out->stores; i++) {
        struct bytes id = reader_bytes(&r, 16);
        if (id.n == 16) memcpy(out->store_ids[i], id.p, 16);
    }
    bool lineage = lineage_get(&r, &out->lineage);
    struct bytes fenced = lineage && reader_left(&r) != 0 ? reader_lp(&r) : (struct bytes){0};
    snprintf(out->fenced, sizeof out->fenced, "%.*s", (int)MIN(fenced.n, sizeof out->fenced - 1),
             (const char *)fenced.p);
    return lineage && reader_done(&r) ? ST_OK : error_set(err, ST_CORRUPT, "'%s' has a wrong length", path);
}

static void see_name(void *ctx, const char *name)
{
    (void)name;
    *(bool *)ctx = true;
}

/* A store that starts again as an empty one has forgotten votes and entries that others count on. */
static enum status check_store(struct env *env, const char *dir, uint16_t store, struct error *err)
{
    static const char *const parts[] = {"", "/log", "/engine"};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        char path[700];
        bool any = false;
        snprintf(path, sizeof path, "%s/store-%u%s", dir, store, parts[i]);
        enum status st = ST_OK;
        if (env_exists(env, path)) st = env_dir_list(env, path, see_name, &any, err);
        if (st != ST_OK) return st;
        if (!any)
            return error_set(
                err, ST_CORRUPT,
                "'%s' is missing or empty, but this node has used it: what it held is lost here. Put it back as it "
                "was, or (cairn node remove) remove this node and join a new one with an empty directory",
                path);
    }
    return ST_OK;
}

enum status identity_open(struct env *env, const char *dir, uint16_t stores, struct identity *out, struct error *err)
{
    char path[600];
    struct env_file *f = NULL;
    struct buf b = {0};
    uint64_t size = 0;
    *out = (struct identity){0};
    snprintf(path, sizeof path, "%s/identity", dir);
    if (!env_exists(env, path)) {
        char store[700];
        snprintf(store, sizeof store, "%s/store-0", dir);
        if (env_exists(env, store))
            return error_set(err, ST_CORRUPT,
                             "'%s' is missing, but '%s' is there: without it nobody can tell whose data this is. "
                             "Put it back, or start with an empty directory",
                             path, store);
        if (stores == 0 || stores > IDENTITY_STORES_MAX)
            return error_set(err, ST_INVALID, "a node has 1 to %d stores, not %u", IDENTITY_STORES_MAX, stores);
        out->stores = stores;
        env_random(env, out->uuid, 16);
        for (uint16_t i = 0; i < stores; i++) env_random(env, out->store_ids[i], 16);
        return identity_save(env, dir, out, err);
    }
    enum status st = env_file_open(env, path, ENV_READ, &f, err);
    if (st == ST_OK) st = env_file_size(f, &size, err);
    if (st == ST_OK && size > 1 << 16) st = error_set(err, ST_CORRUPT, "'%s' is too long for an identity file", path);
    if (st == ST_OK) st = env_file_read(f, 0, buf_extend(&b, size), size, err);
    env_file_close(f);
    if (st == ST_OK) st = read_identity(buf_view(&b), path, out, err);
    buf_deinit(&b);
    if (st == ST_OK && out->fenced[0] != 0) /* the text says what to do */
        st = error_set(err, ST_DENIED, "%s (found at an earlier start)", out->fenced);
    for (uint16_t i = 0; st == ST_OK && out->opened && i < out->stores; i++) st = check_store(env, dir, i, err);
    return st;
}
