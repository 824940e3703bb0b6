#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets' corpora: small inputs that are good, and some that are nearly so.

  tests/fuzz/make_corpus.py FOLDER

Inputs that once broke a promise lie beside them under names of their own (broken-*).
"""

import hashlib
import io
import json
import pathlib
import struct
import sys
import tarfile


def safetensors(header, data=b""):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def npy(shape, descr, data, version=1):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    length = struct.pack("<H", len(header)) if version == 1 else struct.pack("<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def dataset(cols, chunks):
    header = b"DNSROWS1" + struct.pack("<Q", cols)
    out = header
    for index, (kind, rows, payload) in enumerate(chunks + [(0, 0, b"")]):
        prefix = struct.pack("<II", kind, rows)
        digest = hashlib.sha256(header + struct.pack("<Q", index) + prefix + payload).hexdigest().encode()
        out += prefix + digest + payload
    return out


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    # Two blocks of zeros end an archive; what tarfile adds beyond them is of no interest.
    return buffer.getvalue()[:sum(512 + -(-len(content) // 512) * 512 for _, content in members) + 1024]


def manifest():
    weights = safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8))
    return json.dumps({
        "format": 1, "name": "power", "createTime": "2026-01-02T03:04:05Z",
        "spec": {"features": 2, "layers": [{"fullAffine": {}}]},
        "schema": {"features": [{"name": "a", "min": -1.5}, {"name": "b"}]},
        "report": {"validationLogLikelihood": -1.25, "trainRows": "1000"},
        "files": [{"name": "weights.safetensors", "bytes": str(len(weights)),
                   "sha256": hashlib.sha256(weights).hexdigest()}],
    }, indent=2).encode()


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def matrix(rows, cols, field, payload):
    """density.v1.Matrix by hand: rows = 1, cols = 2, values = 3, f32_le = 4, f64_le = 5."""
    return (b"\x08" + varint(rows) + b"\x10" + varint(cols) + bytes([field << 3 | 2]) + varint(len(payload)) + payload)


def specs():
    mlp = {"mlp": {"hidden": [8, 8]}}
    yield "coupling", {"features": 4, "layers": [
        {"standardize": {"mean": [0, 1, 2, 3], "scale": [1, 1, 1, 1]}},
        {"coupling": {"mask": {"pattern": "ALTERNATING_EVEN"}, "univariate": {"affine": {}}, "conditioner": mlp}},
        {"permutation": {"columns": [3, 2, 1, 0]}},
        {"coupling": {"mask": {"transformed": [0, 2]}, "univariate": {"affine": {"maxLogScale": 3}},
                      "conditioner": {"residualMlp": {"hidden": 16, "blocks": 1, "dropout": 0.1}}}}]}
    yield "autoregressive", {"features": 3, "contextFeatures": 2, "base": {"studentT": {"degrees": 5}}, "layers": [
        {"autoregressive": {"univariate": {"rationalQuadraticSpline": {"bins": 8}}, "conditioner": mlp}},
        {"luLinear": {}}, {"actnorm": {}}, {"elementwise": {"univariate": {"mixtureCdf": {"components": 3}}}}]}
    yield "product", {"features": 3, "base": {"product": {"groups": [
        {"columns": [0, 1]}, {"columns": [2], "base": {"uniformBox": {}}}]}}, "layers": [
            {"planar": {}}, {"radial": {}}, {"sylvester": {}}, {"residual": {}}, {"householder": {"reflections": 2}},
            {"orthogonal": {}}]}
    yield "bases", {"features": 2, "contextFeatures": 1, "base": {"conditionalDiagonalNormal": {"conditioner": mlp}},
                    "layers": [{"fullAffine": {}}, {"permutation": {"kind": "RANDOM", "seed": "7"}}]}
    convolution = {"convResnet": {"channels": 4, "blocks": 1}}
    yield "image", {"features": 32, "image": {"channels": 2, "height": 4, "width": 4}, "layers": [
        {"coupling": {"mask": {"pattern": "CHECKERBOARD_ODD"}, "conditioner": convolution}}, {"squeeze": {}},
        {"actnorm": {"perChannel": True}}, {"invertibleConvolution": {"permutation": {"kind": "RANDOM"}}},
        {"coupling": {"mask": {"pattern": "LAST_CHANNELS"}, "conditioner": convolution}},
        {"split": {"conditioner": convolution}}, {"split": {"conditioner": mlp}}]}
    yield "hostile", {"features": 4294967295, "layers": [{"householder": {"reflections": 4294967295}}]}


def seeds():
    yield "csv/plain", b"a,b\n1,2\n3,4\n"
    yield "csv/no-header", b"1,2\n3.5e10,-4\n"
    yield "csv/quoted", b'\xef\xbb\xbf"a ""x""",b\r\n" 1 ",+2\r\nnan,inf\r\n\r\n'
    yield "csv/numbers-as-names", b'"1","2"\n3,4\n'
    yield "csv/ragged", b"a,b\n1\n2,3\n"
    yield "npy/f64", npy((2, 3), "<f8", struct.pack("<6d", 1, 2, 3, 4, float("nan"), float("inf")))
    yield "npy/f32", npy((3,), "<f4", struct.pack("<3f", 1, 2, 3))
    yield "npy/i64-version-2", npy((1, 2), "<i8", struct.pack("<2q", -1, 2**60), version=2)
    yield "npy/i32", npy((2, 1), "<i4", struct.pack("<2i", -1, 7))
    yield "npy/lies", npy((2**40, 2**20), "<f8", b"")
    yield "json_table/rows", b"[[1, 2], [3, 4.5]]"
    yield "json_table/objects", b'[{"a": 1, "b": 2}, {"b": 4, "a": 3}]'
    yield "json_table/columns", b'{"columns": ["a", "b"], "rows": [[1, 2]], "seed": 7}'
    yield "json_table/deep", b"[" * 300
    yield "safetensors/two", safetensors({
        "x": {"dtype": "F64", "shape": [1, 2], "data_offsets": [0, 16]},
        "y": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
        "__metadata__": {"k": "v"}}, bytes(range(24)))
    yield "safetensors/scalar", safetensors({"s": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}}, b"\1")
    yield "safetensors/empty", safetensors({})
    yield "safetensors/claims-2-to-60", safetensors(
        {"x": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 2**62]}}, bytes(16))
    yield "safetensors/overlap", safetensors({
        "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "y": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12))
    yield "safetensors/long-header", struct.pack("<Q", 2**63) + b"{}"
    yield "manifest/good", manifest()
    yield "manifest/newer", manifest().replace(b'"format": 1', b'"format": 2')
    yield "manifest/deep", b'{"spec": ' * 200
    for name, record in (("some", {"revision": 3, "versions": {"stable": 1, "latest": 2}, "highest_deleted": 7}),
                         ("none", {"revision": 0, "versions": {}, "highest_deleted": 0})):
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        yield f"aliases/{name}", json.dumps(
            {"aliases": record, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()
    yield "tar/version", tar([("manifest.json", b"{}" * 300), ("manifest.sha256", b"0" * 64), ("empty", b"")])
    yield "tar/cut", tar([("weights.safetensors", b"x" * 700)])[:900]
    yield "dataset/f32", dataset(2, [(4, 2, struct.pack("<4f", 1, 2, 3, 4)), (4, 1, struct.pack("<2f", 5, 6))])
    yield "dataset/f64", dataset(1, [(8, 3, struct.pack("<3d", 1, 2, 3))])
    yield "dataset/empty", dataset(3, [])
    yield "dataset/lies", dataset(2**20, [(8, 2**32 - 1, b"")])
    yield "matrix/f64", matrix(2, 2, 5, struct.pack("<4d", 1, 2, 3, 1e300))
    yield "matrix/f32", matrix(1, 3, 4, struct.pack("<3f", 1, float("inf"), 3))
    yield "matrix/values", matrix(1, 2, 3, struct.pack("<2f", 1, 2))
    yield "matrix/lies", matrix(2**40, 2**40, 5, b"")
    yield "grants/all", (b"# who may do what\nname=ci token=0123456789abcdef:" + b"a" * 64 +
                         b" rights=infer,train models=power*,gas expires=2027-01-31\n\n"
                         b"name=dash certificate=dash.example.org rights=metrics max_rows_per_second=1000 max_calls=8\n")
    yield "grants/twice", b"name=a certificate=x rights=admin\nname=a certificate=x rights=admin\n"
    for name, spec in specs():
        yield f"flow_spec/{name}", json.dumps(spec).encode()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    for name, content in seeds():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
