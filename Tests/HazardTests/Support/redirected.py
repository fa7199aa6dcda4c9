# SPDX-License-Identifier: Apache-2.0
"""`natfwt run`: real programs whose sockets are led to another node, by the library in them (preload).

redirected_kernel has the same done by the kernel: both ways behave alike, but for what is said here.
"""
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

from place import Service, Skipped, check, free_ports, scenario, until

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
WAY = "preload"


class Laptop:
    """A second node in a place, whose programs reach the first one."""

    def __init__(self, place):
        self.place = place
        folder = f"{place.folder}/laptop"
        os.mkdir(folder)
        self.socket = f"{place.folder}/laptop.sock"
        self.file = f"{folder}/agent.toml"
        result = place.run("join", place.invite("laptop"), "--directory", folder, "--force")
        check(result.returncode == 0, f"join: {result}")
        with open(self.file, encoding="utf-8") as file:
            lines = [line for line in file.read().splitlines() if not line.startswith("admin-socket")]
        with open(self.file, "w", encoding="utf-8") as file:
            file.write("\n".join([f'admin-socket = "{self.socket}"', *lines]) + "\n")
        self.start()

    def start(self, wrapper=()):
        begin = 0
        with contextlib.suppress(OSError):
            begin = os.path.getsize(f"{self.place.folder}/laptop.log")
        self.agent = self.place.start("laptop", "agent", "--config", self.file, wrapper=wrapper)
        self.agent.says("session active", after=begin)
        return self.agent

    def arguments(self, *command):
        return ["run", "--socket", self.socket, "--way", WAY, "--", *command]

    def run(self, *command, **options):
        return self.place.run(*self.arguments(*command), **options)

    def sockets(self):
        with contextlib.suppress(FileNotFoundError):
            return os.listdir(f"{self.socket}.runs")
        return []


class Echo:
    """TCP and UDP on one port."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.listener.getsockname()[1]
        self.end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.end.bind(("127.0.0.1", self.port))
        threading.Thread(target=asyncio.run, args=(self.serve(),), daemon=True).start()
        threading.Thread(target=self.answer, daemon=True).start()

    async def serve(self):
        server = await asyncio.start_server(self.visit, sock=self.listener)
        await server.serve_forever()

    @staticmethod
    async def visit(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        writer.close()

    def answer(self):
        while True:
            data, sender = self.end.recvfrom(65536)
            self.end.sendto(data, sender)


def build_kernel_way(folder):
    result = subprocess.run([f"{ROOT}/deploy/kernel-way", folder], capture_output=True, text=True)
    if result.returncode == 69:
        raise Skipped(result.stderr)
    check(result.returncode == 0, f"{result}")


def deploy(place, *served, patience="10s", direct=True):
    """`home` serves the ports to everyone, and `laptop` has the library; the two connect directly where that is let."""
    folder = os.path.dirname(place.binary)
    subprocess.run([f"{ROOT}/deploy/interposer", folder], check=True, stdout=subprocess.DEVNULL)
    if WAY == "kernel":
        build_kernel_way(folder)
    rules = "".join(
        f'[[serve]]\nprotocol = "{protocol}"\nports = [{", ".join(str(port) for port in served)}]\nto = ["*"]\n'
        for protocol in ("tcp", "udp"))
    timeouts = {"backoff-initial": "100ms", "backoff-maximum": "500ms", "connect": patience}
    place.deploy([], agent={"extra": rules, "timeouts": timeouts, "direct": {"enabled": direct}})
    place.agent.says("session active")
    laptop = Laptop(place)
    result = laptop.run("true")
    # What the kernel denies to this process, or the place that it runs in.
    if WAY == "kernel" and ("not permitted" in result.stderr or "no control groups" in result.stderr):
        raise Skipped(result.stderr)
    return laptop


def deaf_port():
    """A port at which nobody is answered: its queue is full. And what keeps it so."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    ends = [listener]
    for _ in range(3):
        ends.append(socket.socket())
        ends[-1].setblocking(False)
        ends[-1].connect_ex(listener.getsockname())
    return listener.getsockname()[1], ends


def probed(place, *names, seconds=60, patience="10s"):
    echo = Echo()
    closed, = free_ports(1)
    full, waiting = deaf_port()
    laptop = deploy(place, echo.port, closed, full, patience=patience)
    ports = [str(port) for port in (echo.port, closed, full)]
    for name in names:
        result = laptop.run(sys.executable, f"{HERE}/probe.py", *ports, name, seconds=seconds)
        check(result.returncode == 0, f"{name}: {result.returncode}\n{result.stdout}{result.stderr}")
    until("connections end", lambda: laptop.place.run("status", "--socket", laptop.socket).returncode == 0)
    check(laptop.sockets() == [], f"left over: {laptop.sockets()}")
    for end in waiting:
        end.close()


