/* client.c - simulated clients: speak RESP over simulated streams to any node, and write down what they were told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/client.h"

#include <inttypes.h>

#include "base/mem.h"
#include "sim/heap.h"

#define REPLIES_MAX 4
#define LONG_BASE   INT64_C(100000000000) /* numbers of SIM_LONG_NUMBER digits */

enum phase {
    IDLE,   /* thinking */
    FIRST,  /* waits for the replies of the op, or of WATCH and GET */
    SECOND, /* CAS: waits for EXEC */
};

/* The part of a reply that clients look at. */
struct reply {
    char type;      /* + - : $ * or _ for nil */
    int64_t number; /* of : and of $ that holds one; count of * */
    bool is_number;
    char text[128];
    struct {
        bool is_number;
        int64_t number;
    } items[2]; /* of an array */
};

struct client {
    struct sim_clients *all;
    struct sim_node *machine;
    struct env *env;
    struct env_loop *loop;
    unsigned process;
    struct env_stream *stream;
    bool connected, sent;
    struct buf in;
    struct env_timer think, timeout, watch;
    enum phase phase;
    struct sim_record op;
    size_t record;
    unsigned expected, got;
    struct reply replies[REPLIES_MAX];
};

struct sim_clients {
    struct world *world;
    struct sim_clients_options options;
    struct history *history;
    struct client *clients;
    struct rng rng;
    unsigned base, ops_in_set;
    int64_t value;
    bool finishing, own_weights;
    unsigned next_final, final_count, final_left; /* objects from 0 on */
    bool *final_done;
    char finding[256];
    struct sim_client_counters counters;
};

static uint64_t now(struct client *c) { return world_now_ns(c->all->world); }

static void finding(struct sim_clients *all, const char *text)
{
    if (all->finding[0] == 0) snprintf(all->finding, sizeof all->finding, "%s", text);
}

/* ---- commands ---- */

static void argument(struct buf *b, const char *text) { buf_printf(b, "$%zu\r\n%s\r\n", strlen(text), text); }

static void command(struct buf *b, unsigned n, const char *a0, const char *a1, const char *a2, const char *a3,
                    const char *a4)
{
    const char *args[] = {a0, a1, a2, a3, a4};
    buf_printf(b, "*%u\r\n", n);
    for (unsigned i = 0; i < n; i++) argument(b, args[i]);
}

