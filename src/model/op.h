/* op.h - an op: a deterministic operation of a model on one partition.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    what is logged, replicated and applied, and how a replica applies it without knowing the model.
 * Rules:      an op reads its entry and its partition's rows, and nothing else: no clock, setting, limit, hash order or
 *             memory. Time is the entry's. The same rows and op give the same rows and result on every machine.
 * Format:     (docs/formats.md, "Ops")
 *               semantics u8 | opcode u16 | flags u8 | [session u64, sequence u64, resolved u64 if OP_HAS_ID]
 *               | [since u64 if OP_SINCE] | body
 *             An unknown semantics version or opcode stops the replica (ST_VERSION); it never skips.
 * Op ids:     session and sequence are chosen by the gateway. `resolved`: every sequence of that session below it has got its
 *             answer, so the partition's outcome window forgets those. `since`: a timestamp of the partition that the gateway
 *             had been told before it made the op; so whatever was forgotten up to then can't have been this op.
 * Threading:  pure; the view's owner calls. */
#ifndef CAIRN_MODEL_OP_H
#define CAIRN_MODEL_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hlc.h"
#include "base/status.h"

#define OP_SEMANTICS 1 /* the newest version this build writes; it applies 1 … OP_SEMANTICS */

enum op_flags {
    OP_HAS_ID = 1,
    OP_READ = 2,     /* changes nothing: answered by a read, never logged */
    OP_EVALUATE = 4, /* the leader evaluates it into a write set (OPCODE_WRITE_SET) first */
    OP_SINCE = 8,    /* with OP_HAS_ID: `since` is there; else it is 0 */
};

/* Opcodes: the high byte is the model. */
enum {
    OPCODE_WRITE_SET = 0x0001, /* versions of the rows read, and an op to run if they are unchanged: see op.c */
    OPCODE_KV = 0x0100,        /* model/kv.h */
    OPCODE_CATALOG = 0x0200,   /* model/catalog.h */
};

struct op {
    uint8_t semantics;
    uint16_t opcode;
    uint8_t flags;
    uint64_t session, sequence, resolved;
    hlc_t since;
    struct bytes body; /* borrowed */
};
bool op_decode(struct bytes in, struct op *out); /* false: malformed */
void op_encode(const struct op *op, struct buf *out);

/* A partition's counters, kept in its applied row; part of the replicated state. Ops may change them. */
struct op_counters {
    int64_t keys;    /* heads */
    int64_t expires; /* heads with an expiry */
    int64_t garbage; /* garbage rows */
    uint64_t
        last_delete; /* timestamp of the last op that removed a head: the version of what is absent (kv.h, WATCH) */
    /* History: how long what is superseded is kept (0: it is not), and from which time on all of it is there. Reads below the
     * watermark are refused; history rows at or below it may go. It never falls. */
    uint64_t retention_ms;
    hlc_t watermark;
};

#define OP_FRONT_BYTES 24
#define OP_WHOLE_BYTES 64

/* A partition's rows, as an op sees them. Writes go to the entry's overlay: later reads of the same entry see them, and all
 * are dropped if the op ends ST_NOT_READY (it is then run again once the row is in memory). */
struct op_view {
    void *ctx;
    uint32_t table;
    uint32_t slot_lo, slot_hi; /* the partition: [lo, hi) */
    hlc_t ts;                  /* of this op: unique in the partition; reads: the read timestamp */
    bool keep_history;         /* counters->retention_ms is set: what rows were becomes history (history_view.h) */
    bool as_of;                /* reads: ts may lie in the past; counters are those of now all the same */
    struct op_counters *counters;
    /* ST_OK, ST_NOT_FOUND, ST_NOT_READY, or a fault of this replica (ST_CORRUPT, ST_IO). Borrowed until the next call. */
    enum status (*get)(void *ctx, struct bytes row, struct bytes *out);
    /* As get, but of a value of more than OP_WHOLE_BYTES only the first OP_FRONT_BYTES are sure to be there: for ops that ask
     * what a row is, not what it holds. Costs less where only the front is in memory. */
    enum status (*get_front)(void *ctx, struct bytes row, struct bytes *out);
    /* Rows of [lo, hi), reversed if asked, until each returns false. each must not call the view. */
    enum status (*scan)(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                        bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx);
    /* NULL in reads. */
    void (*put)(void *ctx, struct bytes row, struct bytes value);
    void (*del)(void *ctx, struct bytes row);
};

/* How many timestamps a write op takes: the driver gives the first op of an entry the entry's ts, and each following one the
 * ts of the one before plus this. At least 1; more for ops that make several incarnations. Bounded by the body's size. */
uint64_t op_timestamps(const struct op *op);

/* Runs an op (read or write) and appends its result to out. ST_OK: done, the result may be an error result. ST_NOT_READY:
 * nothing was decided; fetch and run again. ST_STALE: a key is not in [slot_lo, slot_hi): nothing was decided or written, route again.
 * ST_VERSION: this build does not know it. Others: the view's faults. Exactly one result is appended on ST_OK; otherwise out
 * and the counters are as before, and the caller drops the overlay's writes. */
enum status op_run(const struct op *op, struct op_view *view, struct buf *out);

/* Leader, for OP_EVALUATE ops: runs the op on the leader's applied state, which it does not change, and encodes a
 * OPCODE_WRITE_SET op (same id) that checks the versions read and has the effects. ST_OK, ST_NOT_READY, ST_STALE. If the op
 * turned out to change nothing, *out_op stays empty and the result is in *out_result. */
enum status op_evaluate(const struct op *op, struct op_view *view, struct buf *out_op, struct buf *out_result);

/* What an op will read, as far as its body and the heads in memory tell: a row (hi is empty), or the rows of [lo, hi).
 * more: once this row is in memory, asking again may name others that hang on it. lo and hi are borrowed for the call. */
typedef void (*op_reads_each)(void *ctx, struct bytes lo, struct bytes hi, bool more);

/* The table through which models are found; each model has one of these. */
struct op_model {
    const char *name;
    /* As op_run. */
    enum status (*run)(const struct op *op, struct op_view *view, struct buf *out);
    /* As op_reads. NULL: it names none. */
    void (*reads)(const struct op *op, struct op_view *view, op_reads_each each, void *ctx);
    /* As op_timestamps. NULL: always 1. */
    uint64_t (*timestamps)(const struct op *op);
    /* Computes an OP_EVALUATE op: appends a plain op (encoded) that has the same effects and result on the same rows, and
     * nothing else but deterministic work, to out_op; or only a result to out_result. May write to the view, which is
     * thrown away. NULL: the model has no such ops. */
    enum status (*evaluate)(const struct op *op, struct op_view *view, struct buf *out_op, struct buf *out_result);
    /* The version in a head row's value as it counts at ts: 0 if it is absent then (expired). */
    uint64_t (*version)(struct bytes row_value, hlc_t ts);
};
extern const struct op_model kv_model;
extern const struct op_model catalog_model;
/* Names what is worth having in memory before the op is run, so that it can be fetched when the entry is appended. Only a
 * hint: it may name too much, too little, or a row twice. Only `table` and `get` of the view are used; get should answer
 * ST_NOT_READY for what is not in memory. */
void op_reads(const struct op *op, struct op_view *view, op_reads_each each, void *ctx);

#endif
