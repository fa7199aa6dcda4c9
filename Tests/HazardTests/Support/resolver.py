# SPDX-License-Identifier: Apache-2.0
"""The adapter's names on a host whose resolver is systemd-resolved: the real one, with a bus, a /run and a network of its own.

Where it is not installed, NATFWT_RESOLVED may name a folder into which its package was unpacked (dpkg -x).
"""
import ctypes
import os
import shutil
import signal
import subprocess

import forged
import redirected
from place import Program, Skipped, check, scenario, until

CLONE_NEWNS = 0x20000
BUS = """<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
<allow send_type="method_call"/></policy></busconfig>
"""


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    check(result.returncode == 0, f"{command}: {result}")
    return result.stdout


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def own_files():
    """From here on this process, and all that it starts, have a /run and accounts of their own, with the resolver's in them."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise Skipped("no file system of its own")
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for name, line in (("passwd", "systemd-resolve:x:990:990::/:/usr/sbin/nologin\n"), ("group", "systemd-resolve:x:990:\n")):
        with open(f"/etc/{name}", encoding="utf-8") as file:
            lines = [each for each in file if not each.startswith("systemd-resolve:")]
        write(f"/run/natfwt/{name}", "".join(lines) + line)
        run("mount", "--bind", f"/run/natfwt/{name}", f"/etc/{name}")
    os.makedirs("/run/systemd/resolve")
    os.chown("/run/systemd/resolve", 990, 990)
    os.mkdir("/run/dbus")


def start_resolver(place, program):
    write("/run/natfwt/bus.conf", BUS)
    for name, command in (("bus", ["dbus-daemon", "--config-file=/run/natfwt/bus.conf", "--nofork", "--nopidfile"]),
                          ("resolver", [program])):
        place.programs.append(Program(command, f"{place.folder}/{name}.log"))
        socket = {"bus": "/run/dbus/system_bus_socket", "resolver": "/run/systemd/resolve/stub-resolv.conf"}[name]
        until(f"{name} is there", lambda: os.path.exists(socket))
    until("the resolver answers", lambda: subprocess.run(["resolvectl", "status"], capture_output=True).returncode == 0)
    run("mount", "--bind", "/run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")


@scenario
def names(place):
    """resolvectl is told of the adapter's server; names are found by it and by libc, until the adapter goes."""
    folder = os.environ.get("NATFWT_RESOLVED", "")
    os.environ["PATH"] = f"{folder}/usr/bin:{os.environ['PATH']}"
    programs = [f"{folder}{parent}/systemd/systemd-resolved" for parent in ("/lib", "/usr/lib")]
    program = next((path for path in programs if os.path.exists(path)), None)
    if not program or not shutil.which("resolvectl") or not shutil.which("dbus-daemon"):
        raise Skipped("needs systemd-resolved, resolvectl and dbus-daemon")
    forged.own_network()
    own_files()
    start_resolver(place, program)
    place.deploy([])
    place.agent.says("session active")
    redirected.Laptop(place)
    adapter = place.start("adapter", "adapter", "--socket", place.agent_socket)
    adapter.says("is up")
    link = run("resolvectl", "status", "natfwt0")
    check("2001:20::53" in link and "~natfwt.internal" in link and "-DefaultRoute" in link, link)
    found = run("resolvectl", "query", "--legend=no", "laptop.natfwt.internal")
    check("link: natfwt0" in found, found)
    ip = found.split()[1]
    check(run("getent", "ahostsv6", "laptop.natfwt.internal").startswith(ip), "libc finds another")
    check("laptop.natfwt.internal" in run("resolvectl", "query", ip), "it has no name")
    missing = subprocess.run(["resolvectl", "query", "nobody.natfwt.internal"], capture_output=True, text=True)
    check("not found" in missing.stderr, f"{missing}")
    adapter.send(signal.SIGINT)
    adapter.process.wait(10)
    check("2001:20::53" not in run("resolvectl", "status"), "something is left of it")
    with open("/etc/resolv.conf", encoding="utf-8") as file:
        check("natfwt" not in file.read(), "the file was changed")
