"""Abuse of connections to the real server under a low descriptor limit: who is connected notices nothing, and who was
refused gets in when there is room again."""

import contextlib
import resource
import shutil
import socket
import time
import unittest
import urllib.request

import grpc
import harness
import tls_test

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Client:
    """A client that stays connected, by hand: health checks need no generated code."""

    def __init__(self, address, credentials=None):
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = (grpc.secure_channel(address, credentials, options)
                        if credentials else grpc.insecure_channel(address, options))
        self.call = self.channel.unary_unary(CHECK)

    def check(self):
        return self.call(b"", timeout=harness.PATIENCE)

    def close(self):
        self.channel.close()


class ConnectionsTestCase(harness.ServerTestCase):

    def sockets(self, count):
        """Connections that say nothing, without those that the server refused at once."""
        host, port = self.server.address.rsplit(":", 1)
        made = []
        for _ in range(count):
            # The kernel connects; the server hangs up at once, or a little later.
            with contextlib.suppress(ConnectionResetError):
                connection = socket.create_connection((host, int(port)), timeout=harness.PATIENCE)
                self.addCleanup(connection.close)
                made.append(connection)
        return made

    def metric(self, name):
        text = urllib.request.urlopen(f"http://{self.server.metrics_address}/metrics", timeout=60).read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def gets_in(self):
        """Connects anew and asks, until that works; returns the seconds that it took."""
        start = time.monotonic()

        def asks():
            client = Client(self.server.address)
            try:
                return client.call(b"", timeout=1) == SERVING
            except grpc.RpcError:
                return False
            finally:
                client.close()

        harness.wait_until(asks, "a new connection to be served")
        return time.monotonic() - start


class PingTest(ConnectionsTestCase):

    def test_whoever_sends_pings_without_end_is_hung_up_on(self):
        client = Client(self.server.address)
        self.addCleanup(client.close)
        self.assertEqual(client.check(), SERVING)
        host, port = self.server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=harness.PATIENCE) as connection:
            settings = b"\0\0\0\4\0\0\0\0\0"
            ping = b"\0\0\x08\6\0\0\0\0\0" + b"12345678"
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + 20 * ping)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(4096):
                    answer += piece
        self.assertIn(b"too_many_pings", answer)
        self.assertEqual(client.check(), SERVING)


class FloodTest(ConnectionsTestCase):
    flags = ("--workers", "1")
    descriptors = 128

    def test_more_connections_than_descriptors(self):
        client = Client(self.server.address)
        self.addCleanup(client.close)
        self.assertEqual(client.check(), SERVING)
        before = self.metric("process_open_fds")
        flood = []
        for _ in range(10):
            flood += self.sockets(50)
            self.assertEqual(client.check(), SERVING)
        # The kernel connects before the server has looked.
        harness.wait_until(
            lambda: self.metric('densityd_connections_shed_total{reason="descriptors"}') > 300, "the rest to be refused")
        self.assertLess(self.metric("process_open_fds"), self.descriptors)
        for connection in flood:
            connection.close()
        self.assertLess(self.gets_in(), 10)
        self.assertEqual(client.check(), SERVING)
        harness.wait_until(lambda: self.metric("process_open_fds") <= before + 3, "the descriptors to be free again")
        harness.wait_until(lambda: self.metric("densityd_accepting_connections") == 1, "the probe to get through again")


class LimitTest(ConnectionsTestCase):
    flags = ("--workers", "1", "--max-connections-per-address", "5", "--handshake-timeout", "300")

    def test_one_address_gets_so_many_and_no_more(self):
        client = Client(self.server.address)
        self.addCleanup(client.close)
        self.assertEqual(client.check(), SERVING)
        kept = self.sockets(4)
        shed = self.sockets(20)
        for connection in shed:
            with self.assertRaises(ConnectionResetError):
                if connection.recv(100) == b"":
                    raise ConnectionResetError
        self.assertGreaterEqual(self.metric('densityd_connections_shed_total{reason="address"}'), 20)
        self.assertEqual(client.check(), SERVING)
        kept.pop().close()
        self.assertLess(self.gets_in(), 10)


