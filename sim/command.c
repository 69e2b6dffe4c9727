/* command.c - the command `cairn sim`: clusters under faults, seed by seed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/command.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/mutation.h"
#include "sim/client.h"
#include "sim/cluster.h"
#include "sim/disk.h"
#include "sim/heap.h"
#include "sim/history.h"
#include "sim/net.h"
#include "sim/profile.h"
#include "sim/raft_trace.h"

struct run_options {
    uint64_t seed;
    uint64_t seconds; /* of faults, virtual */
    unsigned nodes;   /* 0: drawn */
    uint32_t faults;
    bool profile_given;
    enum sim_profile profile;
    bool log, first, beyond, quiet;
    const char *history_path;
    const char *trace_path;
    uint64_t trace_partition;
};

#define ALL_FAULTS (UINT32_MAX >> (32 - FAULT_COUNT))
#define DAMAGE_FAULTS \
    (1u << FAULT_CORRUPTION | 1u << FAULT_CORRUPT_FILE | 1u << FAULT_CORRUPT_ENGINE | 1u << FAULT_REPLACE_NODE)

struct totals {
    struct sim_cluster_counters cluster;
    struct sim_client_counters clients;
    struct history_sum histories;
    uint64_t runs, failed, virtual_ns, events;
    double real_s;
};

static const char help[] =
    "Runs whole clusters in virtual time, disturbs them, and checks that what clients were told is linearizable, that\n"
    "nothing acknowledged is lost or applied twice, that replicas agree, and that the cluster serves again after the faults.\n"
    "\n"
    "Options:\n"
    "  --seed S        the first seed (default 1); the same seed is the same run, byte for byte\n"
    "  --seeds N       run N seeds, from S on (default 1)\n"
    "  --seconds T     virtual seconds of faults in each run (default 20)\n"
    "  --nodes N       nodes of the cluster, 1 to 9 (default: drawn from the seed)\n"
    "  --faults LIST   only these kinds, with commas (default: all); `none`; `--faults help` lists them\n"
    "  --beyond-budget damage hits a quorum of copies, or the only one: the cluster need not serve, but it must say so and\n"
    "                  must not answer wrongly (twice the time of faults is run, and the damage comes in between)\n"
    "  --profile NAME  a kind of run: `none`, or one that makes certain bugs likely (default: drawn); `help` lists them\n"
    "  --first         stop at the first seed that fails\n"
    "  --log           print what the nodes report, with virtual times\n"
    "  --history FILE  write what the clients did, one JSON object a line\n"
    "  --raft-trace FILE [--trace-partition P]\n"
    "                  write what the rafts of partition P (default 2) do, from the moment when all nodes have settled, for etcd's\n"
    "                  TLA+ specification (docs/raft-trace.md)\n";

void sim_help(void) { fputs(help, stdout); }

/* One line on stderr, as all commands do. */
__attribute__((format(printf, 1, 2))) static int usage(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "cairn: ");
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    return 2;
}

static double real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void draw_world(struct world *w)
{
    struct rng *rng = world_rng(w);
    struct sim_net_options *net = net_options(w);
    struct sim_cpu_options *cpu = world_cpu_options(w);
    net->latency_ns = rng_between(rng, 50 * NS_PER_US, 2 * NS_PER_MS);
    net->jitter_ns = rng_between(rng, 10 * NS_PER_US, net->latency_ns);
    net->spike_one_in = rng_chance(rng, 2) ? 2000 : 0;
    net->loss_one_in = rng_chance(rng, 2) ? rng_between(rng, 100, 5000) : 0;
    net->split_one_in = rng_chance(rng, 2) ? 20 : 0;
    net->reset_one_in = rng_chance(rng, 4) ? 20000 : 0;
    cpu->hiccup_one_in = rng_chance(rng, 3) ? 5000 : 0;
    cpu->hiccup_ns_max = 50 * NS_PER_MS;
}

