"""The servers that are measured, each pinned to one core, and the models that densityd serves."""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

FEATURES = 6


@contextlib.contextmanager
def _process(core, command, **options):
    """A child process on one core; it is stopped, and waited for, whatever happens."""
    child = subprocess.Popen(["taskset", "-c", str(core), *command], **options)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def printing_server(core, command):
    """A server that prints "ready <port>". Yields (port, pid)."""
    with _process(core, command, stdout=subprocess.PIPE, text=True) as child:
        word, _, port = child.stdout.readline().strip().partition(" ")
        if word != "ready":
            raise RuntimeError(f"{' '.join(command)} did not start")
        yield int(port), child.pid


def python_alternative(core, protos):
    """What a Python user would serve with (python_alternative.py)."""
    script = pathlib.Path(__file__).with_name("python_alternative.py")
    return printing_server(core, [sys.executable, str(script), "--protos", str(protos)])


@contextlib.contextmanager
def densityd(core, binary, *flags, folder=None, environment=None, within=()):
    """densityd with one worker and an empty root, in `folder` where one is given. `core` is as taskset has it, `within`
    words to put before the command. Yields (port, pid, port of its metrics)."""
    with (contextlib.nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="densityd-bench-")) as folder:
        port_file = pathlib.Path(folder, "port")
        command = [*within, str(binary), "--root", f"{folder}/root", "--address", "127.0.0.1:0", "--metrics-address",
                   "127.0.0.1:0", "--workers", "1", "--port-file", str(port_file), "--log-level", "error",
                   "--lame-duck", "0", "--drain-timeout", "1", *flags]
        with _process(core, command, env=environment) as child:
            deadline = time.monotonic() + 60
            while not (port_file.exists() and port_file.read_text(encoding="utf-8").strip()):
                if child.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("densityd did not start")
                time.sleep(0.05)
            port, metrics_port = (int(address.rsplit(":")[-1]) for address in
                                  port_file.read_text(encoding="utf-8").split())
            yield port, child.pid, metrics_port


def cpu_seconds(pid):
    """Processor time that the process's living threads have used."""
    threads = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return 1e-9 * sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads)


def tiles(metrics_port):
    """(rows, tiles) that a densityd has computed so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if line.startswith("densityd_tile_rows_"))
    return float(samples["densityd_tile_rows_sum"]), float(samples["densityd_tile_rows_count"])


class Control:
    """Control calls to densityd. Needs `import_protos` first."""

    def __init__(self, port):
        import grpc  # pylint: disable=import-outside-toplevel
        from density.v1 import density_estimator_pb2_grpc, model_registry_pb2_grpc, training_pb2_grpc

        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", 64 << 20)])
        self._estimator = density_estimator_pb2_grpc.DensityEstimatorStub(self._channel)
        self._trainings = training_pb2_grpc.TrainingsStub(self._channel)
        self._registry = model_registry_pb2_grpc.ModelRegistryStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()

    def train(self, model, rows, options, **flow):
        """Trains to the end; as start."""
        return self.wait(self.start(model, rows, options, **flow))

    def start(self, model, rows, options, **flow):
        """Begins to train on `rows` (float32, (N, D), or the name of a file below --data-root); `flow` is preset= or
        spec=. Returns the Training."""
        from density.v1 import matrix_pb2, training_pb2  # pylint: disable=import-outside-toplevel

        data = {"file": rows} if isinstance(rows, str) else {
            "rows": matrix_pb2.Matrix(rows=len(rows), cols=rows.shape[1], f32_le=rows.astype("<f4").tobytes())}
        request = training_pb2.TrainRequest(
            model=model, options=training_pb2.TrainingOptions(**options), **data, **flow)
        return self._estimator.Train(request)

    def wait(self, training):
        """The Training when it has ended."""
        from density.v1 import training_pb2  # pylint: disable=import-outside-toplevel

        for training in self._trainings.Watch(training_pb2.WatchTrainingRequest(id=training.id)):
            pass
        if training.state != training_pb2.SUCCEEDED:
            raise RuntimeError(f"the training of {training.model} failed: {training.error}")
        return training

    def log_prob(self, model, rows):
        """log p of `rows` (float32, (N, D)): (N,), in nats."""
        import numpy  # pylint: disable=import-outside-toplevel
        from density.v1 import density_estimator_pb2, matrix_pb2

        chunks = []
        for begin in range(0, len(rows), 4096):
            chunk = rows[begin:begin + 4096].astype("<f4")
            request = density_estimator_pb2.LogProbRequest(
                model=model, rows=matrix_pb2.Matrix(rows=len(chunk), cols=rows.shape[1], f32_le=chunk.tobytes()))
            chunks.append(numpy.frombuffer(self._estimator.LogProb(request).log_prob.f32_le, "<f4"))
        return numpy.concatenate(chunks)

    def sample(self, model, count, seed):
        """`count` rows drawn from `model`: float32, (count, D)."""
        import numpy  # pylint: disable=import-outside-toplevel
        from density.v1 import density_estimator_pb2, matrix_pb2

        rows = self._estimator.Sample(density_estimator_pb2.SampleRequest(
            model=model, rows=count, seed=seed, encoding=matrix_pb2.ENCODING_F32_LE)).rows
        return numpy.frombuffer(rows.f32_le, "<f4").reshape(rows.rows, rows.cols)

    def set_alias(self, model, alias, version):
        """Points `alias` at `version`, which is loaded first where it is not."""
        from density.v1 import model_registry_pb2  # pylint: disable=import-outside-toplevel

        self._registry.SetAlias(model_registry_pb2.SetAliasRequest(name=model, alias=alias, version=version))

    def unload(self, model, version):
        from density.v1 import model_registry_pb2  # pylint: disable=import-outside-toplevel

        self._registry.Unload(model_registry_pb2.UnloadModelRequest(model=f"{model}@{version}"))


def example_rows(count, features=FEATURES):
    """Rows (count, features) that are not quite normal."""
    import numpy  # pylint: disable=import-outside-toplevel

    rows = numpy.random.default_rng(0).normal(size=(count, features)).astype("<f4")
    rows[:, 1] += 0.5 * rows[:, 0] ** 2
    return rows


def publish_models(control):
    """Versions 1 and 2 of "bench", version 1 of "other" (all: MAF, 8 transforms, hidden 256x2) and "null", a flow that
    has a scale and a shift per column and nothing else."""
    from density.v1 import flow_spec_pb2  # pylint: disable=import-outside-toplevel

    rows = example_rows(4096)
    maf = flow_spec_pb2.Preset(name="maf", transforms=8, hidden=[256, 256])
    for seed, model in enumerate(("bench", "bench", "other")):
        control.train(model, rows, {"steps": 30, "seed": seed}, preset=maf)
    control.train("null", rows, {"steps": 30}, preset=flow_spec_pb2.Preset(name="elementwise"))
