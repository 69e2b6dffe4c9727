/* host_due.c - which replicas the next ticks have to look at: a heap of deadlines.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A tick looks at the replicas that are due and at no other, so a quiet one costs nothing. When a replica is due follows from
 * its own state, which changes only in its turn or in a tick that looks at it: both end with due_update. What changes from
 * outside (a lease of a store that ends, say) wakes it, and so gives it a turn. A replica may be looked at too early, which
 * costs a look, never too late. */
#include "base/mem.h"
#include "replica/host_internal.h"

static bool before(const struct replica *a, const struct replica *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->partition_id < b->partition_id;
}

static void place(struct due_heap *d, size_t i, struct replica *r)
{
    d->at[i] = r;
    r->due_at = i;
}

/* Puts r where it belongs, from the hole at i on. */
static void settle(struct due_heap *d, size_t i, struct replica *r)
{
    for (; i > 0 && before(r, d->at[(i - 1) / 2]); i = (i - 1) / 2) place(d, i, d->at[(i - 1) / 2]);
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < d->n && before(d->at[child + 1], d->at[child])) child++;
        if (child >= d->n || !before(d->at[child], r)) break;
        place(d, i, d->at[child]);
        i = child;
    }
    place(d, i, r);
}

void due_set(struct replica *r, uint64_t due_ns)
{
    struct due_heap *d = &r->host->due;
    bool in = r->due_ns != UINT64_MAX;
    if (r->due_ns == due_ns) return;
    ASSERT(!in || d->at[r->due_at] == r);
    r->due_ns = due_ns;
    if (due_ns == UINT64_MAX) {
        struct replica *last = d->at[--d->n];
        if (last != r) settle(d, r->due_at, last);
        return;
    }
    if (!in && d->n == d->cap) {
        d->cap = d->cap != 0 ? 2 * d->cap : 64;
        d->at = mem_realloc(d->at, d->cap * sizeof(struct replica *));
    }
    settle(d, in ? r->due_at : d->n++, r);
}

struct replica *due_first(const struct host *h) { return h->due.n != 0 ? h->due.at[0] : NULL; }

void due_deinit(struct host *h)
{
    mem_free(h->due.at);
    h->due = (struct due_heap){0};
}

bool replica_waits(const struct replica *r)
{
    struct raft_view view;
    raft_view(r->raft, &view);
    return (r->applied < view.commit && !r->stopped && !r->fetching && !r->reading) || r->slow != NULL ||
           !list_empty(&r->pending) || r->batch_count != 0 || !list_empty(&r->waits) || !list_empty(&r->reads);
}

static bool sends_snapshots(const struct replica *r)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (r->sends[i] != NULL) return true;
    return false;
}

void due_update(struct replica *r, uint64_t now)
{
    struct host *h = r->host;
    uint64_t due = raft_deadline(r->raft);
    if (r->dropped) return;
    if (r->jobs != 0 || r->receive != NULL || sends_snapshots(r) || replica_waits(r)) due = MIN(due, now + h->tick_ns);
    if (replica_leads(r)) {
        if (h->limits.sweep_ns != 0 && replica_sweeps(r)) due = MIN(due, r->sweep_ns);
        if (h->limits.scrub_ns != 0 && !r->stopped) due = MIN(due, r->scrub_at_ns);
    }
    due = MIN(due, rebuild_due(r));
    due_set(r, MAX(due, now + NS_PER_MS));
}
