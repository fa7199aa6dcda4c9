# SPDX-License-Identifier: Apache-2.0
"""A relay and an agent on loopback, in a temporary folder, with what a scenario asks of them: their descriptors,
memory and processor time, services behind the agent, visitors in front of the relay."""
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
HERTZ = os.sysconf("SC_CLK_TCK")
# Seconds for what has to come, but by no certain time: the machine may be busy with much else, its disk too.
PATIENCE = 60.0


class Failed(Exception):
    """What had to hold did not."""


class Skipped(Exception):
    """This machine can't do it."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def until(what, condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def free_ports(count, kind=socket.SOCK_STREAM):
    """Ports that nothing has now, and that the kernel does not choose by itself for the connections of other tests. Bound
    all at once, so that no two are the same."""
    ends = []
    while len(ends) < count:
        end = socket.socket(socket.AF_INET, kind)
        try:
            end.bind(("127.0.0.1", random.randrange(10000, 20000)))
        except OSError:
            end.close()
            continue
        ends.append(end)
    ports = [end.getsockname()[1] for end in ends]
    for end in ends:
        end.close()
    return ports


class Program:
    """A process of natfwt with its log in a file. Killed at the end."""

    def __init__(self, arguments, log, wrapper=(), **options):
        self.log_path = log
        with open(log, "ab") as file:
            options = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, **options}
            self.process = subprocess.Popen([*wrapper, *arguments], start_new_session=True, **options)
        self.pid = self.process.pid

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def tail(self, lines=12):
        return "\n".join(self.log().splitlines()[-lines:])

    def says(self, text, seconds=PATIENCE, after=0):
        until(lambda: f"the log says “{text}”:\n{self.tail()}", lambda: text in self.log()[after:], seconds)

    def is_running(self):
        return self.process.poll() is None

    def send(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """Ends it and all that it started: they are a session of their own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=PATIENCE):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self):
        """KiB of its own share."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="utf-8") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))

    def seconds(self):
        """Processor time so far."""
        with open(f"/proc/{self.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / HERTZ

    def is_idle(self, seconds=1.0, most=0.2):
        """Whether it leaves the processor alone."""
        before = self.seconds()
        time.sleep(seconds)
        return (self.seconds() - before) / seconds < most


class Service:
    """A TCP service on loopback: `handle` is called with each connection, on a thread of its own."""

    def __init__(self, handle=None, backlog=1024, accepts=True):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.handle = handle or self.echo
        self.accepted = 0
        if accepts:
            threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                end, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self.serve, args=(end,), daemon=True).start()

    def serve(self, end):
        with contextlib.suppress(OSError), end:
            self.handle(end)

    @staticmethod
    def echo(end):
        while data := end.recv(65536):
            end.sendall(data)
        end.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.close()


class Place:
    """The folder, the relay, the agent. `with Place(binary) as place:`"""

    def __init__(self, binary):
        self.binary = binary
        self.folder = tempfile.mkdtemp(prefix="natfwt-hazard-")
        self.state = f"{self.folder}/state"
        self.home = f"{self.folder}/home"
        os.mkdir(self.home)
        self.tunnel_port, *self.ports = free_ports(9)
        self.programs = []
        self.relay = self.agent = None
        self.relay_file = f"{self.folder}/relay.toml"
        self.agent_file = f"{self.home}/agent.toml"
        self.relay_socket = f"{self.folder}/relay.sock"
        self.agent_socket = f"{self.folder}/agent.sock"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind and kind is not Skipped:
            for program in self.programs:
                print(f"--- {program.log_path}\n{program.tail(30)}", file=sys.stderr)
        for program in self.programs:
            program.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Files

    @staticmethod
    def toml(tables):
        lines = []
        for name, values in tables.items():
            if values:
                lines.append(f"[{name}]")
                lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        return "\n".join(lines) + "\n"

    def write_relay(self, extra="", state=None, **tables):
        tables.setdefault("timeouts", {"handshake": "3s", "liveness-interval": "10s", "drain": "5s"})
        tables.setdefault("expose", {"bind": ["127.0.0.1"], "automatic": "20000-29999"})
        with open(self.relay_file, "w", encoding="utf-8") as file:
            file.write(
                f'listen = ["127.0.0.1:{self.tunnel_port}"]\nstate-directory = "{state or self.state}"\n'
                f'public-address = ["127.0.0.1:{self.tunnel_port}"]\nadmin-socket = "{self.relay_socket}"\n'
                + extra + self.toml(tables))

    def write_agent(self, services, top=None, extra="", **tables):
        """`services`: pairs of the relay's port and the service (a port of loopback or host:port)."""
        tables.setdefault("timeouts", {"backoff-initial": "100ms", "backoff-maximum": "500ms"})
        if top is None:
            top = self.joined
        exposures = ""
        for entry in services:
            port, service, *rest = entry
            service = f"127.0.0.1:{service}" if isinstance(service, int) else service
            protocol = rest[0] if rest else "tcp"
            exposures += f'[[expose]]\nprotocol = "{protocol}"\nservice = "{service}"\nport = {port}\n'
        with open(self.agent_file, "w", encoding="utf-8") as file:
            file.write(f'{top}\nadmin-socket = "{self.agent_socket}"\n{extra}{self.toml(tables)}{exposures}')
        os.chmod(self.agent_file, 0o600)

    # Programs

    def run(self, *arguments, seconds=PATIENCE, **options):
        return subprocess.run(
            [self.binary, *arguments], capture_output=True, text=True, errors="replace", timeout=seconds, **options)

    def start(self, name, *arguments, wrapper=(), **options):
        program = Program([self.binary, *arguments], f"{self.folder}/{name}.log", wrapper, **options)
        self.programs.append(program)
        return program

    def start_relay(self, wrapper=(), **options):
        begin = os.path.getsize(f"{self.folder}/relay.log") if os.path.exists(f"{self.folder}/relay.log") else 0
        self.relay = self.start("relay", "relay", "--config", self.relay_file, wrapper=wrapper, **options)
        self.relay.says("the relay is ready", after=begin)
        return self.relay

    def invite(self, name="home"):
        result = self.run("invite", name, "--config", self.relay_file, "--expose", "tcp:1024-65535", "--expose",
                          "udp:1024-65535")
        check(result.returncode == 0, f"invite: {result}")
        return result.stdout.strip().splitlines()[-1]

    def join(self):
        result = self.run("join", self.invite(), "--directory", self.home, "--force")
        check(result.returncode == 0, f"join: {result}")
        with open(self.agent_file, encoding="utf-8") as file:
            lines = file.read().splitlines()
        top = []
        for line in lines:
            if line.startswith("["):
                break
            if not line.startswith(("#", "admin-socket")):
                top.append(line)
        self.joined = "\n".join(top)

    def start_agent(self, wrapper=(), **options):
        self.agent = self.start("agent", "agent", "--config", self.agent_file, wrapper=wrapper, **options)
        return self.agent

    def deploy(self, services, relay=None, agent=None, relay_wrapper=(), agent_wrapper=()):
        self.write_relay(**(relay or {}))
        self.start_relay(relay_wrapper)
        self.join()
        self.write_agent(services, **(agent or {}))
        self.start_agent(agent_wrapper)
        for entry in services:
            if len(entry) < 3 or entry[2] == "tcp":
                self.opened(entry[0])

    def opened(self, port, seconds=PATIENCE):
        until(lambda: f"port {port} opens\n{self.agent.tail()}\n{self.relay.tail()}", lambda: self.listens(port), seconds)

    @staticmethod
    def listens(port):
        with open("/proc/net/tcp", encoding="utf-8") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port:
                    return True
        return False

    def status(self, program="relay"):
        path = self.relay_socket if program == "relay" else self.agent_socket
        result = self.run("status", "--json", "--socket", path)
        check(result.returncode == 0, f"status: {result}")
        return json.loads(result.stdout)


