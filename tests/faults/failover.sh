#!/usr/bin/env bash
# failover.sh - how long writes are held up when the node that leads most partitions is killed: each of 16 writers, spread
# over all nodes, has a key and tries the next node when its own is gone. A gap is the longest time in which one of
# them got no write through. Measured, not promised: only a bound of 15 s is checked, for a machine may be busy.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin failover
kills=20
((short)) && kills=3
cluster_start 3
load_start --writers --clients 16 --think-ms 2
writes_go_on 20 || fail "no writes before any fault"
read -r steady_all steady_one _ <<<"$(load_window)"
note "kill  node  led  gap of the worst writer  all writers at once  writes  not executed  unknown"
ones=()
for ((k = 1; k <= kills; k++)); do
    who=$(main_leader $((k % 3)))
    led=$(leads "$who" "$who")
    load_window >/dev/null
    kill -KILL "${pid[$who]}"
    sleep 3
    read -r all one writes failed unknown <<<"$(load_window)"
    note "$(printf '%4d  %4d  %3d  %20d ms  %16d ms  %6d  %12d  %7d' $k "$((who + 1))" "$led" "$one" "$all" "$writes" "$failed" "$unknown")"
    ones+=("$one")
    ((one < 15000)) || fail "a writer waited $one ms after kill $k"
    node_start "$who"
    wait_whole 60 0 1 2
    # leaderships come back to where they belong before the next kill
    for _ in $(seq 20); do (($(leads 0 "$who") >= 3)) && break; sleep 0.25; done
done
load_end
mapfile -t sorted < <(printf '%s\n' "${ones[@]}" | sort -n)
pass "$kills kills of the main leader: gap of the worst of 16 writers: median ${sorted[$((kills / 2))]} ms, worst ${sorted[$((kills - 1))]} ms (in quiet times $steady_one ms): $load_figures"
