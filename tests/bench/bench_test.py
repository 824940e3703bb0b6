"""The programs and scripts of bench/ work, on tiny sizes. No test looks at how long anything took."""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import numpy

SOURCE = pathlib.Path(os.environ["DENSITYD_SOURCE_DIR"])
PROGRAMS = pathlib.Path(os.environ["DENSITYD_BINARY_DIR"]) / "bin"
BENCH = SOURCE / "bench"
sys.path[:0] = [str(BENCH / folder) for folder in ("common", "engine", "quality", "report")]

import bars  # noqa: E402
import comparison  # noqa: E402
import report  # noqa: E402
from earlier_run import EarlierRun  # noqa: E402
from figures import area_under_curve, over_seeds  # noqa: E402
from suite import Suite  # noqa: E402


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=240)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def echo_server():
    with subprocess.Popen([str(PROGRAMS / "densityd_echo_server")], stdout=subprocess.PIPE, text=True) as child:
        try:
            word, port = child.stdout.readline().split()
            assert word == "ready"
            yield int(port), child.pid
        finally:
            child.terminate()


class EngineBenchTest(unittest.TestCase):
    def results(self, pattern):
        output = run(PROGRAMS / "engine_bench", f"--benchmark_filter={pattern}", "--benchmark_min_time=0",
                     "--benchmark_format=json")
        return {result["name"]: result for result in output["benchmarks"]}

    def test_every_operation_reports_its_rates(self):
        results = self.results("^plan/maf/6/256/8/.*/(1|64)$")
        self.assertEqual({name.split("/", 5)[-1] for name in results},
                         {f"{op}/{rows}" for op in ("log_prob", "inverse", "forward", "sample") for rows in (1, 64)})
        for result in results.values():
            self.assertGreater(result["useful"], 0)
            self.assertGreater(result["dense"], result["useful"])  # half of a masked network is zero
            self.assertGreater(result["rows"], 0)

    def test_peak_is_measured(self):
        self.assertGreater(self.results("^peak/multiply-add$")["peak/multiply-add"]["useful"], 0)

    def test_requests_run_on_several_workers(self):
        cores = len(os.sched_getaffinity(0))
        for name, result in self.results("^scaling/maf/6/256/8/").items():
            if cores >= int(name.partition("cores:")[2].partition("/")[0]):
                self.assertGreater(result["rows"], 0)
            else:
                self.assertTrue(result["error_occurred"])


class LoadGeneratorTest(unittest.TestCase):
    def load(self, port, *arguments):
        return run(PROGRAMS / "densityd_load", f"--target=127.0.0.1:{port}", "--model=any", "--seconds=0.1",
                   "--warmup=0.02", *arguments)

    def check(self, stream):
        self.assertGreater(stream["calls"], 0)
        self.assertEqual(stream["failures"], 0)
        self.assertTrue(0 < stream["p50_us"] <= stream["p99_us"] <= stream["p999_us"] <= stream["max_us"], stream)

    def test_closed_loop_with_a_second_kind_of_call(self):
        with echo_server() as (port, pid):
            result = self.load(port, "--concurrency=4", "--connections=2", "--also=other:100:2", f"--server-pid={pid}")
        self.check(result)
        (other,) = result["also"]
        self.check(other)
        self.assertAlmostEqual(other["rows_per_second"], 100 * other["calls_per_second"])

    def test_open_loops(self):
        with echo_server() as (port, _):
            for arrival in ("constant", "poisson", "bursty"):
                self.check(self.load(port, f"--arrival={arrival}", "--rate=1000"))

    def test_failed_calls_are_counted(self):
        with echo_server() as (port, _):
            pass
        result = self.load(port)
        self.assertEqual(result["calls"], 0)
        self.assertGreater(result["failures"], 0)
        self.assertTrue(result["first_failure"])


def plan_entry(preset, features, op, rows, us, share=0.9, zuko=1000.0):
    return {"preset": preset, "features": features, "hidden": 256, "layers": 8, "op": op, "rows": rows, "us": us,
            "useful_gflops": 200.0, "dense_gflops": 400.0, "share_of_onednn": share,
            "share_of_multiply_adds": share, "ratio_to_best_peer": zuko,
            "peers": {"zuko": {"us": us * zuko, "ratio": zuko}, "nflows": {"left_out": "one call takes about 99 s"}}}


