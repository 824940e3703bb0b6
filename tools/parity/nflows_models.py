"""nflows (0.14): flows composed of coupling, autoregressive, linear and normalising transforms; of images, the linear
ones.

nflows' transforms map data to base, in the order of the list; their univariate maps are written in that direction, too.
"""

import numpy as np
import torch
from nflows import transforms as nf
from nflows.distributions.normal import DiagonalNormal, StandardNormal
from nflows.flows.base import Flow
from nflows.nn.nets import MLP, ResidualNet

from . import univariates
from .errors import NotConvertible
from .model import Model, to_numpy
from .networks import Linear, Network, activation_name, sequential_network
from .nsf_modules import add_lu, add_unconditional_spline, made_context, made_network, refuse, residual_network, spline

VERSION = "0.14"


def is_model(flow):
    return isinstance(flow, Flow)


def convert(flow):
    """A Model of an nflows.flows.Flow. NotConvertible where a part has no exact counterpart."""
    refuse(not isinstance(flow._embedding_net, torch.nn.Identity), "_embedding_net", "has no counterpart: embed the "
           "context before it is sent, and convert the flow without the network")
    transforms = _flatten(flow._transform, "_transform")
    shape, context = _data_shape(flow), _context_of(transforms)
    model = Model(np.prod(shape), context, shape if len(shape) == 3 else None)
    for transform, where in transforms:
        _convert_transform(model, transform, where)
    _convert_base(model, flow._distribution)
    return model


def inverse(flow, x, context):
    """log p(x) and z of x, as the library computes them."""
    x = x.reshape(-1, *_data_shape(flow))
    return flow.log_prob(x, context), flow.transform_to_noise(x, context).flatten(1)


def forward(flow, z, context):
    """x of z, as the library computes it."""
    z = z.reshape(-1, *flow._distribution._shape)
    return flow._transform.inverse(z, context)[0].flatten(1)


def _flatten(transform, where):
    if isinstance(transform, nf.CompositeTransform):
        return [part for i, inner in enumerate(transform._transforms)
                for part in _flatten(inner, f"{where}._transforms[{i}]")]
    return [(transform, where)]


