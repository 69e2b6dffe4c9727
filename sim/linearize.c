/* linearize.c - is there an order of an object's operations that explains every reply?
 * SPDX-License-Identifier: Apache-2.0
 *
 * A depth-first search. A state is: which ops were answered and are in the order (A), which of unknown outcome are (U), and the
 * cells. An op may come next if no op outside A was answered before it was asked. All of A must be placed; of U, any.
 *
 * 1. What was answered comes first, by the time of its answer; unknown outcomes are tried when that fails.
 * 2. A state is given up if one with the same A and cells and a part of its U was met: whatever can still happen here could
 *    have happened there, for an unknown op never needs to be placed.
 * 3. An unknown op that changes nothing here is not placed: without it the state is the one of rule 2.
 * 4. Of unknown ops that do the same, the one asked first is placed first: it may take the other's place.
 * 5. A value that no answer still to be placed has told is one of many alike: all of them are UNSEEN. (Values say which write
 *    they come from, SIM_VALUE_STEP.) Increments leave it UNSEEN.
 *
 * No rule loses an order: take, of all states met, one with the shortest way to an end. The first op of that way leads to a
 * state that was met, or that a rule replaced by one met with an end as near; either has a shorter way. */
#include "sim/linearize.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"

#define UNSEEN (INT64_MIN / 2)
#define NONE   SIZE_MAX

struct op {
    const struct sim_record *r;
    size_t told[2]; /* the bases that its answer told of; NONE */
    bool done;
};

struct ops {
    struct op *p;
    size_t count;
    uint64_t *bits; /* those done */
    size_t words;
};

struct slot {
    uint64_t h1, h2; /* of A and the cells: a clash of all 128 bits is out of reach; h2 0: free */
    size_t entry;    /* the newest U met with them */
};

struct search {
    struct ops answered, unknown;
    size_t left;     /* answered ops not placed */
    int64_t *bases;  /* of the values written, sorted */
    size_t *told_of; /* … how many ops not placed have told of one */
    size_t base_count;
    bool is_long; /* cell b is a length, not a value */
    struct slot *slots;
    size_t slot_cap, slot_count;
    size_t *entry_next; /* NONE: the last */
    uint64_t *entry_bits;
    size_t entry_count, entry_cap;
    uint64_t steps;
};

/* ---- values ---- */

static size_t base_of(const struct search *s, int64_t v)
{
    if (v < SIM_VALUE_STEP) return NONE; /* absent, small or unseen */
    int64_t base = v / SIM_VALUE_STEP;
    size_t lo = 0, hi = s->base_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->bases[mid] < base) lo = mid + 1;
        else hi = mid;
    }
    return lo < s->base_count && s->bases[lo] == base ? lo : NONE;
}

static int64_t as_seen(const struct search *s, int64_t v)
{
    if (v == CELL_ABSENT) return v;
    if (v < 0) return UNSEEN; /* an increment of it */
    size_t base = base_of(s, v);
    return base != NONE && s->told_of[base] == 0 ? UNSEEN : v;
}

static void see(const struct search *s, struct sim_cells *c)
{
    c->a = as_seen(s, c->a);
    if (!s->is_long) c->b = as_seen(s, c->b);
}

static bool same_cells(const struct sim_cells *x, const struct sim_cells *y)
{
    return x->a == y->a && x->b == y->b && x->may_vanish == y->may_vanish && x->b_may_vanish == y->b_may_vanish;
}

/* ---- placing ---- */

static void place(struct search *s, struct ops *o, size_t i, bool done)
{
    ASSERT(o->p[i].done != done);
    o->p[i].done = done;
    o->bits[i / 64] ^= UINT64_C(1) << (i % 64);
    for (unsigned k = 0; k < 2; k++) {
        size_t base = o->p[i].told[k];
        if (base != NONE) s->told_of[base] += done ? (size_t)-1 : 1;
    }
    if (o == &s->answered) s->left += done ? (size_t)-1 : 1;
}

