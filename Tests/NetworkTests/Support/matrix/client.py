# SPDX-License-Identifier: Apache-2.0
"""asyncio's clients of an echo service, TCP or UDP: client.py tcp|udp HOST PORT [PROXY, for UDP]"""
import asyncio
import socket
import struct
import sys

TOTAL = 1_000_000
DATAGRAMS = 10
PATIENCE = 20


async def stream(host, port):
    reader, writer = await asyncio.open_connection(host, port)
    peer = writer.get_extra_info("peername")
    assert peer[1] == int(port), peer
    writer.write(bytes(TOTAL))
    writer.write_eof()
    received = await reader.read(-1)
    writer.close()
    print("echoed", len(received))


class Datagrams(asyncio.DatagramProtocol):
    """Sends one datagram after the other, each once the last has come back."""

    def __init__(self, header=b"", relay=None):
        self.header, self.relay, self.count = header, relay, 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def send(self):
        self.sent = self.header + b"%d" % self.count + bytes(100 * self.count)
        self.transport.sendto(self.sent, self.relay)

    def datagram_received(self, data, source):
        if not data.endswith(self.sent[len(self.header):]):
            return self.done.set_exception(AssertionError(data))
        self.count += 1
        if self.count == DATAGRAMS:
            return self.done.set_result(None)
        self.send()

    def error_received(self, error):
        self.done.set_exception(error)


async def datagrams(host, port):
    end = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, remote_addr=(host, port))
    await end[1].done
    peer = end[0].get_extra_info("peername")
    assert peer[1] == int(port), peer
    print("echoed", end[1].count, "datagrams")


async def datagrams_through(proxy, host, port):
    """UDP ASSOCIATE (RFC 1928, 4 and 7)."""
    reader, writer = await asyncio.open_connection(*proxy.rsplit(":", 1))
    writer.write(bytes([5, 1, 0]))
    assert await reader.readexactly(2) == bytes([5, 0])
    writer.write(bytes([5, 3, 0, 1]) + bytes(6))
    reply = await reader.readexactly(10)
    assert reply[1] == 0 and reply[3] == 1, reply
    relay = (socket.inet_ntoa(reply[4:8]), struct.unpack("!H", reply[8:])[0])
    name = host.encode()
    header = bytes([0, 0, 0, 3, len(name)]) + name + struct.pack("!H", int(port))
    end = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Datagrams(header, relay), family=socket.AF_INET)
    await end[1].done
    print("echoed", end[1].count, "datagrams")


kind, host, port, *proxy = sys.argv[1:]
work = stream(host, port) if kind == "tcp" else datagrams_through(*proxy, host, port) if proxy else datagrams(host, port)
asyncio.run(asyncio.wait_for(work, PATIENCE))
