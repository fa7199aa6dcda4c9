# SPDX-License-Identifier: Apache-2.0
"""What connections cost: prints, as JSON, the median microseconds of each way that is asked for.

    costs.py direct ADDRESS PORT        connect(2) that waits, and the call of one that does not
    costs.py proxy ADDRESS PORT SOCKS   from a SOCKS5 request to its reply: the same way there without a redirected socket
    costs.py bulk ADDRESS PORT BYTES    the processor's seconds for sending as many
    costs.py library                    KiB that are this process's own of the library in it
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


def direct(ip, port):
    waiting, calling = [], []
    for _ in range(TIMES):
        with stream(ip) as end:
            waiting.append(timed(lambda: end.connect((ip, port))))
        with stream(ip) as end:
            end.setblocking(False)
            calling.append(timed(lambda: end.connect_ex((ip, port))))
            time.sleep(0.001)
    return {"waiting": statistics.median(waiting), "calling": statistics.median(calling)}


def proxy(ip, port, socks):
    address = ipaddress.ip_address(ip)
    request = b"\5\1\0" + (b"\4" if address.version == 6 else b"\1") + address.packed + struct.pack("!H", port)
    times = []
    for _ in range(TIMES):
        with socket.create_connection(("127.0.0.1", socks)) as end:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.sendall(b"\5\1\0")
            assert end.recv(2) == b"\5\0"

            def ask():
                end.sendall(request)
                assert end.recv(100)[1] == 0
            times.append(timed(ask))
        time.sleep(0.001)
    return {"waiting": statistics.median(times)}


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
