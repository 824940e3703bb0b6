#!/usr/bin/env python3
"""Runs the fuzz targets of build/fuzz, two at a time, and puts what came of each into docs/reliability.md.

  fuzzers.py SECONDS [TARGET...]

Inputs that reach new code are kept in a folder between runs, and so is one that breaks a promise.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import harness  # noqa: E402
import page  # noqa: E402

SOURCES = harness.SOURCE / "tests" / "fuzz"
KEPT = pathlib.Path(tempfile.gettempdir()) / f"densityd-fuzz-{os.getuid()}"


def targets():
    return sorted(path.name.removesuffix("_fuzz.cc") for path in SOURCES.glob("*_fuzz.cc"))


def told(target):
    """What the target's source says first about itself."""
    comment = (SOURCES / f"{target}_fuzz.cc").read_text().split("#include", 1)[0]
    return " ".join(line.removeprefix("// ") for line in comment.splitlines() if line.startswith("// ")).rstrip(".")


def fuzz(target, seconds):
    """Inputs tried; seconds that passed, and of the processor; what was found: None, or the target's words about it."""
    inputs, found = KEPT / target, KEPT / f"{target}-broken"
    inputs.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    log = KEPT / f"{target}.log"
    start = time.monotonic()
    with log.open("wb") as out:
        # New inputs go to the first folder; the second is read only.
        # The time limit of one input is in seconds that pass, whoever else uses the processor meanwhile.
        process = subprocess.Popen([harness.BUILD / "bin" / f"fuzz_{target}", f"-max_total_time={seconds}",
                                    "-max_len=65536", "-rss_limit_mb=2048", "-timeout=300", "-print_final_stats=1",
                                    f"-artifact_prefix={found}/", inputs, SOURCES / "corpus" / target],
                                   stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        status = process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace")
    tried = [int(number) for number in re.findall(r"stat::number_of_executed_units: (\d+)", text)]
    tried = tried or [int(number) for number in re.findall(r"^#(\d+)", text, re.MULTILINE)][-1:]
    words = re.findall(r"^(?:SUMMARY|.*does not hold): .*", text, re.MULTILINE)
    error = None if status == 0 else (words[0] if words else f"exit status {status}")
    return (tried or [0])[0], (time.monotonic() - start, used.ru_utime + used.ru_stime), error


def record(target, tried, seconds, error):
    outcome = f"**broken**: {error}" if error else "nothing broken"
    passed, used = seconds
    page.FUZZING.merge({target: [told(target), f"{tried:,}", f"{passed:.0f}, {used:.0f} of the processor", outcome,
                                 page.measured("libFuzzer, ASan, UBSan")]}, targets())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=int, metavar="SECONDS", help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(targets())
    if unknown:
        parser.error(f"no target is called {min(unknown)}; there are {', '.join(targets())}")
    broken = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        runs = {pool.submit(fuzz, target, arguments.seconds): target for target in arguments.targets or targets()}
        for run in concurrent.futures.as_completed(runs):
            target = runs[run]
            tried, seconds, error = run.result()
            print(f"{target}: {tried:,} inputs in {seconds[0]:.0f} s, {error or 'nothing broken'}", flush=True)
            if error:
                broken.append(target)
            record(target, tried, seconds, error)
    if broken:
        sys.exit(f"broken: {', '.join(sorted(broken))}; the inputs are in {KEPT}/TARGET-broken. Mend each, and add its "
                 "input to tests/fuzz/corpus/TARGET")


if __name__ == "__main__":
    main()
