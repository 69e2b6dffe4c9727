/* raft_cluster.c - a cluster of rafts in one process, with a network, disks and clocks in the hands of a test.
 * SPDX-License-Identifier: Apache-2.0 */
#include "consensus/testing/raft_cluster.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

void cluster_fail(struct cluster *c, const char *fmt, ...)
{
    if (c->failure[0] != 0) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->failure, sizeof c->failure, fmt, args);
    va_end(args);
}

static void say(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct cluster *c, const char *fmt, ...)
{
    char line[300];
    if (!c->options.keep_log) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    buf_put(&c->text, line, strlen(line));
}

uint64_t cluster_local_ns(const struct cluster *c, unsigned node)
{
    const struct cluster_node *n = &c->nodes[node];
    return n->clock_offset_ns + (uint64_t)((int64_t)c->now_ns + (int64_t)c->now_ns / 1000 * n->clock_ppk);
}

static store_addr_t store_of(uint64_t id) { return store_addr(id, 1); }

/* ---- disks ---- */

static struct entry *disk_get(const struct cluster_disk *d, uint64_t index)
{
    return index > d->base_index && index <= d->base_index + d->count ? d->entries[index - d->base_index - 1] : NULL;
}

static void disk_truncate(struct cluster_disk *d, uint64_t from)
{
    while (d->count > 0 && d->base_index + d->count >= from) entry_unref(d->entries[--d->count]);
}

static void disk_append(struct cluster_disk *d, struct entry *e)
{
    if (e->index <= d->base_index) return;
    disk_truncate(d, e->index);
    ASSERT(e->index == d->base_index + d->count + 1);
    if (d->count == d->cap) {
        d->cap = d->cap != 0 ? d->cap * 2 : 64;
        d->entries = mem_realloc(d->entries, d->cap * sizeof *d->entries);
    }
    d->entries[d->count++] = entry_ref(e);
}

/* The entry as the node's log has it now: the newest write that has it, or the disk. */
static struct entry *log_get(const struct cluster_node *n, uint64_t index)
{
    for (uint32_t i = n->write_count; i > 0; i--) {
        const struct cluster_write *w = &n->writes[i - 1];
        if (w->entry_count == 0) continue;
        if (index >= w->persist_from && index < w->persist_from + w->entry_count)
            return w->entries[index - w->persist_from];
    }
    return disk_get(&n->disk, index);
}

static void write_free(struct cluster_write *w)
{
    for (uint32_t i = 0; i < w->entry_count; i++) entry_unref(w->entries[i]);
    mem_free(w->entries);
    mem_free(w->after);
}

static struct cluster_write *write_new(struct cluster_node *n)
{
    if (n->write_count == n->write_cap) {
        n->write_cap = n->write_cap != 0 ? n->write_cap * 2 : 4;
        n->writes = mem_realloc(n->writes, n->write_cap * sizeof *n->writes);
    }
    struct cluster_write *w = &n->writes[n->write_count++];
    *w = (struct cluster_write){0};
    return w;
}

static void oracle_entry(struct cluster *c, unsigned node, const struct entry *e);

static void write_durable(struct cluster *c, struct cluster_node *n, const struct cluster_write *w)
{
    for (uint32_t i = 0; i < w->entry_count; i++) {
        disk_append(&n->disk, w->entries[i]);
        oracle_entry(c, (unsigned)n->id, w->entries[i]);
    }
    if (w->vote_changed) {
        n->disk.term = w->term;
        n->disk.vote = w->vote;
    }
    if (w->clears_suspect) n->disk.suspect = n->disk.damaged = false;
    if (w->bound > n->disk.bound) n->disk.bound = w->bound;
}

/* ---- the network ---- */

static struct cluster_message *net_new(struct cluster *c, unsigned from, uint64_t to, uint8_t kind, uint8_t type)
{
    if (c->net_count == c->net_cap) {
        c->net_cap = c->net_cap != 0 ? c->net_cap * 2 : 64;
        c->net = mem_realloc(c->net, c->net_cap * sizeof *c->net);
    }
    struct cluster_message *m = &c->net[c->net_count++];
    *m = (struct cluster_message){.serial = c->serial++, .from = from, .to = (unsigned)to, .kind = kind, .type = type};
    return m;
}

