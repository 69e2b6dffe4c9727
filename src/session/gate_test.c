/* gate_test.c - what a gate believes of leaders: news in any order, answers that do not come, doubts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Node 1 has two shards; the gate is shard 0's, and the replica of the partition is on store 1, so on shard 1, where the test
 * answers for it. Nodes 2 and 3 have replicas too; nothing reaches them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "env/fake_env.h"
#include "mesh/mesh.h"
#include "model/catalog.h"
#include "model/op.h"
#include "model/result.h"
#include "replica/host.h"
#include "session/gate.h"
#include "table/place.h"

enum { SHARDS = 2, PARTITION = 2, HERE = 1, ELSEWHERE = 3 };

struct test {
    struct fake_env *env;
    struct env_loop *loops[SHARDS];
    struct mesh *meshes[SHARDS];
    struct gate *gate;
    struct catalog *catalog;
    bool silent;        /* the replica on shard 1 does not answer */
    enum status answer; /* else: what it answers */
    store_addr_t hint;  /* who leads, by its answer */
    size_t asked;
    struct request_head last; /* of what it was asked; op is not kept */
    size_t last_body;         /* bytes of its op's body, that are all 'b' */
    struct buf result;        /* of its answers; empty: OK, or none */
    uint16_t last_shard;
    struct request request;
    size_t body; /* bytes of the request's body */
    size_t done;
};

/* ---- the world around the gate ---- */

static void reply(struct test *t, enum status st, store_addr_t hint)
{
    struct buf b = {0};
    struct reply_head p = {.request_id = t->last.request_id,
                           .partition_id = t->last.partition_id,
                           .status = (uint8_t)st,
                           .leader = hint,
                           .result = t->result.n != 0 ? buf_view(&t->result)
                                     : st == ST_OK    ? BYTES_LIT("o")
                                                      : (struct bytes){0}};
    reply_encode(&p, &b);
    assert_int_equal(
        mesh_send(t->meshes[1], HERE, (uint16_t)(MESH_SHARD + t->last_shard), MESH_URGENT, MESH_REPLY, buf_view(&b)),
        ST_OK);
    buf_deinit(&b);
}

static void deliver_gate(void *ctx, const struct mesh_frame *f)
{
    struct test *t = ctx;
    if (f->kind == MESH_REPLY) gate_deliver(t->gate, f);
}

static void deliver_store(void *ctx, const struct mesh_frame *f)
{
    struct test *t = ctx;
    if (f->kind != MESH_REQUEST) return;
    assert_true(request_decode(f->body, &t->last));
    struct op op;
    assert_true(op_decode(t->last.op, &op));
    for (t->last_body = 0; t->last_body < op.body.n; t->last_body++) assert_int_equal(op.body.p[t->last_body], 'b');
    t->last.op = (struct bytes){0};
    t->last_shard = f->from_shard;
    t->asked++;
    if (!t->silent) reply(t, t->answer, t->hint);
}

static struct replica *no_replica(void *ctx, uint64_t partition_id) { return NULL; }

static void on_done(struct request *r)
{
    struct test *t = CONTAINER_OF(r, struct test, request);
    t->done++;
    buf_deinit(&r->body);
}

static struct catalog *make_catalog(bool here)
{
    struct catalog *c = catalog_new();
    static const uint64_t nodes[] = {HERE, 2, ELSEWHERE};
    c->epoch = 1;
    c->node_count = ARRAY_COUNT(nodes);
    c->nodes = mem_zalloc(c->node_count * sizeof *c->nodes);
    c->partition_count = 1;
    c->partitions = mem_zalloc(sizeof *c->partitions);
    c->partitions[0] = (struct catalog_partition){
        .id = PARTITION, .epoch = 1, .table = TABLE_DEFAULT, .slot_hi = SLOTS};
    for (size_t i = 0; i < c->node_count; i++) {
        c->nodes[i] = (struct catalog_node){.id = nodes[i], .epoch = 1, .state = NODE_UP, .stores = 2};
        snprintf(c->nodes[i].address, sizeof c->nodes[i].address, "n%u:7000", (unsigned)nodes[i]);
        if (nodes[i] == HERE && !here) continue;
        c->partitions[0].replicas[c->partitions[0].count++] = (struct catalog_replica){
            .replica_id = i + 1, .store = store_addr(nodes[i], 1), .roles = RAFT_VOTER};
    }
    return c;
}

