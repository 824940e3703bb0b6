"""A real Prometheus scrapes a real server."""

import json
import os
import shutil
import socket
import subprocess
import unittest
import urllib.error
import urllib.parse
import urllib.request

import harness
from harness import correlated, csv, wait_until

_PROMETHEUS = os.environ.get("PROMETHEUS", "")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@unittest.skipUnless(shutil.which(_PROMETHEUS), "prometheus is not installed (Debian package: prometheus)")
class PrometheusTest(harness.ServerTestCase):

    def setUp(self):
        super().setUp()
        config = self.write("prometheus.yml", json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{
                "job_name": "densityd",
                "static_configs": [{"targets": [self.server.metrics_address]}],
            }],
        }))
        self.port = free_port()
        with (self.folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [_PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={self.folder / 'tsdb'}",
                 f"--web.listen-address=127.0.0.1:{self.port}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def query(self, expression):
        """The value of the only series that the expression gives; None where there is none yet."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                result = json.load(response)["data"]["result"]
        except (urllib.error.URLError, ConnectionError):
            return None
        return float(result[0]["value"][1]) if result else None

    def test_scrapes_what_the_server_did(self):
        wait_until(lambda: self.query('up{job="densityd"}') == 1, "the first scrape")
        self.server.train("m")
        self.server.ctl("logprob", "m", text=csv(correlated(100)))
        self.server.ctl("logprob", "absent", text=csv(correlated(1)), code=4)
        wait_until(lambda: self.query('sum(densityd_rows_total{model="m",op="log_prob"})') == 100, "the scored rows")
        self.assertGreaterEqual(self.query('sum(densityd_requests_total{code="OK"})'), 1)
        wait_until(lambda: (self.query('sum(densityd_requests_total{code="NOT_FOUND"})') or 0) >= 1, "the refusal")
        self.assertEqual(self.query("sum(densityd_models_loaded)"), 1)
        self.assertGreater(self.query("process_resident_memory_bytes"), 0)
        # Percentiles come from histograms, so that they can be summed over servers.
        p99 = self.query("histogram_quantile(0.99, sum by (le) (densityd_request_seconds_bucket))")
        self.assertIsNotNone(p99)


if __name__ == "__main__":
    unittest.main()
