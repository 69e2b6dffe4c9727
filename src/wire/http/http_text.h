/* http_text.h - the words of HTTP: status texts, targets, percent-encoding.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    what http_conn.c and http_client.c decide about text.
 * Threading:  pure. */
#ifndef CAIRN_WIRE_HTTP_HTTP_TEXT_H
#define CAIRN_WIRE_HTTP_HTTP_TEXT_H

#include "base/bytes.h"
#include "base/status.h"

const char *http_reason(int status); /* "Not Found"; "Unknown" for one that we never send */

/* Appends b with %xx replaced; plus: '+' is a blank. ST_INVALID: a bad escape, or a zero byte. */
enum status http_unescape(struct bytes b, bool plus, struct buf *out);

/* Splits a request target (RFC 9112, 3.2: origin form, absolute form, or "*"): the decoded path is put into out_path,
 * the query is borrowed from target. ST_INVALID with a text. */
enum status http_target(struct bytes target, struct buf *out_path, struct bytes *out_query, struct error *err);

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7). */
void http_date(uint64_t wall_ms, char out[32]);

#endif
