"""Flows of the size that papers have, trained as long as they need: what that takes here, and what it gives.

The recipe is that of neural spline flows (Durkan et al. 2019): 10 rational-quadratic splines of 8 bins on [-3, 3], a
random permutation and an LU layer between two, residual networks of 2 blocks of 256, dropout 0.2, Adam at 5e-4 falling to
0 along a cosine, gradients clipped to a norm of 5, 512 rows a step, the weights that were best on the validation rows.
100,000 steps instead of their 400,000. Two threads; nothing else runs meanwhile. Each training takes minutes to hours;
its figures are kept as soon as it has ended (build/bench/paper/), so that --only can do one after the other. Run it
through `./scripts/bench paper`.
"""

import json
import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("common", "quality", "service")]
from suite import RESULTS, Suite  # noqa: E402

import numpy  # noqa: E402
from figures import gaussian_log_prob, summary  # noqa: E402
from patches import load_patches  # noqa: E402
from protos import import_protos  # noqa: E402
from servers import Control, densityd  # noqa: E402
from tables import TABLES, load  # noqa: E402

CORES = "0,1"
STEPS = 100_000
QUICK_STEPS = 200
VALIDATIONS = 100
FLOW = {"transforms": 10, "hidden": [256], "residual": True, "residual_blocks": 2, "dropout": 0.2, "bins": 8, "bound": 3}
OPTIONS = {"batch_size": 512, "learning_rate": 5e-4, "clip_norm": 5, "threads": 2}
PRESETS = ("nsf_coupling", "nsf_ar")
# The Gaussian of the papers' patches (Papamakarios et al. 2017).
PATCHES_GAUSSIAN = 96.67
# The best of the flows before splines on them: MAF, in the same paper.
PATCHES_MAF = 155.69


def rows_of(name, folder):
    """Train, validation and test rows."""
    return load_patches(folder) if name == "bsds300" else load(name, folder)


def train(control, model, preset, steps, validation_fraction):
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel

    flow = flow_spec_pb2.Preset(name=preset, mixing=flow_spec_pb2.Preset.LU, **FLOW)
    options = {**OPTIONS, "steps": steps, "validation_interval": max(1, steps // VALIDATIONS),
               "validation_fraction": validation_fraction}
    return control.train(model, "rows.npy", options, preset=flow).report


def measure(suite, control, name, preset, rows, gaussian):
    steps = QUICK_STEPS if suite.options.quick else suite.options.steps
    known, test = len(rows[0]) + len(rows[1]), rows[2]
    model = f"{name}-{preset}"
    report = train(control, model, preset, steps, len(rows[1]) / known)
    figure = summary(control.log_prob(model, test))
    suite.note(f"{name} {preset}: {figure['mean']:.3f} +- {figure['error']:.3f} nats after {report.seconds / 60:.0f} min "
               f"({report.steps / report.seconds:.1f} steps/s, {report.trainer})")
    return {"table": name, "preset": preset, "features": test.shape[1], "rows": len(rows[0]), "test_rows": len(test),
            "parameters": report.parameters, "steps": report.steps, "best_step": report.best_step,
            "seconds": report.seconds, "trainer": report.trainer, "log_prob": figure, "gaussian": gaussian,
            "curve": [{"step": point.step, "seconds": round(point.seconds, 1), "train": -round(point.train_nll, 4),
                       "validation": -round(point.validation_nll, 4)} for point in report.curve],
            **{key: suite.machine[key] for key in ("date", "commit", "processor", "cores")}}


def keep(entry):
    """Beside those of other trainings, for the report."""
    folder = RESULTS / "paper"
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial"
    partial.write_text(json.dumps(entry, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, folder / f"{entry['table']}-{entry['preset']}.json")


def compare(suite, entry):
    mean, gaussian = entry["log_prob"]["mean"], entry["gaussian"]["mean"]
    suite.compare("paper_gaussian", f"{entry['table']} {entry['preset']}", mean - gaussian)
    if entry["table"] == "bsds300":
        suite.compare("paper_patches_gaussian", "bsds300", abs(gaussian - PATCHES_GAUSSIAN))
        suite.compare("paper_patches", entry["preset"], mean - PATCHES_MAF)


def add_options(parser):
    parser.add_argument("--protos", required=True, type=pathlib.Path, help="folder that holds density/v1/*.proto")
    parser.add_argument("--data-dir", type=pathlib.Path, default=pathlib.Path("../shared/data"),
                        help="folder of the tables (default: ../shared/data)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each training (default: {STEPS:,})")


def main():
    suite = Suite("paper", __doc__, add_options)
    if not suite.options.data_dir.is_dir():
        sys.exit(f"{suite.options.data_dir} is no folder: name the one that holds the tables with --data-dir")
    import_protos(suite.options.protos)
    suite.figures["trainings"] = []
    for name in ("bsds300", *TABLES):
        presets = [preset for preset in PRESETS if suite.wants(f"{name} {preset}")]
        if not presets:
            continue
        rows = rows_of(name, suite.options.data_dir)
        known = numpy.concatenate(rows[:2])
        gaussian = summary(gaussian_log_prob(known.astype(float), rows[2].astype(float)))
        suite.note(f"{name}, {known.shape[1]} columns, {len(rows[0]):,} rows: Gaussian {gaussian['mean']:.3f} nats")
        with tempfile.TemporaryDirectory(prefix="densityd-paper-") as folder:
            numpy.save(pathlib.Path(folder, "rows.npy"), known)
            with densityd(CORES, suite.options.programs / "densityd", "--data-root", folder) as (port, _, _):
                with Control(port) as control:
                    for preset in presets:
                        entry = measure(suite, control, name, preset, rows, gaussian)
                        suite.figures["trainings"].append(entry)
                        if not suite.options.quick:
                            keep(entry)
                            compare(suite, entry)
    suite.finish()


if __name__ == "__main__":
    main()
