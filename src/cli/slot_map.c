/* slot_map.c - which node leads which slot, as CLUSTER SLOTS says it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/slot_map.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/reply.h"
#include "cli/resp_client.h"
#include "env/real.h"

#define NO_LEADER UINT8_MAX
#define AGAIN_NS  (100 * NS_PER_MS)
_Static_assert(SLOT_MAP_NODES_MAX < NO_LEADER, "an index of a node fits and is never NO_LEADER");

/* The next element, of the type wanted; the reply is whole, so only the type can be wrong. */
static bool take(struct bytes *in, uint8_t type, struct reply_part *out)
{
    if (reply_part(*in, out) != REPLY_WHOLE || out->type != type || out->nil) return false;
    *in = bytes_of(in->p + out->size, in->n - out->size);
    return true;
}

static bool take_number(struct bytes *in, int64_t max, int64_t *out)
{
    struct reply_part part;
    return take(in, ':', &part) && bytes_to_i64(part.text, out) && *out >= 0 && *out <= max;
}

static bool skip(struct bytes *in, uint64_t count)
{
    size_t size;
    for (uint64_t i = 0; i < count; i++) {
        if (reply_scan(*in, &size) != REPLY_WHOLE) return false;
        *in = bytes_of(in->p + size, in->n - size);
    }
    return true;
}

static enum status node_index(struct slot_map *m, struct bytes host, int64_t port, uint8_t *out, struct error *err)
{
    char address[SLOT_MAP_ADDRESS];
    if (host.n == 0 || host.n > 255 || memchr(host.p, 0, host.n) != NULL)
        return error_set(err, ST_CORRUPT, "CLUSTER SLOTS names a host of %zu bytes", host.n);
    snprintf(address, sizeof address, "%.*s:%" PRId64, (int)host.n, (const char *)host.p, port);
    for (size_t i = 0; i < m->node_count; i++) {
        if (strcmp(m->nodes[i], address) != 0) continue;
        *out = (uint8_t)i;
        return ST_OK;
    }
    if (m->node_count == SLOT_MAP_NODES_MAX)
        return error_set(err, ST_UNSUPPORTED, "more than %u nodes lead slots", SLOT_MAP_NODES_MAX);
    memcpy(m->nodes[m->node_count], address, sizeof address);
    *out = (uint8_t)m->node_count++;
    return ST_OK;
}

/* One range: first slot, last slot, the leader, then other nodes. A node: host, port, further elements. */
static enum status take_range(struct bytes *in, struct slot_map *m, struct error *err)
{
    struct reply_part range, node, host;
    int64_t first, last, port;
    uint8_t leader = 0;
    bool good = take(in, '*', &range) && range.count >= 3 && take_number(in, SLOT_MAP_SLOTS - 1, &first) &&
                take_number(in, SLOT_MAP_SLOTS - 1, &last) && first <= last && take(in, '*', &node) &&
                node.count >= 2 && take(in, '$', &host) && take_number(in, 65535, &port) && skip(in, node.count - 2) &&
                skip(in, range.count - 3);
    if (!good) return error_set(err, ST_CORRUPT, "the answer to CLUSTER SLOTS is none");
    enum status st = node_index(m, host.text, port, &leader, err);
    if (st == ST_OK) memset(m->leader + first, leader, (size_t)(last - first + 1));
    return st;
}

enum status slot_map_parse(struct bytes reply, struct slot_map *out, struct error *err)
{
    struct reply_part part;
    size_t size;
    out->node_count = 0;
    memset(out->leader, NO_LEADER, sizeof out->leader);
    if (reply_scan(reply, &size) != REPLY_WHOLE || reply_part(reply, &part) != REPLY_WHOLE)
        return error_set(err, ST_CORRUPT, "the answer to CLUSTER SLOTS is none");
    if (part.type == '-')
        return error_set(err, ST_UNSUPPORTED, "CLUSTER SLOTS was answered: %.*s", (int)MIN(part.text.n, 200u),
                         (const char *)part.text.p);
    if (part.type != '*') return error_set(err, ST_CORRUPT, "the answer to CLUSTER SLOTS is none");
    struct bytes in = bytes_of(reply.p + part.size, size - part.size);
    for (uint64_t i = 0; i < part.count; i++) {
        enum status st = take_range(&in, out, err);
        if (st != ST_OK) return st;
    }
    const uint8_t *gap = memchr(out->leader, NO_LEADER, sizeof out->leader);
    if (gap != NULL) return error_set(err, ST_UNAVAILABLE, "slot %td has no leader now", gap - out->leader);
    return ST_OK;
}

/* ---- asking ---- */

struct ask {
    struct env *env;
    struct env_loop *loop;
    struct resp_client client;
    struct env_timer timer;
    uint64_t deadline_ns;
    struct slot_map *out;
    struct error *err;
    enum status st;
    bool waiting; /* for an answer; else for the time to ask again */
};

static void send_question(struct ask *a)
{
    command_begin(&a->client.out, 2);
    command_word(&a->client.out, BYTES_LIT("CLUSTER"));
    command_word(&a->client.out, BYTES_LIT("SLOTS"));
    resp_client_flush(&a->client);
    a->waiting = true;
    env_timer_start(&a->timer, a->deadline_ns - MIN(env_now_ns(a->env), a->deadline_ns));
}

/* A slot without a leader has one soon, so it is asked again. */
static void on_reply(struct resp_client *c, struct bytes reply)
{
    struct ask *a = c->ctx;
    a->waiting = false;
    a->st = slot_map_parse(reply, a->out, a->err);
    if (a->st == ST_UNAVAILABLE && env_now_ns(a->env) + AGAIN_NS < a->deadline_ns) env_timer_start(&a->timer, AGAIN_NS);
    else env_real_loop_stop(a->loop);
}

static void on_failed(struct resp_client *c, const char *why)
{
    struct ask *a = c->ctx;
    a->st = error_set(a->err, ST_UNAVAILABLE, "%s", why);
    env_real_loop_stop(a->loop);
}

static void on_timer(struct env_timer *timer)
{
    struct ask *a = CONTAINER_OF(timer, struct ask, timer);
    if (!a->waiting) {
        send_question(a);
        return;
    }
    a->st = error_set(a->err, ST_TIMEOUT, "no answer to CLUSTER SLOTS in time");
    env_real_loop_stop(a->loop);
}

enum status slot_map_ask(struct env *env, const char *address, uint64_t timeout_ns, struct slot_map *out,
                         struct error *err)
{
    struct ask a = {.env = env, .loop = env_real_loop_new(env), .out = out, .err = err};
    a.deadline_ns = env_now_ns(env) + timeout_ns;
    a.client = (struct resp_client){.reply = on_reply, .failed = on_failed, .ctx = &a};
    env_timer_init(a.loop, &a.timer, on_timer);
    resp_client_open(&a.client, a.loop, address);
    send_question(&a);
    env_real_loop_run(a.loop);
    env_timer_stop(&a.timer);
    resp_client_close(&a.client);
    env_real_loop_free(a.loop);
    return a.st;
}
