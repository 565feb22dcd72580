#!/usr/bin/env python3
"""Futures per second of HumanMAC's sampler: `lacuna eval forecast` beside the official algorithm in plain PyTorch, in turns.

The same network (random weights; time does not depend on them), windows, futures, DDIM steps and DCT. The official loop samples one future of
all windows at a time and completes it at every step; so does ours. Each turn is a process of its own; of ours the time between the log's first
and last line of sampling is not known from outside, so it is measured twice, with K and with 2K futures, and the difference counts.

usage: compare_sampling.py [--turns 3] [--windows 64] [--futures 20] [--json]
"""
import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
JOINTS, HISTORY, FUTURE, ROWS, DIM, DEPTH, HEADS, MLP, NOISE, STEPS = 16, 25, 100, 20, 512, 8, 8, 1024, 1000, 100


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--futures", type=int, default=4)
    parser.add_argument("--program", default=str(ROOT / "build/release/lacuna"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def network():
    """Blocks of attention and feed-forward whose outputs are scaled and shifted by level and history; skips from the first half to the second."""
    import torch
    from torch import nn

    values = 3 * JOINTS

    class Style(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.norm, self.out = nn.Linear(DIM, 2 * DIM), nn.LayerNorm(DIM), nn.Linear(DIM, DIM)

        def forward(self, h, emb):
            scale, shift = self.emb(nn.functional.silu(emb))[:, None].chunk(2, -1)
            return self.out(nn.functional.silu(self.norm(h) * (1 + scale) + shift))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.qkv = nn.LayerNorm(DIM), nn.ModuleList(nn.Linear(DIM, DIM, bias=False) for _ in range(3))
            self.styles = nn.ModuleList([Style(), Style()])
            self.up, self.down = nn.Linear(DIM, MLP), nn.Linear(MLP, DIM)

        def forward(self, x, emb):
            h = self.norm(x)
            q, k, v = (part(h).view(len(x), ROWS, HEADS, -1) for part in self.qkv)
            weight = torch.softmax(torch.einsum("bnhd,bmhd->bnmh", q, k) / math.sqrt(DIM // HEADS), dim=2)
            x = x + self.styles[0](torch.einsum("bnmh,bmhd->bnhd", weight, v).reshape(x.shape), emb)
            return x + self.styles[1](self.down(nn.functional.gelu(self.up(x))), emb)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.positions = nn.Parameter(torch.randn(ROWS, DIM))
            self.joints, self.condition, self.out = nn.Linear(values, DIM), nn.Linear(values * ROWS, DIM), nn.Linear(DIM, values)
            self.time = nn.Sequential(nn.Linear(DIM, DIM), nn.SiLU(), nn.Linear(DIM, DIM))
            self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))

        def forward(self, x, level, history):
            waves = torch.exp(-math.log(10000) * torch.arange(DIM // 2) / (DIM // 2))
            angle = level[:, None].float() * waves
            emb = self.time(torch.cat([angle.cos(), angle.sin()], -1)) + self.condition(history.flatten(1))
            h = self.joints(x) + self.positions
            skips = []
            for number, block in enumerate(self.blocks):
                if number < DEPTH // 2:
                    skips.append(h)
                    h = block(h, emb)
                else:
                    h = block(h, emb) + skips.pop()
            return self.out(h)

    return Network().eval()


def peer_turn(options):
    import torch

    torch.manual_seed(0)
    model = network()
    frames, n = HISTORY + FUTURE, options.windows
    k, t = torch.arange(frames, dtype=torch.float64)[:, None], torch.arange(frames, dtype=torch.float64)[None]
    dct = torch.cos(math.pi * (t + 0.5) * k / frames) * math.sqrt(2 / frames)
    dct[0] /= math.sqrt(2)
    forward, backward = dct[:ROWS].float(), dct[:ROWS].T.float()
    share = torch.cumprod(1 - torch.linspace(1e-4, 0.02, NOISE), 0)
    known = torch.randn(n, frames, 3 * JOINTS)
    kept = torch.zeros_like(known)
    kept[:, :HISTORY] = 1
    levels = list(range(1, NOISE + 1, NOISE // STEPS))[:STEPS]
    begun = time.perf_counter()
    with torch.no_grad():
        for _ in range(options.futures):
            history = forward @ known
            x = torch.randn(n, ROWS, 3 * JOINTS)
            for i in reversed(range(STEPS)):
                level, before = levels[i], levels[i - 1] if i else 0
                noise = model(x, torch.full((n,), level), history)
                clean = (x - (1 - share[level]).sqrt() * noise) / share[level].sqrt()
                x = share[before].sqrt() * clean + (1 - share[before]).sqrt() * noise
                noised = share[before].sqrt() * history + (1 - share[before]).sqrt() * torch.randn_like(x)
                x = forward @ torch.where(kept > 0, backward @ noised, backward @ x)
            backward @ x
    print(json.dumps({"rate": n * options.futures / (time.perf_counter() - begun)}))


def our_turn(options, run):
    def seconds(futures):
        settings = [f"generate.samples={futures}", f"eval.max_test={options.windows}"]
        command = [options.program, "eval", "forecast", str(run), "--json"]
        begun = time.perf_counter()
        subprocess.run(command + [part for one in settings for part in ("--set", one)], check=True, capture_output=True)
        return time.perf_counter() - begun

    few = seconds(options.futures)
    return options.windows * options.futures / (seconds(2 * options.futures) - few)


def untrained_run(options, folder):
    settings = {"encoder.embed_dim": DIM, "encoder.depth": DEPTH, "encoder.num_heads": HEADS, "encoder.mlp_dim": MLP, "mask.t_his": HISTORY,
                "mask.t_pred": FUTURE, "target.n_pre": ROWS, "diffusion.noise_steps": NOISE, "diffusion.ddim_timesteps": STEPS,
                "train.steps": 0}
    run = pathlib.Path(folder) / "run"
    command = [options.program, "pretrain", "humanmac", "--data", "synthetic:walkers?frames=250", "--out", str(run)]
    subprocess.run(command + [part for key, value in settings.items() for part in ("--set", f"{key}={value}")], check=True, capture_output=True)
    return run


def main():
    options = arguments()
    if options.peer:
        return peer_turn(options)
    rates = {"lacuna": [], "plain PyTorch": []}
    with tempfile.TemporaryDirectory() as folder:
        run = untrained_run(options, folder)
        for number in range(options.turns):
            rates["lacuna"].append(our_turn(options, run))
            done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--peer"], check=True, capture_output=True, text=True)
            rates["plain PyTorch"].append(json.loads(done.stdout)["rate"])
            print(f"turn {number + 1}: " + ", ".join(f"{name} {values[-1]:.2f}" for name, values in rates.items()), file=sys.stderr)
    rows = {name: {"futures_per_s": statistics.median(values), "range": [min(values), max(values)]} for name, values in rates.items()}
    if options.json:
        print(json.dumps({"settings": {"windows": options.windows, "futures": options.futures, "turns": options.turns}, "results": rows}, indent=2))
        return None
    for name, row in rows.items():
        low, high = row["range"]
        print(f"{name:14} {row['futures_per_s']:7.2f} futures/s ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
