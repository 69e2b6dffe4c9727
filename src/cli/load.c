/* load.c - cairn load: records of a file become hashes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each record is HSET <prefix><its Package field> with all of its fields. A few connections each keep a window of
 * commands under way, so the load goes as fast as the cluster takes it and no faster. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/deb822.h"
#include "cli/reply.h"
#include "cli/resp_client.h"
#include "env/real.h"

#define CONNECTIONS 4
#define WINDOW      128 /* commands under way of a connection */
#define READ_BYTES  (256u << 10)
#define PROGRESS_NS (100 * NS_PER_MS)
#define LINE_NS     (5 * NS_PER_S) /* where there is no terminal: a line this often */

static struct {
    const char *address, *file, *prefix;
} options;
static const struct cli_option option_table[] = {
    {"deb822", CLI_TEXT, &options.file, "FILE",
     "records of 'Name: value' lines apart by empty ones; - is the standard input", 0, 0},
    {"address", CLI_ADDRESS, &options.address, "HOST:PORT", "of any node [" DEFAULT_ADDRESS "]", 0, 0},
    {"prefix", CLI_TEXT, &options.prefix, "TEXT", "before each key [package:]", 0, 0},
};
void load_help(void)
{
    cli_options_help(option_table, ARRAY_COUNT(option_table));
    printf("\nExample: apt-cache dumpavail | cairn load --deb822 -\n");
}

struct loader {
    struct env *env;
    struct env_loop *loop;
    struct env_timer progress;
    struct resp_client clients[CONNECTIONS];
    unsigned under_way[CONNECTIONS];
    int fd;
    struct buf text;
    size_t text_at;
    struct deb822_record record;
    bool last, done, failed;
    uint64_t size, taken; /* bytes; size 0: not known */
    uint64_t started_ns, line_ns;
    uint64_t sent, stored, errors, skipped;
    char first_error[200];
    bool terminal;
};

/* ---- the file ---- */

static bool stop_with(struct loader *l)
{
    l->failed = l->done = true;
    env_real_loop_stop(l->loop);
    return false;
}

static bool read_more(struct loader *l)
{
    buf_consume(&l->text, l->text_at);
    l->text_at = 0;
    uint8_t *room = buf_extend(&l->text, READ_BYTES);
    ssize_t n;
    do n = read(l->fd, room, READ_BYTES);
    while (n < 0 && errno == EINTR);
    l->text.n -= READ_BYTES - (n > 0 ? (size_t)n : 0);
    l->last = n == 0;
    if (n >= 0) return true;
    cli_error("can't read '%s': %s", options.file, strerror(errno));
    return stop_with(l);
}

/* The next record into l->record; false: there is none, or a fault. */
static bool next_record(struct loader *l)
{
    struct error err = {0};
    size_t size = 0;
    for (;;) {
        struct bytes rest = bytes_of(l->text.p + l->text_at, l->text.n - l->text_at);
        enum status st = deb822_next(rest, l->last, &l->record, &size, &err);
        if (st == ST_OK) {
            l->text_at += size;
            l->taken += size;
            return l->record.count != 0;
        }
        if (st != ST_NOT_READY) {
            cli_error("'%s', after byte %llu: %s", options.file, (unsigned long long)l->taken, err.text);
            return stop_with(l);
        }
        if (!read_more(l)) return false;
    }
}

/* ---- commands ---- */

static void finish_if_done(struct loader *l)
{
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (l->under_way[i] != 0) return;
    if (l->done) env_real_loop_stop(l->loop);
}

static void fill(struct loader *l, unsigned at)
{
    struct buf key = {0};
    struct resp_client *c = &l->clients[at];
    while (!l->done && l->under_way[at] < WINDOW) {
        if (!next_record(l)) {
            l->done = true;
            break;
        }
        struct bytes name = deb822_field(&l->record, "package");
        if (name.n == 0) {
            l->skipped++;
            continue;
        }
        buf_clear(&key);
        buf_put_bytes(&key, bytes_str(options.prefix));
        buf_put_bytes(&key, name);
        command_begin(&c->out, 2 + 2 * l->record.count);
        command_word(&c->out, BYTES_LIT("HSET"));
        command_word(&c->out, buf_view(&key));
        for (size_t i = 0; i < l->record.count; i++) {
            command_word(&c->out, l->record.fields[i].name);
            command_word(&c->out, l->record.fields[i].value);
        }
        l->under_way[at]++;
        l->sent++;
    }
    buf_deinit(&key);
    resp_client_flush(c);
    finish_if_done(l);
}

static void on_reply(struct resp_client *c, struct bytes reply)
{
    struct loader *l = c->ctx;
    struct reply_part part;
    l->under_way[c - l->clients]--;
    if (reply.p[0] == ':') {
        l->stored++;
        return;
    }
    if (l->errors++ != 0 || reply_part(reply, &part) != REPLY_WHOLE) return;
    snprintf(l->first_error, sizeof l->first_error, "%.*s", (int)MIN(part.text.n, sizeof l->first_error - 1),
             (const char *)part.text.p);
}

