/* log_recover.c - reads the log when it is opened: what it holds, where it ends, and what is missing.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Segments are walked in order. A place where a batch should begin and no whole batch is, is `pending` until something
 * later speaks: a valid header behind it that says it was synced past that place makes it damage (its good records are
 * kept, the replicas of the others are marked); one that says it was not shows that an earlier opening cut it; nothing
 * behind it makes it a torn last batch, and the log ends before it.
 *
 * Entries come in any order (a copy made by reclaiming stands behind its successors), so each replica gathers slots,
 * and at the end those count that form a chain: every entry names the term of the one before it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "store/log_internal.h"

struct slot {
    uint64_t pos; /* 0: missing */
    uint64_t term, prev_term;
    uint32_t size;
};

/* A replica as found so far. */
struct found {
    uint64_t id;
    struct log_state s; /* last_index, last_term: what the latest batch or record about it claims */
    bool has_state;     /* a LOG_REPLICA record was seen */
    bool has_claim;
    bool term_claimed; /* last_term counts: no entry came after the record that said so */
    uint64_t top_term; /* of all entries seen */
    struct slot *slots;
    uint64_t first; /* index of slots[0] */
    size_t count, cap;
    uint64_t state_segment;
};

struct recover {
    uint64_t synced; /* the highest position that a valid header calls synced */
    struct log *l;
    struct map found;
    struct found unknown;   /* replica 0 */
    uint64_t slots_max;     /* no replica can have more entries: they would not fit into the files */
    uint64_t end;           /* the log reaches at least to here; 0: not known yet */
    uint64_t boot;          /* highest seen */
    uint64_t last_used;     /* the last segment with anything in it */
    uint64_t first_segment; /* as the last batch says */
    uint64_t tail_bytes;    /* how far the end is looked behind */
    bool pending;
    uint64_t pending_pos;
    bool pending_region; /* bytes without a valid header */
    bool pending_batch;  /* a batch with a valid header, in pending_bytes */
    struct log_batch_header pending_header;
    struct buf pending_bytes;   /* as much of the batch as the file has */
    bool pending_more;          /* … and no zeros behind it: it was not the last one */
    uint64_t pending_used;      /* pages that are not zero in the region */
    uint32_t seed, record_seed; /* of the segment under way */
    uint32_t pending_record_seed;
};

/* ---- replicas ---- */

static struct found *found_get(struct recover *rc, uint64_t id)
{
    if (id == 0) return &rc->unknown;
    struct found *f = map_get(&rc->found, id);
    if (f != NULL) return f;
    f = mem_zalloc(sizeof *f);
    f->id = id;
    map_set(&rc->found, id, f);
    return f;
}

static void found_free(struct recover *rc, struct found *f)
{
    map_remove(&rc->found, f->id);
    mem_free(f->slots);
    mem_free(f);
}

static void mark_damaged(struct found *f)
{
    if (MUTATION("truncate_damage_silently")) return;
    f->s.suspect = f->s.damaged = true;
}

/* The first damage is kept for whoever has to explain it to people. */
static void note_damage(struct log *l, uint64_t segment, uint64_t offset, const char *what)
{
    char path[LOG_PATH_MAX];
    if (l->damage[0] != 0) return;
    log_segment_path("", segment, false, path);
    snprintf(l->damage, sizeof l->damage, "file log%.40s, offset %" PRIu64 ": %s", path, offset, what);
}

/* Records are gone and nothing says whose. */
static void mark_all(struct recover *rc, bool damaged)
{
    uint64_t id;
    void *f;
    if (MUTATION("truncate_damage_silently")) return;
    for (size_t i = 0; map_each(&rc->found, &i, &id, &f);) {
        ((struct found *)f)->s.suspect = true;
        if (damaged) ((struct found *)f)->s.damaged = true;
    }
    rc->unknown.s.suspect = true;
    if (damaged) rc->unknown.s.damaged = true;
}

static void slots_cut(struct found *f, uint64_t from)
{
    if (from < f->first) from = f->first;
    if (from - f->first < f->count) f->count = (size_t)(from - f->first);
}

static void slots_drop(struct found *f, uint64_t up_to)
{
    if (f->count == 0 || up_to < f->first) return;
    size_t n = (size_t)MIN(up_to - f->first + 1, (uint64_t)f->count);
    memmove(f->slots, f->slots + n, (f->count - n) * sizeof *f->slots);
    f->count -= n;
    f->first += n;
}

