# SPDX-License-Identifier: Apache-2.0
"""Those who are not admitted yet: rubbish, slow hands, wrong keys, too many at once."""
import contextlib
import os
import socket
import ssl
import struct
import threading
import time

import node
from place import Service, check, echo, echoes, rests, scenario, settles, until


def connect(place, seconds=8.0):
    return socket.create_connection(("127.0.0.1", place.tunnel_port), seconds)


def closed_after(end, begin):
    """Seconds until the other side closed."""
    with contextlib.suppress(ConnectionError):
        while end.recv(65536):
            pass
    return time.monotonic() - begin


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = node.context().wrap_bio(incoming, outgoing, server_hostname="relay.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@scenario
def rubbish(place):
    """1, 2, 4, 6: what is not our TLS is closed, at once or at the limit; nothing of it is left."""
    service = Service()
    place.deploy([(place.ports[0], service.port)], relay={"timeouts": {"handshake": "2s"}})
    before = place.relay.descriptors()
    hello = client_hello()
    wrong = [
        b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", os.urandom(65536), bytes(65536),
        b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380), b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x16\x03\x01\xff\xff" + bytes(65535), hello[:1] * 200, hello + hello,
        b"\x16\x03\x01\x00\x00" * 20000, b"\x16\x03\x03\x00\x05\x01\x00\x00\x01\x00",
    ]
    for data in wrong:
        with connect(place) as end:
            begin = time.monotonic()
            with contextlib.suppress(ConnectionError):
                end.sendall(data)
            check(closed_after(end, begin) < 6, f"{data[:20]!r} is not closed in time")
    for kept in (b"", hello[:1], hello[:100]):
        with connect(place) as end:
            begin = time.monotonic()
            end.sendall(kept)
            check(closed_after(end, begin) < 6, f"silence after {len(kept)} bytes is not closed in time")
    # One byte after the other is slow, but right: it must be answered.
    with connect(place) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in hello:
            end.send(bytes([byte]))
        check(end.recv(1) == b"\x16", "a ClientHello in single bytes is not answered")
    # And a drip is not an answer to the limit on time.
    with connect(place) as end:
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in hello:
                end.send(bytes([byte]))
                time.sleep(0.1)
        check(time.monotonic() - begin < 6, "a drip holds the connection past the limit")
    for setting in ("alpn", "none", "old", "name"):
        context = node.context(alpn={"alpn": "h2", "none": None}.get(setting, "natfwt/1"))
        if setting == "old":
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            with connect(place) as plain:
                with context.wrap_socket(plain, server_hostname="a" * 63 if setting == "name" else None) as end:
                    check(not end.recv(1), f"{setting}: the relay speaks")
        except (ssl.SSLError, ConnectionError):
            pass
    settles("the relay's descriptors", place.relay.descriptors, before)
    echo(place.ports[0])
    rests("the relay", place.relay)


@scenario
def handshakes(place):
    """3: half-open handshakes fill their own table; nodes that are there are not touched, and it empties itself."""
    service = Service()
    place.deploy([(place.ports[0], service.port)],
                 relay={"limits": {"handshakes": 100, "handshakes-per-source": 64}})
    before = place.relay.descriptors()
    lines = len(place.relay.log().splitlines())
    begin = time.monotonic()
    ends = []
    while time.monotonic() - begin < 2:
        with contextlib.suppress(OSError):
            ends.append(connect(place, 1))
        if len(ends) % 50 == 0:
            check(place.relay.descriptors() <= before + 110, "more half-open connections than the limit")
    echo(place.ports[0])
    seconds = time.monotonic() - begin
    more = len(place.relay.log().splitlines()) - lines
    check(more < 40 + 20 * seconds, f"{more} lines of log in {seconds:.0f} s for {len(ends)} connections")
    for end in ends:
        end.close()
    settles("the relay's descriptors", place.relay.descriptors, before)
    place.agent.kill()
    place.start_agent()
    place.opened(place.ports[0])


@scenario
def unknown(place):
    """22: thousands of keys and tokens that nobody knows: each is told, the log is not flooded, the owner is served."""
    service = Service()
    place.deploy([(place.ports[0], service.port)])
    key = node.Key(place.folder, "stranger")
    lines = len(place.relay.log().splitlines())
    tried, texts = 0, set()
    begin = time.monotonic()
    while time.monotonic() - begin < 3:
        for secret in (b"", os.urandom(16), b"\0" * 16, b"short", b"x" * 255):
            try:
                node.Node(place.tunnel_port, key, secret).close()
                check(False, "a stranger is let in")
            except ConnectionError as error:
                texts.add(str(error))
            tried += 1
    echo(place.ports[0])
    check(all(texts), f"a refusal without a word: {texts}")
    more = len(place.relay.log().splitlines()) - lines
    seconds = time.monotonic() - begin
    check(more < 40 + 20 * seconds, f"{more} lines of log in {seconds:.0f} s for {tried} refusals")


@scenario
def twins(place):
    """24: one key logs in a hundred times at once: one session is left, and its port works."""
    place.write_relay(limits={"handshakes-per-source": 200})
    place.start_relay()
    key = node.Key(place.folder)
    first = node.Node(place.tunnel_port, key, node.token(place.invite("twin")))
    before = place.relay.descriptors()
    nodes, lock = [first], threading.Lock()

    def login():
        with contextlib.suppress(OSError):
            found = node.Node(place.tunnel_port, key)
            with lock:
                nodes.append(found)
            found.send(node.expose(1, place.ports[0]))

    threads = [threading.Thread(target=login) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Those that were replaced were told why, and are closed.
    told = 0
    last = node.Node(place.tunnel_port, key)
    for one in nodes:
        text = one.ended()
        told += "taken over" in text
        one.close()
    check(told > 90, f"only {told} of {len(nodes)} were told that they are replaced")
    last.expose(1, place.ports[0])
    check(len(place.status()["nodes"]) == 1, "one node is there more than once")
    settles("the relay's descriptors", place.relay.descriptors, before + 2)
    last.close()
    settles("the relay's descriptors", place.relay.descriptors, before - 1)


@scenario
def others_ports(place):
    """25: a node gets nothing of another's: its port, its streams' numbers, its exposures."""
    service = Service()
    place.deploy([(place.ports[0], service.port)])
    key = node.Key(place.folder)
    thief = node.Node(place.tunnel_port, key, node.token(place.invite("thief")))
    try:
        thief.expose(1, place.ports[0])
        check(False, "a port of another node is given away")
    except ConnectionError as error:
        check("another node" in str(error), str(error))
    thief.send(node.unexpose(1))
    thief.send(node.frame(node.PING, b"12345678"))
    thief.wait(node.PONG)
    echo(place.ports[0])
    for text in ("another", "invited"):
        with contextlib.suppress(ConnectionError):
            node.Node(place.tunnel_port, node.Key(place.folder, text)).close()
            check(False, "a node without an invite is let in")
    echo(place.ports[0])
