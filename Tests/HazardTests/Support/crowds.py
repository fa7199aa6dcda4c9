# SPDX-License-Identifier: Apache-2.0
"""Many at once: half-open handshakes by the thousand, one that logs in without end, all nodes after a restart."""
import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time

import admission
import node
from place import PATIENCE, Pace, Service, Slowness, check, echo, echoes, rests, scenario, settles, until


def from_source(place, number, data=b""):
    """A connection to the relay from the number-th address of loopback; None where it is not let in."""
    end = socket.socket()
    end.settimeout(1)
    try:
        # The port is chosen at connect, not at bind: there are few where bind has to choose.
        end.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        end.bind((f"127.0.{1 + number // 250}.{1 + number % 250}", 0))
        end.connect(("127.0.0.1", place.tunnel_port))
        if data:
            end.sendall(data)
        return end
    except OSError:
        end.close()
        return None


def login_seconds(place, key, most=PATIENCE):
    """How long a node takes that comes again at once where the relay has no room for it."""
    begin, tries = time.monotonic(), 0
    while True:
        tries += 1
        try:
            node.Node(place.tunnel_port, key, seconds=5).close()
            return time.monotonic() - begin, tries
        except OSError as error:
            check("node" not in str(error), str(error))
            check(time.monotonic() - begin < most, f"the owner is not let in: {error!r} after {tries} tries")
            # As an agent does at the least.
            time.sleep(0.25)


def besieged(place, sources, hello, within=1.0):
    """5,000 handshakes opened and left; the owner logs in again and again meanwhile and after, each time within
    a second of a machine of its own."""
    service = Service()
    place.deploy([(place.ports[0], service.port)], relay={"timeouts": {}})
    key = node.Key(place.folder, "owner")
    node.Node(place.tunnel_port, key, node.token(place.invite("owner"))).close()
    descriptors, memory = place.relay.descriptors(), place.relay.memory()
    lines = len(place.relay.log().splitlines())
    ends, over, slow, begin = [], threading.Event(), [], time.monotonic()

    def own():
        while not over.is_set():
            slow.append(login_seconds(place, key))

    slowness = Slowness(place.relay.pid, os.getpid())
    owner = threading.Thread(target=own)
    owner.start()
    for number in range(5_000):
        end = from_source(place, number % sources, hello)
        if end:
            ends.append(end)
        if number % 500 == 0:
            most = place.relay.memory()
            check(most < memory + 60_000, f"memory {memory} -> {most} KiB")
            now = place.relay.descriptors()
            # Those that give way are closed at the end of a turn, in which up to 64 come.
            check(now < descriptors + 600, f"{now - descriptors} half-open connections")
    opened = time.monotonic() - begin
    echo(place.ports[0])
    until("the owner has logged in ten times", lambda: len(slow) >= 10)
    over.set()
    owner.join()
    seconds = time.monotonic() - begin
    factor, most = slowness.factor(), max(second for second, _ in slow)
    tries = max(count for _, count in slow)
    more = len(place.relay.log().splitlines()) - lines
    print(f"{len(ends)} of 5000 from {sources} opened in {opened:.1f} s; {len(slow)} logins, the slowest {most * 1000:.0f} ms, "
          f"on a machine {factor:.1f} times slower for others' load, at most {tries} tries; {more} lines of log; "
          f"memory {memory} -> {place.relay.memory()} KiB")
    check(most < within * factor, f"the owner's login took {most:.2f} s")
    check(more < 100 + 30 * seconds, f"{more} lines of log in {seconds:.0f} s")
    for end in ends:
        end.close()
    settles("the relay's descriptors", place.relay.descriptors, descriptors)
    rests("the relay", place.relay)


@scenario
def half_open(place):
    """3: 5,000 half-open handshakes from 500 sources: an owner logs in within a second all the time."""
    besieged(place, 500, b"")


@scenario
def half_way(place):
    """3: the same, each having said its ClientHello, which costs the relay its part of a handshake."""
    besieged(place, 500, admission.client_hello())


@scenario
def half_open_one(place):
    """3: 5,000 half-open handshakes from one source, which is not the owner's."""
    besieged(place, 1, b"")


