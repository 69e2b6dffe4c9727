/* cmd_client.c - CLIENT and its sub-commands.
 * SPDX-License-Identifier: Apache-2.0
 *
 * LIST and KILL go round the doors of all shards, and so see all connections of the node. */
#include <stdlib.h>

#include "base/mem.h"
#include "wire/resp/cmd_door.h"
#include "wire/resp/resp_conn.h"

#define SYNTAX "ERR syntax error"

void cmd_client_id(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_int(resp_conn_out(c), (int64_t)c->id);
}

void cmd_client_info(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf text = {0};
    resp_conn_describe(c, &text);
    resp_put_verbatim(resp_conn_out(c), c->proto, buf_view(&text));
    buf_deinit(&text);
}

/* 0: no such type; 1: normal clients, which all are; 2: a type there are none of. */
static int client_type(struct bytes name)
{
    if (bytes_equal_nocase(name, "normal")) return 1;
    return bytes_equal_nocase(name, "master") || bytes_equal_nocase(name, "replica") ||
                   bytes_equal_nocase(name, "slave") || bytes_equal_nocase(name, "pubsub")
               ? 2
               : 0;
}

static void unknown_type(struct buf *out, struct bytes name)
{
    resp_put_errorf(out, "ERR Unknown client type '%.*s'", (int)MIN(name.n, 128), (const char *)name.p);
}

/* ---- LIST and KILL: over all doors of the node ---- */

/* It belongs to the command that waits for it, as a barrier; the connection may be gone before it is back. */
struct client_round {
    struct resp_round round;
    struct resp_cmd *cmd;
    uint64_t me; /* who asked */
    void (*each)(struct client_round *r, struct resp_conn *c);
    void (*reply)(struct client_round *r, struct buf *out, int proto);
    bool enough;
    /* which connections */
    uint64_t *ids; /* NULL: any */
    size_t id_count;
    struct buf addr, laddr;
    bool has_addr, has_laddr, old_form, skip_me, none; /* none: of a type that there are none of */
    /* what came of it */
    struct buf text;
    int64_t killed;
    bool killed_me;
};

static void round_visit(struct resp_round *round, struct resp_door *d)
{
    struct client_round *r = CONTAINER_OF(round, struct client_round, round);
    for (struct link *k = list_first(&d->conns); k != NULL && !r->enough; k = list_next(&d->conns, k))
        r->each(r, CONTAINER_OF(k, struct resp_conn, link));
}

static void round_free(struct client_round *r)
{
    mem_free(r->ids);
    buf_deinit(&r->addr);
    buf_deinit(&r->laddr);
    buf_deinit(&r->text);
    mem_free(r);
}

static void round_done(struct resp_round *round)
{
    struct client_round *r = CONTAINER_OF(round, struct client_round, round);
    struct resp_cmd *cmd = r->cmd;
    if (cmd->conn != NULL) {
        r->reply(r, &cmd->reply, cmd->proto);
        if (r->killed_me) cmd->conn->hang_up = true; /* after this reply */
    }
    round_free(r);
    resp_cmd_done(cmd);
}

static struct client_round *round_new(struct resp_conn *c)
{
    struct client_round *r = mem_zalloc(sizeof *r);
    r->round = (struct resp_round){round_visit, round_done};
    r->me = c->id;
    return r;
}