/* Makes the slot exist, with missing ones between it and the others. NULL: too far away to be true. */
static struct slot *slot_at(struct recover *rc, struct found *f, uint64_t index)
{
    if (f->count == 0) f->first = index;
    uint64_t first = MIN(f->first, index), end = MAX(f->first + f->count, index + 1);
    if (end - first > rc->slots_max) return NULL;
    size_t count = (size_t)(end - first), before = (size_t)(f->first - first);
    if (count > f->cap) {
        f->cap = MAX(count, f->cap * 2);
        f->slots = mem_realloc(f->slots, f->cap * sizeof *f->slots);
    }
    if (before != 0) {
        memmove(f->slots + before, f->slots, f->count * sizeof *f->slots);
        memset(f->slots, 0, before * sizeof *f->slots);
        f->count += before;
        f->first = first;
    }
    if (count > f->count) memset(f->slots + f->count, 0, (count - f->count) * sizeof *f->slots);
    f->count = count;
    return &f->slots[index - first];
}

static void on_entry(struct recover *rc, struct found *f, const struct log_record *r, uint64_t pos, bool whole)
{
    if (!(r->flags & LOG_RECORD_COPY)) slots_cut(f, r->index);
    f->top_term = MAX(f->top_term, r->term);
    if (!(r->flags & LOG_RECORD_COPY)) f->term_claimed = false;
    struct slot *s = r->index != 0 ? slot_at(rc, f, r->index) : NULL;
    if (s == NULL) {
        mark_damaged(f);
        return;
    }
    *s = (struct slot){.pos = whole ? pos : 0,
                       .term = r->term,
                       .prev_term = r->prev_term,
                       .size = (uint32_t)log_record_size(r->data.n)};
}

static void on_state(struct found *f, const struct log_record *r, uint64_t pos)
{
    struct log_state s;
    if (!log_state_get(r->data, &s)) {
        mark_damaged(f);
        return;
    }
    f->s = s;
    f->has_state = f->has_claim = f->term_claimed = true;
    f->state_segment = log_pos_segment(pos);
    slots_drop(f, s.base_index);
    slots_cut(f, s.last_index + 1);
}

static void base_set(struct found *f, uint64_t index, uint64_t term)
{
    if (index < f->s.base_index) return;
    f->s.base_index = index;
    f->s.base_term = term;
    if (f->s.last_index < index) f->s.last_index = index;
    slots_drop(f, index);
}

static void on_reset(struct found *f, const struct log_record *r)
{
    f->count = 0;
    f->s.base_index = f->s.last_index = r->index;
    f->s.base_term = r->term;
    f->top_term = MAX(f->top_term, r->term);
    f->term_claimed = false;
}

/* A record whose header is right. whole: so is its data. */
static void on_record(struct recover *rc, const struct log_record *r, uint64_t pos, bool whole)
{
    if (r->type == LOG_BOUND) {
        if (r->ts > rc->l->bound) rc->l->bound = r->ts;
        return;
    }
    struct found *f = found_get(rc, r->replica_id);
    if (!whole) mark_damaged(f);
    switch (r->type) {
    case LOG_ENTRY: on_entry(rc, f, r, pos, whole); break;
    case LOG_VOTE:
        f->s.term = r->term;
        f->s.vote = r->index;
        break;
    case LOG_RESET: on_reset(f, r); break;
    case LOG_COMPACT: base_set(f, r->index, r->term); break;
    case LOG_REPLICA:
        if (whole) on_state(f, r, pos);
        break;
    case LOG_TRUSTED: f->s.suspect = f->s.damaged = false; break;
    case LOG_DROP:
        if (f->id != 0) found_free(rc, f);
        break;
    default: mark_damaged(f); break; /* a type of a later version would have raised the version */
    }
}

/* ---- batches ---- */

static void see_header(struct recover *rc, const struct log_batch_header *h)
{
    rc->boot = MAX(rc->boot, h->boot);
    rc->l->bound = MAX(rc->l->bound, h->bound);
}

