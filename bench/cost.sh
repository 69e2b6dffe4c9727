#!/usr/bin/env bash
# cost.sh - what one write and one read cost, stage by stage: processor time of three nodes under load, by `perf`.
# SPDX-License-Identifier: Apache-2.0
#
#   bench/cost.sh [--keys N] [--clients N] [--seconds S] [--port P]
#
# Needs perf (packages linux-perf) and the right to use it. cost.py says which functions a stage has. The samples stay in
# build/bench/cost-*.perf, flame graphs in build/bench/cost-*.svg.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
keys=1000000 clients=64 seconds=5 port=17600
while (($# > 0)); do
    case $1 in
    --keys) keys=$2 ;;
    --clients) clients=$2 ;;
    --seconds) seconds=$2 ;;
    --port) port=$2 ;;
    *) sed -n '5,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done
for tool in perf python3; do
    type -P $tool >/dev/null || { echo "cost.sh: $tool is not installed (package linux-perf, python3)" >&2; exit 1; }
done
mkdir -p build/bench
work=$(realpath "$(mktemp -d build/bench/cost.XXXXXX)")
addresses=127.0.0.1:$port,127.0.0.1:$((port + 1)),127.0.0.1:$((port + 2))
build/cairn local --nodes 3 --port "$port" --dir "$work" --fresh >"$work/local.log" 2>&1 &
cluster=$!
trap 'kill -TERM $cluster 2>/dev/null; wait $cluster; rm -rf "$work"' EXIT
for ((i = 0; i < 100; i++)); do
    grep -q 'nodes ready' "$work/local.log" && break
    sleep 0.1
done
nodes=$(pgrep -P $cluster | paste -sd,)
bench() { build/cairn bench --address "$addresses" --route leader --keys "$keys" --value-size 256 --clients "$clients" --quiet "$@"; }
build/cairn bench --address "$addresses" --route map --fill --keys "$keys" --value-size 256 --clients 16 --requests 1 --quiet >/dev/null || exit 1
sleep 5 # what filling left behind
uname -sr
grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: //; s/^/2 or more of: /'
for kind in write read; do
    percent=$([[ $kind == read ]] && echo 100 || echo 0)
    bench --read-percent $percent --duration "$((seconds + 2))s" --json >"$work/$kind.json" &
    load=$!
    sleep 1
    perf record -q -F 1999 -g -p "$nodes" -o "build/bench/cost-$kind.perf" -- sleep "$seconds" >/dev/null 2>&1
    wait $load
    echo
    perf script -i "build/bench/cost-$kind.perf" -F comm,pid,ip,sym,dso 2>/dev/null |
        python3 bench/cost.py $kind "$seconds" 1999 "$work/$kind.json" "build/bench/cost-$kind.svg"
done
