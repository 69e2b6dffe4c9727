/* window.c - outcomes of recent ops, so that a retried op is applied once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "replica/window.h"

#include "base/mem.h"
#include "base/mutation.h"
#include "base/status.h"
#include "model/result.h"

struct outcome {
    uint64_t sequence;
    uint32_t size;
    uint8_t *result;
};

struct window {
    uint64_t session;
    uint64_t resolved; /* nothing is kept below */
    hlc_t last_ts;
    hlc_t floor;              /* what was forgotten when this was made: the session may have been in it */
    struct outcome *outcomes; /* by rising sequence */
    size_t count, cap;
};

void windows_init(struct windows *w, uint32_t sessions_max)
{
    ASSERT(sessions_max > 0 && sessions_max <= WINDOW_SESSIONS_MAX);
    *w = (struct windows){.sessions_max = sessions_max};
}

static void window_free(struct window *s)
{
    for (size_t i = 0; i < s->count; i++) mem_free(s->outcomes[i].result);
    mem_free(s->outcomes);
    mem_free(s);
}

void windows_deinit(struct windows *w)
{
    uint64_t id;
    void *s;
    for (size_t i = 0; map_each(&w->sessions, &i, &id, &s);) window_free(s);
    map_deinit(&w->sessions);
}

/* The first outcome at or above the sequence. */
static size_t lower_bound(const struct window *s, uint64_t sequence)
{
    size_t lo = 0, hi = s->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->outcomes[mid].sequence < sequence) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

enum window_answer windows_find(const struct windows *w, uint64_t session, uint64_t sequence, hlc_t since,
                                struct bytes *out)
{
    const struct window *s = map_get(&w->sessions, session);
    if (s == NULL) return since >= w->forgotten || MUTATION("forgotten_taken_for_new") ? WINDOW_NEW : WINDOW_FORGOTTEN;
    if (sequence < s->resolved) return WINDOW_TOO_OLD;
    size_t i = lower_bound(s, sequence);
    if (i == s->count || s->outcomes[i].sequence != sequence)
        return since >= s->floor || MUTATION("forgotten_taken_for_new") ? WINDOW_NEW : WINDOW_FORGOTTEN;
    *out = bytes_of(s->outcomes[i].result, s->outcomes[i].size);
    return WINDOW_KNOWN;
}

static struct window *window_of(struct windows *w, uint64_t session)
{
    struct window *s = map_get(&w->sessions, session);
    if (s != NULL) return s;
    s = mem_zalloc(sizeof *s);
    s->session = session;
    s->floor = w->forgotten;
    map_set(&w->sessions, session, s);
    return s;
}

void windows_add(struct windows *w, uint64_t session, uint64_t sequence, struct bytes result)
{
    struct window *s = window_of(w, session);
    struct buf large = {0};
    if (result.n > WINDOW_RESULT_MAX) {
        result_too_large(&large);
        result = buf_view(&large);
    }
    if (s->count == s->cap) {
        s->cap = s->cap != 0 ? s->cap * 2 : 4;
        s->outcomes = mem_realloc(s->outcomes, s->cap * sizeof *s->outcomes);
    }
    size_t i = s->count; /* nearly always the end: sequences rise */
    if (i > 0 && s->outcomes[i - 1].sequence >= sequence) i = lower_bound(s, sequence);
    ASSERT(i == s->count || s->outcomes[i].sequence != sequence);
    memmove(s->outcomes + i + 1, s->outcomes + i, (s->count - i) * sizeof *s->outcomes);
    s->outcomes[i] = (struct outcome){sequence, (uint32_t)result.n, mem_copy(result.p, result.n)};
    s->count++;
    buf_deinit(&large);
}

void windows_undo(struct windows *w, uint64_t session, uint64_t sequence)
{
    struct window *s = map_get(&w->sessions, session);
    ASSERT(s != NULL);
    size_t i = lower_bound(s, sequence);
    ASSERT(i < s->count && s->outcomes[i].sequence == sequence);
    mem_free(s->outcomes[i].result);
    memmove(s->outcomes + i, s->outcomes + i + 1, (s->count - i - 1) * sizeof *s->outcomes);
    s->count--;
    if (s->count == 0 && s->last_ts == 0) { /* made by the op that is undone */
        map_remove(&w->sessions, session);
        window_free(s);
    }
}

static void drop_oldest(struct window *s, size_t n)
{
    for (size_t i = 0; i < n; i++) mem_free(s->outcomes[i].result);
    memmove(s->outcomes, s->outcomes + n, (s->count - n) * sizeof *s->outcomes);
    s->count -= n;
}

/* The session used longest ago by log time; of equals the smaller id, so that every replica picks the same. */
static struct window *oldest(const struct windows *w)
{
    struct window *found = NULL;
    uint64_t id;
    void *value;
    for (size_t i = 0; map_each(&w->sessions, &i, &id, &value);) {
        struct window *s = value;
        if (found == NULL || s->last_ts < found->last_ts ||
            (s->last_ts == found->last_ts && s->session < found->session))
            found = s;
    }
    return found;
}

void windows_settle(struct windows *w, uint64_t session, uint64_t resolved, hlc_t ts)
{
    struct window *s = window_of(w, session);
    s->last_ts = ts;
    if (resolved > s->resolved) s->resolved = resolved;
    size_t n = lower_bound(s, s->resolved);
    if (s->count - n > WINDOW_OUTCOMES_MAX) {
        n = s->count - WINDOW_OUTCOMES_MAX;
        s->resolved = s->outcomes[n - 1].sequence + 1;
    }
    if (n > 0) drop_oldest(s, n);
}

void windows_evict(struct windows *w, void (*forgot)(void *ctx, uint64_t session), void *ctx)
{
    while (w->sessions.count > w->sessions_max) {
        struct window *victim = oldest(w);
        w->forgotten = MAX(w->forgotten, victim->last_ts);
        if (forgot != NULL) forgot(ctx, victim->session);
        map_remove(&w->sessions, victim->session);
        window_free(victim);
    }
}

void windows_encode(const struct windows *w, uint64_t session, struct buf *out)
{
    const struct window *s = map_get(&w->sessions, session);
    ASSERT(s != NULL);
    buf_put_u64(out, s->resolved);
    buf_put_u64(out, s->last_ts);
    buf_put_u64(out, s->floor);
    buf_put_varint(out, s->count);
    uint64_t last = s->resolved;
    for (size_t i = 0; i < s->count; i++) {
        buf_put_varint(out, s->outcomes[i].sequence - last);
        buf_put_lp(out, bytes_of(s->outcomes[i].result, s->outcomes[i].size));
        last = s->outcomes[i].sequence;
    }
}

bool windows_load(struct windows *w, uint64_t session, struct bytes row)
{
    struct reader r = reader_of(row);
    uint64_t resolved = reader_u64(&r);
    hlc_t last_ts = reader_u64(&r), floor = reader_u64(&r);
    uint64_t count = reader_varint(&r);
    if (r.failed || count > WINDOW_OUTCOMES_MAX) return false;
    uint64_t sequence = resolved;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t step = reader_varint(&r);
        struct bytes result = reader_lp(&r);
        if (r.failed || (i > 0 && step == 0) || result.n > WINDOW_RESULT_MAX) return false;
        sequence += step;
        windows_add(w, session, sequence, result);
    }
    struct window *s = window_of(w, session);
    s->resolved = resolved;
    s->last_ts = last_ts;
    s->floor = floor;
    return reader_done(&r);
}

bool windows_each(const struct windows *w, size_t *at, uint64_t *out_session)
{
    void *s;
    return map_each(&w->sessions, at, out_session, &s);
}
