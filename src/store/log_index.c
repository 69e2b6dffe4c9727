/* log_index.c - where each entry of a replica lies in the log.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A position and a size for each entry, in arrays that start anywhere (the front goes when entries are compacted), and
 * terms as runs: they change seldom. Each segment counts the bytes of the entries that are still needed from it. */
#include "base/mem.h"
#include "store/log_internal.h"

static void live_add(struct log *l, uint64_t pos, uint32_t size)
{
    struct log_segment *s = log_segment_at(l, log_pos_segment(pos));
    ASSERT(s != NULL);
    s->live_bytes += size;
    l->stats.needed_bytes += size;
}

static void live_sub(struct log *l, uint64_t pos, uint32_t size)
{
    struct log_segment *s = log_segment_at(l, log_pos_segment(pos));
    ASSERT(s != NULL && s->live_bytes >= size && l->stats.needed_bytes >= size);
    s->live_bytes -= size;
    l->stats.needed_bytes -= size;
}

uint64_t log_term_at(const struct replica *r, uint64_t index)
{
    ASSERT(index >= r->view.base_index && index <= r->view.last_index);
    if (index == r->view.base_index) return r->view.base_term;
    size_t lo = 0, hi = r->run_count; /* the last run that begins at or before index */
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->runs[mid].index <= index) lo = mid;
        else hi = mid;
    }
    ASSERT(hi > lo && r->runs[lo].index <= index);
    return r->runs[lo].term;
}

static void make_room(struct replica *r)
{
    if (r->start + r->count < r->cap) return;
    if (r->start > r->cap / 2) {
        memmove(r->pos, r->pos + r->start, r->count * sizeof *r->pos);
        memmove(r->size, r->size + r->start, r->count * sizeof *r->size);
        r->start = 0;
        return;
    }
    r->cap = r->cap != 0 ? r->cap * 2 : 16;
    r->pos = mem_realloc(r->pos, r->cap * sizeof *r->pos);
    r->size = mem_realloc(r->size, r->cap * sizeof *r->size);
}

void log_index_add(struct log *l, struct replica *r, uint64_t index, uint64_t term, uint64_t pos, uint32_t size)
{
    ASSERT(index == r->view.last_index + 1 && r->count == r->view.last_index - r->view.base_index);
    ASSERT(term >= r->view.last_term);
    make_room(r);
    r->pos[r->start + r->count] = pos;
    r->size[r->start + r->count] = size;
    r->count++;
    if (r->run_count == 0 || r->runs[r->run_count - 1].term != term) {
        if (r->run_count == r->run_cap) {
            r->run_cap = r->run_cap != 0 ? r->run_cap * 2 : 4;
            r->runs = mem_realloc(r->runs, r->run_cap * sizeof *r->runs);
        }
        r->runs[r->run_count++] = (struct log_run){index, term};
    }
    r->view.last_index = index;
    r->view.last_term = term;
    live_add(l, pos, size);
}

void log_index_move(struct log *l, struct replica *r, uint64_t index, uint64_t pos)
{
    size_t at = r->start + (index - r->view.base_index - 1);
    live_sub(l, r->pos[at], r->size[at]);
    r->pos[at] = pos;
    live_add(l, pos, r->size[at]);
}

void log_index_cut(struct log *l, struct replica *r, uint64_t from)
{
    ASSERT(from > r->view.base_index);
    if (from > r->view.last_index) return;
    uint64_t last_term = log_term_at(r, from - 1);
    while (r->view.last_index >= from) {
        size_t at = r->start + --r->count;
        live_sub(l, r->pos[at], r->size[at]);
        l->progress += r->size[at];
        r->view.last_index--;
    }
    while (r->run_count > 0 && r->runs[r->run_count - 1].index >= from) r->run_count--;
    r->view.last_term = last_term;
}

void log_index_advance(struct log *l, struct replica *r, uint64_t base)
{
    ASSERT(base >= r->view.base_index && base <= r->view.last_index);
    uint64_t term = log_term_at(r, base);
    size_t n = base - r->view.base_index, runs = 0;
    for (size_t i = r->start; i < r->start + n; i++) {
        live_sub(l, r->pos[i], r->size[i]);
        l->progress += r->size[i];
    }
    r->start += n;
    r->count -= n;
    while (runs + 1 < r->run_count && r->runs[runs + 1].index <= base + 1) runs++;
    if (r->count == 0) runs = r->run_count;
    if (runs != 0) memmove(r->runs, r->runs + runs, (r->run_count - runs) * sizeof *r->runs);
    r->run_count -= runs;
    r->view.base_index = base;
    r->view.base_term = term;
    if (r->count != 0) return;
    mem_free(r->pos); /* many replicas are quiet: they hold no arrays */
    mem_free(r->size);
    r->pos = NULL;
    r->size = NULL;
    r->start = r->cap = 0;
}

void log_index_reset(struct log *l, struct replica *r, uint64_t index, uint64_t term)
{
    if (r->count != 0) log_index_cut(l, r, r->view.base_index + 1);
    r->start = 0;
    r->view.base_index = r->view.last_index = index;
    r->view.base_term = r->view.last_term = term;
}

void log_index_deinit(struct replica *r)
{
    mem_free(r->pos);
    mem_free(r->size);
    mem_free(r->runs);
}
