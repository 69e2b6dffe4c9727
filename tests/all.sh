#!/usr/bin/env bash
# all.sh - every test: builds what is needed and runs it, step by step; the last line counts.
# SPDX-License-Identifier: Apache-2.0
#
# A step is one program or one ctest run; its output is in build/test-logs/STEP.log and is shown if it fails.
set -uo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)
logs=build/test-logs
mkdir -p $logs
passed=0 failed=0 failures=()

# Adds up what the log of a ctest run says; a step without that is one test.
count() {
    local log=$1 code=$2 bad total
    if read -r bad total < <(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$log") && [[ -n ${total:-} ]]; then
        passed=$((passed + total - bad)) failed=$((failed + bad))
        ((bad == 0 && code != 0)) && failed=$((failed + 1))
    elif ((code == 0)); then passed=$((passed + 1))
    else failed=$((failed + 1))
    fi
}

step() {
    local name=$1 begin=$SECONDS code=0
    shift
    "$@" >"$logs/$name.log" 2>&1 || code=$?
    count "$logs/$name.log" $code
    if ((code == 0)); then
        printf 'ok      %-28s %4d s\n' "$name" $((SECONDS - begin))
    else
        printf 'FAILED  %-28s %4d s   (all of it: %s)\n' "$name" $((SECONDS - begin)) "$logs/$name.log"
        grep -nE 'error:|FAILED|\*\*\*Failed|Assert|ERROR:|WARNING: ThreadSanitizer|SUMMARY:|not ok' "$logs/$name.log" | head -20 | sed 's/^/        /'
        tail -n 15 "$logs/$name.log" | sed 's/^/        /'
        failures+=("$name")
    fi
    return $code
}

build() {
    local preset=$1 dir=build/$1
    shift
    [[ $preset == release ]] && dir=build
    { [[ -f $dir/build.ninja ]] || cmake --preset "$preset"; } && ninja -C "$dir" -j "$jobs" "$@"
}

# Tests that start threads: what the thread sanitizer is for.
threaded() { find src sim -name '*_test.c' -exec grep -lE 'env_real_thread_new|env_real_loop_run|env_worker_new\(env_real' {} + | xargs -n 1 basename -s .c | sort; }
mutated() { find src sim -name '*_test.c' -exec grep -lE 'mutation_set|CAIRN_MUTATIONS' {} + | xargs -r -n 1 basename -s .c | sort; }
as_regex() { paste -sd'|' | sed 's/^/^(/; s/$/)$/'; }

tsan_tests() { TSAN_OPTIONS=suppressions=$PWD/tests/tsan.supp ctest --test-dir build/tsan --output-on-failure -j "$jobs" -R "$(threaded | as_regex)"; }
mutation_tests() { ctest --test-dir build/mutations --output-on-failure -j "$jobs" -R "$(mutated | as_regex)"; }
sim_seeds() { build/cairn sim --seeds "${CAIRN_SIM_SEEDS:-300}"; }
sim_beyond() { build/cairn sim --beyond-budget --seeds 100; }
raft_traces() {
    local seed files=()
    for seed in 1 2 3 4 5 6; do
        files+=("$logs/raft-trace-$seed.ndjson")
        build/cairn sim --seed "$seed" --profile none --faults kill,cut --raft-trace "${files[-1]}" || return 1
    done
    for seed in 1 2 3 4; do # many elections
        for profile in churn figure8 transfers; do
            files+=("$logs/raft-trace-$profile-$seed.ndjson")
            build/cairn sim --seed "$seed" --profile $profile --raft-trace "${files[-1]}" || return 1
        done
        files+=("$logs/raft-trace-five-$seed.ndjson")
        build/cairn sim --seed "$seed" --nodes 5 --trace-partition 1 --profile repeats --raft-trace "${files[-1]}" || return 1
    done
    tests/raft_trace_check.sh "${files[@]}" || return 1
    rm -f "$logs"/raft-trace-*.ndjson # some 100 MB
}
client_tests() {
    build/cairn local --nodes 1 --port 7390 --dir build/test-clients --fresh >build/test-logs/clients-node.log 2>&1 &
    local cluster=$! code=0
    for _ in $(seq 100); do
        build/cairn query --address 127.0.0.1:7390 --timeout 1s GET ready >/dev/null 2>&1 && break
        sleep 0.2
    done
    (cd tests/clients && CAIRN_PORT=7390 npm test) || code=$?
    kill -TERM $cluster
    wait $cluster
    return $code
}

step layers tests/check_layers.sh
format() { git ls-files -z "*.[ch]" "*.cc" | xargs -0 clang-format --dry-run -Werror; }
step format format
step tidy tests/tidy.sh
step build-release build release && {
    step cli tests/cli_test.sh build/cairn
    build/cairn help sim >/dev/null 2>&1 && {
        step sim sim_seeds
        step sim-beyond-budget sim_beyond
        step raft-trace raft_traces
    }
    [[ -d tests/clients/node_modules ]] && step clients client_tests
    step faults env CI=true tests/faults/run.sh
}
step build-asan build asan && step tests-asan ctest --test-dir build/asan --output-on-failure -j "$jobs"
# shellcheck disable=SC2046
step build-tsan build tsan cairn $(threaded) && {
    step tests-tsan tsan_tests
    step node-tsan tests/smoke.sh build/tsan/cairn
}
# shellcheck disable=SC2046
step build-mutations build mutations cairn $(mutated) && {
    step tests-mutations mutation_tests
    step sim-mutations tests/sim_mutations.sh build/mutations/cairn
}
step build-fuzz build fuzz && step fuzz tests/fuzz.sh "" "${CAIRN_FUZZ_SECONDS:-3}"

((${#failures[@]})) && printf '\nfailed: %s\n' "${failures[*]}"
printf '%d passed, %d failed\n' $passed $failed
exit $((failed != 0))
