"""What comes from outside: names, sizes, numbers."""

import importlib
import pathlib
import tempfile

import grpc

import harness
import python_client_test
from trial import check, resident_bytes, total, trial

HOSTILE = ["..", ".", "/", "a/b", "../../etc/passwd", "a\0b", "\0", "a" * 65, "a" * 4096, "A", "ａ", "аdmin", ".tmp",
           "a.tmp-1", "a b", " a", "a ", "-a", "_", "a\n", "a\u202eb", "con", "latest@", "@", "@1", "a@b@c", "m@0", "m@-1",
           "m@99999999999999999999", "m@../1", "%2e%2e", "~", "$HOME", "*", "?", "a:b", "file:///etc/passwd", "\\..\\", ""]


def generated(context):
    folder = pathlib.Path(tempfile.mkdtemp(dir=context.folder))
    python_client_test.generate(folder)
    names = ("matrix", "training", "datasets", "model_registry", "density_estimator")
    messages = {name: importlib.import_module(f"density.v1.{name}_pb2") for name in names}
    stubs = {name: importlib.import_module(f"density.v1.{name}_pb2_grpc") for name in names if name != "matrix"}
    return messages, stubs


def _name(context):
    """A hostile name: one of those above, changed at random."""
    name = list(context.random.choice(HOSTILE))
    for _ in range(context.random.randrange(3)):
        name.insert(context.random.randrange(len(name) + 1),
                    context.random.choice(["/", "..", "\0", "@", "\u0430", ".", "\t", "%", "a", "\x7f"]))
    return "".join(name)


@trial("Hostile names in every field that takes one: INVALID_ARGUMENT or NOT_FOUND, nothing outside the root is made, and "
       "the server goes on")
def hostile_names(context):
    server = context.server("--workers", "1")
    server.train("m")
    messages, stubs = generated(context)
    channel = grpc.insecure_channel(server.address)
    context.defer(channel.close)
    estimator = stubs["density_estimator"].DensityEstimatorStub(channel)
    trainings = stubs["training"].TrainingsStub(channel)
    datasets = stubs["datasets"].DatasetsStub(channel)
    registry = stubs["model_registry"].ModelRegistryStub(channel)
    density, training, dataset, models = (messages[name] for name in ("density_estimator", "training", "datasets",
                                                                       "model_registry"))
    rows = messages["matrix"].Matrix(rows=1, cols=2, values=[1, 2])
    calls = {
        "LogProb.model": lambda n: estimator.LogProb(density.LogProbRequest(model=n, rows=rows)),
        "Inverse.model": lambda n: estimator.Inverse(density.InverseRequest(model=n, rows=rows)),
        "Forward.model": lambda n: estimator.Forward(density.ForwardRequest(model=n, rows=rows)),
        "Sample.model": lambda n: estimator.Sample(density.SampleRequest(model=n, rows=1)),
        "StreamSample.model": lambda n: list(estimator.StreamSample(density.StreamSampleRequest(sample={"model": n, "rows": 1}))),
        "Explain.model": lambda n: estimator.Explain(density.ExplainRequest(model=n, rows=rows)),
        "Train.model": lambda n: estimator.Train(training.TrainRequest(model=n, rows=rows)),
        "Train.dataset": lambda n: estimator.Train(_train(training, dataset=n)),
        "Train.file": lambda n: estimator.Train(_train(training, file=n)),
        "Trainings.Get": lambda n: trainings.Get(training.GetTrainingRequest(id=n)),
        "Trainings.Cancel": lambda n: trainings.Cancel(training.CancelTrainingRequest(id=n)),
        "Trainings.Watch": lambda n: list(trainings.Watch(training.WatchTrainingRequest(id=n))),
        "Datasets.Get": lambda n: datasets.Get(dataset.GetDatasetRequest(id=n)),
        "Datasets.Delete": lambda n: datasets.Delete(dataset.DeleteDatasetRequest(id=n)),
        "Models.Get": lambda n: registry.Get(models.GetModelRequest(model=n)),
        "Models.Load": lambda n: registry.Load(models.LoadModelRequest(model=n)),
        "Models.Unload": lambda n: registry.Unload(models.UnloadModelRequest(model=n)),
        "Models.Delete": lambda n: registry.Delete(models.DeleteModelRequest(name=n, version=7)),
        "Models.SetAlias.name": lambda n: registry.SetAlias(models.SetAliasRequest(name=n, alias="x", version=1)),
        "Models.SetAlias.alias": lambda n: registry.SetAlias(models.SetAliasRequest(name="m", alias=n, version=1)),
        "Models.DeleteAlias": lambda n: registry.DeleteAlias(models.DeleteAliasRequest(name="m", alias=n)),
        "Models.GetPlan": lambda n: registry.GetPlan(models.GetPlanRequest(model=n)),
        "Models.Export": lambda n: list(registry.Export(models.ExportModelRequest(model=n))),
    }
    tree = _tree(context.folder)
    told = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
    each = context.count(40, 5000)
    sent = 0
    for field, call in calls.items():
        for _ in range(each):
            name = _name(context)
            try:
                call(name)
            except grpc.RpcError as error:
                check(error.code() in told, f"{field} of {name!r}: {error.code()} {error.details()}")
            except (ValueError, UnicodeError):
                continue  # The client's own library does not send it.
            else:
                raise AssertionError(f"{field} took {name!r}")
            sent += 1
    check(_tree(context.folder) == tree, "files were made")
    server.ctl("logprob", "m", text=harness.csv([(1.0, 2.0)]))
    return {"fields": len(calls), "calls": sent, "names accepted": 0}


