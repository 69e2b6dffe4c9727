#!/usr/bin/env bash
# kill.sh - kill -9 under load: each node by itself, two of three, all three; each time they come back.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin kill
rounds=3
((short)) && rounds=1
cluster_start 3
load_start
writes_go_on 20 || fail "no writes before any fault"
for ((round = 0; round < rounds; round++)); do
    for i in 0 1 2; do
        node_kill "$i" KILL
        writes_go_on 15 || fail "no writes after node $i of three was killed"
        node_start "$i"
        wait_whole 60 0 1 2
    done
    load_window >/dev/null
    two=($((round % 3)) $(((round + 1) % 3)))
    kill -KILL "${pid[${two[0]}]}" "${pid[${two[1]}]}"
    wait_until 10 gone "${two[0]}" && wait_until 10 gone "${two[1]}"
    sleep 3 # what was on its way is through
    load_window >/dev/null
    sleep 1
    read -r _ _ writes _ <<<"$(load_window)"
    ((writes == 0)) || fail "$writes writes were acknowledged by one node of three alone"
    for i in "${two[@]}"; do node_start "$i"; done
    wait_whole 60 0 1 2
    writes_go_on 15 || fail "no writes after two of three came back"
    kill -KILL "${pid[@]}"
    for i in 0 1 2; do wait_until 10 gone "$i"; done
    sleep 0.5
    for i in 0 1 2; do node_start "$i"; done
    wait_whole 60 0 1 2
    writes_go_on 15 || fail "no writes after all three came back"
done
load_end
scrub_ok
pass "$((rounds * 3)) single kills, $rounds times two of three (no write acknowledged meanwhile), $rounds times all three: $load_figures"
