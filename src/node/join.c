/* join.c - founding a cluster, joining one, and coming back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * MESH_JOIN:       format u8 | uuid 16 | stores u16 | lp address | lineage
 * MESH_JOIN_REPLY: status u8 | lp text (if not ok) | cluster id 16 | node id u64 | lp catalog from 0
 * MESH_WHO:        format u8 | cluster id 16 | node id u64 | lineage
 * MESH_WHO_REPLY:  status u8 (ok; denied: by the catalog it must not start, ever; exists: it must not now, for another process
 *                  answered in its name; busy: another incarnation is heard still) | lp text */
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "model/result.h"
#include "node/node_internal.h"
#include "table/place.h"

#define JOIN_FORMAT   1
#define JOIN_RETRY_NS (500 * NS_PER_MS)

#define WHO_FORMAT    1
#define ASKED_MAX     32u
#define ASKS_MAX      24u
#define ASK_NS        (400 * NS_PER_MS) /* an answer takes as long as the network; who is down mostly refuses at once */
#define ASK_AGAIN_NS  (250 * NS_PER_MS)
#define STILL_HEARD_NS \
    (2 * NS_PER_S) /* the connection of a process that was killed ends at once; of a lost machine it is silent */

static void open_all(struct node *n)
{
    for (uint16_t i = 0; i < n->shard_count; i++) node_on_shard(n, i, shard_open_stores, NULL);
}

static bool save_start(struct node *n)
{
    struct error err = {0};
    enum status st = identity_save(n->env, n->dir, &n->identity, &err);
    if (st != ST_OK) node_fail(n, st, err.text);
    return st == ST_OK;
}

/* ---- asking to join ---- */

static void ask(struct node *n);
static void ask_others(struct node *n);

static void on_join_timer(struct env_timer *timer) { ask(CONTAINER_OF(timer, struct node, join_timer)); }

static void joined(struct node *n, struct reader *r)
{
    struct error err = {0};
    struct bytes cluster = reader_bytes(r, 16);
    uint64_t id = reader_u64(r);
    struct bytes delta = reader_lp(r);
    struct catalog *c = catalog_new();
    if (r->failed || id == 0 || catalog_merge(c, delta) != ST_OK || c->epoch == 0) {
        catalog_unref(c);
        node_fail(n, ST_CORRUPT,
                  "the answer to the request to join can't be read: is the other node of another version?");
        return;
    }
    bool again = n->identity.node_id != 0; /* it asked for the catalog only */
    if (again && (n->identity.node_id != id || memcmp(n->identity.cluster_id, cluster.p, 16) != 0)) {
        catalog_unref(c);
        node_fail(n, ST_DENIED, "the node given with --join belongs to another cluster than the data of this one");
        return;
    }
    memcpy(n->identity.cluster_id, cluster.p, 16);
    n->identity.node_id = id;
    enum status st = control_save(n->env, n->dir, c, &err);
    if (st == ST_OK) st = identity_save(n->env, n->dir, &n->identity, &err);
    const struct catalog_node *self = catalog_node(c, id);
    if (st != ST_OK) {
        node_fail(n, st, err.text);
    } else if (self != NULL && lineage_fenced(lineage_compare(&n->identity.lineage, self->incarnation))) {
        char why[400];
        lineage_why(&n->identity.lineage, self->incarnation, why, sizeof why);
        node_fence(n, why);
    } else if (again) { /* now that it is known who the others are: is another process heard by them? */
        n->ask_catalog = catalog_ref(c);
        n->asks = 0;
        ask_others(n);
    } else {
        diag(DIAG_INFO, "node.joined node=%llu through=%s", (unsigned long long)id, n->join);
        open_all(n);
        node_make_control(n, c);
    }
    catalog_unref(c);
}

