/* real_test.c - the real environment's clocks, tasks, timers, workers and signals.
 * SPDX-License-Identifier: Apache-2.0 */
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "env/real_test_util.h"

/* ---- clocks, randomness ---- */

static void test_clocks_and_random(void **state)
{
    struct env *env = env_real_new();
    uint64_t a = env_now_ns(env), b = env_now_ns(env);
    assert_true(a > 0 && a <= b);
    assert_true(env_wall_ms(env) > 1600000000000ull); /* 2020 */
    uint64_t seen[256];
    for (size_t i = 0; i < ARRAY_COUNT(seen); i++) {
        seen[i] = env_random_u64(env);
        for (size_t j = 0; j < i; j++) assert_true(seen[i] != seen[j]);
    }
    uint8_t big[2000] = {0};
    size_t zeros = 0;
    env_random(env, big, sizeof big);
    for (size_t i = 0; i < sizeof big; i++) zeros += big[i] == 0;
    assert_true(zeros < 100);
    env_real_free(env);
}

/* ---- tasks ---- */

struct step {
    struct env_task task;
    struct env_loop *loop;
    char name;
    char *trace;
    void (*more)(struct step *step);
};

static void step_run(struct env_task *task)
{
    struct step *s = CONTAINER_OF(task, struct step, task);
    size_t n = strlen(s->trace);
    s->trace[n] = s->name;
    s->trace[n + 1] = '\0';
    if (s->more != NULL) s->more(s);
}

static struct step step_of(struct env_loop *loop, char name, char *trace)
{
    return (struct step){.task.run = step_run, .loop = loop, .name = name, .trace = trace};
}

static void step_stop(struct step *s) { env_real_loop_stop(s->loop); }

static struct step *chained[4];
static void step_chain(struct step *s)
{
    struct step *next = chained[0];
    memmove(chained, chained + 1, sizeof chained - sizeof chained[0]);
    if (next != NULL) env_defer(s->loop, &next->task);
}

static void test_posted_before_deferred(void **state)
{
    struct world w = world_new();
    char trace[16] = "";
    struct step a = step_of(w.loop, 'a', trace), b = step_of(w.loop, 'b', trace), c = step_of(w.loop, 'c', trace),
                d = step_of(w.loop, 'd', trace);
    env_post(w.loop, &a.task);
    env_defer(w.loop, &b.task);
    env_post(w.loop, &c.task);
    env_defer(w.loop, &d.task);
    env_defer(w.loop, &b.task); /* runs once, where it was first put */
    d.more = step_stop;
    env_real_loop_run(w.loop);
    assert_string_equal(trace, "acbd");
    world_free(&w);
}

/* Nothing else is there to wake the loop: if it blocked in between, this would never end. */
static void test_deferred_defers_without_blocking(void **state)
{
    struct world w = world_new();
    char trace[16] = "";
    struct step s[5];
    for (size_t i = 0; i < ARRAY_COUNT(s); i++) {
        s[i] = step_of(w.loop, (char)('a' + i), trace);
        s[i].more = step_chain;
        if (i > 0) chained[i - 1] = &s[i];
    }
    s[4].more = step_stop;
    env_defer(w.loop, &s[0].task);
    env_real_loop_run(w.loop);
    assert_string_equal(trace, "abcde");
    world_free(&w);
}

struct spinner {
    struct env_task task;
    struct env_timer timer;
    struct env_loop *loop;
    unsigned runs;
};

static void spin(struct env_task *task)
{
    struct spinner *s = CONTAINER_OF(task, struct spinner, task);
    s->runs++;
    env_defer(s->loop, task);
}

static void spin_over(struct env_timer *timer) { env_real_loop_stop(timer->loop); }

static void test_endless_deferring_starves_no_timer(void **state)
{
    struct world w = world_new();
    struct spinner s = {.task.run = spin, .loop = w.loop};
    env_timer_init(w.loop, &s.timer, spin_over);
    env_timer_start(&s.timer, NS_PER_MS);
    env_defer(w.loop, &s.task);
    env_real_loop_run(w.loop);
    assert_true(s.runs > 10);
    world_free(&w);
}

static void test_stop_runs_what_was_posted_before(void **state)
{
    struct world w = world_new();
    char trace[16] = "";
    struct step a = step_of(w.loop, 'a', trace), b = step_of(w.loop, 'b', trace);
    env_post(w.loop, &a.task);
    env_real_loop_stop(w.loop);
    env_real_loop_run(w.loop);
    assert_string_equal(trace, "a");
    env_defer(w.loop, &b.task); /* and it can run again */
    b.more = step_stop;
    env_real_loop_run(w.loop);
    assert_string_equal(trace, "ab");
    world_free(&w);
}

enum { SENDERS = 2, SENT = 20000 };

struct parcel {
    struct env_task task;
    struct sender *sender;
    unsigned number;
};

