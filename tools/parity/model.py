"""A FlowSpec under construction, with its tensors.

The spec is a dictionary in the form of protobuf JSON with the field names of proto/density/v1/flow_spec.proto; names
and meanings of the tensors are in server/flow/flow.h. Layers are added in the order of the spec: the data first.
"""

import math

import numpy as np
import torch

from .errors import NotConvertible

# sigma of a diagonal-normal base is stored as raw, log sigma = c tanh(raw / c).
_BASE_BOUND = math.log(1e3)
# diag(U) of an LU layer is softplus(raw) + this.
_MIN_DIAGONAL = 1e-3


def inverse_softplus(positive):
    """The raw number that log(1 + e^raw) makes `positive` from."""
    return positive + np.log(-np.expm1(-positive))


def to_numpy(tensor):
    """A tensor's numbers in float64."""
    return tensor.detach().cpu().double().numpy()


def _stored_lu(lower, upper, diagonal, where):
    """The tensor that holds L and U."""
    raw = np.asarray(diagonal, dtype=np.float64) - _MIN_DIAGONAL
    if not (raw > 0).all():
        raise NotConvertible(where, f"a number on the diagonal of U is {np.min(diagonal):g}; here they are > "
                             f"{_MIN_DIAGONAL}")
    return np.tril(lower, -1) + np.triu(upper, 1) + np.diag(inverse_softplus(raw))


def lu_of_matrix(matrix):
    """A matrix as P S L U with U's diagonal positive: (L, U, diagonal of U, signs of S, order of P); entry i of P y is
    y[order[i]]."""
    permutation, lower, upper = (to_numpy(part) for part in torch.linalg.lu(torch.from_numpy(matrix)))
    return signed_lu(permutation, lower, upper)


def signed_lu(permutation, lower, upper):
    """The same of P L U with any signs on U's diagonal: L U = S (S L S) (S U) with signs S on a diagonal."""
    signs = np.sign(np.diag(upper))
    return signs[:, None] * lower * signs, signs[:, None] * upper, np.abs(np.diag(upper)), signs, permutation.argmax(1)


