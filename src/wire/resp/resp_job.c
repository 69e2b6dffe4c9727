/* resp_job.c - commands that take several requests: over slots, over partitions, over keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp/resp_job.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/kv_build.h"
#include "model/result.h"
#include "table/place.h"

#define FLUSH_ROWS 4096u /* rows one FLUSH op deletes */
#define WALKS_MAX  3u    /* times a walk is made again because the map changed */

struct job_part {
    struct resp_job *job;
    size_t number;
    struct request request;
};

static void job_pump(struct resp_job *j);

/* ---- the machine ---- */

static void job_end(struct resp_job *j)
{
    struct resp_cmd *cmd = j->cmd;
    struct buf *out = &cmd->reply;
    size_t failed = j->refused + j->unknown;
    if (cmd->conn == NULL) {
        /* nobody is left to tell */
    } else if (failed != 0 && cmd->write && j->next > 1 && j->executed + j->unknown != 0) {
        resp_put_errorf(out,
                        "UNKNOWN the outcome of this write is unknown: of its parts %zu were executed, %zu were not, "
                        "%zu are unknown, the others were not begun: %s",
                        j->executed, j->refused, j->unknown, j->first.text);
    } else if (failed != 0) {
        resp_put_status(out, cmd->write, j->first.status, j->first.text);
    } else if (j->error.n != 0) {
        resp_put_error(out, buf_view(&j->error));
    } else {
        j->reply(j, out, cmd->proto);
    }
    buf_deinit(&j->error);
    j->free(j);
    resp_cmd_done(cmd);
}

static void part_failed(struct resp_job *j, enum status st, const char *text)
{
    if (st == ST_OUTCOME_UNKNOWN) j->unknown++;
    else j->refused++;
    j->door->stats.errors++;
    if (j->first.status == ST_OK || st == ST_OUTCOME_UNKNOWN)
        error_set(&j->first, st, "%s", text[0] != 0 ? text : status_name(st));
    j->stop = true;
}

static void part_executed(struct resp_job *j, size_t number, struct bytes encoded)
{
    struct reader r = reader_of(encoded);
    struct result head;
    j->executed++;
    if (!result_next(&r, &head))
        head = (struct result){.tag = 'e', .bytes = BYTES_LIT("ERR internal error: malformed result")};
    if (head.tag != 'e') {
        j->result(j, number, encoded);
        return;
    }
    if (j->error.n == 0) buf_put_bytes(&j->error, head.bytes);
    j->stop = true;
}

static void on_part_done(struct request *r)
{
    struct job_part *p = CONTAINER_OF(r, struct job_part, request);
    struct resp_job *j = p->job;
    j->running--;
    j->door->parts_out--;
    if (r->status == ST_OK) part_executed(j, p->number, r->result);
    else part_failed(j, r->status, r->err.text);
    buf_deinit(&r->body);
    mem_free(p);
    job_pump(j);
}

static void job_pump(struct resp_job *j)
{
    struct resp_door *d = j->door;
    ASSERT(!j->pumping);
    j->pumping = true;
    while (!j->stop && !j->no_more && j->running < j->width && j->cmd->conn != NULL) {
        struct job_part *p = mem_zalloc(sizeof *p);
        struct request *r = &p->request;
        p->job = j;
        p->number = j->next;
        r->table = d->config.table;
        r->done = on_part_done;
        if (!j->part(j, r)) {
            buf_deinit(&r->body);
            mem_free(p);
            j->no_more = j->running == 0;
            break;
        }
        j->next++;
        resp_door_clear_scratch(d);
        if (r->kind == REQUEST_READ && gate_read_now(d->gate, r, &d->scratch)) {
            part_executed(j, p->number, buf_view(&d->scratch));
            buf_deinit(&r->body);
            mem_free(p);
            continue;
        }
        j->running++;
        d->parts_out++;
        gate_submit(d->gate, r);
    }
    j->pumping = false;
    if (j->running == 0) job_end(j);
}

