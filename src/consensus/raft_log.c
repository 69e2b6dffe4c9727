/* raft_log.c - which term each index has, and the newest entries in memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Terms are kept as runs, so that a log of millions of entries costs a few words; entries are kept in a ring whose
 * bytes are bounded, older ones come back through raft_fetch. */
#include "consensus/raft_internal.h"

uint64_t entry_bytes(const struct entry *e) { return sizeof *e + e->size; }

static struct entry **slot(const struct raft_log *l, uint64_t index) { return &l->ring[index & (l->ring_cap - 1)]; }

void raft_log_deinit(struct raft_log *l)
{
    for (uint64_t i = l->tail_first; i <= l->last_index; i++) entry_unref(*slot(l, i));
    mem_free(l->ring);
    mem_free(l->runs);
    *l = (struct raft_log){0};
}

static void ring_grow(struct raft_log *l)
{
    uint32_t cap = l->ring_cap != 0 ? l->ring_cap * 2 : 8;
    struct entry **ring = mem_alloc(cap * sizeof *ring);
    for (uint64_t i = l->tail_first; i <= l->last_index; i++) ring[i & (cap - 1)] = *slot(l, i);
    mem_free(l->ring);
    l->ring = ring;
    l->ring_cap = cap;
}

void raft_log_append(struct raft_log *l, struct entry *e)
{
    uint64_t last_term = raft_log_last_term(l);
    ASSERT(e->index == l->last_index + 1);
    ASSERT(e->term >= last_term && e->term > 0);
    if (e->term > last_term || l->run_count == 0) {
        if (l->run_count == l->run_cap) {
            l->run_cap = l->run_cap != 0 ? l->run_cap * 2 : 2;
            l->runs = mem_realloc(l->runs, l->run_cap * sizeof *l->runs);
        }
        l->runs[l->run_count++] = (struct raft_run){e->index, e->term};
    }
    if (l->last_index + 1 - l->tail_first == l->ring_cap) ring_grow(l);
    l->last_index = e->index;
    *slot(l, e->index) = entry_ref(e);
    l->tail_bytes += entry_bytes(e);
    if (e->ts > l->last_ts) l->last_ts = e->ts;
}

static void drop_last(struct raft_log *l)
{
    if (l->last_index >= l->tail_first) {
        struct entry *e = *slot(l, l->last_index);
        l->tail_bytes -= entry_bytes(e);
        entry_unref(e);
    } else {
        l->tail_first--; /* the tail is empty and stays so */
    }
    l->last_index--;
}

/* last_ts stays: it only has to be at or above what the log holds. */
void raft_log_truncate(struct raft_log *l, uint64_t from)
{
    ASSERT(from > l->base_index);
    if (from < l->tail_first) { /* all that is in memory goes, in one step for what is not */
        while (l->last_index >= l->tail_first) drop_last(l);
        l->last_index = from - 1;
        l->tail_first = from;
    }
    while (l->last_index >= from) drop_last(l);
    while (l->run_count > 0 && l->runs[l->run_count - 1].first >= from) l->run_count--;
}

void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term, hlc_t last_ts)
{
    while (l->tail_bytes != 0) drop_last(l);
    l->run_count = 0;
    l->base_index = l->last_index = index;
    l->base_term = term;
    l->tail_first = index + 1;
    if (last_ts > l->last_ts) l->last_ts = last_ts;
    ASSERT(l->tail_bytes == 0);
}

static void drop_first(struct raft_log *l)
{
    struct entry *e = *slot(l, l->tail_first);
    l->tail_bytes -= entry_bytes(e);
    entry_unref(e);
    l->tail_first++;
}

void raft_log_compact(struct raft_log *l, uint64_t index)
{
    if (index <= l->base_index) return;
    ASSERT(index <= l->last_index);
    uint64_t term = raft_log_term(l, index);
    uint32_t drop = 0;
    while (drop + 1 < l->run_count && l->runs[drop + 1].first <= index + 1) drop++;
    if (drop > 0) memmove(l->runs, l->runs + drop, (l->run_count - drop) * sizeof *l->runs);
    l->run_count -= drop;
    if (index == l->last_index) l->run_count = 0;
    else if (l->runs[0].first <= index) l->runs[0].first = index + 1;
    while (l->tail_first <= index) drop_first(l);
    l->base_index = index;
    l->base_term = term;
}

void raft_log_evict(struct raft_log *l, uint64_t bytes_max, uint64_t up_to, uint64_t applied)
{
    while (l->tail_bytes > bytes_max && l->tail_first <= l->last_index && l->tail_first <= up_to) {
        /* One that is larger than all of the room is read back only if it was not applied soon. */
        bool next = l->tail_first > applied;
        if (next && l->tail_bytes - entry_bytes(*slot(l, l->tail_first)) <= bytes_max) return;
        drop_first(l);
    }
}

struct entry *raft_log_peek(const struct raft_log *l, uint64_t index)
{
    return index >= l->tail_first && index <= l->last_index ? *slot(l, index) : NULL;
}

/* The run that holds index, which is above base_index and at most last_index. */
static uint32_t run_of(const struct raft_log *l, uint64_t index)
{
    uint32_t low = 0, high = l->run_count - 1;
    if (l->runs[high].first <= index) return high;
    while (low < high) {
        uint32_t mid = low + (high - low + 1) / 2;
        if (l->runs[mid].first <= index) low = mid;
        else high = mid - 1;
    }
    return low;
}

uint64_t raft_log_term(const struct raft_log *l, uint64_t index)
{
    if (index == l->base_index) return l->base_term;
    if (index < l->base_index || index > l->last_index) return 0;
    return l->runs[run_of(l, index)].term;
}

uint64_t raft_log_last_term(const struct raft_log *l)
{
    return l->run_count != 0 ? l->runs[l->run_count - 1].term : l->base_term;
}

uint64_t raft_log_find_term(const struct raft_log *l, uint64_t index, uint64_t term)
{
    if (index > l->last_index) index = l->last_index;
    if (index <= l->base_index) return l->base_index;
    for (uint32_t i = run_of(l, index) + 1; i > 0; i--) {
        if (l->runs[i - 1].term <= term) return index;
        index = l->runs[i - 1].first - 1;
    }
    return l->base_index;
}
