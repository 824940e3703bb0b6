"""Checks a conversion: compares log p(x) and z of the converted flow, computed by `evaluate`, with the library. It also
finds a library whose newer version means something else by the same attributes."""

import contextlib

import numpy as np
import torch

from .errors import NotConvertible
from .evaluate import log_prob_and_z
from .model import to_numpy

_ROWS = 64
_TOLERANCE = 1e-8
# A step in the activation's second derivative (ELU) makes the solutions of differential equations worth less.
_ODE_TOLERANCE = 1e-7


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
    own_log_prob, own_z = log_prob_and_z(model, to_numpy(x), None if context is None else to_numpy(context))
    tolerance = _ODE_TOLERANCE if any("continuous" in layer for layer in model.layers) else _TOLERANCE
    for what, theirs, ours in (("log p", log_prob, own_log_prob), ("z", z, own_z)):
        difference = np.abs(theirs - ours) / np.maximum(1, np.abs(theirs))
        if not difference.max() < tolerance:
            raise NotConvertible("the flow", f"{what} of the conversion is off by {difference.max():.2g}: this version "
                                 "of the library computes something that the converter does not know")
    return float(np.abs(log_prob - own_log_prob).max())
