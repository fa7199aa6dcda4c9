# SPDX-License-Identifier: Apache-2.0
"""Connects to a port over and over, says a byte and waits for its echo; tells when that begins and ceases to work.

    prober.py ADDRESS PORT          prints `up SECONDS` and `down SECONDS` (Unix time) whenever it changes
"""
import socket
import sys
import time

address, port = sys.argv[1], int(sys.argv[2])


def answers():
    try:
        with socket.create_connection((address, port), 0.5) as end:
            end.settimeout(0.5)
            end.sendall(b"?")
            return end.recv(1) == b"?"
    except OSError:
        return False


state = None
while True:
    now = answers()
    if now != state:
        print("up" if now else "down", f"{time.time():.4f}", flush=True)
        state = now
    time.sleep(0.005)
