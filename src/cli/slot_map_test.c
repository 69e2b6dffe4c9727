/* slot_map_test.c - what clients make of CLUSTER SLOTS.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/slot_map.h"

#define NODE_A "*4\r\n$9\r\n127.0.0.1\r\n:7000\r\n$1\r\na\r\n*0\r\n"
#define NODE_B "*4\r\n$9\r\n127.0.0.1\r\n:7001\r\n$1\r\nb\r\n*2\r\n$8\r\nhostname\r\n$1\r\nx\r\n"
#define OLD_A  "*2\r\n$9\r\n127.0.0.1\r\n:7000\r\n" /* before Redis 4 */

static void test_parse(void **state)
{
    static const struct {
        const char *reply;
        enum status st;
        size_t nodes;
        unsigned slot;
        const char *leader;
    } cases[] = {
        {"*1\r\n*3\r\n:0\r\n:16383\r\n" NODE_A, ST_OK, 1, 16383, "127.0.0.1:7000"},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n" OLD_A, ST_OK, 1, 0, "127.0.0.1:7000"},
        {"*2\r\n*4\r\n:0\r\n:9\r\n" NODE_A NODE_B "*4\r\n:10\r\n:16383\r\n" NODE_B NODE_A, ST_OK, 2, 9,
         "127.0.0.1:7000"},
        {"*2\r\n*4\r\n:0\r\n:9\r\n" NODE_A NODE_B "*4\r\n:10\r\n:16383\r\n" NODE_B NODE_A, ST_OK, 2, 10,
         "127.0.0.1:7001"},
        /* the same leader of two ranges is one node */
        {"*2\r\n*3\r\n:8192\r\n:16383\r\n" NODE_A "*3\r\n:0\r\n:8191\r\n" NODE_A, ST_OK, 1, 8191, "127.0.0.1:7000"},
        {"*0\r\n", ST_UNAVAILABLE, 0, 0, NULL},
        {"*1\r\n*3\r\n:0\r\n:16382\r\n" NODE_A, ST_UNAVAILABLE, 0, 0, NULL},
        {"-ERR This instance has cluster support disabled\r\n", ST_UNSUPPORTED, 0, 0, NULL},
        {"+OK\r\n", ST_CORRUPT, 0, 0, NULL},
        {"*-1\r\n", ST_UNAVAILABLE, 0, 0, NULL},
        {"*1\r\n:5\r\n", ST_CORRUPT, 0, 0, NULL},
        {"*1\r\n*2\r\n:0\r\n:16383\r\n", ST_CORRUPT, 0, 0, NULL},
        {"*1\r\n*3\r\n:0\r\n:16384\r\n" NODE_A, ST_CORRUPT, 0, 0, NULL},
        {"*1\r\n*3\r\n:9\r\n:8\r\n" NODE_A, ST_CORRUPT, 0, 0, NULL},
        {"*1\r\n*3\r\n:-1\r\n:8\r\n" NODE_A, ST_CORRUPT, 0, 0, NULL},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:7000\r\n", ST_CORRUPT, 0, 0, NULL},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$-1\r\n:7000\r\n", ST_CORRUPT, 0, 0, NULL},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\nx\r\n:65536\r\n", ST_CORRUPT, 0, 0, NULL},
        {"*1\r\n*3\r\n:0\r\n:16383\r\n*1\r\n$1\r\nx\r\n", ST_CORRUPT, 0, 0, NULL},
    };
    struct slot_map *map = mem_zalloc(sizeof *map);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error err = {0};
        struct bytes reply = bytes_str(cases[i].reply);
        if (slot_map_parse(reply, map, &err) != cases[i].st) fail_msg("case %zu: %s", i, err.text);
        if (cases[i].st != ST_OK) continue;
        assert_int_equal(map->node_count, cases[i].nodes);
        assert_string_equal(map->nodes[map->leader[cases[i].slot]], cases[i].leader);
        /* A part of it is not an answer. */
        for (size_t n = 0; n < reply.n; n++)
            assert_int_equal(slot_map_parse(bytes_of(reply.p, n), map, &err), ST_CORRUPT);
    }
    mem_free(map);
}

static void test_too_many_nodes(void **state)
{
    struct slot_map *map = mem_zalloc(sizeof *map);
    struct error err = {0};
    struct buf reply = {0};
    buf_printf(&reply, "*%u\r\n", SLOT_MAP_NODES_MAX + 1);
    for (unsigned i = 0; i <= SLOT_MAP_NODES_MAX; i++)
        buf_printf(&reply, "*3\r\n:%u\r\n:%u\r\n*2\r\n$1\r\nx\r\n:%u\r\n", i, i, 7000 + i);
    assert_int_equal(slot_map_parse(buf_view(&reply), map, &err), ST_UNSUPPORTED);
    buf_deinit(&reply);
    mem_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_too_many_nodes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
