/* cli.c - options, errors and numbers of the commands.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "env/real.h"
#include "node/settings.h"
#include "wire/http/http.h"

void cli_error(const char *fmt, ...)
{
    char text[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *p = text; *p != 0; p++)
        if (*p == '\n' || *p == '\r') *p = ' ';
    fflush(stdout);
    fprintf(stderr, "cairn: %s\n", text);
    fflush(stderr);
}

int version_main(int argc, char **argv)
{
    if (argc > 1) {
        cli_error("version takes no arguments");
        return EXIT_USAGE;
    }
    printf("cairn %s\n", CAIRN_VERSION);
    return EXIT_OK;
}

unsigned cli_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

/* ---- options ---- */

struct names {
    const struct cli_option *options;
    size_t count;
};
static const char *next_option(void *ctx, size_t at)
{
    const struct names *n = ctx;
    return at < n->count ? n->options[at].name : NULL;
}

static const struct cli_option *option_find(const struct cli_option *options, size_t count, const char *name, size_t n)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(options[i].name) == n && memcmp(options[i].name, name, n) == 0) return &options[i];
    return NULL;
}

static void number_format(enum cli_option_type type, uint64_t v, char out[32])
{
    static const enum setting_type like[] = {
        [CLI_NUMBER] = SETTING_NUMBER, [CLI_SIZE] = SETTING_SIZE, [CLI_DURATION] = SETTING_DURATION};
    setting_format(&(struct setting){.type = like[type]}, v, out, 32);
}

static bool option_set(const struct cli_option *o, const char *value)
{
    static const char *const like[] = {
        [CLI_NUMBER] = "a number", [CLI_SIZE] = "a size such as 64KiB", [CLI_DURATION] = "a time such as 10s"};
    uint64_t n = 0;
    bool good = true;
    if (o->type == CLI_TEXT || o->type == CLI_ADDRESS) {
        struct error err = {0};
        if (value[0] != 0 && o->type == CLI_ADDRESS && check_address(value, &err) != ST_OK) {
            cli_error("--%s: %s", o->name, err.text);
            return false;
        }
        if (value[0] == 0) cli_error("--%s has no value: give %s", o->name, o->argument);
        *(const char **)o->out = value;
        return value[0] != 0;
    }
    if (o->type == CLI_NUMBER) good = parse_number(value, &n);
    else if (o->type == CLI_SIZE) good = parse_size(value, &n);
    else good = parse_duration_ns(value, &n);
    if (!good) {
        cli_error("--%s: '%.60s' is not %s", o->name, value, like[o->type]);
        return false;
    }
    if (n < o->min || (o->max != 0 && n > o->max)) {
        char low[32], high[32];
        number_format(o->type, o->min, low);
        number_format(o->type, o->max, high);
        if (o->max != 0) cli_error("--%s: %.60s is out of range: give %s to %s", o->name, value, low, high);
        else cli_error("--%s: %.60s is too small: give %s or more", o->name, value, low);
        return false;
    }
    *(uint64_t *)o->out = n;
    return true;
}

static bool option_take(const struct cli_option *options, size_t count, int argc, char **argv, int *at)
{
    const char *arg = argv[*at] + 2, *equals = strchr(arg, '=');
    size_t n = equals != NULL ? (size_t)(equals - arg) : strlen(arg);
    const struct cli_option *o = option_find(options, count, arg, n);
    if (o == NULL) {
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)MIN(n, sizeof word - 1), arg);
        const char *near = nearest_word(word, next_option, &(struct names){options, count});
        if (near != NULL) cli_error("there is no option --%s. Did you mean --%s?", word, near);
        else cli_error("there is no option --%s: --help lists them", word);
        return false;
    }
    if (o->type == CLI_FLAG) {
        if (equals != NULL) cli_error("--%s takes no value", o->name);
        *(bool *)o->out = true;
        return equals == NULL;
    }
    if (equals == NULL && *at + 1 >= argc) {
        cli_error("--%s needs a value: --%s %s", o->name, o->name, o->argument);
        return false;
    }
    return option_set(o, equals != NULL ? equals + 1 : argv[++*at]);
}

bool cli_options(const struct cli_option *options, size_t count, int *argc, char **argv, int args_max)
{
    int kept = 1;
    bool rest = false;
    for (int i = 1; i < *argc; i++) {
        if (!rest && strcmp(argv[i], "--") == 0) {
            rest = true;
        } else if (!rest && strncmp(argv[i], "--", 2) == 0) {
            if (!option_take(options, count, *argc, argv, &i)) return false;
        } else {
            if (kept > args_max) {
                cli_error("'%.80s' is not expected here: --help says what is", argv[i]);
                return false;
            }
            argv[kept++] = argv[i];
        }
    }
    *argc = kept;
    return true;
}

void cli_options_help(const struct cli_option *options, size_t count)
{
    printf("Options:\n");
    for (size_t i = 0; i < count; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s %s", options[i].name, options[i].argument != NULL ? options[i].argument : "");
        printf("  %-26s %s\n", left, options[i].help);
    }
}

/* ---- numbers for people ---- */

const char *cli_thousands(uint64_t n, char out[32])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;
    for (int i = 0; i < len; i++) {
        if (i != 0 && (len - i) % 3 == 0) out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

static const char *scaled(double v, double step, const char *const *units, size_t count, char out[32])
{
    size_t i = 0;
    for (; i + 1 < count && v >= step; i++) v /= step;
    snprintf(out, 32, i == 0 ? "%.0f %s" : v < 10 ? "%.2f %s" : v < 100 ? "%.1f %s" : "%.0f %s", v, units[i]);
    return out;
}

const char *cli_bytes(uint64_t n, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    return scaled((double)n, 1024, units, ARRAY_COUNT(units), out);
}

const char *cli_time(uint64_t ns, char out[32])
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    return scaled((double)ns, 1000, units, ARRAY_COUNT(units), out);
}

/* ---- HTTP ---- */

struct call {
    struct env_loop *loop;
    struct buf *out;
    struct error *err;
    int status;
};

static void on_answer(void *ctx, int status, struct bytes body, const char *why_not)
{
    struct call *c = ctx;
    c->status = status;
    if (status == 0) error_set(c->err, ST_UNAVAILABLE, "%s", why_not != NULL ? why_not : "no answer");
    else buf_put_bytes(c->out, body);
    env_real_loop_stop(c->loop);
}

int cli_http(const char *address, const char *method, const char *path, uint64_t timeout_ns, struct buf *out,
             struct error *err)
{
    struct env *env = env_real_new();
    struct call c = {.loop = env_real_loop_new(env), .out = out, .err = err};
    http_call(c.loop, address, method, path, (struct bytes){0}, 64u << 20, timeout_ns, on_answer, &c);
    env_real_loop_run(c.loop);
    env_real_loop_free(c.loop);
    env_real_free(env);
    return c.status;
}
