/* conform_test.c - the simulated environment behaves as the kernel does: one table of tests runs on both, and what each saw must
 * be the same, word for word.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A test writes down what happens (statuses, values, the order of events), never times, texts of errors or how data was cut.
 * The simulated side runs with many seeds: what is drawn there must not change what is promised. Where a promise is clear the
 * test asserts it, too, so that both can't be wrong alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "env/real.h"
#include "sim/net.h"
#include "sim/world.h"

enum { SEEDS = 25 };

struct trial {
    struct env *env;
    struct env_loop *loop;
    char dir[64];
    const char *listen_at; /* port 0: any */
    const char *host;      /* where it is reached */
    struct buf seen;
    bool done;
    void (*finished)(struct trial *t); /* real: stops the loop */
};

static void see(struct trial *t, const char *format, ...)
{
    char line[200];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    buf_printf(&t->seen, "%s\n", line);
}

static void finish(struct trial *t)
{
    ASSERT(!t->done);
    t->done = true;
    if (t->finished != NULL) t->finished(t);
}

static const char *path(struct trial *t, const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", t->dir, name);
    return p;
}

/* ---- files ---- */

static void see_bytes(struct trial *t, struct env_file *f, uint64_t offset, size_t n)
{
    uint8_t got[64] = {0};
    char text[65];
    enum status st = env_file_read(f, offset, got, n, NULL);
    for (size_t i = 0; i < n; i++) text[i] = (char)(got[i] == 0 ? '0' : got[i]);
    text[n] = 0;
    see(t, "read %zu at %u: %s %s", n, (unsigned)offset, status_name(st), st == ST_OK ? text : "");
}

static void see_size(struct trial *t, struct env_file *f)
{
    uint64_t size = 999;
    see(t, "size: %s", status_name(env_file_size(f, &size, NULL)));
    see(t, "%u", (unsigned)size);
}

static struct env_file *make(struct trial *t, const char *name)
{
    struct env_file *f = NULL;
    assert_int_equal(env_file_open(t->env, path(t, name), ENV_CREATE, &f, NULL), ST_OK);
    return f;
}

static void files_are_read_and_written(struct trial *t)
{
    struct env_file *f = make(t, "a");
    see_size(t, f);
    see(t, "write: %s", status_name(env_file_write(f, 5, "world", 5, NULL)));
    see_size(t, f);
    see_bytes(t, f, 0, 10); /* a hole reads as zeros */
    see(t, "write: %s", status_name(env_file_write(f, 0, "hello", 5, NULL)));
    see(t, "write of nothing: %s", status_name(env_file_write(f, 50, "", 0, NULL)));
    see(t, "write beyond: %s", status_name(env_file_write(f, 20, "!", 1, NULL)));
    see_size(t, f);
    see_bytes(t, f, 3, 18);
    see_bytes(t, f, 20, 2); /* short */
    see_bytes(t, f, 21, 1);
    see_bytes(t, f, 100, 1);
    see_bytes(t, f, 100, 0);
    see(t, "sync: %s", status_name(env_file_sync(f, NULL)));
    env_file_close(f);
    finish(t);
}

static void files_are_cut_and_grown(struct trial *t)
{
    struct env_file *f = make(t, "a");
    env_file_write(f, 0, "abcdefgh", 8, NULL);
    see(t, "shorter: %s", status_name(env_file_truncate(f, 3, NULL)));
    see_size(t, f);
    see(t, "longer: %s", status_name(env_file_truncate(f, 6, NULL)));
    see_size(t, f);
    see_bytes(t, f, 0, 6); /* what was cut off is zeros now */
    see(t, "fill: %s", status_name(env_file_zero_fill(f, 5000, NULL)));
    see_size(t, f);
    see_bytes(t, f, 0, 6); /* and leaves what is there */
    see_bytes(t, f, 4990, 10);
    see(t, "fill less: %s", status_name(env_file_zero_fill(f, 10, NULL)));
    see_size(t, f);
    env_file_close(f);
    finish(t);
}

