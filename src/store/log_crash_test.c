/* log_crash_test.c - power is lost at every operation, and takes every kind of subset of what was not synced.
 * SPDX-License-Identifier: Apache-2.0
 *
 * After each: all that was reported durable is there, nothing is there that was never appended, the log is in one state
 * that it really had, nothing counts as damaged, and the suspects are exactly those of the torn batch: none if it is whole
 * or left no trace, those it concerns if its header can be read, else all. */
#include "base/mutation.h"
#include "store/log_test_util.h"

/* With a planted bug more than one batch may be in doubt: then only the state is judged, not whom is suspected. */
static bool planted;

enum { ALL = (1 << (REPLICAS + 1)) - 1, SECTORS_MAX = 512 };

/* What the writer had under way when the power went: from the disk as the process saw it. */
struct flying {
    bool any;
    char path[64];
    uint64_t start; /* offset */
    struct log_batch_header h;
    unsigned concerns; /* bits of replicas with records that are no copies */
    uint64_t sectors[SECTORS_MAX]; /* in doubt */
    size_t count;
};

struct ending {
    enum { NONE, EVERY, FIRST, LAST, BUT_ONE, ONLY_ONE, RANDOM } kind;
    size_t n;
    struct rng rng;
    size_t at; /* sectors of the batch seen so far */
    const struct flying *flying;
    bool kept[SECTORS_MAX];
};

static void on_doubt(void *ctx, const char *path, uint64_t sector)
{
    struct flying *f = ctx;
    if (strstr(path, ".seg") == NULL || planted) return;
    assert_true(f->count == 0 || strcmp(f->path, path) == 0); /* one batch flies */
    assert_true(f->count < SECTORS_MAX);
    snprintf(f->path, sizeof f->path, "%s", path);
    f->sectors[f->count++] = sector;
}

static void find_flying(struct fake_disk *d, struct flying *f)
{
    uint64_t size;
    *f = (struct flying){0};
    fake_disk_in_doubt(d, on_doubt, f);
    if (f->count == 0) return;
    const uint8_t *p = fake_disk_bytes(d, f->path, &size);
    f->start = f->sectors[0] * LOG_SECTOR / LOG_PAGE * LOG_PAGE;
    assert_true(log_batch_header_peek(p + f->start, &f->h));
    f->any = true;
    for (uint32_t i = 0; i < f->h.summary_count; i++) {
        struct log_summary s;
        log_summary_get(p + f->start, i, &s);
        if (s.first != LOG_SUMMARY_COPIES) f->concerns |= 1u << s.replica_id;
    }
}

static bool keep_sector(void *ctx, const char *path, uint64_t sector)
{
    struct ending *e = ctx;
    bool keep = false;
    size_t at = e->at;
    switch (e->kind) {
    case NONE: keep = false; break;
    case EVERY: keep = true; break;
    case FIRST: keep = at < e->n; break;
    case LAST: keep = at >= e->n; break;
    case BUT_ONE: keep = at != e->n; break;
    case ONLY_ONE: keep = at == e->n; break;
    case RANDOM: keep = rng_chance(&e->rng, 2); break;
    }
    if (e->flying->any && strcmp(path, e->flying->path) == 0) e->kept[e->at++] = keep;
    return keep;
}

/* What must come out, told from what was kept of the batch. */
struct expected {
    bool whole; /* the batch counts */
    unsigned suspects;
};

static struct expected expect(struct fake_disk *before, const struct ending *e)
{
    const struct flying *f = e->flying;
    struct expected x = {0};
    uint64_t size;
    if (!f->any || (f->h.flags & LOG_BATCH_MARK)) return x;
    const uint8_t *p = fake_disk_bytes(before, f->path, &size);
    bool header = true, payload = true, trace = false;
    for (size_t i = 0; i < f->count; i++) {
        uint64_t offset = f->sectors[i] * LOG_SECTOR - f->start;
        bool zero = log_all_zero(p + f->start + offset, LOG_SECTOR);
        if (zero) continue; /* the same whether kept or not */
        if (e->kept[i]) trace = true;
        else if (offset < f->h.header_bytes) header = false;
        else payload = false;
    }
    x.whole = header && payload;
    if (!x.whole && header) x.suspects = f->concerns;
    if (!header && trace) x.suspects = ALL;
    return x;
}