class CallLimitsTest(ConnectionsTestCase):
    flags = ("--workers", "1", "--max-concurrent-streams", "4")

    def test_metadata_beyond_the_limit_are_refused_and_what_is_below_is_not(self):
        client = Client(self.server.address)
        self.addCleanup(client.close)
        self.assertEqual(client.call(b"", timeout=60, metadata=(("x-long", 4000 * "a"),)), SERVING)
        for size in (9000, 100_000):
            greedy = Client(self.server.address)
            self.addCleanup(greedy.close)
            with self.assertRaises(grpc.RpcError) as caught:
                greedy.call(b"", timeout=60, metadata=(("x-long", size * "a"),))
            # gRPC's own answer, before any code of ours; far beyond the limit it may hang up on the connection instead.
            self.assertIn(caught.exception.code(), (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE))
        self.assertEqual(client.check(), SERVING)

    def test_a_connection_has_so_many_calls_at_once_and_no_more(self):
        client = Client(self.server.address)
        self.addCleanup(client.close)
        watches = [client.channel.unary_stream(WATCH)(b"") for _ in range(4)]
        for watch in watches:
            self.assertEqual(next(watch), SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            client.call(b"", timeout=1)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        other = Client(self.server.address)
        self.addCleanup(other.close)
        self.assertEqual(other.check(), SERVING)
        watches.pop().cancel()
        self.assertEqual(client.check(), SERVING)


class IdleLimitTest(ConnectionsTestCase):
    flags = ("--workers", "1", "--max-connection-idle", "1")

    def test_a_connection_without_calls_is_closed_and_one_with_a_call_is_not(self):
        busy, idle = Client(self.server.address), Client(self.server.address)
        self.addCleanup(busy.close)
        self.addCleanup(idle.close)
        watch = busy.channel.unary_stream(WATCH)(b"")
        self.assertEqual(next(watch), SERVING)
        self.assertEqual(idle.check(), SERVING)
        states = []
        idle.channel.subscribe(states.append)
        harness.wait_until(lambda: grpc.ChannelConnectivity.IDLE in states, "the idle connection to be closed")
        self.assertTrue(watch.is_active())
        self.assertEqual(busy.check(), SERVING)
        self.assertEqual(idle.check(), SERVING)


class ProbeTest(ConnectionsTestCase):
    flags = ("--workers", "1")

    def test_a_server_that_accepts_nobody_says_so_to_those_who_are_connected(self):
        client = Client(self.server.address)
        self.addCleanup(client.close)
        states = client.channel.unary_stream(WATCH)(b"", timeout=harness.PATIENCE)
        self.assertEqual(next(states), SERVING)
        before = resource.prlimit(self.server.process.pid, resource.RLIMIT_NOFILE)
        # Without a descriptor nobody is accepted. Its own probes, ten seconds apart, find out.
        resource.prlimit(self.server.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        self.assertEqual(next(states), NOT_SERVING)
        resource.prlimit(self.server.process.pid, resource.RLIMIT_NOFILE, before)
        self.assertEqual(next(states), SERVING)
        self.assertEqual(self.metric("densityd_accepting_connections"), 1)


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class SlowHandshakeTest(ConnectionsTestCase):

    def prepare(self, folder):
        tls_test.make_certificates(folder)
        self.flags = ("--workers", "1", "--handshake-timeout", "1", "--tls-cert", folder / "server.pem", "--tls-key",
                      folder / "server.key")

    def test_who_does_not_finish_his_handshake_is_hung_up_on(self):
        trust = grpc.ssl_channel_credentials((self.folder / "ca.pem").read_bytes())
        client = Client(self.server.address, trust)
        self.addCleanup(client.close)
        self.assertEqual(client.check(), SERVING)
        slow = self.sockets(100)
        for connection in slow[:50]:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello
        self.assertEqual(client.check(), SERVING)
        self.assertEqual(self.server.ctl("--tls-ca", self.folder / "ca.pem", "health"), "SERVING\n")
        for connection in slow:
            with self.assertRaises(ConnectionResetError):
                if connection.recv(100) == b"":
                    raise ConnectionResetError
        self.assertEqual(client.check(), SERVING)


del ConnectionsTestCase

if __name__ == "__main__":
    unittest.main()
