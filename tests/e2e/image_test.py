"""Images through the real programs: from a training on pixels to answers after a restart."""

import math
import random
import unittest

import harness
from harness import numbers

SIDE = 4
PIXELS = tuple(f"p{i}" for i in range(SIDE * SIDE))
COLUMNS = (*PIXELS, "bright")
TRAINING = ("--image", "1x4x4", "--hidden", 12, "--residual-blocks", 1, "--transforms", 2, "--steps", 250,
            "--batch-size", 64, "--learning-rate", 0.005, "--context-columns", "bright", "--encode-context",
            "bright=categorical")


def images(count, seed=1):
    """A dark or a bright stripe on noise. The first pixel is always black."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        bright, place = draw.randrange(2), draw.randrange(SIDE)
        level = 200 if bright else 60
        row = [draw.randrange(20) + (level if i % SIDE == place else 10) for i in range(SIDE * SIDE)]
        rows.append([0, *row[1:], bright])
    return rows


def table(rows, columns=COLUMNS):
    return harness.csv(rows, columns)


class ImageTest(harness.ServerTestCase):
    def train(self, preset):
        self.server.ctl("train", preset, "--preset", preset, *TRAINING, "--data",
                        self.write("images.csv", table(images(1500))))

    def log_prob(self, model, rows, *flags):
        return [row[0] for row in numbers(self.server.ctl("logprob", model, *flags, text=table(rows)))]

    def test_pixels_are_learnt_given_a_class_and_drawn_as_pixels(self):
        for preset in ("glow", "realnvp_image"):
            self.train(preset)
            self.assertIn("reference-cpu", self.server.ctl("plan", preset))
            self.assertRegex(self.server.ctl("plan", preset),
                             r"Not compiled: layers\[1\]\.[a-z_.]* has no compiled form")
            known = images(60, seed=2)
            swapped = [[*row[:-1], 1 - row[-1]] for row in known]
            noise = [[0, *(random.Random(i).randrange(256) for i in range(SIDE * SIDE - 1)), row[-1]]
                     for i, row in enumerate(known)]

            def mean(rows):
                return sum(self.log_prob(preset, rows)) / len(rows)

            # Independent uniform pixels, but for the first one, have -15 log 256 = -83 nats.
            self.assertGreater(mean(known), -75, preset)
            self.assertGreater(mean(known), mean(swapped) + 5, f"{preset}: the class says how bright a stripe is")
            self.assertGreater(mean(known), mean(noise) + 20, preset)
            self.assertEqual(self.log_prob(preset, [[256, *known[0][1:]], [-1, *known[0][1:]]]), [-math.inf] * 2)
            for exact, rounded in zip(self.log_prob(preset, known, "--float64"), self.log_prob(preset, known)):
                self.assertAlmostEqual(exact, rounded, delta=1e-3 * abs(exact))

            context = self.write("context.csv", "bright\n1\n")
            drawn = numbers(self.server.ctl("sample", preset, "--rows", 400, "--seed", 3, "--context", context))
            for row in drawn:
                self.assertTrue(all(value in range(256) for value in row))
            brightness = sum(max(row) for row in drawn) / len(drawn)
            self.assertGreater(brightness, 120, f"{preset}: stripes of the bright class are drawn")

    def test_a_restarted_server_answers_as_before_and_maps_images_back(self):
        self.train("glow")
        rows = images(50, seed=3)
        pixels = table(rows)

        def answers():
            return [self.server.ctl("logprob", "glow", "--float64", text=pixels),
                    self.server.ctl("inverse", "glow", "--float64", text=pixels)]

        before = answers()
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.assertEqual(answers(), before)
        z = numbers(before[1])
        back = numbers(self.server.ctl("forward", "glow", "--float64",
                                       text=table([[*row, image[-1]] for row, image in zip(z, rows)])))
        self.assertEqual(back, [row[:-1] for row in rows])

    def test_images_that_do_not_fit_are_refused_with_the_option(self):
        data = self.write("images.csv", table(images(50)))
        for options, says in ((("--image", "1x4x5"), "preset.image: 1 x 4 x 5 are 20 numbers, but there are 16"),
                              (("--image", "1x2x8", "--levels", 2), "preset.levels: is 2"),
                              ((), "preset.image: is not set")):
            self.server.ctl("train", "bad", "--preset", "glow", *options, "--context-columns", "bright", "--data", data,
                            code=3)
            self.assertIn(says, self.server.err)
        self.assertEqual(self.server.ctl_json("models"), [])

    def test_pixels_beyond_255_are_refused_with_the_column(self):
        rows = images(100)
        rows[7][3] = 256
        self.server.ctl("train", "bad", "--preset", "glow", *TRAINING, "--data", self.write("images.csv", table(rows)),
                        code=9)
        self.assertIn("spec.layers[0].preprocessing.columns[3]", self.server.err)
        self.assertIn("a whole number within 0 … 255", self.server.err)


if __name__ == "__main__":
    unittest.main()
