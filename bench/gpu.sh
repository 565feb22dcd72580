#!/usr/bin/env bash
# MAE with ViT-B/16 and the paper's decoder on one GPU, beside eager PyTorch, torch.compile, transformers and lightly: milliseconds a
# step, peak memory of tensors and share of the peak arithmetic. Needs a build against a CUDA wheel and tools/setup_peers.sh.
# usage: bench/gpu.sh [PEAK_TFLOPS]   (dense bf16; 989 for an H100 SXM or H200, the default; 312 for an A100)
set -euo pipefail
cd "$(dirname "$0")/.."
for batch in 256 512; do
  .venv/bin/python bench/compare_step.py --device cuda --precision bf16 --batch "$batch" --peak-tflops "${1:-989}" --dim 768 --heads 12 \
    --decoder-dim 512 --decoder-depth 8 --decoder-heads 16 --turns 3 --steps 20 --warmup 5
done
