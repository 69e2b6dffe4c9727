/* world_test.c - time, loops, processes, and that one seed is one run.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/mem.h"
#include "sim/disk.h"
#include "sim/net.h"
#include "sim/queue.h"
#include "sim/world.h"

/* ---- the queue ---- */

static void events_come_in_order(void **state)
{
    enum { N = 500 };
    static struct event events[N];
    static uint64_t seqs[N];
    struct heap heap;
    struct queue q;
    struct rng rng;
    heap_install();
    heap_init(&heap, false);
    queue_init(&q, &heap);
    rng_init(&rng, 1);
    uint64_t seq = 0;
    for (int i = 0; i < N; i++) events[i] = (struct event){.place = EVENT_IDLE};
    for (int step = 0; step < 100000; step++) {
        uint64_t k = rng_below(&rng, N);
        switch (rng_below(&rng, 5)) {
        case 0: queue_remove(&q, &events[k]); break;
        case 1: {
            struct event *least = NULL; /* the dumb way */
            for (int i = 0; i < N; i++) {
                struct event *e = &events[i];
                if (event_queued(e) && (least == NULL || e->time_ns < least->time_ns ||
                                        (e->time_ns == least->time_ns && seqs[e - events] < seqs[least - events])))
                    least = e;
            }
            assert_int_equal(queue_next_ns(&q), least != NULL ? least->time_ns : UINT64_MAX);
            assert_ptr_equal(queue_pop(&q), least);
            break;
        }
        default: queue_push(&q, &events[k], rng_below(&rng, 300)); seqs[k] = seq++;
        }
    }
    heap_clear(&heap);
}

/* ---- a process for the tests ---- */

struct app {
    struct world *w;
    struct sim_node *n;
    struct env *env;
    struct env_loop *loop[4];
    unsigned starts;
    void (*more)(struct app *a);
};

static void app_start(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct app *a = ctx;
    a->env = env;
    for (unsigned i = 0; i < n; i++) a->loop[i] = loops[i];
    a->starts++;
    if (a->more != NULL) a->more(a);
}

static struct app app_new(uint64_t seed)
{
    struct app a = {.w = world_new(seed)};
    a.n = world_node_new(a.w, "n1");
    return a;
}

static void app_run(struct app *a, unsigned loops)
{
    world_start(a->n, loops, app_start, a);
    world_run(a->w, NS_PER_MS);
}

/* ---- tasks ---- */

struct noted {
    struct env_task task;
    struct order *order;
    unsigned id;
};

struct order {
    struct app *a;
    struct noted items[64];
    unsigned ran[256];
    unsigned count;
};

static void note_run(struct env_task *t)
{
    struct noted *n = CONTAINER_OF(t, struct noted, task);
    n->order->ran[n->order->count++] = n->id;
}

static void note_init(struct order *o, unsigned id)
{
    o->items[id] = (struct noted){.task = {.run = note_run}, .order = o, .id = id};
}

static void post_many(void *ctx)
{
    struct order *o = ctx;
    for (unsigned i = 0; i < 64; i++) {
        note_init(o, i);
        env_post(o->a->loop[1], &o->items[i].task);
    }
    assert_int_equal(o->count, 0);
}

static void posted_tasks_keep_their_order(void **state)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct app a = app_new(seed);
        struct order o = {.a = &a};
        app_run(&a, 2);
        world_call(a.loop[0], post_many, &o);
        assert_int_equal(o.count, 0);
        world_run(a.w, NS_PER_MS);
        assert_int_equal(o.count, 64);
        for (unsigned i = 0; i < 64; i++) assert_int_equal(o.ran[i], i);
        world_free(a.w);
    }
}

static void defer_some(void *ctx)
{
    struct order *o = ctx;
    for (unsigned i = 0; i < 3; i++) note_init(o, i);
    env_defer(o->a->loop[0], &o->items[0].task);
    env_defer(o->a->loop[0], &o->items[1].task);
    env_defer(o->a->loop[0], &o->items[0].task); /* twice is once */
    assert_int_equal(o->count, 0);
}

static void note_two(void *ctx)
{
    struct order *o = ctx;
    o->ran[o->count++] = 2;
}

