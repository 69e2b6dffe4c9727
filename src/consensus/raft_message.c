/* raft_message.c - how a message lies in a frame.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   type u8 | flags u8
 *   varints: from, to, from_store, to_store, term, index, log_term, commit, hint, hint_term, read_seq, epoch, bound
 *   entry_count varint, then per entry (its index is the message's plus its place, from 1):
 *     term varint | ts u64 | kind u8 | length varint, data
 *
 * Varints, because most fields of most messages are zero or small: an acknowledgement takes about 30 bytes. */
#include "consensus/raft_internal.h"

#include <inttypes.h>

struct entry *raft_message_encode_head(const struct raft_message *m, struct buf *out)
{
    buf_put_u8(out, m->type);
    buf_put_u8(out, m->flags);
    const uint64_t fields[] = {m->from,   m->to,   m->from_store, m->to_store, m->term,  m->index, m->log_term,
                               m->commit, m->hint, m->hint_term,  m->read_seq, m->epoch, m->bound};
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) buf_put_varint(out, fields[i]);
    buf_put_varint(out, m->entry_count);
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct entry *e = m->entries[i];
        ASSERT(e->index == m->index + 1 + i);
        buf_put_varint(out, e->term);
        buf_put_u64(out, e->ts);
        buf_put_u8(out, e->kind);
        buf_put_varint(out, e->size);
        if (i + 1 != m->entry_count) buf_put_bytes(out, entry_data(e));
    }
    return m->entry_count != 0 ? m->entries[m->entry_count - 1] : NULL;
}

void raft_message_encode(const struct raft_message *m, struct buf *out)
{
    const struct entry *last = raft_message_encode_head(m, out);
    if (last != NULL) buf_put_bytes(out, entry_data(last));
}

static enum status malformed(struct error *err, const char *what)
{
    return error_set(err, ST_CORRUPT, "raft message: %s", what);
}

/* One entry; NULL and a status if it can't be. */
static enum status decode_entry(struct reader *r, const struct raft_message *m, uint64_t index, uint64_t term_before,
                                struct buf *whole, struct entry **out, struct error *err)
{
    struct raft_config config;
    uint64_t term = reader_varint(r);
    hlc_t ts = reader_u64(r);
    uint8_t kind = reader_u8(r);
    struct bytes data = reader_lp(r);
    if (r->failed) return malformed(err, "cut short in an entry");
    if (kind < ENTRY_NOOP || kind > ENTRY_SCRUB) return error_set(err, ST_VERSION, "raft message: entry kind %u", kind);
    if (term == 0 || term < term_before || term > m->term) return malformed(err, "entry terms out of order");
    if (kind == ENTRY_CONF && !raft_config_decode(data, &config)) return malformed(err, "bad configuration");
    if (data.n > UINT32_MAX) return malformed(err, "entry too large");
    bool last = r->p == r->end; /* so nothing else of the buffer is needed */
    if (last && whole != NULL && data.n >= RAFT_TAKE_BYTES && whole->cap / 2 <= data.n)
        *out = entry_new_taking(kind, index, term, ts, data, whole);
    else *out = entry_new(kind, index, term, ts, data);
    return ST_OK;
}

static enum status check_fields(const struct raft_message *m, uint64_t entry_count, size_t max, struct error *err)
{
    if (m->type < RAFT_PRE_VOTE || m->type > RAFT_RELEASE)
        return error_set(err, ST_VERSION, "raft message: type %u", m->type);
    if (m->flags & ~RAFT_FLAGS) return error_set(err, ST_VERSION, "raft message: flags %02x", m->flags);
    if (m->from == 0 || m->to == 0 || m->from == m->to) return malformed(err, "bad sender or receiver");
    if (m->term == 0 && m->type != RAFT_PRE_VOTE_REPLY) return malformed(err, "no term");
    if (m->index > UINT64_MAX / 2 || m->term > UINT64_MAX / 2) return malformed(err, "index or term out of range");
    if (m->log_term > m->term || (m->index != 0 && m->log_term == 0 && m->type == RAFT_APPEND))
        return malformed(err, "bad term of the entry before");
    if (m->type == RAFT_SNAPSHOT && (m->index == 0 || m->log_term == 0)) return malformed(err, "snapshot of nothing");
    if (entry_count != 0 && m->type != RAFT_APPEND) return malformed(err, "entries in a message that has none");
    if (entry_count > max) return error_set(err, ST_TOO_LARGE, "raft message: %" PRIu64 " entries", entry_count);
    return ST_OK;
}

enum status raft_message_decode(struct bytes in, struct raft_message *m, struct entry **out_entries, size_t max,
                                struct error *err)
{
    return raft_message_decode_taking(in, NULL, m, out_entries, max, err);
}

enum status raft_message_decode_taking(struct bytes in, struct buf *whole, struct raft_message *m,
                                       struct entry **out_entries, size_t max, struct error *err)
{
    struct reader r = reader_of(in);
    struct raft_message got = {0};
    got.type = reader_u8(&r);
    got.flags = reader_u8(&r);
    uint64_t *const fields[] = {&got.from,     &got.to,       &got.from_store, &got.to_store, &got.term,
                                &got.index,    &got.log_term, &got.commit,     &got.hint,     &got.hint_term,
                                &got.read_seq, &got.epoch,    &got.bound};
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) *fields[i] = reader_varint(&r);
    uint64_t count = reader_varint(&r);
    if (r.failed) return malformed(err, "cut short");
    enum status st = check_fields(&got, count, max, err);
    uint32_t n = 0;
    for (uint64_t term = got.log_term; st == ST_OK && n < count; term = out_entries[n - 1]->term) {
        st = decode_entry(&r, &got, got.index + 1 + n, term, whole, &out_entries[n], err);
        if (st != ST_OK) break;
        n++;
    }
    if (st == ST_OK && !reader_done(&r)) st = malformed(err, "bytes after its end");
    if (st != ST_OK) {
        while (n > 0) entry_unref(out_entries[--n]);
        return st;
    }
    got.entry_count = n;
    got.entries = n != 0 ? out_entries : NULL;
    *m = got;
    return ST_OK;
}
