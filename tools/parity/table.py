"""What a table of rows says of a model: the ranges that Explain starts from, and which log p is usual."""

import csv

import numpy as np

from .evaluate import log_prob_and_z

# As a training's (server/training/calibration.cc): dense in the lower tail, where anomalies are.
_LEVELS = (0, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5,
           0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 1)
_ROWS_AT_ONCE = 4096


def read_table(path, model):
    """Names and rows of a CSV file with a header: the model's columns, then those of its context."""
    with open(path, newline="", encoding="utf-8") as file:
        names, *lines = list(csv.reader(file)) or [[]]
    width = model.features + model.context
    if len(names) != width:
        raise ValueError(f"{path} has {len(names)} columns; the model has {model.features}, and {model.context} of "
                         "context")
    if len(lines) < 2:
        raise ValueError(f"{path} has {len(lines)} rows below its header; at least two are needed")
    rows = np.empty((len(lines), width))
    for i, line in enumerate(lines):
        if len(line) != width:
            raise ValueError(f"{path}, row {i} has {len(line)} columns; the header has {width}")
        try:
            rows[i] = [float(cell) for cell in line]
        except ValueError as error:
            raise ValueError(f"{path}, row {i}: {error}") from None
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(f"{path}, row {row}: {names[column]} is {rows[row, column]}")
    return names, rows


def describe(model, names, rows):
    """The manifest's `schema` and `calibration` by `rows` (N, D + C) that the model was not trained on."""
    deviation = rows.std(axis=0)
    for j in range(model.features):
        if not deviation[j] > 0:
            raise ValueError(f"column {names[j]} never changes in these rows: they do not say what is usual for it")
    columns = [{"name": name, "min": float(low), "max": float(high), "mean": float(mean), "stddev": float(spread)}
               for name, low, high, mean, spread in zip(names, rows.min(0), rows.max(0), rows.mean(0), deviation)]
    log_prob = _log_prob(model, rows)
    if not np.isfinite(log_prob).all():
        raise ValueError(f"row {np.argmax(~np.isfinite(log_prob))} has log p = {log_prob[~np.isfinite(log_prob)][0]}: "
                         "it lies outside of what the model gives a density to")
    return {
        "schema": {"features": columns[:model.features], "context": columns[model.features:]},
        "calibration": {"levels": list(_LEVELS), "log_prob": np.quantile(log_prob, _LEVELS).tolist(),
                        "rows": str(len(rows))},
    }


def _log_prob(model, rows):
    parts = []
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[begin:begin + _ROWS_AT_ONCE]
        context = part[:, model.features:] if model.context else None
        parts.append(log_prob_and_z(model, part[:, :model.features], context)[0])
    return np.concatenate(parts)
