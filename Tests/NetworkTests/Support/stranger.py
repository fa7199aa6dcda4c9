# SPDX-License-Identifier: Apache-2.0
"""Comes to a node's port for direct connections as somebody whom it does not know, in several ways.

    stranger.py ADDRESS PORT FOLDER KEY     prints `nothing` where it got nothing in any of them

KEY is that of a node which the relay knows.
"""
import os
import socket
import ssl
import struct
import subprocess
import sys

address, port, folder, known = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
GOAWAY, NOT_ALLOWED = 5, 11


def text16(data):
    return struct.pack(">H", len(data)) + data


def frame(kind, payload):
    return struct.pack(">BBHI", kind, 0, len(payload), 0) + payload


def hello():
    return frame(1, struct.pack(">HI", 1, 0) + text16(b"laptop") + bytes(3) + struct.pack(">IQ", 100, 1 << 16))


def connect():
    end = socket.create_connection((address, port), 5)
    end.settimeout(10)
    return end


def tls(certificate=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["natfwt/1"])
    if certificate:
        context.load_cert_chain(*certificate)
    return context.wrap_socket(connect())


def rest(end):
    said = b""
    try:
        while data := end.recv(65536):
            said += data
    except (ConnectionError, ssl.SSLError):
        pass
    return said


# Rubbish: at the most an alert comes, and the end.
for rubbish in (b"GET / HTTP/1.0\r\n\r\n", bytes(1000), os.urandom(3000), b"\x16\x03\x01\x40\x00"):
    with connect() as end:
        end.sendall(rubbish)
        end.shutdown(socket.SHUT_WR)
        said = rest(end)
        assert len(said) < 8, said

# No certificate.
try:
    with tls() as end:
        end.sendall(hello())
        assert not (said := rest(end)), said
except (ConnectionError, ssl.SSLError):
    pass

# A key that nobody knows, and one that the relay knows.
fresh, certificate = f"{folder}/stranger.key", f"{folder}/stranger.crt"
for key, new in ((fresh, ["-newkey", "ed25519", "-nodes", "-keyout", fresh]), (known, ["-key", known])):
    subprocess.run(["openssl", "req", "-x509", *new, "-out", certificate, "-subj", "/CN=laptop", "-days", "3650"],
                   check=True, capture_output=True)
    with tls((certificate, key)) as end:
        end.sendall(hello())
        said = rest(end)
        kind, _, length, _, code = struct.unpack(">BBHII", said[:12])
        assert (kind, code) == (GOAWAY, NOT_ALLOWED) and len(said) == 8 + length, said
print("nothing")
