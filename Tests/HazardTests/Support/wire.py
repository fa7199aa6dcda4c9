# SPDX-License-Identifier: Apache-2.0
"""How bytes are cut on their way, and what a later version of the protocol might say."""
import contextlib
import itertools
import os
import socket
import ssl
import struct
import threading

import node
import strangers
from node import frame
from place import Service, check, echo, echoes, scenario, until


class SlicedEnd:
    """TLS over a socket with the sizes of records and of TCP writes as asked; 0: as large as they may be."""

    def __init__(self, plain, context, record=0, segment=0, server_side=False):
        self.plain, self.record, self.segment = plain, record, segment
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side)
        self.lock = threading.RLock()
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                return
            except ssl.SSLWantReadError:
                self.flush()
                self.feed()

    def feed(self):
        data = self.plain.recv(65_536)
        if not data:
            raise ConnectionError("the peer closed the connection")
        self.incoming.write(data)

    def flush(self):
        data = self.outgoing.read()
        for start in range(0, len(data), self.segment or len(data) or 1):
            self.plain.sendall(data[start:start + (self.segment or len(data))])

    def sendall(self, data):
        size = self.record or 16_384
        for start in range(0, len(data), size):
            self.tls.write(data[start:start + size])
        self.flush()

    def send_cut(self, data, cut):
        """One record, whose ciphertext is cut in two."""
        self.tls.write(data)
        sealed = self.outgoing.read()
        cut %= len(sealed)
        self.plain.sendall(sealed[:cut])
        self.plain.sendall(sealed[cut:])

    def recv(self, size):
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                try:
                    self.feed()
                except ConnectionError:
                    return b""
            except ssl.SSLError:
                return b""

    def settimeout(self, seconds):
        self.plain.settimeout(seconds)

    def close(self):
        self.plain.close()


# Sizes of records and of TCP writes.
SLICES = [(1, 0), (1, 1), (0, 1), (7, 13), (2, 65_536), (8, 22), (9, 31), (16_383, 16_384), (0, 65_536)]


def sliced(record, segment):
    return lambda plain, context: SlicedEnd(plain, context, record, segment)


def exchange(frames, open_visit, payload):
    """Answers one visitor by hand with what he says; `frames` is a node's side of a tunnel."""
    visit = open_visit(payload)
    number = frames.wait(node.OPEN)[3]
    frames.send(node.opened(number))
    got, sent = b"", 0
    while True:
        kind, flags, data, stream = frames.wait(node.DATA, node.RESET)
        check(kind == node.DATA and stream == number, f"a frame of type {kind} for stream {stream}")
        got += data
        # What comes is said back at once, and at the end is the end.
        for start in range(sent, len(got), 40_000):
            frames.send(frame(node.DATA, got[start:start + 40_000], number))
        sent = len(got)
        frames.send(node.credit(number, len(got) + (1 << 18), len(got), flags & node.FIN))
        if flags & node.FIN:
            break
    check(got == payload, f"{len(got)} of {len(payload)} bytes came to the node")
    frames.send(frame(node.DATA, b"", number, node.FIN))
    visit()


def visitor(port):
    """A visit on a thread: returns what waits for its end and tells how it went."""

    def begin(payload):
        answers = []

        def run():
            try:
                echo(port, payload, 20)
                answers.append(None)
            except Exception as error:
                answers.append(error)

        thread = threading.Thread(target=run)
        thread.start()

        def end():
            thread.join()
            check(answers == [None], f"the visitor: {answers}")

        return end

    return begin


@scenario
def sliced_node(place):
    """15: a node whose records and segments are cut in every way; what visitors get is whole."""
    place.write_relay()
    place.start_relay()
    key, port = node.Key(place.folder), place.ports[0]
    node.Node(place.tunnel_port, key, node.token(place.invite("slicer"))).close()
    payload = os.urandom(3_000)
    for record, segment in SLICES:
        one = node.Node(place.tunnel_port, key, seconds=20, wrap=sliced(record, segment))
        one.expose(1, port)
        exchange(one, visitor(port), payload)
        exchange(one, visitor(port), os.urandom(100_000) if not 0 < record < 16 else os.urandom(9_000))
        one.close()


