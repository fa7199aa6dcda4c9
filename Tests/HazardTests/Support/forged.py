# SPDX-License-Identifier: Apache-2.0
"""A node whose packets for another node's adapter are forged: written by hand, in a tunnel of its own key through a real
relay. What comes out of the other's interface is seen there, by the kernel's own word (AF_PACKET).

    hostile node ══ TLS ══ relay ══ TLS ══ agent ─▶ policy ─▶ natfwt0 ─▶ kernel ─▶ service
                                                                 └─▶ Tap
"""
import ctypes
import hashlib
import os
import random
import socket
import struct
import subprocess

import hostile
import node
from neighbours import Inner, transport_id
from node import frame
from place import Skipped, check, free_ports, scenario

TCP, UDP, ICMP = 6, 17, 58
CLONE_NEWNET = 0x40000000
ETH_P_ALL, PACKET_OUTGOING = 3, 4
PLAIN = bytes(10)
SYN, RST, ACK = 2, 4, 16


def own_network():
    """From here on this process, and all that it starts, have a network of their own."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        raise Skipped("needs root and /dev/net/tun")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise Skipped(f"no network of its own: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # An address that is the host's, and not its node's.
    subprocess.run(["ip", "addr", "add", "fd00::1/128", "dev", "lo"], check=True)


# Packets

def ip(text):
    return socket.inet_pton(socket.AF_INET6, text)


def with_sum(source, target, protocol, data, at):
    """The transport's checksum (RFC 8200, 8.1), in its place."""
    whole = source + target + struct.pack(">II", len(data), protocol) + data + bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(whole) // 2}H", whole))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + struct.pack(">H", ~total & 0xFFFF) + data[at + 2:]


def packet(source, target, protocol, data, length=None, first=6 << 28):
    return struct.pack(">IHBB", first, len(data) if length is None else length, protocol, 64) + source + target + data


def udp(source, target, port, payload, own=4000):
    data = struct.pack(">HHHH", own, port, 8 + len(payload), 0) + payload
    return packet(source, target, UDP, with_sum(source, target, UDP, data, 6))


def tcp(source, target, port, flags=SYN, payload=b"", own=4000):
    data = struct.pack(">HHIIBBHHH", own, port, 7, 7, 5 << 4, flags, 1000, 0, 0) + payload
    return packet(source, target, TCP, with_sum(source, target, TCP, data, 16))


def icmp(source, target, kind, body=bytes(4), code=0):
    data = struct.pack(">BBH", kind, code, 0) + body
    return packet(source, target, ICMP, with_sum(source, target, ICMP, data, 2))


def ipv4(source, target, payload=b"forged"):
    data = struct.pack(">HHHH", 4000, 7, 8 + len(payload), 0) + payload
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(data), 1, 0, 64, UDP, 0)
    return header + socket.inet_aton(source) + socket.inet_aton(target) + data


def offload(flags=0, kind=0, headers=0, segment=0, start=0, offset=0):
    return struct.pack("<BBHHHH", flags, kind, headers, segment, start, offset)


# Places

class Tap:
    """What an interface brings into its host."""

    def __init__(self, name):
        self.end = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.end.bind((name, ETH_P_ALL))
        self.end.setblocking(False)

    def packets(self):
        found = []
        while True:
            try:
                data, (_, _, kind, _, _) = self.end.recvfrom(65_536)
            except BlockingIOError:
                return found
            if kind != PACKET_OUTGOING:
                found.append(data)


