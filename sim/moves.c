/* moves.c - sequences of faults that aim at a leader, or at what a node has just reported.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One move is under way at a time. Each is a chain of steps; a step does something and plans the next one. */
#include "sim/moves.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/mem.h"
#include "model/catalog.h"
#include "sim/cluster_internal.h"

struct elected {
    uint64_t group, term, replica;
};

struct sim_moves {
    struct sim_cluster *cluster;
    struct rng rng;
    bool on;
    struct sim_server *a, *b, *x; /* of the move under way; what each is, is the move's affair */
    bool armed;                   /* waits for a report */
    bool acting;                  /* a report was answered; its steps are under way */
    enum figure8 { FIRST, SECOND, FIRST_AGAIN, LAST } figure8;
    uint64_t figure8_ns;     /* when it came so far */
    struct elected *elected; /* a ring of the newest elections */
    size_t elected_count;
};
#define ELECTED_MAX 4096

static void begin(void *ctx);

static uint64_t between(struct sim_moves *m, uint64_t lo, uint64_t hi) { return rng_between(&m->rng, lo, hi); }

static void later(struct sim_moves *m, uint64_t delay_ns, void (*fn)(void *ctx))
{
    world_at(m->cluster->world, world_now_ns(m->cluster->world) + delay_ns, fn, m);
}

/* ---- what moves are made of ---- */

static unsigned count_of(const struct sim_moves *m) { return m->cluster->count; }
static struct sim_server *server(struct sim_moves *m, unsigned i) { return &m->cluster->servers[i]; }

/* A running node that leads a partition of data, drawn; else any that runs; NULL: none. */
static struct sim_server *leader(struct sim_moves *m)
{
    struct sim_server *found = NULL, *running = NULL;
    unsigned leads = 0, runs = 0;
    for (unsigned i = 0; i < count_of(m); i++) {
        struct sim_server *s = server(m, i);
        if (s->node == NULL || !world_running(s->machine)) continue;
        if (rng_below(&m->rng, ++runs) == 0) running = s;
        for (uint16_t k = 0; k < s->node->shard_count; k++) {
            struct shard *shard = &s->node->shards[k];
            struct replica *r;
            for (size_t h = 0; h < shard->host_count; h++) {
                if (shard->hosts[h] == NULL) continue;
                for (size_t at = 0; host_each_replica(shard->hosts[h], &at, &r);)
                    if (replica_partition(r) != PARTITION_META && replica_leads(r) && rng_below(&m->rng, ++leads) == 0)
                        found = s;
            }
        }
    }
    return found != NULL ? found : running;
}

static struct sim_server *other_than(struct sim_moves *m, const struct sim_server *a, const struct sim_server *b)
{
    unsigned n = count_of(m), from = (unsigned)rng_below(&m->rng, n);
    for (unsigned i = 0; i < n; i++) {
        struct sim_server *s = server(m, (from + i) % n);
        if (s != a && s != b && !s->gone) return s;
    }
    return NULL;
}

/* A server that is gone and its successor may have the same machine. */
static void cut(struct sim_server *a, struct sim_server *b)
{
    if (a->machine != b->machine) net_cut_both(a->machine, b->machine);
}
static void heal(struct sim_server *a, struct sim_server *b)
{
    if (a->machine != b->machine) net_heal_both(a->machine, b->machine);
}

static void each_other(struct sim_moves *m, struct sim_server *a, void (*fn)(struct sim_server *, struct sim_server *))
{
    for (unsigned i = 0; i < count_of(m); i++)
        if (server(m, i)->machine != a->machine) fn(a, server(m, i)); /* one may have come in another's place */
}

static void heal_all(struct sim_moves *m)
{
    for (unsigned i = 0; i < count_of(m); i++)
        for (unsigned k = 0; k < count_of(m); k++) {
            if (server(m, i)->machine == server(m, k)->machine) continue;
            net_heal(server(m, i)->machine, server(m, k)->machine);
            net_slow(server(m, i)->machine, server(m, k)->machine, 0, 0);
        }
}

