"""Writes tests/data/torchvision.safetensors: inputs and torchvision's outputs for the picture transforms.

Run with the torch of this project, plus `pip install --no-deps torchvision==0.28.0 pillow`:
    python tools/make_torchvision_figures.py tests/data/torchvision.safetensors
"""

import json
import struct
import sys
from unittest import mock

import numpy as np
import torch
from PIL import Image

# torchvision's wheel on PyPI is built for CUDA: beside a CPU torch its own operators are missing. None is used here,
# but importing it asks for these names.
for operator in ("nms", "qnms"):
    torch.library.define(f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
from torchvision.transforms import RandomResizedCrop  # noqa: E402
from torchvision.transforms.v2 import InterpolationMode  # noqa: E402
from torchvision.transforms.v2 import functional as F  # noqa: E402

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
# name -> (input height, width, channels, output height, width)
RESIZES = {"down": (41, 53, 3, 16, 19), "up": (11, 13, 3, 29, 24), "mixed": (37, 9, 1, 12, 21), "bands": (20, 23, 5, 9, 9)}
CROP_SIZES = [(128, 170), (33, 500), (500, 33), (64, 64), (7, 5), (375, 500)]
CROPS_EACH = 40


class Stream:
    """lacuna::Stream (core/draws.h): Philox4x32-10 keyed by seed and name."""

    def __init__(self, seed, name, sample):
        def mix(x):
            x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
            return x ^ (x >> 31)

        h = 0xCBF29CE484222325
        for c in name.encode():
            h = ((h ^ c) * 0x100000001B3) % 2**64
        key = mix((h + mix((seed + 0x9E3779B97F4A7C15) % 2**64)) % 2**64)
        self.key = (key % 2**32, key >> 32)
        self.counter = [0, 0, sample % 2**32, sample >> 32]
        self.block = []

    def bits(self):
        if not self.block:
            c, k = list(self.counter), list(self.key)
            for _ in range(10):
                a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [(b >> 32) ^ c[1] ^ k[0], b % 2**32, (a >> 32) ^ c[3] ^ k[1], a % 2**32]
                k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
            self.block = c
            self.counter[0] += 1
        return self.block.pop(0)

    def uniform(self):
        high = self.bits() >> 5
        return (high * 67108864 + (self.bits() >> 6)) / 2**53

    def below(self, n):
        limit = (2**64 - 1) - (2**64 - 1) % n
        while True:
            value = (self.bits() << 32) | self.bits()
            if value < limit:
                return value % n


def crop_by_stream(height, width, sample):
    """RandomResizedCrop.get_params with its two sources of randomness answered by our stream."""
    stream = Stream(7, "crop", sample)

    def uniform(_, low, high):
        return torch.tensor(float(low) + (float(high) - float(low)) * stream.uniform(), dtype=torch.float64)

    def randint(low, high, size):
        assert low == 0
        return torch.tensor([stream.below(high)])

    with mock.patch.object(torch.Tensor, "uniform_", uniform), mock.patch.object(torch, "randint", randint):
        return RandomResizedCrop.get_params(torch.empty(3, height, width), [0.2, 1.0], [3 / 4, 4 / 3])


def textured(rng, height, width, channels):
    """A smooth picture with edges and noise, so that overshoot and rounding are both met."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 90 * np.sin(x / (2 + c) + y / 5) + 60 * ((x + c) // 4 % 2) + rng.normal(0, 20, x.shape) for c in range(channels)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def figures():
    rng = np.random.default_rng(0)
    out = {}
    for name, (h, w, c, to_h, to_w) in RESIZES.items():
        pixels = torch.from_numpy(textured(rng, h, w, c))
        out[f"resize.{name}.input"] = pixels
        planes = pixels.permute(2, 0, 1)
        for mode, interpolation in MODES.items():
            resized = F.resize(planes, [to_h, to_w], interpolation, antialias=True)
            out[f"resize.{name}.{mode}.uint8"] = resized.permute(1, 2, 0)
            resized = F.resize(planes.float() / 255, [to_h, to_w], interpolation, antialias=True)
            out[f"resize.{name}.{mode}.float"] = resized.permute(1, 2, 0)
    pixels = textured(rng, 45, 60, 3)
    out["picture"] = torch.from_numpy(pixels)
    out["picture.grey"] = torch.from_numpy(np.array(Image.fromarray(pixels).convert("L")))[..., None]
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    resized = F.resize(planes, 32, InterpolationMode.BICUBIC, antialias=True)
    scaled = F.to_dtype(F.center_crop(resized, [28, 28]), torch.float32, scale=True)
    out["picture.center"] = F.normalize(scaled, [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    cropped = F.resized_crop(planes, 3, 8, 31, 40, [24, 24], InterpolationMode.BICUBIC, antialias=True)
    out["picture.resized_crop"] = cropped.permute(1, 2, 0)
    crops = [[h, w, *crop_by_stream(h, w, i)] for h, w in CROP_SIZES for i in range(CROPS_EACH)]
    out["crops"] = torch.tensor(crops, dtype=torch.int64)
    return out


def save(path, tensors):
    types = {torch.uint8: "U8", torch.float32: "F32", torch.int64: "I64"}
    header, data = {}, b""
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        content = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": types[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


save(sys.argv[1], figures())