/* Do two ops of unknown outcome do the same, whenever they do it? */
static bool do_the_same(const struct search *s, const struct sim_record *x, const struct sim_record *y)
{
    unsigned xo = x->op == SIM_GETSET ? SIM_WRITE : x->op, yo = y->op == SIM_GETSET ? SIM_WRITE : y->op;
    if (xo != yo) return false;
    switch ((enum sim_op)xo) {
    case SIM_WRITE:
    case SIM_WRITE_TTL:
    case SIM_SET_NX:
    case SIM_SET_XX:
    case SIM_SET_NX_GET:
    case SIM_LONG_WRITE:
    case SIM_LONG_SET: return as_seen(s, x->arg) == as_seen(s, y->arg);
    case SIM_INCR:
    case SIM_INCR_FLOAT:
    case SIM_BOTH:
    case SIM_DELETE:
    case SIM_RENAME:
    case SIM_COPY:
    case SIM_CLEAR:
    case SIM_LONG_APPEND:
    case SIM_LONG_FAR:
    case SIM_LONG_DELETE: return true;
    default: return false; /* SIM_CAS: each tells what it saw */
    }
}

static bool has_earlier_twin(const struct search *s, size_t i)
{
    const struct ops *o = &s->unknown;
    for (size_t k = 0; k < i; k++)
        if (!o->p[k].done && do_the_same(s, o->p[k].r, o->p[i].r)) return true;
    return false;
}

/* ---- the memo ---- */

static struct slot *slot_find(struct slot *slots, size_t cap, uint64_t h1, uint64_t h2)
{
    size_t k = h1 & (cap - 1);
    while (slots[k].h2 != 0 && (slots[k].h1 != h1 || slots[k].h2 != h2)) k = (k + 1) & (cap - 1);
    return &slots[k];
}

static void slots_grow(struct search *s)
{
    size_t cap = s->slot_cap != 0 ? s->slot_cap * 2 : 256;
    struct slot *bigger = mem_zalloc(cap * sizeof *bigger);
    for (size_t i = 0; i < s->slot_cap; i++)
        if (s->slots[i].h2 != 0) *slot_find(bigger, cap, s->slots[i].h1, s->slots[i].h2) = s->slots[i];
    mem_free(s->slots);
    s->slots = bigger;
    s->slot_cap = cap;
}

static size_t entry_add(struct search *s, size_t next)
{
    size_t words = s->unknown.words;
    if (s->entry_count == s->entry_cap) {
        s->entry_cap = s->entry_cap != 0 ? s->entry_cap * 2 : 256;
        s->entry_next = mem_realloc(s->entry_next, s->entry_cap * sizeof *s->entry_next);
        s->entry_bits = mem_realloc(s->entry_bits, s->entry_cap * words * sizeof *s->entry_bits);
    }
    memcpy(&s->entry_bits[s->entry_count * words], s->unknown.bits, words * sizeof *s->entry_bits);
    s->entry_next[s->entry_count] = next;
    return s->entry_count++;
}

/* Is it worth going on from here? Rule 2. */
static bool visit(struct search *s, const struct sim_cells *c)
{
    uint64_t tail[3] = {(uint64_t)c->a, (uint64_t)c->b, c->may_vanish | c->b_may_vanish << 1};
    struct bytes bits = bytes_of(s->answered.bits, s->answered.words * 8), cells = bytes_of(tail, sizeof tail);
    uint64_t h1 = hash64(bits, hash64(cells, 1)), h2 = hash64(bits, hash64(cells, 2)) | 1;
    size_t words = s->unknown.words;
    if ((s->slot_count + 1) * 2 > s->slot_cap) slots_grow(s);
    struct slot *at = slot_find(s->slots, s->slot_cap, h1, h2);
    if (at->h2 == 0) {
        *at = (struct slot){h1, h2, NONE};
        s->slot_count++;
    }
    for (size_t e = at->entry; e != NONE; e = s->entry_next[e]) {
        bool part = true;
        ASSERT(s->entry_bits != NULL); /* there is an entry */
        for (size_t i = 0; i < words && part; i++) part = (s->entry_bits[e * words + i] & ~s->unknown.bits[i]) == 0;
        if (part) return false;
    }
    at->entry = entry_add(s, at->entry);
    return true;
}

