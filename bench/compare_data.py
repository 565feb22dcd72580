#!/usr/bin/env python3
"""JPEG file -> RandomResizedCrop (bicubic) -> flip -> normalised float tensor: images a core makes in a second, Lacuna beside Python's libraries.

The same files, sizes and augmentation; one thread each; contestants take turns, each turn in a process of its own. The figure is images per
second of CPU time, which other programs on the machine disturb least. Sets: small (128 -> 128 pixels), photos and mosaics (500x375 -> 224),
made by bench/make_jpegs.py. Beside them Lacuna from packed files (`lacuna data pack`), as they are and shrunk to 256 pixels, where nothing is decoded.

usage: compare_data.py [--turns 3] [--images 1000] [--folder /tmp/lacuna-bench] [--sets small,photos,mosaics] [--write]
(needs tools/setup_peers.sh; a peer that is not installed is named and left out; --write: bench/results/data.json)
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

from contest import ROOT, median_and_range, run_json, take_turns, write_results

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SETS = {"small": 128, "photos": 224, "mosaics": 224}
BATCH, WARMUP, SHRUNK = 50, 100, 256
PEERS = {"pillow": "torchvision, Pillow", "v2": "torchvision v2, Pillow", "simd": "torchvision, Pillow-SIMD",
         "simplejpeg": "torchvision v2, simplejpeg", "dali": "DALI (CPU)"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000, help="timed images of a turn")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/lacuna-bench"))
    parser.add_argument("--source", type=pathlib.Path, default=ROOT / "../shared/data/imagenette160")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--program", default=str(ROOT / "build/release/lacuna"))
    parser.add_argument("--write", action="store_true", help="bench/results/data.json")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--peer-folder", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer-side", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- peers: each returns a function from a file's name to a float tensor --------------------------------------------------


def torchvision_transforms(version):
    sys.path.append(str(ROOT / "bench"))
    from compare_step import stand_in_for_torchvision_operators

    stand_in_for_torchvision_operators()
    if version == 1:
        from torchvision import transforms
    else:
        from torchvision.transforms import v2 as transforms
    return transforms


def pillow_peer(side, version):
    from PIL import Image

    transforms = torchvision_transforms(version)
    crop = transforms.RandomResizedCrop(side, (0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC)
    if version == 1:
        to_tensor = [transforms.ToTensor()]
    else:
        import torch

        to_tensor = [transforms.ToImage(), transforms.ToDtype(torch.float32, scale=True)]
    chain = transforms.Compose([crop, transforms.RandomHorizontalFlip(), *to_tensor, transforms.Normalize(MEAN, STD)])
    return lambda path: chain(Image.open(path).convert("RGB"))


def simplejpeg_peer(side):
    """torchvision's uint8 tensor kernels (antialiased, vectorised) behind libjpeg-turbo."""
    import simplejpeg
    import torch

    transforms = torchvision_transforms(2)
    chain = transforms.Compose([transforms.RandomResizedCrop(side, (0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC, antialias=True),
                                transforms.RandomHorizontalFlip(), transforms.ToDtype(torch.float32, scale=True), transforms.Normalize(MEAN, STD)])
    return lambda path: chain(torch.from_numpy(simplejpeg.decode_jpeg(pathlib.Path(path).read_bytes(), "RGB")).permute(2, 0, 1))


def use_pillow_simd():
    """In place of Pillow."""
    sys.path.insert(0, str(ROOT / ".venv/pillow-simd"))
    import PIL

    if "post" not in PIL.__version__:
        raise SystemExit("Pillow-SIMD is not installed")


def one_by_one(options):
    if options.peer == "simplejpeg":
        return simplejpeg_peer(options.peer_side)
    if options.peer == "simd":
        use_pillow_simd()
    return pillow_peer(options.peer_side, 2 if options.peer == "v2" else 1)


def dali_batches(options, files):
    """DALI's own crop-while-decoding, cubic with antialiasing; a function that makes one batch."""
    sys.path.append(str(ROOT / ".venv/dali"))
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None)
    def pipeline():
        encoded, _ = fn.readers.file(files=files, random_shuffle=True)
        images = fn.decoders.image_random_crop(encoded, device="cpu", random_area=[0.2, 1.0], random_aspect_ratio=[3 / 4, 4 / 3])
        images = fn.resize(images, size=[options.peer_side, options.peer_side], interp_type=types.INTERP_CUBIC, antialias=True)
        return fn.crop_mirror_normalize(images, mirror=fn.random.coin_flip(), mean=[255 * m for m in MEAN], std=[255 * s for s in STD],
                                        output_layout="CHW")

    built = pipeline()
    built.build()
    return built.run


