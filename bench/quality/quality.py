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
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("common", "engine", "service")]
from suite import Suite  # noqa: E402

import numpy  # noqa: E402
import sklearn  # noqa: E402
import torch  # noqa: E402
from digits import MODELS as DIGIT_MODELS, measure_digits  # noqa: E402
from figures import gaussian_log_prob, summary  # noqa: E402
from peers import VERSIONS, zuko_flow  # noqa: E402
from protos import import_protos  # noqa: E402
from servers import Control, densityd  # noqa: E402
from sklearn.ensemble import IsolationForest  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from sklearn.neighbors import LocalOutlierFactor  # noqa: E402
from tables import ANOMALIES, TABLES, load, load_anomalies  # noqa: E402

CORE = 1
# preset: its options, and how many trainings of each side, which differ by their seed. Splines take too long for more
# than one, and cover as much as zuko's do: what is beyond their ends is not bent at all.
PRESETS = {"maf": ({}, 3), "nsf_ar": ({"bound": 5}, 1)}
TRANSFORMS = 5
HIDDEN = 128
BATCH = 512
STEPS = 1500
VALIDATION_INTERVAL = 250
SEEDS = 5
# Anomalies lie in the training rows and form clusters of their own. A flow starts as the normal distribution of the
# standardised columns: few steps learn what most rows have in common, many steps learn the clusters, too.
ANOMALY_STEPS = 50
MORE_ANOMALY_STEPS = 1000
QUICK = {"tables": ("power",), "anomalies": ("mammography",), "digits": ("glow",), "steps": 200, "seeds": 1,
         "rows": 20000}


def _log_prob(flow, rows):
    """(N,), nats."""
    with torch.no_grad():
        return torch.cat([flow().log_prob(chunk) for chunk in torch.from_numpy(rows).split(4096)]).double().numpy()


def zuko(preset, train, validation, test, steps, seed):
    """log p of `test`, (N,), and the seconds of the training."""
    torch.manual_seed(seed)
    flow = zuko_flow(preset, train.shape[1], HIDDEN, TRANSFORMS)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rows = torch.from_numpy(train)
    best, best_weights = -numpy.inf, None
    begin = time.perf_counter()
    order = torch.randperm(len(rows))
    at = 0
    for step in range(1, steps + 1):
        if at + BATCH > len(rows):
            order, at = torch.randperm(len(rows)), 0
        loss = -flow().log_prob(rows[order[at:at + BATCH]]).mean()
        at += BATCH
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % VALIDATION_INTERVAL == 0 or step == steps:
            mean = _log_prob(flow, validation).mean()
            if mean > best:
                best, best_weights = mean, {key: value.clone() for key, value in flow.state_dict().items()}
    seconds = time.perf_counter() - begin
    flow.load_state_dict(best_weights)
    return _log_prob(flow, test), seconds


def train_densityd(control, model, preset, rows, steps, validation_fraction, seed=0, **flow):
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel

    options = {"steps": steps, "batch_size": BATCH, "learning_rate": 1e-3, "clip_norm": 5, "threads": 1,
               "validation_interval": min(VALIDATION_INTERVAL, steps), "validation_fraction": validation_fraction,
               "seed": seed}
    return control.train(model, rows, options, preset=flow_spec_pb2.Preset(name=preset, **flow)).report


def over_seeds(runs):
    """Of log p (N,) and seconds of each training: the mean over trainings and rows, twice its standard error over the
    rows, each training's mean, and the seconds of one."""
    return {**summary(numpy.mean([log_prob for log_prob, _ in runs], axis=0)),
            "seeds": [float(numpy.mean(log_prob)) for log_prob, _ in runs],
            "seconds": float(numpy.mean([seconds for _, seconds in runs]))}


