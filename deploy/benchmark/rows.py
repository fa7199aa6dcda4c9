# SPDX-License-Identifier: Apache-2.0
"""The rows: how each is measured, and the metrics it gives.

Bytes, connections, requests and packets are counted by the load generator within a window; the CPU seconds of the product are read
at the same two moments, which the load generator tells. GB is 10^9 bytes, MiB is 2^20.
"""

import json
import math
import os
import subprocess
import time
from dataclasses import dataclass

from place import address
from processes import cpu_seconds_of, machine_cpu_seconds, with_descendants


@dataclass
class Metric:
    """One figure of a row."""

    title: str
    unit: str
    higher_is_better: bool
    digits: int = 3


METRICS = {
    "mem0_pss_MiB": Metric("memory, idle", "MiB PSS", False),
    "mem1000_B_per_conn": Metric("1,000 idle connections", "B each", False),
    "mem10000_B_per_conn": Metric("10,000 idle connections", "B each", False),
    "down1_GBps": Metric("down, 1 stream", "GB/s", True),
    "down1_cpu_s_per_GB": Metric("down, 1 stream: CPU", "s/GB", False),
    "down8_GBps": Metric("down, 8 streams", "GB/s", True),
    "down8_cpu_s_per_GB": Metric("down, 8 streams: CPU", "s/GB", False),
    "down1_relay_cpu_s_per_GB": Metric("down, 1 stream: CPU of the relay", "s/GB", False),
    "down8_relay_cpu_s_per_GB": Metric("down, 8 streams: CPU of the relay", "s/GB", False),
    "up1_GBps": Metric("up, 1 stream", "GB/s", True),
    "up1_cpu_s_per_GB": Metric("up, 1 stream: CPU", "s/GB", False),
    "up8_GBps": Metric("up, 8 streams", "GB/s", True),
    "up8_cpu_s_per_GB": Metric("up, 8 streams: CPU", "s/GB", False),
    "up1_relay_cpu_s_per_GB": Metric("up, 1 stream: CPU of the relay", "s/GB", False),
    "up8_relay_cpu_s_per_GB": Metric("up, 8 streams: CPU of the relay", "s/GB", False),
    "conn_per_s": Metric("new connections", "/s", True),
    "conn_cpu_us": Metric("new connection: CPU", "µs", False),
    "conn_p99_us": Metric("new connection, p99", "µs", False),
    "rr64_per_s": Metric("1 KiB requests, 64 connections", "/s", True),
    "rr64_cpu_us": Metric("1 KiB request: CPU", "µs", False),
    "rr64_p50_us": Metric("1 KiB request, p50", "µs", False),
    "rr64_p99_us": Metric("1 KiB request, p99", "µs", False),
    "rr64_p999_us": Metric("1 KiB request, p99.9", "µs", False),
    "rr1_p50_us": Metric("64 B ping-pong, median", "µs", False),
    "rr1_1024_p50_us": Metric("1 KiB ping-pong, median", "µs", False),
    "udp64_pps": Metric("UDP echo, 64 B", "packets/s", True),
    "udp64_loss": Metric("UDP echo, 64 B: loss", "%", False),
    "udp64_cpu_us": Metric("UDP echo, 64 B: CPU", "µs", False),
    "udp1200_pps": Metric("UDP echo, 1,200 B", "packets/s", True),
    "udp1200_loss": Metric("UDP echo, 1,200 B: loss", "%", False),
    "udp1200_cpu_us": Metric("UDP echo, 1,200 B: CPU", "µs", False),
    "connect_added_us": Metric("connect(): added to one that returns at once", "µs", False),
    "connect_far_us": Metric("connect(): added to one that waits for the far side", "µs", False),
    "process_bare_s_per_GB": Metric("the process's own CPU, not redirected", "s/GB", False),
    "process_added_s_per_GB": Metric("the process's own CPU, added", "s/GB", False),
    "interposer_KB": Metric("interposer: private memory", "KB", False),
    "interposer_all_KB": Metric("interposer: private memory, with all that its process has more", "KB", False),
    "interposer_start_ms": Metric("interposer: start-up", "ms", False),
}

