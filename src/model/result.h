/* result.h - what an op answers, independent of any door.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   a small self-describing encoding that every door can turn into its protocol (RESP2, RESP3, later others). It is
 *            computed by apply on every replica and kept in outcome windows, so it is deterministic.
 * Format:    one tag byte, then: (docs/formats.md, "Results")
 *              'n' nil; 'N' nil array; 'o' OK; 'T' 'F' booleans; 'i' zigzag varint; 'd' lp text of a double;
 *              'b' lp bulk; 's' lp simple string; 'e' lp error text ("CODE message");
 *              'a' varint count, then results; 'm' varint pairs, then 2 × results; 't' varint count (a set), then results;
 *              'p' varint pairs, then 2 × results: pairs that are no map (RESP2 a flat array, RESP3 an array of two-element arrays);
 *              'X' u64: blocked by that transaction; 'V' nothing more: versions read have changed (evaluate again);
 *              'Z' nothing more: executed, but its reply was too large to keep;
 *              'W' u64: not executed now; its session is not known, and ops of such were forgotten up to that timestamp (gate.c).
 * Threading: pure. */
#ifndef CAIRN_MODEL_RESULT_H
#define CAIRN_MODEL_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

#define RESULT_DEPTH_MAX 8

void result_nil(struct buf *out);
void result_nil_array(struct buf *out);
void result_ok(struct buf *out);
void result_bool(struct buf *out, bool v);
void result_int(struct buf *out, int64_t v);
void result_double(struct buf *out, struct bytes text);
void result_bulk(struct buf *out, struct bytes s);
void result_bulk_head(struct buf *out, uint64_t n); /* a bulk's start: the caller appends its n bytes */
void result_simple(struct buf *out, struct bytes s);
void result_error(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void result_array(struct buf *out, uint64_t count);
void result_map(struct buf *out, uint64_t pairs);
void result_pairs(struct buf *out, uint64_t pairs);
void result_set(struct buf *out, uint64_t count);
void result_blocked(struct buf *out, uint64_t txn);
void result_conflict(struct buf *out);
void result_too_large(struct buf *out);
void result_forgotten(struct buf *out, uint64_t up_to);

/* One result taken off a reader. For 'a', 'm', 'p', 't' the elements follow: call again `count` (for 'm', 'p' twice) times. */
struct result {
    uint8_t tag;
    int64_t number;     /* 'i' */
    uint64_t count;     /* 'a', 'm', 'p', 't'; 'X' the transaction; 'W' the timestamp */
    struct bytes bytes; /* 'b', 's', 'e', 'd'; borrowed */
};
bool result_next(struct reader *r, struct result *out); /* false: malformed or at the end */
/* Checks a whole encoding: well formed, depth bounded, nothing left. */
bool result_check(struct bytes encoded);

#endif
