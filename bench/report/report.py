"""Writes docs/benchmarks.md, docs/quality.md and docs/paper_scale.md with their pictures from the JSON files of the
benchmarks: nothing that was measured is typed.

Reads engine.json, service.json, training.json and quality.json of build/bench/, as the whole runs leave them; what was
not run is left out. Trainings of `paper` are kept in docs/paper_scale.json until they are run again. Run it through `./scripts/bench report`.
"""

import argparse
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from markdown import number, table  # noqa: E402
from paper_page import PRESETS as PAPER_PRESETS, merge_trainings, paper_page  # noqa: E402
from quality_page import quality_page  # noqa: E402

PROJECT = HERE.parents[1]
SUITES = ("engine", "service", "training")
PRESETS = {"realnvp": "RealNVP", "maf": "MAF", "nsf_coupling": "NSF, coupling", "nsf_ar": "NSF, autoregressive"}
PICTURE = "images/benchmarks.png"
DIGITS_PICTURE = "images/digits.png"
CURVES_PICTURE = "images/paper_scale.png"

INTRODUCTION = """# Benchmarks

This page is written by `./scripts/bench report` from what these commands measured, and is not edited by hand:

```
./scripts/bench engine && ./scripts/bench service && ./scripts/bench training && ./scripts/bench report
```

Leave the machine alone while they run. `--check` compares a run with the bars below and fails where one is missed;
`--quick` takes two minutes, `--only PATTERN` measures a part. Ratios are between figures of the same run on the same
core, taken within a round and then the median over the rounds, because clocks of rented machines drift.
"""


def milliseconds(us):
    return number(us / 1000) if us is not None else "–"


def model_name(entry):
    return f"{PRESETS[entry['preset']]}, D = {entry['features']}, {entry['hidden']}x2, {entry['layers']} layers"


def run_section(runs, suites=SUITES):
    rows = []
    for name, run in runs.items():
        rows.append([f"`{run['command']}`", run["date"], f"{run['seconds'] / 60:.0f} min", f"`{run['commit']}`"])
    first = next(iter(runs.values()))
    versions = {}
    for run in runs.values():
        versions.update(run["versions"])
    text = "## The runs\n" + table(["command", "date", "took", "commit"], rows, words=4)
    text += f"\n{first['processor']}, {first['cores']} cores, {first['memory_gib']} GiB; {first['system']}"
    simd = runs.get("engine", {}).get("simd_target")
    text += f"; SIMD target {simd}.\n" if simd else ".\n"
    text += "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items() if version) + ".\n"
    absent = [name for name in suites if name not in runs]
    if absent:
        text += "\nNot run: " + ", ".join(f"`./scripts/bench {name}`" for name in absent) + ".\n"
    return text


def bars_section(runs, why=""):
    """`why`: a link to what limits the figures, for those that miss."""
    groups = {}
    for run in runs.values():
        for result in run["bars"]:
            groups.setdefault((result["figure"], result["wanted"]), []).append(result)
    rows = []
    for (figure, wanted), results in groups.items():
        worst = (min if wanted.startswith("at least") else max)(results, key=lambda result: result["value"])
        value = number(worst["value"]) if worst["value"] else "0"
        if len(results) > 1 and worst["where"]:
            value += f" ({worst['where']})"
        met = sum(result["met"] for result in results)
        rows.append([figure, wanted, value, "yes" if met == len(results) else f"{met} of {len(results)}"])
    text = "## Bars\nThe worst value of each, where it applies more than once.\n\n"
    text += table(["figure", "wanted", "measured", "met"], rows, words=4)
    absent = [figure for run in runs.values() for figure in run["bars_not_measured"]]
    if absent:
        text += "\nNot measured:\n" + "\n".join(f"- {figure}" for figure in absent) + "\n"
    missed = [f"- {result['figure']}{', ' if result['where'] else ''}{result['where']}: {number(result['value'])} "
              f"({result['wanted']})"
              + (f"; {result['note']}" if result["note"] else "")
              for run in runs.values() for result in run["bars"] if not result["met"]]
    if missed:
        text += f"\nMissed{why}:\n" + "\n".join(missed) + "\n"
    return text


def plans_table(entries, op, rows):
    lines = []
    for entry in entries:
        if (entry["op"], entry["rows"]) != (op, rows):
            continue
        unit = milliseconds if rows > 1 else number
        peers = entry["peers"]
        line = [model_name(entry), unit(entry["us"])]
        if rows > 64:
            line += [number(entry["useful_gflops"]), number(entry["dense_gflops"]), number(entry["share_of_onednn"])]
        line += [unit(peers.get(peer, {}).get("us")) for peer in ("zuko", "nflows", "torch.compile")]
        best = entry["ratio_to_best_peer"]
        lines.append(line + [f"{number(best)}x" if best else "–"])
    unit = "ms" if rows > 1 else "us"
    head = ["model", unit] + (["GF/s", "dense GF/s", "of oneDNN"] if rows > 64 else [])
    return table(head + [f"zuko, {unit}", f"nflows, {unit}", f"torch.compile, {unit}", "ratio to the best"], lines)


