"""The picture of docs/paper_scale.md: learning curves."""

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

COLORS = {"nsf_coupling": "#3b6ea5", "nsf_ar": "#d98f2b"}


def draw_curves(entries, names, path):
    """Writes the picture, a PNG, to `path`: one panel for each table of `entries`. `names`: of presets."""
    tables = list(dict.fromkeys(entry["table"] for entry in entries))
    figure, axes = pyplot.subplots(1, len(tables), figsize=(max(4.5, 3.2 * len(tables)), 2.6), layout="constrained",
                                   squeeze=False)
    for axis, table in zip(axes[0], tables):
        seen = []
        for entry in (entry for entry in entries if entry["table"] == table):
            minutes = [point["seconds"] / 60 for point in entry["curve"]]
            validation = [point["validation"] for point in entry["curve"]]
            seen += validation[len(validation) // 20:]
            axis.plot(minutes, validation, color=COLORS[entry["preset"]], label=names[entry["preset"]])
            axis.plot(minutes, [point["train"] for point in entry["curve"]], color=COLORS[entry["preset"]],
                      linewidth=0.6, alpha=0.6)
        # The first steps would flatten all that follows.
        margin = 0.08 * (max(seen) - min(seen))
        axis.set_ylim(min(seen) - margin, max(seen) + margin)
        axis.set_title(f"{table}: nats per row", fontsize=9)
        axis.set_xlabel("minutes (bold: validation rows)", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7, frameon=False, loc="lower right")
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