/* ---- the search ---- */

enum stage { ANSWERED, UNKNOWN, VANISHING };

/* One frame: the state, what was tried from it, and what was taken to the frame above. */
struct frame {
    struct sim_cells cells;
    size_t first; /* no answered op before it is left */
    enum stage stage;
    size_t tried; /* the op tried last; NONE: none yet in this stage */
    bool a_vanished, b_vanished;
};

/* An op that was asked later than this can't be next. */
static uint64_t latest_invocation(const struct search *s, struct frame *f)
{
    const struct ops *o = &s->answered;
    uint64_t earliest = UINT64_MAX;
    while (f->first < o->count && o->p[f->first].done) f->first++;
    for (size_t i = f->first; i < o->count && o->p[i].r->invoke_ns <= earliest; i++)
        if (!o->p[i].done && o->p[i].r->return_ns < earliest) earliest = o->p[i].r->return_ns;
    return earliest;
}

static bool before(const struct op *p, size_t x, size_t y)
{
    return p[x].r->return_ns != p[y].r->return_ns ? p[x].r->return_ns < p[y].r->return_ns : x < y;
}

/* The next op to try, by the time of its answer; NONE: there is no other. */
static size_t next_answered(const struct search *s, const struct frame *f, uint64_t latest)
{
    const struct ops *o = &s->answered;
    size_t best = NONE;
    for (size_t i = f->first; i < o->count && o->p[i].r->invoke_ns <= latest; i++) {
        if (o->p[i].done || (f->tried != NONE && !before(o->p, f->tried, i))) continue;
        if (best == NONE || before(o->p, i, best)) best = i;
    }
    return best;
}

static size_t next_unknown(const struct search *s, const struct frame *f, uint64_t latest)
{
    const struct ops *o = &s->unknown;
    for (size_t i = f->tried == NONE ? 0 : f->tried + 1; i < o->count && o->p[i].r->invoke_ns <= latest; i++)
        if (!o->p[i].done && !has_earlier_twin(s, i)) return i;
    return NONE;
}

/* A cell that may vanish by itself and was not seen to do so from here; false: none. */
static bool vanish(struct frame *f, struct sim_cells *out)
{
    *out = f->cells;
    if (!f->a_vanished && f->cells.may_vanish && f->cells.a != CELL_ABSENT) {
        f->a_vanished = true;
        out->a = CELL_ABSENT;
        out->may_vanish = false;
        return true;
    }
    if (!f->b_vanished && f->cells.b_may_vanish && f->cells.b != CELL_ABSENT) {
        f->b_vanished = true;
        out->b = CELL_ABSENT;
        out->b_may_vanish = false;
        return true;
    }
    return false;
}

/* Takes the next way from f that leads to a state not met yet; false: there is none. */
static bool descend(struct search *s, struct frame *f, struct frame *child)
{
    uint64_t latest = latest_invocation(s, f);
    for (; f->stage != VANISHING; f->stage++, f->tried = NONE) {
        struct ops *o = f->stage == ANSWERED ? &s->answered : &s->unknown;
        for (;;) {
            size_t i = f->stage == ANSWERED ? next_answered(s, f, latest) : next_unknown(s, f, latest);
            if (i == NONE) break;
            f->tried = i;
            s->steps++;
            struct sim_cells cells = f->cells;
            if (!sim_apply(o->p[i].r, &cells)) continue;
            place(s, o, i, true);
            see(s, &cells);
            bool nothing = f->stage == UNKNOWN && same_cells(&cells, &f->cells);
            if (!nothing && visit(s, &cells)) {
                *child = (struct frame){.cells = cells, .first = f->first, .tried = NONE};
                return true;
            }
            place(s, o, i, false);
        }
    }
    struct sim_cells cells;
    while (vanish(f, &cells)) {
        s->steps++;
        if (!visit(s, &cells)) continue;
        *child = (struct frame){.cells = cells, .first = f->first, .tried = NONE};
        return true;
    }
    return false;
}

