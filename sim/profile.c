/* profile.c - named kinds of runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/profile.h"

#include <string.h>

#include "replica/host.h"
#include "sim/moves.h"

const char *sim_profile_name(enum sim_profile p)
{
    static const char *const names[PROFILE_COUNT] = {
        "none",      "leases",  "restarts", "pauses", "clocks", "expiry", "elections", "repeats", "churn",
        "transfers", "members", "damage",   "power",  "caches", "hashes", "watches",   "copies",  "figure8"};
    return (unsigned)p < PROFILE_COUNT ? names[p] : "?";
}

bool sim_profile_find(const char *name, enum sim_profile *out)
{
    for (unsigned i = 0; i < PROFILE_COUNT; i++) {
        if (strcmp(name, sim_profile_name((enum sim_profile)i)) != 0) continue;
        *out = (enum sim_profile)i;
        return true;
    }
    return false;
}

enum sim_profile sim_profile_of_seed(uint64_t seed)
{
    uint64_t drawn = hash_u64(seed ^ 0x70726f66696c65);
    return drawn & 1 ? PROFILE_NONE : (enum sim_profile)(1 + (drawn >> 1) % (PROFILE_COUNT - 1));
}

/* Few objects, few thoughts: somebody is always reading what somebody else just wrote. */
static void busy_clients(struct sim_clients_options *o)
{
    o->count = 8;
    o->readers = 4;
    o->think_ns = 8 * NS_PER_MS;
    o->timeout_ns = NS_PER_S;
    o->objects = 3;
    o->ops_per_object = 100; /* what the checker has to order grows steeply with the operations of one object */
    o->at_home = true;
    o->rest_one_in = 50;
    o->rest_ns_max = NS_PER_S;
}

static uint32_t only(uint32_t faults, uint32_t bits) { return faults & bits; }

#define F(name) (1u << FAULT_##name)

