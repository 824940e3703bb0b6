"""The whole path with the real programs: train, watch, query, restart, and what must survive."""

import json
import os
import signal
import subprocess
import unittest

import harness
from harness import ENDLESS, correlated, csv, numbers, wait_until


class LifecycleTest(harness.ServerTestCase):

    def answers(self):
        """The bytes of answers about fixed rows."""
        rows = csv(correlated(200, seed=5))
        return [
            self.server.ctl("logprob", "m", "--tail-probability", "--format", "npy", text=rows, binary=True),
            self.server.ctl("logprob", "m", "--float64", "--format", "npy", text=rows, binary=True),
            self.server.ctl("inverse", "m", "--log-abs-det", "--format", "npy", text=rows, binary=True),
            self.server.ctl("sample", "m", "--rows", 300, "--seed", 7, "--log-prob", "--format", "npy", binary=True),
        ]

    def test_a_trained_model_answers_every_question(self):
        self.assertIn("m@1 published by training", self.server.train("m"))
        rows = correlated(100, seed=2)
        scored = numbers(self.server.ctl("logprob", "m", "--tail-probability", text=csv(rows + [(3.0, 90.0)])))
        self.assertEqual(len(scored), 101)
        self.assertTrue(all(0 <= tail <= 1 for _, tail in scored))
        self.assertEqual(min(scored)[0], scored[100][0], "the planted outlier is the least likely row")
        self.assertLess(scored[100][1], 0.01)

        z = self.server.ctl("inverse", "m", text=csv(rows))
        for row, back in zip(rows, numbers(self.server.ctl("forward", "m", text=z))):
            for expected, number in zip(row, back):
                self.assertAlmostEqual(number, expected, delta=1e-4 * max(1, abs(expected)))

        sample = numbers(self.server.ctl("sample", "m", "--rows", 2000, "--seed", 1))
        self.assertEqual(len(sample), 2000)
        self.assertAlmostEqual(sum(a for a, _ in sample) / 2000, 3.0, delta=0.4)

    def test_the_same_seed_gives_the_same_rows_however_they_are_asked_for(self):
        self.server.train("m")
        whole = numbers(self.server.ctl("sample", "m", "--rows", 50, "--seed", 9))
        part = numbers(self.server.ctl("sample", "m", "--rows", 20, "--seed", 9, "--row-offset", 30))
        self.assertEqual(whole[30:], part)
        self.assertNotEqual(whole, numbers(self.server.ctl("sample", "m", "--rows", 50, "--seed", 10)))

    def test_a_reader_who_has_seen_enough_ends_the_program_quietly(self):
        self.server.train("m")
        command = [harness.DENSITYCTL, "--server", self.server.address, "sample", "m", "--rows", "1000000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            self.assertEqual(program.stdout.readline(), b"a,b\n")
            program.stdout.close()
            self.assertEqual(program.wait(harness.PATIENCE), -signal.SIGPIPE)
            self.assertEqual(program.stderr.read(), b"")

    def test_a_model_says_how_it_computes(self):
        self.server.train("m")
        table = self.server.ctl("plan", "m")
        self.assertIn("m@1 log_prob: compiled-cpu, float32, cpu", table)
        self.assertIn("Same row, same bits", table)
        plan = json.loads(self.server.ctl("plan", "m", "--op", "sample", "--json"))
        self.assertTrue(plan["rows_are_independent"])
        self.assertGreater(int(plan["multiply_adds"]), 0)
        self.assertLessEqual(int(plan["multiply_adds"]), int(plan["dense_multiply_adds"]))
        self.assertEqual([int(time["rows"]) for time in plan["times"]], [1, 8, 64])
        self.assertTrue(all(0 < time["seconds"] < 1 for time in plan["times"]))
        self.assertIn("Not compiled: plans are compiled for float32 only", self.server.ctl("plan", "m", "--float64"))

    def test_a_continuous_flow_is_trained_both_ways_and_served(self):
        rows = correlated(50, seed=2)
        for preset, steps in (("flow_matching", 600), ("ffjord", 25)):
            self.server.ctl("train", preset, "--preset", preset, "--hidden", "32,32", "--steps", steps, "--batch-size", 128,
                            "--learning-rate", 0.01, "--data", "-", text=csv(correlated(600)))
            surprising = (3.0, 90.0)
            scored = numbers(self.server.ctl("logprob", preset, text=csv(rows + [surprising])))
            self.assertEqual(min(scored), scored[-1], f"{preset}: the planted outlier is the least likely row")
            z = self.server.ctl("inverse", preset, "--float64", text=csv(rows))
            for row, back in zip(rows, numbers(self.server.ctl("forward", preset, "--float64", text=z))):
                for expected, number in zip(row, back):
                    self.assertAlmostEqual(number, expected, delta=1e-3 * max(1, abs(expected)))
            # The score of each column is the slope of log p.
            slopes = numbers(self.server.ctl("score", preset, text=csv(rows[:10])))
            for column in (0, 1):
                sides = [[tuple(x + sign * 1e-2 * (j == column) for j, x in enumerate(row)) for row in rows[:10]]
                         for sign in (1, -1)]
                above, below = (numbers(self.server.ctl("logprob", preset, "--float64", text=csv(side)))
                                for side in sides)
                for slope, (up,), (down,) in zip(slopes, above, below):
                    expected = (up - down) / 2e-2
                    self.assertAlmostEqual(slope[column], expected, delta=2e-2 * (1 + abs(expected)))
            plan = self.server.ctl("plan", preset)
            self.assertIn("reference-cpu", plan)
            self.assertIn("continuous", plan)

    def test_context_reaches_the_model(self):
        data = csv([(a + 20.0 * (i % 2), b, i % 2) for i, (a, b) in enumerate(correlated(600))], ("a", "b", "side"))
        self.server.ctl("train", "m", *harness.SMALL, "--steps", 300, "--learning-rate", 0.01, "--context-columns",
                        "side", "--data", "-", text=data)
        detail = json.loads(self.server.ctl("models", "show", "m"))
        self.assertEqual((detail["info"]["features"], detail["info"]["context_features"]), (2, 1))
        self.write("left.csv", "side\n0\n")
        self.write("right.csv", "side\n1\n")
        left = numbers(self.server.ctl("sample", "m", "--rows", 200, "--context", self.folder / "left.csv"))
        right = numbers(self.server.ctl("sample", "m", "--rows", 200, "--context", self.folder / "right.csv"))
        self.assertGreater(sum(row[0] for row in right) / 200, sum(row[0] for row in left) / 200 + 10)

    def test_a_restarted_server_answers_with_the_same_bits(self):
        self.server.train("m")
        before = self.answers()
        self.assertEqual(self.server.stop(), 0, self.server.log_tail())
        self.server.start()
        self.assertEqual(self.answers(), before)

    def test_a_killed_server_answers_with_the_same_bits_and_leaves_no_half_written_files(self):
        self.server.train("m")
        before = self.answers()
        self.server.ctl("train", "m", *ENDLESS, "--detach", "--data", "-", text=csv(correlated(500)))
        wait_until(lambda: "progress" in self.server.ctl_json("trainings")[0], "the training's first step")
        workers = self.server.workers()
        # What an upload that is cut off leaves.
        (self.server.root / "tmp" / "dataset-1").mkdir()
        (self.server.root / "tmp" / "dataset-1" / "rows").write_bytes(b"half")
        self.server.kill()
        self.server.start()
        self.assertEqual(self.answers(), before)
        self.assertEqual(self.server.leftovers(), [])
        # The training's process outlived its server and belongs to the new one.
        self.assertEqual(self.server.workers(), workers)
        training = self.server.ctl_json("trainings")[0]
        self.assertEqual((training["state"], training.get("resumes", 0)), ("RUNNING", 0))
        self.server.ctl("cancel", training["id"])
        wait_until(lambda: not self.server.workers(), "the cancelled training process to end")
        wait_until(lambda: not (self.server.root / "trainings" / training["id"] / "tmp").exists(),
                   "what the training was writing to be gone")

    def test_versions_and_aliases_move_without_a_restart(self):
        self.server.train("m")
        first = self.answers()
        self.server.ctl("alias", "set", "m", "stable", 1)
        self.server.train("m", flags=harness.QUICK + ("--seed", "3"))
        self.assertNotEqual(self.answers(), first)
        row = csv([(1.0, 2.0)])
        stable = self.server.ctl("logprob", "m@stable", "--format", "json", text=row)
        self.assertEqual(json.loads(stable)["model"], "m@1")
        self.assertEqual(json.loads(self.server.ctl("logprob", "m", "--format", "json", text=row))["model"], "m@2")
        self.server.ctl("alias", "set", "m", "stable", 2, "--expected-revision", 10**6, code=6)

    def test_unloading_and_loading_a_version(self):
        self.server.train("m")
        row = csv([(1.0, 2.0)])
        self.server.ctl("unload", "m@1")
        self.server.ctl("logprob", "m@1", text=row, code=6)
        self.assertIn("m@1 READY", self.server.ctl("load", "m@1"))
        self.server.ctl("logprob", "m@1", text=row)
        self.server.ctl("health", "m")

    def test_a_killed_training_process_is_started_again_and_harms_nothing_else(self):
        self.server.train("m")
        before = self.answers()
        training = self.server.ctl("train", "m", *ENDLESS, "--detach", "--data", "-",
                                   text=csv(correlated(500))).strip()
        pid = wait_until(self.server.workers, "a training process")[0]
        os.kill(pid, signal.SIGKILL)

        def resumed():
            standing = {item["id"]: item for item in self.server.ctl_json("trainings")}[training]
            return standing if standing.get("resumes") == 1 else None

        standing = wait_until(resumed, "the training to go on")
        self.assertIn("SIGKILL", standing["interruption"])
        self.assertEqual(self.answers(), before)
        self.server.ctl("cancel", training)
        self.assertIn("m@2 published", self.server.train("m"))

    def test_a_watch_and_its_training_survive_a_restart(self):
        training = self.server.ctl("train", "m", *harness.SMALL, "--steps", 20000, "--detach", "--data", "-",
                                   text=csv(correlated(500))).strip()
        watch = subprocess.Popen([harness.DENSITYCTL, "--server", self.server.address, "watch", training],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(watch.stderr.close)
        self.addCleanup(watch.stdout.close)
        while b"step" not in watch.stderr.readline():  # It has begun.
            pass
        self.assertEqual(self.server.stop(), 0, self.server.log_tail())
        self.assertEqual(self.server.workers(), [])
        self.server.start(address=self.server.address)
        out, err = watch.communicate(timeout=harness.PATIENCE)
        self.assertEqual(watch.returncode, 0, err)
        self.assertIn(b"m@1 published", out)
        self.assertIn(b"20000 steps", out)
        standing = self.server.ctl_json("trainings")[0]
        self.assertEqual((standing["state"], standing["resumes"]), ("SUCCEEDED", 1))

    def test_a_request_that_is_sent_twice_trains_once(self):
        arguments = ("train", "m", *harness.QUICK, "--data", self.write("rows.csv", csv(correlated(500))),
                     "--idempotency-key", "nightly")
        self.server.ctl(*arguments)
        dataset = self.server.ctl_json("datasets")[0]["id"]
        again = ("train", "m", *harness.QUICK, "--dataset", dataset, "--idempotency-key", "nightly")
        self.server.ctl(*again)
        self.assertEqual(len(self.server.ctl_json("trainings")), 1)
        self.server.ctl(*again, "--seed", 3, code=6)

    def test_a_cancelled_training_publishes_nothing_and_cannot_be_cancelled_again(self):
        training = self.server.ctl("train", "m", *ENDLESS, "--detach", "--data", "-",
                                   text=csv(correlated(500))).strip()
        watch = subprocess.Popen([harness.DENSITYCTL, "--server", self.server.address, "watch", training],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(watch.stderr.close)
        wait_until(self.server.workers, "a training process")
        self.server.ctl("cancel", training)
        _, err = watch.communicate(timeout=harness.PATIENCE)
        self.assertEqual(watch.returncode, 9)
        self.assertIn(b"was cancelled", err)
        self.server.ctl("cancel", training, code=6)
        self.assertEqual(self.server.ctl_json("models"), [])
        wait_until(lambda: not self.server.workers(), "the training process to end")

    def test_sigterm_ends_open_watches_and_exits_cleanly(self):
        training = self.server.ctl("train", "m", *ENDLESS, "--detach", "--data", "-",
                                   text=csv(correlated(500))).strip()
        watch = subprocess.Popen(
            [harness.DENSITYCTL, "--server", self.server.address, "--retry-for", "0", "watch", training],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(watch.stderr.close)
        watch.stderr.readline()  # The first progress: the stream is open.
        self.assertEqual(self.server.stop(), 0, self.server.log_tail())
        watch.communicate(timeout=harness.PATIENCE)
        self.assertEqual(self.server.workers(), [])

    def test_a_damaged_version_is_reported_and_the_others_are_served(self):
        self.server.train("good")
        self.server.train("bad")
        self.assertEqual(self.server.stop(), 0)
        weights = self.server.root / "models" / "bad" / "1" / "weights.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.chmod(0o644)
        weights.write_bytes(content)
        self.server.start()
        row = csv([(1.0, 2.0)])
        self.server.ctl("logprob", "good", text=row)
        versions = {model["name"]: model["versions"][0] for model in self.server.ctl_json("models")}
        self.assertEqual(versions["good"]["state"], "READY")
        self.assertEqual(versions["bad"]["state"], "LOAD_FAILED")
        self.assertIn("weights.safetensors", versions["bad"]["error"])
        self.server.ctl("logprob", "bad", text=row, code=8)
        self.assertIn("DATA_LOSS", self.server.err)

    def test_a_folder_that_is_no_model_does_not_keep_the_server_from_starting(self):
        self.server.train("good")
        self.assertEqual(self.server.stop(), 0)
        (self.server.root / "models" / "hollow" / "1").mkdir(parents=True)
        (self.server.root / "models" / "hollow" / "1" / "manifest.json").write_text("{")
        self.server.start()
        self.server.ctl("logprob", "good", text=csv([(1.0, 2.0)]))
        states = {model["name"]: model["versions"][0]["state"] for model in self.server.ctl_json("models")}
        self.assertEqual(states, {"good": "READY", "hollow": "LOAD_FAILED"})


if __name__ == "__main__":
    unittest.main()
