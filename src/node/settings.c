/* settings.c - the table of settings, and how they are read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "node/settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/diag.h"
#include "base/mem.h"

#define KIB                  1024ull
#define MIB                  (KIB * KIB)
#define GIB                  (KIB * MIB)

#define NUMBERS(type, field) .offset = offsetof(type, field), .size = sizeof(((type *)0)->field)
#define OWN(field)           NUMBERS(struct settings, field)
#define NODE(field)          NUMBERS(struct node_options, field)

static const struct setting rows[] = {
    {"listen", NULL, "HOST:PORT", NULL, "the one address for clients, peers and HTTP; port 0 takes any free one",
     SETTING_ADDRESS, false, OWN(listen)},
    {"data", NULL, "DIR", NULL, "where the data is; made if it is not there", SETTING_TEXT, false, OWN(dir)},
    {"join", NULL, "HOST:PORT", "nobody: found a cluster",
     "any member of the cluster to join; later looked at only if this node's catalog is missing", SETTING_ADDRESS,
     false, OWN(join)},
    {"advertise", NULL, "HOST:PORT", "the one it listens on",
     "the address at which other nodes and clients reach this node", SETTING_ADDRESS, false, OWN(advertise)},
    {"config", NULL, "FILE", "none", "a file of settings, 'name = value' a line; environment and flags win over it",
     SETTING_TEXT, false, OWN(config)},
    {"shards", NULL, "N", "the number of cores", "threads that serve; may change at any start", SETTING_NUMBER, false,
     OWN(shards), 1, 256},
    {"stores", NULL, "N", "the number of shards", "logs and engines; for a new data directory only", SETTING_NUMBER,
     false, NODE(stores), 1, 256},
    {"partitions", NULL, "N", NULL, "of the default table; for a new cluster only", SETTING_NUMBER, false,
     NODE(partitions), 1, 16384},
    {"replication-factor", NULL, "N", NULL, "copies of each partition of the default table; for a new cluster only",
     SETTING_NUMBER, false, NODE(replicas), 1, 7},
    {"retention", NULL, "TIME", "0s: nothing is kept",
     "how long the default table keeps what was overwritten or deleted; for a new cluster, later cairn table retention",
     SETTING_DURATION, false, NODE(retention_ns), 0, 400ull * 24 * 3600 * NS_PER_S},
    {"insecure", NULL, NULL, NULL, "allows to listen beyond this machine, without passwords or encryption",
     SETTING_FLAG, false, OWN(insecure), 0, 1},
    {"redis-redirects", NULL, NULL, NULL,
     "Redis clients are sent to the leader (MOVED), as Redis Cluster does, instead of served "
     "through this node",
     SETTING_FLAG, true, NODE(redirects), 0, 1},
    {"clients-max", "maxclients", "N", NULL, "client connections of this node; further ones are refused",
     SETTING_NUMBER, true, NODE(clients_max), 1, 1000000},
    {"value-max", "proto-max-bulk-len", "SIZE", NULL, "the largest value or argument of a command", SETTING_SIZE, true,
     NODE(value_bytes_max), KIB, 512 * MIB},
    {"request-timeout", NULL, "TIME", NULL, "a request that has not been answered by then gets an error",
     SETTING_DURATION, true, NODE(request_timeout_ns), 10 * NS_PER_MS, 600 * NS_PER_S},
    {"rows-memory", NULL, "SIZE", NULL, "the newest rows, kept in memory: for each store", SETTING_SIZE, false,
     NODE(limits.rows_bytes_max), 4 * MIB, 1024 * GIB},
    {"engine-cache", NULL, "SIZE", NULL, "blocks read from disk, kept in memory: for each store", SETTING_SIZE, false,
     NODE(limits.engine_cache_bytes), MIB, 1024 * GIB},
    {"engine-write-buffer", NULL, "SIZE", NULL, "rows in memory before they are written to a file: for each store",
     SETTING_SIZE, false, NODE(limits.engine_write_buffer_bytes), MIB, 4 * GIB},
    {"log-max", NULL, "SIZE", NULL, "the log on disk, beyond which its oldest part is reclaimed: for each store",
     SETTING_SIZE, false, NODE(limits.log.bytes_max), 64 * MIB, 1024 * GIB},
    {"log-segment", NULL, "SIZE", NULL, "one file of the log", SETTING_SIZE, false, NODE(limits.log.segment_bytes), MIB,
     GIB},
    {"disk-reserve", NULL, "SIZE", NULL, "free disk below which writes are refused", SETTING_SIZE, false,
     NODE(limits.log.reserve_bytes), 0, 1024 * GIB},
    {"accept-loss", NULL, "PARTITION", "nothing",
     "takes the damaged log of a partition (or of 'all') as it is, and goes on without what is gone; for one start, when "
     "there is nothing to repair it from",
     SETTING_TEXT, false, OWN(accept_loss)},
    {"log-level", "loglevel", "LEVEL", NULL, "events printed on stderr: debug, info, warn or error, and what is worse",
     SETTING_LEVEL, true, NODE(log_level), DIAG_DEBUG, DIAG_ERROR},
};

static const char *const levels[] = {"debug", "info", "warn", "error"};

bool setting_each(size_t *at, const struct setting **out)
{
    if (*at >= ARRAY_COUNT(rows)) return false;
    *out = &rows[(*at)++];
    return true;
}

const struct setting *setting_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (strcmp(rows[i].name, name) == 0 || (rows[i].redis != NULL && strcmp(rows[i].redis, name) == 0))
            return &rows[i];
    return NULL;
}

bool setting_of_node(const struct setting *row)
{
    return row->type >= SETTING_NUMBER && row->offset < sizeof(struct node_options);
}

/* ---- values ---- */

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit size_units[] = {{"tib", KIB *GIB}, {"gib", GIB}, {"mib", MIB}, {"kib", KIB},
                                         {"b", 1},          {"", 1},      {0}};
