"""Runs engine_bench."""

import json
import os
import subprocess


def run_bench(program, pattern, seconds, core=None):
    """Results of engine_bench by name, and what it says about the machine; on one core, or on all."""
    cores = f"0-{os.cpu_count() - 1}" if core is None else str(core)
    command = ["taskset", "-c", cores, program, f"--benchmark_filter={pattern}", f"--benchmark_min_time={seconds}",
               "--benchmark_format=json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    output = json.loads(done.stdout) if done.stdout.strip() else {"benchmarks": [], "context": {}}
    return {result["name"]: result for result in output["benchmarks"]}, output["context"]
