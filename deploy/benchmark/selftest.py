# SPDX-License-Identifier: Apache-2.0
"""Proves that the load generator's verify mode finds what a relay could do wrong.

A proxy that does it on purpose stands in the relay's place: verify must fail through it, and pass through one that does nothing.
Prints a line a case; the exit status is 0 when all came out as expected.
"""

import json
import socket
import subprocess
import sys
import threading

import machine
from place import LOOPBACK, address

FAULT_AT = 100_000  # the byte of the download at which a fault happens
TIMEOUT = 90


def copy(source, target, change):
    """Copies until the end, and passes the end on. `change(offset, bytes)` gives what is sent instead, or None to cut."""
    offset = 0
    try:
        while data := source.recv(65536):
            changed = change(offset, data)
            if changed is None:
                break
            offset += len(data)
            target.sendall(changed)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def at_fault(offset, data, fault):
    """Applies `fault(data, index)` where the byte FAULT_AT is in `data`."""
    index = FAULT_AT - offset
    return fault(data, index) if 0 <= index < len(data) else data


def flip(data, index):
    return data[:index] + bytes([data[index] ^ 0x10]) + data[index + 1:]


def swap(data, index):
    if index + 16 > len(data):
        index = max(0, len(data) - 16)
    return data[:index] + data[index + 8:index + 16] + data[index:index + 8] + data[index + 16:]


def same(offset, data):
    return data


def faulty(fault):
    return lambda offset, data: at_fault(offset, data, fault)


FAULTS = {
    "nothing": same,
    "a bit flipped": faulty(flip),
    "a byte lost": faulty(lambda data, index: data[:index] + data[index + 1:]),
    "a byte twice": faulty(lambda data, index: data[:index + 1] + data[index:]),
    "two words swapped": faulty(swap),
    "the stream cut": faulty(lambda data, index: None),
}


def carry(visitor, backend_port, change_up, change_down):
    with visitor, socket.create_connection((LOOPBACK, backend_port)) as service:
        up = threading.Thread(target=copy, args=(visitor, service, change_up), daemon=True)
        up.start()
        copy(service, visitor, change_down)
        up.join(5)


def serve(listener, backend_port, change_up, change_down):
    while True:
        try:
            visitor = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=carry, args=(visitor, backend_port, change_up, change_down), daemon=True).start()


def verify(load, backend_port, change_up, change_down):
    """The exit status and the report of verify through a proxy."""
    with socket.create_server((LOOPBACK, 0), backlog=256) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=serve, args=(listener, backend_port, change_up, change_down), daemon=True).start()
        command = [load, "verify", "--target", address(port), "--backend", address(backend_port), "--connections", "200",
                   "--concurrency", "16", "--bytes", "4MiB", "--streams", "2"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        listener.shutdown(socket.SHUT_RDWR)
    return done.returncode, done.stdout


def check(load, backend_port, name, direction, change):
    up, down = (change, same) if direction == "up" else (same, change)
    status, printed = verify(load, backend_port, up, down)
    expected = 0 if name == "nothing" else 1
    right = status == expected and json.loads(printed)["right"] == (expected == 0)
    print(f"{'ok' if right else 'WRONG'}: {name}, {direction}: verify ended with status {status}")
    return right


def main():
    load = machine.build_load_generator()
    with socket.create_server((LOOPBACK, 0)) as probe:
        port = probe.getsockname()[1]
    backend = subprocess.Popen([load, "backend", "--target", address(port)], stdout=subprocess.PIPE, text=True)
    try:
        backend.stdout.readline()
        results = [check(load, port, name, direction, change)
                   for name, change in FAULTS.items() for direction in ("down", "up")]
    finally:
        backend.terminate()
        backend.wait()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
