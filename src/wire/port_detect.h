/* port_detect.h - which protocol a connection speaks, by its first bytes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    decides for port.c. The verdict depends on the bytes alone, never on how they were cut: once a prefix has
 * a verdict other than DETECT_MORE, every longer one has the same. Threading:  pure. */
#ifndef CAIRN_WIRE_PORT_DETECT_H
#define CAIRN_WIRE_PORT_DETECT_H

#include "base/bytes.h"

enum { PORT_LINE_MAX = 8192 }; /* of a first line, its end included */

enum port_verdict {
    DETECT_MORE,      /* not to be told yet */
    DETECT_RESP,      /* '*', or a first line that is nothing else: an inline command */
    DETECT_HTTP,      /* a first line that ends in " HTTP/1.x" */
    DETECT_MESH,      /* MESH_MAGIC */
    DETECT_HTTP2,     /* "PRI " (RFC 9113, 3.4) */
    DETECT_TLS,       /* 0x16 0x03: a handshake record */
    DETECT_POSTGRES,  /* SSLRequest, GSSENCRequest or a start-up message of protocol 3 */
    DETECT_LONG_HTTP, /* a first line above PORT_LINE_MAX that begins like a request */
    DETECT_LONG,      /* another one */
};

enum port_verdict port_detect(struct bytes first);

#endif
