# SPDX-License-Identifier: Apache-2.0
"""Too few descriptors, too little memory or disk."""
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import node
from place import Pace, Service, check, echo, echoes, scenario, settles, until


def crowd(port, count):
    """As many visitors as get in; each holds its connection."""
    ends = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            end = socket.create_connection(("127.0.0.1", port), 2)
            end.sendall(b"x")
            ends.append(end)
    return ends


def exhausted(place, program):
    log = program.log
    before = len(log().splitlines())
    begin = time.monotonic()
    ends = crowd(place.ports[0], 120)
    time.sleep(2)
    check(program.is_running(), f"it ended with {program.process.returncode}")
    used = program.seconds()
    time.sleep(1)
    check(program.seconds() - used < 0.3, f"it used {program.seconds() - used:.2f} s of processor in a second of shortage")
    for end in ends:
        end.close()
    until("a visit works again", lambda: echoes(place.ports[0]))
    seconds = time.monotonic() - begin
    more = len(log().splitlines()) - before
    check(more < 60 + 20 * seconds, f"{more} lines of log in {seconds:.0f} s of shortage")


@scenario
def relay_descriptors(place):
    """49: the relay has 48 descriptors: accepting pauses, and recovers; the tunnel port too."""
    service = Service()
    place.deploy([(place.ports[0], service.port)], relay_wrapper=["prlimit", "--nofile=48"])
    exhausted(place, place.relay)
    ends = crowd(place.ports[0], 120)
    place.agent.kill()
    for end in ends:
        end.close()
    place.start_agent()
    until("the agent is back", lambda: echoes(place.ports[0]))


@scenario
def agent_descriptors(place):
    """49: the agent has 48: what it can't connect is reset, what it has goes on."""
    service = Service()
    place.deploy([(place.ports[0], service.port)], agent_wrapper=["prlimit", "--nofile=48"])
    exhausted(place, place.agent)
    check("EMFILE" in place.agent.log() or "too many open files" in place.agent.log(), "the log does not name the shortage")


@scenario
def memory(place):
    """50: with an address space of a few hundred MiB the relay serves what it can."""
    service = Service()
    place.deploy([(place.ports[0], service.port)], relay_wrapper=["prlimit", "--as=700000000"])
    ends = crowd(place.ports[0], 1_000)
    echo(place.ports[0])
    for end in ends:
        end.close()
    echo(place.ports[0], bytes(10_000_000), 20)


@scenario
def disk(place):
    """55: the registry's disk is full: what runs runs, what is known comes back, an invite is refused with a word."""
    if os.geteuid() != 0:
        print("needs root")
        return
    service = Service()
    os.mkdir(place.state, 0o700)
    # A small disk of the relay's own, in a mount namespace of its own.
    mounted = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=1m,mode=700 none {place.state} && exec "$@"', "sh"]
    place.write_relay()
    place.start_relay(wrapper=mounted)
    inside = ["nsenter", "--mount", "--target", str(place.relay.pid)]
    invite = subprocess.run([*inside, place.binary, "invite", "home", "--config", place.relay_file, "--expose",
                             "tcp:1024-65535"], capture_output=True, text=True, check=True)
    place.invite = lambda: invite.stdout.strip().splitlines()[-1]
    place.join()
    place.write_agent([(place.ports[0], service.port)])
    place.start_agent()
    place.opened(place.ports[0])
    subprocess.run([*inside, "sh", "-c", f"head -c 2000000 /dev/zero > {place.state}/filler"], capture_output=True)
    echo(place.ports[0])
    refused = subprocess.run([*inside, place.binary, "invite", "other", "--config", place.relay_file],
                             capture_output=True, text=True)
    check(0 < refused.returncode < 128 and "full" in refused.stderr, f"{refused}")
    place.agent.kill()
    place.start_agent()
    until("the node comes back", lambda: echoes(place.ports[0]))
    place.agent.send(1)
    # Another service: its port cannot be reserved, but it is used.
    place.write_agent([(place.ports[0], service.port), (place.ports[1], service.port)])
    place.agent.send(1)
    until("a new port opens", lambda: echoes(place.ports[1]))
    check(place.relay.is_running(), "the relay ended")
    subprocess.run([*inside, "rm", f"{place.state}/filler"], check=True)
    again = subprocess.run([*inside, place.binary, "invite", "other", "--config", place.relay_file],
                           capture_output=True, text=True)
    check(again.returncode == 0, f"{again}")


@scenario
def read_only(place):
    """55: a state directory that can't be written: a word and a code at the start, and the same for an invite."""
    if os.geteuid() != 0:
        print("needs root")
        return
    place.write_relay()
    os.mkdir(place.state, 0o700)
    mounted = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o ro none {place.state} && exec "$@"', "sh"]
    for arguments in (["relay"], ["invite", "x"]):
        result = subprocess.run([*mounted, place.binary, *arguments, "--config", place.relay_file],
                                capture_output=True, text=True, timeout=10)
        check(0 < result.returncode < 128 and place.state in result.stderr, f"{result}")
        print(result.returncode, result.stderr.strip())


