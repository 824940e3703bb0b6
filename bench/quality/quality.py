"""How good the densities are: presets trained through `Train`, beside others on the same rows in the same run.

Tables: the mean log-likelihood of rows that nobody trained on, beside the Gaussian with the rows' covariance and the
same flow in zuko with the same recipe (Adam, learning rate 1e-3 falling to 0 along a cosine, gradients clipped to a
global norm of 5, the same steps of as many rows, the weights that were best on the validation rows). Anomalies: how well
-log p tells labelled anomalies from the rest, beside scikit-learn's isolation forest and local outlier factor; nobody
sees a label in training. Run it through `./scripts/bench quality`.
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
from peers import VERSIONS, zuko_flow  # noqa: E402
from protos import import_protos  # noqa: E402
from servers import Control, densityd  # noqa: E402
from sklearn.ensemble import IsolationForest  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from sklearn.neighbors import LocalOutlierFactor  # noqa: E402
from tables import ANOMALIES, TABLES, load, load_anomalies  # noqa: E402

CORE = 1
PRESETS = ("maf", "nsf_ar")
TRANSFORMS = 5
HIDDEN = 128
BATCH = 512
STEPS = 3000
VALIDATION_INTERVAL = 250
SEEDS = 5
ANOMALY_STEPS = 1000
QUICK = {"tables": ("power",), "anomalies": ("mammography",), "steps": 200, "seeds": 1, "rows": 20000}


def summary(log_prob):
    """Mean and twice its standard error."""
    log_prob = numpy.asarray(log_prob, dtype=float)
    return {"mean": float(log_prob.mean()), "error": float(2 * log_prob.std() / len(log_prob) ** 0.5)}


def gaussian(train, test):
    covariance = numpy.atleast_2d(numpy.cov(train, rowvar=False))
    difference = test - train.mean(axis=0)
    _, log_det = numpy.linalg.slogdet(covariance)
    squares = (difference * numpy.linalg.solve(covariance, difference.T).T).sum(axis=1)
    return summary(-0.5 * (squares + log_det + train.shape[1] * numpy.log(2 * numpy.pi)))


def _mean_log_prob(flow, rows):
    with torch.no_grad():
        return torch.cat([flow().log_prob(chunk) for chunk in torch.from_numpy(rows).split(4096)]).double()


def zuko(preset, train, validation, test, steps):
    torch.manual_seed(0)
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
            mean = _mean_log_prob(flow, validation).mean().item()
            if mean > best:
                best, best_weights = mean, {key: value.clone() for key, value in flow.state_dict().items()}
    seconds = time.perf_counter() - begin
    flow.load_state_dict(best_weights)
    return {**summary(_mean_log_prob(flow, test)), "seconds": seconds}


def train_densityd(control, model, preset, rows, steps, validation_fraction, **flow):
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel

    # Its own defaults keep a moving average of the weights: left out, for the same recipe.
    options = {"steps": steps, "batch_size": BATCH, "learning_rate": 1e-3, "clip_norm": 5, "ema_decay": 0, "threads": 1,
               "validation_interval": min(VALIDATION_INTERVAL, steps), "validation_fraction": validation_fraction,
               "patience": 0}
    return control.train(model, rows, options, preset=flow_spec_pb2.Preset(name=preset, **flow)).report


def measure_table(suite, control, name, steps, limit):
    train, validation, test = load(name, suite.options.data_dir, limit)
    known = numpy.concatenate([train, validation])
    entry = {"table": name, "rows": len(train), "features": train.shape[1], "gaussian": gaussian(known, test),
             "presets": []}
    suite.note(f"{name}, {train.shape[1]} columns, {len(train)} rows: Gaussian {entry['gaussian']['mean']:.3f} nats")
    for preset in PRESETS:
        report = train_densityd(control, f"{name}-{preset}", preset, known, steps, len(validation) / len(known),
                                transforms=TRANSFORMS, hidden=[HIDDEN, HIDDEN])
        ours = {**summary(control.log_prob(f"{name}-{preset}", test)), "seconds": report.seconds}
        theirs = zuko(preset, train, validation, test, steps)
        entry["presets"].append({"preset": preset, "steps": steps, "densityd": ours, "zuko": theirs})
        suite.note(f"{name} {preset}: densityd {ours['mean']:.3f} +- {ours['error']:.3f} nats in {ours['seconds']:.0f} "
                   f"s, zuko {theirs['mean']:.3f} +- {theirs['error']:.3f} in {theirs['seconds']:.0f} s")
        suite.compare("quality_table", f"{name} {preset}", ours["mean"] - (theirs["mean"] - theirs["error"]))
        suite.compare("quality_gaussian", f"{name} {preset}", ours["mean"] - entry["gaussian"]["mean"])
    return entry


def measure_anomalies(suite, control, name, steps, seeds):
    areas = {"densityd": [], "isolation forest": [], "local outlier factor": []}
    for seed in range(seeds):
        train, test, labels = load_anomalies(name, suite.options.data_dir, seed)
        model = f"{name.lower()}-{seed}"
        # Rows are few and some of them anomalies: a small network, and the recipe's own early end.
        train_densityd(control, model, "maf", train, steps, 0.1, transforms=3, hidden=[64, 64])
        areas["densityd"].append(roc_auc_score(labels, -control.log_prob(model, test)))
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
                measure_anomalies(suite, control, name, QUICK["steps"] if quick else ANOMALY_STEPS,
                                  QUICK["seeds"] if quick else SEEDS) for name in anomalies]
    if anomalies:
        compare_anomalies(suite, suite.figures["anomalies"])
    suite.finish()


if __name__ == "__main__":
    main()
