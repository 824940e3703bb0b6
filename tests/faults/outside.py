"""What comes from outside: names, sizes, numbers."""

import hashlib
import io
import json
import re
import tarfile
import time

import grpc

import harness
from api import Api
from opened import Opened
from trial import SANITIZE, check, resident_bytes, total, trial

HOSTILE = ["..", ".", "/", "a/b", "../../etc/passwd", "a\0b", "\0", "a" * 65, "a" * 4096, "A", "ａ", "аdmin", ".tmp",
           "a.tmp-1", "a b", " a", "a ", "-a", "_", "a\n", "a\u202eb", "con", "latest@", "@", "@1", "a@b@c", "m@0", "m@-1",
           "m@99999999999999999999", "m@../1", "%2e%2e", "~", "$HOME", "*", "?", "a:b", "file:///etc/passwd", "\\..\\", ""]

OK, INVALID, NOT_FOUND = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND

# The grammars of names (server/registry/names.h).
_MODEL = "[a-z0-9](?:[a-z0-9_.-]{0,126}[a-z0-9_-])?"
_ALIAS = "[a-z][a-z0-9_-]{0,63}"
MODEL, ALIAS, ID = re.compile(_MODEL), re.compile(_ALIAS), re.compile("[a-z][a-z0-9-]{0,63}")
REFERENCE = re.compile(f"{_MODEL}(?:@(?:[1-9][0-9]{{0,17}}|{_ALIAS}))?")
KEY = re.compile("[ -~]{0,128}")
FILE = re.compile(r"(?!/)(?!(?:.*/)?\.\.(?:/|$))[^\0]{1,4095}", re.DOTALL)
ANYTHING = re.compile(".*", re.DOTALL)
EMPTY = re.compile("")


def _name(context, also=()):
    """A hostile name: one of those above or of `also`, changed at random."""
    name = list(context.random.choice([*HOSTILE, *also]))
    for _ in range(context.random.randrange(3)):
        name.insert(context.random.randrange(len(name) + 1),
                    context.random.choice(["/", "..", "\0", "@", "\u0430", ".", "\t", "%", "a", "\x7f"]))
    return "".join(name)


