"""Compiled plans against Python's flow libraries and against the processor's peak, on one core.

For each model, round by round: engine_bench with the processor's peak, then the same operations in zuko, nflows and
torch.compile of zuko, so that a clock that drifts touches all of them. Figures are medians over the rounds; ratios are
taken within a round. Times are processor time. Run it through `./scripts/bench engine`.
"""

import argparse
import contextlib
import logging
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from engine_bench import run_bench  # noqa: E402
from suite import Suite, median, spread  # noqa: E402

import torch  # noqa: E402
from comparison import compare_plans  # noqa: E402
from peers import PEERS, VERSIONS  # noqa: E402

CORE = "1"
PRESETS = ("realnvp", "maf", "nsf_coupling", "nsf_ar")
# D: (hidden units of both hidden layers, transforms)
SIZES = {6: (256, 8), 21: (256, 8), 43: (256, 8), 63: (512, 8), 784: (1024, 2)}
OPS = ("log_prob", "inverse", "forward", "sample")
ROWS = (1, 64, 4096)
# What torch.compile is measured on: compiling one call takes it up to a minute.
COMPILED = {(preset, 6, 4096) for preset in PRESETS}
COMPILED |= {("realnvp", 6, 1), ("maf", 6, 1), ("realnvp", 63, 4096), ("maf", 63, 4096)}
# Seconds that torch.compile may take for one call.
MOST_COMPILE_SECONDS = 180
# Seconds that one call of a peer may take; what would take longer is left out, and said.
MOST_SECONDS = {"log_prob": 60, "sample": 35, "inverse": 2, "forward": 2}
MOST_NFLOWS_SECONDS = 10
MOST_FEW_ROWS_SECONDS = 2
# Calls that take longer are made once, without one to warm up.
LONG_SECONDS = 1.0
ROUNDS = 3
ROUNDS_OF_LARGEST = 2
# On a slow machine: after as many seconds one round has to do, so that the whole takes about 20 minutes.
HURRY_AFTER_SECONDS = 840
# Other things that engine_bench measures.
KERNELS = "kernel"
SCALING = "scaling"
# 8 bins, as the peers have. A density asks for x -> z, the inverse of the map.
SPLINE_BARS = {"spline_inverse/8": "spline_density", "spline_forward/8": "spline_inverse"}
SCALED_SHAPES = (("maf", 6, 256, 8), ("maf", 63, 512, 8))


def shape_name(shape):
    return "/".join(str(part) for part in shape)


@contextlib.contextmanager
def time_limit(seconds):
    """Raises TimeoutError in the block when it takes longer."""

    def expire(_signal, _frame):
        raise TimeoutError(f"took longer than {seconds} s")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


class PeerCell:
    """One operation of one peer: measured in every round, or once where it is slow, or not at all."""

    def __init__(self, call, estimate):
        self._call = call
        self._estimate = estimate  # seconds that one call is expected to take
        self._warm = False
        self.skipped = None
        self.rounds = []

    def measure(self, most, budget):
        """Adds a round of about `budget` seconds."""
        if self._estimate > most and not self.rounds:
            self.skipped = f"one call takes about {self._estimate:.0f} s"
        long = self._estimate > LONG_SECONDS
        if self.skipped or (long and self.rounds):
            return
        try:
            if not self._warm and not long:
                with time_limit(MOST_COMPILE_SECONDS):
                    self._seconds()
                self._warm = True
            spent, calls = 0.0, 0
            while calls == 0 or spent < budget:
                spent, calls = spent + self._seconds(), calls + 1
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.skipped = f"{type(error).__name__}: {error}".partition("\n")[0]
            return
        self.rounds.append(spent / calls * 1e6)
        self._estimate = spent / calls

    def _seconds(self):
        begin = time.process_time()
        self._call()
        return time.process_time() - begin

    def seconds(self):
        return median(self.rounds) / 1e6 if self.rounds else 0.0