static void draw_disks(struct world *w, unsigned nodes)
{
    struct rng *rng = world_rng(w);
    for (unsigned i = 1; i <= nodes; i++) {
        struct sim_disk_options *d = sim_disk_options(world_node(w, i));
        d->sync_ns_min = 80 * NS_PER_US;
        d->sync_ns_max = rng_between(rng, 200 * NS_PER_US, 5 * NS_PER_MS);
        d->torn_one_in = 20;
        d->garbage_one_in = 50;
    }
}

static bool run_until_ready(struct world *w, struct sim_cluster *c, uint64_t limit_ns)
{
    uint64_t end = world_now_ns(w) + limit_ns;
    while (!sim_cluster_ready(c) && world_now_ns(w) < end) world_run(w, 50 * NS_PER_MS);
    return sim_cluster_ready(c);
}

static bool run_until_finished(struct world *w, struct sim_clients *clients, uint64_t limit_ns)
{
    uint64_t end = world_now_ns(w) + limit_ns;
    while (!sim_clients_finished(clients) && world_now_ns(w) < end) world_run(w, 50 * NS_PER_MS);
    return sim_clients_finished(clients);
}

static const char *run_until_whole(struct world *w, struct sim_cluster *c, uint64_t limit_ns)
{
    static char line[300];
    char why[200] = "";
    uint64_t end = world_now_ns(w) + limit_ns;
    bool whole;
    while (!(whole = sim_cluster_whole(c, why, sizeof why)) && world_now_ns(w) < end) world_run(w, 50 * NS_PER_MS);
    snprintf(line, sizeof line, "60 s after the faults ended, %s", why);
    return whole ? NULL : line;
}

/* Clients come when the trace has begun: it has to begin with the group at rest. */
static bool begin_trace(struct world *w, struct sim_cluster *cluster, struct sim_raft_trace *t, unsigned voters)
{
    for (int i = 0; i < 600; i++) {
        world_run(w, 100 * NS_PER_MS);
        if (world_now_ns(w) > 5 * NS_PER_S && sim_raft_trace_begin(t, cluster, voters)) return true;
    }
    return false;
}

static void add_up(struct totals *t, struct sim_cluster *cluster, struct sim_clients *clients, struct world *w)
{
    struct sim_cluster_counters c;
    sim_cluster_counters(cluster, &c);
    uint64_t *sum = (uint64_t *)(void *)&t->cluster;
    const uint64_t *add = (const uint64_t *)(const void *)&c;
    for (size_t i = 0; i < sizeof c / 8; i++) sum[i] += add[i];
    sum = (uint64_t *)(void *)&t->clients;
    add = (const uint64_t *)(const void *)sim_clients_counters(clients);
    for (size_t i = 0; i < sizeof t->clients / 8; i++) sum[i] += add[i];
    t->virtual_ns += world_now_ns(w);
    t->events += world_counters(w)->events;
}

/* The checks that need the whole run. */
static const char *judge(bool clocks_right, struct sim_cluster *cluster, struct sim_clients *clients, struct history *h,
                         struct history_sum *sum)
{
    if (sim_clients_finding(clients) != NULL) return sim_clients_finding(clients);
    if (sim_cluster_finding(cluster) != NULL) return sim_cluster_finding(cluster);
    if (!history_check(h, sum, stdout)) return "the history is not linearizable";
    /* A leader that waits for its disk stamps, and reads, at a time that is behind by as much. */
    if (clocks_right && !history_check_expiry(h, 4 * NS_PER_S, stdout)) return "an expired value was seen";
    return NULL;
}