static void deferred_tasks_come_last_in_their_turn(void **state)
{
    struct app a = app_new(2);
    struct order o = {.a = &a};
    app_run(&a, 1);
    world_stall(a.loop[0], NS_PER_MS); /* both calls are ready when the turn begins */
    world_call(a.loop[0], defer_some, &o);
    world_call(a.loop[0], note_two, &o);
    world_run(a.w, 2 * NS_PER_MS);
    assert_int_equal(o.count, 3);
    assert_int_equal(o.ran[0], 2);
    assert_int_equal(o.ran[1], 0);
    assert_int_equal(o.ran[2], 1);
    world_free(a.w);
}

/* ---- timers and clocks ---- */

struct alarm {
    struct env_timer timer;
    struct app *a;
    uint64_t set_at, delay, fired_at, fired_world_ns;
    unsigned fired;
};

static void alarm_fire(struct env_timer *t)
{
    struct alarm *al = CONTAINER_OF(t, struct alarm, timer);
    assert_int_equal(t->due_ns, 0);
    al->fired++;
    al->fired_at = env_now_ns(al->a->env);
    al->fired_world_ns = world_now_ns(al->a->w);
    assert_true(al->fired_at >= al->set_at + al->delay); /* never early */
}

static void alarm_set(struct alarm *al, struct app *a, uint64_t delay)
{
    if (al->a == NULL) env_timer_init(a->loop[0], &al->timer, alarm_fire);
    al->a = a;
    al->set_at = env_now_ns(a->env);
    al->delay = delay;
    env_timer_start(&al->timer, delay);
}

static void timers_fire_never_early(void **state)
{
    static const int64_t drifts[] = {0, 10000, -10000, 123, -7777};
    for (size_t d = 0; d < ARRAY_COUNT(drifts); d++) {
        struct app a = app_new(d);
        struct alarm al[20] = {0};
        world_clock_drift(a.n, drifts[d]);
        app_run(&a, 1);
        world_enter(a.n);
        for (unsigned i = 0; i < 20; i++) alarm_set(&al[i], &a, i * i * 10 * NS_PER_MS);
        alarm_set(&al[3], &a, 2 * NS_PER_S); /* moved */
        env_timer_stop(&al[4].timer);
        env_timer_stop(&al[4].timer);
        world_leave(a.w);
        world_run(a.w, NS_PER_S);
        world_clock_drift(a.n, -drifts[d]);
        world_run(a.w, 4 * NS_PER_S);
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(al[i].fired, i != 4);
            if (i != 4) assert_in_range(al[i].fired_at - al[i].set_at - al[i].delay, 0, 75 * NS_PER_MS);
        }
        struct sim_leaks leaks = world_stop(a.n);
        assert_false(sim_leaks_any(&leaks));
        world_free(a.w);
    }
}

static void clocks_drift_and_jump(void **state)
{
    struct app a = app_new(5);
    app_run(&a, 1);
    uint64_t mono = env_now_ns(a.env), wall = env_wall_ms(a.env);
    assert_in_range(wall, 1767225600000, 1767225600000 + 1000);
    world_clock_drift(a.n, 10000);
    world_run(a.w, 100 * NS_PER_S);
    assert_in_range(env_now_ns(a.env) - mono, 101 * NS_PER_S - 1000000, 101 * NS_PER_S + 1000000);
    assert_in_range(env_wall_ms(a.env) - wall, 100999, 101001);
    mono = env_now_ns(a.env);
    wall = env_wall_ms(a.env);
    world_clock_jump(a.n, -50000);
    assert_int_equal(env_now_ns(a.env), mono);
    assert_int_equal(env_wall_ms(a.env), wall - 50000);
    for (int i = 0; i < 1000; i++) {
        world_clock_drift(a.n, (int64_t)rng_below(world_rng(a.w), 20001) - 10000);
        world_run(a.w, rng_below(world_rng(a.w), NS_PER_MS));
        assert_true(env_now_ns(a.env) >= mono);
        mono = env_now_ns(a.env);
    }
    /* A kill leaves the machine's clock alone; a boot starts it again. */
    world_crash(a.n, SIM_KILL);
    app_run(&a, 1);
    assert_true(env_now_ns(a.env) >= mono);
    wall = env_wall_ms(a.env);
    world_crash(a.n, SIM_POWER_LOSS);
    app_run(&a, 1);
    assert_true(env_now_ns(a.env) <= 61 * NS_PER_S);
    assert_in_range(env_wall_ms(a.env) - wall, 0, 2);
    world_free(a.w);
}

