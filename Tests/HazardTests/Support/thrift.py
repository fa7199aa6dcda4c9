# SPDX-License-Identifier: Apache-2.0
"""What a warm byte path costs: no allocation a read, a write or a datagram."""
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

from place import Service, check, scenario, until

HERE = os.path.dirname(os.path.abspath(__file__))


class Counted:
    """A program that counts what it allocates."""

    def __init__(self, place, name, library):
        self.path = f"{place.folder}/{name}.allocations"
        self.wrapper = ["env", f"LD_PRELOAD={library}", f"ALLOCATIONS={self.path}"]

    def count(self):
        with open(self.path, "rb") as file:
            return struct.unpack("=Q", file.read(8))[0]


def library(place):
    path = f"{place.folder}/allocations.so"
    compiler = shutil.which("cc") or shutil.which("clang") or shutil.which("gcc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, f"{HERE}/allocations.c"], check=True)
    return path


def exchange(ends, rounds, size):
    """Each end sends a request and has its echo before the next round: so many reads and writes at every hop."""
    request = b"r" * size
    for _ in range(rounds):
        for end in ends:
            end.sendall(request)
        for end in ends:
            left = size
            while left:
                got = len(end.recv(left))
                check(got, "an echo was cut short")
                left -= got


def warm(ends, size, seconds=1.5):
    """Lasts longer than what waits for a confirmation takes to reach its full size."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        exchange(ends, 20, size)


def stream(end, size):
    """Bulk in both directions."""
    sent = received = 0
    block = bytes(1 << 18)
    end.setblocking(False)
    while received < size:
        with contextlib.suppress(BlockingIOError):
            if sent < size:
                sent += end.send(block[: size - sent])
        with contextlib.suppress(BlockingIOError):
            received += len(end.recv(1 << 18))
    end.setblocking(True)


def per_unit(programs, units, work, most):
    """What each program allocates a unit: at most so much, once it is warm. How long that takes is the machine's affair, and
    what it does beside; what is allocated for each unit is so however often they come."""
    for _ in range(8):
        before = [program.count() for program in programs]
        work()
        found = [(program.count() - count) / units for program, count in zip(programs, before)]
        if max(found) < most:
            break
    return found


@scenario
def allocations(place):
    """Once warm neither relay nor agent allocates for a request of 1 KiB, nor for a megabyte of a bulk stream.

    Counted are all of a process's allocations, so that the ticks of its timers are among them: hence not quite none."""
    counting = library(place)
    relay, agent = (Counted(place, name, counting) for name in ("relay", "agent"))
    service = Service()
    place.deploy([(place.ports[0], service.port)], relay_wrapper=relay.wrapper, agent_wrapper=agent.wrapper)
    ends = [socket.create_connection(("127.0.0.1", place.ports[0]), 5) for _ in range(16)]
    for end in ends:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for size in (1, 100, 1_000, 5_000):
        rounds = 300
        warm(ends, size)
        each = per_unit([relay, agent], rounds * len(ends), lambda: exchange(ends, rounds, size), 0.02)
        print(f"{size} bytes: {each[0]:.4f} at the relay, {each[1]:.4f} at the agent a request")
        check(max(each) < 0.02, f"{each} allocations a request of {size} bytes")
    stream(ends[0], 50_000_000)
    each = per_unit([relay, agent], 200, lambda: stream(ends[0], 200_000_000), 1)
    print(f"bulk: {each[0]:.2f} at the relay, {each[1]:.2f} at the agent a megabyte")
    check(max(each) < 1, f"{each} allocations a megabyte")
    for end in ends:
        end.close()


@scenario
def datagrams(place):
    """The same for a flow of datagrams, to and fro."""
    counting = library(place)
    relay, agent = (Counted(place, name, counting) for name in ("relay", "agent"))
    service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service.bind(("127.0.0.1", 0))
    threading.Thread(target=reflect, args=(service,), daemon=True).start()
    place.deploy([(place.ports[0], service.getsockname()[1], "udp")], relay_wrapper=relay.wrapper,
                 agent_wrapper=agent.wrapper)
    visitor = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    visitor.connect(("127.0.0.1", place.ports[0]))
    visitor.settimeout(1)
    until("an echo", lambda: bounce(visitor, 1))
    bounce(visitor, 2_000)
    count = 10_000
    each = per_unit([relay, agent], count, lambda: bounce(visitor, count), 0.02)
    print(f"datagrams: {each[0]:.4f} at the relay, {each[1]:.4f} at the agent for one and its echo")
    check(max(each) < 0.02, f"{each} allocations a datagram")


def reflect(service):
    while True:
        datagram, source = service.recvfrom(65536)
        service.sendto(datagram, source)


def bounce(visitor, count):
    """Whether every one of so many came back."""
    try:
        for _ in range(count):
            visitor.send(bytes(200))
            visitor.recv(1_000)
    except OSError:
        return False
    return True
