# SPDX-License-Identifier: Apache-2.0
"""What runs under `natfwt run`: applications that do odd things with sockets. Each probe says nothing where all is as on
a real network.

    probe.py ECHO-PORT CLOSED-PORT DEAF-PORT NAME...
"""
import asyncio
import contextlib
import ctypes
import errno
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import threading
import time

HOME = "home.natfwt.internal"
BIND_ADDRESS_NO_PORT = 24  # ip(7)
IPPROTO_MPTCP = 262
ECHO, CLOSED, DEAF = map(int, sys.argv[1:4])
V6 = socket.getaddrinfo(HOME, 0, socket.AF_INET6)[0][4][0]
V4 = socket.gethostbyname(HOME)


def same(found, wanted):
    if found != wanted:
        raise AssertionError(f"{found!r}, not {wanted!r}")


def everything(end):
    end.settimeout(20)
    data = b""
    while piece := end.recv(65536):
        data += piece
    return data


def echoes(end, payload=b"payload"):
    end.sendall(payload)
    end.shutdown(socket.SHUT_WR)
    same(everything(end), payload)
    end.close()


def stream(family=socket.AF_INET6, blocks=True):
    end = socket.socket(family, socket.SOCK_STREAM)
    end.setblocking(blocks)
    return end


def connected(family=socket.AF_INET6):
    end = stream(family)
    end.settimeout(20)
    end.connect((V6 if family == socket.AF_INET6 else V4, ECHO))
    return end


def failed(end, seconds=20):
    """What poll and SO_ERROR make of a connection that is being made."""
    poll = select.poll()
    poll.register(end, select.POLLOUT)
    check = poll.poll(seconds * 1000)
    if not check:
        raise AssertionError("nothing comes of it")
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


# Names

def names():
    same(V6.startswith("2001:2"), True)
    same(V4.startswith(("198.18.", "198.19.")), True)
    same(socket.gethostbyname(HOME.upper() + "."), V4)
    found = socket.getaddrinfo(HOME, "https", 0, socket.SOCK_STREAM, 0, socket.AI_CANONNAME)
    same(found, [(socket.AF_INET6, socket.SOCK_STREAM, 6, HOME, (V6, 443, 0, 0))])
    same(socket.gethostbyname_ex(HOME)[2], [V4])
    for name in ("nobody.natfwt.internal", "not_a_name.natfwt.internal"):
        try:
            socket.getaddrinfo(name, 1)
            raise AssertionError(f"{name} has an address")
        except socket.gaierror as error:
            same(error.errno, socket.EAI_NONAME)
    same(socket.gethostbyname("localhost"), "127.0.0.1")


def asked():
    """Programs that ask name servers themselves, whichever it is."""
    for server in ("192.0.2.53", "127.0.0.1"):
        for kind, address in (("AAAA", V6), ("A", V4)):
            out = subprocess.run(["dig", "+short", "+tries=1", f"@{server}", HOME, kind], stdout=subprocess.PIPE,
                                 check=True).stdout
            same(out.decode().split(), [address])
    out = subprocess.run(["dig", "+short", "@127.0.0.1", "-x", V6], stdout=subprocess.PIPE, check=True).stdout
    same(out.decode().split(), [HOME + "."])


def unaided():
    """libc's own look-ups, as in a program that is linked statically."""
    script = f"import socket; print(*[socket.getaddrinfo('{HOME}', 1, f)[0][4][0] for f in (2, 10)])"
    environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "NATFWT_RUN")}
    out = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, check=True).stdout
    same(out.decode().split(), [V4, V6])


# Connections

def blocking():
    for family in (socket.AF_INET, socket.AF_INET6):
        end = connected(family)
        same(end.getpeername()[:2], (V6 if family == socket.AF_INET6 else V4, ECHO))
        echoes(end)