class BarsTest(unittest.TestCase):
    def suite(self, folder, *arguments):
        with mock.patch.object(sys, "argv", ["engine.py", "--programs=none", f"--json={folder}/engine.json", *arguments]):
            return Suite("engine", "")

    def finish(self, suite):
        """What the run prints, and its exit status."""
        with contextlib.redirect_stdout(io.StringIO()) as output, self.assertRaises(SystemExit) as end:
            suite.finish()
        return output.getvalue(), end.exception.code

    def test_a_missed_bar_is_named_and_fails_the_check(self):
        with tempfile.TemporaryDirectory() as folder:
            for arguments, status in (["--check", "--only=maf"], 1), (["--only=maf"], 0):
                suite = self.suite(folder, *arguments)
                comparison.compare_plans(suite, [plan_entry("maf", 6, "log_prob", 4096, 10.0, share=0.79)])
                output, code = self.finish(suite)
                self.assertEqual(code, status)
                self.assertRegex(output, r"MISSED useful rate / oneDNN 512\^3, 4096 rows +maf D = 6 log_prob +0.79")
            written = json.loads(pathlib.Path(folder, "engine.json").read_text(encoding="utf-8"))
            self.assertEqual({result["bar"]: result["met"] for result in written["bars"]},
                             {"kernel_share": False, "maf_log_prob_zuko": True})
            self.assertEqual(written["command"], "./scripts/bench engine --only maf")

    def test_a_whole_run_that_measured_nothing_misses_every_bar(self):
        with tempfile.TemporaryDirectory() as folder:
            output, code = self.finish(self.suite(folder, "--check"))
            self.assertEqual(code, 1)
            self.assertIn(f"{sum(bar.suite == 'engine' for bar in bars.BARS.values())} missed", output)

    def test_each_kind_of_figure_finds_its_bars(self):
        entries = [plan_entry(preset, features, op, rows, 10.0) for preset in ("realnvp", "maf", "nsf_coupling", "nsf_ar")
                   for features in (6, 63) for op in ("log_prob", "sample") for rows in (1, 4096)]
        found = []
        suite = mock.Mock(compare=lambda bar, where, value, note="": found.append((bar, where)))
        comparison.compare_plans(suite, entries)
        self.assertEqual({bar for bar, _ in found},
                         {key for key, bar in bars.BARS.items() if bar.suite == "engine"}
                         - {"spline_density", "spline_inverse", "two_cores"})
        self.assertEqual(sorted(found), sorted(set(found)))


