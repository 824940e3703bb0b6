#!/usr/bin/env python3
"""Runs the trials and tells what came of them; ./scripts/torture calls it with what it needs in the environment.

  torture.py                    every trial in full, and the figures into docs/reliability.md
  torture.py --quick [NAME...]  small counts, for every test run
  torture.py NAME...            some trials in full
  torture.py --list             their names and promises
"""

import argparse
import datetime
import pathlib
import platform
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import harness  # noqa: E402

# Each of these declares trials.
import connections  # noqa: E402,F401
import fuzz  # noqa: E402,F401
import kills  # noqa: E402,F401
import load  # noqa: E402,F401
import outside  # noqa: E402,F401
import versions  # noqa: E402,F401
from trial import TRIALS, Context  # noqa: E402

PAGE = harness.SOURCE / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: written by ./scripts/torture -->\n", "<!-- end of figures -->\n"


def run(name, quick, seed):
    """Figures and seconds of a trial; the error where its promise is broken."""
    start = time.monotonic()
    try:
        with Context(quick, seed) as context:
            figures, error = TRIALS[name][1](context), None
    except AssertionError as broken:
        figures, error = {}, str(broken)
    return figures, error, time.monotonic() - start


def told(figures):
    return ", ".join(f"{what}: {value:,}" if isinstance(value, int) else f"{what}: {value}"
                     for what, value in figures.items())


def write_page(results, seed):
    version = subprocess.run([harness.DENSITYD, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    day = datetime.date.today().isoformat()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    lines = [f"`./scripts/torture` of {day}, {version}, seed {seed}, {cpu or platform.machine()}, "
             f"{harness.os.cpu_count()} cores.\n\n", "| promise | trial | figures | seconds |\n|---|---|---|---|\n"]
    for name, (figures, _, seconds) in results.items():
        lines.append(f"| {TRIALS[name][0]} | `{name}` | {told(figures)} | {seconds:.0f} |\n")
    text = PAGE.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    assert pattern.search(text), f"{PAGE}: the marks of the figures are missing"
    PAGE.write_text(pattern.sub(lambda _: BEGIN + "".join(lines) + END, text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="*", metavar="NAME", help="trials; default: all")
    parser.add_argument("--quick", action="store_true", help="small counts")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices [1]")
    parser.add_argument("--list", action="store_true", help="print names and promises")
    arguments = parser.parse_args()
    if arguments.list:
        for name, (promise, _) in TRIALS.items():
            print(f"{name}: {promise}")
        return
    unknown = [name for name in arguments.trials if name not in TRIALS]
    if unknown:
        parser.error(f"no trial is called {unknown[0]}; there are {', '.join(TRIALS)}")
    results = {}
    for name in arguments.trials or TRIALS:
        print(f"{name} …", flush=True)
        results[name] = figures, error, seconds = run(name, arguments.quick, arguments.seed)
        print(f"{name}: " + (f"BROKEN: {error}" if error else told(figures)) + f" ({seconds:.0f} s)", flush=True)
    broken = [name for name, (_, error, _) in results.items() if error]
    if broken:
        sys.exit(f"broken: {', '.join(broken)} (seed {arguments.seed})")
    if not arguments.quick and not arguments.trials:
        write_page(results, arguments.seed)
        print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
