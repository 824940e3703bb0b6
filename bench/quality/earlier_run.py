"""The libraries' figures of an earlier run on the same rows, for where the libraries are not installed."""

import json

# Two densities of the same rows differ by rounding alone; a mean over other rows differs by more.
SAME_NATS = 1e-3


class EarlierRun:
    """Has the functions of libraries.Libraries. Raises ValueError where the earlier run had other rows or recipes."""

    def __init__(self, path):
        self._run = json.loads(path.read_text(encoding="utf-8"))
        self.versions = {name: self._run["versions"][name] for name in ("torch", "zuko", "scikit-learn")}
        self.description = f"zuko and scikit-learn: figures of {self._run['date']}, from {path}"

    def zuko(self, entry, preset, _rows, steps, seeds):
        """`entry`: of the table, with the Gaussian's figures, by which the rows are known."""
        earlier = self._find("tables", entry)
        if abs(earlier["gaussian"]["mean"] - entry["gaussian"]["mean"]) > SAME_NATS:
            raise ValueError(f"the earlier run had other rows of {entry['table']}")
        for one in earlier["presets"]:
            if (one["preset"], one["steps"], len(one["zuko"]["seeds"])) == (preset, steps, seeds):
                return one["zuko"]
        raise ValueError(f"the earlier run did not train {preset} on {entry['table']} in {steps} steps, {seeds} times")

    def detectors(self, entry, seed, _train, _test, labels):
        earlier = self._find("anomalies", entry)
        if earlier["anomalies"][seed:seed + 1] != [int(labels.sum())]:
            raise ValueError(f"the earlier run had other rows of {entry['table']}")
        return {who: values[seed] for who, values in earlier["areas"].items() if not who.startswith("densityd")}

    def _find(self, kind, entry):
        for earlier in self._run.get(kind, []):
            if all(earlier[key] == entry[key] for key in ("table", "rows", "features")):
                return earlier
        raise ValueError(f"the earlier run has no table {entry['table']} of {entry['rows']} rows")
