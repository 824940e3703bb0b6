"""What a trial is: a promise that is put to the test so often that a broken one shows, and the figures that came of it.

A trial is a function (context) -> figures, a dict from what was counted to a number or a text; it raises AssertionError
where the promise is broken, and calls `context.bar` where it is a figure that misses its bar. `context.count(quick, full)`
says how often.
"""

import contextlib
import hashlib
import pathlib
import random
import shutil
import tempfile
import urllib.request

import harness

TRIALS = {}
# The sanitizers that the programs were built with, as CMake has them; "" for none. They take memory and time.
SANITIZE = next((line.split("=", 1)[1] for line in (harness.BUILD / "CMakeCache.txt").read_text().splitlines()
                 if line.startswith("DENSITYD_SANITIZE:")), "")


def trial(promise):
    """Declares a trial by the promise that it tests, a sentence of docs/reliability.md."""

    def declare(function):
        TRIALS[function.__name__] = (promise, function)
        return function

    return declare


class Context:
    """One run of a trial: its folder, its servers, its random numbers. Leave it to end what it started."""

    def __init__(self, quick, seed):
        self.quick = quick
        self.random = random.Random(seed)
        self.missed = []  # what bar() found
        self._exit = contextlib.ExitStack()

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="densityd-faults-"))
        self._exit.callback(shutil.rmtree, self.folder, ignore_errors=True)
        return self

    def __exit__(self, *error):
        return self._exit.__exit__(*error)

    def count(self, quick, full):
        return quick if self.quick else full

    def bar(self, holds, message):
        """A bar whose miss ends the trial as broken, but not before its other figures are known."""
        if not holds:
            self.missed.append(message)

    def server(self, *flags, name="server", **options):
        """A server that has been started, in a folder of its own."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        server = harness.Server(folder, *map(str, flags), **options).start()
        self._exit.callback(_end, server)
        return server

    def defer(self, function, *arguments):
        self._exit.callback(function, *arguments)


def _end(server):
    if server.process.poll() is None:
        server.kill()
    for worker in server.workers():
        with contextlib.suppress(ProcessLookupError):
            harness.os.kill(worker, harness.signal.SIGKILL)


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def metrics(server):
    """All series of a server: text of name and labels -> number."""
    text = urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=60).read().decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def total(server, name):
    """The sum of a metric over its labels."""
    return sum(value for series, value in metrics(server).items() if series.split("{")[0] == name)


def resident_bytes(server):
    return total(server, "process_resident_memory_bytes")


def forget_peak(server):
    """From now on peak_resident_bytes counts anew."""
    pathlib.Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def peak_resident_bytes(server):
    """The most that the process had in memory, as the kernel noted it."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def peak_anonymous_bytes(server):
    """The same without what is mapped of files, as far as that has not changed since."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return peak_resident_bytes(server) - (int(status.split("RssFile:")[1].split()[0]) << 10)


def versions(server, model):
    """The model's versions, as the server lists them: number -> state."""
    listed = next(item for item in server.ctl_json("models") if item["name"] == model)
    return {int(version["version"]): version["state"] for version in listed["versions"]}


def aliases(server, model):
    """The model's aliases: name -> number of a version."""
    listed = next(item for item in server.ctl_json("models") if item["name"] == model)
    return {alias: int(version) for alias, version in listed.get("aliases", {}).get("versions", {}).items()}


def weights_digest(server, model, version):
    path = server.root / "models" / model / str(version) / "weights.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()