def measure_table(suite, control, name, steps, limit):
    train, validation, test = load(name, suite.options.data_dir, limit)
    known = numpy.concatenate([train, validation])
    entry = {"table": name, "rows": len(train), "features": train.shape[1],
             "gaussian": summary(gaussian_log_prob(known, test)), "presets": []}
    suite.note(f"{name}, {train.shape[1]} columns, {len(train)} rows: Gaussian {entry['gaussian']['mean']:.3f} nats")
    for preset, (options, seeds) in PRESETS.items():
        ours, theirs = [], []
        for seed in range(1 if suite.options.quick else seeds):
            model = f"{name}-{preset}-{seed}"
            report = train_densityd(control, model, preset, known, steps, len(validation) / len(known), seed,
                                    transforms=TRANSFORMS, hidden=[HIDDEN, HIDDEN], **options)
            ours.append((control.log_prob(model, test), report.seconds))
            theirs.append(zuko(preset, train, validation, test, steps, seed))
        one = {"preset": preset, "steps": steps, "densityd": over_seeds(ours), "zuko": over_seeds(theirs)}
        entry["presets"].append(one)
        suite.note(f"{name} {preset}: " + ", ".join(
            f"{who} {one[who]['mean']:.3f} +- {one[who]['error']:.3f} nats in {one[who]['seconds']:.0f} s (seeds: "
            + " ".join(f"{mean:.3f}" for mean in one[who]["seeds"]) + ")" for who in ("densityd", "zuko")))
        suite.compare("quality_table", f"{name} {preset}",
                      one["densityd"]["mean"] - (one["zuko"]["mean"] - one["zuko"]["error"]))
        suite.compare("quality_gaussian", f"{name} {preset}", one["densityd"]["mean"] - entry["gaussian"]["mean"])
    return entry


def measure_anomalies(suite, control, name, steps, seeds):
    trainings = {"densityd": steps} if suite.options.quick else {
        "densityd": steps, f"densityd, {MORE_ANOMALY_STEPS:,} steps": MORE_ANOMALY_STEPS}
    areas = {who: [] for who in (*trainings, "isolation forest", "local outlier factor")}
    for seed in range(seeds):
        train, test, labels = load_anomalies(name, suite.options.data_dir, seed)
        for who, count in trainings.items():
            model = f"{name.lower()}-{seed}-{count}"
            train_densityd(control, model, "maf", train, count, 0.1, transforms=3, hidden=[64, 64])
            areas[who].append(roc_auc_score(labels, -control.log_prob(model, test)))
        forest = IsolationForest(random_state=seed).fit(train)
        areas["isolation forest"].append(roc_auc_score(labels, -forest.score_samples(test)))
        factor = LocalOutlierFactor(novelty=True).fit(train)
        areas["local outlier factor"].append(roc_auc_score(labels, -factor.score_samples(test)))
    suite.note(f"{name}: AUC " + ", ".join(f"{who} {numpy.mean(values):.3f}" for who, values in areas.items()))
    return {"table": name, "seeds": seeds, "steps": steps, "areas": areas}


def compare_anomalies(suite, entries):
    for other in ("isolation forest", "local outlier factor"):
        difference = [numpy.mean(entry["areas"]["densityd"]) - numpy.mean(entry["areas"][other]) for entry in entries]
        suite.compare("quality_anomalies", f"mean of {len(entries)}, {other}", float(numpy.mean(difference)))


def add_options(parser):
    parser.add_argument("--protos", required=True, type=pathlib.Path, help="folder that holds density/v1/*.proto")
    parser.add_argument("--data-dir", type=pathlib.Path, default=pathlib.Path("../shared/data"),
                        help="folder of the tables (default: ../shared/data)")


def main():
    suite = Suite("quality", __doc__, add_options)
    if not suite.options.data_dir.is_dir():
        sys.exit(f"{suite.options.data_dir} is no folder: name the one that holds the tables with --data-dir")
    suite.machine["versions"].update({**{name: VERSIONS[name] for name in ("torch", "zuko")},
                                      "scikit-learn": sklearn.__version__})
    import_protos(suite.options.protos)
    os.sched_setaffinity(0, {CORE})
    torch.set_num_threads(1)
    quick = suite.options.quick
    tables = [name for name in (QUICK["tables"] if quick else TABLES) if suite.wants(name)]
    anomalies = [name for name in (QUICK["anomalies"] if quick else ANOMALIES) if suite.wants(name)]
    with densityd(CORE, suite.options.programs / "densityd") as (port, _, _):
        with Control(port) as control:
            suite.figures["flow"] = f"{TRANSFORMS} transforms, two hidden layers of {HIDDEN}"
            suite.figures["tables"] = [
                measure_table(suite, control, name, QUICK["steps"] if quick else STEPS, QUICK["rows"] if quick else None)
                for name in tables]
            suite.figures["anomalies"] = [
                measure_anomalies(suite, control, name, ANOMALY_STEPS, QUICK["seeds"] if quick else SEEDS)
                for name in anomalies]
    if anomalies:
        compare_anomalies(suite, suite.figures["anomalies"])
    digits = [name for name in (QUICK["digits"] if quick else DIGIT_MODELS) if suite.wants(f"mnist {name}")]
    if digits:
        suite.figures["digits"] = measure_digits(suite, CORE, digits, quick)
    suite.finish()


if __name__ == "__main__":
    main()
