/* cmd_command.c - COMMAND: what the server says of its commands.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "wire/resp/cmd_door.h"

static bool is_top(const struct command *command) { return strchr(command->name, '|') == NULL; }

static bool in_array(const struct command *array, const struct command *command)
{
    for (; array->name != NULL; array++)
        if (array == command) return true;
    return false;
}

static const char *group_of(const struct command *command)
{
    if (in_array(commands_string, command)) return "string";
    if (in_array(commands_bit, command)) return "bitmap";
    if (in_array(commands_hash, command)) return "hash";
    if (in_array(commands_key, command)) return "generic";
    static const char *const transactions[] = {"multi", "exec", "discard", "watch", "unwatch"};
    for (size_t i = 0; i < ARRAY_COUNT(transactions); i++)
        if (strcmp(command->name, transactions[i]) == 0) return "transactions";
    if (strncmp(command->name, "cluster", 7) == 0 || strcmp(command->name, "asking") == 0 ||
        strncmp(command->name, "read", 4) == 0)
        return "cluster";
    if (strncmp(command->name, "command", 7) == 0 || strncmp(command->name, "config", 6) == 0 ||
        strcmp(command->name, "info") == 0 || strcmp(command->name, "time") == 0)
        return "server";
    return "connection";
}

/* Words into a set: first they are counted. */
struct words {
    const char *word[12];
    size_t n;
};

static void put_words(struct buf *out, int proto, const struct words *w)
{
    resp_put_set(out, proto, w->n);
    for (size_t i = 0; i < w->n; i++) resp_put_simple(out, w->word[i]);
}

/* ---- what commands do with their keys, in Redis's words ---- */

