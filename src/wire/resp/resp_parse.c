/* resp_parse.c - takes commands off the bytes a Redis client sent.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp/resp_parse.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/status.h"

#define ARGV_KEEP 1024u /* a larger argv is given back after its command */

void resp_parser_init(struct resp_parser *p, const struct resp_limits *limits)
{
    ASSERT(limits->args_max <= RESP_ARGS_MAX && limits->bulk_max <= RESP_BULK_MAX);
    *p = (struct resp_parser){.limits = limits};
}

void resp_parser_deinit(struct resp_parser *p)
{
    mem_free(p->argv);
    buf_deinit(&p->scratch);
    *p = (struct resp_parser){.limits = p->limits};
}

static enum resp_parsed broken(struct resp_parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static enum resp_parsed broken(struct resp_parser *p, const char *fmt, ...)
{
    int n = snprintf(p->error, sizeof p->error, "Protocol error: ");
    va_list args;
    va_start(args, fmt);
    vsnprintf(p->error + n, sizeof p->error - (size_t)n, fmt, args);
    va_end(args);
    return RESP_BROKEN;
}

static void argv_push(struct resp_parser *p, struct bytes arg)
{
    if (p->argc == p->argv_cap) {
        p->argv_cap = p->argv_cap != 0 ? p->argv_cap * 2 : 16;
        p->argv = mem_realloc(p->argv, p->argv_cap * sizeof *p->argv);
    }
    p->argv[p->argc++] = arg;
}

static void restart(struct resp_parser *p)
{
    p->at = p->looked = p->left = p->bulk = 0;
    p->in_array = p->in_bulk = false;
}

static void argv_reset(struct resp_parser *p)
{
    p->argc = 0;
    if (p->argv_cap <= ARGV_KEEP) return;
    mem_free(p->argv);
    p->argv = NULL;
    p->argv_cap = 0;
}

enum line { LINE_MORE, LINE_OK, LINE_BAD, LINE_LONG };

/* The number between the type byte at p->at and the next CR LF. On LINE_OK p->at is behind the line. The LF is not
 * looked at, as in Redis. */
static enum line number_line(struct resp_parser *p, struct bytes in, int64_t *out)
{
    const uint8_t *s = in.p + p->at + 1, *end = in.p + in.n;
    /* The common case: one to nine digits, no leading zero, all there. */
    if (end - s >= 12 && s[0] >= '1' && s[0] <= '9') {
        uint32_t v = s[0] - '0';
        size_t n = 1;
        for (; n < 9 && (uint8_t)(s[n] - '0') <= 9; n++) v = v * 10 + (uint8_t)(s[n] - '0');
        if (s[n] == '\r') {
            *out = v;
            p->at += n + 3;
            p->looked = p->at;
            return LINE_OK;
        }
    }
    size_t from = MAX(p->at + 1, p->looked);
    const uint8_t *cr = from < in.n ? memchr(in.p + from, '\r', in.n - from) : NULL;
    if (cr == NULL) {
        p->looked = MAX(from, in.n);
        return in.n - p->at > RESP_INLINE_MAX ? LINE_LONG : LINE_MORE;
    }
    size_t cr_at = (size_t)(cr - in.p);
    p->looked = cr_at;
    if (cr_at - p->at > RESP_INLINE_MAX) return LINE_LONG;
    if (in.n - cr_at < 2) return LINE_MORE;
    if (!bytes_to_i64(bytes_of(s, cr_at - p->at - 1), out)) return LINE_BAD;
    p->at = cr_at + 2;
    p->looked = p->at;
    return LINE_OK;
}

/* Reads arguments until the array is complete. Offsets stand in for pointers until then: the input may move. */
static enum resp_parsed array_step(struct resp_parser *p, struct bytes in)
{
    while (p->left != 0) {
        if (!p->in_bulk) {
            int64_t n;
            if (p->at >= in.n) return RESP_MORE;
            if (in.p[p->at] != '$') return broken(p, "expected '$', got '%c'", in.p[p->at]);
            switch (number_line(p, in, &n)) {
            case LINE_MORE: return RESP_MORE;
            case LINE_LONG: return broken(p, "too big bulk count string");
            case LINE_BAD: return broken(p, "invalid bulk length");
            case LINE_OK: break;
            }
            if (n < 0 || (uint64_t)n > p->limits->bulk_max) return broken(p, "invalid bulk length");
            if (p->at + (size_t)n + 2 > p->limits->command_max)
                return broken(p, "command larger than %zu bytes", p->limits->command_max);
            p->bulk = (size_t)n;
            p->in_bulk = true;
        }
        if (in.n - p->at < p->bulk + 2) return RESP_MORE;
        argv_push(p, (struct bytes){(const uint8_t *)(uintptr_t)p->at, p->bulk});
        p->at += p->bulk + 2;
        p->looked = p->at;
        p->in_bulk = false;
        p->left--;
    }
    for (size_t i = 0; i < p->argc; i++) p->argv[i].p = in.p + (uintptr_t)p->argv[i].p;
    return RESP_COMMAND;
}

static bool blank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One backslash escape inside double quotes; s is behind the backslash. Returns how many bytes it took. */
static size_t unescape(const uint8_t *s, const uint8_t *end, uint8_t *out)
{
    if (end - s >= 3 && s[0] == 'x') {
        int high = hex_digit(s[1]), low = hex_digit(s[2]);
        if (high >= 0 && low >= 0) {
            *out = (uint8_t)(high << 4 | low);
            return 3;
        }
    }
    switch (s[0]) {
    case 'n': *out = '\n'; break;
    case 'r': *out = '\r'; break;
    case 't': *out = '\t'; break;
    case 'b': *out = '\b'; break;
    case 'a': *out = '\a'; break;
    default: *out = s[0]; break;
    }
    return 1;
}

/* Splits a line as sdssplitargs() does: blanks separate, "…" with escapes, '…' with \'. Arguments go to the scratch,
 * with offsets until it is complete. false: unbalanced quotes. */
static bool split_line(struct resp_parser *p, struct bytes line)
{
    const uint8_t *s = line.p, *end = line.p + line.n;
    buf_clear(&p->scratch);
    buf_reserve(&p->scratch, line.n + 1); /* unquoting never grows */
    for (;;) {
        while (s < end && blank(*s)) s++;
        if (s == end || *s == 0) break;
        size_t from = p->scratch.n;
        uint8_t quote = 0;
        for (; s < end && (quote != 0 || !(blank(*s) || *s == 0)); s++) {
            if (quote == 0) {
                if (*s == '"' || *s == '\'') quote = *s;
                else p->scratch.p[p->scratch.n++] = *s;
            } else if (quote == '"' && *s == '\\' && end - s > 1) {
                s += unescape(s + 1, end, &p->scratch.p[p->scratch.n++]);
            } else if (quote == '\'' && *s == '\\' && end - s > 1 && s[1] == '\'') {
                p->scratch.p[p->scratch.n++] = '\'';
                s++;
            } else if (*s == 0) {
                return false;
            } else if (*s == quote) {
                if (end - s > 1 && !blank(s[1])) return false; /* a closing quote ends its argument */
                s++;
                quote = 0;
                break;
            } else {
                p->scratch.p[p->scratch.n++] = *s;
            }
        }
        if (quote != 0) return false;
        argv_push(p, (struct bytes){(const uint8_t *)(uintptr_t)from, p->scratch.n - from});
    }
    for (size_t i = 0; i < p->argc; i++) p->argv[i].p = p->scratch.p + (uintptr_t)p->argv[i].p;
    return true;
}

static enum resp_parsed inline_step(struct resp_parser *p, struct bytes in)
{
    size_t from = MAX(p->at, p->looked);
    const uint8_t *lf = from < in.n ? memchr(in.p + from, '\n', in.n - from) : NULL;
    size_t n = lf != NULL ? (size_t)(lf - in.p) - p->at : in.n - p->at;
    if (n > RESP_INLINE_MAX) return broken(p, "too big inline request");
    if (lf == NULL) {
        p->looked = in.n;
        return RESP_MORE;
    }
    struct bytes line = bytes_of(in.p + p->at, n);
    p->at += n + 1;
    p->looked = p->at;
    if (line.n != 0 && line.p[line.n - 1] == '\r') line.n--;
    if (!split_line(p, line)) return broken(p, "unbalanced quotes in request");
    return RESP_COMMAND;
}

/* The head of an array. RESP_COMMAND: there are arguments to come, or it is empty. */
static enum resp_parsed array_head(struct resp_parser *p, struct bytes in)
{
    int64_t n;
    switch (number_line(p, in, &n)) {
    case LINE_MORE: return RESP_MORE;
    case LINE_LONG: return broken(p, "too big mbulk count string");
    case LINE_BAD: return broken(p, "invalid multibulk length");
    case LINE_OK: break;
    }
    if (n > (int64_t)p->limits->args_max) return broken(p, "invalid multibulk length");
    p->left = n > 0 ? (size_t)n : 0;
    p->in_array = true;
    return RESP_COMMAND;
}

enum resp_parsed resp_parse(struct resp_parser *p, struct bytes in, size_t *out_used)
{
    size_t skipped = 0;
    *out_used = 0;
    if (p->at == 0) argv_reset(p);
    for (;;) {
        ASSERT(p->at <= in.n);
        enum resp_parsed r = RESP_COMMAND;
        if (p->at == in.n && !p->in_array) r = RESP_MORE;
        else if (!p->in_array && in.p[p->at] == '*') r = array_head(p, in);
        else if (!p->in_array) r = inline_step(p, in);
        if (r == RESP_COMMAND && p->in_array) r = array_step(p, in);
        if (r != RESP_COMMAND) {
            *out_used = skipped;
            return r;
        }
        size_t used = p->at;
        restart(p);
        if (p->argc != 0) {
            *out_used = skipped + used;
            return RESP_COMMAND;
        }
        skipped += used; /* an empty command has no reply */
        in = bytes_of(in.p + used, in.n - used);
    }
}

size_t resp_parse_needs(const struct resp_parser *p, size_t have)
{
    size_t end = p->in_bulk ? p->at + p->bulk + 2 : 0;
    return end > have ? end - have : 1;
}
