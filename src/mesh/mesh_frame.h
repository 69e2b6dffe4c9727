/* mesh_frame.h - frames of the mesh as bytes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    encodes and decodes frames, the hello and the refusal; cuts a stream of bytes into frames. It decides; it
 *             never sends.
 * Connection: the connecting side writes MESH_MAGIC and a hello; the other answers with its own hello, or with a
 * refusal and closes. After that frames go from the connecting to the accepting side; only pongs and refusals (and the
 *             answer of a call) come back. All numbers are little-endian.
 *
 *   frame    offset  size  meaning
 *            0       4     bytes of the body
 *            4       4     CRC32C over all that follows (kind, flags, endpoint, body)
 *            8       1     kind
 *            9       1     flags: 0
 *            10      2     endpoint
 *            12      n     body; who sends is in the connection's hello
 *
 *   hello    0       2     MESH_FORMAT; what follows may differ in another format
 *            2       1     lane: 0 urgent, 1 bulk, 2 a call (one frame there, one answer)
 *            3       1     0
 *            4       2     oldest semantics version of ops that the node applies
 *            6       2     newest that it knows
 *            8       16    cluster id; zero: not a member yet
 *            24      8     node id of the sender; 0: not a member yet
 *            32      8     node id that it wants to reach; 0: whoever is there
 *            40      2     shard of the sender
 *            42      2     its count of shards
 *            44      n     its lineage (base/lineage.h), with no starts in it if it is not a member yet
 *
 *   refusal  0       1     enum mesh_refusal
 *            1       n     varint length, then the text for the log
 *
 *   ping     0       8     the sender's clock; the pong carries it back unchanged
 *
 * Errors:     ST_TOO_LARGE, ST_CORRUPT, ST_VERSION with a text. Nothing is read outside the bytes given.
 * Threading:  pure. */
#ifndef CAIRN_MESH_MESH_FRAME_H
#define CAIRN_MESH_MESH_FRAME_H

#include "base/bytes.h"
#include "base/lineage.h"
#include "base/status.h"
#include "mesh/mesh.h"

enum {
    MESH_FORMAT = 1,
    MESH_MAGIC_BYTES = 8,
    MESH_HEADER_BYTES = 12,
    MESH_HELLO_BYTES = 44,               /* without the lineage */
    MESH_GREETING_BODY_MAX = 1024,       /* of a frame before the hello was accepted, and of all that come back */
    MESH_KEEP_LARGE_BYTES = 1024 * 1024, /* … where large frames are usual */
    MESH_KEEP_BYTES = 256 * 1024,        /* a buffer with more room than this is given back when it is empty */
};

/* Kinds that never leave the mesh; they are above enum mesh_kind. */
enum {
    MESH_ANSWER = 0xfd, /* between shards: take this answer to a connection that you own */
    MESH_REFUSE = 0xfe,
};

enum mesh_refusal {
    MESH_REFUSED_FAULT = 1,    /* the connection is of no more use; try again soon */
    MESH_REFUSED_MISMATCH = 2, /* it will not work until someone changes something */
    MESH_REFUSED_FENCED = 3,   /* another incarnation of the node is known: who hears this has to end */
};

/* Appends a frame whose body is head and then body. with_crc is false only between shards of a process. */
void mesh_frame_put(struct buf *out, uint8_t kind, uint16_t endpoint, struct bytes head, struct bytes body,
                    bool with_crc);
/* The same with CRC, but the body is to follow from where it lies. */
void mesh_frame_put_head(struct buf *out, uint8_t kind, uint16_t endpoint, struct bytes head, struct bytes body);
/* Size of the frame that begins at b: ST_OK, ST_NOT_READY (less than a header), ST_TOO_LARGE. */
enum status mesh_frame_size(struct bytes b, size_t body_max, size_t *out, struct error *err);
/* b is exactly one frame. Fills kind, endpoint and body (borrowed); the rest of out is zero. ST_CORRUPT. */
enum status mesh_frame_decode(struct bytes b, bool with_crc, struct mesh_frame *out, struct error *err);

enum { MESH_LANE_CALL = MESH_LANES, MESH_HELLO_LANES };

struct mesh_hello {
    uint16_t format;
    uint8_t lane;
    uint16_t semantics_oldest, semantics_newest;
    uint8_t cluster_id[16];
    uint64_t from_node, to_node;
    uint16_t shard, shard_count;
    struct lineage lineage;
};

void mesh_hello_put(struct buf *out, const struct mesh_hello *h);
/* ST_VERSION: another format (out->format is set, nothing else). ST_CORRUPT. */
enum status mesh_hello_decode(struct bytes body, struct mesh_hello *out, struct error *err);
/* May the two talk? The text names the field, both values and the peer. A call from a node without id fits any cluster.
 * ST_VERSION, ST_DENIED. */
enum status mesh_hello_check(const struct mesh_hello *mine, const struct mesh_hello *theirs, const char *peer,
                             struct error *err);

void mesh_refuse_put(struct buf *out, enum mesh_refusal why, const char *text);
/* Copies the text, printable characters only. */
enum status mesh_refuse_decode(struct bytes body, enum mesh_refusal *out, char *text, size_t max);

/* Cuts what arrives into frames. A frame that lies whole in what arrived is handed out where it lies; only one that is
 * cut by a read is put together here. Zero-initialised but for body_max. */
struct mesh_cutter {
    struct buf partial;
    size_t body_max;  /* `each` may change it: it holds from the next frame on */
    bool keep_buffer; /* keep the room for a partial frame: large frames are usual */
};
void mesh_cutter_deinit(struct mesh_cutter *c);
/* Calls each(ctx, frame) for every whole frame. If it returns false the cutter (which may be gone by then) is not
 * touched any more and the result is ST_CLOSED. ST_CORRUPT, ST_TOO_LARGE: the connection has to be closed. */
enum status mesh_cutter_feed(struct mesh_cutter *c, struct bytes data, bool (*each)(void *ctx, struct mesh_frame *f),
                             void *ctx, struct error *err);

#endif