static int setup(void **state)
{
    struct test *t = mem_zalloc(sizeof *t);
    static const uint8_t cluster[16] = {1};
    t->env = fake_env_new();
    for (uint16_t i = 0; i < SHARDS; i++) {
        t->loops[i] = fake_loop_new(t->env);
        struct mesh_options o = {.loop = t->loops[i],
                                 .node_id = HERE,
                                 .shard = i,
                                 .shard_count = SHARDS,
                                 .deliver = i == 0 ? deliver_gate : deliver_store,
                                 .ctx = t,
                                 .frame_bytes_max = 1 << 20,
                                 .peers_max = 4,
                                 .queue_bytes_max = {1 << 20, 1 << 20}};
        memcpy(o.cluster_id, cluster, 16);
        t->meshes[i] = mesh_new(&o);
    }
    for (uint16_t i = 0; i < SHARDS; i++) mesh_link_local(t->meshes[i], t->meshes);
    struct gate_options o = {.loop = t->loops[0],
                             .mesh = t->meshes[0],
                             .requests_max = 100,
                             .timeout_ns = 5 * NS_PER_S,
                             .attempt_ns = NS_PER_S,
                             .local = no_replica,
                             .ctx = t};
    t->gate = gate_new(&o);
    gate_set_self(t->gate, HERE);
    t->catalog = make_catalog(true);
    gate_set_catalog(t->gate, t->catalog);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct test *t = *state;
    gate_free(t->gate);
    catalog_unref(t->catalog);
    buf_deinit(&t->result);
    for (uint16_t i = 0; i < SHARDS; i++) mesh_free(t->meshes[i]);
    fake_env_free(t->env);
    mem_free(t);
    return 0;
}

static void submit(struct test *t, enum request_kind kind)
{
    t->request = (struct request){
        .kind = (uint8_t)kind, .table = TABLE_DEFAULT, .slot = 5, .opcode = 300, .done = on_done};
    if (kind == REQUEST_READ) t->request.op_flags = OP_READ;
    memset(buf_extend(&t->request.body, t->body), 'b', t->body);
    gate_submit(t->gate, &t->request);
}

static uint64_t leader_by_map(struct test *t)
{
    struct gate_map map;
    gate_map(t->gate, TABLE_DEFAULT, &map);
    assert_int_equal(map.partition_count, 1);
    return map.partitions[0].leader_node;
}

static void own(struct test *t, uint64_t node, uint64_t term)
{
    gate_leader(t->gate, PARTITION, node != 0 ? store_addr(node, 1) : 0, term, true);
}

static void meta(struct test *t, uint64_t node, uint64_t term)
{
    gate_leader(t->gate, PARTITION, store_addr(node, 1), term, false);
}

/* ---- tests ---- */

/* The order in which news comes does not matter: the newest term counts, and in it what the replica here says. */
static void test_news_order(void **state)
{
    struct test *t = *state;
    assert_int_equal(leader_by_map(t), 0);
    meta(t, 2, 3);
    assert_int_equal(leader_by_map(t), 2);
    own(t, HERE, 4);
    assert_int_equal(leader_by_map(t), HERE);
    meta(t, 2, 3); /* meta has not heard yet */
    own(t, 2, 3);
    assert_int_equal(leader_by_map(t), HERE);
    own(t, 0, 4); /* it stepped down */
    assert_int_equal(leader_by_map(t), 0);
    meta(t, HERE, 4); /* what meta heard before that */
    assert_int_equal(leader_by_map(t), 0);
    meta(t, ELSEWHERE, 5); /* the replica here has not heard of the election */
    assert_int_equal(leader_by_map(t), ELSEWHERE);
    own(t, 0, 4);
    assert_int_equal(leader_by_map(t), ELSEWHERE);
    own(t, ELSEWHERE, 5);
    own(t, ELSEWHERE, 5);
    assert_int_equal(leader_by_map(t), ELSEWHERE);
}

