/* log_test_util.h - what the tests of the log share: a log on the fake disk beside a plain model of what it must hold.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every operation is done to both; the model keeps a copy of itself after each, with the log's position, so that a test
 * can ask which state a recovered log is in. Included once by each test, after its own headers. */
#ifndef CAIRN_STORE_LOG_TEST_UTIL_H
#define CAIRN_STORE_LOG_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/mem.h"
#include "store/fake_env_test_util.h"
#include "store/log.h"
#include "store/log_format.h"

enum { REPLICAS = 5, ENTRIES = 400 };
#define DIR_NAME "log"
static const uint8_t STORE[16] = "store-of-a-test";

struct model_replica {
    bool exists;
    uint64_t term, vote, base, base_term, last;
    uint16_t terms[ENTRIES]; /* of entry i */
    uint16_t sizes[ENTRIES];
};

struct model {
    struct model_replica r[REPLICAS + 1]; /* by id */
    hlc_t bound;
};

struct step {
    uint64_t position; /* once durable up to here, the state after the step is */
    unsigned touched;  /* bits: replicas that the step concerns */
    struct model after;
};

struct rig {
    struct fake *fake;
    struct log *log;
    struct log_limits limits;
    struct model model;
    struct step *steps;
    size_t step_count, step_cap;
    bool single;     /* appends one by one, so that every entry is a step: a batch may end between any two */
    uint64_t synced; /* as reported */
    unsigned synced_events, failures;
    enum status failure;
};

static inline struct log_limits small_limits(void)
{
    return (struct log_limits){.segment_bytes = 128 << 10, .first_segment_bytes = 32 << 10, .bytes_max = 1 << 20,
                               .batch_bytes_max = 32 << 10, .reserve_bytes = 1 << 20};
}

static inline void rig_synced(void *ctx, uint64_t position)
{
    struct rig *g = ctx;
    assert_true(position > g->synced);
    assert_int_equal(g->failures, 0);
    g->synced = position;
    g->synced_events++;
}

static inline void rig_failed(void *ctx, enum status st, const char *text)
{
    struct rig *g = ctx;
    g->failures++;
    g->failure = st;
}

static inline enum status rig_try_open(struct rig *g, struct error *err)
{
    static const struct log_events events = {rig_synced, rig_failed};
    g->log = NULL;
    enum status st = log_open(fake_loop(g->fake), DIR_NAME, STORE, &g->limits, &events, g, &g->log, err);
    g->synced = st == ST_OK ? log_synced(g->log) : 0;
    return st;
}

static inline void rig_open(struct rig *g)
{
    struct error err = {0};
    enum status st = rig_try_open(g, &err);
    if (st != ST_OK) fail_msg("log_open: %s: %s", status_name(st), err.text);
}

static inline void rig_init(struct rig *g, struct fake_disk *disk)
{
    *g = (struct rig){.fake = fake_new(disk, 7), .limits = small_limits()};
}

static inline void rig_close(struct rig *g)
{
    log_close(g->log);
    g->log = NULL;
    fake_run(g->fake);
}

static inline void rig_deinit(struct rig *g)
{
    if (g->log != NULL) rig_close(g);
    fake_free(g->fake);
    mem_free(g->steps);
}

static inline void rig_reopen(struct rig *g)
{
    rig_close(g);
    rig_open(g);
}

/* ---- operations on both ---- */

static inline void rig_step(struct rig *g, uint64_t id)
{
    if (g->step_count == g->step_cap) {
        g->step_cap = g->step_cap != 0 ? g->step_cap * 2 : 64;
        g->steps = mem_realloc(g->steps, g->step_cap * sizeof *g->steps);
    }
    g->steps[g->step_count++] = (struct step){log_position(g->log), 1u << id, g->model};
}

static inline void entry_fill(uint8_t *p, size_t n, uint64_t id, uint64_t index, uint64_t term)
{
    struct rng rng;
    rng_init(&rng, id * 1000003 + index * 4099 + term);
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)rng_next(&rng);
}