IDLE_SMALL = 1_000
IDLE_LARGE = 10_000
UDP_SOCKETS = 8
UDP_WINDOWS = [64, 256]  # datagrams under way in all; the better one counts
UDP_LOSS_MAX = 0.01
DISTURBANCE_MAX = 0.05
UNDISTURBED_TRIES = 5


class MeasurementFailed(Exception):
    """The load generator did not come to its end, or lost what must not be lost."""


@dataclass
class Edge:
    """What the clocks say at one edge of the measured window."""

    product: float  # CPU seconds of the product
    relay: float    # of its relay, where it has one
    ours: float     # of everything that belongs to the measurement
    machine: float  # of the whole machine
    time: float


def read_edge(product, load):
    of_product = product.processes.cpu_seconds()
    ours = of_product + sum(cpu_seconds_of(pid) for pid in with_descendants([load.pid]) + [product.place.backend.pid, os.getpid()])
    return Edge(of_product, product.processes.cpu_seconds("relay"), ours, machine_cpu_seconds(), time.monotonic())


def disturbance(begin, end):
    """The share of the machine that others used, 0 to 1."""
    others = (end.machine - begin.machine) - (end.ours - begin.ours)
    return min(1.0, max(0.0, others / (end.time - begin.time) / len(os.sched_getaffinity(0))))


def run_load_once(product, options, arguments, is_led):
    command = [*(product.load_prefix if is_led else []), product.place.load, arguments[0], "--seconds", options.seconds,
               "--warm-up", min(0.5, options.seconds / 4), *arguments[1:]]
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    edges = {}
    report = None
    try:
        for line in process.stdout:
            if line.strip() in ("begin", "end"):
                edges[line.strip()] = read_edge(product, process)
            else:
                report = json.loads(line)
        problem = process.stderr.read().strip()
        if process.wait() != 0 or report is None:
            raise MeasurementFailed(problem or f"the load generator ended with status {process.returncode}")
    finally:
        process.kill()
        process.wait()
    product.processes.check()
    report["cpu_seconds"] = edges["end"].product - edges["begin"].product
    report["relay_cpu_seconds"] = edges["end"].relay - edges["begin"].relay
    report["disturbance"] = disturbance(edges["begin"], edges["end"])
    return report


def run_plain(product, prefix, arguments):
    """Runs the load generator in a mode that has no window; its report."""
    command = [str(part) for part in [*prefix, product.place.load, *arguments]]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise MeasurementFailed(done.stderr.strip() or f"the load generator ended with status {done.returncode}")
    return json.loads(done.stdout)


def run_load(product, options, arguments, is_led=True):
    """Runs the load generator; its report, with the CPU seconds of the product between the edges of the window, and with the share
    of the machine that others used then. With --undisturbed, the least disturbed of several."""
    best = run_load_once(product, options, arguments, is_led)
    for _ in range(UNDISTURBED_TRIES - 1 if options.undisturbed else 0):
        if best["disturbance"] < DISTURBANCE_MAX:
            break
        best = min(best, run_load_once(product, options, arguments, is_led), key=lambda report: report["disturbance"])
    product.place.disturbances.append(best["disturbance"])
    return best


def per(report, key, scale):
    """CPU seconds for each of what `key` counts, times `scale`."""
    count = report[key]
    return report["cpu_seconds"] / count * scale if count else math.nan


def measure_bulk(product, options, row):
    arguments = ["bulk", *product.target(), "--backend", address(product.place.backend_port),
                 "--streams", row[-1]]
    report = run_load(product, options, arguments + (["--upload"] if row.startswith("up") else []))
    if report["bytes"] == 0:
        raise MeasurementFailed("nothing moved")
    figures = {f"{row}_GBps": report["gigabytes_per_second"], f"{row}_cpu_s_per_GB": per(report, "bytes", 1e9)}
    if report["relay_cpu_seconds"]:
        figures[f"{row}_relay_cpu_s_per_GB"] = report["relay_cpu_seconds"] / report["bytes"] * 1e9
    return figures


