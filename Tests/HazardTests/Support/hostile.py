# SPDX-License-Identifier: Apache-2.0
"""A node that was admitted and means harm, beside one that works: the other must not notice."""
import contextlib
import os
import random
import socket
import struct
import threading
import time

import node
from node import frame
from place import Failed, Pace, Service, check, echo, rests, scenario, settles, until


def deploy(place, **options):
    """A good node with an echo on port 0, and the key of an admitted hostile one."""
    place.service = Service()
    place.deploy([(place.ports[0], place.service.port)], **options)
    key = node.Key(place.folder)
    node.Node(place.tunnel_port, key, node.token(place.invite("hostile"))).close()
    return key


@contextlib.contextmanager
def unharmed(place, memory=40_000, idle=True):
    """The good node works all the time, without delay; afterwards nothing is left."""
    echo(place.ports[0])
    descriptors, before = place.relay.descriptors(), place.relay.memory()
    pace, over, failures = Pace(place.ports[0], place.service), threading.Event(), []

    def visit():
        while not over.wait(0.05):
            try:
                pace.visit(os.urandom(20_000))
            except (OSError, Failed) as error:
                failures.append(error)

    visitor = threading.Thread(target=visit)
    visitor.start()
    most = before
    try:
        yield
        most = max(most, place.relay.memory())
    finally:
        over.set()
        visitor.join()
    check(place.relay.is_running(), f"the relay ended with {place.relay.process.returncode}")
    check(not failures, f"the good node's visitors: {failures[:3]}")
    pace.check(4)
    settles("the relay's descriptors", place.relay.descriptors, descriptors)
    most = max(most, place.relay.memory())
    check(most < before + memory, f"the relay had {before} KiB and then {most} KiB")
    if idle:
        rests("the relay", place.relay)
    print(f"{pace}, memory {before} -> {most} KiB")


VALID = [
    node.hello(), frame(node.PING, b"12345678"), frame(node.PONG, b"12345678"),
    frame(node.GOAWAY, struct.pack(">I", 0) + node.text16("bye")), node.open_stream(1), node.opened(2),
    frame(node.DATA, b"x" * 100, 2), node.credit(2, 1 << 20, 0), node.reset(2), frame(node.DATAGRAM, b"y" * 50, 2),
    node.expose(1, 0), node.unexpose(1), frame(200, b"new", flags=node.SKIPPABLE),
    frame(node.SIGNAL, b"\1" + node.address(9), flags=node.SKIPPABLE),
]