void resp_job_start(struct resp_job *j, struct resp_cmd *cmd, size_t width)
{
    ASSERT(cmd->conn != NULL && width > 0);
    j->cmd = cmd;
    j->door = cmd->door;
    j->width = width;
    job_pump(j);
}

/* ---- several slots ---- */

struct fanout {
    struct resp_job job;
    const struct command *command;
    struct buf bytes;   /* a copy of the arguments */
    struct bytes *argv; /* into it */
    uint64_t *order;    /* slot << 32 | number of the key, sorted */
    size_t keys, at;    /* at: the next group begins there in order */
    size_t first, step; /* of the keys in argv */
    uint32_t *starts;   /* where each part's group begins in order */
    size_t parts, starts_cap;
    struct bytes *group; /* name and arguments of the group being built */
    struct buf results;  /* MERGE_BY_KEY */
    size_t *places;      /* of each key's result in it */
    int64_t sum;
};

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static size_t group_end(const struct fanout *f, size_t start)
{
    size_t end = start;
    while (end < f->keys && f->order[end] >> 32 == f->order[start] >> 32) end++;
    return end;
}

static bool fanout_part(struct resp_job *j, struct request *r)
{
    struct fanout *f = (struct fanout *)j;
    if (f->at == f->keys) return false;
    size_t end = group_end(f, f->at), n = 0;
    f->group[n++] = f->argv[0];
    for (size_t i = f->at; i < end; i++)
        for (size_t k = 0; k < f->step; k++) f->group[n++] = f->argv[f->first + (uint32_t)f->order[i] * f->step + k];
    struct buf error = {0};
    struct command_op op = {.body = &r->body, .error = &error};
    enum status st = f->command->build(f->group, n, &op);
    ASSERT(st == ST_OK); /* the whole command was built before */
    buf_deinit(&error);
    r->kind = op.flags & OP_READ ? REQUEST_READ : REQUEST_WRITE;
    r->slot = (uint16_t)(f->order[f->at] >> 32);
    r->opcode = op.opcode;
    r->op_flags = op.flags;
    if (f->parts == f->starts_cap) {
        f->starts_cap = f->starts_cap != 0 ? 2 * f->starts_cap : 16;
        f->starts = mem_realloc(f->starts, f->starts_cap * sizeof *f->starts);
    }
    f->starts[f->parts++] = (uint32_t)f->at;
    f->at = end;
    if (r->kind == REQUEST_WRITE) resp_conn_wrote(j->cmd->conn, r->slot);
    return true;
}

static bool skip_result(struct reader *r)
{
    struct result one;
    for (uint64_t left = 1; left != 0; left--) {
        if (!result_next(r, &one)) return false;
        if (one.tag == 'a' || one.tag == 't') left += one.count;
        if (one.tag == 'm' || one.tag == 'p') left += 2 * one.count;
        if (left > reader_left(r) + 1) return false;
    }
    return true;
}

static void fanout_result(struct resp_job *j, size_t number, struct bytes encoded)
{
    struct fanout *f = (struct fanout *)j;
    struct result head;
    struct reader r = reader_of(encoded);
    bool good = result_next(&r, &head);
    if (f->command->merge == MERGE_SUM && good && head.tag == 'i') {
        f->sum += head.number;
    } else if (f->command->merge == MERGE_BY_KEY && good && head.tag == 'a') {
        size_t start = f->starts[number], end = group_end(f, start), base = f->results.n;
        good = head.count == end - start;
        for (size_t i = start; i < end && good; i++) {
            f->places[(uint32_t)f->order[i]] = base + (size_t)(r.p - encoded.p);
            good = skip_result(&r);
        }
        buf_put_bytes(&f->results, encoded);
    } else {
        good = f->command->merge == MERGE_OK && good && head.tag == 'o';
    }
    if (good || j->error.n != 0) return;
    buf_printf(&j->error, "ERR internal error: unexpected result");
    j->stop = true;
}

