/* mesh_conn.c - incoming connections: hello, frames, pongs, answers to calls.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "mesh/mesh_internal.h"

#define RIVAL_NS (2 * NS_PER_S) /* a connection that was silent for as long holds no place: pings come more often */

struct mesh_conn {
    struct mesh *mesh;
    struct link link; /* in mesh.conns */
    uint64_t id;      /* of a call: its key in mesh.conns_by_id; else 0 */
    struct env_stream *stream;
    struct env_timer timer; /* no hello, or nothing any more */
    struct mesh_cutter in;
    size_t magic_seen; /* bytes of MESH_MAGIC that have come */
    bool greeted;
    bool asked;    /* a call: its one frame has come */
    bool answered; /* a call: so has the answer; the caller closes, else the timer does */
    struct mesh_hello hello;
    uint64_t frames, bytes; /* since they were last added to the peer's figures */
    uint64_t heard_ns;
};

static void conn_end(struct mesh_conn *c)
{
    struct mesh *m = c->mesh;
    env_timer_stop(&c->timer);
    env_stream_close(c->stream);
    if (c->id != 0) map_remove(&m->conns_by_id, c->id);
    link_remove(&c->link);
    mesh_cutter_deinit(&c->in);
    mem_free(c);
    m->stats.conns--;
    if (m->o.left != NULL) m->o.left(m->o.ctx);
}

void mesh_conns_free(struct mesh *m)
{
    for (struct link *k; (k = list_first(&m->conns)) != NULL;) conn_end(CONTAINER_OF(k, struct mesh_conn, link));
    map_deinit(&m->conns_by_id);
}

static void conn_write(struct mesh_conn *c, struct buf *b)
{
    env_stream_write(c->stream, buf_view(b));
    buf_deinit(b);
}

/* Tells the log on both sides, and closes. Returns false, for on_frame. */
static bool conn_refuse(struct mesh_conn *c, enum mesh_refusal why, const char *text)
{
    struct mesh *m = c->mesh;
    struct buf b = {0};
    diag(DIAG_ERROR, "mesh.refuse node=%" PRIu64 " shard=%u peer=%" PRIu64 " address=%s why=\"%s\"", m->o.node_id,
         m->o.shard, c->hello.from_node, env_stream_peer(c->stream), text);
    m->stats.refused++;
    mesh_refuse_put(&b, why, text);
    conn_write(c, &b);
    conn_end(c);
    return false;
}

/* Those of incarnations that the known one supersedes: a process that still runs hears why, and ends. */
void mesh_conns_fence(struct mesh *m, uint64_t node_id, struct incarnation known)
{
    for (struct link *k = list_first(&m->conns), *next; k != NULL; k = next) {
        struct mesh_conn *c = CONTAINER_OF(k, struct mesh_conn, link);
        struct incarnation now = lineage_now(&c->hello.lineage);
        char text[500], why[600];
        struct buf b = {0};
        next = list_next(&m->conns, k);
        if (!c->greeted || c->hello.from_node != node_id || now.boot == 0 ||
            (now.boot == known.boot && now.id == known.id) || now.boot > known.boot)
            continue;
        lineage_why(&c->hello.lineage, known, text, sizeof text);
        snprintf(why, sizeof why, "node %" PRIu64 " is fenced off: %s", node_id, text);
        diag(DIAG_INFO,
             "mesh.superseded node=%" PRIu64 " shard=%u peer=%" PRIu64 " address=%s boot=%" PRIu64 " known=%" PRIu64,
             m->o.node_id, m->o.shard, node_id, env_stream_peer(c->stream), now.boot, known.boot);
        mesh_refuse_put(&b, MESH_REFUSED_FENCED, why);
        conn_write(c, &b);
        conn_end(c);
    }
}

bool mesh_hears_other(const struct mesh *m, uint64_t node_id, struct incarnation now, uint64_t within_ns)
{
    uint64_t since = env_now_ns(env_loop_env(m->o.loop));
    since = since > within_ns ? since - within_ns : 0;
    for (struct link *k = list_first(&m->conns); k != NULL; k = list_next(&m->conns, k)) {
        const struct mesh_conn *c = CONTAINER_OF(k, const struct mesh_conn, link);
        struct incarnation other = lineage_now(&c->hello.lineage);
        if (c->greeted && c->hello.from_node == node_id && (other.boot != now.boot || other.id != now.id) &&
            c->heard_ns >= since)
            return true;
    }
    return false;
}

/* The connections that a shard of a node opens anew replace the old ones, which may be half-open. */
static void conn_supersede(struct mesh_conn *c)
{
    for (struct link *k = list_first(&c->mesh->conns), *next; k != NULL; k = next) {
        struct mesh_conn *old = CONTAINER_OF(k, struct mesh_conn, link);
        next = list_next(&c->mesh->conns, k);
        if (old != c && old->greeted && old->hello.from_node == c->hello.from_node &&
            ((old->hello.shard == c->hello.shard && old->hello.lane == c->hello.lane) ||
             lineage_now(&old->hello.lineage).boot < lineage_now(&c->hello.lineage).boot))
            conn_end(old);
    }
}

