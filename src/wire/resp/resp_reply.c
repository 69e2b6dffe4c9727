/* resp_reply.c - writes replies in RESP2 and RESP3.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp/resp_reply.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "model/result.h"

/* A type byte, a number, CR LF. */
static void head(struct buf *out, char type, int64_t v)
{
    buf_reserve(out, 24);
    uint8_t *p = out->p + out->n;
    *p++ = (uint8_t)type;
    if (v >= 0 && v < 10) *p++ = (uint8_t)('0' + v);
    else p += i64_to_text(v, (char *)p);
    *p++ = '\r';
    *p++ = '\n';
    out->n = (size_t)(p - out->p);
}

static void typed(struct buf *out, char type, struct bytes s)
{
    uint8_t *p = buf_extend(out, s.n + 3);
    *p++ = (uint8_t)type;
    if (s.n != 0) memcpy(p, s.p, s.n);
    p[s.n] = '\r';
    p[s.n + 1] = '\n';
}

void resp_put_simple(struct buf *out, const char *text) { typed(out, '+', bytes_str(text)); }
void resp_put_ok(struct buf *out) { buf_put(out, "+OK\r\n", 5); }

void resp_put_error(struct buf *out, struct bytes text)
{
    while (text.n != 0 && (text.p[text.n - 1] == '\r' || text.p[text.n - 1] == '\n')) text.n--;
    size_t at = out->n + 1;
    typed(out, '-', text);
    for (size_t i = 0; i < text.n; i++)
        if (out->p[at + i] == '\r' || out->p[at + i] == '\n') out->p[at + i] = ' ';
}

void resp_put_errorf(struct buf *out, const char *fmt, ...)
{
    char text[640];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ASSERT(n >= 0);
    resp_put_error(out, bytes_of(text, MIN((size_t)n, sizeof text - 1)));
}

void resp_put_int(struct buf *out, int64_t v) { head(out, ':', v); }

void resp_put_bulk(struct buf *out, struct bytes s)
{
    buf_reserve(out, s.n + 26);
    head(out, '$', (int64_t)s.n);
    uint8_t *p = out->p + out->n;
    if (s.n != 0) memcpy(p, s.p, s.n);
    p[s.n] = '\r';
    p[s.n + 1] = '\n';
    out->n += s.n + 2;
}

void resp_put_bulk_str(struct buf *out, const char *s) { resp_put_bulk(out, bytes_str(s)); }

void resp_put_nil(struct buf *out, int proto)
{
    if (proto >= 3) buf_put(out, "_\r\n", 3);
    else buf_put(out, "$-1\r\n", 5);
}

void resp_put_nil_array(struct buf *out, int proto)
{
    if (proto >= 3) buf_put(out, "_\r\n", 3);
    else buf_put(out, "*-1\r\n", 5);
}

void resp_put_array(struct buf *out, uint64_t count) { head(out, '*', (int64_t)count); }

void resp_put_map(struct buf *out, int proto, uint64_t pairs)
{
    if (proto >= 3) head(out, '%', (int64_t)pairs);
    else head(out, '*', (int64_t)(2 * pairs));
}

void resp_put_set(struct buf *out, int proto, uint64_t count) { head(out, proto >= 3 ? '~' : '*', (int64_t)count); }

void resp_put_verbatim(struct buf *out, int proto, struct bytes text)
{
    if (proto < 3) {
        resp_put_bulk(out, text);
        return;
    }
    head(out, '=', (int64_t)text.n + 4);
    buf_put(out, "txt:", 4);
    buf_put_bytes(out, text);
    buf_put(out, "\r\n", 2);
}