static void on_answer(void *ctx, const struct mesh_frame *f, const char *why_not)
{
    struct node *n = ctx;
    if (n->stopping) return;
    if (f != NULL && f->kind == MESH_JOIN_REPLY) {
        struct reader r = reader_of(f->body);
        uint8_t status = reader_u8(&r);
        struct bytes text = reader_lp(&r);
        if (status == ST_OK) {
            joined(n, &r);
            return;
        }
        if (status == ST_DENIED || status == ST_VERSION || status == ST_EXISTS) {
            char line[400];
            snprintf(line, sizeof line, "%s does not let this node join: %.*s", n->join, (int)MIN(text.n, 300),
                     (const char *)text.p);
            if (status == ST_DENIED && n->identity.node_id != 0) node_fence(n, line);
            else node_fail(n, (enum status)status, line);
            return;
        }
        diag(DIAG_INFO, "node.join_again through=%s why=\"%.*s\"", n->join, (int)MIN(text.n, 200),
             (const char *)text.p);
    } else if (n->joins % 10 == 1) {
        diag(DIAG_WARN, "node.join_again through=%s why=\"%s\"", n->join,
             why_not != NULL ? why_not : "unexpected answer");
    }
    env_timer_start(&n->join_timer, JOIN_RETRY_NS);
}

static void ask(struct node *n)
{
    if (n->identity.node_id == 0 && strcmp(n->join, n->advertise) == 0) {
        node_fail(n, ST_INVALID,
                  "--join names this node itself: give the address of a member of the cluster, or leave it out "
                  "to found one");
        return;
    }
    struct buf body = {0};
    /* A node that has lost its copy of the catalog must not end up in another cluster than its data. */
    if (n->identity.node_id != 0) mesh_set_self(n->shards[0].mesh, n->identity.node_id, n->identity.cluster_id);
    n->joins++;
    buf_put_u8(&body, JOIN_FORMAT);
    buf_put(&body, n->identity.uuid, 16);
    buf_put_u16(&body, n->identity.stores);
    buf_put_lp(&body, bytes_str(n->advertise));
    lineage_put(&n->identity.lineage, &body);
    mesh_call(n->shards[0].mesh, n->join, MESH_JOIN, buf_view(&body), 5 * NS_PER_S, on_answer, n);
    buf_deinit(&body);
}

/* ---- being asked ---- */

struct joining {
    struct request request;
    struct shard *shard;
    void *conn;
};

static void answer(struct shard *s, void *conn, enum status st, struct bytes text, uint64_t id)
{
    struct buf body = {0};
    buf_put_u8(&body, (uint8_t)st);
    buf_put_lp(&body, text);
    if (st == ST_OK) {
        struct buf delta = {0};
        buf_put(&body, s->node->identity.cluster_id, 16);
        buf_put_u64(&body, id);
        catalog_encode(s->catalog, 0, &delta);
        buf_put_lp(&body, buf_view(&delta));
        buf_deinit(&delta);
    }
    mesh_answer(s->mesh, conn, MESH_JOIN_REPLY, buf_view(&body));
    buf_deinit(&body);
}

static void join_proposed(struct request *r)
{
    struct joining *j = CONTAINER_OF(r, struct joining, request);
    struct reader in = reader_of(r->result);
    struct result result;
    if (r->status != ST_OK) {
        answer(j->shard, j->conn, r->status, bytes_str(r->err.text), 0);
    } else if (result_next(&in, &result) && result.tag == 'i') {
        answer(j->shard, j->conn, ST_OK, (struct bytes){0}, (uint64_t)result.number);
    } else {
        bool exists = result.bytes.n > 6 && memcmp(result.bytes.p, "EXISTS", 6) == 0;
        bool denied = result.bytes.n > 6 && memcmp(result.bytes.p, "DENIED", 6) == 0;
        answer(j->shard, j->conn, exists ? ST_EXISTS : denied ? ST_DENIED : ST_UNAVAILABLE, result.bytes, 0);
    }
    buf_deinit(&r->body);
    mem_free(j);
}

enum status join_decode(struct bytes body, uint8_t uuid[16], char *address, size_t max, uint16_t *stores,
                        struct lineage *lineage, struct error *err)
{
    struct reader r = reader_of(body);
    uint8_t format = reader_u8(&r);
    if (!r.failed && format != JOIN_FORMAT)
        return error_set(
            err, ST_VERSION,
            "its request to join has format %u, and this node reads format %u: use the same cairn for both", format,
            JOIN_FORMAT);
    struct bytes id = reader_bytes(&r, 16);
    *stores = reader_u16(&r);
    struct bytes text = reader_lp(&r);
    if (!lineage_get(&r, lineage) || !reader_done(&r) || text.n == 0 || text.n >= max ||
        memchr(text.p, 0, text.n) != NULL)
        return error_set(err, ST_VERSION, "its request to join can't be read: use the same cairn for both");
    memcpy(uuid, id.p, 16);
    memcpy(address, text.p, text.n);
    address[text.n] = 0;
    return ST_OK;
}

