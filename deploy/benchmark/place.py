# SPDX-License-Identifier: Apache-2.0
"""Where a run happens: its temporary folder, its ports, its backend."""

import socket
import subprocess
import time
from pathlib import Path

LOOPBACK = "127.0.0.1"
FIRST_PORT, LAST_PORT = 20000, 29999  # below the ports that connecting sockets get


def address(port):
    return f"{LOOPBACK}:{port}"


def is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
    return True


class Place:
    """The folder, the ports and the backend that the products of one run share."""

    def __init__(self, folder, load, natfwt, is_own_namespace):
        self.folder = Path(folder)
        self.load = load
        self.natfwt = natfwt
        self.is_own_namespace = is_own_namespace  # and may be changed
        self.next_port = FIRST_PORT
        self.disturbances = []  # of each measurement: the share of the machine that others used
        self.backend_port = self.free_port()
        self.backend = subprocess.Popen([load, "backend", "--target", address(self.backend_port)],
                                        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        if self.backend.stdout.readline() != "ready\n":
            raise RuntimeError("the backend did not start")

    def free_port(self):
        """A port that no one uses and that is given out once."""
        while self.next_port <= LAST_PORT:
            port = self.next_port
            self.next_port += 1
            if is_free(port):
                return port
        raise RuntimeError("no port is left")

    def new_folder(self, name):
        folder = self.folder / f"{name}-{time.monotonic_ns()}"
        folder.mkdir(mode=0o700)
        return folder

    def close(self):
        self.backend.terminate()
        self.backend.wait()


def answers_tcp(port):
    """Whether the backend echoes through this port."""
    command = b"NBM1" + (1).to_bytes(4, "little") + (64).to_bytes(8, "little") + bytes(48)
    try:
        with socket.create_connection((LOOPBACK, port), 1) as connection:
            connection.sendall(command)
            received = b""
            while len(received) < len(command):
                part = connection.recv(64)
                if not part:
                    return False
                received += part
            return received == command
    except OSError:
        return False


def answers_udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.3)
        try:
            probe.connect((LOOPBACK, port))
            probe.send(b"ready?")
            return probe.recv(64) == b"ready?"
        except OSError:
            return False
