/* history.c - what clients asked and were told, and whether it could have happened one op after another.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "sim/heap.h"
#include "sim/linearize.h"

const char *sim_op_name(enum sim_op op)
{
    static const char *const names[SIM_OP_COUNT] = {
        "read",        "write",      "write-ttl",   "incr",      "delete",     "getset", "cas",     "incr-both",
        "read-both",   "incr-float", "set-nx",      "set-xx",    "set-nx-get", "rename", "copy",    "long-write",
        "long-append", "long-far",   "long-delete", "long-read", "long-both",  "clear",  "long-set"};
    return (unsigned)op < SIM_OP_COUNT ? names[op] : "?";
}

bool sim_op_reads(enum sim_op op)
{
    return op == SIM_READ || op == SIM_READ_BOTH || op == SIM_LONG_READ || op == SIM_LONG_BOTH;
}

void history_deinit(struct history *h)
{
    mem_free(h->records);
    *h = (struct history){0};
}

size_t history_begin(struct history *h, const struct sim_record *r)
{
    if (h->count == h->cap) {
        struct heap *was = heap_enter(NULL);
        h->cap = h->cap != 0 ? h->cap * 2 : 1024;
        h->records = mem_realloc(h->records, h->cap * sizeof *h->records);
        heap_enter(was);
    }
    h->records[h->count] = *r;
    h->records[h->count].outcome = SIM_OPEN;
    if (r->object >= h->objects) h->objects = r->object + 1;
    return h->count++;
}

void history_end(struct history *h, size_t at, enum sim_outcome outcome, int64_t a, int64_t b, uint64_t now_ns)
{
    struct sim_record *r = &h->records[at];
    ASSERT(r->outcome == SIM_OPEN);
    r->outcome = (uint8_t)outcome;
    r->a = a;
    r->b = b;
    r->return_ns = now_ns;
}

static int64_t plus(int64_t v, int64_t n) { return v == CELL_ABSENT ? n : v + n; }
static int64_t plus_one(int64_t v) { return plus(v, 1); }

/* Without an answer (unknown outcome) any result fits. */
static bool fits(const struct sim_record *r, int64_t told, int64_t is) { return r->outcome != SIM_OK || told == is; }

static void set_a(struct sim_cells *c, int64_t v)
{
    c->a = v;
    c->may_vanish = false;
}

bool sim_apply(const struct sim_record *r, struct sim_cells *c)
{
    int64_t was = c->a, length = c->b;
    switch ((enum sim_op)r->op) {
    case SIM_INCR_FLOAT: c->a = plus(c->a, 3); return fits(r, r->a, c->a);
    case SIM_SET_NX:
        if (was == CELL_ABSENT) set_a(c, r->arg);
        return fits(r, r->a, was == CELL_ABSENT);
    case SIM_SET_XX:
        if (was != CELL_ABSENT) set_a(c, r->arg);
        return fits(r, r->a, was != CELL_ABSENT);
    case SIM_SET_NX_GET:
        if (was == CELL_ABSENT) set_a(c, r->arg);
        return fits(r, r->a, was);
    case SIM_RENAME:
    case SIM_COPY:
        if (was != CELL_ABSENT) {
            c->b = was;
            c->b_may_vanish = c->may_vanish; /* the time to live goes along */
            if (r->op == SIM_RENAME) set_a(c, CELL_ABSENT);
        }
        return fits(r, r->a, was != CELL_ABSENT);
    case SIM_LONG_WRITE:
        c->a = r->arg;
        if (c->b == CELL_ABSENT || c->b < SIM_LONG_NUMBER) c->b = SIM_LONG_NUMBER;
        return fits(r, r->b, c->b);
    case SIM_LONG_SET:
        c->a = r->arg;
        c->b = SIM_LONG_WHOLE;
        return true;
    case SIM_LONG_APPEND: c->b = plus(c->b, SIM_LONG_CHUNK); return fits(r, r->b, c->b);
    case SIM_LONG_FAR:
        if (c->b == CELL_ABSENT || c->b < SIM_LONG_FAR_END) c->b = SIM_LONG_FAR_END;
        return fits(r, r->b, c->b);
    case SIM_LONG_DELETE: c->a = c->b = CELL_ABSENT; return fits(r, r->a, length != CELL_ABSENT);
    case SIM_LONG_READ: return fits(r, r->a, c->a);
    case SIM_LONG_BOTH: return fits(r, r->a, c->a) && fits(r, r->b, c->b);
    case SIM_READ: return fits(r, r->a, c->a);
    case SIM_READ_BOTH: return fits(r, r->a, c->a) && fits(r, r->b, c->b);
    case SIM_WRITE:
    case SIM_WRITE_TTL:
        c->a = r->arg;
        c->may_vanish = r->op == SIM_WRITE_TTL;
        return true;
    case SIM_INCR: c->a = plus_one(c->a); return fits(r, r->a, c->a);
    case SIM_BOTH:
        c->a = plus_one(c->a);
        c->b = plus_one(c->b);
        return fits(r, r->a, c->a) && fits(r, r->b, c->b);
    case SIM_DELETE:
        c->a = CELL_ABSENT;
        c->may_vanish = false;
        return fits(r, r->a, was != CELL_ABSENT);
    case SIM_GETSET:
        c->a = r->arg;
        c->may_vanish = false;
        return fits(r, r->a, was);
    case SIM_CAS:
        c->a = r->arg;
        c->may_vanish = false;
        return r->a == was; /* what it saw is known even if the outcome of EXEC is not */
    case SIM_CLEAR: {
        bool any = c->a != CELL_ABSENT || c->b != CELL_ABSENT;
        *c = (struct sim_cells){CELL_ABSENT, CELL_ABSENT, false, false};
        return fits(r, r->a, any);
    }
    default: return false;
    }
}

