/* log_segment.c - the log's files: made ahead, filled with zeros, recycled, removed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A segment is made under a temporary name, filled with zeros, synced, renamed and its directory synced, so that a file
 * with a segment's name is always whole. A recycled one loses its old name durably before its first byte changes. */
#include <inttypes.h>
#include <stdio.h>

#include "base/diag.h"
#include "base/mem.h"
#include "base/mutation.h"
#include "store/log_internal.h"

struct log_segment *log_segment_at(const struct log *l, uint64_t number)
{
    if (number < l->first_number || number - l->first_number >= l->segment_count) return NULL;
    return l->segments[number - l->first_number];
}

struct log_segment *log_segment_last(const struct log *l)
{
    ASSERT(l->segment_count > 0);
    return l->segments[l->segment_count - 1];
}

void log_segment_path(const char *dir, uint64_t number, bool temporary, char out[LOG_PATH_MAX])
{
    int n = snprintf(out, LOG_PATH_MAX, "%s/%016" PRIx64 ".%s", dir, number, temporary ? "tmp" : "seg");
    ASSERT(n > 0 && n < LOG_PATH_MAX);
}

bool log_segment_name(const char *name, uint64_t *out_number)
{
    uint64_t number = 0;
    for (int i = 0; i < 16; i++) {
        char c = name[i];
        if (c >= '0' && c <= '9') number = number << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f') number = number << 4 | (uint64_t)(c - 'a' + 10);
        else return false;
    }
    if (strcmp(name + 16, ".seg") != 0 || number == 0 || number > UINT32_MAX) return false;
    *out_number = number;
    return true;
}

struct log_segment *log_segment_new(uint64_t number, struct env_file *file, uint64_t bytes)
{
    struct log_segment *s = mem_zalloc(sizeof *s);
    s->number = number;
    s->file = file;
    s->bytes = bytes;
    return s;
}

void log_segment_free(struct log_segment *s)
{
    if (s == NULL) return;
    env_file_close(s->file);
    mem_free(s);
}

void log_segment_push(struct log *l, struct log_segment *s)
{
    if (l->segment_count == 0) l->first_number = s->number;
    size_t at = s->number - l->first_number;
    ASSERT(at >= l->segment_count && at < l->segment_count + (1u << 20));
    if (at >= l->segment_cap) {
        l->segment_cap = MAX(at + 1, l->segment_cap * 2);
        l->segments = mem_realloc(l->segments, l->segment_cap * sizeof *l->segments);
    }
    while (l->segment_count < at) l->segments[l->segment_count++] = NULL;
    l->segments[l->segment_count++] = s;
}

uint64_t log_total_bytes(const struct log *l)
{
    uint64_t n = 0;
    for (size_t i = 0; i < l->segment_count; i++)
        if (l->segments[i] != NULL) n += l->segments[i]->bytes;
    if (l->next != NULL) n += l->next->bytes;
    if (l->pool != NULL) n += l->pool->bytes;
    return n;
}

/* ---- making one ---- */

static enum status dir_sync(struct env *env, const char *dir, struct error *err)
{
    if (MUTATION("skip_dir_sync")) return ST_OK;
    return env_dir_sync(env, dir, err);
}

static enum status fill_new(struct env_file *f, uint64_t bytes, struct error *err)
{
    enum status st = ST_OK;
    for (uint64_t at = 0; st == ST_OK && at < bytes;) {
        at = MIN(at + LOG_FILL_BYTES, bytes);
        st = env_file_zero_fill(f, at, err);
        if (st == ST_OK) st = env_file_sync(f, err); /* in parts, so that other syncs do not wait behind all of it */
    }
    return st;
}

static enum status fill_again(struct env_file *f, uint64_t bytes, struct error *err)
{
    static const uint8_t zeros[64 << 10];
    enum status st = ST_OK;
    for (uint64_t at = 0; st == ST_OK && at < bytes;) {
        size_t n = (size_t)MIN(sizeof zeros, bytes - at);
        st = env_file_write(f, at, zeros, n, err);
        at += n;
        if (st == ST_OK && (at % LOG_FILL_BYTES == 0 || at == bytes)) st = env_file_sync(f, err);
    }
    return st;
}

