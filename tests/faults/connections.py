"""Abuse of connections; who behaves must notice nothing."""

import contextlib
import select
import socket
import struct
import threading
import time

import grpc

import harness
from trial import check, total, trial

CHECK = "/grpc.health.v1.Health/Check"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, HEADERS, RST_STREAM = 4, 6, 1, 3
CANCEL = struct.pack(">I", 8)
END_HEADERS, END_STREAM = 4, 1


def _frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name, value):
    """A header that no table holds."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


REQUEST = (_literal(b":method", b"POST") + _literal(b":scheme", b"http") + _literal(b":path", CHECK.encode()) +
           _literal(b":authority", b"x") + _literal(b"te", b"trailers") +
           _literal(b"content-type", b"application/grpc"))


class Healthy:
    """A client that keeps asking on its own connection while `with` lasts."""

    def __init__(self, server):
        self._channel = grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.unary_unary(CHECK)
        self._end = threading.Event()
        self.seconds = []
        self.errors = []

    def __enter__(self):
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

    def _ask(self):
        start = time.monotonic()
        try:
            self._call(b"", timeout=20)
        except grpc.RpcError as error:
            self.errors.append(f"{error.code()}: {error.details()}")
        self.seconds.append(time.monotonic() - start)


def _connect(server):
    host, port = server.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10)


def _pour(server, seconds, make):
    """Sends what `make(i)` gives as fast as it is taken, connecting anew when hung up on; returns how many were sent."""
    sent = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), _connect(server) as connection:
            connection.settimeout(1)
            connection.sendall(PREFACE + _frame(SETTINGS, 0, 0, b""))
            i = 0
            while time.monotonic() < end:
                connection.sendall(b"".join(make(i + k) for k in range(50)))
                i += 50
                sent += 50
                while select.select([connection], [], [], 0)[0] and connection.recv(1 << 16):
                    pass
    return sent


def _abuse(context, make):
    server = context.server("--workers", "1", descriptors=256)
    with Healthy(server) as client:
        counts = []
        threads = [
            threading.Thread(target=lambda: counts.append(_pour(server, context.count(2, 30), make))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        start = time.monotonic()
        with Healthy(server):  # One that connects only now.
            recovery = time.monotonic() - start
    check(not client.errors, client.errors[:3])
    check(context.quick or recovery <= 10, f"a new client was served after {recovery:.1f} s")
    check(server.process.poll() is None, "the server ended")
    return {"sent": sum(counts), "healthy calls": len(client.seconds), "failed": 0,
            "longest (s)": round(max(client.seconds), 2), "recovery (s)": round(recovery, 2)}


@trial("Streams that are opened and reset at once, as fast as connections take them: healthy clients see no error")
def rapid_reset(context):

    def make(i):
        stream = 2 * i + 1
        return _frame(HEADERS, END_HEADERS, stream, REQUEST) + _frame(RST_STREAM, 0, stream, CANCEL)

    return _abuse(context, make)


@trial("A flood of pings: healthy clients see no error")
def ping_flood(context):
    return _abuse(context, lambda i: _frame(PING, 0, 0, struct.pack(">Q", i)))


@trial("More connections than descriptors, which say nothing: healthy clients see no error, and the server takes new ones "
       "when there is room again")
def connection_flood(context):
    descriptors = 256
    server = context.server("--workers", "1", descriptors=descriptors)
    before = total(server, "process_open_fds")
    made = 0
    with Healthy(server) as client:
        for _ in range(context.count(2, 40)):
            silent = []
            for _ in range(2 * descriptors):
                with contextlib.suppress(OSError):
                    silent.append(_connect(server))
            made += len(silent)
            for connection in silent:
                connection.close()
        start = time.monotonic()
        with Healthy(server):
            recovery = time.monotonic() - start
    check(not client.errors, client.errors[:3])
    check(recovery <= 10, f"a new client was served after {recovery:.1f} s")
    harness.wait_until(lambda: total(server, "process_open_fds") <= before + 3, "the descriptors to be free again")
    return {"connections": made, "healthy calls": len(client.seconds), "failed": 0,
            "longest (s)": round(max(client.seconds), 2), "recovery (s)": round(recovery, 2)}
