# SPDX-License-Identifier: Apache-2.0
"""The rows that tell what a way in costs the program that takes it, which no product but natfwt run has an answer to.

"Bare" is the same program without it: over loopback to the service itself, or to a forward of the same agent, which is the same hop.
"""

import os
import statistics
import subprocess
import time
from pathlib import Path

from place import address
from rows import MeasurementFailed, run_load, run_plain

CONNECTS = 2_000
STARTS = 200
PROCESS_PAIRS = 5
LIBRARY = "libnatfwt-run"


def measure_connect(product, options, row):
    """How long connect(2) takes, run and not run. One that does not block returns as soon as the agent was told; one that does
    waits for the far side too."""
    if not hasattr(product, "bare_target"):
        return {}
    bare = run_plain(product, [], ["connect", "--target", address(product.place.backend_port), "--connections", CONNECTS])
    run = run_plain(product, product.load_prefix, ["connect", *product.target(), "--connections", CONNECTS])
    return {"connect_added_us": run["at_once_p50_us"] - bare["at_once_p50_us"],
            "connect_far_us": run["blocking_p50_us"] - bare["blocking_p50_us"]}


def measure_process(product, options, row):
    """User and system time of the process itself for each GB that it receives: redirected, and over a forward."""
    if not hasattr(product, "bare_target"):
        return {}
    used = {"bare": [], "run": []}
    backend = ["--backend", address(product.place.backend_port), "--streams", 1]
    for _ in range(PROCESS_PAIRS):
        for way, target in (("bare", product.bare_target()), ("run", product.target())):
            report = run_load(product, options, ["bulk", *target, *backend], is_led=way == "run")
            if report["bytes"] == 0:
                raise MeasurementFailed("nothing moved")
            used[way].append(report["own_cpu_seconds"] / report["bytes"] * 1e9)
    bare, run = (statistics.median(used[way]) for way in ("bare", "run"))
    return {"process_bare_s_per_GB": bare, "process_added_s_per_GB": run - bare}


def surroundings_of(product):
    """What natfwt run has added to the environment."""
    done = subprocess.run([*product.load_prefix, "env"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return {name: found[name] for name in ("LD_PRELOAD", "NATFWT_RUN") if name in found}


def private_bytes(pid, only=""):
    """Of the mappings whose name has that in it. A library's zeroed data has no name: it is behind those that have one."""
    total, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            has_name = len(words) > 5
            counts = only in (words[5] if has_name else "") or (counts and not has_name)
        elif counts and words[0] in ("Private_Clean:", "Private_Dirty:"):
            total += int(words[1]) * 1024
    return total


def idle_process(product, prefix, target):
    """A load generator with a few connections open, and what it holds of memory: all, and in the library."""
    process = subprocess.Popen([str(part) for part in [*prefix, product.place.load, "idle", *target]], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        print(16, file=process.stdin, flush=True)
        if not process.stdout.readline():
            raise MeasurementFailed("the idle load generator did not start")
        pid = next(pid for pid in descendants(process.pid) if os.readlink(f"/proc/{pid}/exe") == str(product.place.load))
        return private_bytes(pid), private_bytes(pid, LIBRARY)
    finally:
        process.stdin.close()
        process.wait(10)


def descendants(pid):
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += descendants(int(child))
    return found


def start_seconds(environment):
    """From the start of /bin/true to its end."""
    begin = time.perf_counter()
    pid = os.posix_spawn("/bin/true", ["true"], environment)
    os.waitpid(pid, 0)
    return time.perf_counter() - begin


def measure_interposer(product, options, row):
    """What the library adds to a process: private memory, and time to start."""
    if not hasattr(product, "bare_target"):
        return {}
    added = surroundings_of(product)
    if "LD_PRELOAD" not in added:
        return {}
    whole, library = idle_process(product, product.load_prefix, product.target())
    bare, _ = idle_process(product, [], product.bare_target())
    plain, loaded = [], []
    for _ in range(STARTS):
        plain.append(start_seconds({}))
        loaded.append(start_seconds(added))
    return {"interposer_KB": library / 1e3, "interposer_all_KB": (whole - bare) / 1e3,
            "interposer_start_ms": (statistics.median(loaded) - statistics.median(plain)) * 1e3}


MEASURES = {"connect": measure_connect, "process": measure_process, "interposer": measure_interposer}
