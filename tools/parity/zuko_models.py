"""zuko (1.6): NICE, RealNVP, MAF, NSF, NCSF, GF, CNF, and flows composed of their transforms.

zuko's transforms map data to base, in the order of the list; their univariate maps are written in that direction, too.
"""

import contextlib
import dataclasses
import functools
import math

import numpy as np
import torch
import torch.distributions.transforms as torch_transforms
import zuko
from zuko.flows.continuous import FFJTransform
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.flows.gaussianization import ElementWiseTransform
from zuko.flows.spline import CircularRQSTransform
from zuko.lazy import Flow, LazyComposedTransform, LazyInverse, UnconditionalDistribution, UnconditionalTransform
from zuko.nn import Residual

from . import univariates
from .errors import NotConvertible
from .model import Model, to_numpy
from .networks import Linear, Network, activation_name, masked_network, sequential_network

VERSION = "1.6.0"
# Two of the 64 components that a mixture may have are those at the ends.
_MAX_GAUSSIANIZATION = 62


def is_model(flow):
    return isinstance(flow, Flow)


def convert(flow):
    """A Model of a zuko.lazy.Flow. NotConvertible where a part has no exact counterpart."""
    transforms = _flatten(flow.transform, "transform")
    model = Model(*_shape_of(flow, transforms))
    for transform, where in transforms:
        _convert_transform(model, transform, where)
    _convert_base(model, flow.base)
    return model


def inverse(flow, x, context):
    """log p(x) and z of x, as the library computes them."""
    distribution = flow(context)
    return distribution.log_prob(x), distribution.transform(x)


def forward(flow, z, context):
    """x of z, as the library computes it."""
    return flow(context).transform.inv(z)


@contextlib.contextmanager
def precisely(flow):
    """Within it the library solves differential equations as far as float64 goes."""
    solved = [module for module in flow.modules() if isinstance(module, FFJTransform)]
    before = [(module.atol, module.rtol, module.exact) for module in solved]
    for module in solved:
        module.atol, module.rtol, module.exact = 1e-12, 1e-12, True
    try:
        yield
    finally:
        for module, (atol, rtol, exact) in zip(solved, before):
            module.atol, module.rtol, module.exact = atol, rtol, exact


def _flatten(transform, where):
    if isinstance(transform, LazyComposedTransform):
        return [part for i, inner in enumerate(transform.transforms)
                for part in _flatten(inner, f"{where}.transforms[{i}]")]
    return [(transform, where)]


def _features_and_context(transform):
    if isinstance(transform, MaskedAutoregressiveTransform):
        features = transform.hyper.out_features // transform.total
        return features, transform.hyper.in_features - features
    if isinstance(transform, GeneralCouplingTransform):
        passed = int(transform.mask.sum())
        return len(transform.mask), transform.hyper.in_features - passed
    if isinstance(transform, FFJTransform):
        features = transform.ode.out_features
        return features, transform.ode.in_features - features - 2 * len(transform.freqs)
    if isinstance(transform, ElementWiseTransform):
        if hasattr(transform, "phi"):
            return transform.phi[0].shape[0], None
        return transform.hyper.out_features // transform.total, transform.hyper.in_features
    return None, None


def _shape_of(flow, transforms):
    features = flow.base().event_shape[0]
    contexts = {context for transform, _ in transforms if (context := _features_and_context(transform)[1]) is not None}
    if len(contexts) > 1 and contexts != {0}:
        # A flow without context in one transform and with it in another cannot be called with either.
        raise NotConvertible("transform", f"its transforms take contexts of different sizes: {sorted(contexts)}")
    return features, contexts.pop() if contexts else 0


def _keywords(univariate):
    """A constructor and its keyword arguments."""
    if isinstance(univariate, functools.partial) and not univariate.args:
        function, keywords = _keywords(univariate.func)
        return function, {**keywords, **univariate.keywords}
    return univariate, {}


