/* request.c - requests that come from a gate elsewhere: decoded, submitted, answered over the mesh.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/mutation.h"
#include "replica/host_internal.h"
#include "replica/replay.h"

void request_encode(const struct request_head *q, struct buf *out)
{
    buf_put_u64(out, q->request_id);
    buf_put_u64(out, q->life);
    buf_put_u64(out, q->attempt);
    buf_put_u8(out, q->bulk);
    buf_put_u64(out, q->partition_id);
    buf_put_u8(out, q->kind);
    buf_put_u32(out, q->wait_count);
    buf_put_u32(out, q->wait_ms);
    buf_put_bytes(out, q->op);
}

bool request_decode(struct bytes in, struct request_head *out)
{
    struct reader r = reader_of(in);
    out->request_id = reader_u64(&r);
    out->life = reader_u64(&r);
    out->attempt = reader_u64(&r);
    out->bulk = reader_u8(&r) != 0;
    out->partition_id = reader_u64(&r);
    out->kind = reader_u8(&r);
    out->wait_count = reader_u32(&r);
    out->wait_ms = reader_u32(&r);
    out->op = reader_bytes(&r, reader_left(&r));
    return !r.failed;
}

void reply_encode(const struct reply_head *p, struct buf *out)
{
    buf_put_u64(out, p->request_id);
    buf_put_u64(out, p->partition_id);
    buf_put_u8(out, p->status);
    buf_put_u8(out, p->maybe_executed);
    buf_put_u64(out, p->leader);
    buf_put_bytes(out, p->result);
}

bool reply_decode(struct bytes in, struct reply_head *out)
{
    struct reader r = reader_of(in);
    out->request_id = reader_u64(&r);
    out->partition_id = reader_u64(&r);
    out->status = reader_u8(&r);
    out->maybe_executed = reader_u8(&r) != 0;
    out->leader = reader_u64(&r);
    out->result = reader_bytes(&r, reader_left(&r));
    return !r.failed && out->status < ST_COUNT;
}

#define LARGE_OP (64u << 10)

/* A request of a gate on another shard or node, while it is under way here. */
struct remote {
    struct replica_request request;
    struct host *host;
    uint64_t request_id, partition_id, node;
    uint16_t endpoint;
    struct buf op; /* what request.op lies in */
};

static void answer(struct host *h, uint64_t node, uint16_t endpoint, const struct reply_head *p)
{
    struct buf *b = &h->message;
    struct reply_head head = *p;
    head.result = (struct bytes){0}; /* the frame's last part */
    buf_clear_keep(b, HOST_BUFFER_KEEP);
    reply_encode(&head, b);
    mesh_send2(h->mesh, node, endpoint, p->result.n > 64 << 10 ? MESH_BULK : MESH_URGENT, MESH_REPLY, buf_view(b),
               p->result);
}

static void remote_done(struct replica_request *q, enum status st, bool maybe, struct bytes result)
{
    struct remote *m = CONTAINER_OF(q, struct remote, request);
    struct replica *r = host_replica(m->host, m->partition_id);
    struct reply_head p = {.request_id = m->request_id,
                           .partition_id = m->partition_id,
                           .status = (uint8_t)st,
                           .maybe_executed = maybe,
                           .leader = r != NULL ? replica_leader_store(r) : 0,
                           .result = result};
    answer(m->host, m->node, m->endpoint, &p);
    buf_deinit(&m->op);
    mem_free(m);
}

/* Not a copy of an attempt that came before: what is said of one attempt ("refused, so not executed") must hold for all of
 * its copies. */
static bool first_time(struct host *h, const struct mesh_frame *f, const struct request_head *q)
{
    uint64_t gate = (f->from_node << 16 | f->from_shard) << 1 | q->bulk;
    struct replay *r = map_get(&h->replays, gate);
    if (r == NULL) map_set(&h->replays, gate, r = mem_zalloc(sizeof *r));
    return replay_first(r, q->life, q->attempt) || MUTATION("copies_are_attempts");
}

void request_on_frame(struct host *h, const struct mesh_frame *f)
{
    struct request_head q;
    if (!request_decode(f->body, &q) || !first_time(h, f, &q)) return;
    struct reply_head p = {.request_id = q.request_id, .partition_id = q.partition_id, .status = ST_NOT_LEADER};
    uint16_t endpoint = (uint16_t)(MESH_SHARD + f->from_shard);
    struct replica *r = host_replica(h, q.partition_id);
    struct op op;
    struct replica_info info;
    if (r != NULL && q.kind != REPLICA_WAIT && !op_decode(q.op, &op)) {
        p.status = ST_INVALID;
    } else if (r != NULL) {
        r->asked_ns = host_now(h);
        buf_clear_keep(&h->scratch, HOST_BUFFER_KEEP);
        if (q.kind == REPLICA_READ && (op.flags & OP_READ) && replica_read_now(r, &op, &h->scratch)) {
            p.status = ST_OK;
            p.result = buf_view(&h->scratch);
        } else {
            struct remote *m = mem_zalloc(sizeof *m);
            m->host = h;
            m->request_id = q.request_id;
            m->partition_id = q.partition_id;
            m->node = f->from_node;
            m->endpoint = endpoint;
            struct bytes kept = q.op;
            bool taken = f->whole != NULL && q.op.n > LARGE_OP &&
                         f->whole->cap / 2 <= q.op.n; /* not for a part of it */
            if (taken) {                              /* the frame's buffer instead of a copy */
                m->op = *f->whole;
                *f->whole = (struct buf){0};
            } else {
                buf_put_bytes(&m->op, q.op);
                kept = buf_view(&m->op);
            }
            m->request = (struct replica_request){.kind = q.kind,
                                                  .op = kept,
                                                  .whole = taken ? &m->op : NULL,
                                                  .wait_count = q.wait_count,
                                                  .wait_ms = q.wait_ms,
                                                  .done = remote_done};
            enum status st = replica_submit(r, &m->request);
            if (st == ST_OK) return;
            buf_deinit(&m->op);
            mem_free(m);
            p.status = (uint8_t)st;
            replica_info(r, &info);
            if (info.lost) { /* nobody else can have it, and it won't come back by waiting */
                p.status = ST_UNAVAILABLE;
                p.result = bytes_str(info.lost_text);
            }
        }
        p.leader = replica_leader_store(r);
    }
    answer(h, f->from_node, endpoint, &p);
}