static void pauses_make_all_late(void **state)
{
    struct app a = app_new(6);
    struct alarm al[3] = {0};
    app_run(&a, 1);
    world_enter(a.n);
    alarm_set(&al[0], &a, 100 * NS_PER_MS);
    alarm_set(&al[1], &a, 900 * NS_PER_MS);
    alarm_set(&al[2], &a, 5 * NS_PER_S);
    world_leave(a.w);
    uint64_t resumes = world_now_ns(a.w) + 3 * NS_PER_S, mono = env_now_ns(a.env);
    world_pause(a.n, 3 * NS_PER_S);
    world_run(a.w, 2999 * NS_PER_MS);
    assert_int_equal(al[0].fired + al[1].fired + al[2].fired, 0);
    assert_in_range(env_now_ns(a.env) - mono, 2990 * NS_PER_MS, 3000 * NS_PER_MS); /* time passes all the same */
    world_run(a.w, 10 * NS_PER_MS);
    assert_true(al[0].fired == 1 && al[1].fired == 1 && al[2].fired == 0);
    assert_true(al[0].fired_world_ns >= resumes && al[1].fired_world_ns > al[0].fired_world_ns);
    world_run(a.w, 10 * NS_PER_S);
    assert_int_equal(al[2].fired, 1);
    world_free(a.w);
}

/* ---- workers ---- */

struct work {
    struct env_job job;
    struct app *a;
    const char *path;
    unsigned id, *ran, *n_ran, *done, *n_done;
    uint64_t ran_at, done_at;
};

static void work_run(struct env_job *j)
{
    struct work *k = CONTAINER_OF(j, struct work, job);
    struct env_file *f;
    assert_int_equal(env_file_open(k->a->env, k->path, ENV_CREATE, &f, NULL), ST_OK);
    assert_int_equal(env_file_sync(f, NULL), ST_OK);
    env_file_close(f);
    k->ran_at = world_now_ns(k->a->w);
    k->ran[(*k->n_ran)++] = k->id;
}

static void work_done(struct env_job *j)
{
    struct work *k = CONTAINER_OF(j, struct work, job);
    k->done_at = world_now_ns(k->a->w);
    k->done[(*k->n_done)++] = k->id;
}

struct works {
    struct app a;
    struct work items[30];
    char paths[30][16];
    unsigned ran[30], done[30], n_ran, n_done;
    struct env_worker *worker;
};

static void works_submit(void *ctx)
{
    struct works *s = ctx;
    for (unsigned i = 0; i < 30; i++) {
        snprintf(s->paths[i], sizeof s->paths[i], "/%u", i);
        s->items[i] = (struct work){.job = {.run = work_run, .done = work_done},
                                    .a = &s->a,
                                    .path = s->paths[i],
                                    .id = i,
                                    .ran = s->ran,
                                    .n_ran = &s->n_ran,
                                    .done = s->done,
                                    .n_done = &s->n_done};
        env_worker_submit(s->worker, s->a.loop[0], &s->items[i].job);
    }
}

static void works_end(void *ctx)
{
    struct works *s = ctx;
    unsigned ran = s->n_ran;
    env_worker_free(s->worker); /* waits for what runs; the rest comes back undone */
    assert_in_range(s->n_ran - ran, 0, 3);
}

static void works_new(struct works *s, uint64_t seed, unsigned threads)
{
    memset(s, 0, sizeof *s);
    s->a = app_new(seed);
    app_run(&s->a, 1);
    world_enter(s->a.n);
    s->worker = env_worker_new(s->a.env, "w", threads);
    world_leave(s->a.w);
    world_call(s->a.loop[0], works_submit, s);
}

static void one_thread_runs_jobs_in_order(void **state)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct works s;
        works_new(&s, seed, 1);
        world_run(s.a.w, 10 * NS_PER_S);
        assert_int_equal(s.n_done, 30);
        for (unsigned i = 0; i < 30; i++) {
            assert_true(s.ran[i] == i && s.done[i] == i);
            assert_true(s.items[i].done_at > s.items[i].ran_at);
        }
        world_free(s.a.w);
    }
}

