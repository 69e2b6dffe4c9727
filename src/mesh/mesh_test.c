/* mesh_test.c - meshes of several nodes on pipes in memory and in virtual time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/diag.h"
#include "env/fake_env.h"
#include "mesh/mesh_internal.h"

enum { NODES = 4, SHARDS = 2, SEEN_MAX = 4096, FRAME_MAX = 1 << 20 };
#define PING_NS NS_PER_S

struct seen {
    uint8_t kind;
    uint16_t endpoint, from_shard;
    uint64_t from_node;
    uint64_t number; /* the first 8 bytes of the body */
    size_t size;
    uint64_t order; /* over all shards */
};

struct shard {
    struct node *node;
    struct mesh *mesh;
    struct env_loop *loop;
    struct env_listener *listener;
    struct seen seen[SEEN_MAX];
    size_t seen_count;
    void *held;
    bool answer_at_once, hold;
    size_t left;
};

struct node {
    struct world *world;
    uint64_t id;
    char address[32];
    struct shard shards[SHARDS];
};

struct world {
    struct fake_env *f;
    struct node nodes[NODES + 1]; /* by id */
    uint64_t order;
    struct buf log;
};

static const uint8_t cluster[16] = {1, 2, 3};

static void deliver(void *ctx, const struct mesh_frame *f)
{
    struct shard *s = ctx;
    ASSERT(s->seen_count < SEEN_MAX);
    uint64_t number = f->body.n >= 8 ? get_u64(f->body.p) : 0;
    s->seen[s->seen_count++] = (struct seen){f->kind, f->endpoint, f->from_shard,          f->from_node,
                                             number,  f->body.n,   s->node->world->order++};
    for (size_t i = 8; i < f->body.n; i++) ASSERT(f->body.p[i] == (uint8_t)(number + i));
    if (s->hold) s->held = mesh_hold(s->mesh, f->conn);
    if (s->answer_at_once) mesh_answer(s->mesh, f->conn, MESH_JOIN_REPLY, BYTES_LIT("welcome!"));
}

static void left(void *ctx) { ((struct shard *)ctx)->left++; }

static void on_accept(void *ctx, struct env_stream *s)
{
    mesh_accept(((struct shard *)ctx)->mesh, s, (struct bytes){0});
}

static void log_line(void *ctx, enum diag_level level, const char *line) { buf_printf(ctx, "%s\n", line); }

static void node_start(struct world *w, uint64_t id, const uint8_t cluster_id[16], uint64_t self_id, uint16_t semantics)
{
    struct node *n = &w->nodes[id];
    struct mesh *all[SHARDS];
    n->world = w;
    n->id = id;
    snprintf(n->address, sizeof n->address, "n%u:%u", (unsigned)id, 7000 + (unsigned)id);
    for (uint16_t i = 0; i < SHARDS; i++) {
        struct shard *s = &n->shards[i];
        s->node = n;
        s->loop = fake_loop_new(w->f);
        struct mesh_options o = {.loop = s->loop,
                                 .node_id = self_id,
                                 .shard = i,
                                 .shard_count = SHARDS,
                                 .deliver = deliver,
                                 .ctx = s,
                                 .left = left,
                                 .frame_bytes_max = FRAME_MAX,
                                 .peers_max = NODES,
                                 .ping_ns = PING_NS,
                                 .semantics_oldest = semantics,
                                 .semantics_newest = semantics};
        memcpy(o.cluster_id, cluster_id, 16);
        o.queue_bytes_max[MESH_URGENT] = 4 << 20;
        o.queue_bytes_max[MESH_BULK] = 80 << 20;
        all[i] = s->mesh = mesh_new(&o);
        env_listen(s->loop, n->address, on_accept, s, &s->listener, NULL);
    }
    for (uint16_t i = 0; i < SHARDS; i++) mesh_link_local(n->shards[i].mesh, all);
}

static void node_stop_listening(struct node *n)
{
    for (uint16_t i = 0; i < SHARDS; i++) {
        if (n->shards[i].listener != NULL) env_listener_close(n->shards[i].listener);
        n->shards[i].listener = NULL;
    }
}

static void node_listen(struct node *n)
{
    for (uint16_t i = 0; i < SHARDS; i++)
        env_listen(n->shards[i].loop, n->address, on_accept, &n->shards[i], &n->shards[i].listener, NULL);
}

static struct world *world_new(void)
{
    struct world *w = mem_zalloc(sizeof *w);
    w->f = fake_env_new();
    diag_set_sink(log_line, &w->log, DIAG_INFO);
    return w;
}

static void know(struct world *w, uint64_t who, uint64_t whom)
{
    for (uint16_t i = 0; i < SHARDS; i++) mesh_set_peer(w->nodes[who].shards[i].mesh, whom, w->nodes[whom].address);
}

static struct world *world_of(uint64_t nodes)
{
    struct world *w = world_new();
    for (uint64_t id = 1; id <= nodes; id++) node_start(w, id, cluster, id, 1);
    for (uint64_t a = 1; a <= nodes; a++)
        for (uint64_t b = 1; b <= nodes; b++)
            if (a != b) know(w, a, b);
    return w;
}

static void world_free(struct world *w)
{
    for (uint64_t id = 1; id <= NODES; id++)
        for (uint16_t i = 0; i < SHARDS; i++) mesh_free(w->nodes[id].shards[i].mesh);
    fake_env_free(w->f);
    diag_set_sink(NULL, NULL, DIAG_INFO);
    buf_deinit(&w->log);
    mem_free(w);
}

static bool logged(struct world *w, const char *text)
{
    buf_put_u8(&w->log, 0);
    bool found = strstr((char *)w->log.p, text) != NULL;
    w->log.n--;
    return found;
}

static struct shard *shard(struct world *w, uint64_t node, uint16_t i) { return &w->nodes[node].shards[i]; }

static enum status send_number(struct shard *s, uint64_t to, uint16_t endpoint, enum mesh_lane lane, uint64_t number,
                               size_t size)
{
    uint8_t *body = mem_alloc(size);
    ASSERT(size >= 8);
    for (size_t i = 8; i < size; i++) body[i] = (uint8_t)(number + i);
    put_u64(body, number);
    enum status st = mesh_send2(s->mesh, to, endpoint, lane, MESH_RAFT, bytes_of(body, 3),
                                bytes_of(body + 3, size - 3));
    mem_free(body);
    return st;
}