static void send_raft(struct cluster *c, const struct raft_message *m)
{
    if (m->to > c->options.nodes) return;
    struct cluster_message *n = net_new(c, (unsigned)m->from, m->to, CLUSTER_RAFT, m->type);
    raft_message_encode(m, &n->bytes);
    c->raft_sent++;
}

static void send_beat(struct cluster *c, unsigned from, const struct liveness_beat *b)
{
    struct cluster_message *n = net_new(c, from, store_addr_node(b->to), CLUSTER_BEAT, b->reply);
    liveness_encode(b, &n->bytes);
}

void cluster_lose(struct cluster *c, uint32_t at)
{
    ASSERT(at < c->net_count);
    buf_deinit(&c->net[at].bytes);
    memmove(&c->net[at], &c->net[at + 1], (c->net_count - at - 1) * sizeof *c->net);
    c->net_count--;
}

void cluster_repeat(struct cluster *c, uint32_t at)
{
    struct cluster_message *copy = net_new(c, c->net[at].from, c->net[at].to, c->net[at].kind, c->net[at].type);
    const struct cluster_message *m = &c->net[at];
    copy->due_ns = m->due_ns;
    buf_put_bytes(&copy->bytes, buf_view(&m->bytes));
}

/* ---- the oracle ---- */

static uint64_t entry_hash(const struct entry *e) { return hash64(entry_data(e), e->ts * 31 + e->kind) | 1; }

static void oracle_entry(struct cluster *c, unsigned node, const struct entry *e)
{
    uint64_t key = hash_u64(e->term << 32 ^ e->index), hash = entry_hash(e);
    uint64_t had = (uint64_t)(uintptr_t)map_get(&c->made, key);
    if (had != 0 && had != hash)
        cluster_fail(c, "log matching: node %u has another entry (%" PRIu64 ", term %" PRIu64 ")", node, e->index,
                     e->term);
    map_set(&c->made, key, (void *)(uintptr_t)hash);
}

/* Everything committed in an older term. (A slow candidate may win an old term when a later one has committed already.)
 */
static void oracle_leader_has_all(struct cluster *c, unsigned node)
{
    struct raft_view v;
    raft_view(c->nodes[node].raft, &v);
    for (uint64_t i = MAX(v.first_index, 2); i <= c->committed; i++)
        if (c->committed_in[i] < v.term && raft_term_at(c->nodes[node].raft, i) != c->committed_term[i])
            cluster_fail(c,
                         "leader completeness: leader %u of term %" PRIu64 " (log to %" PRIu64 ") lacks entry %" PRIu64,
                         node, v.term, v.last_index, i);
}

static void oracle_election(struct cluster *c, unsigned node, uint64_t term)
{
    uint64_t had = (uint64_t)(uintptr_t)map_get(&c->leaders, term);
    if (had != 0 && had != node + 1u)
        cluster_fail(c, "election safety: %" PRIu64 " and %u lead term %" PRIu64, had - 1, node, term);
    map_set(&c->leaders, term, (void *)(uintptr_t)(node + 1u));
    hlc_t floor = raft_hlc_floor(c->nodes[node].raft);
    if (had != 0) return;
    c->elections++;
    if (floor < c->served && c->served_in < term)
        cluster_fail(c, "limits: leader %u of term %" PRIu64 " starts at %" PRIu64 ", but %" PRIu64 " was read at",
                     node, term, floor, c->served);
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        struct raft_view v;
        if (i == node || !c->nodes[i].up || c->now_ns < c->nodes[i].paused_until_ns) continue;
        raft_view(c->nodes[i].raft, &v);
        if (v.term < term && raft_lease_until(c->nodes[i].raft) > cluster_local_ns(c, i))
            cluster_fail(c, "lease: %u was elected in term %" PRIu64 " while %u has a lease", node, term, i);
    }
    oracle_leader_has_all(c, node);
}

