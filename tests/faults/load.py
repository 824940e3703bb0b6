"""Too much to do, and work that nobody waits for."""

import itertools
import json
import subprocess
import time

import harness
from trial import (SANITIZE, check, forget_peak, peak_anonymous_bytes, peak_resident_bytes, resident_bytes, total,
                   trial)

LOAD = harness.BUILD / "bin" / "densityd_load"
CANCELLING_LOAD = harness.BUILD / "bin" / "cancelling_load"
# A row of it costs some microseconds, so that a request of hundreds of rows is work and its refusal is not.
LARGE = ("--preset", "maf", "--transforms", "5", "--hidden", "256,256", "--steps", "2", "--batch-size", "64")
HUGE = ("--preset", "maf", "--transforms", "5", "--hidden", "512,512", "--steps", "2", "--batch-size", "64")
OVERLOADED = 5  # the exit code of densityctl for what may succeed later


def _drive(server, model, rows, *flags):
    out = subprocess.run([LOAD, "--target", server.address, "--model", model, "--cols", "2", "--rows", str(rows),
                          *map(str, flags)], capture_output=True, timeout=1200, check=True).stdout
    return json.loads(out)


@trial("Twenty times more requests than can be served: at least 90 % of the peak rate is still served, the p99 of what is "
       "accepted is at most twice that of an idle server, and within 30 s after it rate and p99 are what they were. Large "
       "requests in any number: memory stays below its ceiling and a tenth")
