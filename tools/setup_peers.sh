#!/usr/bin/env bash
# Puts what Lacuna is compared with into .venv, beside the torch that is there: bench/requirements.txt; and what must not be
# seen by all into folders of their own: bench/requirements-NAME.txt into .venv/NAME (lightly with the torchvision it asks for,
# Pillow-SIMD, DALI). All versions are pinned. Arguments: only these NAMEs (lightly is what tests need). Optional: tests and bench/ that need them are skipped without.
set -euo pipefail
cd "$(dirname "$0")/.."
quietly() { "$@" 2>&1 | grep -vE '^WARNING: (Location|Target directory)|requires (torchvision|typer)' || true; }
# --no-deps: timm would pull torchvision, and with it another torch.
quietly .venv/bin/pip install -q --no-deps -r bench/requirements.txt
.venv/bin/python -c 'import transformers; transformers.ViTMAEForPreTraining' ||
  { echo "setup_peers: transformers can't be imported" >&2; exit 2; }
for list in bench/requirements-*.txt; do
  name=${list#bench/requirements-}
  name=${name%.txt}
  [[ $# == 0 || " $* " == *" $name "* ]] || continue
  cmp -s "$list" ".venv/$name/installed" && continue
  if .venv/bin/pip install -q --no-deps --upgrade --target ".venv/$name" -r "$list" >/dev/null 2>&1; then
    cp "$list" ".venv/$name/installed"
  else
    echo "setup_peers: $name can't be installed here; comparisons leave it out" >&2
  fi
done
