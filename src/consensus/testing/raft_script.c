/* raft_script.c - the commands of testdata/raft and testdata/liveness.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Clusters. Times are in ms; keys in brackets may be left out.
 *   cluster nodes= [voters= seed= beats=0 disk=manual stopped notice= append= inflight= tail= ahead=]
 *                  nodes are named 1 …; they start unless stopped
 *   disk node= terms=1,1,2 [term= vote=]   what a stopped node finds when it starts: an entry per term, from index 2 on
 *   start | crash | flush node= [kept=]    damage node= entries= [vote torn]    compact node= index=
 *   run ms=        time passes; messages take 1 ms; cuts hold
 *   idle ms=       time passes, raft messages stay queued
 *   elect node=    its election timer fires now (messages stay queued)
 *   wake node=     its leader's store is thought lost, and requests wait
 *   deliver [from= to= type= count=]       until nothing that matches is queued
 *   drop, repeat [from= to= type=]         the messages queued that match are lost, or will arrive twice
 *   persist node= [count=]    queue    show    lease node=    sent
 *   propose node= data= [times=] | read | step-down | transfer to= | change voters=1,2 [learners=3] | busy on=  (all
 * node=) cut from= to= [both]      heal Stores (liveness alone): store, clock, send, receive, want, durable, stall,
 * tell, show-store. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/script.h"
#include "consensus/raft_internal.h"
#include "consensus/testing/raft_cluster.h"

static uint64_t ms(uint64_t n) { return n * NS_PER_MS; }

struct world {
    struct cluster *c;
    uint64_t sent_before;
};

static const char *const type_names[] = {
    [0] = "any",
    [RAFT_PRE_VOTE] = "pre-vote",
    [RAFT_PRE_VOTE_REPLY] = "pre-vote-reply",
    [RAFT_VOTE] = "vote",
    [RAFT_VOTE_REPLY] = "vote-reply",
    [RAFT_APPEND] = "append",
    [RAFT_APPEND_REPLY] = "append-reply",
    [RAFT_BEAT] = "beat",
    [RAFT_BEAT_REPLY] = "beat-reply",
    [RAFT_SNAPSHOT] = "snapshot",
    [RAFT_SNAPSHOT_REPLY] = "snapshot-reply",
    [RAFT_TIMEOUT_NOW] = "timeout-now",
    [RAFT_RELEASE] = "release",
};

static void world_close(struct world *w)
{
    if (w->c == NULL) return;
    cluster_deinit(w->c);
    mem_free(w->c);
    w->c = NULL;
}

static void cmd_cluster(struct script *s, struct world *w)
{
    world_close(w);
    w->c = mem_alloc(sizeof *w->c);
    struct cluster_options o = {.nodes = (unsigned)script_u64(s, "nodes", 3),
                                .seed = script_u64(s, "seed", 1),
                                .lease_ns = ms(100),
                                .drift_ns = ms(10),
                                .interval_ns = script_u64(s, "beats", 1) != 0 ? ms(20) : NS_PER_S * 1000000,
                                .disk_at_once = strcmp(script_str(s, "disk", "at-once"), "manual") != 0,
                                .keep_log = true};
    o.voters = (unsigned)script_u64(s, "voters", o.nodes);
    o.limits = (struct raft_limits){.append_bytes_max = (uint32_t)script_u64(s, "append", 400),
                                    .inflight_bytes_max = 2000,
                                    .inflight_count_max = (uint32_t)script_u64(s, "inflight", 4),
                                    .uncommitted_bytes_max = 2000,
                                    .tail_bytes_max = (uint32_t)script_u64(s, "tail", 4000),
                                    .reads_max = 4,
                                    .election_ns = ms(100),
                                    .resend_ns = ms(30),
                                    .transfer_ns = ms(150),
                                    .notice_ns = ms(script_u64(s, "notice", 0))};
    cluster_init(w->c, &o);
    w->c->nodes[1].clock_offset_ns = ms(script_u64(s, "ahead", 0));
    for (unsigned i = 1; i <= o.nodes && !script_has(s, "stopped"); i++) cluster_start(w->c, i);
}

static void cmd_disk(struct script *s, struct cluster *c, unsigned node)
{
    struct cluster_disk *d = &c->nodes[node].disk;
    const char *p = script_str(s, "terms", "");
    uint64_t term = 1, index = d->base_index;
    for (char *end; *p != 0; p = *end == ',' ? end + 1 : end) {
        term = strtoull(p, &end, 10);
        if (d->count == d->cap) {
            d->cap = d->cap != 0 ? d->cap * 2 : 64;
            d->entries = mem_realloc(d->entries, d->cap * sizeof *d->entries);
        }
        index++;
        d->entries[d->count++] = entry_new(ENTRY_NOOP, index, term, 0, (struct bytes){0});
    }
    d->term = script_u64(s, "term", term);
    d->vote = script_u64(s, "vote", 0);
}

static bool matches(struct script *s, const struct cluster_message *m)
{
    const char *type = script_str(s, "type", "any");
    uint64_t from = script_u64(s, "from", 0), to = script_u64(s, "to", 0);
    if ((from != 0 && m->from != from) || (to != 0 && m->to != to)) return false;
    if (m->kind == CLUSTER_STATE) return strcmp(type, "any") == 0 || strcmp(type, "state") == 0;
    return m->kind == CLUSTER_RAFT && (strcmp(type, "any") == 0 || strcmp(type, type_names[m->type]) == 0);
}

static void cmd_deliver(struct script *s, struct cluster *c, bool lose)
{
    uint64_t count = script_u64(s, "count", 1000);
    for (uint32_t i = 0; i < c->net_count && count > 0;) {
        if (!matches(s, &c->net[i])) {
            i++;
            continue;
        }
        if (lose) cluster_lose(c, i);
        else cluster_deliver(c, i);
        count--;
        if (!lose) i = 0;
    }
}

static void cmd_repeat(struct script *s, struct cluster *c)
{
    for (uint32_t i = 0, n = c->net_count; i < n; i++)
        if (matches(s, &c->net[i])) cluster_repeat(c, i);
}

/* A millisecond passes. */
static void pass(struct cluster *c, bool deliver)
{
    c->now_ns += ms(1);
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        if (!c->nodes[i].up) continue;
        if (c->options.interval_ns < NS_PER_S) cluster_beat(c, i);
        cluster_run_timers(c, i);
    }
    uint64_t newest = c->serial; /* what is sent now arrives with the next millisecond */
    for (uint32_t i = 0; i < c->net_count;) {
        bool now = c->net[i].serial < newest && (deliver || c->net[i].kind == CLUSTER_BEAT);
        if (now) cluster_deliver(c, i);
        else i++;
    }
    cluster_check(c);
}

