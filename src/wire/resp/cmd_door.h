/* cmd_door.h - the handlers of the commands that have no op.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each writes exactly one reply, to resp_conn_out, or begins a job that will. Arity has been checked. */
#ifndef CAIRN_WIRE_RESP_CMD_DOOR_H
#define CAIRN_WIRE_RESP_CMD_DOOR_H

#include "wire/resp/resp_internal.h"

#define CLIENT_ROUND (COMMAND_ADMIN | COMMAND_NO_MULTI) /* it asks the other shards: not from inside EXEC */

/* One row per command: name, arity, flags, first key, last key, handler, barrier. A container (its sub-commands are
 * rows "name|sub") has no handler. */
#define DOOR_COMMANDS(X)                                                            \
    X("ping", -1, COMMAND_FAST, 0, 0, cmd_ping, false)                              \
    X("echo", 2, COMMAND_FAST, 0, 0, cmd_echo, false)                               \
    X("hello", -1, COMMAND_FAST, 0, 0, cmd_hello, true)                             \
    X("auth", -2, COMMAND_FAST, 0, 0, cmd_auth, false)                              \
    X("select", 2, COMMAND_FAST, 0, 0, cmd_select, false)                           \
    X("quit", -1, COMMAND_FAST, 0, 0, cmd_quit, true)                               \
    X("reset", 1, COMMAND_FAST, 0, 0, cmd_reset, true)                              \
    X("readonly", 1, COMMAND_FAST, 0, 0, cmd_readonly, false)                       \
    X("readwrite", 1, COMMAND_FAST, 0, 0, cmd_readwrite, false)                     \
    X("asking", 1, COMMAND_FAST, 0, 0, cmd_asking, false)                           \
    X("time", 1, COMMAND_FAST, 0, 0, cmd_time, false)                               \
    X("info", -1, 0, 0, 0, cmd_info, false)                                         \
    X("wait", 3, COMMAND_NO_MULTI, 0, 0, cmd_wait, true)                            \
    X("multi", 1, COMMAND_FAST, 0, 0, resp_txn_begin, false)                        \
    X("exec", 1, 0, 0, 0, resp_txn_exec, true)                                      \
    X("discard", 1, COMMAND_FAST, 0, 0, resp_txn_discard, false)                    \
    X("watch", -2, COMMAND_FAST, 1, -1, resp_txn_watch, true)                       \
    X("unwatch", 1, COMMAND_FAST, 0, 0, resp_txn_unwatch, false)                    \
    X("client", -2, 0, 0, 0, NULL, false)                                           \
    X("client|id", 2, 0, 0, 0, cmd_client_id, false)                                \
    X("client|info", 2, 0, 0, 0, cmd_client_info, false)                            \
    X("client|list", -2, CLIENT_ROUND, 0, 0, cmd_client_list, true)                 \
    X("client|kill", -3, CLIENT_ROUND, 0, 0, cmd_client_kill, true)                 \
    X("client|setname", 3, 0, 0, 0, cmd_client_setname, false)                      \
    X("client|getname", 2, 0, 0, 0, cmd_client_getname, false)                      \
    X("client|setinfo", 4, 0, 0, 0, cmd_client_setinfo, false)                      \
    X("client|reply", 3, 0, 0, 0, cmd_client_reply, true)                           \
    X("client|no-evict", 3, COMMAND_ADMIN, 0, 0, cmd_client_on_off, false)          \
    X("client|no-touch", 3, 0, 0, 0, cmd_client_on_off, false)                      \
    X("client|capa", -3, 0, 0, 0, cmd_client_capa, true)                            \
    X("client|tracking", -3, 0, 0, 0, cmd_client_tracking, false)                   \
    X("client|trackinginfo", 2, 0, 0, 0, cmd_client_trackinginfo, false)            \
    X("client|getredir", 2, 0, 0, 0, cmd_client_getredir, false)                    \
    X("client|caching", 3, 0, 0, 0, cmd_client_caching, false)                      \
    X("client|pause", -3, COMMAND_ADMIN, 0, 0, cmd_client_pause, false)             \
    X("client|unpause", 2, COMMAND_ADMIN, 0, 0, cmd_client_unpause, false)          \
    X("client|unblock", -3, COMMAND_ADMIN, 0, 0, cmd_client_unblock, false)         \
    X("client|help", 2, 0, 0, 0, cmd_help, false)                                   \
    X("command", -1, 0, 0, 0, cmd_command, false)                                   \
    X("command|count", 2, 0, 0, 0, cmd_command_count, false)                        \
    X("command|info", -2, 0, 0, 0, cmd_command_info, false)                         \
    X("command|docs", -2, 0, 0, 0, cmd_command_docs, false)                         \
    X("command|list", -2, 0, 0, 0, cmd_command_list, false)                         \
    X("command|getkeys", -4, 0, 0, 0, cmd_command_getkeys, false)                   \
    X("command|getkeysandflags", -4, 0, 0, 0, cmd_command_getkeysandflags, false)   \
    X("command|help", 2, 0, 0, 0, cmd_help, false)                                  \
    X("config", -2, 0, 0, 0, NULL, false)                                           \
    X("config|get", -3, COMMAND_ADMIN, 0, 0, cmd_config_get, false)                 \
    X("config|set", -4, COMMAND_ADMIN, 0, 0, cmd_config_set, false)                 \
    X("config|resetstat", 2, COMMAND_ADMIN, 0, 0, cmd_config_resetstat, false)      \
    X("config|rewrite", 2, COMMAND_ADMIN, 0, 0, cmd_config_rewrite, false)          \
    X("config|help", 2, 0, 0, 0, cmd_help, false)                                   \
    X("cluster", -2, 0, 0, 0, NULL, false)                                          \
    X("cluster|slots", 2, 0, 0, 0, cmd_cluster_slots, false)                        \
    X("cluster|shards", 2, 0, 0, 0, cmd_cluster_shards, false)                      \
    X("cluster|nodes", 2, 0, 0, 0, cmd_cluster_nodes, false)                        \
    X("cluster|info", 2, 0, 0, 0, cmd_cluster_info, false)                          \
    X("cluster|keyslot", 3, 0, 0, 0, cmd_cluster_keyslot, false)                    \
    X("cluster|myid", 2, 0, 0, 0, cmd_cluster_myid, false)                          \
    X("cluster|replicas", 3, COMMAND_ADMIN, 0, 0, cmd_cluster_replicas, false)      \
    X("cluster|links", 2, 0, 0, 0, cmd_cluster_links, false)                        \
    X("cluster|countkeysinslot", 3, COMMAND_NO_MULTI, 0, 0, cmd_cluster_keys, true) \
    X("cluster|getkeysinslot", 4, COMMAND_NO_MULTI, 0, 0, cmd_cluster_keys, true)   \
    X("cluster|help", 2, 0, 0, 0, cmd_help, false)                                  \
    X("object", -2, 0, 0, 0, NULL, false)                                           \
    X("object|help", 2, 0, 0, 0, cmd_help, false)

