/* cmd_client.c - CLIENT and its sub-commands.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They see the connections of their own door, that is, of one shard of the node. */
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

static bool id_listed(const struct bytes *ids, size_t n, uint64_t id)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v;
        if (bytes_to_u64(ids[i], &v) && v == id) return true;
    }
    return false;
}

void cmd_client_list(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    int type = 1;
    const struct bytes *ids = NULL;
    if (argc == 4 && bytes_equal_nocase(argv[2], "type")) {
        type = client_type(argv[3]);
        if (type == 0) {
            unknown_type(out, argv[3]);
            return;
        }
    } else if (argc > 3 && bytes_equal_nocase(argv[2], "id")) {
        ids = argv + 3;
        for (size_t i = 3; i < argc; i++) {
            int64_t v;
            if (bytes_to_i64(argv[i], &v)) continue;
            resp_put_errorf(out, "ERR Invalid client ID");
            return;
        }
    } else if (argc != 2) {
        resp_put_errorf(out, SYNTAX);
        return;
    }
    struct buf text = {0};
    for (struct link *k = list_first(&c->door->conns); k != NULL; k = list_next(&c->door->conns, k)) {
        struct resp_conn *other = CONTAINER_OF(k, struct resp_conn, link);
        if (type == 1 && (ids == NULL || id_listed(ids, argc - 3, other->id))) resp_conn_describe(other, &text);
    }
    resp_put_verbatim(out, c->proto, buf_view(&text));
    buf_deinit(&text);
}

struct kill_filter {
    const struct bytes *addr, *laddr;
    uint64_t id; /* 0: any */
    int type;    /* as client_type; 1: any */
    bool skip_me;
};

static bool kill_matches(const struct kill_filter *f, const struct resp_conn *c, const struct resp_conn *me)
{
    if (f->addr != NULL && !bytes_equal(*f->addr, bytes_str(env_stream_peer(c->stream)))) return false;
    if (f->laddr != NULL && !bytes_equal(*f->laddr, bytes_str(c->door->config.laddr))) return false;
    if (f->id != 0 && f->id != c->id) return false;
    return f->type == 1 && !(c == me && f->skip_me) && !c->kill;
}

/* Parses the filters of the new form; false: the error is written. */
static bool kill_parse(const struct bytes *argv, size_t argc, struct kill_filter *f, struct buf *out)
{
    if (argc % 2 != 0) goto syntax;
    for (size_t i = 2; i < argc; i += 2) {
        const struct bytes *value = &argv[i + 1];
        if (bytes_equal_nocase(argv[i], "id")) {
            if (bytes_to_u64(*value, &f->id) && f->id != 0) continue;
            resp_put_errorf(out, "ERR client-id should be greater than 0");
            return false;
        } else if (bytes_equal_nocase(argv[i], "type")) {
            f->type = client_type(*value);
            if (f->type != 0) continue;
            unknown_type(out, *value);
            return false;
        } else if (bytes_equal_nocase(argv[i], "addr")) {
            f->addr = value;
        } else if (bytes_equal_nocase(argv[i], "laddr")) {
            f->laddr = value;
        } else if (bytes_equal_nocase(argv[i], "user")) {
            if (bytes_equal(*value, BYTES_LIT("default"))) continue;
            resp_put_errorf(out, "ERR No such user '%.*s'", (int)MIN(value->n, 128), (const char *)value->p);
            return false;
        } else if (bytes_equal_nocase(argv[i], "skipme")) {
            if (!bytes_equal_nocase(*value, "yes") && !bytes_equal_nocase(*value, "no")) goto syntax;
            f->skip_me = bytes_equal_nocase(*value, "yes");
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
    struct buf *out = resp_conn_out(c);
    struct kill_filter f = {.type = 1, .skip_me = true};
    int64_t killed = 0;
    bool old_form = argc == 3;
    if (old_form) {
        f.addr = &argv[2];
        f.skip_me = false;
    } else if (!kill_parse(argv, argc, &f, out)) {
        return;
    }
    for (struct link *k = list_first(&c->door->conns); k != NULL; k = list_next(&c->door->conns, k)) {
        struct resp_conn *other = CONTAINER_OF(k, struct resp_conn, link);
        if (!kill_matches(&f, other, c)) continue;
        killed++;
        c->door->stats.killed++;
        if (other == c) {
            c->hang_up = true; /* after this reply */
        } else {
            other->kill = true;
            resp_conn_wake(other);
        }
        if (old_form) break;
    }
    if (!old_form) resp_put_int(out, killed);
    else if (killed != 0) resp_put_ok(out);
    else resp_put_errorf(out, "ERR No such client");
}

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

void cmd_client_unpause(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_ok(resp_conn_out(c));
}
