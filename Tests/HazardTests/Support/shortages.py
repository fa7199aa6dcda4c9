# SPDX-License-Identifier: Apache-2.0
"""Too few descriptors, too little memory or disk."""
import contextlib
import os
import shutil
import socket
import subprocess
import time

import node
from place import Service, check, echo, echoes, scenario, settles, until


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
    until("a visit works again", lambda: echoes(place.ports[0]), 15)
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
    until("the agent is back", lambda: echoes(place.ports[0]), 20)


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
    until("the node comes back", lambda: echoes(place.ports[0]), 10)
    place.agent.send(1)
    # Another service: its port cannot be reserved, but it is used.
    place.write_agent([(place.ports[0], service.port), (place.ports[1], service.port)])
    place.agent.send(1)
    until("a new port opens", lambda: echoes(place.ports[1]), 10)
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