def block(number, payload):
    """Every frame that a node may send while a stream is open, whose visitor then has the payload."""
    half = len(payload) // 2
    return b"".join([
        node.opened(number), frame(node.PING, b"12345678"), frame(node.DATA, payload[:half], number), frame(200, b"new", 0,
        node.SKIPPABLE), node.credit(number, 1 << 18, 0), node.unexpose(99), frame(node.DATA, b"", number),
        frame(node.PONG, b"12345678"), frame(node.DATA, payload[half:], number, node.FIN)])


def confirm(one, number):
    """The visitor, who sent nothing, has closed: with this the stream is over."""
    while not one.wait(node.DATA)[1] & node.FIN:
        pass
    one.send(node.credit(number, 1 << 18, 0, node.FIN))


@scenario
def boundaries(place):
    """15: a write ends at every byte of a row of frames, once between two records and once within one."""
    place.write_relay()
    place.start_relay()
    key, port = node.Key(place.folder), place.ports[0]
    one = node.Node(place.tunnel_port, key, node.token(place.invite("slicer")), wrap=sliced(0, 0))
    one.expose(1, port)
    payload = b"the payload"
    size = len(block(2, payload))
    for cut in range(1, size + 30):
        for way in ("between", "within"):
            with socket.create_connection(("127.0.0.1", port), 5) as end:
                number = one.wait(node.OPEN)[3]
                data = block(number, payload)
                if way == "within":
                    one.end.send_cut(data, cut)
                elif cut < size:
                    one.send(data[:cut])
                    one.send(data[cut:])
                else:
                    one.send(data)
                got = b""
                while more := end.recv(100):
                    got += more
                check(got == payload, f"cut {way} at {cut}: {got}")
            one.wait(node.PONG)
            confirm(one, number)
    # Many frames in one piece: thousands of small ones, then some that are larger than a record.
    for pieces in ([bytes([index % 256]) * 20 for index in range(3_000)], [os.urandom(30_000) for _ in range(7)],
                   [os.urandom(size) for size in (1, 8, 16_376, 16_377, 40_000, 65_535)]):
        payload = b"".join(pieces)
        with socket.create_connection(("127.0.0.1", port), 10) as end:
            _, _, opening, number = one.wait(node.OPEN)
            granted = struct.unpack(">Q", opening[-8:])[0]
            check(granted >= len(payload), f"only {granted} bytes may be sent at once")
            whole = node.opened(number) + b"".join(frame(node.DATA, piece, number) for piece in pieces)
            one.send(whole + frame(node.DATA, b"", number, node.FIN))
            got = b""
            while more := end.recv(65_536):
                got += more
            check(got == payload, f"{len(got)} of {len(payload)} bytes in {len(pieces)} frames that came together")
        confirm(one, number)
    one.close()


