"""tools/mutate finds the places of a function body and puts every change behind its switch."""

import subprocess
import tempfile
import unittest
import pathlib

from mutate import mutants_of, with_switches
from mutators import mutations
from statements import blank, find_statements
from tree import Test, tests_that_reach

_CODE = '''#include <string>
// A comment - with a minus; and a semicolon.
constexpr int kNotInABody = 1 + 2;

int Difference(int a, int b) {
  const int sum = a + b;  // "not a string"
  std::string text = "a + b";
  if (sum > 3 && !text.empty()) {
    a = sum - 1;
  }
  return a -
         b;
}
'''


class StatementsTest(unittest.TestCase):

    def test_finds_each_kind_of_statement_in_bodies_alone(self):
        found = [(s.kind, _CODE[s.expression_begin:s.expression_end]) for s in find_statements(_CODE)]
        self.assertEqual(found, [("value", "a + b"), ("value", '"a + b"'), ("condition", "sum > 3 && !text.empty()"),
                                 ("effect", "a = sum - 1"), ("return", "a -\n         b")])

    def test_strings_and_comments_are_blank_and_keep_their_length(self):
        covered = blank(_CODE)
        self.assertEqual(len(covered), len(_CODE))
        self.assertEqual(covered.count("\n"), _CODE.count("\n"))
        self.assertNotIn("a comment", covered.lower())
        self.assertNotIn('"a + b"', covered)


class MutatorsTest(unittest.TestCase):

    def _results(self, code):
        return {code[:begin] + replacement + code[end:] for (begin, end, replacement), _ in mutations(code)}

    def test_changes_operators_signs_directions_and_constants(self):
        self.assertEqual(self._results("a + b"), {"a - b"})
        self.assertEqual(self._results("-log_det"), {"log_det"})
        self.assertEqual(self._results("flow->Forward(z)"), {"flow->Inverse(z)"})
        self.assertEqual(self._results("x >= 2"), {"x > 2", "x >= 3"})
        self.assertEqual(self._results("1e-3"), {"0.002"})

    def test_drops_a_log_det_term(self):
        self.assertIn("(0 * mapped.log_slope).sum(1)", self._results("mapped.log_slope.sum(1)"))


class MutantsTest(unittest.TestCase):

    def test_all_mutants_compile_together_and_each_is_reached_by_its_number(self):
        mutants = mutants_of("file.cc", _CODE, 1)
        self.assertIn((6, "'+' -> '-'"), [(mutant.line, mutant.what) for mutant in mutants])
        # What GoogleTest has, of which a mutant asks in which test it is.
        program = with_switches(_CODE, mutants) + (
            "testing::UnitTest* testing::UnitTest::GetInstance() { return nullptr; }\n"
            "const testing::TestInfo* testing::UnitTest::current_test_info() const { return nullptr; }\n"
            "int main() { return Difference(7, 2); }\n")
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "program.cc"
            source.write_text(program)
            subprocess.run(["c++", "-std=c++20", "-o", f"{folder}/program", source], check=True)

            def run(number):
                environment = {"DENSITYD_MUTANT": str(number)}
                return subprocess.run([f"{folder}/program"], env=environment, check=False, capture_output=True, text=True)

            def result(number):
                return run(number).returncode

            self.assertEqual(result(0), 9 - 1 - 2)
            noted = run(-1)
            self.assertEqual(noted.returncode, 9 - 1 - 2)
            self.assertEqual({int(number) for number in noted.stdout.replace("MUTANT", "").split()},
                             {mutant.number for mutant in mutants})
            by_change = {(mutant.line, mutant.what): mutant.number for mutant in mutants}
            self.assertEqual(result(by_change[(6, "'+' -> '-'")]), 5 - 1 - 2)
            self.assertEqual(result(by_change[(8, "condition negated")]), 7 - 2)
            self.assertEqual(result(by_change[(9, "statement dropped")]), 7 - 2)
            self.assertEqual(result(by_change[(11, "'-' -> '+'")]), 8 + 2)


class ReachedTest(unittest.TestCase):

    def test_each_mutant_is_reached_by_the_tests_in_which_it_was_noted_and_by_all_where_that_was_before_the_first(self):
        output = """MUTANT 1
[==========] Running 2 tests from 1 test suite.
[ RUN      ] Presets/Sample.Follows/maf
log
MUTANT 2
MUTANT 3
[       OK ] Presets/Sample.Follows/maf (250 ms)
[ RUN      ] Flow.Inverts
MUTANT 3
[       OK ] Flow.Inverts (0 ms)
"""
        slow, quick = Test("flow_test", "Presets/Sample.Follows/maf", 0.25), Test("flow_test", "Flow.Inverts", 0)
        self.assertEqual(sorted(tests_that_reach("flow_test", output), key=str),
                         sorted([(1, slow), (1, quick), (2, slow), (3, slow), (3, quick)], key=str))


if __name__ == "__main__":
    unittest.main()