struct make {
    struct env *env;
    const char *dir;
    const uint8_t *store_id;
    uint64_t number, bytes, nonce;
    uint64_t recycled;     /* number that the file had; 0: a new file */
    struct env_file *file; /* of the recycled one; the result */
};

static enum status make_segment(struct make *m, struct error *err)
{
    char temporary[LOG_PATH_MAX], path[LOG_PATH_MAX];
    uint8_t page[LOG_PAGE];
    bool mine = m->recycled == 0;
    log_segment_path(m->dir, m->number, true, temporary);
    enum status st;
    if (mine) {
        if (env_exists(m->env, temporary)) env_unlink(m->env, temporary, NULL);
        st = env_file_open(m->env, temporary, ENV_CREATE, &m->file, err);
        if (st != ST_OK) return st;
        st = fill_new(m->file, m->bytes, err);
    } else {
        log_segment_path(m->dir, m->recycled, false, path);
        st = env_rename(m->env, path, temporary, err);
        if (st == ST_OK) st = dir_sync(m->env, m->dir, err);
        if (st == ST_OK) st = fill_again(m->file, m->bytes, err);
    }
    struct log_segment_header h = {.version = LOG_VERSION, .number = m->number, .nonce = m->nonce};
    memcpy(h.store_id, m->store_id, 16);
    log_segment_header_encode(&h, page);
    log_segment_path(m->dir, m->number, false, path);
    if (st == ST_OK) st = env_file_write(m->file, 0, page, sizeof page, err);
    if (st == ST_OK) st = env_file_sync(m->file, err);
    if (st == ST_OK) st = env_rename(m->env, temporary, path, err);
    if (st == ST_OK) st = dir_sync(m->env, m->dir, err);
    if (st != ST_OK) {
        env_file_close(m->file);
        m->file = NULL;
        if (env_exists(m->env, temporary)) env_unlink(m->env, temporary, NULL); /* gives its space back */
    }
    return st;
}

enum status log_segment_create(struct log *l, uint64_t number, uint64_t bytes, struct log_segment **out,
                               struct error *err)
{
    struct make m = {l->env, l->dir, l->store_id, number, bytes, l->nonce, 0, NULL};
    enum status st = make_segment(&m, err);
    if (st == ST_OK) *out = log_segment_new(number, m.file, bytes);
    return st;
}

/* ---- in the background ---- */

static void file_run(struct env_job *job)
{
    struct log_file_job *j = CONTAINER_OF(job, struct log_file_job, job);
    struct log *l = j->log; /* dir, env and store_id never change */
    char path[LOG_PATH_MAX];
    j->status = ST_OK;
    if (j->what == LOG_FILE_PREPARE) {
        struct make m = {l->env, l->dir, l->store_id, j->number, j->bytes, j->nonce, 0, NULL};
        if (j->recycled != NULL) m.recycled = j->recycled->number;
        m.file = j->file;
        j->status = make_segment(&m, &j->err);
        j->file = m.file;
    } else if (j->what == LOG_FILE_REMOVE) {
        log_segment_path(l->dir, j->recycled->number, false, path);
        j->status = env_unlink(l->env, path, &j->err);
    }
    if (env_disk_free(l->env, l->dir, &j->free_bytes, NULL) != ST_OK) j->free_bytes = UINT64_MAX;
}

void log_space_check(struct log *l, uint64_t free_bytes)
{
    bool before = log_full(l);
    l->full_space = free_bytes < l->limits.reserve_bytes;
    if (log_full(l) != before)
        diag(DIAG_WARN, "log.full dir=%s full=%d free=%" PRIu64 " reserve=%" PRIu64, l->dir, log_full(l), free_bytes,
             l->limits.reserve_bytes);
}

static void prepared(struct log *l, struct log_file_job *j)
{
    bool before = log_full(l);
    log_segment_free(j->recycled);
    j->recycled = NULL;
    if (j->status == ST_OK) {
        struct log_segment *s = log_segment_at(l, j->number);
        if (s == NULL) l->next = log_segment_new(j->number, j->file, j->bytes);
        else {
            ASSERT(s->file == NULL);
            s->file = j->file;
            s->bytes = MAX(s->bytes, j->bytes); /* batches for it may be larger already */
        }
        j->file = NULL;
        l->full_prepare = false;
    } else if (j->status == ST_DISK_FULL) {
        l->full_prepare = true; /* the tick tries again */
        if (!before) diag(DIAG_WARN, "log.full dir=%s full=1 reason=\"%s\"", l->dir, j->err.text);
    } else {
        log_fail(l, j->status, j->err.text);
    }
}

