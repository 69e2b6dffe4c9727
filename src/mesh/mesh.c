/* mesh.c - the mesh of a shard: sending, routing to a shard, peers, figures.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mesh/mesh.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "mesh/mesh_internal.h"

/* The end of a turn. Urgent before bulk; what the flush itself gives rise to (deliveries that send) comes in the next.
 */
static void mesh_flush(struct env_task *task)
{
    struct mesh *m = CONTAINER_OF(task, struct mesh, flush);
    for (enum mesh_lane lane = 0; lane < MESH_LANES; lane++) {
        struct list links;
        list_init(&links);
        for (struct link *k; (k = list_pop_front(&m->dirty[lane])) != NULL;) list_push_back(&links, k);
        for (struct link *k; (k = list_pop_front(&links)) != NULL;)
            mesh_link_write(CONTAINER_OF(k, struct mesh_link, dirty));
        mesh_local_flush(m, lane);
    }
}

void mesh_flush_later(struct mesh *m) { env_defer(m->o.loop, &m->flush); }

struct mesh *mesh_new(const struct mesh_options *options)
{
    ASSERT(options->loop != NULL && options->deliver != NULL && options->frame_bytes_max > 0);
    ASSERT(options->frame_bytes_max <= UINT32_MAX / 2);
    ASSERT(options->shard < options->shard_count && options->shard_count < MESH_NODE - MESH_SHARD);
    struct mesh *m = mem_zalloc(sizeof *m);
    m->o = *options;
    if (m->o.ping_ns == 0) m->o.ping_ns = NS_PER_S;
    m->check_local = env_loop_env(m->o.loop)->simulated;
    m->flush.run = mesh_flush;
    list_init(&m->conns);
    list_init(&m->calls);
    list_init(&m->holds);
    list_init(&m->delayed);
    for (enum mesh_lane lane = 0; lane < MESH_LANES; lane++) {
        list_init(&m->dirty[lane]);
        list_init(&m->dirty_boxes[lane]);
    }
    mesh_local_init(m);
    if (m->o.shard_count == 1) mesh_link_local(m, &m);
    return m;
}

void mesh_free(struct mesh *m)
{
    if (m == NULL) return;
    mesh_calls_free(m);
    mesh_conns_free(m);
    mesh_delayed_free(m);
    uint64_t node_id;
    void *peer;
    for (size_t at = 0; map_each(&m->peers, &at, &node_id, &peer);) mesh_peer_free(peer);
    map_deinit(&m->peers);
    for (struct link *k; (k = list_pop_front(&m->holds)) != NULL;) mem_free(CONTAINER_OF(k, struct mesh_handle, link));
    mesh_local_deinit(m);
    mem_free(m->all);
    mem_free(m);
}

void mesh_link_local(struct mesh *m, struct mesh *const *all)
{
    ASSERT(all[m->o.shard] == m);
    if (m->all == NULL) m->all = mem_alloc(m->o.shard_count * sizeof *m->all);
    memcpy(m->all, all, m->o.shard_count * sizeof *m->all);
}

void mesh_set_self(struct mesh *m, uint64_t node_id, const uint8_t cluster_id[16])
{
    bool same = m->o.node_id == node_id && memcmp(m->o.cluster_id, cluster_id, sizeof m->o.cluster_id) == 0;
    if (same) return;
    m->o.node_id = node_id;
    memcpy(m->o.cluster_id, cluster_id, sizeof m->o.cluster_id);
    uint64_t id;
    void *peer;
    for (size_t at = 0; map_each(&m->peers, &at, &id, &peer);) mesh_peer_reset(peer, "this node has a new id");
}

void mesh_set_lineage(struct mesh *m, const struct lineage *l) { m->lineage = *l; }

bool mesh_admit(struct mesh *m, uint64_t node_id, const struct lineage *l, const char *where, char *why, size_t max)
{
    struct mesh_peer *p = node_id != 0 ? map_get(&m->peers, node_id) : NULL;
    if (p == NULL) return true;
    enum lineage_verdict v = lineage_compare(l, p->known);
    if (lineage_fenced(v)) {
        char text[500];
        lineage_why(l, p->known, text, sizeof text);
        snprintf(why, max, "node %" PRIu64 " at %s is fenced off: %s", node_id, where, text);
        return false;
    }
    return true;
}

