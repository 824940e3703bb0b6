"""Turns a model of zuko, nflows or normflows into a model version of densityd, exactly.

  python -m parity convert MODEL --root ROOT --name NAME [--data TABLE.csv]
                                                            adds a version to the models of a server
  python -m parity spec MODEL                               prints the FlowSpec that it would have, as JSON
  python -m parity goldens FOLDER [NAME...]                 makes the files that tests/parity compares with

MODEL is FILE.py:FUNCTION or MODULE:FUNCTION; the function takes no arguments and returns the flow with its weights:

  def model():
      flow = zuko.flows.MAF(features=6, transforms=5)
      flow.load_state_dict(torch.load("maf.pt", weights_only=True))
      return flow

What has an exact counterpart is converted, weights in float64; everything else is refused with the path of the part
and the reason. Nothing is approximated, and each conversion is checked: log p and z of 64 rows, computed from the new
spec and tensors, must be the library's. docs/parity.md lists what is known. Run it in this folder (tools), or with it
in PYTHONPATH, and with the library of the model installed.
"""

import argparse
import copy
import importlib
import importlib.util
import json
import pathlib
import sys

from .check import check
from .errors import NotConvertible
from .libraries import converter_of, source_of
from .store import publish
from .table import describe, read_table


def load_model(text):
    """The flow that FILE.py:FUNCTION or MODULE:FUNCTION returns."""
    place, _, function = text.rpartition(":")
    if not place:
        raise ValueError(f"{text!r} is not FILE.py:FUNCTION or MODULE:FUNCTION")
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location(pathlib.Path(place).stem, place)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    if not hasattr(module, function):
        raise ValueError(f"{place} has no {function}")
    return getattr(module, function)()


def _parse_arguments():
    parser = argparse.ArgumentParser(prog="python -m parity", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    convert = commands.add_parser("convert", help="add a version to the models of a server")
    convert.add_argument("model")
    convert.add_argument("--root", required=True, help="the server's --root")
    convert.add_argument("--name", required=True, help="the model's name there")
    convert.add_argument("--data", help="a CSV file of rows that it was not trained on, with a header, context last: "
                         "names and ranges of the columns, which Explain needs, and what log p is usual")
    spec = commands.add_parser("spec", help="print the FlowSpec")
    spec.add_argument("model")
    goldens = commands.add_parser("goldens", help="make the files of tests/parity")
    goldens.add_argument("folder")
    goldens.add_argument("names", nargs="*", help="only these")
    return parser.parse_args()


def main():
    arguments = _parse_arguments()
    if arguments.command == "goldens":
        from .goldens import write_goldens  # pylint: disable=import-outside-toplevel  # needs all three libraries
        return write_goldens(pathlib.Path(arguments.folder), arguments.names)
    flow = copy.deepcopy(load_model(arguments.model)).double().eval()
    converter = converter_of(flow)
    model = converter.convert(flow)
    difference = check(flow, model, converter)
    if arguments.command == "spec":
        print(json.dumps(model.spec(), indent=1))
        return 0
    facts = describe(model, *read_table(arguments.data, model)) if arguments.data else None
    version = publish(arguments.root, arguments.name, model, f"import:{source_of(flow)}", facts)
    print(f"{arguments.name}@{version}: log p agrees with the library within {difference:.1g}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NotConvertible, TypeError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