/* Is another incarnation of the node connected, and alive, that this one is not newer than? Only the catalog can say which is
 * right; until it does, they do not speak in turns. */
static bool conn_rivalled(const struct mesh_conn *c)
{
    struct incarnation now = lineage_now(&c->hello.lineage);
    uint64_t at = env_now_ns(env_loop_env(c->mesh->o.loop));
    for (struct link *k = list_first(&c->mesh->conns); k != NULL; k = list_next(&c->mesh->conns, k)) {
        const struct mesh_conn *old = CONTAINER_OF(k, const struct mesh_conn, link);
        struct incarnation other = lineage_now(&old->hello.lineage);
        if (old != c && old->greeted && old->hello.lane != MESH_LANE_CALL &&
            old->hello.from_node == c->hello.from_node && other.id != now.id && other.boot >= now.boot &&
            now.boot != 0 && at - old->heard_ns < RIVAL_NS)
            return true;
    }
    return false;
}

static bool on_hello(struct mesh_conn *c, struct mesh_frame *f)
{
    struct mesh *m = c->mesh;
    struct mesh_hello mine;
    struct error err = {0};
    struct buf b = {0};
    if (f->kind != MESH_HELLO) return conn_refuse(c, MESH_REFUSED_FAULT, "the first frame is not a hello");
    enum status st = mesh_hello_decode(f->body, &c->hello, &err);
    if (st == ST_OK && m->o.node_id == 0 && c->hello.lane != MESH_LANE_CALL) {
        /* A node that is starting has no identity to compare yet: not a mismatch, which would keep the peer off for long. */
        conn_end(c);
        return false;
    }
    if (st == ST_OK) {
        mesh_hello_of(m, c->hello.lane, 0, &mine);
        st = mesh_hello_check(&mine, &c->hello, env_stream_peer(c->stream), &err);
    } else {
        char at[64];
        snprintf(at, sizeof at, "%s: ", env_stream_peer(c->stream));
        error_prefix(&err, st, "%s", at);
    }
    /* A node that has no id yet, or does not say yet that it is back, may have it in a moment: the other is to try again soon. */
    bool soon = st == ST_CORRUPT || m->o.node_id == 0;
    if (st != ST_OK) return conn_refuse(c, soon ? MESH_REFUSED_FAULT : MESH_REFUSED_MISMATCH, err.text);
    char why[700];
    if (!mesh_admit(m, c->hello.from_node, &c->hello.lineage, env_stream_peer(c->stream), why, sizeof why))
        return conn_refuse(c, MESH_REFUSED_FENCED, why);
    if (c->hello.lane != MESH_LANE_CALL && conn_rivalled(c))
        return conn_refuse(c, MESH_REFUSED_FAULT,
                           "another start of this node is connected, and the catalog does not say yet which "
                           "one is right: try again");
    c->greeted = true;
    c->in.body_max = m->o.frame_bytes_max;
    c->in.keep_buffer = c->hello.lane == MESH_BULK;
    if (c->hello.lane == MESH_LANE_CALL) {
        c->id = ++m->conn_id;
        map_set(&m->conns_by_id, c->id, c);
    } else {
        conn_supersede(c);
    }
    mine.to_node = c->hello.from_node;
    mesh_hello_put(&b, &mine);
    conn_write(c, &b);
    m->stats.accepted++;
    return true;
}

static void on_ping(struct mesh_conn *c, struct mesh_frame *f)
{
    struct buf b = {0};
    /* Who does not read its pongs gets no more of them; the pings are bounded by that side's clock, not by ours. */
    if (f->body.n != 8 || env_stream_queued(c->stream) > MESH_GREETING_BODY_MAX) return;
    mesh_frame_put(&b, MESH_PONG, MESH_NODE, f->body, (struct bytes){0}, true);
    conn_write(c, &b);
}

