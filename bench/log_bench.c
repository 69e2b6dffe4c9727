/* log_bench.c - the log beside plain pwrite and fdatasync, on the same disk.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Usage: log_bench [directory [seconds per measurement [rounds]]]
 * For batches of 1, 64 and 1000 entries of 256 bytes: the rate of durable batches, one at a time, of
 *   plain      pwrite of the same bytes and fdatasync in this thread, on a file filled with zeros;
 *   thread     the same, but each handed to a worker and back: what a loop that must not block can reach at best;
 *   log        log_append, then waiting for events.synced.
 * They take turns, and the medians are printed: disks and neighbours are moody. Then the log with as many appends under
 * way as it likes, for some seconds, through the making, recycling and reclaiming of segments. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "env/real.h"
#include "store/log.h"

enum { ENTRY_BYTES = 256, KINDS = 3, ROUNDS_MAX = 31 };

struct bench {
    struct env *env;
    struct env_loop *loop;
    struct log *log;
    struct env_worker *worker;
    struct env_file *plain;
    uint64_t plain_at, plain_bytes;
    uint8_t *bytes;
    struct entry **entries;
    size_t batch;
    uint64_t index;    /* last appended */
    uint64_t position; /* awaited */
    uint64_t done, end_ns;
    struct env_job job;
    struct env_task task;
    bool many;
    uint64_t under_way;
};

static void die(const char *what, const struct error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    exit(1);
}

static void plain_once(struct bench *b)
{
    struct error err = {0};
    size_t n = b->batch * ENTRY_BYTES;
    if (b->plain_at + n > b->plain_bytes) b->plain_at = 0;
    if (env_file_write(b->plain, b->plain_at, b->bytes, n, &err) != ST_OK || env_file_sync(b->plain, &err) != ST_OK)
        die("write", &err);
    b->plain_at += n;
}

static void begin(struct bench *b, double seconds)
{
    b->done = 0;
    b->end_ns = env_now_ns(b->env) + (uint64_t)(seconds * 1e9);
}

static double plain_rate(struct bench *b, double seconds)
{
    begin(b, seconds);
    while (env_now_ns(b->env) < b->end_ns) {
        plain_once(b);
        b->done++;
    }
    return (double)b->done / seconds;
}

static void job_run(struct env_job *j) { plain_once(CONTAINER_OF(j, struct bench, job)); }

static void job_done(struct env_job *j)
{
    struct bench *b = CONTAINER_OF(j, struct bench, job);
    b->done++;
    if (env_now_ns(b->env) >= b->end_ns) env_real_loop_stop(b->loop);
    else env_defer(b->loop, &b->task);
}

static void job_submit(struct env_task *t)
{
    struct bench *b = CONTAINER_OF(t, struct bench, task);
    env_worker_submit(b->worker, b->loop, &b->job);
}

static double thread_rate(struct bench *b, double seconds)
{
    begin(b, seconds);
    b->job = (struct env_job){.run = job_run, .done = job_done};
    b->task = (struct env_task){.run = job_submit};
    env_defer(b->loop, &b->task);
    env_real_loop_run(b->loop);
    return (double)b->done / seconds;
}

static void append(struct bench *b)
{
    for (size_t i = 0; i < b->batch; i++) b->entries[i]->index = ++b->index;
    log_append(b->log, 1, b->entries, b->batch);
    b->position = log_position(b->log);
    if (b->index % 4096 < b->batch && b->index > 8192) log_compact(b->log, 1, b->index - 8192);
}

static void append_task(struct env_task *t) { append(CONTAINER_OF(t, struct bench, task)); }

static void on_synced(void *ctx, uint64_t position)
{
    struct bench *b = ctx;
    if (b->end_ns == 0 || position < b->position) return;
    b->done++;
    if (env_now_ns(b->env) >= b->end_ns) env_real_loop_stop(b->loop);
    else env_defer(b->loop, &b->task);
}

static void on_failed(void *ctx, enum status st, const char *text)
{
    fprintf(stderr, "log failed: %s\n", text);
    exit(1);
}