/* Did it change cell a for sure? */
static bool changed_a(const struct sim_record *r)
{
    switch ((enum sim_op)r->op) {
    case SIM_READ:
    case SIM_READ_BOTH:
    case SIM_COPY: return false;
    case SIM_DELETE:
    case SIM_SET_NX:
    case SIM_SET_XX:
    case SIM_RENAME: return r->outcome == SIM_OK && r->a == 1;
    case SIM_SET_NX_GET: return r->outcome == SIM_OK && r->a == CELL_ABSENT;
    case SIM_CLEAR: return false; /* perhaps there was b only */
    default: return r->outcome == SIM_OK;
    }
}

/* A watch says that nothing happened to a, not only that a is as it was: what came and went counts. */
static const struct sim_record *watch_missed(const struct sim_record **ops, size_t count, size_t at)
{
    const struct sim_record *w = ops[at];
    for (size_t i = at + 1; i < count && ops[i]->invoke_ns <= w->exec_ns; i++)
        if (ops[i]->invoke_ns >= w->seen_ns && ops[i]->return_ns <= w->exec_ns && changed_a(ops[i])) return ops[i];
    return NULL;
}

static int by_invocation(const void *x, const void *y)
{
    const struct sim_record *a = *(const struct sim_record *const *)x, *b = *(const struct sim_record *const *)y;
    if (a->invoke_ns != b->invoke_ns) return a->invoke_ns < b->invoke_ns ? -1 : 1;
    return a < b ? -1 : a > b;
}

static void print_value(FILE *out, int64_t v)
{
    if (v == CELL_ABSENT) fprintf(out, "nil");
    else fprintf(out, "%" PRId64, v);
}

static void print_object(const struct sim_record *const *ops, size_t count, uint32_t object, FILE *out)
{
    static const char *const outcomes[] = {"open", "ok", "unknown", "failed"};
    fprintf(out, "not linearizable: object %u, %zu operations\n", object, count);
    for (size_t i = 0; i < count; i++) {
        const struct sim_record *r = ops[i];
        fprintf(out, "  %14.6f .. ", (double)r->invoke_ns / 1e9);
        if (r->outcome == SIM_OK || r->outcome == SIM_FAILED) fprintf(out, "%14.6f", (double)r->return_ns / 1e9);
        else fprintf(out, "%14s", "?");
        fprintf(out, "  p%-3u %-10s %s arg=", r->process, sim_op_name(r->op), outcomes[r->outcome]);
        print_value(out, r->arg);
        fprintf(out, " a=");
        print_value(out, r->a);
        fprintf(out, " b=");
        print_value(out, r->b);
        fprintf(out, "\n");
    }
}

static bool check_object(const struct sim_record **ops, size_t count, uint32_t object, struct history_sum *sum,
                         FILE *out)
{
    struct linearize_result found;
    qsort(ops, count, sizeof *ops, by_invocation);
    linearize(ops, count, LINEARIZE_STEPS_MAX, &found);
    bool ok = found.ok;
    sum->objects++;
    sum->steps_most = MAX(sum->steps_most, found.steps);
    if (found.gave_up) {
        sum->given_up++;
        fprintf(out, "object %u: no order of %zu operations was found in %d steps, nor that there is none\n", object,
                count, LINEARIZE_STEPS_MAX);
    }
    for (size_t i = 0; i < count && ok; i++) {
        const struct sim_record *missed = ops[i]->op == SIM_CAS && ops[i]->outcome == SIM_OK
                                              ? watch_missed(ops, count, i)
                                              : NULL;
        if (missed == NULL) continue;
        fprintf(out, "the watch of p%u at %.6f did not see what p%u changed at %.6f\n", ops[i]->process,
                (double)ops[i]->seen_ns / 1e9, missed->process, (double)missed->invoke_ns / 1e9);
        ok = false;
    }
    if (!ok) print_object(ops, count, object, out);
    return ok;
}