static struct mesh_peer_stats peer_stats(struct shard *s, uint64_t id)
{
    struct mesh_peer_stats p;
    for (size_t at = 0; mesh_each_peer(s->mesh, &at, &p);)
        if (p.node_id == id) return p;
    fail_msg("no peer %u", (unsigned)id);
    return p;
}

static struct mesh_stats stats(struct shard *s)
{
    struct mesh_stats out;
    mesh_stats(s->mesh, &out);
    return out;
}

/* ---- delivery ---- */

static void test_to_the_shard_of_the_endpoint(void **state)
{
    static const struct {
        uint16_t endpoint, shard;
    } rows[] = {{0, 0}, {1, 1}, {6, 0}, {0x7fff, 1}, {MESH_SHARD, 0}, {MESH_SHARD + 1, 1}, {MESH_NODE, 0}};
    struct world *w = world_of(2);
    for (uint64_t to = 1; to <= 2; to++) { /* to itself, and to another node */
        for (uint16_t from = 0; from < SHARDS; from++) {
            for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
                struct shard *r = shard(w, to, rows[i].shard);
                size_t before = r->seen_count, all = shard(w, to, 0)->seen_count + shard(w, to, 1)->seen_count;
                assert_int_equal(send_number(shard(w, 1, from), to, rows[i].endpoint, MESH_URGENT, 100 + i, 8), ST_OK);
                assert_int_equal(r->seen_count, before); /* never within the call */
                fake_run(w->f);
                assert_int_equal(shard(w, to, 0)->seen_count + shard(w, to, 1)->seen_count, all + 1);
                assert_int_equal(r->seen_count, before + 1);
                struct seen *s = &r->seen[before];
                assert_int_equal(s->kind, MESH_RAFT);
                assert_int_equal(s->endpoint, rows[i].endpoint);
                assert_int_equal(s->from_node, 1);
                assert_int_equal(s->from_shard, from);
                assert_int_equal(s->number, 100 + i);
            }
        }
    }
    world_free(w);
}

static void test_no_such_place(void **state)
{
    struct world *w = world_of(2);
    struct shard *a = shard(w, 1, 0);
    assert_int_equal(send_number(a, 99, 0, MESH_URGENT, 1, 8), ST_NOT_FOUND);
    assert_int_equal(send_number(a, 1, MESH_SHARD + SHARDS, MESH_URGENT, 1, 8), ST_NOT_FOUND);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 1, FRAME_MAX + 1), ST_TOO_LARGE);
    /* Another node may have had more shards when the request came from there. */
    assert_int_equal(send_number(a, 2, MESH_SHARD + SHARDS, MESH_URGENT, 1, 8), ST_OK);
    fake_run(w->f);
    assert_int_equal(stats(shard(w, 2, 0)).unknown + stats(shard(w, 2, 1)).unknown, 1);
    assert_int_equal(shard(w, 2, 0)->seen_count + shard(w, 2, 1)->seen_count, 0);
    mesh_set_peer(a->mesh, 2, NULL);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 1, 8), ST_NOT_FOUND);
    world_free(w);
}

static void test_order_whatever_the_reads(void **state)
{
    static const size_t reads[] = {1, 7, 13, 100, 65536};
    for (size_t k = 0; k < ARRAY_COUNT(reads); k++) {
        struct world *w = world_of(2);
        w->f->read_bytes = reads[k];
        for (uint64_t i = 0; i < 300; i++) {
            assert_int_equal(send_number(shard(w, 1, 0), 2, 0, MESH_URGENT, i, 8 + i % 90), ST_OK);
            assert_int_equal(send_number(shard(w, 1, 0), 2, 1, MESH_BULK, i, 8 + i % 90), ST_OK);
            assert_int_equal(send_number(shard(w, 1, 0), 1, 1, MESH_BULK, i, 8 + i % 90), ST_OK);
            if (i % 17 == 0) fake_turn(w->f);
        }
        fake_run(w->f);
        const struct shard *got[] = {shard(w, 2, 0), shard(w, 2, 1), shard(w, 1, 1)};
        for (size_t g = 0; g < ARRAY_COUNT(got); g++) {
            assert_int_equal(got[g]->seen_count, 300);
            for (uint64_t i = 0; i < 300; i++) assert_int_equal(got[g]->seen[i].number, i);
        }
        world_free(w);
    }
}

/* What a test may do to frames: by number, the fate and the delay. */
static enum mesh_fate fate(void *ctx, const struct mesh_frame *f, uint64_t *out_delay_ns)
{
    static const enum mesh_fate fates[] = {MESH_PASS, MESH_DROP, MESH_REPEAT, MESH_DELAY, MESH_PASS};
    uint64_t number = get_u64(f->body.p);
    *out_delay_ns = 5 * NS_PER_MS;
    return number < ARRAY_COUNT(fates) ? fates[number] : MESH_DELAY;
}

static void test_disturbed_frames(void **state)
{
    static const uint64_t at_once[] = {0, 2, 4}, all[] = {0, 2, 4, 2, 3};
    for (uint16_t endpoint = 0; endpoint < SHARDS; endpoint++) { /* of the connection's shard or not */
        struct world *w = world_of(2);
        struct shard *to = shard(w, 2, endpoint);
        for (uint16_t i = 0; i < SHARDS; i++) shard(w, 2, i)->mesh->o.fate = fate;
        for (uint64_t i = 0; i < 5; i++)
            assert_int_equal(send_number(shard(w, 1, 0), 2, endpoint, MESH_URGENT, i, 20), ST_OK);
        fake_run(w->f);
        assert_int_equal(to->seen_count, ARRAY_COUNT(at_once));
        for (size_t i = 0; i < ARRAY_COUNT(at_once); i++) assert_int_equal(to->seen[i].number, at_once[i]);
        fake_advance(w->f, 6 * NS_PER_MS);
        assert_int_equal(to->seen_count, ARRAY_COUNT(all));
        for (size_t i = 0; i < ARRAY_COUNT(all); i++) assert_int_equal(to->seen[i].number, all[i]);
        /* What is kept is bounded, and goes with the mesh. */
        for (uint64_t i = 0; i < MESH_DELAYED_MAX + 10; i++)
            assert_int_equal(send_number(shard(w, 1, 0), 2, endpoint, MESH_URGENT, 100 + i, 20), ST_OK);
        fake_run(w->f);
        assert_int_equal(to->seen_count, ARRAY_COUNT(all) + 10);
        world_free(w);
    }
}

