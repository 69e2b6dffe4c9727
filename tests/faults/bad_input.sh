#!/usr/bin/env bash
# bad_input.sh - what nobody should send or do to a node: broken protocols, wrong peers, a crowd, a data directory with
# something missing. What only concerns the command line, and directories that are in use, is in tests/cli_test.sh.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin bad_input
node_extra[0]="--clients-max 1000"
cluster_start 1
"$build/faults_badinput" "${address[0]}" >"$work/bad.out" 2>&1 || fail "$(cat "$work/bad.out")"
alive 0 || fail "the node has ended"
most=$(sed -nE 's/^VmHWM:\s+([0-9]+) kB/\1/p' "/proc/${pid[0]}/status")
((most < 1000000)) || fail "the node took $most kB of memory for it"
for i in 1 2 3; do [[ $("$cairn" query --address "${address[0]}" SET "k$i" "$i") == OK ]] || fail "no write after bad input"; done
node_kill 0 KILL

checked=0
refuses() { # PATTERN: a copy of the directory, spoilt in $spoilt, must not start, with one line that says why
    local line code=0
    timeout 20 "$cairn" serve --listen 127.0.0.1:0 --data "$spoilt" --log-level error >"$work/refused.out" 2>"$work/refused.err" || code=$?
    line=$(grep -a '^cairn: ' "$work/refused.err" | tail -1)
    ((code == 1)) || fail "$1: the node ended with $code instead of 1: $(tail -1 "$work/refused.err" "$work/refused.out")"
    [[ $line =~ $1 ]] || fail "no match of '$1' in: $line"
    checked=$((checked + 1))
}
spoil() { spoilt=$work/spoilt-$checked; cp -r "${dir[0]}" "$spoilt"; }
spoil; printf garbage >"$spoilt/catalog"; refuses "catalog' has 7 bytes, which no catalog has"
spoil; head -c 300 /dev/urandom >"$spoilt/catalog"; refuses "catalog"
spoil; printf '\x63' | dd of="$spoilt/catalog" bs=1 seek=4 conv=notrunc status=none; refuses "catalog.*format 99"
spoil; rm "$spoilt/identity"; refuses "belongs to another store"
spoil; rm "$spoilt/store-0/engine/CURRENT"; refuses "opening the engine"
spoil; rm -r "$spoilt/store-0"; refuses "store-0' is missing or empty, but this node has used it"
spoil; rm -r "$spoilt/store-0/log"; refuses "store-0/log' is missing or empty, but this node has used it"
spoil; rm -r "$spoilt/store-0/engine"; refuses "store-0/engine' is missing or empty, but this node has used it"
spoil; rm "$spoilt"/store-0/log/*; refuses "store-0/log' is missing or empty, but this node has used it"
node_start 0
wait_until 30 whole 0 || fail "the node whose directory was copied does not start"
for i in 1 2 3; do [[ $("$cairn" query --address "${address[0]}" GET "k$i") == "\"$i\"" ]] || fail "k$i is gone"; done
pass "$(tail -1 "$work/bad.out"); $checked spoilt directories refused with a clear text"