class Forger:
    """The hostile node, and the host whose adapter it sends to. `served`: a port of TCP and UDP that it may reach."""

    # The relay grants the first 256 KiB of a stream at once: a tunnel is left before they are used up.
    bytes_of_a_tunnel = 100_000

    def __init__(self, place):
        own_network()
        self.place = place
        self.served, self.closed = free_ports(2)
        rules = "".join(f'[[serve]]\nprotocol = "{protocol}"\nports = [{self.served}]\nto = ["hostile"]\n'
                        for protocol in ("tcp", "udp"))
        self.key = hostile.deploy(place, agent={"extra": rules})
        place.agent.says("session active")
        place.start("adapter", "adapter", "--no-dns", "--socket", place.agent_socket).says("is up")
        self.home = transport_id(place)
        self.tap = Tap("natfwt0")
        self.service = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.service.bind(("::", self.served))
        self.service.settimeout(10)
        self.node = node.Node(place.tunnel_port, self.key)
        # The other side of the relay's word: whose packets come from here.
        self.id = self.own_id()
        self.stream, self.count, self.sent = -1, 0, 0
        self.open()

    def own_id(self):
        self.node.send(frame(node.REACH, struct.pack(">I", 1) + b"\x03" + node.text16("hostile") + bytes(2)))
        answer = self.node.wait(node.REACHED)[2]
        length = answer[6]
        return orchid(answer[7:7 + length])

    def open(self):
        """A tunnel of its own to the host, with a stream of packets in it."""
        if self.stream > 0:
            self.node.send(node.reset(self.stream))
        self.stream += 2
        self.inner = Inner(self.node, self.home, self.stream, self.key)
        self.inner.introduce()
        self.inner.send(frame(node.OPEN, bytes([2, 0, 0]) + struct.pack(">Q", 1 << 20), 1))
        self.inner.wait(node.OPENED)
        self.sent = 0

    def send(self, *frames):
        data = b"".join(frame(node.DATAGRAM, piece, 1) for piece in frames)
        self.sent += len(data)
        self.inner.send(data)

    def good(self):
        """A datagram that is served comes in, and so everything that was sent before it has come to where it is judged.
        What came out of the interface, but for the good one."""
        self.count += 1
        payload = b"good %d" % self.count
        whole = udp(self.id, self.home, self.served, payload)
        self.send(PLAIN + whole)
        while self.service.recv(65_536) != payload:
            pass
        # Now that all has come: a reset overtakes what is under way.
        if self.sent >= self.bytes_of_a_tunnel:
            self.open()
        found = self.tap.packets()
        check(found[-1:] == [whole], f"good {self.count} is not what came last: {found[-1:]}")
        return found[:-1]

    def dropped(self):
        return self.place.status("agent")["adapter"]["dropped"]

    def repelled(self, cases):
        """None of the frames comes in, and each is counted for what it is."""
        check(self.good() == [], "at first")
        before = self.dropped()
        for name, (reason, data) in cases.items():
            self.send(data)
            came = self.good()
            check(came == [], f"{name} came in: {[data.hex() for data in came]}")
            now = self.dropped()
            found = [key for key in now if now[key] > before[key]]
            check(found == [reason], f"{name} is counted as {found}, not as {reason}")
            before = now


def orchid(identity):
    """A node's transport ID, from its key's hash (RFC 7343, 2)."""
    context = bytes.fromhex("c72e011513bc35abe4350f627ad47c28")
    return b"\x20\x01\x00\x21" + hashlib.sha256(context + identity).digest()[10:22]


# Scenarios

@scenario
def sources_and_targets(place):
    """Nobody speaks for another, and nobody is spoken to in another's place."""
    forger = Forger(place)
    me, home, port = forger.id, forger.home, forger.served
    other = b"\x20\x01\x00\x21" + bytes(11) + b"\x07"
    cases = {}
    for name in ("::", "::1", "fe80::1", "ff02::1", "fd00::1", "2001:db8::1", "2001:20::53", "::ffff:10.0.0.1"):
        cases[f"from {name}"] = ("forged-source", PLAIN + udp(ip(name), home, port, b"forged"))
        cases[f"to {name}"] = ("destination", PLAIN + udp(me, ip(name), port, b"forged"))
    for kind, make in (("udp", lambda a, b: udp(a, b, port, b"forged")), ("tcp", lambda a, b: tcp(a, b, port)),
                       ("ping", lambda a, b: icmp(a, b, 128))):
        for name, source in (("another node", other), ("the host itself", home)):
            cases[f"{kind} from {name}"] = ("forged-source", PLAIN + make(source, home))
        for name, target in (("another node", other), ("the sender", me)):
            cases[f"{kind} to {name}"] = ("destination", PLAIN + make(me, target))
    for target in ("ff01::1", "ff02::2", "ff02::1:ff00:1", "ff05::2", "ff0e::1", "fe80::2"):
        cases[f"ping to {target}"] = ("destination", PLAIN + icmp(me, ip(target), 128))
    for name, data in (("IPv4", ipv4("10.0.0.1", "127.0.0.1")), ("IPv4 broadcast", ipv4("0.0.0.0", "255.255.255.255")),
                       ("ARP", bytes.fromhex("0001080006040001") + bytes(52)), ("version 0", bytes(60)),
                       ("version 15", b"\xff" * 60)):
        cases[name] = ("not-ipv6", PLAIN + data)
    forger.repelled(cases)
    # Through any of several streams, and from a tunnel beside it.
    forger.inner.send(frame(node.OPEN, bytes([2, 0, 0]) + struct.pack(">Q", 1 << 20), 3))
    forger.inner.wait(node.OPENED)
    forger.inner.send(frame(node.DATAGRAM, PLAIN + udp(other, home, port, b"forged"), 3))
    check(forger.good() == [], "it came in by another stream")


