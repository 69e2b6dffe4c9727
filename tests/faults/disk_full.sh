#!/usr/bin/env bash
# disk_full.sh - one node's disk is filled under load by a stranger's file: the cluster goes on. The file is removed: the
# node takes part again without anyone's help. Twice: filled to the last block at once, and down to the reserve only.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin disk_full
need_root "mounting a file system"
need mkfs.ext4
seconds=15
((short)) && seconds=5
disk_make 1 512M
node_extra[1]="--disk-reserve 32MiB"
cluster_start 3
load_start --clients 24
writes_go_on 20 || fail "no writes before any fault"
lines=() restarts=0
fill_and_free() { # MEBIBYTES-LEFT
    local left free gap writes
    free=$(($(df --output=avail -B1M "$work/disk-1" | tail -1)))
    load_window >/dev/null
    if (($1 == 0)); then dd if=/dev/zero of="$work/disk-1/fill" bs=1M status=none 2>/dev/null
    else fallocate -l $((free - $1))M "$work/disk-1/fill"; fi
    left=$(($(df --output=avail -B1K "$work/disk-1" | tail -1)))
    sleep "$seconds"
    read -r gap _ writes _ <<<"$(load_window)"
    ((writes > 0)) || fail "no writes while the disk of one node had $left KiB left"
    if alive 1; then word="node kept running"
    else word="node ended: $(grep "can't go on" "$work/node-1.log" | tail -1)"; fi
    rm "$work/disk-1/fill"
    lines+=("$left KiB left for $seconds s: gap $gap ms, $writes writes, $word")
    if ! alive 1; then
        note "$word"
        fail "the node ended when its disk was full (it should recover by itself)"
    fi
    wait_whole 60 0 1 2
    writes_go_on 15 || fail "no writes after the disk was freed"
}
fill_and_free 16
fill_and_free 0
load_end
scrub_ok
pass "$(IFS='|'; echo "${lines[*]}" | sed 's/|/; /g'): $load_figures"
