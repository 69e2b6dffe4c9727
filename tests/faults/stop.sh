#!/usr/bin/env bash
# stop.sh - a node is told to stop while checkpoints are being made and clients are listed on all its shards: it ends well.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin stop
rounds=12
((short)) && rounds=4
ask() { # COMMAND …: again and again, until the node is gone
    while kill -0 "$node" 2>/dev/null; do "$@" >/dev/null 2>&1; done
}
for round in $(seq $rounds); do
    rm -rf "$work/data"
    "$cairn" serve --listen "127.0.0.1:$base" --data "$work/data" --shards 4 --partitions 8 --log-level warn >"$work/node.log" 2>&1 &
    node=$!
    started+=("$node")
    wait_until 20 eval '[[ $("$cairn" query --address "127.0.0.1:$base" SET k v 2>/dev/null) == OK ]]' || fail "it does not serve"
    asking=()
    for _ in 1 2; do ask "$cairn" query --address "127.0.0.1:$base" CLIENT LIST & asking+=($!); done
    ask "$cairn" checkpoint --address "127.0.0.1:$base" & asking+=($!)
    sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
    kill -TERM "$node"
    code=0
    wait "$node" || code=$?
    wait "${asking[@]}"
    ((code == 0)) || fail "round $round: it ended with $code: $(tail -1 "$work/node.log")"
done
pass "$rounds stops in the midst of checkpoints and lists"
