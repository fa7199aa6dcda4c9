# SPDX-License-Identifier: Apache-2.0
"""Runs a program for which the kernel knows no IPv6: without-ipv6.py PROGRAM ARGUMENT...

A filter of system calls answers socket(AF_INET6, ...) with EAFNOSUPPORT, as a kernel that was booted with ipv6.disable=1.
"""
import ctypes
import errno
import os
import platform
import socket
import struct
import sys

NUMBER = {"x86_64": 41, "aarch64": 198}[platform.machine()]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_SECCOMP, FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38

# seccomp_data: the call's number at 0, its first argument at 16.
program = b"".join(
    struct.pack("HBBI", *line)
    for line in [
        (LOAD, 0, 0, 0),
        (EQUAL, 0, 3, NUMBER),
        (LOAD, 0, 0, 16),
        (EQUAL, 0, 1, socket.AF_INET6),
        (RETURN, 0, 0, ERRNO | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]
)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_char_p)]


libc = ctypes.CDLL(None, use_errno=True)
for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, FILTER, ctypes.byref(Program(6, program)), 0, 0)]:
    if libc.prctl(*arguments) != 0:
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
