/* resp_conn.h - one client connection: input, pipelining, the order of replies, output.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    executes the commands of one connection. resp_conn_new is in resp_door.h.
 * Order:      1. replies leave in the order of their requests.
 *             2. a command waits for an unfinished earlier one of the same slot, unless both read.
 *             3. a barrier (commands over several slots, EXEC, WATCH, WAIT, HELLO …) waits until nothing is pending,
 * and nothing is executed before it has ended. So a connection reads its own writes, and its effects happen in its
 * order wherever that can be seen. Bounds:     pending_max, pending_bytes_max, output_pause: beyond, no more is read;
 * output_max: closed. Threading:  the door's shard. */
#ifndef CAIRN_WIRE_RESP_RESP_CONN_H
#define CAIRN_WIRE_RESP_RESP_CONN_H

#include "wire/resp/resp_door.h"

/* What CLIENT LIST says of it, one line. */
void resp_conn_describe(const struct resp_conn *c, struct buf *out);

#endif
