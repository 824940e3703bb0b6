"""The bars: what the benchmarks are held to. `--check` compares a run's figures with them.

Ratios compare two figures of the same run. A bar is checked wherever it applies (say, for each dimension), and every
place where it is missed is named.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Bar:
    suite: str
    figure: str
    at_least: bool
    bound: float
    unit: str = "x"

    def holds(self, value):
        return value >= self.bound if self.at_least else value <= self.bound

    def wanted(self):
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g} {self.unit}".rstrip()


def _at_least(suite, figure, bound, unit="x"):
    return Bar(suite, figure, True, bound, unit)


def _at_most(suite, figure, bound, unit="x"):
    return Bar(suite, figure, False, bound, unit)


BARS = {
    "kernel_share": _at_least("engine", "useful rate / oneDNN 512^3, 4096 rows", 0.80),
    "realnvp_zuko": _at_least("engine", "zuko's time / ours, RealNVP, 4096 rows, D = 6", 2.5),
    "maf_log_prob_zuko": _at_least("engine", "zuko's time / ours, MAF log_prob, 4096 rows, D = 6", 5),
    "maf_sample_log_prob": _at_most("engine", "MAF sample / its log_prob, 4096 rows", 1.15),
    "maf_sample_zuko_6": _at_least("engine", "zuko's time / ours, MAF sample, 4096 rows, D = 6", 25),
    "maf_sample_zuko_63": _at_least("engine", "zuko's time / ours, MAF sample, 4096 rows, D = 63", 100),
    "nsf_zuko": _at_least("engine", "zuko's time / ours, NSF, 4096 rows", 5),
    "nsf_ar_sample_zuko": _at_least("engine", "zuko's time / ours, autoregressive NSF sample, 4096 rows", 40),
    "one_row": _at_most("engine", "1 row, RealNVP and MAF, D = 6", 25, "us"),
    "spline_density": _at_most("engine", "spline kernel, density (x to z)", 5, "ns per element"),
    "spline_inverse": _at_most("engine", "spline kernel, inverse (z to x)", 6, "ns per element"),
    "two_cores": _at_least("engine", "two cores / one, 4096-row requests in process", 1.8),
    "c1_p50": _at_most("service", "p50 / echo's, 1 row, c = 1", 1.3),
    "c4_rate": _at_least("service", "rate / echo's, 1 row, c = 4", 0.5),
    "c64_rate": _at_least("service", "rate / echo's, 1 row, c = 64, 1 connection", 0.78),
    "c64x64_rate": _at_least("service", "rate / echo's, 1 row, c = 64, 64 connections", 0.72),
    "c64_cpu": _at_most("service", "CPU per call / echo's, 1 row, c = 64", 1.3),
    "c64_p99": _at_most("service", "p99 / echo's, 1 row, c = 64", 1.5),
    "c64_python": _at_least("service", "rate / the Python server's, 1 row, c = 64", 12),
    "null_rate": _at_least("service", "null model's rate / echo's, c = 64", 1.0),
    "large_rate": _at_least("service", "rows/s / in process, 4096 rows, c = 4", 0.95),
    "poisson_p99": _at_most("service", "p99, Poisson / constant arrivals, 70 % load", 2),
    "reload_p99": _at_most("service", "p99, while versions are swapped / before", 1.25),
    "idle_cpu": _at_most("service", "share of a core that an idle server uses", 1, "%"),
    "failed_calls": _at_most("service", "failed calls", 0, ""),
    "quality_table": _at_least("quality", "log-likelihood - (zuko's - its 2 standard errors)", 0, "nats"),
    "quality_gaussian": _at_least("quality", "log-likelihood - that of a Gaussian", 0, "nats"),
    "quality_anomalies": _at_least("quality", "area under the ROC curve - that of another detector", 0, ""),
    "paper_gaussian": _at_least("paper", "log-likelihood - that of a Gaussian, sizes of papers", 0, "nats"),
    "paper_patches": _at_least("paper", "log-likelihood on BSDS300 - the MAF paper's best", 0, "nats"),
    "paper_patches_gaussian": _at_most("paper", "BSDS300, distance of the Gaussian to the MAF paper's", 0.5, "nats"),
    "training_realnvp": _at_least("training", "steps/s / zuko's, RealNVP, batch 512", 3),
    "training_maf": _at_least("training", "steps/s / zuko's, MAF, batch 512", 4.5),
    "training_nsf_coupling": _at_least("training", "steps/s / zuko's, NSF, coupling, batch 512", 5),
    "training_nsf_ar": _at_least("training", "steps/s / zuko's, NSF, autoregressive, batch 512", 6),
    "training_maf_compile": _at_least("training", "steps/s / torch.compile's, MAF", 2),
    "training_nsf_ar_compile": _at_least("training", "steps/s / torch.compile's, NSF, autoregressive", 3),
    "training_maf_128": _at_least("training", "steps/s / zuko's, MAF, batch 128", 7),
    "training_nsf_ar_128": _at_least("training", "steps/s / zuko's, NSF, autoregressive, batch 128", 10),
    "training_share": _at_least("training", "useful rate of a step / oneDNN 512^3, batch 512", 0.70),
    "training_threads": _at_least("training", "steps/s by two threads / by one", 1.7),
    "training_ranks": _at_least("training", "steps/s by two ranks of this machine / by one", 1.6),
    "training_out_of_core": _at_least("training", "steps/s of rows that do not fit into memory / of such that do", 0.9),
    "training_spline_forward": _at_most("training", "spline of a step, forward", 5, "ns per element"),
    "training_spline_backward": _at_most("training", "spline of a step, backward", 8, "ns per element"),
}
