#!/usr/bin/env bash
# sync_error.sh - fdatasync of one node fails with EIO, injected by strace: the node must not go on as if nothing had
# happened (what it wrote may be gone, though a later sync succeeds). It ends and says why; the cluster goes on;
# started again it takes part.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin sync_error
need strace
strace -qq -D -f -e trace=fdatasync -e inject=fdatasync:error=EIO:when=1 -o /dev/null true 2>"$work/strace.err" ||
    skip "strace can't inject here: $(cat "$work/strace.err")"
inject=""
node_wrap() { (($1 == victim)) && [[ -n $inject ]] && echo "strace -qq -D -f --seccomp-bpf -e trace=fdatasync -e inject=$inject -o $work/strace.out"; }
victim=1
cluster_start 3
load_start --clients 24
writes_go_on 20 || fail "no writes before any fault"
whens=(40 400)
((short)) && whens=(60)
texts=()
for when in "${whens[@]}"; do
    for victim in 1 0; do
        node_kill $victim TERM
        inject="fdatasync:error=EIO:when=$when"
        node_start $victim
        wait_until 60 gone $victim || fail "node $victim runs on after fdatasync failed: $(grep -c EIO "$work/strace.out") injected"
        grep -q 'EIO.*INJECTED' "$work/strace.out" || fail "node $victim ended without the fault: $(tail -2 "$work/node-$victim.log")"
        text=$(grep -aE "can't go on|can't start" "$work/node-$victim.log" | tail -1)
        [[ $text == *'nput/output error'* ]] || fail "node $victim ended without saying why: '$(tail -1 "$work/node-$victim.log")'"
        texts+=("$text")
        writes_go_on 15 || fail "no writes after the sync of node $victim failed"
        inject=""
        node_start $victim
        wait_whole 60 0 1 2
    done
done
load_end
scrub_ok
for text in "${texts[@]}"; do note "$text"; done
pass "${#texts[@]} failed syncs, each ended its node with a clear text, and the next start brought it back: $load_figures"