void mesh_set_incarnation(struct mesh *m, uint64_t node_id, struct incarnation known)
{
    struct mesh_peer *p = map_get(&m->peers, node_id);
    if (p == NULL || (known.boot == p->known.boot && known.id == p->known.id)) return;
    p->known = known;
    mesh_conns_fence(m, node_id, known);
}

void mesh_set_peer(struct mesh *m, uint64_t node_id, const char *address)
{
    struct mesh_peer *p = map_get(&m->peers, node_id);
    if (address == NULL) {
        if (p != NULL) mesh_peer_free(map_remove(&m->peers, node_id));
        return;
    }
    if (strlen(address) >= MESH_ADDRESS_MAX || node_id == 0) {
        diag(DIAG_ERROR, "mesh.peer_refused node=%" PRIu64 " peer=%" PRIu64 " why=\"an address of %zu characters\"",
             m->o.node_id, node_id, strlen(address));
    } else if (p == NULL && m->peers.count >= m->o.peers_max) {
        diag(DIAG_ERROR, "mesh.peer_refused node=%" PRIu64 " peer=%" PRIu64 " why=\"more than %zu peers\"",
             m->o.node_id, node_id, m->o.peers_max);
    } else if (p == NULL) {
        map_set(&m->peers, node_id, mesh_peer_new(m, node_id, address));
    } else if (strcmp(p->address, address) != 0) {
        snprintf(p->address, sizeof p->address, "%s", address);
        mesh_peer_reset(p, "the address changed");
    }
}

bool mesh_shard_of(const struct mesh *m, uint16_t endpoint, uint16_t *out)
{
    if (endpoint == MESH_NODE) *out = 0;
    else if (endpoint >= MESH_SHARD) *out = endpoint - MESH_SHARD;
    else *out = endpoint % m->o.shard_count;
    return *out < m->o.shard_count;
}

void mesh_hello_of(const struct mesh *m, uint8_t lane, uint64_t to_node, struct mesh_hello *out)
{
    *out = (struct mesh_hello){
        .format = MESH_FORMAT,
        .lane = lane,
        .semantics_oldest = m->o.semantics_oldest,
        .semantics_newest = m->o.semantics_newest,
        .from_node = m->o.node_id,
        .to_node = to_node,
        .shard = m->o.shard,
        .shard_count = m->o.shard_count,
    };
    if (m->o.node_id != 0) out->lineage = m->lineage;
    memcpy(out->cluster_id, m->o.cluster_id, sizeof out->cluster_id);
}

static enum status send_body(struct mesh *m, uint64_t node_id, uint16_t endpoint, enum mesh_lane lane,
                             enum mesh_kind kind, struct bytes head, struct mesh_body *b)
{
    struct bytes body = b->bytes;
    ASSERT(lane < MESH_LANES && kind > MESH_PONG && kind < MESH_KIND_COUNT);
    if (head.n > m->o.frame_bytes_max || body.n > m->o.frame_bytes_max - head.n) return ST_TOO_LARGE;
    enum status st;
    if (node_id == m->o.node_id) {
        uint16_t shard;
        struct mesh_frame f = {
            .kind = (uint8_t)kind, .endpoint = endpoint, .from_node = node_id, .from_shard = m->o.shard};
        if (!mesh_shard_of(m, endpoint, &shard)) return ST_NOT_FOUND;
        st = mesh_local_put(m, shard, lane, &f, head, body);
    } else {
        struct mesh_peer *p = map_get(&m->peers, node_id);
        if (p == NULL || m->o.node_id == 0) return ST_NOT_FOUND;
        st = mesh_link_send(&p->links[lane], endpoint, (uint8_t)kind, head, b);
    }
    if (st == ST_OVERLOADED) m->stats.overloaded++;
    return st;
}

enum status mesh_send2(struct mesh *m, uint64_t node_id, uint16_t endpoint, enum mesh_lane lane, enum mesh_kind kind,
                       struct bytes head, struct bytes body)
{
    struct mesh_body b = {.bytes = body};
    return send_body(m, node_id, endpoint, lane, kind, head, &b);
}