static inline struct entry *entry_make(uint64_t id, uint64_t index, uint64_t term, size_t n)
{
    uint8_t *data = mem_alloc(n);
    entry_fill(data, n, id, index, term);
    struct entry *e = entry_new(ENTRY_OPS, index, term, index * 10 + term, bytes_of(data, n));
    mem_free(data);
    return e;
}

static inline void rig_append(struct rig *g, uint64_t id, uint64_t from, size_t count, uint64_t term, size_t size)
{
    struct model_replica *m = &g->model.r[id];
    for (; g->single && count > 1; from++, count--) rig_append(g, id, from, 1, term, size);
    struct entry **v = mem_alloc(count * sizeof(struct entry *));
    for (size_t i = 0; i < count; i++) {
        uint64_t index = from + i;
        size_t n = size + index % 13;
        assert_true(index < ENTRIES);
        v[i] = entry_make(id, index, term, n);
        m->terms[index] = (uint16_t)term;
        m->sizes[index] = (uint16_t)n;
    }
    m->exists = true;
    m->last = from + count - 1;
    if (term > m->term) {
        m->term = term;
        m->vote = 0;
    }
    log_append(g->log, id, v, count);
    for (size_t i = 0; i < count; i++) entry_unref(v[i]);
    mem_free(v);
    rig_step(g, id);
}

static inline void rig_vote(struct rig *g, uint64_t id, uint64_t term, uint64_t vote)
{
    g->model.r[id].exists = true;
    g->model.r[id].term = term;
    g->model.r[id].vote = vote;
    log_set_vote(g->log, id, term, vote);
    rig_step(g, id);
}

static inline void rig_reset(struct rig *g, uint64_t id, uint64_t index, uint64_t term)
{
    struct model_replica *m = &g->model.r[id];
    m->exists = true;
    assert_true(index < ENTRIES);
    m->base = m->last = index;
    m->base_term = term;
    m->terms[index] = (uint16_t)term;
    if (term > m->term) {
        m->term = term;
        m->vote = 0;
    }
    log_reset(g->log, id, index, term);
    rig_step(g, id);
}

static inline void rig_compact(struct rig *g, uint64_t id, uint64_t index)
{
    struct model_replica *m = &g->model.r[id];
    uint64_t base = MIN(index, m->last);
    if (base > m->base) {
        m->base_term = m->terms[base];
        m->base = base;
    }
    log_compact(g->log, id, index); /* no step: it may be written or not */
}

static inline void rig_drop(struct rig *g, uint64_t id)
{
    g->model.r[id] = (struct model_replica){0};
    log_drop(g->log, id);
    rig_step(g, id);
}

static inline void rig_bound(struct rig *g, hlc_t bound)
{
    g->model.bound = bound;
    log_set_bound(g->log, bound);
    rig_step(g, 0);
}

/* ---- comparing ---- */

static inline bool entry_is(const struct entry *e, uint64_t id, uint64_t index, uint64_t term, size_t n)
{
    uint8_t *data = mem_alloc(n);
    entry_fill(data, n, id, index, term);
    bool same = e->index == index && e->term == term && e->kind == ENTRY_OPS && e->ts == index * 10 + term &&
                bytes_equal(entry_data(e), bytes_of(data, n));
    mem_free(data);
    return same;
}

/* Entries lo … hi of the log are those of the model. */
static inline bool entries_match(struct rig *g, uint64_t id, const struct model_replica *m, uint64_t lo, uint64_t hi)
{
    while (lo <= hi) {
        struct log_read q = {.replica_id = id, .lo = lo, .hi = hi + 1, .bytes_max = 64 << 10};
        struct error err = {0};
        if (log_read_now(g->log, &q, &err) != ST_OK) return false;
        bool same = true;
        for (size_t i = 0; i < q.count; i++)
            same = same && entry_is(q.entries[i], id, lo + i, m->terms[lo + i], m->sizes[lo + i]);
        lo += q.count;
        log_read_release(&q);
        if (!same) return false;
    }
    return true;
}