static void oracle_commit(struct cluster *c, unsigned node, uint64_t from, const struct raft_view *v)
{
    struct cluster_node *n = &c->nodes[node];
    bool fresh = false;
    for (uint64_t i = MAX(from, v->first_index); i <= v->commit; i++) {
        uint64_t term = raft_term_at(n->raft, i);
        struct entry *e = raft_entry_peek(n->raft, i);
        if (e == NULL) e = log_get(n, i);
        if (i >= CLUSTER_LOG_MAX) {
            cluster_fail(c, "the run is too long for the oracle");
            return;
        }
        if (i <= c->committed) {
            if (term != c->committed_term[i] || (e != NULL && entry_hash(e) != c->committed_hash[i]))
                cluster_fail(c, "state machine safety: node %u committed another entry %" PRIu64, node, i);
            continue;
        }
        ASSERT(e != NULL);
        c->committed = i;
        c->committed_term[i] = term;
        c->committed_hash[i] = entry_hash(e);
        c->committed_in[i] = v->term;
        fresh = true;
    }
    for (unsigned i = 1; fresh && i <= c->options.nodes; i++) {
        struct raft_view other;
        if (!c->nodes[i].up || i == node) continue;
        raft_view(c->nodes[i].raft, &other);
        if (other.role == RAFT_LEADER && other.term > v->term) oracle_leader_has_all(c, i);
    }
}

void cluster_check(struct cluster *c)
{
    unsigned holder = 0;
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        struct cluster_node *n = &c->nodes[i];
        struct raft_view v;
        if (!n->up || c->now_ns < n->paused_until_ns) continue; /* who is paused serves nothing */
        if (raft_lease_until(n->raft) <= cluster_local_ns(c, i)) continue;
        raft_view(n->raft, &v);
        if (holder != 0) cluster_fail(c, "lease: %u and %u both have one", holder, i);
        holder = i;
        if (v.commit < c->acked)
            cluster_fail(c, "lease: %u would read at %" PRIu64 ", acknowledged is %" PRIu64, i, v.commit, c->acked);
        hlc_t limit = raft_hlc_limit(n->raft, cluster_local_ns(c, i));
        hlc_t now = hlc_from_ms(cluster_local_ns(c, i) / NS_PER_MS);
        hlc_t at = MIN(limit, MAX(now, n->hlc.last)); /* what a read would be served at */
        if (rng_chance(&c->rng, 20)) at = limit;
        if (at > c->served) {
            c->served = at;
            c->served_in = v.term;
        }
        hlc_see(&n->hlc, at);
    }
}

/* ---- driving a raft ---- */

static void apply(struct cluster *c, unsigned node, uint64_t commit)
{
    struct cluster_node *n = &c->nodes[node];
    struct cluster_machine *m = &n->machine;
    while (m->applied < commit) {
        struct entry *e = raft_entry_peek(n->raft, m->applied + 1);
        if (e == NULL) e = log_get(n, m->applied + 1);
        ASSERT(e != NULL && e->index == m->applied + 1);
        if (e->kind == ENTRY_CONF) ASSERT(raft_config_decode(entry_data(e), &m->config));
        m->applied = e->index;
        m->applied_term = e->term;
        m->hash = hash_u64(m->hash ^ entry_hash(e));
        m->last_ts = MAX(m->last_ts, e->ts);
    }
    raft_applied(n->raft, m->applied);
}

static void send_snapshot(struct cluster *c, unsigned node, uint64_t to)
{
    struct cluster_node *n = &c->nodes[node];
    ASSERT(n->machine.config.count != 0);
    raft_snapshot_begun(n->raft, to, n->machine.applied, n->machine.applied_term);
    struct cluster_message *m = net_new(c, node, to, CLUSTER_STATE, 0);
    buf_put(&m->bytes, &n->machine, sizeof n->machine);
    n->snapshot_end_ns[to] = c->now_ns + 100 * NS_PER_MS;
    n->snapshot_arrived[to] = false;
}