static void several_threads_overlap(void **state)
{
    unsigned disorder = 0;
    uint64_t one = 0, four = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct works s;
        works_new(&s, seed, 4);
        world_run(s.a.w, 10 * NS_PER_S);
        assert_int_equal(s.n_done, 30);
        for (unsigned i = 0; i < 30; i++) disorder += s.done[i] != i;
        four += s.items[s.done[29]].done_at;
        world_free(s.a.w);
        works_new(&s, seed, 1);
        world_run(s.a.w, 10 * NS_PER_S);
        one += s.items[29].done_at;
        world_free(s.a.w);
    }
    assert_true(disorder > 500 && four * 2 < one);
}

static void freeing_a_worker_waits(void **state)
{
    unsigned undone = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct works s;
        works_new(&s, seed, 1 + seed % 3);
        world_run(s.a.w, rng_below(world_rng(s.a.w), 5 * NS_PER_MS));
        world_call(s.a.loop[0], works_end, &s);
        world_run(s.a.w, NS_PER_S);
        assert_int_equal(s.n_done, 30);
        undone += 30 - s.n_ran;
        struct sim_leaks leaks = world_stop(s.a.n);
        assert_false(sim_leaks_any(&leaks));
        world_free(s.a.w);
    }
    assert_true(undone > 100);
}

static void a_pause_stops_workers(void **state)
{
    struct works s;
    works_new(&s, 7, 2);
    world_run(s.a.w, NS_PER_MS);
    world_pause(s.a.n, NS_PER_S);
    unsigned ran = s.n_ran;
    world_run(s.a.w, 999 * NS_PER_MS);
    assert_int_equal(s.n_ran, ran);
    world_run(s.a.w, NS_PER_S);
    assert_int_equal(s.n_done, 30);
    world_free(s.a.w);
}

/* ---- the end of processes ---- */

static void take_memory(struct app *a)
{
    for (int i = 0; i < 100; i++) {
        char *p = mem_alloc(1000);
        p = mem_realloc(p, 2000);
        memset(p, i, 2000);
        if (i % 2 != 0) mem_free(p);
    }
}

static void a_crash_frees_memory(void **state)
{
    struct app a = app_new(8);
    struct alarm al = {0};
    struct order o = {.a = &a};
    a.more = take_memory;
    app_run(&a, 2);
    world_enter(a.n);
    alarm_set(&al, &a, NS_PER_MS);
    world_leave(a.w);
    world_call(a.loop[0], post_many, &o);
    world_crash(a.n, SIM_KILL); /* the leak sanitizer and use after free would show what is left */
    assert_false(world_running(a.n));
    world_run(a.w, NS_PER_S);
    assert_int_equal(al.fired, 0);
    assert_int_equal(o.count, 0);
    app_run(&a, 1);
    assert_int_equal(a.starts, 2);
    struct sim_leaks leaks = world_stop(a.n);
    assert_int_equal(leaks.blocks, 50);
    assert_int_equal(leaks.bytes, 50 * 2000);
    assert_true(sim_leaks_any(&leaks));
    a.more = NULL;
    app_run(&a, 1);
    leaks = world_stop(a.n);
    assert_false(sim_leaks_any(&leaks));
    const struct sim_counters *c = world_counters(a.w);
    assert_true(c->kills == 1 && c->processes_started == 3 && c->processes_stopped == 2);
    world_free(a.w);
}

static void die(void *ctx)
{
    struct app *a = ctx;
    char *p = mem_alloc(10);
    world_crash(a->n, SIM_POWER_LOSS);
    p[0] = 1; /* this callback still runs to its end */
    assert_true(world_running(a->n));
}

static void live(void *ctx) { ++*(unsigned *)ctx; }

static void a_process_can_crash_itself(void **state)
{
    struct app a = app_new(9);
    unsigned lived = 0;
    app_run(&a, 1);
    world_stall(a.loop[0], NS_PER_MS);
    world_call(a.loop[0], live, &lived);
    world_call(a.loop[0], die, &a);
    world_call(a.loop[0], live, &lived); /* in the same turn, after the end */
    world_run(a.w, NS_PER_S);
    assert_int_equal(lived, 1);
    assert_false(world_running(a.n));
    world_free(a.w);
}

