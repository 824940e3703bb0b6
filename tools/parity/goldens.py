"""Models of the libraries with what they answer, small enough to lie with the tests.

Each golden is a model version (weights random or trained for a few steps) and the library's answers in float64 for rows
that float32 can represent, so that plans of both precisions see the same numbers.
"""

import datetime
import functools
import pathlib
import shutil

import nflows.distributions.normal
import nflows.flows
import nflows.nn.nets
import nflows.transforms as nft
import normflows as nf
import torch
import zuko

from .check import check
from .libraries import converter_of, source_of
from .model import to_numpy
from .store import safetensors_bytes, write_version

_ROWS = 24
_CREATED = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def _zuko_nice():
    additive = {"univariate": zuko.transforms.AdditiveTransform, "shapes": [()], "hidden_features": (12, 12)}
    return zuko.flows.NICE(5, transforms=3, **additive)


def _zuko_realnvp():
    return zuko.flows.RealNVP(5, 2, transforms=3, hidden_features=(12, 10), activation=torch.nn.ELU)


def _zuko_maf():
    return zuko.flows.MAF(5, transforms=3, randperm=True, hidden_features=(13, 11))


def _zuko_maf_context():
    return zuko.flows.MAF(4, 3, transforms=2, hidden_features=(16,), activation=torch.nn.Tanh)


def _zuko_maf_residual():
    return zuko.flows.MAF(4, 2, transforms=2, residual=True, hidden_features=(9, 9))


def _zuko_nsf_autoregressive():
    return zuko.flows.NSF(4, transforms=2, bins=8, hidden_features=(12, 12))


def _zuko_nsf_coupling():
    return zuko.flows.NSF(5, transforms=2, passes=2, bins=5, hidden_features=(12, 12))


def _zuko_nsf_coupling_context():
    return zuko.flows.NSF(4, 2, transforms=2, passes=2, bins=4, slope=1e-2, hidden_features=(10,))


def _zuko_ncsf():
    return zuko.flows.NCSF(3, transforms=3, bins=6, hidden_features=(12, 12))


def _zuko_ncsf_coupling_context():
    return zuko.flows.NCSF(4, 2, transforms=2, passes=2, bins=4, slope=1e-2, hidden_features=(10,))


def _zuko_gf():
    """Its transforms end at 4.9 and are inverted by bisection, here to the last digits."""
    flow = zuko.flows.GF(3, transforms=3, components=6)
    for transform in flow.transform.transforms[::2]:
        # Less steep, so that float32 can tell x from its neighbours.
        transform.phi[1].data *= 0.3
        transform.univariate = functools.partial(zuko.transforms.GaussianizationTransform, bound=30, eps=1e-14)
    return flow


def _zuko_linear():
    """A composition by hand: fixed maps, LU, a permutation, given adjacency."""
    lazy = zuko.lazy
    adjacency = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
    return lazy.Flow(
        [
            lazy.UnconditionalTransform(torch.distributions.AffineTransform, torch.tensor([0.5, -1.0, 0.0]),
                                        torch.tensor([2.0, 0.25, 1.5]), event_dim=1, buffer=True),
            zuko.flows.autoregressive.MaskedAutoregressiveTransform(3, adjacency=adjacency, hidden_features=(9, 9)),
            lazy.UnconditionalTransform(zuko.transforms.LULinearTransform,
                                        torch.tensor([[-1.2, 0.3, 0.1], [0.4, 0.8, -0.6], [0.2, -0.5, -2.0]])),
            lazy.UnconditionalTransform(zuko.transforms.PermutationTransform, torch.tensor([2, 0, 1]), buffer=True),
            zuko.flows.gaussianization.ElementWiseTransform(3),
        ],
        lazy.UnconditionalDistribution(zuko.distributions.DiagNormal, torch.tensor([0.3, 0.0, -1.0]),
                                       torch.tensor([0.5, 1.0, 3.0]), buffer=True),
    )


def _zuko_rotation():
    lazy = zuko.lazy
    return lazy.Flow([lazy.UnconditionalTransform(zuko.transforms.RotationTransform, A=torch.randn(4, 4)),
                      zuko.flows.coupling.GeneralCouplingTransform(4, hidden_features=(8,))],
                     zuko.flows.MAF(4).base)


def _precisely(flow):
    """Solved as far as float64 goes, so that what differs is the flow and not the solvers' tolerances."""
    flow.transform.atol = flow.transform.rtol = 1e-12
    return flow


def _zuko_cnf():
    return _precisely(zuko.flows.CNF(3, hidden_features=(12, 10), activation=torch.nn.Tanh))


