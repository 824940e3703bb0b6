"""densityctl explain through the real programs: a category, integers with and without an upper end, a bounded number."""

import json
import math
import random
import unittest

import harness
from harness import csv, numbers

COLUMNS = ("grade", "count", "stock", "share")
TRAINING = ("--preset", "maf", "--transforms", 3, "--hidden", "24,24", "--steps", 400, "--learning-rate", 0.005,
            "--preprocess", "grade=categorical", "--preprocess", "count=integer,log,0..", "--preprocess",
            "stock=integer,logit,0..9", "--preprocess", "share=logit,0..1")
USUAL = (2, 1, 3, 0.4)


def rows(count):
    """The grade decides how many there are, and how large their share is."""
    generator = random.Random(5)
    made = []
    for _ in range(count):
        grade = generator.choice((1, 2, 5))
        number = int(generator.expovariate(1 / (0.5 + grade)))
        stock = min(9, max(0, round(generator.gauss(1.5 * grade, 1))))
        share = 1 / (1 + math.exp(-generator.gauss(0.5 * grade - 1.5, 0.5)))
        made.append((grade, number, stock, share))
    return made


class ExplainTest(harness.ServerTestCase):
    def setUp(self):
        super().setUp()
        self.server.ctl("train", "m", *TRAINING, "--data", self.write("rows.csv", csv(rows(1500), COLUMNS)))

    def explain(self, row, *flags):
        return self.server.ctl("explain", "m", *flags, text=csv([row], COLUMNS))

    def answer(self, row, *flags):
        """By column: surprise, tail probability, median, lower, upper, error."""
        return {COLUMNS[int(line[1])]: line[3:] for line in numbers(self.explain(row, "--format", "csv", *flags))}

    def log_prob(self, made):
        return [line[0] for line in numbers(self.server.ctl("logprob", "m", "--float64", text=csv(made, COLUMNS)))]

    def probabilities(self, row, column, values):
        """The definition: p of each value of a column, the others being what they are."""
        place = COLUMNS.index(column)
        log_prob = self.log_prob([row[:place] + (value,) + row[place + 1:] for value in values])
        weights = [math.exp(log - max(log_prob)) for log in log_prob]
        return [weight / sum(weights) for weight in weights]

    def check_discrete(self, row, column, values, places=3, flags=()):
        surprise, tail, median, lower, upper, error = self.answer(row, *flags)[column]
        p = self.probabilities(row, column, values)
        at = values.index(row[COLUMNS.index(column)])
        self.assertAlmostEqual(surprise, -math.log(p[at]), places)
        self.assertAlmostEqual(tail, min(1, 2 * min(sum(p[:at + 1]), sum(p[at:]))), places)
        for quantile, share in ((median, 0.5), (lower, 0.05), (upper, 0.95)):
            self.assertIn(quantile, values)
            upto = values.index(quantile) + 1
            self.assertGreater(sum(p[:upto]), share - 1e-3, f"{column}: {quantile}")
            self.assertLess(sum(p[:upto - 1]), share + 1e-3, f"{column}: {quantile}")
        self.assertLess(error, 5e-3)

    def test_discrete_columns_are_explained_by_sums_over_their_values(self):
        for row in (USUAL, (5, 0, 9, 0.8), (1, 6, 1, 0.1)):
            self.check_discrete(row, "grade", [1, 2, 5])
            self.check_discrete(row, "count", list(range(400)))
            self.check_discrete(row, "stock", list(range(10)))
        self.check_discrete(USUAL, "count", list(range(400)), 5, ("--float64",))

    def test_bounded_numbers_are_explained_by_the_integral_between_their_bounds(self):
        row = (5, 0, 6, 0.2)
        surprise, tail, median, lower, upper, _ = self.answer(row)["share"]
        cells = [(i + 0.5) / 4000 for i in range(4000)]
        p = self.probabilities(row, "share", cells)
        below = sum(p[:800])
        self.assertAlmostEqual(tail / (2 * min(below, 1 - below)), 1, delta=0.02)
        self.assertAlmostEqual(surprise, -math.log((p[799] + p[800]) / 2 * 4000), 2)
        for quantile, share in ((median, 0.5), (lower, 0.05), (upper, 0.95)):
            self.assertAlmostEqual(sum(p[:int(quantile * 4000)]), share, delta=2e-3)

    def test_a_value_that_cannot_be_is_named_and_nothing_is_made_up_of_the_others(self):
        usual = self.answer(USUAL)
        for column, value in (("grade", 3), ("count", -1), ("stock", 10), ("share", 1.5)):
            place = COLUMNS.index(column)
            row = USUAL[:place] + (value,) + USUAL[place + 1:]
            said = self.explain(row, "--top", 0)
            self.assertNotIn("nan", said)
            self.assertIn(f"\n{column} is {value}, which the model rules out; expected ", said)
            others = ", ".join(name for name in COLUMNS if name != column)
            self.assertIn(f"\nNothing can be said of {others}: given the other columns no value is possible\n", said)
            only = self.explain(row, "--only", COLUMNS[(place + 1) % 4])
            self.assertIn(f"\n{column} is {value}, which the model rules out; expected ", only)
            answer = self.answer(row)
            self.assertEqual(answer[column][:2], [math.inf, 0])
            # What the same others lead one to expect does not depend on the value.
            for number, same in zip(answer[column][2:5], usual[column][2:5]):
                self.assertAlmostEqual(number, same, delta=2e-3)
            self.assertLess(answer[column][5], 5e-3)
            for name in COLUMNS:
                if name != column:
                    self.assertTrue(all(math.isnan(number) for number in answer[name]), f"{name} beside {column}")
        both = self.explain((3, 1, 3, 1.5))
        self.assertIn("\ngrade is 3, which the model rules out\nshare is 1.5, which the model rules out\n", both)
        self.assertNotIn("nan", both)
        json.loads(self.explain((3, 1, 3, 1.5), "--format", "json"))

    def test_the_most_unusual_column_is_said_in_a_sentence(self):
        said = self.explain((1, 1, 9, 0.2), "--top", 1).splitlines()
        self.assertRegex(said[1], r"^stock is 9; expected \d to \d given the rest \(p = [-0-9.e]+\)$")
        self.assertRegex(said[3], r"^stock +9 ")


if __name__ == "__main__":
    unittest.main()