static void a_blocked_start_can_be_crashed(struct app *a)
{
    struct env_file *f;
    assert_int_equal(env_dir_create(a->env, "/a/b/c/d", NULL), ST_OK);
    assert_int_equal(env_file_open(a->env, "/a/b/c/d/f", ENV_CREATE, &f, NULL), ST_OK);
    assert_int_equal(env_file_sync(f, NULL), ST_OK);
    env_file_close(f);
    a->starts += 100;
}

static void start_takes_time(void **state)
{
    unsigned finished = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct app a = app_new(seed);
        struct order o = {.a = &a};
        a.more = a_blocked_start_can_be_crashed;
        world_start(a.n, 1, app_start, &a);
        note_init(&o, 0);
        world_enter(a.n);
        env_post(world_loop(a.n, 0), &o.items[0].task);
        world_leave(a.w);
        world_run(a.w, rng_below(world_rng(a.w), 10 * NS_PER_MS));
        assert_int_equal(o.count, a.starts > 100); /* loops turn when start is through */
        finished += a.starts > 100;
        world_crash(a.n, seed % 2 != 0 ? SIM_KILL : SIM_POWER_LOSS);
        world_run(a.w, NS_PER_S);
        world_free(a.w);
    }
    assert_in_range(finished, 20, 180);
}

static void other_loops_timer(void *ctx)
{
    struct app *a = ctx;
    struct env_timer t;
    env_timer_init(a->loop[1], &t, alarm_fire);
    env_timer_start(&t, 1);
}

static jmp_buf caught;
static void catch_assert(const char *file, int line, const char *condition) { longjmp(caught, 1); }

static void a_loop_belongs_to_its_thread(void **state)
{
    struct app a = app_new(10);
    app_run(&a, 2);
    void (*old)(const char *, int, const char *) = assert_hook;
    assert_hook = catch_assert;
    bool failed = false;
    world_call(a.loop[0], other_loops_timer, &a);
    if (setjmp(caught) == 0) world_run(a.w, NS_PER_S);
    else failed = true;
    assert_hook = old;
    assert_true(failed); /* the world is not used again: it was left in the middle of a turn */
}

static void free_it(void *ctx) { mem_free(ctx); }

/* Memory goes with whoever allocated it; a process must not free another's. */
static void memory_has_one_owner(void **state)
{
    struct app a = app_new(11), b = {.w = a.w};
    b.n = world_node_new(a.w, "n2");
    app_run(&a, 1);
    app_run(&b, 1);
    char *mine = mem_alloc(10);
    world_enter(a.n);
    mine = mem_realloc(mine, 1000); /* stays the test's */
    world_leave(a.w);
    world_crash(a.n, SIM_KILL);
    memset(mine, 1, 1000);
    mem_free(mine);
    app_run(&a, 1);
    world_enter(a.n);
    char *theirs = mem_alloc(10);
    world_leave(a.w);
    world_call(b.loop[0], free_it, theirs);
    void (*old)(const char *, int, const char *) = assert_hook;
    assert_hook = catch_assert;
    bool failed = false;
    if (setjmp(caught) == 0) world_run(a.w, NS_PER_S);
    else failed = true;
    assert_hook = old;
    heap_enter(NULL);
    assert_true(failed); /* and this world is not used again */
}

static void a_stalled_loop_is_late_alone(void **state)
{
    struct app a = app_new(12);
    unsigned lived = 0, lived_too = 0;
    app_run(&a, 2);
    world_stall(a.loop[0], NS_PER_S);
    world_call(a.loop[0], live, &lived);
    world_call(a.loop[1], live, &lived_too);
    world_run(a.w, 999 * NS_PER_MS);
    assert_true(lived == 0 && lived_too == 1);
    world_run(a.w, 2 * NS_PER_MS);
    assert_int_equal(lived, 1);
    world_free(a.w);
}

/* ---- one seed, one run ---- */

