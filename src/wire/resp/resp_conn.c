/* resp_conn.c - one client connection: input, pipelining, the order of replies, output.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A connection is freed only in its turn (a deferred task) or when its stream tells that it is closed; everything else
 * marks what is to happen and wakes it. So no function here has to fear that its connection is gone when a callee
 * returns. */
#include "wire/resp/resp_conn.h"

#include "base/diag.h"
#include "base/mem.h"
#include "model/kv_build.h"
#include "model/result.h"
#include "table/place.h"
#include "wire/resp/cmd_door.h"
#include "wire/resp/resp_internal.h"
#include "wire/resp/resp_job.h"
#include "wire/resp/resp_txn.h"

#define MALFORMED "ERR internal error: malformed result"

static void on_done(struct request *r);
static void conn_turn(struct env_task *task);

/* ---- the pool of commands ---- */

static struct resp_cmd *cmd_take(struct resp_conn *c, const struct command *command)
{
    struct resp_door *d = c->door;
    struct resp_cmd *cmd = d->cmds;
    if (d->cmds_out >= d->config.commands_max) return NULL;
    if (cmd != NULL) {
        d->cmds = cmd->next;
        d->cmds_free--;
    } else {
        cmd = mem_zalloc(sizeof *cmd);
        cmd->door = d;
    }
    d->cmds_out++;
    ASSERT(cmd->state == CMD_FREE && cmd->request.body.n == 0 && cmd->reply.n == 0);
    cmd->next = cmd->group = NULL;
    cmd->conn = c;
    cmd->command = command;
    cmd->bytes = 0;
    cmd->proto = c->proto;
    cmd->write = cmd->in_slot = false;
    cmd->silent = c->reply_off || c->reply_skip;
    return cmd;
}

static void buf_recycle(struct buf *b)
{
    if (b->cap > BUF_KEEP) buf_deinit(b);
    b->n = 0;
}

static void cmd_give(struct resp_cmd *cmd)
{
    struct resp_door *d = cmd->door;
    ASSERT(!link_linked(&cmd->link) && d->cmds_out > 0);
    d->cmds_out--;
    cmd->state = CMD_FREE;
    cmd->conn = NULL;
    if (d->cmds_free >= CMD_KEEP) {
        buf_deinit(&cmd->request.body);
        buf_deinit(&cmd->reply);
        mem_free(cmd);
        return;
    }
    buf_recycle(&cmd->request.body);
    buf_recycle(&cmd->reply);
    cmd->next = d->cmds;
    d->cmds = cmd;
    d->cmds_free++;
}

/* ---- pending commands ---- */

static void pending_push(struct resp_conn *c, struct resp_cmd *cmd, size_t bytes)
{
    list_push_back(&c->pending, &cmd->link);
    cmd->bytes = bytes;
    c->pending_count++;
    c->pending_bytes += bytes;
}

static void pending_remove(struct resp_conn *c, struct resp_cmd *cmd)
{
    ASSERT(c->pending_count > 0 && c->pending_bytes >= cmd->bytes);
    link_remove(&cmd->link);
    c->pending_count--;
    c->pending_bytes -= cmd->bytes;
    cmd->bytes = 0;
    if (c->pending_count != 0 || c->slots == NULL) return;
    c->slots->next = c->door->slot_tables;
    c->door->slot_tables = c->slots;
    c->slots = NULL;
}

/* The reply of a DONE command has grown. */
static void pending_grow(struct resp_conn *c, struct resp_cmd *cmd)
{
    size_t bytes = sizeof *cmd + cmd->reply.n;
    if (bytes <= cmd->bytes) return;
    c->pending_bytes += bytes - cmd->bytes;
    cmd->bytes = bytes;
}

bool resp_conn_quiet(const struct resp_conn *c) { return c->pending_count == 0; }

static void out_prepare(struct resp_conn *c)
{
    struct resp_door *d = c->door;
    if (c->out.p == NULL && d->spare_count != 0) c->out = d->spares[--d->spare_count];
}

static bool silent(const struct resp_conn *c) { return c->reply_off || c->reply_skip; }

