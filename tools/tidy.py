#!/usr/bin/env python3
"""clang-tidy over the sources, in parallel, with the precompiled header of build/release, which clang-16 must have built.

usage: tools/tidy.py [FILE...]     (default: every lacuna/**/*.cpp)

A file that passed is not looked at again until it, one of our headers that it includes, or the checks change: a run that was
interrupted goes on where it stopped. Checks by AST matchers walk all of torch.h, 13 s a file on top of 6 (one busy core), so
they run on the files that do without torch; the analyzer, which follows our own functions alone, runs on all. What matchers
would find besides (unused parameters, needless moves, copies in loops, missing overrides) are warnings of the build.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/release"
PASSED = ROOT / "build/lint.json"
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
            includes[current[0]] = current
    return includes


def fingerprint(files):
    digest = hashlib.sha256()
    for path in [ROOT / ".clang-tidy", pathlib.Path(__file__), *map(pathlib.Path, sorted(files))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check(entry):
    options = SHALLOW + ([MATCHERS_OFF] if "-include-pch" in entry["command"] else [])
    done = subprocess.run(["clang-tidy-16", "-p", BUILD, "--quiet", "--warnings-as-errors=*", *options, entry["file"]],
                          capture_output=True, text=True, cwd=ROOT)
    return done.returncode == 0, (done.stdout if done.stdout.strip() else done.stderr).strip()


def main():
    wanted = [str((ROOT / name).resolve()) for name in sys.argv[1:]]
    database = json.loads((BUILD / "compile_commands.json").read_text())
    entries = [e for e in database if (e["file"] in wanted if wanted else e["file"].startswith(f"{ROOT}/lacuna/"))]
    includes = own_includes()
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