def _univariate(transform, where):
    """The univariates.Univariate of a transform."""
    function, keywords = _keywords(transform.univariate)
    shapes = [tuple(shape) for shape in transform.shapes]
    slope = keywords.pop("slope", 1e-3)
    if function is zuko.transforms.MonotonicAffineTransform and shapes == [(), ()] and not keywords:
        fields = {"scale_function": "SOFT_CLIP", "max_log_scale": -math.log(slope), "direction": "INVERSE"}
        return univariates.affine(fields, scale=1, shift=0)
    if function is zuko.transforms.AdditiveTransform and shapes == [()] and not keywords:
        return univariates.shift(factor=-1.0)
    if function is zuko.transforms.MonotonicRQSTransform and len(shapes) == 3:
        bound = keywords.pop("bound", 5.0)
        bins = shapes[0][0]
        if not keywords and shapes == [(bins,), (bins,), (bins - 1,)]:
            return univariates.soft_clip_spline(bins, bound, slope)
    if function is CircularRQSTransform and len(shapes) == 3:
        bins = shapes[0][0]
        if not keywords and shapes == [(bins,), (bins,), (bins - 1,)]:
            return univariates.soft_clip_spline(bins, math.pi, slope, circles=_features_and_context(transform)[0])
    raise NotConvertible(f"{where}.univariate", f"{getattr(function, '__name__', function)} with shapes {shapes} and "
                                                f"options {keywords} has no exact counterpart")


def _convert_transform(model, transform, where):
    if isinstance(transform, MaskedAutoregressiveTransform):
        return _convert_autoregressive(model, transform, where)
    if isinstance(transform, GeneralCouplingTransform):
        univariate = _univariate(transform, where)
        network = sequential_network(transform.hyper, f"{where}.hyper").with_parameters(univariate.parameters)
        transformed = np.flatnonzero(~transform.mask.numpy())
        return model.add_coupling(transformed, univariate.spec, network)
    if isinstance(transform, ElementWiseTransform):
        return _convert_elementwise(model, transform, where)
    if isinstance(transform, FFJTransform):
        return _convert_continuous(model, transform, where)
    if isinstance(transform, UnconditionalTransform):
        return _convert_fixed(model, transform, where)
    if isinstance(transform, LazyInverse) and isinstance(transform.transform, UnconditionalTransform):
        return _convert_fixed_inverse(model, transform.transform, where)
    raise NotConvertible(where, f"{type(transform).__name__} has no exact counterpart")


def _convert_continuous(model, transform, where):
    network = sequential_network(transform.ode, f"{where}.ode")
    if network.activation in ("RELU", "LEAKY_RELU"):
        raise NotConvertible(f"{where}.ode", f"a velocity has to be smooth, and {network.activation} is not")
    frequencies = len(transform.freqs)
    if to_numpy(transform.times).tolist() != [0, 1]:
        raise NotConvertible(f"{where}.times", "a solution from another time than 0, or to another one than 1")
    if not np.allclose(to_numpy(transform.freqs), math.pi * np.arange(1, frequencies + 1), rtol=1e-6):
        raise NotConvertible(f"{where}.freqs", "frequencies of the time that are not pi, 2 pi, …")
    first = network.layers[0]
    # The library's inputs are the time, the columns, the context; here the columns come first. Without frequencies it
    # does not see the time at all.
    times, columns = first.weight[:, :2 * frequencies], first.weight[:, 2 * frequencies:]
    if frequencies == 0:
        times = np.zeros((len(first.bias), 1))
    weight = np.hstack([columns[:, :model.features], times, columns[:, model.features:]])
    network = dataclasses.replace(network, layers=[Linear(weight, first.bias), *network.layers[1:]])
    tolerances = [min(max(tolerance, 1e-12), 0.1) for tolerance in (transform.atol, transform.rtol)]
    model.add_continuous(network, frequencies, *tolerances)


def _convert_gaussianization(model, transform, where):
    _, keywords = _keywords(transform.univariate)
    components = transform.shapes[0][0]
    # `bound` and `eps` say how the library inverts it.
    if set(keywords) - {"bound", "eps"} or [tuple(shape) for shape in transform.shapes] != [(components,)] * 2:
        raise NotConvertible(f"{where}.univariate", f"options {keywords}, shapes {transform.shapes}")
    if not hasattr(transform, "phi"):
        raise NotConvertible(where, "with a context its scales are exponentials of what a network says; here they are "
                             "bounded")
    if components > _MAX_GAUSSIANIZATION:
        raise NotConvertible(where, f"{components} components; the limit is {_MAX_GAUSSIANIZATION}")
    shift, scale = (to_numpy(phi) for phi in transform.phi)
    model.add_elementwise(univariates.gaussianization(components),
                          univariates.gaussianization_parameters(shift, scale, where))


