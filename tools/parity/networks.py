"""Networks of the libraries as conditioners of a FlowSpec: dense and masked, plain and residual."""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from .errors import NotConvertible
from .model import to_numpy

_MAX_WIDTH = 8192

_FUNCTIONS = {
    F.relu: "RELU", torch.relu: "RELU", F.tanh: "TANH", torch.tanh: "TANH", torch.nn.functional.gelu: "GELU",
    F.silu: "SILU", F.leaky_relu: "LEAKY_RELU", F.elu: "ELU",
}


def activation_name(activation, where):
    """The name in a FlowSpec of an activation: a function, or a module."""
    if not isinstance(activation, torch.nn.Module):
        try:
            return _FUNCTIONS[activation]
        except (KeyError, TypeError):
            known = sorted(set(_FUNCTIONS.values()))
            raise NotConvertible(where, f"the activation {activation!r} is not one of {known}") from None
    plain = {torch.nn.ReLU: "RELU", torch.nn.Tanh: "TANH", torch.nn.SiLU: "SILU"}
    kind = type(activation)
    if kind in plain:
        return plain[kind]
    if kind is torch.nn.GELU and activation.approximate == "none":
        return "GELU"
    if kind is torch.nn.ELU and activation.alpha == 1:
        return "ELU"
    if kind is torch.nn.LeakyReLU and activation.negative_slope in (0, 0.01):
        return "RELU" if activation.negative_slope == 0 else "LEAKY_RELU"
    raise NotConvertible(where, f"the activation {activation} is not one of {sorted(set(_FUNCTIONS.values()))}, "
                                "with the constants of their definitions")


@dataclasses.dataclass
class Linear:
    """y = weight x + bias. `mask`: where the weight may differ from zero; None: everywhere."""

    weight: np.ndarray
    bias: np.ndarray
    mask: np.ndarray = None

    @classmethod
    def of(cls, module):
        """Of a torch.nn.Linear, or one with a buffer `mask`."""
        weight = to_numpy(module.weight)
        bias = np.zeros(weight.shape[0]) if module.bias is None else to_numpy(module.bias)
        mask = getattr(module, "mask", None)
        if mask is None:
            return cls(weight, bias)
        mask = to_numpy(mask) != 0
        return cls(weight * mask, bias, mask)


