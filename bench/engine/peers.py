"""Flows of the Python libraries, in the shapes that are measured: each is a table from an operation to a call."""

import importlib.metadata

import torch
import zuko
from nflows import distributions, flows, transforms
from nflows.transforms import autoregressive, coupling

VERSIONS = {name: importlib.metadata.version(name) for name in ("torch", "zuko", "nflows")}
BINS = 8


def zuko_flow(preset, features, hidden, layers):
    make = {
        "realnvp": lambda **options: zuko.flows.RealNVP(features, 0, **options),
        "maf": lambda **options: zuko.flows.MAF(features, 0, **options),
        "nsf_coupling": lambda **options: zuko.flows.NSF(features, 0, bins=BINS, passes=2, **options),
        "nsf_ar": lambda **options: zuko.flows.NSF(features, 0, bins=BINS, **options),
    }[preset]
    return make(transforms=layers, hidden_features=(hidden, hidden))


def zuko_calls(flow, rows, features):
    x = torch.randn(rows, features)
    return {
        "log_prob": lambda: flow().log_prob(x),
        "inverse": lambda: flow().transform.call_and_ladj(x),
        "forward": lambda: flow().transform.inv.call_and_ladj(x),
        "sample": lambda: flow().sample((rows,)),
    }


class _Mlp(torch.nn.Module):
    """The conditioner of nflows' couplings here: the same two hidden layers that everybody else has."""

    def __init__(self, inputs, outputs, hidden):
        super().__init__()
        self.hidden_features = hidden  # nflows scales the parameters of splines by it
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(inputs, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, hidden), torch.nn.ReLU(),
            torch.nn.Linear(hidden, outputs))

    def forward(self, x, context=None):
        return self.layers(x)


def nflows_flow(preset, features, hidden, layers):
    def mask(i):
        return [(j + i) % 2 for j in range(features)]

    def network(inputs, outputs):
        return _Mlp(inputs, outputs, hidden)

    masked = {"num_blocks": 1, "use_residual_blocks": False}  # two hidden layers
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": 5.0}
    parts = []
    for i in range(layers):
        if preset == "realnvp":
            parts.append(coupling.AffineCouplingTransform(mask(i), network))
        elif preset == "nsf_coupling":
            parts.append(coupling.PiecewiseRationalQuadraticCouplingTransform(mask(i), network, **spline))
        else:
            parts.append(transforms.ReversePermutation(features))
            if preset == "maf":
                parts.append(autoregressive.MaskedAffineAutoregressiveTransform(features, hidden, **masked))
            else:
                parts.append(autoregressive.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                    features, hidden, **masked, **spline))
    return flows.Flow(transforms.CompositeTransform(parts), distributions.StandardNormal([features]))


def nflows_calls(flow, rows, features):
    x = torch.randn(rows, features)
    return {
        "log_prob": lambda: flow.log_prob(x),
        # Flow has no public name for its map without the base.
        "inverse": lambda: flow._transform(x),  # pylint: disable=protected-access
        "forward": lambda: flow._transform.inverse(x),  # pylint: disable=protected-access
        "sample": lambda: flow.sample(rows),
    }


def compiled_calls(flow, rows, features):
    """zuko under torch.compile; the first call compiles."""
    x = torch.randn(rows, features)
    log_prob = torch.compile(lambda x: flow().log_prob(x), dynamic=False)
    return {"log_prob": lambda: log_prob(x)}


# name: (flow of a shape, calls of a flow)
PEERS = {
    "zuko": (zuko_flow, zuko_calls),
    "nflows": (nflows_flow, nflows_calls),
    "torch.compile": (zuko_flow, compiled_calls),
}
