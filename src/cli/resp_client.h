/* resp_client.h - a connection to a Redis door, as a client has it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   commands are written at any time, also before it is connected; replies come in their order.
 * Ownership: the caller owns struct resp_client until it has called resp_client_close.
 * Threading: the loop. Callbacks may write; they must not close the client. */
#ifndef CAIRN_CLI_RESP_CLIENT_H
#define CAIRN_CLI_RESP_CLIENT_H

#include "base/bytes.h"
#include "env/env.h"

struct resp_client {
    struct env_stream *stream;
    struct buf in;  /* the start of a reply whose rest is to come */
    struct buf out; /* commands not yet handed to the stream: resp_client_flush */
    void (*reply)(struct resp_client *c, struct bytes reply); /* whole; borrowed */
    void (*turn)(struct resp_client *c);                      /* after the replies that came together; may be NULL */
    void (*failed)(struct resp_client *c,
                   const char *why); /* could not connect, or is gone. Once; then only close it */
    void *ctx;
    bool connected;
    bool broken; /* failed has run: what still comes is not looked at */
};

void resp_client_open(struct resp_client *c, struct env_loop *loop, const char *address);
void resp_client_close(struct resp_client *c);
void resp_client_flush(struct resp_client *c);

/* Appends a command to a buffer: the number of words, then each. */
void command_begin(struct buf *out, size_t words);
void command_word(struct buf *out, struct bytes word);

#endif
