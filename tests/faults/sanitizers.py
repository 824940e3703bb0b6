#!/usr/bin/env python3
"""Runs the whole suite of a build with sanitizers, and puts what came of it into docs/reliability.md.

  sanitizers.py PRESET [CTEST-ARGUMENT...]

With arguments for ctest it runs a part, and leaves the page as it is.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import harness  # noqa: E402
import page  # noqa: E402

PRESETS = {"asan": "AddressSanitizer, UndefinedBehaviorSanitizer", "tsan": "ThreadSanitizer"}
# The lint looks at sources, which are the same.
NOT_BUILT = ("-LE", "lint")


def suite(arguments):
    """ctest's exit status, how many tests ran, and the names of those that failed or were left out."""
    with tempfile.TemporaryDirectory() as folder:
        results = pathlib.Path(folder) / "results.xml"
        status = subprocess.run(["ctest", "--test-dir", harness.BUILD, "--output-on-failure", "--no-tests=error",
                                 "--parallel", str(os.cpu_count()), "--output-junit", results, *NOT_BUILT, *arguments],
                                check=False).returncode
        cases = list(xml.parse(results).getroot().iter("testcase"))
    passed = [case for case in cases if case.get("status") == "run"]
    return status, len(cases), sorted(case.get("name") for case in cases if case not in passed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("arguments", nargs="*", metavar="CTEST-ARGUMENT")
    options, more = parser.parse_known_args()
    arguments = options.arguments + more
    start = time.monotonic()
    status, tests, others = suite(arguments)
    if not arguments:
        outcome = f"**not clean**: {', '.join(others)}" if others or status else "nothing found"
        page.SANITIZERS.merge({options.preset: [PRESETS[options.preset], tests, f"{time.monotonic() - start:.0f}", outcome,
                                                page.measured()]}, PRESETS)
    sys.exit(status)


if __name__ == "__main__":
    main()
