"""The recipe in Python, as its users write it: Adam, a cosine, gradients clipped to a norm of 5.

As a program it takes steps of a flow under torch.compile with fused Adam, and says on each line what a step took, in
seconds, for each line of standard input, a number of steps: `zuko_training.py PRESET D HIDDEN LAYERS BATCH ROWS.npy`.
"""

import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("common", "engine", "service")]

import numpy  # noqa: E402
import torch  # noqa: E402
from peers import zuko_flow  # noqa: E402


class ZukoTraining:
    """With `compiled` everything that a user may do about its speed: torch.compile, and Adam in one kernel."""

    def __init__(self, shape, rows, batch, compiled=False):
        torch.manual_seed(0)
        self._flow = zuko_flow(*shape)
        self._rows = torch.from_numpy(rows)
        self._batch = batch
        self._loss = torch.compile(self._plain_loss, dynamic=False) if compiled else self._plain_loss
        self._optimizer = torch.optim.Adam(self._flow.parameters(), lr=1e-3, fused=compiled)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, 100000)
        self.step_seconds()  # warm-up

    def _plain_loss(self, batch):
        return -self._flow().log_prob(batch).mean()

    def _step(self):
        batch = self._rows[torch.randint(len(self._rows), (self._batch,))]
        loss = self._loss(batch)
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


def main():
    preset, features, hidden, layers, batch, rows = sys.argv[1:]
    torch.set_num_threads(1)
    training = ZukoTraining((preset, int(features), int(hidden), int(layers)), numpy.load(rows), int(batch), True)
    print("ready", flush=True)
    for line in sys.stdin:
        print(training.step_seconds(int(line)), flush=True)


if __name__ == "__main__":
    main()
