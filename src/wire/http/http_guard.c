/* http_guard.c - may this request change something?
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/http/http_guard.h"

struct bytes http_host_name(struct bytes a)
{
    const uint8_t *end;
    if (a.n > 0 && a.p[0] == '[') {
        end = memchr(a.p, ']', a.n);
        return end != NULL ? bytes_of(a.p + 1, (size_t)(end - a.p) - 1) : (struct bytes){0};
    }
    end = a.n > 0 ? memchr(a.p, ':', a.n) : NULL;
    return bytes_of(a.p, end != NULL ? (size_t)(end - a.p) : a.n);
}

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* An address can't be made to mean another machine. Only its form counts: digits and dots, or in brackets. */
static bool is_address(struct bytes authority)
{
    if (authority.n > 0 && authority.p[0] == '[') return true;
    struct bytes host = http_host_name(authority);
    unsigned dots = 0;
    for (size_t i = 0; i < host.n; i++) {
        if (host.p[i] == '.') dots++;
        else if (!is_digit(host.p[i])) return false;
    }
    return dots == 3 && is_digit(host.p[host.n - 1]);
}

static bool equal_nocase(struct bytes a, struct bytes b)
{
    for (size_t i = 0; i < a.n && a.n == b.n; i++) {
        uint8_t x = a.p[i], y = b.p[i];
        if (x >= 'A' && x <= 'Z') x = (uint8_t)(x + 32);
        if (y >= 'A' && y <= 'Z') y = (uint8_t)(y + 32);
        if (x != y) return false;
    }
    return a.n == b.n;
}

static bool is_json(struct bytes type)
{
    const uint8_t *end = type.n > 0 ? memchr(type.p, ';', type.n) : NULL;
    if (end != NULL) type.n = (size_t)(end - type.p);
    while (type.n > 0 && (type.p[type.n - 1] == ' ' || type.p[type.n - 1] == '\t')) type.n--;
    return bytes_equal_nocase(type, "application/json");
}

static bool same_origin(struct bytes origin, struct bytes host)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (origin.n <= n || !bytes_equal_nocase(bytes_of(origin.p, n), schemes[i])) continue;
        return equal_nocase(bytes_of(origin.p + n, origin.n - n), host);
    }
    return false; /* "null" too */
}

enum status http_guard(const struct http_request *r, bool (*known)(void *ctx, struct bytes host), void *ctx,
                       struct error *err)
{
    struct bytes host = r->host.value;
    if (r->content_type.count != 0 && (r->content_type.count > 1 || !is_json(r->content_type.value)))
        return error_set(
            err, ST_INVALID,
            "a request that changes something has no body, or one of Content-Type: application/json, so that no "
            "form of a web page can send it");
    if (r->origin.count == 0 && r->fetch_site.count == 0) return ST_OK; /* no browser */
    if (r->host.count != 1 || host.n == 0)
        return error_set(err, ST_DENIED, "refused: it comes from a web page and does not say which host it is for");
    if (r->origin.count != 0 && (r->origin.count > 1 || !same_origin(r->origin.value, host)))
        return error_set(
            err, ST_DENIED,
            "refused: it comes from a web page of another site (Origin: %.*s), which may not change this node at "
            "%.*s",
            (int)MIN(r->origin.value.n, 100u), (const char *)r->origin.value.p, (int)MIN(host.n, 100u),
            (const char *)host.p);
    if (r->fetch_site.count != 0 &&
        (r->fetch_site.count > 1 ||
         (!bytes_equal_nocase(r->fetch_site.value, "same-origin") && !bytes_equal_nocase(r->fetch_site.value, "none"))))
        return error_set(err, ST_DENIED, "refused: it comes from a web page of another site (Sec-Fetch-Site: %.*s)",
                         (int)MIN(r->fetch_site.value.n, 40u), (const char *)r->fetch_site.value.p);
    if (!is_address(host) && !bytes_equal_nocase(http_host_name(host), "localhost") &&
        !known(ctx, http_host_name(host)))
        return error_set(
            err, ST_DENIED,
            "refused: it comes from a web page, and '%.*s' is no name that this cluster knows (a name may be made to "
            "resolve to any address): use the node's address, localhost, or the name given with --advertise",
            (int)MIN(host.n, 100u), (const char *)host.p);
    return ST_OK;
}