/* Where no replica is left on this node, meta's news of the same term count again. */
static void test_news_of_a_moved_replica(void **state)
{
    struct test *t = *state;
    own(t, 0, 4);
    meta(t, ELSEWHERE, 4);
    assert_int_equal(leader_by_map(t), 0);
    catalog_unref(t->catalog);
    t->catalog = make_catalog(false);
    gate_set_catalog(t->gate, t->catalog);
    meta(t, ELSEWHERE, 4);
    assert_int_equal(leader_by_map(t), ELSEWHERE);
}

/* A node that was stopped for long finds all its attempts late when it goes on. Its replica still leads (or leads again), and
 * says so only once: the gate must not forget it because nobody answered. */
static void test_silence_is_no_news(void **state)
{
    struct test *t = *state;
    own(t, HERE, 4);
    t->silent = true;
    submit(t, REQUEST_READ);
    fake_run(t->env);
    assert_int_equal(t->asked, 1);
    fake_advance(t->env, 1500 * NS_PER_MS); /* the attempt is given up, others are asked */
    assert_int_equal(leader_by_map(t), HERE);
    assert_true(gate_leads(t->gate, TABLE_DEFAULT, 5));
    own(t, HERE, 4); /* said again: no news */
    t->silent = false;
    t->answer = ST_OK;
    fake_advance(t->env, 2 * NS_PER_S); /* among the members that are asked in turn is this one */
    assert_int_equal(t->done, 1);
    assert_int_equal(t->request.status, ST_OK);
    assert_int_equal(leader_by_map(t), HERE);
    size_t asked = t->asked;
    submit(t, REQUEST_READ); /* no doubt any more: it is asked first */
    fake_run(t->env);
    assert_int_equal(t->asked, asked + 1);
    assert_int_equal(t->done, 2);
    assert_int_equal(t->request.attempts, 1);
}

/* "I do not lead" that was sent before the election, and comes after the news of it. */
static void test_late_refusal(void **state)
{
    struct test *t = *state;
    own(t, HERE, 4);
    t->silent = true;
    submit(t, REQUEST_WRITE);
    fake_run(t->env);
    reply(t, ST_NOT_LEADER, 0);
    own(t, HERE, 5);
    fake_run(t->env);
    assert_int_equal(leader_by_map(t), HERE);
    t->silent = false;
    t->answer = ST_OK;
    fake_advance(t->env, NS_PER_S);
    assert_int_equal(t->request.status, ST_OK);
    assert_int_equal(leader_by_map(t), HERE);
    gate_stop(t->gate);
    fake_run(t->env);
    assert_int_equal(t->done, 1);
}

/* A hint of one who knows less than the news is followed once, and does not stay: the news is repeated. */
static void test_old_hint(void **state)
{
    struct test *t = *state;
    own(t, HERE, 4);
    t->answer = ST_NOT_LEADER;
    t->hint = store_addr(2, 1);
    submit(t, REQUEST_READ);
    fake_run(t->env);
    t->answer = ST_OK;
    own(t, HERE, 4);
    assert_int_equal(leader_by_map(t), HERE);
    fake_advance(t->env, NS_PER_S);
    assert_int_equal(t->done, 1);
    assert_int_equal(t->request.status, ST_OK);
}

/* Nobody answers: at the deadline a read was not executed, and of a write it is not known. */
static void test_deadlines(void **state)
{
    struct test *t = *state;
    t->silent = true;
    own(t, HERE, 4);
    submit(t, REQUEST_READ);
    fake_advance(t->env, 6 * NS_PER_S);
    assert_int_equal(t->done, 1);
    assert_int_equal(t->request.status, ST_UNAVAILABLE);
    submit(t, REQUEST_WRITE);
    fake_advance(t->env, 6 * NS_PER_S);
    assert_int_equal(t->done, 2);
    assert_int_equal(t->request.status, ST_OUTCOME_UNKNOWN);
}

