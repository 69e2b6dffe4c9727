/* serve.c - cairn serve: one node of a cluster, as a process.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The main thread runs shard 0, one further thread each other shard. A node that can't go on ends the process at once:
 * what it acknowledged is on disk, and its successors do not wait for its farewell. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "env/real.h"
#include "node/settings.h"

#define STOP_NS (20 * NS_PER_S) /* an orderly stop takes no longer */

struct serve {
    struct settings settings;
    struct env *env;
    struct env_loop **loops;
    struct env_thread **threads;
    struct node *node;
    struct env_timer stop_timer;
    uint64_t started_ns;
    bool stopping;
};

void serve_help(void)
{
    const struct setting *row;
    struct settings defaults;
    settings_default(&defaults);
    printf("Settings (a flag --name VALUE wins over CAIRN_NAME in the environment, that over 'name = value' in "
           "--config FILE):\n");
    for (size_t at = 0; setting_each(&at, &row);) {
        char left[64], value[400];
        setting_show(row, &defaults, value, sizeof value);
        bool unset = value[0] == 0 || (row->type == SETTING_NUMBER && setting_number(row, &defaults) < row->min);
        if (row->offset == offsetof(struct settings, join)) snprintf(value, sizeof value, "none: found a cluster");
        else if (row->offset == offsetof(struct settings, advertise))
            snprintf(value, sizeof value, "the one it listens on");
        else if (row->offset == offsetof(struct settings, shards))
            snprintf(value, sizeof value, "the cores, %u here", cli_cores());
        else if (unset && row->unset != NULL) snprintf(value, sizeof value, "%s", row->unset);
        snprintf(left, sizeof left, "--%s %s", row->name, row->argument != NULL ? row->argument : "");
        printf("  %-28s %s [%s]%s\n", left, row->help, value, row->runtime ? " (at run time: CONFIG SET)" : "");
    }
}

/* ---- settings ---- */

static enum status read_file(struct env *env, struct settings *s, struct error *err)
{
    struct env_file *f = NULL;
    struct buf text = {0};
    uint64_t size = 0;
    struct stat is;
    if (stat(s->config, &is) == 0 && !S_ISREG(is.st_mode))
        return error_set(err, ST_INVALID, "--config: '%s' is not a file", s->config); /* a pipe has no size */
    enum status st = env_file_open(env, s->config, ENV_READ, &f, err);
    if (st == ST_OK) st = env_file_size(f, &size, err);
    if (st == ST_OK && size > SETTINGS_FILE_MAX)
        st = error_set(err, ST_INVALID, "'%s' is larger than %u KiB: it is not a file of settings", s->config,
                       SETTINGS_FILE_MAX >> 10);
    if (st == ST_OK && size != 0) st = env_file_read(f, 0, buf_extend(&text, size), size, err);
    env_file_close(f);
    if (st == ST_OK) st = settings_file(s, buf_view(&text), s->config, err);
    buf_deinit(&text);
    return st;
}

/* File, environment, flags, the later winning; the first look is only for --config. */
static enum status read_settings(struct env *env, int argc, char **argv, struct settings *s, struct error *err)
{
    settings_default(s);
    enum status st = settings_environment(s, environ, err);
    if (st == ST_OK) st = settings_flags(s, argc - 1, argv + 1, err);
    if (st == ST_OK && s->config[0] != 0) {
        char config[sizeof s->config];
        memcpy(config, s->config, sizeof config);
        settings_default(s);
        memcpy(s->config, config, sizeof config);
        st = read_file(env, s, err);
        if (st == ST_OK) st = settings_environment(s, environ, err);
        if (st == ST_OK) st = settings_flags(s, argc - 1, argv + 1, err);
    }
    if (st == ST_OK) st = settings_check(s, err);
    return st;
}

/* ---- the process ---- */