/* The summary says where each replica stood after the batch. */
static void claims(struct recover *rc, const struct log_batch_header *h, const uint8_t *batch)
{
    for (uint32_t i = 0; i < h->summary_count; i++) {
        struct log_summary s;
        log_summary_get(batch, i, &s);
        struct found *f = s.replica_id != 0 ? map_get(&rc->found, s.replica_id) : NULL;
        if (f == NULL) continue; /* dropped in it */
        if (f->s.last_index != s.last) f->term_claimed = false;
        f->s.last_index = s.last;
        f->has_claim = true;
    }
}

static void apply_batch(struct recover *rc, const struct log_batch_header *h, const uint8_t *batch)
{
    struct log_record r;
    for (uint32_t at = h->header_bytes, end = at + h->payload_bytes; at < end;) {
        enum log_check check = log_record_decode(batch + at, end - at, rc->record_seed, &r);
        ASSERT(check == LOG_VALID);
        on_record(rc, &r, h->position + at, true);
        at += (uint32_t)log_record_size(r.data.n);
    }
    claims(rc, h, batch);
}

/* Whose records of a damaged batch are gone can't be told: all that it concerns are marked (behind the good records:
 * one of them may say that its replica is well), and (before them) lose what the batch may have replaced. */
static void lose_records(struct recover *rc, const struct log_batch_header *h, const uint8_t *batch, bool before)
{
    for (uint32_t i = 0; i < h->summary_count; i++) {
        struct log_summary s;
        log_summary_get(batch, i, &s);
        struct found *f = found_get(rc, s.replica_id);
        if (!before) mark_damaged(f);
        else if (s.first != 0 && s.first != LOG_SUMMARY_COPIES) slots_cut(f, s.first);
    }
}

/* A batch that was synced and is not whole any more: what can be read of it counts. */
static void salvage(struct recover *rc)
{
    const struct log_batch_header *h = &rc->pending_header;
    const uint8_t *batch = rc->pending_bytes.p;
    uint32_t end = (uint32_t)MIN(rc->pending_bytes.n, (uint64_t)h->header_bytes + h->payload_bytes);
    uint32_t good = 0, bad = 0;
    struct log_record r;
    for (int pass = 0; pass < 2; pass++) { /* first see whether any record is lost altogether, then take the others */
        for (uint32_t at = h->header_bytes; at < end;) {
            enum log_check check = log_record_decode(batch + at, end - at, rc->pending_record_seed, &r);
            if (check == LOG_BAD_HEADER) {
                at += 8;
                continue;
            }
            if (pass == 0 && check == LOG_VALID) good++;
            if (pass == 0 && check == LOG_BAD_DATA) bad++;
            if (pass == 1) on_record(rc, &r, h->position + at, check == LOG_VALID);
            at += (uint32_t)log_record_size(r.data.n);
        }
        if (good + bad < h->records) lose_records(rc, h, batch, pass == 0);
    }
    claims(rc, h, batch);
    rc->l->stats.records_damaged += h->records - MIN(good, h->records);
    char what[80];
    snprintf(what, sizeof what, "%u of %u records of a batch can't be read", h->records - MIN(good, h->records),
             h->records);
    note_damage(rc->l, log_pos_segment(h->position), log_pos_offset(h->position), what);
    diag(DIAG_ERROR, "log.damage dir=%s segment=%" PRIu64 " offset=%" PRIu64 " bytes=%u records=%u good=%u", rc->l->dir,
         log_pos_segment(h->position), log_pos_offset(h->position), h->bytes, h->records, good);
}

static void lost_region(struct recover *rc, uint64_t from, uint64_t to)
{
    mark_all(rc, true);
    rc->l->stats.records_damaged++;
    note_damage(rc->l, log_pos_segment(from), log_pos_offset(from), "nothing that was synced there can be read");
    diag(DIAG_ERROR,
         "log.damage dir=%s segment=%" PRIu64 " offset=%" PRIu64 " to=%" PRIx64
         " concerns=all reason=\"no valid header\"",
         rc->l->dir, log_pos_segment(from), log_pos_offset(from), to);
}

/* A valid header has been found that says where the log was synced up to. */
static void resolve(struct recover *rc, uint64_t synced)
{
    if (synced > rc->synced) rc->synced = synced;
    if (rc->pending && rc->pending_pos < synced) {
        if (rc->pending_batch) salvage(rc);
        if (rc->pending_region) lost_region(rc, rc->pending_pos, synced);
    } else if (rc->end != 0 && synced > rc->end) {
        lost_region(rc, rc->end, synced);
    }
    rc->pending = rc->pending_batch = rc->pending_region = rc->pending_more = false;
}