/* The log holds of the replica what the model says. Compaction is lazy: the log's base may be older; the entries between
 * must be right all the same. */
static inline bool replica_matches(struct rig *g, uint64_t id, const struct model_replica *m)
{
    const struct log_replica *v = log_replica(g->log, id);
    if (!m->exists) /* its first record, which says nothing yet, may be in the log already */
        return v == NULL || (v->term == 0 && v->vote == 0 && v->last_index == 0);
    if (v == NULL || v->term != m->term || v->vote != m->vote || v->last_index != m->last) return false;
    if (v->base_index > m->base && (v->base_index > m->last || v->base_index > g->model.r[id].base)) return false;
    if (v->base_term != (v->base_index == m->base ? m->base_term : m->terms[v->base_index])) return false;
    if (v->last_index > v->base_index && v->last_term != m->terms[m->last]) return false;
    return entries_match(g, id, m, v->base_index + 1, m->last);
}

static inline bool log_matches(struct rig *g, const struct model *m)
{
    for (uint64_t id = 1; id <= REPLICAS; id++)
        if (!replica_matches(g, id, &m->r[id])) return false;
    return log_bound(g->log) >= m->bound;
}

static inline void show_log(struct rig *g)
{
    size_t at = 0;
    const struct log_replica *v;
    while (log_each_replica(g->log, &at, &v))
        print_message("  replica %lu term=%lu vote=%lu base=%lu/%lu last=%lu/%lu suspect=%d damaged=%d\n", v->replica_id,
                      v->term, v->vote, v->base_index, v->base_term, v->last_index, v->last_term, v->suspect, v->damaged);
}

static inline void assert_log_is_model(struct rig *g)
{
    if (!log_matches(g, &g->model)) show_log(g);
    assert_true(log_matches(g, &g->model));
}

static inline unsigned suspects(struct rig *g)
{
    unsigned bits = log_replica(g->log, 0) != NULL ? 1 : 0;
    size_t at = 0;
    const struct log_replica *v;
    while (log_each_replica(g->log, &at, &v))
        if (v->suspect) bits |= 1u << v->replica_id;
    return bits;
}

static inline unsigned damaged(struct rig *g)
{
    const struct log_replica *v = log_replica(g->log, 0);
    unsigned bits = v != NULL && v->damaged ? 1 : 0;
    size_t at = 0;
    while (log_each_replica(g->log, &at, &v))
        if (v->damaged) bits |= 1u << v->replica_id;
    return bits;
}

/* A random operation on both. */
static inline void rig_random(struct rig *g, struct rng *rng)
{
    uint64_t id = rng_between(rng, 1, REPLICAS);
    struct model_replica *m = &g->model.r[id];
    uint64_t term = MAX(m->term, 1);
    if (rng_chance(rng, 8)) term++;
    switch (rng_below(rng, 12)) {
    case 0: rig_vote(g, id, term, rng_between(rng, 1, 9)); break;
    case 1:
        if (m->exists && m->last + 5 < ENTRIES) rig_reset(g, id, m->last + rng_below(rng, 4), MAX(term, m->term));
        break;
    case 2:
        if (m->last > m->base) rig_compact(g, id, rng_between(rng, m->base + 1, m->last));
        break;
    case 3: /* replaces a suffix */
        if (m->last > m->base) rig_append(g, id, rng_between(rng, m->base + 1, m->last), 1 + rng_below(rng, 3), m->term + 1, 40);
        break;
    case 4:
        if (id == REPLICAS && m->exists && rng_chance(rng, 3)) rig_drop(g, id);
        else rig_bound(g, g->model.bound + 10);
        break;
    default: {
        size_t n = 1 + rng_below(rng, 4);
        if (m->last + n < ENTRIES) rig_append(g, id, m->last + 1, n, term, rng_chance(rng, 6) ? 3000 : 100);
    }
    }
}

#endif
