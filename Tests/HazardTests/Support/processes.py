# SPDX-License-Identifier: Apache-2.0
"""What an operator, an init system or an accident does to the programs as processes."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

from place import PATIENCE, Service, check, echo, echoes, rests, scenario, settles, until


@scenario
def killed(place):
    """52: kill -9 of relay and agent at random moments, under traffic: ports come back, nothing is left over."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)])
    over = threading.Event()

    def visit():
        while not over.wait(0.002):
            echoes(port, 1)

    threads = [threading.Thread(target=visit) for _ in range(3)]
    for thread in threads:
        thread.start()
    slowest = 0.0
    try:
        for turn in range(24):
            program = place.relay if turn % 2 else place.agent
            time.sleep(0.02 * (turn % 5))
            program.kill()
            begin = time.monotonic()
            place.start_relay() if turn % 2 else place.start_agent()
            until("a visit works again", lambda: echoes(port, 2))
            slowest = max(slowest, time.monotonic() - begin)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    print(f"slowest return {slowest:.2f} s")
    nodes = place.run("nodes", "list", "--config", place.relay_file)
    check("home" in nodes.stdout, f"{nodes}")
    settles("the agent's descriptors", place.agent.descriptors, 20)


@scenario
def stopped(place):
    """53, 58: SIGSTOP and SIGCONT of each: it goes on; `status` of a stopped program says so in time."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)])
    for program in (place.relay, place.agent):
        program.send(signal.SIGSTOP)
        if program is place.relay:
            begin = time.monotonic()
            result = place.run("status", "--socket", place.relay_socket, seconds=20)
            check(result.returncode == 69 and "answer" in result.stderr, f"{result}")
            check(time.monotonic() - begin < 12, "it takes too long")
            print(result.stderr.strip())
        # Long enough for the other side to give it up.
        time.sleep(3)
        program.send(signal.SIGCONT)
        until("a visit works again", lambda: echoes(port, 2))
    rests("the relay", place.relay)
    rests("the agent", place.agent)


@scenario
def drained(place):
    """53: SIGTERM: what is open ends in peace, what is new is refused, the time is bounded; twice ends it at once."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)], relay={"timeouts": {"drain": "2s", "liveness-interval": "2s"}},
                 agent={"timeouts": {"drain": "2s", "backoff-initial": "100ms", "backoff-maximum": "300ms"}})
    for name in ("agent", "relay"):
        for way in ("in peace", "bounded", "twice"):
            program = getattr(place, name)
            end = socket.create_connection(("127.0.0.1", port), 5)
            end.settimeout(5)
            end.sendall(b"a")
            check(end.recv(1) == b"a", "no echo")
            begin, said = time.monotonic(), len(program.log())
            program.send(signal.SIGTERM)
            program.says("stopping", after=said)
            if way != "twice":
                end.sendall(b"b")
                check(end.recv(1) == b"b", f"{name}, {way}: an open connection does not go on")
                check(not echoes(port, 1), f"{name}, {way}: a new visitor is served")
            if way == "in peace":
                end.close()
            if way == "twice":
                program.send(signal.SIGTERM)
            code = program.process.wait(PATIENCE)
            seconds = time.monotonic() - begin
            check(code == 0, f"{name}, {way}: exit code {code}")
            most = {"in peace": 1.9, "bounded": 4, "twice": 1}[way]
            check(seconds < most, f"{name}, {way}: {seconds:.1f} s")
            if way == "bounded":
                check(seconds > 1.5, f"{name}: only {seconds:.1f} s")
            end.close()
            place.start_relay() if name == "relay" else place.start_agent()
            until("a visit works again", lambda: echoes(port, 2))


@scenario
def reloads(place):
    """36: a thousand reloads under traffic, right and wrong files in turn: no session ends, nothing is left."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)])
    with open(place.relay_file, encoding="utf-8") as file:
        right = file.read()
    with open(place.agent_file, encoding="utf-8") as file:
        agent = file.read()
    kept = socket.create_connection(("127.0.0.1", port), 5)
    kept.settimeout(5)
    kept.sendall(b"x")
    check(kept.recv(1) == b"x", "no echo")
    before = [(program.descriptors(), program.memory()) for program in (place.relay, place.agent)]
    rubbish = ["listen = 5\n", "[limits]\nnodez = 1\n", "\x00\x01", "[" * 5_000, "a = " + "[" * 20_000, right + right,
               "listen = [\"127.0.0.1:99999\"]\n", "=\n", "[timeouts]\nhandshake = \"-1s\"\n", "x" * 2_000_000]

    def write(path, text):
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path + ".new", 0o600)
        os.replace(path + ".new", path)

    def settled(program, text):
        count = program.log().count(text)
        program.send(signal.SIGHUP)
        until(f"it says “{text}”", lambda: program.log().count(text) > count)

    for bad in rubbish:
        write(place.relay_file, bad)
        settled(place.relay, "the settings are not changed")
        write(place.agent_file, bad)
        settled(place.agent, "the settings are not changed")
        kept.sendall(b"x")
        check(kept.recv(1) == b"x", "the open connection does not go on")
        echo(port)
    write(place.relay_file, right)
    write(place.agent_file, agent)
    for _ in range(1_000):
        place.relay.send(signal.SIGHUP)
        place.agent.send(signal.SIGHUP)
        time.sleep(0.002)
    echo(port)
    settled(place.relay, "the settings are read anew")
    settled(place.agent, "the settings are read anew")
    kept.sendall(b"x")
    check(kept.recv(1) == b"x", "the open connection does not go on")
    for program, (descriptors, memory) in zip((place.relay, place.agent), before):
        settles("descriptors", program.descriptors, descriptors)
        check(program.memory() < memory + 10_000, f"memory {memory} -> {program.memory()} KiB")
        print(f"{memory} -> {program.memory()} KiB, {program.log().count('read anew')} reloads")


@scenario
def instances(place):
    """54: two relays on one port, on one state directory; two agents with one configuration."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)], agent={"timeouts": {}})
    second = place.run("relay", "--config", place.relay_file)
    check(second.returncode == 69 and "another relay runs" in second.stderr, f"{second}")
    elsewhere = ("--listen", f"127.0.0.1:{place.ports[1]}")
    second = place.run("relay", "--config", place.relay_file, *elsewhere)
    check(second.returncode == 69 and "another relay runs" in second.stderr, f"{second}")
    another = f"{place.folder}/another"
    second = place.run("relay", "--config", place.relay_file, "--state-directory", another)
    check(second.returncode == 69 and "in use" in second.stderr, f"{second}")
    echo(port)
    check(place.status()["nodes"], "the first relay's socket is gone")
    before = len(place.agent.log())
    # With the waits of the defaults: they are what keeps two of a kind from a fight.
    place.write_agent([(port, service.port)], timeouts={})
    second = place.run("agent", "--config", place.agent_file)
    check(second.returncode == 69 and "another agent runs" in second.stderr, f"{second}")
    # A copy of all of it, key included.
    twin = f"{place.folder}/twin"
    shutil.copytree(os.path.dirname(place.agent_file), twin, ignore=lambda folder, names: [
        name for name in names if not name.endswith((".toml", ".key"))])
    other = place.start("other", "agent", "--config", f"{twin}/{os.path.basename(place.agent_file)}")
    place.agent.says("taken over", after=before)
    begin, lines = time.monotonic(), [len(program.log().splitlines()) for program in (place.relay, place.agent, other)]
    time.sleep(4)
    changes = [len(program.log().splitlines()) - count for program, count in zip((place.relay, place.agent, other), lines)]
    print(f"lines of log in {time.monotonic() - begin:.0f} s of two agents: {changes}")
    check(max(changes) < 60, f"two agents with one key fill the log: {changes}")
    echo(port)