static void pend(struct recover *rc, uint64_t pos)
{
    if (rc->pending) return;
    rc->pending = true;
    rc->pending_pos = pos;
    rc->pending_used = 0;
}

static void pend_region(struct recover *rc, uint64_t pos, uint64_t used)
{
    pend(rc, pos);
    rc->pending_region = true;
    rc->pending_used += used;
}

static void pend_batch(struct recover *rc, const struct log_batch_header *h, const uint8_t *batch, size_t n)
{
    ASSERT(!rc->pending);
    pend(rc, h->position);
    rc->pending_batch = true;
    rc->pending_header = *h;
    rc->pending_record_seed = rc->record_seed;
    buf_clear(&rc->pending_bytes);
    buf_put(&rc->pending_bytes, batch, n);
}

/* Returns the offset behind the batch at `offset`, or 0: nothing follows in this segment. */
static uint64_t walk_batch(struct recover *rc, struct log_scan *sc, uint64_t offset, const struct log_batch_header *h)
{
    see_header(rc, h);
    resolve(rc, h->synced);
    rc->first_segment = h->first_segment;
    if ((h->flags & LOG_BATCH_MARK) && h->header_bytes < LOG_PAGE) {
        rc->end = h->position;
        const uint8_t *page = log_scan_get(sc, offset, LOG_PAGE);
        uint64_t used = log_all_zero(page + h->header_bytes, LOG_PAGE - h->header_bytes) ? 0 : 1;
        used += log_scan_used(sc, offset + LOG_PAGE, rc->tail_bytes);
        if (used != 0) pend_region(rc, h->position, used); /* a batch was being written over it */
        return 0;
    }
    uint64_t n = MIN((uint64_t)h->bytes, sc->bytes - offset);
    const uint8_t *batch = log_scan_get(sc, offset, n);
    bool whole = n >= (uint64_t)h->header_bytes + h->payload_bytes &&
                 log_payload_valid(h, batch + h->header_bytes, rc->record_seed);
    if (whole) {
        apply_batch(rc, h, batch);
        rc->end = h->position + h->bytes;
    } else {
        pend_batch(rc, h, batch, n);
    }
    return offset + h->bytes;
}

static void walk_segment(struct recover *rc, const struct log_segment *s)
{
    struct log *l = rc->l;
    struct log_scan sc;
    struct log_batch_header h;
    log_scan_init(&sc, l->store_id, s, l->nonce);
    rc->seed = sc.seed;
    rc->record_seed = log_record_seed(sc.seed, l->nonce);
    for (uint64_t offset = LOG_PAGE; offset != 0 && offset + LOG_PAGE <= s->bytes;) {
        bool found = log_scan_header(&sc, offset, &h) != NULL;
        if (!found) {
            uint64_t used = log_scan_used(&sc, offset, rc->tail_bytes), next = offset + LOG_PAGE;
            if (used == 0 && !rc->pending && rc->end == 0 && offset == LOG_PAGE) rc->end = log_pos(s->number, LOG_PAGE);
            if (used == 0) break;
            found = log_scan_next(&sc, &next, &h) != NULL;
            if (!found && rc->pending_batch && log_pos_segment(rc->pending_pos) == s->number) rc->pending_more = true;
            pend_region(rc, log_pos(s->number, offset), used);
            rc->last_used = s->number;
            if (!found) break;
            offset = next;
        }
        rc->last_used = s->number;
        offset = walk_batch(rc, &sc, offset, &h);
    }
    if (sc.unreadable != 0)
        diag(DIAG_ERROR, "log.unreadable dir=%s segment=%" PRIu64 " pages=%" PRIu64, l->dir, s->number, sc.unreadable);
    log_scan_deinit(&sc);
}

