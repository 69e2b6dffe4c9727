/* bench.c - cairn bench: load, and what it costs in time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each thread has its loop and its share of the connections. Closed loop: a connection sends a new request for every
 * reply. Open loop (--rate): request i of a thread is due at start + i / rate, whether or not earlier ones have been
 * answered; its latency counts from then. If all places for requests are taken it waits for one, and that waiting is
 * part of its latency
 * ("coordinated omission" is what tools do that leave it out).
 *
 * --route map: a client has a connection to each node that leads slots and sends each key to its leader, as clients
 * that know the map do. --route leader: a client has one connection, to a node that leads slots, and asks for keys of
 * those, as redis-benchmark --cluster does; the nodes get as many clients as they lead slots. --wait N: a write counts as answered when WAIT N has confirmed it; one WAIT follows the writes
 * that are sent together, which is as often as a client can ask without holding its own writes up. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/histogram.h"
#include "cli/reply.h"
#include "cli/resp_client.h"
#include "cli/slot_map.h"
#include "env/real.h"
#include "node/settings.h"
#include "table/place.h"

#define ADDRESSES_MAX  64
#define DRAIN_NS       (10 * NS_PER_S) /* how long answers are waited for at the end */
#define FILL_PIPELINE  64
#define MAP_NS         (10 * NS_PER_S)
#define WAIT_MS        5000 /* how long a WAIT waits */
#define KEY_PREFIX_MAX 64
#define KEY_DIGITS     12
#define DRAWS_MAX      10000 /* of a key that a node leads: there may be none among few keys */

static struct {
    const char *address, *prefix, *route;
    uint64_t wait, clients, threads, pipeline, duration_ns, requests, rate, value_size, keys, read_percent, seed;
    bool fill, json, quiet;
} options;
static const struct cli_option option_table[] = {
    {"address", CLI_TEXT, &options.address, "HOST:PORT,…",
     "nodes; connections are spread over them [" DEFAULT_ADDRESS "]", 0, 0},
    {"route", CLI_TEXT, &options.route, "any|map|leader",
     "any: each key to whatever node; map: to the node that leads its slot, by CLUSTER SLOTS; leader: each client has one "
     "node and asks for what that leads [any]",
     0, 0},
    {"clients", CLI_NUMBER, &options.clients, "N", "each with a connection (--route map: one to each node) [50]", 1,
     65536},
    {"threads", CLI_NUMBER, &options.threads, "N", "threads of this program [1]", 1, 256},
    {"pipeline", CLI_NUMBER, &options.pipeline, "N", "requests under way of each client [1]", 1, 65536},
    {"duration", CLI_DURATION, &options.duration_ns, "TIME", "how long [10s]", NS_PER_MS, 0},
    {"requests", CLI_NUMBER, &options.requests, "N", "stop after as many, if that is sooner", 1, 0},
    {"rate", CLI_NUMBER, &options.rate, "R", "requests a second, started by the clock (open loop)", 1, 0},
    {"value-size", CLI_SIZE, &options.value_size, "SIZE", "of the values written [64]", 0, 512u << 20},
    {"keys", CLI_NUMBER, &options.keys, "N", "different keys, chosen uniformly [100000]", 1, 0},
    {"read-percent", CLI_NUMBER, &options.read_percent, "P", "share of reads (GET), the others write (SET) [50]", 0,
     100},
    {"wait", CLI_NUMBER, &options.wait, "N", "sends WAIT N after writes; they are answered when N replicas have them",
     1, 64},
    {"fill", CLI_FLAG, &options.fill, NULL, "first writes every key once", 0, 0},
    {"prefix", CLI_TEXT, &options.prefix, "TEXT", "of the keys [bench:]", 0, 0},
    {"seed", CLI_NUMBER, &options.seed, "N", "of the choice of keys [1]", 1, 0},
    {"json", CLI_FLAG, &options.json, NULL, "prints the result as JSON", 0, 0},
    {"quiet", CLI_FLAG, &options.quiet, NULL, "no line each second", 0, 0},
};
void bench_help(void)
{
    cli_options_help(option_table, ARRAY_COUNT(option_table));
    printf("\nExamples: cairn bench --fill --clients 50 --pipeline 16\n"
           "          cairn bench --rate 20000 --duration 30s --read-percent 90\n");
}