void node_on_join(struct shard *s, const struct mesh_frame *f)
{
    uint8_t uuid[16];
    char address[CATALOG_NAME_MAX + 1];
    uint16_t stores;
    struct lineage lineage;
    void *conn = mesh_hold(s->mesh, f->conn);
    struct error err = {0};
    enum status st = join_decode(f->body, uuid, address, sizeof address, &stores, &lineage, &err);
    if (st != ST_OK) {
        answer(s, conn, st, bytes_str(err.text), 0);
        return;
    }
    if (s->catalog == NULL || s->catalog->epoch == 0) {
        answer(s, conn, ST_UNAVAILABLE, BYTES_LIT("this node is not part of a cluster yet"), 0);
        return;
    }
    struct joining *j = mem_zalloc(sizeof *j);
    *j = (struct joining){.shard = s, .conn = conn};
    j->request = (struct request){.kind = REQUEST_WRITE,
                                  .table = TABLE_CATALOG,
                                  .opcode = CATALOG_JOIN,
                                  .timeout_ns = 4 * NS_PER_S,
                                  .done = join_proposed};
    catalog_op_join(&j->request.body, uuid, address, stores, &lineage);
    gate_submit(s->gate, &j->request);
}

/* ---- founding, and coming back ---- */

/* The founder's first replica of meta, before there is a catalog to say so. */
static void open_first_meta(struct node *n)
{
    struct raft_config first = {.epoch = 1, .count = 1};
    struct error err = {0};
    struct replica *r;
    bool known;
    if (host_log_replicas(n->shards[0].hosts[0], 1, &known) != 0 && !known) {
        node_fail(
            n, ST_CORRUPT,
            "this node's copy of the catalog is missing, though there is data: start it again with --join ADDRESS "
            "of another node of the cluster, which has one");
        return;
    }
    first.members[0] = (struct raft_member){1, store_addr(n->identity.node_id, 0), RAFT_VOTER};
    struct replica_spec spec = {.partition_id = PARTITION_META,
                                .replica_id = 1,
                                .table = TABLE_CATALOG,
                                .slot_lo = 0,
                                .slot_hi = SLOTS,
                                .first_config = &first};
    enum status st = host_open_replica(n->shards[0].hosts[0], &spec, &r, &err);
    if (st != ST_OK) node_fail(n, st, err.text);
}

struct proposal {
    struct request request;
    struct node *node;
};

static void proposal_done(struct request *r)
{
    struct proposal *p = CONTAINER_OF(r, struct proposal, request);
    struct reader in = reader_of(r->result);
    struct result result;
    p->node->init_proposed = r->status == ST_OK && r->opcode == CATALOG_INIT;
    if (r->status != ST_OK) /* once more: an op that was applied after all is answered EXISTS */
        diag(DIAG_WARN, "node.proposal_failed status=%s why=\"%s\"", status_name(r->status), r->err.text);
    else if (r->opcode == CATALOG_JOIN && result_next(&in, &result) && result.tag == 'e' && result.bytes.n > 7 &&
             memcmp(result.bytes.p, "DENIED ", 7) == 0) {
        char text[500];
        snprintf(text, sizeof text, "%.*s", (int)result.bytes.n - 7, (const char *)result.bytes.p + 7);
        node_fence(p->node, text);
    }
    buf_deinit(&r->body);
    mem_free(p);
}

static struct request *proposal_new(struct node *n, uint16_t opcode, uint64_t timeout_ns)
{
    struct proposal *p = mem_zalloc(sizeof *p);
    p->node = n;
    p->request = (struct request){.kind = REQUEST_WRITE,
                                  .table = TABLE_CATALOG,
                                  .opcode = opcode,
                                  .timeout_ns = timeout_ns,
                                  .done = proposal_done};
    return &p->request;
}

static void propose_init(struct node *n)
{
    struct request *r = proposal_new(n, CATALOG_INIT, NS_PER_S);
    catalog_op_init(&r->body, n->identity.cluster_id, n->identity.uuid, n->advertise, n->identity.stores,
                    &n->identity.lineage, n->options.partitions, n->options.replicas,
                    n->options.retention_ns / NS_PER_MS);
    gate_submit(n->shards[0].gate, r);
}

