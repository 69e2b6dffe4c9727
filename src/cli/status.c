/* status.c - cairn status, cairn node: a cluster as its nodes see it, for people.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One node is asked for the cluster, then every node for itself: who leads a partition knows best how far its followers
 * are. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "env/real.h"
#include "node/settings.h"
#include "wire/http/http.h"

#define ANSWER_MAX (64u << 20)
#define ASK_NS     (3 * NS_PER_S)

static struct {
    const char *address;
    bool json;
} options;
static const struct cli_option option_table[] = {
    {"address", CLI_ADDRESS, &options.address, "HOST:PORT", "of any node [" DEFAULT_ADDRESS "]", 0, 0},
    {"json", CLI_FLAG, &options.json, NULL, "prints what that node says, as JSON", 0, 0},
};
void status_help(void) { cli_options_help(option_table, ARRAY_COUNT(option_table)); }
void node_help(void) { cli_options_help(option_table, 1); }

/* ---- JSON, leniently: what is missing is 0 or "" ---- */

static uint64_t num(const json_t *o, const char *key) { return (uint64_t)json_integer_value(json_object_get(o, key)); }
static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}
static const json_t *find(const json_t *array, const char *key, uint64_t value)
{
    size_t i;
    json_t *o;
    json_array_foreach(array, i, o) if (num(o, key) == value) return o;
    return NULL;
}

/* ---- asking ---- */

struct asked {
    struct cluster *cluster;
    uint64_t id;
    json_t *status;
    char why_not[200];
};
struct cluster {
    struct env_loop *loop;
    json_t *seen; /* what the node that was asked first says */
    struct asked *nodes;
    size_t count, missing;
};

static void on_status(void *ctx, int status, struct bytes body, const char *why_not)
{
    struct asked *a = ctx;
    if (status == 200) a->status = json_loadb((const char *)body.p, body.n, 0, NULL);
    else snprintf(a->why_not, sizeof a->why_not, "%s", why_not != NULL ? why_not : "it refused");
    if (--a->cluster->missing == 0) env_real_loop_stop(a->cluster->loop);
}

static void ask_all(struct cluster *c)
{
    json_t *nodes = json_object_get(c->seen, "nodes"), *n;
    size_t i;
    struct env *env = env_real_new();
    c->loop = env_real_loop_new(env);
    c->nodes = mem_zalloc((json_array_size(nodes) + 1) * sizeof *c->nodes);
    json_array_foreach(nodes, i, n)
    {
        struct asked *a = &c->nodes[c->count++];
        *a = (struct asked){.cluster = c, .id = num(n, "id")};
        if (strcmp(text(n, "state"), "up") != 0) continue;
        if (a->id == num(c->seen, "node")) {
            a->status = json_incref(c->seen);
            continue;
        }
        c->missing++;
        http_call(c->loop, text(n, "address"), "GET", "/status.json", (struct bytes){0}, ANSWER_MAX, ASK_NS, on_status,
                  a);
    }
    if (c->missing != 0) env_real_loop_run(c->loop);
    env_real_loop_free(c->loop);
    env_real_free(env);
}

static void free_cluster(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) json_decref(c->nodes[i].status);
    mem_free(c->nodes);
    json_decref(c->seen);
}

static int fetch(const char *address, struct buf *out)
{
    struct error err = {0};
    int status = cli_http(address, "GET", "/status.json", ASK_NS, out, &err);
    if (status == 200) return EXIT_OK;
    if (status == 0)
        cli_error("no node answers at %s (%s): is it running there? --address HOST:PORT asks another one", address,
                  err.text);
    else
        cli_error("%s answered with HTTP status %d: %.*s", address, status, (int)MIN(out->n, 300u),
                  out->n != 0 ? (char *)out->p : "");
    return EXIT_FAILED;
}

static int load_cluster(const char *address, struct cluster *c)
{
    struct buf body = {0};
    int code = fetch(address, &body);
    if (code == EXIT_OK) {
        c->seen = json_loadb((const char *)body.p, body.n, 0, NULL);
        if (!json_is_array(json_object_get(c->seen, "nodes"))) {
            cli_error("what %s answers is no status of Cairn: does something else listen there?", address);
            json_decref(c->seen);
            c->seen = NULL;
            code = EXIT_FAILED;
        }
    }
    buf_deinit(&body);
    return code;
}

