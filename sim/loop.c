/* loop.c - the turns of a loop, its tasks and timers; threads that block.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A turn runs in one event: it takes what was ready when it began, one callback after the other, each at a later time
 * (world.at) than the one before. What becomes ready while the loop is busy waits for its next turn. */
#include <string.h>

#include "base/mem.h"
#include "sim/world_internal.h"

static struct world *world_of(const struct sim_loop *l) { return l->process->node->world; }

/* ---- turns ---- */

static void on_wake(struct world *w, struct event *ev);

struct sim_loop *loop_new(struct process *p)
{
    struct world *w = p->node->world;
    struct sim_loop *l = heap_zalloc(&w->heap, sizeof *l);
    l->base.env = &p->env;
    l->process = p;
    event_init(&l->wake, EV_WAKE, p->node->id, l, on_wake);
    list_init(&l->armed);
    list_init(&l->due);
    list_init(&l->streams);
    list_init(&l->deferred);
    return l;
}

void loop_deinit(struct sim_loop *l)
{
    struct world *w = world_of(l);
    struct link *k;
    while ((k = list_first(&l->armed)) != NULL) event_give(w, CONTAINER_OF(k, struct event, link));
    while ((k = list_first(&l->due)) != NULL) event_give(w, CONTAINER_OF(k, struct event, link));
    queue_remove(&w->queue, &l->wake);
    if (w->ready == l) w->ready = NULL;
    mem_free(l->inbox);
    mem_free(l);
}

void loop_charge(struct world *w)
{
    const struct sim_cpu_options *o = &w->cpu;
    uint64_t r = rng_next(&w->rng_cpu);
    w->at += o->callback_ns_min + (((r & UINT32_MAX) * (o->callback_ns_max - o->callback_ns_min + 1)) >> 32);
    if (o->hiccup_one_in != 0 && (r >> 32) < (1ull << 32) / o->hiccup_one_in) {
        w->at += rng_below(&w->rng_cpu, o->hiccup_ns_max + 1);
        w->counters.hiccups++;
    }
    w->counters.callbacks++;
}

/* Moves all of `from` into the empty list `to`. */
static void list_move(struct list *from, struct list *to)
{
    list_init(to);
    if (list_empty(from)) return;
    to->head = from->head;
    to->head.next->prev = to->head.prev->next = &to->head;
    list_init(from);
}

static struct inbox_item *inbox_first(struct sim_loop *l)
{
    return l->inbox_count != 0 ? &l->inbox[l->inbox_first] : NULL;
}

/* The time of the next turn, or UINT64_MAX; what is in the inbox is not seen before it is due. */
static uint64_t next_turn_ns(struct sim_loop *l, uint64_t at)
{
    bool ready = !list_empty(&l->streams) || !list_empty(&l->due) || !list_empty(&l->deferred);
    if (!ready && l->inbox_count == 0) return UINT64_MAX;
    uint64_t t = ready ? at : MAX(at, inbox_first(l)->due_ns);
    return MAX(MAX(t, l->busy_until), l->process->node->paused_until);
}

static void wake_at(struct sim_loop *l, uint64_t at)
{
    if (at == UINT64_MAX || (event_queued(&l->wake) && l->wake.time_ns <= at)) return;
    world_schedule(world_of(l), &l->wake, at);
}

static void turn_timers(struct world *w, struct sim_loop *l)
{
    struct list now;
    list_move(&l->due, &now);
    for (struct link *k; !l->process->doomed && (k = list_first(&now)) != NULL;) {
        struct event *ev = CONTAINER_OF(k, struct event, link);
        struct env_timer *t = ev->ptr;
        event_give(w, ev);
        t->impl[0] = NULL;
        t->due_ns = 0;
        loop_charge(w);
        w->counters.timers++;
        t->fire(t);
    }
    for (struct link *k; (k = list_pop_front(&now)) != NULL;) list_push_back(&l->due, k);
}

