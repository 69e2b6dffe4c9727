/* log_damage_test.c - what was durable goes bad on disk: it is noticed, blamed on the right replicas, and never taken.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mutation.h"
#include "store/log_test_util.h"

enum { SEGMENTS_MAX = 16, ALL = (1 << (REPLICAS + 1)) - 1 };

static struct log_limits tiny_limits(void)
{
    return (struct log_limits){.segment_bytes = 64 << 10, .first_segment_bytes = 32 << 10, .bytes_max = 1 << 20,
                               .batch_bytes_max = 16 << 10, .reserve_bytes = 1 << 20};
}

/* A log over several segments, everything in it synced; closed, so that a mark says so. */
static struct fake_disk *make_disk(struct rig *g, uint64_t seed, int steps)
{
    struct rng rng;
    rng_init(&rng, seed);
    rig_init(g, NULL);
    g->limits = tiny_limits();
    rig_open(g);
    for (uint64_t id = 1; id <= REPLICAS; id++) {
        rig_vote(g, id, 1, id);
        rig_append(g, id, 1, 3, 1, 60);
    }
    fake_run(g->fake);
    for (int i = 0; i < steps; i++) {
        rig_random(g, &rng);
        if (rng_chance(&rng, 2)) fake_run(g->fake);
    }
    fake_run(g->fake);
    rig_close(g);
    return fake_take_disk(g->fake);
}

static size_t list_segments(const struct fake_disk *d, const char *paths[SEGMENTS_MAX])
{
    size_t n = 0, at = 0;
    for (const char *path; fake_disk_each(d, &at, &path);) {
        assert_true(n < SEGMENTS_MAX);
        size_t i = n++;
        for (; i > 0 && strcmp(paths[i - 1], path) > 0; i--) paths[i] = paths[i - 1];
        paths[i] = path;
    }
    return n;
}

/* What a byte of a segment is. */
enum what { SEGMENT_HEADER, BATCH_HEADER, RECORD_HEADER, RECORD_DATA, PADDING, MARK, UNUSED };

struct place {
    enum what what;
    unsigned replica; /* of a record; 0: the store's */
    unsigned batch;   /* bits of the replicas that the batch concerns */
    bool first_batch;
};

static struct place place_of(const uint8_t *seg, uint64_t size, uint64_t offset)
{
    struct place p = {.what = UNUSED};
    if (offset < LOG_PAGE) {
        p.what = offset < LOG_SEGMENT_HEADER ? SEGMENT_HEADER : PADDING;
        return p;
    }
    struct log_batch_header h;
    for (uint64_t at = LOG_PAGE; at < size && log_batch_header_peek(seg + at, &h); at += h.bytes) {
        if (offset >= at + h.bytes) continue;
        p.batch = 0;
        for (uint32_t i = 0; i < h.summary_count; i++) {
            struct log_summary s;
            log_summary_get(seg + at, i, &s);
            p.batch |= 1u << s.replica_id;
        }
        p.what = h.flags & LOG_BATCH_MARK ? MARK : BATCH_HEADER;
        if (offset < at + h.header_bytes || p.what == MARK) return p;
        uint64_t end = at + h.header_bytes + h.payload_bytes;
        p.what = PADDING;
        for (uint64_t r = at + h.header_bytes; r < end;) {
            uint64_t n = log_record_size(get_u32(seg + r + 8));
            if (offset >= r && offset < r + n) {
                p.what = offset < r + LOG_RECORD ? RECORD_HEADER : RECORD_DATA;
                p.replica = (unsigned)get_u64(seg + r + 16);
            }
            r += n;
        }
        return p;
    }
    return p;
}

/* at_end: nothing is readable behind the damage, so that it may as well be a torn batch.
 * Every entry that the log gives is one that was appended at that place once; what is not all there is not trusted. */
static const char *check(struct rig *g, const struct model *m, bool at_end)
{
    unsigned bad = suspects(g), worse = damaged(g);
    for (uint64_t id = 1; id <= REPLICAS; id++) {
        const struct log_replica *v = log_replica(g->log, id);
        const struct model_replica *r = &m->r[id];
        if (v == NULL) {
            if (r->exists && !(bad & 1)) return "a replica vanished, and nothing is said";
            continue;
        }
        g->model = *m;
        bool same = replica_matches(g, id, r);
        if (!same && !(bad & 1u << id)) return "a replica lost something and is trusted";
        if (!same && !at_end && !(worse & 1u << id)) return "a replica is damaged and is only suspect";
        for (uint64_t i = v->base_index + 1; i <= v->last_index; i++) {
            struct log_read q = {.replica_id = id, .lo = i, .hi = i + 1, .bytes_max = 64 << 10};
            struct error err = {0};
            if (log_read_now(g->log, &q, &err) != ST_OK) return "an entry that the log says it has can't be read";
            const struct entry *e = q.entries[0];
            bool right = entry_is(e, id, i, e->term, e->size) && e->term <= v->term;
            log_read_release(&q);
            if (!right) return "an entry was made up";
        }
    }
    return NULL;
}