/* ---- printing ---- */

static void print_uptime(uint64_t ms, char out[32])
{
    uint64_t s = ms / 1000;
    if (s >= 86400) snprintf(out, 32, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s % 86400 / 3600);
    else if (s >= 3600) snprintf(out, 32, "%" PRIu64 "h %" PRIu64 "m", s / 3600, s % 3600 / 60);
    else if (s >= 60) snprintf(out, 32, "%" PRIu64 "m %" PRIu64 "s", s / 60, s % 60);
    else snprintf(out, 32, "%" PRIu64 ".%" PRIu64 "s", s, ms % 1000 / 100);
}

static const struct asked *asked_of(const struct cluster *c, uint64_t node_id)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->nodes[i].id == node_id) return &c->nodes[i];
    return NULL;
}

/* When meta's leader last heard of a node. */
static void print_heard(const struct cluster *c, uint64_t node_id, char out[32])
{
    snprintf(out, 32, "-");
    for (size_t i = 0; i < c->count; i++) {
        const json_t *n = find(json_object_get(c->nodes[i].status, "nodes"), "id", node_id);
        json_t *heard = json_object_get(n, "heard_ms");
        if (json_is_integer(heard)) cli_time((uint64_t)json_integer_value(heard) * NS_PER_MS, out);
        else if (json_is_true(json_object_get(c->nodes[i].status, "meta_leads")) && c->nodes[i].id == node_id)
            snprintf(out, 32, "meta");
    }
}

static void print_nodes(const struct cluster *c)
{
    json_t *nodes = json_object_get(c->seen, "nodes"), *n, *shard;
    size_t i, k;
    printf("  %4s  %-22s %-9s %-8s %-8s %-9s %7s %7s %9s\n", "node", "address", "state", "heard", "version", "up for",
           "clients", "leads", "memory");
    json_array_foreach(nodes, i, n)
    {
        const struct asked *a = asked_of(c, num(n, "id"));
        const json_t *s = a->status, *shards = json_object_get(s, "shards");
        char heard[32], up[32] = "-", memory[32] = "-";
        uint64_t clients = 0, leads = 0;
        const char *state = text(n, "state");
        if (strcmp(state, "up") == 0 && s == NULL) state = "no answer";
        else if (s != NULL && !json_is_true(json_object_get(json_object_get(s, "health"), "ready")))
            state = "not ready";
        print_heard(c, a->id, heard);
        json_array_foreach(shards, k, shard) clients += num(shard, "clients");
        const json_t *store, *stores = json_object_get(s, "stores");
        json_array_foreach(stores, k, store) leads += num(store, "leaders");
        if (s != NULL) print_uptime(num(s, "uptime_ms"), up);
        if (s != NULL) cli_bytes(num(s, "memory_bytes"), memory);
        printf("  %4" PRIu64 "  %-22s %-9s %-8s %-8s %-9s %7" PRIu64 " %7" PRIu64 " %9s\n", a->id, text(n, "address"),
               state, heard, s != NULL ? text(s, "version") : "-", up, clients, leads, memory);
    }
}

/* The copy that leads, as its own node tells. */
static const json_t *leading(const struct cluster *c, uint64_t partition)
{
    const json_t *best = NULL;
    size_t k;
    json_t *r;
    for (size_t i = 0; i < c->count; i++) json_array_foreach(json_object_get(c->nodes[i].status, "replicas"), k, r)
        {
            if (num(r, "partition") != partition || strcmp(text(r, "role"), "leader") != 0) continue;
            if (best == NULL || num(r, "term") > num(best, "term")) best = r; /* a deposed one may not know it yet */
        }
    return best;
}