static void go_back(struct search *s, const struct frame *f)
{
    if (f->stage == ANSWERED) place(s, &s->answered, f->tried, false);
    else if (f->stage == UNKNOWN) place(s, &s->unknown, f->tried, false);
}

static void run(struct search *s, uint64_t steps_max, struct linearize_result *out)
{
    /* Between two ops each cell can vanish once. */
    struct frame *stack = mem_alloc((3 * (s->answered.count + s->unknown.count) + 3) * sizeof *stack);
    size_t depth = 0;
    stack[0] = (struct frame){.cells = {CELL_ABSENT, CELL_ABSENT, false, false}, .tried = NONE};
    for (;;) {
        if (s->left == 0) {
            out->ok = true;
            break;
        }
        if (s->steps > steps_max) {
            out->ok = out->gave_up = true;
            break;
        }
        if (descend(s, &stack[depth], &stack[depth + 1])) {
            depth++;
            continue;
        }
        if (depth == 0) break;
        go_back(s, &stack[--depth]);
    }
    out->steps = s->steps;
    mem_free(stack);
}

/* ---- preparing ---- */

static int by_value(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return a < b ? -1 : a > b;
}

static void find_bases(struct search *s, const struct sim_record *const *ops, size_t count)
{
    s->bases = mem_alloc((count + 1) * sizeof *s->bases);
    s->told_of = mem_zalloc((count + 1) * sizeof *s->told_of);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        ASSERT(ops[i]->arg < SIM_VALUE_STEP ||
               ops[i]->arg % SIM_VALUE_STEP == 0); /* rule 5 takes values of one write for another's otherwise */
        if (ops[i]->arg >= SIM_VALUE_STEP) s->bases[n++] = ops[i]->arg / SIM_VALUE_STEP;
        s->is_long = s->is_long || (ops[i]->op >= SIM_LONG_WRITE && ops[i]->op <= SIM_LONG_BOTH) ||
                     ops[i]->op == SIM_LONG_SET;
    }
    qsort(s->bases, n, sizeof *s->bases, by_value);
    for (size_t i = 0; i < n; i++)
        if (s->base_count == 0 || s->bases[s->base_count - 1] != s->bases[i]) s->bases[s->base_count++] = s->bases[i];
}

static void add(struct search *s, const struct sim_record *r)
{
    struct ops *o = r->outcome == SIM_OK ? &s->answered : &s->unknown;
    struct op *op = &o->p[o->count++];
    bool tells = r->outcome == SIM_OK || r->op == SIM_CAS; /* what a CAS saw is known whatever became of it */
    *op = (struct op){.r = r,
                      .told = {tells ? base_of(s, r->a) : NONE, tells && !s->is_long ? base_of(s, r->b) : NONE}};
    for (unsigned k = 0; k < 2; k++)
        if (op->told[k] != NONE) s->told_of[op->told[k]]++;
}

static void ops_init(struct ops *o, size_t count)
{
    o->p = mem_alloc((count + 1) * sizeof *o->p);
    o->words = count / 64 + 1;
    o->bits = mem_zalloc(o->words * sizeof *o->bits);
}

void linearize(const struct sim_record *const *ops, size_t count, uint64_t steps_max, struct linearize_result *out)
{
    struct search s = {0};
    size_t unknown = 0;
    *out = (struct linearize_result){0};
    for (size_t i = 0; i < count; i++) {
        ASSERT(ops[i]->outcome != SIM_FAILED && (i == 0 || ops[i - 1]->invoke_ns <= ops[i]->invoke_ns));
        unknown += ops[i]->outcome != SIM_OK;
    }
    ops_init(&s.answered, count - unknown);
    ops_init(&s.unknown, unknown);
    find_bases(&s, ops, count);
    for (size_t i = 0; i < count; i++) add(&s, ops[i]);
    s.left = s.answered.count;
    run(&s, steps_max, out);
    mem_free(s.answered.p);
    mem_free(s.answered.bits);
    mem_free(s.unknown.p);
    mem_free(s.unknown.bits);
    mem_free(s.bases);
    mem_free(s.told_of);
    mem_free(s.slots);
    mem_free(s.entry_next);
    mem_free(s.entry_bits);
}
