"""Which library a model belongs to. A library is imported only when one of its models is there."""

import importlib
import importlib.metadata
import sys

_CONVERTERS = {"zuko": "zuko_models", "nflows": "nflows_models", "normflows": "normflows_models"}


def converter_of(flow):
    """The module with `convert` and `evaluate` for `flow`. TypeError where no library knows it."""
    libraries = {kind.__module__.split(".")[0] for kind in type(flow).__mro__}
    for library, module in _CONVERTERS.items():
        if library in libraries:
            converter = importlib.import_module(f".{module}", __package__)
            if converter.is_model(flow):
                _warn_of_version(library, converter.VERSION)
                return converter
    raise TypeError(f"{type(flow).__module__}.{type(flow).__qualname__} is no zuko.lazy.Flow, nflows.flows.Flow or "
                    "normflows.NormalizingFlow")


def source_of(flow):
    """"zuko 1.6.0", for the provenance of a version."""
    library = converter_of(flow).__name__.rsplit(".", 1)[1].split("_")[0]
    return f"{library} {importlib.metadata.version(library)}"


def _warn_of_version(library, tested):
    installed = importlib.metadata.version(library)
    if installed != tested:
        print(f"note: {library} {installed} is installed; conversions were checked with {tested}", file=sys.stderr)
