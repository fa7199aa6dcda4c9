# SPDX-License-Identifier: Apache-2.0
"""Says the wrong thing to a TLS port, or nothing, on COUNT connections at once, and tells how they ended.

    rubbish.py KIND ADDRESS PORT COUNT        KIND: silence, http, ssh, random, zeros, drip, half, oversized, alert

Prints `opened N`, and at the end one line of JSON: how many were closed by the other side, how many still are open
after 30 seconds, and the longest time until a close, in seconds.
"""
import json
import os
import resource
import select
import socket
import ssl
import sys
import time

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = context.wrap_bio(incoming, outgoing, server_hostname="relay.test")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def opening(kind):
    hello = client_hello()
    return {
        "silence": b"",
        "http": b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n",
        "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
        "random": os.urandom(65536),
        "zeros": bytes(65536),
        "drip": hello,
        "half": hello[:len(hello) // 2],
        # A handshake message that says it is 16 MiB long, and goes on and on.
        "oversized": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380),
        "alert": b"\x15\x03\x03\x00\x02\x02\x28",
    }[kind]


def main(kind, address, port, count):
    first = opening(kind)
    ends, begin = {}, {}
    for _ in range(count):
        try:
            end = socket.create_connection((address, port), 3)
        except OSError:
            continue
        end.setblocking(False)
        ends[end.fileno()] = end
        begin[end.fileno()] = time.monotonic()
        if first and kind != "drip":
            try:
                end.send(first)
            except OSError:
                pass
    print(f"opened {len(ends)}", flush=True)
    opened, longest, position = len(ends), 0.0, 0
    poll = select.poll()
    for number in ends:
        poll.register(number, select.POLLIN)
    deadline = time.monotonic() + 30
    while ends and time.monotonic() < deadline:
        for number, _ in poll.poll(200):
            try:
                over = not ends[number].recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                over = True
            if over:
                longest = max(longest, time.monotonic() - begin[number])
                poll.unregister(number)
                ends.pop(number).close()
        if kind == "drip" and position < len(first):
            for end in ends.values():
                try:
                    end.send(first[position:position + 1])
                except OSError:
                    pass
            position += 1
    print(json.dumps({"opened": opened, "closed": opened - len(ends), "open": len(ends), "longest": longest}))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
