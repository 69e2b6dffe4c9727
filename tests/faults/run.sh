#!/usr/bin/env bash
# run.sh [NAME …]: breaks real clusters, a scenario after the other, and prints a line for each. CI=true: short times.
# BUILD: the build directory, else build/. FAULTS_KEEP=1 keeps the files of each run. On a machine that is busy with other
# things give it all a fixed priority, 'chrt -r 1 tests/faults/run.sh': elections of nodes that get no time prove nothing.
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
cd "$(dirname "$0")" || exit 2
all=(kill pause cut disk_full power sync_error failover bad_input large_value large copies stop)
names=("$@")
((${#names[@]})) || names=("${all[@]}")
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for name in "${names[@]}"; do
    if [[ ! -f $name.sh || $name == run || $name == lib ]]; then
        echo "run.sh: no scenario '$name'; there are: ${all[*]}" >&2
        exit 2
    fi
    SECONDS=0
    bash "$name.sh" >"$out" 2>&1
    code=$?
    result=$(sed -nE 's/^RESULT (pass|skip|fail) //p' "$out" | tail -1)
    case $code in
    0) word=ok passed=$((passed + 1)) ;;
    77) word=SKIP skipped=$((skipped + 1)) ;;
    *) word=FAILED failed=$((failed + 1)) ;;
    esac
    printf '%-7s %-10s %3d s  %s\n' "$word" "$name" "$SECONDS" "${result:-ended with $code}"
    if ((code != 0 && code != 77)); then grep -v '^RESULT' "$out"; else grep '^    ' "$out"; fi
done
((skipped)) && echo "$skipped skipped"
echo "$passed passed, $failed failed"
exit $((failed != 0))
