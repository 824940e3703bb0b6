"""Files and messages that are damaged or meant to harm: mutations of good ones for every parser (tests/fuzz)."""

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
