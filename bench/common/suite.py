"""What the benchmark scripts have in common: options, the JSON file, and the comparison with the bars."""

import argparse
import json
import os
import pathlib
import re
import shlex
import signal
import statistics
import sys
import time

import machine
from bars import BARS

# Full runs are kept here; `./scripts/bench report` makes docs/benchmarks.md of them.
RESULTS = machine.PROJECT / "build" / "bench"


def median(values):
    return statistics.median(values)


def spread(values):
    """(highest - lowest) / median."""
    return (max(values) - min(values)) / median(values)


class Suite:
    """One benchmark script's run. `figures` is free to hold what the suite measures; JSON takes it as it is."""

    def __init__(self, name, description, add_options=None):
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--programs", required=True, type=pathlib.Path, help="folder of the built programs")
        parser.add_argument("--quick", action="store_true", help="the most important part, in at most two minutes")
        parser.add_argument("--only", metavar="PATTERN", help="a part: what matches this regular expression")
        parser.add_argument("--check", action="store_true", help="exit with 1, naming each bar that is missed")
        parser.add_argument("--json", type=pathlib.Path, metavar="FILE",
                            help=f"file for the figures (default: build/bench/{name}.json, or {name}-part.json for "
                                 "--quick and --only)")
        if add_options:
            add_options(parser)
        # So that servers are stopped when this is.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{name}: stopped"))
        self.name = name
        self.options = parser.parse_args()
        self.machine = machine.describe()
        self.figures = {}
        self._values = []
        self._begin = time.monotonic()

    @property
    def whole(self):
        """Whether everything is measured, so that what is absent is missed."""
        return not (self.options.quick or self.options.only or getattr(self.options, "peers", None) is not None
                    or getattr(self.options, "peers_from", None))

    def wants(self, part):
        return not self.options.only or re.search(self.options.only, part) is not None

    def note(self, text):
        """Progress, with the time since the start."""
        print(f"[{self.elapsed():5.0f} s] {text}", flush=True)

    def elapsed(self):
        """Seconds since the start."""
        return time.monotonic() - self._begin

    def compare(self, bar, where, value, note=""):
        """Records the value of a bar in BARS at one place where it applies. `note` is for who reads of a miss."""
        assert BARS[bar].suite == self.name
        self._values.append((bar, where, value, note))

    def results(self):
        return [{"bar": bar, "figure": BARS[bar].figure, "where": where, "value": value,
                 "wanted": BARS[bar].wanted(), "met": BARS[bar].holds(value), "note": note}
                for bar, where, value, note in self._values]

    def finish(self):
        """Prints the bars, writes the JSON file and ends the program."""
        results = self.results()
        measured = {result["bar"] for result in results}
        absent = [key for key, bar in BARS.items() if bar.suite == self.name and key not in measured]
        print()
        for result in results:
            print(f"{'ok    ' if result['met'] else 'MISSED'} {result['figure']:58s} {result['where']:28s} "
                  f"{result['value']:9.3g}  ({result['wanted']})"
                  + (f"; {result['note']}" if result["note"] and not result["met"] else ""))
        for key in absent:
            print(f"{'MISSED' if self.whole else 'absent'} {BARS[key].figure}: not measured")
        missed = [result for result in results if not result["met"]] + (absent if self.whole else [])
        seconds = self.elapsed()
        print(f"{len(missed)} missed; {seconds:.0f} s")
        self._write(results, absent, seconds)
        sys.exit(1 if missed and self.options.check else 0)

    def _write(self, results, absent, seconds):
        path = self.options.json or RESULTS / f"{self.name}{'' if self.whole else '-part'}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["--quick"] * self.options.quick
        arguments += ["--only", self.options.only] if self.options.only else []
        if getattr(self.options, "peers", None) is not None:
            arguments += ["--peers", ",".join(self.options.peers) or "none"]
        if getattr(self.options, "peers_from", None):
            arguments += ["--peers-from", str(self.options.peers_from)]
        content = {
            "suite": self.name,
            "command": shlex.join(["./scripts/bench", self.name, *arguments]),
            "seconds": round(seconds),
            **self.machine,
            "bars": results,
            "bars_not_measured": [BARS[key].figure for key in absent],
            **self.figures,
        }
        # All or nothing, so that a report never reads half a file.
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(partial, path)
        print(f"figures: {path}")
