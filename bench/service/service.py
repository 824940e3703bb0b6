"""The row service against an empty echo and against what a Python user would serve with.

Each server runs on one core and the load generator on another. Servers that are compared get the same load in turn,
round by round, because the echo's own rate moves with the host; ratios are taken within a round. Figures are medians
over the rounds. Run it through `./scripts/bench service`.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from machine import pauses  # noqa: E402
from suite import Suite, median  # noqa: E402

from protos import import_protos  # noqa: E402
from servers import FEATURES, Control, cpu_seconds, densityd, printing_server  # noqa: E402
from servers import publish_models, python_alternative, tiles  # noqa: E402

SERVER_CORE = 0
LOAD_CORE = 1
LARGE = 4096
SHARES = (0.5, 0.7, 0.9)
BAR_SHARE = 0.7
# Seconds between two swaps of versions under load.
SWAP_SECONDS = 1.0

BUSY = "1 row, c=64, 1 connection"
BUSY_MANY = "1 row, c=64, 64 connections"
CLOSED_LOOPS = {
    "1 row, c=1": ["--concurrency=1"],
    "1 row, c=4": ["--concurrency=4"],
    BUSY: ["--concurrency=64"],
    BUSY_MANY: ["--concurrency=64", "--connections=64"],
    f"{LARGE} rows, c=4": ["--concurrency=4", f"--rows={LARGE}"],
}
# Loads that the Python server gets, too.
PYTHON_LOADS = ("1 row, c=1", BUSY, f"{LARGE} rows, c=4")
MIXED = f"1 row, c=16, beside {LARGE} rows, c=2"
TWO_MODELS = "1 row, c=32 on each of two models"

# bar: (load, figure, server, the server that it is compared with)
RATIOS = {
    "c1_p50": ("1 row, c=1", "p50_us", "densityd", "echo"),
    "c4_rate": ("1 row, c=4", "calls_per_second", "densityd", "echo"),
    "c64_rate": (BUSY, "calls_per_second", "densityd", "echo"),
    "c64x64_rate": (BUSY_MANY, "calls_per_second", "densityd", "echo"),
    "c64_cpu": (BUSY, "server_cpu_us", "densityd", "echo"),
    "c64_p99": (BUSY, "p99_us", "densityd", "echo"),
    "c64_python": (BUSY, "calls_per_second", "densityd", "python"),
    "null_rate": (BUSY, "calls_per_second", "null model", "echo"),
    "large_rate": (f"{LARGE} rows, c=4", "rows_per_second", "densityd", "in process"),
}
# These are held under the same load on 64 connections, too.
ON_MANY_CONNECTIONS = ("c64_cpu", "c64_p99")


class Bench:
    """The running servers, and what was measured of them."""

    def __init__(self, suite):
        self.suite = suite
        self.programs = suite.options.programs
        self.seconds, self.rounds = (1.0, 1) if suite.options.quick else (3.0, 5)
        self.servers = {}  # name: (port, pid, model)
        self.metrics_port = None  # of densityd
        self.rounds_of = {}  # (load, server): figures of the rounds

    def load(self, name, server, arguments):
        """One run; its figures are one round of (name, server)."""
        port, pid, model = self.servers[server]
        command = ["taskset", "-c", str(LOAD_CORE), str(self.programs / "densityd_load"), f"--target=127.0.0.1:{port}",
                   f"--cols={FEATURES}", f"--seconds={self.seconds}", f"--server-pid={pid}"]
        if not any(argument.startswith("--model=") for argument in arguments):
            command.append(f"--model={model}")
        before = tiles(self.metrics_port) if pid == self.servers["densityd"][1] else None
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True,
                              timeout=60 + self.seconds)
        figures = json.loads(done.stdout)
        if before:
            rows, runs = (after - first for after, first in zip(tiles(self.metrics_port), before))
            figures["rows_per_tile"] = rows / runs if runs else 0.0
        for stream in (figures, *figures["also"]):
            if stream["failures"]:
                self.suite.note(f"{stream['failures']} calls failed: {stream['first_failure']}")
        self.rounds_of.setdefault((name, server), []).append(figures)
        return figures

    def in_process(self, name):
        """Rows per second of the plan itself, on the server's core."""
        command = ["taskset", "-c", str(SERVER_CORE), str(self.programs / "engine_bench"),
                   f"--benchmark_filter=^plan/maf/{FEATURES}/256/8/log_prob/{LARGE}$", "--benchmark_format=json",
                   f"--benchmark_min_time={self.seconds}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rate = json.loads(done.stdout)["benchmarks"][0]["rows"]
        self.rounds_of.setdefault((name, "in process"), []).append({"rows_per_second": rate})

    def print_rounds(self, name):
        """A line for each server that was measured under this load."""
        for (load, server), rounds in self.rounds_of.items():
            if load != name:
                continue
            line = f"{name:44s} {server:11s}"
            for figure in ("p50_us", "p99_us", "p999_us", "calls_per_second", "rows_per_second", "server_cpu_us",
                           "rows_per_tile"):
                values = [figures[figure] for figures in rounds if figure in figures]
                line += f" {median(values):11.1f}" if values else f" {'-':>11s}"
            print(line + f" {sum(failures(figures) for figures in rounds):7d}", flush=True)
            for i, _ in enumerate(rounds[0].get("also", [])):
                stream = [figures["also"][i] for figures in rounds]
                parts = (f"{figure} {median([figures[figure] for figures in stream]):.1f}"
                         for figure in ("p50_us", "p99_us", "calls_per_second", "rows_per_second"))
                print(f"{'':44s} beside it: {', '.join(parts)}")

    def ratio(self, load, figure, server, other):
        """Median over the rounds, or None where one of the two was not measured."""
        ours, theirs = (self.rounds_of.get((load, name), []) for name in (server, other))
        ratios = [a[figure] / b[figure] for a, b in zip(ours, theirs) if b[figure] > 0]
        return median(ratios) if ratios else None


def failures(figures):
    return figures.get("failures", 0) + sum(stream["failures"] for stream in figures.get("also", []))


def closed_loops(bench):
    for name, arguments in CLOSED_LOOPS.items():
        if not bench.suite.wants(name):
            continue
        for _ in range(bench.rounds):
            bench.load(name, "echo", arguments)
            bench.load(name, "densityd", arguments)
            if name == BUSY:
                bench.load(name, "null model", arguments)
            if name in PYTHON_LOADS:
                bench.load(name, "python", arguments)
            if name.startswith(f"{LARGE} rows"):
                bench.in_process(name)
        bench.print_rounds(name)


def mixed_loops(bench):
    if bench.suite.wants(MIXED):
        for _ in range(bench.rounds):
            for server in ("echo", "densityd"):
                model = bench.servers[server][2]
                bench.load(MIXED, server, ["--concurrency=16", f"--also={model}:{LARGE}:2"])
        bench.print_rounds(MIXED)
    if bench.suite.wants(TWO_MODELS):
        for _ in range(bench.rounds):
            bench.load(TWO_MODELS, "echo", ["--concurrency=32", "--also=other:1:32"])
            bench.load(TWO_MODELS, "densityd", ["--concurrency=32", "--also=other:1:32"])
        bench.print_rounds(TWO_MODELS)


def capacity(bench):
    """Calls per second that the service answers at most, from the closed loop; measured once where that was not run."""
    if (BUSY, "densityd") not in bench.rounds_of:
        bench.load(BUSY, "densityd", CLOSED_LOOPS[BUSY])
    return median([figures["calls_per_second"] for figures in bench.rounds_of[BUSY, "densityd"]])


def open_loops(bench):
    for share in SHARES:
        names = {kind: f"1 row, {kind} arrivals at {share:.0%}" for kind in ("constant", "poisson", "bursty")}
        if not any(bench.suite.wants(name) for name in names.values()):
            continue
        rate = share * capacity(bench)
        # At the load that has a bar the echo shows what the machine and the generator make of the same arrivals.
        has_bar = share == BAR_SHARE
        for _ in range(bench.rounds if has_bar else max(1, bench.rounds - 2)):
            for kind, name in names.items():
                for server in ("echo", "densityd") if has_bar else ("densityd",):
                    bench.load(name, server, [f"--arrival={kind}", f"--rate={rate}"])
        for name in names.values():
            bench.print_rounds(name)


@contextlib.contextmanager
def swapping(control, counter):
    """Points the alias `bench@live` at version 2, 1, 2, … once a second, and unloads the other version each time, so
    that every swap loads one. Appends a swap's seconds to `counter`."""
    stop = threading.Event()
    problems = []

    def swap():
        version = 2
        try:
            while not stop.wait(SWAP_SECONDS):
                begin = time.monotonic()
                control.set_alias("bench", "live", version)
                counter.append(time.monotonic() - begin)
                version = 3 - version
                control.unload("bench", version)
        except Exception as error:  # pylint: disable=broad-exception-caught
            problems.append(error)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if problems:
            raise problems[0]
        control.set_alias("bench", "live", 1)
        control.unload("bench", 2)


def reloads(bench, control):
    name = "1 row, poisson arrivals at 50%, version swaps"
    if not bench.suite.wants(name):
        return
    arguments = ["--model=bench@live", "--arrival=poisson", f"--rate={0.5 * capacity(bench)}"]
    swaps = []
    control.set_alias("bench", "live", 1)
    control.unload("bench", 2)
    for _ in range(bench.rounds):
        bench.load(name, "no swaps", arguments)
        with swapping(control, swaps):
            bench.load(name, "swaps", arguments)
    bench.print_rounds(name)
    bench.suite.note(f"{len(swaps)} swaps, {1e3 * median(swaps):.0f} ms each" if swaps else "no swap took place")
    bench.suite.figures["swap_ms"] = 1e3 * median(swaps) if swaps else None
    value = bench.ratio(name, "p99_us", "swaps", "no swaps")
    if swaps and value:
        bench.suite.compare("reload_p99", "one swap a second", value)


def idle(bench):
    """A server that was busy until a moment ago and has a connection left."""
    name = "idle, 1 connection"
    if not bench.suite.wants(name):
        return
    pid = bench.servers["densityd"][1]
    time.sleep(1)  # for the last spins
    begin, used = time.monotonic(), cpu_seconds(pid)
    time.sleep(bench.seconds)
    share = (cpu_seconds(pid) - used) / (time.monotonic() - begin)
    print(f"{name:44s} {'densityd':11s} {100 * share:.2f} % of a core")
    bench.suite.compare("idle_cpu", "", 100 * share)


def compare(bench):
    for bar, (load, figure, server, other) in RATIOS.items():
        where = ""
        if bar in ON_MANY_CONNECTIONS:
            where = "1 connection"
            value = bench.ratio(BUSY_MANY, figure, server, other)
            if value is not None:
                bench.suite.compare(bar, "64 connections", value)
        value = bench.ratio(load, figure, server, other)
        if value is not None:
            bench.suite.compare(bar, where, value)
    poisson, constant = (bench.rounds_of.get((f"1 row, {kind} arrivals at {BAR_SHARE:.0%}", "densityd"), [])
                         for kind in ("poisson", "constant"))
    if poisson and constant:
        bench.suite.compare("poisson_p99", "", median([a["p99_us"] / b["p99_us"] for a, b in zip(poisson, constant)]))
    bench.suite.compare("failed_calls", "", sum(failures(figures) for (_, server), rounds in bench.rounds_of.items()
                                                for figures in rounds if server != "python"))


def figures_of(bench):
    """What goes into the JSON file: medians over the rounds, and the rounds themselves."""
    numbers = ("p50_us", "p99_us", "p999_us", "max_us", "calls_per_second", "rows_per_second", "server_cpu_us",
               "rows_per_tile", "late_p99_us")
    return [{"load": load, "server": server,
             **{key: median([figures[key] for figures in rounds]) for key in numbers if key in rounds[0]},
             "failures": sum(failures(figures) for figures in rounds), "rounds": rounds}
            for (load, server), rounds in bench.rounds_of.items()]


def main():
    suite = Suite("service", __doc__,
                  lambda parser: parser.add_argument("--protos", required=True, type=pathlib.Path,
                                                     help="folder that holds density/v1/*.proto"))
    if os.cpu_count() < 2:
        sys.exit("two cores are needed: one for the server, one for the load generator")
    import_protos(suite.options.protos)
    import grpc  # pylint: disable=import-outside-toplevel

    suite.machine["versions"]["grpcio"] = grpc.__version__
    os.sched_setaffinity(0, {LOAD_CORE})
    bench = Bench(suite)
    programs = bench.programs
    with contextlib.ExitStack() as stack:
        port, pid, bench.metrics_port = stack.enter_context(densityd(SERVER_CORE, programs / "densityd"))
        control = stack.enter_context(Control(port))
        suite.note("training the models")
        publish_models(control)
        bench.servers["densityd"] = (port, pid, "bench@1")
        bench.servers["null model"] = (port, pid, "null")
        bench.servers["swaps"] = bench.servers["no swaps"] = bench.servers["densityd"]
        echo = stack.enter_context(printing_server(SERVER_CORE, [str(programs / "densityd_echo_server")]))
        bench.servers["echo"] = (*echo, "bench@1")
        python = stack.enter_context(python_alternative(SERVER_CORE, suite.options.protos))
        bench.servers["python"] = (*python, "bench@1")
        suite.note("measuring")
        suite.figures["pauses"] = pauses(SERVER_CORE)
        print(f"{'load':44s} {'server':11s} {'p50 us':>11s} {'p99 us':>11s} {'p99.9 us':>11s} {'calls/s':>11s} "
              f"{'rows/s':>11s} {'CPU us':>11s} {'rows/tile':>11s} {'failed':>7s}")
        closed_loops(bench)
        mixed_loops(bench)
        open_loops(bench)
        reloads(bench, control)
        idle(bench)
    suite.figures["loads"] = figures_of(bench)
    compare(bench)
    suite.finish()


if __name__ == "__main__":
    main()
