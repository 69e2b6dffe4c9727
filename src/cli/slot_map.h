/* slot_map.h - which node leads which slot, as CLUSTER SLOTS says it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   for clients that send each key to its leader. https://redis.io/docs/latest/commands/cluster-slots/
 * Ownership: struct slot_map is the caller's memory and points at nothing. About 50 KiB: not for a stack.
 * Threading: parse is pure; ask runs a loop of its own and returns when there is an answer.
 * Errors:    ST_CORRUPT for what is no such answer, ST_UNSUPPORTED if the answer is an error,
 *            ST_UNAVAILABLE if a slot has no leader or nobody listens, ST_TIMEOUT. */
#ifndef CAIRN_CLI_SLOT_MAP_H
#define CAIRN_CLI_SLOT_MAP_H

#include "base/bytes.h"
#include "base/status.h"
#include "env/env.h"

#define SLOT_MAP_SLOTS     16384u
#define SLOT_MAP_NODES_MAX 64u
#define SLOT_MAP_ADDRESS   272u /* a host name of 255 bytes, a colon, a port */

struct slot_map {
    size_t node_count;
    char nodes[SLOT_MAP_NODES_MAX][SLOT_MAP_ADDRESS]; /* the leaders, each once */
    uint8_t leader[SLOT_MAP_SLOTS];                   /* index in nodes */
};

/* reply is one whole answer. On an error *out is of no use. */
enum status slot_map_parse(struct bytes reply, struct slot_map *out, struct error *err);
/* Asks a node, again and again while a slot has no leader. */
enum status slot_map_ask(struct env *env, const char *address, uint64_t timeout_ns, struct slot_map *out,
                         struct error *err);

#endif
