/* mesh_internal.h - what the files of the mesh share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * mesh.c        the mesh of a shard: sending, routing to a shard, peers, figures
 * mesh_frame.c  frames as bytes (pure)
 * mesh_peer.c   outgoing connections
 * mesh_conn.c   incoming connections, answers to calls
 * mesh_fate.c   frames that have arrived: delivered, or disturbed by a test
 * mesh_call.c   calls: one frame there, one answer back
 * mesh_local.c  mailboxes between the shards of the process */
#ifndef CAIRN_MESH_MESH_INTERNAL_H
#define CAIRN_MESH_MESH_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "env/env.h"
#include "mesh/mesh.h"
#include "mesh/mesh_frame.h"

enum {
    MESH_ADDRESS_MAX = 256,
    MESH_SLICE_BYTES = 256 * 1024,      /* given to the stream at once … */
    MESH_BULK_TURN_BYTES = 1024 * 1024, /* … and, of the bulk lane, in one go, before urgent ones are looked at again */
    MESH_BATCHES_KEPT = 4,              /* empty ones, per mailbox */
};
#define MESH_CONNECT_NS       (5 * NS_PER_S)    /* to connect, then to greet */
#define MESH_BACKOFF_MIN_NS   (100 * NS_PER_MS) /* the delay is random between half of it and all of it */
#define MESH_BACKOFF_MAX_NS   (2 * NS_PER_S)
#define MESH_MISMATCH_WAIT_NS (30 * NS_PER_S)
#define MESH_IDLE_NS          (60 * NS_PER_S) /* an incoming connection without a byte (there are pings) is dead */

/* An outgoing connection of one lane.
 *
 *   IDLE --first message--> CONNECTING --connected--> GREETING --their hello--> READY
 *     ^                          |                        |                       |
 *     |                          +------ link_fail -------+-----------------------+
 *     |                                     v
 *     +-- bulk lane, nothing queued --- WAITING --timer--> CONNECTING */
enum link_state { LINK_IDLE, LINK_CONNECTING, LINK_GREETING, LINK_READY, LINK_WAITING };

/* A body that is sent from where it lies. release is NULL: it has to be copied, or was taken over. */
struct mesh_body {
    struct bytes bytes;
    void (*release)(void *owner);
    void *owner;
};
static inline void mesh_body_release(struct mesh_body *b)
{
    if (b->release != NULL) b->release(b->owner);
    b->release = NULL;
}

/* A piece of a queue: frames in `own`; if there is a body, it belongs to the last of them. */
struct mesh_part {
    struct link link;
    struct buf own;
    struct mesh_body body;
    size_t sent; /* of own, then of the body */
    uint64_t frames;
};

struct mesh_link {
    struct mesh_peer *peer;
    enum mesh_lane lane;
    enum link_state state;
    struct env_stream *stream; /* CONNECTING, GREETING, READY */
    struct env_timer timer;    /* of the state: give up, try again, ping */
    struct mesh_cutter in;
    struct list out;         /* parts not yet given to the stream */
    struct mesh_part *spare; /* an empty one */
    size_t out_bytes;        /* in them */
    uint64_t out_frames;
    struct link dirty; /* in mesh.dirty: to be written at the end of the turn */
    uint64_t backoff_ns;
    unsigned failures;  /* in a row */
    uint64_t tick_ns;   /* last tick of the ping timer */
    uint64_t alive_ns;  /* last sign of life: hello, pong; bulk: the queue shrank */
    uint64_t ready_ns;  /* when it became READY */
    uint64_t ping_ns;   /* when a ping was sent while none was out */
    unsigned pings_out; /* unanswered */
    size_t tick_queued;
};

struct mesh_peer {
    struct mesh *mesh;
    uint64_t node_id;
    char address[MESH_ADDRESS_MAX];
    struct incarnation known; /* the latest that is known of it */
    struct mesh_link links[MESH_LANES];
    uint64_t rtt_ns, pings, pongs;
    uint64_t sent_frames, sent_bytes, dropped_frames, received_frames, received_bytes, reconnects;
};

/* What frame->conn points at. */
struct mesh_handle {
    struct link link; /* in mesh.holds if held */
    bool held;
    uint16_t shard;   /* that owns the connection */
    uint64_t conn_id; /* there */
};

struct mesh_mailbox; /* from this shard to another, per lane */

struct mesh {
    struct mesh_options o;
    struct lineage lineage;
    bool check_local; /* simulated: local frames are encoded and decoded in full */
    struct map peers; /* node id → mesh_peer */
    struct list conns;
    struct map conns_by_id; /* those of calls */
    uint64_t conn_id;
    struct list calls;
    size_t calls_count;
    struct list holds;
    size_t holds_count;
    struct list delayed; /* frames; a test's */
    size_t delayed_count;
    struct mesh **all;          /* [shard_count]; NULL until linked */
    struct mesh_mailbox *boxes; /* [shard_count * MESH_LANES] */
    struct env_task flush;
    struct list dirty[MESH_LANES];       /* links */
    struct list dirty_boxes[MESH_LANES]; /* mailboxes */
    struct mesh_stats stats;
};

/* mesh.c */
void mesh_flush_later(struct mesh *m);
/* The shard of this process that an endpoint is on; false if there is no such shard. */
bool mesh_shard_of(const struct mesh *m, uint16_t endpoint, uint16_t *out);
void mesh_deliver(struct mesh *m, const struct mesh_frame *f); /* on the shard it is for */
void mesh_hello_of(const struct mesh *m, uint8_t lane, uint64_t to_node, struct mesh_hello *out);

/* mesh_peer.c */
struct mesh_peer *mesh_peer_new(struct mesh *m, uint64_t node_id, const char *address);
void mesh_peer_free(struct mesh_peer *p);
void mesh_peer_reset(struct mesh_peer *p, const char *why); /* drops the connections; the next message opens new ones */
/* Takes the body over (and sets its release to NULL) if it sends it from where it lies. */
enum status mesh_link_send(struct mesh_link *l, uint16_t endpoint, uint8_t kind, struct bytes head,
                           struct mesh_body *body);
size_t mesh_link_queued(const struct mesh_link *l);
void mesh_link_write(struct mesh_link *l);

/* Does the peer's lineage continue what the catalog says of it? If not, the text says why. */
bool mesh_admit(struct mesh *m, uint64_t node_id, const struct lineage *l, const char *where, char *why, size_t max);

/* mesh_conn.c */
void mesh_conns_fence(struct mesh *m, uint64_t node_id, struct incarnation known);
void mesh_conns_free(struct mesh *m);
void mesh_conn_answer(struct mesh *m, uint64_t conn_id, uint8_t kind, struct bytes body);

/* mesh_fate.c */
void mesh_arrived(struct mesh *m, const struct mesh_frame *f, enum mesh_lane lane); /* its endpoint is known */
void mesh_delayed_free(struct mesh *m);

/* mesh_call.c */
void mesh_calls_free(struct mesh *m);

/* mesh_local.c */
void mesh_local_init(struct mesh *m);
void mesh_local_deinit(struct mesh *m);
/* Puts a frame into the mailbox of a shard (this one included). f gives kind, endpoint, sender, conn; the body is head
 * and then body. ST_OVERLOADED. */
enum status mesh_local_put(struct mesh *m, uint16_t shard, enum mesh_lane lane, const struct mesh_frame *f,
                           struct bytes head, struct bytes body);
void mesh_local_flush(struct mesh *m, enum mesh_lane lane);

#endif