struct buf *resp_conn_out(struct resp_conn *c)
{
    if (c->out_elsewhere != NULL) return c->out_elsewhere;
    if (silent(c)) {
        buf_recycle(&c->door->nowhere);
        return &c->door->nowhere;
    }
    if (c->pending_count == 0) {
        out_prepare(c);
        return &c->out;
    }
    struct resp_cmd *last = CONTAINER_OF(list_last(&c->pending), struct resp_cmd, link);
    /* A run of immediate replies shares one command; the pool's bound can't be in the way of a reply. */
    if (last->state == CMD_DONE && !last->silent && last->command == NULL) return &last->reply;
    struct resp_cmd *cmd = cmd_take(c, NULL);
    if (cmd == NULL) { /* all of the door's commands are under way: a node beyond the pool, for this reply only */
        cmd = mem_zalloc(sizeof *cmd);
        cmd->door = c->door;
        cmd->conn = c;
        c->door->cmds_out++;
    }
    cmd->state = CMD_DONE;
    pending_push(c, cmd, sizeof *cmd);
    return &cmd->reply;
}

/* Sends the replies that are next. */
static void advance(struct resp_conn *c)
{
    for (struct link *k; (k = list_first(&c->pending)) != NULL;) {
        struct resp_cmd *cmd = CONTAINER_OF(k, struct resp_cmd, link);
        if (cmd->state != CMD_DONE) break;
        if (!cmd->silent) {
            out_prepare(c);
            buf_put_bytes(&c->out, buf_view(&cmd->reply));
        }
        pending_remove(c, cmd);
        cmd_give(cmd);
    }
}

/* ---- slots ---- */

static unsigned bucket_of(uint16_t slot) { return (slot * 40503u >> 4) % SLOT_BUCKETS; }

static bool slot_free(const struct resp_conn *c, uint16_t slot, bool write)
{
    if (c->slots == NULL) return true;
    const struct slot_bucket *b = &c->slots->buckets[bucket_of(slot)];
    return b->head == NULL && b->writes == 0 && (!write || b->reads == 0);
}

static void submit(struct resp_cmd *cmd)
{
    cmd->state = CMD_RUNNING;
    gate_submit(cmd->door->gate, &cmd->request);
}

static void slot_enter(struct resp_conn *c, struct resp_cmd *cmd)
{
    struct resp_door *d = c->door;
    bool may_start = slot_free(c, cmd->request.slot, cmd->write);
    if (c->slots == NULL) {
        if (d->slot_tables == NULL) d->slot_tables = mem_zalloc(sizeof *d->slot_tables);
        c->slots = d->slot_tables;
        d->slot_tables = c->slots->next;
        c->slots->next = NULL;
    }
    cmd->in_slot = true;
    cmd->bucket = (uint8_t)bucket_of(cmd->request.slot);
    struct slot_bucket *b = &c->slots->buckets[cmd->bucket];
    if (!may_start) {
        cmd->state = CMD_WAITING;
        if (b->tail != NULL) b->tail->next = cmd;
        else b->head = cmd;
        b->tail = cmd;
        return;
    }
    *(cmd->write ? &b->writes : &b->reads) += 1;
    submit(cmd);
}

static struct resp_cmd *bucket_pop(struct slot_bucket *b)
{
    struct resp_cmd *cmd = b->head;
    b->head = cmd->next;
    if (b->head == NULL) b->tail = NULL;
    cmd->next = NULL;
    return cmd;
}

static bool may_group(const struct resp_cmd *cmd) { return cmd->write && !(cmd->request.op_flags & OP_EVALUATE); }

/* Writes of one slot that wait behind one another go as one MULTI op: executing a connection's consecutive commands at
 * one place of the log is one of the orders it allows, and a pipeline on one key costs two rounds, not one a command.
 */
