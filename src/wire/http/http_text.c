/* http_text.c - the words of HTTP: status texts, targets, percent-encoding.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/http/http_text.h"

#include <stdio.h>
#include <time.h>

#include "wire/http/http.h"

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } rows[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {425, "Too Early"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (rows[i].status == status) return rows[i].reason;
    return "Unknown";
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

enum status http_unescape(struct bytes b, bool plus, struct buf *out)
{
    for (size_t i = 0; i < b.n; i++) {
        uint8_t c = b.p[i];
        if (c == '%') {
            int high = i + 2 < b.n ? hex_digit(b.p[i + 1]) : -1, low = i + 2 < b.n ? hex_digit(b.p[i + 2]) : -1;
            if (high < 0 || low < 0) return ST_INVALID;
            c = (uint8_t)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c == 0) return ST_INVALID; /* would end a C string before its time */
        buf_put_u8(out, c);
    }
    return ST_OK;
}

/* Takes "http://host:port" off an absolute form. */
static struct bytes without_authority(struct bytes target)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (target.n < n || !bytes_equal_nocase(bytes_of(target.p, n), schemes[i])) continue;
        while (n < target.n && target.p[n] != '/' && target.p[n] != '?') n++;
        return bytes_of(target.p + n, target.n - n);
    }
    return target;
}

enum status http_target(struct bytes target, struct buf *out_path, struct bytes *out_query, struct error *err)
{
    struct bytes rest = without_authority(target), query = {0};
    for (size_t i = 0; i < target.n; i++)
        if (target.p[i] <= ' ' || target.p[i] == 127 || target.p[i] == '#')
            return error_set(err, ST_INVALID, "the request target holds byte %02x", target.p[i]);
    const uint8_t *mark = rest.n > 0 ? memchr(rest.p, '?', rest.n) : NULL;
    if (mark != NULL) {
        query = bytes_of(mark + 1, (size_t)(rest.p + rest.n - mark - 1));
        rest.n = (size_t)(mark - rest.p);
    }
    if (rest.n == 0 && rest.p != target.p) rest = BYTES_LIT("/"); /* "http://host" */
    if (rest.n == 0 || (rest.p[0] != '/' && !bytes_equal(rest, BYTES_LIT("*"))))
        return error_set(err, ST_INVALID, "the request target does not begin with '/'");
    if (http_unescape(rest, false, out_path) != ST_OK)
        return error_set(err, ST_INVALID, "the path holds a bad %%-escape");
    *out_query = query;
    return ST_OK;
}

bool http_query(struct bytes query, const char *name, char *out, size_t max)
{
    struct buf key = {0}, value = {0};
    bool found = false;
    ASSERT(max > 0);
    while (query.n > 0 && !found) {
        const uint8_t *end = memchr(query.p, '&', query.n);
        struct bytes pair = bytes_of(query.p, end != NULL ? (size_t)(end - query.p) : query.n);
        size_t used = pair.n + (end != NULL ? 1 : 0);
        query = bytes_of(query.p + used, query.n - used);
        const uint8_t *equals = pair.n > 0 ? memchr(pair.p, '=', pair.n) : NULL;
        size_t key_n = equals != NULL ? (size_t)(equals - pair.p) : pair.n;
        buf_clear(&key);
        if (http_unescape(bytes_of(pair.p, key_n), true, &key) != ST_OK ||
            !bytes_equal(buf_view(&key), bytes_str(name)))
            continue;
        struct bytes raw = {0};
        if (equals != NULL) raw = bytes_of(equals + 1, pair.n - key_n - 1);
        buf_clear(&value);
        if (http_unescape(raw, true, &value) != ST_OK || value.n >= max)
            break; /* one that is cut would be another one */
        if (value.n > 0) memcpy(out, value.p, value.n);
        out[value.n] = 0;
        found = true;
    }
    buf_deinit(&key);
    buf_deinit(&value);
    return found;
}

void http_date(uint64_t wall_ms, char out[32])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (wall_ms / 1000 > 253402300799u || gmtime_r(&t, &tm) == NULL) t = 0, gmtime_r(&t, &tm); /* after the year 9999 */
    snprintf(out, 32, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday % 7], tm.tm_mday % 100,
             months[tm.tm_mon % 12], (tm.tm_year + 1900) % 10000, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
}
