#!/usr/bin/env bash
# copies.sh - a data directory that is moved goes on; one that is copied, or put back from a backup, is refused, whoever
# comes first; the node that runs rightly does not notice.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
# Usage: copies.sh [SHARDS]: of each node; without it, with 1 and then with 4.
if (($# == 0)); then
    bash "$0" 1 || exit
    exec bash "$0" 4
fi
shards=$1
begin "copies-$shards"
node_options=(--shards "$shards" --partitions 12)
cluster_start 3
for i in 1 2 3 4 5; do [[ $("$cairn" query --address "${address[0]}" SET "k$i" "$i") == OK ]] || fail "no write"; done
leader=127.0.0.1:$((base + 50))

more=()
refused() { # WHAT DIR ADDRESS PATTERN: it must not start, with one line that says why
    local line code=0
    timeout 30 "$cairn" serve --listen "$3" --data "$2" --shards "$shards" --log-level error "${more[@]}" >"$work/refused.out" 2>"$work/refused.err" || code=$?
    line=$(grep -a '^cairn: ' "$work/refused.err" | tail -1)
    ((code == 1)) || fail "$1: the node ended with $code instead of 1: $(tail -1 "$work/refused.err" "$work/refused.out")"
    [[ $line =~ $4 ]] || fail "$1: no match of '$4' in: $line"
    note "$1: ${line:0:150} …"
    checked=$((checked + 1))
}
checked=0
there() { # NODE: it serves what was written
    local i
    for i in 1 2 3 4 5; do [[ $("$cairn" query --address "${address[$1]}" GET "k$i") == "\"$i\"" ]] || fail "$2: k$i is gone on node $1"; done
}

# A copy beside the original that runs.
cp -r "${dir[1]}" "$work/copy-1"
refused "a copy beside the original" "$work/copy-1" "$leader" "node ${id[1]} runs already"
alive 1 || fail "the original ended because of its copy"
# … even when the original can't be told to be there at its address, and the copy of the catalog is gone.
rm "$work/copy-1/catalog"
more=(--join "${address[0]}")
refused "a copy without its catalog" "$work/copy-1" "$leader" "another process runs as node ${id[1]}"
more=()
alive 1 || fail "the original ended because of its copy"
# … whose peers are asked too, when the original can't be reached at its address: it listens elsewhere.
there 1 "after the copy was refused"

# Moved: stopped, and started once elsewhere, under another address.
node_kill 2 TERM
cp -r "${dir[2]}" "$work/before-move"
mv "${dir[2]}" "$work/moved"
old=${address[2]}
dir[2]=$work/moved
address[2]=127.0.0.1:$((base + 40))
node_start 2
wait_whole 60 0 2
there 2 "after the move"
# … and the original again: the other way round it would have been the copy.
refused "the original after its copy" "$work/before-move" "$old" "is a copy, or an older state of it put back"
alive 2 || fail "the moved node ended"

# An older state put back, after the node was started anew since.
cp -r "${dir[2]}" "$work/backup"
for _ in 1 2; do
    node_kill 2 KILL
    node_start 2
    wait_whole 60 2
done
node_kill 2 KILL
refused "a backup put back" "$work/backup" "${address[2]}" "a later start|another start"
refused "a backup put back, again" "$work/backup" "${address[2]}" "found at an earlier start"
node_start 2
wait_whole 60 0 2

# The original stands still while its copy starts, so nobody can tell: the copy takes its place. When it wakes up, it ends.
node_kill 2 TERM
cp -r "${dir[2]}" "$work/twin"
node_start 2
wait_whole 60 0 2
kill -STOP "${pid[2]}"
sleep 3
dir[3]=$work/twin address[3]=127.0.0.1:$((base + 41)) id[3]=${id[2]}
code=0
timeout 20 "$cairn" serve --listen "${address[3]}" --data "${dir[3]}" --shards "$shards" >"$work/node-3.log" 2>&1 || code=$?
((code == 1)) || fail "a copy that misses a start of the original was taken (exit $code)"
checked=$((checked + 1))
kill -CONT "${pid[2]}"
wait_whole 60 0 2
node_kill 2 KILL
cp -r "${dir[2]}" "$work/clone"
node_start 2
wait_whole 60 0 2
node_kill 2 KILL # the clone does not know of this start
refused "a copy that misses a start" "$work/clone" "${address[2]}" "is a copy, or an older state of it put back"
node_start 2
wait_whole 60 0 2

# Both are started from the same state: the first has the place; the second, and a process that was asleep, end.
node_kill 2 KILL
cp -r "${dir[2]}" "$work/second"
node_start 2
first=${pid[2]}
wait_whole 60 0 2
refused "the second of two" "$work/second" "127.0.0.1:$((base + 42))" "runs already|is a copy, or an older state of it put back"
alive 2 || fail "the first of two ended"

# Asleep: a copy of its present start runs meanwhile.
cp -r "${dir[2]}" "$work/awake"
kill -STOP "$first"
sleep 3
dir[2]=$work/awake address[2]=127.0.0.1:$((base + 43))
node_start 2
wait_until 60 whole 2 || fail "the copy of a node that sleeps does not start"
kill -CONT "$first"
for _ in $(seq 100); do kill -0 "$first" 2>/dev/null || break; sleep 0.1; done
kill -0 "$first" 2>/dev/null && fail "the process that was asleep goes on beside its copy"
grep -aq "is a copy, or an older state of it put back" "$work/node-2.log" || fail "the process that was asleep did not say why it ended"
checked=$((checked + 1))
wait_whole 60 0 2
there 2 "at the end"
pass "$checked copies refused or ended with a clear text; a move went on"