/* Redis: "1k" is 1000, "1kb" is 1024. */
static const struct unit redis_units[] = {
    {"gb", GIB}, {"g", 1000000000}, {"mb", MIB}, {"m", 1000000}, {"kb", KIB}, {"k", 1000}, {"b", 1}, {"", 1}, {0}};
static const struct unit time_units[] = {{"h", 3600 * NS_PER_S},
                                         {"m", 60 * NS_PER_S},
                                         {"s", NS_PER_S},
                                         {"ms", NS_PER_MS},
                                         {"us", NS_PER_US},
                                         {"ns", 1},
                                         {0}};
static const struct unit no_units[] = {{"", 1}, {0}};

static bool parse_with_units(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t n = 0;
    size_t digits = 0;
    char rest[8] = {0};
    for (; isdigit((unsigned char)text[digits]); digits++)
        if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (uint64_t)(text[digits] - '0'), &n))
            return false;
    if (digits == 0 || strlen(text + digits) >= sizeof rest) return false;
    for (size_t i = 0; text[digits + i] != 0; i++) rest[i] = (char)tolower((unsigned char)text[digits + i]);
    for (; units->name != NULL; units++)
        if (strcmp(rest, units->name) == 0) return !__builtin_mul_overflow(n, units->factor, out);
    return false;
}

bool parse_size(const char *text, uint64_t *out) { return parse_with_units(text, size_units, out); }
bool parse_duration_ns(const char *text, uint64_t *out) { return parse_with_units(text, time_units, out); }
bool parse_number(const char *text, uint64_t *out) { return parse_with_units(text, no_units, out); }

static bool parse_word(const char *text, uint8_t type, uint64_t *out)
{
    static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};
    for (size_t i = 0; type == SETTING_LEVEL && i < ARRAY_COUNT(levels); i++)
        if (strcmp(text, levels[i]) == 0) return *out = i, true;
    for (size_t i = 0; type == SETTING_FLAG && i < ARRAY_COUNT(yes); i++) {
        if (strcmp(text, yes[i]) == 0) return *out = 1, true;
        if (strcmp(text, no[i]) == 0) return *out = 0, true;
    }
    return false;
}

