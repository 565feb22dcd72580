#!/usr/bin/env bash
# Puts what Lacuna is compared with (transformers, timm) into .venv, beside the torch that is there, and lightly with the
# torchvision it asks for into .venv/lightly, where transformers does not see them. Optional: tests and bench/ that need
# them are skipped without.
set -euo pipefail
cd "$(dirname "$0")/.."
# --no-deps: timm would pull torchvision, and with it another torch.
.venv/bin/pip install -q --no-deps transformers timm 2>&1 | grep -v '^WARNING: Location' || true
.venv/bin/pip install -q huggingface_hub safetensors tokenizers regex pyyaml requests filelock packaging numpy tqdm pillow \
  2>&1 | grep -vE '^WARNING: Location|resolver|requires (torchvision|typer)' || true
.venv/bin/python -c 'import transformers; transformers.ViTMAEForPreTraining' ||
  { echo "setup_peers: transformers can't be imported" >&2; exit 2; }
.venv/bin/pip install -q --no-deps --upgrade --target .venv/lightly lightly lightly_utils torchvision==0.28.0 2>&1 | grep -v '^WARNING: ' || true
