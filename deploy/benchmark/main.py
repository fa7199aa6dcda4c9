# SPDX-License-Identifier: Apache-2.0
"""deploy/bench: starts the products, measures row after row with the products in turn, and reports."""

import signal
import statistics
import sys
import tempfile

import machine
import redirection
import report
import rows
from kinds import KINDS
from options import NATFWT, parse
from place import Place
from processes import ProcessFailed
from rows import MeasurementFailed, idle_counts, measure_memory

MEASURES = rows.MEASURES | redirection.MEASURES
FAILED = 1
START_FAILURES_MAX = 2  # in a row; after them the product is left out


class Run:
    """One run: what is measured, and what came of it."""

    def __init__(self, options, place, descriptor_limit):
        self.options = options
        self.place = place
        self.descriptor_limit = descriptor_limit
        self.idle_large = max(idle_counts(options, descriptor_limit).values())
        self.machine = machine.describe()
        self.running = {}
        self.values = {name: {} for name in options.products}
        self.failures = []
        self.start_failures = dict.fromkeys(options.products, 0)

    @property
    def medians(self):
        return {name: {metric: statistics.median(values) for metric, values in figures.items()}
                for name, figures in self.values.items()}

    def note_disturbance(self):
        shares = self.place.disturbances
        self.machine["others_share_median"] = round(statistics.median(shares), 3) if shares else None
        self.machine["others_share_max"] = round(max(shares), 3) if shares else None

    def note(self, name, row, figures):
        for metric, value in figures.items():
            self.values[name].setdefault(metric, []).append(value)
        shown = ", ".join(f"{metric} {report.rounded(value)}" for metric, value in figures.items())
        print(f"bench: {row}, {name}: {shown or 'does not apply'}", file=sys.stderr)

    def attempt(self, name, row, measure):
        """Runs one measurement; what fails is told, and the run goes on with a fresh instance of the product."""
        if self.start_failures[name] >= START_FAILURES_MAX:
            return
        try:
            self.note(name, row, measure())
        except (ProcessFailed, MeasurementFailed) as error:
            self.failures.append(f"{row}, {name}: {error}")
            print(f"bench: {row}, {name}: not measured: {error}", file=sys.stderr)
            self.stop(name)

    def product(self, name):
        """The running instance, started where there is none."""
        if name not in self.running:
            self.start_failures[name] += 1
            self.running[name] = KINDS[name](self.place)
            self.start_failures[name] = 0
        return self.running[name]

    def stop(self, name):
        if name in self.running:
            self.running.pop(name).stop()

    def stop_all(self):
        for name in list(self.running):
            self.stop(name)

    def measure_memory(self):
        """Each product fresh and alone: pages shared with another one would count half."""
        for name in self.options.products:
            if name == "raw":
                continue
            self.attempt(name, "memory", lambda: measure_memory(self.product(name), self.options, self.descriptor_limit))
            self.stop(name)

    def measure(self):
        if "memory" in self.options.rows:
            self.measure_memory()
        for row in self.options.rows:
            if row == "memory":
                continue
            for _ in range(self.options.repetitions):
                for name in self.options.products:
                    self.attempt(name, row, lambda: MEASURES[row](self.product(name), self.options, row))


def drop_raw_cpu(run):
    """There is no product in between, so its zero CPU time says nothing."""
    for metric in [metric for metric in run.values.get("raw", {}) if "_cpu_" in metric]:
        del run.values["raw"][metric]


def measure_all(options, load, natfwt, descriptor_limit):
    with tempfile.TemporaryDirectory(prefix="natfwt-bench-") as folder:
        place = Place(folder, load, natfwt, options.is_own_namespace)
        try:
            run = Run(options, place, descriptor_limit)
            try:
                run.measure()
            finally:
                run.stop_all()
                run.note_disturbance()
        finally:
            place.close()
    drop_raw_cpu(run)
    return run


def prepare_network(options):
    options.is_own_namespace = not options.host_network and machine.enter_namespace(options.congestion)
    if not options.host_network and not options.is_own_namespace:
        print("bench: without root, on the machine's own loopback and with its own settings", file=sys.stderr)


def interrupted(number, frame):
    raise KeyboardInterrupt


def main():
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, interrupted)
    try:
        machine.install(options.products)
        load = machine.build_load_generator()
        natfwt = None
        if NATFWT & set(options.products):
            natfwt = options.binary or machine.build_natfwt()
        descriptor_limit = machine.raise_descriptor_limit()
        machine.adopt_orphans()
        prepare_network(options)
        run = measure_all(options, load, natfwt, descriptor_limit)
    except machine.Unavailable as error:
        print(f"bench: {error}", file=sys.stderr)
        return machine.UNAVAILABLE
    except KeyboardInterrupt:
        print("bench: interrupted; everything that was started has been ended", file=sys.stderr)
        return 130
    print(report.markdown(run))
    if options.json:
        report.write_json(run, options.json)
    if options.tsv:
        report.write_tsv(run, options.tsv)
    return FAILED if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