static void group_gather(struct slot_bucket *b, struct resp_cmd *first)
{
    struct resp_cmd **end = &first->group;
    size_t count = 1, bytes = first->request.body.n;
    if (!may_group(first)) return;
    for (struct resp_cmd *c; (c = b->head) != NULL && may_group(c) && c->request.slot == first->request.slot; count++) {
        bytes += c->request.body.n;
        if (count >= GROUP_MAX || bytes > GROUP_BYTES_MAX) break;
        *end = bucket_pop(b);
        end = &c->group;
        c->state = CMD_RUNNING;
    }
    if (count == 1) return;
    struct buf body = {0};
    buf_reserve(&body, bytes + 16 * count);
    kv_build_multi(&body, NULL, 0, count);
    for (struct resp_cmd *c = first; c != NULL; c = c->group) {
        kv_build_multi_op(&body, c->request.opcode, c->request.op_flags, buf_view(&c->request.body));
        buf_recycle(&c->request.body);
    }
    buf_deinit(&first->request.body);
    first->request.body = body;
    first->request.opcode = KV_MULTI;
    first->request.op_flags = 0;
}

/* The command has ended: those that waited for it start. */
static void slot_leave(struct resp_conn *c, struct resp_cmd *cmd)
{
    struct slot_bucket *b = &c->slots->buckets[cmd->bucket];
    uint16_t *count = cmd->write ? &b->writes : &b->reads;
    ASSERT(cmd->in_slot && *count > 0);
    *count -= 1;
    cmd->in_slot = false;
    while (b->head != NULL && b->writes == 0 && (!b->head->write || b->reads == 0)) {
        struct resp_cmd *next = bucket_pop(b);
        *(next->write ? &b->writes : &b->reads) += 1;
        if (next->write) group_gather(b, next);
        submit(next);
    }
}

void resp_conn_wrote(struct resp_conn *c, uint16_t slot)
{
    if (c->written == NULL) c->written = mem_zalloc(SLOTS / 8);
    if (c->wait_satisfied) memset(c->written, 0, SLOTS / 8);
    c->wait_satisfied = false;
    c->written[slot / 64] |= 1ull << slot % 64;
}

/* ---- ends ---- */

/* The reply of a command, or of one of its group: `results` then stands at it, else it is NULL. */
static void cmd_end(struct resp_conn *c, struct resp_cmd *cmd, const struct request *r, struct reader *results)
{
    struct buf *out = &cmd->reply;
    if (list_first(&c->pending) == &cmd->link) { /* its turn: without a copy */
        out_prepare(c);
        out = cmd->silent ? &c->door->nowhere : &c->out;
        if (cmd->silent) buf_recycle(out);
    }
    if (results != NULL) {
        if (!resp_put_result_from(out, cmd->proto, results)) resp_put_errorf(out, MALFORMED);
    } else if (r->status == ST_OK) {
        resp_put_result(out, cmd->proto, r->result);
    } else {
        c->door->stats.errors++;
        resp_put_status(out, cmd->write, r->status, r->err.text);
    }
    cmd->state = CMD_DONE;
    pending_grow(c, cmd);
}

static void on_done(struct request *r)
{
    struct resp_cmd *cmd = CONTAINER_OF(r, struct resp_cmd, request), *next;
    struct resp_conn *c = cmd->conn;
    ASSERT(cmd->state == CMD_RUNNING);
    if (c == NULL) {
        for (; cmd != NULL; cmd = next) {
            next = cmd->group;
            cmd_give(cmd);
        }
        return;
    }
    struct result head;
    struct reader results = reader_of(r->result);
    /* Anything but an array answers the whole group. */
    bool each = cmd->group != NULL && r->status == ST_OK && result_next(&results, &head) && head.tag == 'a';
    for (struct resp_cmd *member = cmd; member != NULL; member = next) {
        next = member->group;
        member->group = NULL;
        cmd_end(c, member, r, each ? &results : NULL);
    }
    slot_leave(c, cmd); /* after the result has been used: it is only borrowed */
    advance(c);
    resp_conn_wake(c);
}

struct resp_cmd *resp_conn_barrier(struct resp_conn *c, const struct command *command, bool write)
{
    ASSERT(c->pending_count == 0 && !c->barrier && c->out_elsewhere == NULL);
    struct resp_cmd *cmd = cmd_take(c, command);
    if (cmd == NULL) {
        resp_put_status(resp_conn_out(c), write, ST_OVERLOADED, "too many commands under way");
        return NULL;
    }
    cmd->state = CMD_RUNNING;
    cmd->write = write;
    c->barrier = true;
    pending_push(c, cmd, sizeof *cmd);
    return cmd;
}