struct sender {
    struct env_loop *loop;
    struct parcel *parcels;
    unsigned expected; /* of the loop's thread */
    unsigned *missing;
};

static void parcel_run(struct env_task *task)
{
    struct parcel *p = CONTAINER_OF(task, struct parcel, task);
    ASSERT(p->number == p->sender->expected);
    p->sender->expected++;
    if (--*p->sender->missing == 0) env_real_loop_stop(p->sender->loop);
}

static void sender_main(void *arg)
{
    struct sender *s = arg;
    for (unsigned i = 0; i < SENT; i++) env_post(s->loop, &s->parcels[i].task);
}

static void test_posts_of_threads_keep_their_order(void **state)
{
    struct world w = world_new();
    struct sender senders[SENDERS];
    struct env_thread *threads[SENDERS];
    unsigned missing = SENDERS * SENT;
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.loop = w.loop, .missing = &missing};
        senders[i].parcels = mem_zalloc(SENT * sizeof(struct parcel));
        for (unsigned j = 0; j < SENT; j++)
            senders[i].parcels[j] = (struct parcel){.task.run = parcel_run, .sender = &senders[i], .number = j};
        threads[i] = env_real_thread_new("sender", sender_main, &senders[i]);
    }
    env_real_loop_run(w.loop);
    for (unsigned i = 0; i < SENDERS; i++) {
        env_real_thread_join(threads[i]);
        assert_int_equal(senders[i].expected, SENT);
        mem_free(senders[i].parcels);
    }
    assert_int_equal(missing, 0);
    world_free(&w);
}

/* One task goes back and forth between two loops that have nothing else to do: a lost wake-up would end it. */
struct ball {
    struct env_task task;
    struct env_loop *loops[2];
    unsigned hops;
};

static void ball_run(struct env_task *task)
{
    struct ball *b = CONTAINER_OF(task, struct ball, task);
    if (++b->hops == 10000) {
        env_real_loop_stop(b->loops[0]);
        env_real_loop_stop(b->loops[1]);
    } else {
        env_post(b->loops[b->hops % 2], task);
    }
}

static void test_no_wake_up_is_lost(void **state)
{
    struct world w = world_new();
    struct ball b = {.task.run = ball_run, .loops = {w.loop, env_real_loop_new(w.env)}};
    struct env_thread *t = env_real_thread_new("other", loop_main, b.loops[1]);
    env_post(b.loops[0], &b.task);
    env_real_loop_run(w.loop);
    env_real_thread_join(t);
    assert_int_equal(b.hops, 10000);
    env_real_loop_free(b.loops[1]);
    world_free(&w);
}

/* ---- timers ---- */

enum { CLOCKS = 500 };

struct clocks {
    struct world w;
    struct env_timer timers[CLOCKS];
    uint64_t due[CLOCKS]; /* 0: has fired or is stopped */
    uint64_t last_due;
    unsigned fired;
    unsigned expected;
};

static struct clocks *the_clocks;

static void clock_fire(struct env_timer *timer)
{
    struct clocks *c = the_clocks;
    size_t i = (size_t)(timer - c->timers);
    assert_int_equal(timer->due_ns, 0);
    assert_true(c->due[i] != 0);
    assert_true(env_now_ns(c->w.env) >= c->due[i]); /* never early */
    assert_true(c->due[i] >= c->last_due);
    c->last_due = c->due[i];
    c->due[i] = 0;
    if (++c->fired == c->expected) env_real_loop_stop(c->w.loop);
}

/* Starts, moves and stops at random; those left fire in the order of their times, and not before. */
static void test_timers_fire_in_order(void **state)
{
    struct clocks *c = the_clocks = mem_zalloc(sizeof *c);
    c->w = world_new();
    for (size_t i = 0; i < CLOCKS; i++) env_timer_init(c->w.loop, &c->timers[i], clock_fire);
    for (size_t k = 0; k < 4 * CLOCKS; k++) {
        size_t i = env_random_u64(c->w.env) % CLOCKS;
        if (k % 5 == 0) env_timer_stop(&c->timers[i]);
        else env_timer_start(&c->timers[i], env_random_u64(c->w.env) % (3 * NS_PER_MS));
        c->due[i] = c->timers[i].due_ns;
    }
    for (size_t i = 0; i < CLOCKS; i++) c->expected += c->due[i] != 0;
    assert_true(c->expected > CLOCKS / 2);
    env_real_loop_run(c->w.loop);
    assert_int_equal(c->fired, c->expected);
    for (size_t i = 0; i < CLOCKS; i++) assert_int_equal(c->due[i], 0);
    world_free(&c->w);
    mem_free(c);
}

struct timer_step {
    struct env_timer timer;
    char name;
    char *trace;
    void (*more)(struct timer_step *step);
    struct timer_step *other;
};

