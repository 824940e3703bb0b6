"""Abuse of connections; who behaves must notice nothing."""

import contextlib
import itertools
import select
import subprocess
import sys
import threading
import time

import grpc

import attack
import harness
import tls_test
from api import call_of_each_kind
from attack import END_HEADERS, HEADERS, PREFACE, SETTINGS, connect, frame, request
from trial import SANITIZE, check, resident_bytes, total, trial


class Healthy:
    """A client that keeps making calls of each kind, on its own connection, while `with` lasts. The server has a model m
    of two columns. With `patient` it may have to connect more than once before its first call."""

    def __init__(self, server, credentials=None, patient=False):
        self._patient = patient
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = (grpc.secure_channel(server.address, credentials, options) if credentials else
                         grpc.insecure_channel(server.address, options))
        self._calls = itertools.cycle([(self._channel.unary_unary(method), message)
                                       for method, message in call_of_each_kind()])
        self._end = threading.Event()
        self.seconds = []
        self.errors = []

    def __enter__(self):
        self._ask(wait_for_ready=self._patient)
        for _ in range(2):
            self._ask()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()
        self._channel.close()

    def _run(self):
        while not self._end.wait(0.005):
            self._ask()

    def _ask(self, wait_for_ready=False):
        call, message = next(self._calls)
        start = time.monotonic()
        try:
            # Longer than any healthy call may take (_told), so that a slow one shows how slow it was.
            call(message, timeout=20, wait_for_ready=wait_for_ready)
        except grpc.RpcError as error:
            self.errors.append(f"{error.code()}: {error.details()}")
        self.seconds.append(time.monotonic() - start)


def _abuse(context, kind):
    server = context.server("--workers", "1", descriptors=256)
    server.train("m")
    command = [sys.executable, "-B", attack.__file__, server.address, str(context.count(2, 30)), kind]
    with Healthy(server) as client:
        attackers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
        sent = sum(int(attacker.communicate(timeout=harness.PATIENCE)[0]) for attacker in attackers)
        recovery = _recovery(server)
    return {"sent": sent, **_told(context, server, [client], recovery)}


def _recovery(server, credentials=None):
    """Seconds until a client that connects only now, and again where it is turned away, is answered."""
    start = time.monotonic()
    with Healthy(server, credentials, patient=True) as client:
        seconds = time.monotonic() - start
    check(not client.errors, client.errors[:3])
    return seconds


def _told(context, server, clients, recovery):
    """What became of healthy clients, as figures; their calls take milliseconds on a quiet server."""
    errors = [error for client in clients for error in client.errors]
    seconds = sorted(second for client in clients for second in client.seconds)
    check(not errors, errors[:3])
    check(server.process.poll() is None, "the server ended")
    if not context.quick:  # What is about time wants a machine of its own.
        context.bar(seconds[-1] <= 2, f"a healthy call took {seconds[-1]:.1f} s")
        context.bar(recovery <= 10, f"a new client was served after {recovery:.1f} s")
    return {"healthy calls": len(seconds), "failed": 0, "p99 (ms)": round(1e3 * seconds[int(0.99 * len(seconds))], 1),
            "longest (s)": round(seconds[-1], 2), "recovery (s)": round(recovery, 2)}


@trial("Streams that are opened and reset at once, as fast as connections take them: healthy clients see no error")
def rapid_reset(context):
    return _abuse(context, "rapid_reset")


@trial("A flood of pings: healthy clients see no error")
def ping_flood(context):
    return _abuse(context, "ping_flood")


@trial("More connections than descriptors, which say nothing: healthy clients see no error, and the server takes new ones "
       "when there is room again")
def connection_flood(context):
    descriptors = 256
    server = context.server("--workers", "1", descriptors=descriptors)
    server.train("m")
    before = total(server, "process_open_fds")
    made = 0
    with Healthy(server) as client:
        for _ in range(context.count(2, 40)):
            silent = []
            for _ in range(2 * descriptors):
                with contextlib.suppress(OSError):
                    silent.append(connect(server.address))
            made += len(silent)
            for connection in silent:
                connection.close()
        recovery = _recovery(server)
    _wait_for_descriptors(server, before)
    return {"connections": made, **_told(context, server, [client], recovery)}