class ReportTest(unittest.TestCase):
    run_facts = {"command": "./scripts/bench X", "date": "2026-01-02 03:04 UTC", "seconds": 61, "commit": "abc",
                 "processor": "A processor", "cores": 2, "memory_gib": 8, "system": "Debian",
                 "versions": {"zuko": "1"}, "bars_not_measured": [],
                 "bars": [{"bar": "one_row", "figure": "1 row", "where": "maf", "value": 30.0, "wanted": "at most 25 us",
                           "met": False, "note": "why"}]}

    def page(self, *, name="benchmarks", **runs):
        with tempfile.TemporaryDirectory() as folder:
            for suite, figures in runs.items():
                pathlib.Path(folder, f"{suite}.json").write_text(json.dumps({**self.run_facts, **figures}), encoding="utf-8")
            with contextlib.redirect_stdout(io.StringIO()), mock.patch.object(
                    sys, "argv", ["report.py", f"--results={folder}", f"--docs={folder}", "--no-picture"]):
                report.main()
            return pathlib.Path(folder, f"{name}.md").read_text(encoding="utf-8")

    def test_the_page_holds_what_was_measured(self):
        loads = [{"load": "1 row, c=1", "server": "densityd", "p50_us": 61.0, "p99_us": 70.0, "p999_us": 80.0,
                  "calls_per_second": 16000.0, "rows_per_second": 16000.0, "server_cpu_us": 20.0, "failures": 0},
                 {"load": "4096 rows, c=4", "server": "in process", "rows_per_second": 350000.0, "failures": 0}]
        page = self.page(
            engine={"plans": [plan_entry("maf", 6, "log_prob", 4096, 12345.0)], "peak_gflops": 270.0,
                    "onednn_512_gflops": 260.0, "simd_target": "AVX3", "no_compiled_plan": {"nsf_ar/6/256/8": "why"},
                    "kernel_ns": {"spline_inverse/8": 4.5},
                    "scaling": [{"model": "maf/6", "rows_per_second": {"1": 1.0, "2": 2.0}, "ratio": 1.9}]},
            service={"loads": loads, "swap_ms": 12.0},
            training={"trainings": [{"preset": "maf", "features": 6, "hidden": 256, "layers": 8, "ms_per_step": 5.0,
                                     "steps_per_second": 200.0, "zuko_ms_per_step": 15.0, "ratio": 3.0,
                                     "compile_ms_per_step": 12.5, "compile_ratio": 2.5}],
                      "kernels": {"useful": [{"preset": "maf", "features": 6, "hidden": 256, "layers": 8,
                                              "gflops": 210.0, "share": 0.81}],
                                  "splines": {"spline_forward": 4.25, "spline_backward": 7.75}},
                      "scaling": [{"name": "threads/maf/6/256/8/512", "ms_per_step": [8.5, 4.75], "ratio": 1.79}],
                      "out_of_core": {"name": "out_of_core/maf/43", "rows": 8000000, "ceiling_mib": 512,
                                      "ms_per_step": [6.25, 6.5], "ratio": 0.96}})
        for expected in ("| MAF, D = 6, 256x2, 8 layers | 12.3 |", "one call takes about 99 s", "| 4.50 |", "1.90x",
                         "| 1 row, c=1 | densityd | 61.0 |", "350,000", "3.00x", "| 12.5 | 2.50x |",
                         "| MAF, D = 6, 256x2, 8 layers | 210 | 0.81 |", "4.25 ns per number forward",
                         "| `threads/maf/6/256/8/512` | 8.50 | 4.75 | 1.79x |", "8,000,000 rows take 6.25 ms", "1 row, maf: 30.0 (at most 25 us); why",
                         "2026-01-02 03:04 UTC", "nsf_ar/6/256/8"):
            self.assertIn(expected, page)
        self.assertNotIn("Not run", page)

    def test_trainings_of_papers_sizes_are_kept_until_they_are_run_again(self):
        def training(table, mean):
            return {"table": table, "preset": "nsf_ar", "features": 63, "rows": 1000, "parameters": 12345, "steps": 100,
                    "best_step": 90, "seconds": 120.0, "trainer": "compiled", "log_prob": {"mean": mean, "error": 0.25},
                    "gaussian": {"mean": 96.5, "error": 0.125}, "curve": [], "date": "2026-01-02", "commit": "abc",
                    "processor": "A processor", "cores": 2}

        with tempfile.TemporaryDirectory() as folder:
            results = pathlib.Path(folder, "results", "paper")
            results.mkdir(parents=True)

            def write(*entries):
                for path in results.iterdir():
                    path.unlink()
                for entry in entries:
                    pathlib.Path(results, f"{entry['table']}.json").write_text(json.dumps(entry), encoding="utf-8")
                with contextlib.redirect_stdout(io.StringIO()), mock.patch.object(
                        sys, "argv", ["report.py", f"--results={results.parent}", f"--docs={folder}", "--no-picture"]):
                    report.main()
                return pathlib.Path(folder, "paper_scale.md").read_text(encoding="utf-8")

            write(training("bsds300", 155.5), training("power", 0.5))
            page = write(training("power", 0.75))
        for expected in ("155.500 ± 0.250", "0.750 ± 0.250", "| 2.00 | 0.83 | compiled |", "12,345"):
            self.assertIn(expected, page)
        self.assertNotIn("0.500 ± 0.250", page.replace("155.500", ""))

    def test_the_page_of_densities_holds_what_was_measured(self):
        nats = {"mean": -1.25, "error": 0.0625, "seconds": 10}
        page = self.page(name="quality", quality={
            "flow": "5 transforms",
            "tables": [{"table": "power", "features": 6, "rows": 16000, "gaussian": {"mean": -7.875, "error": 0.5},
                        "presets": [{"preset": "maf", "steps": 3000, "densityd": {**nats, "seeds": [-1.5, -1.0]},
                                     "zuko": {"mean": -1.5, "error": 0.125, "seconds": 30}}]}],
            "anomalies": [{"table": name, "seeds": 2, "steps": 1000,
                           "areas": {"densityd": [0.5, 1.0], "isolation forest": [0.75, 0.75]}}
                          for name in ("shuttle", "pendigits")],
            "digits": {"rows": 59000, "test_rows": 10000, "gaussian": {"mean": -1234.5, "error": 2.0, "bits": 2.25},
                       "presets": [{"preset": "glow", "parameters": 1234567, "steps": 2000, "batch": 64, "seconds": 90,
                                    "mean": -700.0, "error": 1.0, "bits": 1.28}]}})
        for expected in ("| power | 6 | 16,000 | MAF | -1.250 ± 0.062 (-1.500 … -1.000) | -1.500 ± 0.125 | "
                         "-7.875 ± 0.500 | 10.0 | 30.0 | 300 | 100 |", "59,000 to train on",
                         "| Glow | 1,234,567 | 2,000 | 64 | 1.5 | -700 ± 1 | 1.280 |",
                         "| shuttle | 0.750 (0.500 … 1.000) | 0.750 (0.750 … 0.750) |", "| mean | 0.750 | 0.750 |",
                         "3,000 steps", "1 row, maf: 30.0"):
            self.assertIn(expected, page)
        self.assertNotIn("Not run", page)

    def test_what_was_not_run_is_said(self):
        page = self.page(service={"loads": []})
        self.assertIn("Not run: `./scripts/bench engine`, `./scripts/bench training`.", page)