static void turn_streams(struct world *w, struct sim_loop *l)
{
    struct list now;
    list_move(&l->streams, &now);
    for (struct link *k; !l->process->doomed && (k = list_pop_front(&now)) != NULL;) net_stream_turn(w, k);
    for (struct link *k; (k = list_pop_front(&now)) != NULL;) list_push_back(&l->streams, k);
}

static void run_task(struct world *w, struct env_task *task)
{
    ASSERT(task->queued);
    task->queued = false;
    loop_charge(w);
    w->counters.tasks++;
    task->run(task);
}

static void turn_inbox(struct world *w, struct sim_loop *l)
{
    for (struct inbox_item *i; !l->process->doomed && (i = inbox_first(l)) != NULL && i->due_ns <= w->now;) {
        struct env_task *task = i->task;
        l->inbox_first = (l->inbox_first + 1) & (l->inbox_cap - 1);
        l->inbox_count--;
        run_task(w, task);
    }
}

static void turn_deferred(struct world *w, struct sim_loop *l)
{
    struct list now;
    list_move(&l->deferred, &now);
    for (struct link *k; !l->process->doomed && (k = list_pop_front(&now)) != NULL;)
        run_task(w, CONTAINER_OF(k, struct env_task, link));
    for (struct link *k; (k = list_pop_front(&now)) != NULL;) list_push_back(&l->deferred, k);
}

static void turn(struct world *w, struct sim_loop *l)
{
    struct process *p = l->process;
    struct context old = context_enter(p, l, NULL);
    queue_remove(&w->queue, &l->wake);
    l->turning = true;
    w->counters.turns++;
    /* Which kind comes first is nobody's promise. */
    if (rng_next(&w->rng_cpu) & 1) {
        turn_timers(w, l);
        turn_streams(w, l);
        turn_inbox(w, l);
    } else {
        turn_inbox(w, l);
        turn_streams(w, l);
        turn_timers(w, l);
    }
    turn_deferred(w, l);
    l->turning = false;
    l->busy_until = MAX(l->busy_until, w->at);
    wake_at(l, next_turn_ns(l, w->at));
    context_leave(p, old); /* the loop may be gone now */
}

void loop_turn_if_able(struct sim_loop *l)
{
    struct world *w = world_of(l);
    uint64_t t = next_turn_ns(l, w->at);
    if (t == w->now) turn(w, l);
    else wake_at(l, t);
}

static void on_wake(struct world *w, struct event *ev) { loop_turn_if_able(ev->ptr); }

void loop_ready(struct sim_loop *l)
{
    struct world *w = world_of(l);
    if (l->turning || !l->process->turning) return;
    uint64_t t = next_turn_ns(l, w->at);
    /* Within an event's handler the turn follows when the handler is through, without another event. */
    if (w->stepping && w->depth == 0 && t == w->now && (w->ready == NULL || w->ready == l)) w->ready = l;
    else wake_at(l, t);
}

void loop_start(struct sim_loop *l)
{
    struct world *w = world_of(l);
    l->busy_until = MAX(l->busy_until, w->at);
    wake_at(l, next_turn_ns(l, w->at));
}

/* ---- tasks ---- */

void sim_defer(struct env_loop *loop, struct env_task *task)
{
    struct sim_loop *l = loop_of(loop);
    ASSERT(loop_is_ours(l));
    if (task->queued) return;
    task->queued = true;
    list_push_back(&l->deferred, &task->link);
    loop_ready(l);
}

static void inbox_grow(struct world *w, struct sim_loop *l)
{
    uint32_t cap = l->inbox_cap != 0 ? l->inbox_cap * 2 : 16;
    struct inbox_item *items = heap_alloc(&w->heap, cap * sizeof *items);
    for (uint32_t i = 0; i < l->inbox_count; i++) items[i] = l->inbox[(l->inbox_first + i) & (l->inbox_cap - 1)];
    mem_free(l->inbox);
    l->inbox = items;
    l->inbox_first = 0;
    l->inbox_cap = cap;
}

