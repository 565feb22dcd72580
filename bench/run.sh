#!/usr/bin/env bash
# Every comparison and growth table in one go, small enough for minutes on two cores; see docs/performance.md and docs/data-speed.md.
# usage: bench/run.sh (after `make build` and tools/setup_peers.sh)
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
title() { printf '\n== %s\n' "$*"; }

title "training step"
for settings in "mae bf16 32" "mae fp32 32" "simmim bf16 16"; do
  read -r method precision batch <<<"$settings"
  file=bench/results/step_${method}_${precision}.json
  $python bench/compare_step.py --method "$method" --precision "$precision" --batch "$batch" --turns 3 --steps 4 --warmup 2 --json >"$file.new"
  mv "$file.new" "$file"
  $python - "$file" <<'SHOW'
import json, sys
found = json.load(open(sys.argv[1]))
print(f"{found['settings']['method']}, {found['settings']['precision']}, batch {found['settings']['batch']}")
for name, row in found["results"].items():
    print(f"  {name:22} {row['step_ms']:7.0f} ms ({row['step_ms_range'][0]:.0f} to {row['step_ms_range'][1]:.0f})  {row['time_over_ours']:.2f} x ours   "
          f"peak {row['peak_memory_mib']:6.0f} MiB  {row['memory_over_ours']:.2f} x ours")
SHOW
done
title "data"
$python bench/compare_data.py --turns 3 --images 500 --write
title "start-up"
cold=()
if [ -w /proc/sys/vm/drop_caches ]; then cold=(--cold); fi
$python bench/compare_startup.py --turns 5 "${cold[@]}" --write
title "growth of the loader"
$python bench/growth_data.py --turns 3 --write
title "growth of the step"
$python bench/growth_step.py --json bench/results/growth_step.json
