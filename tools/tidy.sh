#!/usr/bin/env bash
# clang-tidy over every source file, in parallel; reads the precompiled header of build/release, which clang-16 must have built.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files 'lacuna/*.cpp' | xargs -P "$(nproc)" -n 1 clang-tidy-16 -p build/release --quiet --warnings-as-errors='*'
