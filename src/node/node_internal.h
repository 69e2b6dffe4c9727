/* node_internal.h - what the files of node/ share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_NODE_NODE_INTERNAL_H
#define CAIRN_NODE_NODE_INTERNAL_H

#include "cluster/control.h"
#include "mesh/mesh.h"
#include "node/identity.h"
#include "node/node.h"
#include "session/gate.h"
#include "wire/http/http.h"
#include "wire/port.h"
#include "wire/resp/resp_door.h"

/* What a shard tells the others of itself, once a second: for INFO, status and metrics of the whole node. */
struct shard_stats {
    struct gate_stats gate;
    struct resp_door_stats resp;
    struct port_stats port;
    struct host_stats hosts;         /* added up over the shard's stores */
    uint64_t clients, keys, expires; /* keys of partitions led here */
    uint64_t lost;                   /* copies whose log is damaged and whose partition has no leader */
    char lost_text[400];             /* the first of them */
};

struct shard {
    struct node *node;
    uint16_t index;
    struct env_loop *loop;
    struct node_options options; /* the shard's copy: what may change at run time changes here (node_info.c) */
    struct mesh *mesh;
    struct gate *gate;
    struct port *port;
    struct resp_door *resp;
    struct http_door *http;
    struct host **hosts; /* of stores index, index + shards, …: by store / shards */
    size_t host_count;
    bool opened;             /* and may have replicas */
    struct catalog *catalog; /* as last published here: where requests go, and what leaders do */
    struct catalog *saved;   /* the last of them that is on disk: which replicas are here */
    struct env_timer tick;
    uint64_t stats_ns;
    size_t leaders_at;         /* whose leader is said again next */
    struct shard_stats *stats; /* of all shards, as last heard */
    bool strangers_dropped;
    bool quiet;        /* the next tick is far: nothing is to be done */
    bool reconciled;   /* the replicas here are those that the catalog wants */
    struct map steer;  /* partition id → shard: its leader here has steps to take */
    size_t steered_at; /* which replica comes next in the round of all */
};

struct node {
    struct env *env;
    struct node_options options;
    char dir[400], listen[300], advertise[300], join[300];
    struct env_file *lock;
    struct identity identity; /* written by shard 0 before the stores are opened, read by all after */
    struct shard *shards;
    uint16_t shard_count;
    struct control *control; /* shard 0's */
    uint16_t port;
    uint64_t started_ns;
    struct env_timer join_timer, found_timer, ready_timer, stop_timer, ask_timer;
    unsigned joins;
    unsigned asks, asks_out;     /* rounds, and calls under way, of asking the others whether this start may be */
    bool ask_busy;               /* someone hears another incarnation of this node still */
    bool ask_heard;              /* someone answered */
    char ask_text[500];          /* … and says so */
    struct catalog *ask_catalog; /* NULL: not there; who is given with --join is asked first */
    bool fenced;
    bool ready_told, init_proposed;
    bool checkpointing;                  /* one is being made: shard 0's */
    _Atomic bool stopping;               /* written by shard 0, read by all */
    unsigned opened, closed;             /* shards; counted on shard 0 */
    _Atomic unsigned under_way;          /* what goes from shard to shard and comes back: it holds up `stopped` */
    unsigned shards_asked, shards_ready; /* whether they can serve: answers still to come, and those that were yes */
};

/* Runs fn(shard, arg) on a shard's thread, soon. arg is the function's to free. */
void node_on_shard(struct node *n, uint16_t shard, void (*fn)(struct shard *s, void *arg), void *arg);
/* Around what visits several shards, or waits for workers, and comes back: the node does not say that it has stopped before all is
 * back. node_enter: from a shard's thread; false: the node is stopping, and nothing new begins. */
bool node_enter(struct node *n);
void node_leave(struct node *n);                                  /* any shard */
void node_fail(struct node *n, enum status st, const char *text); /* any shard */
void node_fence(struct node *n,
                const char *text); /* as node_fail; for ever: the directory says so from then on. Any shard */

/* shard.c */
enum status shard_init(struct shard *s, struct node *n, uint16_t index, struct env_loop *loop, struct error *err);
void shard_open_doors(struct shard *s);                /* once the port is known */
void shard_open_stores(struct shard *s, void *unused); /* once the node has its id */
void shard_go(struct shard *s,
              void *unused); /* once all stores are open, and the identity says so: opens the replicas */
void shard_set_catalog(struct shard *s, void *arg);   /* takes the reference to a catalog over */
void shard_catalog_saved(struct shard *s, void *arg); /* likewise */
void shard_close(struct shard *s);
void shard_free(struct shard *s);
struct replica *shard_replica(struct shard *s, uint64_t partition_id);

/* join.c */
void node_found_or_join(struct node *n);
void node_on_join(struct shard *s, const struct mesh_frame *f);
/* The body of MESH_JOIN; address has room for max bytes. */
enum status join_decode(struct bytes body, uint8_t uuid[16], char *address, size_t max, uint16_t *stores,
                        struct lineage *lineage, struct error *err);
void node_on_who(struct shard *s, const struct mesh_frame *f); /* shard 0 */
void node_founded(struct node *n);                             /* all stores are open */
void node_stop_joining(struct node *n);
/* node.c */
void node_make_control(struct node *n, struct catalog *first);

/* node_info.c */
void node_info(struct shard *s, const char *section, struct buf *out);
bool node_config_get(struct shard *s, size_t at, const char **out_name, char *out_value, size_t value_max);
enum status node_config_set(struct shard *s, const char *name, const char *value, struct error *err);

/* node_http.c */
void node_http(void *ctx, struct http_exchange *x, const struct http_request *r);

#endif
