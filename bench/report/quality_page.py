"""docs/quality.md, from quality.json."""

from statistics import mean

from markdown import number, table

INTRODUCTION = """# How good the densities are

This page is written by `./scripts/bench report` from what `./scripts/bench quality` measured, and is not edited by hand.
The tables are public; `--data-dir` names their folder, and `bench/quality/tables.py` says how each is read and split.
`--check` compares a run with the bars below and names each one that is missed; `--only PATTERN` measures a part; `--quick`
takes less than five minutes and is one of the tests (`ctest -R bench_quality`).
"""

TABLES = """## Tables
Mean log-likelihood, in nats per row, of rows that nobody trained on, with twice its standard error. Columns are
standardised; numbers that repeat have noise as wide as their resolution, for everybody the same. Both sides train the
same flow ({transforms}; splines of 8 bins on [-5, 5]) with the same recipe: {steps} steps of 512 rows, Adam at 1e-3
falling to 0 along a cosine, gradients clipped to a global norm of 5, one thread, the weights that were best on the
validation rows. MAF: the middle one of ten trainings (lowest … highest) by each side, which differ by their seed. Not
their mean: a flow bends steeply where it saw no rows, and one held-out row there can decide it. Seconds are those of one
training, with its validations.

"""

ANOMALIES = """## Anomalies
Area under the ROC curve of -log p on the labelled half that was not trained on; mean over {seeds} splits (lowest …
highest). Nobody sees a label in training, and the anomalies are in the training rows as they come. densityd: a small MAF
and one recipe for all tables, {steps} steps of 512 rows. A flow starts as the normal distribution of the standardised
columns; few steps learn what most rows have in common, many steps also the clusters that the anomalies form. How few was
chosen by the areas on two other splits of the same tables. scikit-learn's detectors are as they are by default.

"""

DIGITS = """## Images
MNIST's digits, {rows:,} to train on and {test_rows:,} to test on, 28 x 28 pixels as whole numbers 0 … 255; one thread.
Nats per image are the mean of log p at x + u, u uniform within [0, 1), with twice its standard error: a lower bound of
the log-probability of the whole numbers. Bits per dimension are -log p / (784 ln 2). The Gaussian is that of the
pixels' logits, with full covariance. `bench/quality/digits.py` has the recipes: minutes, where papers spend days.

"""

PRESETS = {"maf": "MAF", "nsf_ar": "NSF, autoregressive", "glow": "Glow"}


def _nats(figure):
    text = f"{figure['mean']:.3f} ± {figure['error']:.3f}"
    seeds = figure.get("seeds", [])
    return text + (f" ({min(seeds):.3f} … {max(seeds):.3f})" if len(seeds) > 1 else "")


def _tables_section(run):
    rows = []
    for entry in run["tables"]:
        for one in entry["presets"]:
            rows.append([entry["table"], str(entry["features"]), f"{entry['rows']:,}", PRESETS[one["preset"]],
                         _nats(one["densityd"]), _nats(one["zuko"]), _nats(entry["gaussian"]),
                         *(number(one[who]["seconds"]) for who in ("densityd", "zuko")),
                         *(number(one["steps"] / one[who]["seconds"]) for who in ("densityd", "zuko"))])
    head = ["table", "columns", "rows", "flow", "densityd", "zuko", "Gaussian", "seconds", "zuko, seconds", "steps/s",
            "zuko, steps/s"]
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


def _digits_section(digits, picture):
    rows = [["Gaussian", "", "", "", "", f"{digits['gaussian']['mean']:.0f} ± {digits['gaussian']['error']:.0f}",
             f"{digits['gaussian']['bits']:.3f}"]]
    for one in digits["presets"]:
        rows.append([PRESETS[one["preset"]], f"{one['parameters']:,}", f"{one['steps']:,}", str(one["batch"]),
                     f"{one['seconds'] / 60:.1f}", f"{one['mean']:.0f} ± {one['error']:.0f}", f"{one['bits']:.3f}"])
    text = DIGITS.format(**digits) + table(["flow", "parameters", "steps", "rows a step", "minutes", "nats per image",
                                            "bits per dimension"], rows)
    if picture:
        text += f"\n![Learning curves, and digits drawn from the models]({picture})\n"
    return text


def quality_page(run, run_section, bars_section, picture=None):
    """The whole page. `picture`: path of the digits' picture, from the page."""
    parts = [INTRODUCTION, run_section, bars_section, _tables_section(run), _anomalies_section(run)]
    if "digits" in run:
        parts.append(_digits_section(run["digits"], picture))
    return "\n".join(parts)
