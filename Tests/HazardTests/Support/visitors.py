# SPDX-License-Identifier: Apache-2.0
"""Visitors and services that misbehave: resets, half-closes, stalls, services that are down or slow."""
import contextlib
import os
import socket
import struct
import threading
import time

from place import Pace, Service, check, echo, echoes, rests, scenario, settles, until

LINGER_RESET = struct.pack("ii", 1, 0)


def reset(end):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    end.close()


@contextlib.contextmanager
def nothing_left(place, memory=20_000):
    """Descriptors come back to what they were, memory to about that, and nothing spins."""
    programs = {"relay": place.relay, "agent": place.agent}
    before = {name: (program.descriptors(), program.memory()) for name, program in programs.items()}
    yield
    for name, program in programs.items():
        check(program.is_running(), f"the {name} ended with {program.process.returncode}")
        settles(f"the {name}'s descriptors", program.descriptors, before[name][0])
        most = before[name][1] + memory
        settles(f"the {name}'s memory", program.memory, most)
        rests(f"the {name}", program)
        print(f"{name}: {before[name]} -> {(program.descriptors(), program.memory())}")


@scenario
def resets(place):
    """7, 13, 20: connect and reset, at once and in the middle, 10,000 times."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)])
    echo(port)
    with nothing_left(place):
        for turn in range(10_000):
            end = socket.create_connection(("127.0.0.1", port))
            if turn % 3 == 1:
                end.send(b"hello")
            if turn % 3 == 2:
                end.shutdown(socket.SHUT_WR)
            reset(end)
        until("a visit works", lambda: echoes(port))


@scenario
def stalls(place):
    """14, 18: visitors that read nothing while the service sends all it can; another is served at once."""

    def pour(end):
        block = bytes(65_536)
        while True:
            end.sendall(block)

    source, service = Service(pour), Service()
    place.deploy([(place.ports[0], source.port), (place.ports[1], service.port)])
    echo(place.ports[1])
    with nothing_left(place, memory=150_000):
        ends = [socket.create_connection(("127.0.0.1", place.ports[0])) for _ in range(100)]
        time.sleep(4)
        # Another visitor does not wait for those that do not read.
        pace = Pace(place.ports[1], service)
        pace.visit(bytes(1_000_000))
        pace.check(3)
        for program in (place.relay, place.agent):
            print(f"while 100 stall: {program.memory()} KiB")
            check(program.memory() < 300_000, f"100 stalled visitors cost {program.memory()} KiB")
            rests("the program while nobody reads", program)
        for end in ends:
            end.close()


@scenario
def both_ways(place):
    """14: both ends write and nobody reads, then both read: all arrives."""
    amount = 20_000_000

    def rude(end):
        thread = threading.Thread(target=lambda: end.sendall(bytes(amount)))
        thread.start()
        time.sleep(3)
        got = 0
        while data := end.recv(65_536):
            got += len(data)
        thread.join()
        results.append(got)

    results = []
    service = Service(rude)
    place.deploy([(place.ports[0], service.port)])
    with socket.create_connection(("127.0.0.1", place.ports[0]), 30) as end:

        def send():
            end.sendall(bytes(amount))
            end.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        time.sleep(3)
        got = 0
        while data := end.recv(65_536):
            got += len(data)
        thread.join()
    check(got == amount, f"{got} of {amount} came to the visitor")
    until("the service has all", lambda: results == [amount])


@scenario
def half_closes(place):
    """19: the visitor ends first and the service answers long after; 500 times, and nothing is lost."""

    def late(end):
        total = 0
        while data := end.recv(65_536):
            total += len(data)
        end.sendall(b"%d" % total)

    service = Service(late)
    port = place.ports[0]
    place.deploy([(port, service.port)])
    with nothing_left(place):
        for turn in range(500):
            with socket.create_connection(("127.0.0.1", port), 10) as end:
                end.sendall(bytes(turn * 100))
                end.shutdown(socket.SHUT_WR)
                answer = b""
                while data := end.recv(100):
                    answer += data
                check(answer == b"%d" % (turn * 100), f"turn {turn}: {answer}")


@scenario
def service_down(place):
    """A service that nobody runs: each visitor is reset, the log is not flooded, and it comes back by itself."""
    spare = socket.socket()
    spare.bind(("127.0.0.1", 0))
    port = place.ports[0]
    place.deploy([(port, spare.getsockname()[1])])
    lines = len(place.agent.log().splitlines())
    begin = time.monotonic()
    with nothing_left(place):
        for _ in range(3_000):
            with contextlib.suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", port), 5) as end:
                check(not end.recv(1), "nobody is there, and somebody answers")
                check(False, "a service that refuses looks like an end in peace")
    seconds = time.monotonic() - begin
    more = len(place.agent.log().splitlines()) - lines
    check(more < 40 + 20 * seconds, f"{more} lines of log in {seconds:.0f} s for 3000 visitors")
    spare.listen()
    until("the service is back", lambda: socket.create_connection(("127.0.0.1", port), 5))


@scenario
def service_full(place):
    """A service whose backlog is full: the visitor is told in time, and no attempt is left behind."""
    service = Service(backlog=0, accepts=False)
    stuffed = []
    for _ in range(4):
        end = socket.socket()
        end.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            end.connect(("127.0.0.1", service.port))
        stuffed.append(end)
    port = place.ports[0]
    place.deploy([(port, service.port)], agent={"timeouts": {"connect": "1s", "backoff-initial": "100ms"}})
    with nothing_left(place):
        before = place.agent.descriptors()
        ends = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(50)]
        begin = time.monotonic()
        for end in ends:
            end.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                check(not end.recv(1), "somebody answers")
        check(time.monotonic() - begin < 5, f"visitors wait {time.monotonic() - begin:.1f} s for a connect limit of 1 s")
        for end in ends:
            end.close()
        settles("the agent's descriptors", place.agent.descriptors, before)
    for end in stuffed:
        end.close()


@scenario
def gone(place):
    """20: a visitor that goes while the service is slow: the service hears of it."""
    heard = []

    def wait(end):
        try:
            heard.append(end.recv(100))
            for _ in range(100):
                end.sendall(bytes(1_000_000))
            heard.append("sent")
        except OSError as error:
            heard.append(error.__class__.__name__)

    service = Service(wait)
    place.deploy([(place.ports[0], service.port)])
    with nothing_left(place):
        end = socket.create_connection(("127.0.0.1", place.ports[0]), 5)
        end.sendall(b"hello")
        until("the service has it", lambda: heard)
        reset(end)
        until("the service hears that the visitor is gone", lambda: len(heard) > 1)
        check(heard[1] in ("ConnectionResetError", "BrokenPipeError"), f"{heard}")


@scenario
def datagrams(place):
    """21: datagrams of every size, to a service that is not there and to one that is."""
    echoing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    echoing.bind(("127.0.0.1", 0))

    def answer():
        while True:
            data, source = echoing.recvfrom(65_536)
            echoing.sendto(data, source)

    threading.Thread(target=answer, daemon=True).start()
    dead = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dead.bind(("127.0.0.1", 0))
    dead_port = dead.getsockname()[1]
    dead.close()
    short = {"timeouts": {"udp-flow": "1s", "backoff-initial": "100ms"}}
    place.deploy([(place.ports[0], echoing.getsockname()[1], "udp"), (place.ports[1], dead_port, "udp"),
                  (place.ports[2], 9)],
                 relay={"timeouts": {"udp-flow": "1s"}}, agent=short)
    with nothing_left(place):
        for size in (0, 1, 1_200, 9_000, 65_507):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.settimeout(20)
                end.sendto(bytes(size), ("127.0.0.1", place.ports[0]))
                check(len(end.recv(65_536)) == size, f"a datagram of {size} bytes")
        for _ in range(500):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"anybody", ("127.0.0.1", place.ports[1]))
                end.sendto(b"anybody", ("127.0.0.1", place.ports[1]))