def _train(training, **data):
    request = training.TrainRequest(model="x", **data)
    request.preset.name = "maf"
    return request


def _tree(folder):
    """All files but logs and what was generated for this trial."""
    return sorted(str(path) for path in folder.rglob("*") if path.suffix not in (".log", ".pyc"))


@trial("Sizes at a limit, one below and one above, 2^40 rows, and answers that would not fit: refused at once with the "
       "limit in the message, memory unmoved")
def sizes(context):
    limit = 1000
    message_limit = 1 << 20
    server = context.server("--workers", "1", "--max-request-rows", limit, "--max-message-bytes", message_limit)
    server.train("m")
    messages, stubs = generated(context)
    channel = grpc.insecure_channel(server.address, [("grpc.max_send_message_length", -1),
                                                     ("grpc.max_receive_message_length", -1)])
    context.defer(channel.close)
    estimator = stubs["density_estimator"].DensityEstimatorStub(channel)
    density, matrix = messages["density_estimator"], messages["matrix"].Matrix
    before = resident_bytes(server)

    def log_prob(rows, **fields):
        fields = fields or {"values": [1.0] * 2 * rows}
        return estimator.LogProb(density.LogProbRequest(model="m", rows=matrix(rows=rows, cols=2, **fields)))

    def refused(call, text):
        try:
            call()
        except grpc.RpcError as error:
            codes = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
            check(error.code() in codes and text in error.details(), f"{error.code()}: {error.details()}")
        else:
            raise AssertionError(f"was not refused with {text!r}")

    for rows in (limit - 1, limit):
        check(len(log_prob(rows).log_prob.values) == rows, rows)
        check(estimator.Sample(density.SampleRequest(model="m", rows=rows)).rows.rows == rows, rows)
    refused(lambda: log_prob(limit + 1), "1000")
    refused(lambda: log_prob(2**40, f32_le=b""), "rows")
    refused(lambda: log_prob(2**63, f32_le=b"x"), "rows")
    for rows in (limit + 1, 2**40, 2**64 - 1):
        refused(lambda: estimator.Sample(density.SampleRequest(model="m", rows=rows)), "1000")
    # A message that is small on the wire and large in memory: megabytes of zeros, compressed.
    bombs = context.count(5, 200)
    for _ in range(bombs):
        bomb = density.LogProbRequest(model="m", rows=matrix(rows=2**22, cols=2, f32_le=bytes(2**25)))
        try:
            estimator.LogProb(bomb, compression=grpc.Compression.Gzip)
        except grpc.RpcError as error:
            check(error.code() == grpc.StatusCode.UNIMPLEMENTED and "gzip" in error.details(), error)
        else:
            raise AssertionError("a bomb was taken")
    grown = resident_bytes(server) - before
    check(grown < 64 << 20, f"grew by {grown / 2**20:.0f} MiB")
    server.ctl("logprob", "m", text=harness.csv([(1.0, 2.0)]))
    return {"compressed bombs": bombs, "memory grown (MiB)": round(grown / 2**20, 1)}


@trial("NaN, infinities, denormals and 1e38 among healthy requests of one tile: the bad request alone is refused, and the "
       "others keep the bits that they have alone")
def hostile_numbers(context):
    server = context.server("--workers", "1")
    server.train("m")
    messages, stubs = generated(context)
    channel = grpc.insecure_channel(server.address)
    context.defer(channel.close)
    log_prob = stubs["density_estimator"].DensityEstimatorStub(channel).LogProb
    density, matrix = messages["density_estimator"], messages["matrix"].Matrix
    healthy = [density.LogProbRequest(model="m", rows=matrix(rows=1, cols=2, values=row))
               for row in harness.correlated(63, seed=3)]
    alone = [log_prob(request).SerializeToString() for request in healthy]
    values = [float("nan"), float("inf"), float("-inf"), 1e-42, 1e38, -1e38, 3.4e38]
    rounds = context.count(30, 3000)
    refused = 0
    for _ in range(rounds):
        bad = density.LogProbRequest(model="m", rows=matrix(rows=1, cols=2, values=[context.random.choice(values), 1.0]))
        position = context.random.randrange(64)
        requests = healthy[:position] + [bad] + healthy[position:]
        futures = [log_prob.future(request) for request in requests]
        for i, future in enumerate(futures):
            if i == position:
                refused += future.code() == grpc.StatusCode.INVALID_ARGUMENT
                check(future.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), future.details())
            else:
                check(future.result().SerializeToString() == alone[i - (i > position)], "a neighbour's bits changed")
    check(total(server, "densityd_tile_rows_count") < total(server, "densityd_tile_rows_sum"), "requests shared tiles")
    return {"tiles": rounds, "bad rows refused": refused, "neighbours changed": 0}
