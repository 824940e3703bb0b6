"""SIGTERM at whatever moment: what was promised is kept, what was not leaves nothing, and it never takes for ever."""

import contextlib
import fcntl
import importlib
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import grpc
import harness
import python_client_test
from harness import correlated, csv, wait_until

CHECK = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
# The processes of a test that is about seconds may be slow to start here.
SLACK = 20.0


class ShutdownTestCase(harness.ServerTestCase):

    @classmethod
    def setUpClass(cls):
        generated = tempfile.TemporaryDirectory(prefix="densityd-e2e-python-")
        cls.addClassCleanup(generated.cleanup)
        python_client_test.generate(pathlib.Path(generated.name))
        cls.datasets = importlib.import_module("density.v1.datasets_pb2")
        cls.datasets_rpc = importlib.import_module("density.v1.datasets_pb2_grpc")

    def channel(self):
        channel = grpc.insecure_channel(self.server.address)
        self.addCleanup(channel.close)
        return channel

    def terminate(self):
        self.server.process.send_signal(signal.SIGTERM)

    def wait(self, patience=SLACK):
        """The exit status."""
        return self.server.process.wait(patience)

    def refuses(self):
        """Whether nobody new is let in."""
        command = [harness.DENSITYCTL, "--server", self.server.address, "--retry-for", "0", "models"]
        return subprocess.run(command, capture_output=True, timeout=harness.PATIENCE).returncode != 0

    def lock_of(self, model):
        """The lock of a model, which changes of its aliases wait for."""
        lock = (self.server.root / "models" / model / "lock").open("a")
        self.addCleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def waits_for(self, lock):
        inode = f":{os.fstat(lock.fileno()).st_ino} "
        lines = pathlib.Path("/proc/locks").read_text().splitlines()
        return any("->" in line and inode in line for line in lines)

    def upload(self, finish):
        """An upload of two chunks that waits for the event `finish` between them; its answer is in the future."""
        first = threading.Event()

        def chunks():
            yield self.datasets.UploadDatasetRequest(rows={"rows": 1, "cols": 2, "values": [1, 2]}, columns=["a", "b"])
            first.set()
            finish.wait(harness.PATIENCE)
            yield self.datasets.UploadDatasetRequest(rows={"rows": 1, "cols": 2, "values": [3, 4]})

        future = self.datasets_rpc.DatasetsStub(self.channel()).Upload.future(chunks(), timeout=harness.PATIENCE)
        first.wait(harness.PATIENCE)
        wait_until(lambda: list((self.server.root / "tmp").glob("dataset-*")), "the first chunk on the disk")
        return future


class SignalsTest(ShutdownTestCase):
    flags = ("--workers", "1", "--lame-duck", "1000")

    def test_in_the_lame_duck_calls_are_answered_and_a_second_signal_ends_the_process(self):
        self.server.train("m")
        check = self.channel().unary_unary(CHECK)
        self.assertEqual(check(b"", timeout=60), SERVING)
        self.terminate()
        wait_until(lambda: check(b"", timeout=60) == NOT_SERVING, "health to say that the server goes")
        self.server.ctl("logprob", "m", text=csv([(1.0, 2.0)]))
        self.assertIsNone(self.server.process.poll())
        self.terminate()
        self.assertEqual(self.wait(), 128 + signal.SIGTERM)
        self.server.start()
        self.server.ctl("logprob", "m", text=csv([(1.0, 2.0)]))


