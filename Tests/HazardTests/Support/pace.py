# SPDX-License-Identifier: Apache-2.0
"""What takes its time, held against what this machine, which may have much else to do, takes its time for."""
import contextlib
import os
import time

from place import check, echo


def scheduled(pid):
    """Nanoseconds that a process's threads have run, and have been ready to run and waited for it."""
    run = waited = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as file:
            fields = file.read().split()
            run, waited = run + int(fields[0]), waited + int(fields[1])
    return run, waited


class Slowness:
    """How much longer than alone on this machine what these processes do has taken since then: other load's part in it."""

    def __init__(self, *pids):
        self.before = {pid: scheduled(pid) for pid in pids}

    def factor(self):
        most = 1.0
        for pid, (run, waited) in self.before.items():
            now = scheduled(pid)
            if now[0] > run:
                most = max(most, 1 + (now[1] - waited) / (now[0] - run))
        return most


class Pace:
    """Visits to a port, each beside one straight to its service, which tells what the machine itself takes its time for."""

    def __init__(self, port, service):
        self.port, self.service = port, service
        self.visits, self.slowest, self.slowest_straight = 0, 0.0, 0.0

    def visit(self, payload=b"hello"):
        begin = time.monotonic()
        echo(self.service.port, payload)
        middle = time.monotonic()
        self.slowest_straight = max(self.slowest_straight, middle - begin)
        try:
            echo(self.port, payload)
        finally:
            self.slowest = max(self.slowest, time.monotonic() - middle)
            self.visits += 1

    def check(self, seconds):
        """That no visit took longer than so many seconds, and what ten as slow as the slowest straight one would take."""
        check(self.slowest < seconds + 10 * self.slowest_straight, f"{self}")

    def __str__(self):
        return (f"{self.visits} visits, the slowest {self.slowest * 1000:.0f} ms, "
                f"straight to the service {self.slowest_straight * 1000:.0f} ms")