void resp_cmd_done(struct resp_cmd *cmd)
{
    struct resp_conn *c = cmd->conn;
    ASSERT(cmd->state == CMD_RUNNING);
    cmd->state = CMD_DONE;
    if (c == NULL) {
        cmd_give(cmd);
        return;
    }
    ASSERT(c->barrier && c->pending_count == 1);
    c->barrier = false;
    advance(c);
    resp_conn_wake(c);
}

/* ---- execution ---- */

bool resp_command_keys(const struct command *command, size_t argc, size_t *out_first, size_t *out_last,
                       size_t *out_step)
{
    if (command->key_first <= 0 || (size_t)command->key_first >= argc) return false;
    int64_t last = command->key_last < 0 ? (int64_t)argc + command->key_last : command->key_last;
    if (last >= (int64_t)argc) last = (int64_t)argc - 1;
    if (last < command->key_first) return false;
    *out_first = (size_t)command->key_first;
    *out_last = (size_t)last;
    *out_step = (size_t)MAX(command->key_step, 1);
    return true;
}

static void unknown_command(const struct bytes *argv, size_t argc, struct buf *out)
{
    struct buf text = {0};
    buf_put_bytes(&text, BYTES_LIT("ERR unknown command '"));
    buf_put(&text, argv[0].p, MIN(argv[0].n, 128));
    buf_put_bytes(&text, BYTES_LIT("', with args beginning with: "));
    size_t from = text.n;
    for (size_t i = 1; i < argc && text.n - from < 128; i++) {
        size_t room = 128 - (text.n - from);
        buf_put_u8(&text, '\'');
        buf_put(&text, argv[i].p, MIN(argv[i].n, room));
        buf_put_bytes(&text, BYTES_LIT("' "));
    }
    resp_put_error(out, buf_view(&text));
    buf_deinit(&text);
}

static void unknown_subcommand(const struct command *command, struct bytes sub, struct buf *out)
{
    char upper[40];
    size_t n = strlen(command->name);
    for (size_t i = 0; i <= n; i++) {
        char ch = command->name[i];
        upper[i] = (char)(ch >= 'a' && ch <= 'z' ? ch - 32 : ch);
    }
    resp_put_errorf(out, "ERR unknown subcommand '%.*s'. Try %s HELP.", (int)MIN(sub.n, 128), (const char *)sub.p,
                    upper);
}

/* Its second argument names a sub-command. COMMAND also runs alone. */
static bool is_container(const struct command *command)
{
    if (command->scope != SCOPE_DOOR) return false;
    const struct door_handler *h = resp_door_handler(command);
    return h->run == NULL || h->run == cmd_command;
}

const struct command *resp_command_lookup(const struct bytes *argv, size_t argc, struct buf *out)
{
    const struct command *command = command_find(argv[0]);
    if (command == NULL || memchr(argv[0].p, '|', argv[0].n) != NULL) {
        unknown_command(argv, argc, out);
        return NULL;
    }
    if (argc >= 2 && is_container(command)) {
        char name[64];
        size_t n = strlen(command->name);
        const struct command *sub = NULL;
        if (n + 1 + argv[1].n < sizeof name) {
            memcpy(name, command->name, n);
            name[n] = '|';
            memcpy(name + n + 1, argv[1].p, argv[1].n);
            sub = command_find(bytes_of(name, n + 1 + argv[1].n));
        }
        if (sub == NULL) {
            unknown_subcommand(command, argv[1], out);
            return NULL;
        }
        command = sub;
    }
    if (command->arity > 0 ? argc == (size_t)command->arity : argc >= (size_t)-command->arity) return command;
    bool exec = strcmp(command->name, "exec") == 0;
    resp_put_errorf(out, "%s wrong number of arguments for '%s' command",
                    exec ? "EXECABORT Transaction discarded because of:" : "ERR", command->name);
    return NULL;
}