static void files_open_as_asked(struct trial *t)
{
    static const enum env_open_mode modes[] = {ENV_READ, ENV_WRITE, ENV_CREATE};
    static const char *const names[] = {"missing", "there", "no/such/directory", "there/below"};
    env_file_close(make(t, "there"));
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        for (size_t k = 0; k < ARRAY_COUNT(modes); k++) {
            struct env_file *f = NULL;
            enum status st = env_file_open(t->env, path(t, names[i]), modes[k], &f, NULL);
            see(t, "open %s %zu: %s", names[i], k, status_name(st));
            if (st != ST_OK) continue;
            see(t, "write: %s", status_name(env_file_write(f, 0, "x", 1, NULL)));
            env_file_close(f);
            if (i == 0) assert_int_equal(env_unlink(t->env, path(t, names[i]), NULL), ST_OK);
        }
    see(t, "exists: %d %d %d", env_exists(t->env, path(t, "there")), env_exists(t->env, path(t, "missing")),
        env_exists(t->env, t->dir));
    finish(t);
}

static void names_move(struct trial *t)
{
    struct env_file *a = make(t, "a"), *b = make(t, "b");
    struct env_file *f = NULL;
    env_file_write(a, 0, "aa", 2, NULL);
    env_file_write(b, 0, "bb", 2, NULL);
    see(t, "rename over: %s", status_name(env_rename(t->env, path(t, "a"), path(t, "b"), NULL)));
    see(t, "exists: %d %d", env_exists(t->env, path(t, "a")), env_exists(t->env, path(t, "b")));
    see_bytes(t, a, 0, 2); /* both are open and stay what they are */
    see_bytes(t, b, 0, 2);
    see(t, "open: %s", status_name(env_file_open(t->env, path(t, "b"), ENV_READ, &f, NULL)));
    see_bytes(t, f, 0, 2);
    env_file_write(a, 0, "AA", 2, NULL); /* the same file */
    see_bytes(t, f, 0, 2);
    see(t, "again: %s", status_name(env_rename(t->env, path(t, "a"), path(t, "b"), NULL)));
    see(t, "to itself: %s", status_name(env_rename(t->env, path(t, "b"), path(t, "b"), NULL)));
    see(t, "into nowhere: %s", status_name(env_rename(t->env, path(t, "b"), path(t, "no/b"), NULL)));
    see(t, "unlink: %s", status_name(env_unlink(t->env, path(t, "b"), NULL)));
    see(t, "unlink again: %s", status_name(env_unlink(t->env, path(t, "b"), NULL)));
    see(t, "exists: %d", env_exists(t->env, path(t, "b")));
    see_bytes(t, f, 0, 2); /* an open file outlives its name */
    see(t, "write: %s", status_name(env_file_write(a, 2, "++", 2, NULL)));
    see_size(t, f);
    env_file_close(a);
    env_file_close(b);
    env_file_close(f);
    finish(t);
}

static int by_name(const void *x, const void *y) { return strcmp(x, y); }
struct listing {
    char names[8][32];
    unsigned count;
};
static void list_one(void *ctx, const char *name)
{
    struct listing *l = ctx;
    if (l->count < 8) snprintf(l->names[l->count++], sizeof l->names[0], "%s", name);
}
static void see_list(struct trial *t, const char *name)
{
    struct listing l = {.count = 0};
    see(t, "list %s: %s", name, status_name(env_dir_list(t->env, path(t, name), list_one, &l, NULL)));
    qsort(l.names, l.count, sizeof l.names[0], by_name);
    for (unsigned i = 0; i < l.count; i++) see(t, "  %s", l.names[i]);
}