static const char *run_cluster(struct world *w, const struct run_options *o, bool clocks_right,
                               struct sim_cluster *cluster, struct sim_clients *clients, struct history *h,
                               struct history_sum *sum)
{
    world_run(w, 2 * NS_PER_S);
    sim_cluster_disturb(cluster, true);
    world_run(w, o->seconds * NS_PER_S);
    sim_cluster_heal(cluster);
    if (!run_until_ready(w, cluster, 60 * NS_PER_S)) return "a node was not ready within 60 s after the faults ended";
    world_run(w, NS_PER_S);
    sim_clients_finish(clients);
    if (!run_until_finished(w, clients, 60 * NS_PER_S))
        return "the cluster did not serve all keys within 60 s after the faults ended";
    const char *why = run_until_whole(w, cluster, 60 * NS_PER_S);
    if (why != NULL) return why;
    world_run(w, sim_cluster_revive_removed(cluster) != 0 ? 5 * NS_PER_S : 2 * NS_PER_S);
    sim_cluster_removed_ended(cluster);
    if (!sim_cluster_agrees(cluster, stdout)) return "replicas of a partition differ";
    return judge(clocks_right, cluster, clients, h, sum);
}

/* Damage that can't be mended: nobody needs to serve, but what is answered must be right, and somebody must say why. */
static const char *run_beyond(struct world *w, const struct run_options *o, bool clocks_right,
                              struct sim_cluster *cluster, struct sim_clients *clients, struct history *h,
                              struct history_sum *sum)
{
    world_run(w, 2 * NS_PER_S);
    sim_cluster_disturb(cluster, true);
    world_run(w, o->seconds * NS_PER_S / 2);
    sim_cluster_disturb(cluster, false);
    sim_cluster_beyond_budget(cluster);
    world_run(w, o->seconds * NS_PER_S);
    sim_cluster_heal(cluster);
    world_run(w, 5 * NS_PER_S);
    sim_clients_finish(clients);
    bool served = run_until_finished(w, clients, 20 * NS_PER_S);
    sim_cluster_count_beyond(cluster, served);
    if (!served && !sim_cluster_said(cluster))
        return "after damage beyond the budget the cluster does not serve, and nobody says why";
    if (!sim_cluster_agrees(cluster, stdout)) return "replicas of a partition differ";
    return judge(clocks_right, cluster, clients, h, sum);
}