/* Nothing is behind what is pending: the last batch was torn, or damaged before anything said that it was synced. */
static void torn(struct recover *rc)
{
    const struct log_batch_header *h = &rc->pending_header;
    struct log *l = rc->l;
    l->stats.batches_torn++;
    if (rc->pending_batch) {
        for (uint32_t i = 0; i < h->summary_count; i++) {
            struct log_summary s;
            log_summary_get(rc->pending_bytes.p, i, &s);
            if (s.first == LOG_SUMMARY_COPIES) continue; /* what it copied is still where it was */
            bool known = s.replica_id == 0 || map_get(&rc->found, s.replica_id) != NULL;
            struct found *f = found_get(rc, s.replica_id);
            if (!known) f->has_state = true; /* all of it was in the batch */
            if (!MUTATION("truncate_damage_silently")) f->s.suspect = true;
        }
    }
    if (rc->pending_region) mark_all(rc, rc->pending_more);
    rc->boot += rc->pending_used; /* openings that left nothing readable may have been counted there */
    diag(DIAG_WARN, "log.torn dir=%s segment=%" PRIu64 " offset=%" PRIu64 " concerns=%s count=%u", l->dir,
         log_pos_segment(rc->pending_pos), log_pos_offset(rc->pending_pos), rc->pending_region ? "all" : "summary",
         rc->pending_batch ? h->summary_count : 0);
}

/* ---- the files ---- */

struct names {
    uint64_t *numbers;
    size_t count, cap;
    struct buf temporary; /* names, each with its zero */
};

