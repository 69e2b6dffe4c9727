#!/usr/bin/env bash
# tidy.sh - clang-tidy over the tree, with the checks of .clang-tidy. Without findings it is silent and ends with 0.
# SPDX-License-Identifier: Apache-2.0
#
# A file that was clean is not looked at again until it, a header or the checks change (build/tidy/ remembers). Not asked of
# tests and measuring programs: the analyzer, which does not know that cmocka's assertions end a test; checks about numbers
# and commands of others, as they have only their own; names of parameters, as they stand in for libc. Of the rest the
# analyzer follows at most 40,000 states a function: with its default, 225,000, the whole tree takes more than ten minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
seen=build/tidy
mkdir -p $seen
[[ -f build/clang/compile_commands.json ]] || cmake --preset clang >/dev/null
common=$({ clang-tidy --version; cat .clang-tidy tests/tidy.sh; git ls-files '*.h' | xargs cat; } | sha256sum)

look() {
    local file checks='' key
    for file; do
        key=$seen/$({ echo "$common" "$file"; cat "$file"; } | sha256sum | cut -c1-40)
        [[ -e $key ]] && continue
        [[ $file =~ (_test|_fuzz|_test_util|/testing/.*)\.c$ || $file == tests/* || $file == bench/* ]] &&
            checks=-clang-analyzer-*,-cert-err34-c,-cert-env33-c,-readability-inconsistent-declaration-parameter-name || checks=
        clang-tidy -p build/clang --quiet ${checks:+"--checks=$checks"} --extra-arg=-Xclang --extra-arg=-analyzer-config \
            --extra-arg=-Xclang --extra-arg=max-nodes=40000 "$file" 2> >(grep -v 'warnings\? .*generated\|^Suppressed\|^Use -header' >&2) || return 1
        touch "$key"
    done
}
export -f look
export common seen
git ls-files 'src/*.c' 'sim/*.c' 'bench/*.c' 'tests/*.c' | xargs -n 1 -P "${JOBS:-$(nproc)}" bash -c 'look "$@"' look
