/* reply.h - reads replies of the Redis protocol (RESP2 and RESP3), as a client gets them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threading: pure.
 * Errors:    REPLY_BROKEN for what is no reply; nothing is read outside the bytes given. */
#ifndef CAIRN_CLI_REPLY_H
#define CAIRN_CLI_REPLY_H

#include "base/bytes.h"
#include "base/status.h"

enum reply_state { REPLY_WHOLE, REPLY_PARTIAL, REPLY_BROKEN };

/* One element: its line, and for strings with a length its body. Elements of an aggregate follow it. */
struct reply_part {
    uint8_t type;      /* '+' '-' ':' '$' '*' … */
    bool nil;          /* $-1, *-1 */
    struct bytes text; /* of the line, or the body; borrowed */
    uint64_t count;    /* elements that follow (of a map: keys and values) */
    size_t size;       /* bytes taken */
};
enum reply_state reply_part(struct bytes in, struct reply_part *out);
/* A whole reply, elements included. */
enum reply_state reply_scan(struct bytes in, size_t *out_size);
/* As people read it, like redis-cli does: one line, or numbered lines. Appends to out. The reply is whole. */
void reply_print(struct bytes reply, struct buf *out);

#endif
