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
for i in 1 2 3 4 5 6 7 8; do # for damage below: in all slots, the last value in the middle of the log
    [[ $("$cairn" query --address "${address[0]}" SET "d$i" "a-mark-in-the-log-$i") == OK ]] || fail "no write"
done
for i in 1 2 3 4 5 6 7 8; do [[ $("$cairn" query --address "${address[0]}" SET "after$i" "$i") == OK ]] || fail "no write"; done
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
spoil; rm "$spoilt/identity"; refuses "identity' is missing, but '.*store-0' is there"
spoil; rm "$spoilt/store-0/engine/CURRENT"; refuses "opening the engine"
spoil; rm -r "$spoilt/store-0"; refuses "store-0' is missing or empty, but this node has used it"
spoil; rm -r "$spoilt/store-0/log"; refuses "store-0/log' is missing or empty, but this node has used it"
spoil; rm -r "$spoilt/store-0/engine"; refuses "store-0/engine' is missing or empty, but this node has used it"
spoil; rm "$spoilt"/store-0/log/*; refuses "store-0/log' is missing or empty, but this node has used it"

# One copy, and an entry in the middle of its log is damaged: its partition refuses and says what is wrong, the others go on.
ask() { timeout 15 "$cairn" query --address "$at" "$@"; }
spoiled_start() { # OPTION …
    "$cairn" serve --listen "$at" --data "$spoilt" "$@" >>"$work/spoilt.log" 2>&1 &
    spoiled=$!
    started+=("$spoiled")
    disown "$spoiled" 2>/dev/null
    wait_until 20 ask PING >/dev/null || fail "the node with a damaged log does not answer at all"
}
spoiled_end() { kill -TERM "$spoiled"; for _ in $(seq 200); do kill -0 "$spoiled" 2>/dev/null || return 0; sleep 0.1; done; fail "the damaged node does not stop"; }
said() { [[ $(curl -s "http://$at/health") =~ $1 ]]; }
served() { local i n=0; for i in 1 2 3 4 5 6 7 8; do [[ $(ask GET "after$i") == "\"$i\"" ]] && n=$((n + 1)); done; ((n >= $1)); }
spoil
at=127.0.0.1:$((base + 60))
file=$(grep -l "a-mark-in-the-log-4" "$spoilt"/store-0/log/*.seg | head -1)
[[ -n $file ]] || fail "the entry to damage is not in the log"
place=$(grep -abo "a-mark-in-the-log-4" "$file" | head -1 | cut -d: -f1)
printf 'XXXX' | dd of="$file" bs=1 seek="$place" conv=notrunc 2>/dev/null
spoiled_start
wait_until 20 said '"unavailable","reason":"partition [0-9]+: the log of store 0 is damaged .file log/[0-9a-f]+.seg, offset [0-9]+: 1 of 1 records' ||
    fail "/health does not say what is damaged: $(curl -s "http://$at/health")"
[[ $(ask GET d4) =~ UNAVAILABLE.*is\ damaged.*entries\ [0-9]+\ to\ [0-9]+\ are\ gone ]] || fail "the damaged partition answers: $(ask GET d4)"
served 4 || fail "the other partitions do not go on"
[[ $("$cairn" status --address "$at") =~ "There is no other copy: put the file back as it was, or accept the loss" ]] || fail "status is silent about the damage"
spoiled_end
spoiled_start
[[ $(ask GET d4) =~ UNAVAILABLE ]] || fail "the second start has forgotten the damage: $(ask GET d4)"
spoiled_end
spoiled_start --accept-loss all
wait_until 20 said '"status":"ok"' || fail "not well after the loss was accepted: $(curl -s "http://$at/health")"
[[ $(ask GET d4) == "(nil)" ]] || fail "d4 is still there, as $(ask GET d4): what was damaged?"
[[ $(ask SET d4 again) == OK ]] || fail "no write after the loss was accepted"
spoiled_end
spoiled_start
wait_until 20 said '"status":"ok"' || fail "the accepted loss is remembered as damage: $(curl -s "http://$at/health")"
[[ $(ask GET d4) == '"again"' ]] || fail "what was written after the loss is gone"
spoiled_end
checked=$((checked + 1))

node_start 0
wait_until 30 whole 0 || fail "the node whose directory was copied does not start"
for i in 1 2 3; do [[ $("$cairn" query --address "${address[0]}" GET "k$i") == "\"$i\"" ]] || fail "k$i is gone"; done
pass "$(tail -1 "$work/bad.out"); $checked spoilt directories refused with a clear text, a damaged log included"
