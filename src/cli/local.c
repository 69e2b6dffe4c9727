/* local.c - cairn local: a cluster on this machine, each node a process of its own.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   FOUND → JOIN → SPREAD → RUN → STOP
 * FOUND   a new cluster: node 1 alone, until it is healthy (skipped when there is data: then all start at once)
 * JOIN    the others are started; until all are healthy
 * SPREAD  until every partition has all of its copies, or SPREAD_NS have passed
 * RUN     until a signal; a node that ends is reported, the others go on
 * STOP    SIGTERM to all, SIGKILL to those that have not ended after STOP_NS */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "env/real.h"
#include "wire/http/http.h"

#define NODES_MAX  64
#define ARGS_MAX   64
#define TICK_NS    (20 * NS_PER_MS)
#define SPREAD_NS  (30 * NS_PER_S)
#define REPORT_NS  (10 * NS_PER_S) /* between lines about what is waited for */
#define STOP_NS    (25 * NS_PER_S)
#define ANSWER_MAX (16u << 20)

enum phase { FOUND, JOIN, SPREAD, RUN, STOP };

struct child {
    struct local *local;
    unsigned number; /* from 1 */
    pid_t pid;       /* 0: not running */
    char address[32], dir[400];
    bool started, healthy, asking;
    char reason[200]; /* why it is not healthy */
};

struct local {
    struct env *env;
    struct env_loop *loop;
    struct env_timer tick;
    struct child children[NODES_MAX];
    unsigned count, running;
    unsigned port, shards;
    const char *dir;
    char **settings; /* for every node */
    int setting_count;
    enum phase phase;
    uint64_t started_ns, phase_ns, reported_ns;
    bool asking_status, spread, kill_sent, signalled, failed;
};

static struct {
    uint64_t nodes, port;
    const char *dir;
    bool fresh;
} options;
static const struct cli_option option_table[] = {
    {"nodes", CLI_NUMBER, &options.nodes, "N", "how many nodes [3]", 1, NODES_MAX},
    {"port", CLI_NUMBER, &options.port, "P", "of the first node; the others follow [7000]", 1, 65535},
    {"dir", CLI_TEXT, &options.dir, "D", "where node-1, node-2 … are [cairn-data-local]", 0, 0},
    {"fresh", CLI_FLAG, &options.fresh, NULL, "removes the data of earlier runs first", 0, 0},
};

void local_help(void)
{
    cli_options_help(option_table, ARRAY_COUNT(option_table));
    printf("\nEach node writes its events to D/node-N/log.txt. Example: cairn local --nodes 5 -- --value-max 64MiB\n");
}

/* ---- directories ---- */

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw) { return remove(path); }

/* "node-7" */
static bool is_node_name(const char *name)
{
    return strncmp(name, "node-", 5) == 0 && name[5] != 0 && strspn(name + 5, "0123456789") == strlen(name + 5);
}

/* Not while a node uses it. */
static bool remove_node(struct env *env, const char *path)
{
    struct env_file *lock;
    struct error err = {0};
    if (env_dir_lock(env, path, &lock, &err) != ST_OK) {
        cli_error("--fresh does not remove '%s': %s", path, err.text);
        return false;
    }
    bool removed = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0;
    if (!removed) cli_error("can't remove '%s': %s", path, strerror(errno));
    env_file_close(lock);
    return removed;
}

