"""Tokens, certificates, archives and a shared root, with the real programs."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import time
import unittest
import urllib.error
import urllib.request

import grpc
import harness
import tls_test


def make_token(name, rights, models="*"):
    """A token, and its line for the file of grants."""
    done = subprocess.run([harness.DENSITYCTL, "token", "create", name, "--rights", rights, "--models", models],
                          capture_output=True, text=True, check=True)
    line = [line for line in done.stderr.splitlines() if line.startswith("name=")]
    return done.stdout.strip(), line[0] + "\n"


class TokensTest(harness.ServerTestCase):

    def prepare(self, folder):
        tls_test.make_certificates(folder)
        self.tokens = {}
        lines = "name=web certificate=client rights=infer models=power*\n"
        for name, rights in (("boss", "infer,train,admin"), ("reader", "infer"), ("scraper", "metrics")):
            token, line = make_token(name, rights)
            self.tokens[name] = folder / f"{name}.token"
            self.tokens[name].write_text(token + "\n")
            lines += line
        self.grants = folder / "grants"
        self.grants.write_text(lines)
        self.grants.chmod(0o640)
        self.audit = folder / "audit.jsonl"
        self.flags = ("--tls-cert", folder / "server.pem", "--tls-key", folder / "server.key", "--tls-client-ca",
                      folder / "ca.pem", "--auth-file", self.grants, "--audit-log", self.audit)
        self.identity = ("--tls-ca", folder / "ca.pem", "--tls-cert", folder / "client.pem", "--tls-key",
                         folder / "client.key")

    def ctl(self, *arguments, who=None, **options):
        credentials = ("--token-file", self.tokens[who]) if who else ()
        return self.server.ctl(*self.identity, *credentials, *arguments, **options)

    def test_each_may_do_what_the_file_says_and_every_change_is_recorded(self):
        rows = harness.csv(harness.correlated(200))
        self.ctl("train", "power", *harness.QUICK, "--data", "-", text=rows, who="reader", code=7)
        self.assertIn("the right train", self.server.err)
        self.ctl("train", "power", *harness.QUICK, "--data", "-", text=rows, who="boss")
        self.ctl("logprob", "power", "-", text=rows, who="reader")
        # The certificate is an identity, too.
        self.ctl("logprob", "power", "-", text=rows)
        self.ctl("logprob", "gas", "-", text=rows, code=7)
        self.ctl("unload", "power", who="reader", code=7)
        self.ctl("unload", "power", who="boss")
        records = [json.loads(line) for line in self.audit.read_text().splitlines()]
        done = [(record["who"], record["method"].split("/")[1], record["code"]) for record in records]
        self.assertIn(("reader", "Unload", "PERMISSION_DENIED"), done)
        self.assertEqual(done[-1], ("boss", "Unload", "OK"))
        log = self.server.log.read_text() + self.audit.read_text()
        for file in self.tokens.values():
            self.assertNotIn(file.read_text().strip(), log)

    def test_who_is_struck_off_is_locked_out(self):
        self.ctl("models", who="reader")
        kept = [line for line in self.grants.read_text().splitlines(True) if "name=reader" not in line]
        self.grants.write_text("".join(kept))

        def locked_out():
            try:
                self.ctl("models", who="reader", code=7)
                return True
            except AssertionError:
                return False

        harness.wait_until(locked_out, "the file to be read again")
        self.assertIn("not valid", self.server.err)
        self.ctl("models", who="boss")

    def test_metrics_need_their_right(self):

        def scrape(token):
            request = urllib.request.Request(f"http://{self.server.metrics_address}/metrics")
            if token:
                request.add_header("Authorization", "Basic " + base64.b64encode(f"x:{token}".encode()).decode())
            return urllib.request.urlopen(request, timeout=60).read()

        self.assertIn(b"densityd_models_loaded", scrape(self.tokens["scraper"].read_text().strip()))
        for token in (None, "x", self.tokens["boss"].read_text().strip()):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                scrape(token)
            self.assertEqual(caught.exception.code, 401)

    def test_health_checks_stay_open(self):
        self.assertEqual(self.ctl("health"), "SERVING\n")


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class RenewalTest(harness.ServerTestCase):
    def prepare(self, folder):
        tls_test.make_certificates(folder)
        self.flags = ("--tls-cert", folder / "server.pem", "--tls-key", folder / "server.key")

    def test_a_renewed_authority_and_certificate_are_used_and_connections_stay(self):
        old = (self.folder / "ca.pem").read_bytes()
        channel = grpc.secure_channel(self.server.address, grpc.ssl_channel_credentials(old),
                                      [("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(channel.close)
        states = []
        channel.subscribe(states.append)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        self.assertEqual(check(b"", timeout=60), b"\x08\x01")
        fresh = self.folder / "fresh"
        fresh.mkdir()
        tls_test.make_certificates(fresh)

        def served(authority=fresh / "ca.pem"):
            try:
                return self.server.ctl("--retry-for", 0, "--tls-ca", authority, "health") == "SERVING\n"
            except AssertionError:
                time.sleep(0.5)
                return False

        # A certificate whose key has not come, and half a key: what was before is served, and the log says why.
        os.replace(fresh / "server.pem", self.folder / "server.pem")
        for complaint in ("is not the key", "no private key"):
            harness.wait_until(lambda text=complaint: text in self.server.log_tail(), "the log to say what is wrong")
            self.assertTrue(served(self.folder / "ca.pem"))
            self.assertFalse(served())
            (self.folder / "server.key").write_bytes((fresh / "server.key").read_bytes()[:100])
        os.replace(fresh / "server.key", self.folder / "server.key")
        harness.wait_until(served, "the renewed certificate")
        self.assertEqual(check(b"", timeout=60), b"\x08\x01")
        self.assertNotIn(grpc.ChannelConnectivity.TRANSIENT_FAILURE, states)
        self.assertEqual(states.count(grpc.ChannelConnectivity.READY), 1, "it never connected anew")


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class ClientAuthorityRenewalTest(harness.ServerTestCase):

    def prepare(self, folder):
        tls_test.make_certificates(folder)
        self.fresh = folder / "fresh"
        self.fresh.mkdir()
        tls_test.make_certificates(self.fresh)
        self.authority = folder / "clients.pem"
        shutil.copy(folder / "ca.pem", self.authority)
        self.flags = ("--tls-cert", folder / "server.pem", "--tls-key", folder / "server.key", "--tls-client-ca",
                      self.authority)

    def lets_in(self, certificates):
        """Whether a new connection with the client certificate of that folder is served."""
        done = subprocess.run([harness.DENSITYCTL, "--server", self.server.address, "--retry-for", "0", "--tls-ca",
                               self.folder / "ca.pem", "--tls-cert", certificates / "client.pem", "--tls-key",
                               certificates / "client.key", "health"], capture_output=True, timeout=harness.PATIENCE)
        return done.returncode == 0

    def test_a_new_authority_lets_its_clients_in_and_those_of_the_old_one_no_more(self):
        credentials = grpc.ssl_channel_credentials((self.folder / "ca.pem").read_bytes(),
                                                   (self.folder / "client.key").read_bytes(),
                                                   (self.folder / "client.pem").read_bytes())
        channel = grpc.secure_channel(self.server.address, credentials, [("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(channel.close)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        self.assertEqual(check(b"", timeout=60), b"\x08\x01")
        self.assertTrue(self.lets_in(self.folder))
        self.assertFalse(self.lets_in(self.fresh))
        shutil.copy(self.fresh / "ca.pem", self.folder / "renewed.pem")
        os.replace(self.folder / "renewed.pem", self.authority)
        harness.wait_until(lambda: self.lets_in(self.fresh), "the renewed authority")
        self.assertFalse(self.lets_in(self.folder))
        self.assertEqual(check(b"", timeout=60), b"\x08\x01", "who is connected stays so")


class ArchiveTest(harness.ServerTestCase):
    flags = ("--poll-root", "0.05")

    def test_a_model_moves_to_another_server_and_answers_the_same(self):
        rows = harness.csv(harness.correlated(100))
        self.server.train("power")
        self.server.ctl("export", "power", self.folder / "power.tar")
        before = self.server.ctl("logprob", "power", "-", text=rows)
        other = harness.Server(self.write("other/x", "").parent)
        other.start()
        self.addCleanup(other.kill)
        other.ctl("import", self.folder / "power.tar", "--as", "gas")
        self.assertEqual(other.ctl("logprob", "gas", "-", text=rows), before)
        self.assertEqual(other.leftovers(), [])
        damaged = bytearray((self.folder / "power.tar").read_bytes())
        damaged[len(damaged) // 2] ^= 1
        self.write("damaged.tar", bytes(damaged))
        other.ctl("import", self.folder / "damaged.tar", code=3)
        self.assertIn("SHA-256", other.err)
        self.assertEqual(other.leftovers(), [])

    def test_killed_in_the_middle_of_an_import_nothing_is_there(self):
        self.server.train("power")
        archive = self.server.ctl("export", "power", "-", binary=True)
        running = subprocess.Popen([harness.DENSITYCTL, "--server", self.server.address, "import", "-", "--as", "gas"],
                                   stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(running.wait)
        # Zeros may follow; with them densityctl sends a piece. The stream stays open, and the server waits for more.
        running.stdin.write(archive + bytes(1 << 20))
        running.stdin.flush()
        harness.wait_until(lambda: [path for path in self.server.leftovers() if path.name.startswith("import-")],
                           "the import to begin")
        self.server.kill()
        running.stdin.close()
        self.server.start()
        self.assertEqual(self.server.leftovers(), [])
        self.server.ctl("models", "show", "gas", code=4)
        self.server.ctl("models", "show", "power")

    def test_a_root_has_one_server(self):
        second = subprocess.run([harness.DENSITYD, "--root", self.server.root, "--address", "127.0.0.1:0",
                                 "--metrics-address", ""], capture_output=True, text=True, timeout=harness.PATIENCE)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("another densityd owns this root", second.stderr)
        self.server.ctl("health")
        # Open for writing: else NFS would lock it on this machine alone.
        lock = os.stat(self.server.root / "lock")
        flags = [path for path in (pathlib.Path("/proc") / str(self.server.process.pid) / "fd").iterdir()
                 if os.path.samestat(os.stat(path), lock)]
        self.assertEqual(len(flags), 1)
        info = (flags[0].parent.parent / "fdinfo" / flags[0].name).read_text()
        self.assertEqual(int(info.split("flags:")[1].split()[0], 8) & os.O_ACCMODE, os.O_RDWR)

    def test_a_root_that_was_made_before_roots_had_a_lock_file_is_owned_as_well(self):
        self.server.train("power")
        self.assertEqual(self.server.stop(), 0)
        (self.server.root / "lock").unlink()
        self.server.start()
        self.test_a_root_has_one_server()

    def test_what_another_process_puts_into_the_root_is_served(self):
        self.server.train("power")
        models = self.server.root / "models"
        shutil.copytree(models / "power" / "1", self.folder / "copy")
        os.rename(self.folder / "copy", models / "power" / "2")

        def sees_it():
            return "power@2" in self.server.ctl("models")

        harness.wait_until(sees_it, "the poll to find it")


if __name__ == "__main__":
    unittest.main()
