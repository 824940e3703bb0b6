"""log p(x) and z of a converted flow, from its spec and tensors alone, in float64 and written anew from
proto/density/v1/flow_spec.proto."""

import math

import numpy as np
import torch

from .model import to_numpy
from .networks import hidden_degrees
from .univariate_maps import ACTIVATIONS, INVERSE_BIJECTIONS, inverse_univariate, softplus

_BASE_BOUND = math.log(1e3)
_ODE_STEPS = 400


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
        act = ACTIVATIONS[options["activation"]]
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
        diagonal = softplus(np.diag(lu)) + 1e-3
        return (np.tril(lu, -1) + np.eye(len(lu))) @ (np.triu(lu, 1) + np.diag(diagonal)), np.log(diagonal).sum()

    def _convolutions(self, fields, name, image):
        """The network's output (N, channels, pixels) for an image (N, channels, height, width)."""
        act = ACTIVATIONS[fields["activation"]]

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
        z[:, columns], log = INVERSE_BIJECTIONS[fields["kind"]](part, fields)
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
        alpha = 1e-3 + softplus(theta[features] + np.log(np.expm1(1 - 1e-3)))
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
        z, log = inverse_univariate(fields["univariate"], x, theta.reshape(len(x), x.shape[1], -1))
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
        z[:, transformed], log = inverse_univariate(fields["univariate"], x[:, transformed],
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
            z, log = inverse_univariate(fields["univariate"], x, theta(x))
            return z, log.sum(1)
        z = np.zeros_like(x)
        for _ in order:
            z, log = inverse_univariate(fields["univariate"], x, theta(z))
        return z, log.sum(1)


def log_prob_and_z(model, x, context):
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
