#!/usr/bin/env python3
"""Checks that the tree keeps to its layers (docs/architecture.md).

  layers.py ROOT    prints one line per violation; exit status 1 if there are any

Two rules:
  * a folder includes only itself and folders that stand above it in LAYERS;
  * no file of a torch-free folder sees a LibTorch header, neither by its own includes nor through headers of the project.
"""

import argparse
import pathlib
import re
import sys

from include_graph import closure, read_includes

# Each folder may include those before it. What is not listed (tests, bench, tools, examples) may include anything.
LAYERS = [
    "proto", "server/base", "server/flow", "server/registry", "server/engine", "server/explain", "server/training",
    "server/serving", "server/telemetry", "server/rpc", "server"
]
# Outside the list: the client library is installed without the server, so it sees only these.
CLIENT_MAY_INCLUDE = ["proto", "server/base", "client"]
TORCH_FREE = [
    "proto", "client", "server/base", "server/registry", "server/explain", "server/serving", "server/telemetry",
    "server/rpc", "server", "examples"
]

_TORCH_HEADER = re.compile(r"^(torch|ATen|c10|caffe2)/")


def folder_of(path):
    """The layer, or other top-level folder, of a path below the root: 'server/base/clock.h' -> 'server/base'."""
    parts = pathlib.PurePosixPath(path).parts
    if parts[0] == "density":
        return "proto"
    if parts[0] == "server" and len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0]


def _is_allowed(folder, included):
    if folder == included or included in ("tests", "bench", "examples"):
        return folder == included
    if folder == "client":
        return included in CLIENT_MAY_INCLUDE
    if included not in LAYERS:
        return False
    return LAYERS.index(included) <= LAYERS.index(folder)


def violations(root):
    """One message per violation."""
    includes = read_includes(root)
    messages = []
    for source, headers in includes.items():
        folder = folder_of(source)
        if folder in LAYERS or folder == "client":
            for header in headers:
                is_project = header in includes or header.startswith(("density/", "server/", "client/"))
                if is_project and not _is_allowed(folder, folder_of(header)):
                    messages.append(f"{source}: includes {header}: {folder} may not depend on {folder_of(header)}")
        if folder in TORCH_FREE:
            messages += _torch_violations(includes, source, folder)
    return messages


def _torch_violations(includes, source, folder):
    messages = []
    through = closure(includes, source)
    for reached in [source, *through]:
        torch_headers = [header for header in includes[reached] if _TORCH_HEADER.match(header)]
        if torch_headers:
            path = [reached]
            while path[0] != source:
                path.insert(0, through[path[0]])
            chain = " -> ".join([*path, torch_headers[0]])
            messages.append(f"{source}: {folder} is torch-free, but it sees LibTorch: {chain}")
    return messages


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=pathlib.Path)
    root = parser.parse_args().root
    messages = violations(root)
    for message in messages:
        print(message)
    print(f"layers: {len(read_includes(root))} files, {len(messages)} violations")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
