/* world.c - virtual time, machines, processes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "base/diag.h"
#include "base/mem.h"
#include "sim/world_internal.h"

#define WALL_EPOCH_MS 1767225600000ull /* 2026-01-01 */

static struct world *running; /* for the sink of diag and the assertion hook */

/* ---- time ---- */

void event_init(struct event *ev, enum event_kind kind, unsigned node, void *ptr,
                void (*run)(struct world *, struct event *))
{
    *ev = (struct event){.run = run, .ptr = ptr, .kind = (uint16_t)kind, .node = (uint16_t)node, .place = EVENT_IDLE};
}

struct event *event_take(struct world *w)
{
    struct link *k = list_pop_front(&w->events_free);
    if (k != NULL) return CONTAINER_OF(k, struct event, link);
    return heap_zalloc(&w->heap, sizeof(struct event));
}

void event_give(struct world *w, struct event *ev)
{
    queue_remove(&w->queue, ev);
    if (link_linked(&ev->link)) link_remove(&ev->link);
    list_push_front(&w->events_free, &ev->link);
}

void world_schedule(struct world *w, struct event *ev, uint64_t at_ns)
{
    queue_push(&w->queue, ev, MAX(at_ns, w->now));
}

void world_mix(struct world *w, enum event_kind kind, unsigned node, uint64_t value)
{
    uint64_t x[3] = {w->at, (uint64_t)kind << 32 | node, value};
    w->trace = hash64(bytes_of(x, sizeof x), w->trace);
}

bool world_step(struct world *w)
{
    struct event *ev = queue_pop(&w->queue);
    if (ev == NULL) return false;
    ASSERT(ev->time_ns >= w->now && w->depth == 0 && !w->stepping);
    running = w;
    w->now = w->at = ev->time_ns;
    w->counters.events++;
    world_mix(w, ev->kind, ev->node, 0);
    w->stepping = true;
    ev->run(w, ev);
    struct sim_loop *l = w->ready;
    w->ready = NULL;
    w->at = w->now;
    if (l != NULL) loop_turn_if_able(l);
    w->stepping = false;
    w->at = w->now;
    return true;
}

uint64_t world_run_until(struct world *w, uint64_t until_ns)
{
    uint64_t n = 0;
    while (queue_next_ns(&w->queue) <= until_ns && world_step(w)) n++;
    if (until_ns > w->now) w->now = w->at = until_ns;
    return n;
}

uint64_t world_run(struct world *w, uint64_t for_ns) { return world_run_until(w, w->now + for_ns); }

bool world_run_while_not(struct world *w, const bool *done, uint64_t for_ns)
{
    uint64_t until_ns = w->now + for_ns;
    while (!*done && queue_next_ns(&w->queue) <= until_ns) world_step(w);
    if (!*done) w->now = w->at = until_ns;
    return *done;
}

struct planned {
    struct event ev;
    void (*fn)(void *ctx);
    void *ctx;
};

static void run_planned(struct world *w, struct event *ev)
{
    struct planned *p = ev->ptr;
    void (*fn)(void *) = p->fn;
    void *ctx = p->ctx;
    mem_free(p);
    fn(ctx);
}

void world_at(struct world *w, uint64_t at_ns, void (*fn)(void *ctx), void *ctx)
{
    struct planned *p = heap_alloc(&w->heap, sizeof *p);
    event_init(&p->ev, EV_CALL, 0, p, run_planned);
    p->fn = fn;
    p->ctx = ctx;
    world_schedule(w, &p->ev, at_ns);
}

/* ---- the world ---- */

static void on_diag(void *ctx, enum diag_level level, const char *line)
{
    struct world *w = running;
    if (w == NULL) return;
    struct process *p = w->context.process;
    unsigned node = p != NULL ? p->node->id : 0;
    world_mix(w, EV_DIAG, node, hash64(bytes_str(line), 0));
    if (w->log != NULL)
        fprintf(w->log, "%4llu.%06llu %-8s %s\n", w->at / NS_PER_S, w->at % NS_PER_S / NS_PER_US,
                node != 0 ? p->node->host : "-", line);
    if (w->on_diag != NULL && node != 0) w->on_diag(w->on_diag_ctx, node, line);
}

