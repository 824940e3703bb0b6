"""docs/quality.md, from quality.json."""

from statistics import mean

from markdown import number, table

INTRODUCTION = """# How good the densities are

This page is written by `./scripts/bench report` from what `./scripts/bench quality` measured, and is not edited by hand.
The tables are public; `--data-dir` names their folder, and `bench/quality/tables.py` says how each is read and split.
`--check` compares a run with the bars below, `--quick` takes a minute, `--only PATTERN` measures a part.
"""

TABLES = """## Tables
Mean log-likelihood, in nats per row, of rows that nobody trained on, with twice its standard error. Columns are
standardised; numbers that repeat have noise as wide as their resolution, for everybody the same. Both sides train the
same flow ({transforms}) with the same recipe: {steps} steps of 512 rows, Adam at 1e-3 falling to 0 along a cosine,
gradients clipped to a global norm of 5, one thread, the weights that were best on the validation rows.

"""

ANOMALIES = """## Anomalies
Area under the ROC curve of -log p on the labelled half that was not trained on; mean over {seeds} splits (lowest …
highest). Nobody sees a label in training, and the anomalies are in the training rows as they come. densityd: a small MAF
({steps} steps); scikit-learn's detectors as they are by default.

"""

PRESETS = {"maf": "MAF", "nsf_ar": "NSF, autoregressive"}


def _nats(figure):
    return f"{figure['mean']:.3f} ± {figure['error']:.3f}"


def _tables_section(run):
    rows = []
    for entry in run["tables"]:
        for one in entry["presets"]:
            rows.append([entry["table"], str(entry["features"]), f"{entry['rows']:,}", PRESETS[one["preset"]],
                         _nats(one["densityd"]), _nats(one["zuko"]), _nats(entry["gaussian"]),
                         number(one["steps"] / one["densityd"]["seconds"]), number(one["steps"] / one["zuko"]["seconds"])])
    head = ["table", "columns", "rows", "flow", "densityd", "zuko", "Gaussian", "steps/s", "zuko, steps/s"]
    steps = run["tables"][0]["presets"][0]["steps"]
    return TABLES.format(transforms=run["flow"], steps=f"{steps:,}") + table(head, rows)


def _area(values):
    return f"{mean(values):.3f} ({min(values):.3f} … {max(values):.3f})"


def _anomalies_section(run):
    rows = [[entry["table"], *(_area(values) for values in entry["areas"].values())] for entry in run["anomalies"]]
    means = [mean(mean(entry["areas"][who]) for entry in run["anomalies"]) for who in run["anomalies"][0]["areas"]]
    rows.append(["mean", *(f"{value:.3f}" for value in means)])
    first = run["anomalies"][0]
    return ANOMALIES.format(seeds=first["seeds"], steps=f"{first['steps']:,}") + table(["table", *first["areas"]], rows)


def quality_page(run, run_section, bars_section):
    """The whole page."""
    return "\n".join([INTRODUCTION, run_section, bars_section, _tables_section(run), _anomalies_section(run)])
