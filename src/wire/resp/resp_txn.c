/* resp_txn.c - MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp/resp_txn.h"

#include "base/mem.h"
#include "model/kv_build.h"
#include "model/result.h"
#include "table/place.h"
#include "wire/resp/resp_job.h"

#define WATCHES_MAX 4096u

/* One queued command. */
struct queued {
    const struct command *command;
    size_t at, n; /* in bytes: the op's body; of a door command the arguments, each lp */
    size_t argc;  /* of a door command */
    uint16_t opcode;
    uint8_t flags;
    bool op; /* a data command */
};

struct resp_txn {
    struct queued *queue;
    size_t count, cap;
    size_t ops; /* of count: data commands */
    struct buf bytes;
    uint16_t slot;   /* of the data commands so far */
    bool cross_slot; /* they are in several */
    bool spoiled;
};

void resp_txn_begin(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (c->txn != NULL) {
        resp_put_errorf(resp_conn_out(c), "ERR MULTI calls can not be nested");
        return;
    }
    c->txn = mem_zalloc(sizeof *c->txn);
    resp_put_ok(resp_conn_out(c));
}

void resp_txn_drop(struct resp_conn *c)
{
    if (c->txn == NULL) return;
    mem_free(c->txn->queue);
    buf_deinit(&c->txn->bytes);
    mem_free(c->txn);
    c->txn = NULL;
}

void resp_watch_drop(struct resp_conn *c)
{
    c->watch_count = 0;
    c->watch_failed = false;
    buf_deinit(&c->watch_keys);
}

size_t resp_txn_count(const struct resp_conn *c) { return c->txn->count; }
void resp_txn_spoil(struct resp_conn *c) { c->txn->spoiled = true; }

bool resp_txn_queues(const struct command *command)
{
    static const char *const at_once[] = {"exec", "discard", "multi", "watch", "quit", "reset"};
    if (command->scope != SCOPE_DOOR) return true;
    for (size_t i = 0; i < ARRAY_COUNT(at_once); i++)
        if (strcmp(command->name, at_once[i]) == 0) return false;
    return true;
}

static void refuse(struct resp_conn *c, const char *text)
{
    c->txn->spoiled = true;
    resp_put_errorf(resp_conn_out(c), "%s", text);
}

/* The slot of a data command joins those before. false: its own keys are in several, the error is written. */
static bool join_slot(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc)
{
    struct resp_txn *t = c->txn;
    size_t first, last, step;
    if (!resp_command_keys(command, argc, &first, &last, &step)) return true;
    uint16_t slot = key_slot(argv[first]);
    for (size_t i = first + step; i <= last; i += step) {
        if (key_slot(argv[i]) == slot) continue;
        refuse(c, "CROSSSLOT Keys in request don't hash to the same slot");
        return false;
    }
    if (t->ops != 0 && slot != t->slot) t->cross_slot = true;
    t->slot = slot;
    return true;
}

void resp_txn_queue(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc)
{
    struct resp_txn *t = c->txn;
    const struct resp_door_config *cfg = &c->door->config;
    struct queued q = {.command = command, .at = t->bytes.n, .op = command->scope != SCOPE_DOOR};
    if (command->scope == SCOPE_ALL || command->flags & COMMAND_NO_MULTI) {
        refuse(c, "ERR Command not allowed inside a transaction");
        return;
    }
    if (t->count >= cfg->txn_commands_max || t->bytes.n > cfg->limits.command_max) {
        refuse(c, "ERR not executed: the transaction is too large");
        return;
    }
    if (q.op) {
        struct buf error = {0};
        struct command_op op = {.body = &t->bytes, .error = &error};
        if (command->flags & COMMAND_RANDOM) op.random = env_random_u64(c->door->env);
        if (!join_slot(c, command, argv, argc)) return;
        if (command->build(argv, argc, &op) != ST_OK) {
            /* Redis finds this only in EXEC, and answers it in its place there. */
            t->bytes.n = q.at;
            buf_put_bytes(&t->bytes, buf_view(&error));
            q.op = false;
        } else {
            q.opcode = op.opcode;
            q.flags = op.flags;
            t->ops++;
        }
        buf_deinit(&error);
    } else {
        for (size_t i = 0; i < argc; i++) buf_put_lp(&t->bytes, argv[i]);
        q.argc = argc;
    }
    q.n = t->bytes.n - q.at;
    if (t->count == t->cap) {
        t->cap = t->cap != 0 ? 2 * t->cap : 16;
        t->queue = mem_realloc(t->queue, t->cap * sizeof *t->queue);
    }
    t->queue[t->count++] = q;
    resp_put_simple(resp_conn_out(c), "QUEUED");
}

void resp_txn_discard(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (c->txn == NULL) {
        resp_put_errorf(resp_conn_out(c), "ERR DISCARD without MULTI");
        return;
    }
    resp_txn_drop(c);
    resp_watch_drop(c);
    resp_put_ok(resp_conn_out(c));
}

/* ---- EXEC ---- */

struct exec {
    struct resp_job job;
    struct resp_txn txn; /* taken over from the connection */
    struct buf body;
    uint16_t slot;
    bool evaluate, aborted;
    struct buf results;
};

