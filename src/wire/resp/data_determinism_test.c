/* data_determinism_test.c - the same ops make the same rows and results, however often reads are not ready.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One replica is a leader: it evaluates. The others apply what it logged, after their own schedule of ST_NOT_READY. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/kv_check.h"
#include "wire/resp/data_random_test_util.h"

#define REPLICAS 3

/* Evaluates on the leader; what is left to apply is in encoded. false: the result needs no entry. */
static bool evaluated(struct data *leader, const struct op *op, hlc_t ts, struct buf *encoded, struct buf *result)
{
    enum status st;
    leader->view.base.ts = ts;
    while ((st = op_evaluate(op, &leader->view.base, encoded, result)) == ST_NOT_READY) {
    }
    assert_int_equal(st, ST_OK);
    return encoded->n != 0;
}

static void run_seed(uint64_t seed, int count)
{
    struct data replicas[REPLICAS];
    struct data_command c = {0};
    struct rng rng;
    struct hlc clock = {0};
    uint64_t now_ms = 1700000000000, not_ready = 0;
    rng_init(&rng, seed);
    for (int i = 0; i < REPLICAS; i++) {
        data_init(&replicas[i], now_ms);
        memory_view_inject(&replicas[i].view, i == 0 ? 0 : i == 1 ? 5 : 40, seed + (uint64_t)i);
    }
    for (int n = 0; n < count; n++) {
        struct buf body = {0}, encoded = {0}, results[REPLICAS] = {0};
        struct command_op built = {.body = &body};
        data_random(&c, &rng);
        now_ms += rng_below(&rng, 100000);
        if (!data_build(&replicas[0], c.argv, c.argc, &built, &results[0])) {
            buf_deinit(&results[0]);
            buf_deinit(&body);
            continue;
        }
        struct op op = {
            .semantics = OP_SEMANTICS, .opcode = built.opcode, .flags = built.flags, .body = buf_view(&body)};
        bool logged = true;
        hlc_t ts = hlc_take(&clock, now_ms, op_timestamps(&op));
        if (op.flags & OP_EVALUATE) {
            logged = evaluated(&replicas[1], &op, ts, &encoded, &results[0]);
            if (logged) {
                assert_true(op_decode(buf_view(&encoded), &op));
                ts = hlc_take(&clock, now_ms, op_timestamps(&op));
            }
        }
        for (int i = 0; logged && i < REPLICAS; i++) {
            assert_int_equal(memory_view_run(&replicas[i].view, &op, ts, &results[i]), ST_OK);
            assert_true(bytes_equal(buf_view(&results[i]), buf_view(&results[0])));
        }
        for (int i = 0; i < REPLICAS; i++) buf_deinit(&results[i]);
        buf_deinit(&body);
        buf_deinit(&encoded);
        if (n % 100 != 0) continue;
        for (int i = 1; i < REPLICAS; i++)
            assert_true(memory_view_hash(&replicas[i].view) == memory_view_hash(&replicas[0].view));
    }
    for (int i = 0; i < REPLICAS; i++) {
        struct error err = {0};
        not_ready += replicas[i].view.not_ready_count;
        memory_view_inject(&replicas[i].view, 0, 0);
        replicas[i].view.base.ts = clock.last;
        if (kv_check(&replicas[i].view.base, &err) != ST_OK) fail_msg("seed %d: %s", (int)seed, err.text);
        assert_true(memory_view_hash(&replicas[i].view) == memory_view_hash(&replicas[0].view));
    }
    for (int i = 0; i < REPLICAS; i++) data_deinit(&replicas[i]);
    assert_true(not_ready > (uint64_t)count / 20);
    buf_deinit(&c.text);
}

static void test_replicas_agree(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) run_seed(seed, 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replicas_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
