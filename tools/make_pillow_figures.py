"""Writes tests/data/pillow.safetensors: pictures, what Pillow makes of them, and timm's tables of severities.

    pip install numpy pillow==13.0.0 safetensors && pip install --no-deps timm==1.0.31
    python tools/make_pillow_figures.py tests/data/pillow.safetensors

A figure's name says how it came about: "out/PICTURE/OPERATION/ARGUMENT", and "/INTERPOLATION" for those that move pixels.
"resize/HEIGHT/WIDTH/INTERPOLATION" is of columns 2 .. 20 and rows 1 .. 16 of picture "rgb"; "level/OPERATION" holds rows (level, argument, argument when the direction is turned round).
"""

import importlib.util
import pathlib
import sys
from unittest import mock

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from safetensors.numpy import save_file

# timm.data imports torch; this file of it does not need to.
TIMM = pathlib.Path(importlib.util.find_spec("timm").origin).parent
spec = importlib.util.spec_from_file_location("auto_augment", TIMM / "data" / "auto_augment.py")
timm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(timm)

FILL = (124, 116, 104)
INTERPOLATIONS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
RESIZED = [(9, 8), (30, 25), (40, 12)]
LOOKS = {
    "AutoContrast": (lambda picture, _: ImageOps.autocontrast(picture), [0]),
    "Equalize": (lambda picture, _: ImageOps.equalize(picture), [0]),
    "Invert": (lambda picture, _: ImageOps.invert(picture), [0]),
    "Posterize": (ImageOps.posterize, [1, 4]),
    "Solarize": (ImageOps.solarize, [0, 26, 256]),
    "SolarizeAdd": (timm.solarize_add, [0, 99]),
    "Color": (lambda picture, factor: ImageEnhance.Color(picture).enhance(factor), [0.1, 1.0, 1.81]),
    "Contrast": (lambda picture, factor: ImageEnhance.Contrast(picture).enhance(factor), [0.19, 1.81]),
    "Brightness": (lambda picture, factor: ImageEnhance.Brightness(picture).enhance(factor), [0.19, 1.81]),
    "Sharpness": (lambda picture, factor: ImageEnhance.Sharpness(picture).enhance(factor), [0.19, 1.81]),
}
PLACES = {
    "Rotate": (timm.rotate, [-27.0, 11.3, 0.0]),
    "ShearX": (timm.shear_x, [0.27, -0.113]),
    "ShearY": (timm.shear_y, [-0.27, 0.113]),
    "TranslateXRel": (timm.translate_x_rel, [0.405, -0.2371]),
    "TranslateYRel": (timm.translate_y_rel, [-0.405, 0.2371]),
}


def pictures():
    y, x = np.mgrid[0:17, 0:22]
    grain = (x * 7919 + y * 104729 + x * y * 31) % 41 - 20
    planes = [128 + 90 * np.sin(x / (3 + c) + y / 5) + 40 * ((x + c) // 6 % 2) + grain for c in range(3)]
    rgb = np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
    return {
        "rgb": rgb,
        "grey": rgb[..., 1],
        "narrow": (100 + rgb // 64).astype(np.uint8),  # four levels
        "flat": np.full((4, 5, 3), 77, np.uint8),
        "tiny": rgb[:2, :3],
    }


def main(path):
    out = {}
    for name, pixels in pictures().items():
        picture = Image.fromarray(pixels)

        def record(key, result, name=name):
            out[f"out/{name}/{key}"] = np.array(result).reshape(*pixels.shape[:2], -1)

        out[f"in/{name}"] = pixels.reshape(*pixels.shape[:2], -1)
        for operation, (apply, arguments) in LOOKS.items():
            for argument in arguments:
                record(f"{operation}/{argument}", apply(picture, argument))
        fill = FILL if picture.mode == "RGB" else FILL[0]
        for operation, (apply, arguments) in PLACES.items() if name != "narrow" else ():
            for argument in arguments:
                for label, interpolation in INTERPOLATIONS.items():
                    record(f"{operation}/{argument}/{label}", apply(picture, argument, resample=interpolation, fillcolor=fill))
    for label, interpolation in INTERPOLATIONS.items():
        cropped = Image.fromarray(pictures()["rgb"]).crop((2, 1, 21, 17))
        for height, width in RESIZED:
            out[f"resize/{height}/{width}/{label}"] = np.array(cropped.resize((width, height), interpolation))
    for operation in sorted({*timm._RAND_TRANSFORMS, *timm._RAND_INCREASING_TRANSFORMS}):
        function, rows = timm.LEVEL_TO_ARG[operation], []
        for level in np.arange(0, 10.01, 0.25):
            row = [level]
            for draw in (0.25, 0.75):  # timm turns the direction round when a draw exceeds 0.5
                with mock.patch.object(timm.random, "random", lambda draw=draw: draw):
                    row.append(function(float(level), {})[0] if function else 0)
            rows.append(row)
        out[f"level/{operation}"] = np.array(rows, np.float64)
    save_file({key: np.ascontiguousarray(value) for key, value in out.items()}, path)


main(sys.argv[1])
