/* checkpoint.c - cairn checkpoint, cairn restore: copies of a node's stores, and a new cluster made of one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "env/real.h"
#include "node/checkpoint.h"

#define MAKE_NS (600 * NS_PER_S) /* it flushes first */

static struct {
    const char *address, *from, *data;
} options;
static const struct cli_option checkpoint_options[] = {
    {"address", CLI_ADDRESS, &options.address, "HOST:PORT", "of the node whose stores are meant [" DEFAULT_ADDRESS "]",
     0, 0},
};
static const struct cli_option restore_options[] = {
    {"from", CLI_TEXT, &options.from, "DIR", "a checkpoint: DATA/checkpoints/NAME, or a copy of it", 0, 0},
    {"data", CLI_TEXT, &options.data, "DIR", "the new node's data directory: empty, or not there", 0, 0},
};
void checkpoint_help(void)
{
    cli_options_help(checkpoint_options, ARRAY_COUNT(checkpoint_options));
    printf("\nExample: cairn checkpoint; cairn checkpoint list\n");
}
void restore_help(void)
{
    cli_options_help(restore_options, ARRAY_COUNT(restore_options));
    printf("\nExample: cairn restore --from cairn-data/checkpoints/1700000000000 --data restored\n"
           "         cairn serve --data restored --listen 127.0.0.1:7000\n");
}

static int ask(const char *method)
{
    struct buf body = {0};
    struct error err = {0};
    size_t i;
    json_t *name;
    int status = cli_http(options.address, method, "/api/checkpoints", MAKE_NS, &body, &err);
    json_t *answer = json_loadb((const char *)body.p, body.n, 0, NULL);
    const char *why = json_string_value(json_object_get(answer, "error"));
    const char *dir = json_string_value(json_object_get(answer, "checkpoint"));
    json_t *list = json_object_get(answer, "checkpoints");
    uint64_t half = (uint64_t)json_integer_value(json_object_get(answer, "half"));
    if (status == 0)
        cli_error("no node answers at %s (%s): is it running there? --address HOST:PORT asks another one",
                  options.address, err.text);
    else if (status != 200 || (dir == NULL && list == NULL))
        cli_error("%s", why != NULL ? why : "the answer can't be read");
    else if (dir != NULL) printf("%s\n", dir);
    json_array_foreach(list, i, name) printf("%s\n", json_string_value(name));
    if (half != 0) printf("%" PRIu64 " unfinished: remove what ends in .new\n", half);
    json_decref(answer);
    buf_deinit(&body);
    return status == 200 ? EXIT_OK : EXIT_FAILED;
}

int checkpoint_main(int argc, char **argv)
{
    options.address = DEFAULT_ADDRESS;
    if (!cli_options(checkpoint_options, ARRAY_COUNT(checkpoint_options), &argc, argv, 1)) return EXIT_USAGE;
    if (argc == 1) return ask("POST");
    if (strcmp(argv[1], "list") == 0) return ask("GET");
    cli_error("say what to do: cairn checkpoint, or cairn checkpoint list");
    return EXIT_USAGE;
}

int restore_main(int argc, char **argv)
{
    struct error err = {0};
    struct restore_report report;
    char keys[32], rows[32];
    if (!cli_options(restore_options, ARRAY_COUNT(restore_options), &argc, argv, 0)) return EXIT_USAGE;
    if (options.from == NULL || options.data == NULL) {
        cli_error("say what to restore, and where: cairn restore --from CHECKPOINT --data DIR");
        return EXIT_USAGE;
    }
    struct env *env = env_real_new();
    enum status st = checkpoint_restore(env, options.from, options.data, &report, &err);
    env_real_free(env);
    if (st != ST_OK) {
        cli_error("not restored: %s", err.text);
        return EXIT_FAILED;
    }
    printf("restored %s keys in %" PRIu64
           " partitions, %s rows, all read and checked: a new cluster, of one node. Start it with cairn "
           "serve --data %s\n",
           cli_thousands(report.keys, keys), report.partitions, cli_thousands(report.rows, rows), options.data);
    return EXIT_OK;
}
