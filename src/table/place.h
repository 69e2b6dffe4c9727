/* place.h - where a key lies: its slot, and the rows it has in the engine.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   the hash partitioner (Redis Cluster's function, `{tags}` co-locate keys) and the permanent layout of rows.
 * Layout:    (all big-endian, so that rows sort; docs/formats.md, "Keys")
 *              table u32 | slot u16 | space u8 | rest
 *            A partition is an interval of slots, so all its rows are one range; a split or merge moves none.
 *              SPACE_HEAD     hash48 | key                       one per key; SCAN goes by (slot, hash48)
 *              SPACE_ELEMENT  incarnation u64 | rest             fields of hashes, 64 KiB pieces of long strings
 *              SPACE_HISTORY  hash48 | key | superseded u64      what heads were (store/history.h)
 *              SPACE_GARBAGE  incarnation u64                    elements to be cleaned
 *              SPACE_EXPIRY   expiry_ms u64 | hash48 | key       what will expire
 *              SPACE_ELEMENT_HISTORY  incarnation u64 | rest | superseded u64   what elements were
 *            Elements hang on the incarnation (the timestamp of the op that made the collection), not on the key, so that
 *            RENAME and DEL touch only head rows.
 *            Table TABLE_SYSTEM holds each replica's own rows: partition u64 | kind u8 | rest.
 * Threading: pure. */
#ifndef CAIRN_TABLE_PLACE_H
#define CAIRN_TABLE_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define SLOTS         16384u
#define TABLE_CATALOG 0u          /* the meta group's */
#define TABLE_DEFAULT 1u          /* what Redis clients see as database 0 */
#define TABLE_SYSTEM  0xfffffffeu /* applied rows, outcome windows: never in a partition's range */

enum space {
    SPACE_HEAD = 1,
    SPACE_ELEMENT = 2,
    SPACE_HISTORY = 3,
    SPACE_GARBAGE = 4,
    SPACE_EXPIRY = 5,
    SPACE_ELEMENT_HISTORY = 6,
};

enum system_kind {
    SYSTEM_APPLIED = 1, /* index, term, timestamp, configuration, counters of the replica; local */
    SYSTEM_WINDOW = 2,  /* session u64: outcomes of recent ops; replicated state */
    SYSTEM_FENCE = 3,   /* why the rows of this replica are not to be used; local, gone once they were replaced */
};

/* CRC16 of the part between the first `{` and the next `}` if that is not empty, else of the whole key; modulo SLOTS.
 * (Redis Cluster specification, "Hash tags".) */
uint16_t key_slot(struct bytes key);
/* The upper 48 bits of XXH3-64 (seed 0) of the key: its place within the slot. Permanent. */
uint64_t key_hash48(struct bytes key);

void row_prefix(struct buf *out, uint32_t table, uint16_t slot, enum space space);
void row_head(struct buf *out, uint32_t table, struct bytes key);
void row_head_at(struct buf *out, uint32_t table, uint16_t slot, uint64_t hash48, struct bytes key);
void row_element(struct buf *out, uint32_t table, uint16_t slot, uint64_t incarnation, struct bytes rest);
void row_garbage(struct buf *out, uint32_t table, uint16_t slot, uint64_t incarnation);
void row_expiry(struct buf *out, uint32_t table, uint16_t slot, uint64_t expiry_ms, uint64_t hash48, struct bytes key);
/* The range of all rows of slots [slot_lo, slot_hi) of a table: [out_lo, out_hi). slot_hi up to SLOTS. */
void row_range(struct buf *out_lo, struct buf *out_hi, uint32_t table, uint32_t slot_lo, uint32_t slot_hi);
void row_system(struct buf *out, uint64_t partition_id, enum system_kind kind, struct bytes rest);

/* A row's key taken apart; false if it is none of ours. */
struct row_parts {
    uint32_t table;
    uint16_t slot;
    uint8_t space;
    uint64_t hash48;      /* head, history, expiry */
    uint64_t incarnation; /* element, its history, garbage */
    uint64_t expiry_ms;   /* expiry */
    struct bytes rest;    /* the key (head, expiry), the rest (element); borrowed */
};
bool row_parse(struct bytes row_key, struct row_parts *out);

#endif
