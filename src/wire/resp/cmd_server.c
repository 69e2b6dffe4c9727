/* cmd_server.c - INFO and CONFIG.
 * SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>

#include "wire/resp/cmd_door.h"

/* ---- INFO ---- */

/* Of the door: the sections that only it knows. The rest is the gate's. */
static void info_server(const struct resp_door *d, struct buf *out)
{
    uint64_t up = (env_now_ns(d->env) - d->started_ns) / NS_PER_S;
    buf_printf(out,
               "# Server\r\nredis_version:%s\r\nredis_mode:%s\r\ncairn_version:%s\r\narch_bits:64\r\ntcp_port:%u\r\n"
               "uptime_in_seconds:%llu\r\nuptime_in_days:%llu\r\n",
               RESP_VERSION, d->config.redirects ? "cluster" : "standalone", CAIRN_VERSION, d->config.port,
               (unsigned long long)up, (unsigned long long)(up / 86400));
}

static void info_clients(const struct resp_door *d, struct buf *out)
{
    buf_printf(out, "# Clients\r\nconnected_clients:%zu\r\nmaxclients:%zu\r\nblocked_clients:0\r\n", d->conn_count,
               d->config.clients_max);
}

static void info_persistence(const struct resp_door *d, struct buf *out)
{
    buf_put_bytes(out,
                  BYTES_LIT("# Persistence\r\nloading:0\r\naof_enabled:1\r\n")); /* every write is logged and synced */
}

static void info_stats(const struct resp_door *d, struct buf *out)
{
    const struct resp_door_stats *s = &d->stats;
    buf_printf(
        out,
        "# Stats\r\ntotal_connections_received:%llu\r\nrejected_connections:%llu\r\ntotal_commands_processed:%llu\r\n"
        "total_error_replies:%llu\r\ntotal_net_input_bytes:%llu\r\ntotal_net_output_bytes:%llu\r\n"
        "client_output_buffer_limit_disconnections:%llu\r\ncommands_under_way:%zu\r\n",
        (unsigned long long)s->connections, (unsigned long long)s->rejected, (unsigned long long)s->commands,
        (unsigned long long)s->errors, (unsigned long long)s->bytes_in, (unsigned long long)s->bytes_out,
        (unsigned long long)s->slow_closed, d->cmds_out);
}

static void info_cluster(const struct resp_door *d, struct buf *out)
{
    buf_printf(out, "# Cluster\r\ncluster_enabled:%d\r\n", d->config.redirects);
}

static const struct {
    const char *name;
    void (*put)(const struct resp_door *d, struct buf *out);
} sections[] = {
    {"server", info_server}, {"clients", info_clients}, {"persistence", info_persistence},
    {"stats", info_stats},   {"cluster", info_cluster},
};

/* The node knows more than one of its doors: where it has a section of the same name, that one is told. */
static void info_section(const struct resp_door *d, const char *name, struct buf *out)
{
    struct buf node = {0}, own = {0};
    gate_info(d->gate, name, &node);
    for (size_t i = 0; i < ARRAY_COUNT(sections); i++) {
        if (name[0] != 0 && strcmp(name, sections[i].name) != 0) continue;
        buf_clear(&own);
        sections[i].put(d, &own);
        const uint8_t *head_end = memchr(own.p, '\n', own.n);
        if (node.n != 0 && memmem(node.p, node.n, own.p, (size_t)(head_end - own.p)) != NULL) continue;
        if (out->n != 0) buf_put_bytes(out, BYTES_LIT("\r\n"));
        buf_put_bytes(out, buf_view(&own));
    }
    if (node.n != 0 && out->n != 0) buf_put_bytes(out, BYTES_LIT("\r\n"));
    buf_put_bytes(out, buf_view(&node));
    buf_deinit(&node);
    buf_deinit(&own);
}

void cmd_info(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf text = {0};
    bool all = argc == 1;
    for (size_t i = 1; i < argc; i++)
        all = all || bytes_equal_nocase(argv[i], "all") || bytes_equal_nocase(argv[i], "everything") ||
              bytes_equal_nocase(argv[i], "default");
    if (all) info_section(c->door, "", &text);
    for (size_t i = 1; i < argc && !all; i++) {
        char name[32];
        if (argv[i].n == 0 || argv[i].n >= sizeof name) continue;
        for (size_t k = 0; k < argv[i].n; k++) name[k] = (char)tolower(argv[i].p[k]);
        name[argv[i].n] = 0;
        info_section(c->door, name, &text);
    }
    resp_put_verbatim(resp_conn_out(c), c->proto, buf_view(&text));
    buf_deinit(&text);
}

/* ---- CONFIG ---- */

static uint8_t lower(uint8_t ch) { return ch >= 'A' && ch <= 'Z' ? (uint8_t)(ch + 32) : ch; }

