"""Training steps per second: densityd's `Train` call against the same recipe in zuko, on the same core.

The recipe: Adam, learning rate 1e-3 falling to 0 along a cosine, gradients clipped to a global norm of 5, batches of
512 or 128 rows drawn from 16384 rows, the same shapes of networks, one thread. densityd's figure is what its training report
says of the loop, warm-up and validation included; zuko's loop is warm before it is timed and never validates. The
two take turns, round by round. Run it through `./scripts/bench training`.
"""

import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("common", "engine", "service")]
from suite import Suite, median  # noqa: E402

import torch  # noqa: E402
from peers import VERSIONS, zuko_flow  # noqa: E402
from protos import import_protos  # noqa: E402
from servers import Control, densityd, example_rows  # noqa: E402

CORE = 1
ROWS = 16384
VALIDATION_ROWS = 512
ROUNDS = 5
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


class ZukoTraining:
    """The recipe in Python, as its users write it."""

    def __init__(self, shape, rows, batch):
        torch.manual_seed(0)
        self._flow = zuko_flow(*shape)
        self._rows = torch.from_numpy(rows)
        self._batch = batch
        self._optimizer = torch.optim.Adam(self._flow.parameters(), lr=1e-3)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, 100000)
        self.step_seconds()  # warm-up

    def _step(self):
        batch = self._rows[torch.randint(len(self._rows), (self._batch,))]
        loss = -self._flow().log_prob(batch).mean()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._flow.parameters(), 5.0)
        self._optimizer.step()
        self._schedule.step()
        return loss.item()

    def step_seconds(self, steps=3):
        """Mean over `steps` steps."""
        begin = time.perf_counter()
        for _ in range(steps):
            self._step()
        return (time.perf_counter() - begin) / steps


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
    theirs, ours = [], []
    guess = zuko.step_seconds()
    zuko_steps = max(3, round(seconds / guess))
    our_steps = 2 * zuko_steps
    for _ in range(rounds):
        theirs.append(zuko.step_seconds(zuko_steps))
        step, trainer = densityd_step_seconds(control, shape, rows, batch, our_steps)
        ours.append(step)
        our_steps = max(10, round(seconds / ours[-1]))
    ratio = median([a / b for a, b in zip(theirs, ours)])
    suite.note(f"{name_of(shape, batch)}: densityd {1e3 * median(ours):.1f} ms a step ({1 / median(ours):.1f} steps/s, "
               f"{trainer}), zuko {1e3 * median(theirs):.1f} ms, {ratio:.2f}x")
    if bar is not None:
        suite.compare(bar, f"D = {shape[1]}", ratio)
    return {"preset": shape[0], "features": shape[1], "hidden": shape[2], "layers": shape[3], "batch": batch,
            "trainer": trainer, "ms_per_step": 1e3 * median(ours), "steps_per_second": 1 / median(ours),
            "zuko_ms_per_step": 1e3 * median(theirs), "ratio": ratio}


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
    suite.finish()


if __name__ == "__main__":
    main()