@scenario
def login_loop(place):
    """22, 24: one node that logs in and goes, again and again: the log and the registry are not written to each time."""
    service = Service()
    place.deploy([(place.ports[0], service.port)])
    key = node.Key(place.folder)
    node.Node(place.tunnel_port, key, node.token(place.invite("restless"))).close()
    log = f"{place.state}/registry.db-wal"
    before = os.stat(log)
    lines, descriptors, memory = len(place.relay.log().splitlines()), place.relay.descriptors(), place.relay.memory()
    used = place.relay.seconds()
    begin, logins = time.monotonic(), 0
    pace = Pace(place.ports[0], service)
    while time.monotonic() - begin < 8:
        for _ in range(50):
            one = node.Node(place.tunnel_port, key)
            one.close()
            logins += 1
        most = place.relay.descriptors()
        check(most < descriptors + 40, f"{most - descriptors} connections of a node that has one at a time")
        pace.visit()
    seconds = time.monotonic() - begin
    used = place.relay.seconds() - used
    time.sleep(1)
    more = len(place.relay.log().splitlines()) - lines
    print(f"{logins} logins in {seconds:.0f} s: {more} lines of log, {used / logins * 1000:.2f} ms of processor each, "
          f"{pace}, memory {memory} -> {place.relay.memory()} KiB")
    after = os.stat(log)
    check(more < 40, f"{more} lines of log for {logins} logins")
    check(after.st_size == before.st_size and after.st_mtime == before.st_mtime,
          f"the registry is written to: {before.st_size} -> {after.st_size} bytes")
    pace.check(1)
    settles("the relay's descriptors", place.relay.descriptors, descriptors)
    check(place.relay.memory() < memory + 10_000, f"memory {memory} -> {place.relay.memory()} KiB")


class Crowd:
    """The nodes of nodes.c, which the registry is told of beforehand."""

    def __init__(self, place, count, sources, exposes):
        program = f"{place.folder}/nodes"
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nodes.c")
        subprocess.run(["cc", "-O1", "-o", program, source, "-lssl", "-lcrypto"], check=True)
        self.count = count
        self.process = subprocess.Popen(
            [program, str(place.tunnel_port), str(count), str(sources),
             str(int(exposes))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        keys = [bytes.fromhex(self.process.stdout.readline()) for _ in range(count)]
        check(self.process.stdout.readline() == "ready\n", "the nodes are not ready")
        with contextlib.closing(sqlite3.connect(f"{place.state}/registry.db")) as registry, registry:
            # Seen long ago: each login has that to write down.
            registry.executemany(
                "INSERT INTO nodes (key, name, permissions, created, last_seen) VALUES (?, ?, 'tcp:*', 0, 0)",
                [(key, f"many-{number}") for number, key in enumerate(keys)])
        self.active = self.ports = self.tries = self.cut = self.goodbyes = 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.active, self.ports, self.tries, self.cut, self.goodbyes = map(int, line.split())

    def start(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE)


def restarted(place, count, sources, exposes=True, within=60.0):
    """A relay that is killed and started again; all its nodes come back at once."""
    if not shutil.which("cc"):
        print("needs a C compiler")
        return
    service = Service()
    place.deploy([(place.ports[0], service.port)],
                 relay={"timeouts": {}, "expose": {"bind": ["127.0.0.1"], "automatic": "10000-29999"}})
    crowd = Crowd(place, count, sources, exposes)
    base = place.relay.descriptors()
    try:
        begin = time.monotonic()
        crowd.start()

        def all_there():
            check(place.relay.is_running(), f"the relay ended with {place.relay.process.returncode}")
            check(crowd.process.poll() is None, f"the nodes ended with {crowd.process.returncode}")
            # Connections that are under way may be as many as the limit, and those that are closed in this turn.
            spare = place.relay.descriptors() - base - count * (1 + exposes)
            check(spare < 512 + 100, f"{spare} descriptors more than the limits allow")
            return crowd.active == count and crowd.ports == (count if exposes else 0)

        until(lambda: f"all come: {crowd.active} of {count}, {crowd.ports} ports", all_there, within)
        print(f"{count} nodes from {sources} sources came within {time.monotonic() - begin:.1f} s, {crowd.tries} tries")
        memory, tries, said = place.relay.memory(), crowd.tries, len(place.relay.log().splitlines())
        place.relay.kill()
        begin = time.monotonic()
        until("the nodes notice", lambda: crowd.active == 0)
        place.start_relay()
        until(lambda: f"all are back: {crowd.active} of {count}, {crowd.ports} ports", all_there, within)
        seconds = time.monotonic() - begin
        until("a visit works", lambda: echoes(place.ports[0]), within)
        print(f"all are back within {seconds:.1f} s, a visit works after {time.monotonic() - begin:.1f} s; "
              f"{crowd.tries - tries} tries, {crowd.cut} too slow; memory {memory} -> {place.relay.memory()} KiB, "
              f"{place.relay.seconds():.1f} s of processor, {len(place.relay.log().splitlines()) - said} lines of log")
        check(memory / count < 100, f"a node costs {memory / count:.0f} KiB")
    finally:
        crowd.end()
    settles("the relay's descriptors", place.relay.descriptors, base + 5)


@scenario
def restart(place):
    """51: 1,500 nodes lose their relay in one moment and come back: all of them soon, and within the relay's bounds."""
    restarted(place, 1_500, 1_500, within=30)


@scenario
def restart_one_source(place):
    """51: the same with 500 nodes behind one address, whose share of the handshakes is small."""
    restarted(place, 500, 1, exposes=False, within=30)