#define DOOR_HANDLER(name) void name(struct resp_conn *c, const struct bytes *argv, size_t argc)
/* cmd_door.c */
DOOR_HANDLER(cmd_ping);
DOOR_HANDLER(cmd_echo);
DOOR_HANDLER(cmd_hello);
DOOR_HANDLER(cmd_auth);
DOOR_HANDLER(cmd_select);
DOOR_HANDLER(cmd_quit);
DOOR_HANDLER(cmd_reset);
DOOR_HANDLER(cmd_readonly);
DOOR_HANDLER(cmd_readwrite);
DOOR_HANDLER(cmd_asking);
DOOR_HANDLER(cmd_time);
DOOR_HANDLER(cmd_wait);
DOOR_HANDLER(cmd_help);
/* cmd_client.c */
DOOR_HANDLER(cmd_client_id);
DOOR_HANDLER(cmd_client_info);
DOOR_HANDLER(cmd_client_list);
DOOR_HANDLER(cmd_client_kill);
DOOR_HANDLER(cmd_client_setname);
DOOR_HANDLER(cmd_client_getname);
DOOR_HANDLER(cmd_client_setinfo);
DOOR_HANDLER(cmd_client_reply);
DOOR_HANDLER(cmd_client_on_off);
DOOR_HANDLER(cmd_client_capa);
DOOR_HANDLER(cmd_client_tracking);
DOOR_HANDLER(cmd_client_trackinginfo);
DOOR_HANDLER(cmd_client_getredir);
DOOR_HANDLER(cmd_client_caching);
DOOR_HANDLER(cmd_client_pause);
DOOR_HANDLER(cmd_client_unpause);
DOOR_HANDLER(cmd_client_unblock);
/* cmd_server.c */
DOOR_HANDLER(cmd_info);
DOOR_HANDLER(cmd_config_get);
DOOR_HANDLER(cmd_config_set);
DOOR_HANDLER(cmd_config_resetstat);
DOOR_HANDLER(cmd_config_rewrite);
/* cmd_command.c */
DOOR_HANDLER(cmd_command);
DOOR_HANDLER(cmd_command_count);
DOOR_HANDLER(cmd_command_info);
DOOR_HANDLER(cmd_command_docs);
DOOR_HANDLER(cmd_command_list);
DOOR_HANDLER(cmd_command_getkeys);
DOOR_HANDLER(cmd_command_getkeysandflags);
/* cmd_cluster.c */
DOOR_HANDLER(cmd_cluster_slots);
DOOR_HANDLER(cmd_cluster_shards);
DOOR_HANDLER(cmd_cluster_nodes);
DOOR_HANDLER(cmd_cluster_info);
DOOR_HANDLER(cmd_cluster_keyslot);
DOOR_HANDLER(cmd_cluster_myid);
DOOR_HANDLER(cmd_cluster_replicas);
DOOR_HANDLER(cmd_cluster_links);
DOOR_HANDLER(cmd_cluster_keys);
#undef DOOR_HANDLER

/* A name without blanks and control characters, as CLIENT SETNAME demands. */
bool resp_name_valid(struct bytes name);
/* Redis's glob pattern (*, ?, [a-z], [^…], \x), without regard to case. */
bool resp_glob(struct bytes pattern, struct bytes text);

#endif
