#!/usr/bin/env bash
# fuzz.sh NAME SECONDS: runs the fuzz targets whose name has NAME in it, each for as long. What they find beyond the corpus of
# the tree is kept under build/, a fault is left there as crash-….
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-} seconds=${2:-5} found=0
while read -r source; do
    target=$(basename "$source" .c)
    [[ $target == *"$name"* ]] || continue
    found=1
    corpus=$(dirname "$source")/testdata/${target%_fuzz}_corpus
    work=build/fuzz-corpus/$target
    mkdir -p "$work"
    echo "== $target"
    [[ -d $corpus ]] || corpus=
    # shellcheck disable=SC2086
    build/fuzz/"$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=0 -verbosity=0 \
        -artifact_prefix="$work/" "$work" $corpus
done < <(find src sim -name '*_fuzz.c' | sort)
((found)) || { echo "no fuzz target has '$name' in its name" >&2; exit 1; }
