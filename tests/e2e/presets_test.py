"""Every preset through the real programs: trained, asked everything, and after a restart the same bits again."""

import math
import random
import re
import subprocess
import unittest

import harness
from harness import csv, numbers

SMALL = ("--hidden", "8,8", "--steps", "4", "--batch-size", "64", "--validation-interval", "2")
# Flags beside those of SMALL; what has no network, or one of images, says so itself.
PRESETS = {
    "affine": ("--steps", "4"),
    "elementwise": SMALL,
    "nice": SMALL,
    "realnvp": SMALL,
    "maf": SMALL,
    "iaf": SMALL,
    "nsf_coupling": SMALL,
    "nsf_ar": SMALL,
    "circular_nsf": SMALL,
    "naf": SMALL,
    "gaussianization": ("--transforms", "3", "--steps", "4"),
    "planar": ("--transforms", "3", "--steps", "4"),
    "radial": ("--transforms", "3", "--steps", "4"),
    "sylvester": ("--transforms", "2", "--steps", "4"),
    "residual": (*SMALL, "--transforms", "2"),
    "ffjord": (*SMALL, "--preset-options", '{"continuousOptions": {"atol": 1e-4, "rtol": 1e-4}}'),
    "flow_matching": (*SMALL, "--preset-options", '{"continuousOptions": {"atol": 1e-4, "rtol": 1e-4}}'),
    "glow": ("--image", "1x2x2", "--levels", "1", "--hidden", "4", "--steps", "4", "--batch-size", "64"),
    "realnvp_image": ("--image", "1x2x2", "--levels", "1", "--hidden", "4", "--steps", "4", "--batch-size", "64"),
}
COLUMNS = ("a", "b", "c", "d")


def rows_of(preset, count):
    """Rows (count, 4) that the preset is for."""
    generator = random.Random(3)
    if preset in ("glow", "realnvp_image"):
        return [[generator.randrange(256) for _ in COLUMNS] for _ in range(count)]
    if preset == "circular_nsf":
        return [[generator.uniform(-math.pi, math.pi) for _ in COLUMNS] for _ in range(count)]
    return [[generator.gauss(0, 1) for _ in COLUMNS] for _ in range(count)]


class PresetsTest(harness.ServerTestCase):

    def answers(self, preset, rows):
        """What the model says, to the bit."""
        text = csv(rows, COLUMNS)
        z = self.server.ctl("inverse", preset, text=text)
        return {
            "log_prob": self.server.ctl("logprob", preset, "--tail-probability", text=text),
            "float64": self.server.ctl("logprob", preset, "--float64", text=text),
            "inverse": z,
            "forward": self.server.ctl("forward", preset, text=z),
            "sample": self.server.ctl("sample", preset, "--rows", 5, "--seed", 4, "--log-prob"),
            "score": self.server.ctl("score", preset, text=text),
            "explain": self.server.ctl("explain", preset, "--format", "csv", text=text),
        }

    def check(self, preset, rows, answers):
        for what, text in answers.items():
            self.assertNotIn("nan", text, f"{preset}: {what}")
        self.assertEqual(len(rows), len(numbers(answers["log_prob"])))
        self.assertEqual(5, len(numbers(answers["sample"])))
        single, double = (numbers(answers[what]) for what in ("log_prob", "float64"))
        for (in_float32, *_), (in_float64, *_) in zip(single, double):
            self.assertAlmostEqual(in_float32, in_float64, delta=2e-2 + 1e-3 * abs(in_float64), msg=preset)
        back = numbers(answers["forward"])
        scale = max(abs(number) for row in rows for number in row)
        for row, again in zip(rows, back):
            for number, found in zip(row, again):
                self.assertAlmostEqual(number, found, delta=5e-3 * scale, msg=f"{preset}: forward of inverse")

    def test_all_of_them_are_here(self):
        told = subprocess.run([harness.DENSITYCTL, "train", "--help"], capture_output=True, check=True).stdout.decode()
        listed = re.search(r"Named model: ([a-z_0-9, \n]+)", told).group(1)
        self.assertEqual(set(PRESETS), set(re.findall(r"[a-z_]+", listed)) - {"or"})

    def test_each_is_trained_answers_everything_and_is_the_same_after_a_restart(self):
        asked, before = {}, {}
        for preset, flags in PRESETS.items():
            with self.subTest(preset):
                self.server.ctl("train", preset, "--preset", preset, *flags, "--data", "-",
                                text=csv(rows_of(preset, 400), COLUMNS))
                asked[preset] = rows_of(preset, 3)
                before[preset] = self.answers(preset, asked[preset])
                self.check(preset, asked[preset], before[preset])
        self.server.kill()
        self.server.start()
        for preset, rows in asked.items():
            with self.subTest(preset):
                self.assertEqual(before[preset], self.answers(preset, rows))


if __name__ == "__main__":
    unittest.main()