static void cmd_queue(struct script *s, struct cluster *c)
{
    for (uint32_t i = 0; i < c->net_count; i++) {
        const struct cluster_message *n = &c->net[i];
        struct raft_message m;
        struct entry *entries[64];
        if (n->kind == CLUSTER_STATE) script_print(s, "%u>%u state\n", n->from, n->to);
        if (n->kind != CLUSTER_RAFT) continue;
        if (raft_message_decode(buf_view(&n->bytes), &m, entries, ARRAY_COUNT(entries), NULL) != ST_OK) continue;
        script_print(s, "%u>%u %s term=%" PRIu64, n->from, n->to, type_names[m.type], m.term);
        if (m.index != 0) script_print(s, " index=%" PRIu64, m.index);
        if (m.log_term != 0) script_print(s, " log_term=%" PRIu64, m.log_term);
        if (m.entry_count != 0) script_print(s, " entries=%u", m.entry_count);
        if (m.commit != 0) script_print(s, " commit=%" PRIu64, m.commit);
        if (m.hint != 0) script_print(s, " hint=%" PRIu64 "@%" PRIu64, m.hint, m.hint_term);
        if (m.flags & RAFT_FLAG_REJECT) script_print(s, " reject");
        if (m.flags & RAFT_FLAG_TRANSFER) script_print(s, " transfer");
        if (m.flags & RAFT_FLAG_BUSY) script_print(s, " busy");
        if (m.flags & RAFT_FLAG_DAMAGED) script_print(s, " damaged");
        else if (m.flags & RAFT_FLAG_SUSPECT) script_print(s, " suspect");
        if (m.flags & RAFT_FLAG_CONFIRM) script_print(s, " confirm");
        script_print(s, "\n");
        for (uint32_t j = 0; j < m.entry_count; j++) entry_unref(entries[j]);
    }
}