/* The highest step whose state is durable at a position. */
static size_t step_at(const struct rig *g, uint64_t position)
{
    size_t n = 0;
    while (n < g->step_count && g->steps[n].position <= position) n++;
    return n;
}

static const char *check_state(struct rig *g, const struct rig *was, const struct expected *x, const struct flying *f,
                               bool opening)
{
    static const struct model empty;
    size_t lo = step_at(was, was->synced), hi = was->step_count;
    if (f->any && !opening) {
        uint64_t number = strtoull(f->path + sizeof DIR_NAME, NULL, 16);
        lo = hi = x->whole ? step_at(was, log_pos(number, f->start) + f->h.bytes) : lo;
    } else if (!opening) {
        hi = lo;
    }
    bool found = false;
    g->model = was->model; /* how far compaction may have gone */
    for (size_t n = lo; n <= hi && !found; n++) found = log_matches(g, n > 0 ? &was->steps[n - 1].after : &empty);
    if (!found) return "the state is none that it can be in";
    if (damaged(g) != 0) return "damage is reported where there was none";
    unsigned known = 1;
    for (uint64_t id = 1; id <= REPLICAS; id++)
        if (log_replica(g->log, id) != NULL) known |= 1u << id;
    if (!opening && suspects(g) != (x->suspects & known) && (suspects(g) & ~x->suspects)) return "a replica is suspected in vain";
    if (!opening && (x->suspects & known & ~suspects(g))) return "a replica that may have lost something is not suspected";
    return NULL;
}

/* After the recovery the log works, keeps its suspicions until they are cleared, and then is clean. */
static const char *check_after(struct rig *g)
{
    unsigned before = suspects(g);
    uint64_t boot = log_boot_count(g->log);
    rig_reopen(g);
    if (suspects(g) != before) return "suspicion does not last";
    if (log_boot_count(g->log) <= boot) return "the boot count did not rise";
    if (damaged(g) != 0) return "damage is reported later";
    for (uint64_t id = 0; id <= REPLICAS; id++) log_clear_suspect(g->log, id);
    struct entry *e = entry_make(6, 1, 1, 2000);
    log_append(g->log, 6, &e, 1);
    entry_unref(e);
    fake_run(g->fake);
    if (g->synced < log_position(g->log)) return "appending does not go on";
    rig_reopen(g);
    if (suspects(g) != 0) return "suspicion comes back";
    if (log_replica(g->log, 6) == NULL || log_replica(g->log, 6)->last_index != 1) return "what was appended later is gone";
    return NULL;
}

struct sweep {
    uint64_t runs, problems, torn, whole, all;
    const char *first;
    bool quiet;
};

static void problem(struct sweep *s, const char *text, uint64_t seed, uint64_t op, const struct ending *e, uint64_t names)
{
    if (s->problems++ == 0) s->first = text;
    if (!s->quiet && s->problems < 10)
        print_message("seed %lu op %lu ending %d %zu names %lu: %s\n", seed, op, (int)e->kind, e->n, names, text);
}

static void one_ending(struct sweep *s, const struct rig *was, struct fake_disk *disk, const struct flying *f, bool opening,
                       struct ending e, uint64_t names, uint64_t seed, uint64_t op)
{
    struct fake_disk *d = fake_disk_clone(disk);
    e.flying = f;
    rng_init(&e.rng, seed * 1000 + op + e.n);
    fake_disk_crash(d, keep_sector, &e, names);
    struct expected x = expect(disk, &e);
    struct rig g;
    struct error err = {0};
    rig_init(&g, d);
    g.limits = was->limits;
    s->runs++;
    if (x.whole) s->whole++;
    else if (x.suspects == ALL) s->all++;
    else if (x.suspects != 0) s->torn++;
    if (rig_try_open(&g, &err) != ST_OK) {
        problem(s, "it can't be opened", seed, op, &e, names);
    } else {
        const char *text = check_state(&g, was, &x, f, opening);
        if (text == NULL && s->runs % 4 == 0) text = check_after(&g);
        if (text != NULL) problem(s, text, seed, op, &e, names);
    }
    rig_deinit(&g);
}