static double log_rate(struct bench *b, double seconds)
{
    begin(b, seconds);
    b->task = (struct env_task){.run = append_task};
    env_defer(b->loop, &b->task);
    env_real_loop_run(b->loop);
    return (double)b->done / seconds;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

static void open_plain(struct bench *b, const char *dir)
{
    char path[1024];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/plain", dir);
    unlink(path);
    b->plain_bytes = 256 << 20;
    if (env_file_open(b->env, path, ENV_CREATE, &b->plain, &err) != ST_OK ||
        env_file_zero_fill(b->plain, b->plain_bytes, &err) != ST_OK || env_file_sync(b->plain, &err) != ST_OK)
        die("plain file", &err);
}

static void open_log(struct bench *b, const char *dir, uint64_t first, uint64_t segment, uint64_t max)
{
    static const uint8_t store[16] = "bench";
    static const struct log_events events = {on_synced, on_failed};
    struct log_limits limits = {.segment_bytes = segment,
                                .first_segment_bytes = first,
                                .bytes_max = max,
                                .batch_bytes_max = 4 << 20,
                                .reserve_bytes = 64 << 20};
    struct error err = {0};
    if (env_dir_create(b->env, dir, &err) != ST_OK) die("directory", &err);
    uint64_t begun = env_now_ns(b->env);
    if (log_open(b->loop, dir, store, &limits, &events, b, &b->log, &err) != ST_OK) die("log_open", &err);
    printf("log_open of an empty log: %.1f ms\n", (double)(env_now_ns(b->env) - begun) / 1e6);
}

static void compare(struct bench *b, double seconds, int rounds)
{
    static const size_t sizes[] = {1, 64, 1000};
    printf("\n%8s %12s %12s %12s %10s %10s %10s\n", "entries", "plain/s", "thread/s", "log/s", "log MB/s", "of plain",
           "of thread");
    for (size_t s = 0; s < ARRAY_COUNT(sizes); s++) {
        double rates[KINDS][ROUNDS_MAX];
        b->batch = sizes[s];
        for (int i = 0; i < rounds; i++) {
            rates[0][i] = plain_rate(b, seconds);
            rates[1][i] = thread_rate(b, seconds);
            rates[2][i] = log_rate(b, seconds);
        }
        double plain = median(rates[0], rounds), thread = median(rates[1], rounds), log = median(rates[2], rounds);
        printf("%8zu %12.0f %12.0f %12.0f %10.1f %9.0f%% %9.0f%%\n", sizes[s], plain, thread, log,
               log * (double)(sizes[s] * ENTRY_BYTES) / 1e6, 100 * log / plain, 100 * log / thread);
    }
}

/* Appends whenever less than 4 MiB are under way. */
static void fill_task(struct env_task *t)
{
    struct bench *b = CONTAINER_OF(t, struct bench, task);
    if (env_now_ns(b->env) >= b->end_ns) {
        env_real_loop_stop(b->loop);
        return;
    }
    for (int i = 0; i < 64 && b->index * ENTRY_BYTES - b->under_way < 4 << 20; i++) append(b);
}

static void on_synced_many(void *ctx, uint64_t position)
{
    struct bench *b = ctx;
    b->under_way = b->index * ENTRY_BYTES; /* at least: good enough to keep the queue short */
    env_defer(b->loop, &b->task);
}

static void sustained(struct bench *b, const char *dir, double seconds)
{
    static const uint8_t store[16] = "bench";
    static const struct log_events events = {on_synced_many, on_failed};
    struct log_limits limits = {.segment_bytes = 64 << 20,
                                .first_segment_bytes = 1 << 20,
                                .bytes_max = 512 << 20,
                                .batch_bytes_max = 4 << 20,
                                .reserve_bytes = 64 << 20};
    struct error err = {0};
    struct log_stats stats;
    if (env_dir_create(b->env, dir, &err) != ST_OK) die("directory", &err);
    if (log_open(b->loop, dir, store, &limits, &events, b, &b->log, &err) != ST_OK) die("log_open", &err);
    b->batch = 16;
    b->index = b->under_way = 0;
    begin(b, seconds);
    b->task = (struct env_task){.run = fill_task};
    env_defer(b->loop, &b->task);
    env_real_loop_run(b->loop);
    log_stats(b->log, &stats);
    printf(
        "\nsustained, 16 entries an append, segments of 64 MiB, bound 512 MiB: %.0f entries/s, %.0f MB/s of entries,\n"
        "%.0f batches/s of %.0f KB, sync %.2f ms on average; %" PRIu64 " segments, %" PRIu64 " MB on disk, %" PRIu64
        " MB copied\n",
        (double)b->index / seconds, (double)b->index * ENTRY_BYTES / 1e6 / seconds, (double)stats.batches / seconds,
        (double)stats.synced_bytes / 1e3 / (double)stats.batches,
        (double)stats.sync_ns_total / 1e6 / (double)stats.batches, stats.segments, stats.bytes >> 20,
        stats.rewritten_bytes >> 20);
    log_close(b->log);
}

static void remove_all(struct bench *b, const char *dir)
{
    char command[1200];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) fprintf(stderr, "could not remove %s\n", dir);
}

int main(int argc, char **argv)
{
    char root[1024], path[1100];
    struct bench b = {0};
    double seconds = argc > 2 ? atof(argv[2]) : 1;
    int rounds = argc > 3 ? atoi(argv[3]) : 5;
    rounds = MAX(1, MIN(rounds, (int)ROUNDS_MAX));
    snprintf(root, sizeof root, "%s/cairn-log-bench-XXXXXX", argc > 1 ? argv[1] : ".");
    if (mkdtemp(root) == NULL) {
        perror(root);
        return 1;
    }
    b.env = env_real_new();
    b.loop = env_real_loop_new(b.env);
    b.worker = env_worker_new(b.env, "plain", 1);
    b.bytes = mem_zalloc(1000 * ENTRY_BYTES);
    b.entries = mem_alloc(1000 * sizeof(struct entry *));
    for (size_t i = 0; i < 1000; i++) b.entries[i] = entry_new(ENTRY_OPS, 1, 1, 1, bytes_of(b.bytes, ENTRY_BYTES));
    open_plain(&b, root);
    snprintf(path, sizeof path, "%s/log", root);
    /* 64 MiB segments; the plain file is warm, so let the log get into its first zero-filled one too */
    open_log(&b, path, 1 << 20, 64 << 20, 512 << 20);
    b.batch = 64;
    log_rate(&b, 1.5);
    compare(&b, seconds, rounds);
    log_close(b.log);
    snprintf(path, sizeof path, "%s/many", root);
    sustained(&b, path, 5 * seconds);
    env_worker_free(b.worker);
    env_file_close(b.plain);
    for (size_t i = 0; i < 1000; i++) entry_unref(b.entries[i]);
    mem_free(b.entries);
    mem_free(b.bytes);
    env_real_loop_free(b.loop);
    env_real_free(b.env);
    remove_all(&b, root);
    return 0;
}
