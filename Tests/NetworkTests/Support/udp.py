# SPDX-License-Identifier: Apache-2.0
"""UDP from both ends.

    udp.py serve ADDRESS PORT [silent]           echoes each datagram; prints the source of each new one
    udp.py ask ADDRESS PORT COUNT SIZE           sends COUNT datagrams from one socket, each awaited; prints JSON;
                                                 connected, so that answers count from the address asked alone
    udp.py flood ADDRESS PORT COUNT SIZE         sends without waiting, then counts what comes back within a second
    udp.py seen ADDRESS PORT TARGET...           sends from one port to every ADDRESS:PORT given, prints what each echoes
"""
import json
import socket
import sys
import time


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(address, port, *options):
    end = socket.socket(family(address), socket.SOCK_DGRAM)
    end.bind((address, int(port)))
    print("ready", flush=True)
    known = set()
    while True:
        try:
            data, source = end.recvfrom(65536)
        except OSError:
            continue
        if source not in known:
            known.add(source)
            print(f"from {source[0]} {source[1]}", flush=True)
        if data == b"who":
            data = f"{source[0]} {source[1]}".encode()
        if "silent" not in options:
            end.sendto(data, source)


def resolved(address, port):
    return socket.getaddrinfo(address, int(port), type=socket.SOCK_DGRAM)[0]


def ask(address, port, count, size):
    kind, _, _, _, target = resolved(address, port)
    end = socket.socket(kind, socket.SOCK_DGRAM)
    end.settimeout(1)
    end.connect(target)
    answered, worst = 0, 0.0
    for number in range(int(count)):
        data = number.to_bytes(4, "big") + bytes(max(0, int(size) - 4))
        begin = time.monotonic()
        try:
            end.send(data)
            while end.recv(65536) != data:
                pass
            answered += 1
            worst = max(worst, time.monotonic() - begin)
        except OSError:
            pass
    print(json.dumps({"answered": answered, "worst": worst, "port": end.getsockname()[1]}))


def flood(address, port, count, size):
    kind, _, _, _, target = resolved(address, port)
    end = socket.socket(kind, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    for number in range(int(count)):
        try:
            end.sendto(number.to_bytes(4, "big") + bytes(int(size) - 4), target)
        except OSError:
            pass
    end.settimeout(1)
    seen = set()
    try:
        while len(seen) < int(count):
            seen.add(end.recv(65536)[:4])
    except OSError:
        pass
    print(json.dumps({"answered": len(seen)}))


def seen(*targets):
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.settimeout(2)
    answers = []
    for target in targets:
        address, port = target.rsplit(":", 1)
        end.sendto(b"who", (address, int(port)))
        try:
            answers.append(end.recv(100).decode())
        except OSError as error:
            answers.append(str(error))
    print(json.dumps({"local": end.getsockname()[1], "seen": answers}))


{"serve": serve, "ask": ask, "flood": flood, "seen": seen}[sys.argv[1]](*sys.argv[2:])