static void crash(struct sim_server *s, enum sim_crash kind, uint64_t for_ns)
{
    server_crash(s, kind);
    server_restart_later(s, for_ns);
}

static void heal_and_rest(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    heal_all(m);
    m->acting = m->armed = false;
    later(m, between(m, 200 * NS_PER_MS, 1500 * NS_PER_MS), begin);
}

/* Is everybody there? Moves that begin in the middle of a mess prove little. */
static bool all_ready(const struct sim_moves *m)
{
    for (unsigned i = 0; i < count_of(m); i++)
        if (!m->cluster->servers[i].gone && !m->cluster->servers[i].ready) return false;
    return true;
}

/* ---- slow replies ---- */

static void slow_replies_cut(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    each_other(m, m->a, cut);
    later(m, between(m, NS_PER_S, 2 * NS_PER_S), heal_and_rest);
}

static void slow_replies(struct sim_moves *m)
{
    if ((m->a = leader(m)) == NULL) return heal_and_rest(m);
    uint64_t extra = between(m, 100 * NS_PER_MS, 250 * NS_PER_MS);
    for (unsigned i = 0; i < count_of(m); i++)
        if (server(m, i)->machine != m->a->machine) net_slow(server(m, i)->machine, m->a->machine, extra, 1);
    later(m, between(m, 300 * NS_PER_MS, 900 * NS_PER_MS), slow_replies_cut);
}

/* ---- restarts ---- */

static void restart_others_cut(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    each_other(m, m->a, cut);
    later(m, between(m, NS_PER_S, 2 * NS_PER_S), heal_and_rest);
}

/* The leader is cut off soon after they were started, mostly: who starts asks all others who it is, and waits for one that does
 * not answer for most of a lease. */
static void restart_others(struct sim_moves *m)
{
    if ((m->a = leader(m)) == NULL) return heal_and_rest(m);
    uint64_t down = between(m, NS_PER_MS, 10 * NS_PER_MS);
    for (unsigned i = 0; i < count_of(m); i++)
        if (server(m, i) != m->a) crash(server(m, i), SIM_KILL, down);
    if (rng_chance(&m->rng, 4)) restart_others_cut(m);
    else later(m, down + between(m, NS_PER_MS, 40 * NS_PER_MS), restart_others_cut);
}

/* ---- pauses ---- */

/* Mostly the others can't reach it, so that what it hears first, when it goes on, are its clients, and not its successor. */
static void pause_leader(struct sim_moves *m)
{
    if ((m->a = leader(m)) == NULL) return heal_and_rest(m);
    uint64_t lasts = between(m, 500 * NS_PER_MS, 2500 * NS_PER_MS);
    if (!rng_chance(&m->rng, 3)) each_other(m, m->a, cut);
    world_pause(m->a->machine, lasts);
    later(m, lasts + between(m, 50 * NS_PER_MS, NS_PER_S), heal_and_rest);
}

/* ---- clocks ---- */

static void clock_ahead_cut(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    if (m->a != NULL && m->b != NULL) heal(m->a, m->b);
    each_other(m, m->a, cut);
    later(m, between(m, 1500 * NS_PER_MS, 3 * NS_PER_S), heal_and_rest);
}

static void clock_ahead_jump(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    world_clock_jump(m->a->machine, (int64_t)between(m, 2000, 8000));
    later(m, between(m, 200 * NS_PER_MS, 800 * NS_PER_MS), clock_ahead_cut);
}

static void clock_ahead(struct sim_moves *m)
{
    if ((m->a = leader(m)) == NULL || (m->b = other_than(m, m->a, NULL)) == NULL) return heal_and_rest(m);
    cut(m->a, m->b);
    later(m, between(m, 0, 100 * NS_PER_MS), clock_ahead_jump);
}

/* ---- votes ---- */

