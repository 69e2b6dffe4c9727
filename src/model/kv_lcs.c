/* kv_lcs.c - LCS: the longest common subsequence of two strings.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The plain dynamic programme over a table of lengths. Of several solutions it takes Redis's: from the ends back, where the
 * table allows both steps, the second string is shortened unless shortening the first one keeps more. */
#include "base/mem.h"
#include "model/kv_internal.h"

struct lcs {
    struct bytes a, b;
    uint32_t *table; /* (a.n + 1) rows of (b.n + 1) */
    uint8_t flags;
    uint64_t min_length;
    struct buf *ranges; /* encoded results */
    uint64_t range_count;
};

static uint32_t *cell(const struct lcs *l, size_t i, size_t j) { return &l->table[i * (l->b.n + 1) + j]; }

static void fill(struct lcs *l)
{
    for (size_t j = 0; j <= l->b.n; j++) *cell(l, 0, j) = 0;
    for (size_t i = 1; i <= l->a.n; i++) {
        *cell(l, i, 0) = 0;
        for (size_t j = 1; j <= l->b.n; j++) {
            uint32_t up = *cell(l, i - 1, j), left = *cell(l, i, j - 1);
            *cell(l, i, j) = l->a.p[i - 1] == l->b.p[j - 1] ? *cell(l, i - 1, j - 1) + 1 : MAX(up, left);
        }
    }
}

/* A run of matches: a[i … i + n) equals b[j … j + n). */
static void put_range(struct lcs *l, size_t i, size_t j, size_t n)
{
    if (n == 0 || n < l->min_length) return;
    bool lengths = l->flags & KV_LCS_WITH_LENGTHS;
    result_array(l->ranges, lengths ? 3 : 2);
    result_array(l->ranges, 2);
    result_int(l->ranges, (int64_t)i);
    result_int(l->ranges, (int64_t)(i + n - 1));
    result_array(l->ranges, 2);
    result_int(l->ranges, (int64_t)j);
    result_int(l->ranges, (int64_t)(j + n - 1));
    if (lengths) result_int(l->ranges, (int64_t)n);
    l->range_count++;
}

/* Goes from the ends back; writes the subsequence to text and the runs to ranges. */
static void trace(struct lcs *l, uint8_t *text, size_t length)
{
    size_t i = l->a.n, j = l->b.n, run = 0;
    while (i > 0 && j > 0) {
        if (l->a.p[i - 1] == l->b.p[j - 1]) {
            text[--length] = l->a.p[i - 1];
            i--;
            j--;
            run++;
            continue;
        }
        put_range(l, i, j, run);
        run = 0;
        if (*cell(l, i - 1, j) > *cell(l, i, j - 1)) i--;
        else j--;
    }
    put_range(l, i, j, run);
    ASSERT(length == 0);
}

static enum status answer(struct kv_run *run, struct lcs *l)
{
    uint32_t length = *cell(l, l->a.n, l->b.n);
    if (l->flags & KV_LCS_LEN) return kv_int(run, length);
    struct buf *text = kv_temp(run);
    l->ranges = kv_temp(run);
    trace(l, buf_extend(text, length), length);
    if (!(l->flags & KV_LCS_IDX)) {
        result_bulk(run->out, buf_view(text));
        return ST_OK;
    }
    result_map(run->out, 2);
    result_bulk(run->out, BYTES_LIT("matches"));
    result_array(run->out, l->range_count);
    buf_put_bytes(run->out, buf_view(l->ranges));
    result_bulk(run->out, BYTES_LIT("len"));
    return kv_int(run, length);
}

enum status kv_op_lcs(struct kv_run *run)
{
    struct lcs l = {0};
    struct bytes keys[2];
    keys[0] = reader_lp(&run->body);
    keys[1] = reader_lp(&run->body);
    l.flags = reader_u8(&run->body);
    l.min_length = reader_u64(&run->body);
    if (!reader_done(&run->body)) return kv_malformed(run);
    struct kv_key k[2];
    struct buf *text[2];
    for (int i = 0; i < 2; i++) {
        enum status st = kv_open(run, &k[i], keys[i]);
        if (st != ST_OK) return st;
        if (k[i].head.type == KV_HASH) return kv_error(run, "ERR The specified keys must contain string values");
        text[i] = kv_temp(run);
        /* One that is surely too long is not read. */
        if (kv_length(&k[i]) < KV_LCS_BYTES_MAX) st = kv_read(run, &k[i], 0, kv_length(&k[i]), text[i]);
        if (st != ST_OK) return st;
    }
    if ((kv_length(&k[0]) + 1) * (kv_length(&k[1]) + 1) > KV_LCS_BYTES_MAX / sizeof *l.table)
        return kv_error(run, "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    l.a = buf_view(text[0]);
    l.b = buf_view(text[1]);
    l.table = (uint32_t *)(void *)buf_extend(kv_temp(run), (l.a.n + 1) * (l.b.n + 1) * sizeof *l.table);
    fill(&l);
    return answer(run, &l);
}