static void print_copies(const json_t *partition, const json_t *lead, uint64_t leader_node)
{
    json_t *r;
    size_t i;
    json_array_foreach(json_object_get(partition, "replicas"), i, r)
    {
        const json_t *f = find(json_object_get(lead, "followers"), "replica", num(r, "replica"));
        const char *role = text(f != NULL ? f : r, "role");
        printf("%s%" PRIu64, i == 0 ? "  " : ", ", num(r, "node"));
        if (num(r, "node") == leader_node) {
            printf("*");
            continue;
        }
        if (strcmp(role, "voter") != 0) printf(" %s", role);
        if (json_is_true(json_object_get(f, "snapshotting"))) printf(" +snapshot");
        else if (json_is_integer(json_object_get(f, "lag"))) printf(" +%" PRIu64, num(f, "lag"));
        else printf(" +?");
    }
    printf("\n");
}

static void print_partitions(const struct cluster *c)
{
    json_t *partitions = json_object_get(c->seen, "partitions"), *p;
    size_t i;
    printf("\n  %9s  %-8s %-13s %12s %6s %10s  %s\n", "partition", "table", "slots", "keys", "term", "committed",
           "copies on nodes (* leads, +N entries behind)");
    json_array_foreach(partitions, i, p)
    {
        const json_t *lead = leading(c, num(p, "id")),
                     *t = find(json_object_get(c->seen, "tables"), "id", num(p, "table"));
        uint64_t leader = 0;
        char slots[32], keys[32] = "?", table[24];
        for (size_t k = 0; lead != NULL && k < c->count; k++) {
            size_t at;
            json_t *r;
            json_array_foreach(json_object_get(c->nodes[k].status, "replicas"), at, r) if (r == lead)
                leader = c->nodes[k].id;
        }
        bool meta = num(p, "table") == 0;
        snprintf(slots, sizeof slots, "%" PRIu64 "-%" PRIu64, num(p, "slot_first"), num(p, "slot_last"));
        snprintf(table, sizeof table, "%s", meta ? "meta" : text(t, "name"));
        if (lead != NULL) cli_thousands(num(lead, "keys"), keys);
        printf("  %9" PRIu64 "  %-8s %-13s %12s %6" PRIu64 " %10" PRIu64, num(p, "id"), table, meta ? "-" : slots,
               meta ? "-" : keys, num(lead, "term"), num(lead, "commit"));
        print_copies(p, lead, leader);
    }
}

static size_t problem(size_t n)
{
    printf("%s  - ", n == 0 ? "\nProblems\n" : "");
    return n + 1;
}

static size_t print_problems(const struct cluster *c)
{
    json_t *p, *partitions = json_object_get(c->seen, "partitions"), *o;
    size_t i, k, n = 0;
    for (i = 0; i < c->count; i++) {
        const struct asked *a = &c->nodes[i];
        const json_t *health = json_object_get(a->status, "health");
        if (a->status == NULL && a->why_not[0] != 0) {
            n = problem(n);
            printf("node %" PRIu64 " does not answer: %s\n", a->id, a->why_not);
        } else if (a->status != NULL && !json_is_true(json_object_get(health, "ready"))) {
            n = problem(n);
            printf("node %" PRIu64 " is not ready: %s\n", a->id, text(health, "reason"));
        }
        json_array_foreach(json_object_get(a->status, "replicas"), k, o)
        {
            if (json_is_string(json_object_get(o, "damaged"))) {
                n = problem(n);
                printf(
                    "partition %" PRIu64 " on node %" PRIu64 ": %s. %s\n", num(o, "partition"), a->id,
                    text(o, "damaged"),
                    json_is_true(json_object_get(o, "only_copy_damaged"))
                        ? "There is no other copy: put the file back as it was, or accept the loss (cairn serve --accept-loss)"
                        : "It waits for the other copies");
            }
            if (!json_is_string(json_object_get(o, "stopped"))) continue;
            n = problem(n);
            printf("the copy of partition %" PRIu64 " on node %" PRIu64 " does not apply any more: %s\n",
                   num(o, "partition"), a->id, text(o, "stopped"));
        }
        json_array_foreach(json_object_get(a->status, "stores"), k, o)
        {
            if (num(o, "scrub_mismatches") == 0) continue;
            n = problem(n);
            printf("store %" PRIu64 " of node %" PRIu64 ": %" PRIu64 " copies differed when they were compared\n",
                   num(o, "store"), a->id, num(o, "scrub_mismatches"));
        }
    }
    json_array_foreach(partitions, i, p)
    {
        const json_t *lead = leading(c, num(p, "id"));
        if (lead == NULL) {
            n = problem(n);
            printf("partition %" PRIu64 " has no leader among the nodes that answer: it takes no requests\n",
                   num(p, "id"));
            continue;
        }
        uint64_t voters = 1;
        json_array_foreach(json_object_get(lead, "followers"), k, o) voters += strcmp(text(o, "role"), "voter") == 0;
        if (voters >= num(p, "voters_wanted")) continue;
        n = problem(n);
        printf("partition %" PRIu64 " has %" PRIu64 " of %" PRIu64 " copies\n", num(p, "id"), voters,
               num(p, "voters_wanted"));
    }
    return n;
}

