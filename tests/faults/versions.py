"""Versions and servers that change under load."""

import json
import subprocess
import time

import harness
from api import Api
from trial import SANITIZE, check, resident_bytes, total, trial, versions

CLIENT_LOAD = harness.BUILD / "bin" / "client_load"


class Load:
    """Calls LogProb from threads through the C++ client until it is ended."""

    def __init__(self, context, address, model="m", threads=2):
        self.process = subprocess.Popen([CLIENT_LOAD, address, model, str(threads)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        context.defer(self.process.kill)
        check(self.process.stdout.readline() == b"begun\n", "the load begins")

    def end(self):
        """What came of it: calls, failures, first_failure, p50 and p99 (seconds)."""
        out, _ = self.process.communicate(timeout=harness.PATIENCE)
        return json.loads(out)


@trial("Versions swapped under load, each swap one that has to be loaded: not one call fails, and each is answered by one of "
       "the two versions")
def swaps(context):
    server = context.server("--workers", "1")
    server.train("m")
    server.train("m", flags=harness.QUICK + ("--seed", "3"))
    api = Api(context, server)
    question = api.log_prob(1, values=[3, 1.5])
    answers = {}
    for version in (1, 2):
        _swap(api, version)
        answers[version] = list(api.estimator.LogProb(question).log_prob.values)
    check(answers[1] != answers[2], "the versions differ")
    calm_load = Load(context, server.address)
    time.sleep(context.count(1, 20))
    calm = calm_load.end()
    load = Load(context, server.address)
    count = context.count(20, 1000)
    for i in range(count):
        _swap(api, 1 + i % 2)
        answer = api.estimator.LogProb(question)
        check(answer.model.version == 1 + i % 2, f"after the swap version {answer.model.version} answered")
        check(list(answer.log_prob.values) == answers[1 + i % 2], "a version's answer changed")
    result = load.end()
    check(result["failures"] == 0, result)
    # The bar of this ratio is the benchmark's (docs/benchmarks.md), which swaps once a second.
    return {"swaps": count, "calls": result["calls"], "failed calls": 0,
            "p99 (ms)": round(1e3 * result["p99"], 2), "p99 / without swaps": round(result["p99"] / calm["p99"], 2)}


def _swap(api, version):
    """Points `latest` at a version that is not in memory, which loads it, and unloads the other one."""
    api.registry.SetAlias(api.models.SetAliasRequest(name="m", alias="latest", version=version))
    other = api.registry.Unload(api.models.UnloadModelRequest(model=f"m@{3 - version}"))
    check(other.state in (api.models.NOT_LOADED, api.models.UNLOADING), f"the next swap loads nothing: {other}")


@trial("Rolling restarts of three servers under load through the C++ client: not one call fails")
def rolling_restarts(context):
    flags = ("--workers", "1", "--lame-duck", "0.3")
    servers = [context.server(*flags, name=f"server{i}") for i in range(3)]
    for server in servers:
        server.train("m")
    load = Load(context, "ipv4:" + ",".join(server.address for server in servers))
    rounds = context.count(2, 20)
    for _ in range(rounds):
        for server in servers:
            check(server.stop() == 0, server.log_tail())
            server.start(address=server.address)
            harness.wait_until(lambda: server.ctl("health", "m") == "SERVING\n", "the model to be served")
    result = load.end()
    check(result["failures"] == 0, result)
    return {"restarts": 3 * rounds, "calls": result["calls"], "failed calls": 0}


# Some 90 MiB when it is compiled, so that one that stays shows.
BIG = ("--preset", "maf", "--transforms", "4", "--hidden", "1024,1024", "--steps", "2", "--batch-size", "64")
# docs/operations.md promises it.
KEPT_BYTES = 16 << 20


@trial("A large model loaded, queried and unloaded in a loop: each time its memory is given back but for 16 MiB")
def unloading(context):
    server = context.server("--workers", "1")
    server.train("small")  # What the first model of a process takes for good is not the large one's.
    server.ctl("logprob", "small", text=harness.csv(harness.correlated(64)))
    before = resident_bytes(server)
    server.train("m", flags=BIG)
    api = Api(context, server)
    name = api.models.LoadModelRequest(model="m@1")
    question = api.log_prob(64, values=[1.0] * 128)

    def cycle():
        """Resident bytes with the model, and without."""
        api.registry.Load(name)
        api.estimator.LogProb(question)
        loaded = resident_bytes(server)
        api.registry.Unload(api.models.UnloadModelRequest(model="m@1"))
        # The memory of a model goes on a thread of its own, behind what is more urgent.
        end = time.monotonic() + 10
        while (unloaded := resident_bytes(server)) > before + KEPT_BYTES and time.monotonic() < end:
            time.sleep(0.02)
        return loaded, unloaded

    api.registry.Unload(api.models.UnloadModelRequest(model="m@1"))
    cycles = [cycle() for _ in range(context.count(3, 200))]
    takes = min(loaded for loaded, _ in cycles) - before
    kept = max(unloaded for _, unloaded in cycles) - before
    check(takes > 2 * KEPT_BYTES, f"the model takes {takes / 2**20:.0f} MiB: too little to notice")
    if SANITIZE == "":  # Sanitizers keep what was freed for a while.
        check(kept <= KEPT_BYTES, f"{kept / 2**20:.1f} MiB stay of a model of {takes / 2**20:.0f} MiB")
    return {"cycles": len(cycles), "memory with the model (MiB)": round(takes / 2**20),
            "kept without it, at most (MiB)": round(kept / 2**20, 1)}


@trial("Models loaded, queried, trained and unloaded in a loop: memory, descriptors and threads stay flat")
def soak(context):
    server = context.server("--workers", "1", "--keep-trainings", "3")
    server.train("m")
    cycles = context.count(20, 200)
    rows = harness.csv(harness.correlated(200, seed=4))

    def cycle(train):
        server.ctl("unload", "m@1")
        server.ctl("load", "m@1")
        server.ctl("logprob", "m@1", text=rows)
        server.ctl("sample", "m@1", "--rows", 100)
        if train:
            server.train("n")
            version = f"n@{max(versions(server, 'n'))}"
            server.ctl("unload", version)
            server.ctl("delete", version)

    def standing():
        return {name: total(server, name)
                for name in ("process_resident_memory_bytes", "process_open_fds", "process_threads")}

    for _ in range(context.count(5, 20)):
        cycle(train=False)
    before = standing()
    for i in range(cycles):
        cycle(train=not context.quick and i % 20 == 0)
    time.sleep(0.2)
    after = standing()
    grown = after["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]
    if SANITIZE == "":  # Sanitizers keep what was freed for a while.
        check(grown < 32 << 20, f"memory grew by {grown / 2**20:.1f} MiB in {cycles} cycles")
    check(after["process_open_fds"] <= before["process_open_fds"] + 3, (before, after))
    check(after["process_threads"] <= before["process_threads"] + 2, (before, after))
    return {"cycles": cycles, "memory grown (MiB)": round(grown / 2**20, 1), "resident (MiB)":
            round(resident_bytes(server) / 2**20)}