static void raise_files(const struct settings *s)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) getrlimit(RLIMIT_NOFILE, &limit);
    uint64_t wanted = s->node.clients_max + 1024;
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < wanted)
        diag(DIAG_WARN,
             "serve.few_files limit=%llu wanted=%llu text=\"raise it with 'ulimit -n' or lower --clients-max\"",
             (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
}

/* `cairn local` names itself, so that its nodes end with it even if it is killed. */
static void follow_parent(void)
{
    const char *text = getenv("CAIRN_FOLLOW_PARENT");
    uint64_t pid;
    if (text == NULL || !parse_number(text, &pid)) return;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if ((uint64_t)getppid() != pid) raise(SIGTERM); /* it has ended before this could be asked for */
}

static void on_ready(void *ctx)
{
    struct serve *s = ctx;
    const char *listen = s->settings.listen;
    char address[300];
    snprintf(address, sizeof address, "%.*s:%u", (int)(strrchr(listen, ':') - listen), listen, node_port(s->node));
    printf("cairn %s: node %llu is ready on %s after %llu ms; data in %s, %u shards. Connect: redis-cli -p %u, or "
           "cairn status "
           "--address %s\n",
           CAIRN_VERSION, (unsigned long long)node_id(s->node), address,
           (unsigned long long)((env_now_ns(s->env) - s->started_ns) / NS_PER_MS), s->settings.dir, s->settings.shards,
           node_port(s->node), address);
    fflush(stdout);
}

static void on_failed(void *ctx, enum status st, const char *text)
{
    (void)ctx;
    cli_error("the node can't go on (%s): %s", status_name(st), text);
    _exit(EXIT_FAILED);
}

static void on_stopped(void *ctx)
{
    struct serve *s = ctx;
    env_timer_stop(&s->stop_timer);
    for (uint16_t i = 0; i < s->settings.shards; i++) env_real_loop_stop(s->loops[i]);
}

static void on_stop_timer(struct env_timer *timer)
{
    (void)timer;
    cli_error("the node did not stop within %llu s: ending the process. What was acknowledged is on disk",
              (unsigned long long)(STOP_NS / NS_PER_S));
    _exit(EXIT_FAILED);
}

static void on_signal(void *ctx, int sig)
{
    struct serve *s = ctx;
    if (s->stopping) {
        cli_error("second signal: ending the process without an orderly stop. What was acknowledged is on disk");
        _exit(128 + sig);
    }
    s->stopping = true;
    env_timer_start(&s->stop_timer, STOP_NS);
    node_stop(s->node);
}

static void run_loop(void *arg) { env_real_loop_run(arg); }

static void run(struct serve *s)
{
    uint16_t count = s->settings.shards;
    s->threads = mem_zalloc(count * sizeof(struct env_thread *));
    for (uint16_t i = 1; i < count; i++) {
        char name[24];
        snprintf(name, sizeof name, "shard-%u", i);
        s->threads[i] = env_real_thread_new(name, run_loop, s->loops[i]);
    }
    env_real_loop_run(s->loops[0]);
    for (uint16_t i = 1; i < count; i++) env_real_thread_join(s->threads[i]);
    mem_free(s->threads);
}

int serve_main(int argc, char **argv)
{
    struct serve s = {.env = env_real_new()};
    struct error err = {0};
    follow_parent();
    s.started_ns = env_now_ns(s.env);
    if (read_settings(s.env, argc, argv, &s.settings, &err) != ST_OK) {
        cli_error("%s", err.text);
        env_real_free(s.env);
        return EXIT_USAGE;
    }
    if (s.settings.shards == 0) s.settings.shards = (uint16_t)MIN(cli_cores(), 256u);
    if (s.settings.node.stores == 0) s.settings.node.stores = s.settings.shards;
    env_real_diag_stderr(s.settings.node.log_level);
    raise_files(&s.settings);
    uint16_t count = s.settings.shards;
    s.loops = mem_zalloc(count * sizeof(struct env_loop *));
    for (uint16_t i = 0; i < count; i++) s.loops[i] = env_real_loop_new(s.env);
    env_timer_init(s.loops[0], &s.stop_timer, on_stop_timer);
    s.settings.node.ready = on_ready;
    s.settings.node.failed = on_failed;
    s.settings.node.stopped = on_stopped;
    s.settings.node.ctx = &s;
    enum status st = node_start(s.env, s.loops, count, &s.settings.node, &s.node, &err);
    if (st == ST_OK) {
        env_real_on_signal(s.loops[0], on_signal, &s);
        run(&s);
        node_free(s.node);
    } else {
        cli_error("can't start: %s%s", err.text,
                  strstr(err.text, "listen on") != NULL && st == ST_BUSY
                      ? ": another process listens there; stop it, or give another address with --listen"
                      : "");
    }
    for (uint16_t i = 0; i < count; i++) env_real_loop_free(s.loops[i]);
    mem_free(s.loops);
    env_real_free(s.env);
    return st == ST_OK ? EXIT_OK : EXIT_FAILED;
}