static void do_fetches(struct cluster *c, unsigned node, const struct raft_fetch *fetches, size_t count)
{
    struct cluster_node *n = &c->nodes[node];
    for (size_t i = 0; i < count; i++) {
        const struct raft_fetch *f = &fetches[i];
        struct entry *entries[64];
        size_t got = 0;
        uint64_t bytes = 0;
        if (f->kind == RAFT_FETCH_SNAPSHOT) {
            send_snapshot(c, node, f->to);
            continue;
        }
        for (struct entry *e; got < ARRAY_COUNT(entries) && (e = log_get(n, f->index + got)) != NULL; got++) {
            bytes += ENTRY_COST + e->size;
            if (got > 0 && bytes > f->bytes_max) break;
            entries[got] = e;
        }
        raft_fetched(n->raft, cluster_local_ns(c, node), f->to, entries, got);
    }
}

static void do_reads(struct cluster *c, unsigned node, const struct raft_ready *rd)
{
    for (size_t i = 0; i < rd->read_count; i++) {
        const struct raft_read *got = &rd->reads[i];
        say(c, "%u: read %" PRIu64 " %s index=%" PRIu64 "\n", node, got->id, status_name(got->status), got->index);
        for (uint32_t j = 0; j < c->read_count; j++) {
            struct cluster_read *q = &c->reads[j];
            if (q->node != node || q->id != got->id || q->done) continue;
            q->done = true;
            if (got->status != ST_OK) continue;
            c->reads_done++;
            if (got->index < q->index_least)
                cluster_fail(c, "read index: %u answers at %" PRIu64 ", acknowledged before was %" PRIu64, node,
                             got->index, q->index_least);
        }
    }
}

static void do_persist(struct cluster *c, unsigned node, const struct raft_ready *rd)
{
    struct cluster_node *n = &c->nodes[node];
    bool entries = rd->persist_to >= rd->persist_from;
    if (!entries && !rd->vote_changed && !rd->suspect_cleared) {
        if (rd->after_count == 0) return;
        if (n->write_count == 0) { /* all is durable */
            for (size_t i = 0; i < rd->after_count; i++) send_raft(c, &rd->after[i]);
            return;
        }
    }
    struct raft_view v;
    raft_view(n->raft, &v);
    for (uint32_t i = 0; entries && i < n->write_count; i++) {
        struct cluster_write *w = &n->writes[i];
        if (w->entry_count != 0 && w->persist_from + w->entry_count - 1 >= rd->persist_from) w->overtaken = true;
    }
    struct cluster_write *w = write_new(n);
    w->vote_changed = rd->vote_changed;
    w->term = v.term;
    w->vote = v.vote;
    w->clears_suspect = rd->suspect_cleared;
    if (entries) {
        w->persist_from = rd->persist_from;
        w->entry_count = (uint32_t)(rd->persist_to - rd->persist_from + 1);
        w->entries = mem_alloc(w->entry_count * sizeof *w->entries);
        for (uint32_t i = 0; i < w->entry_count; i++) {
            struct entry *e = raft_entry_peek(n->raft, rd->persist_from + i);
            ASSERT(e != NULL);
            w->entries[i] = entry_ref(e);
        }
    }
    if (rd->after_count != 0) w->after = mem_copy(rd->after, rd->after_count * sizeof *rd->after);
    w->after_count = (uint32_t)rd->after_count;
}

static void tell(struct cluster *c, unsigned node)
{
    struct cluster_node *n = &c->nodes[node];
    struct raft_view v;
    raft_view(n->raft, &v);
    if (v.role != n->told_role || v.term != n->told_term || v.leader != n->told_leader) {
        say(c, "%u: %s term=%" PRIu64, node, raft_role_name(v.role), v.term);
        if (v.leader != 0 && v.role != RAFT_LEADER) say(c, " leader=%" PRIu64, v.leader);
        say(c, "\n");
    }
    if (v.role == RAFT_LEADER) hlc_see(&n->hlc, raft_hlc_floor(n->raft));
    /* a sole voter leads before its vote is durable, and tells nobody: should it forget, there was no election */
    if (v.role == RAFT_LEADER && n->disk.term >= v.term && n->told_election != v.term) {
        n->told_election = v.term;
        oracle_election(c, node, v.term);
    }
    if (v.commit != n->told_commit) {
        say(c, "%u: commit=%" PRIu64 "\n", node, v.commit);
        oracle_commit(c, node, n->told_commit + 1, &v);
    }
    if (v.suspect != n->told_suspect) say(c, "%u: suspect=%d\n", node, v.suspect);
    n->told_role = v.role;
    n->told_term = v.term;
    n->told_leader = v.leader;
    n->told_commit = v.commit;
    n->told_suspect = v.suspect;
}