@scenario
def unserved(place):
    """What is not served, what answers nothing, and what nobody needs."""
    forger = Forger(place)
    me, home, port, closed = forger.id, forger.home, forger.served, forger.closed
    cases = {
        "udp": ("not-served", PLAIN + udp(me, home, closed, b"x")),
        "udp to port 0": ("not-served", PLAIN + udp(me, home, 0, b"x")),
        "an answer to no question of DNS": ("not-served", PLAIN + udp(me, home, closed, b"x", own=53)),
        "an answer to no ping": ("not-served", PLAIN + icmp(me, home, 129)),
    }
    for name, flags in (("SYN", SYN), ("ACK", ACK), ("SYN, ACK", SYN | ACK), ("RST", RST), ("none", 0), ("all", 255)):
        cases[f"tcp, {name}"] = ("not-served", PLAIN + tcp(me, home, closed, flags))
    for kind, name in ((133, "router solicitation"), (134, "router advertisement"), (135, "neighbour solicitation"),
                       (136, "neighbour advertisement"), (137, "redirect"), (130, "MLD query"), (0, "type 0"), (255, "255")):
        cases[name] = ("protocol", PLAIN + icmp(me, home, kind, bytes(20)))
    excerpt = udp(home, me, 9, b"never sent")
    for kind, name in ((1, "unreachable"), (2, "too big"), (3, "time exceeded"), (4, "parameter problem")):
        cases[f"{name}, of no flow"] = ("not-served", PLAIN + icmp(me, home, kind, struct.pack(">I", 500) + excerpt))
        cases[f"{name}, of others"] = (
            "forged-source", PLAIN + icmp(me, home, kind, bytes(4) + udp(ip("fd00::1"), me, 9, b"x")))
        cases[f"{name}, of rubbish"] = ("malformed", PLAIN + icmp(me, home, kind, bytes(4) + os.urandom(40)))
    data = udp(me, home, port, b"x")[40:]
    # What may stand between IPv6's header and the transport's: its first byte says what comes next.
    for protocol, name in ((43, "routing"), (50, "ESP"), (51, "AH"), (59, "nothing"), (135, "mobility"), (41, "IPv6 in it"),
                           (4, "IPv4 in it"), (47, "GRE"), (132, "SCTP"), (255, "reserved")):
        cases[name] = ("protocol", PLAIN + packet(me, home, protocol, bytes([UDP]) + bytes(7) + data))
    cases["options on every hop, not first"] = (
        "protocol", PLAIN + packet(me, home, 60, bytes([0]) + bytes(7) + bytes([UDP]) + bytes(7) + data))
    cases["too many options"] = ("protocol", PLAIN + packet(me, home, 60, (bytes([60]) + bytes(7)) * 20 + data))
    for offset in (0, 1, 8, 0xFFF8):
        body = bytes([UDP, 0]) + struct.pack(">HI", offset, 7) + data
        cases[f"a fragment at {offset}"] = ("fragment", PLAIN + packet(me, home, 44, body))
    forger.repelled(cases)


@scenario
def truncated(place):
    """Parts of packets, and headers that say what is not so."""
    forger = Forger(place)
    me, home, port = forger.id, forger.home, forger.served
    cases = {}
    for whole in (udp(me, home, port, b"x"), tcp(me, home, port), icmp(me, home, 128)):
        for length in range(10 + len(whole)):
            cases[f"{length} bytes of {whole[6]}"] = ("malformed", (PLAIN + whole)[:length])
    data = udp(me, home, port, b"x")[40:]
    for length in (0, 1, len(data) - 1, len(data) + 1, 65_535):
        cases[f"length {length}"] = ("malformed", PLAIN + packet(me, home, UDP, data, length))
    for words in (0, 4, 15):
        segment = bytearray(tcp(me, home, port))
        segment[40 + 12] = words << 4
        cases[f"TCP's header of {words} words"] = ("malformed", PLAIN + bytes(segment))
    cases["options past the end"] = ("malformed", PLAIN + packet(me, home, 60, bytes([UDP, 255]) + bytes(6) + data))
    forger.repelled(cases)