static void test_a_turn_is_one_write(void **state)
{
    struct world *w = world_of(2);
    assert_int_equal(send_number(shard(w, 1, 0), 2, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_run(w->f); /* connected */
    uint64_t before = w->f->writes;
    for (uint64_t i = 0; i < 1000; i++) assert_int_equal(send_number(shard(w, 1, 0), 2, 0, MESH_URGENT, i, 100), ST_OK);
    assert_int_equal(w->f->writes, before);
    assert_int_equal(mesh_queued(shard(w, 1, 0)->mesh, 2, MESH_URGENT), 1000 * (MESH_HEADER_BYTES + 100));
    fake_run(w->f);
    assert_int_equal(w->f->writes, before + 1);
    assert_int_equal(mesh_queued(shard(w, 1, 0)->mesh, 2, MESH_URGENT), 0);
    struct mesh_peer_stats p = peer_stats(shard(w, 1, 0), 2);
    assert_int_equal(p.sent_frames, 1001);
    assert_int_equal(p.dropped_frames, 0);
    uint64_t received = peer_stats(shard(w, 2, 0), 1).received_frames + peer_stats(shard(w, 2, 1), 1).received_frames;
    assert_int_equal(received, 1001);
    world_free(w);
}

static void test_no_allocation_in_steady_state(void **state)
{
    struct world *w = world_of(2);
    struct mesh_peer *p = map_get(&shard(w, 1, 0)->mesh->peers, 2);
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(send_number(shard(w, 1, 0), 2, 0, MESH_URGENT, i, 500), ST_OK);
        if (i % 10 == 9) fake_run(w->f);
    }
    assert_non_null(p->links[MESH_URGENT].spare);
    uint8_t *out = p->links[MESH_URGENT].spare->own.p;
    assert_non_null(out);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(send_number(shard(w, 1, 0), 2, 0, MESH_URGENT, i, 500), ST_OK);
        if (i % 10 == 9) fake_run(w->f);
        assert_ptr_equal(p->links[MESH_URGENT].spare->own.p, out);
    }
    world_free(w);
}

/* ---- lanes, bounds, peers that do not read ---- */

static void test_bulk_does_not_delay_urgent(void **state)
{
    enum { BULK_FRAME = 1 << 20, BULK_COUNT = 64 };
    struct world *w = world_of(2);
    struct shard *a = shard(w, 1, 0), *b = shard(w, 2, 0);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 0, 8), ST_OK);
    assert_int_equal(send_number(a, 2, 0, MESH_BULK, 0, 8), ST_OK);
    fake_run(w->f);
    b->seen_count = 0;
    for (uint64_t i = 0; i < BULK_COUNT; i++)
        assert_int_equal(send_number(a, 2, 0, MESH_BULK, 1000 + i, BULK_FRAME), ST_OK);
    assert_true(mesh_queued(a->mesh, 2, MESH_BULK) > 64u << 20);
    uint64_t urgent_sent = 0, urgent_turns_max = 0;
    while (mesh_queued(a->mesh, 2, MESH_BULK) > 0) {
        uint64_t turns = 0, want = ++urgent_sent, got;
        assert_int_equal(send_number(a, 2, 0, MESH_URGENT, want, 8), ST_OK);
        do {
            fake_turn(w->f);
            turns++;
            got = 0;
            for (size_t i = 0; i < b->seen_count; i++) got += b->seen[i].number == want;
        } while (got == 0 && turns < 100);
        urgent_turns_max = MAX(urgent_turns_max, turns);
    }
    fake_run(w->f);
    /* As on an idle mesh: one turn to write, one to read, one if it hops to another shard, one to be delivered there.
     */
    assert_true(urgent_turns_max <= 4);
    assert_true(urgent_sent > BULK_COUNT);
    size_t bulk = 0;
    for (size_t i = 0; i < b->seen_count; i++) bulk += b->seen[i].size == BULK_FRAME;
    assert_int_equal(bulk, BULK_COUNT);
    world_free(w);
}

/* The end of the connection at the receiving shard. */
static struct mesh_link *link_of(struct shard *s, uint64_t to, enum mesh_lane lane)
{
    struct mesh_peer *p = map_get(&s->mesh->peers, to);
    return &p->links[lane];
}
static struct fake_stream *far_end(struct shard *s, uint64_t to, enum mesh_lane lane)
{
    return ((struct fake_stream *)link_of(s, to, lane)->stream)->other;
}

static void test_a_stalled_peer_costs_its_own_queue(void **state)
{
    struct world *w = world_of(3);
    struct shard *a = shard(w, 1, 0);
    for (uint64_t to = 2; to <= 3; to++) assert_int_equal(send_number(a, to, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_run(w->f);
    far_end(a, 2, MESH_URGENT)->stalled = true;
    enum status st = ST_OK;
    uint64_t sent = 0;
    while (st == ST_OK) {
        st = send_number(a, 2, 0, MESH_URGENT, ++sent, 10000);
        if (sent % 50 == 0) fake_run(w->f);
    }
    assert_int_equal(st, ST_OVERLOADED);
    size_t queued = mesh_queued(a->mesh, 2, MESH_URGENT);
    assert_true(queued <= 4 << 20 && queued > (4 << 20) - 2 * 10000);
    assert_int_equal(stats(a).overloaded, 1);
    assert_int_equal(peer_stats(a, 2).dropped_frames, 1);
    for (uint64_t i = 1; i <= 500; i++) {
        assert_int_equal(send_number(a, 3, 0, MESH_URGENT, i, 10000), ST_OK);
        fake_run(w->f);
    }
    assert_int_equal(shard(w, 3, 0)->seen_count, 501);
    assert_int_equal(mesh_queued(a->mesh, 3, MESH_URGENT), 0);
    /* It goes on reading: what was queued arrives, in order. */
    shard(w, 2, 0)->seen_count = 0;
    far_end(a, 2, MESH_URGENT)->stalled = false;
    fake_run(w->f);
    assert_int_equal(shard(w, 2, 0)->seen_count, sent - 1);
    for (uint64_t i = 1; i < sent; i++) assert_int_equal(shard(w, 2, 0)->seen[i - 1].number, i);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 1, 8), ST_OK);
    world_free(w);
}

