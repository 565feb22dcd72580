#!/usr/bin/env bash
# Pre-trains a small MAE, measures it beside an untrained one, and writes a report. $1: data URI or path.
set -euo pipefail
cd "$(dirname "$0")/.."

data=${1:-synthetic:scenes}
lacuna=build/release/lacuna
recipe=recipes/mae/demo.toml

run=runs/demo
for ((i = 2; ; i++)); do
  [ -e "$run" ] || break
  run=runs/demo-$i
done
random=$run-random

step() { printf '\n== %s\n' "$*"; }

step "1/5  what is in the data"
$lacuna inspect "$data" --limit 1000

step "2/5  pre-training in $run (Ctrl-C stops with a checkpoint; lacuna pretrain --out $run --resume continues)"
$lacuna pretrain "$recipe" --data "$data" --out "$run"

step "3/5  the honest baseline: the same network, untrained"
$lacuna pretrain "$recipe" --data "$data" --out "$random" --set train.steps=0

step "4/5  k-NN and linear probe, both networks"
labelled=$($lacuna inspect "$data" --limit 100 --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["classes"]))')
if [ "$labelled" -gt 1 ]; then
  for weights in "$run" "$random"; do
    for protocol in knn linear; do
      $lacuna eval $protocol "$weights" --data "$data" --set eval.pool=avg --json >/dev/null
    done
  done
else
  echo "the data carry no labels (no class folders): only the reconstruction is judged"
fi

step "5/5  report"
$lacuna preview "$run" --out "$run/preview.png"
$lacuna report "$run" "$random" --out "$run/report.html"
python3 tools/demo_summary.py "$run" "$random"