@scenario
def offloads(place):
    """Headers that ask the kernel to cut and to sum what is not there."""
    forger = Forger(place)
    me, home, port = forger.id, forger.home, forger.served
    cases = {}

    def case(name, whole, **values):
        cases[name] = ("malformed", offload(**values) + whole)

    small, large = udp(me, home, port, b"x" * 100), udp(me, home, port, b"x" * 1_200)
    segments = tcp(me, home, port, ACK, b"x" * 10_000)
    syn = tcp(me, home, port)
    for kind in (1, 2, 3, 6, 7, 64, 127, 0x80, 0x81, 0x85, 0xFF):
        case(f"kind {kind}", small, flags=1, kind=kind, segment=10, start=40, offset=6)
    for name, whole, right in (("udp", large, {"kind": 5, "segment": 100, "start": 40, "offset": 6}),
                               ("tcp", segments, {"kind": 4, "segment": 100, "start": 40, "offset": 16})):
        case(f"{name}: not to be summed", whole, **right)
        case(f"{name}: as the other", whole, flags=1, **{**right, "kind": 9 - right["kind"]})
        for key, values in (("start", (0, 39, 41, 48, 65_535)), ("offset", (0, 5, 7, 15, 17, 65_535)), ("segment", (0,))):
            for value in values:
                case(f"{name}: {key} {value}", whole, flags=1, **{**right, key: value})
    case("tcp: a byte a segment", segments, flags=1, kind=4, segment=1, start=40, offset=16)
    case("udp: more than 128 of them", large, flags=1, kind=5, segment=9, start=40, offset=6)
    for name, whole in (("a small packet", small), ("a SYN", syn)):
        for start, offset in ((0, 0), (8, 16), (40, 65_535), (65_535, 6), (65_535, 65_535), (len(whole), 0)):
            case(f"{name}: sum of {start} at {offset}", whole, flags=1, start=start, offset=offset)
    forger.repelled(cases)
    # What is not for others to say is not believed, and the rest is: how long the headers are, that the sum is right.
    payload = b"forged"
    wrong = bytearray(udp(me, home, port, payload))
    wrong[46] ^= 0x55
    forger.send(offload(flags=2) + bytes(wrong))
    check(forger.good() == [bytes(wrong)], "a wrong sum is for the kernel to find")
    forger.send(offload(flags=0xFE, headers=65_535, segment=65_535, start=65_535, offset=65_535) + udp(
        me, home, port, b"headers"))
    check(forger.service.recv(100) == b"headers", "the kernel has taken the wrong sum")
    forger.good()


@scenario
def mutated(place):
    """Good packets with bytes turned over, at random: whatever comes in is the sender's own, and for what it may reach."""
    forger = Forger(place)
    me, home, port = forger.id, forger.home, forger.served
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    wholes = [
        PLAIN + udp(me, home, port, b"x" * 40), PLAIN + tcp(me, home, port), PLAIN + icmp(me, home, 128),
        offload(1, 5, 0, 100, 40, 6) + udp(me, home, port, b"x" * 1_000),
        offload(1, 4, 0, 100, 40, 16) + tcp(me, home, port, ACK, b"x" * 900),
        PLAIN + icmp(me, home, 1, bytes(4) + udp(home, me, 9, b"x")), PLAIN + ipv4("10.0.0.1", "10.0.0.2")]
    for _ in range(150):
        frames = []
        for _ in range(10):
            data = bytearray(rng.choice(wholes))
            for _ in range(rng.choice((1, 1, 2, 5))):
                data[rng.randrange(min(len(data), 80))] = rng.choice((0, 1, 255, rng.randrange(256)))
            frames.append(bytes(data[:rng.choice((len(data), rng.randrange(len(data) + 1)))]))
        forger.send(*frames)
        for came in forger.good():
            sound = came[0] >> 4 == 6 and came[8:24] == me and came[24:40] == home
            check(sound, f"seed {seed}: {came.hex()}")
            if came[6] in (TCP, UDP):
                check(came[42:44] == struct.pack(">H", port), f"seed {seed}, not served: {came.hex()}")
    check(place.agent.is_running() and place.status("agent")["adapter"]["name"] == "natfwt0", "the adapter has ended")