static void on_assert(const char *file, int line, const char *condition)
{
    if (running == NULL) return;
    fprintf(stderr, "simulation: seed=%" PRIu64 " time_ns=%" PRIu64 " event=%" PRIu64 "\n", running->seed, running->at,
            running->counters.events);
}

struct world *world_new(uint64_t seed)
{
    heap_install();
    struct heap *old = heap_enter(NULL);
    struct world *w = mem_zalloc(sizeof *w);
    heap_enter(old);
    w->seed = seed;
    heap_init(&w->heap, false);
    queue_init(&w->queue, &w->heap);
    list_init(&w->events_free);
    struct rng *rngs[] = {&w->rng_cpu, &w->rng_net, &w->rng_disk, &w->rng_clock, &w->rng_driver};
    for (size_t i = 0; i < ARRAY_COUNT(rngs); i++) rng_init(rngs[i], hash_u64(seed) + i);
    w->cpu = (struct sim_cpu_options){.callback_ns_min = 1 * NS_PER_US,
                                      .callback_ns_max = 20 * NS_PER_US,
                                      .timer_late_ns_max = 100 * NS_PER_US,
                                      .post_ns_max = 10 * NS_PER_US};
    net_init(w);
    diag_set_sink(on_diag, NULL, DIAG_INFO);
    assert_hook = on_assert;
    running = w;
    return w;
}

void world_free(struct world *w)
{
    if (w == NULL) return;
    ASSERT(w->depth == 0 && w->entered == NULL);
    for (unsigned i = 0; i < w->node_count; i++) {
        struct process *p = w->nodes[i]->process;
        if (p == NULL) continue;
        for (struct link *k; (k = list_first(&p->threads)) != NULL;)
            thread_free(CONTAINER_OF(k, struct sim_thread, link));
        heap_clear(&p->heap);
    }
    heap_clear(&w->heap);
    if (running == w) running = NULL;
    mem_free(w);
}

uint64_t world_seed(const struct world *w) { return w->seed; }
uint64_t world_now_ns(const struct world *w) { return w->at; }
uint64_t world_trace(const struct world *w) { return w->trace; }
struct rng *world_rng(struct world *w) { return &w->rng_driver; }
struct sim_cpu_options *world_cpu_options(struct world *w) { return &w->cpu; }
const struct sim_counters *world_counters(const struct world *w) { return &w->counters; }
void world_set_log(struct world *w, FILE *out) { w->log = out; }
void world_on_diag(struct world *w, void (*fn)(void *ctx, unsigned node, const char *line), void *ctx)
{
    w->on_diag = fn;
    w->on_diag_ctx = ctx;
}

void world_counters_print(const struct world *w, FILE *out)
{
    const struct sim_counters *c = &w->counters;
#define C(name)        \
    {                  \
#name, c->name \
    }
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {C(events),
               C(turns),
               C(callbacks),
               C(timers),
               C(tasks),
               C(jobs),
               C(processes_started),
               C(processes_stopped),
               C(kills),
               C(power_losses),
               C(pauses),
               C(hiccups),
               C(clock_jumps),
               C(connects),
               C(connects_refused),
               C(connects_timed_out),
               C(segments),
               C(bytes_sent),
               C(bytes_delivered),
               C(segments_lost),
               C(segments_held),
               C(resets),
               C(half_open),
               C(give_ups),
               C(cuts),
               C(heals),
               C(reads),
               C(writes),
               C(syncs),
               C(dir_syncs),
               C(bytes_written),
               C(sectors_kept),
               C(sectors_lost),
               C(sectors_torn),
               C(sectors_garbage),
               C(names_kept),
               C(names_lost),
               C(sizes_lost),
               C(read_errors),
               C(write_errors),
               C(sync_errors),
               C(disk_fulls),
               C(disk_stalls),
               C(sectors_corrupted)};
#undef C
    _Static_assert(sizeof all / sizeof all[0] == sizeof *c / sizeof(uint64_t), "every counter is printed");
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        if (all[i].value != 0) fprintf(out, "%-20s %" PRIu64 "\n", all[i].name, all[i].value);
}

