#!/usr/bin/env bash
# power.sh - power cuts: each node's data on an ext4 of its own; FS_IOC_SHUTDOWN without flushing the journal, unmount, mount,
# start. What was acknowledged is there: after a cut of one node, and of all three at once.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin power
need_root "mounting a file system"
need mkfs.ext4
rounds=5
((short)) && rounds=1
for i in 0 1 2; do disk_make $i 640M; done
cluster_start 3
load_start --think-ms 1
writes_go_on 20 || fail "no writes before any fault"

cut_power() { # NODE …
    local i
    for i; do "$build/faults_powercut" "$work/disk-$i" 2>"$work/cut.err" || skip "no power cut here: $(cat "$work/cut.err")"; done
    for i; do
        kill -KILL "${pid[$i]}" 2>/dev/null
        wait_until 30 gone "$i" || fail "node $i does not end"
        disk_again "$i"
    done
}
for ((round = 0; round < rounds; round++)); do
    i=$((round % 3))
    cut_power $i
    writes_go_on 15 || fail "no writes after the power cut of node $i"
    node_start $i
    wait_whole 60 0 1 2
    cut_power 0 1 2
    for i in 0 1 2; do node_start $i; done
    wait_whole 60 0 1 2
    writes_go_on 15 || fail "no writes after the power cut of all nodes"
done
torn=$(cat "$work"/node-*.log | grep -c 'torn\|log.cut\|log.damaged')
load_end
scrub_ok
pass "$rounds cuts of one node, $rounds of all three (ext4 shut down without its journal; $torn notes of torn log ends): $load_figures"
