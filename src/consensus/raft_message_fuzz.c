/* raft_message_fuzz.c - any bytes as a raft message: refused, or decoded to something that encodes to the same bytes;
 * and a raft that is given it stays whole. SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "consensus/raft.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_config(const struct raft_message *m)
{
    for (uint32_t i = 0; i < m->entry_count; i++) {
        struct raft_config c;
        if (m->entries[i]->kind != ENTRY_CONF) continue;
        struct buf b = {0};
        ASSERT(raft_config_decode(entry_data(m->entries[i]), &c));
        raft_config_encode(&c, &b);
        ASSERT(bytes_equal(buf_view(&b), entry_data(m->entries[i])));
        buf_deinit(&b);
    }
}

/* A fresh follower takes the message and what it leads to, once. */
static void check_step(struct raft_message *m)
{
    static const struct raft_limits limits = {.append_bytes_max = 400,
                                              .inflight_bytes_max = 2000,
                                              .inflight_count_max = 4,
                                              .uncommitted_bytes_max = 2000,
                                              .tail_bytes_max = 2000,
                                              .reads_max = 2,
                                              .election_ns = 1000,
                                              .resend_ns = 300,
                                              .transfer_ns = 1000};
    struct liveness liveness;
    struct liveness_options lo = {
        .self = m->to_store, .boot_count = 1, .start_ns = 0, .lease_ns = 1000, .drift_ns = 100};
    liveness_init(&liveness, &lo, 0);
    struct raft_options ro = {
        .group_id = 1, .replica_id = m->to, .store = m->to_store, .limits = &limits, .liveness = &liveness};
    struct raft_state st = {.term = 1, .base_index = 1, .base_term = 1, .commit = 1, .applied = 1};
    struct raft_ready ready;
    struct raft *r = raft_new(&ro, &st, 5);
    raft_start(r, 5);
    raft_step(r, 6, m);
    raft_ready(r, &ready);
    raft_step(r, 7, m);
    raft_tick(r, 3000);
    raft_ready(r, &ready);
    raft_free(r);
    liveness_deinit(&liveness);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_message m;
    struct entry *entries[64];
    struct error err;
    struct buf again = {0};
    struct liveness_beat beat;
    if (raft_message_decode(bytes_of(data, size), &m, entries, ARRAY_COUNT(entries), &err) == ST_OK) {
        raft_message_encode(&m, &again);
        ASSERT(bytes_equal(buf_view(&again), bytes_of(data, size)));
        check_config(&m);
        check_step(&m);
        for (uint32_t i = 0; i < m.entry_count; i++) entry_unref(entries[i]);
    }
    buf_clear(&again);
    if (liveness_decode(bytes_of(data, size), &beat)) {
        liveness_encode(&beat, &again);
        ASSERT(bytes_equal(buf_view(&again), bytes_of(data, size)));
    }
    buf_deinit(&again);
    return 0;
}
