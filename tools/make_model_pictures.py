#!/usr/bin/env python3
"""Makes docs/images/models/*.png: what each preset makes of a known density of two columns (`glow`: and two of noise).

Each preset is trained through `Train` on rows of two moons (`circular_nsf`: a wave around a circle), and drawn as
exp(log p) on a grid beside samples. Under each stands how far it is from the truth: the mean of log p_true - log p, in
nats, over rows that it was not trained on. Run it through `./scripts/model-pictures`, which finds what it needs.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "bench" / "service"))

import matplotlib  # noqa: E402

matplotlib.use("Agg")
import numpy  # noqa: E402
from matplotlib import pyplot  # noqa: E402
from PIL import Image  # noqa: E402
from protos import import_protos  # noqa: E402
from servers import Control, densityd  # noqa: E402

ROWS = 12000
TEST_ROWS = 4096
SAMPLES = 1500
GRID = 180
COLORS = 48
TRAINING = {"steps": 2000, "batch_size": 256, "learning_rate": 2e-3, "validation_fraction": 0.1, "threads": 1}


def _log_mean_exp(values):
    """Over the last axis."""
    largest = values.max(axis=-1, keepdims=True)
    return largest[..., 0] + numpy.log(numpy.exp(values - largest).mean(axis=-1))


class TwoMoons:
    """Two half circles of radius 1 that interlock, blurred by a normal distribution."""

    box = ((-1.6, 2.6), (-1.1, 1.6))
    deviation = 0.1
    noise = 0  # columns beside the two that are drawn

    @staticmethod
    def _arcs(angle):
        upper = numpy.stack([numpy.cos(angle), numpy.sin(angle)], axis=-1)
        return upper, numpy.array([1, 0.5]) - upper

    def draw(self, count, random):
        upper, lower = self._arcs(random.uniform(0, numpy.pi, count))
        middle = numpy.where(random.uniform(size=(count, 1)) < 0.5, upper, lower)
        return middle + self.deviation * random.normal(size=(count, 2))

    def log_prob(self, rows):
        """By the midpoint rule along the arcs: (N,), nats."""
        middles = numpy.concatenate(self._arcs((numpy.arange(200) + 0.5) / 200 * numpy.pi))
        squares = ((rows[:, None, :] - middles) ** 2).sum(axis=2) / self.deviation**2
        return _log_mean_exp(-squares / 2) - numpy.log(2 * numpy.pi * self.deviation**2)


class TwoMoonsAndNoise(TwoMoons):
    """Two moons in the first two of four columns, standard normal noise in the others. Pictures show where these are 0."""

    noise = 2

    def draw(self, count, random):
        return numpy.concatenate([super().draw(count, random), random.normal(size=(count, self.noise))], axis=1)

    def log_prob(self, rows):
        """By the midpoint rule along the arcs: (N,), nats."""
        noise = rows[:, 2:]
        return super().log_prob(rows[:, :2]) - ((noise**2 + numpy.log(2 * numpy.pi)) / 2).sum(axis=1)


class WaveOnTorus:
    """Two angles: the first is uniform, the second one follows its sine, blurred by a wrapped normal distribution."""

    box = ((-numpy.pi, numpy.pi), (-numpy.pi, numpy.pi))
    deviation = 0.35
    noise = 0

    def draw(self, count, random):
        first = random.uniform(-numpy.pi, numpy.pi, count)
        second = numpy.pi + 1.5 * numpy.sin(first) + self.deviation * random.normal(size=count)
        return numpy.stack([first, numpy.mod(second + numpy.pi, 2 * numpy.pi) - numpy.pi], axis=1)

    def log_prob(self, rows):
        """(N,), nats."""
        distance = rows[:, 1] - numpy.pi - 1.5 * numpy.sin(rows[:, 0])
        turns = distance[:, None] + 2 * numpy.pi * numpy.arange(-2, 5)
        sum_of_turns = numpy.exp(-((turns / self.deviation) ** 2) / 2).sum(axis=1)
        return numpy.log(sum_of_turns) - numpy.log(self.deviation * numpy.sqrt(2 * numpy.pi) * 2 * numpy.pi)


@dataclasses.dataclass
class Model:
    """Options beside the defaults of the preset and of TRAINING."""

    options: dict = dataclasses.field(default_factory=dict)
    training: dict = dataclasses.field(default_factory=dict)
    truth: object = dataclasses.field(default_factory=TwoMoons)


MODELS = {
    "affine": Model(),
    "elementwise": Model(),
    "nice": Model(),
    "realnvp": Model(),
    "maf": Model(),
    "iaf": Model(),
    "nsf_coupling": Model(),
    "nsf_ar": Model(),
    "circular_nsf": Model(truth=WaveOnTorus()),
    "naf": Model(),
    "gaussianization": Model(),
    "planar": Model(training={"learning_rate": 5e-3}),
    "radial": Model(training={"learning_rate": 5e-3}),
    "sylvester": Model(training={"learning_rate": 5e-3}),
    "realnvp_image": Model({"levels": 1, "transforms": 8, "image": {"channels": 1, "height": 1, "width": 2},
                            "hidden": [32], "no_standardize": True}),
    # It squeezes: four pixels are its smallest image.
    "glow": Model({"levels": 1, "transforms": 16, "image": {"channels": 1, "height": 2, "width": 2}, "hidden": [32],
                   "no_standardize": True}, truth=TwoMoonsAndNoise()),
    "residual": Model(),
    "ffjord": Model({"hidden": [64, 64]}, {"steps": 400, "learning_rate": 5e-3, "validation_interval": 100}),
    "flow_matching": Model(training={"steps": 8000, "validation_interval": 2000}),
}


def _grid(truth):
    """Points (GRID * GRID, columns), row by row from the top; columns of noise are 0."""
    (left, right), (bottom, top) = truth.box
    x, y = numpy.meshgrid(numpy.linspace(left, right, GRID), numpy.linspace(top, bottom, GRID))
    points = numpy.stack([x.ravel(), y.ravel()], axis=1)
    return numpy.pad(points, ((0, 0), (0, truth.noise)))


def _draw(title, truth, log_prob, samples, path):
    """One picture: the density of the grid, and samples (N, 2)."""
    (left, right), (bottom, top) = truth.box
    height = 1.4 if right - left > top - bottom else 1.85
    figure, axes = pyplot.subplots(1, 2, figsize=(3.2, height), layout="constrained")
    peak = numpy.exp(truth.log_prob(_grid(truth)).max())
    axes[0].imshow(numpy.exp(log_prob).reshape(GRID, GRID), extent=(left, right, bottom, top), cmap="magma", vmin=0,
                   vmax=peak, interpolation="bilinear", aspect="auto")
    axes[1].plot(samples[:, 0], samples[:, 1], ",", color="#303060")
    axes[1].set_xlim(left, right)
    axes[1].set_ylim(bottom, top)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(title, fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLORS).save(path, optimize=True)
    print(f"{title}: {path}, {path.stat().st_size / 1024:.0f} KiB", flush=True)


def _draw_truth(name, truth, folder):
    random = numpy.random.default_rng(1)
    _draw("the truth", truth, truth.log_prob(_grid(truth)), truth.draw(SAMPLES, random), folder / f"{name}.png")


def _draw_model(control, name, folder):
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel

    model = MODELS[name]
    random = numpy.random.default_rng(0)
    preset = flow_spec_pb2.Preset(name=name, **model.options)
    control.train(name, model.truth.draw(ROWS, random), {**TRAINING, **model.training}, preset=preset)
    test = model.truth.draw(TEST_ROWS, random)
    distance = float((model.truth.log_prob(test) - control.log_prob(name, test)).mean())
    _draw(f"{name}: {distance:.2f} nats from the truth", model.truth, control.log_prob(name, _grid(model.truth)),
          control.sample(name, SAMPLES, seed=1), folder / f"{name}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, type=pathlib.Path, help="folder of the built programs")
    parser.add_argument("--protos", type=pathlib.Path, default=PROJECT / "proto", help="folder of density/v1/*.proto")
    parser.add_argument("--output", type=pathlib.Path, default=PROJECT / "docs" / "images" / "models",
                        help="folder to write into (default: docs/images/models)")
    parser.add_argument("--only", default="", metavar="PATTERN", help="the presets that match this regular expression")
    parser.add_argument("--core", type=int, default=0, help="the core that trains (default: 0)")
    arguments = parser.parse_args()

    names = [name for name in MODELS if re.search(arguments.only, name)]
    if not names:
        sys.exit(f"no preset matches '{arguments.only}'; known are {', '.join(MODELS)}")
    import_protos(arguments.protos)
    os.sched_setaffinity(0, {arguments.core})
    arguments.output.mkdir(parents=True, exist_ok=True)
    if not arguments.only:
        _draw_truth("two_moons", TwoMoons(), arguments.output)
        _draw_truth("wave_on_torus", WaveOnTorus(), arguments.output)
    with densityd(arguments.core, arguments.programs / "densityd") as (port, _, _):
        with Control(port) as control:
            for name in names:
                _draw_model(control, name, arguments.output)


if __name__ == "__main__":
    main()