enum bench_op { READ, WRITE, OPS, CONFIRM = OPS /* a WAIT */ };

struct due {
    uint64_t start_ns;
    uint8_t op;
};

struct bench_conn {
    struct resp_client client;
    struct bench_client *owner;
    struct due *ring; /* sent or about to be, oldest at head */
    uint32_t head, count;
    uint64_t *held; /* --wait: when the writes started whose WAIT has not been answered yet */
    uint32_t held_count;
    bool unconfirmed; /* --wait: writes for which no WAIT has been sent */
};

struct bench_client {
    struct thread *thread;
    struct bench_conn *conns; /* pass.width of them */
    uint32_t under_way;       /* at most the pipeline */
    uint8_t node;             /* --route leader: of the map */
};

struct thread {
    unsigned number;
    struct pass *pass;
    struct env *env;
    struct env_loop *loop;
    struct env_thread *handle;
    struct env_timer timer; /* open loop: the next due; closed loop: the end */
    struct bench_client *clients;
    struct bench_conn *conns;
    size_t client_count, conn_count, next_client, connected;
    uint32_t pipeline, ring_size;
    bool fill; /* this pass writes each key once */
    uint64_t rng, next_key, start_ns, end_ns, issued, issued_max;
    uint64_t rate_of_all; /* requests a second, all threads; 0: closed loop */
    uint64_t under_way, missed, nils, errors, finished_ns;
    uint64_t in_time[OPS]; /* answered before the end: what the rate is made of */
    bool ended, failed;
    struct buf value;
    struct histogram *latency[OPS];
    char first_error[200], failure[300];
    _Atomic uint64_t answered, failed_answers; /* for the main thread's line each second */
};

struct pass {
    struct env *env;
    struct thread *threads;
    char *addresses[ADDRESSES_MAX];
    size_t address_count;
    struct slot_map *map; /* --route map or leader, else NULL */
    bool pinned;          /* --route leader */
    size_t width;         /* connections of a client */
};

/* ---- requests ---- */

static uint64_t random_u64(struct thread *t)
{
    t->rng ^= t->rng << 13;
    t->rng ^= t->rng >> 7;
    t->rng ^= t->rng << 17;
    return t->rng;
}

static struct bench_conn *conn_for(struct bench_client *client, struct bytes key)
{
    const struct pass *p = client->thread->pass;
    return &client->conns[p->width > 1 ? p->map->leader[key_slot(key)] : 0];
}

/* The prefix and twelve digits: what snprintf would do, in less time than a request takes. */
static struct bytes key_text(uint64_t number, char *text)
{
    size_t n = MIN(strlen(options.prefix), (size_t)KEY_PREFIX_MAX);
    memcpy(text, options.prefix, n);
    for (size_t i = KEY_DIGITS; i > 0; i--, number /= 10) text[n + i - 1] = (char)('0' + number % 10);
    return bytes_of(text, n + KEY_DIGITS);
}

/* A key drawn among all, or among those that the client's node leads. */
static struct bytes draw_key(struct bench_client *client, char *text)
{
    struct thread *t = client->thread;
    const struct pass *p = t->pass;
    for (unsigned tries = 0;; tries++) {
        struct bytes key = key_text(random_u64(t) % options.keys, text);
        if (!p->pinned || tries == DRAWS_MAX || p->map->leader[key_slot(key)] == client->node) return key;
    }
}

static void push(struct bench_conn *c, uint64_t start_ns, uint8_t op)
{
    uint32_t size = c->owner->thread->ring_size;
    ASSERT(c->count < size);
    c->ring[(c->head + c->count++) % size] = (struct due){start_ns, op};
}