/* ---- machines ---- */

struct sim_node *world_node_new(struct world *w, const char *host)
{
    for (unsigned i = 0; i < w->node_count; i++) ASSERT(strcmp(w->nodes[i]->host, host) != 0);
    ASSERT(w->node_count < UINT16_MAX);
    struct sim_node *n = heap_zalloc(&w->heap, sizeof *n);
    n->world = w;
    n->id = w->node_count + 1;
    n->host = heap_strdup(&w->heap, host);
    n->up = true;
    n->clock_t0 = w->now;
    n->clock_mono0 = rng_between(&w->rng_clock, NS_PER_S, 100000 * NS_PER_S);
    n->clock_rate = 1ull << 32;
    n->wall_offset_ns = (int64_t)(WALL_EPOCH_MS * NS_PER_MS + w->now - n->clock_mono0);
    list_init(&n->sides);
    n->next_port = 32768;
    n->disk = disk_new(n);
    if ((w->node_count & (w->node_count + 1)) == 0) { /* 0, 1, 3, 7, …: full */
        struct sim_node **nodes = heap_zalloc(&w->heap, (w->node_count + 1) * 2 * sizeof *nodes);
        if (w->node_count != 0) memcpy(nodes, w->nodes, w->node_count * sizeof *nodes);
        mem_free(w->nodes);
        w->nodes = nodes;
    }
    w->nodes[w->node_count++] = n;
    return n;
}

const char *sim_node_host(const struct sim_node *n) { return n->host; }
unsigned sim_node_id(const struct sim_node *n) { return n->id; }
struct world *sim_node_world(const struct sim_node *n) { return n->world; }
unsigned world_node_count(const struct world *w) { return w->node_count; }
struct sim_node *world_node(struct world *w, unsigned id)
{
    return id >= 1 && id <= w->node_count ? w->nodes[id - 1] : NULL;
}

uint64_t node_mono(const struct sim_node *n, uint64_t at)
{
    return n->clock_mono0 + (uint64_t)(((unsigned __int128)(at - n->clock_t0) * n->clock_rate) >> 32);
}

uint64_t node_mono_when(const struct sim_node *n, uint64_t mono)
{
    if (mono <= n->clock_mono0) return n->clock_t0;
    uint64_t at = n->clock_t0 + (uint64_t)(((unsigned __int128)(mono - n->clock_mono0) << 32) / n->clock_rate);
    while (node_mono(n, at) < mono) at++;
    return at;
}

uint64_t node_wall_ns(const struct sim_node *n, uint64_t at)
{
    return (uint64_t)((int64_t)node_mono(n, at) + n->wall_offset_ns);
}

void world_clock_drift(struct sim_node *n, int64_t ppm)
{
    ASSERT(ppm >= -10000 && ppm <= 10000);
    uint64_t at = n->world->at;
    n->clock_mono0 = node_mono(n, at);
    n->clock_t0 = at;
    n->clock_rate = (uint64_t)((int64_t)(1LL << 32) + (int64_t)(1LL << 32) / 1000000 * ppm);
}

void world_clock_jump(struct sim_node *n, int64_t delta_ms)
{
    n->wall_offset_ns += delta_ms * (int64_t)NS_PER_MS;
    n->world->counters.clock_jumps++;
}

/* ---- whose code runs ---- */

struct context context_enter(struct process *p, struct sim_loop *loop, struct sim_thread *thread)
{
    struct world *w = p->node->world;
    struct context old = w->context;
    old.heap = heap_enter(&p->heap);
    w->context = (struct context){.process = p, .loop = loop, .thread = thread};
    w->depth++;
    p->running++;
    return old;
}

