"""Compiled plans against zuko and against the processor's peak, on one core.

Runs engine_bench and, in the same minutes on the same core, zuko's flows of the same shape, and prints a table of times
and ratios. Run it through `./scripts/bench engine`, which builds the program and makes the Python environment.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import torch
import zuko

CORE = "1"
OPS = ("log_prob", "sample")
# (preset, D, hidden, layers)
QUICK = [("realnvp", 6, 256, 8), ("maf", 6, 256, 8)]
SHAPES = QUICK + [
    ("realnvp", 43, 256, 8),
    ("maf", 43, 256, 8),
    ("realnvp", 63, 512, 8),
    ("maf", 63, 512, 8),
]

# (what, shape, op, rows, bound on zuko's time / ours)
SPEEDUP_BARS = [
    ("RealNVP log_prob against zuko", QUICK[0], "log_prob", 4096, 2.5),
    ("RealNVP sample against zuko", QUICK[0], "sample", 4096, 2.5),
    ("MAF log_prob against zuko", QUICK[1], "log_prob", 4096, 5),
    ("MAF sample against zuko, D = 6", QUICK[1], "sample", 4096, 25),
    ("MAF sample against zuko, D = 63", SHAPES[-1], "sample", 4096, 100),
]
MAX_ONE_ROW_US = 25
MAX_SAMPLE_TO_LOG_PROB = 1.15
MIN_SHARE_OF_ONEDNN = 0.80


def run_engine(program, shapes, rows, seconds):
    """Results of engine_bench by name: time in microseconds of processor time, and useful FLOP/s."""
    presets = "|".join(f"{preset}/{features}/{hidden}/{layers}" for preset, features, hidden, layers in shapes)
    sizes = "|".join(str(size) for size in rows)
    command = [
        program,
        f"--benchmark_filter=^peak|^plan/({presets})/.*/({sizes})$",
        f"--benchmark_min_time={seconds}",
        "--benchmark_format=json",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(["taskset", "-c", CORE, *command], check=True, stdout=subprocess.PIPE, env=environment).stdout
    return {
        result["name"]: {"us": result["cpu_time"], "useful": result["useful"]}
        for result in json.loads(output)["benchmarks"]
    }


def zuko_flow(preset, features, hidden, layers):
    make = {"realnvp": zuko.flows.RealNVP, "maf": zuko.flows.MAF}[preset]
    return make(features, 0, transforms=layers, hidden_features=(hidden, hidden)).eval()


def microseconds(call, budget):
    """Shortest processor time of a call, from as many as fit the budget in seconds; at least two."""
    call()
    best, spent, calls = float("inf"), 0.0, 0
    while calls < 2 or spent < budget:
        begin = time.process_time()
        call()
        took = time.process_time() - begin
        best, spent, calls = min(best, took), spent + took, calls + 1
    return best * 1e6


def run_zuko(shape, op, rows, budget):
    preset, features, hidden, layers = shape
    flow = zuko_flow(preset, features, hidden, layers)
    x = torch.randn(rows, features)
    with torch.no_grad():
        if op == "log_prob":
            return microseconds(lambda: flow().log_prob(x), budget)
        return microseconds(lambda: flow().sample((rows,)), budget)


def measure(arguments):
    shapes = QUICK if arguments.quick else SHAPES
    rows = [1, 64, 4096]
    engine = run_engine(arguments.program, shapes, rows, 0.1 if arguments.quick else 0.5)
    peak = engine.pop("peak/multiply-add")["useful"]
    onednn = engine.pop("peak/onednn-512", {}).get("useful")
    results = []
    for shape in shapes:
        for op in OPS:
            for size in rows:
                name = "plan/" + "/".join(str(part) for part in shape) + f"/{op}/{size}"
                theirs = run_zuko(shape, op, size, 0.3 if arguments.quick else 1)
                ours = engine[name]
                results.append({
                    "shape": shape,
                    "op": op,
                    "rows": size,
                    "us": ours["us"],
                    "useful_gflops": ours["useful"] / 1e9,
                    "share_of_peak": ours["useful"] / (onednn or peak),
                    "zuko_us": theirs,
                    "speedup": theirs / ours["us"],
                })
    return {"peak_gflops": peak / 1e9, "onednn_512_gflops": onednn and onednn / 1e9, "results": results}


def print_table(measured):
    print(f"register-resident multiply-adds: {measured['peak_gflops']:.0f} GF/s")
    if measured["onednn_512_gflops"]:
        print(f"oneDNN 512 x 512 x 512: {measured['onednn_512_gflops']:.0f} GF/s")
    print(f"{'model':<22}{'op':<10}{'rows':>6}{'us':>11}{'GF/s':>7}{'share':>7}{'zuko us':>12}{'ratio':>8}")
    for result in measured["results"]:
        preset, features, hidden, layers = result["shape"]
        model = f"{preset} {features}, {hidden}x2, {layers}"
        print(f"{model:<22}{result['op']:<10}{result['rows']:>6}{result['us']:>11.1f}{result['useful_gflops']:>7.0f}"
              f"{result['share_of_peak']:>7.2f}{result['zuko_us']:>12.1f}{result['speedup']:>7.1f}x")


def missed_bars(measured):
    """What is missed, in words."""
    by_key = {(tuple(result["shape"]), result["op"], result["rows"]): result for result in measured["results"]}
    missed = []
    for what, shape, op, rows, bound in SPEEDUP_BARS:
        result = by_key.get((shape, op, rows))
        if result and result["speedup"] < bound:
            missed.append(f"{what}: {result['speedup']:.1f}x, at least {bound}x is wanted")
    for (shape, op, rows), result in by_key.items():
        model = f"{shape[0]} D = {shape[1]} {op}"
        if rows == 1 and shape[1] == 6 and result["us"] > MAX_ONE_ROW_US:
            missed.append(f"{model}, 1 row: {result['us']:.1f} us, at most {MAX_ONE_ROW_US} are wanted")
        if rows == 4096 and measured["onednn_512_gflops"] and result["share_of_peak"] < MIN_SHARE_OF_ONEDNN:
            missed.append(f"{model}, 4096 rows: {result['share_of_peak']:.2f} of oneDNN's rate, at least "
                          f"{MIN_SHARE_OF_ONEDNN} is wanted")
        if rows == 4096 and shape[0] == "maf" and op == "sample":
            ratio = result["us"] / by_key[(shape, "log_prob", rows)]["us"]
            if ratio > MAX_SAMPLE_TO_LOG_PROB:
                missed.append(f"{model}: {ratio:.2f} times its log_prob, at most {MAX_SAMPLE_TO_LOG_PROB} is wanted")
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="engine_bench")
    parser.add_argument("--quick", action="store_true", help="two models, short runs")
    parser.add_argument("--check", action="store_true", help="fail where a bar is missed, and name it")
    parser.add_argument("--json", help="file for the figures")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {int(CORE)})
    torch.set_num_threads(1)
    measured = measure(arguments)
    print_table(measured)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(measured, file, indent=2)
    missed = missed_bars(measured)
    for line in missed:
        print("missed:", line)
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