void cluster_pump(struct cluster *c, unsigned node)
{
    struct cluster_node *n = &c->nodes[node];
    while (n->up) {
        struct raft_ready rd;
        raft_ready(n->raft, &rd);
        tell(c, node);
        do_persist(c, node, &rd);
        for (size_t i = 0; i < rd.before_count; i++) send_raft(c, &rd.before[i]);
        do_reads(c, node, &rd);
        apply(c, node, rd.commit);
        if (n->told_role == RAFT_LEADER && rd.commit > c->acked) c->acked = rd.commit;
        do_fetches(c, node, rd.fetches, rd.fetch_count);
        bool again = rd.fetch_count != 0;
        if (c->options.disk_at_once && n->write_count != 0) {
            cluster_sync(c, node, n->write_count);
            return; /* it pumps */
        }
        if (!again) return;
    }
}

void cluster_sync(struct cluster *c, unsigned node, uint32_t count)
{
    struct cluster_node *n = &c->nodes[node];
    ASSERT(count <= n->write_count);
    uint64_t index = 0, term = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct cluster_write *w = &n->writes[i];
        write_durable(c, n, w);
        for (uint32_t j = 0; j < w->after_count; j++) send_raft(c, &w->after[j]);
        if (w->entry_count != 0 && !w->overtaken) {
            index = w->entries[w->entry_count - 1]->index;
            term = w->entries[w->entry_count - 1]->term;
        }
        if (n->up) liveness_bound_durable(&n->liveness, n->disk.bound);
        write_free(w);
    }
    memmove(n->writes, n->writes + count, (n->write_count - count) * sizeof *n->writes);
    n->write_count -= count;
    if (!n->up) return;
    if (index != 0) raft_persisted(n->raft, cluster_local_ns(c, node), index, term);
    cluster_pump(c, node);
}

void cluster_flush(struct cluster *c, unsigned node)
{
    struct cluster_node *n = &c->nodes[node];
    if (n->machine.applied > n->disk.machine.applied) n->disk.machine = n->machine;
}

void cluster_compact(struct cluster *c, unsigned node, uint64_t index)
{
    struct cluster_node *n = &c->nodes[node];
    struct cluster_disk *d = &n->disk;
    struct raft_view v;
    raft_view(n->raft, &v);
    index = MIN(index, MIN(d->machine.applied, MIN(v.commit, d->base_index + d->count)));
    if (index <= d->base_index || v.suspect) return;
    uint64_t term = disk_get(d, index)->term, drop = index - d->base_index;
    for (uint64_t i = 0; i < drop; i++) entry_unref(d->entries[i]);
    memmove(d->entries, d->entries + drop, (d->count - drop) * sizeof *d->entries);
    d->count -= drop;
    d->base_index = index;
    d->base_term = term;
    raft_compacted(n->raft, index);
}

static void install(struct cluster *c, unsigned node, const struct cluster_machine *m, unsigned from)
{
    struct cluster_node *n = &c->nodes[node];
    c->nodes[from].snapshot_arrived[node] = true;
    if (!raft_snapshot_wanted(n->raft, m->applied, m->applied_term)) return;
    cluster_sync(c, node, n->write_count);
    if (!raft_snapshot_wanted(n->raft, m->applied, m->applied_term)) return;
    disk_truncate(&n->disk, 0);
    n->disk.base_index = m->applied;
    n->disk.base_term = m->applied_term;
    n->machine = n->disk.machine = *m;
    raft_restored(n->raft, cluster_local_ns(c, node), m->applied, m->applied_term, &m->config, m->last_ts);
    say(c, "%u: restored %" PRIu64 "\n", node, m->applied);
    n->told_commit = m->applied;
    cluster_pump(c, node);
}

