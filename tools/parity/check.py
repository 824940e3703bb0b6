"""Checks a conversion: computes log p(x) and z of the converted flow from its spec and tensors, in float64 and written
anew from proto/density/v1/flow_spec.proto, and compares with the library. It also finds a library whose newer version
means something else by the same attributes."""

import contextlib
import math

import numpy as np
import torch

from .errors import NotConvertible
from .model import to_numpy
from .networks import hidden_degrees

_ROWS = 64
_TOLERANCE = 1e-8
_BASE_BOUND = math.log(1e3)
_ODE_STEPS = 400
# A step in the activation's second derivative (ELU) makes those worth less.
_ODE_TOLERANCE = 1e-7


def _softplus(a):
    return np.logaddexp(0, a)


def _sigmoid(a):
    return np.exp(-_softplus(-a))


def _clip(a, c):
    return a / (1 + np.abs(a) / c)


_ACTIVATIONS = {
    "RELU": lambda a: np.maximum(a, 0), "TANH": np.tanh, "SILU": lambda a: a * _sigmoid(a),
    "GELU": lambda a: to_numpy(torch.nn.functional.gelu(torch.from_numpy(a))),
    "LEAKY_RELU": lambda a: np.where(a >= 0, a, 0.01 * a),
    "ELU": lambda a: np.where(a >= 0, a, np.expm1(np.minimum(a, 0))),
}