def echo(port, payload=b"hello", seconds=PATIENCE):
    """One visit: what was sent comes back, and then the end."""
    with socket.create_connection(("127.0.0.1", port), seconds) as end:
        end.settimeout(seconds)
        end.sendall(payload)
        end.shutdown(socket.SHUT_WR)
        answer = b""
        while data := end.recv(65536):
            answer += data
        check(answer == payload, f"{len(answer)} of {len(payload)} bytes came back")


def echoes(port, seconds=5.0):
    """Whether a visit works."""
    try:
        echo(port, seconds=seconds)
        return True
    except (OSError, Failed):
        return False


def scheduled(pid):
    """Nanoseconds that a process's threads have run, and have been ready to run and waited for it."""
    run = waited = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as file:
            fields = file.read().split()
            run, waited = run + int(fields[0]), waited + int(fields[1])
    return run, waited


class Slowness:
    """How much longer than alone on this machine what these processes do has taken since then: other load's part in it."""

    def __init__(self, *pids):
        self.before = {pid: scheduled(pid) for pid in pids}

    def factor(self):
        most = 1.0
        for pid, (run, waited) in self.before.items():
            now = scheduled(pid)
            if now[0] > run:
                most = max(most, 1 + (now[1] - waited) / (now[0] - run))
        return most


class Pace:
    """Visits to a port, each beside one straight to its service, which tells what the machine itself takes its time for."""

    def __init__(self, port, service):
        self.port, self.service = port, service
        self.visits, self.slowest, self.slowest_straight = 0, 0.0, 0.0

    def visit(self, payload=b"hello"):
        begin = time.monotonic()
        echo(self.service.port, payload)
        middle = time.monotonic()
        self.slowest_straight = max(self.slowest_straight, middle - begin)
        try:
            echo(self.port, payload)
        finally:
            self.slowest = max(self.slowest, time.monotonic() - middle)
            self.visits += 1

    def check(self, seconds):
        """That no visit took longer than so many seconds, and what ten as slow as the slowest straight one would take."""
        check(self.slowest < seconds + 10 * self.slowest_straight, f"{self}")

    def __str__(self):
        return (f"{self.visits} visits, the slowest {self.slowest * 1000:.0f} ms, "
                f"straight to the service {self.slowest_straight * 1000:.0f} ms")


def rests(what, program, seconds=1.0):
    """Waits until a program leaves the processor alone: it may have to end first what it was given."""
    until(f"{what} is busy with nothing", lambda: program.is_idle(seconds))


def settles(what, value, limit, seconds=PATIENCE):
    """Waits until `value()` is at most `limit`."""
    until(lambda: f"{what} comes back to {limit}, now {value()}", lambda: value() <= limit, seconds)


def scenario(function):
    """Marks what `hazards.py` may run."""
    function.is_scenario = True
    return function