int status_main(int argc, char **argv)
{
    struct cluster c = {0};
    options.address = DEFAULT_ADDRESS;
    options.json = false;
    if (!cli_options(option_table, ARRAY_COUNT(option_table), &argc, argv, 0)) return EXIT_USAGE;
    if (options.json) {
        struct buf body = {0};
        int code = fetch(options.address, &body);
        if (code == EXIT_OK) fwrite(body.p, 1, body.n, stdout);
        buf_deinit(&body);
        return code;
    }
    int code = load_cluster(options.address, &c);
    if (code != EXIT_OK) return code;
    ask_all(&c);
    printf("Cluster %.8s: %zu nodes, %zu partitions\n\n", text(c.seen, "cluster"),
           json_array_size(json_object_get(c.seen, "nodes")), json_array_size(json_object_get(c.seen, "partitions")));
    print_nodes(&c);
    print_partitions(&c);
    if (print_problems(&c) == 0) printf("\nHealthy.\n");
    free_cluster(&c);
    return EXIT_OK;
}

/* ---- cairn node ---- */

static int list_nodes(void)
{
    struct cluster c = {0};
    int code = load_cluster(options.address, &c);
    if (code != EXIT_OK) return code;
    ask_all(&c);
    print_nodes(&c);
    free_cluster(&c);
    return EXIT_OK;
}

/* The meta group's leader decides; it may move once or twice while it is asked. */
static int remove_node(uint64_t id)
{
    char address[300], path[64];
    snprintf(address, sizeof address, "%s", options.address);
    snprintf(path, sizeof path, "/api/nodes/remove?id=%" PRIu64, id);
    for (int hops = 0; hops < 4; hops++) {
        struct buf body = {0};
        struct error err = {0};
        int status = cli_http(address, "POST", path, 10 * NS_PER_S, &body, &err);
        json_t *answer = json_loadb((const char *)body.p, body.n, 0, NULL);
        char next[300] = "";
        if (status == 307) snprintf(next, sizeof next, "%s", text(answer, "address"));
        if (status == 200) printf("node %" PRIu64 " is removed: %s\n", id, text(answer, "text"));
        else if (status == 0)
            cli_error("no node answers at %s (%s): is it running there? --address HOST:PORT asks another one", address,
                      err.text);
        else if (next[0] == 0)
            cli_error("%s", text(answer, "error")[0] != 0 ? text(answer, "error") : "the answer can't be read");
        json_decref(answer);
        buf_deinit(&body);
        if (next[0] == 0) return status == 200 ? EXIT_OK : EXIT_FAILED;
        memcpy(address, next, sizeof address);
    }
    cli_error("the meta group's leader changes all the time: ask again in a few seconds");
    return EXIT_FAILED;
}

int node_main(int argc, char **argv)
{
    uint64_t id;
    options.address = DEFAULT_ADDRESS;
    if (!cli_options(option_table, 1, &argc, argv, 2)) return EXIT_USAGE;
    if (argc == 2 && strcmp(argv[1], "list") == 0) return list_nodes();
    if (argc == 3 && strcmp(argv[1], "remove") == 0) {
        if (parse_number(argv[2], &id) && id != 0) return remove_node(id);
        cli_error("'%.40s' is not the id of a node: give a number from cairn node list", argv[2]);
        return EXIT_USAGE;
    }
    cli_error("say what to do: cairn node list, or cairn node remove ID");
    return EXIT_USAGE;
}