def waiting():
    """poll tells of the connection, not before it is there."""
    for family, ip in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
        end = stream(family, False)
        same(end.connect_ex((ip, DEAF)), errno.EINPROGRESS)
        same(end.connect_ex((ip, DEAF)), errno.EALREADY)
        end.close()
        end = stream(family, False)
        same(end.connect_ex((ip, ECHO)), errno.EINPROGRESS)
        same(failed(end), 0)
        same(end.connect_ex((ip, ECHO)), 0)
        same(end.connect_ex((ip, ECHO)), errno.EISCONN)
        echoes(end)


def unwatched():
    """Never polled: it writes until it may."""
    end = stream(blocks=False)
    end.connect_ex((V6, ECHO))
    deadline = time.monotonic() + 20
    while True:
        try:
            end.send(b"unwatched")
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
    end.setblocking(True)
    end.shutdown(socket.SHUT_WR)
    same(everything(end), b"unwatched")


def refused():
    for family, ip in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
        same(stream(family).connect_ex((ip, CLOSED)), errno.ECONNREFUSED)
        end = stream(family, False)
        same(end.connect_ex((ip, CLOSED)), errno.EINPROGRESS)
        same(failed(end), errno.ECONNREFUSED)
        same(end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)
        # The second connect asks for the reason, too.
        end = stream(family, False)
        end.connect_ex((ip, CLOSED))
        select.select([], [end], [], 20)
        same(end.connect_ex((ip, CLOSED)), errno.ECONNREFUSED)


def refused_again():
    """The same socket, three times; then it is connected."""
    end = stream()
    for _ in range(3):
        same(end.connect_ex((V6, CLOSED)), errno.ECONNREFUSED)
    same(end.connect_ex((V6, ECHO)), 0)
    echoes(end)


def unreachable():
    same(stream(socket.AF_INET).connect_ex(("198.19.7.7", 1)), errno.EHOSTUNREACH)
    same(stream().connect_ex(("2001:20::1", 1)) in (errno.EHOSTUNREACH, errno.ETIMEDOUT), True)


def forbidden():
    """Port 1 is not served."""
    same(stream().connect_ex((V6, 1)), errno.EACCES)


def timed_out():
    """Nobody answers there. The socket is as good as new afterwards."""
    for family, ip in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
        end = stream(family)
        same(end.connect_ex((ip, DEAF)), errno.ETIMEDOUT)
        same(end.connect_ex((ip, ECHO)), 0)
        same(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), 0)
        echoes(end)


def mapped():
    end = stream()
    same(end.connect_ex((f"::ffff:{V4}", ECHO)), 0)
    same(end.getpeername()[:2], (f"::ffff:{V4}", ECHO))
    echoes(end)
    end = stream()
    end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    same(end.connect_ex((f"::ffff:{V4}", ECHO)), errno.ENETUNREACH)


def bound():
    for ip in ("0.0.0.0", "127.0.0.1"):
        end = stream(socket.AF_INET)
        end.bind((ip, 0))
        port = end.getsockname()[1]
        end.connect((V4, ECHO))
        same(end.getsockname()[1], port)
        same(end.getpeername(), (V4, ECHO))
        echoes(end)
    # curl --interface: an address now, and the port with the connect.
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for family, own, ip in ((socket.AF_INET, "127.0.0.1", V4), (socket.AF_INET6, "::1", V6)):
            end = socket.socket(family, kind)
            end.settimeout(20)
            end.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
            end.bind((own, 0))
            end.connect((ip, ECHO))
            same(end.getsockname()[0], own)
            same(end.getsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT), 1)
            end.sendall(b"payload")
            same(end.recv(64), b"payload")


