"""docs/paper_scale.md, from the trainings of `./scripts/bench paper`, which are kept in docs/paper_scale.json."""

import json

from markdown import number, table

INTRODUCTION = """# Flows of the size that papers have

This page is written by `./scripts/bench report` from what `./scripts/bench paper` measured, and is not edited by hand.
`--only "bsds300 nsf_ar"` does one training and leaves the others as they are.

Neural spline flows as in Durkan et al. 2019: 10 rational-quadratic splines of 8 bins on [-3, 3], a random permutation and
an LU layer between two, residual networks of 2 blocks of 256, dropout 0.2, Adam at 5e-4 falling to 0 along a cosine,
gradients clipped to a norm of 5, 512 rows a step; a quarter of the paper's 400,000 steps. Two threads. Mean
log-likelihood, in nats per row, of rows that nobody trained on, with twice its standard error, of the weights that were
best on the validation rows.

"""

PUBLISHED = """
BSDS300 is made of Berkeley's photographs by the papers' recipe (`bench/paper/patches.py`); the other tables are those of
[quality.md](quality.md). Published for the papers' patches, splines after 400,000 steps:

| flow | nats | from |
|---|---:|---|
| Gaussian | 96.67 ± 0.25 | Papamakarios et al. 2017 |
| RealNVP, 10 layers | 153.28 ± 1.78 | Papamakarios et al. 2017 |
| MAF, 5 layers | 155.69 ± 0.28 | Papamakarios et al. 2017 |
| FFJORD | 157.40 | Grathwohl et al. 2019 |
| NSF, coupling | 157.54 ± 0.28 | Durkan et al. 2019 |
| NSF, autoregressive | 157.31 ± 0.28 | Durkan et al. 2019 |
"""

PRESETS = {"nsf_coupling": "NSF, coupling", "nsf_ar": "NSF, autoregressive"}


def merge_trainings(kept, folder):
    """Those of the JSON file `kept`, each replaced by its latest run in `folder`; the file is written anew where there
    are any of those."""
    entries = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    trainings = {(entry["table"], entry["preset"]): entry for entry in entries}
    latest = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    trainings.update({(entry["table"], entry["preset"]): entry for entry in latest})
    entries = [trainings[key] for key in sorted(trainings)]
    if latest:
        lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries)
        kept.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return entries


def _nats(figure):
    return f"{figure['mean']:.3f} ± {figure['error']:.3f}"


def paper_page(entries, picture):
    """The whole page. `picture`: path of the learning curves' picture, from the page; None: there is none."""
    rows = [[entry["table"], PRESETS[entry["preset"]], str(entry["features"]), f"{entry['rows']:,}",
             f"{entry['parameters']:,}", f"{entry['steps']:,}", f"{entry['best_step']:,}", _nats(entry["log_prob"]),
             _nats(entry["gaussian"]), number(entry["seconds"] / 60), number(entry["steps"] / entry["seconds"]),
             entry["trainer"]] for entry in entries]
    head = ["table", "flow", "columns", "rows", "parameters", "steps", "best at", "densityd", "Gaussian", "minutes",
            "steps/s", "trainer"]
    text = INTRODUCTION + table(head, rows, words=2)
    if any(entry["table"] == "bsds300" for entry in entries):
        text += PUBLISHED
    if picture:
        text += f"\n![Learning curves: nats per row by minutes]({picture})\n"
    runs = sorted({(entry["date"], entry["commit"], entry["processor"], entry["cores"]) for entry in entries})
    text += "\n## The runs\n"
    return text + table(["date", "commit", "processor", "cores"],
                        [[date, f"`{commit}`", processor, str(cores)] for date, commit, processor, cores in runs], words=3)