def _wait_for_descriptors(server, before):
    harness.wait_until(lambda: total(server, "process_open_fds") <= before + 3, "the descriptors to be free again")


@trial("Handshakes byte by byte, of TLS and of HTTP/2, on more connections than there are descriptors: each is hung up on "
       "when its time is over, and healthy clients see no error")
def slow_handshakes(context):
    timeout = 1.0
    tls_test.make_certificates(context.folder)
    trust = grpc.ssl_channel_credentials((context.folder / "ca.pem").read_bytes())
    # A ClientHello that says it has 512 bytes.
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    tls = ("--tls-cert", context.folder / "server.pem", "--tls-key", context.folder / "server.key")
    clients, recoveries, lives = [], [], []
    for name, flags, credentials, first in (("tls", tls, trust, hello), ("plain", (), None, PREFACE)):
        server = context.server(name=name, descriptors=256)
        server.train("m")
        check(server.stop() == 0, server.log_tail())
        server.flags = tuple(map(str, ("--workers", 1, "--handshake-timeout", timeout, *flags)))
        server.start()
        before = total(server, "process_open_fds")
        with Healthy(server, credentials) as client:
            lives += _dribble(server, first, context.count(3, 30))
            recoveries.append(_recovery(server, credentials))
        clients.append(client)
        _wait_for_descriptors(server, before)
    check(len(lives) > 100, f"{len(lives)} handshakes were ended")
    context.bar(context.quick or max(lives) <= timeout + 2, f"one that does not end was kept for {max(lives):.1f} s")
    return {"handshakes hung up on": len(lives), "kept at most, of 1 s (s)": round(max(lives), 2),
            **_told(context, server, clients, max(recoveries))}


def _dribble(server, first, seconds):
    """Keeps 300 connections that send the bytes `first`, one every 0.2 s, and no more; returns for how long each was
    kept by the server, without those that it refused at once."""
    lives, connections = [], {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        while len(connections) < 300:
            with contextlib.suppress(OSError):
                connections[connect(server.address)] = [time.monotonic(), 0]
        for connection, (begin, sent) in list(connections.items()):
            try:
                connection.sendall(first[sent:sent + 1])
                connections[connection][1] += 1
                ended = select.select([connection], [], [], 0)[0] and connection.recv(4096) == b""
            except OSError:
                ended = True
            if ended:
                life = time.monotonic() - begin
                if life > 0.5:
                    lives.append(life)
                del connections[connection]
                connection.close()
        time.sleep(0.2)
    for connection in connections:
        connection.close()
    return lives


@trial("Streams that are opened and then say nothing, as many as connections may have: healthy clients see no error, and "
       "memory and descriptors are free again when they are gone")
def idle_streams(context):
    server = context.server("--workers", "1")
    server.train("m")
    before, memory = total(server, "process_open_fds"), resident_bytes(server)
    headers = [request(f"/density.v1.{method}") for method in
               ("DensityEstimator/StreamLogProb", "ModelRegistry/Import", "Datasets/Upload", "DensityEstimator/LogProb")]
    many, each = context.count(5, 50), 100
    with Healthy(server) as client:
        connections = []
        for _ in range(many):
            connection = connect(server.address)
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + b"".join(
                frame(HEADERS, END_HEADERS, 2 * i + 1, headers[i % len(headers)]) for i in range(each)))
            connections.append(connection)
        time.sleep(context.count(1, 20))
        server.ctl("logprob", "m", text=harness.csv([(1.0, 2.0)]))
        held = resident_bytes(server) - memory
        for connection in connections:
            connection.close()
        recovery = _recovery(server)
    _wait_for_descriptors(server, before)
    harness.wait_until(lambda: total(server, "densityd_inflight_bytes") == 0, "no bytes to be in flight")
    check(SANITIZE or held < 64 << 20, f"{many * each} idle streams hold {held / 2**20:.0f} MiB")
    return {"idle streams": many * each, "memory held by them (MiB)": round(held / 2**20, 1),
            **_told(context, server, [client], recovery)}
