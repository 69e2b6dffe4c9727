#!/usr/bin/env bash
# open_loop.sh - latency at given rates: requests start by the clock whatever the answers do, so no waiting is left out.
# SPDX-License-Identifier: Apache-2.0
#
#   bench/open_loop.sh [--keys N] [--seconds S] [--port P] [--writes "RATE …"] [--reads "RATE …"] [--mixed "RATE …"]
#
# Three nodes with default settings on this machine, 64 connections, values of 256 bytes, each key at its leader. A rate
# that could not be kept is said: then the latencies are those of a queue that grows.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
keys=1000000 seconds=10 port=17700 writes="1000 4000 8000 12000" reads="5000 20000 40000" mixed="4000 12000"
while (($# > 0)); do
    case $1 in
    --keys) keys=$2 ;;
    --seconds) seconds=$2 ;;
    --port) port=$2 ;;
    --writes) writes=$2 ;;
    --reads) reads=$2 ;;
    --mixed) mixed=$2 ;;
    *) sed -n '5p' "$0" | sed 's/^# *//' >&2; exit 2 ;;
    esac
    shift 2
done
type -P python3 >/dev/null || { echo "open_loop.sh: python3 is not installed" >&2; exit 1; }
mkdir -p build/bench
work=$(realpath "$(mktemp -d build/bench/open.XXXXXX)")
addresses=127.0.0.1:$port,127.0.0.1:$((port + 1)),127.0.0.1:$((port + 2))
build/cairn local --nodes 3 --port "$port" --dir "$work" --fresh >"$work/local.log" 2>&1 &
cluster=$!
trap 'kill -TERM $cluster 2>/dev/null; wait $cluster; rm -rf "$work"' EXIT
for ((i = 0; i < 150; i++)); do
    grep -q 'nodes ready' "$work/local.log" && break
    sleep 0.1
done
bench() { build/cairn bench --address "$addresses" --keys "$keys" --value-size 256 --quiet "$@"; }
bench --route map --fill --clients 16 --requests 1 >/dev/null || exit 1
sleep 5 # what filling left behind

row() { # NAME READ_PERCENT RATE
    bench --route leader --clients 64 --read-percent "$2" --rate "$3" --duration "${seconds}s" --json >"$work/out.json" || return
    python3 - "$1" "$3" "$work/out.json" <<'EOF'
import json, sys
name, wanted, path = sys.argv[1], float(sys.argv[2]), sys.argv[3]
a = json.load(open(path))["all"]
kept = "" if a["per_second"] > 0.98 * wanted else " (not kept)"
ms = lambda k: f'{a[k] / 1000:.2f}'
print(f'| {name} | {wanted:,.0f} | {a["per_second"]:,.0f}{kept} | {ms("p50_us")} | {ms("p90_us")} | {ms("p99_us")} | {ms("p999_us")} | {ms("max_us")} |')
EOF
}
echo "| | wanted a second | answered a second | p50 ms | p90 ms | p99 ms | p99.9 ms | longest ms |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
for rate in $reads; do row reads 100 "$rate"; done
for rate in $mixed; do row "half and half" 50 "$rate"; done
for rate in $writes; do row writes 0 "$rate"; done