void sim_profile_apply(enum sim_profile p, struct world *w, struct sim_cluster_options *c,
                       struct sim_clients_options *k)
{
    struct rng *rng = world_rng(w);
    if (p == PROFILE_NONE) return;
    c->profile = p;
    /* The moves are what disturbs; ordinary faults come now and then. */
    c->fault_every_ns = rng_between(rng, 2 * NS_PER_S, 10 * NS_PER_S);
    if (c->nodes < 3) c->nodes = 3;
    switch (p) {
    case PROFILE_LEASES:
        busy_clients(k);
        k->readers = 5;
        k->think_ns = 5 * NS_PER_MS;
        k->objects = 2;
        c->moves = MOVE_SLOW_REPLIES;
        c->nodes = 3;
        c->partitions = 1;
        c->faults = only(c->faults,
                         F(CUT_ONE_WAY) | F(ISOLATE) | F(SLOW_LINK) | F(CLOCK_DRIFT) | F(CLOCK_JUMP) | F(CUT_BOTH));
        break;
    case PROFILE_RESTARTS:
        busy_clients(k);
        c->moves = MOVE_RESTART_OTHERS;
        c->nodes = 3;
        c->faults = only(c->faults, F(CLOCK_DRIFT) | F(RESET));
        break;
    case PROFILE_PAUSES:
        busy_clients(k);
        k->rest_one_in = 10;
        k->rest_ns_max = 2 * NS_PER_S;
        k->timeout_ns = 3 * NS_PER_S;
        c->moves = MOVE_PAUSE_LEADER;
        c->faults = only(c->faults, F(PAUSE) | F(STALL_LOOP) | F(CLOCK_DRIFT));
        break;
    case PROFILE_CLOCKS:
        busy_clients(k);
        memcpy(k->weights, (uint8_t[SIM_OP_COUNT]){[SIM_READ] = 12, [SIM_WRITE_TTL] = 3}, sizeof k->weights);
        k->objects = 24;
        k->ops_per_object = 60;
        k->readers = 6;
        k->ttl_ms_min = 2000;
        k->ttl_ms_max = 6000;
        c->moves = MOVE_CLOCK_AHEAD;
        c->nodes = 3;
        c->faults = only(c->faults, F(CLOCK_DRIFT) | F(RESET));
        break;
    case PROFILE_EXPIRY:
        memcpy(k->weights, (uint8_t[SIM_OP_COUNT]){[SIM_READ] = 80, [SIM_WRITE_TTL] = 10, [SIM_INCR] = 1},
               sizeof k->weights);
        k->objects = 120;
        k->ops_per_object = 30;
        k->think_ns = 10 * NS_PER_MS;
        k->ttl_ms_min = 100;
        k->ttl_ms_max = 2000;
        c->faults = only(c->faults, ~(F(CLOCK_JUMP) | F(CLOCK_DRIFT)));
        break;
    case PROFILE_ELECTIONS:
        c->moves = MOVE_LOSE_VOTES;
        c->nodes = 3;
        c->faults = only(c->faults, F(RESET));
        break;
    case PROFILE_REPEATS:
        c->moves = MOVE_CUT_IN_TWO;
        c->nodes = 5;
        c->repeats = true;
        c->faults = only(c->faults, F(KILL) | F(RESET) | F(FRAME_REPEAT));
        break;
    case PROFILE_COPIES:
        k->think_ns = 10 * NS_PER_MS;
        c->nodes = 3;
        c->partitions = 1;
        c->repeats = true;
        c->faults = only(c->faults, F(KILL) | F(ISOLATE) | F(RESET) | F(FRAME_REPEAT));
        break;
    case PROFILE_CHURN:
        k->think_ns = 10 * NS_PER_MS;
        k->timeout_ns = NS_PER_S;
        c->moves = MOVE_CHURN;
        c->nodes = 3;
        c->partitions = 1;
        c->faults = only(c->faults, F(RESET) | F(DISK_SLOW));
        break;
    case PROFILE_FIGURE8:
        k->think_ns = 10 * NS_PER_MS;
        k->timeout_ns = NS_PER_S;
        k->at_home = true;
        c->moves = MOVE_FIGURE8;
        c->nodes = 3;
        c->shards = 1;
        c->partitions = 1;
        c->faults = only(c->faults, F(RESET) | F(DISK_SLOW));
        break;
    case PROFILE_TRANSFERS:
        busy_clients(k);
        c->moves = MOVE_CUT_TRANSFERS;
        c->nodes = 3;
        c->faults = only(c->faults, F(KILL) | F(ISOLATE));
        break;
    case PROFILE_MEMBERS:
        busy_clients(k);
        c->moves = MOVE_CUT_CHANGES;
        c->nodes = rng_chance(rng, 2) ? 3 : 4;
        c->faults = only(c->faults, F(ADD_NODE));
        c->fault_every_ns = 3 * NS_PER_S;
        break;
    case PROFILE_DAMAGE:
        k->think_ns = 15 * NS_PER_MS;
        k->timeout_ns = 2 * NS_PER_S;
        c->moves = MOVE_DAMAGE_END;
        c->nodes = 3;
        c->shards = 1;
        c->partitions = 1;
        c->faults = only(c->faults, F(RESET));
        break;
    case PROFILE_POWER:
        k->think_ns = 15 * NS_PER_MS;
        k->timeout_ns = 2 * NS_PER_S;
        c->moves = MOVE_POWER;
        c->fault_every_ns = NS_PER_S;
        c->faults = only(c->faults, F(KILL) | F(POWER) | F(POWER_ALL) | F(DISK_SLOW) | F(DISK_STALL) | F(STOP));
        break;
    case PROFILE_CACHES:
        busy_clients(k);
        k->objects = 12;
        k->ops_per_object = 120;
        c->faults = only(c->faults, F(KILL) | F(ISOLATE) | F(DISK_SLOW) | F(DISK_STALL) | F(CUT_BOTH));
        c->fault_every_ns = NS_PER_S;
        break;
    case PROFILE_HASHES:
        memcpy(k->weights,
               (uint8_t[SIM_OP_COUNT]){
                   [SIM_READ] = 20, [SIM_WRITE] = 20, [SIM_CLEAR] = 20, [SIM_BOTH] = 10, [SIM_READ_BOTH] = 20},
               sizeof k->weights);
        k->think_ns = 20 * NS_PER_MS;
        break;
    case PROFILE_WATCHES:
        memcpy(k->weights,
               (uint8_t[SIM_OP_COUNT]){
                   [SIM_WRITE] = 10, [SIM_INCR] = 5, [SIM_DELETE] = 20, [SIM_CAS] = 20, [SIM_WRITE_TTL] = 2},
               sizeof k->weights);
        k->objects = 2;
        k->ops_per_object = 120;
        k->think_ns = 5 * NS_PER_MS;
        k->watch_ns_max = 100 * NS_PER_MS;
        break;
    default: ASSERT(false);
    }
}

void sim_profile_limits(enum sim_profile p, struct rng *rng, struct host_limits *l)
{
    switch (p) {
    case PROFILE_EXPIRY: l->sweep_ns = rng_chance(rng, 2) ? 0 : 10 * NS_PER_S; break;
    case PROFILE_CLOCKS: l->sweep_ns = 0; break;
    case PROFILE_HASHES: l->sweep_ns = 50 * NS_PER_MS + rng_below(rng, 200 * NS_PER_MS); break;
    case PROFILE_FIGURE8: l->raft.append_bytes_max = 64; break; /* an entry a message */
    case PROFILE_CHURN: l->raft.append_bytes_max = 256 + (uint32_t)rng_below(rng, 512); break;
    case PROFILE_CACHES:
        l->rows_bytes_max = 2048 + rng_below(rng, 4096);
        l->rows_dirty_bytes_max = l->rows_bytes_max / 2;
        l->engine_cache_bytes = 1024;
        l->apply_bytes_per_turn = 64;
        l->batch_ops_max = 1 + (uint32_t)rng_below(rng, 4);
        break;
    case PROFILE_COPIES: l->window_sessions_max = 2; break; /* what was done is soon forgotten */
    case PROFILE_POWER: l->flush_ns = rng_chance(rng, 2) ? l->flush_ns : 20 * NS_PER_S; break;
    case PROFILE_DAMAGE:
        l->flush_ns = 20 * NS_PER_S;
        l->flush_bytes = 4 << 20;
        break;
    default: break;
    }
}
