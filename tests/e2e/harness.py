"""Runs the real densityd and densityctl as processes of their own: free ports, a temporary folder, no fixed waits.

Programs and folders come from the environment, which tests/e2e/CMakeLists.txt sets.
"""

import contextlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

SOURCE = pathlib.Path(os.environ["DENSITYD_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ["DENSITYD_BINARY_DIR"])
DENSITYD = BUILD / "bin" / "densityd"
DENSITYCTL = BUILD / "bin" / "densityctl"

# Nothing here takes this long; what does hangs.
PATIENCE = 120.0

# A small flow, and a training that takes about a second.
SMALL = ("--preset", "realnvp", "--transforms", "2", "--hidden", "16,16", "--batch-size", "128")
QUICK = SMALL + ("--steps", "60")
# One that does not end by itself.
ENDLESS = SMALL + ("--steps", "10000000")


def wait_until(condition, what, patience=PATIENCE):
    """Returns the first true value of `condition()`, which is asked often; fails after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience:g} s for {what}")
        time.sleep(0.02)


def csv(rows, columns=("a", "b")):
    """A CSV text."""
    lines = [",".join(columns)] if columns else []
    lines += [",".join(repr(number) for number in row) for row in rows]
    return "\n".join(lines) + "\n"


def npy(rows, shape=None):
    """The bytes of an NPY file of float64, whose header may lie about its shape."""
    shape = shape or (len(rows), len(rows[0]))
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    content = [number for row in rows for number in row]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack(f"<{len(content)}d", *content)


def correlated(count, seed=1):
    """Rows (count, 2) in which the second column follows the first."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        a = generator.gauss(3.0, 2.0)
        rows.append((a, 0.5 * a + generator.gauss(0.0, 0.3)))
    return rows


def numbers(text):
    """The rows of a CSV text with a header."""
    return [[float(cell) for cell in line.split(",")] for line in text.splitlines()[1:]]


class Server:
    """A densityd process. Start it again after stop() or kill(): it has the same root."""

    def __init__(self, folder, *flags, descriptors=None):
        self.folder = pathlib.Path(folder)
        self.root = self.folder / "root"
        self.flags = flags
        self.descriptors = descriptors  # the limit of the process; None: that of the tests
        self.log = self.folder / "server.log"
        self.process = None
        self.address = None
        self.metrics_address = None

    def start(self, address="127.0.0.1:0"):
        addresses = self.folder / "addresses"
        addresses.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [DENSITYD, "--root", self.root, "--address", address, "--metrics-address", "127.0.0.1:0",
                 "--port-file", addresses, *self.flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=self._limit)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"densityd ended with {self.process.returncode}:\n{self.log_tail()}")
            return addresses.exists()

        wait_until(ready, "the server to be ready")
        self.address, self.metrics_address = addresses.read_text().splitlines()
        return self

    def _limit(self):
        if self.descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self):
        """SIGKILL, which no program can prepare for. Training processes live on."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def log_tail(self):
        """The last lines of the server's log, cut where they are long."""
        return "\n".join(line[:300] for line in self.log.read_text(errors="replace").splitlines()[-5:])

    def ctl(self, *arguments, text=None, code=0, binary=False):
        """Runs densityctl on this server; fails unless it ends with `code`. Returns what it printed."""
        content = text.encode() if isinstance(text, str) else text
        done = subprocess.run([DENSITYCTL, "--server", self.address, *map(str, arguments)], input=content,
                              stdin=subprocess.DEVNULL if content is None else None, capture_output=True,
                              timeout=PATIENCE)
        if done.returncode != code:
            command = " ".join(str(argument)[:80] for argument in arguments)
            raise AssertionError(f"densityctl {command} ended with {done.returncode}, not {code}\n"
                                 f"stdout: {done.stdout[-500:]!r}\nstderr: {done.stderr[-1000:].decode(errors='replace')}\n"
                                 f"server: {self.log_tail()}")
        self.err = done.stderr.decode(errors="replace")
        return done.stdout if binary else done.stdout.decode()

    def ctl_json(self, *arguments):
        return json.loads(self.ctl(*arguments, "--json"))

    def train(self, model, rows=None, flags=QUICK):
        """Trains a model on `rows` and returns what densityctl printed."""
        return self.ctl("train", model, *flags, "--data", "-", text=csv(rows or correlated(500)))

    def workers(self):
        """Process ids of the training processes."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if b"train-worker" in words and any(bytes(self.root) in word for word in words):
                    # A zombie has ended already.
                    if "\nState:\tZ" not in (folder / "status").read_text():
                        found.append(int(folder.name))
        return found

    def leftovers(self):
        """Half-written files below the root."""
        return [path for path in (self.root / "tmp").rglob("*")] + list(self.root.rglob("*.tmp-*"))


class ServerTestCase(unittest.TestCase):
    """Each test has a server of its own, with nothing in it, and `self.folder` for its files."""

    flags = ()
    descriptors = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="densityd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.prepare(self.folder)
        self.server = Server(self.folder, *self.flags, descriptors=self.descriptors).start()
        self.addCleanup(self._end)

    def prepare(self, folder):
        """What comes before the server's start, such as `self.flags` that depend on the folder."""

    def _end(self):
        if self.server.process.poll() is None:
            self.server.kill()
        for worker in self.server.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path
