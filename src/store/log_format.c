/* log_format.c - how segments, batches and records of the log lie in bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/log_format.h"

#include "base/hash.h"
#include "base/status.h"

#define SEGMENT_MAGIC 0x474f4c4e52494143u /* "CAIRNLOG" */
#define BATCH_MAGIC   0x31424c43u         /* "CLB1" */

bool log_all_zero(const uint8_t *p, size_t n) { return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0); }

/* Segment header. Little-endian; the rest of the page is zero.
 *  0  8  magic                    32  8  segment number
 *  8  4  format version           40  8  nonce of the store
 * 12  4  CRC32C of 16 … 63        48 16  zero
 * 16 16  store id */
void log_segment_header_encode(const struct log_segment_header *h, uint8_t *out)
{
    memset(out, 0, LOG_PAGE);
    put_u64(out, SEGMENT_MAGIC);
    put_u32(out + 8, h->version);
    memcpy(out + 16, h->store_id, 16);
    put_u64(out + 32, h->number);
    put_u64(out + 40, h->nonce);
    put_u32(out + 12, crc32c(h->version, out + 16, LOG_SEGMENT_HEADER - 16));
}

bool log_segment_header_decode(const uint8_t *in, struct log_segment_header *out)
{
    struct log_segment_header h = {.version = get_u32(in + 8), .number = get_u64(in + 32), .nonce = get_u64(in + 40)};
    memcpy(h.store_id, in + 16, 16);
    if (get_u64(in) != SEGMENT_MAGIC) return false;
    if (get_u32(in + 12) != crc32c(h.version, in + 16, LOG_SEGMENT_HEADER - 16)) return false;
    *out = h;
    return true;
}

uint32_t log_seed(const uint8_t store_id[16], uint64_t segment)
{
    uint8_t number[8];
    put_u64(number, segment);
    return crc32c(crc32c(0, store_id, 16), number, 8);
}

uint32_t log_record_seed(uint32_t seed, uint64_t nonce)
{
    uint8_t text[8];
    put_u64(text, nonce);
    return crc32c(seed, text, 8);
}

/* A replica in a batch's summary:  0 8 replica id,  8 8 lowest index appended,  16 8 last index after the batch. */
void log_summary_put(uint8_t *batch, uint32_t at, const struct log_summary *s)
{
    uint8_t *p = batch + LOG_BATCH_FIXED + (size_t)at * LOG_SUMMARY;
    put_u64(p, s->replica_id);
    put_u64(p + 8, s->first);
    put_u64(p + 16, s->last);
}

void log_summary_get(const uint8_t *batch, uint32_t at, struct log_summary *out)
{
    const uint8_t *p = batch + LOG_BATCH_FIXED + (size_t)at * LOG_SUMMARY;
    *out = (struct log_summary){.replica_id = get_u64(p), .first = get_u64(p + 8), .last = get_u64(p + 16)};
}

/* Batch header.
 *  0  4  magic                                   56  4  bytes of the whole batch, a multiple of 4096
 *  4  4  CRC32C of 8 … header bytes              60  4  header bytes, a multiple of 512; the payload begins there
 *  8  8  nonce of the store                      64  4  payload bytes
 * 16  8  position of this header                 68  4  records
 * 24  8  where the batch before it ended         72  4  CRC32C of the records' headers, in order
 * 32  8  oldest segment of the log               76  4  flags
 * 40  8  boot count                              80  4  replicas in the summary
 * 48  8  HLC bound                               84 12  zero
 * 96  …  the summary, 24 bytes a replica; zeros up to header bytes */
void log_batch_header_encode(const struct log_batch_header *h, uint32_t seed, uint8_t *batch)
{
    ASSERT(h->bytes % LOG_PAGE == 0 && h->header_bytes % LOG_SECTOR == 0);
    ASSERT((uint64_t)h->header_bytes + h->payload_bytes <= h->bytes);
    put_u32(batch, BATCH_MAGIC);
    put_u64(batch + 8, h->nonce);
    put_u64(batch + 16, h->position);
    put_u64(batch + 24, h->synced);
    put_u64(batch + 32, h->first_segment);
    put_u64(batch + 40, h->boot);
    put_u64(batch + 48, h->bound);
    put_u32(batch + 56, h->bytes);
    put_u32(batch + 60, h->header_bytes);
    put_u32(batch + 64, h->payload_bytes);
    put_u32(batch + 68, h->records);
    put_u32(batch + 72, h->payload_crc);
    put_u32(batch + 76, h->flags);
    put_u32(batch + 80, h->summary_count);
    memset(batch + 84, 0, 12);
    put_u32(batch + 4, crc32c(seed, batch + 8, h->header_bytes - 8));
}

bool log_batch_header_peek(const uint8_t *batch, struct log_batch_header *out)
{
    if (get_u32(batch) != BATCH_MAGIC) return false;
    struct log_batch_header h = {
        .nonce = get_u64(batch + 8),
        .position = get_u64(batch + 16),
        .synced = get_u64(batch + 24),
        .first_segment = get_u64(batch + 32),
        .boot = get_u64(batch + 40),
        .bound = get_u64(batch + 48),
        .bytes = get_u32(batch + 56),
        .header_bytes = get_u32(batch + 60),
        .payload_bytes = get_u32(batch + 64),
        .records = get_u32(batch + 68),
        .payload_crc = get_u32(batch + 72),
        .flags = get_u32(batch + 76),
        .summary_count = get_u32(batch + 80),
    };
    if (h.bytes == 0 || h.bytes % LOG_PAGE != 0 || h.bytes > LOG_BATCH_BYTES_MAX) return false;
    if (h.header_bytes < LOG_SECTOR || h.header_bytes % LOG_SECTOR != 0 || h.header_bytes > h.bytes) return false;
    if (h.payload_bytes > h.bytes - h.header_bytes) return false;
    if (h.summary_count > (h.header_bytes - LOG_BATCH_FIXED) / LOG_SUMMARY) return false;
    if (h.records > h.payload_bytes / LOG_RECORD) return false;
    *out = h;
    return true;
}

