#!/usr/bin/env bash
# Trains a small network for many epochs and watches the program's memory: after the first minutes it must not grow.
# usage: tools/soak.sh [MINUTES] [OUT]   prints a line a minute and, at the end, the growth over the last two thirds
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-30} out=${2:-$(mktemp -d)/run}
build/release/lacuna pretrain mae --data "synthetic:scenes?count=2000&size=48" --out "$out" --set train.steps=100000000 \
  --set encoder.arch=vit --set encoder.img_size=32 --set encoder.patch_size=8 --set encoder.embed_dim=32 --set encoder.depth=2 \
  --set encoder.num_heads=2 --set decoder.embed_dim=32 --set decoder.depth=1 --set decoder.num_heads=2 --set train.batch_size=32 \
  --set train.checkpoint_every=500 --set health.every=1000 --set health.preview_every=2000 2>"$out.log" >&2 &
program=$!
trap 'kill $program 2>/dev/null || true' EXIT
resident=()
for ((minute = 1; minute <= minutes; ++minute)); do
  sleep 60
  kill -0 $program || { echo "soak: the program ended; see $out.log" >&2; exit 1; }
  resident+=("$(awk '/^VmRSS/ {print $2}' /proc/$program/status)")
  echo "minute $minute: step $(tail -1 "$out/metrics.jsonl" | grep -oP '"step":\K[0-9]+'), $((resident[-1] / 1024)) MiB"
done
kill -TERM $program
wait $program || [ $? = 130 ]
trap - EXIT
first=${resident[minutes / 3]} last=${resident[-1]}
echo "growth over the last two thirds: $(((last - first) / 1024)) MiB of $((last / 1024))"
[ $((last - first)) -lt $((first / 50)) ] || { echo "soak: memory grew by more than 2 %" >&2; exit 1; }