void sim_post(struct env_loop *loop, struct env_task *task)
{
    struct sim_loop *l = loop_of(loop);
    struct world *w = world_of(l);
    ASSERT(w->depth == 0 || w->context.process == l->process);
    loop_post(l, task);
}

void loop_post(struct sim_loop *l, struct env_task *task)
{
    struct world *w = world_of(l);
    ASSERT(!task->queued);
    task->queued = true;
    if (l->inbox_count == l->inbox_cap) inbox_grow(w, l);
    uint64_t due = w->at;
    if (w->context.loop != l) due += rng_below(&w->rng_cpu, w->cpu.post_ns_max + 1);
    l->inbox_last_ns = MAX(due, l->inbox_last_ns);
    l->inbox[(l->inbox_first + l->inbox_count++) & (l->inbox_cap - 1)] = (struct inbox_item){l->inbox_last_ns, task};
    loop_ready(l);
}

/* ---- timers ---- */

static void on_timer(struct world *w, struct event *ev)
{
    struct env_timer *t = ev->ptr;
    struct sim_loop *l = loop_of(t->loop);
    if (node_mono(l->process->node, w->now) < ev->arg) { /* the clock was slowed down meanwhile */
        world_schedule(w, ev, node_mono_when(l->process->node, ev->arg));
        return;
    }
    link_remove(&ev->link);
    list_push_back(&l->due, &ev->link);
    loop_ready(l);
}

void sim_timer_start(struct env_timer *t, uint64_t delay_ns)
{
    struct sim_loop *l = loop_of(t->loop);
    struct sim_node *n = l->process->node;
    struct world *w = n->world;
    ASSERT(loop_is_ours(l) && delay_ns < UINT64_MAX / 4);
    struct event *ev = t->impl[0];
    if (ev != NULL && !event_queued(ev)) { /* due, but not yet told */
        sim_timer_stop(t);
        ev = NULL;
    }
    if (ev == NULL) {
        ev = event_take(w);
        event_init(ev, EV_TIMER, n->id, t, on_timer);
        list_push_back(&l->armed, &ev->link);
        t->impl[0] = ev;
    }
    ev->arg = t->due_ns = node_mono(n, w->at) + delay_ns;
    world_schedule(w, ev, node_mono_when(n, t->due_ns) + rng_below(&w->rng_cpu, w->cpu.timer_late_ns_max + 1));
}

void sim_timer_stop(struct env_timer *t)
{
    struct sim_loop *l = loop_of(t->loop);
    ASSERT(loop_is_ours(l));
    if (t->due_ns == 0) return;
    event_give(world_of(l), t->impl[0]);
    t->impl[0] = NULL;
    t->due_ns = 0;
}

/* ---- threads that block ---- */

static void on_resume(struct world *w, struct event *ev);

struct sim_thread *thread_new(struct process *p, void (*main)(void *), void *arg, uint64_t at_ns)
{
    struct world *w = p->node->world;
    struct sim_thread *t = heap_zalloc(&w->heap, sizeof *t);
    t->fiber = fiber_take(main, arg);
    t->process = p;
    event_init(&t->resume, EV_FIBER, p->node->id, t, on_resume);
    list_push_back(&p->threads, &t->link);
    world_schedule(w, &t->resume, at_ns);
    return t;
}

void thread_free(struct sim_thread *t)
{
    struct world *w = t->process->node->world;
    queue_remove(&w->queue, &t->resume);
    link_remove(&t->link);
    fiber_give(t->fiber);
    mem_free(t);
}

static void thread_run(struct sim_thread *t)
{
    struct process *p = t->process;
    struct context old = context_enter(p, NULL, t);
    fiber_resume(t->fiber);
    if (t->fiber->done) thread_free(t);
    context_leave(p, old);
}