static void issue(struct bench_client *client, uint64_t start_ns)
{
    struct thread *t = client->thread;
    char text[KEY_PREFIX_MAX + KEY_DIGITS];
    struct bytes key;
    ASSERT(client->under_way < t->pipeline);
    enum bench_op op = WRITE;
    if (t->fill) {
        key = key_text(t->next_key, text);
        t->next_key += options.threads;
    } else {
        key = draw_key(client, text);
        op = random_u64(t) % 100 < options.read_percent ? READ : WRITE;
    }
    struct bench_conn *c = conn_for(client, key);
    command_begin(&c->client.out, op == READ ? 2 : 3);
    command_word(&c->client.out, op == READ ? BYTES_LIT("GET") : BYTES_LIT("SET"));
    command_word(&c->client.out, key);
    if (op == WRITE) command_word(&c->client.out, buf_view(&t->value));
    c->unconfirmed |= op == WRITE && options.wait != 0;
    push(c, start_ns, (uint8_t)op);
    client->under_way++;
    t->issued++;
    t->under_way++;
}

static void flush_client(struct bench_client *client)
{
    for (size_t i = 0; i < client->thread->pass->width; i++) {
        struct bench_conn *c = &client->conns[i];
        if (c->unconfirmed) {
            buf_printf(&c->client.out, "WAIT %" PRIu64 " %d\r\n", options.wait, WAIT_MS);
            push(c, 0, CONFIRM);
            c->unconfirmed = false;
        }
        resp_client_flush(&c->client);
    }
}

static void end_thread(struct thread *t)
{
    if (t->ended) return;
    t->ended = true;
    t->finished_ns = env_now_ns(t->env);
    env_real_loop_stop(t->loop);
}

static bool may_issue(const struct thread *t, uint64_t now)
{
    return !t->ended && t->issued < t->issued_max && (t->fill || now < t->end_ns);
}

/* ---- open loop ---- */

/* When request i of this thread is due: the threads take turns. */
static uint64_t due_at(const struct thread *t, uint64_t i)
{
    unsigned __int128 n = (unsigned __int128)(i * options.threads + t->number) * NS_PER_S;
    return t->start_ns + (uint64_t)(n / t->rate_of_all);
}

static struct bench_client *free_place(struct thread *t)
{
    for (size_t i = 0; i < t->client_count; i++) {
        struct bench_client *c = &t->clients[t->next_client];
        t->next_client = (t->next_client + 1) % t->client_count;
        if (c->under_way < t->pipeline) return c;
    }
    return NULL;
}

static void issue_due(struct thread *t)
{
    uint64_t now = env_now_ns(t->env);
    if (t->start_ns == 0 || t->ended) return;
    struct bench_client *c;
    bool any = false;
    while (t->issued < t->issued_max && due_at(t, t->issued) <= MIN(now, t->end_ns - 1) && (now < t->end_ns) &&
           (c = free_place(t)) != NULL) {
        issue(c, due_at(t, t->issued));
        any = true;
    }
    for (size_t i = 0; any && i < t->client_count; i++) flush_client(&t->clients[i]);
}

/* ---- the run of a thread ---- */

static void on_timer(struct env_timer *timer)
{
    struct thread *t = CONTAINER_OF(timer, struct thread, timer);
    uint64_t now = env_now_ns(t->env);
    if (t->rate_of_all != 0) issue_due(t);
    if (!may_issue(t, now) && t->under_way == 0) {
        end_thread(t);
        return;
    }
    if (!t->fill && now >= t->end_ns + DRAIN_NS) {
        snprintf(t->failure, sizeof t->failure, "%" PRIu64 " requests were not answered within %llu s after the end",
                 t->under_way, (unsigned long long)(DRAIN_NS / NS_PER_S));
        end_thread(t);
        return;
    }
    uint64_t next = now + 10 * NS_PER_MS;
    if (t->rate_of_all != 0 && may_issue(t, now)) next = MIN(next, MAX(due_at(t, t->issued), now + 20 * NS_PER_US));
    env_timer_start(timer, next - now);
}

static void begin(struct thread *t)
{
    t->start_ns = env_now_ns(t->env);
    t->end_ns = t->start_ns + options.duration_ns;
    for (size_t i = 0; t->rate_of_all == 0 && i < t->client_count; i++) {
        struct bench_client *c = &t->clients[i];
        while (c->under_way < t->pipeline && may_issue(t, t->start_ns)) issue(c, t->start_ns);
        flush_client(c);
    }
    env_timer_start(&t->timer, 1);
}