class QualityTest(unittest.TestCase):
    """What the test `bench_quality`, which runs all of `./scripts/bench quality --quick`, does not show."""

    DATA = pathlib.Path(__file__).parent / "data"

    def test_a_density_that_is_worse_than_the_libraries_is_named_and_fails_the_check(self):
        better = json.loads((self.DATA / "peers.json").read_text(encoding="utf-8"))
        better["anomalies"][0]["areas"]["isolation forest"] = [1.0]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "peers.json")
            path.write_text(json.dumps(better), encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-B", BENCH / "quality" / "quality.py", "--quick", "--check", "--only=mammography",
                 f"--programs={PROGRAMS}", f"--protos={SOURCE}/proto", f"--data-dir={self.DATA}",
                 f"--peers-from={path}", f"--json={folder}/quality.json"],
                capture_output=True, text=True, check=False, timeout=240)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"MISSED area under the ROC curve .* mean of 1, isolation forest +-0\.\d+")
        self.assertRegex(done.stdout, r"ok +area under the ROC curve .* mean of 1, local outlier factor")
        self.assertIn("\n1 missed;", done.stdout)

    def test_figures_of_other_rows_or_recipes_are_refused(self):
        run = json.loads((self.DATA / "peers.json").read_text(encoding="utf-8"))
        table, anomalies = run["tables"][0], run["anomalies"][0]
        earlier = EarlierRun(self.DATA / "peers.json")
        steps = table["presets"][0]["steps"]
        self.assertEqual(earlier.zuko(table, "maf", None, steps, 3), table["presets"][0]["zuko"])
        for what, change, arguments in (
                ("no table power of 17", {"rows": 17}, ("maf", None, steps, 3)),
                ("other rows of power", {"gaussian": {"mean": table["gaussian"]["mean"] + 0.01}}, ("maf", None, steps, 3)),
                ("did not train maf on power in 7 steps", {}, ("maf", None, 7, 3)),
                ("did not train naf", {}, ("naf", None, steps, 1))):
            with self.subTest(what), self.assertRaisesRegex(ValueError, what):
                earlier.zuko({**table, **change}, *arguments)
        labels = numpy.ones(anomalies["anomalies"][0])
        self.assertEqual(set(earlier.detectors(anomalies, 0, None, None, labels)),
                         {"isolation forest", "local outlier factor"})
        with self.assertRaisesRegex(ValueError, "other rows of mammography"):
            earlier.detectors(anomalies, 0, None, None, labels[1:])

    def test_of_several_trainings_the_middle_one_counts(self):
        runs = [([-1.0, -3.0], 4), ([-1.0, -1e4], 5), ([-1.0, -2.0], 6)]
        figure = over_seeds(runs)
        self.assertEqual((figure["mean"], figure["seconds"], figure["seeds"]), (-2.0, 5, [-2.0, -5000.5, -1.5]))
        self.assertAlmostEqual(figure["error"], 2 * 1 / 2**0.5)
        self.assertEqual(over_seeds(runs[:2])["mean"], -5000.5)

    def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order(self):
        self.assertEqual(area_under_curve([1, 2, 2, 3], [0, 0, 1, 1]), 3.5 / 4)
        self.assertEqual(area_under_curve([3, 2, 1], [0, 0, 1]), 0)


class ScriptsTest(unittest.TestCase):
    def test_scripts_are_valid_python(self):
        # Most import what only the benchmarks' own environment has.
        for path in sorted(BENCH.rglob("*.py")):
            with self.subTest(path.name):
                compile(path.read_text(encoding="utf-8"), str(path), "exec")


if __name__ == "__main__":
    unittest.main(verbosity=2)
