# lib.sh - what the scripts of this folder share: a cluster of real nodes, its load, and faults. Source it; then
#     begin NAME; …; pass "figures"
# What is started, mounted or made is remembered and removed by finish(), however the script ends.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${BUILD:-$here/../../build}
build=$(cd "$build" && pwd) || exit 2
cairn=$build/cairn
short=0
[[ ${CI:-} == true ]] && short=1

declare -a pid=() dir=() address=() id=() peer=()   # of node 0, 1, 2 …; pid 0: not running
declare -a mounts=() images=() namespaces=() links=() started=()
load_pid=0 name=

begin() { # NAME
    name=$1
    work=$(mktemp -d "${TMPDIR:-/tmp}/cairn-faults-$name.XXXXXX")
    base=$((15000 + RANDOM % 15000))
    trap finish EXIT
    trap 'exit 130' INT TERM
}

finish() {
    local code=$? p m
    set +e
    for p in "${started[@]}"; do kill -CONT "$p" 2>/dev/null; kill -KILL "$p" 2>/dev/null; done
    for p in "${started[@]}"; do wait "$p" 2>/dev/null; done
    for m in "${namespaces[@]}"; do ip netns del "$m" 2>/dev/null; done
    for m in "${links[@]}"; do ip link del "$m" 2>/dev/null; done
    for m in "${mounts[@]}"; do
        for _ in $(seq 50); do umount "$m" 2>/dev/null && break; mountpoint -q "$m" || break; sleep 0.1; done
    done
    if ((code != 0 && code != 77)); then
        for m in "$work"/*.log; do [[ -e $m ]] && { echo "== the end of ${m##*/}"; tail -n "${FAULTS_LOG_LINES:-15}" "$m"; }; done
    fi
    if [[ -n ${FAULTS_KEEP:-} ]]; then echo "kept: $work"; else rm -rf "$work"; fi
    exit $code
}

note() { printf '    %s\n' "$*"; }
pass() { printf 'RESULT pass %s\n' "$*"; exit 0; }
skip() { printf 'RESULT skip %s\n' "$*"; exit 77; }
fail() {
    local i
    printf 'RESULT fail %s\n' "$*"
    for i in "${!pid[@]}"; do [[ -d $work ]] && status_of "$i" >"$work/status-$i.json"; done
    exit 1
}
need_root() { ((EUID == 0)) || skip "$1 needs root"; }
need() { command -v "$1" >/dev/null || skip "there is no '$1' here"; }

# Milliseconds, in now; no process is started for it.
tell_time() { now=$((${EPOCHREALTIME/[.,]/} / 1000)); }
wait_until() { # SECONDS COMMAND … : false when it did not come true in time
    tell_time
    local until=$((now + $1 * 1000))
    shift
    until "$@"; do
        tell_time
        ((now < until)) || return 1
        sleep 0.05
    done
}

# ---- nodes ----

