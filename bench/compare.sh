#!/usr/bin/env bash
# compare.sh - Cairn, etcd and Redis side by side on this machine, in interleaved rounds. docs/benchmarks.md says how to
# read the result, and what is not fair about it.
# SPDX-License-Identifier: Apache-2.0
#
#   bench/compare.sh [--quick | --full] [--keys N] [--seconds S] [--rounds N] [--kills N] [--port P] [--only LIST]
#
#   --quick     3 rounds of 1 s, 200,000 keys, 1 kill: about 5 minutes        --full   4 rounds of 3 s: about 15 (default)
#   --keys      different keys [1000000]                                      --rounds  of each measurement [4]
#   --seconds   of each measurement [3]                                       --kills   of the leader [3]
#   --port      the first of 40 ports on loopback [17400]
#   --only      of cairn,etcd,redis [all]
#
# A system that does not start, or a run that fails, is named in the table; the others go on. What is printed and all single
# results (JSON, a line each) stay in build/bench/. Every process started here is ended again, by its number.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

keys=1000000 seconds=3 rounds=4 kills=3 tries=5 port=17400 only=cairn,etcd,redis value=256
while (($# > 0)); do
    case $1 in
    --quick) keys=200000 seconds=1 rounds=3 kills=1 tries=3 ;;
    --full) ;;
    --keys) keys=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    --kills) kills=$2; shift ;;
    --port) port=$2; shift ;;
    --only) only=$2; shift ;;
    *) sed -n '6,15s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
IFS=, read -ra wanted <<<"$only"

for tool in python3 gcc awk timeout; do
    type -P $tool >/dev/null || { echo "compare.sh: $tool is not installed: ./dev deps" >&2; exit 1; }
done
mkdir -p build/bench
stamp=$(date +%Y%m%d-%H%M%S)
work=$(realpath "$(mktemp -d build/bench/work.XXXXXX)")
results=build/bench/$stamp.jsonl
cairn=$(realpath build/cairn) probe=$work/probe etcdload=build/bench/etcdload
declare -A pid=()    # of each server that runs
declare -A failed=() # why a system takes no part
: >"$results"

# ---- processes ----

