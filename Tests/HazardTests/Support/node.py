# SPDX-License-Identifier: Apache-2.0
"""A node written by hand: TLS from Python's ssl module, the tunnel's frames byte by byte, right or wrong as asked."""
import base64
import os
import socket
import ssl
import struct
import subprocess
import time

(HELLO, WELCOME, PING, PONG, GOAWAY, OPEN, OPENED, DATA, CREDIT, RESET, DATAGRAM, EXPOSE, EXPOSED, UNEXPOSE, REACH,
 REACHED, SIGNAL) = range(1, 18)
FIN, SKIPPABLE = 0x01, 0x80


def frame(kind, payload=b"", stream=0, flags=0, length=None):
    return struct.pack(">BBHI", kind, flags, len(payload) if length is None else length, stream) + payload


def text16(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">H", len(data)) + data


def bytes8(data):
    return bytes([len(data)]) + data


def hello(token=b"", name="hostile", version=1, streams=20000, window=1 << 16):
    payload = struct.pack(">HI", version, 0) + text16(name) + bytes8(b"") + bytes8(b"") + bytes8(token)
    return frame(HELLO, payload + struct.pack(">IQ", streams, window))


def expose(number, port, name="x", transport=1):
    return frame(EXPOSE, struct.pack(">IBH", number, transport, port) + text16(name))


def unexpose(number):
    return frame(UNEXPOSE, struct.pack(">I", number))


def address(port):
    return b"\x04\x7f\x00\x00\x01" + struct.pack(">H", port)


def signal(*candidates, count=None):
    """SIGNAL with pairs of an address and a port."""
    payload = bytes([len(candidates) if count is None else count])
    for host, port in candidates:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        payload += bytes([6 if ":" in host else 4]) + socket.inet_pton(family, host) + struct.pack(">H", port)
    return frame(SIGNAL, payload, flags=SKIPPABLE)


def open_stream(stream, port=80, window=1 << 18, kind=1):
    return frame(OPEN, bytes([kind]) + address(port) + address(1) + struct.pack(">Q", window), stream)


def opened(stream, window=1 << 18):
    return frame(OPENED, struct.pack(">Q", window), stream)


def credit(stream, granted, received, flags=0):
    return frame(CREDIT, struct.pack(">QQ", granted, received), stream, flags)


def reset(stream, code=0):
    return frame(RESET, struct.pack(">I", code), stream)


def token(invite):
    """The token in an invite's line: behind the relay's key."""
    body = invite.split(".", 1)[1]
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))[32:48]


class Key:
    """A key with a certificate around it, made by the openssl command."""

    def __init__(self, folder, name="hostile", key=None):
        self.key, self.certificate = key or f"{folder}/{name}.key", f"{folder}/{name}.crt"
        if not os.path.exists(self.certificate):
            new = ["-key", self.key] if key else ["-newkey", "ed25519", "-nodes", "-keyout", self.key]
            subprocess.run(
                ["openssl", "req", "-x509", *new, "-out", self.certificate, "-subj", "/CN=node", "-days", "3650"],
                check=True, capture_output=True)


def context(key=None, alpn="natfwt/1"):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    if alpn:
        made.set_alpn_protocols([alpn])
    if key:
        made.load_cert_chain(key.certificate, key.key)
    return made


class Node:
    """One connection to a relay."""

    def __init__(self, port, key=None, token=b"", introduce=True, seconds=60.0, alpn="natfwt/1", buffer=None,
                 wrap=None):
        plain = socket.socket()
        if buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.settimeout(seconds)
        plain.connect(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made = context(key, alpn)
        self.end = wrap(plain, made) if wrap else made.wrap_socket(plain)
        self.buffer = b""
        self.seen = []
        if introduce:
            self.send(hello(token))
            kind, _, payload, _ = self.wait(WELCOME, GOAWAY)
            if kind == GOAWAY:
                raise ConnectionError(payload[6:].decode(errors="replace"))

    def send(self, data):
        self.end.sendall(data)

    def read(self):
        """The next frame: type, flags, payload, stream. None at the end."""
        while True:
            if len(self.buffer) >= 8:
                kind, flags, length, stream = struct.unpack(">BBHI", self.buffer[:8])
                if len(self.buffer) >= 8 + length:
                    payload, self.buffer = self.buffer[8:8 + length], self.buffer[8 + length:]
                    return kind, flags, payload, stream
            data = self.end.recv(65536)
            if not data:
                return None
            self.buffer += data

    def wait(self, *kinds):
        """The next frame of one of these types; PINGs on the way are answered."""
        while True:
            found = self.read()
            if found is None:
                raise ConnectionError("the relay closed the connection")
            if found[0] in kinds:
                return found
            if found[0] == PING:
                self.send(frame(PONG, found[2]))

    def expose(self, number, port, name="x", transport=1):
        self.send(expose(number, port, name, transport))
        payload = self.wait(EXPOSED)[2]
        given = struct.unpack(">IH", payload[:6])[1]
        if not given:
            raise ConnectionError(payload[8:].decode(errors="replace"))
        return given

    def ended(self, seconds=60.0):
        """Reads until the relay ends the connection: the text of its GOAWAY, or an empty text."""
        self.end.settimeout(seconds)
        text = ""
        deadline = time.monotonic() + seconds
        try:
            while (found := self.read()) is not None:
                if found[0] == GOAWAY:
                    text = found[2][6:].decode(errors="replace")
                if time.monotonic() > deadline:
                    raise TimeoutError
        except TimeoutError as error:
            raise AssertionError("the relay keeps the connection") from error
        except OSError:
            pass
        return text

    def close(self):
        self.end.close()