enum key_flags { RO = 1, RW = 2, OW = 4, RM = 8, ACCESS = 16, UPDATE = 32, INSERT = 64, DELETE = 128, VARIABLE = 256 };
static const char *const key_flag_names[] = {
    "RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "variable_flags"};

static const struct key_use {
    const char *name;
    uint16_t first, others; /* others: of the second key on; 0: the same */
    const char *notes;      /* NULL: none */
} key_uses[] = {
    {"append", RW | INSERT, 0, NULL},
    {"bitfield", RW | ACCESS | UPDATE | VARIABLE, 0, "This command allows both access and modification of the key"},
    {"bitop", OW | UPDATE, RO | ACCESS, NULL},
    {"copy", RO | ACCESS, OW | UPDATE, NULL},
    {"decr", RW | ACCESS | UPDATE, 0, NULL},
    {"decrby", RW | ACCESS | UPDATE, 0, NULL},
    {"del", RM | DELETE, 0, NULL},
    {"exists", RO, 0, NULL},
    {"getdel", RW | ACCESS | DELETE, 0, NULL},
    {"getex", RW | ACCESS | UPDATE, 0, "RW and UPDATE because it changes the TTL"},
    {"getset", RW | ACCESS | UPDATE, 0, NULL},
    {"hdel", RW | DELETE, 0, NULL},
    {"hexists", RO, 0, NULL},
    {"hincrby", RW | ACCESS | UPDATE, 0, NULL},
    {"hincrbyfloat", RW | ACCESS | UPDATE, 0, NULL},
    {"hlen", RO, 0, NULL},
    {"hsetnx", RW | INSERT, 0, NULL},
    {"hstrlen", RO, 0, NULL},
    {"incr", RW | ACCESS | UPDATE, 0, NULL},
    {"incrby", RW | ACCESS | UPDATE, 0, NULL},
    {"incrbyfloat", RW | ACCESS | UPDATE, 0, NULL},
    {"mset", OW | UPDATE, 0, NULL},
    {"msetnx", OW | INSERT, 0, NULL},
    {"object|encoding", RO, 0, NULL},
    {"object|freq", RO, 0, NULL},
    {"object|idletime", RO, 0, NULL},
    {"object|refcount", RO, 0, NULL},
    {"psetex", OW | UPDATE, 0, NULL},
    {"rename", RW | ACCESS | DELETE, OW | UPDATE, NULL},
    {"renamenx", RW | ACCESS | DELETE, OW | INSERT, NULL},
    {"set", RW | ACCESS | UPDATE | VARIABLE, 0, "RW and ACCESS due to the optional `GET` argument"},
    {"setbit", RW | ACCESS | UPDATE, 0, NULL},
    {"setex", OW | UPDATE, 0, NULL},
    {"setnx", OW | INSERT, 0, NULL},
    {"sort", RO | ACCESS, 0, NULL},
    {"strlen", RO, 0, NULL},
    {"touch", RO, 0, NULL},
    {"type", RO, 0, NULL},
    {"unlink", RM | DELETE, 0, NULL},
    {"watch", RO, 0, NULL},
};

static struct key_use key_use_of(const struct command *cmd)
{
    for (size_t i = 0; i < ARRAY_COUNT(key_uses); i++)
        if (strcmp(cmd->name, key_uses[i].name) == 0) return key_uses[i];
    bool write = cmd->flags & COMMAND_WRITE;
    return (struct key_use){.name = cmd->name, .first = write ? RW | UPDATE : RO | ACCESS};
}

static void put_key_flags(struct buf *out, int proto, uint16_t flags)
{
    struct words words = {0};
    for (size_t i = 0; i < ARRAY_COUNT(key_flag_names); i++)
        if (flags & (1u << i)) words.word[words.n++] = key_flag_names[i];
    put_words(out, proto, &words);
}

/* The keys from argument `first` to `last` (as in struct command). */
static void put_key_spec(struct buf *out, int proto, uint16_t flags, const char *notes, int first, int last, int step)
{
    resp_put_map(out, proto, notes != NULL ? 4 : 3);
    if (notes != NULL) {
        resp_put_bulk_str(out, "notes");
        resp_put_bulk_str(out, notes);
    }
    resp_put_bulk_str(out, "flags");
    put_key_flags(out, proto, flags);
    resp_put_bulk_str(out, "begin_search");
    resp_put_map(out, proto, 2);
    resp_put_bulk_str(out, "type");
    resp_put_bulk_str(out, "index");
    resp_put_bulk_str(out, "spec");
    resp_put_map(out, proto, 1);
    resp_put_bulk_str(out, "index");
    resp_put_int(out, first);
    resp_put_bulk_str(out, "find_keys");
    resp_put_map(out, proto, 2);
    resp_put_bulk_str(out, "type");
    resp_put_bulk_str(out, "range");
    resp_put_bulk_str(out, "spec");
    resp_put_map(out, proto, 3);
    resp_put_bulk_str(out, "lastkey");
    resp_put_int(out, last < 0 ? last : last - first);
    resp_put_bulk_str(out, "keystep");
    resp_put_int(out, step);
    resp_put_bulk_str(out, "limit");
    resp_put_int(out, 0);
}

static void put_key_specs(struct buf *out, int proto, const struct command *cmd)
{
    struct key_use use = key_use_of(cmd);
    if (cmd->key_first <= 0) {
        resp_put_set(out, proto, 0);
    } else if (use.others == 0) {
        resp_put_set(out, proto, 1);
        put_key_spec(out, proto, use.first, use.notes, cmd->key_first, cmd->key_last, cmd->key_step);
    } else {
        resp_put_set(out, proto, 2);
        put_key_spec(out, proto, use.first, use.notes, cmd->key_first, cmd->key_first, cmd->key_step);
        put_key_spec(out, proto, use.others, NULL, cmd->key_first + 1, cmd->key_last, cmd->key_step);
    }
}

static void put_info(struct buf *out, int proto, const struct command *cmd)
{
    struct words flags = {0}, categories = {0};
    char group[32];
    if (cmd->flags & COMMAND_WRITE) flags.word[flags.n++] = "write";
    if (cmd->flags & COMMAND_READONLY) flags.word[flags.n++] = "readonly";
    if (cmd->flags & COMMAND_ADMIN) flags.word[flags.n++] = "admin";
    if (cmd->flags & COMMAND_FAST) flags.word[flags.n++] = "fast";
    if (cmd->flags & COMMAND_NO_MULTI || cmd->scope == SCOPE_ALL) flags.word[flags.n++] = "no_multi";
    if (cmd->flags & COMMAND_WRITE) categories.word[categories.n++] = "@write";
    if (cmd->flags & COMMAND_READONLY) categories.word[categories.n++] = "@read";
    if (cmd->flags & COMMAND_ADMIN) categories.word[categories.n++] = "@admin";
    categories.word[categories.n++] = cmd->flags & COMMAND_FAST ? "@fast" : "@slow";
    snprintf(group, sizeof group, "@%s", strcmp(group_of(cmd), "generic") == 0 ? "keyspace" : group_of(cmd));
    categories.word[categories.n++] = group;

    resp_put_array(out, 10);
    resp_put_bulk_str(out, cmd->name);
    resp_put_int(out, cmd->arity);
    put_words(out, proto, &flags);
    resp_put_int(out, cmd->key_first);
    resp_put_int(out, cmd->key_last);
    resp_put_int(out, cmd->key_step);
    put_words(out, proto, &categories);
    resp_put_set(out, proto, 0); /* tips */
    put_key_specs(out, proto, cmd);
    size_t n = strlen(cmd->name), subs = 0, at = 0;
    const struct command *sub;
    while (command_each(&at, &sub))
        if (is_top(cmd) && strncmp(sub->name, cmd->name, n) == 0 && sub->name[n] == '|') subs++;
    resp_put_set(out, proto, subs);
    for (at = 0; subs != 0 && command_each(&at, &sub);)
        if (strncmp(sub->name, cmd->name, n) == 0 && sub->name[n] == '|') put_info(out, proto, sub);
}

static size_t count_top(void)
{
    size_t at = 0, n = 0;
    const struct command *cmd;
    while (command_each(&at, &cmd)) n += is_top(cmd);
    return n;
}

static void put_all(struct resp_conn *c)
{
    struct buf *out = resp_conn_out(c);
    size_t at = 0;
    const struct command *cmd;
    resp_put_array(out, count_top());
    while (command_each(&at, &cmd))
        if (is_top(cmd)) put_info(out, c->proto, cmd);
}

void cmd_command_count(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_int(resp_conn_out(c), (int64_t)count_top());
}

void cmd_command_info(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    if (argc == 2) {
        put_all(c);
        return;
    }
    struct buf *out = resp_conn_out(c);
    resp_put_array(out, argc - 2);
    for (size_t i = 2; i < argc; i++) {
        const struct command *cmd = command_find(argv[i]);
        if (cmd != NULL) put_info(out, c->proto, cmd);
        else resp_put_nil(out, c->proto);
    }
}

static void put_doc(struct buf *out, int proto, const struct command *cmd)
{
    resp_put_bulk_str(out, cmd->name);
    resp_put_map(out, proto, 1);
    resp_put_bulk_str(out, "group");
    resp_put_bulk_str(out, group_of(cmd));
}

void cmd_command_docs(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    struct buf docs = {0};
    size_t at = 0, n = 0;
    const struct command *cmd;
    while (argc == 2 && command_each(&at, &cmd)) {
        if (!is_top(cmd)) continue;
        put_doc(&docs, c->proto, cmd);
        n++;
    }
    for (size_t i = 2; i < argc; i++) {
        if ((cmd = command_find(argv[i])) == NULL) continue;
        put_doc(&docs, c->proto, cmd);
        n++;
    }
    resp_put_map(out, c->proto, n);
    buf_put_bytes(out, buf_view(&docs));
    buf_deinit(&docs);
}

static bool in_category(const struct command *cmd, struct bytes category)
{
    if (bytes_equal_nocase(category, "write")) return cmd->flags & COMMAND_WRITE;
    if (bytes_equal_nocase(category, "read")) return cmd->flags & COMMAND_READONLY;
    if (bytes_equal_nocase(category, "admin")) return cmd->flags & COMMAND_ADMIN;
    if (bytes_equal_nocase(category, "fast")) return cmd->flags & COMMAND_FAST;
    if (bytes_equal_nocase(category, "slow")) return !(cmd->flags & COMMAND_FAST);
    if (bytes_equal_nocase(category, "keyspace")) return strcmp(group_of(cmd), "generic") == 0;
    return bytes_equal_nocase(category, group_of(cmd));
}

void cmd_command_list(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    enum { BY_NOTHING, BY_MODULE, BY_ACLCAT, BY_PATTERN, BY_ERROR } by = BY_NOTHING;
    if (argc != 2) {
        by = BY_ERROR;
        if (argc == 5 && bytes_equal_nocase(argv[2], "filterby")) {
            if (bytes_equal_nocase(argv[3], "module")) by = BY_MODULE;
            if (bytes_equal_nocase(argv[3], "aclcat")) by = BY_ACLCAT;
            if (bytes_equal_nocase(argv[3], "pattern")) by = BY_PATTERN;
        }
    }
    struct buf *out = resp_conn_out(c);
    if (by == BY_ERROR) {
        resp_put_errorf(out, "ERR syntax error");
        return;
    }
    struct buf names = {0};
    size_t at = 0, n = 0;
    const struct command *cmd;
    while (command_each(&at, &cmd)) {
        if (by == BY_MODULE) continue;
        if (by == BY_ACLCAT && !in_category(cmd, argv[4])) continue;
        if (by == BY_PATTERN && !resp_glob(argv[4], bytes_str(cmd->name))) continue;
        resp_put_bulk_str(&names, cmd->name);
        n++;
    }
    resp_put_array(out, n);
    buf_put_bytes(out, buf_view(&names));
    buf_deinit(&names);
}

/* What SET and BITFIELD do with their key depends on their options. */
static uint16_t key_flags_of(const struct command *cmd, const struct bytes *argv, size_t argc, size_t key)
{
    struct key_use use = key_use_of(cmd);
    uint16_t flags = key > 0 && use.others != 0 ? use.others : use.first;
    if (!(flags & VARIABLE)) return flags;
    if (strcmp(cmd->name, "set") == 0) {
        for (size_t i = 3; i < argc; i++)
            if (bytes_equal_nocase(argv[i], "get")) return RW | ACCESS | UPDATE;
        return OW | UPDATE;
    }
    for (size_t i = 2; i < argc; i++) /* BITFIELD: each GET has two arguments */
        if (!bytes_equal_nocase(argv[i], "get")) return RW | ACCESS | UPDATE;
        else i += 2;
    return RO | ACCESS;
}

static void put_key(struct buf *out, int proto, bool with_flags, struct bytes key, uint16_t flags)
{
    if (with_flags) resp_put_array(out, 2);
    resp_put_bulk(out, key);
    if (with_flags) put_key_flags(out, proto, flags);
}

/* The key that SORT stores to: the last STORE counts. */
static const struct bytes *sort_store_key(const struct command *cmd, const struct bytes *argv, size_t argc)
{
    const struct bytes *found = NULL;
    if (strcmp(cmd->name, "sort") != 0) return NULL;
    for (size_t i = 2; i < argc; i++) {
        if (bytes_equal_nocase(argv[i], "limit")) i += 2;
        else if (bytes_equal_nocase(argv[i], "get") || bytes_equal_nocase(argv[i], "by")) i++;
        else if (bytes_equal_nocase(argv[i], "store") && i + 1 < argc) found = &argv[++i];
    }
    return found;
}

static void get_keys(struct resp_conn *c, const struct bytes *argv, size_t argc, bool with_flags)
{
    struct buf *out = resp_conn_out(c);
    struct buf ignored = {0};
    size_t first, last, step;
    const struct command *cmd = command_find(argv[0]);
    if (cmd == NULL) {
        resp_put_errorf(out, "ERR Invalid command specified");
        return;
    }
    cmd = resp_command_lookup(argv, argc, &ignored);
    buf_deinit(&ignored);
    if (cmd == NULL) {
        resp_put_errorf(out, "ERR Invalid number of arguments specified for command");
    } else if (!resp_command_keys(cmd, argc, &first, &last, &step)) {
        resp_put_errorf(out, "ERR The command has no key arguments");
    } else {
        const struct bytes *store = sort_store_key(cmd, argv, argc);
        resp_put_array(out, (last - first) / step + 1 + (store != NULL));
        for (size_t i = first; i <= last; i += step)
            put_key(out, c->proto, with_flags, argv[i], key_flags_of(cmd, argv, argc, (i - first) / step));
        if (store != NULL) put_key(out, c->proto, with_flags, *store, OW | UPDATE);
    }
}

void cmd_command_getkeys(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    get_keys(c, argv + 2, argc - 2, false);
}

void cmd_command_getkeysandflags(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    get_keys(c, argv + 2, argc - 2, true);
}

/* COMMAND is a container that also runs alone. */
void cmd_command(struct resp_conn *c, const struct bytes *argv, size_t argc) { put_all(c); }