class HandMadeRelay:
    """The relay's side of one tunnel, on the relay's own key."""

    def __init__(self, place, record=0, segment=0, greeting=None):
        right = node.Key(place.folder, "right", key=f"{place.state}/relay.key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(right.certificate, right.key)
        context.set_alpn_protocols(["natfwt/1"])
        self.buffer = b""
        listener = socket.create_server(("127.0.0.1", place.tunnel_port))
        with listener:
            listener.settimeout(20)
            plain, _ = listener.accept()
        plain.settimeout(20)
        self.end = SlicedEnd(plain, context, record, segment, server_side=True)
        self.hello = self.wait(node.HELLO)[2]
        self.send(strangers.welcome() if greeting is None else greeting)

    send, read, wait, ended, close = node.Node.send, node.Node.read, node.Node.wait, node.Node.ended, node.Node.close

    def greet(self):
        """Grants the port that the agent asks for."""
        number, _, port = struct.unpack(">IBH", self.wait(node.EXPOSE)[2][:7])
        self.send(frame(node.EXPOSED, struct.pack(">IH", number, port) + node.text16("")))
        return port

    def visit(self, number, port, payload):
        """Opens a stream to the agent's service, which says back what it hears."""
        self.send(node.open_stream(number, port))
        self.wait(node.OPENED)
        for start in range(0, len(payload), 30_000):
            self.send(frame(node.DATA, payload[start:start + 30_000], number))
        self.send(frame(node.DATA, b"", number, node.FIN))
        got, flags = b"", 0
        while not flags & node.FIN:
            kind, flags, data, _ = self.wait(node.DATA, node.RESET)
            check(kind == node.DATA, "the stream is reset")
            got += data
            self.send(node.credit(number, len(got) + (1 << 18), len(got), flags & node.FIN))
        check(got == payload, f"{len(got)} of {len(payload)} bytes came back")


def orphaned(place):
    """An agent whose relay is gone, for one that is made by hand."""
    service = Service()
    place.deploy([(place.ports[0], service.port)], agent={"timeouts": {"backoff-initial": "50ms", "backoff-maximum": "100ms"}})
    place.relay.kill()


@scenario
def sliced_relay(place):
    """15: the same from a relay to the real agent."""
    orphaned(place)
    for record, segment in SLICES:
        relay = HandMadeRelay(place, record, segment)
        port = relay.greet()
        relay.visit(2, port, os.urandom(3_000))
        relay.visit(4, port, os.urandom(100_000) if not 0 < record < 16 else os.urandom(9_000))
        relay.close()
    check(place.agent.is_running(), "the agent ended")


@scenario
def sliced_visits(place):
    """15: visitors who write a byte at a time, at odd sizes, and 64 KiB at once, through the real relay and agent."""
    service = Service()
    place.deploy([(place.ports[0], service.port)])
    for sizes in ([1], [1, 2, 3, 5, 7, 11, 13], [16_376, 16_377, 1], [65_535, 65_536, 65_537], [8, 4_095, 4_096, 4_097]):
        payload = os.urandom(2_000 if sizes == [1] else 40_000 if sizes[0] == 1 else 400_000)
        with socket.create_connection(("127.0.0.1", place.ports[0]), 10) as end:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def write():
                start = 0
                for size in itertools.cycle(sizes):
                    end.sendall(payload[start:start + size])
                    start += size
                    if start >= len(payload):
                        return end.shutdown(socket.SHUT_WR)

            thread = threading.Thread(target=write)
            thread.start()
            got = b""
            while data := end.recv(1 if sizes == [1] else 50_000):
                got += data
            thread.join()
            check(got == payload, f"{len(got)} of {len(payload)} bytes came back, written in {sizes}")


def lives(peer):
    """Whether the peer answers what came after all else."""
    peer.send(frame(node.PING, b"still???", flags=0x7E))
    while peer.wait(node.PONG)[2] != b"still???":
        pass


UNKNOWN = [0, 18, 22, 23, 64, 99, 200, 255]


def later_frames(number):
    """What a later version may send of which it says itself that it may be skipped."""
    streams = (0, number, number + 2_000, 0xFFFF_FFFF)
    return b"".join(
        frame(kind, os.urandom(size), stream, flags) for kind in UNKNOWN for stream in streams
        for size, flags in ((0, 0x80), (1, 0xFF), (300, 0x81))) + frame(200, os.urandom(16_384), number, 0x80)


@scenario
def later_node(place):
    """16: nodes of another version at this relay: what is older is refused, what is newer gets version 1 and is skipped."""
    place.write_relay()
    place.start_relay()
    key, port = node.Key(place.folder), place.ports[0]
    node.Node(place.tunnel_port, key, node.token(place.invite("other"))).close()

    def hello(version, capabilities=0, more=b""):
        body = bytearray(node.hello(version=version))[8:]
        body[2:6] = struct.pack(">I", capabilities)
        return frame(node.HELLO, bytes(body) + more)

    for version, capabilities, more in ((1, 0, b""), (2, 0, b""), (65_535, 0xFFFF_FFFF, b""), (2, 1, bytes(100)),
                                        (7, 0, os.urandom(8_000))):
        one = node.Node(place.tunnel_port, key, introduce=False)
        one.send(hello(version, capabilities, more))
        chosen = struct.unpack(">H", one.wait(node.WELCOME)[2][:2])[0]
        check(chosen == 1, f"version {version} of the node is answered with {chosen}")
        lives(one)
        one.close()
    one = node.Node(place.tunnel_port, key, introduce=False)
    one.send(hello(0))
    _, _, payload, _ = one.wait(node.GOAWAY)
    check(struct.unpack(">I", payload[:4])[0] == 2 and b"version" in payload, f"{payload}")
    one.close()
    # Of several application protocols the one that both know is chosen.
    context = node.context(key)
    context.set_alpn_protocols(["natfwt/2", "natfwt/1"])
    with socket.create_connection(("127.0.0.1", place.tunnel_port), 5) as plain, context.wrap_socket(plain) as end:
        check(end.selected_alpn_protocol() == "natfwt/1", f"{end.selected_alpn_protocol()}")
    # Frames to come, in a session with a stream.
    one = node.Node(place.tunnel_port, key)
    one.expose(1, port)
    with socket.create_connection(("127.0.0.1", port), 5) as end:
        number = one.wait(node.OPEN)[3]
        one.send(node.opened(number) + later_frames(number) + frame(node.DATA, b"hello", number, 0x7E))
        check(end.recv(5) == b"hello", "what comes behind a frame that is skipped does not come")
        # Fields to come.
        one.send(frame(node.CREDIT, struct.pack(">QQ", 1 << 19, 0) + b"more", number))
        one.send(frame(node.EXPOSE, node.expose(2, place.ports[1], "y")[8:] + b"more"))
        check(struct.unpack(">IH", one.wait(node.EXPOSED)[2][:6]) == (2, place.ports[1]), "a longer EXPOSE is not granted")
        one.send(frame(node.UNEXPOSE, struct.pack(">I", 2) + b"more"))
        one.send(frame(node.RESET, struct.pack(">I", 4_000_000_000) + b"more", number))
        lives(one)
    one.close()
    for kind in UNKNOWN:
        for flags in (0, 0x7F):
            one = node.Node(place.tunnel_port, key)
            one.send(frame(kind, b"what?", flags=flags))
            _, _, payload, _ = one.wait(node.GOAWAY)
            check(struct.unpack(">I", payload[:4])[0] == 1, f"type {kind}: {payload}")
            check(not one.ended(), "more than one GOAWAY")
            one.close()
    # One that could be skipped, but is too long to be read.
    one = node.Node(place.tunnel_port, key)
    one.send(frame(200, b"", flags=0x80, length=16_385))
    check(one.ended(), "a frame past the bound ends the session without a word")
    one.close()
    one = node.Node(place.tunnel_port, key)
    lives(one)
    one.close()


@scenario
def later_relay(place):
    """16: relays of another version at this agent: it goes away from what it does not speak, and skips what it may."""
    orphaned(place)
    for version in (0, 2, 65_535):
        relay = HandMadeRelay(place, greeting=strangers.welcome(version=version))
        _, _, payload, _ = relay.wait(node.GOAWAY)
        check(struct.unpack(">I", payload[:4])[0] == 2 and b"version" in payload, f"{payload}")
        relay.close()
    check("version" in place.agent.log(), "the agent's log does not tell of the version")
    for more in (b"", bytes(100)):
        relay = HandMadeRelay(place, greeting=frame(node.WELCOME, strangers.welcome()[8:] + more))
        check(struct.unpack(">H", relay.hello[:2])[0] == 1, "the agent's HELLO")
        port = relay.greet()
        relay.send(node.open_stream(2, port)[:4] + struct.pack(">I", 2) + node.open_stream(2, port)[8:])
        relay.wait(node.OPENED)
        relay.send(later_frames(2))
        relay.send(frame(node.EXPOSED, struct.pack(">IH", 1, port) + node.text16("") + b"more"))
        lives(relay)
        relay.visit(4, port, os.urandom(10_000))
        relay.close()
    for kind in UNKNOWN:
        relay = HandMadeRelay(place, greeting=strangers.welcome() + frame(kind, b"what?", flags=0x7F))
        _, _, payload, _ = relay.wait(node.GOAWAY)
        check(struct.unpack(">I", payload[:4])[0] == 1, f"type {kind}: {payload}")
        relay.close()
    place.start_relay()
    until("a visit works", lambda: echoes(place.ports[0]))