static void fanout_reply(struct resp_job *j, struct buf *out, int proto)
{
    struct fanout *f = (struct fanout *)j;
    if (f->command->merge == MERGE_SUM) resp_put_int(out, f->sum);
    else if (f->command->merge == MERGE_OK) resp_put_ok(out);
    if (f->command->merge != MERGE_BY_KEY) return;
    resp_put_array(out, f->keys);
    for (size_t i = 0; i < f->keys; i++) {
        struct reader r = reader_of(bytes_of(f->results.p + f->places[i], f->results.n - f->places[i]));
        if (!resp_put_result_from(out, proto, &r)) resp_put_errorf(out, "ERR internal error: malformed result");
    }
}

static void fanout_free(struct resp_job *j)
{
    struct fanout *f = (struct fanout *)j;
    buf_deinit(&f->bytes);
    buf_deinit(&f->results);
    mem_free(f->argv);
    mem_free(f->order);
    mem_free(f->starts);
    mem_free(f->group);
    mem_free(f->places);
    mem_free(f);
}

void resp_job_fanout(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc)
{
    size_t first, last, step, total = 0;
    struct buf body = {0}, error = {0};
    struct command_op op = {.body = &body, .error = &error};
    enum status st = command->build(argv, argc, &op); /* errors are found before anything is executed */
    buf_deinit(&body);
    if (st != ST_OK) resp_put_error(resp_conn_out(c), buf_view(&error));
    buf_deinit(&error);
    if (st != ST_OK || !resp_command_keys(command, argc, &first, &last, &step)) return;
    struct resp_cmd *cmd = resp_conn_barrier(c, command, !(op.flags & OP_READ));
    if (cmd == NULL) return;

    struct fanout *f = mem_zalloc(sizeof *f);
    f->command = command;
    f->first = first;
    f->step = step;
    f->keys = (last - first) / step + 1;
    ASSERT(first + f->keys * step <= argc);
    for (size_t i = 0; i < argc; i++) total += argv[i].n;
    buf_reserve(&f->bytes, total); /* no moves: the views stay good */
    f->argv = mem_alloc(argc * sizeof *f->argv);
    f->group = mem_alloc(argc * sizeof *f->group);
    for (size_t i = 0; i < argc; i++) {
        f->argv[i] = bytes_of(f->bytes.p + f->bytes.n, argv[i].n);
        buf_put_bytes(&f->bytes, argv[i]);
    }
    f->order = mem_alloc(f->keys * sizeof *f->order);
    f->places = mem_zalloc(f->keys * sizeof *f->places);
    for (size_t i = 0; i < f->keys; i++) f->order[i] = (uint64_t)key_slot(argv[first + i * step]) << 32 | i;
    qsort(f->order, f->keys, sizeof *f->order, compare_u64);
    f->job.part = fanout_part;
    f->job.result = fanout_result;
    f->job.reply = fanout_reply;
    f->job.free = fanout_free;
    resp_job_start(&f->job, cmd, JOB_PARTS_UNDER_WAY);
}

/* ---- every partition ---- */

struct all {
    struct resp_job job;
    struct command_op op;
    struct buf body;
    uint32_t slot;  /* partitions before it have been asked */
    uint32_t left;  /* RANDOMKEY: slots not yet asked */
    uint64_t epoch; /* of the map, when the walk began */
    unsigned walks;
    int64_t sum;
    uint64_t count;     /* KEYS */
    struct buf results; /* KEYS: the keys' results; SCAN, RANDOMKEY: the result */
    int64_t cursor;     /* FLUSH: within the partition */
    bool done;
};

static uint64_t map_epoch(const struct resp_door *d)
{
    struct gate_map map;
    gate_map(d->gate, d->config.table, &map);
    return map.epoch;
}

/* A walk over a map that changed meanwhile may have missed what was split off: it is made again. */
static bool walk_again(struct all *a)
{
    uint64_t epoch = map_epoch(a->job.door);
    if (epoch == a->epoch) return false;
    if (++a->walks > WALKS_MAX) {
        part_failed(&a->job, ST_BUSY, "the partitions keep changing");
        return false;
    }
    a->epoch = epoch;
    a->slot = 0;
    a->sum = 0;
    a->count = 0;
    buf_clear(&a->results);
    return true;
}