def _fields(api, manifest):
    """Every field that takes a name: its call, the name of the field in messages, the grammar, and what a name that is
    well formed may be answered. Nothing that they name exists, so that NOT_FOUND is what remains to be said; where any
    text is a name, such as of a column, something else in the request is wrong. `manifest` is that of a version."""
    density, training, dataset, models = api.density, api.training, api.dataset, api.models
    estimator, trainings, datasets, registry = api.estimator, api.trainings, api.datasets, api.registry
    rows = api.Matrix(rows=1, cols=2, values=[1, 2])
    absent = {"dataset": "dataset-absent"}

    def train(model="x", **fields):
        request = training.TrainRequest(model=model, **fields)
        if not request.warm_start:  # The flow comes from there otherwise.
            request.preset.name = "maf"
        return estimator.Train(request)

    def train_on_rows(**fields):
        return estimator.Train(training.TrainRequest(model="x", rows=rows, **{"preset": {"name": "maf"}, **fields}))

    def upload(**fields):
        cut = api.Matrix(rows=1, cols=2, values=[1])
        return datasets.Upload(iter([dataset.UploadDatasetRequest(**{"columns": ["a", "b"], "rows": cut, **fields})]))

    def imported(is_name, **fields):
        """An archive without weights, whose manifest says `fields` and is vouched for."""
        try:
            registry.Import(iter([models.ImportModelRequest(chunk=_archive({**manifest, **fields}))]))
        except grpc.RpcError as error:
            # A good name is passed over for what is missing behind it.
            check(bool(is_name) == ("lacks" in error.details()), f"{str(fields)[:80]}: {error.details()[:200]}")
            raise

    def watched(name):
        # The answer to an unknown service is a state, and the stream stays open for it to come.
        stream = api.health.Watch(api.healths.HealthCheckRequest(service=name), timeout=harness.PATIENCE)
        state = next(stream).status
        stream.cancel()
        check(state == api.healths.HealthCheckResponse.SERVICE_UNKNOWN or name == "", f"{name!r}: {state}")

    fields = {
        "LogProb.model": (lambda n: estimator.LogProb(density.LogProbRequest(model=n, rows=rows)), REFERENCE),
        "Inverse.model": (lambda n: estimator.Inverse(density.InverseRequest(model=n, rows=rows)), REFERENCE),
        "Forward.model": (lambda n: estimator.Forward(density.ForwardRequest(model=n, rows=rows)), REFERENCE),
        "Sample.model": (lambda n: estimator.Sample(density.SampleRequest(model=n, rows=1)), REFERENCE),
        "Score.model": (lambda n: estimator.Score(density.ScoreRequest(model=n, rows=rows)), REFERENCE),
        "StreamSample.model": (lambda n: list(
            estimator.StreamSample(density.StreamSampleRequest(sample={"model": n, "rows": 1}))), REFERENCE),
        "StreamLogProb.model": (lambda n: list(
            estimator.StreamLogProb(iter([density.LogProbRequest(model=n, rows=rows)]))),
                                REFERENCE),
        "Explain.model": (lambda n: estimator.Explain(density.ExplainRequest(model=n, rows=rows)), REFERENCE),
        "Train.model": (lambda n: train(model=n, **absent), MODEL),
        "Train.alias": (lambda n: train(alias=n, **absent), re.compile(f"(?:{_ALIAS})?")),
        "Train.warm_start": (lambda n: train(warm_start=n, **absent), re.compile(f"(?:{REFERENCE.pattern})?")),
        "Train.idempotency_key": (lambda n: train(idempotency_key=n, **absent), KEY),
        "Train.dataset": (lambda n: train(dataset=n), ID),
        # "." is a folder, which is no name of a file but found where it stands.
        "Train.file": (lambda n: train(file=n), FILE, INVALID, NOT_FOUND),
        "Trainings.Get.id": (lambda n: trainings.Get(training.GetTrainingRequest(id=n)), ID),
        "Trainings.Cancel.id": (lambda n: trainings.Cancel(training.CancelTrainingRequest(id=n)), ID),
        "Trainings.Watch.id": (lambda n: list(trainings.Watch(training.WatchTrainingRequest(id=n))), ID),
        "Trainings.List.model": (lambda n: trainings.List(training.ListTrainingsRequest(model=n)),
                                 re.compile(f"(?:{_MODEL})?"), OK),
        "Datasets.Get.id": (lambda n: datasets.Get(dataset.GetDatasetRequest(id=n)), ID),
        "Datasets.Delete.id": (lambda n: datasets.Delete(dataset.DeleteDatasetRequest(id=n)), ID),
        "Models.Get.model": (lambda n: registry.Get(models.GetModelRequest(model=n)), REFERENCE),
        "Models.Load.model": (lambda n: registry.Load(models.LoadModelRequest(model=n)), REFERENCE),
        "Models.Unload.model": (lambda n: registry.Unload(models.UnloadModelRequest(model=n)), REFERENCE),
        "Models.Delete.name": (lambda n: registry.Delete(models.DeleteModelRequest(name=n, version=7)), MODEL),
        "Models.SetAlias.name": (lambda n: registry.SetAlias(
            models.SetAliasRequest(name=n, alias="x", version=7)), MODEL),
        "Models.SetAlias.alias": (lambda n: registry.SetAlias(
            models.SetAliasRequest(name="m", alias=n, version=7)), ALIAS),
        "Models.DeleteAlias.name": (lambda n: registry.DeleteAlias(
            models.DeleteAliasRequest(name=n, alias="x")), MODEL),
        "Models.DeleteAlias.alias": (lambda n: registry.DeleteAlias(
            models.DeleteAliasRequest(name="m", alias=n)), ALIAS),
        "Models.GetPlan.model": (lambda n: registry.GetPlan(models.GetPlanRequest(model=n)), REFERENCE),
        "Models.Export.model": (lambda n: list(registry.Export(models.ExportModelRequest(model=n))), REFERENCE),
        # An empty name takes the archive's own, which this one, cut short, has not got.
        "Models.Import.name": (lambda n: registry.Import(iter([models.ImportModelRequest(name=n, chunk=b"x")])),
                               re.compile(f"(?:{_MODEL})?"), INVALID),
        # An empty one means all models.
        "Models.ReloadFromDisk.model": (lambda n: registry.ReloadFromDisk(models.ReloadFromDiskRequest(model=n)),
                                        re.compile(f"(?:{_MODEL})?"), OK, NOT_FOUND),
        "Models.Import manifest.name": (lambda n: imported(MODEL.fullmatch(n), name=n), ANYTHING, INVALID),
        "Models.Import manifest.files.name": (lambda n: imported(False, files=[{**manifest["files"][0], "name": n}]),
                                              ANYTHING, INVALID),
        "Models.List.page_token": (lambda n: registry.List(models.ListModelsRequest(page_token=n)), EMPTY, OK),
        "Trainings.List.page_token": (lambda n: trainings.List(training.ListTrainingsRequest(page_token=n)), EMPTY, OK),
        "Datasets.List.page_token": (lambda n: datasets.List(dataset.ListDatasetsRequest(page_token=n)), EMPTY, OK),
        "Upload.display_name": (lambda n: upload(display_name=n), ANYTHING, INVALID),
        "Upload.columns": (lambda n: upload(columns=[n, "b"]), ANYTHING, INVALID),
        "Upload.missing_columns": (lambda n: upload(missing_columns=[n]), ANYTHING, INVALID),
        "Train.columns": (lambda n: train_on_rows(columns=[n]), ANYTHING, INVALID),
        "Train.feature_columns": (lambda n: train_on_rows(feature_columns=[n]), ANYTHING, INVALID),
        "Train.context_columns": (lambda n: train_on_rows(context_columns=[n]), ANYTHING, INVALID),
        "Train.preset.name": (lambda n: train_on_rows(preset={"name": n}), ANYTHING, INVALID),
        # gRPC's own protocol: whatever is not served is unknown, "" is the server, and only the message has a limit.
        "Health.Check.service": (lambda n: api.health.Check(api.healths.HealthCheckRequest(service=n)), ANYTHING,
                                 NOT_FOUND, OK, INVALID),
        "Health.Watch.service": (watched, ANYTHING, OK, INVALID),
    }
    return {field: (call, grammar, told or (NOT_FOUND,)) for field, (call, grammar, *told) in fields.items()}