struct count {
    uint64_t runs, problems, noticed;
    const char *first;
    bool quiet;
};

static void say(struct count *c, const char *text, const char *path, uint64_t offset, int how)
{
    if (text == NULL) return;
    if (c->problems++ == 0) c->first = text;
    if (!c->quiet && c->problems < 12) print_message("%s at %lu (%d): %s\n", path, offset, how, text);
}

/* Opens the damaged disk (which passes to it) and checks; persistent: also that the verdict lasts, and can be cleared. */
static unsigned try_disk(struct count *c, struct rig *was, struct fake_disk *d, const char *path, uint64_t offset, int how,
                         bool persistent, bool at_end)
{
    struct rig g;
    struct error err = {0};
    rig_init(&g, d);
    g.limits = was->limits;
    c->runs++;
    unsigned bad = 0;
    if (rig_try_open(&g, &err) != ST_OK) {
        say(c, "it can't be opened", path, offset, how);
    } else {
        struct log_stats stats;
        log_stats(g.log, &stats);
        bad = suspects(&g);
        say(c, check(&g, &was->model, at_end), path, offset, how);
        if (bad != 0 && stats.records_damaged + stats.batches_torn == 0) say(c, "suspects without damage", path, offset, how);
        if (stats.records_damaged + stats.batches_torn != 0) c->noticed++;
        if (persistent) {
            rig_reopen(&g);
            if (suspects(&g) != bad) say(c, "the verdict does not last", path, offset, how);
            say(c, check(&g, &was->model, at_end), path, offset, how);
            for (uint64_t id = 0; id <= REPLICAS; id++) log_clear_suspect(g.log, id);
            fake_run(g.fake);
            rig_reopen(&g);
            if (suspects(&g) != 0) say(c, "damage that was dealt with is held against a replica again", path, offset, how);
        }
    }
    rig_deinit(&g);
    return bad;
}

static void flip_bytes(struct count *c, struct rig *was, struct fake_disk *disk, const char *path, uint64_t stride)
{
    uint64_t size, done = 0;
    const uint8_t *seg = fake_disk_bytes(disk, path, &size);
    for (uint64_t offset = 0; offset < size; offset++) {
        struct place p = place_of(seg, size, offset);
        bool header = p.what == SEGMENT_HEADER || p.what == BATCH_HEADER || p.what == RECORD_HEADER;
        if (p.what == UNUSED) break;
        uint64_t every = p.what == PADDING ? stride * 40 : header ? stride : stride * 5;
        if (offset % every != every / 2) continue;
        struct fake_disk *d = fake_disk_clone(disk);
        uint64_t n;
        fake_disk_bytes(d, path, &n)[offset] ^= (uint8_t)(1u << offset % 8);
        uint64_t noticed = c->noticed;
        unsigned bad = try_disk(c, was, d, path, offset, p.what, done++ % 16 == 0, false);
        if (c->noticed == noticed && p.what != PADDING && p.what != MARK) say(c, "it was not noticed", path, offset, p.what);
        if (p.what == RECORD_DATA && bad != 1u << p.replica && bad != 0) say(c, "the wrong ones are blamed", path, offset, p.what);
        if (p.what == RECORD_HEADER && (bad & ~p.batch)) say(c, "others than the batch's are blamed", path, offset, p.what);
        if ((p.what == SEGMENT_HEADER || p.what == PADDING) && bad != 0) say(c, "blame for nothing", path, offset, p.what);
    }
}

static struct count flip_all(uint64_t seeds, uint64_t stride, bool quiet)
{
    struct count c = {.quiet = quiet};
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct rig g;
        struct fake_disk *disk = make_disk(&g, seed, 60);
        const char *paths[SEGMENTS_MAX];
        size_t n = list_segments(disk, paths);
        assert_true(n >= 3);
        for (size_t i = 0; i < n; i++) flip_bytes(&c, &g, disk, paths[i], stride);
        fake_disk_free(disk);
        rig_deinit(&g);
    }
    return c;
}

static void test_flipped_bytes(void **state)
{
    struct count c = flip_all(2, 7, false);
    print_message("%lu bytes, %lu noticed\n", c.runs, c.noticed);
    assert_int_equal(c.problems, 0);
    assert_true(c.runs > 1000);
}