static void all_endings(struct sweep *s, const struct rig *was, struct fake_disk *disk, bool opening, uint64_t seed, uint64_t op)
{
    struct flying f;
    find_flying(disk, &f);
    uint64_t names = fake_disk_names_in_doubt(disk);
    for (uint64_t k = 0; k <= names; k++) {
        one_ending(s, was, disk, &f, opening, (struct ending){.kind = NONE}, k, seed, op);
        one_ending(s, was, disk, &f, opening, (struct ending){.kind = EVERY}, k, seed, op);
    }
    size_t stride = f.count > 12 ? f.count / 6 : 1;
    for (size_t n = 0; n < f.count; n += n < 3 ? 1 : stride) {
        one_ending(s, was, disk, &f, opening, (struct ending){.kind = FIRST, .n = n + 1}, names, seed, op);
        one_ending(s, was, disk, &f, opening, (struct ending){.kind = LAST, .n = n + 1}, names, seed, op);
        one_ending(s, was, disk, &f, opening, (struct ending){.kind = BUT_ONE, .n = n}, names, seed, op);
        one_ending(s, was, disk, &f, opening, (struct ending){.kind = ONLY_ONE, .n = n}, names, seed, op);
    }
    for (size_t n = 0; f.count > 1 && n < 4; n++)
        one_ending(s, was, disk, &f, opening, (struct ending){.kind = RANDOM, .n = n}, names, seed, op);
}

static struct log_limits tiny_limits(void)
{
    return (struct log_limits){.segment_bytes = 64 << 10, .first_segment_bytes = 32 << 10, .bytes_max = 192 << 10,
                               .batch_bytes_max = 16 << 10, .reserve_bytes = 1 << 20};
}

static void workload(struct rig *g, uint64_t seed, int steps)
{
    struct rng rng;
    rng_init(&rng, seed);
    g->single = true;
    for (int i = 0; i < steps && g->failures == 0; i++) {
        rig_random(g, &rng);
        if (rng_chance(&rng, 2)) fake_run(g->fake);
        else if (rng_chance(&rng, 3)) fake_tasks(g->fake);
        if (rng_chance(&rng, 10)) fake_advance(g->fake, 30 * NS_PER_MS); /* marks */
        if (rng_chance(&rng, 10)) fake_writeback(g->fake);
    }
    fake_run(g->fake);
}

/* One run of the workload with the power cut before operation `op`, then every ending. False: the run ended before. */
static bool run_to(struct sweep *s, uint64_t seed, int steps, uint64_t op)
{
    struct rig g;
    struct error err = {0};
    rig_init(&g, NULL);
    g.limits = tiny_limits();
    fake_power_off_at(g.fake, op);
    bool opened = rig_try_open(&g, &err) == ST_OK;
    if (opened) workload(&g, seed, steps);
    bool reached = !opened || fake_ops(g.fake) >= op;
    if (g.log != NULL) rig_close(&g);
    struct fake_disk *disk = fake_take_disk(g.fake);
    if (reached) all_endings(s, &g, disk, !opened || planted, seed, op);
    fake_disk_free(disk);
    rig_deinit(&g);
    return reached;
}

static struct sweep sweep_all(uint64_t seeds, int steps, uint64_t stride, bool quiet)
{
    struct sweep s = {.quiet = quiet};
    for (uint64_t seed = 1; seed <= seeds; seed++)
        for (uint64_t op = seed % stride; run_to(&s, seed, steps, op); op += stride) continue;
    return s;
}

static void test_power_loss(void **state)
{
    struct sweep s = sweep_all(3, 150, 1, false);
    print_message("runs %lu, whole %lu, torn %lu, header gone %lu\n", s.runs, s.whole, s.torn, s.all);
    assert_int_equal(s.problems, 0);
    assert_true(s.torn > 100 && s.all > 100 && s.whole > 100); /* the sweep does reach what it is for */
}

/* kill -9: the page cache stays. All that was written is there. */
static void test_kill(void **state)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct rig g, after;
        rig_init(&g, NULL);
        g.limits = tiny_limits();
        rig_open(&g);
        fake_power_off_at(g.fake, 10 + seed * 7);
        workload(&g, seed, 200);
        rig_close(&g);
        struct fake_disk *disk = fake_take_disk(g.fake);
        struct flying f;
        find_flying(disk, &f);
        rig_init(&after, disk);
        after.limits = g.limits;
        rig_open(&after);
        struct expected x = {.whole = f.any && !(f.h.flags & LOG_BATCH_MARK)};
        const char *text = check_state(&after, &g, &x, &f, false);
        assert_null(text);
        assert_int_equal(suspects(&after), 0);
        /* and what was only in the cache is durable now */
        rig_close(&after);
        struct fake_disk *again = fake_take_disk(after.fake);
        fake_disk_crash(again, NULL, NULL, 0);
        rig_deinit(&after);
        rig_init(&after, again);
        after.limits = g.limits;
        rig_open(&after);
        text = check_state(&after, &g, &x, &f, false);
        assert_null(text);
        rig_deinit(&after);
        rig_deinit(&g);
    }
}