/* a asks for votes, b has just given one and loses power, x never hears of it. */
static void lose_votes_now(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    server_crash(m->b, SIM_POWER_LOSS);
    server_restart_later(m->b, between(m, NS_PER_MS, 50 * NS_PER_MS));
    sim_disk_options(m->b->machine)->slow_factor = 1;
    cut(m->a, m->b);
    later(m, between(m, 1500 * NS_PER_MS, 2500 * NS_PER_MS), heal_and_rest);
}

static void lose_votes_give_up(void *ctx)
{
    struct sim_moves *m = ctx;
    if (m->on && m->armed && !m->acting) {
        for (unsigned i = 0; i < count_of(m); i++) sim_disk_options(server(m, i)->machine)->slow_factor = 1;
        heal_and_rest(m);
    }
}

static void lose_votes(struct sim_moves *m)
{
    if ((m->x = leader(m)) == NULL) return heal_and_rest(m);
    m->a = other_than(m, m->x, NULL);
    m->b = other_than(m, m->x, m->a);
    if (m->a == NULL || m->b == NULL) return heal_and_rest(m);
    cut(m->a, m->x);
    sim_disk_options(m->b->machine)->slow_factor = between(m, 5, 50);
    crash(m->x, SIM_KILL, between(m, 600 * NS_PER_MS, 900 * NS_PER_MS));
    m->armed = true;
    later(m, 3 * NS_PER_S, lose_votes_give_up);
}

/* ---- cut in two ---- */

static void cut_in_two(struct sim_moves *m)
{
    unsigned n = count_of(m), side = (unsigned)rng_below(&m->rng, 1u << n);
    if ((m->a = leader(m)) == NULL) return heal_and_rest(m);
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = i + 1; k < n; k++)
            if (((side >> i) ^ (side >> k)) & 1) cut(server(m, i), server(m, k));
    if (rng_chance(&m->rng, 2)) crash(m->a, SIM_KILL, between(m, 300 * NS_PER_MS, 2 * NS_PER_S));
    later(m, between(m, 800 * NS_PER_MS, 2500 * NS_PER_MS), heal_and_rest);
}

/* ---- churn ---- */

static void churn_now(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    heal_all(m);
    each_other(m, m->a, cut);
    m->acting = false;
}

/* Sees to it that it begins, and goes on where nobody can be elected. */
static void churn_watch(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    if (!m->acting && rng_chance(&m->rng, 3)) heal_all(m);
    else if (!m->acting && (m->a = leader(m)) != NULL) churn_now(m);
    later(m, between(m, 2 * NS_PER_S, 5 * NS_PER_S), churn_watch);
}

/* ---- figure 8 of the Raft paper ----
 *
 * FIRST        x is elected, and cut off after a while: entries of its clients are on its disk only.
 * SECOND       y is elected, and cut off at once: of its term there is an entry on its disk only. x is back.
 * FIRST_AGAIN  x is elected once more, and brings its old entries to a majority, but none of its new term: those frames are lost.
 *              Then it is cut off, and y is back.
 * LAST         y may be elected, for its last entry is of a later term. What x brought to a majority goes; so x must not have
 *              counted it as committed. */

static void figure8_to(struct sim_moves *m, enum figure8 to)
{
    m->figure8 = to;
    m->figure8_ns = world_now_ns(m->cluster->world);
}

static void figure8_cut_x(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on || m->a == NULL) return;
    heal_all(m);
    each_other(m, m->a, cut);
}

static void figure8_elected(struct sim_moves *m, struct sim_server *s)
{
    switch (m->figure8) {
    case FIRST:
        m->a = s;
        later(m, between(m, 20 * NS_PER_MS, 300 * NS_PER_MS), figure8_cut_x);
        figure8_to(m, SECOND);
        break;
    case SECOND:
        if (s == m->a) break;
        m->b = s;
        heal_all(m);
        each_other(m, s, cut);
        figure8_to(m, FIRST_AGAIN);
        break;
    case FIRST_AGAIN:
        if (s != m->a) {
            heal_all(m);
            figure8_to(m, FIRST);
            break;
        }
        m->cluster->held_node = s->node_id;
        later(m, between(m, 10 * NS_PER_MS, 200 * NS_PER_MS), figure8_cut_x);
        figure8_to(m, LAST);
        break;
    case LAST:
        m->cluster->held_node = 0;
        heal_all(m);
        figure8_to(m, FIRST);
        break;
    }
}

