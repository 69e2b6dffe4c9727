/* plan.c - decides where replicas should be: which change of the catalog comes next.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cluster/plan.h"

#include "base/mem.h"

/* Replicas and preferred leaders per node, as planned so far. */
struct load {
    uint64_t node_id;
    uint16_t stores;
    bool usable; /* up, and alive */
    unsigned replicas, leaders;
};

struct planning {
    const struct plan_input *in;
    struct load *loads;
    size_t count;
};

static struct load *load_of(struct planning *p, uint64_t node_id)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->loads[i].node_id == node_id) return &p->loads[i];
    return NULL;
}

static uint64_t node_of(const struct catalog_replica *r) { return store_addr_node(r->store); }

/* The one copy that votes; NULL: there are several. It leads without being preferred. */
static const struct catalog_replica *only_voter(const struct catalog_partition *q)
{
    const struct catalog_replica *only = NULL;
    for (size_t i = 0; i < q->count; i++) {
        if (q->replicas[i].roles != RAFT_VOTER) continue;
        if (only != NULL) return NULL;
        only = &q->replicas[i];
    }
    return only;
}

static void count_loads(struct planning *p)
{
    const struct catalog *c = p->in->catalog;
    p->loads = mem_zalloc((c->node_count + 1) * sizeof *p->loads);
    for (size_t i = 0; i < c->node_count; i++) {
        const struct catalog_node *n = &c->nodes[i];
        if (n->state != NODE_UP) continue;
        p->loads[p->count++] = (struct load){n->id, n->stores, p->in->alive(p->in->ctx, n->id), 0, 0};
    }
    for (size_t i = 0; i < c->partition_count; i++) {
        const struct catalog_partition *q = &c->partitions[i];
        for (size_t k = 0; k < q->count; k++) {
            struct load *l = load_of(p, node_of(&q->replicas[k]));
            if (l == NULL || q->replicas[k].roles == 0) continue;
            l->replicas++;
            if (q->preferred == q->replicas[k].replica_id || only_voter(q) == &q->replicas[k]) l->leaders++;
        }
    }
}

static unsigned up_nodes(const struct catalog *c)
{
    unsigned n = 0;
    for (size_t i = 0; i < c->node_count; i++) n += c->nodes[i].state == NODE_UP;
    return n;
}

unsigned plan_replicas(const struct catalog *c, const struct catalog_partition *p)
{
    unsigned nodes = up_nodes(c);
    if (p->id == PARTITION_META) return nodes >= 5 ? 5 : nodes >= 3 ? 3 : 1;
    const struct catalog_table *t = catalog_table(c, p->table);
    unsigned wanted = t != NULL ? t->replicas : 1;
    return MIN(wanted, nodes);
}

static bool has_node(const struct catalog_partition *q, uint64_t node_id)
{
    for (size_t i = 0; i < q->count; i++)
        if (node_of(&q->replicas[i]) == node_id) return true;
    return false;
}

/* The usable node with the fewest replicas that has none of this partition. */
static struct load *best_node(struct planning *p, const struct catalog_partition *q)
{
    struct load *best = NULL;
    for (size_t i = 0; i < p->count; i++) {
        struct load *l = &p->loads[i];
        if (!l->usable || has_node(q, l->node_id)) continue;
        if (best == NULL || l->replicas < best->replicas) best = l;
    }
    return best;
}

static const struct raft_member *member(const struct plan_report *r, uint64_t replica_id)
{
    return r != NULL ? raft_config_find(&r->config, replica_id) : NULL;
}

/* Does the group have exactly the members that the catalog wants? */
static bool settled(const struct catalog_partition *q, const struct plan_report *r)
{
    if (r == NULL || raft_config_joint(&r->config)) return false;
    for (size_t i = 0; i < q->count; i++) {
        const struct raft_member *m = member(r, q->replicas[i].replica_id);
        if (q->replicas[i].roles == 0 ? m != NULL : m == NULL || m->roles != q->replicas[i].roles) return false;
    }
    return true;
}

static bool drop_removed(struct catalog_partition *q, const struct plan_report *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < q->count; i++) {
        if (q->replicas[i].roles == 0 && member(r, q->replicas[i].replica_id) == NULL) continue;
        q->replicas[kept++] = q->replicas[i];
    }
    bool changed = kept != q->count;
    q->count = (uint8_t)kept;
    return changed;
}

static unsigned wanted_members(const struct catalog_partition *q)
{
    unsigned n = 0;
    for (size_t i = 0; i < q->count; i++) n += q->replicas[i].roles != 0;
    return n;
}

static bool add_replica(struct planning *p, struct catalog_partition *q);

/* In one change with the copy that takes its place, if a node can have that: then a group of three never has two only. */
static bool retire_removed_nodes(struct planning *p, struct catalog_partition *q)
{
    for (size_t i = 0; i < q->count; i++) {
        if (q->replicas[i].roles == 0 || load_of(p, node_of(&q->replicas[i])) != NULL) continue;
        if (wanted_members(q) == 1) continue; /* the last one: a new copy must exist first */
        q->replicas[i].roles = 0;
        add_replica(p, q);
        return true;
    }
    return false;
}