/* Appends the commands of the op's first step; returns how many replies they have. */
static unsigned first_step(const struct client *c, struct buf *b)
{
    const struct sim_record *r = &c->op;
    char a[32], second[32], hash[32], text[32], arg[32], px[32], chunk[SIM_LONG_CHUNK + 1];
    snprintf(text, sizeof text, "{o%u}l", r->object);
    snprintf(a, sizeof a, "{o%u}a", r->object);
    snprintf(second, sizeof second, "{o%u}b", r->object);
    snprintf(hash, sizeof hash, "{o%u}h", r->object);
    snprintf(arg, sizeof arg, "%" PRId64, r->arg);
    snprintf(px, sizeof px, "%" PRIu64, r->ttl_ms);
    switch ((enum sim_op)r->op) {
    case SIM_READ:
        if (r->hash) command(b, 3, "HGET", hash, "a", NULL, NULL);
        else command(b, 2, "GET", a, NULL, NULL, NULL);
        return 1;
    case SIM_WRITE:
        if (r->hash) command(b, 4, "HSET", hash, "a", arg, NULL);
        else command(b, 3, "SET", a, arg, NULL, NULL);
        return 1;
    case SIM_WRITE_TTL: command(b, 5, "SET", a, arg, "PX", px); return 1;
    case SIM_INCR:
        if (r->hash) command(b, 4, "HINCRBY", hash, "a", "1", NULL);
        else command(b, 2, "INCR", a, NULL, NULL, NULL);
        return 1;
    case SIM_DELETE:
        if (r->hash) command(b, 3, "HDEL", hash, "a", NULL, NULL);
        else command(b, 2, "DEL", a, NULL, NULL, NULL);
        return 1;
    case SIM_GETSET: command(b, 4, "SET", a, arg, "GET", NULL); return 1;
    case SIM_CAS:
        command(b, 2, "WATCH", a, NULL, NULL, NULL);
        command(b, 2, "GET", a, NULL, NULL, NULL);
        return 2;
    case SIM_BOTH:
        command(b, 1, "MULTI", NULL, NULL, NULL, NULL);
        if (r->hash) {
            command(b, 4, "HINCRBY", hash, "a", "1", NULL);
            command(b, 4, "HINCRBY", hash, "b", "1", NULL);
        } else {
            command(b, 2, "INCR", a, NULL, NULL, NULL);
            command(b, 2, "INCR", second, NULL, NULL, NULL);
        }
        command(b, 1, "EXEC", NULL, NULL, NULL, NULL);
        return 4;
    case SIM_INCR_FLOAT:
        if (r->hash) command(b, 4, "HINCRBYFLOAT", hash, "a", "3", NULL);
        else command(b, 3, "INCRBYFLOAT", a, "3", NULL, NULL);
        return 1;
    case SIM_SET_NX:
        if (r->hash) command(b, 4, "HSETNX", hash, "a", arg, NULL);
        else command(b, 4, "SET", a, arg, "NX", NULL);
        return 1;
    case SIM_SET_XX: command(b, 4, "SET", a, arg, "XX", NULL); return 1;
    case SIM_SET_NX_GET: command(b, 5, "SET", a, arg, "NX", "GET"); return 1;
    case SIM_RENAME: command(b, 3, "RENAME", a, second, NULL, NULL); return 1;
    case SIM_COPY: command(b, 4, "COPY", a, second, "REPLACE", NULL); return 1;
    case SIM_LONG_WRITE:
        snprintf(arg, sizeof arg, "%" PRId64, LONG_BASE + r->arg);
        command(b, 4, "SETRANGE", text, "0", arg, NULL);
        return 1;
    case SIM_LONG_SET: /* above the limits of frames, batches, pieces and turns */
        buf_printf(b, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%d\r\n", strlen(text), text, SIM_LONG_WHOLE);
        buf_printf(b, "%" PRId64, LONG_BASE + r->arg);
        memset(buf_extend(b, SIM_LONG_WHOLE - SIM_LONG_NUMBER), 'w', SIM_LONG_WHOLE - SIM_LONG_NUMBER);
        buf_put_bytes(b, BYTES_LIT("\r\n"));
        return 1;
    case SIM_LONG_FAR:
        snprintf(arg, sizeof arg, "%" PRId64, LONG_BASE + r->arg);
        command(b, 4, "SETRANGE", text, "65530", arg, NULL);
        return 1;
    case SIM_LONG_APPEND:
        memset(chunk, 'x', SIM_LONG_CHUNK);
        chunk[SIM_LONG_CHUNK] = 0;
        command(b, 3, "APPEND", text, chunk, NULL, NULL);
        return 1;
    case SIM_LONG_DELETE: command(b, 2, "DEL", text, NULL, NULL, NULL); return 1;
    case SIM_LONG_READ: command(b, 4, "GETRANGE", text, "0", "11", NULL); return 1;
    case SIM_LONG_BOTH:
        command(b, 1, "MULTI", NULL, NULL, NULL, NULL);
        command(b, 4, "GETRANGE", text, "0", "11", NULL);
        command(b, 2, "STRLEN", text, NULL, NULL, NULL);
        command(b, 1, "EXEC", NULL, NULL, NULL, NULL);
        return 4;
    case SIM_CLEAR: command(b, 2, "DEL", hash, NULL, NULL, NULL); return 1;
    case SIM_READ_BOTH:
        if (r->hash) command(b, 4, "HMGET", hash, "a", "b", NULL);
        else command(b, 3, "MGET", a, second, NULL, NULL);
        return 1;
    default: ASSERT(false); return 0;
    }
}

static void second_step(const struct client *c, struct buf *b)
{
    char a[32], arg[32];
    snprintf(a, sizeof a, "{o%u}a", c->op.object);
    snprintf(arg, sizeof arg, "%" PRId64, c->op.arg);
    command(b, 1, "MULTI", NULL, NULL, NULL, NULL);
    command(b, 3, "SET", a, arg, NULL, NULL);
    command(b, 1, "EXEC", NULL, NULL, NULL, NULL);
}

/* ---- replies ---- */

static bool line_of(struct reader *r, struct bytes *out)
{
    const uint8_t *cr = memchr(r->p, '\r', (size_t)(r->end - r->p));
    if (cr == NULL || cr + 1 >= r->end) return false;
    *out = bytes_of(r->p, (size_t)(cr - r->p));
    r->p = cr + 2;
    return true;
}

/* One reply; false: more bytes are needed. */
static bool parse_reply(struct reader *r, struct reply *out, unsigned depth)
{
    struct bytes line;
    *out = (struct reply){0};
    if (!line_of(r, &line) || line.n == 0) return false;
    out->type = (char)line.p[0];
    struct bytes rest = bytes_of(line.p + 1, line.n - 1);
    snprintf(out->text, sizeof out->text, "%.*s", (int)MIN(rest.n, sizeof out->text - 1), (const char *)rest.p);
    if (out->type == '+' || out->type == '-') return true;
    if (!bytes_to_i64(rest, &out->number)) return true;
    out->is_number = out->type == ':';
    if (out->number < 0 && out->type != ':') {
        out->type = '_';
        return true;
    }
    if (out->type == '$') {
        size_t n = (size_t)out->number;
        if ((size_t)(r->end - r->p) < n + 2) return false;
        out->is_number = bytes_to_i64(bytes_of(r->p, n), &out->number);
        r->p += n + 2;
    } else if (out->type == '*' && depth == 0) {
        int64_t count = out->number;
        for (int64_t i = 0; i < count; i++) {
            struct reply item;
            if (!parse_reply(r, &item, 1)) return false;
            if (i >= 2) continue;
            out->items[i].is_number = item.is_number;
            out->items[i].number = item.number;
            if (item.type == '-') snprintf(out->text, sizeof out->text, "%s", item.text);
        }
    }
    return true;
}

static int64_t number_of(int64_t v) { return v == CELL_ABSENT ? v : v - LONG_BASE; }
static int64_t length_of(int64_t v) { return v == 0 ? CELL_ABSENT : v; }
static int64_t cell(const struct reply *r) { return r->is_number ? r->number : CELL_ABSENT; }
static int64_t item_cell(const struct reply *r, unsigned i)
{
    return r->items[i].is_number ? r->items[i].number : CELL_ABSENT;
}

/* ---- ending an operation ---- */

static void start_op(struct client *c);

static void think(struct client *c)
{
    struct sim_clients *all = c->all;
    c->phase = IDLE;
    uint64_t mean = all->finishing ? 20 * NS_PER_MS : all->options.think_ns;
    if (!all->finishing && rng_chance(&all->rng, all->options.rest_one_in)) mean = all->options.rest_ns_max * 4 / 7;
    env_timer_start(&c->think, rng_between(&all->rng, mean / 4, mean * 7 / 4));
}

static void drop_connection(struct client *c)
{
    if (c->stream != NULL) env_stream_close(c->stream);
    env_timer_stop(&c->watch);
    c->stream = NULL;
    c->connected = false;
    buf_clear(&c->in);
}

static void end_op(struct client *c, enum sim_outcome outcome, int64_t a, int64_t b)
{
    struct sim_clients *all = c->all;
    bool read = sim_op_reads((enum sim_op)c->op.op);
    if (outcome == SIM_UNKNOWN && read) outcome = SIM_FAILED;
    /* A CAS that never came to its EXEC has changed nothing. */
    if (outcome == SIM_UNKNOWN && c->op.op == SIM_CAS && c->phase == FIRST) outcome = SIM_FAILED;
    if (c->op.op == SIM_CAS && outcome == SIM_UNKNOWN) a = c->op.a;
    env_timer_stop(&c->timeout);
    history_end(all->history, c->record, outcome, a, b, now(c));
    all->counters.by_op[c->op.op]++;
    if (outcome == SIM_OK) all->counters.ok++;
    else if (outcome == SIM_UNKNOWN) all->counters.unknown++;
    else all->counters.failed++;
    if (all->finishing && outcome == SIM_OK && c->op.process == UINT32_MAX && !all->final_done[c->op.object]) {
        all->final_done[c->op.object] = true;
        all->final_left--;
    }
    c->op.process = 0;
    think(c);
}

static enum sim_outcome outcome_of_error(struct client *c, const char *text)
{
    char line[200];
    if (strncmp(text, "UNKNOWN", 7) == 0) return SIM_UNKNOWN;
    if (strncmp(text, "UNAVAILABLE", 11) == 0 || strncmp(text, "OVERLOADED", 10) == 0) return SIM_FAILED;
    snprintf(line, sizeof line, "%s of object %u was answered -%s", sim_op_name(c->op.op), c->op.object, text);
    finding(c->all, line);
    return SIM_UNKNOWN;
}

static void send_second(struct client *c)
{
    struct buf b = {0};
    c->phase = SECOND;
    c->all->history->records[c->record].exec_ns = now(c);
    c->expected = 3;
    c->got = 0;
    second_step(c, &b);
    env_stream_write(c->stream, buf_view(&b));
    buf_deinit(&b);
}

static void exec_done(struct client *c, const struct reply *exec)
{
    if (exec->type == '-') {
        end_op(c, outcome_of_error(c, exec->text), c->op.a, 0);
    } else if (exec->type == '_') {
        c->all->counters.aborted++;
        end_op(c, SIM_FAILED, 0, 0);
    } else if (c->op.op == SIM_CAS) {
        end_op(c, SIM_OK, c->op.a, 0);
    } else if (c->op.op == SIM_LONG_BOTH) {
        end_op(c, SIM_OK, number_of(item_cell(exec, 0)), length_of(item_cell(exec, 1)));
    } else {
        end_op(c, SIM_OK, item_cell(exec, 0), item_cell(exec, 1));
    }
}

/* All replies of the step are here. */
static void on_replies(struct client *c)
{
    const struct reply *first = &c->replies[0], *last = &c->replies[c->expected - 1];
    if (c->phase == SECOND || c->op.op == SIM_BOTH || c->op.op == SIM_LONG_BOTH) {
        exec_done(c, last);
        return;
    }
    if (c->op.op == SIM_RENAME && first->type == '-' && strncmp(first->text, "ERR no such key", 15) == 0) {
        end_op(c, SIM_OK, 0, CELL_ABSENT);
        return;
    }
    for (unsigned i = 0; i < c->expected; i++) {
        if (c->replies[i].type != '-') continue;
        enum sim_outcome outcome = outcome_of_error(c, c->replies[i].text);
        if (c->op.op == SIM_CAS) drop_connection(c); /* the watch must not stay */
        end_op(c, outcome, 0, 0);
        return;
    }
    switch ((enum sim_op)c->op.op) {
    case SIM_CAS:
        c->op.a = cell(last);
        c->all->history->records[c->record].a = c->op.a;
        c->all->history->records[c->record].seen_ns = now(c);
        if (c->all->options.watch_ns_max == 0) send_second(c);
        else env_timer_start(&c->watch, rng_below(&c->all->rng, c->all->options.watch_ns_max));
        break;
    case SIM_READ_BOTH: end_op(c, SIM_OK, item_cell(first, 0), item_cell(first, 1)); break;
    case SIM_SET_NX:
    case SIM_SET_XX:
    case SIM_RENAME: end_op(c, SIM_OK, first->is_number ? first->number : first->type != '_', CELL_ABSENT); break;
    case SIM_LONG_WRITE:
    case SIM_LONG_FAR:
    case SIM_LONG_APPEND: end_op(c, SIM_OK, CELL_ABSENT, cell(first)); break;
    case SIM_LONG_READ: end_op(c, SIM_OK, number_of(cell(first)), CELL_ABSENT); break;
    default: end_op(c, SIM_OK, cell(first), CELL_ABSENT); break;
    }
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct client *c = ctx;
    buf_put_bytes(&c->in, data);
    while (c->phase != IDLE && c->stream != NULL) {
        struct reader r = reader_of(buf_view(&c->in));
        struct reply reply;
        if (reader_left(&r) == 0 || !parse_reply(&r, &reply, 0)) return;
        buf_consume(&c->in, (size_t)(r.p - c->in.p));
        c->replies[c->got++] = reply;
        if (c->got == c->expected) on_replies(c);
    }
}

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct client *c = ctx;
    drop_connection(c);
    if (c->phase != IDLE) end_op(c, c->sent ? SIM_UNKNOWN : SIM_FAILED, 0, 0);
}