static void directories_hold_names(struct trial *t)
{
    struct env *env = t->env;
    see(t, "create: %s", status_name(env_dir_create(env, path(t, "d/e/f"), NULL)));
    see(t, "again: %s", status_name(env_dir_create(env, path(t, "d/e"), NULL)));
    env_file_close(make(t, "d/file"));
    env_file_close(make(t, "d/e/other"));
    see_list(t, "d");
    see_list(t, "d/e");
    see_list(t, "d/e/f");
    see_list(t, "none");
    see(t, "sync: %s", status_name(env_dir_sync(env, path(t, "d"), NULL)));
    see(t, "sync of none: %s", status_name(env_dir_sync(env, path(t, "none"), NULL)));
    see(t, "move to another: %s", status_name(env_rename(env, path(t, "d/file"), path(t, "d/e/f/moved"), NULL)));
    see(t, "move a directory: %s", status_name(env_rename(env, path(t, "d/e"), path(t, "d/g"), NULL)));
    see_list(t, "d");
    see_list(t, "d/g/f");
    assert_int_not_equal(env_dir_remove(env, path(t, "d/g/f"), NULL), ST_OK); /* not empty */
    see(t, "unlink: %s", status_name(env_unlink(env, path(t, "d/g/f/moved"), NULL)));
    see(t, "remove: %s", status_name(env_dir_remove(env, path(t, "d/g/f"), NULL)));
    see(t, "remove again: %s", status_name(env_dir_remove(env, path(t, "d/g/f"), NULL)));
    see_list(t, "d/g");
    finish(t);
}

static void locks_exclude(struct trial *t)
{
    struct env_file *one = NULL, *two = NULL;
    env_dir_create(t->env, path(t, "d"), NULL);
    see(t, "lock: %s", status_name(env_dir_lock(t->env, path(t, "d"), &one, NULL)));
    see(t, "lock again: %s", status_name(env_dir_lock(t->env, path(t, "d"), &two, NULL)));
    env_file_close(one);
    see(t, "lock after: %s", status_name(env_dir_lock(t->env, path(t, "d"), &two, NULL)));
    env_file_close(two);
    see(t, "lock of none: %s", status_name(env_dir_lock(t->env, path(t, "none"), &two, NULL)));
    uint64_t left = 0;
    see(t, "free: %s %d", status_name(env_disk_free(t->env, t->dir, &left, NULL)), left > 0);
    finish(t);
}

/* ---- timers and tasks ---- */

enum { TIMERS = 5 };
struct tick {
    struct env_timer timer;
    struct timers *all;
    unsigned i;
    uint64_t due_ns;
};
struct timers {
    struct trial *t;
    struct tick ticks[TIMERS];
    unsigned again;
};

static void tick_start(struct tick *k, uint64_t ms)
{
    k->due_ns = env_now_ns(k->all->t->env) + ms * NS_PER_MS;
    env_timer_start(&k->timer, ms * NS_PER_MS);
}

static void on_tick(struct env_timer *timer)
{
    struct tick *k = CONTAINER_OF(timer, struct tick, timer);
    struct timers *m = k->all;
    see(m->t, "timer %u", k->i);
    assert_true(env_now_ns(m->t->env) >= k->due_ns); /* never early */
    assert_int_equal(timer->due_ns, 0);
    if (k->i == 1) env_timer_stop(&m->ticks[2].timer);
    if (k->i == 3 && m->again++ < 2) tick_start(k, 0);
    if (k->i != 4) return;
    struct trial *t = m->t;
    for (unsigned i = 0; i < TIMERS; i++) env_timer_stop(&m->ticks[i].timer);
    mem_free(m);
    finish(t);
}

/* 0 after 300 ms; 1 after 100, and stops 2, which is due after 200; 3 at once, three times; 4 is moved from 50 to 600 and ends it. */
static void timers_fire_in_order(struct trial *t)
{
    static const uint64_t ms[TIMERS] = {300, 100, 200, 0, 50};
    struct timers *m = mem_zalloc(sizeof *m);
    m->t = t;
    for (unsigned i = 0; i < TIMERS; i++) {
        m->ticks[i].all = m;
        m->ticks[i].i = i;
        env_timer_init(t->loop, &m->ticks[i].timer, on_tick);
        env_timer_stop(&m->ticks[i].timer); /* may be stopped already */
        tick_start(&m->ticks[i], ms[i]);
    }
    tick_start(&m->ticks[4], 600);
    see(t, "started"); /* even what is due at once fires later */
}

struct tasks {
    struct trial *t;
    struct env_task deferred, first, second;
    unsigned rounds;
    bool second_ran;
};

static void on_first(struct env_task *task) { see(CONTAINER_OF(task, struct tasks, first)->t, "posted first"); }