static void timer_step_fire(struct env_timer *timer)
{
    struct timer_step *s = CONTAINER_OF(timer, struct timer_step, timer);
    size_t n = strlen(s->trace);
    s->trace[n] = s->name;
    s->trace[n + 1] = '\0';
    if (s->more != NULL) s->more(s);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the timers write to it */
static void timer_step_init(struct timer_step *s, struct env_loop *loop, char name, char *trace)
{
    *s = (struct timer_step){.name = name, .trace = trace};
    env_timer_init(loop, &s->timer, timer_step_fire);
}

static void stop_other(struct timer_step *s) { env_timer_stop(&s->other->timer); }
static void stop_loop(struct timer_step *s) { env_real_loop_stop(s->timer.loop); }
static void again_twice(struct timer_step *s)
{
    if (strlen(s->trace) < 5) env_timer_start(&s->timer, 0);
}

static void test_timers_stop_and_restart_inside_fire(void **state)
{
    struct world w = world_new();
    char trace[16] = "";
    struct timer_step a, b, c, d;
    timer_step_init(&a, w.loop, 'a', trace);
    timer_step_init(&b, w.loop, 'b', trace);
    timer_step_init(&c, w.loop, 'c', trace);
    timer_step_init(&d, w.loop, 'd', trace);
    a.other = &b;
    a.more = stop_other;
    c.more = again_twice; /* a, c, then c twice more, each in a later pass */
    d.more = stop_loop;
    env_timer_start(&b.timer, 0);
    env_timer_start(&a.timer, 0);
    env_timer_start(&b.timer, 1); /* moved behind a */
    env_timer_start(&c.timer, 0);
    env_timer_start(&d.timer, 20 * NS_PER_MS);
    uint64_t due = d.timer.due_ns;
    env_real_loop_run(w.loop);
    assert_string_equal(trace, "accccd");
    assert_true(env_now_ns(w.env) >= due);
    env_timer_stop(&d.timer); /* stopped already */
    world_free(&w);
}

static void free_both(struct timer_step *s)
{
    env_timer_stop(&s->other->timer);
    mem_free(s->other);
    mem_free(s);
}

static void test_timers_may_be_freed_inside_fire(void **state)
{
    struct world w = world_new();
    char trace[16] = "";
    struct timer_step end, *pair[2] = {mem_alloc(sizeof end), mem_alloc(sizeof end)};
    timer_step_init(&end, w.loop, 'z', trace);
    timer_step_init(pair[0], w.loop, 'a', trace);
    timer_step_init(pair[1], w.loop, 'b', trace);
    pair[0]->other = pair[1];
    pair[0]->more = free_both;
    end.more = stop_loop;
    env_timer_start(&pair[0]->timer, 0);
    env_timer_start(&pair[1]->timer, NS_PER_MS / 10);
    env_timer_start(&end.timer, NS_PER_MS / 5);
    env_real_loop_run(w.loop);
    assert_string_equal(trace, "az");
    world_free(&w);
}

/* ---- workers ---- */

enum { JOBS = 50 };

struct work {
    struct world w;
    unsigned done;
    unsigned expected_next; /* number of the next job to be done, where they keep their order */
    bool ordered;
    sem_t started;
    sem_t go_on;
};

struct test_job {
    struct env_job job;
    struct work *work;
    unsigned number;
    unsigned runs;
    unsigned dones;
    bool waits;
};

static void job_run(struct env_job *job)
{
    struct test_job *j = CONTAINER_OF(job, struct test_job, job);
    j->runs++;
    if (!j->waits) return;
    sem_post(&j->work->started);
    sem_wait(&j->work->go_on);
}

static void job_done(struct env_job *job)
{
    struct test_job *j = CONTAINER_OF(job, struct test_job, job);
    j->dones++;
    if (j->work->ordered) assert_int_equal(j->number, j->work->done);
    if (++j->work->done == JOBS) env_real_loop_stop(j->work->w.loop);
}

static void jobs_init(struct test_job jobs[JOBS], struct work *work)
{
    for (unsigned i = 0; i < JOBS; i++)
        jobs[i] = (struct test_job){.job = {.run = job_run, .done = job_done}, .work = work, .number = i};
}

static void test_workers_run_jobs(void **state)
{
    for (unsigned threads = 1; threads <= 4; threads += 3) {
        struct work work = {.w = world_new(), .ordered = threads == 1};
        struct test_job jobs[JOBS];
        jobs_init(jobs, &work);
        struct env_worker *w = env_worker_new(work.w.env, "test", threads);
        for (unsigned i = 0; i < JOBS; i++) env_worker_submit(w, work.w.loop, &jobs[i].job);
        assert_int_equal(work.done, 0);
        env_real_loop_run(work.w.loop);
        for (unsigned i = 0; i < JOBS; i++) {
            assert_int_equal(jobs[i].runs, 1);
            assert_int_equal(jobs[i].dones, 1);
        }
        env_worker_free(w);
        env_worker_free(NULL);
        world_free(&work.w);
    }
}

static void let_go(void *arg) { sem_post(&((struct work *)arg)->go_on); }

/* The first job is running while the worker is freed; how many of the others still run is the threads' affair, but all
 * come back once, in order, and those that ran came first. */
static void test_worker_free_gives_jobs_back(void **state)
{
    struct work work = {.w = world_new(), .ordered = true};
    struct test_job jobs[JOBS];
    sem_init(&work.started, 0, 0);
    sem_init(&work.go_on, 0, 0);
    jobs_init(jobs, &work);
    jobs[0].waits = true;
    struct env_worker *w = env_worker_new(work.w.env, "test", 1);
    for (unsigned i = 0; i < JOBS; i++) env_worker_submit(w, work.w.loop, &jobs[i].job);
    sem_wait(&work.started);
    struct env_thread *t = env_real_thread_new("go", let_go, &work);
    env_worker_free(w);
    env_real_thread_join(t);
    assert_int_equal(work.done, 0);
    env_real_loop_run(work.w.loop);
    assert_int_equal(jobs[0].runs, 1);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].dones, 1);
        assert_true(i == 0 || jobs[i].runs <= jobs[i - 1].runs);
    }
    sem_destroy(&work.started);
    sem_destroy(&work.go_on);
    world_free(&work.w);
}