@scenario
def connections(place):
    probed(place, "blocking", "waiting", "unwatched", "mapped", "bound", "threads", "loop", "endings", "patience")


@scenario
def failures(place):
    probed(place, "refused", "refused_again", "unreachable", "forbidden", "timed_out", patience="1500ms")


@scenario
def many(place):
    probed(place, "crowd", "quickly")


@scenario
def multipath(place):
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262).close()
    except OSError as error:
        raise Skipped(f"no MPTCP here: {error}") from error
    probed(place, "multipath")


@scenario
def kinds_of_sockets(place):
    """All but TCP and UDP is as it is without it."""
    laptop = deploy(place, 9)
    script = "import socket as s; print(*[s.getaddrinfo('home.natfwt.internal', 1, f)[0][4][0] for f in (2, 10)])"
    command = [sys.executable, f"{HERE}/kinds.py", *laptop.run(sys.executable, "-c", script).stdout.split(), "9"]
    outside = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    inside = laptop.run(*command)
    check(inside.stdout == outside, f"outside:\n{outside}inside:\n{inside.stdout}{inside.stderr}")


@scenario
def descendants(place):
    probed(place, "children", "duplicates", "descriptors")


@scenario
def datagrams_of_programs(place):
    probed(place, "unconnected", "associated", "associated_again", "batches")


@scenario
def named(place):
    probed(place, "names", *["asked"] if shutil.which("dig") else [])