/* This start, and the address, which may be another than before. */
static void propose_start(struct node *n)
{
    struct request *r = proposal_new(n, CATALOG_JOIN, 5 * NS_PER_S);
    catalog_op_join(&r->body, n->identity.uuid, n->advertise, n->identity.stores, &n->identity.lineage);
    gate_submit(n->shards[0].gate, r);
}

static void on_found_timer(struct env_timer *timer)
{
    struct node *n = CONTAINER_OF(timer, struct node, found_timer);
    struct shard *s = &n->shards[0];
    if (n->stopping) return;
    const struct catalog *c = control_catalog(n->control);
    if (c->epoch == 0) {
        struct replica *meta = shard_replica(s, PARTITION_META);
        if (meta != NULL && replica_leads(meta) && !n->init_proposed) {
            n->init_proposed = true;
            propose_init(n);
        }
        env_timer_start(&n->found_timer, NS_PER_MS);
        return;
    }
    const struct catalog_node *self = catalog_node(c, n->identity.node_id);
    if (self != NULL && strcmp(self->address, n->advertise) == 0 &&
        lineage_compare(&n->identity.lineage, self->incarnation) == LINEAGE_SAME)
        return;
    if (!n->init_proposed) {
        n->init_proposed = true;
        propose_start(n);
    }
    env_timer_start(&n->found_timer, 500 * NS_PER_MS);
}

/* All stores are open. */
void node_founded(struct node *n)
{
    if (control_catalog(n->control)->epoch == 0 && n->identity.founder) open_first_meta(n);
    env_timer_start(&n->found_timer, NS_PER_MS);
}

/* Routes to meta before there is a catalog: one partition, on this node. */
static struct catalog *founders_catalog(const struct node *n)
{
    struct catalog *c = catalog_new();
    c->partitions = mem_zalloc(sizeof *c->partitions);
    c->partition_count = 1;
    c->partitions[0] = (struct catalog_partition){
        .id = PARTITION_META, .table = TABLE_CATALOG, .slot_lo = 0, .slot_hi = SLOTS, .count = 1};
    c->partitions[0].replicas[0] = (struct catalog_replica){
        .replica_id = 1, .store = store_addr(n->identity.node_id, 0), .roles = RAFT_VOTER, .initial = true};
    return c;
}

/* ---- coming back: may this start be? ---- */

/* Of the catalog that this node knew last: those who hold meta first, for they hear the reports of all. */
static size_t choose_asked(const struct node *n, const struct catalog *c, const char *out[ASKED_MAX])
{
    size_t count = 0;
    if (c == NULL) {
        out[0] = n->join;
        return 1;
    }
    const struct catalog_node *self = catalog_node(c, n->identity.node_id);
    if (self != NULL && strcmp(self->address, n->advertise) != 0 && strcmp(self->address, n->listen) != 0)
        out[count++] = self->address; /* is the original of this directory still there? */
    for (int meta = 1; meta >= 0; meta--) {
        for (size_t i = 0; i < c->node_count && count < ASKED_MAX; i++) {
            const struct catalog_partition *p = catalog_partition(c, PARTITION_META);
            bool holds = false;
            for (size_t k = 0; p != NULL && k < p->count; k++)
                holds = holds || store_addr_node(p->replicas[k].store) == c->nodes[i].id;
            if (holds == (meta == 1) && c->nodes[i].state == NODE_UP && &c->nodes[i] != self)
                out[count++] = c->nodes[i].address;
        }
    }
    return count;
}

/* This start is let in: it is on disk before anyone hears a hello or a proposal of it. */
static void come_back(struct node *n)
{
    struct catalog *c = n->ask_catalog;
    if (!save_start(n)) return;
    n->ask_catalog = NULL;
    node_make_control(n, c);
    catalog_unref(c);
    open_all(n);
}

static void asked_all(struct node *n)
{
    if (n->fenced) return;
    if (n->ask_catalog == NULL && !n->ask_heard) { /* nobody has said yet that it may */
        n->asks--;
        env_timer_start(&n->ask_timer, JOIN_RETRY_NS);
    } else if (!n->ask_busy && n->ask_catalog == NULL) {
        if (save_start(n)) ask(n); /* the answer brings the catalog; the others are asked then */
    } else if (!n->ask_busy) {
        come_back(n);
    } else if (n->asks < ASKS_MAX) {
        env_timer_start(&n->ask_timer, ASK_AGAIN_NS);
    } else {
        n->fenced = true;
        node_fail(n, ST_DENIED, n->ask_text);
    }
}

