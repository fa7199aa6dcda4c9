# SPDX-License-Identifier: Apache-2.0
"""`natfwt run`, with the sockets led by the kernel: all that redirected asks of the library, and what that can't do."""
import os
import shutil
import signal
import subprocess
import sys

import redirected
from place import Skipped, check, free_ports, scenario, until
from redirected import HERE, Echo, deploy, probed


def by_kernel(held):
    def run(place):
        redirected.WAY = "kernel"
        held(place)
    return scenario(run)


def groups(place):
    """What there is of runs in the group that this process is in. The hierarchy need not be mounted: it is for a moment."""
    script = f'mount -t cgroup2 none {place.home} && ls {place.home}"$(sed -n s/^0:://p /proc/self/cgroup)"'
    result = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script], capture_output=True, text=True)
    check(result.returncode == 0 and "cgroup.procs" in result.stdout, f"{result}")
    return [name for name in result.stdout.split() if name.startswith("natfwt-run-")]


@by_kernel
def linked_statically(place):
    program = f"{place.folder}/plain"
    subprocess.run(["cc", "-static", "-O1", f"{HERE}/plain.c", "-o", program], check=True)
    echo = Echo()
    closed, = free_ports(1)
    laptop = deploy(place, echo.port, closed)
    # Neither does it find anything in its environment.
    script = (
        "import socket, subprocess\n"
        "for family in (socket.AF_INET, socket.AF_INET6):\n"
        "    address = socket.getaddrinfo('home.natfwt.internal', 1, family)[0][4][0]\n"
        f"    subprocess.run(['{program}', address, '{echo.port}', '{closed}'], env={{}}, check=True)\n")
    result = laptop.run(sys.executable, "-c", script)
    check(result.returncode == 0 and not result.stderr, f"{result}")


@by_kernel
def looking_up(place):
    probed(place, "lookups", "unaided")


@by_kernel
def without_it(place):
    """Where the kernel's way can't be had the library does it, and what can't be done is said."""
    laptop = deploy(place, 9)
    folder = f"{place.folder}/bin"
    os.mkdir(folder)
    for name in ("natfwt", "libnatfwt-run.so"):
        shutil.copy(f"{os.path.dirname(place.binary)}/{name}", folder)
    os.chmod(place.folder, 0o755)

    def run(*words, way=(), **options):
        command = [f"{folder}/natfwt", "run", "--socket", laptop.socket, *way, "--", *words]
        return subprocess.run(command, capture_output=True, text=True, **options)

    if any(os.path.exists(f"{place}/libnatfwt-kernel.so") for place in ("/usr/local/lib/natfwt", "/usr/lib/natfwt")):
        raise Skipped("natfwt is installed here")
    result = run("printenv", "LD_PRELOAD")
    check(result.returncode == 0 and "libnatfwt-run.so" in result.stdout and not result.stderr, f"{result}")
    result = run("true", way=("--way", "kernel"))
    check(result.returncode == 69 and "libnatfwt-kernel.so is missing" in result.stderr, f"{result}")
    program = f"{place.folder}/plain"
    subprocess.run(["cc", "-static", "-O1", f"{HERE}/plain.c", "-o", program], check=True)
    result = run(program)
    check(result.returncode == 64 and "libnatfwt-kernel.so is missing" in result.stderr, f"{result}")
    # As it is for users without rights.
    shutil.copy(f"{os.path.dirname(place.binary)}/libnatfwt-kernel.so", folder)
    os.chmod(laptop.socket, 0o666)
    result = run("true", way=("--way", "kernel"), user=12345, group=12345, extra_groups=[])
    check(result.returncode == 69 and "it is root's" in result.stderr, f"{result}")
    result = run("printenv", "LD_PRELOAD", user=12345, group=12345, extra_groups=[])
    check(result.returncode == 0 and "libnatfwt-run.so" in result.stdout and not result.stderr, f"{result}")


@by_kernel
def killed(place):
    """kill -9 of `natfwt run`: its programs are gone with it, and its group with the next one."""
    laptop = deploy(place, 9)
    before = groups(place)
    begun = f"{place.folder}/begun"
    run = place.start("command", *laptop.arguments("sh", "-c", f"echo $$ >{begun}.new; mv {begun}.new {begun}; exec sleep 60"))
    until("it begins", lambda: os.path.exists(begun))
    with open(begun, encoding="utf-8") as file:
        child = int(file.read())
    with open(f"/proc/{child}/cgroup", encoding="utf-8") as file:
        check(f"natfwt-run-{run.pid}" in file.read(), "the command is in a group of its own")
    name = f"natfwt-run-{run.pid}"
    check(groups(place) == [*before, name], f"{groups(place)}")
    os.kill(run.pid, signal.SIGKILL)
    run.process.wait()
    until("the agent takes note", lambda: laptop.sockets() == [])
    os.kill(child, signal.SIGKILL)
    until("the command is gone", lambda: not os.path.exists(f"/proc/{child}"))
    check(name in groups(place), "it is nobody's")
    check(laptop.run("true").returncode == 0, "the next one runs")
    check(groups(place) == before, f"left over: {groups(place)}")


@by_kernel
def background(place):
    """What a command leaves running goes on, and nothing of the group stays."""
    laptop = deploy(place, 9)
    before = groups(place)
    result = laptop.run("sh", "-c", "sleep 60 >&- 2>&- & echo $!")
    child = int(result.stdout)
    os.kill(child, 0)
    check(groups(place) == before, f"left over: {groups(place)}")
    os.kill(child, signal.SIGKILL)


globals().update({name: by_kernel(held) for name, held in vars(redirected).items() if getattr(held, "is_scenario", False)})