/* Matches the class after '[' at *at; moves *at to its last byte. */
static bool glob_class(struct bytes pattern, size_t *at, uint8_t ch)
{
    size_t i = *at + 1;
    bool negate = i < pattern.n && pattern.p[i] == '^', found = false;
    if (negate) i++;
    for (; i < pattern.n && pattern.p[i] != ']'; i++) {
        if (pattern.p[i] == '\\' && i + 1 < pattern.n) i++;
        uint8_t lo = lower(pattern.p[i]), hi = lo;
        if (i + 2 < pattern.n && pattern.p[i + 1] == '-') {
            hi = lower(pattern.p[i + 2]);
            i += 2;
        }
        found = found || (ch >= MIN(lo, hi) && ch <= MAX(lo, hi));
    }
    *at = MIN(i, pattern.n - 1);
    return found != negate;
}

bool resp_glob(struct bytes pattern, struct bytes text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, star_text = 0;
    while (t < text.n || p < pattern.n) {
        if (p < pattern.n && pattern.p[p] == '*') { /* only the last star is ever tried again: linear in practice */
            star = p++;
            star_text = t;
            continue;
        }
        if (p < pattern.n && t < text.n) {
            size_t at = p;
            bool match;
            if (pattern.p[p] == '?') match = true;
            else if (pattern.p[p] == '[') match = glob_class(pattern, &at, lower(text.p[t]));
            else {
                if (pattern.p[p] == '\\' && p + 1 < pattern.n) at++;
                match = lower(pattern.p[at]) == lower(text.p[t]);
            }
            if (match) {
                p = at + 1;
                t++;
                continue;
            }
        }
        if (star == SIZE_MAX || star_text >= text.n) return false;
        p = star + 1;
        t = ++star_text;
    }
    return true;
}

/* What Redis clients ask for, and what is true here whatever the settings are. */
static const struct {
    const char *name, *value;
} fixed[] = {{"appendonly", "yes"}, {"appendfsync", "always"}, {"save", ""}, {"databases", "1"}};

void cmd_config_get(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf pairs = {0};
    uint64_t count = 0;
    char value[1024];
    const char *name;
    for (size_t at = 0;; at++) {
        size_t own = at < ARRAY_COUNT(fixed) ? 0 : at - ARRAY_COUNT(fixed);
        if (at < ARRAY_COUNT(fixed)) {
            name = fixed[at].name;
            snprintf(value, sizeof value, "%s", fixed[at].value);
        } else if (!gate_config_get(c->door->gate, own, &name, value, sizeof value)) {
            break;
        }
        for (size_t i = 2; i < argc; i++) {
            if (!resp_glob(argv[i], bytes_str(name))) continue;
            resp_put_bulk_str(&pairs, name);
            resp_put_bulk_str(&pairs, value);
            count++;
            break;
        }
    }
    resp_put_map(resp_conn_out(c), c->proto, count);
    buf_put_bytes(resp_conn_out(c), buf_view(&pairs));
    buf_deinit(&pairs);
}

static void text_of(struct bytes in, char *out, size_t max)
{
    size_t n = MIN(in.n, max - 1);
    if (n != 0) memcpy(out, in.p, n);
    out[n] = 0;
}

void cmd_config_set(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    struct buf *out = resp_conn_out(c);
    char name[128], value[1024], known_value[1024];
    const char *known;
    if (argc % 2 != 0) {
        resp_put_errorf(out, "ERR syntax error");
        return;
    }
    for (size_t i = 2; i < argc; i += 2) { /* all names are checked before any is set */
        bool found = false;
        for (size_t at = 0; !found && gate_config_get(c->door->gate, at, &known, known_value, sizeof known_value); at++)
            found = bytes_equal_nocase(argv[i], known);
        text_of(argv[i], name, sizeof name);
        if (!found) {
            resp_put_errorf(out, "ERR Unknown option or number of arguments for CONFIG SET - '%s'", name);
            return;
        }
        for (size_t k = 2; k < i; k += 2) {
            if (!bytes_equal(argv[i], argv[k])) continue;
            resp_put_errorf(out, "ERR CONFIG SET failed (possibly related to argument '%s') - duplicate parameter",
                            name);
            return;
        }
    }
    for (size_t i = 2; i < argc; i += 2) {
        struct error err = {0};
        text_of(argv[i], name, sizeof name);
        for (char *s = name; *s != 0; s++) *s = (char)lower((uint8_t)*s);
        enum status st = ST_INVALID;
        if (argv[i + 1].n < sizeof value && memchr(argv[i + 1].p, 0, argv[i + 1].n) == NULL) {
            text_of(argv[i + 1], value, sizeof value);
            st = gate_config_set(c->door->gate, name, value, &err);
        } else {
            error_set(&err, ST_INVALID, "the value is too long or not text");
        }
        if (st == ST_OK) continue;
        resp_put_errorf(out, "ERR CONFIG SET failed (possibly related to argument '%s') - %s", name,
                        err.text[0] != 0 ? err.text : status_name(st));
        return;
    }
    resp_put_ok(out);
}

void cmd_config_resetstat(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    c->door->stats = (struct resp_door_stats){0};
    resp_put_ok(resp_conn_out(c));
}

void cmd_config_rewrite(struct resp_conn *c, const struct bytes *argv, size_t argc)
{
    resp_put_errorf(resp_conn_out(c), "ERR The server is running without a config file");
}
