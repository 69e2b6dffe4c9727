/* node_http.c - the HTTP names that a node answers: health, status, metrics, admin.
 * SPDX-License-Identifier: Apache-2.0
 *
 * GET  /health              200, or 503 with the reason; JSON
 * GET  /metrics             Prometheus
 * GET  /status.json
 * POST /api/nodes/remove?id=N
 * POST /api/tables/retention?value=TIME   of the default table
 * GET  /api/checkpoints, POST /api/checkpoints   lists them, makes one
 * GET  /api/settings, POST /api/settings?name=…&value=…
 * What changes something is refused if it may come from a web page of another site (http_guard.h).
 * Errors are {"error": "…"}: what is wrong and what to do. */
#include <stdarg.h>
#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/result.h"
#include "node/checkpoint.h"
#include "node/node_pages.h"
#include "node/settings.h"
#include "table/place.h"
#include "wire/http/http_guard.h"

#define JSON_TYPE    "application/json"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define REMOVE_NS    (5 * NS_PER_S)

/* address: of the node to ask instead; NULL: none. */
static void answer_error_at(struct http_exchange *x, int status, const char *text, const char *address)
{
    struct buf body = {0};
    struct json j = {&body, false};
    json_begin_object(&j, NULL);
    json_put_text(&j, "error", text);
    if (address != NULL) json_put_text(&j, "address", address);
    json_end_object(&j);
    buf_put_u8(&body, '\n');
    http_answer(x, status, JSON_TYPE, buf_view(&body));
    buf_deinit(&body);
}

static void answer_error(struct http_exchange *x, int status, const char *text)
{
    answer_error_at(x, status, text, NULL);
}

/* ---- pages made of a report ---- */

struct page {
    struct http_exchange *exchange;
    void (*render)(struct shard *s, const struct node_report *r, struct buf *out);
    const char *type;
};

static void page_reported(void *ctx, struct shard *s, const struct node_report *r)
{
    struct page *p = ctx;
    struct buf body = {0};
    if (s->gate == NULL) {
        answer_error(p->exchange, 503, "the node is stopping");
    } else {
        p->render(s, r, &body);
        http_answer(p->exchange, 200, p->type, buf_view(&body));
    }
    buf_deinit(&body);
    mem_free(p);
}

static void get_page(struct shard *s, struct http_exchange *x, const char *type,
                     void (*render)(struct shard *s, const struct node_report *r, struct buf *out))
{
    struct page *p = mem_zalloc(sizeof *p);
    *p = (struct page){x, render, type};
    node_report(s, REPORT_ALL, page_reported, p);
}

static void get_status(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    get_page(s, x, JSON_TYPE, page_status);
}

static void get_metrics(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    get_page(s, x, METRICS_TYPE, page_metrics);
}

static void health_reported(void *ctx, struct shard *s, const struct node_report *r)
{
    struct buf body = {0};
    struct json j = {&body, false};
    bool good = r->unhealthy[0] == 0;
    json_begin_object(&j, NULL);
    json_put_text(&j, "status", good ? "ok" : "unavailable");
    if (!good) json_put_text(&j, "reason", r->unhealthy);
    json_put_u64(&j, "node", s->node->identity.node_id);
    json_put_text(&j, "version", CAIRN_VERSION);
    json_end_object(&j);
    buf_put_u8(&body, '\n');
    http_answer(ctx, good ? 200 : 503, JSON_TYPE, buf_view(&body));
    buf_deinit(&body);
}

static void get_health(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    node_report(s, REPORT_HEALTH, health_reported, x);
}

/* ---- removing a node ---- */

/* Travels: the shard that was asked → shard 0 → back. */
struct removal {
    struct request request;
    struct http_exchange *exchange;
    struct shard *asker;
    uint64_t node_id;
    int status;
    char text[500], address[300]; /* address: who decides, if not this node */
};