static bool run_seed(const struct run_options *o, struct totals *t, uint64_t *out_trace)
{
    struct world *w = world_new(o->seed);
    struct rng *rng = world_rng(w);
    struct history h = {0};
    double started = real_now();
    if (o->log) world_set_log(w, stdout);
    draw_world(w);
    static const uint8_t sizes[] = {1, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 6, 7, 8, 9};
    struct sim_cluster_options cluster_options = {
        .nodes = o->nodes != 0 ? o->nodes : sizes[rng_below(rng, sizeof sizes)],
        .shards = 1 + (unsigned)rng_below(rng, 2),
        .partitions = 1 + (unsigned)rng_below(rng, 6),
        .fault_every_ns = rng_between(rng, 300 * NS_PER_MS, 3 * NS_PER_S),
        .faults = o->faults,
        .small_limits = true,
        .beyond_budget = o->beyond,
    };
    struct sim_clients_options client_options = {
        .count = 8, .think_ns = 23 * NS_PER_MS, .timeout_ns = 8 * NS_PER_S, .objects = 8, .ops_per_object = 60};
    enum sim_profile profile = o->profile_given ? o->profile : o->beyond ? PROFILE_NONE : sim_profile_of_seed(o->seed);
    sim_profile_apply(profile, w, &cluster_options, &client_options);
    if (o->nodes != 0) cluster_options.nodes = o->nodes;
    /* One copy of everything: damaged storage is beyond the budget. */
    if (cluster_options.nodes < 3 || o->beyond) cluster_options.faults &= ~DAMAGE_FAULTS;
    if (o->trace_path != NULL) {
        cluster_options.nodes = o->nodes != 0 ? o->nodes : 3;
        cluster_options.trace = sim_raft_trace_new(o->trace_path, o->trace_partition);
        if (cluster_options.trace == NULL) {
            printf("cairn sim: --raft-trace: '%s' can't be written\n", o->trace_path);
            exit(2);
        }
    }
    struct sim_cluster *cluster = sim_cluster_new(w, &cluster_options);
    draw_disks(w, cluster_options.nodes);
    bool traced = cluster_options.trace == NULL ||
                  begin_trace(w, cluster, cluster_options.trace, cluster_options.nodes);
    client_options.addresses = sim_cluster_addresses(cluster);
    client_options.address_count = sim_cluster_address_count(cluster);
    struct sim_clients *clients = sim_clients_new(w, &client_options, &h);
    bool clocks_right = !(cluster_options.faults & (1u << FAULT_CLOCK_JUMP | 1u << FAULT_CLOCK_DRIFT)) &&
                        profile != PROFILE_CLOCKS;
    const char *violation = (o->beyond ? run_beyond : run_cluster)(w, o, clocks_right, cluster, clients, &h,
                                                                   &t->histories);
    if (violation != NULL && sim_cluster_finding(cluster) != NULL)
        violation = sim_cluster_finding(cluster); /* the cause, most likely */
    if (!traced && violation == NULL)
        violation = "the group did not come to rest on all nodes, so that there is no trace";
    if (cluster_options.trace != NULL) {
        const char *why = sim_raft_trace_ended(cluster_options.trace);
        printf("raft trace: %" PRIu64 " lines%s%s\n", sim_raft_trace_lines(cluster_options.trace),
               why != NULL ? "; it ends where " : "", why != NULL ? why : "");
    }
    add_up(t, cluster, clients, w);
    t->runs++;
    t->real_s += real_now() - started;
    *out_trace = world_trace(w);
    if (o->history_path != NULL) {
        FILE *f = fopen(o->history_path, "w");
        if (f != NULL) history_write(&h, f);
        if (f != NULL) fclose(f);
    }
    if (violation != NULL && !o->quiet) {
        t->failed++;
        printf("VIOLATION seed=%" PRIu64 " nodes=%u profile=%s: %s\n  replay: cairn sim --seed %" PRIu64
               " --seconds %" PRIu64,
               o->seed, cluster_options.nodes, sim_profile_name(profile), violation, o->seed, o->seconds);
        if (o->nodes != 0) printf(" --nodes %u", o->nodes);
        if (o->profile_given) printf(" --profile %s", sim_profile_name(profile));
        printf("%s --log\n", o->beyond ? " --beyond-budget" : "");
        fflush(stdout);
    }
    history_deinit(&h);
    sim_raft_trace_free(cluster_options.trace);
    world_free(w);
    return violation == NULL;
}

/* Is the same seed the same run? */
static bool same_again(const struct run_options *o, uint64_t trace)
{
    struct run_options again = *o;
    struct totals unused = {0};
    uint64_t second;
    again.quiet = true;
    again.log = false;
    again.history_path = again.trace_path = NULL;
    run_seed(&again, &unused, &second);
    if (second == trace) return true;
    printf("VIOLATION seed=%" PRIu64 ": two runs differ: trace-hash %016" PRIx64 " and %016" PRIx64 "\n", o->seed,
           trace, second);
    return false;
}

