/* log_test.c - the log as its users see it: append, read, cut, compact, reopen, bounds, failures.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/log_test_util.h"

static void test_open_empty(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    assert_int_equal(log_boot_count(g.log), 1);
    assert_int_equal(log_position(g.log), log_synced(g.log));
    assert_null(log_replica(g.log, 1));
    assert_null(log_replica(g.log, 0));
    for (uint64_t boot = 2; boot < 5; boot++) {
        rig_reopen(&g);
        assert_int_equal(log_boot_count(g.log), boot);
        assert_int_equal(suspects(&g), 0);
    }
    rig_deinit(&g);
}

static void test_append_reopen(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    rig_vote(&g, 1, 3, 2);
    rig_append(&g, 1, 1, 10, 3, 100);
    rig_append(&g, 2, 1, 1, 1, 0);
    rig_bound(&g, 77);
    assert_true(log_position(g.log) > log_synced(g.log));
    assert_int_equal(g.synced_events, 0);
    fake_run(g.fake);
    assert_int_equal(g.synced_events, 1); /* one turn, one batch */
    assert_true(g.synced >= log_position(g.log));
    assert_log_is_model(&g);
    rig_reopen(&g);
    assert_log_is_model(&g);
    assert_int_equal(suspects(&g), 0);
    assert_int_equal(log_bound(g.log), 77);
    rig_append(&g, 1, 11, 5, 4, 50);
    fake_run(g.fake);
    rig_reopen(&g);
    assert_log_is_model(&g);
    rig_deinit(&g);
}

static void test_replace_suffix(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    rig_append(&g, 1, 1, 10, 1, 100);
    fake_run(g.fake);
    rig_append(&g, 1, 6, 2, 2, 100);
    fake_run(g.fake);
    assert_log_is_model(&g);
    rig_append(&g, 1, 1, 1, 5, 100); /* all of it */
    rig_append(&g, 1, 2, 3, 6, 100); /* and again in the same batch */
    rig_append(&g, 1, 3, 1, 7, 100);
    fake_run(g.fake);
    assert_log_is_model(&g);
    rig_reopen(&g);
    assert_log_is_model(&g);
    assert_int_equal(suspects(&g), 0);
    rig_deinit(&g);
}

static void test_reset_compact_drop(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    for (uint64_t id = 1; id <= 4; id++) rig_append(&g, id, 1, 20, id, 60);
    rig_reset(&g, 2, 100, 9);
    rig_append(&g, 2, 101, 3, 9, 60);
    rig_compact(&g, 3, 12);
    rig_drop(&g, 4);
    fake_run(g.fake);
    const struct log_replica *v = log_replica(g.log, 3);
    assert_int_equal(v->base_index, 12);
    assert_int_equal(v->base_term, 3);
    rig_reopen(&g);
    assert_log_is_model(&g);
    v = log_replica(g.log, 2);
    assert_int_equal(v->base_index, 100);
    assert_int_equal(v->base_term, 9);
    assert_int_equal(v->term, 9);
    assert_null(log_replica(g.log, 4));
    rig_compact(&g, 2, 1000); /* no further than the log goes */
    assert_int_equal(log_replica(g.log, 2)->base_index, 103);
    rig_deinit(&g);
}

struct reading {
    struct log_read q; /* first */
    unsigned done;
};

static void on_read(struct log_read *q) { ((struct reading *)q)->done++; }

static struct reading reading_of(uint64_t id, uint64_t lo, uint64_t hi, uint32_t bytes_max)
{
    return (struct reading){.q = {.replica_id = id, .lo = lo, .hi = hi, .bytes_max = bytes_max, .done = on_read}};
}

static void expect_entries(struct rig *g, struct reading *r, size_t count)
{
    assert_int_equal(r->done, 1);
    assert_int_equal(r->q.status, ST_OK);
    assert_int_equal(r->q.count, count);
    const struct model_replica *m = &g->model.r[r->q.replica_id];
    for (size_t i = 0; i < count; i++)
        assert_true(
            entry_is(r->q.entries[i], r->q.replica_id, r->q.lo + i, m->terms[r->q.lo + i], m->sizes[r->q.lo + i]));
    log_read_release(&r->q);
}