def _archive(manifest):
    """What vouches for a version, without the version."""
    text = json.dumps(manifest).encode()
    digest = f"{hashlib.sha256(text).hexdigest()}  manifest.json\n".encode()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, member in (("manifest.sha256", digest), ("manifest.json", text)):
            facts = tarfile.TarInfo(name)
            facts.size = len(member)
            archive.addfile(facts, io.BytesIO(member))
    return content.getvalue()


@trial("Hostile names in every field that takes one: INVALID_ARGUMENT that names the field, or NOT_FOUND where the name is "
       "well formed; nothing outside the root is opened or made, and the server goes on")
def hostile_names(context):
    files, outside = context.folder / "files", context.folder / "outside"
    for folder in (files, outside):
        folder.mkdir()
    secret = outside / "secret"
    secret.write_text("a,b\n1,2\n")
    (files / "link").symlink_to(secret)
    (files / "folder").symlink_to(outside)
    ways_out = ["link", "folder/secret", "folder", str(secret), f"m@{secret}",
                *("../" * i + "outside/secret" for i in range(1, 7)), *("../" * i + "outside" for i in range(1, 7))]
    server = context.server("--workers", "1", "--data-root", files)
    server.train("m")
    api = Api(context, server)
    manifest = json.loads((server.root / "models" / "m" / "1" / "manifest.json").read_text())
    tree = _tree(context.folder)
    each = context.count(40, 5000)
    sent = 0
    fields = _fields(api, manifest)
    with Opened(outside) as opened:
        for field, (call, grammar, told) in fields.items():
            for _ in range(each):
                name = _name(context, ways_out)
                try:
                    call(name)
                    code, text = OK, ""
                except grpc.RpcError as error:
                    code, text = error.code(), error.details()
                except (ValueError, UnicodeError):
                    continue  # The client's own library does not send it.
                if grammar.fullmatch(name):
                    check(code in told, f"{field} of {name[:80]!r}: {code} {text[:200]}")
                else:
                    check(code == INVALID and f"{field.rsplit('.', 1)[-1]}: " in text,
                          f"{field} of {name[:80]!r}: {code} {text[:200]}")
                sent += 1
        check(opened.names() == [], f"opened outside the root: {opened.names()}")
        secret.read_text()
        check(opened.names() == ["secret"], "what is opened is noticed")
    check(_tree(context.folder) == tree, "files were made")
    server.ctl("logprob", "m", text=harness.csv([(1.0, 2.0)]))
    return {"fields": len(fields), "calls": sent, "names taken": 0, "files opened outside": 0}


def _tree(folder):
    """All files but logs."""
    return sorted(str(path) for path in folder.rglob("*") if path.suffix != ".log")