@scenario
def no_log(place):
    """37: standard error closed, broken, full: the programs go on."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)])
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    # The only reader goes after a line.
    broken = ["sh", "-c", '"$@" 2>&1 | head -1', "sh"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        for wrapper, options in ((closed, {}), (broken, {}), ((), {"stdout": full, "stderr": full})):
            place.agent.kill()
            place.start_agent(wrapper=wrapper, **options)
            until("a visit works", lambda: echoes(port, 2))
            for _ in range(50):
                echo(port)
    for wrapper in (closed, broken):
        place.relay.kill()
        place.relay = place.start("mute", "relay", "--config", place.relay_file, wrapper=wrapper)
        until("a visit works", lambda: echoes(port, 2))
        for _ in range(50):
            echo(port)


@scenario
def signals(place):
    """53: storms of SIGHUP, SIGPIPE, SIGWINCH, SIGCHLD, SIGUSR1 ignored or handled; SIGINT as SIGTERM."""
    service = Service()
    port = place.ports[0]
    place.deploy([(port, service.port)])
    for _ in range(300):
        for program in (place.relay, place.agent):
            for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGWINCH, signal.SIGCHLD, signal.SIGURG):
                program.send(number)
    echo(port)
    for program in (place.agent, place.relay):
        program.send(signal.SIGINT)
        check(program.process.wait(PATIENCE) == 0, f"{program.log_path}: SIGINT ends it with {program.process.returncode}")


SHIFTED_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, time);
  FILE *file = clock == CLOCK_REALTIME ? fopen(getenv("CLOCK_SHIFT"), "r") : NULL;
  long shift = 0;
  if (file && fscanf(file, "%ld", &shift) == 1) time->tv_sec += shift;
  if (file) fclose(file);
  return result;
}
"""


def shifted_clock(place):
    """An environment in which a program's wall clock is off, and what sets by how much; None where that can't be had."""
    if not shutil.which("cc"):
        print("needs a C compiler")
        return None
    library, stamp = f"{place.folder}/clock.so", f"{place.folder}/shift"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-", "-ldl"], input=SHIFTED_CLOCK.encode(),
                   check=True)

    def jump(seconds):
        with open(stamp + ".new", "w", encoding="utf-8") as file:
            file.write(f"{seconds}\n")
        os.replace(stamp + ".new", stamp)

    jump(0)
    return {**os.environ, "LD_PRELOAD": library, "CLOCK_SHIFT": stamp}, jump


@scenario
def clock(place):
    """57: the wall clock jumps ahead, back, to 1970 and past 2038: sessions and timers do not notice."""
    shifted = shifted_clock(place)
    if not shifted:
        return
    environment, jump = shifted
    service = Service()
    port = place.ports[0]
    place.write_relay()
    place.start_relay(env=environment)
    place.join()
    place.write_agent([(port, service.port)])
    place.start_agent(env=environment)
    place.opened(port)
    lines = len(place.agent.log().splitlines())
    for seconds in (3_600, -3_600, 10 - int(time.time()), 2_200_000_000 - int(time.time()), 0):
        jump(seconds)
        for _ in range(3):
            echo(port)
        rests(f"{seconds}: the relay", place.relay, 0.7)
        rests(f"{seconds}: the agent", place.agent, 0.7)
    check(place.agent.log().count("session active") == 1, "a jump of the clock ended the session")
    print(f"{len(place.agent.log().splitlines()) - lines} more lines of log")
    # A node whose clock is far off still gets in.
    jump(-int(time.time()))
    place.agent.kill()
    place.start_agent(env=environment)
    until("a visit works", lambda: echoes(port, 2))
    check("1970-01-01" in place.agent.log(), "the clock was not shifted at all")
