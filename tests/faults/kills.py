"""kill -9 at random moments, and at those in which something is published; SIGTERM at others."""

import os
import pathlib
import signal
import subprocess
import threading
import time

import harness
from trial import aliases, check, trial, versions, weights_digest

LONG = harness.SMALL + ("--steps", "40000", "--checkpoint-interval", "0.05")
SHORT = harness.SMALL + ("--steps", "100", "--checkpoint-interval", "0.05")
# So short that some end well between two kills.
SHORTEST = harness.SMALL + ("--steps", "10")


@trial("`kill -9` of a training's process at any moment, and while it publishes: it goes on from its last checkpoint, and "
       "ends with one version, whose weights are those of a training that nobody disturbed, bit for bit")
def kill_training(context):
    server = context.server("--workers", "1", "--training-attempts", "1000")
    shaken = {"long": Shaken(server, "long", LONG), "short": Shaken(server, "short", SHORT)}
    each = context.count(3, 100)
    while shaken["long"].kills < each:
        with shaken["long"] as training:
            for _ in range(10):
                workers = harness.wait_until(lambda: server.workers() or training.ended(), "a process or an end")
                if workers is True:
                    break
                time.sleep(context.random.uniform(0.0, 0.9))
                training.kills += _kill(workers)
    while shaken["short"].kills < each:
        with shaken["short"] as training:
            for _ in range(2):
                workers = _workers_that_publish(server, training)
                time.sleep(context.random.uniform(0.0, 0.01))
                training.kills += _kill(workers)
    _wait_for_no_leftovers(server)
    return {"kills at any moment": shaken["long"].kills, "kills while it published": shaken["short"].kills,
            "trainings": sum(s.trainings for s in shaken.values()),
            "resumptions": sum(s.resumptions for s in shaken.values()), "trainings with other weights": 0}


class Shaken:
    """Trainings of one kind; `with` begins one, and in the end compares it with one that nobody disturbed."""

    def __init__(self, server, model, flags):
        self._server, self._model, self._flags = server, model, flags
        self._rows = harness.csv(harness.correlated(500))
        server.ctl("train", f"calm-{model}", *flags, "--data", "-", text=self._rows)
        self._expected = weights_digest(server, f"calm-{model}", 1)
        self.kills = self.trainings = self.resumptions = 0

    def __enter__(self):
        self._id = self._server.ctl("train", self._model, *self._flags, "--detach", "--data", "-",
                                    text=self._rows).strip()
        self.trainings += 1
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            return
        harness.wait_until(self.ended, "the end")
        standing = self._standing()
        check(standing["state"] == "SUCCEEDED", standing)
        self.resumptions += standing.get("resumes", 0)
        made = sorted(versions(self._server, self._model))
        check(made == list(range(1, self.trainings + 1)), f"{self.trainings} trainings made {made}")
        digest = weights_digest(self._server, self._model, self.trainings)
        check(digest == self._expected, f"training {self.trainings} of {self._model} ended elsewhere")

    def ended(self):
        return self._standing()["state"] in ("SUCCEEDED", "FAILED", "CANCELLED")

    def _standing(self):
        return {item["id"]: item for item in self._server.ctl_json("trainings")}[self._id]


def _workers_that_publish(server, training):
    """Waits for a process of a training to begin to publish; none where it has ended."""
    while not training.ended():
        workers = server.workers()
        while any(_lives(worker) for worker in workers):
            if any(server.root.glob("trainings/*/tmp/publish-*")):
                return workers
    return []


