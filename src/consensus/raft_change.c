/* raft_change.c - members come and go by joint consensus (dissertation, 4.3).
 * SPDX-License-Identifier: Apache-2.0
 *
 *   C_old --raft_change--> C_old,new (joint: majorities of both) --committed--> C_new --committed--> done
 * A change that leaves the voters as they are needs no joint phase. */
#include "consensus/raft_internal.h"

#include <inttypes.h>

/* Reads may have been served up to a limit that only the old voters acknowledged. A joint configuration is in the log
 * of every leader that the new voters can elect; so its timestamp carries the limit over to them. */
static hlc_t config_ts(const struct raft *r, const struct raft_config *c)
{
    return raft_config_joint(c) ? MAX(raft_hlc_floor(r), r->liveness->limit_wanted) : r->log.last_ts;
}

static void append_config(struct raft *r, const struct raft_config *c)
{
    struct buf b = {0};
    ASSERT(raft_config_check(c, NULL) == ST_OK);
    raft_config_encode(c, &b);
    struct entry *e = raft_leader_append(r, ENTRY_CONF, config_ts(r, c), (struct bytes){0}, buf_view(&b));
    buf_deinit(&b);
    raft_config_push(r, e->index, e->term, c); /* in force at once */
}

static bool same_voters(const struct raft_config *a, const struct raft_config *b)
{
    for (unsigned i = 0; i < a->count; i++) {
        const struct raft_member *m = raft_config_find(b, a->members[i].replica_id);
        if ((a->members[i].roles & RAFT_VOTER) && (m == NULL || !(m->roles & RAFT_VOTER))) return false;
    }
    return true;
}

/* The union of both member sets, by rising id: voters of `from` are outgoing, roles of `to` are incoming. */
static bool make_joint(const struct raft_config *from, const struct raft_config *to, struct raft_config *out)
{
    *out = (struct raft_config){.epoch = to->epoch};
    unsigned i = 0, j = 0;
    while (i < from->count || j < to->count) {
        const struct raft_member *f = i < from->count ? &from->members[i] : NULL;
        const struct raft_member *t = j < to->count ? &to->members[j] : NULL;
        if (f != NULL && t != NULL && f->replica_id != t->replica_id) {
            if (f->replica_id < t->replica_id) t = NULL;
            else f = NULL;
        }
        if (f != NULL) i++;
        if (t != NULL) j++;
        uint8_t roles = (uint8_t)((t != NULL ? t->roles : 0) |
                                  (f != NULL && (f->roles & RAFT_VOTER) ? RAFT_VOTER_OUT : 0));
        if (roles == 0) continue; /* a learner that leaves */
        if (out->count == RAFT_MEMBERS_MAX) return false;
        out->members[out->count] = t != NULL ? *t : *f;
        out->members[out->count++].roles = roles;
    }
    return true;
}

static enum status target_check(const struct raft *r, const struct raft_config *target, struct error *err)
{
    enum status st = raft_config_check(target, err);
    if (st != ST_OK) return st;
    for (unsigned i = 0; i < target->count; i++) {
        const struct raft_member *m = &target->members[i];
        const struct raft_member *old = raft_config_find(raft_config_now(r), m->replica_id);
        if (m->roles & RAFT_VOTER_OUT)
            return error_set(err, ST_INVALID, "replica %" PRIu64 ": outgoing voters are the raft's own affair",
                             m->replica_id);
        if (old != NULL && old->store != m->store)
            return error_set(err, ST_INVALID, "replica %" PRIu64 " can't move to another store", m->replica_id);
    }
    return ST_OK;
}

enum status raft_change(struct raft *r, uint64_t now_ns, const struct raft_config *target, struct error *err)
{
    ASSERT(r->started && now_ns >= r->now_ns);
    r->now_ns = now_ns;
    if (r->role != RAFT_LEADER) return error_set(err, ST_NOT_LEADER, "not the leader");
    enum status st = target_check(r, target, err);
    if (st != ST_OK) return st;
    const struct raft_config_at *now = &r->configs[r->config_count - 1];
    /* The rule that Raft's single-server changes lacked (raft-dev, July 2015). */
    if (r->commit < r->own_first && !MUTATION("config_before_own_term"))
        return error_set(err, ST_BUSY, "no entry of this term is committed yet");
    if (r->transfer_to != 0 || !raft_is_voter(r)) return error_set(err, ST_BUSY, "a transfer is under way");
    if ((now->index > r->commit || raft_config_joint(&now->config)) && !MUTATION("config_before_own_term"))
        return error_set(err, ST_BUSY, "a change of members is under way");
    if (same_voters(&now->config, target) && same_voters(target, &now->config)) {
        append_config(r, target);
    } else {
        struct raft_config joint;
        if (!make_joint(&now->config, target, &joint))
            return error_set(err, ST_INVALID, "old and new members together are more than %d", RAFT_MEMBERS_MAX);
        append_config(r, &joint);
    }
    raft_commit_advance(r);
    raft_check(r);
    return ST_OK;
}

static void leave_joint(struct raft *r)
{
    struct raft_config c = *raft_config_now(r);
    uint8_t n = 0;
    for (unsigned i = 0; i < c.count; i++) {
        struct raft_member m = c.members[i];
        m.roles &= (uint8_t)~RAFT_VOTER_OUT;
        if (m.roles != 0) c.members[n++] = m;
    }
    c.count = n;
    append_config(r, &c);
    raft_event(r, "joint_left");
    raft_commit_advance(r);
}

void raft_change_committed(struct raft *r)
{
    const struct raft_config_at *now = &r->configs[r->config_count - 1];
    if (r->role != RAFT_LEADER || r->commit < r->own_first || now->index > r->commit) return;
    if (raft_config_joint(&now->config)) leave_joint(r);
    else if (!raft_is_voter(r) && r->transfer_to == 0) raft_transfer_away(r);
}
