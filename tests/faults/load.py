"""Too much to do, and work that nobody waits for."""

import json
import subprocess
import threading
import time

import harness
from api import Api
from trial import check, resident_bytes, total, trial

LOAD = harness.BUILD / "bin" / "densityd_load"
# A row of it costs some microseconds, so that a request of thousands of rows is work and its refusal is not.
LARGE = ("--preset", "maf", "--transforms", "5", "--hidden", "256,256", "--steps", "2", "--batch-size", "64")
ROWS = 4096


def _drive(server, *flags):
    out = subprocess.run([LOAD, "--target", server.address, "--model", "m", "--cols", "2", "--rows", str(ROWS),
                          *map(str, flags)], capture_output=True, timeout=1200, check=True).stdout
    return json.loads(out)


@trial("Twenty times more requests than can be served: memory stays below its ceiling, at least 90 % of the peak rate is "
       "still served, the p99 of what is accepted at most doubles, and after it the server is itself again within 30 s")
def overload(context):
    ceiling = 64 << 20
    queued = 4
    server = context.server("--workers", "1", "--max-queued-bytes", ceiling, "--max-queued-rows", queued * ROWS)
    server.train("m", flags=LARGE)
    seconds = context.count(3, 60)
    calm = _drive(server, "--concurrency", queued, "--seconds", seconds, "--warmup", 1)
    rate = calm["calls_per_second"]
    before = resident_bytes(server)
    highest = [before]
    end = threading.Event()

    def watch():
        while not end.wait(0.1):
            highest[0] = max(highest[0], resident_bytes(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    flooded = _drive(server, "--arrival", "poisson", "--rate", 20 * rate, "--seconds", context.count(4, 180),
                     "--warmup", 1, "--connections", 8)
    end.set()
    watcher.join()
    start = time.monotonic()
    row = harness.csv([(1.0, 2.0)])
    server.ctl("logprob", "m", text=row)
    recovery = time.monotonic() - start
    served = flooded["calls_per_second"] / rate
    slower = flooded["p99_us"] / calm["p99_us"]
    check(highest[0] <= before + 1.1 * ceiling, f"{(highest[0] - before) / 2**20:.0f} MiB more than before")
    check(flooded["failures"] > 5 * flooded["calls"], f"that was no overload: {flooded}")
    if not context.quick:  # What is about time wants a machine of its own.
        check(served >= 0.9, f"{served:.2f} of the peak rate was served")
        check(slower <= 2, f"p99 became {slower:.2f} times as long")
    check(recovery <= 30, f"recovered after {recovery:.1f} s")
    return {"calls per second at the peak": round(rate, 1), "offered": round(20 * rate, 1),
            "served (share of the peak)": round(served, 2), "p99 of accepted (ratio)": round(slower, 2),
            "memory above idle (MiB)": round((highest[0] - before) / 2**20), "recovery (s)": round(recovery, 2)}


@trial("Calls of which half are cancelled and a quarter have 1-5 ms: at most 5 % of the computed rows are for nobody, and "
       "nothing is kept of them")
def cancellations(context):
    server = context.server("--workers", "1")
    server.train("m", flags=LARGE)
    api = Api(context, server)
    rows = 64
    request = api.log_prob(rows, values=[1.0] * 2 * rows)
    log_prob = api.estimator.LogProb
    for _ in range(50):
        log_prob(request)
    computed, answered = _rows(server)
    descriptors, memory = total(server, "process_open_fds"), resident_bytes(server)
    calls = context.count(2000, 50_000)
    codes = {}
    window = 256
    for _ in range(calls // window):
        futures = []
        for i in range(window):
            timeout = context.random.uniform(0.001, 0.005) if i % 4 == 3 else harness.PATIENCE
            futures.append(log_prob.future(request, timeout=timeout))
        for i in context.random.sample(range(0, window, 2), window // 2):
            futures[i].cancel()
        for future in futures:
            code = future.code().name
            codes[code] = codes.get(code, 0) + 1
    check(set(codes) <= {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}, codes)
    harness.wait_until(lambda: total(server, "densityd_inflight_rows") == 0, "nothing to be in flight")
    # Those of the last answers go a moment later.
    harness.wait_until(lambda: total(server, "densityd_inflight_bytes") == 0, "no bytes to be in flight")
    check(total(server, "process_open_fds") <= descriptors + 3, "descriptors leak")
    grown = resident_bytes(server) - memory
    check(grown < 64 << 20, f"memory grew by {grown / 2**20:.0f} MiB")
    now_computed, now_answered = _rows(server)
    dead = 1 - (now_answered - answered) / (now_computed - computed)
    check(dead <= 0.05, f"{100 * dead:.1f} % of the rows were computed for nobody; {codes}")
    return {"calls": sum(codes.values()), **{f"calls {code}": count for code, count in sorted(codes.items())},
            "rows computed for nobody (%)": round(100 * dead, 2), "memory grown (MiB)": round(grown / 2**20, 1)}


def _rows(server):
    return total(server, "densityd_tile_rows_sum"), total(server, "densityd_rows_total")
