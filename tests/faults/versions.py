"""Versions and servers that change under load."""

import json
import subprocess
import time

import harness
from trial import check, resident_bytes, total, trial

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


@trial("Versions swapped under load: not one call fails")
def swaps(context):
    server = context.server("--workers", "1")
    server.train("m")
    server.train("m", flags=harness.QUICK + ("--seed", "3"))
    load = Load(context, server.address)
    count = context.count(20, 1000)
    for i in range(count):
        server.ctl("alias", "set", "m", "latest", 1 + i % 2)
        if i % 10 == 9:
            other = 2 - i % 2
            server.ctl("unload", f"m@{other}")
            server.ctl("load", f"m@{other}")
    result = load.end()
    check(result["failures"] == 0, result)
    return {"swaps": count, "calls": result["calls"], "failed calls": 0, "p99 (ms)": round(1e3 * result["p99"], 2)}


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
            server.ctl("models", "delete", f"n@{server.ctl_json('models', 'n')[0]['versions'][-1]['version']}")

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
    check(grown < 32 << 20, f"memory grew by {grown / 2**20:.1f} MiB in {cycles} cycles")
    check(after["process_open_fds"] <= before["process_open_fds"] + 3, (before, after))
    check(after["process_threads"] <= before["process_threads"] + 2, (before, after))
    return {"cycles": cycles, "memory grown (MiB)": round(grown / 2**20, 1), "resident (MiB)":
            round(resident_bytes(server) / 2**20)}
