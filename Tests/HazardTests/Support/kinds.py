# SPDX-License-Identifier: Apache-2.0
"""What the kernel says to sockets that are neither TCP nor UDP: the same, whether under `natfwt run` or not. Prints it.

    kinds.py NODE-V4 NODE-V6 PORT
"""
import array
import errno
import os
import socket
import struct
import sys
import tempfile

V4, V6, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
SCTP, UDP_LITE, NETLINK_ROUTE, RTM_GETLINK = 132, 136, 0, 18


def outcome(name, *steps):
    """What each step comes to, up to the first that fails."""
    said = []
    try:
        for step in steps:
            said.append(step())
    except OSError as error:
        said.append(errno.errorcode.get(error.errno, str(error)))
    print(name, *said)


def local():
    """AF_UNIX, with a descriptor on the way."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        near = socket.socket(socket.AF_UNIX)
        near.connect(path)
        far, _ = listener.accept()
        socket.send_fds(near, [b"take"], [1])
        data, found, _, _ = socket.recv_fds(far, 10, 1)
        for number in found:
            os.close(number)
        names = near.getpeername() == path, data, len(found)
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        end.bind("\0natfwt-kinds-%d" % os.getpid())
        end.sendto(b"mine", end.getsockname())
        data, sender = end.recvfrom(10)
        return names, data, sender == end.getsockname()


def netlink():
    end = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    end.connect((0, 0))
    end.send(struct.pack("=IHHII", 32, RTM_GETLINK, 0x301, 1, 0) + bytes(16))
    data, sender = end.recvfrom(65_536)
    return sender, end.getpeername(), struct.unpack("=H", data[4:6])[0]


def raw(family, protocol, ip):
    """To loopback it comes back; to a node it finds the way that the host has."""
    end = socket.socket(family, socket.SOCK_RAW, protocol)
    end.settimeout(10)
    if family == socket.AF_INET:
        end.sendto(b"raw", ("127.0.0.1", 0))
        found = end.recv(100)[20:]
    else:
        end.sendto(b"raw", ("::1", 0))
        found = end.recv(100)
    return found, end.connect_ex((ip, 0)), end.getsockname()[0]


def lite():
    """UDP-Lite (RFC 3828), to this host and connected to a node."""
    near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM, UDP_LITE) for _ in range(2))
    far.bind(("127.0.0.1", 0))
    far.settimeout(10)
    near.sendto(b"lite", far.getsockname())
    return far.recvfrom(10)[0], near.connect_ex((V4, PORT)), near.getsockname()[0]


def lite_to_node():
    end = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, UDP_LITE)
    return end.sendto(b"lite", (V6, PORT))


def waiting():
    pair = socket.socketpair()
    pair[0].send(b"xyz")
    pending = array.array("i", [0])
    import fcntl
    import termios
    fcntl.ioctl(pair[1], termios.FIONREAD, pending)
    return pending[0]


def vsock():
    """It does not wait: a hypervisor that does not listen answers one moment so and one moment so, or never."""
    end = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    end.setblocking(False)
    return end.connect_ex((2, PORT))


outcome("AF_UNIX", local, waiting)
outcome("netlink", netlink)
outcome("raw IPv4", lambda: raw(socket.AF_INET, 253, V4))
outcome("raw IPv6", lambda: raw(socket.AF_INET6, 253, V6))
outcome("UDP-Lite", lite, lite_to_node)
for family, ip in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
    outcome("SCTP", lambda: socket.socket(family, socket.SOCK_STREAM, SCTP).connect_ex((ip, PORT)))
    outcome("ping", lambda: socket.socket(family, socket.SOCK_DGRAM, 1 if family == socket.AF_INET else 58).connect_ex((ip, 0)))
outcome("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).getsockname()[:2])
outcome("vsock", vsock)
outcome("no such protocol", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 77))