static void print_totals(const struct totals *t)
{
    printf("runs %" PRIu64 ", failed %" PRIu64
           "; %.0f virtual seconds in %.1f real (%.0f times real time), %.1f M events\n",
           t->runs, t->failed, (double)t->virtual_ns / 1e9, t->real_s, (double)t->virtual_ns / 1e9 / t->real_s,
           (double)t->events / 1e6);
    printf("operations: %" PRIu64 " ok, %" PRIu64 " failed, %" PRIu64 " unknown, %" PRIu64 " aborted by WATCH;",
           t->clients.ok, t->clients.failed, t->clients.unknown, t->clients.aborted);
    for (unsigned i = 0; i < SIM_OP_COUNT; i++)
        printf(" %s %" PRIu64, sim_op_name((enum sim_op)i), t->clients.by_op[i]);
    printf("\nhistories: %" PRIu64 " objects checked, %" PRIu64 " given up; at most %" PRIu64 " steps for one",
           t->histories.objects, t->histories.given_up, t->histories.steps_most);
    printf("\nfaults:");
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        if (t->cluster.faults[i] != 0) printf(" %s %" PRIu64, sim_fault_name((enum sim_fault)i), t->cluster.faults[i]);
    printf("\ncluster: starts %" PRIu64 ", nodes ended by faults %" PRIu64 ", elections %" PRIu64
           ", snapshots sent %" PRIu64 " installed %" PRIu64 ", duplicates answered %" PRIu64 ", conflicts %" PRIu64
           ", lease reads %" PRIu64 ", index reads %" PRIu64 ", damaged records %" PRIu64 ", torn batches %" PRIu64
           ", scrubs %" PRIu64 ", nodes removed %" PRIu64 " refused %" PRIu64 " revived in vain %" PRIu64
           ", catalogs fetched again %" PRIu64 "\n",
           t->cluster.starts, t->cluster.node_failures, t->cluster.elections, t->cluster.snapshots_sent,
           t->cluster.snapshots_installed, t->cluster.duplicates, t->cluster.conflicts, t->cluster.reads_lease,
           t->cluster.reads_index, t->cluster.damaged, t->cluster.torn, t->cluster.scrubs, t->cluster.removals,
           t->cluster.removals_refused, t->cluster.revived, t->cluster.catalogs_fetched);
    printf("rows: prefetched %" PRIu64 ", fetched by apply %" PRIu64 ", entries run by a worker %" PRIu64 "\n"
           "past: read %" PRIu64 ", the same again %" PRIu64 ", given up %" PRIu64 "\n",
           t->cluster.prefetches, t->cluster.apply_fetches, t->cluster.applied_off, t->cluster.past_facts,
           t->cluster.past_confirmed, t->cluster.past_over);
    if (t->cluster.beyond_damage != 0)
        printf("beyond the budget: sectors damaged %" PRIu64 ", clusters that served all the same %" PRIu64
               ", that stopped and said so %" PRIu64 "\n",
               t->cluster.beyond_damage, t->cluster.beyond_served, t->cluster.beyond_stopped);
}

/* An object that the checker gave up on proves nothing. One in so many objects (or one in a smaller suite) may be. */
#define OBJECTS_PER_GIVEN_UP 10000

static uint64_t given_up_too_often(const struct totals *t)
{
    uint64_t may = MAX(t->histories.objects / OBJECTS_PER_GIVEN_UP, (uint64_t)1);
    if (t->histories.given_up <= may) return 0;
    printf("VIOLATION: the check of %" PRIu64 " objects of %" PRIu64 " was given up\n", t->histories.given_up,
           t->histories.objects);
    return 1;
}

