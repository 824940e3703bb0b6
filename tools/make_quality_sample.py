#!/usr/bin/env python3
"""Makes tests/bench/data: as much of the tables of ./scripts/bench quality as its --quick needs.

  make_quality_sample.py ../shared/data tests/bench/data

The same input gives the same files, byte for byte: rows of the power table drawn at random (seed 0), the first images of
MNIST's two files, and ADBench's mammography as it is. tests/bench/data/SOURCE.md says where they come from.
"""

import argparse
import gzip
import pathlib
import random
import shutil
import struct
import zipfile

POWER = pathlib.Path("power", "household_power_consumption_2007H1.zip")
POWER_ROWS = 20500  # some have missing values
MAMMOGRAPHY = pathlib.Path("adbench", "23_mammography.npz")
IMAGES = 3000
IMAGE_FILES = [pathlib.Path("mnist", f"{kind}-images-idx3-ubyte.gz") for kind in ("train", "t10k")]


def sample_power(source, target):
    with zipfile.ZipFile(source) as archive:
        name = archive.namelist()[0]
        header, *rows = archive.read(name).decode().splitlines()
    chosen = [rows[i] for i in sorted(random.Random(0).sample(range(len(rows)), POWER_ROWS))]
    with zipfile.ZipFile(target, "w") as archive:
        entry = zipfile.ZipInfo(pathlib.PurePath(name).name)  # without the time of day
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, "\n".join([header, *chosen, ""]), compresslevel=9)


def sample_images(source, target):
    with gzip.open(source) as file:
        magic, _, height, width = struct.unpack(">4i", file.read(16))
        pixels = file.read(IMAGES * height * width)
    with open(target, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(struct.pack(">4i", magic, IMAGES, height, width) + pixels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    options = parser.parse_args()
    for path in (POWER, MAMMOGRAPHY, *IMAGE_FILES):
        (options.target / path).parent.mkdir(parents=True, exist_ok=True)
    sample_power(options.source / POWER, options.target / POWER)
    shutil.copyfile(options.source / MAMMOGRAPHY, options.target / MAMMOGRAPHY)
    for path in IMAGE_FILES:
        sample_images(options.source / path, options.target / path)


if __name__ == "__main__":
    main()
