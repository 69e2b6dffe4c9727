/* liveness.c - leases from store to store.
 * SPDX-License-Identifier: Apache-2.0 */
#include "consensus/liveness.h"

#include "base/mem.h"
#include "base/mutation.h"
#include "base/status.h"

void liveness_init(struct liveness *l, const struct liveness_options *options, hlc_t bound_durable)
{
    ASSERT(options->boot_count <= UINT32_MAX);
    ASSERT(options->drift_ns < options->lease_ns);
    *l = (struct liveness){.options = *options, .bound_durable = bound_durable, .acknowledged = bound_durable};
    if (MUTATION("limit_forgotten_at_restart")) l->acknowledged = 0;
    l->epoch_next = options->boot_count << 32 | 1;
}

void liveness_deinit(struct liveness *l)
{
    void *p;
    uint64_t key;
    for (size_t i = 0; map_each(&l->peers, &i, &key, &p);) mem_free(p);
    map_deinit(&l->peers);
}

void liveness_ref(struct liveness *l, store_addr_t peer)
{
    if (peer == l->options.self) return;
    struct liveness_peer *p = map_get(&l->peers, peer);
    if (p == NULL) {
        p = mem_zalloc(sizeof *p);
        p->addr = peer;
        map_set(&l->peers, peer, p);
    }
    p->groups++;
}

/* The record stays (promises made under it bind on); there are at most as many as the cluster ever had stores. */
void liveness_unref(struct liveness *l, store_addr_t peer)
{
    if (peer == l->options.self) return;
    struct liveness_peer *p = map_get(&l->peers, peer);
    ASSERT(p != NULL && p->groups > 0);
    p->groups--;
}

const struct liveness_peer *liveness_peer(const struct liveness *l, store_addr_t peer)
{
    return map_get(&l->peers, peer);
}

size_t liveness_due(struct liveness *l, uint64_t now_ns, struct liveness_beat *out, size_t max)
{
    size_t n = 0;
    uint64_t key;
    void *v;
    for (size_t i = 0; n < max && map_each(&l->peers, &i, &key, &v);) {
        struct liveness_peer *p = v;
        if (p->groups == 0 || p->next_beat_ns > now_ns) continue;
        p->next_beat_ns = now_ns + l->options.interval_ns;
        out[n++] = (struct liveness_beat){.from = l->options.self,
                                          .to = p->addr,
                                          .sent_ns = now_ns,
                                          .asker_boot = l->options.boot_count,
                                          .limit = l->limit_wanted,
                                          .asks = !l->disk_stalled};
    }
    return n;
}

uint64_t liveness_next_ns(const struct liveness *l, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX, key;
    void *v;
    for (size_t i = 0; map_each(&l->peers, &i, &key, &v);) {
        const struct liveness_peer *p = v;
        if (p->groups != 0) next = MIN(next, p->next_beat_ns);
        if (p->for_epoch != 0) next = MIN(next, p->for_until_ns);
        if (p->told_epoch != 0) next = MIN(next, p->from_until_ns);
    }
    return MAX(next, now_ns);
}

/* Ends our support for a store: what was promised under its epoch is void (invariant 2: the epoch never comes back). */
static void lapse(struct liveness_peer *p)
{
    if (p->for_epoch == 0) return;
    p->for_epoch = 0;
    p->for_until_ns = 0;
    p->lapse_untold = true;
}

static hlc_t bound_wanted(const struct liveness *l, hlc_t limit)
{
    if (limit == 0 || limit + hlc_from_ms(LIVENESS_BOUND_AHEAD_MS / 2) <= l->bound_durable) return 0;
    return limit + hlc_from_ms(LIVENESS_BOUND_AHEAD_MS);
}

