#!/usr/bin/env bash
# Includes point to the own layer or to one below (CMakeLists.txt, LAYERS), and x_internal.h is for its own layer alone (sim/ may
# look inside what it tests).
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
layers=$(sed -n 's/^set(LAYERS \(.*\))$/\1/p' CMakeLists.txt)
[[ -n $layers ]] || { echo "CMakeLists.txt has no line set(LAYERS …)" >&2; exit 1; }
grep -rnE '^#include "' --include='*.[ch]' --include='*.cc' src sim | awk -v layers="$layers" '
    BEGIN { n = split(layers, name, " "); for (i = 1; i <= n; i++) rank[name[i]] = i }
    {
        split($0, part, ":"); file = part[1]
        split($0, quoted, "\""); header = quoted[2]
        own = file; sub(/^src\//, "", own); sub(/\/.*/, "", own)
        other = header; sub(/\/.*/, "", other)
        if (!(own in rank)) { print file ": its folder is no layer of CMakeLists.txt"; bad++; next }
        if (header !~ /\// || !(other in rank)) { print file ":" part[2] ": \"" header "\" is not written from src/ on"; bad++; next }
        if (rank[other] > rank[own]) { print file ":" part[2] ": " own " must not use " other " (\"" header "\")"; bad++ }
        if (header ~ /_internal\.h$/ && own != other && own != "sim") { print file ":" part[2] ": \"" header "\" is internal to " other; bad++ }
    }
    END { if (bad) exit 1; print "layers: includes only point down" }'