def _convert_elementwise(model, transform, where):
    if _keywords(transform.univariate)[0] is zuko.transforms.GaussianizationTransform:
        return _convert_gaussianization(model, transform, where)
    univariate = _univariate(transform, where)
    if hasattr(transform, "phi"):
        values = np.concatenate([to_numpy(phi).reshape(model.features, -1) for phi in transform.phi], axis=1)
        model.add_elementwise(univariate.spec, univariate.parameters.of_values(values))
    else:
        network = sequential_network(transform.hyper, f"{where}.hyper")
        model.add_conditional_elementwise(univariate.spec, network.with_parameters(univariate.parameters))


def _order(adjacency, where):
    """Columns so that each depends on earlier ones only. adjacency[i, j]: column i depends on column j."""
    order, left = [], list(range(len(adjacency)))
    while left:
        ready = [i for i in left if not adjacency[i, [j for j in left if j != i]].any()]
        if not ready:
            raise NotConvertible(where, "its adjacency matrix has a cycle")
        order += ready
        left = [i for i in left if i not in ready]
    return np.array(order)


def _convert_autoregressive(model, transform, where):
    univariate = _univariate(transform, where)
    if any(isinstance(module, Residual) for module in transform.hyper):
        network = _residual_network(transform.hyper, f"{where}.hyper")
    else:
        network = sequential_network(transform.hyper, f"{where}.hyper")
    network = network.with_parameters(univariate.parameters)
    adjacency = _adjacency(network)[:: univariate.count(), : model.features]
    order = _order(adjacency, where)
    conditional = adjacency.any(axis=1)
    passed = ~conditional
    if conditional.any() and not adjacency[:, conditional].any() and not network.residual:
        # Two passes: a coupling, and columns that are mapped on their own. The coupling reads them as they were.
        return _convert_two_passes(model, univariate, network, np.flatnonzero(passed), np.flatnonzero(conditional))
    model.add_autoregressive(order, univariate.spec, masked_network(network, order, model.context, f"{where}.hyper"))


def _residual_network(hyper, where):
    """Blocks here begin with an activation, and zuko's do not. A ReLU lets numbers pass as h = relu(h) - relu(-h), so
    that units that hold h and -h make one of the other."""
    first, *blocks, last = hyper
    activations = set()
    for b, block in enumerate(blocks):
        if not isinstance(block, Residual):
            raise NotConvertible(f"{where}[{b + 1}]", "residual=True with layers of different widths")
        activations.add(activation_name(block[1], f"{where}[{b + 1}][1]"))
    if activations != {"RELU"}:
        raise NotConvertible(where, f"residual=True with the activation {', '.join(activations)}: its blocks do not "
                             "begin with an activation, those here do, and only a ReLU lets the numbers pass")
    layers = [_both_signs(Linear.of(first), rows=True)]
    for block in blocks:
        layers += [_both_signs(Linear.of(block[0]), columns=True), _both_signs(Linear.of(block[2]), rows=True)]
    last = Linear.of(last)
    unused = np.zeros_like(last.weight)
    layers.append(Linear(np.hstack([last.weight, unused]), last.bias, np.hstack([last.mask, unused != 0])))
    return Network(layers, "RELU", residual=True)


def _both_signs(layer, rows=False, columns=False):
    """Outputs (rows), or inputs (columns), and their negatives."""
    weight, bias, mask = layer.weight, layer.bias, layer.mask
    if rows:
        weight, bias, mask = np.vstack([weight, -weight]), np.concatenate([bias, -bias]), np.vstack([mask, mask])
    if columns:
        weight, mask = np.hstack([weight, -weight]), np.hstack([mask, mask])
    return Linear(weight, bias, mask)


def _adjacency(network):
    """Which output depends on which input, by the masks: (outputs, inputs)."""
    first, *rest = network.layers
    depends = first.mask
    if network.residual:
        *blocks, rest = rest
        for inner, outer in zip(blocks[::2], blocks[1::2]):
            depends = depends | (outer.mask.astype(int) @ inner.mask.astype(int) @ depends.astype(int) > 0)
        rest = [rest]
    for layer in rest:
        depends = layer.mask.astype(int) @ depends.astype(int) > 0
    return depends


def _convert_two_passes(model, univariate, network, passed, transformed):
    count = univariate.count()
    rows = np.concatenate([np.arange(count) + column * count for column in transformed])
    inputs = np.concatenate([passed, np.arange(model.features, model.features + model.context)])
    layers = [type(layer)(layer.weight, layer.bias) for layer in network.layers]
    last = layers[-1]
    # The masks leave no weight from a transformed column.
    layers[0] = type(last)(layers[0].weight[:, inputs], layers[0].bias)
    layers[-1] = type(last)(last.weight[rows], last.bias[rows])
    model.add_coupling(transformed, univariate.spec, type(network)(layers, network.activation))
    if model.context:
        # Their parameters depend on the context: a coupling in the other direction would read columns that it must not.
        rest = _conditional_on_context(model, network, passed, count)
        model.add_conditional_elementwise(univariate.spec_of_circles(passed), rest)
        return
    theta = np.zeros((model.features, count))
    for column in passed:
        # Without inputs, every hidden unit that reaches these outputs is a constant; the masks allow none.
        theta[column] = last.bias[column * count:(column + 1) * count]
    model.add_elementwise(univariate.spec_of_circles(passed), theta)


