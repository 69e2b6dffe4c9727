#!/usr/bin/env bash
# large_value.sh - one value of 300 MiB: written, read back, kept over a restart; a larger one than is allowed is refused at its
# first line; the node's memory stays within a few times the value.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin large_value
size=$((300 << 20))
((short)) && size=$((100 << 20))
node_extra[0]="--value-max 512MiB --log-max 2GiB --request-timeout 120s"
cluster_start 1
host=${address[0]%:*} port=${address[0]##*:}
peak() { sed -nE 's/^VmHWM:\s+([0-9]+) kB/\1/p' "/proc/${pid[0]}/status"; }
head -c "$size" /dev/urandom >"$work/value"
before=$(peak)

exec 9<>"/dev/tcp/$host/$port"
{ printf '*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n' "$size"; cat "$work/value"; printf '\r\n'; } >&9 &
read -r -t 150 line <&9 || fail "no reply to SET"
[[ $line == +OK* ]] || fail "SET: $line"
wrote=$(peak)
get() { # the value into $work/got
    printf '*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n' >&9
    read -r -t 150 line <&9 || fail "no reply to GET"
    [[ $line == "\$$size"* ]] || fail "GET: $line"
    timeout 150 head -c "$size" <&9 >"$work/got"
    cmp -s "$work/value" "$work/got" || fail "what GET answered is not what was written"
    read -r -t 10 _ <&9
}
get
read_peak=$(peak)
exec 9>&-

exec 9<>"/dev/tcp/$host/$port"
printf '*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n' $(((512 << 20) + 1)) >&9
read -r -t 30 line <&9 || fail "no reply to a value that is too large"
[[ $line == "-ERR Protocol error: invalid bulk length"* ]] || fail "a value that is too large: $line"
exec 9>&-
[[ $("$cairn" query --address "${address[0]}" --raw STRLEN big) == "$size" ]] || fail "the value has changed"
[[ $("$cairn" query --address "${address[0]}" --raw APPEND big x) == $((size + 1)) ]] || fail "APPEND"
[[ $("$cairn" query --address "${address[0]}" --raw SETRANGE big "$size" y) == $((size + 1)) ]] || fail "SETRANGE"
printf y >>"$work/value"
size=$((size + 1))

node_kill 0 KILL
node_start 0
wait_until 120 whole 0 || fail "the node did not come back"
exec 9<>"/dev/tcp/$host/$port"
get
exec 9>&-
most=$(((wrote > read_peak ? wrote : read_peak) - before))
((most < 10 * size / 1024)) || fail "$((most >> 10)) MiB of memory for a value of $((size >> 20)) MiB"
pass "$((size >> 20)) MiB written, read, kept; memory: $(((wrote - before) >> 10)) MiB more after the write, $(((read_peak - before) >> 10)) MiB after the read"
