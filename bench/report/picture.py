"""The picture of docs/benchmarks.md: how many times faster than each Python library."""

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot, ticker  # noqa: E402

NAMES = {"realnvp": "RealNVP", "maf": "MAF", "nsf_coupling": "NSF (coupling)", "nsf_ar": "NSF (autoregr.)"}
COLORS = {"zuko": "#3b6ea5", "nflows": "#d98f2b", "torch.compile": "#5a9a68"}
PANELS = (
    ("log_prob", 4096, "density, 4096 rows"),
    ("sample", 4096, "samples, 4096 rows"),
    ("log_prob", 1, "density, 1 row"),
)


def _panel(axis, entries, op, rows, title):
    entries = [entry for entry in entries if (entry["op"], entry["rows"]) == (op, rows)]
    places = range(len(entries))
    for i, peer in enumerate(("zuko", "nflows", "torch.compile")):
        ratios = [entry["peers"].get(peer, {}).get("ratio") for entry in entries]
        known = [(place + 0.27 * (i - 1), ratio) for place, ratio in zip(places, ratios) if ratio]
        if known:
            # From 1 to the ratio: on a logarithmic axis a bar has no natural beginning but "as fast".
            axis.barh([place for place, _ in known], [ratio - 1 for _, ratio in known], left=1, height=0.25,
                      color=COLORS[peer], label=peer)
            for place, ratio in known:
                text = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
                axis.text(ratio * 1.05, place, text, va="center", fontsize=6)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}x"))
    axis.set_ylim(-0.6, len(entries) - 0.4)
    axis.axvline(1, color="#888888", linewidth=0.8)
    axis.set_yticks(list(places), [f"{NAMES[entry['preset']]} D={entry['features']}" for entry in entries], fontsize=7)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_title(title, fontsize=9)
    axis.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def draw(runs, path):
    """Writes the picture, a PNG, to `path`."""
    entries = runs["engine"]["plans"]
    count = max(1, len({(entry["preset"], entry["features"]) for entry in entries}))
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(11, 1.2 + 0.36 * count), sharey=True,
                                  layout="constrained")
    for axis, (op, rows, title) in zip(axes, PANELS):
        _panel(axis, entries, op, rows, title)
    figure.suptitle("How many times faster than Python's libraries, one core", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
