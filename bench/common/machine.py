"""What a benchmark ran on."""

import datetime
import os
import pathlib
import platform
import subprocess
import threading
import time

PROJECT = pathlib.Path(__file__).resolve().parents[2]


def _output(*command):
    """What a command prints, or "" where there is no such command or it fails."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor():
    facts = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name", platform.machine())
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


def _commit():
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    return commit + (" with changes" if changed else "")


def describe():
    """Machine, system and commit, as words."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release().split('-')[0]}",
        "versions": {
            "compiler": _output("c++", "--version").partition("\n")[0],
            "gRPC (C++)": _output("pkg-config", "--modversion", "grpc++"),
            "Python": platform.python_version(),
        },
    }


def pauses(core, seconds=2.0):
    """How much of the time something else than the caller had `core`, though the caller never slept: the system, or
    the host of a virtual machine. {"share": of the time, "longest": seconds}, of pauses over 0.1 ms."""
    result = {}

    def spin():
        os.sched_setaffinity(0, {core})
        begin = last = time.perf_counter()
        lost = longest = 0.0
        while last - begin < seconds:
            now = time.perf_counter()
            if now - last > 1e-4:
                lost += now - last
                longest = max(longest, now - last)
            last = now
        result.update(share=lost / seconds, longest=longest)

    # In a thread of its own, whose affinity ends with it.
    thread = threading.Thread(target=spin)
    thread.start()
    thread.join()
    return result
