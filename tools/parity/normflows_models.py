"""normflows (1.7): NormalizingFlow with coupling, autoregressive, linear and normalising flows, of rows and of images.

normflows lists its flows from base to data, and most of its univariate maps are written in that direction.
"""

import numpy as np
import torch
import normflows as nf
from normflows.flows.affine.autoregressive import MaskedAffineAutoregressive
from normflows.flows.affine.coupling import AffineConstFlow, AffineCoupling, AffineCouplingBlock, MaskedAffineFlow
from normflows.flows.affine.glow import GlowBlock
from normflows.flows.mixing import Invertible1x1Conv, LULinearPermute, Permute
from normflows.flows.neural_spline.wrapper import AutoregressiveRationalQuadraticSpline, CoupledRationalQuadraticSpline
from normflows.flows.normalization import ActNorm
from normflows.flows.reshape import Squeeze
from normflows.utils.nn import ConstScaleLayer

from . import univariates
from .errors import NotConvertible
from .model import Model, inverse_softplus, lu_of_matrix, signed_lu, to_numpy
from .networks import ConvNetwork, Linear, Network, sequential_network
from .nsf_modules import add_lu, add_unconditional_spline, made_network, refuse, residual_network, spline

VERSION = "1.7.3"

# Limits of flow_spec.proto and server/flow: how far a bend may contract, the least alpha of a radial flow, the largest
# spectral norm of a residual flow's layer, and the largest slope of SiLU, rounded up as there.
_MAX_CONTRACTION = 0.999
_MIN_ALPHA = 1e-3
_MAX_COEFFICIENT = 0.99
_SILU_SLOPE = 1.09984


def is_model(flow):
    return isinstance(flow, nf.NormalizingFlow)


def convert(flow):
    """A Model of a normflows.NormalizingFlow. NotConvertible where a part has no exact counterpart."""
    refuse(not isinstance(flow.q0, nf.distributions.DiagGaussian) or len(flow.q0.shape) not in (1, 3), "q0",
           f"{type(flow.q0).__name__} is no DiagGaussian of rows or images")
    refuse(flow.q0.temperature is not None, "q0", "has a temperature")
    shape = _data_shape(flow)
    model = Model(np.prod(shape), image=shape if len(shape) == 3 else None)
    for i in reversed(range(len(flow.flows))):
        _convert_flow(model, flow.flows[i], f"flows[{i}]")
    mean, log_sigma = (to_numpy(part)[0].reshape(-1) for part in (flow.q0.loc, flow.q0.log_scale))
    model.set_diagonal_normal(mean, np.exp(log_sigma), "q0")
    return model