static void removal_answer(struct shard *s, void *arg)
{
    struct removal *m = arg;
    if (m->status == 200) {
        struct buf body = {0};
        struct json j = {&body, false};
        json_begin_object(&j, NULL);
        json_put_u64(&j, "removed", m->node_id);
        json_put_text(&j, "text", m->text);
        json_end_object(&j);
        buf_put_u8(&body, '\n');
        http_answer(m->exchange, 200, JSON_TYPE, buf_view(&body));
        buf_deinit(&body);
    } else {
        if (m->address[0] != 0) {
            char location[400];
            snprintf(location, sizeof location, "http://%s/api/nodes/remove?id=%llu", m->address,
                     (unsigned long long)m->node_id);
            http_header(m->exchange, "Location", location);
        }
        answer_error_at(m->exchange, m->status, m->text, m->address[0] != 0 ? m->address : NULL);
    }
    mem_free(m);
}

static void removal_done(struct node *n, struct removal *m, int status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void removal_done(struct node *n, struct removal *m, int status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(m->text, sizeof m->text, fmt, args);
    va_end(args);
    m->status = status;
    node_on_shard(n, m->asker->index, removal_answer, m);
}

static void removal_proposed(struct request *r)
{
    struct removal *m = CONTAINER_OF(r, struct removal, request);
    struct node *n = m->asker->node;
    struct reader in = reader_of(r->result);
    struct result result;
    enum status st = r->status;
    buf_deinit(&r->body);
    if (st == ST_OUTCOME_UNKNOWN)
        removal_done(n, m, 504, "whether node %llu was removed is not known yet: look at cairn status, and ask again",
                     (unsigned long long)m->node_id);
    else if (st != ST_OK)
        removal_done(n, m, 503, "node %llu was not removed: %s. Ask again", (unsigned long long)m->node_id,
                     r->err.text);
    else if (!result_next(&in, &result)) removal_done(n, m, 500, "the catalog's answer can't be read");
    else if (result.tag == 'e')
        removal_done(n, m, 409, "node %llu was not removed: %.*s", (unsigned long long)m->node_id,
                     (int)MIN(result.bytes.n, 300u), (const char *)result.bytes.p);
    else removal_done(n, m, 200, "its copies are being made elsewhere; the node ends by itself");
}

/* Only meta's leader knows enough to say yes. */
static void removal_elsewhere(struct shard *s, struct removal *m)
{
    struct gate_map map;
    const struct catalog_node *leader = NULL;
    gate_map(s->gate, TABLE_CATALOG, &map);
    if (map.partition_count != 0 && map.partitions[0].leader_node != s->node->identity.node_id)
        leader = catalog_node(s->catalog, map.partitions[0].leader_node);
    if (leader == NULL) {
        removal_done(s->node, m, 503,
                     "the meta group has no known leader now: ask again in a second. If it stays so, a majority "
                     "of its nodes is down");
        return;
    }
    snprintf(m->address, sizeof m->address, "%s", leader->address);
    removal_done(s->node, m, 307, "ask the meta group's leader, node %llu, at %s", (unsigned long long)leader->id,
                 leader->address);
}

static void removal_decide(struct shard *s, void *arg)
{
    struct removal *m = arg;
    struct node *n = s->node;
    struct error err = {0};
    const struct catalog_node *target = s->catalog != NULL ? catalog_node(s->catalog, m->node_id) : NULL;
    if (n->control == NULL || s->gate == NULL || s->catalog == NULL || n->stopping) {
        removal_done(n, m, 503, "this node is not part of its cluster now: ask another one");
    } else if (!control_leads(n->control)) {
        removal_elsewhere(s, m);
    } else if (target == NULL) {
        removal_done(n, m, 404, "there is no node %llu: cairn node list shows them", (unsigned long long)m->node_id);
    } else if (target->state == NODE_REMOVED) {
        removal_done(n, m, 200, "it was removed before");
    } else if (control_may_remove(n->control, m->node_id, &err) != ST_OK) {
        removal_done(n, m, 409, "node %llu can't be removed now: %s", (unsigned long long)m->node_id, err.text);
    } else {
        m->request = (struct request){.kind = REQUEST_WRITE,
                                      .table = TABLE_CATALOG,
                                      .opcode = CATALOG_NODE_STATE,
                                      .timeout_ns = REMOVE_NS,
                                      .done = removal_proposed};
        catalog_op_node_state(&m->request.body, m->node_id, NODE_REMOVED);
        gate_submit(s->gate, &m->request);
    }
}

static void post_remove(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    char text[32];
    uint64_t id;
    if (!http_query(r->query, "id", text, sizeof text) || !parse_number(text, &id) || id == 0) {
        answer_error(x, 400, "say which node: POST /api/nodes/remove?id=N, where N is a number from cairn node list");
        return;
    }
    struct removal *m = mem_zalloc(sizeof *m);
    m->exchange = x;
    m->asker = s;
    m->node_id = id;
    node_on_shard(s->node, 0, removal_decide, m);
}

/* ---- retention ---- */

/* On the shard that was asked: any gate finds meta's leader. */
struct retention_change {
    struct request request;
    struct http_exchange *exchange;
    uint64_t retention_ms;
};

static void retention_proposed(struct request *r)
{
    struct retention_change *c = CONTAINER_OF(r, struct retention_change, request);
    struct reader in = reader_of(r->result);
    struct result result;
    char text[400];
    buf_deinit(&r->body);
    if (r->status == ST_OUTCOME_UNKNOWN) {
        answer_error(c->exchange, 504,
                     "whether the retention was set is not known yet: look at cairn status, and ask again");
    } else if (r->status != ST_OK) {
        snprintf(text, sizeof text, "the retention was not set: %s. Ask again", r->err.text);
        answer_error(c->exchange, 503, text);
    } else if (!result_next(&in, &result) || result.tag == 'e') {
        answer_error(c->exchange, 409, "the catalog refused: it has no default table");
    } else {
        struct buf body = {0};
        struct json j = {&body, false};
        json_begin_object(&j, NULL);
        json_put_text(&j, "table", "default");
        json_put_u64(&j, "retention_ms", c->retention_ms);
        json_end_object(&j);
        buf_put_u8(&body, '\n');
        http_answer(c->exchange, 200, JSON_TYPE, buf_view(&body));
        buf_deinit(&body);
    }
    mem_free(c);
}

static void post_retention(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    char text[32];
    uint64_t ns;
    if (!http_query(r->query, "value", text, sizeof text) || !parse_duration_ns(text, &ns) || ns % NS_PER_MS != 0 ||
        ns / NS_PER_MS > CATALOG_RETENTION_MAX_MS) {
        answer_error(
            x, 400,
            "say how long: POST /api/tables/retention?value=TIME, as 1h or 30m, at most 9600h; 0s: nothing is kept");
        return;
    }
    struct retention_change *c = mem_zalloc(sizeof *c);
    c->exchange = x;
    c->retention_ms = ns / NS_PER_MS;
    c->request = (struct request){.kind = REQUEST_WRITE,
                                  .table = TABLE_CATALOG,
                                  .opcode = CATALOG_RETENTION,
                                  .timeout_ns = REMOVE_NS,
                                  .done = retention_proposed};
    catalog_op_retention(&c->request.body, TABLE_DEFAULT, c->retention_ms);
    gate_submit(s->gate, &c->request);
}

/* ---- checkpoints ---- */

/* Travels: the shard that was asked → shard 0 → back. */
struct checkpoint_request {
    struct http_exchange *exchange;
    struct shard *asker;
    struct env_worker *worker; /* lists only */
    struct env_job job;
    struct checkpoint_list list;
    enum status status;
    char text[400], dir[600];
};

static void checkpoint_answer(struct shard *s, void *arg)
{
    struct checkpoint_request *c = arg;
    if (s->gate == NULL) {
        answer_error(c->exchange, 503, "the node is stopping");
    } else if (c->status == ST_OK) {
        struct buf body = {0};
        struct json j = {&body, false};
        json_begin_object(&j, NULL);
        json_put_text(&j, "checkpoint", c->dir);
        json_end_object(&j);
        buf_put_u8(&body, '\n');
        http_answer(c->exchange, 200, JSON_TYPE, buf_view(&body));
        buf_deinit(&body);
    } else {
        answer_error(c->exchange, c->status == ST_BUSY ? 503 : c->status == ST_OVERLOADED ? 409 : 500, c->text);
    }
    mem_free(c);
    node_leave(s->node);
}

static void checkpoint_made(void *ctx, enum status st, const char *dir, const char *text)
{
    struct checkpoint_request *c = ctx;
    c->status = st;
    snprintf(c->text, sizeof c->text, "no checkpoint was made: %.300s", text);
    snprintf(c->dir, sizeof c->dir, "%s", dir);
    node_on_shard(c->asker->node, c->asker->index, checkpoint_answer, c);
}

static void checkpoint_make(struct shard *s, void *arg) { checkpoint_begin(s->node, checkpoint_made, arg); }

static void post_checkpoint(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    if (!node_enter(s->node)) {
        answer_error(x, 503, "the node is stopping");
        return;
    }
    struct checkpoint_request *c = mem_zalloc(sizeof *c);
    c->exchange = x;
    c->asker = s;
    node_on_shard(s->node, 0, checkpoint_make, c);
}

static void list_run(struct env_job *job)
{
    struct checkpoint_request *c = CONTAINER_OF(job, struct checkpoint_request, job);
    struct error err = {0};
    c->status = checkpoint_find(c->asker->node->env, c->asker->node->dir, &c->list, &err);
    memcpy(c->text, err.text, sizeof c->text);
}

static void list_answer(struct shard *s, void *arg)
{
    struct checkpoint_request *c = arg;
    if (s->gate == NULL || c->status != ST_OK) {
        answer_error(c->exchange, s->gate == NULL ? 503 : 500, s->gate == NULL ? "the node is stopping" : c->text);
    } else {
        struct buf body = {0};
        struct json j = {&body, false};
        json_begin_object(&j, NULL);
        json_begin_array(&j, "checkpoints");
        for (size_t i = 0; i < c->list.count; i++) json_put_text(&j, NULL, c->list.names[i]);
        json_end_array(&j);
        json_put_u64(&j, "half", c->list.half);
        json_put_u64(&j, "max", CHECKPOINTS_MAX);
        json_end_object(&j);
        buf_put_u8(&body, '\n');
        http_answer(c->exchange, 200, JSON_TYPE, buf_view(&body));
        buf_deinit(&body);
    }
    env_worker_free(c->worker);
    mem_free(c);
    node_leave(s->node);
}

static void list_done(struct env_job *job)
{
    struct checkpoint_request *c = CONTAINER_OF(job, struct checkpoint_request, job);
    node_on_shard(c->asker->node, c->asker->index, list_answer, c); /* not from within the worker that is to be freed */
}

static void get_checkpoints(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    if (!node_enter(s->node)) {
        answer_error(x, 503, "the node is stopping");
        return;
    }
    struct checkpoint_request *c = mem_zalloc(sizeof *c);
    c->exchange = x;
    c->asker = s;
    c->status = ST_STOPPED;
    c->worker = env_worker_new(s->node->env, "list", 1);
    c->job = (struct env_job){.run = list_run, .done = list_done};
    env_worker_submit(c->worker, s->loop, &c->job);
}

/* ---- settings ---- */

static void get_settings(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    struct buf body = {0};
    struct json j = {&body, false};
    const char *name;
    char value[512];
    json_begin_object(&j, NULL);
    for (size_t at = 0; node_config_get(s, at, &name, value, sizeof value); at++) {
        const struct setting *row = setting_find(name);
        if (row != NULL && strcmp(row->name, name) == 0) json_put_text(&j, name, value);
    }
    json_end_object(&j);
    buf_put_u8(&body, '\n');
    http_answer(x, 200, JSON_TYPE, buf_view(&body));
    buf_deinit(&body);
}

static void post_settings(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    char name[64], value[300];
    struct error err = {0};
    if (!http_query(r->query, "name", name, sizeof name) || !http_query(r->query, "value", value, sizeof value)) {
        answer_error(x, 400,
                     "say what to set: POST /api/settings?name=NAME&value=VALUE; GET /api/settings lists the names");
        return;
    }
    enum status st = node_config_set(s, name, value, &err);
    if (st == ST_OK) get_settings(s, x, r);
    else answer_error(x, st == ST_NOT_FOUND ? 404 : 400, err.text);
}

/* ---- routes ---- */

static const struct {
    const char *path, *method;
    void (*handle)(struct shard *s, struct http_exchange *x, const struct http_request *r);
} routes[] = {
    {"/health", "GET", get_health},
    {"/metrics", "GET", get_metrics},
    {"/status.json", "GET", get_status},
    {"/api/nodes/remove", "POST", post_remove},
    {"/api/settings", "GET", get_settings},
    {"/api/settings", "POST", post_settings},
    {"/api/tables/retention", "POST", post_retention},
    {"/api/checkpoints", "POST", post_checkpoint},
    {"/api/checkpoints", "GET", get_checkpoints},
};

static void not_allowed(struct http_exchange *x, struct bytes path)
{
    char allow[64] = "", text[160];
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        if (!bytes_equal(path, bytes_str(routes[i].path))) continue;
        size_t n = strlen(allow);
        snprintf(allow + n, sizeof allow - n, "%s%s", n != 0 ? ", " : "", routes[i].method);
    }
    http_header(x, "Allow", allow);
    snprintf(text, sizeof text, "this name takes %s", allow);
    answer_error(x, 405, text);
}