static void format_with_units(uint64_t value, const struct unit *units, char *out, size_t max)
{
    for (; units->name != NULL; units++) {
        if (value < units->factor || value % units->factor != 0) continue;
        snprintf(out, max, "%llu%s", (unsigned long long)(value / units->factor), units->name);
        return;
    }
    snprintf(out, max, "%llu", (unsigned long long)value);
}

void setting_format(const struct setting *row, uint64_t value, char *out, size_t max)
{
    static const struct unit sizes[] = {{"TiB", KIB * GIB}, {"GiB", GIB}, {"MiB", MIB}, {"KiB", KIB}, {0}};
    switch (row->type) {
    case SETTING_SIZE: format_with_units(value, sizes, out, max); break;
    case SETTING_DURATION:
        if (value == 0) snprintf(out, max, "0s");
        else format_with_units(value, time_units, out, max);
        break;
    case SETTING_FLAG: snprintf(out, max, "%s", value != 0 ? "yes" : "no"); break;
    case SETTING_LEVEL: snprintf(out, max, "%s", levels[MIN(value, DIAG_ERROR)]); break;
    default: snprintf(out, max, "%llu", (unsigned long long)value); break;
    }
}

static enum status parse(const struct setting *row, const char *text, const struct unit *sizes, uint64_t *out,
                         struct error *err)
{
    char lo[32], hi[32];
    uint64_t v = 0;
    bool good;
    const char *like = "";
    switch (row->type) {
    case SETTING_NUMBER: good = parse_with_units(text, no_units, &v), like = "a number"; break;
    case SETTING_SIZE: good = parse_with_units(text, sizes, &v), like = "a size such as 64MiB"; break;
    case SETTING_DURATION: good = parse_with_units(text, time_units, &v), like = "a time such as 500ms or 5s"; break;
    case SETTING_FLAG: good = parse_word(text, row->type, &v), like = "yes or no"; break;
    case SETTING_LEVEL: good = parse_word(text, row->type, &v), like = "debug, info, warn or error"; break;
    default: return error_set(err, ST_INVALID, "it can't be set to a number");
    }
    setting_format(row, row->min, lo, sizeof lo);
    setting_format(row, row->max, hi, sizeof hi);
    if (!good) {
        if (row->type == SETTING_FLAG || row->type == SETTING_LEVEL)
            return error_set(err, ST_INVALID, "'%.60s' is not a value for it: give %s", text, like);
        return error_set(err, ST_INVALID, "'%.60s' is not a value for it: give %s, from %s to %s", text, like, lo, hi);
    }
    if (v < row->min || v > row->max)
        return error_set(err, ST_INVALID, "%.60s is %s: give a value from %s to %s", text,
                         v < row->min ? "too small" : "too large", lo, hi);
    *out = v;
    return ST_OK;
}

enum status setting_parse(const struct setting *row, const char *text, uint64_t *out, struct error *err)
{
    return parse(row, text, size_units, out, err);
}

enum status setting_parse_redis(const struct setting *row, const char *text, uint64_t *out, struct error *err)
{
    return parse(row, text, redis_units, out, err);
}

uint64_t setting_number(const struct setting *row, const void *base)
{
    uint64_t v = 0;
    ASSERT(row->type >= SETTING_NUMBER && row->size <= sizeof v);
    memcpy(&v, (const char *)base + row->offset, row->size);
    return v;
}

void setting_store(const struct setting *row, void *base, uint64_t value)
{
    ASSERT(row->type >= SETTING_NUMBER && row->size <= sizeof value);
    ASSERT(row->size == sizeof value || value >> (8 * row->size) == 0);
    memcpy((char *)base + row->offset, &value, row->size);
}

void setting_show(const struct setting *row, const struct settings *s, char *out, size_t max)
{
    if (row->type < SETTING_NUMBER) snprintf(out, max, "%s", (const char *)s + row->offset);
    else setting_format(row, setting_number(row, s), out, max);
}

/* ---- one setting ---- */