static const struct env_stream_events events = {.data = on_data, .closed = on_closed};

static void on_timeout(struct env_timer *timer)
{
    struct client *c = CONTAINER_OF(timer, struct client, timeout);
    drop_connection(c);
    if (c->phase != IDLE) end_op(c, c->sent ? SIM_UNKNOWN : SIM_FAILED, 0, 0);
}

static void send_first(struct client *c)
{
    struct buf b = {0};
    c->expected = first_step(c, &b);
    c->got = 0;
    c->sent = true;
    env_stream_write(c->stream, buf_view(&b));
    buf_deinit(&b);
}

static void on_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct client *c = ctx;
    if (st != ST_OK) {
        drop_connection(c);
        if (c->phase != IDLE) end_op(c, SIM_FAILED, 0, 0);
        return;
    }
    c->connected = true;
    c->all->counters.connections++;
    if (c->phase == FIRST) send_first(c);
}

static void on_watch(struct env_timer *timer)
{
    struct client *c = CONTAINER_OF(timer, struct client, watch);
    if (c->phase == FIRST && c->stream != NULL) send_second(c);
}

/* ---- choosing an operation ---- */

static bool is_hash(unsigned object) { return object % 3 == 0; }
/* Weights of one's own are of operations on the other two kinds. */
static bool is_long(const struct sim_clients *all, unsigned object) { return !all->own_weights && object % 12 == 1; }