bool history_check(const struct history *h, struct history_sum *sum, FILE *out)
{
    struct heap *was = heap_enter(NULL);
    const struct sim_record **ops = mem_alloc((h->count + 1) * sizeof *ops);
    size_t *start = mem_zalloc((h->objects + 2) * sizeof *start);
    bool ok = true;
    /* Sorts by object (counting), leaving out what failed and reads without an answer, which say nothing. */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < h->count; i++) {
            const struct sim_record *r = &h->records[i];
            bool silent_read = r->outcome != SIM_OK && sim_op_reads((enum sim_op)r->op);
            if (r->outcome == SIM_FAILED || silent_read) continue;
            if (pass == 0) start[r->object + 1]++;
            else ops[start[r->object]++] = r;
        }
        if (pass == 0)
            for (uint32_t o = 0; o < h->objects; o++) start[o + 1] += start[o];
    }
    for (uint32_t o = 0; o < h->objects && ok; o++) {
        size_t from = o > 0 ? start[o - 1] : 0;
        if (start[o] > from) ok = check_object(ops + from, start[o] - from, o, sum, out);
    }
    mem_free(ops);
    mem_free(start);
    heap_enter(was);
    return ok;
}

bool history_check_expiry(const struct history *h, uint64_t slack_ns, FILE *out)
{
    struct heap *was = heap_enter(NULL);
    int64_t top = 0;
    for (size_t i = 0; i < h->count; i++)
        if (h->records[i].arg > top) top = h->records[i].arg;
    size_t n = (size_t)(top / SIM_VALUE_STEP) + 1;
    const struct sim_record **by_value = mem_zalloc(n * sizeof *by_value);
    bool ok = true;
    for (size_t i = 0; i < h->count; i++) {
        const struct sim_record *r = &h->records[i];
        if (r->op == SIM_WRITE_TTL && r->outcome == SIM_OK) by_value[r->arg / SIM_VALUE_STEP] = r;
    }
    for (size_t i = 0; i < h->count && ok; i++) {
        const struct sim_record *r = &h->records[i];
        if (r->outcome != SIM_OK ||
            (r->op != SIM_READ && r->op != SIM_READ_BOTH && r->op != SIM_GETSET && r->op != SIM_SET_NX_GET))
            continue;
        const struct sim_record *by = r->a >= 0 && r->a <= top ? by_value[r->a / SIM_VALUE_STEP] : NULL;
        if (by == NULL || r->invoke_ns <= by->return_ns + by->ttl_ms * UINT64_C(1000000) + slack_ns) continue;
        fprintf(out, "object %u: p%u saw at %.6f what p%u had written by %.6f to last %" PRIu64 " ms\n", r->object,
                r->process, (double)r->invoke_ns / 1e9, by->process, (double)by->return_ns / 1e9, by->ttl_ms);
        ok = false;
    }
    mem_free(by_value);
    heap_enter(was);
    return ok;
}

void history_write(const struct history *h, FILE *out)
{
    static const char *const outcomes[] = {"unknown", "ok", "unknown", "failed"};
    for (size_t i = 0; i < h->count; i++) {
        const struct sim_record *r = &h->records[i];
        fprintf(out, "{\"process\":%u,\"op\":\"%s\",\"key\":%u,\"hash\":%s,\"value\":%" PRId64, r->process,
                sim_op_name(r->op), r->object, r->hash ? "true" : "false", r->arg);
        if (r->outcome == SIM_OK) {
            fprintf(out, ",\"result\":[");
            if (r->a == CELL_ABSENT) fprintf(out, "null,");
            else fprintf(out, "%" PRId64 ",", r->a);
            if (r->b == CELL_ABSENT) fprintf(out, "null]");
            else fprintf(out, "%" PRId64 "]", r->b);
        }
        fprintf(out, ",\"invoke_ns\":%" PRIu64 ",\"return_ns\":%" PRIu64 ",\"outcome\":\"%s\"}\n", r->invoke_ns,
                r->return_ns, outcomes[r->outcome]);
    }
}