def crowd():
    """5,000 sockets at once, of which 500 are being connected: a service's kernel bears no more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    poll = select.epoll()
    ends = {}
    ready = 0
    while ready < 5000:
        while len(ends) < min(ready + 500, 5000):
            family, ip = ((socket.AF_INET, V4), (socket.AF_INET6, V6))[len(ends) % 2]
            end = stream(family, False)
            end.connect_ex((ip, ECHO))
            poll.register(end, select.EPOLLOUT)
            ends[end.fileno()] = end
        found = poll.poll(20)
        if not found:
            raise AssertionError(f"only {ready} are connected")
        for number, _ in found:
            poll.unregister(number)
            ready += 1
            same(ends[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)
            ends[number].send(b"%d" % number)
    for number, end in ends.items():
        end.shutdown(socket.SHUT_WR)
        same(everything(end), b"%d" % number)
        end.close()


def threads():
    faults = []

    def visit():
        try:
            for _ in range(20):
                echoes(connected())
        except Exception as error:
            faults.append(error)

    started = [threading.Thread(target=visit) for _ in range(16)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    same(faults, [])


def loop():
    async def visit(index):
        reader, writer = await asyncio.open_connection(HOME, ECHO)
        writer.write(b"%d" % index)
        writer.write_eof()
        same(await reader.read(), b"%d" % index)
        writer.close()

    async def main():
        await asyncio.gather(*[visit(index) for index in range(100)])

    asyncio.run(main())


def endings():
    end = connected()
    end.send(b"a")
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
    end = stream(blocks=False)
    end.connect_ex((V6, ECHO))
    end.close()
    end = connected()
    end.send(b"close right after write")
    end.close()
    echoes(connected(), b"x" * 1_000_000)


def patience():
    """SO_SNDTIMEO and a signal end the wait, as they do on a real network; nothing is left of it."""
    import signal
    signal.signal(signal.SIGALRM, lambda *_: None)
    end = stream()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 5, 0))
    same(end.connect_ex((V6, ECHO)), 0)
    echoes(end)


# Other kinds of sockets

def multipath():
    """What asks for MPTCP (RFC 8684) is led as what asks for TCP."""
    for family, ip in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
        def made(blocks=True):
            end = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP)
            end.setblocking(blocks)
            return end
        end = made()
        same(end.connect_ex((ip, ECHO)), 0)
        same(end.getpeername()[:2], (ip, ECHO))
        echoes(end, b"x" * 1_000_000)
        end = made(False)
        same(end.connect_ex((ip, ECHO)), errno.EINPROGRESS)
        same(failed(end), 0)
        same(end.connect_ex((ip, ECHO)), 0)
        same(end.getpeername()[:2], (ip, ECHO))
        end.setblocking(True)
        echoes(end)
        same(made().connect_ex((ip, CLOSED)), errno.ECONNREFUSED)
        end = made(False)
        end.connect_ex((ip, CLOSED))
        same(failed(end), errno.ECONNREFUSED)
        # What goes to this host stays there.
        end = made()
        end.connect(("127.0.0.1" if family == socket.AF_INET else "::ffff:127.0.0.1", ECHO))
        echoes(end)
        # Who makes system calls himself is told at once that there is no way.
        libc = ctypes.CDLL(None, use_errno=True)
        number = libc.syscall(41 if os.uname().machine == "x86_64" else 198, family, socket.SOCK_STREAM, IPPROTO_MPTCP)
        if number < 0:
            same(ctypes.get_errno(), errno.EPROTONOSUPPORT)
        else:
            same(socket.socket(fileno=number).connect_ex((ip, ECHO)), errno.ENETUNREACH)


# Processes

def children():
    end = connected()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            same(end.getpeername()[:2], (V6, ECHO))
            echoes(end, b"child")
            code = 0
        os._exit(code)
    same(os.waitpid(child, 0)[1], 0)
    end = connected()
    os.set_inheritable(end.fileno(), True)
    text = f"import socket; print(socket.socket(fileno={end.fileno()}).getpeername()[0])"
    for closes in (True, False):
        out = subprocess.run([sys.executable, "-c", text], pass_fds=[end.fileno()], close_fds=closes,
                             stdout=subprocess.PIPE, check=True)
        same(out.stdout.decode().strip(), V6)


def duplicates():
    end = stream()
    number = os.dup2(end.fileno(), 200)
    end.close()
    end = socket.socket(fileno=number)
    end.connect((V6, ECHO))
    same(socket.fromfd(number, socket.AF_INET6, socket.SOCK_STREAM).getpeername()[:2], (V6, ECHO))
    echoes(end)


def descriptors():
    """Not one more than the program has opened itself."""
    before = os.listdir("/proc/self/fd")
    end = connected()
    socket.getaddrinfo(HOME, 1)
    with contextlib.suppress(OSError):
        stream().connect((V6, CLOSED))
    same(len(os.listdir("/proc/self/fd")), len(before) + 1)
    end.close()


# Datagrams

def datagram(family=socket.AF_INET):
    end = socket.socket(family, socket.SOCK_DGRAM)
    end.settimeout(10)
    return end


def unconnected():
    """Several destinations on one socket, and some of them on this host."""
    end = datagram()
    for payload, place in ((b"1", (V4, ECHO)), (b"2", ("127.0.0.1", ECHO)), (b"3", (V4, ECHO))):
        end.sendto(payload, place)
        same(end.recvfrom(100), (payload, place))
    end = datagram(socket.AF_INET6)
    for ip in (V6, f"::ffff:{V4}"):
        end.sendmsg([b"m", b"n"], [], 0, (ip, ECHO))
        data, _, _, place = end.recvmsg(100)
        same((data, place[:2]), (b"mn", (ip, ECHO)))


def associated():
    end = datagram(socket.AF_INET6)
    end.connect((V6, ECHO))
    same(end.getpeername()[:2], (V6, ECHO))
    end.send(b"c")
    same(end.recv(10), b"c")
    end.send(b"d")
    same(end.recvfrom(10)[1][:2], (V6, ECHO))


def associated_again():
    end = datagram()
    for ip in (V4, "127.0.0.1", V4):
        end.connect((ip, ECHO))
        same(end.getpeername(), (ip, ECHO))
        end.send(b"c")
        same(end.recv(10), b"c")


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("name_length", ctypes.c_uint), ("vectors", ctypes.POINTER(Vector)),
                ("count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
                ("flags", ctypes.c_int), ("padding", ctypes.c_int), ("sent", ctypes.c_uint)]


def batches():
    """sendmmsg and recvmmsg, to two destinations at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    end = datagram()
    names = [struct.pack("=H", socket.AF_INET) + struct.pack("!H", ECHO) + socket.inet_aton(ip) + bytes(8)
             for ip in (V4, "127.0.0.1")]
    vectors = [Vector(b"one", 3), Vector(b"two", 3)]
    messages = (Message * 2)(*[Message(name, 16, ctypes.pointer(vector), 1) for name, vector in zip(names, vectors)])
    same(libc.sendmmsg(end.fileno(), messages, 2, 0), 2)
    found = {}
    for _ in range(2):
        select.select([end], [], [], 10)
        data, name = ctypes.create_string_buffer(10), ctypes.create_string_buffer(28)
        vector = Vector(ctypes.cast(data, ctypes.c_char_p), 10)
        message = Message(ctypes.cast(name, ctypes.c_char_p), 28, ctypes.pointer(vector), 1)
        same(libc.recvmmsg(end.fileno(), ctypes.byref(message), 1, 0, None), 1)
        found[socket.inet_ntoa(name.raw[4:8])] = data.raw[:message.sent]
    same(found, {V4: b"one", "127.0.0.1": b"two"})


def lookups():
    """As name look-ups do: a socket connected to each address and closed at once, more of them than there are ports."""
    for index in range(1500):
        end = datagram(socket.AF_INET6)
        deadline = time.monotonic() + 20
        while code := end.connect_ex((V6, 1000 + index)):
            same(code, errno.ENOBUFS)
            if time.monotonic() > deadline:
                raise AssertionError(f"no port for the destination {index}")
            time.sleep(0.01)
        same(end.getpeername()[1], 1000 + index)
        end.close()
    associated()
    unconnected()


def quickly():
    """Prints microseconds that 200 connections took."""
    times = []
    for _ in range(200):
        end = stream()
        begin = time.perf_counter()
        end.connect((V6, ECHO))
        times.append(time.perf_counter() - begin)
        end.close()
    print(f"connect: {sorted(times)[100] * 1e6:.0f} µs", file=sys.stderr)


for name in sys.argv[4:]:
    try:
        globals()[name]()
    except BaseException as error:
        error.add_note(f"in {name}") if hasattr(error, "add_note") else None
        raise