@scenario
def torn_state(place):
    """55, 56: the registry cut at many lengths, replaced by rubbish, by a link, by a folder: a word, or it works."""
    place.write_relay()
    place.start_relay()
    place.invite()
    place.relay.stop()
    files = os.listdir(place.state)
    print(files)
    registry = next(f"{place.state}/{name}" for name in files if name.endswith((".db", ".sqlite", ".sqlite3")))
    with open(registry, "rb") as file:
        whole = file.read()

    def tried(what):
        with open(place.relay_file, encoding="utf-8"):
            pass
        result = place.run("nodes", "list", "--config", place.relay_file)
        check(result.returncode in (0, 69, 78), f"{what}: {result}")
        check(result.returncode == 0 or "registry" in result.stderr, f"{what}: {result}")
        return result.returncode

    for length in [0, 1, 15, 16, 50, 99, 100, 101, 1_000, 4_095, 4_096, 4_097, len(whole) // 2, len(whole) - 1]:
        with open(registry, "wb") as file:
            file.write(whole[:length])
        print(length, tried(f"cut at {length}"))
    for content in (os.urandom(10_000), b"\0" * 8_192, whole[:100] + os.urandom(len(whole) - 100)):
        with open(registry, "wb") as file:
            file.write(content)
        tried("rubbish")
    os.remove(registry)
    os.mkdir(registry)
    check(tried("a folder") != 0, "a folder is taken for a registry")
    os.rmdir(registry)
    with open(registry, "wb") as file:
        file.write(whole)
    check(tried("whole again") == 0, "the registry does not come back")


@contextlib.contextmanager
def memory_group(limit):
    """A control group of that many bytes, for a program's wrapper; None where the system does not let one be made."""
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = f"{root}/natfwt-hazard-{os.getpid()}"
        try:
            if not os.path.exists(f"{root}/cgroup.procs"):
                continue
            os.mkdir(group)
        except OSError:
            continue
        try:
            with open(f"{group}/{name}", "w", encoding="utf-8") as file:
                file.write(str(limit))
        except OSError:
            os.rmdir(group)
            continue
        try:
            yield group, ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        finally:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    os.rmdir(group)
                    break
                time.sleep(0.1)
        return
    yield None


def most_used(group):
    """The most that the group had, in MiB, and how often it ran into its limit."""
    values = []
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        with contextlib.suppress(OSError), open(f"{group}/{name}", encoding="utf-8") as file:
            values.append(int(file.read()) >> 20)
    return values


def stuffed(place, count):
    """Visitors that read nothing of what their service pours out, and visitors that pour into a service that reads nothing."""
    ends = []
    for number in range(count):
        end = socket.create_connection(("127.0.0.1", place.ports[number % 2]), 5)
        end.setblocking(False)
        if number % 2:
            with contextlib.suppress(OSError):
                while True:
                    end.send(bytes(65_536))
        ends.append(end)
    return ends


def pour(end):
    block = bytes(65_536)
    while True:
        end.sendall(block)


def tight(place, visitors, limits):
    over = threading.Event()
    source, sink, service = Service(pour), Service(lambda end: over.wait(60)), Service()
    with memory_group(64 << 20) as made:
        if not made:
            print("needs a control group for memory")
            return
        group, wrapper = made
        place.deploy([(place.ports[0], source.port), (place.ports[1], sink.port), (place.ports[2], service.port)],
                     relay={"limits": limits}, relay_wrapper=wrapper)
        try:
            for _ in range(3):
                ends = stuffed(place, visitors)
                pace = Pace(place.ports[2], service)
                for _ in range(20):
                    pace.visit(bytes(100_000))
                    time.sleep(0.05)
                check(place.relay.is_running(), f"the relay ended with {place.relay.process.returncode}")
                print(f"{visitors} stall: {place.relay.memory()} KiB, the group had {most_used(group)} MiB, {pace}")
                for end in ends:
                    end.close()
            until("a visit works", lambda: echoes(place.ports[2]))
            pace.check(3)
        finally:
            over.set()
            place.relay.kill()


@scenario
def control_group(place):
    """50: 64 MiB for the relay, as a control group counts them, with limits that fit: visitors stall, others are served."""
    # A visitor who pours into a service that does not read costs the relay up to 300 KiB, whatever queued-bytes-per-node is.
    tight(place, 80, {"queued-bytes-per-node": "4 MiB", "streams-per-node": 100})


@scenario
def neighbour(place):
    """50: every core is pegged by neighbours of higher weight while both programs run at nice 19: slower, nothing ends."""
    service = Service()
    place.deploy([(place.ports[0], service.port)], relay_wrapper=["nice", "-n", "19"], agent_wrapper=["nice", "-n", "19"])
    echo(place.ports[0])
    busy = [subprocess.Popen([sys.executable, "-c", "import time; end = time.monotonic() + 8\nwhile time.monotonic() < end: pass"])
            for _ in range(os.cpu_count() or 1)]
    try:
        pace, begin = Pace(place.ports[0], service), time.monotonic()
        while time.monotonic() - begin < 7:
            pace.visit(os.urandom(20_000))
        print(pace)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    pace.check(2)
    check(place.agent.log().count("session active") == 1, "the session ended")