static void test_read(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    rig_append(&g, 1, 1, 50, 1, 100);
    struct reading waits = reading_of(1, 10, 20, 1 << 20);
    log_read(g.log, &waits.q); /* not durable yet: waits for it */
    assert_int_equal(waits.done, 0);
    struct error err = {0};
    for (int i = 0; i < 3; i++) { /* at once: from the open batch, from the one at the worker, from the disk */
        struct log_read now = {.replica_id = 1, .lo = 1, .hi = 51, .bytes_max = 1 << 20};
        assert_int_equal(log_read_now(g.log, &now, &err), ST_OK);
        assert_int_equal(now.count, 50);
        for (uint64_t k = 1; k <= 50; k++) assert_true(entry_is(now.entries[k - 1], 1, k, 1, g.model.r[1].sizes[k]));
        log_read_release(&now);
        if (i == 0) fake_tasks(g.fake);
        else fake_run(g.fake);
    }
    rig_append(&g, 1, 51, 1, 1, 100);
    struct reading later = reading_of(1, 51, 52, 1000);
    log_read(g.log, &later.q);
    assert_int_equal(later.done, 0);
    fake_run(g.fake);
    expect_entries(&g, &waits, 10);
    expect_entries(&g, &later, 1);
    rig_compact(&g, 1, 5);
    struct {
        uint64_t id, lo, hi;
        uint32_t bytes_max;
        enum status status;
        size_t count;
    } cases[] = {
        {1, 6, 51, 1 << 20, ST_OK, 45},   {1, 6, 1000, 1 << 20, ST_OK, 46}, {1, 50, 51, 0, ST_OK, 1},
        {1, 6, 51, 1, ST_OK, 1},          {1, 6, 51, 350, ST_OK, 3},        {1, 5, 51, 1 << 20, ST_NOT_FOUND, 0},
        {1, 52, 60, 99, ST_NOT_FOUND, 0}, {2, 1, 2, 99, ST_NOT_FOUND, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct reading r = reading_of(cases[i].id, cases[i].lo, cases[i].hi, cases[i].bytes_max);
        log_read(g.log, &r.q);
        assert_int_equal(r.done, 0); /* never before the call has returned */
        fake_run(g.fake);
        if (cases[i].status == ST_OK) {
            expect_entries(&g, &r, cases[i].count);
        } else {
            assert_int_equal(r.done, 1);
            assert_int_equal(r.q.status, cases[i].status);
            assert_int_equal(r.q.count, 0);
        }
    }
    rig_deinit(&g);
}

static void test_read_and_close(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    rig_append(&g, 1, 1, 5, 1, 100);
    fake_run(g.fake);
    rig_append(&g, 1, 6, 5, 1, 100);
    struct reading queued = reading_of(1, 1, 3, 1000), waits = reading_of(1, 6, 7, 1000);
    log_read(g.log, &queued.q);
    log_read(g.log, &waits.q);
    rig_close(&g);
    assert_int_equal(queued.done, 1);
    assert_int_equal(queued.q.status, ST_STOPPED);
    assert_int_equal(waits.done, 1);
    assert_int_equal(waits.q.status, ST_STOPPED);
    rig_deinit(&g);
}

static void test_group_commit(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    rig_append(&g, 1, 1, 1, 1, 100);
    fake_tasks(g.fake); /* the turn ends: the first batch is at the worker */
    assert_true(log_sync_started_ns(g.log) != 0);
    uint64_t first = log_position(g.log), last[3];
    for (int i = 0; i < 3; i++) { /* three turns while the disk is busy */
        rig_append(&g, 1, 2 + (uint64_t)i, 1, 1, 100);
        fake_tasks(g.fake);
        last[i] = log_position(g.log);
        assert_true(last[i] > (i > 0 ? last[i - 1] : first));
    }
    assert_int_equal(g.synced_events, 0);
    assert_true(fake_job(g.fake));
    assert_int_equal(g.synced_events, 0);
    fake_tasks(g.fake);
    assert_int_equal(g.synced_events, 1);
    assert_true(g.synced >= first && g.synced < last[0]);
    fake_run(g.fake);
    assert_int_equal(g.synced_events, 2); /* all three in one batch */
    assert_true(g.synced >= last[2]);
    assert_int_equal(log_sync_started_ns(g.log), 0);
    assert_int_equal(log_synced(g.log), g.synced);
    rig_deinit(&g);
}

/* A batch is bounded; what does not fit goes into further ones, in order. */
static void test_batches_bounded(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    for (uint64_t i = 0; i < 30; i++) rig_append(&g, 1 + i % 3, 1 + i / 3, 1, 1, 9000);
    fake_run(g.fake);
    struct log_stats stats;
    log_stats(g.log, &stats);
    assert_true(stats.batches >= 30 * 9000 / (32 << 10));
    assert_true(g.synced_events + 1 == stats.batches);
    assert_log_is_model(&g);
    rig_reopen(&g);
    assert_log_is_model(&g);
    assert_int_equal(suspects(&g), 0);
    rig_deinit(&g);
}

static void test_many_replicas(void **state)
{
    enum { MANY = 6000 };
    struct rig g;
    rig_init(&g, NULL);
    g.limits.segment_bytes = 4 << 20;
    g.limits.bytes_max = 64 << 20;
    g.limits.batch_bytes_max = 1 << 20;
    rig_open(&g);
    for (int round = 1; round <= 3; round++) {
        for (uint64_t id = 1; id <= MANY; id++) log_set_vote(g.log, id, (uint64_t)round, id);
        fake_run(g.fake);
    }
    struct log_stats stats;
    log_stats(g.log, &stats);
    assert_true(stats.batches < 50); /* the summary adapts */
    for (int boot = 0; boot < 2; boot++) {
        rig_reopen(&g);
        size_t at = 0, n = 0;
        const struct log_replica *v;
        for (; log_each_replica(g.log, &at, &v); n++) {
            assert_int_equal(v->term, 3);
            assert_int_equal(v->vote, v->replica_id);
            assert_false(v->suspect);
        }
        assert_int_equal(n, MANY);
    }
    rig_deinit(&g);
}

static void test_large_record(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    rig_append(&g, 1, 1, 3, 1, 100);
    size_t size = 300 << 10; /* larger than a segment */
    struct entry *e = entry_make(1, 4, 1, size);
    log_append(g.log, 1, &e, 1);
    entry_unref(e);
    fake_run(g.fake);
    e = entry_make(1, 5, 1, size);
    log_append(g.log, 1, &e, 1);
    entry_unref(e);
    fake_run(g.fake);
    assert_true(g.synced >= log_position(g.log));
    rig_reopen(&g);
    assert_int_equal(log_replica(g.log, 1)->last_index, 5);
    struct reading r = reading_of(1, 3, 6, 1 << 20);
    log_read(g.log, &r.q);
    fake_run(g.fake);
    assert_int_equal(r.q.count, 3);
    assert_true(entry_is(r.q.entries[1], 1, 4, 1, size));
    assert_true(entry_is(r.q.entries[2], 1, 5, 1, size));
    log_read_release(&r.q);
    rig_deinit(&g);
}

/* One replica needs its first entries for ever, the others are compacted: the log stays within its bound, the entries
 * are copied along, and stay right. */
static void test_reclaim(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    g.limits.bytes_max = 512 << 10;
    rig_open(&g);
    rig_vote(&g, 2, 5, 3); /* a mark that is never written again by its user */
    rig_append(&g, 1, 1, 20, 1, 500);
    uint64_t from[REPLICAS + 1] = {0}, rewritten = 0;
    for (int round = 0; round < 400; round++) {
        uint64_t id = 3 + (uint64_t)round % 2;
        if (from[id] + 12 >= ENTRIES) { /* begins anew, as after a snapshot */
            rig_drop(&g, id);
            from[id] = 0;
        }
        rig_append(&g, id, from[id] + 1, 10, 1, 700);
        from[id] += 10;
        fake_run(g.fake);
        rig_compact(&g, id, from[id] - 2);
        fake_run(g.fake);
        struct log_stats stats;
        log_stats(g.log, &stats);
        assert_true(stats.bytes <= g.limits.bytes_max + 4 * g.limits.segment_bytes);
        assert_false(stats.overfull);
        if (round % 50 != 49) continue;
        assert_log_is_model(&g);
        if (round % 100 != 99) continue;
        rewritten += stats.rewritten_bytes;
        rig_reopen(&g);
        assert_log_is_model(&g);
        assert_int_equal(suspects(&g), 0);
    }
    assert_true(rewritten > 0);
    rig_deinit(&g);
}

static void test_read_under_reclaim(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    g.limits.bytes_max = 256 << 10;
    rig_open(&g);
    rig_append(&g, 1, 1, 20, 1, 500);
    fake_run(g.fake);
    struct reading r = reading_of(1, 1, 21, 1 << 20);
    log_read(g.log, &r.q); /* notes where the entries lie … */
    rig_compact(&g, 1, 20);
    for (uint64_t i = 0; i < 60;
         i++) { /* … and meanwhile their segment leaves the log, as far as the workers' order lets it */
        rig_append(&g, 2, 1 + i, 1, 1, 20000);
        rig_compact(&g, 2, 1 + i);
        fake_tasks(g.fake);
    }
    fake_run(g.fake);
    expect_entries(&g, &r, 20);
    struct log_stats stats;
    log_stats(g.log, &stats);
    assert_true(stats.bytes <= g.limits.bytes_max + 4 * g.limits.segment_bytes);
    rig_deinit(&g);
}

static void test_overfull(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    g.limits.bytes_max = 400 << 10;
    rig_open(&g);
    struct log_stats stats;
    for (uint64_t i = 0; i < 70; i++) {
        rig_append(&g, 1, 1 + i * 5, 5, 1, 2000);
        fake_run(g.fake);
    }
    log_stats(g.log, &stats);
    assert_true(stats.overfull);
    assert_true(stats.needed_bytes > g.limits.bytes_max);
    assert_log_is_model(&g); /* nothing is given up */
    uint64_t rewritten = stats.rewritten_bytes;
    for (uint64_t i = 0; i < 20; i++) { /* and it does not copy for ever what does not shrink */
        rig_vote(&g, 2, 1 + i, 1);
        fake_run(g.fake);
    }
    log_stats(g.log, &stats);
    assert_true(stats.rewritten_bytes - rewritten <= stats.bytes);
    rig_compact(&g, 1, 345); /* the replica flushed */
    for (uint64_t i = 0; i < 40; i++) {
        rig_vote(&g, 2, 100 + i, 1);
        fake_run(g.fake);
    }
    log_stats(g.log, &stats);
    assert_false(stats.overfull);
    assert_true(stats.bytes <= g.limits.bytes_max + 2 * g.limits.segment_bytes);
    rig_reopen(&g);
    assert_log_is_model(&g);
    rig_deinit(&g);
}

static void test_disk_failure(void **state)
{
    static const enum fake_op ops[] = {FAKE_WRITE, FAKE_SYNC};
    for (size_t i = 0; i < ARRAY_COUNT(ops); i++) {
        struct rig g;
        rig_init(&g, NULL);
        rig_open(&g);
        rig_append(&g, 1, 1, 3, 1, 100);
        fake_run(g.fake);
        uint64_t synced = g.synced;
        fake_fail(g.fake, ops[i], 0, 1, ST_IO);
        rig_append(&g, 1, 4, 3, 1, 100);
        struct reading r = reading_of(1, 4, 5, 1000);
        log_read(g.log, &r.q);
        fake_run(g.fake);
        assert_int_equal(g.failures, 1);
        assert_int_equal(g.failure, ST_IO);
        assert_int_equal(r.done, 1);
        assert_int_equal(r.q.status, ST_IO);
        uint64_t changes = fake_ops(g.fake);
        rig_append(&g, 1, 7, 3, 1, 100); /* nothing is tried any more, nothing counts as durable */
        assert_true(log_position(g.log) > log_synced(g.log));
        fake_advance(g.fake, 5 * NS_PER_S);
        assert_int_equal(fake_ops(g.fake), changes);
        assert_int_equal(g.failures, 1);
        assert_int_equal(g.synced, synced);
        struct reading again = reading_of(1, 7, 8, 1000);
        log_read(g.log, &again.q);
        fake_run(g.fake);
        assert_int_equal(again.q.status, ST_IO);
        rig_deinit(&g);
    }
}

/* Making a segment fails for lack of space: appending goes on in the one made ahead; log_full tells; when both are used
 * up batches wait, and go on by themselves when there is space. */
static void test_disk_full(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    uint64_t i = 1;
    for (; i <= 4; i++) { /* far enough that the next segment has been made */
        rig_append(&g, 1, i, 1, 1, 4000);
        fake_run(g.fake);
    }
    assert_false(log_full(g.log));
    fake_fail(g.fake, FAKE_CREATE, 0, 1000000, ST_DISK_FULL);
    fake_fail(g.fake, FAKE_FILL, 0, 1000000, ST_DISK_FULL);
    uint64_t before = i, durable = 0;
    for (; i < 300 && !(log_position(g.log) > g.synced && log_full(g.log)); i++) {
        rig_append(&g, 1, i, 1, 1, 4000);
        fake_run(g.fake);
        if (g.synced >= log_position(g.log)) durable = i;
    }
    assert_true(log_full(g.log));
    assert_int_equal(g.failures, 0);
    assert_true((durable - before) * 4000 > g.limits.segment_bytes / 2); /* the reserve was there */
    uint64_t synced = g.synced;
    fake_advance(g.fake, 3 * NS_PER_S);
    assert_int_equal(g.synced, synced);
    fake_fail(g.fake, FAKE_CREATE, 0, 0, ST_OK);
    fake_fail(g.fake, FAKE_FILL, 0, 0, ST_OK);
    fake_advance(g.fake, 3 * NS_PER_S);
    assert_true(g.synced >= log_position(g.log));
    assert_false(log_full(g.log));
    assert_int_equal(g.failures, 0);
    rig_reopen(&g);
    assert_log_is_model(&g);
    rig_deinit(&g);
}

/* A batch's write says that there is no space: it is tried again, nothing was lost. */
static void test_write_full(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    fake_fail(g.fake, FAKE_WRITE, 0, 2, ST_DISK_FULL);
    rig_append(&g, 1, 1, 3, 1, 100);
    fake_run(g.fake);
    assert_true(log_full(g.log));
    assert_true(log_position(g.log) > g.synced);
    rig_append(&g, 1, 4, 3, 1, 100);
    fake_advance(g.fake, 5 * NS_PER_S);
    assert_false(log_full(g.log));
    assert_true(g.synced >= log_position(g.log));
    assert_int_equal(g.failures, 0);
    rig_reopen(&g);
    assert_log_is_model(&g);
    rig_deinit(&g);
}

static void test_reserve(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    assert_false(log_full(g.log));
    fake_set_free(g.fake, g.limits.reserve_bytes - 1);
    rig_append(&g, 1, 1, 1, 1, 100);
    fake_advance(g.fake, 3 * NS_PER_S);
    assert_true(log_full(g.log));
    rig_append(&g, 1, 2, 1, 1, 100); /* still goes on */
    fake_run(g.fake);
    assert_true(g.synced >= log_position(g.log));
    fake_set_free(g.fake, g.limits.reserve_bytes);
    fake_advance(g.fake, 3 * NS_PER_S);
    assert_false(log_full(g.log));
    rig_deinit(&g);
}

static void test_refuses_foreign(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    rig_append(&g, 1, 1, 1, 1, 100);
    fake_run(g.fake);
    rig_close(&g);
    static const struct log_events events = {rig_synced, rig_failed};
    struct error err = {0};
    static const uint8_t other[16] = "another store..";
    assert_int_equal(log_open(fake_loop(g.fake), DIR_NAME, other, &g.limits, &events, &g, &g.log, &err), ST_DENIED);
    assert_non_null(strstr(err.text, "another store"));
    uint64_t size;
    uint8_t *p = fake_disk_bytes(fake_disk(g.fake), DIR_NAME "/0000000000000001.seg", &size);
    struct log_segment_header h;
    assert_true(log_segment_header_decode(p, &h));
    h.version = LOG_VERSION + 1;
    log_segment_header_encode(&h, p);
    assert_int_equal(rig_try_open(&g, &err), ST_VERSION);
    assert_non_null(strstr(err.text, "version 2"));
    h.version = LOG_VERSION;
    log_segment_header_encode(&h, p);
    rig_open(&g);
    assert_log_is_model(&g);
    rig_deinit(&g);
}

static void test_idle_mark(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    rig_open(&g);
    fake_advance(g.fake, NS_PER_S);
    for (uint64_t i = 1; i <= 5; i++) {
        uint64_t before = fake_ops(g.fake);
        rig_append(&g, 1, i, 1, 1, 100);
        fake_run(g.fake);
        assert_int_equal(fake_ops(g.fake) - before, 2); /* write, sync */
        fake_advance(g.fake, 10 * NS_PER_S);
        assert_int_equal(fake_ops(g.fake) - before, 3); /* and one write for the mark, however long it is idle */
    }
    rig_reopen(&g);
    assert_log_is_model(&g);
    assert_int_equal(suspects(&g), 0);
    rig_deinit(&g);
}

static void test_random(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rng rng;
        struct rig g;
        rng_init(&rng, seed);
        rig_init(&g, NULL);
        g.limits.bytes_max = seed % 2 ? 384 << 10 : 4 << 20;
        rig_open(&g);
        for (int i = 0; i < 600; i++) {
            rig_random(&g, &rng);
            if (rng_chance(&rng, 3)) fake_run(g.fake);
            else if (rng_chance(&rng, 3)) fake_tasks(g.fake);
            else if (rng_chance(&rng, 3)) fake_job(g.fake);
            if (rng_chance(&rng, 20)) fake_advance(g.fake, rng_below(&rng, 100) * NS_PER_MS);
            if (!rng_chance(&rng, 60)) continue;
            fake_run(g.fake);
            assert_log_is_model(&g);
            rig_reopen(&g);
            assert_log_is_model(&g);
            assert_int_equal(suspects(&g), 0);
            assert_int_equal(g.failures, 0);
        }
        rig_deinit(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_empty),     cmocka_unit_test(test_append_reopen),
        cmocka_unit_test(test_replace_suffix), cmocka_unit_test(test_reset_compact_drop),
        cmocka_unit_test(test_read),           cmocka_unit_test(test_read_and_close),
        cmocka_unit_test(test_group_commit),   cmocka_unit_test(test_batches_bounded),
        cmocka_unit_test(test_many_replicas),  cmocka_unit_test(test_large_record),
        cmocka_unit_test(test_reclaim),        cmocka_unit_test(test_read_under_reclaim),
        cmocka_unit_test(test_overfull),       cmocka_unit_test(test_disk_failure),
        cmocka_unit_test(test_disk_full),      cmocka_unit_test(test_write_full),
        cmocka_unit_test(test_reserve),        cmocka_unit_test(test_refuses_foreign),
        cmocka_unit_test(test_idle_mark),      cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
