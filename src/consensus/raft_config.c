/* raft_config.c - who is a member: checks, encoding, and the configurations along the log.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A configuration is in force from the moment its entry is appended (dissertation, 4.1), and is undone when the entry
 * is replaced. So the last committed one and all after it are kept. */
#include "consensus/raft_internal.h"

#include <inttypes.h>

bool raft_config_joint(const struct raft_config *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->members[i].roles & RAFT_VOTER_OUT) return true;
    return false;
}

const struct raft_member *raft_config_find(const struct raft_config *c, uint64_t replica_id)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->members[i].replica_id == replica_id) return &c->members[i];
    return NULL;
}

static bool roles_valid(uint8_t roles)
{
    switch (roles) {
    case RAFT_VOTER:
    case RAFT_VOTER_OUT:
    case RAFT_VOTER | RAFT_VOTER_OUT:
    case RAFT_LEARNER:
    case RAFT_LEARNER | RAFT_VOTER_OUT: return true;
    default: return false;
    }
}

enum status raft_config_check(const struct raft_config *c, struct error *err)
{
    unsigned voters = 0;
    if (c->count == 0 || c->count > RAFT_MEMBERS_MAX)
        return error_set(err, ST_INVALID, "a group has 1 to %d members, not %u", RAFT_MEMBERS_MAX, c->count);
    for (unsigned i = 0; i < c->count; i++) {
        const struct raft_member *m = &c->members[i];
        if (m->replica_id == 0 || (i > 0 && m->replica_id <= c->members[i - 1].replica_id))
            return error_set(err, ST_INVALID, "members are not by rising replica id");
        if (!roles_valid(m->roles))
            return error_set(err, ST_INVALID, "replica %" PRIu64 " has roles %u", m->replica_id, m->roles);
        if (m->roles & RAFT_VOTER) voters++;
    }
    if (voters == 0) return error_set(err, ST_INVALID, "a group needs a voter");
    return ST_OK;
}

/* version u8 = 1 | epoch varint | count u8 | per member: replica id varint, store varint, roles u8 */
enum { CONFIG_VERSION = 1 };

void raft_config_encode(const struct raft_config *c, struct buf *out)
{
    buf_put_u8(out, CONFIG_VERSION);
    buf_put_varint(out, c->epoch);
    buf_put_u8(out, c->count);
    for (unsigned i = 0; i < c->count; i++) {
        buf_put_varint(out, c->members[i].replica_id);
        buf_put_varint(out, c->members[i].store);
        buf_put_u8(out, c->members[i].roles);
    }
}

bool raft_config_decode(struct bytes in, struct raft_config *out)
{
    struct reader r = reader_of(in);
    struct raft_config c = {0};
    uint8_t version = reader_u8(&r);
    c.epoch = reader_varint(&r);
    c.count = reader_u8(&r);
    if (r.failed || version != CONFIG_VERSION || c.count > RAFT_MEMBERS_MAX) return false;
    for (unsigned i = 0; i < c.count; i++) {
        c.members[i].replica_id = reader_varint(&r);
        c.members[i].store = reader_varint(&r);
        c.members[i].roles = reader_u8(&r);
    }
    if (!reader_done(&r) || raft_config_check(&c, NULL) != ST_OK) return false;
    *out = c;
    return true;
}

const struct raft_config *raft_config_now(const struct raft *r) { return &r->configs[r->config_count - 1].config; }

bool raft_is_voter(const struct raft *r)
{
    const struct raft_member *m = raft_config_find(raft_config_now(r), r->id);
    return m != NULL && (m->roles & (RAFT_VOTER | RAFT_VOTER_OUT)) != 0;
}

bool raft_sole_voter(const struct raft *r)
{
    const struct raft_config *c = raft_config_now(r);
    for (unsigned i = 0; i < c->count; i++)
        if (c->members[i].replica_id != r->id && (c->members[i].roles & (RAFT_VOTER | RAFT_VOTER_OUT)) != 0)
            return false;
    return raft_is_voter(r);
}

void raft_config_push(struct raft *r, uint64_t index, uint64_t term, const struct raft_config *c)
{
    ASSERT(r->config_count == 0 || index > r->configs[r->config_count - 1].index);
    if (r->config_count == r->config_cap) {
        r->config_cap = r->config_cap != 0 ? r->config_cap * 2 : 1;
        r->configs = mem_realloc(r->configs, r->config_cap * sizeof *r->configs);
    }
    r->configs[r->config_count++] = (struct raft_config_at){index, term, *c};
    raft_peers_sync(r);
}

void raft_config_truncate(struct raft *r, uint64_t from)
{
    uint32_t before = r->config_count;
    while (r->config_count > 1 && r->configs[r->config_count - 1].index >= from) r->config_count--;
    if (r->config_count != before) raft_peers_sync(r);
}

void raft_config_prune(struct raft *r)
{
    uint32_t drop = 0;
    while (drop + 1 < r->config_count && r->configs[drop + 1].index <= r->commit) drop++;
    if (drop == 0) return;
    memmove(r->configs, r->configs + drop, (r->config_count - drop) * sizeof *r->configs);
    r->config_count -= drop;
}

/* Makes peers[] the members of the config in force; those that stay keep what is known of them. */
void raft_peers_sync(struct raft *r)
{
    const struct raft_config *c = raft_config_now(r);
    struct raft_peer old[RAFT_MEMBERS_MAX];
    uint32_t old_count = r->peer_count, j = 0;
    memcpy(old, r->peers, old_count * sizeof *old);
    r->peer_count = c->count;
    for (unsigned i = 0; i < c->count; i++) {
        const struct raft_member *m = &c->members[i];
        while (j < old_count && old[j].id < m->replica_id) mem_free(old[j++].inflights);
        if (j < old_count && old[j].id == m->replica_id) {
            r->peers[i] = old[j++];
        } else {
            r->peers[i] = (struct raft_peer){.id = m->replica_id,
                                             .next = r->log.last_index + 1,
                                             .timer_ns = NEVER,
                                             .notice_ns = NEVER,
                                             .backoff_ns = r->limits.resend_ns,
                                             .last_active_ns = r->now_ns};
        }
        r->peers[i].store = m->store;
        r->peers[i].roles = m->roles;
    }
    while (j < old_count) mem_free(old[j++].inflights);
}
