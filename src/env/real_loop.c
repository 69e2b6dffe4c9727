/* real_loop.c - a loop's turn: what it runs, when it sleeps, who wakes it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A turn of the loop is: libuv polls the sockets and calls back for all that are ready; then, right before it would
 * poll again, loop_end_turn fires due timers, runs what was posted and last what was deferred. Then the loop blocks,
 * unless tasks are left.
 *
 * Sleeping and waking: a poster pushes to the inbox and then looks at `asleep`; the loop sets `asleep` and then looks
 * at the inbox. Both orders are sequentially consistent, so one of the two sees the other. The poster that turns
 * `asleep` to false is the one that pays for the wake-up; all others, and all while the loop is awake, only push. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/mem.h"
#include "env/real_internal.h"

static _Thread_local struct real_loop *running; /* the loop that this thread runs */

static struct env_task *task_of(struct link *k) { return CONTAINER_OF(k, struct env_task, link); }

/* True on the loop's thread, and on any while the loop does not run: it is being set up or taken down. */
static bool loop_is_ours(struct real_loop *l)
{
    return running == l || !atomic_load_explicit(&l->runs, memory_order_relaxed);
}

void real_defer(struct env_loop *loop, struct env_task *task)
{
    struct real_loop *l = real_loop_of(loop);
    ASSERT(loop_is_ours(l));
    if (task->queued) return;
    task->queued = true;
    list_push_back(&l->deferred, &task->link);
}

void real_undefer(struct env_task *task)
{
    if (!task->queued) return;
    task->queued = false;
    link_remove(&task->link);
}

void real_post(struct env_loop *loop, struct env_task *task)
{
    struct real_loop *l = real_loop_of(loop);
    ASSERT(!task->queued);
    task->queued = true;
    if (running == l) { /* its turn ends before it sleeps */
        list_push_back(&l->posted, &task->link);
        return;
    }
    struct link *top = atomic_load_explicit(&l->inbox, memory_order_relaxed);
    do {
        task->link.next = top;
    } while (!atomic_compare_exchange_weak(&l->inbox, &top, &task->link));
    if (atomic_load(&l->asleep) && atomic_exchange(&l->asleep, false)) uv_async_send(&l->wake);
}

/* Moves what others posted behind what is in `posted`, the oldest first. */
static void inbox_take(struct real_loop *l)
{
    struct link *k = atomic_exchange(&l->inbox, NULL);
    struct link *after = l->posted.head.prev; /* each older one goes before the newer ones, right behind this */
    while (k != NULL) {
        struct link *older = k->next;
        k->next = NULL;
        link_insert_after(after, k);
        k = older;
    }
}

/* Runs the tasks that are in the list now; those that they add stay. */
static void tasks_run(struct list *tasks)
{
    struct list batch;
    if (list_empty(tasks)) return;
    batch = *tasks;
    batch.head.next->prev = batch.head.prev->next = &batch.head;
    list_init(tasks);
    for (struct link *k; (k = list_pop_front(&batch)) != NULL;) {
        struct env_task *task = task_of(k);
        task->queued = false;
        task->run(task); /* may free it, or queue it again */
    }
}

static bool loop_has_tasks(struct real_loop *l)
{
    return !list_empty(&l->posted) || !list_empty(&l->deferred) || atomic_load(&l->inbox) != NULL;
}

static void loop_end_turn(struct real_loop *l)
{
    real_timers_fire(l);
    for (unsigned round = 0; round < REAL_TASK_ROUNDS && (round == 0 || loop_has_tasks(l)); round++) {
        if (atomic_load_explicit(&l->inbox, memory_order_relaxed) != NULL) inbox_take(l);
        tasks_run(&l->posted);
        tasks_run(&l->deferred);
    }
}

static void on_idle(uv_idle_t *handle) {} /* it is only there to keep the loop from blocking */