bool resp_conn_moved(struct resp_conn *c, uint16_t slot, bool read, struct buf *out)
{
    struct resp_door *d = c->door;
    if (!d->config.redirects && !c->capa_redirect) return false;
    if (gate_leads(d->gate, d->config.table, slot)) return false;
    const struct gate_partition *p = gate_partition_of(d->gate, d->config.table, slot);
    if (p == NULL || p->leader_node == 0) return false; /* the gate finds it, or says that there is none */
    struct gate_map map;
    gate_map(d->gate, d->config.table, &map);
    if (p->leader_node == map.self_node) return false; /* on another shard of this node */
    if (read && c->readonly)
        for (size_t i = 0; i < p->replica_count; i++)
            if (p->replica_nodes[i] == map.self_node) return false;
    for (size_t i = 0; i < map.node_count; i++) {
        if (map.nodes[i].node_id != p->leader_node) continue;
        resp_put_errorf(out, "MOVED %u %s:%u", slot, map.nodes[i].host, map.nodes[i].port);
        return true;
    }
    return false;
}

static bool execute_slot(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc,
                         uint16_t slot)
{
    struct resp_door *d = c->door;
    struct resp_cmd *cmd = cmd_take(c, command);
    if (cmd == NULL) {
        resp_put_status(resp_conn_out(c), true, ST_OVERLOADED, "too many commands under way");
        return true;
    }
    struct command_op op = {.body = &cmd->request.body, .error = &cmd->reply};
    if (command->flags & COMMAND_RANDOM) op.random = env_random_u64(d->env);
    if (command->build(argv, argc, &op) != ST_OK) {
        resp_put_error(resp_conn_out(c), buf_view(&cmd->reply));
        cmd_give(cmd);
        return true;
    }
    struct request *r = &cmd->request;
    cmd->write = !(op.flags & OP_READ);
    r->kind = cmd->write ? REQUEST_WRITE : REQUEST_READ;
    r->table = d->config.table;
    r->slot = slot;
    r->opcode = op.opcode;
    r->op_flags = op.flags;
    r->timeout_ns = 0;
    r->done = on_done;
    if ((d->config.redirects || c->capa_redirect) && resp_conn_moved(c, slot, !cmd->write, &cmd->reply)) {
        buf_put_bytes(resp_conn_out(c), buf_view(&cmd->reply));
        cmd_give(cmd);
        return true;
    }
    if (!cmd->write && slot_free(c, slot, false)) {
        resp_door_clear_scratch(d);
        if (gate_read_now(d->gate, r, &d->scratch)) {
            resp_put_result(resp_conn_out(c), c->proto, buf_view(&d->scratch));
            cmd_give(cmd);
            return true;
        }
    }
    if (cmd->write) resp_conn_wrote(c, slot);
    pending_push(c, cmd, sizeof *cmd + r->body.n);
    slot_enter(c, cmd);
    return true;
}

/* Slots of all keys: true and the slot if they are in one. */
static bool one_slot(const struct bytes *argv, size_t first, size_t last, size_t step, uint16_t *out)
{
    uint16_t slot = key_slot(argv[first]);
    for (size_t i = first + step; i <= last; i += step)
        if (key_slot(argv[i]) != slot) return false;
    *out = slot;
    return true;
}

void resp_conn_run_door(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc)
{
    resp_door_handler(command)->run(c, argv, argc);
}