bool log_batch_header_valid(const struct log_batch_header *h, uint32_t seed, const uint8_t *batch)
{
    return get_u32(batch + 4) == crc32c(seed, batch + 8, h->header_bytes - 8);
}

/* Record. Its data follows, padded with zeros to 8 bytes.
 *  0  4  CRC32C of 4 … 55          24  8  index (a vote record's vote)
 *  4  4  CRC32C of data and pad    32  8  term
 *  8  4  length of the data        40  8  HLC timestamp
 * 12  1  type                      48  8  term of the entry before
 * 13  1  entry kind
 * 14  2  flags
 * 16  8  replica id */
void log_record_put(uint8_t *p, const struct log_record *r)
{
    size_t n = r->data.n;
    put_u64(p, 0);
    put_u32(p + 8, (uint32_t)n);
    p[12] = r->type;
    p[13] = r->kind;
    put_u16(p + 14, r->flags);
    put_u64(p + 16, r->replica_id);
    put_u64(p + 24, r->index);
    put_u64(p + 32, r->term);
    put_u64(p + 40, r->ts);
    put_u64(p + 48, r->prev_term);
    if (n == 0) return;
    put_u64(p + log_record_size(n) - 8, 0); /* the pad; the data comes over it */
    memcpy(p + LOG_RECORD, r->data.p, n);
}

uint32_t log_payload_seal(uint8_t *payload, size_t n, uint32_t record_seed)
{
    uint32_t all = record_seed;
    for (size_t at = 0; at < n;) {
        uint8_t *p = payload + at;
        size_t size = log_record_size(get_u32(p + 8));
        ASSERT(size <= n - at);
        put_u32(p + 4, crc32c(record_seed, p + LOG_RECORD, size - LOG_RECORD));
        put_u32(p, crc32c(record_seed, p + 4, LOG_RECORD - 4));
        all = crc32c(all, p, LOG_RECORD);
        at += size;
    }
    return all;
}

void log_record_peek(const uint8_t *p, struct log_record *out)
{
    *out = (struct log_record){
        .type = p[12],
        .kind = p[13],
        .flags = get_u16(p + 14),
        .replica_id = get_u64(p + 16),
        .index = get_u64(p + 24),
        .term = get_u64(p + 32),
        .ts = get_u64(p + 40),
        .prev_term = get_u64(p + 48),
        .data = {p + LOG_RECORD, get_u32(p + 8)},
    };
}

enum log_check log_record_decode(const uint8_t *p, size_t n, uint32_t record_seed, struct log_record *out)
{
    if (n < LOG_RECORD || get_u32(p) != crc32c(record_seed, p + 4, LOG_RECORD - 4)) return LOG_BAD_HEADER;
    uint32_t length = get_u32(p + 8);
    if (length > LOG_RECORD_BYTES_MAX || log_record_size(length) > n) return LOG_BAD_HEADER;
    log_record_peek(p, out);
    uint32_t crc = crc32c(record_seed, p + LOG_RECORD, log_record_size(length) - LOG_RECORD);
    return get_u32(p + 4) == crc ? LOG_VALID : LOG_BAD_DATA;
}

bool log_payload_valid(const struct log_batch_header *h, const uint8_t *payload, uint32_t record_seed)
{
    uint32_t all = record_seed, count = 0;
    size_t at = 0;
    struct log_record r;
    while (at < h->payload_bytes) {
        if (log_record_decode(payload + at, h->payload_bytes - at, record_seed, &r) != LOG_VALID) return false;
        all = crc32c(all, payload + at, LOG_RECORD);
        at += log_record_size(r.data.n);
        count++;
    }
    return count == h->records && all == h->payload_crc;
}

/* Data of a replica record: six numbers of 8 bytes in the order of struct log_state, then 8 bytes of flags:
 * 1 suspect, 2 damaged. */
void log_state_put(uint8_t out[LOG_STATE], const struct log_state *s)
{
    put_u64(out, s->term);
    put_u64(out + 8, s->vote);
    put_u64(out + 16, s->base_index);
    put_u64(out + 24, s->base_term);
    put_u64(out + 32, s->last_index);
    put_u64(out + 40, s->last_term);
    put_u64(out + 48, (s->suspect ? 1u : 0u) | (s->damaged ? 2u : 0u));
}

bool log_state_get(struct bytes in, struct log_state *out)
{
    if (in.n != LOG_STATE || get_u64(in.p + 48) > 3) return false;
    *out = (struct log_state){
        .term = get_u64(in.p),
        .vote = get_u64(in.p + 8),
        .base_index = get_u64(in.p + 16),
        .base_term = get_u64(in.p + 24),
        .last_index = get_u64(in.p + 32),
        .last_term = get_u64(in.p + 40),
        .suspect = (in.p[48] & 1) != 0,
        .damaged = (in.p[48] & 2) != 0,
    };
    return out->last_index >= out->base_index;
}
