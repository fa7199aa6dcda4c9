# SPDX-License-Identifier: Apache-2.0
"""Runs a program as systemd would run it for a unit, as far as that goes without systemd: another user with the unit's
capabilities and no new privileges, a read-only system but for its state, no devices, a /proc of processes alone, and the
unit's filter of system calls. As root.

    unit.py STATE-DIRECTORY UNIT [DROP-IN...] -- COMMAND...
"""
import ctypes
import glob
import os
import re
import struct
import subprocess
import sys

USER = 61234
CLONE_NEWNS = 0x20000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_MDWE = 22, 2, 65
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ERRNO with EPERM
libc = ctypes.CDLL(None, use_errno=True)


def settings(paths):
    """What the files say, a list for each key; an empty value forgets what was said before."""
    found = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for line in file:
                key, sign, value = line.strip().partition("=")
                if sign and not key.startswith(("#", ";")):
                    found[key] = found.get(key, []) + [value] if value else []
    return found


def last(unit, key):
    return (unit.get(key) or [""])[-1]


def bind(path, *options):
    subprocess.run(["mount", *options, path], check=True)


def confine(unit, state):
    """The file system as the unit sees it."""
    if libc.unshare(CLONE_NEWNS) != 0:
        sys.exit("no file system of its own: " + os.strerror(ctypes.get_errno()))
    bind("/", "--make-rprivate")
    bind(state, "--bind", state)
    if last(unit, "ProtectSystem") == "strict":
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            places = [line.split()[4] for line in file]
        for place in places:
            if place != state and not place.startswith(("/proc", "/sys", "/dev", "/run/")):
                bind(place, "-o", "remount,bind,ro")
    if last(unit, "ProtectKernelTunables") == "yes":
        bind("/sys", "-o", "remount,bind,ro")
    if last(unit, "ProcSubset") == "pid":
        bind("/proc", "-t", "proc", "-o", "subset=pid,hidepid=invisible", "proc")
    if last(unit, "DevicePolicy") == "closed":
        allowed = [value.split()[0] for value in unit.get("DeviceAllow", [])]
        devices(["/dev/" + name for name in ("null", "zero", "full", "random", "urandom", "tty")] + allowed)


def devices(paths):
    """These, for everyone, as udev has them: a machine without it may have them for root alone."""
    numbers = [os.stat(path).st_rdev for path in paths]
    bind("/dev", "-t", "tmpfs", "tmpfs")
    os.umask(0)
    for path, number in zip(paths, numbers):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.mknod(path, 0o20666, number)


def capabilities(unit, key):
    # None at all, or those that are named.
    return ",".join(["-all", *("+" + name[4:].lower() for value in unit.get(key, []) for name in value.split())])


def system_calls(unit):
    """The numbers of those that the filter lets through; None where it can't be told here."""
    headers = glob.glob("/usr/include/*/asm/unistd_64.h")
    if os.uname().machine != "x86_64" or not headers:
        return None
    with open(headers[0], encoding="utf-8") as file:
        numbers = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", file.read())}

    def names(group):
        if not group.startswith("@"):
            return {group}
        out = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
        words = [line.strip() for line in out.stdout.splitlines()[1:]]
        return set().union(*(names(word) for word in words if word and not word.startswith("#")))

    allowed = names("@default")
    for value in unit.get("SystemCallFilter", []):
        groups = set().union(*(names(word) for word in value.lstrip("~").split()))
        allowed = allowed - groups if value.startswith("~") else allowed | groups
    return sorted(numbers[name] for name in allowed if name in numbers)


def filter_calls(numbers):
    """Installed last, by the program that becomes the command."""
    def step(code, value, yes=0, no=0):
        return struct.pack("HBBI", code, yes, no, value)

    program = step(0x20, 0)  # The system call's number.
    for number in numbers:
        program += step(0x15, number, 0, 1) + step(0x06, ALLOW)
    program += step(0x06, REFUSE)
    room = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(room))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        sys.exit("no filter: " + os.strerror(ctypes.get_errno()))
    libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)


def main(arguments):
    if arguments[0] == "--filtered":
        filter_calls([int(number) for number in arguments[1].split(",") if number])
        os.execvp(arguments[2], arguments[2:])
    split = arguments.index("--")
    state, command = arguments[0], arguments[split + 1:]
    unit = settings(arguments[1:split])
    numbers = system_calls(unit)
    for folder, _, files in os.walk(state):
        for name in [folder, *(os.path.join(folder, file) for file in files)]:
            os.chown(name, USER, USER)
    confine(unit, state)
    given = capabilities(unit, "AmbientCapabilities")
    if numbers:
        command = [sys.executable, __file__, "--filtered", ",".join(map(str, numbers)), *command]
    os.umask(int(last(unit, "UMask") or "022", 8))
    os.execvp("setpriv", [
        "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs", f"--inh-caps={given}",
        f"--ambient-caps={given}", f"--bounding-set={capabilities(unit, 'CapabilityBoundingSet')}", *command])


main(sys.argv[1:])
