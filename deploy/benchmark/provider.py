# SPDX-License-Identifier: Apache-2.0
"""deploy/bench provider: a provider of another process that only hands packets back, beside the same within the agent's process.

    application ─ TCP ─▶ platform ─ SEND_BUFFERS ─▶ ring ─▶ mirror (Tests/ConformanceTests/Programs/mirror.c)
                ◀─ TCP ──         ◀── Indicate ─── ring ◀──╯

The platform of "natfwt conformance --measure" plays the agent. What a user pays is the processor time of the agent and the
provider for each byte of an application, which is a process of its own and not counted: it sends on one connection as fast as
it goes, 64 KiB at once, and receives on another; 1.5 MiB are under way between the two at most. The provider within the agent's
process is measured in turns with the other one, with the same application, connections, window and buffers. The bare figures
are of packets that are made of nothing and that nobody takes. Prints a table of the medians against their targets.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
from report import rounded, table

UNAVAILABLE = 69
MIRROR = machine.REPOSITORY / "Tests" / "ConformanceTests" / "Programs" / "mirror.c"
# Name in natfwt's answer, title, unit, target; whether more is better.
ROWS = [
    ("bulk_GBps", "bulk, packets of 65,536 B", "GB/s", 2.0, True),
    ("packets_per_s", "packets of 1,200 B", "1/s", 200_000, True),
    ("round_trip_us", "there and back, 64 B", "µs", 20.0, False),
    ("application_cpu_times_within", "CPU a byte of an application, over a provider within", "×", 1.3, False),
    ("application_cpu_s_per_GB", "CPU of agent and provider for an application", "s/GB", None, False),
    ("application_within_cpu_s_per_GB", "the same with a provider within", "s/GB", None, False),
    ("bare_cpu_s_per_GB", "bare: CPU of both, packets of nothing for nobody", "s/GB", None, False),
    ("bare_within_cpu_s_per_GB", "bare, with a provider within: one copy", "s/GB", None, False),
]


def run(*command, **environment):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **environment})
    if done.returncode != 0:
        raise machine.Unavailable(f"{' '.join(map(str, command))}: {(done.stderr + done.stdout).strip()}")
    return done.stdout


def build_mirror(folder):
    run(machine.REPOSITORY / "deploy" / "cpnatfwt", folder, PREFIX="here")
    mirror = folder / "mirror"
    run("cc", "-std=gnu11", "-O2", "-I", folder, MIRROR, "-L", folder, "-lcpnatfwt", f"-Wl,-rpath,{folder}", "-pthread", "-o", mirror)
    return mirror


def measure(natfwt, repetitions):
    figures = {}
    with tempfile.TemporaryDirectory(prefix="natfwt-bench-") as name:
        mirror = build_mirror(Path(name))
        for _ in range(repetitions):
            # The mirror speaks on the same stream.
            answer = run(natfwt, "conformance", "--measure", "--json", mirror)
            for metric, value in json.loads(next(line for line in answer.splitlines() if line.startswith("{"))).items():
                figures.setdefault(metric, []).append(value)
                print(f"bench: {metric} {value:.4g}", file=sys.stderr)
    return {metric: statistics.median(values) for metric, values in figures.items()}


def line(medians, row):
    name, title, unit, target, more = row
    value = medians[name]
    must = "-" if target is None else f"{'≥' if more else '≤'} {rounded(target)}"
    met = "-" if target is None else "PASS" if (value >= target if more else value <= target) else "MISS"
    return [title, unit, must, rounded(value), met]


def main():
    parser = argparse.ArgumentParser(prog="deploy/bench provider", description=__doc__.splitlines()[0])
    parser.add_argument("--natfwt", help="the program that is measured, instead of one that is built now")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    try:
        machine.install([])
        natfwt = Path(options.natfwt).resolve() if options.natfwt else machine.build_natfwt()
        medians = measure(natfwt, options.repetitions)
    except machine.Unavailable as error:
        print(f"bench: {error}", file=sys.stderr)
        return UNAVAILABLE
    about = machine.describe()
    print(f"{about['processor']}, {about['cores']} cores, Linux {about['kernel']}; median of {options.repetitions}.\n")
    print(table(["provider of another process", "unit", "must", "natfwt", ""], [line(medians, row) for row in ROWS]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
