"""Model versions on disk, as docs/model-format.md describes them."""

import ctypes
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile

import numpy as np

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
_FORMAT = "densityd root 1\n"
_WEIGHTS = "weights.safetensors"
_RENAME_NOREPLACE = 1


def safetensors_bytes(tensors):
    """A safetensors file of {name: float64 array}."""
    header, end = {}, 0
    for name, values in tensors.items():
        begin, end = end, end + 8 * values.size
        header[name] = {"dtype": "F64", "shape": list(values.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    data = b"".join(np.ascontiguousarray(values, dtype="<f8").tobytes() for values in tensors.values())
    return len(text).to_bytes(8, "little") + text + data


def _manifest_and_weights(name, model, source, created, facts):
    """The text of manifest.json and the bytes of the weights; `source` says where the model came from, `facts` (of
    table.describe, or nothing) what its data look like."""
    weights = safetensors_bytes(model.tensors)
    manifest = {
        "format": 1,
        "name": name,
        "spec": model.spec(),
        "schema": {
            "features": [{"name": f"column_{j}"} for j in range(model.features)],
            "context": [{"name": f"context_{j}"} for j in range(model.context)],
        },
        **facts,
        "provenance": {"data": source},
        "create_time": created.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "files": [{"name": _WEIGHTS, "bytes": str(len(weights)), "sha256": hashlib.sha256(weights).hexdigest()}],
    }
    return json.dumps(manifest, indent=1) + "\n", weights


def write_version(folder, name, model, source, created, facts=None):
    """Writes the files of a version into `folder`, which is made; synced."""
    text, weights = _manifest_and_weights(name, model, source, created, facts or {})
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    for file, content in ((_WEIGHTS, weights), ("manifest.json", text.encode()),
                          ("manifest.sha256", f"{digest}  manifest.json\n".encode())):
        with open(folder / file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    _sync_folder(folder)


def publish(root, name, model, source, facts=None):
    """Adds a version to the models of a server's root, all or nothing; returns its number."""
    root = pathlib.Path(root)
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise ValueError(f"{name!r} is no model name: 1 … 128 characters of [a-z0-9_.-], beginning with a letter or "
                         "digit, not ending in a dot")
    if not (root / "FORMAT").is_file() or (root / "FORMAT").read_text(encoding="ascii") != _FORMAT:
        raise ValueError(f"{root} is no root of this densityd: start densityd --root={root} once, or name its root")
    (root / "tmp").mkdir(exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix="publish-", dir=root / "tmp"))
    try:
        write_version(temporary / "version", name, model, source, datetime.datetime.now(datetime.timezone.utc),
                      facts)
        models = root / "models" / name
        models.mkdir(parents=True, exist_ok=True)
        _sync_folder(root / "models")
        with open(models / "lock", "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            number = _highest_version(models) + 1
            _rename_without_replacing(temporary / "version", models / str(number))
            _sync_folder(models)
        return number
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _highest_version(models):
    """The highest number that is or ever was there."""
    numbers = [int(entry.name) for entry in models.iterdir() if re.fullmatch(r"[1-9][0-9]*", entry.name)]
    aliases = models / "aliases.json"
    if aliases.exists():
        numbers.append(int(json.loads(aliases.read_text())["aliases"].get("highest_deleted", 0)))
    return max(numbers, default=0)


def _rename_without_replacing(source, target):
    libc = ctypes.CDLL(None, use_errno=True)
    here = -100  # AT_FDCWD
    if libc.renameat2(here, os.fsencode(source), here, os.fsencode(target), _RENAME_NOREPLACE):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(target))


def _sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