/* The place of a request is free again. */
static void done(struct bench_client *client)
{
    struct thread *t = client->thread;
    ASSERT(client->under_way > 0 && t->under_way > 0);
    client->under_way--;
    t->under_way--;
    atomic_fetch_add_explicit(&t->answered, 1, memory_order_relaxed);
}

static void succeed(struct bench_client *client, enum bench_op op, uint64_t start_ns, uint64_t now)
{
    struct thread *t = client->thread;
    histogram_add(t->latency[op], now - start_ns);
    t->in_time[op] += t->fill || now <= t->end_ns;
    done(client);
}

/* An error is no success: it has no latency. */
static void fail_request(struct bench_client *client, const char *text, size_t size)
{
    struct thread *t = client->thread;
    atomic_fetch_add_explicit(&t->failed_answers, 1, memory_order_relaxed);
    if (t->errors++ == 0)
        snprintf(t->first_error, sizeof t->first_error, "%.*s", (int)MIN(size, sizeof t->first_error - 1), text);
    done(client);
}

/* The answer to a WAIT is about all writes before it. */
static void confirm(struct bench_conn *c, const struct reply_part *part, uint64_t now)
{
    int64_t replicas = 0;
    char text[100];
    bool good = part->type == ':' && bytes_to_i64(part->text, &replicas) && replicas >= (int64_t)options.wait;
    int n = snprintf(text, sizeof text, "WAIT was answered %.*s", (int)MIN(part->text.n, 60u),
                     (const char *)part->text.p);
    for (uint32_t i = 0; i < c->held_count; i++) {
        if (good) succeed(c->owner, WRITE, c->held[i], now);
        else fail_request(c->owner, text, (size_t)n);
    }
    c->held_count = 0;
}

static void on_start_reply(struct thread *t, const struct reply_part *part)
{
    if (part->type == '-') {
        snprintf(t->failure, sizeof t->failure, "%.*s", (int)MIN(part->text.n, 200u), (const char *)part->text.p);
        t->failed = true;
        end_thread(t);
    } else if (++t->connected == t->conn_count) begin(t);
}

static void on_reply(struct resp_client *client, struct bytes reply)
{
    struct bench_conn *c = client->ctx;
    struct thread *t = c->owner->thread;
    struct reply_part part;
    uint64_t now = env_now_ns(t->env);
    enum reply_state state = reply_part(reply, &part);
    ASSERT(state == REPLY_WHOLE);
    if (t->start_ns == 0) { /* the PING of the start */
        on_start_reply(t, &part);
        return;
    }
    ASSERT(c->count > 0);
    struct due due = c->ring[c->head];
    c->head = (c->head + 1) % t->ring_size;
    c->count--;
    if (due.op == CONFIRM) {
        confirm(c, &part, now);
    } else if (part.type == '-') {
        fail_request(c->owner, (const char *)part.text.p, part.text.n);
    } else if (due.op == WRITE && options.wait != 0) {
        c->held[c->held_count++] = due.start_ns;
    } else {
        t->nils += part.nil;
        succeed(c->owner, due.op, due.start_ns, now);
    }
    while (t->rate_of_all == 0 && c->owner->under_way < t->pipeline && may_issue(t, now)) issue(c->owner, now);
}

static void on_turn(struct resp_client *client)
{
    struct bench_conn *c = client->ctx;
    struct thread *t = c->owner->thread;
    if (t->start_ns == 0 || t->ended) return;
    if (t->rate_of_all != 0) issue_due(t);
    else flush_client(c->owner);
    if (t->under_way == 0 && !may_issue(t, env_now_ns(t->env))) end_thread(t);
}

static void on_failed(struct resp_client *client, const char *why)
{
    struct thread *t = ((struct bench_conn *)client->ctx)->owner->thread;
    if (t->failed) return;
    t->failed = true;
    snprintf(t->failure, sizeof t->failure, "%s", why);
    end_thread(t);
}

