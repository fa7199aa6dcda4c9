# SPDX-License-Identifier: Apache-2.0
"""One side of a TCP conversation, played from a list of steps; both ends of a table of cases.

    talk.py connect ADDRESS PORT STEPS         one conversation; prints what came of it as one line of JSON
    talk.py serve ADDRESS PORT STEPS           the same for every connection that comes, until killed

Steps, separated by ';':
    send N       N bytes that the other side can check
    read N       exactly N bytes, or to the end
    drain        to the end, whichever end it is
    fin          half-close: no more will be sent
    reset        closes with a reset, without another word
    close        closes
    pause MS     does nothing for so long
    echo         sends back what comes, until the end
    proxy        reads a PROXY protocol v2 header, and reports the addresses in it

The line: sent, received, sha256 (of what was received), end (eof, reset, timeout, open), failed (how a send ended),
peer (the other's address), proxy (of the header). `expected` is the hash of N bytes as `send` makes them.
"""
import hashlib
import json
import socket
import struct
import sys
import threading
import time

TIMEOUT = 15
CHUNK = 65536
PATTERN = bytes((i * 7 + (i >> 8)) & 0xFF for i in range(1 << 16)) * 2


def content(offset, count):
    start = offset & 0xFFFF
    return PATTERN[start:start + min(count, 1 << 16)]


def name_of(error):
    if isinstance(error, ConnectionResetError):
        return "reset"
    if isinstance(error, BrokenPipeError):
        return "broken pipe"
    if isinstance(error, (TimeoutError, socket.timeout)):
        return "timeout"
    return type(error).__name__


def empty():
    return {
        "sent": 0, "received": 0, "end": "open", "failed": None, "proxy": None, "peer": "",
        "sha256": hashlib.sha256().hexdigest(),
    }


class Talk:
    def __init__(self, end):
        self.end = end
        self.hash = hashlib.sha256()
        self.report = empty()
        end.settimeout(TIMEOUT)
        try:
            self.report["peer"] = end.getpeername()[0]
        except OSError:
            pass  # It is gone already.

    def play(self, steps):
        for step in filter(None, (s.strip() for s in steps.split(";"))):
            word, *arguments = step.split()
            getattr(self, word)(*map(int, arguments))
        self.report["sha256"] = self.hash.hexdigest()
        return self.report

    def send(self, count):
        try:
            while count > 0:
                sent = self.end.send(content(self.report["sent"], min(count, CHUNK)))
                self.report["sent"] += sent
                count -= sent
        except OSError as error:
            self.report["failed"] = name_of(error)

    def receive(self, count):
        """At most `count` bytes; None at the end, of which the report then tells the kind."""
        if self.report["end"] != "open":
            return None  # The kernel tells of a reset once, and of an end of file after it.
        try:
            data = self.end.recv(count)
        except OSError as error:
            self.report["end"] = name_of(error)
            return None
        if not data:
            self.report["end"] = "eof"
            return None
        self.hash.update(data)
        self.report["received"] += len(data)
        return data

    def read(self, count):
        while count > 0:
            data = self.receive(min(count, CHUNK))
            if data is None:
                return
            count -= len(data)

    def drain(self):
        while self.receive(CHUNK) is not None:
            pass

    def echo(self):
        while (data := self.receive(CHUNK)) is not None:
            try:
                self.end.sendall(data)
                self.report["sent"] += len(data)
            except OSError as error:
                self.report["failed"] = name_of(error)

    def fin(self):
        try:
            self.end.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.report["failed"] = name_of(error)

    def reset(self):
        self.end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end.close()

    def close(self):
        self.end.close()

    def pause(self, milliseconds):
        time.sleep(milliseconds / 1000)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.end.recv(count - len(data))
            if not more:
                raise EOFError("the PROXY header was cut short")
            data += more
        return data

    def proxy(self):
        try:
            self.report["proxy"] = self.proxy_header()
        except (OSError, EOFError, ValueError) as error:
            self.report["proxy"] = {"error": str(error)}

    def proxy_header(self):
        head = self.exactly(16)
        if head[:12] != b"\r\n\r\n\x00\r\nQUIT\n":
            raise ValueError(f"not a PROXY v2 signature: {head[:12]!r}")
        version, family, length = struct.unpack("!BBH", head[12:])
        body = self.exactly(length)
        if family == 0x11:
            source, target = socket.inet_ntoa(body[0:4]), socket.inet_ntoa(body[4:8])
            ports = struct.unpack("!HH", body[8:12])
        elif family == 0x21:
            source = socket.inet_ntop(socket.AF_INET6, body[0:16])
            target = socket.inet_ntop(socket.AF_INET6, body[16:32])
            ports = struct.unpack("!HH", body[32:36])
        else:
            raise ValueError(f"family and protocol {family:#x}")
        return {
            "version": version >> 4, "command": version & 15, "source": source, "sourcePort": ports[0],
            "target": target, "targetPort": ports[1],
        }


def expected(count):
    hash = hashlib.sha256()
    offset = 0
    while offset < count:
        data = content(offset, count - offset)
        hash.update(data)
        offset += len(data)
    return hash.hexdigest()


def connect(address, port, steps):
    report = empty()
    try:
        with socket.create_connection((address, port), TIMEOUT) as end:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local = end.getsockname()
            report = Talk(end).play(steps)
        report["local"] = list(local[:2])
    except ConnectionResetError:
        report["end"] = "reset"  # It came before connect() had returned.
    print(json.dumps(report), flush=True)


def serve(address, port, steps):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=1024, dualstack_ipv6=address == "::")
    print("ready", flush=True)

    def one(end):
        with end:
            print(json.dumps(Talk(end).play(steps)), flush=True)

    while True:
        end, _ = listener.accept()
        threading.Thread(target=one, args=(end,), daemon=True).start()


if __name__ == "__main__":
    if sys.argv[1] == "expected":
        print(expected(int(sys.argv[2])))
    else:
        {"connect": connect, "serve": serve}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), sys.argv[4])