def _data_shape(flow):
    """Of a row of the data: (columns,), or (channels, height, width)."""
    shape = getattr(flow._distribution, "_shape", None)
    refuse(shape is None or len(shape) not in (1, 3), "_distribution",
           f"a distribution of shape {shape} is not one of rows or images")
    shape = tuple(shape)
    for transform, where in _flatten(flow._transform, "_transform"):
        if isinstance(transform, nf.SqueezeTransform):
            refuse(transform.factor != 2, where, f"squeezes by {transform.factor}; here it is 2")
            shape = (shape[0] // 4, 2 * shape[1], 2 * shape[2])
    return shape


def _context_of(transforms):
    contexts = {0}
    for transform, _ in transforms:
        if isinstance(transform, nf.coupling.CouplingTransform) and isinstance(transform.transform_net, ResidualNet):
            contexts.add(transform.transform_net.context_features or 0)
        if isinstance(transform, nf.autoregressive.AutoregressiveTransform):
            contexts.add(made_context(transform.autoregressive_net))
    return max(contexts)


def _convert_transform(model, transform, where):
    refuse(bool(model.image) and not isinstance(transform, _OF_IMAGES), where,
           f"{type(transform).__name__} of images has no exact counterpart")
    for kind, function in _CONVERTERS:
        if isinstance(transform, kind):
            return function(model, transform, where)
    raise NotConvertible(where, f"{type(transform).__name__} has no exact counterpart")


def _maf(model, transform, where):
    univariate = univariates.softplus_affine(transform._epsilon, scale=0, shift=1, direction="INVERSE")
    _add_autoregressive(model, transform, univariate, where)


def _spline_autoregressive(model, transform, where):
    _add_autoregressive(model, transform, spline(transform, transform.autoregressive_net, where), where)


def _add_autoregressive(model, transform, univariate, where):
    network, order = made_network(transform.autoregressive_net, univariate, f"{where}.autoregressive_net",
                                  nflows=True)
    model.add_autoregressive(order, univariate.spec, network)


def _transform_net(transform, where):
    net = transform.transform_net
    path = f"{where}.transform_net"
    if isinstance(net, ResidualNet):
        return residual_network(net, path)
    if isinstance(net, MLP):
        refuse(net._activate_output, path, "has an activation at its output")
        layers = [net._input_layer, *net._hidden_layers, net._output_layer]
        return Network([Linear.of(layer) for layer in layers], activation_name(net._activation, path))
    if isinstance(net, torch.nn.Sequential):
        return sequential_network(net, path)
    raise NotConvertible(path, f"{type(net).__name__} is no ResidualNet, MLP or torch.nn.Sequential")


def _add_coupling(model, transform, univariate, where, by_column=True):
    network = _transform_net(transform, where)
    transformed = transform.transform_features.tolist()
    if not by_column:
        network = _grouped_by_column(network, len(transformed))
    model.add_coupling(transformed, univariate.spec, network.with_parameters(univariate.parameters))
    if transform.unconditional_transform is not None:
        add_unconditional_spline(model, transform.unconditional_transform, transform.identity_features.tolist(),
                                 f"{where}.unconditional_transform")


def _grouped_by_column(network, columns):
    """A network whose outputs are grouped by parameter, with outputs grouped by column."""
    last = network.layers[-1]
    rows = np.arange(len(last.bias)).reshape(-1, columns).T.reshape(-1)
    layers = [*network.layers[:-1], Linear(last.weight[rows], last.bias[rows])]
    return Network(layers, network.activation, network.residual)


def _affine_coupling(model, transform, where):
    # exp(s) = sigmoid(raw + 2) + 0.001; the shifts come first.
    univariate = univariates.sigmoid_affine(1e-3, 2.0, scale=1, shift=0, direction="INVERSE")
    _add_coupling(model, transform, univariate, where, by_column=False)


def _additive_coupling(model, transform, where):
    _add_coupling(model, transform, univariates.shift(factor=-1.0), where)


def _spline_coupling(model, transform, where):
    _add_coupling(model, transform, spline(transform, transform.transform_net, where), where)


def _permutation(model, transform, where):
    refuse(transform._dim != 1, where, f"permutes dimension {transform._dim}, not the columns")
    model.add_permutation(transform._permutation.tolist())


def _actnorm(model, transform, where):
    # z = x exp(log_scale) + shift.
    log_scale, shift = to_numpy(transform.log_scale), to_numpy(transform.shift)
    add = model.add_channel_actnorm if model.image else model.add_actnorm
    add(-log_scale, -shift * np.exp(-log_scale), bool(transform.initialized))


def _batch_norm(model, transform, where):
    # In evaluation it is a fixed affine map.
    scale = to_numpy(transform.weight) / np.sqrt(to_numpy(transform.running_var) + transform.eps)
    model.add_affine_columns(scale, to_numpy(transform.bias) - scale * to_numpy(transform.running_mean))


def _householder(model, transform, where):
    count = len(transform.q_vectors)
    refuse(count % 2 == 1, where, f"has {count} reflections; here their number is even, so that they make a rotation")
    model.add("householder", {"reflections": count}, {"vectors": to_numpy(transform.q_vectors)})


def _fixed_affine(model, transform, where):
    model.add_affine_columns(to_numpy(transform._scale), to_numpy(transform._shift))


def _spline_cdf(model, transform, where):
    add_unconditional_spline(model, transform, list(range(model.features)), where)


def _one_by_one(model, transform, where):
    """z = L U P x + b at every pixel."""
    refuse(not model.image, where, "is for images, but _distribution is of rows")
    model.add_permutation(model.columns_of(to_numpy(transform.permutation._permutation).astype(int)))
    lower, upper = (to_numpy(part) for part in transform._create_lower_upper())
    model.add_channel_mixing(lower, upper, np.diag(upper), where)
    model.add_channel_actnorm(np.zeros(model.shape[0]), -to_numpy(transform.bias))


def _squeeze(model, transform, where):
    del transform, where
    model.add_squeeze()


def _identity(model, transform, where):
    del model, transform, where


# What is converted of flows of images.
_OF_IMAGES = (nf.OneByOneConvolution, nf.SqueezeTransform, nf.ActNorm, nf.IdentityTransform)

# The first kind that fits converts.
_CONVERTERS = [
    (nf.MaskedAffineAutoregressiveTransform, _maf),
    (nf.MaskedPiecewiseRationalQuadraticAutoregressiveTransform, _spline_autoregressive),
    (nf.AdditiveCouplingTransform, _additive_coupling),
    (nf.AffineCouplingTransform, _affine_coupling),
    (nf.PiecewiseRationalQuadraticCouplingTransform, _spline_coupling),
    (nf.PiecewiseRationalQuadraticCDF, _spline_cdf),
    (nf.Permutation, _permutation),
    (nf.OneByOneConvolution, _one_by_one),
    (nf.SqueezeTransform, _squeeze),
    (nf.LULinear, add_lu),
    (nf.HouseholderSequence, _householder),
    (nf.ActNorm, _actnorm),
    (nf.BatchNorm, _batch_norm),
    (nf.PointwiseAffineTransform, _fixed_affine),
    (nf.IdentityTransform, _identity),
]


def _convert_base(model, distribution):
    if isinstance(distribution, StandardNormal):
        return
    if isinstance(distribution, DiagonalNormal):
        mean, log_sigma = (to_numpy(part)[0].reshape(-1) for part in (distribution.mean_, distribution.log_std_))
        return model.set_diagonal_normal(mean, np.exp(log_sigma), "_distribution")
    raise NotConvertible("_distribution", f"{type(distribution).__name__} has no exact counterpart")
