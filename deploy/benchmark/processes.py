# SPDX-License-Identifier: Apache-2.0
"""A product's processes: started in a folder of their own, measured with all their descendants, ended by their process IDs."""

import os
import signal
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


class ProcessFailed(Exception):
    """A product's process ended, or does not answer; the text says which and shows the end of its log."""


def parents():
    """Every process of the machine with its parent."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            fields = stat_fields(int(entry.name))
            if fields:
                found[int(entry.name)] = int(fields[1])
    return found


def stat_fields(pid):
    """The fields of /proc/PID/stat from the third (state) on; none where the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2:].split()


def with_descendants(roots):
    children = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found, left = [], list(roots)
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def cpu_seconds_of(pid):
    """What the process used, ended threads and awaited children included."""
    fields = stat_fields(pid)
    if fields is None:
        return 0.0
    awaited = (int(fields[13]) + int(fields[14])) / TICK
    try:
        # The process's CPU clock, in nanoseconds: clock_getcpuclockid(3) makes the same number.
        return awaited + time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return awaited + (int(fields[11]) + int(fields[12])) / TICK


def machine_cpu_seconds():
    """What the whole machine used, time that its host took from it included."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK


def pss_bytes_of(pid):
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


class Processes:
    """The running processes of one product."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []

    def start(self, name, command):
        """Starts a process whose output goes to NAME.log."""
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen([str(part) for part in command], cwd=self.folder, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, start_new_session=True)
        self.running.append((name, process))

    def check(self):
        """Raises ProcessFailed where a process has ended."""
        for name, process in self.running:
            if process.poll() is not None:
                raise ProcessFailed(f"{name} ended with status {process.returncode}{self.log_end(name)}")

    def log_end(self, name):
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-8:]
        return ":\n    " + "\n    ".join(lines) if lines else " and wrote nothing"

    def wait_until(self, is_ready, what, seconds=15):
        """Waits until `is_ready()` is true, and raises ProcessFailed where a process ends or it takes too long."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                logs = "".join(self.log_end(name) for name, _ in self.running)
                raise ProcessFailed(f"{what} within {seconds} s{logs}")
            time.sleep(0.02)

    def all(self):
        return with_descendants(process.pid for _, process in self.running)

    def cpu_seconds(self, only=None):
        """Of all, or of those of one name."""
        if only is None:
            return sum(cpu_seconds_of(pid) for pid in self.all())
        return sum(cpu_seconds_of(process.pid) for name, process in self.running if name == only)

    def pss_bytes(self):
        return sum(pss_bytes_of(pid) for pid in self.all())

    def stop(self):
        """Ends every process, the last started first, and whatever they left behind."""
        everything = self.all()
        for _, process in reversed(self.running):
            process.terminate()
        for _, process in reversed(self.running):
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in everything:
            end(pid)
        self.running = []


def end(pid):
    """Ends a descendant that outlived its parent, which made it a child of this process."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
