#!/usr/bin/env bash
# Does the tree compile against another LibTorch (a CUDA wheel, an older one), without linking it? $1: an unpacked torch
# wheel; JOBS: how many compilers at once. Runs every command of build/release with -fsyntax-only and that wheel's headers.
set -euo pipefail
cd "$(dirname "$0")/.."
wheel=$(realpath "${1:?usage: tools/check_headers.sh FOLDER (an unpacked torch wheel)}")
[ -e "$wheel/torch/include/torch/csrc/api/include/torch/torch.h" ] ||
  { echo "check_headers: no torch/include/torch in $wheel" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp build/release/CMakeFiles/lacuna.dir/cmake_pch.hxx* "$work"
rm -f "$work"/*.gch*
python3 - "$wheel/torch/include" "$work" > "$work/commands" <<'PYTHON'
import json, re, sys

headers, work = sys.argv[1:]
for entry in json.load(open("build/release/compile_commands.json")):
    command = re.sub(r"\S+/torch/include", headers, entry["command"].replace("-fpch-preprocess", ""))
    command = re.sub(r"\S*CMakeFiles/lacuna.dir/cmake_pch", f"{work}/cmake_pch", command)
    if "-x c++-header" not in command:
        command = re.sub(r"-o \S+ -c", "-fsyntax-only", command)
    print(command)
PYTHON
bash -c "$(grep -e '-x c++-header' "$work/commands")"
grep -v -e '-x c++-header' "$work/commands" | tr '\n' '\0' | xargs -0 -P "${JOBS:-$(nproc)}" -I{} bash -c '{}'
echo "$(grep -vc -e '-x c++-header' "$work/commands") sources compile against $wheel"
