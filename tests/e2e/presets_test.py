"""Every preset, base and mixing through the real programs: trained, asked everything, the same bits after a restart."""

import json
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


def preset(name, options=None, *flags):
    """Flags of a preset with options that have no flag."""
    return ("--preset", name, "--transforms", "2", *SMALL, *flags, "--preset-options", json.dumps(options or {}))


def spec(*layers, base=None):
    """Flags of a spec of its own."""
    flow = {"features": len(COLUMNS), "layers": layers, "base": base or {"standardNormal": {}}}
    return ("--spec", flow, *SMALL[2:])


NETWORK = {"mlp": {"hidden": [8, 8]}}
STANDARDIZE = {"standardize": {}}
COUPLING = {"coupling": {"conditioner": NETWORK}}
WALLS = {"uniformBox": {"low": -1, "high": 1}}
CIRCLE = {"uniformBox": {"low": -math.pi, "high": math.pi}}
ANGLES = {"rationalQuadraticSpline": {"bound": math.pi, "circular": [0, 1, 2, 3]}}
# What the presets leave out as they come: other bases and mixings, and layers that need a spec of their own.
OPTIONS = {
    "student_t": preset("maf", {"base": {"studentT": {}}}),
    "gaussian_mixture": preset("realnvp", {"base": {"gaussianMixture": {"components": 3}}}),
    "diagonal_normal": preset("nsf_ar", {}, "--learnt-base"),
    "conditional_base": preset("maf", {"base": {"conditionalDiagonalNormal": {"conditioner": NETWORK}}},
                               "--context-columns", "given"),
    "walls": spec({"autoregressive": {"conditioner": NETWORK, "univariate": {"rationalQuadraticSpline": {"bound": 1}}}},
                  base=WALLS),
    "mixing_lu": preset("realnvp", {}, "--mixing", "lu"),
    "mixing_householder": preset("nsf_coupling", {}, "--mixing", "householder"),
    "mixing_rotation": preset("maf", {}, "--mixing", "rotation"),
    "mixing_random_permutation": preset("maf", {}, "--mixing", "random_permutation", "--actnorm"),
    "same_order": preset("nsf_ar", {}, "--mixing", "same_order"),
    "spline_of_passed": preset("nsf_coupling", {"splineOfPassed": True}),
    "householder": spec(STANDARDIZE, {"householder": {"reflections": 2}}, COUPLING),
    "orthogonal": spec(STANDARDIZE, {"orthogonal": {"map": "CAYLEY"}}, COUPLING, {"orthogonal": {}}),
    "lu_linear": spec(STANDARDIZE, {"luLinear": {}}, COUPLING),
    "split": spec(STANDARDIZE, COUPLING, {"split": {"conditioner": NETWORK}}, COUPLING, base={"diagonalNormal": {}}),
    "circular_coupling": spec({"coupling": {"conditioner": NETWORK, "univariate": ANGLES, "passedUnivariate": ANGLES}},
                              base=CIRCLE),
    "softplus": spec({"bijection": {"kind": "SOFTPLUS"}}, COUPLING),
}


def rows_of(model, count):
    """Rows (count, 4) that the model is for."""
    generator = random.Random(3)
    if model in ("glow", "realnvp_image"):
        return [[generator.randrange(256) for _ in COLUMNS] for _ in range(count)]
    if model in ("circular_nsf", "circular_coupling"):
        return [[generator.uniform(-math.pi, math.pi) for _ in COLUMNS] for _ in range(count)]
    if model == "walls":
        return [[generator.uniform(-1, 1) for _ in COLUMNS] for _ in range(count)]
    if model == "softplus":
        return [[generator.expovariate(1) for _ in COLUMNS] for _ in range(count)]
    return [[generator.gauss(0, 1) for _ in COLUMNS] for _ in range(count)]


class PresetsTest(harness.ServerTestCase):

    def train(self, model, flags):
        rows, columns = rows_of(model, 400), COLUMNS
        if "--context-columns" in flags:
            rows, columns = [[*row, int(row[0] > 0)] for row in rows], (*COLUMNS, "given")
        flags = [self.write(f"{model}.json", json.dumps(flag)) if isinstance(flag, dict) else flag for flag in flags]
        self.server.ctl("train", model, *flags, "--data", "-", text=csv(rows, columns))

    def answers(self, model, rows, flags):
        """What the model says, to the bit."""
        text = csv(rows, COLUMNS)
        context = ("--context", self.write("context.csv", "given\n1\n")) if "--context-columns" in flags else ()

        def ask(command, *more, **given):
            return self.server.ctl(command, model, *more, *context, **given)

        z = ask("inverse", text=text)
        return {
            "log_prob": ask("logprob", "--tail-probability", text=text),
            "float64": ask("logprob", "--float64", text=text),
            "inverse": z,
            "forward": ask("forward", text=z),
            "sample": ask("sample", "--rows", 5, "--seed", 4, "--log-prob"),
            "score": ask("score", text=text),
            "explain": ask("explain", "--format", "csv", text=text),
        }

    def check(self, model, rows, answers):
        for what, text in answers.items():
            self.assertNotIn("nan", text, f"{model}: {what}")
        self.assertEqual(len(rows), len(numbers(answers["log_prob"])))
        self.assertEqual(5, len(numbers(answers["sample"])))
        single, double = (numbers(answers[what]) for what in ("log_prob", "float64"))
        for (in_float32, *_), (in_float64, *_) in zip(single, double):
            self.assertAlmostEqual(in_float32, in_float64, delta=2e-2 + 1e-3 * abs(in_float64), msg=model)
        back = numbers(answers["forward"])
        scale = max(abs(number) for row in rows for number in row)
        for row, again in zip(rows, back):
            for number, found in zip(row, again):
                self.assertAlmostEqual(number, found, delta=5e-3 * scale, msg=f"{model}: forward of inverse")

    def test_all_of_them_are_here(self):
        told = subprocess.run([harness.DENSITYCTL, "train", "--help"], capture_output=True, check=True).stdout.decode()
        listed = re.search(r"Named model: ([a-z_0-9, \n]+)", told).group(1)
        self.assertEqual(set(PRESETS), set(re.findall(r"[a-z_]+", listed)) - {"or"})

    def check_all(self, models):
        asked, before = {}, {}
        for model, flags in models.items():
            with self.subTest(model):
                self.train(model, flags)
                asked[model] = rows_of(model, 3)
                before[model] = self.answers(model, asked[model], flags)
                self.check(model, asked[model], before[model])
        self.server.kill()
        self.server.start()
        for model, rows in asked.items():
            with self.subTest(model):
                self.assertEqual(before[model], self.answers(model, rows, models[model]))

    def test_each_is_trained_answers_everything_and_is_the_same_after_a_restart(self):
        self.check_all({name: ("--preset", name, *flags) for name, flags in PRESETS.items()})

    def test_so_is_each_base_mixing_and_layer_beyond_them(self):
        self.check_all(OPTIONS)


if __name__ == "__main__":
    unittest.main()
