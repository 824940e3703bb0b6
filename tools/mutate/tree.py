"""The copy of the project in which mutants are compiled, and what its tests say of them."""

import dataclasses
import filecmp
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "densityd" / "mutants"
PROGRAMS = ["flow_spec_test", "flow_test"]
# Tests that take longer run one by one, after all others.
QUICK_SECONDS = 0.2

# Goes in front of a file with mutants. While reached mutants are noted, each prints its number once in each test.
# Highway compiles a file several times over.
SWITCH = """#ifndef DENSITYD_MUTANT_SWITCH
#define DENSITYD_MUTANT_SWITCH
#include <cstdio>
#include <cstdlib>
namespace testing {
class TestInfo;
class UnitTest {
 public:
  static UnitTest* GetInstance();
  const TestInfo* current_test_info() const;
};
}  // namespace testing
static bool MutantReached(int number) {
  static const testing::TestInfo* last[1 << 16];
  static bool is_known[1 << 16];
  const testing::TestInfo* const now = testing::UnitTest::GetInstance()->current_test_info();
  if (!is_known[number] || last[number] != now) std::printf("\\nMUTANT %d\\n", number);
  is_known[number] = true;
  last[number] = now;
  return false;
}
static bool Mutant(int number) {
  static const char* const chosen = std::getenv("DENSITYD_MUTANT");
  static const int chosen_number = chosen == nullptr ? 0 : std::atoi(chosen);
  return chosen_number < 0 ? MutantReached(number) : number == chosen_number;
}
#endif
"""
_NOTE_REACHED = -1


@dataclasses.dataclass(frozen=True)
class Test:
    program: str
    name: str
    seconds: float


class Tree:
    def __init__(self, root, ninja):
        self.root = root
        self.ninja = ninja
        self.source = CACHE / "source"
        self.build = self.source / "build" / "dev"

    def update(self):
        CACHE.mkdir(parents=True, exist_ok=True)
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=self.root, check=True,
                               capture_output=True, text=True).stdout
        for file in files.split("\n"):
            origin, copy = self.root / file, self.source / file
            # What is unchanged keeps its time, so that nothing is built twice.
            if file and origin.is_file() and not (copy.exists() and filecmp.cmp(origin, copy, shallow=False)):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(origin, copy)
        if not (self.build / "build.ninja").exists():
            subprocess.run(["cmake", "--preset", "dev"], cwd=self.source, check=True, stdout=subprocess.DEVNULL)

    def compile(self):
        """The compiler's output; empty where it worked."""
        result = subprocess.run([*self.ninja, "-C", self.build, "-k", "0", *PROGRAMS], capture_output=True, text=True,
                                check=False)
        return "" if result.returncode == 0 else result.stdout + result.stderr

    def reached(self):
        """The tests that reach each mutant, by its number. Ends this program where a test fails without any mutant."""
        tests = {}
        for program in PROGRAMS:
            result = self._run(program, _NOTE_REACHED)
            if result.returncode != 0:
                sys.exit(f"error: {program} fails without any mutant\n{result.stdout[-4000:]}")
            for number, test in tests_that_reach(program, result.stdout):
                tests.setdefault(number, []).append(test)
        return tests

    def failing_test(self, number, tests):
        """The one of `tests` that notices mutant `number`; None where all pass."""
        slow = sorted((test for test in tests if test.seconds > QUICK_SECONDS), key=lambda test: test.seconds)
        quick = [[test for test in tests if test.program == program and test.seconds <= QUICK_SECONDS]
                 for program in PROGRAMS]
        for group in [group for group in quick if group] + [[test] for test in slow]:
            killer = self._failing_test(number, group)
            if killer:
                return killer
        return None

    def _failing_test(self, number, group):
        program = group[0].program
        try:
            result = self._run(program, number, [test.name for test in group],
                               timeout=60 + 20 * sum(test.seconds for test in group))
        except subprocess.TimeoutExpired:
            return f"{program} (time-out)"
        if result.returncode == 0:
            return None
        failed = re.search(r"\[  FAILED  \] ([\w./]+)", result.stdout)
        return failed.group(1) if failed else f"{program} (exit status {result.returncode})"

    def _run(self, program, number, names=("*",), timeout=None):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as flags:
            # Names are too many for a command line.
            flags.write(f"--gtest_fail_fast\n--gtest_filter={':'.join(names)}\n")
            flags.flush()
            return subprocess.run([self.build / "tests" / program, f"--gtest_flagfile={flags.name}"],
                                  env=dict(os.environ, DENSITYD_MUTANT=str(number), OMP_NUM_THREADS="1"),
                                  capture_output=True, text=True, errors="replace", check=False, timeout=timeout)


def tests_that_reach(program, output):
    """Pairs of a mutant's number and a Test, from the output of a run that notes them."""
    found, tests = [], []
    always, numbers = None, set()  # what runs before the first test concerns all
    for line in output.split("\n"):
        if line.startswith("MUTANT "):
            numbers.add(int(line.removeprefix("MUTANT ")))
        elif line.startswith("[ RUN      ] ") and always is None:
            always, numbers = numbers, set()
        elif line.startswith("[       OK ] "):
            name, milliseconds = re.match(r"\[       OK \] ([^,\s]+).* \((\d+) ms\)", line).groups()
            tests.append(Test(program, name, int(milliseconds) / 1000))
            found += [(number, tests[-1]) for number in sorted(numbers)]
            numbers = set()
    return found + [(number, test) for number in sorted(always or ()) for test in tests if (number, test) not in found]