@trial("Sizes at each limit, one below and one above (rows, messages, answers, pieces, the queue's rows and bytes, imports, "
       "datasets), 2^40 rows, compressed bombs: what fits is done, what does not is refused at once with the limit in the "
       "message, memory unmoved")
def sizes(context):
    # 1,024 bytes of an answer's limit are left for what is no number (server/rpc/row_request.cc).
    limits = {"rows": 100_000, "message": 1 << 20, "answer": ((1 << 20) - 1024) // 16}
    server = context.server("--workers", "1", "--max-request-rows", limits["rows"], "--max-message-bytes",
                            limits["message"])
    server.train("m")
    before = resident_bytes(server)
    edges = Edges(context, server)
    edges.rows(limits["rows"])
    edges.messages(limits["message"])
    edges.answers(limits["answer"])
    bombs = context.count(5, 200)
    edges.bombs(bombs)
    grown = resident_bytes(server) - before
    if SANITIZE == "":  # Sanitizers keep what was freed for a while.
        check(grown < 64 << 20, f"grew by {grown / 2**20:.0f} MiB")
    edges.queued_rows(1000)
    edges.queued_bytes(50_000)
    edges.imports()
    edges.datasets()
    server.ctl("logprob", "m", text=harness.csv([(1.0, 2.0)]))
    context.bar(context.quick or max(edges.seconds) <= 1, f"a refusal took {max(edges.seconds):.2f} s")
    return {"limits": 8, "requests that fit": edges.taken, "refused": len(edges.seconds),
            "longest refusal (ms)": round(1e3 * max(edges.seconds), 1), "compressed bombs": bombs,
            "memory grown (MiB)": round(grown / 2**20, 1)}


class Edges:
    """Walks along limits of a server that has the model m."""

    def __init__(self, context, server):
        self._context, self._server = context, server
        self._flags = server.flags
        self.taken = 0
        self.seconds = []  # what each refusal took
        self._connect()

    def rows(self, limit):
        for count in (limit - 1, limit):
            self._takes(lambda n=count: len(self._log_prob(n).log_prob.values) == n)
            self._takes(lambda n=count: self._sample(n).rows.rows == n)
            self._takes(lambda n=count: self._stream(3, n) == [3])
        self._refuses(lambda: self._log_prob(limit + 1), f"--max-request-rows allows {limit}")
        for count in (limit + 1, 2**40, 2**64 - 1):
            self._refuses(lambda n=count: self._sample(n), f"--max-request-rows allows {limit}")
            # More rows than one piece may have are what streams are for; the piece itself has the limit.
            self._refuses(lambda n=count: self._stream(n, n), "chunk_rows")
        for count, some in ((2**40, b""), (2**63, b"x")):
            self._refuses(lambda n=count, b=some: self._log_prob(n, f32_le=b), "rows")

    def messages(self, limit):
        for size in (limit - 1, limit):
            self._takes(lambda n=size: len(self._padded(n).log_prob.values) == 1)
        for size in (limit + 1, 2 * limit):
            self._refuses(lambda n=size: self._padded(n), f"--max-message-bytes allows {limit}")
        # From here on it is gRPC that refuses, before it has received the whole.
        for size in (2 * limit + 1, 50 * limit):
            self._refuses(lambda n=size: self._padded(n), str(2 * limit))

    def answers(self, rows):
        for count in (rows - 1, rows):
            self._takes(lambda n=count: self._sample(n, encoding="ENCODING_F64_LE").rows.rows == n)
        self._refuses(lambda: self._sample(rows + 1, encoding="ENCODING_F64_LE"), "--max-message-bytes")

    def bombs(self, count):
        """Messages that are small on the wire and large in memory: megabytes of zeros, compressed."""
        for _ in range(count):
            bomb = self._api.log_prob(2**22, f32_le=bytes(2**25))
            try:
                self._api.estimator.LogProb(bomb, compression=grpc.Compression.Gzip)
            except grpc.RpcError as error:
                check(error.code() == grpc.StatusCode.UNIMPLEMENTED and "gzip" in error.details(), error)
            else:
                raise AssertionError("a bomb was taken")

    def queued_rows(self, limit):
        self._restart("--max-queued-rows", limit)
        for count in (limit - 1, limit):
            self._takes(lambda n=count: len(self._log_prob(n).log_prob.values) == n)
        self._refuses(lambda: self._log_prob(limit + 1), f"has {limit + 1} rows; the queue holds at most {limit}")

    def queued_bytes(self, limit):
        """How many bytes a request takes is the server's to say: it is asked at sizes that must be refused, and must take
        what is no larger than the limit by that measure, byte by byte."""
        self._restart("--max-queued-bytes", limit // 5 * 6)  # A sixth is for what lies beside them.
        over = self._refuses(lambda: self._padded(2 * limit), f"the queue holds at most {limit}")
        beside = int(re.search(r"has (\d+) bytes", over).group(1)) - 2 * limit
        for size in (limit - beside - 1, limit - beside):
            self._takes(lambda n=size: len(self._padded(n).log_prob.values) == 1)
        self._refuses(lambda: self._padded(limit - beside + 1), f"has {limit + 1} bytes; the queue holds at most {limit}")

    def imports(self):
        archive = self._server.ctl("export", "m@1", "-", binary=True)
        size = sum(member.size for member in tarfile.open(fileobj=io.BytesIO(archive)))

        def send():
            pieces = [archive[i:i + 500_000] for i in range(0, len(archive), 500_000)]
            return self._api.registry.Import(iter([self._api.models.ImportModelRequest(chunk=p) for p in pieces]))

        for limit in (size, size + 1):
            self._restart("--max-import-bytes", limit)
            self._takes(lambda: send().version > 1)
        self._restart("--max-import-bytes", size - 1)
        self._refuses(send, f"--max-import-bytes, {size - 1}")
        check(self._server.leftovers() == [], self._server.leftovers())

    def datasets(self):
        dataset = self._api.dataset
        rows = self._api.Matrix(rows=500, cols=2, values=[1] * 1000)
        request = dataset.UploadDatasetRequest(columns=["a", "b"], rows=rows)

        def send():
            return self._api.datasets.Upload(iter([request]))

        size = send().bytes
        for limit in (size, size + 1):
            self._restart("--max-dataset-bytes", limit)
            self._takes(lambda: send().bytes == size)
        self._restart("--max-dataset-bytes", size - 1)
        self._refuses(send, f"{size - 1} bytes per dataset (--max-dataset-bytes)")
        check(self._server.leftovers() == [], self._server.leftovers())

    def _connect(self):
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self._api = Api(self._context, self._server, options)
        channel = grpc.insecure_channel(self._server.address, options)
        self._context.defer(channel.close)
        self._raw = channel.unary_unary("/density.v1.DensityEstimator/LogProb",
                                        response_deserializer=self._api.density.LogProbResponse.FromString)

    def _restart(self, *flags):
        check(self._server.stop() == 0, self._server.log_tail())
        self._server.flags = (*self._flags, *map(str, flags))
        self._server.start()
        self._connect()

    def _takes(self, call):
        check(call(), "an answer of another size")
        self.taken += 1

    def _refuses(self, call, text):
        start = time.monotonic()
        try:
            call()
        except grpc.RpcError as error:
            codes = (INVALID, grpc.StatusCode.RESOURCE_EXHAUSTED)
            check(error.code() in codes and text in error.details(), f"{error.code()}: {error.details()}, not {text!r}")
            self.seconds.append(time.monotonic() - start)
            return error.details()
        raise AssertionError(f"was not refused with {text!r}")

    def _log_prob(self, rows, **fields):
        return self._api.estimator.LogProb(self._api.log_prob(rows, **(fields or {"values": [1.0] * 2 * rows})))

    def _sample(self, rows, **fields):
        return self._api.estimator.Sample(self._api.density.SampleRequest(model="m", rows=rows, **fields))

    def _stream(self, rows, chunk_rows):
        request = self._api.density.StreamSampleRequest(sample={"model": "m", "rows": rows}, chunk_rows=chunk_rows)
        return [answer.rows.rows for answer in self._api.estimator.StreamSample(request)]

    def _padded(self, size):
        """A request of `size` bytes about one row: the rest is in a field that nobody knows."""
        request = self._api.log_prob(1, values=[1.0, 2.0]).SerializeToString()
        tag = b"\xfa\x7f"  # field 2047, bytes
        for length_bytes in range(1, 6):
            padding = size - len(request) - len(tag) - length_bytes
            length = _varint(padding)
            if len(length) == length_bytes:
                return self._raw(request + tag + length + bytes(padding))
        raise AssertionError(f"no padding makes {size} bytes")


def _varint(number):
    encoded = bytearray()
    while number > 0x7f:
        encoded.append(number & 0x7f | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


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
