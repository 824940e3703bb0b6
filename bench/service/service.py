"""The row service against an empty echo and against what a Python user would serve with.

Starts each server on one core and the load generator on another, runs the same loads against each in turn, and prints
a table of latencies, rates and ratios. Every bar of docs/benchmarks.md is a ratio within one run. Run it through
`./scripts/bench service`, which builds the programs and makes the Python environment.
"""

import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from protos import import_protos

FEATURES = 6
SERVER_CORE = "0"
LOAD_CORE = "1"
# Rounds of echo and service back to back; the echo's rate moves with the host, so ratios are taken within a round.
ROUNDS = 3

LOADS = {
    "1 row, c=1": ["--concurrency=1"],
    "1 row, c=4": ["--concurrency=4"],
    "1 row, c=64, 1 connection": ["--concurrency=64"],
    "1 row, c=64, 64 connections": ["--concurrency=64", "--connections=64"],
    "4096 rows, c=4": ["--concurrency=4", "--rows=4096"],
}

# name: (load, figure, how it is compared with the echo's, bound)
BARS = [
    ("p50 at c=1 / echo's", "1 row, c=1", "p50_us", "at most", 1.3),
    ("rate at c=4 / echo's", "1 row, c=4", "calls_per_second", "at least", 0.5),
    ("rate at c=64 on 1 connection / echo's", "1 row, c=64, 1 connection", "calls_per_second", "at least", 0.78),
    ("rate at c=64 on 64 connections / echo's", "1 row, c=64, 64 connections", "calls_per_second", "at least", 0.72),
    ("CPU per call at c=64 / echo's", "1 row, c=64, 1 connection", "server_cpu_us", "at most", 1.3),
    ("p99 at c=64 / echo's", "1 row, c=64, 1 connection", "p99_us", "at most", 1.5),
]


@contextlib.contextmanager
def process(command, **options):
    child = subprocess.Popen(["taskset", "-c", SERVER_CORE, *command], **options)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(timeout=60)


@contextlib.contextmanager
def printing_server(command):
    """A server that prints "ready <port>": yields (port, pid)."""
    with process(command, stdout=subprocess.PIPE, text=True) as child:
        word, port = child.stdout.readline().split()
        assert word == "ready", word
        yield int(port), child.pid


