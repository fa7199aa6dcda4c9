# SPDX-License-Identifier: Apache-2.0
"""Figures of products that Debian does not have, taken earlier on another machine, with those of the peers that both runs have.

A figure of that run, times the ratio of the shared peers' figures now to those of then, stands for the product that is not there.
"""

import statistics

SHARED = ["socat", "haproxy", "stunnel", "ssh"]

METRICS = ["mem0_pss_MiB", "mem1000_B_per_conn", "mem10000_B_per_conn", "down1_GBps", "down8_GBps", "up1_GBps", "up8_GBps",
           "down8_cpu_s_per_GB", "conn_per_s", "conn_cpu_us", "rr64_per_s", "rr64_p50_us", "rr64_p999_us", "rr1_p50_us",
           "udp64_pps", "udp1200_pps"]

_ = None
FIGURES = {
    "socat": [3.129, 6.207e4, _, 1.407, 1.995, 1.488, 2.198, 0.5666, 4933, 352.4, 8.242e4, 766, 6717, 25.7, 1.037e5, 1.122e5],
    "haproxy": [11.04, 3586, 3408, 3.267, 4.372, 3.164, 4.364, 0.2652, 2.815e4, 43.53, 1.513e5, 518.1, 4817, 26.2, _, _],
    "stunnel": [7.838, 1.732e5, 1.726e5, 1.373, 1.149, 0.8625, 1.328, 1.105, 1729, 1125, 3.874e4, 1516, 3.002e4, 35.1, _, _],
    "ssh": [8.786, 6.856e4, 6.855e4, 0.6738, 0.6715, 0.7754, 0.6806, 2.025, 892.6, 103.4, 6.245e4, 938, 6193, 52, _, _],
    "chisel": [13.1, 6.628e4, 6.375e4, 0.3178, 0.2793, 0.4544, 0.4057, 3.761, 8454, 175.4, 5.416e4, 1028, 6324, 46.3, 4.362e4, 3.983e4],
    "frp": [41.32, 6.935e4, 6.514e4, 0.9594, 1.132, 0.8949, 1.143, 1.254, 6684, 228.1, 5.569e4, 1004, 4047, 59.1, 5.118e4, 3.355e4],
    "frp-nomux": [41.76, 2.144e5, 1.991e5, 1.608, 1.844, 1.395, 1.854, 0.8353, 1352, 1357, 8.335e4, 733.2, 2572, 43.8, 6.111e4, 3.344e4],
    "rathole-tls": [11.6, 7.406e4, 7.295e4, 1.114, 1.347, 1.176, 1.297, 1.286, 951, 1298, 7.219e4, 880.6, 2245, 46.8, 4.356e4, 2.586e4],
}

TLS_PRODUCTS = ["chisel", "frp", "frp-nomux", "rathole-tls"]


# ssh then made 893 connections a second at 103 µs of CPU each: something else than the machine held it up.
APART = {("ssh", "conn_per_s")}


def figure(product, metric):
    """What the product showed then; None where it was not measured."""
    return FIGURES[product][METRICS.index(metric)] if metric in METRICS else None


def machine_factor(medians, metric):
    """The median of (now / then) over the peers that both runs have; None where there are none."""
    ratios = []
    for peer in SHARED:
        then, now = figure(peer, metric), medians.get(peer, {}).get(metric)
        if then and now and (peer, metric) not in APART:
            ratios.append(now / then)
    return statistics.median(ratios) if ratios else None


def estimate(medians, product, metric):
    """What the product would show now; None where nothing can be said."""
    then, factor = figure(product, metric), machine_factor(medians, metric)
    return then * factor if then and factor else None
