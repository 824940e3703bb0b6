"""What a training gains by a second thread, or by a second rank on this machine.

All through `Train`, and in pairs of trainings that take turns. Both cores must be idle. No Python peer takes part.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import tempfile

from servers import Control, densityd, example_rows
from suite import median

CORES = (0, 1)
ROWS = 16384
ROUNDS = 5
# Of one training.
SECONDS = 4.0
# (preset, D, hidden units of both hidden layers, transforms), rows of a batch
THREADED = (
    (("maf", 6, 256, 8), 512),
    (("maf", 63, 512, 8), 512),
    (("realnvp", 6, 256, 8), 512),
    (("nsf_ar", 6, 256, 8), 512),
    (("maf", 6, 256, 8), 128),
)
RANKED = (
    (("maf", 6, 256, 8), 512),
    (("maf", 6, 256, 8), 2048),
)


def _name(what, shape, batch):
    return "/".join(str(part) for part in (what, *shape, batch))


def _request(shape, rows, batch, steps, threads=1):
    """Arguments of Control.train."""
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel

    preset, _, hidden, layers = shape
    options = {"steps": steps, "batch_size": batch, "validation_interval": steps, "threads": threads,
               "validation_fraction": 512 / ROWS}
    return ("bench", rows, options), {"preset": flow_spec_pb2.Preset(name=preset, transforms=layers,
                                                                      hidden=[hidden, hidden])}


def _step_seconds(training):
    report = training.report
    if report.trainer != "compiled":
        raise RuntimeError(f"not compiled: {report.not_compiled_because}")
    return report.seconds / report.steps


def _pairs(suite, name, bar, one, other, rounds):
    """Times of a step by `one(steps)` and `other(steps)`, in turns. The figure is how many times as fast the other is."""
    steps = max(20, round(SECONDS / one(20)))
    ones, others = [], []
    for _ in range(rounds):
        ones.append(one(steps))
        others.append(other(steps))
    ratio = median([a / b for a, b in zip(ones, others)])
    suite.note(f"{name}: {1e3 * median(ones):.2f} and {1e3 * median(others):.2f} ms a step, {ratio:.2f}x")
    suite.compare(bar, name.partition("/")[2], ratio)
    return {"name": name, "ms_per_step": [1e3 * median(ones), 1e3 * median(others)], "ratio": ratio}


def measure_threads(suite, program, rounds):
    entries = []
    runs = [(shape, batch) for shape, batch in THREADED if suite.wants(_name("threads", shape, batch))]
    if not runs:
        return entries
    with densityd(",".join(map(str, CORES)), program) as (port, _, _), Control(port) as control:
        for shape, batch in runs:
            rows = example_rows(ROWS, shape[1])

            def step(steps, threads, shape=shape, batch=batch, rows=rows):
                arguments, flow = _request(shape, rows, batch, steps, threads)
                return _step_seconds(control.train(*arguments, **flow))

            entries.append(_pairs(suite, _name("threads", shape, batch), "training_threads",
                                  lambda steps, step=step: step(steps, 1), lambda steps, step=step: step(steps, 2),
                                  rounds))
    return entries


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def measure_ranks(suite, program, rounds):
    entries = []
    runs = [(shape, batch) for shape, batch in RANKED if suite.wants(_name("ranks", shape, batch))]
    if not runs:
        return entries
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="densityd-bench-"))
        ranks = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        port, _, _ = stack.enter_context(densityd(CORES[0], program))
        alone = stack.enter_context(Control(port))
        port, _, _ = stack.enter_context(densityd(CORES[0], program, folder=folder, environment=ranks))
        shared = stack.enter_context(Control(port))
        for shape, batch in runs:
            rows = example_rows(ROWS, shape[1])

            def by_one(steps, shape=shape, batch=batch, rows=rows):
                arguments, flow = _request(shape, rows, batch, steps)
                return _step_seconds(alone.train(*arguments, **flow))

            def by_two(steps, shape=shape, batch=batch, rows=rows):
                arguments, flow = _request(shape, rows, batch, steps)
                training = shared.start(*arguments, **flow)
                job = pathlib.Path(folder, "root", "trainings", training.id)
                with subprocess.Popen(["taskset", "-c", str(CORES[1]), program, "train-worker", job],
                                      env=ranks | {"RANK": "1"}, stderr=subprocess.DEVNULL) as second:
                    try:
                        done = shared.wait(training)
                    except BaseException:
                        second.kill()
                        raise
                return _step_seconds(done)

            entries.append(_pairs(suite, _name("ranks", shape, batch), "training_ranks", by_one, by_two, rounds))
    return entries


def measure_scaling(suite):
    program = suite.options.programs / "densityd"
    rounds = 1 if suite.options.quick else ROUNDS
    return measure_threads(suite, program, rounds) + measure_ranks(suite, program, rounds)
