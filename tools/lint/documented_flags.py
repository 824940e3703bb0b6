#!/usr/bin/env python3
"""Checks that the table of flags in docs/operations.md names every flag of `densityd serve --help`, and no other.

  documented_flags.py DENSITYD DOCUMENT
"""

import argparse
import pathlib
import re
import subprocess
import sys

_FLAG = re.compile(r"--[a-z][a-z0-9-]+")
_NOT_OF_THE_TABLE = {"--help", "--version"}


def flags_of_help(text):
    """Flags that begin a line of the help, behind short forms."""
    return {match[1] for match in re.finditer(r"^\s+(?:-\w,)?(--[a-z][a-z0-9-]+)", text, re.MULTILINE)}


def flags_of_table(text):
    """Flags in the first column of the document's tables."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `--")]
    return {flag for cell in cells for flag in _FLAG.findall(cell)}


def differences(help_text, document):
    real, documented = flags_of_help(help_text) - _NOT_OF_THE_TABLE, flags_of_table(document)
    return [f"{flag} is not documented" for flag in sorted(real - documented)] + [
        f"{flag} is documented, but densityd does not have it" for flag in sorted(documented - real)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("densityd")
    parser.add_argument("document", type=pathlib.Path)
    options = parser.parse_args()
    command = [options.densityd, "serve", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    messages = differences(help_text, options.document.read_text())
    for message in messages:
        print(message)
    print(f"flags: {len(flags_of_help(help_text))} in the help, {len(messages)} differences")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