def overload(context):
    ceiling = 64 << 20
    rows = 1024
    server = context.server("--workers", "1")
    server.train("m", flags=HUGE)
    server.train("light")
    seconds = context.count(3, 15)
    calm, peak = _calm_and_peak(server, rows, seconds)

    # Who wants twice the latency at most lets a request in when three quarters of the one before are computed.
    _restart(server, "--workers", 1, "--max-queued-rows", rows + rows // 4)
    flooded = _drive(server, "m", rows, "--arrival", "poisson", "--rate", 20 * peak, "--seconds", context.count(4, 150),
                     "--sleep", "--warmup", 1, "--connections", 8)
    recovery = _recovery(server, rows, calm)
    # Before and after: machines have moods that last for minutes.
    _restart(server, "--workers", 1)
    calm_after, peak_after = _calm_and_peak(server, rows, seconds)
    peak = (peak + peak_after) / 2
    served = flooded["calls_per_second"] / peak
    idle_p99 = (calm["p99_us"] + calm_after["p99_us"]) / 2
    slower = flooded["p99_us"] / idle_p99
    check(flooded["failures"] > 5 * flooded["calls"], f"that was no overload: {flooded}")

    # Now it is bytes that bind.
    _restart(server, "--workers", 1, "--max-queued-bytes", ceiling, "--max-queued-rows", 2**30)
    server.ctl("logprob", "light", text=harness.csv([(1.0, 2.0)]))
    before = resident_bytes(server)
    forget_peak(server)
    large = 2**17  # 1 MiB, and half of it as answer
    answered = total(server, "densityd_rows_total")
    _drive(server, "light", large, "--concurrency", 256, "--connections", 8, "--seconds", context.count(4, 40),
           "--warmup", 1)
    highest = peak_resident_bytes(server) - before
    refused = total(server, "densityd_rejected_total")
    served_large = round((total(server, "densityd_rows_total") - answered) / large)
    check(refused > 0 and served_large > 0, f"that was no overload: {refused} refused, {served_large} served")
    if not context.quick:  # What is about time wants a machine of its own, and so does a real flood.
        context.bar(highest <= 1.1 * ceiling, f"{highest / 2**20:.0f} MiB more than before")
        context.bar(served >= 0.9, f"{served:.2f} of the peak rate was served")
        context.bar(slower <= 2, f"p99 became {slower:.2f} times as long")
        context.bar(recovery <= 30, f"recovered after {recovery:.1f} s")
    refused_per_second = flooded["failures"] * flooded["calls_per_second"] / max(flooded["calls"], 1)
    return {"calls per second at the peak": round(peak, 1), "offered": round(20 * peak, 1),
            "served (share of the peak)": round(served, 2),
            "processor's time for a refusal (us)": round(1e6 * max(1 - served, 0) / refused_per_second),
            "p99 of an idle server (ms)": round(idle_p99 / 1e3, 1),
            "p99 of accepted (ratio)": round(slower, 2), "recovery (s)": round(recovery, 1),
            "large requests refused": round(refused), "large requests served": served_large,
            "memory above idle at a ceiling of 64 MiB (MiB)": round(highest / 2**20)}


@trial("Models and requests share one ceiling: models are loaded until one does not fit, and asked in both precisions, then "
       "large requests come in any number: the model that is refused is told the ceiling, requests are refused, and the memory "
       "of the process, files that are mapped apart, stays below it and a tenth")
def one_ceiling(context):
    ceiling = 512 << 20
    server = context.server("--workers", "1")
    server.train("light")
    server.train("m", flags=HUGE)
    archive = context.folder / "m.tar"
    server.ctl("export", "m@1", archive)
    # Both may have more than what is left for them.
    _restart(server, "--workers", 1, "--max-memory", ceiling, "--max-model-bytes", ceiling, "--max-queued-bytes", ceiling,
             "--max-queued-rows", 2**30)
    forget_peak(server)
    loaded = _load_until_refused(server, archive)
    with_models = peak_anonymous_bytes(server)
    check("--max-memory" in server.err or "--max-model-bytes" in server.err, server.err)
    _drive(server, "light", 2**17, "--concurrency", 128, "--connections", 8, "--seconds", context.count(4, 40),
           "--warmup", 1)
    peak = peak_anonymous_bytes(server)
    refused = total(server, "densityd_rejected_total")
    check(refused > 0, "that was not enough to ask for")
    check(total(server, "densityd_memory_bytes") <= total(server, "densityd_memory_ceiling_bytes") == ceiling,
          "more is counted than may be")
    # What was unloaded is there for others again.
    server.ctl("unload", "m0@1")
    server.ctl("load", "m0@1")
    context.bar(peak <= 1.1 * ceiling, f"the process had {peak / 2**20:.0f} MiB")
    return {"models loaded": loaded, "large requests refused": round(refused),
            "memory with all models (MiB)": round(with_models / 2**20),
            "memory at most, at a ceiling of 512 MiB (MiB)": round(peak / 2**20)}


def _load_until_refused(server, archive):
    """How many copies of a model fit, each of them with both of its plans."""
    for number in itertools.count():
        try:
            server.ctl("import", archive, "--as", f"m{number}")
        except AssertionError:
            server.ctl("import", archive, "--as", f"m{number}", code=OVERLOADED)
            return number
        server.ctl("logprob", f"m{number}", "--float64", text=harness.csv([(1.0, 2.0)]))


def _calm_and_peak(server, rows, seconds):
    """What one caller at a time measures, and the calls per second of two."""
    calm = _drive(server, "m", rows, "--concurrency", 1, "--seconds", seconds, "--warmup", 1)
    peak = _drive(server, "m", rows, "--concurrency", 2, "--seconds", seconds, "--warmup", 1)
    return calm, peak["calls_per_second"]


def _restart(server, *flags):
    check(server.stop() == 0, server.log_tail())
    server.flags = tuple(map(str, flags))
    server.start()


def _recovery(server, rows, calm):
    """Seconds until the server is as fast as it was `calm`; ends at 60."""
    start = time.monotonic()
    while True:
        now = _drive(server, "m", rows, "--concurrency", 1, "--seconds", 2, "--warmup", 0.1)
        seconds = time.monotonic() - start
        as_before = (now["calls_per_second"] >= 0.9 * calm["calls_per_second"] and
                     now["p99_us"] <= 1.25 * calm["p99_us"] and now["failures"] == 0)
        if as_before or seconds > 60:
            return seconds


@trial("Calls of which half are cancelled and a quarter have 1-5 ms: of the rows that are computed, at most 5 % are of "
       "calls that their callers did not get an answer to, and nothing is kept of them")
def cancellations(context):
    server = context.server("--workers", "1")
    server.train("m", flags=LARGE)
    rows = 64
    _cancelling_load(server, rows, 500, seed=0)  # what is made once
    _wait_for_nothing(server)
    computed = total(server, "densityd_tile_rows_sum")
    descriptors, memory = total(server, "process_open_fds"), resident_bytes(server)
    got = _cancelling_load(server, rows, context.count(2000, 50_000), context.random.randrange(2**31))
    calls = got.pop("calls")
    check(sum(got.values()) == calls, f"ended in another way: {got} of {calls}")
    check(got["CANCELLED"] >= 0.3 * calls, f"few of the calls were cancelled before they ended: that tests little: {got}")
    _wait_for_nothing(server)
    check(total(server, "process_open_fds") <= descriptors + 3, "descriptors leak")
    grown = resident_bytes(server) - memory
    if SANITIZE == "":  # Sanitizers keep what was freed for a while.
        check(grown < 64 << 20, f"memory grew by {grown / 2**20:.0f} MiB")
    # What the callers know, not the server: an answer that came too late is no answer.
    dead = 1 - got["OK"] * rows / (total(server, "densityd_tile_rows_sum") - computed)
    check(dead <= 0.3, f"{100 * dead:.1f} % of the rows were computed for nobody")
    if not context.quick:  # What is about time wants a machine of its own.
        context.bar(dead <= 0.05, f"{100 * dead:.1f} % of the rows were computed for nobody")
    return {"calls": calls, **{f"calls {code}": count for code, count in got.items()},
            "rows computed for nobody (%)": round(100 * dead, 2), "memory grown (MiB)": round(grown / 2**20, 1)}


def _cancelling_load(server, rows, calls, seed):
    """What became of `calls` calls, 256 at a time, on four connections: code -> number, and `calls`."""
    out = subprocess.run([CANCELLING_LOAD, server.address, "m", *map(str, (rows, 2, calls, 256, seed))],
                         capture_output=True, timeout=1200, check=True).stdout
    return json.loads(out)


def _wait_for_nothing(server):
    harness.wait_until(lambda: total(server, "densityd_inflight_rows") == 0, "nothing to be in flight")
    # Those of the last answers go a moment later.
    harness.wait_until(lambda: total(server, "densityd_inflight_bytes") == 0, "no bytes to be in flight")
