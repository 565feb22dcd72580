#!/usr/bin/env python3
"""How the loader grows: images a second against workers (1, 2, ...) and image size, from JPEGs and from a packed file.

usage: growth_data.py [--turns 3] [--workers 1,2] [--folder /tmp/lacuna-bench] [--write]     (--write: bench/results/growth_data.json)
"""
import argparse
import pathlib
import subprocess
import sys

from contest import ROOT, median_and_range, run_json, take_turns, write_results

SIZES = [64, 112, 224, 448]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/lacuna-bench"))
    parser.add_argument("--program", default=str(ROOT / "build/release/lacuna"))
    parser.add_argument("--write", action="store_true", help="bench/results/growth_data.json")
    return parser.parse_args()


def turn(options, data, side, workers):
    keys = [f"encoder.img_size={side}", "encoder.patch_size=16", "encoder.arch=vit_tiny", "encoder.depth=1", "encoder.in_chans=3", f"data.mean={MEAN}",
            f"data.std={STD}", "train.batch_size=32", f"train.workers={workers}", "augment.scaled_decode=false"]
    return run_json([options.program, "bench", "data", "mae", "--data", data, "--json", "--runs", str(options.batches), "--warmup", "4",
                     *(part for key in keys for part in ("--set", key))])


def main():
    options = arguments()
    subprocess.run([sys.executable, ROOT / "bench/make_jpegs.py", options.folder], check=True)
    photos, pack = options.folder / "photos", options.folder / "photos.pack"
    if not pack.exists():
        subprocess.run([options.program, "data", "pack", "--data", photos, "--out", pack], check=True, stdout=subprocess.DEVNULL)
    workers = [int(number) for number in options.workers.split(",")]
    rows = {}
    for source, data in (("JPEG", f"imagefolder:{photos}"), ("packed", f"packed:{pack}")):
        contestants = {f"{source}, {side} pixels, {count} workers": lambda side=side, count=count: turn(options, data, side, count)
                       for side in SIZES for count in workers}
        results, _ = take_turns(contestants, options.turns, lambda result: f"{result['items_per_s']:.0f} images/s")
        for name, found in results.items():
            median, low, high = median_and_range(found, "items_per_s")
            rows[name] = {"images_per_s": median, "range": [low, high],
                          "images_per_cpu_s": median_and_range(found, "items_per_cpu_s")[0]}
    print("images a second through the loader (500x375 pictures, scaled decoding off)")
    for name, row in rows.items():
        low, high = row["range"]
        print(f"  {name:32} {row['images_per_s']:7.0f} ({low:.0f} to {high:.0f})   {row['images_per_cpu_s']:.0f} a second of CPU")
    if options.write:
        write_results("growth_data", {"turns": options.turns, "results": rows})


if __name__ == "__main__":
    main()