# z and log dz/dx of x.
_INVERSE_BIJECTIONS = {
    "AFFINE": lambda x, fields: (x / fields["scale"], -np.log(abs(fields["scale"]))),
    "EXP": lambda x, _: (np.log(x), -np.log(x)),
    "LOG": lambda x, _: (np.exp(x), x),
    "SIGMOID": lambda x, _: (np.log(x) - np.log1p(-x), -np.log(x) - np.log1p(-x)),
    "LOGIT": lambda x, _: (_sigmoid(x), -_softplus(x) - _softplus(-x)),
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
        log_scale = np.log(least + _softplus(a + np.log(np.expm1(1 - least))))
    else:
        span = fields.get("max_scale", 2.0) - least
        log_scale = np.log(least + span * _sigmoid(a - np.log(span / (1 - least) - 1)))
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
    inner = np.exp(_clip(raw, -math.log(slope))) if clipped else slope + _softplus(raw + np.log(np.expm1(1 - slope)))
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


def _inverse_univariate(spec, x, theta, columns=None):
    """`columns`: those of the layer that x holds; None: all."""
    (kind, fields), = spec.items()
    if kind == "shift":
        return x - theta[..., 0], np.zeros_like(x)
    if kind == "rational_quadratic_spline":
        return _inverse_spline(fields, x, theta, np.arange(x.shape[1]) if columns is None else columns)
    log_scale = _log_scale(fields, theta[..., 0])
    if fields.get("direction") == "INVERSE":
        return x * np.exp(log_scale) + theta[..., 1], log_scale
    return (x - theta[..., 1]) * np.exp(-log_scale), -log_scale


def _above_minus_one(a):
    return a if a >= 0 else 0.999 * np.expm1(a / 0.999)


class _Layers:
    """The Inverse of each kind of layer: (x, context) to (z, log|det|)."""

    def __init__(self, model):
        self.model = model
        # Of the image that the next layer sees.
        self.shape = model.image

    def inverse(self, i, x, context):
        (kind, fields), = self.model.layers[i].items()
        return getattr(self, kind)(fields, f"layers.{i}.", x, context)

    def _network(self, fields, name, inputs, degrees=None):
        """`degrees`: of the inputs and of the outputs, where it is masked."""
        tensors = self.model.tensors
        (kind, options), = fields.items()
        act = _ACTIVATIONS[options["activation"]]
        has_context = self.model.context > 0

        def linear(layer, h, before, after):
            weight = tensors[f"{name}{layer}.weight"]
            if degrees:
                to = hidden_degrees(weight.shape[0], self.model.features, has_context) if after is None else after
                weight = weight * (before[None, :] <= to[:, None])
            else:
                to = None
            return h @ weight.T + tensors[f"{name}{layer}.bias"], to

        first, last = degrees or (None, None)
        if kind == "mlp":
            h, units = linear("0", inputs, first, None)
            for k in range(1, len(options["hidden"]) + 1):
                h, units = linear(str(k), act(h), units, last if k == len(options["hidden"]) else None)
            return h
        h, units = linear("input", inputs, first, None)
        for b in range(options["blocks"]):
            inner, _ = linear(f"blocks.{b}.0", act(h), units, None)
            h = h + linear(f"blocks.{b}.1", act(inner), units, None)[0]
        return linear("output", h, units, last)[0]

    def _with_context(self, columns, context):
        return columns if context is None else np.concatenate([columns, context], 1)

    def standardize(self, fields, _, x, __):
        scale = np.array(fields["scale"])
        return (x - fields["mean"]) / scale, np.full(len(x), -np.log(scale).sum())

    def permutation(self, fields, _, x, __):
        return x[:, fields["columns"]], np.zeros(len(x))

    def actnorm(self, fields, name, x, __):
        log_scale, shift = self.model.tensors[name + "log_scale"], self.model.tensors[name + "shift"]
        if fields.get("per_channel"):
            pixels = self.shape[1] * self.shape[2]
            log_scale, shift = np.repeat(log_scale, pixels), np.repeat(shift, pixels)
        return (x - shift) * np.exp(-log_scale), np.full(len(x), -log_scale.sum())

    def squeeze(self, _, __, x, ___):
        image = torch.from_numpy(x).reshape(-1, *self.shape)
        channels, height, width = self.shape
        self.shape = (4 * channels, height // 2, width // 2)
        return to_numpy(torch.nn.functional.pixel_unshuffle(image, 2).flatten(1)), np.zeros(len(x))

    def invertible_convolution(self, fields, name, x, _):
        matrix, log = self._lu(name)
        if "permutation" in fields:
            matrix = matrix[fields["permutation"]["columns"]]
        pixels = self.shape[1] * self.shape[2]
        z = np.einsum("ij,njp->nip", matrix, x.reshape(len(x), self.shape[0], pixels))
        return z.reshape(len(x), -1), np.full(len(x), pixels * log)

    def _lu(self, name):
        """L U and log|det|."""
        lu = self.model.tensors[name + "lu"]
        diagonal = _softplus(np.diag(lu)) + 1e-3
        return (np.tril(lu, -1) + np.eye(len(lu))) @ (np.triu(lu, 1) + np.diag(diagonal)), np.log(diagonal).sum()

    def _convolutions(self, fields, name, image):
        """The network's output (N, channels, pixels) for an image (N, channels, height, width)."""
        act = _ACTIVATIONS[fields["activation"]]

        def convolution(layer, h):
            tensors = self.model.tensors
            weight, bias = (torch.from_numpy(tensors[f"{name}{layer}.{part}"]) for part in ("weight", "bias"))
            size = math.isqrt(weight.shape[1] // h.shape[1])
            weight = weight.reshape(len(weight), h.shape[1], size, size)
            return to_numpy(torch.nn.functional.conv2d(torch.from_numpy(h), weight, bias, padding="same"))

        h = convolution("input", image)
        for b in range(fields["blocks"]):
            h = h + convolution(f"blocks.{b}.1", act(convolution(f"blocks.{b}.0", act(h))))
        return convolution("output", act(h)).reshape(len(image), -1, image.shape[2] * image.shape[3])

    def lu_linear(self, _, name, x, __):
        matrix, log = self._lu(name)
        return x @ matrix.T + self.model.tensors[name + "bias"], np.full(len(x), log)

    def bijection(self, fields, _, x, __):
        columns = fields.get("columns", list(range(x.shape[1])))
        z, part = x.copy(), x[:, columns]
        z[:, columns], log = _INVERSE_BIJECTIONS[fields["kind"]](part, fields)
        return z, np.broadcast_to(log, part.shape).sum(1)

    def orthogonal(self, _, name, x, __):
        lower = np.zeros((x.shape[1], x.shape[1]))
        lower[np.tril_indices(x.shape[1], -1)] = self.model.tensors[name + "skew"]
        return x @ to_numpy(torch.linalg.matrix_exp(torch.from_numpy(lower - lower.T))).T, np.zeros(len(x))

    def householder(self, _, name, x, __):
        for vector in self.model.tensors[name + "vectors"]:
            x = x - np.outer(x @ vector, 2 / (vector @ vector) * vector)
        return x, np.zeros(len(x))

    def planar(self, _, name, x, __):
        theta, features = self.model.tensors[name + "parameters.theta"], x.shape[1]
        raw, w, b = theta[:features], theta[features:2 * features], theta[2 * features]
        inner = _above_minus_one(w @ raw)
        u = raw + (inner - w @ raw) * w / (w @ w)
        # a = w . z of a + (w . u) tanh(a + b) = w . x.
        low, high = x @ w - abs(inner), x @ w + abs(inner)
        for _ in range(100):
            middle = (low + high) / 2
            above = middle + inner * np.tanh(middle + b) > x @ w
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        hidden = np.tanh(low + b)
        return x - np.outer(hidden, u), -np.log1p(inner * (1 - hidden**2))

    def radial(self, _, name, x, __):
        theta, features = self.model.tensors[name + "parameters.theta"], x.shape[1]
        alpha = 1e-3 + _softplus(theta[features] + np.log(np.expm1(1 - 1e-3)))
        beta = alpha * _above_minus_one(theta[features + 1])
        offset = x - theta[:features]
        length = np.linalg.norm(offset, axis=1)
        p = alpha + beta - length
        r = (-p + np.sqrt(p**2 + 4 * alpha * length)) / 2
        share = beta / (alpha + r)
        log = (features - 1) * np.log1p(share) + np.log1p(share * alpha / (alpha + r))
        return theta[:features] + offset / (1 + share)[:, None], -log

    def residual(self, fields, name, x, __):
        depth = len(fields["network"]["hidden"]) + 1
        layers = [[torch.from_numpy(self.model.tensors[f"{name}network.{k}.{part}"]) for part in ("weight", "bias")]
                  for k in range(depth)]

        def network(row):
            row = torch.nn.functional.linear(row, *layers[0])
            for weight, bias in layers[1:]:
                row = torch.nn.functional.linear(torch.nn.functional.silu(row) / 1.09984, weight, bias)
            return row

        rows = torch.from_numpy(x)
        jacobian = torch.func.vmap(torch.func.jacrev(network))(rows)
        log = torch.linalg.slogdet(torch.eye(x.shape[1]) + jacobian)[1]
        return x + to_numpy(network(rows)), to_numpy(log)

    def continuous(self, fields, name, x, context):
        depth = len(fields["network"]["hidden"]) + 1
        layers = [[torch.from_numpy(self.model.tensors[f"{name}network.{k}.{part}"]) for part in ("weight", "bias")]
                  for k in range(depth)]
        act = {"TANH": torch.tanh, "ELU": torch.nn.functional.elu, "SILU": torch.nn.functional.silu,
               "GELU": torch.nn.functional.gelu}[fields["network"]["activation"]]
        angles = math.pi * torch.arange(1, fields["time_frequencies"] + 1).double()

        def velocity(row, t, given):
            times = torch.cat([torch.cos(angles * t), torch.sin(angles * t)]) if len(angles) else t[None]
            row = torch.nn.functional.linear(torch.cat([row, times, given]), *layers[0])
            for weight, bias in layers[1:]:
                row = torch.nn.functional.linear(act(row), weight, bias)
            return row

        rows = torch.from_numpy(x)
        given = torch.zeros(len(x), 0).double() if context is None else torch.from_numpy(context)
        vector = torch.func.vmap(velocity, in_dims=(0, None, 0))
        jacobian = torch.func.vmap(torch.func.jacrev(velocity), in_dims=(0, None, 0))

        def rate(rows, t):
            t = torch.tensor(t).double()
            trace = jacobian(rows, t, given).diagonal(dim1=1, dim2=2).sum(1)
            return vector(rows, t, given), trace

        # The classical method of order 4, with steps so small that its error is far below the check's.
        log, step = torch.zeros(len(x)).double(), 1 / _ODE_STEPS
        for k in range(_ODE_STEPS):
            v1, r1 = rate(rows, k * step)
            v2, r2 = rate(rows + step / 2 * v1, (k + 0.5) * step)
            v3, r3 = rate(rows + step / 2 * v2, (k + 0.5) * step)
            v4, r4 = rate(rows + step * v3, (k + 1) * step)
            rows = rows + step / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
            log = log + step / 6 * (r1 + 2 * r2 + 2 * r3 + r4)
        return to_numpy(rows), to_numpy(log)

    def elementwise(self, fields, name, x, context):
        if "conditioner" in fields:
            theta = self._network(fields["conditioner"], name + "conditioner.", context)
        else:
            theta = self.model.tensors[name + "theta"]
            theta = np.broadcast_to(theta, (len(x), *theta.shape))
        z, log = _inverse_univariate(fields["univariate"], x, theta.reshape(len(x), x.shape[1], -1))
        return z, log.sum(1)

    def coupling(self, fields, name, x, context):
        transformed = fields["mask"]["transformed"]
        passed = [j for j in range(x.shape[1]) if j not in transformed]
        if "conv_resnet" in fields["conditioner"]:
            # Whole channels.
            image = x[:, passed].reshape(len(x), -1, *self.shape[1:])
            out = self._convolutions(fields["conditioner"]["conv_resnet"], name + "conditioner.", image)
            channels, pixels = len(transformed) // out.shape[2], out.shape[2]
            theta = np.moveaxis(out.reshape(len(x), channels, -1, pixels), 2, 3)
        else:
            given = self._with_context(x[:, passed], context)
            theta = self._network(fields["conditioner"], name + "conditioner.", given)
        z = x.copy()
        z[:, transformed], log = _inverse_univariate(fields["univariate"], x[:, transformed],
                                                     theta.reshape(len(x), len(transformed), -1), transformed)
        return z, log.sum(1)

    def autoregressive(self, fields, name, x, context):
        order = np.array(fields["columns"])
        inputs = np.zeros(x.shape[1] + self.model.context, dtype=int)
        inputs[order] = np.arange(len(order)) + 1
        outputs = np.empty(len(order), dtype=int)
        outputs[order] = np.arange(len(order))

        def theta(rows):
            final = "output" if "residual_mlp" in fields["conditioner"] else len(fields["conditioner"]["mlp"]["hidden"])
            count = self.model.tensors[f"{name}conditioner.{final}.bias"].size // x.shape[1]
            degrees = (inputs, np.repeat(outputs, count))
            given = self._with_context(rows, context)
            flat = self._network(fields["conditioner"], name + "conditioner.", given, degrees)
            return flat.reshape(len(x), x.shape[1], count)

        if fields["parallel"] == "DENSITY":
            z, log = _inverse_univariate(fields["univariate"], x, theta(x))
            return z, log.sum(1)
        z = np.zeros_like(x)
        for _ in order:
            z, log = _inverse_univariate(fields["univariate"], x, theta(z))
        return z, log.sum(1)


def _log_prob_and_z(model, x, context):
    layers, z, total = _Layers(model), x, np.zeros(len(x))
    for i in range(len(model.layers)):
        z, log = layers.inverse(i, z, context)
        total += log
    if "uniform_box" in model.base:
        box = model.base["uniform_box"]
        return total - model.features * math.log(box["high"] - box["low"]), z
    mean = model.tensors.get("base.mean", np.zeros(model.features))
    log_sigma = _BASE_BOUND * np.tanh(model.tensors.get("base.log_scale", np.zeros(model.features)) / _BASE_BOUND)
    noise = (z - mean) * np.exp(-log_sigma)
    return total - (0.5 * noise**2 + log_sigma + 0.5 * math.log(2 * math.pi)).sum(1), z


def check(flow, model, converter):
    """Compares with `flow`, in float64, on rows that it makes of random base rows; returns the largest difference in
    log p. NotConvertible where it is not rounding."""
    generator = torch.Generator().manual_seed(0)
    base = model.on_base(1.5 * torch.randn(_ROWS, model.features, generator=generator).double())
    context = torch.randn(_ROWS, model.context, generator=generator).double() if model.context else None
    precisely = getattr(converter, "precisely", lambda _: contextlib.nullcontext())
    with torch.no_grad(), precisely(flow):
        x = converter.forward(flow, base, context)
        try:
            log_prob, z = (to_numpy(part) for part in converter.inverse(flow, x, context))
        except NotImplementedError:
            log_prob, z = to_numpy(converter.forward_log_prob(flow, base)), to_numpy(base)
    own_log_prob, own_z = _log_prob_and_z(model, to_numpy(x), None if context is None else to_numpy(context))
    tolerance = _ODE_TOLERANCE if any("continuous" in layer for layer in model.layers) else _TOLERANCE
    for what, theirs, ours in (("log p", log_prob, own_log_prob), ("z", z, own_z)):
        difference = np.abs(theirs - ours) / np.maximum(1, np.abs(theirs))
        if not difference.max() < tolerance:
            raise NotConvertible("the flow", f"{what} of the conversion is off by {difference.max():.2g}: this version "
                                 "of the library computes something that the converter does not know")
    return float(np.abs(log_prob - own_log_prob).max())
