/* fake_gate_test_util.h - a gate in memory, for tests of doors: runs ops on memory views, when and in the order a test
 * wants. SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   partitions are memory views that split the slots evenly. Requests wait until fake_gate_answer takes one;
 * each is executed at that moment, so the order of answers is the order of effects. Reads can be served at once. It
 * defines the functions of gate.h: include it in one file of a test program. */
#ifndef CAIRN_SESSION_FAKE_GATE_TEST_UTIL_H
#define CAIRN_SESSION_FAKE_GATE_TEST_UTIL_H

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "model/memory_view.h"
#include "model/result.h"
#include "session/gate.h"
#include "table/place.h"

#define FAKE_PARTITIONS_MAX 8u

struct gate {
    struct env_loop *loop;
    unsigned partitions;
    struct memory_view views[FAKE_PARTITIONS_MAX];
    struct list waiting; /* requests, oldest first */
    size_t waiting_count, submitted, read_now_served;
    hlc_t ts;
    bool read_now; /* reads may be served at once */
    bool leads;    /* false: every partition is led by node 2 */
    bool no_map;
    bool one_replica;    /* of each partition, on node 1; else on nodes 1 and 2 */
    int64_t wait_answer; /* of REQUEST_WAIT */
    struct buf result;
    struct gate_node nodes[2];
    struct gate_partition map[FAKE_PARTITIONS_MAX];
    uint64_t epoch;
    char setting[64]; /* "maxmemory-like" */
};

static inline void fake_gate_init(struct gate *g, struct env_loop *loop, unsigned partitions)
{
    ASSERT(partitions > 0 && partitions <= FAKE_PARTITIONS_MAX);
    *g = (struct gate){
        .loop = loop, .partitions = partitions, .ts = hlc_from_ms(1700000000000), .read_now = true, .leads = true};
    list_init(&g->waiting);
    for (unsigned i = 0; i < 2; i++) {
        g->nodes[i] = (struct gate_node){.node_id = i + 1, .port = (uint16_t)(7001 + i), .up = true, .self = i == 0};
        snprintf(g->nodes[i].host, sizeof g->nodes[i].host, "10.0.0.%u", i + 1);
    }
    for (unsigned i = 0; i < partitions; i++)
        memory_view_init(&g->views[i], TABLE_DEFAULT, SLOTS * i / partitions, SLOTS * (i + 1) / partitions);
    g->epoch = 7;
    strcpy(g->setting, "42");
}

static inline void fake_gate_deinit(struct gate *g)
{
    ASSERT(list_empty(&g->waiting));
    for (unsigned i = 0; i < g->partitions; i++) memory_view_deinit(&g->views[i]);
    buf_deinit(&g->result);
}

static inline unsigned fake_partition(const struct gate *g, uint16_t slot)
{
    unsigned i = 0;
    while (slot >= SLOTS * (i + 1) / g->partitions) i++;
    return i;
}

static inline enum status fake_execute(struct gate *g, const struct request *r, struct buf *out)
{
    if (r->kind == REQUEST_WAIT) {
        result_int(out, g->wait_answer);
        return ST_OK;
    }
    struct op op = {.semantics = OP_SEMANTICS, .opcode = r->opcode, .flags = r->op_flags, .body = buf_view(&r->body)};
    ASSERT((r->kind == REQUEST_READ) == ((r->op_flags & OP_READ) != 0));
    return memory_view_run(&g->views[fake_partition(g, r->slot)], &op, g->ts += 1024, out);
}

/* Answers the waiting request number `at`: executes it, or fails it with `st` (executed: only its answer is lost). */
static inline void fake_gate_answer(struct gate *g, size_t at, enum status st, bool executed)
{
    ASSERT(at < g->waiting_count);
    struct link *k = list_first(&g->waiting);
    while (at-- > 0) k = list_next(&g->waiting, k);
    link_remove(k);
    g->waiting_count--;
    struct request *r = CONTAINER_OF(k, struct request, link);
    buf_clear(&g->result);
    if (executed) {
        enum status run = fake_execute(g, r, &g->result);
        ASSERT(run == ST_OK);
    }
    r->status = st;
    if (st != ST_OK) error_set(&r->err, st, "the test says so");
    uint8_t *copy = mem_copy(g->result.p, g->result.n); /* so that a view kept too long is found */
    r->result = bytes_of(copy, g->result.n);
    r->done(r);
    mem_free(copy);
}

static inline void fake_gate_answer_all(struct gate *g)
{
    while (g->waiting_count != 0) fake_gate_answer(g, 0, ST_OK, true);
}

void gate_submit(struct gate *g, struct request *r)
{
    g->submitted++;
    g->waiting_count++;
    r->link = (struct link){0};
    list_push_back(&g->waiting, &r->link);
}

bool gate_read_now(struct gate *g, const struct request *r, struct buf *out)
{
    ASSERT(r->kind == REQUEST_READ);
    if (!g->read_now) return false;
    g->read_now_served++;
    return fake_execute(g, r, out) == ST_OK;
}

static inline void fake_fill_map(struct gate *g)
{
    for (unsigned i = 0; i < g->partitions; i++)
        g->map[i] = (struct gate_partition){.partition_id = i + 1,
                                            .table = TABLE_DEFAULT,
                                            .slot_lo = SLOTS * i / g->partitions,
                                            .slot_hi = SLOTS * (i + 1) / g->partitions,
                                            .epoch = g->epoch,
                                            .leader_node = g->leads ? 1 : 2,
                                            .replica_count = g->one_replica ? 1 : 2,
                                            .replica_nodes = {1, 2}};
}

void gate_map(struct gate *g, uint32_t table, struct gate_map *out)
{
    fake_fill_map(g);
    *out = (struct gate_map){.nodes = g->nodes,
                             .node_count = 2,
                             .partitions = g->map,
                             .partition_count = g->no_map ? 0 : g->partitions,
                             .epoch = g->epoch,
                             .self_node = 1};
}

const struct gate_partition *gate_partition_of(struct gate *g, uint32_t table, uint16_t slot)
{
    fake_fill_map(g);
    return g->no_map ? NULL : &g->map[fake_partition(g, slot)];
}

bool gate_leads(struct gate *g, uint32_t table, uint16_t slot) { return g->leads; }
struct env_loop *gate_loop(struct gate *g) { return g->loop; }

void gate_info(struct gate *g, const char *section, struct buf *out)
{
    if (section[0] == 0 || strcmp(section, "keyspace") == 0)
        buf_put_bytes(out, BYTES_LIT("# Keyspace\r\ndb0:keys=1\r\n"));
}

bool gate_config_get(struct gate *g, size_t at, const char **out_name, char *out_value, size_t value_max)
{
    if (at != 0) return false;
    *out_name = "request-timeout-ms";
    snprintf(out_value, value_max, "%s", g->setting);
    return true;
}

enum status gate_config_set(struct gate *g, const char *name, const char *value, struct error *err)
{
    ASSERT(strcmp(name, "request-timeout-ms") == 0);
    uint64_t v;
    if (!bytes_to_u64(bytes_str(value), &v))
        return error_set(err, ST_INVALID, "argument couldn't be parsed into an integer");
    snprintf(g->setting, sizeof g->setting, "%s", value);
    return ST_OK;
}

#endif
