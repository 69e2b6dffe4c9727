/* real_timer.c - a loop's timers: a binary heap, and one timerfd that is set to its first.
 * SPDX-License-Identifier: Apache-2.0
 *
 * libuv's own timers count milliseconds of a clock that stops while the machine is suspended; these count nanoseconds
 * of one that does not. The timerfd is set at the end of a turn, and only when the first timer is earlier than what it
 * is set to: timers that are moved back again and again (timeouts) or stopped cost one needless wake-up, not a call
 * each. */
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "env/real_internal.h"

static size_t place_of(const struct env_timer *timer) { return (size_t)(uintptr_t)timer->impl[0]; }

static void heap_put(struct real_timers *t, size_t i, struct timer_entry e)
{
    t->heap[i] = e;
    e.timer->impl[0] = (void *)(uintptr_t)i;
}

static bool before(struct timer_entry a, struct timer_entry b)
{
    return a.due_ns != b.due_ns ? a.due_ns < b.due_ns : a.seq < b.seq;
}

/* Puts e where it belongs, from the hole at i on. */
static void heap_settle(struct real_timers *t, size_t i, struct timer_entry e)
{
    while (i > 0 && before(e, t->heap[(i - 1) / 2])) {
        heap_put(t, i, t->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < t->n && before(t->heap[child + 1], t->heap[child])) child++;
        if (child >= t->n || !before(t->heap[child], e)) break;
        heap_put(t, i, t->heap[child]);
        i = child;
    }
    heap_put(t, i, e);
}

void real_timer_start(struct env_timer *timer, uint64_t delay_ns)
{
    struct real_timers *t = &real_loop_of(timer->loop)->timers;
    uint64_t now = real_now_ns(timer->loop->env);
    uint64_t due = delay_ns < INT64_MAX - now ? now + delay_ns : INT64_MAX;
    if (due <= t->fire_ns) due = t->fire_ns + 1; /* not in the pass that is on */
    struct timer_entry e = {.due_ns = due, .seq = ++t->seq, .timer = timer};
    if (timer->due_ns == 0) {
        if (t->n == t->cap) {
            t->cap = t->cap != 0 ? 2 * t->cap : 64;
            t->heap = mem_realloc(t->heap, t->cap * sizeof *t->heap);
        }
        timer->due_ns = due;
        heap_settle(t, t->n++, e);
    } else {
        ASSERT(t->heap[place_of(timer)].timer == timer);
        timer->due_ns = due;
        heap_settle(t, place_of(timer), e);
    }
}

void real_timer_stop(struct env_timer *timer)
{
    struct real_timers *t = &real_loop_of(timer->loop)->timers;
    if (timer->due_ns == 0) return;
    size_t i = place_of(timer);
    ASSERT(i < t->n && t->heap[i].timer == timer);
    timer->due_ns = 0;
    struct timer_entry last = t->heap[--t->n];
    if (last.timer != timer) heap_settle(t, i, last);
}

void real_timers_fire(struct real_loop *l)
{
    struct real_timers *t = &l->timers;
    if (t->n == 0) return;
    t->fire_ns = real_now_ns(l->base.env);
    while (t->n > 0 && t->heap[0].due_ns <= t->fire_ns) {
        struct env_timer *timer = t->heap[0].timer;
        real_timer_stop(timer);
        timer->fire(timer); /* may start it again, free it, or stop others */
    }
}

void real_timers_arm(struct real_loop *l)
{
    struct real_timers *t = &l->timers;
    uint64_t due = t->n > 0 ? t->heap[0].due_ns : 0;
    bool earlier = due != 0 && (t->armed_ns == 0 || due < t->armed_ns);
    if (!earlier && !t->expired) return;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due / NS_PER_S), .tv_nsec = (long)(due % NS_PER_S)}};
    int rc = timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &at, NULL); /* also makes it unreadable; 0 disarms it */
    ASSERT(rc == 0);
    t->armed_ns = due;
    t->expired = false;
}

static void on_timerfd(uv_poll_t *handle, int status, int events)
{
    struct real_loop *l = handle->data;
    real_loop_awake(l);
    l->timers.expired = true; /* the end of the turn does the rest */
}

void real_timers_init(struct real_loop *l)
{
    struct real_timers *t = &l->timers;
    t->fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    ASSERT(t->fd >= 0);
    int rc = uv_poll_init(&l->uv, &t->poll, t->fd);
    ASSERT(rc == 0);
    t->poll.data = l;
    rc = uv_poll_start(&t->poll, UV_READABLE, on_timerfd);
    ASSERT(rc == 0);
}

void real_timers_close(struct real_loop *l)
{
    uv_close((uv_handle_t *)&l->timers.poll, NULL);
    close(l->timers.fd);
}

void real_timers_deinit(struct real_loop *l) { mem_free(l->timers.heap); }
