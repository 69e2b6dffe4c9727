/* mesh_frame.c - frames of the mesh as bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mesh/mesh_frame.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"

_Static_assert((unsigned)MESH_KIND_COUNT < (unsigned)MESH_ANSWER,
               "kinds of the layers above stay below the mesh's own");

void mesh_frame_put(struct buf *out, uint8_t kind, uint16_t endpoint, struct bytes head, struct bytes body,
                    bool with_crc)
{
    size_t n = head.n + body.n;
    ASSERT(n <= UINT32_MAX - MESH_HEADER_BYTES);
    uint8_t *p = buf_extend(out, MESH_HEADER_BYTES + n);
    put_u32(p, (uint32_t)n);
    p[8] = kind;
    p[9] = 0;
    put_u16(p + 10, endpoint);
    if (head.n != 0) memcpy(p + MESH_HEADER_BYTES, head.p, head.n);
    if (body.n != 0) memcpy(p + MESH_HEADER_BYTES + head.n, body.p, body.n);
    put_u32(p + 4, with_crc ? crc32c(0, p + 8, MESH_HEADER_BYTES - 8 + n) : 0);
}

void mesh_frame_put_head(struct buf *out, uint8_t kind, uint16_t endpoint, struct bytes head, struct bytes body)
{
    size_t n = head.n + body.n;
    ASSERT(n <= UINT32_MAX - MESH_HEADER_BYTES);
    uint8_t *p = buf_extend(out, MESH_HEADER_BYTES + head.n);
    put_u32(p, (uint32_t)n);
    p[8] = kind;
    p[9] = 0;
    put_u16(p + 10, endpoint);
    if (head.n != 0) memcpy(p + MESH_HEADER_BYTES, head.p, head.n);
    put_u32(p + 4, crc32c(crc32c(0, p + 8, MESH_HEADER_BYTES - 8 + head.n), body.p, body.n));
}

enum status mesh_frame_size(struct bytes b, size_t body_max, size_t *out, struct error *err)
{
    if (b.n < MESH_HEADER_BYTES) return ST_NOT_READY;
    uint32_t n = get_u32(b.p);
    if (n > body_max) return error_set(err, ST_TOO_LARGE, "a frame of %" PRIu32 " bytes, at most %zu", n, body_max);
    *out = MESH_HEADER_BYTES + (size_t)n;
    return ST_OK;
}

enum status mesh_frame_decode(struct bytes b, bool with_crc, struct mesh_frame *out, struct error *err)
{
    ASSERT(b.n >= MESH_HEADER_BYTES && b.n == MESH_HEADER_BYTES + (size_t)get_u32(b.p));
    if (with_crc) {
        uint32_t crc = crc32c(0, b.p + 8, b.n - 8), said = get_u32(b.p + 4);
        if (crc != said)
            return error_set(err, ST_CORRUPT, "a frame of %zu bytes with CRC %08" PRIx32 ", it says %08" PRIx32, b.n,
                             crc, said);
    }
    if (b.p[9] != 0) return error_set(err, ST_CORRUPT, "a frame with flags %02x", b.p[9]);
    *out = (struct mesh_frame){
        .kind = b.p[8],
        .endpoint = get_u16(b.p + 10),
        .body = bytes_of(b.p + MESH_HEADER_BYTES, b.n - MESH_HEADER_BYTES),
    };
    return ST_OK;
}

void mesh_hello_put(struct buf *out, const struct mesh_hello *h)
{
    uint8_t body[MESH_HELLO_BYTES] = {0};
    put_u16(body, h->format);
    body[2] = h->lane;
    put_u16(body + 4, h->semantics_oldest);
    put_u16(body + 6, h->semantics_newest);
    memcpy(body + 8, h->cluster_id, sizeof h->cluster_id);
    put_u64(body + 24, h->from_node);
    put_u64(body + 32, h->to_node);
    put_u16(body + 40, h->shard);
    put_u16(body + 42, h->shard_count);
    struct buf lineage = {0};
    lineage_put(&h->lineage, &lineage);
    mesh_frame_put(out, MESH_HELLO, MESH_NODE, bytes_of(body, sizeof body), buf_view(&lineage), true);
    buf_deinit(&lineage);
}

enum status mesh_hello_decode(struct bytes body, struct mesh_hello *out, struct error *err)
{
    struct reader r = reader_of(body);
    struct mesh_hello h = {.format = reader_u16(&r)};
    if (!r.failed && h.format != MESH_FORMAT) {
        *out = (struct mesh_hello){.format = h.format};
        return error_set(err, ST_VERSION, "frame format %u here, %u there", MESH_FORMAT, h.format);
    }
    h.lane = reader_u8(&r);
    uint8_t zero = reader_u8(&r);
    h.semantics_oldest = reader_u16(&r);
    h.semantics_newest = reader_u16(&r);
    struct bytes cluster = reader_bytes(&r, sizeof h.cluster_id);
    h.from_node = reader_u64(&r);
    h.to_node = reader_u64(&r);
    h.shard = reader_u16(&r);
    h.shard_count = reader_u16(&r);
    if (!lineage_get(&r, &h.lineage) || !reader_done(&r) || h.lane >= MESH_HELLO_LANES || zero != 0)
        return error_set(err, ST_CORRUPT, "a hello of %zu bytes that makes no sense", body.n);
    memcpy(h.cluster_id, cluster.p, sizeof h.cluster_id);
    *out = h;
    return ST_OK;
}

static void hex16(const uint8_t id[16], char out[33])
{
    for (size_t i = 0; i < 16; i++) snprintf(out + 2 * i, 3, "%02x", id[i]);
}

enum status mesh_hello_check(const struct mesh_hello *mine, const struct mesh_hello *theirs, const char *peer,
                             struct error *err)
{
    static const uint8_t none[16];
    if (mine->format != theirs->format)
        return error_set(err, ST_VERSION, "frame format %u here, %u at %s", mine->format, theirs->format, peer);
    if (mine->semantics_newest < theirs->semantics_oldest || theirs->semantics_newest < mine->semantics_oldest)
        return error_set(err, ST_VERSION, "semantics versions %u to %u here, %u to %u at %s", mine->semantics_oldest,
                         mine->semantics_newest, theirs->semantics_oldest, theirs->semantics_newest, peer);
    bool joins = theirs->lane == MESH_LANE_CALL && theirs->from_node == 0;
    bool joining = mine->lane == MESH_LANE_CALL && mine->from_node == 0; /* the other side of the same call */
    bool unknown = (joins && memcmp(theirs->cluster_id, none, 16) == 0) ||
                   (joining && memcmp(mine->cluster_id, none, 16) == 0);
    if (!unknown && memcmp(mine->cluster_id, theirs->cluster_id, 16) != 0) {
        char here[33], there[33];
        hex16(mine->cluster_id, here);
        hex16(theirs->cluster_id, there);
        return error_set(err, ST_DENIED, "cluster %s here, %s at %s", here, there, peer);
    }
    if (theirs->from_node == 0 && !joins)
        return error_set(err, ST_DENIED, "node %" PRIu64 " here, none yet at %s", mine->from_node, peer);
    if (theirs->to_node != 0 && theirs->to_node != mine->from_node)
        return error_set(err, ST_DENIED, "node %" PRIu64 " here, but %s wants node %" PRIu64, mine->from_node, peer,
                         theirs->to_node);
    if (mine->to_node != 0 && mine->to_node != theirs->from_node)
        return error_set(err, ST_DENIED, "node %" PRIu64 " wanted, node %" PRIu64 " is at %s", mine->to_node,
                         theirs->from_node, peer);
    return ST_OK;
}

