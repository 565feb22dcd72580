#!/usr/bin/env python3
"""Folders of JPEGs for the data benchmarks, made of shared/data/imagenette160 (or any folder of WebDataset shards).

  small/     the pictures as they are: 128 pixels on the shorter side, quality 80
  photos/    500 x 375 (or 375 x 500), enlarged, quality 90: smooth, about 30 KB each
  mosaics/   500 x 375, twelve pictures side by side, quality 90: as many bits a pixel as photographs of that size have

usage: make_jpegs.py OUT [--source ../shared/data/imagenette160] [--count 1000]     (needs Pillow; says nothing when all is there)
"""
import argparse
import io
import pathlib
import tarfile

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIDE, COLUMNS, ROWS = 128, 4, 3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--source", type=pathlib.Path, default=ROOT / "../shared/data/imagenette160")
    parser.add_argument("--count", type=int, default=1000)
    return parser.parse_args()


def encoded_pictures(source, count):
    """The first `count` JPEGs of the training shards."""
    found = []
    for shard in sorted(source.glob("*train*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                if member.name.endswith(".jpg"):
                    found.append(archive.extractfile(member).read())
                if len(found) == count:
                    return found
    raise SystemExit(f"make_jpegs: {source} holds {len(found)} pictures in *train*.tar, {count} are asked for")


def photo(picture):
    size = (500, 375) if picture.width >= picture.height else (375, 500)
    return picture.resize(size, Image.BICUBIC)


def mosaic(pictures):
    whole = Image.new("RGB", (SIDE * COLUMNS, SIDE * ROWS))
    for place, picture in enumerate(pictures):
        left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
        whole.paste(picture.crop((left, top, left + SIDE, top + SIDE)), (place % COLUMNS * SIDE, place // COLUMNS * SIDE))
    return whole.crop((0, 0, 500, 375))


def main():
    options = arguments()
    done = options.out / "done"
    if done.exists() and done.read_text() == f"{options.count}\n":
        return
    encoded = encoded_pictures(options.source, options.count)
    pictures = [Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in encoded]
    for kind in ("small", "photos", "mosaics"):
        (options.out / kind).mkdir(parents=True, exist_ok=True)
    for number, (jpeg, picture) in enumerate(zip(encoded, pictures)):
        (options.out / f"small/{number:06}.jpg").write_bytes(jpeg)
        photo(picture).save(options.out / f"photos/{number:06}.jpg", quality=90)
        around = [pictures[(number + step) % len(pictures)] for step in range(COLUMNS * ROWS)]
        mosaic(around).save(options.out / f"mosaics/{number:06}.jpg", quality=90)
    done.write_text(f"{options.count}\n")


if __name__ == "__main__":
    main()