def _residual_names(layers):
    blocks = range((len(layers) - 2) // 2)
    return ["input", *(f"blocks.{b}.{k}" for b in blocks for k in (0, 1)), "output"]


def _named(layers, names, prefix):
    return {f"{prefix}{name}.{part}": values for name, layer in zip(names, layers)
            for part, values in (("weight", layer.weight), ("bias", layer.bias))}


@dataclasses.dataclass
class Network:
    """A conditioner. Plain: linear, activation, …, linear. Residual: input, two per block, output."""

    layers: list
    activation: str
    residual: bool = False

    def spec(self):
        """The message Conditioner."""
        if self.residual:
            return {"residual_mlp": {"hidden": len(self.layers[0].bias), "blocks": (len(self.layers) - 2) // 2,
                                     "activation": self.activation}}
        return {"mlp": {"hidden": [len(layer.bias) for layer in self.layers[:-1]], "activation": self.activation}}

    def tensors(self, prefix):
        names = _residual_names(self.layers) if self.residual else [str(k) for k in range(len(self.layers))]
        return _named(self.layers, names, prefix)

    def with_parameters(self, parameters):
        """Its outputs, grouped by column, in our parameters (univariates.Parameters)."""
        last = self.layers[-1]
        weight, bias = parameters.of_linear(last.weight, last.bias)
        mask = None
        if last.mask is not None:
            mask = parameters.of_linear(last.mask.astype(np.float64), last.bias)[0] != 0
        return dataclasses.replace(self, layers=[*self.layers[:-1], Linear(weight, bias, mask)])


@dataclasses.dataclass
class ConvNetwork:
    """A ConvResNet: input, two per block, output; their weights are (outputs, inputs, size, size), and are stored as
    (outputs, inputs * size * size)."""

    layers: list
    activation: str

    @classmethod
    def of_sequence(cls, modules, where):
        """Of three convolutions, 3 x 3, 1 x 1 and 3 x 3, with ReLUs between them (Glow): h -> W2 relu(h) becomes a
        block that reads some channels and writes others. It looks through the ReLU of its first convolution, which a second
        ReLU leaves alone."""
        convolutions = [module for module in modules if isinstance(module, torch.nn.Conv2d)]
        activations = [activation_name(module, where) for module in modules if not isinstance(module, torch.nn.Conv2d)]
        sizes = [(module.kernel_size, module.padding, module.bias is None) for module in convolutions]
        expected = [((size, size), (size // 2, size // 2), False) for size in (3, 1, 3)]
        if sizes != expected or len(modules) != 5:
            raise NotConvertible(where, "is not three convolutions, 3 x 3, 1 x 1 and 3 x 3, with biases and borders of "
                                 "zeros, and activations between them")
        if activations != ["RELU", "RELU"]:
            raise NotConvertible(where, f"has the activations {activations}; only ReLU lets its middle layer become a "
                                 "block")
        first, middle, last = (Linear(to_numpy(module.weight), to_numpy(module.bias)) for module in convolutions)
        read, write = len(first.bias), len(middle.bias)

        def place(layer, rows, columns, shape):
            weight, bias = np.zeros((*shape, *layer.weight.shape[2:])), np.zeros(shape[0])
            weight[rows, columns], bias[rows] = layer.weight, layer.bias
            return Linear(weight, bias)

        width, old, new, everything = read + write, slice(0, read), slice(read, read + write), slice(None)
        same = np.zeros((read, read, 3, 3))
        same[:, :, 1, 1] = np.eye(read)
        return cls([
            place(first, old, everything, (width, first.weight.shape[1])),
            place(Linear(same, np.zeros(read)), old, old, (width, width)),
            place(middle, new, old, (width, width)),
            place(last, everything, new, (len(last.bias), width)),
        ], "RELU")

    def spec(self):
        return {"conv_resnet": {"channels": len(self.layers[0].bias), "blocks": (len(self.layers) - 2) // 2,
                                "activation": self.activation}}

    def tensors(self, prefix):
        flat = [Linear(layer.weight.reshape(len(layer.bias), -1), layer.bias) for layer in self.layers]
        return _named(flat, _residual_names(flat), prefix)

    def with_parameters(self, parameters):
        """Its outputs, grouped by channel, in our parameters (univariates.Parameters)."""
        last = self.layers[-1]
        weight, bias = parameters.of_linear(last.weight.reshape(len(last.bias), -1), last.bias)
        weight = weight.reshape(len(bias), *last.weight.shape[1:])
        return dataclasses.replace(self, layers=[*self.layers[:-1], Linear(weight, bias)])


def sequential_network(modules, where):
    """Of modules that follow each other: linear, activation, …, linear. Dropout, which acts in training, is left out."""
    layers, activations = [], []
    for index, module in enumerate(modules):
        if isinstance(module, torch.nn.Dropout):
            continue
        if hasattr(module, "weight") and hasattr(module, "in_features"):
            if module.weight.dim() != 2:
                raise NotConvertible(f"{where}[{index}]", "a stack of linear layers")
            if len(layers) != len(activations):
                raise NotConvertible(f"{where}[{index}]", "two linear layers without an activation between them")
            layers.append(Linear.of(module))
        else:
            if len(layers) != len(activations) + 1:
                raise NotConvertible(f"{where}[{index}]",
                                     f"{type(module).__name__} does not stand behind a linear layer")
            activations.append(activation_name(module, f"{where}[{index}]"))
    if len(layers) != len(activations) + 1 or len(layers) < 2:
        raise NotConvertible(where, "is not linear, activation, …, linear with a hidden layer")
    if len(set(activations)) > 1:
        raise NotConvertible(where, f"has different activations: {', '.join(activations)}")
    return Network(layers, activations[0])


def hidden_degrees(width, features, has_context):
    """Degrees of hidden units, as server/flow/made_degrees.h gives them; `width` is a multiple of their number."""
    lowest = 0 if has_context or features == 1 else 1
    count = features - lowest
    return lowest + np.arange(width) * count // width


def _reach(layer, degrees, lowest):
    """Degree of each output of a masked layer: the highest among the inputs that it may depend on."""
    mask = np.ones_like(layer.weight, dtype=bool) if layer.mask is None else layer.mask
    return np.maximum(np.where(mask, degrees[None, :], lowest).max(axis=1, initial=lowest), lowest)


class _Slots:
    """Places of hidden units of given degrees among those of a layer of ours, which has equally many of each degree."""

    def __init__(self, degrees, per_degree, lowest):
        taken = {}
        self.positions = np.empty(len(degrees), dtype=int)
        for unit, degree in enumerate(degrees):
            rank = taken.get(degree, 0)
            taken[degree] = rank + 1
            self.positions[unit] = (degree - lowest) * per_degree + rank

    @staticmethod
    def needed(degrees):
        """Units of the most frequent degree."""
        return int(np.unique(degrees, return_counts=True)[1].max())


def masked_network(network, order, context, where):
    """The same network with its hidden units sorted into densityd's fixed degrees.

    `network`: inputs are the D columns, then the context; outputs are grouped by column. Its masks may be any that
    respect `order`. A hidden unit moves to a place of the degree that its inputs give it; places that are left over are
    units without weights, which change nothing.
    """
    features = len(order)
    lowest = 0 if context or features == 1 else 1
    count = features - lowest
    input_degrees = np.zeros(features + context, dtype=int)
    input_degrees[order] = np.arange(features) + 1
    layers = network.layers

    # Degrees of the units behind every layer but the last.
    if network.residual:
        skip = _reach(layers[0], input_degrees, lowest)
        changed = True
        while changed:
            before = skip
            for block in range(1, len(layers) - 1, 2):
                skip = np.maximum(skip, _reach(layers[block + 1], _reach(layers[block], skip, lowest), lowest))
            changed = (skip != before).any()
        degrees = [skip]
        for block in range(1, len(layers) - 1, 2):
            degrees += [_reach(layers[block], skip, lowest), skip]
    else:
        degrees, before = [], input_degrees
        for layer in layers[:-1]:
            before = _reach(layer, before, lowest)
            degrees.append(before)
    for k, of_layer in enumerate(degrees):
        if of_layer.max() >= features:
            raise NotConvertible(f"{where}, layer {k}", "a hidden unit depends on every column")

    needed = [_Slots.needed(of_layer) for of_layer in degrees]
    if network.residual:
        needed = [max(needed)] * len(needed)
    for k, per_degree in enumerate(needed):
        if per_degree * count > _MAX_WIDTH:
            raise NotConvertible(f"{where}, layer {k}",
                                 f"needs {per_degree * count} hidden units; the limit is {_MAX_WIDTH}")

    outputs = len(layers[-1].bias)
    input_slots = np.arange(features + context)
    sorted_layers = []
    for k, layer in enumerate(layers):
        last = k + 1 == len(layers)
        slots = np.arange(outputs) if last else _Slots(degrees[k], needed[k], lowest).positions
        units = outputs if last else needed[k] * count
        inputs = len(input_slots) if k == 0 else needed[k - 1] * count
        weight, bias = np.zeros((units, inputs)), np.zeros(units)
        weight[np.ix_(slots, input_slots)] = layer.weight
        bias[slots] = layer.bias
        sorted_layers.append(Linear(weight, bias))
        input_slots = slots
    _check_masks(sorted_layers, order, context, where)
    return dataclasses.replace(network, layers=sorted_layers)


def _check_masks(layers, order, context, where):
    """No weight stands where densityd's mask is zero."""
    features = len(order)
    degrees = np.zeros(features + context, dtype=int)
    degrees[order] = np.arange(features) + 1
    per_column = len(layers[-1].bias) // features
    output_degrees = np.empty(features, dtype=int)
    output_degrees[order] = np.arange(features)
    for k, layer in enumerate(layers):
        last = k + 1 == len(layers)
        to = np.repeat(output_degrees, per_column) if last else hidden_degrees(len(layer.bias), features, context > 0)
        if (layer.weight[degrees[None, :] > to[:, None]] != 0).any():
            raise NotConvertible(f"{where}, layer {k}", "a column depends on one that comes later in the order")
        degrees = to
