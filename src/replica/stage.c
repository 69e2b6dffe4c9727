/* stage.c - the rows that one entry writes, before they are put into the table of newest rows all together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "replica/stage.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "table/place.h"

_Static_assert(ROWS_FRONT_BYTES >= OP_FRONT_BYTES && ROWS_WHOLE_BYTES >= OP_WHOLE_BYTES, "what ops are promised");

#define STAGE_KEEP  (1u << 20) /* of text */
#define STAGE_LARGE 4096       /* a value that is worth leaving where it is */

static enum status rows_base_get(void *ctx, struct bytes row, struct bytes *out) { return rows_get(ctx, row, out); }

static enum status rows_base_get_front(void *ctx, struct bytes row, struct bytes *out)
{
    return rows_get_front(ctx, row, out);
}

static enum status rows_base_scan(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                  bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    return rows_scan(ctx, lo, hi, reverse, each, each_ctx);
}

void stage_init(struct stage *o, struct rows *rows)
{
    *o = (struct stage){.rows = rows,
                        .base_get = rows_base_get,
                        .base_get_front = rows_base_get_front,
                        .base_scan = rows_base_scan,
                        .base_ctx = rows};
}

void stage_deinit(struct stage *o)
{
    buf_deinit(&o->text);
    buf_deinit(&o->missing);
    buf_deinit(&o->missing_hi);
    mem_free(o->list);
    mem_free(o->index);
    *o = (struct stage){0};
}

void stage_clear(struct stage *o)
{
    if (o->count != 0) memset(o->index, 0, o->index_cap * sizeof *o->index);
    o->count = 0;
    o->stable = (struct bytes){0};
    buf_clear_keep(&o->text, STAGE_KEEP);
}

static struct bytes key_of(const struct stage *o, const struct stage_row *r)
{
    return bytes_of(o->text.p + r->key_at, r->key_size);
}

static struct bytes value_of(const struct stage *o, const struct stage_row *r)
{
    return bytes_of(r->outside != NULL ? r->outside : o->text.p + r->value_at, r->value_size);
}

static size_t slot_of(const struct stage *o, struct bytes key)
{
    size_t i = hash64(key, 0) & (o->index_cap - 1);
    while (o->index[i] != 0 && !bytes_equal(key_of(o, &o->list[o->index[i] - 1]), key))
        i = (i + 1) & (o->index_cap - 1);
    return i;
}

static const struct stage_row *find(const struct stage *o, struct bytes key)
{
    if (o->count == 0) return NULL;
    uint32_t at = o->index[slot_of(o, key)];
    return at != 0 ? &o->list[at - 1] : NULL;
}

static void grow_index(struct stage *o)
{
    o->index_cap = o->index_cap != 0 ? o->index_cap * 2 : 64;
    mem_free(o->index);
    o->index = mem_zalloc(o->index_cap * sizeof *o->index);
    for (size_t i = 0; i < o->count; i++) o->index[slot_of(o, key_of(o, &o->list[i]))] = (uint32_t)i + 1;
}

static struct stage_row *find_or_add(struct stage *o, struct bytes key)
{
    if ((o->count + 1) * 2 > o->index_cap) grow_index(o);
    size_t slot = slot_of(o, key);
    if (o->index[slot] != 0) return &o->list[o->index[slot] - 1];
    if (o->count == o->cap) {
        o->cap = o->cap != 0 ? o->cap * 2 : 32;
        o->list = mem_realloc(o->list, o->cap * sizeof *o->list);
    }
    ASSERT(o->text.n + key.n <= UINT32_MAX);
    struct stage_row *r = &o->list[o->count++];
    *r = (struct stage_row){.key_at = (uint32_t)o->text.n, .key_size = (uint32_t)key.n};
    buf_put_bytes(&o->text, key);
    o->index[slot] = (uint32_t)o->count;
    return r;
}

static enum status get(struct stage *o, struct bytes row, struct bytes *out,
                       enum status (*base_get)(void *ctx, struct bytes row, struct bytes *out))
{
    const struct stage_row *r = find(o, row);
    if (r != NULL) {
        if (r->deleted) return ST_NOT_FOUND;
        *out = value_of(o, r);
        return ST_OK;
    }
    enum status st = base_get(o->base_ctx, row, out);
    if (st == ST_NOT_READY) {
        buf_clear(&o->missing);
        buf_clear(&o->missing_hi);
        buf_put_bytes(&o->missing, row);
    }
    return st;
}

static enum status view_get(void *ctx, struct bytes row, struct bytes *out)
{
    return get(ctx, row, out, ((struct stage *)ctx)->base_get);
}

static enum status view_get_front(void *ctx, struct bytes row, struct bytes *out)
{
    return get(ctx, row, out, ((struct stage *)ctx)->base_get_front);
}