static void on_turn(struct resp_client *c)
{
    struct loader *l = c->ctx;
    fill(l, (unsigned)(c - l->clients));
}

static void on_failed(struct resp_client *c, const char *why)
{
    struct loader *l = c->ctx;
    if (l->failed) return;
    if (l->terminal) fprintf(stderr, "\n");
    cli_error("%s: %s", options.address, why);
    stop_with(l);
}

/* ---- progress ---- */

static void print_progress(struct loader *l, bool end)
{
    char stored[32], rate[32], bar[31];
    uint64_t now = env_now_ns(l->env);
    double seconds = (double)(now - l->started_ns) / 1e9, share = 0;
    cli_thousands(l->stored, stored);
    cli_thousands((uint64_t)((double)l->stored / (seconds > 0 ? seconds : 1)), rate);
    if (l->size != 0) share = MIN((double)l->taken / (double)l->size, 1.0);
    if (!l->terminal) {
        if (end || now - l->line_ns < LINE_NS) return;
        l->line_ns = now;
        if (l->size != 0) fprintf(stderr, "%3d%%  ", (int)(share * 100));
        fprintf(stderr, "%s records, %s/s\n", stored, rate);
        return;
    }
    for (int i = 0; i < 30; i++) bar[i] = i < (int)(share * 30) ? '#' : '.';
    bar[30] = 0;
    if (l->size != 0) fprintf(stderr, "\r[%s] %3d%%  %s records, %s/s  ", bar, (int)(share * 100), stored, rate);
    else fprintf(stderr, "\r%s records, %s/s  ", stored, rate);
    if (end) fprintf(stderr, "\n");
}

static void on_progress(struct env_timer *timer)
{
    struct loader *l = CONTAINER_OF(timer, struct loader, progress);
    print_progress(l, false);
    env_timer_start(timer, PROGRESS_NS);
}

/* ---- the command ---- */

static int report(struct loader *l)
{
    char stored[32], rate[32], took[32], bytes[32];
    uint64_t ns = env_now_ns(l->env) - l->started_ns;
    print_progress(l, true);
    if (l->failed) return EXIT_FAILED;
    cli_thousands(l->stored, stored);
    cli_thousands((uint64_t)((double)l->stored * 1e9 / (double)(ns != 0 ? ns : 1)), rate);
    printf("%s records (%s) stored in %s: %s a second\n", stored, cli_bytes(l->taken, bytes), cli_time(ns, took), rate);
    if (l->skipped != 0) printf("%llu records without a Package field were left out\n", (unsigned long long)l->skipped);
    if (l->errors == 0) return EXIT_OK;
    cli_error("%llu records were refused; the first answer: %s", (unsigned long long)l->errors, l->first_error);
    return EXIT_FAILED;
}

static bool open_file(struct loader *l)
{
    struct stat s;
    l->fd = strcmp(options.file, "-") == 0 ? STDIN_FILENO : open(options.file, O_RDONLY | O_CLOEXEC);
    if (l->fd >= 0 && fstat(l->fd, &s) == 0 && S_ISREG(s.st_mode)) l->size = (uint64_t)s.st_size;
    if (l->fd < 0) cli_error("can't open '%s': %s", options.file, strerror(errno));
    return l->fd >= 0;
}

int load_main(int argc, char **argv)
{
    static struct loader l; /* its record is large */
    options.address = DEFAULT_ADDRESS;
    options.prefix = "package:";
    options.file = NULL;
    if (!cli_options(option_table, ARRAY_COUNT(option_table), &argc, argv, 0)) return EXIT_USAGE;
    if (options.file == NULL) {
        cli_error("say what to load: cairn load --deb822 FILE, or - for the standard input");
        return EXIT_USAGE;
    }
    l = (struct loader){.terminal = isatty(STDERR_FILENO) == 1};
    if (!open_file(&l)) return EXIT_FAILED;
    l.env = env_real_new();
    l.loop = env_real_loop_new(l.env);
    l.started_ns = l.line_ns = env_now_ns(l.env);
    env_timer_init(l.loop, &l.progress, on_progress);
    env_timer_start(&l.progress, PROGRESS_NS);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        l.clients[i] = (struct resp_client){.reply = on_reply, .turn = on_turn, .failed = on_failed, .ctx = &l};
        resp_client_open(&l.clients[i], l.loop, options.address);
    }
    for (unsigned i = 0; i < CONNECTIONS; i++) fill(&l, i);
    env_real_loop_run(l.loop);
    env_timer_stop(&l.progress);
    int code = report(&l);
    for (unsigned i = 0; i < CONNECTIONS; i++) resp_client_close(&l.clients[i]);
    buf_deinit(&l.text);
    env_real_loop_free(l.loop);
    env_real_free(l.env);
    if (l.fd != STDIN_FILENO) close(l.fd);
    return code;
}