static bool address_has_host(const char *address, struct bytes host)
{
    char text[HTTP_FIELD_MAX + 1];
    snprintf(text, sizeof text, "%.*s", (int)MIN(host.n, (size_t)HTTP_FIELD_MAX), (const char *)host.p);
    return address[0] != 0 && bytes_equal_nocase(http_host_name(bytes_str(address)), text);
}

/* The names that nodes listen on or are told to be known by. */
static bool known_host(void *ctx, struct bytes host)
{
    struct shard *s = ctx;
    bool found = address_has_host(s->node->listen, host) || address_has_host(s->node->advertise, host);
    for (size_t i = 0; s->catalog != NULL && i < s->catalog->node_count && !found; i++)
        found = address_has_host(s->catalog->nodes[i].address, host);
    return found;
}

/* false: the answer is given. */
static bool may_change(struct shard *s, struct http_exchange *x, const struct http_request *r)
{
    struct error err = {0};
    enum status st = http_guard(r, known_host, s, &err);
    if (st != ST_OK) answer_error(x, st == ST_INVALID ? 415 : 403, err.text);
    return st == ST_OK;
}

void node_http(void *ctx, struct http_exchange *x, const struct http_request *r)
{
    struct shard *s = ctx;
    bool known = false, head = strcmp(r->method, "HEAD") == 0;
    if (!head && strcmp(r->method, "GET") != 0 && !may_change(s, x, r)) return;
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        if (!bytes_equal(r->path, bytes_str(routes[i].path))) continue;
        known = true;
        if (strcmp(r->method, routes[i].method) != 0 && !(head && strcmp(routes[i].method, "GET") == 0)) continue;
        routes[i].handle(s, x, r);
        return;
    }
    if (known) not_allowed(x, r->path);
    else answer_error(x, 404, "there is no such name: /health, /status.json, /metrics and /api/settings are there");
}