static void run_thread(void *arg)
{
    struct thread *t = arg;
    env_real_loop_run(t->loop);
}

/* ---- passes ---- */

/* The node of a pinned client: they are spread as the slots are. */
static uint8_t node_of(const struct slot_map *map, uint64_t client)
{
    uint64_t place = (2 * client + 1) * SLOT_MAP_SLOTS / (2 * options.clients), led = 0;
    size_t node = 0;
    for (;; node++) {
        for (size_t slot = 0; slot < SLOT_MAP_SLOTS; slot++) led += map->leader[slot] == node;
        if (place < led || node + 1 == map->node_count) return (uint8_t)node;
    }
}

/* Connection i of the thread: client i / width, node i % width of the map. */
static void open_conn(struct pass *p, struct thread *t, size_t i)
{
    struct bench_conn *c = &t->conns[i];
    uint64_t number = t->number + i / p->width * options.threads; /* of the client, among all */
    c->owner = &t->clients[i / p->width];
    if (p->pinned) c->owner->node = node_of(p->map, number);
    const char *address = p->pinned      ? p->map->nodes[c->owner->node]
                          : p->width > 1 ? p->map->nodes[i % p->width]
                                         : p->addresses[number % p->address_count];
    c->ring = mem_zalloc(t->ring_size * sizeof *c->ring);
    if (options.wait != 0) c->held = mem_zalloc(t->pipeline * sizeof *c->held);
    c->client = (struct resp_client){.reply = on_reply, .turn = on_turn, .failed = on_failed, .ctx = c};
    resp_client_open(&c->client, t->loop, address);
    command_begin(&c->client.out, 1);
    command_word(&c->client.out, BYTES_LIT("PING"));
    resp_client_flush(&c->client);
}

static void open_thread(struct pass *p, struct thread *t, unsigned number, bool fill)
{
    *t = (struct thread){.number = number, .pass = p, .env = p->env, .fill = fill, .loop = env_real_loop_new(p->env)};
    t->client_count = options.clients / options.threads + (number < options.clients % options.threads);
    t->conn_count = t->client_count * p->width;
    t->pipeline = (uint32_t)(fill ? MAX(options.pipeline, (uint64_t)FILL_PIPELINE) : options.pipeline);
    /* WAITs: one for each write under way, and one whose writes have failed. */
    t->ring_size = options.wait != 0 ? 2 * t->pipeline + 1 : t->pipeline;
    t->rng = (options.seed * 0x9e3779b97f4a7c15u) ^ ((number + 1) * 0xbf58476d1ce4e5b9u);
    if (t->rng == 0) t->rng = 1;
    t->next_key = number;
    t->issued_max = options.requests == 0
                        ? UINT64_MAX
                        : options.requests / options.threads + (number < options.requests % options.threads);
    if (fill) t->issued_max = options.keys / options.threads + (number < options.keys % options.threads);
    t->rate_of_all = fill ? 0 : options.rate;
    for (int i = 0; i < OPS; i++) t->latency[i] = mem_zalloc(sizeof *t->latency[i]);
    uint8_t *value = buf_extend(&t->value, options.value_size);
    for (size_t i = 0; i < options.value_size; i++) value[i] = (uint8_t)('a' + random_u64(t) % 26);
    env_timer_init(t->loop, &t->timer, on_timer);
    t->clients = mem_zalloc((t->client_count + 1) * sizeof *t->clients);
    t->conns = mem_zalloc((t->conn_count + 1) * sizeof *t->conns);
    for (size_t i = 0; i < t->client_count; i++)
        t->clients[i] = (struct bench_client){.thread = t, .conns = &t->conns[i * p->width]};
    for (size_t i = 0; i < t->conn_count; i++) open_conn(p, t, i);
}

static void close_thread(struct thread *t)
{
    env_timer_stop(&t->timer);
    for (size_t i = 0; i < t->conn_count; i++) {
        resp_client_close(&t->conns[i].client);
        mem_free(t->conns[i].ring);
        mem_free(t->conns[i].held);
    }
    env_real_loop_free(t->loop);
    mem_free(t->conns);
    mem_free(t->clients);
    buf_deinit(&t->value);
    for (int i = 0; i < OPS; i++) mem_free(t->latency[i]);
}