/* false: it must wait until nothing is pending, and comes again. */
static bool execute(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct resp_door *d = c->door;
    resp_door_clear_scratch(d);
    const struct command *command = resp_command_lookup(argv, argc, &d->scratch);
    if (command == NULL) {
        d->stats.errors++;
        if (bytes_equal_nocase(argv[0], "exec")) { /* malformed, it ends the transaction nevertheless */
            resp_txn_drop(c);
            resp_watch_drop(c);
        } else if (c->txn != NULL) {
            resp_txn_spoil(c);
        }
        buf_put_bytes(resp_conn_out(c), buf_view(&d->scratch));
        return true;
    }
    if (c->txn != NULL && resp_txn_queues(command)) {
        resp_txn_queue(c, command, argv, argc);
        return true;
    }
    if (command->scope == SCOPE_DOOR) {
        const struct door_handler *handler = resp_door_handler(command);
        if (handler->barrier && !resp_conn_quiet(c)) return false;
        c->last_command = command;
        handler->run(c, argv, argc);
        return true;
    }
    size_t first, last, step;
    uint16_t slot;
    c->last_command = command;
    if (command->scope != SCOPE_ALL && resp_command_keys(command, argc, &first, &last, &step)) {
        if (one_slot(argv, first, last, step, &slot)) return execute_slot(c, command, argv, argc, slot);
        if (command->scope == SCOPE_SLOT) {
            resp_put_errorf(resp_conn_out(c), "CROSSSLOT Keys in request don't hash to the same slot");
            return true;
        }
    }
    ASSERT(command->scope == SCOPE_ALL || command->scope == SCOPE_FANOUT); /* others have keys: their arity says so */
    if (!resp_conn_quiet(c)) return false;
    if (command->scope == SCOPE_ALL) resp_job_all(c, command, argv, argc);
    else resp_job_fanout(c, command, argv, argc);
    return true;
}

/* ---- input ---- */

static size_t unsent(const struct resp_conn *c) { return c->out.n + env_stream_queued(c->stream); }

/* May the next command begin? */
static bool may_execute(const struct resp_conn *c)
{
    const struct resp_door_config *cfg = &c->door->config;
    return !c->barrier && !c->hang_up && !c->kill && c->pending_count < cfg->pending_max &&
           c->pending_bytes < cfg->pending_bytes_max;
}

/* Executes what can be of `in`; returns how much of it is done with. */
static size_t run_input(struct resp_conn *c, struct bytes in)
{
    size_t done = 0, queued = env_stream_queued(c->stream);
    c->stalled = c->stuffed = false;
    while (may_execute(c)) {
        size_t used;
        if (queued + c->out.n >= c->door->config.output_pause) {
            c->stuffed = true;
            break;
        }
        enum resp_parsed r = resp_parse(&c->parser, bytes_of(in.p + done, in.n - done), &used);
        if (r == RESP_MORE) {
            done += used;
            c->starved = true;
            break;
        }
        if (r == RESP_BROKEN) {
            resp_put_errorf(resp_conn_out(c), "ERR %s", c->parser.error);
            c->door->stats.errors++;
            c->hang_up = true;
            return in.n;
        }
        struct bytes name = c->parser.argv[0];
        if ((name.n == 4 && bytes_equal_nocase(name, "post")) || (name.n == 5 && bytes_equal_nocase(name, "host:"))) {
            diag(DIAG_WARN, "resp.cross_protocol client=%llu peer=%s", (unsigned long long)c->id,
                 env_stream_peer(c->stream));
            c->kill = true; /* somebody makes a browser talk to us */
            return in.n;
        }
        if (!execute(c, c->parser.argv, c->parser.argc)) {
            c->stalled = true;
            break;
        }
        done += used;
        c->door->stats.commands++;
        if (c->pending_count != 0) {
            struct resp_cmd *last = CONTAINER_OF(list_last(&c->pending), struct resp_cmd, link);
            if (last->state == CMD_DONE) pending_grow(c, last);
        }
        c->reply_skip = c->reply_skip_next;
        c->reply_skip_next = false;
    }
    return done;
}

static void run_buffered(struct resp_conn *c)
{
    if (c->in.n == c->in_at || c->starved) return;
    c->in_at += run_input(c, bytes_of(c->in.p + c->in_at, c->in.n - c->in_at));
    if (c->in_at != c->in.n) return;
    c->in_at = 0;
    buf_recycle(&c->in);
}