def left_out(entries):
    """Calls of peers that were not made, with the reason, grouped by peer and op."""
    lines = []
    for entry in entries:
        for peer, figures in entry["peers"].items():
            if "left_out" in figures and entry["op"] in ("log_prob", "sample"):
                lines.append(f"- {peer}, {entry['op']}, {entry['rows']} rows of {model_name(entry)}: "
                             f"{figures['left_out']}")
    return "\n".join(lines)


def engine_section(run):
    text = f"""## Engine: one core, in process
Useful GF/s count the multiply-adds of conditioners that masks leave; dense GF/s those of the same networks without
masks. A register-resident loop of multiply-adds reaches {number(run['peak_gflops'])} GF/s here, oneDNN's product of
two 512 x 512 matrices {number(run['onednn_512_gflops'])}: "of oneDNN" is the useful rate divided by that. "ratio to the
best" is the time of the fastest library divided by ours. All flows have the same hidden layers; splines have 8 bins.
torch.compile (of zuko) was measured at D = 6, and for RealNVP and MAF at D = 63.

"""
    entries = run["plans"]
    for op, title in (("log_prob", "Density"), ("sample", "Samples"), ("inverse", "x to z"), ("forward", "z to x")):
        text += f"### {title}, 4096 rows\n{plans_table(entries, op, 4096)}\n"
    for rows in (64, 1):
        for op, title in (("log_prob", "Density"), ("sample", "Samples")):
            text += f"### {title}, {rows} row{'s' if rows > 1 else ''}\n{plans_table(entries, op, rows)}\n"
    if run.get("no_compiled_plan"):
        text += "Without a compiled plan: " + ", ".join(sorted(run["no_compiled_plan"])) + ".\n\n"
    skipped = left_out(entries)
    if skipped:
        text += f"Left out of the peers:\n{skipped}\n\n"
    if run.get("kernel_ns"):
        rows = [[f"`{name}`", number(value)] for name, value in run["kernel_ns"].items()]
        text += "### Kernels alone\nForward is z to x; a density asks for the inverse. Splines by their bins.\n\n"
        text += table(["kernel", "ns per number"], rows) + "\n"
    if run.get("scaling"):
        rows = [[f"`{entry['model']}`", number(entry["rows_per_second"]["1"]), number(entry["rows_per_second"]["2"]),
                 f"{number(entry['ratio'])}x"] for entry in run["scaling"]]
        text += "### Two cores\nFour requests of 4096 rows in flight through the scheduler.\n\n"
        text += table(["model", "rows/s, 1 core", "rows/s, 2 cores", "ratio"], rows)
    return text


def service_section(run):
    text = """## Service: one core serves, another one calls
Model: MAF, D = 6, 8 layers, hidden 256x2. The echo is an empty server on gRPC's callback API with messages of the same
size; "null model" is a flow of one scale and shift per column; "python" is grpc.aio with zuko and a micro-batcher. Open
loops count latency from the moment at which a call was meant to start; "late" is by how much the generator, whose core
has as much to do as the server's, began calls after it. "CPU" is the server's processor time per call.

"""
    rows = []
    for entry in run["loads"]:
        if "p50_us" not in entry:
            rows.append([entry["load"], entry["server"], "", "", "", "", number(entry["rows_per_second"]), "", "", "", ""])
            continue
        rows.append([entry["load"], entry["server"], *(number(entry[key]) for key in (
            "p50_us", "p99_us", "p999_us", "calls_per_second", "rows_per_second", "server_cpu_us")),
                     number(entry["rows_per_tile"]) if "rows_per_tile" in entry else "",
                     number(entry["late_p99_us"]) if "late_p99_us" in entry else "",
                     str(entry["failures"])])
    text += table(["load", "server", "p50, us", "p99, us", "p99.9, us", "calls/s", "rows/s", "CPU, us", "rows a tile",
                   "late p99, us", "failed"],
                  rows, words=2)
    if run.get("pauses"):
        pauses = run["pauses"]
        text += (f"\nThe machine itself paused the server's core for {100 * pauses['share']:.1f} % of the time while "
                 f"nothing else ran on it, for up to {number(1e3 * pauses['longest'])} ms at once: no p99 of a loaded "
                 "open loop can be much below that.\n")
    if run.get("swap_ms"):
        text += f"\nA swap (load, move the alias, unload the other version) took {number(run['swap_ms'])} ms.\n"
    return text


