/* json.c - writes JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

/* Length of the well-formed UTF-8 sequence at p (RFC 3629: no overlong forms, no surrogates); 0: none is there. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
    if (p[0] < 0x80) return 1;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return len;
}

static void put_string(struct buf *out, struct bytes s)
{
    buf_put_u8(out, '"');
    for (size_t i = 0; i < s.n;) {
        size_t len = utf8_length(s.p + i, s.n - i);
        if (len == 0) {
            buf_put_bytes(out, BYTES_LIT("\\ufffd"));
            i++;
            continue;
        }
        uint8_t ch = s.p[i];
        if (ch == '"' || ch == '\\') buf_printf(out, "\\%c", ch);
        else if (ch < 0x20 || ch == 0x7f) buf_printf(out, "\\u%04x", ch);
        else buf_put(out, s.p + i, len);
        i += len;
    }
    buf_put_u8(out, '"');
}

static void start(struct json *j, const char *key)
{
    if (j->comma) buf_put_u8(j->out, ',');
    j->comma = true;
    if (key == NULL) return;
    put_string(j->out, bytes_str(key));
    buf_put_u8(j->out, ':');
}

static void begin(struct json *j, const char *key, uint8_t bracket)
{
    start(j, key);
    buf_put_u8(j->out, bracket);
    j->comma = false;
}

static void end(struct json *j, uint8_t bracket)
{
    buf_put_u8(j->out, bracket);
    j->comma = true;
}

void json_begin_object(struct json *j, const char *key) { begin(j, key, '{'); }
void json_begin_array(struct json *j, const char *key) { begin(j, key, '['); }
void json_end_object(struct json *j) { end(j, '}'); }
void json_end_array(struct json *j) { end(j, ']'); }

void json_put_bytes(struct json *j, const char *key, struct bytes text)
{
    start(j, key);
    put_string(j->out, text);
}

void json_put_null(struct json *j, const char *key)
{
    start(j, key);
    buf_put_bytes(j->out, BYTES_LIT("null"));
}

void json_put_text(struct json *j, const char *key, const char *text)
{
    if (text == NULL) json_put_null(j, key);
    else json_put_bytes(j, key, bytes_str(text));
}

void json_put_u64(struct json *j, const char *key, uint64_t v)
{
    start(j, key);
    buf_printf(j->out, "%llu", (unsigned long long)v);
}

void json_put_i64(struct json *j, const char *key, int64_t v)
{
    start(j, key);
    buf_printf(j->out, "%lld", (long long)v);
}

void json_put_bool(struct json *j, const char *key, bool v)
{
    start(j, key);
    buf_put_bytes(j->out, v ? BYTES_LIT("true") : BYTES_LIT("false"));
}

void json_put_milli(struct json *j, const char *key, int64_t thousandths)
{
    uint64_t v = thousandths < 0 ? 0 - (uint64_t)thousandths : (uint64_t)thousandths;
    start(j, key);
    buf_printf(j->out, "%s%llu.%03llu", thousandths < 0 ? "-" : "", (unsigned long long)(v / 1000),
               (unsigned long long)(v % 1000));
}