static void test_mailbox_bound(void **state)
{
    struct world *w = world_of(1);
    struct shard *a = shard(w, 1, 0);
    uint64_t sent = 0;
    while (send_number(a, 1, 1, MESH_URGENT, sent, 10000) == ST_OK) sent++;
    assert_true(sent * 10000 <= 4 << 20 && sent * 10100 > (4 << 20) - 20000);
    assert_int_equal(stats(a).local_dropped, 1);
    assert_int_equal(send_number(a, 1, 1, MESH_BULK, 0, 8), ST_OK); /* the other lane has its own */
    assert_int_equal(send_number(a, 1, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_run(w->f);
    assert_int_equal(shard(w, 1, 1)->seen_count, sent + 1);
    assert_int_equal(send_number(a, 1, 1, MESH_URGENT, sent, 10000), ST_OK);
    world_free(w);
}

/* ---- reconnecting ---- */

static void test_waits_only_for_little_while_unconnected(void **state)
{
    struct world *w = world_of(2);
    struct shard *a = shard(w, 1, 0);
    uint64_t sent = 0;
    while (send_number(a, 2, 0, MESH_URGENT, sent, 1000) == ST_OK) sent++;
    assert_in_range(sent * 1012, MESH_WAIT_BYTES - 2024, MESH_WAIT_BYTES);
    /* One frame always fits. */
    assert_int_equal(send_number(a, 2, 0, MESH_BULK, 7, FRAME_MAX), ST_OK);
    assert_int_equal(send_number(a, 2, 0, MESH_BULK, 8, 8), ST_OVERLOADED);
    fake_run(w->f);
    assert_int_equal(shard(w, 2, 0)->seen_count, sent + 1);
    world_free(w);
}

static void test_backs_off_and_comes_back(void **state)
{
    struct world *w = world_of(2);
    struct shard *a = shard(w, 1, 0);
    node_stop_listening(&w->nodes[2]);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 1, 8), ST_OK);
    uint64_t start = w->f->now_ns, last = start, tries = 1, gap_max = 0;
    fake_run(w->f);
    assert_int_equal(w->f->connects, 1);
    assert_int_equal(peer_stats(a, 2).dropped_frames, 1); /* what waited for the attempt went with it */
    while (w->f->now_ns - start < 60 * NS_PER_S) {
        fake_advance(w->f, 10 * NS_PER_MS);
        if (w->f->connects == tries) continue;
        uint64_t gap = w->f->now_ns - last;
        assert_int_equal(w->f->connects, tries + 1);
        if (tries == 1) assert_in_range(gap, 50 * NS_PER_MS, 110 * NS_PER_MS);
        assert_in_range(gap, 50 * NS_PER_MS, 2010 * NS_PER_MS);
        gap_max = MAX(gap_max, gap);
        last = w->f->now_ns;
        tries++;
    }
    assert_true(gap_max > NS_PER_S);
    assert_in_range(tries, 30, 70);
    assert_true(logged(w, "mesh.unreachable node=1 shard=0 peer=2 lane=urgent address=n2:7002"));
    buf_clear(&w->log);
    fake_advance(w->f, 5 * NS_PER_S);
    assert_false(logged(w, "mesh.unreachable")); /* said once */
    node_listen(&w->nodes[2]);
    fake_advance(w->f, 3 * NS_PER_S); /* by itself */
    assert_true(peer_stats(a, 2).connected[MESH_URGENT]);
    assert_int_equal(peer_stats(a, 2).reconnects, 1);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 2, 8), ST_OK);
    fake_run(w->f);
    assert_int_equal(shard(w, 2, 0)->seen_count, 1);
    assert_int_equal(shard(w, 2, 0)->seen[0].number, 2);
    /* The next break starts with a short wait again. */
    fake_reset(link_of(a, 2, MESH_URGENT)->stream);
    fake_run(w->f);
    assert_false(peer_stats(a, 2).connected[MESH_URGENT]);
    fake_advance(w->f, 110 * NS_PER_MS);
    assert_true(peer_stats(a, 2).connected[MESH_URGENT]);
    world_free(w);
}

static void test_a_break_drops_what_is_queued(void **state)
{
    struct world *w = world_of(2);
    struct shard *a = shard(w, 1, 0);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_run(w->f);
    far_end(a, 2, MESH_URGENT)->stalled = true;
    for (uint64_t i = 1; i <= 300; i++) {
        assert_int_equal(send_number(a, 2, 0, MESH_URGENT, i, 10000), ST_OK);
        if (i % 100 == 0) fake_run(w->f);
    }
    uint64_t sent = peer_stats(a, 2).sent_frames;
    assert_true(sent > 1 && sent < 301);
    fake_reset(link_of(a, 2, MESH_URGENT)->stream);
    fake_run(w->f);
    assert_int_equal(peer_stats(a, 2).dropped_frames, 301 - sent);
    assert_int_equal(mesh_queued(a->mesh, 2, MESH_URGENT), 0);
    assert_true(logged(w, "mesh.disconnected node=1 shard=0 peer=2 lane=urgent"));
    /* At most once: nothing of the old connection comes with the new one. */
    shard(w, 2, 0)->seen_count = 0;
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 777, 8), ST_OK);
    fake_advance(w->f, 200 * NS_PER_MS);
    assert_int_equal(shard(w, 2, 0)->seen_count, 1);
    assert_int_equal(shard(w, 2, 0)->seen[0].number, 777);
    world_free(w);
}

static void test_pings_measure(void **state)
{
    struct world *w = world_of(2);
    struct shard *a = shard(w, 1, 0);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_run(w->f);
    struct fake_stream *far = far_end(a, 2, MESH_URGENT);
    for (int i = 0; i < 50; i++) { /* each ping waits 30 ms to be read */
        far->stalled = true;
        fake_advance(w->f, i == 0 ? PING_NS : PING_NS - 30 * NS_PER_MS);
        fake_advance(w->f, 30 * NS_PER_MS);
        far->stalled = false;
        fake_run(w->f);
        assert_true(peer_stats(a, 2).rtt_ns == 30 * NS_PER_MS);
    }
    assert_int_equal(peer_stats(a, 2).pings, 50);
    assert_int_equal(peer_stats(a, 2).pongs, 50);
    far->stalled = true; /* smoothed: one slow answer counts for an eighth */
    fake_advance(w->f, PING_NS - 30 * NS_PER_MS);
    fake_advance(w->f, 830 * NS_PER_MS);
    far->stalled = false;
    fake_run(w->f);
    assert_true(peer_stats(a, 2).rtt_ns == 130 * NS_PER_MS);
    world_free(w);
}

