/* log_scan.c - reads a segment through a window, and finds batches in it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "store/log_internal.h"

void log_scan_init(struct log_scan *sc, const uint8_t store_id[16], const struct log_segment *s, uint64_t nonce)
{
    *sc = (struct log_scan){.file = s->file, .bytes = s->bytes, .number = s->number, .nonce = nonce};
    sc->seed = log_seed(store_id, s->number);
}

void log_scan_deinit(struct log_scan *sc) { buf_deinit(&sc->window); }

const uint8_t *log_scan_get(struct log_scan *sc, uint64_t offset, uint64_t n)
{
    if (offset > sc->bytes || n > sc->bytes - offset) return NULL;
    if (offset >= sc->at && offset + n <= sc->at + sc->window.n) return sc->window.p + (offset - sc->at);
    size_t want = (size_t)MIN(MAX(n, LOG_SCAN_BYTES), sc->bytes - offset);
    buf_clear(&sc->window);
    uint8_t *p = buf_extend(&sc->window, want);
    sc->at = offset;
    if (env_file_read(sc->file, offset, p, want, NULL) == ST_OK) return p;
    for (size_t i = 0; i < want; i += LOG_PAGE) { /* one bad page must not hide its neighbours */
        size_t part = MIN(want - i, (size_t)LOG_PAGE);
        if (env_file_read(sc->file, offset + i, p + i, part, NULL) == ST_OK) continue;
        memset(p + i, 0xee, part);
        sc->unreadable++;
    }
    return p;
}

const uint8_t *log_scan_header(struct log_scan *sc, uint64_t offset, struct log_batch_header *out)
{
    struct log_batch_header h;
    const uint8_t *p = log_scan_get(sc, offset, LOG_PAGE);
    if (p == NULL || !log_batch_header_peek(p, &h)) return NULL;
    if (h.nonce != sc->nonce || h.position != log_pos(sc->number, offset)) return NULL;
    p = log_scan_get(sc, offset, MAX(h.header_bytes, (uint32_t)LOG_PAGE));
    if (p == NULL || !log_batch_header_valid(&h, sc->seed, p)) return NULL;
    *out = h;
    return p;
}

const uint8_t *log_scan_next(struct log_scan *sc, uint64_t *offset, struct log_batch_header *out)
{
    for (uint64_t at = *offset; at + LOG_PAGE <= sc->bytes; at += LOG_PAGE) {
        const uint8_t *p = log_scan_header(sc, at, out);
        if (p == NULL) continue;
        *offset = at;
        return p;
    }
    return NULL;
}

uint64_t log_scan_used(struct log_scan *sc, uint64_t offset, uint64_t n)
{
    uint64_t used = 0, end = MIN(sc->bytes, offset + n);
    for (uint64_t at = offset; at < end; at += LOG_PAGE) {
        size_t part = (size_t)MIN(end - at, (uint64_t)LOG_PAGE);
        if (!log_all_zero(log_scan_get(sc, at, part), part)) used++;
    }
    return used;
}