static void file_done(struct env_job *job)
{
    struct log_file_job *j = CONTAINER_OF(job, struct log_file_job, job);
    struct log *l = j->log;
    j->running = false;
    l->jobs--;
    if (l->closed) {
        log_maybe_free(l);
        return;
    }
    if (j->what == LOG_FILE_PREPARE) {
        prepared(l, j);
    } else if (j->what == LOG_FILE_REMOVE) {
        if (j->status != ST_OK) diag(DIAG_WARN, "log.remove dir=%s error=\"%s\"", l->dir, j->err.text);
        log_segment_free(j->recycled);
        j->recycled = NULL;
    }
    if (j->status == ST_OK) log_space_check(l, j->free_bytes);
    if (l->failed) return;
    log_files_work(l);
    log_reclaim_step(l);
    log_kick(l);
}

static void submit(struct log *l, struct log_file_job *j)
{
    j->running = true;
    j->log = l;
    j->job.run = file_run;
    j->job.done = file_done;
    l->jobs++;
    env_worker_submit(l->files, l->loop, &j->job);
}

/* The number of the segment that has to be made, or 0. One is always ready ahead: it is the reserve for a full disk. */
static uint64_t wanted(const struct log *l)
{
    for (size_t i = 0; i < l->segment_count; i++)
        if (l->segments[i] != NULL && l->segments[i]->file == NULL) return l->segments[i]->number;
    const struct log_segment *last = log_segment_last(l);
    if (l->next != NULL || l->gather_offset < last->bytes / 4) return 0;
    return last->number + 1;
}

void log_files_work(struct log *l)
{
    struct log_file_job *j = &l->file_job;
    if (j->running || l->closed || l->failed) return;
    uint64_t number = wanted(l);
    struct link *k;
    if (l->pool == NULL && (k = list_first(&l->leaving)) != NULL) {
        struct log_segment *s = CONTAINER_OF(k, struct log_segment, link);
        if (s->refs == 0 && s->bytes == l->limits.segment_bytes) {
            link_remove(k);
            l->pool = s;
        }
    }
    if (number != 0 && (!l->full_prepare || l->retry_prepare || l->pool != NULL)) {
        *j = (struct log_file_job){.what = LOG_FILE_PREPARE,
                                   .number = number,
                                   .bytes = l->limits.segment_bytes,
                                   .nonce = l->nonce,
                                   .recycled = l->pool};
        if (l->pool != NULL) {
            j->file = l->pool->file;
            l->pool->file = NULL;
        }
        l->pool = NULL;
        l->retry_prepare = false;
        submit(l, j);
        return;
    }
    for (k = list_first(&l->leaving); k != NULL; k = list_next(&l->leaving, k)) {
        struct log_segment *s = CONTAINER_OF(k, struct log_segment, link);
        if (s->refs != 0) continue;
        link_remove(k);
        *j = (struct log_file_job){.what = LOG_FILE_REMOVE, .recycled = s};
        submit(l, j);
        return;
    }
    if (!l->look_at_space) return;
    l->look_at_space = false;
    *j = (struct log_file_job){.what = LOG_FILE_SPACE};
    submit(l, j);
}

void log_segment_unref(struct log *l, struct log_segment *s)
{
    ASSERT(s->refs > 0);
    if (--s->refs == 0 && link_linked(&s->link) && !l->closed) log_files_work(l);
}

void log_segment_retire_first(struct log *l)
{
    struct log_segment *s = l->segments[0];
    ASSERT(l->segment_count > 1 && s != NULL && s->live_bytes == 0);
    list_push_back(&l->leaving, &s->link);
    size_t gone = 1;
    while (l->segments[gone] == NULL) gone++; /* missing ones */
    memmove(l->segments, l->segments + gone, (l->segment_count - gone) * sizeof *l->segments);
    l->segment_count -= gone;
    l->first_number += gone;
    log_files_work(l);
}
