# SPDX-License-Identifier: Apache-2.0
"""What natfwt must reach, and whether it does."""

from dataclasses import dataclass

import reference
from rows import METRICS

TLS_PEERS = ["stunnel", "ssh"]
BULK_OVER_BEST_TLS = 1.1
CONNECTIONS_OVER_FRP = 1.8

# Metric, bound; "least" or "most" follows from METRICS.
FIXED = {
    "down1_cpu_s_per_GB": 0.85, "down8_cpu_s_per_GB": 0.85, "up1_cpu_s_per_GB": 0.85, "up8_cpu_s_per_GB": 0.85,
    "conn_per_s": 12_000, "conn_cpu_us": 75, "rr64_per_s": 100_000, "rr64_p999_us": 2_500, "rr1_p50_us": 36,
    "mem10000_B_per_conn": 6_000, "mem0_pss_MiB": 12, "udp64_pps": 120_000, "udp64_loss": 1.0,
    "udp1200_pps": 80_000, "udp1200_loss": 1.0,
}
UNSCALED = {"mem0_pss_MiB", "mem10000_B_per_conn", "udp64_loss", "udp1200_loss"}
# The earlier run has the CPU of one bulk row only.
FACTOR_OF = dict.fromkeys(["down1_cpu_s_per_GB", "up1_cpu_s_per_GB", "up8_cpu_s_per_GB"], "down8_cpu_s_per_GB")
BULK_SPEEDS = ["down1_GBps", "down8_GBps", "up1_GBps", "up8_GBps"]


@dataclass
class Verdict:
    """One target: `bound` is None where this run has nothing to compare with.

    `factor` says how the shared peers' figures on this machine stand to those on the machine that the bound was set on; None where
    the bound is relative to this run already, or is of bytes, which do not depend on the machine.
    """

    metric: str
    bound: float | None
    because: str
    value: float | None
    factor: float | None = None

    @property
    def word(self):
        return self.judge(1)

    @property
    def scaled_word(self):
        """The verdict had the bound been set on this machine."""
        return self.judge(self.factor) if self.factor else "-"

    def judge(self, factor):
        if self.value is None or self.bound is None:
            return "-"
        bound = self.bound * factor
        if METRICS[self.metric].higher_is_better:
            return "PASS" if self.value >= bound else "MISS"
        # A loss of exactly the bound is too much; elsewhere the bound may be met.
        met = self.value < bound if self.metric.endswith("_loss") else self.value <= bound
        return "PASS" if met else "MISS"


def best_tls(medians, metric):
    """The fastest TLS peer: measured in this run, or estimated through the peers that both runs have."""
    candidates = {peer: medians.get(peer, {}).get(metric) for peer in TLS_PEERS}
    candidates |= {f"{product} (estimated)": reference.estimate(medians, product, metric)
                   for product in reference.TLS_PRODUCTS}
    known = {name: value for name, value in candidates.items() if value}
    return max(known.items(), key=lambda item: item[1]) if known else (None, None)


def bulk_verdict(medians, metric, value):
    name, speed = best_tls(medians, metric)
    if name is None:
        return Verdict(metric, None, "no TLS peer in this run", value)
    return Verdict(metric, BULK_OVER_BEST_TLS * speed, f"{BULK_OVER_BEST_TLS} × {name}", value)


def fixed_verdict(medians, metric, value):
    bound, because = FIXED[metric], ""
    factor = reference.machine_factor(medians, FACTOR_OF.get(metric, metric)) if metric not in UNSCALED else None
    frp = reference.estimate(medians, "frp", metric) if metric == "conn_per_s" else None
    if frp and CONNECTIONS_OVER_FRP * frp > bound:
        return Verdict(metric, CONNECTIONS_OVER_FRP * frp, f"{CONNECTIONS_OVER_FRP} × frp (estimated)", value)
    return Verdict(metric, bound, because, value, factor)


def verdicts(medians, metrics):
    """One for every target whose metric this run measures, in the order of the table."""
    ours = medians.get("natfwt", {})
    return [bulk_verdict(medians, metric, ours.get(metric)) if metric in BULK_SPEEDS
            else fixed_verdict(medians, metric, ours.get(metric))
            for metric in metrics if metric in FIXED or metric in BULK_SPEEDS]


TWICE = 2
# Between nodes: product, metric, bound. Twice a peer's figure of this run where the bound is a name.
NODES = [
    # ssh has one way between two hosts, and so have these; through the relay it is one hop more.
    *(("forward-direct", metric, "ssh-L") for metric in [*BULK_SPEEDS, "conn_per_s"]),
    *(("socks-direct", metric, "ssh-D") for metric in [*BULK_SPEEDS, "conn_per_s"]),
    *(("forward", "conn_per_s", "ssh-L"), ("socks", "conn_per_s", "ssh-D")),
    *(("forward", f"{row}_cpu_s_per_GB", 2.0) for row in ("down1", "down8", "up1", "up8")),
    *(("forward", f"{row}_relay_cpu_s_per_GB", 0.75) for row in ("down1", "down8", "up1", "up8")),
    ("run", "connect_added_us", 60),
    # What two measurements of the same differ by.
    ("run", "process_added_s_per_GB", 0.01),
    ("run-kernel", "connect_added_us", 60), ("run-kernel", "process_added_s_per_GB", 0.01),
    ("run", "interposer_KB", 200), ("run", "interposer_all_KB", 200), ("run", "interposer_start_ms", 1.0),
]


def node_verdicts(medians):
    """The product and the verdict, for every target between nodes that this run measures."""
    found = []
    for product, metric, bound in NODES:
        value = medians.get(product, {}).get(metric)
        if value is None:
            continue
        because = ""
        if isinstance(bound, str):
            peer = medians.get(bound, {}).get(metric)
            because = f"{TWICE} × {bound}" if peer else f"no {bound} in this run"
            bound = TWICE * peer if peer else None
        found.append((product, Verdict(metric, bound, because, value)))
    return found
