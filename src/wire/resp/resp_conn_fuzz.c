/* resp_conn_fuzz.c - any bytes from a client, any order of answers, its end at any time: nothing breaks, nothing is
 * left. SPDX-License-Identifier: Apache-2.0
 *
 * The first bytes choose how the rest is cut, when the gate answers and how the connection ends. */
#include "env/fake_env_test_util.h"
#include "session/fake_gate_test_util.h"
#include "wire/resp/resp_door.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > 1 << 16) return 0;
    struct fake_env env;
    struct gate gate;
    struct resp_door_config config;
    struct rng r;
    fake_env_init(&env);
    fake_gate_init(&gate, &env.loop, 1 + data[0] % 4);
    resp_door_config_init(&config);
    config.gate = &gate;
    config.limits = (struct resp_limits){.args_max = 1000, .bulk_max = 10000, .command_max = 40000};
    config.pending_max = 1 + data[0] % 16;
    config.pending_bytes_max = 50000;
    config.output_pause = 2000;
    config.output_max = 60000;
    config.commands_max = 20;
    struct resp_door *door = resp_door_new(&config);
    struct fake_stream *s = fake_stream_new(&env);
    rng_init(&r, (uint64_t)data[1] << 8 | data[2]);
    unsigned step = 1 + data[3];
    resp_conn_new(door, &s->stream, bytes_of(NULL, 0));
    for (size_t at = 4; at < size && !s->closed; at += step) {
        gate.read_now = rng_chance(&r, 2);
        gate.leads = !rng_chance(&r, 8);
        if (rng_chance(&r, 8)) s->room = rng_below(&r, 3000);
        fake_receive(s, bytes_of(data + at, MIN(step, size - at)));
        if (rng_chance(&r, 2)) fake_turn(&env);
        while (gate.waiting_count != 0 && rng_chance(&r, 2)) {
            enum status st = rng_chance(&r, 8) ? ST_OUTCOME_UNKNOWN : ST_OK;
            fake_gate_answer(&gate, rng_below(&r, gate.waiting_count), st, true);
        }
        if (!s->closed && rng_chance(&r, 4)) fake_drain(s, 5000);
    }
    uint64_t how = rng_below(&r, 3);
    if (how == 0 && !s->closed) fake_end(s, ST_IO);
    if (how == 1 && !s->closed) fake_end(s, ST_OK);
    for (int i = 0; i < 1000 && (gate.waiting_count != 0 || !list_empty(&env.deferred)); i++) {
        fake_settle(&env);
        fake_gate_answer_all(&gate);
        if (!s->closed) fake_drain(s, SIZE_MAX);
    }
    resp_door_close_all(door);
    fake_settle(&env);
    fake_gate_answer_all(&gate);
    fake_settle(&env);
    ASSERT(resp_door_busy(door) == 0 && s->closed && env.streams == 0);
    resp_door_free(door);
    fake_stream_free(s);
    fake_gate_deinit(&gate);
    return 0;
}