static void input_append(struct resp_conn *c, struct bytes data)
{
    size_t have = c->in.n - c->in_at;
    if (c->in_at != 0 && c->in_at >= have) { /* what is moved was passed over before: linear in the input */
        memmove(c->in.p, c->in.p + c->in_at, have);
        c->in.n = have;
        c->in_at = 0;
    }
    /* While a large argument arrives, the buffer grows to eight times what came, but not beyond what that argument needs: each
     * time it grows all is copied, and memory that was not written to yet costs nothing. */
    size_t needs = resp_parse_needs(&c->parser, have);
    if (c->in.cap - c->in.n < data.n && needs > data.n) {
        c->in.cap = MAX(c->in.n + data.n, MIN(MAX(8 * c->in.n, INPUT_AHEAD), c->in.n + needs));
        c->in.p = mem_realloc(c->in.p, c->in.cap);
    }
    buf_put_bytes(&c->in, data);
}

/* No more is read while the connection can't go on and enough waits. */
static void update_reading(struct resp_conn *c)
{
    if (c->eof) return;
    bool blocked = !c->starved && c->in.n - c->in_at >= INPUT_AHEAD && !c->hang_up;
    if (blocked == c->paused) return;
    c->paused = blocked;
    if (blocked) env_stream_pause(c->stream);
    else env_stream_resume(c->stream);
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct resp_conn *c = ctx;
    c->active_ns = env_now_ns(c->door->env);
    c->door->stats.bytes_in += data.n;
    if (c->hang_up || c->kill) return;
    c->starved = false;
    if (c->in.n == c->in_at) {
        size_t done = run_input(c, data);
        if (done < data.n) input_append(c, bytes_of(data.p + done, data.n - done));
    } else {
        input_append(c, data);
        run_buffered(c);
    }
    update_reading(c);
    resp_conn_wake(c);
}

/* ---- output, turns, the end ---- */

void resp_conn_wake(struct resp_conn *c)
{
    if (c->turn_queued) return;
    c->turn_queued = true;
    env_defer(c->door->loop, &c->turn);
}

/* Hands the output over. false: the reader is too slow, close it. */
static bool flush(struct resp_conn *c)
{
    struct resp_door *d = c->door;
    if (c->out.n != 0) {
        d->stats.bytes_out += c->out.n;
        env_stream_write(c->stream, buf_view(&c->out));
    }
    buf_clear(&c->out);
    if (c->out.p != NULL && c->out.cap <= SPARE_KEEP && d->spare_count < SPARES_MAX)
        d->spares[d->spare_count++] = c->out;
    else buf_deinit(&c->out);
    c->out = (struct buf){0};
    /* One reply may be as large as an argument: that alone is nobody's fault. */
    if (env_stream_queued(c->stream) <= MAX(d->config.output_max, 2 * d->config.limits.bulk_max)) return true;
    d->stats.slow_closed++;
    diag(DIAG_WARN, "resp.slow_reader client=%llu peer=%s unsent=%zu", (unsigned long long)c->id,
         env_stream_peer(c->stream), env_stream_queued(c->stream));
    return false;
}

static void conn_turn(struct env_task *task)
{
    struct resp_conn *c = CONTAINER_OF(task, struct resp_conn, turn);
    c->turn_queued = false;
    if (c->dead) {
        mem_free(c);
        return;
    }
    if (c->kill) {
        resp_conn_close(c);
        return;
    }
    run_buffered(c);
    if (!flush(c) || c->kill) {
        resp_conn_close(c);
        return;
    }
    bool finished = c->hang_up || (c->eof && (c->starved || c->in.n == c->in_at));
    if (finished && c->pending_count == 0 && (c->eof || env_stream_queued(c->stream) == 0)) {
        resp_conn_close(c);
        return;
    }
    update_reading(c);
    if (c->stuffed && c->in.n != c->in_at && env_stream_queued(c->stream) < c->door->config.output_pause)
        resp_conn_wake(c);
}

static void on_drained(struct env_stream *s, void *ctx) { resp_conn_wake(ctx); }

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct resp_conn *c = ctx;
    bool waits = c->barrier && strcmp(c->last_command->name, "wait") == 0; /* perhaps for a day */
    if (st == ST_OK && !c->kill && !waits) { /* it may still read: what it sent is answered first */
        c->eof = true;
        resp_conn_wake(c);
        return;
    }
    c->kill = true;
    resp_conn_wake(c);
}