void context_leave(struct process *p, struct context old)
{
    struct world *w = p->node->world;
    ASSERT(w->context.process == p && p->running > 0);
    heap_enter(old.heap);
    w->context = old;
    w->depth--;
    p->running--;
    if (p->doomed && p->running == 0) world_crash(p->node, p->doom);
}

bool loop_is_ours(const struct sim_loop *l)
{
    const struct process *p = l->process;
    const struct world *w = p->node->world;
    if (w->depth == 0 || w->context.loop == l) return true;
    if (w->context.process != p) return false;
    /* On the main thread before the loops turn, and for a driver that entered the process. */
    return w->context.thread != NULL ? w->context.thread->worker == NULL && !p->turning : w->context.loop == NULL;
}

void world_enter(struct sim_node *n)
{
    struct world *w = n->world;
    ASSERT(n->process != NULL && w->entered == NULL && w->depth == 0);
    w->entered = n->process;
    w->left = context_enter(n->process, NULL, NULL);
}

void world_leave(struct world *w)
{
    struct process *p = w->entered;
    ASSERT(p != NULL);
    w->entered = NULL;
    context_leave(p, w->left);
}

/* ---- processes ---- */

static void process_main(void *arg)
{
    struct process *p = arg;
    struct world *w = p->node->world;
    if (p->start != NULL) {
        struct env_loop **loops = heap_alloc(&w->heap, p->loop_count * sizeof *loops);
        unsigned count = p->loop_count;
        for (unsigned i = 0; i < count; i++) loops[i] = &p->loops[i]->base;
        loop_charge(w);
        p->start(p->start_ctx, &p->env, loops, count);
        mem_free(loops);
    }
    p->turning = true;
    for (unsigned i = 0; i < p->loop_count; i++) loop_start(p->loops[i]);
}

struct env *world_start(struct sim_node *n, unsigned loop_count, sim_start_fn start, void *ctx)
{
    struct world *w = n->world;
    ASSERT(n->process == NULL && loop_count > 0);
    struct process *p = heap_zalloc(&w->heap, sizeof *p);
    p->env = (struct env){.ops = &sim_env_ops, .simulated = true};
    p->node = n;
    p->incarnation = ++n->incarnations;
    heap_init(&p->heap, true);
    rng_init(&p->rng, hash_u64(w->seed) ^ hash_u64((uint64_t)n->id << 32 | p->incarnation));
    list_init(&p->streams);
    list_init(&p->listeners);
    list_init(&p->files);
    list_init(&p->workers);
    list_init(&p->threads);
    p->start = start;
    p->start_ctx = ctx;
    n->process = p;
    n->paused_until = 0;
    if (!n->up) {
        uint64_t wall = node_wall_ns(n, w->at);
        n->up = true;
        n->clock_t0 = w->at; /* the monotonic clock counts from the boot */
        n->clock_mono0 = rng_between(&w->rng_clock, NS_PER_S, 60 * NS_PER_S);
        n->wall_offset_ns = (int64_t)(wall - n->clock_mono0);
        net_node_boot(n);
    }
    for (unsigned i = 0; i < loop_count; i++) world_loop_new(n);
    w->counters.processes_started++;
    thread_new(p, process_main, p, w->at);
    return &p->env;
}

bool world_running(const struct sim_node *n) { return n->process != NULL; }
struct env *world_env(struct sim_node *n) { return n->process != NULL ? &n->process->env : NULL; }
unsigned world_loop_count(const struct sim_node *n) { return n->process != NULL ? n->process->loop_count : 0; }
struct env_loop *world_loop(struct sim_node *n, unsigned i)
{
    return i < world_loop_count(n) ? &n->process->loops[i]->base : NULL;
}

struct env_loop *world_loop_new(struct sim_node *n)
{
    struct process *p = n->process;
    struct world *w = n->world;
    ASSERT(p != NULL);
    struct sim_loop **loops = heap_alloc(&w->heap, (p->loop_count + 1) * sizeof(struct sim_loop *));
    for (unsigned i = 0; i < p->loop_count; i++) loops[i] = p->loops[i];
    mem_free(p->loops);
    p->loops = loops;
    struct sim_loop *l = loop_new(p);
    p->loops[p->loop_count++] = l;
    return &l->base;
}

