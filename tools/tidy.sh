#!/usr/bin/env bash
# clang-tidy over every source file, in parallel; needs a configured build/release. clang does not read GCC's precompiled
# headers, so the compile commands are given without them.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed -E 's/-Winvalid-pch -include [^ ]+cmake_pch\.hxx//; s/-fpch-preprocess//' build/release/compile_commands.json \
  > "$work/compile_commands.json"
git ls-files 'lacuna/*.cpp' | xargs -P "$(nproc)" -n 1 clang-tidy-15 -p "$work" --quiet --warnings-as-errors='*'