/* A partition that is lost says why at once, also through the gate of another shard. */
static void test_lost_partition(void **state)
{
    struct test *t = *state;
    t->answer = ST_UNAVAILABLE;
    buf_put_bytes(&t->result, BYTES_LIT("the log of store 1 is damaged"));
    submit(t, REQUEST_WRITE);
    fake_advance(t->env, 100 * NS_PER_MS);
    own(t, HERE, 4);
    fake_advance(t->env, 500 * NS_PER_MS);
    assert_int_equal(t->done, 1);
    assert_int_equal(t->request.status, ST_UNAVAILABLE);
    assert_non_null(strstr(t->request.err.text, "store 1 is damaged"));
}

/* An op whose session was forgotten is sent again as a newer one, with all that is in it, however large it is. */
static void test_forgotten_session(void **state)
{
    struct test *t = *state;
    own(t, HERE, 4);
    t->body = 200000;
    t->answer = ST_OK;
    result_forgotten(&t->result, 77);
    submit(t, REQUEST_WRITE);
    for (int i = 0; i < 100 && t->asked == 0; i++) fake_turn(t->env);
    assert_int_equal(t->last_body, 200000);
    buf_clear(&t->result);
    fake_advance(t->env, 100 * NS_PER_MS);
    assert_int_equal(t->asked, 2);
    assert_int_equal(t->last_body, 200000);
    assert_int_equal(t->done, 1);
    assert_int_equal(t->request.status, ST_OK);
}

/* A refusal that comes twice ends one attempt. Taken for the answer to the next one, which may be executed, it would have the
 * op made anew: executed twice. (Found by `cairn sim --profile copies`.) */
static void refused_twice(struct test *t, bool forgotten)
{
    own(t, HERE, 4);
    t->answer = forgotten ? ST_OK : ST_NOT_LEADER;
    t->hint = forgotten ? 0 : store_addr(HERE, 1);
    if (forgotten) result_forgotten(&t->result, 77);
    submit(t, REQUEST_WRITE);
    for (int i = 0; i < 100 && t->asked == 0; i++) fake_turn(t->env);
    assert_int_equal(t->asked, 1);
    t->silent = true;
    struct request_head first = t->last;
    fake_advance(t->env, 100 * NS_PER_MS);
    assert_int_equal(t->asked, 2);
    struct request_head second = t->last;
    assert_true(first.request_id != second.request_id);
    for (int i = 0; i < 3; i++) {
        t->last = first;
        reply(t, t->answer, t->hint);
        fake_advance(t->env, 100 * NS_PER_MS);
        assert_int_equal(t->asked, 2);
        assert_int_equal(t->done, 0);
    }
    t->last = second;
    buf_clear(&t->result);
    reply(t, ST_OK, 0);
    fake_run(t->env);
    assert_int_equal(t->done, 1);
    assert_int_equal(t->request.status, ST_OK);
}

static void test_forgotten_twice(void **state) { refused_twice(*state, true); }
static void test_not_leader_twice(void **state) { refused_twice(*state, false); }

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void submit_large(struct test *t, size_t n)
{
    t->request = (struct request){
        .kind = REQUEST_WRITE, .table = TABLE_DEFAULT, .slot = 5, .opcode = 300, .done = on_done};
    memset(buf_extend(&t->request.body, n), 'b', n);
    gate_submit(t->gate, &t->request);
}

/* What is refused at once is told so from a task, never inside gate_submit. */
static void test_refused_later(void **state)
{
    struct test *t = *state;
    own(t, HERE, 4);
    submit_large(t, 2 << 20); /* larger than a frame */
    assert_int_equal(t->done, 0);
    fake_run(t->env);
    assert_int_equal(t->done, 1);
    assert_int_equal(t->request.status, ST_TOO_LARGE);
    assert_int_equal(t->asked, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_forgotten_twice),    TEST(test_not_leader_twice),
                                       TEST(test_news_order),         TEST(test_news_of_a_moved_replica),
                                       TEST(test_silence_is_no_news), TEST(test_late_refusal),
                                       TEST(test_old_hint),           TEST(test_deadlines),
                                       TEST(test_lost_partition),     TEST(test_forgotten_session),
                                       TEST(test_refused_later)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
