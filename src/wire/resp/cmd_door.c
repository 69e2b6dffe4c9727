/* cmd_door.c - the table of the commands that have no op, and those of the connection itself.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp/cmd_door.h"

#include "wire/resp/resp_conn.h"
#include "wire/resp/resp_job.h"
#include "wire/resp/resp_txn.h"

#define ROW_COMMAND(name, arity, flags, first, last, run, barrier) \
    {name, arity, SCOPE_DOOR, MERGE_NONE, flags, first, last, (first) != 0, NULL},
#define ROW_HANDLER(name, arity, flags, first, last, run, barrier) {run, barrier},

const struct command commands_door[] = {DOOR_COMMANDS(ROW_COMMAND){.name = NULL}};
static const struct door_handler handlers[] = {DOOR_COMMANDS(ROW_HANDLER)};

const struct door_handler *resp_door_handler(const struct command *command)
{
    size_t i = (size_t)(command - commands_door);
    ASSERT(i < ARRAY_COUNT(handlers));
    return &handlers[i];
}

void cmd_ping(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (argc > 2) resp_put_errorf(resp_conn_out(c), "ERR wrong number of arguments for 'ping' command");
    else if (argc == 2) resp_put_bulk(resp_conn_out(c), argv[1]);
    else buf_put(resp_conn_out(c), "+PONG\r\n", 7);
}

void cmd_echo(struct resp_conn *c, const struct bytes *argv, size_t argc) { resp_put_bulk(resp_conn_out(c), argv[1]); }

bool resp_name_valid(struct bytes name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] < '!' || name.p[i] > '~') return false;
    return name.n <= CLIENT_NAME_MAX;
}

/* There are no users: the default one needs no password, as in a Redis without configuration. */
static bool user_known(struct bytes user) { return bytes_equal(user, BYTES_LIT("default")); }

#define WRONGPASS "WRONGPASS invalid username-password pair or user is disabled."
#define BAD_NAME  "ERR Client names cannot contain spaces, newlines or special characters."

static void hello_reply(struct resp_conn *c)
{
    struct buf *out = resp_conn_out(c);
    resp_put_map(out, c->proto, 7);
    resp_put_bulk_str(out, "server");
    resp_put_bulk_str(out, "redis");
    resp_put_bulk_str(out, "version");
    resp_put_bulk_str(out, RESP_VERSION);
    resp_put_bulk_str(out, "proto");
    resp_put_int(out, c->proto);
    resp_put_bulk_str(out, "id");
    resp_put_int(out, (int64_t)c->id);
    resp_put_bulk_str(out, "mode");
    resp_put_bulk_str(out, c->door->config.redirects ? "cluster" : "standalone");
    resp_put_bulk_str(out, "role");
    resp_put_bulk_str(out, "master");
    resp_put_bulk_str(out, "modules");
    resp_put_array(out, 0);
}