void mesh_refuse_put(struct buf *out, enum mesh_refusal why, const char *text)
{
    struct buf body = {0};
    struct bytes t = bytes_str(text);
    buf_put_u8(&body, (uint8_t)why);
    buf_put_lp(&body, bytes_of(t.p, MIN(t.n, (size_t)MESH_GREETING_BODY_MAX - 16)));
    mesh_frame_put(out, MESH_REFUSE, MESH_NODE, buf_view(&body), (struct bytes){0}, true);
    buf_deinit(&body);
}

enum status mesh_refuse_decode(struct bytes body, enum mesh_refusal *out, char *text, size_t max)
{
    struct reader r = reader_of(body);
    uint8_t why = reader_u8(&r);
    struct bytes t = reader_lp(&r);
    ASSERT(max > 0);
    if (!reader_done(&r)) return ST_CORRUPT;
    size_t n = MIN(t.n, max - 1);
    for (size_t i = 0; i < n; i++) text[i] = (char)(t.p[i] >= 32 && t.p[i] < 127 ? t.p[i] : '?');
    text[n] = 0;
    *out = why == MESH_REFUSED_MISMATCH || why == MESH_REFUSED_FENCED ? (enum mesh_refusal)why : MESH_REFUSED_FAULT;
    return ST_OK;
}

