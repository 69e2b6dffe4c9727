#!/usr/bin/env bash
# pause.sh - SIGSTOP of the node that leads most partitions, then SIGCONT: meanwhile the others lead, and the one that wakes
# up, sure of its leases, must not answer from the past. Clients stay connected to it all the while.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin pause
pauses=(30 5 1)
((short)) && pauses=(8 1)
cluster_start 3
load_start --clients 24
writes_go_on 20 || fail "no writes before any fault"
gaps=()
for seconds in "${pauses[@]}"; do
    who=$(main_leader 0)
    load_window >/dev/null
    kill -STOP "${pid[$who]}"
    sleep "$seconds"
    read -r gap _ writes _ <<<"$(load_window)"
    kill -CONT "${pid[$who]}"
    gaps+=("$gap ms in $seconds s ($writes writes)")
    ((seconds < 5 || writes > 0)) || fail "no writes while node $who was stopped for $seconds s"
    wait_whole 60 0 1 2
    writes_go_on 15 || fail "no writes after node $who went on"
done
load_end
scrub_ok
pass "the main leader stopped: longest gap in writes $(IFS=,; echo "${gaps[*]}" | sed 's/,/, /g'): $load_figures"
