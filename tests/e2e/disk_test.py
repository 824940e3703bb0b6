"""A disk that is full for a while: what has to write fails and says so, everything else goes on, and nothing is lost.

The disk is full for a process that may not make any file longer (RLIMIT_FSIZE, whose error counts as a full disk). It
takes no rights and comes and goes while the process runs.
"""

import contextlib
import resource
import unittest

import harness
from harness import QUICK, correlated, csv, wait_until

# For logs, not for the weights of LARGE.
ROOM_FOR_TEXTS = 64 << 10
LARGE = ("--preset", "realnvp", "--transforms", "4", "--hidden", "128,128", "--batch-size", "64")
OVERLOADED = 5  # the exit code of densityctl for what may succeed later


@contextlib.contextmanager
def full_disk(*processes, room=0):
    """No file grows beyond `room` bytes while this holds."""
    before = {process: resource.prlimit(process, resource.RLIMIT_FSIZE) for process in processes}
    for process, (_, hard) in before.items():
        resource.prlimit(process, resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        for process, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process, resource.RLIMIT_FSIZE, limits)


class DiskTest(harness.ServerTestCase):

    def density(self, model="m"):
        return self.server.ctl("logprob", model, text=csv([(3.0, 1.5), (1.0, 2.0)]))

    def fails(self, *arguments, text=None):
        """The message of a command that finds the disk full."""
        self.server.ctl(*arguments, text=text, code=OVERLOADED)
        return self.server.err

    def test_what_writes_fails_and_says_so_and_rows_are_answered_as_before(self):
        self.server.train("m")
        self.server.train("m")
        before = self.density()
        archive = self.folder / "m.tar"
        self.server.ctl("export", "m@1", archive)
        dataset = self.write("rows.csv", csv(correlated(300)))
        changes = [("upload", dataset), ("train", "m", *QUICK, "--data", dataset), ("alias", "set", "m", "stable", 2),
                   ("import", archive, "--as", "copy")]
        with full_disk(self.server.process.pid):
            for change in changes:
                self.assertRegex(self.fails(*change), "(?i)file too large|disk|space", change)
            self.assertEqual(self.density(), before)
            self.server.ctl("health")
        self.assertEqual([], self.server.leftovers())
        self.assertEqual([1, 2], self.stored("m"))
        for change in changes:
            self.server.ctl(*change)
        self.assertEqual([1, 2, 3], self.stored("m"))
        self.server.kill()
        self.server.start()
        self.assertEqual(before, self.density("m@stable"))
        self.server.ctl("logprob", "copy", text=csv([(3.0, 1.5)]))

    def stored(self, model):
        """The versions that are there."""
        return sorted(int(path.name) for path in (self.server.root / "models" / model).glob("[0-9]*"))

    def begin(self, *flags):
        """A training with a checkpoint; its folder, and its process."""
        training = self.server.ctl("train", "m", *flags, "--checkpoint-interval", 0.05, "--detach", "--data", "-",
                                   text=csv(correlated(500))).strip()
        worker, = wait_until(self.server.workers, "the training's process")
        folder = self.server.root / "trainings" / training
        wait_until((folder / "checkpoints").exists, "a checkpoint")
        return training, folder, worker

    def worker_logs(self):
        return "".join(path.read_text(errors="replace") for path in self.server.root.glob("trainings/*/worker.log"))

    def show(self, training):
        return next(entry for entry in self.server.ctl_json("trainings") if entry["id"] == training)

    def test_a_training_goes_on_without_checkpoints_and_tells_its_progress_when_there_is_room_again(self):
        training, folder, worker = self.begin(*LARGE, "--steps", 10**7)
        with full_disk(worker, room=ROOM_FOR_TEXTS):
            kept = (folder / "checkpoints").read_bytes()
            wait_until(lambda: "a checkpoint could not be written" in self.worker_logs(), "a failed checkpoint")
            self.assertEqual(kept, (folder / "checkpoints").read_bytes())
        wait_until(lambda: (folder / "checkpoints").read_bytes() != kept, "the next checkpoint")
        step = self.show(training)["progress"]["step"]
        wait_until(lambda: self.show(training)["progress"]["step"] != step, "progress")
        self.assertEqual([worker], self.server.workers())

    def test_what_was_learnt_waits_for_room_and_is_published_then(self):
        training, _, worker = self.begin(*LARGE, "--steps", 1500)
        with full_disk(worker, room=ROOM_FOR_TEXTS):
            wait_until(lambda: "cannot be published yet" in self.worker_logs(), "a version that cannot be written")
            self.assertEqual("RUNNING", self.show(training)["state"])
        self.server.ctl("watch", training)
        self.assertEqual("SUCCEEDED", self.show(training)["state"])
        self.density()
        self.assertEqual([], self.server.leftovers())


if __name__ == "__main__":
    unittest.main()
