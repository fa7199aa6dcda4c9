# SPDX-License-Identifier: Apache-2.0
"""Many at once: half-open handshakes by the thousand, one that logs in without end, all nodes after a restart."""
import os
import socket
import threading
import time

import admission
import node
from place import Service, check, echo, scenario, settles


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


def login_seconds(place, key, most=5.0):
    """How long a node takes that comes again at once where the relay has no room for it."""
    begin, tries = time.monotonic(), 0
    while True:
        tries += 1
        try:
            node.Node(place.tunnel_port, key, seconds=2).close()
            return time.monotonic() - begin, tries
        except OSError as error:
            check("node" not in str(error), str(error))
            check(time.monotonic() - begin < most, f"the owner is not let in: {error!r} after {tries} tries")
            # As an agent does at the least.
            time.sleep(0.25)


def besieged(place, sources, hello, within=1.0):
    """5,000 handshakes opened and left; the owner logs in again and again meanwhile and after, each time in seconds."""
    service = Service()
    place.deploy([(place.ports[0], service.port)], relay={"timeouts": {"liveness-interval": "2s"}})
    key = node.Key(place.folder, "owner")
    node.Node(place.tunnel_port, key, node.token(place.invite("owner"))).close()
    descriptors, memory = place.relay.descriptors(), place.relay.memory()
    lines = len(place.relay.log().splitlines())
    ends, over, slow, begin = [], threading.Event(), [], time.monotonic()

    def own():
        while not over.is_set():
            slow.append(login_seconds(place, key))

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
    time.sleep(1.5)
    echo(place.ports[0])
    over.set()
    owner.join()
    seconds = time.monotonic() - begin
    most = max(second for second, _ in slow)
    tries = max(count for _, count in slow)
    more = len(place.relay.log().splitlines()) - lines
    print(f"{len(ends)} of 5000 from {sources} opened in {opened:.1f} s; {len(slow)} logins, the slowest {most * 1000:.0f} ms, "
          f"at most {tries} tries; {more} lines of log; memory {memory} -> {place.relay.memory()} KiB")
    check(len(slow) > 5 and most < within, f"the owner's login took {most:.2f} s")
    check(more < 100 + 30 * seconds, f"{more} lines of log in {seconds:.0f} s")
    for end in ends:
        end.close()
    settles("the relay's descriptors", place.relay.descriptors, descriptors)
    check(place.relay.is_idle(), "the relay is busy with nothing")


@scenario
def half_open(place):
    """3: 5,000 half-open handshakes from 500 sources: an owner logs in within a second all the time."""
    besieged(place, 500, b"")


@scenario
def half_way(place):
    """3: the same, each having said its ClientHello, which costs the relay its part of a handshake."""
    besieged(place, 500, admission.client_hello(), within=2.5)


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
    slowest = 0.0
    while time.monotonic() - begin < 8:
        for _ in range(50):
            one = node.Node(place.tunnel_port, key)
            one.close()
            logins += 1
        most = place.relay.descriptors()
        check(most < descriptors + 40, f"{most - descriptors} connections of a node that has one at a time")
        visit = time.monotonic()
        echo(place.ports[0])
        slowest = max(slowest, time.monotonic() - visit)
    seconds = time.monotonic() - begin
    used = place.relay.seconds() - used
    time.sleep(1)
    more = len(place.relay.log().splitlines()) - lines
    print(f"{logins} logins in {seconds:.0f} s: {more} lines of log, {used / logins * 1000:.2f} ms of processor each, "
          f"slowest visit {slowest * 1000:.0f} ms, memory {memory} -> {place.relay.memory()} KiB")
    after = os.stat(log)
    check(more < 40, f"{more} lines of log for {logins} logins")
    check(after.st_size == before.st_size and after.st_mtime == before.st_mtime,
          f"the registry is written to: {before.st_size} -> {after.st_size} bytes")
    check(slowest < 1, f"a visit took {slowest:.2f} s")
    settles("the relay's descriptors", place.relay.descriptors, descriptors)
    check(place.relay.memory() < memory + 10_000, f"memory {memory} -> {place.relay.memory()} KiB")
