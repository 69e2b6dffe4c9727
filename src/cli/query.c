/* query.c - cairn query: one Redis command.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/reply.h"
#include "cli/resp_client.h"
#include "env/real.h"

static struct {
    const char *address;
    uint64_t timeout_ns;
    bool raw;
} options;
static const struct cli_option option_table[] = {
    {"address", CLI_ADDRESS, &options.address, "HOST:PORT", "of any node [" DEFAULT_ADDRESS "]", 0, 0},
    {"timeout", CLI_DURATION, &options.timeout_ns, "TIME", "how long to wait for the reply [10s]", NS_PER_MS, 0},
    {"raw", CLI_FLAG, &options.raw, NULL, "prints a string reply as it is, without quotes", 0, 0},
};
void query_help(void)
{
    cli_options_help(option_table, ARRAY_COUNT(option_table));
    printf("\nThe exit code is 1 if the reply is an error. Example: cairn query HGETALL package:bash\n");
}

struct query {
    struct env_loop *loop;
    struct resp_client client;
    struct env_timer timer;
    struct buf text;
    int code;
};

static void on_reply(struct resp_client *c, struct bytes reply)
{
    struct query *q = c->ctx;
    struct reply_part part;
    if (reply_part(reply, &part) == REPLY_WHOLE && options.raw && part.count == 0 && !part.nil && part.type != '-') {
        buf_put_bytes(&q->text, part.text);
        buf_put_u8(&q->text, '\n');
    } else {
        reply_print(reply, &q->text);
    }
    q->code = reply.p[0] == '-' || reply.p[0] == '!' ? EXIT_FAILED : EXIT_OK;
    env_real_loop_stop(q->loop);
}

static void on_failed(struct resp_client *c, const char *why)
{
    struct query *q = c->ctx;
    cli_error("no reply from %s: %s", options.address, why);
    env_real_loop_stop(q->loop);
}

static void on_timer(struct env_timer *timer)
{
    struct query *q = CONTAINER_OF(timer, struct query, timer);
    cli_error("no reply from %s in time", options.address);
    env_real_loop_stop(q->loop);
}

/* Options stand before the command; its own words may begin with --. */
static int words_at(int argc, char **argv)
{
    int at = 1;
    while (at < argc && strncmp(argv[at], "--", 2) == 0) {
        if (strcmp(argv[at], "--") == 0) return at + 1;
        at += strchr(argv[at], '=') != NULL || strcmp(argv[at], "--raw") == 0 ? 1 : 2;
    }
    return at < argc ? at : argc;
}

int query_main(int argc, char **argv)
{
    struct query q = {.code = EXIT_FAILED};
    int first = words_at(argc, argv), own = first;
    options.address = DEFAULT_ADDRESS;
    options.timeout_ns = 10 * NS_PER_S;
    options.raw = false;
    if (!cli_options(option_table, ARRAY_COUNT(option_table), &own, argv, 0)) return EXIT_USAGE;
    if (first >= argc) {
        cli_error("say what to send, for example: cairn query PING");
        return EXIT_USAGE;
    }
    struct env *env = env_real_new();
    q.loop = env_real_loop_new(env);
    q.client = (struct resp_client){.reply = on_reply, .failed = on_failed, .ctx = &q};
    command_begin(&q.client.out, (size_t)(argc - first));
    for (int i = first; i < argc; i++) command_word(&q.client.out, bytes_str(argv[i]));
    resp_client_open(&q.client, q.loop, options.address);
    resp_client_flush(&q.client);
    env_timer_init(q.loop, &q.timer, on_timer);
    env_timer_start(&q.timer, options.timeout_ns);
    env_real_loop_run(q.loop);
    env_timer_stop(&q.timer);
    resp_client_close(&q.client);
    env_real_loop_free(q.loop);
    env_real_free(env);
    if (q.text.n != 0) fwrite(q.text.p, 1, q.text.n, stdout);
    buf_deinit(&q.text);
    return q.code;
}