class DrainTest(ShutdownTestCase):
    flags = ("--workers", "1", "--drain-timeout", "2", "--control-threads", "1")

    def test_an_upload_that_ends_in_the_drain_is_stored_and_one_that_does_not_leaves_nothing(self):
        finish, never = threading.Event(), threading.Event()
        self.addCleanup(never.set)
        good, cut = self.upload(finish), self.upload(never)
        self.terminate()
        # Who comes now is too late.
        wait_until(self.refuses, "the end of accepting")
        finish.set()
        stored = good.result(timeout=60)
        self.assertEqual(stored.rows, 2)
        with self.assertRaises(grpc.RpcError):
            cut.result(timeout=60)
        self.assertEqual(self.wait(), 0, self.server.log_tail())
        self.assertEqual(self.server.leftovers(), [])
        self.server.start()
        self.assertEqual([dataset["id"] for dataset in self.server.ctl_json("datasets")], [stored.id])

    def test_a_control_call_that_does_not_end_keeps_the_server_no_longer_than_a_few_seconds(self):
        self.server.train("m")
        lock = self.lock_of("m")
        call = subprocess.Popen([harness.DENSITYCTL, "--server", self.server.address, "--retry-for", "0", "alias", "set",
                                 "m", "stable", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.waits_for(lock), "the call to wait")
        start = time.monotonic()
        self.terminate()
        self.assertEqual(self.wait(), 0, self.server.log_tail())
        self.assertGreaterEqual(time.monotonic() - start, 2)
        self.assertNotEqual(call.wait(60), 0)
        lock.close()
        self.server.start()
        self.assertEqual(self.server.leftovers(), [])
        self.server.ctl("alias", "set", "m", "stable", 1)


class StartTest(ShutdownTestCase):
    flags = ("--workers", "1", "--keep-versions", "1")

    def start_and_wait(self):
        """Starts the server, which then waits for a lock before it serves."""
        self.server.train("m")
        self.assertEqual(self.server.stop(), 0)
        # A second version makes the first one superfluous: to delete it, the start waits for the lock.
        versions = self.server.root / "models" / "m"
        subprocess.run(["cp", "-r", versions / "1", versions / "2"], check=True)
        lock = self.lock_of("m")
        starting = threading.Thread(target=self.start_in_vain)
        starting.start()
        self.addCleanup(starting.join)
        wait_until(lambda: self.waits_for(lock), "the start to wait")
        return lock, starting

    def start_in_vain(self):
        with contextlib.suppress(AssertionError):
            self.server.start()

    def test_a_signal_during_the_start_ends_it_well(self):
        lock, _ = self.start_and_wait()
        self.terminate()
        lock.close()
        self.assertEqual(self.wait(), 0, self.server.log_tail())
        self.assertIn("stopped before it served", self.server.log_tail())
        self.server.start()
        self.server.ctl("logprob", "m@2", text=csv([(1.0, 2.0)]))

    def test_a_second_one_ends_the_process_at_once(self):
        lock, _ = self.start_and_wait()
        self.terminate()
        # Two of a kind that come before the first was taken are one.
        pending = pathlib.Path(f"/proc/{self.server.process.pid}/status")
        wait_until(lambda: "ShdPnd:\t0000000000000000" in pending.read_text(), "the first one to be taken")
        self.terminate()
        self.assertEqual(self.wait(), 128 + signal.SIGTERM)
        lock.close()


class LosslessTest(ShutdownTestCase):
    flags = ("--workers", "1", "--drain-timeout", "5")

    def test_a_sigterm_in_the_midst_of_changes_loses_nothing_that_was_promised(self):
        moments = random.Random(7)
        for _ in range(3):
            self.server.train("m")
        rows = csv(correlated(500))
        big = csv(correlated(20000))
        published, uploaded, moves = set(), set(), 0
        aliases = [set()]  # where the alias was put; the last: where it is, and where it was being put
        for _ in range(4):
            done = []
            train = ("train", "m", *harness.SMALL, "--steps", "10", "--data", "-")
            threads = [threading.Thread(target=self.repeat, args=(done, *command))
                       for command in ((train, rows), (("upload", "-"), big), (("unload", "m@1"),), (("load", "m@1"),))]
            threads.append(threading.Thread(target=self.move, args=(aliases, random.Random(moments.random()))))
            for thread in threads:
                thread.start()
            # Until something was promised; and some more, which is then cut off anywhere.
            wait_until(lambda: any("m@" in text for command, text in done if command == "train"), "a version")
            time.sleep(moments.uniform(0.0, 1.5))
            self.assertEqual(self.server.stop(), 0, self.server.log_tail())
            for thread in threads:
                thread.join()
            self.assertEqual(self.server.workers(), [])
            self.assertEqual(self.server.leftovers(), [])
            self.server.start()
            published |= {text.split("m@")[1].split()[0] for command, text in done if command == "train"}
            uploaded |= {text.strip() for command, text in done if command == "upload"}
            model = next(model for model in self.server.ctl_json("models") if model["name"] == "m")
            versions = {version["version"]: version["state"] for version in model["versions"]}
            self.assertLessEqual(published, set(versions))
            self.assertNotIn("LOAD_FAILED", versions.values())
            self.assertLessEqual(uploaded, {dataset["id"] for dataset in self.server.ctl_json("datasets")})
            stable = int(model["aliases"]["versions"]["stable"])
            self.assertIn(stable, aliases[-1])
            moves += len(aliases) - 1
            aliases = [{stable}]
            # What was in work goes on.
            wait_until(lambda: all(training["state"] == "SUCCEEDED" for training in self.server.ctl_json("trainings")),
                       "the trainings to end")
        self.assertGreaterEqual(len(published), 4)
        self.assertGreater(len(uploaded), 4)
        self.assertGreater(moves, 4)

    def repeat(self, done, arguments, text=None):
        """Runs a command again and again until the server is gone; what it printed is in `done`, by its name."""
        while self.server.process.poll() is None:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                done.append((arguments[0], self.server.ctl("--retry-for", "0", *arguments, text=text)))
            time.sleep(0.01)

    def move(self, aliases, chance):
        """Moves an alias among three versions until the server is gone, and adds each move to `aliases`."""
        while self.server.process.poll() is None:
            version = chance.choice(sorted({1, 2, 3} - aliases[-1]) or [1, 2, 3])
            aliases[-1] = aliases[-1] | {version}
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.server.ctl("--retry-for", "0", "alias", "set", "m", "stable", version)
                aliases.append({version})
            time.sleep(0.01)


del ShutdownTestCase

if __name__ == "__main__":
    unittest.main()
