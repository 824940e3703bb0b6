"""What programs of their own try: mutations of good files and messages for every parser (tests/fuzz) and of stored
models, and crashes in between any two changes of files."""

import json
import os
import subprocess

import harness
from trial import check, trial

CORPORA = harness.SOURCE / "tests" / "fuzz" / "corpus"


@trial("Hostile bytes in every parser of what comes from outside: an error that says what is wrong, or what was written; "
       "no crash")
def mutations(context):
    each = context.count(2000, 2_000_000)
    targets = sorted(folder.name for folder in CORPORA.iterdir())
    for target in targets:
        done = subprocess.run([harness.BUILD / "bin" / f"fuzz_{target}", CORPORA / target, str(each),
                               str(context.random.randrange(1 << 30))], capture_output=True, text=True,
                              cwd=context.folder)
        check(done.returncode == 0, f"fuzz_{target}: {done.stderr[-500:]}")
    return {"parsers": len(targets), "mutations": each * len(targets), "broken": 0}


@trial("Mutations of stored models (flipped, cut, spliced, hostile headers behind digests that fit): DATA_LOSS that names "
       "the file, never other weights, and never more memory than twice the file")
def model_files(context):
    count = context.count(500, 10_000)
    done = subprocess.run([harness.BUILD / "tests" / "model_file_mutations_test"], capture_output=True, text=True,
                          env=os.environ | {"DENSITYD_MUTATIONS": str(count)})
    check(done.returncode == 0, done.stdout[-1000:])
    return {"mutations": count, "wrong answers": 0}


@trial("A crash before every write, sync, rename and removal of versions, aliases, archives, datasets, trainings and "
       "checkpoints, with all, nothing or some of what was not synced lost: exactly the old state or the new one")
def crash_points(context):
    seeds = context.count(1, 8)
    crashes = 0
    for program in ("base_test", "registry_test", "training_test"):
        told = context.folder / f"{program}.json"
        done = subprocess.run([harness.BUILD / "tests" / program, f"--gtest_output=json:{told}", "--gtest_filter="
                               "*Fault*:FirstStartTest.*:*.StoppedAnywhere*:*.*AtEveryPointOfFailure"],
                              capture_output=True, text=True, env=os.environ | {"DENSITYD_CRASH_SEEDS": str(seeds)})
        check(done.returncode == 0, f"{program}: {done.stdout[-1000:]}")
        # Each test tells how many its process has tried so far (tests/base/faulty_file_system.h).
        crashes += max(int(test.get("crash_points", 0)) for suite in json.loads(told.read_text())["testsuites"]
                       for test in suite["testsuite"])
    check(crashes >= context.count(200, 500), f"only {crashes} crashes")
    return {"crashes": crashes, "states that are neither": 0}