static void on_prepare(uv_prepare_t *handle)
{
    struct real_loop *l = handle->data;
    real_loop_awake(l);
    bool stop = atomic_load(&l->stop); /* before the inbox: what was posted before the stop still runs */
    loop_end_turn(l);
    real_timers_arm(l);
    if (stop) uv_stop(&l->uv);
    bool stay = loop_has_tasks(l) || stop;
    if (!stay) {
        atomic_store(&l->asleep, true);
        stay = atomic_load(&l->inbox) != NULL || atomic_load(&l->stop);
        if (stay) real_loop_awake(l);
    }
    if (stay == l->idle_on) return;
    l->idle_on = stay;
    int rc = stay ? uv_idle_start(&l->idle, on_idle) : uv_idle_stop(&l->idle);
    ASSERT(rc == 0);
}

static void on_wake(uv_async_t *handle) { real_loop_awake(handle->data); }

struct env_loop *env_real_loop_new(struct env *env)
{
    struct real_loop *l = mem_zalloc(sizeof *l);
    l->base.env = env;
    list_init(&l->deferred);
    list_init(&l->posted);
    list_init(&l->streams);
    list_init(&l->listeners);
    l->read_buffer = mem_alloc(REAL_READ_BUFFER);
    int rc = uv_loop_init(&l->uv);
    ASSERT(rc == 0); /* only without descriptors or memory, at start */
    uv_prepare_init(&l->uv, &l->prepare);
    uv_idle_init(&l->uv, &l->idle);
    rc = uv_async_init(&l->uv, &l->wake, on_wake);
    ASSERT(rc == 0);
    l->prepare.data = l->idle.data = l->wake.data = l;
    uv_prepare_start(&l->prepare, on_prepare);
    real_timers_init(l);
    l->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return &l->base;
}

void env_real_loop_run(struct env_loop *loop)
{
    struct real_loop *l = real_loop_of(loop);
    ASSERT(running == NULL && !atomic_load(&l->runs));
    running = l;
    atomic_store(&l->runs, true);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    real_loop_awake(l);
    loop_end_turn(l); /* what libuv's last look at the sockets gave rise to */
    atomic_store(&l->stop, false);
    atomic_store(&l->runs, false);
    running = NULL;
}

void env_real_loop_stop(struct env_loop *loop)
{
    struct real_loop *l = real_loop_of(loop);
    atomic_store(&l->stop, true);
    if (running != l) uv_async_send(&l->wake);
}

void env_real_loop_free(struct env_loop *loop)
{
    if (loop == NULL) return;
    struct real_loop *l = real_loop_of(loop);
    ASSERT(!atomic_load(&l->runs));
    real_listeners_close(l);
    real_streams_close(l);
    real_timers_close(l);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_close((uv_handle_t *)&l->wake, NULL);
    if (l->signals_on)
        for (size_t i = 0; i < ARRAY_COUNT(l->signals); i++) uv_close((uv_handle_t *)&l->signals[i], NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT); /* until all handles are closed and name lookups have come back */
    int rc = uv_loop_close(&l->uv);
    ASSERT(rc == 0);
    ASSERT(list_empty(&l->streams) && list_empty(&l->listeners));
    real_timers_deinit(l);
    if (l->reserve_fd >= 0) close(l->reserve_fd);
    mem_free(l->read_buffer);
    mem_free(l);
}

static void on_signal(uv_signal_t *handle, int sig)
{
    struct real_loop *l = handle->data;
    real_loop_awake(l);
    l->on_signal(l->on_signal_ctx, sig);
}

void env_real_on_signal(struct env_loop *loop, void (*fn)(void *ctx, int sig), void *ctx)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    struct real_loop *l = real_loop_of(loop);
    _Static_assert(ARRAY_COUNT(numbers) == sizeof l->signals / sizeof l->signals[0], "one handle per signal");
    ASSERT(fn != NULL && loop_is_ours(l));
    l->on_signal = fn;
    l->on_signal_ctx = ctx;
    if (l->signals_on) return;
    l->signals_on = true;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        int rc = uv_signal_init(&l->uv, &l->signals[i]);
        ASSERT(rc == 0);
        l->signals[i].data = l;
        rc = uv_signal_start(&l->signals[i], on_signal, numbers[i]);
        ASSERT(rc == 0);
    }
}
