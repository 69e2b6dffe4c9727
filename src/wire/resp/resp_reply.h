/* resp_reply.h - writes replies in RESP2 and RESP3.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    small writers for what the door itself answers, and the translation of results of ops (model/result.h).
 * `proto` is 2 or 3; what RESP2 does not have becomes what Redis sends there: maps and sets arrays, doubles and
 * verbatim strings bulk strings, booleans 1 and 0, nulls "$-1" or "*-1". Threading:  pure. */
#ifndef CAIRN_WIRE_RESP_RESP_REPLY_H
#define CAIRN_WIRE_RESP_RESP_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

void resp_put_simple(struct buf *out, const char *text); /* "+text" */
void resp_put_ok(struct buf *out);
/* "-text": the code, a space, the message. CR and LF in it become blanks. */
void resp_put_error(struct buf *out, struct bytes text);
void resp_put_errorf(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void resp_put_int(struct buf *out, int64_t v);
void resp_put_bulk(struct buf *out, struct bytes s);
void resp_put_bulk_str(struct buf *out, const char *s);
void resp_put_nil(struct buf *out, int proto);
void resp_put_nil_array(struct buf *out, int proto);
void resp_put_array(struct buf *out, uint64_t count);
void resp_put_map(struct buf *out, int proto, uint64_t pairs);
void resp_put_set(struct buf *out, int proto, uint64_t count);
void resp_put_verbatim(struct buf *out, int proto, struct bytes text); /* format "txt" */

/* Takes one result, with its elements, off r and writes it. false: malformed; then out is as before. */
bool resp_put_result_from(struct buf *out, int proto, struct reader *r);
/* A whole encoded result; a malformed one becomes an error reply (it is this node's fault, never the client's). */
void resp_put_result(struct buf *out, int proto, struct bytes encoded);

/* The reply to a request that did not end ST_OK: it says whether the command was executed. `write`: the outcome
 * matters. */
void resp_put_status(struct buf *out, bool write, enum status st, const char *text);

#endif