static bool remove_nodes(struct env *env, const char *dir)
{
    DIR *d = opendir(dir);
    bool good = true;
    if (d == NULL && errno != ENOENT) cli_error("can't read the directory '%s': %s", dir, strerror(errno));
    if (d == NULL) return errno == ENOENT;
    for (struct dirent *e; good && (e = readdir(d)) != NULL;) {
        char path[700];
        if (!is_node_name(e->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        good = remove_node(env, path);
    }
    closedir(d);
    return good;
}

static bool has_data(const struct child *c)
{
    char path[500];
    snprintf(path, sizeof path, "%s/identity", c->dir);
    return access(path, F_OK) == 0;
}

/* The last line that the node printed: why it ended. */
static void last_words(const struct child *c, char *out, size_t max)
{
    char path[500], text[4096];
    snprintf(out, max, "it left no word");
    snprintf(path, sizeof path, "%s/log.txt", c->dir);
    FILE *f = fopen(path, "r");
    if (f == NULL) return;
    if (fseek(f, -(long)sizeof text + 1, SEEK_END) != 0) rewind(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    while (n != 0 && (text[n - 1] == '\n' || text[n - 1] == 0)) n--;
    text[n] = 0;
    char *line = n != 0 ? memrchr(text, '\n', n) : NULL;
    if (n != 0) snprintf(out, max, "%s", line != NULL ? line + 1 : text);
}

/* ---- processes ---- */

static char **environment_of(char *follow, size_t max)
{
    size_t n = 0;
    while (environ[n] != NULL) n++;
    char **copy = mem_zalloc((n + 2) * sizeof *copy);
    memcpy(copy, environ, n * sizeof *copy);
    snprintf(follow, max, "CAIRN_FOLLOW_PARENT=%d", (int)getpid());
    copy[n] = follow;
    return copy;
}

static bool spawn(struct child *c, char **argv)
{
    char log[500], follow[64];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    snprintf(log, sizeof log, "%s/log.txt", c->dir);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawnattr_init(&attributes);
    /* A group of its own: Ctrl-C is for this process, which then stops them. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    char **env = environment_of(follow, sizeof follow);
    int rc = posix_spawn(&c->pid, "/proc/self/exe", &actions, &attributes, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    mem_free(env);
    if (rc != 0) cli_error("can't start node %u (its log is '%s'): %s", c->number, log, strerror(rc));
    if (rc != 0) c->pid = 0;
    return rc == 0;
}

static bool start(struct child *c)
{
    struct local *l = c->local;
    char shards[16], *argv[ARGS_MAX + 16];
    struct error err = {0};
    int n = 0;
    if (env_dir_create(l->env, c->dir, &err) != ST_OK) {
        cli_error("can't start node %u: %s", c->number, err.text);
        return false;
    }
    snprintf(shards, sizeof shards, "%u", l->shards);
    char *fixed[] = {"cairn", "serve", "--listen", c->address, "--data", c->dir, "--shards", shards};
    for (size_t i = 0; i < ARRAY_COUNT(fixed); i++) argv[n++] = fixed[i];
    if (c->number != 1) {
        argv[n++] = "--join";
        argv[n++] = l->children[0].address;
    }
    for (int i = 0; i < l->setting_count; i++) argv[n++] = l->settings[i];
    argv[n] = NULL;
    if (!spawn(c, argv)) return false;
    c->started = true;
    l->running++;
    return true;
}

static void set_phase(struct local *l, enum phase p)
{
    l->phase = p;
    l->phase_ns = l->reported_ns = env_now_ns(l->env);
}

static void stop_all(struct local *l)
{
    if (l->phase == STOP) return;
    set_phase(l, STOP);
    for (unsigned i = 0; i < l->count; i++)
        if (l->children[i].pid != 0) kill(l->children[i].pid, SIGTERM);
}

static void fail(struct local *l)
{
    l->failed = true;
    stop_all(l);
}

static void on_end(struct child *c, int status)
{
    struct local *l = c->local;
    char words[700], how[64];
    pid_t pid = c->pid;
    c->pid = 0;
    c->healthy = false;
    l->running--;
    if (WIFSIGNALED(status)) snprintf(how, sizeof how, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else snprintf(how, sizeof how, "exit code %d", WEXITSTATUS(status));
    if (l->phase == STOP && WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    last_words(c, words, sizeof words);
    cli_error("node %u (process %d, %s) ended with %s. Last line of %s/log.txt: %s", c->number, (int)pid, c->address,
              how, c->dir, words);
    if (l->phase == STOP) {
        l->failed = l->failed || !l->kill_sent;
    } else if (l->phase < RUN) {
        cli_error("the cluster did not start: stopping the other nodes");
        fail(l);
    } else {
        cli_error("the other %u nodes keep running. To bring it back: Ctrl-C, then the same command again", l->running);
        if (l->running == 0) fail(l);
    }
}

static void reap(struct local *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        int status;
        struct child *c = &l->children[i];
        if (c->pid != 0 && waitpid(c->pid, &status, WNOHANG) == c->pid) on_end(c, status);
    }
}

/* ---- health ---- */

static void on_health(void *ctx, int status, struct bytes body, const char *why_not)
{
    struct child *c = ctx;
    c->asking = false;
    c->healthy = status == 200;
    if (c->healthy) return;
    json_t *answer = status != 0 ? json_loadb((const char *)body.p, body.n, 0, NULL) : NULL;
    const char *reason = json_string_value(json_object_get(answer, "reason"));
    snprintf(c->reason, sizeof c->reason, "%s",
             reason != NULL    ? reason
             : why_not != NULL ? why_not
                               : "no reason given");
    json_decref(answer);
}

static bool all_healthy(struct local *l)
{
    bool all = true;
    for (unsigned i = 0; i < l->count; i++) {
        struct child *c = &l->children[i];
        if (!c->started) continue;
        all = all && c->healthy;
        if (c->healthy || c->asking || c->pid == 0) continue;
        c->asking = true;
        http_call(l->loop, c->address, "GET", "/health", (struct bytes){0}, ANSWER_MAX, 2 * NS_PER_S, on_health, c);
    }
    return all;
}

static void on_status(void *ctx, int status, struct bytes body, const char *why_not)
{
    struct local *l = ctx;
    l->asking_status = false;
    if (status != 200) return;
    json_t *answer = json_loadb((const char *)body.p, body.n, 0, NULL), *nodes = json_object_get(answer, "nodes");
    json_t *missing = json_object_get(json_object_get(answer, "health"), "under_replicated");
    l->spread = json_is_integer(missing) && json_integer_value(missing) == 0 && json_array_size(nodes) >= l->count;
    json_decref(answer);
}

static void ask_spread(struct local *l)
{
    if (l->asking_status) return;
    l->asking_status = true;
    http_call(l->loop, l->children[0].address, "GET", "/status.json", (struct bytes){0}, ANSWER_MAX, 2 * NS_PER_S,
              on_status, l);
}

static void report_waiting(struct local *l)
{
    uint64_t now = env_now_ns(l->env);
    if (now - l->reported_ns < REPORT_NS) return;
    l->reported_ns = now;
    for (unsigned i = 0; i < l->count; i++) {
        const struct child *c = &l->children[i];
        if (c->started && !c->healthy) printf("waiting for node %u (%s): %s\n", c->number, c->address, c->reason);
    }
    fflush(stdout);
}

static void print_table(struct local *l)
{
    char took[32];
    printf("%u node%s ready after %s%s\n\n  node  address            process   data and log\n", l->count,
           l->count == 1 ? "" : "s", cli_time(env_now_ns(l->env) - l->started_ns, took),
           l->spread ? "" : " (copies are still being made: see cairn status)");
    for (unsigned i = 0; i < l->count; i++)
        printf("  %4u  %-18s %-9d %s\n", i + 1, l->children[i].address, (int)l->children[i].pid, l->children[i].dir);
    printf("\nConnect to any of them: redis-cli -p %u. Look: cairn status --address %s\nCtrl-C stops all nodes; the "
           "same command "
           "starts them again with their data.\n",
           l->port, l->children[0].address);
    fflush(stdout);
}

/* ---- the run ---- */

static void start_joiners(struct local *l)
{
    set_phase(l, JOIN);
    for (unsigned i = 0; i < l->count; i++)
        if (!l->children[i].started && !start(&l->children[i])) {
            fail(l);
            return;
        }
}

static void stop_tick(struct local *l)
{
    bool asking = l->asking_status; /* each answers or gives up within seconds */
    for (unsigned i = 0; i < l->count; i++) asking = asking || l->children[i].asking;
    if (l->running == 0 && !asking) env_real_loop_stop(l->loop);
    if (l->running == 0 || l->kill_sent || env_now_ns(l->env) - l->phase_ns < STOP_NS) return;
    l->kill_sent = l->failed = true;
    for (unsigned i = 0; i < l->count; i++) {
        if (l->children[i].pid == 0) continue;
        cli_error("node %u did not stop in time: killing it. What it acknowledged is on disk", i + 1);
        kill(l->children[i].pid, SIGKILL);
    }
}

static void on_tick(struct env_timer *timer)
{
    struct local *l = CONTAINER_OF(timer, struct local, tick);
    reap(l);
    switch (l->phase) {
    case FOUND:
        if (all_healthy(l)) start_joiners(l);
        else report_waiting(l);
        break;
    case JOIN:
        if (all_healthy(l)) set_phase(l, SPREAD);
        else report_waiting(l);
        break;
    case SPREAD:
        if (!l->spread && env_now_ns(l->env) - l->phase_ns < SPREAD_NS) {
            ask_spread(l);
            break;
        }
        print_table(l);
        set_phase(l, RUN);
        break;
    case RUN: break;
    case STOP: stop_tick(l); break;
    }
    env_timer_start(&l->tick, TICK_NS);
}

static void on_signal(void *ctx, int sig)
{
    struct local *l = ctx;
    if (!l->signalled) printf("\nstopping %u node%s\n", l->running, l->running == 1 ? "" : "s");
    fflush(stdout);
    l->signalled = true;
    stop_all(l);
}

static void init_children(struct local *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        struct child *c = &l->children[i];
        *c = (struct child){.local = l, .number = i + 1, .reason = "it has not answered yet"};
        snprintf(c->address, sizeof c->address, "127.0.0.1:%u", l->port + i);
        snprintf(c->dir, sizeof c->dir, "%s/node-%u", l->dir, i + 1);
    }
}

static void run(struct local *l)
{
    bool known = false;
    l->loop = env_real_loop_new(l->env);
    l->started_ns = env_now_ns(l->env);
    env_timer_init(l->loop, &l->tick, on_tick);
    for (unsigned i = 0; i < l->count; i++) known = known || has_data(&l->children[i]);
    set_phase(l, FOUND);
    if (known) start_joiners(l);
    else if (!start(&l->children[0])) fail(l);
    env_real_on_signal(l->loop, on_signal, l);
    env_timer_start(&l->tick, 1);
    env_real_loop_run(l->loop);
    env_timer_stop(&l->tick);
    env_real_loop_free(l->loop);
}

int local_main(int argc, char **argv)
{
    struct local *l = mem_zalloc(sizeof *l);
    int settings_at = argc, code = EXIT_OK;
    for (int i = 1; i < argc && settings_at == argc; i++)
        if (strcmp(argv[i], "--") == 0) settings_at = i;
    int own = settings_at;
    options.nodes = 3;
    options.port = 7000;
    options.dir = "cairn-data-local";
    if (!cli_options(option_table, ARRAY_COUNT(option_table), &own, argv, 0)) code = EXIT_USAGE;
    if (code == EXIT_OK && options.port + options.nodes > 65536) {
        cli_error("ports %" PRIu64 " to %" PRIu64 " go beyond 65535: give a lower --port", options.port,
                  options.port + options.nodes - 1);
        code = EXIT_USAGE;
    }
    if (code == EXIT_OK && strlen(options.dir) > 300) {
        cli_error("--dir is longer than 300 bytes");
        code = EXIT_USAGE;
    }
    l->settings = argv + settings_at + 1;
    l->setting_count = argc > settings_at ? argc - settings_at - 1 : 0;
    if (code == EXIT_OK && l->setting_count > ARGS_MAX) {
        cli_error("more than %d arguments after --", ARGS_MAX);
        code = EXIT_USAGE;
    }
    l->count = (unsigned)options.nodes;
    l->port = (unsigned)options.port;
    l->dir = options.dir;
    l->shards = MAX(1u, cli_cores() / l->count);
    l->env = env_real_new();
    if (code == EXIT_OK && options.fresh && !remove_nodes(l->env, l->dir)) code = EXIT_FAILED;
    if (code == EXIT_OK) {
        init_children(l);
        run(l);
        if (l->failed) code = EXIT_FAILED;
    }
    env_real_free(l->env);
    mem_free(l);
    return code;
}
