#!/usr/bin/env bash
# sim_mutations.sh [CAIRN]: plants known bugs, one at a time, and shows that the simulator's checks catch each.
# SPDX-License-Identifier: Apache-2.0
# CAIRN is a binary built with CAIRN_MUTATIONS (the preset `mutations`).
set -uo pipefail
cairn=${1:-build/mutations/cairn}
passed=0 failed=0
"$cairn" sim --seeds 40 >/dev/null 2>&1 || { echo "without a planted bug the simulator already fails"; exit 1; }
for bug in reply_before_fsync window_ignored watch_ignored applied_row_late history_not_written watermark_ignored; do
    if "$cairn" sim --seeds 40 --mutation "$bug" >/dev/null 2>&1; then
        echo "not caught: $bug"
        failed=$((failed + 1))
    else
        echo "caught: $bug"
        passed=$((passed + 1))
    fi
done
echo "$passed passed, $failed failed"
exit $((failed != 0))