/* A line each second until all have ended. It runs on a loop of its own, as the threads do. */
struct watch {
    struct pass *pass;
    struct env_loop *loop;
    struct env_timer timer;
    uint64_t started_ns, last_ns, last_answered;
    bool quiet;
};

static void on_watch(struct env_timer *timer)
{
    struct watch *w = CONTAINER_OF(timer, struct watch, timer);
    uint64_t now = env_now_ns(w->pass->env), answered = 0, errors = 0;
    char rate[32];
    for (uint64_t i = 0; i < options.threads; i++) {
        answered += atomic_load_explicit(&w->pass->threads[i].answered, memory_order_relaxed);
        errors += atomic_load_explicit(&w->pass->threads[i].failed_answers, memory_order_relaxed);
    }
    cli_thousands((uint64_t)((double)(answered - w->last_answered) * 1e9 / (double)(now - w->last_ns)), rate);
    if (!w->quiet)
        fprintf(stderr, "%4.0f s  %12s requests/s  %" PRIu64 " errors\n", (double)(now - w->started_ns) / 1e9, rate,
                errors);
    w->last_answered = answered;
    w->last_ns = now;
    env_timer_start(timer, NS_PER_S);
}

static void run_watch(void *arg) { env_real_loop_run(((struct watch *)arg)->loop); }

static void run_pass(struct pass *p, bool fill)
{
    struct watch w = {.pass = p, .loop = env_real_loop_new(p->env), .quiet = options.quiet || fill};
    w.started_ns = w.last_ns = env_now_ns(p->env);
    for (unsigned i = 0; i < options.threads; i++) open_thread(p, &p->threads[i], i, fill);
    env_timer_init(w.loop, &w.timer, on_watch);
    env_timer_start(&w.timer, NS_PER_S);
    struct env_thread *watcher = env_real_thread_new("watch", run_watch, &w);
    for (unsigned i = 1; i < options.threads; i++)
        p->threads[i].handle = env_real_thread_new("bench", run_thread, &p->threads[i]);
    run_thread(&p->threads[0]);
    for (unsigned i = 1; i < options.threads; i++) env_real_thread_join(p->threads[i].handle);
    env_real_loop_stop(w.loop);
    env_real_thread_join(watcher);
    env_timer_stop(&w.timer);
    env_real_loop_free(w.loop);
}

/* ---- results ---- */

struct total {
    struct histogram *latency[OPS], *all;
    uint64_t in_time[OPS], errors, nils, under_way, late, ns;
    const char *first_error, *failure;
};

static void add_up(struct pass *p, struct total *x)
{
    *x = (struct total){.all = mem_zalloc(sizeof *x->all)};
    for (int k = 0; k < OPS; k++) x->latency[k] = mem_zalloc(sizeof *x->latency[k]);
    for (unsigned i = 0; i < options.threads; i++) {
        struct thread *t = &p->threads[i];
        for (int k = 0; k < OPS; k++) {
            histogram_merge(x->latency[k], t->latency[k]);
            histogram_merge(x->all, t->latency[k]);
            x->in_time[k] += t->in_time[k];
        }
        x->errors += t->errors;
        x->nils += t->nils;
        x->under_way += t->under_way;
        if (t->start_ns != 0) x->ns = MAX(x->ns, MIN(t->finished_ns, t->fill ? UINT64_MAX : t->end_ns) - t->start_ns);
        /* What was due until the end and found no place. */
        if (t->rate_of_all != 0 && t->start_ns != 0)
            for (uint64_t at = t->issued; at < t->issued_max && due_at(t, at) < t->end_ns && x->late < UINT32_MAX; at++)
                x->late++;
        if (x->first_error == NULL && t->first_error[0] != 0) x->first_error = t->first_error;
        if (x->failure == NULL && t->failure[0] != 0) x->failure = t->failure;
    }
}

static void free_total(struct total *x)
{
    for (int k = 0; k < OPS; k++) mem_free(x->latency[k]);
    mem_free(x->all);
}