static void test_half_open_is_found(void **state)
{
    for (enum mesh_lane lane = 0; lane < MESH_LANES; lane++) {
        struct world *w = world_of(2);
        struct shard *a = shard(w, 1, 0);
        assert_int_equal(send_number(a, 2, 0, lane, 0, 8), ST_OK);
        fake_advance(w->f, 10 * PING_NS);
        assert_true(peer_stats(a, 2).connected[lane]);
        fake_cut(link_of(a, 2, lane)->stream);
        assert_int_equal(send_number(a, 2, 0, lane, 1, 8), ST_OK);
        fake_advance(w->f, 3 * PING_NS);
        assert_true(peer_stats(a, 2).connected[lane]);
        fake_advance(w->f, 4 * PING_NS);
        assert_true(logged(w, "why=\"no answer to a ping for"));
        assert_int_equal(peer_stats(a, 2).reconnects + !peer_stats(a, 2).connected[lane], 1);
        assert_int_equal(send_number(a, 2, 0, lane, 2, 8), ST_OK);
        fake_advance(w->f, NS_PER_S);
        assert_int_equal(shard(w, 2, 0)->seen_count, 2);
        assert_int_equal(shard(w, 2, 0)->seen[1].number, 2);
        /* The half that was left on the other side is replaced, or found quiet. */
        fake_advance(w->f, 2 * MESH_IDLE_NS);
        assert_int_equal(stats(shard(w, 2, 0)).conns + stats(shard(w, 2, 1)).conns, 1);
        assert_int_equal(shard(w, 2, 0)->left + shard(w, 2, 1)->left, 1);
        world_free(w);
    }
}

static void test_a_slow_bulk_transfer_is_not_taken_for_dead(void **state)
{
    struct world *w = world_of(2);
    struct shard *a = shard(w, 1, 0);
    w->f->window_bytes = 64 * 1024;
    assert_int_equal(send_number(a, 2, 0, MESH_BULK, 0, 8), ST_OK);
    fake_run(w->f);
    struct fake_stream *far = far_end(a, 2, MESH_BULK);
    far->stalled = true;
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(send_number(a, 2, 0, MESH_BULK, i, FRAME_MAX), ST_OK);
    for (int i = 0; i < 60; i++) { /* 64 KiB a second: a pong takes a minute */
        fake_advance(w->f, PING_NS);
        far->stalled = false;
        fake_turn(w->f);
        far->stalled = true;
        fake_run(w->f);
        assert_true(peer_stats(a, 2).connected[MESH_BULK]);
    }
    far->stalled = false;
    fake_run(w->f);
    assert_int_equal(shard(w, 2, 0)->seen_count, 5);
    world_free(w);
}

static void test_a_peer_that_accepts_but_never_greets(void **state)
{
    struct world *w = world_of(2);
    struct shard *a = shard(w, 1, 0);
    w->f->silent = w->nodes[2].address;
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_advance(w->f, 6 * NS_PER_S);
    assert_true(logged(w, "why=\"no connection in time\""));
    assert_int_equal(peer_stats(a, 2).dropped_frames, 1);
    world_free(w);
}

/* ---- who may talk to whom ---- */