/* Sees to it that it begins, and begins again where it went another way. */
static void figure8_watch(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    uint64_t since = world_now_ns(m->cluster->world) - m->figure8_ns;
    if (m->figure8 != FIRST && since > 4 * NS_PER_S) {
        m->cluster->held_node = 0;
        heal_all(m);
        figure8_to(m, FIRST);
    } else if (m->figure8 == FIRST && since > NS_PER_S && all_ready(m)) {
        struct sim_server *s = leader(m);
        if (s != NULL) figure8_elected(m, s);
    }
    later(m, 100 * NS_PER_MS, figure8_watch);
}

/* ---- transfers, changes of members ---- */

static void cut_transfer_now(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    for (unsigned i = 0; i < count_of(m); i++)
        if (server(m, i)->machine != m->a->machine) net_cut(server(m, i)->machine, m->a->machine);
    later(m, between(m, 400 * NS_PER_MS, 1500 * NS_PER_MS), heal_and_rest);
}

static void kill_for_transfer(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on || m->acting) return;
    struct sim_server *s = leader(m);
    if (s != NULL && all_ready(m)) crash(s, SIM_KILL, between(m, 10 * NS_PER_MS, NS_PER_S));
    later(m, between(m, 2 * NS_PER_S, 4 * NS_PER_S), kill_for_transfer);
}

static void cut_change_now(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    /* On the leader's side: the newest node mostly, which the change most likely is for. */
    struct sim_server *with = rng_chance(&m->rng, 4) ? other_than(m, m->a, NULL) : server(m, count_of(m) - 1);
    for (unsigned i = 0; i < count_of(m); i++) {
        struct sim_server *s = server(m, i);
        if (s == m->a || s == with) continue;
        cut(m->a, s);
        if (with != m->a) cut(with, s);
    }
    later(m, between(m, NS_PER_S, 3 * NS_PER_S), heal_and_rest);
}

/* ---- damage ---- */

static void damage_kill(void *ctx)
{
    struct sim_moves *m = ctx;
    char path[256];
    uint64_t offset;
    if (!m->on) return;
    /* x loses the end of its log; a, which has it too, is out of reach; b, which never had it, is back. */
    server_crash(m->x, SIM_KILL);
    if (sim_disk_corrupt_end(m->x->machine, "/log/", 6, path, sizeof path, &offset)) {
        m->x->damaged = true;
        diag(DIAG_INFO, "sim.corrupted node=%s path=%s offset=%llu", m->x->host, path, (unsigned long long)offset);
    }
    heal_all(m);
    each_other(m, m->a, cut);
    server_restart_later(m->x, between(m, NS_PER_MS, 100 * NS_PER_MS));
    later(m, between(m, 2 * NS_PER_S, 4 * NS_PER_S), heal_and_rest);
}

static void damage_end(struct sim_moves *m)
{
    m->x = server(m, m->cluster->corruptible);
    m->b = other_than(m, m->x, NULL);
    m->a = other_than(m, m->x, m->b);
    if (m->cluster->mending || m->x->gone || m->a == NULL || m->b == NULL) return heal_and_rest(m);
    each_other(m, m->b, cut);
    later(m, between(m, 900 * NS_PER_MS, 2 * NS_PER_S), damage_kill);
}

/* ---- power ---- */

static void power_all(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    for (unsigned i = 0; i < count_of(m); i++)
        if (!server(m, i)->gone) crash(server(m, i), SIM_POWER_LOSS, between(m, NS_PER_MS, 100 * NS_PER_MS));
    later(m, between(m, 500 * NS_PER_MS, 3 * NS_PER_S), heal_and_rest);
}

