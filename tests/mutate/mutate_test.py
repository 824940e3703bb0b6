"""tools/mutate finds the places of a function body and puts every change behind its switch."""

import subprocess
import tempfile
import unittest
import pathlib

from mutate import mutants_of, with_switches
from mutators import mutations
from statements import blank, find_statements

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
        program = with_switches(_CODE, mutants) + "int main() { return Difference(7, 2); }\n"
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "program.cc"
            source.write_text(program)
            subprocess.run(["c++", "-std=c++20", "-o", f"{folder}/program", source], check=True)

            def result(number):
                environment = {"DENSITYD_MUTANT": str(number)}
                return subprocess.run([f"{folder}/program"], env=environment, check=False).returncode

            self.assertEqual(result(0), 9 - 1 - 2)
            by_change = {(mutant.line, mutant.what): mutant.number for mutant in mutants}
            self.assertEqual(result(by_change[(6, "'+' -> '-'")]), 5 - 1 - 2)
            self.assertEqual(result(by_change[(8, "condition negated")]), 7 - 2)
            self.assertEqual(result(by_change[(9, "statement dropped")]), 7 - 2)
            self.assertEqual(result(by_change[(11, "'-' -> '+'")]), 8 + 2)


if __name__ == "__main__":
    unittest.main()