static bool add_replica(struct planning *p, struct catalog_partition *q)
{
    unsigned on_up_nodes = 0;
    for (size_t i = 0; i < q->count; i++)
        on_up_nodes += q->replicas[i].roles != 0 && load_of(p, node_of(&q->replicas[i])) != NULL;
    if (on_up_nodes >= plan_replicas(p->in->catalog, q) || q->count == RAFT_MEMBERS_MAX) return false;
    struct load *l = best_node(p, q);
    if (l == NULL) return false;
    uint16_t store = q->id == PARTITION_META ? 0 : (uint16_t)(q->id % l->stores);
    q->replicas[q->count++] = (struct catalog_replica){.store = store_addr(l->node_id, store), .roles = RAFT_VOTER};
    l->replicas++;
    return true;
}

static bool remove_surplus(struct planning *p, struct catalog_partition *q)
{
    if (wanted_members(q) <= plan_replicas(p->in->catalog, q)) return false;
    struct catalog_replica *worst = NULL;
    for (size_t i = 0; i < q->count; i++) {
        struct catalog_replica *m = &q->replicas[i];
        if (m->roles == 0 || m->replica_id == q->preferred) continue;
        struct load *l = load_of(p, node_of(m)), *w = worst != NULL ? load_of(p, node_of(worst)) : NULL;
        if (worst == NULL || (l != NULL && w != NULL && l->replicas > w->replicas)) worst = m;
    }
    if (worst == NULL) return false;
    worst->roles = 0;
    return true;
}

/* Leaders: each partition prefers one of its voters; a node may have at most one more than the least of them. */
static bool choose_leader(struct planning *p, struct catalog_partition *q)
{
    struct load *now = NULL, *best = NULL;
    uint64_t best_id = 0;
    if (only_voter(q) != NULL) return false;
    for (size_t i = 0; i < q->count; i++) {
        const struct catalog_replica *m = &q->replicas[i];
        struct load *l = load_of(p, node_of(m));
        if (m->roles != RAFT_VOTER || l == NULL) continue;
        if (m->replica_id == q->preferred) now = l;
        if (l->usable && (best == NULL || l->leaders < best->leaders)) {
            best = l;
            best_id = m->replica_id;
        }
    }
    if (best == NULL || best == now || (now != NULL && now->leaders <= best->leaders + 1)) return false;
    q->preferred = best_id;
    best->leaders++;
    if (now != NULL) now->leaders--;
    return true;
}

size_t plan_next(const struct plan_input *in, struct catalog_partition *out, size_t max)
{
    struct planning p = {.in = in};
    size_t n = 0;
    count_loads(&p);
    for (size_t i = 0; i < in->catalog->partition_count && n < max; i++) {
        struct catalog_partition q = in->catalog->partitions[i];
        const struct plan_report *r = map_get(in->reports, q.id);
        if (r == NULL) continue; /* no leader has reported: nothing is known, nothing is changed */
        bool done = settled(&q, r);
        if ((done && drop_removed(&q, r)) || retire_removed_nodes(&p, &q) || (done && add_replica(&p, &q)) ||
            (!done && wanted_members(&q) < 2 && add_replica(&p, &q)) || (done && remove_surplus(&p, &q)) ||
            (done && choose_leader(&p, &q)))
            out[n++] = q;
    }
    mem_free(p.loads);
    return n;
}

enum status plan_may_remove(const struct plan_input *in, uint64_t node_id, struct error *err)
{
    const struct catalog *c = in->catalog;
    const struct catalog_node *node = catalog_node(c, node_id);
    if (node == NULL) return error_set(err, ST_NOT_FOUND, "there is no node %llu", (unsigned long long)node_id);
    for (size_t i = 0; i < c->partition_count; i++) {
        const struct catalog_partition *q = &c->partitions[i];
        unsigned voters = 0, left_alive = 0;
        for (size_t k = 0; k < q->count; k++) {
            if (q->replicas[k].roles != RAFT_VOTER) continue;
            voters++;
            left_alive += node_of(&q->replicas[k]) != node_id && in->alive(in->ctx, node_of(&q->replicas[k]));
        }
        if (!has_node(q, node_id)) continue;
        if (voters == 1)
            return error_set(err, ST_DENIED, "node %llu holds the only copy of partition %llu: add a node first",
                             (unsigned long long)node_id, (unsigned long long)q->id);
        if (left_alive < voters / 2 + 1)
            return error_set(err, ST_DENIED,
                             "without node %llu, partition %llu has %u of %u voters alive, which is no majority: bring "
                             "another node back first",
                             (unsigned long long)node_id, (unsigned long long)q->id, left_alive, voters);
    }
    return ST_OK;
}
