#!/usr/bin/env python3
"""Runs the trials and tells what came of them; ./scripts/torture calls it with what it needs in the environment.

  torture.py [NAME...]          all trials or some in full, each with its figures into docs/reliability.md
  torture.py --quick [NAME...]  small counts, for every test run
  torture.py --list             their names and promises
"""

import argparse
import pathlib
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

# Each of these declares trials.
import connections  # noqa: E402,F401
import fuzz  # noqa: E402,F401
import kills  # noqa: E402,F401
import load  # noqa: E402,F401
import outside  # noqa: E402,F401
import page  # noqa: E402
import versions  # noqa: E402,F401
from trial import TRIALS, Context  # noqa: E402


def run(name, quick, seed):
    """Figures and seconds of a trial; the error where its promise is broken, or where the trial itself is."""
    start = time.monotonic()
    figures, error = {}, None
    with Context(quick, seed) as context:
        try:
            figures = TRIALS[name][1](context)
        except AssertionError as broken:
            error = str(broken)
        except Exception:  # pylint: disable=broad-exception-caught
            error = traceback.format_exc(limit=-2)
        error = "; ".join([*context.missed, *([error] if error else [])])
    return figures, error, time.monotonic() - start


def record(name, figures, error, seconds, seed):
    """Puts a full run into the page, a broken one too: what held for another commit says nothing about this one."""
    outcome = "; ".join(([f"**broken**: {error[:300]}"] if error else []) + ([page.told(figures)] if figures else []))
    page.FIGURES.merge({name: [TRIALS[name][0], outcome, f"{seconds:.0f}", page.measured(f"seed {seed}")]}, TRIALS)


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
    broken = []
    for name in arguments.trials or TRIALS:
        print(f"{name} …", flush=True)
        figures, error, seconds = run(name, arguments.quick, arguments.seed)
        print(f"{name}: " + "; ".join(([f"BROKEN: {error}"] if error else []) + [page.told(figures)]) +
              f" ({seconds:.0f} s)", flush=True)
        if error:
            broken.append(name)
        if not arguments.quick:
            record(name, figures, error, seconds, arguments.seed)
    if broken:
        sys.exit(f"broken: {', '.join(broken)} (seed {arguments.seed})")


if __name__ == "__main__":
    main()