static bool exec_part(struct resp_job *j, struct request *r)
{
    struct exec *e = (struct exec *)j;
    if (j->next != 0) return false;
    r->kind = REQUEST_WRITE;
    r->slot = e->slot;
    r->opcode = KV_MULTI;
    r->op_flags = e->evaluate ? OP_EVALUATE : 0;
    r->body = e->body;
    e->body = (struct buf){0};
    return true;
}

static void exec_result(struct resp_job *j, size_t number, struct bytes encoded)
{
    struct exec *e = (struct exec *)j;
    struct result head;
    struct reader r = reader_of(encoded);
    bool good = result_next(&r, &head);
    if (good && head.tag == 'N') {
        e->aborted = true;
    } else if (good && head.tag == 'a' && head.count == e->txn.ops) {
        buf_put(&e->results, r.p, reader_left(&r));
    } else { /* blocked, changed, too large: one reply for all */
        resp_put_result(&e->job.error, 2, encoded);
        e->job.error.n -= MIN(e->job.error.n, 2); /* without "-" … CR LF */
        if (e->job.error.n != 0) buf_consume(&e->job.error, 1);
    }
}

/* The replies of all queued commands, in their order. */
static void exec_replies(struct resp_conn *c, const struct resp_txn *t, struct bytes results, struct buf *out)
{
    struct reader r = reader_of(results);
    resp_put_array(out, t->count);
    for (size_t i = 0; i < t->count; i++) {
        const struct queued *q = &t->queue[i];
        struct bytes bytes = bytes_of(t->bytes.p + q->at, q->n);
        if (q->op) {
            if (!resp_put_result_from(out, c->proto, &r)) resp_put_errorf(out, "ERR internal error: malformed result");
        } else if (q->argc == 0) {
            resp_put_error(out, bytes);
        } else {
            struct reader args = reader_of(bytes);
            struct bytes *argv = mem_alloc(q->argc * sizeof *argv);
            for (size_t k = 0; k < q->argc; k++) argv[k] = reader_lp(&args);
            ASSERT(reader_done(&args));
            c->out_elsewhere = out;
            resp_conn_run_door(c, q->command, argv, q->argc);
            c->out_elsewhere = NULL;
            mem_free(argv);
        }
    }
}

static void exec_reply(struct resp_job *j, struct buf *out, int proto)
{
    struct exec *e = (struct exec *)j;
    if (e->aborted) resp_put_nil_array(out, proto);
    else exec_replies(j->cmd->conn, &e->txn, buf_view(&e->results), out);
}

static void txn_deinit(struct resp_txn *t)
{
    mem_free(t->queue);
    buf_deinit(&t->bytes);
}

static void exec_free(struct resp_job *j)
{
    struct exec *e = (struct exec *)j;
    txn_deinit(&e->txn);
    buf_deinit(&e->body);
    buf_deinit(&e->results);
    mem_free(e);
}

static void exec_build(struct resp_conn *c, struct exec *e)
{
    struct kv_watch *watches = mem_alloc(MAX(c->watch_count, 1) * sizeof *watches);
    for (size_t i = 0; i < c->watch_count; i++) {
        const struct resp_watch *w = &c->watches[i];
        watches[i] = (struct kv_watch){bytes_of(c->watch_keys.p + w->key_at, w->key_n), w->version};
    }
    kv_build_multi(&e->body, watches, c->watch_count, e->txn.ops);
    mem_free(watches);
    for (size_t i = 0; i < e->txn.count; i++) {
        const struct queued *q = &e->txn.queue[i];
        if (!q->op) continue;
        kv_build_multi_op(&e->body, q->opcode, q->flags, bytes_of(e->txn.bytes.p + q->at, q->n));
        e->evaluate = e->evaluate || q->flags & OP_EVALUATE;
    }
}

void resp_txn_exec(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct resp_txn *t = c->txn;
    struct buf *out = resp_conn_out(c);
    if (t == NULL) {
        resp_put_errorf(out, "ERR EXEC without MULTI");
        return;
    }
    bool watched = c->watch_count != 0;
    if (t->spoiled || c->watch_failed) {
        resp_put_errorf(out, "EXECABORT Transaction discarded because of previous errors.");
    } else if (t->cross_slot || (watched && t->ops != 0 && c->watch_slot != t->slot)) {
        resp_put_errorf(out, "CROSSSLOT Keys in request don't hash to the same slot");
    } else if (t->ops == 0 && !watched) { /* nothing for a partition */
        struct resp_txn alone = *t;
        struct buf replies = {0};
        c->txn->queue = NULL;
        c->txn->bytes = (struct buf){0};
        resp_txn_drop(c);
        exec_replies(c, &alone, bytes_of(NULL, 0), &replies);
        buf_put_bytes(resp_conn_out(c), buf_view(&replies));
        buf_deinit(&replies);
        txn_deinit(&alone);
        return;
    } else if (!resp_conn_moved(c, t->ops != 0 ? t->slot : c->watch_slot, false, out)) {
        struct resp_cmd *cmd = resp_conn_barrier(c, command_find(BYTES_LIT("exec")), true);
        if (cmd != NULL) {
            struct exec *e = mem_zalloc(sizeof *e);
            e->txn = *t;
            e->slot = t->ops != 0 ? t->slot : c->watch_slot;
            exec_build(c, e);
            if (t->ops != 0) resp_conn_wrote(c, e->slot);
            mem_free(t);
            c->txn = NULL;
            resp_watch_drop(c);
            e->job.part = exec_part;
            e->job.result = exec_result;
            e->job.reply = exec_reply;
            e->job.free = exec_free;
            resp_job_start(&e->job, cmd, 1);
            return;
        }
    }
    resp_txn_drop(c);
    resp_watch_drop(c);
}