static bool all_part(struct resp_job *j, struct request *r)
{
    struct all *a = (struct all *)j;
    struct resp_door *d = j->door;
    if (a->done) return false;
    if (a->slot >= SLOTS && (j->running != 0 || !walk_again(a))) return false;
    const struct gate_partition *p = gate_partition_of(d->gate, d->config.table, (uint16_t)a->slot);
    if (p == NULL) {
        part_failed(j, ST_UNAVAILABLE, "the partition map is not here yet");
        return false;
    }
    r->kind = a->op.flags & OP_READ ? REQUEST_READ : REQUEST_WRITE;
    r->slot = (uint16_t)a->slot;
    r->opcode = a->op.opcode;
    r->op_flags = a->op.flags;
    if (a->op.opcode == KV_FLUSH) kv_build_flush(&r->body, (uint64_t)a->cursor, FLUSH_ROWS);
    else buf_put_bytes(&r->body, buf_view(&a->body));
    if (r->kind == REQUEST_WRITE) resp_conn_wrote(j->cmd->conn, r->slot);
    switch (a->op.opcode) {
    case KV_FLUSH: break; /* its result moves the slot */
    case KV_SCAN: a->done = true; break;
    case KV_RANDOMKEY: {
        uint32_t width = p->slot_hi - a->slot;
        a->left -= MIN(a->left, width);
        a->slot = p->slot_hi % SLOTS;
        a->done = a->left == 0;
        break;
    }
    default: a->slot = p->slot_hi; break;
    }
    return true;
}

static void all_result(struct resp_job *j, size_t number, struct bytes encoded)
{
    struct all *a = (struct all *)j;
    struct resp_door *d = j->door;
    struct result head;
    struct reader r = reader_of(encoded);
    if (!result_next(&r, &head)) {
        buf_printf(&j->error, "UNAVAILABLE a node answered nothing");
        j->stop = true;
        return;
    }
    switch (a->op.opcode) {
    case KV_DBSIZE: a->sum += head.number; break;
    case KV_KEYS:
        a->count += head.count;
        buf_put(&a->results, r.p, reader_left(&r));
        if (a->results.n > d->config.keys_reply_max) {
            buf_printf(&j->error, "ERR the reply of KEYS would be larger than %zu bytes; use SCAN",
                       d->config.keys_reply_max);
            j->stop = true;
        }
        break;
    case KV_FLUSH: {
        const struct gate_partition *p = gate_partition_of(d->gate, d->config.table, (uint16_t)a->slot);
        if (head.number >= 0) a->cursor = head.number;
        else a->slot = p != NULL ? p->slot_hi : SLOTS;
        if (head.number < 0) a->cursor = 0;
        break;
    }
    case KV_RANDOMKEY: a->done = a->done || head.tag != 'n'; /* fall through */
    default:
        buf_clear(&a->results);
        buf_put_bytes(&a->results, encoded);
        break;
    }
}

static void all_reply(struct resp_job *j, struct buf *out, int proto)
{
    struct all *a = (struct all *)j;
    struct reader r = reader_of(buf_view(&a->results));
    switch (a->op.opcode) {
    case KV_DBSIZE: resp_put_int(out, a->sum); break;
    case KV_FLUSH: resp_put_ok(out); break;
    case KV_KEYS:
        resp_put_array(out, a->count);
        for (uint64_t i = 0; i < a->count; i++)
            if (!resp_put_result_from(out, proto, &r)) resp_put_errorf(out, "ERR internal error: malformed result");
        break;
    default: resp_put_result(out, proto, buf_view(&a->results)); break;
    }
}

static void all_free(struct resp_job *j)
{
    struct all *a = (struct all *)j;
    buf_deinit(&a->body);
    buf_deinit(&a->results);
    mem_free(a);
}

