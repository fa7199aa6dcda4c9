# SPDX-License-Identifier: Apache-2.0
"""A node of the same relay that means harm to another node: what it opens to it, and says in it, is its own loss."""
import json
import os
import random
import socket
import ssl
import struct
import subprocess
import threading
import time

import hostile
import node
from node import frame
from place import Service, Skipped, check, echo, scenario, settles, until


def transport_id(place):
    answer = subprocess.run([place.binary, "status", "--json", "--socket", place.agent_socket], capture_output=True,
                            text=True, check=True)
    return socket.inet_pton(socket.AF_INET6, json.loads(answer.stdout)["transport-id"])


def open_to(identity, stream, port=0, kind=1):
    target = b"\x06" + identity + struct.pack(">H", port)
    return frame(node.OPEN, bytes([kind]) + target + b"\0" + struct.pack(">Q", 1 << 20), stream)


class Inner:
    """TLS and a tunnel inside a stream that the relay forwards."""

    def __init__(self, outer, identity, stream, key):
        self.outer, self.stream, self.buffer = outer, stream, b""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = node.context(key).wrap_bio(self.incoming, self.outgoing)
        outer.send(open_to(identity, stream))
        self.step(self.tls.do_handshake)

    def flush(self):
        data = self.outgoing.read()
        while data:
            self.outer.send(frame(node.DATA, data[:16_000], self.stream))
            data = data[16_000:]

    def step(self, call):
        while True:
            try:
                result = call()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                kind, _, payload, stream = self.outer.wait(node.DATA, node.RESET, node.GOAWAY)
                if stream == self.stream and kind == node.DATA:
                    self.incoming.write(payload)
                elif kind != node.DATA:
                    raise ConnectionError(f"frame {kind}: {payload.hex()}") from None

    def send(self, data):
        self.step(lambda: self.tls.write(data))

    def read(self):
        return self.step(lambda: self.tls.read(65_536))

    def wait(self, *kinds):
        """The next frame of one of these types: type, payload, stream."""
        while True:
            if len(self.buffer) >= 8:
                kind, _, length, stream = struct.unpack(">BBHI", self.buffer[:8])
                if len(self.buffer) >= 8 + length:
                    payload, self.buffer = self.buffer[8:8 + length], self.buffer[8 + length:]
                    if kind in kinds:
                        return kind, payload, stream
                    continue
            self.buffer += self.read()

    def introduce(self):
        self.send(node.hello())
        kind, payload, _ = self.wait(node.WELCOME, node.GOAWAY)
        check(kind == node.WELCOME, payload)

    def ends(self):
        """Reads until the other side ends it: what it said."""
        said = b""
        try:
            while data := self.read():
                said += data
        except (ConnectionError, ssl.SSLError, OSError):
            pass
        return said


def state(place):
    return place.agent.descriptors(), place.agent.memory()


# The port for direct connections stays open for a minute after the last tunnel, in both families.
PORT = 2


