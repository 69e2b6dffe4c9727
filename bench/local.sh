#!/usr/bin/env bash
# local.sh - throughput and latency of one node on this machine, beside the program that measures: figures to compare with
# earlier ones of the same machine, no more. CLIENTS, SECONDS_EACH and VALUE change what is measured.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
clients=${CLIENTS:-50} each=${SECONDS_EACH:-5} value=${VALUE:-64} port=7391
work=$(mktemp -d build/bench.XXXXXX)
build/cairn serve --listen 127.0.0.1:$port --data "$work/data" --log-level warn >"$work/log" 2>&1 &
node=$!
trap 'kill -TERM $node 2>/dev/null; wait $node; rm -rf "$work"' EXIT
until build/cairn query --address 127.0.0.1:$port GET x >/dev/null 2>&1; do
    kill -0 $node || { cat "$work/log"; exit 1; }
    sleep 0.05
done
run() {
    printf '\n== %s\n' "$1"
    shift
    build/cairn bench --address 127.0.0.1:$port --clients "$clients" --value-size "$value" --duration "${each}s" --quiet "$@"
}
run "fill, then reads" --fill --read-percent 100
run "reads, 16 pipelined" --read-percent 100 --pipeline 16
run "writes" --read-percent 0
run "writes, 16 pipelined" --read-percent 0 --pipeline 16
run "half and half, 2,000 a second by the clock" --rate 2000