static void test_wrong_cluster(void **state)
{
    static const uint8_t other[16] = {9};
    struct world *w = world_new();
    node_start(w, 1, cluster, 1, 1);
    node_start(w, 2, other, 2, 1);
    know(w, 1, 2);
    assert_int_equal(send_number(shard(w, 1, 0), 2, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_advance(w->f, 14 * NS_PER_S);
    assert_int_equal(w->f->connects, 1); /* it waits for long */
    assert_int_equal(shard(w, 2, 0)->seen_count, 0);
    assert_true(logged(w, "mesh.refuse node=2 shard="));
    assert_true(logged(w, "mesh.refused node=1 shard=0 peer=2 lane=urgent address=n2:7002 why=\"cluster "
                          "09000000000000000000000000000000 here, 01020300000000000000000000000000 at 127.0.0.1:"));
    fake_advance(w->f, 20 * NS_PER_S);
    assert_int_equal(w->f->connects, 2);
    assert_int_equal(stats(shard(w, 2, 0)).refused + stats(shard(w, 2, 1)).refused, 2);
    world_free(w);
}

static void test_wrong_semantics(void **state)
{
    struct world *w = world_new();
    node_start(w, 1, cluster, 1, 1);
    node_start(w, 2, cluster, 2, 3);
    know(w, 2, 1);
    assert_int_equal(send_number(shard(w, 2, 0), 1, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_run(w->f);
    assert_true(logged(w, "mesh.refuse node=1"));
    assert_true(logged(w, "mesh.refused node=2"));
    assert_true(logged(w, "semantics versions 1 to 1 here, 3 to 3 at 127.0.0.1:"));
    assert_false(peer_stats(shard(w, 2, 0), 1).connected[MESH_URGENT]);
    world_free(w);
}

static void test_another_node_at_the_address(void **state)
{
    struct world *w = world_of(3);
    struct shard *a = shard(w, 1, 0);
    mesh_set_peer(a->mesh, 2, w->nodes[3].address);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_run(w->f);
    assert_int_equal(shard(w, 3, 0)->seen_count, 0);
    assert_true(logged(w, "why=\"node 3 here, but 127.0.0.1:"));
    /* The right address is tried at once, not after the long wait. */
    mesh_set_peer(a->mesh, 2, w->nodes[2].address);
    assert_int_equal(send_number(a, 2, 0, MESH_URGENT, 5, 8), ST_OK);
    fake_run(w->f);
    assert_int_equal(shard(w, 2, 0)->seen_count, 1);
    world_free(w);
}

static void test_another_format(void **state)
{
    struct world *w = world_of(1);
    struct fake_client c;
    struct buf b = {0};
    uint8_t body[60] = {2, 0};
    fake_client_connect(&c, shard(w, 1, 0)->loop, w->nodes[1].address);
    buf_put(&b, MESH_MAGIC, 8);
    mesh_frame_put(&b, MESH_HELLO, MESH_NODE, bytes_of(body, sizeof body), (struct bytes){0}, true);
    env_stream_write(c.s, buf_view(&b));
    fake_run(w->f);
    assert_true(c.ended);
    struct mesh_frame f;
    enum mesh_refusal why;
    char text[200];
    assert_int_equal(mesh_frame_decode(buf_view(&c.got), true, &f, NULL), ST_OK);
    assert_int_equal(mesh_refuse_decode(f.body, &why, text, sizeof text), ST_OK);
    assert_int_equal(why, MESH_REFUSED_MISMATCH);
    assert_non_null(strstr(text, "127.0.0.1:"));
    assert_non_null(strstr(text, "frame format 1 here, 2 there"));
    assert_true(logged(w, "frame format 1 here, 2 there"));
    fake_client_free(&c);
    buf_deinit(&b);
    world_free(w);
}

/* ---- bad input ---- */

struct raw { /* a connection on which the test says what it likes */
    struct fake_client c;
    struct buf b;
};

static void raw_open(struct world *w, struct raw *r, uint8_t lane, uint64_t from)
{
    struct mesh_hello h = {.format = MESH_FORMAT,
                           .lane = lane,
                           .semantics_oldest = 1,
                           .semantics_newest = 1,
                           .from_node = from,
                           .to_node = from == 0 ? 0 : 1,
                           .shard_count = 1};
    if (from != 0) memcpy(h.cluster_id, cluster, 16);
    *r = (struct raw){0};
    fake_client_connect(&r->c, shard(w, 1, 0)->loop, w->nodes[1].address);
    buf_put(&r->b, MESH_MAGIC, 8);
    mesh_hello_put(&r->b, &h);
}

static void raw_close(struct raw *r)
{
    fake_client_free(&r->c);
    buf_deinit(&r->b);
}

static void test_a_damaged_frame_closes(void **state)
{
    struct world *w = world_of(1);
    struct raw r;
    raw_open(w, &r, MESH_URGENT, 2);
    mesh_frame_put(&r.b, MESH_RAFT, 0, (struct bytes){0}, BYTES_LIT("\1\0\0\0\0\0\0\0"), true);
    mesh_frame_put(&r.b, MESH_RAFT, 0, (struct bytes){0}, BYTES_LIT("\2\0\0\0\0\0\0\0"), true);
    r.b.p[r.b.n - 8] ^= 0x10;
    env_stream_write(r.c.s, buf_view(&r.b));
    fake_run(w->f);
    assert_true(r.c.ended);
    assert_int_equal(shard(w, 1, 0)->seen_count, 1); /* the whole one before it */
    assert_int_equal(stats(shard(w, 1, 0)).corrupt + stats(shard(w, 1, 1)).corrupt, 1);
    assert_int_equal(stats(shard(w, 1, 0)).conns + stats(shard(w, 1, 1)).conns, 0);
    assert_true(logged(w, "mesh.corrupt node=1"));
    raw_close(&r);
    world_free(w);
}

static void test_an_oversized_frame_is_refused(void **state)
{
    struct world *w = world_of(1);
    struct raw r;
    uint8_t header[MESH_HEADER_BYTES] = {0};
    raw_open(w, &r, MESH_URGENT, 2);
    put_u32(header, FRAME_MAX + 1);
    buf_put(&r.b, header, sizeof header);
    env_stream_write(r.c.s, buf_view(&r.b));
    fake_run(w->f);
    assert_true(r.c.ended);
    assert_true(logged(w, "a frame of 1048577 bytes, at most 1048576"));
    assert_int_equal(stats(shard(w, 1, 0)).corrupt + stats(shard(w, 1, 1)).corrupt, 1);
    raw_close(&r);
    world_free(w);
}

static void test_strangers(void **state)
{
    static const struct {
        uint8_t lane, kind;
        uint64_t from;
        const char *why;
    } rows[] = {
        {MESH_LANE_CALL, MESH_RAFT, 0, "a node without id may only ask to join"},
        {MESH_URGENT, MESH_JOIN, 0,
         "cluster 01020300000000000000000000000000 here, 00000000000000000000000000000000 at "},
        {MESH_URGENT, MESH_ANSWER, 2, "only the mesh itself sends"},
        {MESH_URGENT, MESH_REFUSE, 2, "only the mesh itself sends"},
        {MESH_URGENT, MESH_PONG, 2, "only the mesh itself sends"},
        {MESH_URGENT, MESH_HELLO, 2, "only the mesh itself sends"},
        {MESH_URGENT, 0, 2, "only the mesh itself sends"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct world *w = world_of(1);
        struct raw r;
        raw_open(w, &r, rows[i].lane, rows[i].from);
        mesh_frame_put(&r.b, rows[i].kind, 0, (struct bytes){0}, BYTES_LIT("12345678"), true);
        env_stream_write(r.c.s, buf_view(&r.b));
        fake_run(w->f);
        assert_true(r.c.ended);
        assert_int_equal(shard(w, 1, 0)->seen_count + shard(w, 1, 1)->seen_count, 0);
        assert_true(logged(w, rows[i].why));
        raw_close(&r);
        world_free(w);
    }
}

static void test_no_hello_no_place(void **state)
{
    struct world *w = world_of(1);
    struct fake_client silent, noise;
    fake_client_connect(&silent, shard(w, 1, 0)->loop, w->nodes[1].address);
    fake_client_connect(&noise, shard(w, 1, 0)->loop, w->nodes[1].address);
    env_stream_write(noise.s, BYTES_LIT("CAIRNMSX"));
    fake_run(w->f);
    assert_true(noise.ended);
    assert_false(silent.ended);
    fake_advance(w->f, 6 * NS_PER_S);
    assert_true(silent.ended);
    assert_int_equal(shard(w, 1, 0)->left + shard(w, 1, 1)->left, 2);
    fake_client_free(&silent);
    fake_client_free(&noise);
    world_free(w);
}

static void test_thousands_of_connections(void **state)
{
    enum { COUNT = 2 * MESH_CONNS_MAX + 500 };
    struct world *w = world_of(1);
    struct fake_client *c = mem_zalloc(COUNT * sizeof *c);
    size_t open = 0;
    for (size_t i = 0; i < COUNT; i++) fake_client_connect(&c[i], shard(w, 1, 0)->loop, w->nodes[1].address);
    fake_run(w->f);
    for (size_t i = 0; i < COUNT; i++) open += !c[i].ended;
    assert_int_equal(open, 2 * MESH_CONNS_MAX); /* two shards listen */
    assert_int_equal(stats(shard(w, 1, 0)).refused + stats(shard(w, 1, 1)).refused, 500);
    for (size_t i = 0; i < COUNT; i++) fake_client_free(&c[i]);
    fake_run(w->f);
    assert_int_equal(stats(shard(w, 1, 0)).conns + stats(shard(w, 1, 1)).conns, 0);
    assert_int_equal(shard(w, 1, 0)->left + shard(w, 1, 1)->left, COUNT);
    mem_free(c);
    world_free(w);
}

static void test_who_pings_without_reading(void **state)
{
    struct world *w = world_of(1);
    struct raw r;
    raw_open(w, &r, MESH_URGENT, 2);
    env_stream_write(r.c.s, buf_view(&r.b));
    fake_run(w->f);
    w->f->window_bytes = 4096;
    ((struct fake_stream *)r.c.s)->stalled = true;
    struct fake_stream *far = ((struct fake_stream *)r.c.s)->other;
    buf_clear(&r.b);
    for (int i = 0; i < 50; i++)
        mesh_frame_put(&r.b, MESH_PING, MESH_NODE, (struct bytes){0}, BYTES_LIT("12345678"), true);
    for (int i = 0; i < 100; i++) {
        env_stream_write(r.c.s, buf_view(&r.b));
        fake_run(w->f);
        assert_true(env_stream_queued(&far->base) < 4096);
    }
    raw_close(&r);
    world_free(w);
}

/* ---- joining ---- */

struct call {
    int done;
    uint8_t kind;
    uint64_t from_node;
    struct buf body, why;
};

static void call_done(void *ctx, const struct mesh_frame *answer, const char *why_not)
{
    struct call *c = ctx;
    c->done++;
    if (answer != NULL) {
        c->kind = answer->kind;
        c->from_node = answer->from_node;
        buf_put_bytes(&c->body, answer->body);
    }
    if (why_not != NULL) buf_printf(&c->why, "%s", why_not);
}

static void call_deinit(struct call *c)
{
    buf_deinit(&c->body);
    buf_deinit(&c->why);
    *c = (struct call){0};
}

static struct world *world_with_joiner(void)
{
    static const uint8_t none[16];
    struct world *w = world_of(2);
    node_start(w, 3, none, 0, 1);
    return w;
}

static void test_join(void **state)
{
    struct world *w = world_with_joiner();
    struct shard *joiner = shard(w, 3, 0), *zero = shard(w, 1, 0);
    for (int i = 0; i < 4; i++) { /* both of the shards that listen get it: one owns the answer, the other hops */
        struct call c = {0};
        zero->answer_at_once = i < 2;
        zero->hold = !zero->answer_at_once;
        mesh_call(joiner->mesh, w->nodes[1].address, MESH_JOIN, BYTES_LIT("\7\0\0\0\0\0\0\0"), NS_PER_S, call_done, &c);
        assert_int_equal(c.done, 0);
        fake_run(w->f);
        assert_int_equal(zero->seen_count, i + 1);
        assert_int_equal(zero->seen[i].kind, MESH_JOIN);
        assert_int_equal(zero->seen[i].from_node, 0);
        assert_int_equal(zero->seen[i].number, 7);
        if (zero->hold) {
            assert_int_equal(c.done, 0);
            assert_non_null(zero->held);
            mesh_answer(zero->mesh, zero->held, MESH_JOIN_REPLY, BYTES_LIT("welcome!"));
            fake_run(w->f);
        }
        assert_int_equal(c.done, 1);
        assert_int_equal(c.kind, MESH_JOIN_REPLY);
        assert_int_equal(c.from_node, 1);
        assert_true(bytes_equal(buf_view(&c.body), BYTES_LIT("welcome!")));
        call_deinit(&c);
    }
    fake_run(w->f);
    assert_int_equal(stats(zero).conns + stats(shard(w, 1, 1)).conns, 0);
    assert_int_equal(zero->mesh->holds_count, 0);
    /* Now it has an id, and is a node like others. */
    for (uint16_t i = 0; i < SHARDS; i++) mesh_set_self(shard(w, 3, i)->mesh, 3, cluster);
    know(w, 3, 1);
    zero->answer_at_once = zero->hold = false;
    assert_int_equal(send_number(joiner, 1, MESH_NODE, MESH_URGENT, 5, 8), ST_OK);
    fake_run(w->f);
    assert_int_equal(zero->seen[zero->seen_count - 1].from_node, 3);
    world_free(w);
}

static void test_without_id_only_calls(void **state)
{
    struct world *w = world_with_joiner();
    know(w, 3, 1);
    assert_int_equal(send_number(shard(w, 3, 0), 1, 0, MESH_URGENT, 0, 8), ST_NOT_FOUND);
    world_free(w);
}

static void test_calls_that_fail(void **state)
{
    struct world *w = world_with_joiner();
    struct shard *j = shard(w, 3, 0), *zero = shard(w, 1, 0);
    struct call c = {0};
    mesh_call(j->mesh, "nowhere:1", MESH_JOIN, (struct bytes){0}, NS_PER_S, call_done, &c);
    assert_int_equal(c.done, 0);
    fake_run(w->f);
    assert_int_equal(c.done, 1);
    assert_true(bytes_equal(buf_view(&c.why), BYTES_LIT("nowhere:1: can't connect")));
    call_deinit(&c);
    /* Nobody answers. */
    zero->hold = true;
    mesh_call(j->mesh, w->nodes[1].address, MESH_JOIN, (struct bytes){0}, NS_PER_S, call_done, &c);
    fake_advance(w->f, 2 * NS_PER_S);
    assert_int_equal(c.done, 1);
    assert_true(bytes_equal(buf_view(&c.why), BYTES_LIT("n1:7001: no answer in time")));
    mesh_answer(zero->mesh, zero->held, MESH_JOIN_REPLY, BYTES_LIT("late")); /* to a broken one: dropped */
    fake_run(w->f);
    call_deinit(&c);
    /* Another cluster. */
    static const uint8_t other[16] = {9};
    for (uint16_t i = 0; i < SHARDS; i++) mesh_set_self(shard(w, 3, i)->mesh, 0, other);
    mesh_call(j->mesh, w->nodes[1].address, MESH_JOIN, (struct bytes){0}, NS_PER_S, call_done, &c);
    fake_run(w->f);
    assert_int_equal(c.done, 1);
    buf_put_u8(&c.why, 0);
    assert_non_null(strstr((char *)c.why.p, "cluster 01020300000000000000000000000000 here, 09"));
    call_deinit(&c);
    world_free(w);
}

static void test_too_many_calls_and_stop(void **state)
{
    struct world *w = world_with_joiner();
    struct call c[MESH_CALLS_MAX + 1] = {0};
    w->f->silent = w->nodes[1].address;
    for (size_t i = 0; i <= MESH_CALLS_MAX; i++)
        mesh_call(shard(w, 3, 0)->mesh, w->nodes[1].address, MESH_JOIN, (struct bytes){0}, 100 * NS_PER_S, call_done,
                  &c[i]);
    assert_int_equal(c[MESH_CALLS_MAX].done, 0);
    fake_run(w->f);
    assert_int_equal(c[MESH_CALLS_MAX].done, 1);
    assert_true(bytes_equal(buf_view(&c[MESH_CALLS_MAX].why), BYTES_LIT("n1:7001: too many calls are under way")));
    assert_int_equal(c[0].done, 0);
    mesh_free(shard(w, 3, 0)->mesh);
    shard(w, 3, 0)->mesh = NULL;
    for (size_t i = 0; i <= MESH_CALLS_MAX; i++) {
        assert_int_equal(c[i].done, 1);
        call_deinit(&c[i]);
    }
    world_free(w);
}

static void test_peers_bound(void **state)
{
    struct world *w = world_of(1);
    struct mesh *m = shard(w, 1, 0)->mesh;
    for (uint64_t id = 2; id < 20; id++) mesh_set_peer(m, id, "a:1");
    struct mesh_peer_stats p;
    size_t n = 0;
    for (size_t at = 0; mesh_each_peer(m, &at, &p);) n++;
    assert_int_equal(n, NODES);
    assert_true(logged(w, "more than 4 peers"));
    world_free(w);
}

static void be(struct world *w, uint64_t node, uint64_t id)
{
    struct lineage l = {.first = 5, .count = 1, .ids = {55}};
    lineage_grow(&l, id);
    for (uint16_t i = 0; i < SHARDS; i++) mesh_set_lineage(w->nodes[node].shards[i].mesh, &l);
}

static void catalog_says(struct world *w, uint64_t boot, uint64_t id)
{
    for (uint16_t i = 0; i < SHARDS; i++)
        mesh_set_incarnation(w->nodes[1].shards[i].mesh, 2, (struct incarnation){boot, id});
}

static size_t seen_by_1(struct world *w) { return shard(w, 1, 0)->seen_count + shard(w, 1, 1)->seen_count; }

/* A copy that said hello, and died before the catalog had its start, does not keep the original off. */
static void test_a_hello_fences_nobody(void **state)
{
    struct world *w = world_of(2);
    catalog_says(w, 5, 55);
    be(w, 2, 67);
    assert_int_equal(send_number(shard(w, 2, 0), 1, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_advance(w->f, NS_PER_S);
    assert_int_equal(seen_by_1(w), 1);
    mesh_set_peer(shard(w, 2, 0)->mesh, 1, NULL);
    know(w, 2, 1);
    be(w, 2, 66);
    fake_advance(w->f, NS_PER_S);
    assert_int_equal(send_number(shard(w, 2, 0), 1, 0, MESH_URGENT, 1, 8), ST_OK);
    fake_advance(w->f, 5 * NS_PER_S);
    assert_int_equal(seen_by_1(w), 2);
    assert_false(logged(w, "fenced off"));
    world_free(w);
}

/* Two processes with the same start: who is there first stays, until the catalog says which is right. */
static void test_the_catalog_decides(void **state)
{
    struct world *w = world_of(2);
    env_listener_close(shard(w, 1, 1)->listener); /* both come to the same shard: another does not know of them */
    shard(w, 1, 1)->listener = NULL;
    node_start(w, 3, cluster, 2, 1);
    know(w, 3, 1);
    catalog_says(w, 5, 55);
    be(w, 2, 66);
    be(w, 3, 67);
    assert_int_equal(send_number(shard(w, 2, 0), 1, 0, MESH_URGENT, 0, 8), ST_OK);
    fake_advance(w->f, NS_PER_S);
    assert_int_equal(send_number(shard(w, 3, 0), 1, 0, MESH_URGENT, 1, 8), ST_OK);
    fake_advance(w->f, 500 * NS_PER_MS);
    assert_int_equal(seen_by_1(w), 1);
    assert_true(logged(w, "another start of this node is connected"));
    assert_false(logged(w, "fenced off"));
    catalog_says(w, 6, 67);
    fake_advance(w->f, 10 * NS_PER_S);
    assert_true(logged(w, "mesh.superseded node=1"));
    assert_true(logged(w, "fenced off"));
    assert_int_equal(send_number(shard(w, 3, 0), 1, 0, MESH_URGENT, 2, 8), ST_OK);
    send_number(shard(w, 2, 0), 1, 0, MESH_URGENT, 3, 8);
    fake_advance(w->f, 20 * NS_PER_S);
    bool second = false, first = false;
    for (uint16_t i = 0; i < SHARDS; i++)
        for (size_t k = 0; k < shard(w, 1, i)->seen_count; k++) {
            second = second || shard(w, 1, i)->seen[k].number == 2;
            first = first || shard(w, 1, i)->seen[k].number == 3;
        }
    assert_true(second);
    assert_false(first);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_the_shard_of_the_endpoint),
        cmocka_unit_test(test_no_such_place),
        cmocka_unit_test(test_order_whatever_the_reads),
        cmocka_unit_test(test_disturbed_frames),
        cmocka_unit_test(test_a_turn_is_one_write),
        cmocka_unit_test(test_no_allocation_in_steady_state),
        cmocka_unit_test(test_bulk_does_not_delay_urgent),
        cmocka_unit_test(test_a_stalled_peer_costs_its_own_queue),
        cmocka_unit_test(test_mailbox_bound),
        cmocka_unit_test(test_waits_only_for_little_while_unconnected),
        cmocka_unit_test(test_backs_off_and_comes_back),
        cmocka_unit_test(test_a_break_drops_what_is_queued),
        cmocka_unit_test(test_pings_measure),
        cmocka_unit_test(test_half_open_is_found),
        cmocka_unit_test(test_a_slow_bulk_transfer_is_not_taken_for_dead),
        cmocka_unit_test(test_a_peer_that_accepts_but_never_greets),
        cmocka_unit_test(test_wrong_cluster),
        cmocka_unit_test(test_wrong_semantics),
        cmocka_unit_test(test_another_node_at_the_address),
        cmocka_unit_test(test_another_format),
        cmocka_unit_test(test_a_damaged_frame_closes),
        cmocka_unit_test(test_an_oversized_frame_is_refused),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_no_hello_no_place),
        cmocka_unit_test(test_thousands_of_connections),
        cmocka_unit_test(test_who_pings_without_reading),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_without_id_only_calls),
        cmocka_unit_test(test_calls_that_fail),
        cmocka_unit_test(test_too_many_calls_and_stop),
        cmocka_unit_test(test_peers_bound),
        cmocka_unit_test(test_a_hello_fences_nobody),
        cmocka_unit_test(test_the_catalog_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
