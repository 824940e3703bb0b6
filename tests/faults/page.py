"""The tables of docs/reliability.md: a row for each trial, parser and sanitizer, which only its next run replaces."""

import datetime
import os
import platform
import re
import subprocess

import harness

PAGE = harness.SOURCE / "docs" / "reliability.md"


class Table:
    """A table between two comments of the page. A row is known by its second cell, a name in backquotes."""

    def __init__(self, title, columns):
        self._begin = f"<!-- {title}: written by ./scripts/torture -->\n"
        self._end = f"<!-- end of {title} -->\n"
        self._columns = columns

    def merge(self, rows, order):
        """Replaces the rows whose names are in `rows` (name -> cells), and sorts all by `order`; those that it does not
        name are forgotten."""
        before, rest = PAGE.read_text().split(self._begin)
        old, after = rest.split(self._end)
        known = {}
        for line in old.splitlines():
            cells = line.split(" | ")
            if len(cells) > 1 and cells[1].startswith("`"):
                known[cells[1].strip("`")] = line
        for name, cells in rows.items():
            text = [str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells]
            known[name] = "| " + " | ".join([text[0], f"`{name}`", *text[1:]]) + " |"
        lines = ["| " + " | ".join(self._columns) + " |", "|" + "---|" * len(self._columns)]
        lines += [known[name] for name in order if name in known]
        # Whoever reads meanwhile, and whoever is stopped, has the old page or the new one.
        partial = PAGE.with_suffix(".partial")
        partial.write_text(before + self._begin + "\n".join(lines) + "\n" + self._end + after)
        partial.replace(PAGE)


FIGURES = Table("figures", ("promise", "trial", "figures", "seconds", "measured"))
SANITIZERS = Table("sanitizers", ("what looks", "preset", "tests", "seconds", "what it found", "measured"))
FUZZING = Table("fuzzing", ("what comes in", "parser", "inputs tried", "seconds", "what came of it", "measured"))


def told(figures):
    return ", ".join(f"{what}: {value:,}" if isinstance(value, int) else f"{what}: {value}"
                     for what, value in figures.items())


def measured(*more):
    """When, of which version and commit, and where."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=harness.SOURCE, capture_output=True, text=True).stdout.strip()

    version = re.search(r"project\(densityd VERSION (\S+)", (harness.SOURCE / "CMakeLists.txt").read_text()).group(1)
    commit = git("rev-parse", "--short=9", "HEAD") or "no commit"
    if git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{PAGE.relative_to(harness.SOURCE)}"):
        commit += " with changes"
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
               platform.machine())
    return ", ".join([datetime.date.today().isoformat(), f"{version} at {commit}", f"{cpu} ({os.cpu_count()} cores)",
                      *more])
