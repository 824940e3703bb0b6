"""Generates and imports the Python messages and stubs of density.v1."""

import atexit
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile


def _compiler():
    """grpc_tools', which makes what the installed grpc takes; where Debian has installed grpc, Debian's."""
    if importlib.util.find_spec("grpc_tools"):
        return [sys.executable, "-m", "grpc_tools.protoc"]
    return ["protoc", f"--plugin=protoc-gen-grpc_python={shutil.which('grpc_python_plugin')}"]


def import_protos(folder):
    """Compiles density/v1/*.proto below `folder` into a folder that lives as long as this process, and makes `density.v1`
    importable."""
    target = tempfile.mkdtemp(prefix="density-protos-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    protos = sorted(str(path) for path in pathlib.Path(folder, "density", "v1").glob("*.proto"))
    subprocess.run([*_compiler(), f"-I{folder}", f"--python_out={target}", f"--grpc_python_out={target}", *protos],
                   check=True)
    sys.path.insert(0, target)
