#!/usr/bin/env bash
# cut.sh - cut networks: three nodes in network namespaces of their own on a bridge; packets between nodes are dropped by
# nftables, both ways or one way, while clients still reach every node, also the one that is cut off.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin cut
need_root "a network namespace"
need ip
need nft
seconds=10
((short)) && seconds=3
tag=$((RANDOM % 9000 + 1000))
bridge=cfb$tag
ip link add "$bridge" type bridge 2>"$work/ip.err" || skip "can't make a bridge: $(cat "$work/ip.err")"
links+=("$bridge")
net=10.$((tag % 200 + 20)).$((tag / 100)) # of this test alone; it is gone with the bridge
ip addr add "$net.254/24" dev "$bridge"
ip link set "$bridge" up
for i in 0 1 2; do
    ns=cf$tag-$i
    ip netns add "$ns" 2>"$work/ip.err" || skip "can't make a network namespace: $(cat "$work/ip.err")"
    namespaces+=("$ns")
    ip link add "cfv$tag-$i" type veth peer name eth0 netns "$ns" || fail "veth"
    ip link set "cfv$tag-$i" master "$bridge" up
    ip -n "$ns" addr add "$net.$((i + 1))/24" dev eth0
    ip -n "$ns" link set eth0 up
    ip -n "$ns" link set lo up
    ip netns exec "$ns" nft -f - <<<'table inet cut { chain in { type filter hook input priority 0; }; }' || skip "nft does not work here"
    address[i]=$net.$((i + 1)):7001
    node_extra[$i]="--insecure --advertise ${address[i]}"
done
node_wrap() { echo "ip netns exec cf$tag-$1"; }
drop() { ip netns exec "cf$tag-$2" nft add rule inet cut in ip saddr "$net.$(($1 + 1))" counter drop || fail nft; } # FROM TO
cut_off() { # NODE: from the other two, both ways
    local i
    for i in 0 1 2; do ((i == $1)) || { drop "$i" "$1"; drop "$1" "$i"; }; done
}
dropped() { local i; for i in 0 1 2; do ip netns exec "cf$tag-$i" nft list chain inet cut in; done | grep -oE 'packets [0-9]+' | awk '{n += $2} END {print n + 0}'; }
heal() { local i; for i in 0 1 2; do ip netns exec "cf$tag-$i" nft flush chain inet cut in; done; }

cluster_start 3
load_start --clients 24
writes_go_on 20 || fail "no writes before any fault"
lines=() packets=0
during() { # WHAT: the network is broken now
    local gap writes
    sleep "$seconds"
    read -r gap _ writes _ <<<"$(load_window)"
    lines+=("$1: gap $gap ms, $writes writes")
    ((writes > 0)) || fail "no writes with $1"
    packets=$((packets + $(dropped)))
    heal
    wait_whole 60 0 1 2
    writes_go_on 15 || fail "no writes after $1 was healed"
}
leader=$(main_leader 0) other=$((($(main_leader 0) + 1) % 3))
load_window >/dev/null; cut_off "$other"; during "a follower cut off"
leader=$(main_leader 0)
load_window >/dev/null; cut_off "$leader"; during "the main leader cut off"
leader=$(main_leader 0)
load_window >/dev/null
for i in 0 1 2; do ((i == leader)) || drop "$i" "$leader"; done
during "the main leader deaf (one way)"
leader=$(main_leader 0)
load_window >/dev/null
for i in 0 1 2; do ((i == leader)) || drop "$leader" "$i"; done
during "the main leader mute (one way)"
if ((!short)); then
    leader=$(main_leader 0) other=$((leader == 0 ? 1 : 0))
    load_window >/dev/null; drop "$leader" "$other"; drop "$other" "$leader"; during "one pair cut, the third sees both"
    load_window >/dev/null; drop "$leader" "$other"; during "one link cut one way"
fi
# nobody sees anybody: no write may be acknowledged
for i in 0 1 2; do cut_off "$i"; done
sleep 3
load_window >/dev/null
sleep 2
read -r _ _ writes _ <<<"$(load_window)"
((writes == 0)) || fail "$writes writes were acknowledged while no node saw another"
heal
wait_whole 60 0 1 2
writes_go_on 15 || fail "no writes after all cuts were healed"
load_end
scrub_ok
((packets > 0)) || fail "no packet was dropped: the cuts did not happen"
pass "$(IFS='|'; echo "${lines[*]}" | sed 's/|/; /g'); nobody sees anybody: no write acknowledged; $packets packets dropped: $load_figures"