def peer_turn(options):
    files = [str(path) for path in sorted(options.peer_folder.glob("*.jpg"))]
    if options.peer == "dali":
        batch = dali_batches(options, files)
    else:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
        make, numbers = one_by_one(options), iter(range(10**9))

        def batch():
            return torch.stack([make(files[next(numbers) % len(files)]) for _ in range(BATCH)])

    for _ in range(WARMUP // BATCH):
        batch()
    wall, cpu, batches = time.perf_counter(), time.process_time(), options.images // BATCH
    for _ in range(batches):
        batch()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"items_per_cpu_s": batches * BATCH / cpu, "items_per_s": batches * BATCH / wall}))


# --- the contest ----------------------------------------------------------------------------------------------------------


def our_turn(options, data, side, settings=()):
    keys = [f"encoder.img_size={side}", "encoder.patch_size=16", "encoder.arch=vit_tiny", "encoder.in_chans=3", f"data.mean={MEAN}", f"data.std={STD}",
            f"train.batch_size={BATCH}", "train.workers=0", *settings]
    return run_json([options.program, "bench", "data", "mae", "--data", data, "--json", "--runs", str(options.images // BATCH), "--warmup",
                     str(WARMUP // BATCH), *(part for key in keys for part in ("--set", key))])


def their_turn(name, folder, side):
    command = [sys.executable, __file__, *sys.argv[1:], "--peer", name, "--peer-folder", str(folder), "--peer-side", str(side)]
    return run_json(command)


def prepare(options):
    """The pictures, and packed files of each set."""
    made = subprocess.run([sys.executable, ROOT / "bench/make_jpegs.py", options.folder, "--source", options.source])
    if made.returncode:
        raise SystemExit(made.returncode)
    for kind in options.sets.split(","):
        for file, side in ((f"{kind}.pack", 0), (f"{kind}-{SHRUNK}.pack", SHRUNK)):
            if (side == 0 or kind != "small") and not (options.folder / file).exists():
                subprocess.run([options.program, "data", "pack", "--data", f"imagefolder:{options.folder / kind}", "--out", options.folder / file,
                                "--side", str(side)], check=True, stdout=subprocess.DEVNULL)


def compare(options, kind):
    folder, side = options.folder / kind, SETS[kind]
    contestants = {"lacuna": lambda: our_turn(options, f"imagefolder:{folder}", side),
                   "lacuna, packed": lambda: our_turn(options, f"packed:{folder}.pack", side)}
    if kind != "small":
        contestants[f"lacuna, packed at {SHRUNK}"] = lambda: our_turn(options, f"packed:{folder}-{SHRUNK}.pack", side)
    for peer, name in PEERS.items():
        contestants[name] = lambda peer=peer: their_turn(peer, folder, side)
    results, left_out = take_turns(contestants, options.turns, lambda result: f"{result['items_per_cpu_s']:.0f} images/s of CPU")
    rows = {}
    for name, found in results.items():
        median, low, high = median_and_range(found, "items_per_cpu_s")
        rows[name] = {"images_per_cpu_s": median, "range": [low, high]}
    reference = rows.get(PEERS["pillow"])
    print(f"{kind}, to {side} pixels: images a core makes in a second")
    for name, row in rows.items():
        if reference:
            row["over_torchvision"] = row["images_per_cpu_s"] / reference["images_per_cpu_s"]
        low, high = row["range"]
        print(f"  {name:28} {row['images_per_cpu_s']:7.0f} ({low:.0f} to {high:.0f})  {row.get('over_torchvision', 0):5.2f} x torchvision, Pillow")
    source = sum(path.stat().st_size for path in folder.glob("*.jpg"))
    packed = pathlib.Path(f"{folder}.pack").stat().st_size
    print(f"  on disk: {source / 1e6:.0f} MB of JPEGs, {packed / 1e6:.0f} MB packed")
    return {"side": side, "results": rows, "left_out": left_out, "jpeg_bytes": source, "packed_bytes": packed}


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    options = arguments()
    if options.peer:
        return peer_turn(options)
    prepare(options)
    sets = {kind: compare(options, kind) for kind in options.sets.split(",")}
    if options.write:
        write_results("data", {"turns": options.turns, "images": options.images, "sets": sets})
    return None


if __name__ == "__main__":
    main()