/* ---- WATCH ---- */

struct watch {
    struct resp_job job;
    struct buf keys; /* lp each */
    size_t count;
    size_t *places; /* in keys, one more for the end */
    uint64_t *versions;
    uint16_t slot;
    bool failed_before; /* an earlier WATCH did */
};

static struct bytes watch_key(const struct watch *w, size_t i)
{
    return bytes_of(w->keys.p + w->places[i], w->places[i + 1] - w->places[i]);
}

static bool watch_part(struct resp_job *j, struct request *r)
{
    struct watch *w = (struct watch *)j;
    if (j->next == w->count) return false;
    r->kind = REQUEST_READ;
    r->slot = w->slot;
    r->opcode = KV_VERSION;
    r->op_flags = OP_READ;
    kv_build_key(&r->body, watch_key(w, j->next));
    return true;
}

static void watch_result(struct resp_job *j, size_t number, struct bytes encoded)
{
    struct watch *w = (struct watch *)j;
    struct result head;
    struct reader r = reader_of(encoded);
    if (result_next(&r, &head) && head.tag == 'i') w->versions[number] = (uint64_t)head.number;
    else if (j->error.n == 0) buf_printf(&j->error, "ERR internal error: unexpected result");
}

static void watch_reply(struct resp_job *j, struct buf *out, int proto)
{
    struct watch *w = (struct watch *)j;
    struct resp_conn *c = j->cmd->conn;
    c->watch_slot = w->slot;
    c->watch_failed = w->failed_before;
    for (size_t i = 0; i < w->count; i++) {
        struct bytes key = watch_key(w, i);
        if (c->watch_count == c->watch_cap) {
            c->watch_cap = c->watch_cap != 0 ? 2 * c->watch_cap : 4;
            c->watches = mem_realloc(c->watches, c->watch_cap * sizeof *c->watches);
        }
        c->watches[c->watch_count++] = (struct resp_watch){w->versions[i], c->watch_keys.n, key.n};
        buf_put_bytes(&c->watch_keys, key);
    }
    resp_put_ok(out);
}

static void watch_free(struct resp_job *j)
{
    struct watch *w = (struct watch *)j;
    buf_deinit(&w->keys);
    mem_free(w->places);
    mem_free(w->versions);
    mem_free(w);
}

void resp_txn_watch(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (c->txn != NULL) {
        resp_put_errorf(resp_conn_out(c), "ERR WATCH inside MULTI is not allowed");
        return;
    }
    uint16_t slot = key_slot(argv[1]);
    bool cross = c->watch_count != 0 && slot != c->watch_slot;
    for (size_t i = 2; i < argc; i++) cross = cross || key_slot(argv[i]) != slot;
    if (cross) {
        c->watch_failed = true; /* an EXEC that relies on it must not run */
        resp_put_errorf(resp_conn_out(c), "CROSSSLOT Keys in request don't hash to the same slot");
        return;
    }
    if (c->watch_count + argc > WATCHES_MAX) {
        c->watch_failed = true;
        resp_put_errorf(resp_conn_out(c), "ERR not executed: at most %u keys can be watched", WATCHES_MAX);
        return;
    }
    if (resp_conn_moved(c, slot, true, resp_conn_out(c))) return;
    struct resp_cmd *cmd = resp_conn_barrier(c, command_find(BYTES_LIT("watch")), false);
    if (cmd == NULL) return;
    struct watch *w = mem_zalloc(sizeof *w);
    w->count = argc - 1;
    w->slot = slot;
    w->places = mem_alloc(argc * sizeof *w->places);
    w->versions = mem_zalloc(argc * sizeof *w->versions);
    for (size_t i = 0; i < w->count; i++) {
        w->places[i] = w->keys.n;
        buf_put_bytes(&w->keys, argv[i + 1]);
    }
    w->places[w->count] = w->keys.n;
    w->job.part = watch_part;
    w->job.result = watch_result;
    w->job.reply = watch_reply;
    w->job.free = watch_free;
    w->failed_before = c->watch_failed;
    c->watch_failed = true; /* until its versions are here */
    resp_job_start(&w->job, cmd, JOB_PARTS_UNDER_WAY);
}

void resp_txn_unwatch(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (c->out_elsewhere == NULL) resp_watch_drop(c);
    resp_put_ok(resp_conn_out(c));
}
