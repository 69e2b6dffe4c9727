/* log_format_fuzz.c - bytes from a damaged disk: segment headers, batch headers, records.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses: read the bytes as they are, or seal them first (so that what lies behind the checksums is
 * reached too), or treat them as records to encode and read back. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"
#include "store/log_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t STORE[16] = "fuzz";

static void read_batch(const uint8_t *p, size_t n)
{
    struct log_batch_header h;
    struct log_record r;
    uint32_t seed = log_seed(STORE, 1), record_seed = log_record_seed(seed, 42);
    if (n < LOG_PAGE || !log_batch_header_peek(p, &h)) return;
    ASSERT(h.header_bytes <= h.bytes && h.payload_bytes <= h.bytes - h.header_bytes);
    if (h.bytes > n || !log_batch_header_valid(&h, seed, p)) return;
    for (uint32_t i = 0; i < h.summary_count; i++) {
        struct log_summary s;
        log_summary_get(p, i, &s);
    }
    bool whole = log_payload_valid(&h, p + h.header_bytes, record_seed);
    uint32_t count = 0, at = h.header_bytes, end = at + h.payload_bytes;
    while (at < end && log_record_decode(p + at, end - at, record_seed, &r) == LOG_VALID) {
        struct log_state s;
        if (r.type == LOG_REPLICA && log_state_get(r.data, &s)) ASSERT(s.last_index >= s.base_index);
        at += (uint32_t)log_record_size(r.data.n);
        count++;
    }
    if (whole) ASSERT(at == end && count == h.records);
}

/* Takes the bytes as a batch's: what has a length that can be gets its checksums. */
static void seal_and_read(uint8_t *p, size_t n)
{
    struct log_batch_header h;
    put_u32(p, 0x31424c43u);
    if (!log_batch_header_peek(p, &h) || h.bytes > n) return;
    uint32_t seed = log_seed(STORE, 1), record_seed = log_record_seed(seed, 42), at = h.header_bytes;
    uint32_t end = at + h.payload_bytes, good = at;
    while (end - good >= LOG_RECORD && get_u32(p + good + 8) <= LOG_RECORD_BYTES_MAX &&
           log_record_size(get_u32(p + good + 8)) <= end - good) {
        good += (uint32_t)log_record_size(get_u32(p + good + 8));
        h.records++;
    }
    h.payload_crc = log_payload_seal(p + at, good - at, record_seed);
    log_batch_header_encode(&h, seed, p);
    read_batch(p, n);
}

static void round_trip(const uint8_t *p, size_t n)
{
    uint8_t *out = mem_zalloc(log_record_size(n));
    struct log_record r = {.type = LOG_ENTRY, .kind = 2, .replica_id = n, .index = 7, .term = 3, .data = {p, n}}, back;
    log_record_put(out, &r);
    log_payload_seal(out, log_record_size(n), 5);
    ASSERT(log_record_decode(out, log_record_size(n), 5, &back) == LOG_VALID);
    ASSERT(bytes_equal(back.data, r.data) && back.index == 7 && back.replica_id == n && back.term == 3);
    ASSERT(log_record_decode(out, log_record_size(n), 6, &back) == LOG_BAD_HEADER);
    mem_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log_segment_header h;
    struct log_record r;
    if (size < 1) return 0;
    size_t n = MAX(log_round(size - 1, LOG_PAGE), (uint64_t)LOG_PAGE);
    uint8_t *p = mem_zalloc(n);
    memcpy(p, data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        log_segment_header_decode(p, &h);
        read_batch(p, n);
        break;
    case 1: seal_and_read(p, n); break;
    case 2: round_trip(data + 1, size - 1); break;
    case 3:
        if (size - 1 >= LOG_RECORD) put_u32(p, crc32c(9, p + 4, LOG_RECORD - 4));
        log_record_decode(p, size - 1, 9, &r);
        break;
    }
    mem_free(p);
    return 0;
}