enum status mesh_send_ref(struct mesh *m, uint64_t node_id, uint16_t endpoint, enum mesh_lane lane, enum mesh_kind kind,
                          struct bytes head, struct bytes body, void (*release)(void *owner), void *owner)
{
    struct mesh_body b = {.bytes = body, .release = release, .owner = owner};
    enum status st = send_body(m, node_id, endpoint, lane, kind, head, &b);
    mesh_body_release(&b);
    return st;
}

enum status mesh_send(struct mesh *m, uint64_t node_id, uint16_t endpoint, enum mesh_lane lane, enum mesh_kind kind,
                      struct bytes body)
{
    return mesh_send2(m, node_id, endpoint, lane, kind, (struct bytes){0}, body);
}

void mesh_deliver(struct mesh *m, const struct mesh_frame *f)
{
    if (f->kind == MESH_ANSWER) {
        struct reader r = reader_of(f->body);
        uint64_t conn_id = reader_u64(&r);
        uint8_t kind = reader_u8(&r);
        ASSERT(!r.failed); /* mesh_answer of another shard made it */
        mesh_conn_answer(m, conn_id, kind, reader_bytes(&r, reader_left(&r)));
        return;
    }
    ASSERT(f->kind > MESH_PONG && f->kind < MESH_KIND_COUNT);
    m->o.deliver(m->o.ctx, f);
}

void *mesh_hold(struct mesh *m, void *conn)
{
    struct mesh_handle *h = conn;
    ASSERT(h != NULL && !h->held);
    if (m->holds_count >= MESH_HOLDS_MAX) return NULL;
    struct mesh_handle *kept = mem_alloc(sizeof *kept);
    *kept = (struct mesh_handle){.held = true, .shard = h->shard, .conn_id = h->conn_id};
    m->holds_count++;
    list_push_back(&m->holds, &kept->link);
    return kept;
}

void mesh_answer(struct mesh *m, void *conn, enum mesh_kind kind, struct bytes body)
{
    struct mesh_handle *h = conn;
    ASSERT(kind > MESH_PONG && kind < MESH_KIND_COUNT);
    if (h == NULL) return;
    if (h->shard == m->o.shard) {
        mesh_conn_answer(m, h->conn_id, (uint8_t)kind, body);
    } else {
        uint8_t head[9];
        struct mesh_frame f = {.kind = MESH_ANSWER,
                               .endpoint = (uint16_t)(MESH_SHARD + h->shard),
                               .from_node = m->o.node_id,
                               .from_shard = m->o.shard};
        put_u64(head, h->conn_id);
        head[8] = (uint8_t)kind;
        mesh_local_put(m, h->shard, MESH_URGENT, &f, bytes_of(head, sizeof head),
                       body); /* lost if the mailbox is full */
    }
    if (!h->held) return;
    link_remove(&h->link);
    m->holds_count--;
    mem_free(h);
}

size_t mesh_queued(const struct mesh *m, uint64_t node_id, enum mesh_lane lane)
{
    struct mesh_peer *p = map_get(&m->peers, node_id);
    return p != NULL ? mesh_link_queued(&p->links[lane]) : 0;
}

bool mesh_each_peer(const struct mesh *m, size_t *at, struct mesh_peer_stats *out)
{
    uint64_t id;
    void *value;
    if (!map_each(&m->peers, at, &id, &value)) return false;
    const struct mesh_peer *p = value;
    *out = (struct mesh_peer_stats){
        .node_id = id,
        .rtt_ns = p->rtt_ns,
        .pings = p->pings,
        .pongs = p->pongs,
        .sent_frames = p->sent_frames,
        .sent_bytes = p->sent_bytes,
        .dropped_frames = p->dropped_frames,
        .received_frames = p->received_frames,
        .received_bytes = p->received_bytes,
        .reconnects = p->reconnects,
    };
    for (enum mesh_lane lane = 0; lane < MESH_LANES; lane++) {
        out->connected[lane] = p->links[lane].state == LINK_READY;
        out->queued[lane] = mesh_link_queued(&p->links[lane]);
    }
    return true;
}

void mesh_stats(const struct mesh *m, struct mesh_stats *out) { *out = m->stats; }
