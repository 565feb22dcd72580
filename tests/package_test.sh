#!/usr/bin/env bash
# Installs the build into a temporary prefix, builds examples/own-method against it with find_package, and trains with it.
# usage: package_test.sh BUILD TORCH_CMAKE_PREFIX
set -euo pipefail
build=$1 torch=$2
example=$(realpath "$(dirname "$0")/../examples/own-method")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
check() { printf '%-60s' "$1"; shift; if "$@"; then echo ok; else echo FAILED; exit 1; fi; }

cmake --install "$build" --prefix "$work/prefix" >/dev/null
unset LD_LIBRARY_PATH
check "no header of the command line is installed" test ! -e "$work/prefix/include/lacuna/cli"
check "the installed program runs and finds its recipes" bash -c \
  "'$work/prefix/bin/lacuna' list recipes --json | grep -q '$work/prefix/share/lacuna/recipes/mae/demo.toml'"

# Hidden symbols, as extension modules have them: the method must be known to the library all the same.
cmake -S "$example" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_VISIBILITY_PRESET=hidden "-DCMAKE_PREFIX_PATH=$work/prefix;$torch" >"$work/log" 2>&1 &&
  cmake --build "$work/build" >>"$work/log" 2>&1 || { cat "$work/log"; echo "the example does not build"; exit 1; }
"$work/build/own_method" "$work/run" "data.uri=synthetic:scenes?count=240&size=32" encoder.arch=vit encoder.img_size=32 \
  encoder.patch_size=8 encoder.embed_dim=32 encoder.depth=1 encoder.num_heads=2 decoder.embed_dim=32 decoder.depth=1 \
  decoder.num_heads=2 loss.norm_pix=false train.batch_size=32 train.steps=100 \
  train.warmup_epochs=1 train.base_lr=1e-2 train.log_every=1 health.samples=32 2>"$work/log" || { cat "$work/log"; exit 1; }
python3 - "$work/run/metrics.jsonl" <<'PYTHON'
import json, math, sys

losses = [line["loss"] for line in map(json.loads, open(sys.argv[1])) if "lr" in line]
first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
print(f"{len(losses)} steps, loss {first:.3f} -> {last:.3f}")
assert len(losses) == 100 and all(map(math.isfinite, losses)), losses
assert last < 0.8 * first, (first, last)
PYTHON
check "a wrong key is refused with exit code 2" bash -c \
  "'$work/build/own_method' '$work/other' encoder.dpeth=3 2>&1 | grep -q \"did you mean 'encoder.depth'\""