@contextlib.contextmanager
def densityd(binary):
    """densityd with a trained model "bench": MAF, 6 columns, 8 transforms, hidden 256x2. Yields (port, pid)."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = pathlib.Path(folder, "port")
        command = [binary, "--root", f"{folder}/root", "--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0",
                   "--workers", "1", "--port-file", str(port_file), "--log-level", "warning"]
        with process(command) as child:
            deadline = time.monotonic() + 60
            while not (port_file.exists() and port_file.read_text().strip()):
                if child.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("densityd did not start")
                time.sleep(0.05)
            port = int(port_file.read_text().split()[0].rsplit(":")[-1])
            train(port)
            yield port, child.pid


def train(port):
    import grpc
    import numpy
    from density.v1 import density_estimator_pb2_grpc, flow_spec_pb2, matrix_pb2, training_pb2, training_pb2_grpc

    generator = numpy.random.default_rng(0)
    rows = generator.normal(size=(4096, FEATURES)).astype("<f4")
    rows[:, 1] += 0.5 * rows[:, 0] ** 2
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    request = training_pb2.TrainRequest(
        model="bench",
        preset=flow_spec_pb2.Preset(name="maf", transforms=8, hidden=[256, 256]),
        rows=matrix_pb2.Matrix(rows=len(rows), cols=FEATURES, f32_le=rows.tobytes()),
        options=training_pb2.TrainingOptions(steps=50),
    )
    training = density_estimator_pb2_grpc.DensityEstimatorStub(channel).Train(request)
    watch = training_pb2_grpc.TrainingsStub(channel).Watch(training_pb2.WatchTrainingRequest(id=training.id))
    for training in watch:
        pass
    if training.state != training_pb2.SUCCEEDED:
        raise RuntimeError(f"the training failed: {training.error}")


def load(binary, port, pid, seconds, arguments):
    command = ["taskset", "-c", LOAD_CORE, binary, f"--target=127.0.0.1:{port}", "--model=bench", f"--cols={FEATURES}",
               f"--seconds={seconds}", f"--server-pid={pid}", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stdout}{result.stderr}")
    return json.loads(result.stdout)


def median(values):
    return sorted(values)[len(values) // 2]


def print_row(server, name, figures):
    print(f"{server:10s} {name:28s} {figures['p50_us']:10.0f} {figures['p99_us']:10.0f} {figures['p999_us']:10.0f} "
          f"{figures['calls_per_second']:12.0f} {figures['rows_per_second']:12.0f} {figures['server_cpu_us']:10.1f}",
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, help="folder of densityd, densityd_load and densityd_echo_server")
    parser.add_argument("--protos", required=True, help="folder that holds density/v1/*.proto")
    parser.add_argument("--json", help="also write the figures here")
    parser.add_argument("--quick", action="store_true", help="half a second a load, one round")
    parser.add_argument("--check", action="store_true", help="exit with 1, naming each bar that is missed")
    options = parser.parse_args()
    seconds, rounds = (0.5, 1) if options.quick else (3, ROUNDS)
    import_protos(options.protos)
    programs = pathlib.Path(options.programs)
    generator = str(programs / "densityd_load")
    alternative = [sys.executable, str(pathlib.Path(__file__).with_name("python_alternative.py")),
                   "--protos", options.protos]

    print(f"{'server':10s} {'load':28s} {'p50 us':>10s} {'p99 us':>10s} {'p99.9 us':>10s} {'calls/s':>12s} "
          f"{'rows/s':>12s} {'CPU us':>10s}")
    figures = {"echo": {}, "densityd": {}, "python": {}}
    ratios = {bar[0]: [] for bar in BARS}
    with printing_server([str(programs / "densityd_echo_server")]) as echo, densityd(str(programs / "densityd")) as own:
        for name, arguments in LOADS.items():
            for _ in range(rounds):
                for server, (port, pid) in (("echo", echo), ("densityd", own)):
                    figures[server][name] = load(generator, port, pid, seconds, arguments)
                for title, bar_load, figure, _, _ in BARS:
                    if bar_load == name:
                        ratios[title].append(figures["densityd"][name][figure] / max(figures["echo"][name][figure], 1e-9))
            print_row("echo", name, figures["echo"][name])
            print_row("densityd", name, figures["densityd"][name])
        capacity = figures["densityd"]["1 row, c=64, 1 connection"]["calls_per_second"]
        for share in (0.5, 0.7, 0.9):
            for kind in ("constant", "poisson", "bursty"):
                name = f"1 row, {kind} at {share:.0%}"
                figures["densityd"][name] = load(generator, *own, seconds,
                                                 [f"--arrival={kind}", f"--rate={share * capacity}"])
                print_row("densityd", name, figures["densityd"][name])
    with printing_server(alternative) as (port, pid):
        for name in ("1 row, c=1", "1 row, c=64, 1 connection", "4096 rows, c=4"):
            figures["python"][name] = load(generator, port, pid, seconds, LOADS[name])
            print_row("python", name, figures["python"][name])

    missed = report(figures, ratios)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"figures": figures, "ratios": ratios}, indent=1) + "\n")
    sys.exit(1 if missed and options.check else 0)


def report(figures, ratios):
    """Prints each bar with what was measured; returns the names of those that were missed."""
    own = figures["densityd"]
    results = [(title, median(ratios[title]), kind, bound) for title, _, _, kind, bound in BARS]
    busiest = "1 row, c=64, 1 connection"
    results.append(("rate at c=64 / Python's",
                    own[busiest]["calls_per_second"] / figures["python"][busiest]["calls_per_second"], "at least", 12))
    results.append(("p99, Poisson / constant at 70 %",
                    own["1 row, poisson at 70%"]["p99_us"] / own["1 row, constant at 70%"]["p99_us"], "at most", 2))
    print()
    missed = []
    for title, value, kind, bound in results:
        holds = value <= bound if kind == "at most" else value >= bound
        print(f"{'ok    ' if holds else 'MISSED'} {title:42s} {value:8.2f}   ({kind} {bound})")
        if not holds:
            missed.append(title)
    return missed


if __name__ == "__main__":
    main()