def _zuko_cnf_context():
    """Three hidden layers, whose trace is taken from the whole Jacobian."""
    return _precisely(zuko.flows.CNF(2, 2, freqs=1, hidden_features=(8, 8, 8), activation=torch.nn.SiLU))


def _nflows(features, transforms, base=None):
    base = base or nflows.distributions.normal.StandardNormal([features])
    return nflows.flows.Flow(nft.CompositeTransform(transforms), base)


def _nflows_maf():
    return _nflows(5, [part for _ in range(2) for part in (
        nft.ReversePermutation(5), nft.MaskedAffineAutoregressiveTransform(5, 13, num_blocks=2))])


def _nflows_maf_feedforward():
    options = {"num_blocks": 2, "use_residual_blocks": False, "random_mask": True, "activation": torch.tanh}
    return _nflows(5, [part for _ in range(2) for part in (
        nft.ReversePermutation(5), nft.MaskedAffineAutoregressiveTransform(5, 12, **options))],
        nflows.distributions.normal.DiagonalNormal([5]))


def _nflows_maf_context():
    return _nflows(4, [part for _ in range(2) for part in (
        nft.MaskedAffineAutoregressiveTransform(4, 9, context_features=2, num_blocks=1), nft.ReversePermutation(4))])


def _nflows_maf_feedforward_context():
    options = {"num_blocks": 1, "use_residual_blocks": False, "context_features": 3}
    return _nflows(4, [nft.MaskedAffineAutoregressiveTransform(4, 9, **options)])


def _residual_net(inputs, outputs):
    return nflows.nn.nets.ResidualNet(inputs, outputs, hidden_features=10, num_blocks=2)


def _nflows_realnvp():
    """Affine and additive coupling, actnorm and batch normalisation."""
    def mlp(inputs, outputs):
        net = nflows.nn.nets.MLP([inputs], [outputs], [12, 10], activation=torch.tanh)
        forward = net.forward
        net.forward = lambda columns, context=None: forward(columns)
        return net

    return _nflows(4, [
        nft.BatchNorm(4), nft.AffineCouplingTransform([0, 1, 1, 0], _residual_net), nft.ActNorm(4),
        nft.AdditiveCouplingTransform([1, 0, 0, 1], mlp), nft.AffineCouplingTransform([1, 0, 1, 0], mlp),
        nft.PointwiseAffineTransform(torch.tensor([0.5, -1, 2, 0]), torch.tensor([2.0, 0.5, 1, 3])),
    ])


def _nflows_nsf_coupling():
    """RQ-NSF (C) with LU layers, random permutations and splines on the half that passes."""
    def spline(mask):
        return nft.PiecewiseRationalQuadraticCouplingTransform(
            mask, _residual_net, num_bins=6, tails="linear", tail_bound=3.0, apply_unconditional_transform=True)

    return _nflows(4, [nft.RandomPermutation(4), nft.LULinear(4, identity_init=False), spline([0, 1, 0, 1]),
                       nft.RandomPermutation(4), nft.LULinear(4, identity_init=False), spline([1, 0, 1, 0])])


def _nflows_nsf_autoregressive():
    """RQ-NSF (AR)."""
    def spline():
        return nft.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            4, 12, num_bins=6, tails="linear", tail_bound=3.0, num_blocks=2, min_bin_width=5e-3, min_derivative=1e-2)

    return _nflows(4, [nft.LULinear(4, identity_init=False), spline(), nft.ReversePermutation(4), spline()])


def _nflows_images():
    """A squeeze, ActNorms per channel and 1 x 1 convolutions."""
    return nflows.flows.Flow(
        nft.CompositeTransform([nft.SqueezeTransform(), nft.ActNorm(4), nft.OneByOneConvolution(4, identity_init=False),
                                nft.OneByOneConvolution(4)]),
        nflows.distributions.normal.StandardNormal([4, 2, 3]))


def _nflows_householder():
    return _nflows(4, [nft.HouseholderSequence(4, 6), nft.ActNorm(4), nft.HouseholderSequence(4, 2)])


def _normflows(features, flows, trainable_base=False):
    return nf.NormalizingFlow(nf.distributions.DiagGaussian(features, trainable=trainable_base), flows)


def _normflows_realnvp():
    def mlp(**options):
        return nf.nets.MLP([4, 10, 10, 4], init_zeros=True, **options)

    mask = torch.tensor([1.0, 0.0, 1.0, 0.0])
    return _normflows(4, [nf.flows.MaskedAffineFlow(mask, mlp(), mlp()), _actnorm(4),
                          nf.flows.MaskedAffineFlow(1 - mask, mlp(), mlp(output_fn="tanh", output_scale=2.0)),
                          nf.flows.MaskedAffineFlow(mask, mlp(), None),
                          nf.flows.MaskedAffineFlow(1 - mask, None, mlp())],
                      trainable_base=True)


