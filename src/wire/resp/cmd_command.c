/* cmd_command.c - COMMAND: what the server says of its commands.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "wire/resp/cmd_door.h"

static bool is_top(const struct command *command)
{
    return strchr(command->name, '|') == NULL;
}

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

static void put_key_spec(struct buf *out, int proto, const struct command *cmd)
{
    bool write = cmd->flags & COMMAND_WRITE;
    struct words flags = {.word = {write ? "RW" : "RO", write ? "update" : "access"}, .n = 2};
    resp_put_set(out, proto, 1);
    resp_put_map(out, proto, 3);
    resp_put_bulk_str(out, "flags");
    put_words(out, proto, &flags);
    resp_put_bulk_str(out, "begin_search");
    resp_put_map(out, proto, 2);
    resp_put_bulk_str(out, "type");
    resp_put_bulk_str(out, "index");
    resp_put_bulk_str(out, "spec");
    resp_put_map(out, proto, 1);
    resp_put_bulk_str(out, "index");
    resp_put_int(out, cmd->key_first);
    resp_put_bulk_str(out, "find_keys");
    resp_put_map(out, proto, 2);
    resp_put_bulk_str(out, "type");
    resp_put_bulk_str(out, "range");
    resp_put_bulk_str(out, "spec");
    resp_put_map(out, proto, 3);
    resp_put_bulk_str(out, "lastkey");
    resp_put_int(out, cmd->key_last < 0 ? cmd->key_last : cmd->key_last - cmd->key_first);
    resp_put_bulk_str(out, "keystep");
    resp_put_int(out, cmd->key_step);
    resp_put_bulk_str(out, "limit");
    resp_put_int(out, 0);
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
    if (cmd->key_first > 0) put_key_spec(out, proto, cmd);
    else resp_put_set(out, proto, 0);
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

void cmd_command_getkeys(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    struct buf ignored = {0};
    size_t first, last, step;
    const struct command *cmd = command_find(argv[2]);
    if (cmd == NULL) {
        resp_put_errorf(out, "ERR Invalid command specified");
        return;
    }
    cmd = resp_command_lookup(argv + 2, argc - 2, &ignored);
    buf_deinit(&ignored);
    if (cmd == NULL) {
        resp_put_errorf(out, "ERR Invalid number of arguments specified for command");
    } else if (!resp_command_keys(cmd, argc - 2, &first, &last, &step)) {
        resp_put_errorf(out, "ERR The command has no key arguments");
    } else {
        resp_put_array(out, (last - first) / step + 1);
        for (size_t i = first; i <= last; i += step) resp_put_bulk(out, argv[2 + i]);
    }
}

/* COMMAND is a container that also runs alone. */
void cmd_command(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    put_all(c);
}