def own_address():
    """One of this host's that other hosts may know; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        try:
            end.connect(("192.0.2.1", 9))
        except OSError:
            raise Skipped("this host has no address but loopback") from None
        return end.getsockname()[0]


@scenario
def unwanted(place):
    """25, 27: streams to another node that are no tunnels, to nobody, to oneself, by the thousand."""
    key = hostile.deploy(place)
    home = transport_id(place)
    descriptors, memory = state(place)
    with hostile.unharmed(place):
        one = node.Node(place.tunnel_port, key)
        stream = 1

        def reset_of(data, number):
            one.send(data)
            while True:
                kind, _, payload, stream = one.wait(node.RESET, node.GOAWAY, node.DATA, node.OPENED)
                check(kind != node.GOAWAY, "the session ended")
                if kind == node.RESET and stream == number:
                    return struct.unpack(">I", payload[:4])[0]

        # Nobody has this transport ID; a port; datagrams; what is no node's address.
        for data, code in [
            (open_to(b"\x20\x01\x00\x21" + os.urandom(12), 1), 2),
            (open_to(home, 3, port=22), 6), (open_to(home, 5, kind=2), 6), (open_to(bytes(15) + b"\1", 7), 6),
        ]:
            found = reset_of(data, stream)
            check(found == code, f"stream {stream}: reset {found} and not {code}")
            stream += 2
        # Rubbish in place of TLS: that stream ends, and nothing else.
        for data in (b"GET / HTTP/1.0\r\n\r\n", bytes(1_000), os.urandom(5_000), b"\x16\x03\x01\x40\x00"):
            one.send(open_to(home, stream) + frame(node.DATA, data, stream, flags=node.FIN))
            check(reset_of(b"", stream) >= 0, "no end")
            stream += 2
        # Opened and left, past the bound; then each is reset, a thousand times over.
        numbers = list(range(stream, stream + 40, 2))
        one.send(b"".join(open_to(home, number) for number in numbers))
        refused = [reset_of(b"", number) for number in numbers[8:]]
        check(set(refused) == {5}, f"past the bound: {refused}")
        one.send(b"".join(node.reset(number) for number in numbers[:8]))
        stream += 40
        for _ in range(1_000):
            one.send(open_to(home, stream) + node.reset(stream))
            stream += 2
        one.send(frame(node.PING, b"12345678"))
        one.wait(node.PONG)
        one.close()
    settles("the agent's descriptors", place.agent.descriptors, descriptors)
    until("the agent's memory is as it was", lambda: place.agent.memory() < memory + 20_000)


@scenario
def in_the_tunnel(place):
    """10, 11, 25: a node that has a tunnel to another and breaks its rules, or asks for what is not served."""
    key = hostile.deploy(place)
    home = transport_id(place)
    descriptors, memory = state(place)
    rng = random.Random(7)
    with hostile.unharmed(place):
        for wrong in [frame(99), node.hello() + node.hello(), frame(node.DATA, b"x", 4_000), node.expose(1, 80) + frame(99),
                      node.signal(), node.hello() + node.signal(count=17), node.hello() + node.signal(count=1),
                      node.hello() + frame(node.SIGNAL, b"\1\3\0\4home\0\x50"), *(rng.randbytes(200) for _ in range(5))]:
            one = node.Node(place.tunnel_port, key)
            inner = Inner(one, home, 1, key)
            inner.send(wrong)
            said = inner.ends()
            check(said[:1] in (b"", bytes([node.GOAWAY]), bytes([node.WELCOME])), said[:40].hex())
            one.send(frame(node.PING, b"12345678"))
            one.close()
        # A tunnel in good order: nothing is served to this node, whatever it names as its destination.
        one = node.Node(place.tunnel_port, key)
        inner = Inner(one, home, 1, key)
        inner.introduce()
        service = place.ports[0]
        inner.send(open_to(home, 1, port=22) + node.open_stream(3, port=service) + open_to(home, 5, port=service))
        resets = {}
        while len(resets) < 3:
            _, payload, stream = inner.wait(node.RESET)
            resets[stream] = struct.unpack(">I", payload[:4])[0]
        check(resets == {1: 6, 3: 6, 5: 6}, f"{resets}")
        one.close()
    settles("the agent's descriptors", place.agent.descriptors, descriptors + PORT)
    until("the agent's memory is as it was", lambda: place.agent.memory() < memory + 20_000, 20)
    echo(place.ports[0])


@scenario
def signals(place):
    """10, 27: a node that tells of other's addresses as its own, by the thousand: what is nobody's but this host's is left
    alone, and what is somebody else's is not asked more often than every five seconds."""
    own = own_address()
    key = hostile.deploy(place)
    home = transport_id(place)
    descriptors, memory = state(place)
    inside = Service()
    outside = Service()
    listener = socket.create_server((own, 0))
    outside.listener.close()
    outside.listener, outside.port = listener, listener.getsockname()[1]
    threading.Thread(target=outside.run, daemon=True).start()
    with hostile.unharmed(place):
        one = node.Node(place.tunnel_port, key)
        inner = Inner(one, home, 1, key)
        inner.introduce()
        nobody = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::ffff:127.0.0.1", "::", "224.0.0.1", "255.255.255.255",
                  "169.254.169.254", "fe80::1", "ff02::1", "2001:20::1"]
        wrong = node.signal(*((host, inside.port) for host in nobody), (own, 0))
        for _ in range(1_000):
            inner.send(wrong)
        begin = time.monotonic()
        while time.monotonic() - begin < 7:
            for _ in range(50):
                inner.send(node.signal((own, outside.port)))
            one.send(frame(node.PING, b"12345678"))
            one.wait(node.PONG)
        check(inside.accepted == 0, f"{inside.accepted} connections to what is only this host's")
        check(1 <= outside.accepted <= 2, f"{outside.accepted} connections in seven seconds")
        one.close()
    settles("the agent's descriptors", place.agent.descriptors, descriptors + PORT)
    until("the agent's memory is as it was", lambda: place.agent.memory() < memory + 20_000, 20)
    listener.close()
