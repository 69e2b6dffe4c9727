#!/usr/bin/env bash
# large.sh - a value far above the queues' bounds is written and read through a node that does not lead its partition.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/lib.sh"
begin large
mib=100
((short)) && mib=70
node_options=(--shards 2 --partitions 4 --value-max 256MiB --request-timeout 60s)
cluster_start 3
bytes=$((mib << 20))
head -c "$bytes" /dev/urandom >"$work/value"
sum=$(md5sum <"$work/value" | cut -d' ' -f1)

set_value() { # NODE KEY FILE
    exec 7<>"/dev/tcp/${address[$1]%:*}/${address[$1]##*:}" || return 1
    { printf '*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n' "${#2}" "$2" "$(stat -c %s "$3")"; cat "$3"; printf '\r\n'; } >&7
    IFS= read -r -t 90 answer <&7
    exec 7>&-
    answer=${answer%$'\r'}
}
get_sum() { # NODE KEY
    exec 7<>"/dev/tcp/${address[$1]%:*}/${address[$1]##*:}" || return 1
    printf '*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n' "${#2}" "$2" >&7
    IFS= read -r -t 90 answer <&7
    answer=${answer%$'\r'}
    [[ $answer == "\$$bytes" ]] && got=$(timeout 90 head -c "$bytes" <&7 | md5sum | cut -d' ' -f1)
    exec 7>&-
}
slowest=0
for node in 0 1 2; do # two of the three do not lead the key's partition
    tell_time; start=$now
    set_value $node "big{x}" "$work/value"
    [[ $answer == +OK ]] || fail "SET of $mib MiB through node $node: $answer"
    for reader in 0 1 2; do
        got=
        get_sum $reader "big{x}"
        [[ $got == "$sum" ]] || fail "GET of $mib MiB through node $reader, after node $node wrote it: $answer, sum '$got'"
    done
    tell_time
    ((now - start > slowest)) && slowest=$((now - start))
done
wait_whole 60 0 1 2
# Beyond the limit: refused at the door, with the limit.
answer=$(printf '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$268435457\r\n' | timeout 5 nc -q 2 "${address[1]%:*}" "${address[1]##*:}" 2>/dev/null | head -1)
[[ -z $answer || $answer =~ -ERR ]] || fail "a value above --value-max: $answer"
pass "$mib MiB written through each of 3 nodes and read through each; a write and 3 reads took at most $slowest ms"
