/* mesh_local.c - mailboxes between the shards of the process.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What a shard sends to another in one turn goes into one batch, which is posted to the other's loop at the end of the
 * turn and comes back empty the same way. So a batch always has one owner, and nothing here is locked or counted by two
 * threads. The bytes that are under way are known when the batch is back.
 *
 *   record   offset  size  meaning
 *            0       8     node that sent it
 *            8       8     connection that wants the answer (0: none), on the shard conn_shard
 *            16      2     shard that sent it
 *            18      2     conn_shard
 *            20      4     bytes of the frame
 *            24      n     the frame; its CRC is only filled in the simulator, which decodes it in full */
#include "base/mem.h"
#include "mesh/mesh_internal.h"

enum { RECORD_BYTES = 24 };

struct batch {
    struct env_task task;
    struct link all;  /* in mailbox.batches */
    struct link free; /* in mailbox.spare when it is empty */
    struct mesh_mailbox *box;
    struct buf records; /* empty on its way back if the receiver took them */
    size_t bytes;       /* as counted in mailbox.bytes */
};

struct mesh_mailbox {
    struct mesh *from;
    uint16_t to_shard;
    struct link dirty;
    struct list batches; /* all of them, wherever they are */
    struct list spare;
    size_t spare_count;
    struct batch *filling; /* NULL: nothing this turn */
    size_t bytes;          /* in `filling` and under way */
};

void mesh_local_init(struct mesh *m)
{
    size_t n = (size_t)m->o.shard_count * MESH_LANES;
    m->boxes = mem_zalloc(n * sizeof *m->boxes);
    for (size_t i = 0; i < n; i++) {
        m->boxes[i].from = m;
        m->boxes[i].to_shard = (uint16_t)(i / MESH_LANES);
        list_init(&m->boxes[i].batches);
        list_init(&m->boxes[i].spare);
    }
}

static void batch_free(struct batch *b)
{
    link_remove(&b->all);
    buf_deinit(&b->records);
    mem_free(b);
}

void mesh_local_deinit(struct mesh *m)
{
    for (size_t i = 0; i < (size_t)m->o.shard_count * MESH_LANES; i++)
        for (struct link *k; (k = list_first(&m->boxes[i].batches)) != NULL;)
            batch_free(CONTAINER_OF(k, struct batch, all));
    mem_free(m->boxes);
}

static struct batch *batch_take(struct mesh_mailbox *box)
{
    struct link *k = list_pop_front(&box->spare);
    if (k != NULL) {
        box->spare_count--;
        return CONTAINER_OF(k, struct batch, free);
    }
    struct batch *b = mem_zalloc(sizeof *b);
    b->box = box;
    list_push_back(&box->batches, &b->all);
    return b;
}

/* An empty batch is back with the shard that filled it. */
static void batch_give(struct batch *b)
{
    struct mesh_mailbox *box = b->box;
    box->bytes -= b->bytes;
    b->bytes = 0;
    buf_clear(&b->records);
    if (b->records.cap > MESH_KEEP_BYTES) buf_deinit(&b->records);
    if (box->spare_count >= MESH_BATCHES_KEPT) {
        batch_free(b);
        return;
    }
    box->spare_count++;
    list_push_back(&box->spare, &b->free);
}

enum status mesh_local_put(struct mesh *m, uint16_t shard, enum mesh_lane lane, const struct mesh_frame *f,
                           struct bytes head, struct bytes body)
{
    ASSERT(shard < m->o.shard_count);
    struct mesh_mailbox *box = &m->boxes[shard * MESH_LANES + lane];
    size_t size = MESH_HEADER_BYTES + head.n + body.n;
    if (box->bytes > 0 && box->bytes + RECORD_BYTES + size > m->o.queue_bytes_max[lane]) {
        m->stats.local_dropped++;
        return ST_OVERLOADED;
    }
    if (box->filling == NULL) {
        box->filling = batch_take(box);
        list_push_back(&m->dirty_boxes[lane], &box->dirty);
        mesh_flush_later(m);
    }
    const struct mesh_handle *h = f->conn;
    struct buf *b = &box->filling->records;
    uint8_t *p = buf_extend(b, RECORD_BYTES);
    put_u64(p, f->from_node);
    put_u64(p + 8, h != NULL ? h->conn_id : 0);
    put_u16(p + 16, f->from_shard);
    put_u16(p + 18, h != NULL ? h->shard : 0);
    put_u32(p + 20, (uint32_t)size);
    mesh_frame_put(b, f->kind, f->endpoint, head, body, m->check_local);
    box->bytes += RECORD_BYTES + size;
    box->filling->bytes += RECORD_BYTES + size;
    m->stats.local_sent++;
    return ST_OK;
}

/* On the shard that the batch is for. */
static void batch_deliver(struct batch *b, struct mesh *to)
{
    struct reader r = reader_of(buf_view(&b->records));
    while (reader_left(&r) > 0) {
        struct mesh_frame f;
        struct error err = {0};
        uint64_t from_node = reader_u64(&r);
        struct mesh_handle handle = {.conn_id = reader_u64(&r)};
        uint16_t from_shard = reader_u16(&r);
        handle.shard = reader_u16(&r);
        struct bytes frame = reader_bytes(&r, reader_u32(&r));
        ASSERT(!r.failed);
        enum status st = mesh_frame_decode(frame, to->check_local, &f, &err);
        ASSERT(st == ST_OK); /* it never left the process */
        f.from_node = from_node;
        f.from_shard = from_shard;
        f.conn = handle.conn_id != 0 ? &handle : NULL;
        if (reader_left(&r) == 0) f.whole = &b->records;
        mesh_deliver(to, &f);
    }
}

static void batch_back(struct env_task *task) { batch_give(CONTAINER_OF(task, struct batch, task)); }

static void batch_arrived(struct env_task *task)
{
    struct batch *b = CONTAINER_OF(task, struct batch, task);
    struct mesh *from = b->box->from; /* set once: any thread may read them */
    batch_deliver(b, from->all[b->box->to_shard]);
    b->task.run = batch_back;
    env_post(from->o.loop, &b->task);
}

void mesh_local_flush(struct mesh *m, enum mesh_lane lane)
{
    struct list boxes;
    list_init(&boxes);
    for (struct link *k; (k = list_pop_front(&m->dirty_boxes[lane])) != NULL;) list_push_back(&boxes, k);
    for (struct link *k; (k = list_pop_front(&boxes)) != NULL;) {
        struct mesh_mailbox *box = CONTAINER_OF(k, struct mesh_mailbox, dirty);
        struct batch *b = box->filling;
        ASSERT(b != NULL && m->all != NULL);
        box->filling = NULL;
        if (box->to_shard == m->o.shard) { /* no need to go round */
            batch_deliver(b, m);
            batch_give(b);
        } else {
            b->task.run = batch_arrived;
            env_post(m->all[box->to_shard]->o.loop, &b->task);
        }
    }
}