static void on_resume(struct world *w, struct event *ev)
{
    struct sim_thread *t = ev->ptr;
    uint64_t paused_until = t->process->node->paused_until;
    if (paused_until > w->now) world_schedule(w, ev, paused_until);
    else thread_run(t);
}

#define AHEAD_NS_MAX (50 * NS_PER_US)

void world_block(struct world *w, uint64_t ns)
{
    struct sim_thread *t = w->context.thread;
    if (t != NULL) {
        world_schedule(w, &t->resume, w->at + ns);
        fiber_yield(t->fiber);
    } else if (w->context.loop != NULL) {
        w->at += ns;
    }
}

void world_spend(struct world *w, uint64_t ns)
{
    if (w->context.thread != NULL && w->at + ns - w->now <= AHEAD_NS_MAX) w->at += ns;
    else world_block(w, ns);
}

/* ---- workers ---- */

static void job_back(struct env_task *task)
{
    struct env_job *j = CONTAINER_OF(task, struct env_job, task);
    j->done(j);
}

static void job_post(struct env_job *j)
{
    j->task = (struct env_task){.run = job_back};
    sim_post(j->loop, &j->task);
}

static void worker_main(void *arg)
{
    struct sim_worker *wk = arg;
    struct world *w = wk->process->node->world;
    for (struct link *k; !wk->ending && (k = list_pop_front(&wk->queue)) != NULL;) {
        struct env_job *j = CONTAINER_OF(k, struct env_job, link);
        w->counters.jobs++;
        j->run(j);
        world_spend(w, rng_between(&w->rng_cpu, w->cpu.callback_ns_min, w->cpu.callback_ns_max));
        job_post(j);
    }
    wk->threads--;
}

struct env_worker *sim_worker_new(struct env *env, const char *name, unsigned threads)
{
    struct process *p = process_of(env);
    ASSERT(threads > 0);
    struct sim_worker *wk = heap_zalloc(&p->node->world->heap, sizeof *wk);
    wk->base.env = env;
    wk->process = p;
    wk->threads_max = threads;
    list_init(&wk->queue);
    list_push_back(&p->workers, &wk->link);
    return &wk->base;
}

void sim_worker_submit(struct env_worker *worker, struct env_loop *loop, struct env_job *job)
{
    struct sim_worker *wk = (struct sim_worker *)worker;
    struct world *w = wk->process->node->world;
    ASSERT(!wk->ending && loop_of(loop)->process == wk->process);
    job->loop = loop;
    list_push_back(&wk->queue, &job->link);
    if (wk->threads == wk->threads_max) return;
    wk->threads++;
    thread_new(wk->process, worker_main, wk, w->at + rng_below(&w->rng_cpu, w->cpu.post_ns_max + 1))->worker = wk;
}

/* The thread of the worker that goes on first, or NULL. */
static struct sim_thread *worker_thread(struct sim_worker *wk)
{
    struct sim_thread *first = NULL;
    for (struct link *k = list_first(&wk->process->threads); k != NULL; k = list_next(&wk->process->threads, k)) {
        struct sim_thread *t = CONTAINER_OF(k, struct sim_thread, link);
        if (t->worker == wk && (first == NULL || t->resume.time_ns < first->resume.time_ns)) first = t;
    }
    return first;
}

void sim_worker_free(struct env_worker *worker)
{
    struct sim_worker *wk = (struct sim_worker *)worker;
    struct world *w = wk->process->node->world;
    ASSERT(w->context.thread == NULL || w->context.thread->worker != wk);
    wk->ending = true;
    for (struct sim_thread *t; (t = worker_thread(wk)) != NULL;) { /* the caller waits for it: its time passes here */
        w->at = MAX(w->at, t->resume.time_ns);
        queue_remove(&w->queue, &t->resume);
        thread_run(t);
    }
    ASSERT(wk->threads == 0);
    for (struct link *k; (k = list_pop_front(&wk->queue)) != NULL;) job_post(CONTAINER_OF(k, struct env_job, link));
    link_remove(&wk->link);
    mem_free(wk);
}
