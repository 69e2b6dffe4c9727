/* entry.h - one entry of a replicated log, in memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   the unit that consensus orders, the store's log keeps and a replica applies. Counted references,
 *            immutable once made.
 * Threading: the count belongs to the shard's thread; a worker may read an entry while the shard holds a reference. */
#ifndef CAIRN_CONSENSUS_ENTRY_H
#define CAIRN_CONSENSUS_ENTRY_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/hlc.h"

enum entry_kind {
    ENTRY_NOOP = 1,  /* a new leader's first entry: commits what came before it */
    ENTRY_OPS = 2,   /* ops of a model (model/op.h): count, then each op with its length */
    ENTRY_CONF = 3,  /* a raft_config: takes effect when appended (Raft dissertation, 4.1) */
    ENTRY_SCRUB = 4, /* every replica hashes its rows as of here (replica/scrub.c) */
};

struct entry {
    uint32_t refs;
    uint32_t size; /* of data */
    uint64_t index;
    uint64_t term;
    hlc_t ts; /* the first of the timestamps it takes; op i of ENTRY_OPS has ts + i */
    uint8_t kind;
    const uint8_t *data;
    struct buf taken; /* what data lies in, unless that is right behind this struct */
};

struct entry *entry_new(uint8_t kind, uint64_t index, uint64_t term, hlc_t ts, struct bytes data); /* one reference */
/* The same with its data in two parts, to save a copy. */
struct entry *entry_new2(uint8_t kind, uint64_t index, uint64_t term, hlc_t ts, struct bytes head, struct bytes data);
struct entry *entry_ref(struct entry *e);
/* data lies in `whole`, which the entry takes: *whole is empty afterwards. */
struct entry *entry_new_taking(uint8_t kind, uint64_t index, uint64_t term, hlc_t ts, struct bytes data,
                               struct buf *whole);
void entry_unref(struct entry *e); /* NULL is fine */
static inline struct bytes entry_data(const struct entry *e) { return bytes_of(e->data, e->size); }

#endif
