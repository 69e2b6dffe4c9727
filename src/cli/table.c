/* table.c - cairn table: settings of a table.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "node/settings.h"

static struct {
    const char *address;
} options;
static const struct cli_option option_table[] = {
    {"address", CLI_ADDRESS, &options.address, "HOST:PORT", "of any node [" DEFAULT_ADDRESS "]", 0, 0},
};
void table_help(void)
{
    cli_options_help(option_table, ARRAY_COUNT(option_table));
    printf("\nExample: cairn table retention 1h\n");
}

static int set_retention(const char *value)
{
    char path[128];
    struct buf body = {0};
    struct error err = {0};
    snprintf(path, sizeof path, "/api/tables/retention?value=%s", value);
    int status = cli_http(options.address, "POST", path, 10 * NS_PER_S, &body, &err);
    json_t *answer = json_loadb((const char *)body.p, body.n, 0, NULL);
    const char *why = json_string_value(json_object_get(answer, "error"));
    if (status == 200) printf("the default table keeps what is superseded for %s\n", value);
    else if (status == 0)
        cli_error("no node answers at %s (%s): is it running there? --address HOST:PORT asks another one",
                  options.address, err.text);
    else cli_error("%s", why != NULL ? why : "the answer can't be read");
    json_decref(answer);
    buf_deinit(&body);
    return status == 200 ? EXIT_OK : EXIT_FAILED;
}

int table_main(int argc, char **argv)
{
    uint64_t ns;
    options.address = DEFAULT_ADDRESS;
    if (!cli_options(option_table, ARRAY_COUNT(option_table), &argc, argv, 2)) return EXIT_USAGE;
    if (argc == 3 && strcmp(argv[1], "retention") == 0) {
        if (parse_duration_ns(argv[2], &ns)) return set_retention(argv[2]);
        cli_error("'%.40s' is not a time: say 1h, 30m, or 0s", argv[2]);
        return EXIT_USAGE;
    }
    cli_error("say what to do: cairn table retention TIME");
    return EXIT_USAGE;
}