enum status check_address(const char *text, struct error *err)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || colon == text)
        return error_set(err, ST_INVALID, "'%.100s' is not an address: give HOST:PORT, such as 127.0.0.1:7000", text);
    if (!parse_number(colon + 1, &port) || port > 65535)
        return error_set(err, ST_INVALID,
                         "'%.100s' is not an address: its port is a number up to 65535, such as 127.0.0.1:7000", text);
    if (memchr(text, ':', (size_t)(colon - text)) != NULL && (text[0] != '[' || colon[-1] != ']'))
        return error_set(err, ST_INVALID, "'%.100s': an IPv6 address stands in brackets, such as [::1]:7000", text);
    return ST_OK;
}

static enum status set_text(const struct setting *row, struct settings *s, const char *value, struct error *err)
{
    if (value[0] == 0) return error_set(err, ST_INVALID, "it has no value: give %s", row->argument);
    if (strlen(value) >= row->size)
        return error_set(err, ST_INVALID, "the value is longer than %u bytes: give a shorter %s", row->size - 1u,
                         row->argument);
    enum status st = row->type == SETTING_ADDRESS ? check_address(value, err) : ST_OK;
    if (st == ST_OK) snprintf((char *)s + row->offset, row->size, "%s", value);
    return st;
}

static enum status set_row(const struct setting *row, struct settings *s, const char *value, const char *from,
                           struct error *err)
{
    uint64_t number = 0;
    enum status st = row->type < SETTING_NUMBER ? set_text(row, s, value, err)
                                                : setting_parse(row, value, &number, err);
    if (st != ST_OK) return error_prefix(err, st, "%s: ", from);
    if (row->type >= SETTING_NUMBER) setting_store(row, s, number);
    return ST_OK;
}

static const char *next_name(void *ctx, size_t at) { return at < ARRAY_COUNT(rows) ? rows[at].name : NULL; }

static const struct setting *find_own(const char *name)
{
    const struct setting *row = setting_find(name);
    return row != NULL && strcmp(row->name, name) == 0 ? row : NULL;
}

enum status settings_set(struct settings *s, const char *name, const char *value, const char *from, struct error *err)
{
    const struct setting *row = find_own(name);
    if (row != NULL) return set_row(row, s, value, from, err);
    static const char *const elsewhere[][2] = {{"port", "listen HOST:PORT"}, {"bind", "listen HOST:PORT"},
                                               {"host", "listen HOST:PORT"}, {"address", "listen HOST:PORT"},
                                               {"dir", "data DIR"},          {"data-dir", "data DIR"}};
    const char *near = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(elsewhere); i++)
        if (strcmp(name, elsewhere[i][0]) == 0) near = elsewhere[i][1];
    if (near == NULL) near = nearest_word(name, next_name, NULL);
    if (near != NULL)
        return error_set(err, ST_INVALID, "%.80s: there is no such setting. Did you mean %s?", from, near);
    return error_set(err, ST_INVALID, "%.80s: there is no such setting: 'cairn help serve' lists them", from);
}

void settings_default(struct settings *s)
{
    *s = (struct settings){0};
    node_options_default(&s->node);
    s->node.stores = 0; /* as many as shards */
    snprintf(s->dir, sizeof s->dir, "%s", s->node.dir);
    snprintf(s->listen, sizeof s->listen, "%s", s->node.listen);
}

/* ---- file, environment, flags ---- */

static bool blank(uint8_t ch) { return ch == ' ' || ch == '\t' || ch == '\r'; }

static struct bytes trim(struct bytes b)
{
    while (b.n != 0 && blank(b.p[0])) b.p++, b.n--;
    while (b.n != 0 && blank(b.p[b.n - 1])) b.n--;
    return b;
}

/* Cuts a comment off: '#' at the start, or after a blank (so that a '#' within a directory's name stays). */
static struct bytes without_comment(struct bytes line)
{
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] == '#' && (i == 0 || blank(line.p[i - 1]))) return bytes_of(line.p, i);
    return line;
}