/* Nodes that write what they get to a file and send it on, under all faults. */
struct chatter {
    struct world *w;
    struct sim_node *n;
    struct chatter *all;
    unsigned id, count;
    struct env *env;
    struct env_loop *loop;
    struct env_timer timer;
    struct env_file *file;
    struct env_worker *worker;
    uint64_t written;
};

struct line {
    struct env_job job;
    struct chatter *c;
    uint64_t at;
    uint8_t data[600];
};

static void line_run(struct env_job *j)
{
    struct line *l = CONTAINER_OF(j, struct line, job);
    enum status st = env_file_write(l->c->file, l->at, l->data, sizeof l->data, NULL);
    if (st == ST_OK && l->data[0] % 8 == 0) env_file_sync(l->c->file, NULL);
}

static void line_done(struct env_job *j) { mem_free(CONTAINER_OF(j, struct line, job)); }

static void chat_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct chatter *c = ctx;
    if (env_random_u64(c->env) % 4 == 0) env_stream_write(s, data);
    if (env_random_u64(c->env) % 4 == 0) {
        struct line *l = mem_zalloc(sizeof *l);
        l->job = (struct env_job){.run = line_run, .done = line_done};
        l->c = c;
        l->at = c->written;
        memcpy(l->data, data.p, MIN(data.n, sizeof l->data));
        c->written = (c->written + sizeof l->data) % 100000;
        env_worker_submit(c->worker, c->loop, &l->job);
    }
}

static void chat_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    diag(DIAG_INFO, "chat.closed status=%s", status_name(st));
    env_stream_close(s);
}

static const struct env_stream_events chat_events = {chat_data, NULL, chat_closed};

static void chat_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct chatter *c = ctx;
    if (st != ST_OK) {
        env_stream_close(s);
        return;
    }
    uint8_t data[3000];
    env_random(c->env, data, sizeof data);
    env_stream_write(s, bytes_of(data, env_random_u64(c->env) % sizeof data));
}

static void chat_accept(void *ctx, struct env_stream *s) { env_stream_set_events(s, &chat_events, ctx); }

static void chat_tick(struct env_timer *t)
{
    struct chatter *c = CONTAINER_OF(t, struct chatter, timer);
    char address[32];
    snprintf(address, sizeof address, "n%u:1", (unsigned)(env_random_u64(c->env) % c->count));
    env_connect(c->loop, address, &chat_events, c, chat_connected);
    env_timer_start(t, 1 + env_random_u64(c->env) % (20 * NS_PER_MS));
}

static void chat_start(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct chatter *c = ctx;
    struct env_listener *l;
    c->env = env;
    c->loop = loops[0];
    if (env_file_open(env, "/f", ENV_WRITE, &c->file, NULL) != ST_OK)
        assert_int_equal(env_file_open(env, "/f", ENV_CREATE, &c->file, NULL), ST_OK);
    env_file_read(c->file, 0, &(uint8_t){0}, 1, NULL);
    if (env_random_u64(env) % 2 != 0) env_dir_sync(env, "/", NULL);
    c->worker = env_worker_new(env, "w", 2);
    assert_int_equal(env_listen(loops[0], "0.0.0.0:1", chat_accept, c, &l, NULL), ST_OK);
    env_timer_init(loops[0], &c->timer, chat_tick);
    env_timer_start(&c->timer, NS_PER_MS);
}

static void chat_fault(void *ctx)
{
    struct chatter *all = ctx;
    struct world *w = all->w;
    struct rng *r = world_rng(w);
    struct sim_node *a = all[rng_below(r, all->count)].n, *b = all[rng_below(r, all->count)].n;
    switch (rng_below(r, 10)) {
    case 0:
    case 1: world_crash(a, rng_next(r) & 1 ? SIM_KILL : SIM_POWER_LOSS); break;
    case 2: world_pause(a, rng_below(r, NS_PER_S)); break;
    case 3:
        if (a != b) net_cut(a, b);
        break;
    case 4: net_heal_all(w); break;
    case 5: net_reset(a, NULL); break;
    case 6: sim_disk_stall(a, rng_below(r, NS_PER_S)); break;
    case 7: world_clock_jump(a, (int64_t)rng_below(r, 20000) - 10000); break;
    case 8: world_clock_drift(a, (int64_t)rng_below(r, 20000) - 10000); break;
    case 9: sim_disk_corrupt_one(a, NULL, NULL, 0, NULL); break;
    }
    for (unsigned i = 0; i < all->count; i++)
        if (!world_running(all[i].n) && (rng_next(r) & 1)) world_start(all[i].n, 1, chat_start, &all[i]);
    world_at(w, world_now_ns(w) + rng_below(r, 200 * NS_PER_MS), chat_fault, ctx);
}

