"""Modules that nflows and normflows have in common, since both took them from the code of Durkan et al. 2019: MADE,
the residual network, rational-quadratic splines and LU layers."""

import math

import numpy as np

from . import univariates
from .errors import NotConvertible
from .made_context import with_context_first, with_context_in_blocks
from .model import to_numpy
from .networks import Linear, Network, activation_name, masked_network


def refuse(condition, where, why):
    """Raises NotConvertible where `condition` holds."""
    if condition:
        raise NotConvertible(where, why)


def _refuse_preprocessing(net, where):
    preprocessing = getattr(net, "preprocessing", None)
    refuse(preprocessing is not None and type(preprocessing).__name__ != "Identity", f"{where}.preprocessing",
           f"{type(preprocessing).__name__} has no exact counterpart")


def residual_network(net, where):
    """A dense ResidualNet as a Network."""
    _refuse_preprocessing(net, where)
    layers = [Linear.of(net.initial_layer)]
    activations = []
    for b, block in enumerate(net.blocks):
        path = f"{where}.blocks[{b}]"
        refuse(block.use_batch_norm, path, "has batch normalisation between its layers")
        refuse(hasattr(block, "context_layer"), path,
               "gates its output with the context (GLU); here the context enters a network beside the columns")
        layers += [Linear.of(linear) for linear in block.linear_layers]
        activations.append(activation_name(block.activation, path))
    refuse(not activations, where, "has no blocks")
    layers.append(Linear.of(net.final_layer))
    return Network(layers, activations[0], residual=True)


def made_context(made):
    """Size of a MADE's context; 0 for none."""
    return made.context_layer.in_features if hasattr(made, "context_layer") else 0


def _with_context(made, layers, residual, activation, where, nflows):
    refuse(not nflows, where, "gates its blocks with the context (GLU); here the context enters a network beside the "
           "columns")
    refuse(activation != "RELU", where, f"has a context and the activation {activation}: only through a ReLU does the "
           "context pass to where it is added")
    first_context = Linear.of(made.context_layer)
    if residual:
        return with_context_in_blocks(layers, first_context, [Linear.of(block.context_layer) for block in made.blocks])
    return with_context_first(layers, first_context)


def made_network(made, univariate, where, nflows):
    """A MADE as (Network, order) in our parameters and degrees. In nflows, an activation follows the first layer of a
    network without residual blocks; in normflows it does not."""
    _refuse_preprocessing(made, where)
    layers = [Linear.of(made.initial_layer)]
    residual = [hasattr(block, "linear_layers") for block in made.blocks]
    activations = []
    for b, block in enumerate(made.blocks):
        path = f"{where}.blocks[{b}]"
        refuse(bool(getattr(block, "batch_norm", None)) or getattr(block, "use_batch_norm", False), path,
               "has batch normalisation between its layers")
        layers += [Linear.of(linear) for linear in (block.linear_layers if residual[b] else [block.linear])]
        activations.append(activation_name(block.activation, path))
    refuse(not activations, where, "has no blocks")
    if not residual[0] and not nflows:
        first, second, *rest = layers
        mask = second.mask.astype(int) @ first.mask.astype(int) > 0
        layers = [Linear(second.weight @ first.weight, second.weight @ first.bias + second.bias, mask), *rest]
    layers.append(Linear.of(made.final_layer))
    context = made_context(made)
    if context:
        layers = _with_context(made, layers, residual[0], activations[0], where, nflows)

    features = made.initial_layer.in_features
    degrees = made.final_layer.degrees.cpu().numpy()[:: len(made.final_layer.degrees) // features]
    order = np.argsort(degrees, kind="stable")
    network = Network(layers, activations[0], residual=residual[0]).with_parameters(univariate.parameters)
    return masked_network(network, order, context, where), order


def spline(owner, net, where):
    """The univariate of a transform with num_bins, tails, tail_bound and minimums, whose parameters come from `net`:
    widths and heights are divided by the root of its width where it says that it has one. `net` may be None."""
    refuse(owner.tails != "linear", where,
           f"tails={owner.tails!r}: only linear tails have an exact counterpart (a column's own interval has none)")
    bound = owner.tail_bound
    refuse(hasattr(bound, "dim") and bound.dim() > 0, f"{where}.tail_bound", "differs from column to column")
    width = getattr(net, "hidden_features", None) or getattr(net, "hidden_channels", None)
    return univariates.softplus_spline(_bins(owner), float(bound), owner.min_bin_width, owner.min_bin_height,
                                       owner.min_derivative, divisor=math.sqrt(width) if width else 1.0)


def _bins(owner):
    return owner.num_bins if hasattr(owner, "num_bins") else owner.unnormalized_widths.shape[-1]


def add_unconditional_spline(model, transform, columns, where):
    """A PiecewiseRationalQuadraticCDF of some columns; the others stay as they are."""
    univariate = spline(transform, None, where)
    values = np.concatenate([to_numpy(part) for part in (transform.unnormalized_widths, transform.unnormalized_heights,
                                                         transform.unnormalized_derivatives)], axis=1)
    theta = np.zeros((model.features, univariate.count()))
    theta[columns] = univariate.parameters.of_values(values)
    model.add_elementwise(univariate.spec, theta)


def add_lu(model, linear, where):
    """z = L U x + b."""
    lower, upper = linear._create_lower_upper()  # pylint: disable=protected-access
    model.add_lu(to_numpy(lower), to_numpy(upper), to_numpy(linear.upper_diag), to_numpy(linear.bias), where)
