"""How good the densities are: presets trained through `Train`, beside others on the same rows in the same run.

Tables: the mean log-likelihood of rows that nobody trained on, beside the Gaussian with the rows' covariance and the
same flow in zuko with the same recipe (Adam, learning rate 1e-3 falling to 0 along a cosine, gradients clipped to a
global norm of 5, the same steps of as many rows, the weights that were best on the validation rows). Anomalies: how well
-log p tells labelled anomalies from the rest, beside scikit-learn's isolation forest and local outlier factor; nobody
sees a label in training. Images: digits.py. Run it through `./scripts/bench quality`.
"""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("common", "engine", "service")]
from suite import Suite  # noqa: E402

import numpy  # noqa: E402
from digits import MODELS as DIGIT_MODELS, measure_digits  # noqa: E402
from earlier_run import EarlierRun  # noqa: E402
from figures import area_under_curve, gaussian_log_prob, over_seeds, summary  # noqa: E402
from protos import import_protos  # noqa: E402
from recipe import BATCH, CLIP_NORM, HIDDEN, LEARNING_RATE, TRANSFORMS, VALIDATION_INTERVAL  # noqa: E402
from servers import Control, densityd  # noqa: E402
from tables import ANOMALIES, TABLES, load, load_anomalies  # noqa: E402

# Everything takes turns on one core.
CORE = max(os.sched_getaffinity(0))
# preset: its options, and how many trainings of each side, which differ by their seed: by 0.1 nats, and by 4 where one
# held-out row is far from what a training makes of it. zuko's splines take too long for more than one. Ours cover as
# much as zuko's do: what is beyond their ends is not bent at all.
PRESETS = {"maf": ({}, 10), "nsf_ar": ({"bound": 5}, 1)}
STEPS = 1500
SEEDS = 5
# Anomalies lie in the training rows and form clusters of their own. A flow starts as the normal distribution of the
# standardised columns: few steps learn what most rows have in common, many steps learn the clusters, too.
ANOMALY_STEPS = 50
MORE_ANOMALY_STEPS = 1000
QUICK = {"tables": ("power",), "anomalies": ("mammography",), "digits": ("glow",), "steps": 1000, "seeds": 1,
         "trainings": 3, "rows": 20000}


def train_densityd(control, model, preset, rows, steps, validation_fraction, seed=0, **flow):
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel

    options = {"steps": steps, "batch_size": BATCH, "learning_rate": LEARNING_RATE, "clip_norm": CLIP_NORM, "threads": 1,
               "validation_interval": min(VALIDATION_INTERVAL, steps), "validation_fraction": validation_fraction,
               "seed": seed}
    return control.train(model, rows, options, preset=flow_spec_pb2.Preset(name=preset, **flow)).report


def measure_table(suite, control, others, name, steps, limit):
    rows = train, validation, test = load(name, suite.options.data_dir, limit)
    known = numpy.concatenate([train, validation])
    entry = {"table": name, "rows": len(train), "features": train.shape[1],
             "gaussian": summary(gaussian_log_prob(known, test)), "presets": []}
    suite.note(f"{name}, {train.shape[1]} columns, {len(train)} rows: Gaussian {entry['gaussian']['mean']:.3f} nats")
    for preset, (options, seeds) in PRESETS.items():
        seeds = min(seeds, QUICK["trainings"]) if suite.options.quick else seeds
        ours = []
        for seed in range(seeds):
            model = f"{name}-{preset}-{seed}"
            report = train_densityd(control, model, preset, known, steps, len(validation) / len(known), seed,
                                    transforms=TRANSFORMS, hidden=[HIDDEN, HIDDEN], **options)
            ours.append((control.log_prob(model, test), report.seconds))
        one = {"preset": preset, "steps": steps, "densityd": over_seeds(ours),
               "zuko": others.zuko(entry, preset, rows, steps, seeds)}
        entry["presets"].append(one)
        suite.note(f"{name} {preset}: " + ", ".join(
            f"{who} {one[who]['mean']:.3f} +- {one[who]['error']:.3f} nats in {one[who]['seconds']:.0f} s (seeds: "
            + " ".join(f"{mean:.3f}" for mean in one[who]["seeds"]) + ")" for who in ("densityd", "zuko")))
        suite.compare("quality_table", f"{name} {preset}",
                      one["densityd"]["mean"] - (one["zuko"]["mean"] - one["zuko"]["error"]))
        suite.compare("quality_gaussian", f"{name} {preset}", one["densityd"]["mean"] - entry["gaussian"]["mean"])
    return entry


