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
    "proxychains-socks": [("proxychains4", "proxychains4")],
}
SSH = [("ssh", "openssh-client"), ("sshd", "openssh-server"), ("ssh-keygen", "openssh-client")]
TOOLS |= {"ssh": SSH, "ssh-L": SSH, "ssh-D": SSH, "proxychains": [*SSH, ("proxychains4", "proxychains4")],
          "redsocks": [*SSH, ("redsocks", "redsocks"), ("nft", "nftables"), ("setpriv", "util-linux"), ("ip", "iproute2")]}
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
    # As the other scripts install: no question, no service started.
    script = 'source "$1/deploy/lib.sh" && shift && install_packages "$@"'
    done = subprocess.run(["bash", "-c", script, "bench", REPOSITORY, *packages], stdout=sys.stderr)
    if done.returncode != 0:
        raise Unavailable(f"needed and not installed: {', '.join(packages)}")


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
    print("bench: building a release of natfwt", file=sys.stderr)
    build = subprocess.run([REPOSITORY / "deploy" / "build"], stdout=subprocess.PIPE, text=True)
    program = build.stdout.strip().split("\n")[-1]
    if build.returncode != 0 or not Path(program).is_file():
        raise Unavailable("deploy/build failed; a program that is built already can be given with --binary PATH, "
                          "and --products can leave natfwt out")
    return Path(program)


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