def _data_shape(flow):
    """Of a row of the data: (columns,), or (channels, height, width)."""
    shape = tuple(flow.q0.shape)
    for part in flow.flows:
        if isinstance(part, Squeeze):
            shape = (shape[0] // 4, 2 * shape[1], 2 * shape[2])
    return shape


def inverse(flow, x, context):
    """log p(x) and z of x, as the library computes them. NotImplementedError for planar and radial flows."""
    assert context is None
    x = x.reshape(-1, *_data_shape(flow))
    return flow.log_prob(x), flow.inverse(x).flatten(1)


def forward_log_prob(flow, z):
    """log p(x) of the x of z, where the library knows one direction only."""
    log_prob = flow.q0.log_prob(z)
    for part in flow.flows:
        z, log_abs_det = part(z)
        log_prob = log_prob - log_abs_det
    return log_prob


def forward(flow, z, context):
    """x of z, as the library computes it."""
    assert context is None
    return flow.forward(z.reshape(-1, *flow.q0.shape)).flatten(1)


def _convert_flow(model, flow, where):
    refuse(bool(model.image) and not isinstance(flow, _OF_IMAGES), where,
           f"{type(flow).__name__} of images has no exact counterpart")
    for kind, function in _CONVERTERS:
        if isinstance(flow, kind):
            return function(model, flow, where)
    raise NotConvertible(where, f"{type(flow).__name__} has no exact counterpart")


def _masked_affine(model, flow, where):
    """x = b z + (1 - b) (z exp(s(b z)) + t(b z)), with two networks; here they are one."""
    mask = to_numpy(flow.b)[0]
    refuse(mask.ndim != 1 or not np.isin(mask, (0, 1)).all(), f"{where}.b", "is no row of zeros and ones")
    passed, transformed = np.flatnonzero(mask == 1), np.flatnonzero(mask == 0)
    has_scale, has_shift = isinstance(flow.s, torch.nn.Module), isinstance(flow.t, torch.nn.Module)
    refuse(not has_scale and not has_shift, where, "has neither s nor t")
    parts, fields = [], {"scale_function": "EXP"}
    if has_scale:
        network, fields = _scale_network(flow.s, f"{where}.s")
        parts.append(network)
    if has_shift:
        parts.append(_mlp(flow.t, f"{where}.t"))
    network = _side_by_side([_restricted(part, passed, transformed) for part in parts], where)
    if not has_scale:
        univariate = univariates.shift()
    else:
        univariate = univariates.affine({**fields, "direction": "FORWARD"}, scale=0, shift=1)
        if not has_shift:
            last = network.layers[-1]
            network.layers[-1] = Linear(_interleaved([last.weight, np.zeros_like(last.weight)]),
                                        _interleaved([last.bias, np.zeros_like(last.bias)]))
    model.add_coupling(transformed, univariate.spec, network.with_parameters(univariate.parameters))


def _mlp(module, where):
    """Of a normflows MLP, or a torch.nn.Sequential."""
    modules = module.net if isinstance(module, nf.nets.MLP) else module
    refuse(not isinstance(modules, torch.nn.Sequential), where, f"{type(module).__name__} is no MLP")
    return sequential_network(list(modules), where)


def _scale_network(module, where):
    """The network of a log-scale, whose output may be bounded: scale * tanh(factor * out); and the scale function."""
    modules = list(module.net) if isinstance(module, nf.nets.MLP) else None
    if modules is None or not any(isinstance(part, torch.nn.Tanh) for part in modules):
        return _mlp(module, where), {"scale_function": "EXP"}
    position = next(i for i, part in enumerate(modules) if isinstance(part, torch.nn.Tanh))
    factor, bound, end = 1.0, 1.0, position
    if isinstance(modules[position - 1], ConstScaleLayer):
        factor, end = float(modules[position - 1].scale), position - 1
    if position + 1 < len(modules):
        bound = float(modules[position + 1].scale)
    refuse(bound <= 0, where, "its output_scale is not positive")
    network = sequential_network(modules[:end], where)
    last = network.layers[-1]
    network.layers[-1] = Linear(bound * factor * last.weight, bound * factor * last.bias)
    return network, {"scale_function": "TANH", "max_log_scale": bound}


def _restricted(network, inputs, outputs):
    first, last = network.layers[0], network.layers[-1]
    layers = list(network.layers)
    layers[0] = Linear(first.weight[:, inputs], first.bias)
    layers[-1] = Linear(last.weight[outputs], last.bias[outputs])
    return Network(layers, network.activation)


def _interleaved(parts):
    return np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


def _side_by_side(networks, where):
    """One network that computes the outputs of several from the same inputs, interleaved: grouped by column."""
    if len(networks) == 1:
        return networks[0]
    refuse(len({len(network.layers) for network in networks}) > 1 or len({n.activation for n in networks}) > 1, where,
           "its networks s and t differ in depth or activation; here they are one network")
    layers = []
    depth = len(networks[0].layers)
    for k in range(depth):
        parts = [network.layers[k] for network in networks]
        if k == 0:
            weight = np.concatenate([part.weight for part in parts])
        else:
            weight = np.zeros((sum(len(part.bias) for part in parts), sum(part.weight.shape[1] for part in parts)))
            row = column = 0
            for part in parts:
                rows, columns = part.weight.shape
                weight[row:row + rows, column:column + columns] = part.weight
                row, column = row + rows, column + columns
        layers.append(Linear(weight, np.concatenate([part.bias for part in parts])))
    last, outputs = layers[-1], len(networks[0].layers[-1].bias)
    rows = np.arange(len(networks) * outputs).reshape(len(networks), outputs).T.reshape(-1)
    layers[-1] = Linear(last.weight[rows], last.bias[rows])
    return Network(layers, networks[0].activation)


def _split_columns(mode, features, where):
    """The columns that are transformed, z2 of a Split."""
    columns = np.arange(features)
    first = (features + 1) // 2
    modes = {"channel": columns[first:], "channel_inv": columns[:first], "checkerboard": columns[0::2],
             "checkerboard_inv": columns[1::2]}
    refuse(mode not in modes, where, f"splits by {mode!r}")
    return modes[mode]


def _coupling_block(model, block, where):
    coupling = next(flow for flow in block.flows if isinstance(flow, AffineCoupling))
    mode = block.flows[0].mode
    if model.image:
        network = _conv_network(coupling.param_map, f"{where}.param_map")
        refuse("checkerboard" in mode, where, "splits images by a checkerboard, whose halves it makes narrower images")
        transformed = model.columns_of(_split_columns(mode, model.shape[0], where))
    else:
        network = _mlp(coupling.param_map, f"{where}.param_map")
        transformed = _split_columns(mode, model.features, where)
    if not coupling.scale:
        univariate = univariates.shift()
    elif coupling.scale_map == "exp":
        univariate = univariates.affine({"scale_function": "EXP", "direction": "FORWARD"}, scale=1, shift=0)
    else:
        univariate = _glow_affine(model, coupling.scale_map, transformed)
    model.add_coupling(transformed, univariate.spec, network.with_parameters(univariate.parameters))


def _conv_network(module, where):
    modules = list(module.net) if isinstance(module, nf.nets.ConvNet2d) else module
    refuse(not isinstance(modules, (list, torch.nn.Sequential)), where, f"{type(module).__name__} is no ConvNet2d")
    return ConvNetwork.of_sequence(list(modules), where)


def _glow_block(model, block, where):
    refuse(not model.image, where, "is for images, but q0 is of rows")
    for i in reversed(range(len(block.flows))):
        _convert_flow(model, block.flows[i], f"{where}.flows[{i}]")


def _channel_mixing(model, flow, where):
    """z = W x at every pixel. Where U has negative numbers on its diagonal, so have the channels after it."""
    refuse(not model.image, where, "is for images, but q0 is of rows")
    if flow.use_lu:
        upper = np.triu(to_numpy(flow.U), 1) + np.diag(to_numpy(flow.sign_S) * np.exp(to_numpy(flow.log_S)))
        lower = np.tril(to_numpy(flow.L), -1) + np.eye(flow.num_channels)
        lower, upper, diagonal, signs, order = signed_lu(to_numpy(flow.P), lower, upper)
    else:
        lower, upper, diagonal, signs, order = lu_of_matrix(to_numpy(flow.W))
    model.add_channel_mixing(lower, upper, diagonal, where, order)
    turned = np.flatnonzero(signs[order] < 0)
    if len(turned):
        columns = [int(column) for column in model.columns_of(turned)]
        model.add("bijection", {"kind": "AFFINE", "scale": -1.0, "columns": columns})


def _squeeze(model, flow, where):
    del flow, where
    model.add_squeeze()


def _glow_affine(model, scale_map, transformed):
    """x = z / sigmoid(a + 2) + t, or x = z sigmoid(a + 2) + t. A scale here can be 1, so it is 2 sigmoid(a + 2), and a
    fixed layer before it takes the 2 back."""
    reciprocal = scale_map == "sigmoid"
    factor = 2.0 if reciprocal else 0.5
    model.add("bijection", {"kind": "AFFINE", "scale": factor, "columns": [int(column) for column in transformed]})
    fields = {"scale_function": "SIGMOID", "direction": "FORWARD", "min_scale": 0.0, "max_scale": 2.0,
              "reciprocal_scale": reciprocal}
    univariate = univariates.affine(fields, scale=1, shift=0, scale_offset=2.0)
    univariate.parameters.factor[1] = 1 / factor
    return univariate


def _spline_coupling(model, flow, where):
    transform, path = flow.prqct, f"{where}.prqct"
    univariate = spline(transform, transform.transform_net, path)
    network = residual_network(transform.transform_net, f"{path}.transform_net").with_parameters(univariate.parameters)
    model.add_coupling(transform.transform_features.tolist(), univariate.spec, network)
    if transform.unconditional_transform is not None:
        add_unconditional_spline(model, transform.unconditional_transform, transform.identity_features.tolist(),
                                 f"{path}.unconditional_transform")


def _spline_autoregressive(model, flow, where):
    transform, path = flow.mprqat, f"{where}.mprqat"
    univariate = spline(transform, transform.autoregressive_net, path)
    network, order = made_network(transform.autoregressive_net, univariate, f"{path}.autoregressive_net",
                                  nflows=False)
    model.add_autoregressive(order, univariate.spec, network)


def _affine_autoregressive(model, flow, where):
    # x = z (sigmoid(raw + 2) + 0.001) + shift, with parameters from z.
    univariate = univariates.sigmoid_affine(1e-3, 2.0, scale=0, shift=1, direction="FORWARD")
    network, order = made_network(flow.autoregressive_net, univariate, f"{where}.autoregressive_net",
                                  nflows=False)
    model.add_autoregressive(order, univariate.spec, network, parallel="SAMPLING")


def _affine_constant(model, flow, where):
    refuse(isinstance(flow, ActNorm) and not float(flow.data_dep_init_done), where,
           "is not initialised: the library would do that with the first rows that it is given")
    if not model.image:
        return model.add_actnorm(to_numpy(flow.s), to_numpy(flow.t))
    refuse(tuple(flow.s.shape[1:]) != (model.shape[0], 1, 1), where, "has other numbers than one per channel")
    return model.add_channel_actnorm(to_numpy(flow.s), to_numpy(flow.t))


def _lu_permute(model, flow, where):
    model.add_permutation(flow.permutation._permutation.tolist())
    add_lu(model, flow.linear, f"{where}.linear")


def _above_minus_one_raw(value, where):
    """The a with m(a) = value, m(a) = a, and k (e^(a / k) - 1) below zero, k = 0.999: how bends stay invertible here."""
    refuse(not value > -_MAX_CONTRACTION, where, f"contracts by {-value:.4f}; here it is at most {_MAX_CONTRACTION}")
    return value if value >= 0 else _MAX_CONTRACTION * np.log1p(value / _MAX_CONTRACTION)


def _planar(model, flow, where):
    """x = z + u tanh(w . z + b); w . u is kept above -1 by a softplus."""
    refuse(flow.act != "tanh", where, f"has the activation {flow.act}; here it is tanh")
    w, u = to_numpy(flow.w).reshape(-1), to_numpy(flow.u).reshape(-1)
    inner = w @ u
    corrected = np.logaddexp(0, inner) - 1
    raw = _above_minus_one_raw(corrected, where)
    theta = np.concatenate([u + (raw - inner) * w / (w @ w), w, to_numpy(flow.b)])
    model.add("planar", {"parallel": "SAMPLING"}, {"parameters.theta": theta})


def _radial(model, flow, where):
    """x = z + beta (z - z0) / (alpha + |z - z0|)."""
    alpha = abs(to_numpy(flow.alpha).item())
    refuse(not alpha > _MIN_ALPHA, where, f"has alpha {alpha:g}; here it is > {_MIN_ALPHA}")
    beta = np.logaddexp(0, to_numpy(flow.beta).item()) - alpha
    raw_alpha = inverse_softplus(alpha - _MIN_ALPHA) - inverse_softplus(1 - _MIN_ALPHA)
    raw_beta = _above_minus_one_raw(beta / alpha, where)
    theta = np.concatenate([to_numpy(flow.z_0).reshape(-1), [raw_alpha, raw_beta]])
    model.add("radial", {"parallel": "SAMPLING"}, {"parameters.theta": theta})


def _residual(model, flow, where):
    """z = x + g(x), g of Swish and linear layers in turn. Here g begins with a linear layer, and an activation is
    SiLU divided by its largest slope: Swish's own slope goes into the weights around it."""
    refuse(not flow.reverse, where, "reverse=False: here the network is that of the direction x -> z")
    net = flow.iresblock.nnet
    refuse(not isinstance(net, nf.nets.LipschitzMLP), f"{where}.iresblock.nnet",
           f"{type(net).__name__} is no LipschitzMLP")
    modules = list(net.net)
    slopes = [np.logaddexp(0, to_numpy(swish.beta)).item() for swish in modules[::2]]
    layers = [(np.eye(model.features) * slopes[0], np.zeros(model.features))]
    for k, linear in enumerate(modules[1::2]):
        after = slopes[k + 1] if k + 1 < len(slopes) else 1.0
        weight = to_numpy(linear.compute_weight(update=False)) * (after / slopes[k] * _SILU_SLOPE / 1.1)
        bias = np.zeros(len(weight)) if linear.bias is None else to_numpy(linear.bias) * after
        layers.append((weight, bias))
    for k, (weight, _) in enumerate(layers):
        norm = np.linalg.norm(weight, 2)
        refuse(norm > _MAX_COEFFICIENT, f"{where}.iresblock.nnet, layer {k}", f"has the spectral norm {norm:.3f} when the "
               f"slope of Swish is part of it; here it is at most {_MAX_COEFFICIENT}")
    tensors = {f"network.{k}.{name}": part
               for k, layer in enumerate(layers) for name, part in zip(("weight", "bias"), layer)}
    hidden = [len(bias) for _, bias in layers[:-1]]
    model.add("residual", {"network": {"hidden": hidden, "activation": "SILU"}, "coefficient": _MAX_COEFFICIENT,
                           "exact_trace_features": 64, "tolerance": 1e-12}, tensors)


def _permute(model, flow, where):
    del where
    half = (model.features + 1) // 2
    swapped = [*range(half, model.features), *range(half)]
    model.add_permutation(flow.inv_perm.tolist() if flow.mode == "shuffle" else swapped)


# What is converted of flows of images.
_OF_IMAGES = (AffineCouplingBlock, GlowBlock, Invertible1x1Conv, Squeeze, AffineConstFlow)

# The first kind that fits converts.
_CONVERTERS = [
    (MaskedAffineFlow, _masked_affine),
    (AffineCouplingBlock, _coupling_block),
    (GlowBlock, _glow_block),
    (Invertible1x1Conv, _channel_mixing),
    (Squeeze, _squeeze),
    (CoupledRationalQuadraticSpline, _spline_coupling),
    (AutoregressiveRationalQuadraticSpline, _spline_autoregressive),
    (MaskedAffineAutoregressive, _affine_autoregressive),
    (AffineConstFlow, _affine_constant),
    (LULinearPermute, _lu_permute),
    (Permute, _permute),
    (nf.flows.Planar, _planar),
    (nf.flows.Radial, _radial),
    (nf.flows.Residual, _residual),
]