void mesh_cutter_deinit(struct mesh_cutter *c) { buf_deinit(&c->partial); }

/* Moves bytes from data to the partial frame until it has n; false if data ran out before. */
static bool cutter_fill(struct mesh_cutter *c, struct bytes *data, size_t n)
{
    size_t take = MIN(n - c->partial.n, data->n);
    buf_put(&c->partial, data->p, take); /* grows with what has arrived, not with what the length says */
    *data = bytes_of(data->p + take, data->n - take);
    return c->partial.n == n;
}

/* Goes on with the frame that the last read cut. */
static enum status cutter_finish_partial(struct mesh_cutter *c, struct bytes *data,
                                         bool (*each)(void *ctx, struct mesh_frame *f), void *ctx, struct error *err)
{
    struct mesh_frame f;
    size_t size = 0;
    if (c->partial.n < MESH_HEADER_BYTES && !cutter_fill(c, data, MESH_HEADER_BYTES)) return ST_OK;
    enum status st = mesh_frame_size(buf_view(&c->partial), c->body_max, &size, err);
    if (st != ST_OK) return st;
    /* Room for all of a large frame once an eighth is there: doubling would copy all of it again. */
    if (c->partial.n + data->n >= size / 8) buf_reserve(&c->partial, size - c->partial.n);
    if (!cutter_fill(c, data, size)) return ST_OK;
    st = mesh_frame_decode(buf_view(&c->partial), true, &f, err);
    if (st != ST_OK) return st;
    f.whole = &c->partial;
    if (!each(ctx, &f)) return ST_CLOSED;
    buf_clear_keep(&c->partial, c->keep_buffer ? MESH_KEEP_LARGE_BYTES : MESH_KEEP_BYTES);
    return ST_OK;
}

enum status mesh_cutter_feed(struct mesh_cutter *c, struct bytes data, bool (*each)(void *ctx, struct mesh_frame *f),
                             void *ctx, struct error *err)
{
    struct mesh_frame f;
    if (c->partial.n > 0 && data.n > 0) {
        enum status st = cutter_finish_partial(c, &data, each, ctx, err);
        if (st != ST_OK) return st;
    }
    while (data.n > 0) {
        size_t size = 0;
        enum status st = mesh_frame_size(data, c->body_max, &size, err);
        if (st == ST_NOT_READY || (st == ST_OK && size > data.n)) {
            buf_put_bytes(&c->partial, data);
            return ST_OK;
        }
        if (st == ST_OK) st = mesh_frame_decode(bytes_of(data.p, size), true, &f, err);
        if (st != ST_OK) return st;
        if (!each(ctx, &f)) return ST_CLOSED;
        data = bytes_of(data.p + size, data.n - size);
    }
    return ST_OK;
}
