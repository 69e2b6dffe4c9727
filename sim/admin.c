/* admin.c - an operator: removes nodes from the simulated cluster, as `cairn node remove` does, over HTTP.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/diag.h"
#include "sim/cluster_internal.h"

#define AGAIN_NS (300 * NS_PER_MS)

static void again(struct sim_admin *a, uint64_t delay_ns)
{
    if (a->loop != NULL) env_timer_start(&a->timer, delay_ns);
}

static void ended(struct sim_admin *a, enum sim_removal state)
{
    struct sim_server *s = a->target;
    s->removal = state;
    a->target = NULL;
    diag(DIAG_INFO, "sim.removal node=%s %s", s->host, state == REMOVAL_DONE ? "done" : "refused");
    again(a, AGAIN_NS);
}

/* "address":"HOST:PORT" of an answer that names who decides. */
static bool address_of(struct bytes body, char *out, size_t max)
{
    static const char key[] = "\"address\":\"";
    for (size_t i = 0; i + sizeof key < body.n; i++) {
        if (memcmp(body.p + i, key, sizeof key - 1) != 0) continue;
        const uint8_t *from = body.p + i + sizeof key - 1, *to = memchr(from, '"', (size_t)(body.p + body.n - from));
        if (to == NULL) return false;
        snprintf(out, max, "%.*s", (int)(to - from), (const char *)from);
        return true;
    }
    return false;
}

static void answered(void *ctx, int status, struct bytes body, const char *why_not)
{
    struct sim_admin *a = ctx;
    struct sim_cluster *c = CONTAINER_OF(a, struct sim_cluster, admin);
    a->asking = false;
    if (a->target == NULL) return;
    diag(DIAG_INFO, "sim.removal node=%s status=%d answer=\"%.*s\"", a->target->host, status, (int)MIN(body.n, 160),
         (const char *)body.p);
    a->address[0] = 0;
    switch (status) {
    case 200:
        c->counters.removals++;
        ended(a, REMOVAL_DONE);
        break;
    case 307:
        if (a->follows++ < 3) address_of(body, a->address, sizeof a->address);
        again(a, a->address[0] != 0 ? NS_PER_MS : AGAIN_NS);
        break;
    case 409: /* a node that is gone has to be removed some day; one that is there may stay */
        c->counters.removals_refused++;
        if (a->target->gone) again(a, AGAIN_NS);
        else ended(a, REMOVAL_NONE);
        break;
    case 0:
    case 503:
    case 504: again(a, AGAIN_NS); break;
    default:
        if (c->finding[0] == 0)
            snprintf(c->finding, sizeof c->finding, "the removal of %s was answered %d: %.*s", a->target->host, status,
                     (int)MIN(body.n, 200), (const char *)body.p);
        ended(a, REMOVAL_NONE);
    }
}

static void ask(struct env_timer *timer)
{
    struct sim_admin *a = CONTAINER_OF(timer, struct sim_admin, timer);
    struct sim_cluster *c = CONTAINER_OF(a, struct sim_cluster, admin);
    char path[64];
    if (a->asking) return;
    for (unsigned i = 0; i < c->count && a->target == NULL; i++)
        if (c->servers[i].removal == REMOVAL_WANTED) a->target = &c->servers[i];
    if (a->target == NULL) return;
    if (a->address[0] == 0) {
        a->follows = 0;
        snprintf(a->address, sizeof a->address, "%s", c->addresses[rng_below(world_rng(c->world), c->address_count)]);
    }
    snprintf(path, sizeof path, "/api/nodes/remove?id=%" PRIu64, a->target->node_id);
    a->asking = true;
    http_call(a->loop, a->address, "POST", path, (struct bytes){0}, 4096, 6 * NS_PER_S, answered, a);
}

static void admin_main(void *ctx, struct env *env, struct env_loop **loops, unsigned loop_count)
{
    struct sim_admin *a = ctx;
    a->loop = loops[0];
    env_timer_init(a->loop, &a->timer, ask);
    again(a, AGAIN_NS);
}

static void begin(void *ctx)
{
    struct sim_admin *a = ctx;
    if (a->target == NULL) again(a, 1);
}

void admin_remove(struct sim_server *s)
{
    struct sim_admin *a = &s->cluster->admin;
    ASSERT(s->node_id != 0 && s->removal == REMOVAL_NONE);
    s->removal = REMOVAL_WANTED;
    world_call(a->loop, begin, a);
}

void admin_start(struct sim_cluster *c)
{
    c->admin.machine = world_node_new(c->world, "admin");
    world_start(c->admin.machine, 1, admin_main, &c->admin);
}
