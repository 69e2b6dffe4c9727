/* cairn_main.c - the binary: finds the command and runs it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "node/settings.h"
#include "sim/command.h"

/* Read by jemalloc when the process starts; MALLOC_CONF in the environment goes before it. What a store frees it wants again
 * a moment later (a memtable, a batch), and giving pages back makes every other processor of the process drop its
 * translations: it is done late, and by a thread that nobody waits for. */
const char *malloc_conf = "background_thread:true,max_background_threads:1,dirty_decay_ms:30000";

static int help_main(int argc, char **argv);

/* Every command is one row here. */
static const struct cli_command commands[] = {
    {"serve", "[--listen HOST:PORT] [--data DIR] [--join HOST:PORT] …", "runs one node",
     "Without arguments: a cluster of one node on 127.0.0.1:7000, its data in ./cairn-data. Redis clients, HTTP "
     "(/status.json,\n"
     "/metrics, /health) and other nodes all use the one port. SIGINT and SIGTERM stop it in order.",
     serve_main, serve_help},
    {"local", "--nodes N [--port P] [--dir D] [--fresh] [-- SETTING …]", "runs a cluster of N nodes on this machine",
     "Stays in the foreground; Ctrl-C stops all nodes. Run again, it finds its data. Settings after -- go to every "
     "node.",
     local_main, local_help},
    {"status", "[--json] [--address HOST:PORT]", "shows nodes, partitions and health of a cluster", NULL, status_main,
     status_help},
    {"node", "list | remove ID  [--address HOST:PORT]", "lists nodes, or removes one from its cluster",
     "A node that is removed first hands its copies over. It must be up, or others must hold all that it held.",
     node_main, node_help},
    {"table", "retention TIME  [--address HOST:PORT]", "sets how long what was overwritten or deleted is kept",
     "Of the default table. 0s: it is not kept, and what there is goes. It costs disk: every change keeps what was there "
     "before.",
     table_main, table_help},
    {"checkpoint", "[list]  [--address HOST:PORT]", "makes a copy of a node's stores on its disk, or lists them",
     "In DATA/checkpoints/, with hard links to files that never change: it costs little until they would have gone.",
     checkpoint_main, checkpoint_help},
    {"restore", "--from CHECKPOINT --data DIR", "makes the data directory of a new cluster from a checkpoint",
     "Reads and checks every row. The new cluster has one node and its own id; others may join it.", restore_main,
     restore_help},
    {"query", "[--address HOST:PORT] COMMAND [ARGUMENT …]", "sends one Redis command and prints its reply", NULL,
     query_main, query_help},
    {"load", "--deb822 FILE|- [--address HOST:PORT] [--prefix TEXT]", "loads records as hashes", NULL, load_main,
     load_help},
    {"bench", "[--address HOST:PORT,…] [--clients N] [--rate R] …", "measures throughput and latency",
     "Closed loop: every connection keeps --pipeline requests under way. With --rate, open loop: requests start by the "
     "clock\n"
     "whatever the answers do, and latency counts from the moment a request was due, so that waiting is not left out.",
     bench_main, bench_help},
    {"sim", "[--seed S] [--seeds N] [--seconds T] [--nodes N] …",
     "runs clusters in simulation, under faults, and checks them", NULL, sim_main, sim_help},
    {"version", "", "prints the version", NULL, version_main, NULL},
    {"help", "[COMMAND]", "prints this, or a command's help", NULL, help_main, NULL},
};

static const struct cli_command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static const char *next_command(void *ctx, size_t at) { return at < ARRAY_COUNT(commands) ? commands[at].name : NULL; }

static int unknown(const char *name)
{
    const char *near = nearest_word(name, next_command, NULL);
    if (name[0] == '-') {
        cli_error("a command comes before '%s': 'cairn help' lists them; cairn serve %s …, perhaps?", name, name);
        return EXIT_USAGE;
    }
    if (near != NULL) cli_error("there is no command '%s'. Did you mean 'cairn %s'?", name, near);
    else cli_error("there is no command '%s': 'cairn help' lists them", name);
    return EXIT_USAGE;
}

static void help_of(const struct cli_command *c)
{
    printf("cairn %s%s%s\n\n%s\n", c->name, c->arguments[0] != 0 ? " " : "", c->arguments, c->summary);
    if (c->about != NULL) printf("\n%s\n", c->about);
    if (c->more != NULL) {
        printf("\n");
        c->more();
    }
}

static int help_main(int argc, char **argv)
{
    if (argc > 1) {
        const struct cli_command *c = find(argv[1]);
        if (c == NULL) return unknown(argv[1]);
        help_of(c);
        return EXIT_OK;
    }
    printf("cairn %s: a distributed data system in one binary\n\n", CAIRN_VERSION);
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        printf("  cairn %-8s %s\n", commands[i].name, commands[i].summary);
    printf("\n'cairn help COMMAND' says more. To try it: cairn serve, then redis-cli -p 7000\n");
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help_main(0, NULL);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return help_main(0, NULL);
    if (strcmp(argv[1], "--version") == 0) return version_main(argc - 1, argv + 1);
    const struct cli_command *c = find(argv[1]);
    if (c == NULL) return unknown(argv[1]);
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") != 0) continue;
        help_of(c);
        return EXIT_OK;
    }
    int code = c->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 && code == EXIT_OK) {
        cli_error("what it printed could not be written: is the disk full, or the reader gone?");
        code = EXIT_FAILED;
    }
    return code;
}