/* The power is lost again while the log is being opened, again and again: nothing more is lost, no suspicion either. */
static void test_power_loss_while_opening(void **state)
{
    struct sweep s = {0};
    uint64_t checked = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct rig g;
        rig_init(&g, NULL);
        g.limits = tiny_limits();
        rig_open(&g);
        fake_power_off_at(g.fake, 20 + seed * 9);
        workload(&g, seed, 200);
        rig_close(&g);
        struct fake_disk *disk = fake_take_disk(g.fake);
        struct flying f;
        find_flying(disk, &f);
        struct ending e = {.kind = f.count > 1 ? (seed % 2 ? FIRST : LAST) : NONE, .n = 1, .flying = &f};
        fake_disk_crash(disk, keep_sector, &e, fake_disk_names_in_doubt(disk));
        struct expected x = {0};
        if (f.any && !(f.h.flags & LOG_BATCH_MARK)) x.suspects = e.kept[0] ? f.concerns : ALL;
        for (uint64_t op = 0, more = true; more && op < 40; op++) {
            for (int kind = NONE; kind <= RANDOM; kind++) {
                struct rig h;
                struct error err = {0};
                rig_init(&h, fake_disk_clone(disk));
                h.limits = g.limits;
                fake_power_off_at(h.fake, op);
                bool opened = rig_try_open(&h, &err) == ST_OK;
                if (h.log != NULL) rig_close(&h);
                struct fake_disk *d = fake_take_disk(h.fake);
                struct flying none = {0};
                struct ending second = {.kind = kind, .n = seed % 5, .flying = &none};
                rng_init(&second.rng, seed + op);
                fake_disk_crash(d, keep_sector, &second, kind == NONE ? 0 : UINT64_MAX);
                rig_deinit(&h);
                rig_init(&h, d);
                h.limits = g.limits;
                if (rig_try_open(&h, &err) != ST_OK) {
                    problem(&s, "it can't be opened", seed, op, &second, 0);
                } else {
                    h.model = g.model;
                    size_t n = step_at(&g, g.synced);
                    static const struct model empty;
                    bool found = log_matches(&h, n > 0 ? &g.steps[n - 1].after : &empty);
                    if (!found && f.any) /* the batch may be whole after all */
                        found = log_matches(&h, &g.steps[step_at(&g, log_pos(strtoull(f.path + sizeof DIR_NAME, NULL, 16),
                                                                           f.start) + f.h.bytes) - 1].after);
                    unsigned known = 1;
                    for (uint64_t id = 1; id <= REPLICAS; id++)
                        if (log_replica(h.log, id) != NULL) known |= 1u << id;
                    if (!found) problem(&s, "the state is none that it can be in", seed, op, &second, 0);
                    if (x.suspects & known & ~suspects(&h)) problem(&s, "a suspicion was lost", seed, op, &second, 0);
                    if (damaged(&h)) problem(&s, "damage is reported where there was none", seed, op, &second, 0);
                    const char *text = check_after(&h);
                    if (text != NULL) problem(&s, text, seed, op, &second, 0);
                    checked++;
                }
                rig_deinit(&h);
                more = !opened;
            }
        }
        fake_disk_free(disk);
        rig_deinit(&g);
    }
    assert_int_equal(s.problems, 0);
    assert_true(checked > 200);
}

#ifdef CAIRN_MUTATIONS
/* The planted bugs that lose what was acknowledged must be seen by the sweep. */
static void test_mutations(void **state)
{
    static const char *const names[] = {"reply_before_fsync", "skip_dir_sync"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        mutation_set(names[i]);
        planted = true;
        struct sweep s = sweep_all(1, 150, 7, true);
        mutation_set(NULL);
        planted = false;
        print_message("%s: %lu problems in %lu runs, the first: %s\n", names[i], s.problems, s.runs,
                      s.first != NULL ? s.first : "-");
        assert_true(s.problems > 0);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_loss),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_power_loss_while_opening),
#ifdef CAIRN_MUTATIONS
        cmocka_unit_test(test_mutations),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
