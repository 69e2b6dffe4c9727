/* http_guard.h - may this request change something? Keeps web pages of other sites from making a browser change it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    a page of any site can make the browser of somebody who reaches a node send it requests: from a form (no question
 *             asked), or, with a name of its own that it makes resolve to the node's address (DNS rebinding), as if they were of
 *             the same site. So, of what changes something:
 *             1. a body is JSON, or there is none: no form can send that without a question first, which is not answered;
 *             2. what says that it comes from a page (Origin, Sec-Fetch-Site; browsers always do) comes from a page of this very
 *                node, and the node is named by an address, by localhost, or by a name that the cluster knows it by.
 *             Other clients (curl, scripts, cairn) send neither header: for them any name of the node is as good.
 * Threading:  pure. */
#ifndef CAIRN_WIRE_HTTP_HTTP_GUARD_H
#define CAIRN_WIRE_HTTP_HTTP_GUARD_H

#include "base/status.h"
#include "wire/http/http.h"

/* known: is this host name (without its port, in any case) one of the cluster's? ST_OK; ST_DENIED (403) or ST_INVALID (415: the
 * content type), with a text. */
enum status http_guard(const struct http_request *r, bool (*known)(void *ctx, struct bytes host), void *ctx,
                       struct error *err);

/* "host", "host:port", "[::1]:port": the part before the port, without brackets. */
struct bytes http_host_name(struct bytes authority);

#endif