class Model:
    """A flow of `features` columns given `context` columns, which are an `image` (channels, height, width) or not."""

    def __init__(self, features, context=0, image=None):
        self.features = int(features)
        self.context = int(context)
        self.image = image
        # Of the image as the next layer sees it.
        self.shape = image
        self.layers = []
        self.tensors = {}
        self.base = {"standard_normal": {}}

    def spec(self):
        spec = {"features": self.features, "base": self.base, "layers": self.layers}
        if self.context:
            spec["context_features"] = self.context
        if self.image:
            spec["image"] = dict(zip(("channels", "height", "width"), self.image))
        return spec

    def add(self, kind, fields, tensors=None):
        """Appends a layer towards the base. `tensors` are named without their layer: {"theta": …}."""
        prefix = f"layers.{len(self.layers)}."
        self.layers.append({kind: fields})
        for name, values in (tensors or {}).items():
            self.tensors[prefix + name] = np.array(values, dtype=np.float64)

    # Layers that several libraries have.

    def add_permutation(self, columns):
        """z[j] = x[columns[j]]."""
        self.add("permutation", {"columns": [int(column) for column in columns]})

    def add_affine_columns(self, scale, shift):
        """z = x * scale + shift with fixed numbers per column; scale > 0."""
        scale, shift = np.broadcast_to(scale, self.features), np.broadcast_to(shift, self.features)
        self.add("standardize", {"mean": (-shift / scale).tolist(), "scale": (1 / scale).tolist()})

    def add_actnorm(self, log_scale, shift, initialized=True):
        """z = (x - shift) exp(-log_scale)."""
        self.add("actnorm", {}, {
            "log_scale": np.reshape(log_scale, self.features),
            "shift": np.reshape(shift, self.features),
            "initialized": np.array(1.0 if initialized else 0.0),
        })

    def columns_of(self, channels):
        """The columns of some channels of the image."""
        pixels = self.shape[1] * self.shape[2]
        return (np.asarray(channels)[:, None] * pixels + np.arange(pixels)).reshape(-1)

    def add_squeeze(self):
        channels, height, width = self.shape
        self.add("squeeze", {})
        self.shape = (4 * channels, height // 2, width // 2)

    def add_channel_actnorm(self, log_scale, shift, initialized=True):
        """z = (x - shift) exp(-log_scale) in every channel."""
        self.add("actnorm", {"per_channel": True}, {
            "log_scale": np.reshape(log_scale, self.shape[0]),
            "shift": np.reshape(shift, self.shape[0]),
            "initialized": np.array(1.0 if initialized else 0.0),
        })

    def add_channel_mixing(self, lower, upper, diagonal, where, order=None):
        """z = P L U x at every pixel; entry i of P y is y[order[i]]."""
        fields = {} if order is None else {"permutation": {"columns": [int(channel) for channel in order]}}
        self.add("invertible_convolution", fields, {"lu": _stored_lu(lower, upper, diagonal, where)})

    def add_lu(self, lower, upper, diagonal, bias, where):
        """z = L U x + bias; `lower` and `upper` are (D, D), of which the strict triangles count; diagonal of U > 0."""
        self.add("lu_linear", {}, {"lu": _stored_lu(lower, upper, diagonal, where), "bias": bias})

    def add_rotation(self, skew):
        """z = exp(A) x with skew-symmetric A (D, D)."""
        below = np.tril_indices(self.features, -1)
        self.add("orthogonal", {"map": "MATRIX_EXPONENTIAL"}, {"skew": np.asarray(skew)[below]})

    def add_coupling(self, transformed, univariate, network):
        """`network` maps the other columns, and the context, to the parameters of the transformed ones."""
        fields = {"mask": {"transformed": [int(column) for column in transformed]}, "univariate": univariate,
                  "conditioner": network.spec()}
        self.add("coupling", fields, network.tensors("conditioner."))

    def add_autoregressive(self, order, univariate, network, parallel="DENSITY"):
        """`network` is a masked one (networks.masked_network) of the same order."""
        fields = {"columns": [int(column) for column in order], "univariate": univariate,
                  "conditioner": network.spec(), "parallel": parallel}
        self.add("autoregressive", fields, network.tensors("conditioner."))

    def add_elementwise(self, univariate, theta):
        """theta (D, P): the parameters of each column; zeros leave a column as it is."""
        self.add("elementwise", {"univariate": univariate}, {"theta": theta})

    def add_conditional_elementwise(self, univariate, network):
        """`network` maps the context to the parameters of all columns."""
        self.add("elementwise", {"univariate": univariate, "conditioner": network.spec()},
                 network.tensors("conditioner."))

    def add_continuous(self, network, frequencies, atol, rtol):
        """dx/dt = network(x, cos and sin of k pi t, context)."""
        layers = network.spec()["mlp"]
        self.add("continuous", {"network": layers, "atol": atol, "rtol": rtol, "time_frequencies": frequencies},
                 network.tensors("network."))

    def set_uniform_box(self, low, high, where):
        """The base, from the ends per column."""
        low, high = np.broadcast_to(low, self.features), np.broadcast_to(high, self.features)
        if (low != low[0]).any() or (high != high[0]).any():
            raise NotConvertible(where, "a uniform base whose columns end at different numbers")
        self.base = {"uniform_box": {"low": float(low[0]), "high": float(high[0])}}

    def on_base(self, rows):
        """`rows` of normal numbers, a tensor, moved to where the base has mass: onto the circle that a box is of."""
        return torch.remainder(rows + math.pi, 2 * math.pi) - math.pi if "uniform_box" in self.base else rows

    def set_diagonal_normal(self, mean, sigma, where):
        """The base, from mean and standard deviation per column; N(0, I) where it is that."""
        mean = np.broadcast_to(mean, self.features).astype(np.float64)
        sigma = np.broadcast_to(sigma, self.features).astype(np.float64)
        if (mean == 0).all() and (sigma == 1).all():
            return
        log_sigma = np.log(sigma)
        if not (np.abs(log_sigma) < _BASE_BOUND).all():
            raise NotConvertible(where, "a standard deviation of the base is not within [0.001, 1000]")
        self.base = {"diagonal_normal": {}}
        self.tensors["base.mean"] = mean
        self.tensors["base.log_scale"] = _BASE_BOUND * np.arctanh(log_sigma / _BASE_BOUND)
