"""Integers, bounded numbers and categories through the real programs: from a training to answers after a restart."""

import json
import math
import unittest

import harness
from harness import SOURCE, numbers

DIAMONDS = SOURCE / "tests" / "e2e" / "data" / "diamonds.csv"
COLUMNS = ("carat", "cut", "color", "clarity", "depth", "price")
TRAINING = ("--preset", "maf", "--transforms", 3, "--hidden", "32,32", "--steps", 500, "--learning-rate", 0.005,
            "--data", DIAMONDS)
KINDS = ("--preprocess", "cut=categorical", "--preprocess", "color=categorical", "--preprocess",
         "clarity=integer,logit,0..7", "--preprocess", "depth=logit,0..100")


def table(rows, columns=COLUMNS):
    return ",".join(columns) + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


class PreprocessingTest(harness.ServerTestCase):
    def prepare(self, folder):
        (folder / "data").mkdir()
        self.flags = ("--data-root", str(folder / "data"))

    def log_prob(self, model, row, *flags):
        return numbers(self.server.ctl("logprob", model, *flags, text=table([row])))[0][0]

    def test_columns_of_every_kind_are_learnt_and_come_back_as_they_were(self):
        said = self.server.ctl("train", "d", *TRAINING, *KINDS)
        self.assertIn("column carat: continuous, log: ", said)
        self.assertIn("column price: integer, log: every number is whole", said)
        self.assertNotIn("column depth", said, "only what was chosen is told")

        columns = json.loads(self.server.ctl("models", "show", "d"))["manifest"]["spec"]["layers"][0]["preprocessing"]
        price = columns["columns"][5]
        self.assertEqual((price["name"], price["kind"], price["scaling"]), ("price", "INTEGER", "LOG"))
        self.assertEqual(columns["columns"][1]["categories"], [0, 1, 2, 3, 4])
        self.assertIn("d@1 log_prob: compiled-cpu", self.server.ctl("plan", "d"))

        sample = numbers(self.server.ctl("sample", "d", "--rows", 4000, "--seed", 3, "--log-prob"))
        for carat, cut, color, clarity, depth, price, log_prob in sample:
            self.assertGreater(carat, 0)
            self.assertIn(cut, range(5))
            self.assertIn(color, range(7))
            self.assertIn(clarity, range(8))
            self.assertTrue(0 < depth < 100)
            self.assertEqual(price, round(price))
            self.assertTrue(math.isfinite(log_prob))
        self.assertEqual({row[1] for row in sample}, set(range(5)), "each cut is drawn")
        # A sample's log p is that of the row as it is given.
        again = numbers(self.server.ctl("logprob", "d", text=table([row[:6] for row in sample[:50]])))
        for row, (log_prob, *_) in zip(sample, again):
            self.assertAlmostEqual(row[6], log_prob, delta=1e-3 + 1e-5 * abs(log_prob))

        # The units are the data's: a gram-for-gram dearer diamond is less likely, not impossible.
        usual = self.log_prob("d", (0.7, 4, 3, 3, 61.8, 2500))
        self.assertGreater(usual, self.log_prob("d", (0.7, 4, 3, 3, 61.8, 15000)))

    def test_rows_outside_the_support_have_density_zero(self):
        self.server.ctl("train", "d", *TRAINING, *KINDS)
        good = (0.7, 4, 3, 3, 61.8, 2500)
        self.assertTrue(math.isfinite(self.log_prob("d", good)))
        for column, number in ((0, 0), (1, 5), (1, 1.5), (2, -1), (3, 8), (4, 100), (5, -3)):
            row = list(good)
            row[column] = number
            for flags in ((), ("--float64",)):
                self.assertEqual(self.log_prob("d", row, *flags), -math.inf, f"{COLUMNS[column]} = {number}")
        # Who takes such a row for a mistake is told which one it is.
        rows = table([good, good, (0.7, 5, 3, 3, 61.8, 2500)])
        self.server.ctl("logprob", "d", "--refuse-outside-support", text=rows, code=3)
        self.assertIn("rows: row 2: is outside the model's support", self.server.err)
        self.server.ctl("logprob", "d", "--refuse-outside-support", text=table([good]))

    def test_a_restarted_server_maps_columns_as_before(self):
        self.server.ctl("train", "d", *TRAINING, *KINDS)

        def answers():
            return [self.server.ctl("logprob", "d", "--format", "npy", DIAMONDS, binary=True),
                    self.server.ctl("logprob", "d", "--float64", "--format", "npy", DIAMONDS, binary=True),
                    self.server.ctl("inverse", "d", "--format", "npy", DIAMONDS, binary=True),
                    self.server.ctl("sample", "d", "--rows", 300, "--seed", 7, "--log-prob", "--format", "npy",
                                    binary=True)]

        before = answers()
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.assertEqual(answers(), before)
        # Rows come back from z as they were.
        rows = numbers(DIAMONDS.read_text())[:100]
        back = numbers(self.server.ctl("forward", "d", text=self.server.ctl("inverse", "d", text=table(rows))))
        for row, same in zip(rows, back):
            self.assertEqual(same[1:4] + same[5:], row[1:4] + row[5:])
            self.assertAlmostEqual(same[0], row[0], delta=1e-3)
            self.assertAlmostEqual(same[4], row[4], delta=1e-2)

    def test_data_that_leave_a_support_are_refused_with_the_column(self):
        for flags, says in (
                (("--preprocess", "depth=logit,0..60"), ["spec.layers[0].preprocessing.columns[4]", "'depth'", "(0, 60)"]),
                (("--preprocess", "price=log,400.."), ["'price'", "above 400"]),
                (("--preprocess", "carat=categorical,standard"), ["preset.preprocessing.columns[0].scaling"]),
                (("--preprocess", "caret=log"), ["preset.preprocessing.columns[0].name", "'caret'", "carat, cut"])):
            code = 9 if "spec" in says[0] or len(says) == 2 else 3
            self.server.ctl("train", "d", *TRAINING, *flags, code=code)
            for part in says:
                self.assertIn(part, self.server.err)
        self.assertEqual(self.server.ctl_json("models"), [])

    def test_categories_of_the_context_choose_the_density(self):
        self.server.ctl("train", "d", *TRAINING, "--columns", "carat,price", "--context-columns", "clarity,color",
                        "--preprocess", "automatic", "--encode-context", "clarity=categorical,embedding:3",
                        "--encode-context", "color=categorical,unknown")
        self.assertIn("d@1 log_prob: compiled-cpu", self.server.ctl("plan", "d"))

        def median_carat(clarity, color):
            context = self.write("context.csv", f"clarity,color\n{clarity},{color}\n")
            drawn = numbers(self.server.ctl("sample", "d", "--rows", 1000, "--seed", 1, "--context", context))
            return sorted(row[0] for row in drawn)[500]

        # Stones with the worst inclusions (I1) are the large ones, flawless ones (IF) the small ones.
        self.assertGreater(median_carat(0, 3), 1.2 * median_carat(7, 3))
        self.assertGreater(median_carat(3, 99), 0, "an unknown colour has a density where it is accepted")

        rows = table([(0.7, 2500, 3, 3), (0.7, 2500, 8, 3)], ("carat", "price", "clarity", "color"))
        for flags in ((), ("--float64",)):
            self.server.ctl("logprob", "d", *flags, text=rows, code=3)
            self.assertIn("context: row 1: column 0 is 8, which is none of the column's 8 categories (0, 1, 2",
                          self.server.err)

    def test_missing_context_is_learnt_where_it_is_accepted(self):
        lines = DIAMONDS.read_text().splitlines()
        header, rows = lines[0], [line.split(",") for line in lines[1:]]
        for row in rows[::3]:
            row[0] = "nan"
        path = self.write("data/rows.csv", header + "\n" + "\n".join(",".join(row) for row in rows) + "\n")
        flags = ("--preset", "maf", "--transforms", 2, "--hidden", "24,24", "--steps", 400, "--server-file", "rows.csv",
                 "--columns", "price", "--context-columns", "carat", "--preprocess", "automatic")
        self.server.ctl("train", "d", *flags, "--encode-context", "carat=log", code=9)
        self.assertIn("row 0: column \"carat\" holds nan", self.server.err)
        self.server.ctl("train", "d", *flags, "--encode-context", "carat=log,missing")
        # As an upload, too: what may be missing is known from the flags.
        uploaded = (*flags[:8], "--data", path, *flags[10:])
        self.server.ctl("train", "d", *uploaded, "--encode-context", "carat=log", code=3)
        self.assertIn("row 0: column 0 holds nan", self.server.err)
        self.server.ctl("train", "d", *uploaded, "--encode-context", "carat=log,missing")
        self.assertEqual(self.server.ctl_json("datasets")[0]["missing_columns"], ["carat"])

        def log_prob(carat):
            return numbers(self.server.ctl("logprob", "d", text=table([(5000, carat)], ("price", "carat"))))[0][0]

        self.assertGreater(log_prob(1.0), log_prob("nan") + 0.3, "a carat says what a stone costs")
        self.assertGreater(log_prob("nan"), log_prob(0.3) + 0.3)


if __name__ == "__main__":
    unittest.main()