static void view_put(void *ctx, struct bytes row, struct bytes value)
{
    struct stage *o = ctx;
    struct stage_row *r = find_or_add(o, row);
    r->deleted = false;
    r->value_size = (uint32_t)value.n;
    bool stays = value.n >= STAGE_LARGE && value.p >= o->stable.p && value.p + value.n <= o->stable.p + o->stable.n;
    r->outside = stays ? value.p : NULL;
    if (stays) return;
    ASSERT(o->text.n + value.n <= UINT32_MAX);
    r->value_at = (uint32_t)o->text.n;
    buf_put_bytes(&o->text, value);
}

static void view_del(void *ctx, struct bytes row) { find_or_add(ctx, row)->deleted = true; }

/* A scan that merges the stage's rows of the range into those of the table. */
struct merge {
    struct stage *o;
    const struct stage_row **own; /* of the range, in scan order */
    size_t own_count, own_at;
    bool reverse, stopped;
    bool (*each)(void *ctx, struct bytes row, struct bytes value);
    void *each_ctx;
};

static bool merge_own(struct merge *m)
{
    const struct stage_row *r = m->own[m->own_at++];
    if (!r->deleted && !m->each(m->each_ctx, key_of(m->o, r), value_of(m->o, r))) m->stopped = true;
    return !m->stopped;
}

static bool merge_row(void *ctx, struct bytes row, struct bytes value)
{
    struct merge *m = ctx;
    while (m->own_at < m->own_count) {
        int c = bytes_compare(key_of(m->o, m->own[m->own_at]), row);
        if (m->reverse) c = -c;
        if (c > 0) break;
        if (!merge_own(m)) return false;
        if (c == 0) return true; /* the stage's version replaces this row */
    }
    if (!m->each(m->each_ctx, row, value)) m->stopped = true;
    return !m->stopped;
}

static __thread const struct stage *sorting; /* qsort takes no context */

static int compare_rows(const void *a, const void *b)
{
    return bytes_compare(key_of(sorting, *(const struct stage_row *const *)a),
                         key_of(sorting, *(const struct stage_row *const *)b));
}

static enum status view_scan(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                             bool (*each)(void *each_ctx, struct bytes row, struct bytes value), void *each_ctx)
{
    struct stage *o = ctx;
    struct merge m = {.o = o, .reverse = reverse, .each = each, .each_ctx = each_ctx};
    for (size_t i = 0; i < o->count; i++) {
        struct bytes key = key_of(o, &o->list[i]);
        if (bytes_compare(key, lo) < 0 || bytes_compare(key, hi) >= 0) continue;
        if (m.own == NULL) m.own = mem_alloc(o->count * sizeof *m.own);
        m.own[m.own_count++] = &o->list[i];
    }
    if (m.own_count > 1) {
        sorting = o;
        qsort(m.own, m.own_count, sizeof *m.own, compare_rows);
    }
    for (size_t i = 0; reverse && i < m.own_count / 2; i++) {
        const struct stage_row *swap = m.own[i];
        m.own[i] = m.own[m.own_count - 1 - i];
        m.own[m.own_count - 1 - i] = swap;
    }
    enum status st = o->base_scan(o->base_ctx, lo, hi, reverse, merge_row, &m);
    while (st == ST_OK && !m.stopped && m.own_at < m.own_count) merge_own(&m);
    mem_free(m.own);
    if (st == ST_NOT_READY) {
        buf_clear(&o->missing);
        buf_clear(&o->missing_hi);
        buf_put_bytes(&o->missing, lo);
        buf_put_bytes(&o->missing_hi, hi);
    }
    return st;
}

void stage_view(struct stage *o, bool writable, struct op_view *out)
{
    *out = (struct op_view){.ctx = o, .get = view_get, .get_front = view_get_front, .scan = view_scan};
    if (writable) {
        out->put = view_put;
        out->del = view_del;
    }
}

enum status stage_put_early(struct stage *o, uint64_t fresh, size_t bytes_max, size_t *at, struct error *err)
{
    size_t i = *at, bytes = 0;
    rows_through_begin(o->rows);
    for (; i < o->count && bytes < bytes_max; i++) {
        struct row_parts p;
        struct stage_row *r = &o->list[i];
        if (r->deleted || !row_parse(key_of(o, r), &p) || p.space != SPACE_ELEMENT || p.incarnation < fresh) continue;
        rows_through_put(o->rows, key_of(o, r), value_of(o, r));
        bytes += r->value_size;
    }
    enum status st = rows_through_end(o->rows, err);
    if (st != ST_OK) return st;
    for (size_t k = *at; k < i; k++) {
        struct row_parts p;
        struct stage_row *r = &o->list[k];
        if (!r->deleted && row_parse(key_of(o, r), &p) && p.space == SPACE_ELEMENT && p.incarnation >= fresh)
            r->early = true;
    }
    *at = i;
    return ST_OK;
}

void stage_commit(struct stage *o)
{
    for (size_t i = 0; i < o->count; i++) {
        const struct stage_row *r = &o->list[i];
        if (r->early) continue;
        if (r->deleted) rows_delete(o->rows, key_of(o, r));
        else if (o->cold) rows_put_cold(o->rows, key_of(o, r), value_of(o, r));
        else rows_put(o->rows, key_of(o, r), value_of(o, r));
    }
    stage_clear(o);
}