static void on_deferred(struct env_task *task)
{
    struct tasks *m = CONTAINER_OF(task, struct tasks, deferred);
    m->rounds++;
    if (m->rounds < 3) env_defer(m->t->loop, task); /* from within: once more, later */
}

static void on_second(struct env_task *task)
{
    struct tasks *m = CONTAINER_OF(task, struct tasks, second);
    if (!m->second_ran) see(m->t, "posted second");
    m->second_ran = true;
    if (m->rounds < 3) { /* how many turns it takes is nobody's promise */
        env_post(m->t->loop, task);
        return;
    }
    see(m->t, "deferred %u times", m->rounds);
    struct trial *t = m->t;
    mem_free(m);
    finish(t);
}

static void tasks_run_later_and_in_order(struct trial *t)
{
    struct tasks *m = mem_zalloc(sizeof *m);
    *m = (struct tasks){.t = t, .deferred.run = on_deferred, .first.run = on_first, .second.run = on_second};
    env_post(t->loop, &m->first);
    env_post(t->loop, &m->second);
    env_defer(t->loop, &m->deferred);
    env_defer(t->loop, &m->deferred); /* runs once */
    see(t, "asked");
}

/* ---- workers ---- */

enum { JOBS = 20 };
struct work {
    struct env_job job;
    struct works *all;
    unsigned i;
    bool ran;
};
struct works {
    struct trial *t;
    struct env_worker *worker;
    struct work jobs[JOBS];
    unsigned done, ran;
    bool in_order, submitted;
};

static void work_run(struct env_job *job) { CONTAINER_OF(job, struct work, job)->ran = true; }

static void work_done(struct env_job *job)
{
    struct work *k = CONTAINER_OF(job, struct work, job);
    struct works *m = k->all;
    assert_true(m->submitted);
    assert_true(k->ran);
    m->in_order = m->in_order && k->i == m->done;
    m->done++;
    if (m->done < JOBS) return;
    see(m->t, "%u jobs, in order: %d", m->done, m->in_order);
    env_worker_free(m->worker);
    struct trial *t = m->t;
    mem_free(m);
    finish(t);
}

static struct works *works_new(struct trial *t, unsigned threads, void (*done)(struct env_job *job))
{
    struct works *m = mem_zalloc(sizeof *m);
    m->t = t;
    m->in_order = true;
    m->worker = env_worker_new(t->env, "conform", threads);
    for (unsigned i = 0; i < JOBS; i++) {
        m->jobs[i] = (struct work){.all = m, .i = i, .job = {.run = work_run, .done = done}};
        env_worker_submit(m->worker, t->loop, &m->jobs[i].job);
    }
    m->submitted = true; /* none was done before submit returned */
    return m;
}

static void jobs_of_one_thread_run_in_order(struct trial *t) { works_new(t, 1, work_done); }

static void given_back(struct env_job *job)
{
    struct works *m = CONTAINER_OF(job, struct work, job)->all;
    assert_true(m->submitted);
    if (++m->done < JOBS) return;
    see(m->t, "each is done once");
    struct trial *t = m->t;
    mem_free(m);
    finish(t);
}

/* Those that had not run yet come back undone. */
static void a_freed_worker_gives_jobs_back(struct trial *t)
{
    struct works *m = works_new(t, 2, given_back);
    env_worker_free(m->worker);
    see(t, "freed");
}

/* ---- streams ---- */

struct side {
    struct flow *flow;
    struct env_stream *s;
    uint64_t received, sent, to_send;
    bool closed, close_when_sent;
    enum status status;
};

struct flow {
    struct trial *t;
    struct env_listener *listener;
    struct side client, server;
    struct env_timer wait;
    bool pause_server, answer, drained;
    void (*step)(struct flow *f);
    unsigned stage;
};

static uint8_t pattern(uint64_t i) { return (uint8_t)(i * 131 + (i >> 8) * 17); }

