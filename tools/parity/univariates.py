"""Univariate maps: their fields in a FlowSpec, and how a library's parameters become those of densityd.

A library's network puts out, per column, its own parameters in its own order. Each of ours is one of them times a
factor plus an offset, and since the last layer of a network is linear, that goes into its weights:
`Parameters.of_linear`.
"""

import dataclasses
import math

import numpy as np
import torch

from .errors import NotConvertible
from .model import inverse_softplus, to_numpy

# Of densityd's mixtures of normal components: the square of a component's scale at the start, and the bound on log s.
START_SQUARE = 0.5
_MAX_LOG_SCALE = 6.9
# What zuko's Gaussianization keeps away from 0 and 1, both together.
_LEFT_OUT = 1e-6
# Where no number of a flow comes.
_FAR = 1e5


@dataclasses.dataclass
class Parameters:
    """Our parameter p is factor[p] * theirs[source[p]] + offset[p]."""

    source: list
    factor: list
    offset: list

    def of_linear(self, weight, bias):
        """A last layer, rows grouped by column ((K * P, inputs) and (K * P)), in our parameters."""
        groups = len(bias) // self.their_count()
        rows = np.concatenate([np.array(self.source) + g * self.their_count() for g in range(groups)])
        factor = np.tile(self.factor, groups)
        return factor[:, None] * weight[rows], factor * bias[rows] + np.tile(self.offset, groups)

    def of_values(self, values):
        """Parameters themselves (K, P)."""
        return np.asarray(self.factor) * values[:, self.source] + np.asarray(self.offset)

    def their_count(self):
        return max(self.source) + 1


@dataclasses.dataclass
class Univariate:
    """`spec`: the message Univariate."""

    spec: dict
    parameters: Parameters

    def count(self):
        """P."""
        return len(self.parameters.source)

    def spec_of_circles(self, columns):
        """`spec` where of all columns only these are circles: parameters of zero then leave the others as they are."""
        (kind, fields), = self.spec.items()
        return {kind: fields | {"circular": [int(column) for column in columns]}} if "circular" in fields else self.spec


def shift(position=0, factor=1.0):
    """x = z + t, t = factor * theirs."""
    return Univariate({"shift": {}}, Parameters([position], [factor], [0.0]))


def affine(fields, scale, shift, scale_offset=0.0):  # pylint: disable=redefined-outer-name
    """`scale` and `shift`: positions of the raw scale and of the shift among the library's parameters."""
    return Univariate({"affine": fields}, Parameters([scale, shift], [1.0, 1.0], [scale_offset, 0.0]))


def softplus_affine(minimum, scale, shift, direction, reciprocal=False):  # pylint: disable=redefined-outer-name
    """g = minimum + softplus(theirs)."""
    fields = {"scale_function": "SOFTPLUS", "direction": direction, "min_scale": minimum,
              "reciprocal_scale": reciprocal}
    return affine(fields, scale, shift, -float(inverse_softplus(1 - minimum)))


def sigmoid_affine(minimum, offset, scale, shift, direction, reciprocal=False):  # pylint: disable=redefined-outer-name
    """g = minimum + sigmoid(theirs + offset), minimum > 0, so that 1 is a scale that it can have."""
    maximum = 1 + minimum
    fields = {"scale_function": "SIGMOID", "direction": direction, "min_scale": minimum, "max_scale": maximum,
              "reciprocal_scale": reciprocal}
    # Our sigmoid has the offset at which the raw scale 0 gives g = 1.
    return affine(fields, scale, shift, offset - math.log((1 - minimum) / (maximum - 1)))


def softplus_spline(bins, bound, min_width, min_height, min_slope, divisor=1.0):
    """Widths and heights: softmax(theirs / divisor); slopes: min_slope + softplus(theirs)."""
    fields = {"bins": bins, "bound": bound, "parameterization": "SOFTPLUS", "min_width": min_width,
              "min_height": min_height, "min_slope": min_slope}
    sizes, slopes = 2 * bins, bins - 1
    return Univariate({"rational_quadratic_spline": fields}, Parameters(
        list(range(sizes + slopes)), [1 / divisor] * sizes + [1.0] * slopes,
        [0.0] * sizes + [-float(inverse_softplus(1 - min_slope))] * slopes))


def soft_clip_spline(bins, bound, min_slope, circles=0):
    """As in zuko; the first `circles` columns, all that there are or none, are circles that a half turn comes before."""
    fields = {"bins": bins, "bound": bound, "parameterization": "SOFT_CLIP", "min_slope": min_slope}
    if circles:
        fields |= {"circular": list(range(circles)), "circle": "HALF_TURN"}
    count = 3 * bins - 1
    return Univariate({"rational_quadratic_spline": fields},
                      Parameters(list(range(count)), [1.0] * count, [0.0] * count))


def mixture_mean_starts(components):
    """The means that the raw parameters of a mixture of normal components are added to."""
    quantiles = to_numpy(torch.special.ndtri((torch.arange(components).double() + 0.5) / components))
    return quantiles * np.sqrt((1 - START_SQUARE) * components / (quantiles**2).sum())


def gaussianization(components):
    """zuko's z = Phi^-1(1/2 + (1 - 1e-6) (mean_k Phi(e^a_k x + b_k) - 1/2)), as a mixture: components of weight
    (1 - 1e-6) / K, and on either side one, far out, with the 5e-7 that is left."""
    return {"mixture_cdf": {"components": components + 2, "family": "NORMAL", "layers": 1,
                            "max_log_scale": _MAX_LOG_SCALE}}


def gaussianization_parameters(shift, scale, where):
    """Our parameters (D, 3 K + 6) from zuko's b and a (D, K)."""
    columns, count = shift.shape
    far = np.full((columns, 1), _FAR)
    weights = np.array([0.5 * _LEFT_OUT] + [(1 - _LEFT_OUT) / count] * count + [0.5 * _LEFT_OUT])
    means = np.hstack([-far, -shift * np.exp(-scale), far])
    # The far ones keep the scale that components start with.
    log_ratio = np.pad(-scale - 0.5 * math.log(START_SQUARE), ((0, 0), (1, 1)))
    if not (np.abs(log_ratio) < _MAX_LOG_SCALE).all():
        raise NotConvertible(where, f"a scale e^{scale.flat[np.abs(log_ratio[:, 1:-1]).argmax()]:.3g}; here a "
                             "component's width is within [0.0007, 700]")
    if not (np.abs(means[:, 1:-1]) < _FAR / 10).all():
        raise NotConvertible(where, f"a component's mean of {np.abs(means[:, 1:-1]).max():.3g}; the limit is "
                             f"{_FAR / 10:g}")
    return np.hstack([np.broadcast_to(np.log(weights), means.shape), means - mixture_mean_starts(count + 2),
                      _MAX_LOG_SCALE * np.arctanh(log_ratio / _MAX_LOG_SCALE)])