static double per_second(uint64_t count, uint64_t ns) { return (double)count * 1e9 / (double)MAX(ns, 1u); }

static void print_row(const char *name, const struct histogram *h, double rate_of)
{
    static const double shares[] = {0.5, 0.9, 0.99, 0.999};
    char rate[32], count[32], cell[32];
    if (h->count == 0) return;
    cli_thousands((uint64_t)rate_of, rate);
    printf("%-7s %14s %12s", name, cli_thousands(h->count, count), rate);
    printf("  %9s", cli_time(h->sum / h->count, cell));
    for (size_t i = 0; i < ARRAY_COUNT(shares); i++)
        printf("  %9s", cli_time(histogram_percentile(h, shares[i]), cell));
    printf("  %9s\n", cli_time(h->max, cell));
}

static void print_result(const struct total *x)
{
    char text[32];
    printf("%-7s %14s %12s  %9s  %9s  %9s  %9s  %9s  %9s\n", "", "answered", "per second", "mean", "p50", "p90", "p99",
           "p99.9", "max");
    print_row("reads", x->latency[READ], per_second(x->in_time[READ], x->ns));
    print_row("writes", x->latency[WRITE], per_second(x->in_time[WRITE], x->ns));
    print_row("all", x->all, per_second(x->in_time[READ] + x->in_time[WRITE], x->ns));
    if (x->nils != 0) printf("%s reads found no value (--fill writes every key first)\n", cli_thousands(x->nils, text));
    if (x->late != 0)
        printf("%s requests were due but found no free place: more than --clients x --pipeline were under way. "
               "Latencies above are of "
               "those that were sent\n",
               cli_thousands(x->late, text));
    if (x->errors != 0) printf("%s error replies; the first: %s\n", cli_thousands(x->errors, text), x->first_error);
}

static void json_row(const char *name, const struct histogram *h, double rate)
{
    printf("\"%s\":{\"count\":%" PRIu64
           ",\"per_second\":%.1f,\"mean_us\":%.1f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,"
           "\"p999_us\":%.1f,\"max_us\":%.1f},",
           name, h->count, rate, h->count != 0 ? (double)h->sum / (double)h->count / 1e3 : 0,
           (double)histogram_percentile(h, 0.5) / 1e3, (double)histogram_percentile(h, 0.9) / 1e3,
           (double)histogram_percentile(h, 0.99) / 1e3, (double)histogram_percentile(h, 0.999) / 1e3,
           (double)h->max / 1e3);
}

static void print_json(const struct total *x)
{
    printf("{\"seconds\":%.3f,\"route\":\"%s\",\"wait\":%" PRIu64 ",\"clients\":%" PRIu64 ",\"threads\":%" PRIu64
           ",\"pipeline\":%" PRIu64 ",\"rate\":%" PRIu64 ",\"keys\":%" PRIu64 ",\"value_size\":%" PRIu64
           ",\"read_percent\":%" PRIu64 ",",
           (double)x->ns / 1e9, options.route, options.wait, options.clients, options.threads, options.pipeline,
           options.rate, options.keys, options.value_size, options.read_percent);
    json_row("reads", x->latency[READ], per_second(x->in_time[READ], x->ns));
    json_row("writes", x->latency[WRITE], per_second(x->in_time[WRITE], x->ns));
    json_row("all", x->all, per_second(x->in_time[READ] + x->in_time[WRITE], x->ns));
    printf("\"first_error\":\"");
    for (const char *c = x->first_error; c != NULL && *c != 0; c++)
        putchar((uint8_t)*c < 0x20 || (uint8_t)*c > 0x7e || *c == '"' || *c == '\\' ? '?' : *c);
    printf("\",");
    printf("\"errors\":%" PRIu64 ",\"not_found\":%" PRIu64 ",\"not_sent\":%" PRIu64 ",\"not_answered\":%" PRIu64 "}\n",
           x->errors, x->nils, x->late, x->under_way);
}

