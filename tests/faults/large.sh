#!/usr/bin/env bash
# large.sh - values far above the queues' bounds, written and read through each of three nodes: the bytes, what a node needs of
# memory for it and whether it gives that back, and small writes of others meanwhile. Elections are counted and shown.
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
memory() { # FIELD: the most of any node, in MiB
    local p
    for p in "${pid[@]}"; do sed -nE "s/^$1:\s+([0-9]+) kB/\1/p" "/proc/$p/status"; done | sort -n | tail -1 | awk '{print int($1 / 1024)}'
}
terms() { for_each_replica 0 term | awk '{n += $2} END {print n}'; }
before=$(terms)
base_memory=$(memory VmHWM)
load_start --clients 2 --think-ms 20 --timeout-ms 30000
sleep 1
writes_go_on 10 || fail "small writes do not begin"
load_window >/dev/null
slowest=0 slowest_set=0
for node in 0 1 2; do # two of the three do not lead the key's partition
    tell_time; start=$now
    set_value $node "big{x}" "$work/value"
    [[ $answer == +OK ]] || fail "SET of $mib MiB through node $node: $answer"
    tell_time
    ((now - start > slowest_set)) && slowest_set=$((now - start))
    for reader in 0 1 2; do
        got=
        get_sum $reader "big{x}"
        [[ $got == "$sum" ]] || fail "GET of $mib MiB through node $reader, after node $node wrote it: $answer, sum '$got'"
    done
    tell_time
    ((now - start > slowest)) && slowest=$((now - start))
done
read -r gap _ writes failed unknown <<<"$(load_window)"
most=$(memory VmHWM)
wait_whole 60 0 1 2
load_end
elections=$(($(terms) - before))
((writes >= 100)) || fail "only $writes small writes meanwhile ($failed failed, $unknown unknown)"
((most - base_memory <= 8 * mib)) || fail "$((most - base_memory)) MiB of memory for a value of $mib MiB"
given_back() { (($(memory VmRSS) - base_memory <= 3 * mib)); }
wait_until 30 given_back || fail "$(memory VmRSS) MiB are still held, for a value of $mib MiB"
# Beyond the limit: refused at the door, with the limit.
answer=$(printf '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$268435457\r\n' | timeout 5 nc -q 2 "${address[1]%:*}" "${address[1]##*:}" 2>/dev/null | head -1)
[[ -z $answer || $answer =~ -ERR ]] || fail "a value above --value-max: $answer"
pass "$mib MiB through each of 3 nodes: a SET at most $slowest_set ms, with 3 GETs $slowest ms; at most $((most - base_memory)) MiB of memory more; meanwhile $writes small writes, $failed failed, $unknown unknown, longest gap $gap ms; $elections elections"
