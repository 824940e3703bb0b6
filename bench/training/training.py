"""Training steps per second: densityd's `Train` call against the same recipe in zuko, on the same core.

The recipe: Adam, learning rate 1e-3 falling to 0 along a cosine, gradients clipped to a global norm of 5, batches of
512 or 128 rows drawn from 16384 rows, the same shapes of networks, one thread. densityd's figure is what its training
report says of the loop, warm-up and validation included; zuko's loop is warm before it is timed and never validates.
For some shapes there is a third: zuko under torch.compile, with fused Adam and MKL's fast path. All take turns, round by
round. Steps without `Train` around them are measured by engine_bench, beside oneDNN's matrix product, and so are splines.
What two threads and two ranks make of it is scaling.py's part: `--only threads` and `--only ranks`; what is lost where
rows do not fit into memory is out_of_core.py's.
Run it through `./scripts/bench training`.
"""

import contextlib
import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("common", "engine", "service")]
from engine_bench import run_bench  # noqa: E402
from suite import Suite, median  # noqa: E402

import torch  # noqa: E402
from compiled_peer import CompiledPeer  # noqa: E402
from out_of_core import measure_out_of_core  # noqa: E402
from peers import VERSIONS  # noqa: E402
from protos import import_protos  # noqa: E402
from scaling import measure_scaling  # noqa: E402
from servers import Control, densityd, example_rows  # noqa: E402
from zuko_training import ZukoTraining  # noqa: E402

CORE = 1
ROWS = 16384
VALIDATION_ROWS = 512
ROUNDS = 5
KERNEL_ROUNDS = 3
# Seconds of one round of one side.
ROUND_SECONDS = 3.0
# (preset, D, hidden units of both hidden layers, transforms), rows of a batch, the bar that it is held to
RUNS = (
    (("realnvp", 6, 256, 8), 512, "training_realnvp"),
    (("maf", 6, 256, 8), 512, "training_maf"),
    (("maf", 43, 256, 8), 512, "training_maf"),
    (("realnvp", 63, 512, 8), 512, None),
    (("maf", 63, 512, 8), 512, "training_maf"),
    (("nsf_coupling", 6, 256, 8), 512, "training_nsf_coupling"),
    (("nsf_ar", 6, 256, 8), 512, "training_nsf_ar"),
    (("nsf_ar", 63, 256, 8), 512, "training_nsf_ar"),
    (("maf", 6, 256, 8), 128, "training_maf_128"),
    (("nsf_ar", 6, 256, 8), 128, "training_nsf_ar_128"),
)
# What torch.compile is measured on, and the bar: compiling a step takes it minutes.
COMPILED = {
    (("maf", 6, 256, 8), 512): "training_maf_compile",
    (("nsf_ar", 6, 256, 8), 512): "training_nsf_ar_compile",
}


def densityd_step_seconds(control, shape, rows, batch, steps):
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel

    preset, _, hidden, layers = shape
    flow = flow_spec_pb2.Preset(name=preset, transforms=layers, hidden=[hidden, hidden])
    options = {"steps": steps, "batch_size": batch, "validation_interval": steps, "threads": 1,
               "validation_fraction": VALIDATION_ROWS / len(rows)}
    report = control.train("bench", rows, options, preset=flow).report
    if report.steps != steps:
        raise RuntimeError(f"{report.steps} of {steps} steps were done")
    return report.seconds / steps, report.trainer


def name_of(shape, batch):
    return "/".join(str(part) for part in (*shape, batch))


