# SPDX-License-Identifier: Apache-2.0
"""What a run prints: the table in Markdown, and the files for other programs."""

import json
import math

from rows import METRICS
from targets import TLS_PEERS, node_verdicts, verdicts

PEERS = ["socat", "haproxy", "stunnel", "ssh"]
# What ssh does with one hop and no relay, and we with two and a seal within: figures of the one over the other's.
NODES = [("forward", "ssh-L"), ("forward-direct", "ssh-L"), ("socks", "ssh-D"), ("socks-direct", "ssh-D"), ("run", "proxychains")]


def rounded(value):
    """Three digits that count, thousands apart."""
    if value is None or math.isnan(value):
        return "-"
    if value < 0:
        return f"-{rounded(-value)}"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    kept = round(value, 2 - math.floor(math.log10(abs(value))))
    return f"{kept:,.{digits}f}"


def best(medians, metric, names):
    values = {name: medians[name][metric] for name in names if medians.get(name, {}).get(metric) is not None}
    if not values:
        return None, None
    choose = max if METRICS[metric].higher_is_better else min
    return choose(values.items(), key=lambda item: item[1])


def compared(medians, metric, names):
    """natfwt's figure over the best of `names`, with its name."""
    name, value = best(medians, metric, names)
    ours = medians.get("natfwt", {}).get(metric)
    if name is None or ours is None or not value or metric.endswith("_loss"):
        return "-"
    return f"{ours / value:.2f} × {name}"


def table(head, lines):
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def measured_metrics(medians):
    return [metric for metric in METRICS if any(metric in figures for figures in medians.values())]


def ratio(ours, theirs):
    return f"{ours / theirs:.2f}" if ours and theirs else "-"


def figures_table(medians):
    products = list(medians)
    compares = "natfwt" in products and len(products) > 1
    nodes = [pair for pair in NODES if set(pair) <= set(products)]
    head = ["", "unit", *products] + (["natfwt : best peer", "natfwt : best TLS peer"] if compares else [])
    head += [f"{ours} : {peer}" for ours, peer in nodes]
    lines = []
    for metric in measured_metrics(medians):
        line = [METRICS[metric].title, METRICS[metric].unit]
        line += [rounded(medians[product].get(metric)) for product in products]
        if compares:
            line += [compared(medians, metric, PEERS), compared(medians, metric, TLS_PEERS)]
        line += [ratio(medians[ours].get(metric), medians[peer].get(metric)) for ours, peer in nodes]
        lines.append(line)
    return table(head, lines)


def bound_text(verdict):
    if verdict.bound is None:
        return verdict.because
    sign = "≥" if METRICS[verdict.metric].higher_is_better else "<" if verdict.metric.endswith("_loss") else "≤"
    because = f" ({verdict.because})" if verdict.because else ""
    return f"{sign} {rounded(verdict.bound)}{because}"


def targets_table(medians):
    lines = [[METRICS[one.metric].title, METRICS[one.metric].unit, bound_text(one), rounded(one.value), one.word,
              f"{one.factor:.2f}" if one.factor else "-", one.scaled_word]
             for one in verdicts(medians, measured_metrics(medians))]
    return table(["target", "unit", "must", "natfwt", "", "machine", "scaled"], lines) + "\n\n" + SCALE_NOTE


def nodes_table(found):
    lines = [[product, METRICS[one.metric].title, METRICS[one.metric].unit, bound_text(one), rounded(one.value), one.word]
             for product, one in found]
    return table(["between nodes", "target", "unit", "must", "measured", ""], lines)


SCALE_NOTE = """\
machine: the peers' figures in this run over theirs on the machine that the targets were set on (the median of those that both
have), whatever else it did meanwhile included; scaled: the verdict with the target multiplied by it."""


def machine_line(machine, options):
    line = (f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, loopback, "
            f"{machine['congestion_control']}; {options.seconds:g} s a measurement, median of {options.repetitions}.")
    if machine["others_share_median"] is None:
        return line
    return (f"{line} Others used {machine['others_share_median']:.0%} of the machine meanwhile in the median, "
            f"{machine['others_share_max']:.0%} at most.")


def markdown(run):
    """The whole report."""
    parts = [machine_line(run.machine, run.options), figures_table(run.medians)]
    if "natfwt" in run.medians:
        parts.append(targets_table(run.medians))
    between_nodes = node_verdicts(run.medians)
    if between_nodes:
        parts.append(nodes_table(between_nodes))
    parts += [f"Not measured: {note}" for note in run.failures]
    if "mem10000_B_per_conn" in measured_metrics(run.medians) and run.idle_large < 10_000:
        parts.append(f"{run.idle_large:,} idle connections stand for 10,000: the descriptor limit is {run.descriptor_limit:,}.")
    return "\n\n".join(parts)


def write_json(run, path):
    products = {product: {metric: {"median": value, "values": run.values[product][metric]}
                          for metric, value in figures.items()} for product, figures in run.medians.items()}
    found = [{"metric": one.metric, "must": one.bound, "because": one.because, "natfwt": one.value, "verdict": one.word,
              "machine_factor": one.factor, "scaled_verdict": one.scaled_word}
             for one in verdicts(run.medians, measured_metrics(run.medians))] if "natfwt" in run.medians else []
    found += [{"metric": one.metric, "product": product, "must": one.bound, "because": one.because, "natfwt": one.value,
               "verdict": one.word} for product, one in node_verdicts(run.medians)]
    document = {"machine": run.machine, "seconds": run.options.seconds, "repetitions": run.options.repetitions,
                "descriptor_limit": run.descriptor_limit, "products": products, "targets": found,
                "failures": run.failures}
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_tsv(run, path):
    lines = ["product\tmetric\tunit\tmedian"]
    lines += [f"{product}\t{metric}\t{METRICS[metric].unit}\t{value:.6g}"
              for product, figures in run.medians.items() for metric, value in figures.items()]
    path.write_text("\n".join(lines) + "\n")
