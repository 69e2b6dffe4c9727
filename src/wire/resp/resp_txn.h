/* resp_txn.h - MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    commands after MULTI are checked and built when they arrive, as Redis does; EXEC sends all ops of data
 * commands, with the watched versions, as one MULTI op to their one slot, where it is applied at one place in the log.
 *             Commands of the connection itself (PING, TIME, …) are executed when EXEC's result is there, in their
 * place. Slots:      all keys, watched ones too, must be in one slot: CROSSSLOT else. Bounds:     txn_commands_max
 * commands; their bytes: limits.command_max. Beyond: an error, and EXEC is refused. Threading:  the door's shard. */
#ifndef CAIRN_WIRE_RESP_RESP_TXN_H
#define CAIRN_WIRE_RESP_RESP_TXN_H

#include "wire/resp/resp_internal.h"

void resp_txn_begin(struct resp_conn *c, const struct bytes *argv, size_t argc); /* MULTI */
void resp_txn_exec(struct resp_conn *c, const struct bytes *argv, size_t argc);  /* a barrier */
void resp_txn_discard(struct resp_conn *c, const struct bytes *argv, size_t argc);
void resp_txn_watch(struct resp_conn *c, const struct bytes *argv, size_t argc); /* a barrier */
void resp_txn_unwatch(struct resp_conn *c, const struct bytes *argv, size_t argc);

bool resp_txn_queues(const struct command *command); /* false: executed at once also inside MULTI */
void resp_txn_queue(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc);
void resp_txn_spoil(struct resp_conn *c); /* a command was wrong: EXEC will be refused */
void resp_txn_drop(struct resp_conn *c);
void resp_watch_drop(struct resp_conn *c);
size_t resp_txn_count(const struct resp_conn *c);

#endif