static const uint8_t *weights_of(const struct client *c)
{
    static const uint8_t usual[3][SIM_OP_COUNT] = {
        {30, 14, 4, 20, 6, 4, 8, 8, 6, 6, 5, 4, 3, 5, 4},      /* strings */
        {30, 14, 0, 36, 6, 0, 0, 8, 6, 8, 5, [SIM_CLEAR] = 3}, /* hashes */
        {[SIM_LONG_WRITE] = 20,
         [SIM_LONG_APPEND] = 12,
         [SIM_LONG_FAR] = 3,
         [SIM_LONG_DELETE] = 1,
         [SIM_LONG_SET] = 4,
         [SIM_LONG_READ] = 20,
         [SIM_LONG_BOTH] = 12},
    };
    static const uint8_t reads[2][SIM_OP_COUNT] = {{[SIM_READ] = 8, [SIM_READ_BOTH] = 2},
                                                   {[SIM_LONG_READ] = 8, [SIM_LONG_BOTH] = 2}};
    const struct sim_clients *all = c->all;
    bool text = is_long(all, c->op.object);
    if (c->process < all->options.readers) return reads[text];
    if (all->own_weights) return all->options.weights;
    return usual[c->op.hash ? 1 : text ? 2 : 0];
}

/* Weights of one's own do not ask whether there is such an operation on this kind of object. */
static void own_op(struct sim_record *r)
{
    if (r->hash && (r->op == SIM_WRITE_TTL || r->op == SIM_GETSET || r->op == SIM_CAS)) r->op = SIM_INCR;
    if (!r->hash && r->op == SIM_CLEAR) r->op = SIM_DELETE;
}