cleanup() {
    trap - EXIT INT TERM
    local name
    for name in "${!pid[@]}"; do kill -TERM "${pid[$name]}" 2>/dev/null; done
    for name in "${!pid[@]}"; do stop "$name"; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND …: a server in the background; its output goes to NAME.log
start() {
    local name=$1
    shift
    "$@" >>"$work/$name.log" 2>&1 </dev/null &
    pid[$name]=$!
    disown $! # its end is no news for the terminal
}
alive() { [[ -n ${pid[$1]:-} ]] && kill -0 "${pid[$1]}" 2>/dev/null; }
stop() { # NAME [SIGNAL]
    local p=${pid[$1]:-} i
    [[ -n $p ]] || return 0
    kill "-${2:-TERM}" "$p" 2>/dev/null
    for ((i = 0; i < 150; i++)); do
        # A zombie has ended, too.
        [[ -e /proc/$p && $(state_of "$p") != Z ]] || break
        sleep 0.1
    done
    ((i < 150)) || kill -KILL "$p" 2>/dev/null
    unset "pid[$1]"
}
state_of() { local s; { read -r s <"/proc/$1/stat"; } 2>/dev/null || s=") Z"; s=${s##*) }; printf %s "${s%% *}"; }

# until_true SECONDS COMMAND …
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}
say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
has() { local w; for w in "${wanted[@]}"; do [[ $w == "$1" && -z ${failed[$1]:-} ]] && return; done; return 1; }
# give_up SYSTEM WHY
give_up() {
    say "$1: $2"
    failed[$1]=$2
    record "{\"row\":\"failed\",\"system\":\"$1\",\"error\":\"$2\"}"
}
# last_words FILE: its last line, fit for JSON
last_words() { tail -n 1 "$1" 2>/dev/null | tr -d '"\\\000-\037' | cut -c 1-200; }
record() { printf '%s\n' "$1" >>"$results"; }

# ---- what they cost ----

# Ticks (10 ms) of processor time of the processes.
ticks() {
    local p line total=0
    for p; do
        { read -r line <"/proc/$p/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${line##*) }
        total=$((total + ${12} + ${13}))
    done
    echo $total
}
# Of all that the machine did.
ticks_all() {
    local line
    read -r line </proc/stat
    # shellcheck disable=SC2086
    set -- $line
    echo $(($2 + $3 + $4 + $7 + $8))
}
# Nanoseconds of processor time of a process: finer than ticks.
run_ns() { cat "/proc/$1"/task/*/schedstat 2>/dev/null | awk '{s += $1} END {printf "%.0f", s}'; }
memory_of() { awk '/^VmRSS/{r=$2} /^VmHWM/{h=$2} END{printf "%.1f %.1f", r/1024, h/1024}' "/proc/$1/status" 2>/dev/null; }

# Waits, at most 3 s, until our servers do little: what a run leaves behind is not the next one's.
settle() {
    local before after i
    for ((i = 0; i < 10; i++)); do
        before=$(ticks "${pid[@]}")
        sleep 0.3
        after=$(ticks "${pid[@]}")
        ((after - before > 6)) || return 0
    done
}

# members SYSTEM: the processes of its cluster
members() {
    local i
    for i in 1 2 3; do [[ -n ${pid[$1$i]:-} ]] && echo "${pid[$1$i]}"; done
}

# measure ROUND ROW COLUMN SYSTEM GENERATOR …: runs the generator, which prints JSON, and records that with the cores used.
measure() {
    local round=$1 row=$2 column=$3 system=$4 out servers s0 o0 b0 t0 s1 o1 b1 t1 code=0 cores
    shift 4
    settle
    mapfile -t servers < <(members "$system")
    s0=$(ticks "${servers[@]}") o0=$(ticks "${pid[@]}") b0=$(ticks_all) t0=${EPOCHREALTIME/[.,]/}
    TIMEFORMAT='%U %S'
    { time timeout 120 "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?; } 2>"$work/time"
    s1=$(ticks "${servers[@]}") o1=$(ticks "${pid[@]}") b1=$(ticks_all) t1=${EPOCHREALTIME/[.,]/}
    cores=$(awk -v s=$((s1 - s0)) -v o=$((o1 - o0)) -v b=$((b1 - b0)) -v us=$((t1 - t0)) '{
        k = us / 1e4; c = $1 + $2; r = (b - o) / k - c / (k / 100)
        printf "\"server_cores\":%.3f,\"generator_cores\":%.3f,\"idle_server_cores\":%.3f,\"other_cores\":%.3f",
            s / k, c / (k / 100), (o - s) / k, r < 0 ? 0 : r }' "$work/time")
    out=$(grep -m 1 '^{' "$work/out")
    if [[ -z $out ]]; then
        out='{}'
        say "$row, $column: $(last_words "$work/err")"
    fi
    record "{\"row\":\"$row\",\"column\":\"$column\",\"round\":$round,\"code\":$code,$cores,\"error\":\"$(last_words "$work/err")\",\"result\":$out}"
}

# ---- the systems ----

address() { echo "127.0.0.1:$((port + $1))"; }
cairn_nodes="$(address 1),$(address 2),$(address 3)"
etcd_members="$(address 21),$(address 22),$(address 23)"
redis_primary=1 # which of the three

# Each node has one shard, as with cairn local: three nodes share this machine.
cairn_node() { # NUMBER
    local join=()
    (($1 == 1)) || join=(--join "$(address 1)")
    start "cairn$1" "$cairn" serve --listen "$(address "$1")" --data "$work/cairn$1" --shards 1 --log-level warn "${join[@]}"
}
cairn_well() {
    local text
    text=$("$cairn" status --json --address "$(address "${1:-1}")") || return 1
    [[ $text == *'"ready":true'* && $text == *'"leaderless":0'* && $text == *'"under_replicated":0'* ]] &&
        [[ $(grep -o '"state":"up"' <<<"$text" | wc -l) == "${2:-3}" ]]
}
cairn_spread() { [[ $("$probe" leaders "$(address 1)" | wc -l) == 3 ]]; }
cairn_up() {
    cairn_node 1
    until_true 120 cairn_well 1 1 || return 1
    cairn_node 2
    cairn_node 3
    until_true 120 cairn_well || return 1
    until_true 20 cairn_spread || say "cairn: not every node leads something: $("$probe" leaders "$(address 1)" | tr '\n' ' ')"
}

etcd_member() {
    local n1 n2 n3
    n1=$(address 31) n2=$(address 32) n3=$(address 33)
    start "etcd$1" etcd --name "m$1" --data-dir "$work/etcd$1" --logger zap --log-level error \
        --quota-backend-bytes 8589934592 \
        --listen-client-urls "http://$(address $((20 + $1)))" --advertise-client-urls "http://$(address $((20 + $1)))" \
        --listen-peer-urls "http://$(address $((30 + $1)))" --initial-advertise-peer-urls "http://$(address $((30 + $1)))" \
        --initial-cluster "m1=http://$n1,m2=http://$n2,m3=http://$n3"
}
etcd_leader() { # its number
    local i
    for i in 1 2 3; do
        ETCDCTL_API=3 etcdctl --endpoints="$(address $((20 + i)))" --command-timeout=2s endpoint status 2>/dev/null |
            awk -F', ' -v i=$i '$5 == "true" {print i}'
    done
}
etcd_well() { [[ -n $(etcd_leader) ]]; }
# etcd copies its write buffer for reads, and the buffer keeps the largest size it ever had: after a restart it reads faster.
etcd_restart() {
    local i
    for i in 1 2 3; do stop etcd$i; done
    for i in 1 2 3; do etcd_member $i; done
    until_true 120 etcd_well || give_up etcd "did not start again"
}
etcd_up() {
    local i
    type -P etcd etcdctl >/dev/null || { say "etcd: etcd-server and etcd-client are not installed"; return 1; }
    build_etcdload || return 1
    for i in 1 2 3; do etcd_member $i; done
    until_true 120 etcd_well
}
build_etcdload() {
    [[ $etcdload -nt bench/etcdload/main.go ]] && return
    if ! type -P go >/dev/null || [[ ! -d /usr/share/gocode/src/go.etcd.io/etcd/clientv3 ]]; then
        say "etcd: golang-go and golang-etcd-server-dev are not installed: ./dev bench does it"
        return 1
    fi
    GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$PWD/build/bench/go go build -o $etcdload bench/etcdload/main.go
}

redis_node() { # NUMBER ARGUMENT …
    local i=$1
    shift
    mkdir -p "$work/redis$i"
    # The buffer limit: with the default, replicas that fall behind are cut off, and their primary refuses writes.
    start "redis$i" redis-server --port $((port + 10 + i)) --bind 127.0.0.1 --dir "$work/redis$i" --save "" \
        --appendonly yes --appendfsync always --min-replicas-to-write 1 --client-output-buffer-limit replica 2gb 2gb 0 "$@"
}
redis_say() { local i=$1; shift; redis-cli -p $((port + 10 + i)) "$@" 2>/dev/null; }
redis_has() { [[ $(redis_say "$1" info replication | grep -c 'state=online') == "$2" ]]; }
redis_up() {
    local i
    type -P redis-server redis-cli >/dev/null || { say "redis: redis-server and redis-tools are not installed"; return 1; }
    redis_node 1
    for i in 2 3; do redis_node $i --replicaof 127.0.0.1 $((port + 11)); done
    until_true 120 redis_has 1 2
}

fill() { # SYSTEM
    case $1 in
    cairn) "$cairn" bench --address "$cairn_nodes" --route map --fill --keys "$keys" --value-size "$value" --clients 16 \
        --requests 1 --duration 1s --json --quiet ;;
    redis) "$cairn" bench --address "$(address 11)" --wait 1 --fill --keys "$keys" --value-size "$value" --clients 16 \
        --requests 1 --duration 1s --json --quiet ;;
    etcd) $etcdload --endpoints "$etcd_members" --fill --keys "$keys" --value-size "$value" --clients 16 ;;
    esac
}

# run ROUND COLUMN ROW CLIENTS PIPELINE READ-PERCENT
run() {
    local column=$2 system=${2%%-*} to
    local args=(--keys "$keys" --value-size "$value" --clients "$4" --read-percent "$6")
    local resp=("$cairn" bench "${args[@]}" --pipeline "$5" --duration "${seconds}s" --seed "$1" --json --quiet)
    has "$system" || return 0
    case $column in
    cairn-leader) measure "$1" "$3" "$column" cairn "${resp[@]}" --address "$cairn_nodes" --route leader ;;
    cairn-any) measure "$1" "$3" "$column" cairn "${resp[@]}" --address "$cairn_nodes" ;;
    redis) measure "$1" "$3" "$column" redis "${resp[@]}" --address "$(address $((10 + redis_primary)))" --wait 1 ;;
    etcd-*)
        to=$etcd_members
        if [[ $column == etcd-leader ]]; then
            until_true 20 etcd_well
            to=$(etcd_leader | head -n 1)
            to=$(address $((20 + ${to:-1})))
        fi
        # 16 requests under way on each of 64 connections are 1,024 clients that share them.
        args[5]=$(($4 * $5))
        measure "$1" "$3" "$column" etcd $etcdload --endpoints "$to" "${args[@]}" --seconds "$seconds" \
            --connections $(($5 == 1 ? 8 : $4))
        ;;
    esac
}

record_memory() { # WHEN
    local system p r h
    for system in cairn etcd redis; do
        has $system || continue
        for p in $(members $system); do
            read -r r h < <(memory_of "$p")
            record "{\"row\":\"memory-$1\",\"column\":\"$system\",\"rss_mib\":${r:-0},\"peak_mib\":${h:-0}}"
        done
    done
}

# ---- one node: start, rest ----

single() { # SYSTEM TRY: sets pid[SYSTEM-single]
    local ms=- p=0 command protocol=resp at=$((port + 5)) data=$work/single-$1-$2
    mkdir -p "$data"
    case $1 in
    cairn) command=("$cairn" serve --listen "127.0.0.1:$at" --data "$data/data" --log-level warn) ;;
    redis) at=$((port + 15)) command=(redis-server --port $((port + 15)) --bind 127.0.0.1 --dir "$data" --save "" --appendonly yes
        --appendfsync always) ;;
    etcd) at=$((port + 25)) protocol=etcd command=(etcd --data-dir "$data/data" --logger zap --log-level error
        --listen-client-urls "http://$(address 25)" --advertise-client-urls "http://$(address 25)"
        --listen-peer-urls "http://$(address 35)" --initial-advertise-peer-urls "http://$(address 35)"
        --initial-cluster "default=http://$(address 35)") ;;
    esac
    type -P "${command[0]}" >/dev/null || return 0
    read -r ms p < <("$probe" ready $protocol $at "$work/$1-single.log" "${command[@]}")
    ((p != 0)) && pid[$1-single]=$p
    if [[ $ms == - ]]; then say "$1, single node: not ready: $(last_words "$work/$1-single.log")"
    else record "{\"row\":\"ready\",\"column\":\"$1\",\"round\":$2,\"ms\":$ms}"
    fi
}

singles() {
    local try system before=() at rest=5 p r h ns i
    say "single nodes: time to ready, then $rest s of rest"
    for ((try = 1; try <= tries; try++)); do
        for system in "${wanted[@]}"; do
            single "$system" $try
            ((try == tries)) || stop "$system-single"
        done
    done
    sleep 3 # what the start left to do
    at=${EPOCHREALTIME/[.,]/}
    for i in "${!wanted[@]}"; do
        p=${pid[${wanted[i]}-single]:-}
        before[i]=$([[ -n $p ]] && run_ns "$p")
    done
    sleep $rest
    for i in "${!wanted[@]}"; do
        system=${wanted[i]} p=${pid[${wanted[i]}-single]:-}
        [[ -n $p ]] || continue
        ns=$(run_ns "$p")
        read -r r h < <(memory_of "$p")
        record "{\"row\":\"idle\",\"column\":\"$system\",\"rss_mib\":${r:-0},\"cores\":$(awk -v a="${before[i]}" -v b="$ns" \
            -v us=$((${EPOCHREALTIME/[.,]/} - at)) 'BEGIN {printf "%.5f", (b - a) / us / 1000}')}"
        stop "$system-single"
    done
}

# ---- the leader is killed ----

gap_run() { # SYSTEM KILL VICTIM GENERATOR …
    local system=$1 kill=$2 victim=$3 out killer
    shift 3
    say "$system: kill $kill of $kills, of node $victim"
    { sleep 3; kill -KILL "${pid[$system$victim]}"; } 2>/dev/null &
    killer=$!
    out=$("$@" 2>"$work/err" | grep -m 1 '^{')
    wait $killer
    stop "$system$victim" KILL
    record "{\"row\":\"gap\",\"column\":\"$system\",\"round\":$kill,\"victim\":$victim,\"error\":\"$(last_words "$work/err")\",\"result\":${out:-null}}"
}

gap_cairn() {
    local kill victim
    for ((kill = 1; kill <= kills; kill++)); do
        victim=$("$probe" leaders "$(address 1)" | head -n 1)
        victim=${victim%% *}
        [[ -n $victim ]] || { say "cairn: no leader to kill"; return; }
        gap_run cairn $kill $((${victim##*:} - port)) "$probe" gap --seconds 10 --size "$value" --led-by "$victim" \
            "$(address 1)" "$(address 2)" "$(address 3)"
        cairn_node $((${victim##*:} - port))
        until_true 120 cairn_well || { say "cairn: not whole again after the kill"; return; }
        until_true 30 cairn_spread
    done
}

gap_etcd() {
    local kill victim
    for ((kill = 1; kill <= kills; kill++)); do
        victim=$(etcd_leader | head -n 1)
        [[ -n $victim ]] || { say "etcd: no leader to kill"; return; }
        gap_run etcd $kill "$victim" $etcdload --gap --seconds 10 --value-size "$value" --keys 100000 --clients 16 \
            --connections 4 --endpoints "$etcd_members"
        etcd_member "$victim"
        until_true 30 etcd_well
        sleep 3
    done
}

sentinel_knows() { [[ $(redis-cli -p $((port + 17)) sentinel master m 2>/dev/null | grep -A 1 -x num-other-sentinels | tail -n 1) == 2 ]]; }
sentinel_primary() { redis-cli -p $((port + 17)) sentinel get-master-addr-by-name m 2>/dev/null | tail -n 1; }
sentinel_promoted() { local at; at=$(sentinel_primary) && [[ -n $at && $at != $((port + 10 + redis_primary)) ]]; }
gap_redis() {
    local kill i
    for i in 1 2 3; do
        printf '%s\n' "port $((port + 16 + i))" "bind 127.0.0.1" "dir $work" \
            "sentinel monitor m 127.0.0.1 $((port + 10 + redis_primary)) 2" "sentinel down-after-milliseconds m 1000" \
            "sentinel failover-timeout m 5000" >"$work/sentinel$i.conf"
        start "sentinel$i" redis-server "$work/sentinel$i.conf" --sentinel
    done
    until_true 30 sentinel_knows || { say "redis: the sentinels do not find one another"; return; }
    sleep 2
    for ((kill = 1; kill <= kills; kill++)); do
        redis_primary=$(($(sentinel_primary) - port - 10))
        gap_run redis $kill $redis_primary "$probe" gap --seconds 10 --size "$value" --wait 1 \
            "$(address 11)" "$(address 12)" "$(address 13)"
        i=$redis_primary
        until_true 60 sentinel_promoted || { say "redis: the sentinels promote nobody"; return; }
        redis_primary=$(($(sentinel_primary) - port - 10))
        redis_node $i --replicaof 127.0.0.1 $((port + 10 + redis_primary))
        until_true 120 redis_has $redis_primary 2 || { say "redis: not whole again after the kill"; return; }
        sleep 5 # a sentinel does not fail over again at once
    done
}

# ---- all of it ----

[[ -x $cairn ]] || { say "build/cairn is not there: ./dev build"; exit 1; }
gcc -std=gnu17 -O2 -pthread bench/probe.c -o "$probe" || exit 1
build_etcdload 2>/dev/null
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit+=+changes
record "{\"row\":\"settings\",\"keys\":$keys,\"seconds\":$seconds,\"rounds\":$rounds,\"kills\":$kills,\"value_size\":$value,\
\"cairn\":\"$("$cairn" version | head -n 1), commit $commit\",\
\"etcd\":\"$(etcd --version 2>/dev/null | sed -n 's/^etcd Version: //p')\",\
\"redis\":\"$(redis-server --version 2>/dev/null | sed -n 's/.* v=\([^ ]*\).*/\1/p')\",\
\"cpu\":\"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)\",\"cores\":$(nproc),\
\"memory_gib\":$(awk '/^MemTotal/{printf "%.0f", $2/1048576}' /proc/meminfo),\"kernel\":\"$(uname -r)\",\
\"file_system\":\"$(stat -f -c %T "$work")\",\"date\":\"$(date -u +%FT%TZ)\"}"

singles
for system in cairn etcd redis; do
    [[ ,$only, == *,$system,* ]] || continue
    say "$system: starting three nodes"
    if ! ${system}_up || ! alive ${system}1 || ! alive ${system}2 || ! alive ${system}3; then
        for i in 1 2 3; do [[ -s $work/$system$i.log ]] && say "$system$i: $(last_words "$work/$system$i.log")"; stop $system$i; done
        give_up $system "did not start"
        continue
    fi
    say "$system: $keys keys of $value bytes"
    at=${EPOCHREALTIME/[.,]/}
    if fill $system >"$work/out" 2>"$work/err" || fill $system >"$work/out" 2>"$work/err"; then
        record "{\"row\":\"fill\",\"column\":\"$system\",\"per_second\":$(awk -v n="$keys" \
            -v us=$((${EPOCHREALTIME/[.,]/} - at)) 'BEGIN {printf "%.0f", n * 1e6 / us}')}"
    else
        say "$system: filling failed twice: $(last_words "$work/err"); it goes on with what is there"
    fi
done
record_memory filled
# Where the leaders are decides how much Cairn's nodes share the work.
has cairn && record "{\"row\":\"leaders\",\"column\":\"cairn\",\"slots\":\"$("$probe" leaders "$(address 1)" | tr '\n' ' ')\"}"

has etcd && etcd_restart

columns=(cairn-leader cairn-any etcd-leader etcd-any redis)
# all_rounds WHAT "ROW CLIENTS PIPELINE READ-PERCENT" …
all_rounds() {
    local what=$1 round row i n=${#columns[@]}
    shift
    for ((round = 1; round <= rounds; round++)); do
        say "$what: round $round of $rounds"
        record "{\"row\":\"fsync\",\"round\":$round,\"us\":$("$probe" fsync "$work/fsync" 0.3)}"
        for row; do
            for ((i = 0; i < n; i++)); do # each round begins with another system
                # shellcheck disable=SC2086
                run $round "${columns[(i + round - 1) % n]}" $row
            done
        done
    done
}
# Reads first, then what writes.
all_rounds reads "read-64 64 1 100" "read-256 256 1 100" "read-64x16 64 16 100"
all_rounds writes "write-1 1 1 0" "write-64 64 1 0" "write-256 256 1 0" "write-64x16 64 16 0" "mix-64 64 1 50"
record_memory worked
for system in cairn etcd redis; do has $system && ((kills > 0)) && gap_$system; done

python3 bench/table.py "$results" | tee "build/bench/$stamp.md"
say "the table: build/bench/$stamp.md; each result: $results"
