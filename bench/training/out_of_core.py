"""What a training loses where its rows do not fit into memory.

Two servers train on the same file, in turns; one of them, with its workers, has so little memory that the rows which a
training keeps (float32 and a float64 each) are twice as much, the pages of files that the kernel keeps for it counted.
Half of it is the processes' own. Both cores may be used: reading ahead is the kernel's work.
"""

import contextlib
import pathlib
import tempfile

import numpy
from memory_limit import NoMemoryLimit, memory_limit
from servers import Control, densityd, example_rows
from suite import RESULTS, median

CORES = "0,1"
FEATURES = 43
ROUNDS = 3
STEPS = 3000
BATCH = 512
CEILING = 768 << 20
# Of which a training keeps twice the ceiling.
ROWS = 2 * CEILING // (4 * FEATURES + 8)
PRESET = {"name": "maf", "transforms": 8, "hidden": [256, 256]}
NAME = f"out_of_core/maf/{FEATURES}/256/8/{BATCH}"


def _write_rows(path, count):
    """`count` rows, some of which are alike: what matters is where they lie."""
    some = example_rows(1 << 16, FEATURES)
    rows = numpy.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=(count, FEATURES))
    for begin in range(0, count, len(some)):
        part = rows[begin:begin + len(some)]
        part[:] = some[:len(part)]
    rows.flush()


def _step_seconds(control, steps):
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel

    options = {"steps": steps, "batch_size": BATCH, "validation_interval": steps, "threads": 1,
               "validation_fraction": 512 / ROWS}
    report = control.train("bench", "rows.npy", options, preset=flow_spec_pb2.Preset(**PRESET)).report
    if report.trainer != "compiled":
        raise RuntimeError(f"not compiled: {report.not_compiled_because}")
    return report.seconds / report.steps


def measure_out_of_core(suite):
    """None where it is not asked for, or where memory cannot be limited."""
    if suite.options.quick or not suite.wants(NAME):
        return None
    program = suite.options.programs / "densityd"
    RESULTS.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Beside the results: /tmp may be memory.
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="out-of-core-", dir=RESULTS)))
        try:
            within = stack.enter_context(memory_limit(folder.name, CEILING))
        except NoMemoryLimit as why:
            suite.note(f"{NAME}: not measured; {why}")
            return None
        _write_rows(folder / "rows.npy", ROWS)
        controls = []
        for name, prefix in (("roomy", []), ("short", within)):
            (folder / name).mkdir()
            port, _, _ = stack.enter_context(densityd(CORES, program, "--data-root", str(folder), within=prefix,
                                                      folder=folder / name))
            controls.append(stack.enter_context(Control(port)))
        times = [[_step_seconds(control, STEPS) for control in controls] for _ in range(ROUNDS)]
    roomy, short = ([pair[i] for pair in times] for i in range(2))
    ratio = median([a / b for a, b in times])
    suite.note(f"{NAME}: {1e3 * median(roomy):.2f} ms a step, {1e3 * median(short):.2f} out of core, {ratio:.2f}x")
    suite.compare("training_out_of_core", f"D = {FEATURES}", ratio,
                  f"{ROWS} rows in {CEILING >> 20} MiB of memory")
    return {"name": NAME, "rows": ROWS, "ceiling_mib": CEILING >> 20,
            "ms_per_step": [1e3 * median(roomy), 1e3 * median(short)], "ratio": ratio}
