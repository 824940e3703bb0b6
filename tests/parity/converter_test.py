"""tools/parity refuses what it cannot take over exactly, with the path of the part, and publishes as a server does."""

import json
import pathlib
import tempfile
import unittest

import nflows.nn.nets
import nflows.transforms as nft
import normflows as nf
import numpy as np
import torch
import zuko
from nflows.distributions.normal import StandardNormal
from nflows.flows import Flow

from parity.check import check
from parity.errors import NotConvertible
from parity.evaluate import log_prob_and_z
from parity.libraries import converter_of
from parity.store import publish
from parity.table import describe, read_table


def _convert(flow):
    return converter_of(flow).convert(flow.double().eval())


class RefusalTest(unittest.TestCase):

    def _assert_refused(self, flow, where, why):
        with self.assertRaises(NotConvertible) as caught:
            _convert(flow)
        self.assertTrue(caught.exception.where.startswith(where), caught.exception)
        self.assertIn(why, caught.exception.why)

    def test_what_has_no_counterpart_is_refused_with_its_path(self):
        self._assert_refused(zuko.flows.MAF(3, residual=True, activation=torch.nn.ELU), "transform.transforms[0].hyper",
                             "only a ReLU")
        self._assert_refused(zuko.flows.RealNVP(3, activation=torch.nn.Sigmoid), "transform.transforms[0].hyper[1]",
                             "Sigmoid")
        self._assert_refused(zuko.flows.RealNVP(3, normalize=True), "transform.transforms[0].hyper[2]", "LayerNorm")
        self._assert_refused(zuko.flows.CNF(3, activation=torch.nn.ReLU), "transform.ode", "smooth")
        later = zuko.flows.CNF(3)
        later.transform.times = torch.tensor((0.0, 2.0))
        self._assert_refused(later, "transform.times", "another one than 1")
        with_context = nft.MaskedAffineAutoregressiveTransform(3, 6, context_features=2, activation=torch.tanh)
        self._assert_refused(Flow(with_context, StandardNormal([3])), "_transform.autoregressive_net", "context")
        self._assert_refused(zuko.flows.GF(2, context=1), "transform.transforms[0]", "with a context")
        self._assert_refused(zuko.flows.GF(2, components=63), "transform.transforms[0]", "the limit is 62")
        steep = zuko.flows.GF(2, components=3)
        steep.transform.transforms[2].phi[1].data[1, 2] = 9.0
        self._assert_refused(steep, "transform.transforms[2]", "a scale e^9")
        self._assert_refused(zuko.flows.NAF(2), "transform.transforms[0]", "MNN")
        gated = nf.flows.AutoregressiveRationalQuadraticSpline(3, 1, 6, num_context_channels=2)
        self._assert_refused(nf.ConditionalNormalizingFlow(nf.distributions.DiagGaussian(3), [gated]),
                             "flows[0].mprqat.autoregressive_net", "gates its blocks")
        batch_norm = nft.MaskedAffineAutoregressiveTransform(3, 6, use_batch_norm=True)
        self._assert_refused(Flow(nft.CompositeTransform([batch_norm]), StandardNormal([3])),
                             "_transform._transforms[0].autoregressive_net.blocks[0]", "batch normalisation")
        base = nf.distributions.DiagGaussian(3)
        self._assert_refused(nf.NormalizingFlow(base, [nf.flows.ActNorm(3)]), "flows[0]", "not initialised")
        planar = nf.flows.Planar((3,), act="leaky_relu")
        self._assert_refused(nf.NormalizingFlow(base, [nf.flows.Permute(3), planar]), "flows[1]", "leaky_relu")
        self._assert_refused(Flow(nft.HouseholderSequence(3, 3), StandardNormal([3])), "_transform", "is even")

    def test_what_has_no_counterpart_among_flows_of_images_is_refused_with_its_path(self):
        def glow(**options):
            block = nf.flows.GlowBlock(4, 6, **options)
            block.flows[-1].data_dep_init_done = torch.tensor(1.0)
            return nf.NormalizingFlow(nf.distributions.DiagGaussian((4, 2, 2)), [block])

        self.assertEqual(_convert(glow()).image, (4, 2, 2))
        self._assert_refused(glow(leaky=0.01), "flows[0].flows[0].param_map", "only ReLU")
        self._assert_refused(glow(net_actnorm=True), "flows[0].flows[0].param_map", "ActNorm")
        images = nf.distributions.DiagGaussian((4, 2, 2))
        self._assert_refused(nf.NormalizingFlow(images, [nf.flows.Permute(4)]), "flows[0]", "Permute of images")
        self._assert_refused(nf.NormalizingFlow(nf.distributions.DiagGaussian(4), [nf.flows.Invertible1x1Conv(4)]),
                             "flows[0]", "is for images")
        self._assert_refused(Flow(nft.SqueezeTransform(3), StandardNormal([9, 2, 2])), "_transform", "here it is 2")
        self._assert_refused(Flow(nft.Permutation(torch.arange(4)), StandardNormal([4, 2, 2])), "_transform",
                             "Permutation of images")

    def test_a_model_of_no_library_is_refused(self):
        with self.assertRaisesRegex(TypeError, "torch.nn.modules.linear.Linear is no zuko"):
            converter_of(torch.nn.Linear(2, 2))

    def test_a_conversion_that_computes_something_else_is_refused(self):
        torch.manual_seed(0)
        flow = zuko.flows.MAF(3, transforms=2).double()
        model = converter_of(flow).convert(flow)
        self.assertLess(check(flow, model, converter_of(flow)), 1e-10)
        model.tensors["layers.1.conditioner.1.bias"][0] += 1e-3
        with self.assertRaisesRegex(NotConvertible, "is off by"):
            check(flow, model, converter_of(flow))

    def test_circles_are_taken_over_in_every_scheme(self):
        torch.manual_seed(0)
        for options in ({}, {"passes": 2}, {"context": 2}, {"context": 2, "passes": 2}, {"randperm": True, "bins": 3}):
            flow = zuko.flows.NCSF(3, transforms=2, **options).double()
            with torch.no_grad():
                for parameter in flow.parameters():
                    parameter += 0.2 * torch.randn_like(parameter)
            self.assertLess(check(flow, converter_of(flow).convert(flow), converter_of(flow)), 1e-10, options)

    def test_gaussianization_is_taken_over_in_any_size(self):
        torch.manual_seed(0)
        for options in ({}, {"components": 2}, {"components": 62}, {"transforms": 1}):
            flow = zuko.flows.GF(3, **options).double()
            self.assertLess(check(flow, converter_of(flow).convert(flow), converter_of(flow)), 1e-8, options)


class PublishTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.model = _convert(zuko.flows.NICE(2, transforms=1))

    def test_versions_count_up_and_nothing_is_left_behind(self):
        (self.root / "FORMAT").write_text("densityd root 1\n")
        self.assertEqual([publish(self.root, "a", self.model, "test") for _ in range(2)], [1, 2])
        (self.root / "models/a/aliases.json").write_text('{"aliases": {"highest_deleted": 6}}')
        self.assertEqual(publish(self.root, "a", self.model, "test"), 7)
        self.assertEqual(list((self.root / "tmp").iterdir()), [])

    def test_a_table_says_what_is_usual(self):
        (self.root / "FORMAT").write_text("densityd root 1\n")
        rows = np.random.default_rng(1).normal([3, -20], [0.5, 4], (300, 2))
        table = self.root / "table.csv"
        np.savetxt(table, rows, delimiter=",", header="volts,amps", comments="")
        facts = describe(self.model, *read_table(table, self.model))
        publish(self.root, "a", self.model, "test", facts)
        manifest = json.loads((self.root / "models/a/1/manifest.json").read_text())
        volts, amps = manifest["schema"]["features"]
        self.assertEqual((volts["name"], amps["name"]), ("volts", "amps"))
        self.assertEqual((amps["min"], amps["max"]), (rows[:, 1].min(), rows[:, 1].max()))
        self.assertAlmostEqual(amps["mean"], rows[:, 1].mean())
        self.assertAlmostEqual(amps["stddev"], rows[:, 1].std())
        calibration = manifest["calibration"]
        log_prob = log_prob_and_z(self.model, rows, None)[0]
        self.assertEqual(calibration["rows"], "300")
        self.assertEqual(calibration["log_prob"][0], log_prob.min())
        self.assertAlmostEqual(calibration["log_prob"][calibration["levels"].index(0.5)], np.median(log_prob))

    def test_a_table_that_says_nothing_is_refused(self):
        table = self.root / "table.csv"
        for text, why in (("", "has 0 columns"),
                          ("a\n1\n2\n", "has 1 columns"), ("a,b\n1,2\n", "has 1 rows"), ("a,b\n1,2\n1,x\n", "row 1"),
                          ("a,b\n1,2\n1\n", "row 1"), ("a,b\n1,2\n1,nan\n", "row 1: b is nan"),
                          ("a,b\n1,2\n1,3\n", "column a never changes")):
            table.write_text(text)
            with self.assertRaisesRegex(ValueError, why):
                describe(self.model, *read_table(table, self.model))

    def test_a_folder_that_is_no_root_and_a_bad_name_are_refused(self):
        with self.assertRaisesRegex(ValueError, "is no root"):
            publish(self.root, "a", self.model, "test")
        (self.root / "FORMAT").write_text("densityd root 1\n")
        with self.assertRaisesRegex(ValueError, "is no model name"):
            publish(self.root, "../a", self.model, "test")


if __name__ == "__main__":
    unittest.main()