def _lives(process):
    try:
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def _kill(workers):
    killed = 0
    for worker in workers:
        try:
            os.kill(worker, signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            pass
    return killed


def _wait_for_no_leftovers(server):
    """What a process that lives is about to publish is no leftover, so that they end first."""
    harness.wait_until(lambda: not server.workers(), "the trainings' processes to end")
    harness.wait_until(lambda: not server.leftovers() and not list(server.root.glob("trainings/*/tmp")),
                       "no half-written file to be left", patience=20)


@trial("`kill -9` of the server, or of it and its training, or SIGTERM (exit status 0), while it publishes, moves aliases "
       "and takes uploads: the next start has everything that was acknowledged, an alias where it was or where it was "
       "being moved to, answers old questions with the same bits, and leaves nothing half-written")
def kill_server(context):
    server = context.server("--workers", "1", "--training-attempts", "1000")
    for _ in range(3):
        server.train("m")
    question = harness.csv(harness.correlated(50, seed=5))
    expected = server.ctl("logprob", "m@1", "--format", "npy", text=question, binary=True)
    clients = Clients(context, server)
    kills = context.count(4, 60)
    ways = {"SIGKILL": 0, "SIGKILL, training too": 0, "SIGTERM": 0}
    for i in range(kills):
        with clients:
            if i % 2:  # Else few trainings would end between two kills on a busy machine.
                before = clients.published
                harness.wait_until(lambda count=before: clients.published > count or clients.problems, "a version")
            time.sleep(context.random.uniform(0.0, 2.5))
            way = list(ways)[i % 4 % 3]  # The first one twice as often.
            ways[way] += 1
            if way == "SIGTERM":
                check(server.stop() == 0, server.log_tail())
            else:
                workers = server.workers() if "training" in way else []
                server.kill()
                _kill(workers)
        server.start()
        clients.check_acknowledged()
        server.ctl("load", "m@1")  # At a start only those come into memory that an alias names.
        answer = server.ctl("logprob", "m@1", "--format", "npy", text=question, binary=True)
        check(answer == expected, "m@1 answers with other bits")
        # What the server itself writes about trainings passes through there, too.
        harness.wait_until(lambda: not list((server.root / "tmp").iterdir()), "tmp/ to be empty", patience=20)
    _wait_for_no_leftovers(server)
    # Else nothing was promised that could have been lost.
    check(clients.published >= kills // 2, f"{clients.published} versions were acknowledged")
    check(clients.moves >= context.count(4, 100), f"the alias changed {clients.moves} times")
    check(len(clients.datasets) >= context.count(4, 100), f"{len(clients.datasets)} uploads were acknowledged")
    return {**{f"ends by {way}": count for way, count in ways.items()}, "versions acknowledged": clients.published,
            "alias moved to another version": clients.moves, "uploads": len(clients.datasets), "lost": 0}


class Clients:
    """Train, move an alias and upload, each in a loop, while `with` lasts and the server lives; and remember what they
    were promised."""

    def __init__(self, context, server):
        self._random, self._server = context.random, server
        self._rows = harness.csv(harness.correlated(500))
        self._many_rows = harness.csv(harness.correlated(20000))
        self.versions = {1, 2, 3}
        self.datasets = set()
        self.published = self.moves = 0
        self._alias_may_be = {None}  # where it was put last, and where it was being put when the server ended
        self.problems = []

    def __enter__(self):
        self._threads = [threading.Thread(target=self._loop, args=(step,))
                         for step in (self._train, self._move_alias, self._upload)]
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        for thread in self._threads:
            thread.join()
        check(not self.problems, self.problems)

    def check_acknowledged(self):
        there = versions(self._server, "m")
        check(set(there.values()) <= {"READY", "NOT_LOADED"}, there)
        check(self.versions <= set(there), f"acknowledged {self.versions}, there {there}")
        alias = aliases(self._server, "m").get("stable")
        check(alias in self._alias_may_be, f"the alias is at {alias}, not in {self._alias_may_be}")
        self._alias_may_be = {alias}
        datasets = {dataset["id"] for dataset in self._server.ctl_json("datasets")}
        check(self.datasets <= datasets, f"acknowledged {self.datasets}, there {datasets}")

    def _loop(self, step):
        try:
            while step():
                pass
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.problems.append(repr(error))

    def _train(self):
        said = self._call("train", "m", *SHORTEST, "--data", "-", text=self._rows)
        if said is not None:
            self.versions.add(int(said.split("m@")[1].split()[0]))
            self.published += 1
        return said is not None

    def _move_alias(self):
        version = self._random.choice(sorted(self.versions - self._alias_may_be))
        self._alias_may_be.add(version)
        if self._call("alias", "set", "m", "stable", str(version)) is None:
            return False
        self._alias_may_be = {version}
        self.moves += 1
        return True

    def _upload(self):
        said = self._call("upload", "-", "--json", text=self._many_rows)
        if said is not None:
            self.datasets.add(harness.json.loads(said)["id"])
        return said is not None

    def _call(self, *arguments, text=None):
        """What densityctl printed; None where the server is gone, the only way in which it may fail."""
        done = subprocess.run([harness.DENSITYCTL, "--server", self._server.address, "--retry-for", "0", *arguments],
                              input=text, capture_output=True, text=True, timeout=harness.PATIENCE)
        unavailable = 5
        check(done.returncode in (0, unavailable), f"{arguments[:2]}: {done.returncode} {done.stderr[-300:]}")
        return done.stdout if done.returncode == 0 else None