static void cmd_change(struct script *s, struct cluster *c, unsigned node)
{
    struct raft_config target = {.epoch = script_u64(s, "epoch", 1)};
    struct error err = {0};
    for (unsigned i = 1; i <= c->options.nodes; i++) {
        char name[4] = {(char)('0' + i)};
        bool voter = strstr(script_str(s, "voters", ""), name) != NULL;
        bool learner = strstr(script_str(s, "learners", ""), name) != NULL;
        if (!voter && !learner) continue;
        target.members[target.count++] = (struct raft_member){i, store_addr(i, 1), voter ? RAFT_VOTER : RAFT_LEARNER};
    }
    enum status st = raft_change(c->nodes[node].raft, cluster_local_ns(c, node), &target, &err);
    if (st != ST_OK) script_print(s, "%u: %s: %s\n", node, status_name(st), err.text);
    cluster_pump(c, node);
}

static void cmd_propose(struct script *s, struct cluster *c, unsigned node)
{
    for (uint64_t i = script_u64(s, "times", 1); i > 0; i--) {
        enum status st = cluster_propose(c, node, bytes_str(script_str(s, "data", "x")));
        if (st != ST_OK) script_print(s, "%u: %s\n", node, status_name(st));
    }
}

static void on_node_command(struct script *s, struct world *w, unsigned node)
{
    struct cluster *c = w->c;
    struct cluster_node *n = &c->nodes[node];
    uint64_t now = cluster_local_ns(c, node);
    struct error err = {0};
    enum status st = ST_OK;
    if (script_is(s, "start")) cluster_start(c, node);
    else if (script_is(s, "disk")) cmd_disk(s, c, node);
    else if (script_is(s, "crash")) cluster_crash(c, node, (uint32_t)script_u64(s, "kept", 0));
    else if (script_is(s, "damage"))
        cluster_damage(c, node, script_u64(s, "entries", 0), script_has(s, "vote"), !script_has(s, "torn"));
    else if (script_is(s, "flush")) cluster_flush(c, node);
    else if (script_is(s, "compact")) cluster_flush(c, node), cluster_compact(c, node, script_u64(s, "index", 0));
    else if (script_is(s, "elect")) {
        n->raft->election_ns = now;
        raft_tick(n->raft, now);
    } else if (script_is(s, "wake")) {
        struct raft_view v;
        raft_view(n->raft, &v);
        raft_support_lost(n->raft, now, v.leader_store, true);
        raft_tick(n->raft, now);
    } else if (script_is(s, "persist"))
        cluster_sync(c, node, (uint32_t)MIN(n->write_count, script_u64(s, "count", n->write_count)));
    else if (script_is(s, "propose")) cmd_propose(s, c, node);
    else if (script_is(s, "read")) st = cluster_read(c, node);
    else if (script_is(s, "step-down")) raft_step_down(n->raft, now, "asked");
    else if (script_is(s, "transfer")) st = raft_transfer(n->raft, now, script_u64(s, "to", 0), &err);
    else if (script_is(s, "change")) cmd_change(s, c, node);
    else if (script_is(s, "busy")) raft_set_busy(n->raft, now, script_u64(s, "on", 1) != 0);
    else if (script_is(s, "clock")) n->clock_offset_ns = ms(script_u64(s, "ahead", 0)); /* of a node that is down */
    else if (script_is(s, "limit"))
        script_print(s, "%u: limit %" PRIu64 "\n", node, hlc_ms(raft_hlc_limit(n->raft, now)));
    else if (script_is(s, "lease")) {
        uint64_t until = raft_lease_until(n->raft);
        if (until == UINT64_MAX) script_print(s, "%u: lease for ever\n", node);
        else if (until <= now) script_print(s, "%u: no lease\n", node);
        else script_print(s, "%u: lease for %" PRIu64 " ms\n", node, (uint64_t)((until - now) / NS_PER_MS));
    }
    if (st != ST_OK) script_print(s, "%u: %s %s\n", node, status_name(st), err.text);
    if (n->up && n->raft != NULL) cluster_pump(c, node);
}

