/* mesh_fate.c - frames that have arrived from another node: delivered, or disturbed as a test asks for.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "mesh/mesh_internal.h"

/* A frame that is delivered later. */
struct mesh_delayed {
    struct mesh *mesh;
    struct link link; /* in mesh.delayed */
    struct env_timer timer;
    struct mesh_frame frame; /* its body lies in `body` */
    struct buf body;
    enum mesh_lane lane;
};

static void deliver(struct mesh *m, const struct mesh_frame *f, enum mesh_lane lane)
{
    uint16_t shard;
    bool known = mesh_shard_of(m, f->endpoint, &shard);
    ASSERT(known); /* who calls has looked */
    if (shard == m->o.shard) mesh_deliver(m, f);
    else mesh_local_put(m, shard, lane, f, (struct bytes){0}, f->body);
}

static void delayed_free(struct mesh_delayed *d)
{
    env_timer_stop(&d->timer);
    link_remove(&d->link);
    d->mesh->delayed_count--;
    buf_deinit(&d->body);
    mem_free(d);
}

static void on_timer(struct env_timer *timer)
{
    struct mesh_delayed *d = CONTAINER_OF(timer, struct mesh_delayed, timer);
    deliver(d->mesh, &d->frame, d->lane);
    delayed_free(d);
}

static bool delay(struct mesh *m, const struct mesh_frame *f, enum mesh_lane lane, uint64_t for_ns)
{
    if (m->delayed_count >= MESH_DELAYED_MAX) return false;
    struct mesh_delayed *d = mem_zalloc(sizeof *d);
    d->mesh = m;
    d->lane = lane;
    buf_put_bytes(&d->body, f->body);
    d->frame = *f;
    d->frame.body = buf_view(&d->body);
    d->frame.whole = &d->body;
    list_push_back(&m->delayed, &d->link);
    m->delayed_count++;
    env_timer_init(m->o.loop, &d->timer, on_timer);
    env_timer_start(&d->timer, for_ns);
    return true;
}

void mesh_arrived(struct mesh *m, const struct mesh_frame *f, enum mesh_lane lane)
{
    uint64_t delay_ns = 0;
    enum mesh_fate fate = MESH_PASS;
    if (m->o.fate != NULL && f->conn == NULL) fate = m->o.fate(m->o.ctx, f, &delay_ns);
    if (fate == MESH_DROP) return;
    if (fate == MESH_DELAY && delay(m, f, lane, delay_ns)) return;
    if (fate == MESH_REPEAT) delay(m, f, lane, delay_ns);
    deliver(m, f, lane);
}

void mesh_delayed_free(struct mesh *m)
{
    for (struct link *k; (k = list_first(&m->delayed)) != NULL;)
        delayed_free(CONTAINER_OF(k, struct mesh_delayed, link));
}