static void round_start(struct client_round *r, struct resp_conn *c, const char *name)
{
    r->cmd = resp_conn_barrier(c, command_find(bytes_str(name)), false);
    if (r->cmd == NULL) round_free(r);
    else resp_door_go_round(c->door, &r->round);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool id_wanted(const struct client_round *r, uint64_t id)
{
    return r->ids == NULL || bsearch(&id, r->ids, r->id_count, sizeof id, compare_ids) != NULL;
}

static void list_each(struct client_round *r, struct resp_conn *c)
{
    if (!r->none && id_wanted(r, c->id)) resp_conn_describe(c, &r->text);
}

static void list_reply(struct client_round *r, struct buf *out, int proto)
{
    resp_put_verbatim(out, proto, buf_view(&r->text));
}

/* false: the error is written. */
static bool list_parse(struct client_round *r, const struct bytes *argv, size_t argc, struct buf *out)
{
    if (argc == 2) return true;
    if (argc == 4 && bytes_equal_nocase(argv[2], "type")) {
        int type = client_type(argv[3]);
        r->none = type == 2;
        if (type == 0) unknown_type(out, argv[3]);
        return type != 0;
    }
    if (argc < 4 || !bytes_equal_nocase(argv[2], "id")) {
        resp_put_errorf(out, SYNTAX);
        return false;
    }
    r->ids = mem_alloc((argc - 3) * sizeof *r->ids);
    for (size_t i = 3; i < argc; i++) {
        int64_t v;
        if (!bytes_to_i64(argv[i], &v)) {
            resp_put_errorf(out, "ERR Invalid client ID");
            return false;
        }
        r->ids[r->id_count++] = (uint64_t)v;
    }
    qsort(r->ids, r->id_count, sizeof *r->ids, compare_ids);
    return true;
}

void cmd_client_list(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct client_round *r = round_new(c);
    r->each = list_each;
    r->reply = list_reply;
    if (list_parse(r, argv, argc, resp_conn_out(c))) round_start(r, c, "client|list");
    else round_free(r);
}

static void kill_each(struct client_round *r, struct resp_conn *c)
{
    bool me = c->id == r->me;
    if (r->has_addr && !bytes_equal(buf_view(&r->addr), bytes_str(env_stream_peer(c->stream)))) return;
    if (r->has_laddr && !bytes_equal(buf_view(&r->laddr), bytes_str(c->door->config.laddr))) return;
    if (!id_wanted(r, c->id) || r->none || (me && r->skip_me) || c->kill) return;
    r->killed++;
    r->enough = r->old_form;
    c->door->stats.killed++;
    if (me) {
        r->killed_me = true;
    } else {
        c->kill = true;
        resp_conn_wake(c);
    }
}

static void kill_reply(struct client_round *r, struct buf *out, int proto)
{
    if (!r->old_form) resp_put_int(out, r->killed);
    else if (r->killed != 0) resp_put_ok(out);
    else resp_put_errorf(out, "ERR No such client");
}

static void want_text(struct buf *field, bool *has, struct bytes value)
{
    buf_clear(field);
    buf_put_bytes(field, value);
    *has = true;
}

/* Parses the filters of the new form, the last of a kind counts; false: the error is written. */
static bool kill_parse(struct client_round *r, const struct bytes *argv, size_t argc, struct buf *out)
{
    if (argc % 2 != 0) goto syntax;
    for (size_t i = 2; i < argc; i += 2) {
        struct bytes value = argv[i + 1];
        if (bytes_equal_nocase(argv[i], "id")) {
            uint64_t id;
            if (!bytes_to_u64(value, &id) || id == 0 || id > INT64_MAX) {
                resp_put_errorf(out, "ERR client-id should be greater than 0");
                return false;
            }
            if (r->ids == NULL) r->ids = mem_alloc(sizeof id);
            r->ids[0] = id;
            r->id_count = 1;
        } else if (bytes_equal_nocase(argv[i], "type")) {
            int type = client_type(value);
            r->none = type == 2;
            if (type != 0) continue;
            unknown_type(out, value);
            return false;
        } else if (bytes_equal_nocase(argv[i], "addr")) {
            want_text(&r->addr, &r->has_addr, value);
        } else if (bytes_equal_nocase(argv[i], "laddr")) {
            want_text(&r->laddr, &r->has_laddr, value);
        } else if (bytes_equal_nocase(argv[i], "user")) {
            if (bytes_equal(value, BYTES_LIT("default"))) continue;
            resp_put_errorf(out, "ERR No such user '%.*s'", (int)MIN(value.n, 128), (const char *)value.p);
            return false;
        } else if (bytes_equal_nocase(argv[i], "skipme")) {
            if (!bytes_equal_nocase(value, "yes") && !bytes_equal_nocase(value, "no")) goto syntax;
            r->skip_me = bytes_equal_nocase(value, "yes");
        } else {
            goto syntax;
        }
    }
    return true;
syntax:
    resp_put_errorf(out, SYNTAX);
    return false;
}

void cmd_client_kill(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct client_round *r = round_new(c);
    bool good = true;
    r->each = kill_each;
    r->reply = kill_reply;
    r->old_form = argc == 3;
    r->skip_me = !r->old_form;
    if (r->old_form) want_text(&r->addr, &r->has_addr, argv[2]);
    else good = kill_parse(r, argv, argc, resp_conn_out(c));
    if (good) round_start(r, c, "client|kill");
    else round_free(r);
}

/* ---- the connection itself ---- */

void cmd_client_setname(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (!resp_name_valid(argv[2])) {
        resp_put_errorf(resp_conn_out(c), "ERR Client names cannot contain spaces, newlines or special characters.");
        return;
    }
    resp_conn_set_text(&c->name, argv[2]);
    resp_put_ok(resp_conn_out(c));
}

void cmd_client_getname(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (c->name != NULL) resp_put_bulk_str(resp_conn_out(c), c->name);
    else resp_put_nil(resp_conn_out(c), c->proto);
}

/* Of Redis 7.2: client libraries send it unasked. */
void cmd_client_setinfo(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    bool is_name = bytes_equal_nocase(argv[2], "lib-name");
    if (!is_name && !bytes_equal_nocase(argv[2], "lib-ver")) {
        resp_put_errorf(out, "ERR Unrecognized option '%.*s'", (int)MIN(argv[2].n, 128), (const char *)argv[2].p);
    } else if (!resp_name_valid(argv[3])) {
        resp_put_errorf(out, "ERR %s cannot contain spaces, newlines or special characters.",
                        is_name ? "lib-name" : "lib-ver");
    } else {
        resp_conn_set_text(is_name ? &c->lib_name : &c->lib_ver, argv[3]);
        resp_put_ok(out);
    }
}

void cmd_client_reply(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (bytes_equal_nocase(argv[2], "on")) {
        c->reply_off = c->reply_skip = false;
        resp_put_ok(resp_conn_out(c));
    } else if (bytes_equal_nocase(argv[2], "off")) {
        c->reply_off = true;
    } else if (bytes_equal_nocase(argv[2], "skip")) {
        c->reply_skip_next = !c->reply_off;
    } else {
        resp_put_errorf(resp_conn_out(c), SYNTAX);
    }
}

/* NO-EVICT, NO-TOUCH: clients are never evicted and reads touch nothing, so both states are what is asked for. */
void cmd_client_on_off(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (bytes_equal_nocase(argv[2], "on") || bytes_equal_nocase(argv[2], "off")) resp_put_ok(resp_conn_out(c));
    else resp_put_errorf(resp_conn_out(c), SYNTAX);
}

/* Of Valkey 8: unknown capabilities are ignored. "redirect": this client follows MOVED. */
void cmd_client_capa(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    for (size_t i = 2; i < argc; i++)
        if (bytes_equal_nocase(argv[i], "redirect")) c->capa_redirect = true;
    resp_put_ok(resp_conn_out(c));
}

void cmd_client_tracking(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    if (bytes_equal_nocase(argv[2], "on")) resp_put_errorf(out, "ERR CLIENT TRACKING is not supported");
    else if (bytes_equal_nocase(argv[2], "off") && argc == 3) resp_put_ok(out);
    else resp_put_errorf(out, SYNTAX);
}

void cmd_client_trackinginfo(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    resp_put_map(out, c->proto, 3);
    resp_put_bulk_str(out, "flags");
    resp_put_set(out, c->proto, 1);
    resp_put_bulk_str(out, "off");
    resp_put_bulk_str(out, "redirect");
    resp_put_int(out, -1);
    resp_put_bulk_str(out, "prefixes");
    resp_put_array(out, 0);
}

void cmd_client_getredir(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_int(resp_conn_out(c), -1);
}

void cmd_client_caching(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_errorf(resp_conn_out(c),
                    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN "
                    "or OPTOUT mode enabled");
}

void cmd_client_pause(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_errorf(resp_conn_out(c), "ERR CLIENT PAUSE is not supported");
}

void cmd_client_unpause(struct resp_conn *c, const struct bytes *argv, size_t argc) { resp_put_ok(resp_conn_out(c)); }

/* Only WAIT blocks a client, and it has a time limit of its own. */
void cmd_client_unblock(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_errorf(resp_conn_out(c), "ERR CLIENT UNBLOCK is not supported");
}