static bool choose(struct client *c)
{
    struct sim_clients *all = c->all;
    struct rng *rng = &all->rng;
    c->op = (struct sim_record){.process = c->process, .a = CELL_ABSENT, .b = CELL_ABSENT};
    if (all->finishing) {
        if (all->final_left == 0) return false;
        do c->op.object = all->next_final++ % all->final_count;
        while (all->final_done[c->op.object]);
        c->op.hash = is_hash(c->op.object);
        c->op.op = is_long(all, c->op.object) ? SIM_LONG_BOTH : SIM_READ_BOTH;
        return true;
    }
    if (++all->ops_in_set > all->options.ops_per_object * all->options.objects) {
        all->ops_in_set = 0;
        all->base += all->options.objects;
    }
    c->op.object = all->base + (unsigned)rng_below(rng, all->options.objects);
    c->op.hash = is_hash(c->op.object);
    const uint8_t *w = weights_of(c);
    unsigned sum = 0, draw;
    for (unsigned i = 0; i < SIM_OP_COUNT; i++) sum += w[i];
    draw = (unsigned)rng_below(rng, sum);
    for (c->op.op = 0; draw >= w[c->op.op]; c->op.op++) draw -= w[c->op.op];
    if (all->own_weights) own_op(&c->op);
    if (c->op.op == SIM_WRITE_TTL) {
        uint64_t lo = all->options.ttl_ms_min, hi = all->options.ttl_ms_max;
        c->op.ttl_ms = hi != 0 ? rng_between(rng, lo, hi) : 200 + (uint64_t)((all->value + SIM_VALUE_STEP) & 1023);
    }
    c->op.arg = (all->value += SIM_VALUE_STEP);
    return true;
}

