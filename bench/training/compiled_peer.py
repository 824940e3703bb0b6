"""zuko's steps under torch.compile, in a process of their own, where MKL takes its fast path on every processor."""

import os
import pathlib
import subprocess
import sys

import numpy

HERE = pathlib.Path(__file__).resolve().parent


def _fast_mkl(folder):
    """A library whose preloading tells MKL that every processor is Intel's, as LibTorch users on AMD do."""
    source, library = folder / "mkl_fast.c", folder / "mkl_fast.so"
    source.write_text("int mkl_serv_intel_cpu_true(void) { return 1; }\n", encoding="utf-8")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", library, source], check=True)
    return library


class CompiledPeer:
    """Takes steps when it is asked to, and waits otherwise. `folder` is for its files."""

    def __init__(self, shape, rows, batch, folder):
        folder = pathlib.Path(folder)
        numpy.save(folder / "rows.npy", rows)
        arguments = [str(part) for part in (*shape, batch, folder / "rows.npy")]
        self._process = subprocess.Popen(
            [sys.executable, "-B", str(HERE / "zuko_training.py"), *arguments], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=os.environ | {"LD_PRELOAD": str(_fast_mkl(folder))})

    def __enter__(self):
        if self._process.stdout.readline().strip() != "ready":
            raise RuntimeError("torch.compile of zuko's step failed; see above")
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def step_seconds(self, steps=3):
        """Mean over `steps` steps."""
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())
