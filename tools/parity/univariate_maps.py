"""The univariate maps of proto/density/v1/flow_spec.proto from data to base, in float64, written anew for `check`.

Rows are (N, K) for K columns, their parameters (N, K, P).
"""

import math

import numpy as np
import torch

from .model import to_numpy
from .univariates import START_SQUARE, mixture_mean_starts


def softplus(a):
    return np.logaddexp(0, a)


def sigmoid(a):
    return np.exp(-softplus(-a))


def _clip(a, c):
    return a / (1 + np.abs(a) / c)


ACTIVATIONS = {
    "RELU": lambda a: np.maximum(a, 0), "TANH": np.tanh, "SILU": lambda a: a * sigmoid(a),
    "GELU": lambda a: to_numpy(torch.nn.functional.gelu(torch.from_numpy(a))),
    "LEAKY_RELU": lambda a: np.where(a >= 0, a, 0.01 * a),
    "ELU": lambda a: np.where(a >= 0, a, np.expm1(np.minimum(a, 0))),
}


# z and log dz/dx of x.
INVERSE_BIJECTIONS = {
    "AFFINE": lambda x, fields: (x / fields["scale"], -np.log(abs(fields["scale"]))),
    "EXP": lambda x, _: (np.log(x), -np.log(x)),
    "LOG": lambda x, _: (np.exp(x), x),
    "SIGMOID": lambda x, _: (np.log(x) - np.log1p(-x), -np.log(x) - np.log1p(-x)),
    "LOGIT": lambda x, _: (sigmoid(x), -softplus(x) - softplus(-x)),
    "SOFTPLUS": lambda x, _: (x + np.log(-np.expm1(-x)), -np.log(-np.expm1(-x))),
    "TANH": lambda x, _: (np.arctanh(x), -np.log1p(-x**2)),
}


def _log_scale(fields, a):
    function = fields.get("scale_function", "TANH")
    c, least = fields.get("max_log_scale", 3.0), fields.get("min_scale", 1e-3)
    if function == "TANH":
        log_scale = c * np.tanh(a / c)
    elif function == "SOFT_CLIP":
        log_scale = _clip(a, c)
    elif function == "EXP":
        log_scale = a
    elif function == "SOFTPLUS":
        log_scale = np.log(least + softplus(a + np.log(np.expm1(1 - least))))
    else:
        span = fields.get("max_scale", 2.0) - least
        log_scale = np.log(least + span * sigmoid(a - np.log(span / (1 - least) - 1)))
    return -log_scale if fields.get("reciprocal_scale") else log_scale


def _inverse_spline(fields, x, theta, columns):
    """z and log dz/dx of the columns x (N, K) with theta (N, K, 3 bins - 1)."""
    bins, bound, slope = fields["bins"], fields["bound"], fields["min_slope"]
    clipped = fields["parameterization"] == "SOFT_CLIP"

    def knots(raw, minimum):
        raw = _clip(raw, -math.log(slope) / 2) if clipped else raw
        shares = np.exp(raw - raw.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        if not clipped:
            shares = minimum + (1 - minimum * bins) * shares
        ends = bound * (2 * np.cumsum(shares, -1) - 1)
        end = np.full_like(ends[..., :1], bound)
        return np.concatenate([-end, ends[..., :-1], end], -1)

    xs = knots(theta[..., :bins], fields.get("min_width"))
    zs = knots(theta[..., bins:2 * bins], fields.get("min_height"))
    raw = theta[..., 2 * bins:]
    inner = np.exp(_clip(raw, -math.log(slope))) if clipped else slope + softplus(raw + np.log(np.expm1(1 - slope)))
    one = np.ones_like(inner[..., :1])
    slopes = np.concatenate([one, inner, one], -1)
    inside = np.abs(x) <= bound
    outside = x
    if fields.get("circle") == "HALF_TURN":
        turned = np.where(x > 0, x - bound, x + bound)
        x = np.where(np.isin(columns, fields["circular"]), turned, x)
    k = np.clip((x[..., None] >= xs).sum(-1) - 1, 0, bins - 1)[..., None]
    x0, x1, z0, z1, d0, d1 = (np.take_along_axis(array, k + step, -1)[..., 0]
                              for array in (xs, zs, slopes) for step in (0, 1))
    chord = (z1 - z0) / (x1 - x0)
    t = (x - x0) / (x1 - x0)
    below = chord + (d0 + d1 - 2 * chord) * t * (1 - t)
    with np.errstate(all="ignore"):
        z = z0 + (z1 - z0) * (chord * t**2 + d0 * t * (1 - t)) / below
        log = np.log(chord**2 * (d1 * t**2 + 2 * chord * t * (1 - t) + d0 * (1 - t)**2) / below**2)
    return np.where(inside, z, outside), np.where(inside, log, 0)


def _inverse_mixture(fields, x, theta):
    """z = Phi^-1(sum_k w_k Phi((x - m_k) / s_k)) and log dz/dx."""
    c, components = fields["max_log_scale"], fields["components"]
    raw_weight, mean, raw_scale = (theta[..., part * components:(part + 1) * components] for part in range(3))
    weight = np.exp(raw_weight - raw_weight.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    scale = np.exp(c * np.tanh(raw_scale / c)) * math.sqrt(START_SQUARE)
    u = (x[..., None] - mean - mixture_mean_starts(components)) / scale
    z = _of_normal(torch.special.ndtri, (weight * _of_normal(torch.special.ndtr, u)).sum(-1))
    slope = (weight / scale * np.exp(-0.5 * u**2)).sum(-1)
    return z, np.log(slope) + 0.5 * z**2


def _of_normal(function, numbers):
    return to_numpy(function(torch.from_numpy(np.ascontiguousarray(numbers))))


def inverse_univariate(spec, x, theta, columns=None):
    """`columns`: those of the layer that x holds; None: all."""
    (kind, fields), = spec.items()
    if kind == "shift":
        return x - theta[..., 0], np.zeros_like(x)
    if kind == "rational_quadratic_spline":
        return _inverse_spline(fields, x, theta, np.arange(x.shape[1]) if columns is None else columns)
    if kind == "mixture_cdf":
        return _inverse_mixture(fields, x, theta)
    log_scale = _log_scale(fields, theta[..., 0])
    if fields.get("direction") == "INVERSE":
        return x * np.exp(log_scale) + theta[..., 1], log_scale
    return (x - theta[..., 1]) * np.exp(-log_scale), -log_scale