static void side_pump(struct side *e)
{
    uint8_t chunk[4096];
    while (e->s != NULL && e->sent < e->to_send) {
        size_t n = (size_t)MIN(e->to_send - e->sent, sizeof chunk);
        for (size_t i = 0; i < n; i++) chunk[i] = pattern(e->sent + i);
        env_stream_write(e->s, bytes_of(chunk, n));
        e->sent += n;
    }
    if (e->s == NULL || !e->close_when_sent || e->sent < e->to_send) return;
    env_stream_close(e->s); /* with all that is queued */
    e->s = NULL;
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct side *e = ctx;
    assert_true(data.n > 0);
    assert_ptr_equal(s, e->s);
    assert_false(e->closed);
    for (size_t i = 0; i < data.n; i++) assert_int_equal(data.p[i], pattern(e->received + i));
    e->received += data.n;
    e->flow->step(e->flow);
}

static void on_drained(struct env_stream *s, void *ctx)
{
    struct side *e = ctx;
    assert_int_equal(env_stream_queued(s), 0);
    e->flow->drained = true;
    e->flow->step(e->flow);
}

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct side *e = ctx;
    assert_false(e->closed);
    assert_ptr_equal(s, e->s);
    e->closed = true;
    e->status = st;
    e->flow->step(e->flow);
}

static const struct env_stream_events events = {on_data, on_drained, on_closed};

static void on_accept(void *ctx, struct env_stream *s)
{
    struct flow *f = ctx;
    f->server.s = s;
    env_stream_set_events(s, &events, &f->server);
    assert_non_null(strchr(env_stream_peer(s), ':'));
    if (f->pause_server) env_stream_pause(s);
    side_pump(&f->server);
    f->step(f);
}

static void on_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct side *e = ctx;
    see(e->flow->t, "connected: %s", status_name(st));
    e->status = st;
    if (st != ST_OK) {
        env_stream_close(s);
        e->s = NULL;
    } else {
        side_pump(e);
    }
    e->flow->step(e->flow);
}

static void on_wait(struct env_timer *timer)
{
    struct flow *f = CONTAINER_OF(timer, struct flow, wait);
    f->step(f);
}

static struct flow *flow_new(struct trial *t, void (*step)(struct flow *f))
{
    struct flow *f = mem_zalloc(sizeof *f);
    f->t = t;
    f->step = step;
    f->client.flow = f->server.flow = f;
    env_timer_init(t->loop, &f->wait, on_wait);
    assert_int_equal(env_listen(t->loop, t->listen_at, on_accept, f, &f->listener, NULL), ST_OK);
    return f;
}

static void flow_connect(struct flow *f)
{
    char address[64];
    snprintf(address, sizeof address, "%s:%u", f->t->host, env_listener_port(f->listener));
    f->client.s = env_connect(f->t->loop, address, &events, &f->client, on_connected);
}

static void flow_end(struct flow *f)
{
    struct trial *t = f->t;
    if (f->client.s != NULL) env_stream_close(f->client.s);
    if (f->server.s != NULL) env_stream_close(f->server.s);
    if (f->listener != NULL) env_listener_close(f->listener);
    env_timer_stop(&f->wait);
    mem_free(f);
    finish(t);
}

enum { MUCH = 600000 };

/* Both write much, before they are connected and after; all arrives, in order. Then one closes, and the other hears of it. */
static void step_both_ways(struct flow *f)
{
    if (f->stage == 0 && f->server.received == MUCH && f->client.received == MUCH) {
        see(f->t, "all there");
        f->stage = 1;
        env_stream_close(f->client.s);
        f->client.s = NULL;
    } else if (f->stage == 1 && f->server.closed) {
        see(f->t, "closed: %s", status_name(f->server.status));
        f->stage = 2;
        flow_end(f);
    }
}

static void bytes_go_both_ways(struct trial *t)
{
    struct flow *f = flow_new(t, step_both_ways);
    f->client.to_send = f->server.to_send = MUCH;
    flow_connect(f);
    uint8_t early[10];
    for (unsigned i = 0; i < 10; i++) early[i] = pattern(i);
    env_stream_write(f->client.s, bytes_of(early, 10)); /* queued until it is connected */
    f->client.sent = 10;
}

