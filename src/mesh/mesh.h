/* mesh.h - messages between shards and nodes: frames, two lanes, bounded queues.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    one mesh per shard. mesh_send takes a message to an endpoint on any node: another node through this
 * shard's own connection to it, this node through the mailbox of the shard concerned. Delivery is at most once, in
 * order per (sender shard, lane, receiver); a message may be lost when a connection breaks or a queue is full, and
 *             whoever sends has to cope (raft resends, the gate retries by op id).
 * Endpoints:  0 … 0x7fff a store of the node (its shard is store mod shard count); MESH_SHARD + i the gate of shard i;
 *             MESH_NODE the node itself (shard 0).
 * Lanes:      MESH_URGENT for what is small and must not wait; MESH_BULK for snapshots and large entries. Each is a
 *             connection of its own, opened by the sender on first use, used in one direction.
 * Frames:     mesh_frame.h: length, CRC32C over all that follows, kind, endpoint; the first frame of a connection is a
 * hello with format version, cluster id, node id, shard, lane, semantics versions: a mismatch closes the connection
 *             with a diag on both sides that names both values, and backs off for long.
 * Copies:     a hello carries the lineage of the node's directory. Who knows of an incarnation that it does not continue
 *             refuses it (MESH_REFUSED_FENCED), and the node that is told so learns of it through `fenced`.
 * Connection: while there is none, messages wait for it only up to MESH_WAIT_BYTES (of an old raft message nothing is
 * lost, and who asks for an answer had better hear at once); when an attempt fails or a connection breaks, what waits
 * is dropped and counted. Attempts are 50 ms to 2 s apart, with jitter. Order holds within a connection; after it
 * broke, what the kernel still held of it may come after what the next one brings, if they are on different shards of
 * the receiver. Batching:   frames of a turn leave in one write at its end (env_defer). Bounds:     queued bytes per
 * peer and lane (limits), one frame always fits; beyond: ST_OVERLOADED, counted. A peer that does not drain costs its
 *             own queue only.
 * Threading:  the shard. In the simulator local messages are encoded and decoded as well. */
#ifndef CAIRN_MESH_MESH_H
#define CAIRN_MESH_MESH_H

#include "base/bytes.h"
#include "base/lineage.h"
#include "base/status.h"
#include "env/env.h"

struct mesh;

#define MESH_SHARD 0x8000u
#define MESH_NODE  0xffffu
#define MESH_MAGIC "CAIRNMSH" /* a peer connection begins with these 8 bytes */

enum mesh_lane { MESH_URGENT, MESH_BULK, MESH_LANES };

enum mesh_kind { /* what is in the body; the layer named decodes it */
                 MESH_HELLO = 1,
                 MESH_PING, /* mesh: round-trip time; answered on the peer's own connection */
                 MESH_PONG,
                 MESH_JOIN, /* cluster: a node without id asks to join */
                 MESH_JOIN_REPLY,
                 MESH_BEAT,           /* liveness_beat */
                 MESH_RAFT,           /* replica: partition id, then a raft message */
                 MESH_SNAPSHOT_CHUNK, /* replica */
                 MESH_SNAPSHOT_ACK,
                 MESH_REQUEST, /* gate → replica: an op */
                 MESH_REPLY,   /* replica → gate */
                 MESH_CATALOG, /* cluster: a push of changes */
                 MESH_CATALOG_ACK,
                 MESH_REPORT, /* cluster: node → meta: state of partitions and of the node */
                 MESH_SCRUB,  /* replica: checksum of a range at an index */
                 MESH_WHO,    /* node: may this incarnation of a node start? A call */
                 MESH_WHO_REPLY,
                 MESH_KIND_COUNT
};

struct mesh_frame {
    uint8_t kind;
    uint16_t endpoint;  /* where it is going */
    uint64_t from_node; /* 0: a node that has no id yet (MESH_JOIN only) */
    uint16_t from_shard;
    struct bytes body; /* borrowed for the call */
    struct buf *
        whole; /* not NULL: the body lies in this buffer, and who needs it for longer may take that (and empty *whole) */
    void *conn; /* of a frame sent by mesh_call: for mesh_answer; valid during the call. Else NULL */
};

/* What becomes of a frame that arrives from another node. A test's choice only: nodes in earnest deliver all of them. */
enum mesh_fate {
    MESH_PASS,
    MESH_DROP,
    MESH_REPEAT, /* delivered now, and once more after the delay */
    MESH_DELAY,  /* delivered after the delay: frames behind it go past */
};

enum {
    MESH_WAIT_BYTES = 256 * 1024, /* per peer and lane, while not connected; one frame always fits */
    MESH_CALLS_MAX = 64,          /* under way at a time */
    MESH_CONNS_MAX = 4096,        /* incoming, per shard */
    MESH_HOLDS_MAX = 4096,        /* connections held for an answer, per shard */
    MESH_DELAYED_MAX = 1024, /* frames that MESH_DELAY and MESH_REPEAT may keep at a time, per shard; others pass */
    MESH_PINGS_LOST_MAX = 4, /* unanswered: the connection is taken for dead */
};

