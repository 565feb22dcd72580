#!/usr/bin/env python3
"""clang-tidy over the sources, in parallel, with the precompiled header of build/release, which clang-16 must have built.

usage: tools/tidy.py [FILE...]     (default: every lacuna/**/*.cpp)

A file that passed is not looked at again until it, one of our headers that it includes, or the checks change: a run that was
interrupted goes on where it stopped. Checks by AST matchers walk all of LibTorch's headers, 16 s a file on top of 8 (one core), so
they run on the files that do without them, behind no precompiled header; the analyzer, which follows our own functions alone,
runs on all. What matchers would find besides (unused parameters, needless moves, copies in loops, missing overrides) are
warnings of the build.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/release"
PASSED = ROOT / "build/lint.json"
DATABASE = ROOT / "build/lint"  # the build's commands, without the precompiled header where a file does without torch
TORCH = re.compile(r"^#include [<\"](torch|ATen|c10|lacuna/core/torch\.h)", re.MULTILINE)
MATCHERS_OFF = "--checks=-bugprone-*,-performance-*,-modernize-*,-misc-*"
SHALLOW = ["--extra-arg=" + part for part in ("-Xclang", "-analyzer-config", "-Xclang", "mode=shallow")]


def own_includes():
    """Source -> our files that it includes, as the build recorded them."""
    includes = {}
    lines = subprocess.run(["ninja", "-C", BUILD, "-t", "deps"], capture_output=True, text=True, check=True).stdout.splitlines()
    for line in lines:
        path = line.strip()
        if not line.startswith(" "):
            current = []
        elif path.startswith(f"{ROOT}/lacuna/"):
            current.append(path)
            if path.endswith(".cpp"):
                includes[path] = current
    return includes


def fingerprint(files):
    digest = hashlib.sha256()
    for path in [ROOT / ".clang-tidy", pathlib.Path(__file__), *map(pathlib.Path, sorted(files))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def without_pch(command):
    words, out = shlex.split(command), []
    while words:
        if words[0] == "-Xclang" and words[1] in ("-include-pch", "-include"):
            words = words[4:]  # -Xclang -include-pch -Xclang FILE
        else:
            out.append(words.pop(0))
    return shlex.join(word for word in out if word != "-Winvalid-pch")


def write_database(entries, includes):
    """Marks the entries that do without torch."""
    for entry in entries:
        files = (pathlib.Path(path) for path in includes.get(entry["file"], [entry["file"]]))
        entry["plain"] = not any(TORCH.search(path.read_text()) for path in files if path.name != "torch.h")  # which is in all
    DATABASE.mkdir(exist_ok=True)
    commands = [{**{key: entry[key] for key in ("directory", "file")},
                 "command": without_pch(entry["command"]) if entry["plain"] else entry["command"]} for entry in entries]
    (DATABASE / "compile_commands.json").write_text(json.dumps(commands))


def check(entry):
    options = SHALLOW + ([] if entry["plain"] else [MATCHERS_OFF])
    done = subprocess.run(["clang-tidy-16", "-p", DATABASE, "--quiet", "--warnings-as-errors=*", *options, entry["file"]],
                          capture_output=True, text=True, cwd=ROOT)
    return done.returncode == 0, (done.stdout if done.stdout.strip() else done.stderr).strip()


def main():
    wanted = [str((ROOT / name).resolve()) for name in sys.argv[1:]]
    database = json.loads((BUILD / "compile_commands.json").read_text())
    entries = [e for e in database if (e["file"] in wanted if wanted else e["file"].startswith(f"{ROOT}/lacuna/"))]
    includes = own_includes()
    write_database(entries, includes)
    keys = {e["file"]: fingerprint(includes.get(e["file"], [e["file"]])) for e in entries}
    passed = json.loads(PASSED.read_text()) if PASSED.exists() else {}
    left = [e for e in entries if passed.get(e["file"]) != keys[e["file"]]]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", os.cpu_count()))) as pool:
        for entry, (good, text) in zip(left, pool.map(check, left)):
            if good:
                passed[entry["file"]] = keys[entry["file"]]
                PASSED.write_text(json.dumps(passed))
            else:
                failed += 1
                print(text)
    print(f"tidy: {len(entries) - failed} of {len(entries)} files pass ({len(entries) - len(left)} unchanged since they did)")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