void resp_conn_close(struct resp_conn *c)
{
    struct resp_door *d = c->door;
    for (struct link *k; (k = list_first(&c->pending)) != NULL;) {
        struct resp_cmd *cmd = CONTAINER_OF(k, struct resp_cmd, link);
        link_remove(k);
        if (cmd->state == CMD_RUNNING) cmd->conn = NULL; /* comes back through on_done or resp_cmd_done */
        else cmd_give(cmd);
    }
    if (c->slots != NULL) {
        memset(c->slots, 0, sizeof *c->slots);
        c->slots->next = d->slot_tables;
        d->slot_tables = c->slots;
    }
    env_stream_close(c->stream);
    resp_txn_drop(c);
    resp_watch_drop(c);
    mem_free(c->watches);
    buf_deinit(&c->watch_keys);
    resp_parser_deinit(&c->parser);
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    mem_free(c->written);
    mem_free(c->name);
    mem_free(c->lib_name);
    mem_free(c->lib_ver);
    link_remove(&c->link);
    d->conn_count--;
    if (c->turn_queued) c->dead = true; /* a deferred task can't be taken back: its turn frees it */
    else mem_free(c);
    if (d->config.left != NULL) d->config.left(d->config.ctx);
}

void resp_conn_set_text(char **field, struct bytes text)
{
    mem_free(*field);
    *field = NULL;
    if (text.n == 0) return;
    *field = mem_alloc(text.n + 1);
    memcpy(*field, text.p, text.n);
    (*field)[text.n] = 0;
}

struct resp_conn *resp_conn_new(struct resp_door *d, struct env_stream *s, struct bytes first)
{
    static const struct env_stream_events events = {.data = on_data, .drained = on_drained, .closed = on_closed};
    const char *refusal = d->stopping ? "-UNAVAILABLE not executed: this node is shutting down\r\n"
                          : d->conn_count >= d->config.clients_max ? "-ERR max number of clients reached\r\n"
                                                                   : NULL;
    if (refusal != NULL) {
        d->stats.rejected++;
        env_stream_write(s, bytes_str(refusal));
        env_stream_close(s);
        return NULL;
    }
    struct resp_conn *c = mem_zalloc(sizeof *c);
    c->door = d;
    c->stream = s;
    c->id = d->next_client_id;
    d->next_client_id += d->config.client_id_step;
    c->since_ns = c->active_ns = env_now_ns(d->env);
    c->proto = 2;
    c->turn.run = conn_turn;
    list_init(&c->pending);
    resp_parser_init(&c->parser, &d->config.limits);
    list_push_back(&d->conns, &c->link);
    d->conn_count++;
    d->stats.connections++;
    env_stream_set_events(s, &events, c);
    if (first.n != 0) on_data(s, c, first);
    return c;
}

void resp_conn_describe(const struct resp_conn *c, struct buf *out)
{
    uint64_t now = env_now_ns(c->door->env);
    buf_printf(out, "id=%llu addr=%s laddr=%s name=%s age=%llu idle=%llu flags=%s db=0 sub=0 psub=0 ssub=0 multi=%d ",
               (unsigned long long)c->id, env_stream_peer(c->stream), c->door->config.laddr,
               c->name != NULL ? c->name : "", (unsigned long long)((now - c->since_ns) / NS_PER_S),
               (unsigned long long)((now - c->active_ns) / NS_PER_S),
               c->txn != NULL ? "x"
               : c->readonly  ? "r"
                              : "N",
               c->txn != NULL ? (int)resp_txn_count(c) : -1);
    buf_printf(out, "watch=%zu pending=%zu qbuf=%zu omem=%zu events=%s cmd=%s user=default redir=-1 resp=%u",
               c->watch_count, c->pending_count, c->in.n - c->in_at, unsent(c), c->paused ? "w" : "r",
               c->last_command != NULL ? c->last_command->name : "NULL", c->proto);
    if (c->lib_name != NULL) buf_printf(out, " lib-name=%s", c->lib_name);
    if (c->lib_ver != NULL) buf_printf(out, " lib-ver=%s", c->lib_ver);
    buf_put_u8(out, '\n');
}