static void on_beat(struct cluster *c, unsigned node, struct bytes in)
{
    struct cluster_node *n = &c->nodes[node];
    struct liveness_beat b, reply;
    hlc_t wanted;
    ASSERT(liveness_decode(in, &b));
    if (liveness_step(&n->liveness, cluster_local_ns(c, node), &b, &reply, &wanted)) send_beat(c, node, &reply);
    if (wanted != 0) {
        write_new(n)->bound = wanted;
        if (c->options.disk_at_once) cluster_sync(c, node, n->write_count);
    }
}

void cluster_deliver(struct cluster *c, uint32_t at)
{
    struct cluster_message m = c->net[at];
    struct cluster_node *n = &c->nodes[m.to];
    memmove(&c->net[at], &c->net[at + 1], (c->net_count - at - 1) * sizeof *c->net);
    c->net_count--;
    bool cut = c->cut[m.from][m.to] && !(c->cut_raft_only && m.kind == CLUSTER_BEAT);
    if (n->up && !cut) {
        if (m.kind == CLUSTER_RAFT) {
            struct raft_message rm;
            struct entry *entries[512];
            struct error err;
            enum status st = raft_message_decode(buf_view(&m.bytes), &rm, entries, ARRAY_COUNT(entries), &err);
            if (st != ST_OK) cluster_fail(c, "%s", err.text);
            ASSERT(st == ST_OK);
            raft_step(n->raft, cluster_local_ns(c, m.to), &rm);
            for (uint32_t i = 0; i < rm.entry_count; i++) entry_unref(entries[i]);
            cluster_pump(c, m.to);
        } else if (m.kind == CLUSTER_BEAT) {
            on_beat(c, m.to, buf_view(&m.bytes));
        } else {
            struct cluster_machine machine;
            memcpy(&machine, m.bytes.p, sizeof machine);
            install(c, m.to, &machine, m.from);
        }
    }
    buf_deinit(&m.bytes);
}

struct beat_ctx {
    struct cluster *c;
    unsigned node;
};

static void on_lapsed(void *ctx, store_addr_t peer)
{
    struct beat_ctx *b = ctx;
    bool urgent = rng_chance(&b->c->rng, b->c->options.urgent_one_in);
    raft_support_lost(b->c->nodes[b->node].raft, cluster_local_ns(b->c, b->node), peer, urgent);
}

static void on_changed(void *ctx, store_addr_t peer)
{
    struct beat_ctx *b = ctx;
    raft_support_changed(b->c->nodes[b->node].raft, cluster_local_ns(b->c, b->node), peer);
}

void cluster_beat(struct cluster *c, unsigned node)
{
    struct cluster_node *n = &c->nodes[node];
    struct liveness_beat beats[CLUSTER_NODES_MAX];
    struct beat_ctx ctx = {c, node};
    uint64_t now = cluster_local_ns(c, node);
    hlc_t bound = liveness_want_limit(&n->liveness, hlc_from_ms(now / NS_PER_MS + 200));
    if (bound != 0) {
        write_new(n)->bound = bound;
        if (c->options.disk_at_once) cluster_sync(c, node, n->write_count);
    }
    size_t count = liveness_due(&n->liveness, now, beats, ARRAY_COUNT(beats));
    for (size_t i = 0; i < count; i++) send_beat(c, node, &beats[i]);
    liveness_expire(&n->liveness, now, on_lapsed, &ctx);
    liveness_changes(&n->liveness, now, on_changed, &ctx);
    cluster_pump(c, node);
}

void cluster_run_timers(struct cluster *c, unsigned node)
{
    struct cluster_node *n = &c->nodes[node];
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        if (n->snapshot_end_ns[i] == 0 || c->now_ns < n->snapshot_end_ns[i]) continue;
        n->snapshot_end_ns[i] = 0;
        raft_snapshot_ended(n->raft, cluster_local_ns(c, node), i, n->snapshot_arrived[i]);
        cluster_pump(c, node);
    }
    uint64_t now = cluster_local_ns(c, node);
    if (now < raft_deadline(n->raft)) return;
    raft_tick(n->raft, now);
    cluster_pump(c, node);
}

/* ---- life and death ---- */

