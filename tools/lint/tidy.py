#!/usr/bin/env python3
"""Runs clang-tidy, with clang's analysis of locks, over the project's files that are free of LibTorch.

  tidy.py BUILD_FOLDER [--all] [--deep] [--cache FOLDER] [--jobs N] [--seconds N] [FILE...]

A file that passed is not looked at again until it, a header of the project that it sees, its compile command or
.clang-tidy changes. With --seconds no file is begun after that time; what is left is counted, and done by later runs with
the same cache. Left out unless --all is given: tests, and files that see LibTorch, which take half a minute each.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

from include_graph import closure, read_includes

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# Flags of g++ that clang does not know, and clang's analysis of ABSL_GUARDED_BY and its like.
_CLANG_ARGUMENTS = ["-Wno-unknown-warning-option", "-Wthread-safety"]


def project_commands(build_folder):
    """Source file (relative to the root) -> its compile command, for what is the project's own."""
    commands = {}
    for entry in json.loads((build_folder / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if _ROOT in path.parents and build_folder.resolve() not in path.parents and path.suffix == ".cc":
            commands[path.relative_to(_ROOT).as_posix()] = entry.get("command") or " ".join(entry["arguments"])
    return commands


def sees_torch(includes, source):
    files = [source, *closure(includes, source)]
    return any(header.startswith(("torch/", "ATen/", "c10/")) for file in files for header in includes[file])


def fingerprint(includes, source, command, arguments):
    """What the outcome for `source` depends on, except the system's headers."""
    digest = hashlib.sha256()
    digest.update(command.replace(str(_ROOT), "").encode())
    digest.update(" ".join(arguments).encode())
    files = [source, *sorted(closure(includes, source))]
    for file in [".clang-tidy", *files]:
        digest.update(file.encode() + b"\0" + (_ROOT / file).read_bytes())
    if any(header.startswith("density/") for file in files for header in includes[file]):
        for proto in sorted((_ROOT / "proto").rglob("*.proto")):
            digest.update(proto.read_bytes())
    return digest.hexdigest()


def run_tidy(build_folder, source, arguments):
    """Returns what clang-tidy has to say; empty where the file is clean."""
    command = ["clang-tidy", "--quiet", "-p", str(build_folder), *arguments, str(_ROOT / source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else result.stdout.strip() or result.stderr.strip()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build_folder", type=pathlib.Path)
    parser.add_argument("files", nargs="*", help="only these, relative to the project's root")
    parser.add_argument("--all", action="store_true", help="also tests, and files that see LibTorch")
    parser.add_argument("--deep", action="store_true", help="also clang's static analyzer")
    parser.add_argument("--cache", type=pathlib.Path, help="folder that remembers which files passed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=float("inf"))
    return parser.parse_intermixed_args()


def main():
    options = parse_arguments()
    started = time.monotonic()
    arguments = [f"--extra-arg={argument}" for argument in _CLANG_ARGUMENTS]
    if options.deep:
        arguments.append("--checks=clang-analyzer-*")
    includes = read_includes(_ROOT)
    commands = project_commands(options.build_folder)
    sources = options.files or [
        file for file in sorted(commands)
        if options.all or not (file.startswith("tests/") or sees_torch(includes, file))
    ]
    if options.cache:
        options.cache.mkdir(parents=True, exist_ok=True)

    def check(source):
        mark = options.cache and options.cache / fingerprint(includes, source, commands[source], arguments)
        if mark and mark.exists():
            return source, "", "known"
        if time.monotonic() - started > options.seconds:
            return source, "", "left"
        complaints = run_tidy(options.build_folder, source, arguments)
        if mark and not complaints:
            mark.touch()
        return source, complaints, "checked"

    outcomes = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for source, complaints, outcome in pool.map(check, sources):
            outcomes[outcome] += 1
            if complaints:
                outcomes["failed"] += 1
                print(f"{source}:\n{complaints}\n", flush=True)
    print(f"clang-tidy: {len(sources)} files: {outcomes['checked']} checked, {outcomes['known']} unchanged since they "
          f"passed, {outcomes['left']} left for later; {outcomes['failed']} with findings; "
          f"{time.monotonic() - started:.0f} s")
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