static void on_command(struct script *s, void *ctx)
{
    struct world *w = ctx;
    struct buf b = {0};
    if (script_is(s, "cluster")) cmd_cluster(s, w);
    ASSERT(w->c != NULL);
    struct cluster *c = w->c;
    unsigned node = (unsigned)script_u64(s, "node", 0);
    if (node != 0) on_node_command(s, w, node);
    else if (script_is(s, "run"))
        for (uint64_t t = script_u64(s, "ms", 1); t > 0; t--) pass(c, true);
    else if (script_is(s, "idle"))
        for (uint64_t t = script_u64(s, "ms", 1); t > 0; t--) pass(c, false);
    else if (script_is(s, "deliver")) cmd_deliver(s, c, false);
    else if (script_is(s, "drop")) cmd_deliver(s, c, true);
    else if (script_is(s, "repeat")) cmd_repeat(s, c);
    else if (script_is(s, "queue")) cmd_queue(s, c);
    else if (script_is(s, "heal")) memset(c->cut, 0, sizeof c->cut);
    else if (script_is(s, "cut")) {
        unsigned from = (unsigned)script_u64(s, "from", 1), to = (unsigned)script_u64(s, "to", 1);
        c->cut[from][to] = true;
        if (script_has(s, "both")) c->cut[to][from] = true;
    } else if (script_is(s, "show")) {
        cluster_describe(c, &b);
    } else if (script_is(s, "sent")) {
        script_print(s, "%" PRIu64 " messages\n", c->raft_sent - w->sent_before);
        w->sent_before = c->raft_sent;
    }
    for (size_t i = 0; i < c->text.n; i += 900)
        script_print(s, "%.*s", (int)MIN(c->text.n - i, 900), (const char *)c->text.p + i);
    buf_clear(&c->text);
    for (size_t i = 0; i < b.n; i += 900) script_print(s, "%.*s", (int)MIN(b.n - i, 900), (const char *)b.p + i);
    buf_deinit(&b);
    if (c->failure[0] != 0) script_print(s, "BROKEN: %s\n", c->failure);
    c->failure[0] = 0;
}

bool raft_script_run(const char *path, struct buf *out_diff)
{
    struct world w = {0};
    bool ok = script_run(path, on_command, &w, out_diff);
    world_close(&w);
    return ok;
}

/* ---- stores ---- */

struct stores {
    struct liveness l[4]; /* by node id */
    uint64_t now_ns[4];
    struct liveness_beat beat; /* the one last sent */
};

struct tell_ctx {
    struct script *s;
    const char *what;
};

static void tell(void *ctx, store_addr_t peer)
{
    struct tell_ctx *t = ctx;
    script_print(t->s, "%s %" PRIu64 "\n", t->what, store_addr_node(peer));
}

static void print_beat(struct script *s, const struct liveness_beat *b)
{
    script_print(s,
                 "%" PRIu64 ">%" PRIu64 " %s sent=%" PRIu64 " boot=%" PRIu64 " epoch=%" PRIu64 ".%" PRIu64
                 " limit=%" PRIu64 "%s\n",
                 store_addr_node(b->from), store_addr_node(b->to), b->reply ? "reply" : "beat",
                 (uint64_t)(b->sent_ns / NS_PER_MS), b->asker_boot, b->epoch >> 32, b->epoch & UINT32_MAX,
                 hlc_ms(b->limit), b->reply || b->asks ? "" : " asks for nothing");
}

static void cmd_receive(struct script *s, struct stores *w)
{
    uint64_t to = store_addr_node(w->beat.to);
    struct liveness_beat reply;
    struct buf b = {0};
    hlc_t wanted;
    liveness_encode(&w->beat, &b);
    struct liveness_beat in;
    ASSERT(liveness_decode(buf_view(&b), &in));
    buf_deinit(&b);
    bool answers = liveness_step(&w->l[to], w->now_ns[to], &in, &reply, &wanted);
    if (wanted != 0) script_print(s, "%" PRIu64 ": wants bound %" PRIu64 "\n", to, hlc_ms(wanted));
    if (!answers) return;
    print_beat(s, &reply);
    w->beat = reply;
}