def _actnorm(features):
    layer = nf.flows.ActNorm(features)
    layer.data_dep_init_done = torch.tensor(1.0)
    return layer


def _normflows_glow_rows():
    """Glow's steps on rows: actnorm, LU mixing, couplings with sigmoid scales."""
    def block(scale_map, mode="channel"):
        passed, transformed = (3, 2) if mode == "channel" else (2, 3)
        network = nf.nets.MLP([passed, 12, 2 * transformed])
        return nf.flows.AffineCouplingBlock(network, scale_map=scale_map, split_mode=mode)

    return _normflows(5, [block("sigmoid"), nf.flows.LULinearPermute(5, identity_init=False), _actnorm(5),
                          block("sigmoid_inv", "channel_inv"), nf.flows.Permute(5, mode="swap"), block("exp"),
                          nf.flows.Permute(5)])


def _normflows_glow():
    """Glow's blocks of images, with either form of the 1 x 1 convolution and each scale."""
    def block(channels, **options):
        made = nf.flows.GlowBlock(channels, 6, init_zeros=False, **options)
        made.flows[-1].data_dep_init_done = torch.tensor(1.0)
        return made

    return _normflows((12, 2, 2), [
        block(12), block(12, use_lu=False, scale_map="exp"), nf.flows.Squeeze(),
        block(3, split_mode="channel_inv"), block(3, scale=False)], trainable_base=True)


def _normflows_nsf_coupling():
    return _normflows(5, [flow for i in range(2) for flow in (
        nf.flows.CoupledRationalQuadraticSpline(5, 2, 12, num_bins=6, reverse_mask=i == 1),
        nf.flows.LULinearPermute(5, identity_init=False))])


def _normflows_nsf_autoregressive():
    return _normflows(4, [nf.flows.AutoregressiveRationalQuadraticSpline(4, 2, 12, num_bins=5, permute_mask=True)
                          for _ in range(2)])


def _normflows_iaf():
    return _normflows(4, [nf.flows.MaskedAffineAutoregressive(4, 12, num_blocks=2, use_residual_blocks=i == 0)
                          for i in range(2)])


def _normflows_planar():
    return _normflows(3, [nf.flows.Planar((3,)) for _ in range(4)])


def _normflows_radial():
    return _normflows(3, [nf.flows.Radial((3,)) for _ in range(4)])


def _normflows_residual():
    """Two columns, for which the library computes its log-determinants exactly. Its fixed point is found to 1e-2 of
    what it says; here it is iterated to the end."""
    flows = [nf.flows.Residual(nf.nets.LipschitzMLP([2, 12, 12, 2], lipschitz_const=0.9), reduce_memory=False)
             for _ in range(2)]
    for flow in flows:
        block = flow.iresblock
        for linear in block.nnet.net[1::2]:
            linear.compute_weight(update=True, n_iterations=200)

        def fixed_point(y, atol=None, rtol=None, block=block):
            x = y
            for _ in range(2000):
                x = y - block.nnet(x)
            return x

        block._inverse_fixed_point = fixed_point
    return _normflows(2, flows)