node_wrap() { :; } # NODE: a script may print words to put before the command, such as 'ip netns exec X'
node_options=(--shards 1 --partitions 12)
declare -A node_extra=()
node_start() { # NODE
    local i=$1 join=() wrap extra
    read -ra wrap <<<"$(node_wrap "$i")"
    read -ra extra <<<"${node_extra[$i]:-}"
    address[i]=${address[i]:-127.0.0.1:$((base + i))}
    dir[i]=${dir[i]:-$work/node-$i}
    ((i > 0)) && join=(--join "${address[0]}")
    "${wrap[@]}" "$cairn" serve --listen "${address[i]}" --data "${dir[i]}" "${node_options[@]}" "${extra[@]}" "${join[@]}" \
        >>"$work/node-$i.log" 2>&1 &
    pid[i]=$!
    started+=("${pid[i]}")
    disown "${pid[i]}" 2>/dev/null # no word from bash when it is killed
}
status_of() { "$cairn" status --json --address "${address[$1]}" 2>/dev/null; }
alive() { kill -0 "${pid[$1]}" 2>/dev/null; }
gone() { ! alive "$1"; }
# Ends a node with a signal, and waits until it is gone.
node_kill() { # NODE SIGNAL
    kill "-$2" "${pid[$1]}"
    wait_until 30 gone "$1" || fail "node $1 did not end after SIG$2"
}
whole() { # NODE: every partition has a leader and all the copies wanted, as this node sees it
    local s
    s=$(status_of "$1") && [[ $s == *'"ready":true'* && $s == *'"leaderless":0,"under_replicated":0,"replicas_stopped":0'* ]]
}
for_each_replica() { # NODE FIELD [MATCHING]: "PARTITION VALUE" a line
    status_of "$1" | grep -oE "\"partition\":[0-9]+,\"replica\":[^}]*${3:-}[^}]*\"$2\":[0-9]+" | sed -E "s/\"partition\":([0-9]+),.*\"$2\":([0-9]+)/\1 \2/"
}
commits() { # of the leaders that run
    local i
    for i in "${!pid[@]}"; do alive "$i" && for_each_replica "$i" commit '"role":"leader"'; done
}
# Has the node applied all that was committed when this was called?
caught_up() { # NODE
    local goal
    goal=$(commits)
    for _ in $(seq 30); do
        for_each_replica "$1" applied |
            awk 'NR == FNR { has[$1] = $2; next } { n++ } !($1 in has) || has[$1] < $2 { late = 1 } END { exit late || !n }' - <(echo "$goal") &&
            return 0
        sleep 0.1
    done
    return 1
}
voters_full() { # NODE COUNT: every partition has COUNT voters
    local s
    s=$(status_of "$1") || return 1
    [[ $s == *'"ready":true'* ]] && ! grep -oE '"voters":[0-9]+' <<<"$s" | grep -qv "\"voters\":$2\$"
}
wait_whole() { # SECONDS NODE …
    local seconds=$1 i
    shift
    for i; do
        wait_until "$seconds" whole "$i" || fail "node $i does not see a whole cluster after $seconds s: $(status_of "$i" | grep -oE '"health":\{[^}]*\}')"
        wait_until "$seconds" caught_up "$i" || {
            for_each_replica "$i" applied | sort -n | paste -sd' ' >"$work/applied.log"
            commits | sort -n | paste -sd' ' >"$work/commits.log"
            fail "node $i has not caught up after $seconds s"
        }
    done
}
cluster_start() { # COUNT
    local i
    for ((i = 0; i < $1; i++)); do
        node_start "$i"
        wait_until ${READY_S:-60} grep -q "is ready on" "$work/node-$i.log" || fail "node $i did not become ready"
        id[i]=$(sed -nE 's/^cairn .*: node ([0-9]+) is ready on.*/\1/p' "$work/node-$i.log" | head -1)
    done
    wait_until 60 voters_full 0 "$1" || fail "the cluster did not get $1 copies of everything"
    wait_whole 60 "${!pid[@]}"
}
leads() { # ASKED NODE: how many partitions NODE leads, as ASKED sees it
    status_of "$1" | grep -oE '"epoch":[0-9]+,"leader_node":[0-9]+' | grep -c "\"leader_node\":${id[$2]}\$"
}
# The node that leads most partitions; asks node $1.
main_leader() {
    local i n most=-1 who=0
    for i in "${!id[@]}"; do
        n=$(leads "$1" "$i")
        ((n > most)) && most=$n who=$i
    done
    echo "$who"
}
scrub_ok() {
    local i s
    for i in "${!pid[@]}"; do
        alive "$i" || continue
        s=$(status_of "$i")
        ! grep -oE '"scrub_mismatches":[0-9]+' <<<"$s" | grep -qv ':0$' || fail "node $i: copies differ (scrub)"
    done
}

# ---- the load ----

load_start() { # OPTION …
    local all
    all=$(IFS=,; echo "${address[*]}")
    "$build/faults_load" --address "$all" "$@" >"$work/load.out" 2>&1 &
    load_pid=$!
    started+=("$load_pid")
}
load_window() { # prints "gap_ms client_gap_ms writes failed unknown" since the last call
    local before after
    before=$(grep -c '^window' "$work/load.out")
    kill -USR1 "$load_pid" || fail "the load has ended by itself"
    after=$before
    for _ in $(seq 200); do
        after=$(grep -c '^window' "$work/load.out")
        ((after > before)) && break
        sleep 0.02
    done
    grep '^window' "$work/load.out" | tail -1 | sed -E 's/[a-z_]+=//g; s/^window //'
}
writes_go_on() { # SECONDS: within them writes succeed again
    local w
    load_window >/dev/null
    for _ in $(seq $(($1 * 4))); do
        sleep 0.25
        read -r _ _ w _ <<<"$(load_window)"
        ((w >= 10)) && return 0
    done
    return 1
}
# Ends the load; it reads everything back and judges. Sets load_figures.
load_end() {
    local code=0
    kill -TERM "$load_pid"
    wait "$load_pid" || code=$?
    load_figures=$(grep -E '^(load|check):' "$work/load.out" | sed -E 's/^(load|check): //' | paste -sd'|' | sed 's/|/; /')
    if ((code != 0)); then
        grep -v '^window' "$work/load.out" | head -60
        fail "the checks of the load failed (exit $code): $load_figures"
    fi
}

# ---- file systems ----

# A file system of its own for a node's data: NODE SIZE [TYPE]
disk_make() {
    local i=$1 image=$work/disk-$1.img at=$work/disk-$1
    truncate -s "$2" "$image"
    mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$image" || fail "mkfs.ext4 failed"
    mkdir -p "$at"
    mount -o loop "$image" "$at" 2>"$work/mount.err" || skip "can't mount a loop device: $(cat "$work/mount.err")"
    mounts+=("$at")
    images+=("$image")
    dir[i]=$at/data
}
disk_again() { # NODE: as after a power cut
    umount "$work/disk-$1" || fail "umount after the power cut"
    mount -o loop "$work/disk-$1.img" "$work/disk-$1" || fail "the file system does not mount after the power cut"
}
