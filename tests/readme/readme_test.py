"""Runs the examples of README.md, in its order, against a server: the command line, C++ and Python.

  readme_test.py SOURCE_FOLDER BIN_FOLDER CPP_EXAMPLE
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import readme

_SOURCE, _BIN, _CPP_EXAMPLE = (pathlib.Path(argument) for argument in sys.argv[1:])
_START_SECONDS = 60


class ReadmeTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for name in ("examples", "proto"):
            (self.folder / name).symlink_to(_SOURCE / name)
        self.text = (_SOURCE / "README.md").read_text()
        self.start_server()

    def start_server(self):
        addresses = self.folder / "addresses"
        command = [_BIN / "densityd", "--root", self.folder / "models", "--address", "127.0.0.1:0", "--port-file",
                   addresses, "--metrics-address", ""]
        self.server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.kill)
        deadline = time.monotonic() + _START_SECONDS
        while not addresses.exists():
            self.assertIsNone(self.server.poll(), "densityd ended at once")
            self.assertLess(time.monotonic(), deadline, "densityd did not start")
            time.sleep(0.05)
        self.environment = dict(os.environ, DENSITYD_SERVER=addresses.read_text().split()[0],
                                PATH=f"{_BIN}:{os.environ['PATH']}", PYTHONPATH=str(self.folder))

    def run_program(self, *command):
        result = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, f"{command}: {result.stdout}{result.stderr}")
        return result.stdout

    def test_examples_run_in_the_order_of_the_readme(self):
        self.run_program("bash", "-c", readme.program(self.text, "sh"))
        rows = sum(1 for _ in open(_SOURCE / "examples/power/power.csv", encoding="ascii"))
        for name in ("scores.csv", "noise.csv", "rows.csv"):
            self.assertEqual(len((self.folder / name).read_text().splitlines()), rows, name)
        self.assertEqual(len((self.folder / "samples.csv").read_text().splitlines()), 1001)

        scores = self.run_program(_CPP_EXAMPLE).splitlines()
        self.assertEqual(len(scores), 2)
        self.assertGreater(float(scores[0].split()[0]), float(scores[1].split()[0]) + 5)  # the anomaly is less likely

        self.assertIn("nats, by power 1", self.run_program("/usr/bin/python3", "-c", readme.program(self.text, "python")))

        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(timeout=60), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
