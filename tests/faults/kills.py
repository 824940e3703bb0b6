"""kill -9 at random moments."""

import os
import signal
import threading
import time

import harness
from trial import check, trial, weights_digest

TRAINING = harness.SMALL + ("--steps", "4000", "--checkpoint-interval", "0.05")


@trial("`kill -9` of a training's process at any moment: it goes on from its last checkpoint, and ends with the weights "
       "of a training that nobody disturbed, bit for bit")
def kill_training(context):
    server = context.server("--workers", "1", "--training-attempts", "1000")
    rows = harness.csv(harness.correlated(500))
    server.ctl("train", "calm", *TRAINING, "--data", "-", text=rows)
    expected = weights_digest(server, "calm", 1)
    wanted = context.count(6, 200)
    kills = trainings = resumes = 0
    while kills < wanted:
        training = server.ctl("train", "shaken", *TRAINING, "--detach", "--data", "-", text=rows).strip()
        trainings += 1
        for _ in range(10):
            workers = harness.wait_until(lambda: server.workers() or _ended(server, training), "a process or an end")
            if workers is True:
                break
            time.sleep(context.random.uniform(0.0, 0.9))
            kills += _kill(workers)
        standing = harness.wait_until(lambda: _ended(server, training) and _standing(server, training), "the end")
        check(standing["state"] == "SUCCEEDED", standing)
        resumes += standing.get("resumes", 0)
        check(weights_digest(server, "shaken", trainings) == expected, f"training {trainings} ended elsewhere")
    check(server.leftovers() == [], server.leftovers())
    return {"kills": kills, "trainings": trainings, "resumptions": resumes, "trainings with other weights": 0}


def _kill(workers):
    killed = 0
    for worker in workers:
        try:
            os.kill(worker, signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            pass
    return killed


def _standing(server, training):
    return {item["id"]: item for item in server.ctl_json("trainings")}[training]


def _ended(server, training):
    return _standing(server, training)["state"] in ("SUCCEEDED", "FAILED", "CANCELLED")


@trial("`kill -9` of the server while it publishes, moves aliases and takes uploads: the next start finds the old state or "
       "the new one, answers old questions with the same bits, and leaves nothing half-written")
def kill_server(context):
    server = context.server("--workers", "1")
    server.train("m")
    question = harness.csv(harness.correlated(50, seed=5))
    expected = server.ctl("logprob", "m@1", "--format", "npy", text=question, binary=True)
    rows = harness.csv(harness.correlated(500))
    big = harness.csv(harness.correlated(20000))
    kills = context.count(3, 60)
    acknowledged = 1
    for _ in range(kills):
        done = []
        threads = [
            threading.Thread(target=_until_dead, args=(server, done, "train", "m", *harness.QUICK, "--data", "-"),
                             kwargs={"text": rows}),
            threading.Thread(target=_move_alias, args=(server, done)),
            threading.Thread(target=_until_dead, args=(server, done, "datasets", "upload", "-"), kwargs={"text": big}),
        ]
        for thread in threads:
            thread.start()
        time.sleep(context.random.uniform(0.0, 2.5))
        server.kill()
        for thread in threads:
            thread.join()
        server.start()
        check(server.leftovers() == [], server.leftovers())
        versions = {v["version"]: v["state"] for model in server.ctl_json("models") for v in model["versions"]}
        check(set(versions.values()) <= {"READY", "NOT_LOADED"}, versions)
        acknowledged = max([acknowledged] + [int(text.split("m@")[1].split()[0]) for text in done if "m@" in text])
        check(all(str(version) in versions for version in range(1, acknowledged + 1)),
              f"version {acknowledged} was acknowledged: {versions}")
        answer = server.ctl("logprob", "m@1", "--format", "npy", text=question, binary=True)
        check(answer == expected, "m@1 answers with other bits")
    return {"kills": kills, "versions published": len(versions), "lost": 0}


def _until_dead(server, done, *arguments, text):
    """Runs a command again and again until the server is gone."""
    while True:
        try:
            done.append(server.ctl("--retry-for", "0", *arguments, text=text))
        except AssertionError:
            return


def _move_alias(server, done):
    version = 1
    while True:
        try:
            server.ctl("--retry-for", "0", "alias", "set", "m", "stable", version)
        except AssertionError:
            return