static bool on_request(struct liveness *l, uint64_t now_ns, const struct liveness_beat *in, struct liveness_beat *out,
                       hlc_t *out_bound_wanted)
{
    struct liveness_peer *p = map_get(&l->peers, in->from);
    if (p == NULL || in->asker_boot < p->for_boot) return false;
    if (in->asker_boot > p->for_boot) {
        lapse(p); /* it restarted: it can't count on what it was promised before, so nothing binds us any longer */
        p->for_boot = in->asker_boot;
        p->for_sent_ns = 0;
    }
    if (in->sent_ns <= p->for_sent_ns && p->for_sent_ns != 0) return false;
    p->for_sent_ns = in->sent_ns;
    p->last_heard_ns = now_ns;
    if (now_ns >= p->for_until_ns) lapse(p);
    if (in->asks) {
        if (p->for_epoch == 0) p->for_epoch = l->epoch_next++;
        p->for_until_ns = MAX(p->for_until_ns, now_ns + l->options.lease_ns);
    }
    if (in->limit > p->for_limit) p->for_limit = in->limit;
    *out_bound_wanted = bound_wanted(l, p->for_limit);
    *out = (struct liveness_beat){
        .reply = true,
        .from = l->options.self,
        .to = in->from,
        .sent_ns = in->sent_ns,
        .asker_boot = in->asker_boot,
        .epoch = in->asks ? p->for_epoch : 0,
        .limit = MUTATION("limit_acked_before_durable") ? p->for_limit : MIN(p->for_limit, l->bound_durable)};
    l->acknowledged = MAX(l->acknowledged, out->limit);
    return true;
}

static void on_reply(struct liveness *l, uint64_t now_ns, const struct liveness_beat *in)
{
    struct liveness_peer *p = map_get(&l->peers, in->from);
    if (p == NULL || in->asker_boot != l->options.boot_count || in->sent_ns > now_ns) return;
    p->last_heard_ns = now_ns;
    p->rtt_ns = now_ns - in->sent_ns;
    if (in->limit > p->from_limit) p->from_limit = in->limit;
    if (in->epoch == 0 || in->epoch < p->from_epoch) return;
    if (in->epoch > p->from_epoch) {
        p->from_epoch = in->epoch;
        p->from_until_ns = 0;
    }
    uint64_t from_ns = MUTATION("lease_from_reply_time") ? now_ns : in->sent_ns; /* the rule: from when it was SENT */
    p->from_until_ns = MAX(p->from_until_ns, from_ns + l->options.lease_ns - l->options.drift_ns);
}

bool liveness_step(struct liveness *l, uint64_t now_ns, const struct liveness_beat *in, struct liveness_beat *out_reply,
                   hlc_t *out_bound_wanted)
{
    *out_bound_wanted = 0;
    if (in->to != l->options.self) return false;
    if (!in->reply) return on_request(l, now_ns, in, out_reply, out_bound_wanted);
    on_reply(l, now_ns, in);
    return false;
}

void liveness_bound_durable(struct liveness *l, hlc_t bound)
{
    if (bound > l->bound_durable) l->bound_durable = bound;
}

hlc_t liveness_want_limit(struct liveness *l, hlc_t limit)
{
    if (limit > l->limit_wanted) l->limit_wanted = limit;
    return bound_wanted(l, l->limit_wanted);
}

void liveness_disk_stalled(struct liveness *l, bool stalled) { l->disk_stalled = stalled; }

void liveness_sync_took(struct liveness *l, uint64_t ns)
{
    l->sync_ns = MAX(MIN(ns, l->options.lease_ns), l->sync_ns - l->sync_ns / 32);
}

void liveness_expire(struct liveness *l, uint64_t now_ns, void (*lapsed)(void *ctx, store_addr_t peer), void *ctx)
{
    uint64_t key;
    void *v;
    for (size_t i = 0; map_each(&l->peers, &i, &key, &v);) {
        struct liveness_peer *p = v;
        if (now_ns >= p->for_until_ns) lapse(p);
        if (!p->lapse_untold) continue;
        p->lapse_untold = false;
        lapsed(ctx, p->addr);
    }
}