/* Closed as soon as all is handed over: what is queued is sent first. It fits into what the kernel takes. */
static void step_close_sends(struct flow *f)
{
    if (f->server.closed && f->stage++ == 0) {
        see(f->t, "received %u, closed: %s", (unsigned)f->server.received, status_name(f->server.status));
        flow_end(f);
    }
}

static void closing_sends_what_is_queued(struct trial *t)
{
    struct flow *f = flow_new(t, step_close_sends);
    f->client.to_send = 8000;
    f->client.close_when_sent = true;
    flow_connect(f);
}

/* A reader that pauses makes the writer queue; when it goes on, all comes, and the writer hears that it has drained. */
static void step_pause(struct flow *f)
{
    struct env_stream *c = f->client.s;
    if (f->stage == 0 && f->server.s != NULL && f->client.sent == f->client.to_send) {
        f->stage = 1;
        env_timer_start(&f->wait, 300 * NS_PER_MS);
    } else if (f->stage == 1 && f->wait.due_ns == 0) {
        see(f->t, "received %u, some is queued: %d, drained: %d", (unsigned)f->server.received,
            env_stream_queued(c) > 0, f->drained);
        f->stage = 2;
        env_stream_resume(f->server.s);
    } else if (f->stage == 2 && f->drained && f->server.received == f->client.to_send) {
        see(f->t, "all there; queued %zu", env_stream_queued(c));
        f->stage = 3;
        flow_end(f);
    }
}

static void a_paused_reader_pushes_back(struct trial *t)
{
    struct flow *f = flow_new(t, step_pause);
    f->pause_server = true;
    f->client.to_send = 32 << 20; /* more than any kernel buffers */
    flow_connect(f);
}

static void step_refused(struct flow *f)
{
    if (f->client.s == NULL && f->stage++ == 0) flow_end(f);
}

static void nobody_listens(struct trial *t)
{
    struct flow *f = flow_new(t, step_refused);
    char address[64];
    snprintf(address, sizeof address, "%s:%u", t->host, env_listener_port(f->listener));
    env_listener_close(f->listener);
    f->listener = NULL;
    f->client.s = env_connect(t->loop, address, &events, &f->client, on_connected);
}

/* The other side closes with bytes that it has not read. The one that wrote them hears of the end, once; it may be a reset, if
 * some came in as the socket was being closed: the simulated network draws that. */
static void step_unread(struct flow *f)
{
    if (f->stage == 0 && f->server.s != NULL && f->client.sent == f->client.to_send) {
        f->stage = 1;
        env_timer_start(&f->wait, 200 * NS_PER_MS);
    } else if (f->stage == 1 && f->wait.due_ns == 0) {
        f->stage = 2;
        env_stream_close(f->server.s);
        f->server.s = NULL;
    } else if (f->stage == 2 && f->client.closed) {
        assert_true(f->client.status == ST_OK || f->client.status == ST_CLOSED);
        see(f->t, "closed");
        f->stage = 3;
        flow_end(f);
    }
}

static void closing_with_unread_bytes(struct trial *t)
{
    struct flow *f = flow_new(t, step_unread);
    f->pause_server = true;
    f->client.to_send = 1000;
    flow_connect(f);
}

/* A stream closed by its owner inside its own data event calls nothing any more, though more has arrived. */
static void step_close_inside(struct flow *f)
{
    if (f->stage == 0 && f->server.received > 0) {
        f->stage = 1;
        env_stream_close(f->server.s);
        f->server.s = NULL;
        env_timer_start(&f->wait, 200 * NS_PER_MS);
    } else if (f->stage == 1 && f->wait.due_ns == 0) {
        see(f->t, "nothing more");
        f->stage = 2;
        flow_end(f);
    }
}

static void closing_inside_an_event(struct trial *t)
{
    struct flow *f = flow_new(t, step_close_inside);
    f->client.to_send = 100000;
    flow_connect(f);
}

/* ---- both environments ---- */

