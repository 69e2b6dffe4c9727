/* resp_parse.h - takes commands off the bytes a Redis client sent.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    incremental parser of RESP requests: arrays of bulk strings, and inline commands. A complete command's
 *             arguments are views into the input (inline ones with quotes: into the parser's scratch).
 * Progress:   the caller keeps the bytes of an unfinished command and calls again with them and what came since; the
 * parser remembers how far it got, so bytes are looked at once, however they are cut. Errors:     RESP_BROKEN with
 * Redis 7.0's text ("Protocol error: …"); the connection can't go on after it. Bounds:     struct resp_limits; argv
 * grows with arguments that came, never with a number that was announced. Source:
 * https://redis.io/docs/reference/protocol-spec; redis/src/networking.c is the behaviour to match. Threading:  one
 * owner. */
#ifndef CAIRN_WIRE_RESP_RESP_PARSE_H
#define CAIRN_WIRE_RESP_RESP_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

#define RESP_ARGS_MAX   (1024u * 1024u) /* arguments of one command */
#define RESP_INLINE_MAX (64u * 1024u)   /* bytes of an inline command, and of any header line */
#define RESP_BULK_MAX   (512ull << 20)  /* what bulk_max may be at most */

struct resp_limits {
    size_t args_max;    /* <= RESP_ARGS_MAX */
    size_t bulk_max;    /* bytes of one argument */
    size_t command_max; /* bytes of one command with its framing */
};

enum resp_parsed {
    RESP_MORE,    /* no complete command yet */
    RESP_COMMAND, /* argv, argc are set */
    RESP_BROKEN,  /* error is set */
};

struct resp_parser {
    const struct resp_limits *limits; /* borrowed */
    struct bytes *argv;               /* after RESP_COMMAND: valid until the next call, or until the input moves */
    size_t argc;
    char error[96];

    /* progress within the command at the front of the input */
    size_t argv_cap;
    size_t at;     /* bytes of it understood */
    size_t looked; /* no line end before this offset */
    size_t left;   /* arguments to come */
    size_t bulk;   /* length of the argument under way */
    bool in_array, in_bulk;
    struct buf scratch; /* arguments of an inline command */
};

void resp_parser_init(struct resp_parser *p, const struct resp_limits *limits);
void resp_parser_deinit(struct resp_parser *p);

/* `in` begins where the last command ended. *out_used: bytes that need not come again (a command that was returned, and
 * empty commands before it). After RESP_COMMAND the caller may also call again with the same bytes: it is parsed anew.
 */
enum resp_parsed resp_parse(struct resp_parser *p, struct bytes in, size_t *out_used);

/* How many more bytes the unfinished command needs at least, as far as that is known; for sizing the buffer. */
size_t resp_parse_needs(const struct resp_parser *p, size_t have);

#endif
