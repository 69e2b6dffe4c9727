/* http.h - the HTTP/1.1 door: metrics, health, status, admin.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    parses requests (llhttp), hands each whole one to a handler, writes its response; keep-alive and
 * pipelining in order. The fixed names (/metrics, /health, /status.json, /api/…) belong to the handler. Bounds: request
 * line 8 KiB, with headers 16 KiB, body limits.body_max; a connection that is idle, or whose request has not come whole
 * (a body: 64 KiB more) within idle_ns, or that does not read its answer, is closed. One request of a connection is
 * handled at a time; the next ones wait unread. Errors:     400 with a text that says what was wrong, 408, 413, 414,
 * 417, 431, 501, 503, 505 come from the door; 404, 405 (with Allow: http_header) from the handler. Threading:  the
 * shard. */
#ifndef CAIRN_WIRE_HTTP_HTTP_H
#define CAIRN_WIRE_HTTP_HTTP_H

#include "base/bytes.h"
#include "env/env.h"

struct http_door;
struct http_exchange; /* one request and its answer */

/* A header that handlers may need. One that is longer than HTTP_FIELD_MAX has count > 1, as if it had come twice. */
#define HTTP_FIELD_MAX 320
struct http_field {
    struct bytes value; /* of the first, without blanks around it; empty if it is too long */
    unsigned count;     /* 0: absent */
};

struct http_request {
    const char *method; /* "GET" */
    struct bytes path;  /* without the query, percent-decoded */
    struct bytes query; /* after '?', raw */
    struct bytes body;
    struct http_field host, origin, content_type, fetch_site; /* the last: Sec-Fetch-Site */
};

struct http_door_options {
    struct env_loop *loop;
    size_t body_max, connections_max;
    uint64_t idle_ns;
    /* Answers with http_answer, now or later (the exchange stays valid until then; the request only during the call).
     */
    void (*handle)(void *ctx, struct http_exchange *x, const struct http_request *r);
    void (*left)(void *ctx); /* a connection ended */
    void *ctx;
};

struct http_door *http_door_new(const struct http_door_options *options);
void http_door_free(struct http_door *d); /* closes its connections; exchanges not answered yet stay valid */
void http_door_accept(struct http_door *d, struct env_stream *s, struct bytes first);
/* Adds a header to the answer, e.g. "Allow", "GET". Before http_answer; a value with control characters is left out. */
void http_header(struct http_exchange *x, const char *name, const char *value);
/* Ends the exchange. type e.g. "application/json". Fine if the client is gone. The body is copied. */
void http_answer(struct http_exchange *x, int status, const char *type, struct bytes body);
/* Value of a query parameter, percent-decoded into out; false if absent. */
bool http_query(struct bytes query, const char *name, char *out, size_t max);

struct http_door_stats {
    uint64_t connections;       /* open now */
    uint64_t accepted, refused; /* refused: more than connections_max */
    uint64_t requests;          /* handed to the handler */
    uint64_t errors;            /* answered by the door itself */
    uint64_t timeouts;
};
void http_door_stats(const struct http_door *d, struct http_door_stats *out);

/* A small client for the command line: one request, the whole answer (bounded), then done (once; why_not is NULL if
 * there is an answer; the body is borrowed for the call). The path is sent as it is: percent-encoded, with its query.
 */
void http_call(struct env_loop *loop, const char *address, const char *method, const char *path, struct bytes body,
               size_t answer_max, uint64_t timeout_ns,
               void (*done)(void *ctx, int status, struct bytes body, const char *why_not), void *ctx);

#endif
