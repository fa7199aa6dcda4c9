# SPDX-License-Identifier: Apache-2.0
"""What the machine must have for a run, and what it is: packages, the load generator, the network namespace."""

import ctypes
import fcntl
import os
import platform
import resource
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

UNAVAILABLE = 69

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

# The program that is looked for, and Debian's package that has it.
TOOLS = {
    "socat": [("socat", "socat")],
    "haproxy": [("haproxy", "haproxy")],
    "stunnel": [("stunnel4", "stunnel4"), ("openssl", "openssl")],
    "ssh": [("ssh", "openssh-client"), ("sshd", "openssh-server"), ("ssh-keygen", "openssh-client")],
}
SYSTEM_PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"

CLONE_NEWNET = 0x40000000
PR_SET_CHILD_SUBREAPER = 36
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


class Unavailable(Exception):
    """Something that the run needs is missing, and cannot be had."""


def find(name):
    """The path of a program, also of those that only root has in its search path."""
    return shutil.which(name, path=SYSTEM_PATH)


def install(products):
    """Installs what the products and the load generator need and this machine lacks."""
    wanted = [("cc", "gcc")] + [tool for product in products for tool in TOOLS.get(product, [])]
    missing = [(name, package) for name, package in wanted if find(name) is None]
    if not Path("/usr/include/stdio.h").exists():
        missing.append(("libc6-dev", "libc6-dev"))
    if not missing:
        return
    packages = sorted({package for _, package in missing})
    if os.geteuid() != 0:
        raise Unavailable(f"not installed: {', '.join(packages)}; run this as root, or apt-get install them")
    print(f"bench: installing {', '.join(packages)}", file=sys.stderr)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(["apt-get", "update", "-qq"], check=False, stdout=sys.stderr, env=environment)
    if subprocess.run(command, stdout=sys.stderr, env=environment).returncode != 0:
        raise Unavailable(f"apt-get could not install {', '.join(packages)}")


def build_load_generator():
    """The path of the load generator, compiled anew where a source is newer."""
    sources = sorted((HERE / "load").glob("*.c"))
    program = REPOSITORY / ".build" / "benchmark" / "load"
    newest = max(path.stat().st_mtime for path in (HERE / "load").iterdir())
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    fresh = program.with_suffix(f".{os.getpid()}")
    if subprocess.run(["cc", *flags, "-o", fresh, *sources]).returncode != 0:
        raise Unavailable("the load generator does not compile")
    fresh.replace(program)
    return program


def build_natfwt():
    """The path of a release build of natfwt."""
    build = REPOSITORY / "deploy" / "build"
    if not build.exists():
        raise Unavailable("deploy/build is not there to build natfwt; give a built program with --binary PATH, "
                          "or leave natfwt out with --products")
    print("bench: building a release of natfwt", file=sys.stderr)
    if subprocess.run([build], stdout=sys.stderr).returncode != 0:
        raise Unavailable("deploy/build failed")
    for place in [".build/release/natfwt", ".build/deploy/natfwt", "build/natfwt"]:
        if (REPOSITORY / place).exists():
            return (REPOSITORY / place).resolve()
    raise Unavailable("deploy/build left no .build/release/natfwt; give the program with --binary PATH")


def raise_descriptor_limit():
    """Raises the descriptor limit, which every product inherits, and returns it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def adopt_orphans():
    """What outlives its parent becomes this process's child: it can be ended and awaited."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def enter_namespace(congestion):
    """Moves this process, and all that it starts, into a network namespace of its own. False where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
    set_congestion_control(congestion)
    set_parameter("ip_local_port_range", "32768 60999")
    return True


def set_congestion_control(name):
    """Sets the namespace's default. Where the machine restricts cubic to its own namespace, Reno, which is never restricted, is as
    good: without loss the two do the same. What paces (BBR) does not, and costs every product half its speed on loopback."""
    names = [name] if name else ["cubic", "reno"]
    if not any(set_parameter("tcp_congestion_control", one) for one in names):
        allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().split()
        raise Unavailable(f"--congestion: \"{name}\" cannot be had here; there are: {', '.join(allowed)}")


def set_parameter(name, value):
    try:
        Path(f"/proc/sys/net/ipv4/{name}").write_text(f"{value}\n")
    except OSError:
        return False
    return True


def describe():
    """What the figures were taken on."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return {"processor": model, "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "congestion_control": congestion}