def measure(suite, control, run, rounds, seconds):
    shape, batch, bar = run
    rows = example_rows(ROWS, shape[1])
    zuko = ZukoTraining(shape, rows, batch)
    compile_bar = None if suite.options.quick else COMPILED.get((shape, batch))
    with contextlib.ExitStack() as stack:
        peers = {"zuko": zuko}
        if compile_bar is not None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            peers["torch.compile"] = stack.enter_context(CompiledPeer(shape, rows, batch, folder))
        steps = {name: max(3, round(seconds / peer.step_seconds())) for name, peer in peers.items()}
        theirs, ours = {name: [] for name in peers}, []
        our_steps = 2 * steps["zuko"]
        for _ in range(rounds):
            for name, peer in peers.items():
                theirs[name].append(peer.step_seconds(steps[name]))
            step, trainer = densityd_step_seconds(control, shape, rows, batch, our_steps)
            ours.append(step)
            our_steps = max(10, round(seconds / ours[-1]))
    ratios = {name: median([a / b for a, b in zip(theirs[name], ours)]) for name in peers}
    peers_text = ", ".join(f"{name} {1e3 * median(theirs[name]):.1f} ms, {ratios[name]:.2f}x" for name in peers)
    suite.note(f"{name_of(shape, batch)}: densityd {1e3 * median(ours):.1f} ms a step ({1 / median(ours):.1f} steps/s, "
               f"{trainer}), {peers_text}")
    if bar is not None:
        suite.compare(bar, f"D = {shape[1]}", ratios["zuko"])
    entry = {"preset": shape[0], "features": shape[1], "hidden": shape[2], "layers": shape[3], "batch": batch,
             "trainer": trainer, "ms_per_step": 1e3 * median(ours), "steps_per_second": 1 / median(ours),
             "zuko_ms_per_step": 1e3 * median(theirs["zuko"]), "ratio": ratios["zuko"]}
    if compile_bar is not None:
        suite.compare(compile_bar, f"D = {shape[1]}", ratios["torch.compile"])
        entry["compile_ms_per_step"] = 1e3 * median(theirs["torch.compile"])
        entry["compile_ratio"] = ratios["torch.compile"]
    return entry


def measure_kernels(suite, runs, rounds):
    """Useful rates of steps of 512 rows beside oneDNN's, and times of splines."""
    shapes = dict.fromkeys(shape for shape, batch, _ in runs if batch == 512)
    names = {f"training/{'/'.join(map(str, shape))}/512/threads:1/real_time": shape for shape in shapes}
    splines = {f"training_kernel/{key}/8/manual_time": key for key in ("spline_forward", "spline_backward")}
    if not suite.wants("kernel"):
        splines = {}
    if not names and not splines:
        return {}
    peak = "peak/onednn-512"
    pattern = f"^({'|'.join([peak, *names, *splines])})$"
    measured = [run_bench(suite.options.programs / "engine_bench", pattern, 0.5, CORE)[0] for _ in range(rounds)]
    figures = {"useful": [], "splines": {}}
    for name, shape in names.items():
        share = median([run[name]["useful"] / run[peak]["useful"] for run in measured])
        rate = median([run[name]["useful"] for run in measured])
        suite.note(f"{name_of(shape, 512)}: {rate / 1e9:.1f} useful GF/s, {share:.2f} of oneDNN's")
        suite.compare("training_share", f"{shape[0]} D = {shape[1]}", share)
        figures["useful"].append({"preset": shape[0], "features": shape[1], "hidden": shape[2], "layers": shape[3],
                                  "gflops": rate / 1e9, "share": share})
    for name, key in splines.items():
        nanoseconds = median([1e9 / run[name]["numbers"] for run in measured])
        suite.note(f"{name}: {nanoseconds:.2f} ns per element")
        suite.compare(f"training_{key}", "8 bins", nanoseconds)
        figures["splines"][key] = nanoseconds
    return figures


def main():
    suite = Suite("training", __doc__,
                  lambda parser: parser.add_argument("--protos", required=True, type=pathlib.Path,
                                                     help="folder that holds density/v1/*.proto"))
    suite.machine["versions"].update({name: VERSIONS[name] for name in ("torch", "zuko")})
    import_protos(suite.options.protos)
    os.sched_setaffinity(0, {CORE})
    torch.set_num_threads(1)
    rounds, seconds = (1, 1.0) if suite.options.quick else (ROUNDS, ROUND_SECONDS)
    runs = [run for run in RUNS if suite.wants(name_of(run[0], run[1]))]
    if suite.options.quick:
        runs = [run for run in runs if run[0][1] == 6 and run[1] == 512]
    with densityd(CORE, suite.options.programs / "densityd") as (port, _, _):
        with Control(port) as control:
            suite.figures["trainings"] = [measure(suite, control, run, rounds, seconds) for run in runs]
    suite.figures["kernels"] = measure_kernels(suite, runs, 1 if suite.options.quick else KERNEL_ROUNDS)
    suite.figures["scaling"] = measure_scaling(suite)
    suite.figures["out_of_core"] = measure_out_of_core(suite)
    suite.finish()


if __name__ == "__main__":
    main()