static const struct conform {
    const char *name;
    void (*run)(struct trial *t);
} table[] = {
    {"files are read and written", files_are_read_and_written},
    {"files are cut and grown", files_are_cut_and_grown},
    {"files open as asked", files_open_as_asked},
    {"names move", names_move},
    {"directories hold names", directories_hold_names},
    {"locks exclude", locks_exclude},
    {"timers fire in order", timers_fire_in_order},
    {"tasks run later and in order", tasks_run_later_and_in_order},
    {"jobs of one thread run in order", jobs_of_one_thread_run_in_order},
    {"a freed worker gives jobs back", a_freed_worker_gives_jobs_back},
    {"bytes go both ways", bytes_go_both_ways},
    {"closing sends what is queued", closing_sends_what_is_queued},
    {"a paused reader pushes back", a_paused_reader_pushes_back},
    {"nobody listens", nobody_listens},
    {"closing with unread bytes", closing_with_unread_bytes},
    {"closing inside an event", closing_inside_an_event},
};

static const struct conform *now_running;
static struct env_task begin;
static struct trial *the_trial;

static void begin_run(struct env_task *task) { now_running->run(the_trial); }
static void stop_loop(struct trial *t) { env_real_loop_stop(t->loop); }

static void on_real(const struct conform *c, struct trial *t)
{
    *t = (struct trial){.listen_at = "127.0.0.1:0", .host = "127.0.0.1", .finished = stop_loop};
    snprintf(t->dir, sizeof t->dir, "/tmp/cairn_conform_XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    t->env = env_real_new();
    t->loop = env_real_loop_new(t->env);
    now_running = c;
    the_trial = t;
    begin = (struct env_task){.run = begin_run};
    alarm(60); /* a test that hangs ends */
    env_post(t->loop, &begin);
    env_real_loop_run(t->loop);
    alarm(0);
    env_real_loop_free(t->loop);
    env_real_free(t->env);
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s'", t->dir);
    assert_int_equal(system(command), 0);
}

static void sim_main(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct trial *t = ctx;
    t->env = env;
    t->loop = loops[0];
    assert_int_equal(env_dir_create(env, t->dir, NULL), ST_OK);
    now_running->run(t);
}

/* What was seen, copied out of the world; the caller frees it. */
static char *on_simulated(const struct conform *c, uint64_t seed)
{
    struct world *w = world_new(seed);
    struct sim_node *n = world_node_new(w, "n1");
    struct trial *t = mem_zalloc(sizeof *t);
    *t = (struct trial){.listen_at = "0.0.0.0:0", .host = "n1"};
    snprintf(t->dir, sizeof t->dir, "/data");
    now_running = c;
    if (seed % 2 == 0) net_options(w)->split_one_in = 3;
    world_cpu_options(w)->hiccup_one_in = seed % 3 == 0 ? 50 : 0;
    world_start(n, 1, sim_main, t);
    bool done = world_run_while_not(w, &t->done, 600 * NS_PER_S);
    char *seen = malloc(t->seen.n + 1);
    memcpy(seen, t->seen.p, t->seen.n);
    seen[t->seen.n] = 0;
    if (!done)
        fail_msg("%s: not done in 600 simulated seconds, seed %llu; so far:\n%s", c->name, (unsigned long long)seed,
                 seen);
    world_free(w);
    return seen;
}

static void test_both(void **state)
{
    const struct conform *c = *state;
    char real[4096];
    struct trial t;
    on_real(c, &t);
    snprintf(real, sizeof real, "%.*s", (int)t.seen.n, (const char *)t.seen.p);
    buf_deinit(&t.seen);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        char *seen = on_simulated(c, seed);
        if (strcmp(real, seen) != 0)
            print_message("%s, seed %llu\n-- the kernel:\n%s-- simulated:\n%s", c->name, (unsigned long long)seed, real,
                          seen);
        assert_string_equal(seen, real);
        free(seen);
    }
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_COUNT(table)];
    for (size_t i = 0; i < ARRAY_COUNT(table); i++)
        tests[i] = (struct CMUnitTest){
            .name = table[i].name, .test_func = test_both, .initial_state = (void *)(uintptr_t)&table[i]};
    const char *only = getenv("CONFORM"); /* a pattern of names */
    if (only != NULL) cmocka_set_test_filter(only);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
