"""Which of the project's C++ files includes which."""

import pathlib
import re

_SOURCE_SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
_SOURCE_FOLDERS = ("client", "server", "examples", "bench", "tests")
_INCLUDE_FOLDERS = (".", "client/include")


def read_includes(root):
    """Source file -> what it includes, both relative to the root; headers that are not there keep their own names."""
    root = pathlib.Path(root)
    includes = {}
    for top in _SOURCE_FOLDERS:
        for path in sorted((root / top).rglob("*")):
            if path.suffix in _SOURCE_SUFFIXES and path.is_file():
                name = path.relative_to(root).as_posix()
                includes[name] = [_resolve(root, path, header) for header in _INCLUDE.findall(path.read_text())]
    return includes


def _resolve(root, path, header):
    for folder in _INCLUDE_FOLDERS:
        if (root / folder / header).is_file():
            return (root / folder / header).relative_to(root).as_posix()
    beside = (path.parent / header).resolve()
    if beside.is_file() and root.resolve() in beside.parents:
        return beside.relative_to(root.resolve()).as_posix()
    return header


def closure(includes, source):
    """Project files that `source` includes, directly or not -> the file that includes them. Without `source`."""
    seen = {}
    waiting = [source]
    while waiting:
        current = waiting.pop()
        for header in includes[current]:
            if header in includes and header not in seen and header != source:
                seen[header] = current
                waiting.append(header)
    return seen
