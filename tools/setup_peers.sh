#!/usr/bin/env bash
# Puts what Lacuna is compared with into .venv, beside the torch that is there: bench/requirements.txt, and lightly with its
# torchvision into .venv/lightly, where transformers does not see them, Pillow-SIMD into .venv/pillow-simd. All versions are
# pinned. Optional: tests and bench/ that need them are skipped without.
set -euo pipefail
cd "$(dirname "$0")/.."
quietly() { "$@" 2>&1 | grep -vE '^WARNING: (Location|Target directory)|requires (torchvision|typer)' || true; }
quietly .venv/bin/pip install -q --no-deps -r bench/requirements.txt
.venv/bin/python -c 'import transformers; transformers.ViTMAEForPreTraining' ||
  { echo "setup_peers: transformers can't be imported" >&2; exit 2; }
quietly .venv/bin/pip install -q --no-deps --target .venv/lightly -r bench/requirements-torchvision.txt
# Built from source; comparisons leave it out where that fails.
[ -e .venv/pillow-simd/PIL ] ||
  .venv/bin/pip install -q --no-deps --target .venv/pillow-simd -r bench/requirements-pillow-simd.txt 2>/dev/null ||
  echo "setup_peers: Pillow-SIMD can't be built here; comparisons leave it out" >&2
