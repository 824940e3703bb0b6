"""Images: presets trained on MNIST's digits through `Train`, within a budget of steps.

Pixels are whole numbers 0 … 255. What is reported is the mean of log p at x + u with u uniform within [0, 1): a lower
bound of the log-probability of the whole numbers (Theis et al. 2016). In bits per dimension it is -log p / (784 ln 2).
Beside them, the normal distribution with the covariance of the pixels' logits, which is a density of pixels, too.
"""

import base64
import gzip
import math
import pathlib
import tempfile

import numpy
from figures import gaussian_log_prob, summary
from servers import Control, densityd

SIDE = 28
PIXELS = SIDE * SIDE
LEVELS = 256
VALIDATION_ROWS = 1000
SAMPLES = 60
IMAGE = {"channels": 1, "height": SIDE, "width": SIDE}
LOGITS = {"columns": [{"kind": "INTEGER", "scaling": "LOGIT", "low": 0, "high": LEVELS - 1}] * PIXELS}
# preset: its options, those of its training
MODELS = {
    "glow": ({"transforms": 4, "hidden": [32], "residualBlocks": 1, "image": IMAGE},
             {"steps": 3000, "batch_size": 64, "learning_rate": 1e-3}),
    "maf": ({"transforms": 5, "hidden": [512, 512], "preprocessing": LOGITS},
            {"steps": 1500, "batch_size": 128, "learning_rate": 1e-3}),
}
QUICK_STEPS = 30
QUICK_ROWS = 3000


def bits(nats):
    """Bits per dimension of a log-likelihood in nats."""
    return -nats / (PIXELS * math.log(2))


def _images(folder, kind, limit):
    with gzip.open(folder / "mnist" / f"{kind}-images-idx3-ubyte.gz") as file:
        return numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, PIXELS)[:limit].astype("<f4")


def _with_noise(rows, random):
    """Rows whose density is that of `rows` + u: a server takes a whole number for the middle of its cell. float32 must
    not round them onto the ends of the scale."""
    shifted = (rows + random.uniform(-0.5, 0.5, rows.shape)).astype("<f4")
    return numpy.clip(shifted, numpy.nextafter(numpy.float32(-0.5), numpy.float32(0)),
                      numpy.nextafter(numpy.float32(LEVELS - 0.5), numpy.float32(0)))


def _logits(rows):
    """Logits of pixels with noise, and the log of their slopes, summed over each row: (N,)."""
    shares = (rows.astype(float) + 0.5) / LEVELS
    log_share, log_rest = numpy.log(shares), numpy.log1p(-shares)
    return log_share - log_rest, -(log_share + log_rest + math.log(LEVELS)).sum(axis=1)


def _gaussian(train, test):
    logits, _ = _logits(train)
    test_logits, log_slopes = _logits(test)
    return summary(gaussian_log_prob(logits, test_logits) + log_slopes)


def _measure(suite, control, name, train, test, quick):
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel
    from google.protobuf import json_format  # pylint: disable=import-outside-toplevel

    flow, options = MODELS[name]
    if quick:
        options = {**options, "steps": QUICK_STEPS}
    options = {**options, "threads": 1, "validation_interval": max(1, options["steps"] // 20),
               "validation_fraction": VALIDATION_ROWS / len(train)}
    preset = json_format.ParseDict({"name": name, **flow}, flow_spec_pb2.Preset())
    model = f"digits-{name}"
    report = control.train(model, "digits.npy", options, preset=preset).report
    figure = summary(control.log_prob(model, test))
    samples = control.sample(model, SAMPLES, seed=0).astype(numpy.uint8)
    suite.note(f"digits {name}: {figure['mean']:.1f} +- {figure['error']:.1f} nats, {bits(figure['mean']):.3f} bits "
               f"per dimension, in {report.seconds:.0f} s")
    return {"preset": name, "parameters": report.parameters, "steps": report.steps, "seconds": report.seconds,
            "batch": report.options.batch_size, "images": report.steps * report.options.batch_size, **figure,
            "bits": bits(figure["mean"]), "best_step": report.best_step,
            "curve": [{"step": point.step, "seconds": point.seconds, "train_bits": bits(-point.train_nll)}
                      for point in report.curve],
            "samples": base64.b64encode(samples.tobytes()).decode()}


def measure_digits(suite, core, names, quick):
    """Figures of the presets `names`, densityd running on `core`."""
    random = numpy.random.default_rng(0)
    train, test = (_images(suite.options.data_dir, kind, QUICK_ROWS if quick else None) for kind in ("train", "t10k"))
    noisy_train, noisy_test = _with_noise(train, random), _with_noise(test, random)
    entry = {"rows": len(train) - VALIDATION_ROWS, "test_rows": len(test), "features": PIXELS,
             "gaussian": _gaussian(noisy_train, noisy_test), "presets": []}
    entry["gaussian"]["bits"] = bits(entry["gaussian"]["mean"])
    suite.note(f"digits: Gaussian {entry['gaussian']['mean']:.1f} nats, {entry['gaussian']['bits']:.3f} bits per "
               "dimension")
    with tempfile.TemporaryDirectory(prefix="densityd-digits-") as folder:
        numpy.save(pathlib.Path(folder, "digits.npy"), train)
        with densityd(core, suite.options.programs / "densityd", "--data-root", folder) as (port, _, _):
            with Control(port) as control:
                for name in names:
                    one = _measure(suite, control, name, train, noisy_test, quick)
                    entry["presets"].append(one)
                    suite.compare("quality_gaussian", f"digits {name}", one["mean"] - entry["gaussian"]["mean"])
    return entry
