#!/usr/bin/env python3
"""From the command to the first finished training step: `lacuna pretrain` on its embedded default beside transformers' ViTMAE in Python.

The network of recipes/mae/demo.toml, batch 64. Lacuna draws its pictures, measures the untrained network (health, previews, k-NN on 768 pictures), writes
its run folder and takes the step; Python imports torch and transformers, makes the model and takes a step on random numbers. Warm, and with --cold after
the kernel has dropped its file caches (root).

usage: compare_startup.py [--turns 5] [--cold] [--write]     (needs tools/setup_peers.sh; --write: bench/results/startup.json)
"""
import argparse
import subprocess
import sys
import time

from contest import ROOT, median_and_range, run_json, take_turns, write_results

PEER = """
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining
model = ViTMAEForPreTraining(ViTMAEConfig(image_size=64, patch_size=8, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512,
    decoder_hidden_size=64, decoder_num_hidden_layers=1, decoder_num_attention_heads=4, decoder_intermediate_size=256, mask_ratio=0.5, norm_pix_loss=True))
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
model(torch.randn(64, 3, 64, 64)).loss.backward()
optimizer.step()
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--program", default=str(ROOT / "build/release/lacuna"))
    parser.add_argument("--write", action="store_true", help="bench/results/startup.json")
    return parser.parse_args()


def our_turn(options, cold):
    result = run_json([options.program, "bench", "startup", str(ROOT / "recipes/mae/demo.toml"), "--json", "--runs", "1", "--warmup", "0",
                       *(["--cold"] if cold else [])])
    return result if "problem" in result else {"seconds": result["first_step_s"]["median"]}


def their_turn(cold):
    if cold:
        subprocess.run("sync; echo 3 > /proc/sys/vm/drop_caches", shell=True, check=True)
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PEER], capture_output=True, text=True)
    if done.returncode:
        return {"problem": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return {"seconds": time.perf_counter() - begun}


def main():
    options = arguments()
    document = {"turns": options.turns}
    for temperature in ["warm", *(["cold"] if options.cold else [])]:
        cold = temperature == "cold"
        results, left_out = take_turns({"lacuna": lambda: our_turn(options, cold), "transformers": lambda: their_turn(cold)}, options.turns,
                                       lambda result: f"{result['seconds']:.2f} s")
        rows = {}
        print(f"seconds to the first finished step, {temperature}")
        for name, found in results.items():
            median, low, high = median_and_range(found, "seconds")
            rows[name] = {"seconds": median, "range": [low, high]}
            print(f"  {name:14} {median:6.2f} ({low:.2f} to {high:.2f})")
        document[temperature] = {"results": rows, "left_out": left_out}
    if options.write:
        write_results("startup", document)


if __name__ == "__main__":
    main()