void liveness_changes(struct liveness *l, uint64_t now_ns, void (*changed)(void *ctx, store_addr_t peer), void *ctx)
{
    uint64_t key;
    void *v;
    for (size_t i = 0; map_each(&l->peers, &i, &key, &v);) {
        struct liveness_peer *p = v;
        uint64_t epoch = now_ns < p->from_until_ns ? p->from_epoch : 0;
        if (epoch == p->told_epoch) continue;
        p->told_epoch = epoch;
        changed(ctx, p->addr);
    }
}

bool liveness_supports(const struct liveness *l, store_addr_t peer, uint64_t epoch, uint64_t now_ns)
{
    return epoch != 0 && liveness_epoch_for(l, peer, now_ns) == epoch;
}

uint64_t liveness_epoch_for(const struct liveness *l, store_addr_t peer, uint64_t now_ns)
{
    if (peer == l->options.self) return l->options.boot_count << 32 | UINT32_MAX; /* as long as we run */
    const struct liveness_peer *p = map_get(&l->peers, peer);
    return p != NULL && now_ns < p->for_until_ns ? p->for_epoch : 0;
}

uint64_t liveness_until(const struct liveness *l, store_addr_t peer, uint64_t epoch)
{
    if (peer == l->options.self) return UINT64_MAX;
    const struct liveness_peer *p = map_get(&l->peers, peer);
    return p != NULL && epoch != 0 && p->from_epoch == epoch ? p->from_until_ns : 0;
}

hlc_t liveness_limit(const struct liveness *l, store_addr_t peer)
{
    if (peer == l->options.self) return l->bound_durable;
    const struct liveness_peer *p = map_get(&l->peers, peer);
    return p != NULL ? p->from_limit : 0;
}

hlc_t liveness_vote_bound(const struct liveness *l)
{
    if (MUTATION("own_limit_not_in_votes")) return l->acknowledged;
    return MAX(l->acknowledged, MIN(l->limit_wanted, l->bound_durable));
}

uint64_t liveness_silent_until(const struct liveness *l)
{
    if (MUTATION("no_silence_after_restart") || l->options.boot_count <= 1) return l->options.start_ns;
    return l->options.start_ns + l->options.lease_ns;
}

/* version u8 = 1 | flags u8 (1 reply, 2 asks) | from u64 | to u64 | sent_ns u64 | asker_boot u64 | epoch u64 | limit
 * u64 */
enum { BEAT_VERSION = 1, BEAT_REPLY = 1, BEAT_ASKS = 2 };

void liveness_encode(const struct liveness_beat *b, struct buf *out)
{
    buf_put_u8(out, BEAT_VERSION);
    buf_put_u8(out, (uint8_t)((b->reply ? BEAT_REPLY : 0) | (b->asks ? BEAT_ASKS : 0)));
    buf_put_u64(out, b->from);
    buf_put_u64(out, b->to);
    buf_put_u64(out, b->sent_ns);
    buf_put_u64(out, b->asker_boot);
    buf_put_u64(out, b->epoch);
    buf_put_u64(out, b->limit);
}

bool liveness_decode(struct bytes in, struct liveness_beat *out)
{
    struct reader r = reader_of(in);
    uint8_t version = reader_u8(&r);
    uint8_t flags = reader_u8(&r);
    struct liveness_beat b = {.reply = (flags & BEAT_REPLY) != 0, .asks = (flags & BEAT_ASKS) != 0};
    b.from = reader_u64(&r);
    b.to = reader_u64(&r);
    b.sent_ns = reader_u64(&r);
    b.asker_boot = reader_u64(&r);
    b.epoch = reader_u64(&r);
    b.limit = reader_u64(&r);
    if (!reader_done(&r) || version != BEAT_VERSION || (flags & ~(BEAT_REPLY | BEAT_ASKS)) != 0) return false;
    *out = b;
    return true;
}