def training_section(run):
    text = """## Training: one core
Steps with Adam, a cosine schedule and clipped gradients; densityd through `Train`, with its warm-up and a validation,
zuko in a loop that is warm. torch.compile: zuko with it, fused Adam, and MKL on its fast path.

"""
    rows = [[model_name(entry), str(entry.get("batch", 512)), entry.get("trainer", "libtorch"),
             number(entry["ms_per_step"]), number(entry["steps_per_second"]), number(entry["zuko_ms_per_step"]),
             f"{number(entry['ratio'])}x",
             *([number(entry["compile_ms_per_step"]), f"{number(entry['compile_ratio'])}x"]
               if "compile_ratio" in entry else ["", ""])] for entry in run["trainings"]]
    head = ["model", "rows", "trainer", "ms a step", "steps/s", "zuko, ms", "ratio", "torch.compile, ms", "ratio"]
    text += table(head, rows)
    kernels = run.get("kernels", {})
    if kernels.get("useful"):
        text += """
Steps of 512 rows without `Train` around them: multiply-adds that masks leave of the three products, over all of a
step's time, and over oneDNN's rate for 512 x 512 x 512.

"""
        text += table(["model", "useful GF/s", "of oneDNN's"],
                      [[model_name(entry), number(entry["gflops"]), number(entry["share"])]
                       for entry in kernels["useful"]])
    if kernels.get("splines"):
        text += (f"\nA spline of 8 bins takes {number(kernels['splines']['spline_forward'])} ns per number forward and "
                 f"{number(kernels['splines']['spline_backward'])} ns backward.\n")
    if run.get("scaling"):
        text += "\n### Two threads, two ranks\nBoth cores; ranks are two processes of one machine.\n\n"
        text += table(["what, model, D, hidden, layers, rows", "one, ms a step", "two, ms", "ratio"],
                      [[f"`{entry['name']}`", *map(number, entry["ms_per_step"]), f"{number(entry['ratio'])}x"]
                       for entry in run["scaling"]])
    if run.get("out_of_core"):
        entry = run["out_of_core"]
        text += (f"\n### Rows that do not fit into memory\n`{entry['name']}`: {entry['rows']:,} rows take "
                 f"{number(entry['ms_per_step'][0])} ms a step where they fit, and {number(entry['ms_per_step'][1])} where "
                 f"server and training have {entry['ceiling_mib']} MiB, half of what the rows take: "
                 f"{number(entry['ratio'])} of the speed.\n")
    return text


SECTIONS = {"engine": engine_section, "service": service_section, "training": training_section}


def page(runs, picture):
    """The whole page."""
    parts = [INTRODUCTION]
    if picture:
        parts.append(f"![How many times faster than Python's libraries]({picture})\n")
    parts += [run_section(runs), bars_section(runs, " ([why](engine.md#bars-that-such-a-core-does-not-reach))")]
    parts += [SECTIONS[name](run) for name, run in runs.items()]
    return "\n".join(parts)


def read_runs(folder, suites):
    runs = {}
    for name in suites:
        path = folder / f"{name}.json"
        if path.exists():
            runs[name] = json.loads(path.read_text(encoding="utf-8"))
    return runs


def write_paper_scale(results, docs, with_picture):
    """Whether there is anything to write."""
    entries = merge_trainings(docs / "paper_scale.json", results / "paper")
    if not entries:
        return False
    if with_picture:
        from curves_picture import draw_curves  # pylint: disable=import-outside-toplevel

        draw_curves(entries, PAPER_PRESETS, docs / CURVES_PICTURE)
    (docs / "paper_scale.md").write_text(paper_page(entries, CURVES_PICTURE if with_picture else None), encoding="utf-8")
    print(f"wrote {docs / 'paper_scale.md'}")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=pathlib.Path, default=PROJECT / "build" / "bench",
                        help="folder of the JSON files")
    parser.add_argument("--docs", type=pathlib.Path, default=PROJECT / "docs", help="folder to write into")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib")
    options = parser.parse_args()
    runs = read_runs(options.results, SUITES)
    quality = read_runs(options.results, ("quality",))
    has_paper = write_paper_scale(options.results, options.docs, not options.no_picture)
    if not runs and not quality and not has_paper:
        sys.exit(f"{options.results} holds no results: run ./scripts/bench engine, service, training, quality or paper first")
    if quality:
        picture = None
        if "digits" in quality["quality"] and not options.no_picture:
            from digits_picture import draw_digits  # pylint: disable=import-outside-toplevel

            draw_digits(quality["quality"]["digits"], options.docs / DIGITS_PICTURE)
            picture = DIGITS_PICTURE
        text = quality_page(quality["quality"], run_section(quality, suites=()), bars_section(quality), picture)
        (options.docs / "quality.md").write_text(text, encoding="utf-8")
        print(f"wrote {options.docs / 'quality.md'}")
    if not runs:
        return
    picture = None
    if "engine" in runs and not options.no_picture:
        from picture import draw  # pylint: disable=import-outside-toplevel

        draw(runs, options.docs / PICTURE)
        picture = PICTURE
    (options.docs / "benchmarks.md").write_text(page(runs, picture), encoding="utf-8")
    print(f"wrote {options.docs / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