void resp_job_all(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc)
{
    struct resp_door *d = c->door;
    struct all *a = mem_zalloc(sizeof *a);
    struct buf error = {0};
    a->op = (struct command_op){.body = &a->body, .error = &error};
    enum status st = command->build(argv, argc, &a->op);
    if (st != ST_OK) resp_put_error(resp_conn_out(c), buf_view(&error));
    buf_deinit(&error);
    struct resp_cmd *cmd = st == ST_OK ? resp_conn_barrier(c, command, !(a->op.flags & OP_READ)) : NULL;
    if (cmd == NULL) {
        all_free(&a->job);
        return;
    }
    size_t width = a->op.opcode == KV_DBSIZE ? JOB_PARTS_UNDER_WAY : 1;
    a->epoch = map_epoch(d);
    if (a->op.opcode == KV_SCAN) {
        struct reader r = reader_of(buf_view(&a->body));
        a->slot = (uint32_t)(reader_u64(&r) >> 48) % SLOTS;
    } else if (a->op.opcode == KV_RANDOMKEY) {
        uint64_t random = env_random_u64(d->env);
        a->slot = (uint32_t)(random % SLOTS);
        a->left = SLOTS;
        buf_clear(&a->body);
        buf_put_u64(&a->body, random);
    }
    a->job.part = all_part;
    a->job.result = all_result;
    a->job.reply = all_reply;
    a->job.free = all_free;
    resp_job_start(&a->job, cmd, width);
}

/* ---- WAIT ---- */

struct wait {
    struct resp_job job;
    uint64_t replicas, timeout_ms;
    uint32_t slot;
    int64_t least;
};

static bool wait_part(struct resp_job *j, struct request *r)
{
    struct wait *w = (struct wait *)j;
    const uint64_t *written = j->cmd->conn->written;
    for (; written != NULL && w->slot < SLOTS; w->slot++) {
        if (!(written[w->slot / 64] & 1ull << w->slot % 64)) continue;
        const struct gate_partition *p = gate_partition_of(j->door->gate, j->door->config.table, (uint16_t)w->slot);
        r->kind = REQUEST_WAIT;
        r->slot = (uint16_t)w->slot;
        r->wait_count = (unsigned)MIN(w->replicas, UINT32_MAX);
        r->timeout_ns = MAX(w->timeout_ms * NS_PER_MS, 1);
        w->slot = p != NULL ? p->slot_hi : w->slot + 1;
        return true;
    }
    return false;
}

static void wait_result(struct resp_job *j, size_t number, struct bytes encoded)
{
    struct wait *w = (struct wait *)j;
    struct result head;
    struct reader r = reader_of(encoded);
    if (result_next(&r, &head) && head.tag == 'i') w->least = MIN(w->least, head.number);
}

static void wait_reply(struct resp_job *j, struct buf *out, int proto)
{
    struct wait *w = (struct wait *)j;
    j->cmd->conn->wait_satisfied = w->least >= (int64_t)MIN(w->replicas, INT64_MAX);
    resp_put_int(out, w->least);
}

static void wait_free(struct resp_job *j) { mem_free(j); }

void resp_job_wait(struct resp_conn *c, const struct command *command, uint64_t replicas, uint64_t timeout_ms)
{
    struct resp_door *d = c->door;
    struct gate_map map;
    struct resp_cmd *cmd = resp_conn_barrier(c, command, false);
    if (cmd == NULL) return;
    struct wait *w = mem_zalloc(sizeof *w);
    w->replicas = replicas;
    w->timeout_ms = timeout_ms == 0 ? d->config.wait_max_ms : MIN(timeout_ms, d->config.wait_max_ms);
    /* Nothing written: every replica of every partition holds all of that. */
    gate_map(d->gate, d->config.table, &map);
    w->least = INT64_MAX;
    for (size_t i = 0; i < map.partition_count; i++)
        w->least = MIN(w->least, map.partitions[i].replica_count > 0 ? map.partitions[i].replica_count - 1 : 0);
    if (map.partition_count == 0) w->least = 0;
    w->job.part = wait_part;
    w->job.result = wait_result;
    w->job.reply = wait_reply;
    w->job.free = wait_free;
    resp_job_start(&w->job, cmd, JOB_PARTS_UNDER_WAY);
}
