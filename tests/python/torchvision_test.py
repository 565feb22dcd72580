#!/usr/bin/env python3
"""Convolutional networks with torchvision's weights: logits and features agree to 1e-4.

usage: torchvision_test.py PROGRAM [ARCH...]   (exit 77: torchvision is not installed here)
"""
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    from PIL import Image
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIDE, CLASSES, TOLERANCE = 64, 7, 1e-4
# One of each family and of each special rule; `torchvision_test.py PROGRAM ARCH...` checks any other.
ARCHS = ["resnet18", "resnext50_32x4d", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "efficientnet_b0",
         "densenet121", "squeezenet1_0", "squeezenet1_1", "alexnet"]
# Read without a config: what each must be recognised as.
RECOGNISED = {"mobilenet_v3_small": lambda model: torch.nn.Sequential(
                  model.features, model.avgpool, torch.nn.Flatten(1), *model.classifier[:2]),
              "densenet121": lambda model: torch.nn.Sequential(
                  model.features, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(1)),
              "squeezenet1_1": lambda model: model}


def torchvision_models():
    """The torchvision of PyPI is built against CUDA: its compiled operators don't load beside a CPU torch. Importing it asks
    that they exist; none is called."""
    sys.path.append(str(ROOT / ".venv/lightly"))  # tools/setup_peers.sh
    found = next((pathlib.Path(path) / "torchvision" for path in sys.path
                  if (pathlib.Path(path) / "torchvision/_meta_registrations.py").exists()), None)
    if found is None:
        print("skipped: torchvision is not installed")
        sys.exit(77)
    library = torch.library.Library("torchvision", "DEF")
    registrations = (found / "_meta_registrations.py").read_text()
    for name in sorted({one or other for one, other in
                        re.findall(r'register_meta\("(\w+)"\)|"torchvision::(\w+)"', registrations)}):
        library.define(f"{name}(Tensor x) -> Tensor")
    sys.modules["lacuna_stand_in"] = library  # alive as long as the process
    import torchvision.models
    return torchvision.models


def randomised(model):
    """No bias, scale or statistic that is trivial; activations of about the same size from layer to layer."""
    generator = torch.Generator().manual_seed(1)
    normed = any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    for module in model.modules():
        if not normed and isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(module.weight, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.7, 1.3, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.momentum = 1.0  # the statistics of the one batch
    model.train()
    with torch.no_grad():
        model(torch.randn(8, 3, SIDE, SIDE, generator=generator))
    return model.eval()


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    print(done.stdout.strip())
    if done.returncode != 0:
        print(done.stderr.strip())
    return done.returncode == 0


def write_case(folder, arch, model, image):
    folder.mkdir()
    (folder / "case.toml").write_text(
        f'method = "layer-masking"\nkind = "network"\n[tolerance]\nrtol = {TOLERANCE}\natol = {TOLERANCE}\n'
        f'[config.encoder]\narch = "{arch}"\nimg_size = {SIDE}\nnum_classes = {CLASSES}\n')
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "weights.safetensors")
    with torch.no_grad():
        logits = model(image)
    assert logits.std() > 1e-2, f"{arch}: logits that say nothing"
    save_file({"image": image}, folder / "inputs.safetensors")
    save_file({"logits.plain": logits}, folder / "outputs.safetensors")


def check_features(program, work, arch, model):
    """Through the command, from the weights alone."""
    pixels = numpy.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=numpy.uint8)
    data = work / "pictures"
    data.mkdir(exist_ok=True)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(data / f"{i}.png")
    image = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    out = work / f"{arch}-features.safetensors"
    settings = ["data.mean=[0.5, 0.5, 0.5]", "data.std=[0.5, 0.5, 0.5]", "augment.crop=resize", f"encoder.img_size={SIDE}"]
    if not run(program, "features", work / arch / "weights.safetensors", "--data", data, "--out", out,
               *(part for setting in settings for part in ("--set", setting))):
        return False
    with torch.no_grad():
        error = (load_file(out)["features"] - RECOGNISED[arch](model)(image)).abs().max().item()
    print(f"{'PASS' if error <= TOLERANCE else 'FAIL'} {arch}: features  max abs difference {error:.2e}")
    return error <= TOLERANCE


def main():
    program, archs = sys.argv[1], sys.argv[2:] or ARCHS
    models = torchvision_models()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for arch in archs:
            torch.manual_seed(0)
            model = randomised(getattr(models, arch)(num_classes=CLASSES))
            write_case(work / arch, arch, model, torch.randn(2, 3, SIDE, SIDE))
            good &= run(program, "verify", work / arch)
            if arch in RECOGNISED:
                good &= check_features(program, work, arch, model)
    sys.exit(0 if good else 1)


main()