# Name: (how it is built, the deviation of noise that is added to its parameters, steps of training).
_GOLDENS = {
    "zuko_nice": (_zuko_nice, 0.1, 0),
    "zuko_realnvp": (_zuko_realnvp, 0.1, 0),
    "zuko_maf": (_zuko_maf, 0.0, 200),
    "zuko_maf_context": (_zuko_maf_context, 0.2, 0),
    "zuko_maf_residual": (_zuko_maf_residual, 0.1, 0),
    "zuko_nsf_autoregressive": (_zuko_nsf_autoregressive, 0.0, 100),
    "zuko_nsf_coupling": (_zuko_nsf_coupling, 0.2, 0),
    "zuko_nsf_coupling_context": (_zuko_nsf_coupling_context, 0.2, 0),
    "zuko_ncsf": (_zuko_ncsf, 0.2, 0),
    "zuko_ncsf_coupling_context": (_zuko_ncsf_coupling_context, 0.2, 0),
    "zuko_gf": (_zuko_gf, 0.0, 100),
    "zuko_rotation": (_zuko_rotation, 0.1, 0),
    "zuko_cnf": (_zuko_cnf, 0.0, 20),
    "zuko_cnf_context": (_zuko_cnf_context, 0.2, 0),
    "zuko_linear": (_zuko_linear, 0.1, 0),
    "nflows_maf": (_nflows_maf, 0.0, 200),
    "nflows_maf_feedforward": (_nflows_maf_feedforward, 0.1, 0),
    "nflows_maf_context": (_nflows_maf_context, 0.2, 0),
    "nflows_maf_feedforward_context": (_nflows_maf_feedforward_context, 0.2, 0),
    "nflows_realnvp": (_nflows_realnvp, 0.1, 50),
    "nflows_householder": (_nflows_householder, 0.3, 0),
    "nflows_images": (_nflows_images, 0.2, 0),
    "nflows_nsf_coupling": (_nflows_nsf_coupling, 0.0, 100),
    "nflows_nsf_autoregressive": (_nflows_nsf_autoregressive, 0.2, 0),
    "normflows_realnvp": (_normflows_realnvp, 0.2, 0),
    "normflows_glow_rows": (_normflows_glow_rows, 0.1, 50),
    "normflows_glow": (_normflows_glow, 0.1, 0),
    "normflows_nsf_coupling": (_normflows_nsf_coupling, 0.0, 100),
    "normflows_nsf_autoregressive": (_normflows_nsf_autoregressive, 0.2, 0),
    "normflows_planar": (_normflows_planar, 0.3, 0),
    "normflows_radial": (_normflows_radial, 0.3, 0),
    "normflows_residual": (_normflows_residual, 0.05, 0),
    "normflows_iaf": (_normflows_iaf, 0.1, 0),
}


def _training_rows(features, rows):
    """Correlated rows with a bend, within what splines of bound 3 cover."""
    noise = torch.randn(rows, features, dtype=torch.float64)
    rows = noise.clone()
    for j in range(1, features):
        rows[:, j] = 0.6 * torch.sin(1.5 * rows[:, j - 1]) + 0.5 * noise[:, j]
    return rows


def _log_prob(flow, x):
    return flow().log_prob(x) if isinstance(flow, zuko.lazy.Flow) else flow.log_prob(x)


def _train(flow, features, steps):
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(steps):
        loss = -_log_prob(flow, _training_rows(features, 128)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _float32_rows(rows, columns, spread):
    """Normal numbers that float32 represents."""
    return (spread * torch.randn(rows, columns)).double()


def _write_golden(folder, name):
    build, noise, steps = _GOLDENS[name]
    torch.manual_seed(sum(map(ord, name)))
    torch.set_default_dtype(torch.float64)
    flow = build().double()
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += noise * torch.randn_like(parameter)
    converter = converter_of(flow)
    if steps:
        _train(flow, converter.convert(flow).features, steps)
    flow.eval()
    model = converter.convert(flow)
    print(f"{name}: log p agrees within {check(flow, model, converter):.1e}")
    expected = {name: model.on_base(_float32_rows(_ROWS, model.features, spread)).float().double()
                for name, spread in (("x", 1.5), ("base", 1.0))}
    context = None
    if model.context:
        context = expected["context"] = _float32_rows(_ROWS, model.context, 1.0)
    with torch.no_grad():
        expected["sample"] = converter.forward(flow, expected["base"], context)
        try:
            expected["log_prob"], expected["z"] = converter.inverse(flow, expected["x"], context)
        except NotImplementedError:
            # The library maps base to data only.
            expected["log_prob"] = converter.forward_log_prob(flow, expected["base"])
            expected["x"], expected["z"] = expected["sample"], expected["base"]
    version = folder / "root" / "models" / name / "1"
    shutil.rmtree(version, ignore_errors=True)
    write_version(version, name, model, f"import:{source_of(flow)}", _CREATED)
    (folder / "expected").mkdir(exist_ok=True)
    numbers = {key: to_numpy(value) for key, value in expected.items()}
    assert all(abs(value).max() < 1e6 for value in numbers.values()), f"{name}: {numbers}"
    (folder / "expected" / f"{name}.safetensors").write_bytes(safetensors_bytes(numbers))


def write_goldens(folder, names):
    """Writes the goldens `names`, or all; 0."""
    unknown = set(names) - set(_GOLDENS)
    if unknown:
        raise ValueError(f"no golden is called {sorted(unknown)}; there are {', '.join(_GOLDENS)}")
    folder = pathlib.Path(folder)
    (folder / "root").mkdir(parents=True, exist_ok=True)
    (folder / "root" / "FORMAT").write_text("densityd root 1\n", encoding="ascii")
    for name in names or _GOLDENS:
        _write_golden(folder, name)
    return 0
