"""TLS and mutual TLS between the real programs, with certificates made here and now."""

import shutil
import subprocess
import unittest

import harness


def make_certificates(folder):
    """An authority, and certificates of it for the server (127.0.0.1) and for a client."""

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 1, "-subj", "/CN=authority", "-keyout",
            folder / "ca.key", "-out", folder / "ca.pem")
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key",
                "-out", folder / f"{name}.csr")
        openssl("x509", "-req", "-days", 1, "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey",
                folder / "ca.key", "-CAcreateserial", "-extfile", names, "-out", folder / f"{name}.pem")


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class TlsTest(harness.ServerTestCase):

    def prepare(self, folder):
        make_certificates(folder)
        self.trust = ("--tls-ca", folder / "ca.pem")
        self.identity = ("--tls-cert", folder / "client.pem", "--tls-key", folder / "client.key")
        self.flags = ("--tls-cert", folder / "server.pem", "--tls-key", folder / "server.key")

    def test_who_trusts_the_authority_is_served_and_plain_text_is_not(self):
        self.assertEqual(self.server.ctl(*self.trust, "health"), "SERVING\n")
        self.server.ctl("--retry-for", 0, "health", code=5)
        # The system's authorities did not sign this certificate.
        self.server.ctl("--retry-for", 0, "--tls", "health", code=5)

    def test_a_missing_certificate_file_is_named(self):
        self.server.ctl("--tls-ca", self.folder / "absent.pem", "health", code=4)
        self.assertIn("absent.pem", self.server.err)
        self.server.ctl(*self.trust, "--tls-cert", self.folder / "client.pem", "health", code=3)
        self.assertIn("client_key", self.server.err)


class MutualTlsTest(TlsTest):

    def prepare(self, folder):
        super().prepare(folder)
        self.flags += ("--tls-client-ca", folder / "ca.pem")

    def test_who_trusts_the_authority_is_served_and_plain_text_is_not(self):
        self.assertEqual(self.server.ctl(*self.trust, *self.identity, "health"), "SERVING\n")
        self.server.ctl("--retry-for", 0, *self.trust, "health", code=5)


if __name__ == "__main__":
    unittest.main()