@scenario
def truncated(place):
    """10: every frame cut at every byte, then the end."""
    key = deploy(place)
    with unharmed(place):
        for valid in VALID[1:]:
            for cut in range(0, len(valid), max(1, len(valid) // 8)):
                try:
                    one = node.Node(place.tunnel_port, key)
                    one.send(valid[:cut])
                    one.close()
                except ConnectionError as error:
                    check("taken over" in str(error), str(error))
        for cut in range(0, len(VALID[0]), 3):
            one = node.Node(place.tunnel_port, key, introduce=False)
            one.send(VALID[0][:cut])
            one.close()


@scenario
def mutated(place):
    """10, 11: flipped bits, wrong lengths, rubbish: the session ends with a word, or goes on."""
    key = deploy(place)
    seed = 20_260
    luck = random.Random(seed)
    with unharmed(place):
        for turn in range(150):
            one = node.Node(place.tunnel_port, key)
            data = bytearray(b"".join(luck.sample(VALID, 4)))
            for _ in range(luck.randint(1, 4)):
                data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
            with contextlib.suppress(OSError):
                one.send(bytes(data) if turn % 10 else luck.randbytes(1 << 18))
            one.close()
        for length in (0, 1, 7, 9, 16_384, 16_385, 65_535):
            for kind in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 99):
                one = node.Node(place.tunnel_port, key)
                with contextlib.suppress(OSError):
                    one.send(frame(kind, bytes(min(length, 64)), 1, length=length))
                one.close()


@scenario
def streams(place):
    """12, 13, 17: frames for streams that are not there, windows that lie: each has its answer."""
    key = deploy(place)
    port = place.ports[1]

    def session():
        one = node.Node(place.tunnel_port, key)
        one.expose(1, port)
        visitor = socket.create_connection(("127.0.0.1", port))
        stream = one.wait(node.OPEN)[3]
        return one, visitor, stream

    fatal = [
        frame(node.DATA, b"x", 0), frame(node.DATA, b"x", 0xFFFF_FFFF), frame(node.DATA, b"x", 1_000),
        node.credit(1_001, 1, 1), node.open_stream(2), node.open_stream(0), node.open_stream(3) + node.open_stream(3),
        node.open_stream(5) + node.open_stream(3), node.hello(), frame(node.WELCOME), frame(99), node.opened(4_000),
        frame(node.PING, b"1234"), frame(node.EXPOSE, b"\0"), frame(node.RESET, b"", 2),
        frame(node.OPEN, b"\x07" + node.address(1) * 2 + bytes(8), 7), node.credit(2, 1, 5_000),
    ]
    with unharmed(place):
        for data in fatal:
            one, visitor, stream = session()
            check(stream == 2, f"the first stream is {stream}")
            one.send(data)
            text = one.ended()
            check(text, f"{data[:24].hex()} ends the session without a word")
            one.close()
            visitor.settimeout(3)
            with contextlib.suppress(ConnectionResetError):
                check(not visitor.recv(1), "the visitor hears something")
            visitor.close()
        # Past the window: the stream ends, the session does not.
        one, visitor, stream = session()
        one.send(node.opened(stream))
        # As much as the kernel takes for the visitor is his; what comes behind it breaks the window.
        for _ in range(300):
            one.send(frame(node.DATA, bytes(65_535), stream))
        code = struct.unpack(">I", one.wait(node.RESET)[2])[0]
        check(code == 10, f"past the window: code {code}")
        visitor.close()
        # Data after the end, the end twice, reset twice, credit that overflows, and that goes back.
        for data in (frame(node.DATA, b"", 4, node.FIN) + frame(node.DATA, b"x", 4), frame(node.DATA, b"", 4, node.FIN) * 2,
                     node.reset(4) * 3, node.credit(4, (1 << 64) - 1, 0) + node.credit(4, 0, 0) + node.reset(4)):
            visitor = socket.create_connection(("127.0.0.1", port))
            stream = one.wait(node.OPEN)[3]
            one.send(node.opened(stream) + data.replace(struct.pack(">I", 4), struct.pack(">I", stream)))
            one.send(frame(node.PING, b"still???"))
            one.wait(node.PONG)
            visitor.close()
        one.close()


def flood(place, key, data, seconds=3.0, reads=True, **options):
    """Sends `data` again and again; whether the relay ended it, and its word."""
    # A relay that has still to work through the last flood may let it wait.
    one = node.Node(place.tunnel_port, key, **options)
    one.end.settimeout(1)
    deadline = time.monotonic() + seconds
    over = threading.Event()

    def read():
        with contextlib.suppress(OSError, ValueError):
            while not over.is_set() and one.end.recv(65536):
                pass

    reader = threading.Thread(target=read)
    if reads:
        reader.start()
    sent = 0
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline:
            block = data(sent) if callable(data) else data
            one.send(block)
            sent += 1
    over.set()
    if reads:
        reader.join()
    one.close()
    return sent


@scenario
def floods(place):
    """13: PING, OPEN and RESET, credit, GOAWAY in floods, read and unread."""
    key = deploy(place)

    def opens(turn, extra=False):
        numbers = [1 + 2 * (turn * 200 + index) for index in range(200)]
        return b"".join(node.open_stream(number) + (node.reset(number) if extra else b"") for number in numbers)

    with unharmed(place):
        for name, data in {
            "ping": frame(node.PING, b"12345678") * 1_000, "open": opens,
            "rapid reset": lambda turn: opens(turn, True),
            "goaway": frame(node.GOAWAY, struct.pack(">I", 0) + node.text16("x" * 1_000)) * 10,
            "skippable": frame(200, bytes(16_000), flags=node.SKIPPABLE),
            "unexpose": node.unexpose(7) * 1_000, "empty data": frame(node.PONG, b"12345678") * 1_000,
        }.items():
            for reads in (True, False):
                sent = flood(place, key, data, 0.7, reads)
                print(f"{name}, {'read' if reads else 'unread'}: {sent} blocks")


@scenario
def exposures(place):
    """EXPOSE and UNEXPOSE in floods: the registry is written to each time, which must not hold the others up."""
    key = deploy(place)
    lines = len(place.relay.log().splitlines())
    begin = time.monotonic()
    with unharmed(place):
        block = b"".join(node.expose(index, 0, f"name{index}") + node.unexpose(index) for index in range(50))
        sent = flood(place, key, block, 2)
        refused = b"".join(node.expose(index, 1, "x") for index in range(200))
        sent += flood(place, key, refused, 2)
    seconds = time.monotonic() - begin
    more = len(place.relay.log().splitlines()) - lines
    check(more < 400 + 60 * seconds, f"{more} lines of log in {seconds:.0f} s for {sent} blocks")


@scenario
def stalled(place):
    """18, 21: a node that reads nothing while visitors send: its own streams wait, and nothing else."""
    key = deploy(place)
    port, udp = place.ports[1], place.ports[2]
    with unharmed(place, memory=100_000):
        one = node.Node(place.tunnel_port, key, buffer=4_096)
        one.expose(1, port)
        one.expose(2, udp, "udp", transport=2)
        sinks = []
        for _ in range(50):
            visitor = socket.create_connection(("127.0.0.1", port))
            visitor.setblocking(False)
            sinks.append(visitor)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            for visitor in sinks:
                with contextlib.suppress(OSError):
                    visitor.send(bytes(4_200))
            for _ in range(50):
                datagrams.sendto(bytes(1_200), ("127.0.0.1", udp))
        most = place.relay.memory()
        print(f"while stalled: {most} KiB")
        for visitor in sinks:
            visitor.close()
        one.close()


@scenario
def pinned(place):
    """50: small pieces for visitors that do not read, between large ones for nobody: what waits costs what it is long."""
    key = deploy(place)
    port = place.ports[1]
    with unharmed(place, memory=30_000):
        one = node.Node(place.tunnel_port, key)
        one.expose(1, port)
        visitors, numbers = [], []
        for _ in range(4):
            visitor = socket.socket()
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            visitor.connect(("127.0.0.1", port))
            visitors.append(visitor)
            numbers.append(one.wait(node.OPEN)[3])
            one.send(node.opened(numbers[-1]))
        # First as much as the kernel takes, with the credit that this earns; then a byte at a time behind it.
        for number in numbers:
            sent, granted = 0, 1 << 18
            with contextlib.suppress(TimeoutError):
                one.end.settimeout(0.5)
                while True:
                    while sent + 40_000 <= granted:
                        one.send(frame(node.DATA, bytes(40_000), number))
                        sent += 40_000
                    _, _, payload, stream = one.wait(node.CREDIT)
                    if stream == number:
                        granted = struct.unpack(">Q", payload[:8])[0]
            print(f"stream {number}: the kernel took about {sent >> 10} KiB, {granted - sent} bytes of credit are left")
        one.end.settimeout(5)
        filler = frame(200, bytes(16_000), flags=node.SKIPPABLE) * 8
        begin = time.monotonic()
        turns = 0
        while time.monotonic() - begin < 4:
            one.send(b"".join(frame(node.DATA, b"x", number) for number in numbers) + filler)
            turns += 1
        print(f"{turns} turns, memory {place.relay.memory()} KiB")
        check(place.relay.memory() < 60_000, f"{turns} pieces of a byte cost {place.relay.memory()} KiB")
        for visitor in visitors:
            visitor.close()
        one.close()


@scenario
def pinned_pieces(place):
    """50: the same with pieces that are too long to be copied each: 60 visitors who do not read."""
    key = deploy(place)
    port = place.ports[1]
    with unharmed(place, memory=150_000):
        one = node.Node(place.tunnel_port, key)
        one.expose(1, port)
        visitors, granted, sent = [], {}, {}
        for _ in range(60):
            visitor = socket.socket()
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            visitor.connect(("127.0.0.1", port))
            visitors.append(visitor)
            number = one.wait(node.OPEN)[3]
            granted[number] = 1 << 16
            one.send(node.opened(number))
            one.send(frame(node.DATA, bytes(8_200), number))
            sent[number] = 8_200
        filler = frame(200, bytes(16_000), flags=node.SKIPPABLE) * 8
        deadline = time.monotonic() + 12
        one.end.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while time.monotonic() < deadline:
                _, _, payload, number = one.wait(node.CREDIT, node.OPENED)
                granted[number] = max(granted[number], struct.unpack(">Q", payload[:8])[0])
                slow = sent[number] > 1_500_000
                while sent[number] + 8_200 < granted[number]:
                    one.send(frame(node.DATA, bytes(8_200), number) + (filler if slow else b""))
                    sent[number] += 8_200
        print(f"{sum(sent.values()) >> 20} MiB sent, memory {place.relay.memory()} KiB")
        check(place.relay.memory() < 150_000, f"the relay has {place.relay.memory()} KiB")
        for visitor in visitors:
            visitor.close()
        one.close()


@scenario
def silent(place):
    """58: a node that stops answering is given up after three intervals, and its port with it."""
    key = deploy(place, relay={"timeouts": {"liveness-interval": "2s"}})
    port = place.ports[1]
    with unharmed(place):
        one = node.Node(place.tunnel_port, key)
        one.expose(1, port)
        begin = time.monotonic()
        until("the port is closed", lambda: not place.listens(port))
        check(3 < time.monotonic() - begin < 12, f"after {time.monotonic() - begin:.1f} s")
        one.close()