static int finish(struct pass *p, bool fill)
{
    struct total x;
    char text[32], rate[32];
    add_up(p, &x);
    int code = x.failure == NULL && x.errors == 0 ? EXIT_OK : EXIT_FAILED;
    if (x.failure != NULL) cli_error("%s: %s", options.address, x.failure);
    if (fill && code == EXIT_OK && !options.json)
        printf("filled %s keys: %s a second\n", cli_thousands(x.all->count, text),
               cli_thousands((uint64_t)((double)x.all->count * 1e9 / (double)MAX(x.ns, 1u)), rate));
    if (fill && x.errors != 0)
        cli_error("%" PRIu64 " error replies while filling; the first: %s", x.errors, x.first_error);
    if (!fill && x.all->count + x.errors != 0) {
        if (options.json) print_json(&x);
        else print_result(&x);
    }
    for (unsigned i = 0; i < options.threads; i++) close_thread(&p->threads[i]);
    free_total(&x);
    return code;
}

/* ---- the command ---- */

static bool split_addresses(struct pass *p, char *text)
{
    for (char *save = NULL, *word = strtok_r(text, ",", &save); word != NULL; word = strtok_r(NULL, ",", &save)) {
        if (p->address_count == ADDRESSES_MAX) {
            cli_error("--address: more than %d nodes", ADDRESSES_MAX);
            return false;
        }
        struct error err = {0};
        if (check_address(word, &err) != ST_OK) {
            cli_error("--address: %s", err.text);
            return false;
        }
        p->addresses[p->address_count++] = word;
    }
    if (p->address_count == 0) cli_error("--address: there is none in it");
    return p->address_count != 0;
}

/* Of the first node that answers. */
static bool ask_map(struct pass *p)
{
    struct error err = {0};
    enum status st = ST_UNAVAILABLE;
    p->map = mem_zalloc(sizeof *p->map);
    for (size_t i = 0; i < p->address_count && st != ST_OK; i++)
        st = slot_map_ask(p->env, p->addresses[i], MAP_NS, p->map, &err);
    if (st != ST_OK) cli_error("--route %s: %s: %s", options.route, options.address, err.text);
    return st == ST_OK;
}

static void set_defaults(void)
{
    options.address = DEFAULT_ADDRESS;
    options.prefix = "bench:";
    options.route = "any";
    options.wait = 0;
    options.clients = 50;
    options.threads = 1;
    options.pipeline = 1;
    options.duration_ns = 10 * NS_PER_S;
    options.value_size = 64;
    options.keys = 100000;
    options.read_percent = 50;
    options.seed = 1;
}

int bench_main(int argc, char **argv)
{
    struct pass p = {0};
    int code = EXIT_OK;
    set_defaults();
    if (!cli_options(option_table, ARRAY_COUNT(option_table), &argc, argv, 0)) return EXIT_USAGE;
    if (options.threads > options.clients) {
        cli_error("--threads %" PRIu64 " is more than --clients %" PRIu64 ": a thread needs a connection",
                  options.threads, options.clients);
        return EXIT_USAGE;
    }
    bool map = strcmp(options.route, "map") == 0, pinned = strcmp(options.route, "leader") == 0;
    if (!map && !pinned && strcmp(options.route, "any") != 0) {
        cli_error("--route %s: it is any, map or leader", options.route);
        return EXIT_USAGE;
    }
    char *addresses = mem_strdup(options.address);
    if (!split_addresses(&p, addresses)) {
        mem_free(addresses);
        return EXIT_USAGE;
    }
    p.env = env_real_new();
    p.threads = mem_zalloc(options.threads * sizeof *p.threads);
    p.width = 1;
    if ((map || pinned) && !ask_map(&p)) code = EXIT_FAILED;
    if (map && code == EXIT_OK) p.width = p.map->node_count;
    if (options.fill && code == EXIT_OK) {
        run_pass(&p, true);
        code = finish(&p, true);
    }
    if (code == EXIT_OK) {
        p.pinned = pinned;
        run_pass(&p, false);
        code = finish(&p, false);
    }
    mem_free(p.threads);
    mem_free(p.map);
    mem_free(addresses);
    env_real_free(p.env);
    return code;
}