/* Every byte of the segment header, of the first and of the last batch. */
static void test_each_byte(void **state)
{
    struct rig g;
    struct count c = {0};
    struct fake_disk *disk = make_disk(&g, 3, 0);
    flip_bytes(&c, &g, disk, DIR_NAME "/0000000000000001.seg", 1);
    assert_int_equal(c.problems, 0);
    assert_true(c.runs > 1500);
    fake_disk_free(disk);
    rig_deinit(&g);
}

/* Whole sectors: garbage, zeros, or the disk refuses to read them. */
static void test_sectors(void **state)
{
    struct count c = {0};
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct rig g;
        struct fake_disk *disk = make_disk(&g, seed, 60);
        const char *paths[SEGMENTS_MAX];
        size_t n = list_segments(disk, paths);
        for (size_t i = 0; i < n; i++) {
            uint64_t size;
            const uint8_t *seg = fake_disk_bytes(disk, paths[i], &size);
            for (uint64_t at = 0; at < size; at += LOG_SECTOR) {
                if (log_all_zero(seg + at, LOG_SECTOR)) continue;
                for (int how = 0; how < 3; how++) {
                    struct fake_disk *d = fake_disk_clone(disk);
                    uint8_t *p = fake_disk_bytes(d, paths[i], &size) + at;
                    if (how == 0) memset(p, 0xa5, LOG_SECTOR);
                    else if (how == 1) memset(p, 0, LOG_SECTOR);
                    else fake_disk_unreadable(d, paths[i], at / LOG_SECTOR);
                    struct place place = place_of(seg, size, at);
                    uint64_t noticed = c.noticed;
                    try_disk(&c, &g, d, paths[i], at, how, how == 0 && at % 4096 == 0, false);
                    if (c.noticed == noticed && place.what != MARK && place.what != PADDING)
                        say(&c, "it was not noticed", paths[i], at, how);
                }
            }
        }
        fake_disk_free(disk);
        rig_deinit(&g);
    }
    print_message("%lu sectors, %lu noticed\n", c.runs, c.noticed);
    assert_int_equal(c.problems, 0);
}

/* Runs of batches whose headers are all gone. */
static void test_regions(void **state)
{
    struct count c = {0};
    struct rig g;
    struct fake_disk *disk = make_disk(&g, 5, 80);
    const char *paths[SEGMENTS_MAX];
    size_t n = list_segments(disk, paths), last = n;
    for (size_t i = 0; i < n; i++) {
        uint64_t size;
        if (!log_all_zero(fake_disk_bytes(disk, paths[i], &size) + LOG_PAGE, LOG_PAGE)) last = i;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t size;
        fake_disk_bytes(disk, paths[i], &size);
        for (uint64_t from = 0; from < size; from += 2 * LOG_PAGE)
            for (uint64_t pages = 2; pages <= 8; pages *= 2)
                for (int how = 0; how < 2; how++) {
                    struct fake_disk *d = fake_disk_clone(disk);
                    uint8_t *p = fake_disk_bytes(d, paths[i], &size);
                    uint64_t end = MIN(size, from + pages * LOG_PAGE);
                    bool at_end = i >= last && log_all_zero(p + end, (size_t)(size - end));
                    if (log_all_zero(p + from, (size_t)(end - from))) {
                        fake_disk_free(d);
                        continue;
                    }
                    if (how == 1 && at_end) {
                        fake_disk_free(d); /* the end of the log, mark and all, as if never written: nothing can tell */
                        continue;
                    }
                    memset(p + from, how == 0 ? 0x5a : 0, (size_t)(end - from));
                    try_disk(&c, &g, d, paths[i], from, how, pages == 4, at_end);
                }
    }
    assert_int_equal(c.problems, 0);
    fake_disk_free(disk);
    rig_deinit(&g);
}

/* A file of the log is gone. The last one in use is missed because one was made ahead. */
static void test_missing_files(void **state)
{
    struct count c = {0};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct rig g;
        struct fake_disk *disk = make_disk(&g, seed, 80);
        const char *paths[SEGMENTS_MAX];
        size_t n = list_segments(disk, paths);
        assert_true(n >= 3);
        for (size_t i = 0; i < n; i++) {
            uint64_t size;
            const uint8_t *seg = fake_disk_bytes(disk, paths[i], &size);
            bool used = !log_all_zero(seg + LOG_PAGE, LOG_PAGE);
            if (used && i + 1 == n) continue; /* nothing is behind it */
            struct fake_disk *d = fake_disk_clone(disk);
            fake_disk_remove(d, paths[i]);
            unsigned bad = try_disk(&c, &g, d, paths[i], 0, 9, true, false);
            if (used) assert_true(bad & 1); /* replicas that only it knew may be gone */
            else assert_int_equal(bad, 0);
        }
        fake_disk_free(disk);
        rig_deinit(&g);
    }
    assert_int_equal(c.problems, 0);
}

