"""A Python client whose code is generated from the protos here and now: the API needs nothing of this project's."""

import importlib
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import grpc

import harness


def generate(folder):
    """Generates the Python code of density.v1 and of the error details into `folder`, and makes it importable."""
    protos = harness.SOURCE / "proto"
    common = pathlib.Path(os.environ["DENSITYD_COMMON_PROTOS"])
    own = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    subprocess.run([os.environ["PROTOC"], f"-I{protos}", f"-I{common}", f"--python_out={folder}",
                    f"--grpc_out={folder}", f"--plugin=protoc-gen-grpc={os.environ['GRPC_PYTHON_PLUGIN']}", *own],
                   check=True)
    subprocess.run([os.environ["PROTOC"], f"-I{common}", f"--python_out={folder}", "google/rpc/status.proto",
                    "google/rpc/error_details.proto"], check=True)
    # The packages are found by their folders; `google` is shared with protobuf itself.
    sys.path.insert(0, str(folder))
    import google
    google.__path__.append(str(pathlib.Path(folder) / "google"))


class PythonClientTest(harness.ServerTestCase):

    @classmethod
    def setUpClass(cls):
        cls.generated = tempfile.TemporaryDirectory(prefix="densityd-e2e-python-")
        cls.addClassCleanup(cls.generated.cleanup)
        generate(cls.generated.name)
        for name in ("matrix", "training", "datasets", "model_registry", "density_estimator"):
            setattr(cls, name, importlib.import_module(f"density.v1.{name}_pb2"))
        cls.rpc = {name: importlib.import_module(f"density.v1.{name}_pb2_grpc")
                   for name in ("training", "datasets", "model_registry", "density_estimator")}

    def setUp(self):
        super().setUp()
        self.channel = grpc.insecure_channel(self.server.address)
        self.addCleanup(self.channel.close)
        self.estimator = self.rpc["density_estimator"].DensityEstimatorStub(self.channel)
        self.trainings = self.rpc["training"].TrainingsStub(self.channel)
        self.datasets = self.rpc["datasets"].DatasetsStub(self.channel)
        self.registry = self.rpc["model_registry"].ModelRegistryStub(self.channel)

    def values(self, rows):
        return self.matrix.Matrix(rows=len(rows), cols=len(rows[0]), values=[x for row in rows for x in row])

    def train(self, **data):
        request = self.training.TrainRequest(model="m", **data)
        request.preset.name = "maf"
        request.preset.transforms = 2
        request.preset.hidden.extend([16, 16])
        request.options.steps = 60
        started = self.estimator.Train(request, timeout=harness.PATIENCE)
        *_, last = self.trainings.Watch(self.training.WatchTrainingRequest(id=started.id), timeout=harness.PATIENCE)
        self.assertEqual(last.state, self.training.SUCCEEDED, last.error)
        return last

    def test_train_watch_and_query(self):
        outcome = self.train(rows=self.values(harness.correlated(500)), columns=["a", "b"])
        self.assertEqual(outcome.version, 1)
        self.assertGreater(outcome.report.validation_rows, 0)

        rows = self.values(harness.correlated(10, seed=4))
        scored = self.estimator.LogProb(
            self.density_estimator.LogProbRequest(model="m", rows=rows, tail_probability=True))
        self.assertEqual((scored.model.name, scored.model.version), ("m", 1))
        self.assertEqual(len(scored.log_prob.values), 10)
        self.assertEqual(len(scored.tail_probability.values), 10)

        mapped = self.estimator.Inverse(self.density_estimator.InverseRequest(model="m", rows=rows))
        back = self.estimator.Forward(self.density_estimator.ForwardRequest(model="m", rows=mapped.rows))
        for expected, number in zip(rows.values, back.rows.values):
            self.assertAlmostEqual(number, expected, delta=1e-4 * max(1, abs(expected)))
        for there, here in zip(mapped.log_abs_det.values, back.log_abs_det.values):
            self.assertAlmostEqual(there, -here, delta=1e-4)

        sample = self.estimator.Sample(self.density_estimator.SampleRequest(model="m", rows=5, seed=3, log_prob=True))
        again = self.estimator.Sample(self.density_estimator.SampleRequest(model="m", rows=5, seed=3, log_prob=True))
        self.assertEqual(sample, again)
        self.assertEqual((sample.rows.rows, sample.rows.cols, sample.seed), (5, 2, 3))

    def test_every_encoding_gives_the_same_answer(self):
        self.train(rows=self.values(harness.correlated(500)))
        row = (1.5, 0.75)
        answers = []
        for encoding in ({"values": row}, {"f32_le": struct.pack("<2f", *row)}, {"f64_le": struct.pack("<2d", *row)}):
            request = self.density_estimator.LogProbRequest(
                model="m", rows=self.matrix.Matrix(rows=1, cols=2, **encoding))
            vector = self.estimator.LogProb(request).log_prob
            answers.append(vector.values[0] if vector.values else
                           struct.unpack("<f", vector.f32_le)[0] if vector.f32_le else
                           struct.unpack("<d", vector.f64_le)[0])
        self.assertEqual(answers[0], answers[1])
        self.assertAlmostEqual(answers[0], answers[2], delta=1e-6)  # The same, with more digits.

    def test_streams_have_the_rows_of_calls(self):
        self.server.train("m")
        api = self.density_estimator
        whole = self.estimator.Sample(api.SampleRequest(model="m", rows=100, seed=3, log_prob=True))
        chunks = list(self.estimator.StreamSample(api.StreamSampleRequest(
            sample=api.SampleRequest(model="m", rows=100, seed=3), chunk_rows=7)))
        self.assertEqual([number for chunk in chunks for number in chunk.rows.values], list(whole.rows.values))
        answers = self.estimator.StreamLogProb(
            api.LogProbRequest(model="m", rows=chunk.rows) for chunk in chunks)
        log_prob = [number for answer in answers for number in answer.log_prob.values]
        self.assertEqual(len(log_prob), 100)
        for streamed, sampled in zip(log_prob, whole.log_prob.values):
            self.assertAlmostEqual(streamed, sampled, places=3)

    def test_an_uploaded_dataset_is_trained_on_and_deleted(self):
        rows = harness.correlated(600)
        chunks = (self.datasets_request(rows[i:i + 200], first=i == 0) for i in range(0, 600, 200))
        dataset = self.datasets.Upload(chunks)
        self.assertEqual((dataset.rows, list(dataset.columns)), (600, ["a", "b"]))
        self.train(dataset=dataset.id)
        messages = importlib.import_module("density.v1.datasets_pb2")
        self.datasets.Delete(messages.DeleteDatasetRequest(id=dataset.id))
        self.assertEqual(len(self.datasets.List(messages.ListDatasetsRequest()).datasets), 0)

    def datasets_request(self, rows, first):
        messages = importlib.import_module("density.v1.datasets_pb2")
        request = messages.UploadDatasetRequest(rows=self.values(rows))
        if first:
            request.display_name = "rows"
            request.columns.extend(["a", "b"])
        return request

    def test_errors_carry_details_that_programs_can_read(self):
        self.train(rows=self.values(harness.correlated(500)))
        bad = self.values([(1.0, 2.0), (float("nan"), 2.0)])
        with self.assertRaises(grpc.RpcError) as caught:
            self.estimator.LogProb(self.density_estimator.LogProbRequest(model="m", rows=bad))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        trailers = {item.key: item.value for item in caught.exception.trailing_metadata()}
        status = importlib.import_module("google.rpc.status_pb2").Status.FromString(trailers["grpc-status-details-bin"])
        request = importlib.import_module("google.rpc.error_details_pb2").BadRequest()
        self.assertTrue(status.details[0].Unpack(request))
        self.assertEqual(request.field_violations[0].field, "rows[1]")

    def test_scores_are_the_slopes_of_the_density(self):
        self.train(rows=self.values(harness.correlated(500)))
        step = 1e-4
        x = (1.5, 0.75)
        around = [x, (x[0] + step, x[1]), (x[0] - step, x[1]), (x[0], x[1] + step), (x[0], x[1] - step)]
        answer = self.estimator.Score(self.density_estimator.ScoreRequest(model="m", rows=self.values([x])))
        request = self.density_estimator.LogProbRequest(
            model="m", precision=self.matrix.PRECISION_FLOAT64,
            rows=self.matrix.Matrix(rows=5, cols=2, f64_le=struct.pack("<10d", *(number for row in around for number in row))))
        density = struct.unpack("<5d", self.estimator.LogProb(request).log_prob.f64_le)
        self.assertAlmostEqual(answer.log_prob.values[0], density[0], delta=1e-5)
        for column, slope in enumerate(answer.score.values):
            expected = (density[1 + 2 * column] - density[2 + 2 * column]) / (2 * step)
            self.assertAlmostEqual(slope, expected, delta=1e-3 * (1 + abs(expected)))


if __name__ == "__main__":
    unittest.main()
