/* command.h - the table of Redis commands: arity, keys, and how a data command becomes an op.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    one row per command. cmd_string.c, cmd_bit.c, cmd_key.c, cmd_hash.c have the data commands (build), the door's
 *             own files the rest (handled where `build` is NULL).
 * Errors:     texts are those of Redis 7.0, byte for byte.
 * Threading:  pure; the table is constant. */
#ifndef CAIRN_WIRE_RESP_COMMAND_H
#define CAIRN_WIRE_RESP_COMMAND_H

#include "base/bytes.h"
#include "base/status.h"

enum command_scope {
    SCOPE_DOOR,   /* the connection or the node answers: PING, CLIENT, CLUSTER … */
    SCOPE_SLOT,   /* all its keys must be in one slot: one op */
    SCOPE_FANOUT, /* its keys are grouped by slot, one op each, replies put together (merge) */
    SCOPE_ALL,    /* every partition of the table: DBSIZE, KEYS, SCAN, RANDOMKEY, FLUSHDB */
};
enum command_merge { MERGE_NONE, MERGE_SUM, MERGE_OK, MERGE_BY_KEY /* MGET: an array in the order of the keys */ };
enum command_flags {
    COMMAND_WRITE = 1,
    COMMAND_READONLY = 2,
    COMMAND_EVALUATE = 4, /* OP_EVALUATE */
    COMMAND_NO_MULTI = 8, /* not allowed inside MULTI */
    COMMAND_FAST = 16,
    COMMAND_ADMIN = 32,
    COMMAND_RANDOM = 64, /* its builder uses command_op.random */
};

struct command_op {
    uint16_t opcode;
    uint64_t random;   /* set by the door for COMMAND_RANDOM: goes into the op */
    uint8_t flags;     /* enum op_flags; builders may set OP_READ or OP_EVALUATE (GETEX without options is a read) */
    struct buf *body;  /* append here */
    struct buf *error; /* on ST_INVALID: the error text, e.g. "ERR syntax error" */
};

struct command {
    const char *name; /* lower case; sub-commands as "client|setname" */
    int arity;        /* Redis's: counts the name; negative: at least */
    uint8_t scope, merge;
    uint32_t flags;
    int key_first, key_last, key_step; /* Redis's key specification; 0: no keys */
    /* Parses arguments after the arity check. ST_OK, or ST_INVALID with the text. For SCOPE_FANOUT argv holds the name and
     * the group's keys (for MSET: pairs). */
    enum status (*build)(const struct bytes *argv, size_t argc, struct command_op *out);
};

/* By name, case-insensitive; NULL: unknown. */
const struct command *command_find(struct bytes name);
bool command_each(size_t *at, const struct command **out);

/* The data commands' rows, one array per file, ended by a row with name NULL. */
extern const struct command commands_string[], commands_bit[], commands_key[], commands_hash[], commands_door[];

#endif
