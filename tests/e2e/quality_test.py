"""Good densities of real data, in seconds: what ./scripts/bench quality measures in full beside other libraries.

The held-out log-likelihood of each table is above that of the normal distribution with its covariance, and -log p tells
rows whose columns no longer belong together from those that came so.
"""

import pathlib
import sys
import unittest

import harness
import numpy
from harness import csv, numbers

sys.path.insert(0, str(harness.SOURCE / "bench" / "quality"))
from figures import area_under_curve, gaussian_log_prob  # noqa: E402

TRAINING = ("--transforms", "3", "--hidden", "64,64", "--steps", "400", "--batch-size", "256", "--learning-rate", "2e-3",
            "--seed", "1")
# A table: its file, its columns, and by how many nats per row a flow is better than the normal distribution at least.
TABLES = {
    "power": (harness.SOURCE / "examples" / "power" / "power.csv", None, 2.0),
    "diamonds": (pathlib.Path(__file__).parent / "data" / "diamonds.csv", ("carat", "price"), 0.5),
}
PRESETS = ("maf", "nsf_ar")


def table(path, columns):
    """Names, and rows (N, D) with noise as wide as the resolution of each column, as a density of numbers that repeat has
    no bound; in an order of its own."""
    names = path.read_text().splitlines()[0].split(",")
    chosen = [names.index(name) for name in columns or names]
    rows = numpy.loadtxt(path, delimiter=",", skiprows=1, usecols=chosen)
    random = numpy.random.default_rng(0)
    for column in rows.T:
        column += random.uniform(0, max(numpy.diff(numpy.unique(column)).min(), 1e-3 * column.std()), len(column))
    return [names[i] for i in chosen], rows[random.permutation(len(rows))]


class QualityTest(harness.ServerTestCase):

    def log_prob(self, model, rows, names):
        return numpy.array(numbers(self.server.ctl("logprob", model, text=csv(rows.tolist(), names))))[:, 0]

    def test_flows_learn_real_tables_better_than_a_gaussian_and_tell_what_does_not_belong_together(self):
        for name, (path, columns, margin) in TABLES.items():
            names, rows = table(path, columns)
            train, test = rows[:-len(rows) // 10], rows[-len(rows) // 10:][:2000]
            gaussian = gaussian_log_prob(train, test).mean()
            # Each column as it was, but of another row.
            random = numpy.random.default_rng(1)
            torn = numpy.stack([random.permutation(column) for column in test.T], axis=1)
            for preset in PRESETS:
                with self.subTest(table=name, preset=preset):
                    model = f"{name}-{preset}"
                    self.server.ctl("train", model, "--preset", preset, *TRAINING, "--data",
                                    self.write(f"{name}.csv", csv(train.tolist(), names)))
                    held_out = self.log_prob(model, test, names)
                    self.assertGreater(held_out.mean(), gaussian + margin)
                    surprise = numpy.concatenate([-held_out, -self.log_prob(model, torn, names)])
                    is_torn = numpy.arange(len(surprise)) >= len(held_out)
                    self.assertGreater(area_under_curve(surprise, is_torn), 0.65)


if __name__ == "__main__":
    unittest.main()
