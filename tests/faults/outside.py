"""What comes from outside: names, sizes, numbers."""

import re

import grpc

import harness
from api import Api
from trial import check, resident_bytes, total, trial

HOSTILE = ["..", ".", "/", "a/b", "../../etc/passwd", "a\0b", "\0", "a" * 65, "a" * 4096, "A", "ａ", "аdmin", ".tmp",
           "a.tmp-1", "a b", " a", "a ", "-a", "_", "a\n", "a\u202eb", "con", "latest@", "@", "@1", "a@b@c", "m@0", "m@-1",
           "m@99999999999999999999", "m@../1", "%2e%2e", "~", "$HOME", "*", "?", "a:b", "file:///etc/passwd", "\\..\\", ""]


# Where something new gets a name: these are good ones (server/registry/names.h).
GOOD = {"Train.model": re.compile(r"[a-z0-9]([a-z0-9_.-]{0,126}[a-z0-9_-])?"),
        "Models.SetAlias.alias": re.compile(r"[a-z][a-z0-9_-]{0,63}")}


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
    files = context.folder / "files"
    files.mkdir()
    server = context.server("--workers", "1", "--data-root", files)
    server.train("m")
    api = Api(context, server)
    rows = api.Matrix(rows=1, cols=2, values=[1, 2])
    # Enough to train on, so that it is the name that is refused.
    many = api.Matrix(rows=200, cols=2, values=[number for row in harness.correlated(200) for number in row])
    calls = {
        "LogProb.model": lambda n: api.estimator.LogProb(api.density.LogProbRequest(model=n, rows=rows)),
        "Inverse.model": lambda n: api.estimator.Inverse(api.density.InverseRequest(model=n, rows=rows)),
        "Forward.model": lambda n: api.estimator.Forward(api.density.ForwardRequest(model=n, rows=rows)),
        "Sample.model": lambda n: api.estimator.Sample(api.density.SampleRequest(model=n, rows=1)),
        "Score.model": lambda n: api.estimator.Score(api.density.ScoreRequest(model=n, rows=rows)),
        "StreamSample.model": lambda n: list(
            api.estimator.StreamSample(api.density.StreamSampleRequest(sample={"model": n, "rows": 1}))),
        "Explain.model": lambda n: api.estimator.Explain(api.density.ExplainRequest(model=n, rows=rows)),
        "Train.model": lambda n: api.estimator.Train(_train(api, model=n, rows=many)),
        "Train.dataset": lambda n: api.estimator.Train(_train(api, dataset=n)),
        "Train.file": lambda n: api.estimator.Train(_train(api, file=n)),
        "Trainings.Get": lambda n: api.trainings.Get(api.training.GetTrainingRequest(id=n)),
        "Trainings.Cancel": lambda n: api.trainings.Cancel(api.training.CancelTrainingRequest(id=n)),
        "Trainings.Watch": lambda n: list(api.trainings.Watch(api.training.WatchTrainingRequest(id=n))),
        "Datasets.Get": lambda n: api.datasets.Get(api.dataset.GetDatasetRequest(id=n)),
        "Datasets.Delete": lambda n: api.datasets.Delete(api.dataset.DeleteDatasetRequest(id=n)),
        "Models.Get": lambda n: api.registry.Get(api.models.GetModelRequest(model=n)),
        "Models.Load": lambda n: api.registry.Load(api.models.LoadModelRequest(model=n)),
        "Models.Unload": lambda n: api.registry.Unload(api.models.UnloadModelRequest(model=n)),
        "Models.Delete": lambda n: api.registry.Delete(api.models.DeleteModelRequest(name=n, version=7)),
        "Models.SetAlias.name": lambda n: api.registry.SetAlias(
            api.models.SetAliasRequest(name=n, alias="x", version=1)),
        "Models.SetAlias.alias": lambda n: api.registry.SetAlias(
            api.models.SetAliasRequest(name="m", alias=n, version=1)),
        "Models.DeleteAlias": lambda n: api.registry.DeleteAlias(api.models.DeleteAliasRequest(name="m", alias=n)),
        "Models.GetPlan": lambda n: api.registry.GetPlan(api.models.GetPlanRequest(model=n)),
        "Models.Export": lambda n: list(api.registry.Export(api.models.ExportModelRequest(model=n))),
    }
    tree = _tree(context.folder)
    told = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    each = context.count(40, 5000)
    sent = 0
    for field, call in calls.items():
        for _ in range(each):
            name = _name(context)
            if field in GOOD and GOOD[field].fullmatch(name):
                continue
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


def _train(api, model="x", **data):
    request = api.training.TrainRequest(model=model, **data)
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
    api = Api(context, server, [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)])
    estimator, density = api.estimator, api.density
    before = resident_bytes(server)

    def log_prob(rows, **fields):
        fields = fields or {"values": [1.0] * 2 * rows}
        return estimator.LogProb(api.log_prob(rows, **fields))

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
        bomb = api.log_prob(2**22, f32_le=bytes(2**25))
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
    api = Api(context, server)
    log_prob = api.estimator.LogProb
    healthy = [api.log_prob(1, values=row) for row in harness.correlated(63, seed=3)]
    alone = [log_prob(request).SerializeToString() for request in healthy]
    values = [float("nan"), float("inf"), float("-inf"), 1e-42, 1e38, -1e38, 3.4e38]
    rounds = context.count(30, 3000)
    refused = 0
    for _ in range(rounds):
        bad = api.log_prob(1, values=[context.random.choice(values), 1.0])
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
