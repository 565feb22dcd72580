#!/usr/bin/env python3
"""How the time and memory of one training step grow with image size, batch, depth, mask ratio, cores and processes.

From one base (MAE: ViT-Ti 192 x 12, decoder 192 x 4, 112 px, batch 16) each knob is turned alone, in turns, so that a slow
minute of the machine hits all of them. Prints for each setting the median step, the peak memory above the program at rest
(a run with one picture of 32 px), and the growth: the exponent g of time ~ knob^g between neighbours (1: in proportion).
Two processes: two at once on a core each, beside one process on both cores; what counts is pictures a second.

usage: growth_step.py [--method mae] [--turns 3] [--steps 4] [--precision fp32|bf16] [--only batch,depth] [--json FILE]
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = {"encoder.arch": "vit", "encoder.patch_size": 16, "encoder.embed_dim": 192, "encoder.num_heads": 3, "encoder.depth": 12,
        "decoder.embed_dim": 192, "decoder.num_heads": 3, "decoder.depth": 4, "encoder.img_size": 112, "train.batch_size": 16,
        "mask.ratio": 0.75}
KNOBS = {"image size": ("encoder.img_size", [80, 112, 160, 224]), "batch": ("train.batch_size", [4, 8, 16, 32]),
         "depth": ("encoder.depth", [3, 6, 12, 24]), "mask ratio": ("mask.ratio", [0.25, 0.5, 0.75, 0.9])}


def start(options, changes, threads):
    settings = {**BASE, "train.precision": options.precision, **changes}
    command = [options.program, "bench", "step", options.method, "--json", "--runs", str(options.steps), "--warmup", "1"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": str(threads)})


def finish(process):
    out, problem = process.communicate()
    if process.returncode:
        raise SystemExit(problem.strip())
    result = json.loads(out)
    return {"seconds": result["step_s"]["median"], "mib": result["peak_memory_mib"]}


def run(options, changes, threads, processes=1):
    results = [finish(process) for process in [start(options, changes, threads) for _ in range(processes)]]
    return {"seconds": max(result["seconds"] for result in results), "mib": sum(result["mib"] for result in results)}


def wanted_runs(options, cores):
    """(knob, value) -> (changes, threads, processes)"""
    runs = {("rest", 0): ({"encoder.img_size": 32, "train.batch_size": 1}, 1, 1)}
    for knob, (key, values) in KNOBS.items():
        runs.update({(knob, value): ({key: value}, cores, 1) for value in values})
    runs.update({("cores", threads): ({}, threads, 1) for threads in range(1, cores + 1)})
    half = {"train.batch_size": BASE["train.batch_size"] // cores}
    runs.update({("processes", 1): ({}, cores, 1), ("processes", cores): (half, 1, cores)})
    chosen = options.only.split(",") if options.only else None
    return {name: how for name, how in runs.items() if chosen is None or name[0] in [*chosen, "rest"]}


def table(results):
    rest = results["rest", 0]["mib"]
    rows, before = [], {}
    for (knob, value), result in results.items():
        if knob == "rest":
            continue
        row = {"knob": knob, "value": value, "step_ms": result["seconds"] * 1e3, "mib_above_rest": result["mib"] - rest}
        if knob in before:
            last = before[knob]
            row["growth"] = math.log(row["step_ms"] / last["step_ms"]) / math.log(value / last["value"])
        before[knob] = row
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="mae")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--only", default="", help="knobs, separated by commas")
    parser.add_argument("--program", default=str(ROOT / "build/release/lacuna"))
    parser.add_argument("--json", default="", help="also write the rows here")
    options = parser.parse_args()
    runs = wanted_runs(options, len(os.sched_getaffinity(0)))
    turns = {name: [] for name in runs}
    for number in range(options.turns):
        for name, how in runs.items():
            turns[name].append(run(options, *how))
            print(f"turn {number + 1}: {name[0]} {name[1]}: {turns[name][-1]['seconds'] * 1e3:.0f} ms", file=sys.stderr)
    rows = table({name: {key: statistics.median(turn[key] for turn in got) for key in ("seconds", "mib")}
                  for name, got in turns.items()})
    print(f"{'knob':12}{'value':>7}{'step ms':>10}{'MiB above rest':>16}{'growth':>8}")
    for row in rows:
        growth = f"{row['growth']:8.2f}" if "growth" in row else ""
        print(f"{row['knob']:12}{row['value']:7}{row['step_ms']:10.0f}{row['mib_above_rest']:16.0f}{growth}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"settings": BASE, "precision": options.precision, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