/* A suite in which something never happened has not tested it. Returns how many kinds of fault, operation and event. */
static uint64_t never_happened(const struct run_options *o, const struct totals *t, uint64_t seeds)
{
    const struct sim_cluster_counters *c = &t->cluster;
    const struct {
        const char *what;
        uint64_t count;
        unsigned seeds;  /* … in a suite of so many */
        uint32_t faults; /* … with one of these */
    } events[] = {
        {"operation that failed", t->clients.failed, 100, ALL_FAULTS},
        {"operation with an unknown outcome", t->clients.unknown, 100, ALL_FAULTS},
        {"EXEC that a WATCH aborted", t->clients.aborted, 100, UINT32_MAX},
        {"election", c->elections, 100, UINT32_MAX},
        {"report of an election", c->elections_checked, 100, UINT32_MAX}, /* the text of it is what moves go by */
        {"snapshot", c->snapshots_installed, 100, UINT32_MAX},
        {"scrub", c->scrubs, 100, UINT32_MAX},
        {"read under a lease", c->reads_lease, 100, UINT32_MAX},
        {"read by an index", c->reads_index, 100, ALL_FAULTS},
        {"duplicate answered", c->duplicates, 100, ALL_FAULTS},
        {"conflict of an evaluated op", c->conflicts, 100, ALL_FAULTS},
        {"torn batch", c->torn, 300, 1u << FAULT_POWER | 1u << FAULT_POWER_ALL},
        {"node that ended", c->node_failures, 100, 1u << FAULT_SYNC_ERROR | 1u << FAULT_WRITE_ERROR},
        {"damaged record", c->damaged, 300, 1u << FAULT_CORRUPTION},
        {"removal of a node", c->removals, 100, 1u << FAULT_REMOVE_NODE},
        {"removal refused", c->removals_refused, 300, 1u << FAULT_REMOVE_NODE},
        {"removed node started again", c->revived + o->beyond, 100, 1u << FAULT_REMOVE_NODE},
        {"catalog fetched again", c->catalogs_fetched, 300, 1u << FAULT_CORRUPT_FILE},
    };
    uint64_t missing = 0;
    if (t->runs < 100 || o->profile_given) return 0;
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        if (!(o->faults >> i & 1) || c->faults[i] != 0 || (o->beyond && (DAMAGE_FAULTS >> i & 1))) continue;
        printf("VIOLATION: no %s happened in %" PRIu64 " seeds\n", sim_fault_name((enum sim_fault)i), seeds);
        missing++;
    }
    for (unsigned i = 0; i < SIM_OP_COUNT; i++) {
        if (t->clients.by_op[i] != 0) continue;
        printf("VIOLATION: no operation %s happened in %" PRIu64 " seeds\n", sim_op_name((enum sim_op)i), seeds);
        missing++;
    }
    for (size_t i = 0; i < ARRAY_COUNT(events); i++) {
        uint32_t faults = o->beyond ? o->faults & ~DAMAGE_FAULTS : o->faults;
        bool due = events[i].faults == UINT32_MAX
                       ? o->faults != 0
                       : (events[i].faults == ALL_FAULTS ? o->faults == ALL_FAULTS : (events[i].faults & faults) != 0);
        if (!due || seeds < events[i].seeds || events[i].count != 0 || o->nodes != 0) continue;
        printf("VIOLATION: no %s happened in %" PRIu64 " seeds\n", events[i].what, seeds);
        missing++;
    }
    if (o->beyond && (c->beyond_served == 0 || c->beyond_stopped == 0)) {
        printf("VIOLATION: no cluster %s after damage beyond the budget in %" PRIu64 " seeds\n",
               c->beyond_stopped == 0 ? "stopped" : "served", seeds);
        missing++;
    }
    return missing;
}

/* "kill,pause" → bits; false: an unknown name. */
static bool parse_faults(const char *list, uint32_t *out)
{
    *out = 0;
    if (strcmp(list, "none") == 0) return true;
    while (*list != 0) {
        size_t n = strcspn(list, ",");
        unsigned f = 0;
        while (f < FAULT_COUNT && (strlen(sim_fault_name((enum sim_fault)f)) != n ||
                                   strncmp(sim_fault_name((enum sim_fault)f), list, n) != 0))
            f++;
        if (f == FAULT_COUNT) {
            char kinds[1000] = "";
            for (unsigned i = 0, at = 0; i < FAULT_COUNT && at < sizeof kinds; i++)
                at += (unsigned)snprintf(kinds + at, sizeof kinds - at, " %s", sim_fault_name((enum sim_fault)i));
            usage("--faults: there is no kind '%.*s'; the kinds are:%s", (int)n, list, kinds);
            return false;
        }
        *out |= 1u << f;
        list += n + (list[n] == ',');
    }
    return true;
}

static bool parse_profile(const char *name, enum sim_profile *out)
{
    if (sim_profile_find(name, out)) return true;
    char names[1000] = "";
    for (unsigned i = 0, at = 0; i < PROFILE_COUNT && at < sizeof names; i++)
        at += (unsigned)snprintf(names + at, sizeof names - at, " %s", sim_profile_name((enum sim_profile)i));
    usage("--profile: there is no '%s'; there are:%s", name, names);
    return false;
}