void cluster_start(struct cluster *c, unsigned node)
{
    struct cluster_node *n = &c->nodes[node];
    struct cluster_disk *d = &n->disk;
    ASSERT(!n->up);
    d->boot_count++;
    struct liveness_options lo = {.self = store_of(node),
                                  .boot_count = d->boot_count,
                                  .start_ns = cluster_local_ns(c, node),
                                  .lease_ns = c->options.lease_ns,
                                  .drift_ns = c->options.drift_ns,
                                  .interval_ns = c->options.interval_ns};
    liveness_init(&n->liveness, &lo, d->bound);
    for (unsigned i = 1; i <= c->options.nodes; i++) liveness_ref(&n->liveness, store_of(i));
    struct raft_options ro = {.group_id = 1,
                              .replica_id = node,
                              .store = store_of(node),
                              .limits = &c->options.limits,
                              .liveness = &n->liveness,
                              .seed = rng_next(&c->rng)};
    struct raft_state st = {.term = d->term,
                            .vote = d->vote,
                            .base_index = d->base_index,
                            .base_term = d->base_term,
                            .commit = d->machine.applied,
                            .applied = d->machine.applied,
                            .config = d->machine.config,
                            .suspect = d->suspect,
                            .damaged = d->damaged,
                            .last_ts = d->machine.last_ts};
    n->machine = d->machine;
    n->raft = raft_new(&ro, &st, cluster_local_ns(c, node));
    for (uint64_t i = 0; i < d->count; i++) raft_load(n->raft, d->entries[i]);
    raft_start(n->raft, cluster_local_ns(c, node));
    n->up = true;
    n->told_role = RAFT_FOLLOWER;
    n->told_term = d->term;
    n->told_leader = n->told_election = 0;
    n->told_commit = MIN(d->base_index, d->machine.applied);
    n->told_suspect = false;
    n->hlc = (struct hlc){0};
    cluster_pump(c, node);
}

void cluster_crash(struct cluster *c, unsigned node, uint32_t kept)
{
    struct cluster_node *n = &c->nodes[node];
    ASSERT(n->up);
    n->up = false;
    for (uint32_t i = 0; i < n->write_count; i++) {
        if (i < kept) write_durable(c, n, &n->writes[i]);
        write_free(&n->writes[i]);
    }
    n->write_count = 0;
    raft_free(n->raft);
    n->raft = NULL;
    liveness_deinit(&n->liveness);
    memset(n->snapshot_end_ns, 0, sizeof n->snapshot_end_ns);
    for (uint32_t i = 0; i < c->read_count; i++)
        if (c->reads[i].node == node) c->reads[i].done = true;
}

void cluster_damage(struct cluster *c, unsigned node, uint64_t entries, bool lose_vote, bool damaged)
{
    struct cluster_disk *d = &c->nodes[node].disk;
    ASSERT(!c->nodes[node].up);
    while (entries-- > 0 && d->count > 0) entry_unref(d->entries[--d->count]);
    if (lose_vote) {
        d->vote = 0;
        d->term = d->count > 0 ? d->entries[d->count - 1]->term : d->base_term;
    }
    d->suspect = true;
    d->damaged = d->damaged || damaged;
}

enum status cluster_propose(struct cluster *c, unsigned node, struct bytes data)
{
    struct cluster_node *n = &c->nodes[node];
    uint64_t index, term;
    struct hlc before = n->hlc;
    hlc_t ts = hlc_take(&n->hlc, cluster_local_ns(c, node) / NS_PER_MS, 1);
    enum status st = raft_propose(n->raft, cluster_local_ns(c, node), ENTRY_OPS, ts, data, &index, &term);
    if (st != ST_OK) n->hlc = before;
    else if (ts <= c->served && raft_lease_until(n->raft) > cluster_local_ns(c, node))
        cluster_fail(c, "limits: %u stamps %" PRIu64 ", but %" PRIu64 " was read at", node, ts, c->served);
    if (st == ST_OK) c->proposals_done++;
    cluster_pump(c, node);
    return st;
}

