/* data_test_util.h - a data command, from its words to its result, on rows in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_WIRE_RESP_DATA_TEST_UTIL_H
#define CAIRN_WIRE_RESP_DATA_TEST_UTIL_H

#include "base/mem.h"
#include "model/kv_build.h"
#include "model/memory_view.h"
#include "model/result.h"
#include "wire/resp/command.h"

struct data {
    struct memory_view view;
    struct hlc clock;
    uint64_t now_ms;
    struct rng random;
};

static inline void data_init(struct data *d, uint64_t now_ms)
{
    *d = (struct data){.now_ms = now_ms};
    memory_view_init(&d->view, 1, 0, 16384);
    rng_init(&d->random, 1);
}

static inline void data_deinit(struct data *d) { memory_view_deinit(&d->view); }

/* An op as the gate would send it. */
static inline enum status data_op(struct data *d, uint16_t opcode, uint8_t flags, struct bytes body, struct buf *result)
{
    struct op op = {.semantics = OP_SEMANTICS, .opcode = opcode, .flags = flags, .body = body};
    hlc_t ts = hlc_take(&d->clock, d->now_ms, op_timestamps(&op));
    enum status st = memory_view_run(&d->view, &op, ts, result);
    ASSERT(st != ST_OK || result_check(buf_view(result)));
    return st;
}

/* The data commands' own tables: the door is not linked. */
static inline const struct command *data_row(struct bytes name)
{
    static const struct command *const tables[] = {commands_string, commands_bit, commands_key, commands_hash};
    for (size_t i = 0; i < ARRAY_COUNT(tables); i++)
        for (const struct command *c = tables[i]; c->name != NULL; c++)
            if (bytes_equal_nocase(name, c->name)) return c;
    return NULL;
}

static inline const struct command *data_find(const struct bytes *argv, size_t argc)
{
    const struct command *c = data_row(argv[0]);
    if (argc < 2 || !bytes_equal_nocase(argv[0], "object")) return c;
    struct buf name = {0};
    buf_printf(&name, "object|%.*s", (int)argv[1].n, (const char *)argv[1].p);
    c = data_row(buf_view(&name));
    buf_deinit(&name);
    return c;
}

/* Builds a command; false: the error result is in `result`. */
static inline bool data_build(struct data *d, const struct bytes *argv, size_t argc, struct command_op *op,
                              struct buf *result)
{
    const struct command *c = data_find(argv, argc);
    struct buf error = {0};
    op->error = &error;
    op->random = rng_next(&d->random);
    enum status st = ST_INVALID;
    if (c == NULL || c->build == NULL) buf_printf(&error, "ERR unknown command");
    else if (c->arity > 0 ? argc != (size_t)c->arity : argc < (size_t)-c->arity)
        buf_printf(&error, "ERR wrong number of arguments for '%s' command", c->name);
    else st = c->build(argv, argc, op);
    if (st != ST_OK) result_error(result, "%.*s", (int)error.n, (const char *)error.p);
    buf_deinit(&error);
    op->error = NULL;
    return st == ST_OK;
}

/* Runs a command and appends its result. FLUSHDB is repeated as the door does. */
static inline void data_run(struct data *d, const struct bytes *argv, size_t argc, struct buf *result)
{
    struct buf body = {0};
    struct command_op op = {.body = &body};
    if (data_build(d, argv, argc, &op, result)) {
        enum status st = data_op(d, op.opcode, op.flags, buf_view(&body), result);
        while (op.opcode == KV_FLUSH && st == ST_OK) {
            struct reader r = reader_of(buf_view(result));
            struct result v;
            bool ok = result_next(&r, &v);
            ASSERT(ok && v.tag == 'i');
            buf_clear(result);
            buf_clear(&body);
            if (v.number < 0) {
                result_ok(result);
                break;
            }
            kv_build_flush(&body, (uint64_t)v.number, 1000);
            st = data_op(d, op.opcode, op.flags, buf_view(&body), result);
        }
        if (st != ST_OK) result_error(result, "STATUS %s", status_name(st));
    }
    buf_deinit(&body);
}

#define DATA_ARGS_MAX 64

/* Splits at blanks. 'x~12' repeats: x twelve times; '\xNN' in a word is that byte. Words go to `text`. */
static inline size_t data_split(const char *line, struct buf *text, struct bytes *argv)
{
    size_t argc = 0, starts[DATA_ARGS_MAX + 1];
    while (*line != 0) {
        while (*line == ' ') line++;
        if (*line == 0) break;
        ASSERT(argc < DATA_ARGS_MAX);
        starts[argc++] = text->n;
        if (line[0] == '\'' && line[1] == '\'') { /* '' is the empty word */
            line += 2;
            continue;
        }
        while (*line != 0 && *line != ' ') {
            uint8_t byte = (uint8_t)*line++;
            if (byte == '\\' && line[0] == 'x') {
                unsigned v = 0;
                for (int i = 1; i <= 2; i++)
                    v = v * 16 + (unsigned)(line[i] <= '9' ? line[i] - '0' : line[i] - 'a' + 10);
                byte = (uint8_t)v;
                line += 3;
            }
            size_t repeat = 1;
            if (line[0] == '~' && line[1] >= '0' && line[1] <= '9') {
                line++;
                for (repeat = 0; *line >= '0' && *line <= '9';) repeat = repeat * 10 + (size_t)(*line++ - '0');
            }
            memset(buf_extend(text, repeat), byte, repeat);
        }
    }
    starts[argc] = text->n;
    for (size_t i = 0; i < argc; i++) argv[i] = bytes_of(text->p + starts[i], starts[i + 1] - starts[i]);
    return argc;
}

#endif