static void power_end(void *ctx)
{
    struct sim_moves *m = ctx;
    for (unsigned i = 0; i < count_of(m); i++) sim_disk_options(server(m, i)->machine)->slow_factor = 1;
    heal_and_rest(m);
}

/* All but a leader lose power while their disks are slow, and come back without it. */
static void power_followers(void *ctx)
{
    struct sim_moves *m = ctx;
    if (!m->on) return;
    each_other(m, m->a, cut);
    for (unsigned i = 0; i < count_of(m); i++) {
        struct sim_server *s = server(m, i);
        if (s != m->a && !s->gone) crash(s, SIM_POWER_LOSS, between(m, NS_PER_MS, 100 * NS_PER_MS));
    }
    later(m, between(m, 2 * NS_PER_S, 3 * NS_PER_S), power_end);
}

/* Syncs fail everywhere: what they lost may be read again after a restart, but is on no disk. */
static void power_failing(struct sim_moves *m)
{
    for (unsigned i = 0; i < count_of(m); i++) {
        server(m, i)->storage_faults++;
        sim_disk_fail(server(m, i)->machine, SIM_DISK_SYNC, 0, 1);
    }
    later(m, between(m, 3500 * NS_PER_MS, 6 * NS_PER_S), power_all);
}

static void power(struct sim_moves *m)
{
    unsigned drawn = (unsigned)rng_below(&m->rng, 3);
    if (drawn == 0 && (m->a = leader(m)) != NULL) {
        for (unsigned i = 0; i < count_of(m); i++)
            if (server(m, i) != m->a) sim_disk_options(server(m, i)->machine)->slow_factor = between(m, 2, 20);
        return later(m, between(m, 100 * NS_PER_MS, NS_PER_S), power_followers);
    }
    if (drawn == 1) return power_failing(m);
    for (unsigned i = 0; i < count_of(m); i++)
        if (!server(m, i)->gone) crash(server(m, i), SIM_KILL, between(m, NS_PER_MS, 20 * NS_PER_MS));
    later(m, between(m, 50 * NS_PER_MS, 2500 * NS_PER_MS), power_all);
}

/* ---- choosing ---- */

static void begin(void *ctx)
{
    static const struct {
        unsigned bit;
        void (*fn)(struct sim_moves *m);
    } moves[] = {{MOVE_SLOW_REPLIES, slow_replies}, {MOVE_RESTART_OTHERS, restart_others},
                 {MOVE_PAUSE_LEADER, pause_leader}, {MOVE_CLOCK_AHEAD, clock_ahead},
                 {MOVE_LOSE_VOTES, lose_votes},     {MOVE_CUT_IN_TWO, cut_in_two},
                 {MOVE_DAMAGE_END, damage_end},     {MOVE_POWER, power}};
    struct sim_moves *m = ctx;
    if (!m->on) return;
    if (!all_ready(m)) {
        later(m, 200 * NS_PER_MS, begin);
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(moves); i++)
        if (m->cluster->options.moves & moves[i].bit) return moves[i].fn(m);
}

/* ---- what nodes report ---- */