static void start_op(struct client *c)
{
    struct sim_clients *all = c->all;
    if (!choose(c)) return;
    c->op.invoke_ns = now(c);
    c->record = history_begin(all->history, &c->op);
    if (all->finishing) c->op.process = UINT32_MAX;
    c->phase = FIRST;
    c->sent = false;
    env_timer_start(&c->timeout, all->options.timeout_ns);
    if (c->stream != NULL && rng_chance(&all->rng, 50)) drop_connection(c); /* another node now and then */
    if (c->stream == NULL) {
        unsigned i = (unsigned)rng_below(&all->rng, *all->options.address_count);
        if (all->options.at_home && !all->finishing && !rng_chance(&all->rng, 8))
            i = c->process % *all->options.address_count;
        c->stream = env_connect(c->loop, all->options.addresses[i], &events, c, on_connected);
    } else if (c->connected) {
        send_first(c);
    }
}

static void on_think(struct env_timer *timer) { start_op(CONTAINER_OF(timer, struct client, think)); }

static void client_main(void *ctx, struct env *env, struct env_loop **loops, unsigned loop_count)
{
    struct client *c = ctx;
    c->env = env;
    c->loop = loops[0];
    env_timer_init(c->loop, &c->think, on_think);
    env_timer_init(c->loop, &c->timeout, on_timeout);
    env_timer_init(c->loop, &c->watch, on_watch);
    think(c);
}

struct sim_clients *sim_clients_new(struct world *w, const struct sim_clients_options *options, struct history *h)
{
    struct sim_clients *all = mem_zalloc(sizeof *all);
    all->world = w;
    all->options = *options;
    all->history = h;
    all->clients = mem_zalloc(options->count * sizeof *all->clients);
    all->value = SIM_VALUE_STEP;
    for (unsigned i = 0; i < SIM_OP_COUNT; i++) all->own_weights |= options->weights[i] != 0;
    rng_init(&all->rng, rng_next(world_rng(w)));
    for (unsigned i = 0; i < options->count; i++) {
        char host[16];
        struct client *c = &all->clients[i];
        snprintf(host, sizeof host, "c%u", i + 1);
        c->all = all;
        c->process = i;
        c->machine = world_node_new(w, host);
        world_start(c->machine, 1, client_main, c);
    }
    return all;
}

void sim_clients_finish(struct sim_clients *all)
{
    struct heap *was = heap_enter(NULL);
    all->finishing = true;
    all->final_count = all->final_left = all->base + all->options.objects;
    all->final_done = mem_zalloc(all->final_count * sizeof *all->final_done);
    heap_enter(was);
}

bool sim_clients_finished(const struct sim_clients *all) { return all->finishing && all->final_left == 0; }
const char *sim_clients_finding(const struct sim_clients *all) { return all->finding[0] != 0 ? all->finding : NULL; }
const struct sim_client_counters *sim_clients_counters(const struct sim_clients *all) { return &all->counters; }