static enum status file_line(struct settings *s, struct bytes line, const char *path, unsigned number, uint64_t *seen,
                             struct error *err)
{
    char name[64], value[400], from[420];
    const uint8_t *equals = line.n != 0 ? memchr(line.p, '=', line.n) : NULL;
    if (equals == NULL)
        return error_set(err, ST_INVALID, "'%.200s', line %u: there is no '=': write name = value", path, number);
    struct bytes left = trim(bytes_of(line.p, (size_t)(equals - line.p)));
    struct bytes right = trim(bytes_of(equals + 1, line.n - (size_t)(equals + 1 - line.p)));
    if (left.n == 0 || left.n >= sizeof name || memchr(left.p, 0, left.n) != NULL)
        return error_set(err, ST_INVALID, "'%.200s', line %u: there is no name of a setting before '='", path, number);
    if (right.n >= sizeof value || (right.n != 0 && memchr(right.p, 0, right.n) != NULL))
        return error_set(err, ST_INVALID, "'%.200s', line %u: the value is too long or not text", path, number);
    snprintf(name, sizeof name, "%.*s", (int)left.n, (const char *)left.p);
    snprintf(value, sizeof value, "%.*s", (int)right.n, (const char *)right.p);
    snprintf(from, sizeof from, "'%.200s', line %u: %s", path, number, name);
    const struct setting *row = find_own(name);
    if (row != NULL) {
        uint64_t bit = 1ull << (row - rows);
        _Static_assert(ARRAY_COUNT(rows) <= 64, "seen is a set of rows");
        if (*seen & bit) return error_set(err, ST_INVALID, "%s is set twice: remove one of the two lines", from);
        if (row->offset == offsetof(struct settings, config))
            return error_set(err, ST_INVALID, "%s: a file can't name another one: use the flag or the environment",
                             from);
        *seen |= bit;
    }
    return settings_set(s, name, value, from, err);
}

enum status settings_file(struct settings *s, struct bytes text, const char *path, struct error *err)
{
    uint64_t seen = 0;
    unsigned number = 0;
    if (text.n > SETTINGS_FILE_MAX)
        return error_set(err, ST_INVALID, "'%.200s' is larger than %u KiB: it is not a file of settings", path,
                         SETTINGS_FILE_MAX >> 10);
    if (text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
        text = bytes_of(text.p + 3, text.n - 3); /* some editors' */
    while (text.n != 0) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
        struct bytes line = trim(without_comment(bytes_of(text.p, n)));
        number++;
        enum status st = line.n != 0 ? file_line(s, line, path, number, &seen, err) : ST_OK;
        if (st != ST_OK) return st;
        text = end != NULL ? bytes_of(end + 1, text.n - n - 1) : (struct bytes){0};
    }
    return ST_OK;
}

/* "value-max" is CAIRN_VALUE_MAX. Returns the value if the variable is that, else NULL. */
static const char *variable_of(const struct setting *row, const char *variable)
{
    if (strncmp(variable, "CAIRN_", 6) != 0) return NULL;
    const char *p = variable + 6;
    for (const char *q = row->name; *q != 0; p++, q++)
        if (*p != (*q == '-' ? '_' : toupper((unsigned char)*q))) return NULL;
    return *p == '=' ? p + 1 : NULL;
}

enum status settings_environment(struct settings *s, char *const *environment, struct error *err)
{
    char from[80];
    for (; *environment != NULL; environment++) {
        for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
            const char *value = variable_of(&rows[i], *environment);
            if (value == NULL) continue;
            snprintf(from, sizeof from, "%.*s", (int)(value - 1 - *environment), *environment);
            enum status st = set_row(&rows[i], s, value, from, err);
            if (st != ST_OK) return st;
        }
    }
    return ST_OK;
}

