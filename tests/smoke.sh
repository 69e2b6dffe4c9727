#!/usr/bin/env bash
# smoke.sh CAIRN: three nodes of two shards under load, asked for everything they show, then
# stopped in order. For builds with a sanitizer: any report of one fails the nodes, and so this.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cairn=$(realpath "$1")
work=$(mktemp -d)
base=$((20000 + RANDOM % 20000))
pids=()
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=1}
export TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}:suppressions=$(realpath "$(dirname "$0")/tsan.supp")"

finish() {
    local code=$?
    kill -KILL "${pids[@]}" 2>/dev/null || true
    if ((code != 0)); then
        for log in "$work"/*.log; do
            echo "== $log"
            grep -vE ' (info|debug) ' "$log" | tail -n 60
        done
    fi
    rm -rf "$work"
    exit $code
}
trap finish EXIT

start() { # NUMBER
    local join=()
    (($1 > 0)) && join=(--join "127.0.0.1:$base")
    "$cairn" serve --listen "127.0.0.1:$((base + $1))" --data "$work/node-$1" --shards 2 --partitions 8 "${join[@]}" >>"$work/$1.log" 2>&1 &
    pids[$1]=$!
}
healthy() { # NUMBER
    for _ in $(seq 600); do
        "$cairn" status --json --address "127.0.0.1:$((base + $1))" 2>/dev/null | grep -q '"ready":true' && return
        kill -0 "${pids[$1]}" 2>/dev/null || break
        sleep 0.1
    done
    echo "node $1 did not become ready" >&2
    return 1
}

start 0
healthy 0
start 1
start 2
healthy 1
healthy 2
"$cairn" bench --address "127.0.0.1:$base,127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2))" --clients 12 --threads 2 --pipeline 8 \
    --keys 2000 --duration 5s --quiet --fill
for node in 0 1 2; do
    "$cairn" query --address "127.0.0.1:$((base + node))" INFO >/dev/null
    "$cairn" query --address "127.0.0.1:$((base + node))" CONFIG SET maxclients 5000 >/dev/null
    "$cairn" status --address "127.0.0.1:$((base + node))" | grep -q 'Cluster'
done
kill -TERM "${pids[@]}"
for pid in "${pids[@]}"; do wait "$pid"; done
pids=()
echo "smoke: ok"