void cmd_hello(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    int64_t proto = c->proto;
    const struct bytes *name = NULL;
    if (argc >= 2 && !bytes_to_i64(argv[1], &proto)) {
        resp_put_errorf(resp_conn_out(c), "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (proto < 2 || proto > 3) {
        resp_put_errorf(resp_conn_out(c), "NOPROTO unsupported protocol version");
        return;
    }
    for (size_t i = 2; i < argc; i++) {
        if (bytes_equal_nocase(argv[i], "auth") && i + 2 < argc) {
            if (!user_known(argv[i + 1])) {
                resp_put_errorf(resp_conn_out(c), WRONGPASS);
                return;
            }
            i += 2;
        } else if (bytes_equal_nocase(argv[i], "setname") && i + 1 < argc) {
            name = &argv[++i];
            if (resp_name_valid(*name)) continue;
            resp_put_errorf(resp_conn_out(c), BAD_NAME);
            return;
        } else {
            resp_put_errorf(resp_conn_out(c), "ERR Syntax error in HELLO option '%.*s'", (int)MIN(argv[i].n, 128),
                            (const char *)argv[i].p);
            return;
        }
    }
    if (name != NULL) resp_conn_set_text(&c->name, *name);
    c->proto = (uint8_t)proto;
    hello_reply(c);
}

void cmd_auth(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    if (argc > 3) resp_put_errorf(out, "ERR syntax error");
    else if (argc == 2)
        resp_put_errorf(out,
                        "ERR AUTH <password> called without any password configured for the default user. Are you sure "
                        "your configuration is correct?");
    else if (user_known(argv[1])) resp_put_ok(out);
    else resp_put_errorf(out, WRONGPASS);
}

void cmd_select(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    int64_t db;
    if (!bytes_to_i64(argv[1], &db)) resp_put_errorf(out, "ERR value is not an integer or out of range");
    else if (db < INT32_MIN || db > INT32_MAX)
        resp_put_errorf(out, "ERR value is out of range, value must between -2147483648 and 2147483647");
    else if (db == 0) resp_put_ok(out);
    else if (c->door->config.redirects) resp_put_errorf(out, "ERR SELECT is not allowed in cluster mode");
    else resp_put_errorf(out, "ERR DB index is out of range");
}

void cmd_quit(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_ok(resp_conn_out(c));
    c->hang_up = true;
}

void cmd_reset(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_txn_drop(c);
    resp_watch_drop(c);
    resp_conn_set_text(&c->name, bytes_of(NULL, 0));
    c->reply_off = c->reply_skip = c->reply_skip_next = c->readonly = c->capa_redirect = false;
    c->proto = 2;
    resp_put_simple(resp_conn_out(c), "RESET");
}

void cmd_readonly(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    c->readonly = true;
    resp_put_ok(resp_conn_out(c));
}

void cmd_readwrite(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    c->readonly = false;
    resp_put_ok(resp_conn_out(c));
}

/* Slots never move half: there is no ASK redirection, so there is nothing to remember. */
void cmd_asking(struct resp_conn *c, const struct bytes *argv, size_t argc) { resp_put_ok(resp_conn_out(c)); }

void cmd_time(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    uint64_t ms = env_wall_ms(c->door->env);
    char text[24];
    resp_put_array(out, 2);
    resp_put_bulk(out, bytes_of(text, u64_to_text(ms / 1000, text)));
    resp_put_bulk(out, bytes_of(text, u64_to_text(ms % 1000 * 1000, text)));
}

void cmd_wait(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    int64_t replicas, timeout_ms;
    if (!bytes_to_i64(argv[1], &replicas)) {
        resp_put_errorf(resp_conn_out(c), "ERR value is not an integer or out of range");
    } else if (!bytes_to_i64(argv[2], &timeout_ms)) {
        resp_put_errorf(resp_conn_out(c), "ERR timeout is not an integer or out of range");
    } else if (timeout_ms < 0) {
        resp_put_errorf(resp_conn_out(c), "ERR timeout is negative");
    } else {
        resp_job_wait(c, command_find(BYTES_LIT("wait")), (uint64_t)MAX(replicas, 0), (uint64_t)timeout_ms);
    }
}

static void upper_case(struct bytes in, char *out, size_t max)
{
    size_t n = MIN(in.n, max - 1);
    for (size_t i = 0; i < n; i++) out[i] = (char)(in.p[i] >= 'a' && in.p[i] <= 'z' ? in.p[i] - 32 : in.p[i]);
    out[n] = 0;
}

/* <container> HELP: the sub-commands it has. */
void cmd_help(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    const struct command *container = command_find(argv[0]);
    struct buf *out = resp_conn_out(c);
    struct buf lines = {0};
    char text[64];
    size_t n = strlen(container->name), count = 1;
    upper_case(bytes_str(container->name), text, sizeof text);
    const struct command *cmd;
    for (size_t at = 0; command_each(&at, &cmd);) {
        if (strncmp(cmd->name, container->name, n) != 0 || cmd->name[n] != '|') continue;
        char sub[64];
        upper_case(bytes_str(cmd->name + n + 1), sub, sizeof sub);
        resp_put_simple(&lines, sub);
        count++;
    }
    resp_put_array(out, count);
    buf_printf(out, "+%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n", text);
    buf_put_bytes(out, buf_view(&lines));
    buf_deinit(&lines);
}