/* ---- signals, events ---- */

static void signal_seen(void *ctx, int sig)
{
    struct world *w = ctx;
    assert_int_equal(sig, SIGTERM);
    env_real_loop_stop(w->loop);
}

static void raise_it(struct env_task *task) { raise(SIGTERM); }

static void test_signal_reaches_the_loop(void **state)
{
    struct world w = world_new();
    struct env_task task = {.run = raise_it};
    env_real_on_signal(w.loop, signal_seen, &w);
    env_post(w.loop, &task);
    env_real_loop_run(w.loop);
    world_free(&w);
}

static void test_diag_lines(void **state)
{
    int fds[2], saved = dup(STDERR_FILENO);
    char line[256] = "", tail[64] = "";
    int y, mo, d, h, mi, s, ms;
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    env_real_diag_stderr(DIAG_WARN);
    diag(DIAG_INFO, "below");
    diag(DIAG_WARN, "env.test answer=%d", 42);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    diag_set_sink(NULL, NULL, DIAG_INFO);
    ssize_t n = read(fds[0], line, sizeof line - 1);
    close(fds[0]);
    assert_true(n > 0 && line[n - 1] == '\n');
    assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %63[^\n]", &y, &mo, &d, &h, &mi, &s, &ms, tail), 8);
    assert_string_equal(tail, "warn  env.test answer=42");
}

/* Everything still open, running and queued goes with the loop; the leak check sees what does not. */
static void test_free_with_all_left_open(void **state)
{
    struct world w = world_new();
    char address[32], trace[4] = "";
    struct env_timer timer;
    struct step a = step_of(w.loop, 'a', trace), b = step_of(w.loop, 'b', trace);
    listen_any(w.loop, set_ignore, NULL, address);
    for (int i = 0; i < 10; i++) env_connect(w.loop, address, &ignore_events, NULL, ignore_connected);
    env_real_on_signal(w.loop, signal_seen, &w);
    env_timer_init(w.loop, &timer, spin_over);
    env_timer_start(&timer, 60 * NS_PER_S);
    env_real_loop_stop(w.loop);
    env_real_loop_run(w.loop);
    env_post(w.loop, &a.task);
    env_defer(w.loop, &b.task);
    world_free(&w);
    assert_string_equal(trace, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks_and_random),
        cmocka_unit_test(test_posted_before_deferred),
        cmocka_unit_test(test_deferred_defers_without_blocking),
        cmocka_unit_test(test_endless_deferring_starves_no_timer),
        cmocka_unit_test(test_stop_runs_what_was_posted_before),
        cmocka_unit_test(test_posts_of_threads_keep_their_order),
        cmocka_unit_test(test_no_wake_up_is_lost),
        cmocka_unit_test(test_timers_fire_in_order),
        cmocka_unit_test(test_timers_stop_and_restart_inside_fire),
        cmocka_unit_test(test_timers_may_be_freed_inside_fire),
        cmocka_unit_test(test_workers_run_jobs),
        cmocka_unit_test(test_worker_free_gives_jobs_back),
        cmocka_unit_test(test_signal_reaches_the_loop),
        cmocka_unit_test(test_diag_lines),
        cmocka_unit_test(test_free_with_all_left_open),
    };
    return cmocka_run_group_tests_name("real", tests, NULL, NULL);
}