enum status settings_flags(struct settings *s, int argc, char *const *argv, struct error *err)
{
    char name[64], from[80];
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0 || argv[i][2] == 0)
            return error_set(err, ST_INVALID, "'%.80s' is not expected here: options begin with --", argv[i]);
        const char *equals = strchr(argv[i], '=');
        size_t n = equals != NULL ? (size_t)(equals - argv[i] - 2) : strlen(argv[i]) - 2;
        snprintf(name, sizeof name, "%.*s", (int)MIN(n, sizeof name - 1), argv[i] + 2);
        snprintf(from, sizeof from, "--%s", name);
        const struct setting *row = find_own(name);
        const char *value = equals != NULL ? equals + 1 : NULL;
        if (row != NULL && value == NULL && row->type == SETTING_FLAG) value = "yes";
        else if (row != NULL && value == NULL && i + 1 < argc) value = argv[++i];
        if (row != NULL && value == NULL)
            return error_set(err, ST_INVALID, "%s needs a value: %s %s", from, from, row->argument);
        enum status st = settings_set(s, name, value != NULL ? value : "", from, err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

/* ---- the whole ---- */

static size_t host_length(const char *address) { return (size_t)(strrchr(address, ':') - address); }

static bool host_is(const char *address, const char *host)
{
    size_t n = host_length(address);
    return strlen(host) == n && memcmp(address, host, n) == 0;
}

static bool is_loopback(const char *address)
{
    /* "127.0.0.1.example.org" is a name of somewhere else. */
    bool net127 = strncmp(address, "127.", 4) == 0 && strspn(address, "0123456789.") == host_length(address);
    return net127 || host_is(address, "localhost") || host_is(address, "[::1]");
}

static bool is_any(const char *address) { return host_is(address, "0.0.0.0") || host_is(address, "[::]"); }

enum status settings_check(struct settings *s, struct error *err)
{
    if (!is_loopback(s->listen) && !s->insecure)
        return error_set(
            err, ST_DENIED,
            "listening on %.100s would let everyone who reaches this address read and change all data: "
            "there are no passwords and no encryption yet. In a network that you trust, say so with --insecure; "
            "else listen on 127.0.0.1",
            s->listen);
    if (is_any(s->listen) && s->advertise[0] == 0)
        return error_set(err, ST_INVALID,
                         "with --listen %.100s other nodes do not know where to find this one: say it with "
                         "--advertise HOST:PORT",
                         s->listen);
    if (s->advertise[0] != 0 && (is_any(s->advertise) || strcmp(strrchr(s->advertise, ':'), ":0") == 0))
        return error_set(err, ST_INVALID, "--advertise %.100s is not an address to connect to: give this node's own",
                         s->advertise);
    if (s->node.limits.log.segment_bytes * 2 > s->node.limits.log.bytes_max)
        return error_set(err, ST_INVALID,
                         "--log-segment is more than half of --log-max: the log needs at least two files");
    s->node.accept_loss = ACCEPT_LOSS_ALL;
    if (s->accept_loss[0] == 0) s->node.accept_loss = 0;
    else if (strcmp(s->accept_loss, "all") != 0 &&
             (!parse_number(s->accept_loss, &s->node.accept_loss) || s->node.accept_loss == 0))
        return error_set(err, ST_INVALID, "--accept-loss %s is neither the number of a partition nor 'all'",
                         s->accept_loss);
    s->node.limits.rows_dirty_bytes_max = s->node.limits.rows_bytes_max / 2;
    s->node.dir = s->dir;
    s->node.listen = s->listen;
    s->node.advertise = s->advertise[0] != 0 ? s->advertise : NULL;
    s->node.join = s->join[0] != 0 ? s->join : NULL;
    return ST_OK;
}

/* ---- near words ---- */

#define WORD_MAX 40

/* Levenshtein's distance of words up to WORD_MAX long. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[WORD_MAX + 1], n = (unsigned)strlen(b);
    for (unsigned k = 0; k <= n; k++) row[k] = k;
    for (unsigned i = 1; a[i - 1] != 0; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned k = 1; k <= n; k++) {
            unsigned above = row[k];
            row[k] = MIN(MIN(row[k], row[k - 1]) + 1, diagonal + (a[i - 1] != b[k - 1]));
            diagonal = above;
        }
    }
    return row[n];
}

const char *nearest_word(const char *word, const char *(*next)(void *ctx, size_t at), void *ctx)
{
    const char *best = NULL, *candidate;
    unsigned best_distance = 3;
    if (strlen(word) > WORD_MAX) return NULL;
    for (size_t at = 0; (candidate = next(ctx, at)) != NULL; at++) {
        if (strlen(candidate) > WORD_MAX) continue;
        unsigned d = distance(word, candidate);
        if (d < best_distance && d < strlen(word)) {
            best = candidate;
            best_distance = d;
        }
    }
    return best;
}