/* Frees what is the process's, in the kernel and in the heap. */
static void process_end(struct process *p, bool power_loss)
{
    struct sim_node *n = p->node;
    ASSERT(p->running == 0);
    for (struct link *k; (k = list_first(&p->threads)) != NULL;) thread_free(CONTAINER_OF(k, struct sim_thread, link));
    net_process_end(p, power_loss);
    disk_process_end(p);
    for (struct link *k; (k = list_pop_front(&p->workers)) != NULL;) mem_free(CONTAINER_OF(k, struct sim_worker, link));
    for (unsigned i = 0; i < p->loop_count; i++) loop_deinit(p->loops[i]);
    mem_free(p->loops);
    heap_clear(&p->heap);
    n->process = NULL;
    mem_free(p);
}

void world_crash(struct sim_node *n, enum sim_crash kind)
{
    struct world *w = n->world;
    struct process *p = n->process;
    if (p != NULL && p->running > 0) {
        if (!p->doomed || kind == SIM_POWER_LOSS) p->doom = kind;
        p->doomed = true;
        return;
    }
    if (kind == SIM_KILL && p != NULL) w->counters.kills++;
    if (kind == SIM_POWER_LOSS && n->up) w->counters.power_losses++;
    world_mix(w, EV_CALL, n->id, 0x100 + (uint64_t)kind);
    if (kind == SIM_POWER_LOSS) n->up = false;
    if (p != NULL) process_end(p, kind == SIM_POWER_LOSS);
    if (kind == SIM_POWER_LOSS) {
        net_power_loss(n);
        disk_power_loss(n->disk);
    }
}

bool sim_leaks_any(const struct sim_leaks *l)
{
    return (l->blocks | l->streams | l->listeners | l->files | l->workers | l->timers) != 0;
}

static size_t list_count(const struct list *l)
{
    size_t n = 0;
    for (struct link *k = list_first(l); k != NULL; k = list_next(l, k)) n++;
    return n;
}

struct sim_leaks world_stop(struct sim_node *n)
{
    struct process *p = n->process;
    ASSERT(p != NULL && p->running == 0);
    struct sim_leaks l = {
        .blocks = p->heap.block_count,
        .bytes = p->heap.bytes,
        .streams = list_count(&p->streams),
        .listeners = list_count(&p->listeners),
        .files = list_count(&p->files),
        .workers = list_count(&p->workers),
    };
    for (unsigned i = 0; i < p->loop_count; i++)
        l.timers += list_count(&p->loops[i]->armed) + list_count(&p->loops[i]->due);
    n->world->counters.processes_stopped++;
    process_end(p, false);
    return l;
}

void world_pause(struct sim_node *n, uint64_t for_ns)
{
    struct world *w = n->world;
    n->paused_until = MAX(n->paused_until, w->at + for_ns);
    w->counters.pauses++;
}

void world_stall(struct env_loop *loop, uint64_t for_ns)
{
    struct sim_loop *l = loop_of(loop);
    struct world *w = l->process->node->world;
    l->busy_until = MAX(l->busy_until, w->at + for_ns);
    w->counters.hiccups++;
}

struct call {
    struct env_task task;
    void (*fn)(void *ctx);
    void *ctx;
};

static void run_call(struct env_task *task)
{
    struct call *c = CONTAINER_OF(task, struct call, task);
    void (*fn)(void *) = c->fn;
    void *ctx = c->ctx;
    mem_free(c);
    fn(ctx);
}

void world_call(struct env_loop *loop, void (*fn)(void *ctx), void *ctx)
{
    struct call *c = heap_alloc(&loop_of(loop)->process->node->world->heap, sizeof *c);
    *c = (struct call){.task = {.run = run_call}, .fn = fn, .ctx = ctx};
    loop_post(loop_of(loop), &c->task);
}
