"""The API of a server in Python, generated from the protos here and now."""

import atexit
import functools
import importlib
import pathlib
import tempfile

import grpc

import python_client_test


class Api:
    """Messages (`density`, `training`, `dataset`, `models`, `healths`, `Matrix`) and stubs on one connection, which ends
    with the trial."""

    def __init__(self, context, server, options=()):
        _generate()
        self.Matrix = _messages("matrix").Matrix
        self.density = _messages("density_estimator")
        self.training = _messages("training")
        self.dataset = _messages("datasets")
        self.models = _messages("model_registry")
        self.healths = importlib.import_module("grpc.health.v1.health_pb2")
        channel = grpc.insecure_channel(server.address, list(options))
        context.defer(channel.close)
        self.estimator = _stubs("density_estimator").DensityEstimatorStub(channel)
        self.trainings = _stubs("training").TrainingsStub(channel)
        self.datasets = _stubs("datasets").DatasetsStub(channel)
        self.registry = _stubs("model_registry").ModelRegistryStub(channel)
        self.health = importlib.import_module("grpc.health.v1.health_pb2_grpc").HealthStub(channel)

    def log_prob(self, rows, **matrix):
        """A request about `rows` rows of two columns of the model m."""
        return self.density.LogProbRequest(model="m", rows=self.Matrix(rows=rows, cols=2, **matrix))


def call_of_each_kind():
    """Method and request of a call for health, of one for a row of the model m, and of one for control."""
    _generate()
    row = _messages("density_estimator").LogProbRequest(
        model="m", rows=_messages("matrix").Matrix(rows=1, cols=2, values=[1, 2]))
    return [("/grpc.health.v1.Health/Check", b""),
            ("/density.v1.DensityEstimator/LogProb", row.SerializeToString()),
            ("/density.v1.ModelRegistry/Get",
             _messages("model_registry").GetModelRequest(model="m").SerializeToString())]


@functools.cache
def _generate():
    folder = tempfile.TemporaryDirectory(prefix="densityd-faults-api-")
    atexit.register(folder.cleanup)
    python_client_test.generate(folder.name)
    grpc.__path__.append(str(pathlib.Path(folder.name) / "grpc"))  # where the health checks' code is


def _messages(name):
    return importlib.import_module(f"density.v1.{name}_pb2")


def _stubs(name):
    return importlib.import_module(f"density.v1.{name}_pb2_grpc")
