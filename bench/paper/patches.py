"""BSDS300: patches of photographs, 63 columns, as the papers on density estimation use them.

Their file is not published any more; its recipe is (Uria et al. 2013, Papamakarios et al. 2017): grey 8 x 8 patches from
anywhere in Berkeley's images, with noise uniform within one level, as shares of 256; each patch less its mean; the last
pixel, which follows from the others, left out. Their patches were other ones of the same images, so that figures agree
with the papers' up to what patches differ by: the Gaussian says how much that is.
"""

import numpy
from PIL import Image

SIDE = 8
LEVELS = 256
ROWS = {"train": 1_000_000, "validation": 50_000, "test": 250_000}


def _images(folder):
    """Grey levels of each image."""
    return [numpy.asarray(Image.open(path).convert("L")) for path in sorted(folder.glob("*.jpg"))]


def _patches(images, count, random):
    """(count, 63), float32."""
    chosen = random.integers(len(images), size=count)
    patches = numpy.empty((count, SIDE, SIDE), numpy.float32)
    for i, image in enumerate(images):
        windows = numpy.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE))
        places = numpy.flatnonzero(chosen == i)
        patches[places] = windows[random.integers(windows.shape[0], size=len(places)),
                                  random.integers(windows.shape[1], size=len(places))]
    rows = patches.reshape(count, SIDE * SIDE)
    rows += random.random(rows.shape, dtype=numpy.float32)
    rows /= LEVELS
    rows -= rows.mean(axis=1, keepdims=True)
    return numpy.ascontiguousarray(rows[:, :-1])


def load_patches(folder):
    """Train, validation and test rows, the same in every run. Test rows come from images of their own."""
    random = numpy.random.default_rng(0)
    known = _images(folder / "bsds300" / "train")
    rows = [_patches(known, ROWS[part], random) for part in ("train", "validation")]
    return *rows, _patches(_images(folder / "bsds300" / "test"), ROWS["test"], random)
