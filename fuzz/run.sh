#!/usr/bin/env bash
# Runs fuzz targets one after the other. usage: fuzz/run.sh SECONDS [TARGET...]
# Corpora grow in build/fuzz/corpus; an input that was answered wrongly stays in build/fuzz/findings and makes this exit 1.
# Replay one with build/fuzz/fuzz/fuzz_TARGET FILE.
set -uo pipefail
cd "$(dirname "$0")/.."
build=build/fuzz
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(safetensors tar idx cifar10 packed toml image tokenizer points)

export OMP_NUM_THREADS=1
export ASAN_OPTIONS=detect_odr_violation=0
$build/fuzz/fuzz_seeds $build/seeds || { echo "fuzz: no seeds written; make build PRESET=fuzz" >&2; exit 2; }
failed=0
for target in "${targets[@]}"; do
  mkdir -p "$build/corpus/$target" "$build/findings/$target"
  if $build/fuzz/fuzz_"$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -max_len=16384 \
      -artifact_prefix="$build/findings/$target/" -print_final_stats=1 \
      "$build/corpus/$target" "$build/seeds/$target" >"$build/$target.log" 2>&1; then
    echo "fuzz $target: no finding in $(sed -n 's/stat::number_of_executed_units: *//p' "$build/$target.log") inputs, $(
      grep -o 'cov: [0-9]*' "$build/$target.log" | tail -1)"
  else
    echo "fuzz $target: FOUND $(grep -m1 -E 'SUMMARY|ERROR' "$build/$target.log"); see $build/$target.log"
    failed=1
  fi
done
exit $failed
