# SPDX-License-Identifier: Apache-2.0
"""What passes at a port of this machine, as somebody on the way sees it.

    records.py PORT SECONDS TEXT

Listens on all interfaces for the TCP segments of connections at the port, for so long, and prints one line of JSON: how many
connections there were, whether the text stood in any of them in clear, and for each direction the types of its TLS records in
order, equal ones in a row once.
"""
import json
import socket
import struct
import sys
import time

ETH_P_ALL = 3
IPV4, IPV6, TCP = 0x0800, 0x86DD, 6


def segment(frame):
    """Source, destination, sequence number and payload of a TCP segment, or None."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == IPV4 and frame[23] == TCP:
        start, end = 14 + (frame[14] & 15) * 4, 14 + struct.unpack_from("!H", frame, 16)[0]
        hosts = frame[26:30], frame[30:34]
    elif kind == IPV6 and frame[20] == TCP:
        start, end = 54, 54 + struct.unpack_from("!H", frame, 18)[0]
        hosts = frame[22:38], frame[38:54]
    else:
        return None
    ports = struct.unpack_from("!HH", frame, start)
    sequence = struct.unpack_from("!I", frame, start + 4)[0]
    payload = frame[start + (frame[start + 12] >> 4) * 4:end]
    return (hosts[0], ports[0]), (hosts[1], ports[1]), sequence, payload


def capture(port, seconds):
    """The payloads of each direction by their sequence numbers."""
    flows = {}
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    end.settimeout(0.1)
    print("listening", flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            found = segment(end.recv(1 << 17))
        except TimeoutError:
            continue
        if found and port in (found[0][1], found[1][1]) and found[3]:
            flows.setdefault(found[:2], {})[found[2]] = found[3]
    return flows


def stream(pieces):
    """The bytes of a direction from its first segment on, as far as none is missing."""
    first = min(pieces)
    whole = bytearray()
    for sequence in sorted(pieces):
        place = sequence - first
        if place > len(whole):
            break
        if place + len(pieces[sequence]) > len(whole):
            whole[place:] = pieces[sequence]
    return bytes(whole)


def types(data):
    """The types of the TLS records."""
    found, place = [], 0
    while place + 5 <= len(data):
        if not found or found[-1] != data[place]:
            found.append(data[place])
        place += 5 + struct.unpack_from("!H", data, place + 3)[0]
    return found


def main():
    port, seconds, text = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3].encode()
    streams = {flow: stream(pieces) for flow, pieces in capture(port, seconds).items()}
    print(json.dumps({
        "connections": len({frozenset(flow) for flow in streams}),
        "bytes": sum(len(data) for data in streams.values()),
        "found": any(text in data for data in streams.values()),
        "types": [types(data) for data in streams.values()],
    }), flush=True)


main()
