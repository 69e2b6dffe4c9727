#!/usr/bin/env bash
# sim_mutations.sh [CAIRN]: plants known bugs, one at a time, and shows that the simulator's checks catch each.
# SPDX-License-Identifier: Apache-2.0
# CAIRN is a binary built with CAIRN_MUTATIONS (the preset `mutations`). Per bug: the profile, and how many seeds at most; each
# run ends at the first that fails. An honest run of the same profiles and seeds has to pass.
set -uo pipefail
cairn=${1:-build/mutations/cairn}
passed=0 failed=0
declare -A most=()
bugs='
reply_before_fsync          none       10
window_ignored              none       10
watch_ignored               none       10
applied_row_late            none       10
history_not_written         none       40
watermark_ignored           none       40
lease_from_reply_time       leases     30
stale_read_index            leases     30
no_silence_after_restart    restarts   20
limit_not_in_votes          clocks     20
expired_key_served          expiry     10
vote_not_persisted_first    elections  10
vote_counted_twice          repeats    10
lease_kept_in_transfer      transfers  10
truncate_damage_silently    damage     10
suspect_votes_freely        damage     10
recovery_without_sync       power      30
append_ack_before_sync      power      30
applied_apart_from_data     power      30
skip_dir_sync               power      30
lease_read_before_own_term  caches     40
clean_wrong_incarnation     hashes     5
absent_has_no_version       watches    5
forgotten_taken_for_new     copies     30
lease_by_old_clock          pauses     10
commit_old_term_by_count    figure8    20
'
while read -r bug profile seeds; do
    [[ -z $bug ]] && continue
    ((seeds > ${most[$profile]:-0})) && most[$profile]=$seeds
    seed=$("$cairn" sim --profile "$profile" --seeds "$seeds" --first --mutation "$bug" 2>&1 | grep -aoE 'seed=[0-9]+' | head -1)
    if [[ -z $seed ]]; then
        echo "not caught in $seeds seeds of profile $profile: $bug"
        failed=$((failed + 1))
    else
        echo "caught: $bug, profile $profile, $seed"
        passed=$((passed + 1))
    fi
done <<<"$bugs"
for profile in "${!most[@]}"; do
    if "$cairn" sim --profile "$profile" --seeds "${most[$profile]}" >/dev/null 2>&1; then
        passed=$((passed + 1))
    else
        echo "without a planted bug ${most[$profile]} seeds of profile $profile already fail"
        failed=$((failed + 1))
    fi
done
# The judge of raft traces, too, has to notice a vote counted twice, in a group of five, and nothing where there is nothing.
traces=$(mktemp -d)
for bug in vote_counted_twice none; do
    judged=fits
    for seed in 1 2 3; do
        "$cairn" sim --seed $seed --nodes 5 --trace-partition 1 --profile repeats --mutation $bug --raft-trace "$traces/t" >/dev/null 2>&1
        "$(dirname "$0")/raft_trace_check.sh" "$traces/t" >"$traces/said" 2>&1 || judged=$(grep -o 'was not elected' "$traces/said" || echo broken)
    done
    if [[ $bug == none && $judged == fits || $bug != none && $judged == 'was not elected' ]]; then
        passed=$((passed + 1))
    else
        echo "raft traces with planted bug $bug: $judged"
        failed=$((failed + 1))
    fi
done
rm -r "$traces"
echo "$passed passed, $failed failed"
exit $((failed != 0))
