#!/usr/bin/env bash
# Installs what a fresh Debian 12 machine lacks. Says nothing and takes no time when all of it is there.
set -euo pipefail
cd "$(dirname "$0")/.."

torch=torch==2.13.0
# SETUP_EXTRA: packages that only some checks need, as `make setup SETUP_EXTRA=libclang-rt-16-dev`.
packages=(${SETUP_EXTRA:-} cmake ninja-build ccache g++ clang-16 python3-venv python3-dev libjpeg62-turbo-dev libpng-dev libtiff-dev zlib1g-dev libsndfile1-dev libsoxr-dev
          libavformat-dev libavcodec-dev libswscale-dev libavutil-dev pkg-config libzip-dev libicu-dev libpcre2-dev libsentencepiece-dev libzstd-dev
          nlohmann-json3-dev libtomlplusplus-dev libcli11-dev libgtest-dev libgmock-dev libgloo-dev)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  sudo=()
  if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# LibTorch comes in the wheel; PIP_ARGS may name an index that holds the CPU build.
installed=$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null || true)
if [ -z "$installed" ]; then
  echo "setup: installing $torch into .venv"
  python3 -m venv .venv
  .venv/bin/pip install -q ${PIP_ARGS:-} "$torch" 2>&1 | grep -v '^WARNING: Location' || true
  .venv/bin/python -c 'import importlib.metadata as m; m.version("torch")' ||
    { echo "setup: $torch could not be installed into .venv; try again, or pass PIP_ARGS" >&2; exit 2; }
fi