def _conditional_on_context(model, network, passed, count):
    """The network from the context to the parameters of `passed`; zeros, the identity, for the other columns."""
    layers = [type(layer)(layer.weight, layer.bias) for layer in network.layers]
    first, last = layers[0], layers[-1]
    layers[0] = type(first)(first.weight[:, model.features:], first.bias)
    kept = np.isin(np.arange(len(last.bias)) // count, passed)
    layers[-1] = type(last)(last.weight * kept[:, None], last.bias * kept)
    return type(network)(layers, network.activation)


def _convert_fixed(model, transform, where):
    """z = f(x) without learnt networks."""
    made = transform()
    if isinstance(made, zuko.transforms.PermutationTransform):
        return model.add_permutation(made.order.tolist())
    if isinstance(made, zuko.transforms.LULinearTransform):
        lower, upper = to_numpy(made.L), to_numpy(made.U)
        return _add_lu(model, lower, upper, where)
    if isinstance(made, zuko.transforms.RotationTransform):
        # R = exp(A - A^T); the transform keeps R alone.
        matrix = to_numpy(transform.A)
        return model.add_rotation(matrix - matrix.T)
    if isinstance(made, torch_transforms.AffineTransform):
        scale = np.broadcast_to(to_numpy(_tensor(made.scale)), model.features)
        if not (scale > 0).all():
            raise NotConvertible(where, "an AffineTransform with a scale that is not positive")
        return model.add_affine_columns(scale, np.broadcast_to(to_numpy(_tensor(made.loc)), model.features))
    if isinstance(made, torch_transforms.ExpTransform):
        return model.add("bijection", {"kind": "LOG"})
    if isinstance(made, torch_transforms.SigmoidTransform):
        return model.add("bijection", {"kind": "LOGIT"})
    raise NotConvertible(where, f"{type(made).__name__} has no exact counterpart")


def _convert_fixed_inverse(model, transform, where):
    """x = f(z)."""
    made = transform()
    kinds = {torch_transforms.ExpTransform: "EXP", torch_transforms.SigmoidTransform: "SIGMOID",
             torch_transforms.TanhTransform: "TANH", torch_transforms.SoftplusTransform: "SOFTPLUS"}
    if type(made) not in kinds:
        raise NotConvertible(where, f"the inverse of {type(made).__name__} has no exact counterpart")
    model.add("bijection", {"kind": kinds[type(made)]})


def _tensor(number):
    return torch.as_tensor(number, dtype=torch.float64)


def _add_lu(model, lower, upper, where):
    """z = L U x with L's diagonal free and U's one; here it is the other way round, and positive."""
    diagonal = np.diag(lower)
    sign = np.sign(diagonal)
    if (sign == 0).any():
        raise NotConvertible(where, "its matrix is singular")
    # L U = S (S L D^-1 S) (|D| U) with D the diagonal and S its signs.
    unit_lower = sign[:, None] * (lower / diagonal[None, :]) * sign[None, :]
    scaled_upper = np.abs(diagonal)[:, None] * upper
    model.add_lu(unit_lower, scaled_upper, np.abs(diagonal), np.zeros(model.features), where)
    if (sign < 0).any():
        model.add("bijection", {"kind": "AFFINE", "scale": -1.0, "columns": np.flatnonzero(sign < 0).tolist()})


def _convert_base(model, base):
    if not isinstance(base, UnconditionalDistribution):
        raise NotConvertible("base", f"{type(base).__name__} has no exact counterpart")
    made = base()
    if isinstance(made, zuko.distributions.BoxUniform):
        return model.set_uniform_box(to_numpy(made.base_dist.low), to_numpy(made.base_dist.high), "base")
    if not isinstance(made, zuko.distributions.DiagNormal):
        raise NotConvertible("base", f"{type(made).__name__} has no exact counterpart")
    model.set_diagonal_normal(to_numpy(made.base_dist.loc), to_numpy(made.base_dist.scale), "base")