static void cmd_show_store(struct script *s, struct stores *w, uint64_t id, uint64_t peer)
{
    struct liveness *l = &w->l[id];
    const struct liveness_peer *p = liveness_peer(l, store_addr(peer, 0));
    uint64_t now = w->now_ns[id], until = liveness_until(l, p->addr, p->from_epoch), given = p->for_until_ns;
    script_print(s,
                 "%" PRIu64 ": has support for %" PRIu64 " ms, limit %" PRIu64 "; gives support for %" PRIu64 " ms\n",
                 id, (uint64_t)(until > now ? (until - now) / NS_PER_MS : 0), hlc_ms(liveness_limit(l, p->addr)),
                 (uint64_t)(given > now ? (given - now) / NS_PER_MS : 0));
}

static void on_store_command(struct script *s, void *ctx)
{
    struct stores *w = ctx;
    uint64_t id = script_u64(s, "id", 1), other = script_u64(s, "to", id == 1 ? 2 : 1);
    struct liveness *l = &w->l[id];
    struct liveness_beat beats[4];
    if (script_is(s, "store")) {
        struct liveness_options o = {.self = store_addr(id, 0),
                                     .boot_count = script_u64(s, "boot", 1),
                                     .start_ns = w->now_ns[id],
                                     .lease_ns = ms(100),
                                     .drift_ns = ms(10),
                                     .interval_ns = ms(20)};
        liveness_deinit(l);
        liveness_init(l, &o, hlc_from_ms(script_u64(s, "bound", 0)));
        for (uint64_t i = 1; i < ARRAY_COUNT(w->l); i++) liveness_ref(l, store_addr(i, 0));
        uint64_t silent = liveness_silent_until(l);
        if (silent > w->now_ns[id])
            script_print(s, "%" PRIu64 ": silent for %" PRIu64 " ms\n", id,
                         (uint64_t)((silent - w->now_ns[id]) / NS_PER_MS));
    } else if (script_is(s, "clock")) {
        w->now_ns[id] = ms(script_u64(s, "ms", 0));
    } else if (script_is(s, "send")) {
        size_t n = liveness_due(l, w->now_ns[id], beats, ARRAY_COUNT(beats)), i = 0;
        while (i < n && store_addr_node(beats[i].to) != other) i++;
        if (i == n) script_print(s, "%" PRIu64 ": nothing is due\n", id);
        else print_beat(s, &beats[i]), w->beat = beats[i];
    } else if (script_is(s, "receive")) {
        cmd_receive(s, w);
    } else if (script_is(s, "want")) {
        hlc_t bound = liveness_want_limit(l, hlc_from_ms(script_u64(s, "limit", 0)));
        if (bound != 0) script_print(s, "%" PRIu64 ": wants bound %" PRIu64 "\n", id, hlc_ms(bound));
    } else if (script_is(s, "durable")) {
        liveness_bound_durable(l, hlc_from_ms(script_u64(s, "bound", 0)));
    } else if (script_is(s, "vote-bound")) {
        script_print(s, "%" PRIu64 ": votes carry %" PRIu64 "\n", id, hlc_ms(liveness_vote_bound(l)));
    } else if (script_is(s, "stall")) {
        liveness_disk_stalled(l, script_u64(s, "on", 1) != 0);
    } else if (script_is(s, "tell")) {
        struct tell_ctx lapsed = {s, "stopped supporting"}, changed = {s, "support changed of"};
        liveness_expire(l, w->now_ns[id], tell, &lapsed);
        liveness_changes(l, w->now_ns[id], tell, &changed);
    } else if (script_is(s, "show-store")) {
        cmd_show_store(s, w, id, other);
    }
}

bool liveness_script_run(const char *path, struct buf *out_diff)
{
    struct stores *w = mem_zalloc(sizeof *w);
    bool ok = script_run(path, on_store_command, w, out_diff);
    for (size_t i = 0; i < ARRAY_COUNT(w->l); i++) liveness_deinit(&w->l[i]);
    mem_free(w);
    return ok;
}