class ModelRun:
    """All operations of one model, ours and the peers'."""

    def __init__(self, suite, program, shape, rows):
        self.suite = suite
        self.program = program
        self.shape = shape
        self.rows = rows
        self.ours = {}  # (op, rows): results of the rounds
        self.peaks = []  # (multiply-adds, oneDNN) of the rounds, FLOP/s
        self.error = None
        self.context = {}
        self._flows = {}
        self.cells = {}  # (peer, op, rows): PeerCell

    def measure(self, seconds, peers):
        preset, features, hidden, layers = self.shape
        sizes = "|".join(str(rows) for rows in self.rows)
        results, self.context = run_bench(self.program, f"^peak|^plan/{shape_name(self.shape)}/.*/({sizes})$", seconds, CORE)
        self.peaks.append(tuple(results.get(f"peak/{name}", {}).get("useful", 0.0)
                                for name in ("multiply-add", "onednn-512")))
        for op in OPS:
            for rows in self.rows:
                result = results[f"plan/{shape_name(self.shape)}/{op}/{rows}"]
                if result.get("error_occurred"):
                    self.error = result["error_message"]
                else:
                    self.ours.setdefault((op, rows), []).append(result)
        for peer in peers:
            make_flow, make_calls = PEERS[peer]
            if peer not in self._flows:
                torch.manual_seed(0)
                self._flows[peer] = make_flow(preset, features, hidden, layers).eval()
            for rows in self.rows:
                if peer == "torch.compile" and (preset, features, rows) not in COMPILED:
                    continue
                self._measure_peer(peer, make_calls, rows, seconds)

    def _measure_peer(self, peer, make_calls, rows, seconds):
        preset, features, _, _ = self.shape
        calls = make_calls(self._flows[peer], rows, features)
        passes = features if preset in ("maf", "nsf_ar") else 2
        for op in OPS:
            if op not in calls:
                continue
            if (peer, op, rows) not in self.cells:
                self.cells[peer, op, rows] = PeerCell(calls[op], self._estimate(peer, op, rows, passes))
            most = MOST_SECONDS[op] if rows == max(ROWS) else MOST_FEW_ROWS_SECONDS
            if peer == "nflows":  # no bar speaks of it
                most = min(most, MOST_NFLOWS_SECONDS)
            with torch.no_grad():
                self.cells[peer, op, rows].measure(most, seconds)

    def _estimate(self, peer, op, rows, passes):
        """Seconds that a first call may take, from what was measured before it; 0 where nothing is known."""
        parallel = self.cells.get((peer, "log_prob", rows))
        if op != "log_prob" and parallel is not None:
            return parallel.seconds() * (passes if op in ("forward", "sample") else 1)
        fewer = self.cells.get((peer, op, 64))
        # Rows of a larger call are cheaper.
        return fewer.seconds() * rows / 64 / 3 if fewer is not None and rows > 64 else 0.0

    def figures(self):
        """One entry per operation and number of rows."""
        preset, features, hidden, layers = self.shape
        onednn = [one for _, one in self.peaks]
        entries = []
        for (op, rows), rounds in self.ours.items():
            us = [result["cpu_time"] for result in rounds]
            entry = {
                "preset": preset, "features": features, "hidden": hidden, "layers": layers, "op": op, "rows": rows,
                "us": median(us),
                "rounds": len(us),
                "spread": spread(us),
                "useful_gflops": median([result["useful"] for result in rounds]) / 1e9,
                "dense_gflops": median([result["dense"] for result in rounds]) / 1e9,
                "share_of_multiply_adds": median([r["useful"] / p for r, (p, _) in zip(rounds, self.peaks)]),
                "share_of_onednn": median([r["useful"] / p for r, p in zip(rounds, onednn)]) if all(onednn) else None,
                "peers": {},
            }
            for peer in PEERS:
                cell = self.cells.get((peer, op, rows))
                if cell is not None and cell.rounds:
                    ratios = [theirs / ours for theirs, ours in zip(cell.rounds, us)]
                    entry["peers"][peer] = {"us": median(cell.rounds), "ratio": median(ratios)}
                elif cell is not None:
                    entry["peers"][peer] = {"left_out": cell.skipped}
            ratios = [peer["ratio"] for peer in entry["peers"].values() if "ratio" in peer]
            entry["ratio_to_best_peer"] = min(ratios) if ratios else None
            entries.append(entry)
        return entries


HEADER = (f"{'model':<26}{'op':<9}{'rows':>5}{'us':>11}{'useful':>8}{'dense':>7}{'of 512^3':>9}{'zuko us':>12}"
          f"{'nflows us':>12}{'compile us':>12}{'ratio':>8}")


def print_entry(entry):
    model = f"{entry['preset']} {entry['features']}, {entry['hidden']}x2, {entry['layers']}"
    share = f"{entry['share_of_onednn']:.2f}" if entry["share_of_onednn"] else "-"
    line = (f"{model:<26}{entry['op']:<9}{entry['rows']:>5}{entry['us']:>11.1f}{entry['useful_gflops']:>8.1f}"
            f"{entry['dense_gflops']:>7.1f}{share:>9}")
    for peer in PEERS:
        us = entry["peers"].get(peer, {}).get("us")
        line += f"{us:>12.1f}" if us else f"{'-':>12}"
    best = entry["ratio_to_best_peer"]
    print(line + (f"{best:>7.1f}x" if best else f"{'-':>8}"), flush=True)