static uint64_t field(const char *line, const char *name)
{
    const char *at = strstr(line, name);
    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* What the catalog wants goes forward only. */
static void check_change(struct sim_moves *m, const char *line)
{
    uint64_t epoch = field(line, " epoch="), was = field(line, " was=");
    if (epoch >= was || m->cluster->finding[0] != 0) return;
    snprintf(m->cluster->finding, sizeof m->cluster->finding,
             "partition %" PRIu64 " went back from the plan of epoch %" PRIu64 " to that of %" PRIu64,
             field(line, " partition="), was, epoch);
}

/* Election safety: at most one leader a term (Raft paper, figure 3). */
static void check_elected(struct sim_moves *m, const char *line)
{
    struct elected e = {field(line, " partition="), field(line, " term="), field(line, " replica=")};
    size_t kept = MIN(m->elected_count, (size_t)ELECTED_MAX);
    for (size_t i = 0; i < kept; i++) {
        const struct elected *o = &m->elected[i];
        if (o->group != e.group || o->term != e.term || o->replica == e.replica || m->cluster->finding[0] != 0)
            continue;
        snprintf(m->cluster->finding, sizeof m->cluster->finding,
                 "group %" PRIu64 " had two leaders in term %" PRIu64 ": replicas %" PRIu64 " and %" PRIu64, e.group,
                 e.term, o->replica, e.replica);
    }
    m->elected[m->elected_count++ % ELECTED_MAX] = e;
    m->cluster->counters.elections_checked++;
}

static void act_on(struct sim_moves *m, struct sim_server *s, uint64_t delay_ns, void (*fn)(void *ctx))
{
    m->a = s;
    m->acting = true;
    later(m, delay_ns, fn);
}

static void on_report(void *ctx, unsigned node, const char *line)
{
    struct sim_moves *m = ctx;
    bool role = strncmp(line, "raft.role partition=", 20) == 0;
    if (role && (strstr(line, "why=elected") != NULL)) check_elected(m, line);
    if (strncmp(line, "raft.change", 11) == 0) check_change(m, line);
    if (!m->on || m->acting || m->cluster->options.moves == 0) return;
    struct sim_server *s = NULL;
    for (unsigned i = 0; i < count_of(m); i++)
        if (sim_node_id(server(m, i)->machine) == node) s = server(m, i);
    if (s == NULL) return;
    unsigned moves = m->cluster->options.moves;
    bool meta = role && field(line, " partition=") == PARTITION_META;
    if ((moves & MOVE_CHURN) && role && !meta && strstr(line, "why=elected") != NULL)
        act_on(m, s,
               rng_chance(&m->rng, 5)   ? between(m, 0, NS_PER_S)
               : rng_chance(&m->rng, 2) ? 0
                                        : between(m, 0, 12 * NS_PER_MS),
               churn_now);
    if ((moves & MOVE_FIGURE8) && role && !meta && strstr(line, "why=elected") != NULL) figure8_elected(m, s);
    if ((moves & MOVE_CUT_TRANSFERS) && role && !meta && strstr(line, "why=transfer_begun") != NULL)
        act_on(m, s, between(m, 0, 2 * NS_PER_MS), cut_transfer_now);
    if ((moves & MOVE_CUT_CHANGES) && strncmp(line, "raft.change", 11) == 0 && rng_chance(&m->rng, 2))
        act_on(m, s, between(m, 0, 2 * NS_PER_MS), cut_change_now);
    if ((moves & MOVE_LOSE_VOTES) && m->armed && role && !meta && s == m->a && strstr(line, "role=candidate") != NULL)
        act_on(m, s, between(m, 100 * NS_PER_US, 8 * NS_PER_MS), lose_votes_now);
}

struct sim_moves *sim_moves_new(struct sim_cluster *c)
{
    struct sim_moves *m = mem_zalloc(sizeof *m);
    m->cluster = c;
    m->elected = mem_zalloc(ELECTED_MAX * sizeof *m->elected);
    rng_init(&m->rng, hash_u64(world_seed(c->world)) ^ c->options.moves);
    world_on_diag(c->world, on_report, m);
    return m;
}

void sim_moves_begin(struct sim_moves *m)
{
    unsigned moves = m->cluster->options.moves;
    m->on = true;
    m->acting = m->armed = false;
    figure8_to(m, FIRST);
    if (moves & MOVE_FIGURE8) later(m, NS_PER_S, figure8_watch);
    else if (moves & MOVE_CHURN) later(m, NS_PER_S, churn_watch);
    else if (moves & MOVE_CUT_TRANSFERS) later(m, NS_PER_S, kill_for_transfer);
    else if (moves != 0) later(m, 100 * NS_PER_MS, begin);
}

void sim_moves_end(struct sim_moves *m)
{
    m->on = false;
    m->cluster->held_node = 0;
}