static void on_name(void *ctx, const char *name)
{
    struct names *n = ctx;
    size_t length = strlen(name);
    uint64_t number;
    if (length == 20 && log_segment_name(name, &number)) {
        if (n->count == n->cap) {
            n->cap = n->cap != 0 ? n->cap * 2 : 16;
            n->numbers = mem_realloc(n->numbers, n->cap * sizeof *n->numbers);
        }
        n->numbers[n->count++] = number;
    } else if (length == 20 && strcmp(name + 16, ".tmp") == 0) {
        buf_put(&n->temporary, name, length + 1);
    }
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static enum status open_segment(struct log *l, uint64_t number, struct error *err)
{
    char path[LOG_PATH_MAX];
    uint8_t page[LOG_PAGE];
    struct env_file *file = NULL;
    struct log_segment_header h;
    uint64_t bytes = 0;
    log_segment_path(l->dir, number, false, path);
    enum status st = env_file_open(l->env, path, ENV_WRITE, &file, err);
    if (st == ST_OK) st = env_file_size(file, &bytes, err);
    if (st != ST_OK) goto fail;
    if (bytes > UINT32_MAX) {
        st = error_set(err, ST_CORRUPT, "'%s' is larger than a segment can be", path);
        goto fail;
    }
    bool valid = bytes >= LOG_PAGE && env_file_read(file, 0, page, sizeof page, NULL) == ST_OK &&
                 log_segment_header_decode(page, &h);
    if (!valid) {
        note_damage(l, number, 0, "the header of the segment can't be read");
        diag(DIAG_ERROR, "log.damage dir=%s segment=%" PRIu64 " offset=0 reason=\"segment header\"", l->dir, number);
        l->stats.records_damaged++;
    } else if (h.version > LOG_VERSION) {
        st = error_set(err, ST_VERSION, "'%s' has format version %u; this build knows up to %u: use the newer cairn",
                       path, h.version, (unsigned)LOG_VERSION);
    } else if (memcmp(h.store_id, l->store_id, 16) != 0) {
        st = error_set(err, ST_DENIED, "'%s' belongs to another store", path);
    } else if (h.number != number) {
        diag(DIAG_ERROR, "log.damage dir=%s segment=%" PRIu64 " reason=\"its header says %" PRIu64 "\"", l->dir, number,
             h.number);
        l->stats.records_damaged++;
    } else if (l->nonce == 0) {
        l->nonce = h.nonce;
    }
    if (st != ST_OK) goto fail;
    log_segment_push(l, log_segment_new(number, file, bytes));
    return ST_OK;
fail:
    env_file_close(file);
    return st;
}

static enum status open_segments(struct log *l, struct error *err)
{
    struct names names = {0};
    enum status st = env_dir_list(l->env, l->dir, on_name, &names, err);
    for (size_t at = 0; st == ST_OK && at < names.temporary.n;) { /* a segment was being made */
        const char *name = (const char *)names.temporary.p + at;
        char path[LOG_PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", l->dir, name);
        st = env_unlink(l->env, path, err);
        at += strlen(name) + 1;
    }
    if (names.count != 0) qsort(names.numbers, names.count, sizeof *names.numbers, by_number);
    for (size_t i = 0; st == ST_OK && i < names.count; i++) {
        if (i > 0 && names.numbers[i] - names.numbers[0] > 1u << 20)
            st = error_set(err, ST_CORRUPT, "segments %" PRIu64 " and %" PRIu64 " can't be of one log",
                           names.numbers[0], names.numbers[i]);
        if (st == ST_OK) st = open_segment(l, names.numbers[i], err);
    }
    mem_free(names.numbers);
    buf_deinit(&names.temporary);
    return st;
}

/* Without any readable segment header the first batch tells the nonce. */
static void nonce_from_batch(struct log *l)
{
    for (size_t i = 0; i < l->segment_count && l->nonce == 0; i++) {
        struct log_segment *s = l->segments[i];
        struct log_batch_header h;
        struct log_scan sc;
        if (s == NULL) continue;
        log_scan_init(&sc, l->store_id, s, 0);
        const uint8_t *p = log_scan_get(&sc, LOG_PAGE, LOG_PAGE);
        if (p != NULL && log_batch_header_peek(p, &h))
            p = log_scan_get(&sc, LOG_PAGE, MAX(h.header_bytes, LOG_PAGE + 0u));
        else p = NULL;
        if (p != NULL && h.position == log_pos(s->number, LOG_PAGE) && log_batch_header_valid(&h, sc.seed, p))
            l->nonce = h.nonce;
        log_scan_deinit(&sc);
    }
}

static bool batch_whole(struct log_scan *sc, uint64_t offset)
{
    struct log_batch_header h;
    if (log_scan_header(sc, offset, &h) == NULL) return false;
    const uint8_t *batch = log_scan_get(sc, offset, (uint64_t)h.header_bytes + h.payload_bytes);
    return batch != NULL && log_payload_valid(&h, batch + h.header_bytes, log_record_seed(sc->seed, sc->nonce));
}

/* The oldest segment that is part of the log, as the last batch says that is whole (a torn one says it of copies that
 * are not there) or was synced because another follows; 0: none. */
static uint64_t oldest_needed(struct log *l)
{
    uint64_t first = 0;
    for (size_t i = l->segment_count; i > 0 && first == 0; i--) {
        struct log_segment *s = l->segments[i - 1];
        struct log_batch_header h;
        struct log_scan sc;
        if (s == NULL) continue;
        log_scan_init(&sc, l->store_id, s, l->nonce);
        uint64_t offset = LOG_PAGE, last = 0, said = 0;
        while (offset + LOG_PAGE <= s->bytes) {
            if (log_scan_header(&sc, offset, &h) == NULL &&
                (log_scan_used(&sc, offset, LOG_TAIL_BYTES_MIN) == 0 || log_scan_next(&sc, &offset, &h) == NULL))
                break;
            first = MAX(first, said);
            said = h.first_segment;
            last = offset;
            offset += h.bytes;
        }
        if (said > first && batch_whole(&sc, last)) first = said;
        log_scan_deinit(&sc);
    }
    return first;
}

/* Segments that had left the log when the process ended, or were made and never used. */
static void sort_out_segments(struct recover *rc)
{
    struct log *l = rc->l;
    bool missing = false;
    if (rc->last_used == 0 && l->segment_count > 0 && l->first_number > 1) { /* those before it were in use */
        rc->last_used = l->first_number - 1;
        missing = true;
    }
    while (l->segment_count > 0 && log_segment_last(l)->number > rc->last_used) {
        struct log_segment *s = l->segments[--l->segment_count];
        for (; l->segment_count > 0 && l->segments[l->segment_count - 1] == NULL; l->segment_count--) missing = true;
        if (s->number == rc->last_used + 1 && s->bytes >= 4 * LOG_PAGE) l->next = s;
        else list_push_back(&l->leaving, &s->link);
    }
    if (missing) lost_region(rc, rc->end, log_pos(rc->last_used + 1, 0));
}

static void leave_old(struct log *l, uint64_t first_needed)
{
    size_t n = 0;
    while (n < l->segment_count && l->first_number + n < first_needed) {
        if (l->segments[n] != NULL) list_push_back(&l->leaving, &l->segments[n]->link);
        n++;
    }
    while (n < l->segment_count && l->segments[n] == NULL) n++;
    if (n == 0) return;
    memmove(l->segments, l->segments + n, (l->segment_count - n) * sizeof *l->segments);
    l->segment_count -= n;
    l->first_number += n;
}

/* ---- the result ---- */

/* How many of the slots are to be kept: up to the first that is missing, or is not the one that its successor follows.
 */
static size_t chain(const struct found *f)
{
    uint64_t base = f->s.base_index;
    if (f->count == 0 || f->first != base + 1) return 0;
    if (f->slots[0].prev_term != f->s.base_term) return 0;
    for (size_t i = 0; i < f->count; i++) {
        if (f->slots[i].pos == 0) return i;
        if (i + 1 == f->count) break;
        const struct slot *next = &f->slots[i + 1];
        if (next->term != 0 && next->prev_term != f->slots[i].term) return i; /* this one had been replaced */
        if (next->term != 0 && next->term < f->slots[i].term) return i + 1;
    }
    return f->count;
}

static void finish_one(struct recover *rc, struct found *f, uint32_t *changed)
{
    struct log *l = rc->l;
    if (!f->has_state) { /* each replica has one in the log: it is gone */
        mark_damaged(f);
        if (f->count != 0 && f->s.base_index == 0) {
            f->s.base_index = f->first - 1;
            f->s.base_term = f->slots[0].prev_term;
        }
    }
    size_t keep = chain(f);
    uint64_t last = f->s.base_index + keep;
    if (f->has_claim && last > f->s.last_index && f->s.last_index >= f->s.base_index) {
        keep = (size_t)(f->s.last_index - f->s.base_index);
        last = f->s.last_index;
        mark_damaged(f);
    }
    if (keep != f->count || (f->has_claim && last != f->s.last_index)) mark_damaged(f);
    uint64_t last_term = keep != 0 ? f->slots[keep - 1].term : f->s.base_term;
    if (f->term_claimed && last == f->s.last_index && last_term != f->s.last_term) {
        mark_damaged(f);
        if (keep > 0) keep--;
    }
    uint64_t term = MAX(f->s.term, MAX(f->top_term, f->s.base_term));
    struct replica *r = log_replica_new(l, f->id);
    r->view.term = term;
    r->view.vote = term == f->s.term ? f->s.vote : 0;
    r->view.base_index = r->view.last_index = f->s.base_index;
    r->view.base_term = r->view.last_term = f->s.base_term;
    r->view.suspect = f->s.suspect;
    r->view.damaged = f->s.damaged;
    r->view.claimed_index = f->has_claim ? f->s.last_index : 0;
    for (size_t i = 0; i < keep; i++)
        log_index_add(l, r, f->s.base_index + 1 + i, f->slots[i].term, f->slots[i].pos, f->slots[i].size);
    if (!f->s.suspect) r->state_segment = f->state_segment;
    if (r->state_segment != 0) return;
    if (++*changed > LOG_DIAG_REPLICAS) return; /* the line of log.open counts all */
    diag(DIAG_WARN,
         "log.suspect dir=%s replica=%" PRIu64 " damaged=%d base=%" PRIu64 " last=%" PRIu64 " claimed=%" PRIu64, l->dir,
         f->id, f->s.damaged, r->view.base_index, r->view.last_index, f->s.last_index);
}

static int by_state_segment(const void *a, const void *b)
{
    const struct replica *x = *(struct replica *const *)a, *y = *(struct replica *const *)b;
    if (x->state_segment != y->state_segment) return x->state_segment < y->state_segment ? -1 : 1;
    return x->view.replica_id < y->view.replica_id ? -1 : x->view.replica_id > y->view.replica_id;
}

static void finish(struct recover *rc, uint32_t *changed)
{
    struct log *l = rc->l;
    uint64_t id;
    void *value;
    for (size_t i = 0; map_each(&rc->found, &i, &id, &value);) finish_one(rc, value, changed);
    if (rc->unknown.s.suspect) {
        struct replica *r = log_replica_new(l, 0);
        r->view.suspect = true;
        r->view.damaged = rc->unknown.s.damaged;
        (*changed)++;
    }
    size_t n = 0;
    struct replica **sorted = mem_alloc((l->replicas.count + 1) * sizeof(struct replica *));
    for (size_t i = 0; map_each(&l->replicas, &i, &id, &value);)
        if (((struct replica *)value)->state_segment != 0) sorted[n++] = value;
    if (n != 0) qsort(sorted, n, sizeof *sorted, by_state_segment);
    for (size_t i = 0; i < n; i++) list_push_back(&l->by_state, &sorted[i]->by_state);
    mem_free(sorted);
}

static void recover_free(struct recover *rc)
{
    uint64_t id;
    void *value;
    for (size_t i = 0; map_each(&rc->found, &i, &id, &value);) {
        struct found *f = value;
        mem_free(f->slots);
        mem_free(f);
    }
    map_deinit(&rc->found);
    mem_free(rc->unknown.slots);
    buf_deinit(&rc->pending_bytes);
}

/* Writes a stretch of a segment again, as it is. */
static enum status rewrite(struct log_segment *s, uint64_t from, uint64_t to, struct error *err)
{
    enum status st = ST_OK;
    uint8_t *p = mem_alloc(65536);
    for (uint64_t at = from; at < to && st == ST_OK; at += MIN(to - at, 65536)) {
        size_t n = MIN(to - at, 65536);
        st = env_file_read(s->file, at, p, n, err);
        if (st == ST_OK) st = env_file_write(s->file, at, p, n, err);
    }
    mem_free(p);
    return st;
}

/* What lies beyond the last position that a header calls synced was read from the page cache, and may be nowhere else:
 * a killed process had not synced it, or a sync of it failed and left the pages looking clean. Before the first new
 * header says that it was synced, it is written again and synced. (Found by 'cairn sim --seed 123' and '--seed 159'.)
 */
static enum status secure_tail(struct recover *rc, struct error *err)
{
    struct log *l = rc->l;
    uint64_t from = rc->synced, to = rc->end;
    enum status st = ST_OK;
    for (size_t i = 0; i < l->segment_count && st == ST_OK && !MUTATION("recovery_without_sync"); i++) {
        struct log_segment *s = l->segments[i];
        if (s == NULL || s->file == NULL) continue;
        if (from < to && s->number >= log_pos_segment(from) && s->number <= log_pos_segment(to)) {
            uint64_t lo = s->number == log_pos_segment(from) ? log_pos_offset(from) : 0;
            uint64_t hi = s->number == log_pos_segment(to) ? log_pos_offset(to) : s->bytes;
            st = rewrite(s, lo, MIN(hi, s->bytes), err);
        }
        if (st == ST_OK) st = env_file_sync(s->file, err);
    }
    return st;
}

enum status log_recover(struct log *l, struct log_recovered *out, struct error *err)
{
    enum status st = open_segments(l, err);
    if (st != ST_OK) return st;
    if (l->nonce == 0) nonce_from_batch(l);
    while (l->nonce == 0) l->nonce = env_random_u64(l->env);
    struct recover rc = {.l = l, .unknown = {.has_state = true}};
    rc.slots_max = log_total_bytes(l) / LOG_RECORD + 1;
    rc.tail_bytes = MAX(l->limits.batch_bytes_max, (uint64_t)LOG_TAIL_BYTES_MIN);
    uint64_t first_needed = oldest_needed(l);
    leave_old(l, first_needed);
    if (first_needed != 0 && (l->segment_count == 0 || l->first_number > first_needed)) {
        note_damage(l, first_needed, 0, "the file is missing");
        diag(DIAG_ERROR, "log.damage dir=%s segment=%" PRIu64 " reason=\"the file is missing\"", l->dir, first_needed);
        l->stats.records_damaged++;
        rc.unknown.s.suspect = rc.unknown.s.damaged = !MUTATION("truncate_damage_silently");
    }
    for (size_t i = 0; i < l->segment_count; i++)
        if (l->segments[i] != NULL) walk_segment(&rc, l->segments[i]);
    if (rc.pending) torn(&rc);
    st = secure_tail(&rc, err);
    sort_out_segments(&rc);
    out->clean = !rc.pending;
    out->end = rc.end != 0 ? rc.end : rc.pending_pos;
    out->last_used = rc.last_used;
    finish(&rc, &out->changed);
    l->boot = rc.boot + 1;
    recover_free(&rc);
    return st;
}
