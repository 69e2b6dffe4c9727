/* log_format.h - how segments, batches and records of the log lie in bytes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    encodes and decodes; no file, no memory of its own. docs/formats.md, "The log", has the same tables.
 * Threading:  pure; batches are sealed on the log's worker.
 * Errors:     decoding bytes from disk never trusts them: a wrong checksum or an impossible length is "not valid".
 * Positions:  a position is segment number << 32 | offset in its file: it rises with the log and names one byte for
 * ever. Checksums:  CRC32C seeded with the store's id and the segment's number, those of records also with the store's
 * nonce: bytes of another store, of an earlier life of a recycled file, or inside an entry's data never read as valid.
 */
#ifndef CAIRN_STORE_LOG_FORMAT_H
#define CAIRN_STORE_LOG_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hlc.h"

enum {
    LOG_VERSION = 1,
    LOG_PAGE = 4096,  /* batches begin and end at multiples: no page is written twice once it was acknowledged */
    LOG_SECTOR = 512, /* what a disk writes whole or not at all */
    LOG_SEGMENT_HEADER = 64,
    LOG_BATCH_FIXED = 96,
    LOG_SUMMARY = 24,
    LOG_RECORD = 56,
    LOG_STATE = 56,
};
#define LOG_BATCH_BYTES_MAX  (1u << 30) /* of one batch, as a reader believes it */
#define LOG_RECORD_BYTES_MAX (1u << 29) /* of one record's data */

static inline uint64_t log_pos(uint64_t segment, uint64_t offset) { return segment << 32 | offset; }
static inline uint64_t log_pos_segment(uint64_t pos) { return pos >> 32; }
static inline uint64_t log_pos_offset(uint64_t pos) { return pos & UINT32_MAX; }
static inline uint64_t log_round(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

/* ---- segment header: the first page of the file ---- */

struct log_segment_header {
    uint32_t version;
    uint8_t store_id[16];
    uint64_t number;
    uint64_t nonce; /* drawn once for the store */
};

/* out has LOG_PAGE bytes. */
void log_segment_header_encode(const struct log_segment_header *h, uint8_t *out);
/* False: damaged, or never written. A future version is decoded as far as its version. */
bool log_segment_header_decode(const uint8_t *in, struct log_segment_header *out);

/* ---- batch ---- */

enum { LOG_BATCH_MARK = 1 }; /* no records: says that all before it was synced; the next batch takes its place */

struct log_batch_header {
    uint64_t nonce;
    uint64_t position;      /* of this header */
    uint64_t synced;        /* where the batch before ended; all before that was durable when this one was written */
    uint64_t first_segment; /* the oldest segment that is still part of the log */
    uint64_t boot;          /* how often the store had been opened */
    hlc_t bound;            /* the store's HLC bound */
    uint32_t bytes;         /* of the whole batch on disk */
    uint32_t header_bytes;  /* the payload begins there */
    uint32_t payload_bytes;
    uint32_t records;
    uint32_t payload_crc; /* over the records' headers, which hold the checksums of their data */
    uint32_t flags;
    uint32_t summary_count;
};

/* Whom the batch concerns. */
struct log_summary {
    uint64_t replica_id;
    uint64_t first; /* the lowest entry index appended; 0: none; LOG_SUMMARY_COPIES: only copies of what is elsewhere */
    uint64_t last;  /* the replica's last index after the batch */
};
#define LOG_SUMMARY_COPIES UINT64_MAX

uint32_t log_seed(const uint8_t store_id[16], uint64_t segment);
uint32_t log_record_seed(uint32_t seed, uint64_t nonce);

void log_summary_put(uint8_t *batch, uint32_t at, const struct log_summary *s);
void log_summary_get(const uint8_t *batch, uint32_t at, struct log_summary *out);
/* The summary is already in place at batch + LOG_BATCH_FIXED, the rest of header_bytes is zero. */
void log_batch_header_encode(const struct log_batch_header *h, uint32_t seed, uint8_t *batch);
/* Looks at the fixed part only: magic and lengths that can be. So a reader knows how much to read for the check. */
bool log_batch_header_peek(const uint8_t *batch, struct log_batch_header *out);
/* batch holds header_bytes. */
bool log_batch_header_valid(const struct log_batch_header *h, uint32_t seed, const uint8_t *batch);

/* ---- records ---- */

enum log_record_type {
    LOG_ENTRY = 1, /* an entry; cuts what the replica had at its index and above */
    LOG_VOTE,      /* term; index holds the vote */
    LOG_RESET,     /* entries are void, the log goes on after (index, term) */
    LOG_COMPACT,   /* entries up to (index, term) are not needed */
    LOG_REPLICA, /* all that is known of the replica but its entries (struct log_state): stands above earlier records */
    LOG_TRUSTED, /* it is not suspect any more */
    LOG_DROP,    /* the replica is gone */
    LOG_BOUND,   /* ts holds the store's HLC bound; replica 0 */
    LOG_RECORD_TYPES,
};
enum { LOG_RECORD_COPY = 1 }; /* flags: rewritten from an older segment; a copied entry cuts nothing */

struct log_record {
    uint8_t type;
    uint8_t kind;
    uint16_t flags;
    uint64_t replica_id;
    uint64_t index;
    uint64_t term;
    hlc_t ts;
    uint64_t prev_term; /* of the entry before: tells a reader whether that one is the right one */
    struct bytes data;
};

static inline size_t log_record_size(size_t data_n) { return LOG_RECORD + log_round(data_n, 8); }
/* Writes all but the checksums; p has log_record_size bytes. */
void log_record_put(uint8_t *p, const struct log_record *r);
/* Fills in the checksums of all records of a payload; returns that over their headers. */
uint32_t log_payload_seal(uint8_t *payload, size_t n, uint32_t record_seed);

enum log_check { LOG_VALID, LOG_BAD_DATA, LOG_BAD_HEADER };
/* Decodes one record; out->data is borrowed. LOG_BAD_DATA: the header is right (so is out), the data is not. */
enum log_check log_record_decode(const uint8_t *p, size_t n, uint32_t record_seed, struct log_record *out);
/* The fields of a record in memory that log_record_put made; looks at no checksum. out->data is borrowed. */
void log_record_peek(const uint8_t *p, struct log_record *out);
/* True if the payload is whole: every record, their count and the payload's checksum. */
bool log_payload_valid(const struct log_batch_header *h, const uint8_t *payload, uint32_t record_seed);

struct log_state { /* of LOG_REPLICA */
    uint64_t term, vote, base_index, base_term, last_index, last_term;
    bool suspect, damaged;
};
void log_state_put(uint8_t out[LOG_STATE], const struct log_state *s);
bool log_state_get(struct bytes in, struct log_state *out);

bool log_all_zero(const uint8_t *p, size_t n);

#endif