struct mesh_options {
    struct env_loop *loop;
    uint64_t node_id; /* 0 until it has joined: mesh_set_self */
    uint8_t cluster_id[16];
    uint16_t semantics_oldest, semantics_newest; /* of ops that this build applies; peers must overlap */
    uint16_t shard, shard_count;
    size_t queue_bytes_max[MESH_LANES]; /* per peer */
    size_t frame_bytes_max;             /* larger ones are refused by both sides */
    size_t peers_max;
    uint64_t ping_ns; /* between pings to a peer that is in use; 0: one second */
    void (*deliver)(void *ctx, const struct mesh_frame *f);
    /* NULL, but in the simulator: asked about each frame that arrives on a connection, calls aside. */
    enum mesh_fate (*fate)(void *ctx, const struct mesh_frame *f, uint64_t *out_delay_ns);
    void (*left)(void *ctx); /* a connection given to mesh_accept has ended (for the port's count); may be NULL */
    /* A peer knows of another incarnation of this node, and refuses this one; may be NULL. */
    void (*fenced)(void *ctx, const char *text);
    void *ctx;
};

struct mesh *mesh_new(const struct mesh_options *options);
/* Closes its connections; calls of mesh_call end. Once linked to others: only when no loop of the process runs any
 * more, and before the loops are freed. NULL is fine. */
void mesh_free(struct mesh *m);
/* Tells the meshes of a process of one another, once, before any message: all[i] is shard i's. */
void mesh_link_local(struct mesh *m, struct mesh *const *all);
void mesh_set_self(struct mesh *m, uint64_t node_id, const uint8_t cluster_id[16]);
void mesh_set_lineage(struct mesh *m, const struct lineage *l); /* before the first connection */

/* Where a node listens ("host:port"); a changed address drops the old connection. NULL forgets the peer. */
void mesh_set_peer(struct mesh *m, uint64_t node_id, const char *address);
/* The peer's incarnation by the catalog. Connections of those that it supersedes end; what does not continue it is refused from
 * now on. A hello alone fences nobody: who said it may die before the cluster has confirmed it. It takes the place of older
 * incarnations' connections; and while one lives, the hello of another that is not newer has to try again later. */
void mesh_set_incarnation(struct mesh *m, uint64_t node_id, struct incarnation known);
/* Is there a connection from the node that is not of this incarnation, and was heard of within the time? */
bool mesh_hears_other(const struct mesh *m, uint64_t node_id, struct incarnation now, uint64_t within_ns);

/* ST_OK: queued. ST_OVERLOADED: the queue is full. ST_NOT_FOUND: no address known, no such shard, or this node has no
 * id yet. ST_TOO_LARGE. The body is copied. Never delivers before it has returned. */
enum status mesh_send(struct mesh *m, uint64_t node_id, uint16_t endpoint, enum mesh_lane lane, enum mesh_kind kind,
                      struct bytes body);
/* The same with a body in two parts, to save a copy. */
enum status mesh_send2(struct mesh *m, uint64_t node_id, uint16_t endpoint, enum mesh_lane lane, enum mesh_kind kind,
                       struct bytes head, struct bytes body);
/* The same with a body that stays where it is until it has been sent or dropped: then release(owner) is called, once, perhaps
 * before this returns, also if this fails. What is sent within the process is copied all the same. */
enum status mesh_send_ref(struct mesh *m, uint64_t node_id, uint16_t endpoint, enum mesh_lane lane, enum mesh_kind kind,
                          struct bytes head, struct bytes body, void (*release)(void *owner), void *owner);
/* Bytes queued to a node in a lane and not yet taken by the kernel. */
size_t mesh_queued(const struct mesh *m, uint64_t node_id, enum mesh_lane lane);

/* A stream that began with MESH_MAGIC (first holds what was read so far, magic included) becomes an incoming
 * connection. */
void mesh_accept(struct mesh *m, struct env_stream *s, struct bytes first);

/* For a node that has no id yet: connects to an address, sends one frame, hands the answer frame (or NULL and the
 * reason) to done, closes. */
void mesh_call(struct mesh *m, const char *address, enum mesh_kind kind, struct bytes body, uint64_t timeout_ns,
               void (*done)(void *ctx, const struct mesh_frame *answer, const char *why_not), void *ctx);
/* Answers a frame that came from a node without id, on its own connection. conn stays valid until then or until it
 * breaks. */
void mesh_answer(struct mesh *m, void *conn, enum mesh_kind kind, struct bytes body);
/* Keeps frame->conn usable after deliver has returned (until mesh_answer); the answer to a broken one is dropped. NULL
 * if MESH_HOLDS_MAX are held already; answering NULL does nothing. */
void *mesh_hold(struct mesh *m, void *conn);

struct mesh_peer_stats {
    uint64_t node_id;
    bool connected[MESH_LANES];
    uint64_t rtt_ns;       /* smoothed; 0: unknown */
    uint64_t pings, pongs; /* loss = 1 - pongs / pings */
    uint64_t sent_frames, sent_bytes, dropped_frames, received_frames, received_bytes, reconnects;
    size_t queued[MESH_LANES];
};
/* for (size_t at = 0; mesh_each_peer(m, &at, &stats);) … */
bool mesh_each_peer(const struct mesh *m, size_t *at, struct mesh_peer_stats *out);

struct mesh_stats {
    uint64_t conns;                     /* incoming, open now */
    uint64_t accepted, refused;         /* incoming; refused: mismatch, or too many */
    uint64_t corrupt;                   /* connections closed for a damaged or oversized frame */
    uint64_t local_sent, local_dropped; /* through mailboxes, those that came for another shard included */
    uint64_t unknown;                   /* frames of a kind, or for a shard, that is not known here */
    uint64_t overloaded;                /* mesh_send refused */
};
void mesh_stats(const struct mesh *m, struct mesh_stats *out);

#endif