static void on_who_answer(void *ctx, const struct mesh_frame *f, const char *why_not)
{
    struct node *n = ctx;
    (void)why_not; /* who can't be asked now refuses later, if there is a reason to */
    n->asks_out--;
    if (n->stopping) return;
    if (f != NULL && f->kind == MESH_WHO_REPLY && !n->fenced) {
        struct reader r = reader_of(f->body);
        uint8_t status = reader_u8(&r);
        struct bytes text = reader_lp(&r);
        n->ask_heard = true;
        if (status == ST_BUSY || status == ST_DENIED || status == ST_EXISTS || status == ST_VERSION)
            snprintf(n->ask_text, sizeof n->ask_text, "%.*s", (int)MIN(text.n, sizeof n->ask_text - 1),
                     (const char *)text.p);
        if (status == ST_BUSY) n->ask_busy = true;
        if (status == ST_DENIED) node_fence(n, n->ask_text);
        if (status == ST_EXISTS) node_fail(n, ST_DENIED, n->ask_text);
        if (status == ST_VERSION) node_fail(n, ST_VERSION, n->ask_text); /* it did not say yes */
        n->fenced = n->fenced || status == ST_DENIED || status == ST_EXISTS || status == ST_VERSION;
    }
    if (n->asks_out == 0) asked_all(n);
}

static void on_ask_timer(struct env_timer *timer) { ask_others(CONTAINER_OF(timer, struct node, ask_timer)); }

static void ask_others(struct node *n)
{
    const char *asked[ASKED_MAX];
    struct buf body = {0};
    size_t count = choose_asked(n, n->ask_catalog, asked);
    n->asks++;
    n->ask_busy = n->ask_heard = false;
    buf_put_u8(&body, WHO_FORMAT);
    buf_put(&body, n->identity.cluster_id, 16);
    buf_put_u64(&body, n->identity.node_id);
    lineage_put(&n->identity.lineage, &body);
    n->asks_out = (unsigned)count;
    for (size_t i = 0; i < count; i++)
        mesh_call(n->shards[0].mesh, asked[i], MESH_WHO, buf_view(&body), ASK_NS, on_who_answer, n);
    if (count == 0) asked_all(n);
    buf_deinit(&body);
}

/* A node that wants to start: goes from shard to shard, for its connections may be on any of them; and back to shard 0. */
struct who {
    void *conn;
    uint64_t node_id;
    struct lineage lineage;
    bool heard; /* another incarnation */
};

/* What this node knows of it. */
static enum status judge_start(struct shard *s, const struct who *w, char *why, size_t max)
{
    uint64_t node_id = w->node_id;
    const struct lineage *lineage = &w->lineage;
    struct node *n = s->node;
    struct incarnation now = lineage_now(lineage), own = lineage_now(&n->identity.lineage);
    const struct catalog_node *known = s->catalog != NULL ? catalog_node(s->catalog, node_id) : NULL;
    if (node_id == n->identity.node_id) {
        if (now.boot == own.boot && now.id == own.id) return ST_OK; /* it called itself */
        snprintf(why, max,
                 "node %llu runs already, at %s: the data directory given is a copy of that node's. Two processes with "
                 "one identity would break every promise; to have another node, join one with an empty directory",
                 (unsigned long long)node_id, n->advertise);
        return ST_EXISTS;
    }
    if (known != NULL && lineage_fenced(lineage_compare(lineage, known->incarnation))) {
        lineage_why(lineage, known->incarnation, why, max);
        return ST_DENIED;
    }
    if (w->heard) {
        snprintf(why, max,
                 "another process runs as node %llu: the node at %s hears it still. Is the data directory a copy?",
                 (unsigned long long)node_id, n->advertise);
        return ST_BUSY;
    }
    return ST_OK;
}

static void answer_who(struct shard *s, void *conn, enum status st, const char *why)
{
    struct buf body = {0};
    buf_put_u8(&body, (uint8_t)st);
    buf_put_lp(&body, bytes_str(why));
    mesh_answer(s->mesh, conn, MESH_WHO_REPLY, buf_view(&body));
    buf_deinit(&body);
}