@scenario
def programs(place):
    """Programs as they are, and how they end."""
    folder = f"{place.folder}/files"
    os.mkdir(folder)
    payload = os.urandom(3_000_000)
    with open(f"{folder}/file", "wb") as file:
        file.write(payload)
    port, = free_ports(1)
    server = subprocess.Popen([sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], cwd=folder,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        laptop = deploy(place, port)
        until("the server listens", lambda: place.listens(port))
        url = f"http://home.natfwt.internal:{port}/file"
        for command in (["curl", "-sf", "-o", f"{folder}/got", url], ["curl", "-4sf", "-o", f"{folder}/got", url],
                        [sys.executable, "-c", f"import urllib.request; open('{folder}/got', 'wb').write("
                                               f"urllib.request.urlopen('{url}').read())"],
                        ["node", "-e", f"require('http').get('{url}', r => r.pipe(require('fs')"
                                       f".createWriteStream('{folder}/got')))"]):
            if not shutil.which(command[0]):
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/got")
            result = laptop.run(*command)
            check(result.returncode == 0, f"{command[0]}: {result}")
            with open(f"{folder}/got", "rb") as file:
                check(file.read() == payload, f"{command[0]} got something else")
    finally:
        server.kill()
        server.wait()


@scenario
def statuses(place):
    laptop = deploy(place, 9)
    for command, status in ((["true"], 0), (["sh", "-c", "exit 3"], 3), (["sh", "-c", "kill -9 $$"], 137),
                            (["no-such-command"], 127), (["/etc/passwd"], 126)):
        result = laptop.run(*command)
        check(result.returncode == status, f"{command}: {result}")
    for wrong in (["run"], ["run", "--"], ["run", "--egres", "--", "true"]):
        check(place.run(*wrong).returncode == 64, f"{wrong}")
    arguments = b"caf\xe9 \xff"
    result = subprocess.run([place.binary, *laptop.arguments("printf", "%s"), arguments], capture_output=True)
    check(result.stdout == arguments, f"what is no UTF-8 is passed on: {result}")
    result = laptop.run("env", "LD_PRELOAD=", "sh", "-c", "exit 0")
    check(result.returncode == 0, f"{result}")
    # Signals are the command's.
    begun = f"{place.folder}/begun"
    program = place.start("command", *laptop.arguments(
        "sh", "-c", f"trap 'exit 42' TERM; touch {begun}; while :; do sleep 0.05; done"))
    until("it begins", lambda: os.path.exists(begun))
    os.kill(program.pid, signal.SIGTERM)
    check(program.process.wait(10) == 42, "SIGTERM is passed on")
    result = place.run("run", "--socket", f"{place.folder}/none.sock", "--", "true")
    check(result.returncode == 69 and "no agent runs here" in result.stderr, f"{result}")
    # As Go's linker leaves it where libc is linked dynamically: a loader, and its own note among others.
    program = f"{place.folder}/like-go"
    notes = (struct.pack("<III", 4, 2, 3) + b"GNU\0" + b"ab\0\0" + struct.pack("<III", 4, 4, 4) + b"Go\0\0" + b"buil")
    heads = struct.pack("<IIQQQQQQ", 3, 4, 64, 0, 0, 1, 1, 1) + struct.pack(
        "<IIQQQQQQ", 4, 4, 64 + 112, 0, 0, len(notes), len(notes), 4)
    with open(program, "wb") as file:
        file.write(b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
                   + heads + notes)
    os.chmod(program, 0o755)
    result = laptop.run(program)
    check(("is a program of Go" in result.stderr) == (WAY == "preload"), f"{result}")
    check("Go" not in laptop.run("true").stderr, "all else is not Go's")
    compiler = shutil.which("cc")
    if compiler:
        source, program = f"{place.folder}/static.c", f"{place.folder}/static"
        with open(source, "w", encoding="utf-8") as file:
            file.write("int main(void) { return 5; }\n")
        if subprocess.run([compiler, "-static", source, "-o", program], capture_output=True).returncode == 0:
            result = laptop.run(program)
            check(result.returncode == 5, f"{result}")
            check(("linked statically" in result.stderr) == (WAY == "preload"), f"{result}")


@scenario
def costs(place):
    """What redirecting costs, beside the same way there without it."""
    def discard(end):
        while end.recv(1 << 20):
            pass
    echo, sink = Echo(), Service(discard)
    # One way to home from the first to the last.
    laptop = deploy(place, echo.port, sink.port, direct=False)
    port, = free_ports(1)
    place.start("socks", "socks", str(port), "--socket", laptop.socket)
    until("the proxy listens", lambda: place.listens(port))
    script = "import socket; print(socket.getaddrinfo('home.natfwt.internal', 1, socket.AF_INET6)[0][4][0])"
    node = laptop.run(sys.executable, "-c", script).stdout.strip()

    def cost(*words, runs=False):
        command = [sys.executable, "-B", f"{HERE}/costs.py", *map(str, words)]
        result = laptop.run(*command) if runs else subprocess.run(command, capture_output=True, text=True)
        check(result.returncode == 0, f"{words}: {result}")
        return json.loads(result.stdout)

    bare, run = cost("connect", "127.0.0.1", echo.port), cost("connect", node, echo.port, port, runs=True)
    print(f"{WAY}: connect: bare {bare['waiting']:.0f} µs, through SOCKS {run['proxy']:.0f} µs, "
          f"redirected {run['waiting']:.0f} µs; the call alone: {bare['calling']:.0f} and {run['calling']:.0f} µs")
    check(run["waiting"] - run["proxy"] < 600, "redirecting costs more than the way")
    check(run["calling"] - bare["calling"] < 600, "the call takes long")
    count = 1 << 28
    bare, run = cost("bulk", "127.0.0.1", sink.port, count), cost("bulk", node, sink.port, count, runs=True)
    print(f"{WAY}: CPU of a program for 256 MiB: bare {bare['seconds']:.2f} s, redirected {run['seconds']:.2f} s")
    check(run["seconds"] < 2 * bare["seconds"] + 0.2, "the program pays for each byte")
    own = cost("library", runs=True)["own"]
    print(f"{WAY}: a process's own memory for the library: {own} KiB; its start-up: {start_up(place):.0f} µs")
    check(own <= 200, f"{own} KiB")


def start_up(place):
    """Microseconds that the library adds to a process."""
    library = f"{os.path.dirname(place.binary)}/libnatfwt-run.so"
    times = {None: [], library: []}
    for _ in range(200):
        for preload, found in times.items():
            begin = time.perf_counter()
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {"LD_PRELOAD": preload} if preload else {}), 0)
            found.append(time.perf_counter() - begin)
    return (statistics.median(times[library]) - statistics.median(times[None])) * 1e6


@scenario
def ends(place):
    """Nothing is left of a run: not when it ends, not when its agent is killed."""
    echo = Echo()
    laptop = deploy(place, echo.port)
    script = (
        "import errno, os, socket, sys\n"
        f"a = socket.getaddrinfo('home.natfwt.internal', {echo.port}, socket.AF_INET6)[0][4]\n"
        "print('begun', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(errno.errorcode.get(socket.socket(socket.AF_INET6).connect_ex(a)))\n")
    command = [place.binary, *laptop.arguments(sys.executable, "-c", script)]
    run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(run.stdout.readline() == "begun\n", "it begins")
    check(len(laptop.sockets()) == 1, f"{laptop.sockets()}")
    laptop.agent.kill()
    check("the agent has stopped" in run.stderr.readline(), "it says so")
    out, err = run.communicate("go\n", 20)
    check(run.returncode == 0 and out == "ENETUNREACH\n", f"without an agent: {run.returncode} {out} {err}")
    check(len(laptop.sockets()) == 1, "a killed agent leaves its socket")
    laptop.start()
    until("the next one cleans up", lambda: laptop.sockets() == [])
    check(laptop.run("true").returncode == 0, "it runs again")


