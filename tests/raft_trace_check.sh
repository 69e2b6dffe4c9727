#!/usr/bin/env bash
# raft_trace_check.sh FILE…: is each line of a raft trace (docs/raft-trace.md) a step that raft may take after those before it?
# SPDX-License-Identifier: Apache-2.0
#
# A state machine per node, written from the Raft paper (figure 2) and independent of Cairn's: the log's terms, votes, what a
# leader was told, and the messages that were sent and not yet received. Each line must fit it, in form and in what it says of
# the node's state. Besides: one leader a term; a committed entry is never another's; a commit needs a quorum and the term.
# Where Java and tla2tools are at hand, the specification itself is the better judge.
set -uo pipefail
failed=0
for file in "$@"; do
    awk '
function fail(why) { printf "%s:%d: %s: %s\n", FILENAME, NR, why, $0; bad = 1; exit 1 }
function text(key,   at) {
    if (!match($0, "\"" key "\":\"[^\"]*\"")) fail("no " key)
    at = length(key) + 4
    return substr($0, RSTART + at, RLENGTH - at - 1)
}
function number_in(s, key) {
    if (!match(s, "\"" key "\":[0-9]+[,}]")) fail("no number " key)
    return substr(s, RSTART + length(key) + 3, RLENGTH - length(key) - 4) + 0
}
function last_term(n) { return L[n] ? lt[n, L[n]] : 0 }
function min(a, b) { return a < b ? a : b }
function put(from, to, type, t, index_, lterm, count, com, rej, terms,   k) {
    k = from "|" to "|" type "|" t "|" index_ "|" lterm "|" count "|" com "|" rej
    pending[from, ++pendings[from]] = k
    carries[k] = terms
}
function newer(n, t) { T[n] = t; V[n] = "0"; R[n] = "StateFollower" }
function raise(n, c,   i) {
    for (i = C[n] + 1; i <= c; i++) {
        if (i > L[n]) fail("commits what it does not have")
        if (i in committed && committed[i] != lt[n, i]) fail("entry " i " was committed in term " committed[i] ", and is of term " lt[n, i])
        committed[i] = lt[n, i]
    }
    if (c > C[n]) C[n] = c
}
function agree(   i, j, have, best) {
    best = C[nid]
    for (i = C[nid] + 1; i <= L[nid]; i++) {
        have = 0
        for (j = 1; j <= members; j++) if (mt[nid, member[j]] >= i) have++
        if (have * 2 <= members) break
        best = i
    }
    return best
}
function compare() {
    if (term != T[nid] || vote != V[nid] || commit != C[nid] || role != R[nid] || size != L[nid])
        fail("should be term " T[nid] " vote " V[nid] " commit " C[nid] " role " R[nid] " log " L[nid])
}
function on_append(   i, n, ok, e, end) {
    if (mterm > T[nid]) newer(nid, mterm)
    if (mterm < T[nid]) { put(nid, mfrom, "MsgAppResp", T[nid], 0, 0, 0, 0, "true", ""); return }
    if (R[nid] == "StateLeader") fail("two leaders of one term")
    R[nid] = "StateFollower"
    ok = mindex == 0 || (mindex <= L[nid] && lt[nid, mindex] == mlog)
    if (!ok) { put(nid, mfrom, "MsgAppResp", T[nid], 0, 0, 0, 0, "true", ""); return }
    if (mindex + 1 <= C[nid]) { put(nid, mfrom, "MsgAppResp", T[nid], C[nid], 0, 0, 0, "false", ""); return }
    n = split(carries[key], e, ",")
    end = mindex + n
    for (i = 1; i <= n; i++) {
        if (mindex + i <= L[nid] && lt[nid, mindex + i] == e[i]) continue
        if (mindex + i <= C[nid]) fail("a committed entry is replaced")
        L[nid] = mindex + i
        lt[nid, mindex + i] = e[i]
    }
    put(nid, mfrom, "MsgAppResp", T[nid], end, 0, 0, 0, "false", "")
    raise(nid, min(mcommit, end))
}
function on_receive(   grant, ok) {
    compare()
    if (sent[key] <= 0) fail("received, but not sent")
    sent[key]--
    if (name == "ReceiveRequestVoteRequest") {
        if (mterm > T[nid]) newer(nid, mterm)
        ok = mlog > last_term(nid) || (mlog == last_term(nid) && mindex >= L[nid])
        grant = mterm == T[nid] && ok && (V[nid] == "0" || V[nid] == mfrom)
        if (grant) V[nid] = mfrom
        put(nid, mfrom, "MsgVoteResp", T[nid], 0, 0, 0, 0, grant ? "false" : "true", "")
    } else if (name == "ReceiveAppendEntriesRequest") {
        on_append()
    } else {
        if (mterm > T[nid]) newer(nid, mterm)
        if (mterm < T[nid] || mreject == "true") return
        if (mtype == "MsgVoteResp") granted[nid, mterm, mfrom] = 1
        else if (mindex > mt[nid, mfrom]) mt[nid, mfrom] = mindex
    }
}
function on_send(   i, terms) {
    if (name == "SendRequestVoteRequest") {
        if (R[nid] != "StateCandidate" || mterm != T[nid] || mindex != L[nid] || mlog != last_term(nid)) fail("asks for votes wrongly")
        put(nid, mto, mtype, mterm, mindex, mlog, 0, mcommit, "false", "")
    } else if (name == "SendRequestVoteResponse") {
        if (mto != nid || R[nid] != "StateCandidate" || mterm != T[nid]) fail("votes for itself wrongly")
        put(nid, mto, mtype, mterm, mindex, mlog, 0, mcommit, "false", "")
    } else if (name == "SendAppendEntriesResponse") {
        if (mto != nid || R[nid] != "StateLeader" || mterm != T[nid] || mindex != L[nid]) fail("tells itself wrongly of its log")
        put(nid, mto, mtype, mterm, mindex, mlog, 0, mcommit, "false", "")
    } else {
        if (R[nid] != "StateLeader" || mterm != T[nid]) fail("is no leader of this term")
        if (mindex > L[nid] || mlog != (mindex ? lt[nid, mindex] : 0)) fail("knows not what precedes the entries")
        if (mindex + mentries > L[nid]) fail("sends what it does not have")
        if (mcommit != min(C[nid], mindex + mentries)) fail("tells of another commit")
        if (mindex < mt[nid, mto]) fail("sends what it knows to be there")
        for (i = 1; i <= mentries; i++) terms = terms (i > 1 ? "," : "") lt[nid, mindex + i]
        put(nid, mto, mtype, mterm, mindex, mlog, mentries, mcommit, "false", terms)
    }
}
function on_other(   i, have) {
    if (name == "InitState") {
        if (!(nid in T)) {
            T[nid] = term; V[nid] = vote; C[nid] = 0; R[nid] = role; L[nid] = size
            for (i = 1; i <= size; i++) lt[nid, i] = 1
            if (term != 1 || size != 1) fail("does not begin with one entry of term 1")
            raise(nid, commit)
            if (role == "StateLeader") leader[term] = nid
        } else {
            restarts++
            T[nid] = dT[nid]; V[nid] = dV[nid]; C[nid] = dC[nid]; L[nid] = dL[nid]; R[nid] = "StateFollower"
            for (i = 1; i <= members; i++) mt[nid, member[i]] = 0
        }
        dT[nid] = T[nid]; dV[nid] = V[nid]; dC[nid] = C[nid]; dL[nid] = L[nid]
        pendings[nid] = 0
    } else if (name == "BecomeCandidate") {
        if (R[nid] == "StateLeader") fail("a leader campaigns")
        T[nid]++; V[nid] = nid; R[nid] = "StateCandidate"
    } else if (name == "BecomeLeader") {
        for (i = 1; i <= members; i++) { have += granted[nid, T[nid], member[i]]; mt[nid, member[i]] = 0 }
        if (R[nid] != "StateCandidate" || have * 2 <= members) fail("was not elected")
        if (T[nid] in leader && leader[T[nid]] != nid) fail("the second leader of its term, after " leader[T[nid]])
        leader[T[nid]] = nid
        R[nid] = "StateLeader"
        mt[nid, nid] = L[nid]
        elections++
    } else if (name == "BecomeFollower") {
        if (R[nid] == "StateFollower") fail("was a follower already")
        R[nid] = "StateFollower"
    } else if (name == "Replicate") {
        if (R[nid] != "StateLeader") fail("is no leader")
        compare()
        lt[nid, ++L[nid]] = T[nid]
        return
    } else if (name == "Commit") {
        if (R[nid] != "StateLeader" || commit <= C[nid]) fail("nothing to commit")
        if (agree() != commit || lt[nid, commit] != T[nid]) fail("commits without a quorum, or by another term")
        raise(nid, commit)
        commits++
    } else if (name == "Ready") {
        for (i = 1; i <= pendings[nid]; i++) sent[pending[nid, i]]++
        pendings[nid] = 0
        dT[nid] = T[nid]; dV[nid] = V[nid]; dC[nid] = C[nid]; dL[nid] = L[nid]
    } else fail("no such event")
    compare()
}
!/^\{"level":"debug","ts":[0-9]+\.[0-9]+,"caller":"[^"]*","msg":"trace","tag":"trace","event":\{"name":"[A-Za-z]+","nid":"[0-9]+","state":\{.*\},"role":"State(Follower|Candidate|Leader)","log":[0-9]+,"conf":\[\[("[0-9]+",?)+\],\[\]\].*\}\}$/ { fail("malformed") }
{
    match($0, /"ts":[0-9.]+/)
    now = substr($0, RSTART + 5, RLENGTH - 5)
    if (length(now) != 17 || now <= before) fail("times do not rise")
    before = now
    name = text("name"); nid = text("nid"); role = text("role"); vote = text("vote")
    head = substr($0, 1, index($0, ",\"conf\""))
    term = number_in(head, "term"); commit = number_in(head, "commit"); size = number_in(head, "log")
    match($0, /"conf":\[\[[^]]*\]/)
    conf = substr($0, RSTART + 9, RLENGTH - 10)
    gsub(/"/, "", conf)
    members = split(conf, member, ",")
    at = index($0, "\"msg\":{")
    if (at) {
        m = substr($0, at)
        match(m, /"type":"[A-Za-z]+"/); mtype = substr(m, RSTART + 8, RLENGTH - 9)
        match(m, /"from":"[0-9]+"/); mfrom = substr(m, RSTART + 8, RLENGTH - 9)
        match(m, /"to":"[0-9]+"/); mto = substr(m, RSTART + 6, RLENGTH - 7)
        match(m, /"reject":(true|false)/); mreject = substr(m, RSTART + 9, RLENGTH - 9)
        mterm = number_in(m, "term"); mindex = number_in(m, "index"); mlog = number_in(m, "logTerm")
        mentries = number_in(m, "entries"); mcommit = number_in(m, "commit")
        key = mfrom "|" mto "|" mtype "|" mterm "|" mindex "|" mlog "|" mentries "|" mcommit "|" mreject
        if (name ~ /^Receive/ && mto == nid) { received++; on_receive() }
        else if (name ~ /^Send/ && mfrom == nid) { on_send(); compare() }
        else fail("a message of another node")
    } else on_other()
}
END {
    if (bad) exit 1
    if (NR == 0) { print FILENAME ": empty"; exit 1 }
    printf "%s: %d lines fit: %d messages received, %d elections, %d commits, %d restarts\n", FILENAME, NR, received, elections, commits, restarts
}' "$file" || failed=1
done
exit $failed