def measure_models(suite, program, peers):
    quick = suite.options.quick
    presets = PRESETS
    sizes = {6: SIZES[6]} if quick else SIZES
    entries, not_compiled, peaks = [], {}, []
    for features, size in sizes.items():
        for preset in presets:
            shape = (preset, features, *size)
            if not suite.wants(f"plan/{shape_name(shape)}"):
                continue
            model = ModelRun(suite, program, shape, ROWS)
            rounds = ROUNDS_OF_LARGEST if features == max(SIZES) else ROUNDS
            if quick or suite.elapsed() > HURRY_AFTER_SECONDS:
                rounds = 1
            for _ in range(rounds):
                model.measure(0.05 if quick else 0.1, peers)
            peaks += model.peaks
            suite.figures["simd_target"] = model.context.get("simd_target")
            if model.error:
                not_compiled[shape_name(shape)] = model.error
            figures = model.figures()
            entries += figures
            multiply_adds, onednn = (median([peak[i] for peak in model.peaks]) / 1e9 for i in (0, 1))
            suite.note(f"{shape_name(shape)}: peak {multiply_adds:.0f} GF/s, oneDNN 512^3 {onednn:.0f} GF/s"
                       + (f"; no compiled plan: {model.error}" if model.error else ""))
            print(HEADER)
            for entry in figures:
                print_entry(entry)
            for (peer, op, rows), cell in model.cells.items():
                if cell.skipped:
                    print(f"    {peer} {op} of {rows} rows left out: {cell.skipped}")
    suite.figures["plans"] = entries
    suite.figures["no_compiled_plan"] = not_compiled
    if peaks:
        suite.figures["peak_gflops"] = median([peak[0] for peak in peaks]) / 1e9
        suite.figures["onednn_512_gflops"] = median([peak[1] for peak in peaks]) / 1e9


def measure_kernels(suite, program):
    """Univariate maps and noise on their own: ns per number."""
    if not suite.wants(KERNELS):
        return
    rounds = [run_bench(program, f"^{KERNELS}/", 0.05, CORE)[0] for _ in range(1 if suite.options.quick else 5)]
    figures = {name.removeprefix(f"{KERNELS}/"): 1e9 / median([results[name]["numbers"] for results in rounds])
               for name in rounds[0]}
    suite.figures["kernel_ns"] = figures
    for name, value in figures.items():
        suite.note(f"kernel {name}: {value:.2f} ns per number")
        if name in SPLINE_BARS:
            suite.compare(SPLINE_BARS[name], "", value)


def measure_scaling(suite, program):
    if not suite.wants(SCALING):
        return
    figures = []
    for shape in SCALED_SHAPES[:1] if suite.options.quick else SCALED_SHAPES:
        rates = {1: [], 2: []}
        error = None
        for _ in range(1 if suite.options.quick else ROUNDS):
            results, _ = run_bench(program, f"^{SCALING}/{shape_name(shape)}/", 0.5)
            for name, result in results.items():
                cores = int(name.partition("cores:")[2].partition("/")[0])
                error = result.get("error_message") or error
                rates[cores].append(result.get("rows"))
        if error:
            suite.note(f"{SCALING} {shape_name(shape)}: {error}")
            continue
        ratio = median([two / one for one, two in zip(rates[1], rates[2])])
        entry = {"model": shape_name(shape), "rows_per_second": {str(n): median(rates[n]) for n in rates},
                 "ratio": ratio}
        figures.append(entry)
        suite.note(f"two cores, {entry['model']}: {ratio:.2f}x one core's {median(rates[1]):.0f} rows/s")
        suite.compare("two_cores", entry["model"], ratio)
    suite.figures["scaling"] = figures


def peer_list(text):
    names = [] if text == "none" else text.split(",")
    unknown = set(names) - set(PEERS)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


def main():
    suite = Suite("engine", __doc__,
                  lambda parser: parser.add_argument("--peers", type=peer_list, metavar="LIST",
                                                     help=f"some of {','.join(PEERS)}, or none (default: all; without "
                                                          "torch.compile for --quick)"))
    peers = suite.options.peers
    if peers is None:
        peers = [peer for peer in PEERS if not (suite.options.quick and peer == "torch.compile")]
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it looks for a GPU
    suite.machine["versions"].update(VERSIONS)
    program = str(suite.options.programs / "engine_bench")
    os.sched_setaffinity(0, {int(CORE)})
    torch.set_num_threads(1)
    measure_scaling(suite, program)
    measure_kernels(suite, program)
    measure_models(suite, program, peers)
    compare_plans(suite, suite.figures["plans"])
    suite.finish()


if __name__ == "__main__":
    main()
