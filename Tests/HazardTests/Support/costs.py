# SPDX-License-Identifier: Apache-2.0
"""What connections cost, as JSON. Of each way it is the time that one of ten stays below: what else the machine does may
only add to that.

    costs.py connect ADDRESS PORT [SOCKS]   microseconds, the ways in turn: connect(2) that waits; the call of one that does
                                            not; with SOCKS, from a SOCKS5 request to its reply, which is the same way there
                                            without a redirected socket
    costs.py bulk ADDRESS PORT BYTES        the processor's seconds for sending as many
    costs.py library                        KiB that are this process's own of the library in it
"""
import ipaddress
import json
import os
import socket
import statistics
import struct
import sys
import time

TIMES = 300


def timed(body):
    begin = time.perf_counter()
    body()
    return (time.perf_counter() - begin) * 1e6


def stream(ip):
    return socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)


def waiting(ip, port):
    with stream(ip) as end:
        return timed(lambda: end.connect((ip, port)))


def calling(ip, port):
    with stream(ip) as end:
        end.setblocking(False)
        return timed(lambda: end.connect_ex((ip, port)))


def proxy(ip, port, socks):
    address = ipaddress.ip_address(ip)
    request = b"\5\1\0" + (b"\4" if address.version == 6 else b"\1") + address.packed + struct.pack("!H", port)
    with socket.create_connection(("127.0.0.1", socks)) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.sendall(b"\5\1\0")
        assert end.recv(2) == b"\5\0"

        def ask():
            end.sendall(request)
            assert end.recv(100)[1] == 0
        return timed(ask)


def connect(ip, port, socks=None):
    ways = {"waiting": lambda: waiting(ip, port), "calling": lambda: calling(ip, port)}
    if socks:
        ways["proxy"] = lambda: proxy(ip, port, socks)
    times = {name: [] for name in ways}
    for _ in range(TIMES):
        for name, way in ways.items():
            times[name].append(way())
            time.sleep(0.001)
    return {name: statistics.quantiles(found, n=10)[0] for name, found in times.items()}


def bulk(ip, port, count):
    payload = bytes(1 << 18)
    with stream(ip) as end:
        end.connect((ip, port))
        before = os.times()
        for _ in range(count // len(payload)):
            end.sendall(payload)
        end.shutdown(socket.SHUT_WR)
        end.recv(1)
        after = os.times()
    return {"seconds": after.user + after.system - before.user - before.system}


def library():
    own, is_its = 0, False
    with open("/proc/self/smaps", encoding="ascii", errors="replace") as file:
        for line in file:
            if "-" in line.split(" ")[0]:
                is_its = "libnatfwt-run.so" in line
            elif is_its and line.startswith("Private_"):
                own += int(line.split()[1])
    return {"own": own}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:3], *map(int, sys.argv[3:]))))
