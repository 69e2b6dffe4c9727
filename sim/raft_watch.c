/* raft_watch.c - is what the rafts of a run commit ever taken back?
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/raft_watch.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/status.h"
#include "sim/heap.h"

struct group {
    uint64_t *terms;   /* of entry i at [i]; 0: not known */
    uint64_t top;      /* the highest that was committed */
    uint64_t top_seen; /* … and the lowest term in which a replica knew it */
    size_t cap;
};

struct raft_watch {
    struct map groups;
    uint64_t commits;
    char finding[240];
};

struct raft_watch *raft_watch_new(void) { return mem_zalloc(sizeof(struct raft_watch)); }
uint64_t raft_watch_commits(const struct raft_watch *w) { return w->commits; }

static struct group *group_of(struct raft_watch *w, uint64_t id)
{
    struct group *g = map_get(&w->groups, id);
    if (g != NULL) return g;
    g = mem_zalloc(sizeof *g);
    map_set(&w->groups, id, g);
    return g;
}

static void differ(struct raft_watch *w, const struct raft_trace_id *id, const char *what, uint64_t index, uint64_t was,
                   uint64_t is)
{
    if (w->finding[0] != 0) return;
    snprintf(w->finding, sizeof w->finding,
             "group %" PRIu64 ": entry %" PRIu64 " was committed as one of term %" PRIu64 "; replica %" PRIu64
             " %s one of term %" PRIu64,
             id->group_id, index, was, id->replica_id, what, is);
}

static void on_commit(struct raft_watch *w, const struct raft *r, const struct raft_trace_id *id,
                      const struct raft_view *v)
{
    struct group *g = group_of(w, id->group_id);
    uint64_t common = MIN(v->commit, g->top), has = raft_term_at(r, common);
    if (common != 0 && has != 0 && g->terms[common] != 0 && has != g->terms[common])
        differ(w, id, "commits", common, g->terms[common], has);
    if (v->commit == g->top) g->top_seen = MIN(g->top_seen, v->term);
    if (v->commit <= g->top) return;
    if (v->commit >= g->cap) {
        size_t cap = MAX((size_t)v->commit + 1, g->cap * 2 + 256);
        g->terms = mem_realloc(g->terms, cap * sizeof *g->terms);
        g->cap = cap;
    }
    w->commits += v->commit - g->top;
    for (uint64_t i = g->top + 1; i <= v->commit; i++) g->terms[i] = raft_term_at(r, i);
    g->top = v->commit;
    g->top_seen = v->term;
}

static void on_leader(struct raft_watch *w, const struct raft *r, const struct raft_trace_id *id,
                      const struct raft_view *v)
{
    struct group *g = group_of(w, id->group_id);
    if (g->top == 0 || v->term <= g->top_seen || g->terms[g->top] == 0) return;
    uint64_t has = raft_term_at(r, g->top);
    if (v->last_index < g->top || (has != 0 && has != g->terms[g->top]))
        differ(w, id, v->last_index < g->top ? "leads without it, has" : "leads with", g->top, g->terms[g->top], has);
}

const char *raft_watch_event(struct raft_watch *w, const struct raft *r, enum raft_trace_kind kind)
{
    if (kind != RAFT_TRACE_COMMIT && kind != RAFT_TRACE_LEADER) return NULL;
    struct raft_trace_id id;
    struct raft_view v;
    struct heap *was = heap_enter(NULL);
    raft_trace_id(r, &id);
    raft_view(r, &v);
    if (kind == RAFT_TRACE_COMMIT) on_commit(w, r, &id, &v);
    else on_leader(w, r, &id, &v);
    heap_enter(was);
    return w->finding[0] != 0 ? w->finding : NULL;
}