static void who_back(struct shard *s, void *arg)
{
    struct who *w = arg;
    char why[500] = "";
    enum status st = judge_start(s, w, why, sizeof why);
    answer_who(s, w->conn, st, why);
    mem_free(w);
    node_leave(s->node);
}

static void who_here(struct shard *s, void *arg)
{
    struct who *w = arg;
    w->heard = w->heard || mesh_hears_other(s->mesh, w->node_id, lineage_now(&w->lineage), STILL_HEARD_NS);
    if (s->index + 1 < s->node->shard_count) node_on_shard(s->node, s->index + 1, who_here, w);
    else node_on_shard(s->node, 0, who_back, w);
}

void node_on_who(struct shard *s, const struct mesh_frame *f)
{
    struct reader r = reader_of(f->body);
    struct who w = {0};
    uint8_t format = reader_u8(&r);
    struct bytes cluster = reader_bytes(&r, 16);
    w.node_id = reader_u64(&r);
    if (format != WHO_FORMAT || !lineage_get(&r, &w.lineage) || !reader_done(&r)) {
        char why[200];
        snprintf(
            why, sizeof why,
            "node %llu, asked whether this one may start, got a question of format %u and reads format %u: use the same "
            "cairn for both",
            (unsigned long long)s->node->identity.node_id, format, WHO_FORMAT);
        answer_who(s, f->conn, ST_VERSION, why);
    } else if (memcmp(cluster.p, s->node->identity.cluster_id, 16) != 0) {
        answer_who(s, f->conn, ST_OK, "");
    } else if (node_enter(s->node)) {
        w.conn = mesh_hold(s->mesh, f->conn); /* NULL, too many: nobody is answered */
        node_on_shard(s->node, 0, who_here, mem_copy(&w, sizeof w));
    }
}

void node_found_or_join(struct node *n)
{
    struct error err = {0};
    struct catalog *c = NULL;
    env_timer_init(n->shards[0].loop, &n->join_timer, on_join_timer);
    env_timer_init(n->shards[0].loop, &n->found_timer, on_found_timer);
    env_timer_init(n->shards[0].loop, &n->ask_timer, on_ask_timer);
    bool joins = n->join[0] != 0;
    enum status st = n->identity.node_id == 0 && joins ? ST_NOT_FOUND : control_load(n->env, n->dir, &c, &err);
    const struct catalog_node *self = c != NULL ? catalog_node(c, n->identity.node_id) : NULL;
    if (self != NULL) lineage_trim(&n->identity.lineage, self->incarnation);
    if (st == ST_OK || st == ST_NOT_FOUND) {
        lineage_grow(&n->identity.lineage, env_random_u64(n->env));
        for (uint16_t i = 0; i < n->shard_count; i++) mesh_set_lineage(n->shards[i].mesh, &n->identity.lineage);
    }
    if (st == ST_NOT_FOUND && n->identity.node_id == 0 && joins) {
        if (save_start(n)) env_timer_start(&n->join_timer, 1);
        return;
    }
    if (st == ST_NOT_FOUND && joins) { /* the catalog was moved away, because it was damaged */
        env_timer_start(&n->ask_timer, 1);
        return;
    }
    if (st == ST_NOT_FOUND && n->identity.node_id != 0 && !n->identity.founder)
        st = error_set(&err, ST_CORRUPT,
                       "'%s/catalog' is missing: start again with --join ADDRESS of another node to fetch it", n->dir);
    if (st == ST_NOT_FOUND) st = ST_OK;
    if (st == ST_OK && n->identity.node_id == 0) {
        n->identity.node_id = 1;
        n->identity.founder = true;
        env_random(n->env, n->identity.cluster_id, 16);
        st = identity_save(n->env, n->dir, &n->identity, &err);
    }
    if (st != ST_OK) {
        catalog_unref(c);
        node_fail(n, st, err.text);
        return;
    }
    if (c == NULL) {
        c = founders_catalog(n);
        gate_set_self(n->shards[0].gate, n->identity.node_id);
        gate_set_catalog(n->shards[0].gate, c);
    }
    n->ask_catalog = c;
    if (c->epoch == 0) come_back(n);
    else ask_others(n);
}

void node_stop_joining(struct node *n)
{
    env_timer_stop(&n->join_timer);
    env_timer_stop(&n->found_timer);
    env_timer_stop(&n->ask_timer);
}