/* Without a mark the last batch may have been torn: suspect, not damaged. With it, it is damage. */
static void test_mark_tells(void **state)
{
    for (int marked = 0; marked < 2; marked++) {
        struct rig g, h;
        struct fake_disk *disk = make_disk(&g, 1, 0);
        uint64_t size, last = 0, mark = 0;
        uint8_t *p = fake_disk_bytes(disk, DIR_NAME "/0000000000000001.seg", &size);
        struct log_batch_header hdr;
        for (uint64_t at = LOG_PAGE; at < size && log_batch_header_peek(p + at, &hdr); at += hdr.bytes) {
            if (hdr.flags & LOG_BATCH_MARK) mark = at;
            else last = at;
        }
        assert_true(mark > last);
        if (!marked) memset(p + mark, 0, LOG_PAGE);
        p[last + LOG_SECTOR + LOG_RECORD + 3] ^= 1; /* in the data of its first record */
        rig_init(&h, disk);
        h.limits = g.limits;
        rig_open(&h);
        assert_true(suspects(&h) != 0);
        if (marked) assert_int_equal(damaged(&h), suspects(&h));
        else assert_int_equal(damaged(&h), 0);
        struct log_stats stats;
        log_stats(h.log, &stats);
        assert_int_equal(stats.batches_torn, marked ? 0 : 1);
        assert_true(log_boot_count(h.log) == 2);
        rig_deinit(&h);
        rig_deinit(&g);
    }
}

/* An old segment's bytes under a new number, or another store's: nothing of them is valid. */
static void test_old_bytes(void **state)
{
    struct rig g, h;
    struct fake_disk *disk = make_disk(&g, 2, 60);
    uint64_t a_size, b_size;
    uint8_t *a = fake_disk_bytes(disk, DIR_NAME "/0000000000000001.seg", &a_size);
    uint8_t *b = fake_disk_bytes(disk, DIR_NAME "/0000000000000002.seg", &b_size);
    memcpy(b + LOG_PAGE, a + LOG_PAGE, (size_t)MIN(a_size, b_size) - LOG_PAGE);
    rig_init(&h, disk);
    h.limits = g.limits;
    rig_open(&h);
    struct count c = {0};
    say(&c, check(&h, &g.model, false), "copy", 0, 0);
    assert_int_equal(c.problems, 0);
    assert_true(damaged(&h) & 1);
    rig_deinit(&h);
    rig_deinit(&g);
}

/* An entry that is needed goes bad while the log runs: reads say so, and reclaiming keeps its segment. */
static void test_damage_while_running(void **state)
{
    struct rig g;
    rig_init(&g, NULL);
    g.limits = tiny_limits();
    g.limits.bytes_max = 160 << 10;
    rig_open(&g);
    rig_append(&g, 1, 1, 5, 1, 500);
    fake_run(g.fake);
    uint64_t size;
    uint8_t *p = fake_disk_bytes(fake_disk(g.fake), DIR_NAME "/0000000000000001.seg", &size);
    uint64_t at = LOG_PAGE;
    struct log_batch_header h;
    while (log_batch_header_peek(p + at, &h) && h.records < 5) at += h.bytes;
    p[at + h.header_bytes + 2 * log_record_size(LOG_STATE) + 300] ^= 4;
    struct log_read q = {.replica_id = 1, .lo = 1, .hi = 6, .bytes_max = 1 << 20};
    struct error err = {0};
    assert_int_equal(log_read_now(g.log, &q, &err), ST_CORRUPT);
    for (uint64_t i = 0; i < 120; i++) {
        rig_append(&g, 2, 1 + i, 1, 1, 3000);
        fake_run(g.fake);
        rig_compact(&g, 2, 1 + i);
    }
    struct log_stats stats;
    log_stats(g.log, &stats);
    assert_true(stats.records_damaged > 0);
    assert_int_equal(g.failures, 0);
    rig_reopen(&g);
    assert_true(damaged(&g) & 2); /* it comes back as what it is */
    assert_false(damaged(&g) & 4);
    rig_deinit(&g);
}

#ifdef CAIRN_MUTATIONS
static void test_mutations(void **state)
{
    mutation_set("truncate_damage_silently");
    struct count c = flip_all(1, 97, true);
    mutation_set(NULL);
    print_message("truncate_damage_silently: %lu problems in %lu runs, the first: %s\n", c.problems, c.runs,
                  c.first != NULL ? c.first : "-");
    assert_true(c.problems > 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_each_byte),
        cmocka_unit_test(test_sectors),
        cmocka_unit_test(test_regions),
        cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_mark_tells),
        cmocka_unit_test(test_old_bytes),
        cmocka_unit_test(test_damage_while_running),
#ifdef CAIRN_MUTATIONS
        cmocka_unit_test(test_mutations),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