static uint64_t chat_trace(uint64_t seed, struct sim_counters *out)
{
    struct chatter all[5];
    struct world *w = world_new(seed);
    net_options(w)->loss_one_in = 50;
    net_options(w)->reset_one_in = 1000;
    net_options(w)->give_up_ns_min = NS_PER_S;
    net_options(w)->give_up_ns_max = 3 * NS_PER_S;
    net_options(w)->connect_timeout_ns = 2 * NS_PER_S;
    world_cpu_options(w)->hiccup_one_in = 1000;
    world_cpu_options(w)->hiccup_ns_max = 50 * NS_PER_MS;
    for (unsigned i = 0; i < 5; i++) {
        char host[8];
        snprintf(host, sizeof host, "n%u", i);
        all[i] = (struct chatter){.w = w, .n = world_node_new(w, host), .all = all, .id = i, .count = 5};
        sim_disk_options(all[i].n)->write_error_one_in = 200;
        sim_disk_options(all[i].n)->sync_error_one_in = 100;
        sim_disk_options(all[i].n)->read_error_one_in = 4;
        world_start(all[i].n, 1, chat_start, &all[i]);
    }
    world_at(w, 0, chat_fault, all);
    world_run(w, 20 * NS_PER_S);
    uint64_t trace = world_trace(w);
    if (out != NULL) *out = *world_counters(w);
    world_free(w);
    return trace;
}

static void the_same_seed_gives_the_same_run(void **state)
{
    struct sim_counters c1, c2, sum = {0};
    uint64_t last = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        uint64_t first = chat_trace(seed, &c1);
        assert_int_equal(first, chat_trace(seed, &c2));
        assert_memory_equal(&c1, &c2, sizeof c1);
        assert_int_not_equal(first, last);
        last = first;
        assert_true(c1.events > 10000 && c1.jobs > 100 && c1.bytes_delivered > 100000);
        for (size_t i = 0; i < sizeof c1 / sizeof(uint64_t); i++) ((uint64_t *)&sum)[i] += ((uint64_t *)&c1)[i];
    }
    /* Those were not quiet runs: every kind of fault was there. */
    sum.disk_fulls = sum.processes_stopped = 1; /* but for these */
    for (size_t i = 0; i < sizeof sum / sizeof(uint64_t); i++) assert_int_not_equal(((uint64_t *)&sum)[i], 0);
}

static const char *self;

static void two_processes_agree(void **state)
{
    char command[600], line[64];
    snprintf(command, sizeof command, "'%s' --trace 42", self);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(line, sizeof line, p));
    assert_int_equal(pclose(p), 0);
    assert_int_equal(strtoull(line, NULL, 16), chat_trace(42, NULL));
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--trace") == 0) {
        printf("%" PRIx64 "\n", chat_trace(strtoull(argv[2], NULL, 10), NULL));
        return 0;
    }
    self = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_in_order),
        cmocka_unit_test(posted_tasks_keep_their_order),
        cmocka_unit_test(deferred_tasks_come_last_in_their_turn),
        cmocka_unit_test(timers_fire_never_early),
        cmocka_unit_test(clocks_drift_and_jump),
        cmocka_unit_test(pauses_make_all_late),
        cmocka_unit_test(one_thread_runs_jobs_in_order),
        cmocka_unit_test(several_threads_overlap),
        cmocka_unit_test(freeing_a_worker_waits),
        cmocka_unit_test(a_pause_stops_workers),
        cmocka_unit_test(a_crash_frees_memory),
        cmocka_unit_test(a_process_can_crash_itself),
        cmocka_unit_test(start_takes_time),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
        cmocka_unit_test(two_processes_agree),
        cmocka_unit_test(a_stalled_loop_is_late_alone),
        cmocka_unit_test(memory_has_one_owner),
        cmocka_unit_test(a_loop_belongs_to_its_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
