"""Generates and imports the Python messages and stubs of density.v1."""

import atexit
import pathlib
import shutil
import sys
import tempfile

import grpc_tools.protoc


def import_protos(folder):
    """Compiles density/v1/*.proto below `folder` into a folder that lives as long as this process, and makes `density.v1`
    importable."""
    target = tempfile.mkdtemp(prefix="density-protos-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    protos = sorted(str(path) for path in pathlib.Path(folder, "density", "v1").glob("*.proto"))
    include = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{folder}", f"-I{include}", f"--python_out={target}", f"--grpc_python_out={target}"]
    if grpc_tools.protoc.main(arguments + protos) != 0:
        raise RuntimeError(f"protoc failed on {folder}")
    sys.path.insert(0, target)