def measure_anomalies(suite, control, others, name, steps, seeds):
    trainings = {"densityd": steps} if suite.options.quick else {
        "densityd": steps, f"densityd, {MORE_ANOMALY_STEPS:,} steps": MORE_ANOMALY_STEPS}
    entry = {"table": name, "seeds": seeds, "steps": steps, "anomalies": [], "areas": {}}
    for seed in range(seeds):
        train, test, labels = load_anomalies(name, suite.options.data_dir, seed)
        entry.update(rows=len(train), features=train.shape[1])
        entry["anomalies"].append(int(labels.sum()))
        areas = {}
        for who, count in trainings.items():
            model = f"{name.lower()}-{seed}-{count}"
            train_densityd(control, model, "maf", train, count, 0.1, transforms=3, hidden=[64, 64])
            areas[who] = area_under_curve(-control.log_prob(model, test), labels)
        areas.update(others.detectors(entry, seed, train, test, labels))
        for who, area in areas.items():
            entry["areas"].setdefault(who, []).append(area)
    suite.note(f"{name}: AUC " + ", ".join(f"{who} {numpy.mean(values):.3f}" for who, values in entry["areas"].items()))
    return entry


def compare_anomalies(suite, entries):
    for other in ("isolation forest", "local outlier factor"):
        difference = [numpy.mean(entry["areas"]["densityd"]) - numpy.mean(entry["areas"][other]) for entry in entries]
        suite.compare("quality_anomalies", f"mean of {len(entries)}, {other}", float(numpy.mean(difference)))


def add_options(parser):
    parser.add_argument("--protos", required=True, type=pathlib.Path, help="folder that holds density/v1/*.proto")
    parser.add_argument("--data-dir", type=pathlib.Path, default=pathlib.Path("../shared/data"),
                        help="folder of the tables (default: ../shared/data)")
    parser.add_argument("--peers-from", type=pathlib.Path, metavar="FILE",
                        help="take the figures of zuko and scikit-learn from this earlier run's, instead of running them")


def other_libraries(suite):
    if not suite.options.peers_from:
        from libraries import Libraries  # pylint: disable=import-outside-toplevel

        return Libraries()
    earlier = EarlierRun(suite.options.peers_from)
    suite.note(earlier.description)
    return earlier


def main():
    suite = Suite("quality", __doc__, add_options)
    options, quick = suite.options, suite.options.quick
    if not options.data_dir.is_dir():
        sys.exit(f"{options.data_dir} is no folder: name the one that holds the tables with --data-dir; "
                 "tests/bench/data holds what --quick needs")
    others = other_libraries(suite)
    suite.machine["versions"].update(others.versions)
    import_protos(options.protos)
    os.sched_setaffinity(0, {CORE})
    tables = [name for name in (QUICK["tables"] if quick else TABLES) if suite.wants(name)]
    anomalies = [name for name in (QUICK["anomalies"] if quick else ANOMALIES) if suite.wants(name)]
    with densityd(CORE, options.programs / "densityd") as (port, _, _):
        with Control(port) as control:
            suite.figures["flow"] = f"{TRANSFORMS} transforms, two hidden layers of {HIDDEN}"
            suite.figures["tables"] = [
                measure_table(suite, control, others, name, QUICK["steps"] if quick else STEPS,
                              QUICK["rows"] if quick else None) for name in tables]
            suite.figures["anomalies"] = [
                measure_anomalies(suite, control, others, name, ANOMALY_STEPS, QUICK["seeds"] if quick else SEEDS)
                for name in anomalies]
    if anomalies:
        compare_anomalies(suite, suite.figures["anomalies"])
    digits = [name for name in (QUICK["digits"] if quick else DIGIT_MODELS) if suite.wants(f"mnist {name}")]
    if digits:
        suite.figures["digits"] = measure_digits(suite, CORE, digits, quick)
    suite.finish()


if __name__ == "__main__":
    main()