enum status cluster_read(struct cluster *c, unsigned node)
{
    uint32_t keep = 0;
    for (uint32_t i = 0; i < c->read_count; i++)
        if (!c->reads[i].done) c->reads[keep++] = c->reads[i];
    c->read_count = keep;
    if (keep == ARRAY_COUNT(c->reads)) return ST_OVERLOADED;
    enum status st = raft_read(c->nodes[node].raft, cluster_local_ns(c, node), ++c->read_id);
    if (st == ST_OK)
        c->reads[c->read_count++] = (struct cluster_read){.node = node, .id = c->read_id, .index_least = c->acked};
    cluster_pump(c, node);
    return st;
}

unsigned cluster_leader(const struct cluster *c)
{
    unsigned best = 0;
    uint64_t term = 0;
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        struct raft_view v;
        if (!c->nodes[i].up) continue;
        raft_view(c->nodes[i].raft, &v);
        if (v.role == RAFT_LEADER && v.term > term) best = i, term = v.term;
    }
    return best;
}

void cluster_describe(const struct cluster *c, struct buf *out)
{
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        const struct cluster_node *n = &c->nodes[i];
        if (!n->up) {
            buf_printf(out, "%u: down\n", i);
            continue;
        }
        struct raft_view v;
        raft_view(n->raft, &v);
        buf_printf(out,
                   "%u: %s term=%" PRIu64 " vote=%" PRIu64 " leader=%" PRIu64 " log=%" PRIu64 "..%" PRIu64
                   " commit=%" PRIu64,
                   i, raft_role_name(v.role), v.term, v.vote, v.leader, v.first_index, v.last_index, v.commit);
        if (v.suspect) buf_printf(out, v.damaged ? " damaged" : " suspect");
        if (raft_lease_until(n->raft) > cluster_local_ns(c, i)) buf_printf(out, " lease");
        if (raft_deadline(n->raft) == UINT64_MAX) buf_printf(out, " quiet");
        buf_printf(out, " config@%" PRIu64 "%s", v.config_index, v.config_committed ? "" : "?");
        for (unsigned j = 0; j < v.config->count; j++) {
            uint8_t roles = v.config->members[j].roles;
            buf_printf(out, " %" PRIu64 "%s%s%s", v.config->members[j].replica_id, roles & RAFT_VOTER ? "v" : "",
                       roles & RAFT_VOTER_OUT ? "o" : "", roles & RAFT_LEARNER ? "l" : "");
            struct raft_progress p;
            if (raft_peer_progress(n->raft, v.config->members[j].replica_id, &p))
                buf_printf(out, "(%" PRIu64 "/%" PRIu64 "%s%s)", p.match, p.next, p.snapshotting ? " snapshot" : "",
                           p.paused ? " paused" : "");
        }
        buf_printf(out, "\n");
    }
}

void cluster_init(struct cluster *c, const struct cluster_options *options)
{
    ASSERT(options->nodes <= CLUSTER_NODES_MAX && options->voters <= options->nodes);
    memset(c, 0, sizeof *c);
    c->options = *options;
    c->now_ns = NS_PER_S;
    c->committed = c->acked = 1;
    c->committed_term[1] = 1;
    rng_init(&c->rng, options->seed);
    struct raft_config config = {.count = (uint8_t)options->voters};
    for (unsigned i = 0; i < options->voters; i++)
        config.members[i] = (struct raft_member){.replica_id = i + 1, .store = store_of(i + 1), .roles = RAFT_VOTER};
    for (unsigned i = 1; i <= options->nodes; i++) {
        c->nodes[i].id = i;
        if (i > options->voters) continue;
        struct cluster_disk *d = &c->nodes[i].disk;
        d->term = d->base_index = d->base_term = 1;
        d->machine = (struct cluster_machine){.applied = 1, .applied_term = 1, .config = config};
    }
}

void cluster_deinit(struct cluster *c)
{
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        struct cluster_node *n = &c->nodes[i];
        if (n->up) cluster_crash(c, i, 0);
        disk_truncate(&n->disk, 0);
        mem_free(n->disk.entries);
        mem_free(n->writes);
    }
    while (c->net_count > 0) cluster_lose(c, c->net_count - 1);
    mem_free(c->net);
    map_deinit(&c->leaders);
    map_deinit(&c->made);
    buf_deinit(&c->text);
}