@scenario
def unprivileged(place):
    """The agent is anybody's: it needs no right for what it does."""
    if os.geteuid() != 0:
        return
    echo = Echo()
    closed, = free_ports(1)
    laptop = deploy(place, echo.port, closed)
    check(laptop.agent.stop() == 0, "the agent of root stops")
    folder = os.path.dirname(laptop.file)
    os.chmod(place.folder, 0o755)
    for path in (folder, *(f"{folder}/{name}" for name in os.listdir(folder))):
        os.chown(path, 12345, 12345)
    with open(laptop.file, encoding="utf-8") as file:
        text = file.read().replace(laptop.socket, f"{folder}/agent.sock")
    with open(laptop.file, "w", encoding="utf-8") as file:
        file.write(text)
    laptop.socket = f"{folder}/agent.sock"
    laptop.start(wrapper=("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--bounding-set=-all"))
    script = (
        "import socket\n"
        "for family in (socket.AF_INET, socket.AF_INET6):\n"
        f"    address = socket.getaddrinfo('home.natfwt.internal', {echo.port}, family)[0][4]\n"
        "    end = socket.socket(family); end.settimeout(10); end.connect(address)\n"
        "    end.send(b'hello'); assert end.recv(9) == b'hello'\n"
        "    end = socket.socket(family); end.settimeout(10)\n"
        f"    assert end.connect_ex((address[0], {closed})) == 111\n")
    for rights in ({}, {"user": 12345, "group": 12345, "extra_groups": []}):
        # Python may lie where only root finds it.
        python = "/usr/bin/python3" if rights else sys.executable
        if rights and (WAY == "kernel" or not os.path.exists(python)):
            continue
        result = laptop.run(python, "-c", script, **rights)
        check(result.returncode == 0 and not result.stderr, f"{rights}: {result}")


@scenario
def other_users(place):
    """Others' processes get nothing from the ports and sockets of a run."""
    if os.geteuid() != 0:
        return
    echo = Echo()
    laptop = deploy(place, echo.port)
    os.chmod(place.folder, 0o755)
    script = (
        "import os, socket, sys\n"
        f"a = ('home.natfwt.internal', {echo.port})\n"
        "end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); end.connect(a)\n"
        "end.send(b'mine'); assert end.recv(9) == b'mine'\n"
        # The kernel's own word: which port of the agent's it is.
        "here = '%04X' % end.getsockname()[1]\n"
        "lines = [line.split() for line in open('/proc/net/udp')]\n"
        "target = [line[2][-4:] for line in lines if line[1].endswith(':' + here)][0]\n"
        "print(os.environ['NATFWT_RUN'], int(target, 16), flush=True); sys.stdin.readline()\n")
    run = subprocess.Popen([place.binary, *laptop.arguments(sys.executable, "-c", script)], stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, text=True)
    version, v4, v6, mode, suffix, path, target = run.stdout.readline().split()
    stranger = (
        "import os, socket, struct, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "end = socket.socket(); end.settimeout(1)\n"
        f"code = end.connect_ex(('127.0.0.1', {v4}))\n"
        "assert code != 0, 'connected'\n"
        "end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); end.settimeout(1)\n"
        f"end.sendto(b'others', ('127.0.0.1', {target}))\n"
        "try:\n    end.recv(9); sys.exit('has an answer')\nexcept TimeoutError: pass\n"
        "end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        f"assert end.connect_ex('{path}') == 13, 'may announce'\n")
    result = subprocess.run([sys.executable, "-c", stranger], capture_output=True, text=True, timeout=30)
    check(result.returncode == 0, f"{result}")
    # Not announced, of the same user: nothing either.
    with contextlib.closing(socket.socket()) as end:
        end.settimeout(1)
        check(end.connect_ex(("127.0.0.1", int(v4))) != 0, "connected without having announced itself")
    # What is no question is not answered, and does no harm.
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as end:
        end.connect(path)
        for message in (b"", b"\0", b"\1", b"\1\1", b"\1\1" + bytes(35), b"\1\1" + bytes(37), b"\1\5\xff", b"x" * 2000,
                        b"\1\6", b"\1\2" + bytes(18) + b"\0"):
            end.send(message)
    run.communicate("\n", 20)
    check(laptop.agent.is_running(), "the agent lives on")
    check(laptop.run("true").returncode == 0, "it runs again")