/* Returns false if the connection is gone. */
static bool on_frame(void *ctx, struct mesh_frame *f)
{
    struct mesh_conn *c = ctx;
    struct mesh *m = c->mesh;
    uint16_t shard;
    if (!c->greeted) return on_hello(c, f);
    if (f->kind == MESH_PING) {
        on_ping(c, f);
        return true;
    }
    if (f->kind <= MESH_PONG || (f->kind >= MESH_ANSWER))
        return conn_refuse(c, MESH_REFUSED_FAULT, "a frame of a kind that only the mesh itself sends");
    bool call = c->id != 0;
    if (call && (c->asked || (c->hello.from_node == 0 && f->kind != MESH_JOIN && f->kind != MESH_WHO)))
        return conn_refuse(c, MESH_REFUSED_FAULT,
                           c->asked ? "a second frame in a call" : "a node without id may only ask to join");
    if (f->kind >= MESH_KIND_COUNT || !mesh_shard_of(m, f->endpoint, &shard)) {
        m->stats.unknown++;
        return !call || conn_refuse(c, MESH_REFUSED_FAULT, "a kind or a shard that is not known here");
    }
    struct mesh_handle handle = {.shard = m->o.shard, .conn_id = c->id};
    c->asked = call;
    c->frames++;
    f->from_node = c->hello.from_node;
    f->from_shard = c->hello.shard;
    f->conn = call ? &handle : NULL;
    mesh_arrived(m, f, c->hello.lane == MESH_BULK ? MESH_BULK : MESH_URGENT);
    return true;
}

static void conn_count(struct mesh *m, uint64_t node_id, uint64_t frames, uint64_t bytes)
{
    struct mesh_peer *p = node_id != 0 ? map_get(&m->peers, node_id) : NULL;
    if (p == NULL) return;
    p->received_frames += frames;
    p->received_bytes += bytes;
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct mesh_conn *c = ctx;
    struct mesh *m = c->mesh;
    struct error err = {0};
    size_t n = data.n;
    c->heard_ns = env_now_ns(env_loop_env(m->o.loop));
    for (; c->magic_seen < MESH_MAGIC_BYTES && data.n > 0; c->magic_seen++, data = bytes_of(data.p + 1, data.n - 1)) {
        if (data.p[0] == (uint8_t)MESH_MAGIC[c->magic_seen]) continue;
        diag(DIAG_WARN, "mesh.not_a_peer node=%" PRIu64 " address=%s", m->o.node_id, env_stream_peer(s));
        m->stats.refused++;
        conn_end(c);
        return;
    }
    c->frames = 0;
    enum status st = mesh_cutter_feed(&c->in, data, on_frame, c, &err);
    if (st == ST_CLOSED) return; /* c is gone */
    conn_count(m, c->hello.from_node, c->frames, n);
    if (st == ST_OK) return;
    m->stats.corrupt++;
    if (st == ST_TOO_LARGE) {
        conn_refuse(c, MESH_REFUSED_FAULT,
                    err.text); /* the sender's limit is another than ours: its log should say so */
        return;
    }
    diag(DIAG_ERROR, "mesh.corrupt node=%" PRIu64 " shard=%u peer=%" PRIu64 " address=%s why=\"%s\"", m->o.node_id,
         m->o.shard, c->hello.from_node, env_stream_peer(s), err.text);
    conn_end(c);
}

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text) { conn_end(ctx); }

static const struct env_stream_events conn_events = {.data = on_data, .closed = on_closed};

static void on_timer(struct env_timer *timer)
{
    struct mesh_conn *c = CONTAINER_OF(timer, struct mesh_conn, timer);
    struct mesh *m = c->mesh;
    uint64_t quiet = env_now_ns(env_loop_env(m->o.loop)) - c->heard_ns;
    if (c->greeted && quiet < MESH_IDLE_NS) {
        env_timer_start(&c->timer, MESH_IDLE_NS - quiet);
        return;
    }
    diag(DIAG_INFO, "mesh.quiet node=%" PRIu64 " shard=%u peer=%" PRIu64 " address=%s why=\"%s\"", m->o.node_id,
         m->o.shard, c->hello.from_node, env_stream_peer(c->stream),
         c->greeted ? "nothing was heard of it" : "no hello in time");
    conn_end(c);
}

void mesh_accept(struct mesh *m, struct env_stream *s, struct bytes first)
{
    if (m->stats.conns >= MESH_CONNS_MAX) {
        m->stats.refused++;
        env_stream_close(s);
        if (m->o.left != NULL) m->o.left(m->o.ctx);
        return;
    }
    struct mesh_conn *c = mem_zalloc(sizeof *c);
    c->mesh = m;
    c->stream = s;
    c->in.body_max = MESH_GREETING_BODY_MAX;
    c->heard_ns = env_now_ns(env_loop_env(m->o.loop));
    env_timer_init(m->o.loop, &c->timer, on_timer);
    env_timer_start(&c->timer, MESH_CONNECT_NS);
    list_push_back(&m->conns, &c->link);
    m->stats.conns++;
    env_stream_set_events(s, &conn_events, c);
    if (first.n > 0) on_data(s, c, first);
}

void mesh_conn_answer(struct mesh *m, uint64_t conn_id, uint8_t kind, struct bytes body)
{
    struct mesh_conn *c = map_get(&m->conns_by_id, conn_id);
    struct buf b = {0};
    if (c == NULL || c->answered) return; /* the caller has gone */
    mesh_frame_put(&b, kind, MESH_NODE, (struct bytes){0}, body, true);
    conn_write(c, &b);
    c->answered = true;
}
