/* resp_door.h - the Redis door: takes over streams that speak RESP and serves them through the gate.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    one door per shard. It owns its connections, the pool of their commands, and what CLIENT, INFO and CONFIG
 * tell of them. Ownership:  the door owns a stream from resp_conn_new on. Requests that are with the gate outlive their
 * connection: the door can be freed only once resp_door_busy is 0 (the gate has answered all). Threading:  the gate's
 * shard. Bounds:     all in struct resp_door_config. */
#ifndef CAIRN_WIRE_RESP_RESP_DOOR_H
#define CAIRN_WIRE_RESP_RESP_DOOR_H

#include "session/gate.h"
#include "wire/resp/resp_parse.h"

struct resp_conn;
struct resp_door;

/* A question that goes round all doors of the node, one after another, and comes back. */
struct resp_round {
    void (*visit)(struct resp_round *r, struct resp_door *d); /* on d's shard */
    void (*done)(struct resp_round *r);                       /* on the shard that asked; frees it */
};

struct resp_door_config {
    struct gate *gate;
    uint32_t table;            /* what database 0 is */
    struct resp_limits limits; /* of the parser */
    size_t clients_max;        /* connections of this door */
    size_t commands_max;       /* commands under way, all connections */
    size_t pending_max;        /* commands under way, one connection: no more are read from it beyond */
    size_t pending_bytes_max;  /* bytes of those commands and their waiting replies */
    size_t output_pause;       /* unsent bytes beyond which no more commands are read */
    size_t output_max;     /* unsent bytes beyond which a slow reader is cut off; at least 2 * limits.bulk_max counts */
    size_t keys_reply_max; /* bytes of a KEYS reply */
    size_t txn_commands_max; /* queued by MULTI; their bytes are bounded by limits.command_max */
    uint64_t wait_max_ms;    /* what WAIT … 0 means */
    bool redirects;          /* answer MOVED for slots led elsewhere, as Redis Cluster does */
    uint16_t port;           /* the one listened on, for INFO */
    char laddr[64];          /* "host:port" listened on, for CLIENT LIST */
    /* Client ids are first, first + step, …: shards of a node take turns. */
    uint64_t client_id_first, client_id_step;
    /* Takes a round to all doors of the node, the one that asks included, then back. NULL: this is the only door. */
    void (*go_round)(void *ctx, struct resp_round *r);
    /* Called when a connection is gone, after the door has closed it. May be NULL. */
    void (*left)(void *ctx);
    void *ctx;
};
/* The defaults; gate must be set by the caller. */
void resp_door_config_init(struct resp_door_config *c);

/* Sets the largest value, and with it what has to hold one: a command's bytes, and a reply that waits to be read. */
void resp_door_config_value_max(struct resp_door_config *c, size_t value_max);

struct resp_door_stats {
    uint64_t connections, rejected, commands, errors, bytes_in, bytes_out, slow_closed, killed;
};

struct resp_door *resp_door_new(const struct resp_door_config *config);
/* Closes every connection, at once. */
void resp_door_free(struct resp_door *d);
/* Connections that are idle are closed, the others as soon as the replies of what they sent have left. New ones are
 * refused. */
void resp_door_stop(struct resp_door *d);
/* Closes every connection, at once; their requests stay with the gate. */
void resp_door_close_all(struct resp_door *d);
/* Changes what may be changed while it runs. Connections that are open, and values that are stored, stay. */
void resp_door_configure(struct resp_door *d, size_t clients_max, size_t value_max, bool redirects);
size_t resp_door_clients(const struct resp_door *d);
size_t resp_door_busy(const struct resp_door *d); /* commands and parts of commands not yet answered by the gate */
void resp_door_stats(const struct resp_door *d, struct resp_door_stats *out);

/* Takes the stream over; `first` are the bytes read so far (borrowed). NULL: refused (and told why), the stream is
 * closed. */
struct resp_conn *resp_conn_new(struct resp_door *d, struct env_stream *s, struct bytes first);

#endif
