"""The picture of docs/quality.md: learning curves of the images' models, and what they draw."""

import base64

import matplotlib
import numpy

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

NAMES = {"glow": "Glow", "maf": "MAF"}
COLORS = {"glow": "#3b6ea5", "maf": "#d98f2b"}
SIDE = 28
COLUMNS = 10


def _sheet(samples):
    """Images (N, 28, 28) side by side, in rows of ten, with a grey line between two."""
    images = numpy.frombuffer(base64.b64decode(samples), numpy.uint8).reshape(-1, SIDE, SIDE)
    images = numpy.pad(images, ((0, 0), (0, 1), (0, 1)), constant_values=90)
    rows = [numpy.concatenate(list(images[begin:begin + COLUMNS]), axis=1)
            for begin in range(0, len(images) - COLUMNS + 1, COLUMNS)]
    return numpy.concatenate(rows)


def draw_digits(digits, path):
    """Writes the picture, a PNG, to `path`. `digits`: that part of quality.json."""
    models = digits["presets"]
    figure, axes = pyplot.subplots(1, 1 + len(models), figsize=(3.4 * (1 + len(models)), 2.3), layout="constrained")
    for axis, model in zip(axes[1:], models):
        name = model["preset"]
        axes[0].plot([point["seconds"] / 60 for point in model["curve"]],
                     [point["train_bits"] for point in model["curve"]], color=COLORS[name], label=NAMES[name])
        axis.imshow(_sheet(model["samples"]), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(f"{NAMES[name]}: samples", fontsize=9)
        axis.axis("off")
    axes[0].axhline(digits["gaussian"]["bits"], color="#888888", linewidth=0.8, label="Gaussian")
    axes[0].set_title("bits per dimension, training batches", fontsize=9)
    axes[0].set_xlabel("minutes", fontsize=8)
    axes[0].tick_params(labelsize=7)
    axes[0].legend(fontsize=7, frameon=False)
    for side in ("top", "right"):
        axes[0].spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