static bool number(const char *name, const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    uint64_t v;
    if (!bytes_to_u64(bytes_str(text), &v) || v < low || v > high) {
        usage("%s takes a number from %" PRIu64 " to %" PRIu64 ", not '%s'", name, low, high, text);
        return false;
    }
    *out = v;
    return true;
}

static bool takes_value(const char *option)
{
    static const char *const options[] = {
        "--seed",     "--seeds",      "--seconds",         "--nodes",   "--history",
        "--faults",   "--raft-trace", "--trace-partition", "--profile",
#ifdef CAIRN_MUTATIONS
        "--mutation",
#endif
    };
    for (size_t i = 0; i < ARRAY_COUNT(options); i++)
        if (strcmp(option, options[i]) == 0) return true;
    return false;
}

int sim_main(int argc, char **argv)
{
    struct run_options o = {.seed = 1, .seconds = 20, .faults = ALL_FAULTS, .trace_partition = 2};
    uint64_t seeds = 1, nodes = 0;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool ok = true;
        if (strcmp(argv[i], "--log") == 0 || strcmp(argv[i], "--beyond-budget") == 0) {
            o.log = o.log || argv[i][2] == 'l';
            o.beyond = o.beyond || argv[i][2] == 'b';
            continue;
        }
        if (strcmp(argv[i], "--first") == 0) {
            o.first = true;
            continue;
        }
        if (!takes_value(argv[i])) return usage("sim: there is no option '%s': 'cairn help sim' lists them", argv[i]);
        if (value == NULL) return usage("%s needs a value: 'cairn help sim' says which", argv[i]);
        if (strcmp(argv[i], "--seed") == 0) ok = number("--seed", value, 0, UINT64_MAX, &o.seed);
        else if (strcmp(argv[i], "--seeds") == 0) ok = number("--seeds", value, 1, 1000000000, &seeds);
        else if (strcmp(argv[i], "--seconds") == 0) ok = number("--seconds", value, 1, 100000, &o.seconds);
        else if (strcmp(argv[i], "--nodes") == 0) ok = number("--nodes", value, 1, 9, &nodes);
        else if (strcmp(argv[i], "--history") == 0) o.history_path = value;
        else if (strcmp(argv[i], "--faults") == 0) ok = parse_faults(value, &o.faults);
        else if (strcmp(argv[i], "--raft-trace") == 0) o.trace_path = value;
        else if (strcmp(argv[i], "--trace-partition") == 0)
            ok = number("--trace-partition", value, 1, UINT64_MAX, &o.trace_partition);
        else if (strcmp(argv[i], "--profile") == 0) ok = o.profile_given = parse_profile(value, &o.profile);
        else mutation_set(value);
        if (!ok) return 2;
        i++;
    }
    if (o.beyond && o.profile_given) {
        return usage("--beyond-budget goes with no --profile: leave one of the two out");
    }
    o.nodes = (unsigned)nodes;
    struct totals t = {0};
    uint64_t trace = 0;
    for (uint64_t i = 0; i < seeds; i++) {
        bool ok = run_seed(&o, &t, &trace);
        if (seeds > 1 && i % 25 == 0 && o.trace_path == NULL) t.failed += !same_again(&o, trace);
        o.seed++;
        if (!ok && o.first) break;
        if (seeds > 1 && (i + 1) % 20 == 0) {
            fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed", i + 1, seeds, t.failed);
            if (i + 1 == seeds) fprintf(stderr, "\n");
        }
    }
    print_totals(&t);
    t.failed += never_happened(&o, &t, seeds) + given_up_too_often(&t);
    if (seeds == 1) printf("trace-hash: %016" PRIx64 "\n", trace);
    return t.failed != 0 ? 1 : 0;
}