static void put_one(struct buf *out, int proto, const struct result *r)
{
    switch (r->tag) {
    case 'n': resp_put_nil(out, proto); break;
    case 'N': resp_put_nil_array(out, proto); break;
    case 'o': resp_put_ok(out); break;
    case 'T':
        if (proto >= 3) buf_put(out, "#t\r\n", 4);
        else head(out, ':', 1);
        break;
    case 'F':
        if (proto >= 3) buf_put(out, "#f\r\n", 4);
        else head(out, ':', 0);
        break;
    case 'i': head(out, ':', r->number); break;
    case 'd':
        if (proto >= 3) typed(out, ',', r->bytes);
        else resp_put_bulk(out, r->bytes);
        break;
    case 'b': resp_put_bulk(out, r->bytes); break;
    case 's': typed(out, '+', r->bytes); break;
    case 'e': resp_put_error(out, r->bytes); break;
    case 'a': resp_put_array(out, r->count); break;
    case 'm': resp_put_map(out, proto, r->count); break;
    case 't': resp_put_set(out, proto, r->count); break;
    /* The gate follows the first two up; one that still comes here changed nothing. */
    case 'X':
        resp_put_errorf(out, "UNAVAILABLE not executed: blocked by transaction %llu", (unsigned long long)r->count);
        break;
    case 'W':
        resp_put_errorf(out, "UNKNOWN the outcome of this write is not kept any more");
        break; /* the gate's affair */
    case 'V': resp_put_errorf(out, "UNAVAILABLE not executed: the keys changed while it was evaluated"); break;
    case 'Z':
        resp_put_errorf(out,
                        "EXECUTED the command was executed, once, but what it answered was not kept for a retry: read "
                        "the key to learn it");
        break;
    default: ASSERT(!"result_next returns no other tag");
    }
}

static bool put_from(struct buf *out, int proto, struct reader *r, unsigned depth)
{
    struct result one;
    if (depth > RESULT_DEPTH_MAX || !result_next(r, &one)) return false;
    bool pairs = one.tag == 'm' || one.tag == 'p';
    uint64_t elements = 0;
    if (pairs || one.tag == 'a' || one.tag == 't') {
        if (one.count > reader_left(r)) return false; /* each takes at least a byte */
        elements = pairs ? 2 * one.count : one.count;
    }
    if (one.tag == 'p') resp_put_array(out, proto >= 3 ? one.count : elements);
    else put_one(out, proto, &one);
    for (uint64_t i = 0; i < elements; i++) {
        if (one.tag == 'p' && proto >= 3 && i % 2 == 0) resp_put_array(out, 2);
        if (!put_from(out, proto, r, depth + 1)) return false;
    }
    return true;
}

bool resp_put_result_from(struct buf *out, int proto, struct reader *r)
{
    size_t before = out->n;
    if (put_from(out, proto, r, 1)) return true;
    out->n = before;
    return false;
}

void resp_put_result(struct buf *out, int proto, struct bytes encoded)
{
    struct reader r = reader_of(encoded);
    size_t before = out->n;
    if (resp_put_result_from(out, proto, &r) && reader_left(&r) == 0) return;
    out->n = before;
    resp_put_errorf(out, "ERR internal error: malformed result");
}

void resp_put_status(struct buf *out, bool write, enum status st, const char *text)
{
    ASSERT(st != ST_OK);
    const char *why = text[0] != 0 ? text : status_name(st);
    switch (st) {
    case ST_OUTCOME_UNKNOWN:
        if (write) resp_put_errorf(out, "UNKNOWN the outcome of this write is unknown: %s", why);
        else resp_put_errorf(out, "UNAVAILABLE not executed: %s", why);
        break;
    case ST_OVERLOADED:
    case ST_BUSY: resp_put_errorf(out, "OVERLOADED not executed: %s", why); break;
    case ST_TIMEOUT: resp_put_errorf(out, "TIMEOUT not executed: %s", why); break;
    case ST_UNAVAILABLE:
    case ST_STOPPED:
    case ST_NOT_LEADER: resp_put_errorf(out, "UNAVAILABLE not executed: %s", why); break;
    case ST_INVALID:
    case ST_UNSUPPORTED:
    case ST_TOO_LARGE:
    case ST_DENIED: resp_put_errorf(out, "ERR not executed: %s", why); break;
    default:
        /* A fault that says nothing about whether it happened. */
        if (write) resp_put_errorf(out, "UNKNOWN the outcome of this write is unknown: %s: %s", status_name(st), why);
        else resp_put_errorf(out, "ERR %s: %s", status_name(st), why);
        break;
    }
}