def measure_connections(product, options, row):
    report = run_load(product, options, ["connections", *product.target(), "--size", 64,
                                         "--concurrency", 64])
    if report["failed"] > report["connections"] / 100:
        raise MeasurementFailed(f"{report['failed']} connections failed ({report['last_error']}), "
                                f"{report['connections']} did not")
    return {"conn_per_s": report["per_second"], "conn_cpu_us": per(report, "connections", 1e6),
            "conn_p99_us": report["p99_us"]}


def measure_requests(product, options, row):
    report = run_load(product, options, ["requests", *product.target(), "--size", 1024,
                                         "--connections", 64])
    return {"rr64_per_s": report["per_second"], "rr64_cpu_us": per(report, "requests", 1e6),
            "rr64_p50_us": report["p50_us"], "rr64_p99_us": report["p99_us"], "rr64_p999_us": report["p999_us"]}


def measure_ping(product, options, row):
    size = int(row.removeprefix("ping"))
    report = run_load(product, options, ["requests", *product.target(), "--size", size,
                                         "--connections", 1])
    return {"rr1_p50_us" if size == 64 else f"rr1_{size}_p50_us": report["p50_us"]}


def measure_udp(product, options, row):
    """The best of several windows with little loss; where all lose, the one that loses least."""
    if not product.carries_udp:
        return {}
    reports = [run_load(product, options, ["udp", *product.udp_target(), "--size",
                                           row.removeprefix("udp"), "--sockets", UDP_SOCKETS, "--window", window])
               for window in UDP_WINDOWS]
    good = [report for report in reports if report["loss"] < UDP_LOSS_MAX]
    report = max(good, key=lambda one: one["per_second"]) if good else min(reports, key=lambda one: one["loss"])
    return {f"{row}_pps": report["per_second"], f"{row}_loss": report["loss"] * 100,
            f"{row}_cpu_us": per(report, "received", 1e6)}


def idle_counts(options, descriptor_limit):
    """How many connections stand for 1,000 and for 10,000: a relay of one process has two descriptors for each."""
    counts = {f"mem{IDLE_SMALL}_B_per_conn": IDLE_SMALL}
    if not options.quick:
        most = (descriptor_limit - 500) // 2 // 500 * 500
        counts[f"mem{IDLE_LARGE}_B_per_conn"] = min(IDLE_LARGE, most)
    return counts


def settle(product):
    """The memory once it keeps still for longer than anyone's timers of a second take to give something back."""
    time.sleep(2)
    before = product.processes.pss_bytes()
    for _ in range(5):
        time.sleep(2)
        now = product.processes.pss_bytes()
        if abs(now - before) <= before / 200:
            return now
        before = now
    return before


def measure_memory(product, options, descriptor_limit):
    """Of a product that was just started, alone on the machine."""
    empty = settle(product)
    figures = {"mem0_pss_MiB": empty / 2**20}
    command = [str(part) for part in [*product.load_prefix, product.place.load, "idle", *product.target()]]
    process = subprocess.Popen(command, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        for metric, count in idle_counts(options, descriptor_limit).items():
            if count > product.idle_connections_max:
                continue
            print(count, file=process.stdin, flush=True)
            line = process.stdout.readline()
            if not line:
                raise MeasurementFailed(process.stderr.read().strip())
            report = json.loads(line)
            if report["alive"] < count:
                raise MeasurementFailed(f"only {report['alive']} of {count} idle connections stay open")
            figures[metric] = (settle(product) - empty) / count
    finally:
        process.kill()
        process.wait()
    return figures


MEASURES = {"down1": measure_bulk, "down8": measure_bulk, "up1": measure_bulk, "up8": measure_bulk,
            "connections": measure_connections, "requests": measure_requests, "ping64": measure_ping,
            "ping1024": measure_ping, "udp64": measure_udp, "udp1200": measure_udp}
